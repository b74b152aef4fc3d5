package redis

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// rewriteEvery is the least time between two rewrites of the append-only files.
const rewriteEvery = 5 * time.Minute

//go:embed erased.lua
var erasedSource string

//go:embed rewritten.lua
var rewrittenSource string

var (
	erasedScript    = NewScript(erasedSource)
	rewrittenScript = NewScript(rewrittenSource)
)

// Erased removes erased data from where it outlives its keys. The append-only files
// keep each write until they are rewritten, and the SLOWLOG keeps the arguments of slow
// commands. A caller calls it after an erasure is complete. The files are rewritten at
// once. If the last rewrite is less than five minutes old, the next process that checks
// Redis after that time rewrites them. Redis remembers that this is pending; if it
// cannot, the error belongs to the erasure. What Redis refuses is logged with what to
// do.
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
	// A pending rewrite has to survive a failover. A rewrite that is done may be
	// repeated.
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
		c.Run(ctx, done) // on failure they are rewritten once more
		c.log.InfoContext(ctx, "the append-only files of Redis are rewritten, they have nothing of what was erased then")
		return nil
	}
	c.log.WarnContext(ctx, "the append-only files of Redis have what was erased and could not be rewritten, which is tried again: permit BGREWRITEAOF, or run it on each node", "error", err)
	return nil
}
