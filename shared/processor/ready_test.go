package processor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/eventually"
	"parkstream/shared/faas"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/process"
	"parkstream/shared/processor"
)

type readiness struct {
	Ready   bool              `json:"ready"`
	Failing []string          `json:"failing"`
	Details map[string]string `json:"details"`
}

// A processor that cannot post stays is not ready and reports the reason, until it can.
// The check posts no stay.
func TestNotReadyWithoutSummary(t *testing.T) {
	node := instancetest.Redis(t)
	dir := t.TempDir()
	for name, value := range map[string]string{"redis-url": node.URL(), "summary-token": "hush"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var status atomic.Int64
	status.Store(http.StatusNotFound)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.Path != "/function/summary" || r.Header.Get("Authorization") != "Bearer hush" || string(body) != "[]" {
			t.Errorf("%s %s %q", r.Method, r.URL, body)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer gateway.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		options := process.Options{Name: "exit-processor", Environ: []string{"ACCESS=open", "SECRETS_DIR=" + dir, "GATEWAY_URL=" + gateway.URL}, Listener: listener}
		ended <- faas.Run(ctx, options, func(rt *faas.Runtime) error {
			_, err := processor.Wire(rt)
			return err
		}, func(handler.Request) (handler.Response, error) {
			return handler.Response{StatusCode: http.StatusOK}, nil
		})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	expect := func(want readiness) {
		t.Helper()
		eventually.Succeeds(t, "its readiness is as wanted", func() error {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+"/_/ready", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			var got readiness
			err = json.NewDecoder(resp.Body).Decode(&got)
			_ = resp.Body.Close()
			if err != nil || got.Ready != (resp.StatusCode == http.StatusOK) {
				t.Fatalf("%s: %+v, %v", resp.Status, got, err)
			}
			if !cmp.Equal(got, want) {
				return fmt.Errorf("it is %+v, want %+v", got, want)
			}
			return nil
		})
	}
	failing := func(detail string) readiness {
		return readiness{Failing: []string{"summary"}, Details: map[string]string{"summary": detail}}
	}
	expect(failing("the summary answers 404: is it deployed, and does GATEWAY_URL or SUMMARY_URL lead there?"))
	status.Store(http.StatusUnauthorized)
	expect(failing("the summary answers 401: its secret summary-token is another one than this function's"))
	status.Store(http.StatusCreated)
	expect(readiness{Ready: true})
}
