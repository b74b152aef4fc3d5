package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A login has its own rate of requests; the other parts of the system and everyone
// together have none.
func TestRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t, "REQUESTS_PER_SECOND=10")
		g.write(t, "users", someUsers(t))
		g.write(t, "connector-token", connectorToken)
		g.Token("connector", g.process.Secret("connector-token").Value, PostEvents)
		get := func(credentials string, right Right) int {
			status, _ := answer(t, g.Guard, request(http.MethodGet, credentials), right)
			return status
		}
		anna := "Bearer " + annaToken + " 20 bytes"
		for i := range 20 {
			if status := get(anna, Read); status != 200 {
				t.Fatalf("request %d: %d", i, status)
			}
		}
		w := httptest.NewRecorder()
		if _, ok := g.Require(w, request(http.MethodGet, anna), Read); ok || w.Code != 429 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("a request too many: %d %v", w.Code, w.Header())
		}
		if status := get("Bearer "+gateToken+" 20 bytes", PostEvents); status != 200 {
			t.Errorf("another login: %d", status)
		}
		for range 100 {
			if status := get("Bearer "+connectorToken, PostEvents); status != 200 {
				t.Fatalf("the connector: %d", status)
			}
		}
		time.Sleep(time.Second) // the bubble's
		for i := range 11 {
			if status := get(anna, Read); (status == 200) != (i < 10) {
				t.Errorf("request %d of the next second: %d", i, status)
			}
		}
		// What needs no right counts, too: GET /me and unknown paths. A logout is known.
		time.Sleep(2 * time.Second)
		for i := range 21 {
			p, err := g.Identify(request(http.MethodGet, anna))
			if p.Name != "anna" || (err == nil) != (i < 20) {
				t.Errorf("identification %d: %+v, %v", i, p, err)
			}
		}
		// What a login may not do counts, too.
		time.Sleep(2 * time.Second)
		for range 20 {
			get(anna, Administer)
		}
		if status := get(anna, Read); status != 429 {
			t.Errorf("after 20 refused ones: %d", status)
		}
	})
	for _, tt := range []struct {
		environ []string
		as      Principal
	}{
		{[]string{"REQUESTS_PER_SECOND=1"}, Principal{Role: Open}},
		{[]string{"REQUESTS_PER_SECOND=1"}, PartOf("connector")},
		{[]string{"REQUESTS_PER_SECOND=0"}, Principal{Name: "anna", Role: Operator}},
	} {
		g := newGuard(t, tt.environ...)
		for range 100 {
			if err := g.limits.check(tt.as); err != nil {
				t.Fatalf("%q %s: %v", tt.environ, tt.as.Role, err)
			}
		}
	}
	l := newLimits(1, 1, "")
	for i := range maxLimited + 10 {
		l.wait(fmt.Sprint(i))
	}
	if n := l.lru.Len(); n != maxLimited {
		t.Errorf("%d principals are remembered", n)
	}
}

// Who has a right password cannot begin sessions without a bound: their entries would
// displace those of others from the audit. Wrong passwords of strangers lock no one out.
func TestLoginRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuard(t)
		g.write(t, "users", someUsers(t))
		login := func(name, password string) int {
			_, err := g.Login(request(http.MethodPost, ""), name, password)
			if refusal, _ := errors.AsType[*Refusal](err); refusal != nil {
				return refusal.Status
			}
			return 200
		}
		for range 40 {
			login("anna", "wrong")
		}
		time.Sleep(time.Hour)
		for i := range loginBurst + 1 {
			if status := login("anna", "anna's"); (status == 200) != (i < loginBurst) {
				t.Errorf("login %d: %d", i, status)
			}
		}
		if _, err := g.Identify(request(http.MethodGet, basic("anna", "anna's"))); err != nil {
			t.Errorf("a request by password after that: %v", err)
		}
		time.Sleep(6 * time.Second)
		if status := login("anna", "anna's"); status != 200 {
			t.Errorf("after six seconds: %d", status)
		}
	})
}
