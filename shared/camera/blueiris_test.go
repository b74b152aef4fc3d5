package camera

import (
	"strings"
	"testing"
)

func TestBlueIris(t *testing.T) {
	testFormat(t, "blueiris", []formatTest{
		{name: "dump, as found", file: "shared/codeproject_blueiris_ai_dump.json", want: []seen{
			{Plate: "T121396C", Time: "2024-11-19T23:51:20Z", Confidence: "0.942244"},
			{Plate: "KYJ5", Time: "2024-11-19T23:51:20Z", Confidence: "0.720977"},
		}},
		{name: "dump with a plate of two lines, as found", file: "shared/codeproject_blueiris_ai_dump_two_line_plate.json", want: []seen{
			{Plate: "SGX 7923G", Time: "2025-02-09T03:46:58Z", Confidence: "0.940095"},
			{Plate: "HF7499", Time: "2025-02-09T03:46:58Z", Confidence: "0.90813"},
		}},
		{name: "alert with a dump of several pictures", file: "blueiris/alert_json.json", want: []seen{
			{Plate: "B PS 1234", Time: "2026-07-01T06:00:00.5Z", Confidence: "0.94", Pictures: "jpeg"},
			{Plate: "XY 99", Time: "2026-07-01T06:00:00.5Z", Confidence: "0.5", Pictures: "jpeg"},
		}},
		{name: "alert with the plate", file: "blueiris/alert_plate.json", want: []seen{{Plate: "B PS 1234", Time: "2026-07-01T06:00:00Z", Pictures: "jpeg"}}},
		{name: "alert with the memo", file: "blueiris/alert_memo.json", want: []seen{
			{Plate: "B PS 1234", Time: "2026-07-01T06:00:00Z", Confidence: "0.92"},
			{Plate: "xy99", Time: "2026-07-01T06:00:00Z", Confidence: "0.61"},
		}},
		{name: "alert with a memo without plates", file: "blueiris/alert_nothing.json"},
		{name: "an answer alone", file: "blueiris/codeproject.json", want: []seen{{Plate: "B PS 1234", Time: "2026-07-01T06:00:03Z", Confidence: "0.91"}}},
		{name: "dump without plates", file: "blueiris/dump_empty.json"},
		{
			name: "dump in a text", body: `{"ai_dump":"[{\"api\":\"alpr\",\"found\":{\"predictions\":[{\"label\":\"Plate: A1 B2\",\"confidence\":\"0.5\"}]}}]","timestamp":"20261025T023000"}`,
			want: []seen{{Plate: "A1 B2", Time: "2026-10-25T01:30:00Z", Confidence: "0.5", Ambiguous: true}},
		},
		{name: "one answer in an object, nulls", body: `{"ai_dump":{"api":"alpr","found":{"success":false,"predictions":null}}}`},
		{name: "a dump that is null, and a memo", body: `{"ai_dump":null,"memo":"Plate: HELLO:70%,DayPlate:90%,BYE:60%,dog","camera":"c"}`, want: []seen{{Plate: "HELLO", Confidence: "0.7"}, {Plate: "BYE", Confidence: "0.6"}}},
		{name: "macros that were not replaced", body: `{"plate_number":"&PLATE","camera":"&CAM","timestamp":"&ALERT_TIME"}`, want: []seen{{}}},
		{
			name: "a plate that was not read", body: `[{"api":"alpr","found":{"predictions":[{"plate":"","confidence":0.4}],"timestampUTC":"Wed, 1 Jul 2026 06:00:03 GMT"}}]`,
			want: []seen{{Time: "2026-07-01T06:00:03Z", Confidence: "0.4"}},
		},
		{
			name: "the same plate in two pictures", body: `[{"api":"alpr","found":{"predictions":[{"plate":"A1","confidence":0.4}],"timestampUTC":"Wed, 01 Jul 2026 06:00:03 GMT"}},
			{"api":"alpr","found":{"predictions":[{"plate":"A 1","confidence":0.9}],"timestampUTC":"Wed, 01 Jul 2026 06:00:04 GMT"}}]`,
			want: []seen{{Plate: "A 1", Time: "2026-07-01T06:00:03Z", Confidence: "0.9"}},
		},
		{
			name: "answers that found nothing", body: `[{"api":"objects","found":null},{"api":"faces","found":"none"},{"api":"alpr","found":{"predictions":{"plate":"A1","confidence":0.5}}}]`,
			want: []seen{{Plate: "A1", Confidence: "0.5"}},
		},
		{name: "1001 plates", body: `{"success":true,"predictions":[` + strings.Repeat(`{"plate":""},`, 1000) + `{"plate":""}]}`, refused: "more than 1000"},
		{name: "1001 entries of a memo", body: `{"camera":"c","memo":"` + strings.Repeat("A1,", 1000) + `A1"}`, refused: "more than 1000"},
		{name: "a prediction that is malformed", body: `{"success":true,"predictions":[{"plate":"A1"},{"plate":{}}]}`, want: []seen{{Plate: "A1"}}, unread: "instead of a text"},
		{name: "a time of Windows", body: `{"plate_number":"A1","timestamp":"7/1/2026 8:00:00 PM"}`, want: []seen{{Plate: "A1", Time: "2026-07-01T18:00:00Z"}}},
		{name: "an answer that is malformed", body: `[{"api":"alpr","found":5},"SECRET",{"api":"alpr","found":{"predictions":[{"plate":"A1"}]}}]`, want: []seen{{Plate: "A1"}}, unread: "element 2 of 3: the JSON has a value of the wrong type"},
		{name: "an answer of a dump that is malformed", body: `{"ai_dump":[null,{"api":"alpr","found":{"predictions":[5,{"plate":"A1"}]}}]}`, want: []seen{{Plate: "A1"}}, unread: "null instead of an object\nthe JSON has a value of the wrong type"},
		{name: "a finding that is a list", body: `[{"api":"alpr","found":[{"plate":"A1","confidence":0.5}]}]`, want: []seen{{Plate: "A1", Confidence: "0.5"}}},
		{name: "a dump without plates, and the plate", body: `{"ai_dump":[{"api":"objects","found":{"predictions":[{"label":"car"}]}}],"plate_number":"A1"}`, want: []seen{{Plate: "A1"}}},
		{name: "a dump without plates, and no plate", body: `{"ai_dump":[{"api":"objects","found":{"predictions":[{"label":"car"}]}}],"plate_number":""}`},
		{
			name: "a time that is none, and that of the answer", body: `{"ai_dump":[{"api":"alpr","found":{"predictions":[{"plate":"A1"}],"timestampUTC":"Wed, 01 Jul 2026 06:00:03 GMT"}}],"timestamp":"now"}`,
			want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:03Z"}},
		},
		{
			name: "the time of the answer is none, and that of the alert", body: `{"ai_dump":[{"api":"alpr","found":{"predictions":[{"plate":"A1"}],"timestampUTC":"now"}}],"timestamp":"2026-07-01T08:00:00"}`,
			want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00Z"}},
		},
		{name: "a time that is none", body: `{"plate_number":"A1","timestamp":"now"}`, refused: "is no time"},
		{name: "a time of the answer that is none", body: `[{"api":"alpr","found":{"predictions":[{"plate":"A1"}],"timestampUTC":"now"}}]`, refused: "is no time"},
		{name: "a memo and its time", body: `{"memo":"A1:50%","timestamp":"2026-07-01T06:00:00Z"}`, want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00Z", Confidence: "0.5"}}},
		{name: "an answer without success", body: `{"predictions":[{"plate":"A1"}],"timestampUTC":"2026-07-01T06:00:00"}`, want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00Z"}}},
		{name: "nothing to read", body: `{"alert_path":"x","camera":"c"}`, refused: "want ai_dump, plate_number or memo"},
		{name: "a dump that is malformed", body: `{"ai_dump":"[{","camera":"c"}`, refused: "malformed"},
	})
}

func FuzzBlueIris(f *testing.F) { fuzzFormat(f, "blueiris") }
