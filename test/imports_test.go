package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is who may import whom among our own packages, beside standard
// library and modules. A trailing slash means the folders below.
var mayImport = []struct {
	who  string
	whom []string
}{
	{"docs/api", nil},
	{"docs/api/apitest", []string{"docs/api"}},
	{"shared/parking", nil},
	{"shared/batch", nil},
	{"shared/broker", []string{"shared/failure", "shared/restart"}},
	{"shared/restart", nil},
	{"shared/schedule", []string{"shared/failure", "shared/redis"}},
	{"shared/broker/brokertest", nil},
	{"shared/redirect", nil},
	{"shared/failure", nil},
	{"shared/latency", nil},
	{"shared/tracing", nil},
	{"shared/tracing/tracingtest", nil},
	{"shared/version", nil},
	{"shared/process", []string{"shared/tracing"}},
	{"shared/access", []string{"shared/httpjson", "shared/parking", "shared/process"}},
	{"shared/faas", []string{"shared/access", "shared/latency", "shared/process", "shared/tracing"}},
	{"shared/faas/faastest", []string{"shared/faas", "shared/process"}},
	{"shared/instance", nil},
	{"shared/instance/instancetest", []string{"shared/instance"}},
	{"shared/eventually", nil},
	{"shared/pipeline", []string{"shared/parking", "shared/batch", "shared/failure", "shared/httpjson", "shared/latency", "shared/tracing"}},
	{"shared/redis", []string{"shared/tracing"}},
	{"shared/redis/redistest", nil},
	{"shared/timeline", []string{"shared/failure", "shared/parking", "shared/redis"}},
	{"shared/stay", []string{"shared/parking", "shared/redis"}},
	{"shared/review", []string{"shared/failure", "shared/parking", "shared/timeline"}},
	{"shared/access/session", []string{"shared/access"}},
	{"shared/access/oidc", []string{"shared/access", "shared/access/session", "shared/parking", "shared/process", "shared/redirect", "shared/restart"}},
	{"shared/access/oidc/providertest", nil},
	{"shared/access/ended", []string{"shared/redis"}},
	{"shared/audit", []string{"shared/access", "shared/parking", "shared/redis"}},
	{"shared/site", []string{"shared/parking", "shared/probe", "shared/redis"}},
	{"shared/model", []string{"shared/parking", "shared/redis"}},
	{"shared/camera", []string{"shared/parking", "shared/site"}},
	{"shared/camera/webhook", []string{"shared/access", "shared/broker", "shared/camera", "shared/camera/health", "shared/faas", "shared/failure", "shared/httpjson", "shared/image", "shared/latency", "shared/parking", "shared/process", "shared/redis", "shared/site", "shared/tracing"}},
	{"shared/camera/health", []string{"shared/parking", "shared/probe", "shared/redis", "shared/site"}},
	{"shared/image", []string{"shared/parking", "shared/process"}},
	{"shared/simulate", []string{"shared/parking"}},
	{"shared/evaluate", []string{"shared/parking", "shared/pipeline", "shared/simulate"}},
	{"shared/probe", nil},
	{"shared/httpjson", nil},
	{"shared/gateway", []string{"shared/failure", "shared/probe", "shared/redirect"}},
	{"shared/monitor", []string{"shared/probe", "shared/redirect"}},
	{"shared/summary", []string{"docs/api", "shared/access", "shared/access/session", "shared/audit", "shared/camera/health", "shared/httpjson", "shared/image", "shared/latency", "shared/model", "shared/monitor", "shared/parking", "shared/review", "shared/site", "shared/stay", "shared/summary/page", "shared/timeline"}},
	{"shared/summary/page", []string{"shared/httpjson"}},
	{"shared/summary/summaryclient", []string{"shared/failure", "shared/parking", "shared/probe", "shared/redirect", "shared/tracing"}},
	{"shared/processor", []string{"shared/access", "shared/audit", "shared/camera/health", "shared/failure", "shared/faas", "shared/gateway", "shared/parking", "shared/pipeline", "shared/process", "shared/redis", "shared/site", "shared/summary/summaryclient", "shared/timeline"}},
	{"shared/generator", []string{"shared/access", "shared/audit", "shared/broker", "shared/faas", "shared/failure", "shared/httpjson", "shared/parking", "shared/redis", "shared/schedule", "shared/tracing"}},
	{"shared/matcher", []string{"shared/access", "shared/faas", "shared/failure", "shared/gateway", "shared/httpjson", "shared/learn", "shared/model", "shared/parking", "shared/process", "shared/redis", "shared/review", "shared/schedule", "shared/site", "shared/stay", "shared/summary/summaryclient", "shared/timeline"}},
	{"shared/learn", []string{"shared/access", "shared/failure", "shared/httpjson", "shared/model", "shared/parking", "shared/stay", "shared/timeline"}},
	{"functions/", []string{"shared/"}},
	{"connectors/rabbitmq/internal/attempt", []string{"connectors/rabbitmq/internal/breaker", "connectors/rabbitmq/internal/message", "connectors/rabbitmq/internal/openfaas", "shared/batch"}},
	{"connectors/rabbitmq/internal/breaker", nil},
	{"connectors/rabbitmq/internal/message", []string{"connectors/rabbitmq/internal/openfaas", "shared/batch", "shared/broker", "shared/tracing"}},
	{"connectors/rabbitmq/internal/message/messagetest", nil},
	{"connectors/rabbitmq/internal/unacked", nil},
	{"connectors/rabbitmq/internal/openfaas", []string{"shared/batch", "shared/process", "shared/redirect", "shared/tracing"}},
	{"connectors/rabbitmq/deadletter", []string{"connectors/rabbitmq/internal/message", "shared/broker"}},
	{"connectors/rabbitmq", []string{
		"connectors/rabbitmq/internal/attempt", "connectors/rabbitmq/internal/breaker", "connectors/rabbitmq/internal/message", "connectors/rabbitmq/internal/openfaas",
		"connectors/rabbitmq/internal/unacked", "shared/batch", "shared/broker", "shared/latency", "shared/process", "shared/restart", "shared/tracing", "shared/version",
	}},
	{"connectors/rabbitmq/cmd/", []string{"connectors/rabbitmq"}},
	{"template/", []string{"shared/access", "shared/faas", "template/"}},
	{"deploy", nil},
	{"cmd/internal/", []string{"cmd/internal/", "deploy", "shared/"}},
	{"cmd/parkstream-bench", []string{"cmd/internal/", "cmd/parkstream-bench/", "shared/"}},
	{"cmd/parkstream-bench/internal/", []string{"cmd/internal/", "shared/"}},
	{"cmd/parkstream", []string{"cmd/internal/", "connectors/", "deploy", "functions/", "shared/"}},
	{"test", []string{"cmd/", "connectors/", "functions/", "shared/"}},
}

