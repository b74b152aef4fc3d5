package stay

import (
	"time"

	"parkstream/shared/parking"
)

// Query selects stays. The zero value selects all.
type Query struct {
	Plate  string // normalised
	Site   string
	Status parking.Status
	// From (inclusive) and To (exclusive) bound the time of the exit.
	From, To time.Time
	// Limit is the size of a page, at least 1.
	Limit int
	// Cursor continues after an earlier page.
	Cursor string
	// Last is the cursor after the last stay that is wanted.
	Last string
}

const (
	// MaxSites bounds the sites of one query.
	MaxSites = 10_000
	// maxSiteDays bounds the days of sites that one query sums up: those of 2,000
	// sites for three months.
	maxSiteDays = 200_000
)

// CheckSites returns a [parking.ErrInvalid] for a query over more than [MaxSites].
func CheckSites(n int) error {
	if n > MaxSites {
		return parking.Invalid("there are %d sites, at most %d are looked at together: ask for one site", n, MaxSites)
	}
	return nil
}

// mostDays returns how many days of so many sites one query sums up.
func mostDays(sites int) int { return min(MaxStatsDays, maxSiteDays/max(1, sites)) }

// CheckSiteDays returns a [parking.ErrInvalid] for a query over more days of so many
// sites than are summed up together.
func CheckSiteDays(sites, days int) error {
	if most := mostDays(sites); days > most {
		return parking.Invalid("%d days of %d sites are asked for, at most %d days of so many sites are summed up together: ask for one site, or for less time",
			days, sites, most)
	}
	return CheckSites(sites)
}

// filtered reports whether not every stay of the query's indexes is wanted: those of
// a plate are of any status.
func (q *Query) filtered() bool { return q.Plate != "" && q.Status != "" }

func (q *Query) wants(k StoredStay) bool { return q.Status == "" || k.Status() == q.Status }

// atOnce returns how many stays to read to find n.
func (q *Query) atOnce(n int) int {
	if q.filtered() {
		return max(n, readAtOnce)
	}
	return n
}
