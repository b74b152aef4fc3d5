package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"parkstream/cmd/internal/gateway"
	"parkstream/cmd/internal/secrets"
	"parkstream/cmd/internal/supervise"
	"parkstream/deploy"
	"parkstream/shared/instance"
)

const (
	// prometheusPort is the usual port of Prometheus.
	prometheusPort = 9090
	prometheusFile = "prometheus.yml"
	// prometheusGrace is enough for Prometheus to write its memory to disk.
	prometheusGrace = 20 * time.Second
)

// prometheusConfig discovers the replicas of the functions through the gateway. Password
// and token are in files.
var prometheusConfig = template.Must(template.New("prometheus.yml").Parse(`# Written by "parkstream up" at each start.
global:
  scrape_interval: 5s
  scrape_timeout: 4s
  evaluation_interval: 5s
rule_files: ["*.rules.yml"]
scrape_configs:
  - job_name: parkstream-functions
    honor_labels: true # a metric's own label "function" is the function it is about
    http_sd_configs:
      - url: {{printf "%q" .Targets}}
        refresh_interval: 5s
        basic_auth:
          username: {{printf "%q" .User}}
          password_file: {{printf "%q" .PasswordFile}}
    authorization:
      credentials_file: {{printf "%q" .TokenFile}}
  - job_name: parkstream-connector
    static_configs:
      - targets: [{{printf "%q" .Connector}}]
  - job_name: parkstream-gateway
    static_configs:
      - targets: [{{printf "%q" .Gateway}}]
  - job_name: prometheus
    static_configs:
      - targets: [{{printf "%q" .Self}}]
`))

// PrometheusURL returns the URL of Prometheus, "" if it does not run.
func (s *System) PrometheusURL() string { return s.prometheusURL }

// choosePrometheusPort returns an error if the configured port is in use.
func (s *System) choosePrometheusPort() error {
	if !s.Prometheus || !instance.PrometheusInstalled() {
		return nil
	}
	asked := s.PrometheusPort != 0
	if !asked {
		s.PrometheusPort = prometheusPort
	}
	l, err := net.Listen("tcp", s.prometheusAddr())
	switch {
	case err == nil:
		return l.Close()
	case asked:
		return fmt.Errorf("the port of Prometheus: %w; choose another one with --prometheus-port", err)
	default:
		s.PrometheusPort, err = freePort()
		return err
	}
}

func (s *System) prometheusAddr() string { return fmt.Sprintf("127.0.0.1:%d", s.PrometheusPort) }

// startPrometheus keeps Prometheus running if it is wanted and installed.
func (s *System) startPrometheus() error {
	if !s.Prometheus {
		return nil
	}
	program, err := instance.Prometheus()
	if errors.Is(err, instance.ErrNotInstalled) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Say("starting Prometheus")
	dir := filepath.Join(s.Dir, "prometheus")
	if err := s.configurePrometheus(dir); err != nil {
		return fmt.Errorf("configure Prometheus: %w", err)
	}
	file, err := s.openLog("prometheus")
	if err != nil {
		return err
	}
	child := &supervise.Child{
		Name: "Prometheus",
		Command: func() *exec.Cmd {
			// Paths are relative to its folder, in which it runs: it takes the path of the
			// rules for a pattern.
			cmd := exec.Command(program,
				"--config.file="+prometheusFile, "--storage.tsdb.path=data",
				"--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=1GB",
				"--enable-feature=exemplar-storage",
				"--web.listen-address="+s.prometheusAddr(),
			)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
			return cmd
		},
		Output: file, Grace: prometheusGrace, Notify: s.notify,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		child.Run(ctx)
	}()
	s.onStop("Prometheus", func() error {
		cancel()
		<-done
		return file.Close()
	})
	s.prometheusURL = "http://" + s.prometheusAddr()
	return nil
}

// configurePrometheus writes its configuration and our rules into dir.
func (s *System) configurePrometheus(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	rules, err := fs.Glob(deploy.Prometheus, "prometheus/*.rules.yml")
	if err != nil {
		return err
	}
	for _, name := range rules {
		text, err := deploy.Prometheus.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), text, 0o600); err != nil {
			return err
		}
	}
	targets, err := url.JoinPath(s.URL(), gateway.TargetsPath)
	if err != nil {
		return err
	}
	user, err := secrets.Ensure(s.Secrets(), "basic-auth-user", nil)
	if err != nil {
		return err
	}
	var text strings.Builder
	err = prometheusConfig.Execute(&text, map[string]string{
		"Targets": targets, "User": user, "PasswordFile": "../secrets/basic-auth-password", "TokenFile": "../secrets/" + secrets.MetricsToken,
		"Connector": s.connectorAddr(), "Gateway": s.listener.Addr().String(), "Self": s.prometheusAddr(),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, prometheusFile), []byte(text.String()), 0o600)
}
