package access

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// TestContentTypes has what a write may be. A page of another site can send a form, or
// a body without a type, without being asked whether it may.
func TestContentTypes(t *testing.T) {
	g := newGuard(t, "ACCESS=open")
	g.write(t, "connector-token", connectorToken)
	g.Token("connector", g.process.Secret("connector-token").Value, PostEvents)
	for _, tt := range []struct {
		kind   string // several with bars
		length int64
		want   int
	}{
		{"", 0, 200},
		{"", 1, 415},
		{"", -1, 415},
		{"application/json", 0, 200},
		{"application/json", 10, 200},
		{"Application/JSON; charset=utf-8", -1, 200},
		{"application/cloudevents-batch+json", 10, 200},
		{"application/cloudevents-batch+json; charset=utf-8", 10, 200},
		{"application/cloudevents+json", 10, 200},
		{"text/csv", 10, 200}, // the route's
		{"TEXT/CSV;header=present", 10, 200},
		{"text/plain", 10, 415},
		{"text/plain", 0, 415},
		{"text/plain; application/json", 10, 415},
		{"text/plain;x=application/json", 10, 415},
		{"application/x-www-form-urlencoded", 10, 415},
		{"multipart/form-data; boundary=x", 10, 415},
		{"application/jsonp", 10, 415},
		{"application/json, text/plain", 10, 415},
		{"text/plain|application/json", 10, 415},
		{"application/json|text/plain", 10, 415},
		{" ", 10, 415},
		{";", 10, 415},
		{"*/*", 10, 415},
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "BREW"} {
			r := request(method, "")
			r.ContentLength = tt.length
			for kind := range strings.SplitSeq(tt.kind, "|") {
				if kind != "" {
					r.Header.Add("Content-Type", kind)
				}
			}
			if got, text := answer(t, g.Guard, r, PostEvents, "text/csv"); got != tt.want {
				t.Errorf("%s %q of %d bytes: %d %s, want %d", method, tt.kind, tt.length, got, text, tt.want)
			}
			if err := g.CheckRequest(r, "text/csv"); (err == nil) != (tt.want == 200) {
				t.Errorf("%s %q of %d bytes without a right: %v", method, tt.kind, tt.length, err)
			}
			// The connector sends what others published.
			r.Header.Set("Authorization", "Bearer "+connectorToken)
			if got, text := answer(t, g.Guard, r, PostEvents); got != 200 {
				t.Errorf("%s %q by the connector: %d %s", method, tt.kind, got, text)
			}
		}
		r := request(http.MethodGet, "")
		r.Header.Set("Content-Type", tt.kind)
		if got, text := answer(t, g.Guard, r, Read); got != 200 {
			t.Errorf("a GET with %q: %d %s", tt.kind, got, text)
		}
	}
}

// TestOrigins has which pages may make a browser send a request that changes something:
// those of the own site. Clients that are no browsers send none of the headers.
func TestOrigins(t *testing.T) {
	g := newGuard(t, "ACCESS=open", "PUBLIC_URL=https://parking.example/function/summary")
	g.AddIdentifier(func(*http.Request) (Principal, bool, error) {
		return Principal{Name: "anna", Role: Operator, Sites: AllSites(), Via: ViaSession}, true, nil
	})
	for _, tt := range []struct {
		site, origin, host, forwarded string
		want                          int
	}{
		{"", "", "gateway:8080", "", 200},
		{"same-origin", "https://gateway:8080", "gateway:8080", "", 200},
		{"none", "", "gateway:8080", "", 200},
		{"same-origin", "null", "gateway:8080", "", 200},
		{"cross-site", "https://evil.example", "gateway:8080", "", 403},
		{"cross-site", "", "gateway:8080", "", 403},
		{"cross-site", "null", "gateway:8080", "", 403},
		{"same-site", "https://other.parking.example", "gateway:8080", "", 403},
		{"anything", "", "gateway:8080", "", 403},
		{"", "http://gateway:8080", "gateway:8080", "", 200},
		{"", "http://evil.example", "gateway:8080", "", 403},
		{"", "http://gateway:8081", "gateway:8080", "", 403},
		{"", "null", "gateway:8080", "", 403},
		{"", "not a url\x7f", "gateway:8080", "", 403},
		// A proxy's Host is not what the address bar of the browser has.
		{"", "https://cars.example", "gateway:8080", "cars.example", 200},
		{"", "https://cars.example:8443", "gateway:8080", "cars.example", 403},
		{"", "https://evil.example", "gateway:8080", "cars.example", 403},
		{"cross-site", "https://cars.example", "gateway:8080", "cars.example", 403},
		{"same-origin", "https://cars.example", "gateway:8080", "", 200},
		{"", "https://parking.example", "gateway:8080", "", 200},
		{"", "http://parking.example", "gateway:8080", "", 403},
		{"", "https://parking.example.evil.example", "gateway:8080", "", 403},
	} {
		ask := func(method string, right Right) (int, string) {
			r := request(method, "")
			r.Host = tt.host
			for name, value := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin, "X-Forwarded-Host": tt.forwarded} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			return answer(t, g.Guard, r, right)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "GET", "HEAD"} {
			for _, right := range []Right{PostEvents, Correct, Generate} {
				if got, text := ask(method, right); got != tt.want {
					t.Errorf("%s for %s of %+v: %d %s", method, right, tt, got, text)
				}
			}
		}
		if got, text := ask("POST", Read); got != tt.want {
			t.Errorf("POST for read of %+v: %d %s", tt, got, text)
		}
		if got, text := ask("GET", Read); got != 200 { // links lead here
			t.Errorf("GET for read of %+v: %d %s", tt, got, text)
		}
	}
}

