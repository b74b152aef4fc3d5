package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"parkstream/shared/instance"
)

// promtool runs it in deploy/prometheus, fails the test with what it prints, and
// returns that.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	program, err := instance.Promtool()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = "prometheus"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPrometheus(t *testing.T) {
	files, err := filepath.Glob("prometheus/*.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	// Debian's Prometheus is built without Kubernetes; the test of the whole system
	// loads kubernetes.yml with targets of another kind.
	for _, config := range []string{"faasd.yml", "compose.yml"} {
		if out := promtool(t, "check", "config", withToken(t, config, files)); strings.Count(out, "rules found") != len(files) {
			t.Errorf("%s does not load the rules of each of %q:\n%s", config, files, out)
		}
	}
	promtool(t, "test", "rules", "tests.yml")
}

// credentials are where a configuration has its token, with which functions are scraped.
var credentials = regexp.MustCompile(`(?m)^    authorization: \{credentials_file: (/\S+)\}`)

// withToken returns a copy of a configuration, beside copies of its rules, whose token is
// there: promtool looks for the file.
func withToken(t *testing.T, config string, rules []string) string {
	t.Helper()
	dir, text := t.TempDir(), read(t, "prometheus/"+config)
	m := credentials.FindAllStringSubmatch(text, -1)
	if len(m) != 1 {
		t.Fatalf("%s has %d files of credentials, want that of the functions", config, len(m))
	}
	token := filepath.Join(dir, "token")
	text = strings.ReplaceAll(text, m[0][1], token)
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(token, "of no one")
	write(filepath.Join(dir, config), text)
	for _, file := range rules {
		write(filepath.Join(dir, filepath.Base(file)), read(t, file))
	}
	return filepath.Join(dir, config)
}

// Each configuration sends its token to the functions only, from a file that its
// deployment mounts.
func TestScrapeTokens(t *testing.T) {
	for config, mount := range map[string]string{
		"compose.yml": "prometheus-token:/secrets:ro",
		"faasd.yml":   "target: /etc/prometheus/metrics-token",
	} {
		_, jobs, _ := strings.Cut(read(t, "prometheus/"+config), "\nscrape_configs:\n")
		for job := range strings.SplitSeq(jobs, "- job_name: ") {
			if name, _, _ := strings.Cut(job, "\n"); strings.Contains(job, "\n    authorization:") != (name == "parkstream-functions") {
				t.Errorf("%s: the job %s sends a token, or the functions' does not", config, name)
			}
		}
		if !strings.Contains(read(t, "compose.full.yaml")+read(t, "prometheus/faasd.yml"), mount) {
			t.Errorf("%s: nothing mounts the token: %s", config, mount)
		}
	}
	// On Kubernetes there is a port for it, which has no login.
	if text := read(t, "prometheus/kubernetes.yml"); credentials.MatchString(text) {
		t.Error("kubernetes.yml sends a token to a port that needs none")
	}
}

// Every alert has a test: it fires where it should.
func TestAlertsAreTested(t *testing.T) {
	tests := read(t, "prometheus/tests.yml")
	alerts := regexp.MustCompile(`(?m)- alert: (\w+)`).FindAllStringSubmatch(read(t, "prometheus/alerts.rules.yml"), -1)
	for _, m := range alerts {
		if !regexp.MustCompile(`alertname: ` + m[1] + `\s+eval_time: \w+\s+exp_alerts:\s+- exp_labels`).MatchString(tests) {
			t.Errorf("no test has %s fire", m[1])
		}
		if !strings.Contains(read(t, "../docs/operations.md"), "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not mention %s", m[1])
		}
	}
	if len(alerts) == 0 {
		t.Error("there are no alerts")
	}
}

// dashboard is what the test reads of Grafana's JSON.
type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID         int    `json:"id"`
	Type       string `json:"type"`
	Title      string `json:"title"`
	Datasource struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

