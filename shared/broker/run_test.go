package broker

import (
	"context"
	"errors"
	"testing"
	"time"

	"parkstream/shared/broker/brokertest"
)

func TestRunReplacesLostConnections(t *testing.T) {
	proxy := brokertest.NewProxy(t, node.URL())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	epochs := make(chan *Conn)
	downs := make(chan error, 100)
	finished := make(chan struct{})
	drained := false
	go func() {
		defer close(finished)
		Run(ctx, Config{URLs: urls(proxy.Through(node.URL()))}, func(ctx context.Context, conn *Conn) error {
			epochs <- conn
			select {
			case <-conn.Done():
			case <-ctx.Done():
				if _, err := conn.Channel(); err != nil {
					t.Errorf("the connection is of no use while draining: %v", err)
				}
				drained = true
			}
			return nil
		}, func(err error) { downs <- err })
	}()
	first := <-epochs
	proxy.Cut()
	second := <-epochs
	if first == second {
		t.Error("the connection is the same")
	}
	if err := <-downs; !errors.Is(err, ErrLost) || !errors.Is(first.Err(), ErrLost) {
		t.Errorf("the first epoch ended with %v", err)
	}
	proxy.SetDown(true)
	proxy.Cut()
	for range 3 {
		<-downs
	}
	proxy.SetDown(false)
	third := <-epochs
	cancel()
	<-finished
	if !drained || !third.IsClosed() {
		t.Error("the last epoch did not end in order")
	}
}

// The connection to a broker that has fallen silent ends.
func TestRunGivesUpASilentBroker(t *testing.T) {
	proxy := brokertest.NewProxy(t, node.URL())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	epochs := make(chan *Conn)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		Run(ctx, Config{URLs: urls(proxy.Through(node.URL())), Heartbeat: time.Second}, func(ctx context.Context, conn *Conn) error {
			select {
			case epochs <- conn:
			case <-ctx.Done():
			}
			select {
			case <-conn.Done():
			case <-ctx.Done():
			}
			return nil
		}, func(error) {})
	}()
	conn := <-epochs
	proxy.Pause()
	select {
	case <-conn.Done():
	case <-time.After(15 * time.Second):
		t.Error("the connection is still there")
	}
	start := time.Now()
	cancel()
	<-finished
	if took := time.Since(start); took > 2*closeTimeout {
		t.Errorf("the end took %s", took)
	}
}
