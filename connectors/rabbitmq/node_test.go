package rabbitmq

import (
	"strings"
	"sync"
	"testing"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

var (
	// shared is the RabbitMQ of all tests that have none of their own. The first one that
	// needs it starts it.
	shared struct {
		start sync.Once
		node  *instance.RabbitMQ
		stop  func()
		err   error
	}
	ownNodes sync.Map // *instance.RabbitMQ by the name of the test
)

// withSharedNode runs the tests and stops the node that they share.
type withSharedNode struct{ *testing.M }

func (m withSharedNode) Run() int {
	defer func() {
		if shared.stop != nil {
			shared.stop()
		}
	}()
	return m.M.Run()
}

// nodeOf returns the RabbitMQ of a test: that of [ownNode], if it or one that it is a part
// of has called that, otherwise the one that the tests share.
func nodeOf(t testing.TB) *instance.RabbitMQ {
	t.Helper()
	for name, more := t.Name(), true; more; {
		if own, ok := ownNodes.Load(name); ok {
			return own.(*instance.RabbitMQ)
		}
		i := strings.LastIndexByte(name, '/')
		if more = i > 0; more {
			name = name[:i]
		}
	}
	shared.start.Do(func() { shared.node, shared.stop, shared.err = instancetest.SharedRabbitMQ() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.node
}

// ownNode starts a RabbitMQ for a test that disturbs the whole of it.
func ownNode(t *testing.T) *instance.RabbitMQ {
	t.Helper()
	own := instancetest.RabbitMQ(t)
	ownNodes.Store(t.Name(), own)
	t.Cleanup(func() { ownNodes.Delete(t.Name()) })
	return own
}

func nodeURLs(t testing.TB) func() ([]string, error) {
	t.Helper()
	url := nodeOf(t).URL()
	return func() ([]string, error) { return []string{url}, nil }
}
