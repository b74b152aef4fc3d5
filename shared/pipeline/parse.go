package pipeline

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
)

// maxEventBytes bounds the JSON of one event. Real events have some 200 bytes.
const maxEventBytes = 64 << 10

// wireEvent is the union of parking.EntryEvent and parking.ExitEvent, with times as
// text: the reason of a rejection names the field and quotes its text.
type wireEvent struct {
	ID           string  `json:"id"`
	VehiclePlate string  `json:"vehicle_plate"`
	EntryTime    *string `json:"entry_date_time"`
	ExitTime     *string `json:"exit_date_time"`
	Site         string  `json:"site"`
	Gate         string  `json:"gate"`
}

// example returns a sample event for the reason of a rejection.
func example(kind parking.Kind) string {
	return `an event such as {"id":"1","vehicle_plate":"PLATE","` + kind.String() + `_date_time":"2026-11-27T08:00:00Z"}`
}

// parseEvent parses one event. Its errors are parking.ErrInvalid. If the JSON is valid,
// the returned event has its id despite an error, and the plate if its fields are texts.
func parseEvent(kind parking.Kind, data []byte) (parking.Event, error) {
	var wire wireEvent
	switch {
	case len(data) == 0:
		return parking.Event{}, parking.Invalid("the event is empty: want %s", example(kind))
	case len(data) > maxEventBytes:
		return parking.Event{}, parking.Invalid("the event has %d bytes, at most %d are allowed", len(data), maxEventBytes)
	case !utf8.Valid(data):
		return parking.Event{}, parking.Invalid("the event is not valid UTF-8")
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return parking.Event{ID: readableID(data)}, explain(err, kind)
	}
	if wire == (wireEvent{}) {
		return parking.Event{}, parking.Invalid("the event has none of the fields: want %s", example(kind))
	}
	text, other, processor := wire.EntryTime, wire.ExitTime, "exit-processor"
	if kind == parking.Exit {
		text, other, processor = wire.ExitTime, wire.EntryTime, "entry-processor"
	}
	named := parking.Event{ID: wire.ID, RawPlate: wire.VehiclePlate}
	e := parking.Event{ID: wire.ID, Kind: kind, Site: wire.Site, Gate: wire.Gate, RawPlate: wire.VehiclePlate}
	switch {
	case text == nil && other != nil:
		return named, parking.Invalid("%s_date_time is missing: this event belongs to the %s", kind, processor)
	case other != nil && *other != "": // some publishers send "" for a missing time
		return named, parking.Invalid("it has an entry_date_time and an exit_date_time: make two events of it")
	case text != nil:
		var err error
		if e.Time, err = parking.ParseTime(*text); err != nil {
			return named, parking.Invalid("%s_date_time %v", kind, err)
		}
	}
	e, err := parking.NewEvent(e)
	if err != nil {
		return named, err
	}
	return e, nil
}

// readableID returns the id of an event that failed to decode because another field has
// a wrong type. It returns "" if the JSON is invalid.
func readableID(data []byte) string {
	var wire struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(data, &wire) != nil {
		return ""
	}
	return wire.ID
}

// explain returns an error that describes the fault in the JSON.
func explain(err error, kind parking.Kind) error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		field := strings.TrimPrefix(string(semantic.JSONPointer), "/")
		if field == "" {
			return parking.Invalid("the event is a JSON %s: want %s", kindName(semantic.JSONKind), example(kind))
		}
		return parking.Invalid("%s is a JSON %s: want a string", field, kindName(semantic.JSONKind))
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return parking.Invalid("the event names a field twice: %v", err)
	}
	return parking.Invalid("the event is not JSON: %s; want %s", strings.TrimPrefix(err.Error(), "jsontext: "), example(kind))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '{':
		return "object"
	case '[':
		return "array"
	default:
		return k.String()
	}
}
