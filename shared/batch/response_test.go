package batch

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A reason of a wrong type does not change the outcome.
func TestReasonsThatCannotBeRead(t *testing.T) {
	events := []Event{{ID: "a"}, {ID: "b"}}
	for reason, want := range map[string]string{`5`: "5", `{"code":7}`: `{"code":7}`, "\"no \xff\"": "no \uFFFD", `"\ud800"`: "\uFFFD", `null`: "", `true`: "true"} {
		got, err := ParseResponse([]byte(`{"results":[{"id":"a","outcome":"reject","reason":`+reason+`},{"id":"b","outcome":"done"}]}`), events)
		if diff := cmp.Diff([]Result{{ID: "a", Outcome: Reject, Reason: want}, {ID: "b", Outcome: Done}}, got); err != nil || diff != "" {
			t.Errorf("%s: error %v, -want +got:\n%s", reason, err, diff)
		}
	}
}

func FuzzParseResponse(f *testing.F) {
	events := []Event{{ID: "1"}, {ID: "2"}, {ID: "3"}}
	for _, body := range []string{
		`{"results":[{"id":"1","outcome":"done"},{"id":"2","outcome":"retry","reason":"x"}]}`,
		`{"results":[{"id":"1","outcome":"done"},{"id":"1","outcome":"reject"},{"id":"1","outcome":"done"}]}`,
		`{"results":null,"results":[]}`, `{"results":[{"id":"3","outcome":"done","reason":{}},null,{"id":"2","reason":"\ud800","outcome":"reject"}]}`,
		`{"results":[{"id":"1","outcome":"retry","unavailable":true},{"id":"2","outcome":"done","unavailable":true},{"id":"3","unavailable":[{}],"outcome":"retry"}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		results, err := ParseResponse(body, events)
		if err != nil {
			if results != nil || !errors.Is(err, ErrNoContract) {
				t.Fatalf("%q is read as %+v, with the error %v", body, results, err)
			}
			return
		}
		if len(results) != len(events) {
			t.Fatalf("%d results of %q", len(results), body)
		}
		for i, r := range results {
			known := r.Outcome == Done || r.Outcome == Retry || r.Outcome == Reject
			said := bytes.Contains(body, []byte("done")) || bytes.Contains(body, []byte(`\u`))
			if r.ID != events[i].ID || !known || r.Outcome == Done && !said || r.Unavailable && r.Outcome != Retry {
				t.Fatalf("%q was read as %+v", body, r)
			}
			results[i].Reason = strings.ToValidUTF8(r.Reason, "\uFFFD") // as it is written
		}
		again, err := ParseResponse(AppendResponse(nil, results), events)
		if diff := cmp.Diff(results, again); err != nil || diff != "" {
			t.Fatalf("%q is read otherwise when it is written again: %v, -want +got:\n%s", body, err, diff)
		}
	})
}

func TestResponse(t *testing.T) {
	events := []Event{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}
	body := AppendResponse(nil, []Result{{ID: "c", Outcome: Reject, Reason: "no \"plate\"\n\xff"}, {ID: "a", Outcome: Done}, {ID: "d", Outcome: "perhaps"}, {ID: "x", Outcome: Done}})
	got, err := ParseResponse(body, events)
	want := []Result{
		{ID: "a", Outcome: Done},
		{ID: "b", Outcome: Retry, Reason: "the function's answer does not name this event"},
		{ID: "c", Outcome: Reject, Reason: "no \"plate\"\n\uFFFD"},
		{ID: "d", Outcome: Retry, Reason: `unknown outcome "perhaps"`},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	body = AppendResponse(nil, []Result{
		{ID: "a", Outcome: Reject, Reason: "no"},
		{ID: "a", Outcome: Done},
		{ID: "b", Outcome: Done},
		{ID: "b", Outcome: Retry, Reason: "later"},
		{ID: "c", Outcome: Done},
		{ID: "c", Outcome: Done},
		{ID: "d", Outcome: Done},
		{ID: "d", Outcome: Reject},
		{ID: "d", Outcome: Reject},
	})
	const twice = "the function's answer has different outcomes for this event"
	want = []Result{{ID: "a", Outcome: Retry, Reason: twice}, {ID: "b", Outcome: Retry, Reason: twice}, {ID: "c", Outcome: Done}, {ID: "d", Outcome: Retry, Reason: twice}}
	got, err = ParseResponse(body, events)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	got, err = ParseResponse([]byte(`{ "took":[{"id":"a"}], "results":[{"outcome":"done","id":"\u0062","more":{}}, {"reason":null,"id":"d","outcome":"done"}, {"outcome":"done"}, null, {"id":"a"}]}`), events)
	want = []Result{
		{ID: "a", Outcome: Retry, Reason: `unknown outcome ""`},
		{ID: "b", Outcome: Done},
		{ID: "c", Outcome: Retry, Reason: "the function's answer does not name this event"},
		{ID: "d", Outcome: Done},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
	for _, body := range []string{
		``, `ok`, `{}`, `[]`, `{"results":null}`, `<html>`, `{"results":{}}`, `{"results":[1]}`, `{"results":[{"id":1}]}`, `{"results":[{"id":"a","outcome":true}]}`,
		`{"results":[]`, `{"results":[]}{}`, `{"results":[],"results":[]}`, `{"results":[{"id":"a","outcome":"retry","outcome":"done"}]}`,
	} {
		if _, err := ParseResponse([]byte(body), events); !errors.Is(err, ErrNoContract) {
			t.Errorf("%q: error %v, want ErrNoContract", body, err)
		}
	}
	if _, err := ParseResponse(AppendResponse(nil, nil), nil); err != nil {
		t.Errorf("no events, no results: %v", err)
	}
}

// Only the JSON value true of a retry makes an event unavailable.
func TestUnavailable(t *testing.T) {
	const different = "the function's answer has different outcomes for this event"
	for _, tt := range []struct {
		results string
		want    Result
	}{
		{`{"id":"a","outcome":"retry","unavailable":true,"reason":"r"}`, Result{Outcome: Retry, Reason: "r", Unavailable: true}},
		{`{"unavailable":true,"outcome":"retry","id":"a"}`, Result{Outcome: Retry, Unavailable: true}},
		{`{"id":"a","outcome":"retry","unavailable":false}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry","unavailable":null}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry","unavailable":"true"}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry","unavailable":1}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry","unavailable":{"a":[true]}}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry","unavailable":[true]}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry","Unavailable":true}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"done","unavailable":true}`, Result{Outcome: Done}},
		{`{"id":"a","outcome":"reject","unavailable":true}`, Result{Outcome: Reject}},
		{`{"id":"a","outcome":"perhaps","unavailable":true}`, Result{Outcome: Retry, Reason: `unknown outcome "perhaps"`}},
		{`{"id":"a","unavailable":true}`, Result{Outcome: Retry, Reason: `unknown outcome ""`}},
		{`{"id":"b","unavailable":true}`, Result{Outcome: Retry, Reason: "the function's answer does not name this event"}},
		{`{"id":"a","outcome":"retry","unavailable":true},{"id":"a","outcome":"retry","unavailable":true}`, Result{Outcome: Retry, Unavailable: true}},
		{`{"id":"a","outcome":"retry","unavailable":true},{"id":"a","outcome":"retry"}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"retry"},{"id":"a","outcome":"retry","unavailable":true}`, Result{Outcome: Retry}},
		{`{"id":"a","outcome":"done"},{"id":"a","outcome":"retry","unavailable":true}`, Result{Outcome: Retry, Reason: different}},
		{`{"id":"a","outcome":"retry","unavailable":true},{"id":"a","outcome":"done"}`, Result{Outcome: Retry, Reason: different}},
	} {
		tt.want.ID = "a"
		got, err := ParseResponse([]byte(`{"results":[`+tt.results+`]}`), []Event{{ID: "a"}})
		if diff := cmp.Diff([]Result{tt.want}, got); err != nil || diff != "" {
			t.Errorf("%s: error %v, -want +got:\n%s", tt.results, err, diff)
		}
	}
}
