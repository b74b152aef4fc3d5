package pipeline_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"parkstream/docs/api/apitest"
	"parkstream/shared/batch"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
)

// documented serves a Handler as a processor does, and requires of each response that
// docs/api describes it.
func documented(t testing.TB, h pipeline.Handler) http.Handler {
	t.Helper()
	return apitest.Handler(t, "exit-processor", pipeline.NewHTTPHandler(h))
}

// The document has the methods that processors take.
func TestDocumentedMethods(t *testing.T) {
	handler := pipeline.NewHTTPHandler(new(counting))
	for _, function := range []string{"entry-processor", "exit-processor"} {
		operations := apitest.Operations(t, function)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(method, "/", strings.NewReader("{}")))
			_, found := operations[method+" /"]
			if taken := w.Code != http.StatusMethodNotAllowed; taken != found {
				t.Errorf("%s of %s: taken %t, in the document %t", method, function, taken, found)
			}
		}
		if len(operations) != 1 || len(operations["POST /"].Query) > 0 {
			t.Errorf("%s: %v, want POST without parameters", function, operations)
		}
	}
}

// wireForms are events as publishers send them, and whether the schema takes them. %s is
// the kind.
var wireForms = []struct {
	text  string
	valid bool
}{
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z"}`, true},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27t08:00:00.123456789012z","more":[1]}`, true},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-12-31T23:59:60Z","site":null,"gate":"","version":null,"void":null,"candidates":null}`, true},
	{`{"id":"1","vehicle_plate":null,"%s_date_time":"2026-11-27T08:00:00+05:30"}`, true},
	{`{"id":"1","void":true,"version":2}`, true},
	{`{"id":"1","void":true,"%s_date_time":"yesterday","vehicle_plate":""}`, true},
	{`{"id":"1","void":true,"entry_date_time":"2026-11-27T08:00:00Z","exit_date_time":"2026-11-27T08:00:00Z","vehicle_plate":"-"}`, true},
	{`{"id":"1","void":true,"%s_date_time":7}`, false},
	{`{"id":"1","void":true,"vehicle_plate":7}`, false},
	{`{"id":"ü☃","vehicle_plate":"١٢","%s_date_time":"2026-11-27T08:00:00Z","site":"","version":9007199254740991}`, true},
	{`{"id":"1","vehicle_plate":"A","%s_date_time":"2026-11-27T08:00:00Z","confidence":1,"candidates":[{"plate":"?"},{"plate":"B","confidence":0}],"country":"IN","make":"M","color":"c","image":"i","vehicle":"v","camera":"c","ambiguous_time":true,"received_time":false}`, true},
	{`{}`, false},
	{`null`, false},
	{`[]`, false},
	{`"x"`, false},
	{`{"id":"1"}`, false},
	{`{"id":"","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":7,"vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"a\u0000","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"` + strings.Repeat("x", 129) + `","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":"","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":"- .","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":["A1"],"%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":"` + strings.Repeat("A", 65) + `","%s_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":"A1"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":""}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":null}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":1795763908}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27 08:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T24:00:00Z"}`, false},
	{`{"id":"1","vehicle_plate":"A1","entry_date_time":"2026-11-27T08:00:00Z","exit_date_time":"2026-11-27T08:00:00Z"}`, false},
	{`{"id":"1","void":"yes"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","site":"a b"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","site":"` + strings.Repeat("s", 65) + `"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","gate":"a\n"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","camera":"` + strings.Repeat("c", 65) + `"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","version":0}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","version":1.5}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","version":9007199254740992}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","version":"2"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","confidence":1.01}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","confidence":"0.5"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","candidates":[{"confidence":1}]}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","candidates":["A"]}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","candidates":[` + strings.Repeat(`{"plate":"A"},`, 16) + `{"plate":"A"}]}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","country":"` + strings.Repeat("c", 17) + `"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","make":"` + strings.Repeat("m", 33) + `"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","color":7}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","image":"` + strings.Repeat("i", 301) + `"}`, false},
	{`{"id":"1","vehicle_plate":"A1","%s_date_time":"2026-11-27T08:00:00Z","received_time":1}`, false},
}

// The pipeline and the schema agree on the form of events.
func TestEventSchema(t *testing.T) {
	for _, tt := range wireForms {
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			text := strings.ReplaceAll(tt.text, "%s", kind.String())
			_, parsed := pipeline.ParseEvent(kind, []byte(text))
			schema := apitest.Validate(t, "event.schema.json", []byte(text))
			if (parsed == nil) != tt.valid || (schema == nil) != tt.valid {
				t.Errorf("%s: want valid %t\nthe pipeline: %v\nthe schema: %v", text, tt.valid, parsed, schema)
			}
		}
	}
}

