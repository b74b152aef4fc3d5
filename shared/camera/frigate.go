package camera

import (
	"encoding/json"
	"slices"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// frigate is what Frigate publishes as events and as tracked_object_update, and what its
// API of events returns.
var frigate = Format{Name: "frigate", Recognise: isFrigate, Parse: parseFrigate}

func isFrigate(r Request) bool {
	e := r.example()
	switch {
	case hasAll(e, "type", "after"):
		return isFrigateObject(membersOf(e["after"]))
	case slices.Contains([]string{`"lpr"`, `"description"`, `"face"`, `"classification"`}, string(e["type"])):
		return hasAll(e, "id") && !isCloudEvent(r)
	}
	return isFrigateObject(e)
}

func isFrigateObject(members map[string][]byte) bool {
	return hasAll(members, "id", "start_time") && hasAny(members, "camera", "label")
}

// frigateMessage is any message: the object that it is about is in After, or the message
// is that object, or it has the plate of an object.
type frigateMessage struct {
	Type  loose          `json:"type"`
	After *frigateObject `json:"after"`
	frigateObject

	Plate     present `json:"plate"`
	Score     loose   `json:"score"`
	Timestamp loose   `json:"timestamp"`
}

// frigateObject is a tracked object. A Plate that is null, and one that is missing, are
// the same: it is not recognised yet, or the plate is a known one and has its name as
// SubLabel.
type frigateObject struct {
	ID            loose           `json:"id"`
	Label         loose           `json:"label"`
	SubLabel      scoredText      `json:"sub_label"`
	Recognized    scoredText      `json:"recognized_license_plate"`
	Recognition   loose           `json:"recognized_license_plate_score"`
	FrameTime     loose           `json:"frame_time"`
	StartTime     loose           `json:"start_time"`
	EndTime       loose           `json:"end_time"`
	FalsePositive loose           `json:"false_positive"`
	EnteredZones  json.RawMessage `json:"entered_zones"`
	Zones         json.RawMessage `json:"zones"`
	Thumbnail     base64Picture   `json:"thumbnail"`
	Data          detail[struct {
		Recognized    scoredText `json:"recognized_license_plate"`
		Recognition   loose      `json:"recognized_license_plate_score"`
		SubLabelScore loose      `json:"sub_label_score"`
	}] `json:"data"`
}

func parseFrigate(r Request, c site.Camera) (Message, error) {
	m, err := each(r, func(message frigateMessage) (Message, error) {
		read, found, err := message.read(c)
		if err != nil || !found {
			return Message{}, err
		}
		return Message{Reads: []Read{read}}, nil
	})
	return m.withPictures(r), err
}

// read returns the read of a vehicle that a message tells, if it does.
func (m frigateMessage) read(c site.Camera) (read Read, found bool, err error) {
	switch {
	case m.After != nil:
		return m.After.read(c)
	case m.Type == "lpr" || m.Plate.Given:
		return m.readUpdate()
	case m.StartTime != "":
		return m.frigateObject.read(c)
	case m.Type != "" && m.ID != "": // a description, a face
		return Read{}, false, nil
	}
	return Read{}, false, parking.Invalid("want an event of Frigate with after, an object with start_time, or an update with plate, in the JSON")
}

// readUpdate returns the read of a tracked_object_update.
func (m frigateMessage) readUpdate() (read Read, found bool, err error) {
	at, err := epoch(string(m.Timestamp), 0)
	if err != nil {
		return Read{}, false, err
	}
	read = Read{
		Plate: Plate(string(m.Plate.Text)), Confidence: confidence(string(m.Score), ofOne),
		Time: at.Time, Vehicle: string(m.ID), Tracked: true, // its end follows
	}
	read.Order = frigateOrder(read, at)
	return read, true, nil
}

// vehicleLabels are the labels of objects that have plates.
var vehicleLabels = []string{"car", "motorcycle", "bus", "truck", "van", "school_bus", "garbage_truck", "license_plate", "vehicle"}

// read returns the read of an object, if it is a vehicle or has a plate.
func (o frigateObject) read(c site.Camera) (read Read, found bool, err error) {
	started := func() (clock, error) { return epoch(string(o.StartTime), 0) }
	framed := func() (clock, error) { return epoch(string(o.FrameTime), 0) }
	ended := func() (clock, error) { return epoch(string(o.EndTime), 0) }
	start, err := firstClock(started, framed, ended)
	if err != nil {
		return Read{}, false, err
	}
	seen, err := firstClock(framed, ended, started)
	if err != nil {
		return Read{}, false, err
	}
	read = Read{Time: start.Time, Vehicle: string(o.ID), Direction: o.zone(c), Tracked: o.EndTime == "", Pictures: o.Thumbnail.pictures()}
	var score string
	read.Plate, score = o.plate()
	read.Confidence = confidence(score, ofOne)
	read.Order = frigateOrder(read, seen)
	isVehicle := read.Plate != "" || slices.Contains(vehicleLabels, strings.ToLower(string(o.Label)))
	return read, isVehicle && o.FalsePositive != "true", nil
}

// plate returns the plate of an object and its score. A label is one if it has a digit:
// others are names of known vehicles, or of carriers.
func (o frigateObject) plate() (text, score string) {
	for _, p := range []scoredText{o.Recognized, o.Data.Value.Recognized} {
		if text := Plate(p.Text); text != "" {
			return text, firstOf(loose(p.Score), o.Recognition, o.Data.Value.Recognition)
		}
	}
	if strings.ContainsAny(o.SubLabel.Text, "0123456789") {
		return Plate(o.SubLabel.Text), firstOf(loose(o.SubLabel.Score), o.Data.Value.SubLabelScore)
	}
	return "", ""
}

// zone returns the zone that an object entered last, of those that the camera's
// configuration maps to a direction. Without such a mapping it is the last one.
func (o frigateObject) zone(c site.Camera) string {
	zones, _ := decodeList[loose](o.EnteredZones, maxElements)
	if len(zones) == 0 {
		zones, _ = decodeList[loose](o.Zones, maxElements)
	}
	for _, zone := range slices.Backward(zones) {
		zone := strings.ToLower(string(zone))
		if _, found := c.Directions[zone]; found || len(c.Directions) == 0 {
			return zone
		}
	}
	return ""
}

// frigateOrder returns the order of what is told of one object: by the time of the
// frame. Without a plate it is the first, and always the same.
func frigateOrder(read Read, seen clock) int64 {
	if read.Plate == "" || seen.Time.IsZero() {
		return 0
	}
	return seen.Time.UnixMilli()
}

// scoredText is a text, or a list of a text and its score.
type scoredText struct{ Text, Score string }

// UnmarshalJSON implements json.Unmarshaler.
func (s *scoredText) UnmarshalJSON(text []byte) error {
	parts, err := decodeList[loose](text, maxParts)
	if err != nil {
		return err
	}
	parts = append(parts, "", "")
	*s = scoredText{Text: string(parts[0]), Score: string(parts[1])}
	return nil
}
