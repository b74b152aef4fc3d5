package parking

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzStay checks that a valid stay is the same if it is written and read again, and
// that its fields are consistent.
func FuzzStay(f *testing.F) {
	for _, text := range []string{
		`{"id":"x","site":"default","vehicle_plate":"KA01","entry_id":"e","entry_date_time":"2026-11-23T12:00:00Z","exit_id":"x","exit_date_time":"2026-11-23T13:31:00.999Z","duration_seconds":5460,"duration":"PT1H31M","status":"completed","revision":1}`,
		`{"id":"x","site":"a","vehicle_plate":"京A1","entry_id":"e","entry_date_time":"2026-11-23T12:00:00.5Z","exit_id":"x","exit_date_time":"2026-11-24T13:01:01.499Z","revision":2}`,
		`{"id":"x","exit_id":"x","exit_date_time":"2016-12-31t23:59:60z","entry_id":null,"entry_date_time":null,"duration":null,"status":"unmatched_exit","revision":-1}`,
		`{"entry_id":"e","entry_date_time":"9999-12-31T23:59:59-23:59","exit_date_time":"0000-01-01T00:00:00+23:59"}`,
		`{"id":"x","site":"a","vehicle_plate":"KA01AB1284","entry_id":"e","entry_date_time":"2026-11-23T12:00:00Z","exit_id":"x","exit_date_time":"2026-11-23T13:00:00Z","revision":3,"match":{"method":"edit","entry_plate":"KA01AB1234","exit_plate":"KA01AB1284","differences":[{"position":9,"entry":"3","exit":"8"}],"weight":912,"margin":845,"parts":{"text":-210,"rarity":1010,"dwell":-88,"prior":200,"lists":0,"appearance":0},"posterior":0.9991,"alternatives":[{"entry_id":"e2","exit_id":"x","weight":67}],"model":"default"}}`,
		`{"id":"x","entry_id":"e","entry_date_time":"2026-11-23T12:00:00Z","exit_id":"x","exit_date_time":"2026-11-23T13:00:00Z","match":{"method":"exact","differences":[]},"disputed":true}`,
		`{"id":"x","entry_id":"e","entry_date_time":"2026-11-23T12:00:00Z","exit_id":"x","exit_date_time":"2026-11-23T13:00:00Z","match":{"method":"exact"}}`,
		`{"entry_id":"","entry_date_time":"2026-11-23T12:00:00Z"}`, `{"status":"\ud800","id":"\ud800"}`, `null`, `{"ID":"a","id":"b"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Stay
		if err := json.Unmarshal(text, &s); err != nil {
			if !reflect.DeepEqual(s, Stay{}) {
				t.Fatalf("%+v, and the error %v", s, err)
			}
			return
		}
		if s.EntryTime.IsZero() != (s.EntryID == "") && !s.EntryTime.IsZero() {
			t.Fatalf("%+v has a time without an entry", s)
		}
		d, ok := s.Duration()
		if ok != (s.Status() == Completed) || ok && d != s.ExitTime.Sub(s.EntryTime) {
			t.Fatalf("%+v is %s and lasts %s, %t", s, s.Status(), d, ok)
		}
		if d >= 0 {
			iso := ISODuration(d)
			if read, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(iso, "PT"))); err != nil || read != d.Truncate(time.Second) {
				t.Fatalf("%s is written %s", d, iso)
			}
		}
		for _, at := range []time.Time{s.EntryTime, s.ExitTime} {
			if at.Year() < 0 || at.Year() > 9999 {
				return // the zone moved it out of RFC 3339's range
			}
		}
		written, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("%+v cannot be written: %v", s, err)
		}
		var again Stay
		if err := json.Unmarshal(written, &again); err != nil || !cmp.Equal(again, s, cmpopts.EquateEmpty()) {
			t.Fatalf("%s is read as %+v, error %v, want %+v", written, again, err, s)
		}
	})
}
