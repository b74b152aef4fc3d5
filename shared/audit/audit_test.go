package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"parkstream/shared/access"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/redis"
)

// killed names the Redis of the process that TestKilledBetweenEntryAndAct kills.
const killed = "AUDIT_TEST_KILLED"

func TestMain(m *testing.M) {
	if url := os.Getenv(killed); url != "" {
		actForEver(url)
	}
	goleak.VerifyTestMain(m)
}

var settings = Settings{Retention: 8760 * time.Hour, MaxEntries: 1000}

// audited is an audit with its log lines.
type audited struct {
	*Log
	client goredis.UniversalClient
	lines  *lines
}

// lines is a log that is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newAudit(t *testing.T, r *instance.Redis, s Settings, options ...redis.Option) *audited {
	t.Helper()
	client, err := redis.Open(redis.URL(r.URL()), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	a := &audited{client: client.Current(), lines: new(lines)}
	a.Log = New(client, s, slog.New(slog.NewJSONHandler(a.lines, nil)), prometheus.NewRegistry())
	return a
}

func (a *audited) all(t *testing.T, q Query) []Entry {
	t.Helper()
	q.Limit = 1_000_000
	page, err := a.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return page.Entries
}

func (a *audited) must(t *testing.T, entries ...Entry) {
	t.Helper()
	for _, e := range entries {
		if err := a.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func order(t *testing.T, client goredis.UniversalClient, args ...any) {
	t.Helper()
	if err := client.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// unsetByLog ignores what the log sets.
var unsetByLog = cmpopts.IgnoreFields(Entry{}, "ID", "At")

// What an entry has is in Redis and in a line of the log. A plate is masked in each of
// its texts.
func TestAdd(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	before := time.Now().Add(-time.Minute)
	a.must(t,
		Entry{Who: "anna", Role: "operator", Via: "session", Address: "192.0.2.7", Action: Search, Site: "north", Object: "status=completed", Plate: "ka-01 ab 1234", Outcome: Begun},
		Entry{Who: "otto", Role: "admin", Via: "password", Address: "2001:db8::1", Action: Erase, Object: "KA01AB1234 and ka-01-ab-1234/7", Plate: "KA01AB1234", After: "events 1", Outcome: Done, Of: "x"},
	)
	want := []Entry{
		{Who: "otto", Role: "admin", Via: "password", Address: "2001:db8::1", Action: Erase, Object: "*******234 and *******234/7", Plate: "*******234", After: "events 1", Outcome: Done, Of: "x"},
		{Who: "anna", Role: "operator", Via: "session", Address: "192.0.2.7", Action: Search, Site: "north", Object: "status=completed", Plate: "*******234", Outcome: Begun},
	}
	got := a.all(t, Query{})
	if diff := cmp.Diff(want, got, unsetByLog); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	for i, e := range got {
		if e.At.Before(before) || time.Since(e.At) < -time.Minute || e.At.Location() != time.UTC || !strings.HasSuffix(e.ID, "."+string(e.Action)) {
			t.Errorf("entry %d: id %q at %s", i, e.ID, e.At)
		}
	}
	var line map[string]any
	first, _, _ := strings.Cut(a.lines.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	if diff := cmp.Diff(map[string]any{
		"level": "INFO", "msg": "audit", "action": "search", "who": "anna", "role": "operator", "via": "session", "address": "192.0.2.7",
		"site": "north", "object": "status=completed", "plate": "*******234", "outcome": "begun", "id": got[1].ID,
	}, line); diff != "" {
		t.Errorf("line of the log (-want +got):\n%s", diff)
	}
	for _, key := range a.client.Keys(t.Context(), "*").Val() {
		if !strings.HasPrefix(key, redis.Audit) || strings.Contains(a.client.Dump(t.Context(), key).Val(), "1AB1") {
			t.Errorf("key %q", key)
		}
		if ttl := a.client.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > settings.Retention {
			t.Errorf("%s expires in %s", key, ttl)
		}
	}
	if strings.Contains(a.lines.String(), "1AB1") {
		t.Errorf("the log has a plate: %s", a.lines)
	}
	if n := testutil.ToFloat64(a.metrics.entries.WithLabelValues("erase")); n != 1 {
		t.Errorf("%v erasures are counted, want 1", n)
	}
}

// No text of a stranger begins a line, moves a cursor, turns the direction or has no
// bound.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"anna":                           "anna",
		"Zoë 京都":                         "Zoë 京都",
		"a\nb\rc\td":                     `a\u000ab\u000dc\u0009d`,
		"\x00\x1b[31m\x7f":               `\u0000\u001b[31m\u007f`,
		"\u202eanna\u2066\u200f":         `\u202eanna\u2066\u200f`,
		"\u2028\u2029\u0085":             `\u2028\u2029\u0085`,
		"a\u00a0b\u200bc\ufeff":          `a\u00a0b\u200bc\ufeff`,
		"\xff\xc3":                       `\xff\xc3`,
		"\U000e0041":                     `\U000e0041`,
		"\ufffd":                         "\ufffd",
		strings.Repeat("x", 32):          strings.Repeat("x", 32),
		strings.Repeat("x", 33):          strings.Repeat("x", 29) + "…",
		strings.Repeat("é", 17):          strings.Repeat("é", 14) + "…",
		strings.Repeat("\n", 1000):       strings.Repeat(`\u000a`, 4) + "…",
		strings.Repeat("京", 1_000_000):   strings.Repeat("京", 9) + "…",
		"0123456789012345678901234567\n": "0123456789012345678901234567…",
		"01234567890123456789012345\n":   `01234567890123456789012345\u000a`,
		"=cmd|' /C calc'!A0":             "=cmd|' /C calc'!A0", // summary.inert guards it in CSV
	} {
		got := printable(text, 32)
		if got != want || len(got) > 32 || printable(got, 32) != got {
			t.Errorf("printable(%.60q) = %q, want %q", text, got, want)
		}
	}
}

func TestEachTextIsBounded(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	e := Entry{Action: Generate}
	for _, f := range fields {
		*f.of(&e) = strings.Repeat("\n\u202eKA01AB1234", 1000)
	}
	e.Plate = "KA01AB1234"
	a.must(t, e)
	got := a.all(t, Query{})
	if len(got) != 1 {
		t.Fatalf("%d entries", len(got))
	}
	for _, f := range fields {
		text := *f.of(&got[0])
		if len(text) > f.most || text == "" || strings.Contains(text, "1AB1") || text != printable(text, f.most) {
			t.Errorf("%s has %d bytes: %q", f.name, len(text), text)
		}
	}
	if n := strings.Count(a.lines.String(), "\n"); n != 1 {
		t.Errorf("%d lines of the log, want 1", n)
	}
}

// Do records an act before it, and its end after it.
func TestDo(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	e := Entry{Who: "anna", Action: Correct, Site: "north"}
	broken := errors.New("broken")
	for _, tt := range []struct {
		err  error
		want Outcome
	}{{nil, Done}, {broken, Failed}} {
		ctx, cancel := context.WithCancel(t.Context())
		err := a.Do(ctx, e, func(context.Context) (Change, error) {
			if got := a.all(t, Query{}); got[0].Outcome != Begun || got[0].Before+got[0].After+got[0].Of != "" {
				t.Errorf("before the act the newest entry is %+v", got[0])
			}
			cancel() // the caller is gone
			return Change{"3", "5"}, tt.err
		})
		if !errors.Is(err, tt.err) {
			t.Errorf("error %v, want %v", err, tt.err)
		}
		got := a.all(t, Query{})
		want := Entry{Who: "anna", Action: Correct, Site: "north", Before: "3", After: "5", Outcome: tt.want, Of: got[1].ID}
		if diff := cmp.Diff(want, got[0], unsetByLog); diff != "" {
			t.Errorf("the end of the act (-want +got):\n%s", diff)
		}
	}
}

// An act is not done while its entry cannot be written, whatever the reason.
func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	for name, tt := range map[string]struct {
		lose, restore []any
	}{
		"no permission to append":      {[]any{"ACL", "SETUSER", "default", "-xadd"}, []any{"ACL", "SETUSER", "default", "+xadd"}},
		"no permission to trim":        {[]any{"ACL", "SETUSER", "default", "-xtrim"}, []any{"ACL", "SETUSER", "default", "+xtrim"}},
		"no permission for the keys":   {[]any{"ACL", "SETUSER", "default", "resetkeys", "~park:{*"}, []any{"ACL", "SETUSER", "default", "allkeys"}},
		"a key of another type":        {[]any{"SET", redis.Audit + "erase", "x"}, []any{"DEL", redis.Audit + "erase"}},
		"a full Redis":                 {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}},
		"too few replicas for writes":  {[]any{"CONFIG", "SET", "min-replicas-to-write", "1"}, []any{"CONFIG", "SET", "min-replicas-to-write", "0"}},
		"a Redis that is paused":       {[]any{"CLIENT", "PAUSE", "60000", "WRITE"}, []any{"CLIENT", "UNPAUSE"}},
		"scripts that are not allowed": {[]any{"ACL", "SETUSER", "default", "-eval", "-evalsha"}, []any{"ACL", "SETUSER", "default", "+eval", "+evalsha"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAudit(t, instancetest.Redis(t), settings)
			order(t, a.client, tt.lose...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := a.Do(ctx, Entry{Who: "anna", Action: Erase}, func(context.Context) (Change, error) {
				t.Error("the act is done")
				return Change{}, nil
			})
			refused, ok := errors.AsType[*NotRecordedError](err)
			if !ok || !strings.Contains(refused.Detail(), "not done") {
				t.Errorf("error %v", err)
			}
			if err := a.Add(ctx, Entry{Who: "anna", Action: Erase}); err == nil {
				t.Error("an entry is added")
			}
			if strings.Contains(a.lines.String(), `"msg":"audit"`) {
				t.Errorf("the log has it: %s", a.lines)
			}
			if n := testutil.ToFloat64(a.metrics.failures.WithLabelValues("erase")); n != 2 {
				t.Errorf("%v failures are counted, want 2", n)
			}
			order(t, a.client, tt.restore...)
			if got := a.all(t, Query{}); len(got) > 0 && name != "a Redis that is paused" {
				t.Errorf("entries %+v", got)
			}
			if err := a.Do(t.Context(), Entry{Who: "anna", Action: Erase}, func(context.Context) (Change, error) { return Change{}, nil }); err != nil {
				t.Errorf("it is not done afterwards: %v", err)
			}
		})
	}
}

// An entry counts when replicas have it.
func TestAnEntryIsAsDurableAsAnEvent(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings, redis.WithSettings(redis.Settings{Replicas: 1, ReplicasTimeout: 10 * time.Millisecond}))
	err := a.Add(t.Context(), Entry{Action: Login})
	if missing, ok := errors.AsType[*redis.ReplicasError](err); !ok || missing.Asked != 1 {
		t.Errorf("without its replica: %v", err)
	}
	a.Refused(t.Context(), access.Principal{Name: "anna"})
}

