package processor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/failure"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/timeline"
)

func entry(id, site, plate string) parking.Event {
	return parking.Event{ID: id, Kind: parking.Entry, Site: site, Plate: plate, RawPlate: plate, Time: time.Now()}
}

func newAuditedStore(t *testing.T) (auditedStore, *redis.Client) {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	log := audit.New(client, audit.Settings{Retention: 24 * time.Hour, MaxEntries: 1000}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	return auditedStore{timeline.New(client, 24*time.Hour), log}, client
}

func (s auditedStore) entries(t *testing.T) []audit.Entry {
	t.Helper()
	page, err := s.audit.List(t.Context(), audit.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(page.Entries)
	return page.Entries
}

// What a person posts is in the audit, begun and done; what machines and other parts
// post is not.
func TestWhatPersonsPostIsInTheAudit(t *testing.T) {
	s, _ := newAuditedStore(t)
	for _, p := range []access.Principal{{Name: "gate-3", Role: access.Machine}, access.PartOf("connector", access.PostEvents)} {
		if got := s.Record(access.NewContext(t.Context(), p), []parking.Event{entry("m"+p.Name, "north", "P1")}); got[0].Err != nil {
			t.Fatal(got[0].Err)
		}
	}
	if got := s.entries(t); len(got) > 0 {
		t.Errorf("entries of machines: %+v", got)
	}
	otto := access.Principal{Name: "otto", Role: access.Operator, Via: access.ViaToken, Address: "192.0.2.7"}
	ctx := access.NewContext(t.Context(), otto)
	begun := audit.Entry{Who: "otto", Role: "operator", Via: "token", Address: "192.0.2.7", Action: audit.PostEvent, Outcome: audit.Begun}
	of := func(site, object, plate string) audit.Entry {
		e := begun
		e.Site, e.Object, e.Plate = site, object, plate
		return e
	}
	done := func(e audit.Entry, after string, outcome audit.Outcome) audit.Entry {
		e.After, e.Outcome = after, outcome
		return e
	}
	one, north, south := of("north", "entry cam-*******234", "*******234"), of("north", "2 of type entry", ""), of("south", "entry 3", "****23")
	for _, tt := range []struct {
		events []parking.Event
		want   []audit.Entry
	}{
		{[]parking.Event{entry("cam-ka-01-ab-1234", "north", "KA01AB1234")}, []audit.Entry{one, done(one, "1 recorded, 0 not", audit.Done)}},
		{[]parking.Event{entry("1", "north", "P1"), entry("3", "south", "AB0123"), entry("cam-ka-01-ab-1234", "north", "OTHER")}, []audit.Entry{
			north, south, done(north, "1 recorded, 1 not", audit.Failed), done(south, "1 recorded, 0 not", audit.Done),
		}},
	} {
		before := len(s.entries(t))
		got := s.Record(ctx, tt.events)
		for i := range got {
			if conflict := tt.events[i].Plate == "OTHER"; (got[i].Err != nil) != conflict {
				t.Errorf("event %s: %v", tt.events[i].ID, got[i].Err)
			}
		}
		bySite := cmpopts.SortSlices(func(a, b audit.Entry) bool { return a.Site+string(a.Outcome) < b.Site+string(b.Outcome) })
		if diff := cmp.Diff(tt.want, s.entries(t)[before:], bySite, cmpopts.IgnoreFields(audit.Entry{}, "ID", "At", "Of")); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
	}
	ctx = access.NewContext(t.Context(), access.Principal{Name: "open", Role: access.Open, Via: access.ViaOpen})
	s.Record(ctx, []parking.Event{entry("o", "north", "P1")})
	if got := s.entries(t); got[len(got)-1].Who != "open" {
		t.Errorf("the entry of open access is %+v", got[len(got)-1])
	}
}

// An event that cannot be in the audit is not stored, and can be posted again. Those of
// machines are stored meanwhile.
func TestWhatCannotBeAuditedIsNotStored(t *testing.T) {
	s, client := newAuditedStore(t)
	key := redis.Audit + string(audit.PostEvent)
	if err := client.Current().Set(t.Context(), key, "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	person := access.NewContext(t.Context(), access.Principal{Name: "otto", Role: access.Operator})
	events := []parking.Event{entry("1", "north", "P1"), entry("2", "south", "P1")}
	for i, got := range s.Record(person, events) {
		if got.Err == nil || errors.Is(got.Err, parking.ErrInvalid) || !failure.Outage(got.Err) || failure.Told(got.Err) != "the audit cannot be written" {
			t.Errorf("event %d: %v, told %q, outage %t", i, got.Err, failure.Told(got.Err), failure.Outage(got.Err))
		}
	}
	if sites, err := s.DataStore.(*timeline.Store).Sites(t.Context()); err != nil || len(sites) > 0 {
		t.Errorf("the sites are %q, error %v", sites, err)
	}
	machine := access.NewContext(t.Context(), access.Principal{Name: "gate-3", Role: access.Machine})
	if got := s.Record(machine, events[:1]); got[0].Err != nil {
		t.Errorf("an event of a machine: %v", got[0].Err)
	}
	if err := client.Current().Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
	for i, got := range s.Record(person, events) {
		if got.Err != nil {
			t.Errorf("event %d afterwards: %v", i, got.Err)
		}
	}
}

// A store that answers for another number of events is passed on as it is.
func TestAnOddStoreStaysOdd(t *testing.T) {
	s, _ := newAuditedStore(t)
	s.DataStore = oddStore{}
	ctx := access.NewContext(t.Context(), access.Principal{Role: access.Admin})
	for _, events := range [][]parking.Event{{entry("1", "north", "P1")}, {entry("1", "north", "P1"), entry("2", "south", "P1"), entry("3", "south", "P1")}} {
		if got := s.Record(ctx, events); len(got) != 2 {
			t.Errorf("%d answers for %d events, want the store's 2", len(got), len(events))
		}
	}
}

type oddStore struct{}

func (oddStore) Record(context.Context, []parking.Event) []parking.Recorded {
	return make([]parking.Recorded, 2)
}

// A correction names the version, and whether the event is void.
func TestACorrectionInTheAudit(t *testing.T) {
	for want, change := range map[string]func(*parking.Event){
		"entry e":                  func(e *parking.Event) { e.Version = 1 },
		"entry e, version 2":       func(e *parking.Event) { e.Version = 2 },
		"entry e, version 3, void": func(e *parking.Event) { e.Version, e.Void = 3, true },
	} {
		e := entry("e", "north", "P1")
		change(&e)
		if got := entryOf(access.Principal{Name: "otto", Role: access.Operator}, []parking.Event{e}, []int{0}).Object; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
