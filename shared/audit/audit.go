// Package audit records who did what, when and from where. An entry is in Redis, as
// durable as an event, and in the log before the act begins; an act that cannot be
// recorded is not done. No entry changes: each is removed when it is older than the
// retention, or displaced by newer ones of its action.
package audit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"parkstream/shared/access"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

//go:embed append.lua
var appendSource string

//go:embed refuse.lua
var refuseSource string

var (
	appendScript = redis.NewScript(appendSource)
	refuseScript = redis.NewScript(refuseSource)
)

// Settings of the audit. A program has them as a field of its own settings.
type Settings struct {
	// Retention is how long entries are kept.
	Retention time.Duration `env:"AUDIT_RETENTION" envDefault:"8760h"`
	// MaxEntries bounds the entries of each action.
	MaxEntries int64 `env:"AUDIT_MAX_ENTRIES" envDefault:"100000"`
}

const (
	minRetention  = 24 * time.Hour
	maxRetention  = 10 * 8784 * time.Hour // ten years
	minMaxEntries = 1000
	maxMaxEntries = 1_000_000
)

// Validate returns all mistakes as one error.
func (s Settings) Validate() error {
	var errs []error
	if s.Retention < minRetention || s.Retention > maxRetention {
		errs = append(errs, fmt.Errorf("AUDIT_RETENTION is %s, want %s to %s", s.Retention, minRetention, maxRetention))
	}
	if s.MaxEntries < minMaxEntries || s.MaxEntries > maxMaxEntries {
		errs = append(errs, fmt.Errorf("AUDIT_MAX_ENTRIES is %d, want %d to %d", s.MaxEntries, minMaxEntries, maxMaxEntries))
	}
	return errors.Join(errs...)
}

// Log is the audit of a system. It is safe for concurrent use by any number of
// processes.
type Log struct {
	redis    *redis.Client
	settings Settings
	log      *slog.Logger
	metrics  *metrics
	now      func() time.Time
	repeated repeated
	failing  rate.Sometimes // logs of refused logins: strangers cause them

	mu  sync.Mutex
	cut map[Action]time.Time // when entries of an action were last displaced
}

// New returns the audit on a client for valid settings. The caller closes the client.
// All programs of a system have the same settings.
func New(client *redis.Client, s Settings, log *slog.Logger, r prometheus.Registerer) *Log {
	return &Log{
		redis: client, settings: s, log: log, metrics: newMetrics(r), now: time.Now,
		failing: rate.Sometimes{First: 1, Interval: time.Minute}, cut: make(map[Action]time.Time),
	}
}

// NotRecordedError is the error of an act that was not done, because it could not be
// recorded.
type NotRecordedError struct{ cause error }

func (e *NotRecordedError) Error() string { return "record it in the audit: " + e.cause.Error() }
func (e *NotRecordedError) Unwrap() error { return e.cause }

// Detail returns the public text.
func (e *NotRecordedError) Detail() string {
	return "this cannot be recorded in the audit now and was therefore not done: try again"
}

// Add records an act that must not be done if it cannot be recorded: the error is a
// [NotRecordedError] then. Searches that a user repeats within a minute have one entry.
func (l *Log) Add(ctx context.Context, e Entry) error {
	key, repeats := "", e.Action == Search
	if repeats {
		key = fmt.Sprintf("%q", []string{e.Who, e.Role, e.Address, e.Site, e.Object, e.Plate})
		if l.repeated.has(l.now(), key) {
			return nil
		}
	}
	if _, err := l.add(ctx, e); err != nil {
		return err
	}
	if repeats {
		l.repeated.add(l.now(), key)
	}
	return nil
}

// Change is what an act has changed.
type Change struct{ Before, After string }

// endTimeout bounds the time to record the end of an act. The caller of the act may be
// gone by then.
const endTimeout = 5 * time.Second

// Do records an act as begun, does it, and records its end as done or failed. It
// returns the error of the act. If the act cannot be recorded, it is not done, and the
// error is a [NotRecordedError].
func (l *Log) Do(ctx context.Context, e Entry, act func(context.Context) (Change, error)) error {
	end, err := l.Begin(ctx, e)
	if err != nil {
		return err
	}
	change, err := act(ctx)
	end(change, err)
	return err
}

