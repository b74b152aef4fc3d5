package parking

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whether a stay is disputed by the reads that no other stay has is what [Match] finds
// among all reads of the site, and only those of similar plates between its reads count.
func TestDisputedIsAsAmongAllReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		rejections, models := drawRejections(t, events), drawModels(t)
		reads := ReadsOf(events, nil)
		stays := outcomes(reads.Match(rejections, models))
		for i := range reads.Exact {
			s := &reads.Exact[i]
			others := slices.DeleteFunc(slices.Clone(reads.Exact), func(o ExactStay) bool { return o.Exit.ID == s.Exit.ID })
			free := slices.DeleteFunc(slices.Clone(reads.Lone), func(l Lone) bool {
				return slices.ContainsFunc(others, func(o ExactStay) bool { return samePassage(&o.Entry, &l.Event) || samePassage(&o.Exit, &l.Event) }) ||
					slices.ContainsFunc(reads.Lone, func(o Lone) bool {
						for exit, stay := range stays {
							used := stay.Method == OCR || stay.Method == Edit || stay.Method == TwoEdits || stay.Method == Split && exit != s.Exit.ID
							if used && (o.ID == exit || o.ID == stay.Entry) && (o.ID == l.ID || samePassage(&o.Event, &l.Event)) {
								return true
							}
						}
						return false
					})
			})
			between := slices.DeleteFunc(slices.Clone(free), func(l Lone) bool {
				return !Similar(l.Plate, s.Exit.Plate) || !l.Time.After(s.Entry.Time) || !l.Time.Before(s.Exit.Time)
			})
			is := stays[s.Exit.ID]
			want := is.Disputed || is.Method == Split
			if got := s.Disputed(reads.Lone, rejections, models); want && !got {
				t.Fatalf("exit %s is %+v, and not disputed by all reads", s.Exit.ID, is)
			}
			if is.Method == Split {
				continue
			}
			if got, near := s.Disputed(free, rejections, models), s.Disputed(between, rejections, models); got != want || near != want {
				t.Fatalf("exit %s is %+v; disputed by free reads: %v, by those between: %v", s.Exit.ID, is, got, near)
			}
		}
	})
}
