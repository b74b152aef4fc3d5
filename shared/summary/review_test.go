package summary

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/audit"
	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/stay"
)

// misread records an entry whose plate was misread and its exit, which were seen some days
// ago, and a read without a plate.
func (g *guarded) misread(t *testing.T, at string) time.Time {
	t.Helper()
	start := time.Now().UTC().Add(-50 * time.Hour).Truncate(time.Second)
	seen := func(kind parking.Kind, id, plate string, minute int) parking.Event {
		e, err := parking.NewEvent(parking.Event{ID: id, Kind: kind, Site: at, RawPlate: plate, NoPlate: plate == "", Time: start.Add(time.Duration(minute) * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, r := range g.events.Record(t.Context(), []parking.Event{
		seen(parking.Entry, "in/KA01AB1284", "KA01AB1284", 0), seen(parking.Exit, "out", northPlate, 60),
		seen(parking.Entry, "none", "", 10), seen(parking.Exit, "alone", "MH12DE1433", 90),
	}) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		put(t, g.stays, r.Stays...)
	}
	return start
}

// A decision is visible on the stay as soon as it is answered, its author is the login, and
// the audit has it without a whole plate.
func TestDecision(t *testing.T) {
	g := newGuarded(t)
	g.stays.Now = time.Now
	g.misread(t, "north")
	decide := func(body string, want int) string {
		t.Helper()
		w := g.as(operator+atNorth, "POST", "/sites/north/decisions", body)
		if w.Code != want {
			t.Errorf("%s: %d %s, want %d", body, w.Code, w.Body, want)
		}
		return w.Body.String()
	}
	shown := func(want string) {
		t.Helper()
		k := answeredAs[stay.StoredStay](t, g, operator, "/stays/out?site=north")
		if got := fmt.Sprintf("%s %s", k.Status(), k.EntryID); got != want {
			t.Errorf("the stay is %s, want %s", got, want)
		}
	}
	const same = `{"id":"d1","decision":"same","entry_id":"in/KA01AB1284","exit_id":"out","plate":"ka 01 ab 1234"}`
	shown("unmatched_exit ")
	text := decide(same, 201)
	shown("completed in/KA01AB1284")
	for _, want := range []string{`"id":"d1","changed":true`, `"by":"operator@north"`, `"was":"KA01AB1284"`, `"entry_id":"in/KA01AB1284"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	if text := decide(same, 200); !strings.Contains(text, `"changed":false`) {
		t.Error(text)
	}
	text = decide(`{"id":"d2","decision":"different","entry_id":"in/KA01AB1284","exit_id":"out"}`, 409)
	if !strings.Contains(text, "operator@north decided that they are of one vehicle, by the decision d1") || !strings.Contains(text, `"status":"completed"`) {
		t.Error(text)
	}
	decide(`{"id":"d3","decision":"undo","of":"d1","entry_id":"in/KA01AB1284","exit_id":"out"}`, 201)
	shown("unmatched_exit ")
	decide(`{"id":"d4","decision":"different","entry_id":"in/KA01AB1284","exit_id":"out"}`, 201)
	if text := decide(strings.Replace(same, "d1", "d5", 1), 409); !strings.Contains(text, `"rejection":{"id":"d4","by":"operator@north","at":"`) {
		t.Error(text)
	}
	for body, says := range map[string]string{
		`{"id":"d6","decision":"plate","event_id":"none","plate":"P","by":"otto"}`: `unknown object member name \"by\"`,
		`{"id":"d6","decision":"plate","event_id":"none","plate":"P","id":"d7"}`:   "duplicate",
		`[]`: "want a decision such as",
		`{"id":"d6","decision":"plate","event_id":"none","plate":"--"}`: "plate: vehicle_plate",
	} {
		if text := decide(body, 400); !strings.Contains(text, says) {
			t.Errorf("%s: %s", body, text)
		}
	}
	if text := decide(`{"id":"d6","decision":"plate","event_id":"nothing","plate":"P1"}`, 404); !strings.Contains(text, "event_id: no such event") {
		t.Error(text)
	}
	decide(`{"id":"d8","decision":"plate","event_id":"none","plate":"MH12DE1433"}`, 201)

	var got []string
	for _, e := range g.recorded(t) {
		if e.Action == audit.Decide && e.Outcome != audit.Begun {
			got = append(got, fmt.Sprintf("%s %s %s|%s|%s|%s|%s", e.Who, e.Site, e.Outcome, e.Plate, e.Object, e.Before, e.After))
		}
	}
	const by = "operator@north north "
	want := []string{
		by + "done|*******234|same d1 *******234 out|*******284 *******234|*******234 *******234",
		by + "done|*******234|same d1 *******234 out|*******234 *******234|*******234 *******234",
		by + "failed||different d2 *******234 out|*******234 *******234|",
		by + "done||undo d3 d1 *******234 out|*******234 *******234|*******284 *******234",
		by + "done||different d4 in/*******284 out|*******284 *******234|*******284 *******234",
		by + "failed|*******234|same d5 *******234 out|*******284 *******234|",
		by + "failed|**|plate d6 nothing||",
		by + "done|*******433|plate d8 none|no plate|*******433",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit (-want +got):\n%s", diff)
	}
	if log := strings.ToUpper(g.log.String()); strings.Contains(log, "1AB1") {
		t.Errorf("the log has a plate: %s", log)
	}
}

// A person of one site decides nothing of another, also not by the ids of its events.
func TestDecisionsOfOtherSites(t *testing.T) {
	g := newGuarded(t)
	g.stays.Now = time.Now
	g.misread(t, "south")
	const same = `{"id":"d1","decision":"same","entry_id":"in/KA01AB1284","exit_id":"out","plate":"KA01AB1234"}`
	for path, want := range map[string]int{"/sites/south/decisions": 403, "/sites/north/decisions": 404} {
		if w := g.as(admin+atNorth, "POST", path, same); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if k := answeredAs[stay.StoredStay](t, g, admin, "/stays/out?site=south"); k.EntryID != "" {
		t.Errorf("the stay is %+v", k)
	}
}

// The review list has each disputed stay, each old unmatched exit with suggestions and each
// read without a plate once, page by page, until it is decided about.
func TestReview(t *testing.T) {
	g := newGuarded(t)
	g.stays.Now = time.Now
	start := g.misread(t, "north")
	s := completed("alone2", "north", northPlate, start.Add(3*time.Hour), 3600)
	s.Disputed, s.Match, s.Revision = true, &parking.Explanation{Method: parking.Exact, Alternatives: []parking.Alternative{{EntryID: s.EntryID, ExitID: "out", Weight: 500}}}, 2
	put(t, g.stays, s)
	list := func(query string) (items []string) {
		t.Helper()
		for cursor, pages := "", 0; pages < 40; pages++ {
			page := answeredAs[struct {
				Items []struct {
					Kind        string
					Stay        *struct{ ID string }
					Read        *struct{ ID string }
					Suggestions []struct {
						EntryID string                   `json:"entry_id"`
						ExitID  string                   `json:"exit_id"`
						Match   struct{ Weight float64 } `json:"match"`
					}
				}
				Next string
			}](t, g, plates, "/sites/north/review?"+query+cursor)
			for _, i := range page.Items {
				text := i.Kind
				for _, of := range []*struct{ ID string }{i.Stay, i.Read} {
					if of != nil {
						text += " " + of.ID
					}
				}
				for _, s := range i.Suggestions {
					text += fmt.Sprintf(" (%s %s)", s.EntryID, s.ExitID)
				}
				items = append(items, text)
			}
			if page.Next == "" {
				return items
			}
			cursor = "&cursor=" + page.Next
		}
		t.Fatal("the list does not end")
		return nil
	}
	disputed, unmatched, none := "disputed alone2 (entry of alone2 out)", "unmatched_exit out (in/KA01AB1284 out)", "no_plate none"
	for query, want := range map[string][]string{
		"": {disputed, unmatched, none}, "limit=1": {disputed, unmatched, none}, "limit=2": {disputed, unmatched, none},
		"kind=disputed": {disputed}, "kind=unmatched_exit&limit=1": {unmatched}, "kind=no_plate": {none},
	} {
		if diff := cmp.Diff(want, list(query)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	w := g.as(plates, "GET", "/sites/north/suggestions?id=in%2FKA01AB1284", "")
	if !strings.Contains(w.Body.String(), `"lone":true,"suggestions":[{"entry_id":"in/KA01AB1284","exit_id":"out","read":{"id":"out","vehicle_plate":"KA01AB1234"`) {
		t.Errorf("suggestions for the entry: %s", w.Body)
	}
	if w := g.as(operator, "POST", "/sites/north/decisions", `{"id":"d1","decision":"different","entry_id":"in/KA01AB1284","exit_id":"out"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := g.as(operator, "POST", "/sites/north/decisions", `{"id":"d2","decision":"plate","event_id":"none","plate":"P1"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if diff := cmp.Diff([]string{disputed}, list("")); diff != "" {
		t.Errorf("decided (-want +got):\n%s", diff)
	}
	// What is younger than the settling time may find its partner by itself.
	g.stays.Now = func() time.Time { return start.Add(2 * time.Hour) }
	if got := list("kind=unmatched_exit"); len(got) > 0 {
		t.Errorf("too early: %q", got)
	}
	if err := g.registry.Put(t.Context(), site.Site{ID: "north", Location: time.UTC, Settle: new(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if w := g.as(operator, "POST", "/sites/north/decisions", `{"id":"d3","decision":"undo","of":"d1","entry_id":"in/KA01AB1284","exit_id":"out"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := list("kind=unmatched_exit"); !cmp.Equal(got, []string{unmatched}) {
		t.Errorf("by the settling time of the site: %q", got)
	}
}