// testsMayImport is what the tests of a place may import besides: the real
// services, and what they are tried together with.
var testsMayImport = map[string][]string{
	"":                   {"docs/api/apitest", "shared/eventually", "shared/instance", "shared/instance/instancetest", "shared/broker/brokertest", "shared/redis/redistest", "shared/tracing/tracingtest"},
	"shared/access/oidc": {"shared/access/oidc/providertest"},
	"shared/generator":   {"shared/faas/faastest", "shared/process"},
	"shared/learn":       {"shared/redis"},
	"shared/matcher":     {"shared/evaluate"},
	"shared/pipeline":    {"shared/redis", "shared/summary/summaryclient", "shared/timeline"},
	"shared/processor":   {"shared/batch", "shared/faas/faastest"},
	"shared/review":      {"shared/redis", "shared/stay"},
	"shared/stay":        {"shared/timeline"},

	"connectors/rabbitmq/deadletter": {"shared/process"},

	"connectors/rabbitmq":                  {"connectors/rabbitmq/deadletter", "connectors/rabbitmq/internal/message/messagetest"},
	"connectors/rabbitmq/internal/message": {"connectors/rabbitmq/internal/message/messagetest"},
	"shared/summary":                       {"shared/access/ended", "shared/access/oidc", "shared/access/oidc/providertest", "shared/process", "shared/redis", "shared/summary/summaryclient"},
}

// thirdParty is what the domain may import from outside the standard library;
// docs/adr/0001-the-house.md has the reason.
var thirdParty = []string{"golang.org/x/text/unicode/norm"}

func TestImportDirections(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	list.Dir = repository
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for packages := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		who, _ := strings.CutPrefix(p.ImportPath, "parkstream/")
		allowed, known := allowedImports(who)
		if !known {
			t.Errorf("%s has no place in mayImport: say there what it may import", who)
			continue
		}
		check(t, who, p.Imports, allowed)
		check(t, "a test of "+who, slices.Concat(p.TestImports, p.XTestImports), slices.Concat(allowed, []string{who}, testsMayImport[""], testsMayImport[who]))
		if !helpsTests(p.ImportPath) && (slices.Contains(p.Imports, "testing") || slices.ContainsFunc(p.Imports, helpsTests)) {
			t.Errorf("%s imports testing or helpers of tests: these do not ship", who)
		}
		if who == "shared/parking" {
			for _, path := range p.Imports {
				if strings.Contains(path, ".") && !slices.Contains(thirdParty, path) {
					t.Errorf("%s imports %s, it may import the standard library only", who, path)
				}
			}
		}
	}
	if seen < len(mayImport) {
		t.Errorf("go list found %d packages only", seen)
	}
}

// helpsTests reports whether a package of ours is for tests only.
func helpsTests(path string) bool {
	path, ours := strings.CutPrefix(path, "parkstream/")
	return ours && (path == "shared/eventually" || strings.HasSuffix(path, "test"))
}

func allowedImports(who string) (allowed []string, known bool) {
	for _, rule := range mayImport {
		if within(who, rule.who) {
			return slices.Clone(rule.whom), true
		}
	}
	return nil, false
}

func check(t *testing.T, who string, imports, allowed []string) {
	t.Helper()
	for _, path := range imports {
		whom, ours := strings.CutPrefix(path, "parkstream/")
		if ours && !slices.ContainsFunc(allowed, func(a string) bool { return within(whom, a) }) {
			t.Errorf("%s imports %s, which is against the direction of imports (CONTRIBUTING.md)", who, whom)
		}
	}
}

func within(path, place string) bool {
	return path == place || strings.HasSuffix(place, "/") && strings.HasPrefix(path, place)
}
