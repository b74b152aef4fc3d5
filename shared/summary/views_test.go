package summary

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// observe records events. "e a P1 5" is an entry of P1 at site a, five minutes after
// start.
func (e *endpoint) observe(t *testing.T, start time.Time, events ...string) {
	t.Helper()
	list := make([]parking.Event, len(events))
	for i, text := range events {
		var kind, site, plate string
		var minutes int
		if _, err := fmt.Sscan(text, &kind, &site, &plate, &minutes); err != nil {
			t.Fatal(err)
		}
		event := parking.Event{ID: fmt.Sprint(text, i), Kind: parking.Entry, Site: site, RawPlate: plate, Time: start.Add(time.Duration(minutes) * time.Minute)}
		if kind == "x" {
			event.Kind = parking.Exit
		}
		var err error
		if list[i], err = parking.NewEvent(event); err != nil {
			t.Fatal(err)
		}
	}
	for i, recorded := range e.events.Record(t.Context(), list) {
		if recorded.Err != nil {
			t.Fatalf("%s: %v", events[i], recorded.Err)
		}
	}
}

// answered decodes a JSON response.
func answered[T any](t *testing.T, e *endpoint, path string) T {
	t.Helper()
	w := e.call("GET", path, "")
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %v %s", path, w.Code, err, w.Body)
	}
	return v
}

func TestOverview(t *testing.T) {
	e := newEndpoint(t)
	if got := answered[overview[timeline.Site]](t, e, "/overview"); len(got.Sites) != 0 || got.Sites == nil {
		t.Errorf("of no sites: %+v", got)
	}
	e.observe(t, time.Now().Add(-time.Hour), "e a P1 0", "e a P2 1", "x a P1 2", "x b P9 3")
	got := answered[overview[timeline.Site]](t, e, "/overview")
	if len(got.Sites) != 2 || got.Sites[0].Site != "a" || got.Sites[0].Occupancy != 1 || got.Sites[0].Totals.CompletedStays != 1 ||
		got.Sites[1].Site != "b" || got.Sites[1].Totals.UnmatchedExits != 1 || time.Since(got.At) > time.Minute {
		t.Errorf("%+v", got)
	}
}

func TestMinutes(t *testing.T) {
	e := newEndpoint(t)
	start := time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour)
	e.observe(t, start, "e a P1 0", "e a P2 0", "x a P1 4", "e b P3 4", "x b P3 5", "e a P4 14")
	ask := func(query string) (counts string) {
		got := answered[minutesResponse](t, e, "/minutes?"+query)
		for _, m := range got.Minutes {
			if m.Entries+m.Exits > 0 {
				counts += fmt.Sprintf("%d:%d/%d ", int(m.Start.Sub(start).Minutes()), m.Entries, m.Exits)
			}
		}
		return fmt.Sprintf("%s%d of %ds", counts, len(got.Minutes), got.StepSeconds)
	}
	bounds := "from=" + start.Format(time.RFC3339) + "&to=" + start.Add(15*time.Minute).Format(time.RFC3339)
	for query, want := range map[string]string{
		bounds:                   "0:2/0 4:1/1 5:0/1 14:1/0 15 of 60s",
		bounds + "&site=a":       "0:2/0 4:0/1 14:1/0 15 of 60s",
		bounds + "&site=nowhere": "15 of 60s",
		bounds + "&step=5":       "0:3/1 5:0/1 10:1/0 3 of 300s",
		bounds + "&step=10":      "0:3/2 10:1/0 2 of 600s",
		strings.ToLower(bounds):  "0:2/0 4:1/1 5:0/1 14:1/0 15 of 60s",
		"site=a&from=" + start.Add(4*time.Minute).Format(time.RFC3339) + "&to=" + start.Add(5*time.Minute).Format(time.RFC3339): "4:0/1 1 of 60s",
	} {
		if got := ask(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if got := answered[minutesResponse](t, e, "/minutes"); len(got.Minutes) != 61 { // the hour and the minute now
		t.Errorf("without bounds: %d minutes", len(got.Minutes))
	}
	for query, reason := range map[string]string{
		"step=0": "step", "step=x": "step", "from=yesterday": "no RFC 3339 time", "site=a%20b%0A": "site", "other=1": "unknown parameter",
		"from=2026-01-01T6:00:00Z": "no RFC 3339 time", "to=2026-01-01T06:00:00%2B24:00": "no RFC 3339 time",
		"from=2026-01-01T00:00:00Z&to=2026-01-08T00:02:00Z": "at most 10080 minutes", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z": "before from",
	} {
		if w := e.call("GET", "/minutes?"+query, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), reason) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestInsideAnywhere(t *testing.T) {
	e := newEndpoint(t)
	e.observe(t, time.Now().Add(-time.Hour), "e a P1 3", "e b P2 1", "e c P3 2", "e a P4 4", "e b P5 5", "x b P5 6")
	ask := func(query string) (plates string) {
		for _, v := range answered[map[string][]timeline.InsideSite](t, e, "/inside?"+query)["vehicles"] {
			plates += v.Site + ":" + v.Plate + " "
		}
		return plates
	}
	for query, want := range map[string]string{
		"":                 "b:P2 c:P3 a:P1 a:P4 ",
		"limit=2":          "b:P2 c:P3 ",
		"limit=2&offset=1": "c:P3 a:P1 ",
		"limit=2&offset=3": "a:P4 ",
		"offset=9":         "",
	} {
		if got := ask(query); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	for _, query := range []string{"limit=0", "offset=-1", "offset=1000", "limit=500&offset=501", "site=a"} {
		if w := e.call("GET", "/inside?"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// Every stay is counted once in the durations, on the right side of a bound.
func TestDurations(t *testing.T) {
	e := newEndpoint(t)
	e.authorized("POST", "/", stayJSON(t,
		completed("1", "a", "P1", today, 0), completed("2", "a", "P1", today, 50), completed("3", "a", "P1", today, 70),
		completed("4", "b", "P1", today, 5000), completed("5", "b", "P1", today, 30*86400), unmatched("6", "b", "P1", today)))
	w := e.call("GET", "/stats?from="+today.Format(time.RFC3339)+"&to="+today.Add(24*time.Hour).Format(time.RFC3339), "")
	var stats stay.Stats
	if err := json.Unmarshal(w.Body.Bytes(), &stats); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, d := range stats.Durations {
		bound := "more"
		if d.UpToSeconds != nil {
			bound = fmt.Sprint(*d.UpToSeconds)
		}
		if d.Stays > 0 {
			got[bound] = d.Stays
		}
	}
	if d := cmp.Diff(map[string]int64{"60": 2, "300": 1, "7200": 1, "more": 1}, got); d != "" || len(stats.Durations) != 13 {
		t.Error(d)
	}
}

// While Redis is unavailable the response is an error that suggests another try.
func TestViewsWithoutRedis(t *testing.T) {
	e := newEndpoint(t)
	if err := e.redis.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/overview", "/minutes", "/inside"} {
		if w := e.call("GET", path, ""); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
