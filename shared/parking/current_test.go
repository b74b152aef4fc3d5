package parking

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// of returns an event of a version, as changed.
func of(e Event, version int64, change func(*Event)) Event {
	e.Version = version
	if change != nil {
		change(&e)
	}
	return e
}

func TestCurrent(t *testing.T) {
	e1, x3 := at(Entry, "e1", 1), at(Exit, "x3", 3)
	void := func(e *Event) { *e = Event{ID: e.ID, Kind: e.Kind, Site: e.Site, Version: e.Version, Void: true} }
	plate := func(e *Event) { e.RawPlate, e.Plate = "KA02", "KA02" }
	elsewhere := func(e *Event) { e.Site = "elsewhere" }
	for name, tt := range map[string]struct{ events, want []Event }{
		"the highest counts":          {[]Event{of(e1, 1, nil), of(e1, 3, plate), of(e1, 2, nil)}, []Event{of(e1, 3, plate)}},
		"void":                        {[]Event{of(e1, 2, void), of(e1, 1, nil), x3}, []Event{x3}},
		"void, then again":            {[]Event{of(e1, 2, void), of(e1, 1, nil), of(e1, 3, nil)}, []Event{of(e1, 3, nil)}},
		"void, of what was never":     {[]Event{of(e1, 1, void)}, []Event{}},
		"one id at two sites":         {[]Event{of(e1, 2, elsewhere), of(e1, 1, nil)}, []Event{of(e1, 1, nil), of(e1, 2, elsewhere)}},
		"another kind, another time":  {[]Event{of(x3, 1, nil), of(at(Entry, "x3", 0), 2, nil)}, []Event{of(at(Entry, "x3", 0), 2, nil)}},
		"the order of the timeline":   {[]Event{x3, e1}, []Event{e1, x3}},
		"one version, sent two times": {[]Event{e1, e1}, []Event{e1}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Current(tt.events)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCurrentIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []Event
		for id := range rapid.IntRange(0, 4).Draw(t, "ids") {
			for version := range rapid.IntRange(1, 4).Draw(t, "versions") {
				e := at(rapid.SampledFrom([]Kind{Entry, Exit}).Draw(t, "kind"), fmt.Sprint(id), rapid.IntRange(0, 5).Draw(t, "minute"))
				e.Version, e.Void = int64(version+1), rapid.Bool().Draw(t, "void")
				events = append(events, e)
			}
		}
		want := Current(events)
		again := append(append([]Event{}, events...), events...)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		if diff := cmp.Diff(want, Current(again)); diff != "" {
			t.Fatalf("another order gives another result:\n%s", diff)
		}
	})
}

// seen returns an event of a place, some seconds after noon.
func seen(kind Kind, id, camera, gate string, seconds int) Event {
	e := at(kind, id, 0)
	e.Camera, e.Gate, e.Time = camera, gate, noon.Add(time.Duration(seconds)*time.Second)
	return e
}

