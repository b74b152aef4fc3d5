package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"parkstream/docs/api/apitest"
	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/camera/health"
	"parkstream/shared/eventually"
	"parkstream/shared/faas"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/process"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

// rabbit is shared by the tests, each of which has queues of its own.
var rabbit *instance.RabbitMQ

func TestMain(m *testing.M) {
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" {
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

const token = "s3cr/et-token-of-the-gate"

// function is the running function, with a site north of three cameras.
type function struct {
	t     testing.TB
	url   string
	redis *redis.Client
	node  *instance.Redis
	log   *logs
	proxy *brokertest.Proxy
	queue func(parking.Kind) string
}

// logs are what the function has logged.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// cameras of the site north.
func cameras(zone *time.Location) []site.Camera {
	of := func(id string, role site.Role) site.Camera {
		return site.Camera{ID: id, Site: "north", Gate: "g", Role: role, Format: site.Auto, Location: zone, TokenHash: site.HashToken(token)}
	}
	both := of("both", site.Both)
	both.Directions = map[string]parking.Kind{"away": parking.Exit}
	return []site.Camera{of("in", site.Entries), of("out", site.Exits), both}
}

// start runs the function until the end of the test.
func start(t testing.TB, environ ...string) *function {
	t.Helper()
	f := &function{t: t, node: instancetest.Redis(t), log: &logs{}, proxy: brokertest.NewProxy(t, rabbit.URL())}
	var err error
	if f.redis, err = redis.Open(redis.URL(f.node.URL())); err != nil {
		t.Fatal(err)
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if err := site.NewRegistry(f.redis).Put(t.Context(), site.Site{ID: "north", Location: zone, Gates: []site.Gate{{ID: "g"}}, Cameras: cameras(zone)}); err != nil {
		t.Fatal(err)
	}
	f.queue = func(k parking.Kind) string { return t.Name() + "." + k.String() }
	dir := t.TempDir()
	for name, value := range map[string]string{"redis-url": f.node.URL(), "rabbitmq-url": f.proxy.Through(rabbit.URL())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + listener.Addr().String() + "/"
	var service http.Handler
	wire := func(rt *faas.Runtime) error {
		h, err := Wire(rt)
		service = h
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- faas.Run(ctx, process.Options{Name: "camera", Listener: listener, Log: f.log, Environ: append([]string{
			"ACCESS=open", "SECRETS_DIR=" + dir, "MAX_BODY_BYTES=16777216", "LOG_LEVEL=debug",
			"ENTRY_QUEUE=" + f.queue(parking.Entry), "EXIT_QUEUE=" + f.queue(parking.Exit),
		}, environ...)}, wire, func(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		_ = f.redis.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return f
}

// response is an answer of the function.
type response struct {
	status int
	header http.Header
	body   string
}

// post posts a body as a camera does.
func (f *function) post(path string, body io.Reader, header ...string) response {
	return f.do(http.MethodPost, path, body, header...)
}

func (f *function) do(method, path string, body io.Reader, header ...string) response {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	at := "/" + strings.Trim(r.URL.EscapedPath(), "/") // a slash at the end means nothing
	apitest.Check(f.t, "camera", method, at, resp.StatusCode, resp.Header, text)
	return response{resp.StatusCode, resp.Header, string(text)}
}

// events returns the messages that wait in a queue, and acks them.
func (f *function) events(kind parking.Kind) []amqp.Delivery {
	f.t.Helper()
	conn, err := broker.Dial(f.t.Context(), broker.Config{URLs: broker.URLs(func() (string, error) { return rabbit.URL(), nil })})
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		f.t.Fatal(err)
	}
	var all []amqp.Delivery
	for {
		d, ok, err := ch.Get(f.queue(kind), true)
		if err != nil || !ok {
			return all
		}
		all = append(all, d)
	}
}

const bearer = "Bearer " + token

func read(plate string) *strings.Reader {
	return strings.NewReader(fmt.Sprintf(`{"plate":%q,"time":"2026-07-01T08:00:00.250","confidence":0.93}`, plate))
}

func TestCameraPosts(t *testing.T) {
	f := start(t)
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+password))
	}
	escaped := strings.ReplaceAll(token, "/", "%2F")
	const event = `"version":1,"id":"in:fb2c21849dbae6e4bcb735e1","vehicle_plate":"B-PS 1234","entry_date_time":"2026-07-01T06:00:00.25Z","site":"north","gate":"g","camera":"in","confidence":0.93`
	for name, tt := range map[string]struct {
		path   string
		header []string
	}{
		"bearer":                              {"in", []string{"Authorization", bearer}},
		"bearer in another case":              {"in/", []string{"Authorization", "bearer   " + token}},
		"Basic":                               {"in", []string{"Authorization", basic(token)}},
		"X-Api-Key":                           {"in", []string{"X-Api-Key", token}},
		"the last part of the path":           {"in/" + escaped, nil},
		"and what the camera appends to it":   {"in/" + escaped + "/NotificationInfo/TollgateInfo", nil},
		"what the camera appends, and bearer": {"in/NotificationInfo/TollgateInfo", []string{"Authorization", bearer}},
		"a login of the camera's own, too":    {"in/" + escaped, []string{"Authorization", basic("admin")}},
	} {
		got := f.post(tt.path, read("B-PS 1234"), tt.header...)
		want := `{"format":"own","events":[{"kind":"entry",` + event + `}]}` + "\n"
		if got.status != 200 || got.body != want || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s, want %s", name, got.status, got.body, want)
		}
		sent := f.events(parking.Entry)
		if len(sent) != 1 || sent[0].MessageId != "in:fb2c21849dbae6e4bcb735e1" || sent[0].DeliveryMode != amqp.Persistent ||
			string(sent[0].Body) != "{"+strings.TrimPrefix(event, `"version":1,`)+"}" {
			t.Errorf("%s: published %d: %v", name, len(sent), sent)
		}
	}
	for name, tt := range map[string]struct {
		method, path string
		header       []string
		status       int
	}{
		"a wrong bearer token":           {"POST", "in", []string{"Authorization", bearer + "x"}, 401},
		"a wrong Basic password":         {"POST", "in", []string{"Authorization", basic("wrong")}, 401},
		"the token as the Basic name":    {"POST", "in", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(token+":"))}, 401},
		"a wrong X-Api-Key":              {"POST", "in", []string{"X-Api-Key", "wrong"}, 401},
		"a wrong part of the path":       {"POST", "in/wrong", nil, 401},
		"no token":                       {"POST", "in", nil, 401},
		"an empty token":                 {"POST", "in", []string{"Authorization", "Bearer ", "X-Api-Key", ""}, 401},
		"an unknown camera":              {"POST", "other", []string{"Authorization", bearer}, 401},
		"no camera":                      {"POST", "", []string{"Authorization", bearer}, 401},
		"a camera that is no name":       {"POST", "a%0ab/" + escaped, nil, 401},
		"the token in the query":         {"POST", "in?token=" + escaped, nil, 401},
		"in the query by another name":   {"POST", "in?Api-Key=" + escaped, []string{"Authorization", bearer}, 401},
		"GET":                            {"GET", "in", []string{"Authorization", bearer}, 405},
		"PUT":                            {"PUT", "in/" + escaped, nil, 405},
		"gzip":                           {"POST", "in", []string{"Authorization", bearer, "Content-Encoding", "gzip"}, 415},
		"the digest of a token":          {"POST", "in", []string{"Authorization", fmt.Sprintf("Bearer %x", site.HashToken(token))}, 401},
		"the list without being allowed": {"GET", "", nil, 401},
	} {
		got := f.do(tt.method, tt.path, read("B-PS 1234"), tt.header...)
		if got.status != tt.status || !strings.HasPrefix(got.body, `{"error":"`) || strings.Contains(got.body, "s3cr") {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, tt.status)
		}
		if challenge := got.header.Get("Www-Authenticate"); (challenge == "") != (tt.status != 401) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
	}
	if sent := f.events(parking.Entry); len(sent) > 0 {
		t.Errorf("%d events of refused requests", len(sent))
	}
	unknown, wrong := f.post("other", read("A"), "X-Api-Key", "x"), f.post("in", read("A"), "X-Api-Key", "x")
	if unknown.status != wrong.status || unknown.body != wrong.body {
		t.Errorf("an unknown camera is told apart from a wrong token: %v %v", unknown, wrong)
	}
	if text := f.log.String(); strings.Contains(text, "s3cr") || strings.Contains(text, "PS 1234") || strings.Contains(text, "PS1234") {
		t.Errorf("the log has a token or a plate:\n%s", text)
	}
	metrics := f.do("GET", "metrics", nil).body
	for _, want := range []string{
		`parkstream_camera_requests_total{format="own",result="accepted"} 8`, `parkstream_camera_reads_total{format="own",result="event"} 8`,
		`parkstream_camera_refusals_total{reason="camera"} 4`, `parkstream_camera_refusals_total{reason="token"} 9`,
		`parkstream_camera_refusals_total{reason="query"} 2`, `parkstream_camera_refusals_total{reason="encoding"} 1`, `parkstream_camera_skew_seconds{camera="in"}`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// endless is a form whose part never ends.
type endless struct{ head io.Reader }

func (e endless) Read(p []byte) (int, error) {
	if n, err := e.head.Read(p); err == nil {
		return n, nil
	}
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestBodies(t *testing.T) {
	f := start(t)
	const form = "multipart/form-data; boundary=b"
	large := func(size int) []byte {
		head, tail := `{"plate":"A1","time":"2026-07-01T08:00:00","direction":"in","x":"`, `"}`
		return []byte(head + strings.Repeat("x", size-len(head)-len(tail)) + tail)
	}
	for name, tt := range map[string]struct {
		contentType string
		body        io.Reader
		status      int
		want        string
	}{
		"16 MB":                       {"application/json", bytes.NewReader(large(MaxBody)), 200, `"vehicle_plate":"A1"`},
		"16 MB and a byte":            {"application/json", bytes.NewReader(large(MaxBody + 1)), 413, "larger than 16777216 bytes"},
		"16 MB and a byte, in chunks": {"application/json", io.MultiReader(bytes.NewReader(large(MaxBody + 1))), 413, "larger than 16777216 bytes"},
		"a form without end":          {form, endless{strings.NewReader("--b\r\nContent-Disposition: form-data; name=x\r\n\r\n")}, 413, "larger than 16777216 bytes"},
		"a form that is cut off":      {form, strings.NewReader("--b\r\n\r\n{}\r\n--b\r\n\r\n" + "x"), 400, "has no end"},
		"a form without a boundary":   {"multipart/form-data", strings.NewReader("x"), 400, "has no boundary"},
		"too many parts":              {form, strings.NewReader(strings.Repeat("--b\r\n\r\nx\r\n", 100) + "--b--"), 400, "more than 64 parts"},
		"entities":                    {"application/xml", strings.NewReader(`<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><a>&d;</a>`), 400, "document type, which is refused"},
		"an external entity":          {"application/xml", strings.NewReader(`<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>`), 400, "document type, which is refused"},
		"an undefined entity":         {"application/xml", strings.NewReader(`<a>&b;</a>`), 400, "an entity in line 1, which is refused"},
		"deep XML":                    {"application/xml", strings.NewReader(strings.Repeat("<a>", 100_000)), 400, "deeper than 64"},
		"deep JSON":                   {"application/json", strings.NewReader(strings.Repeat("[", 1_000_000)), 400, "deeper than 64"},
		"many members":                {"application/json", strings.NewReader("{" + strings.Repeat(`"m":1,`, 1_000_000) + `"n":1}`), 400, "more than 100000 parts"},
		"JSON that is cut off":        {"application/json", strings.NewReader(`{"plate":`), 400, "malformed"},
		"nothing":                     {"application/json", strings.NewReader(``), 400, "no body"},
		"an unknown format":           {"application/json", strings.NewReader(`{"hello":"world"}`), 422, `members \"hello\". Looked for: axis, blueiris, `},
		"gzip that is not declared":   {"application/json", strings.NewReader("\x1f\x8b\x08\x00\x00"), 422, "neither JSON nor XML nor a form"},
	} {
		got := f.post("in", tt.body, "Authorization", bearer, "Content-Type", tt.contentType)
		if got.status != tt.status || !strings.Contains(got.body, tt.want) {
			t.Errorf("%s: %d %.300s, want %d with %s", name, got.status, got.body, tt.status, tt.want)
		}
	}
	f.events(parking.Entry)
	// One body has reads that are events and reads that are none.
	got := f.post("both", strings.NewReader(`[{"plate":"A1","time":"2026-07-01T08:00:00Z","direction":"entry"},{"plate":"A2","time":"2026-07-01T08:00:00Z","direction":"left"},{"plate":null,"time":"2026-07-01T08:00:01Z","direction":"away"}]`), "X-Api-Key", token)
	if got.status != 200 || !strings.Contains(got.body, `"rejected":"the camera sees both directions, and its configuration does not have the direction \"left\"`) {
		t.Errorf("a part of a body: %d %s", got.status, got.body)
	}
	if entries, exits := f.events(parking.Entry), f.events(parking.Exit); len(entries) != 1 || len(exits) != 1 || !strings.Contains(string(exits[0].Body), `"vehicle_plate":null`) {
		t.Errorf("published %v and %v", entries, exits)
	}
	if kept, err := NewKept(f.redis).list(t.Context(), "both"); err != nil || len(kept) != 1 || kept[0].Status != 200 || !strings.Contains(kept[0].Body, `"A2"`) {
		t.Errorf("kept %+v, %v", kept, err)
	}
	// Of one body a part cannot be read.
	unread := f.post("out", strings.NewReader(`[{"plate":"A1","time":"2026-07-01T08:00:00Z"},{"plate":{}},null,{"packetCounter":1}]`), "X-Api-Key", token)
	if unread.status != 200 || !strings.Contains(unread.body, `"vehicle_plate":"A1"`) || !strings.Contains(unread.body, `"rejected":"element 2 of 4: `) || len(f.events(parking.Exit)) != 1 {
		t.Errorf("a part that cannot be read: %d %s", unread.status, unread.body)
	}
	if metrics := f.do("GET", "metrics", nil).body; !strings.Contains(metrics, `parkstream_camera_reads_total{format="own",result="rejected"} 4`) {
		t.Error("what is rejected is not counted")
	}
	if kept, err := NewKept(f.redis).list(t.Context(), "out"); err != nil || len(kept) != 1 || kept[0].Status != 200 {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// Dahua's cameras send again unless they get their own answer.
func TestAnswerOfAFormat(t *testing.T) {
	f := start(t)
	body, err := os.ReadFile("../testdata/dahua/tollgate.json")
	if err != nil {
		t.Fatal(err)
	}
	got := f.post("in", bytes.NewReader(body), "Authorization", bearer)
	if got.status != 200 || !strings.Contains(strings.ReplaceAll(got.body, " ", ""), `"Result":true`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if sent := f.events(parking.Entry); len(sent) != 1 {
		t.Errorf("%d events", len(sent))
	}
	// What can be no event, however often it comes, must not hold up what comes after it.
	for _, tt := range []struct{ path, body string }{
		{"both", string(body)}, // Obverse is not mapped
		{"in", `{"Picture":{"SnapInfo":{"SnapTime":"later"},"Plate":{"PlateNumber":"A1"}}}`},
	} {
		if got := f.post(tt.path, strings.NewReader(tt.body), "Authorization", bearer); got.status != 200 || got.body != `{"Result":true}` {
			t.Errorf("%s: %d %s", tt.path, got.status, got.body)
		}
		kept, err := NewKept(f.redis).list(t.Context(), tt.path)
		if err != nil || len(kept) != 1 || kept[0].Status != 200 || kept[0].Format != "dahua" {
			t.Errorf("%s: kept %+v, %v", tt.path, kept, err)
		}
	}
	if got := f.post("in", strings.NewReader(string(body[:len(body)/2])), "Authorization", bearer); got.status != 400 {
		t.Errorf("cut off: %d %s", got.status, got.body)
	}
	if metrics := f.do("GET", "metrics", nil).body; !strings.Contains(metrics, `parkstream_camera_requests_total{format="dahua",result="invalid"} 2`) {
		t.Error("what is no event is not counted")
	}
}

// The answer comes after the confirm. While RabbitMQ is unavailable, or does not
// confirm, cameras are told to send again, and what they send again is one event.
func TestBrokerUnavailable(t *testing.T) {
	f := start(t)
	if got := f.post("in", read("A1"), "Authorization", bearer); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	f.events(parking.Entry)
	f.proxy.Pause() // what is published does not arrive, and no confirm does
	if got := f.post("in", read("A2"), "Authorization", bearer); got.status != 503 || got.header.Get("Retry-After") != retryAfter || got.body != `{"error":"RabbitMQ does not answer in time: send it again"}`+"\n" {
		t.Errorf("without a confirm: %d %s", got.status, got.body)
	}
	f.proxy.Resume()
	f.proxy.SetDown(true)
	f.proxy.Cut()
	if got := f.post("in", read("A2"), "Authorization", bearer); got.status != 503 || got.header.Get("Retry-After") != retryAfter || !strings.HasPrefix(got.body, `{"error":"RabbitMQ `) {
		t.Errorf("without RabbitMQ: %d %s", got.status, got.body)
	}
	f.proxy.SetDown(false)
	eventually.True(t, "RabbitMQ to be found again", func() bool { return f.post("in", read("A2"), "Authorization", bearer).status == 200 })
	ids := map[string]bool{}
	for _, d := range f.events(parking.Entry) {
		ids[d.MessageId] = true
	}
	if len(ids) != 1 {
		t.Errorf("events %v, want one", ids)
	}
	if text := f.log.String(); strings.Contains(text, "s3cr") || strings.Contains(text, "A2") {
		t.Errorf("the log has a token or a plate:\n%s", text)
	}
}

func TestRegistryUnavailable(t *testing.T) {
	f := start(t)
	if err := f.node.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, camera := range []string{"in", "other"} { // no copy of the registry was read
		got := f.post(camera, read("A1"), "Authorization", bearer)
		if got.status != 503 || got.header.Get("Retry-After") != retryAfter || !strings.HasPrefix(got.body, `{"error":"the registry of cameras `) {
			t.Errorf("%s: %d %s", camera, got.status, got.body)
		}
	}
}

// Wrong tokens of an address are made to wait, and right ones never are.
func TestStrangersWait(t *testing.T) {
	f := start(t, "TRUSTED_PROXIES=127.0.0.1")
	waiting := 0
	for range 3 * strangerBurst {
		got := f.post("in", read("A1"), "X-Api-Key", "wrong", "X-Forwarded-For", "2001:db8::1")
		if got.status == 429 && got.header.Get("Retry-After") != "" {
			waiting++
		}
	}
	if waiting == 0 {
		t.Error("no wrong token had to wait")
	}
	if got := f.post("in", read("A1"), "X-Api-Key", token, "X-Forwarded-For", "2001:db8::1"); got.status != 200 {
		t.Errorf("the right token from there: %d", got.status)
	}
	if got := f.post("in", read("A1"), "X-Api-Key", "wrong", "X-Forwarded-For", "2001:db8:1::1"); got.status != 401 {
		t.Errorf("a wrong token from elsewhere: %d", got.status)
	}
	if n := strings.Count(f.log.String(), "has no token of a camera"); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	s := newStrangers()
	for i := range maxStrangers + 100 {
		s.wait(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	if n := s.lru.Len(); n != maxStrangers {
		t.Errorf("%d addresses are remembered", n)
	}
	for i := range strangerBurst {
		s.wait(fmt.Sprintf("2001:db8::%x", i))
	}
	if s.wait("2001:db8::ffff:1") == 0 {
		t.Error("an address of the same network of IPv6 does not have to wait")
	}
}

func TestHealth(t *testing.T) {
	f := start(t)
	f.post("in", read("A1"), "Authorization", bearer)
	f.post("in", strings.NewReader(`{"plate":"-","time":"2026-07-01T08:00:01"}`), "Authorization", bearer)
	f.post("in", strings.NewReader(`{"hello":1}`), "Authorization", bearer)
	body, err := os.ReadFile("../testdata/dahua/keepalive.json")
	if err != nil {
		t.Fatal(err)
	}
	f.post("in", bytes.NewReader(body), "Authorization", bearer)
	read := func() health.Health {
		s, err := health.NewReader(f.redis, site.NewRegistry(f.redis)).Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Of("north")[1]
	}
	eventually.True(t, "the health to be written", func() bool { h := read(); return h.LastHeartbeat != nil && h.LastRefused != nil && h.ReadsLastDay == 2 })
	h := read()
	if h.Camera != "in" || h.LastRead == nil || h.LastRequest == nil || h.RefusedLastDay != 1 || *h.NoPlateShare != 0.5 || *h.Confidence != 0.93 || h.SkewSeconds == nil || h.Format == "" {
		t.Errorf("%+v", h)
	}
}

// A request that comes to no event is kept, and shown to administrators without plates
// unless they ask for them.
func TestKept(t *testing.T) {
	f := start(t)
	k := NewKept(f.redis)
	body := `{"Kennzeichen":"KA01AB1234","bild":"` + strings.Repeat("A/9+", 1000) + `"}`
	for range keptOfCamera + 3 {
		if got := f.post("in", strings.NewReader(body), "Authorization", bearer, "User-Agent", "Camera/1"); got.status != 422 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	f.post("out", strings.NewReader(`<Unknown><plate>KA01AB1234</plate></Unknown>`), "Authorization", bearer)
	all, err := k.list(t.Context(), "")
	if err != nil || len(all) != keptOfCamera+1 || all[0].Camera != "out" {
		t.Fatalf("%d are kept, %v", len(all), err)
	}
	got, err := k.list(t.Context(), "in")
	if err != nil || len(got) != keptOfCamera {
		t.Fatalf("%d of the camera are kept, %v", len(got), err)
	}
	if n := f.redis.Current().ZCard(t.Context(), keptKey("in")).Val(); n != keptOfCamera {
		t.Errorf("%d requests of the camera are in Redis", n)
	}
	one := got[0]
	if one.Body != `{"Kennzeichen":"KA01AB1234","bild":"[4000 characters of base64]"}` || one.Status != 422 || one.Site != "north" || one.UserAgent != "Camera/1" ||
		one.Bytes != len(body) || !strings.HasPrefix(one.Reason, "the request is of no known format") {
		t.Errorf("kept %+v", one)
	}
	for _, key := range []string{keptKey("in"), keptIndex} {
		if ttl := f.redis.Current().TTL(t.Context(), key).Val(); ttl <= 0 || ttl > keptFor {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
	if text := f.log.String(); strings.Contains(text, "KA01") {
		t.Errorf("the log has a plate:\n%s", text)
	}
	k.now = func() time.Time { return time.Now().Add(keptFor) }
	if got, err := k.list(t.Context(), "in"); err != nil || len(got) != 0 {
		t.Errorf("a day later: %v, %v", got, err)
	}
	k.now = time.Now
	for i := range keptCameras + 2 {
		if err := k.add(t.Context(), keptRequest{Camera: fmt.Sprint(i), Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.redis.Current().ZCard(t.Context(), keptIndex).Val(); n != keptCameras {
		t.Errorf("%d cameras have kept requests", n)
	}
	if n := f.redis.Current().Exists(t.Context(), keptKey("in"), keptKey("out"), keptKey("0"), keptKey("1")).Val(); n != 0 {
		t.Errorf("of %d cameras that were displaced the requests are still there", n)
	}
}

func TestWithoutPictures(t *testing.T) {
	jpeg := "\xff\xd8\xff\xe0\x00\x10JFIF\x00\n--x\x00\nabc\x01"
	form := "--b\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--b\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + "\r\n--b\r\n\r\nend\r\n--b--"
	for name, tt := range map[string]struct{ body, want string }{
		"text":             {"{\"a\":\n\"ü\"}", "{\"a\":\n\"ü\"}"},
		"a form":           {form, strings.Replace(form, jpeg, fmt.Sprintf("[%d bytes that are no text]", len(jpeg)), 1)},
		"a picture alone":  {jpeg, fmt.Sprintf("[%d bytes that are no text]", len(jpeg))},
		"base64":           {`{"p":"` + strings.Repeat(`ab\/`, 500) + `=="}`, `{"p":"[2002 characters of base64]"}`},
		"base64 in lines":  {"<a>\n" + strings.Repeat(strings.Repeat("A", 76)+"\r\n", 100) + "</a>", "<a>\n[7800 characters of base64]\n</a>"},
		"another encoding": {"<a>\xb3\xb5</a>", "<a>\ufffd</a>"},
		"long":             {strings.Repeat("ab ", keptBytes), strings.Repeat("ab ", keptBytes)[:keptBytes] + "[cut off]"},
		"many lines":       {strings.Repeat("ab\n", keptBytes), strings.Repeat("ab\n", keptBytes)[:keptBytes] + "[cut off]"},
		// An automaton for texts of 512 letters and more took minutes for a body of these.
		"words of 511 letters":   {strings.Repeat(strings.Repeat("a", 511)+" ", 16<<20/512), strings.Repeat(strings.Repeat("a", 511)+" ", keptBytes/512) + "[cut off]"},
		"words of 512 letters":   {"x " + strings.Repeat("a", 512) + "=== " + strings.Repeat("b", 513) + "\n", "x [514 characters of base64]= [513 characters of base64]\n"},
		"a line of a megabyte":   {strings.Repeat("A", 1<<20) + "\nend", "[1048576 characters of base64]\nend"},
		"signs of a megabyte":    {strings.Repeat(":", 1<<20), strings.Repeat(":", keptBytes) + "[cut off]"},
		"exactly what is kept":   {strings.Repeat("ab: ", keptBytes/4), strings.Repeat("ab: ", keptBytes/4)},
		"letters of all scripts": {"ü京" + strings.Repeat("京", 600), "ü京" + strings.Repeat("京", 600)},
		"nothing":                {"", ""},
	} {
		if got := withoutPictures([]byte(tt.body)); got != tt.want {
			t.Errorf("%s: %.200q, want %.200q", name, got, tt.want)
		}
	}
}

func TestShape(t *testing.T) {
	for text, want := range map[string]string{
		`{"plate" : "KA01 ÄB1234","ok":true,"n":-12.5,"x":null,"l":["KA01"]}`: `{"plate" : "AA99 AA9999","ok":true,"n":-99.9,"x":null,"l":["AA99"]}`,
		`{"KA01AB1234":1}`: `{"AA99AA9999":9}`,
		`<e:Plate xmlns:e="http://a"><plateNumber lane="1">KA01</plateNumber></e:Plate>`: `<e:Plate xmlns:e="AAAA://A"><plateNumber lane="9">AA99</plateNumber></e:Plate>`,
		"plate_0=KA01AB&path=x.jpg": "plate_0=AA99AA&path=A.AAA",
		"KA01AB1234":                "AA99AA9999",
		"京A12345 ١٢٣":               "AA99999 999",
		"--b\r\nContent-Type: image/jpeg\r\n\r\n[12 bytes that are no text]": "--A\r\nContent-Type: image/jpeg\r\n\r\n[12 bytes that are no text]",
		`{"a":"[4000 characters of base64]"}`:                                `{"a":"[4000 characters of base64]"}`,
	} {
		if got := shape(text); got != want {
			t.Errorf("shape(%s) = %s, want %s", text, got, want)
		}
	}
}
