package batch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// strict checks a request as a strict CloudEvents consumer does: the attributes by
// CloudEvents 1.0.2, section 3.1, with a JSON parser that accepts no invalid UTF-8 and
// no nesting beyond 64.
func strict(t *testing.T, body []byte) {
	t.Helper()
	if !utf8.Valid(body) {
		t.Fatalf("invalid UTF-8: %q", body)
	}
	depth, deepest := 0, 0
	for d := json.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if err != nil {
			break
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		deepest = max(deepest, depth)
	}
	var events []map[string]json.RawMessage
	if err := json.Unmarshal(body, &events); err != nil || deepest > 64 {
		t.Fatalf("%v, nested %d deep: %.200q", err, deepest, body)
	}
	for _, e := range events {
		for name, value := range e {
			if name == "data" {
				continue
			}
			var text string
			if err := json.Unmarshal(value, &text); err != nil || !attributeName.MatchString(name) && name != "data_base64" {
				t.Errorf("attribute %s is %.100s", name, value)
			}
			for _, r := range text {
				if unicode.IsControl(r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
					t.Errorf("attribute %s has the character %U", name, r)
				}
			}
		}
		if at, given := e["time"]; given {
			var when time.Time
			if err := json.Unmarshal(at, &when); err != nil {
				t.Errorf("time: %v", err)
			}
		}
	}
}

var attributeName = regexp.MustCompile(`^[a-z0-9]+$`)

// farTimes are times of publishers with other units or without a clock.
var farTimes = []time.Time{
	{},
	time.Unix(0, 0), time.Unix(-1, 0), time.Unix(1_795_000_000_000, 0), time.Unix(1_795_000_000_000_000, 0), time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0),
	time.UnixMilli(math.MaxInt64), time.UnixMilli(math.MinInt64), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("west", -3600)), time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("east", 3600)), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
}

// A request is valid for a strict consumer and for ParseRequest, for any contents of
// its events.
func TestRequestIsValidWhateverTheEventsHave(t *testing.T) {
	const now = "2026-11-27T09:00:00Z"
	sound := Event{ID: "sound", Data: []byte(`{}`)}
	sound.Time, _ = time.Parse(time.RFC3339, now)
	var hostile []Event
	for _, at := range farTimes {
		hostile = append(hostile, Event{Time: at, Data: []byte(`{}`)})
	}
	for _, text := range []string{"\xff", "a\x00b", "line\nbreak", "\x7f", "\u0085", "\uffff", "\U0010fffe", "\ufdd0", "\ud7ff\"\\", "ü ok", strings.Repeat("x", 40_000)} {
		hostile = append(hostile,
			Event{TraceParent: text}, Event{TraceState: text}, Event{ContentType: text}, Event{ContentType: text, Data: []byte("1")}, Event{Attributes: []Attribute{{"amqpx", text}}}, Event{Data: []byte(text)})
	}
	for _, depth := range []int{1, maxDepth, maxDepth + 1, 9_999, 10_001} {
		hostile = append(hostile, Event{Data: []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))}, Event{Data: []byte(strings.Repeat(`{"a\"[[":`, depth) + "1" + strings.Repeat("}", depth))})
	}
	hostile = append(hostile, Event{Data: []byte(`"` + strings.Repeat("[", 100) + `"`)}, Event{Data: []byte(strings.Repeat(`[1],`, 100))})
	for i := range hostile {
		hostile[i].ID = fmt.Sprint("hostile ", i)
		events := []Event{sound, hostile[i]}
		body := AppendRequest(nil, "/rabbitmq/q", events)
		strict(t, body)
		got, err := ParseRequest(body)
		if err != nil || len(got) != 2 || !got[0].Time.Equal(sound.Time) || got[1].ID != hostile[i].ID || got[1].DataErr != nil || string(got[1].Data) != string(hostile[i].Data) {
			t.Errorf("%.60v: %v, read back as %.60v", hostile[i], err, got)
		}
	}
}

// The request has the content type if the form of the data does not imply it.
func TestContentType(t *testing.T) {
	for _, tt := range []struct{ contentType, data, want string }{
		{"application/json", `{}`, ``},
		{"application/json", `{`, `"application/json"`},
		{"application/json; charset=utf-8", `{}`, `"application/json; charset=utf-8"`},
		{"application/vnd.reads+json", `{}`, `"application/vnd.reads+json"`},
		{"text/plain", `"quoted"`, ``}, // a consumer would take away the quotes
		{"text/plain", `text`, `"text/plain"`},
		{"image/jpeg", "\xff\xd8", `"image/jpeg"`},
		{"jpeg", "\xff\xd8", ``},
		{"", `{}`, ``},
	} {
		var got []map[string]json.RawMessage
		if err := json.Unmarshal(AppendRequest(nil, "/q", []Event{{ID: "1", ContentType: tt.contentType, Data: []byte(tt.data)}}), &got); err != nil {
			t.Fatal(err)
		}
		if string(got[0]["datacontenttype"]) != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.contentType, tt.data, got[0]["datacontenttype"], tt.want)
		}
	}
}

