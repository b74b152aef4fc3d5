package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"parkstream/shared/eventually"

	sdk "github.com/openfaas/go-sdk"
)

// exchange is a request that a client of OpenFaaS was recorded to send, what it takes
// for an answer, and the members of the answer that it reads.
type exchange struct {
	client       string // the command that sent it
	method, path string
	header       string // "Name: value" lines; the type of the body in most cases
	body         string
	status       int
	// members are paths into the answer's JSON, or into its first line for logs. After
	// = stands the value, if it is not just any.
	members string
}

const (
	text  = "Content-Type: text/plain"
	jsons = "Content-Type: application/json"
)

// recorded are the requests of faas-cli 0.16.38, cron-connector 0.7.0 and the tester of
// connector-sdk 0.8.0 against this gateway, in an order in which each can be answered,
// with other names of functions and secrets.
var recorded = []exchange{
	{"faas-cli ready", "GET", "/healthz", "", "", 200, ""},
	{"faas-cli login", "GET", "/system/functions", "", "", 200, ""},
	{"faas-cli version", "GET", "/system/info", "", "", 200, "arch version.release version.sha provider.provider=parkstream provider.orchestration=processes provider.version.release provider.version.sha"},

	{"faas-cli deploy --update=false --replace", "DELETE", "/system/functions", jsons, `{"functionName":"one"}`, 404, ""},
	{"faas-cli deploy --update=false --replace", "POST", "/system/functions", jsons, deploys("one", ""), 202, ""},
	{"faas-cli deploy", "PUT", "/system/functions", jsons, deploys("one", ""), 202, ""},
	{"faas-cli up", "PUT", "/system/functions", jsons, deploys("one", ""), 202, ""},
	{"faas-cli deploy -n openfaas-fn", "PUT", "/system/functions", jsons, deploys("two", "openfaas-fn"), 202, ""},
	{"faas-cli deploy -n other", "PUT", "/system/functions", jsons, deploys("two", "other"), 400, "error"},
	{"faas-cli deploy --name stranger --image x", "PUT", "/system/functions", jsons, `{"service":"stranger","image":"x","labels":{},"annotations":{}}`, 400, "error"},

	{"faas-cli list", "GET", "/system/functions", "", "", 200, "0.name=one 0.replicas=1 1.name=two"},
	{"faas-cli list -v", "GET", "/system/functions", "", "", 200, "0.name=one 0.image=localhost/one:1 0.replicas=1 0.createdAt"},
	{"faas-cli list -n openfaas-fn", "GET", "/system/functions?namespace=openfaas-fn", "", "", 200, "0.name=one"},
	{"faas-cli list -n other", "GET", "/system/functions?namespace=other", "", "", 400, "error"},
	{"faas-cli list -n *", "GET", "/system/functions?namespace=%2A", "", "", 400, "error"},
	{"faas-cli ready one", "GET", "/system/function/one?usage=1", "", "", 200, "availableReplicas=1"},
	{"faas-cli describe one", "GET", "/system/function/one?usage=1", "", "", 200, "name=one namespace=openfaas-fn image=localhost/one:1 envProcess=/handler replicas=1 availableReplicas=1 constraints.0=arm64 envVars.SERVES=one labels.part=p annotations.topic=cron-function secrets.0=redis-url limits.memory=128Mi requests.cpu=50m readOnlyRootFilesystem=true createdAt"},
	{"faas-cli describe one -n openfaas-fn", "GET", "/system/function/one?namespace=openfaas-fn&usage=1", "", "", 200, "name=one"},
	{"faas-cli describe one -n other", "GET", "/system/function/one?namespace=other&usage=1", "", "", 400, "error"},
	{"faas-cli describe nothing", "GET", "/system/function/nothing?usage=1", "", "", 404, "error"},

	{"faas-cli namespace list", "GET", "/system/namespaces", "", "", 200, "0=openfaas-fn"},
	{"faas-cli namespace get openfaas-fn", "GET", "/system/namespace/openfaas-fn", "", "", 200, "name=openfaas-fn"},
	{"faas-cli namespace get other", "GET", "/system/namespace/other", "", "", 404, "error"},
	{"faas-cli namespace create other", "POST", "/system/namespace/", jsons, `{"name":"other"}`, 405, "error"},
	{"faas-cli namespace update openfaas-fn --label a=b", "PUT", "/system/namespace/openfaas-fn", jsons, `{"name":"openfaas-fn","labels":{"a":"b"}}`, 405, "error"},
	{"faas-cli namespace remove openfaas-fn", "DELETE", "/system/namespace/openfaas-fn", jsons, `{"name":"openfaas-fn"}`, 405, "error"},

	{"faas-cli invoke one", "POST", "/function/one.openfaas-fn", text, "hello", 200, "Name=one Method=POST Body=hello Path=/"},
	{"faas-cli invoke one </dev/null", "POST", "/function/one.openfaas-fn", text, "", 200, "Name=one"},
	{"faas-cli invoke one --method GET --query plate=X", "GET", "/function/one.openfaas-fn?plate=X", text, "", 200, "Method=GET Query=plate=X"},
	{"faas-cli invoke one -H X-Own=1", "POST", "/function/one.openfaas-fn", text + "\nX-Own: 1", "", 200, "Header.X-Own.0=1"},
	{"faas-cli invoke nothing", "POST", "/function/nothing.openfaas-fn", text, "", 404, "error"},
	{"faas-cli invoke one -n other", "POST", "/function/one.other", text, "", 404, "error"},
	{"faas-cli invoke one --async", "POST", "/async-function/one.openfaas-fn", text, "", 501, "error"},
	{"faas-cli invoke one --async -H X-Callback-Url=...", "POST", "/async-function/one.openfaas-fn", text + "\nX-Callback-Url: http://127.0.0.1:1/", "", 501, "error"},
	{"faas-cli list", "GET", "/system/functions", "", "", 200, "0.invocationCount=4"},

	{"faas-cli logs one --tail=false --lines 1", "GET", "/system/logs?follow=false&name=one&tail=1", "", "", 200, "name=one namespace=openfaas-fn instance=one timestamp text"},
	{"faas-cli logs one --tail=false --since 1m", "GET", "/system/logs?follow=false&name=one&since=2020-01-01T00%3A00%3A00Z&tail=-1", "", "", 200, "name=one text"},
	{"faas-cli logs one --tail=false -n openfaas-fn", "GET", "/system/logs?follow=false&name=one&namespace=openfaas-fn&tail=-1", "", "", 200, "name=one"},
	{"faas-cli logs one --tail=false -n other", "GET", "/system/logs?follow=false&name=one&namespace=other&tail=-1", "", "", 400, "error"},
	{"faas-cli logs nothing --tail=false", "GET", "/system/logs?follow=false&name=nothing&tail=-1", "", "", 404, "error"},

	{"faas-cli secret create a --from-literal v", "POST", "/system/secrets", jsons, `{"name":"a","value":"v"}`, 202, ""},
	{"faas-cli secret create a --from-literal v", "POST", "/system/secrets", jsons, `{"name":"a","value":"v"}`, 409, "error"},
	{"faas-cli secret create b --from-file f", "POST", "/system/secrets", jsons, `{"name":"b","value":"x","rawValue":"eAo="}`, 202, ""},
	{"faas-cli secret create d --from-file 2MB", "POST", "/system/secrets", jsons, `{"name":"d","value":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "error=the_secret_is_too_large:_a_request_has_at_most_1048576_bytes"},
	{"faas-cli secret create c -n other", "POST", "/system/secrets", jsons, `{"name":"c","namespace":"other","value":"v"}`, 400, "error"},
	{"faas-cli secret list", "GET", "/system/secrets", "", "", 200, "0.name=a 0.namespace=openfaas-fn"},
	{"faas-cli secret list -n openfaas-fn", "GET", "/system/secrets?namespace=openfaas-fn", "", "", 200, "1.name=b"},
	{"faas-cli secret list -n other", "GET", "/system/secrets?namespace=other", "", "", 400, "error"},
	{"faas-cli secret update a --from-literal w", "PUT", "/system/secrets", jsons, `{"name":"a","value":"w"}`, 202, ""},
	{"faas-cli secret update nothing --from-literal w", "PUT", "/system/secrets", jsons, `{"name":"nothing","value":"w"}`, 404, "error"},
	{"faas-cli secret remove a -n other", "DELETE", "/system/secrets", jsons, `{"name":"a","namespace":"other"}`, 400, "error"},
	{"faas-cli secret remove a", "DELETE", "/system/secrets", jsons, `{"name":"a"}`, 202, ""},
	{"faas-cli secret remove a", "DELETE", "/system/secrets", jsons, `{"name":"a"}`, 404, "error"},

	{"cron-connector", "GET", "/system/namespaces", "", "", 200, "0=openfaas-fn"},
	{"cron-connector", "GET", "/system/functions?namespace=openfaas-fn", "", "", 200, "0.name=one 0.namespace=openfaas-fn 0.annotations.topic=cron-function 0.annotations.schedule=0_0_1_1_*"},
	{"cron-connector", "POST", "/function/one.openfaas-fn", "X-Connector: cron-connector\nX-Topic: cron-function", "", 200, "Body= Header.X-Connector.0=cron-connector Header.X-Topic.0=cron-function"},
	{"cron-connector, asynchronous_invocation=true", "POST", "/async-function/one.openfaas-fn", "X-Connector: cron-connector\nX-Topic: cron-function", "", 501, "error"},
	{"connector-sdk", "POST", "/function/one.openfaas-fn", text + "\nUser-Agent: openfaas-ce/timer-connector\nX-Connector: connector-sdk\nX-Connector: cmd/timer\nX-Topic: cron-function\nX-Message-Id: 0", `{"messageId":0}`, 200, `Body={"messageId":0} Header.X-Connector.1=cmd/timer Header.X-Topic.0=cron-function Header.X-Message-Id.0=0`},

	{"faas-cli remove one -n other", "DELETE", "/system/functions", jsons, `{"functionName":"one","namespace":"other"}`, 400, "error"},
	{"faas-cli remove one", "DELETE", "/system/functions", jsons, `{"functionName":"one"}`, 202, ""},
	{"faas-cli remove one", "DELETE", "/system/functions", jsons, `{"functionName":"one"}`, 404, "error"},
	{"faas-cli remove two -n openfaas-fn", "DELETE", "/system/functions", jsons, `{"functionName":"two","namespace":"openfaas-fn"}`, 202, ""},
}

// deploys is the body with which faas-cli deploys a function of a stack.yml.
func deploys(name, namespace string) string {
	if namespace != "" {
		namespace = `"namespace":"` + namespace + `",`
	}
	return fmt.Sprintf(`{"service":%q,"image":"localhost/%[1]s:1",%s"envProcess":"/handler","envVars":{"SERVES":%[1]q},"constraints":["arm64"],"secrets":["redis-url"],"labels":{"part":"p"},"annotations":{"schedule":"0 0 1 1 *","topic":"cron-function"},"limits":{"memory":"128Mi"},"requests":{"memory":"32Mi","cpu":"50m"},"readOnlyRootFilesystem":true}`, name, namespace)
}

// TestRecordedClients replays the requests of real clients and checks the fields that
// they read.
func TestRecordedClients(t *testing.T) {
	l := newGateway(t)
	for _, x := range recorded {
		r, err := http.NewRequestWithContext(t.Context(), x.method, l.server.URL+x.path, strings.NewReader(x.body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", "secret")
		for line := range strings.Lines(x.header) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			r.Header.Add(name, value)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != x.status {
			t.Errorf("%s: %s %s is answered with %d %s %v, want %d", x.client, x.method, x.path, resp.StatusCode, answer, err, x.status)
			continue
		}
		for member := range strings.FieldsSeq(x.members) {
			path, want, exact := strings.Cut(member, "=")
			got, ok := lookUp(answer, path)
			if !ok || exact && strings.ReplaceAll(fmt.Sprint(got), " ", "_") != want {
				t.Errorf("%s: the answer to %s %s has %s %v, want %s: %s", x.client, x.method, x.path, path, got, want, answer)
			}
		}
		if x.method == http.MethodPut || x.method == http.MethodPost {
			eventually.True(t, "what was deployed serves", func() bool { return len(l.Unready(t.Context())) == 0 })
		}
	}
}

// lookUp returns the value at a path of names and indices in the first JSON value of a
// text.
func lookUp(text []byte, path string) (value any, ok bool) {
	if json.NewDecoder(strings.NewReader(string(text))).Decode(&value) != nil {
		return nil, false
	}
	for name := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			if value, ok = v[name]; !ok {
				return nil, false
			}
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// TestSDK uses the client library that faas-cli and the connectors are made with.
func TestSDK(t *testing.T) {
	l := newGateway(t)
	at, err := url.Parse(l.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := sdk.NewClient(at, &sdk.BasicAuth{Username: "admin", Password: "secret"}, http.DefaultClient)
	ctx := t.Context()
	check := func(what string, err error, ok bool) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s: %t %v", what, ok, err)
		}
	}
	status, err := c.Deploy(ctx, deployment("one", map[string]string{"topic": "q"}))
	check("Deploy", err, status == http.StatusAccepted)
	status, err = c.Update(ctx, deployment("one", map[string]string{"topic": "q"}))
	check("Update", err, status == http.StatusAccepted)
	eventually.True(t, "it serves", func() bool { return len(l.Unready(ctx)) == 0 })
	info, err := c.GetInfo(ctx)
	check("GetInfo", err, info.Provider.Provider == "parkstream" && info.Version.Release != "")
	names, err := c.GetNamespaces(ctx)
	check("GetNamespaces", err, len(names) == 1 && names[0] == namespace)
	one, err := c.GetNamespace(ctx, namespace)
	check("GetNamespace", err, one.Name == namespace)
	list, err := c.GetFunctions(ctx, namespace)
	check("GetFunctions", err, len(list) == 1 && (*list[0].Annotations)["topic"] == "q")
	list, err = c.GetFunctions(ctx, "")
	check("GetFunctions of all", err, len(list) == 1)
	if list, err = c.GetFunctions(ctx, "other"); err == nil {
		t.Errorf("another namespace has %v", list)
	}
	function, err := c.GetFunction(ctx, "one", namespace)
	check("GetFunction", err, function.Name == "one" && function.AvailableReplicas == 1)
	check("ScaleFunction", c.ScaleFunction(ctx, "one", namespace, 2), l.status(t, "one").Replicas == 2)
	if c.ScaleFunction(ctx, "one", "other", 1) == nil {
		t.Error("a function of another namespace is scaled")
	}
	since := time.Now().Add(-time.Hour)
	lines, err := c.GetLogs(ctx, "one", namespace, false, 1, &since)
	check("GetLogs", err, (<-lines).Name == "one")
	for range lines { // until it is closed
	}
	check("DeleteFunction", c.DeleteFunction(ctx, "one", namespace), l.find("one") == nil)
}
