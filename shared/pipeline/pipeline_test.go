package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parkstream/shared/batch"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/summary/summaryclient"
	"parkstream/shared/timeline"
)

func TestMain(m *testing.M) {
	// A flag on the command line takes precedence. rapid's default of a hundred cases
	// does not find the rarest order that breaks a wrong rule; some 500 do.
	_ = flag.Set("rapid.checks", "1000")
	goleak.VerifyTestMain(m)
}

const retention = 24 * time.Hour

// newStore returns the real store on a separate Redis.
func newStore(t testing.TB) *timeline.Store {
	t.Helper()
	client, err := redis.Open(redis.URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return timeline.New(client, retention)
}

// summaries keeps the highest revision of every stay, as the summary function does.
// Post fails if fail returns an error.
type summaries struct {
	mu    sync.Mutex
	stays map[string]parking.Stay
	fail  func() error
}

func (s *summaries) Post(_ context.Context, stays []parking.Stay) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	if s.stays == nil {
		s.stays = make(map[string]parking.Stay)
	}
	for _, stay := range stays {
		key := stay.Site + "/" + stay.ID
		if stay.Revision > s.stays[key].Revision {
			s.stays[key] = stay
		}
	}
	return nil
}

func config(data pipeline.DataStore, poster pipeline.SummaryPoster) pipeline.Config {
	return pipeline.Config{
		Store: data, Summaries: poster, Caller: func(context.Context) pipeline.Caller { return everything },
		Limits:  parking.Limits{MaxFuture: 2 * time.Minute, Retention: retention},
		Metrics: pipeline.NewMetrics(prometheus.NewRegistry(), "test"),
		Log:     slog.New(slog.DiscardHandler),
	}
}

// everything is what a caller with all rights may do.
var everything = pipeline.Caller{CheckSite: func(string) error { return nil }, MayRead: true}

// start is the time of the first event of a test.
var start = time.Now().UTC().Add(-2 * time.Hour).Truncate(time.Second)

func wire(kind parking.Kind, id, plate string, second int) batch.Event {
	return batch.Event{ID: "msg-" + id, Data: fmt.Appendf(nil, `{"id":%q,"vehicle_plate":%q,"%s_date_time":%q}`,
		id, plate, kind, start.Add(time.Duration(second)*time.Second).Format(time.RFC3339))}
}

func entry(id, plate string, second int) batch.Event { return wire(parking.Entry, id, plate, second) }

func exit(id, plate string, second int) batch.Event { return wire(parking.Exit, id, plate, second) }

func TestAStayGoesThrough(t *testing.T) {
	var posted summaries
	c := config(newStore(t), &posted)
	entries, exits := pipeline.NewEntryEventProcessor(c), pipeline.NewExitEventProcessor(c)

	in := entries.ProcessMessages(t.Context(), []batch.Event{entry("e", "ka 01", 0), {ID: "msg-bad", Data: []byte("{")}})
	if in[0].Outcome != batch.Done || in[0].ID != "msg-e" || in[0].EventID != "e" || len(in[0].Stays) != 0 {
		t.Errorf("the entry became %+v", in[0])
	}
	if in[1].Outcome != batch.Reject || in[1].ID != "msg-bad" || !strings.Contains(in[1].Reason, "not JSON") {
		t.Errorf("half an object became %+v", in[1])
	}
	want := parking.Stay{
		ID: "x", Site: "default", Plate: "KA01", EntryID: "e", EntryTime: start,
		ExitTime: start.Add(90 * time.Second), Revision: 1,
	}
	out := exits.ProcessMessages(t.Context(), []batch.Event{exit("x", "KA-01", 90)})
	if diff := cmp.Diff([]parking.Stay{want}, out[0].Stays); diff != "" || out[0].Outcome != batch.Done {
		t.Errorf("the exit became %+v", out[0])
	}
	if diff := cmp.Diff(map[string]parking.Stay{"default/x": want}, posted.stays); diff != "" {
		t.Errorf("posted, -want +got:\n%s", diff)
	}
}