// An optional attribute that cannot be parsed is dropped. It is no reason to refuse the
// event or the batch.
func TestOptionalAttributesThatCannotBeRead(t *testing.T) {
	values := []string{
		`null`, `true`, `1`, `-1e999`, `{}`, `{"id":"0"}`, `[]`, `[["x"]]`, `""`, `"noon"`, `"\u0000"`, "\"\xff\"", `"\ud800"`, `"58875-01-01T00:00:00Z"`, `"+58875-01-01T00:00:00Z"`, `"-0001-01-01T00:00:00Z"`,
		`"0000-01-01T00:00:00+01:00"`, `"9999-12-31T23:59:59-01:00"`, `"2026-11-24T08:00:00"`, `"2026-13-01T00:00:00Z"`, `1795000000000`,
	}
	for _, name := range []string{"time", "traceparent", "tracestate", "type", "source", "specversion", "subject", "dataschema", "datacontenttype", "amqpx", "Extension", "", "\xff", `\ud800`} {
		for _, value := range values {
			body := []byte(`[{"id":"a","` + name + `":` + value + `,"data":1},{"` + name + `":` + value + `,"id":"b","traceparent":"kept","data":2}]`)
			got, err := ParseRequest(body)
			want := []Event{{ID: "a", Data: []byte("1")}, {ID: "b", Data: []byte("2"), TraceParent: "kept"}}
			for i := range got { // a text is a text for both of these
				if name == "traceparent" {
					got[0].TraceParent = ""
				}
				if name == "tracestate" {
					got[i].TraceState = ""
				}
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s: error %v, -want +got:\n%s", body, err, diff)
			}
		}
	}
}

// Invalid data makes only its own event invalid.
func TestDataThatCannotBeRead(t *testing.T) {
	for _, member := range []string{`"data_base64":"?"`, `"data_base64":1`, `"data_base64":{}`, `"data_base64":"\ud800"`, "\"data_base64\":\"\xff\"", `"data":1,"data_base64":"="`} {
		got, err := ParseRequest([]byte(`[{"id":"a",` + member + `},{"id":"b","data":2}]`))
		if err != nil || len(got) != 2 || got[0].DataErr == nil || got[0].Data != nil || got[1].DataErr != nil || string(got[1].Data) != "2" {
			t.Errorf("%s: error %v, got %v", member, err, got)
		}
	}
	got, err := ParseRequest([]byte(`[{"id":"a","data_base64":"?","data":1}]`))
	if err != nil || got[0].DataErr != nil || string(got[0].Data) != "1" {
		t.Errorf("of several the last one counts: error %v, got %v", err, got)
	}
	raw := "[{\"id\":\"a\",\"data\":{\"plate\":\"\xff\"}},{\"id\":\"b\",\"data\":2}]"
	if got, err = ParseRequest([]byte(raw)); err != nil || string(got[0].Data) != "{\"plate\":\"\xff\"}" {
		t.Errorf("invalid UTF-8 in data is for the function to judge: error %v, got %v", err, got)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, body := range []string{
		`[{"specversion":"1.0","id":"e1","source":"/r","type":"t","time":"2026-11-24T11:53:07Z","traceparent":"00-","data":{"a":[1,2]}}]`,
		`[{"id":"1","data_base64":"AAEC"},{"id":"2","data":null}]`, `[]`, `[{"id":"a","data":1,"data_base64":"AA=="}]`,
		`[{"id":"1","time":"58875-01-01T00:00:00Z"},{"id":"2","time":1,"tracestate":{},"data_base64":"?"}]`, `[{"id":"\u0000","time":"0000-01-01T00:00:00+01:00"}]`,
		`[{"id":"0","data_base64":"IA00"}]`, "[{\"id\":\"1\",\"x\":\"\xff\",\"data\":\"\xff\"}]", `[{"\ud800":1,"id":"1","traceparent":"\ud800"}]`, `[{"id":"1","data":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		events, err := ParseRequest(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			if events != nil {
				t.Fatalf("%q is read as %+v, with the error %v", body, events, err)
			}
			return
		}
		if len(events) > MaxEvents {
			t.Fatalf("%d events", len(events))
		}
		ids := make(map[string]bool)
		for _, e := range events {
			if e.ID == "" || ids[e.ID] {
				t.Fatalf("%q is read with the id %q, which is empty or there twice", body, e.ID)
			}
			ids[e.ID] = true
			if !utf8.ValidString(e.ID) || e.DataErr != nil && e.Data != nil {
				t.Fatalf("%q was read as %+v", body, e)
			}
		}
		// A parsed request can be written, and is the same when it is parsed again.
		written := AppendRequest(nil, "/q", events)
		again, err := ParseRequest(written)
		if err != nil || len(again) != len(events) {
			t.Fatalf("%q was written as %q: %v", body, written, err)
		}
		for i, e := range events {
			if a := again[i]; a.ID != e.ID || a.TraceParent != e.TraceParent || a.TraceState != e.TraceState || !a.Time.Equal(e.Time) ||
				!bytes.Equal(bytes.Trim(a.Data, " \t\r\n"), bytes.Trim(e.Data, " \t\r\n")) { // space around JSON is lost
				t.Fatalf("%q was read as %+v and then as %+v", body, e, a)
			}
		}
	})
}

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

// The function gets exactly the bytes of a message.
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

// Another sender may write the batch differently from AppendRequest.
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

// Data in the request must not grow into the bytes after it.
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

// A batch with too many events is refused before the first excess event is parsed.
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
