package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/simulate"
	"parkstream/shared/timeline"
)

type simulateCheckCommand struct {
	Truth string        `arg:"" help:"File of the truth, which 'simulate --truth FILE' wrote."`
	Wait  time.Duration `default:"2m" help:"How long to wait for reads that are still in the queues (${default})."`
	summaryAPI
}

const (
	checkConnections = 2 // as many as are kept open between requests
	checkInterval    = time.Second
	// mostDifferences is how many differences are shown.
	mostDifferences = 20
	staysPage       = 1000
)

// Run compares the truth with the system until all is as it should be, or the time to
// wait is over. It returns an error if something is missing or different.
func (c simulateCheckCommand) Run(ctx context.Context) error {
	f, err := os.Open(c.Truth)
	if err != nil {
		return err
	}
	defer f.Close()
	check, err := readTruth(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("%s: %w", c.Truth, err)
	}
	check.api, check.out = c.summaryAPI, os.Stdout
	return check.run(ctx, c.Wait)
}

// truthCheck is the truth of a run, and what is found of it.
type truthCheck struct {
	api    summaryAPI
	out    io.Writer
	told   simulate.TruthRun
	visits map[int64]simulate.TruthVisit
	reads  []simulate.TruthRead
	fates  map[simulate.Fate]int
	// unknown are reads whose post was not answered. They may be recorded or not, so what
	// their events and the stays of their plates are is not known.
	unknown int
	events  map[string]parking.Event // the version that counts, by id
	stays   map[string]parking.Stay  // by id
	totals  timeline.Totals

	found      map[string]parking.Event
	foundStays map[string]parking.Stay
}

func readTruth(in io.Reader) (*truthCheck, error) {
	c := &truthCheck{visits: make(map[int64]simulate.TruthVisit), fates: make(map[simulate.Fate]int), found: make(map[string]parking.Event)}
	var err error
	c.told, err = simulate.ReadTruth(in, func(t simulate.Truth) {
		switch {
		case t.Visit != nil:
			c.visits[t.Visit.Visit] = *t.Visit
		case t.Read != nil:
			c.reads = append(c.reads, *t.Read)
		}
	})
	return c, err
}

// expect derives from the reads what the system has to know.
func (c *truthCheck) expect(repeats parking.Repeats) {
	var all []parking.Event
	ids, plates := make(map[string]bool), make(map[string]bool) // not known
	for i := range c.reads {
		r := &c.reads[i]
		if r.Fate == simulate.Dropped {
			c.fates[r.Fate]++
			continue
		}
		e := r.Told(c.told.Site)
		all = append(all, e)
		if r.Accepted {
			c.fates[r.Fate]++
			continue
		}
		c.unknown++
		ids[e.ID], plates[e.Plate] = true, true
	}
	for _, e := range all { // other versions of such an event may count, too
		if ids[e.ID] {
			plates[e.Plate] = true
		}
	}
	c.events, c.stays = make(map[string]parking.Event), make(map[string]parking.Stay)
	byPlate := make(map[string][]parking.Event)
	for _, e := range parking.Current(all) {
		if ids[e.ID] {
			continue
		}
		c.events[e.ID] = e
		entry := e.Kind == parking.Entry
		add(entry, &c.totals.Entries, &c.totals.Exits)
		if e.NoPlate {
			add(entry, &c.totals.NoPlateEntries, &c.totals.NoPlateExits)
			continue
		}
		if !plates[e.Plate] {
			byPlate[e.Plate] = append(byPlate[e.Plate], e)
		}
	}
	for _, events := range byPlate {
		t := parking.Pair(events, repeats)
		c.totals.MissedExits += int64(len(t.MissedExits))
		c.totals.RepeatedEntries += int64(len(t.RepeatedEntries))
		for _, s := range t.Stays {
			c.stays[s.ID] = s
			switch s.Status() {
			case parking.Completed:
				c.totals.CompletedStays++
			case parking.Repeated:
				c.totals.RepeatedExits++
			case parking.UnmatchedExit, parking.Void:
				c.totals.UnmatchedExits++
			}
		}
	}
}

func add(first bool, one, other *int64) {
	if first {
		*one++
	} else {
		*other++
	}
}

// run compares until nothing differs or the time is over, and shows the table.
func (c *truthCheck) run(ctx context.Context, wait time.Duration) error {
	state, err := c.api.simulated(ctx, c.told.Site)
	if err != nil {
		return err
	}
	repeats, err := state.Config.repeats()
	if err != nil {
		return err
	}
	c.expect(repeats)
	deadline := time.Now().Add(wait)
	for {
		before := len(c.found)
		differences, err := c.differences(ctx)
		if ctx.Err() != nil {
			return errors.New("interrupted: nothing is known yet")
		}
		switch {
		case err == nil && len(differences) == 0:
			return c.report(nil)
		case err != nil && len(c.found) > before: // a login may only make so many requests a second
			deadline = time.Now().Add(wait)
		case !time.Now().Before(deadline) && err != nil:
			return err
		case !time.Now().Before(deadline):
			return c.report(differences)
		}
		select {
		case <-time.After(checkInterval):
		case <-ctx.Done():
			return errors.New("interrupted: nothing is known yet")
		}
	}
}

