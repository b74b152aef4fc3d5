package faas

import (
	"context"
	"io"
	"log/slog"
)

func parseLevel(text string) (slog.Level, error) {
	var level slog.Level
	err := level.UnmarshalText([]byte(text))
	return level, err
}

func (s *settings) logger(w io.Writer) *slog.Logger {
	level, _ := parseLevel(s.LogLevel) // info when it is invalid, which Validate reports
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "text" {
		return slog.New(callHandler{slog.NewTextHandler(w, options)})
	}
	return slog.New(callHandler{slog.NewJSONHandler(w, options)})
}

// callHandler adds the call's id to every line logged with the call's context.
type callHandler struct{ slog.Handler }

func (h callHandler) Handle(ctx context.Context, record slog.Record) error {
	if c := callOf(ctx); c != nil && c.id != "" {
		record.AddAttrs(slog.String("call_id", c.id))
	}
	return h.Handler.Handle(ctx, record)
}

func (h callHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return callHandler{h.Handler.WithAttrs(attrs)}
}

func (h callHandler) WithGroup(name string) slog.Handler {
	return callHandler{h.Handler.WithGroup(name)}
}
