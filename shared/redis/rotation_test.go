package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// secret is a file with a URL, which a test changes.
type secret struct {
	mu  sync.Mutex
	url string
	err error
}

func (s *secret) value() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url, s.err
}

func (s *secret) set(url string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url, s.err = url, err
}

// with returns a URL with another user, password or path.
func with(t *testing.T, text string, change func(u *url.URL)) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func withLogin(t *testing.T, text, user, password string) string {
	t.Helper()
	return with(t, text, func(u *url.URL) { u.User = url.UserPassword(user, password) })
}

// admin returns a client that stays logged in.
func admin(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := open(url, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func order(t *testing.T, client redis.UniversalClient, args ...any) {
	t.Helper()
	if err := client.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// Each part of the URL changes under load. No acknowledged write is missing from its
// Redis, unless that Redis is gone. The new value is used and the former one is given
// up, so Redis can refuse it.
func TestTheURLIsReadAgain(t *testing.T) {
	smooth := []string{"password, first in the file", "two passwords for a while", "database", "kind"}
	for name, change := range map[string]func(t *testing.T, r *instance.Redis, s *secret) (former, changed string){
		"password, first in Redis": func(t *testing.T, r *instance.Redis, s *secret) (string, string) {
			a, changed := admin(t, r.URL()), withLogin(t, r.URL(), "", "changed")
			order(t, a, "CONFIG", "SET", "requirepass", "changed")
			order(t, a, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
			s.set(changed, nil)
			return r.URL(), changed
		},
		"password, first in the file": func(t *testing.T, r *instance.Redis, s *secret) (string, string) {
			a, changed := admin(t, r.URL()), withLogin(t, r.URL(), "", "changed")
			s.set(changed, nil)
			order(t, a, "CONFIG", "SET", "requirepass", "changed")
			order(t, a, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
			return r.URL(), changed
		},
		"two passwords for a while": func(t *testing.T, r *instance.Redis, s *secret) (string, string) {
			a := admin(t, r.URL())
			former, changed := withLogin(t, r.URL(), "park", "former"), withLogin(t, r.URL(), "park", "changed")
			order(t, a, "ACL", "SETUSER", "park", "on", ">former", "~*", "+@all")
			s.set(former, nil)
			order(t, a, "ACL", "SETUSER", "park", ">changed")
			s.set(changed, nil)
			order(t, a, "ACL", "SETUSER", "park", "<former")
			return former, changed
		},
		"user": func(t *testing.T, r *instance.Redis, s *secret) (string, string) {
			a, changed := admin(t, r.URL()), withLogin(t, r.URL(), "other", "changed")
			order(t, a, "ACL", "SETUSER", "other", "on", ">changed", "~*", "+@all")
			s.set(changed, nil)
			order(t, a, "CONFIG", "SET", "requirepass", "nothing-of-ours")
			return r.URL(), changed
		},
		"database": func(t *testing.T, r *instance.Redis, s *secret) (string, string) {
			changed := with(t, r.URL(), func(u *url.URL) { u.Path = "/3" })
			s.set(changed, nil)
			return "", changed
		},
		"port": func(t *testing.T, r *instance.Redis, s *secret) (string, string) {
			other := instancetest.Redis(t)
			s.set(other.URL(), nil)
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			return r.URL(), other.URL()
		},
		"kind": func(t *testing.T, _ *instance.Redis, s *secret) (string, string) {
			other := instancetest.RedisClusterOfOne(t)
			s.set(other.URL(), nil)
			return "", other.URL()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := instancetest.Redis(t)
			s := &secret{url: r.URL()}
			client, err := Open(s.value)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			script := NewScript(`redis.call('SET', KEYS[1], '1') return 'done'`)
			write := func(key string) error {
				call := &Call{Script: script, Keys: []string{key}}
				client.Run(t.Context(), call)
				text, err := call.Text()
				if err == nil && text != "done" {
					t.Errorf("the call of %s answers %q", key, text)
				}
				return err
			}
			var load sync.WaitGroup
			defer load.Wait()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var written atomic.Int64
			var acknowledged [4]int
			for i := range acknowledged {
				load.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						key := fmt.Sprint("load-", i, "-", n)
						err := write(key)
						for ; err != nil && ctx.Err() == nil; err = write(key) {
							if slices.Contains(smooth, name) || strings.Contains(err.Error(), "unexpected type") {
								t.Errorf("a call fails: %v", err)
							}
						}
						if err == nil {
							acknowledged[i] = n + 1
						}
						written.Add(1)
					}
				})
			}
			eventually.True(t, "the load runs", func() bool { return written.Load() > 20 })
			former, changed := change(t, r, s)
			// From some time on writes go to the Redis of the changed URL.
			a := admin(t, changed)
			n := 0
			eventually.True(t, "the changed URL is used", func() bool {
				n++
				key := fmt.Sprint("after-", n)
				return write(key) == nil && a.Exists(t.Context(), key).Val() == 1
			})
			before := written.Load()
			eventually.True(t, "the load goes on", func() bool { return written.Load() > before+20 })
			stop()
			load.Wait()
			if err := client.Problem(t.Context()); err != nil {
				t.Errorf("there is a problem still: %v", err)
			}
			places := []redis.UniversalClient{a}
			if former == "" { // the former Redis still runs
				places = append(places, admin(t, r.URL()))
			}
			if n := missingKeys(t, places, acknowledged[:]); n > 0 && name != "port" {
				t.Errorf("%d acknowledged keys are missing", n)
			}
			if former != "" {
				if err := admin(t, former).Ping(t.Context()).Err(); err == nil {
					t.Error("the former URL can be used still: the test shows nothing")
				}
			}
		})
	}
}

// missingKeys returns the number of acknowledged keys that are in no Redis. Each part
// of the load acknowledged its first keys, as many as acknowledged has for it.
func missingKeys(t *testing.T, places []redis.UniversalClient, acknowledged []int) (missing int) {
	t.Helper()
	for i, n := range acknowledged {
		found := make([]bool, n)
		for _, place := range places {
			var answers []*redis.IntCmd
			_, err := place.Pipelined(t.Context(), func(p redis.Pipeliner) error {
				for k := range n {
					answers = append(answers, p.Exists(t.Context(), fmt.Sprint("load-", i, "-", k)))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for k, answer := range answers {
				found[k] = found[k] || answer.Val() == 1
			}
		}
		for _, ok := range found {
			if !ok {
				missing++
			}
		}
	}
	return missing
}

// A changed URL that does not work changes nothing. It is logged once and reported to
// callers as long as it lasts, never with the password.
func TestABadURLIsNotUsed(t *testing.T) {
	r, gone := instancetest.Redis(t), instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, r)
	if err := gone.Kill(); err != nil {
		t.Fatal(err)
	}
	order(t, admin(t, r.URL()), "ACL", "SETUSER", "reader", "on", ">geheim", "~*", "+@all", "-@write", "-@scripting")
	noCluster := strings.Replace(withLogin(t, r.URL(), "reader", "geheim"), "redis:", "redis+cluster:", 1)
	for name, bad := range map[string]struct {
		url    string
		err    error
		detail string
	}{
		"of no kind":       {"http://:geheim@host/", nil, "not the URL of a Redis"},
		"not a URL":        {"redis://:geheim%zz@host/", nil, "not the URL of a Redis"},
		"wrong password":   {withLogin(t, r.URL(), "", "geheim"), nil, "WRONGPASS"},
		"unknown user":     {withLogin(t, r.URL(), "someone", "geheim"), nil, "WRONGPASS"},
		"nothing there":    {withLogin(t, gone.URL(), "", "geheim"), nil, "no connection"},
		"no database":      {with(t, r.URL(), func(u *url.URL) { u.Path = "/99" }), nil, "log"},
		"no cluster":       {with(t, noCluster, func(u *url.URL) { u.Path = "" }), nil, "log"},
		"a replica":        {replica.URL(), nil, "READONLY"},
		"may not write":    {withLogin(t, r.URL(), "reader", "geheim"), nil, "NOPERM"},
		"no such file":     {"", errors.New("no such file"), "cannot be read"},
		"an empty file":    {"", nil, "not the URL of a Redis"},
		"of another thing": {"amqp://:geheim@host/", nil, "not the URL of a Redis"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &secret{url: r.URL()}
			var log bytes.Buffer
			client, err := Open(s.value, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			before := client.Current()
			s.set(bad.url, bad.err)
			for range 3 {
				problem := client.Problem(t.Context())
				var detailed interface{ Detail() string }
				if problem == nil || !errors.As(problem, &detailed) || !strings.Contains(detailed.Detail(), bad.detail) {
					t.Errorf("the problem is %v, want %q in its detail", problem, bad.detail)
				}
				if strings.Contains(fmt.Sprint(problem), "geheim") {
					t.Errorf("the password is shown: %v", problem)
				}
				if err := client.Writable(t.Context()); err != nil || client.Current() != before {
					t.Errorf("the previous URL is not used: %v", err)
				}
				tryAgain(client)
			}
			s.set(with(t, r.URL(), func(u *url.URL) {
				password, _ := u.User.Password()
				u.User = url.UserPassword("default", password)
			}), nil)
			eventually.True(t, "the mended URL is used", func() bool { return client.Problem(t.Context()) == nil && client.Current() != before })
			if err := client.Close(); err != nil { // nothing is logged from here on
				t.Error(err)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 || strings.Contains(log.String(), "geheim") {
				t.Errorf("logged %d times, want once and without the password:\n%s", n, &log)
			}
		})
	}
}

// A changed URL is used even if Redis is full or does not answer writes, because the
// URL is not to blame.
func TestAnIllRedisIsUsed(t *testing.T) {
	for name, answer := range map[string]string{
		"full":       "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
		"no disk":    "-MISCONF Errors writing to the AOF file: No space left on device\r\n",
		"one shard":  "-CLUSTERDOWN Hash slot not served\r\n",
		"no answer":  "", // the connection is cut
		"no replica": "-NOREPLICAS Not enough good replicas to write.\r\n",
	} {
		s := &secret{url: "redis://127.0.0.1:1"}
		client := rotated(t, s)
		before := client.Current()
		s.set(fake(t, func(command string, _ int) string {
			switch command {
			case "hello":
				return "-ERR unknown command 'HELLO'\r\n"
			case "eval":
				return answer
			default:
				return "+OK\r\n"
			}
		}), nil)
		if err := client.Problem(t.Context()); err != nil || client.Current() == before {
			t.Errorf("%s: the changed URL is not used: %v", name, err)
		}
		_ = client.Close() // before its Redis ends
	}
}

// tryAgain ends the wait after a failed URL: the next look tries it again.
func tryAgain(client *Client) {
	client.mu.Lock()
	defer client.mu.Unlock()
	client.failed.at = time.Time{}
}

// blocked returns the URL of a server that accepts connections and never answers.
func blocked(t *testing.T) (url string, taken <-chan struct{}) {
	t.Helper()
	took, answer := make(chan struct{}, 100), make(chan struct{})
	url = fake(t, func(string, int) string {
		took <- struct{}{}
		<-answer
		return ""
	})
	t.Cleanup(func() { close(answer) })
	return url, took
}

// During the try of a changed URL requests use the previous one. Requests that Redis
// refuses wait for the try, no longer than their context.
func TestATryIsInNoRequestsWay(t *testing.T) {
	t.Parallel()
	r := instancetest.Redis(t)
	url, taken := blocked(t)
	s := &secret{url: r.URL()}
	client, err := Open(s.value)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	works := func() {
		t.Helper()
		if _, err := text(t.Context(), client, setScript, "key"); err != nil {
			t.Errorf("a call: %v", err)
		}
		if err := client.Current().Set(t.Context(), "key", "", 0).Err(); err != nil {
			t.Errorf("a command: %v", err)
		}
	}
	s.set(url+"&read_timeout=-1", nil) // only the try's own timeout ends it
	works()
	<-taken
	works()
	eventually.True(t, "the try ends", func() bool {
		client.mu.Lock()
		defer client.mu.Unlock()
		return client.trying == nil
	})
	// A try without an end.
	client.mu.Lock()
	client.trying = &try{cancel: func() {}, done: make(chan struct{})}
	client.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.next.Store(0)
		works()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if client.replaced(ctx, client.current.Load()) {
			t.Error("the client was replaced")
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("a request waits for a try, or longer than its context")
	}
}

// While Redis refuses the login of the current client, a changed URL is tried each
// second, however often it failed.
func TestARefusedLoginTriesAgainSooner(t *testing.T) {
	changed := fake(t, func(string, int) string { return "+OK\r\n" })
	s := &secret{url: "redis://127.0.0.1:1"}
	client := rotated(t, s)
	s.set(changed, nil)
	client.mu.Lock()
	defer client.mu.Unlock()
	for _, tt := range []struct {
		since   time.Duration
		refused bool
		want    bool
	}{
		{firstRetry / 2, true, false},
		{lastRetry / 2, false, false},
		{2 * firstRetry, true, true},
	} {
		client.failed = failure{changed, time.Now().Add(-tt.since), lastRetry}
		if t1 := client.rotation.look(tt.refused); (t1 != nil) != tt.want {
			t.Errorf("%s after it failed, refused: %t: tried: %t", tt.since, tt.refused, t1 != nil)
		}
	}
}

// A failed URL is tried at increasing intervals, a new one at once.
func TestTriesOfABadURLGetRare(t *testing.T) {
	var tries atomic.Int64
	bad := fake(t, func(command string, _ int) string {
		if command == "hello" {
			tries.Add(1)
		}
		return "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	})
	s := &secret{url: fake(t, func(string, int) string { return "+OK\r\n" })}
	client, err := Open(s.value)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s.set(bad, nil)
	var waits []time.Duration
	for range 6 {
		before := tries.Load()
		for range 5 {
			if err := client.Problem(t.Context()); err == nil {
				t.Fatal("the URL is used")
			}
			eventually.True(t, "the try ends", func() bool {
				client.mu.Lock()
				defer client.mu.Unlock()
				return client.trying == nil
			})
		}
		if n := tries.Load() - before; n != 1 {
			t.Errorf("tried %d times in its turn, want once", n)
		}
		waits = append(waits, client.failed.wait)
		tryAgain(client)
	}
	want := []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	s.set(bad+"&read_timeout=1s", nil)
	client.failed.at = time.Now()
	before := tries.Load()
	if err := client.Problem(t.Context()); err == nil || tries.Load() != before+1 {
		t.Errorf("another URL: tried %d times, problem %v", tries.Load()-before, err)
	}
}

// Redis refuses the login of a process that was idle while the password changed. The
// process's first call or command reads the file again and succeeds.
func TestARefusedLoginIsRepeated(t *testing.T) {
	for kind, r := range map[string]*instance.Redis{"standalone": instancetest.Redis(t), "cluster": instancetest.RedisClusterOfOne(t)} {
		a, password := admin(t, r.URL()), 0
		for name, first := range map[string]func(ctx context.Context, c *Client) error{
			"readiness": func(ctx context.Context, c *Client) error { return c.Writable(ctx) },
			"replicas":  func(ctx context.Context, c *Client) error { return c.CheckReplicas(ctx) },
			"script": func(ctx context.Context, c *Client) error {
				_, err := text(ctx, c, setScript, "park:{a}:")
				return err
			},
			"command":  func(ctx context.Context, c *Client) error { return c.Current().Set(ctx, "key", "value", 0).Err() },
			"settings": func(ctx context.Context, c *Client) error { _, err := c.look(ctx); return err },
			"erasure":  func(ctx context.Context, c *Client) error { return c.rewrite(ctx, true) },
			"pipeline": func(ctx context.Context, c *Client) error {
				var n *redis.IntCmd
				_, err := c.Current().Pipelined(ctx, func(p redis.Pipeliner) error {
					p.Set(ctx, "{a}n", 41, 0)
					n = p.Incr(ctx, "{a}n")
					return nil
				})
				if err == nil && n.Val() != 42 {
					err = fmt.Errorf("the answer of INCR is %d", n.Val())
				}
				return err
			},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				login := func() string { return withLogin(t, r.URL(), "", fmt.Sprint("password", password)) }
				order(t, a, "CONFIG", "SET", "requirepass", fmt.Sprint("password", password))
				s := &secret{url: login()}
				client, err := Open(s.value)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				if err := first(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				password++
				s.set(login(), nil)
				order(t, a, "CONFIG", "SET", "requirepass", fmt.Sprint("password", password))
				order(t, a, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
				if err := first(t.Context(), client); err != nil {
					t.Errorf("after the rotation: %v", err)
				}
			})
		}
	}
}

// The login of a replaced client's new connection is not repeated at another Redis: its
// database and password are invalid there.
func TestALoginIsNotRepeatedElsewhere(t *testing.T) {
	t.Run("database", func(t *testing.T) {
		r := instancetest.Redis(t)
		database := func(path string) string { return with(t, r.URL(), func(u *url.URL) { u.User, u.Path = nil, path }) }
		a := admin(t, with(t, r.URL(), func(u *url.URL) { u.Path = "/1" }))
		order(t, a, "CONFIG", "SET", "requirepass", "")
		s := &secret{url: database("/1")}
		client := rotated(t, s)
		order(t, client.Current(), "SET", "key", "")
		order(t, a, "CONFIG", "SET", "requirepass", "changed")
		order(t, a, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
		s.set(withLogin(t, database("/2"), "", "changed"), nil)
		for i := range 50 {
			order(t, client.Current(), "SET", fmt.Sprint("key-", i), "")
			if _, err := text(t.Context(), client, setScript, fmt.Sprint("script-", i)); err != nil {
				t.Error(err)
			}
		}
		if n := a.DBSize(t.Context()).Val(); n != 1 {
			t.Errorf("the former database has %d keys, want 1", n)
		}
	})
	t.Run("password", func(t *testing.T) {
		r, other := instancetest.Redis(t), instancetest.Redis(t)
		a, s := admin(t, r.URL()), &secret{url: r.URL()}
		client := rotated(t, s)
		order(t, client.Current(), "PING")
		order(t, a, "CONFIG", "SET", "requirepass", "nothing-of-ours")
		order(t, a, "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
		s.set(other.URL(), nil)
		order(t, client.Current(), "PING")
		if log := command(t, other, "ACL", "LOG"); fmt.Sprint(log) != "[]" {
			t.Errorf("the other Redis refused %v", log)
		}
	})
}

// rotated returns a client of a URL that the test changes.
func rotated(t *testing.T, s *secret) *Client {
	t.Helper()
	client, err := Open(s.value)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// A call with a refused login is prepared again for the Redis of the repetition: its
// append-only file has to have the write, even if the former Redis had none.
func TestARepeatedCallIsPlannedAgain(t *testing.T) {
	var refuse, disk atomic.Bool
	answers := func(script, waitaof func() string) func(string, int) string {
		return func(command string, _ int) string {
			switch command {
			case "hello":
				return "-ERR unknown command 'HELLO'\r\n"
			case "evalsha", "eval":
				return script()
			case "wait":
				return ":1\r\n"
			case "waitaof":
				return waitaof()
			default:
				return "+OK\r\n"
			}
		}
	}
	const done = "$4\r\ndone\r\n"
	s := &secret{url: fake(t, answers(func() string {
		if refuse.Load() {
			return "-NOAUTH Authentication required.\r\n"
		}
		return done
	}, func() string { return "-ERR WAITAOF cannot be used when appendonly is disabled.\r\n" }))}
	client, err := Open(s.value, WithSettings(Settings{Replicas: 1, ReplicasTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got, err := text(t.Context(), client, setScript, "key"); got != "done" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	s.set(fake(t, answers(func() string { return done }, func() string {
		disk.Store(true)
		return "*2\r\n:1\r\n:1\r\n"
	})), nil)
	refuse.Store(true)
	if got, err := text(t.Context(), client, setScript, "key"); got != "done" || err != nil {
		t.Errorf("after the rotation: %q, %v", got, err)
	}
	if !disk.Load() {
		t.Error("the other Redis was not asked for its append-only file")
	}
}

// A replaced client is closed after its last call, not before. A caller that has it but
// has not used it yet uses the new one.
func TestAReplacedClientIsClosed(t *testing.T) {
	r, other := instancetest.Redis(t), instancetest.Redis(t)
	s := &secret{url: r.URL()}
	client, err := Open(s.value)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a := admin(t, r.URL())
	blocked := make(chan error, 1)
	before := client.Current()
	go func() { blocked <- before.BLPop(context.Background(), time.Minute, "list").Err() }()
	eventually.True(t, "the call is under way", func() bool { return strings.Contains(a.ClientList(t.Context()).Val(), "cmd=blpop") })
	for _, url := range []string{other.URL(), with(t, other.URL(), func(u *url.URL) { u.Path = "/1" })} {
		s.set(url, nil)
		if err := client.Problem(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if client.Current() == before {
		t.Fatal("the client was not replaced")
	}
	order(t, a, "RPUSH", "list", "value")
	if err := <-blocked; err != nil {
		t.Errorf("the call that was under way has the error %v", err)
	}
	eventually.True(t, "the replaced client is closed", func() bool { return !strings.Contains(a.ClientList(t.Context()).Val(), "cmd=blpop") })
	if err := before.Set(t.Context(), "late", "", 0).Err(); err != nil {
		t.Errorf("a command of the replaced client: %v", err)
	}
	if n := client.Current().Exists(t.Context(), "late").Val(); n != 1 {
		t.Error("it was not carried out by the other")
	}
}
