// Package simulate makes up a car park: who drives in and out, what cameras of several
// vendors read of it and when they post it, and the truth. It is pure: a scenario with its
// seed has one result. Its memory is bounded by the vehicles that come in a day.
package simulate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"parkstream/shared/parking"
)

// Scenario is what is simulated. Shares are from 0 to 1.
type Scenario struct {
	// Seed and Start choose one of the many car parks that the other fields allow.
	Seed  uint64
	Start time.Time
	// Duration is how long reads are taken.
	Duration time.Duration
	// WarmUp is for how long before the start vehicles may have come that are inside at the
	// start. Their entries are read and posted, too. Without it the car park begins empty.
	WarmUp time.Duration
	// Location is the zone of the site, by which days and the hours of arrivals go.
	Location *time.Location
	// Home is the country of most vehicles, by its ISO 3166 code; empty: one by the seed.
	Home string
	// Cameras are where vehicles drive in and out.
	Cameras []Camera

	// Visits is their number a day, in the mean of a week.
	Visits float64
	// Regulars and Fleets are shares of the visits. Vehicles of a fleet have consecutive
	// numbers.
	Regulars, Fleets float64
	// Foreign is the share of vehicles of other countries.
	Foreign float64
	// Reentries is the share of visits after which the vehicle comes again the same day.
	Reentries float64
	// Tailgating is the share of passages after which another vehicle follows at once.
	Tailgating float64

	// Accuracy is the share of readable plates that a camera reads right, in the mean of all
	// cameras and vehicles.
	Accuracy float64
	// Composition tells how wrong the others are.
	Composition Composition
	// Syntax: cameras know the syntax of plates. No letter becomes a digit, no digit a letter.
	Syntax bool
	// Candidates: cameras send lists of readings. Appearance: and make and colour.
	Candidates, Appearance bool
	// NoPlate is the share of vehicles that a camera sees and reads no plate of; Dropped of
	// those that it does not see; Doubled of those that it sees twice.
	NoPlate, Dropped, Doubled float64

	// Late is the share of reads that are posted minutes to hours later, Repeated of those
	// that are posted twice.
	Late, Repeated float64
	// Skew is the standard deviation of the cameras' clocks.
	Skew time.Duration
}

// Role is which direction a camera sees.
type Role string

// The roles.
const (
	Entries Role = "entry"
	Exits   Role = "exit"
	Both    Role = "both"
)

// Camera is a camera of the site.
type Camera struct {
	ID   string
	Gate string
	Role Role
	// Format is the name of one of [Formats].
	Format string
}

// Base is the scenario that others are compared with: the reads of a week at cameras that
// read 92 % of plates right. Seed and start are the caller's.
func Base() Scenario {
	return Scenario{
		Duration: 6 * 24 * time.Hour, Location: time.UTC,
		Cameras: []Camera{{"in-1", "1", Entries, "own"}, {"in-2", "2", Entries, "own"}, {"out-1", "1", Exits, "own"}, {"out-2", "2", Exits, "own"}},
		Visits:  4400, Regulars: 0.36, Fleets: 0.04, Foreign: 0.15, Reentries: 0.10,
		Accuracy: 0.92, Composition: compositions["base"], Dropped: 0.03, Doubled: 0.03,
	}
}

// variants are what named scenarios change of the base. Names may be joined with +.
var variants = map[string]func(*Scenario){
	"base":   func(*Scenario) {},
	"mild":   func(s *Scenario) { s.Composition = compositions["mild"] },
	"harsh":  func(s *Scenario) { s.Composition = compositions["harsh"] },
	"syntax": func(s *Scenario) { s.Syntax = true },
	"fleets": func(s *Scenario) { s.Fleets = 0.15 },
	"lists":  func(s *Scenario) { s.Candidates = true },
	"looks":  func(s *Scenario) { s.Appearance = true },
	"better": func(s *Scenario) { s.Accuracy = 0.97 },
	"worse":  func(s *Scenario) { s.Accuracy = 0.80 },
}

// Variants returns the names of scenarios.
func Variants() []string { return slices.Sorted(maps.Keys(variants)) }

// Vary changes a scenario to a named one, such as "syntax+fleets".
func (s *Scenario) Vary(name string) error {
	for part := range strings.SplitSeq(name, "+") {
		change := variants[part]
		if change == nil {
			return fmt.Errorf("%q is no scenario: want some of %s, joined with +", part, strings.Join(Variants(), ", "))
		}
		change(s)
	}
	return nil
}

// Bounds of a scenario.
const (
	maxVisits   = 1_000_000
	maxDuration = 366 * 24 * time.Hour
	maxWarmUp   = 7 * 24 * time.Hour
	maxSkew     = time.Minute
)

// Validate returns every mistake.
func (s *Scenario) Validate() error {
	var wrong []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	for _, share := range []struct {
		name  string
		value float64
	}{
		{"regulars", s.Regulars},
		{"fleets", s.Fleets},
		{"foreign vehicles", s.Foreign},
		{"re-entries", s.Reentries},
		{"tailgating", s.Tailgating},
		{"accuracy", s.Accuracy},
		{"no-plates", s.NoPlate},
		{"dropped reads", s.Dropped},
		{"doubled reads", s.Doubled},
		{"late posts", s.Late},
		{"repeated posts", s.Repeated},
	} {
		want(share.value >= 0 && share.value <= 1, "%s: the share is %v, want 0 to 1", share.name, share.value)
	}
	want(s.Regulars+s.Fleets <= 1, "regulars and fleets are %v of the visits, want at most 1", s.Regulars+s.Fleets)
	sum := s.Composition.One + s.Composition.Two + s.Composition.More
	want(sum > 0.999 && sum < 1.001 && min(s.Composition.One, s.Composition.Two, s.Composition.More) >= 0, "the composition of misreads adds up to %v, want 1", sum)
	want(s.Visits > 0 && s.Visits <= maxVisits, "%v visits a day, want more than 0 and at most %d", s.Visits, maxVisits)
	want(s.Duration > 0 && s.Duration <= maxDuration, "the duration is %s, want more than 0s and at most %s", s.Duration, maxDuration)
	want(s.WarmUp >= 0 && s.WarmUp <= maxWarmUp, "the time before the start is %s, want 0s to %s", s.WarmUp, maxWarmUp)
	want(s.Skew >= 0 && s.Skew <= maxSkew, "the skew of clocks is %s, want 0s to %s", s.Skew, maxSkew)
	want(s.Location != nil, "the zone is missing")
	want(s.Home == "" || slices.ContainsFunc(countries, func(c country) bool { return c.code == s.Home }), "no plates of the country %q are known", s.Home)
	sees := map[Role]bool{}
	for _, c := range s.Cameras {
		sees[c.Role] = true
		want(formats[c.Format] != nil, "camera %s: %q is no format that is simulated: want one of %s", c.ID, c.Format, strings.Join(Formats(), ", "))
	}
	want(sees[Both] || sees[Entries] && sees[Exits], "a car park needs a camera for entries and one for exits")
	return errors.Join(wrong...)
}

// sees reports whether a camera sees a direction.
func (r Role) sees(kind parking.Kind) bool {
	return r == Both || r == Entries && kind == parking.Entry || r == Exits && kind == parking.Exit
}
