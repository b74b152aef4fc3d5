package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"parkstream/shared/eventually"
	"parkstream/shared/tracing/tracingtest"
)

// `parkstream up --users` runs Prometheus, which scrapes every process, follows the
// replicas, has the rules, and of latencies the traces as exemplars; it is gone
// when everything else is.
func TestPrometheus(t *testing.T) {
	t.Parallel() // with the other tests that mostly wait
	port := freePort(t)
	collector := tracingtest.New(t)
	s, _ := startClosed(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_BSP_SCHEDULE_DELAY=100"},
		t.TempDir(), "--prometheus", "--prometheus-port", fmt.Sprint(port), "--no-cron")
	prometheus := fmt.Sprintf("http://127.0.0.1:%d", port)
	if !strings.Contains(s.output.String(), prometheus) {
		t.Errorf("its URL is not printed")
	}
	ask := func(path string, v any) error { return get(t, prometheus+path, nil, v) }
	connector := ""
	targets := func(want int) func() error {
		return func() error {
			var got struct {
				Data struct {
					ActiveTargets []struct {
						Labels            map[string]string
						Health, LastError string
					}
				}
			}
			if err := ask("/api/v1/targets", &got); err != nil {
				return err
			}
			for _, target := range got.Data.ActiveTargets {
				if target.Labels["job"] == "parkstream-connector" {
					connector = target.Labels["instance"]
				}
				if target.Health != "up" {
					return fmt.Errorf("%v is %s: %s", target.Labels, target.Health, target.LastError)
				}
			}
			if n := len(got.Data.ActiveTargets); n != want {
				return fmt.Errorf("%d targets, want %d", n, want)
			}
			return nil
		}
	}
	// seven functions, connector, gateway, Prometheus itself
	eventually.Succeeds(t, "ten targets are up", targets(10))
	tryShippedConfigurations(t, s, connector)
	s.call(t, http.MethodPost, "/function/entry-generator?count=10", "")
	query := func(expr string) (float64, error) {
		var got struct {
			Data struct {
				Result []struct{ Value [2]any }
			}
		}
		if err := ask("/api/v1/query?query="+url.QueryEscape(expr), &got); err != nil {
			return 0, err
		}
		if len(got.Data.Result) != 1 {
			return 0, fmt.Errorf("%s has %d results", expr, len(got.Data.Result))
		}
		var v float64
		_, err := fmt.Sscan(fmt.Sprint(got.Data.Result[0].Value[1]), &v)
		return v, err
	}
	for _, expr := range []string{
		`event_type:event_processing_latency_seconds:avg5m{event_type="entry"}`,
		`event_type:parkstream_end_to_end_latency_seconds:p95_5m{event_type="entry"}`,
		`function_stage:parkstream_stage_duration_seconds:avg5m{function="entry-processor",stage="stored"}`,
		`sum(parkstream_site_occupancy)`,
	} {
		eventually.Succeeds(t, "the expression is positive", func() error {
			// Rates need growth between two scrapes.
			s.call(t, http.MethodPost, "/function/entry-generator?count=10", "")
			v, err := query(expr)
			if err == nil && !(v > 0) {
				err = fmt.Errorf("%s is %g", expr, v)
			}
			return err
		})
	}
	if v, err := query(`queue_state:parkstream_connector_queue_messages:max{queue="vehicle_entries",state="dead"}`); err != nil || v != 0 {
		t.Errorf("%g dead letters, error %v", v, err)
	}
	for _, series := range []string{
		`event_processing_latency_seconds_bucket{function="entry-processor"}`,
		`parkstream_stage_duration_seconds_bucket{function="entry-processor",stage="stored"}`,
	} {
		eventually.Succeeds(t, "an exemplar is of a trace", func() error {
			var got struct {
				Data []struct {
					Exemplars []struct{ Labels map[string]string }
				}
			}
			now := time.Now()
			err := ask(fmt.Sprintf("/api/v1/query_exemplars?query=%s&start=%d&end=%d", url.QueryEscape(series), now.Add(-time.Hour).Unix(), now.Unix()+1), &got)
			if err != nil {
				return err
			}
			for _, span := range collector.Spans() {
				for _, found := range got.Data {
					for _, e := range found.Exemplars {
						if e.Labels["trace_id"] == span.Trace && span.Service == "entry-processor" {
							return nil
						}
					}
				}
			}
			return fmt.Errorf("no trace of the collector is an exemplar of %s: %+v", series, got.Data)
		})
	}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+"/system/scale-function/entry-processor", strings.NewReader(`{"replicas":2}`))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("admin", s.secret(t, "basic-auth-password"))
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("scaling is answered with %s", resp.Status)
	}
	eventually.Succeeds(t, "ten targets are up", targets(10))

	s.stop(t)
	if err := ask("/-/ready", new(any)); err == nil {
		t.Error("Prometheus outlives the system")
	}
}
