package redis

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// prelude has the constants and functions at the start of every script.
//
//go:embed prelude.lua
var prelude string

// Script is a Lua script and its digest.
type Script = redis.Script

// NewScript returns the script of some sources, which form one chunk after prelude.lua.
// Line numbers in Redis's errors count from the start of prelude.lua.
func NewScript(sources ...string) *Script {
	return redis.NewScript(prelude + strings.Join(sources, ""))
}

// Call is one run of a script. Its keys are in one slot.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any
	// NoWait allows a failover to lose the writes of the call. A round trip with only
	// such calls waits for no replica.
	NoWait bool

	answer *redis.Cmd
	err    error
}

// Text returns the answer of a call that has run, or its error.
func (c *Call) Text() (string, error) {
	if c.err != nil {
		return "", c.err
	}
	return c.answer.Text()
}

// Int64 returns the answer of a script that returns a number, or the call's error.
func (c *Call) Int64() (int64, error) {
	if c.err != nil {
		return 0, c.err
	}
	return c.answer.Int64()
}

// FirstError returns the error of the first failed call, or nil.
func FirstError(calls []*Call) error {
	for _, call := range calls {
		if call.err != nil {
			return call.err
		}
	}
	return nil
}

// Run runs calls in one round trip to each node. Each call then holds its own answer or
// error. The writes of a call without an error are on as many replicas as the settings
// ask for. If fewer acknowledge them, its error is a [ReplicasError].
func (c *Client) Run(ctx context.Context, calls ...*Call) {
	_ = c.use(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		c.run(ctx, client, calls, (*Script).EvalSha)
		// Redis does not know the script yet after a restart.
		c.run(ctx, client, failed(calls, func(err error) bool { return hasPrefix(err, "NOSCRIPT") }), (*Script).Eval)
		calls = failed(calls, refused)
		return FirstError(calls)
	})
}

// failed returns the calls whose error satisfies is.
func failed(calls []*Call, is func(error) bool) []*Call {
	var found []*Call
	for _, call := range calls {
		if call.err != nil && is(call.err) {
			found = append(found, call)
		}
	}
	return found
}

// hasPrefix reports whether an error is an answer of Redis that begins with one of
// prefixes.
func hasPrefix(err error, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) })
}

// evaluate is a way to run a script.
type evaluate = func(*Script, context.Context, redis.Scripter, []string, ...any) *redis.Cmd

func (c *Client) run(ctx context.Context, client redis.UniversalClient, calls []*Call, eval evaluate) {
	if len(calls) == 0 {
		return
	}
	switch client := client.(type) {
	case *redis.ClusterClient:
		c.runCluster(ctx, client, calls, eval)
	default:
		c.pipeline(ctx, client, calls, eval)
	}
}

// pipeline runs calls on one connection of one node.
func (c *Client) pipeline(ctx context.Context, node redis.UniversalClient, calls []*Call, eval evaluate) {
	p := node.Pipeline()
	for _, call := range calls {
		call.answer = eval(call.Script, ctx, p, call.Keys, call.Args...)
	}
	wait := c.replicas.wait(ctx, node, p, calls)
	_, err := p.Exec(ctx)
	lost := wait.err()
	for _, call := range calls {
		call.err = call.answer.Err()
		// A refused login or a refused connection is an error of the pipeline only. Its
		// commands have no error, or the error of the previous try.
		_, answered := errors.AsType[redis.Error](call.err)
		if !answered && call.answer.Val() == nil {
			call.err = cmp.Or(err, call.err, errNoAnswer)
		}
		if call.err == nil {
			call.err = lost
		}
	}
}

var errNoAnswer = errors.New("no answer of Redis to this command")
