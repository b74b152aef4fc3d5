package generator_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"parkstream/docs/api/apitest"
	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/broker"
	"parkstream/shared/generator"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/schedule"
)

// rabbit is shared by the tests, each of which has queues of its own.
var rabbit *instance.RabbitMQ

func TestMain(m *testing.M) {
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" { // needs no broker, and each worker would start one
		os.Exit(m.Run())
	}
	node, stop, err := instancetest.SharedRabbitMQ()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rabbit = node
	goleak.VerifyTestMain(instancetest.TestsThen{M: m, Stop: stop})
}

// park is both generators with a separate Redis and queues of their own.
type park struct {
	generator.Config
	node     *instance.Redis
	redis    *redis.Client
	registry *prometheus.Registry
}

func newPark(t *testing.T) *park {
	t.Helper()
	node := instancetest.Redis(t)
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	publisher := broker.NewPublisher(broker.Config{
		URLs: func() ([]string, error) { return []string{rabbit.URL()}, nil }, Name: t.Name(),
	})
	t.Cleanup(func() { publisher.Close() })
	registry := prometheus.NewRegistry()
	ticks, err := schedule.NewTicks(client, "generator", "* * * * *")
	if err != nil {
		t.Fatal(err)
	}
	return &park{
		Config: generator.Config{
			Publisher: publisher, Inside: generator.NewInside(client, time.Hour), Ticks: ticks,
			Audit:   audit.New(client, audit.Settings{Retention: 24 * time.Hour, MaxEntries: 1000}, testLog(t), registry),
			Metrics: generator.NewMetrics(registry), Log: testLog(t),
			EntryQueue: t.Name() + ".entries", ExitQueue: t.Name() + ".exits",
			Count: 3, Above: 80, Site: "default", Now: time.Now,
		},
		node: node, redis: client, registry: registry,
	}
}

type answer struct {
	Published int    `json:"published"`
	Matched   int    `json:"matched"`
	Error     string `json:"error"`
}

// allowed returns the context of a call by a part of the system that may generate: what
// persons do is in the audit, too.
func allowed(t *testing.T) context.Context {
	return access.NewContext(t.Context(), access.PartOf("test", access.Generate))
}

// entries and exits are the handlers, of which each response has to be in docs/api.
func entries(t testing.TB, c generator.Config) http.Handler {
	t.Helper()
	return apitest.Handler(t, "entry-generator", generator.NewEntryHandler(c))
}

func exits(t testing.TB, c generator.Config) http.Handler {
	t.Helper()
	return apitest.Handler(t, "exit-generator", generator.NewExitHandler(c))
}

func post(t *testing.T, h http.Handler, query string) (status int, text string, a answer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(allowed(t), 30*time.Second)
	defer cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/?"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return w.Code, strings.TrimSpace(w.Body.String()), a
}

func (p *park) enter(t *testing.T, query string) {
	t.Helper()
	if status, text, _ := post(t, entries(t, p.Config), query); status != http.StatusOK {
		t.Fatalf("entries: %d %s", status, text)
	}
}

func (p *park) leave(t *testing.T, query string) answer {
	t.Helper()
	status, text, a := post(t, exits(t, p.Config), query)
	if status != http.StatusOK {
		t.Fatalf("exits: %d %s", status, text)
	}
	return a
}

