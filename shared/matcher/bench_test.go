package matcher

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"parkstream/shared/evaluate"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// BenchmarkTick measures one tick of a site with so many vehicles inside and the reads of
// six days, when nothing is left to decide. first_s is what the first tick took, which
// decides everything; MiB_heap is the most memory in use at once in a tick, without what the
// benchmark itself needs. The site of "kept" has the decisions of 90 days.
func BenchmarkTick(b *testing.B) {
	for _, inside := range []int{200, 2000, 20_000} {
		b.Run(fmt.Sprint(inside), func(b *testing.B) {
			s := newBusySite(b, inside)
			start := time.Now()
			first := s.tick(b)
			took := time.Since(start)
			b.Run("first days", func(b *testing.B) {
				s.measure(b)
				b.ReportMetric(took.Seconds(), "first_s")
				b.ReportMetric(float64(first.Lone), "lone")
				b.ReportMetric(float64(first.Exact), "exact")
				b.ReportMetric(float64(first.decided()), "decided")
			})
			b.Run("kept", func(b *testing.B) {
				s.keepDecisions(b)
				s.measure(b)
				b.ReportMetric(float64(s.kept), "kept")
			})
		})
	}
}

const (
	busyDays  = 6
	retention = 90 * 24 * time.Hour
)

// busySite is a site with the events of some days until now.
type busySite struct {
	*SiteMatcher

	store *timeline.Store
	site  string
	heap  uint64 // in use before a tick
	kept  int    // decisions of days before
}

func newBusySite(b *testing.B, inside int) *busySite {
	b.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(b).URL()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	store, stays := timeline.New(client, retention), stay.New(client, retention)
	s := &busySite{store: store, SiteMatcher: &SiteMatcher{
		Store: store, Stays: stays, Summaries: direct{stays}, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Models: func(context.Context, string) (parking.Models, error) { return nil, nil },
		Settle: func(context.Context, string) (time.Duration, error) { return 24 * time.Hour, nil },
		Repair: func(context.Context, string) (u review.Unposted, err error) { return u, nil },
	}}
	scenario, err := evaluate.Scenario("base", 1, inside, busyDays)
	if err != nil {
		b.Fatal(err)
	}
	data, err := evaluate.Simulate(scenario)
	if err != nil {
		b.Fatal(err)
	}
	events := data.Events
	last := slices.MaxFunc(events, func(x, y parking.Event) int { return x.Time.Compare(y.Time) }).Time
	shift := time.Since(last)
	for i := range events {
		events[i].Time = events[i].Time.Add(shift)
	}
	s.site = events[0].Site
	s.record(b, events)
	return s
}

// record records events and posts their stays.
func (s *busySite) record(b *testing.B, events []parking.Event) {
	b.Helper()
	for some := range slices.Chunk(events, 5000) {
		var made []parking.Stay
		for _, r := range s.store.Record(b.Context(), some) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
			made = append(made, r.Stays...)
		}
		if err := s.Summaries.Post(b.Context(), parking.Latest(made)); err != nil {
			b.Fatal(err)
		}
	}
}

func (s *busySite) tick(b *testing.B) SiteCounts {
	b.Helper()
	counts, err := s.Match(b.Context(), s.site)
	if err != nil {
		b.Fatal(err)
	}
	return counts
}

// measure measures ticks.
func (s *busySite) measure(b *testing.B) {
	b.Helper()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.heap = before.HeapAlloc
	peak := watchHeap(b)
	for b.Loop() {
		s.tick(b)
	}
	most := peak()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/(1<<20), "MiB/op")
	b.ReportMetric(float64(most-min(most, s.heap))/(1<<20), "MiB_heap")
}

// watchHeap returns a function that returns the most memory that objects had since.
func watchHeap(b *testing.B) func() uint64 {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	most := make(chan uint64)
	go func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		every := time.NewTicker(5 * time.Millisecond)
		defer every.Stop()
		var peak uint64
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			select {
			case <-every.C:
			case <-ctx.Done():
				most <- peak
				return
			}
		}
	}()
	return func() uint64 {
		stop()
		return <-most
	}
}

// keepDecisions makes what was decided of the last days so often again, of other reads
// before, that the decisions are those of the whole retention.
func (s *busySite) keepDecisions(b *testing.B) {
	b.Helper()
	decisions, err := s.store.Decisions(b.Context(), s.site, time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	decisions = slices.DeleteFunc(decisions, func(d timeline.Decision) bool { return d.Exact.ID != "" })
	const days = busyDays * 24 * time.Hour
	for n := 1; time.Duration(n+1)*days < retention; n++ {
		back := -time.Duration(n) * days
		again := func(text string) string { return fmt.Sprintf("%sX%d", text, n) }
		for some := range slices.Chunk(decisions, timeline.MaxChanges) {
			var events []parking.Event
			var changes []timeline.Change
			for i := range some {
				c := some[i].Change
				y := &c.Stay
				y.ID, y.ExitTime, y.EntryID, y.EntryTime = again(y.ID), y.ExitTime.Add(back), again(y.EntryID), y.EntryTime.Add(back)
				c.ExitPlate, c.EntryPlate, y.Plate = y.ID, y.EntryID, y.ID // each has one read
				c.Was = 0
				changes = append(changes, c)
				events = append(events,
					parking.Event{ID: y.EntryID, Kind: parking.Entry, Site: s.site, Version: 1, Plate: c.EntryPlate, RawPlate: c.EntryPlate, Time: y.EntryTime},
					parking.Event{ID: y.ID, Kind: parking.Exit, Site: s.site, Version: 1, Plate: c.ExitPlate, RawPlate: c.ExitPlate, Time: y.ExitTime})
			}
			s.record(b, events)
			decided, err := s.store.Decide(b.Context(), s.site, changes)
			if err != nil {
				b.Fatal(err)
			}
			var stays []parking.Stay
			for i := range decided {
				if decided[i].Refused != "" {
					b.Fatal(decided[i].Refused)
				}
				stays = append(stays, decided[i].Stay)
			}
			if err := s.store.Posted(b.Context(), s.site, stays); err != nil {
				b.Fatal(err)
			}
			s.kept += len(stays)
		}
	}
}

// direct is a summary without a way to it.
type direct struct{ *stay.Store }

func (d direct) Post(ctx context.Context, stays []parking.Stay) error {
	_, err := d.Upsert(ctx, stays)
	return err
}
