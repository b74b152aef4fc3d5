package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/cmd/internal/eventfile"
	"parkstream/cmd/internal/system"
	"parkstream/shared/instance"
	"parkstream/shared/parking"
)

// The contestants of a drain.
const (
	Ours        = "parkstream"
	SingleEvent = "batch-1"
	Classic     = "monolith"
	FloorBroker = "floor-broker"
	FloorRedis  = "floor-redis"
	FloorBoth   = "floor-both"
)

// processors are the functions whose calls are batched.
var processors = []string{"entry-processor", "exit-processor"}

const (
	annotationBatchSize   = "parkstream.batch-size"
	annotationMinInFlight = "parkstream.min-in-flight"
	annotationMaxInFlight = "parkstream.max-in-flight"

	// look is the interval at which the connector's progress is read. After more than a
	// hundred readings it is a hundredth of the time that has passed.
	look = 25 * time.Millisecond
	// drainTimeout bounds one drain.
	drainTimeout = 10 * time.Minute
)

// contestant is one way to work off a load.
type contestant struct {
	name string
	// share of the events that it gets: slow contestants get fewer, to end in time.
	share map[Workload]int
	// batch and inFlight are annotations of the processors.
	batch, inFlight int
	// queued is set if its load is in the queues.
	queued bool
	drain  func(context.Context, load) (time.Duration, error)
	// verify returns an error if anything was lost.
	verify func(context.Context, load) error
}

func (c *contestant) events(w Workload, n int) int {
	return max(1000, n/max(1, c.share[w])) / 2 * 2
}

func (b *bench) contestants() []*contestant {
	tenth := map[Workload]int{Entries: 20, Exits: 20, Mix: 20}
	return []*contestant{
		{name: Ours, batch: batchSize, inFlight: inFlight, queued: true, drain: b.drainConnector, verify: b.verifySite},
		{name: SingleEvent, share: tenth, batch: 1, queued: true, drain: b.drainConnector, verify: b.verifySite},
		{name: Classic, share: map[Workload]int{Entries: 4, Exits: 20, Mix: 20}, queued: true, drain: b.drainMonolith, verify: b.verifyMonolith},
		{name: FloorBroker, queued: true, drain: b.drainBroker, verify: func(context.Context, load) error { return nil }},
		{name: FloorRedis, drain: b.drainRedis, verify: b.verifySite},
		{name: FloorBoth, queued: true, drain: b.drainBoth, verify: b.verifySite},
	}
}

// drain has all contestants work off all loads, in turn.
func (b *bench) drain(ctx context.Context, result *Result) error {
	contestants := b.contestants()
	d := &Drain{}
	for _, c := range contestants {
		if c.name != SingleEvent {
			continue
		}
		var err error
		if c.inFlight, err = b.bestInFlight(ctx, c); err != nil {
			return err
		}
		d.SingleInFlight = c.inFlight
	}
	took := make(map[Workload]time.Duration) // by our path, last
	for _, w := range Workloads {
		for _, c := range contestants {
			d.Results = append(d.Results, &DrainResult{Workload: w, Contestant: c.name, Events: c.events(w, b.Events)})
		}
	}
	for run := range b.Runs {
		for i, w := range Workloads {
			for j, c := range contestants {
				t, err := b.once(ctx, c, w)
				if err != nil {
					return fmt.Errorf("%s with %s: %w", c.name, w, err)
				}
				r := d.Results[i*len(contestants)+j]
				r.Rates = append(r.Rates, float64(r.Events)/t.Seconds())
				b.Say("run %d of %d: %s, %d %s in %.2fs, %.0f/s", run+1, b.Runs, c.name, r.Events, w, t.Seconds(), r.Rates[run])
				if c.name == Ours {
					took[w] = t
				}
			}
		}
	}
	for _, r := range d.Results {
		r.Median = median(r.Rates)
	}
	result.Drain = d
	if b.PprofDir == "" {
		return nil
	}
	return b.profiles(ctx, contestants[0], took)
}