// inside returns the plates in the set of a site.
func (p *park) inside(t *testing.T, site string) []string {
	t.Helper()
	plates, err := p.redis.Current().ZRange(t.Context(), "gen:plates:{"+site+"}", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	return plates
}

// event is the wire form of both kinds.
type event struct {
	ID    string    `json:"id"`
	Plate string    `json:"vehicle_plate"`
	Entry time.Time `json:"entry_date_time"`
	Exit  time.Time `json:"exit_date_time"`
	Site  string    `json:"site"`
	Gate  string    `json:"gate"`
}

// read removes and returns all events of a queue.
func read(t *testing.T, queue string) []event {
	t.Helper()
	conn, err := amqp.Dial(rabbit.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	var events []event
	for {
		d, ok, err := ch.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return events
		}
		var e event
		if err := json.Unmarshal(d.Body, &e); err != nil {
			t.Fatalf("%s: %v", d.Body, err)
		}
		if d.MessageId != e.ID || d.DeliveryMode != amqp.Persistent || d.ContentType != "application/json" {
			t.Errorf("message with id %q, mode %d, type %q has the event %s", d.MessageId, d.DeliveryMode, d.ContentType, d.Body)
		}
		events = append(events, e)
	}
}

func plates(events []event) []string {
	all := make([]string, len(events))
	for i, e := range events {
		all[i] = e.Plate
	}
	return all
}

func distinct(list []string) int {
	list = slices.Sorted(slices.Values(list))
	return len(slices.Compact(list))
}

func TestEntries(t *testing.T) {
	p := newPark(t)
	before := time.Now()
	status, text, _ := post(t, entries(t, p.Config), "count=1500&site=airport&gate=north")
	if status != http.StatusOK || text != `{"published":1500}` {
		t.Fatalf("got %d %s", status, text)
	}
	events := read(t, p.EntryQueue)
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
		if e.Site != "airport" || e.Gate != "north" || !e.Exit.IsZero() || e.Entry.Before(before) || e.Entry.After(time.Now()) {
			t.Fatalf("event %+v", e)
		}
		if _, err := parking.NewEvent(parking.Event{ID: e.ID, Kind: parking.Entry, Site: e.Site, Gate: e.Gate, RawPlate: e.Plate, Time: e.Entry}); err != nil {
			t.Fatalf("event %+v: %v", e, err)
		}
	}
	if len(events) != 1500 || distinct(plates(events)) != 1500 || distinct(ids) != 1500 {
		t.Errorf("%d events with %d plates and %d ids", len(events), distinct(plates(events)), distinct(ids))
	}
	if diff := cmp.Diff(plates(events), p.inside(t, "airport")); diff != "" {
		t.Errorf("published and in the set differ:\n%s", diff)
	}
	if n := len(p.inside(t, "default")); n != 0 {
		t.Errorf("%d vehicles are in another site's set", n)
	}
}

func TestASeedRepeatsARun(t *testing.T) {
	var entries, exits [2][]event
	for i := range 2 {
		p := newPark(t)
		p.EntryQueue, p.ExitQueue = fmt.Sprintf("repeat-entries-%d", i), fmt.Sprintf("repeat-exits-%d", i)
		p.enter(t, "count=50&seed=7")
		p.leave(t, "count=60&above=40&seed=7")
		entries[i], exits[i] = read(t, p.EntryQueue), read(t, p.ExitQueue)
	}
	if diff := cmp.Diff(plates(entries[0]), plates(entries[1])); diff != "" || len(entries[0]) != 50 {
		t.Errorf("entries of the same seed differ:\n%s", diff)
	}
	if diff := cmp.Diff(plates(exits[0]), plates(exits[1])); diff != "" || len(exits[0]) != 60 {
		t.Errorf("exits of the same seed differ:\n%s", diff)
	}
	if entries[0][0].ID == entries[1][0].ID {
		t.Error("the events of two runs have the same id: the second would be a conflict")
	}
	p := newPark(t)
	p.enter(t, "count=50&seed=8")
	if other := read(t, p.EntryQueue); slices.Contains(plates(other), entries[0][0].Plate) {
		t.Error("another seed gives the same plates")
	}
}

// TestASeedDrawsTheSameWhateverIsInside runs exits twice, without and with vehicles
// inside: the exits that match in neither case are the same.
func TestASeedDrawsTheSameWhateverIsInside(t *testing.T) {
	p := newPark(t)
	p.leave(t, "count=40&above=50&seed=3")
	alone := plates(read(t, p.ExitQueue))
	p.enter(t, "count=40")
	a := p.leave(t, "count=40&above=50&seed=3")
	same := 0
	for i, plate := range plates(read(t, p.ExitQueue)) {
		if plate == alone[i] {
			same++
		}
	}
	if same+a.Matched != 40 || same == 0 || a.Matched == 0 {
		t.Errorf("%d exits are the same and %d matched, of 40", same, a.Matched)
	}
}

