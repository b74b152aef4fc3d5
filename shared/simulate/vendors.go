package simulate

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/parking"
)

// directions returns the words of a format for an entry and an exit.
func (r *Read) direction(entry, exit string) string {
	if r.Kind == parking.Entry {
		return entry
	}
	return exit
}

// percent returns the confidence in percent.
func (r *Read) percent() int { return int(math.Round(100 * r.Confidence)) }

// hikvision returns an ANPR event of ISAPI: multipart, with the XML first and two pictures.
func hikvision(r *Read, zone *time.Location) Payload {
	type vehicle struct {
		Index int    `xml:"index"`
		Color string `xml:"color"`
	}
	type anpr struct {
		Country              int     `xml:"country"`
		LicensePlate         string  `xml:"licensePlate"`
		Line                 int     `xml:"line"`
		Direction            string  `xml:"direction"`
		ConfidenceLevel      int     `xml:"confidenceLevel"`
		PlateType            string  `xml:"plateType"`
		PlateColor           string  `xml:"plateColor"`
		VehicleInfo          vehicle `xml:"vehicleInfo"`
		OriginalLicensePlate string  `xml:"originalLicensePlate"`
		CRIndex              string  `xml:"CRIndex,omitempty"`
	}
	type alert struct {
		XMLName      xml.Name `xml:"http://www.hikvision.com/ver20/XMLSchema EventNotificationAlert"`
		Version      string   `xml:"version,attr"`
		IPAddress    string   `xml:"ipAddress"`
		PortNo       int      `xml:"portNo"`
		Protocol     string   `xml:"protocol"`
		MACAddress   string   `xml:"macAddress"`
		ChannelID    int      `xml:"channelID"`
		DateTime     string   `xml:"dateTime"`
		ActivePosts  int      `xml:"activePostCount"`
		EventType    string   `xml:"eventType"`
		EventState   string   `xml:"eventState"`
		Description  string   `xml:"eventDescription"`
		ANPR         anpr     `xml:"ANPR"`
		UUID         string   `xml:"UUID"`
		PicturesSent int      `xml:"picNum"`
	}
	plate := cmp.Or(r.Plate, "unknown")
	text, err := xml.MarshalIndent(alert{
		Version: "2.0", IPAddress: "192.0.2.64", PortNo: 80, Protocol: "HTTP", MACAddress: "00:00:5e:00:53:40", ChannelID: 1,
		DateTime: r.Time.In(zone).Format("2006-01-02T15:04:05-07:00"), ActivePosts: r.Order, EventType: "ANPR", EventState: "active", Description: "ANPR",
		ANPR: anpr{
			Country: r.country().hikvision, LicensePlate: plate, OriginalLicensePlate: plate, Line: 1, Direction: r.direction("forward", "reverse"), ConfidenceLevel: r.percent(),
			PlateType: "unknown", PlateColor: "white", VehicleInfo: vehicle{Index: 1, Color: cmp.Or(r.Color, "unknown")},
		},
		UUID: fmt.Sprintf("00000000-0000-4000-8000-%012x", r.Track), PicturesSent: 2,
	}, "", "  ")
	if err != nil {
		panic(err) // the alert's own values can be encoded
	}
	return inParts("boundary",
		formPart{name: "anpr.xml", file: "anpr.xml", contentType: "text/xml", body: append([]byte(xml.Header), text...)},
		formPart{name: "licensePlatePicture.jpg", file: "licensePlatePicture.jpg", contentType: "image/jpeg", body: picture()},
		formPart{name: "detectionPicture.jpg", file: "detectionPicture.jpg", contentType: "image/jpeg", body: picture()})
}

// dahua returns a TollgateInfo of ITSAPI.
func dahua(r *Read, zone *time.Location) Payload {
	type object = map[string]any
	return inJSON(object{"Picture": object{
		"CutoutPic": object{"Content": base64.StdEncoding.EncodeToString(picture()), "PicName": fmt.Sprintf("%d.jpg", r.Track)},
		"Plate": object{
			"BoundingBox": []int{3021, 5123, 3467, 5402}, "Channel": 0, "Confidence": int(math.Round(255 * r.Confidence)), "IsExist": r.Plate != "",
			"PlateColor": "White", "PlateNumber": r.Plate, "PlateType": "Normal", "Region": r.country().code3, "UploadNum": 1,
		},
		"SnapInfo": object{
			"DeviceID": "5J0000PAZ00000", "Direction": r.direction("Obverse", "Reverse"), "LanNo": 1,
			"SnapTime": r.Time.In(zone).Format(time.DateTime), "TriggerSource": "Video",
		},
		"Vehicle": object{"VehicleColor": cmp.Or(r.Color, "Unknown"), "VehicleSeries": "Unknown", "VehicleSign": cmp.Or(r.Make, "Unknown"), "VehicleType": "SaloonCar"},
	}})
}

