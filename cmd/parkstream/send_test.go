package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSendWithoutRabbitMQ wants an answer at once, not a wait without end, and no
// password in it.
func TestSendWithoutRabbitMQ(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	events := write("events.jsonl", `{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`)
	for _, tt := range []struct{ name, urlFile, want string }{
		{"no file", filepath.Join(dir, "nothing"), "no such file"},
		{"refused", write("refused", "amqp://user:hunter2@127.0.0.1:1/"), "connection refused"},
		{"no URL", write("garbage", "http://user:hunter2@127.0.0.1:1/"), "not of the form amqp://"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := sendCommand{File: events, Format: "auto", RabbitMQURLFile: tt.urlFile}.Run(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			t.Errorf("%s: waited, then %v", tt.name, err)
		case !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "does `parkstream up` run?") || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestSendPaceIsANumber(t *testing.T) {
	for _, pace := range []float64{-1, math.NaN()} {
		if err := (sendCommand{File: "nothing", Pace: pace}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--pace") {
			t.Errorf("%g: %v", pace, err)
		}
	}
}
