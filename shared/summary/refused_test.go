package summary

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
)

// A Redis that refuses the login is not an empty Redis: no response looks as if there
// were no data.
func TestARefusedLoginIsNoAnswer(t *testing.T) {
	e := newEndpoint(t)
	e.record(t, "a", "P1+")
	admin, err := url.Parse(e.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := e.client.Current()
	client.ConfigSet(t.Context(), "requirepass", "another")
	client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "NO")
	today := today.Format("2006-01-02T15:04:05Z")
	for _, path := range []string{
		"GET /", "GET /?site=a", "GET /?plate=P1&status=completed", "GET /?format=csv", "GET /stays/xP1", "GET /stays/xP1?site=a",
		"GET /stats", "GET /stats?site=a", "GET /stats?from=" + today, "GET /minutes", "GET /minutes?site=a", "GET /overview", "GET /inside",
		"GET /sites", "GET /sites/a", "GET /sites/a/inside", "GET /sites/a/occupancy", "DELETE /plates/P1", "DELETE /plates/P1?site=a",
	} {
		method, path, _ := strings.Cut(path, " ")
		if w := e.authorized(method, path, ""); w.Code != 503 || strings.Contains(w.Body.String(), "WRONGPASS") {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	if n, err := e.stays.Upsert(t.Context(), []parking.Stay{unmatched("x", "a", "P", daysAgo(1))}); err == nil {
		t.Errorf("%d stays were stored", n)
	}
	if !strings.Contains(e.log.String(), "WRONGPASS") || strings.Contains(e.log.String(), "unexpected type") {
		t.Errorf("the log does not say why: %s", e.log)
	}

	admin.User = url.UserPassword("", "another")
	again, err := redis.Open(redis.URL(admin.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	s := stay.New(again, retention)
	for _, lose := range [][]any{{"PING"}, {"FLUSHALL"}, {"DEL", "stay:registry"}} {
		if err := again.Current().Do(t.Context(), lose...).Err(); err != nil {
			t.Fatal(err)
		}
		put(t, s, unmatched("x", "a", "P", daysAgo(1)))
		if sites, err := s.Sites(t.Context()); err != nil || !slices.Equal(sites, []string{"a"}) {
			t.Errorf("after %v: sites %q, error %v", lose, sites, err)
		}
	}
}
