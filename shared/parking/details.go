package parking

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Details are what a camera tells of a vehicle besides place, time and plate. All are
// optional. They do not take part in pairing exact plates.
type Details struct {
	// Vehicle is the camera's own id of the vehicle that it tracks.
	Vehicle string `json:"vehicle,omitempty"`
	// Confidence is the camera's confidence in the plate, from 0 to 1.
	Confidence *float64 `json:"confidence,omitempty"`
	// Candidates are other readings of the plate, the most likely first. The plate
	// itself may be among them.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Country is where the plate is from, as the camera writes it.
	Country string `json:"country,omitempty"`
	Make    string `json:"make,omitempty"`
	Color   string `json:"color,omitempty"`
	// Image refers to a stored picture: site/day/name.
	Image string `json:"image,omitempty"`
	// AmbiguousTime reports that the camera gave a local time without a zone, in the hour
	// that comes twice when daylight saving time ends.
	AmbiguousTime bool `json:"ambiguous_time,omitempty"`
	// ReceivedTime reports that the camera gave no time: the event has the time at which
	// it was received.
	ReceivedTime bool `json:"received_time,omitempty"`
}

// Candidate is one reading of a plate.
type Candidate struct {
	Plate string `json:"plate"`
	// Confidence is from 0 to 1, or nil.
	Confidence *float64 `json:"confidence,omitempty"`
}

// Bounds of an event's details.
const (
	MaxCandidates      = 16
	maxVehicleBytes    = 128
	maxCountryRunes    = 16
	maxDescribingRunes = 32 // of make and color
	maxImageBytes      = 300
)

// IsZero reports whether there are no details.
func (d *Details) IsZero() bool {
	return d.Vehicle == "" && d.Confidence == nil && len(d.Candidates) == 0 && d.Country == "" && d.Make == "" &&
		d.Color == "" && d.Image == "" && !d.AmbiguousTime && !d.ReceivedTime
}

// check returns an [ErrInvalid] with the field's name on the wire.
func (d *Details) check() error {
	if d.IsZero() {
		return nil
	}
	if len(d.Vehicle) > maxVehicleBytes || !printable(d.Vehicle) {
		return Invalid("vehicle %s must be at most %d bytes of printable text", quote(d.Vehicle), maxVehicleBytes)
	}
	if err := checkConfidence("confidence", d.Confidence); err != nil {
		return err
	}
	if n := len(d.Candidates); n > MaxCandidates {
		return Invalid("candidates has %d readings, at most %d are allowed", n, MaxCandidates)
	}
	for i := range d.Candidates {
		c := &d.Candidates[i]
		if n := utf8.RuneCountInString(c.Plate); c.Plate == "" || n > MaxRawPlateRunes || !printable(c.Plate) {
			return Invalid("plate %s in candidates must be 1 to %d printable characters", quote(c.Plate), MaxRawPlateRunes)
		}
		if err := checkConfidence("confidence in candidates", c.Confidence); err != nil {
			return err
		}
	}
	if len(d.Image) > maxImageBytes || !printable(d.Image) {
		return Invalid("image %s must be at most %d bytes of printable text", quote(d.Image), maxImageBytes)
	}
	for _, f := range []struct {
		name, text string
		most       int
	}{{"country", d.Country, maxCountryRunes}, {"make", d.Make, maxDescribingRunes}, {"color", d.Color, maxDescribingRunes}} {
		if err := checkText(f.name, f.text, f.most); err != nil {
			return err
		}
	}
	return nil
}

// MaskPlatesIn returns a text about the event with its plate and those of its candidates
// masked; see [MaskPlateIn].
func (e *Event) MaskPlatesIn(text string) string {
	text = MaskPlateIn(text, e.RawPlate)
	for i := range e.Details.Candidates {
		text = MaskPlateIn(text, e.Details.Candidates[i].Plate)
	}
	return text
}

func checkConfidence(field string, c *float64) error {
	if c != nil && !(*c >= 0 && *c <= 1) {
		return Invalid("%s is %v, want 0 to 1", field, *c)
	}
	return nil
}

// eventJSON is the wire form of an [Event].
type eventJSON struct {
	ID           string     `json:"id"`
	VehiclePlate *string    `json:"vehicle_plate"`
	EntryTime    *Timestamp `json:"entry_date_time,omitempty"`
	ExitTime     *Timestamp `json:"exit_date_time,omitempty"`
	Site         string     `json:"site,omitempty"`
	Gate         string     `json:"gate,omitempty"`
	Version      int64      `json:"version,omitempty"`
	Void         bool       `json:"void,omitempty"`
	Camera       string     `json:"camera,omitempty"`
	Details
	Correction *Correction `json:"correction,omitempty"`
}

// MarshalJSON returns the wire form of an event, as its queue takes it. The plate is
// null if none was read, or if the event is void.
func (e Event) MarshalJSON() ([]byte, error) {
	w := eventJSON{ID: e.ID, Site: e.Site, Gate: e.Gate, Void: e.Void, Camera: e.Camera, Details: e.Details, Correction: e.Correction}
	if e.Version != 1 {
		w.Version = e.Version
	}
	if !e.Void && !e.NoPlate {
		w.VehiclePlate = &e.RawPlate
	}
	if at := Timestamp(e.Time); !time.Time(at).IsZero() {
		if e.Kind == Entry {
			w.EntryTime = &at
		} else {
			w.ExitTime = &at
		}
	}
	return json.Marshal(w)
}
