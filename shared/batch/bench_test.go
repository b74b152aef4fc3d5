package batch

import (
	"fmt"
	"testing"
	"time"
)

// Five hundred events of the usual size, which is a full batch.
func benchmarkEvents() []Event {
	events := make([]Event, 500)
	for i := range events {
		id := fmt.Sprintf("bench-0001-en%08d", i)
		events[i] = Event{
			ID: id, Time: time.UnixMilli(1_790_000_000_000 + int64(i)),
			Data: fmt.Appendf(nil, `{"id":%q,"vehicle_plate":"KA%08d","entry_date_time":"2026-11-23T08:15:00.123Z"}`, id, i),
		}
	}
	return events
}

func BenchmarkParseRequest(b *testing.B) {
	body := AppendRequest(nil, "/rabbitmq/vehicle_entries", benchmarkEvents())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	events := benchmarkEvents()
	results := make([]Result, len(events))
	for i := range events {
		results[i] = Result{ID: events[i].ID, Outcome: Done}
	}
	body := AppendResponse(nil, results)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseResponse(body, events); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	events := benchmarkEvents()
	var body []byte
	b.ReportAllocs()
	for b.Loop() {
		body = AppendRequest(body[:0], "/rabbitmq/vehicle_entries", events)
	}
}
