package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
)

// FuzzMember checks that events are read as they were written into a timeline, that the
// order of members is the order of time, and that a valid member names an event.
func FuzzMember(f *testing.F) {
	f.Add("1hqkugo58ea01"+"0id", int64(1795763908e9), "x/1", int64(1795763908e9), "x/2")
	f.Add("1hqkugo58ea01", int64(0), "Ä", int64(1<<62), "e")
	f.Add("1hqkugo58ea01"+"0", int64(3), "a", int64(3), "b")
	f.Add("1HQKUGO58EA01\xff\xff", int64(1), "a b", int64(2), "a")
	f.Fuzz(func(t *testing.T, text string, at1 int64, id1 string, at2 int64, id2 string) {
		if id, at, err := parseMember(text); err == nil && (id == "" || strings.ToLower(text[:13])+text[13:] != instant(at)+text[13:14]+id) {
			t.Errorf("%q is read as %q at %s", text, id, at)
		}
		if at1 < 0 || at2 < 0 || parking.CheckID(id1) != nil || parking.CheckID(id2) != nil {
			return
		}
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			a := member(&parking.Event{ID: id1, Kind: kind, Time: time.Unix(0, at1)})
			b := member(&parking.Event{ID: id2, Kind: kind, Time: time.Unix(0, at2)})
			if id, at, err := parseMember(a); id != id1 || at.UnixNano() != at1 || err != nil {
				t.Errorf("event %q at %d is written as %q and read as %q at %s, error %v", id1, at1, a, id, at, err)
			}
			if want := cmp.Or(cmp.Compare(at1, at2), cmp.Compare(id1, id2)); cmp.Compare(a, b) != want {
				t.Errorf("%q and %q are in the order %d, want %d", a, b, cmp.Compare(a, b), want)
			}
		}
	})
}

// FuzzAnswer checks that every stay in a response of the record script has an exit, and
// an entry if it has an entry time, and that stays are read as they were written.
func FuzzAnswer(f *testing.F) {
	f.Add("N", "x1", int64(1795763908e9), "e1", int64(5400e9), int64(1))
	f.Add("D\t1hqkugo58ea010x\t\t7\t", "x", int64(0), "", int64(0), int64(1<<62))
	f.Add("C", "x", int64(1), "e", int64(1), int64(-1))
	f.Add("S\t1hqkugo58ea010x\tv\t7\tKA02\t1hqkugo58ea010y\tr\t7\tKA03", "x", int64(0), "", int64(0), int64(3))
	f.Add("O", "x", int64(1), "e", int64(1), int64(-1))
	f.Add("N\t\t\t\t", "x", int64(1), "e", int64(1), int64(1))
	f.Add("S\t000000000000000\t\t0", "0", int64(85), "0", int64(28), int64(-56))
	f.Add("N\t1hqkugo58ea010x\t1hqkugo58ea01e\t+1\t\t", "x", int64(1), "e", int64(1), int64(1))
	e := &parking.Event{Site: "a", Plate: "K"}
	f.Fuzz(func(t *testing.T, line, exitID string, exit int64, entryID string, lasted, revision int64) {
		r, err := parseLine(line, e)
		if err != nil {
			return
		}
		if r.Err == nil && r.Duplicate != strings.HasPrefix(line, "D") {
			t.Errorf("%q is read as %+v", line, r)
		}
		for _, s := range r.Stays {
			if s.ID == "" || s.ExitTime.IsZero() || s.Site != e.Site || s.Plate == "" || (s.EntryID == "") != s.EntryTime.IsZero() {
				t.Errorf("%q has the stay %+v", line, s)
			}
		}
		if exit < 0 || lasted < 0 || lasted > exit || parking.CheckID(exitID) != nil || r.Err != nil {
			return
		}
		want := parking.Stay{Site: e.Site, Plate: e.Plate, ID: exitID, ExitTime: time.Unix(0, exit).UTC(), Revision: revision}
		entry := ""
		if parking.CheckID(entryID) == nil {
			want.EntryID, want.EntryTime = entryID, time.Unix(0, exit-lasted).UTC()
			entry = member(&parking.Event{ID: entryID, Kind: parking.Entry, Time: want.EntryTime})
		}
		line += fmt.Sprintf("\t%s\t%s\t%d\t", member(&parking.Event{ID: exitID, Kind: parking.Exit, Time: want.ExitTime}), entry, revision)
		again, err := parseLine(line, e)
		if err != nil || !slices.Equal(again.Stays, append(r.Stays, want)) {
			t.Errorf("%q is read as %+v, error %v; want %+v and %+v", line, again, err, r.Stays, want)
		}
	})
}

// FuzzMinute checks that a count is added to the step that contains its minute, or to
// none.
func FuzzMinute(f *testing.F) {
	f.Add("e5", int64(3), uint8(0), uint8(24))
	f.Add("x1439", int64(1), uint8(23), uint8(1))
	f.Add("entries", int64(9), uint8(0), uint8(1))
	f.Add("x1440", int64(9), uint8(20), uint8(9))
	f.Add("e9223372036854775807", int64(9), uint8(0), uint8(1))
	f.Add("", int64(1), uint8(0), uint8(0))
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, field string, n int64, first, hours uint8) {
		steps := make([]Minute, min(hours, 48))
		start := day.Add(time.Duration(first%24) * time.Hour)
		for i := range steps {
			steps[i].Start = start.Add(time.Duration(i) * time.Hour)
		}
		want := slices.Clone(steps)
		to := start.Add(time.Duration(len(steps)) * time.Hour)
		addMinute(steps, time.Hour, day, to, field, n)
		if field != "" {
			minute, err := strconv.Atoi(field[1:])
			hour := minute/60 - int(first%24)
			switch inside := err == nil && minute >= 0 && minute < 24*60 && hour >= 0 && hour < len(want); {
			case inside && field[0] == 'e':
				want[hour].Entries += n
			case inside && field[0] == 'x':
				want[hour].Exits += n
			}
		}
		if !slices.Equal(steps, want) {
			t.Errorf("%q counts %d: %+v, want %+v", field, n, steps, want)
		}
	})
}
