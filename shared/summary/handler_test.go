package summary

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
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
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/camera/health"
	"parkstream/shared/image"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/model"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/site"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

const token = "the-token"

// endpoint is a summary on a separate Redis.
type endpoint struct {
	http.Handler
	redis    *instance.Redis
	client   *redis.Client
	stays    *stay.Store
	events   *timeline.Store
	registry *site.Registry
	images   *image.Store // nil unless a test sets it
	log      *lockedLog
	// counted has the metrics.
	counted *prometheus.Registry
	metrics *Metrics
	audit   *audit.Log
}

// lockedLog is safe for concurrent requests.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	return newEndpointKeeping(t, retention)
}

func newEndpointKeeping(t *testing.T, retention time.Duration) *endpoint {
	t.Helper()
	r := instancetest.Redis(t)
	client, err := redis.Open(redis.URL(r.URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	e := &endpoint{redis: r, client: client, stays: stay.New(client, retention), events: timeline.New(client, retention), log: new(lockedLog), counted: prometheus.NewRegistry()}
	e.registry = site.NewRegistry(client)
	e.stays.Zone = e.registry.Zone
	e.events.Settings, e.events.Repeats = SettingsOf(e.registry), e.registry.Repeats
	e.metrics = NewMetrics(e.counted)
	e.audit = audit.New(client, audit.Settings{Retention: 24 * time.Hour, MaxEntries: 100_000}, slog.New(slog.NewTextHandler(e.log, nil)), e.counted)
	e.Handler = admitting{t, NewHandler(e.config(newGuard(t, "", theToken, everyRight...)))}
	return e
}

func theToken() (string, error) { return token, nil }

func (e *endpoint) config(g *access.Guard) Config {
	return Config{
		Stays: e.stays, Sites: e.events, Registry: e.registry, Models: model.New(e.client), Cameras: health.NewReader(e.client, e.registry), Images: e.images, Access: g, CursorKey: theToken, Audit: e.audit, Login: e.login(g),
		Metrics: e.metrics, Log: slog.New(slog.NewTextHandler(e.log, nil)),
	}
}

func (e *endpoint) api() *Endpoint { return e.Handler.(admitting).Endpoint }

func (e *endpoint) call(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := request(method, path, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return e.serve(r)
}

func (e *endpoint) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w
}

// request returns a request as Go's server would. A path that begins with two slashes
// contains no host.
func request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "http://summary"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func (e *endpoint) authorized(method, path, body string) *httptest.ResponseRecorder {
	return e.call(method, path, body, "Authorization", "Bearer "+token)
}

func stayJSON(t *testing.T, stays ...parking.Stay) string {
	t.Helper()
	text, err := json.Marshal(stays)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWritersShowTheToken(t *testing.T) {
	e := newEndpoint(t)
	for path, method := range map[string]string{"/": "POST", "/sites/a/occupancy": "POST", "/plates/P1": "DELETE"} {
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + token, token, "bearer " + token + "x"} {
			w := e.call(method, path, "[]", "Authorization", header)
			if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" || strings.Contains(w.Body.String(), token) {
				t.Errorf("%s %s with %q: %d %s", method, path, header, w.Code, w.Body)
			}
		}
	}
	if w := e.authorized("POST", "/", "[]"); w.Code != http.StatusCreated {
		t.Errorf("with the token: %d %s", w.Code, w.Body)
	}
	unset := admitting{t, NewHandler(e.config(newGuard(t, "", func() (string, error) { return "", nil }, everyRight...)))}
	w := httptest.NewRecorder()
	r := request("POST", "/", "[]")
	r.Header.Set("Authorization", "Bearer ")
	if unset.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
		t.Errorf("an empty secret lets everybody in: %d", w.Code)
	}
}

