package summary

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"parkstream/shared/eventually"
	"parkstream/shared/monitor"
)

func TestSystemEndpoint(t *testing.T) {
	redis := newEndpoint(t)
	nowhere := func(context.Context) (string, error) { return "http://127.0.0.1:1", nil }
	h := admitting{t, NewHandler(Config{
		Access: newGuard(t, "", theToken), Stays: redis.stays, Sites: redis.events, Log: slog.New(slog.DiscardHandler),
		Monitor: monitor.New(nowhere, "", redis.client.Writable, slog.New(slog.DiscardHandler)),
	})}
	e := &endpoint{Handler: h}
	state := func() string {
		parts := answered[monitor.Snapshot](t, e, "/system").Parts
		i := slices.IndexFunc(parts, func(p monitor.Part) bool { return p.Name == "redis" })
		return parts[i].State
	}
	if got := state(); got != "up" {
		t.Error(got)
	}
	if w := e.call("GET", "/system?x=1", ""); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if err := redis.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "Redis to be unreachable", func() bool { return state() == "unreachable" })
}
