package rabbitmq

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"parkstream/shared/process"
	"parkstream/shared/version"
)

// processName is the connector's in logs and traces.
const processName = "rabbitmq-connector"

// DefaultPort is where health and metrics are served. faasd has 8080 for its
// gateway, 8081 for its provider and 8082 for the gateway's metrics.
const DefaultPort = 8083

// stopGrace bounds the wait for requests of health and metrics at the end. A stop takes at
// most DRAIN_TIMEOUT, this and some tenths of a second, with the default less than the 30
// seconds that orchestrators give, if the broker and the collector of spans answer. If they
// do not, closing the connections and sending the last spans takes up to 9 seconds more;
// no message is lost when the process is killed meanwhile.
const stopGrace = time.Second

// Main is the program: it works until SIGTERM, SIGINT or SIGHUP, drains, and returns
// the exit code; see [process.Main].
func Main() int { return process.Main(processName, run) }

func run(ctx context.Context, environ []string, log io.Writer) error {
	return process.Run(ctx, process.Options{
		Name: processName, Environ: environ, Log: log,
		Defaults: []string{fmt.Sprintf("LISTEN=127.0.0.1:%d", DefaultPort), "LOG_FORMAT=text"},
	}, wire)
}

func wire(p *process.Process) (process.Service, error) {
	var settings Settings
	if err := p.Settings(&settings); err != nil {
		return process.Service{}, err
	}
	c, err := New(Config{Settings: settings, Registerer: p.Registerer, Log: p.Log, Traces: p.Traces})
	if err != nil {
		return process.Service{}, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", c.Handler())
	mux.Handle("GET /metrics", p.Metrics())
	return process.Service{Handler: mux, Grace: stopGrace, Work: func(ctx context.Context) {
		p.Log.Info("connector started", "version", version.Version(), "revision", version.Revision(), "listen", p.Listen(), "gateway", settings.GatewayURL)
		c.Run(ctx)
	}}, nil
}
