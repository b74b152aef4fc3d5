package processor

import (
	"context"
	"fmt"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
)

// auditedStore records in the audit what persons post, before it is stored: an event by
// its id, several of one site by their number.
type auditedStore struct {
	pipeline.DataStore
	audit *audit.Log
}

// Record implements [pipeline.DataStore].
func (s auditedStore) Record(ctx context.Context, events []parking.Event) []parking.Recorded {
	by := access.From(ctx)
	if !audit.Person(by) {
		return s.DataStore.Record(ctx, events)
	}
	var sites []string // in the order of the events
	index := make(map[string][]int)
	for i := range events {
		site := events[i].Site
		if index[site] == nil {
			sites = append(sites, site)
		}
		index[site] = append(index[site], i)
	}
	recorded := make([]parking.Recorded, len(events))
	ends := make(map[string]func(audit.Change, error))
	var admitted []parking.Event
	var places []int
	for _, site := range sites {
		end, err := s.audit.Begin(ctx, entryOf(by, events, index[site]))
		if err != nil {
			for _, i := range index[site] {
				recorded[i].Err = notRecorded(err)
			}
			continue
		}
		ends[site] = end
		for _, i := range index[site] {
			admitted, places = append(admitted, events[i]), append(places, i)
		}
	}
	if len(admitted) == 0 {
		return recorded
	}
	stored := s.DataStore.Record(ctx, admitted)
	for j := range min(len(stored), len(places)) {
		recorded[places[j]] = stored[j]
	}
	for site, end := range ends {
		failed := 0
		var lastErr error
		for _, i := range index[site] {
			if err := recorded[i].Err; err != nil {
				failed++
				lastErr = err
			}
		}
		end(audit.Change{After: fmt.Sprintf("%d recorded, %d not", len(index[site])-failed, failed)}, lastErr)
	}
	if len(stored) != len(admitted) {
		return stored // the caller reports the wrong number
	}
	return recorded
}

// entryOf returns the entry of those events of a call that are at the places, all of one
// site.
func entryOf(by access.Principal, events []parking.Event, places []int) audit.Entry {
	first := &events[places[0]]
	e := audit.By(by, audit.PostEvent)
	e.Site = first.Site
	e.Object = first.Kind.String() + " " + first.ID
	if first.Version > 1 {
		e.Object += fmt.Sprintf(", version %d", first.Version)
	}
	if first.Void {
		e.Object += ", void"
	}
	e.Plate = first.Plate
	if n := len(places); n > 1 {
		e.Object, e.Plate = fmt.Sprintf("%d of type %s", n, first.Kind), ""
	}
	return e
}

// notRecorded returns the error of an event that is not stored, because it cannot be in
// the audit. Whatever Redis answers, it is no fault of the event.
func notRecorded(err error) error {
	return failure.New("the audit", "cannot be written", fmt.Errorf("%v", err)) //nolint:errorlint // see above
}
