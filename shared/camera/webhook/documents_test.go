package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"parkstream/docs/api/apitest"
	"parkstream/shared/parking"
)

// The document has the methods and paths that the webhook takes.
func TestDocumentedRoutes(t *testing.T) {
	f := start(t)
	operations := apitest.Operations(t, "camera")
	for path, documented := range map[string]string{"": "/", "in": "/{camera}", "in/wrong": "/{camera}/{token...}"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			taken := f.do(method, path, strings.NewReader("")).status != http.StatusMethodNotAllowed
			_, found := operations[method+" "+documented]
			if path == "" && method == http.MethodPost { // a post without a camera is one of a stranger
				found = true
			}
			if taken != found {
				t.Errorf("%s %s: taken %t, in the document %t", method, documented, taken, found)
			}
			delete(operations, method+" "+documented)
		}
	}
	for name := range operations {
		t.Errorf("docs/api/openapi.yaml has %s, which was not tried", name)
	}
}

// An answer has each event as the document has it.
func TestToldEventsAreValid(t *testing.T) {
	for _, e := range []parking.Event{
		{ID: "1", Kind: parking.Entry, Version: 1, RawPlate: "A1"},
		{ID: "1", Kind: parking.Exit, Version: 2, NoPlate: true, Site: "north", Gate: "g", Camera: "c"},
	} {
		e.Time = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
		text := `{"format":"own","events":[` + string(told(e)) + `]}`
		if err := apitest.Validate(t, "openapi.yaml#/components/schemas/Received", []byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
