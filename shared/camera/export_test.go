package camera

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"parkstream/shared/parking"
)

func TestExport(t *testing.T) {
	at := "2026-11-23T07:15:30Z"
	for name, tt := range map[string]struct {
		header, row string // separated by |
		want        seen
	}{
		"English":                   {"No.|Capture Time|License Plate|Direction|Confidence|Country", "1|2026-11-23 08:15:30|B AB 1234|In|98.5|DE", seen{Plate: "B AB 1234", Time: at, Direction: "in", Kind: "entry", Confidence: "0.985", Country: "DE"}},
		"German":                    {"Kennzeichen|Datum/Uhrzeit|Richtung|Konfidenz|Farbe", "B-AB 1234|23.11.2026 08:15:30|Ausfahrt|98,5 %|schwarz", seen{Plate: "B-AB 1234", Time: at, Direction: "ausfahrt", Kind: "exit", Confidence: "0.985", Color: "schwarz"}},
		"German, apart":             {"Datum|Uhrzeit|Kennzeichen|Marke", "23.11.26|08:15:30,250|B-AB 1234|-", seen{Plate: "B-AB 1234", Time: "2026-11-23T07:15:30.25Z"}},
		"French":                    {"Plaque d’immatriculation|Date et heure|Sens|Fiabilité", "AB-123-CD|23/11/2026 08:15:30|Entrée|0,93", seen{Plate: "AB-123-CD", Time: at, Direction: "entrée", Kind: "entry", Confidence: "0.93"}},
		"Spanish":                   {"Matrícula|Fecha|Hora|Dirección|Confianza", "1234 BCD|23-11-2026|8:15:30|Salida|97%", seen{Plate: "1234 BCD", Time: at, Direction: "salida", Kind: "exit", Confidence: "0.97"}},
		"Italian":                   {"Targa|Data|Ora|Direzione", "AB 123 CD|23/11/2026|08:15|uscita", seen{Plate: "AB 123 CD", Time: "2026-11-23T07:15:00Z", Direction: "uscita", Kind: "exit"}},
		"Polish":                    {"Numer rejestracyjny|Data i czas|Kierunek", "WA 99999|2026-11-23 08:15:30|wjazd", seen{Plate: "WA 99999", Time: at, Direction: "wjazd", Kind: "entry"}},
		"American":                  {"Plate|Time|Make|Color", "8ABC123|11/23/2026 8:15:30 AM|Toyota|Red", seen{Plate: "8ABC123", Time: at, Make: "Toyota", Color: "Red"}},
		"midnight":                  {"Plate|Time", "8ABC123|11/23/2026 12:15 am", seen{Plate: "8ABC123", Time: "2026-11-22T23:15:00Z"}},
		"noon":                      {"Plate|Time", "8ABC123|11/23/2026 12:15:00 PM", seen{Plate: "8ABC123", Time: "2026-11-23T11:15:00Z"}},
		"a zone":                    {"plate_number|timestamp", "A1|2026-11-23T03:15:30.5-0400", seen{Plate: "A1", Time: "2026-11-23T07:15:30.5Z"}},
		"a zone, day first":         {"plate_number|timestamp", "A1|23.11.2026 08:15:30 +01:00", seen{Plate: "A1", Time: at}},
		"milliseconds":              {"plate|epoch|timestamp", "A1|x|1795418130123", seen{Plate: "A1", Time: "2026-11-23T07:15:30.123Z"}},
		"days of a sheet":           {"plate|time", "A1|46349,3440972222", seen{Plate: "A1", Time: at}},
		"digits":                    {"plate|time", "A1|20261123081530", seen{Plate: "A1", Time: at}},
		"digits and a part":         {"plate|time", "A1|20261123081530123", seen{Plate: "A1", Time: "2026-11-23T07:15:30.123Z"}},
		"one digit":                 {"plate|time", "A1|2026/7/1 8:15:30", seen{Plate: "A1", Time: "2026-07-01T06:15:30Z"}},
		"a month's name":            {"plate|time", "A1|23-Nov-2026 08:15:30", seen{Plate: "A1", Time: at}},
		"the hour that twice comes": {"plate|time", "A1|25.10.2026 02:30:00", seen{Plate: "A1", Time: "2026-10-25T01:30:00Z", Ambiguous: true}},
		"no plate":                  {"plate|time|confidence", "unknown|2026-11-23 08:15:30|12", seen{Time: at}},
		"a word of its own":         {"plate|time|direction", "A1|2026-11-23 08:15:30|Towards the City", seen{Plate: "A1", Time: at, Direction: "towards the city"}},
		"a date in the time":        {"date|time|plate", "x|2026-11-23 08:15:30|A1", seen{Plate: "A1", Time: at}},
		"a blank that is another":   {"plate|time", "A1|23.11.2026\u00a008:15:30 Uhr", seen{Plate: "A1", Time: at}},
		"day and month alike":       {"plate|time", "A1|11/11/2026 08:15:30", seen{Plate: "A1", Time: "2026-11-11T07:15:30Z"}},
		"a date that has the time":  {"Plate|Date", "A1|2026-11-23 08:15:30", seen{Plate: "A1", Time: at}},
		"a clock that has the date": {"Kennzeichen|Zeit", "A1|23.11.2026 08:15:30", seen{Plate: "A1", Time: at}},
		"year first, PM":            {"Plate|Date|Time", "A1|2026-11-23|8:15:30 PM", seen{Plate: "A1", Time: "2026-11-23T19:15:30Z"}},
		"year first, midnight":      {"Plate|Time", "A1|2026/11/23 12:15 am", seen{Plate: "A1", Time: "2026-11-22T23:15:00Z"}},
		"Spanish halves":            {"Placa|Fecha y hora", "A1|23/11/2026 8:15:30 p. m.", seen{Plate: "A1", Time: "2026-11-23T19:15:30Z"}},
		"a month's name, PM":        {"Plate|Time", "A1|Nov 23, 2026, 8:15:30 PM", seen{Plate: "A1", Time: "2026-11-23T19:15:30Z"}},
		"French, with à":            {"Numéro d'immatriculation|Date et heure de passage", "AB-123-CD|23/11/2026 à 08:15:30", seen{Plate: "AB-123-CD", Time: at}},
		"filling words":             {"License Plate No.|Date of Capture|Time of Capture", "A1|2026-11-23|08:15:30", seen{Plate: "A1", Time: at}},
		"Nº":                        {"Nº de matrícula|Hora de captura", "A1|2026-11-23 08:15:30", seen{Plate: "A1", Time: at}},
		"official":                  {"Amtliches Kennzeichen|Zeitpunkt der Erfassung|Richtung", "A1|23.11.2026 08:15:30|Zufahrt", seen{Plate: "A1", Time: at, Direction: "zufahrt", Kind: "entry"}},
		"in UTC":                    {"Plate|Time (UTC)", "A1|2026-11-23 07:15:30", seen{Plate: "A1", Time: at}},
		"apart in UTC":              {"Plate|Date UTC|Time UTC", "A1|2026-11-23|07:15:30", seen{Plate: "A1", Time: at}},
		"UTC beside local times":    {"Plate|Date|Local Time|Time (UTC)", "A1|2026-11-24|00:15:30|23:15:30", seen{Plate: "A1", Time: "2026-11-23T23:15:30Z"}},
		"neither color nor picture": {"Plate Color|Plate Image|Vehicle Color|Plate Read|Time", "white|x.jpg|red|A1|2026-11-23 08:15:30", seen{Plate: "A1", Time: at, Color: "red"}},
	} {
		x, err := NewExport(strings.Split(tt.header, "|"), Unordered)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		read, err := x.Read(strings.Split(tt.row, "|"), gate, received)
		if got := seenOf(t, read); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v\n%+v\nwant\n%+v", name, err, got, tt.want)
		}
	}
}

