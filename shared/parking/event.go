// Package parking is the domain: observations of cameras, stays, and the rule that
// derives stays from observations. It depends on no technology.
package parking

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// DefaultSite is the car park of an event without a site.
const DefaultSite = "default"

// EntryEvent is the plain wire form of a vehicle seen driving in. [Event] has every
// field.
type EntryEvent struct {
	ID           string    `json:"id"`
	VehiclePlate string    `json:"vehicle_plate"`
	EntryTime    time.Time `json:"entry_date_time"`
	Site         string    `json:"site,omitempty"`
	Gate         string    `json:"gate,omitempty"`
}

// ExitEvent is the plain wire form of a vehicle seen driving out.
type ExitEvent struct {
	ID           string    `json:"id"`
	VehiclePlate string    `json:"vehicle_plate"`
	ExitTime     time.Time `json:"exit_date_time"`
	Site         string    `json:"site,omitempty"`
	Gate         string    `json:"gate,omitempty"`
}

// Kind distinguishes entries from exits. Its order is the order of the timeline: of two
// events observed at the same instant the entry comes first.
type Kind byte

const (
	Entry Kind = '0'
	Exit  Kind = '1'
)

// String returns "entry" or "exit".
func (k Kind) String() string {
	if k == Entry {
		return "entry"
	}
	return "exit"
}

// Event is one version of an entry or exit. Site and ID identify the event. Of its
// versions the highest counts; [Current] has that rule.
type Event struct {
	ID   string
	Kind Kind
	Site string
	Gate string
	// Version is 1 or more, at most [MaxVersion].
	Version int64
	// Void reports that there was no such event. The fields of the observation mean
	// nothing then.
	Void bool
	// NoPlate reports that a vehicle was seen and no plate was read. Plate and RawPlate
	// are empty then, and the event is never paired.
	NoPlate bool
	// Camera is the id of the camera, or empty.
	Camera string
	// RawPlate is the plate as the camera sent it, with blanks instead of control
	// characters. A plate of two lines may contain a line feed.
	RawPlate string
	// Plate is the normalised plate, which is the key of the vehicle.
	Plate string
	// Time is the time of the observation, in UTC. It may be zero if the event is void.
	Time time.Time
	// Details are what the camera tells besides.
	Details Details
	// Correction tells who decided which plate the event has, or is nil. It does not come
	// with an event: only [Event.Correct] sets it.
	Correction *Correction
}

// SameContent reports whether two events of one id and version are the same one, sent
// twice. If they are not they conflict.
func SameContent(a, b Event) bool {
	if a.Void || b.Void {
		return a.Void && b.Void
	}
	return a.Kind == b.Kind && a.Plate == b.Plate && a.NoPlate == b.NoPlate && a.Time.Equal(b.Time)
}

// ErrInvalid is wrapped by the errors of events that are never accepted, even if they
// are sent again.
var ErrInvalid = errors.New("invalid event")

// ErrConflict is the ErrInvalid of an event whose id and version already belong to
// another plate, time or direction at its site.
var ErrConflict = Invalid("conflicting event id: it was used before at this site for another plate, time or direction; a correction needs a higher version")

// ErrTooManySites is the ErrInvalid of an event of a new site if the number of sites
// has reached its bound.
var ErrTooManySites = Invalid("it is new, and there are too many sites")

// Bounds of an event's fields.
const (
	MaxIDBytes = 128
	// MaxVersion is the highest version. The scripts of the store and JavaScript know
	// integers as floating point numbers, which are exact up to here.
	MaxVersion        = 1<<53 - 1
	MaxSiteBytes      = 64
	MaxGateRunes      = 64
	MaxRawPlateRunes  = 64
	MaxPlateRunes     = 32
	earliestYear      = 1970
	latestYear        = 2261 // UnixNano ends in 2262
	shownOfABadString = 40
)

// Invalid returns an ErrInvalid with a reason for people.
func Invalid(format string, args ...any) error {
	return invalid{reason: fmt.Sprintf(format, args...)}
}

// invalid prints only its reason: the sender of the event reads it and needs no
// "invalid event:" before it.
type invalid struct{ reason string }

func (e invalid) Error() string { return e.reason }
func (e invalid) Unwrap() error { return ErrInvalid }

// NewEvent validates the fields of an event, normalises its plate, sets a missing site
// or version to the default and converts its time to UTC. A void event has no plate, and
// may have no time. Its errors are ErrInvalid and give the field's name on the wire.
func NewEvent(e Event) (Event, error) {
	if err := e.Normalize(); err != nil {
		return Event{}, err
	}
	return e, nil
}

