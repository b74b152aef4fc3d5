package rabbitmq

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/openfaas"
)

// health knows what keeps events from flowing.
type health struct {
	mu       sync.Mutex
	queues   map[string]error // nil while it is consumed
	breakers map[string]*breaker.Breaker
	stuck    map[any]unsent
	draining bool
}

// unsent are messages of a queue for its retry queues or dead letters that the
// broker has not taken.
type unsent struct {
	queue string
	n     int
	err   error
}

func newHealth() *health {
	return &health{
		queues: make(map[string]error), breakers: make(map[string]*breaker.Breaker), stuck: make(map[any]unsent),
	}
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

func (h *health) watch(function string, b *breaker.Breaker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.breakers[function] = b
}

func (h *health) unwatch(function string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.breakers, function)
}

// unsent notes that n messages could not be sent by a sender; n is 0 when they are,
// or are not its own any more.
func (h *health) unsent(queue string, sender any, n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n == 0 {
		delete(h.stuck, sender)
		return
	}
	h.stuck[sender] = unsent{queue, n, err}
}

func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// problems returns what is wrong, a sentence each.
func (h *health) problems(p openfaas.Routes) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ps []string
	if h.draining {
		return []string{"draining: calls under way finish, nothing new is consumed"}
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
	all := make(map[string]unsent)
	for _, u := range h.stuck {
		u.n += all[u.queue].n
		all[u.queue] = u
	}
	for queue, u := range all {
		ps = append(ps, fmt.Sprintf("%d messages of queue %s can be neither retried nor dead-lettered: %v", u.n, queue, u.err))
	}
	for function, b := range h.breakers {
		if reason, since := b.Outage(); reason != "" {
			ps = append(ps, fmt.Sprintf("function %s cannot be called since %s: %s", function, since.UTC().Format(time.RFC3339), reason))
		}
	}
	slices.Sort(ps)
	return ps
}

// Problems returns what keeps events from flowing, a sentence each; nothing when
// all is well.
func (c *Connector) Problems() []string {
	p, _ := c.discovery.Routes()
	return append(c.discovery.Problems(), c.health.problems(p)...)
}

// Handler serves /healthz, which answers while the process does, and /readyz,
// which answers 503 with a sentence a line while events do not flow. With the
// parameter verbose it also tells what is served and what is left to others.
func (c *Connector) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		lines := c.Problems()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if len(lines) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		} else {
			lines = []string{"ready"}
		}
		if r.URL.Query().Has("verbose") {
			lines = append(lines, c.discovery.Notes()...)
		}
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
	})
	return mux
}
