package process

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Settings are those of every process.
type Settings struct {
	Listen      string `env:"LISTEN" envDefault:":8080"`
	ListenFD    int    `env:"LISTEN_FD"` // 0: none
	SecretsDir  string `env:"SECRETS_DIR" envDefault:"/var/openfaas/secrets"`
	LogFormat   string `env:"LOG_FORMAT" envDefault:"json"`
	LogLevel    string `env:"LOG_LEVEL" envDefault:"info"`
	PprofListen string `env:"PPROF_LISTEN"` // of the profiles; empty: none
	// MetricsListen is the address of /metrics alone; empty: none.
	MetricsListen string `env:"METRICS_LISTEN"`
	Tracing       tracingSettings
}

// firstInheritedFD is the first file descriptor after standard input, output
// and error.
const firstInheritedFD = 3

// Validate reports every mistake.
func (s *Settings) Validate() error {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, _, err := net.SplitHostPort(s.Listen); err != nil && s.ListenFD < firstInheritedFD { // else LISTEN is not used
		mistake("LISTEN is %q, want an address with a port such as :8080 or 127.0.0.1:8080", s.Listen)
	}
	if s.ListenFD != 0 && s.ListenFD < firstInheritedFD {
		mistake("LISTEN_FD is %d, want the number of an inherited socket, at least %d", s.ListenFD, firstInheritedFD)
	}
	if s.LogFormat != "json" && s.LogFormat != "text" {
		mistake("LOG_FORMAT is %q, want json or text", s.LogFormat)
	}
	if _, err := parseLevel(s.LogLevel); err != nil {
		mistake("LOG_LEVEL is %q, want debug, info, warn or error", s.LogLevel)
	}
	if _, _, err := net.SplitHostPort(s.MetricsListen); err != nil && s.MetricsListen != "" {
		mistake("METRICS_LISTEN is %q, want an address with a port such as :9091", s.MetricsListen)
	}
	errs = append(errs, checkProfileAddress("PPROF_LISTEN", s.PprofListen), s.Tracing.Validate())
	return errors.Join(errs...)
}

func (s *Settings) listen() (net.Listener, error) {
	if s.ListenFD == 0 {
		listener, err := net.Listen("tcp", s.Listen)
		if err != nil {
			return nil, fmt.Errorf("listen on LISTEN=%s: %w", s.Listen, err)
		}
		return listener, nil
	}
	file := os.NewFile(uintptr(s.ListenFD), "LISTEN_FD")
	if file == nil {
		return nil, fmt.Errorf("LISTEN_FD=%d is no file descriptor", s.ListenFD)
	}
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over the listening socket LISTEN_FD=%d from the parent process: %w", s.ListenFD, err)
	}
	return listener, nil
}
