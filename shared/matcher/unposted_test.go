package matcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parkstream/shared/parking"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/summary/summaryclient"
	"parkstream/shared/timeline"
)

// picky posts to the stay store, but for the stays of one exit.
type picky struct {
	poster

	exit string
	err  error
}

func (p *picky) Post(ctx context.Context, stays []parking.Stay) error {
	for i := range stays {
		if stays[i].ID == p.exit {
			return p.err
		}
	}
	return p.poster.Post(ctx, stays)
}

// A stay that the summary refuses costs the others of the site and the other sites nothing:
// it is logged once a tick, counted, and posted again by the next one. A summary that is
// unavailable ends the tick.
func TestARefusedStayCostsOnlyItself(t *testing.T) {
	client := open(t)
	base := time.Now().Add(-96 * time.Hour).Truncate(time.Second).UTC()
	store, stays := timeline.New(client, 90*24*time.Hour), stay.New(client, 90*24*time.Hour)
	const visits = 5
	sites := names{"picky1", "picky2"}
	for _, site := range sites {
		var events []parking.Event
		for i := range visits {
			for kind, plate := range []string{fmt.Sprintf("K%cB%cC123%d", 'A'+i, 'M'+i, i), fmt.Sprintf("K%c8%cC123%d", 'A'+i, 'M'+i, i)} {
				e, err := parking.NewEvent(parking.Event{ID: fmt.Sprintf("%s-%d-%d", site, kind, i), Kind: parking.Entry + parking.Kind(kind), Site: site, RawPlate: plate, Time: base.Add(time.Duration(kind) * time.Hour)})
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, e)
			}
		}
		for _, r := range store.Record(t.Context(), events) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	post := &picky{poster{stays}, "picky1-1-2", &summaryclient.StatusError{Code: 400, Status: "400 Bad Request", Answer: "match is too long"}}
	decisions := review.Unposted{}
	var log strings.Builder
	metrics := NewMetrics(prometheus.NewRegistry())
	var total SiteCounts
	site := &SiteMatcher{
		Store: store, Stays: stays, Summaries: post, Window: 144 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Models: func(context.Context, string) (parking.Models, error) { return nil, nil },
		Repair: func(context.Context, string) (review.Unposted, error) { return decisions, nil },
		Settle: func(context.Context, string) (time.Duration, error) { return 24 * time.Hour, nil },
	}
	m := New(Config{Sites: sites, Turns: NewTurns(client), Metrics: metrics, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now})
	m.Site = func(ctx context.Context, name string) (SiteCounts, error) {
		c, err := site.Match(ctx, name)
		total.Posted += c.Posted
		total.Unposted += c.Unposted
		return c, err
	}
	tick := func(name string, posted, unposted, done int, fails bool) {
		t.Helper()
		total = SiteCounts{}
		log.Reset()
		got, err := m.Tick(t.Context(), func(site string) bool { return strings.HasPrefix(site, "picky") })
		if (err != nil) != fails || total.Posted != posted || total.Unposted != unposted || got.Sites != done {
			t.Errorf("%s: %+v, posted %d, unposted %d, %v", name, got, total.Posted, total.Unposted, err)
		}
		if n := strings.Count(log.String(), "stays refused by the summary"); n != min(unposted, 1) {
			t.Errorf("%s: logged %d times: %s", name, n, &log)
		}
	}
	tick("one is refused", 2*visits-1, 1, 2, false)
	tick("again", 0, 1, 2, false)
	decisions = review.Unposted{Decisions: 1, First: errors.New("refused")}
	total = SiteCounts{}
	if c, err := site.Match(t.Context(), "picky2"); err != nil || c.Unposted != 1 {
		t.Errorf("a decision is refused: %+v, %v", c, err)
	}
	decisions = review.Unposted{}
	if n := testutil.ToFloat64(metrics.unposted); n != 2 {
		t.Errorf("the metric is %v", n)
	}
	post.err = errors.New("connection refused")
	tick("the summary is unavailable", 0, 0, 0, true)
	post.exit = ""
	tick("it is accepted", 1, 0, 2, false)
}
