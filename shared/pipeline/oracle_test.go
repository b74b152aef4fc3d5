package pipeline_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"parkstream/shared/batch"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/timeline"
)

// Events arrive in any order, in batches of any size and repeatedly, at several
// concurrent processors, some of which die between store and post. Once all are done,
// the stays, the vehicles inside and the site's totals agree with the pairing rule for
// the whole set.
func TestProcessorsAgreeWithTheOracle(t *testing.T) {
	data := newStore(t)
	var cases atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t, fmt.Sprint("site-", cases.Add(1)))
		posted := &summaries{fail: c.faults(rapid.SampledFrom([]float64{0, 0.2, 0.7}).Draw(t, "faults"))}
		c.deliver(t, data, posted)
		c.compare(t, data, posted)
	})
}

type oracleCase struct {
	site   string
	events []parking.Event
	random *rand.Rand
	batch  int
	procs  int
}

func drawCase(t *rapid.T, site string) *oracleCase {
	c := &oracleCase{
		site:   site,
		random: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
		batch:  rapid.IntRange(1, 8).Draw(t, "batch"),
		procs:  rapid.IntRange(1, 4).Draw(t, "processors"),
	}
	plates := rapid.IntRange(1, 3).Draw(t, "plates")
	kinds := rapid.SampledFrom([]parking.Kind{parking.Entry, parking.Exit})
	for i := range rapid.IntRange(1, 40).Draw(t, "events") {
		c.events = append(c.events, parking.Event{
			ID: fmt.Sprint("ev", i), Site: site, Kind: kinds.Draw(t, "kind"),
			Plate: fmt.Sprint("P", rapid.IntRange(1, plates).Draw(t, "plate")),
			// Few instants make equal ones frequent.
			Time: start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "time")) * 500 * time.Millisecond),
		})
	}
	return c
}

// faults returns a function that fails with a probability: the processor died after the
// store.
func (c *oracleCase) faults(probability float64) func() error {
	random := rand.New(rand.NewPCG(c.random.Uint64(), 1))
	return func() error {
		if random.Float64() < probability {
			return errors.New("killed between store and post")
		}
		return nil
	}
}

// deliver delivers every event to a processor, some twice, until each delivery is done,
// as a queue with redelivery does.
func (c *oracleCase) deliver(t *rapid.T, data pipeline.DataStore, posted pipeline.SummaryPoster) {
	deliveries := append([]parking.Event{}, c.events...)
	for _, e := range c.events {
		if c.random.IntN(5) == 0 {
			deliveries = append(deliveries, e)
		}
	}
	c.random.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })

	queues := map[parking.Kind]chan batch.Event{parking.Entry: nil, parking.Exit: nil}
	for kind := range queues {
		queues[kind] = make(chan batch.Event, len(deliveries))
	}
	for i, e := range deliveries {
		queues[e.Kind] <- batch.Event{ID: fmt.Sprint(i), Data: fmt.Appendf(nil, `{"id":%q,"vehicle_plate":%q,"site":%q,"%s_date_time":%q}`,
			e.ID, e.Plate, e.Site, e.Kind, e.Time.Format(time.RFC3339Nano))}
	}
	cfg := config(data, posted)
	handlers := map[parking.Kind]pipeline.Handler{
		parking.Entry: pipeline.NewEntryEventProcessor(cfg), parking.Exit: pipeline.NewExitEventProcessor(cfg),
	}
	var rejected atomic.Int64
	var wg sync.WaitGroup
	for range c.procs {
		for kind, queue := range queues {
			wg.Go(func() {
				for events := take(queue, c.batch); len(events) > 0; events = take(queue, c.batch) {
					for i, r := range handlers[kind].ProcessMessages(t.Context(), events) {
						switch r.Outcome {
						case batch.Retry:
							queue <- events[i]
						case batch.Reject:
							rejected.Add(1)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	if n := rejected.Load(); n > 0 {
		t.Fatalf("%d good events were rejected", n)
	}
}

func take(queue chan batch.Event, most int) []batch.Event {
	var events []batch.Event
	for len(events) < most {
		select {
		case e := <-queue:
			events = append(events, e)
		default:
			return events
		}
	}
	return events
}

func (c *oracleCase) compare(t *rapid.T, data *timeline.Store, posted *summaries) {
	byPlate := make(map[string][]parking.Event)
	for _, e := range c.events {
		byPlate[e.Plate] = append(byPlate[e.Plate], e)
	}
	wantStays := make(map[string]parking.Stay)
	wantInside := make(map[string]time.Time)
	var want timeline.Totals
	for plate, events := range byPlate {
		timeline := parking.Pair(events, nil)
		for _, s := range timeline.Stays {
			s.Revision = 0
			wantStays[s.Site+"/"+s.ID] = s
			want.Exits++
			if s.Status() == parking.Completed {
				want.CompletedStays++
			} else {
				want.UnmatchedExits++
			}
		}
		want.MissedExits += int64(len(timeline.MissedExits))
		want.Entries += int64(len(events) - len(timeline.Stays))
		if timeline.Inside != nil {
			wantInside[plate] = timeline.Inside.Time
		}
	}
	gotStays := make(map[string]parking.Stay)
	for key, s := range posted.stays {
		s.Revision = 0
		gotStays[key] = s
	}
	if diff := cmp.Diff(wantStays, gotStays); diff != "" {
		t.Fatalf("stays, -oracle +posted:\n%s", diff)
	}
	list, err := data.Inside(t.Context(), c.site, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	gotInside := make(map[string]time.Time)
	for _, v := range list {
		gotInside[v.Plate] = v.Since
	}
	if diff := cmp.Diff(wantInside, gotInside); diff != "" {
		t.Fatalf("inside, -oracle +store:\n%s", diff)
	}
	site, err := data.Site(t.Context(), c.site)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, site.Totals); diff != "" {
		t.Fatalf("totals, -oracle +store:\n%s", diff)
	}
	if site.Occupancy != int64(len(wantInside)) {
		t.Fatalf("occupancy %d, want %d", site.Occupancy, len(wantInside))
	}
}
