package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parkstream/shared/camera"
	"parkstream/shared/parking"
	"parkstream/shared/simulate"
	"parkstream/shared/site"
	"parkstream/shared/timeline"
)

// carPark is a gateway with the camera function and the summary, as far as simulations
// need them, by the rules of the domain.
type carPark struct {
	t *testing.T

	mu       sync.Mutex
	config   map[string]any
	cameras  map[string]site.Camera
	tokens   map[string]string
	attempts map[string]int
	events   []parking.Event
	faults   bool // the first answers to some posts
	// spoil changes an event that the summary shows.
	spoil  func(*parking.Event)
	match  func([]parking.Stay) // changes the stays, as the matcher does
	refuse func(id string) int  // status of a refusal, or 0

	current []parking.Event
	totals  timeline.Totals
	stays   []parking.Stay
	of      int // events

	limit int // so many requests for an event are answered, then one with 429; or 0
	asked int
}

func newCarPark(t *testing.T) (*carPark, simulatePlayCommand) {
	t.Helper()
	p := &carPark{t: t, cameras: map[string]site.Camera{}, tokens: map[string]string{}, attempts: map[string]int{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("admin"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p, simulatePlayCommand{
		Start:    time.Now().UTC().Truncate(24 * time.Hour).Add(-16 * time.Hour), // the busy hours of yesterday
		Duration: 3 * time.Hour, Site: "north", Zone: "Europe/Berlin", Seed: 1, Visits: 400, Scenario: "base", Formats: texts(simulate.Formats()),
		Truth: filepath.Join(dir, "truth"), Connections: 8, summaryAPI: summaryAPI{Gateway: server.URL, TokenFile: filepath.Join(dir, "token")},
	}
}

func (p *carPark) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := strings.CutPrefix(r.URL.Path, "/function/camera/"); ok {
		p.camera(w, r, id, body)
		return
	}
	if r.Header.Get("Authorization") != "Bearer admin" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	if p.of != len(p.events) {
		p.of, p.current = len(p.events), parking.Current(p.events)
		p.totals, p.stays = totalsOf(p.current)
		if p.match != nil {
			p.match(p.stays)
		}
	}
	stays := p.stays
	switch path := strings.TrimPrefix(r.URL.Path, "/function/summary"); {
	case r.Method == http.MethodPut:
		p.configure(body)
		answer(map[string]any{"changes": []string{"all"}})
	case strings.HasSuffix(path, "/events"):
		if p.asked++; p.limit > 0 && p.asked%p.limit == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		for _, e := range p.current {
			if e.ID == r.URL.Query().Get("id") {
				if p.spoil != nil {
					p.spoil(&e)
				}
				answer(e)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	case strings.HasPrefix(path, "/sites/"):
		if p.config == nil && len(p.events) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		answer(map[string]any{"totals": p.totals, "config": p.config})
	default:
		const page = 20
		from := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from)
		next := ""
		if to := from + page; to < len(stays) {
			stays, next = stays[:to], fmt.Sprint(to)
		}
		answer(map[string]any{"stays": stays[from:], "next": next})
	}
}

func (p *carPark) configure(body []byte) {
	p.config = nil
	var config struct {
		Zone    string
		Cameras []cameraConfig
	}
	if err := json.Unmarshal(body, &p.config); err != nil || json.Unmarshal(body, &config) != nil {
		p.t.Error(err)
	}
	zone, err := time.LoadLocation(config.Zone)
	if err != nil {
		p.t.Error(err)
	}
	for _, c := range config.Cameras {
		p.cameras[c.ID] = site.Camera{ID: c.ID, Site: "north", Gate: c.Gate, Role: site.Role(c.Role), Format: c.Format, Location: zone}
		p.tokens[c.ID] = c.Token
	}
}

func (p *carPark) camera(w http.ResponseWriter, r *http.Request, id string, body []byte) {
	if r.Header.Get("Authorization") != "Bearer "+p.tokens[id] || p.tokens[id] == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if p.refuse != nil {
		if status := p.refuse(id); status > 0 {
			w.WriteHeader(status)
			return
		}
	}
	p.attempts[string(body)]++
	switch n := p.attempts[string(body)]; {
	case p.faults && n == 1 && len(body)%5 == 0:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader([]int{500, 502, 503, 429, 408}[len(p.attempts)%5])
		return
	case p.faults && n == 1 && len(body)%5 == 1: // the function is killed
		p.record(r, id, body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return
	}
	p.record(r, id, body)
	_, _ = io.WriteString(w, "{}")
}

func (p *carPark) record(r *http.Request, id string, body []byte) {
	_, message, err := camera.Parse(camera.Request{Header: r.Header, Body: body, Received: time.Now()}, p.cameras[id])
	if err != nil {
		p.t.Error(err)
		return
	}
	events, _, err := camera.Events(message, p.cameras[id], time.Now())
	if err != nil {
		p.t.Error(err)
	}
	p.events = append(p.events, events...)
}

// totalsOf returns what the pairing rule makes of events.
func totalsOf(events []parking.Event) (t timeline.Totals, stays []parking.Stay) {
	byPlate := map[string][]parking.Event{}
	for _, e := range events {
		entry := e.Kind == parking.Entry
		add(entry, &t.Entries, &t.Exits)
		if e.NoPlate {
			add(entry, &t.NoPlateEntries, &t.NoPlateExits)
			continue
		}
		byPlate[e.Plate] = append(byPlate[e.Plate], e)
	}
	for _, events := range byPlate {
		line := parking.Pair(events, nil)
		t.MissedExits += int64(len(line.MissedExits))
		t.RepeatedEntries += int64(len(line.RepeatedEntries))
		for _, s := range line.Stays {
			stays = append(stays, s)
			switch s.Status() {
			case parking.Completed:
				t.CompletedStays++
			case parking.Repeated:
				t.RepeatedExits++
			default:
				t.UnmatchedExits++
			}
		}
	}
	slices.SortFunc(stays, func(a, b parking.Stay) int { return strings.Compare(a.ID, b.ID) })
	return t, stays
}

// checked checks the truth of a run and returns what is printed.
func checked(t *testing.T, c simulatePlayCommand) (string, error) {
	t.Helper()
	f, err := os.Open(c.Truth)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check, err := readTruth(f)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	check.api, check.out = c.summaryAPI, &out
	err = check.run(t.Context(), 0)
	return out.String(), err
}

// Each read arrives, whatever answers there are on the way, and the check finds it.
func TestSimulateLosesNothing(t *testing.T) {
	p, c := newCarPark(t)
	p.faults = true
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := checked(t, c)
	if err != nil || !strings.Contains(out, "Every read is accounted for.") || !strings.Contains(out, "have a stay of their own entry and exit") {
		t.Errorf("%v\n%s", err, out)
	}
	retried := 0
	for _, n := range p.attempts {
		if n > 1 {
			retried++
		}
	}
	if len(p.attempts) < 60 || retried < len(p.attempts)/5 {
		t.Errorf("%d posts, %d of them made again", len(p.attempts), retried)
	}
	// A second run finds the cameras configured, and their tokens.
	p.config["name"] = "The north"
	c.Seed, c.Duration, c.Zone = 2, time.Hour, "UTC"
	if err := c.Run(t.Context()); err != nil || p.config["name"] != "The north" || p.config["zone"] != "Europe/Berlin" {
		t.Errorf("a second run: %v, %v", err, p.config)
	}
	if out, err := checked(t, c); err != nil {
		t.Errorf("a second run: %v\n%s", err, out)
	}
}

func TestSimulateCheckFindsWhatIsWrong(t *testing.T) {
	p, c := newCarPark(t)
	c.Formats, c.Duration = texts{"axis", "own"}, time.Hour
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An exit with a plate, and its event alone.
	all := slices.Clone(p.events)
	at := slices.IndexFunc(all, func(e parking.Event) bool {
		return e.Kind == parking.Exit && !e.NoPlate && !slices.ContainsFunc(all, func(o parking.Event) bool { return o.ID == e.ID && o.Version != e.Version })
	})
	exit := all[at]
	between := exit
	between.ID, between.Kind, between.Time = "between", parking.Entry, exit.Time.Add(-time.Millisecond)
	for name, tt := range map[string]struct {
		change func()
		spoil  func(*parking.Event)
		want   string
	}{
		"nothing":         {func() {}, nil, ""},
		"a lost event":    {func() { p.events = slices.DeleteFunc(p.events, func(e parking.Event) bool { return e.ID == exit.ID }) }, nil, "event " + exit.ID + " is missing\nstay " + exit.ID + " is missing"},
		"another plate":   {func() {}, func(e *parking.Event) { e.RawPlate = "OTHER1" }, " plate"},
		"another time":    {func() {}, func(e *parking.Event) { e.Time = e.Time.Add(time.Hour) }, "has the time"},
		"another kind":    {func() {}, func(e *parking.Event) { e.Kind ^= parking.Entry ^ parking.Exit }, "has the kind"},
		"another version": {func() {}, func(e *parking.Event) { e.Version++ }, "has the version"},
		"no camera":       {func() {}, func(e *parking.Event) { e.Camera = "" }, "has the camera none, want north-"},
		"events of others": {func() {
			p.events = append(p.events, parking.Event{ID: "x", Site: "north", Kind: parking.Exit, Plate: "X", RawPlate: "X"})
		}, nil, "the totals of the site are"},
		"another entry": {func() { p.events = append(p.events, between) }, nil, "stay " + exit.ID + " is completed with the entry between, want"},
	} {
		t.Run(name, func(t *testing.T) {
			p.events, p.spoil, p.of = slices.Clone(all), tt.spoil, 0
			tt.change()
			out, err := checked(t, c)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), "differences between the truth") || !strings.Contains(out, tt.want)) {
				t.Errorf("%v\n%s\nwant %q", err, out, tt.want)
			}
			if strings.Contains(out, exit.Plate) {
				t.Error("the output has a whole plate")
			}
		})
	}
}

// Some time after a run the matcher has put exits together with entries of similar plates.
func TestSimulateCheckKnowsNearStays(t *testing.T) {
	p, c := newCarPark(t)
	c.Formats = texts{"axis", "own"}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	entryOf := func(exit parking.Stay) parking.Event {
		for _, e := range p.current {
			if e.Kind == parking.Entry && !e.NoPlate && e.Plate != exit.Plate && e.Time.Before(exit.ExitTime) {
				return e
			}
		}
		t.Fatal("no entry is before the exit")
		return parking.Event{}
	}
	for name, tt := range map[string]struct {
		status  parking.Status
		method  parking.Method
		another func(*parking.Stay)
		want    string // or empty, if nothing is wrong
	}{
		"an unmatched exit":     {parking.UnmatchedExit, parking.Edit, func(*parking.Stay) {}, ""},
		"a split stay":          {parking.Completed, parking.Split, func(*parking.Stay) {}, ""},
		"an exact stay":         {parking.UnmatchedExit, parking.Exact, func(s *parking.Stay) { s.Match = nil }, "want unmatched_exit with none"},
		"an entry of others":    {parking.UnmatchedExit, parking.Edit, func(s *parking.Stay) { s.EntryID = "x" }, "with the entry x, want unmatched_exit"},
		"another time of entry": {parking.UnmatchedExit, parking.Edit, func(s *parking.Stay) { s.EntryTime = s.EntryTime.Add(-time.Second) }, "want unmatched_exit with none"},
		"another plate":         {parking.UnmatchedExit, parking.Edit, func(s *parking.Stay) { s.Plate, s.Match.ExitPlate = "X1", "X1" }, "want unmatched_exit with none"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := false
			p.of, p.match = 0, func(stays []parking.Stay) {
				for i := range stays {
					if s := &stays[i]; s.Status() == tt.status {
						e := entryOf(*s)
						s.EntryID, s.EntryTime = e.ID, e.Time
						s.Match = &parking.Explanation{Method: tt.method, EntryPlate: e.Plate, ExitPlate: s.Plate}
						tt.another(s)
						changed = true
						return
					}
				}
			}
			out, err := checked(t, c)
			if !changed {
				t.Fatal("no stay is changed")
			}
			if tt.want == "" && (err != nil || !strings.Contains(out, "by similar plates  -") || !strings.Contains(out, "Every read is accounted for.")) {
				t.Errorf("%v\n%s", err, out)
			}
			if tt.want != "" && (err == nil || !strings.Contains(out, tt.want)) {
				t.Errorf("%v\n%s\nwant %q", err, out, tt.want)
			}
		})
	}
}

