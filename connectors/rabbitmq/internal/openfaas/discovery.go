package openfaas

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	listTimeout = 10 * time.Second
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

// Routes are the functions that listen to each queue, sorted by name.
type Routes map[string][]*Function

// Equal reports whether the same functions listen to the same queues and are called in
// the same way.
func (r Routes) Equal(o Routes) bool {
	if len(r) != len(o) {
		return false
	}
	for queue, functions := range r {
		if !slices.EqualFunc(functions, o[queue], (*Function).Equal) {
			return false
		}
	}
	return true
}

func (r Routes) sort() {
	for _, functions := range r {
		slices.SortFunc(functions, func(a, b *Function) int { return strings.Compare(a.Name, b.Name) })
	}
}

// Discovery knows which functions listen to which queue: it asks the gateway for its
// functions and keeps the last list that could be read. An unreadable list tells nothing
// about who wants a message.
type Discovery struct {
	config DiscoveryConfig

	mu       sync.Mutex
	routes   Routes
	read     time.Time // when the last list was read; zero before the first time
	err      error     // of the last attempt
	mistakes []error   // of functions that cannot be served
	foreign  []string  // topics of functions that are no queues here, a sentence each
	absent   map[string]int
	changed  chan struct{}
}

// DiscoveryConfig is what a [Discovery] is made of. Each field but Namespaces is needed.
type DiscoveryConfig struct {
	Gateway *Gateway
	// Namespaces are those whose functions are served, the gateway's own if there are
	// none.
	Namespaces []string
	Topics     Topics
	// Defaults are for what a function has no annotation for.
	Defaults Defaults
	// Interval is the time between two lists. While there is nothing to do, or a
	// function is missing, it is a second at most.
	Interval time.Duration
	Log      *slog.Logger
}

// NewDiscovery returns a discovery that knows no functions before [Discovery.Run].
func NewDiscovery(c DiscoveryConfig) *Discovery {
	return &Discovery{config: c, changed: make(chan struct{})}
}

// listing is what the gateway's functions ask for.
type listing struct {
	routes   Routes
	names    map[string]bool // of all functions
	parked   []string        // queues of functions that cannot be served
	mistakes []error
	foreign  []string
}

// Routes returns the routes of the last list that could be read and a channel that is
// closed when they have changed. The routes must not be changed.
func (d *Discovery) Routes() (Routes, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.routes, d.changed
}

// Problems returns what keeps functions from being known or served, a sentence each.
func (d *Discovery) Problems() []string {
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
	case len(d.routes) == 0:
		ps = append(ps, "nothing is consumed: no function has the annotation "+annotationTopic+" with a topic that is a queue here")
	}
	for _, m := range d.mistakes {
		ps = append(ps, "not served, and its queues are parked: "+strings.ReplaceAll(m.Error(), "\n", "; "))
	}
	return ps
}

// Run asks for the list again and again until ctx ends.
func (d *Discovery) Run(ctx context.Context) {
	for {
		wait := d.config.Interval
		if !d.refresh(ctx) {
			wait = min(eager, d.config.Interval)
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

// Notes returns what is served and which topics are left to other connectors, a
// sentence each.
func (d *Discovery) Notes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var notes []string
	for queue, functions := range d.routes {
		for _, f := range functions {
			note := fmt.Sprintf("queue %s goes to function %s", queue, f.Name)
			if f.SendToken {
				note += ", with the connector's token"
			}
			notes = append(notes, note)
		}
	}
	slices.Sort(notes)
	return append(notes, d.foreign...)
}

// refresh reports whether there are functions, their list could be read, and it
// lacks none that was served.
func (d *Discovery) refresh(ctx context.Context) bool {
	found, err := d.fetch(ctx)
	if ctx.Err() != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if d.err == nil {
			d.config.Log.Warn("the list of functions cannot be read; the last one is kept", "error", err)
		}
		d.err = err
		return false
	}
	d.keepAbsent(&found)
	next := found.routes
	for _, m := range found.mistakes {
		if !slices.ContainsFunc(d.mistakes, func(e error) bool { return e.Error() == m.Error() }) {
			d.config.Log.Error("a function cannot be served", "error", m)
		}
	}
	d.err, d.mistakes, d.foreign, d.read = nil, found.mistakes, found.foreign, time.Now()
	if d.routes == nil || !d.routes.Equal(next) {
		for queue, functions := range next {
			for _, f := range functions {
				d.config.Log.Info("function listens", "queue", queue, "function", f.Name, "batch_size", f.BatchSize, "max_in_flight", f.MaxInFlight, "send_token", f.SendToken)
			}
		}
		for queue := range d.routes {
			if next[queue] == nil {
				d.config.Log.Warn("no function listens any more, messages wait", "queue", queue)
			}
		}
		d.routes = next
		close(d.changed)
		d.changed = make(chan struct{})
	}
	return len(d.routes) > 0 && len(d.absent) == 0
}

// keepAbsent adds the functions that were served and are in no list at the moment,
// until enough lists have lacked them.
func (d *Discovery) keepAbsent(found *listing) {
	absent := make(map[string]int)
	for name, n := range d.absent {
		if !found.names[name] && n < watchedLists {
			absent[name] = n + 1
		}
	}
	for queue, functions := range d.routes {
		for _, f := range functions {
			if found.names[f.Name] {
				continue
			}
			if absent[f.Name] == 0 {
				absent[f.Name] = 1
				d.config.Log.Info("a function is missing in the gateway's list; it is asked again", "function", f.Name)
			}
			if absent[f.Name] < absentLists && !slices.Contains(found.parked, queue) {
				found.routes[queue] = append(found.routes[queue], f)
			}
		}
	}
	d.absent = absent
	found.routes.sort()
}

func (d *Discovery) fetch(ctx context.Context) (listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	namespaces := d.config.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	l := listing{routes: make(Routes), names: make(map[string]bool)}
	for _, ns := range namespaces {
		functions, err := d.config.Gateway.list(ctx, ns)
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
		delete(l.routes, queue)
	}
	slices.Sort(l.foreign)
	return l, nil
}

func (d *Discovery) addTo(l *listing, f listed) {
	l.names[f.Name] = true
	queues, foreign := d.config.Topics.split(f.Annotations[annotationTopic])
	for _, topic := range foreign {
		l.foreign = append(l.foreign, fmt.Sprintf("topic %s of function %s is left to other connectors: see TOPICS and IGNORED_TOPICS", excerpt([]byte(topic)), f.Name))
	}
	if len(queues) == 0 {
		return
	}
	function, err := newFunction(f.Name, queues, f.Annotations, d.config.Defaults)
	if err != nil {
		// Its messages must not be acknowledged for the others on its queues.
		l.mistakes = append(l.mistakes, err)
		l.parked = append(l.parked, queues...)
		return
	}
	for _, q := range queues {
		l.routes[q] = append(l.routes[q], function)
	}
}
