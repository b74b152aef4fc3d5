package camera

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata"

	"parkstream/shared/parking"
)

func in(t *testing.T, zone string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestReadTime(t *testing.T) {
	const berlin, lordHowe, apia, kolkata = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"
	for name, tt := range map[string]struct {
		text, zone, received string
		want                 string // empty: refused; "none": the zero clock
		ambiguous            bool
		layouts              []string
	}{
		"with an offset":                     {"2026-01-15T10:30:00.000000+02:00", berlin, "", "2026-01-15T08:30:00Z", false, nil},
		"with Z":                             {"2026-01-15T10:30:00Z", berlin, "", "2026-01-15T10:30:00Z", false, nil},
		"an offset without colon":            {"2026-01-15 10:30:00 -0530", berlin, "", "2026-01-15T16:00:00Z", false, nil},
		"an offset of hours":                 {"20260115T103000+05", berlin, "", "2026-01-15T05:30:00Z", false, nil},
		"an offset of one digit":             {"2026-01-15T10:30:00-6:00", berlin, "", "2026-01-15T16:30:00Z", false, nil},
		"numbers of one digit":               {"2026-1-5 9:05:03", berlin, "", "2026-01-05T08:05:03Z", false, nil},
		"digits alone":                       {"20260115103000", berlin, "", "2026-01-15T09:30:00Z", false, nil},
		"digits alone, to milliseconds":      {"20260115103000123+0200", berlin, "", "2026-01-15T08:30:00.123Z", false, nil},
		"UTC by name":                        {"2026-01-15 10:30:00 UTC", berlin, "", "2026-01-15T10:30:00Z", false, nil},
		"GMT by name":                        {"2024-04-28 13:00:00 GMT", berlin, "", "2024-04-28T13:00:00Z", false, nil},
		"local in winter":                    {"2026-01-15 10:30:00.509", berlin, "", "2026-01-15T09:30:00.509Z", false, nil},
		"local in summer":                    {"2026/07/15 10:30:00,5", berlin, "", "2026-07-15T08:30:00.5Z", false, nil},
		"local without seconds":              {"2026-07-15 10:30", berlin, "", "2026-07-15T08:30:00Z", false, nil},
		"local and compact":                  {"20210611 130538252", berlin, "", "2021-06-11T11:05:38.252Z", false, nil},
		"compact with a fraction of zeros":   {"20240428T1300000000", "UTC", "", "2024-04-28T13:00:00Z", false, nil},
		"local without a zone":               {"2026-07-15T10:30:00", "", "", "2026-07-15T10:30:00Z", false, nil},
		"half hours":                         {"2026-07-15T10:30:00", kolkata, "", "2026-07-15T05:00:00Z", false, nil},
		"digits beyond nanoseconds":          {"2026-07-15T10:30:00.1234567899Z", "", "", "2026-07-15T10:30:00.123456789Z", false, nil},
		"a leap second":                      {"2016-12-31T23:59:60Z", "", "", "2017-01-01T00:00:00Z", false, nil},
		"twice, in the second hour":          {"2026-10-25T02:30:00", berlin, "2026-10-25T01:30:01Z", "2026-10-25T01:30:00Z", true, nil},
		"twice, in the first hour":           {"2026-10-25T02:30:00", berlin, "2026-10-25T00:30:01Z", "2026-10-25T00:30:00Z", true, nil},
		"twice, a little ahead of ours":      {"2026-10-25T02:30:00", berlin, "2026-10-25T01:29:59Z", "2026-10-25T01:30:00Z", true, nil},
		"twice, long ago":                    {"2026-10-25T02:30:00", berlin, "2026-11-25T00:00:00Z", "2026-10-25T01:30:00Z", true, nil},
		"twice, both ahead":                  {"2026-10-25T02:30:00", berlin, "2026-10-24T00:00:00Z", "2026-10-25T00:30:00Z", true, nil},
		"the last instant before":            {"2026-10-25T01:59:59.999", berlin, "2026-11-25T00:00:00Z", "2026-10-24T23:59:59.999Z", false, nil},
		"the first of the two":               {"2026-10-25T02:00:00", berlin, "2026-11-25T00:00:00Z", "2026-10-25T01:00:00Z", true, nil},
		"the first instant after":            {"2026-10-25T03:00:00", berlin, "2026-11-25T00:00:00Z", "2026-10-25T02:00:00Z", false, nil},
		"twice, but with an offset":          {"2026-10-25T02:30:00+02:00", berlin, "2026-11-25T00:00:00Z", "2026-10-25T00:30:00Z", false, nil},
		"skipped":                            {"2026-03-29T02:30:00", berlin, "2026-04-01T00:00:00Z", "2026-03-29T01:30:00Z", false, nil},
		"the first instant skipped":          {"2026-03-29T02:00:00", berlin, "2026-04-01T00:00:00Z", "2026-03-29T01:00:00Z", false, nil},
		"the last instant before a skip":     {"2026-03-29T01:59:59", berlin, "2026-04-01T00:00:00Z", "2026-03-29T00:59:59Z", false, nil},
		"the first instant after a skip":     {"2026-03-29T03:00:00", berlin, "2026-04-01T00:00:00Z", "2026-03-29T01:00:00Z", false, nil},
		"half an hour twice":                 {"2026-04-05T01:45:00", lordHowe, "2026-05-01T00:00:00Z", "2026-04-04T15:15:00Z", true, nil},
		"half an hour twice, the first":      {"2026-04-05T01:45:00", lordHowe, "2026-04-04T14:46:00Z", "2026-04-04T14:45:00Z", true, nil},
		"half an hour skipped":               {"2026-10-04T02:15:00", lordHowe, "2026-11-01T00:00:00Z", "2026-10-03T15:45:00Z", false, nil},
		"a day skipped":                      {"2011-12-30T12:00:00", apia, "2026-01-01T00:00:00Z", "2011-12-30T22:00:00Z", false, nil},
		"a layout without a zone":            {"Sun 25 Oct 2026 02:30:00", berlin, "2026-10-25T00:30:01Z", "2026-10-25T00:30:00Z", true, []string{"Mon 02 Jan 2006 15:04:05"}},
		"a layout with a zone":               {"Tue, 19 Nov 2024 23:51:20 GMT", berlin, "", "2024-11-19T23:51:20Z", false, []string{time.RFC1123}},
		"a layout with a zone that is known": {"Tue, 19 Nov 2024 23:51:20 CET", berlin, "", "2024-11-19T22:51:20Z", false, []string{time.RFC1123}},
		"a layout with an unknown zone":      {"Tue, 19 Nov 2024 23:51:20 XYZ", berlin, "", "", false, []string{time.RFC1123}},
		"the second of two layouts":          {"Sun 09 Feb 2025 03:46:58 GMT", berlin, "", "2025-02-09T03:46:58Z", false, []string{time.RFC1123, "Mon 02 Jan 2006 15:04:05 MST"}},
		"none":                               {" ", berlin, "", "none", false, nil},
		"a dash":                             {"-", berlin, "", "none", false, nil},
		"zeros":                              {"0000-00-00T00:00:00Z", berlin, "", "none", false, nil},
		"no such day":                        {"2026-02-29T10:00:00Z", berlin, "", "", false, nil},
		"no such month":                      {"2026-13-01T10:00:00Z", berlin, "", "", false, nil},
		"no such hour":                       {"2026-01-01T24:00:00Z", berlin, "", "", false, nil},
		"two separators":                     {"2026-01/01T10:00:00Z", berlin, "", "", false, nil},
		"one digit without separators":       {"2026115T103000", berlin, "", "", false, nil},
		"an offset of one digit, no colon":   {"2026-01-15T10:30:00-6", berlin, "", "", false, nil},
		"a date alone":                       {"2026-01-01", berlin, "", "", false, nil},
		"more after it":                      {"2026-01-01T10:00:00Z and more", berlin, "", "", false, nil},
		"letters":                            {"yesterday", berlin, "", "", false, nil},
		"an offset of a day":                 {"2026-01-01T10:00:00+24:00", berlin, "", "", false, nil},
		"a fraction without digits":          {"2026-01-01T10:00:00.Z", berlin, "", "", false, nil},
		"an unknown name of a zone":          {"2026-01-01T10:00:00 PST", berlin, "", "", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var zone *time.Location
			if tt.zone != "" {
				zone = in(t, tt.zone)
			}
			received, _ := time.Parse(time.RFC3339, tt.received)
			got, err := readTime(tt.text, zone, received, tt.layouts...)
			switch {
			case tt.want == "":
				if !errors.Is(err, parking.ErrInvalid) {
					t.Errorf("%v, %v, want a refusal", got, err)
				}
			case tt.want == "none":
				if err != nil || got != (clock{}) {
					t.Errorf("%v, %v, want no time", got, err)
				}
			case err != nil || got.Time.Format(time.RFC3339Nano) != tt.want || got.Ambiguous != tt.ambiguous:
				t.Errorf("%s, ambiguous %v, %v, want %s, %v", got.Time.Format(time.RFC3339Nano), got.Ambiguous, err, tt.want, tt.ambiguous)
			}
		})
	}
}

