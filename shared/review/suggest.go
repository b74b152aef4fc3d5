package review

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// Suggestion is a read that may be of the same vehicle as another one.
type Suggestion struct {
	EntryID string `json:"entry_id"`
	ExitID  string `json:"exit_id"`
	// Read is the other read.
	Read parking.Event `json:"read"`
	// Match is what speaks for it.
	Match parking.Explanation `json:"match"`
}

// Suggestions are those for a read, the best first.
type Suggestions struct {
	Read parking.Event `json:"read"`
	// Lone reports whether the read has no part in a stay of the pairing rule. Others, and
	// those without a plate, have no suggestions.
	Lone        bool         `json:"lone"`
	Suggestions []Suggestion `json:"suggestions"`
}

// maxSimilar bounds the lone reads that are looked at for one read.
const maxSimilar = 100

// Suggest returns what may be of the same vehicle as an event of a site. The error is a
// [timeline.ErrNoEvent] if the event is not known.
func (r *Reviewer) Suggest(ctx context.Context, site, id string, models parking.Models) (Suggestions, error) {
	found := Suggestions{Suggestions: []Suggestion{}}
	e, err := r.Events.Event(ctx, site, id)
	if found.Read = e; err != nil || e.Void || e.NoPlate {
		return found, err
	}
	all, err := r.suggest(ctx, site, []parking.Event{e}, models)
	if err != nil {
		return found, err
	}
	return all[0], nil
}

