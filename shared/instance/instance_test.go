package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"parkstream/shared/eventually"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// testStart is generous, since machines that run tests are busy.
const testStart = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tempDir is removed after the node has ended; t.TempDir fails the test if a dying
// node writes while it is removed.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "parkstream-instance-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestRedisFindsItsDataAgain(t *testing.T) {
	r, err := StartRedis(t.Context(), RedisOptions{Dir: tempDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
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

// After Kill no process works in the node's folder, or has it in its command line or
// environment.
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
	eventually.Succeeds(t, "every process ends", func() error {
		if left := mentioning(t, dir); len(left) > 0 {
			return fmt.Errorf("still running: %q", left)
		}
		return nil
	})
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
		folder, _ := os.Readlink(p + "/cwd")
		if strings.Contains(string(command)+string(environ)+folder, dir) {
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
		eventually.Succeeds(t, "another node has the message", func() error {
			q, err := declare(r, true)
			if err == nil && q.Messages != 1 {
				err = fmt.Errorf("the queue has %d messages", q.Messages)
			}
			return err
		})
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

// Whatever a folder is called, a node finds its settings and its data in it, and
// writes nothing elsewhere.
func TestFolderNames(t *testing.T) {
	names := []string{
		"it's", "x [1]", `say "hi"`, "a*b?c", "{a,b}", "~", "$(touch made)", "`touch made`", `back\slash`, "%41", "#;&|<>", " blanks ", "-dash", "MÜ \u2603 車", "a\nb",
	}
	all := strings.Join(names, "")
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		root := tempDir(t)
		for _, name := range append(names, "\xff", all) {
			dir := filepath.Join(root, name)
			ctx, cancel := context.WithTimeout(t.Context(), testStart)
			defer cancel()
			r, err := StartRedis(ctx, RedisOptions{Dir: dir})
			if err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			written, err := filepath.EvalSymlinks("/proc/" + strconv.Itoa(r.Pid()) + "/cwd")
			if err != nil || written != dir {
				t.Errorf("%q: it works in %q, %v", name, written, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "appendonlydir")); err != nil {
				t.Errorf("%q: its data is elsewhere: %v", name, err)
			}
			if err := r.Kill(); err != nil {
				t.Error(err)
			}
		}
		if made, err := os.ReadDir(root); err != nil || len(made) != len(names)+2 {
			t.Errorf("%d folders, %v", len(made), err)
		}
	})
	t.Run("RabbitMQ", func(t *testing.T) {
		t.Parallel()
		root := tempDir(t)
		ctx, cancel := context.WithTimeout(t.Context(), testStart)
		defer cancel()
		if _, err := StartRabbitMQ(ctx, RabbitMQOptions{Dir: filepath.Join(root, "\xff")}); err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("not UTF-8: %v", err)
		}
		dir := filepath.Join(root, "it's [1] a*b $(touch made) ~ MÜ 車\n")
		r, err := StartRabbitMQ(ctx, RabbitMQOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Kill() }()
		// It measures how much room there is with a shell.
		if out, err := r.Ctl(ctx, "eval", "is_integer(rabbit_disk_monitor:get_disk_free())."); err != nil || strings.TrimSpace(out) != "true" {
			t.Errorf("it does not see its disk: %s, %v", out, err)
		}
		if data, err := os.ReadDir(filepath.Join(dir, "data")); err != nil || len(data) == 0 {
			t.Errorf("its data is elsewhere: %v, %v", data, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
			t.Error("a shell has executed the name")
		}
		if made, err := os.ReadDir(root); err != nil || len(made) != 1 {
			t.Errorf("%v, %v", made, err)
		}
	})
}

// A Redis that has not read its settings, or another one at our port, is not taken
// for ours, and is not waited for.
func TestForeignRedis(t *testing.T) {
	program, err := lookup("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"it reads no settings":    `exec "$REAL" --port "$4" --save "" --bind 127.0.0.1`,
		"it listens everywhere":   `(cat; echo "bind 127.0.0.1 127.0.0.2") >c; exec "$REAL" --port "$4" - <c`,
		"it works elsewhere":      `(cat; echo dir /) >c; exec "$REAL" --bind 127.0.0.1 --port "$4" - <c`,
		"its password is another": `(cat; echo requirepass other) >c; exec "$REAL" --bind 127.0.0.1 --port "$4" - <c`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := tempDir(t)
			if err := os.WriteFile(filepath.Join(dir, "redis-server"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("REAL", program)
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := StartRedis(ctx, RedisOptions{Dir: filepath.Join(dir, "data")})
			if err == nil {
				_ = r.Kill()
			}
			if !errors.Is(err, errForeign) || ctx.Err() != nil {
				t.Errorf("%v", err)
			}
		})
	}
}

// A port that another program takes before the node does costs a second start, on
// other ports; an error that has nothing to do with ports costs none.
func TestAPortIsTaken(t *testing.T) {
	program, err := lookup("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	var tried [][]int
	err = onFreePorts(redisPorts, func(ports []int) error {
		tried = append(tried, ports)
		if len(tried) == 1 {
			other, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(ports[1]))
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = other.Close() })
		}
		r, err := newRedis(program, RedisOptions{Dir: dir, Cluster: true}, ports)
		if err == nil {
			t.Cleanup(func() { _ = r.Kill() })
			err = r.start(t.Context())
		}
		if len(tried) == 1 && err == nil {
			t.Error("the node runs without its port")
		}
		return err
	})
	if err != nil || len(tried) != 2 || tried[0][1] == tried[1][1] {
		t.Errorf("tried %v, %v", tried, err)
	}
	starts := 0
	if err := onFreePorts(1, func([]int) error { starts++; return errNotYet }); !errors.Is(err, errNotYet) || starts != 1 {
		t.Errorf("%d starts, %v", starts, err)
	}
}

