package pipeline

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
)

// maxEventBytes bounds the JSON of one event. Real events have some 200 bytes.
const maxEventBytes = 64 << 10

// wireEvent is the wire form of entries and exits, with times as text: the reason of a
// rejection names the field and quotes its text.
type wireEvent struct {
	ID string `json:"id"`
	// VehiclePlate is nil if it is null, and points to "" if it is missing.
	VehiclePlate *string `json:"vehicle_plate"`
	EntryTime    *string `json:"entry_date_time"`
	ExitTime     *string `json:"exit_date_time"`
	Site         string  `json:"site"`
	Gate         string  `json:"gate"`
	Version      *int64  `json:"version"`
	Void         bool    `json:"void"`
	Camera       string  `json:"camera"`
	// Details is nil if none is given: most events have none.
	*parking.Details
}

// isZero reports whether no field is given.
func (w wireEvent) isZero() bool {
	if w.VehiclePlate != nil && *w.VehiclePlate == "" {
		w.VehiclePlate = nil
	}
	return reflect.ValueOf(w).IsZero()
}

// example returns a sample event for the reason of a rejection.
func example(kind parking.Kind) string {
	return `an event such as {"id":"1","vehicle_plate":"PLATE","` + kind.String() + `_date_time":"2026-11-27T08:00:00Z"}`
}

// ParseEvent parses the wire form of one event, which docs/events.md describes. Its
// errors are [parking.ErrInvalid] and name the field. If the JSON is valid, the returned
// event has its id despite an error, and the plates if its fields are of the right types.
func ParseEvent(kind parking.Kind, data []byte) (e parking.Event, err error) {
	var plate string
	wire := wireEvent{VehiclePlate: &plate}
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
	if wire.ID == "" && wire.isZero() {
		return parking.Event{}, parking.Invalid("the event has none of the fields: want %s", example(kind))
	}
	text, other, processor := wire.EntryTime, wire.ExitTime, "exit-processor"
	if kind == parking.Exit {
		text, other, processor = wire.ExitTime, wire.EntryTime, "entry-processor"
	}
	e = parking.Event{
		ID: wire.ID, Kind: kind, Site: wire.Site, Gate: wire.Gate, Void: wire.Void, Camera: wire.Camera,
		RawPlate: plate, NoPlate: wire.VehiclePlate == nil && !wire.Void,
	}
	if wire.Details != nil {
		e.Details = *wire.Details
	}
	defer func() {
		if err != nil {
			e = parking.Event{ID: wire.ID, RawPlate: plate, Details: e.Details}
		}
	}()
	if wire.Version != nil {
		if e.Version = *wire.Version; e.Version < 1 {
			return e, parking.Invalid("version is %d, want %s", e.Version, wholeVersion)
		}
	}
	switch {
	case wire.Void: // a time means nothing, and so does the kind
	case text == nil && other != nil:
		return e, parking.Invalid("%s_date_time is missing: this event belongs to the %s", kind, processor)
	case other != nil && *other != "": // some publishers send "" for a missing time
		return e, parking.Invalid("it has an entry_date_time and an exit_date_time: make two events of it")
	case text != nil:
		if e.Time, err = parking.ParseTime(*text); err != nil {
			return e, parking.Invalid("%s_date_time %v", kind, err)
		}
	}
	return e, e.Normalize()
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
		want := wanted(field)
		if semantic.JSONKind == '0' && strings.Contains(want, "number") {
			return parking.Invalid("%s is %.40s: want %s", field, semantic.JSONValue, want)
		}
		return parking.Invalid("%s is a JSON %s: want %s", field, kindName(semantic.JSONKind), want)
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return parking.Invalid("the event names a field twice: %v", err)
	}
	return parking.Invalid("the event is not JSON: %s; want %s", strings.TrimPrefix(err.Error(), "jsontext: "), example(kind))
}

// wholeVersion describes the values of a version.
var wholeVersion = fmt.Sprintf("a whole number from 1 to %d", int64(parking.MaxVersion))

// wanted describes the values of a field, for the reason of a rejection. The field is a
// JSON pointer without its first slash; only candidates have parts.
func wanted(field string) string {
	const candidate = `{"plate":"PLATE","confidence":0.9}`
	parts := strings.Split(field, "/")
	if len(parts) == 2 {
		return "an object such as " + candidate
	}
	switch parts[len(parts)-1] {
	case "version":
		return wholeVersion
	case "void", "ambiguous_time", "received_time":
		return "true or false"
	case "confidence":
		return "a number from 0 to 1"
	case "candidates":
		return "an array such as [" + candidate + "]"
	case "vehicle_plate":
		return "a string, or null if no plate was read"
	}
	return "a string"
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
