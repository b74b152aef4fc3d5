package test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

// Each run has so many vehicles, which enter and leave, and malformed events: 20,000
// events, 5 % of them malformed.
const (
	vehicles  = 9500
	malformed = 1000
	// perSecond is the pace of publishing, so that a fault finds events on their
	// way.
	perSecond = 5000
	// recovery is how long a fault may delay events.
	recovery = 2 * time.Minute
)

// runFault injects a fault while events flow and returns a line of the table.
func runFault(t *testing.T, s *system, name string, inject func(r *faultRun)) string {
	t.Helper()
	r := newFaultRun(t, s)
	published := make(chan struct{})
	go func() {
		defer close(published)
		r.publishAll()
	}()
	r.progress(2000)
	stall := r.watch()
	inject(r)
	<-published
	r.progress(2 * vehicles)
	return r.reconcile(name, max(0, stall()-r.held))
}

// faultRun is one run: its site, the proxies between the processes, and the expected
// result.
type faultRun struct {
	t          *testing.T
	s          *system
	site       string
	start      time.Time
	gateway    *faultyGateway
	network    *brokertest.Proxy // nil in front of a cluster
	connectors []*connectorProcess
	publisher  *broker.Publisher
	dead       map[string]string // the reasons of dead letters by id
	held       time.Duration     // how long the fault was there
}

func newFaultRun(t *testing.T, s *system) *faultRun {
	r := &faultRun{
		t: t, s: s, site: strings.Trim(strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
				return c
			}
			return '-'
		}, strings.ToLower(filepath.Base(t.Name()))), "-"),
		start:     time.Now().UTC().Add(-5 * time.Hour).Truncate(time.Second),
		gateway:   newFaultyGateway(t, s.gateway),
		publisher: broker.NewPublisher(broker.Config{URLs: broker.URLs(process.NewSecret(filepath.Join(s.dir, "secrets"), "rabbitmq-url").Value)}),
		dead:      make(map[string]string),
	}
	t.Cleanup(func() { _ = r.publisher.Close() })
	if url := s.secret(t, "rabbitmq-url"); !strings.Contains(url, ",") {
		r.network = brokertest.NewProxy(t, url)
	}
	for i := range malformed {
		r.dead[fmt.Sprint("bad-", i)] = "_date_time is missing"
	}
	r.connectors = []*connectorProcess{r.startConnector()}
	return r
}

func (r *faultRun) event(queue, id, plate, kind string, at time.Time) broker.Message {
	body := fmt.Sprintf(`{"id":%q,"vehicle_plate":%q,"site":%q,"%s_date_time":%q}`, id, plate, r.site, kind, at.UTC().Format(time.RFC3339Nano))
	return broker.Message{Queue: queue, ID: id, Body: []byte(body), ContentType: "application/json"}
}

// publishAll publishes entries, exits and malformed events at perSecond.
func (r *faultRun) publishAll() {
	var all []broker.Message
	for i := range vehicles {
		plate, at := fmt.Sprint("F", i), r.start.Add(time.Duration(i)*time.Millisecond)
		all = append(all,
			r.event("vehicle_entries", fmt.Sprint("e-", i), plate, "entry", at),
			r.event("vehicle_exits", fmt.Sprint("x-", i), plate, "exit", at.Add(time.Hour)))
		if i%9 == 0 && i/9 < malformed {
			bad := r.event([]string{"vehicle_entries", "vehicle_exits"}[i%2], fmt.Sprint("bad-", i/9), plate, "no", at)
			all = append(all, bad)
		}
	}
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	for batch := range slices.Chunk(all, perSecond/20) {
		r.publish(batch...)
		<-tick.C
	}
}