// A process that ends between the entry and the act leaves the entry, without an end.
func TestKilledBetweenEntryAndAct(t *testing.T) {
	r := instancetest.Redis(t)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), killed+"="+r.URL())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "in the act\n" {
		t.Errorf("the process prints %q, error %v", line, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	got := newAudit(t, r, settings).all(t, Query{})
	if diff := cmp.Diff([]Entry{{Who: "anna", Action: Erase, Outcome: Begun}}, got, unsetByLog); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// actForEver does an act that does not end.
func actForEver(url string) {
	client, err := redis.Open(redis.URL(url))
	if err != nil {
		panic(err)
	}
	l := New(client, settings, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	err = l.Do(context.Background(), Entry{Who: "anna", Action: Erase}, func(context.Context) (Change, error) {
		fmt.Println("in the act")
		select {}
	})
	panic(err)
}

// Entries older than the retention are not shown, and removed with the next entry.
func TestRetention(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	at := func(age time.Duration) string { return fmt.Sprintf("%d-0", time.Now().Add(-age).UnixMilli()) }
	for _, age := range []time.Duration{settings.Retention + time.Hour, settings.Retention + time.Minute, settings.Retention - time.Minute, time.Minute} {
		order(t, a.client, "XADD", redis.Audit+"login", at(age), "who", "anna")
	}
	if got := a.all(t, Query{}); len(got) != 2 {
		t.Errorf("%d entries are shown, want 2", len(got))
	}
	a.must(t, Entry{Who: "otto", Action: Login})
	if n := a.client.XLen(t.Context(), redis.Audit+"login").Val(); n != 3 {
		t.Errorf("%d entries are kept, want 3", n)
	}
	if n := testutil.ToFloat64(a.metrics.displaced.WithLabelValues("login")); n != 0 || a.Check(t.Context()) != nil {
		t.Errorf("%v entries count as displaced, warning %v", n, a.Check(t.Context()))
	}
}

// The bound of one action displaces no entry of another. It is a warning and a metric.
func TestMaxEntries(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), Settings{Retention: settings.Retention, MaxEntries: 5})
	a.must(t, Entry{Who: "first", Action: Erase})
	for i := range 9 {
		if i == 5 && a.Check(t.Context()) != nil {
			t.Error("it warns too early")
		}
		a.must(t, Entry{Who: fmt.Sprint(i), Action: Download})
	}
	var who []string
	for _, e := range a.all(t, Query{}) {
		who = append(who, e.Who)
	}
	if want := []string{"8", "7", "6", "5", "4", "first"}; !slices.Equal(who, want) {
		t.Errorf("entries of %q, want %q", who, want)
	}
	if n := testutil.ToFloat64(a.metrics.displaced.WithLabelValues("download")); n != 4 {
		t.Errorf("%v entries are displaced, want 4", n)
	}
	if n := strings.Count(a.lines.String(), "AUDIT_MAX_ENTRIES"); n != 1 {
		t.Errorf("the log warns %d times, want once an hour", n)
	}
	if err := a.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "download") {
		t.Errorf("the warning is %v", err)
	}
	a.now = func() time.Time { return time.Now().Add(cutWarnedFor) }
	if err := a.Check(t.Context()); err != nil {
		t.Errorf("an hour later the warning is %v", err)
	}
}

