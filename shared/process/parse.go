package process

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Parse fills dst, a pointer to a struct with the tags of github.com/caarlos0/env
// (env:"NAME" envDefault:"..."), from an environment in the form of os.Environ, and then
// calls its method Validate() error if it has one.
//
// A name may be written in upper or lower case; if it is given in both, the one in the
// tag counts. Names of OpenTelemetry (OTEL_*) are exact: its SDK reads some of them from
// the environment itself. A setting that is empty counts as not set. The forms of the
// values are
//
//	duration  1m30s, or a whole number of seconds
//	number    a whole number; sizes are in bytes
//	bool      true or false
//	list      elements with commas between them; the space around them is dropped, and so
//	          are empty ones: a comma alone is an empty list
//
// The error lists every mistake, one a line, and names the settings as they were written.
func Parse(dst any, environ []string) error {
	known, err := env.GetFieldParamsWithOptions(dst, options(nil))
	if err != nil {
		return err
	}
	values, written := lookUp(known, environ)
	var mistakes []error
	for _, setting := range known {
		value, given := values[setting.Key]
		if !given {
			continue
		}
		// Alone: a mistake belongs to this setting. It is left out below, and Validate
		// sees its default rather than a zero value.
		probe := reflect.New(reflect.TypeOf(dst).Elem()).Interface()
		if err := parseMistake(probe, setting.Key, value); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s is %q: %w", setting.Key, value, err))
			delete(values, setting.Key)
		}
	}
	mistakes = append(mistakes, flat(env.ParseWithOptions(dst, options(values)))...)
	if v, ok := dst.(interface{ Validate() error }); ok {
		mistakes = append(mistakes, v.Validate())
	}
	return asWritten(errors.Join(mistakes...), written)
}

// lookUp returns the values of the settings that are given, and the names that are
// spelled differently from their tags.
func lookUp(known []env.FieldParams, environ []string) (values, written map[string]string) {
	exact, folded := make(map[string]string), make(map[string]string)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if value != "" {
			exact[name] = value
			folded[strings.ToUpper(name)] = name
		}
	}
	values, written = make(map[string]string), make(map[string]string)
	for _, setting := range known {
		name := setting.Key
		if _, given := exact[name]; !given && !strings.HasPrefix(name, "OTEL_") {
			name = folded[strings.ToUpper(name)]
			written[setting.Key] = name
		}
		if value, given := exact[name]; given {
			values[setting.Key] = value
		}
	}
	return values, written
}

// withDefaults returns an environment with those of the defaults that it lacks.
func withDefaults(environ, defaults []string) []string {
	given := make(map[string]bool)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		given[strings.ToUpper(name)] = given[strings.ToUpper(name)] || value != ""
	}
	all := slices.Clone(environ)
	for _, kv := range defaults {
		if name, _, _ := strings.Cut(kv, "="); !given[strings.ToUpper(name)] {
			all = append(all, kv)
		}
	}
	return all
}

// settingName matches the name of a setting in an error, and a quoted value as a whole.
var settingName = regexp.MustCompile(`"(?:\\.|[^"\\])*"|\w+`)

// asWritten returns an error with the names of settings as the user wrote them.
func asWritten(err error, written map[string]string) error {
	if err == nil {
		return nil
	}
	return errors.New(settingName.ReplaceAllStringFunc(err.Error(), func(name string) string { return cmp.Or(written[name], name) }))
}

// parseMistake returns what is wrong with the form of one value.
func parseMistake(probe any, name, value string) error {
	for _, err := range flat(env.ParseWithOptions(probe, options(map[string]string{name: value}))) {
		if mistake, ok := errors.AsType[env.ParseError](err); ok {
			return mistake.Err
		}
	}
	return nil
}

// flat returns the errors in one of package env.
func flat(err error) []error {
	if all, ok := errors.AsType[env.AggregateError](err); ok {
		return all.Errors
	}
	return []error{err}
}

// options of package env. An environment of nil is empty, and not that of the process.
func options(environ map[string]string) env.Options {
	if environ == nil {
		environ = make(map[string]string)
	}
	return env.Options{Environment: environ, FuncMap: map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[time.Duration](): func(text string) (any, error) { return ParseDuration(text) },
		reflect.TypeFor[int](): func(text string) (any, error) {
			n, err := parseNumber(text, strconv.IntSize)
			return int(n), err
		},
		reflect.TypeFor[int64]():    func(text string) (any, error) { return parseNumber(text, 64) },
		reflect.TypeFor[bool]():     parseBool,
		reflect.TypeFor[[]string](): func(text string) (any, error) { return parseList(text), nil },
	}}
}

// ParseDuration returns the duration that a text has as 1m30s, or as a whole number of
// seconds.
func ParseDuration(text string) (time.Duration, error) {
	const most = int(math.MaxInt64 / int64(time.Second))
	if seconds, err := strconv.Atoi(text); err == nil && -most <= seconds && seconds <= most {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errors.New("want a duration such as 1m30s or a whole number of seconds")
	}
	return d, nil
}

func parseNumber(text string, bits int) (int64, error) {
	n, err := strconv.ParseInt(text, 10, bits)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("want a whole number of at most %d bits", bits)
	}
	if err != nil {
		return 0, errors.New("want a whole number")
	}
	return n, nil
}

func parseBool(text string) (any, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return nil, errors.New("want true or false")
	}
	return b, nil
}

func parseList(text string) []string {
	var list []string
	for element := range strings.SplitSeq(text, ",") {
		if element = strings.TrimSpace(element); element != "" {
			list = append(list, element)
		}
	}
	return list
}

// CheckURL returns an error if a setting that holds the URL of a server is invalid; an
// empty one is valid. secrets names the secrets that a password in it belongs into, if
// there are any.
func CheckURL(name, value string, secrets ...string) error {
	parsed, err := url.Parse(value)
	switch {
	case value == "":
		return nil
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return fmt.Errorf("%s is not an http:// or https:// URL with a host", name)
	case parsed.User != nil && len(secrets) > 0:
		return fmt.Errorf("%s has a password: put it into the files of %s", name, strings.Join(secrets, " and "))
	case parsed.User != nil: // errors name the URL
		return fmt.Errorf("%s has a password: no secret may be in the environment, and none is asked for there", name)
	}
	return nil
}

// CheckRange returns an error if a setting is less than least or more than most.
func CheckRange[T int | int64 | time.Duration](name string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s is %v, want %v to %v", name, value, least, most)
	}
	return nil
}
