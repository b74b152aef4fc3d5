package rabbitmq

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"parkstream/shared/batch"
	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

// The connector's token is missing, then wrong, then right, then withdrawn: the events
// wait, spend no attempt, and go on without a restart. Readiness and log name the function
// and the cause, and never the token. Of two functions only the one that asks for the
// token gets it.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"", "10"} {
		t.Run("batches-of-"+size, func(t *testing.T) {
			t.Parallel()
			const right, wrong = "the-right-token", "the-wrong-token"
			annotations := map[string]string{annotationMaxAttempts: "2", annotationSendToken: "true"}
			if size != "" {
				annotations[annotationBatchSize] = size
			}
			queue, g, f := deployed(t, annotations)
			other := g.add("other", queueName(t)+".other", nil)
			declareQueue(t, other.annotations[annotationTopic])
			var status atomic.Int64 // of a wrong token
			status.Store(http.StatusUnauthorized)
			f.setScript(func(w http.ResponseWriter, r *http.Request, _ []string) bool {
				got := r.Header.Get("Authorization")
				if got == "Bearer "+right {
					return false
				}
				http.Error(w, "no such token: "+got, int(status.Load())) // as an unwise function would
				return true
			})
			secrets, log := t.TempDir(), new(lockedText)
			c := startConnector(t, g, func(cfg *Config) {
				cfg.SecretsDir = secrets
				cfg.Log = process.NewLogger(io.MultiWriter(log, t.Output()), "text", slog.LevelDebug)
			})
			refused := func(what, cause string) {
				t.Helper()
				eventually.True(t, what, func() bool {
					code, text := readyz(c)
					return code == http.StatusServiceUnavailable && strings.Contains(text, "the function fn refuses the connector's token "+cause)
				})
			}
			publish(t, events(queue, "early", 20)...)
			refused("a missing token is told", "(401): there is none, create the secret connector-token; Unauthorized: no such token")
			writeSecret(t, secrets, "connector-token", wrong)
			refused("a wrong token is told", "(401): Unauthorized: no such token: Bearer [token]")
			calls := f.callCount()
			eventually.True(t, "it is probed often", func() bool { return f.callCount() > calls+10 })
			writeSecret(t, secrets, "connector-token", right+"\n")
			c.settled(t, queue, 20)
			if code, text := readyz(c); code != http.StatusOK {
				t.Errorf("ready: %d %s", code, text)
			}
			status.Store(http.StatusForbidden)
			writeSecret(t, secrets, "connector-token", wrong+"-too")
			publish(t, append(events(queue, "late", 20), events(other.annotations[annotationTopic], "theirs", 5)...)...)
			refused("a token without the right is told", "(403): Forbidden: no such token: Bearer [token]")
			eventually.True(t, "the other function goes on", func() bool { once, _ := other.done(); return once == 5 })
			writeSecret(t, secrets, "connector-token", right)
			c.settled(t, queue, 40)
			if once, twice := f.done(); once != 40 || twice != 0 {
				t.Errorf("%d events are done once, %d twice", once, twice)
			}
			if dead := takeDead(t, queue); len(dead) > 0 {
				t.Errorf("%d dead letters, the first with %v", len(dead), dead[0].Headers)
			}
			metrics := c.scrape(t)
			if spent := fmt.Sprintf(`outcomes_total{function="fn",outcome="retry",queue=%q}`, queue); strings.Contains(metrics, spent) {
				t.Error("an event has spent an attempt")
			}
			for _, status := range []string{"401", "403"} {
				if want := fmt.Sprintf(`parkstream_connector_setup_refusals_total{function="fn",status=%q} `, status); !strings.Contains(metrics, want) {
					t.Errorf("the metrics lack %s", want)
				}
			}
			other.mu.Lock()
			defer other.mu.Unlock()
			for _, h := range other.headers {
				if h.Get("Authorization") != "" {
					t.Errorf("the other function got the headers %v", h)
				}
			}
			if text := log.String(); !strings.Contains(text, "the function fn refuses the connector's token (401)") || strings.Contains(text, right) || strings.Contains(text, wrong) {
				t.Errorf("the log tells no refusal, or a token:\n%s", text)
			}
		})
	}
}

// A function that refuses batches, ours or not, makes no dead letters.
func TestRefusedBatches(t *testing.T) {
	t.Parallel()
	queue, g, f := deployed(t, map[string]string{annotationBatchSize: "10", annotationMaxAttempts: "2"})
	var refuses atomic.Bool
	refuses.Store(true)
	f.setScript(func(w http.ResponseWriter, r *http.Request, _ []string) bool {
		if refuses.Load() {
			http.Error(w, "only application/json", http.StatusUnsupportedMediaType)
		}
		return refuses.Load()
	})
	publish(t, events(queue, "e", 30)...)
	c := startConnector(t, g, nil)
	eventually.True(t, "it is told", func() bool {
		_, text := readyz(c)
		return strings.Contains(text, "the function fn refuses batches of type "+batch.ContentType+" (415): Unsupported Media Type: only application/json")
	})
	refuses.Store(false)
	if counters := c.settled(t, queue, 30); counters["dead_lettered"] != 0 {
		t.Errorf("counters %v", counters)
	}
}

// The connector's own port serves health, readiness and metrics to GET and HEAD, and
// nothing else: no profiles, and nothing with which it can be changed.
func TestRoutesOfTheConnectorsPort(t *testing.T) {
	p, err := process.New(process.Options{Environ: []string{"SECRETS_DIR=/nonexistent"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	service, err := wire(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/healthz", 200},
		{"HEAD", "/healthz", 200},
		{"GET", "/readyz", 503},
		{"GET", "/readyz?verbose", 503},
		{"GET", "/metrics", 200},
		{"POST", "/healthz", 405},
		{"POST", "/readyz", 405},
		{"PUT", "/metrics", 404},
		{"DELETE", "/metrics", 404},
		{"GET", "/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/debug/pprof/heap", 404},
		{"GET", "/debug/pprof/cmdline", 404},
		{"GET", "/debug/vars", 404},
		{"GET", "/metrics/", 404},
		{"GET", "/system/functions", 404},
	} {
		w := httptest.NewRecorder()
		service.Handler.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d\n%s", tt.method, tt.path, w.Code, tt.status, w.Body)
		}
	}
}

// The token is the content of its file without line ends. A missing or empty file is no
// mistake: a connector without functions of ours needs none.
func TestConnectorToken(t *testing.T) {
	dir := t.TempDir()
	token := Settings{SecretsDir: dir}.token()
	if got, err := token(); got != "" || err != nil {
		t.Errorf("without a file: %q, %v", got, err)
	}
	for content, want := range map[string]string{"the-token\r\n": "the-token", "": "", "\n": "", "another": "another"} {
		writeSecret(t, dir, "connector-token", content)
		if got, err := token(); got != want || err != nil {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	unreadable := Settings{SecretsDir: dir + "/connector-token"}.token()
	if got, err := unreadable(); got != "" || err == nil || !strings.Contains(err.Error(), "connector-token") {
		t.Errorf("a folder that is none: %q, %v", got, err)
	}
}
