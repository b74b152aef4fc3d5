package main

import (
	"testing"

	"parkstream/cmd/parkstream/internal/bench"
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
