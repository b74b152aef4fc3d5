package camera

import (
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestDahua(t *testing.T) {
	german := seen{
		Plate: "B AB 1234", Time: "2026-11-23T07:15:30.123Z", Direction: "obverse", Confidence: "0.8",
		Country: "DEU", Make: "Volkswagen", Color: "Black",
	}
	with := func(change func(*seen)) []seen {
		s := german
		change(&s)
		return []seen{s}
	}
	testFormat(t, "dahua", []formatTest{
		{file: "dahua/tollgate.json", want: with(func(s *seen) { s.Pictures = "body scene plate" })},
		{file: "dahua/tollgate_wrapped.json", want: with(func(s *seen) {
			s.Time, s.Ambiguous, s.Direction = "2026-10-25T01:30:00Z", true, "approach"
		})},
		{file: "dahua/tollgate_data_url.json", want: with(func(s *seen) {
			s.Plate, s.Confidence, s.Direction, s.Pictures = "HHXY80", "1", "reverse", "scene"
		})},
		{file: "dahua/tollgate_minimal.json", want: []seen{{Plate: "EL123AB", Time: "2026-07-10T07:12:00Z"}}},
		{file: "dahua/tollgate_unread.json", want: with(func(s *seen) { s.Plate, s.Confidence, s.Country, s.Make = "", "", "", "" })},
		{file: "dahua/tollgate_no_plate_exists.json", want: with(func(s *seen) { s.Plate, s.Confidence, s.Candidates = "", "", "B AB 12" })},
		{file: "dahua/keepalive.json", heartbeat: true},
		{file: "dahua/keepalive_true.json", heartbeat: true},
		{file: "dahua/deviceinfo.json", heartbeat: true},
		{file: "dahua/alarm.json"},
		{file: "dahua/parking.json"},
		{
			name: "a list, lists instead of objects", body: `[{"Picture":{"SnapInfo":{"SnapTime":"2026/11/23 08:15:30","Direction":0},"Plate":[],"Vehicle":[],"NormalPic":""}},{"Active":"keepAlive","DeviceID":"x"}]`,
			want: []seen{{Time: "2026-11-23T07:15:30Z", Direction: "0"}}, heartbeat: true,
		},
		{
			name: "one plate that cannot be read", body: `{"Picture":{"Plate":[{"PlateNumber":[]},{"PlateNumber":"A2"}],"SnapInfo":null}}`,
			want: []seen{{Plate: "A2"}}, unread: "a list instead of a text",
		},
		{
			name: "one message that cannot be read", body: `[{"Picture":[]},{"Picture":{"Plate":{"PlateNumber":"A2"}}}]`,
			want: []seen{{Plate: "A2"}}, unread: "element 1 of 2: the JSON has a value of the wrong type",
		},
		{
			name: "two plates, no time", body: `{"Picture":{"Plate":[{"PlateNumber":"A1","Confidence":"51"},{"PlateNumber":22,"IsExist":"true"}],"SnapInfo":null}}`,
			want: []seen{{Plate: "A1", Confidence: "0.2"}, {Plate: "22"}},
		},
	})
}

// Without this answer the camera sends a message again and again.
func TestDahuaAccepted(t *testing.T) {
	contentType, body := dahua.Accepted()
	if contentType != "application/json" || string(body) != `{"Result":true}` {
		t.Errorf("%s %s", contentType, body)
	}
}

// The words of a camera that sees both directions are mapped by its configuration.
func TestDahuaDirections(t *testing.T) {
	c := gate
	c.Role, c.Directions = site.Both, map[string]parking.Kind{"obverse": parking.Exit, "reverse": parking.Entry}
	for name, want := range map[string]parking.Kind{"tollgate.json": parking.Exit, "tollgate_data_url.json": parking.Entry} {
		_, m, err := Parse(sample(t, "testdata/dahua/"+name), c)
		if err != nil {
			t.Fatal(err)
		}
		if events, _, err := Events(m, c, received); err != nil || len(events) != 1 || events[0].Kind != want {
			t.Errorf("%s: %+v, %v", name, events, err)
		}
	}
}

func TestDahuaRefused(t *testing.T) {
	testRefused(t, dahua, map[string]refused{
		"a plate that is none": {"", `{"Picture":{"Plate":{"PlateNumber":{"a":"SECRET1"}}}}`, "an object"},
		"another message":      {"", `{"Plate":"SECRET1"}`, "neither Picture, as TollgateInfo has, nor Active and DeviceID"},
		"an empty message":     {"", `{}`, "neither Picture"},
		"no time of a clock":   {"", `{"Picture":{"Plate":{"PlateNumber":"SECRET1"},"SnapInfo":{"AccurateTime":"later"}}}`, `"later" is no time`},
		"malformed":            {"", `{"Picture":{"Plate":{"PlateNumber":"SECRET1"`, "malformed"},
		"XML":                  {"", `<Picture/>`, "want JSON"},
		"nothing":              {"", ``, "want JSON"},
		"a plate in a list":    {"", `{"Picture":["SECRET1"]}`, "Picture"},
	})
}

func FuzzDahua(f *testing.F) { fuzzFormat(f, "dahua") }