// Refused logins are counted together, over all processes, and displace nothing.
func TestRefused(t *testing.T) {
	r := instancetest.Redis(t)
	one, two := newAudit(t, r, settings), newAudit(t, r, settings)
	one.must(t, Entry{Who: "anna", Action: Login})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				[]*audited{one, two}[i%2].Refused(t.Context(), access.Principal{Name: "anna", Via: "password", Address: "192.0.2.7"})
			}
		})
	}
	wg.Wait()
	for i := range 300 { // a botnet
		one.Refused(t.Context(), access.Principal{Name: "anna\n", Address: fmt.Sprint("192.0.2.", i)})
	}
	var objects []string
	alone, together := 0, 0
	for _, e := range one.all(t, Query{Action: LoginRefused}) {
		switch {
		case e.Address == "192.0.2.7" && e.Via == "password":
			objects = append(objects, e.Object)
			if diff := cmp.Diff(Entry{Who: "anna", Via: "password", Address: "192.0.2.7", Action: LoginRefused, Outcome: Refused}, e, unsetByLog, cmpopts.IgnoreFields(Entry{}, "Object")); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
		case e.Who == "(others)":
			together++
		default:
			alone++
		}
	}
	slices.Sort(objects)
	if want := []string{"1 in a minute", "10 in a minute", "100 in a minute"}; !slices.Equal(objects, want) {
		t.Errorf("entries of 400 refused logins: %q, want %q", objects, want)
	}
	if alone != refusedApart-1 || together != 3 { // 1, 10, 100 of 251
		t.Errorf("%d users and addresses have entries of their own, and %d together", alone, together)
	}
	minute := redis.Audit + "minute"
	if n, ttl := one.client.HLen(t.Context(), minute).Val(), one.client.PTTL(t.Context(), minute).Val(); n != refusedApart+1 || ttl <= 0 || ttl > time.Minute {
		t.Errorf("%d users and addresses are counted for %s", n, ttl)
	}
	order(t, one.client, "DEL", minute) // as if a minute had passed
	one.Refused(t.Context(), access.Principal{Name: "anna", Via: "password", Address: "192.0.2.7"})
	if got := one.all(t, Query{})[0]; got.Object != "1 in a minute" {
		t.Errorf("in the next minute the entry is %+v", got)
	}
	if got := one.all(t, Query{Action: Login}); len(got) != 1 {
		t.Errorf("logins %+v", got)
	}
	one.Refused(t.Context(), access.Principal{Via: "token"})
	if got := one.all(t, Query{})[0]; got.Who != "(unknown)" || got.Via != "token" {
		t.Errorf("the entry of an unknown user is %+v", got)
	}
	order(t, one.client, "ACL", "SETUSER", "default", "-hincrby")
	for range 20 { // strangers do not fill the log
		one.Refused(t.Context(), access.Principal{Name: "anna"})
	}
	if n := strings.Count(one.lines.String(), "a refused login is not in the audit"); n != 1 {
		t.Errorf("what is not recorded is %d times in the log, want once", n)
	}
}

