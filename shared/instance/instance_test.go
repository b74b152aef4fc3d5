package instance

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRedisFindsItsDataAgain(t *testing.T) {
	r := RedisForTest(t)
	o, err := redis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(o)
	defer client.Close()
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func() error{
		"stop": func() error { return r.Stop(t.Context()) },
		"kill": r.Kill,
	} {
		if pid := r.Pid(); pid == 0 {
			t.Errorf("before %s there is no process", name)
		}
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		<-r.Done()
		if pid := r.Pid(); pid != 0 {
			t.Errorf("after %s there is process %d", name, pid)
		}
		if err := r.Restart(t.Context()); err != nil {
			t.Fatalf("restart after %s: %v", name, err)
		}
		if v, err := client.Get(t.Context(), "k").Result(); v != "v" {
			t.Errorf("after %s: %q, error %v", name, v, err)
		}
	}
	if fsync := client.ConfigGet(t.Context(), "appendfsync").Val()["appendfsync"]; fsync != "always" {
		t.Errorf("appendfsync is %s", fsync)
	}
	anonymous := redis.NewClient(&redis.Options{Addr: o.Addr})
	defer anonymous.Close()
	if err := anonymous.Get(t.Context(), "k").Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}

func TestRabbitMQFindsItsDataAgain(t *testing.T) {
	dir := tempDir(t)
	r, err := StartRabbitMQ(t.Context(), RabbitMQOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	onChannel(t, r, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		if err != nil {
			return err
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		c, err := ch.PublishWithDeferredConfirm("", "q", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent})
		if err != nil {
			return err
		}
		if ok, err := c.WaitContext(t.Context()); !ok || err != nil {
			t.Errorf("not confirmed: %v", err)
		}
		return nil
	})
	// RabbitMQ 3.10 writes down that a quorum queue exists half a second after it
	// confirmed the declaration: a clean stop comes before the kill.
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	// Another start of the same folder, as of a second `parkstream up`.
	again, err := StartRabbitMQ(t.Context(), RabbitMQOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Kill() })
	onChannel(t, again, func(ch *amqp.Channel) error {
		deliveries, err := ch.Consume("q", "", true, false, false, false, nil)
		if err != nil {
			return err
		}
		select {
		case <-deliveries:
		case <-time.After(20 * time.Second):
			t.Error("the message is lost")
		}
		return nil
	})
	if _, err := amqp.Dial("amqp://guest:guest@127.0.0.1:" + strconv.Itoa(again.Port()) + "/"); err == nil {
		t.Error("guest may connect")
	}
}

func onChannel(t *testing.T, r *RabbitMQ, f func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := f(ch); err != nil {
		t.Fatal(err)
	}
}

// After Kill no process has the node's folder in its command line or environment.
func TestNothingIsLeft(t *testing.T) {
	dir := tempDir(t)
	r, err := StartRabbitMQ(t.Context(), RabbitMQOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(mentioning(t, dir)) == 0 {
		t.Fatal("no process mentions the folder of a running node")
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for left := mentioning(t, dir); len(left) > 0; left = mentioning(t, dir) {
		if time.Now().After(deadline) {
			t.Fatalf("still running: %q", left)
		}
		time.Sleep(pollInterval)
	}
}

func mentioning(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		command, _ := os.ReadFile(p + "/cmdline")
		environ, _ := os.ReadFile(p + "/environ")
		if strings.Contains(string(command)+string(environ), dir) {
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	dir := tempDir(t)
	t.Setenv("PATH", dir)
	if _, err := StartRedis(t.Context(), RedisOptions{Dir: dir}); !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("without Redis: %v", err)
	}
	broken := filepath.Join(dir, "redis-server")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of order\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := StartRedis(t.Context(), RedisOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "out of order") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a Redis that ends at once: %v", err)
	}
	if err := os.WriteFile(broken, []byte("#!/bin/sh\nexec /bin/sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := StartRedis(ctx, RedisOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not ready in time") {
		t.Errorf("a Redis that never answers: %v", err)
	}
}

// Three nodes are one cluster: a quorum queue goes on when its leader is killed,
// and the node finds the others again when it is back.
func TestRabbitMQCluster(t *testing.T) {
	c, err := StartRabbitMQCluster(t.Context(), tempDir(t), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill() })
	declare := func(r *RabbitMQ, passive bool) (amqp.Queue, error) {
		conn, err := amqp.Dial(r.URL())
		if err != nil {
			return amqp.Queue{}, err
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			return amqp.Queue{}, err
		}
		if passive {
			return ch.QueueDeclarePassive("q", true, false, false, false, nil)
		}
		q, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		if err == nil {
			err = errors.Join(ch.Confirm(false), ch.Publish("", "q", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent}))
		}
		return q, err
	}
	if _, err := declare(c.Nodes[0], false); err != nil {
		t.Fatal(err)
	}
	leader, err := c.Leader(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	if err := leader.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Nodes {
		if r == leader {
			continue
		}
		deadline := time.Now().Add(30 * time.Second)
		for {
			q, err := declare(r, true)
			if err == nil && q.Messages == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the queue has %d messages, %v", q.Messages, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if now, err := c.Leader(t.Context(), "q"); err != nil || now == leader {
		t.Errorf("the leader is still %v, %v", now, err)
	}
	if err := leader.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q, err := declare(leader, true); err != nil || q.Messages != 1 {
		t.Errorf("at the node that is back: %+v, %v", q, err)
	}
	if urls := c.URLs(); strings.Count(urls, ",") != 2 {
		t.Errorf("URLs %q", urls)
	}
}

// A file that a crash or a full disk left empty is as good as none: a node with an
// empty password would not start, or serve everybody.
func TestRememberedEmpty(t *testing.T) {
	path := filepath.Join(tempDir(t), "password")
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"first", "second"} {
		if got, err := remembered(path, func() string { return made }); got != "first" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// Asking a RabbitMQ that takes connections and says nothing ends with its context.
func TestDialEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := &RabbitMQ{port: l.Addr().(*net.TCPAddr).Port}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := r.dial(ctx); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}
