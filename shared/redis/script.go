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

// prelude has constants and functions that every script begins with.
//
//go:embed prelude.lua
var prelude string

// Script is a Lua script and its digest.
type Script = redis.Script

// NewScript returns the script of some sources, which are one chunk behind prelude.lua: a
// line number in an error of Redis counts from there.
func NewScript(sources ...string) *Script {
	return redis.NewScript(prelude + strings.Join(sources, ""))
}

// Call is one run of a script. Its keys are in one slot.
type Call struct {
	Script *Script
	Keys   []string
	Args   []any
	// NoWait: a failover may lose what the call writes, if it writes. A round trip of
	// such calls waits for no replica.
	NoWait bool

	answer *redis.Cmd
	err    error
}

// Text returns the answer of a call that has been run, or why there is none.
func (c *Call) Text() (string, error) {
	if c.err != nil {
		return "", c.err
	}
	return c.answer.Text()
}

// Int64 is Text for a script that answers with a number.
func (c *Call) Int64() (int64, error) {
	if c.err != nil {
		return 0, c.err
	}
	return c.answer.Int64()
}

// FirstError returns why the first of the calls that failed did.
func FirstError(calls []*Call) error {
	for _, call := range calls {
		if call.err != nil {
			return call.err
		}
	}
	return nil
}

// Run runs calls in one round trip to each node; each holds its own answer or
// error then. What a call wrote is on as many replicas as the settings ask for, or
// its error is a [ReplicasError].
func (c *Client) Run(ctx context.Context, calls ...*Call) {
	_ = c.use(ctx, func(ctx context.Context, client redis.UniversalClient) error {
		c.run(ctx, client, calls, (*Script).EvalSha)
		// A Redis that was just started does not know the script yet.
		c.run(ctx, client, failed(calls, func(err error) bool { return hasPrefix(err, "NOSCRIPT") }), (*Script).Eval)
		calls = failed(calls, refused)
		return FirstError(calls)
	})
}

// failed returns the calls with an error of a kind.
func failed(calls []*Call, is func(error) bool) []*Call {
	var found []*Call
	for _, call := range calls {
		if call.err != nil && is(call.err) {
			found = append(found, call)
		}
	}
	return found
}

// hasPrefix reports whether an error is an answer of Redis that begins with one of some
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

// pipeline runs calls on one connection to one node.
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
		// A login that is refused, or a Redis that takes no more connections, is an
		// error of the pipeline that its commands do not know: they have none, or that
		// of the try before.
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
