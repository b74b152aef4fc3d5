package broker

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
	// settled is how long an epoch must last to be forgotten by the backoff.
	settled = 10 * time.Second
)

func newBackoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval: backoffMin, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: backoffMax,
	}
}

// Run calls epoch with a connection, and again with a fresh one when it returns,
// until ctx ends. It then waits for epoch to return and closes the connection,
// so that epoch can finish what it has begun: an epoch watches both ctx and
// [Conn.Done]. Attempts to connect go on for ever, with backoff and jitter.
// onDown is told why there is no connection each time.
func Run(ctx context.Context, cfg Config, epoch func(context.Context, *Conn) error, onDown func(error)) {
	cfg = cfg.withDefaults()
	metrics := newConnMetrics(cfg.Registerer, cfg.Name)
	metrics.want(1)
	defer metrics.want(-1)
	wait := newBackoff()
	wait.Reset()
	for {
		var start time.Time // of the epoch
		conn, err := dial(ctx, cfg, metrics)
		if err == nil {
			start = time.Now()
			cfg.Log.Info("connected to RabbitMQ", "node", conn.Addr, "version", conn.ServerVersion(), "connection", cfg.Name)
			err = epoch(ctx, conn)
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
		if !start.IsZero() && time.Since(start) > settled {
			wait.Reset()
		}
		delay := wait.NextBackOff()
		cfg.Log.Warn("no connection to RabbitMQ", "connection", cfg.Name, "error", err, "again_in", delay)
		if !sleep(ctx, delay) {
			return
		}
	}
}

// sleep waits for d and says whether ctx is still alive.
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