func TestExitsMatchAboveTheThreshold(t *testing.T) {
	p := newPark(t)
	p.enter(t, "count=1000")
	entered := plates(read(t, p.EntryQueue))
	total := 0
	for _, test := range []struct {
		query       string
		least, most int
	}{
		{"count=50&above=100", 0, 0},
		{"count=50&above=0", 50, 50},
		{"count=400&seed=1", 60, 100}, // the setting of 80: one in five
		{"count=400&seed=1&above=20", 300, 340},
	} {
		before := len(p.inside(t, "default"))
		a := p.leave(t, test.query)
		exits := read(t, p.ExitQueue)
		matched := 0
		for _, e := range exits {
			if slices.Contains(entered, e.Plate) {
				matched++
			}
		}
		if matched != a.Matched || matched < test.least || matched > test.most {
			t.Errorf("%s: answer %+v, %d exits are of vehicles inside, want %d to %d", test.query, a, matched, test.least, test.most)
		}
		total += matched
		if left := before - len(p.inside(t, "default")); left != matched || a.Published != len(exits) {
			t.Errorf("%s: %d vehicles left the set, %d exits were published, answer %+v", test.query, left, len(exits), a)
		}
	}
	want := fmt.Sprintf(`
# HELP parkstream_generated_events_total Events that were generated and confirmed by the broker, by type and by where the plate is from: random, or matched with an entry generated before.
# TYPE parkstream_generated_events_total counter
parkstream_generated_events_total{event_type="entry",plate="random"} 1000
parkstream_generated_events_total{event_type="exit",plate="matched"} %d
parkstream_generated_events_total{event_type="exit",plate="random"} %d
`, total, 900-total)
	if err := testutil.GatherAndCompare(p.registry, strings.NewReader(want), "parkstream_generated_events_total"); err != nil {
		t.Error(err)
	}
}

func TestAnEmptySetGivesRandomPlates(t *testing.T) {
	p := newPark(t)
	p.enter(t, "count=3&site=a")
	if a := p.leave(t, "count=10&above=0&site=a"); a.Published != 10 || a.Matched != 3 {
		t.Errorf("with three inside: %+v", a)
	}
	if a := p.leave(t, "above=0&site=a"); a.Published != 3 || a.Matched != 0 {
		t.Errorf("with no vehicle inside, as cron asks: %+v", a)
	}
	if n := distinct(plates(read(t, p.ExitQueue))); n != 13 {
		t.Errorf("%d plates in 13 exits", n)
	}
}

func TestNoVehicleLeavesTwice(t *testing.T) {
	p := newPark(t)
	p.enter(t, "count=1500")
	// RabbitMQ briefly refuses messages if several clients declare a new queue at once.
	p.leave(t, "count=1&above=100")
	var wg sync.WaitGroup
	var matched [4]int
	for i := range matched {
		wg.Go(func() { matched[i] = p.leave(t, "count=500&above=0").Matched })
	}
	wg.Wait()
	if sum := matched[0] + matched[1] + matched[2] + matched[3]; sum != 1500 {
		t.Errorf("%v exits matched, want 1500 in all", matched)
	}
	if n := distinct(plates(read(t, p.ExitQueue))); n != 2001 {
		t.Errorf("%d plates in 2001 exits", n)
	}
}

// lossy refuses some messages and publishes the others.
type lossy struct {
	generator.Publisher
	refused func(i int) bool
}

func (l lossy) Publish(ctx context.Context, msgs []broker.Message) error {
	failed := make(map[int]error)
	var rest []broker.Message
	for i, m := range msgs {
		if l.refused(i) {
			failed[i] = broker.ErrNacked
		} else {
			rest = append(rest, m)
		}
	}
	if err := l.Publisher.Publish(ctx, rest); err != nil {
		return err
	}
	if len(failed) > 0 {
		return &broker.PublishError{Failed: failed}
	}
	return nil
}

func TestWhatIsNotPublishedChangesNothing(t *testing.T) {
	p := newPark(t)
	p.Publisher = lossy{p.Publisher, func(i int) bool { return i%3 == 0 }}
	status, text, a := post(t, entries(t, p.Config), "count=30")
	if status != http.StatusServiceUnavailable || a.Published != 20 || !strings.Contains(a.Error, "refused") {
		t.Errorf("entries: %d %s", status, text)
	}
	entered := plates(read(t, p.EntryQueue))
	if diff := cmp.Diff(entered, p.inside(t, "default")); diff != "" || len(entered) != 20 {
		t.Errorf("%d entries were published, the set differs:\n%s", len(entered), diff)
	}

	status, text, a = post(t, exits(t, p.Config), "count=20&above=0")
	if status != http.StatusServiceUnavailable || a.Published != 13 || a.Matched != 13 {
		t.Errorf("exits: %d %s", status, text)
	}
	left := plates(read(t, p.ExitQueue))
	remaining := slices.DeleteFunc(entered, func(plate string) bool { return slices.Contains(left, plate) })
	if diff := cmp.Diff(remaining, p.inside(t, "default")); diff != "" || len(remaining) != 7 {
		t.Errorf("%d vehicles remain, the set differs:\n%s", len(remaining), diff)
	}
	if n := testutil.CollectAndCount(p.registry, "parkstream_generator_publish_failures_total"); n != 2 {
		t.Errorf("%d series of failures, want 2", n)
	}
}

