package summary

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// kept records events and returns the time of the first.
func (e *endpoint) kept(t *testing.T, events ...parking.Event) time.Time {
	t.Helper()
	at := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	for i := range events {
		events[i].Site, events[i].Time = "a", at.Add(time.Duration(i)*time.Second)
		if events[i].Kind == 0 {
			events[i].Kind = parking.Entry
		}
		valid, err := parking.NewEvent(events[i])
		if err != nil {
			t.Fatal(err)
		}
		if r := e.events.Record(t.Context(), []parking.Event{valid})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return at
}

// An event is answered as it was sent, in the version that counts.
func TestOneEvent(t *testing.T) {
	e := newEndpoint(t)
	sure := 0.9
	at := e.kept(t,
		parking.Event{ID: "e1", RawPlate: "ka 01"},
		parking.Event{ID: "e1", Version: 3, RawPlate: "KA-02", Gate: "g", Camera: "c", Details: parking.Details{Vehicle: "7", Confidence: &sure, Candidates: []parking.Candidate{{Plate: "KA03"}}, Country: "IN", Make: "Tata", Color: "red", Image: "a/b/c", AmbiguousTime: true}},
		parking.Event{ID: "e1", Version: 2, RawPlate: "KA01"},
		parking.Event{ID: "x/1", Kind: parking.Exit, RawPlate: "KA01"},
		parking.Event{ID: "x/1", Kind: parking.Exit, Version: 2, Void: true},
		parking.Event{ID: "e2", NoPlate: true},
	)
	when := func(n int) string { return at.Add(time.Duration(n) * time.Second).Format(time.RFC3339) }
	for path, want := range map[string]string{
		"/sites/a/events/e1": fmt.Sprintf(`{"id":"e1","vehicle_plate":"KA-02","entry_date_time":%q,"site":"a","gate":"g","version":3,"camera":"c","vehicle":"7","confidence":0.9,`+
			`"candidates":[{"plate":"KA03"}],"country":"IN","make":"Tata","color":"red","image":"a/b/c","ambiguous_time":true}`, when(1)),
		"/sites/a/events?id=e2":    fmt.Sprintf(`{"id":"e2","vehicle_plate":null,"entry_date_time":%q,"site":"a"}`, when(5)),
		"/sites/a/events/x/1":      `{"id":"x/1","vehicle_plate":null,"site":"a","version":2,"void":true}`,
		"/sites/a/events?id=x%2F1": `{"id":"x/1","vehicle_plate":null,"site":"a","version":2,"void":true}`,
		"/sites/a/events/nothing":  `{"error":"no such event"}`,
		"/sites/b/events/e1":       `{"error":"no such event"}`,
	} {
		if w := e.call("GET", path, ""); w.Body.String() != want+"\n" || (w.Code == 200) == strings.Contains(want, "error") {
			t.Errorf("GET %s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
}

// Following the cursors lists each read without a plate once, newest first.
func TestNoPlates(t *testing.T) {
	e := newEndpoint(t)
	var events []parking.Event
	for i := range 7 {
		events = append(events, parking.Event{ID: fmt.Sprint("e", i), NoPlate: true}, parking.Event{ID: fmt.Sprint("p", i), RawPlate: "P"})
	}
	e.kept(t, append(events, parking.Event{ID: "e3", Version: 2, RawPlate: "P"}, parking.Event{ID: "e5", Version: 2, Void: true})...)
	for _, limit := range []int{1, 2, 5, 100} {
		var ids []string
		for next, first := "", true; first || next != ""; first = false {
			path := fmt.Sprintf("/sites/a/no-plates?limit=%d", limit)
			if next != "" {
				path += "&cursor=" + url.QueryEscape(next)
			}
			page := answered[struct {
				Events []struct{ ID string }
				Next   string
			}](t, e, path)
			if len(page.Events) > limit || len(page.Events) == 0 {
				t.Fatalf("GET %s: %+v", path, page)
			}
			for _, one := range page.Events {
				ids = append(ids, one.ID)
			}
			next = page.Next
		}
		if got := strings.Join(ids, " "); got != "e6 e4 e2 e1 e0" {
			t.Errorf("by %d: %s", limit, got)
		}
	}
	if w := e.call("GET", "/sites/b/no-plates", ""); w.Code != 200 || w.Body.String() != `{"events":[],"next":""}`+"\n" {
		t.Errorf("none: %d %s", w.Code, w.Body)
	}
}
