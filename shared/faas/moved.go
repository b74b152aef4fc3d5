package faas

import (
	"context"
	"io"
	"log/slog"

	"parkstream/shared/process"
)

// NewLogger is [process.NewLogger], for callers that are about to use that.
func NewLogger(w io.Writer, format string, level slog.Level) *slog.Logger {
	return process.NewLogger(w, format, level)
}

// ContextWithCallID is [process.ContextWithCallID], likewise.
func ContextWithCallID(ctx context.Context, id string) context.Context {
	return process.ContextWithCallID(ctx, id)
}
