package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Result is what a benchmark measured; a part that did not run is empty.
type Result struct {
	Machine Machine    `json:"machine"`
	Events  int        `json:"events"`
	Runs    int        `json:"runs"`
	Drain   *Drain     `json:"drain,omitempty"`
	Latency []*Latency `json:"latency,omitempty"`
	Cost    []Cost     `json:"cost,omitempty"`
	Growth  []Growth   `json:"growth,omitempty"`
	Backlog *Backlog   `json:"backlog,omitempty"`
}

// Machine is what it was measured on.
type Machine struct {
	CPU      string `json:"cpu,omitempty"`
	Cores    int    `json:"cores"`
	Memory   uint64 `json:"memory_bytes,omitempty"`
	OS       string `json:"os"`
	Kernel   string `json:"kernel,omitempty"`
	Go       string `json:"go"`
	RabbitMQ string `json:"rabbitmq"`
	Redis    string `json:"redis"`
}

// Drain is how fast waiting events are worked off.
type Drain struct {
	// SingleInFlight is the number of calls in flight at which one event a call got
	// most done.
	SingleInFlight int            `json:"batch_1_calls_in_flight"`
	Results        []*DrainResult `json:"results"`
}

// DrainResult is one contestant with one load.
type DrainResult struct {
	Workload   Workload `json:"workload"`
	Contestant string   `json:"contestant"`
	// Events that waited.
	Events int `json:"events"`
	// Rates of all runs and their Median, in events a second.
	Rates  []float64 `json:"rates"`
	Median float64   `json:"median"`
}

// rate returns the median of a contestant, NaN if it was not measured.
func (d *Drain) rate(contestant string, w Workload) float64 {
	if d != nil {
		for _, r := range d.Results {
			if r.Contestant == contestant && r.Workload == w {
				return r.Median
			}
		}
	}
	return math.NaN()
}

// Ratio returns how many times faster our path is than another contestant, NaN if
// either was not measured.
func (r *Result) Ratio(contestant string, w Workload) float64 {
	return r.Drain.rate(Ours, w) / r.Drain.rate(contestant, w)
}

// slowerFloor is the rate of the slower of the two limits.
func (d *Drain) slowerFloor(w Workload) float64 {
	return min(d.rate(FloorBroker, w), d.rate(FloorRedis, w))
}

// Latency at a rate: milliseconds from the confirm of an exit to its stay being
// visible.
type Latency struct {
	// Rate that was asked for and the one Reached, in events a second.
	Rate    int     `json:"rate"`
	Reached float64 `json:"reached"`
	Events  int     `json:"events"`
	P50     float64 `json:"p50_ms"`
	P95     float64 `json:"p95_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p999_ms"`
	Max     float64 `json:"max_ms"`
	// PublishP50 and PublishP99 count from the publish instead of its confirm.
	PublishP50 float64 `json:"publish_p50_ms"`
	PublishP99 float64 `json:"publish_p99_ms"`
	// ProcessingP50 and ProcessingP99 are the exit processor's own
	// event_processing_latency.
	ProcessingP50 float64 `json:"processing_p50_ms"`
	ProcessingP99 float64 `json:"processing_p99_ms"`
}

// Cost of one process.
type Cost struct {
	Process string `json:"process"`
	// CPU seconds and memory allocations for a thousand events. The allocations of
	// RabbitMQ and Redis are unknown.
	CPU     map[Workload]float64 `json:"cpu_seconds_per_1000"`
	Mallocs map[Workload]float64 `json:"allocations_per_1000"`
	// IdleRSS and PeakRSS are resident memory in bytes, before the first event and
	// at most under load.
	IdleRSS uint64 `json:"idle_rss_bytes"`
	PeakRSS uint64 `json:"peak_rss_bytes"`
}

// Growth is Redis with a number of vehicles.
type Growth struct {
	Plates int `json:"plates"`
	// BytesInside of a vehicle inside, BytesStay of one that has left: both its
	// events and its stay, with all indexes.
	BytesInside float64 `json:"bytes_inside"`
	BytesStay   float64 `json:"bytes_stay"`
	// EntriesRate and ExitsRate are events a second of the scripts alone on the way
	// there.
	EntriesRate float64 `json:"entries_per_second"`
	ExitsRate   float64 `json:"exits_per_second"`
}

