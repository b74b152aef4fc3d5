package parking

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// nearStay returns a stay whose plates differ in one character.
func nearStay() Stay {
	exit := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	return Stay{
		ID: "x1", Site: "north", Plate: "KA01AB1284", EntryID: "e1", EntryTime: exit.Add(-time.Hour), ExitTime: exit, Revision: 2,
		Match: &Explanation{
			Method: Edit, EntryPlate: "KA-01 AB 1234", ExitPlate: "KA01AB1284", Differences: []Difference{{Position: 9, Entry: "3", Exit: "8"}},
			Weight: 912, Margin: 845, Parts: &Parts{Text: -210, Rarity: 1010, Dwell: -88, Prior: 200}, Posterior: 0.9991,
			Alternatives: []Alternative{{EntryID: "e2", ExitID: "x1", Weight: 67}}, Model: "default",
		},
	}
}

func TestCheckMatch(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(s *Stay)
		want   string // in the error; empty: there is none
	}{
		"near":                 {func(*Stay) {}, ""},
		"of the entry's plate": {func(s *Stay) { s.Plate = "KA01AB1234" }, ""},
		"plain":                {func(s *Stay) { s.Match = nil }, ""},
		"near and disputed":    {func(s *Stay) { s.Disputed = true }, ""},
		"exact and disputed":   {func(s *Stay) { s.Disputed, s.Match = true, &Explanation{Method: Exact} }, ""},
		"exact with its raw plates": {func(s *Stay) {
			s.Match = &Explanation{Method: Exact, EntryPlate: "KA-01 AB-1284", ExitPlate: "ka01ab1284"}
		}, ""},
		"corrected":                    {func(s *Stay) { s.Match = &Explanation{Method: Corrected} }, ""},
		"corrected to a third plate":   {func(s *Stay) { s.Plate, s.Match.Method = "X1", Corrected }, ""},
		"split":                        {func(s *Stay) { s.Match.Method = Split }, ""},
		"a character is missing":       {func(s *Stay) { s.Match.Differences = []Difference{{Position: 32, Exit: "Ä"}} }, ""},
		"without what is optional":     {func(s *Stay) { s.Match = &Explanation{Method: TwoEdits, EntryPlate: "K1", ExitPlate: s.Plate} }, ""},
		"of another model":             {func(s *Stay) { s.Match.Model = strings.Repeat("ä", 64) }, ""},
		"at the bounds":                {func(s *Stay) { s.Match.Posterior, s.Match.Weight, s.Match.Margin = 1, math.MaxInt32, math.MinInt32 }, ""},
		"unmatched":                    {func(s *Stay) { s.EntryID, s.EntryTime = "", time.Time{} }, "neither match nor disputed"},
		"unmatched and disputed":       {func(s *Stay) { s.Match, s.EntryID, s.Disputed = nil, "", true }, "neither match nor disputed"},
		"void":                         {func(s *Stay) { s.EntryID, s.Void = "", true }, "neither match nor disputed"},
		"disputed without a match":     {func(s *Stay) { s.Match, s.Disputed = nil, true }, ""},
		"no method":                    {func(s *Stay) { s.Match.Method = "" }, "method"},
		"an unknown method":            {func(s *Stay) { s.Match.Method = Method(strings.Repeat("ocr\n", 99)) }, "want one of [exact ocr edit two_edits split corrected]"},
		"five differences":             {func(s *Stay) { s.Match.Differences = slices.Repeat(s.Match.Differences, 5) }, "5 differences, at most 4"},
		"position 0":                   {func(s *Stay) { s.Match.Differences[0].Position = 0 }, "position 0"},
		"position 33":                  {func(s *Stay) { s.Match.Differences[0].Position = 33 }, "position 33"},
		"two characters":               {func(s *Stay) { s.Match.Differences[0].Entry = "33" }, "one character"},
		"a character that is none":     {func(s *Stay) { s.Match.Differences[0].Exit = "\x00" }, "one character"},
		"not UTF-8":                    {func(s *Stay) { s.Match.Differences[0].Exit = "\xff" }, "one character"},
		"no difference":                {func(s *Stay) { s.Match.Differences[0].Exit = "3" }, "both plates have"},
		"missing in both":              {func(s *Stay) { s.Match.Differences[0] = Difference{Position: 1} }, "both plates have"},
		"four alternatives":            {func(s *Stay) { s.Match.Alternatives = slices.Repeat(s.Match.Alternatives, 4) }, "4 alternatives, at most 3"},
		"an alternative without an id": {func(s *Stay) { s.Match.Alternatives[0].EntryID = "" }, "id is missing"},
		"one with a long id":           {func(s *Stay) { s.Match.Alternatives[0].ExitID = strings.Repeat("x", 129) }, "129 bytes"},
		"itself as an alternative":     {func(s *Stay) { s.Match.Alternatives[0].EntryID = "e1" }, "the stay itself"},
		"a posterior above 1":          {func(s *Stay) { s.Match.Posterior = 1.01 }, "posterior"},
		"a posterior below 0":          {func(s *Stay) { s.Match.Posterior = -0.1 }, "posterior"},
		"a posterior that is none":     {func(s *Stay) { s.Match.Posterior = math.NaN() }, "posterior"},
		"a long name of a model":       {func(s *Stay) { s.Match.Model = strings.Repeat("m", 65) }, "model"},
		"a model of two lines":         {func(s *Stay) { s.Match.Model = "a\nb" }, "model"},
		"no plate of the entry":        {func(s *Stay) { s.Match.EntryPlate = "" }, "without entry_plate"},
		"no plate of the exit":         {func(s *Stay) { s.Match.ExitPlate = "" }, "without exit_plate"},
		"a plate of 65 characters":     {func(s *Stay) { s.Match.EntryPlate = "K" + strings.Repeat(" ", 64) }, "at most 64"},
		"a plate of 33 letters":        {func(s *Stay) { s.Match.EntryPlate = strings.Repeat("K", 33) }, "1 to 32"},
		"a plate without letters":      {func(s *Stay) { s.Match.ExitPlate = "--" }, "1 to 32"},
		"a plate of two lines":         {func(s *Stay) { s.Match.ExitPlate = "KA01\nAB1284" }, "printable"},
		"a plate of neither read":      {func(s *Stay) { s.Plate = "KA01AB1235" }, "neither of its reads"},
		"reads of one plate":           {func(s *Stay) { s.Match.EntryPlate = s.Plate }, "reads of one plate"},
		"exact with two plates":        {func(s *Stay) { s.Match.Method = Exact }, "differ from its own"},
	} {
		s := nearStay()
		tt.change(&s)
		switch err := s.CheckMatch(); {
		case (err == nil) != (tt.want == ""):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		case err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 400):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestMethodAndOtherPlates(t *testing.T) {
	near, unmatched := nearStay(), Stay{ID: "x"}
	exact := near
	exact.Match = nil
	third := nearStay()
	third.Plate, third.Match.Method = "X1", Corrected
	for i, tt := range []struct {
		stay   Stay
		method Method
		others string
	}{{near, Edit, "[KA01AB1234]"}, {unmatched, "", "[]"}, {exact, Exact, "[]"}, {third, Corrected, "[KA01AB1234 KA01AB1284]"}} {
		if m, others := tt.stay.Method(), fmt.Sprint(tt.stay.OtherPlates()); m != tt.method || others != tt.others {
			t.Errorf("%d: %q of %s, want %q of %s", i, m, others, tt.method, tt.others)
		}
	}
}

// An answer shows the method of every completed stay. Posted again it is the same stay.
func TestPlainMatchOfAStay(t *testing.T) {
	const head = `{"id":"x","exit_id":"x","exit_date_time":"2026-11-28T09:00:00Z","entry_id":"e","entry_date_time":"2026-11-28T08:00:00Z"`
	exact := &Explanation{Method: Exact}
	for text, want := range map[string]*Explanation{
		``:                            nil,
		`,"match":null`:               nil,
		`,"match":{"method":"exact"}`: nil,
		`,"disputed":true`:            exact,
		`,"match":{"method":"edit"}`:  {Method: Edit},
		`,"match":{"method":"exact","model":"m"}`:     {Method: Exact, Model: "m"},
		`,"match":{"method":"exact"},"disputed":true`: exact,
	} {
		var s Stay
		if err := json.Unmarshal([]byte(head+text+"}"), &s); err != nil || !reflect.DeepEqual(s.Match, want) {
			t.Errorf("%s: %+v, %v, want %+v", text, s.Match, err, want)
		}
	}
}
