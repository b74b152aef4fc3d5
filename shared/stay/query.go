package stay

import (
	"time"

	"parkstream/shared/parking"
)

// Query selects stays of some sites.
type Query struct {
	// Sites are the sites to look at, each once; see [Store.Sites]. Without one the query
	// selects nothing.
	Sites []string
	Plate string // normalised
	// Status selects the stays of one status. Without it all are selected that are not
	// void.
	Status parking.Status
	// From (inclusive) and To (exclusive) bound the time of the exit.
	From, To time.Time
	// Limit is the size of a page, at least 1.
	Limit int
	// Cursor continues after an earlier page.
	Cursor string
	// Last is the cursor after the last stay to return.
	Last string
}

const (
	// MaxSites is the maximum number of sites in one query.
	MaxSites = 10_000
	// maxSiteDays bounds sites times days in one query for statistics. It is enough for
	// 2,000 sites and three months.
	maxSiteDays = 200_000
)

// CheckSites returns a [parking.ErrInvalid] if n is more than [MaxSites].
func CheckSites(n int) error {
	if n > MaxSites {
		return parking.Invalid("there are %d sites, at most %d are looked at together: ask for one site", n, MaxSites)
	}
	return nil
}

// mostDays returns the maximum number of days in a query for statistics of so many
// sites.
func mostDays(sites int) int { return min(MaxStatsDays, maxSiteDays/max(1, sites)) }

// CheckSiteDays returns a [parking.ErrInvalid] if a query for statistics covers more
// days than so many sites allow.
func CheckSiteDays(sites, days int) error {
	if most := mostDays(sites); days > most {
		return parking.Invalid("%d days of %d sites are asked for, at most %d days of so many sites are summed up together: ask for one site, or for less time",
			days, sites, most)
	}
	return CheckSites(sites)
}

// filtered reports whether the query skips stays of its indexes. The index of a plate
// has stays of every status, and void ones among them without a status, too.
func (q *Query) filtered() bool { return q.Plate != "" }

func (q *Query) wants(k StoredStay) bool {
	if q.Status == "" {
		return !k.Void
	}
	return k.Status() == q.Status
}

// atOnce returns the number of stays to read in order to find n.
func (q *Query) atOnce(n int) int {
	if q.filtered() {
		return max(n, readAtOnce)
	}
	return n
}