func TestPost(t *testing.T) {
	e := newEndpoint(t)
	stays := stayJSON(t, completed("x1", "a", "P1", today, 60), unmatched("x2", "a", "P2", today))
	for _, want := range []string{`{"ignored":0,"stored":2}`, `{"ignored":2,"stored":0}`} {
		w := e.authorized("POST", "/", stays)
		var got, wanted map[string]int
		_ = json.Unmarshal(w.Body.Bytes(), &got)
		_ = json.Unmarshal([]byte(want), &wanted)
		if w.Code != http.StatusCreated || !cmp.Equal(got, wanted) {
			t.Errorf("%d %s, want 201 %s", w.Code, w.Body, want)
		}
	}
	if err := testutil.GatherAndCompare(e.counted, strings.NewReader(`
# HELP parkstream_summary_stays_total Stays posted to the summary: stored, or ignored because this revision or a higher one was known.
# TYPE parkstream_summary_stays_total counter
parkstream_summary_stays_total{result="ignored"} 2
parkstream_summary_stays_total{result="stored"} 2
`), "parkstream_summary_stays_total"); err != nil {
		t.Error(err)
	}
}

func TestBadPosts(t *testing.T) {
	e := newEndpoint(t)
	with := func(change func(s *parking.Stay)) string {
		s := completed("x1", "a", "P1", today, 60)
		change(&s)
		return stayJSON(t, completed("good", "a", "P1", today, 60), s)
	}
	for _, tt := range []struct{ body, reason string }{
		{"hello", "want an array of stays"},
		{`{}`, "want an array of stays"},
		{`null`, "want an array of stays"},
		{`[] []`, "want an array of stays"},
		{`[null]`, "stay 0: id is missing"},
		{`[{"id":"x","entry_id":"e"}]`, "no entry_date_time"},
		{`[{"id":"x","entry_date_time":"2026-11-24T11:53:07Z"}]`, "no entry_id"},
		{`[{"id":"x","entry_id":null,"entry_date_time":"2026-11-24T11:53:07Z"}]`, "no entry_id"},
		{`[{"id":"x","entry_id":"","entry_date_time":"2026-11-24T11:53:07Z"}]`, "empty entry_id"},
		{`[{"id":1}]`, "want an array of stays"},
		{with(func(s *parking.Stay) { s.ID = "" }), "stay 1: id is missing"},
		{with(func(s *parking.Stay) { s.Site = "" }), "stay 1: site is missing"},
		{with(func(s *parking.Stay) { s.Site = "a}b" }), "stay 1: site"},
		{with(func(s *parking.Stay) { s.Plate = "p-1" }), "is not normalised"},
		{with(func(s *parking.Stay) { s.Plate = "" }), "vehicle_plate is missing"},
		{`[{"id":"x1","exit_id":"x9"}]`, `id "x1" is not the exit_id "x9"`},
		{with(func(s *parking.Stay) { s.ExitTime = time.Time{} }), "exit_date_time is missing"},
		{with(func(s *parking.Stay) { s.Revision = 0 }), "revision is 0"},
		{with(func(s *parking.Stay) { s.EntryTime = s.ExitTime.Add(time.Second) }), "entry_date_time is after exit_date_time"},
		{with(func(s *parking.Stay) { s.EntryID = "a\nb" }), "does not print"},
		{with(func(s *parking.Stay) { s.EntryTime = time.Unix(-1, 0) }), "entry_date_time"},
	} {
		w := e.authorized("POST", "/", tt.body)
		if w.Code != http.StatusBadRequest || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), tt.reason) {
			t.Errorf("%.200s\n%d %s, want 400 with %q", tt.body, w.Code, w.Body, tt.reason)
		}
	}
	if got := list(t, e.stays, stay.Query{Limit: 10}); len(got) != 0 {
		t.Errorf("a bad request stored %v", got)
	}
	many := "[" + strings.Repeat(strings.Trim(stayJSON(t, unmatched("x", "a", "P", today)), "[]")+",", maxPosted) +
		strings.Trim(stayJSON(t, unmatched("x", "a", "P", today)), "[]") + "]"
	if w := e.authorized("POST", "/", many); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d stays: %d %s", maxPosted+1, w.Code, w.Body)
	}
}

