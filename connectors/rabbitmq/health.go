package rabbitmq

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// health knows what keeps events from flowing.
type health struct {
	mu       sync.Mutex
	broker   error            // nil while connected
	queues   map[string]error // nil while it is consumed
	gates    map[string]*gate
	draining bool
}

func newHealth() *health {
	return &health{
		broker: fmt.Errorf("not yet connected to RabbitMQ"),
		queues: make(map[string]error), gates: make(map[string]*gate),
	}
}

func (h *health) connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broker = nil
}

func (h *health) disconnected(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broker = fmt.Errorf("no connection to RabbitMQ: %w", err)
}

func (h *health) consuming(queue string) { h.failing(queue, nil) }

func (h *health) failing(queue string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queues[queue] = err
}

func (h *health) forget(queue string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.queues, queue)
}

func (h *health) watch(function string, g *gate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gates[function] = g
}

func (h *health) unwatch(function string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.gates, function)
}

func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// problems says what is wrong, a sentence each.
func (h *health) problems(p plan) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ps []string
	if h.draining {
		return []string{"draining: calls under way finish, nothing new is consumed"}
	}
	if h.broker != nil {
		return []string{h.broker.Error()}
	}
	for queue := range p {
		err, known := h.queues[queue]
		switch {
		case !known:
			ps = append(ps, "queue "+queue+" is not consumed yet")
		case err != nil:
			ps = append(ps, fmt.Sprintf("queue %s is not consumed: %v", queue, err))
		}
	}
	for function, g := range h.gates {
		if reason, since := g.outage(); reason != "" {
			ps = append(ps, fmt.Sprintf("function %s cannot be called since %s: %s", function, since.UTC().Format(time.RFC3339), reason))
		}
	}
	slices.Sort(ps)
	return ps
}

// Problems says what keeps events from flowing, a sentence each; nothing when
// all is well.
func (c *Connector) Problems() []string {
	p, _ := c.discovery.snapshot()
	return append(c.discovery.problems(), c.health.problems(p)...)
}

// Handler serves /healthz, which answers while the process does, and /readyz,
// which answers 503 with a sentence a line while events do not flow.
func (c *Connector) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ps := c.Problems()
		if len(ps) == 0 {
			fmt.Fprintln(w, "ready")
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		for _, p := range ps {
			fmt.Fprintln(w, p)
		}
	})
	return mux
}
