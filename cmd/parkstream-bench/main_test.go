package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parkstream/cmd/parkstream-bench/internal/bench"
)

// The small benchmark fails where batches are not worth it, or were not measured.
func TestSmallBenchmarkFails(t *testing.T) {
	rates := func(ours, single float64) *bench.Result {
		return &bench.Result{Drain: &bench.Drain{Results: []*bench.DrainResult{
			{Workload: bench.Entries, Contestant: bench.Ours, Median: ours},
			{Workload: bench.Entries, Contestant: bench.SingleEvent, Median: single},
		}}}
	}
	for _, tt := range []struct {
		name    string
		command benchCommand
		result  *bench.Result
		fails   bool
	}{
		{"six times as fast", benchCommand{Small: true}, rates(6000, 1000), false},
		{"five times as fast", benchCommand{Small: true}, rates(5000, 1000), true},
		{"not measured", benchCommand{Small: true}, &bench.Result{}, true},
		{"not asked for", benchCommand{Small: true, Only: []string{bench.PartGrowth}}, &bench.Result{}, false},
		{"the whole benchmark only reports", benchCommand{}, rates(1000, 1000), false},
	} {
		if err := tt.command.check(tt.result); (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// A benchmark empties its Redis and its queues. It refuses a folder with other data,
// and accepts its own again.
func TestBenchmarkDeletesNoData(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := claim(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, "redis"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	theirs := t.TempDir()
	if err := os.Mkdir(filepath.Join(theirs, "redis"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := benchCommand{Dir: theirs, Stack: "no-such.yml"}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "would delete") || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("a folder with data: %v", err)
	}
}

// The benchmark measures the parkstream beside it, and names the remedy if there is
// none.
func TestNothingToMeasure(t *testing.T) {
	err := benchCommand{Dir: t.TempDir()}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "make build") || !strings.Contains(err.Error(), "--program") {
		t.Errorf("error %v", err)
	}
}
