package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"parkstream/connectors/rabbitmq"
)

// The connector's port is the same in the program, the configurations and the
// documentation, and is not one of faasd's.
func TestConnectorPort(t *testing.T) {
	for _, taken := range []int{
		8080, 8081, 8082, // gateway, provider, metrics of the gateway
		9090, 4222, 8222, // Prometheus, NATS
	} {
		if rabbitmq.DefaultPort == taken {
			t.Errorf("faasd uses port %d itself", taken)
		}
	}
	want := strconv.Itoa(rabbitmq.DefaultPort)
	for _, tt := range []struct {
		file, port string // a pattern with one group
		uses       int
	}{
		{"docs/settings.md", `\| .LISTEN. \| .*127\.0\.0\.1:(\d+)`, 1},
		{"docs/settings.md", `rabbitmq-connector[.\w]*:(\d+)`, 1},
		{"docs/operations.md", `[^_]LISTEN=:(\d+)`, 1},
		{"docs/deploy-faasd.md", `[^_]LISTEN=[\d.]*:(\d+)`, 2},
		{"docs/deploy-faasd.md", `CONNECTOR_URL=\S+:(\d+)`, 1},
		{"stack.yml", `rabbitmq-connector[.\w]*:(\d+)`, 1},
		{"deploy/prometheus/faasd.yml", `"rabbitmq-connector:(\d+)"`, 1},
	} {
		text, err := os.ReadFile("../../" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(tt.port).FindAllStringSubmatch(string(text), -1)
		for _, m := range found {
			if m[1] != want {
				t.Errorf("%s has %s, want port %s", tt.file, m[0], want)
			}
		}
		if len(found) < tt.uses {
			t.Errorf("%s does not mention %s", tt.file, tt.port)
		}
	}
}
