package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

var node *instance.RabbitMQ

func TestMain(m *testing.M) {
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" { // needs no broker, and each worker would start one
		os.Exit(m.Run())
	}
	var (
		stop func()
		err  error
	)
	node, stop, err = instancetest.SharedRabbitMQ()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), goleak.Cleanup(func(code int) {
		stop()
		os.Exit(code)
	}))
}

func urls(us ...string) func() ([]string, error) {
	return func() ([]string, error) { return us, nil }
}

func testConfig() Config { return Config{URLs: urls(node.URL()), Name: "test"} }

func testConn(t testing.TB, cfg Config) *Conn {
	t.Helper()
	conn, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func testPublisher(t testing.TB, cfg Config) *Publisher {
	t.Helper()
	p := NewPublisher(cfg)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// testQueue declares a queue of the test's own.
func testQueue(t testing.TB) string {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", "-")
	conn := testConn(t, testConfig())
	if _, err := DeclareQueue(conn, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// drain takes n messages from a queue.
func drain(t testing.TB, queue string, n int) []amqp.Delivery {
	t.Helper()
	ch, err := testConn(t, testConfig()).Channel()
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []amqp.Delivery
	timeout := time.After(10 * time.Second)
	for len(got) < n {
		select {
		case d := <-deliveries:
			got = append(got, d)
		case <-timeout:
			t.Fatalf("%d messages in %s, not %d", len(got), queue, n)
		}
	}
	select {
	case d := <-deliveries:
		t.Fatalf("one message too many in %s: %s", queue, d.MessageId)
	case <-time.After(50 * time.Millisecond):
	}
	return got
}

func TestSplitURLs(t *testing.T) {
	got, err := SplitURLs("amqp://a:x,y@h1/\namqps://b@h2 amqp://c@h3,amqp://d@h4\n")
	if want := "[amqp://a:x,y@h1/ amqps://b@h2 amqp://c@h3 amqp://d@h4]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := SplitURLs(" \n"); err == nil {
		t.Error("an empty file has no error")
	}
}

func TestURLsAreReadForEachAttempt(t *testing.T) {
	var secret string
	missing := errors.New("the secret is missing")
	urls := URLs(func() (string, error) {
		if secret == "" {
			return "", missing
		}
		return secret + "\n", nil
	})
	if _, err := urls(); !errors.Is(err, missing) {
		t.Errorf("a missing secret: %v", err)
	}
	for _, secret = range []string{"amqp://one", "amqp://two"} {
		if got, err := urls(); err != nil || len(got) != 1 || got[0] != secret {
			t.Errorf("got %v, %v, want %s", got, err, secret)
		}
	}
}

func TestDialTriesAllURLs(t *testing.T) {
	conn := testConn(t, Config{URLs: urls("amqp://127.0.0.1:1/", node.URL(), "http://nonsense")})
	if conn.ServerVersion() == "" {
		t.Error("the server has no version")
	}
}

func TestErrorsHideThePassword(t *testing.T) {
	for _, u := range []string{
		"amqp://user:hidden@127.0.0.1:1/",
		"amqp://user:hidden%@127.0.0.1/",
		strings.Replace(node.URL(), "parkstream:", "parkstream:hidden", 1),
	} {
		_, err := Dial(t.Context(), Config{URLs: urls(u)})
		if err == nil {
			t.Fatalf("%s: connected", u)
		}
		if strings.Contains(err.Error(), "hidden") {
			t.Errorf("the password is in: %v", err)
		}
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = node.Resume() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Dial(ctx, testConfig()); err == nil {
		t.Error("a stopped broker has accepted a connection")
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}
