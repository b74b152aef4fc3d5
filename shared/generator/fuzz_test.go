package generator

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"parkstream/shared/parking"
)

// FuzzOrder checks that every run is within the generator's bounds or refused, and that
// a body is equivalent to a query.
func FuzzOrder(f *testing.F) {
	for _, seed := range []struct{ query, body string }{
		{"count=10&rate=2.5&seed=18446744073709551615&site=a&gate=b", ""},
		{"", `{"count":10,"rate":1e3,"seed":0,"above":100,"site":"a.b","gate":"Ä"}`},
		{"count=1", `{"site":"a"}`},
		{"count=100000&rate=100000&above=100", `{"count":100001,"rate":100001,"above":101}`},
		{"rate=100001", ""},
		{"rate=NaN&rate=0x1p-1074&above=-1&x=%00;", ``},
		{"", `{"rate":1e400,"count":1.0,"gate":null,"gate":"\ud800"}`},
	} {
		f.Add(seed.query, seed.body, true)
		f.Add(seed.query, seed.body, false)
	}
	f.Fuzz(func(t *testing.T, query, body string, exits bool) {
		handler := NewEntryHandler(Config{Count: 1, Above: 80, Site: "generated"})
		if exits {
			handler = NewExitHandler(Config{Count: 1, Above: 80, Site: "generated"})
		}
		e, _ := handler.(*endpoint)
		r, err := e.parse(query, strings.NewReader(body))
		if err != nil {
			if r != (run{}) || err.Error() == "" {
				t.Fatalf("%+v, and the error %q", r, err)
			}
			return
		}
		if r.count < 1 || r.count > MaxCount || !(r.rate >= 0 && r.rate <= maxRate) || r.above < 0 || r.above > 100 {
			t.Fatalf("%q %q asks for %+v", query, body, r)
		}
		if parking.CheckSite(r.site) != nil || checkGate(r.gate) != nil {
			t.Fatalf("%q %q names site %q and gate %q", query, body, r.site, r.gate)
		}
		if strings.TrimSpace(body) != "" {
			return
		}
		values, _ := url.ParseQuery(query)
		members := make(map[string]string)
		for name := range values {
			members[name] = values.Get(name)
		}
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		again, err := e.parse("", bytes.NewReader(text))
		if !values.Has("seed") { // drawn at random
			again.seed = r.seed
		}
		if err != nil || again != r {
			t.Fatalf("%q asks for %+v, and %s for %+v, error %v", query, r, text, again, err)
		}
	})
}
