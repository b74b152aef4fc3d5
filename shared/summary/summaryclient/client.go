// Package summaryclient posts stays to the summary.
package summaryclient

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/probe"
	"parkstream/shared/redirect"
	"parkstream/shared/tracing"
)

// Client posts stays to the summary endpoint.
type Client struct {
	locate func(context.Context) (string, error)
	token  func() (string, error)
	http   *http.Client

	reachedAt atomic.Int64 // UnixNano of the last post that succeeded; 0: none yet
	reach     *probe.Shared[struct{}]

	// Timeout bounds one try of a POST. It has to be longer than the endpoint's wait
	// for replicas of Redis. If the caller has less time, each try gets a share of
	// that. Set it before the first call.
	Timeout time.Duration
}

// postTimeout is the default time of one try. A connection to an endpoint that is gone
// gives no answer, so the second try needs its share of the caller's time.
const postTimeout = 4 * time.Second

// tryPercent bounds the share of the caller's time that one of the two tries gets. The
// rest is for the caller's own response.
const tryPercent = 45

// New returns a client of the endpoint at a URL, such as
// http://gateway:8080/function/summary. token is called before each post, so a rotated
// secret takes effect.
func New(url string, token func() (string, error)) *Client {
	url = strings.TrimSuffix(url, "/")
	return NewFunc(func(context.Context) (string, error) { return url, nil }, token)
}

// NewFunc is [New] for an endpoint whose URL is resolved by locate before each call.
func NewFunc(locate func(context.Context) (string, error), token func() (string, error)) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// There are as many idle connections as calls in flight.
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 64
	// Over HTTP/2 calls would share a connection that is not idle while others wait on
	// it: a repeated call would take the same one again.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	c := &Client{
		locate: locate, token: token, Timeout: postTimeout,
		http: &http.Client{Transport: transport, CheckRedirect: redirect.Refuse},
	}
	c.reach = probe.New(probeEvery, c.tryEmpty)
	return c
}

// Process is the process that uses a client; shared/process implements it.
type Process interface {
	OnReady(name string, check func(context.Context) error)
	OnClose(name string, run func(context.Context) error)
}

// Register adds the client to a process, which then is ready only if the client is
// [Client.Reachable], and closes it.
func (c *Client) Register(p Process) {
	p.OnReady("summary", c.Reachable)
	p.OnClose("summary client", func(context.Context) error {
		c.Close()
		return nil
	})
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// notSetUp is in the response of a function that refuses every caller: it has no users.
const notSetUp = "access is not set up"

// StatusError is the error for a response other than 201 Created.
type StatusError struct {
	URL, Status string
	Code        int
	Answer      string // the beginning of the body
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answers %s: %s", e.URL, e.Status, e.Answer)
}

// Refused reports whether the endpoint examined the stays and does not accept them. Any
// other response means that the endpoint is unavailable or that another server
// responded in its place.
func (e *StatusError) Refused() bool {
	return e.Code == http.StatusBadRequest || e.Code == http.StatusRequestEntityTooLarge || e.Code == http.StatusUnprocessableEntity
}

// Post sends stays in one call. If it returns nil, all of them are durable at their
// revision or a higher one. After an error some may be durable, and posting all of them
// again is safe. The error for a response other than 201 is a *[StatusError]. A call
// without a response is repeated once over a fresh connection: the endpoint may have
// been replaced, and an old connection may lead to the former one.
func (c *Client) Post(ctx context.Context, stays []parking.Stay) (err error) {
	ctx, span := tracing.Start(ctx, trace.SpanKindClient, "POST summary")
	defer func() { tracing.End(span, err) }()
	token, err := c.token()
	if err != nil {
		return failure.New("the secret summary-token", "cannot be read", fmt.Errorf("read the summary token: %w", err))
	}
	url, err := c.locate(ctx)
	if err != nil {
		return failure.In("the summary", err)
	}
	public := make([]parking.StayJSON, len(stays))
	for i := range stays {
		public[i] = stays[i].JSON()
	}
	body, err := json.Marshal(public)
	if err != nil {
		return fmt.Errorf("write %d stays as JSON: %w", len(stays), err)
	}
	timeout := c.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)*tryPercent/100)
	}
	resp, answer, err := c.try(ctx, timeout, url, body, token) //nolint:bodyclose // try closes it
	if err != nil && ctx.Err() == nil {
		c.http.CloseIdleConnections()
		resp, answer, err = c.try(ctx, timeout, url, body, token) //nolint:bodyclose // try closes it
	}
	if err != nil {
		c.http.CloseIdleConnections()
		return failure.In("the summary", err)
	}
	trace.SpanFromContext(ctx).SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
	answers := fmt.Sprintf("answers %d", resp.StatusCode)
	if resp.StatusCode == http.StatusServiceUnavailable && bytes.Contains(answer, []byte(notSetUp)) {
		answers += ": " + notSetUp
	}
	if err := redirect.Check(resp); err != nil {
		return failure.New("the summary", answers, fmt.Errorf("%s: %w", url, err))
	}
	if resp.StatusCode != http.StatusCreated {
		return failure.New("the summary", answers,
			&StatusError{URL: url, Status: resp.Status, Code: resp.StatusCode, Answer: string(bytes.TrimSpace(answer))})
	}
	c.reachedAt.Store(time.Now().UnixNano())
	return nil
}

// try makes one call. It returns the response with its body closed, and the beginning
// of the body.
func (c *Client) try(ctx context.Context, timeout time.Duration, url string, body []byte, token string) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("make the request to %s: %w", url, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	tracing.Inject(ctx, r.Header)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	const most = 1 << 10
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	return resp, answer, nil
}
