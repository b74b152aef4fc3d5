// Package webhook is the function that cameras post to. A request is admitted by the
// camera's token before its body is read, its reads become events, and the answer comes
// after RabbitMQ has confirmed each of them.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"parkstream/shared/access"
	"parkstream/shared/camera"
	"parkstream/shared/camera/health"
	"parkstream/shared/failure"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

const (
	// MaxBody is the largest body in bytes.
	MaxBody = 16 << 20
	// retryAfter is how long a camera ought to wait when something is unavailable.
	retryAfter = "5"
)

// Cameras has the configured cameras; [site.Registry] does.
type Cameras interface {
	Camera(ctx context.Context, id string) (c site.Camera, found bool, err error)
}

// Pictures stores pictures; an image store does.
type Pictures interface {
	// Put stores the pictures of an event, and returns the reference of one that is
	// stored, or "".
	Put(ctx context.Context, site, event string, at time.Time, pictures ...[]byte) (reference string, err error)
}

// Config has the dependencies of the webhook.
type Config struct {
	Cameras   Cameras
	Access    *access.Guard
	Publisher Publisher
	Pictures  Pictures // nil: pictures are dropped
	Kept      *Kept
	Health    *health.Recorder
	Metrics   *Metrics
	Log       *slog.Logger
	// EntryQueue and ExitQueue are the queues of the events.
	EntryQueue, ExitQueue string
	// Now is the clock.
	Now func() time.Time
}

// Handler serves the webhook:
//
//	POST /<camera>             the token as Bearer, Basic password or X-Api-Key
//	POST /<camera>/<token>     what a camera appends to it is ignored
//	GET  /?camera=&plates=     requests that were refused, for administrators
//
//	200  the answer that the camera's format expects, or
//	     {"format":"axis","events":[{"kind":"entry","id":"gate-1:7","version":1,...}]}
//	400  the request is malformed       401  no such camera, or not its token
//	413  the body is too large          415  the body is compressed
//	422  it is of no known format, or has something that cannot be an event
//	429  too many wrong tokens          503  the events are not confirmed: send again
type Handler struct {
	Config
	strangers *strangers
	// Logs of what may happen with every request.
	strange, refused, unkept, unstored, unpublished *rate.Sometimes
}

// New returns the handler of the webhook.
func New(c Config) *Handler {
	seldom := func() *rate.Sometimes { return &rate.Sometimes{First: 1, Interval: time.Minute} }
	return &Handler{
		Config: c, strangers: newStrangers(),
		strange: seldom(), refused: seldom(), unkept: seldom(), unstored: seldom(), unpublished: seldom(),
	}
}

// answer is our own answer to a request.
type answer struct {
	Format    string            `json:"format"`
	Heartbeat bool              `json:"heartbeat,omitzero"`
	Events    []json.RawMessage `json:"events"`
	// Undirected is the number of vehicles whose direction is not known yet.
	Undirected int `json:"undirected,omitzero"`
	// Rejected tells why parts of the request are no events.
	Rejected string `json:"rejected,omitzero"`
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	ctx := r.Context()
	c, found := cameraOf(ctx)
	if !found {
		h.list(w, r)
		return
	}
	body, err := bodyOf(r)
	if err != nil {
		httpjson.Error(w, http.StatusRequestTimeout, "the request's body did not arrive")
		return
	}
	req := camera.Request{Header: r.Header, Body: body, Received: h.Now().UTC()}
	format, message, err := camera.Parse(req, c)
	if err != nil {
		h.refuse(ctx, w, c, req, format, err)
		return
	}
	observed, undirected, err := camera.Observe(message, c, req.Received)
	if err != nil && len(observed) == 0 && undirected == 0 && !message.Heartbeat {
		h.refuse(ctx, w, c, req, format, err)
		return
	}
	a := answer{Format: format.Name, Heartbeat: message.Heartbeat, Events: []json.RawMessage{}, Undirected: undirected}
	if err != nil {
		a.Rejected = err.Error()
		h.keep(ctx, c, req, format.Name, http.StatusOK, err)
	}
	h.storePictures(ctx, observed)
	if err := h.publish(ctx, observed); err != nil {
		h.Metrics.request(format.Name, resultUnavailable)
		h.unavailable(ctx, w, c.ID, err)
		return
	}
	for i := range observed {
		a.Events = append(a.Events, told(observed[i].Event))
	}
	rejected := len(message.Reads) + len(message.Unread) - len(observed) - undirected
	h.Metrics.accepted(c.ID, format.Name, observed, undirected, rejected, req.Received)
	h.Health.Request(health.Request{Camera: c.ID, At: req.Received, Format: format.Name, Heartbeat: message.Heartbeat, Reads: readsOf(observed, req.Received)})
	if format.Accepted != nil {
		accept(w, format)
		return
	}
	httpjson.Write(w, http.StatusOK, a)
}

