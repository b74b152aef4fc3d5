package broker

import (
	"context"
	"time"

	"parkstream/shared/restart"
)

// Run calls serveConnection with a connection, and with a new one each time it returns,
// until ctx ends. serveConnection has to return when ctx or the connection ends (see
// [Conn.Done]); the connection stays open until it has returned, which lets it finish
// its work. Attempts to connect are repeated without a limit, with backoff and jitter.
// Run calls onDown with the cause whenever there is no connection.
func Run(ctx context.Context, cfg Config, serveConnection func(context.Context, *Conn) error, onDown func(error)) {
	cfg = cfg.withDefaults()
	metrics := newConnMetrics(cfg.Registerer, cfg.Name)
	metrics.want(1)
	defer metrics.want(-1)
	delays := restart.NewDelays()
	for {
		var lasted time.Duration // of the connection
		conn, err := dial(ctx, cfg, metrics)
		if err == nil {
			start := time.Now()
			cfg.Log.Info("connected to RabbitMQ", "node", conn.Addr, "version", conn.ServerVersion(), "connection", cfg.Name)
			err = serveConnection(ctx, conn)
			lasted = time.Since(start)
			if lost := conn.Err(); lost != nil {
				err = lost
			}
			if closeErr := conn.Close(); closeErr != nil {
				cfg.Log.Debug("the connection did not close cleanly", "connection", cfg.Name, "error", closeErr)
			}
		}
		if ctx.Err() != nil {
			return
		}
		onDown(err)
		delay := delays.Next(lasted)
		cfg.Log.Warn("no connection to RabbitMQ", "connection", cfg.Name, "error", err, "again_in", delay)
		if !sleep(ctx, delay) {
			return
		}
	}
}

// sleep waits for d and reports whether it has passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
