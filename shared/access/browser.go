package access

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// contentTypes are those of a write. A form of another site's page can send none of
// them.
var contentTypes = []string{"application/json", "application/cloudevents-batch+json", "application/cloudevents+json"}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// checkContentType returns the refusal of a write by its content type. also are those
// that the route takes besides.
func checkContentType(r *http.Request, also []string) error {
	given := r.Header["Content-Type"]
	if len(given) == 0 && r.ContentLength == 0 {
		return nil
	}
	if len(given) == 1 && slices.Contains(contentTypes, given[0]) {
		return nil
	}
	kind, _, err := mime.ParseMediaType(strings.Join(given, ","))
	if err == nil && (slices.Contains(contentTypes, kind) || slices.Contains(also, kind)) {
		return nil
	}
	return &Refusal{
		Status: http.StatusUnsupportedMediaType, kind: "content_type",
		Reason: fmt.Sprintf("the request's Content-Type has to be %s: curl --json sends the first, and faas-cli invoke --content-type application/json",
			strings.Join(slices.Concat(contentTypes, also), " or ")),
	}
}

// CheckOrigin returns the refusal of a request that a page of another site has made a
// browser send, also of a GET. Require calls it for each request that changes something.
func (g *Guard) CheckOrigin(r *http.Request) error {
	seen := *r
	if safe(seen.Method) {
		seen.Method = http.MethodPost
	}
	err := g.crossOrigin.Check(&seen)
	if host := r.Header.Get("X-Forwarded-Host"); err != nil && host != "" && r.Header.Get("Sec-Fetch-Site") == "" {
		seen.Host = host // a proxy's Host is not that of the browser's address bar
		err = g.crossOrigin.Check(&seen)
	}
	if err != nil {
		return errOrigin
	}
	return nil
}
