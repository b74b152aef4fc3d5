package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// rewriteEvery is how often the append-only files are rewritten at most.
const rewriteEvery = 5 * time.Minute

// erasedScript remembers that something was erased, and returns what is pending if the
// append-only files are to be rewritten now, 0 otherwise. It stays pending until
// [rewrittenScript] is told.
//
// KEYS[1]  hash: pending, how many erasures are in the files, and rewritten, when that
//
//	was begun last
//
// ARGV     1 if something was erased, for how many seconds the files are not
//
//	rewritten again
var erasedScript = NewScript(`
local now = tonumber(redis.call('TIME')[1])
if ARGV[1] == '1' then
  redis.call('HINCRBY', KEYS[1], 'pending', '1')
end
local pending, rewritten = unpack(redis.call('HMGET', KEYS[1], 'pending', 'rewritten'))
if not pending or now < (tonumber(rewritten) or 0) + tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'rewritten', now)
return tonumber(pending)`)

// rewrittenScript forgets what was pending when the files began to be rewritten.
//
// KEYS[1]  as above
// ARGV     what was pending
var rewrittenScript = NewScript(`
if redis.call('HGET', KEYS[1], 'pending') == ARGV[1] then
  return redis.call('HDEL', KEYS[1], 'pending')
end
return 0`)

// Erased has Redis forget what was erased also where it is no data: in the
// append-only files, which keep each write until they are rewritten, and in the
// SLOWLOG, which keeps the arguments of slow commands. It is called after an erasure
// is complete. The files are rewritten at once or, if that was less than five minutes
// ago, by the first process that looks at Redis after them; so that is not forgotten,
// its error is one of the erasure. What Redis refuses is logged with what to do.
func (c *Client) Erased(ctx context.Context) error {
	_, err := eachNode(ctx, c, true, func(ctx context.Context, node *redis.Client) (any, error) {
		return node.Do(ctx, "SLOWLOG", "RESET").Result()
	})
	if err != nil {
		c.log.WarnContext(ctx, "the SLOWLOG of Redis may show what was erased: run SLOWLOG RESET on each node", "error", err)
	}
	return c.rewrite(ctx, true)
}

func (c *Client) rewrite(ctx context.Context, erased bool) error {
	now := 0
	if erased {
		now = 1
	}
	// What is pending has to survive a failover; that it is done may be forgotten.
	call := &Call{Script: erasedScript, Keys: []string{erasedKey}, Args: []any{now, int(rewriteEvery / time.Second)}, NoWait: !erased}
	c.Run(ctx, call)
	pending, err := call.Int64()
	if err != nil {
		return fmt.Errorf("remember in Redis that its append-only files have to be rewritten: %w", err)
	}
	if pending == 0 {
		return nil
	}
	_, err = eachNode(ctx, c, true, func(ctx context.Context, node *redis.Client) (string, error) {
		info, err := node.Info(ctx, "persistence").Result()
		if err == nil && parseInfo(info)["aof_enabled"] == "0" {
			return "", nil
		}
		return node.BgRewriteAOF(ctx).Result()
	})
	if err == nil {
		done := &Call{Script: rewrittenScript, Keys: []string{erasedKey}, Args: []any{pending}, NoWait: true}
		c.Run(ctx, done) // if it fails they are rewritten once more
		c.log.InfoContext(ctx, "the append-only files of Redis are rewritten, they have nothing of what was erased then")
		return nil
	}
	c.log.WarnContext(ctx, "the append-only files of Redis have what was erased and could not be rewritten, which is tried again: permit BGREWRITEAOF, or run it on each node", "error", err)
	return nil
}