// Each event that NewEvent takes is valid by the schema when it is written, and parsed as
// the same.
func TestWrittenEventsAreValid(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		runes := rapid.RuneFrom(nil, unicode.L, unicode.N, unicode.P, unicode.S)
		text, some := rapid.StringOfN(runes, 0, 16, 60), rapid.StringOfN(runes, 1, 16, 60)
		confidence := rapid.Ptr(rapid.Float64Range(0, 1), true)
		e, err := parking.NewEvent(parking.Event{
			ID: some.Draw(rt, "id"), Kind: rapid.SampledFrom([]parking.Kind{parking.Entry, parking.Exit}).Draw(rt, "kind"),
			Site: rapid.StringMatching(`[a-z0-9._-]{0,64}`).Draw(rt, "site"), Gate: text.Draw(rt, "gate"), Camera: text.Draw(rt, "camera"),
			Version: rapid.Int64Range(0, parking.MaxVersion).Draw(rt, "version"), Void: rapid.Bool().Draw(rt, "void"), NoPlate: rapid.Bool().Draw(rt, "no plate"),
			RawPlate: rapid.StringMatching(`[A-Z0-9ÄЖ京 .-]{0,15}[a-zA-Z0-9]`).Draw(rt, "plate"), Time: time.Unix(rapid.Int64Range(0, 9e9).Draw(rt, "time"), rapid.Int64Range(0, 999_999_999).Draw(rt, "nanoseconds")),
			Details: parking.Details{
				Vehicle: text.Draw(rt, "vehicle"), Confidence: confidence.Draw(rt, "confidence"), Make: text.Draw(rt, "make"),
				Candidates: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) parking.Candidate {
					return parking.Candidate{Plate: some.Draw(rt, "candidate"), Confidence: confidence.Draw(rt, "its confidence")}
				}), 0, 3).Draw(rt, "candidates"),
			},
		})
		if err != nil {
			rt.Fatalf("an event that is one is refused: %v", err)
		}
		written, err := json.Marshal(e)
		if err == nil {
			err = apitest.Validate(t, "openapi.yaml#/components/schemas/Event", written) // without other members
		}
		if err == nil {
			_, err = pipeline.ParseEvent(e.Kind, written)
		}
		if err != nil {
			rt.Fatalf("%s: %v", written, err)
		}
	})
}

// Stays of every status are valid by the schema.
func TestWrittenStaysAreValid(t *testing.T) {
	exit := time.Date(2026, 11, 27, 9, 0, 0, 123, time.UTC)
	for _, s := range []parking.Stay{
		{ID: "x", Site: "a", Plate: "A1", EntryID: "e", EntryTime: exit.Add(-time.Hour), ExitTime: exit, Revision: 1},
		{ID: "x", Site: "a", Plate: "A1", EntryID: "e", EntryTime: exit, ExitTime: exit, Revision: 1},
		{ID: "x", Site: "a", Plate: "A1", ExitTime: exit, Revision: 2},
		{ID: "x", Site: "a", Plate: "A1", ExitTime: exit, Revision: 2, Repeat: true},
		{ID: "x", Site: "a", Plate: "A1", ExitTime: exit, Revision: 2, Void: true},
	} {
		text, err := json.Marshal(s)
		if err == nil {
			err = apitest.Validate(t, "stay.schema.json", text)
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		broken := strings.Replace(string(text), `"status":"`+string(s.Status()), `"status":"none`, 1)
		if apitest.Validate(t, "stay.schema.json", []byte(broken)) == nil {
			t.Errorf("%s is valid", broken)
		}
	}
}

// What a connector writes is valid by the schema of batches, and what a function answers
// by that of results.
func TestBatchSchemas(t *testing.T) {
	request := batch.AppendRequest(nil, "/rabbitmq/vehicle_entries", []batch.Event{
		{ID: "1", Data: []byte(`{"a":1}`), Time: time.Date(2026, 11, 27, 8, 0, 0, 5e6, time.UTC), TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", TraceState: "a=b"},
		{ID: "2", Data: []byte("text"), ContentType: "text/plain", Attributes: []batch.Attribute{{Name: "amqpxtenant", Value: "t"}, {Name: "amqproutingkey", Value: "k"}}},
		{ID: "3"},
	})
	if err := apitest.Validate(t, "batch.schema.json", request); err != nil {
		t.Errorf("%s: %v", request, err)
	}
	results := batch.AppendResponse(nil, []batch.Result{
		{ID: "1", Outcome: batch.Done}, {ID: "2", Outcome: batch.Reject, Reason: "r"}, {ID: "3", Outcome: batch.Retry, Reason: "r", Unavailable: true},
	})
	if err := apitest.Validate(t, "results.schema.json", results); err != nil {
		t.Errorf("%s: %v", results, err)
	}
	tooMany := fmt.Sprintf("[%s%s]", strings.Repeat(`{"specversion":"1.0","id":"1","source":"s","type":"io.parkstream.delivery","data":1},`, batch.MaxEvents), `{"specversion":"1.0","id":"1","source":"s","type":"io.parkstream.delivery","data":1}`)
	for place, text := range map[string]string{
		"batch.schema.json":   tooMany,
		"results.schema.json": `{"results":[{"id":"1","outcome":"ok"}]}`,
	} {
		if apitest.Validate(t, place, []byte(text)) == nil {
			t.Errorf("%.100s is valid by %s", text, place)
		}
	}
}
