// Package ended keeps in Redis what has ended before its time: sessions by a logout, and
// logins that were completed and must not be completed again.
package ended

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"parkstream/shared/redis"
)

//go:embed end.lua
var endSource string

//go:embed has.lua
var hasSource string

var (
	endScript = redis.NewScript(endSource)
	hasScript = redis.NewScript(hasSource)
)

// List is the list of the ids that have ended. It is one for all replicas of a function.
type List struct{ client *redis.Client }

// New returns the list in a Redis.
func New(client *redis.Client) *List { return &List{client} }

// End puts an id on the list until a time, after which it is of no use anyway. first
// reports whether it was not there: of concurrent callers one is the first.
func (l *List) End(ctx context.Context, id string, until time.Time) (first bool, err error) {
	call := redis.Call{Script: endScript, Keys: []string{redis.EndedKey(id)}, Args: []any{until.UnixMilli()}}
	l.client.Run(ctx, &call)
	n, err := call.Int64()
	if err != nil {
		return false, fmt.Errorf("write to Redis that a session has ended: %w", err)
	}
	return n == 1, nil
}

// Has reports whether an id is on the list.
func (l *List) Has(ctx context.Context, id string) (bool, error) {
	call := redis.Call{Script: hasScript, Keys: []string{redis.EndedKey(id)}, NoWait: true}
	l.client.Run(ctx, &call)
	n, err := call.Int64()
	if err != nil {
		return false, fmt.Errorf("ask Redis whether a session has ended: %w", err)
	}
	return n == 1, nil
}
