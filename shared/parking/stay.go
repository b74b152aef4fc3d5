package parking

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// Status of a stay.
type Status string

const (
	// Completed: the exit directly follows an entry.
	Completed Status = "completed"
	// UnmatchedExit: the exit does not directly follow an entry. The entry camera
	// missed the vehicle. This is expected and no failure.
	UnmatchedExit Status = "unmatched_exit"
	// Repeated: the exit repeats the exit before it; see [Repeats].
	Repeated Status = "repeat"
	// Void: the exit's event is void by now, or is no exit with a plate any more. There
	// is no such stay.
	Void Status = "void"
)

// Stay is the meaning of an exit, given all events known so far. Its exit event
// identifies it.
type Stay struct {
	// ID is the id of the exit event.
	ID   string
	Site string
	// Plate is the normalised plate.
	Plate string
	// EntryID is empty and EntryTime zero if the exit is unmatched.
	EntryID   string
	EntryTime time.Time
	ExitTime  time.Time
	// Repeat and Void report the status of a stay without an entry.
	Repeat, Void bool
	// Match tells how entry and exit were put together. It is nil if they were so by the
	// pairing rule and nothing makes that doubtful.
	Match *Explanation
	// Disputed reports that the stay may be two visits, since a lone read of a similar plate
	// lies between entry and exit, or that it is doubtful for another reason; see [Match].
	Disputed bool
	// Revision starts at 1 and increases each time a late event changes the stay.
	Revision int64
}

// Status is Completed if the stay has an entry.
func (s Stay) Status() Status {
	switch {
	case s.Void:
		return Void
	case s.EntryID != "":
		return Completed
	case s.Repeat:
		return Repeated
	}
	return UnmatchedExit
}

// Duration returns the time between entry and exit. ok is false unless the stay is
// completed.
func (s Stay) Duration() (d time.Duration, ok bool) {
	if s.Status() != Completed {
		return 0, false
	}
	return s.ExitTime.Sub(s.EntryTime), true
}

// StayJSON is the public form of a [Stay]. Entry and duration are null unless the stay
// is completed. duration_seconds is rounded down, and duration is ISO 8601. The type is public
// for callers that encode or decode many stays with a faster package than
// encoding/json.
type StayJSON struct {
	ID              string     `json:"id"`
	Site            string     `json:"site"`
	VehiclePlate    string     `json:"vehicle_plate"`
	EntryID         *string    `json:"entry_id"`
	EntryDateTime   *Timestamp `json:"entry_date_time"`
	ExitID          string     `json:"exit_id"`
	ExitDateTime    Timestamp  `json:"exit_date_time"`
	DurationSeconds *int64     `json:"duration_seconds"`
	Duration        *string    `json:"duration"`
	Status          Status     `json:"status"`
	Revision        int64      `json:"revision"`
	// Match and Disputed are those of the stay. Most stays lack both.
	Match    *Explanation `json:"match,omitempty"`
	Disputed bool         `json:"disputed,omitzero"`
}

// JSON returns the public form.
func (s Stay) JSON() StayJSON {
	w := StayJSON{
		ID: s.ID, Site: s.Site, VehiclePlate: s.Plate,
		ExitID: s.ID, ExitDateTime: Timestamp(s.ExitTime),
		Status: s.Status(), Revision: s.Revision, Match: s.Match, Disputed: s.Disputed,
	}
	if d, ok := s.Duration(); ok {
		entry, seconds, iso := Timestamp(s.EntryTime), int64(d/time.Second), ISODuration(d)
		w.EntryID, w.EntryDateTime = &s.EntryID, &entry
		w.DurationSeconds, w.Duration = &seconds, &iso
	}
	return w
}