func TestRepeats(t *testing.T) {
	before, after := seen(Exit, "a", "c1", "g1", 0), func(camera, gate string, seconds int) Event { return seen(Exit, "b", camera, gate, seconds) }
	none := Repeats{{Within: 0}}
	for name, tt := range map[string]struct {
		first, second Event
		repeats       Repeats
		want          bool
	}{
		"the same camera":                        {before, after("c1", "g1", 60), nil, true},
		"a nanosecond too late":                  {before, of(after("c1", "g1", 60), 1, func(e *Event) { e.Time = e.Time.Add(1) }), nil, false},
		"at once":                                {before, after("c1", "g1", 0), nil, true},
		"another camera of the gate":             {before, after("c2", "g1", 5), nil, false},
		"no camera, the same gate":               {seen(Exit, "a", "", "g1", 0), after("", "g1", 5), nil, true},
		"one names a camera, both the gate":      {before, after("", "g1", 5), nil, true},
		"one names a camera, another gate":       {before, after("", "g2", 5), nil, false},
		"no place":                               {seen(Exit, "a", "", "", 0), after("", "", 5), nil, false},
		"a camera here, a gate there":            {seen(Exit, "a", "c1", "", 0), after("", "c1", 5), nil, false},
		"another kind":                           {seen(Entry, "a", "c1", "", 0), after("c1", "", 5), nil, false},
		"set to five seconds":                    {before, after("c1", "g1", 6), Repeats{{Within: 5 * time.Second}}, false},
		"switched off":                           {before, after("c1", "g1", 0), none, false},
		"the setting of the later read is valid": {before, after("c1", "g1", 50), Repeats{{From: noon.Add(50 * time.Second), Within: 10 * time.Second}}, false},
		"a later setting is not":                 {before, after("c1", "g1", 50), Repeats{{From: noon.Add(51 * time.Second), Within: 10 * time.Second}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.repeats.Repeat(&tt.first, &tt.second); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// Of a run of entries the last one begins the stay; of a run of exits the first one ends
// it.
func TestPairRuns(t *testing.T) {
	e0, e5, e300 := seen(Entry, "e0", "in", "", 0), seen(Entry, "e5", "in", "", 5), seen(Entry, "e300", "in", "", 300)
	x600, x630, x680, x900 := seen(Exit, "x600", "out", "", 600), seen(Exit, "x630", "out", "", 630), seen(Exit, "x680", "out", "", 680), seen(Exit, "x900", "out", "", 900)
	repeat := func(x *Event) Stay { s := stay(nil, x); s.Repeat = true; return s }
	want := Timeline{
		// x680 is more than a minute after x600, and repeats x630.
		Stays:           []Stay{stay(&e300, &x600), repeat(&x630), repeat(&x680), stay(nil, &x900)},
		RepeatedEntries: []Event{e0},
		MissedExits:     []Event{e5},
	}
	if diff := cmp.Diff(want, Pair([]Event{x680, e5, x900, x600, e0, x630, e300}, nil)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := Pair([]Event{x600, x630}, nil); got.Stays[0].Status() != UnmatchedExit || got.Stays[1].Status() != Repeated {
		t.Errorf("a run without an entry: %+v", got)
	}
}

func TestNewEventOfVersions(t *testing.T) {
	confidence := func(f float64) *float64 { return &f }
	for name, tt := range map[string]struct {
		change func(*Event)
		want   string // of the error
	}{
		"version 0 is 1":          {func(e *Event) { e.Version = 0 }, ""},
		"the highest":             {func(e *Event) { e.Version = MaxVersion }, ""},
		"too high":                {func(e *Event) { e.Version = MaxVersion + 1 }, "version is 9007199254740992, want 1 to 9007199254740991"},
		"negative":                {func(e *Event) { e.Version = -1 }, "version is -1, want 1 to 9007199254740991"},
		"void without a plate":    {func(e *Event) { e.Void, e.RawPlate, e.Time = true, "", time.Time{} }, ""},
		"no plate":                {func(e *Event) { e.NoPlate, e.RawPlate = true, "" }, ""},
		"no plate and no time":    {func(e *Event) { e.NoPlate, e.Time = true, time.Time{} }, "entry_date_time is missing or is the zero time"},
		"confidence of a percent": {func(e *Event) { e.Details.Confidence = confidence(92) }, "confidence is 92, want 0 to 1"},
		"confidence NaN":          {func(e *Event) { e.Details.Confidence = confidence(math.NaN()) }, "confidence is NaN, want 0 to 1"},
		"too many candidates":     {func(e *Event) { e.Details.Candidates = make([]Candidate, 17) }, "candidates has 17 readings, at most 16 are allowed"},
		"an empty candidate":      {func(e *Event) { e.Details.Candidates = make([]Candidate, 1) }, `plate "" in candidates must be 1 to 64 printable characters`},
		"camera":                  {func(e *Event) { e.Camera = "\n" }, `camera "\n" must be at most 64 printable characters`},
		"vehicle":                 {func(e *Event) { e.Details.Vehicle = "\x00" }, `vehicle "\x00" must be at most 128 bytes of printable text`},
	} {
		t.Run(name, func(t *testing.T) {
			e := at(Entry, "e", 0)
			tt.change(&e)
			got, err := NewEvent(e)
			if tt.want == "" && (err != nil || got.Version < 1 || (got.Void || got.NoPlate) != (got.Plate == "")) {
				t.Errorf("%+v, %v", got, err)
			}
			if tt.want != "" && (!errors.Is(err, ErrInvalid) || err.Error() != tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestEventJSON(t *testing.T) {
	e := at(Entry, "e", 0)
	sure := 0.9
	for _, tt := range []struct {
		e    Event
		want string
	}{
		{of(e, 1, nil), `{"id":"e","vehicle_plate":"KA01","entry_date_time":"2026-11-23T12:00:00Z","site":"default"}`},
		{of(e, 2, func(e *Event) { e.Kind, e.Details.Confidence, e.Camera = Exit, &sure, "c" }), `{"id":"e","vehicle_plate":"KA01","exit_date_time":"2026-11-23T12:00:00Z","site":"default","version":2,"camera":"c","confidence":0.9}`},
		{of(e, 1, func(e *Event) { e.NoPlate = true }), `{"id":"e","vehicle_plate":null,"entry_date_time":"2026-11-23T12:00:00Z","site":"default"}`},
		{of(e, 3, func(e *Event) { e.Void, e.Time = true, time.Time{} }), `{"id":"e","vehicle_plate":null,"site":"default","version":3,"void":true}`},
	} {
		text, err := json.Marshal(tt.e)
		if err != nil || string(text) != tt.want {
			t.Errorf("%s, %v, want %s", text, err, tt.want)
		}
	}
}

func TestSameContent(t *testing.T) {
	e := at(Entry, "e", 0)
	void := of(e, 1, func(e *Event) { e.Void = true })
	for name, tt := range map[string]struct {
		a, b Event
		want bool
	}{
		"the same":            {e, e, true},
		"another gate":        {e, of(e, 1, func(e *Event) { e.Gate = "g" }), true},
		"another plate":       {e, of(e, 1, func(e *Event) { e.Plate = "KA02" }), false},
		"another time":        {e, of(e, 1, func(e *Event) { e.Time = e.Time.Add(1) }), false},
		"another kind":        {e, of(e, 1, func(e *Event) { e.Kind = Exit }), false},
		"no plate":            {e, of(e, 1, func(e *Event) { e.NoPlate, e.Plate = true, "" }), false},
		"void and not":        {e, void, false},
		"void of other times": {void, of(void, 1, func(e *Event) { e.Time = time.Time{} }), true},
	} {
		if got := SameContent(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestStayJSONOfRepeatsAndVoids(t *testing.T) {
	x := at(Exit, "x", 0)
	for _, status := range []Status{UnmatchedExit, Repeated, Void} {
		s := stay(nil, &x)
		s.Repeat, s.Void = status == Repeated, status == Void
		text, err := json.Marshal(s)
		var got Stay
		if err2 := json.Unmarshal(text, &got); err != nil || err2 != nil || got != s || got.Status() != status {
			t.Errorf("%s is read as %+v, %v %v", text, got, err, err2)
		}
	}
	const withEntry = `{"id":"x","site":"a","vehicle_plate":"K","entry_id":"e","entry_date_time":"2026-11-23T12:00:00Z","exit_id":"x","exit_date_time":"2026-11-23T12:00:00Z","status":"repeat","revision":1}`
	if err := json.Unmarshal([]byte(withEntry), new(Stay)); err == nil {
		t.Error("a repeat with an entry was read")
	}
}
