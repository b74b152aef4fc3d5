package evaluate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// at returns a time of a day in the tests.
func at(hour, minute int) time.Time { return time.Date(2026, 3, 2, hour, minute, 0, 0, time.UTC) }

// made returns data of lines such as "in a 08:00 KA01 car1 visit1"; - is no plate, and a
// read without a vehicle is unknown.
func made(t *testing.T, text string) *Data {
	t.Helper()
	var events, truth strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		field := map[string]string{"in": "entry_date_time", "out": "exit_date_time"}[f[0]]
		plate := `"` + f[3] + `"`
		if f[3] == "-" {
			plate = "null"
		}
		fmt.Fprintf(&events, `{"id":"%s","vehicle_plate":%s,"%s":"2026-03-02T%s:00Z"}`+"\n", f[1], plate, field, f[2])
		if len(f) == 6 {
			fmt.Fprintf(&truth, `{"event_id":"%s","vehicle":"%s","visit":"%s"}`+"\n", f[1], f[4], f[5])
		}
	}
	d, files, err := Read(strings.NewReader(events.String()), strings.NewReader(truth.String()))
	if err != nil || files.Events.Count+files.Truth.Count > 0 {
		t.Fatal(err, files)
	}
	return d
}

// stay returns a stay of a method ("" is the pairing rule) with a weight and a margin.
func stay(entry, exit string, in, out time.Time, m parking.Method, weight, margin parking.Weight) parking.Stay {
	s := parking.Stay{ID: exit, Site: parking.DefaultSite, Plate: "P", EntryID: entry, EntryTime: in, ExitTime: out, Revision: 1}
	if m != "" {
		s.Match = &parking.Explanation{Method: m, Weight: weight, Margin: margin}
		if margin != 0 {
			s.Match.Alternatives = []parking.Alternative{{}}
		}
	}
	return s
}

const day = `
	in  e1 08:00 KA01AB1 car1 v1
	out x1 09:30 KA01AB1 car1 v1
	in  e2 10:00 KA01AB2 car2 v2
	out x2 11:00 KA01A82 car2 v2
	in  e3 12:00 KA01AB3 car3 v3
	out x4 20:00 KA01AB3 car3 v4
	in  e5 13:00 KA01AB5 car5 v5
	out x6 14:00 KA01A85 car6 v6
	out x7 15:00 KA01AB7 car7 v7
	in  e8 16:00 -       car8 v8
	out x8 17:00 KA01AB8 car8 v8
	in  e9 18:00 KA01AB9 car9 v9
`

