package process

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettings(t *testing.T) {
	for _, tt := range []struct{ environ, want []string }{
		{nil, nil}, // every setting has a default that is right
		{[]string{"LISTEN=127.0.0.1:0", "LISTEN_FD=3", "LOG_FORMAT=text", "LOG_LEVEL=debug", "PPROF_LISTEN=localhost:6060"}, nil},
		{[]string{"LISTEN=8080", "LISTEN_FD=3"}, nil}, // LISTEN is not used
		{[]string{"LISTEN=8080", "LISTEN_FD=2", "LOG_FORMAT=xml", "LOG_LEVEL=loud", "PPROF_LISTEN=:6060"}, []string{
			`LISTEN is "8080", want an address with a port such as :8080 or 127.0.0.1:8080`,
			`LISTEN_FD is 2, want the number of an inherited socket, at least 3`,
			`LOG_FORMAT is "xml", want json or text`,
			`LOG_LEVEL is "loud", want debug, info, warn or error`,
			`PPROF_LISTEN is ":6060", want a loopback address with a port such as 127.0.0.1:6060: profiles are for this machine alone`,
		}},
		{[]string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_EXPORTER=zipkin"}, nil}, // tracing is off
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "OTEL_TRACES_EXPORTER=none"}, nil},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, nil},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318"}, []string{`OTEL_EXPORTER_OTLP_ENDPOINT is not an http:// or https:// URL with a host`}},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://u:hush@c:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_EXPORTER=zipkin"}, []string{
			`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT has a password: put it into the files of otlp-headers`,
			`OTEL_EXPORTER_OTLP_PROTOCOL is "grpc", want http/protobuf or http/json; collectors take both on port 4318`,
			`OTEL_TRACES_EXPORTER is "zipkin", want otlp or none`,
		}},
	} {
		var got []string
		p, err := New(Options{Name: "test", Environ: append(tt.environ, "SECRETS_DIR="+t.TempDir())})
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		p.Close()
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.environ, diff)
		}
	}
}

func TestDefaultsOfAProgram(t *testing.T) {
	defaults := []string{"LISTEN=127.0.0.1:8083", "LOG_FORMAT=text"}
	for _, tt := range []struct {
		environ        []string
		listen, format string
	}{
		{nil, "127.0.0.1:8083", "text"},
		{[]string{"LISTEN=", "log_format="}, "127.0.0.1:8083", "text"},
		{[]string{"LISTEN=:1", "LOG_FORMAT=json"}, ":1", "json"},
		{[]string{"listen=:1", "Log_Format=json"}, ":1", "json"},
	} {
		p, err := New(Options{Environ: tt.environ, Defaults: defaults})
		if err != nil || p.settings.Listen != tt.listen || p.settings.LogFormat != tt.format {
			t.Errorf("%q: %+v, %v", tt.environ, p.settings, err)
		}
	}
}

func TestURLOfSpans(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318/"
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{nil, ""},
		{[]string{strings.ToLower(endpoint)}, ""}, // the SDK would not read its other settings
		{[]string{endpoint, "otel_sdk_disabled=true"}, "http://collector:4318/v1/traces"},
		{[]string{endpoint}, "http://collector:4318/v1/traces"},
		{[]string{endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://other/spans"}, "http://other/spans"},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://other/spans"}, "http://other/spans"},
		{[]string{endpoint, "OTEL_SDK_DISABLED=true"}, ""},
		{[]string{endpoint, "OTEL_TRACES_EXPORTER=none"}, ""},
	} {
		var s Settings
		if err := Parse(&s, tt.environ); err != nil || s.Tracing.url() != tt.want {
			t.Errorf("%q: %q, %v, want %q", tt.environ, s.Tracing.url(), err, tt.want)
		}
	}
}

func TestCheckProfileAddress(t *testing.T) {
	for value, ok := range map[string]bool{
		"": true, "127.0.0.1:6060": true, "127.1.2.3:0": true, "[::1]:6060": true, "localhost:6060": true,
		":6060": false, "0.0.0.0:6060": false, "[::]:6060": false, "10.0.0.3:6060": false, "example.org:6060": false,
		"127.0.0.1": false, "true": false, "6060": false, "localhost.example.org:1": false,
	} {
		if err := checkProfileAddress("PPROF_LISTEN", value); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// Loopback is what the process listens on, whatever LISTEN has.
func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		":8080": false, "0.0.0.0:8080": false, "[::]:0": false, "192.0.2.1:0": false, "parking.example:80": false, "127.0.0.1.example:80": false,
		"127.0.0.1:0": true, "127.9.9.9:0": true, "[::1]:0": true, "localhost:0": true, "[::ffff:127.0.0.1]:0": true,
	} {
		p, err := New(Options{Environ: []string{"LISTEN=" + address}})
		if err != nil {
			t.Fatal(err)
		}
		if p.Loopback() != want {
			t.Errorf("%s is loopback: %t", address, !want)
		}
	}
	for listen, want := range map[string]bool{"127.0.0.1:0": true, ":0": false} {
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(Options{Environ: []string{"LISTEN=127.0.0.1:0"}, Listener: listener})
		if err != nil || p.Loopback() != want {
			t.Errorf("a listener on %s is loopback: %t, %v", listen, !want, err)
		}
		socket, err := listener.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		// The process takes the descriptor over and closes it.
		fd, err := syscall.Dup(int(socket.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		p, err = New(Options{Environ: []string{"LISTEN=127.0.0.1:0", fmt.Sprint("LISTEN_FD=", fd)}})
		if err != nil || p.Loopback() != want || p.Loopback() != want {
			t.Errorf("an inherited socket on %s is loopback: %t, %v", listen, !want, err)
		}
		p.listener.Close()
		socket.Close()
		listener.Close()
	}
}
