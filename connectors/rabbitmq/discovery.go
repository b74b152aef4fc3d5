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
	// absentLists is how many lists in a row have to lack a function before it is
	// taken for removed. While it is redeployed it is listed by no OpenFaaS provider
	// for some seconds; to stop its queue and start it again would take longer.
	absentLists = 10
	// watchedLists is how many lists in a row are asked for eagerly for a function
	// that they lack: it may come back.
	watchedLists = 60
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

// sort brings the functions of each queue into one order, so that plans compare.
func (p plan) sort() {
	for _, functions := range p {
		slices.SortFunc(functions, func(a, b *Function) int { return strings.Compare(a.Name, b.Name) })
	}
}

// discovery asks the gateway for its functions and keeps the last list that
// could be read: an unreadable list says nothing about who wants a message.
type discovery struct {
	client     *http.Client
	gateway    string
	namespaces []string
	credential func() (user, password string, err error)
	topics     topics
	defaults   Defaults
	interval   time.Duration
	log        *slog.Logger

	mu       sync.Mutex
	current  plan
	read     time.Time // when current was read; zero before the first time
	err      error     // of the last attempt
	mistakes []error   // of functions that cannot be served
	foreign  []string  // topics of functions that are no queues here, a sentence each
	absent   map[string]int
	changed  chan struct{}
}

// listing is what the gateway's functions ask for.
type listing struct {
	plan     plan
	names    map[string]bool // of all functions
	parked   []string        // queues of functions that cannot be served
	mistakes []error
	foreign  []string
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
		ps = append(ps, "nothing is consumed: no function has the annotation "+annotationTopic+" with a topic that is a queue here")
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

// notes describes what is served and which topics are left to other connectors, a
// sentence each.
func (d *discovery) notes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var notes []string
	for queue, functions := range d.current {
		for _, f := range functions {
			notes = append(notes, fmt.Sprintf("queue %s goes to function %s", queue, f.Name))
		}
	}
	slices.Sort(notes)
	return append(notes, d.foreign...)
}

// refresh reports whether there are functions, their list could be read, and it
// lacks none that was served.
func (d *discovery) refresh(ctx context.Context) bool {
	found, err := d.fetch(ctx)
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
	d.keepAbsent(&found)
	next := found.plan
	for _, m := range found.mistakes {
		if !slices.ContainsFunc(d.mistakes, func(e error) bool { return e.Error() == m.Error() }) {
			d.log.Error("a function cannot be served", "error", m)
		}
	}
	d.err, d.mistakes, d.foreign, d.read = nil, found.mistakes, found.foreign, time.Now()
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
	return len(d.current) > 0 && len(d.absent) == 0
}

// keepAbsent adds the functions that were served and are in no list at the moment,
// until enough lists have lacked them.
func (d *discovery) keepAbsent(found *listing) {
	absent := make(map[string]int)
	for name, n := range d.absent {
		if !found.names[name] && n < watchedLists {
			absent[name] = n + 1
		}
	}
	for queue, functions := range d.current {
		for _, f := range functions {
			if found.names[f.Name] {
				continue
			}
			if absent[f.Name] == 0 {
				absent[f.Name] = 1
				d.log.Info("a function is missing in the gateway's list; it is asked again", "function", f.Name)
			}
			if absent[f.Name] < absentLists && !slices.Contains(found.parked, queue) {
				found.plan[queue] = append(found.plan[queue], f)
			}
		}
	}
	d.absent = absent
	found.plan.sort()
}

func (d *discovery) fetch(ctx context.Context) (listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	namespaces := d.namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	l := listing{plan: make(plan), names: make(map[string]bool)}
	for _, ns := range namespaces {
		functions, err := d.list(ctx, ns)
		if err != nil {
			return listing{}, err
		}
		for _, f := range functions {
			if ns != "" {
				f.Name += "." + ns
			}
			d.addTo(&l, f)
		}
	}
	for _, queue := range l.parked {
		delete(l.plan, queue)
	}
	slices.Sort(l.foreign)
	return l, nil
}

func (d *discovery) addTo(l *listing, f listed) {
	l.names[f.Name] = true
	queues, foreign := d.topics.split(f.Annotations[annotationTopic])
	for _, topic := range foreign {
		l.foreign = append(l.foreign, fmt.Sprintf("topic %s of function %s is left to other connectors: see TOPICS and IGNORED_TOPICS", clip(topic), f.Name))
	}
	if len(queues) == 0 {
		return
	}
	function, err := newFunction(f.Name, queues, f.Annotations, d.defaults)
	if err != nil {
		// Its messages must not be acknowledged for the others on its queues.
		l.mistakes = append(l.mistakes, err)
		l.parked = append(l.parked, queues...)
		return
	}
	for _, q := range queues {
		l.plan[q] = append(l.plan[q], function)
	}
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
