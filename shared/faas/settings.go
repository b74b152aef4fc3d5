package faas

import (
	"errors"
	"fmt"
	"time"

	"parkstream/shared/process"
)

// settings are those of every function, beside those of its process. OpenFaaS's own
// watchdog uses the names in lower case.
type settings struct {
	// ReadTimeout is how long a caller may take to send a request.
	ReadTimeout time.Duration `env:"read_timeout" envDefault:"60s"`
	// WriteTimeout is how long a call may take until its answer is sent, and how
	// long a stop waits for the calls in flight.
	WriteTimeout time.Duration `env:"write_timeout" envDefault:"60s"`
	// ExecTimeout ends the context of a call.
	ExecTimeout time.Duration `env:"exec_timeout" envDefault:"55s"`
	// DrainDelay is how long the process still serves after it has reported that it is
	// not ready, for its callers to notice.
	DrainDelay   time.Duration `env:"healthcheck_interval" envDefault:"0s"`
	MaxInflight  int64         `env:"max_inflight" envDefault:"0"` // 0: no bound
	MaxBodyBytes int64         `env:"MAX_BODY_BYTES" envDefault:"8388608"`
	// MaxBodiesBytes bounds the bodies of all calls together; 0: see bodiesLimit.
	MaxBodiesBytes int64 `env:"MAX_BODY_BYTES_IN_FLIGHT" envDefault:"0"`
}

// bodiesInFlight is MAX_BODY_BYTES_IN_FLIGHT or its default.
func (s *settings) bodiesInFlight() int64 {
	if s.MaxBodiesBytes > 0 {
		return s.MaxBodiesBytes
	}
	return bodiesLimit(s.MaxBodyBytes)
}

// largestBody bounds MAX_BODY_BYTES: 1 GiB.
const largestBody = 1 << 30

// Validate reports every mistake.
func (s *settings) Validate() error {
	errs := []error{process.CheckRange("MAX_BODY_BYTES", s.MaxBodyBytes, 1, largestBody)}
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.ExecTimeout <= 0 {
		mistake("exec_timeout is %s, want more than 0s", s.ExecTimeout)
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"read_timeout", s.ReadTimeout}, {"write_timeout", s.WriteTimeout}} {
		if t.d < s.ExecTimeout {
			mistake("%s is %s, want at least exec_timeout, which is %s", t.name, t.d, s.ExecTimeout)
		}
	}
	if s.DrainDelay < 0 {
		mistake("healthcheck_interval is %s, want 0s or more", s.DrainDelay)
	}
	if s.MaxInflight < 0 {
		mistake("max_inflight is %d, want 0 (no bound) or more", s.MaxInflight)
	}
	if s.MaxBodiesBytes != 0 && s.MaxBodiesBytes/growth < s.MaxBodyBytes {
		mistake("MAX_BODY_BYTES_IN_FLIGHT is %d, want 0 (a quarter of the memory) or at least %d times MAX_BODY_BYTES, which is %d", s.MaxBodiesBytes, growth, s.MaxBodyBytes)
	}
	return errors.Join(errs...)
}
