package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/batch"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
)

// What the store reports of an event is its outcome in the metrics. All of these are done.
func TestOutcomes(t *testing.T) {
	stay := func(change func(*parking.Stay)) []parking.Stay {
		s := parking.Stay{ID: "1", Site: "default", Plate: "A", ExitTime: start, Revision: 1}
		change(&s)
		return []parking.Stay{s}
	}
	unmatched, repeat := stay(func(*parking.Stay) {}), stay(func(s *parking.Stay) { s.Repeat = true })
	void := stay(func(s *parking.Stay) { s.Void = true })
	for name, tt := range map[string]struct {
		kind     parking.Kind
		fields   string
		recorded parking.Recorded
		outcome  string
		seen     bool // at its gate
	}{
		"an entry":                       {parking.Entry, `"vehicle_plate":"A"`, parking.Recorded{}, "done", true},
		"an entry that was an exit":      {parking.Entry, `"vehicle_plate":"A","version":2`, parking.Recorded{Stays: void}, "done", true},
		"an entry, again":                {parking.Entry, `"vehicle_plate":"A"`, parking.Recorded{Duplicate: true}, "duplicate", false},
		"an exit":                        {parking.Exit, `"vehicle_plate":"A"`, parking.Recorded{Stays: unmatched}, "unmatched_exit", true},
		"a repeated exit":                {parking.Exit, `"vehicle_plate":"A"`, parking.Recorded{Stays: repeat}, "repeat", true},
		"a repeated exit, again":         {parking.Exit, `"vehicle_plate":"A"`, parking.Recorded{Stays: repeat, Duplicate: true}, "repeat", false},
		"an entry without a plate":       {parking.Entry, `"vehicle_plate":null`, parking.Recorded{}, "no_plate", true},
		"an exit without a plate":        {parking.Exit, `"vehicle_plate":null`, parking.Recorded{}, "no_plate", true},
		"an exit that has no plate now":  {parking.Exit, `"vehicle_plate":null,"version":2`, parking.Recorded{Stays: void}, "no_plate", true},
		"an exit without a plate, again": {parking.Exit, `"vehicle_plate":null`, parking.Recorded{Duplicate: true}, "no_plate", false},
		"a void entry":                   {parking.Entry, `"void":true`, parking.Recorded{}, "void", false},
		"a void exit":                    {parking.Exit, `"void":true,"version":2`, parking.Recorded{Stays: void}, "void", false},
		"a superseded entry":             {parking.Entry, `"vehicle_plate":"A"`, parking.Recorded{Superseded: true}, "superseded", false},
		"a superseded exit":              {parking.Exit, `"vehicle_plate":"A"`, parking.Recorded{Superseded: true}, "superseded", false},
		"a superseded void exit":         {parking.Exit, `"void":true`, parking.Recorded{Superseded: true}, "superseded", false},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			store := storeFunc(func([]parking.Event) []parking.Recorded { return []parking.Recorded{tt.recorded} })
			c := config(store, new(summaries))
			c.Metrics = pipeline.NewMetrics(registry, "test")
			process := pipeline.NewEntryEventProcessor(c).ProcessMessages
			if tt.kind == parking.Exit {
				process = pipeline.NewExitEventProcessor(c).ProcessMessages
			}
			at := start.Format(time.RFC3339)
			r := process(t.Context(), []batch.Event{{ID: "m", Data: fmt.Appendf(nil, `{"id":"1",%s,"%s_date_time":%q}`, tt.fields, tt.kind, at)}})[0]
			if r.Outcome != batch.Done || len(r.Stays) != len(tt.recorded.Stays) {
				t.Fatalf("%+v", r)
			}
			for metric, want := range map[string]bool{"parkstream_events_total": true, "parkstream_gate_events_total": tt.seen} {
				text := metricText(t, registry, metric)
				if got := strings.Contains(text, fmt.Sprintf(`event_type=%q`, tt.kind)+`} `+tt.outcome); got != want {
					t.Errorf("%s has the outcome %s: %t, want %t:\n%s", metric, tt.outcome, got, want, text)
				}
			}
		})
	}
}

