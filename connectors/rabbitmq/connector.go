// Package rabbitmq is the connector between RabbitMQ and OpenFaaS: it finds the
// functions that listen to a queue by their topic annotation, delivers messages
// to them in batches and settles each one by what became of it. It knows nothing
// of car parks and can drive any function; docs/connector.md describes it.
//
// A delivery travels through these files: connector.go (a worker for each queue),
// session.go (one connection), consumer.go (deliveries in), dispatch.go (a batch, an
// attempt), invoker.go (one call of the function), settle.go (acknowledged, published
// again or dead-lettered).
package rabbitmq

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/broker"
	"parkstream/shared/tracing"
)

// connectorName is what functions and RabbitMQ are told.
const connectorName = "parkstream-rabbitmq"

// Connector brings the messages of queues into the functions that listen to
// them.
type Connector struct {
	cfg       Config
	name      string
	delays    []time.Duration // of the retry queues
	log       *slog.Logger
	metrics   *metrics
	health    *health
	gateway   *openfaas.Gateway
	discovery *openfaas.Discovery
	endpoints *endpoints
	publisher *broker.Publisher
	tracer    trace.Tracer // nil if tracing is off

	calls      context.Context // of all calls; it outlives connections and ends with the drain
	endCalls   context.CancelFunc
	background sync.WaitGroup // what outlives its consumer

	mu     sync.Mutex
	warned map[string]string // what was said about a queue
}

// New returns a connector that has not connected to anything yet. The error
// lists every mistake of the configuration.
func New(cfg Config) (*Connector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gateway, err := openfaas.NewGateway(openfaas.GatewayConfig{
		URL: cfg.GatewayURL, CAFile: cfg.GatewayCAFile, Connector: connectorName, Credential: cfg.credential(), Token: cfg.token(),
	})
	if err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "connector"
	}
	c := &Connector{
		cfg: cfg, name: connectorName + "@" + host, delays: cfg.retryDelays(), log: log,
		metrics: newMetrics(cfg.Registerer), health: newHealth(), gateway: gateway, warned: make(map[string]string),
	}
	c.endpoints = newEndpoints(cfg.ProbeDelay, cfg.ProbeMaxDelay, c.metrics, c.health)
	c.discovery = openfaas.NewDiscovery(openfaas.DiscoveryConfig{
		Gateway: gateway, Namespaces: cfg.Namespaces, Topics: openfaas.Topics{Served: cfg.Topics, Ignored: cfg.IgnoredTopics},
		Defaults: cfg.Defaults, Interval: cfg.RebuildInterval, Log: log,
	})
	if cfg.Traces != nil {
		c.tracer = cfg.Traces.Tracer(tracing.Scope)
	}
	c.publisher = broker.NewPublisher(cfg.broker(connectorName + "-publish"))
	c.calls, c.endCalls = context.WithCancel(context.Background())
	return c, nil
}

// Run works until ctx ends. It then takes no new messages, lets calls under way
// finish within the drain timeout, settles their messages and gives the others
// back to their queues. It is called once.
func (c *Connector) Run(ctx context.Context) {
	defer c.endCalls()
	stop := context.AfterFunc(ctx, func() {
		c.log.Info("draining", "timeout", c.cfg.DrainTimeout, "calls_in_flight", c.metrics.callsInFlight())
		c.health.drain()
		timer := time.AfterFunc(c.cfg.DrainTimeout, func() {
			c.log.Warn("calls are still under way after the drain timeout; their messages go back to the queue")
			c.endCalls()
		})
		context.AfterFunc(c.calls, func() { timer.Stop() })
	})
	defer stop()
	var finding sync.WaitGroup
	finding.Go(func() { c.discovery.Run(ctx) })
	c.serveQueues(ctx)
	finding.Wait()
	c.background.Wait()
	if err := c.publisher.Close(); err != nil {
		c.log.Debug("the publishing connection did not close cleanly", "error", err)
	}
	c.gateway.CloseIdleConnections()
	c.log.Info("drained")
}

// worker serves one queue.
type worker struct {
	functions []*openfaas.Function
	stop      context.CancelFunc
}

// serveQueues serves the queues of all routes until ctx ends, each by a worker of its
// own. It returns when all calls have ended.
func (c *Connector) serveQueues(ctx context.Context) {
	workers := make(map[string]worker)
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		for queue := range workers {
			c.metrics.setDepths(queue, nil) // nothing is known of them any more
		}
	}()
	for {
		routes, changed := c.discovery.Routes()
		c.endpoints.retain(routes)
		for queue, w := range workers {
			if routes[queue] == nil {
				w.stop()
				delete(workers, queue)
				c.health.forget(queue)
				c.metrics.setDepths(queue, nil)
			}
		}
		for queue, functions := range routes {
			old, served := workers[queue]
			if served && slices.EqualFunc(old.functions, functions, (*openfaas.Function).Equal) {
				continue
			}
			if served { // its calls may take a while, and nothing waits for them
				old.stop()
			}
			serving, stop := context.WithCancel(ctx)
			workers[queue] = worker{functions, stop}
			all.Go(func() {
				defer stop()
				c.serve(serving, queue, functions)
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
