package process

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

func parseLevel(text string) (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(text))
	return level, err
}

func (s *Settings) logger(w io.Writer) *slog.Logger {
	level, _ := parseLevel(s.LogLevel) // info when it is invalid, which Validate reports
	return NewLogger(w, s.LogFormat, level)
}

// NewLogger returns a logger that writes lines as text if the format is "text" and as
// JSON otherwise. It adds the call's id and that of its trace to every line that is
// logged with the call's context.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(callHandler{slog.NewTextHandler(w, options)})
	}
	return slog.New(callHandler{slog.NewJSONHandler(w, options)})
}

type callIDKey struct{}

// ContextWithCallID returns a context whose log lines have the id of a call, which this
// process serves or makes.
func ContextWithCallID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, callIDKey{}, id)
}

// CallID returns the id of the context's call; empty if there is none.
func CallID(ctx context.Context) string {
	id, _ := ctx.Value(callIDKey{}).(string)
	return id
}

// callHandler adds what identifies a call to every line logged with the call's
// context.
type callHandler struct{ slog.Handler }

func (h callHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := CallID(ctx); id != "" {
		record.AddAttrs(slog.String("call_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

func (h callHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return callHandler{h.Handler.WithAttrs(attrs)}
}

func (h callHandler) WithGroup(name string) slog.Handler {
	return callHandler{h.Handler.WithGroup(name)}
}
