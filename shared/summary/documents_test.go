package summary

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"parkstream/docs/api"
	"parkstream/docs/api/apitest"
)

// The document has each route with its parameters, and the routes have each operation of
// the document.
func TestDocumentedRoutes(t *testing.T) {
	operations := apitest.Operations(t, "summary")
	for _, one := range (handler{}).routes(nil) {
		name := one.method + " " + one.path
		o, found := operations[name]
		if !found {
			t.Errorf("docs/api/openapi.yaml does not have %s", name)
			continue
		}
		delete(operations, name)
		if o.Open != one.open {
			t.Errorf("%s: the document tells that it is open to strangers: %t", name, o.Open)
		}
		if hasBody := one.body > 0; o.Body != hasBody {
			t.Errorf("%s: the document has a body of the request: %t", name, o.Body)
		}
		if !one.anyQuery { // the provider's parameters are not ours to know
			compareParameters(t, name, one.query, o.Query)
		}
	}
	for name := range operations {
		t.Errorf("docs/api/openapi.yaml has %s, which is no route", name)
	}
}

func compareParameters(t *testing.T, route string, known []parameter, documented []apitest.Parameter) {
	t.Helper()
	for _, p := range known {
		i := slices.IndexFunc(documented, func(d apitest.Parameter) bool { return d.Name == p.name })
		if i < 0 {
			t.Errorf("%s: the document does not have the parameter %s", route, p.name)
			continue
		}
		d := documented[i]
		documented = slices.Delete(slices.Clone(documented), i, i+1)
		if d.Required != p.required {
			t.Errorf("%s: parameter %s: required is %t", route, p.name, d.Required)
		}
		want := map[string]string{"enum": "<nil>", "minimum": "<nil>", "maximum": "<nil>"}
		switch p.kind {
		case oneOf:
			want["enum"] = fmt.Sprint(p.choices)
		case wholeNumber:
			want["minimum"], want["maximum"] = fmt.Sprint(p.min), fmt.Sprint(p.max)
		}
		for keyword, value := range want {
			if got := fmt.Sprint(d.Schema[keyword]); got != value {
				t.Errorf("%s: parameter %s: %s is %s, want %s", route, p.name, keyword, got, value)
			}
		}
	}
	for _, d := range documented {
		t.Errorf("%s: the document has the parameter %s, which is unknown", route, d.Name)
	}
}

// Everyone gets each document as it is in docs/api.
func TestDocuments(t *testing.T) {
	g := newGuarded(t)
	files, err := api.Files.ReadDir(".")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d documents, %v", len(files), err)
	}
	for _, file := range files {
		text, err := api.Files.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		w := g.as(stranger, http.MethodGet, "/api/"+file.Name(), "")
		if w.Code != http.StatusOK || w.Body.String() != string(text) {
			t.Errorf("GET /api/%s: %d %v %.100s", file.Name(), w.Code, w.Header(), w.Body)
		}
	}
	for _, name := range []string{"README.md", "api.go", ".", "..", "x", "openapi.yaml/x"} {
		if w := g.as(viewer, http.MethodGet, "/api/"+name, ""); w.Code != http.StatusNotFound {
			t.Errorf("GET /api/%s: %d", name, w.Code)
		}
	}
}
