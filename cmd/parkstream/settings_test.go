package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// mistake is a setting with a wrong value, and the line that reports it.
type mistake struct{ setting, value, line string }

const (
	noDuration = ": want a duration such as 1m30s or a whole number of seconds"
	noNumber   = ": want a whole number"
	noBool     = ": want true or false"
	noURL      = " is not an http:// or https:// URL with a host"
)

// Mistakes of every process, of every function and of the functions that use Redis.
var (
	ofProcesses = []mistake{
		{"LISTEN", "8080", `LISTEN is "8080", want an address with a port such as :8080 or 127.0.0.1:8080`},
		{"LISTEN_FD", "2", `LISTEN_FD is 2, want the number of an inherited socket, at least 3`},
		{"LOG_FORMAT", "xml", `LOG_FORMAT is "xml", want json or text`},
		{"LOG_LEVEL", "loud", `LOG_LEVEL is "loud", want debug, info, warn or error`},
		{"PPROF_LISTEN", ":6060", `PPROF_LISTEN is ":6060", want a loopback address with a port such as 127.0.0.1:6060: profiles are for this machine alone`},
		{"METRICS_LISTEN", "9091", `METRICS_LISTEN is "9091", want an address with a port such as :9091`},
		{"OTEL_SDK_DISABLED", "perhaps", `OTEL_SDK_DISABLED is "perhaps"` + noBool},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", `OTEL_EXPORTER_OTLP_ENDPOINT` + noURL},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc", want http/protobuf or http/json; collectors take both on port 4318`},
	}
	ofFunctions = append(slices.Clip(ofProcesses), []mistake{
		{"read_timeout", "1", `read_timeout is 1s, want at least exec_timeout, which is 55s`},
		{"write_timeout", "soon", `write_timeout is "soon"` + noDuration},
		{"exec_timeout", "55 s", `exec_timeout is "55 s"` + noDuration},
		{"healthcheck_interval", "-1", `healthcheck_interval is -1s, want 0s or more`},
		{"max_inflight", "many", `max_inflight is "many"` + noNumber},
		{"MAX_BODY_BYTES", "8MB", `MAX_BODY_BYTES is "8MB"` + noNumber},
		{"MAX_BODY_BYTES_IN_FLIGHT", "1", `MAX_BODY_BYTES_IN_FLIGHT is 1, want 0 (a quarter of the memory) or at least 2 times MAX_BODY_BYTES, which is 8388608`},
		{"ACCESS", "ajar", `ACCESS is "ajar", want closed or open`},
		{"PUBLIC_URL", "parking.example", `PUBLIC_URL` + noURL},
		{"OIDC_ISSUER", "login.example", `OIDC_ISSUER` + noURL},
		{"TRUSTED_PROXIES", "gateway", `TRUSTED_PROXIES has "gateway", want addresses and networks such as 10.62.0.0/16`},
		{"REQUESTS_PER_SECOND", "-1", `REQUESTS_PER_SECOND is -1, want 0 to 1000000`},
	}...)
	ofStores = append(slices.Clip(ofFunctions), []mistake{
		{"GATEWAY_URL", "gateway:8080", `GATEWAY_URL` + noURL},
		{"RETENTION", "59m", `RETENTION is 59m0s, want at least 1h`},
		{"MAX_SITES", "0", `MAX_SITES is 0, want 1 to 10000`},
		{"REDIS_REPLICAS", "ten", `REDIS_REPLICAS is "ten"` + noNumber},
		{"REDIS_REPLICAS_TIMEOUT", "8 seconds", `REDIS_REPLICAS_TIMEOUT is "8 seconds"` + noDuration},
	}...)
	ofProcessors = append(slices.Clip(ofStores), []mistake{
		{"SUMMARY_URL", "http://user:hidden@host", `SUMMARY_URL has a password: no secret may be in the environment, and none is asked for there`},
		{"MAX_FUTURE", "1d", `MAX_FUTURE is "1d"` + noDuration},
		{"SHOW_PLATES", "yes", `SHOW_PLATES is "yes"` + noBool},
	}...)
	ofGenerators = append(slices.Clip(ofFunctions), []mistake{
		{"DEFAULT_COUNT", "0", `DEFAULT_COUNT is 0, want 1 to 10000: anyone may make a call without parameters`},
		{"DEFAULT_ABOVE", "most", `DEFAULT_ABOVE is "most"` + noNumber},
		{"DEFAULT_SITE", "of mine", `DEFAULT_SITE: site "of mine" must be 1 to 64 ASCII letters, digits, dots, hyphens or underscores`},
		{"SCHEDULE", "at noon", `SCHEDULE is "at noon", want a cron expression as in the annotation schedule: expected exactly 5 fields, found 2: [at noon]`},
		{"RETENTION", "soon", `RETENTION is "soon"` + noDuration},
		{"REDIS_REPLICAS", "ten", `REDIS_REPLICAS is "ten"` + noNumber},
		{"REDIS_REPLICAS_TIMEOUT", "8 seconds", `REDIS_REPLICAS_TIMEOUT is "8 seconds"` + noDuration},
	}...)
)

// Every program refuses to start with wrong settings, and names each mistake at once,
// under the name that the user wrote.
func TestMistakesOfSettings(t *testing.T) {
	secrets := t.TempDir()
	for name, value := range map[string]string{"redis-url": "redis://127.0.0.1:1/0", "rabbitmq-url": "amqp://127.0.0.1:1/", "summary-token": "t"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for program, mistakes := range map[string][]mistake{
		"function entry-processor": ofProcessors,
		"function exit-processor":  ofProcessors,
		"function entry-generator": ofGenerators,
		"function exit-generator":  ofGenerators,
		"function matcher": append(slices.Clip(ofFunctions), []mistake{
			{"GATEWAY_URL", "gateway", `GATEWAY_URL` + noURL},
			{"SUMMARY_URL", "http://user:hidden@host", `SUMMARY_URL has a password: no secret may be in the environment, and none is asked for there`},
			{"RETENTION", "soon", `RETENTION is "soon"` + noDuration},
			{"MATCH_WINDOW", "23h", `MATCH_WINDOW is 23h0m0s, want 24h0m0s to 744h0m0s`},
			{"SCHEDULE", "at noon", `SCHEDULE is "at noon", want a cron expression as in the annotation schedule: expected exactly 5 fields, found 2: [at noon]`},
			{"REDIS_REPLICAS", "ten", `REDIS_REPLICAS is "ten"` + noNumber},
			{"REDIS_REPLICAS_TIMEOUT", "8 seconds", `REDIS_REPLICAS_TIMEOUT is "8 seconds"` + noDuration},
		}...),
		"function summary": append(slices.Clip(ofStores), []mistake{
			{"CONNECTOR_URL", "ftp://host", `CONNECTOR_URL` + noURL},
			{"IMAGES_URL", "/var/pictures", `IMAGES_URL is not file:///folder or s3://bucket/prefix?region=eu-central-1, or for another server than Amazon's s3://bucket?endpoint=https://host:port`},
			{"IMAGES_TIMEOUT", "3 s", `IMAGES_TIMEOUT is "3 s"` + noDuration},
			{"IMAGE_RETENTION", "1d", `IMAGE_RETENTION is "1d"` + noDuration},
			{"OIDC_ROLES", "guards", `OIDC_ROLES has "guards", want group=role or group=role:site,site`},
		}...),
		"function camera": append(slices.Clip(ofFunctions), []mistake{
			{"ENTRY_QUEUE", strings.Repeat("q", 256), `ENTRY_QUEUE has 256 bytes, want at most 255`},
			{"EXIT_QUEUE", strings.Repeat("q", 256), `EXIT_QUEUE has 256 bytes, want at most 255`},
			{"IMAGES_URL", "/var/pictures", `IMAGES_URL is not file:///folder or s3://bucket/prefix?region=eu-central-1, or for another server than Amazon's s3://bucket?endpoint=https://host:port`},
			{"IMAGES_TIMEOUT", "3 s", `IMAGES_TIMEOUT is "3 s"` + noDuration},
			{"REDIS_REPLICAS", "ten", `REDIS_REPLICAS is "ten"` + noNumber},
			{"REDIS_REPLICAS_TIMEOUT", "8 seconds", `REDIS_REPLICAS_TIMEOUT is "8 seconds"` + noDuration},
		}...),
		"connector": append(slices.Clip(ofProcesses), []mistake{
			{"GATEWAY_URL", "http://user:hidden@gateway", `GATEWAY_URL has a password: put it into the files of basic-auth-user and basic-auth-password`},
			{"REBUILD_INTERVAL", "soon", `REBUILD_INTERVAL is "soon"` + noDuration},
			{"RABBITMQ_CERT_FILE", "file", `RABBITMQ_CERT_FILE and RABBITMQ_KEY_FILE need each other`},
			{"RABBITMQ_HEARTBEAT", "0", `RABBITMQ_HEARTBEAT is 0s, want 1s to 10m0s`},
			{"UPSTREAM_TIMEOUT", "20m", `UPSTREAM_TIMEOUT is 20m0s; the broker's CONSUMER_TIMEOUT of 30m0s asks for at most half of it`},
			{"CONSUMER_TIMEOUT", "half an hour", `CONSUMER_TIMEOUT is "half an hour"` + noDuration},
			{"MAX_ATTEMPTS", "1001", `MAX_ATTEMPTS is 1001, want 1 to 1000`},
			{"LINGER", "2 ms", `LINGER is "2 ms"` + noDuration},
			{"BATCH_BYTES", "4MiB", `BATCH_BYTES is "4MiB"` + noNumber},
			{"MAX_IN_FLIGHT", "0", `MAX_IN_FLIGHT is 0, want 1 to 1000`},
			{"MAX_IN_FLIGHT_SINGLE", "many", `MAX_IN_FLIGHT_SINGLE is "many"` + noNumber},
			{"RETRY_DELAY", "-1", `RETRY_DELAY is -1s, want 1ms to 1h0m0s`},
			{"RETRY_MAX_DELAY", "25h", `RETRY_MAX_DELAY is 25h0m0s, want -1s to 24h0m0s`},
			{"PROBE_DELAY", "soon", `PROBE_DELAY is "soon"` + noDuration},
			{"PROBE_MAX_DELAY", "100ms", `PROBE_MAX_DELAY is 100ms, want 500ms to 1h0m0s`},
			{"MAX_MESSAGE_BYTES", "99999999999", `MAX_MESSAGE_BYTES is 99999999999, want 1 to 1073741824`},
			{"MAX_PREFETCH", "65536", `MAX_PREFETCH is 65536, want 1 to 65535`},
			{"DRAIN_TIMEOUT", "3601", `DRAIN_TIMEOUT is 1h0m1s, want 0s to 1h0m0s`},
		}...),
	} {
		for spelling, spelt := range map[string]func(string) string{
			"as documented":     func(name string) string { return name },
			"in the other case": otherCase,
		} {
			t.Run(program+" "+spelling, func(t *testing.T) {
				environ, want := []string{"SECRETS_DIR=" + secrets, "OIDC_CLIENT_ID=parkstream"}, []string{}
				var names []string
				for _, m := range mistakes {
					environ = append(environ, spelt(m.setting)+"="+m.value)
					names = append(names, m.setting, spelt(m.setting))
				}
				written := strings.NewReplacer(longestFirst(names)...)
				for _, m := range mistakes {
					want = append(want, written.Replace(m.line))
				}
				got := mistakesOf(t, program, environ)
				slices.Sort(want)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("mistakes (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// longestFirst returns pairs in an order in which no name replaces a part of another.
func longestFirst(pairs []string) []string {
	chunks := slices.SortedFunc(slices.Chunk(pairs, 2), func(a, b []string) int { return len(b[0]) - len(a[0]) })
	return slices.Concat(chunks...)
}

func otherCase(name string) string {
	if strings.HasPrefix(name, "OTEL_") { // these are exact
		return name
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, name)
}

// mistakesOf runs one of the programs and returns the lines with which it refuses to
// start.
func mistakesOf(t *testing.T, program string, environ []string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], strings.Fields(program)...)
	cmd.Env = append(slices.Clone(environ), "PARKSTREAM_TEST_CHILD=1", "PATH="+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	first, lines, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n  ")
	if !ok || exit.ExitCode() != 1 || !strings.HasSuffix(first, ": cannot start:") {
		t.Fatalf("%s ends with %v:\n%s", program, err, out)
	}
	return strings.Split(lines, "\n  ")
}
