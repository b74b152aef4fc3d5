package process_test

import (
	"io"
	"log/slog"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"parkstream/shared/process"
)

// BenchmarkLogLine is what the line of a batch costs.
func BenchmarkLogLine(b *testing.B) {
	ctx := process.ContextWithCallID(b.Context(), "6f1c6a0e-7d1f-4be9-9f0a-6a1f7b7b2d11")
	ctx, span := sdk.NewTracerProvider().Tracer("test").Start(ctx, "call")
	defer span.End()
	log := process.NewLogger(io.Discard, "json", slog.LevelInfo).With("process", "test")
	b.ReportAllocs()
	for b.Loop() {
		log.InfoContext(ctx, "called", "function", "entry-processor", "queue", "vehicle_entries", "events", 500,
			"verdict", "answered", "took", "1ms", "outcomes", map[string]int{"done": 499, "reject": 1})
	}
}
