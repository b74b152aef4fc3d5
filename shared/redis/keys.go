package redis

import (
	"strconv"
	"strings"
	"time"
)

// Space is a key space: what the keys of one store begin with. Each kind of data of a site
// has a key, named by what follows the site's prefix; the store's own layout.lua and
// layout.go say what is in them.
type Space string

const (
	// Timelines is the key space of events and of the states of sites.
	Timelines Space = "park"
	// Stays is the key space of stays.
	Stays Space = "stay"
)

// Site returns the prefix of every key of a site. The braces make the site its hash tag:
// in a cluster all its keys are on one shard, and a script that gets the prefix as its
// key may use each of them.
func (s Space) Site(site string) string { return string(s) + ":{" + site + "}:" }

// CutSite returns the site of a prefix that [Space.Site] made. It reports whether it is one.
func (s Space) CutSite(prefix string) (site string, found bool) {
	site, start := strings.CutPrefix(prefix, string(s)+":{")
	site, end := strings.CutSuffix(site, "}:")
	return site, start && end
}

// Registry returns the key of the sites of which the space has something; see [Registry].
func (s Space) Registry() string { return string(s) + ":registry" }

// DayKey returns the key of the counts of a day, by UTC, at the site of a prefix.
func DayKey(prefix string, t time.Time) string {
	return prefix + "d:" + strconv.FormatInt(Day(t), 10)
}

// Day returns how many days, by UTC, a time is after 1970.
func Day(t time.Time) int64 {
	return t.UTC().Truncate(24*time.Hour).Unix() / 86400 // rounded down before 1970, too
}

// Keys of no site.
const (
	// erasedKey has what [Client.Erased] remembers.
	erasedKey = "park:erased"
	// writableKey begins the keys that [Client.Writable] writes.
	writableKey = "park:writable"
)
