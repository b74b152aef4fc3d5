package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"parkstream/shared/evaluate"
	"parkstream/shared/parking"
	"parkstream/shared/process"
)

type evaluateCommand struct {
	Scenario texts         `default:"base" help:"How plates are misread and who comes: some of ${scenarios}, joined with +; several with commas (${default})."`
	Seed     uint64        `default:"1" help:"One of the many car parks (${default})."`
	Seeds    int           `default:"1" help:"How many car parks of each scenario, of this seed and the next ones, are counted together (${default})."`
	Inside   int           `default:"2000" help:"Vehicles inside at the busiest hour (${default})."`
	Days     int           `default:"6" help:"How many days are simulated. The first two, and what is not settled at the end, are not counted (${default})."`
	Events   string        `placeholder:"FILE" help:"Evaluate these events instead: a JSON object a line, as on the wire, entries and exits. Needs --truth."`
	Truth    string        `placeholder:"FILE" help:"Who made them: {\"event_id\",\"vehicle\",\"visit\"} a line."`
	Settle   time.Duration `default:"24h" help:"How long after the exit a near stay is made (${default})."`
	Model    string        `default:"learnt" help:"Weights of the matcher: learnt, as 'learn' does from the reads of the files, or of the days that are not counted; default; or a file (${default})."`
	Margin   float64       `default:"0" help:"By how many nats a pair has to outweigh others; 0 is what the model has."`
	Pipeline bool          `help:"Have the processors and the matcher make the stays, with a private Redis and simulated times, instead of the rule alone. The figures are the same; it takes longer."`
	Tariff   float64       `default:"2" help:"What a started hour costs (${default})."`
	JSON     bool          `name:"json" help:"Print JSON: an object for each scenario, or for the files."`
	Wrong    string        `placeholder:"FILE" help:"Write the wrong stays to this file, with whole plates."`
	Markdown string        `placeholder:"FILE" help:"Measure all scenarios and write the tables into this page."`
	Write    string        `placeholder:"DIR" help:"Write the events and the truth of a scenario to files of this folder, in the form that --events and --truth read."`

	out, notes io.Writer
	// stays returns the stays of what is evaluated.
	stays func(context.Context, *evaluate.Data, evaluate.Modeller) ([]parking.Stay, error)
}

// Bounds of an evaluation.
const (
	mostInside = 100_000
	mostDays   = 30
	mostSeeds  = 1000
	gcPercent  = 40
	// learningDays are the first days of a scenario, which are not counted: the car park
	// begins empty.
	learningDays = 2
)

// Validate returns an error for values of the flags that cannot be used.
func (c evaluateCommand) Validate() error {
	var wrong []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	want((c.Events == "") == (c.Truth == ""), "--events needs --truth, and --truth needs --events")
	want(c.Events != "-" || c.Truth != "-", "--events and --truth cannot both be standard input")
	want(c.Seeds >= 1 && c.Seeds <= mostSeeds, "--seeds is %d, want 1 to %d", c.Seeds, mostSeeds)
	want(c.Inside >= 1 && c.Inside <= mostInside, "--inside is %d, want 1 to %d", c.Inside, mostInside)
	want(c.Days > learningDays && c.Days <= mostDays, "--days is %d, want %d to %d", c.Days, learningDays+1, mostDays)
	want(c.Settle >= 0 && (c.Events != "" || c.Settle < time.Duration(c.Days-learningDays)*24*time.Hour), "--settle is %s, want 0s or more, and less than the days that are counted", c.Settle)
	want(c.Margin >= 0 && c.Margin <= 100, "--margin is %g, want 0 to 100", c.Margin)
	want(c.Tariff >= 0 && !math.IsInf(c.Tariff, 0), "--tariff is %g, want 0 or more", c.Tariff)
	want(c.Markdown == "" || c.Events == "" && c.Write == "" && !c.JSON, "--markdown measures scenarios and prints nothing else")
	want(c.Write == "" || c.Events == "" && len(c.Scenario) == 1 && c.Seeds == 1, "--write writes one scenario of one seed")
	return errors.Join(wrong...)
}