// A batch in which several events change one stay posts the stay once, at its latest
// revision.
func TestPostsTheLatestRevisionOnce(t *testing.T) {
	var calls [][]parking.Stay
	poster := posterFunc(func(_ context.Context, stays []parking.Stay) error {
		calls = append(calls, stays)
		return nil
	})
	c := config(newStore(t), poster)
	pipeline.NewExitEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{exit("x", "A", 90)})
	pipeline.NewEntryEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{entry("e", "A", 0), entry("f", "A", 10), entry("g", "A", 5)})
	if len(calls) != 2 || len(calls[1]) != 1 || calls[1][0].Revision != 3 || calls[1][0].EntryID != "f" {
		t.Errorf("posted %+v", calls)
	}
}

type posterFunc func(context.Context, []parking.Stay) error

func (f posterFunc) Post(ctx context.Context, stays []parking.Stay) error { return f(ctx, stays) }

func TestWhenTheSummaryIsAway(t *testing.T) {
	posted := summaries{fail: func() error { return errors.New("summary away") }}
	c := config(newStore(t), &posted)
	results := pipeline.NewEntryEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{entry("e", "A", 0)})
	if results[0].Outcome != batch.Done {
		t.Errorf("an entry without a stay to post became %+v", results[0])
	}
	exits := pipeline.NewExitEventProcessor(c)
	results = exits.ProcessMessages(t.Context(), []batch.Event{exit("x", "A", 9)})
	if results[0].Outcome != batch.Retry || results[0].Reason != "the summary cannot be used now" {
		t.Errorf("an exit that was not posted became %+v", results[0])
	}
	posted.fail = nil
	results = exits.ProcessMessages(t.Context(), []batch.Event{exit("x", "A", 9)})
	if results[0].Outcome != batch.Done || posted.stays["default/x"].EntryID != "e" {
		t.Errorf("tried again it became %+v, posted %+v", results[0], posted.stays)
	}
}

func TestWhenTheStoreIsAway(t *testing.T) {
	node := instancetest.Redis(t)
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var posted summaries
	var log bytes.Buffer
	c := config(timeline.New(client, retention), &posted)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	exits := pipeline.NewExitEventProcessor(c)
	if err := node.Kill(); err != nil {
		t.Fatal(err)
	}
	results := exits.ProcessMessages(t.Context(), []batch.Event{exit("x", "A", 9), {ID: "bad", Data: []byte("null")}})
	if results[0].Outcome != batch.Retry || results[1].Outcome != batch.Reject || len(posted.stays) != 0 {
		t.Errorf("results %+v, posted %+v", results, posted.stays)
	}
	// Callers get no address. The log has it.
	if results[0].Reason != "the store refuses connections" || !strings.Contains(log.String(), "127.0.0.1") {
		t.Errorf("the reason is %q, the log has\n%s", results[0].Reason, &log)
	}
}

// TestStrangersAreToldNoAddress: for every failure of a part, neither a person nor a
// connector gets its address.
func TestStrangersAreToldNoAddress(t *testing.T) {
	hush := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "see http://10.0.0.9/hush", http.StatusServiceUnavailable)
	}))
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	defer hush.Close()
	secret := regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|//|hush`)
	for url, want := range map[string]string{
		hush.URL: "the summary answers 503", gone.URL: "the summary refuses connections",
	} {
		poster := summaryclient.New(url, func() (string, error) { return "hush", nil })
		h := documented(t, pipeline.NewExitEventProcessor(config(newStore(t), poster)))
		one := exit("x", "A", 9).Data
		for contentType, body := range map[string][]byte{"": one, batch.ContentType: batch.AppendRequest(nil, "/test", []batch.Event{{ID: "1", Data: one}})} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if text := w.Body.String(); !strings.Contains(text, want) || secret.MatchString(text) {
				t.Errorf("%s %q: %d %s, want %q", url, contentType, w.Code, text, want)
			}
		}
		poster.Close()
	}
}

