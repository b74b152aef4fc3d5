package camera

import (
	"errors"
	"testing"

	"parkstream/shared/site"
)

func TestHikvision(t *testing.T) {
	german := seen{
		Plate: "B AB 1234", Time: "2026-11-23T07:15:30Z", Direction: "forward", Confidence: "0.98", Country: "DE", Color: "black",
	}
	with := func(change func(*seen)) seen {
		s := german
		change(&s)
		return s
	}
	testFormat(t, "hikvision", []formatTest{
		{file: "hikvision/form.http", want: []seen{with(func(s *seen) { s.Vehicle, s.Pictures = "2026112308153000100edbIawTkCdRKyBzG1", "scene plate" })}},
		{file: "hikvision/form_without_filenames.http", want: []seen{{
			Plate: "1กข 234", Time: "2026-11-23T01:15:30.847Z", Direction: "reverse", Confidence: "0.62", Country: "TH",
			Vehicle: "2026112308153000100edbIawTkCdRKyBzG1", Pictures: "plate",
		}}},
		{file: "hikvision/prefix.xml", want: []seen{{
			Plate: "WA 99999", Time: "2026-11-23T07:15:30Z", Direction: "forward", Confidence: "0.925", Country: "PL", Color: "white",
			Vehicle: "6f1a2b3c-0000-4000-8000-000000000001",
		}}},
		{file: "hikvision/old_firmware.xml", want: []seen{{Plate: "EL123AB", Time: "2026-07-10T07:12:00Z", Direction: "forward", Confidence: "0.85"}}},
		{file: "hikvision/no_namespace.xml", want: []seen{{Plate: "苏A8HK52", Time: "2026-11-23T07:57:03Z", Confidence: "0.78", Country: "CN", Color: "blue"}}},
		{file: "hikvision/unknown.xml", want: []seen{{
			Time: "2026-11-23T07:15:30Z", Direction: "forward", Color: "white", Vehicle: "0f3a9c2e-7b11-4c22-9d33-444455556666",
		}}},
		{file: "hikvision/no_plate.xml", want: []seen{{Time: "2026-11-23T07:15:30Z", Direction: "forward", Vehicle: "0f3a9c2e-7b11-4c22-9d33-444455556667"}}},
		{file: "hikvision/corrected_by_list.xml", want: []seen{with(func(s *seen) {
			s.Plate, s.Candidates, s.Confidence, s.Vehicle = "HH XY 80", "HH XY 8O", "0.88", "0f3a9c2e-7b11-4c22-9d33-444455556668"
		})}},
		{file: "hikvision/picture_time.xml", want: []seen{with(func(s *seen) { s.Plate, s.Time = "M AB 77", "2026-11-23T07:15:30.591Z" })}},
		{file: "hikvision/heartbeat_videoloss.xml", heartbeat: true},
		{file: "hikvision/heartbeat.xml", heartbeat: true},
		{file: "hikvision/motion.xml"},
		{file: "hikvision/alert_stream.http", heartbeat: true, want: []seen{
			with(func(s *seen) { s.Vehicle, s.Pictures = "u-1", "body scene plate" }),
			with(func(s *seen) {
				s.Plate, s.Time, s.Direction, s.Vehicle, s.Pictures = "B CD 5678", "2026-11-23T07:15:41Z", "reverse", "u-2", "scene"
			}),
		}},
		{file: "hikvision/two_plates.xml", want: []seen{
			with(func(s *seen) { s.Vehicle = "u-3" }),
			with(func(s *seen) { s.Plate, s.Direction, s.Vehicle = "B CD 5678", "reverse", "u-3:2" }),
		}},
		{file: "hikvision/alert.json", want: []seen{with(func(s *seen) { s.Vehicle = "u-4" })}},
		{file: "hikvision/pull.xml", want: []seen{
			{Plate: "BAB1234", Time: "2026-11-23T07:15:30Z", Direction: "forward", Country: "D"},
			{Time: "2026-11-23T07:16:12Z", Direction: "reverse"},
		}},
		{file: "hikvision/pull_empty.xml"},
		{file: "shared/hikvision_isapi_pull_plates.xml", want: []seen{
			{Plate: "ABC1234", Time: "2024-04-28T11:00:00Z", Direction: "forward"},
		}},
		{
			name: "numbers, and a list instead of an object", body: `{"eventType":"ANPR","dateTime":"2026-11-23T08:15:30+01:00","ANPR":{"licensePlate":12345,"confidenceLevel":"97","vehicleInfo":[]}}`,
			want: []seen{{Plate: "12345", Time: "2026-11-23T07:15:30Z", Confidence: "0.97"}},
		},
		{
			name: "beside ANPR, a fraction of one", body: `<EventNotificationAlert><eventType>ANPR</eventType><licensePlate>A1</licensePlate><confidenceLevel>0.975</confidenceLevel><direction>reverse</direction><ANPR><line>1</line><dateTime>2026-11-23T08:15:30-6:00</dateTime></ANPR></EventNotificationAlert>`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T14:15:30Z", Direction: "reverse", Confidence: "0.975"}},
		},
		{
			name: "all at the root", body: `<EventNotificationAlert><eventType>ANPR</eventType><eventState>active</eventState><dateTime>2026-11-23T08:15:30</dateTime><licensePlate>A1</licensePlate><confidence>95</confidence><direction>out</direction></EventNotificationAlert>`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T07:15:30Z", Direction: "out", Kind: "exit", Confidence: "0.95"}},
		},
		{
			name: "without ANPR, a fraction of a hundred", body: `<EventNotificationAlert><eventType>vehicleDetection</eventType><eventState>inactive</eventState><captureTime>20261123081530123</captureTime><plateNumber>A1</plateNumber><confidence>97.5</confidence><countryAbbreviation>POL</countryAbbreviation></EventNotificationAlert>`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T07:15:30.123Z", Confidence: "0.975", Country: "POL"}},
		},
		{
			name: "the original plate alone", body: `<ANPR><dateTime>2026-11-23T08:15:30</dateTime><originalLicensePlate>A1</originalLicensePlate><licensePlate/><country>0</country><countryAbbreviation>NON</countryAbbreviation></ANPR>`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T07:15:30Z"}},
		},
		{
			name: "unknown, and what was read", body: `<EventNotificationAlert><dateTime>2026-11-23T08:15:30Z</dateTime><ANPR><licensePlate>unknown</licensePlate><originalLicensePlate>A1</originalLicensePlate><confidenceLevel/></ANPR></EventNotificationAlert>`,
			want: []seen{{Time: "2026-11-23T08:15:30Z", Candidates: "A1"}},
		},
		{
			name: "times of each vehicle", body: `<EventNotificationAlert><dateTime>2026-11-23T08:15:30Z</dateTime><ANPR><licensePlate>A1</licensePlate><dateTime>2026-11-23T08:15:29Z</dateTime></ANPR><ANPR><licensePlate>A2</licensePlate></ANPR></EventNotificationAlert>`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T08:15:29Z"}, {Plate: "A2", Time: "2026-11-23T08:15:30Z"}},
		},
		{
			name: "one after the other, of which one is cut off", body: "\ufeff<?xml version=\"1.0\"?>\r\n<EventNotificationAlert><eventType>videoloss</eventType><eventState>inactive</eventState></EventNotificationAlert>\r\n" +
				`<?xml version="1.0" encoding="UTF-8"?><h:EventNotificationAlert xmlns:h="http://www.isapi.org/ver20/XMLSchema"><h:ANPR><h:licensePlate>A1</h:licensePlate></h:ANPR></h:EventNotificationAlert><EventNotificationAlert><ANPR>`,
			want: []seen{{Plate: "A1"}}, heartbeat: true, unread: "malformed",
		},
		{
			name: "a list of alerts in XML", body: `<EventNotificationAlertList><EventNotificationAlert><ANPR><licensePlate>A1</licensePlate></ANPR></EventNotificationAlert><EventNotificationAlert><eventType>ANPR</eventType></EventNotificationAlert><EventNotificationAlert><ANPR><licensePlate>A2</licensePlate></ANPR></EventNotificationAlert></EventNotificationAlertList>`,
			want: []seen{{Plate: "A1"}, {Plate: "A2"}}, unread: "no element ANPR",
		},
		{
			name: "a list of alerts in JSON", body: `[{"EventNotificationAlert":[{"eventType":"ANPR","dateTime":null,"ANPR":{"licensePlate":"A1","confidenceLevel":null,"direction":null}},null]},{"eventType":"ANPR","eventState":"active","licensePlate":"A2","confidenceLevel":0.5,"dateTime":1795418130}]`,
			want: []seen{{Plate: "A1"}, {Plate: "A2", Time: "2026-11-23T07:15:30Z", Confidence: "0.5"}}, unread: "null instead of an object",
		},
		{
			name: "JSON that was made of XML", body: `{"EventNotificationAlert":{"$":{"version":"2.0"},"dateTime":["2026-11-23T08:15:30+01:00"],"eventType":["ANPR"],"UUID":["u"],"ANPR":[{"licensePlate":["A1"],"confidenceLevel":["97"],"direction":["forward"],"vehicleInfo":[{"color":["red"]}]}]}}`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T07:15:30Z", Vehicle: "u", Confidence: "0.97", Direction: "forward", Color: "red"}},
		},
		{
			name: "one vehicle that cannot be read", body: `{"eventType":"ANPR","dateTime":"2026-11-23T08:15:30+01:00","UUID":"u","ANPR":[{"licensePlate":{}},{"licensePlate":"A2"}]}`,
			want: []seen{{Plate: "A2", Time: "2026-11-23T07:15:30Z", Vehicle: "u:2"}}, unread: "instead of a text",
		},
		{
			name: "a pull with one that cannot be read", body: `<Plates><Plate><captureTime>2026-99-01T00:00:00</captureTime><plateNumber>A1</plateNumber></Plate><Plate><captureTime>2026-11-23T08:15:30+01:00</captureTime><plateNumber>A2</plateNumber></Plate></Plates>`,
			want: []seen{{Plate: "A2", Time: "2026-11-23T07:15:30Z"}}, unread: "is no time",
		},
		{
			name: "in an object, several", body: `{"EventNotificationAlert":{"dateTime":"2026-11-23T08:15:30+01:00","UUID":"u","ANPR":[{"licensePlate":"A1"},{"licensePlate":"A2"}]}}`,
			want: []seen{{Plate: "A1", Time: "2026-11-23T07:15:30Z", Vehicle: "u"}, {Plate: "A2", Time: "2026-11-23T07:15:30Z", Vehicle: "u:2"}},
		},
	})
}