// evaluation is what is printed as JSON.
type evaluation struct {
	Scenario string `json:"scenario,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`
	Seeds    int    `json:"seeds,omitempty"`
	Inside   int    `json:"inside,omitempty"`
	Days     int    `json:"days,omitempty"`
	*evaluate.Report
	// Settled counts of files only the stays whose exit was settled when the last event was
	// seen.
	Settled *evaluate.Report `json:"settled,omitempty"`
	Files   *filesReport     `json:"files,omitempty"`
}

// filesReport is what was read.
type filesReport struct {
	Events        int `json:"events"`
	RefusedEvents int `json:"refused_events"`
	RefusedTruth  int `json:"refused_truth"`
	// UnknownEvents are not in the truth, MissingEvents only there.
	UnknownEvents int `json:"unknown_events"`
	MissingEvents int `json:"missing_events"`
}

// Run evaluates and prints.
func (c evaluateCommand) Run(ctx context.Context) error {
	c.out, c.notes = os.Stdout, os.Stderr
	if !c.Pipeline {
		signal.Reset(process.StopSignals()...) // there is nothing to stop cleanly: Ctrl-C ends also the reading of a pipe
	}
	// Most of the memory is what is evaluated, and stays.
	debug.SetGCPercent(gcPercent)
	return c.run(ctx)
}