// A check that may only make so many requests goes on as long as it finds something. One
// that is refused for other reasons tells nothing of the reads.
func TestSimulateCheckIsLimited(t *testing.T) {
	p, c := newCarPark(t)
	c.Formats, c.Duration = texts{"axis", "own"}, time.Hour
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.limit = 150
	if out, err := checked(t, c); err != nil || p.asked <= p.limit {
		t.Errorf("%d requests, of which %d are answered: %v\n%s", p.asked, p.limit, err, out)
	}
	p.limit = 1
	if out, err := checked(t, c); err == nil || !strings.Contains(err.Error(), "429") || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

// An interrupted run ends at once, and its truth has what was posted.
func TestSimulateIsInterrupted(t *testing.T) {
	p, c := newCarPark(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p.refuse = func(string) int {
		if len(p.events) < 50 {
			return 0
		}
		stop()
		return http.StatusServiceUnavailable
	}
	if err := c.Run(ctx); err == nil || !strings.HasPrefix(err.Error(), "interrupted: ") {
		t.Errorf("error %v", err)
	}
	// What is refused from now on would be a post of the check.
	if out, err := checked(t, c); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSimulateRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*carPark, *simulatePlayCommand)
		want   string
	}{
		"a format that is not taken": {func(p *carPark, _ *simulatePlayCommand) {
			p.refuse = func(id string) int {
				if strings.Contains(id, "dahua") {
					return http.StatusUnprocessableEntity
				}
				return 0
			}
		}, "posts were refused"},
		"no function": {func(p *carPark, _ *simulatePlayCommand) { p.refuse = func(string) int { return http.StatusNotFound } }, "has no function camera"},
		"cameras of others": {func(p *carPark, _ *simulatePlayCommand) {
			p.config = map[string]any{"cameras": []map[string]any{{"id": "real", "role": "entry"}}}
		}, "the site north has cameras, and north-axis is not among them"},
		"a wrong token":     {func(_ *carPark, c *simulatePlayCommand) { _ = os.WriteFile(c.TokenFile, []byte("other"), 0o600) }, "the function summary answers 401 Unauthorized"},
		"no gateway":        {func(_ *carPark, c *simulatePlayCommand) { c.Gateway = "http://127.0.0.1:1" }, "nothing answers at http://127.0.0.1:1"},
		"an unknown format": {func(_ *carPark, c *simulatePlayCommand) { c.Formats = texts{"polaroid"} }, "is no format that is simulated"},
		"a zone":            {func(_ *carPark, c *simulatePlayCommand) { c.Zone = "Mars/Olympus" }, "--zone Mars/Olympus: want a name"},
		"the zone of here":  {func(_ *carPark, c *simulatePlayCommand) { c.Zone = "Local" }, "such as Europe/Berlin"},
		"a scenario":        {func(_ *carPark, c *simulatePlayCommand) { c.Scenario = "polite" }, "--scenario: "},
		"the future":        {func(_ *carPark, c *simulatePlayCommand) { c.Start = time.Now() }, "--start: the simulated time would end at"},
		"long ago":          {func(_ *carPark, c *simulatePlayCommand) { c.Start = time.Now().Add(-90 * 24 * time.Hour) }, "--start: vehicles come from"},
	} {
		t.Run(name, func(t *testing.T) {
			p, c := newCarPark(t)
			tt.change(p, &c)
			if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "%!") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// By default the simulated day ends when the run does.
func TestSimulatedStart(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		pace float64
		want string
	}{{0, "2026-11-26T12:00:00Z"}, {1, "2026-11-27T12:00:00Z"}, {2, "2026-11-27T00:00:00Z"}, {2000, "2026-11-26T12:00:43Z"}} {
		s, err := simulatePlayCommand{Duration: 24 * time.Hour, Pace: tt.pace, Scenario: "base", Visits: 1}.scenario(now)
		if got := s.Start.Format(time.RFC3339); err != nil || got != tt.want {
			t.Errorf("at the pace %g it begins at %s, want %s (%v)", tt.pace, got, tt.want, err)
		}
	}
}

// The simulated time passes at its pace. What was before the start is due at once.
func TestSimulatedPace(t *testing.T) {
	start, began := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		pace      float64
		at, after time.Duration
	}{{1, time.Hour, time.Hour}, {3600, time.Hour, time.Second}, {0, time.Hour, 0}, {60, -time.Hour, -time.Minute}, {0.5, time.Second, 2 * time.Second}} {
		p := &playing{simulatePlayCommand: simulatePlayCommand{Pace: tt.pace}, simulation: &simulate.Simulation{Scenario: simulate.Scenario{Start: start}}, started: began}
		if got := p.due(start.Add(tt.at)).Sub(began); got != tt.after {
			t.Errorf("at the pace %g %s is due after %s, want %s", tt.pace, tt.at, got, tt.after)
		}
	}
}

func TestMistakesOfSimulate(t *testing.T) {
	for want, c := range map[string]simulatePlayCommand{
		"--pace is -1, want 0 or more":      {Pace: -1, Connections: 1, Site: "s"},
		"--connections is 0, want 1 to 256": {Site: "s"},
		`--site: site "a b" must be`:        {Connections: 1, Site: "a b"},
		"--check needs --truth FILE":        {Connections: 1, Site: "s", Check: true},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	for _, text := range []string{"", "{}", `{"read":{}}`, "nonsense"} {
		if _, err := readTruth(strings.NewReader(text)); err == nil {
			t.Errorf("%q is a file of the truth", text)
		}
	}
}
