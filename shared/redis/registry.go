package redis

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
)

//go:embed registry.lua
var registrySource string

var registryScript = NewScript(registrySource)

//go:embed names.lua
var namesSource string

var namesScript = NewScript(namesSource)

// namesPerScript bounds how long one script keeps Redis from others.
const namesPerScript = 250

// Registry is a set of names in Redis that something is kept for there, such as
// sites. A name leaves it at the time when the last key of what it names expires.
// It has a key of its own, so that in a Redis Cluster no script can write to it and
// to what it names: a name is admitted before something is kept for it, and kept
// after that in the same round trip, each time. What Redis lost, be it the
// registry or all, is thus there again with the next event. Names have no line feed
// in them.
type Registry struct {
	client *Client
	key    string
}

// NewRegistry returns the registry at a key.
func NewRegistry(client *Client, key string) Registry { return Registry{client, key} }

// Admit takes names in until a time and returns those that it refuses, since there
// are already as many as most. It is atomic: callers at the same time cannot pass
// the bound together.
func (r Registry) Admit(ctx context.Context, names []string, until time.Time, most int) (refused []string, err error) {
	calls := r.calls(names, until, most)
	r.client.Run(ctx, calls...)
	for _, call := range calls {
		text, err := call.Text()
		if err != nil {
			return nil, fmt.Errorf("register %d names at %s in Redis: %w", len(names), r.key, err)
		}
		if text != "" {
			refused = append(refused, strings.Split(text, "\n")...)
		}
	}
	return refused, nil
}

// Keep returns the calls that keep names until a time, without a bound: something is
// there for them already. They run after what they name, and what they name is not
// done while one of them fails.
func (r Registry) Keep(names []string, until time.Time) []*Call { return r.calls(names, until, -1) }

func (r Registry) calls(names []string, until time.Time, most int) []*Call {
	var calls []*Call
	for chunk := range slices.Chunk(names, namesPerScript) {
		args := append(make([]any, 0, 2+len(chunk)), until.UnixMilli(), most)
		for _, name := range chunk {
			args = append(args, name)
		}
		calls = append(calls, &Call{Script: registryScript, Keys: []string{r.key}, Args: args})
	}
	return calls
}

// Names returns the names in order.
func (r Registry) Names(ctx context.Context) ([]string, error) {
	call := Call{Script: namesScript, Keys: []string{r.key}, NoWait: true}
	r.client.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		return nil, fmt.Errorf("list the names at %s in Redis: %w", r.key, err)
	}
	if text == "" {
		return nil, nil
	}
	names := strings.Split(text, "\n")
	slices.Sort(names)
	return names, nil
}
