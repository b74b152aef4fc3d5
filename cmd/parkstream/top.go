package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"parkstream/shared/monitor"
	"parkstream/shared/process"
	"parkstream/shared/redirect"
)

// topInterval is how often the figures are updated; the summary takes a snapshot about
// once a second.
const topInterval = time.Second

type topCommand struct {
	Gateway   string `default:"http://127.0.0.1:8080" help:"URL of the gateway."`
	TokenFile string `placeholder:"FILE" help:"File with the token of a user of all sites, for a system that asks for a login: 'parkstream users add NAME --role viewer --token >FILE' makes one."`
	Once      bool   `help:"Print the figures of one second and end."`
}

// Run shows the system's figures until ctx ends, or once.
func (c topCommand) Run(ctx context.Context) error {
	t := &top{url: strings.TrimSuffix(c.Gateway, "/") + "/function/summary/system", name: c.Gateway, out: os.Stdout, interval: topInterval}
	if c.TokenFile != "" {
		t.token = process.NewSecret(filepath.Dir(c.TokenFile), filepath.Base(c.TokenFile))
	}
	if c.Once {
		return t.once(ctx)
	}
	t.terminal = isTerminal(os.Stdout)
	return t.run(ctx)
}

// top fetches snapshots and shows what happened between two.
type top struct {
	url, name string
	out       io.Writer
	terminal  bool // out understands ANSI
	interval  time.Duration
	token     *process.Secret // nil: none
	before    *monitor.Snapshot
}

// once prints the figures of one interval.
func (t *top) once(ctx context.Context) error {
	now, err := t.look(ctx)
	for err == nil && t.before == nil {
		t.before = now
		// Other clients share the snapshots: the next one has to be of another
		// moment.
		for err == nil && !now.At.After(t.before.At) {
			if err = t.wait(ctx); err == nil {
				now, err = t.look(ctx)
			}
		}
	}
	if err != nil {
		return unlessDone(err)
	}
	_, err = io.WriteString(t.out, render(t.name, figuresOf(t.before, now)))
	return err
}

// The terminal's alternate screen without a cursor, and back: its former content is
// restored at the end.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// run shows the figures until ctx ends. It returns an error if the first request fails;
// later ones are retried.
func (t *top) run(ctx context.Context) error {
	now, err := t.look(ctx)
	if err != nil {
		return unlessDone(err)
	}
	if t.terminal {
		fmt.Fprint(t.out, enterScreen)
		defer fmt.Fprint(t.out, leaveScreen)
	}
	var shown figures
	for {
		switch {
		case err != nil:
			t.show(render(t.name, shown) + "\n" + err.Error() + "\nTrying again.\n")
		case t.before == nil || now.At.After(t.before.At):
			shown = figuresOf(t.before, now)
			t.before = now
			t.show(render(t.name, shown))
		}
		if err = t.wait(ctx); err == nil {
			now, err = t.look(ctx)
		}
		if ctx.Err() != nil {
			return unlessDone(err)
		}
	}
}

// show replaces the content of the terminal line by line, which avoids flicker.
func (t *top) show(text string) {
	if t.terminal {
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
	}
	fmt.Fprint(t.out, text)
}