func TestListJSON(t *testing.T) {
	e := newEndpoint(t)
	exit := time.Date(2026, 11, 23, 9, 45, 10, 500_000_000, time.UTC)
	e.stays.Now = func() time.Time { return exit.Add(time.Minute) }
	e.authorized("POST", "/", stayJSON(t, completed("x1", "a", "KA01", exit.In(time.FixedZone("", 3600)), 5400), unmatched("x2", "b", "KA02", exit.Add(-time.Hour))))
	const first = `{"id":"x1","site":"a","vehicle_plate":"KA01","entry_id":"entry of x1","entry_date_time":"2026-11-23T08:15:10.5Z",` +
		`"exit_id":"x1","exit_date_time":"2026-11-23T09:45:10.5Z","duration_seconds":5400,"duration":"PT1H30M","status":"completed",` +
		`"revision":1,"match":{"method":"exact"},"updated_at":"2026-11-23T09:46:10.5Z","billing":"bill"}`
	const second = `{"id":"x2","site":"b","vehicle_plate":"KA02","entry_id":null,"entry_date_time":null,` +
		`"exit_id":"x2","exit_date_time":"2026-11-23T08:45:10.5Z","duration_seconds":null,"duration":null,"status":"unmatched_exit",` +
		`"revision":1,"updated_at":"2026-11-23T09:46:10.5Z","billing":null}`
	for path, want := range map[string]string{
		"/":                       `{"stays":[` + first + `,` + second + `],"next":""}`,
		"/?plate=ka-01":           `{"stays":[` + first + `],"next":""}`,
		"/?status=unmatched_exit": `{"stays":[` + second + `],"next":""}`,
		"/?site=nowhere":          `{"stays":[],"next":""}`,
		"/stays/x1":               first,
		"/stays/x2?site=b":        second,
	} {
		w := e.call("GET", path, "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Header())
		}
		if diff := cmp.Diff(want+"\n", w.Body.String()); diff != "" {
			t.Errorf("GET %s (-want +got):\n%s", path, diff)
		}
	}
	var page struct {
		Stays []parking.Stay
		Next  string
	}
	if err := json.Unmarshal(e.call("GET", "/?limit=1", "").Body.Bytes(), &page); err != nil || len(page.Stays) != 1 || page.Next == "" {
		t.Fatalf("the first page: %+v, %v", page, err)
	}
	if err := json.Unmarshal(e.call("GET", "/?limit=1&cursor="+page.Next, "").Body.Bytes(), &page); err != nil || page.Stays[0].ID != "x2" || page.Next != "" {
		t.Errorf("the second page: %+v, %v", page, err)
	}
}

func TestBadRequests(t *testing.T) {
	e := newEndpoint(t)
	for _, tt := range []struct {
		method, path string
		code         int
		reason       string
	}{
		{"GET", "/?limit=0", 400, "limit"},
		{"GET", "/?limit=1001", 400, "1 to 1000"},
		{"GET", "/?limit=x", 400, "limit"},
		{"GET", "/?plate=--", 400, "no letter or digit"},
		{"GET", "/?site=a%20b", 400, "site"},
		{"GET", "/?status=done", 400, "completed or unmatched_exit or repeat or void"},
		{"GET", "/?from=yesterday", 400, "from"},
		{"GET", "/?to=2026-11-23", 400, "to"},
		{"GET", "/?from=2026-11-24T00:00:00Z&to=2026-11-23T00:00:00Z", 400, "before from"},
		{"GET", "/stats?from=2026-11-24T00:00:00Z&to=2026-11-23T00:00:00Z", 400, "before from"},
		{"GET", "/?plate=P1&plate=P2", 400, "2 times"},
		{"GET", "/?format=xml", 400, "json or csv"},
		{"GET", "/?cursor=abc", 400, "cursor"},
		{"GET", "/?palte=P1", 400, `palte`},
		// An unreadable parameter must not count as an absent one.
		{"GET", "/?site=%zz", 400, "read the query"},
		{"GET", "/?site=a;status=completed", 400, "read the query"},
		{"GET", "/stats?site=%zz", 400, "read the query"},
		{"GET", "/stays/unknown", 404, "no such stay"},
		{"GET", "/stays/x?site=a%7Db", 400, "site"},
		{"GET", "/stats?from=x", 400, "from"},
		{"GET", "/stats?from=1971-01-01T00:00:00Z", 400, "days are asked for"},
		{"GET", "/stats?to=x", 400, "to"},
		{"GET", "/stats?site=a%20b", 400, "site"},
		{"GET", "/stats?plate=P1", 400, "plate"},
		{"GET", "/sites/a%20b", 400, "site"},
		{"GET", "/sites/a/inside?offset=-1", 400, "offset"},
		{"GET", "/sites/a/inside?offset=x", 400, "offset"},
		{"GET", "/sites/a/inside?limit=0", 400, "limit"},
		{"GET", "/sites/a/inside?palte=P1", 400, "palte"},
		{"GET", "/sites/a%20b/inside", 400, "site"},
		{"GET", "/sites/a%20b/occupancy", 400, "site"},
		{"GET", "/nothing/here", 404, "no such path"},
	} {
		w := e.call(tt.method, tt.path, "")
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.reason) {
			t.Errorf("%s %s: %d %s, want %d with %q", tt.method, tt.path, w.Code, w.Body, tt.code, tt.reason)
		}
	}
}

