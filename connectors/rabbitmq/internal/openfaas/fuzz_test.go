package openfaas

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/batch"
)

// FuzzResponse reads any response: the call has a result for each event or for none, a
// reason if it has not succeeded, and a bounded delay.
func FuzzResponse(f *testing.F) {
	f.Add(200, `{"results":[{"id":"1","outcome":"done"},{"id":"2","outcome":"reject","reason":"no"}]}`, "")
	f.Add(503, `{"results":[{"id":"1","outcome":"retry","unavailable":true},{"id":"2","outcome":"retry","unavailable":true}]}`, "3")
	f.Add(429, "slow down", "Fri, 27 Nov 2026 09:00:00 GMT")
	f.Add(500, "\xff", "-1")
	f.Fuzz(func(t *testing.T, status int, body, retryAfter string) {
		events := []batch.Event{{ID: "1"}, {ID: "2"}}
		for _, size := range []int{0, 2} {
			r := Response{Status: status}
			function := &Function{BatchSize: size}
			r.read(http.Header{"Retry-After": {retryAfter}}, []byte(body), function, "", events)
			n := len(r.Results)
			switch {
			case r.Verdict == batch.Answered && n != max(1, size),
				r.Verdict != batch.Answered && n != 0 && (n != size || r.Verdict != batch.Outage),
				r.Verdict != batch.Answered && r.Reason == "" && n == 0,
				r.RetryAfter < 0 || r.RetryAfter > maxRetryAfter:
				t.Errorf("%d %q, Retry-After %q: %+v", status, body, retryAfter, r)
			}
			for i, result := range r.Results {
				if size > 0 && result.ID != events[i].ID || !slices.Contains([]batch.Outcome{batch.Done, batch.Retry, batch.Reject}, result.Outcome) {
					t.Errorf("result %d is %+v", i, result)
				}
				if r.Verdict == batch.Outage && result.Outcome == batch.Done {
					t.Errorf("an outage in which an event is done: %+v", r)
				}
			}
		}
	})
}

// FuzzAnnotations reads what a function may be annotated with: it is served within the
// bounds that are documented, or not at all.
func FuzzAnnotations(f *testing.F) {
	f.Add("vehicle_entries, vehicle_exits", annotationBatchSize, "500", annotationTimeout, "30s")
	f.Add("q", annotationMinInFlight, "3", annotationMaxInFlight, "2")
	f.Add("a\nb,[x]*?", annotationLinger, "1h", annotationSlow, "-1ns")
	f.Add("cron-function", annotationMaxAttempts, "9223372036854775808", annotationBatchBytes, "0x10")
	f.Fuzz(func(t *testing.T, topic, name1, value1, name2, value2 string) {
		queues, foreign := Topics{Ignored: []string{"cron-*"}}.split(topic)
		for _, q := range append(slices.Clone(queues), foreign...) {
			if q == "" || strings.TrimSpace(q) != q || strings.Contains(q, ",") {
				t.Errorf("topic %q of %q", q, topic)
			}
		}
		function, err := newFunction("fn", queues, map[string]string{name1: value1, name2: value2}, testDefaults)
		switch {
		case function == nil, function.Name != "fn":
			t.Errorf("%+v", function)
		case err != nil:
		case function.BatchSize < 0 || function.BatchSize > batch.MaxEvents, function.MinInFlight < 1 || function.MinInFlight > function.MaxInFlight || function.MaxInFlight > InFlightLimit,
			function.MaxAttempts < 1 || function.MaxAttempts > AttemptsLimit, function.Timeout <= 0 || function.Timeout > testDefaults.ConsumerTimeout/2, function.SlowAfter <= 0,
			function.Linger < 0 || function.Linger > time.Minute, function.BatchBytes < 1:
			t.Errorf("%+v", function)
		}
		for _, q := range queues {
			if err == nil && (len(q) > maxQueueName || !validField(q)) {
				t.Errorf("queue %q is served", q)
			}
		}
	})
}
