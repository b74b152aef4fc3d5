package process

import (
	"errors"
	"fmt"
	"strings"

	"parkstream/shared/tracing"
)

// tracingSettings choose the collector of spans, if there is one. The names are
// OpenTelemetry's. The SDK reads its other variables (OTEL_TRACES_SAMPLER,
// OTEL_BSP_SCHEDULE_DELAY and so on) from the environment of the process itself.
type tracingSettings struct {
	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT"`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf"`
	Exporter       string `env:"OTEL_TRACES_EXPORTER" envDefault:"otlp"`
	Disabled       bool   `env:"OTEL_SDK_DISABLED" envDefault:"false"`
}

// Validate reports every mistake.
func (s tracingSettings) Validate() error {
	if s.url() == "" {
		return nil
	}
	errs := []error{
		CheckURL("OTEL_EXPORTER_OTLP_ENDPOINT", s.Endpoint, tracing.HeadersSecret),
		CheckURL("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", s.TracesEndpoint, tracing.HeadersSecret),
	}
	if s.Protocol != "http/protobuf" && s.Protocol != "http/json" {
		errs = append(errs, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q, want http/protobuf or http/json; collectors take both on port 4318", s.Protocol))
	}
	if s.Exporter != "otlp" {
		errs = append(errs, fmt.Errorf("OTEL_TRACES_EXPORTER is %q, want otlp or none", s.Exporter))
	}
	return errors.Join(errs...)
}

// url returns where spans are sent; empty if tracing is off.
func (s tracingSettings) url() string {
	switch {
	case s.Disabled || s.Exporter == "none":
		return ""
	case s.TracesEndpoint != "" || s.Endpoint == "":
		return s.TracesEndpoint
	}
	return strings.TrimSuffix(s.Endpoint, "/") + "/v1/traces"
}

// trace is the first to call OnClose. Its function runs last and sends the spans of the
// others, too.
func (p *Process) trace() error {
	url := p.settings.Tracing.url()
	if url == "" {
		return nil
	}
	provider, stop, err := tracing.New(tracing.Config{
		URL: url, Service: p.Name, Headers: p.Secret(tracing.HeadersSecret).Value, Log: p.Log,
	})
	if err != nil {
		return err
	}
	p.OnClose("tracing", stop)
	p.Traces = provider
	return nil
}
