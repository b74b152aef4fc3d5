package generator_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/generator"
	"parkstream/shared/redis"
)

func (p *park) as(t *testing.T, by access.Principal, query string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	generator.NewEntryHandler(p.Config).ServeHTTP(w, httptest.NewRequestWithContext(access.NewContext(t.Context(), by), http.MethodPost, "/?"+query, nil))
	return w
}

func (p *park) entries(t *testing.T) []audit.Entry {
	t.Helper()
	page, err := p.Audit.List(t.Context(), audit.Query{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(page.Entries)
	return page.Entries
}

// A run that a person asks for is in the audit, and is not made if it cannot be. One of
// cron is made all the same.
func TestRunsOfPersonsAreInTheAudit(t *testing.T) {
	p := newPark(t)
	otto := access.Principal{Name: "otto", Role: access.Operator, Via: access.ViaToken, Address: "192.0.2.7", Sites: access.AllSites()}
	if w := p.as(t, access.Principal{}, ""); w.Code != http.StatusOK || len(p.entries(t)) > 0 {
		t.Fatalf("as cron: %d %s, entries %+v", w.Code, w.Body, p.entries(t))
	}
	if w := p.as(t, otto, "count=2&site=north"); w.Code != http.StatusOK {
		t.Fatalf("as an operator: %d %s", w.Code, w.Body)
	}
	begun := audit.Entry{Who: "otto", Role: "operator", Via: "token", Address: "192.0.2.7", Action: audit.Generate, Site: "north", Object: "2 of type entry", Outcome: audit.Begun}
	done := begun
	done.After, done.Outcome = "2 published", audit.Done
	if diff := cmp.Diff([]audit.Entry{begun, done}, p.entries(t), cmpopts.IgnoreFields(audit.Entry{}, "ID", "At", "Of")); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	client := p.redis.Current()
	if err := client.Set(t.Context(), redis.Audit+string(audit.Generate), "no stream", 0).Err(); err != nil {
		t.Fatal(err)
	}
	before := p.inside(t, "north")
	w := p.as(t, otto, "count=2&site=north")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "the audit") || strings.Contains(w.Body.String(), "WRONGTYPE") {
		t.Errorf("a run that cannot be recorded: %d %s", w.Code, w.Body)
	}
	if got := p.inside(t, "north"); !slices.Equal(got, before) {
		t.Errorf("the run is made: %q inside, %q before", got, before)
	}
}

// The audit waits for the replicas of Redis, as in the other functions.
func TestTheAuditWaitsForReplicas(t *testing.T) {
	dir, tokens := secrets(t, access.NewUser{Name: "otto", Role: access.Operator})
	entries := t.Name()
	url := serve(t, generator.NewEntryHandler, "SECRETS_DIR="+dir, "ENTRY_QUEUE="+entries, "REDIS_REPLICAS=1", "REDIS_REPLICAS_TIMEOUT=10ms")
	if status, _, text := (call{}).send(t, url); status != http.StatusOK {
		t.Fatalf("cron's call: %d %s", status, text)
	}
	byOtto := call{query: "?count=5", header: http.Header{"Authorization": {"Bearer " + tokens["otto"]}}}
	if status, _, text := byOtto.send(t, url); status != http.StatusServiceUnavailable || !strings.Contains(text, "the audit") {
		t.Errorf("without the replica: %d %s", status, text)
	}
	if n := len(read(t, entries)); n != 1 {
		t.Errorf("%d events, want that of cron", n)
	}
}
