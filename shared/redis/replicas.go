package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ReplicasError is the error of a call that Redis executed and that fewer replicas
// acknowledged than [Settings.Replicas] requires. A failover may lose its writes. The
// caller repeats the call until it succeeds.
type ReplicasError struct {
	Asked, Acknowledged int
	// Disk reports whether the missing acknowledgements are those of the append-only
	// files. The replicas' memory then has the write.
	Disk bool
	// Primary reports, if Disk is set, whether the primary's own file has the write.
	Primary bool
}

func (e *ReplicasError) Error() string {
	switch {
	case !e.Disk:
		return fmt.Sprintf("%d of %d replicas (REDIS_REPLICAS) acknowledged the write in time, so that a failover may lose it: try again, and look at the replicas' connection and load",
			e.Acknowledged, e.Asked)
	case e.Primary:
		return fmt.Sprintf("%d of %d replicas (REDIS_REPLICAS) wrote to their append-only files in time what they have in memory: try again, and set appendonly yes on every replica",
			e.Acknowledged, e.Asked)
	default:
		return fmt.Sprintf("the primary did not write to its append-only file in time what %d replicas have in memory: try again, and look at its disk and at appendfsync, which must not be no",
			e.Asked)
	}
}

// Detail returns the public text.
func (e *ReplicasError) Detail() string { return e.Error() }

// replicas is the part of a client that waits for replicas.
type replicas struct {
	Settings
	// memoryOnly has, by server address, the Unix time in seconds until which WAITAOF
	// is not sent. Such a server does not know the command or has no append-only file.
	memoryOnly sync.Map // string -> *atomic.Int64
}

// askAgain is the time in seconds after which WAITAOF is tried again: the server may
// have been replaced or reconfigured.
const askAgain = 60

// waiting is the end of a pipeline that waits for replicas.
type waiting struct {
	*replicas
	memoryOnly *atomic.Int64 // of the server
	mark       *redis.StatusCmd
	memory     *redis.Cmd
	disk       *redis.Cmd // nil if only memory is asked for
}

// wait makes the end of a pipeline wait for earlier writes: those of the pipeline, and
// those of others whose effects its scripts have seen. For the latter it writes a key
// itself. Since Redis 7.2, and in Valkey, WAIT waits for the last write of its own
// connection only. A script writes nothing for a repeated event, so WAIT would not wait
// at all. The key is in the slot of one of the calls, is empty and expires.
func (r *replicas) wait(ctx context.Context, node redis.UniversalClient, p redis.Pipeliner, calls []*Call) *waiting {
	if r.Replicas == 0 || !slices.ContainsFunc(calls, func(c *Call) bool { return !c.NoWait }) {
		return nil
	}
	// The answer gets a part of the time left in the context, too. 0 would be no limit.
	timeout := r.ReplicasTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)/3), time.Millisecond)
	}
	w := &waiting{replicas: r, memoryOnly: r.of(node), mark: p.Set(ctx, markKey(calls), "", time.Minute)}
	w.memory = p.Do(ctx, "WAIT", r.Replicas, timeout.Milliseconds())
	// The order matters: a replica that gets the write and WAITAOF in the same round
	// answers before its fsync, and reports the fsync only a second later.
	if time.Now().Unix() >= w.memoryOnly.Load() {
		w.disk = p.Do(ctx, "WAITAOF", 1, r.Replicas, timeout.Milliseconds())
	}
	return w
}

// of returns the time until which WAITAOF is not sent to a server.
func (r *replicas) of(node redis.UniversalClient) *atomic.Int64 {
	address := ""
	if one, ok := node.(*redis.Client); ok {
		address = one.Options().Addr
	}
	until, _ := r.memoryOnly.LoadOrStore(address, new(atomic.Int64))
	return until.(*atomic.Int64)
}

// markKey returns the key to write before a wait.
func markKey(calls []*Call) string {
	key := "park"
	for _, call := range calls {
		if len(call.Keys) > 0 {
			key = call.Keys[0]
			break
		}
	}
	if start := strings.IndexByte(key, '{'); start >= 0 {
		if length := strings.IndexByte(key[start:], '}'); length > 1 {
			return key[:start+length+1] + ":replicated"
		}
	}
	return "{" + key + "}:replicated"
}

// err returns the reason why the pipeline's writes may be lost, or nil.
func (w *waiting) err() error {
	if w == nil {
		return nil
	}
	n, err := w.memory.Int()
	if err = errors.Join(w.mark.Err(), err); err != nil {
		return fmt.Errorf("wait for %d replicas of Redis: %w", w.Replicas, err)
	}
	if n < w.Replicas {
		return &ReplicasError{Asked: w.Replicas, Acknowledged: n}
	}
	if w.disk == nil {
		return nil
	}
	written, err := w.disk.Int64Slice()
	switch {
	case hasNoWaitAOF(err):
		w.memoryOnly.Store(time.Now().Unix() + askAgain)
		return nil
	case err != nil:
		return fmt.Errorf("wait for the append-only files of Redis and %d replicas: %w", w.Replicas, err)
	case len(written) != 2:
		return fmt.Errorf("wait for the append-only files of Redis and %d replicas: unexpected answer %v", w.Replicas, written)
	}
	if primary, n := written[0] > 0, int(written[1]); !primary || n < w.Replicas {
		return &ReplicasError{Asked: w.Replicas, Acknowledged: n, Disk: true, Primary: primary}
	}
	return nil
}

// hasNoWaitAOF reports whether a server is older than 7.2 or has no append-only file.
// Such a server can promise memory only.
func hasNoWaitAOF(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "unknown command") || strings.Contains(err.Error(), "appendonly is disabled"))
}

// CheckReplicas returns an error if a primary has fewer connected replicas than have to
// acknowledge every write, or if replicas are connected although none has to.
func (c *Client) CheckReplicas(ctx context.Context) error {
	online, err := eachNode(ctx, c, false, func(ctx context.Context, node *redis.Client) (int, error) {
		info, err := node.Info(ctx, "replication").Result()
		return strings.Count(info, ",state=online,"), err
	})
	if err == nil && len(online) == 0 {
		err = errors.New("the cluster has no primary")
	}
	if err != nil {
		return fmt.Errorf("ask Redis for its replicas: %w", err)
	}
	fewest, most := slices.Min(online), slices.Max(online)
	switch asked := c.replicas.Replicas; {
	case asked == 0 && most > 0:
		return publicError(fmt.Sprintf("Redis has replicas (%d) and REDIS_REPLICAS is 0: a failover loses what the replica that takes over has not got yet, although it was acknowledged; set it to the number of replicas of a primary", most))
	case fewest < asked:
		return publicError(fmt.Sprintf("a primary of Redis has %d replicas online and REDIS_REPLICAS is %d: nothing can be acknowledged before more are connected", fewest, asked))
	}
	return nil
}

// Checks receives the checks of a process; see shared/process.
type Checks interface {
	OnReady(name string, check func(context.Context) error)
	OnWarning(name string, check func(context.Context) error)
}

// RegisterReplicas registers the checks of replicas. A process that waits for replicas
// is ready only if there are enough. A process that does not wait warns if there are
// some.
func (c *Client) RegisterReplicas(checks Checks) {
	register := checks.OnWarning
	if c.replicas.Replicas > 0 {
		register = checks.OnReady
	}
	register("redis-replicas", c.CheckReplicas)
}
