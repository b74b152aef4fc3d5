// Package apitest compares functions with the documents of docs/api in tests.
package apitest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"parkstream/docs/api"
)

// base is the address of the documents in the compiler. Nothing is requested there.
const base = "https://parkstream.invalid/api/"

// documents are the parsed documents, and the schemas that were compiled so far.
type documents struct {
	parsed   map[string]any
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

var all = sync.OnceValues(func() (*documents, error) {
	d := &documents{parsed: make(map[string]any), compiler: jsonschema.NewCompiler(), schemas: make(map[string]*jsonschema.Schema)}
	d.compiler.AssertFormat()
	files, err := api.Files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := api.Files.ReadFile(file.Name())
		if err != nil {
			return nil, err
		}
		if text, err = yaml.YAMLToJSONStrict(text); err != nil { // JSON is YAML
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		if d.parsed[file.Name()], err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		if err := d.compiler.AddResource(base+file.Name(), d.parsed[file.Name()]); err != nil {
			return nil, err
		}
	}
	return d, nil
})

func load(t testing.TB) *documents {
	t.Helper()
	d, err := all()
	if err != nil {
		t.Fatalf("the documents of docs/api: %v", err)
	}
	return d
}

// schema returns the schema at a place in a document, such as
// openapi.yaml#/components/schemas/Error.
func (d *documents) schema(place string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s, found := d.schemas[place]; found {
		return s, nil
	}
	s, err := d.compiler.Compile(base + place)
	if err == nil {
		d.schemas[place] = s
	}
	return s, err
}

// Validate returns an error unless a JSON text is valid by the schema at a place, such as
// event.schema.json or asyncapi.yaml#/components/schemas/Results.
func Validate(t testing.TB, place string, text []byte) error {
	t.Helper()
	s, err := load(t).schema(place)
	if err != nil {
		t.Fatalf("the schema %s: %v", place, err)
	}
	return validate(s, text)
}

func validate(s *jsonschema.Schema, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	return s.Validate(value)
}

// At returns what is at a place in a document, references followed, or nil.
func At(t testing.TB, file string, path ...string) any {
	t.Helper()
	value, _ := load(t).at(place{file, path})
	return value
}

// place is one in a document.
type place struct {
	file string
	path []string
}

func (p place) in(names ...string) place { return place{p.file, slices.Concat(p.path, names)} }

// String returns the place as the fragment of an address.
func (p place) String() string {
	var b strings.Builder
	b.WriteString(p.file + "#")
	for _, name := range p.path {
		b.WriteString("/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name)))
	}
	return b.String()
}

// at returns what is at a place, and where that is when references are followed.
func (d *documents) at(p place) (any, place) {
	value, here := d.parsed[p.file], place{file: p.file}
	follow := func() {
		for range 10 {
			object, _ := value.(map[string]any)
			ref, ok := object["$ref"].(string)
			if !ok || !strings.HasPrefix(ref, "#/") {
				return
			}
			value, here = d.at(place{here.file, strings.Split(strings.TrimPrefix(ref, "#/"), "/")})
		}
	}
	for _, name := range p.path {
		switch v := value.(type) {
		case map[string]any:
			value = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				return nil, here
			}
			value = v[i]
		default:
			return nil, here
		}
		here = here.in(name)
		follow()
	}
	return value, here
}

// Parameter is a parameter in the query of an operation.
type Parameter struct {
	Name     string
	Required bool
	Schema   map[string]any
}

// Operation is what openapi.yaml has of one method of a path.
type Operation struct {
	// Query are the parameters in the query, in the document's order.
	Query []Parameter
	// Open reports that the operation needs no login.
	Open bool
	// Body reports that a request has a body.
	Body bool
}

const openapi = "openapi.yaml"

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

// Operations returns the operations of a function by method and path, such as "GET
// /stays/{id...}". The path begins after the function's name. The parameter at its end has
// dots if it may contain slashes: x-slashes in the document.
func Operations(t testing.TB, function string) map[string]Operation {
	t.Helper()
	d, found := load(t), make(map[string]Operation)
	for path, item := range object(d.parsed[openapi], "paths") {
		rest, ok := strings.CutPrefix(path, "/"+function+"/")
		if !ok {
			continue
		}
		for _, method := range methods {
			if object(item, method) == nil {
				continue
			}
			p := place{openapi, []string{"paths", path, method}}
			if d.slashes(p) {
				rest = strings.TrimSuffix(rest, "}") + "...}"
			}
			found[strings.ToUpper(method)+" /"+rest] = d.operation(p)
		}
	}
	return found
}

// slashes reports whether the parameter at the end of an operation's path may contain
// slashes.
func (d *documents) slashes(operation place) bool {
	value, _ := d.at(operation)
	fields, _ := value.(map[string]any)
	parameters, _ := fields["parameters"].([]any)
	for i := range parameters {
		if value, _ := d.at(operation.in("parameters", strconv.Itoa(i))); value.(map[string]any)["x-slashes"] == true {
			return true
		}
	}
	return false
}

func (d *documents) operation(p place) (o Operation) {
	value, _ := d.at(p)
	fields, _ := value.(map[string]any)
	security, given := fields["security"].([]any)
	o.Open, o.Body = given && len(security) == 0, fields["requestBody"] != nil
	parameters, _ := fields["parameters"].([]any)
	for i := range parameters {
		value, here := d.at(p.in("parameters", strconv.Itoa(i)))
		parameter, _ := value.(map[string]any)
		if parameter["in"] != "query" {
			continue
		}
		name, _ := parameter["name"].(string)
		required, _ := parameter["required"].(bool)
		schema, _ := d.at(here.in("schema"))
		fields, _ := schema.(map[string]any)
		o.Query = append(o.Query, Parameter{name, required, fields})
	}
	return o
}

func object(value any, name string) map[string]any {
	fields, _ := value.(map[string]any)
	inner, _ := fields[name].(map[string]any)
	return inner
}

// Handler serves what another handler does, and fails the test for each response that
// openapi.yaml does not describe, see [Check], and for each request that is not as
// described and is accepted.
func Handler(t testing.TB, function string, next http.Handler) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path, query, kind := r.Method, r.URL.EscapedPath(), r.URL.Query(), mediaType(r.Header)
		var sent bytes.Buffer
		if kind == "application/json" && r.Body != nil { // of a batch each event has an outcome
			r.Body = tee{io.TeeReader(r.Body, &sent), r.Body}
		}
		seen := &recorder{ResponseWriter: w}
		next.ServeHTTP(seen, r) // a response that is aborted is not complete
		status := cmp.Or(seen.code, http.StatusOK)
		Check(t, function, method, path, status, seen.Header(), seen.body.Bytes())
		if status >= http.StatusMultipleChoices { // what is refused may be anything
			return
		}
		if err := load(t).checkRequest(function, method, path, query, kind, sent.Bytes()); err != nil {
			t.Errorf("docs/api/%s does not describe the request %s %s of %s, which is answered with %d: %v", openapi, method, r.URL, function, status, err)
		}
	})
}

