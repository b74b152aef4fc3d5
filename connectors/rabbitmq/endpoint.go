package rabbitmq

import (
	"sync"
	"time"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/openfaas"
)

// endpoint is one function as the connector calls it, from whatever queue: all of them
// share its breaker.
type endpoint struct {
	function *openfaas.Function
	breaker  *breaker.Breaker
}

// endpoints are those of all functions that listen to a queue.
type endpoints struct {
	probeDelay, probeMaxDelay time.Duration
	metrics                   *metrics
	health                    *health

	mu     sync.Mutex
	byName map[string]*endpoint
}

func newEndpoints(probeDelay, probeMaxDelay time.Duration, m *metrics, h *health) *endpoints {
	return &endpoints{probeDelay: probeDelay, probeMaxDelay: probeMaxDelay, metrics: m, health: h, byName: make(map[string]*endpoint)}
}

// get returns that of a function. One that is called in another way than before has a
// new breaker.
func (es *endpoints) get(f *openfaas.Function) *endpoint {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.byName[f.Name]
	if e == nil || !e.function.Equal(f) {
		e = &endpoint{function: f, breaker: breaker.New(breaker.Config{
			Min: f.MinInFlight, Max: f.MaxInFlight, ProbeDelay: es.probeDelay, ProbeMaxDelay: es.probeMaxDelay, SlowAfter: f.SlowAfter,
		})}
		es.byName[f.Name] = e
		es.metrics.breaker(f.Name, e.breaker)
		es.health.watch(f.Name, e.breaker)
	}
	return e
}

// retain drops the endpoints of functions that are in no route.
func (es *endpoints) retain(routes openfaas.Routes) {
	listening := make(map[string]bool)
	for _, functions := range routes {
		for _, f := range functions {
			listening[f.Name] = true
		}
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	for name := range es.byName {
		if !listening[name] {
			delete(es.byName, name)
			es.metrics.forget(name)
			es.health.unwatch(name)
		}
	}
}
