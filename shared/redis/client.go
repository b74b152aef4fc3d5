// Package redis is the base of the stores of timelines, stays and generated vehicles.
// It opens clients for every kind of Redis and runs scripts on them, many in one round
// trip.
package redis

import "log/slog"

// Client runs scripts on a Redis. It is safe for concurrent use.
type Client struct {
	rotation
	replicas replicas
	safety   safety
}

// Open returns a client of the Redis at a URL, which names its kind:
//
//	redis://user:password@host:6379/0                                   standalone (rediss://)
//	redis+sentinel://user:password@host:26379/0?master_name=m&addr=h2:26379   Sentinel (rediss+sentinel://)
//	redis+cluster://user:password@host:6379?addr=h2:6379&addr=h3:6379         Cluster (rediss+cluster://)
//
// The query takes the options of go-redis, such as pool_size or read_timeout.
// Open does not connect yet. The URL is read again while the client is used: once a
// second, and at once after a refused login. A changed URL is used as soon as it works,
// and refused commands are then repeated. Errors never contain the URL, because it
// holds the password.
func Open(url func() (string, error), options ...Option) (*Client, error) {
	c := &Client{rotation: rotation{source: url, log: slog.New(slog.DiscardHandler)}}
	for _, set := range options {
		set(c)
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, nil
}

// Option is an option of [Open].
type Option func(*Client)

// WithSettings returns the option for valid settings. The default waits for no replica.
func WithSettings(s Settings) Option {
	return func(c *Client) { c.settings, c.replicas.Settings = s, s }
}

// WithLogger returns the option for a logger. It gets the events that no caller gets as
// an error, such as a switch to a changed URL.
func WithLogger(log *slog.Logger) Option { return func(c *Client) { c.log = log } }

// URL returns a source for [Open] with a constant URL.
func URL(url string) func() (string, error) {
	return func() (string, error) { return url, nil }
}
