package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/eventually"
	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

// oracleSite is the site of the events below.
const oracleSite = "oracle"

// made returns n versions of events of one site. Of some there are several versions,
// which change the plate, time or kind, make the event void or take its plate away. Some
// repeat another read.
func made(random *rand.Rand, n int) []parking.Event {
	start := time.Now().UTC().Add(-12 * time.Hour).Truncate(time.Second)
	plates := n / 10
	instant := func() time.Time { return start.Add(time.Duration(random.Int64N(int64(11 * time.Hour)))) }
	drawn := func(e parking.Event) parking.Event {
		e.Kind = []parking.Kind{parking.Entry, parking.Exit}[random.IntN(2)]
		e.RawPlate = fmt.Sprint("P-", random.IntN(plates))
		e.NoPlate = random.IntN(40) == 0
		e.Gate = []string{"", "1", "2"}[random.IntN(3)]
		e.Camera = []string{"", "c1"}[random.IntN(2)]
		e.Time = instant()
		return e
	}
	var events []parking.Event
	for id := 0; len(events) < n; id++ {
		e := drawn(parking.Event{ID: fmt.Sprint("oracle-", id), Site: oracleSite, Version: 1})
		if before := len(events) - 1; before >= 0 && random.IntN(5) == 0 { // it may repeat another
			other := events[before]
			e.Kind, e.RawPlate, e.NoPlate, e.Gate, e.Camera = other.Kind, other.RawPlate, other.NoPlate, other.Gate, other.Camera
			e.Time = other.Time.Add(time.Duration(random.Int64N(int64(80 * time.Second))))
		}
		events = append(events, e)
		for random.IntN(4) == 0 && len(events) < n {
			e.Version += 1 + random.Int64N(3)
			e.Void = false
			switch random.IntN(5) {
			case 0:
				e = drawn(e)
			case 1:
				e.Void = true
			case 2:
				e.RawPlate = fmt.Sprint("P-", random.IntN(plates))
			case 3:
				e.Time = instant()
			case 4:
				e.NoPlate = !e.NoPlate
			}
			events = append(events, e)
		}
	}
	for i := range events {
		valid, err := parking.NewEvent(events[i])
		if err != nil {
			panic(err)
		}
		events[i] = valid
	}
	return events
}

// oracle is what the set of events amounts to.
type oracle struct {
	current []parking.Event
	stays   map[string]parking.Stay
	inside  int64
	totals  timeline.Totals
}

func oracleOf(events []parking.Event) oracle {
	o := oracle{current: parking.Current(events), stays: make(map[string]parking.Stay)}
	byPlate := make(map[string][]parking.Event)
	for _, e := range o.current {
		of, without := &o.totals.Entries, &o.totals.NoPlateEntries
		if e.Kind == parking.Exit {
			of, without = &o.totals.Exits, &o.totals.NoPlateExits
		}
		*of++
		if e.NoPlate {
			*without++
		} else {
			byPlate[e.Plate] = append(byPlate[e.Plate], e)
		}
	}
	for _, events := range byPlate {
		line := parking.Pair(events, nil)
		for _, stay := range line.Stays {
			stay.Revision = 0
			o.stays[stay.ID] = stay
			switch stay.Status() {
			case parking.Completed:
				o.totals.CompletedStays++
			case parking.Repeated:
				o.totals.RepeatedExits++
			default:
				o.totals.UnmatchedExits++
			}
		}
		o.totals.MissedExits += int64(len(line.MissedExits))
		o.totals.RepeatedEntries += int64(len(line.RepeatedEntries))
		if line.Inside != nil {
			o.inside++
		}
	}
	return o
}

