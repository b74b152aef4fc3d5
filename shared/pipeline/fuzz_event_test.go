package pipeline

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

func FuzzParseEvent(f *testing.F) {
	for _, text := range []string{
		`{"id":"e1","vehicle_plate":"KA01AB1234","entry_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":"x1","vehicle_plate":"ﷺ","exit_date_time":"2026-11-24T11:53:07.999999999+23:59","site":"a","gate":"b"}`,
		`{"id":"x1","vehicle_plate":"मे १","exit_date_time":"2016-12-31t23:59:60z","entry_date_time":null}`,
		`{"id":"e2","vehicle_plate":"ka\n01","entry_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":1}`, `null`, `[]`, `{"id":"a","id":"b"}`, "{\"id\":\"\\ud800\"}",
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, exit bool) {
		kind := parking.Entry
		if exit {
			kind = parking.Exit
		}
		e, err := parseEvent(kind, data)
		if err != nil {
			if !errors.Is(err, parking.ErrInvalid) || !utf8.ValidString(err.Error()) || len(err.Error()) > 1000 {
				t.Fatalf("error %q", err)
			}
			return
		}
		if again, err := parking.NewEvent(e); err != nil || !cmp.Equal(again, e) {
			t.Fatalf("%+v is no event: %+v, %v", e, again, err)
		}
		if e.Kind != kind || e.Plate != parking.NormalizePlate(e.Plate) {
			t.Fatalf("event %+v", e)
		}
		// Control characters separate the fields in the store.
		for _, text := range []string{e.ID, e.Plate, e.RawPlate, e.Site, e.Gate} {
			if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(e.Plate, "+") {
				t.Fatalf("a separator in %q", text)
			}
		}
		if n := e.Time.UnixNano(); n < 0 || !time.Unix(0, n).Equal(e.Time) {
			t.Fatalf("time does not survive UnixNano: %v", e.Time)
		}
	})
}
