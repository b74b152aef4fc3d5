package summary

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

func TestMain(m *testing.M) {
	// go-redis dials an unresponsive Redis in the background, and notices within a
	// second that its client was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const (
	day       = 24 * time.Hour
	retention = 90 * day
)

// today is noon, so the hours around it belong to one UTC day.
var today = time.Now().UTC().Truncate(day).Add(-12 * time.Hour)

func daysAgo(n int) time.Time { return today.AddDate(0, 0, -n) }

// completed returns a stay of so many seconds, unmatched a stay without an entry.
func completed(id, site, plate string, exit time.Time, seconds int) parking.Stay {
	s := unmatched(id, site, plate, exit)
	s.EntryID, s.EntryTime = "entry of "+id, exit.Add(-time.Duration(seconds)*time.Second)
	return s
}

func unmatched(id, site, plate string, exit time.Time) parking.Stay {
	return parking.Stay{ID: id, Site: site, Plate: plate, ExitTime: exit, Revision: 1}
}

func put(t *testing.T, s *stay.Store, stays ...parking.Stay) {
	t.Helper()
	if _, err := s.Upsert(context.Background(), stays); err != nil {
		t.Fatal(err)
	}
}

// list returns "site/id" of the stays of all pages, at all sites.
func list(t *testing.T, s *stay.Store, q stay.Query) []string {
	t.Helper()
	var err error
	if q.Sites, err = s.Sites(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Stays {
			ids = append(ids, k.Site+"/"+k.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return ids
		}
	}
}
