package camera

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestMilesight(t *testing.T) {
	testFormat(t, "milesight", []formatTest{
		{name: "post, as found", file: "shared/milesight_http_post.json", want: []seen{{
			Plate: "62D3680", Time: "2024-02-01T05:00:05.509Z", Country: "LVA", Pictures: "jpeg",
		}}},
		{name: "operator, as found", file: "shared/milesight_operator_pull.txt", want: []seen{{
			Plate: "ABC1234", Time: "2024-04-27T10:50:06Z", Direction: "away", Kind: "exit", Country: "DEU",
		}}},
		{name: "approach, in the hour that comes twice", file: "milesight/approach.json", want: []seen{{
			Plate: "B PS 1234", Time: "2026-10-25T01:30:00.125Z", Direction: "approach", Kind: "entry", Confidence: "0.93",
			Country: "DEU", Make: "Audi", Color: "Black", Pictures: "jpeg jpeg", Ambiguous: true,
		}}},
		{name: "away, no plate", file: "milesight/away_noplate.json", want: []seen{{
			Time: "2026-07-01T06:00:00Z", Direction: "away", Kind: "exit", Country: "DEU", Color: "Black",
		}}},
		{name: "other names", file: "milesight/trafficsense.json", want: []seen{{
			Plate: "8ABC123", Time: "2026-07-01T06:00:00.999Z", Direction: "away", Kind: "exit", Confidence: "0.88",
			Country: "USA", Make: "Toyota", Color: "Red", Pictures: "jpeg jpeg",
		}}},
		{name: "operator, several", file: "milesight/operator_list.txt", want: []seen{
			{Plate: "ABC1234", Time: "2026-07-01T06:00:00Z", Direction: "approach", Kind: "entry", Country: "DEU"},
			{Time: "2026-07-01T06:00:07Z"},
			{Plate: "XY 99", Time: "2026-07-01T06:01:00Z", Direction: "away", Kind: "exit"},
		}},
		{name: "list, with null, a number, a zone and an object", body: `[
			{"plate":null,"detection_region":1,"time":"2026-07-01T08:00:00+02:00"},
			{"plate":12345,"detection_region":1,"time":1782885600250,"region":{"code":"DEU"},"confidence":"98%"},
			{"plate":"A1","detection_region":1}]`, want: []seen{
			{Time: "2026-07-01T06:00:00Z"},
			{Plate: "12345", Time: "2026-07-01T06:00:00.25Z", Confidence: "0.98"},
			{Plate: "A1"},
		}},
		{
			name: "time_msec that is none", body: `{"plate":"A1","time_msec":"soon","time":"2026-07-01 08:00:00","plate_color":"-"}`,
			want: []seen{{Plate: "A1", Time: "2026-07-01T06:00:00Z"}},
		},
		{name: "few members", body: `{"plate":"A1","time":"2024-02-01 06:00:05","direction":"Away","vehicle_type":"Car","region":null,"confidence":null}`, want: []seen{{Plate: "A1", Time: "2024-02-01T05:00:05Z", Direction: "away", Kind: "exit"}}},
		{name: "one of a list that cannot be read", body: `[{"plate":"A1","time_msec":"soon","plate_color":"-"},{"plate":"A2","plate_color":"-"},{"plate":"A3","plate_color":"-","plate_image":5}]`, want: []seen{{Plate: "A2"}, {Plate: "A3"}}, unread: `element 1 of 3: "soon" is no time`},
		{name: "no time that is one", body: `{"plate":"A1","time_msec":"soon","plate_color":"-"}`, refused: "is no time"},
	})
}

// A camera whose format is configured sends what is not recognised.
func TestMilesightRefuses(t *testing.T) {
	for body, want := range map[string]string{
		`{"event":"Region Entrance","detection_region":1}`: "want plate or license_plate",
		`time_0=2026-07-01 08:00:00`:                       "want JSON, or lines such as",
		``:                                                 "want JSON, or lines such as",
		many2000("plate_%d=A1\n"):                          "more than 1000 records",
	} {
		_, err := milesight.parse(posted("", body), site.Camera{})
		if !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30s: %v, want %s", body, err, want)
		}
	}
}

func many2000(format string) string {
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func FuzzMilesight(f *testing.F) { fuzzFormat(f, "milesight") }
