package generator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/eventually"
	"parkstream/shared/faas"
	"parkstream/shared/faas/faastest"
	"parkstream/shared/generator"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/process"
)

func TestWireReportsEveryMistake(t *testing.T) {
	wire := func(rt *faas.Runtime) error {
		_, err := generator.Wire(rt)
		return err
	}
	dir := t.TempDir()
	run := func(environ ...string) []string { return faastest.Mistakes(t, wire, dir, environ...) }
	want := []string{
		`cannot start:`,
		`DEFAULT_COUNT is 10001, want 1 to 10000: anyone may make a call without parameters`,
		`DEFAULT_ABOVE is 101, want 0 to 100`,
		`DEFAULT_SITE: site "a b" must be 1 to 64 ASCII letters, digits, dots, hyphens or underscores`,
		`SCHEDULE is "* * * *", want a cron expression as in the annotation schedule: expected exactly 5 fields, found 4: [* * * *]`,
		`RETENTION is 5s, want at least 1h`,
		`secret redis-url: put it into the file ` + filepath.Join(dir, "redis-url") + `, or name its folder in SECRETS_DIR: file does not exist`,
	}
	if diff := cmp.Diff(want, run("DEFAULT_COUNT=10001", "DEFAULT_ABOVE=101", "DEFAULT_SITE=a b", "SCHEDULE=* * * *", "RETENTION=5")); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}

	if err := os.WriteFile(filepath.Join(dir, "redis-url"), []byte("postgres://user:hidden@host/"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(run(), "\n"); !strings.Contains(got, `unknown scheme "postgres"`) || strings.Contains(got, "hidden") {
		t.Error(got)
	}
}

// Behind the server of a function the parameters in a body arrive, up to its bound.
func TestBodyOfACall(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{"redis-url": instancetest.Redis(t).URL(), "rabbitmq-url": rabbit.URL()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const limit = 8 << 10
	padded := func(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }
	for name, newHandler := range map[string]func(generator.Config) http.Handler{"entry": generator.NewEntryHandler, "exit": generator.NewExitHandler} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, newHandler, "ACCESS=open", "SECRETS_DIR="+dir, "DEFAULT_COUNT=2", "ENTRY_QUEUE=body.entries", "EXIT_QUEUE=body.exits")
			if status, a := callWith(t, "POST", url, nil); status != http.StatusOK || a.Published != 2 {
				t.Errorf("cron's call: %d %+v", status, a)
			}
			for _, tt := range []struct {
				method, query, body string
				status, published   int
			}{
				{"POST", "", `{"count":3}`, 200, 3},
				{"POST", "?count=4", `{"site":"a"}`, 200, 4},
				{"POST", "", padded(`{"count":5}`, limit), 200, 5},
				{"POST", "", padded(`{"count":5}`, limit+1), 413, 0},
				{"POST", "", `{"count":0}`, 400, 0},
				{"GET", "", `{"count":3}`, 405, 0},
			} {
				for sent, body := range map[string]io.Reader{"whole": strings.NewReader(tt.body), "in chunks": io.MultiReader(strings.NewReader(tt.body))} {
					status, a := callWith(t, tt.method, url+tt.query, body)
					if status != tt.status || a.Published != tt.published {
						t.Errorf("%s %s %.20s, %d bytes %s: %d %+v, want %d with %d published",
							tt.method, tt.query, tt.body, len(tt.body), sent, status, a, tt.status, tt.published)
					}
				}
			}
		})
	}
}

// serve runs a generator as a function until the end of the test and returns its URL.
func serve(t *testing.T, newHandler func(generator.Config) http.Handler, environ ...string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var service http.Handler
	wire := func(rt *faas.Runtime) error {
		config, err := generator.Wire(rt)
		service = newHandler(config)
		return err
	}
	handle := func(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- faas.Run(ctx, process.Options{Name: t.Name(), Environ: environ, Listener: listener}, wire, handle)
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

func callWith(t *testing.T, method, url string, body io.Reader) (status int, a answer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, a
}

// A generator that cannot publish is not ready and gives the reason, as does the
// response to a call. It is ready as soon as the secret is right.
func TestReadyIfRabbitMQIs(t *testing.T) {
	dir := t.TempDir()
	write := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("redis-url", instancetest.Redis(t).URL())
	good, err := url.Parse(rabbit.URL())
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*url.URL)) string {
		u := *good
		change(&u)
		return u.String()
	}
	base := serve(t, generator.NewEntryHandler, "ACCESS=open", "SECRETS_DIR="+dir, "DEFAULT_COUNT=1", "ENTRY_QUEUE="+t.Name())
	ready := func() string {
		resp, err := http.Get(base + "_/ready")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(resp.StatusCode, " ", string(bytes.TrimSpace(text)))
	}
	becomes := func(want string) {
		t.Helper()
		eventually.Succeeds(t, "it answers "+want, func() error {
			if got := ready(); got != want { // it waits for a connection while there is none
				return fmt.Errorf("it answers %s", got)
			}
			return nil
		})
	}
	unready := func(why string) string {
		return `503 {"ready":false,"failing":["rabbitmq"],"details":{"rabbitmq":"` + why + `"}}`
	}
	becomes(unready("the secret rabbitmq-url cannot be read"))
	for _, tt := range []struct{ url, want string }{
		{with(func(u *url.URL) { u.User = url.UserPassword("parkstream", "wrong") }), "RabbitMQ refuses the login of rabbitmq-url"},
		{with(func(u *url.URL) { u.Path = "/none" }), "RabbitMQ has no virtual host as in rabbitmq-url, or none for its user"},
		{with(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "RabbitMQ refuses connections"},
		{"hidden", "RabbitMQ cannot be used now"},
		{"\n", "the secret rabbitmq-url cannot be read"},
	} {
		write("rabbitmq-url", tt.url)
		becomes(unready(tt.want))
	}
	write("rabbitmq-url", rabbit.URL())
	becomes(`200 {"ready":true}`)
	if status, a := callWith(t, "POST", base, strings.NewReader("")); status != http.StatusOK || a.Published != 1 {
		t.Errorf("a call is answered with %d %+v", status, a)
	}
}