// Begin records an act as begun. The caller does it and calls end with its result. An
// end that cannot be recorded is logged. If err is not nil the act must not be done; err
// is a [NotRecordedError].
func (l *Log) Begin(ctx context.Context, e Entry) (end func(Change, error), err error) {
	e.Outcome = Begun
	if e.Of, err = l.add(ctx, e); err != nil {
		return nil, err
	}
	return func(change Change, failure error) {
		e.Before, e.After, e.Outcome = change.Before, change.After, Done
		if failure != nil {
			e.Outcome = Failed
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if _, err := l.add(ctx, e); err != nil {
			clean(&e)
			l.log.ErrorContext(ctx, "the end of an act is not in the audit", append(attributes(&e), "error", err)...)
		}
	}, nil
}

// add records an entry and returns its id.
func (l *Log) add(ctx context.Context, e Entry) (id string, err error) {
	clean(&e)
	args := []any{string(e.Action), l.settings.Retention.Milliseconds(), l.settings.MaxEntries}
	for _, f := range fields {
		args = append(args, f.name, *f.of(&e))
	}
	call := redis.Call{Script: appendScript, Keys: []string{redis.Audit}, Args: args}
	l.redis.Run(ctx, &call)
	text, err := call.Text()
	if err != nil {
		l.metrics.failures.WithLabelValues(string(e.Action)).Inc()
		return "", &NotRecordedError{err}
	}
	inStream, cut, _ := strings.Cut(text, " ")
	e.ID = inStream + "." + string(e.Action)
	l.metrics.entries.WithLabelValues(string(e.Action)).Inc()
	l.log.InfoContext(ctx, "audit", attributes(&e)...)
	if n, _ := strconv.ParseInt(cut, 10, 64); n > 0 {
		l.displaced(ctx, e.Action, n)
	}
	return e.ID, nil
}

// clean makes the texts of an entry safe to keep and to show.
func clean(e *Entry) {
	plate := e.Plate
	for _, f := range fields {
		text := f.of(e)
		if plate != "" {
			*text = parking.MaskPlateIn(*text, plate)
		}
		*text = printable(*text, f.most)
	}
}

// attributes returns an entry for a log line, without what it does not have.
func attributes(e *Entry) []any {
	attrs := []any{slog.String("action", string(e.Action))}
	for _, f := range fields {
		if text := *f.of(e); text != "" {
			attrs = append(attrs, slog.String(f.name, text))
		}
	}
	if e.ID != "" {
		attrs = append(attrs, slog.String("id", e.ID))
	}
	return attrs
}

const (
	// cutWarnedFor is the time for which displaced entries are a warning, and the
	// least time between two lines of the log about them.
	cutWarnedFor = time.Hour

	// refusedApart bounds the users with their addresses whose refused logins of one
	// minute have entries of their own.
	refusedApart = 50
	// refusedTimeout bounds the time to record a refused login.
	refusedTimeout = time.Second
)

// displaced reports that entries of an action were removed before their time.
func (l *Log) displaced(ctx context.Context, a Action, n int64) {
	l.metrics.displaced.WithLabelValues(string(a)).Add(float64(n))
	now := l.now()
	l.mu.Lock()
	last, known := l.cut[a]
	due := !known || now.Sub(last).Abs() >= cutWarnedFor
	if due {
		l.cut[a] = now
	}
	l.mu.Unlock()
	if due {
		l.log.WarnContext(ctx, "the audit removes entries before AUDIT_RETENTION, since there are AUDIT_MAX_ENTRIES of their action: raise it, or find out who does this so often", "action", string(a))
	}
}

// Check returns an error with a public text if entries were lately removed before their
// time. It is a check for warnings.
func (l *Log) Check(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range Actions() {
		if at, known := l.cut[a]; known && l.now().Sub(at).Abs() < cutWarnedFor {
			return displacedError(a)
		}
	}
	return nil
}

// displacedError is the public text of a warning.
type displacedError Action

func (e displacedError) Error() string {
	return fmt.Sprintf("the audit has AUDIT_MAX_ENTRIES entries of the action %s and removes the oldest before AUDIT_RETENTION", string(e))
}

// Detail returns the public text.
func (e displacedError) Detail() string { return e.Error() }

// Refused records a refused login. Those of one user and address in a minute have an
// entry for the 1st, the 10th, the 100th and so on; of further users and addresses they
// have such entries together. A login is refused all the same if that is not recorded,
// which the log tells at most once a minute.
func (l *Log) Refused(ctx context.Context, p access.Principal) {
	e := By(p, LoginRefused)
	e.Outcome = Refused
	if e.Who == "" {
		e.Who = "(unknown)"
	}
	clean(&e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusedTimeout)
	defer cancel()
	if err := l.refused(ctx, &e); err != nil {
		l.failing.Do(func() { l.log.WarnContext(ctx, "a refused login is not in the audit", "error", err) })
	}
}

func (l *Log) refused(ctx context.Context, e *Entry) error {
	// A failover may lose it: a stranger must not make the system wait for replicas.
	call := redis.Call{Script: refuseScript, Keys: []string{redis.Audit}, Args: []any{e.Who + "\n" + e.Address, refusedApart}, NoWait: true}
	l.redis.Run(ctx, &call)
	n, err := call.Int64()
	switch {
	case err != nil:
		l.metrics.failures.WithLabelValues(string(LoginRefused)).Inc()
		return err
	case n == 0:
		return nil
	case n < 0:
		e.Who, e.Via, e.Address, n = "(others)", "", "", -n
	}
	e.Object = strconv.FormatInt(n, 10) + " in a minute"
	_, err = l.add(ctx, *e)
	return err
}

// Process is what a [Log] reports to; shared/process implements it.
type Process interface {
	OnWarning(name string, check func(context.Context) error)
}

// Register makes a process show the warnings of the audit, and a guard record the logins
// that it refuses.
func (l *Log) Register(p Process, guard *access.Guard) {
	p.OnWarning("audit", l.Check)
	guard.OnRefused(l.Refused)
}