// A cluster whose node fails to start is not started on other ports: that its epmd
// listens says nothing about them.
func TestAClusterIsStartedOnce(t *testing.T) {
	dir := tempDir(t)
	started := filepath.Join(dir, "started")
	script := "#!/bin/sh\necho once >>'" + started + "'\nexit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "rabbitmq-server"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	defer func(places []string) { rabbitMQPlaces = places }(rabbitMQPlaces)
	rabbitMQPlaces = []string{dir}
	root := filepath.Join(dir, "cluster")
	if _, err := StartRabbitMQCluster(t.Context(), root, 2); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a node that ends at once: %v", err)
	}
	if text, err := os.ReadFile(started); err != nil || string(text) != "once\n" {
		t.Errorf("started %q, %v", text, err)
	}
	if left := mentioning(t, root); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
}

// The cookie is made by us, at each start, for its owner's eyes.
func TestCookie(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, ".erlang.cookie")
	if err := os.WriteFile(path, []byte("ABCDEFGHIJKLMNOPQRST"), 0o400); err != nil { // as Erlang makes it
		t.Fatal(err)
	}
	var cookies []string
	for range 2 {
		if _, err := newRabbitMQ(RabbitMQOptions{Dir: dir}, make([]int, rabbitMQPorts)); err != nil {
			t.Fatal(err)
		}
		text, err1 := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err := errors.Join(err1, err2); err != nil || info.Mode().Perm() != 0o400 || len(text) < 26 {
			t.Errorf("%q, %v, %v", text, info.Mode(), err)
		}
		cookies = append(cookies, string(text))
	}
	if cookies[0] == cookies[1] {
		t.Error("both are the same")
	}
}

// A cluster is not ready before each of its nodes is connected to all others and
// knows whom each replica copies.
func TestConnectedReplicas(t *testing.T) {
	const (
		master   = "aa 127.0.0.1:1@2 master - 0 0 1 connected 0-16383\n"
		replica  = "bb 127.0.0.1:3@4 slave aa 0 0 1 connected\n"
		self     = "bb 127.0.0.1:3@4 myself,slave aa 0 0 1 connected\n"
		unknown  = "bb 127.0.0.1:3@4 slave - 0 0 1 connected\n"
		unlinked = "bb 127.0.0.1:3@4 slave aa 0 0 1 disconnected\n"
	)
	for nodes, want := range map[string]int{
		master + replica: 1, master + self: 1, replica + master: 1, master: 0, master + unknown: 0, master + unlinked: 0, replica + unlinked: 0, "": 0,
	} {
		if got := connectedReplicas(nodes); got != want {
			t.Errorf("%d, want %d, of\n%s", got, want, nodes)
		}
	}
}