func TestRejects(t *testing.T) {
	var posted summaries
	exits := pipeline.NewExitEventProcessor(config(newStore(t), &posted))
	now := time.Now().UTC()
	hour := now.Add(time.Hour).Format(time.RFC3339)
	old := now.Add(-retention - time.Minute).Format(time.RFC3339)
	const such = `want an event such as {"id":"1","vehicle_plate":"PLATE","exit_date_time":`
	for _, tt := range []struct{ data, reason string }{
		{``, "the event is empty: " + such},
		{`exit!`, "the event is not JSON: invalid character 'e' at start of value; " + such},
		{`[]`, "the event is a JSON array: " + such},
		{`7`, "the event is a JSON number: " + such},
		{`null`, "the event has none of the fields: " + such},
		{`{"count":2}`, "the event has none of the fields: " + such},
		{`{"id":7}`, "id is a JSON number: want a string"},
		{`{"id":"x","id":"y"}`, "names a field twice"},
		{`{"vehicle_plate":"A","exit_date_time":"` + hour + `"}`, "id is missing"},
		{`{"id":"x","exit_date_time":"` + hour + `"}`, "vehicle_plate is missing"},
		{`{"id":"x","vehicle_plate":"A"}`, "exit_date_time is missing"},
		{`{"id":"x","vehicle_plate":"A","entry_date_time":"` + hour + `"}`, "this event belongs to the entry-processor"},
		{`{"id":"x","vehicle_plate":"A","exit_date_time":"yesterday"}`, `exit_date_time "yesterday" is no RFC 3339 time`},
		{`{"id":"x","vehicle_plate":"A","exit_date_time":"2026-11-23T08:15:00"}`, "no RFC 3339 time with a zone"},
		{`{"id":"x","vehicle_plate":"A","exit_date_time":"0001-01-01T00:00:00Z"}`, "is the zero time"},
		{`{"id":"x","vehicle_plate":"A","exit_date_time":"0001-02-03T00:00:00Z"}`, "is impossible"},
		{`{"id":"x","vehicle_plate":"A","exit_date_time":"` + hour + `"}`, "in the future"},
		{`{"id":"x","vehicle_plate":"A","exit_date_time":"` + old + `"}`, "is older than the 24h0m0s"},
		{`{"id":"x","vehicle_plate":"` + strings.Repeat("A", 10_000) + `","exit_date_time":"` + hour + `"}`, "vehicle_plate has 10000 characters"},
		{`{"id":"x","vehicle_plate":"` + strings.Repeat("A", 2<<20) + `"}`, "the event has 2097"},
		{"{\"id\":\"x\",\"vehicle_plate\":\"A\xff\"}", "not valid UTF-8"},
	} {
		r := exits.ProcessMessages(t.Context(), []batch.Event{{ID: "1", Data: []byte(tt.data)}})[0]
		if r.Outcome != batch.Reject || !strings.Contains(r.Reason, tt.reason) || len(r.Reason) > 300 {
			t.Errorf("%.80q became %s %q, want a reject with %q", tt.data, r.Outcome, r.Reason, tt.reason)
		}
	}
	if len(posted.stays) != 0 {
		t.Errorf("posted %+v", posted.stays)
	}
}

