// Package rabbitmq is the connector between RabbitMQ and OpenFaaS: it finds the
// functions that listen to a queue by their topic annotation, delivers messages
// to them in batches and settles each one by what became of it. It knows nothing
// of car parks and can drive any function; docs/connector.md describes it.
package rabbitmq

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"parkstream/connectors/rabbitmq/internal/breaker"
	"parkstream/connectors/rabbitmq/internal/openfaas"
	"parkstream/shared/broker"
	"parkstream/shared/tracing"
)

// connectorName is what functions and RabbitMQ are told.
const connectorName = "parkstream-rabbitmq"

// Connector brings the messages of queues into the functions that listen to
// them.
type Connector struct {
	Config
	name      string
	delays    []time.Duration
	log       *slog.Logger
	metrics   *metrics
	health    *health
	gateway   *openfaas.Gateway
	discovery *openfaas.Discovery
	publisher *broker.Publisher
	tracer    trace.Tracer // nil where tracing is off

	callCtx    context.Context // of calls; it outlives connections and ends with the drain
	endCalls   context.CancelFunc
	background sync.WaitGroup // what outlives its consumer

	mu        sync.Mutex
	endpoints map[string]*endpoint
	warned    map[string]string // what was said about a queue
}

// New returns a connector that has not connected to anything yet. The error
// lists every mistake of the configuration.
func New(cfg Config) (*Connector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gateway, err := openfaas.NewGateway(openfaas.GatewayConfig{
		URL: cfg.GatewayURL, CAFile: cfg.GatewayCAFile, Connector: connectorName, Credential: cfg.credential,
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
		Config: cfg, name: connectorName + "@" + host, delays: cfg.retryDelays(), log: log,
		metrics: newMetrics(cfg.Registerer), health: newHealth(), gateway: gateway,
		endpoints: make(map[string]*endpoint), warned: make(map[string]string),
	}
	c.discovery = openfaas.NewDiscovery(openfaas.DiscoveryConfig{
		Gateway: gateway, Namespaces: cfg.Namespaces, Topics: openfaas.Topics{Served: cfg.Topics, Ignored: cfg.IgnoredTopics},
		Defaults: cfg.Defaults, Interval: cfg.RebuildInterval, Log: log,
	})
	if cfg.Traces != nil {
		c.tracer = cfg.Traces.Tracer(tracing.Scope)
	}
	c.publisher = broker.NewPublisher(cfg.broker(connectorName + "-publish"))
	c.callCtx, c.endCalls = context.WithCancel(context.Background())
	return c, nil
}

// Run works until ctx ends. It then takes no new messages, lets calls under way
// finish within the drain timeout, settles their messages and gives the others
// back to their queues. It is called once.
func (c *Connector) Run(ctx context.Context) {
	defer c.endCalls()
	stop := context.AfterFunc(ctx, func() {
		c.log.Info("draining", "timeout", c.DrainTimeout)
		c.health.drain()
		timer := time.AfterFunc(c.DrainTimeout, func() {
			c.log.Warn("calls are still under way after the drain timeout; their messages go back to the queue")
			c.endCalls()
		})
		context.AfterFunc(c.callCtx, func() { timer.Stop() })
	})
	defer stop()
	var finding sync.WaitGroup
	finding.Go(func() { c.discovery.Run(ctx) })
	c.serveAll(ctx)
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

// serveAll serves all queues of the plan until ctx ends, and returns when all calls
// have ended.
func (c *Connector) serveAll(ctx context.Context) {
	workers := make(map[string]worker)
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		for queue := range workers {
			c.metrics.setDepths(queue, nil) // nothing is known of them any more
		}
	}()
	for {
		next, changed := c.discovery.Routes()
		c.forget(next)
		for queue, w := range workers {
			if next[queue] == nil {
				w.stop()
				delete(workers, queue)
				c.health.forget(queue)
				c.metrics.setDepths(queue, nil)
			}
		}
		for queue, functions := range next {
			old, served := workers[queue]
			if served && (openfaas.Routes{queue: old.functions}).Equal(openfaas.Routes{queue: functions}) {
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

// serve serves a queue until ctx ends, over a connection of its own: whatever makes
// the broker or the client close it, the other queues go on.
func (c *Connector) serve(ctx context.Context, queue string, functions []*openfaas.Function) {
	cfg := c.broker(connectorName)
	cfg.Log = c.log.With("queue", queue)
	broker.Run(ctx, cfg, func(ctx context.Context, conn *broker.Conn) error {
		return c.epoch(ctx, conn, queue, functions)
	}, func(err error) { c.health.failing(queue, fmt.Errorf("no connection to RabbitMQ: %w", err)) })
}

// epoch serves a queue over one connection until ctx or the connection ends,
// with a fresh channel after each failure.
func (c *Connector) epoch(ctx context.Context, conn *broker.Conn, queue string, functions []*openfaas.Function) error {
	if err := checkVersion(conn.ServerVersion()); err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching.Go(func() { c.watchDepths(ctx, conn, queue) })
	id := uuid.NewString()[:8]
	var repeated repetition
	for pause := 100 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		start := time.Now()
		err := c.consume(ctx, conn, id, queue, functions)
		if ctx.Err() != nil || conn.IsClosed() {
			return err
		}
		c.health.failing(queue, err)
		if time.Since(start) > 10*time.Second {
			pause = 100 * time.Millisecond
		}
		c.log.Log(ctx, repeated.level(err), "consuming a queue was interrupted", "queue", queue, "error", err, "again_in", pause)
		timer := time.NewTimer(jitter(pause))
		select {
		case <-timer.C:
		case <-conn.Done():
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// repetition tells a failure that is new from one that was logged before and goes on:
// readiness shows that all the time.
type repetition string

// level returns at which level to log err: as a warning if it differs from the last
// one, otherwise for debugging only.
func (r *repetition) level(err error) slog.Level {
	if text := err.Error(); text != string(*r) {
		*r = repetition(text)
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// forget drops what is known of functions that are in no queue's plan.
func (c *Connector) forget(p openfaas.Routes) {
	listening := make(map[string]bool)
	for _, functions := range p {
		for _, f := range functions {
			listening[f.Name] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.endpoints {
		if !listening[name] {
			delete(c.endpoints, name)
			c.metrics.forget(name)
			c.health.unwatch(name)
		}
	}
}

// endpoint returns the function as it is called from all queues.
func (c *Connector) endpoint(f *openfaas.Function) *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoints[f.Name]
	if e == nil || !e.function.Equal(f) {
		e = &endpoint{function: f, breaker: breaker.New(breaker.Config{
			Min: f.MinInFlight, Max: f.MaxInFlight, ProbeDelay: c.ProbeDelay, ProbeMaxDelay: c.ProbeMaxDelay, SlowAfter: f.SlowAfter,
		})}
		c.endpoints[f.Name] = e
		c.metrics.breaker(f.Name, e.breaker)
		c.health.watch(f.Name, e.breaker)
	}
	return e
}

// declare makes the queues that a queue needs, and says once what is odd about
// one that exists.
func (c *Connector) declare(conn *broker.Conn, queue string) error {
	q, err := broker.DeclareQueue(conn, queue)
	if err != nil {
		return err
	}
	for _, delay := range c.delays {
		if err := broker.DeclareRetryQueue(conn, queue, delay); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if odd := strings.Join(q.Foreign, ", "); odd != c.warned[queue] {
		c.warned[queue] = odd
		c.log.Warn("the queue was declared by somebody else and is used as it is; RabbitMQ 4 drops a message that was delivered 20 times "+
			"where the queue has no dead-letter exchange and no delivery limit of its own: set both with a policy, or delete the empty queue",
			"queue", queue, "differs", odd)
	}
	return nil
}

// checkVersion refuses brokers whose quorum queues have no message TTL and no
// dead-lettering at least once, which the retry queues need.
func checkVersion(version string) error {
	var x, y int
	if n, _ := fmt.Sscanf(version, "%d.%d", &x, &y); n < 2 {
		return nil // not a RabbitMQ release; declaring the queues will tell
	}
	if x < 3 || x == 3 && y < 10 {
		return fmt.Errorf("RabbitMQ %s is too old: the retry queues need 3.10 or later", version)
	}
	return nil
}

// jitter returns three quarters to the whole of d.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/4+1) }
