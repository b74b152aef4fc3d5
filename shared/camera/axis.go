package camera

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// axis is what the applications AXIS License Plate Verifier and FF LPR send.
var axis = Format{Name: "axis", Recognise: isAxis, Parse: parseAxis}

func isAxis(r Request) bool {
	switch r.root() {
	case "event":
		return bytes.Contains(r.document(), []byte("<LPR"))
	case "events":
		return bytes.Contains(r.document(), []byte("<LPR")) || !bytes.Contains(r.document(), []byte("<event>"))
	case "":
		e := r.example()
		return hasAny(e, "plateutf8", "plateunicode", "platetext", "plateascii") && hasAny(e, "carid", "carstate", "packetcounter") ||
			hasAll(e, "packetcounter", "sensorproviderid")
	}
	return false
}

// axisEvent is one message in JSON.
type axisEvent struct {
	PlateUTF8    loose `json:"plateUTF8"`
	PlateUnicode loose `json:"plateUnicode"`
	PlateText    loose `json:"plateText"`
	PlateASCII   loose `json:"plateASCII"`
	Confidence   loose `json:"plateConfidence"`
	Country      loose `json:"plateCountry"`
	State        loose `json:"carState"`
	Direction    loose `json:"carMoveDirection"`
	CarID        loose `json:"carID"`
	// Captured is in milliseconds, CapturedNS in nanoseconds. Local may have a zone.
	Captured    loose `json:"capture_timestamp"`
	CapturedNS  loose `json:"capture_ts"`
	Local       loose `json:"datetime"`
	VehicleInfo detail[struct {
		Make  loose `json:"make"`
		Color loose `json:"color"`
	}] `json:"vehicle_info"`
	Images  json.RawMessage `json:"ImageArray"`
	Counter loose           `json:"packetCounter"`
	Sensor  loose           `json:"sensorProviderID"`
}

type axisImage struct {
	Binary base64Picture `json:"BinaryImage"`
}

func parseAxis(r Request, c site.Camera) (Message, error) {
	if documentKind(r.document()) == "xml" {
		return parseAxisRecords(r, c)
	}
	m, err := each(r, func(e axisEvent) (Message, error) {
		read, err := e.read(r, c)
		switch {
		case err != nil:
			return Message{}, err
		case read.Plate == "" && e.State == "" && e.CarID == "": // there is no vehicle
			if e.Counter == "" && e.Sensor == "" {
				return Message{}, parking.Invalid("want plateUTF8 and carState, or carID, in the JSON of an Axis camera")
			}
			return Message{Heartbeat: true}, nil
		}
		return Message{Reads: []Read{read}}, nil
	})
	return m.withPictures(r), err
}

func (e axisEvent) read(r Request, c site.Camera) (Read, error) {
	at, err := firstClock(
		func() (clock, error) { return epoch(string(e.Captured), 0) },
		func() (clock, error) { return epoch(string(e.CapturedNS), 0) },
		func() (clock, error) { return readTime(string(e.Local), c.Location, r.Received) },
	)
	if err != nil {
		return Read{}, err
	}
	read := Read{
		Plate: Plate(unescaped(firstOf(e.PlateUTF8, e.PlateUnicode, e.PlateText, e.PlateASCII))),
		Time:  at.Time, AmbiguousTime: at.Ambiguous,
		Vehicle: string(e.CarID), VehicleCounts: true,
		Confidence: confidence(string(e.Confidence), ofEither),
		Country:    told(string(e.Country)), Make: told(string(e.VehicleInfo.Value.Make)), Color: told(string(e.VehicleInfo.Value.Color)),
	}
	read.Direction, read.Kind = axisDirection(string(e.Direction))
	read.Order = axisOrder(string(e.State), read)
	read.Tracked = e.CarID != "" && e.State != "" && !strings.EqualFold(string(e.State), "lost")
	images, _ := decodeList[axisImage](e.Images, maxParts) // others are no reason to lose the car
	for _, image := range images {
		read.Pictures = append(read.Pictures, image.Binary.pictures()...)
	}
	return read, nil
}

// axisOrder returns the order of the messages about one car: those without a plate
// before those with one, then new, update and lost, then by time. A lost message may have
// the time of an update before it.
func axisOrder(state string, read Read) int64 {
	const timeBits = 42 // of milliseconds: to the year 2109
	var rank int64
	switch state = strings.ToLower(state); {
	case state == "", read.Time.IsZero():
		return 0
	case read.Plate == "":
	case state == "lost":
		rank = 3
	case strings.HasPrefix(state, "update"):
		rank = 2
	default:
		rank = 1
	}
	return rank<<timeBits | read.Time.UnixMilli()&(1<<timeBits-1)
}

// axisDirection returns a direction and its meaning: in and out are as the direction is
// set in the camera. The numbers are those of the XML.
func axisDirection(text string) (string, parking.Kind) {
	switch direction := strings.ToLower(strings.TrimSpace(text)); direction {
	case "in", "2":
		return "in", parking.Entry
	case "out", "3":
		return "out", parking.Exit
	case "unk", "0", "1":
		return "", 0
	default:
		return told(direction), 0
	}
}

// unescaped returns a text in which characters were written as \u0041 a second time.
func unescaped(text string) string {
	if !strings.Contains(text, `\u`) {
		return text
	}
	if plain, err := strconv.Unquote(`"` + text + `"`); err == nil {
		return plain
	}
	return text
}

// withoutZone returns a date and time without the name of a zone after it, such as TRT.
func withoutZone(text string) string {
	fields := strings.Fields(text)
	return strings.Join(fields[:min(len(fields), 2)], " ")
}

// axisRecord is one event of the camera's own list, in XML.
type axisRecord struct {
	TS        string `xml:"TS"`
	ModTS     string `xml:"MOD_TS"`
	CarID     string `xml:"CAR_ID"`
	Plate     string `xml:"LPR"`
	Threshold string `xml:"THRESHOLD"`
	Direction string `xml:"DIRECTION"`
	Country   string `xml:"COUNTRY"`
}

func parseAxisRecords(r Request, c site.Camera) (Message, error) {
	var list struct {
		axisRecord              // of the root event
		Events     []axisRecord `xml:"event"`
	}
	if err := decodeXML(r.document(), &list); err != nil {
		return Message{}, err
	}
	if r.root() == "event" {
		list.Events = []axisRecord{list.axisRecord}
	}
	if len(list.Events) > maxElements {
		return Message{}, parking.Invalid("the XML has more than %d events", maxElements)
	}
	var m Message
	for _, e := range list.Events {
		m.addRead(e.read(r, c))
	}
	return m, nil
}

func (e axisRecord) read(r Request, c site.Camera) (Read, error) {
	at, err := firstClock(
		func() (clock, error) { return epoch(e.TS, 0) },
		func() (clock, error) { return readTime(e.ModTS, c.Location, r.Received) },
		func() (clock, error) { return readTime(withoutZone(e.ModTS), c.Location, r.Received) },
	)
	if err != nil {
		return Read{}, err
	}
	read := Read{
		Plate: Plate(e.Plate), Time: at.Time, AmbiguousTime: at.Ambiguous,
		Vehicle: strings.TrimSpace(e.CarID), VehicleCounts: true,
		Confidence: confidence(e.Threshold, ofEither), Country: told(e.Country),
	}
	read.Direction, read.Kind = axisDirection(e.Direction)
	return read, nil
}
