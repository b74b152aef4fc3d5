package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Process is the process that uses a client; shared/process implements it.
type Process interface {
	Checks
	OnClose(name string, run func(context.Context) error)
}

// Register adds a client to a process, which then shows its state and closes it. The
// state is whether Redis accepts writes, which of its settings may lose events, whether
// a changed URL works, and the metrics.
func (c *Client) Register(p Process, metrics prometheus.Registerer) {
	metrics.MustRegister(NewPoolMetrics(c), unsafeMetric{c})
	p.OnClose("Redis client", func(context.Context) error { return c.Close() })
	p.OnReady("redis", c.Writable)
	p.OnWarning("redis-url", c.Problem)
	for _, setting := range unsafeNames {
		p.OnWarning("redis-"+strings.ReplaceAll(setting, "_", "-"), func(ctx context.Context) error {
			if text := c.Unsafe(ctx)[setting]; text != "" {
				return publicError(text)
			}
			return nil
		})
	}
}

// publicError is an error with a public text.
type publicError string

func (e publicError) Error() string  { return string(e) }
func (e publicError) Detail() string { return string(e) }

// writableProbes is the number of slots that a probe writes to. It meets every master
// of a cluster with high probability: it misses each of ten masters once in a thousand
// times. At a single node it detects that the node belongs to a cluster and has only
// some of the slots.
const writableProbes = 64

// Writable returns the reason why Redis accepts no writes, such as read-only, full or
// unavailable, or nil. An error that is an answer of Redis has a method Detail() string
// with a public text.
func (c *Client) Writable(ctx context.Context) error {
	err := write(ctx, c.Current())
	if err == nil {
		return nil
	}
	err = fmt.Errorf("write to Redis: %w", err)
	if answer, ok := errors.AsType[redis.Error](err); ok {
		return notWritableError{err, answer}
	}
	return err
}

// write returns the reason why a client cannot write, or nil.
func write(ctx context.Context, client redis.UniversalClient) error {
	p := client.Pipeline()
	for i := range writableProbes {
		// It writes from a script, as all other writes do.
		p.Eval(ctx, `return redis.call('SET', KEYS[1], '', 'EX', '60')`, []string{fmt.Sprintf("%s:{%d}", writableKey, i)})
	}
	_, err := p.Exec(ctx)
	return err
}

// notWritableError is Redis's answer to a write.
type notWritableError struct {
	error
	answer redis.Error
}

func (e notWritableError) Unwrap() error { return e.error }

// Detail returns the public text.
func (e notWritableError) Detail() string { return "Redis takes no writes: " + answerWord(e.answer) }

// answerWord returns the word with which Redis's answer names the fault, such as
// READONLY or OOM, and no address.
func answerWord(answer redis.Error) string {
	word, _, _ := strings.Cut(answer.Error(), " ")
	if word != strings.ToUpper(word) || word == "ERR" {
		return "its log says why"
	}
	return word
}

// The settings and states of a Redis that may lose events, as metric labels.
const (
	unsafeEviction    = "eviction"
	unsafeAppendOnly  = "append_only"
	unsafeAppendFsync = "append_fsync"
	unsafePersistence = "persistence"
	unsafeMemory      = "memory"
	unsafeReadOnly    = "read_only"
	unsafeLoading     = "loading"
	unsafeUnchecked   = "unchecked"
)

var unsafeNames = []string{
	unsafeEviction, unsafeAppendOnly, unsafeAppendFsync, unsafePersistence, unsafeMemory, unsafeReadOnly, unsafeLoading, unsafeUnchecked,
}

// node is what a Redis server reports about itself.
type node struct {
	info        map[string]string
	infoErr     error
	appendFsync string
	configErr   error
}

// memoryFull is the fraction of maxmemory from which a warning is given.
const memoryFull = 0.9

// unsafe returns the settings and states of a node that may lose events: a public text
// by each name of unsafeNames.
func (n node) unsafe() map[string]string {
	found := make(map[string]string)
	if n.infoErr != nil {
		found[unsafeUnchecked] = "Redis does not let its user run INFO: whether it may lose events could not be checked; permit INFO and CONFIG|GET, or see to maxmemory-policy noeviction, appendonly yes and appendfsync always"
		return found
	}
	number := func(field string) float64 {
		v, _ := strconv.ParseFloat(n.info[field], 64)
		return v
	}
	limit, policy := number("maxmemory"), n.info["maxmemory_policy"]
	if limit > 0 && policy != "noeviction" {
		found[unsafeEviction] = fmt.Sprintf("Redis evicts events when its memory is full: maxmemory-policy is %s, set noeviction", policy)
	}
	if limit > 0 && number("used_memory") >= memoryFull*limit {
		found[unsafeMemory] = fmt.Sprintf("Redis uses %.0f %% of its maxmemory and takes no events when it is full: give it more, or shorten RETENTION", 100*number("used_memory")/limit)
	}
	appendOnly := n.info["aof_enabled"] == "1"
	switch {
	case !appendOnly:
		found[unsafeAppendOnly] = "Redis has no append-only file and loses events when it ends: set appendonly yes and appendfsync always"
	case n.configErr != nil:
		found[unsafeUnchecked] = "Redis does not let its user run CONFIG GET: appendfsync could not be checked; unless it is always, Redis loses the last events when its machine ends"
	case n.appendFsync != "always":
		found[unsafeAppendFsync] = fmt.Sprintf("Redis loses the last events when its machine ends: appendfsync is %s, set always", n.appendFsync)
	}
	for _, status := range []string{"aof_last_write_status", "aof_last_bgrewrite_status"} {
		if v := n.info[status]; appendOnly && v != "" && v != "ok" {
			found[unsafePersistence] = fmt.Sprintf("Redis failed to write its append-only file (%s is %s): look at its disk and its log", status, v)
		}
	}
	if n.info["role"] == "slave" {
		found[unsafeReadOnly] = "Redis is a replica and takes no events: name the primary in redis-url, or the Sentinels"
	}
	if n.info["loading"] == "1" {
		found[unsafeLoading] = "Redis loads its data and takes no events yet"
	}
	return found
}

