// Package gateway finds the OpenFaaS gateway that a function is behind.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"parkstream/shared/failure"
	"parkstream/shared/probe"
	"parkstream/shared/redirect"
)

// summaryPath is where a gateway has the summary.
const summaryPath = "/function/summary"

// defaultURLs are the gateway's names for functions, in the order of the search: that
// of faasd and of compose files, and that of Kubernetes.
var defaultURLs = []string{"http://gateway:8080", "http://gateway.openfaas:8080"}

const (
	// probeTimeout bounds the try of one gateway: both fit into the two seconds that a
	// readiness check gets.
	probeTimeout = 900 * time.Millisecond
	// probeEvery is the least time between two searches, however many callers ask.
	probeEvery = 500 * time.Millisecond
)

// Gateway is the OpenFaaS gateway that the summary is behind. Its methods may be
// called concurrently.
type Gateway struct {
	candidates []string
	http       *http.Client
	found      atomic.Pointer[string]
	search     *probe.Shared[string]
}

// New returns the gateway at a URL. If the URL is empty, the gateway is discovered: it
// is the first of http://gateway:8080 and http://gateway.openfaas:8080 behind which the
// summary answers.
func New(url string) *Gateway {
	if url != "" {
		g := new(Gateway)
		g.found.Store(new(strings.TrimSuffix(url, "/")))
		return g
	}
	return find(defaultURLs)
}

func find(candidates []string) *Gateway {
	g := &Gateway{
		candidates: candidates,
		http: &http.Client{
			// The one request of a try is not worth a connection that stays.
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			Timeout:   probeTimeout, CheckRedirect: redirect.Refuse,
		},
	}
	g.search = probe.New(probeEvery, g.tryAll)
	return g
}

// URL returns the gateway's URL, without a slash at its end. A discovered one stays; a
// later call repeats a failed search, at most twice a second.
func (g *Gateway) URL(ctx context.Context) (string, error) {
	if found := g.found.Load(); found != nil {
		return *found, nil
	}
	url, err := g.search.Result(ctx)
	if err != nil {
		return "", fmt.Errorf("find the gateway: %w", err)
	}
	return url, nil
}

// tryAll returns the first candidate that is the gateway.
func (g *Gateway) tryAll(ctx context.Context) (string, error) {
	var errs []error
	for _, candidate := range g.candidates {
		err := g.try(ctx, candidate)
		if err == nil {
			g.found.Store(&candidate)
			return candidate, nil
		}
		errs = append(errs, err)
	}
	return "", notFoundError{errs}
}

// SummaryURL returns the URL of the summary.
func (g *Gateway) SummaryURL(ctx context.Context) (string, error) {
	url, err := g.URL(ctx)
	return url + summaryPath, err
}

// LocateSummary returns what finds the URL of the summary: it is summaryURL, or if that is
// empty, behind the gateway at gatewayURL (see [New]).
func LocateSummary(gatewayURL, summaryURL string) func(context.Context) (string, error) {
	if summaryURL == "" {
		return New(gatewayURL).SummaryURL
	}
	summaryURL = strings.TrimSuffix(summaryURL, "/")
	return func(context.Context) (string, error) { return summaryURL, nil }
}

// try returns an error if a gateway does not answer, or has no summary behind it.
func (g *Gateway) try(ctx context.Context, candidate string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, candidate+summaryPath+"/_/health", http.NoBody)
	if err != nil {
		return fmt.Errorf("make the request to %s: %w", candidate, err)
	}
	resp, err := g.http.Do(r)
	if err != nil {
		return failure.In(candidate, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failure.New(candidate, fmt.Sprintf("answers %d", resp.StatusCode), fmt.Errorf("%s answers %s", r.URL, resp.Status))
	}
	return nil
}

// notFoundError has the error of each candidate. Their names are not secret: the source
// has them.
type notFoundError struct{ tried []error }

func (e notFoundError) Error() string   { return errors.Join(e.tried...).Error() }
func (e notFoundError) Unwrap() []error { return e.tried }

// Detail returns what callers may know, and what to do.
func (e notFoundError) Detail() string {
	told := make([]string, len(e.tried))
	for i, err := range e.tried {
		told[i] = failure.Told(err)
	}
	return strings.Join(told, ", ") + ": is the summary deployed? If the gateway has another name, set GATEWAY_URL"
}
