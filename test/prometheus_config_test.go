package test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
)

// pods stands for the discovery of Kubernetes, which Debian's Prometheus is built
// without: files of targets, one a namespace, with the labels that it gives.
var pods = regexp.MustCompile(`kubernetes_sd_configs:\n +- role: pod\n +namespaces: \{names: \[([a-z-]+)\]\}`)

// credentials is the file of the token for /metrics.
var credentials = regexp.MustCompile(`credentials_file: [^\s}]+`)

// targetGroup is one of Prometheus's files of targets.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// pod returns a container of a pod with the labels of Kubernetes' discovery.
func pod(address string, labels map[string]string) targetGroup {
	g := targetGroup{Targets: []string{address}, Labels: make(map[string]string)}
	for name, value := range labels {
		g.Labels["__meta_kubernetes_pod_"+name] = value
	}
	return g
}

// tryShippedConfigurations starts Prometheus with each configuration of
// deploy/prometheus against a running system; only hosts are other ones. All rules
// are loaded and every target is up.
func tryShippedConfigurations(t *testing.T, s *system, connector string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "deploy", "prometheus", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	jobs := map[string][]string{ // with the targets of each
		"compose.yml": {
			"parkstream-connector", "parkstream-functions camera", "parkstream-functions entry-generator", "parkstream-functions entry-processor",
			"parkstream-functions exit-generator", "parkstream-functions exit-processor", "parkstream-functions matcher", "parkstream-functions summary", "parkstream-gateway", "prometheus",
		},
		"faasd.yml": {
			"gateway", "parkstream-connector", "parkstream-functions camera", "parkstream-functions entry-generator", "parkstream-functions entry-processor",
			"parkstream-functions exit-generator", "parkstream-functions exit-processor", "parkstream-functions matcher", "parkstream-functions summary", "prometheus", "provider",
		},
		"kubernetes.yml": {
			"parkstream-connector", "parkstream-functions camera", "parkstream-functions entry-generator", "parkstream-functions entry-processor",
			"parkstream-functions exit-generator", "parkstream-functions exit-processor", "parkstream-functions matcher", "parkstream-functions summary",
		},
	}
	tried := 0
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasSuffix(name, ".rules.yml") || name == "tests.yml" {
			continue
		}
		tried++
		t.Run(name, func(t *testing.T) { tryConfiguration(t, s, connector, file, jobs[name]) })
	}
	if tried != len(jobs) {
		t.Errorf("%d configurations were tried, want %d", tried, len(jobs))
	}
}

