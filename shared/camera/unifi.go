package camera

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// unifi is the webhook of UniFi Protect's Alarm Manager, sent as POST: an alarm with the
// triggers that caused it. Those of license plates are reads, all others are none.
var unifi = Format{
	Name: "unifi",
	Recognise: func(r Request) bool {
		return hasAll(membersOf(r.example()["alarm"]), "triggers")
	},
	Parse: func(r Request, c site.Camera) (Message, error) {
		return each(r, func(m unifiMessage) (Message, error) { return m.message(r, c) })
	},
}

// unifiMessage is one alarm.
type unifiMessage struct {
	Alarm *struct {
		Triggers  many[element[unifiTrigger]] `json:"triggers"`
		Thumbnail base64Picture               `json:"thumbnail"`
	} `json:"alarm"`
	// Timestamp is the time at which the alarm was sent.
	Timestamp loose `json:"timestamp"`
}

// unifiTrigger is one reason of an alarm.
type unifiTrigger struct {
	Key loose `json:"key"`
	// Value is the plate, of a trigger of a plate.
	Value json.RawMessage `json:"value"`
	Group detail[struct {
		Name loose `json:"name"`
	}] `json:"group"`
	Zones detail[struct {
		Lines many[loose] `json:"line"`
		Zones many[loose] `json:"zone"`
	}] `json:"zones"`
	EventID   loose `json:"eventId"`
	Timestamp loose `json:"timestamp"`
}

// isUniFiPlate reports whether a key is that of a trigger of a license plate:
// license_plate_known, license_plate_unknown, and license_plate_of_interest.
func isUniFiPlate(key string) bool {
	return strings.Contains(strings.ReplaceAll(strings.ToLower(key), "_", ""), "licenseplate")
}

func (m unifiMessage) message(r Request, c site.Camera) (Message, error) {
	if m.Alarm == nil {
		return Message{}, parking.Invalid("the message has no alarm")
	}
	var all Message
	seen := map[string]bool{}
	for _, trigger := range m.Alarm.Triggers {
		t := trigger.Value
		if trigger.Err != nil {
			all.addRead(Read{}, trigger.Err)
		}
		if !isUniFiPlate(string(t.Key)) {
			continue
		}
		at, err := r.anyTime(string(cmp.Or(t.Timestamp, m.Timestamp)), c)
		var value scalar
		if len(t.Value) > 0 {
			err = cmp.Or(value.UnmarshalJSON(t.Value), err)
		}
		read := Read{
			Plate: Plate(cmp.Or(told(string(value)), string(t.Group.Value.Name))), Time: at.Time, AmbiguousTime: at.Ambiguous,
			Direction: direction(c, t.places()...), Pictures: m.Alarm.Thumbnail.pictures(),
		}
		// One vehicle may be known and of interest.
		if key := fmt.Sprint(read.Plate, read.Time, t.EventID); !seen[key] {
			seen[key] = true
			all.addRead(read, err)
		}
	}
	return all, nil
}

// places returns the lines and zones of the camera's picture where the vehicle was seen,
// as directions. UniFi Protect tells no other direction.
func (t unifiTrigger) places() []string {
	var places []string
	for _, line := range t.Zones.Value.Lines {
		places = append(places, "line "+string(line))
	}
	for _, zone := range t.Zones.Value.Zones {
		places = append(places, "zone "+string(zone))
	}
	return places
}