func TestWrongMethods(t *testing.T) {
	h := admitting{t, NewHandler(Config{Access: newGuard(t, "", theToken, everyRight...)})}
	for path, allow := range map[string]string{
		"/":                  "GET, HEAD, POST",
		"/stats":             "GET, HEAD",
		"/stays/x":           "GET, HEAD",
		"/sites":             "GET, HEAD",
		"/sites/a":           "DELETE, GET, HEAD, PUT",
		"/configuration":     "GET, HEAD, PUT",
		"/sites/a/inside":    "GET, HEAD",
		"/sites/a/occupancy": "GET, HEAD, POST",
		"/plates/P1":         "DELETE",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if strings.Contains(allow, method) {
				continue
			}
			w := (&endpoint{Handler: h}).authorized(method, path, "[]")
			if w.Code != 405 || w.Header().Get("Allow") != allow {
				t.Errorf("%s %s: %d, Allow %q; want 405, %q", method, path, w.Code, w.Header().Get("Allow"), allow)
			}
		}
	}
}

func TestStatsJSON(t *testing.T) {
	e := newEndpoint(t)
	exit := time.Date(2026, 11, 23, 9, 45, 10, 0, time.UTC)
	e.stays.Now = func() time.Time { return exit.Add(time.Hour) }
	put(t, e.stays, completed("x1", "a", "P1", exit, 0), unmatched("x2", "b", "P2", exit), unmatched("x3", "b", "P2", exit.Add(-day)))
	const methods = `"methods":{"exact":%d,"ocr":0,"edit":0,"two_edits":0,"split":0,"corrected":0},"disputed":0,`
	oneExact, none := fmt.Sprintf(methods, 1), fmt.Sprintf(methods, 0)+`"match_rate":0,"average_duration_seconds":null,"p50_duration_seconds":null,"p95_duration_seconds":null`
	const bounds = `{"from":"2026-11-22T00:00:00Z","to":"2026-11-24T00:00:00Z","zone":"UTC",`
	// The durations have a test of their own.
	durations := regexp.MustCompile(`"durations":\[[^]]*\],`)
	third := `{"day":"2026-11-22","completed":0,"unmatched_exits":1,"repeated_exits":0,` + none + `}`
	for path, want := range map[string]string{
		"/stats?site=b&from=2026-11-22T23:00:00Z": bounds + `"completed":0,"unmatched_exits":2,"repeated_exits":0,` + none + `,"days":[` + third + `,` +
			`{"day":"2026-11-23","completed":0,"unmatched_exits":1,"repeated_exits":0,` + none + `}]}`,
		// The second bound is 00:00:01 in UTC, so its day counts.
		"/stats?site=a&from=2026-11-22T00:00:00Z&to=2026-11-23T01:00:01%2B01:00": bounds + `"completed":1,"unmatched_exits":0,"repeated_exits":0,` + oneExact + `"match_rate":1,` +
			`"average_duration_seconds":0,"p50_duration_seconds":0,"p95_duration_seconds":0,"days":[{"day":"2026-11-23","completed":1,"unmatched_exits":0,"repeated_exits":0,` + oneExact +
			`"match_rate":1,"average_duration_seconds":0,"p50_duration_seconds":0,"p95_duration_seconds":0}]}`,
		"/stats?from=2026-11-22T00:00:00Z&to=2026-11-23T00:00:00Z": `{"from":"2026-11-22T00:00:00Z","to":"2026-11-23T00:00:00Z","zone":"UTC",` +
			`"completed":0,"unmatched_exits":1,"repeated_exits":0,` + none + `,"days":[` + third + `]}`,
	} {
		w := e.call("GET", path, "")
		if diff := cmp.Diff(want+"\n", durations.ReplaceAllString(w.Body.String(), "")); diff != "" || w.Code != http.StatusOK {
			t.Errorf("GET %s: %d (-want +got):\n%s", path, w.Code, diff)
		}
	}
}