// plateRecognizer returns what Plate Recognizer Stream posts: a form with JSON and a
// picture.
func plateRecognizer(r *Read, zone *time.Location) Payload {
	type object = map[string]any
	const layout = "2006-01-02T15:04:05.000000-07:00"
	result := object{
		"box":     object{"xmax": 412, "xmin": 337, "ymax": 305, "ymin": 270},
		"dscore":  0.8,
		"region":  object{"code": strings.ToLower(r.Visit.Country), "score": 0.7},
		"vehicle": object{"box": object{"xmax": 590, "xmin": 155, "ymax": 373, "ymin": 71}, "score": 0.8, "type": "Sedan"},
		// Degrees, as the vehicle moves in the picture.
		"direction": map[bool]int{true: 180, false: 0}[r.Kind == parking.Entry], "source_url": "rtsp://192.0.2.65/stream", "position_sec": 0.5,
		"plate": nil,
	}
	if r.Plate != "" {
		candidates := []object{{"plate": strings.ToLower(r.Plate), "score": r.Confidence}}
		for i, c := range r.Candidates {
			if i > 0 {
				candidates = append(candidates, object{"plate": strings.ToLower(c.Plate), "score": *c.Confidence})
			}
		}
		result["plate"], result["score"], result["candidates"] = strings.ToLower(r.Plate), r.Confidence, candidates
	}
	if r.Make != "" {
		result["model_make"] = []object{{"make": r.Make, "model": "generic", "score": 0.7}}
		result["color"] = []object{{"color": r.Color, "score": 0.8}}
	}
	file := r.Camera.ID + "_screenshots/image.jpg"
	form := inJSON(object{
		"hook": object{"target": "http://192.0.2.1/hook", "id": r.Camera.ID, "event": "recognition", "filename": file},
		"data": object{
			"camera_id": r.Camera.ID, "filename": file, "timestamp": r.Time.Format(layout), "timestamp_local": r.Time.In(zone).Format(layout),
			"results": []object{result},
		},
	})
	return inParts("b0undary", formPart{name: "json", body: form.Body}, formPart{name: "upload", file: "image.jpg", contentType: "image/jpeg", body: picture()})
}

// axis returns an event of the application License Plate Verifier: new, update and lost of
// one carID.
func axis(r *Read, zone *time.Location) Payload {
	state := "update"
	switch r.Order {
	case r.Reads:
		state = "lost"
	case 1:
		state = "new"
	}
	type object = map[string]any
	ms := r.Time.UnixMilli()
	return inJSON(object{
		"packetCounter": strconv.FormatUint(2*r.Track+uint64(r.Order), 10), "capture_timestamp": strconv.FormatInt(ms, 10), "frame_timestamp": "0", //nolint:gosec // small
		"capture_ts": strconv.FormatInt(ms*1e6, 10), "datetime": r.Time.In(zone).Format("20060102 150405") + fmt.Sprintf("%03d", ms%1000),
		"plateText": r.Plate, "plateUnicode": r.Plate, "plateUTF8": r.Plate, "plateASCII": r.Plate, "plateCountry": r.country().code3,
		"plateConfidence": strconv.FormatFloat(r.Confidence, 'f', 6, 64), "carState": state, "carMoveDirection": r.direction("in", "out"),
		"carID": r.vehicle(), "roiID": "1", "imageType": "plate", "plateImageType": "jpg", "plateImageSize": "0", "timeProcessing": "0",
		"camera_info": object{"SerialNumber": "00005E005341", "ProdShortName": "AXIS P1465-LE-3", "MACAddress": "00:00:5E:00:53:41"}, "sensorProviderID": "defaultID_1",
	})
}

// milesight returns the camera's HTTP notification.
func milesight(r *Read, zone *time.Location) Payload {
	local := r.Time.In(zone).Format("2006-01-02 15:04:05.000")
	confidence := "-"
	if r.Plate != "" {
		confidence = strconv.Itoa(r.percent())
	}
	return inJSON(map[string]string{
		"device": "Network Camera", "time": local, "time_msec": local, "plate": cmp.Or(r.Plate, "-"), "type": "Visitor", "speed": "-",
		"direction": r.direction("Approach", "Away"), "detection_region": "1", "region": r.country().code3, "resolution_width": "1920", "resolution_height": "1080",
		"coordinate_x1": "1014", "coordinate_y1": "624", "coordinate_x2": "1110", "coordinate_y2": "666", "confidence": confidence, "plate_color": "White",
		"vehicle_type": "Car", "vehicle_color": cmp.Or(r.Color, "-"), "Vehicle Brand": cmp.Or(r.Make, "-"), "plate_image": base64.StdEncoding.EncodeToString(picture()),
	})
}

// frigate returns an event of a tracked object: new, update and end of one id. Its times
// are seconds as a decimal fraction, and the plate is null until it is recognised.
func frigate(r *Read, _ *time.Location) Payload {
	seconds := func(t time.Time) json.Number {
		return json.Number(fmt.Sprintf("%d.%06d", t.Unix(), t.Nanosecond()/1000))
	}
	type object = map[string]any
	after := object{
		"id": fmt.Sprintf("%d.%06d-%06x", r.Track/1e6+1.6e9, r.Track%1e6, mix(r.Track)&0xffffff), "camera": r.Camera.ID, "label": "car", "sub_label": nil,
		"start_time": seconds(r.Time), "frame_time": seconds(r.Time.Add(time.Duration(r.Order-1) * 300 * time.Millisecond)), "end_time": nil, "false_positive": false,
		"score": 0.8, "top_score": 0.85, "box": []int{424, 500, 536, 712}, "area": 23744, "stationary": false, "has_snapshot": true, "has_clip": false,
		"entered_zones": []string{r.direction("gate-in", "gate-out")}, "current_zones": []string{}, "recognized_license_plate": nil, "recognized_license_plate_score": nil,
	}
	if r.Plate != "" {
		after["recognized_license_plate"], after["recognized_license_plate_score"] = r.Plate, r.Confidence
	}
	kind := "update"
	switch r.Order {
	case r.Reads:
		kind = "end"
		after["end_time"] = after["frame_time"]
	case 1:
		kind = "new"
	}
	return inJSON(object{"type": kind, "before": after, "after": after})
}

// own returns our own JSON: an event as on the wire. The camera's own id is enough for its
// own events.
func own(r *Read, _ *time.Location) Payload {
	e := r.Event("")
	e.ID = r.vehicle()
	return inJSON(e)
}
