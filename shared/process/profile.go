package process

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
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
// their own, until stop is called. An address in use is only logged: replicas of one
// function on one machine have the same settings.
func (p *Process) serveProfiles() (stop func()) {
	address, log := p.settings.PprofListen, p.Log
	if address == "" {
		return func() {}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Warn("profiles are not served", "error", err)
		return func() {}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("profiles are not served any more", "error", err)
		}
	}()
	log.Info("serving profiles", "address", listener.Addr().String())
	return func() {
		_ = server.Close()
		<-served
	}
}