// The state of a site has the durations of today's stays: those that ended at this site
// and today.
func TestDurationsToday(t *testing.T) {
	e := newEndpoint(t)
	e.stays.Now = func() time.Time { return today }
	var stays []parking.Stay
	for i, seconds := range []int{600, 1200, 1800, 2400, 36000} {
		stays = append(stays, completed(fmt.Sprint("x", i), "a", "P1", today.Add(-time.Duration(i)*time.Minute), seconds))
	}
	put(t, e.stays, append(stays,
		unmatched("without", "a", "P2", today),
		completed("yesterday", "a", "P3", daysAgo(1), 90_000),
		completed("elsewhere", "b", "P4", today, 90_000),
	)...)
	w := e.call("GET", "/sites/a", "")
	var got struct {
		StaysToday stay.Counts `json:"stays_today"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s, error %v", w.Code, w.Body, err)
	}
	want := stay.Counts{
		Completed: 5, UnmatchedExits: 1, Methods: stay.Methods{Exact: 5}, MatchRate: new(5. / 6),
		AverageSeconds: new(8400.), P50Seconds: new(1800.), P95Seconds: new(36000.),
	}
	if diff := cmp.Diff(want, got.StaysToday, within2Percent); diff != "" {
		t.Errorf("stays of today, -want +got:\n%s", diff)
	}
}

// within2Percent compares quantiles with the promised precision.
var within2Percent = cmp.Comparer(func(a, b float64) bool {
	return math.Abs(a-b) <= (0.02+1e-9)*max(a, b)
})

func TestNothingForASpreadsheetToRun(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-A1", "@SUM(A1)", "\t=1", "\r=1"} {
		row := csvRecord(&shownStay{StoredStay: stay.StoredStay{Stay: parking.Stay{ID: text, Site: text, EntryID: text}}}, time.UTC)
		for i, field := range row {
			if strings.HasPrefix(field, text[:1]) {
				t.Errorf("%s is %q", csvColumns[i], field)
			}
		}
	}
	if got := inert("a=1"); got != "a=1" {
		t.Errorf("a harmless text became %q", got)
	}
}

func TestCSV(t *testing.T) {
	e := newEndpoint(t)
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.registry.Put(t.Context(), site.Site{ID: "a", Location: kolkata}); err != nil {
		t.Fatal(err)
	}
	local := func(at time.Time) string { return at.Add(330*time.Minute).Format("2006-01-02T15:04:05") + "+05:30" }
	put(t, e.stays, completed("=cmd()", "a", "P1", today, 3605), unmatched("x2", "a", "P2", today.Add(-time.Hour)))
	w := e.call("GET", "/?format=csv&bom=0", "")
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != 3 || w.Header().Get("X-Next-Cursor") != "" {
		t.Fatalf("%q, %v, %v", rows, err, w.Header())
	}
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") || !strings.Contains(w.Header().Get("Content-Disposition"), "stays.csv") {
		t.Errorf("headers: %v", w.Header())
	}
	updated := rows[1][11]
	want := [][]string{
		csvColumns,
		{"'=cmd()", "a", "P1", "entry of '=cmd()", csvTime(today.Add(-3605 * time.Second)), "'=cmd()", csvTime(today), "3605", "PT1H5S", "completed", "1", updated, local(today.Add(-3605 * time.Second)), local(today), "exact", "false", "bill"},
		{"x2", "a", "P2", "", "", "x2", csvTime(today.Add(-time.Hour)), "", "", "unmatched_exit", "1", updated, "", local(today.Add(-time.Hour)), "", "", ""},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	first := e.call("GET", "/?format=csv&limit=1", "")
	second := e.call("GET", "/?format=csv&limit=1&cursor="+first.Header().Get("X-Next-Cursor"), "")
	if !strings.Contains(first.Body.String(), "cmd()") || !strings.Contains(second.Body.String(), "x2") || strings.Contains(second.Body.String(), "cmd()") {
		t.Errorf("page by page:\n%s\n%s", first.Body, second.Body)
	}
	var many []parking.Stay
	for i := range maxLimit + 5 {
		many = append(many, unmatched(fmt.Sprint("m", i), "many", "P", today))
	}
	put(t, e.stays, many...)
	if rows := strings.Count(e.call("GET", "/?format=csv&site=many", "").Body.String(), "\n"); rows != len(many)+1 {
		t.Errorf("%d lines of a long download, want %d", rows, len(many)+1)
	}
}

// record records events of vehicles. The plates in upper case enter. Those followed by
// a plus leave an hour later.
func (e *endpoint) record(t *testing.T, site string, plates ...string) {
	t.Helper()
	var events []parking.Event
	for i, p := range plates {
		plate, leaves := strings.CutSuffix(p, "+")
		at := time.Now().UTC().Add(-2*time.Hour + time.Duration(i)*time.Second)
		events = append(events, parking.Event{ID: "e" + plate, Kind: parking.Entry, Site: site, RawPlate: strings.ToLower(plate), Plate: plate, Time: at})
		if leaves {
			events = append(events, parking.Event{ID: "x" + plate, Kind: parking.Exit, Site: site, RawPlate: strings.ToLower(plate), Plate: plate, Time: at.Add(time.Hour)})
		}
	}
	for _, r := range e.events.Record(t.Context(), events) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if _, err := e.stays.Upsert(t.Context(), r.Stays); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSites(t *testing.T) {
	e := newEndpoint(t)
	if got := e.call("GET", "/sites", "").Body.String(); got != `{"sites":[]}`+"\n" {
		t.Errorf("no sites: %s", got)
	}
	e.record(t, "a", "P1", "P2+", "P3")
	e.record(t, "b", "P1+")
	if got := e.call("GET", "/sites", "").Body.String(); got != `{"sites":["a","b"]}`+"\n" {
		t.Errorf("sites: %s", got)
	}
	var site struct {
		Occupancy      int64 `json:"occupancy"`
		VehiclesInside int64 `json:"vehicles_inside"`
		Correction     int64 `json:"correction"`
		StaysToday     struct {
			Completed int64    `json:"completed"`
			P50       *float64 `json:"p50_duration_seconds"`
		} `json:"stays_today"`
	}
	get := func() {
		t.Helper()
		if w := e.call("GET", "/sites/a", ""); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &site) != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if get(); site.Occupancy != 2 || site.VehiclesInside != 2 {
		t.Errorf("%+v", site)
	}
	var inside struct {
		Vehicles []struct {
			Plate string `json:"vehicle_plate"`
		}
	}
	w := e.call("GET", "/sites/a/inside?limit=1&offset=1", "")
	if err := json.Unmarshal(w.Body.Bytes(), &inside); err != nil || len(inside.Vehicles) != 1 || inside.Vehicles[0].Plate != "P3" {
		t.Errorf("the second vehicle inside: %s, %v", w.Body, err)
	}

	for body, reason := range map[string]string{
		`{"reason":"counted"}`:             "counted is missing",
		`{"counted":-1,"reason":"x"}`:      "counted is -1",
		`{"counted":5}`:                    "reason is missing",
		`{"counted":"five","reason":"x"}`:  "want {",
		`hello`:                            "want {",
		`{"counted":2000000,"reason":"x"}`: "0 to 1000000",
	} {
		if w := e.authorized("POST", "/sites/a/occupancy", body); w.Code != 400 || !strings.Contains(w.Body.String(), reason) {
			t.Errorf("%s: %d %s, want 400 with %q", body, w.Code, w.Body, reason)
		}
	}
	if w := e.authorized("POST", "/sites/a/occupancy", `{"counted":0,"reason":"walked through"}`); w.Code != 201 || !strings.Contains(w.Body.String(), `"was":2`) {
		t.Errorf("correction: %d %s", w.Code, w.Body)
	}
	if get(); site.Occupancy != 0 || site.VehiclesInside != 2 || site.Correction != -2 {
		t.Errorf("after the correction: %+v", site)
	}
	// The event is at least a millisecond after the count. Events in the count's own
	// millisecond belong to the count.
	left := time.Now().UTC().Add(time.Millisecond)
	e.events.Record(t.Context(), []parking.Event{{ID: "xP1", Kind: parking.Exit, Site: "a", RawPlate: "P1", Plate: "P1", Time: left}})
	if get(); site.Occupancy != -1 {
		t.Errorf("a negative count is to be shown: %+v", site)
	}
	if got := e.call("GET", "/sites/a/occupancy", "").Body.String(); !strings.Contains(got, `"counted":0,"was":2,"reason":"walked through"`) {
		t.Errorf("corrections: %s", got)
	}
	e.authorized("POST", "/sites/a/occupancy", `{"counted":7,"reason":"again"}`)
	var corrections struct {
		Corrections []timeline.Correction `json:"corrections"`
	}
	w = e.call("GET", "/sites/a/occupancy", "")
	if err := json.Unmarshal(w.Body.Bytes(), &corrections); err != nil || len(corrections.Corrections) != 2 ||
		corrections.Corrections[0].Reason != "again" || corrections.Corrections[0].Was != -1 || corrections.Corrections[0].At.IsZero() {
		t.Errorf("corrections, newest first: %s, %v", w.Body, err)
	}
	for path, want := range map[string]string{
		"/sites/nowhere/inside":      `{"vehicles":[]}`,
		"/sites/nowhere/occupancy":   `{"corrections":[]}`,
		"/sites/a/inside?offset=100": `{"vehicles":[]}`,
	} {
		if w := e.call("GET", path, ""); w.Code != 200 || w.Body.String() != want+"\n" {
			t.Errorf("GET %s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
}

func TestErase(t *testing.T) {
	e := newEndpoint(t)
	e.record(t, "a", "PLATE1+", "P2+")
	e.record(t, "b", "PLATE1+")
	for path, reason := range map[string]string{
		"/plates/--":               "no letter or digit",
		"/plates/PLATE1?site=a%7D": "site",
		"/plates/PLATE1?sites=a":   "sites",
		"/plates/PLATE1?site=a;b":  "read the query",
		"/plates/PLATE1?site=%zz":  "read the query",
	} {
		if w := e.authorized("DELETE", path, ""); w.Code != 400 || !strings.Contains(w.Body.String(), reason) {
			t.Errorf("%s: %d %s, want 400 with %q", path, w.Code, w.Body, reason)
		}
	}
	if got := list(t, e.stays, stay.Query{Limit: 10}); len(got) != 3 {
		t.Fatalf("a bad request erased: left are %v", got)
	}
	if w := e.authorized("DELETE", "/plates/plate-1?site=a", ""); w.Code != 200 || w.Body.String() != `{"events":2,"stays":1,"keys":3}`+"\n" {
		t.Errorf("at one site: %d %s", w.Code, w.Body)
	}
	if n := e.client.Current().Exists(t.Context(), "park:erased").Val(); n != 1 {
		t.Error("the append-only files of Redis are not rewritten after an erasure")
	}
	if got := strings.Join(list(t, e.stays, stay.Query{Plate: "PLATE1", Limit: 10}), " "); got != "b/xPLATE1" {
		t.Errorf("left of the plate at the other site: %s", got)
	}
	if w := e.authorized("DELETE", "/plates/PLATE1", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"events":2,"stays":1`) {
		t.Errorf("at all sites: %d %s", w.Code, w.Body)
	}
	for _, text := range contents(t, e.client.Current()) {
		if strings.Contains(strings.ToUpper(text), "PLATE1") {
			t.Errorf("%q is left", text)
		}
	}
	if strings.Contains(e.log.String(), "PLATE1 ") {
		t.Errorf("the log has the plate: %s", e.log)
	}
	if got := strings.Join(list(t, e.stays, stay.Query{Limit: 10}), " "); got != "a/xP2" {
		t.Errorf("left: %s", got)
	}
}