// tee is a body of which a copy is kept.
type tee struct {
	io.Reader
	io.Closer
}

// checkRequest returns an error for a request that is not described.
func (d *documents) checkRequest(function, method, path string, query url.Values, kind string, body []byte) error {
	described, found := d.find(function, method, path)
	if !found {
		return nil // its response is none of a success
	}
	known := d.operation(described).Query
	value, _ := d.at(described)
	fields, _ := value.(map[string]any)
	for name := range query {
		if fields["x-other-parameters"] != true && !slices.ContainsFunc(known, func(p Parameter) bool { return p.Name == name }) {
			return fmt.Errorf("it has no parameter %s", name)
		}
	}
	content, _ := d.at(described.in("requestBody", "content"))
	types, _ := content.(map[string]any)
	if len(body) == 0 || types[kind] == nil {
		return nil
	}
	schema, err := d.schema(described.in("requestBody", "content", kind, "schema").String())
	if err != nil {
		return err
	}
	return validate(schema, body)
}

// Check fails the test for a response of a function that openapi.yaml does not describe:
// its status, header, content type or body. The path, as it is escaped, begins after the
// function's name.
func Check(t testing.TB, function, method, path string, status int, header http.Header, body []byte) {
	t.Helper()
	if err := load(t).check(function, method, path, response{status, header, body}); err != nil {
		t.Errorf("docs/api/%s does not describe the response to %s %s of %s: %v\n%d %v %.2000s", openapi, method, path, function, err, status, header, body)
	}
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// recorder keeps what a response has: the beginning of a body that is not JSON.
type recorder struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.body.Len() == 0 || isJSON(mediaType(r.Header())) {
		r.body.Write(p)
	}
	return r.ResponseWriter.Write(p)
}

