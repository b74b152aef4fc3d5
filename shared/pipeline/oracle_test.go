package pipeline_test

import (
	"context"
	"encoding/json"
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

// Versions of events arrive in any order, in batches of any size and repeatedly, at
// several concurrent processors, some of which die between store and post. Once all are
// done, the stays, the vehicles inside and the site's totals agree with the pairing rule
// for the whole set.
func TestProcessorsAgreeWithTheOracle(t *testing.T) {
	data := newStore(t)
	var cases atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		c := drawCase(t, fmt.Sprint("site-", cases.Add(1)))
		posted := &revisions{summaries: &summaries{fail: c.faults(rapid.SampledFrom([]float64{0, 0.2, 0.7}).Draw(t, "faults"))}}
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
	for i := range rapid.IntRange(1, 25).Draw(t, "events") {
		version := int64(0)
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 4}).Draw(t, "versions") {
			version += rapid.Int64Range(1, 3).Draw(t, "version")
			e := parking.Event{
				ID: fmt.Sprint("ev", i), Version: version, Site: site, Kind: kinds.Draw(t, "kind"),
				RawPlate: fmt.Sprint("P", rapid.IntRange(1, plates).Draw(t, "plate")),
				Camera:   rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(t, "camera"),
				// Few instants make equal ones and repeats frequent.
				Time: start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "time")) * 5 * time.Second),
			}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				e.Void, e.Time = true, time.Time{}
			case 1:
				e.NoPlate = true
			}
			e, err := parking.NewEvent(e)
			if err != nil {
				t.Fatal(err)
			}
			c.events = append(c.events, e)
		}
	}
	return c
}

// revisions posts stays, and remembers one that has another state than before at the
// same revision.
type revisions struct {
	*summaries
	mu      sync.Mutex
	known   map[string]parking.Stay
	another []parking.Stay
}

func (r *revisions) Post(ctx context.Context, stays []parking.Stay) error {
	r.mu.Lock()
	for _, s := range stays {
		key := fmt.Sprint(s.Revision, s.Site, "/", s.ID)
		if known, ok := r.known[key]; ok && known != s {
			r.another = append(r.another, known, s)
		}
		if r.known == nil {
			r.known = make(map[string]parking.Stay)
		}
		r.known[key] = s
	}
	r.mu.Unlock()
	return r.summaries.Post(ctx, stays)
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
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		queues[e.Kind] <- batch.Event{ID: fmt.Sprint(i), Data: data}
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

func (c *oracleCase) compare(t *rapid.T, data *timeline.Store, posted *revisions) {
	var want timeline.Totals
	count := func(e *parking.Event, entries, exits *int64) {
		if e.Kind == parking.Entry {
			*entries++
		} else {
			*exits++
		}
	}
	byPlate := make(map[string][]parking.Event)
	for _, e := range parking.Current(c.events) {
		count(&e, &want.Entries, &want.Exits)
		if e.NoPlate {
			count(&e, &want.NoPlateEntries, &want.NoPlateExits)
		} else {
			byPlate[e.Plate] = append(byPlate[e.Plate], e)
		}
	}
	wantStays := make(map[string]parking.Stay)
	wantInside := make(map[string]time.Time)
	for plate, events := range byPlate {
		timeline := parking.Pair(events, nil)
		for _, s := range timeline.Stays {
			s.Revision = 0
			wantStays[s.Site+"/"+s.ID] = s
			switch s.Status() {
			case parking.Completed:
				want.CompletedStays++
			case parking.Repeated:
				want.RepeatedExits++
			default:
				want.UnmatchedExits++
			}
		}
		want.MissedExits += int64(len(timeline.MissedExits))
		want.RepeatedEntries += int64(len(timeline.RepeatedEntries))
		if timeline.Inside != nil {
			wantInside[plate] = timeline.Inside.Time
		}
	}
	if len(posted.another) > 0 {
		t.Fatalf("a revision has two states: %+v", posted.another)
	}
	gotStays := make(map[string]parking.Stay)
	for key, s := range posted.stays {
		s.Revision = 0
		if _, exit := wantStays[key]; exit || !s.Void { // what is no exit may have been one
			gotStays[key] = s
		}
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
	if occupancy := int64(len(wantInside)) + want.NoPlateEntries - want.NoPlateExits; site.Occupancy != occupancy {
		t.Fatalf("occupancy %d, want %d", site.Occupancy, occupancy)
	}
}