// A process recorded a version with another plate and ended before it posted the stays. An
// erasure of that plate leaves nothing of the vehicle under its plate before.
func TestEraseOfWhatWasNotPosted(t *testing.T) {
	e := newEndpoint(t)
	e.record(t, "a", "P1+", "P2+")
	for _, id := range []string{"xP1", "eP2"} {
		event, err := e.events.Event(t.Context(), "a", id)
		if err != nil {
			t.Fatal(err)
		}
		event.Version++
		event.RawPlate, event.Plate = "RIGHT", "RIGHT"
		if r := e.events.Record(t.Context(), []parking.Event{event}); r[0].Err != nil || len(r[0].Stays) == 0 {
			t.Fatalf("%+v", r)
		}
	}
	if w := e.authorized("DELETE", "/plates/right?site=a", ""); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	kept, err := e.stays.Get(t.Context(), []string{"a"}, "xP2")
	if err != nil || kept.EntryID != "" {
		t.Errorf("the exit whose entry was erased: %+v, %v", kept, err)
	}
	if got := list(t, e.stays, stay.Query{Limit: 10}); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
}

// contents returns the contents of each key of a Redis.
func contents(t *testing.T, client goredis.UniversalClient) []string {
	t.Helper()
	var all []string
	for _, key := range client.Keys(t.Context(), "*").Val() {
		var held any
		switch kind := client.Type(t.Context(), key).Val(); kind {
		case "hash":
			held = client.HGetAll(t.Context(), key).Val()
		case "zset":
			held = client.ZRange(t.Context(), key, 0, -1).Val()
		case "set":
			held = client.SMembers(t.Context(), key).Val()
		case "stream":
			held = client.XRange(t.Context(), key, "-", "+").Val()
		default:
			t.Errorf("%s is a %s: read it here, too", key, kind)
		}
		all = append(all, fmt.Sprint(key, " ", held))
	}
	return all
}

