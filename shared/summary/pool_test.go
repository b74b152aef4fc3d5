package summary

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"parkstream/shared/access"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func asUser(name string) context.Context {
	return access.NewContext(context.Background(), access.Principal{Name: name, Role: access.Viewer, Sites: access.AllSites()})
}

// One principal cannot take all turns. What it waits for takes none of others, and is
// not remembered when it ends.
func TestPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4, 2)
		var leaves []func()
		enter := func(who string) {
			leave, err := p.wait(asUser(who))
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		enter("anna")
		enter("anna")
		ctx, cancel := context.WithCancel(asUser("anna"))
		var waiting sync.WaitGroup
		for range 100 { // more of the same wait, and give up
			waiting.Go(func() {
				if _, err := p.wait(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("a third turn: %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := p.try(asUser("anna")); !errors.Is(err, errShareUsed) {
			t.Errorf("a third turn: %v", err)
		}
		enter("bert")
		enter("bert")
		if _, err := p.try(asUser("cleo")); !errors.Is(err, errPoolFull) {
			t.Errorf("a fifth turn: %v", err)
		}
		var got atomic.Bool
		waiting.Go(func() {
			leave, err := p.wait(asUser("cleo"))
			if err != nil {
				t.Error(err)
				return
			}
			got.Store(true)
			leave()
		})
		synctest.Wait()
		if got.Load() {
			t.Error("a fifth turn was taken")
		}
		cancel()
		leaves[0]()
		waiting.Wait()
		if !got.Load() {
			t.Error("a turn that ended is not taken by the next")
		}
		for _, leave := range leaves[1:] {
			leave()
		}
		for i := range 1000 {
			leave, err := p.try(asUser(fmt.Sprint("user", i)))
			if err != nil {
				t.Fatal(err)
			}
			leave()
		}
		if len(p.waiting) != 0 || len(p.turns) != 0 {
			t.Errorf("%d principals are remembered, %d turns taken", len(p.waiting), len(p.turns))
		}
		open := access.NewContext(t.Context(), access.Principal{Name: "open", Role: access.Open, Sites: access.AllSites()})
		for range 4 { // all callers together are this principal
			if _, err := p.try(open); err != nil {
				t.Error(err)
			}
		}
	})
}

// One login gets a part of the downloads and of the queries over all sites, others the
// rest. Queries of one site have no such bound.
func TestSharesOfCostlyQueries(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	b := g.api().bounds
	hold := func(p *pool, name string, n int) (leave func()) {
		var all []func()
		for range n {
			one, err := p.try(access.NewContext(t.Context(), access.Principal{Name: name, Role: access.Viewer}))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, one)
		}
		return func() {
			for _, one := range all {
				one()
			}
		}
	}
	for _, tt := range []struct {
		pool  *pool
		share int
		path  string
		code  int
	}{
		{b.downloads, downloadsShare, "/?format=csv&site=north", http.StatusTooManyRequests},
		{b.downloadsOfAll, downloadsOfAllShare, "/?format=csv", http.StatusTooManyRequests},
		{b.queries, queriesShare, "/stats", http.StatusServiceUnavailable},
		{b.queries, queriesShare, "/?limit=5", http.StatusServiceUnavailable},
		{b.queries, queriesShare, "/?format=csv&limit=5", http.StatusServiceUnavailable},
	} {
		leave := hold(tt.pool, viewer, tt.share)
		if tt.pool == b.queries {
			b.timeout = 1
		}
		if w := g.as(viewer, "GET", tt.path, ""); w.Code != tt.code || w.Header().Get("Retry-After") == "" {
			t.Errorf("GET %s of a login that has its share: %d %s", tt.path, w.Code, w.Body)
		}
		b.timeout = queryTimeout
		for _, who := range []string{plates, operator} {
			if w := g.as(who, "GET", tt.path, ""); w.Code != http.StatusOK {
				t.Errorf("GET %s of another login: %d %s", tt.path, w.Code, w.Body)
			}
		}
		leave()
		if w := g.as(viewer, "GET", tt.path, ""); w.Code != http.StatusOK {
			t.Errorf("GET %s afterwards: %d %s", tt.path, w.Code, w.Body)
		}
	}
	// For who sees one site, all sites are that one.
	defer hold(b.queries, viewer+atNorth, queriesShare)()
	defer hold(b.downloadsOfAll, viewer+atNorth, downloadsOfAllShare)()
	for _, path := range []string{"/stats", "/overview", "/?format=csv", "/inside"} {
		if w := g.as(viewer+atNorth, "GET", path, ""); w.Code != http.StatusOK {
			t.Errorf("GET %s of one site: %d %s", path, w.Code, w.Body)
		}
	}
}
