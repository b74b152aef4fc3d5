package pipeline

import (
	"bytes"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json"

	"parkstream/shared/batch"
	"parkstream/shared/parking"
)

// answer is what a person gets who POSTs one event.
type answer struct {
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
//	503 {"id":"...","outcome":"retry","reason":"..."}
func NewHTTPHandler(h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "use POST with one event as JSON, or a batch as "+batch.ContentType, http.StatusMethodNotAllowed)
			return
		}
		var read bytes.Buffer
		read.Grow(int(min(max(0, r.ContentLength), 1<<24)) + bytes.MinRead)
		if _, err := read.ReadFrom(r.Body); err != nil {
			http.Error(w, "read the request: "+err.Error(), http.StatusBadRequest)
			return
		}
		body := read.Bytes()
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == batch.ContentType {
			serveBatch(w, r, h, body)
			return
		}
		serveOne(w, r, h, body)
	})
}

func serveBatch(w http.ResponseWriter, r *http.Request, h Handler, body []byte) {
	events, err := batch.ParseRequest(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	processed := h.ProcessMessages(r.Context(), events)
	results := make([]batch.Result, len(processed))
	for i := range processed {
		results[i] = processed[i].Result
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(batch.AppendResponse(make([]byte, 0, 64*len(results)), results))
}

// retryAfterSeconds is how long to wait when a part is away.
const retryAfterSeconds = "5"

func serveOne(w http.ResponseWriter, r *http.Request, h Handler, body []byte) {
	result := h.ProcessMessages(r.Context(), []batch.Event{{ID: "1", Data: body}})[0]
	a := answer{ID: result.EventID, Outcome: result.Outcome, Reason: result.Reason}
	status := http.StatusOK
	switch result.Outcome {
	case batch.Done:
		a.Stays = result.Stays
		if a.Stays == nil {
			a.Stays = []parking.Stay{}
		}
	case batch.Reject:
		status = http.StatusBadRequest
	default:
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfterSeconds)
	}
	text, err := json.Marshal(a)
	if err != nil {
		http.Error(w, "write the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}
