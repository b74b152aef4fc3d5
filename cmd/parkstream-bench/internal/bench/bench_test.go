package bench

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.values, got, tt.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestQuantile(t *testing.T) {
	var sorted []time.Duration
	for i := range 1000 {
		sorted = append(sorted, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{.5: 500, .95: 950, .99: 990, .999: 999, 1: 1000, 0: 1} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v of 1 to 1000 is %d, want %d", q, got, want)
		}
	}
	if got := quantile([]time.Duration{3}, .99); got != 3 {
		t.Errorf("quantile of one value is %d", got)
	}
}

// native is a real native histogram with the buckets that the processors use.
func native(t *testing.T, factor float64, observations []float64) histogram {
	t.Helper()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", NativeHistogramBucketFactor: factor, NativeHistogramMaxBucketNumber: 160})
	for _, v := range observations {
		h.Observe(v)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return readHistogram(m.GetHistogram())
}

func TestQuantileOfAHistogram(t *testing.T) {
	var observations []float64
	for i := range 1000 {
		observations = append(observations, 0.0001*float64(i+1)) // 0.1 ms to 100 ms
	}
	h := native(t, 1.1, observations)
	for _, q := range []float64{.01, .5, .95, .99, 1} {
		want := 0.1 * q
		if got := h.quantile(q); got < want*(1-1e-9) || got > 1.1*want {
			t.Errorf("quantile %v is %v, want %v or up to a tenth more", q, got, want)
		}
	}
	if got := native(t, 1.1, nil).quantile(.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing is %v", got)
	}
	if got := native(t, 1.1, []float64{0, 0, 0, 5}).quantile(.5); got != 0 {
		t.Errorf("quantile of zeros is %v", got)
	}
}

// The difference of two histograms counts only the observations between them, even if
// the resolution was reduced in between.
func TestDifferenceOfHistograms(t *testing.T) {
	early := []float64{.001, .001, .002, .004, 1000, 2000}
	late := slices.Concat(early, []float64{.010, .011, .012, .5})
	for _, factor := range []float64{1.1, 1.5} {
		h := native(t, factor, late)
		h.add(native(t, 1.1, early), -1)
		if got := h.quantile(.5); got < .011 || got > .011*factor {
			t.Errorf("factor %v: the median is %v, want some 0.011", factor, got)
		}
		if got := h.quantile(1); got < .5 || got > .5*factor {
			t.Errorf("factor %v: the maximum is %v, want some 0.5", factor, got)
		}
	}
}

func TestCoarser(t *testing.T) {
	// Bucket i of schema s ends at 2^(i/2^s): the coarser one must end there or
	// later, and begin no later.
	for i := -20; i <= 20; i++ {
		j := coarser(i, 1)
		if 2*j < i || 2*(j-1) > i-1 {
			t.Errorf("bucket %d is put into %d", i, j)
		}
	}
}

func TestLatencyOfExits(t *testing.T) {
	at := time.Now()
	var published, confirmed, visible []time.Time
	for i := range 100 {
		p := at.Add(time.Duration(i) * 10 * time.Millisecond)
		published = append(published, p)
		confirmed = append(confirmed, p.Add(time.Millisecond))
		visible = append(visible, p.Add(time.Millisecond+time.Duration(i+1)*time.Millisecond))
	}
	l := newLatency(100, published, confirmed, visible, native(t, 1.1, []float64{.004}))
	if l.P50 != 50 || l.P99 != 99 || l.Max != 100 || l.PublishP50 != 51 || l.Events != 100 {
		t.Errorf("%+v", l)
	}
	if math.Abs(l.Reached-100) > 1e-6 || l.ProcessingP99 < 4 || l.ProcessingP99 > 4.4 {
		t.Errorf("%+v", l)
	}
}

// The messages of a fleet are the events that it would record.
func TestFleet(t *testing.T) {
	b := new(bench)
	f, other := b.newFleet(), b.newFleet()
	if f.id(parking.Entry, 1) == other.id(parking.Entry, 1) || f.id(parking.Entry, 1) == f.id(parking.Exit, 1) {
		t.Error("an id is there twice")
	}
	m := f.message(parking.Exit, 42)
	var wire parking.ExitEvent
	if err := json.Unmarshal(m.Body, &wire); err != nil {
		t.Fatal(err)
	}
	e, err := parking.NewEvent(parking.Event{ID: wire.ID, Kind: parking.Exit, RawPlate: wire.VehiclePlate, Time: wire.ExitTime})
	if err != nil || !cmp.Equal(e, f.event(parking.Exit, 42)) {
		t.Errorf("%s is %+v, %v; want %+v", m.Body, e, err, f.event(parking.Exit, 42))
	}
	if m.Queue != "vehicle_exits" || m.ID != wire.ID {
		t.Errorf("%+v", m)
	}
	if d := f.time(parking.Exit, 42).Sub(f.time(parking.Entry, 42)); d != stayed {
		t.Errorf("the stay takes %s", d)
	}
}

func sampleResult() *Result {
	d := &Drain{SingleInFlight: 32}
	rates := map[string]float64{Ours: 60_000, SingleEvent: 3000, Classic: 12_000, FloorBroker: 150_000, FloorRedis: 80_000, FloorBoth: 64_000}
	for _, w := range Workloads {
		for _, c := range []string{Ours, SingleEvent, Classic, FloorBroker, FloorRedis, FloorBoth} {
			d.Results = append(d.Results, &DrainResult{Workload: w, Contestant: c, Events: 1000, Rates: []float64{rates[c]}, Median: rates[c]})
		}
	}
	return &Result{
		Machine: Machine{CPU: "Fast", Cores: 2, Memory: 8 << 30, OS: "linux/amd64", Kernel: "6.1", Go: "go1.26", RabbitMQ: "4.0", Redis: "7.0"},
		Events:  1000, Runs: 1, Drain: d,
		Latency: []*Latency{{Rate: 100, Events: 500, P50: 1.5, P95: 2, P99: 3, P999: 4, Max: 5, ProcessingP50: 1, ProcessingP99: 2}},
		Cost:    []Cost{{Process: "connector", CPU: map[Workload]float64{Entries: .01}, Mallocs: map[Workload]float64{Entries: 1234}, IdleRSS: 10 << 20, PeakRSS: 20 << 20}},
		Growth:  []Growth{{Plates: 10_000, BytesInside: 350, BytesStay: 700, EntriesRate: 1, ExitsRate: 1}},
		Backlog: &Backlog{Messages: 1000, Waiting: 900, InHand: 100, StartRSS: 1 << 20},
	}
}

func TestRatio(t *testing.T) {
	r := sampleResult()
	if got := r.Ratio(SingleEvent, Entries); got != 20 {
		t.Errorf("ratio %v, want 20", got)
	}
	for _, got := range []float64{r.Ratio("unknown", Entries), new(Result).Ratio(SingleEvent, Entries)} {
		if !math.IsNaN(got) {
			t.Errorf("the ratio to what was not measured is %v", got)
		}
	}
}

func TestReport(t *testing.T) {
	r := sampleResult()
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	page, err := r.Markdown([]byte("# Title\n\nby hand\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nmore by hand\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 cores, Fast, 8 GiB memory, linux/amd64 6.1, go1.26, RabbitMQ 4.0, Redis 7.0",
		"20.0 times", "5.0 times", "75 %", "94 %", "60,000 (60,000 to 60,000)", "1.50", "20.0 MiB", "1,234",
	} {
		for name, report := range map[string]string{"text": text.String(), "markdown": string(page)} {
			if !strings.Contains(report, want) {
				t.Errorf("the %s has no %q:\n%s", name, want, report)
			}
		}
	}
	if strings.Index(text.String(), "Ratios") > strings.Index(text.String(), "Events a second") {
		t.Error("the ratios do not come first")
	}
	if !strings.HasPrefix(string(page), "# Title\n\nby hand\n\n") || !strings.HasSuffix(string(page), "\n\nmore by hand\n") || strings.Contains(string(page), "old") {
		t.Errorf("the page has become:\n%s", page)
	}
	// 500 events know a p99 and no p99.9.
	if !strings.Contains(string(page), "| 100 | 500 | 1.50 | 2.00 | 3.00 | - | 5.00 | 1.00 | 2.00 |") {
		t.Errorf("latencies:\n%s", page)
	}
	again, err := r.Markdown(page)
	if err != nil || string(again) != string(page) {
		t.Errorf("a second time it is another page: %v\n%s", err, again)
	}
	for _, bad := range []string{"", "<!-- bench:end --><!-- bench:begin -->"} {
		if _, err := r.Markdown([]byte(bad)); err == nil {
			t.Errorf("%q has a place for the report", bad)
		}
	}
}

// The page of the repository has a place for the report.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sampleResult().Markdown(page); err != nil {
		t.Error(err)
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999.4: "999", 1000: "1,000", 1234567.6: "1,234,568", -1500: "-1,500", math.NaN(): "-"} {
		if got := count(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}

func TestInfoField(t *testing.T) {
	info := "# Memory\r\nused_memory:1024\r\nused_memory_human:1K\r\n"
	if got := infoField(info, "used_memory"); got != "1024" {
		t.Errorf("%q", got)
	}
	if got := infoField(info, "other"); got != "" {
		t.Errorf("%q", got)
	}
}

func TestProcessUsage(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		if _, err := processUsage(os.Getpid()); err == nil {
			t.Error("there is no /proc, and an answer from it")
		}
		return
	}
	u, err := processUsage(os.Getpid())
	if err != nil || u.rss < 1<<20 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestValidate(t *testing.T) {
	err := Config{Parts: []string{"drain", "sleep"}, Events: 10, Runs: 0, Growth: 1, Backlog: 1}.Validate()
	for _, want := range []string{`no part "sleep"`, "events is 10", "runs is 0", "growth is 1", "backlog is 1", "latency-seconds is 0", "backlog-seconds is 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestPoll(t *testing.T) {
	asked := 0
	err := poll(t.Context(), time.Minute, time.Millisecond, func() (bool, error) {
		asked++
		return asked == 3, nil
	})
	if err != nil || asked != 3 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	never := func() (bool, error) { return false, nil }
	if err := poll(t.Context(), 5*time.Millisecond, time.Millisecond, never); !errors.Is(err, errLate) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := poll(ctx, time.Minute, time.Millisecond, never); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
