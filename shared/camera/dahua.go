package camera

import (
	"slices"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// dahua is ITSAPI of Dahua, and of the brands that it makes cameras for: TollgateInfo is
// a read, KeepAlive and DeviceInfo are heartbeats. The paths that the camera appends to
// its address do not matter.
var dahua = Format{
	Name: "dahua",
	Recognise: func(r Request) bool {
		members := r.members()
		picture := membersOf(members["picture"])
		return picture["plate"] != nil || picture["snapinfo"] != nil || picture["parkinginfo"] != nil ||
			r.has("tollgateinfo") || r.has("notificationinfo") ||
			r.has("active", "deviceid") || r.has("deviceid", "devicemodel") || r.has("deviceid", "devicename") || r.has("alarminfo", "deviceid")
	},
	Parse: parseDahua,
	Accepted: func() (contentType string, body []byte) {
		return "application/json", []byte(`{"Result":true}`)
	},
}

// dahuaMessage is every message of ITSAPI.
type dahuaMessage struct {
	Picture *struct {
		Plate    many[dahuaPlate] `json:"Plate"`
		Snap     dahuaSnap        `json:"SnapInfo"`
		Parking  *struct{}        `json:"ParkingInfo"`
		Vehicle  dahuaVehicle     `json:"Vehicle"`
		Body     dahuaPicture     `json:"VehiclePic"`
		Scene    dahuaPicture     `json:"NormalPic"`
		Combined dahuaPicture     `json:"CombinPic"`
		Cutout   dahuaPicture     `json:"CutoutPic"`
	} `json:"Picture"`
	Active   loose     `json:"Active"`
	DeviceID loose     `json:"DeviceID"`
	Alarm    *struct{} `json:"AlarmInfo"`
	// The message itself, if it has the names of its path around it.
	Notification *dahuaMessage `json:"NotificationInfo"`
	Tollgate     *dahuaMessage `json:"TollgateInfo"`
}

type dahuaPlate struct {
	IsExist    loose `json:"IsExist"`
	Number     loose `json:"PlateNumber"`
	Confidence loose `json:"Confidence"`
	Region     loose `json:"Region"`
}

type dahuaSnap struct {
	AccurateTime loose `json:"AccurateTime"`
	SnapTime     loose `json:"SnapTime"`
	Direction    loose `json:"Direction"`
}

type dahuaVehicle struct {
	Color loose `json:"VehicleColor"`
	Make  loose `json:"VehicleSign"`
}

type dahuaPicture struct {
	Content base64Picture `json:"Content"`
}

// dahuaScale is the scale of confidences.
const dahuaScale = 255

func parseDahua(r Request, c site.Camera) (Message, error) {
	var m dahuaMessage
	if err := decodeJSON(r.document(), &m); err != nil {
		return Message{}, err
	}
	for m.Notification != nil || m.Tollgate != nil {
		if m.Notification != nil {
			m = *m.Notification
		} else {
			m = *m.Tollgate
		}
	}
	switch {
	case m.Picture != nil && m.Picture.Parking != nil && m.Picture.Snap == (dahuaSnap{}): // of a parking space, not of a gate
		return Message{}, nil
	case m.Picture != nil:
	case m.Alarm != nil:
		return Message{}, nil
	case m.Active != "" || m.DeviceID != "":
		return Message{Heartbeat: true}, nil
	default:
		return Message{}, parking.Invalid("the message has neither Picture, as TollgateInfo has, nor Active and DeviceID, as KeepAlive has")
	}
	at, err := readTime(told(string(m.Picture.Snap.AccurateTime)), c.Location, r.Received)
	if err == nil && at.Time.IsZero() {
		at, err = readTime(told(string(m.Picture.Snap.SnapTime)), c.Location, r.Received)
	}
	if err != nil {
		return Message{}, err
	}
	pictures := slices.Concat(m.Picture.Body.Content.pictures(), m.Picture.Scene.Content.pictures(),
		m.Picture.Combined.Content.pictures(), m.Picture.Cutout.Content.pictures(), r.pictures())
	if len(m.Picture.Plate) == 0 {
		m.Picture.Plate = many[dahuaPlate]{{}}
	}
	var reads []Read
	for _, plate := range m.Picture.Plate {
		read := Read{
			Direction: direction(c, string(m.Picture.Snap.Direction)),
			Plate:     Plate(string(plate.Number)), Time: at.Time, AmbiguousTime: at.Ambiguous,
			Country: told(string(plate.Region)), Make: told(string(m.Picture.Vehicle.Make)), Color: told(string(m.Picture.Vehicle.Color)),
			Pictures: pictures,
		}
		if strings.EqualFold(string(plate.IsExist), "false") && read.Plate != "" {
			read.Candidates, read.Plate = []parking.Candidate{{Plate: read.Plate}}, ""
		}
		if read.Plate != "" {
			read.Confidence = confidence(string(plate.Confidence), dahuaScale)
		}
		reads = append(reads, read)
	}
	return Message{Reads: reads}, nil
}
