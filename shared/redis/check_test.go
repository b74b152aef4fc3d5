package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

func newClient(t *testing.T, url string) *Client {
	t.Helper()
	client, err := Open(URL(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestUnsafeSettings(t *testing.T) {
	safe := map[string]string{
		"role": "master", "loading": "0", "maxmemory": "0", "maxmemory_policy": "noeviction", "used_memory": "5000000",
		"aof_enabled": "1", "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok",
	}
	for name, tt := range map[string]struct {
		info  map[string]string
		fsync string // always, if empty
		err   error  // of both, or of CONFIG if there is info
		want  []string
	}{
		"safe":                       {info: map[string]string{}},
		"bounded and not full":       {info: map[string]string{"maxmemory": "10000000"}},
		"policy without a bound":     {info: map[string]string{"maxmemory_policy": "allkeys-lru"}},
		"evicts":                     {info: map[string]string{"maxmemory": "10000000", "maxmemory_policy": "allkeys-lru"}, want: []string{"eviction"}},
		"evicts what expires":        {info: map[string]string{"maxmemory": "10000000", "maxmemory_policy": "volatile-ttl"}, want: []string{"eviction"}},
		"nearly full":                {info: map[string]string{"maxmemory": "5100000"}, want: []string{"memory"}},
		"a cache":                    {info: map[string]string{"maxmemory": "5100000", "maxmemory_policy": "allkeys-lfu", "aof_enabled": "0"}, want: []string{"append_only", "eviction", "memory"}},
		"without a file":             {info: map[string]string{"aof_enabled": "0"}, fsync: "everysec", want: []string{"append_only"}},
		"each second":                {info: map[string]string{}, fsync: "everysec", want: []string{"append_fsync"}},
		"when the system likes":      {info: map[string]string{}, fsync: "no", want: []string{"append_fsync"}},
		"cannot write":               {info: map[string]string{"aof_last_write_status": "err"}, want: []string{"persistence"}},
		"cannot rewrite":             {info: map[string]string{"aof_last_bgrewrite_status": "err"}, want: []string{"persistence"}},
		"replica":                    {info: map[string]string{"role": "slave"}, want: []string{"read_only"}},
		"loading":                    {info: map[string]string{"loading": "1"}, want: []string{"loading"}},
		"managed, CONFIG is refused": {info: map[string]string{}, err: errors.New("NOPERM"), want: []string{"unchecked"}},
		"managed and evicting":       {info: map[string]string{"maxmemory": "10000000", "maxmemory_policy": "allkeys-lru"}, err: errors.New("NOPERM"), want: []string{"eviction", "unchecked"}},
		"INFO is refused":            {err: errors.New("NOPERM"), want: []string{"unchecked"}},
	} {
		n := node{info: maps.Clone(safe), appendFsync: "always", configErr: tt.err}
		maps.Copy(n.info, tt.info)
		if tt.fsync != "" {
			n.appendFsync = tt.fsync
		}
		if tt.info == nil {
			n.infoErr = tt.err
		}
		found := n.unsafe()
		if diff := cmp.Diff(tt.want, slices.Sorted(maps.Keys(found))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		for setting := range found {
			if !slices.Contains(unsafeNames, setting) {
				t.Errorf("%s: the label %s has no series", name, setting)
			}
		}
	}
}

// process records what a client registers.
type process struct {
	ready, warning map[string]func(context.Context) error
	closers        []func(context.Context) error
}

func (p *process) OnReady(name string, check func(context.Context) error) { p.ready[name] = check }

func (p *process) OnWarning(name string, check func(context.Context) error) { p.warning[name] = check }

func (p *process) OnClose(_ string, run func(context.Context) error) {
	p.closers = append(p.closers, run)
}

// warnings returns the names of the current warnings. Each has a public text.
func (p *process) warnings(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.warning)) {
		err := p.warning[name](t.Context())
		if err == nil {
			continue
		}
		names = append(names, name)
		var detailed interface{ Detail() string }
		if !errors.As(err, &detailed) || detailed.Detail() == "" {
			t.Errorf("the warning %s does not tell why: %v", name, err)
		}
	}
	return names
}

// A Redis configured as a cache causes warnings until its configuration changes.
func TestWarnings(t *testing.T) {
	r := instancetest.Redis(t)
	client, a := newClient(t, r.URL()), admin(t, r.URL())
	p := &process{ready: make(map[string]func(context.Context) error), warning: make(map[string]func(context.Context) error)}
	metrics := prometheus.NewRegistry()
	client.Register(p, metrics)
	look := func() []string {
		client.safety.at = time.Time{} // as if a minute had passed
		return p.warnings(t)
	}
	if got := look(); len(got) > 0 {
		t.Errorf("warnings %q of the Redis of our own", got)
	}
	order(t, a, "CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru", "appendfsync", "everysec")
	if got := p.warnings(t); len(got) > 0 {
		t.Errorf("Redis was asked again within a minute: %q", got)
	}
	if got, want := look(), []string{"redis-append-fsync", "redis-eviction"}; !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(`
# HELP parkstream_redis_unsafe 1 if a setting or state of Redis may lose events, as seen in the last minute: eviction, append_only, append_fsync, persistence, memory, read_only, loading, or unchecked if Redis does not tell.
# TYPE parkstream_redis_unsafe gauge
parkstream_redis_unsafe{setting="append_fsync"} 1
parkstream_redis_unsafe{setting="append_only"} 0
parkstream_redis_unsafe{setting="eviction"} 1
parkstream_redis_unsafe{setting="loading"} 0
parkstream_redis_unsafe{setting="memory"} 0
parkstream_redis_unsafe{setting="persistence"} 0
parkstream_redis_unsafe{setting="read_only"} 0
parkstream_redis_unsafe{setting="unchecked"} 0
`), "parkstream_redis_unsafe"); err != nil {
		t.Error(err)
	}
	order(t, a, "CONFIG", "SET", "maxmemory", "0", "appendfsync", "always")
	if got := look(); len(got) > 0 {
		t.Errorf("warnings %q after it was mended", got)
	}
	// A managed Redis refuses CONFIG.
	order(t, a, "ACL", "SETUSER", "default", "-config")
	if got, want := look(), []string{"redis-unchecked"}; !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	if err := p.ready["redis"](t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if err := p.closers[0](t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClusterIsLookedAt(t *testing.T) {
	r := instancetest.RedisClusterOfOne(t)
	client := newClient(t, r.URL())
	if err := client.Writable(t.Context()); err != nil {
		t.Error(err)
	}
	order(t, client.Current(), "CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
	if found := client.Unsafe(t.Context()); found["eviction"] == "" || len(found) != 1 {
		t.Errorf("found %q", found)
	}
	order(t, client.Current(), "CONFIG", "SET", "maxmemory", "1", "maxmemory-policy", "noeviction")
	if err := client.Writable(t.Context()); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("full: %v", err)
	}
}

// Readiness requires that Redis accepts writes, not only that it answers.
func TestWritable(t *testing.T) {
	answers := func(text string) func(t *testing.T) string {
		return func(t *testing.T) string {
			return fake(t, func(command string, _ int) string {
				switch command {
				case "hello":
					return "-ERR unknown command 'HELLO'\r\n"
				case "eval":
					return text
				default:
					return "+OK\r\n"
				}
			})
		}
	}
	tuned := func(args ...any) func(t *testing.T) string {
		return func(t *testing.T) string {
			r := instancetest.Redis(t)
			order(t, admin(t, r.URL()), args...)
			return r.URL()
		}
	}
	for name, tt := range map[string]struct {
		url  func(t *testing.T) string
		want string // the public text
	}{
		"writable":     {tuned("PING"), ""},
		"replica":      {tuned("REPLICAOF", "127.0.0.1", "1"), "READONLY"},
		"full":         {tuned("CONFIG", "SET", "maxmemory", "1"), "OOM"},
		"evicting":     {tuned("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"), ""},
		"reader":       {tuned("ACL", "SETUSER", "default", "resetkeys", "%R~*"), "NOPERM"},
		"no scripts":   {tuned("ACL", "SETUSER", "default", "-@scripting"), "NOPERM"},
		"login":        {func(t *testing.T) string { return withLogin(t, instancetest.Redis(t).URL(), "", "wrong") }, "WRONGPASS"},
		"disk":         {answers("-MISCONF Errors writing to the AOF file: No space left on device\r\n"), "MISCONF"},
		"cluster down": {answers("-CLUSTERDOWN The cluster is down\r\n"), "CLUSTERDOWN"},
		"alone":        {answers("-NOREPLICAS Not enough good replicas to write.\r\n"), "NOREPLICAS"},
		"odd":          {answers("-ERR at 10.0.0.1 something odd\r\n"), "its log says why"},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, tt.url(t))
			err := client.Writable(t.Context())
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var detailed interface{ Detail() string }
			if !errors.As(err, &detailed) || detailed.Detail() != "Redis takes no writes: "+tt.want {
				t.Errorf("error %v, want %s to be shown", err, tt.want)
			}
		})
	}
	if err := newClient(t, "redis://127.0.0.1:1").Writable(t.Context()); err == nil || errors.As(err, new(interface{ Detail() string })) {
		t.Errorf("nothing there: %v", err)
	}
}

// files returns the contents of a Redis's append-only files.
func files(t *testing.T, a redis.UniversalClient) string {
	t.Helper()
	dir := a.ConfigGet(t.Context(), "dir").Val()["dir"]
	var held strings.Builder
	err := filepath.WalkDir(filepath.Join(dir, "appendonlydir"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			text, _ := os.ReadFile(path) // the file may be gone by now
			held.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return held.String()
}

// Erased data is in no file and in no log of Redis. A second erasure within five
// minutes is deferred, but not forgotten.
func TestErasedIsNowhere(t *testing.T) {
	for name, r := range map[string]*instance.Redis{"standalone": instancetest.Redis(t), "cluster": instancetest.RedisClusterOfOne(t)} {
		t.Run(name, func(t *testing.T) {
			client, a := newClient(t, r.URL()), admin(t, r.URL())
			order(t, a, "CONFIG", "SET", "slowlog-log-slower-than", "0")
			erase := func(plate string) {
				t.Helper()
				order(t, a, "SET", "key", plate)
				order(t, a, "CONFIG", "SET", "slowlog-log-slower-than", "1000000")
				order(t, a, "DEL", "key")
				if !strings.Contains(files(t, a), plate) {
					t.Fatal("the plate is not in the files: the test shows nothing")
				}
				if err := client.Erased(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			erase("PLATE1")
			for _, entry := range a.SlowLogGet(t.Context(), -1).Val() {
				if strings.Contains(fmt.Sprint(entry.Args), "PLATE1") {
					t.Errorf("SLOWLOG has %q", entry.Args)
				}
			}
			eventually.True(t, "the files are rewritten", func() bool { return !strings.Contains(files(t, a), "PLATE1") })
			erase("PLATE2")
			client.Unsafe(t.Context())
			if !strings.Contains(files(t, a), "PLATE2") {
				t.Error("the files were rewritten again within five minutes")
			}
			order(t, a, "HSET", erasedKey, "rewritten", "1")
			another := newClient(t, r.URL()) // a process that starts later
			another.Unsafe(t.Context())
			eventually.True(t, "the files are rewritten later", func() bool { return !strings.Contains(files(t, a), "PLATE2") })
			if a.HExists(t.Context(), erasedKey, "pending").Val() {
				t.Error("it is still to be done")
			}
		})
	}
}

// If a process ends before it begins a pending rewrite, another process runs it.
func TestAPendingRewriteOutlivesItsProcess(t *testing.T) {
	r := instancetest.Redis(t)
	client, a := newClient(t, r.URL()), admin(t, r.URL())
	order(t, a, "SET", "key", "PLATE1")
	order(t, a, "DEL", "key")
	ctx, kill := context.WithCancel(t.Context())
	client.Current().AddHook(before{"bgrewriteaof", kill})
	_ = client.Erased(ctx)
	if ctx.Err() == nil {
		t.Fatal("the rewrite was not due: the test shows nothing")
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(files(t, a), "PLATE1") {
		t.Fatal("the files were rewritten: the test shows nothing")
	}
	order(t, a, "HSET", erasedKey, "rewritten", "1") // as if five minutes had passed
	newClient(t, r.URL()).Unsafe(t.Context())
	eventually.True(t, "the files are rewritten by another process", func() bool { return !strings.Contains(files(t, a), "PLATE1") })
}

// before is a hook that calls run before a command.
type before struct {
	command string
	run     func()
}

func (h before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == h.command {
			h.run()
		}
		return next(ctx, cmd)
	}
}

func (h before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// If Redis refuses a rewrite, that is logged, and the rewrite is tried again.
func TestARefusedRewriteIsTriedAgain(t *testing.T) {
	r := instancetest.Redis(t)
	a := admin(t, r.URL())
	var log bytes.Buffer
	client, err := Open(URL(r.URL()), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	order(t, a, "ACL", "SETUSER", "default", "-bgrewriteaof", "-slowlog")
	if err := client.Erased(t.Context()); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"SLOWLOG RESET", "BGREWRITEAOF"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not tell to run %s:\n%s", want, &log)
		}
	}
	if !a.HExists(t.Context(), erasedKey, "pending").Val() {
		t.Error("it is forgotten")
	}
}
