// Package evaluate measures how well stays are put together where it is known which
// vehicle made which read: of a simulated car park, or of files. It is pure.
package evaluate

import (
	"slices"
	"time"

	"parkstream/shared/parking"
)

// Data are events and what is true of them.
type Data struct {
	// Events are all events of all sites, in any order, with all their versions.
	Events []parking.Event
	// counting are those of them that count, once they are needed.
	counting []parking.Event

	visits []visit
	// of has the visit of each read that the truth knows, as its place in visits.
	of map[read]int32
}

// read identifies an event. The site is empty if the truth does not tell it.
type read struct{ site, id string }

// nowhere is the visit of a read of no visit: of a bicycle, or of a vehicle that passes by.
const nowhere = -1

// visit is what is true of a visit.
type visit struct {
	vehicle int32
	plate   string // or empty, if it is not known
	// none reports that it stands for a read of the vehicle that is of no visit.
	none bool
	// entry and exit are when the vehicle drove in and out; zero: it is known by the reads
	// only, or the vehicle is inside at the end.
	entry, exit time.Time
	// ended reports that the vehicle has left, even if no read tells it.
	ended bool
}

// visitOf returns the visit of a read, and whether the truth knows the read.
func (d *Data) visitOf(site, id string) (int32, bool) {
	v, known := d.of[read{site, id}]
	if !known {
		v, known = d.of[read{"", id}]
	}
	return v, known
}

// First returns the time of the first event that counts, or zero if there is none.
func (d *Data) First() time.Time {
	if events := d.current(); len(events) > 0 {
		return events[0].Time
	}
	return time.Time{}
}

// Last returns the time of the last event.
func (d *Data) Last() time.Time {
	var last time.Time
	for i := range d.Events {
		if at := d.Events[i].Time; at.After(last) {
			last = at
		}
	}
	return last
}

// Modeller returns the models of a site, given its events as in [parking.Current].
type Modeller func(events []parking.Event) parking.Models

// Fixed returns one model for each site.
func Fixed(m *parking.Model) Modeller {
	return func([]parking.Event) parking.Models { return parking.Models{m} }
}

// Learnt returns a model that is learnt from the events of the site before a time, or all if
// that is zero, as `parkstream learn` does. The truth is not used. A margin above zero
// replaces those of the model.
func Learnt(base *parking.Model, before time.Time, margin parking.Weight) Modeller {
	return func(events []parking.Event) parking.Models {
		if !before.IsZero() { // they are in the order of their times
			n, _ := slices.BinarySearchFunc(events, before, func(e parking.Event, at time.Time) int { return e.Time.Compare(at) })
			events = events[:n]
		}
		m, _ := parking.Learn(parking.ReadsOf(events, nil), nil, base)
		if margin > 0 {
			m.Margin, m.Margins = margin, nil
		}
		return parking.Models{m}
	}
}

// current returns the events that count, as in [parking.Current].
func (d *Data) current() []parking.Event {
	if d.counting == nil {
		d.counting = parking.Current(d.Events)
	}
	return d.counting
}

// Sites returns the events that count of each site.
func (d *Data) Sites() map[string][]parking.Event {
	events := d.current()
	bySite := make(map[string][]parking.Event)
	if slices.ContainsFunc(events, func(e parking.Event) bool { return e.Site != events[0].Site }) {
		for _, e := range events {
			bySite[e.Site] = append(bySite[e.Site], e)
		}
	} else if len(events) > 0 { // there may be millions
		bySite[events[0].Site] = events
	}
	return bySite
}

// Stays returns the stays of all sites after all is decided.
func (d *Data) Stays(models Modeller) []parking.Stay {
	var stays []parking.Stay
	for _, events := range d.Sites() {
		stays = append(stays, parking.Match(events, nil, nil, models(events))...)
	}
	return stays
}
