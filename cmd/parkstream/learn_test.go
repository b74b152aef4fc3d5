package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"parkstream/shared/learn"
	"parkstream/shared/model"
	"parkstream/shared/parking"
)

// fakeModels has the models of a site as the summary does, and learns as the matcher does.
type fakeModels struct {
	mu     sync.Mutex
	list   model.List
	report learn.Report
	calls  []string
	body   string // of the last request
}

func (f *fakeModels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	f.calls, f.body = append(f.calls, r.Method+" "+r.URL.RequestURI()), string(body)
	answer := func(code int, v any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	const site = "/function/summary/sites/north/models"
	switch {
	case r.Header.Get("Authorization") != "Bearer of-an-admin":
		answer(401, map[string]string{"error": "this needs a login"})
	case r.URL.Path == "/function/matcher/learn":
		answer(200, f.report)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, site+"/"):
		answer(200, parking.DefaultModel())
	case r.Method == http.MethodPost && r.URL.Path == site:
		var wanted struct {
			Version string
			From    *time.Time
		}
		if json.Unmarshal(body, &wanted) != nil {
			answer(400, map[string]string{"error": "what?"})
			return
		}
		if wanted.From == nil {
			wanted.From = new(time.Now())
		}
		f.list.Periods = append(f.list.Periods, model.Period{From: *wanted.From, Version: wanted.Version, By: "anna"})
		answer(200, f.list)
	case r.Method == http.MethodPut:
		f.list.Models = append(f.list.Models, model.Kept{Version: strings.TrimPrefix(r.URL.Path, site+"/"), By: "anna", Bytes: len(body)})
		answer(200, f.list)
	case strings.HasPrefix(r.URL.Path, site):
		answer(200, f.list)
	default:
		answer(404, map[string]string{"error": "no such path"})
	}
}

// changes returns the requests that change something.
func (f *fakeModels) changes() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var changing []string
	for _, call := range f.calls {
		if !strings.HasPrefix(call, "GET ") && !strings.Contains(call, "/learn?") {
			changing = append(changing, call)
		}
	}
	return strings.Join(changing, ", ")
}