func (c evaluateCommand) run(ctx context.Context) (err error) {
	c.stays = func(_ context.Context, d *evaluate.Data, models evaluate.Modeller) ([]parking.Stay, error) {
		return d.Stays(models), nil
	}
	if c.Pipeline {
		p, err2 := startPipeline(ctx, c.Settle, func(format string, args ...any) { fmt.Fprintf(c.notes, format+"\n", args...) })
		if err2 != nil {
			return fmt.Errorf("--pipeline: %w", err2)
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		c.stays = p.Stays
	}
	return c.measure(ctx)
}

// measure evaluates what the flags want.
func (c evaluateCommand) measure(ctx context.Context) error {
	wrong, err := newWrongs(c.Wrong)
	if err != nil {
		return err
	}
	models, err := c.models()
	switch {
	case err != nil:
	case c.Events != "":
		err = c.files(ctx, models, wrong)
	case c.Markdown != "":
		err = c.page(ctx, models, wrong)
	default:
		err = c.scenarios(ctx, models, wrong)
	}
	return errors.Join(err, wrong.close())
}

// modellers return what makes models, given the time before which they are learnt.
type modellers func(before time.Time) evaluate.Modeller

// models returns what makes models, as the flags want them.
func (c evaluateCommand) models() (modellers, error) {
	margin := parking.Weight(math.Round(100 * c.Margin))
	model := parking.DefaultModel()
	switch c.Model {
	case "learnt":
		return func(before time.Time) evaluate.Modeller { return evaluate.Learnt(model, before, margin) }, nil
	case "default":
	default:
		text, err := os.ReadFile(c.Model)
		if err == nil {
			model, err = parking.ParseModel(text)
		}
		if err != nil {
			return nil, fmt.Errorf("--model %s: want learnt, default, or a file with a model: %w", c.Model, err)
		}
	}
	if margin > 0 {
		model.Margin, model.Margins = margin, nil
	}
	model.From = time.Time{}
	return func(time.Time) evaluate.Modeller { return evaluate.Fixed(model) }, nil
}

// scenarios evaluates each scenario.
func (c evaluateCommand) scenarios(ctx context.Context, models modellers, wrong *wrongs) error {
	for _, name := range c.Scenario {
		started := time.Now()
		if c.Write != "" {
			d, _, err := c.simulate(name, c.Seed, c.Inside)
			if err != nil {
				return err
			}
			return c.write(d)
		}
		sum, err := c.scenario(ctx, name, c.Inside, c.Seeds, models, wrong)
		if err != nil {
			return err
		}
		err = c.print(evaluation{Scenario: name, Seed: c.Seed, Seeds: c.Seeds, Inside: c.Inside, Days: c.Days, Report: sum.Report(c.Tariff)}, started)
		if err != nil {
			return err
		}
	}
	return nil
}

// simulate returns the data of a scenario and the part of it that is counted.
func (c evaluateCommand) simulate(name string, seed uint64, inside int) (*evaluate.Data, evaluate.Window, error) {
	s, err := evaluate.Scenario(name, seed, inside, c.Days)
	if err != nil {
		return nil, evaluate.Window{}, fmt.Errorf("--scenario: %w", err)
	}
	d, err := evaluate.Simulate(s)
	return d, evaluate.Window{From: s.Start.Add(learningDays * 24 * time.Hour), To: s.Start.Add(s.Duration - c.Settle)}, err
}

// scenario evaluates car parks of a scenario.
func (c evaluateCommand) scenario(ctx context.Context, name string, inside, seeds int, models modellers, wrong *wrongs) (*evaluate.Counts, error) {
	sum := new(evaluate.Counts)
	for seed := c.Seed; seed < c.Seed+uint64(seeds); seed++ { //nolint:gosec // small
		d, w, err := c.simulate(name, seed, inside)
		if err != nil {
			return nil, err
		}
		stays, err := c.stays(ctx, d, models(w.From))
		if err != nil {
			return nil, err
		}
		sum.Add(d.Score(stays, w, wrong.each(name, seed)))
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
	}
	return sum, nil
}

// measured are the rows of the page.
var measured = []struct {
	scenario      string
	inside, seeds int
}{
	{"base", 2000, 4},
	{"base", 200, 30},
	{"base", 20_000, 2},
	{"mild", 2000, 4},
	{"harsh", 2000, 4},
	{"syntax", 2000, 4},
	{"fleets", 2000, 4},
	{"syntax+fleets", 2000, 4},
	{"better", 2000, 4},
	{"worse", 2000, 4},
}

// page measures all scenarios and writes the tables into a page.
func (c evaluateCommand) page(ctx context.Context, models modellers, wrong *wrongs) error {
	page, err := os.ReadFile(c.Markdown)
	if err != nil {
		return fmt.Errorf("--markdown: %w", err)
	}
	started := time.Now()
	var rows []evaluate.Row
	for _, m := range measured {
		row := evaluate.Row{Scenario: m.scenario, Inside: m.inside, Seeds: m.seeds}
		for i, cameras := range evaluate.Cameras {
			if row.Cameras[i], err = c.scenario(ctx, m.scenario+cameras.Suffix, m.inside, m.seeds, models, wrong); err != nil {
				return err
			}
			near := row.Cameras[i].Near
			fmt.Fprintf(c.notes, "%s%s, %d inside: %d of %d near stays are of other cars\n", m.scenario, cameras.Suffix, m.inside, near.Issued-near.SameCar, near.Issued)
		}
		rows = append(rows, row)
	}
	page, err = evaluate.Page(page, evaluate.How(c.Model, c.Seed, c.Settle, time.Since(started)), rows, c.Tariff)
	if err != nil {
		return fmt.Errorf("--markdown %s: %w", c.Markdown, err)
	}
	if err := os.WriteFile(c.Markdown, page, 0o644); err != nil { //nolint:gosec // a page that others read
		return fmt.Errorf("--markdown: %w", err)
	}
	return nil
}

// print prints a result.
func (c evaluateCommand) print(e evaluation, started time.Time) error {
	if c.JSON {
		return json.NewEncoder(c.out).Encode(e)
	}
	if e.Scenario != "" {
		fmt.Fprintf(c.out, "\nScenario %s, seeds %d to %d, %d inside, %d days, in %s\n", e.Scenario, e.Seed, e.Seed+uint64(e.Seeds)-1, e.Inside, e.Days, time.Since(started).Round(time.Millisecond)) //nolint:gosec // small
	}
	if err := e.WriteText(c.out); err != nil {
		return err
	}
	if e.Settled == nil {
		return nil
	}
	fmt.Fprintf(c.out, "\nOnly exits at least %s before the last event:\n", c.Settle)
	return e.Settled.WriteText(c.out)
}

// files evaluates files.
func (c evaluateCommand) files(ctx context.Context, models modellers, wrong *wrongs) error {
	started := time.Now()
	events, err := openInput(c.Events)
	if err != nil {
		return fmt.Errorf("--events: %w", err)
	}
	defer events.Close()
	truth, err := openInput(c.Truth)
	if err != nil {
		return fmt.Errorf("--truth: %w", err)
	}
	defer truth.Close()
	d, told, err := evaluate.Read(events, truth)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.Events, c.Truth, err)
	}
	c.tell(c.Events, &told.Events)
	c.tell(c.Truth, &told.Truth)
	if told.Unknown > 0 {
		fmt.Fprintf(c.notes, "%d events are not in %s; stays with them count as wrong\n", told.Unknown, c.Truth)
	}
	if told.Missing > 0 {
		fmt.Fprintf(c.notes, "%d events of %s are not in %s; they count as lost reads\n", told.Missing, c.Truth, c.Events)
	}
	stays, err := c.stays(ctx, d, models(time.Time{}))
	if err != nil {
		return err
	}
	all := d.Score(stays, evaluate.Window{}, wrong.each("", 0))
	settled := d.Score(stays, evaluate.Window{To: d.Last().Add(-c.Settle)}, nil)
	return c.print(evaluation{
		Report: all.Report(c.Tariff), Settled: settled.Report(c.Tariff),
		Files: &filesReport{len(d.Events), told.Events.Count, told.Truth.Count, told.Unknown, told.Missing},
	}, started)
}