// Every instant of a year is read from its local time as itself, or as the other one
// with that local time.
func TestLocalTimesOfAYear(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca", "Asia/Kolkata", "Antarctica/Troll"} {
		zone, twice := in(t, name), 0
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(15 * time.Minute) {
			wall := at.In(zone)
			got := localTime(wall, zone, at)
			if !got.Time.Equal(at) {
				t.Fatalf("%s: %s, received at that instant, is read as %s", name, wall, got.Time)
			}
			later := localTime(wall, zone, at.AddDate(1, 0, 0))
			if later.Time.In(zone).Format(time.DateTime) != wall.Format(time.DateTime) || later.Ambiguous != got.Ambiguous || later.Time.Before(at) {
				t.Fatalf("%s: %s, received later, is read as %v", name, wall, later)
			}
			if got.Ambiguous {
				twice++
			}
		}
		if (twice == 0) != (name == "UTC" || name == "Asia/Kolkata") {
			t.Errorf("%s has %d ambiguous quarters of an hour", name, twice)
		}
	}
}

func TestEpoch(t *testing.T) {
	for _, tt := range []struct {
		text string
		unit time.Duration
		want string // empty: refused; "none": the zero clock
	}{
		{"1623405938", 0, "2021-06-11T10:05:38Z"},
		{"1623405938252", 0, "2021-06-11T10:05:38.252Z"},
		{"1623405938252123", 0, "2021-06-11T10:05:38.252123Z"},
		{"1623405938252123456", 0, "2021-06-11T10:05:38.252123456Z"},
		{"1607123958.748393", 0, "2020-12-04T23:19:18.748393Z"},
		{"1607123958.7483931234567", 0, "2020-12-04T23:19:18.748393123Z"},
		{"1.607123958748393e9", 0, "2020-12-04T23:19:18.748393Z"},
		{"1.607123958748393E+12", 0, "2020-12-04T23:19:18.748393Z"},
		{"16071239587483930e-7", 0, "2020-12-04T23:19:18.748393Z"},
		{" 1623405938 ", 0, "2021-06-11T10:05:38Z"},
		{"9000000000", 0, "2255-03-14T16:00:00Z"},
		{"100000000001", 0, "1973-03-03T09:46:40.001Z"},
		{"9000000000000", 0, "2255-03-14T16:00:00Z"},
		{"100000000000001", 0, "1973-03-03T09:46:40.000001Z"},
		{"100000000000000001", 0, "1973-03-03T09:46:40.000000001Z"},
		{"1000", time.Millisecond, "1970-01-01T00:00:01Z"},
		{"1000", time.Second, "1970-01-01T00:16:40Z"},
		{"0.5", time.Second, "1970-01-01T00:00:00.5Z"},
		{"1e-300", time.Second, "1970-01-01T00:00:00Z"},
		{"", 0, "none"},
		{"-", 0, "none"},
		{"0", 0, "none"},
		{"0.000", 0, "none"},
		{"-1", 0, ""},
		{"NaN", 0, ""},
		{"Inf", 0, ""},
		{"1e999999999", 0, ""},
		{"1e30", time.Nanosecond, ""},
		{"99999999999999999999", 0, ""},
		{"0x10", 0, ""},
		{"1_000", 0, ""},
		{"0x1p40", 0, ""},
		{"12:30", 0, ""},
	} {
		got, err := epoch(tt.text, tt.unit)
		switch {
		case tt.want == "":
			if !errors.Is(err, parking.ErrInvalid) {
				t.Errorf("epoch(%q) = %v, %v, want a refusal", tt.text, got, err)
			}
		case tt.want == "none":
			if err != nil || got != (clock{}) {
				t.Errorf("epoch(%q) = %v, %v, want no time", tt.text, got, err)
			}
		case err != nil || got.Time.Format(time.RFC3339Nano) != tt.want:
			t.Errorf("epoch(%q, %s) = %s, %v, want %s", tt.text, tt.unit, got.Time.Format(time.RFC3339Nano), err, tt.want)
		}
	}
}