// suggest returns the suggestions for some reads of one kind.
func (r *Reviewer) suggest(ctx context.Context, site string, reads []parking.Event, models parking.Models) ([]Suggestions, error) {
	others, err := r.others(ctx, site, reads)
	if err != nil {
		return nil, err
	}
	asked := make(map[timeline.LoneRead]bool)
	for i := range reads {
		e := &reads[i]
		asked[timeline.LoneRead{Kind: e.Kind, ID: e.ID, Plate: e.Plate, Time: e.Time}] = true
		for _, o := range others[i] {
			asked[o] = true
		}
	}
	lone, err := r.Events.LoneAt(ctx, site, slices.Collect(maps.Keys(asked)))
	if err != nil {
		return nil, err
	}
	byID, inside := make(map[string]*parking.Lone, len(lone)), make(map[string]*parking.Lone)
	for i := range lone {
		l := &lone[i]
		if byID[l.ID] = l; l.Kind == parking.Entry && l.Next.IsZero() {
			inside[l.Plate] = l
		}
	}
	all := make([]Suggestions, len(reads))
	for i := range reads {
		of := new(parking.Reads)
		add := func(l *parking.Lone) {
			if l != nil {
				of.Lone = append(of.Lone, *l)
			}
		}
		add(byID[reads[i].ID])
		for _, o := range others[i] {
			if o.ID == "" {
				add(inside[o.Plate])
			} else {
				add(byID[o.ID])
			}
		}
		if all[i], err = r.ranked(ctx, site, reads[i], of, models); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// others returns for each of some reads of one kind the lone reads of the other kind that may
// be of the same vehicle, by their plates and times.
func (r *Reviewer) others(ctx context.Context, site string, reads []parking.Event) ([][]timeline.LoneRead, error) {
	kind, from, to := parking.Entry, reads[0].Time, reads[0].Time
	similar := make([]func(string) bool, len(reads))
	for i := range reads {
		similar[i] = parking.SimilarTo(reads[i].Plate)
		from, to = earlier(from, reads[i].Time), later(to, reads[i].Time)
	}
	if reads[0].Kind == parking.Exit {
		from = from.Add(-parking.MaxNear)
	} else {
		kind, to = parking.Exit, to.Add(parking.MaxNear+1)
	}
	found, err := r.Events.FindLone(ctx, site, kind, from, to, func(plate string) bool {
		return slices.ContainsFunc(similar, func(similar func(string) bool) bool { return similar(plate) })
	})
	if err != nil {
		return nil, err
	}
	others := make([][]timeline.LoneRead, len(reads))
	for i := range reads {
		others[i] = nearest(&reads[i], found, similar[i])
	}
	return others, nil
}

// nearest returns those of some lone reads that may be of the same vehicle as a read of the
// other kind, those nearest in time first, at most [maxSimilar]: of each similar plate the
// last entry before an exit, or the first exit after an entry. The vehicle of another entry
// has left before, and that of another exit has come later.
func nearest(e *parking.Event, found []timeline.LoneRead, similar func(plate string) bool) []timeline.LoneRead {
	const rounded = time.Millisecond // the times of vehicles inside
	var near []timeline.LoneRead
	for _, o := range found {
		if o.Time.Sub(e.Time).Abs() <= parking.MaxNear+rounded && o.Time.Before(e.Time) == (e.Kind == parking.Exit) && similar(o.Plate) {
			near = append(near, o)
		}
	}
	slices.SortFunc(near, func(a, b timeline.LoneRead) int {
		byID := strings.Compare(a.ID, b.ID) // as in timelines
		if e.Kind == parking.Exit {
			byID = -byID
		}
		return cmp.Or(cmp.Compare(a.Time.Sub(e.Time).Abs(), b.Time.Sub(e.Time).Abs()), strings.Compare(a.Plate, b.Plate), byID)
	})
	type of struct {
		plate  string
		inside bool
	}
	taken := make(map[of]bool)
	near = slices.DeleteFunc(near, func(o timeline.LoneRead) bool {
		this := of{o.Plate, o.ID == ""}
		again := taken[this]
		taken[this] = true
		return again
	})
	return near[:min(len(near), maxSimilar)]
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// ranked returns the suggestions for a read among lone reads, without rejected pairs.
func (r *Reviewer) ranked(ctx context.Context, site string, e parking.Event, of *parking.Reads, models parking.Models) (Suggestions, error) {
	found := Suggestions{Read: e, Suggestions: []Suggestion{}}
	var pairs []parking.Rejection
	byID := make(map[string]*parking.Event, len(of.Lone))
	for i := range of.Lone {
		o := &of.Lone[i].Event
		byID[o.ID] = o
		switch {
		case o.ID == e.ID:
			found.Lone = true
		case o.Kind == parking.Entry && e.Kind == parking.Exit:
			pairs = append(pairs, parking.Rejection{EntryID: o.ID, ExitID: e.ID})
		case o.Kind == parking.Exit && e.Kind == parking.Entry:
			pairs = append(pairs, parking.Rejection{EntryID: e.ID, ExitID: o.ID})
		}
	}
	if !found.Lone {
		return found, nil
	}
	rejected, err := r.Events.RejectedOf(ctx, site, pairs)
	if err != nil {
		return found, fmt.Errorf("look for rejections of site %s: %w", site, err)
	}
	for _, s := range of.Suggest(e.ID, rejected, models) {
		other := s.EntryID
		if e.Kind == parking.Entry {
			other = s.ExitID
		}
		found.Suggestions = append(found.Suggestions, Suggestion{s.EntryID, s.ExitID, *byID[other], s.Explanation})
	}
	return found, nil
}

// scannedPerPage bounds the exits that are looked at for one page of the list.
const scannedPerPage = 100

// Unmatched lists lone exits of a site that have suggestions, the newest first: those before
// a place in the order of timelines that no near stay has. At most limit of them are listed,
// and a page may have fewer, also none, and a next one. next is where that goes on, nil after
// the last.
func (r *Reviewer) Unmatched(ctx context.Context, site string, before timeline.Place, limit int, models parking.Models) (list []Suggestions, next *timeline.Place, err error) {
	exits, err := r.Events.LoneExits(ctx, site, before, scannedPerPage)
	if err != nil || len(exits) == 0 {
		return nil, nil, err
	}
	ids := make([]string, len(exits))
	for i := range exits {
		ids[i] = exits[i].ID
	}
	events, err := r.Events.Events(ctx, site, ids)
	if err != nil {
		return nil, nil, err
	}
	var reads []parking.Event
	var places []timeline.Place // of the reads
	for i, id := range ids {
		if e, known := events[id]; known && e.Kind == parking.Exit {
			reads, places = append(reads, e), append(places, timeline.Place{ID: id, Time: exits[i].Time})
		}
	}
	list = []Suggestions{}
	for some := range slices.Chunk(reads, 2*limit) { // of most pages these are enough
		all, err := r.suggest(ctx, site, some, models)
		if err != nil {
			return nil, nil, err
		}
		for _, s := range all {
			next, places = &places[0], places[1:]
			if len(s.Suggestions) == 0 || s.Suggestions[0].Match.Weight <= 0 {
				continue
			}
			_, decided, err := r.Events.DecisionOf(ctx, site, s.Read.ID)
			if err != nil {
				return nil, nil, err
			}
			if decided {
				continue
			}
			if list = append(list, s); len(list) == limit {
				return list, next, nil
			}
		}
	}
	next = nil
	if last := exits[len(exits)-1]; len(exits) == scannedPerPage {
		next = &timeline.Place{ID: last.ID, Time: last.Time}
	}
	return list, next, nil
}