// once has one contestant work off one load.
func (b *bench) once(ctx context.Context, c *contestant, w Workload) (time.Duration, error) {
	if err := b.deploy(ctx, c); err != nil {
		return 0, err
	}
	l, err := b.fresh(ctx, w, c.events(w, b.Events), c.queued)
	if err != nil {
		return 0, err
	}
	took, err := c.drain(ctx, l)
	if err != nil {
		return 0, err
	}
	waiting, err := b.waiting()
	if err == nil && waiting > 0 {
		err = fmt.Errorf("%d messages are still in the queues", waiting)
	}
	return took, errors.Join(err, c.verify(ctx, l))
}

// bestInFlight tries how many calls with one event get most done.
func (b *bench) bestInFlight(ctx context.Context, c *contestant) (int, error) {
	best, rate := 0, 0.0
	for _, n := range b.Singles {
		c.inFlight = n
		took, err := b.once(ctx, c, Entries)
		if err != nil {
			return 0, fmt.Errorf("%s with %d calls in flight: %w", c.name, n, err)
		}
		r := float64(c.events(Entries, b.Events)) / took.Seconds()
		b.Say("one event a call, %d calls in flight: %.0f/s", n, r)
		if r > rate {
			best, rate = n, r
		}
	}
	return best, nil
}

// deploy replaces the processors by new ones that are called as the contestant
// wants it.
func (b *bench) deploy(ctx context.Context, c *contestant) error {
	if c.batch == 0 {
		return nil
	}
	for i := range b.system.Functions {
		f := &b.system.Functions[i]
		if !slices.Contains(processors, f.Service) {
			continue
		}
		annotations := maps.Clone(*f.Annotations)
		annotations[annotationBatchSize] = strconv.Itoa(c.batch)
		delete(annotations, annotationMinInFlight)
		delete(annotations, annotationMaxInFlight)
		if c.batch == 1 { // at its best from its first call on
			annotations[annotationMinInFlight] = strconv.Itoa(c.inFlight)
			annotations[annotationMaxInFlight] = strconv.Itoa(c.inFlight)
		}
		f.Annotations = &annotations
		if err := b.system.Gateway.Deploy(*f); err != nil {
			return err
		}
	}
	return b.system.AwaitReady(ctx)
}

// drainConnector starts the connector, waits until everything is settled and
// stops it.
func (b *bench) drainConnector(ctx context.Context, l load) (took time.Duration, err error) {
	if err := b.system.StartConnector(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.system.StopConnector()) }()
	return b.awaitSettled(ctx, l)
}

// awaitSettled measures from the last reading of the connector without an
// acknowledgement to the first with all of them: the interval of the readings never
// flatters.
func (b *bench) awaitSettled(ctx context.Context, l load) (took time.Duration, err error) {
	began := time.Now()
	asked := began
	err = poll(ctx, drainTimeout, look, func() (bool, error) {
		if time.Since(asked) < time.Since(began)/100 {
			return false, nil
		}
		asked = time.Now()
		m, err := b.scrape(ctx, b.system.ConnectorURL())
		if err != nil { // it does not listen yet
			return false, b.failed(ctx)
		}
		for _, what := range []string{"dead_lettered", "retried", "returned"} {
			if n := m.sum("parkstream_connector_messages_" + what + "_total"); n > 0 {
				return false, fmt.Errorf("%.0f events were %s", n, what)
			}
		}
		acked := int(m.sum("parkstream_connector_messages_acked_total"))
		if acked == 0 {
			began = asked
		}
		took = time.Since(began)
		return acked >= l.events(), nil
	})
	return took, err
}

// failed is the error of a part that ended unasked.
func (b *bench) failed(ctx context.Context) error {
	select {
	case err := <-b.system.Failed():
		return err
	default:
		return ctx.Err()
	}
}