// TestAddress has whose address counts: a caller can write into the header what he likes,
// left of what our proxies add.
func TestAddress(t *testing.T) {
	trusted := "10.62.0.0/16,127.0.0.1,fd00::/8"
	for _, tt := range []struct{ proxies, remote, forwarded, want string }{
		{"", "192.0.2.1:5", "", "192.0.2.1"},
		{"", "192.0.2.1:5", "198.51.100.7", "192.0.2.1"},
		{trusted, "192.0.2.1:5", "198.51.100.7", "192.0.2.1"},
		{trusted, "10.62.0.1:5", "198.51.100.7", "198.51.100.7"},
		{trusted, "10.62.0.1:5", "198.51.100.7:51234", "198.51.100.7"},
		{trusted, "10.62.0.1:5", "1.2.3.4, 198.51.100.7", "198.51.100.7"},
		{trusted, "10.62.0.1:5", "1.2.3.4, 198.51.100.7, 10.62.0.9", "198.51.100.7"},
		{trusted, "10.62.0.1:5", "10.62.0.5, 10.62.0.9", "10.62.0.5"},
		{trusted, "10.62.0.1:5", "", "10.62.0.1"},
		{trusted, "10.62.0.1:5", "nonsense", "10.62.0.1"},
		{trusted, "10.62.0.1:5", "198.51.100.7, nonsense", "10.62.0.1"},
		{trusted, "10.62.0.1:5", "198.51.100.7,", "10.62.0.1"},
		{trusted, "10.62.0.1:5", "[2001:db8::1]:51234", "2001:db8::1"},
		{trusted, "10.62.0.1:5", "[2001:db8::1]", "2001:db8::1"},
		{trusted, "10.62.0.1:5", "2001:db8::1", "2001:db8::1"},
		{trusted, "10.62.0.1:5", "::ffff:198.51.100.7", "198.51.100.7"},
		{trusted, "[::ffff:10.62.0.1]:5", "198.51.100.7", "198.51.100.7"},
		{trusted, "[fd00::1]:5", "198.51.100.7", "198.51.100.7"},
		{trusted, "[fe80::1%eth0]:5", "198.51.100.7", "fe80::1"},
		{trusted, "10.62.0.1:5", "fe80::1%eth0", "fe80::1"},
		{trusted, "@", "198.51.100.7", ""},
		{trusted, "", "", ""},
	} {
		g := newGuard(t, "TRUSTED_PROXIES="+tt.proxies)
		r := request(http.MethodGet, "")
		r.RemoteAddr = tt.remote
		if tt.forwarded != "" {
			first, rest, several := strings.Cut(tt.forwarded, ", ")
			r.Header.Add("X-Forwarded-For", first) // in one header or in two
			if several {
				r.Header.Add("X-Forwarded-For", rest)
			}
		}
		for range 3 {
			if got := g.Address(r); got != tt.want {
				t.Errorf("%+v: %q", tt, got)
			}
		}
		if warned := strings.Count(g.log.String(), "TRUSTED_PROXIES"); warned != map[bool]int{true: 1}[tt.forwarded != "" && !g.proxies.trust(remote(r))] {
			t.Errorf("%+v: the log warns %d times", tt, warned)
		}
	}
	if (proxies{}).trust(netip.Addr{}) {
		t.Error("no address is trusted")
	}
}
