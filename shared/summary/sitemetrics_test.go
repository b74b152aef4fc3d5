package summary

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/parking"
)

// The metrics have the state of the sites, of a hundred at most, and nothing while
// Redis is unavailable.
func TestSiteMetrics(t *testing.T) {
	e := newEndpoint(t)
	at := func(id string, kind parking.Kind, site, plate string, minute int) parking.Event {
		return parking.Event{ID: id, Kind: kind, Site: site, RawPlate: plate, Plate: plate, Time: time.Now().UTC().Add(time.Duration(minute-60) * time.Minute)}
	}
	events := []parking.Event{
		at("e1", parking.Entry, "a", "P1", 0), at("x1", parking.Exit, "a", "P1", 1),
		at("e2", parking.Entry, "a", "P2", 0), at("x3", parking.Exit, "a", "P3", 1), at("e4", parking.Entry, "a", "P2", 2),
		of(at("e5", parking.Entry, "a", "P4", 0), func(e *parking.Event) { e.Gate = "g" }), of(at("e6", parking.Entry, "a", "P4", 0), func(e *parking.Event) { e.Gate = "g" }),
		of(at("x5", parking.Exit, "a", "P5", 0), func(e *parking.Event) { e.Gate = "g" }), of(at("x6", parking.Exit, "a", "P5", 0), func(e *parking.Event) { e.Gate = "g" }),
		of(at("e7", parking.Entry, "a", "", 0), func(e *parking.Event) { e.NoPlate = true }), of(at("x7", parking.Exit, "a", "", 0), func(e *parking.Event) { e.NoPlate = true }),
		of(at("e1", parking.Entry, "a", "P1", 0), func(e *parking.Event) { e.Version, e.Void = 2, true }), of(at("e1", parking.Entry, "a", "P1", 0), func(e *parking.Event) { e.Version = 3 }),
		of(at("e8", parking.Entry, "a", "P8", 0), func(e *parking.Event) { e.Void = true }),
	}
	for i := range maxSiteSeries {
		events = append(events, at("e", parking.Entry, fmt.Sprintf("b%03d", i), "P", 0))
	}
	for _, r := range e.events.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(NewSiteMetrics(e.events, slog.New(slog.DiscardHandler)))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			got[f.GetName()+" "+strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for series, want := range map[string]float64{
		"parkstream_sites ":                      maxSiteSeries + 1,
		"parkstream_site_vehicles_inside a":      2,
		"parkstream_site_occupancy a":            2,
		"parkstream_site_events entry a":         6,
		"parkstream_site_events exit a":          5,
		"parkstream_site_no_plates entry a":      1,
		"parkstream_site_no_plates exit a":       1,
		"parkstream_site_stays a completed":      1,
		"parkstream_site_stays a unmatched_exit": 2,
		"parkstream_site_stays a repeat":         1,
		"parkstream_site_stays a missed_exit":    1,
		"parkstream_site_stays a repeated_entry": 1,
		"parkstream_site_vehicles_inside b098":   1,
	} {
		if v, found := got[series]; !found || v != want {
			t.Errorf("%s is %g (%t), want %g", series, v, found, want)
		}
	}
	if _, found := got["parkstream_site_vehicles_inside b099"]; found {
		t.Error("there are more sites than a hundred")
	}
	if err := e.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(r); err != nil || n != 0 {
		t.Errorf("without Redis there are %d series, error %v", n, err)
	}
}

// of returns an event as changed.
func of(e parking.Event, change func(*parking.Event)) parking.Event {
	change(&e)
	return e
}
