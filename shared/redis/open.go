package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// open returns a client of go-redis for a URL in one of the forms of [Open]. It does
// not connect yet. The outer hooks wrap the hooks of each node. Errors never contain
// the URL, because it holds the password.
func open(url string, s Settings, outer ...redis.Hook) (redis.UniversalClient, error) {
	var given timeouts
	client, err := parse(url, s, &given)
	if err != nil {
		return nil, fmt.Errorf("open Redis: %w", err)
	}
	for _, hook := range outer {
		client.AddHook(hook)
	}
	addHooks(client, func() []redis.Hook { return []redis.Hook{traced{}, newSilence(given, s)} })
	return client, nil
}

// timeouts are the timeouts of a URL, 0 if it has none.
type timeouts struct{ dial, read time.Duration }

// replace records the timeouts in the options of a URL. It replaces them by the
// timeouts of the client, which also end with the context.
func (t *timeouts) replace(byContext *bool, dial, read *time.Duration, s Settings) {
	*t = timeouts{*dial, *read}
	*byContext, *dial, *read = true, cmp.Or(*dial, answerTimeout), readTimeout(*read, s)
}

// parse returns a client for a URL and records its timeouts in given.
func parse(url string, s Settings, given *timeouts) (redis.UniversalClient, error) {
	quiet()
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return nil, errors.New("the URL has no scheme; want redis://, rediss://, redis+sentinel:// or redis+cluster://")
	}
	base, kind, _ := strings.Cut(scheme, "+")
	plain := base + "://" + rest
	switch {
	case base != "redis" && base != "rediss":
		return nil, fmt.Errorf("unknown scheme %q; want redis, rediss, redis+sentinel or redis+cluster", scheme)
	case kind == "":
		o, err := redis.ParseURL(plain)
		if err != nil {
			return nil, badURL(err)
		}
		given.replace(&o.ContextTimeoutEnabled, &o.DialTimeout, &o.ReadTimeout, s)
		return redis.NewClient(o), nil
	case kind == "sentinel":
		o, err := redis.ParseFailoverURL(plain)
		if err != nil {
			return nil, badURL(err)
		}
		if o.MasterName == "" {
			return nil, errors.New("a Sentinel URL needs ?master_name=")
		}
		given.replace(&o.ContextTimeoutEnabled, &o.DialTimeout, &o.ReadTimeout, s)
		return redis.NewFailoverClient(o), nil
	case kind == "cluster":
		o, err := redis.ParseClusterURL(plain)
		if err != nil {
			return nil, badURL(err)
		}
		given.replace(&o.ContextTimeoutEnabled, &o.DialTimeout, &o.ReadTimeout, s)
		return redis.NewClusterClient(o), nil
	default:
		return nil, fmt.Errorf("unknown scheme %q; want redis, rediss, redis+sentinel or redis+cluster", scheme)
	}
}

// readTimeout returns the timeout for an answer plus the timeout for replicas. The
// connection thus outlasts a wait for replicas.
func readTimeout(given time.Duration, s Settings) time.Duration {
	if given < 0 {
		return given
	}
	given = cmp.Or(given, answerTimeout)
	if s.Replicas > 0 {
		given += 2 * s.ReplicasTimeout
	}
	return given
}

// quiet stops go-redis from logging to standard error, past our logger. The error of a
// failed command has the same information.
var quiet = sync.OnceFunc(func() { redis.SetLogger(discard{}) })

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// badURL returns an error without the parts of the URL that net/url quotes.
func badURL(err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "parse ") {
		return errors.New("the URL cannot be parsed; percent-encode special characters of the password")
	}
	return err
}