// lookEvery is the interval at which the settings of Redis are read.
const lookEvery = time.Minute

// safety holds the last known state of Redis's settings.
type safety struct {
	mu    sync.Mutex // held while Redis is asked
	at    time.Time
	seen  sync.Mutex
	found map[string]string
}

// Unsafe returns the settings of Redis that may lose events: a text by setting, at most
// a minute old. It also runs a pending rewrite of [Client.Erased].
func (c *Client) Unsafe(ctx context.Context) map[string]string {
	s := &c.safety
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() || time.Since(s.at) >= lookEvery {
		if found, err := c.look(ctx); err == nil {
			s.at = time.Now()
			s.seen.Lock()
			s.found = found
			s.seen.Unlock()
			if err := c.rewrite(ctx, false); err != nil {
				c.log.WarnContext(ctx, "what was erased may be in the append-only files of Redis", "error", err)
			}
		}
	}
	return s.last()
}

func (s *safety) last() map[string]string {
	s.seen.Lock()
	defer s.seen.Unlock()
	return maps.Clone(s.found)
}

// look reads the settings of every master.
func (c *Client) look(ctx context.Context) (map[string]string, error) {
	nodes, err := eachNode(ctx, c, false, func(ctx context.Context, client *redis.Client) (n node, err error) {
		text, err := client.Info(ctx).Result()
		if _, answered := errors.AsType[redis.Error](err); err != nil && !answered {
			return n, err
		}
		n.info, n.infoErr = parseInfo(text), err
		config, err := client.ConfigGet(ctx, "appendfsync").Result()
		if n.appendFsync, n.configErr = config["appendfsync"], err; err == nil && n.appendFsync == "" {
			n.configErr = errNoAnswer
		}
		return n, nil
	})
	found := make(map[string]string)
	for _, n := range nodes {
		maps.Copy(found, n.unsafe())
	}
	return found, err
}

// eachNode returns the answers of all masters, and of all replicas of a cluster if all
// is set.
func eachNode[T any](ctx context.Context, c *Client, all bool, ask func(context.Context, *redis.Client) (T, error)) (answers []T, err error) {
	err = c.use(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		var mu sync.Mutex
		answers = nil
		one := func(ctx context.Context, node *redis.Client) error {
			answer, err := ask(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, answer)
			return err
		}
		switch client := client.(type) {
		case *redis.ClusterClient:
			if all {
				return client.ForEachShard(ctx, one)
			}
			return client.ForEachMaster(ctx, one)
		case *redis.Client:
			return one(ctx, client)
		default:
			return fmt.Errorf("unexpected client %T of Redis", client)
		}
	})
	return answers, err
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if field, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[field] = value
		}
	}
	return info
}

var unsafeDesc = prometheus.NewDesc("parkstream_redis_unsafe", "1 if a setting or state of Redis may lose events, as seen in the last minute: eviction, append_only, append_fsync, persistence, memory, read_only, loading, or unchecked if Redis does not tell.", []string{"setting"}, nil)

// unsafeMetric collects the last result of Unsafe.
type unsafeMetric struct{ client *Client }

// Describe implements prometheus.Collector.
func (unsafeMetric) Describe(ch chan<- *prometheus.Desc) { ch <- unsafeDesc }

// Collect implements prometheus.Collector.
func (m unsafeMetric) Collect(ch chan<- prometheus.Metric) {
	found := m.client.safety.last()
	for _, setting := range unsafeNames {
		v := 0.0
		if found[setting] != "" {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(unsafeDesc, prometheus.GaugeValue, v, setting)
	}
}

// UnsafeTexts returns the texts of Unsafe in the order of the settings.
func (c *Client) UnsafeTexts(ctx context.Context) []string {
	var texts []string
	found := c.Unsafe(ctx)
	for _, setting := range slices.Sorted(maps.Keys(found)) {
		texts = append(texts, found[setting])
	}
	return texts
}