// accept answers as the camera expects for a request that was accepted.
func accept(w http.ResponseWriter, format camera.Format) {
	contentType, body := format.Accepted()
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}

// readsOf returns what the health of a camera has of its reads.
func readsOf(observed []camera.Observation, received time.Time) []health.Read {
	reads := make([]health.Read, len(observed))
	for i := range observed {
		o := &observed[i]
		reads[i] = health.Read{NoPlate: o.Event.NoPlate, Confidence: o.Event.Details.Confidence}
		if !o.Read.Time.IsZero() {
			reads[i].Skew = new(received.Sub(o.Read.Time))
		}
	}
	return reads
}

// bodyOf returns the whole body of a request, which is in memory already.
func bodyOf(r *http.Request) ([]byte, error) {
	if b, ok := r.Body.(interface{ Bytes() []byte }); ok {
		return b.Bytes(), nil
	}
	return io.ReadAll(io.LimitReader(r.Body, MaxBody))
}

// told returns an event as the answer has it: its wire form with its kind and version.
func told(e parking.Event) json.RawMessage {
	text, err := json.Marshal(e)
	if err != nil {
		return json.RawMessage("null") // an event of NewEvent can be written
	}
	head := fmt.Sprintf(`{"kind":"%s",`, e.Kind)
	if e.Version == 1 {
		head += `"version":1,`
	}
	return append(json.RawMessage(head), text[1:]...)
}

// refuse answers a request that comes to no event, and keeps it. A camera that sends
// until it gets its own answer gets that: it would send the same again and again, and
// what it sees after it would wait behind it.
func (h *Handler) refuse(ctx context.Context, w http.ResponseWriter, c site.Camera, req camera.Request, format camera.Format, err error) {
	status, result := http.StatusUnprocessableEntity, resultInvalid
	switch {
	case errors.Is(err, camera.ErrMalformed):
		status, result = http.StatusBadRequest, resultMalformed
	case errors.Is(err, camera.ErrUnrecognised):
		result = resultUnrecognised
	}
	insists := format.Accepted != nil && result == resultInvalid
	if insists {
		status = http.StatusOK
	}
	h.Metrics.request(format.Name, result)
	h.Health.Request(health.Request{Camera: c.ID, At: req.Received, Refused: true})
	h.keep(ctx, c, req, format.Name, status, err)
	if insists {
		accept(w, format)
		return
	}
	httpjson.Error(w, status, err.Error())
}

// keep keeps a request that was refused, or parts of it.
func (h *Handler) keep(ctx context.Context, c site.Camera, req camera.Request, format string, status int, reason error) {
	k := newKept(c, req, format, status, reason.Error())
	h.refused.Do(func() {
		h.Log.WarnContext(ctx, "a camera's request is no event: parkstream camera show has it", "camera", c.ID, "status", status)
	})
	if err := h.Kept.add(ctx, k); err != nil {
		h.unkept.Do(func() {
			h.Log.WarnContext(ctx, "a camera's request that was refused is not kept", "camera", c.ID, "error", err)
		})
	}
}

// unavailable answers that the request has to be sent again.
func (h *Handler) unavailable(ctx context.Context, w http.ResponseWriter, camera string, err error) {
	h.unpublished.Do(func() { h.Log.ErrorContext(ctx, "a camera's request cannot be taken", "camera", camera, "error", err) })
	w.Header().Set("Retry-After", retryAfter)
	httpjson.Error(w, http.StatusServiceUnavailable, failure.Told(err)+": send it again")
}

// storePictures stores the pictures of reads, and sets the references of their events. A
// vehicle is not lost for its picture.
func (h *Handler) storePictures(ctx context.Context, observed []camera.Observation) {
	for i := range observed {
		o := &observed[i]
		switch {
		case len(o.Read.Pictures) == 0:
		case h.Pictures == nil:
			h.Metrics.dropped.Add(float64(len(o.Read.Pictures)))
		default:
			data := make([][]byte, len(o.Read.Pictures))
			for i, p := range o.Read.Pictures {
				data[i] = p.Data
			}
			var err error
			if o.Event.Details.Image, err = h.Pictures.Put(ctx, o.Event.Site, o.Event.ID, o.Event.Time, data...); err != nil {
				h.unstored.Do(func() { h.Log.WarnContext(ctx, "a picture is not stored", "camera", o.Event.Camera, "error", err) })
			}
		}
	}
}
