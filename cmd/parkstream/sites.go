package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"gopkg.in/yaml.v3"

	"parkstream/shared/site"
)

type sitesCommand struct {
	Apply  sitesApplyCommand  `cmd:"" help:"Configure the sites of a file: it shows what would change, and asks."`
	List   sitesListCommand   `cmd:"" help:"List the configured sites."`
	Export sitesExportCommand `cmd:"" help:"Print the configuration as a file for 'sites apply', without the cameras' tokens."`
}

type sitesApplyCommand struct {
	File  string `arg:"" help:"File of sites, see docs/sites.md; - is standard input."`
	Yes   bool   `help:"Do it without asking. What only adds to the configuration needs no --yes outside of a terminal."`
	Prune bool   `help:"Remove the configuration of sites that are not in the file."`
	summaryAPI
}

// Run configures the sites.
func (c sitesApplyCommand) Run(ctx context.Context) error {
	return c.run(standard(ctx), isTerminal(os.Stdin) && c.File != "-")
}

// changes is the answer to a change of the configuration.
type changes struct {
	Version string   `json:"version"`
	Changes []string `json:"changes"`
}

func (c sitesApplyCommand) run(t terminal, interactive bool) error {
	file, err := c.read(t.in)
	if err != nil {
		return err
	}
	query := url.Values{"dry_run": {"1"}}
	if c.Prune {
		query.Set("prune", "1")
	}
	var planned changes
	if err := c.put(t.ctx, file, query, &planned); err != nil {
		return err
	}
	if len(planned.Changes) == 0 {
		fmt.Fprintln(t.notes, "nothing changes")
		return nil
	}
	for _, line := range planned.Changes {
		fmt.Fprintln(t.out, line)
	}
	if !c.Yes {
		if err := confirm(t, interactive, planned.Changes); err != nil {
			return err
		}
	}
	query.Set("dry_run", "0")
	query.Set("version", planned.Version)
	var done changes
	if err := c.put(t.ctx, file, query, &done); err != nil {
		return err
	}
	fmt.Fprintln(t.notes, "done")
	return nil
}

// read parses the file. Its error has every mistake with its line.
func (c sitesApplyCommand) read(stdin io.Reader) (*site.File, error) {
	in := stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, site.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.File, err)
	}
	if len(text) > site.MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes: apply several files, one after the other", c.File, site.MaxFile)
	}
	file, err := site.Parse(text)
	return file, c.located(err)
}

// located returns the error of mistakes as FILE:LINE: and what is wrong.
func (c sitesApplyCommand) located(err error) error {
	mistakes, ok := errors.AsType[site.Mistakes](err)
	if !ok {
		return err
	}
	var text strings.Builder
	for i, m := range mistakes {
		if i == site.MaxMistakes {
			fmt.Fprintf(&text, "\nand %d more", len(mistakes)-i)
			break
		}
		fmt.Fprintf(&text, "\n%s:%d: %s", c.File, m.Line, m.Text)
	}
	return fmt.Errorf("nothing was changed, the file has mistakes:%s", &text)
}

// put sends the sites of the file, with the hashes of their tokens.
func (c sitesApplyCommand) put(ctx context.Context, file *site.File, query url.Values, answer *changes) error {
	err := c.call(ctx, http.MethodPut, "/configuration?"+query.Encode(), site.Marshal(file.Sites), answer)
	refused, ok := errors.AsType[*statusError](err)
	if !ok {
		return err
	}
	var problem struct{ Mistakes site.Mistakes }
	if json.Unmarshal(refused.body, &problem) == nil && len(problem.Mistakes) > 0 {
		return c.located(file.Locate(problem.Mistakes))
	}
	return err
}

// confirm asks on a terminal. Elsewhere only additions are made without --yes.
func confirm(t terminal, interactive bool, lines []string) error {
	if !interactive {
		if onlyAdds(lines) {
			return nil
		}
		return errors.New("nothing was changed: --yes changes and removes what is configured already")
	}
	return agree(t)
}

// agree asks on a terminal.
func agree(t terminal) error {
	fmt.Fprint(t.notes, "Do it? [y/N] ")
	answer := make(chan string, 1)
	go func() { // ends with the line, or with the process
		line, _ := bufio.NewReader(t.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return errors.New("nothing was changed")
	case <-t.ctx.Done():
		fmt.Fprintln(t.notes)
		return errors.New("interrupted: nothing was changed")
	}
}

// onlyAdds reports whether all changes are of sites that are new.
func onlyAdds(lines []string) bool {
	added := make(map[string]bool)
	for _, line := range lines {
		id, isNew := strings.CutPrefix(line, "+ site ")
		if isNew {
			id, _, _ = strings.Cut(id, ":")
			added[id] = true
			continue
		}
		id, _, _ = strings.Cut(strings.TrimPrefix(line, "~ site "), ":")
		if !added[id] {
			return false
		}
	}
	return true
}

// configuration is the answer of GET /configuration.
type configuration struct {
	Sites json.RawMessage `json:"sites"`
}

type sitesListCommand struct{ summaryAPI }

// Run lists the sites.
func (c sitesListCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c sitesListCommand) run(t terminal) error {
	var have configuration
	if err := c.call(t.ctx, http.MethodGet, "/configuration", nil, &have); err != nil {
		return err
	}
	var sites []struct {
		ID, Name, Zone string
		Capacity       int
		Cameras, Gates []struct{}
	}
	if err := json.Unmarshal(have.Sites, &sites); err != nil {
		return fmt.Errorf("the summary's configuration is of another version: %w", err)
	}
	if len(sites) == 0 {
		fmt.Fprintln(t.notes, "no site is configured")
		return nil
	}
	table := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SITE\tNAME\tZONE\tCAPACITY\tGATES\tCAMERAS")
	for _, s := range sites {
		capacity := "-"
		if s.Capacity > 0 {
			capacity = fmt.Sprint(s.Capacity)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\n", s.ID, cmp.Or(s.Name, "-"), s.Zone, capacity, len(s.Gates), len(s.Cameras))
	}
	return table.Flush()
}

type sitesExportCommand struct{ summaryAPI }

// Run prints the configuration.
func (c sitesExportCommand) Run(ctx context.Context) error { return c.run(standard(ctx)) }

func (c sitesExportCommand) run(t terminal) error {
	var have configuration
	if err := c.call(t.ctx, http.MethodGet, "/configuration", nil, &have); err != nil {
		return err
	}
	var file yaml.Node
	if err := yaml.Unmarshal([]byte(`{"sites":`+string(have.Sites)+`}`), &file); err != nil {
		return fmt.Errorf("the summary's configuration is of another version: %w", err)
	}
	inBlocks(&file)
	fmt.Fprintln(t.out, "# Tokens of cameras are not exported: `parkstream sites apply` leaves those as they are that a file does not have.")
	e := yaml.NewEncoder(t.out)
	e.SetIndent(2)
	return errors.Join(e.Encode(&file), e.Close())
}

// inBlocks removes the style of JSON.
func inBlocks(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		inBlocks(child)
	}
}
