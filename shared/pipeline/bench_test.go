package pipeline

import (
	"testing"

	"parkstream/shared/parking"
)

// One event of the usual size.
func BenchmarkParseEvent(b *testing.B) {
	data := []byte(`{"id":"bench-0001-en00000012","vehicle_plate":"KA00000012","entry_date_time":"2026-11-23T08:15:00.123Z"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEvent(parking.Entry, data); err != nil {
			b.Fatal(err)
		}
	}
}
