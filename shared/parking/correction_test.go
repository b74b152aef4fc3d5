package parking

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A correction counts whatever a camera sends, keeps all that the camera told, and can be
// followed by others.
func TestCorrect(t *testing.T) {
	read := at(Entry, "e1", 1)
	read.Version, read.Gate, read.Camera, read.Details.Make = 1_795_763_908_123_456, "g", "c", "Tata" // microseconds since 1970
	first, err := read.Correct("ka-02", Correction{ID: "d1", By: "anna", At: noon})
	if err != nil {
		t.Fatal(err)
	}
	want := read
	want.Version, want.RawPlate, want.Plate = CorrectionVersion, "ka-02", "KA02"
	want.Correction = &Correction{ID: "d1", By: "anna", At: noon, Was: "KA01", WasAsRead: true}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	second, err := first.Correct("", Correction{ID: "d2", By: "otto", At: noon})
	want.Version, want.RawPlate, want.Plate, want.NoPlate = CorrectionVersion+1, "", "", true
	want.Correction = &Correction{ID: "d2", By: "otto", At: noon, Was: "KA02", Earlier: []string{"d1"}}
	if diff := cmp.Diff(want, second); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	third, err := second.Correct("KA03", Correction{ID: "d3"})
	if err != nil || !third.Correction.NoPlate || third.Correction.Was != "" || !third.DecidedBy("d1") || !third.DecidedBy("d3") || third.DecidedBy("d4") || read.DecidedBy("") {
		t.Errorf("%+v, %v", third.Correction, err)
	}
	if right, err := read.Correct("ka 01", Correction{ID: "d1"}); err != nil || right.Plate != "KA01" || !right.Corrected() || !right.Correction.Confirms || right.Correction.Was != "KA01" || third.Correction.Confirms {
		t.Errorf("%+v, %v", right.Correction, err)
	}
	for version, corrected := range map[int64]bool{1: false, CorrectionVersion - 1: false, CorrectionVersion: true, MaxVersion: true} {
		if e := of(read, version, nil); e.Corrected() != corrected {
			t.Errorf("version %d is corrected: %t", version, e.Corrected())
		}
	}
	void := Event{ID: "v", Kind: Entry, Site: "default", Version: 2, Void: true}
	often := first
	for i := 1; i < MaxCorrections; i++ {
		if often, err = often.Correct(strings.Repeat("K", i), Correction{ID: "d"}); err != nil {
			t.Fatalf("correction %d: %v", i, err)
		}
	}
	for name, tt := range map[string]struct {
		event Event
		plate string
		says  string
	}{
		"void":             {void, "KA02", "is void"},
		"no plate of it":   {read, "--", "no letter or digit"},
		"the last version": {of(read, MaxVersion, nil), "KA02", "version is"},
		"too often":        {often, "KA02", "12 times"},
		"too long":         {read, strings.Repeat("K", 65), "65 characters"},
	} {
		if _, err := tt.event.Correct(tt.plate, Correction{ID: "d"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of a read whose decisions are all taken back no decision holds, until one is made again or
// an undo is taken back itself. What was kept before that was noted holds, but for an undo of
// the first decision.
func TestDecided(t *testing.T) {
	for name, tt := range map[string]struct {
		old     int    // how many of the corrections were kept without the notes
		chain   string // d is a decision, u the undo of the last one
		decided string // after each: y or n
	}{
		"none":             {0, "", ""},
		"one":              {0, "du", "yn"},
		"undo of undo":     {0, "duuuu", "ynyny"},
		"two":              {0, "dduu", "yyyy"},
		"after an undo":    {0, "dudu", "ynyn"},
		"after two undos":  {0, "duudu", "ynyyy"},
		"three, and undos": {0, "dduuuu", "yyyyyy"},
		"an old decision":  {1, "duudu", "ynyyy"},
		"an old undo":      {2, "duudu", "ynyyy"},
		"an old chain":     {3, "dudu", "ynyy"},
	} {
		e := at(Entry, "e1", 1)
		if e.Decided() {
			t.Errorf("%s: the read is decided", name)
		}
		for i, what := range tt.chain {
			by := Correction{ID: fmt.Sprint("d", i)}
			if what == 'u' {
				by.Undoes = e.Correction.ID
			}
			var err error
			if e, err = e.Correct("KA02", by); err != nil {
				t.Fatal(err)
			}
			if i < tt.old {
				e.Correction.AsRead, e.Correction.WasAsRead = false, false
			}
			if want := tt.decided[i] == 'y'; e.Decided() != want || !e.Corrected() {
				t.Errorf("%s: after %s decided is %t, want %t", name, tt.chain[:i+1], e.Decided(), want)
			}
		}
	}
}
