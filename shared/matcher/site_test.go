package matcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/review"
	"parkstream/shared/timeline"
)

// scripted is a source, a store that decides as it is told, and a summary. It notes what is
// posted.
type scripted struct {
	fewLone

	more          bool // there are other lone reads
	decisions     []timeline.Decision
	decided       []timeline.Decided
	fails         error
	calls         int // of Decide
	posted, noted []string
}

func (s *scripted) Lone(context.Context, string, time.Time, time.Time) ([]parking.Lone, bool, error) {
	return s.lone, s.more, nil
}

func (s *scripted) Decisions(context.Context, string, time.Time) ([]timeline.Decision, error) {
	return s.decisions, nil
}

func (s *scripted) Decide(context.Context, string, []timeline.Change) ([]timeline.Decided, error) {
	s.calls++
	return s.decided, s.fails
}

func (s *scripted) Post(_ context.Context, stays []parking.Stay) error {
	for i := range stays {
		s.posted = append(s.posted, stays[i].ID)
	}
	return nil
}

func (s *scripted) Posted(_ context.Context, _ string, stays []parking.Stay) error {
	for i := range stays {
		s.noted = append(s.noted, stays[i].ID)
	}
	return nil
}

func (s *scripted) matcher() *SiteMatcher {
	return &SiteMatcher{
		Store: s, Stays: noStays{}, Summaries: s, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Models: func(context.Context, string) (parking.Models, error) { return nil, nil },
		Repair: func(context.Context, string) (u review.Unposted, err error) { return u, nil },
		Settle: func(context.Context, string) (time.Duration, error) { return settle, nil },
	}
}

// A change that is refused is no decision: its stay is not posted.
func TestRefusedChange(t *testing.T) {
	change := func(id string) timeline.Change {
		return timeline.Change{Stay: parking.Stay{ID: id, Match: &parking.Explanation{Method: parking.OCR}}}
	}
	s := &scripted{decided: []timeline.Decided{
		{Decision: timeline.Decision{Change: change("refused")}, Refused: "the pair was rejected"},
		{Decision: timeline.Decision{Change: change("made")}},
	}}
	c := SiteCounts{Decided: make(map[parking.Method]int)}
	batch := []work{{Change: change("refused")}, {Change: change("decided before"), postOnly: true}, {Change: change("made")}}
	if err := s.matcher().commit(t.Context(), "a", batch, &c); err != nil || c.Refused != 1 || c.decided() != 1 || c.Posted != 2 {
		t.Errorf("%+v, error %v", c, err)
	}
	want := []string{"decided before", "made"}
	if diff := cmp.Diff([][]string{want, want}, [][]string{s.posted, s.noted}); diff != "" {
		t.Errorf("posted and noted (-want +got):\n%s", diff)
	}
}

// What is decided of a site in many calls goes on after one that is refused, and ends with a
// store that is unavailable. What has reads that are left out stays as it was decided.
func TestManyBatches(t *testing.T) {
	at := time.Now().Add(-48 * time.Hour)
	for name, tt := range map[string]struct {
		more  bool
		fails error
		calls int
	}{
		"one is refused":         {false, failure.Odd("Redis", errors.New("no good")), 2},
		"Redis is unavailable":   {false, failure.In("Redis", errors.New("connection refused")), 1},
		"the reads are left out": {true, nil, 0},
	} {
		s := &scripted{more: tt.more, fails: tt.fails}
		s.lone = []parking.Lone{{Event: parking.Event{ID: "lone", Kind: parking.Exit, Plate: "KA01", Time: at}}}
		for i := range timeline.MaxChanges + 1 {
			decided := parking.Stay{ID: fmt.Sprint("x", i), ExitTime: at, EntryID: fmt.Sprint("e", i), Match: &parking.Explanation{Method: parking.OCR}}
			s.decisions = append(s.decisions, timeline.Decision{Change: timeline.Change{Stay: decided}, Posted: true})
		}
		c, err := s.matcher().Match(t.Context(), "a")
		if !errors.Is(err, tt.fails) || s.calls != tt.calls || c.LeftOut != tt.more {
			t.Errorf("%s: decided %d times, want %d: %+v, error %v", name, s.calls, tt.calls, c, err)
		}
	}
}

// A read of a camera whose clock is ahead competes for an entry like any other.
func TestAClockThatIsAhead(t *testing.T) {
	client := open(t)
	for ahead, decided := range map[time.Duration]int{time.Hour: 0, aheadOfNow + time.Hour: 1} {
		w := newWorld(t, client, fmt.Sprint("ahead", ahead))
		for i, at := range []time.Duration{-3 * time.Hour, -2 * time.Hour, ahead} {
			w.send(parking.Event{ID: fmt.Sprint(i), Kind: parking.Exit, RawPlate: "KA01A81234", Time: w.now.Add(at)})
		}
		w.events[0].Kind, w.events[0].Plate, w.events[0].RawPlate = parking.Entry, "KA01AB1234", "KA01AB1234"
		w.events[2].Plate, w.events[2].RawPlate = "KA0IAB1234", "KA0IAB1234"
		for i := range w.events {
			w.deliver(i, &summary{world: w})
		}
		m := w.matcher(w.now, w.store, &summary{world: w})
		m.Settle = func(context.Context, string) (time.Duration, error) { return time.Hour, nil }
		if c := w.tick(m); c.decided() != decided {
			t.Errorf("%s ahead: %+v", ahead, c)
		}
	}
}
