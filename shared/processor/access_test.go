package processor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/docs/api/apitest"
	"parkstream/shared/access"
	"parkstream/shared/batch"
	"parkstream/shared/faas"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/process"
	"parkstream/shared/processor"
)

// tokens are the credentials of the tests' callers.
var tokens = map[string]string{
	"stranger": "", "with a wrong token": "wrong",
	"connector": "the token of the connector", "summary": "the token of the summary",
}

// usersFile returns a users file with the others of them.
var usersFile = sync.OnceValue(func() (file []byte) {
	for _, u := range []access.NewUser{
		{Name: "viewer", Role: access.Viewer, Plates: true},
		{Name: "operator", Role: access.Operator},
		{Name: "admin", Role: access.Admin},
		{Name: "machine", Role: access.Machine},
		{Name: "machine-of-north", Role: access.Machine, Sites: []string{"north"}},
		{Name: "operator-of-north", Role: access.Operator, Sites: []string{"north"}},
	} {
		u.Token = access.NewToken()
		tokens[u.Name] = u.Token
		var err error
		if file, err = access.AddUser(file, u); err != nil {
			panic(err)
		}
	}
	return file
})

// park is both processors with a Redis of their own, and a summary that takes stays.
type park struct {
	redis *goredis.Client
	urls  map[parking.Kind]string

	mu    sync.Mutex
	stays map[string]parking.Stay // by id, the last one posted
}

