package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"parkstream/shared/faas"
	"parkstream/shared/tracing"
	"parkstream/shared/version"
)

// processName is the connector's in logs and traces.
const processName = "rabbitmq-connector"

// DefaultPort is where health and metrics are served. faasd has 8080 for its
// gateway, 8081 for its provider and 8082 for the gateway's metrics.
const DefaultPort = 8083

// defaultListen is the default of LISTEN.
var defaultListen = fmt.Sprintf("127.0.0.1:%d", DefaultPort)

// process are the settings that only the program has.
type process struct {
	Listen      string     `env:"LISTEN"` // defaultListen if it is empty
	LogLevel    slog.Level `env:"LOG_LEVEL" envDefault:"info"`
	LogFormat   string     `env:"LOG_FORMAT" envDefault:"text"`
	PprofListen string     `env:"PPROF_LISTEN"`
	Tracing     tracing.Settings
}

func (p process) validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(p.Listen); err != nil {
		errs = append(errs, fmt.Errorf("LISTEN is %q; it takes an address such as %s", p.Listen, defaultListen))
	}
	if p.LogFormat != "text" && p.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("LOG_FORMAT is %q; it takes text or json", p.LogFormat))
	}
	errs = append(errs, faas.CheckProfileAddress("PPROF_LISTEN", p.PprofListen), p.Tracing.Validate())
	return errors.Join(errs...)
}

// Main is the program: it reads its settings from the environment and its
// secrets from files, works until SIGTERM, SIGINT or SIGHUP, drains, and returns
// the exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), faas.StopSignals()...)
	defer stop()
	if err := run(ctx, os.Environ(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func run(ctx context.Context, environ []string, out io.Writer) error {
	settings, err := SettingsFrom(environ)
	p := process{Listen: defaultListen}
	perr := env.ParseWithOptions(&p, env.Options{Environment: upperCase(environ)})
	if err := errors.Join(err, perr, p.validate()); err != nil {
		return fmt.Errorf("the connector's settings are wrong:\n%w", err)
	}
	log := faas.NewLogger(out, p.LogFormat, p.LogLevel).With("process", processName)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	traces, stopTracing, err := tracing.New(tracing.Config{
		Settings: p.Tracing, Service: processName, Log: log,
		Headers: func() (string, error) { return settings.secret(tracing.HeadersSecret) },
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := stopTracing(context.Background()); err != nil {
			log.Warn("could not close cleanly", "what", "tracing", "error", err)
		}
	}()
	defer faas.ServeProfiles(p.PprofListen, log)()
	c, err := New(Config{Settings: settings, Registerer: registry, Log: log, Traces: traces})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return fmt.Errorf("listen for /readyz and /metrics (setting LISTEN): %w", err)
	}
	server := &http.Server{Handler: routes(c, registry), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("connector started", "version", version.Version(), "revision", version.Revision(), "gateway", settings.GatewayURL, "listen", listener.Addr().String())
	c.Run(ctx)
	_ = server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve /readyz and /metrics: %w", err)
	}
	return nil
}

func routes(c *Connector, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", c.Handler())
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry, EnableOpenMetrics: true}))
	return mux
}
