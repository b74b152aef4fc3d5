package parking

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestDefaultModel(t *testing.T) {
	m := DefaultModel()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseModel(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(m, got); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	if m.Margin = 1; DefaultModel().Margin == 1 {
		t.Error("a change of the default model changes the next one")
	}
}

func TestMistakesOfModels(t *testing.T) {
	shape := Shape{Shape: "A0", Places: []map[string]Weight{{"B": -1}, {"1": -1}}}
	for want, change := range map[string]func(*Model){
		"":                                func(m *Model) { m.Texts.Shapes = []Shape{shape} },
		"version \"\" must be":            func(m *Model) { m.Version = "" },
		"margin is 0, want more than 0":   func(m *Model) { m.Margin = 0 },
		"margins: that of \"edit\" is -1": func(m *Model) { m.Margins = map[Method]Weight{Edit: -1} },
		"\"exact\" is no method":          func(m *Model) { m.Margins = map[Method]Weight{Exact: 1} },
		"doubt is 0":                      func(m *Model) { m.Doubt = 0 },
		"long is -1":                      func(m *Model) { m.Long = -1 },
		"prior is -10001, want -10000":    func(m *Model) { m.Prior = -10001 },
		"confused has \"B8\"":             func(m *Model) { m.Edits.Confused["B8"] = -1 },
		"confused has \"8BX\"":            func(m *Model) { m.Edits.Confused["8BX"] = -1 },
		"confused is 20000":               func(m *Model) { m.Edits.Confused["8B"] = 20000 },
		"dwell has 0":                     func(m *Model) { m.Dwell = nil },
		"60 seconds are not more than":    func(m *Model) { m.Dwell = []Dwell{{60, 0}, {60, 0}} },
		"the shape \"A0\" must be":        func(m *Model) { m.Texts.Shapes = []Shape{shape, shape} },
		"the shape \"AB\" must be":        func(m *Model) { m.Texts.Shapes = []Shape{{Shape: "AB", Places: shape.Places}} },
		"has 2 places, want 3":            func(m *Model) { m.Texts.Shapes = []Shape{{Shape: "A00", Places: shape.Places}} },
		"has \"1\" at place 1": func(m *Model) {
			m.Texts.Shapes = []Shape{{Shape: "AA", Places: []map[string]Weight{{"1": 0}, {"A": 0}}}}
		},
		"colors: frequent has \"\"":            func(m *Model) { m.Appearance.Colors.Frequent = map[string]Weight{"": 1} },
		"the margin 1 is not more than":        func(m *Model) { m.Posteriors = []Posterior{{1, 1}, {1, 1}} },
		"right is 10001, want 0 to 10000":      func(m *Model) { m.Posteriors = []Posterior{{1, 10001}} },
		"posteriors has 65, at most 64":        func(m *Model) { m.Posteriors = make([]Posterior, 65) },
		"makes: frequent has 257, at most 256": func(m *Model) { m.Appearance.Makes.Frequent = many(257) },
		"appearance: joint is 10001":           func(m *Model) { m.Appearance.Joint.Neither = 10001 },
		"relief is -1, want 0 to 50":           func(m *Model) { m.Appearance.Relief = -1 },
		"relief is 51, want 0 to 50":           func(m *Model) { m.Appearance.Relief = 51 },
	} {
		m := DefaultModel()
		change(m)
		switch err := m.Check(); {
		case want == "" && err != nil:
			t.Errorf("error %v of a good model", err)
		case want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want)):
			t.Errorf("error %v, want an ErrInvalid with %s", err, want)
		}
	}
	for want, text := range map[string]string{
		"no document of a model":       `{"version":`,
		"unknown field":                `{"version":"a","margn":1}`,
		"no document of a model: json": `{"margin":1.5}`,
		"followed by something else":   string(document(t)) + "{}",
		"at most 262144 are allowed":   strings.Repeat(" ", MaxModel+1),
	} {
		if _, err := ParseModel([]byte(text)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want an ErrInvalid with %s", err, want)
		}
	}
}