func TestScore(t *testing.T) {
	exact := func() []parking.Stay {
		return []parking.Stay{
			stay("e1", "x1", at(8, 0), at(9, 30), "", 0, 0),
			stay("e3", "x4", at(12, 0), at(20, 0), "", 0, 0), // the entry of v3, the exit of v4
			{ID: "x2", Site: parking.DefaultSite, ExitTime: at(11, 0)},
			{ID: "x7", Site: parking.DefaultSite, ExitTime: at(15, 0)},
		}
	}
	near := stay("e2", "x2", at(10, 0), at(11, 0), parking.OCR, 900, 400)
	for _, tt := range []struct {
		name  string
		stays []parking.Stay
		w     Window
		want  Counts
	}{
		{"exact stays", exact(), Window{}, Counts{
			Exact: Issued{2, 2, 1}, Undisputed: Issued{2, 2, 1},
			Method:    map[parking.Method]Issued{parking.Exact: {2, 2, 1}},
			BothReads: Visits{2, 1}, // v1, v2; v8 has an entry without a plate
			All:       Visits{7, 1}, // all but v5 and v9, which may be inside
			Missed:    [4]int{1: 1},
			// What was due of v4 is not known: its entry is lost. v2 had an hour that is
			// not charged, and v8 one.
			ExactHours: Hours{Stays: 2, Unknown: 1}, UndisputedHours: Hours{Stays: 2, Unknown: 1}, Uncharged: 2,
		}},
		{"a disputed one and near ones", func() []parking.Stay {
			stays := exact()
			stays[1].Disputed, stays[1].Match = true, &parking.Explanation{Method: parking.Exact}
			stays[2] = near
			// A car's entry, another one's exit; without alternatives the weight is the margin.
			return append(stays, stay("e5", "x6", at(13, 0), at(14, 0), parking.Edit, 1200, 0))
		}(), Window{}, Counts{
			Exact: Issued{2, 2, 1}, Undisputed: Issued{1, 1, 1}, Near: Issued{2, 1, 1},
			Method:    map[parking.Method]Issued{parking.Exact: {2, 2, 1}, parking.OCR: {1, 1, 1}, parking.Edit: {1, 0, 0}},
			Margin:    map[parking.Weight]Issued{350: {1, 1, 1}, 1000: {1, 0, 0}},
			BothReads: Visits{2, 2}, All: Visits{7, 2},
			ExactHours: Hours{Stays: 2, Unknown: 1}, UndisputedHours: Hours{Stays: 1}, NearHours: Hours{Stays: 2, Unknown: 1}, Uncharged: 1,
		}},
		{"a wrong visit, and money", []parking.Stay{
			stay("e1", "x2", at(8, 0), at(11, 0), parking.Split, 300, 100), // three hours instead of one
			stay("e2", "x1", at(9, 0), at(9, 30), parking.Corrected, 0, 0), // one instead of two
		}, Window{}, Counts{
			Exact: Issued{1, 0, 0}, Undisputed: Issued{1, 0, 0}, Near: Issued{1, 0, 0},
			Method:    map[parking.Method]Issued{parking.Split: {1, 0, 0}, parking.Corrected: {1, 0, 0}},
			Margin:    map[parking.Weight]Issued{0: {1, 0, 0}},
			BothReads: Visits{2, 0}, All: Visits{7, 0}, Missed: [4]int{1, 1},
			ExactHours: Hours{Stays: 1, Under: 1}, UndisputedHours: Hours{Stays: 1, Under: 1}, NearHours: Hours{Stays: 1, Over: 2}, Uncharged: 1,
		}},
		{"within a time", append(exact(), near), Window{From: at(10, 0), To: at(15, 0)}, Counts{
			Near: Issued{1, 1, 1}, Method: map[parking.Method]Issued{parking.OCR: {1, 1, 1}}, Margin: map[parking.Weight]Issued{350: {1, 1, 1}},
			BothReads: Visits{1, 1}, All: Visits{3, 1}, // v2, v3, v6
			NearHours: Hours{Stays: 1},
		}},
		{"a read that the truth lacks", []parking.Stay{stay("e1", "who", at(8, 0), at(9, 30), "", 0, 0)}, Window{To: at(10, 0)}, Counts{
			Exact: Issued{1, 0, 0}, Undisputed: Issued{1, 0, 0}, Method: map[parking.Method]Issued{parking.Exact: {1, 0, 0}}, UnknownReads: 1,
			BothReads: Visits{1, 0}, All: Visits{1, 0}, Missed: [4]int{1}, Uncharged: 2,
			ExactHours: Hours{Stays: 1, Unknown: 1}, UndisputedHours: Hours{Stays: 1, Unknown: 1},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Margin == nil {
				tt.want.Margin = map[parking.Weight]Issued{}
			}
			got := made(t, day).Score(tt.stays, tt.w, nil)
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A visit has a read if a version that counts has a plate.
func TestReadsThatCount(t *testing.T) {
	d := made(t, day+`
	in  f1 08:00 AAA car11 w1
	out f2 09:00 AAA car11 w1
	in  g1 08:00 BBB car12 w2
	out g2 09:00 BBC car12 w2
	out g3 09:01 BBB car12 w2
	`)
	d.Events = append(d.Events, parking.Event{ID: "f1", Site: parking.DefaultSite, Version: 2, Void: true})
	c := d.Score(d.Stays(Fixed(parking.DefaultModel())), Window{}, nil)
	if want := (Visits{3, 2}); c.BothReads != want { // v1, v2 and w2, which has two exits
		t.Errorf("visits with both reads: %+v, want %+v", c.BothReads, want)
	}
}

// A visit without an exit read is over when the vehicle comes again, or after days.
func TestVisitsThatEnded(t *testing.T) {
	for text, want := range map[string]int{
		"in e1 08:00 A car1 v1\nin  e2 09:00 B car2 v2":                        0,
		"in e1 08:00 A car1 v1\nin  e2 09:00 B car1 v2":                        1,
		"in e1 08:00 A car1 v1\nout e2 09:00 B car1 v2":                        2,
		"in e1 08:00 A car1 v1\nout e2 09:00 B car2 v2":                        1,
		"in e1 08:00 A car1 v1\nout e2 09:00 - car1 v1\nin e3 10:00 C car3 v3": 1,
	} {
		d := made(t, text)
		if got := d.Score(nil, Window{}, nil).All.Visits; got != want {
			t.Errorf("%q: %d visits ended, want %d", text, got, want)
		}
	}
	d := made(t, "in e1 08:00 A car1 v1\nin e2 09:00 B car2 v2")
	d.Events[1].Time = d.Events[1].Time.Add(6 * 24 * time.Hour)
	if got := d.Score(nil, Window{}, nil).All.Visits; got != 1 {
		t.Errorf("%d visits ended after days, want 1", got)
	}
}

func TestStartedHours(t *testing.T) {
	for d, want := range map[time.Duration]int{0: 1, time.Minute: 1, time.Hour: 1, time.Hour + time.Second: 2, 25 * time.Hour: 25} {
		if got := started(d); got != want {
			t.Errorf("%s: %d hours, want %d", d, got, want)
		}
	}
	h := Hours{Stays: 500, Over: 3, Under: 1}
	if got := h.Wrong(2.5); got != 20 {
		t.Errorf("wrong money %v, want 20", got)
	}
}

func TestCountsAddUp(t *testing.T) {
	d := made(t, day)
	stays := []parking.Stay{
		stay("e1", "x1", at(8, 0), at(9, 30), "", 0, 0), stay("e2", "x2", at(10, 0), at(11, 0), parking.OCR, 900, 400),
		stay("e5", "x6", at(13, 0), at(14, 0), parking.Edit, 600, 0), stay("e3", "who", at(12, 0), at(20, 0), "", 0, 0),
	}
	noon, sum := at(12, 0), new(Counts)
	sum.Add(d.Score(stays, Window{To: noon}, nil))
	sum.Add(d.Score(stays, Window{From: noon}, nil))
	if diff := cmp.Diff(d.Score(stays, Window{}, nil), sum); diff != "" {
		t.Errorf("two halves are not the whole (-want +got):\n%s", diff)
	}
}

func TestEdits(t *testing.T) {
	for pair, want := range map[[2]string]int{
		{"KA01AB1234", "KA01AB1234"}: 0, {"KA01AB1234", "KA01A81234"}: 1, {"KA01AB1234", "KA01AB123"}: 1, {"", "AB"}: 2,
		{"KA01AB1234", "KA10AB1234"}: 2, {"كا1", "كب1"}: 1,
	} {
		if got := edits(pair[0], pair[1]); got != want || edits(pair[1], pair[0]) != want {
			t.Errorf("%q: %d, want %d", pair, got, want)
		}
	}
}