// Stay returns the stay of a public form. exit_id has to be the id. The other derived
// fields (status and the two durations) are optional and may be null. If one is given,
// it must agree with the rest. Without an entry the status tells a repeat and a void
// stay from an unmatched exit.
func (w StayJSON) Stay() (Stay, error) {
	s := Stay{
		ID: w.ID, Site: w.Site, Plate: w.VehiclePlate,
		ExitTime: time.Time(w.ExitDateTime).UTC(), Revision: w.Revision,
		Repeat: w.Status == Repeated, Void: w.Status == Void, Match: w.Match, Disputed: w.Disputed,
	}
	switch {
	case w.EntryID == nil && w.EntryDateTime == nil:
	case w.EntryID == nil:
		return Stay{}, Invalid("stay %s has an entry_date_time but no entry_id", quote(w.ID))
	case *w.EntryID == "":
		return Stay{}, Invalid("stay %s has an empty entry_id: want null for an unmatched exit", quote(w.ID))
	case w.EntryDateTime == nil:
		return Stay{}, Invalid("stay %s has an entry_id but no entry_date_time", quote(w.ID))
	case s.Repeat || s.Void:
		return Stay{}, Invalid("stay %s has the status %s and an entry: want null as its entry", quote(w.ID), w.Status)
	default:
		s.EntryID, s.EntryTime = *w.EntryID, time.Time(*w.EntryDateTime).UTC()
	}
	s.plainMatch()
	return s, w.contradiction(s.JSON())
}

// plainMatch leaves out the match of a stay that is as by the pairing rule, which answers
// show, and adds it to a disputed one, which has nothing else to tell.
func (s *Stay) plainMatch() {
	switch {
	case s.EntryID == "":
	case s.Match == nil && s.Disputed:
		s.Match = &Explanation{Method: Exact}
	case s.Match != nil && !s.Disputed && reflect.DeepEqual(*s.Match, Explanation{Method: Exact}):
		s.Match = nil
	}
}

// contradiction returns an [ErrInvalid] if the exit_id, or another given derived field,
// differs from the derived value.
func (w StayJSON) contradiction(derived StayJSON) error {
	if w.ExitID != derived.ExitID {
		return Invalid("id %s is not the exit_id %s", quote(w.ID), quote(w.ExitID))
	}
	if w.Status != "" && w.Status != derived.Status {
		return Invalid("stay %s has the status %s, but its other fields make it %s", quote(w.ID), quote(string(w.Status)), derived.Status)
	}
	if d := w.DurationSeconds; d != nil && (derived.DurationSeconds == nil || *d != *derived.DurationSeconds) {
		return Invalid("stay %s has duration_seconds %d, but its times make it %s", quote(w.ID), *d, orNull(derived.DurationSeconds))
	}
	if d := w.Duration; d != nil && (derived.Duration == nil || *d != *derived.Duration) {
		return Invalid("stay %s has the duration %s, but its times make it %s", quote(w.ID), quote(*d), orNull(derived.Duration))
	}
	return nil
}

// orNull returns the text of what v points to, or null, for people.
func orNull[T any](v *T) string {
	if v == nil {
		return "null"
	}
	return fmt.Sprint(*v)
}

// MarshalJSON returns the public form.
func (s Stay) MarshalJSON() ([]byte, error) { return json.Marshal(s.JSON()) }

// UnmarshalJSON parses the public form.
func (s *Stay) UnmarshalJSON(text []byte) error {
	var w StayJSON
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	stay, err := w.Stay()
	if err == nil {
		*s = stay
	}
	return err
}

// Latest returns each stay once, at its highest revision, in the order of first
// appearance.
func Latest(stays []Stay) []Stay {
	type key struct{ site, id string }
	latest := make([]Stay, 0, len(stays))
	at := make(map[key]int, len(stays))
	for _, s := range stays {
		k := key{s.Site, s.ID}
		i, known := at[k]
		switch {
		case !known:
			at[k] = len(latest)
			latest = append(latest, s)
		case s.Revision > latest[i].Revision:
			latest[i] = s
		}
	}
	return latest
}

// ISODuration returns whole seconds, rounded down, as an ISO 8601 duration in hours,
// minutes and seconds. PT26H0M5S is written as PT26H5S.
func ISODuration(d time.Duration) string {
	total := int64(d / time.Second)
	if total == 0 {
		return "PT0S"
	}
	text := make([]byte, 0, 16)
	text = append(text, "PT"...)
	for _, part := range [...]struct {
		n    int64
		unit byte
	}{{total / 3600, 'H'}, {total / 60 % 60, 'M'}, {total % 60, 'S'}} {
		if part.n > 0 {
			text = strconv.AppendInt(text, part.n, 10)
			text = append(text, part.unit)
		}
	}
	return string(text)
}
