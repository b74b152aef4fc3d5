// Package openfaas is the connector's side of an OpenFaaS gateway. A [Discovery] knows
// which functions listen to which queue, and how they want to be called; a [Gateway]
// calls one of them once and tells what the call came to. What that means for the
// messages of a call is for others to decide: the package knows no AMQP.
package openfaas

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"parkstream/shared/redirect"
)

const (
	dialTimeout = 5 * time.Second
	keepAlive   = 15 * time.Second
)

// Gateway is an OpenFaaS gateway. It may be used from several goroutines.
type Gateway struct {
	url        string // without the last slash
	connector  string
	credential func() (user, password string, err error)
	token      func() (string, error)
	client     *http.Client
	buffers    sync.Pool
	limit      int // of the bytes of a response
}

// GatewayConfig is what a [Gateway] is made of.
type GatewayConfig struct {
	// URL is the gateway's.
	URL string
	// CAFile has the certificates, in PEM, of the authorities that the gateway's
	// certificate is checked with. The system's are used if it is empty. It is read
	// for each new connection: the file may be replaced.
	CAFile string
	// Connector is what functions are told in the header X-Connector.
	Connector string
	// Credential returns the user and the password for the list of functions, or two
	// empty strings. It is called for each list.
	Credential func() (user, password string, err error)
	// Token returns the token for functions with [Function.SendToken], or "". It is
	// called for each of their calls.
	Token func() (string, error)
}

// NewGateway returns a gateway that was not called yet. The error is that of CAFile.
func NewGateway(c GatewayConfig) (*Gateway, error) {
	transport, err := newTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	return &Gateway{
		url: strings.TrimRight(c.URL, "/"), connector: c.Connector, credential: c.Credential, token: c.Token,
		client:  &http.Client{Transport: transport, CheckRedirect: redirect.Refuse},
		buffers: sync.Pool{New: func() any { return new(buffers) }},
		limit:   maxResponse,
	}, nil
}

// CloseIdleConnections closes the connections to the gateway that no call uses.
func (g *Gateway) CloseIdleConnections() { g.client.CloseIdleConnections() }

// newTransport returns the pool of connections to the gateway.
func newTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 1024, // the breakers bound the calls
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      16 << 10,
	}
	if caFile == "" {
		return t, nil
	}
	if _, err := readCA(caFile); err != nil {
		return nil, err
	}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		roots, err := readCA(caFile) // for each connection: it may have been replaced
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{NetDialer: &net.Dialer{KeepAlive: keepAlive}, Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		return d.DialContext(ctx, network, addr)
	}
	return t, nil
}

func readCA(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the gateway's CA file %s has no PEM certificate", file)
	}
	return roots, nil
}
