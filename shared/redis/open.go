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

// open returns a client of go-redis for a URL in one of the forms of [Open]. It does not
// connect yet. Errors never contain the URL, which holds the password.
func open(url string, s Settings) (redis.UniversalClient, error) {
	client, err := parse(url, s)
	if err != nil {
		return nil, fmt.Errorf("open Redis: %w", err)
	}
	addHooks(client, traced{})
	return client, nil
}

func parse(url string, s Settings) (redis.UniversalClient, error) {
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
		o.ContextTimeoutEnabled, o.ReadTimeout = true, readTimeout(o.ReadTimeout, s)
		return redis.NewClient(o), nil
	case kind == "sentinel":
		o, err := redis.ParseFailoverURL(plain)
		if err != nil {
			return nil, badURL(err)
		}
		if o.MasterName == "" {
			return nil, errors.New("a Sentinel URL needs ?master_name=")
		}
		o.ContextTimeoutEnabled, o.ReadTimeout = true, readTimeout(o.ReadTimeout, s)
		return redis.NewFailoverClient(o), nil
	case kind == "cluster":
		o, err := redis.ParseClusterURL(plain)
		if err != nil {
			return nil, badURL(err)
		}
		o.ContextTimeoutEnabled, o.ReadTimeout = true, readTimeout(o.ReadTimeout, s)
		return redis.NewClusterClient(o), nil
	default:
		return nil, fmt.Errorf("unknown scheme %q; want redis, rediss, redis+sentinel or redis+cluster", scheme)
	}
}

// readTimeout adds to the time that Redis gets for its answers the time that the
// replicas get, so that it is not the connection that ends a wait.
func readTimeout(given time.Duration, s Settings) time.Duration {
	const byDefault = 3 * time.Second // that of go-redis
	if s.Replicas == 0 || given < 0 {
		return given
	}
	return cmp.Or(given, byDefault) + 2*s.ReplicasTimeout
}

// quiet keeps go-redis from writing past our logger to standard error: whatever
// it has to say of a failed command is in the command's error, too.
var quiet = sync.OnceFunc(func() { redis.SetLogger(discard{}) })

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// badURL hides what net/url quotes of the URL.
func badURL(err error) error {
	text := err.Error()
	if strings.HasPrefix(text, "parse ") {
		return errors.New("the URL cannot be parsed; percent-encode special characters of the password")
	}
	return err
}
