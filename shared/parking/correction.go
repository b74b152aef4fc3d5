package parking

import (
	"slices"
	"time"
)

// CorrectionVersion is the lowest version of a correction. It is above what cameras send as
// versions, also above the microseconds since 1970, so a correction counts whatever the
// camera sends later.
const CorrectionVersion = 1 << 52

// MaxCorrections bounds the corrections of one event.
const MaxCorrections = 12

// Correction tells who decided which plate an event has, instead of its camera.
type Correction struct {
	// ID is that of the decision.
	ID string `json:"id"`
	// By is who decided.
	By string    `json:"by"`
	At time.Time `json:"at"`
	// Was is the normalised plate before, or empty if it is not known any more. NoPlate
	// reports that there was none, and Confirms that it was the same.
	Was      string `json:"was,omitempty"`
	NoPlate  bool   `json:"no_plate,omitempty"`
	Confirms bool   `json:"confirms,omitempty"`
	// Undoes is the id of the decision that this one takes back, or empty.
	Undoes string `json:"undoes,omitempty"`
	// AsRead reports that no decision holds: all are taken back, and the plate is that of the
	// camera again. WasAsRead reports that none held before this one.
	AsRead    bool `json:"as_read,omitempty"`
	WasAsRead bool `json:"was_as_read,omitempty"`
	// Earlier are the ids of the decisions before, the oldest first.
	Earlier []string `json:"earlier,omitempty"`
}

// Corrected reports whether a person decided which plate the event has.
func (e *Event) Corrected() bool { return e.Version >= CorrectionVersion && !e.Void }

// Decided reports whether a decision about the plate of the event holds. Of a corrected event
// whose decisions are all taken back, none does.
func (e *Event) Decided() bool { return e.Correction != nil && !e.Correction.asRead() }

// asRead and wasAsRead return what the fields tell. A correction that was kept before there
// were these fields tells it of the first decision about a read and of its undo only.
func (c *Correction) asRead() bool    { return c.AsRead || c.Undoes != "" && len(c.Earlier) == 1 }
func (c *Correction) wasAsRead() bool { return c.WasAsRead || len(c.Earlier) == 0 }

// Correct returns the next version of an event, with the plate of a decision; without a
// plate if raw is empty. A decision that the plate is right is a correction, too: then the
// camera changes it no more. One that undoes another takes back the last one. Its errors are
// [ErrInvalid].
func (e Event) Correct(raw string, by Correction) (Event, error) {
	if e.Void {
		return Event{}, Invalid("event %s is void: there was no such event, and it has no plate", quote(e.ID))
	}
	by.Was, by.NoPlate, by.Earlier = e.Plate, e.NoPlate, nil
	by.AsRead, by.WasAsRead = false, !e.Decided()
	if before := e.Correction; before != nil {
		by.AsRead = by.Undoes != "" && before.wasAsRead()
		by.Earlier = append(append(by.Earlier, before.Earlier...), before.ID)
	}
	if len(by.Earlier) >= MaxCorrections {
		return Event{}, Invalid("the plate of event %s was decided %d times, which is the most: send its next version to the processor instead", quote(e.ID), len(by.Earlier))
	}
	e.Correction, e.Version = &by, max(e.Version+1, CorrectionVersion)
	e.RawPlate, e.NoPlate = raw, raw == ""
	e, err := NewEvent(e)
	by.Confirms = e.Plate == by.Was
	return e, err
}

// DecidedBy reports whether a decision, by its id, is among those of the event's plate.
func (e *Event) DecidedBy(id string) bool {
	c := e.Correction
	if c == nil {
		return false
	}
	return c.ID == id || slices.Contains(c.Earlier, id)
}
