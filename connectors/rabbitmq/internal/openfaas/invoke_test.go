package openfaas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"parkstream/shared/batch"
)

// serve returns a gateway behind which every function does as handler does.
func serve(t testing.TB, handler http.HandlerFunc) *Gateway {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return gatewayAt(t, server.URL)
}

func gatewayAt(t testing.TB, url string) *Gateway {
	t.Helper()
	g, err := NewGateway(GatewayConfig{URL: url + "/", Connector: "test", Credential: func() (user, password string, err error) { return "", "", nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.CloseIdleConnections)
	return g
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hang answers nothing until the caller is gone, which the server notices only once the body
// is read.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// The outcomes of a call, by the behaviour of the function or of a proxy.
func TestInvoke(t *testing.T) {
	const done, retry = `{"results":[{"id":"1","outcome":"done"},{"id":"2","outcome":"retry","reason":"busy"}]}`, `{"results":[{"id":"1","outcome":"retry","unavailable":true,"reason":"shard 2"}]}`
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half an answer")
	}
	for _, tt := range []struct {
		name       string
		function   http.HandlerFunc
		raw        bool
		verdict    batch.Verdict
		outcomes   string
		status     int
		reason     string
		retryAfter time.Duration
	}{
		{"done", answer(200, done), false, batch.Answered, "done retry", 200, "", 0},
		{"one is not named", answer(200, `{"results":[{"id":"2","outcome":"reject"}]}`), false, batch.Answered, "retry reject", 200, "", 0},
		{"no contract", answer(200, "ok"), false, batch.Crash, "", 200, "does not speak the batch contract", 0},
		{"no body", answer(200, ""), false, batch.Crash, "", 200, "does not speak the batch contract", 0},
		{"raw", answer(200, "whatever"), true, batch.Answered, "done", 200, "", 0},
		{"raw, accepted", answer(202, ""), true, batch.Answered, "done", 202, "", 0},
		{"throttled", answer(429, " slow \n", "Retry-After", "7"), false, batch.Outage, "", 429, "429 Too Many Requests: slow", 7 * time.Second},
		{"no such function", answer(404, ""), false, batch.Outage, "", 404, "404 Not Found", 0},
		{"unavailable", answer(503, "", "Retry-After", "86400"), false, batch.Outage, "", 503, "503 Service Unavailable", maxRetryAfter},
		{"unavailable by event", answer(503, retry+""), false, batch.Outage, "", 503, "503", 0},
		{"all unavailable", answer(503, strings.ReplaceAll(done, `"done"`, `"retry","unavailable":true`)), false, batch.Outage, "", 503, "503", 0},
		{"raw, unavailable by event", answer(503, retry), true, batch.Outage, "", 503, "503", 0},
		{"crashed", answer(502, "EOF"), false, batch.Crash, "", 502, "502 Bad Gateway: EOF", 0},
		{"refused", answer(400, "not for me"), false, batch.Refused, "", 400, "400 Bad Request: not for me", 0},
		{"moved", answer(302, "", "Location", "http://127.0.0.1:1/"), false, batch.Classify(302), "", 302, "302 Found", 0},
		{"a long reason", answer(500, strings.Repeat("x", 5000)), false, batch.Crash, "", 500, "500 Internal Server Error: " + strings.Repeat("x", maxText), 0},
		{"huge", answer(200, strings.Repeat(" ", 10_001)), false, batch.Crash, "", 200, "larger than 10000 bytes", 0},
		{"cut short", cut, false, batch.Crash, "", 200, "cut short", 0},
		{"silent", hang, false, batch.Crash, "", 0, "no answer within 100ms", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, tt.function)
			g.limit = 10_000
			f, r := &Function{Name: "fn", BatchSize: 10, Timeout: 10 * time.Second}, Request{Events: []batch.Event{{ID: "1"}, {ID: "2"}}}
			if tt.raw {
				f.BatchSize, r = 0, Request{Body: []byte("hello")}
			}
			if tt.name == "silent" {
				f.Timeout = 100 * time.Millisecond
			}
			got := g.Invoke(t.Context(), f, r)
			var outcomes []string
			for _, result := range got.Results {
				outcomes = append(outcomes, string(result.Outcome))
			}
			if got.Verdict != tt.verdict || strings.Join(outcomes, " ") != tt.outcomes || got.Status != tt.status || !strings.Contains(got.Reason, tt.reason) || (got.Reason == "") != (tt.reason == "") || got.RetryAfter != tt.retryAfter || got.Cancelled || got.Took <= 0 {
				t.Errorf("%+v", got)
			}
			if len(got.Reason) > maxText+100 {
				t.Errorf("the reason has %d bytes", len(got.Reason))
			}
		})
	}
}

