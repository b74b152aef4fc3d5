// Package monitor reports the health of the parts of Parkstream, as a caller sees them.
package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"parkstream/shared/probe"
	"parkstream/shared/redirect"
)

const (
	// askTimeout bounds the requests to all parts together. It is longer than the two
	// seconds of a function's own checks, so the function can still report its fault.
	askTimeout = 2500 * time.Millisecond
	// snapshotInterval is the time from its At for which a snapshot serves all callers.
	snapshotInterval = 900 * time.Millisecond
	// maxScrapeBytes bounds the bytes read of one response.
	maxScrapeBytes = 4 << 20
)

// The functions whose health is shown, and the ones that process events.
var (
	watchedFunctions = []string{"entry-processor", "exit-processor", "matcher", "camera", "entry-generator", "exit-generator"}
	eventProcessors  = watchedFunctions[:2]
)

// Monitor asks all parts of Parkstream for their health, from outside, as a caller
// does.
type Monitor struct {
	gateway   func(context.Context) (string, error)
	connector string
	redis     func(context.Context) error
	log       *slog.Logger
	client    *http.Client
	shared    *probe.Shared[*Snapshot]

	// Token returns the token for the metrics of functions. Nothing else gets it. Without
	// it, or if it returns an error, their metrics are requested without one. Set it
	// before the first call.
	Token func() (string, error)
}

// New returns a monitor of the functions behind a gateway, of the connector and of
// Redis. connectorURL is the address of the connector's health and metrics; if it is
// empty, there is no connector. ping checks Redis.
func New(gateway func(context.Context) (string, error), connectorURL string, ping func(context.Context) error, log *slog.Logger) *Monitor {
	m := &Monitor{
		gateway: gateway, connector: strings.TrimSuffix(connectorURL, "/"),
		redis: ping, log: log, client: &http.Client{CheckRedirect: redirect.Refuse},
	}
	m.shared = probe.New(snapshotInterval, m.ask)
	return m
}

// Snapshot returns the state of the system, less than a second old, for any number of
// callers. Callers during a check share its snapshot. An unreachable part is part of
// the snapshot. The only error is that of ctx.
func (m *Monitor) Snapshot(ctx context.Context) (*Snapshot, error) {
	snapshot, err := m.shared.Result(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for the state of the system: %w", err)
	}
	return snapshot, nil
}

// ask asks all parts. It continues when its caller's context ends, because others may
// wait for the result.
func (m *Monitor) ask(ctx context.Context) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	snapshot := &Snapshot{At: time.Now().UTC(), Latency: []Latency{}, Outcomes: []Outcome{}}
	parts := make([]Part, len(watchedFunctions), len(watchedFunctions)+3)
	figures := make([]families, len(eventProcessors))
	refused := make([]bool, len(eventProcessors))
	redis := Part{Name: "redis", Kind: "store", State: stateUp}
	connector := Part{Name: "connector", Kind: "connector"}
	var connectorFigures families
	gateway, err := m.gateway(ctx)
	if err != nil { // no function can be reached, and their parts report it
		m.log.DebugContext(ctx, "the gateway is not found", "error", err)
	}
	function := func(name string) string { return gateway + "/function/" + name }

	var wg sync.WaitGroup
	for i, name := range watchedFunctions {
		wg.Go(func() { parts[i] = m.part(ctx, name, "function", function(name)+"/_/ready") })
	}
	for i, name := range eventProcessors {
		wg.Go(func() { figures[i], refused[i] = m.scrape(ctx, function(name)+"/metrics", m.Token) })
	}
	wg.Go(func() {
		if err := m.redis(ctx); err != nil {
			m.log.DebugContext(ctx, "a part cannot be reached", "part", redis.Name, "error", err)
			redis.State, redis.Detail = stateUnreachable, reason(err)
			if told, ok := errors.AsType[interface {
				error
				Detail() string
			}](err); ok {
				redis.State, redis.Detail = stateNotReady, told.Detail()
			}
		}
	})
	if m.connector != "" {
		wg.Go(func() { connector = m.part(ctx, connector.Name, connector.Kind, m.connector+"/readyz") })
		wg.Go(func() { connectorFigures, _ = m.scrape(ctx, m.connector+"/metrics", nil) })
	}
	wg.Wait()

	for i := range eventProcessors { // the first ones of the parts
		if refused[i] && parts[i].State == stateUp {
			parts[i].Detail = "refuses the summary's token: its figures are not shown"
		}
	}
	parts = append(parts, Part{Name: "summary", Kind: "function", State: stateUp}, redis)
	if m.connector != "" {
		parts = append(parts, connector)
	}
	snapshot.Parts = parts
	for _, f := range figures {
		snapshot.Latency = append(snapshot.Latency, f.latencies()...)
		snapshot.Outcomes = append(snapshot.Outcomes, f.outcomes()...)
	}
	if connectorFigures != nil {
		snapshot.Connector = connectorFigures.connector()
	}
	return snapshot, nil
}

// part returns the state of a part by its readiness check.
func (m *Monitor) part(ctx context.Context, name, kind, url string) Part {
	p := Part{Name: name, Kind: kind}
	status, text, err := m.get(ctx, url, "")
	switch {
	case err != nil:
		m.log.DebugContext(ctx, "a part cannot be reached", "part", name, "error", err)
		p.State, p.Detail = stateUnreachable, reason(err)
	case status == http.StatusOK:
		p.State = stateUp
	case status == http.StatusNotFound:
		p.State, p.Detail = stateUnreachable, "not deployed"
	default:
		p.State, p.Detail = stateNotReady, failing(status, text)
	}
	return p
}

// failing returns the failed checks of a part that is not ready, from the JSON of
// shared/process.
func failing(status int, text []byte) string {
	var told struct {
		Failing []string `json:"failing"`
	}
	if err := json.Unmarshal(text, &told); err != nil || len(told.Failing) == 0 {
		return fmt.Sprintf("answers %d; its log says why", status)
	}
	return "waits for " + strings.Join(told.Failing, ", ")
}

// reason returns an error's text without addresses, because the snapshot is public.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "does not answer in time"
	}
	return "cannot be reached"
}

func (m *Monitor) get(ctx context.Context, url, token string) (status int, text []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	resp, err := m.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxScrapeBytes))
	return resp.StatusCode, text, err
}
