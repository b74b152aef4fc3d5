package process_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"parkstream/shared/eventually"
	"parkstream/shared/process"
)

func TestReady(t *testing.T) {
	var mu sync.Mutex
	var broken error
	wire := func(p *process.Process) error {
		p.OnReady("fine", func(context.Context) error { return nil })
		p.OnReady("redis", func(context.Context) error { mu.Lock(); defer mu.Unlock(); return broken })
		return nil
	}
	p := start(t, nil, wire)
	check := func(path string, status int, want string) {
		t.Helper()
		if resp, text := get(t, p.url+path); resp.StatusCode != status || text != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, text)
		}
	}
	check("/_/ready", 200, `{"ready":true}`+"\n")
	mu.Lock()
	broken = errors.New("at redis://:password@host")
	mu.Unlock()
	check("/_/ready", 503, `{"ready":false,"failing":["redis"]}`+"\n")
	if n := strings.Count(p.log.String(), "not ready"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, p.log)
	}
}

// A warning is shown and logged, at the start without being asked for, and the
// process is ready all the same.
func TestWarning(t *testing.T) {
	var mu sync.Mutex
	warning := fmt.Errorf("redis: %w", detailed{errors.New("at redis://:password@host")})
	set := func(err error) { mu.Lock(); defer mu.Unlock(); warning = err }
	current := func(context.Context) error { mu.Lock(); defer mu.Unlock(); return warning }
	p := start(t, nil, func(p *process.Process) error {
		p.OnWarning("redis replicas", current)
		p.OnWarning("fine", func(context.Context) error { return nil })
		return nil
	})
	logged := func(what string) {
		t.Helper()
		eventually.Succeeds(t, "the log has "+what, func() error {
			if text := p.log.String(); !strings.Contains(text, what) {
				return fmt.Errorf("it has\n%s", text)
			}
			return nil
		})
	}
	logged(`"msg":"warning","process":"test","check":"redis replicas"`)
	for _, want := range []string{
		`{"ready":true,"warnings":["redis replicas"],"details":{"redis replicas":"one replica is missing"}}`,
		`{"ready":true}`,
	} {
		if resp, text := get(t, p.url+"/_/ready"); resp.StatusCode != 200 || text != want+"\n" {
			t.Errorf("%d %s, want 200 %s", resp.StatusCode, text, want)
		}
		set(nil)
	}
	logged(`"msg":"warning is over"`)
	if n := strings.Count(p.log.String(), `"msg":"warning"`); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, p.log)
	}
}

// What is not ready shows its detail, too, and nothing else of its error.
func TestReadyShowsDetails(t *testing.T) {
	p := start(t, nil, func(p *process.Process) error {
		p.OnReady("redis", func(context.Context) error { return detailed{errors.New("at redis://:password@host")} })
		return nil
	})
	want := `{"ready":false,"failing":["redis"],"details":{"redis":"one replica is missing"}}` + "\n"
	if resp, text := get(t, p.url+"/_/ready"); resp.StatusCode != 503 || text != want {
		t.Errorf("%d %s, want 503 %s", resp.StatusCode, text, want)
	}
}

// detailed is an error that has something to show to everyone.
type detailed struct{ error }

func (detailed) Detail() string { return "one replica is missing" }
