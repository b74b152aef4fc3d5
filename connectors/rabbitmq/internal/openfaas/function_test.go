package openfaas

import (
	"strings"
	"testing"
	"time"
)

func TestAnnotations(t *testing.T) {
	d := Defaults{Timeout: time.Minute, ConsumerTimeout: 30 * time.Minute, MaxAttempts: 8, Linger: 2 * time.Millisecond, BatchBytes: 4 << 20, MaxInFlight: 4, MaxInFlightSingle: 32}
	for _, tt := range []struct {
		annotations map[string]string
		want        Function
	}{
		{nil, Function{BatchBytes: 4 << 20, Linger: 2 * time.Millisecond, MinInFlight: 2, MaxInFlight: 32, MaxAttempts: 8, Timeout: time.Minute, SlowAfter: 30 * time.Second}},
		{
			map[string]string{annotationBatchSize: " 500 ", annotationMaxInFlight: "1"},
			Function{BatchSize: 500, BatchBytes: 4 << 20, Linger: 2 * time.Millisecond, MinInFlight: 1, MaxInFlight: 1, MaxAttempts: 8, Timeout: time.Minute, SlowAfter: 30 * time.Second},
		},
		{ // whole numbers are seconds, as in settings
			map[string]string{annotationLinger: "1", annotationTimeout: " 6 ", annotationSlow: "7"},
			Function{BatchBytes: 4 << 20, Linger: time.Second, MinInFlight: 2, MaxInFlight: 32, MaxAttempts: 8, Timeout: 6 * time.Second, SlowAfter: 7 * time.Second},
		},
		{
			map[string]string{
				annotationBatchSize: "1", annotationBatchBytes: "2", annotationLinger: "0s", annotationMinInFlight: "3", annotationMaxInFlight: "4",
				annotationMaxAttempts: "5", annotationTimeout: "6s", annotationSlow: "7ms", "com.example": "x", annotationSendToken: " true ",
			},
			Function{BatchSize: 1, BatchBytes: 2, MinInFlight: 3, MaxInFlight: 4, MaxAttempts: 5, Timeout: 6 * time.Second, SlowAfter: 7 * time.Millisecond, SendToken: true},
		},
		{
			map[string]string{annotationSendToken: "false"},
			Function{BatchBytes: 4 << 20, Linger: 2 * time.Millisecond, MinInFlight: 2, MaxInFlight: 32, MaxAttempts: 8, Timeout: time.Minute, SlowAfter: 30 * time.Second},
		},
	} {
		f, err := newFunction("fn", []string{"q"}, tt.annotations, d)
		tt.want.Name = "fn"
		if err != nil || !f.Equal(&tt.want) {
			t.Errorf("%v: %+v, %v", tt.annotations, f, err)
		}
		if f.Batched() != (f.BatchSize > 0) || f.PerCall() != max(1, f.BatchSize) {
			t.Errorf("%+v: %v, %d", f, f.Batched(), f.PerCall())
		}
	}
}

// All mistakes of a function are reported at once, each by the name of its annotation.
func TestBadAnnotations(t *testing.T) {
	for _, tt := range []struct {
		queue       string
		annotations map[string]string
		want        []string
	}{
		{"q", map[string]string{annotationBatchSize: "many", annotationTimeout: "2 s"}, []string{`parkstream.batch-size is "many"`, `parkstream.timeout is "2 s"`}},
		{"q", map[string]string{annotationBatchSize: "10001"}, []string{"from 0 to 10000"}},
		{"q", map[string]string{annotationBatchSize: "-1", annotationMaxAttempts: "0", annotationBatchBytes: ""}, []string{"batch-size", "max-attempts", "batch-bytes"}},
		{"q", map[string]string{annotationMaxInFlight: "2", annotationMinInFlight: "3"}, []string{"parkstream.min-in-flight is 3 and parkstream.max-in-flight only 2"}},
		{"q", map[string]string{annotationTimeout: "31s"}, []string{"at most half of it"}},
		{"q", map[string]string{annotationLinger: "-1ms", annotationSlow: "0"}, []string{"linger", "slow-after"}},
		{"q", map[string]string{annotationSendToken: "yes"}, []string{`parkstream.send-token is "yes"; it takes true or false`}},
		{"q", map[string]string{annotationSendToken: "True"}, []string{"true or false"}},
		{"q", map[string]string{annotationSendToken: ""}, []string{"true or false"}},
		{strings.Repeat("q", maxQueueName+1), nil, []string{"has 231 bytes"}},
		{"one\ntwo", map[string]string{annotationBatchSize: "many"}, []string{`"one\ntwo" has a control character`, "batch-size"}},
		{"\xff\x00", nil, []string{"control character"}},
	} {
		f, err := newFunction("fn", []string{"fine", tt.queue}, tt.annotations, testDefaults)
		if err == nil || f == nil || f.Name != "fn" || len(f.Queues) != 2 {
			t.Errorf("%q %v: %+v, %v", tt.queue, tt.annotations, f, err)
			continue
		}
		for _, want := range append(tt.want, "function fn") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q %v: %v does not say %q", tt.queue, tt.annotations, err, want)
			}
		}
	}
}