// away fails as if its broker were unavailable.
type away struct{ generator.Publisher }

func (away) Publish(context.Context, []broker.Message) error {
	return errors.New("RabbitMQ is unavailable")
}

func TestTheSetIsRestoredWhenTheCallerHasGone(t *testing.T) {
	p := newPark(t)
	p.enter(t, "count=10")
	before := p.inside(t, "default")
	ctx, cancel := context.WithCancel(allowed(t))
	p.Publisher = lossy{away{p.Publisher}, func(int) bool { cancel(); return false }}
	w := httptest.NewRecorder()
	exits(t, p.Config).ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/?count=5&above=0", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `{"published":0,"matched":0,"error":"RabbitMQ cannot be used now"}`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if diff := cmp.Diff(before, p.inside(t, "default")); diff != "" {
		t.Errorf("the set differs:\n%s", diff)
	}
}

func TestRedisAway(t *testing.T) {
	p := newPark(t)
	if err := p.node.Kill(); err != nil {
		t.Fatal(err)
	}
	if status, text, a := post(t, exits(t, p.Config), "above=0"); status != http.StatusServiceUnavailable || a.Published != 0 || !strings.Contains(text, "Redis") {
		t.Errorf("exits: %d %s", status, text)
	}
	if status, text, a := post(t, entries(t, p.Config), "count=3"); status != http.StatusServiceUnavailable || a.Published != 3 || !strings.Contains(text, "Redis") {
		t.Errorf("entries: %d %s", status, text)
	}
	w := httptest.NewRecorder()
	entries(t, p.Config).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.HasPrefix(w.Body.String(), `{"error":"Redis `) {
		t.Errorf("cron's call: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if n := len(read(t, p.EntryQueue)); n != 3 {
		t.Errorf("%d entries are in the queue, the answer says 3", n)
	}
}

func TestRabbitMQAway(t *testing.T) {
	p := newPark(t)
	publisher := broker.NewPublisher(broker.Config{URLs: func() ([]string, error) { return []string{"amqp://user:hidden@127.0.0.1:1/"}, nil }})
	t.Cleanup(func() { publisher.Close() })
	p.Publisher = publisher
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	w := httptest.NewRecorder()
	entries(t, p.Config).ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil))
	if w.Code != http.StatusServiceUnavailable || ctx.Err() != nil || strings.Contains(w.Body.String(), "hidden") {
		t.Errorf("got %d %s, the call's time is over: %v", w.Code, w.Body, ctx.Err())
	}
	if n := len(p.inside(t, "default")); n != 0 {
		t.Errorf("%d vehicles are inside", n)
	}
}

func TestForgottenVehicles(t *testing.T) {
	p := newPark(t)
	p.Now = func() time.Time { return time.Now().Add(-90 * time.Minute) } // the set keeps for an hour
	p.enter(t, "count=5")
	p.Now = time.Now
	p.enter(t, "count=4")
	if n := len(p.inside(t, "default")); n != 4 {
		t.Errorf("%d vehicles are inside, want the last 4", n)
	}
	if ttl, err := p.redis.Current().TTL(t.Context(), "gen:plates:{default}").Result(); err != nil || ttl <= 0 || ttl > time.Hour {
		t.Errorf("the set lives for %s, %v", ttl, err)
	}
}

func TestRate(t *testing.T) {
	p := newPark(t)
	start := time.Now()
	p.enter(t, "count=30&rate=100")
	if took := time.Since(start); took < 240*time.Millisecond {
		t.Errorf("30 events at 100 a second took %s", took)
	}
	events := read(t, p.EntryQueue)
	if spread := events[29].Entry.Sub(events[0].Entry); spread < 240*time.Millisecond {
		t.Errorf("they were observed within %s", spread)
	}
}

