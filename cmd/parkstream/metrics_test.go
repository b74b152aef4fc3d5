package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"parkstream/cmd/internal/gateway"
	"parkstream/connectors/rabbitmq"
	"parkstream/shared/eventually"
	"parkstream/shared/faas"
	"parkstream/shared/process"
)

// family is a metric as the documentation describes it.
type family struct {
	Type   string
	Labels []string // sorted
	Of     []string // kinds of processes, sorted
}

// kinds are the processes as docs/metrics.md calls them.
var kinds = map[string]string{
	"entry-processor": "processors", "exit-processor": "processors",
	"entry-generator": "generators", "exit-generator": "generators",
	"camera": "camera", "matcher": "matcher", "summary": "summary", "connector": "connector", "gateway": "gateway",
}

// What the processes register is what docs/metrics.md lists: no more, no less.
func TestMetricsAreDocumented(t *testing.T) {
	documented := readMetricsPage(t)
	registered := make(map[string]family)
	for process, registry := range registries(t) {
		for name, labels := range described(t, registry) {
			f := registered[name]
			if f.Of != nil && !slices.Equal(f.Labels, labels) {
				t.Errorf("%s has the labels %q in one process and %q in another", name, f.Labels, labels)
			}
			f.Labels = labels
			if kind := kinds[process]; !slices.Contains(f.Of, kind) {
				f.Of = append(f.Of, kind)
				slices.Sort(f.Of)
			}
			registered[name] = f
		}
		families, err := registry.Gather()
		if err != nil {
			t.Errorf("gather the metrics of %s: %v", process, err)
		}
		for _, g := range families {
			if f, ours := registered[g.GetName()]; ours {
				f.Type = strings.ToLower(g.GetType().String())
				registered[g.GetName()] = f
			}
		}
	}
	for name, f := range registered {
		switch {
		case f.Type == "": // it has no series yet
			f.Type = documented[name].Type
			registered[name] = f
		case (f.Type == "counter") != strings.HasSuffix(name, "_total"):
			t.Errorf("%s is a %s", name, f.Type)
		}
	}
	if diff := cmp.Diff(documented, registered); diff != "" {
		t.Errorf("docs/metrics.md (-) and the processes (+) differ:\n%s", diff)
	}
}

var ourMetric = regexp.MustCompile(`^(parkstream_|event_)`)

func readMetricsPage(t *testing.T) map[string]family {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := func(cell string) []string {
		var words []string
		for word := range strings.SplitSeq(cell, ",") {
			if word = strings.Trim(word, " `"); word != "" {
				words = append(words, word)
			}
		}
		slices.Sort(words)
		return words
	}
	documented := make(map[string]family)
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.Trim(cells[0], " `")
		if len(cells) != 6 || !ourMetric.MatchString(name) {
			continue
		}
		for i, cell := range cells {
			if i != 2 && strings.TrimSpace(cell) == "" {
				t.Errorf("%s: column %d is empty", name, i+1)
			}
		}
		documented[name] = family{Type: strings.TrimSpace(cells[1]), Labels: list(cells[2]), Of: list(cells[4])}
	}
	return documented
}

var description = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(?:[^"\\]|\\.)+",.* constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// described returns the labels of our metrics by name, including metrics without
// series.
func described(t *testing.T, registry *prometheus.Registry) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	found := make(map[string][]string)
	for d := range descs {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Errorf("a metric without a help text, or one that this test cannot read: %s", d)
			continue
		}
		if !ourMetric.MatchString(m[1]) {
			continue
		}
		var labels []string
		for label := range strings.SplitSeq(m[2]+","+m[3], ",") {
			if name, _, _ := strings.Cut(label, "="); name != "" {
				labels = append(labels, name)
			}
		}
		slices.Sort(labels)
		found[m[1]] = labels
	}
	return found
}

// registries starts every kind of process without anything that it needs, and
// returns their metrics.
func registries(t *testing.T) map[string]*prometheus.Registry {
	t.Helper()
	secrets := t.TempDir()
	for name, value := range map[string]string{
		"redis-url": "redis://127.0.0.1:1/0", "rabbitmq-url": "amqp://guest:guest@127.0.0.1:1/", "summary-token": "t",
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := make(map[string]*prometheus.Registry)
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		all[name] = functionRegistry(t, name, secrets)
	}

	settings, err := rabbitmq.SettingsFrom([]string{"SECRETS_DIR=" + secrets, "GATEWAY_URL=http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	all["connector"] = prometheus.NewRegistry()
	c, err := rabbitmq.New(rabbitmq.Config{Settings: settings, Registerer: all["connector"]})
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) { c.Run(ctx) })
	eventually.Succeeds(t, "the connector runs", func() error { // its connections are made when it runs
		if _, found := described(t, all["connector"])["parkstream_amqp_connected"]; !found {
			return fmt.Errorf("the connector does not run yet")
		}
		return nil
	})

	p, err := process.New(process.Options{Name: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	all["gateway"] = p.Registerer.(*prometheus.Registry)
	g := gateway.New(gateway.Config{Process: p, Notify: func(string) {}})
	t.Cleanup(func() { _ = g.Close() })
	return all
}

func functionRegistry(t *testing.T, name, secrets string) *prometheus.Registry {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wired := make(chan *prometheus.Registry, 1)
	background(t, func(ctx context.Context) {
		o := process.Options{Name: name, Environ: []string{"ACCESS=open", "SECRETS_DIR=" + secrets, "IMAGES_URL=file://" + t.TempDir()}, Listener: l}
		err := faas.Run(ctx, o, func(rt *faas.Runtime) error {
			wired <- rt.Registerer.(*prometheus.Registry)
			return functions[name].wire(rt)
		}, functions[name].handle)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	eventually.Succeeds(t, "the gateway answers", func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/_/health", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	return <-wired
}

// background runs what until the end of the test.
func background(t *testing.T, what func(context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		what(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// writer returns a function that writes a file into dir and returns its path.
func writer(t *testing.T, dir string) func(name, text string) string {
	return func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}