func mediaType(h http.Header) string {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return h.Get("Content-Type")
	}
	return kind
}

func isJSON(kind string) bool { return kind == "application/json" || strings.HasSuffix(kind, "+json") }

// check returns an error for a response that is not described.
func (d *documents) check(function, method, path string, seen response) error {
	described, found := d.find(function, method, path)
	if !found { // an unknown path or method has the form of all errors
		if code := seen.status; code < 400 || code >= 500 && code != http.StatusServiceUnavailable {
			return fmt.Errorf("there is no such operation, and the status is %d", code)
		}
		described = place{openapi, []string{"components", "responses", "Refusal"}}
	} else {
		described = described.in("responses", strconv.Itoa(seen.status))
	}
	value, described := d.at(described)
	fields, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("the operation has no status %d", seen.status)
	}
	headers, _ := fields["headers"].(map[string]any)
	for name := range headers {
		header, _ := d.at(described.in("headers", name))
		if fields, _ := header.(map[string]any); fields["required"] == true && seen.header.Get(name) == "" {
			return fmt.Errorf("the header %s is missing", name)
		}
	}
	if method == http.MethodHead {
		return nil
	}
	content, _ := fields["content"].(map[string]any)
	if len(content) == 0 {
		if len(seen.body) > 0 {
			return fmt.Errorf("it has a body, with status %d", seen.status)
		}
		return nil
	}
	kind := mediaType(seen.header)
	if content[kind] == nil {
		return fmt.Errorf("it is of type %q with status %d", kind, seen.status)
	}
	if !isJSON(kind) {
		return nil
	}
	schema, err := d.schema(described.in("content", kind, "schema").String())
	if err != nil {
		return err
	}
	return validate(schema, seen.body)
}

// find returns the place of the operation of a method and a path. Of several paths that
// match, the one with the most fixed parts counts.
func (d *documents) find(function, method, path string) (place, bool) {
	key := strings.ToLower(method)
	switch {
	case method == http.MethodHead:
		key = "get"
	case !slices.Contains(methods, key) || key == method:
		return place{}, false
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	best, fixedOfBest := place{}, -1
	for candidate, item := range object(d.parsed[openapi], "paths") {
		rest, ok := strings.CutPrefix(strings.Replace(candidate, "{function}", function, 1), "/"+function+"/")
		if !ok || object(item, key) == nil {
			continue
		}
		p := place{openapi, []string{"paths", candidate, key}}
		if fixed, ok := match(strings.Split(rest, "/"), parts, d.slashes(p)); ok && fixed > fixedOfBest {
			best, fixedOfBest = p, fixed
		}
	}
	return best, fixedOfBest >= 0
}

// match reports whether the parts of a path match those of a template, and how many parts
// are fixed. The last parameter takes the rest of the path if it may contain slashes.
func match(template, path []string, slashes bool) (fixed int, ok bool) {
	for i, part := range template {
		switch {
		case i >= len(path):
			return 0, false
		case !strings.HasPrefix(part, "{"):
			if decoded, err := url.PathUnescape(path[i]); err != nil || decoded != part {
				return 0, false
			}
			fixed++
		case slashes && i == len(template)-1:
			return fixed, strings.Join(path[i:], "/") != ""
		case path[i] == "":
			return 0, false
		}
	}
	return fixed, len(template) == len(path)
}

// Examples returns every example of a schema document, as JSON.
func Examples(t testing.TB, file string) (texts [][]byte) {
	t.Helper()
	examples, _ := load(t).parsed[file].(map[string]any)["examples"].([]any)
	for _, one := range examples {
		text, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}
