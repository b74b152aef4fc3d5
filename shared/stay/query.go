package stay

import (
	"slices"
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
	// Method and Disputed select completed stays by how entry and exit were put together;
	// "" and nil: whatever it was. A disputed stay has a method, too.
	Method   parking.Method
	Disputed *bool
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
// has stays of every status and method, and void ones among them without a status, too.
func (q *Query) filtered() bool {
	_, marked := q.mark()
	return q.Plate != "" || q.matched() && !marked || q.Method != "" && q.Disputed != nil
}

// matched reports whether the query selects by how entry and exit were put together.
func (q *Query) matched() bool { return q.Method != "" || q.Disputed != nil }

// mark returns a mark that all selected stays have.
func (q *Query) mark() (mark string, found bool) {
	switch {
	case q.Disputed != nil && *q.Disputed:
		return disputed, true
	case q.Method != "" && q.Method != parking.Exact:
		return string(q.Method), true
	}
	return "", false
}

// wants reports whether the query selects a stay of its indexes. The place of a plate that
// the stay does not have is of a revision before.
func (q *Query) wants(k StoredStay) bool {
	switch {
	case q.Status == "" && k.Void, q.Status != "" && k.Status() != q.Status:
		return false
	case q.Plate != "" && k.Plate != q.Plate && !slices.Contains(k.OtherPlates(), q.Plate):
		return false
	case q.Method != "" && k.Method() != q.Method:
		return false
	case q.Disputed != nil:
		return k.Status() == parking.Completed && k.Disputed == *q.Disputed
	}
	return true
}

// atOnce returns the number of stays to read in order to find n.
func (q *Query) atOnce(n int) int {
	if q.filtered() {
		return max(n, readAtOnce)
	}
	return n
}
