package test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/eventually"
	"parkstream/shared/parking"
)

// 50,000 events of one site, shuffled, a tenth of them delivered twice, through
// RabbitMQ, connector and functions: the summary lists the stays that the pairing rule
// gives for the whole set.
func TestStaysEqualTheOracle(t *testing.T) {
	const events = 50_000
	s := startSystem(t, t.TempDir())
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	byPlate := make(map[string][]parking.Event)
	var all []parking.Event
	start := time.Now().UTC().Add(-12 * time.Hour).Truncate(time.Second)
	for i := range events {
		e := parking.Event{
			ID: fmt.Sprint("oracle-", i), Site: "oracle",
			Kind:  []parking.Kind{parking.Entry, parking.Exit}[random.IntN(2)],
			Plate: fmt.Sprint("P", random.IntN(events/8)),
			Time:  start.Add(time.Duration(random.IntN(11*3600)) * time.Second),
		}
		byPlate[e.Plate] = append(byPlate[e.Plate], e)
		all = append(all, e)
		if i%10 == 0 {
			all = append(all, e)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	ch := s.dial(t)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, len(all)))
	for _, e := range all {
		queue := map[parking.Kind]string{parking.Entry: "vehicle_entries", parking.Exit: "vehicle_exits"}[e.Kind]
		publish(t, ch, queue, fmt.Appendf(nil, `{"id":%q,"vehicle_plate":%q,"site":%q,"%s_date_time":%q}`,
			e.ID, e.Plate, e.Site, e.Kind, e.Time.Format(time.RFC3339)))
	}
	for range all {
		if c := <-confirms; !c.Ack {
			t.Fatal("the broker refused a message")
		}
	}

	want := make(map[string]parking.Stay)
	inside, missed, unmatched := 0, 0, 0
	for _, events := range byPlate {
		timeline := parking.Pair(events, nil)
		for _, stay := range timeline.Stays {
			stay.Revision = 0
			want[stay.ID] = stay
			if stay.Status() == parking.UnmatchedExit {
				unmatched++
			}
		}
		missed += len(timeline.MissedExits)
		if timeline.Inside != nil {
			inside++
		}
	}
	var site struct {
		VehiclesInside int `json:"vehicles_inside"`
		Occupancy      int
		Totals         struct {
			Entries, Exits int
			Unmatched      int `json:"unmatched_exits"`
			Missed         int `json:"missed_exits"`
		}
	}
	eventually.SucceedsWithin(t, 2*time.Minute, "every event is done", func() error {
		s.get(t, "/function/summary/sites/oracle", &site)
		waiting := depth(t, ch, "vehicle_entries") + depth(t, ch, "vehicle_exits")
		if n := site.Totals.Entries + site.Totals.Exits; n != events || waiting != 0 {
			return fmt.Errorf("%d of %d events are taken in, %d messages wait", n, events, waiting)
		}
		return nil
	})
	if site.Occupancy != inside || site.VehiclesInside != inside || site.Totals.Missed != missed || site.Totals.Unmatched != unmatched {
		t.Errorf("the site says %+v; want %d inside, %d missed exits, %d unmatched exits", site, inside, missed, unmatched)
	}
	// The store is ahead of the summary by the batches in flight.
	var got map[string]parking.Stay
	differs := func() string {
		got = make(map[string]parking.Stay)
		for _, stay := range s.stays(t, url.Values{"site": {"oracle"}, "limit": {"1000"}}) {
			stay.Revision = 0
			if _, twice := got[stay.ID]; twice {
				t.Errorf("the summary lists stay %s twice", stay.ID)
			}
			got[stay.ID] = stay
		}
		return cmp.Diff(want, got)
	}
	eventually.Succeeds(t, "the summary agrees with the oracle", func() error {
		if diff := differs(); diff != "" {
			return fmt.Errorf("-oracle +summary:\n%.3000s", diff)
		}
		return nil
	})
}
