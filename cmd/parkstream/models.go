package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"parkstream/shared/model"
	"parkstream/shared/parking"
)

type modelsCommand struct {
	List     modelsListCommand     `cmd:"" help:"List the models of a site, and from when each is valid."`
	Show     modelsShowCommand     `cmd:"" help:"Print a model."`
	Add      modelsAddCommand      `cmd:"" help:"Keep the model of a file, such as that of another site. It is not valid by that."`
	Activate modelsActivateCommand `cmd:"" help:"Make a model valid for exits observed from now on, or from an instant."`
	Drop     modelsDropCommand     `cmd:"" help:"Remove a model that was never valid, or for 44 days has not been."`
}

type modelsListCommand struct {
	Site string `default:"default" help:"Site whose models they are."`
	summaryAPI
}

// Run lists the models of a site.
func (c modelsListCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c modelsListCommand) run(t terminal) error {
	var list model.List
	if err := c.call(t.ctx, http.MethodGet, modelsPath(c.Site), nil, &list); err != nil {
		return err
	}
	if len(list.Models)+len(list.Periods) == 0 {
		fmt.Fprintf(t.notes, "site %s has no models: the default one is valid\n", c.Site)
		return nil
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MODEL\tKEPT\tBY\tBYTES")
	for _, m := range list.Models {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\n", m.Version, m.At.Format(time.RFC3339), m.By, m.Bytes)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(table, "\nVALID FROM\tMODEL\tBY\tDECIDED")
	for _, p := range list.Periods {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.From.Format(time.RFC3339), p.Version, p.By, p.At.Format(time.RFC3339))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(t.out, "\nvalid now is %s\n", list.At(time.Now()))
	return err
}

type modelsShowCommand struct {
	Version string `arg:"" help:"Version of the model, or default."`
	Site    string `default:"default" help:"Site whose model it is."`
	summaryAPI
}

// Run prints a model.
func (c modelsShowCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c modelsShowCommand) run(t terminal) error {
	var document json.RawMessage
	if err := c.call(t.ctx, http.MethodGet, modelsPath(c.Site)+"/"+url.PathEscape(c.Version), nil, &document); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, document, "", " "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(t.out, text.String())
	return err
}

type modelsAddCommand struct {
	File string `arg:"" help:"File of the model; - is standard input."`
	Site string `default:"default" help:"Site that gets it."`
	summaryAPI
}

// Run keeps the model of a file.
func (c modelsAddCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c modelsAddCommand) run(t terminal) error {
	in := t.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, parking.MaxModel+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", c.File, err)
	}
	m, err := parking.ParseModel(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	var list model.List
	if err := c.call(t.ctx, http.MethodPut, modelsPath(c.Site)+"/"+url.PathEscape(m.Version), text, &list); err != nil {
		return err
	}
	fmt.Fprintf(t.notes, "kept: `parkstream models activate %s --site %s` makes it valid\n", m.Version, c.Site)
	return nil
}

type modelsActivateCommand struct {
	Version string `arg:"" help:"Version of the model, or default."`
	activation
}

// Run makes a model valid.
func (c modelsActivateCommand) Run(ctx context.Context) error {
	return c.run(standard(ctx), isTerminal(os.Stdin))
}

func (c modelsActivateCommand) run(t terminal, interactive bool) error {
	return c.activate(t, interactive, c.Version, nil)
}

type modelsDropCommand struct {
	Version string `arg:"" help:"Version of the model."`
	Site    string `default:"default" help:"Site whose model it is."`
	summaryAPI
}

// Run removes a model.
func (c modelsDropCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c modelsDropCommand) run(t terminal) error {
	var list model.List
	if err := c.call(t.ctx, http.MethodDelete, modelsPath(c.Site)+"/"+url.PathEscape(c.Version), nil, &list); err != nil {
		return err
	}
	fmt.Fprintln(t.notes, "done")
	return nil
}

func modelsPath(site string) string { return "/sites/" + url.PathEscape(site) + "/models" }

// activation makes a model of a site valid.
type activation struct {
	Site string             `default:"default" help:"Site of the model, and of the reads that it is learnt from."`
	From *parking.Timestamp `placeholder:"TIME" help:"Exits observed from then on are matched by the model, such as 2026-11-28T00:00:00Z; now if it is missing."`
	Yes  bool               `help:"Do it without asking."`
	summaryAPI
}

// activate keeps a document first, if there is one, and makes the model valid after it has
// told what that changes and has asked.
func (c activation) activate(t terminal, interactive bool, version string, document []byte) error {
	var before model.List
	if err := c.call(t.ctx, http.MethodGet, modelsPath(c.Site), nil, &before); err != nil {
		return err
	}
	kept := slices.ContainsFunc(before.Models, func(m model.Kept) bool { return m.Version == version })
	if document == nil && !kept && version != model.Default {
		return fmt.Errorf("site %s has no model %q: `parkstream models list --site %[1]s` shows those that it has, and %q is always there", c.Site, version, model.Default)
	}
	from := time.Now()
	if c.From != nil {
		from = time.Time(*c.From)
	}
	if now := before.At(from); now == version && (len(before.Periods) == 0 || !before.Periods[len(before.Periods)-1].From.After(from)) {
		fmt.Fprintf(t.notes, "nothing changes: %s is valid from then on already\n", version)
		return nil
	}
	when := "now"
	if c.From != nil {
		when = from.UTC().Format(time.RFC3339)
	}
	fmt.Fprintf(t.out, "\n%s becomes valid for exits observed from %s on, in place of %s", version, when, before.At(from))
	for _, p := range before.Periods {
		if p.From.After(from) {
			fmt.Fprintf(t.out, ", and of %s from %s on", p.Version, p.From.Format(time.RFC3339))
		}
	}
	fmt.Fprintln(t.out)
	if from.Before(time.Now().Add(-time.Minute)) {
		fmt.Fprintln(t.out, "stays of exits since then are matched again, as long as the matcher looks at them (MATCH_WINDOW)")
	}
	if !c.Yes {
		if !interactive {
			return errors.New("nothing was changed: --yes makes the model valid")
		}
		if err := agree(t); err != nil {
			return err
		}
	}
	var list model.List
	if document != nil {
		if err := c.call(t.ctx, http.MethodPut, modelsPath(c.Site)+"/"+url.PathEscape(version), document, &list); err != nil {
			return err
		}
	}
	body, err := json.Marshal(struct {
		Version string             `json:"version"`
		From    *parking.Timestamp `json:"from"`
	}{version, c.From})
	if err != nil {
		return err
	}
	if err := c.call(t.ctx, http.MethodPost, modelsPath(c.Site), body, &list); err != nil {
		return err
	}
	fmt.Fprintln(t.notes, "done: the matcher's next tick matches by it")
	return nil
}