func (t *top) wait(ctx context.Context) error {
	select {
	case <-time.After(t.interval):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unlessDone returns err, or nil if the user has ended the command.
func unlessDone(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (t *top) look(ctx context.Context) (*monitor.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return nil, fmt.Errorf("--gateway %s: %w", t.name, err)
	}
	if t.token != nil {
		token, err := t.token.Value()
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{CheckRedirect: redirect.Refuse}).Do(r)
	if err != nil {
		return nil, fmt.Errorf("nothing answers at %s: start it with `parkstream up`, or name its gateway with --gateway (%w)", t.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", t.url, err)
	}
	var s monitor.Snapshot
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("%s asks for a login: name a file with a token with --token-file (%s)", t.name, resp.Status)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: %s", t.url, resp.Status, bytes.TrimSpace(text))
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("%s does not answer as Parkstream's summary: %w", t.url, err)
	}
	return &s, nil
}

// figures are the shown figures: the current snapshot, and the changes since the
// previous one.
type figures struct {
	now   *monitor.Snapshot
	flows []flow // by event type
	acked map[string]float64
}

// flow is what happened to the events of one type.
type flow struct {
	eventType string
	rate      float64  // events a second
	p50, p99  *float64 // seconds, nil if there was no event
	outcomes  map[string]float64
}

// figuresOf compares two snapshots. There are no rates without an earlier one.
func figuresOf(before, now *monitor.Snapshot) figures {
	f := figures{now: now, acked: make(map[string]float64)}
	if before == nil {
		before = now
	}
	seconds := now.At.Sub(before.At).Seconds()
	rate := func(n float64) float64 {
		if seconds <= 0 {
			return 0
		}
		return n / seconds
	}
	for _, l := range now.Latency {
		i := slices.IndexFunc(before.Latency, func(b monitor.Latency) bool { return b.EventType == l.EventType })
		var earlier monitor.Latency
		if i >= 0 {
			earlier = before.Latency[i]
		}
		n, buckets := since(earlier, l)
		fl := flow{eventType: l.EventType, rate: rate(float64(n)), outcomes: make(map[string]float64)}
		fl.p50, fl.p99 = quantile(buckets, 0.50), quantile(buckets, 0.99)
		for _, o := range now.Outcomes {
			if o.EventType == l.EventType {
				fl.outcomes[o.Outcome] = o.Events
			}
		}
		f.flows = append(f.flows, fl)
	}
	if now.Connector != nil {
		for _, q := range now.Connector.Queues {
			earlier := 0.0
			if before.Connector != nil {
				i := slices.IndexFunc(before.Connector.Queues, func(b monitor.Queue) bool { return b.Queue == q.Queue })
				if i >= 0 && before.Connector.Queues[i].Acked <= q.Acked {
					earlier = before.Connector.Queues[i].Acked
				}
			}
			f.acked[q.Queue] = rate(q.Acked - earlier)
		}
	}
	return f
}

// since returns what a histogram counted after an earlier one, in total and by bucket
// (cumulatively). The counters of a restarted process begin at zero.
func since(earlier, now monitor.Latency) (uint64, []monitor.Bucket) {
	buckets := slices.Clone(now.Buckets)
	if earlier.Count > now.Count || len(earlier.Buckets) != len(now.Buckets) {
		return now.Count, buckets
	}
	for i := range buckets {
		buckets[i].Count -= min(buckets[i].Count, earlier.Buckets[i].Count)
	}
	return now.Count - earlier.Count, buckets
}

// quantile interpolates within a bucket of a cumulative histogram, as Prometheus
// does; beyond the last bound it is that bound. It is nil of no events.
func quantile(buckets []monitor.Bucket, q float64) *float64 {
	if len(buckets) == 0 || buckets[len(buckets)-1].Count == 0 {
		return nil
	}
	rank := q * float64(buckets[len(buckets)-1].Count)
	low, below := 0.0, 0.0
	for _, b := range buckets {
		if b.UpToSeconds == nil {
			break
		}
		if count := float64(b.Count); count >= rank && count > below {
			return new(low + (*b.UpToSeconds-low)*(rank-below)/(count-below))
		}
		low, below = *b.UpToSeconds, float64(b.Count)
	}
	return &low
}

// render writes the figures as text.
func render(gateway string, f figures) string {
	var w strings.Builder
	var down []string
	for _, p := range f.now.Parts {
		if p.State != "up" {
			down = append(down, fmt.Sprintf("  %s: %s, %s", p.Name, strings.ReplaceAll(p.State, "_", " "), p.Detail))
		}
	}
	health := fmt.Sprintf("all %d parts are up", len(f.now.Parts))
	if len(down) > 0 {
		health = fmt.Sprintf("%d of %d parts are not up", len(down), len(f.now.Parts))
	}
	fmt.Fprintf(&w, "Parkstream  %s  %s  %s\n\n", gateway, f.now.At.UTC().Format("2006-01-02 15:04:05 UTC"), health)
	rows := [][]string{{"EVENTS", "a second", "p50", "p99", "done", "unmatched", "repeats", "duplicates", "rejected", "retried"}}
	for _, fl := range f.flows {
		row := []string{fl.eventType, decimal(fl.rate), latency(fl.p50), latency(fl.p99)}
		for _, o := range []string{"done", "unmatched_exit", "repeat", "duplicate", "reject", "retry"} {
			n, ok := fl.outcomes[o]
			row = append(row, optional(&n, ok))
		}
		rows = append(rows, row)
	}
	align(&w, rows)
	if c := f.now.Connector; c != nil {
		rows = [][]string{{"QUEUE", "ready", "unacked", "oldest", "to retry", "dead", "acked/s", "acked", "retried", "dead-lettered"}}
		for _, q := range c.Queues {
			rows = append(rows, []string{
				q.Queue, optional(q.Ready, true), grouped(q.InHand), decimal(q.OldestUnackedSeconds) + " s", optional(q.Waiting, true), optional(q.Dead, true),
				decimal(f.acked[q.Queue]), grouped(q.Acked), grouped(q.Retried), grouped(q.DeadLettered),
			})
		}
		align(&w, rows)
		rows = [][]string{{"FUNCTION", "breaker", "calls", "at most"}}
		for _, b := range c.Breakers {
			rows = append(rows, []string{b.Function, b.State, grouped(b.CallsInFlight), grouped(b.CallsLimit)})
		}
		align(&w, rows)
	} else {
		fmt.Fprintf(&w, "\nThe connector is not seen.\n")
	}
	if len(down) > 0 {
		fmt.Fprintf(&w, "\nNot up:\n%s\n", strings.Join(down, "\n"))
	}
	return w.String()
}

// align writes rows after an empty line, the first column to the left, the others
// to the right.
func align(w *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if w.Len() > 0 && !strings.HasSuffix(w.String(), "\n\n") {
		w.WriteByte('\n')
	}
	for _, row := range rows {
		fmt.Fprintf(w, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(w, "  %*s", widths[i+1], cell)
		}
		w.WriteByte('\n')
	}
}

// latency writes seconds as milliseconds, or seconds from one on.
func latency(seconds *float64) string {
	switch {
	case seconds == nil:
		return "-"
	case *seconds < 1:
		return fmt.Sprintf("%.1f ms", *seconds*1000)
	default:
		return fmt.Sprintf("%.2f s", *seconds)
	}
}

func decimal(n float64) string { return fmt.Sprintf("%.1f", n) }

func optional(n *float64, known bool) string {
	if n == nil || !known {
		return "-"
	}
	return grouped(*n)
}

// grouped writes a count with its thousands apart.
func grouped(n float64) string {
	text := fmt.Sprintf("%.0f", n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