// A gateway that cannot be reached is an outage: no function has seen the events.
func TestGatewayIsUnreachable(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := gatewayAt(t, url).Invoke(t.Context(), &Function{Name: "fn", BatchSize: 1, Timeout: 10 * time.Second}, Request{Events: []batch.Event{{ID: "1"}}})
	if got.Verdict != batch.Outage || got.Status != 0 || !strings.Contains(got.Reason, "cannot be reached") {
		t.Errorf("%+v", got)
	}
	got = gatewayAt(t, "http://gateway:port").Invoke(t.Context(), &Function{Name: "fn", Timeout: time.Second}, Request{})
	if got.Verdict != batch.Outage || !strings.Contains(got.Reason, "port") {
		t.Errorf("with a mistake in the URL: %+v", got)
	}
}

// A call that its caller gives up came to nothing.
func TestACallIsCancelled(t *testing.T) {
	called := make(chan struct{})
	g := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(called)
		hang(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-called
		cancel()
	}()
	if got := g.Invoke(ctx, &Function{Name: "fn", Timeout: time.Minute}, Request{Body: []byte("x")}); !got.Cancelled || got.Verdict != 0 || got.Reason != "" {
		t.Errorf("%+v", got)
	}
}

// What a function gets: a batch with its source, or the message as it is with those of
// its fields that HTTP can carry.
func TestRequests(t *testing.T) {
	type request struct {
		path, body string
		header     http.Header
	}
	got := make(chan request, 1)
	g := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- request{r.URL.Path, string(body), r.Header}
	})
	long := strings.Repeat("x", MaxField)
	for _, tt := range []struct {
		batchSize int
		r         Request
		body      string
		header    map[string]string // "" for none
	}{
		{
			10,
			Request{Source: "/rabbitmq/q", Events: []batch.Event{{ID: "1", Data: []byte("{}")}}, Header: []Field{{"X-Other", "x"}}},
			`[{"specversion":"1.0","id":"1","source":"/rabbitmq/q","type":"io.parkstream.delivery","data":{}}]`,
			map[string]string{"Content-Type": batch.ContentType, "X-Other": ""},
		},
		{10, Request{}, "[]", map[string]string{"Content-Type": batch.ContentType}},
		{
			0,
			Request{Body: []byte("hello"), Header: []Field{
				{"Content-Type", "text/plain"},
				{"x-one", "first"},
				{"X-One", "second"},
				{"X-Empty", ""},
				{"X-Line", "a\nb"},
				{"X-Delete", "a\x7f"},
				{"X-Tab", "a\tb"},
				{"X-Text", "ü"},
				{"X-Long", long},
				{"X-Longer", long + "x"},
				{"X-Topic", "another"},
				{"X-Call-Id", "another"},
				{"X-Connector", "another"},
			}},
			"hello",
			map[string]string{"Content-Type": "text/plain", "X-One": "first", "X-Empty": "", "X-Line": "", "X-Delete": "", "X-Tab": "a\tb", "X-Text": "ü", "X-Long": long, "X-Longer": ""},
		},
		{0, Request{}, "", map[string]string{"Content-Type": ""}},
	} {
		tt.r.CallID, tt.r.Topic = "call-1", "q"
		if response := g.Invoke(t.Context(), &Function{Name: "fn.blue", BatchSize: tt.batchSize, Timeout: 10 * time.Second}, tt.r); response.Status != http.StatusOK {
			t.Fatalf("%+v", response)
		}
		r := <-got
		if r.path != "/function/fn.blue" || r.body != tt.body || r.header.Get("X-Call-Id") != "call-1" || r.header.Get("X-Topic") != "q" || r.header.Get("X-Connector") != "test" {
			t.Errorf("%+v", r)
		}
		for name, want := range tt.header {
			if values := r.header.Values(name); strings.Join(values, "|") != want {
				t.Errorf("%s is %q, want %q", name, values, want)
			}
		}
	}
}

