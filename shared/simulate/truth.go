package simulate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"parkstream/shared/parking"
)

// Truth is a line of a file of the truth. One of its fields is set.
type Truth struct {
	Run   *TruthRun   `json:"run,omitempty"` // the first line
	Visit *TruthVisit `json:"visit,omitempty"`
	Read  *TruthRead  `json:"read,omitempty"`
}

// TruthRun is what was simulated.
type TruthRun struct {
	Site  string    `json:"site"`
	Seed  uint64    `json:"seed"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	Zone  string    `json:"zone"`
	// New reports that the site had no events before.
	New bool `json:"new"`
}

// TruthVisit is a visit.
type TruthVisit struct {
	Visit     int64     `json:"visit"`
	Vehicle   int64     `json:"vehicle"`
	Plate     string    `json:"plate"`
	Country   string    `json:"country"`
	Kind      string    `json:"kind"`
	Entry     time.Time `json:"entry"`
	Exit      time.Time `json:"exit,omitzero"` // zero: it was inside at the end
	Tailgated bool      `json:"tailgated,omitempty"`
}

// TruthRead is a read.
type TruthRead struct {
	Read   int64     `json:"read"`
	Visit  int64     `json:"visit"`
	Camera string    `json:"camera"`
	Gate   string    `json:"gate"`
	Kind   string    `json:"kind"` // entry or exit
	Seen   time.Time `json:"seen"`
	Fate   Fate      `json:"fate"`

	// What the camera told; a dropped read has nothing of it.
	Plate   *string   `json:"plate,omitempty"` // nil: none was read
	Time    time.Time `json:"time,omitzero"`
	Event   string    `json:"event,omitempty"` // its id
	Version int64     `json:"version,omitempty"`
	// Accepted reports that the post was answered so. If it was not the read may be
	// unknown, or not.
	Accepted bool `json:"accepted,omitempty"`
}

// TruthOfVisit returns the line of a visit.
func TruthOfVisit(v *Visit) Truth {
	return Truth{Visit: &TruthVisit{v.Number, v.Vehicle, v.Plate, v.Country, v.Kind, v.Entry, v.Exit, v.Tailgated}}
}

// TruthOfRead returns the line of a read. The caller adds what became of it.
func TruthOfRead(r *Read) Truth {
	t := TruthRead{Read: r.Number, Visit: r.Visit.Number, Camera: r.Camera.ID, Gate: r.Camera.Gate, Kind: r.Kind.String(), Seen: r.Seen.UTC(), Fate: r.Fate, Time: r.Time}
	if r.Plate != "" {
		t.Plate = &r.Plate
	}
	return Truth{Read: &t}
}

// Told returns the event that the read is.
func (t *TruthRead) Told(site string) parking.Event {
	e := parking.Event{ID: t.Event, Site: site, Kind: parking.Entry, Version: t.Version, Camera: t.Camera, Gate: t.Gate, Time: t.Time, NoPlate: t.Plate == nil}
	if t.Kind == parking.Exit.String() {
		e.Kind = parking.Exit
	}
	if t.Plate != nil {
		e.RawPlate, e.Plate = *t.Plate, parking.NormalizePlate(*t.Plate)
	}
	return e
}

// TruthWriter writes lines, also of several goroutines.
type TruthWriter struct {
	mu  sync.Mutex
	out *bufio.Writer
}

// NewTruthWriter returns a writer.
func NewTruthWriter(out io.Writer) *TruthWriter { return &TruthWriter{out: bufio.NewWriter(out)} }

// Write writes a line.
func (w *TruthWriter) Write(t Truth) error {
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("write the truth: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write the truth: %w", err)
	}
	return nil
}

// Flush writes what is buffered.
func (w *TruthWriter) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write the truth: %w", err)
	}
	return nil
}

// ReadTruth passes the lines of a file of the truth to each, and returns its first one.
func ReadTruth(in io.Reader, each func(Truth)) (TruthRun, error) {
	var run *TruthRun
	decoder := json.NewDecoder(in)
	for line := 1; ; line++ {
		var t Truth
		err := decoder.Decode(&t)
		switch {
		case errors.Is(err, io.EOF) && run != nil:
			return *run, nil
		case err != nil && !errors.Is(err, io.EOF):
			return TruthRun{}, fmt.Errorf("line %d is no line of a file of the truth: %w", line, err)
		case run == nil && t.Run == nil:
			return TruthRun{}, errors.New("this is no file of the truth: its first line does not tell what was simulated; `parkstream simulate --truth FILE` writes one")
		case t.Run != nil:
			run = t.Run
		default:
			each(t)
		}
	}
}
