package review

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/timeline"
)

// BenchmarkSuggest is a suggestion for an exit at a site with 20,000 vehicles inside and
// 40,000 entries more whose exits were missed, all of five days.
func BenchmarkSuggest(b *testing.B) {
	client, err := redis.Open(redis.URL(instancetest.Redis(b).URL()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	r := &Reviewer{Events: timeline.New(client, retention)}
	now, random := time.Now().UTC().Truncate(time.Second), rand.New(rand.NewPCG(1, 2)) //nolint:gosec // made-up plates
	const inside, missed, exits = 20_000, 40_000, 200
	plate := func() string {
		return fmt.Sprintf("KA%02d%c%c%04d", random.IntN(5), 'A'+random.IntN(26), 'A'+random.IntN(26), random.IntN(10_000))
	}
	var events []parking.Event
	add := func(kind parking.Kind, plate string, before time.Duration) {
		events = append(events, parking.Event{ID: fmt.Sprint("e", len(events)), Kind: kind, Site: site, Version: 1, RawPlate: plate, Plate: plate, Time: now.Add(-before)})
	}
	for range missed / 2 {
		p := plate()
		at := time.Duration(random.Int64N(int64(110 * time.Hour)))
		add(parking.Entry, p, at+5*time.Hour)
		add(parking.Entry, p, at+3*time.Hour)
		add(parking.Entry, p, at+time.Hour)
	}
	for len(events) < missed/2*3+inside-missed/2 {
		add(parking.Entry, plate(), time.Hour+time.Duration(random.Int64N(int64(110*time.Hour))))
	}
	for range exits {
		misread := []byte(events[random.IntN(len(events))].Plate)
		misread[len(misread)-1] = byte('0' + random.IntN(10))
		add(parking.Exit, string(misread), time.Minute)
	}
	for some := range slices.Chunk(events, 5000) {
		for _, recorded := range r.Events.Record(b.Context(), some) {
			if recorded.Err != nil {
				b.Fatal(recorded.Err)
			}
		}
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if _, err := r.Suggest(b.Context(), site, events[len(events)-1-i%exits].ID, nil); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
}