// 50,000 versions of events of one site, shuffled, a tenth of them delivered twice,
// through RabbitMQ, connector and functions: the summary has the stays, the counts and the
// events that the pairing rule gives for the whole set.
func TestStaysEqualTheOracle(t *testing.T) {
	const events = 50_000
	s := startSystem(t, t.TempDir())
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	all := made(random, events)
	want := oracleOf(all)
	for kind, n := range map[string]int64{
		"repeated entries": want.totals.RepeatedEntries, "repeated exits": want.totals.RepeatedExits,
		"reads without a plate": want.totals.NoPlateEntries, "void events": int64(events - len(want.current)), "stays": want.totals.CompletedStays,
	} {
		if n < 100 {
			t.Fatalf("%d %s are too few", n, kind)
		}
	}
	for i := range events / 10 {
		all = append(all, all[10*i])
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	ch := s.dial(t)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, len(all)))
	for _, e := range all {
		body, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, ch, map[parking.Kind]string{parking.Entry: "vehicle_entries", parking.Exit: "vehicle_exits"}[e.Kind], body)
	}
	for range all {
		if c := <-confirms; !c.Ack {
			t.Fatal("the broker refused a message")
		}
	}

	eventually.SucceedsWithin(t, 2*time.Minute, "every event is done", func() error {
		var site timeline.Site
		s.get(t, "/function/summary/sites/"+oracleSite, &site)
		waiting := depth(t, ch, "vehicle_entries") + depth(t, ch, "vehicle_exits")
		if diff := cmp.Diff(want.totals, site.Totals); diff != "" || waiting != 0 {
			return fmt.Errorf("%d messages wait; totals, -oracle +summary:\n%s", waiting, diff)
		}
		if occupancy := want.inside + want.totals.NoPlateEntries - want.totals.NoPlateExits; site.VehiclesInside != want.inside || site.Occupancy != occupancy {
			return fmt.Errorf("the site has %d inside and the occupancy %d, want %d and %d", site.VehiclesInside, site.Occupancy, want.inside, occupancy)
		}
		return nil
	})
	// The store is ahead of the summary by the batches in flight.
	eventually.Succeeds(t, "the summary agrees with the oracle", func() error {
		got := make(map[string]parking.Stay)
		for _, stay := range s.stays(t, url.Values{"site": {oracleSite}, "limit": {"1000"}}) {
			stay.Revision = 0
			if _, twice := got[stay.ID]; twice { // it moved from a page to a later one, or is stored twice
				return fmt.Errorf("the summary lists stay %s twice", stay.ID)
			}
			got[stay.ID] = stay
		}
		if diff := cmp.Diff(want.stays, got); diff != "" {
			return fmt.Errorf("-oracle +summary:\n%.3000s", diff)
		}
		return nil
	})
	s.checkSums(t, want)
	s.checkEvents(t, want)
}

// checkSums compares the sums of stays, and what is void.
func (s *system) checkSums(t *testing.T, want oracle) {
	t.Helper()
	var sums struct {
		Completed int64 `json:"completed"`
		Unmatched int64 `json:"unmatched_exits"`
		Repeated  int64 `json:"repeated_exits"`
	}
	s.get(t, "/function/summary/stats?site="+oracleSite, &sums)
	if sums.Completed != want.totals.CompletedStays || sums.Unmatched != want.totals.UnmatchedExits || sums.Repeated != want.totals.RepeatedExits {
		t.Errorf("the sums are %+v, want %+v", sums, want.totals)
	}
	void := s.stays(t, url.Values{"site": {oracleSite}, "status": {"void"}, "limit": {"1000"}})
	for _, stay := range void {
		if _, found := want.stays[stay.ID]; found || stay.Status() != parking.Void {
			t.Errorf("%+v is listed as void", stay)
		}
	}
	if len(void) == 0 {
		t.Error("no stay became void")
	}
}

// checkEvents compares the reads without a plate, and some events.
func (s *system) checkEvents(t *testing.T, want oracle) {
	t.Helper()
	var noPlates, listed []string
	for _, e := range want.current {
		if e.NoPlate {
			noPlates = append(noPlates, e.ID)
		}
	}
	for next, first := "", true; first || next != ""; first = false {
		var page struct {
			Events []struct{ ID string }
			Next   string
		}
		query := url.Values{"limit": {"500"}}
		if next != "" {
			query.Set("cursor", next)
		}
		s.get(t, "/function/summary/sites/"+oracleSite+"/no-plates?"+query.Encode(), &page)
		for _, e := range page.Events {
			listed = append(listed, e.ID)
		}
		next = page.Next
	}
	slices.Reverse(listed)
	if diff := cmp.Diff(noPlates, listed); diff != "" {
		t.Errorf("reads without a plate, -oracle +summary:\n%.1000s", diff)
	}
	for i := 0; i < len(want.current); i += len(want.current) / 50 {
		e := want.current[i]
		var got, wanted map[string]any
		text, err := json.Marshal(e)
		if err != nil || json.Unmarshal(text, &wanted) != nil {
			t.Fatal(err)
		}
		s.get(t, "/function/summary/sites/"+oracleSite+"/events/"+e.ID, &got)
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("event %s, -oracle +summary:\n%s", e.ID, diff)
		}
	}
}