func newFakeModels(t *testing.T) (*fakeModels, summaryAPI) {
	t.Helper()
	f := new(fakeModels)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("of-an-admin"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	m := parking.DefaultModel()
	m.Version, m.Margin = "learnt-1", 350
	gained := parking.Stay{
		ID: "x1", Site: "north", Plate: "AB12CDE", ExitTime: at.Add(90 * time.Minute), EntryID: "e1", EntryTime: at, Revision: 1,
		Match: &parking.Explanation{Method: parking.OCR, EntryPlate: "A812CDE", ExitPlate: "AB12CDE", Margin: 512},
	}
	before := gained
	before.EntryID, before.EntryTime, before.Match = "", time.Time{}, nil
	f.report = learn.Report{
		Site: "north", From: at.AddDate(0, 0, -14), To: at, Model: m, Valid: "default",
		Learnt: parking.Learnt{Exact: 5000, Near: 300, Lone: 700, Hours: 336},
		Before: learn.Totals{Exact: 5000, ExactHours: 9000, Disputed: 10, DisputedHours: 80, Unmatched: 700},
		After:  learn.Totals{Exact: 5000, ExactHours: 9000, Disputed: 12, DisputedHours: 95, Near: 300, NearHours: 610, Unmatched: 400},
		Changed: []learn.Kind{
			{Kind: learn.Gained, Stays: 300, HoursAfter: 610},
			{Kind: learn.Disputed, Stays: 2, HoursBefore: 15, HoursAfter: 15},
		},
		Changes: []learn.Change{{Kind: learn.Gained, Before: before, After: gained}},
	}
	return f, summaryAPI{Gateway: server.URL, TokenFile: token}
}

// trial runs a command with an answer of a person.
func trial(t *testing.T, answer string, run func(terminal) error) (out, notes string, err error) {
	t.Helper()
	var o, n bytes.Buffer
	err = run(terminal{t.Context(), strings.NewReader(answer), &o, &n})
	return o.String(), n.String(), err
}

// oneLine returns a text with single blanks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// A dry run shows what a model is made of, which stays would change and what that means in
// hours or in money, and changes nothing.
func TestLearnDryRun(t *testing.T) {
	f, api := newFakeModels(t)
	file := filepath.Join(t.TempDir(), "model")
	c := learnCommand{Days: 14, DryRun: true, Margin: 3.75, Output: file, activation: activation{Site: "north", summaryAPI: api}}
	out, notes, err := trial(t, "", func(term terminal) error { return c.run(term, false) })
	if err != nil || f.changes() != "" {
		t.Fatalf("%v, calls %s", err, f.changes())
	}
	if !strings.Contains(strings.Join(f.calls, " "), "POST /function/matcher/learn?days=14&margin=375&site=north") {
		t.Errorf("the calls are %s", f.calls)
	}
	for _, want := range []string{
		"model learnt-1 with the margin 3.50, from 5000 exact stays, 300 stays of misread plates and corrections, and 700 exits without an entry in 336 hours",
		"valid now is default; stays from 2026-11-13T09:00:00Z to 2026-11-27T09:00:00Z",
		"stays of misread plates 0 300 0 610",
		"exits without an entry 700 400",
		"gained 300 0 610",
		"disputed 2 15 15",
		"2026-11-27T10:30:00Z AB12CDE gained - 2026-11-27T09:00:00Z A812CDE ocr margin 5.12",
	} {
		if !strings.Contains(oneLine(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if !strings.Contains(notes, "nothing was changed") || !strings.Contains(notes, "which takes up to a minute") {
		t.Errorf("the notes are %s", notes)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := parking.ParseModel(text); err != nil || m.Version != "learnt-1" {
		t.Errorf("the file has %v, %v", m, err)
	}
	c.Tariff, c.Output = 2.5, ""
	out, _, err = trial(t, "", func(term terminal) error { return c.run(term, true) })
	if err != nil || !strings.Contains(oneLine(out), "gained 300 0.00 1525.00") || strings.Contains(out, "hours now") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// A model becomes valid after a person has agreed, or with --yes, and from the instant that
// is asked for.
func TestLearn(t *testing.T) {
	const keep, activate = "PUT /function/summary/sites/north/models/learnt-1", "POST /function/summary/sites/north/models"
	for name, tt := range map[string]struct {
		flags       string
		interactive bool
		answer      string
		want        string // changes
		err         string
		body        string
	}{
		"yes on a terminal":  {"", true, "y\n", keep + ", " + activate, "", `"from":null`},
		"no on a terminal":   {"", true, "n\n", "", "nothing was changed", ""},
		"nothing is said":    {"", true, "", "", "nothing was changed", ""},
		"no terminal":        {"", false, "", "", "--yes makes the model valid, --dry-run", ""},
		"--yes":              {"--yes", false, "", keep + ", " + activate, "", `"version":"learnt-1"`},
		"from an instant":    {"--yes --from 2026-11-20T01:00:00+01:00", false, "", keep + ", " + activate, "", `"from":"2026-11-20T00:00:00Z"`},
		"from no instant":    {"--yes --from yesterday", false, "", "", "--from: ", ""},
		"a dry run with yes": {"--yes --dry-run", false, "", "", "", ""},
	} {
		f, api := newFakeModels(t)
		var c learnCommand
		parser, err := kong.New(&c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parser.Parse(append(strings.Fields(tt.flags), "--site=north", "--days=7", "--gateway="+api.Gateway, "--token-file="+api.TokenFile))
		var notes string
		if err == nil {
			_, notes, err = trial(t, tt.answer, func(term terminal) error { return c.run(term, tt.interactive) })
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", name, err, tt.err)
		}
		if got := f.changes(); got != tt.want || !strings.Contains(f.body, tt.body) {
			t.Errorf("%s: %s with %s, want %s with %s", name, got, f.body, tt.want, tt.body)
		}
		if tt.want != "" && !strings.Contains(notes, "the matcher's next tick") {
			t.Errorf("%s: the notes are %s", name, notes)
		}
	}
}

// The models of a site are listed, shown, added, activated and dropped.
func TestModelsCommands(t *testing.T) {
	f, api := newFakeModels(t)
	run := func(answer string, do func(terminal) error) (string, string) {
		t.Helper()
		out, notes, err := trial(t, answer, do)
		if err != nil {
			t.Error(err)
		}
		return out, notes
	}
	if _, notes := run("", modelsListCommand{Site: "north", summaryAPI: api}.run); !strings.Contains(notes, "the default one is valid") {
		t.Errorf("without models: %s", notes)
	}
	document, err := json.Marshal(f.report.Model)
	if err != nil {
		t.Fatal(err)
	}
	if _, notes := run(string(document), modelsAddCommand{File: "-", Site: "north", summaryAPI: api}.run); !strings.Contains(notes, "models activate learnt-1 --site north") {
		t.Errorf("added: %s", notes)
	}
	if _, _, err := trial(t, `{"margin":1}`, modelsAddCommand{File: "-", Site: "north", summaryAPI: api}.run); err == nil || !strings.Contains(err.Error(), "-: ") {
		t.Errorf("what is no model: %v", err)
	}
	instant := func(month time.Month, day int) *parking.Timestamp {
		return new(parking.Timestamp(time.Date(2026, month, day, 0, 0, 0, 0, time.UTC)))
	}
	activate := modelsActivateCommand{Version: "learnt-1", activation: activation{Site: "north", From: instant(11, 20), summaryAPI: api}}
	if out, _ := run("y\n", func(term terminal) error { return activate.run(term, true) }); !strings.Contains(out, "learnt-1 becomes valid for exits observed from 2026-11-20T00:00:00Z on, in place of default\n") ||
		!strings.Contains(out, "matched again") {
		t.Errorf("activated: %s", out)
	}
	if _, notes := run("", func(term terminal) error { return activate.run(term, true) }); !strings.Contains(notes, "nothing changes") {
		t.Errorf("activated again: %s", notes)
	}
	unknown := modelsActivateCommand{Version: "learnt-2", activation: activation{Site: "north", Yes: true, summaryAPI: api}}
	if out, _, err := trial(t, "", func(term terminal) error { return unknown.run(term, false) }); err == nil || !strings.Contains(err.Error(), `site north has no model "learnt-2": `) || out != "" {
		t.Errorf("unknown: %s, %v", out, err)
	}
	activate.Version, activate.From = "default", instant(11, 1)
	if _, _, err := trial(t, "", func(term terminal) error { return activate.run(term, false) }); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("without a terminal: %v", err)
	}
	f.list.Periods[0].From = time.Now().Add(time.Hour)
	activate.Version, activate.From, activate.Yes = "learnt-1", nil, true
	if out, _ := run("", func(term terminal) error { return activate.run(term, false) }); !strings.Contains(out, "from now on, in place of default, and of learnt-1 from ") {
		t.Errorf("in place of a later one: %s", out)
	}
	if out, _ := run("", modelsListCommand{Site: "north", summaryAPI: api}.run); !strings.Contains(oneLine(out), "MODEL KEPT BY BYTES learnt-1 0001-01-01T00:00:00Z anna") || !strings.Contains(out, "valid now is learnt-1") {
		t.Errorf("the list is %s", out)
	}
	if out, _ := run("", modelsShowCommand{Version: "default", Site: "north", summaryAPI: api}.run); !strings.Contains(out, "\n \"margin\": ") {
		t.Errorf("shown: %.200s", out)
	}
	if _, notes := run("", modelsDropCommand{Version: "learnt-1", Site: "north", summaryAPI: api}.run); !strings.Contains(notes, "done") || !strings.Contains(f.changes(), "DELETE /function/summary/sites/north/models/learnt-1") {
		t.Errorf("dropped: %s, %s", notes, f.changes())
	}
}
