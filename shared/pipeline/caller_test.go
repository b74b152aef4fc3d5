package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parkstream/shared/batch"
	"parkstream/shared/pipeline"
)

// A caller records events of its own sites only. Those of others are rejected, alone
// with 403, and the others of their batch are done.
func TestSitesOfTheCaller(t *testing.T) {
	var posted summaries
	c := config(newStore(t), &posted)
	caller := everything
	c.Caller = func(context.Context) pipeline.Caller { return caller }
	exits := documented(t, pipeline.NewExitEventProcessor(c))
	at := func(id, site string) batch.Event {
		e := exit(id, "KA01AB1234", 9)
		e.Data = []byte(strings.Replace(string(e.Data), "{", fmt.Sprintf(`{"site":%q,`, site), 1))
		return e
	}
	one := func(e batch.Event) string {
		w := httptest.NewRecorder()
		exits.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(e.Data)))
		return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
	}
	// The caller has the site north.
	caller = pipeline.Caller{CheckSite: func(site string) error {
		if site != "north" {
			return errors.New("another site")
		}
		return nil
	}}
	const refused = `403 {"id":"a","outcome":"reject","reason":"another site"}`
	for _, event := range []batch.Event{at("a", "south"), at("a", "none"), at("a", "North"), exit("a", "KA01AB1234", 9)} {
		if got := one(event); got != refused {
			t.Errorf("%s: %s", event.Data, got)
		}
	}
	if got, want := one(batch.Event{Data: []byte(`{"id":"a","site":"south"}`)}), `400 {"id":"a","outcome":"reject","reason":"vehicle_plate is missing"}`; got != want {
		t.Errorf("no event: %s, want %s", got, want)
	}
	events := []batch.Event{at("a", "south"), at("b", "north"), at("c", "default"), {ID: "msg-d", Data: []byte("{")}}
	w := post(exits, string(batch.AppendRequest(nil, "/q", events)))
	results, err := batch.ParseResponse(w.Body.Bytes(), events)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	for i, want := range []string{"reject another site", "done ", "reject another site", "reject the event is not JSON"} {
		if got := fmt.Sprint(results[i].Outcome, " ", results[i].Reason); !strings.HasPrefix(got, want) {
			t.Errorf("event %d: %s, want %s", i, got, want)
		}
	}
	for _, stay := range posted.stays {
		if len(posted.stays) != 1 || stay.Site != "north" {
			t.Errorf("posted %+v", posted.stays)
		}
	}
	// Without the right to read the response has no stay.
	if got := one(at("e", "north")); got != `200 {"id":"e","outcome":"done"}` {
		t.Errorf("a stay of its site: %s", got)
	}
	caller = everything
	if got := one(at("e", "north")); !strings.HasPrefix(got, `200 {"id":"e","outcome":"done","stays":[{"id":"e",`) {
		t.Errorf("a stay: %s", got)
	}
}
