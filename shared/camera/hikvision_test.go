package camera

import "testing"

func TestHikvision(t *testing.T) {
	german := seenRead{
		plate: "B AB 1234", at: "2026-11-23T07:15:30Z", direction: "forward", confidence: "0.98", country: "DE", color: "black",
	}
	with := func(change func(*seenRead)) seenRead {
		s := german
		change(&s)
		return s
	}
	testSamples(t, "hikvision", map[string]sampleTest{
		"form.http": {reads: []seenRead{with(func(s *seenRead) { s.vehicle, s.pictures = "2026112308153000100edbIawTkCdRKyBzG1", "scene plate" })}},
		"form_without_filenames.http": {reads: []seenRead{{
			plate: "1กข 234", at: "2026-11-23T01:15:30.847Z", direction: "reverse", confidence: "0.62", country: "TH",
			vehicle: "2026112308153000100edbIawTkCdRKyBzG1", pictures: "plate",
		}}},
		"prefix.xml": {reads: []seenRead{{
			plate: "WA 99999", at: "2026-11-23T07:15:30Z", direction: "forward", confidence: "0.925", country: "PL", color: "white",
			vehicle: "6f1a2b3c-0000-4000-8000-000000000001",
		}}},
		"old_firmware.xml": {reads: []seenRead{{plate: "EL123AB", at: "2026-07-10T07:12:00Z", direction: "forward", confidence: "0.85"}}},
		"no_namespace.xml": {reads: []seenRead{{plate: "苏A8HK52", at: "2026-11-23T07:57:03Z", confidence: "0.78", country: "CN", color: "blue"}}},
		"unknown.xml": {reads: []seenRead{{
			at: "2026-11-23T07:15:30Z", direction: "forward", color: "white", vehicle: "0f3a9c2e-7b11-4c22-9d33-444455556666",
		}}},
		"no_plate.xml": {reads: []seenRead{{at: "2026-11-23T07:15:30Z", direction: "forward", vehicle: "0f3a9c2e-7b11-4c22-9d33-444455556667"}}},
		"corrected_by_list.xml": {reads: []seenRead{with(func(s *seenRead) {
			s.plate, s.candidates, s.confidence, s.vehicle = "HH XY 80", "HH XY 8O", "0.88", "0f3a9c2e-7b11-4c22-9d33-444455556668"
		})}},
		"picture_time.xml":        {reads: []seenRead{with(func(s *seenRead) { s.plate, s.at = "M AB 77", "2026-11-23T07:15:30.591Z" })}},
		"heartbeat_videoloss.xml": {heartbeat: true},
		"heartbeat.xml":           {heartbeat: true},
		"motion.xml":              {},
		"alert_stream.http": {heartbeat: true, reads: []seenRead{
			with(func(s *seenRead) { s.vehicle, s.pictures = "u-1", "body scene plate" }),
			with(func(s *seenRead) {
				s.plate, s.at, s.direction, s.vehicle, s.pictures = "B CD 5678", "2026-11-23T07:15:41Z", "reverse", "u-2", "scene"
			}),
		}},
		"two_plates.xml": {reads: []seenRead{
			with(func(s *seenRead) { s.vehicle = "u-3" }),
			with(func(s *seenRead) { s.plate, s.direction, s.vehicle = "B CD 5678", "reverse", "u-3:2" }),
		}},
		"alert.json": {reads: []seenRead{with(func(s *seenRead) { s.vehicle = "u-4" })}},
		"pull.xml": {reads: []seenRead{
			{plate: "BAB1234", at: "2026-11-23T07:15:30Z", direction: "forward", country: "D"},
			{at: "2026-11-23T07:16:12Z", direction: "reverse"},
		}},
		"pull_empty.xml": {},
		"shared/hikvision_isapi_pull_plates.xml": {reads: []seenRead{
			{plate: "ABC1234", at: "2024-04-28T11:00:00Z", direction: "forward"},
		}},
	})
}

func TestHikvisionRefused(t *testing.T) {
	testRefused(t, hikvision, map[string]refused{
		"another document":      {"", `<Other/>`, "no document EventNotificationAlert or Plates"},
		"nothing":               {"", ``, "no document EventNotificationAlert or Plates"},
		"a form with a picture": {"multipart/form-data; boundary=b", "--b\r\n\r\n" + jpeg + "\r\n--b--\r\n", "no document EventNotificationAlert or Plates"},
		"no vehicle":            {"", `<EventNotificationAlert><eventType>ANPR</eventType></EventNotificationAlert>`, "no element ANPR"},
		"no type":               {"", `<EventNotificationAlert/>`, "neither an eventType nor an element ANPR"},
		"no time of a clock":    {"", `<EventNotificationAlert><dateTime>now</dateTime><ANPR><licensePlate>SECRET1</licensePlate></ANPR></EventNotificationAlert>`, `"now" is no time`},
		"an entity":             {"", `<EventNotificationAlert><ANPR><licensePlate>&SECRET;</licensePlate></ANPR></EventNotificationAlert>`, "entity"},
		"a document type":       {"", `<!DOCTYPE a [<!ENTITY b "SECRET1">]><EventNotificationAlert/>`, "no document EventNotificationAlert"},
		"malformed":             {"", `<EventNotificationAlert><ANPR>`, "malformed"},
		"malformed JSON":        {"", `{"eventType":`, "malformed"},
		"a pull without a time": {"", `<Plates><Plate><captureTime>2026-99-01T00:00:00</captureTime></Plate></Plates>`, "is no time"},
	})
}

func FuzzHikvision(f *testing.F) { fuzzReads(f, hikvision) }