func tryConfiguration(t *testing.T, s *system, connector, file string, want []string) {
	t.Helper()
	dir := t.TempDir()
	self := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	gateway := strings.TrimPrefix(s.gateway, "http://")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer(
		"127.0.0.1:8080", gateway, "127.0.0.1:8083", connector, "127.0.0.1:9090", self,
		"gateway:8080", gateway, "gateway:8082", gateway, "faasd-provider:8081", gateway,
		"rabbitmq-connector:8083", connector, "localhost:9090", self, "_interval: 15s", "_interval: 1s",
	).Replace(string(text))
	config = credentials.ReplaceAllString(config, "credentials_file: "+filepath.Join(s.dir, "secrets", "metrics-token"))
	if filepath.Base(file) == "kubernetes.yml" {
		// METRICS_LISTEN is one address, and all functions are on one machine: they are
		// scraped as the file describes it without that setting.
		job := "  - job_name: parkstream-functions\n"
		config = strings.Replace(config, job, job+"    authorization: {credentials_file: "+filepath.Join(s.dir, "secrets", "metrics-token")+"}\n", 1)
	}
	config = pods.ReplaceAllString(config, "file_sd_configs:\n      - files: [$1.json]")
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prometheus.yml", []byte(config))
	for namespace, groups := range podsOf(t, s, connector) {
		list, err := json.Marshal(groups)
		if err != nil {
			t.Fatal(err)
		}
		write(namespace+".json", list)
	}
	rules := 0
	for _, name := range []string{"recording.rules.yml", "alerts.rules.yml"} {
		text := read(t, "deploy/prometheus/"+name)
		rules += len(regexp.MustCompile(`(?m)^ +- (record|alert): `).FindAllString(text, -1))
		write(name, []byte(text))
	}

	promtool, err := instance.Promtool()
	if err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), promtool, "check", "config", "prometheus.yml")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	program, err := instance.Prometheus()
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	cmd := exec.CommandContext(t.Context(), program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+self)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus printed:\n%s", log.String())
		}
	}()
	eventually.Succeeds(t, "every rule is healthy", func() error {
		var got struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if err := get(t, "http://"+self+"/api/v1/rules", nil, &got); err != nil {
			return err
		}
		loaded := 0
		for _, g := range got.Data.Groups {
			for _, r := range g.Rules {
				if loaded++; r.Health != "ok" {
					return fmt.Errorf("rule %s is %s %s", r.Name, r.Health, r.LastError)
				}
			}
		}
		if loaded != rules || rules == 0 {
			return fmt.Errorf("%d rules are loaded, want %d", loaded, rules)
		}
		return nil
	})
	eventually.Succeeds(t, "every target is up", func() error {
		var got struct {
			Data struct {
				ActiveTargets []struct {
					Labels            map[string]string
					Health, LastError string
				}
			}
		}
		if err := get(t, "http://"+self+"/api/v1/targets", nil, &got); err != nil {
			return err
		}
		var up []string
		for _, target := range got.Data.ActiveTargets {
			if target.Health != "up" {
				return fmt.Errorf("%v is %s: %s", target.Labels, target.Health, target.LastError)
			}
			up = append(up, strings.TrimSpace(target.Labels["job"]+" "+target.Labels["function"]))
		}
		if slices.Sort(up); !slices.Equal(up, want) {
			return fmt.Errorf("targets are %q, want %q", up, want)
		}
		return nil
	})
}

// podsOf returns the pods of a system, and others, as Kubernetes' discovery would.
func podsOf(t *testing.T, s *system, connector string) map[string][]targetGroup {
	t.Helper()
	var replicas []targetGroup
	password := s.secret(t, "basic-auth-password")
	if err := get(t, s.gateway+"/system/prometheus-targets", func(r *http.Request) { r.SetBasicAuth("admin", password) }, &replicas); err != nil {
		t.Fatal(err)
	}
	const nowhere = "127.0.0.1:1"
	functions := []targetGroup{
		pod(nowhere, map[string]string{"label_faas_function": "figlet", "container_port_number": "8080"}),
		pod(nowhere, map[string]string{"label_app_kubernetes_io_part_of": "parkstream", "label_faas_function": "summary", "container_port_number": "8081"}),
	}
	for _, r := range replicas {
		for _, address := range r.Targets {
			functions = append(functions, pod(address, map[string]string{
				"label_app_kubernetes_io_part_of": "parkstream", "label_faas_function": r.Labels["function"], "container_port_number": "8080",
			}))
		}
	}
	ours := map[string]string{"label_app_kubernetes_io_name": "rabbitmq-connector", "container_port_name": "http"}
	sidecar := maps.Clone(ours)
	sidecar["container_port_name"] = "proxy"
	return map[string][]targetGroup{
		"openfaas-fn": functions,
		"openfaas": {
			pod(nowhere, map[string]string{"label_app_kubernetes_io_name": "gateway", "container_port_name": "http"}),
			pod(nowhere, sidecar), pod(connector, ours),
		},
	}
}

// get reads a JSON answer.
func get(t *testing.T, url string, prepare func(*http.Request), v any) error {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if prepare != nil {
		prepare(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s is answered with %s: %s", url, resp.Status, text)
	}
	return json.Unmarshal(text, v)
}
