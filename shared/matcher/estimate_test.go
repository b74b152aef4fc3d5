package matcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

// manyStays has exact stays of any site, and their events.
type manyStays struct {
	Source

	stays []stay.StoredStay
	reads int
	err   error
}

func (f *manyStays) Export(_ context.Context, _ stay.Query, yield func([]stay.StoredStay) error) error {
	f.reads++
	if err := yield(f.stays); err != nil {
		return err
	}
	return f.err
}

func (f *manyStays) Events(_ context.Context, site string, ids []string) (map[string]parking.Event, error) {
	events := make(map[string]parking.Event)
	for _, id := range ids {
		kind := parking.Exit
		if strings.HasPrefix(id, "e") {
			kind = parking.Entry
		}
		events[id] = parking.Event{ID: id, Kind: kind, Site: site, Version: 1, Plate: "AB12" + id[1:], Time: time.Unix(1e9, 0)}
	}
	return events, nil
}

// An estimate of a site is made each hour, of a bounded sample of its undisputed exact
// stays. The metrics are the sums of those that are not old.
func TestEstimates(t *testing.T) {
	f := new(manyStays)
	for i := range 4 * sampleOf * sampleSize {
		s := parking.Stay{ID: fmt.Sprint("x", i), Site: "north", EntryID: fmt.Sprint("e", i), EntryTime: time.Unix(1e9, 0), ExitTime: time.Unix(1e9+60, 0), Disputed: i%2 == 0}
		f.stays = append(f.stays, stay.StoredStay{Stay: s})
	}
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	registry := prometheus.NewRegistry()
	e := &Estimates{Source: f, Stays: f, Metrics: NewMetrics(registry), Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}
	update := func(site string, hidden, reads int) {
		t.Helper()
		e.update(t.Context(), site, new(Span), nil)
		if got := testutil.ToFloat64(e.Metrics.hidden); int(got) != hidden || f.reads != reads {
			t.Errorf("%v entries were hidden in %d estimates, want %d in %d", got, f.reads, hidden, reads)
		}
	}
	update("north", sampleSize, 1)
	update("north", sampleSize, 1)
	update("south", 2*sampleSize, 2)
	now = now.Add(estimateEvery)
	f.stays = f.stays[:0]
	update("north", sampleSize, 3) // of the other site
	now = now.Add(estimateKept - estimateEvery)
	update("north", sampleSize, 4)
	now = now.Add(time.Second)
	f.err = errors.New("no Redis")
	update("south", sampleSize, 5) // a failure changes nothing
	f.err = nil
	update("south", 0, 6)
}

// About one of a number of stays is in the sample, and in each process the same.
func TestSampled(t *testing.T) {
	n := 0
	for i := range 10_000 {
		if sampled(fmt.Sprint("exit-", i)) {
			n++
		}
	}
	if n < 9_000/sampleOf || n > 11_000/sampleOf {
		t.Errorf("%d of 10,000", n)
	}
}