// Backlog is the connector's resident memory, in bytes, while messages wait for
// a function that is stopped.
type Backlog struct {
	Messages       int     `json:"messages"`
	Waiting        int     `json:"waiting"`
	InHand         int     `json:"in_hand"`
	Seconds        float64 `json:"seconds"`
	StartRSS       uint64  `json:"start_rss_bytes"`
	PeakFirstHalf  uint64  `json:"peak_first_half_rss_bytes"`
	PeakSecondHalf uint64  `json:"peak_second_half_rss_bytes"`
	EndRSS         uint64  `json:"end_rss_bytes"`
}

// table is one of the report.
type table struct {
	title, note string
	rows        [][]string // the first one names the columns
}

// tables of what was measured, ratios first.
func (r *Result) tables() []table {
	var ts []table
	if r.Drain != nil {
		ts = append(ts, r.ratios(), r.rates())
	}
	if len(r.Latency) > 0 {
		ts = append(ts, r.latencies())
	}
	if len(r.Cost) > 0 {
		ts = append(ts, r.costs())
	}
	if len(r.Growth) > 0 {
		t := table{title: "Growth", note: "Redis's memory for each vehicle, as the difference of used_memory, and how fast the scripts alone took the events in.", rows: [][]string{
			{"plates", "bytes a vehicle inside", "bytes a finished stay", "entries/s", "exits/s"},
		}}
		for _, g := range r.Growth {
			t.rows = append(t.rows, []string{count(float64(g.Plates)), count(g.BytesInside), count(g.BytesStay), count(g.EntriesRate), count(g.ExitsRate)})
		}
		ts = append(ts, t)
	}
	if b := r.Backlog; b != nil {
		ts = append(ts, table{
			title: "A stopped function",
			note:  fmt.Sprintf("Memory of the connector while messages wait for a function that was stopped for %.0f s.", b.Seconds),
			rows: [][]string{
				{"waiting", "unacked", "first", "peak, first half", "peak, second half", "last"},
				{count(float64(b.Waiting)), count(float64(b.InHand)), mib(b.StartRSS), mib(b.PeakFirstHalf), mib(b.PeakSecondHalf), mib(b.EndRSS)},
			},
		})
	}
	return ts
}

func (r *Result) ratios() table {
	t := table{title: "Ratios", note: "Our path against the others: medians of the same runs.", rows: [][]string{{"parkstream against", "entries", "exits", "mix"}}}
	row := func(name string, ratio func(Workload) string) {
		cells := []string{name}
		for _, w := range Workloads {
			cells = append(cells, ratio(w))
		}
		t.rows = append(t.rows, cells)
	}
	times := func(contestant string) func(Workload) string {
		return func(w Workload) string { return fmt.Sprintf("%.1f times", r.Ratio(contestant, w)) }
	}
	row(fmt.Sprintf("one event a call, %d calls in flight", r.Drain.SingleInFlight), times(SingleEvent))
	row("monolith", times(Classic))
	percent := func(of func(Workload) float64) func(Workload) string {
		return func(w Workload) string { return fmt.Sprintf("%.0f %%", 100*r.Drain.rate(Ours, w)/of(w)) }
	}
	row("slower of the two floors", percent(r.Drain.slowerFloor))
	row("both floors at once", percent(func(w Workload) float64 { return r.Drain.rate(FloorBoth, w) }))
	return t
}

func (r *Result) rates() table {
	t := table{
		title: "Events a second", note: fmt.Sprintf("Median of %d runs, in brackets the slowest and the fastest.", r.Runs),
		rows: [][]string{{"", "entries", "exits", "mix", "events waiting"}},
	}
	for _, first := range r.Drain.Results {
		if first.Workload != Workloads[0] {
			continue
		}
		cells, waiting := []string{first.Contestant}, []string{}
		for _, w := range Workloads {
			for _, d := range r.Drain.Results {
				if d.Contestant == first.Contestant && d.Workload == w {
					cells = append(cells, fmt.Sprintf("%s (%s to %s)", count(d.Median), count(slices.Min(d.Rates)), count(slices.Max(d.Rates))))
					waiting = append(waiting, count(float64(d.Events)))
				}
			}
		}
		t.rows = append(t.rows, append(cells, strings.Join(slices.Compact(waiting), ", ")))
	}
	return t
}

