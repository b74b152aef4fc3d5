package rabbitmq

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestTopicsOfOtherConnectorsAreLeftAlone(t *testing.T) {
	cron := []string{"cron-function"}
	for _, tt := range []struct {
		topics          topics
		annotation      string
		queues, foreign string
	}{
		{topics{nil, cron}, "vehicle_exits, vehicle_entries,vehicle_exits", "vehicle_entries vehicle_exits", ""},
		{topics{nil, cron}, "cron-function", "", "cron-function"},
		{topics{nil, nil}, "cron-function", "cron-function", ""},
		{topics{[]string{"vehicle_*"}, cron}, "orders,vehicle_entries,,", "vehicle_entries", "orders"},
		{topics{[]string{"vehicle_entries", "a?"}, cron}, "a1,a12,vehicle_entries", "a1 vehicle_entries", "a12"},
		{topics{[]string{"*"}, []string{"cron-*", "kafka.*"}}, "cron-function,kafka.orders,orders", "orders", "cron-function kafka.orders"},
		{topics{[]string{`[ab]*`, `a\b`}, nil}, `[ab]x,ax,a\b`, `[ab]x a\b`, "ax"},
		{topics{[]string{"site/*"}, nil}, "site/1/entries,sites", "site/1/entries", "sites"},
	} {
		queues, foreign := tt.topics.split(tt.annotation)
		if strings.Join(queues, " ") != tt.queues || strings.Join(foreign, " ") != tt.foreign {
			t.Errorf("%+v: %q has the queues %q and leaves %q", tt.topics, tt.annotation, queues, foreign)
		}
	}
	s, err := SettingsFrom([]string{"TOPICS= a, b ,", "IGNORED_TOPICS=c , d", "NAMESPACES=e, f"})
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]string{"a b": s.Topics, "c d": s.IgnoredTopics, "e f": s.Namespaces} {
		if strings.Join(got, " ") != want {
			t.Errorf("lists in settings: %q, want %q", got, want)
		}
	}
}

func newDiscovery(t *testing.T, g *gateway, environ ...string) *Connector {
	t.Helper()
	settings, err := SettingsFrom(append(environ, "GATEWAY_URL="+g.server.URL, "SECRETS_DIR="+t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Settings: settings, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.transport.CloseIdleConnections)
	t.Cleanup(func() { _ = c.publisher.Close() })
	return c
}

// A topic of another connector gets no queues and no warning, whatever else is in
// the annotations; /readyz?verbose tells of it.
func TestForeignTopicsAreToldOnDemand(t *testing.T) {
	g := newGateway(t)
	g.add("orders", "orders.v1", map[string]string{annotationBatchSize: "a matter of Kafka's connector"})
	g.add("both", "vehicle_entries,clicks", batched)
	c := newDiscovery(t, g, "TOPICS=vehicle_*")
	if !c.discovery.refresh(t.Context()) {
		t.Fatal("no function was found")
	}
	if p, _ := c.discovery.snapshot(); len(p) != 1 || len(p["vehicle_entries"]) != 1 {
		t.Errorf("the plan is %v", p)
	}
	if ps := c.discovery.problems(); len(ps) > 0 {
		t.Errorf("problems %q", ps)
	}
	for path, want := range map[string]bool{"/readyz": false, "/readyz?verbose": true, "/readyz?verbose=1": true} {
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		text := w.Body.String()
		for _, line := range []string{"topic orders.v1 of function orders is left", "topic clicks of function both is left", "queue vehicle_entries goes to function both"} {
			if strings.Contains(text, line) != want {
				t.Errorf("%s tells %q: %v\n%s", path, line, !want, text)
			}
		}
	}
}

// A function that is redeployed is missing in the list for a while: the list is asked
// again at once, the function is served on, and it is gone when enough lists lack it.
func TestAFunctionIsMissingInTheList(t *testing.T) {
	g := newGateway(t)
	g.add("fn", "q1,q2", batched)
	g.add("other", "q2", batched)
	c := newDiscovery(t, g)
	d := c.discovery
	served := func(queue string) string {
		p, _ := d.snapshot()
		var names []string
		for _, f := range p[queue] {
			names = append(names, f.Name)
		}
		return strings.Join(names, " ")
	}
	if !d.refresh(t.Context()) || served("q1") != "fn" || served("q2") != "fn other" {
		t.Fatalf("q1 %q, q2 %q", served("q1"), served("q2"))
	}
	_, changed := d.snapshot()
	g.remove("fn")
	for i := 1; i < absentLists; i++ {
		if d.refresh(t.Context()) {
			t.Fatalf("list %d without the function is not followed by another at once", i)
		}
		if served("q1") != "fn" || served("q2") != "fn other" {
			t.Fatalf("list %d without the function: q1 %q, q2 %q", i, served("q1"), served("q2"))
		}
	}
	select {
	case <-changed:
		t.Error("the plan changed meanwhile")
	default:
	}
	if d.refresh(t.Context()) || served("q1") != "" || served("q2") != "other" {
		t.Errorf("after %d lists without the function: q1 %q, q2 %q", absentLists, served("q1"), served("q2"))
	}
	// It is looked for a while longer, and taken as soon as it is back.
	g.add("fn", "q1,q2", batched)
	if !d.refresh(t.Context()) || served("q1") != "fn" {
		t.Errorf("the function is back: q1 %q", served("q1"))
	}
	g.remove("fn")
	for range watchedLists {
		d.refresh(t.Context())
	}
	if !d.refresh(t.Context()) {
		t.Errorf("after %d lists without the function it is still looked for", watchedLists)
	}
	// One that listens no more, or cannot be served, was not redeployed.
	g.add("other", "q3", batched)
	if !d.refresh(t.Context()) || served("q2") != "" || served("q3") != "other" {
		t.Errorf("with another topic: q2 %q, q3 %q", served("q2"), served("q3"))
	}
	g.add("third", "q3", map[string]string{annotationBatchSize: "many"})
	g.remove("other")
	d.refresh(t.Context())
	if got := served("q3"); got != "" {
		t.Errorf("a parked queue is served by %q", got)
	}
	if !slices.ContainsFunc(d.problems(), func(p string) bool { return strings.Contains(p, "third") }) {
		t.Errorf("problems %q", d.problems())
	}
}
