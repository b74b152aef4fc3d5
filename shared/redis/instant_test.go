package redis

import (
	"context"
	"math"
	"testing"
	"time"

	"parkstream/shared/instance/instancetest"

	"pgregory.net/rapid"
)

// The texts are those of version 0.1.0, because Redis has stored ones.
func TestInstant(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 15, 0, 1, time.UTC)
	for _, tt := range []struct {
		form       Instant
		t          time.Time
		text, also string // also: what is behind it
	}{
		{Base32, at, "1hqkugo58ea01", "0id"},
		{Base16, at, "18ea9e860a872801", "id"},
		{Base32, time.Unix(0, 0), "0000000000000", ""},
		{Base16, time.Unix(0, 1), "0000000000000001", ""},
		{Base32, time.Unix(0, math.MaxInt64), "7vvvvvvvvvvvv", ""},
		{Base16, time.Unix(0, math.MaxInt64), "7fffffffffffffff", ""},
	} {
		if got := tt.form.Format(tt.t); got != tt.text || len(got) != tt.form.Len() {
			t.Errorf("%v of %s is %q, want %q", tt.form, tt.t, got, tt.text)
		}
		got, rest, err := tt.form.Cut(tt.text + tt.also)
		if !got.Equal(tt.t) || got.Location() != time.UTC || rest != tt.also || err != nil {
			t.Errorf("%v: %q is %s and %q, error %v; want %s", tt.form, tt.text+tt.also, got, rest, err, tt.t)
		}
	}
	for _, form := range []Instant{Base32, Base16} {
		for tm, want := range map[time.Time]int64{
			{}: 0, time.Unix(-1, 0): 0, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC): math.MaxInt64,
		} {
			if got, _, err := form.Cut(form.Format(tm)); err != nil || got.UnixNano() != want {
				t.Errorf("%v of %s is that of %d, error %v; want %d", form, tm, got.UnixNano(), err, want)
			}
		}
		for _, bad := range []string{"", "1hk7", "-000000000000000", "8000000000000000", "gggggggggggg*ggg", "zzzzzzzzzzzzzzzz"} {
			if got, _, err := form.Cut(bad); err == nil {
				t.Errorf("%v: %q is read as %s", form, bad, got)
			}
		}
	}
}

// The order of the texts is the order of time, in Go and in scripts, in any locale.
func TestInstantsKeepTheirOrder(t *testing.T) {
	instancetest.Danish(t)
	client, err := Open(URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// All instants of the last second that fits are one.
	const last = math.MaxInt64/int64(time.Second)*int64(time.Second) - 1
	precedes := NewScript(`return tostring(precedes(ARGV[1], ARGV[2])) .. tostring(precedes(ARGV[1], ARGV[2], instant(ARGV[1])))`)
	rapid.Check(t, func(t *rapid.T) {
		form := rapid.SampledFrom([]Instant{Base32, Base16}).Draw(t, "form")
		a := rapid.Int64Range(0, last).Draw(t, "a")
		near := rapid.Int64Range(-2000, 2000).Draw(t, "near")
		b := rapid.OneOf(rapid.Int64Range(0, last), rapid.Just(max(0, a-max(near, 0))), rapid.Just(a)).Draw(t, "b")
		id := rapid.SampledFrom([]string{"", "a", "aa", "ab", "é"})
		x := form.Format(time.Unix(0, a)) + id.Draw(t, "id of a")
		y := form.Format(time.Unix(0, b)) + id.Draw(t, "id of b")
		if a != b && (x < y) != (a < b) {
			t.Fatalf("%q and %q are not in the order of %d and %d", x, y, a, b)
		}
		want := "falsefalse"
		if x < y {
			want = "truetrue"
		}
		call := Call{Script: precedes, Args: []any{x, y}}
		client.Run(context.Background(), &call)
		if got, err := call.Text(); got != want || err != nil {
			t.Fatalf("%q precedes %q: %q, error %v; want %q", x, y, got, err, want)
		}
	})
}

func TestKeysOfASite(t *testing.T) {
	for space, want := range map[Space]string{Timelines: "park:{a.b-c_1}:", Stays: "stay:{a.b-c_1}:"} {
		prefix := space.Site("a.b-c_1")
		if prefix != want {
			t.Errorf("%s: %q, want %q", space, prefix, want)
		}
		if site, ok := space.CutSite(prefix); site != "a.b-c_1" || !ok {
			t.Errorf("%s: %q is of site %q, %t", space, prefix, site, ok)
		}
	}
	for _, bad := range []string{"", "a", "park:{a}:", "stay:{a}", "stay:a}:", "stay:{a}:s"} {
		if site, ok := Stays.CutSite(bad); ok {
			t.Errorf("%q is of site %q", bad, site)
		}
	}
	for day, want := range map[string]string{
		"2026-11-23T23:59:59.999Z": "x:d:20780", "2026-11-24T00:30:00+01:00": "x:d:20780",
		"1970-01-01T00:00:00Z": "x:d:0", "1969-12-31T23:59:59Z": "x:d:-1",
	} {
		at, err := time.Parse(time.RFC3339, day)
		if got := DayKey("x:", at); err != nil || got != want {
			t.Errorf("key of %s: %q, error %v; want %q", day, got, err, want)
		}
	}
	if Timelines.Registry() != "park:registry" || Stays.Registry() != "stay:registry" {
		t.Errorf("registries %q and %q", Timelines.Registry(), Stays.Registry())
	}
}