// Normalize is [NewEvent] in place. After an error the event means nothing.
func (e *Event) Normalize() error {
	if err := CheckID(e.ID); err != nil {
		return err
	}
	if e.Site == "" {
		e.Site = DefaultSite
	}
	if err := CheckSite(e.Site); err != nil {
		return err
	}
	if e.Version == 0 {
		e.Version = 1
	}
	if e.Version < 1 || e.Version > MaxVersion {
		return Invalid("version is %d, want 1 to %d", e.Version, int64(MaxVersion))
	}
	if err := checkText("gate", e.Gate, MaxGateRunes); err != nil {
		return err
	}
	if err := checkText("camera", e.Camera, MaxGateRunes); err != nil {
		return err
	}
	if err := e.Details.check(); err != nil {
		return err
	}
	if err := e.normalizePlate(); err != nil {
		return err
	}
	if e.Void && e.Time.IsZero() {
		return nil
	}
	if e.Time.IsZero() {
		return Invalid("%s_date_time is missing or is the zero time", e.Kind)
	}
	e.Time = e.Time.UTC()
	if y := e.Time.Year(); y < earliestYear || y > latestYear {
		return Invalid("%s_date_time %s is impossible: the year must be within %d and %d",
			e.Kind, e.Time.Format(time.RFC3339), earliestYear, latestYear)
	}
	return nil
}

// normalizePlate validates RawPlate and sets Plate.
func (e *Event) normalizePlate() error {
	if e.Void || e.NoPlate {
		e.RawPlate, e.Plate = "", ""
		return nil
	}
	if e.RawPlate == "" {
		return Invalid("vehicle_plate is missing")
	}
	if n := utf8.RuneCountInString(e.RawPlate); n > MaxRawPlateRunes {
		return Invalid("vehicle_plate has %d characters, at most %d are allowed", n, MaxRawPlateRunes)
	}
	e.RawPlate = strings.Map(func(r rune) rune { // control characters separate the fields in the store
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, e.RawPlate)
	e.Plate = NormalizePlate(e.RawPlate)
	if e.Plate == "" {
		return Invalid("vehicle_plate %s has no letter or digit", quote(e.RawPlate))
	}
	if n := utf8.RuneCountInString(e.Plate); n > MaxPlateRunes {
		return Invalid("vehicle_plate has %d letters and digits, at most %d are allowed", n, MaxPlateRunes)
	}
	return nil
}

// CheckID returns an ErrInvalid unless id is a valid event id: 1 to [MaxIDBytes] bytes
// of printable text.
func CheckID(id string) error {
	switch {
	case id == "":
		return Invalid("id is missing")
	case len(id) > MaxIDBytes:
		return Invalid("id has %d bytes, at most %d are allowed", len(id), MaxIDBytes)
	case !printable(id):
		return Invalid("id %s has a character that does not print", quote(id))
	}
	return nil
}

// CheckSite returns an ErrInvalid unless site is a valid name. A name has ASCII
// letters, digits, dot, hyphen and underscore only, because it becomes part of keys,
// URLs and labels.
func CheckSite(site string) error {
	ok := site != "" && len(site) <= MaxSiteBytes
	for i := 0; ok && i < len(site); i++ {
		c := site[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
	}
	if !ok {
		return Invalid("site %s must be 1 to %d ASCII letters, digits, dots, hyphens or underscores", quote(site), MaxSiteBytes)
	}
	return nil
}

// checkText returns an ErrInvalid unless text, which may be empty, is printable and not
// too long.
func checkText(field, text string, maxRunes int) error {
	if utf8.RuneCountInString(text) > maxRunes || !printable(text) {
		return Invalid("%s %s must be at most %d printable characters", field, quote(text), maxRunes)
	}
	return nil
}

// printable reports whether s is valid UTF-8 without control characters. Control
// characters separate the fields in the store.
func printable(s string) bool {
	ascii := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

func quote(s string) string {
	if len(s) > shownOfABadString {
		return strconv.QuoteToASCII(s[:shownOfABadString]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// Limits bound the time of an observation, because a camera's clock may be wrong.
type Limits struct {
	// MaxFuture is the maximum time by which an observation may lie in the future.
	MaxFuture time.Duration
	// Retention is the maximum age of an observation. Older ones have expired and
	// cannot be paired.
	Retention time.Duration
}

// Check returns an ErrInvalid if the event's time is out of bounds at now. That of a void
// event has none.
func (l Limits) Check(e Event, now time.Time) error {
	if e.Void { // its time means nothing
		return nil
	}
	if ahead := e.Time.Sub(now); ahead > l.MaxFuture {
		return Invalid("%s_date_time %s is %s in the future, at most %s is allowed: check the camera's clock and time zone",
			e.Kind, e.Time.Format(time.RFC3339), ahead.Round(time.Second), l.MaxFuture)
	}
	if age := now.Sub(e.Time); age > l.Retention {
		return Invalid("%s_date_time %s is older than the %s for which events are kept",
			e.Kind, e.Time.Format(time.RFC3339), l.Retention)
	}
	return nil
}