func (r *Result) latencies() table {
	t := table{
		title: "Latency",
		note: "Milliseconds from the confirm of an exit to its stay being visible. A quantile that fewer events than its share was measured for is left out. " +
			"Processing is the exit processor's own event_processing_latency, from its native histogram: bounds of buckets, up to 9 % too high.",
		rows: [][]string{{"events/s", "events", "p50", "p95", "p99", "p99.9", "max", "processing p50", "processing p99"}},
	}
	for _, l := range r.Latency {
		ms := func(v, q float64) string {
			if float64(l.Events)*(1-q) < 1-1e-9 {
				return "-"
			}
			return fmt.Sprintf("%.2f", v)
		}
		t.rows = append(t.rows, []string{
			count(float64(l.Rate)), count(float64(l.Events)), ms(l.P50, .5), ms(l.P95, .95), ms(l.P99, .99), ms(l.P999, .999),
			fmt.Sprintf("%.2f", l.Max), ms(l.ProcessingP50, .5), ms(l.ProcessingP99, .99),
		})
	}
	return t
}

func (r *Result) costs() table {
	t := table{
		title: "Cost",
		note:  fmt.Sprintf("For 1,000 events of a drain of %s, publishing not counted. The gateway is in the process of the benchmark, whose own work is in its figures; the connector's have its start in them.", count(float64(r.Events))),
		rows:  [][]string{{"process", "CPU ms, entries", "CPU ms, exits", "allocations, entries", "allocations, exits", "memory idle", "memory at most"}},
	}
	total := map[Workload]float64{}
	for _, c := range r.Cost {
		allocations := func(w Workload) string {
			if c.Mallocs[w] == 0 {
				return "-"
			}
			return count(c.Mallocs[w])
		}
		t.rows = append(t.rows, []string{
			c.Process, milli(c.CPU[Entries]), milli(c.CPU[Exits]), allocations(Entries), allocations(Exits), mib(c.IdleRSS), mib(c.PeakRSS),
		})
		for w, v := range c.CPU {
			total[w] += v
		}
	}
	t.rows = append(t.rows, []string{"all", milli(total[Entries]), milli(total[Exits]), "", "", "", ""})
	return t
}

func milli(seconds float64) string { return fmt.Sprintf("%.1f", 1000*seconds) }

func mib(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// count writes a whole number with commas between thousands.
func count(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	digits := fmt.Sprintf("%.0f", math.Abs(v))
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	if v <= -0.5 {
		return "-" + digits
	}
	return digits
}

// String describes the machine in a line.
func (m Machine) String() string {
	parts := []string{fmt.Sprintf("%d cores", m.Cores)}
	if m.CPU != "" {
		parts = append(parts, m.CPU)
	}
	if m.Memory > 0 {
		parts = append(parts, fmt.Sprintf("%.0f GiB memory", float64(m.Memory)/(1<<30)))
	}
	if m.Kernel != "" {
		parts = append(parts, m.OS+" "+m.Kernel)
	} else {
		parts = append(parts, m.OS)
	}
	return strings.Join(append(parts, m.Go, "RabbitMQ "+m.RabbitMQ, "Redis "+m.Redis), ", ")
}

// WriteText writes the report for people at a terminal.
func (r *Result) WriteText(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\n", r.Machine)
	for _, t := range r.tables() {
		fmt.Fprintf(&out, "\n%s\n%s\n\n", t.title, t.note)
		tab := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
		for _, row := range t.rows {
			fmt.Fprintln(tab, "  "+strings.Join(row, "\t"))
		}
		if err := tab.Flush(); err != nil {
			return err
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// The generated part of a page stands between two lines.
const (
	markBegin = "<!-- bench:begin -->"
	markEnd   = "<!-- bench:end -->"
)

// Markdown replaces the generated part of a page.
func (r *Result) Markdown(page []byte) ([]byte, error) {
	before, rest, found := bytes.Cut(page, []byte(markBegin))
	_, after, ended := bytes.Cut(rest, []byte(markEnd))
	if !found || !ended {
		return nil, errors.New("the page has no place for the report: it needs a line " + markBegin + " and after it one " + markEnd)
	}
	var out bytes.Buffer
	out.Write(before)
	fmt.Fprintf(&out, "%s\n\nMeasured on: %s. %s events, %d runs.\n", markBegin, r.Machine, count(float64(r.Events)), r.Runs)
	for _, t := range r.tables() {
		fmt.Fprintf(&out, "\n### %s\n\n%s\n\n", t.title, t.note)
		for i, row := range t.rows {
			fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				out.WriteString("|---|" + strings.Repeat("---:|", len(row)-1) + "\n")
			}
		}
	}
	out.WriteString("\n" + markEnd)
	out.Write(after)
	return out.Bytes(), nil
}
