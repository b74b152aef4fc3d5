// Parkstream-bench measures Parkstream against other designs on this machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/alecthomas/kong"

	"parkstream/cmd/internal/system"
	"parkstream/cmd/parkstream-bench/internal/bench"
	"parkstream/shared/process"
)

func main() { os.Exit(run(os.Args[1:])) }

// command is the benchmark, or the design that it runs as a child.
type command interface {
	Run(ctx context.Context) error
}

func run(args []string) int {
	var c command = new(benchCommand)
	if len(args) > 0 && args[0] == bench.MonolithArg {
		c, args = new(monolithCommand), args[1:]
	}
	parser, err := kong.New(c,
		kong.Name("parkstream-bench"),
		kong.Description("Measures Parkstream against other designs on this machine."),
		kong.UsageOnError(),
		kong.Vars{"least": strconv.Itoa(leastRatio)},
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if _, err := parser.Parse(args); err != nil {
		parser.Errorf("%s", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), process.StopSignals()...)
	defer stop()
	if err := c.Run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "parkstream-bench: %v\n", err)
		return 1
	}
	return 0
}

type benchCommand struct {
	Events         int      `default:"200000" help:"Events that wait in a drain; slow contestants get fewer."`
	Runs           int      `default:"5" help:"Runs of each contestant, of which the median counts."`
	LatencySeconds int      `default:"20" help:"How long each rate is held."`
	Growth         int      `default:"1000000" help:"Plates to fill Redis with at most, from 10,000 in steps of ten; 10,000,000 need some 12 GB."`
	Backlog        int      `default:"1000000" help:"Messages that wait for a stopped function."`
	BacklogSeconds int      `default:"30" help:"How long it is stopped."`
	Only           []string `enum:"drain,latency,cost,growth,backlog" help:"Parts to run, of drain, latency, cost, growth, backlog; all by default."`
	Small          bool     `help:"Few of everything, to see that it works; fails if our path is not ${least} times as fast as one event a call."`
	JSON           string   `name:"json" placeholder:"FILE" help:"Write the figures for machines."`
	Markdown       string   `placeholder:"FILE" help:"Replace the generated part of this page."`
	Pprof          string   `placeholder:"DIR" help:"Save CPU profiles of our processes during a further drain."`
	Dir            string   `placeholder:"DIR" help:"Folder of data, secrets and logs, which is kept; a temporary one by default."`
	Open           bool     `help:"Measure functions that ask for no login; by default they do, as deployed ones."`
	Stack          string   `default:"stack.yml" type:"existingfile" help:"The functions to run."`
	Program        string   `placeholder:"FILE" type:"existingfile" help:"The parkstream to measure; by default the one in the folder of this program."`
}

// leastRatio is the lowest ratio of our path to one event a call with which --small
// succeeds.
const leastRatio = 5

// Run measures and prints.
func (c benchCommand) Run(ctx context.Context) (err error) {
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "parkstream-bench-"); err != nil {
			return fmt.Errorf("make a temporary folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.Dir)) }()
	}
	held, err := system.Lock(c.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := claim(c.Dir); err != nil {
		return err
	}
	if c.Program == "" {
		if c.Program, err = sibling("parkstream"); err != nil {
			return err
		}
	}
	result, err := bench.Run(ctx, c.config())
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if result == nil {
		return err
	}
	return errors.Join(err, c.write(result), c.check(result))
}

// sibling returns the path of a program in the folder of this one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find our own program: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find the program to measure: %w; `make build` makes it, or name another one with --program", err)
	}
	return path, nil
}

// claim makes a folder one of benchmarks, which empty their Redis and their queues.
// A folder with other data is refused.
func claim(dir string) error {
	mark := filepath.Join(dir, "benchmark")
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	for _, name := range []string{"redis", "rabbitmq"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s has data of parkstream up, which a benchmark would delete: choose another folder with --dir", dir)
		}
	}
	if err := os.WriteFile(mark, []byte("Benchmarks delete what is in this folder.\n"), 0o600); err != nil {
		return fmt.Errorf("mark the folder of the benchmark: %w", err)
	}
	return nil
}

func (c benchCommand) config() bench.Config {
	config := bench.Config{
		Parts: c.Only, Events: c.Events, Runs: c.Runs, Singles: []int{8, 16, 32, 64},
		Rates: []int{10, 100, 1000, 5000}, LatencyTime: time.Duration(c.LatencySeconds) * time.Second,
		Growth: c.Growth, Backlog: c.Backlog, BacklogTime: time.Duration(c.BacklogSeconds) * time.Second,
		PprofDir: c.Pprof, Dir: c.Dir, Stack: c.Stack, Program: c.Program, Open: c.Open, Say: say,
	}
	if len(config.Parts) == 0 {
		config.Parts = bench.Parts
	}
	if c.Small {
		config.Events, config.Runs, config.Singles = 20_000, 1, []int{16, 64}
		config.Rates, config.LatencyTime = []int{100, 1000}, 2*time.Second
		config.Growth, config.Backlog, config.BacklogTime = 10_000, 20_000, 3*time.Second
	}
	return config
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "parkstream-bench: "+format+"\n", args...)
}

func (c benchCommand) write(result *bench.Result) error {
	errs := []error{result.WriteText(os.Stdout)}
	if c.JSON != "" {
		text, err := json.MarshalIndent(result, "", "  ")
		if err == nil {
			err = os.WriteFile(c.JSON, append(text, '\n'), 0o644)
		}
		errs = append(errs, err)
	}
	if c.Markdown != "" {
		page, err := os.ReadFile(c.Markdown)
		if err == nil {
			page, err = result.Markdown(page)
		}
		if err == nil {
			err = os.WriteFile(c.Markdown, page, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c benchCommand) check(result *bench.Result) error {
	if !c.Small || len(c.Only) > 0 && !slices.Contains(c.Only, bench.PartDrain) {
		return nil
	}
	if ratio := result.Ratio(bench.SingleEvent, bench.Entries); !(ratio > leastRatio) { // NaN is none
		return fmt.Errorf("batches are only %.1f times as fast as one event a call, want more than %d times", ratio, leastRatio)
	}
	return nil
}

type monolithCommand struct {
	Entries    int    `help:"Entries to work off."`
	Exits      int    `help:"Exits to work off."`
	Secrets    string `required:"" help:"Folder of the secrets."`
	SummaryURL string `name:"summary-url" required:"" help:"Where stays are posted."`
}

// Run works events off as the classic design does and prints how long it took.
func (c monolithCommand) Run(ctx context.Context) error {
	result, err := bench.Monolith{Entries: c.Entries, Exits: c.Exits, Secrets: c.Secrets, SummaryURL: c.SummaryURL}.Run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