const testToken = "1f0d-the-token"

// tokenGateway returns a gateway at a URL with a token.
func tokenGateway(t *testing.T, url string, token func() (string, error)) *Gateway {
	t.Helper()
	g, err := NewGateway(GatewayConfig{URL: url, Connector: "test", Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.CloseIdleConnections)
	return g
}

// The token goes to functions with the annotation only, in each call as it is then, and
// no header of a message takes its place.
func TestWhoGetsTheToken(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.Path+" "+strings.Join(r.Header.Values("Authorization"), "|"))
	}))
	defer server.Close()
	tokens := []string{"first", "second", ""}
	reads := 0
	g := tokenGateway(t, server.URL, func() (string, error) {
		reads++
		return tokens[reads-1], nil
	})
	for _, f := range []*Function{
		{Name: "others"},
		{Name: "ours", SendToken: true},
		{Name: "batches", BatchSize: 1},
		{Name: "ours", BatchSize: 1, SendToken: true},
		{Name: "ours", SendToken: true},
	} {
		f.Timeout = 10 * time.Second
		g.Invoke(t.Context(), f, Request{Header: []Field{{"X-Rabbitmq-Header-Authorization", "Bearer forged"}}})
	}
	want := []string{"/function/others ", "/function/ours Bearer first", "/function/batches ", "/function/ours Bearer second", "/function/ours "}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") || reads != 3 {
		t.Errorf("%d reads, calls\n%s\nwant\n%s", reads, strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
}

// A redirect is an outage, and takes the token nowhere.
func TestTheTokenFollowsNoRedirect(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s, Authorization %q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{other.URL + "/function/ours", "/async-function/ours"} { // elsewhere, and of the same host
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/function/ours" {
					t.Errorf("%s was called", r.URL)
				}
				http.Redirect(w, r, to, status)
			}))
			g := tokenGateway(t, server.URL, func() (string, error) { return testToken, nil })
			got := g.Invoke(t.Context(), &Function{Name: "ours", SendToken: true, Timeout: 10 * time.Second}, Request{})
			if got.Verdict != batch.Outage || got.Status != status || strings.Contains(got.Reason, testToken) {
				t.Errorf("%d to %s: %+v", status, to, got)
			}
			server.Close()
		}
	}
}

// A token that cannot be read or sent is an outage of the functions that take it, without
// a call, and of no other function.
func TestATokenThatCannotBeSent(t *testing.T) {
	for _, tt := range []struct {
		token string
		err   error
		want  string
	}{
		{"", errors.New("permission denied"), "the function ours takes the connector's token, which cannot be read: permission denied"},
		{"two\nlines", nil, "connector-token has a control character or several lines"},
		{"a\x00b", nil, "connector-token has a control character"},
	} {
		called := 0
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
		g := tokenGateway(t, server.URL, func() (string, error) { return tt.token, tt.err })
		got := g.Invoke(t.Context(), &Function{Name: "ours", SendToken: true, Timeout: 10 * time.Second}, Request{})
		if got.Verdict != batch.Outage || !got.Setup || !strings.Contains(got.Reason, tt.want) || called != 0 || tt.token != "" && strings.Contains(got.Reason, tt.token) {
			t.Errorf("%q: %+v after %d calls", tt.token, got, called)
		}
		if got := g.Invoke(t.Context(), &Function{Name: "others", Timeout: 10 * time.Second}, Request{}); got.Verdict != batch.Answered {
			t.Errorf("another function: %+v", got)
		}
		server.Close()
	}
}

