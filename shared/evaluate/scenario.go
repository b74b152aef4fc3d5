package evaluate

import (
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/simulate"
)

// Site is the site of a simulated car park.
const Site = "simulated"

// VisitsInside is how many visits a day a car park has for each vehicle that is inside at
// the busiest hour.
const VisitsInside = 2.2

// opening is when simulated car parks open: a Sunday, so that days of work are scored.
var opening = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// Scenario returns a named scenario of [simulate.Variants], such as "syntax+lists".
func Scenario(name string, seed uint64, inside, days int) (simulate.Scenario, error) {
	s := simulate.Base()
	s.Seed, s.Start, s.Duration, s.Visits = seed, opening, time.Duration(days)*24*time.Hour, VisitsInside*float64(inside)
	return s, s.Vary(name)
}

// Simulate returns what the cameras of a scenario send, and the truth.
func Simulate(s simulate.Scenario) (*Data, error) {
	simulation, err := simulate.New(s)
	if err != nil {
		return nil, err
	}
	d := &Data{of: make(map[read]int32)}
	told := func(v *simulate.Visit) *visit { // visits are counted from 1
		for int64(len(d.visits)) < v.Number {
			d.visits = append(d.visits, visit{})
		}
		return &d.visits[v.Number-1]
	}
	for step := range simulation.Steps() {
		switch {
		case step.Over != nil:
			v := step.Over
			*told(v) = visit{vehicle: int32(v.Vehicle), plate: v.Plate, entry: v.Entry, exit: v.Exit, ended: !v.Exit.IsZero()} //nolint:gosec // some 100,000 vehicles
		case step.Post != nil && !step.Post.Again:
			e := step.Post.Read.Event(Site)
			if e.Plate != "" {
				e.Plate = parking.NormalizePlate(e.Plate)
			}
			told(step.Post.Read.Visit)
			d.Events = append(d.Events, e)
			d.of[read{Site, e.ID}] = int32(step.Post.Read.Visit.Number) - 1 //nolint:gosec // some 100,000 visits
		}
	}
	return d, nil
}
