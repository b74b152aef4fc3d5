package parking

import (
	"slices"
	"time"
)

// DefaultRepeat is the time within which a read repeats the one before it, unless the
// site says otherwise.
const DefaultRepeat = time.Minute

// MaxRepeat is the longest such time.
const MaxRepeat = time.Hour

// Repeats are the settings of a site of what a repeated read is, in the order of From.
// Each is valid for reads observed at From or later, until the next one is. Before the
// first, [DefaultRepeat] is valid. So what an event means does not change with a later
// setting.
type Repeats []RepeatSince

// RepeatSince is one setting.
type RepeatSince struct {
	From   time.Time     `json:"from"`
	Within time.Duration `json:"within"` // 0: no read is a repeat
}

// At returns the setting for a read observed at t.
func (r Repeats) At(t time.Time) time.Duration {
	for _, setting := range slices.Backward(r) {
		if !t.Before(setting.From) {
			return setting.Within
		}
	}
	return DefaultRepeat
}

// Repeat reports whether event b, directly after a in a timeline, repeats it: they are of
// one kind and of one camera (of one gate, unless both name a camera), and b comes within
// the setting after a. Events that name neither are of no known place, and repeat
// nothing.
func (r Repeats) Repeat(a, b *Event) bool {
	if a.Kind != b.Kind {
		return false
	}
	first, second := a.Camera, b.Camera
	if first == "" || second == "" {
		first, second = a.Gate, b.Gate
	}
	within := r.At(b.Time)
	return first != "" && first == second && within > 0 && b.Time.Sub(a.Time) <= within
}
