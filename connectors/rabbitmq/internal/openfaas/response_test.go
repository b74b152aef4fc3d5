package openfaas

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"parkstream/shared/batch"
)

// A 503 tells its events apart only if it costs none of them an attempt.
func TestOutageByEvent(t *testing.T) {
	const unavailable, rejected = `{"id":"%d","outcome":"retry","unavailable":true,"reason":"shard 2"}`, `{"id":"%d","outcome":"reject","reason":"no"}`
	for _, tt := range []struct {
		status int
		first  string
		second string
		want   bool
	}{
		{503, unavailable, unavailable, true},
		{503, unavailable, rejected, true},
		{503, rejected, unavailable, true},
		{503, rejected, rejected, false},
		{503, unavailable, `{"id":"%d","outcome":"retry"}`, false},
		{503, unavailable, `{"id":"%d","outcome":"done"}`, false},
		{503, unavailable, `{"id":"%d0","outcome":"done"}`, false},
		{503, unavailable, `?`, false},
		{429, unavailable, unavailable, false},
		{500, unavailable, unavailable, false},
	} {
		body := fmt.Sprintf(`{"results":[`+tt.first+`,`+tt.second+`]}`, 1, 2)
		r := Response{Status: tt.status}
		r.read(http.Header{}, []byte(body), &Function{BatchSize: 2}, "", []batch.Event{{ID: "1"}, {ID: "2"}})
		if r.Verdict == batch.Answered || (r.Results != nil) != tt.want || tt.want && r.Reason != "shard 2" {
			t.Errorf("%d %s: %+v", tt.status, body, r)
		}
	}
}

// The reason has the beginning of a response that is no answer: without the spaces around
// it, with a sign if it was cut, and without a broken rune.
func TestReasonIsCut(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct{ name, body, want string }{
		{"empty", "", ""},
		{"spaces", strings.Repeat(" ", 3*maxText), ""},
		{"short", " no\n", ": no"},
		{"as long as possible", x(maxText) + "\n", ": " + x(maxText)},
		{"longer", x(maxText + 1), ": " + x(maxText) + "…"},
		{"spaces first", strings.Repeat(" ", 200) + x(2*maxText), ": " + x(maxText) + "…"},
		{"a rune at the cut", x(maxText-1) + "äöü", ": " + x(maxText-1) + "…"},
		{"a long rune at the cut", x(maxText-3) + "🚗🚗", ": " + x(maxText-3) + "…"},
		{"a rune before the cut", x(maxText-2) + "äöü", ": " + x(maxText-2) + "ä…"},
		{"no text", strings.Repeat("\x80", 2*maxText), ": " + strings.Repeat("\x80", maxText-4) + "…"},
	} {
		r := Response{Status: 500}
		r.read(http.Header{}, []byte(tt.body), &Function{}, "", nil)
		if got := strings.TrimPrefix(r.Reason, "500 Internal Server Error"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
