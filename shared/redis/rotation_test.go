package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"parkstream/shared/instance"
)

// secret is a file with a URL that a test changes.
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

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The URL changes under load, in each of its parts: nothing is lost, what is new is
// used, and what is former is given up, so that Redis can refuse it.
func TestTheURLIsReadAgain(t *testing.T) {
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
			other := instance.RedisForTest(t)
			s.set(other.URL(), nil)
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			return r.URL(), other.URL()
		},
		"kind": func(t *testing.T, _ *instance.Redis, s *secret) (string, string) {
			other := instance.RedisClusterForTest(t)
			s.set(other.URL(), nil)
			return "", other.URL()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := instance.RedisForTest(t)
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
			for i := range 4 {
				load.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						key := fmt.Sprint("load-", i, "-", n)
						for err := write(key); err != nil && ctx.Err() == nil; err = write(key) {
							if strings.Contains(err.Error(), "unexpected type") {
								t.Errorf("the reason is %v", err)
							}
						}
						written.Add(1)
					}
				})
			}
			eventually(t, "the load runs", func() bool { return written.Load() > 20 })
			former, changed := change(t, r, s)
			// What is written from some time on is where the changed URL leads.
			a := admin(t, changed)
			n := 0
			eventually(t, "the changed URL is used", func() bool {
				n++
				key := fmt.Sprint("after-", n)
				return write(key) == nil && a.Exists(t.Context(), key).Val() == 1
			})
			before := written.Load()
			eventually(t, "the load goes on", func() bool { return written.Load() > before+20 })
			stop()
			load.Wait()
			if err := client.Problem(t.Context()); err != nil {
				t.Errorf("there is a problem still: %v", err)
			}
			if former != "" {
				if err := admin(t, former).Ping(t.Context()).Err(); err == nil {
					t.Error("the former URL can be used still: the test shows nothing")
				}
			}
		})
	}
}

// A changed URL that cannot be used changes nothing, is told once in the log and as
// long as it lasts to those who ask, and never with the password.
func TestABadURLIsNotUsed(t *testing.T) {
	r, gone := instance.RedisForTest(t), instance.RedisForTest(t)
	if err := gone.Kill(); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]*secret{
		"of no kind":     {url: "http://:geheim@host/"},
		"not a URL":      {url: "redis://:geheim%zz@host/"},
		"wrong password": {url: withLogin(t, r.URL(), "", "geheim")},
		"unknown user":   {url: withLogin(t, r.URL(), "someone", "geheim")},
		"nothing there":  {url: withLogin(t, gone.URL(), "", "geheim")},
		"no such file":   {err: errors.New("no such file")},
	} {
		t.Run(name, func(t *testing.T) {
			s := &secret{url: r.URL()}
			client, err := Open(s.value)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			var log bytes.Buffer
			client.log = slog.New(slog.NewTextHandler(&log, nil))
			s.set(bad.url, bad.err)
			for range 3 {
				client.next.Store(0) // as if a second had passed
				if err := client.Ping(t.Context()); err != nil {
					t.Errorf("the former URL is not used: %v", err)
				}
			}
			problem := client.Problem(t.Context())
			var detailed interface{ Detail() string }
			if problem == nil || !errors.As(problem, &detailed) || detailed.Detail() == "" {
				t.Errorf("the problem is %v", problem)
			}
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("logged %d times, want once:\n%s", n, &log)
			}
			if strings.Contains(log.String(), "geheim") || strings.Contains(fmt.Sprint(problem), "geheim") {
				t.Errorf("the password is shown: %v\n%s", problem, &log)
			}
			s.set(with(t, r.URL(), func(u *url.URL) {
				password, _ := u.User.Password()
				u.User = url.UserPassword("default", password)
			}), nil)
			client.next.Store(0)
			if err := client.Ping(t.Context()); err != nil || client.Problem(t.Context()) != nil {
				t.Errorf("mended: ping %v, problem %v", err, client.Problem(t.Context()))
			}
		})
	}
}

// A replaced client is closed when its calls are over, and not before.
func TestAReplacedClientIsClosed(t *testing.T) {
	r, other := instance.RedisForTest(t), instance.RedisForTest(t)
	s := &secret{url: r.URL()}
	client, err := Open(s.value)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a := admin(t, r.URL())
	// It lasts longer than the first look at whether it is over.
	blocked := make(chan error, 1)
	before := client.Current()
	go func() { blocked <- before.BLPop(context.Background(), 1500*time.Millisecond, "list").Err() }()
	eventually(t, "the call is under way", func() bool { return strings.Contains(a.ClientList(t.Context()).Val(), "cmd=blpop") })
	s.set(other.URL(), nil)
	eventually(t, "the client is replaced", func() bool { return client.Current() != before })
	if err := <-blocked; !errors.Is(err, redis.Nil) {
		t.Errorf("the call that was under way has the error %v", err)
	}
	eventually(t, "the former client is closed", func() bool {
		return errors.Is(before.Ping(t.Context()).Err(), redis.ErrClosed)
	})
}