func TestRedisIsAway(t *testing.T) {
	e := newEndpoint(t)
	if err := e.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup // each takes as long as go-redis repeats it
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/", ""},
		{"GET", "/?format=csv", ""},
		{"POST", "/", stayJSON(t, unmatched("x", "a", "P", today))},
		{"GET", "/stays/x", ""},
		{"GET", "/stats", ""},
		{"GET", "/sites", ""},
		{"GET", "/sites/a", ""},
		{"GET", "/sites/a/inside", ""},
		{"GET", "/sites/a/occupancy", ""},
		{"GET", "/audit", ""},
		{"POST", "/sites/a/occupancy", `{"counted":1,"reason":"x"}`},
		{"DELETE", "/plates/P", ""},
	} {
		calls.Go(func() {
			w := e.authorized(tt.method, tt.path, tt.body)
			want := "the store of stays cannot be reached now, try again"
			if tt.body != "" && tt.path != "/" || strings.Contains(tt.path, "csv") {
				want = "this cannot be recorded in the audit now and was therefore not done: try again"
			}
			if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Body.String() != `{"error":"`+want+`"}`+"\n" {
				t.Errorf("%s %s: %d %s %v", tt.method, tt.path, w.Code, w.Body, w.Header())
			}
		})
	}
	calls.Wait()
	if !strings.Contains(e.log.String(), "connection refused") {
		t.Errorf("the log does not say why: %s", e.log)
	}
}
