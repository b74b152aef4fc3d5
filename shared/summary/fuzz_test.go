package summary

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/stay"
)

// FuzzQuery checks that all values of a parsed query are within its bounds.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"plate=KA01&site=a&status=completed&from=2026-11-24T11:53:07Z&to=2026-11-25T11:53:07Z&limit=10&format=csv",
		"from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z&step=10080",
		"from=1969-12-31T23:59:59.999999999Z&limit=1000&offset=9223372036854775807",
		"to=0001-01-01T00:00:00Z&plate=%00%ff&cursor=MTY",
		"from=9999-12-31T23:59:59-14:00&step=7&offset=999&limit=1&status=completed%00",
	} {
		f.Add(seed)
	}
	h := handler{Config{Stays: stay.New(nil, time.Hour)}}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if q, err := parseQuery(values); err == nil {
			checkFuzzedQuery(t, q, values)
		}
		if offset, limit, err := insidePage(values, offsetParam); err == nil && (offset < 0 || offset > maxOffset || limit < 1 || limit > maxLimit) {
			t.Fatalf("offset %d, limit %d", offset, limit)
		}
		if q, err := h.minutesQuery(values); err == nil {
			checkFuzzedMinutes(t, q)
		}
	})
}

func checkFuzzedQuery(t *testing.T, q listQuery, values url.Values) {
	t.Helper()
	if q.Limit < 1 || q.Limit > maxLimit {
		t.Fatalf("limit %d", q.Limit)
	}
	if q.site != "" && parking.CheckSite(q.site) != nil {
		t.Fatalf("site %q", q.site)
	}
	if q.Plate != parking.NormalizePlate(q.Plate) || (q.Plate == "") != (values.Get("plate") == "") {
		t.Fatalf("plate %q of %q", q.Plate, values.Get("plate"))
	}
	for name, bound := range map[string]time.Time{"from": q.From, "to": q.To} {
		if bound.IsZero() != (values.Get(name) == "") || !bound.IsZero() && (bound.Before(firstInstant) || bound.After(lastInstant)) {
			t.Fatalf("%s %q is read as %s", name, values.Get(name), bound)
		}
		if _, err := bound.MarshalJSON(); err != nil {
			t.Fatal(err)
		}
	}
	if !q.From.IsZero() && !q.To.IsZero() && q.From.After(q.To) {
		t.Fatalf("order of %v and %v", q.From, q.To)
	}
}

func checkFuzzedMinutes(t *testing.T, q minutesQuery) {
	t.Helper()
	n := 0
	for start := q.from; start.Before(q.to); start = start.Add(q.step) {
		if n++; n > 2*maxMinutes {
			t.Fatalf("steps without end from %s to %s", q.from, q.to)
		}
	}
	// The store's results have to fit into the steps.
	last := q.to.Add(-1).Truncate(time.Minute)
	if i := int(last.Sub(q.from) / q.step); n > 0 && (i < 0 || i >= n) {
		t.Fatalf("index %d of %d from %s to %s", i, n, q.from, q.to)
	}
}

// FuzzStays checks that an accepted stay is written in a form that is read as the same
// stay.
func FuzzStays(f *testing.F) {
	for _, seed := range []string{
		`[{"id":"x1","site":"default","vehicle_plate":"KA01AB1234","entry_id":"e1","entry_date_time":"2026-11-24T11:53:07Z","exit_id":"x1","exit_date_time":"2026-11-24T13:23:07Z","revision":1}]`,
		`[{"id":"x1","site":"d","vehicle_plate":"K","entry_id":null,"entry_date_time":null,"exit_id":"x1","exit_date_time":"1970-01-01T00:00:00Z","revision":9223372036854775807}]`,
		`[{"id":"a/../b","site":"..","vehicle_plate":"Ä1","entry_id":"","entry_date_time":"2026-11-24T11:53:07Z","exit_id":"a/../b","exit_date_time":"2261-12-31T23:59:59.999999999Z","revision":1}]`,
		`[{"id":"x","site":"d","vehicle_plate":"K","entry_id":"e","entry_date_time":"0000-01-01T00:00:00Z","exit_id":"x","exit_date_time":"9999-12-31T23:59:59Z","revision":-1}]`,
		`[{"id":"x1","site":"d","vehicle_plate":"KA01","entry_id":"e1","entry_date_time":"2026-11-24T11:53:07Z","exit_id":"x1","exit_date_time":"2026-11-24T13:23:07Z","revision":2,"match":{"method":"ocr","entry_plate":"KA-0I","exit_plate":"KA01","differences":[{"position":4,"entry":"I","exit":"1"}],"weight":900,"margin":800,"parts":{"text":-80,"rarity":980},"posterior":0.999,"alternatives":[{"entry_id":"e2","exit_id":"x1","weight":100}],"model":"default"}}]`,
		`[{"id":"x1","site":"d","vehicle_plate":"K","entry_id":"e","entry_date_time":"2026-11-24T11:53:07Z","exit_id":"x1","exit_date_time":"2026-11-24T13:23:07Z","revision":1,"match":{"method":"exact","differences":[]},"disputed":true}]`,
	} {
		f.Add([]byte(seed))
	}
	now := time.Unix(1795763908, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		stays, err := parseStays(body)
		if err != nil {
			return
		}
		for i := range stays {
			if checkStay(&stays[i]) != nil {
				continue
			}
			k := shownStay{stay.StoredStay{Stay: stays[i], UpdatedAt: now}, site.Policy{}.Billing(&stays[i])}
			_ = csvRecord(&k, time.UTC)
			text, err := k.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseStays(append(append([]byte{'['}, text...), ']'))
			if err != nil || len(again) != 1 || !cmp.Equal(again[0], stays[i], cmpopts.EquateEmpty()) {
				t.Fatalf("%q: %+v is written as %s and read as %+v, %v", body, k, text, again, err)
			}
		}
	})
}