func document(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(DefaultModel())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func many(n int) map[string]Weight {
	m := make(map[string]Weight)
	for len(m) < n {
		m[strings.Repeat("a", len(m)%31+1)+string(rune('a'+len(m)/31))] = 1
	}
	return m
}

func TestModelsAreValidFromAnInstant(t *testing.T) {
	first, second := &Model{Version: "1", From: noon}, &Model{Version: "2", From: noon.Add(time.Hour)}
	for minutes, want := range map[int]string{-1: DefaultVersion, 0: "1", 59: "1", 60: "2", 600: "2"} {
		if got := (Models{first, second}).At(noon.Add(time.Duration(minutes) * time.Minute)); got.Version != want {
			t.Errorf("%d minutes: %s, want %s", minutes, got.Version, want)
		}
	}
}

func TestFrequency(t *testing.T) {
	m := &Model{Texts: Texts{
		Shapes: []Shape{{Shape: "A00", Weight: -10, Else: -50, Places: []map[string]Weight{{"M": -1}, {"1": -2, "2": -3}, {}}}},
		Other:  -100, Letter: -7, Digit: -5, Rarest: -150,
	}}
	s := newScorer(m)
	for text, want := range map[string]Weight{
		"M12": -10 - 1 - 2 - 50, "X23": -10 - 50 - 3 - 50, "12": -100 - 5 - 5, "Ä1": -100 - 7 - 5, "Ä12": -10 - 7 - 2 - 50, "ABCDEFGH": -150,
	} {
		if got := s.frequency([]rune(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func TestListsAndAppearance(t *testing.T) {
	m := &Model{
		Lists:      Lists{Listed: 1000, ListedTwo: 2000, Shared: 500, Neither: -100, Missing: -10},
		Appearance: Appearance{Makes: Look{Equal: 7, Differ: -7, Frequent: map[string]Weight{"vw": 3}}, Colors: Look{Equal: 5, Differ: -5}, Joint: Joint{100, 200, 300}},
	}
	s := newScorer(m)
	list := func(plates ...string) *Details {
		d := new(Details)
		for _, p := range plates {
			d.Candidates = append(d.Candidates, Candidate{Plate: p})
		}
		return d
	}
	for name, tt := range map[string]struct {
		entry, exit *Details
		edits       int
		want        Weight
	}{
		"no lists":                 {list(), list(), 1, 0},
		"the exit's is listed":     {list("a 1", "B-1"), list(), 1, 1000},
		"of three":                 {list("B1", "C1", "D1"), list(), 1, 1000 - 110},
		"two edits":                {list(), list("A1"), 2, 2000},
		"both, the shorter counts": {list("B1", "C1"), list("A1"), 1, 1000},
		"a third one":              {list("C1"), list("D1", "C1"), 1, 500},
		"neither":                  {list("C1"), list("D1"), 1, -100},
		"itself is no other":       {list("A1"), list("B1"), 1, -100},
		"one has a list":           {list("C1"), list(), 1, -10},
	} {
		if got := s.lists(tt.entry, tt.exit, "A1", "B1", tt.edits); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b Details
		want Weight
	}{
		{Details{Make: "VW", Color: "red"}, Details{Make: "vw ", Color: "Red"}, 3 + 5 + 100},
		{Details{Make: "VW", Color: "red"}, Details{Make: "VW", Color: "blue"}, 3 - 5 + 200},
		{Details{Make: "VW", Color: "red"}, Details{Make: "Fiat", Color: "red"}, -7 + 5 + 200},
		{Details{Make: "VW", Color: "red"}, Details{Make: " ", Color: "red"}, 5},
		{Details{Make: "Fiat"}, Details{Make: "fiat", Color: "red"}, 7},
		{Details{Make: "Fiat", Color: "red"}, Details{Make: "VW", Color: "blue"}, -12 + 300},
		{Details{}, Details{Make: "VW"}, 0},
	} {
		if got := s.appearance(&tt.a, &tt.b); got != tt.want {
			t.Errorf("%+v and %+v: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// The margin of a pair is that of its method, and lower if make and colour weigh something,
// for it or against it.
func TestMargin(t *testing.T) {
	m := &Model{Margin: 400, Margins: map[Method]Weight{TwoEdits: 650}, Appearance: Appearance{Relief: 35}}
	for _, tt := range []struct {
		method     Method
		appearance Weight
		want       Weight
	}{
		{OCR, 0, 400}, {Split, 0, 400}, {TwoEdits, 0, 650}, {Edit, 1, 260}, {Split, -1, 260}, {TwoEdits, 200, 423},
	} {
		if got := m.margin(tt.method, &Parts{Text: 7, Appearance: tt.appearance}); got != tt.want {
			t.Errorf("%s with %d of make and colour: %d, want %d", tt.method, tt.appearance, got, tt.want)
		}
	}
	if m.Appearance.Relief = 0; m.margin(Edit, &Parts{Appearance: 100}) != 400 {
		t.Error("without relief the margin is lower")
	}
}

func TestDwell(t *testing.T) {
	s := newScorer(&Model{Dwell: []Dwell{{60, 1}, {120, 2}}})
	for seconds, want := range map[int64]Weight{1: 1, 60: 1, 61: 2, 120: 2, 500: 2} {
		if got := s.dwell(seconds * int64(time.Second)); got != want {
			t.Errorf("%d seconds: %d, want %d", seconds, got, want)
		}
	}
}
