package matcher

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
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
// decides everything.
func BenchmarkTick(b *testing.B) {
	for _, inside := range []int{200, 2000, 20_000} {
		b.Run(fmt.Sprint(inside), func(b *testing.B) {
			client, err := redis.Open(redis.URL(instancetest.Redis(b).URL()))
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			const retention = 90 * 24 * time.Hour
			store, stays := timeline.New(client, retention), stay.New(client, retention)
			scenario, err := evaluate.Scenario("base", 1, inside, 6)
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
			for some := range slices.Chunk(events, 5000) {
				var made []parking.Stay
				for _, r := range store.Record(b.Context(), some) {
					if r.Err != nil {
						b.Fatal(r.Err)
					}
					made = append(made, r.Stays...)
				}
				if _, err := stays.Upsert(b.Context(), parking.Latest(made)); err != nil {
					b.Fatal(err)
				}
			}
			m := &SiteMatcher{
				Store: store, Stays: stays, Summaries: direct{stays}, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
				Models: func(context.Context, string) (parking.Models, error) { return nil, nil },
				Settle: func(context.Context, string) (time.Duration, error) { return 24 * time.Hour, nil },
				Repair: func(context.Context, string) (u review.Unposted, err error) { return u, nil },
			}
			site := events[0].Site
			start := time.Now()
			first, err := m.Match(b.Context(), site)
			if err != nil {
				b.Fatal(err)
			}
			took := time.Since(start)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				if _, err := m.Match(b.Context(), site); err != nil {
					b.Fatal(err)
				}
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(took.Seconds(), "first_s")
			b.ReportMetric(float64(first.Lone), "lone")
			b.ReportMetric(float64(first.Exact), "exact")
			b.ReportMetric(float64(first.decided()), "decided")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/(1<<20), "MiB/op")
			b.ReportMetric(float64(after.Sys)/(1<<20), "MiB_sys")
		})
	}
}

// direct is a summary without a way to it.
type direct struct{ *stay.Store }

func (d direct) Post(ctx context.Context, stays []parking.Stay) error {
	_, err := d.Upsert(ctx, stays)
	return err
}
