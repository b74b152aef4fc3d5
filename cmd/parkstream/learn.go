package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"parkstream/shared/learn"
	"parkstream/shared/parking"
)

const (
	// learnTimeout is more than the function takes at most.
	learnTimeout = 70 * time.Second
	// toldEvery is how often a person is told that a model is being made still.
	toldEvery = 5 * time.Second
	// fewChanges are shown unless all are asked for.
	fewChanges = 10
)

type learnCommand struct {
	Days   int     `default:"14" help:"Days of reads that it learns from, at most 31, and whose stays are compared."`
	DryRun bool    `help:"Show what would change, and change nothing."`
	Margin float64 `placeholder:"NATS" help:"Margin by which a pair has to outweigh others, such as 3.5: the higher, the fewer stays are wrong, and the fewer are found. That of the default model if it is missing."`
	Tariff float64 `placeholder:"MONEY" help:"Money for each hour begun: shows the changes in money, too."`
	All    bool    `help:"Show up to 200 stays that would change, not 10."`
	Output string  `placeholder:"FILE" help:"Write the model to a file, as 'models add' and 'evaluate --model' take it."`
	activation
}

// Run makes a model of a site.
func (c learnCommand) Run(ctx context.Context) error {
	return c.run(standard(ctx), isTerminal(os.Stdin))
}

func (c learnCommand) run(t terminal, interactive bool) error {
	if !interactive && !c.Yes && !c.DryRun {
		return errors.New("nothing was done: --yes makes the model valid, --dry-run shows what would change")
	}
	query := url.Values{"site": {c.Site}, "days": {strconv.Itoa(c.Days)}}
	if c.Margin != 0 {
		query.Set("margin", strconv.Itoa(int(math.Round(100*c.Margin))))
	}
	fmt.Fprintf(t.notes, "making a model from the last %d days of site %s, which takes up to a minute\n", c.Days, c.Site)
	var r learn.Report
	start := time.Now()
	stop := tell(t, start)
	c.timeout = learnTimeout
	err := c.callFunction(t.ctx, "matcher", http.MethodPost, "/learn?"+query.Encode(), nil, &r)
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(t.notes, "done in %s\n", time.Since(start).Round(100*time.Millisecond))
	if err := c.show(t.out, &r); err != nil {
		return err
	}
	document, err := json.Marshal(r.Model)
	if err != nil {
		return err
	}
	if c.Output != "" {
		if err := os.WriteFile(c.Output, append(document, '\n'), 0o644); err != nil { //nolint:gosec // it has no plates
			return fmt.Errorf("--output: %w", err)
		}
	}
	if c.DryRun {
		fmt.Fprintln(t.notes, "nothing was changed: without --dry-run the model becomes valid")
		return nil
	}
	return c.activate(t, interactive, r.Model.Version, document)
}

// tell tells a person every few seconds that it is not done yet, until stop is called.
func tell(t terminal, start time.Time) (stop func()) {
	ctx, cancel := context.WithCancel(t.ctx)
	done := make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		ticker := time.NewTicker(toldEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				fmt.Fprintf(t.notes, "... %s\n", time.Since(start).Round(time.Second))
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// show prints what a model is made of and what it would change.
func (c learnCommand) show(out io.Writer, r *learn.Report) error {
	fmt.Fprintf(out, "model %s with the margin %.2f, from %d exact stays, %d stays of misread plates and corrections, and %d exits without an entry in %d hours\n",
		r.Model.Version, nats(r.Model.Margin), r.Learnt.Exact, r.Learnt.Near, r.Learnt.Lone, r.Learnt.Hours)
	if r.LeftOut {
		fmt.Fprintln(out, "there are too many reads: the oldest were left out")
	}
	if r.Learnt.Near < 200 {
		fmt.Fprintln(out, "few stays of misread plates: of how the cameras misread it knows little more than the default model")
	}
	fmt.Fprintf(out, "valid now is %s; stays from %s to %s:\n\n", r.Valid, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tnow\twith the model\t"+c.money("hours now")+"with the model\t")
	line := func(name string, before, after, hoursBefore, hoursAfter int) {
		fmt.Fprintf(table, "%s\t%d\t%d\t%s%s\t\n", name, before, after, c.amount(hoursBefore)+"\t", c.amount(hoursAfter))
	}
	line("exact stays", r.Before.Exact, r.After.Exact, r.Before.ExactHours, r.After.ExactHours)
	line("disputed ones", r.Before.Disputed, r.After.Disputed, r.Before.DisputedHours, r.After.DisputedHours)
	line("stays of misread plates", r.Before.Near, r.After.Near, r.Before.NearHours, r.After.NearHours)
	fmt.Fprintf(table, "exits without an entry\t%d\t%d\t\t\t\n", r.Before.Unmatched, r.After.Unmatched)
	if err := table.Flush(); err != nil {
		return err
	}
	if len(r.Changed) == 0 {
		_, err := fmt.Fprintln(out, "\nno stay would change")
		return err
	}
	fmt.Fprintln(out)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "change\tstays\t"+c.money("hours now")+"with the model\t")
	for _, k := range r.Changed {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t\n", k.Kind, k.Stays, c.amount(k.HoursBefore), c.amount(k.HoursAfter))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	most := fewChanges
	if c.All {
		most = len(r.Changes)
	}
	fmt.Fprintln(out)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "EXIT\tPLATE\tCHANGE\tENTRY NOW\tWITH THE MODEL")
	for i := range min(most, len(r.Changes)) {
		k := &r.Changes[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", k.After.ExitTime.Format(time.RFC3339), k.Before.Plate, k.Kind, entryOf(&k.Before), entryOf(&k.After))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if more := len(r.Changes) - most; more > 0 {
		fmt.Fprintf(out, "and more: --all shows %d\n", len(r.Changes))
	}
	return nil
}

// entryOf tells the entry of a stay.
func entryOf(s *parking.Stay) string {
	switch {
	case s.EntryID == "":
		return "-"
	case s.Method() == parking.Exact && s.Disputed:
		return s.EntryTime.Format(time.RFC3339) + " disputed"
	case s.Method() == parking.Exact:
		return s.EntryTime.Format(time.RFC3339)
	}
	return fmt.Sprintf("%s %s %s margin %.2f", s.EntryTime.Format(time.RFC3339), s.Match.EntryPlate, s.Method(), nats(s.Match.Margin))
}

// money returns the head of two columns of hours begun, or of money.
func (c learnCommand) money(head string) string {
	if c.Tariff > 0 {
		return "money now\t"
	}
	return head + "\t"
}

// amount returns hours begun, or what they are charged.
func (c learnCommand) amount(hours int) string {
	if c.Tariff > 0 {
		return strconv.FormatFloat(c.Tariff*float64(hours), 'f', 2, 64)
	}
	return strconv.Itoa(hours)
}

func nats(w parking.Weight) float64 { return float64(w) / 100 }
