package camera

import (
	"errors"
	"strings"
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestCloudEvents(t *testing.T) {
	read := seen{Plate: "B-PS 1234", Time: "2026-07-01T06:00:00.25Z", Direction: "entry", Kind: "entry", Confidence: "0.93"}
	binary := read
	binary.Time = "2026-07-01T06:00:01Z"
	event := func(data string) string { return `{"specversion":"1.0","type":"t","source":"s","id":"i",` + data + `}` }
	testFormat(t, "cloudevents", []formatTest{
		{name: "foreign, as found", file: "shared/cloudevents_structured.json", refused: `of type "com.example.someevent": the request is of no known format: it has a JSON object with the members "appinfoa"`},
		{name: "structured, our own JSON", file: "cloudevents/own.json", want: []seen{read}},
		{name: "structured, another format", file: "cloudevents/milesight.json", want: []seen{{
			Plate: "B PS 1234", Time: "2026-10-25T01:30:00.125Z", Direction: "approach", Kind: "entry", Confidence: "0.93",
			Country: "DEU", Make: "Audi", Color: "Black", Pictures: "jpeg jpeg", Ambiguous: true,
		}}},
		{name: "structured, base64", file: "cloudevents/base64.json", want: []seen{read}},
		{name: "batch", file: "cloudevents/batch.http", want: []seen{
			read,
			{Plate: "XY 99", Time: "2026-07-01T06:01:00Z", Direction: "exit", Kind: "exit", Confidence: "0.93"},
			{Plate: "8ABC123", Time: "2026-07-01T06:00:00Z", Confidence: "0.963041", Country: "us-ca"},
		}},
		{name: "a batch with foreign events", body: "[" + event(`"data":{"a":1}`) + "," + event(`"data":{"plate":"A1","direction":"in"}`) + "," + event(`"data":[{"plate":"A2","direction":"in"},{"plate":{}}]`) + `,7]`, want: []seen{
			{Plate: "A1", Direction: "in", Kind: "entry"}, {Plate: "A2", Direction: "in", Kind: "entry"},
		}, unread: "element 1 of 4: the data of the CloudEvent of type \"t\": the request is of no known format"},
		{name: "empty batch", file: "cloudevents/empty_batch.http"},
		{name: "binary, time of the event", file: "cloudevents/binary.http", want: []seen{binary}},
		{
			name: "XML in a text", body: event(`"datacontenttype":"application/xml","data":"<event><TS>1782885600250</TS><LPR>A1</LPR><CAR_ID>7</CAR_ID></event>"`),
			want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00.25Z", Vehicle: "7", Counts: true}},
		},
		{name: "a type that Frigate has, too", body: strings.Replace(event(`"data":{"plate":"A1","direction":"out"}`), `"type":"t"`, `"type":"lpr"`, 1), want: []seen{{Plate: "A1", Direction: "out", Kind: "exit"}}},
		{name: "heartbeat", body: event(`"data":{"packetCounter":1,"sensorProviderID":"a"}`), heartbeat: true},
		{name: "no data", body: event(`"subject":null`), refused: `the CloudEvent of type "t" has no data`},
		{name: "a CloudEvent in it", body: event(`"data":` + event(`"data":{}`)), refused: "is a CloudEvent"},
		{name: "another version", body: strings.Replace(event(`"data":{}`), "1.0", "2.0", 1), refused: `specversion "2.0", want 1.0`},
		{name: "base64 with its end", body: event(`"data_base64":"eyJwbGF0ZSI6IkExIiwiZGlyZWN0aW9uIjoiaW4ifQ=="`), want: []seen{{Plate: "A1", Direction: "in", Kind: "entry"}}},
		{name: "base64 without its end", body: event(`"data_base64":"eyJwbGF0ZSI6IkExIiwiZGlyZWN0aW9uIjoiaW4ifQ"`), want: []seen{{Plate: "A1", Direction: "in", Kind: "entry"}}},
		{name: "base64 of addresses", body: event(`"data_base64":"eyJwbGF0ZSI6IkExIiwiZGlyZWN0aW9uIjoiPz4_In0="`), want: []seen{{Plate: "A1", Direction: "?>?"}}},
		{name: "base64 that is none", body: event(`"data_base64":"%"`), refused: "is not base64"},
		{name: "a time that is none", body: event(`"time":"now","data":{"plate":"A1","direction":"in"}`), refused: "is no time"},
		{name: "data that the format refuses", body: event(`"data":{"vehicle_plate":"","entry_date_time":"2026-07-01T06:00:00Z"}`), refused: "vehicle_plate is empty"},
	})
}

// A batch that is foreign is one of no known format, which is kept for people to look at.
func TestForeignCloudEvents(t *testing.T) {
	r := posted("application/cloudevents-batch+json", `[{"specversion":"1.0","type":"t","source":"s","id":"i","data":{"a":1}}]`)
	if _, _, err := Parse(r, site.Camera{}); !errors.Is(err, ErrUnrecognised) || !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("error %v, want ErrUnrecognised", err)
	}
}

// The format of a camera is that of its requests, and not of the data in them.
func TestConfiguredCloudEvents(t *testing.T) {
	r := posted("text/plain", `{"plate":"A1","direction":"in"}`)
	r.Header.Set("ce-specversion", "1.0")
	_, m, err := Parse(r, site.Camera{Format: "cloudevents"})
	if err != nil || len(m.Reads) != 1 || m.Reads[0].Plate != "A1" {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzCloudEvents(f *testing.F) { fuzzFormat(f, "cloudevents") }

func FuzzBinaryCloudEvents(f *testing.F) { fuzzFormat(f, "cloudevents", "Ce-Specversion") }
