package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRequestIsACloudEventsBatch(t *testing.T) {
	got := AppendRequest(nil, "/rabbitmq/q", []Event{
		{ID: "1", Data: []byte(`{"a":1}`), Time: time.Date(2026, 11, 23, 8, 0, 0, 5e6, time.UTC), TraceParent: "00-a-b-01"},
		{ID: `"ü`, Data: []byte("no json")},
		{ID: "3"},
	})
	want := `[{"specversion":"1.0","id":"1","source":"/rabbitmq/q","type":"io.parkstream.delivery","time":"2026-11-23T08:00:00.005Z","traceparent":"00-a-b-01","data":{"a":1}},` +
		`{"specversion":"1.0","id":"\"ü","source":"/rabbitmq/q","type":"io.parkstream.delivery","data_base64":"bm8ganNvbg=="},` +
		`{"specversion":"1.0","id":"3","source":"/rabbitmq/q","type":"io.parkstream.delivery","data_base64":""}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Whatever bytes a message has, the function sees the same ones.
func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.String(), func(s string) []byte { b, _ := json.Marshal(map[string]string{"k": s}); return b }),
			rapid.SampledFrom([][]byte{[]byte(`{"a":1,"a":2}`), []byte(" {} "), []byte("null"), []byte("\"\xff\"")}),
		)
		var events []Event
		for i := range rapid.IntRange(0, 5).Draw(t, "n") {
			events = append(events, Event{ID: fmt.Sprint(i, rapid.String().Filter(func(s string) bool { return json.Valid([]byte(`"` + s + `"`)) }).Draw(t, "id")), Data: data.Draw(t, "data")})
		}
		body := AppendRequest(nil, "/s", events)
		if !json.Valid(body) {
			t.Fatalf("not JSON: %s", body)
		}
		back, err := ParseRequest(body)
		if err != nil {
			t.Fatal(err)
		}
		if len(back) != len(events) {
			t.Fatalf("%d events became %d", len(events), len(back))
		}
		for i := range events {
			got, want := string(back[i].Data), string(events[i].Data)
			if back[i].ID != events[i].ID || got != want && !sameJSON(got, want) {
				t.Fatalf("%q became %q", want, got)
			}
		}
	})
}

// sameJSON allows for blanks around a JSON value, which are not part of it.
func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && cmp.Equal(x, y)
}

func TestParseRequestErrors(t *testing.T) {
	for _, body := range []string{
		``, `{}`, `null`, `[`, `[{"id":"1"}`, `[{"id":"1"}]x`, `[{"id":"1"}][]`, `[1]`, `[null]`, `[{"id":1}]`, `[{"id":null}]`, `[{"data":1}]`,
		`[{"id":"1"},{"id":"1"}]`, `[{"id":"1","data":{]}]`, `[{"id":"1","data":}]`, `[{"id":"1",1:2}]`, "[{\"id\":\"\xff\"}]", `[{"id":"\ud800"}]`,
	} {
		if events, err := ParseRequest([]byte(body)); err == nil {
			t.Errorf("%s was read as %v", body, events)
		}
	}
}

// Whoever sends the batch may have written it otherwise than AppendRequest does.
func TestParseRequestOfOthers(t *testing.T) {
	got, err := ParseRequest([]byte(` [ {"data" : {"b": [1, "]"], "b": 2} , "other":{"id":"0"}, "id":"\u0031", "time":null,"data_base64":null},` +
		`{"id":"2","time":"2026-11-23T09:00:00\u002b01:00","tracestate":"k=v","data_base64":"eA=="},{"\u0069d":"3","data":null} ] `))
	want := []Event{
		{ID: "1", Data: []byte(`{"b": [1, "]"], "b": 2}`)},
		{ID: "2", Time: time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC), TraceState: "k=v", Data: []byte("x")},
		{ID: "3", Data: []byte("null")},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, -want +got:\n%s", err, diff)
	}
}

// Data that is a part of the request must not be able to grow into what follows.
func TestDataIsBounded(t *testing.T) {
	events, err := ParseRequest([]byte(`[{"id":"1","data":{}},{"id":"2","data":{}}]`))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(events[0].Data, make([]byte, 30)...)
	if got := string(events[1].Data); got != "{}" {
		t.Errorf("the data of the second event became %q", got)
	}
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

func TestClassify(t *testing.T) {
	special := map[int]Verdict{
		401: Outage, 403: Outage, 404: Outage, 429: Outage, 503: Outage, 408: Crash, 425: Crash,
	}
	for status := 200; status < 600; status++ {
		want, ok := special[status]
		if !ok {
			want = map[int]Verdict{2: Answered, 3: Outage, 4: Refused, 5: Crash}[status/100]
		}
		if got := Classify(status); got != want {
			t.Errorf("Classify(%d) = %d, want %d", status, got, want)
		}
	}
}

// A batch of too many events is refused before the first of those too many is
// looked at.
func TestTooManyEvents(t *testing.T) {
	events := make([]Event, MaxEvents)
	for i := range events {
		events[i] = Event{ID: strconv.Itoa(i), Data: []byte("1")}
	}
	body := AppendRequest(nil, "/x", events)
	if got, err := ParseRequest(body); err != nil || len(got) != MaxEvents {
		t.Errorf("%d events: %d, %v", len(events), len(got), err)
	}
	body = append(bytes.TrimSuffix(body, []byte("]")), ",not even JSON"...)
	if _, err := ParseRequest(body); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
}