func TestHikvisionRefused(t *testing.T) {
	testRefused(t, hikvision, map[string]refused{
		"a plate that is none":  {"", `{"eventType":"ANPR","ANPR":{"licensePlate":["SECRET1",1]}}`, "a list"},
		"another document":      {"", `<Other/>`, "no document EventNotificationAlert or Plates"},
		"nothing":               {"", ``, "no document EventNotificationAlert or Plates"},
		"a form with a picture": {"multipart/form-data; boundary=b", "--b\r\n\r\n" + jpeg + "\r\n--b--\r\n", "no document EventNotificationAlert or Plates"},
		"no vehicle":            {"", `<EventNotificationAlert><eventType>ANPR</eventType></EventNotificationAlert>`, "no element ANPR"},
		"no type":               {"", `<EventNotificationAlert/>`, "neither an eventType nor an element ANPR"},
		"no time of a clock":    {"", `<EventNotificationAlert><dateTime>now</dateTime><ANPR><licensePlate>SECRET1</licensePlate></ANPR></EventNotificationAlert>`, `"now" is no time`},
		"an entity":             {"", `<EventNotificationAlert><ANPR><licensePlate>&SECRET;</licensePlate></ANPR></EventNotificationAlert>`, "entity"},
		"a document type":       {"", `<!DOCTYPE a [<!ENTITY b "SECRET1">]><EventNotificationAlert/>`, "the XML has a document type"},
		"malformed":             {"", `<EventNotificationAlert><ANPR>`, "malformed"},
		"malformed JSON":        {"", `{"eventType":`, "malformed"},
		"a pull without a time": {"", `<Plates><Plate><captureTime>2026-99-01T00:00:00</captureTime></Plate></Plates>`, "is no time"},
	})
}

func FuzzHikvision(f *testing.F) { fuzzFormat(f, "hikvision") }

// XML without a root that can be read is malformed, as in any other format.
func TestHikvisionMalformed(t *testing.T) {
	for _, body := range []string{
		`<!DOCTYPE a [<!ENTITY b "c">]><EventNotificationAlert/>`, `<EventNotificationAlert`, `<?xml version="1.0"?>`, `<a><b></a>`,
	} {
		_, _, err := Parse(Request{Body: []byte(body), Received: received}, site.Camera{ID: "gate-1", Format: "hikvision"})
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", body, err)
		}
	}
}
