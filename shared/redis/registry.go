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

// namesPerScript bounds the names of one script, because Redis runs nothing else
// meanwhile.
const namesPerScript = 250

// Registry is a set of names in Redis, such as the sites that have data there. A name
// expires together with the last key of what it names. The registry has a key of its
// own, so in a Redis Cluster no script can write both to it and to the named data.
// Therefore a name is admitted before its data is written, and kept after that in the
// same round trip, each time. After a loss of the registry or of all data the next
// event restores the name. Names contain no line feed.
type Registry struct {
	client *Client
	key    string
}

// NewRegistry returns the registry at a key.
func NewRegistry(client *Client, key string) Registry { return Registry{client, key} }

// Admit adds names until a time and returns those that it refuses because the set
// already has most members. It is atomic: concurrent callers cannot exceed the bound
// together.
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

// Keep returns the calls that keep names until a time. They have no bound, because the
// names have data already. They run after the write of that data. The write is not
// complete while one of them fails.
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

// Names returns all names, sorted.
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