// drainMonolith runs the monolith as a process of its own, which measures its own time.
func (b *bench) drainMonolith(ctx context.Context, l load) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find our own program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, MonolithArg,
		"--entries", strconv.Itoa(l.entries), "--exits", strconv.Itoa(l.exits),
		"--secrets", b.system.Secrets(), "--summary-url", b.system.URL()+"/function/summary")
	cmd.Stderr, cmd.SysProcAttr = os.Stderr, instance.ChildAttributes()
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("run the monolith: %w", err)
	}
	var done MonolithResult
	if err := json.Unmarshal(out, &done); err != nil {
		return 0, fmt.Errorf("read the monolith's result: %w", err)
	}
	return time.Duration(done.Seconds * float64(time.Second)), nil
}

// drainBroker only consumes and acknowledges. It has our path's prefetch, and
// acknowledges as many messages at once as our path has in a batch.
func (b *bench) drainBroker(ctx context.Context, l load) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var first atomic.Int64
	base := time.Now()
	err := inParallel(len(queues), func(i int) error {
		n := l.entries
		if queues[i] == eventfile.Exits {
			n = l.exits
		}
		if n == 0 {
			return nil
		}
		ch, err := b.conn.Channel()
		if err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		defer ch.Close()
		if err := ch.Qos(2*batchSize*inFlight, 0, false); err != nil {
			return fmt.Errorf("set the prefetch: %w", err)
		}
		deliveries, err := ch.ConsumeWithContext(ctx, queues[i], "", false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		for done := 1; done <= n; done++ {
			d, err := next(ctx, deliveries)
			if err != nil {
				return fmt.Errorf("%d of %d messages came: %w", done-1, n, err)
			}
			first.CompareAndSwap(0, int64(time.Since(base)))
			if done%batchSize == 0 || done == n {
				if err := d.Ack(true); err != nil {
					return fmt.Errorf("acknowledge: %w", err)
				}
			}
		}
		// Acknowledgements have no answer: the broker has taken them when it answers
		// what comes after them.
		if _, err := ch.QueueDeclarePassive(queues[i], true, false, false, false, nil); err != nil {
			return fmt.Errorf("look at the queue: %w", err)
		}
		return nil
	})
	return time.Since(base) - time.Duration(first.Load()), err
}

var errNoMore = errors.New("the broker ended the consumer")

func next(ctx context.Context, deliveries <-chan amqp.Delivery) (amqp.Delivery, error) {
	select {
	case d, open := <-deliveries:
		if !open {
			return d, errors.Join(errNoMore, ctx.Err())
		}
		return d, nil
	case <-ctx.Done():
		return amqp.Delivery{}, ctx.Err()
	}
}

// drainRedis takes the events in with the scripts of the processors and of the
// summary alone.
func (b *bench) drainRedis(ctx context.Context, l load) (time.Duration, error) {
	start := time.Now()
	var wg sync.WaitGroup
	var err1, err2 error
	wg.Go(func() { err1 = b.record(ctx, l.fleet, parking.Entry, l.entries) })
	wg.Go(func() { err2 = b.record(ctx, l.fleet, parking.Exit, l.exits) })
	wg.Wait()
	return time.Since(start), errors.Join(err1, err2)
}

// drainBoth has both limits at the same time: the speed of our path if the calls
// between the broker and Redis cost nothing.
func (b *bench) drainBoth(ctx context.Context, l load) (time.Duration, error) {
	start := time.Now()
	var wg sync.WaitGroup
	var err1, err2 error
	wg.Go(func() { _, err1 = b.drainBroker(ctx, l) })
	wg.Go(func() { _, err2 = b.drainRedis(ctx, l) })
	wg.Wait()
	return time.Since(start), errors.Join(err1, err2)
}

