package camera

import "testing"

func TestVerkada(t *testing.T) {
	testFormat(t, "verkada", []formatTest{
		{name: "seconds", file: "verkada/lpr.json", want: []seen{{
			Plate: "8ABC123", Time: "2026-07-01T06:00:00Z", Confidence: "0.963041", Country: "us-ca",
		}}},
		{name: "milliseconds, optional members missing", file: "verkada/milliseconds.json", want: []seen{{
			Plate: "8ABC123", Time: "2026-07-01T06:00:00.25Z",
		}}},
		{name: "another notification", file: "verkada/notification.json", refused: "has the type \"notification\" and no data.license_plate_number"},
		{
			name: "no plate, time of the detection", body: `{"webhook_type":"lpr","data":{"license_plate_number":null,"created":null,"detected":1782885601879}}`,
			want: []seen{{Time: "2026-07-01T06:00:01.879Z"}},
		},
		{name: "list", body: `[{"webhook_type":"lpr","data":{"license_plate_number":"A1","created":1782885600,"confidence":"0.5"}},
			{"webhook_type":"lpr","data":{"license_plate_number":77,"created":1782885660}}]`, want: []seen{
			{Plate: "A1", Time: "2026-07-01T06:00:00Z", Confidence: "0.5"}, {Plate: "77", Time: "2026-07-01T06:01:00Z"},
		}},
		{name: "times as texts, percent, another name of the plate", body: `{"webhook_type":"lpr","data":{"license_plate":"A1","created":"2026-07-01T06:00:00+00:00","confidence":93.5,"license_plate_state":null}}`, want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00Z", Confidence: "0.935"}}},
		{name: "data is no object", body: `{"webhook_type":"lpr","data":[]}`, refused: "wrong type"},
		{name: "one of a list that cannot be read", body: `[{"webhook_type":"notification","data":{}},{"webhook_type":"lpr","data":[]},{"webhook_type":"lpr","data":{"license_plate_number":"A1","created":1782885600}}]`, want: []seen{
			{Plate: "A1", Time: "2026-07-01T06:00:00Z"},
		}, unread: "element 1 of 3: the webhook has the type"},
		{name: "data is null", body: `{"webhook_type":"lpr","data":null}`, refused: "no data.license_plate_number"},
	})
}

func FuzzVerkada(f *testing.F) { fuzzFormat(f, "verkada") }
