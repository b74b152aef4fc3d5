package generator_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parkstream/docs/api/apitest"
	"parkstream/shared/access"
	"parkstream/shared/generator"
	"parkstream/shared/instance/instancetest"
)

// secrets returns a folder with the secrets of a generator, and a token for each user.
func secrets(t *testing.T, users ...access.NewUser) (dir string, tokens map[string]string) {
	t.Helper()
	dir, tokens = t.TempDir(), make(map[string]string)
	var file []byte
	for _, u := range users {
		u.Token = access.NewToken()
		tokens[u.Name] = u.Token
		var err error
		if file, err = access.AddUser(file, u); err != nil {
			t.Fatal(err)
		}
	}
	contents := map[string]string{"redis-url": instancetest.Redis(t).URL(), "rabbitmq-url": rabbit.URL()}
	if len(users) > 0 {
		contents["users"] = string(file)
	}
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, tokens
}

// call is one of a generator; by default a POST without anything.
type call struct {
	method, query, body string
	chunked             bool // the length is not announced
	header              http.Header
}

func (c call) send(t *testing.T, url string) (status int, header http.Header, text string) {
	t.Helper()
	var body io.Reader = strings.NewReader(c.body)
	if c.chunked {
		body = io.MultiReader(body)
	}
	if c.method == "" {
		c.method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, url+c.query, body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, c.header)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	apitest.Check(t, "entry-generator", c.method, "/", resp.StatusCode, resp.Header, all)
	return resp.StatusCode, resp.Header, strings.TrimSpace(string(all))
}

var asJSON = http.Header{"Content-Type": {"application/json"}}

// A stranger makes a generator do what cron makes it do, and nothing else: no invented
// vehicle enters a real site.
func TestStrangersGenerateNothing(t *testing.T) {
	dir, tokens := secrets(t,
		access.NewUser{Name: "viewer", Role: access.Viewer}, access.NewUser{Name: "machine", Role: access.Machine},
		access.NewUser{Name: "operator", Role: access.Operator}, access.NewUser{Name: "north", Role: access.Operator, Sites: []string{"north"}},
	)
	entries := t.Name()
	url := serve(t, generator.NewEntryHandler, "SECRETS_DIR="+dir, "DEFAULT_COUNT=4", "DEFAULT_SITE=generated", "ENTRY_QUEUE="+entries)
	bearer := func(name string) http.Header {
		return http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + tokens[name]}}
	}
	status, _, text := call{}.send(t, url) // cron
	if status != 200 || text != `{"published":4}` {
		t.Fatalf("cron's call: %d %s", status, text)
	}
	for _, c := range []call{
		{query: "?count=100000"},
		{query: "?count=50", header: asJSON},
		{query: "?site=default"},
		{query: "?seed=1&count=1"},
		{query: "?x"},
		{body: `{"count":50}`, header: asJSON},
		{body: `{"count":50}`, header: asJSON, chunked: true},
		{body: `{"site":"default"}`},
		{body: `{"site":"default"}`, header: http.Header{"Content-Type": {"text/plain"}}},
		{body: `{}`, header: asJSON},
		{query: "?count=50", header: http.Header{"Authorization": {"Bearer wrong"}}},
		{query: "?count=50", header: bearer("viewer")},
		{query: "?count=50", header: bearer("machine")},
		{query: "?count=50", header: bearer("north")},
		{query: "?count=50&site=south", header: bearer("north")},
		{body: `{"count":50,"site":"south"}`, header: bearer("north")},
		{method: "GET"},
		{method: "GET", query: "?count=50"},
		{method: "GET", query: "?count=50", header: bearer("operator")},
		{method: "PUT", body: `{"count":50}`, header: asJSON},
		{method: "HEAD", query: "?count=50"},
	} {
		if status, _, text := c.send(t, url); status != 401 && status != 403 && status != 405 && status != 415 || c.method != "HEAD" && !strings.HasPrefix(text, `{"error":"`) {
			t.Errorf("%+v is answered with %d %s", c, status, text)
		}
	}
	// Who names no site learns which one it would have been.
	if _, _, text := (call{query: "?count=50", header: bearer("north")}).send(t, url); !strings.Contains(text, "no access to the site generated: name one") {
		t.Errorf("the default site is refused with %s", text)
	}
	sites := make(map[string]int)
	for _, e := range read(t, entries) {
		sites[e.Site]++
	}
	if fmt.Sprint(sites) != "map[generated:4]" {
		t.Errorf("events by site: %v", sites)
	}
	for _, c := range []call{
		{query: "?count=3&site=real", header: bearer("operator")},
		{body: `{"count":3,"site":"north"}`, header: bearer("north")},
		{query: "?count=3", body: `{}`, header: bearer("operator")},
	} {
		if status, _, text := c.send(t, url); status != 200 || text != `{"published":3}` {
			t.Errorf("%+v is answered with %d %s", c, status, text)
		}
	}
	for _, e := range read(t, entries) {
		sites[e.Site]++
	}
	if fmt.Sprint(sites) != "map[generated:7 north:3 real:3]" {
		t.Errorf("events by site: %v", sites)
	}
}

