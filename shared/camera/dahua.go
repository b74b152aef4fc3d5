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
		members := r.example()
		return hasAny(membersOf(members["picture"]), "plate", "snapinfo", "parkinginfo") ||
			hasAny(members, "tollgateinfo", "notificationinfo") ||
			hasAll(members, "deviceid") && hasAny(members, "active", "devicemodel", "devicename", "alarminfo")
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		return each(r, func(m dahuaMessage) (Message, error) { return m.message(r, c) })
	},
	Accepted: func() (contentType string, body []byte) {
		return "application/json", []byte(`{"Result":true}`)
	},
}

// dahuaMessage is every message of ITSAPI.
type dahuaMessage struct {
	Picture *struct {
		Plate    many[element[dahuaPlate]] `json:"Plate"`
		Snap     detail[dahuaSnap]         `json:"SnapInfo"`
		Parking  *detail[struct{}]         `json:"ParkingInfo"`
		Vehicle  detail[dahuaVehicle]      `json:"Vehicle"`
		Body     detail[dahuaPicture]      `json:"VehiclePic"`
		Scene    detail[dahuaPicture]      `json:"NormalPic"`
		Combined detail[dahuaPicture]      `json:"CombinPic"`
		Cutout   detail[dahuaPicture]      `json:"CutoutPic"`
	} `json:"Picture"`
	Active   loose             `json:"Active"`
	DeviceID loose             `json:"DeviceID"`
	Alarm    *detail[struct{}] `json:"AlarmInfo"`
	// The message itself, if it has the names of its path around it.
	Notification *dahuaMessage `json:"NotificationInfo"`
	Tollgate     *dahuaMessage `json:"TollgateInfo"`
}

type dahuaPlate struct {
	IsExist    loose  `json:"IsExist"`
	Number     scalar `json:"PlateNumber"`
	Confidence loose  `json:"Confidence"`
	Region     loose  `json:"Region"`
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

func (m dahuaMessage) message(r Request, c site.Camera) (Message, error) {
	for m.Notification != nil || m.Tollgate != nil {
		if m.Notification != nil {
			m = *m.Notification
		} else {
			m = *m.Tollgate
		}
	}
	switch {
	case m.Picture != nil && m.Picture.Parking != nil && m.Picture.Snap.Value == (dahuaSnap{}): // of a parking space, not of a gate
		return Message{}, nil
	case m.Picture != nil:
	case m.Alarm != nil:
		return Message{}, nil
	case m.Active != "" || m.DeviceID != "":
		return Message{Heartbeat: true}, nil
	default:
		return Message{}, parking.Invalid("the message has neither Picture, as TollgateInfo has, nor Active and DeviceID, as KeepAlive has")
	}
	at, err := readTime(told(string(m.Picture.Snap.Value.AccurateTime)), c.Location, r.Received)
	if err == nil && at.Time.IsZero() {
		at, err = readTime(told(string(m.Picture.Snap.Value.SnapTime)), c.Location, r.Received)
	}
	if err != nil {
		return Message{}, err
	}
	pictures := slices.Concat(m.Picture.Body.Value.Content.pictures(), m.Picture.Scene.Value.Content.pictures(),
		m.Picture.Combined.Value.Content.pictures(), m.Picture.Cutout.Value.Content.pictures(), r.pictures())
	if len(m.Picture.Plate) == 0 {
		m.Picture.Plate = many[element[dahuaPlate]]{{}}
	}
	var all Message
	for _, p := range m.Picture.Plate {
		plate := p.Value
		read := Read{
			Direction: direction(c, string(m.Picture.Snap.Value.Direction)),
			Plate:     Plate(string(plate.Number)), Time: at.Time, AmbiguousTime: at.Ambiguous,
			Country: told(string(plate.Region)), Make: told(string(m.Picture.Vehicle.Value.Make)), Color: told(string(m.Picture.Vehicle.Value.Color)),
			Pictures: pictures,
		}
		if strings.EqualFold(string(plate.IsExist), "false") && read.Plate != "" {
			read.Candidates, read.Plate = []parking.Candidate{{Plate: read.Plate}}, ""
		}
		if read.Plate != "" {
			read.Confidence = confidence(string(plate.Confidence), dahuaScale)
		}
		all.addRead(read, p.Err)
	}
	return all, nil
}
