package review

import (
	"context"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// maxDisputing bounds the lone reads that are looked at for a disputed stay.
const maxDisputing = 1000

// disputed reports whether an exact stay is disputed as the near rule finds it among all lone
// reads between its own, if the near stays remain those of now. Of very many reads the next
// tick of the matcher finds it.
func (r *Reviewer) disputed(ctx context.Context, s *parking.Stay) (bool, error) {
	events, err := r.Events.Events(ctx, s.Site, []string{s.EntryID, s.ID})
	if err != nil {
		return false, err
	}
	stay := parking.ExactStay{Entry: events[s.EntryID], Exit: events[s.ID]}
	if stay.Entry.Plate != stay.Exit.Plate || stay.Entry.Kind != parking.Entry || stay.Exit.Kind != parking.Exit {
		return true, nil // it is another one by now
	}
	lone, all, err := r.between(ctx, &stay)
	if err != nil || !all {
		return true, err
	}
	pairs := []parking.Rejection{{EntryID: s.EntryID, ExitID: s.ID}}
	for i := range lone {
		if lone[i].Kind == parking.Exit {
			pairs = append(pairs, parking.Rejection{EntryID: s.EntryID, ExitID: lone[i].ID})
		} else {
			pairs = append(pairs, parking.Rejection{EntryID: lone[i].ID, ExitID: s.ID})
		}
	}
	rejections, err := r.Events.RejectedOf(ctx, s.Site, pairs)
	if err != nil {
		return false, err
	}
	exact, err := r.Events.ExactStays(ctx, s.Site, []string{stay.Exit.Plate})
	if err != nil {
		return false, err
	}
	stay.Known = exact[stay.Exit.Plate] > 1
	var models parking.Models
	if r.Models != nil {
		if models, err = r.Models(ctx, s.Site); err != nil {
			return false, err
		}
	}
	return stay.Disputed(lone, rejections, models), nil
}

// between returns the lone reads of similar plates between those of an exact stay that no near
// stay has. all is false if there are more than [maxDisputing].
func (r *Reviewer) between(ctx context.Context, s *parking.ExactStay) (lone []parking.Lone, all bool, err error) {
	var found []timeline.LoneRead
	for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
		some, err := r.Events.FindLone(ctx, s.Exit.Site, kind, s.Entry.Time, s.Exit.Time, parking.SimilarTo(s.Exit.Plate))
		if err != nil {
			return nil, false, err
		}
		found = append(found, some...)
	}
	if len(found) > maxDisputing {
		return nil, false, nil
	}
	if lone, err = r.Events.LoneAt(ctx, s.Exit.Site, found); err != nil {
		return nil, false, err
	}
	lone, err = r.Events.Undecided(ctx, s.Exit.Site, lone)
	return lone, true, err
}
