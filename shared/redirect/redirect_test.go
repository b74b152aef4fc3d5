package redirect

import (
	"net/http"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for code := http.StatusOK; code < 600; code++ {
		redirects := code >= 300 && code < 400
		if err := Check(&http.Response{StatusCode: code}); (err != nil) != redirects {
			t.Errorf("%d: error %v", code, err)
		}
	}
	for location, want := range map[string]string{
		"https://user:hush@other:8443/hush?token=hush#hush": "https://other:8443,",
		"//other/hush": "http://other,",
		"/hush":        "http://ours,",
		"":             "nowhere",
		"http://%zz/":  "nowhere",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://ours/path", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		err = Check(&http.Response{StatusCode: http.StatusFound, Request: request, Header: http.Header{"Location": {location}}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: error %v, want %q", location, err, want)
		}
	}
}