// The page of another site generates nothing by the browser of someone on this machine,
// where everyone may generate.
func TestAnotherSitesPage(t *testing.T) {
	dir, _ := secrets(t)
	entries := t.Name()
	url := serve(t, generator.NewEntryHandler, "ACCESS=open", "SECRETS_DIR="+dir, "ENTRY_QUEUE="+entries)
	for name, c := range map[string]call{
		"an image":            {method: "GET", query: "?count=5", header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Dest": {"image"}}},
		"an older image":      {method: "GET", query: "?count=5"},
		"fetch":               {query: "?count=5", header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}},
		"fetch as cron":       {header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}},
		"a form":              {body: "count=5", header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Content-Type": {"application/x-www-form-urlencoded"}}},
		"a form as text":      {body: `{"count":5,"site":"="}`, header: http.Header{"Content-Type": {"text/plain"}}},
		"an empty form":       {header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		"a form with a query": {query: "?count=5", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}},
		"an older browser":    {query: "?count=5", header: http.Header{"Origin": {"https://evil.example"}}},
		"a sandboxed frame":   {query: "?count=5", header: http.Header{"Origin": {"null"}}},
		"a Blob":              {body: `{"count":5}`, header: http.Header{"Origin": {"https://evil.example"}}},
		"an older Blob":       {body: `{"count":5}`},
	} {
		if status, _, text := c.send(t, url); status != 403 && status != 405 && status != 415 {
			t.Errorf("%s is answered with %d %s", name, status, text)
		}
	}
	for query, want := range map[string]string{"?count=2": `{"published":2}`, "": `{"published":1}`} {
		if status, _, text := (call{query: query}).send(t, url); status != 200 || text != want {
			t.Errorf("a program's call %s is answered with %d %s", query, status, text)
		}
	}
	if n := len(read(t, entries)); n != 3 {
		t.Errorf("%d events are published, want 3", n)
	}
}

// Before there are users a generator generates nothing for anyone.
func TestGeneratorThatIsNotSetUp(t *testing.T) {
	dir, _ := secrets(t)
	url := serve(t, generator.NewEntryHandler, "SECRETS_DIR="+dir, "ENTRY_QUEUE="+t.Name())
	for _, c := range []call{{}, {query: "?count=1"}, {method: "GET"}} {
		status, header, text := c.send(t, url)
		var a answer
		if err := json.Unmarshal([]byte(text), &a); err != nil || status != 503 || header.Get("Retry-After") == "" || !strings.Contains(a.Error, "parkstream users add") {
			t.Errorf("%+v is answered with %d %s", c, status, text)
		}
	}
}