// Cron calls two replicas in each of ten ticks, a little before or after its time by
// clocks that differ: one call of each tick generates, at the site of the setting.
func TestCron(t *testing.T) {
	p := newPark(t)
	p.Site = "generated"
	tick := time.Now().Truncate(time.Minute)
	replica := func(newHandler func(generator.Config) http.Handler, function string, now *time.Time) http.Handler {
		config := p.Config
		var err error
		if config.Ticks, err = schedule.NewTicks(p.redis, function, "* * * * *"); err != nil {
			t.Fatal(err)
		}
		config.Now = func() time.Time { return *now }
		return newHandler(config)
	}
	var clocks [2]time.Time
	var entries, exits [2]http.Handler
	for i := range clocks {
		entries[i] = replica(generator.NewEntryHandler, "entry-generator", &clocks[i])
		exits[i] = replica(generator.NewExitHandler, "exit-generator", &clocks[i])
	}
	const ticks = 10
	for n := range ticks {
		jitter := time.Duration(n%5-2) * 4 * time.Second
		clocks = [2]time.Time{tick.Add(jitter), tick.Add(jitter + 5*time.Second)}
		for kind, replicas := range map[string][2]http.Handler{"entries": entries, "exits": exits} {
			answers := make(chan *httptest.ResponseRecorder, 2)
			for _, h := range replicas {
				go func() {
					w := httptest.NewRecorder()
					h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
					answers <- w
				}()
			}
			one, other := <-answers, <-answers
			if one.Code > other.Code {
				one, other = other, one
			}
			if one.Code != http.StatusOK || !strings.HasPrefix(one.Body.String(), `{"published":3`) || other.Code != http.StatusTooManyRequests {
				t.Fatalf("%s, %s after a tick: %d %s and %d %s", kind, jitter, one.Code, one.Body, other.Code, other.Body)
			}
			after := other.Header().Get("Retry-After")
			want := `{"error":"a call without parameters generates events once in each tick of SCHEDULE (* * * * *), and this tick has had its call: ` +
				`try again in ` + after + ` s, or name a parameter such as count"}`
			if seconds, err := strconv.Atoi(after); err != nil || seconds < 32 || seconds > 53 || strings.TrimSpace(other.Body.String()) != want {
				t.Errorf("Retry-After %s: %s", after, other.Body)
			}
		}
		tick = tick.Add(time.Minute)
	}
	for queue, events := range map[string][]event{"entries": read(t, p.EntryQueue), "exits": read(t, p.ExitQueue)} {
		if len(events) != 3*ticks {
			t.Errorf("%d %s in %d ticks of 3", len(events), queue, ticks)
		}
		for _, e := range events {
			if e.Site != "generated" {
				t.Fatalf("%+v is at another site", e)
			}
		}
	}
	keys, err := p.redis.Current().Keys(t.Context(), "gen:tick:*").Result()
	if err != nil || len(keys) != 2*ticks {
		t.Errorf("%d keys, error %v", len(keys), err)
	}
	for _, key := range keys {
		if ttl, err := p.redis.Current().PTTL(t.Context(), key).Result(); err != nil || ttl <= 10*time.Minute || ttl > 11*time.Minute {
			t.Errorf("%s lives for %s, error %v", key, ttl, err)
		}
	}
}

// A call with a parameter takes no tick, and a call that fails costs its tick only.
func TestTicksThatAreSpent(t *testing.T) {
	p := newPark(t)
	now := time.Now()
	p.Now = func() time.Time { return now }
	call := func(publisher generator.Publisher, query string, want int) {
		t.Helper()
		config := p.Config
		config.Publisher = publisher
		if status, text, _ := post(t, entries(t, config), query); status != want {
			t.Errorf("%q is answered with %d %s, want %d", query, status, text, want)
		}
	}
	broken := away{p.Publisher}
	call(p.Publisher, "count=3", 200)
	call(p.Publisher, "cuont=3", 400)
	call(broken, "", 503)
	call(p.Publisher, "", 429)
	call(p.Publisher, "count=3", 200)
	now = now.Add(time.Minute)
	call(p.Publisher, "", 200)
	call(p.Publisher, "", 429)
}

const bodyForm = `the body is no JSON object such as {"count":10}: leave it empty, or give the parameters in it or in the query string`

// postBody returns the status and the error of the response.
func postBody(t *testing.T, h http.Handler, query, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(allowed(t), http.MethodPost, "/?"+query, strings.NewReader(body)))
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return w.Code, a.Error
}

func TestParametersInTheBody(t *testing.T) {
	p := newPark(t)
	entry := entries(t, p.Config)
	const blank = " \n"
	for body, want := range map[string]int{`{"count":3,"site":"a","seed":18446744073709551615}`: 3, "{\"count\":\"2\"}\n": 2, "{}": p.Count, blank: p.Count} {
		if status, text := postBody(t, entry, "gate=north", body); status != http.StatusOK {
			t.Fatalf("%s: %d %s", body, status, text)
		}
		if events := read(t, p.EntryQueue); len(events) != want || events[0].Gate != "north" {
			t.Errorf("%s: %d events, want %d: %+v", body, len(events), want, events)
		}
	}
}