func newPark(t *testing.T, environ ...string) *park {
	t.Helper()
	node := instancetest.Redis(t)
	options, err := goredis.ParseURL(node.URL())
	if err != nil {
		t.Fatal(err)
	}
	p := &park{redis: goredis.NewClient(options), urls: make(map[parking.Kind]string), stays: make(map[string]parking.Stay)}
	t.Cleanup(func() { p.redis.Close() })
	summary := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var stays []parking.Stay
		if err := json.NewDecoder(r.Body).Decode(&stays); err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range stays {
			p.stays[s.ID] = s
		}
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(summary.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"redis-url": node.URL(), "summary-token": tokens["summary"], "connector-token": tokens["connector"], "users": string(usersFile()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
		p.urls[kind] = serve(t, kind, append([]string{"SECRETS_DIR=" + dir, "SUMMARY_URL=" + summary.URL}, environ...))
	}
	return p
}

// serve runs a processor as a function until the end of the test and returns its URL.
func serve(t *testing.T, kind parking.Kind, environ []string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var service http.Handler
	wire := func(rt *faas.Runtime) error {
		config, err := processor.Wire(rt)
		if err != nil {
			return err
		}
		if service = pipeline.NewHTTPHandler(pipeline.NewExitEventProcessor(config)); kind == parking.Entry {
			service = pipeline.NewHTTPHandler(pipeline.NewEntryEventProcessor(config))
		}
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		options := process.Options{Name: kind.String() + "-processor", Environ: environ, Listener: listener, Log: t.Output()}
		ended <- faas.Run(ctx, options, wire, func(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + listener.Addr().String() + "/"
}

// request is one to a processor; by default a POST of JSON by a stranger.
type request struct {
	kind   parking.Kind
	method string
	by     string
	header http.Header
	body   string
}

func (p *park) send(t *testing.T, q request) (status int, text string) {
	t.Helper()
	if q.method == "" {
		q.method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), q.method, p.urls[q.kind], strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	maps.Copy(r.Header, q.header)
	token, known := tokens[q.by]
	if q.by != "" && !known {
		t.Fatalf("there is no %s", q.by)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	apitest.Check(t, q.kind.String()+"-processor", q.method, "/", resp.StatusCode, resp.Header, body)
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// batchOf returns the header and the body of the connector's call with an event.
func batchOf(event string) (http.Header, string) {
	return http.Header{"Content-Type": {batch.ContentType}}, string(batch.AppendRequest(nil, "/q", []batch.Event{{ID: "m", Data: []byte(event)}}))
}

func (p *park) connector(t *testing.T, kind parking.Kind, event string) {
	t.Helper()
	header, body := batchOf(event)
	if status, text := p.send(t, request{kind: kind, by: "connector", header: header, body: body}); status != 200 || !strings.Contains(text, `"outcome":"done"`) {
		t.Fatalf("the connector's %s is answered with %d %s", kind, status, text)
	}
}

// keys returns how many keys Redis has, besides those of readiness.
func (p *park) keys(t *testing.T) (n int) {
	t.Helper()
	all, err := p.redis.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if !strings.HasPrefix(key, "park:writable") {
			n++
		}
	}
	return n
}

func event(kind parking.Kind, id, plate, site string, ago time.Duration) string {
	return fmt.Sprintf(`{"id":%q,"vehicle_plate":%q,"site":%q,"%s_date_time":%q}`, id, plate, site, kind, time.Now().Add(-ago).UTC().Format(time.RFC3339))
}

// A forged exit takes no vehicle's entry away, and an id that was guessed is no conflict
// for the camera's event: neither is recorded for those who may not post it.
func TestForgedEvents(t *testing.T) {
	p := newPark(t)
	for i, by := range []string{"stranger", "with a wrong token", "viewer", "summary", "machine-of-north", "operator-of-north"} {
		plate, id := fmt.Sprintf("KA01AB%04d", i), fmt.Sprintf("cam-%d", i)
		p.connector(t, parking.Entry, event(parking.Entry, id+"-e", plate, "south", 2*time.Hour))
		for name, forged := range map[string]string{
			"a forged exit": event(parking.Exit, "forged-"+id, plate, "south", time.Hour),
			"a guessed id":  event(parking.Exit, id+"-x", "GUESSED", "south", time.Hour),
		} {
			header, body := batchOf(forged)
			for form, q := range map[string]request{
				"":           {body: forged},
				"in a batch": {header: header, body: body},
				"raw":        {header: http.Header{"Content-Type": {"text/plain"}}, body: forged},
				"by GET":     {method: http.MethodGet, body: forged},
			} {
				q.kind, q.by = parking.Exit, by
				if status, text := p.send(t, q); strings.Contains(text, "done") || strings.Contains(text, plate) {
					t.Errorf("%s %s by a %s: %d %s", name, form, by, status, text)
				}
			}
		}
		p.connector(t, parking.Exit, event(parking.Exit, id+"-x", plate, "south", time.Minute))
		p.mu.Lock()
		if s := p.stays[id+"-x"]; s.EntryID != id+"-e" || s.Status() != parking.Completed {
			t.Errorf("by a %s: the camera's exit makes the stay %+v", by, s)
		}
		if len(p.stays) != i+1 {
			t.Errorf("by a %s: there are %d stays", by, len(p.stays))
		}
		p.mu.Unlock()
	}
}

// Who may post events of which site, alone and in a batch.
func TestWhoMayPost(t *testing.T) {
	p := newPark(t)
	const (
		done    = `200 "outcome":"done"`
		noLogin = `401 needs a login`
		noRight = `403 does not have the right`
		noSite  = `403 "outcome":"reject","reason":"this login has no access to that site"}`
		reject  = `200 {"results":[{"id":"m","outcome":"reject","reason":"this login has no access to that site"}]}`
	)
	events := make(map[string]string)
	for kind := range p.urls {
		for _, site := range []string{"north", "south"} {
			events[kind.String()+site] = event(kind, kind.String(), "KA01AB1234", site, time.Hour)
		}
	}
	for _, tt := range []struct{ by, north, south, southInABatch string }{
		{"stranger", noLogin, noLogin, noLogin},
		{"with a wrong token", "401 not valid", "401 not valid", "401 not valid"},
		{"viewer", noRight, noRight, noRight},
		{"operator", done, done, done},
		{"admin", done, done, done},
		{"machine", done, done, done},
		{"connector", done, done, done},
		{"summary", noRight, noRight, noRight},
		{"machine-of-north", done, noSite, reject},
		{"operator-of-north", done, noSite, reject},
	} {
		for kind := range p.urls {
			want := func(what, want string, status int, text string) {
				t.Helper()
				if code, part, _ := strings.Cut(want, " "); fmt.Sprint(status) != code || !strings.Contains(text, part) {
					t.Errorf("a %s by a %s, %s: %d %s, want %s", kind, tt.by, what, status, text, want)
				}
			}
			one := func(site string) string { return events[kind.String()+site] }
			status, text := p.send(t, request{kind: kind, by: tt.by, body: one("north")})
			want("north", tt.north, status, text)
			reads := strings.Contains(tt.by, "operator") || tt.by == "admin"
			if shown := strings.Contains(text, `"stays":[`); status == 200 && shown != reads {
				t.Errorf("a %s by a %s shows stays: %s", kind, tt.by, text)
			}
			status, text = p.send(t, request{kind: kind, by: tt.by, body: one("south")})
			want("south", tt.south, status, text)
			header, body := batchOf(one("south"))
			status, text = p.send(t, request{kind: kind, by: tt.by, header: header, body: body})
			want("south in a batch", tt.southInABatch, status, text)
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				if status, text = p.send(t, request{kind: kind, by: tt.by, method: method}); status < 400 {
					t.Errorf("%s by a %s: %d %s", method, tt.by, status, text)
				}
			}
		}
	}
}

// The page of another site cannot post events by the browser of someone on this machine,
// where everyone may.
func TestAnotherSitesPage(t *testing.T) {
	p := newPark(t, "ACCESS=open")
	forged := event(parking.Exit, "forged", "KA01AB1234", "default", time.Hour)
	evil := func(contentType string, more ...string) http.Header {
		h := http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}, "Content-Type": {contentType}}
		if contentType == "" {
			h["Content-Type"] = nil
		}
		for i := 0; i < len(more); i += 2 {
			if h.Set(more[i], more[i+1]); more[i+1] == "" {
				h.Del(more[i])
			}
		}
		return h
	}
	const plain, form, parts = "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	for name, q := range map[string]request{
		"fetch":                  {header: evil(plain)},
		"fetch of JSON":          {header: evil("application/json")},
		"a form":                 {header: evil(form)},
		"a form with files":      {header: evil(parts)},
		"a form of text":         {header: evil("text/plain")},
		"a Blob without a type":  {header: evil("")},
		"a sibling's page":       {header: evil("application/json", "Sec-Fetch-Site", "same-site")},
		"an older browser":       {header: evil(plain, "Sec-Fetch-Site", "")},
		"an older browser, JSON": {header: evil("application/json", "Sec-Fetch-Site", "")},
		"a sandboxed frame":      {header: evil(plain, "Sec-Fetch-Site", "", "Origin", "null")},
		"no Origin, text":        {header: evil(plain, "Sec-Fetch-Site", "", "Origin", "")},
		"no Origin, a form":      {header: evil(form, "Sec-Fetch-Site", "", "Origin", "")},
		"no Origin, files":       {header: evil(parts, "Sec-Fetch-Site", "", "Origin", "")},
		"no Origin, no type":     {header: evil("", "Sec-Fetch-Site", "", "Origin", "")},
		"two types":              {header: http.Header{"Content-Type": {"application/json", "text/plain"}}},
		"an image":               {method: "GET", header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}, "Content-Type": nil}},
	} {
		for form, body := range map[string]string{"one event": forged, "a batch": string(batch.AppendRequest(nil, "/q", []batch.Event{{ID: "m", Data: []byte(forged)}}))} {
			if q.method == "GET" {
				body = ""
			}
			q.kind, q.body = parking.Exit, body
			if status, text := p.send(t, q); status != 403 && status != 405 && status != 415 || !strings.HasPrefix(text, `{"error":"`) {
				t.Errorf("%s with %s: %d %s", name, form, status, text)
			}
		}
	}
	if n := p.keys(t); n != 0 {
		t.Errorf("another site's page has left %d keys", n)
	}
	for name, header := range map[string]http.Header{
		"a program":                {"Content-Type": {"application/json"}},
		"a program, with UTF-8":    {"Content-Type": {"application/json; charset=utf-8"}},
		"a page of our own origin": {"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {strings.TrimSuffix(p.urls[parking.Exit], "/")}},
	} {
		if status, text := p.send(t, request{kind: parking.Exit, header: header, body: forged}); status != 200 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if n := p.keys(t); n == 0 {
		t.Error("our own events are not recorded")
	}
}

// The connector posts messages as they are to a function without batches: whatever
// their content type, with its token.
func TestRawMessages(t *testing.T) {
	p := newPark(t)
	for i, contentType := range []string{"application/json", "text/plain", "application/octet-stream", "application/vnd.camera+json", "text/json; x", ""} {
		header := http.Header{"Content-Type": {contentType}, "X-Connector": {"rabbitmq"}}
		if contentType == "" {
			header["Content-Type"] = nil
		}
		q := request{kind: parking.Entry, by: "connector", header: header, body: event(parking.Entry, fmt.Sprint(i), fmt.Sprint("CAR", i), "default", time.Hour)}
		if status, text := p.send(t, q); status != 200 || !strings.Contains(text, `"outcome":"done"`) {
			t.Errorf("a message of type %q: %d %s", contentType, status, text)
		}
		q.by = "stranger"
		if status, text := p.send(t, q); status != 401 && status != 415 {
			t.Errorf("a message of type %q of a stranger: %d %s", contentType, status, text)
		}
	}
}