// metricText returns a line `{event_type="..."} outcome` for each series of a counter that
// is 1.
func metricText(t *testing.T, registry *prometheus.Registry, name string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || m.GetCounter().GetValue() != 1 {
				continue
			}
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			fmt.Fprintf(&text, "{event_type=%q} %s\n", labels["event_type"], labels["outcome"])
		}
	}
	return text.String()
}

// An exit with a plate has a stay. Without one its answer is odd, and the event is tried
// again; one without a plate has none.
func TestAnExitLacksItsStay(t *testing.T) {
	store := storeFunc(func(events []parking.Event) []parking.Recorded { return make([]parking.Recorded, len(events)) })
	exits := pipeline.NewExitEventProcessor(config(store, new(summaries)))
	at := start.Format(time.RFC3339)
	for fields, want := range map[string]batch.Outcome{`"vehicle_plate":"A"`: batch.Retry, `"vehicle_plate":null`: batch.Done, `"void":true`: batch.Done} {
		r := exits.ProcessMessages(t.Context(), []batch.Event{{ID: "m", Data: fmt.Appendf(nil, `{"id":"1",%s,"exit_date_time":%q}`, fields, at)}})[0]
		if r.Outcome != want {
			t.Errorf("%s: %+v, want %s", fields, r, want)
		}
	}
}

// No plate of an event is in the log, nor is one of its candidates.
func TestCandidatesAreMaskedInTheLog(t *testing.T) {
	var log bytes.Buffer
	store := storeFunc(func([]parking.Event) []parking.Recorded {
		return []parking.Recorded{{Stays: []parking.Stay{{ID: "1", Site: "default", Plate: "KA01AB1284", ExitTime: start, Revision: 1}}}}
	})
	c := config(store, new(summaries))
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	exits := pipeline.NewExitEventProcessor(c)
	const candidates = `"vehicle_plate":"KA01AB1284","candidates":[{"plate":"ka 01 ab 1234"},{"plate":"KL01AB1234"}]`
	for _, fields := range []string{candidates, candidates + `,"confidence":7`, candidates + `,"image":"` + strings.Repeat("KL01AB1234/", 30) + `"`} {
		exits.ProcessMessages(t.Context(), []batch.Event{{ID: "m", Data: fmt.Appendf(nil, `{"id":"cam/KA01AB1234/kl-01-ab-1234",%s,"exit_date_time":%q}`, fields, start.Format(time.RFC3339))}})
	}
	text := log.String()
	if strings.Count(text, "id=*******284") != 3 {
		t.Errorf("the log has\n%s", text)
	}
	for _, plate := range []string{"KA01AB1234", "KL01AB1234", "KA01AB1284"} {
		if strings.Contains(parking.NormalizePlate(text), plate) {
			t.Errorf("the log has %s:\n%s", plate, text)
		}
	}
}

// What is done is told once a call, in the order of the events.
func TestDone(t *testing.T) {
	stays := []parking.Stay{{ID: "2", Site: "default", Plate: "A", ExitTime: start, Revision: 1}}
	store := storeFunc(func(events []parking.Event) []parking.Recorded {
		recorded := make([]parking.Recorded, len(events))
		for i, e := range events {
			if recorded[i].Stays = stays; e.ID == "3" {
				recorded[i] = parking.Recorded{Err: errors.New("unavailable")}
			}
		}
		return recorded
	})
	var told []string
	c := config(store, new(summaries))
	c.Done = func(_ context.Context, done []pipeline.Done) {
		told = append(told, "call")
		for _, d := range done {
			told = append(told, fmt.Sprint(d.Event.ID, " ", len(d.Stays)))
		}
	}
	exits := pipeline.NewExitEventProcessor(c)
	event := func(id string) batch.Event {
		return batch.Event{ID: id, Data: fmt.Appendf(nil, `{"id":%q,"vehicle_plate":"A","exit_date_time":%q}`, id, start.Format(time.RFC3339))}
	}
	exits.ProcessMessages(t.Context(), []batch.Event{event("1"), {ID: "x", Data: []byte("x")}, event("2"), event("3")})
	exits.ProcessMessages(t.Context(), []batch.Event{event("3")})
	if want := "call, 1 1, 2 1, call"; strings.Join(told, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(told, ", "), want)
	}
}