func TestBadParameters(t *testing.T) {
	p := newPark(t)
	entry, exit := entries(t, p.Config), exits(t, p.Config)
	for query, want := range map[string]string{
		"count=0":            `count is "0", want a whole number from 1 to 100000`,
		"count=100001":       `count is "100001", want a whole number from 1 to 100000`,
		"count=ten":          `count is "ten", want a whole number from 1 to 100000`,
		"count=":             `count is "", want a whole number from 1 to 100000`,
		"count=1&count=2":    `count is given 2 times`,
		"rate=0":             `rate is "0", want events a second, more than 0 and at most 100000`,
		"rate=NaN":           `rate is "NaN", want events a second, more than 0 and at most 100000`,
		"seed=-1":            `seed is "-1", want a whole number from 0 to 18446744073709551615`,
		"cuont=5":            `"cuont" is no parameter, want count, rate, seed, above, site, gate`,
		"above=101":          `above is "101", want a whole number from 0 to 100`,
		"site=a%20b":         `site "a b" must be 1 to 64 ASCII letters, digits, dots, hyphens or underscores`,
		"gate=":              `gate is empty`,
		"gate=%01":           `gate "\x01" must be at most 64 printable characters`,
		"count=0&rate=-1":    `count is "0", want a whole number from 1 to 100000; rate is "-1", want events a second, more than 0 and at most 100000`,
		"count=3000&rate=50": `count/rate asks for 60 s and a call may last 28 s (exec_timeout): ask for fewer events, or more a second`,
		"count=1;rate=1":     `the query string cannot be parsed: invalid semicolon separator in query`,
	} {
		status, _, a := post(t, exit, query)
		if status != http.StatusBadRequest || a.Error != want {
			t.Errorf("%s:\ngot  %d %s\nwant 400 %s", query, status, a.Error, want)
		}
	}
	for body, want := range map[string]string{
		`{"count":0}`:           `count is "0", want a whole number from 1 to 100000`,
		`{"count":1e1}`:         `count is "1e1", want a whole number from 1 to 100000`,
		`{"cuont":5}`:           `"cuont" is no parameter, want count, rate, seed, above, site, gate`,
		`{"count":1,"count":2}`: bodyForm,
		`count=5`:               bodyForm,
		`[]`:                    bodyForm,
		`null`:                  bodyForm,
		`{"count":1} {}`:        bodyForm,
		`{"count":true}`:        `the body: "count" is true, want a number or a text`,
		`{"site":{}}`:           `the body: "site" is {, want a number or a text`,
		`{"count":true,"site":null,"gate":[],"above":"x","cuont":1}`: `"cuont" is no parameter, want count, rate, seed, above, site, gate; above is "x", want a whole number from 0 to 100; ` +
			`the body: "count" is true, want a number or a text; the body: "gate" is [, want a number or a text; the body: "site" is null, want a number or a text`,
	} {
		if status, text := postBody(t, exit, "", body); status != http.StatusBadRequest || text != want {
			t.Errorf("body %.40s:\ngot  %d %s\nwant 400 %s", body, status, text, want)
		}
	}
	if status, text := postBody(t, exit, "count=3", `{"count":3}`); status != http.StatusBadRequest || text != "count is given 2 times" {
		t.Errorf("twice: %d %s", status, text)
	}
	if status, text, _ := post(t, entry, "above=20"); status != http.StatusBadRequest {
		t.Errorf("entries above 20: %d %s", status, text)
	}
	w := httptest.NewRecorder()
	entry.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?count=1", nil))
	if h := w.Header(); w.Code != http.StatusMethodNotAllowed || h.Get("Allow") != http.MethodPost ||
		h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("GET: %d %v", w.Code, h)
	}
	conn, err := amqp.Dial(rabbit.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclarePassive(p.ExitQueue, true, false, false, false, nil); err == nil {
		t.Error("a refused run touched the queue")
	}
}

func TestTenThousand(t *testing.T) {
	p := newPark(t)
	p.enter(t, "count=10000")
	p.leave(t, "count=10000&above=20")
	if n := len(p.inside(t, "default")); n < 1800 || n > 2200 {
		t.Errorf("%d vehicles are inside, want some 2000", n)
	}
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