// openInput opens a file, or standard input.
func openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(name)
}

// tell prints the lines that were left out.
func (c evaluateCommand) tell(name string, f *evaluate.Faults) {
	for _, fault := range f.First {
		fmt.Fprintf(c.notes, "%s: line %d is left out: %s\n", name, fault.Line, fault.Reason)
	}
	if more := f.Count - len(f.First); more > 0 {
		fmt.Fprintf(c.notes, "%s: %d more lines are left out\n", name, more)
	}
}

// write writes the files of a scenario.
func (c evaluateCommand) write(d *evaluate.Data) error {
	if err := os.MkdirAll(c.Write, 0o755); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	events, err := os.Create(filepath.Join(c.Write, "events.jsonl"))
	if err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	defer events.Close()
	truth, err := os.Create(filepath.Join(c.Write, "truth.jsonl"))
	if err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	defer truth.Close()
	if err := d.Write(events, truth); err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	return errors.Join(events.Close(), truth.Close())
}

// wrongs writes wrong stays.
type wrongs struct {
	file *os.File
	out  *json.Encoder
	err  error
}

func newWrongs(name string) (*wrongs, error) {
	w := new(wrongs)
	if name == "" {
		return w, nil
	}
	var err error
	if w.file, err = os.Create(name); err != nil {
		return nil, fmt.Errorf("--wrong: %w", err)
	}
	w.out = json.NewEncoder(w.file)
	return w, nil
}

// each returns what is to be done with each stay, or nil.
func (w *wrongs) each(scenario string, seed uint64) func(*evaluate.Verdict) {
	if w.file == nil {
		return nil
	}
	type line struct {
		Scenario string         `json:"scenario,omitempty"`
		Seed     uint64         `json:"seed,omitempty"`
		SameCar  bool           `json:"same_car"`
		Entry    *evaluate.Told `json:"entry"` // what is true of the entry; null: it is not known
		Exit     *evaluate.Told `json:"exit"`
		Stay     parking.Stay   `json:"stay"`
	}
	return func(v *evaluate.Verdict) {
		if !v.Visit && w.err == nil {
			w.err = w.out.Encode(line{scenario, seed, v.Car, v.Entry, v.Exit, v.Stay})
		}
	}
}

func (w *wrongs) close() error {
	if w.file == nil {
		return nil
	}
	if err := errors.Join(w.err, w.file.Close()); err != nil {
		return fmt.Errorf("--wrong: %w", err)
	}
	return nil
}