var (
	intervals = regexp.MustCompile(`\$__(rate_interval|range|interval)`)
	variables = regexp.MustCompile(`\$\{?(\w+)\}?`)
	texts     = regexp.MustCompile(`"[^"]*"`)
	// metrics are our metrics in an expression, and what recording rules make.
	metrics = regexp.MustCompile(`\b(?:\w*:[\w:]*|(?:parkstream|event|process|go|up|promhttp)_\w+|up)\b`)
	labels  = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left)\s*\([^)]*\)|\{[^}]*\}`)
)

// Prometheus can read every expression of every dashboard, and what it asks for
// exists.
func TestDashboards(t *testing.T) {
	known := knownMetrics(t)
	files, err := filepath.Glob("grafana/dashboards/*.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("dashboards %q, error %v", files, err)
	}
	var rules strings.Builder
	rules.WriteString("groups: [{name: dashboards, rules: [\n")
	seen := make(map[string]bool)
	for _, file := range files {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, file)), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || seen[d.UID] {
			t.Errorf("%s: uid %q is empty or there already", file, d.UID)
		}
		seen[d.UID] = true
		ids, defined := make(map[int]bool), make(map[string]bool)
		for _, v := range d.Templating.List {
			defined[v.Name] = true
			if v.Definition != "" {
				check(t, file, v.Definition, known)
			}
		}
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", file, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: panel %q asks nothing, or not the chosen datasource", file, p.Title)
			}
			for _, target := range p.Targets {
				expr := intervals.ReplaceAllString(target.Expr, "5m")
				for _, m := range variables.FindAllStringSubmatch(expr, -1) {
					if !defined[m[1]] {
						t.Errorf("%s: panel %q uses $%s, which is not defined", file, p.Title, m[1])
					}
				}
				expr = variables.ReplaceAllString(expr, ".*")
				check(t, file+": "+p.Title, expr, known)
				fmt.Fprintf(&rules, "{record: 'x%d:y', expr: '%s'},\n", rules.Len(), strings.ReplaceAll(expr, "'", "''"))
			}
		}
	}
	rules.WriteString("]}]\n")
	generated := filepath.Join(t.TempDir(), "dashboards.rules.yml")
	if err := os.WriteFile(generated, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", generated)
}

// What rules ask for exists, too.
func TestRulesAskForWhatExists(t *testing.T) {
	known := knownMetrics(t)
	for _, file := range []string{"prometheus/recording.rules.yml", "prometheus/alerts.rules.yml"} {
		exprs := regexp.MustCompile(`(?ms)^ +expr: (?:>-)?(.*?)(?:^ +(?:- |for:|#)|^$|\z)`).FindAllStringSubmatch(read(t, file), -1)
		if len(exprs) < 8 {
			t.Errorf("%s: %d expressions", file, len(exprs))
		}
		for _, m := range exprs {
			check(t, file, m[1], known)
		}
	}
}

func check(t *testing.T, where, expr string, known map[string]bool) {
	t.Helper()
	found := metrics.FindAllString(labels.ReplaceAllString(texts.ReplaceAllString(expr, ""), ""), -1)
	if len(found) == 0 {
		t.Errorf("%s: no metric in %s", where, expr)
	}
	for _, name := range found {
		if !known[name] {
			t.Errorf("%s: %s asks for %s, which is neither in docs/metrics.md nor a recording rule", where, expr, name)
		}
	}
}

// knownMetrics are those that a process exposes or a rule records.
func knownMetrics(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{"up": true, "process_cpu_seconds_total": true, "process_resident_memory_bytes": true}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(read(t, "../docs/metrics.md"), -1) {
		if m[2] == "histogram" {
			known[m[1]+"_bucket"], known[m[1]+"_sum"], known[m[1]+"_count"] = true, true, true
		} else {
			known[m[1]] = true
		}
	}
	if len(known) < 40 {
		t.Fatalf("docs/metrics.md has only %d metrics", len(known))
	}
	for _, m := range regexp.MustCompile(`(?m)- record: (\S+)`).FindAllStringSubmatch(read(t, "prometheus/recording.rules.yml"), -1) {
		known[m[1]] = true
	}
	return known
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
