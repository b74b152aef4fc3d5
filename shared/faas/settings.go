package faas

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"parkstream/shared/tracing"
)

// settings of every process. The names in lower case are those that OpenFaaS's
// own watchdog uses.
type settings struct {
	Listen   string `env:"LISTEN" envDefault:":8080"`
	ListenFD int    `env:"LISTEN_FD"`
	// ReadTimeout is how long a caller may take to send a request.
	ReadTimeout time.Duration `env:"read_timeout" envDefault:"60s"`
	// WriteTimeout is how long a call may take until its answer is sent, and how
	// long a stop waits for the calls in flight.
	WriteTimeout time.Duration `env:"write_timeout" envDefault:"60s"`
	// ExecTimeout ends the context of a call.
	ExecTimeout time.Duration `env:"exec_timeout" envDefault:"55s"`
	// DrainDelay is how long the process still serves after it said that it is
	// no longer ready, so that whoever routes calls to it can notice.
	DrainDelay   time.Duration `env:"healthcheck_interval" envDefault:"0s"`
	MaxInflight  int64         `env:"max_inflight" envDefault:"0"` // 0: no bound
	MaxBodyBytes int64         `env:"MAX_BODY_BYTES" envDefault:"8388608"`
	// MaxBodiesBytes bounds the bodies of all calls together; 0: see bodiesLimit.
	MaxBodiesBytes int64  `env:"MAX_BODY_BYTES_IN_FLIGHT" envDefault:"0"`
	SecretsDir     string `env:"SECRETS_DIR" envDefault:"/var/openfaas/secrets"`
	LogFormat      string `env:"LOG_FORMAT" envDefault:"json"`
	LogLevel       string `env:"LOG_LEVEL" envDefault:"info"`
	PprofListen    string `env:"PPROF_LISTEN"` // of the profiles; empty: none
	Tracing        tracing.Settings
}

// bodiesInFlight is MAX_BODY_BYTES_IN_FLIGHT or its default.
func (s *settings) bodiesInFlight() int64 {
	if s.MaxBodiesBytes > 0 {
		return s.MaxBodiesBytes
	}
	return bodiesLimit(s.MaxBodyBytes)
}

// firstInheritedFD is the first file descriptor after standard input, output
// and error.
const firstInheritedFD = 3

// largestBody bounds MAX_BODY_BYTES: 1 GiB.
const largestBody = 1 << 30

// Validate reports every mistake.
func (s *settings) Validate() error {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.ListenFD != 0 && s.ListenFD < firstInheritedFD {
		mistake("LISTEN_FD is %d, want the number of an inherited socket, at least %d", s.ListenFD, firstInheritedFD)
	}
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
	if s.MaxBodyBytes < 1 || s.MaxBodyBytes > largestBody {
		mistake("MAX_BODY_BYTES is %d, want 1 to %d", s.MaxBodyBytes, largestBody)
	}
	if s.MaxBodiesBytes != 0 && s.MaxBodiesBytes/growth < s.MaxBodyBytes {
		mistake("MAX_BODY_BYTES_IN_FLIGHT is %d, want 0 (a quarter of the memory) or at least %d times MAX_BODY_BYTES, which is %d", s.MaxBodiesBytes, growth, s.MaxBodyBytes)
	}
	if s.LogFormat != "json" && s.LogFormat != "text" {
		mistake("LOG_FORMAT is %q, want json or text", s.LogFormat)
	}
	if _, err := parseLevel(s.LogLevel); err != nil {
		mistake("LOG_LEVEL is %q, want debug, info, warn or error", s.LogLevel)
	}
	errs = append(errs, CheckProfileAddress("PPROF_LISTEN", s.PprofListen), s.Tracing.Validate())
	return errors.Join(errs...)
}

func (s *settings) listen() (net.Listener, error) {
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

// parseSettings reads dst a second time without the variables that could not be
// parsed, so that Validate sees their defaults and not zero values.
func parseSettings(dst any, environ map[string]string) error {
	environ = maps.Clone(environ)
	maps.DeleteFunc(environ, func(_, value string) bool { return value == "" })
	mistakes := parseEnv(dst, environ)
	if mistakes != nil {
		_ = parseEnv(dst, environ)
	}
	if v, ok := dst.(interface{ Validate() error }); ok {
		mistakes = errors.Join(mistakes, v.Validate())
	}
	return mistakes
}

// parseEnv deletes the variables that cannot be parsed from environ.
func parseEnv(dst any, environ map[string]string) error {
	err := env.ParseWithOptions(dst, env.Options{
		Environment: environ,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[time.Duration](): parseDuration},
	})
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return err
	}
	var mistakes error
	for _, mistake := range all.Errors {
		if parse, ok := errors.AsType[env.ParseError](mistake); ok {
			if name := settingOf(reflect.TypeOf(dst).Elem(), parse.Name); name != "" {
				mistake = fmt.Errorf("%s is %q: %w", name, environ[name], wanted(parse))
				delete(environ, name)
			}
		}
		mistakes = errors.Join(mistakes, mistake)
	}
	return mistakes
}

// settingOf is the name of the setting that a field holds, of the struct or of one
// in it; empty where there is none.
func settingOf(t reflect.Type, field string) string {
	for f := range t.Fields() {
		if f.Name == field {
			name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
			return name
		}
		if f.Type.Kind() == reflect.Struct {
			if name := settingOf(f.Type, field); name != "" {
				return name
			}
		}
	}
	return ""
}

// wanted says for people what could not be parsed.
func wanted(mistake env.ParseError) error {
	switch mistake.Type.Kind() {
	case reflect.Bool:
		return errors.New("want true or false")
	case reflect.Int, reflect.Int64:
		if _, number := errors.AsType[*strconv.NumError](mistake.Err); number { // no duration
			return errors.New("want a whole number")
		}
	}
	return mistake.Err
}

func parseDuration(text string) (any, error) {
	const most = int(math.MaxInt64 / int64(time.Second))
	if seconds, err := strconv.Atoi(text); err == nil && -most <= seconds && seconds <= most {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, errors.New("want a duration such as 1m30s or a whole number of seconds")
	}
	return d, nil
}

// CheckURL says what is wrong with a setting that holds the URL of a server;
// empty, it is right.
func CheckURL(name, value string) error {
	parsed, err := url.Parse(value)
	switch {
	case value == "":
		return nil
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return fmt.Errorf("%s is not an http:// or https:// URL with a host", name)
	case parsed.User != nil: // errors name the URL
		return fmt.Errorf("%s has a password: no secret may be in the environment, and none is asked for there", name)
	}
	return nil
}