// A page that asks every second does not fill the audit. Another plate, site, user or
// minute has its own entry, also if its masked plate is the same.
func TestRepeatedSearches(t *testing.T) {
	a := newAudit(t, instancetest.Redis(t), settings)
	e := Entry{Who: "anna", Role: "viewer", Address: "192.0.2.7", Action: Search, Site: "north", Plate: "KA01AB1234"}
	others := []Entry{e, e, e, e, e}
	others[0].Who, others[1].Address, others[2].Site, others[3].Plate, others[4].Action = "otto", "192.0.2.8", "south", "KA02AB1234", Download
	for range 5 {
		a.must(t, e)
	}
	for i := range others {
		a.must(t, others[i])
		if got := a.all(t, Query{}); len(got) != i+2 {
			t.Errorf("after %+v: %d entries, want %d", others[i], len(got), i+2)
		}
	}
	now := time.Now()
	a.now = func() time.Time { return now.Add(repeatedWithin) }
	a.must(t, e)
	if got := a.all(t, Query{Action: Search}); len(got) != 6 {
		t.Errorf("a minute later: %d entries, want 6", len(got))
	}
	for i := range 2 * maxRepeated {
		a.repeated.add(a.now(), fmt.Sprint(i))
	}
	if n := len(a.repeated.known); n != maxRepeated {
		t.Errorf("%d searches are remembered, want %d", n, maxRepeated)
	}
	// What could not be recorded is tried again.
	order(t, a.client, "ACL", "SETUSER", "default", "-xadd")
	e.Site = "west"
	for range 2 {
		if err := a.Add(t.Context(), e); err == nil {
			t.Error("it is taken for recorded")
		}
	}
}

