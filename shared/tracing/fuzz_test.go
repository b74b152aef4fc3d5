package tracing_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"parkstream/shared/tracing"
)

// FuzzParse wants that a context which is read is the same when it is written and
// read again.
func FuzzParse(f *testing.F) {
	for _, seed := range [][2]string{
		{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1,b@c=2"},
		{"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more", "a=1,a=2"},
		{"00-00000000000000000000000000000000-0000000000000000-00", ""},
		{"", "a=1"},
		{"00-\x00", "=\xff,"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, parent, state string) {
		got := tracing.Parse(parent, state)
		if !got.IsValid() {
			if !got.Equal(trace.SpanContext{}) {
				t.Fatalf("%q, %q are no context, and read as %+v", parent, state, got)
			}
			return
		}
		again := tracing.Parse(tracing.Fields(trace.ContextWithRemoteSpanContext(context.Background(), got)))
		if !got.IsRemote() || !again.Equal(got) {
			t.Fatalf("%q, %q are read as %+v and then as %+v", parent, state, got, again)
		}
	})
}
