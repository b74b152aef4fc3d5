package apitest_test

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"net/url"
	"strings"
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

// Examples are valid by the schema that has them.
func TestExamples(t *testing.T) {
	files, err := fs.Glob(api.Files, "*.schema.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("schemas: %v, %v", files, err)
	}
	for _, file := range files {
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

// The messages of the queues have examples that are valid by their schemas, and every
// reference leads somewhere.
func TestAsyncAPI(t *testing.T) {
	messages, _ := apitest.At(t, "asyncapi.yaml", "components", "messages").(map[string]any)
	if len(messages) != 5 {
		t.Fatalf("%d messages", len(messages))
	}
	for name := range messages {
		message := "asyncapi.yaml#/components/messages/" + name
		examples, _ := apitest.At(t, "asyncapi.yaml", "components", "messages", name, "examples").([]any)
		if len(examples) == 0 {
			t.Errorf("%s has no examples", message)
		}
		for _, one := range examples {
			example, _ := one.(map[string]any)
			for part, place := range map[string]string{"headers": "/headers", "payload": "/payload/schema"} {
				if example[part] == nil || part == "payload" && name == "DeadLetter" { // anything
					continue
				}
				text, err := json.Marshal(example[part])
				if err == nil {
					err = apitest.Validate(t, message+place, text)
				}
				if err != nil {
					t.Errorf("%s of an example of %s: %v", part, message, err)
				}
			}
		}
	}
	checkReferences(t, apitest.At(t, "asyncapi.yaml"))
}

func checkReferences(t *testing.T, value any) {
	switch v := value.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			file, path, _ := strings.Cut(ref, "#/")
			if apitest.At(t, cmp.Or(file, "asyncapi.yaml"), strings.Split(path, "/")...) == nil && path != "" || path == "" && apitest.At(t, file) == nil {
				t.Errorf("asyncapi.yaml: the reference %s leads nowhere", ref)
			}
		}
		for _, inner := range v {
			checkReferences(t, inner)
		}
	case []any:
		for _, inner := range v {
			checkReferences(t, inner)
		}
	}
}