// repeats returns the setting of repeated reads. The truth holds if it did not change
// during the run.
func (c siteConfig) repeats() (parking.Repeats, error) {
	text := c.text("repeat")
	if text == "" {
		return nil, nil
	}
	within, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("the site's setting repeat: %w", err)
	}
	return parking.Repeats{{Within: within}}, nil
}

// differences compares what is not yet found to be right.
func (c *truthCheck) differences(ctx context.Context) ([]string, error) {
	var mu sync.Mutex
	var differences []string
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(checkConnections)
	var open []parking.Event
	for id, want := range c.events {
		if _, done := c.found[id]; !done {
			open = append(open, want)
		}
	}
	for _, want := range open {
		group.Go(func() error {
			got, wrong, err := c.event(working, want)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && wrong == "" {
				c.found[want.ID] = got
			} else if err == nil {
				differences = append(differences, wrong)
			}
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		c.foundStays, err = c.listed(ctx)
	}
	if err != nil {
		return differences, err
	}
	for _, id := range slices.Sorted(maps.Keys(c.stays)) {
		if wrong := c.stay(c.stays[id]); wrong != "" {
			differences = append(differences, wrong)
		}
	}
	for id := range c.foundStays {
		if e, told := c.events[id]; told && (e.NoPlate || e.Kind == parking.Entry) {
			differences = append(differences, fmt.Sprintf("stay %s is one of a read that is no exit with a plate", id))
		}
	}
	if c.told.New && c.unknown == 0 {
		state, err := c.api.simulated(ctx, c.told.Site)
		if err != nil {
			return differences, err
		}
		if state.Totals != c.totals {
			differences = append(differences, fmt.Sprintf("the totals of the site are %+v, want %+v", state.Totals, c.totals))
		}
	}
	slices.Sort(differences)
	return differences, nil
}

// event compares an event. wrong is empty if it is as told.
func (c *truthCheck) event(ctx context.Context, want parking.Event) (got parking.Event, wrong string, err error) {
	var text json.RawMessage
	err = c.api.call(ctx, http.MethodGet, "/sites/"+c.told.Site+"/events?id="+url.QueryEscape(want.ID), nil, &text)
	if status, ok := errors.AsType[*statusError](err); ok && status.code == http.StatusNotFound {
		return got, fmt.Sprintf("event %s is missing", want.ID), nil
	}
	if err != nil {
		return got, "", err
	}
	if got, err = pipeline.ParseEvent(parking.Entry, text); err != nil { // then it is an exit
		if got, err = pipeline.ParseEvent(parking.Exit, text); err != nil {
			return got, "", fmt.Errorf("read the event %s: %w", want.ID, err)
		}
	}
	for _, f := range []struct{ name, got, want string }{
		{"version", fmt.Sprint(got.Version), fmt.Sprint(want.Version)},
		{"kind", got.Kind.String(), want.Kind.String()},
		{"plate", parking.MaskPlate(got.Plate), parking.MaskPlate(want.Plate)},
		{"time", got.Time.UTC().Format(time.RFC3339Nano), want.Time.UTC().Format(time.RFC3339Nano)},
		{"camera", got.Camera, want.Camera},
		{"gate", got.Gate, want.Gate},
	} {
		if f.got != f.want {
			return got, fmt.Sprintf("event %s has the %s %s, want %s", want.ID, f.name, cmp.Or(f.got, "none"), cmp.Or(f.want, "none")), nil
		}
	}
	if got.Plate != want.Plate || got.Void {
		return got, fmt.Sprintf("event %s has another plate, or is void", want.ID), nil
	}
	return got, "", nil
}

// listed returns the stays of the site at the time of the run that are of its reads.
func (c *truthCheck) listed(ctx context.Context) (map[string]parking.Stay, error) {
	first, last := time.Time{}, time.Time{}
	for _, s := range c.stays {
		if first.IsZero() || s.ExitTime.Before(first) {
			first = s.ExitTime
		}
		if s.ExitTime.After(last) {
			last = s.ExitTime
		}
	}
	stays := make(map[string]parking.Stay)
	query := url.Values{
		"site": {c.told.Site}, "limit": {fmt.Sprint(staysPage)},
		"from": {first.Format(time.RFC3339Nano)}, "to": {last.Add(time.Second).Format(time.RFC3339Nano)},
	}
	for {
		var page struct {
			Stays []json.RawMessage `json:"stays"`
			Next  string            `json:"next"`
		}
		if err := c.api.call(ctx, http.MethodGet, "?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, text := range page.Stays {
			var s parking.Stay
			if err := json.Unmarshal(text, &s); err != nil {
				return nil, fmt.Errorf("read a stay: %w", err)
			}
			stays[s.ID] = s
		}
		if page.Next == "" {
			return stays, nil
		}
		query.Set("cursor", page.Next)
	}
}

// stay compares a stay and returns what is wrong, or "".
func (c *truthCheck) stay(want parking.Stay) string {
	got, found := c.foundStays[want.ID]
	switch {
	case !found:
		return fmt.Sprintf("stay %s is missing, want %s", want.ID, want.Status())
	case c.near(want, got):
	case got.Status() != want.Status() || got.EntryID != want.EntryID:
		return fmt.Sprintf("stay %s is %s with the entry %s, want %s with %s", want.ID, got.Status(), cmp.Or(got.EntryID, "none"), want.Status(), cmp.Or(want.EntryID, "none"))
	case got.Plate != want.Plate || !got.ExitTime.Equal(want.ExitTime) || !got.EntryTime.Equal(want.EntryTime):
		return fmt.Sprintf("stay %s has another plate or other times", want.ID)
	}
	return ""
}

// near reports whether the matcher put the stay of an exit together with another entry of the
// run, as it does of unmatched exits some time later, and of an exact stay that it splits.
func (c *truthCheck) near(want, got parking.Stay) bool {
	if got.Match == nil || got.Match.Method == parking.Exact || got.Match.Method == parking.Corrected || want.Status() == parking.Repeated {
		return false
	}
	entry, told := c.events[got.EntryID]
	return told && entry.Kind == parking.Entry && !entry.NoPlate && entry.Time.Equal(got.EntryTime) &&
		got.ExitTime.Equal(want.ExitTime) && (got.Plate == want.Plate || got.Plate == entry.Plate)
}

// report shows the table, and returns an error if something is missing or different.
func (c *truthCheck) report(differences []string) error {
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "READS\ttold\tfound")
	for _, fate := range fates {
		found := 0
		for i := range c.reads {
			if r := &c.reads[i]; r.Fate == fate && r.Accepted {
				if e, ok := c.found[r.Event]; ok && e.Version >= r.Version {
					found++
				}
			}
		}
		if fate == simulate.Dropped { // no camera has posted them
			fmt.Fprintf(table, "%s\t%d\t-\n", fate, c.fates[fate])
			continue
		}
		fmt.Fprintf(table, "%s\t%d\t%d\n", fate, c.fates[fate], found)
	}
	if c.unknown > 0 {
		fmt.Fprintf(table, "not answered\t%d\t-\n", c.unknown)
	}
	fmt.Fprintln(table, "STAYS\t\t")
	near := 0
	for _, status := range []parking.Status{parking.Completed, parking.UnmatchedExit, parking.Repeated} {
		told, found := 0, 0
		for _, s := range c.stays {
			if s.Status() == status {
				if told++; c.foundStays != nil && c.stay(s) == "" {
					found++
				}
				if c.near(s, c.foundStays[s.ID]) {
					near++
				}
			}
		}
		fmt.Fprintf(table, "%s\t%d\t%d\n", strings.ReplaceAll(string(status), "_", " "), told, found)
	}
	if near > 0 {
		fmt.Fprintf(table, "by similar plates\t-\t%d\n", near)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	c.reportVisits()
	for i, d := range differences {
		if i == mostDifferences {
			fmt.Fprintf(c.out, "and %d more\n", len(differences)-i)
			break
		}
		fmt.Fprintln(c.out, d)
	}
	if len(differences) > 0 {
		return fmt.Errorf("%d differences between the truth and what the system knows", len(differences))
	}
	fmt.Fprintln(c.out, "Every read is accounted for.")
	return nil
}

// reportVisits tells how many visits became a stay with their own entry and exit.
func (c *truthCheck) reportVisits() {
	visitOf := make(map[string]int64)
	entered, left := make(map[int64]bool), make(map[int64]bool)
	for i := range c.reads {
		if r := &c.reads[i]; r.Accepted && r.Fate != simulate.Dropped {
			visitOf[r.Event] = r.Visit
			if r.Kind == parking.Entry.String() {
				entered[r.Visit] = true
			} else {
				left[r.Visit] = true
			}
		}
	}
	both, right, wrong := 0, make(map[int64]bool), 0
	for visit := range entered {
		if left[visit] {
			both++
		}
	}
	for _, s := range c.foundStays {
		visit, ours := visitOf[s.ID]
		switch {
		case !ours || s.Status() != parking.Completed:
		case visitOf[s.EntryID] == visit:
			right[visit] = true
		default:
			wrong++
		}
	}
	if both > 0 {
		fmt.Fprintf(c.out, "Of %d visits that a camera saw come and go, %d (%.1f %%) have a stay of their own entry and exit; %d stays join two visits.\n",
			both, len(right), 100*float64(len(right))/float64(both), wrong)
	}
}
