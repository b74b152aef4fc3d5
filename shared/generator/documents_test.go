package generator

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"parkstream/docs/api/apitest"
)

// The document has the methods and parameters that generators take.
func TestDocumentedParameters(t *testing.T) {
	for function, h := range map[string]http.Handler{"entry-generator": NewEntryHandler(Config{}), "exit-generator": NewExitHandler(Config{})} {
		operations := apitest.Operations(t, function)
		if _, found := operations["POST /"]; !found || len(operations) != 1 {
			t.Errorf("%s: %v, want POST", function, operations)
		}
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, httptest.NewRequest(method, "/", nil)); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s of %s: %d", method, function, w.Code)
			}
		}
		var documented []string
		for _, p := range operations["POST /"].Query {
			documented = append(documented, p.Name)
		}
		e, _ := h.(*endpoint)
		if !slices.Equal(slices.Sorted(slices.Values(documented)), slices.Sorted(slices.Values(e.known))) {
			t.Errorf("%s: the document has the parameters %v, want %v", function, documented, e.known)
		}
		members, _ := apitest.At(t, "openapi.yaml", "paths", "/"+function+"/", "post", "requestBody", "content", "application/json", "schema", "properties").(map[string]any)
		for _, name := range e.known {
			if members[name] == nil {
				t.Errorf("%s: the document's body does not have %s", function, name)
			}
		}
		if len(members) != len(e.known) {
			t.Errorf("%s: the document's body has %d members, want %v", function, len(members), e.known)
		}
	}
}
