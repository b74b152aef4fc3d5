package pipeline

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
)

func FuzzParseEvent(f *testing.F) {
	for _, text := range []string{
		`{"id":"e1","vehicle_plate":"KA01AB1234","entry_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":"x1","vehicle_plate":"ﷺ","exit_date_time":"2026-11-24T11:53:07.999999999+23:59","site":"a","gate":"b"}`,
		`{"id":"x1","vehicle_plate":"मे १","exit_date_time":"2016-12-31t23:59:60z","entry_date_time":null}`,
		`{"id":"e2","vehicle_plate":"ka\n01","entry_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":1}`, `null`, `[]`, `{"id":"a","id":"b"}`, "{\"id\":\"\\ud800\"}",
		`{"id":"e1","version":9007199254740991,"vehicle_plate":"K","entry_date_time":"2026-11-24T11:53:07Z","camera":"c","vehicle":"77","confidence":0.87,` +
			`"candidates":[{"plate":"K","confidence":0.87},{"plate":"X"}],"country":"DE","make":"VW","color":"red","image":"a/2026-11-24/e1.jpg","ambiguous_time":true,"received_time":true}`,
		`{"id":"x1","version":2,"void":true}`, `{"id":"x1","void":true,"vehicle_plate":null,"exit_date_time":"2026-11-24T11:53:07Z"}`,
		`{"id":"e1","vehicle_plate":null,"entry_date_time":"2026-11-24T11:53:07Z","candidates":[{}]}`, `{"id":"e1","version":1e400,"confidence":-0}`,
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, exit bool) {
		kind := parking.Entry
		if exit {
			kind = parking.Exit
		}
		e, err := ParseEvent(kind, data)
		if err != nil {
			if !errors.Is(err, parking.ErrInvalid) || !utf8.ValidString(err.Error()) || len(err.Error()) > 1000 {
				t.Fatalf("error %q", err)
			}
			return
		}
		if again, err := parking.NewEvent(e); err != nil || !cmp.Equal(again, e) {
			t.Fatalf("%+v is no event: %+v, %v", e, again, err)
		}
		if e.Kind != kind || e.Plate != parking.NormalizePlate(e.Plate) || (e.Plate == "") != (e.Void || e.NoPlate) || e.Void && e.NoPlate {
			t.Fatalf("event %+v", e)
		}
		if e.Version < 1 || e.Version > parking.MaxVersion || int64(float64(e.Version)) != e.Version {
			t.Fatalf("version %d", e.Version)
		}
		// Control characters separate the fields in the store.
		texts := []string{e.ID, e.Plate, e.RawPlate, e.Site, e.Gate, e.Camera, e.Details.Vehicle, e.Details.Country, e.Details.Make, e.Details.Color, e.Details.Image}
		for _, c := range e.Details.Candidates {
			texts = append(texts, c.Plate)
		}
		for _, text := range texts {
			if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(e.Plate, "+") {
				t.Fatalf("a separator in %q", text)
			}
		}
		if n := e.Time.UnixNano(); !e.Time.IsZero() && (n < 0 || !time.Unix(0, n).Equal(e.Time)) || e.Time.IsZero() && !e.Void {
			t.Fatalf("time does not survive UnixNano: %v", e.Time)
		}
		written, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseEvent(kind, written); err != nil || !cmp.Equal(again, e, cmpopts.EquateEmpty()) {
			t.Fatalf("%+v is written %s and read %+v, %v", e, written, again, err)
		}
	})
}
