package openfaas

import (
	"fmt"
	"net/http"
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
		r.read(http.Header{}, []byte(body), &Function{BatchSize: 2}, []batch.Event{{ID: "1"}, {ID: "2"}})
		if r.Verdict == batch.Answered || (r.Results != nil) != tt.want || tt.want && r.Reason != "shard 2" {
			t.Errorf("%d %s: %+v", tt.status, body, r)
		}
	}
}
