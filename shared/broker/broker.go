// Package broker wraps the AMQP client for all parts of Parkstream: connections that
// are replaced when they are lost, the topology of a queue, and a publisher that
// reports for every message whether the broker has confirmed it.
//
// It does not use the client's automatic recovery: a recovered channel accepts the
// delivery tags of its predecessor, and a late acknowledgement would settle another
// message. Here a connection is an epoch: its channels and delivery tags end with it.
package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is how to reach RabbitMQ.
type Config struct {
	// URLs returns the amqp:// or amqps:// URLs of the nodes of one cluster. It is
	// called for every attempt to connect, which picks up a rotated password.
	// Required; see [URLs].
	URLs func() ([]string, error)
	// TLS is used with amqps:// URLs; its files are read for every attempt.
	TLS TLS
	// Name is shown in RabbitMQ's list of connections and is the label
	// "connection" of the metrics.
	Name string
	// Heartbeat is the interval of heartbeats; the connection to a silent peer is
	// closed after one and a half of it. Whole seconds; 10 s by default.
	Heartbeat time.Duration
	// Log gets connects and losses; nothing is logged if it is nil.
	Log *slog.Logger
	// Registerer gets the metrics, if it is not nil. Connections of one name share
	// theirs; two publishers need different names.
	Registerer prometheus.Registerer
}

// TLS names the files of a TLS connection. All are optional.
type TLS struct {
	CAFile     string // trusts these PEM certificates instead of the system's
	CertFile   string // our own certificate, if the broker asks for one
	KeyFile    string // the key of CertFile
	ServerName string // overrides the host name that the broker's certificate must have
}

func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the broker's CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the broker's CA file %s has no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate for the broker: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 10 * time.Second
	}
	if c.Name == "" {
		c.Name = "parkstream"
	}
	return c
}

// URLs returns a Config.URLs of a secret with one URL or more; see [SplitURLs]. read is
// called for every attempt to connect.
func URLs(read func() (string, error)) func() ([]string, error) {
	return func() ([]string, error) {
		text, err := read()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errURL, err)
		}
		return SplitURLs(text)
	}
}

// SplitURLs separates URLs at blanks, line ends and commas.
func SplitURLs(text string) ([]string, error) {
	text = strings.ReplaceAll(text, ",amqp", " amqp") // a comma may also be part of a password
	urls := strings.Fields(text)
	if len(urls) == 0 {
		return nil, errors.New("no broker URL is given: one looks like amqp://user:password@host:5672/vhost")
	}
	return urls, nil
}
