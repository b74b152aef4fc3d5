package apitest_test

import (
	"net/url"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"parkstream/docs/api"
	"parkstream/docs/api/apitest"
)

// The document is valid OpenAPI 3.1, its references lead somewhere, and its examples are
// valid by its schemas.
func TestOpenAPI(t *testing.T) {
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true
	loader.ReadFromURIFunc = func(_ *openapi3.Loader, at *url.URL) ([]byte, error) { return api.Files.ReadFile(at.Path) }
	document, err := loader.LoadFromURI(&url.URL{Path: "openapi.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if err := document.Validate(loader.Context); err != nil {
		t.Error(err)
	}
}

// Examples of events and stays are valid by their schemas.
func TestExamples(t *testing.T) {
	for _, file := range []string{"event.schema.json", "stay.schema.json"} {
		examples := apitest.Examples(t, file)
		if len(examples) == 0 {
			t.Errorf("%s has no examples", file)
		}
		for _, text := range examples {
			if err := apitest.Validate(t, file, text); err != nil {
				t.Errorf("%s: %s: %v", file, text, err)
			}
		}
	}
}
