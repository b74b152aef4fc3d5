package health

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	one, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	one, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// usually returns what counts are by the local time of an hour.
func usually(zone *time.Location, reads func(local time.Time) int64) func(string, time.Time) int64 {
	return func(_ string, hour time.Time) int64 { return reads(hour.In(zone)) }
}

// A camera is silent if there is nothing for a time in which there usually is something, by
// its own history of that weekday and hour.
func TestSilence(t *testing.T) {
	berlin, kathmandu := zone(t, "Europe/Berlin"), zone(t, "Asia/Kathmandu")
	office := func(local time.Time) int64 { // 30 an hour on working days from 8 to 18
		if local.Weekday() == time.Saturday || local.Weekday() == time.Sunday || local.Hour() < 8 || local.Hour() >= 18 {
			return 0
		}
		return 30
	}
	always := func(n int64) func(time.Time) int64 { return func(time.Time) int64 { return n } }
	in := func(weeks func(local time.Time) bool, reads func(time.Time) int64) func(time.Time) int64 {
		return func(local time.Time) int64 {
			if !weeks(local) {
				return 0
			}
			return reads(local)
		}
	}
	const old = "2026-01-01T00:00:00Z"
	for name, tt := range map[string]struct {
		zone             *time.Location
		since, last, now string
		reads            func(local time.Time) int64
		silent           bool
	}{
		"a working day, for half an hour":            {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T10:30:00Z", office, true},
		"a working day, for a quarter of an hour":    {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T10:15:00Z", office, false},
		"a busy camera, for less than ten minutes":   {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T10:09:59Z", always(3000), false},
		"a busy camera, for ten minutes":             {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T10:10:00Z", always(3000), true},
		"the night":                                  {berlin, old, "2026-11-25T16:59:00Z", "2026-11-26T06:59:00Z", office, false},
		"the night, and an hour of the morning":      {berlin, old, "2026-11-25T16:59:00Z", "2026-11-26T08:00:00Z", office, true},
		"the weekend":                                {berlin, old, "2026-11-27T16:59:00Z", "2026-11-30T06:59:00Z", office, false},
		"since Friday, on Monday":                    {berlin, old, "2026-11-27T16:59:00Z", "2026-11-30T08:00:00Z", office, true},
		"for three weeks, on a Sunday":               {berlin, old, "2026-11-05T10:00:00Z", "2026-11-29T03:00:00Z", office, true},
		"seldom, for hours":                          {berlin, old, "2026-11-25T01:00:00Z", "2026-11-25T10:00:00Z", always(1), false},
		"seldom, for half a day":                     {berlin, old, "2026-11-25T01:00:00Z", "2026-11-25T13:00:00Z", always(1), true},
		"never before":                               {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T20:00:00Z", always(0), false},
		"an event of one week":                       {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T20:00:00Z", in(func(l time.Time) bool { return l.Month() == 11 && l.Day() == 18 }, always(500)), false},
		"a holiday a week ago":                       {berlin, old, "2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z", in(func(l time.Time) bool { return l.Day() != 18 }, office), true},
		"a new camera, with one week":                {berlin, "2026-11-17T00:00:00Z", "2026-11-25T10:00:00Z", "2026-11-25T20:00:00Z", office, false},
		"a new camera, with two weeks":               {berlin, "2026-11-10T00:00:00Z", "2026-11-25T10:00:00Z", "2026-11-25T20:00:00Z", office, true},
		"no read ever":                               {berlin, old, "", "2026-11-25T20:00:00Z", always(100), false},
		"the clocks went back: 7:00 to 7:59":         {berlin, old, "2026-10-26T06:00:00Z", "2026-10-26T06:59:00Z", office, false},
		"the clocks went back: 8:00 to 8:30":         {berlin, old, "2026-10-26T07:00:00Z", "2026-10-26T07:30:00Z", office, true},
		"the clocks went ahead: 7:00 to 7:59":        {berlin, old, "2026-03-30T05:00:00Z", "2026-03-30T05:59:00Z", office, false},
		"the clocks went ahead: 8:00 to 8:30":        {berlin, old, "2026-03-30T06:00:00Z", "2026-03-30T06:30:00Z", office, true},
		"a zone of quarters: 10:00 to 10:30":         {kathmandu, old, "2026-11-25T04:15:00Z", "2026-11-25T04:45:00Z", office, true},
		"clocks of two machines: the last is later":  {berlin, old, "2026-11-25T10:00:05Z", "2026-11-25T10:00:00Z", always(3000), false},
		"two weeks that differ: the smaller of them": {berlin, "2026-11-10T00:00:00Z", "2026-11-25T10:00:00Z", "2026-11-25T10:30:00Z", in(func(l time.Time) bool { return l.Day() != 11 }, office), false},
	} {
		var last time.Time
		if tt.last != "" {
			last = at(t, tt.last)
		}
		counts := usually(tt.zone, tt.reads)
		now := at(t, tt.now)
		before := func(name string, hour time.Time) int64 {
			if hour.After(last) {
				t.Errorf("%s: the hour %s of the silence is looked at", name, hour)
			}
			return counts(name, hour)
		}
		reason := silence(tt.zone, at(t, tt.since), now, last, now, before)
		if (reason != "") != tt.silent || tt.silent && !strings.HasPrefix(reason, "no read since "+last.In(tt.zone).Format("2006-01-02T15:04")) {
			t.Errorf("%s: %q", name, reason)
		}
	}
}

// A camera whose heartbeats stop is silent when no vehicle comes, too; one that goes on
// with heartbeats is silent for its reads.
func TestSilenceOfHeartbeats(t *testing.T) {
	now := at(t, "2026-11-25T02:00:00Z")
	counts := func(name string, _ time.Time) int64 { return map[string]int64{countRequests: 60, countReads: 1}[name] }
	since := now.AddDate(0, -3, 0)
	for _, tt := range []struct {
		request, read time.Duration
		want          string
	}{
		{time.Minute, 2 * time.Hour, ""},
		{15 * time.Minute, 2 * time.Hour, "no request since 2026-11-25T01:45:00Z, usually there are about 15 in this time"},
		{time.Minute, 12 * time.Hour, "no read since 2026-11-24T14:00:00Z, usually there are about 12 in this time"},
	} {
		if got := silence(time.UTC, since, now.Add(-tt.request), now.Add(-tt.read), now, counts); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestEvaluate(t *testing.T) {
	now := at(t, "2026-11-25T00:15:00Z")
	today := redis.Day(now)
	r := &record{
		state: map[string]string{
			fieldSince: "1795000000000", fieldFormat: "axis", fieldRequest: millis(now.Add(-time.Second)), fieldRead: millis(now.Add(-time.Minute)), fieldSkew: "-1500",
		},
		days: map[int64]map[string]string{
			today:     {"q0": "9", "r0": "5", "n0": "1", "c0": "4", "s0": "36000"},
			today - 1: {"q23": "40", "r23": "40", "x22": "3", "r1": "5", "n1": "4", "c1": "1", "s1": "4000", "r0": "100", "n0": "100"},
		},
		sets: map[string]int64{setEntries: 8, setTaken: 6},
	}
	c := &site.Camera{ID: "in", Site: "north", Gate: "g", Role: site.Entries, Format: site.Auto}
	want := Health{
		Camera: "in", Site: "north", Gate: "g", Role: site.Entries, Format: "axis",
		LastRequest: new(now.Add(-time.Second)), LastRead: new(now.Add(-time.Minute)),
		ReadsLastHour: 5 + 30, ReadsLastDay: 50, RefusedLastDay: 3,
		NoPlateShare: new(0.1), Confidence: new(0.8), MatchRate: new(0.75), SkewSeconds: new(-1.5),
	}
	if diff := cmp.Diff(want, evaluate(c, time.UTC, r, now)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = Health{Camera: "in", Site: "north", Gate: "g", Role: site.Entries, Format: site.Auto}
	if diff := cmp.Diff(want, evaluate(c, time.UTC, &record{}, now)); diff != "" {
		t.Errorf("a camera that has sent nothing (-want +got):\n%s", diff)
	}
}

// The history that is read is the days that are looked at, a bounded number of them.
func TestHistory(t *testing.T) {
	now := at(t, "2026-11-25T12:00:00Z")
	of := func(read, request time.Duration) []int64 {
		r := &record{
			state: map[string]string{fieldSince: millis(now.AddDate(-1, 0, 0)), fieldRead: millis(now.Add(-read)), fieldRequest: millis(now.Add(-request))},
			days:  map[int64]map[string]string{redis.Day(now): {}, redis.Day(now) - 1: {}},
		}
		days := historyOf(time.UTC, r, now)
		slices.Sort(days)
		for i := range days {
			days[i] -= redis.Day(now)
		}
		return days
	}
	if got := of(time.Minute, 0); len(got) != 0 {
		t.Errorf("of a camera that reads %v", got)
	}
	if got := of(time.Hour, 0); !slices.Equal(got, []int64{-28, -21, -14, -7}) {
		t.Errorf("an hour: %v", got)
	}
	if got := of(60*24*time.Hour, 50*24*time.Hour); len(got) > 2*8*historyWeeks {
		t.Errorf("two months: %d days", len(got))
	}
}

// What became of events counts once for each event, at its camera.
func TestOutcomes(t *testing.T) {
	day := at(t, "2026-11-25T12:00:00Z")
	n := redis.Day(day)
	entry := parking.Event{Kind: parking.Entry, ID: "in:1", Time: day}
	exit := parking.Event{Kind: parking.Exit, ID: "out:9", Time: day.Add(24 * time.Hour)}
	completed := parking.Stay{ID: "out:9", EntryID: "in:1", EntryTime: day, ExitTime: exit.Time}
	entryOf := outcome{"in", n, setEntries, "in:1"}
	all := []outcome{{"out", n + 1, setExits, "out:9"}, {"out", n + 1, setMatched, "out:9"}, entryOf, {"in", n, setTaken, "in:1"}}
	with := func(e parking.Event, change func(*parking.Event)) parking.Event {
		change(&e)
		return e
	}
	for name, tt := range map[string]struct {
		event parking.Event
		stays []parking.Stay
		want  []outcome
	}{
		"an entry":                                       {entry, nil, []outcome{entryOf}},
		"an entry without a plate":                       {with(entry, func(e *parking.Event) { e.NoPlate = true }), nil, nil},
		"a void entry":                                   {with(entry, func(e *parking.Event) { e.Void = true }), nil, nil},
		"an entry with an id of another sender":          {with(entry, func(e *parking.Event) { e.ID = "4711" }), nil, nil},
		"an exit that ends a stay":                       {exit, []parking.Stay{completed}, all},
		"a late entry":                                   {entry, []parking.Stay{completed}, append([]outcome{entryOf}, all...)},
		"an unmatched exit":                              {exit, []parking.Stay{{ID: "out:9", ExitTime: exit.Time}}, all[:1]},
		"an exit that repeats another":                   {exit, []parking.Stay{{ID: "out:9", ExitTime: exit.Time, Repeat: true}}, nil},
		"a void exit":                                    {exit, []parking.Stay{{ID: "out:9", ExitTime: exit.Time, Void: true}}, nil},
		"an exit of which the entry is another sender's": {exit, []parking.Stay{{ID: "out:9", EntryID: "e", EntryTime: day, ExitTime: exit.Time}}, all[:2]},
	} {
		if diff := cmp.Diff(tt.want, outcomesOf(&tt.event, tt.stays), cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What is pending is bounded, and has configured cameras and days that count only.
func TestOutcomesAreBounded(t *testing.T) {
	r := &Recorder{outcomes: make(map[outcome]struct{})}
	now := at(t, "2026-11-25T12:00:00Z")
	cameras := []site.Camera{{ID: "out"}, {ID: "in"}}
	record := func(camera string, i int, at time.Time) {
		r.Outcome(cameras, &parking.Event{Kind: parking.Entry, ID: camera + ":" + strconv.Itoa(i), Time: at}, nil, now)
	}
	record("other", 1, now)
	record("in", 1, now.AddDate(0, 0, -20))
	record("in", 1, now.AddDate(0, 0, 2))
	if len(r.outcomes) != 0 {
		t.Errorf("pending are %v", slices.Collect(maps.Keys(r.outcomes)))
	}
	for i := range maxOutcomes + 10 {
		record("in", i, now)
	}
	if len(r.outcomes) != maxOutcomes {
		t.Errorf("%d are pending", len(r.outcomes))
	}
}

func TestDoubt(t *testing.T) {
	of := func(id string, role site.Role, silent bool) Health {
		return Health{Camera: id, Role: role, Silent: silent}
	}
	const entries, exits = "every camera that sees the entries is silent", "every camera that sees the exits is silent"
	for name, tt := range map[string]struct {
		cameras []Health
		want    *Doubt
	}{
		"no cameras":                        {nil, nil},
		"all read":                          {[]Health{of("a", site.Entries, false), of("b", site.Exits, false)}, nil},
		"the only one of the entries":       {[]Health{of("a", site.Entries, true), of("b", site.Exits, false)}, &Doubt{[]string{"a"}, entries}},
		"the only one of the exits":         {[]Health{of("a", site.Entries, false), of("b", site.Exits, true)}, &Doubt{[]string{"b"}, exits}},
		"one of two":                        {[]Health{of("a", site.Entries, true), of("c", site.Entries, false), of("b", site.Exits, false)}, nil},
		"both of two":                       {[]Health{of("a", site.Entries, true), of("c", site.Entries, true), of("b", site.Exits, false)}, &Doubt{[]string{"a", "c"}, entries}},
		"another one sees both directions":  {[]Health{of("a", site.Entries, true), of("c", site.Both, false), of("b", site.Exits, true)}, nil},
		"the only one sees both directions": {[]Health{of("a", site.Both, true)}, &Doubt{[]string{"a"}, "every camera of the site is silent"}},
		"both directions":                   {[]Health{of("a", site.Entries, true), of("b", site.Exits, true)}, &Doubt{[]string{"a", "b"}, "every camera of the site is silent"}},
		"one direction has no camera":       {[]Health{of("a", site.Entries, true)}, &Doubt{[]string{"a"}, entries}},
	} {
		if diff := cmp.Diff(tt.want, DoubtOf(tt.cameras)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
