package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"parkstream/shared/batch"
	"parkstream/shared/pipeline"
)

// The method and header of a call determine the maximum size of its body.
func TestMaxBody(t *testing.T) {
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
		if got := pipeline.MaxBody(r); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.contentType, got, tt.want)
		}
	}
}

// counting is a Handler that counts its calls and the largest batch.
type counting struct{ most, calls int }

func (c *counting) ProcessMessages(_ context.Context, events []batch.Event) []pipeline.Result {
	c.most, c.calls = max(c.most, len(events)), c.calls+1
	results := make([]pipeline.Result, len(events))
	for i := range events {
		results[i].Result = batch.Result{ID: events[i].ID, Outcome: batch.Done}
	}
	return results
}

// A large batch is processed in parts and has one response. A batch that is too large
// is not processed at all.
func TestLargeBatch(t *testing.T) {
	for n, want := range map[int]int{batch.MaxEvents: 200, batch.MaxEvents + 1: 413} {
		events := make([]batch.Event, n)
		for i := range events {
			events[i] = batch.Event{ID: strconv.Itoa(i), Data: []byte("{}")}
		}
		r := httptest.NewRequest("POST", "/", bytes.NewReader(batch.AppendRequest(nil, "/x", events)))
		r.Header.Set("Content-Type", batch.ContentType)
		w, h := httptest.NewRecorder(), new(counting)
		documented(t, h).ServeHTTP(w, r)
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
		if err != nil || h.most > 500 || h.calls != 20 {
			t.Fatalf("%d at once in %d calls, %v", h.most, h.calls, err)
		}
		for i, r := range results {
			if r.Outcome != batch.Done {
				t.Fatalf("event %d: %+v", i, r)
			}
		}
	}
}

// waiting is a Handler that waits for a signal.
type waiting struct{ entered, leave chan struct{} }

func (h waiting) ProcessMessages(ctx context.Context, events []batch.Event) []pipeline.Result {
	h.entered <- struct{}{}
	<-h.leave
	return new(counting).ProcessMessages(ctx, events)
}

// Large batches take turns. Small ones do not wait for them.
func TestLargeBatchesTakeTurns(t *testing.T) {
	h := waiting{make(chan struct{}), make(chan struct{})}
	handler := documented(t, h)
	answers := make(chan *httptest.ResponseRecorder, 1)
	post := func(ctx context.Context, size int) int {
		body := batch.AppendRequest(nil, "/x", []batch.Event{{ID: "1", Data: bytes.Repeat([]byte("x"), size)}})
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body)).WithContext(ctx)
		r.Header.Set("Content-Type", batch.ContentType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			answers <- w
		}
		return w.Code
	}
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if code := post(t.Context(), 1<<20); code != http.StatusOK {
				t.Errorf("a large batch: %d", code)
			}
		})
		<-h.entered
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if code := post(gone, 1<<20); code != http.StatusServiceUnavailable {
		t.Errorf("a large batch too many: %d", code)
	}
	if w := <-answers; w.Header().Get("Content-Type") != "application/json" || w.Body.String() != `{"error":"other large batches are being processed: try again"}`+"\n" {
		t.Errorf("a large batch too many: %v %s", w.Header(), w.Body)
	}
	calls.Go(func() {
		if code := post(t.Context(), 1); code != http.StatusOK {
			t.Errorf("a small batch: %d", code)
		}
	})
	<-h.entered
	close(h.leave)
	calls.Wait()
}

// unreadable is the body of an aborted connection.
type unreadable struct{}

func (unreadable) Read([]byte) (int, error) {
	return 0, errors.New("read tcp 10.0.0.1:8080->10.0.0.2:41234: connection reset by peer")
}

// Behind another server, too, an incomplete body is no refusal, and the response has no
// address.
func TestUnreadableBody(t *testing.T) {
	h, w := new(counting), httptest.NewRecorder()
	documented(t, h).ServeHTTP(w, httptest.NewRequest("POST", "/", unreadable{}))
	if w.Code != http.StatusRequestTimeout || w.Body.String() != `{"error":"the request's body did not arrive whole"}`+"\n" || h.calls != 0 {
		t.Errorf("%d %s, %d calls", w.Code, w.Body, h.calls)
	}
}
