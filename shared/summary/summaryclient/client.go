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

	// Timeout bounds one try of a POST. It has to be longer than the endpoint waits
	// for replicas of Redis. A caller with less time gives each try its share of that.
	// Set it before the first call.
	Timeout time.Duration
}

// postTimeout is the time of one try by default. A connection to what is gone gives no
// answer: the second try needs its share of the caller's time.
const postTimeout = 4 * time.Second

// tryPercent is the most of the caller's time that one of the two tries gets. The rest
// is for the caller's own answer.
const tryPercent = 45

// New returns a client of the endpoint at a URL, such as
// http://gateway:8080/function/summary. token is asked before each call, so that
// a rotated secret is picked up.
func New(url string, token func() (string, error)) *Client {
	url = strings.TrimSuffix(url, "/")
	return NewFunc(func(context.Context) (string, error) { return url, nil }, token)
}

// NewFunc is [New] for an endpoint whose URL is asked for before each call.
func NewFunc(locate func(context.Context) (string, error), token func() (string, error)) *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// As many as there are calls in flight: each finds an idle connection.
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 64
	// Over HTTP/2 the calls share a connection, which is not idle while others wait on
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

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// StatusError is an answer of the endpoint other than 201 Created.
type StatusError struct {
	URL, Status string
	Code        int
	Answer      string // the beginning of it
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answers %s: %s", e.URL, e.Status, e.Answer)
}

// Refused reports whether the endpoint has looked at the stays and does not take
// them. Any other answer says that it is unavailable, or that something else
// answers in its place.
func (e *StatusError) Refused() bool {
	return e.Code == http.StatusBadRequest || e.Code == http.StatusRequestEntityTooLarge || e.Code == http.StatusUnprocessableEntity
}

// Post sends stays in one call. Nil says that all of them are durable at their
// revision or a higher one; on an error some may be, and posting all of them
// again is right. An answer other than 201 is a *[StatusError]. A call that gets no
// answer is repeated once over a fresh connection: the endpoint may have been replaced,
// and a connection kept from before may lead to what is gone.
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

// try makes one call. It returns the response, whose body is closed, with the
// beginning of the body.
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