// verifySite returns an error unless every event is counted and every stay exists.
func (b *bench) verifySite(ctx context.Context, l load) error {
	var site struct {
		Totals struct {
			Entries        int `json:"entries"`
			Exits          int `json:"exits"`
			CompletedStays int `json:"completed_stays"`
		} `json:"totals"`
	}
	if err := b.get(ctx, "/function/summary/sites/"+parking.DefaultSite, &site); err != nil {
		return err
	}
	entries := l.entries
	if l.Workload == Exits {
		entries = l.exits // they were known before
	}
	if t := site.Totals; t.Entries != entries || t.Exits != l.exits || t.CompletedStays != l.exits {
		return fmt.Errorf("events are lost or doubled: of %d entries and %d exits the site has %d and %d, and %d stays", entries, l.exits, t.Entries, t.Exits, t.CompletedStays)
	}
	completed, unmatched, err := b.countStays(ctx)
	if err == nil && (completed != l.exits || unmatched > 0) {
		err = fmt.Errorf("stays are lost or doubled: the summary has %d and %d unmatched exits of %d exits", completed, unmatched, l.exits)
	}
	return err
}

// verifyMonolith expects a hash of each vehicle and a stay of each exit, of any status:
// the monolith cannot pair an exit that overtakes its entry.
func (b *bench) verifyMonolith(ctx context.Context, l load) error {
	completed, unmatched, err := b.countStays(ctx)
	if err == nil && completed+unmatched != l.exits {
		err = fmt.Errorf("stays are lost or doubled: the summary has %d and %d unmatched exits of %d exits", completed, unmatched, l.exits)
	}
	return err
}

func (b *bench) countStays(ctx context.Context) (completed, unmatched int, err error) {
	var stats struct {
		Completed      int `json:"completed"`
		UnmatchedExits int `json:"unmatched_exits"`
	}
	err = b.get(ctx, "/function/summary/stats", &stats)
	return stats.Completed, stats.UnmatchedExits, err
}

// get reads a JSON answer of the gateway.
func (b *bench) get(ctx context.Context, path string, v any) error {
	body, err := b.fetch(ctx, b.system.URL()+path, "")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}

// profiles saves CPU profiles of our processes, taken during further drains that are
// not measured.
func (b *bench) profiles(ctx context.Context, ours *contestant, took map[Workload]time.Duration) error {
	if err := os.MkdirAll(b.PprofDir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the profiles: %w", err)
	}
	for _, w := range []Workload{Entries, Exits} {
		seconds := max(1, int(took[w].Seconds()))
		b.Say("profiling a drain of %s for %ds", w, seconds)
		profiled := *ours
		profiled.drain = func(ctx context.Context, l load) (took time.Duration, err error) {
			if err := b.system.StartConnector(); err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, b.system.StopConnector()) }()
			var profile error
			var wg sync.WaitGroup
			wg.Go(func() { profile = b.profileAll(ctx, string(w), seconds) })
			took, err = b.awaitSettled(ctx, l)
			wg.Wait()
			return took, errors.Join(err, profile)
		}
		if _, err := b.once(ctx, &profiled, w); err != nil {
			return fmt.Errorf("profile a drain of %s: %w", w, err)
		}
	}
	return nil
}

func (b *bench) profileAll(ctx context.Context, w string, seconds int) error {
	file := func(name string) string { return filepath.Join(b.PprofDir, w+"-"+name+".pprof") }
	own, err := os.Create(file("gateway"))
	if err != nil {
		return fmt.Errorf("write the profile of the gateway: %w", err)
	}
	defer own.Close()
	urls := make(map[string]string)
	for _, name := range append(slices.Clone(processors), "summary", system.Connector) {
		urls[name] = b.system.ProfileURL(name)
	}
	// The connector serves profiles a moment after its start.
	err = poll(ctx, time.Minute, 5*time.Millisecond, func() (bool, error) {
		_, err := b.fetch(ctx, b.system.ConnectorURL()+"/healthz", "")
		return err == nil, ctx.Err()
	})
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(own); err != nil {
		return fmt.Errorf("profile the gateway: %w", err)
	}
	defer pprof.StopCPUProfile()
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for name, url := range urls {
		wg.Go(func() {
			body, err := b.fetch(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", url, seconds), "")
			if err == nil {
				err = os.WriteFile(file(name), body, 0o644)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("profile %s: %w", name, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
