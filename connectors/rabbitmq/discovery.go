package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"parkstream/shared/redirect"
)

const (
	listTimeout = 10 * time.Second
	maxList     = 16 << 20
	// eager is the interval while there is nothing to do, so that the first
	// function is found soon after its deployment.
	eager = time.Second
)

// plan says which functions listen to which queue.
type plan map[string][]*Function

func (p plan) equal(o plan) bool {
	if len(p) != len(o) {
		return false
	}
	for queue, functions := range p {
		if !slices.EqualFunc(functions, o[queue], (*Function).equal) {
			return false
		}
	}
	return true
}

// discovery asks the gateway for its functions and keeps the last list that
// could be read: an unreadable list says nothing about who wants a message.
type discovery struct {
	client     *http.Client
	gateway    string
	namespaces []string
	credential func() (user, password string, err error)
	ignored    []string
	defaults   Defaults
	interval   time.Duration
	log        *slog.Logger

	mu       sync.Mutex
	current  plan
	read     time.Time // when current was read; zero before the first time
	err      error     // of the last attempt
	mistakes []error   // of functions that cannot be served
	changed  chan struct{}
}

// snapshot returns the last good plan and a channel that is closed when there is
// another one.
func (d *discovery) snapshot() (plan, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current, d.changed
}

// problems says what keeps functions from being known, a sentence each.
func (d *discovery) problems() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ps []string
	switch {
	case d.err != nil && d.read.IsZero():
		ps = append(ps, "nothing is consumed: "+d.err.Error())
	case d.err != nil:
		ps = append(ps, fmt.Sprintf("the list of functions of %s is used on: %v", d.read.UTC().Format(time.RFC3339), d.err))
	case d.read.IsZero():
		ps = append(ps, "nothing is consumed: the gateway has not been asked yet")
	case len(d.current) == 0:
		ps = append(ps, "nothing is consumed: no function has the annotation "+annotationTopic)
	}
	for _, m := range d.mistakes {
		ps = append(ps, "not served, and its queues are parked: "+strings.ReplaceAll(m.Error(), "\n", "; "))
	}
	return ps
}

// run refreshes the plan until ctx ends.
func (d *discovery) run(ctx context.Context) {
	for {
		wait := d.interval
		if !d.refresh(ctx) {
			wait = min(eager, d.interval)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// refresh says whether there are functions and their list could be read.
func (d *discovery) refresh(ctx context.Context) bool {
	next, mistakes, err := d.fetch(ctx)
	if ctx.Err() != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if d.err == nil {
			d.log.Warn("the list of functions cannot be read; the last one is kept", "error", err)
		}
		d.err = err
		return false
	}
	for _, m := range mistakes {
		if !slices.ContainsFunc(d.mistakes, func(e error) bool { return e.Error() == m.Error() }) {
			d.log.Error("a function cannot be served", "error", m)
		}
	}
	d.err, d.mistakes, d.read = nil, mistakes, time.Now()
	if d.current == nil || !d.current.equal(next) {
		for queue, functions := range next {
			for _, f := range functions {
				d.log.Info("function listens", "queue", queue, "function", f.Name, "batch_size", f.BatchSize, "max_in_flight", f.MaxInFlight)
			}
		}
		for queue := range d.current {
			if next[queue] == nil {
				d.log.Warn("no function listens any more, messages wait", "queue", queue)
			}
		}
		d.current = next
		close(d.changed)
		d.changed = make(chan struct{})
	}
	return len(d.current) > 0
}

func (d *discovery) fetch(ctx context.Context) (plan, []error, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	namespaces := d.namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	next := make(plan)
	var mistakes []error
	var parked []string
	for _, ns := range namespaces {
		listed, err := d.list(ctx, ns)
		if err != nil {
			return nil, nil, err
		}
		for _, l := range listed {
			if l.Annotations[annotationTopic] == "" {
				continue
			}
			name := l.Name
			if ns != "" {
				name += "." + ns
			}
			f, err := newFunction(name, l.Annotations, d.defaults, d.ignored)
			if err != nil {
				// Its messages must not be acknowledged for the others on its queues.
				mistakes = append(mistakes, err)
				parked = append(parked, f.Queues...)
				continue
			}
			for _, q := range f.Queues {
				next[q] = append(next[q], f)
			}
		}
	}
	for _, queue := range parked {
		delete(next, queue)
	}
	for _, functions := range next {
		sort.Slice(functions, func(i, j int) bool { return functions[i].Name < functions[j].Name })
	}
	return next, mistakes, nil
}

type listed struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
}

func (d *discovery) list(ctx context.Context, namespace string) ([]listed, error) {
	target := d.gateway + "/system/functions"
	if namespace != "" {
		target += "?namespace=" + url.QueryEscape(namespace)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	user, password, err := d.credential()
	if err != nil {
		return nil, err
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway for its functions: %w", err)
	}
	defer resp.Body.Close()
	if err := redirect.Check(resp); err != nil {
		return nil, fmt.Errorf("ask the gateway (GATEWAY_URL) for its functions: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxList))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the gateway's list of functions: %w", err)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("the gateway does not accept the secrets basic-auth-user and basic-auth-password")
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask the gateway for its functions: GET %s answered %s", target, resp.Status)
	}
	var functions []listed
	if err := json.Unmarshal(body, &functions); err != nil || functions == nil {
		return nil, fmt.Errorf("GET %s is no list of functions: is GATEWAY_URL an OpenFaaS gateway?", target)
	}
	return functions, nil
}
