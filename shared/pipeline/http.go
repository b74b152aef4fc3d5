package pipeline

import (
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"

	"parkstream/shared/batch"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

// response is the response to a POST of one event.
type response struct {
	ID      string         `json:"id"`
	Outcome batch.Outcome  `json:"outcome"`
	Reason  string         `json:"reason,omitzero"`
	Stays   []parking.Stay `json:"stays,omitzero"`
}

// NewHTTPHandler serves a Handler to connectors and to people: a body of type
// [batch.ContentType] is a batch and is answered as one; any other is one event
// as plain JSON, answered with its outcome:
//
//	200 {"id":"...","outcome":"done","stays":[...]}
//	400 {"id":"...","outcome":"reject","reason":"..."}
//	403 {"id":"...","outcome":"reject","reason":"..."} if the caller does not have its site
//	503 {"id":"...","outcome":"retry","reason":"..."}
//	500 {"id":"...","outcome":"retry","reason":"..."} if it is Unexplained, see [Result]
//
// An event of a batch during an outage of a dependency is unavailable; the other events
// are done. If no event is done, the status is 503 and the body has the results, so
// callers and gateways notice the outage. If one is Unexplained, the status of the
// batch is 500. The caller then repeats the events in smaller batches to find the one
// to blame.
//
// A request that is neither is answered with {"error":"..."}.
func NewHTTPHandler(h Handler) http.Handler {
	turns := make(chan struct{}, largeTogether)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store") // plates must not be cached
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			httpjson.Error(w, http.StatusMethodNotAllowed, "use POST with one event as JSON, or a batch as "+batch.ContentType)
			return
		}
		body, err := readBody(r)
		if err != nil {
			httpjson.Error(w, http.StatusRequestTimeout, "the request's body did not arrive whole")
			return
		}
		if !isBatch(r) {
			serveOne(w, r, h, body)
			return
		}
		if len(body) > largeBytes {
			select {
			case turns <- struct{}{}:
				defer func() { <-turns }()
			case <-r.Context().Done():
				w.Header().Set("Retry-After", retryAfterSeconds)
				httpjson.Error(w, http.StatusServiceUnavailable, "other large batches are being processed: try again")
				return
			}
		}
		serveBatch(w, r, h, body)
	})
}

func isBatch(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == batch.ContentType
}

// MaxBody returns the maximum number of bytes in the body of a call of
// [NewHTTPHandler], by its method and header. A batch may have what the process allows.
// A single event has its own limit.
func MaxBody(r *http.Request) int64 {
	switch {
	case r.Method != http.MethodPost:
		return 0
	case isBatch(r):
		return math.MaxInt64
	default:
		return maxEventBytes
	}
}

// readBody returns the body. It does not copy one that is in memory already.
func readBody(r *http.Request) ([]byte, error) {
	if whole, ok := r.Body.(interface{ Bytes() []byte }); ok {
		return whole.Bytes(), nil
	}
	return io.ReadAll(r.Body)
}

// Bounds of the memory of batches, besides the bound of their bodies.
const (
	// eventsAtOnce is the number of events of a batch processed at a time. An event
	// takes several times the size of its JSON meanwhile.
	eventsAtOnce = 500
	// maxIdle is the number of parts of a batch that are tried during an outage. If no
	// event of them is done, the rest is not tried, because each part may take until a
	// timeout. It is more than one, because all events of one part may belong to a lost
	// shard.
	maxIdle = 2
	// largeBytes is the size from which batches take turns, largeTogether at a time.
	// Beside them as many small calls run as the process allows (max_inflight). A
	// connector makes four concurrent calls with batches.
	largeBytes    = 32 << 10
	largeTogether = 8
)

func serveBatch(w http.ResponseWriter, r *http.Request, h Handler, body []byte) {
	events, err := batch.ParseRequest(body)
	switch {
	case errors.Is(err, batch.ErrTooMany):
		httpjson.Error(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		httpjson.Error(w, http.StatusBadRequest, err.Error())
		return
	}
	var done, unavailable bool
	idle := 0 // parts tried
	results := make([]batch.Result, 0, len(events))
	for part := range slices.Chunk(events, eventsAtOnce) {
		if unavailable && !done && idle == maxIdle {
			reason := results[slices.IndexFunc(results, func(r batch.Result) bool { return r.Unavailable })].Reason
			for _, e := range part {
				results = append(results, batch.Result{ID: e.ID, Outcome: batch.Retry, Reason: reason, Unavailable: true})
			}
			continue
		}
		for _, processed := range h.ProcessMessages(r.Context(), part) {
			if processed.Unexplained {
				httpjson.Error(w, http.StatusInternalServerError, processed.Reason)
				return
			}
			done = done || processed.Outcome == batch.Done
			unavailable = unavailable || processed.Unavailable
			results = append(results, processed.Result)
		}
		idle++
	}
	w.Header().Set("Content-Type", "application/json")
	if unavailable && !done {
		w.Header().Set("Retry-After", retryAfterSeconds)
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(batch.AppendResponse(make([]byte, 0, 64*len(results)), results))
}

// retryAfterSeconds is the least delay before a retry while a part is unavailable. A
// connector increases its delay with the length of the outage.
const retryAfterSeconds = "1"

func serveOne(w http.ResponseWriter, r *http.Request, h Handler, body []byte) {
	result := h.ProcessMessages(r.Context(), []batch.Event{{ID: "1", Data: body}})[0]
	a := response{ID: result.EventID, Outcome: result.Outcome, Reason: result.Reason}
	status := http.StatusOK
	switch {
	case result.Outcome == batch.Done:
		a.Stays = result.Stays
	case result.Forbidden:
		status = http.StatusForbidden
	case result.Outcome == batch.Reject:
		status = http.StatusBadRequest
	case result.Unexplained:
		status = http.StatusInternalServerError
	default:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfterSeconds)
	}
	httpjson.Write(w, status, a)
}
