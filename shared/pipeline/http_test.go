package pipeline_test

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"parkstream/shared/batch"
	"parkstream/shared/pipeline"
)

// What a call's body may have is told by its method and header alone.
func TestAdmit(t *testing.T) {
	const event = 64 << 10
	for _, tt := range []struct {
		method, contentType string
		want                int64
	}{
		{"POST", "application/json", event},
		{"POST", "", event},
		{"POST", "application/cloudevents+json", event},
		{"POST", "application/cloudevents-batch+json; charset=utf-8", math.MaxInt64},
		{"POST", "application/cloudevents-batch+json", math.MaxInt64},
		{"GET", "application/cloudevents-batch+json", 0},
		{"DELETE", "", 0},
		{"PUT", "application/json", 0},
	} {
		r := httptest.NewRequest(tt.method, "/", http.NoBody)
		r.Header.Set("Content-Type", tt.contentType)
		if got, admitted := pipeline.Admit(nil, r); got != tt.want || !admitted {
			t.Errorf("%s %s: %d %t, want %d", tt.method, tt.contentType, got, admitted, tt.want)
		}
	}
}

// counting is a Handler that remembers how many events it got at once.
type counting struct{ most, calls int }

func (c *counting) ProcessMessages(_ context.Context, events []batch.Event) []pipeline.Result {
	c.most, c.calls = max(c.most, len(events)), c.calls+1
	results := make([]pipeline.Result, len(events))
	for i := range events {
		results[i].Result = batch.Result{ID: events[i].ID, Outcome: batch.Done}
	}
	return results
}

// A large batch is processed in parts, and answered as one; one that is too large is
// not processed at all.
func TestLargeBatch(t *testing.T) {
	for n, want := range map[int]int{batch.MaxEvents: 200, batch.MaxEvents + 1: 413} {
		events := make([]batch.Event, n)
		for i := range events {
			events[i] = batch.Event{ID: strconv.Itoa(i), Data: []byte("{}")}
		}
		r := httptest.NewRequest("POST", "/", bytes.NewReader(batch.AppendRequest(nil, "/x", events)))
		r.Header.Set("Content-Type", batch.ContentType)
		w, h := httptest.NewRecorder(), new(counting)
		pipeline.NewHTTPHandler(h).ServeHTTP(w, r)
		if w.Code != want {
			t.Fatalf("%d events: %d %.200s", n, w.Code, w.Body)
		}
		if want != http.StatusOK {
			if h.calls != 0 {
				t.Errorf("%d events: some were processed", n)
			}
			continue
		}
		results, err := batch.ParseResponse(w.Body.Bytes(), events)
		if err != nil || h.most > 1000 || h.calls != 10 {
			t.Fatalf("%d at once in %d calls, %v", h.most, h.calls, err)
		}
		for i, r := range results {
			if r.Outcome != batch.Done {
				t.Fatalf("event %d: %+v", i, r)
			}
		}
	}
}