// Many processes record concurrently, in a cluster, too: each entry is there once.
func TestConcurrentEntries(t *testing.T) {
	for name, r := range map[string]*instance.Redis{"standalone": instancetest.Redis(t), "cluster": instancetest.RedisClusterOfOne(t)} {
		t.Run(name, func(t *testing.T) {
			const processes, each = 4, 40
			var wg sync.WaitGroup
			for p := range processes {
				a := newAudit(t, r, settings)
				wg.Go(func() {
					for i := range each {
						action := Actions()[i%len(Actions())]
						if err := a.Do(t.Context(), Entry{Who: fmt.Sprint(p, "-", i), Action: action}, func(context.Context) (Change, error) { return Change{}, nil }); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			a := newAudit(t, r, settings)
			ends := make(map[string]int)
			for _, e := range a.all(t, Query{}) {
				ends[e.Who+string(e.Outcome)]++
			}
			if len(ends) != 2*processes*each {
				t.Errorf("%d entries, want %d", len(ends), 2*processes*each)
			}
			for who, n := range ends {
				if n != 1 {
					t.Errorf("%s: %d times", who, n)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		s    Settings
		want string
	}{
		{Settings{8760 * time.Hour, 100_000}, ""},
		{Settings{24 * time.Hour, 1000}, ""},
		{Settings{maxRetention, 1_000_000}, ""},
		{Settings{24*time.Hour - 1, 999}, "AUDIT_RETENTION is 23h59m59.999999999s, want 24h0m0s to 87840h0m0s\nAUDIT_MAX_ENTRIES is 999, want 1000 to 1000000"},
		{Settings{maxRetention + 1, 1_000_001}, "AUDIT_RETENTION is 87840h0m0.000000001s, want 24h0m0s to 87840h0m0s\nAUDIT_MAX_ENTRIES is 1000001, want 1000 to 1000000"},
		{Settings{-time.Hour, -1}, "AUDIT_RETENTION is -1h0m0s, want 24h0m0s to 87840h0m0s\nAUDIT_MAX_ENTRIES is -1, want 1000 to 1000000"},
	} {
		got := ""
		if err := tt.s.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.s, got, tt.want)
		}
	}
}