// What refuses the connector, and what refuses an event.
func TestRefusals(t *testing.T) {
	const refuses = "the function fn refuses the connector's token "
	for _, tt := range []struct {
		function Function
		token    string
		status   int
		body     string
		verdict  batch.Verdict
		setup    bool
		reason   string
	}{
		{Function{SendToken: true}, testToken, 401, "no such token", batch.Outage, true, refuses + "(401): Unauthorized: no such token"},
		{Function{SendToken: true}, testToken, 403, "", batch.Outage, true, refuses + "(403): Forbidden"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 401, "", batch.Outage, true, refuses + "(401): Unauthorized"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 403, "not yours", batch.Outage, true, refuses + "(403): Forbidden: not yours"},
		{Function{SendToken: true, BatchSize: 5}, "", 401, "log in", batch.Outage, true, refuses + "(401): there is none, create the secret connector-token; Unauthorized: log in"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 415, "", batch.Outage, true, "the function fn refuses batches of type " + batch.ContentType + " (415): Unsupported Media Type"},
		{Function{BatchSize: 5}, "", 415, "", batch.Outage, true, "the function fn refuses batches of type " + batch.ContentType + " (415): Unsupported Media Type"},
		{Function{SendToken: true}, testToken, 415, "text?", batch.Outage, false, "415 Unsupported Media Type: text?"},
		{Function{}, "", 415, "text?", batch.Refused, false, "415 Unsupported Media Type: text?"},
		{Function{}, "", 401, "", batch.Outage, false, "401 Unauthorized"},
		{Function{BatchSize: 5}, "", 403, "", batch.Outage, false, "403 Forbidden"},
		// Other statuses are what they were.
		{Function{SendToken: true, BatchSize: 5}, testToken, 400, "", batch.Refused, false, "400 Bad Request"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 404, "", batch.Outage, false, "404 Not Found"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 500, "", batch.Crash, false, "500 Internal Server Error"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 503, "access is not set up", batch.Outage, false, "503 Service Unavailable: access is not set up"},
		// A function that answers with what it got.
		{Function{SendToken: true}, testToken, 401, "Bearer " + testToken + "?", batch.Outage, true, refuses + "(401): Unauthorized: Bearer [token]?"},
		{Function{SendToken: true}, testToken, 500, strings.Repeat("x", maxText-7) + testToken, batch.Crash, false, "500 Internal Server Error: " + strings.Repeat("x", maxText-7) + "[token]"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 503, `{"results":[{"id":"1","outcome":"retry","unavailable":true,"reason":"got ` + testToken + `"}]}`, batch.Outage, false, "got [token]"},
		{Function{SendToken: true, BatchSize: 5}, testToken, 200, `{"` + testToken + `":1,"` + testToken + `":2}`, batch.Crash, false, batch.ErrNoContract.Error() + `: jsontext: duplicate object member name "[token]"`},
	} {
		g := serve(t, answer(tt.status, tt.body))
		g.token = func() (string, error) { return tt.token, nil }
		f := tt.function
		f.Name, f.Timeout = "fn", 10*time.Second
		got := g.Invoke(t.Context(), &f, Request{Events: []batch.Event{{ID: "1"}}})
		if got.Verdict != tt.verdict || got.Setup != tt.setup || got.Reason != tt.reason || got.Status != tt.status {
			t.Errorf("%+v, token %q, %d: %+v", tt.function, tt.token, tt.status, got)
		}
	}
	g := serve(t, answer(200, `{"results":[{"id":"1","outcome":"reject","reason":"got `+testToken+`"}]}`))
	g.token = func() (string, error) { return testToken, nil }
	got := g.Invoke(t.Context(), &Function{Name: "fn", BatchSize: 1, SendToken: true, Timeout: 10 * time.Second}, Request{Events: []batch.Event{{ID: "1"}}})
	if len(got.Results) != 1 || got.Results[0].Reason != "got [token]" {
		t.Errorf("%+v", got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "99999999999": maxRetryAfter, "9223372036854775808": 0, "soon": 0, "1.5": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0, now.AddDate(1, 0, 0).Format(http.TimeFormat): maxRetryAfter,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Every status has a verdict, and only those of a success an outcome.
func TestStatuses(t *testing.T) {
	for status := 200; status < 600; status++ {
		r := Response{Status: status}
		r.read(http.Header{}, nil, &Function{}, "", nil)
		if want := batch.Classify(status); r.Verdict != want || (r.Results != nil) != (want == batch.Answered) || (r.Reason == "") != (want == batch.Answered) || want != batch.Answered && !strings.HasPrefix(r.Reason, fmt.Sprint(status)) {
			t.Errorf("%+v", r)
		}
	}
}