func TestExportDateOrder(t *testing.T) {
	for order, want := range map[DateOrder]string{DayFirst: "2026-08-07T06:15:30Z", MonthFirst: "2026-07-08T06:15:30Z"} {
		x, err := NewExport([]string{"plate", "time"}, order)
		if err != nil {
			t.Fatal(err)
		}
		read, err := x.Read([]string{"A1", "07/08/2026 08:15:30"}, gate, received)
		if got := seenOf(t, read).Time; err != nil || got != want {
			t.Errorf("%s: %s, %v", order, got, err)
		}
	}
}

func TestExportRefused(t *testing.T) {
	for header, want := range map[string]string{"": "no column is named plate", "time": "no column is named plate", "plate|no.": "no column is named time", "plate color|time": "no column is named plate", "plate|time (UTC+1)": "no column is named time", "plate|time|Zuverl\xe4ssigkeit": "not valid UTF-8"} {
		if _, err := NewExport(strings.Split(header, "|"), Unordered); !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", header, err)
		}
	}
	x, err := NewExport([]string{"plate", "time"}, Unordered)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"\xff": "not valid UTF-8", "": "it has no time", "yesterday": "is no time", "07/08/2026 08:15": "may begin with the day or with the month", "31.02.2026 08:15": "is no time",
		"5": "is no time", "90000": "is no time", "2026-11-23": "is no time", "23/11/2026 13:15 PM": "is no hour", "2026-11-23 0:15 am": "is no hour", "08:15": "is no time", "99/99/2026 08:15": "is no time",
	} {
		if _, err := x.Read([]string{"SECRET1", text}, gate, received); !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Whatever a table has, a row is a read with a time or an ErrInvalid.
func FuzzExport(f *testing.F) {
	for _, row := range []string{"B AB|23.11.2026 08:15:30|in|98,5", "x|11/23/2026 8:15 PM||", "|46349,34|out|%", "A|20261123081530123|-|1", "A|2026/7/1 8:15|?|0.5"} {
		f.Add("plate|time|direction|confidence", row)
		f.Add("Kennzeichen|Datum|Uhrzeit|x", row)
	}
	f.Fuzz(func(t *testing.T, header, row string) {
		x, err := NewExport(strings.Split(header, "|"), Unordered)
		if err != nil {
			if !errors.Is(err, parking.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		read, err := x.Read(strings.Split(row, "|"), gate, received)
		if err != nil {
			if !errors.Is(err, parking.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if read.Time.IsZero() {
			t.Fatalf("%+v", read)
		}
		if _, _, err := Events(Message{Reads: []Read{read}}, gate, received); err != nil && !errors.Is(err, parking.ErrInvalid) {
			t.Fatal(err)
		}
	})
}