// An exit without an entry is expected. It is done, logged at level info with its plate
// masked, and counted as an outcome of its own.
func TestUnmatchedExitIsNoFailure(t *testing.T) {
	registry := prometheus.NewRegistry()
	var posted summaries
	var log bytes.Buffer
	c := config(newStore(t), &posted)
	c.Metrics = pipeline.NewMetrics(registry, "exit-processor")
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	exits := pipeline.NewExitEventProcessor(c)
	exits.ProcessMessages(t.Context(), []batch.Event{exit("x", "KA01AB1234", 9), exit("x2", "B", 9), {ID: "bad"}})
	if text := log.String(); strings.Count(text, `level=INFO msg="exit without entry"`) != 2 ||
		!strings.Contains(text, "plate=*******234") || strings.Contains(text, "KA01AB1234") || strings.Contains(text, "level=ERROR") {
		t.Errorf("the log has\n%s", text)
	}
	// The exit is stored but not posted. Its outcome is not logged before it is posted.
	posted.fail = func() error { return errors.New("summary away") }
	exits.ProcessMessages(t.Context(), []batch.Event{exit("x3", "C", 9)})
	if strings.Contains(log.String(), "id=x3") {
		t.Errorf("the log has\n%s", log.String())
	}
	log.Reset()
	posted.fail = nil
	exits.ProcessMessages(t.Context(), []batch.Event{exit("x3", "C", 9)})
	if text := log.String(); !strings.Contains(text, `level=INFO msg="exit without entry" id=x3`) {
		t.Errorf("the log has\n%s", text)
	}
	exits.ProcessMessages(t.Context(), []batch.Event{exit("x3", "C", 9)}) // repeated, as after a lost acknowledgement

	if posted.stays["default/x"].Status() != parking.UnmatchedExit {
		t.Errorf("posted %+v", posted.stays)
	}
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP parkstream_events_total Events by what became of them: done, duplicate, unmatched_exit (expected), repeat (of an exit), no_plate, void, superseded (a higher version is known), reject, retry.
# TYPE parkstream_events_total counter
parkstream_events_total{event_type="exit",outcome="done"} 0
parkstream_events_total{event_type="exit",outcome="duplicate"} 0
parkstream_events_total{event_type="exit",outcome="no_plate"} 0
parkstream_events_total{event_type="exit",outcome="reject"} 1
parkstream_events_total{event_type="exit",outcome="repeat"} 0
parkstream_events_total{event_type="exit",outcome="retry"} 1
parkstream_events_total{event_type="exit",outcome="superseded"} 0
parkstream_events_total{event_type="exit",outcome="unmatched_exit"} 4
parkstream_events_total{event_type="exit",outcome="void"} 0
# HELP parkstream_pipeline_stage_events_total Events that went through a stage of the pipeline, by success or failure.
# TYPE parkstream_pipeline_stage_events_total counter
parkstream_pipeline_stage_events_total{event_type="exit",result="failure",stage="parse"} 1
parkstream_pipeline_stage_events_total{event_type="exit",result="failure",stage="post"} 1
parkstream_pipeline_stage_events_total{event_type="exit",result="failure",stage="store"} 0
parkstream_pipeline_stage_events_total{event_type="exit",result="success",stage="parse"} 5
parkstream_pipeline_stage_events_total{event_type="exit",result="success",stage="post"} 4
parkstream_pipeline_stage_events_total{event_type="exit",result="success",stage="store"} 5
`), "parkstream_events_total", "parkstream_pipeline_stage_events_total")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "event_processing_latency_seconds"); err != nil || n != 1 {
		t.Errorf("%d latency histograms, error %v", n, err)
	}
}

// Ids that cameras make of plates are masked in the log, also of events that are
// rejected.
func TestPlatesInIDsAreMaskedInTheLog(t *testing.T) {
	var log bytes.Buffer
	c := config(newStore(t), new(summaries))
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	process := func(events ...batch.Event) { pipeline.NewExitEventProcessor(c).ProcessMessages(t.Context(), events) }
	data := func(text string) batch.Event { return batch.Event{ID: "1", Data: []byte(text)} }
	process(exit("north-KA01AB1234-1", "KA01AB1234", 9))
	process(exit("north-KA01AB1234-1", "KA01AB1234", 8)) // in conflict
	process(
		data(`{"id":"ka-01-ab-1234/2","vehicle_plate":"KA 01 AB 1234","exit_date_time":"at KA01AB1234"}`),
		data(`{"id":"ka-01-ab-1234/3","vehicle_plate":"KA 01 AB 1234","entry_date_time":"2026-11-23T08:00:00Z"}`),
		data(`{"id":"`+strings.Repeat("KA01AB1234", 400)+`","vehicle_plate":"KA01AB1234","exit_date_time":"2026-11-23T08:00:00Z"}`),
	)
	text := log.String()
	if strings.Count(text, "event rejected") != 4 || !strings.Contains(text, "id=north-*******234-1") {
		t.Errorf("the log has\n%s", text)
	}
	if strings.Contains(strings.ToUpper(text), "01AB1") || strings.Contains(strings.ToUpper(text), "01-AB") {
		t.Errorf("a plate is in the log\n%s", text)
	}
}

func TestWholePlatesInTheLog(t *testing.T) {
	var log bytes.Buffer
	c := config(newStore(t), new(summaries))
	c.Log, c.ShowPlates = slog.New(slog.NewTextHandler(&log, nil)), true
	pipeline.NewExitEventProcessor(c).ProcessMessages(t.Context(), []batch.Event{exit("x", "KA01AB1234", 9)})
	if !strings.Contains(log.String(), "plate=KA01AB1234") {
		t.Errorf("the log has\n%s", log.String())
	}
}

func TestHTTP(t *testing.T) {
	posted := summaries{}
	h := documented(t, pipeline.NewExitEventProcessor(config(newStore(t), &posted)))
	serve := func(method, contentType, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	good := exit("x", "A", 0)
	when := start.Format(time.RFC3339)
	for _, tt := range []struct {
		name, method, contentType, body string
		status                          int
		want                            string
	}{
		{
			"one event", "POST", "application/json", string(good.Data), 200,
			`{"id":"x","outcome":"done","stays":[{"id":"x","site":"default","vehicle_plate":"A","entry_id":null,"entry_date_time":null,"exit_id":"x","exit_date_time":"` + when + `","duration_seconds":null,"duration":null,"status":"unmatched_exit","revision":1}]}` + "\n",
		},
		{"one bad event", "POST", "", `{"id":"y"}`, 400, `{"id":"y","outcome":"reject","reason":"vehicle_plate is missing"}` + "\n"},
		{
			"a field of a wrong type, before the id", "POST", "", `{"vehicle_plate":5,"id":"y"}`, 400,
			`{"id":"y","outcome":"reject","reason":"vehicle_plate is a JSON number: want a string, or null if no plate was read"}` + "\n",
		},
		{"an id of a wrong type", "POST", "", `{"id":{}}`, 400, `{"id":"","outcome":"reject","reason":"id is a JSON object: want a string"}` + "\n"},
		{
			"a batch", "POST", batch.ContentType + "; charset=utf-8",
			string(batch.AppendRequest(nil, "/q", []batch.Event{good, {ID: "2", Data: []byte(`{"site":"P2"}`)}})), 200,
			`{"results":[{"id":"msg-x","outcome":"done"},{"id":"2","outcome":"reject","reason":"id is missing"}]}`,
		},
		{
			"a name twice in one event's data", "POST", batch.ContentType,
			`[{"id":"1","data":{"id":"y","id":"z"}},{"id":"2","data":` + string(good.Data) + `}]`, 200,
			`{"results":[{"id":"1","outcome":"reject","reason":"the event names a field twice: jsontext: duplicate object member name \"id\""},{"id":"2","outcome":"done"}]}`,
		},
		{"no batch", "POST", batch.ContentType, `{}`, 400, `{"error":"parse batch as a CloudEvents JSON array`},
		{"no batch, in bad UTF-8", "POST", batch.ContentType, "[{\"id\":\"\xff\"}]", 400, `{"error":"`},
		{"two events with one id", "POST", batch.ContentType, `[{"id":"\u0000<"},{"id":"\u0000<"}]`, 400, `{"error":"two events of the batch have the id`},
		{"no event", "POST", "", "\xff", 400, `{"id":"","outcome":"reject","reason":"`},
		{"an id in bad UTF-8", "POST", "", "{\"id\":\"\xff\"}", 400, `{"id":"`},
		{"a wrong method", "GET", "", "", 405, `{"error":"use POST`},
		{"a wrong method with a batch", "PUT", batch.ContentType, "[]", 405, `{"error":"use POST`},
	} {
		w := serve(tt.method, tt.contentType, tt.body)
		if got := w.Body.String(); w.Code != tt.status || got != tt.want && (tt.status < 400 || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%s: %d %s\nwant %d %s", tt.name, w.Code, got, tt.status, tt.want)
		}
		if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %v %s", tt.name, h, w.Body)
		}
	}
	if allow := serve("DELETE", "", "").Header().Get("Allow"); allow != "POST" {
		t.Errorf("a wrong method: Allow %q", allow)
	}
	posted.fail = func() error { return errors.New("away") }
	if w := serve("POST", "", string(good.Data)); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
		!strings.Contains(w.Body.String(), `"outcome":"retry"`) {
		t.Errorf("with the summary away: %d %s", w.Code, w.Body)
	}
}