// publish repeats what the broker has not confirmed, as every publisher should.
func (r *faultRun) publish(msgs ...broker.Message) {
	deadline := time.Now().Add(2 * time.Minute)
	for len(msgs) > 0 {
		if time.Now().After(deadline) {
			r.t.Errorf("%d events could not be published", len(msgs))
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := r.publisher.Publish(ctx, msgs)
		cancel()
		if err == nil {
			return
		}
		failed, ok := errors.AsType[*broker.PublishError](err)
		if !ok {
			r.t.Errorf("publish: %v", err)
			return
		}
		var left []broker.Message
		for i := range failed.Failed {
			left = append(left, msgs[i])
		}
		msgs = left
	}
}

// totals of the site, zero where they cannot be read now.
type totals struct {
	Entries, Exits int
	Completed      int `json:"completed_stays"`
	Unmatched      int `json:"unmatched_exits"`
	Missed         int `json:"missed_exits"`
}

func (r *faultRun) totals() (totals, error) {
	var site struct{ Totals totals }
	err := r.s.tryGet(r.t, "/function/summary/sites/"+r.site, &site)
	return site.Totals, err
}

// taken is how many events the processors have taken in.
func (r *faultRun) taken() int {
	n, err := r.totals()
	if err != nil {
		return 0
	}
	return n.Entries + n.Exits
}

// progress waits until n more events are done, or all.
func (r *faultRun) progress(n int) {
	r.t.Helper()
	before := r.taken()
	eventually.SucceedsWithin(r.t, recovery, "events are done", func() error {
		if now := r.taken(); now < before+n && now < 2*vehicles {
			return fmt.Errorf("%d events are done, %d were before", now, before)
		}
		return nil
	})
}

// watch follows the progress of entries and exits. The function that it returns ends
// that and returns the longest time without progress of either.
func (r *faultRun) watch() (stall func() time.Duration) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan time.Duration)
	go func() {
		var longest time.Duration
		defer func() { done <- longest }()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		now := time.Now()
		before, since := [2]int{}, [2]time.Time{now, now}
		for ctx.Err() == nil && before[0]+before[1] < 2*vehicles {
			<-tick.C
			n, err := r.totals()
			if err != nil {
				continue
			}
			for kind, done := range [2]int{n.Entries, n.Exits} {
				if done > before[kind] {
					longest = max(longest, time.Since(since[kind]))
					before[kind], since[kind] = done, time.Now()
				}
			}
		}
	}()
	return func() time.Duration {
		cancel()
		return <-done
	}
}

// wait keeps a fault in place.
func (r *faultRun) wait(d time.Duration) {
	r.held += d
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

func (r *faultRun) kill(pid int) { r.signal(pid, syscall.SIGKILL) }

func (r *faultRun) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Fatalf("send %s to process %d: %v", s, pid, err)
	}
}

// reconcile waits until everything has ended and compares it with what was
// published. It returns a line of the table.
func (r *faultRun) reconcile(name string, recovered time.Duration) string {
	t := r.t
	t.Helper()
	var ch *amqp.Channel
	found := make(map[string]int)
	queues := []string{"vehicle_entries", "vehicle_exits"}
	eventually.SucceedsWithin(t, recovery, "every event has ended", func() (err error) {
		if ch == nil || ch.IsClosed() { // a queue may still be looking for a leader
			if ch, err = r.s.tryDial(t); err != nil {
				return err
			}
		}
		for _, queue := range queues {
			for {
				d, ok, err := ch.Get(broker.DeadQueue(queue), false)
				if err != nil {
					return err
				}
				if !ok {
					break
				}
				if err := d.Ack(false); err != nil {
					return err
				}
				reason, _ := d.Headers["x-parkstream-reason"].(string)
				if want, known := r.dead[d.MessageId]; !known || !strings.Contains(reason, want) {
					t.Errorf("dead letter %s has the reason %q, want %q", d.MessageId, reason, want)
				}
				found[d.MessageId]++
			}
		}
		n, err := r.totals()
		if err != nil || n.Completed < vehicles || len(found) < len(r.dead) {
			return fmt.Errorf("%+v, %w; %d of %d dead letters", n, err, len(found), len(r.dead))
		}
		for _, queue := range queues {
			if n, err := tryDepth(ch, queue); err != nil || n > 0 {
				return fmt.Errorf("%d messages are left in %s: %w", n, queue, err)
			}
		}
		for _, c := range r.connectors {
			counters := c.counters(t)
			if counters["unacked"] != 0 {
				return fmt.Errorf("counters %v", counters)
			}
			if counters["received"] != counters["acked"]+counters["dead_lettered"]+counters["retried"]+counters["returned"] {
				t.Errorf("the counters do not add up: %v", counters)
			}
		}
		return nil
	})
	n, err := r.totals()
	if want := (totals{Entries: vehicles, Exits: vehicles, Completed: vehicles}); err != nil || n != want {
		t.Errorf("the site says %+v, %v; want %+v", n, err, want)
	}
	lost, doubled := 0, 0
	stays := make(map[string]int)
	for _, stay := range r.s.stays(t, url.Values{"site": {r.site}, "limit": {"1000"}, "status": {"completed"}}) {
		stays[stay.ID]++
	}
	for i := range vehicles {
		switch n := stays[fmt.Sprint("x-", i)]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	doubled += n.Entries + n.Exits - 2*vehicles
	for id := range r.dead {
		if found[id] == 0 {
			lost++
		}
	}
	if lost != 0 || doubled != 0 || len(stays) != vehicles {
		t.Errorf("%d lost, %d doubled, %d stays", lost, doubled, len(stays))
	}
	line := fmt.Sprintf("| %-42s | %d | %d | %d | %.1f |\n", name, 2*vehicles+len(r.dead), lost, doubled, recovered.Seconds())
	t.Log(line)
	return line
}
