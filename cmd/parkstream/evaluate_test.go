package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"parkstream/shared/evaluate"
)

// evaluated runs the command with flags, and returns what it prints.
func evaluated(t *testing.T, flags ...string) (out, notes string, err error) {
	t.Helper()
	var c evaluateCommand
	parser, err := kong.New(&c, kong.Vars{"scenarios": "base"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(flags); err != nil {
		return "", "", err
	}
	var o, n bytes.Buffer
	c.out, c.notes = &o, &n
	err = c.run(t.Context())
	return o.String(), n.String(), err
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The form of the files and of the answer is a promise.
func TestEvaluateFiles(t *testing.T) {
	events := file(t, "events.jsonl", `
		{"id":"1","vehicle_plate":"KA01AB1234","entry_date_time":"2026-03-02T08:00:00Z","camera":"in"}
		{"id":"2","vehicle_plate":"KA01AB1234","exit_date_time":"2026-03-02T09:00:00Z","camera":"out"}
		{"id":3,"vehicle_plate":"DL8CAF5031","entry_date_time":"2026-03-02T08:00:00Z","camera":"in"}
		{"id":4,"vehicle_plate":"DL8CAF5O31","exit_date_time":"2026-03-02T09:30:00Z","camera":"out"}
		{"id":5,"vehicle_plate":"MH12DE1433","exit_date_time":"2026-03-02T10:00:00Z","camera":"out"}
		{"id":6}
		{"id":7,"vehicle_plate":"MH12DE1433","entry_date_time":"2026-03-02T11:00:00Z","camera":"in"}`)
	truth := file(t, "truth.jsonl", `{"event_id":"1","vehicle":1,"visit":1}
		{"event_id":2,"vehicle":"1","visit":"1"}
		{"event_id":3,"vehicle":2,"visit":2}
		{"event_id":4,"vehicle":2,"visit":2}
		{"event_id":5,"vehicle":3,"visit":3}
		{"event_id":9,"vehicle":3,"visit":3}
		{}`)
	out, notes, err := evaluated(t, "--events", events, "--truth", truth, "--settle", "24h", "--json", "--margin", "1")
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		Near struct {
			Issued    *int `json:"issued"`
			SameCar   *int `json:"same_car"`
			SameVisit *int `json:"same_visit"`
		} `json:"near"`
		Exact struct {
			Issued              *int `json:"issued"`
			SameVisit           *int `json:"same_visit"`
			Undisputed          *int `json:"undisputed"`
			UndisputedSameVisit *int `json:"undisputed_same_visit"`
		} `json:"exact"`
		Recall struct {
			BothReads *float64 `json:"both_reads"`
			All       *float64 `json:"all"`
		} `json:"recall"`
	}
	var got struct {
		result
		Settled *result      `json:"settled"`
		Files   *filesReport `json:"files"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for name, have := range map[string]*int{
		"near issued 1": got.Near.Issued, "near same car 1": got.Near.SameCar, "near same visit 1": got.Near.SameVisit, "exact issued 1": got.Exact.Issued,
		"exact same visit 1": got.Exact.SameVisit, "exact undisputed 1": got.Exact.Undisputed, "exact undisputed same visit 1": got.Exact.UndisputedSameVisit,
		"settled exact issued 0": got.Settled.Exact.Issued,
	} {
		if want := int(name[len(name)-1] - '0'); have == nil || *have != want {
			t.Errorf("want %s in %.300s", name, out)
		}
	}
	if got.Recall.BothReads == nil || *got.Recall.BothReads != 1 || *got.Recall.All < 0.66 || *got.Recall.All > 0.67 {
		t.Errorf("recall of 2 of 2 visits and of 2 of 3 in %.300s", out)
	}
	if want := (filesReport{Events: 6, RefusedEvents: 1, RefusedTruth: 1, UnknownEvents: 1, MissingEvents: 1}); *got.Files != want {
		t.Errorf("%+v, want %+v", *got.Files, want)
	}
	for _, want := range []string{
		events + ": line 7 is left out: vehicle_plate is missing", truth + ": line 7 is left out: event_id is missing",
		"1 events are not in " + truth, "1 events of " + truth + " are not in " + events,
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("want %q in %q", want, notes)
		}
	}
	out, _, err = evaluated(t, "--events", events, "--truth", truth, "--margin", "1")
	if err != nil || !strings.Contains(out, "Recall: 1.0000 of 2 visits with both reads, 0.6667 of all 3") || !strings.Contains(out, "at least 24h0m0s before the last event") {
		t.Errorf("%v: %s", err, out)
	}
}

// What a scenario writes is evaluated as the scenario is, and the same each time.
func TestEvaluateScenario(t *testing.T) {
	flags := []string{"--scenario", "base+lists", "--inside", "60", "--days", "4", "--seed", "3", "--json"}
	out, _, err := evaluated(t, flags...)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := evaluated(t, flags...); err != nil || again != out {
		t.Errorf("%v: another time it is %s\nthan %s", err, again, out)
	}
	var scenario, files evaluation
	if err := json.Unmarshal([]byte(out), &scenario); err != nil {
		t.Fatal(err)
	}
	if scenario.Scenario != "base+lists" || scenario.Near.Issued == 0 || scenario.Exact.Undisputed < 50 || scenario.Visits.All.Visits < 100 {
		t.Errorf("%s", out)
	}
	dir := t.TempDir()
	if _, _, err := evaluated(t, append(flags, "--write", dir)...); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(dir, "wrong.jsonl")
	out, notes, err := evaluated(t, "--events", filepath.Join(dir, "events.jsonl"), "--truth", filepath.Join(dir, "truth.jsonl"), "--json", "--wrong", wrong)
	if err != nil || notes != "" {
		t.Fatal(err, notes)
	}
	if err := json.Unmarshal([]byte(out), &files); err != nil {
		t.Fatal(err)
	}
	// The scenario counts a day of four.
	if files.Near.Issued <= scenario.Near.Issued || files.Exact.Undisputed <= scenario.Exact.Undisputed || files.UnknownReads != 0 {
		t.Errorf("%s", out)
	}
	text, err := os.ReadFile(wrong)
	if err != nil {
		t.Fatal(err)
	}
	want := files.Near.Issued - files.Near.SameVisit + files.Exact.Issued.Issued - files.Exact.SameVisit
	if got := strings.Count(string(text), "\n"); got != want || want > 0 && !strings.Contains(string(text), `"exit_plate"`) {
		t.Errorf("%d lines of wrong stays, want %d: %s", got, want, text)
	}
}

// The processors, the matcher and the stores together make what the rule makes, of a
// scenario and of files.
func TestEvaluatePipeline(t *testing.T) {
	dir := t.TempDir()
	scenario := []string{"--scenario", "harsh+fleets+lists+looks", "--inside", "60", "--days", "4", "--seed", "3", "--margin", "1"}
	if _, _, err := evaluated(t, append(scenario, "--write", dir)...); err != nil {
		t.Fatal(err)
	}
	files := []string{"--events", filepath.Join(dir, "events.jsonl"), "--truth", filepath.Join(dir, "truth.jsonl")}
	for _, flags := range [][]string{scenario, files} {
		flags = append(flags, "--json")
		want, _, err := evaluated(t, flags...)
		if err != nil {
			t.Fatal(err)
		}
		got, notes, err := evaluated(t, append(flags, "--pipeline")...)
		if err != nil || notes != "" {
			t.Fatal(err, notes)
		}
		if got != want {
			t.Errorf("%v: by the pipeline it is\n%s, by the rule\n%s", flags, got, want)
		}
		var e evaluation
		if err := json.Unmarshal([]byte(got), &e); err != nil || e.Near.Issued < 5 || e.Exact.Issued.Issued < 50 {
			t.Errorf("too little to tell: %s, %v", got, err)
		}
	}
}

func TestEvaluatePage(t *testing.T) {
	counts := func(wrong int) *evaluate.Counts {
		c := &evaluate.Counts{Near: evaluate.Issued{Issued: 1000, SameCar: 1000 - wrong, SameVisit: 990 - wrong}, BothReads: evaluate.Visits{Visits: 2000, Right: 1900}, All: evaluate.Visits{Visits: 2000, Right: 1800}}
		return c
	}
	page, err := evaluate.Page([]byte("a\n<!-- evaluate:begin -->\nold\n<!-- evaluate:end -->\nb\n"), evaluate.How("default", 5, time.Hour, time.Minute),
		[]evaluate.Row{{Scenario: "base", Inside: 2000, Seeds: 2, Cameras: [3]*evaluate.Counts{counts(0), counts(1), counts(2)}}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"a\n<!-- evaluate:begin -->\nMeasured with `make evaluate`", "\n<!-- evaluate:end -->\nb\n",
		"| base, 2,000 inside, 2 car parks | 0 of 1,000, 1.0000 (.9900); .9500 (.9000) | 1 of 1,000, .9990 (.9890);",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("want %q in %s", want, page)
		}
	}
	if strings.Contains(string(page), "old") {
		t.Error("the old table is left")
	}
	if _, err := evaluate.Page([]byte("nothing"), "", nil, 2); err == nil {
		t.Error("a page without a place was written")
	}
}

func TestMistakesOfEvaluate(t *testing.T) {
	nothing := file(t, "nothing", "")
	for want, flags := range map[string][]string{
		"--events needs --truth":        {"--events", "x"},
		"cannot both be standard input": {"--events", "-", "--truth", "-"},
		"--days is 2":                   {"--days", "2"},
		"--inside is 0":                 {"--inside", "0"},
		"--seeds is 0":                  {"--seeds", "0"},
		"--settle is 96h0m0s":           {"--settle", "96h"},
		"--margin is -1":                {"--margin=-1"},
		"--tariff is -1":                {"--tariff=-1"},
		`"polite" is no scenario`:       {"--scenario", "polite"},
		"--model nosuchfile: want learnt, default, or a file": {"--model", "nosuchfile"},
		"--events: open nosuchfile":                           {"--events", "nosuchfile", "--truth", "x"},
		"--truth: open nosuchfile":                            {"--events", nothing, "--truth", "nosuchfile"},
		"there is no event: the file is empty":                {"--events", nothing, "--truth", nothing},
		"--markdown: open nosuchfile":                         {"--markdown", "nosuchfile"},
		"--markdown measures scenarios":                       {"--markdown", "x", "--json"},
		"--write writes one scenario of one seed":             {"--write", "x", "--seeds", "2"},
		"--wrong: open nosuchdir/x":                           {"--wrong", "nosuchdir/x"},
		"the model is no document of a model":                 {"--model", nothing},
	} {
		if _, _, err := evaluated(t, flags...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", flags, err, want)
		}
	}
}
