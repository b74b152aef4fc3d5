package process

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
)

// checkProfileAddress returns an error if other machines can reach the address of
// profiles in a setting. An empty one is valid.
func checkProfileAddress(name, value string) error {
	if value == "" {
		return nil
	}
	if !isLoopback(value) {
		return fmt.Errorf("%s is %q, want a loopback address with a port such as 127.0.0.1:6060: profiles are for this machine alone", name, value)
	}
	return nil
}

// isLoopback reports whether only this machine reaches an address with a port.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// serveProfiles serves the profiles of net/http/pprof at /debug/pprof/ of an address of
// their own, until stop is called.
func (p *Process) serveProfiles() (stop func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return p.serveBeside("profiles", p.settings.PprofListen, mux)
}

// serveMetrics serves /metrics at an address of its own, until stop is called.
func (p *Process) serveMetrics() (stop func()) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", p.Metrics())
	return p.serveBeside("metrics", p.settings.MetricsListen, mux)
}

const (
	// maxBeside bounds the connections of an address that one client needs.
	maxBeside = 16
	// besideTimeout bounds the header of a request and an idle connection there.
	besideTimeout = 10 * time.Second
)

// serveBeside serves something for operators at an address of its own, until stop is
// called; nothing if the address is empty. An address in use is only logged: replicas of
// one function on one machine have the same settings.
func (p *Process) serveBeside(what, address string, handler http.Handler) (stop func()) {
	if address == "" {
		return func() {}
	}
	log := p.Log.With("what", what)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Warn("not served", "error", err)
		return func() {}
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: besideTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(p.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(netutil.LimitListener(listener, maxBeside)); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("not served any more", "error", err)
		}
	}()
	log.Info("serving", "address", listener.Addr().String())
	return func() {
		_ = server.Close()
		<-served
	}
}
