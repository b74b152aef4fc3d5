package redis

import (
	"strconv"
	"strings"
	"time"
)

// Space is a key space, the first part of all keys of one store. Each kind of data of a
// site has a key, named by what follows the site's prefix. The store's own layout.lua
// and layout.go describe the contents.
type Space string

const (
	// Timelines is the key space of events and of the states of sites.
	Timelines Space = "park"
	// Stays is the key space of stays.
	Stays Space = "stay"
)

// Site returns the prefix of every key of a site. The braces make the site its hash
// tag: in a cluster all its keys are on one shard. A script that gets the prefix as its
// key may use each of them.
func (s Space) Site(site string) string { return string(s) + ":{" + site + "}:" }

// CutSite returns the site of a prefix made by [Space.Site]. found reports whether it
// is one.
func (s Space) CutSite(prefix string) (site string, found bool) {
	site, start := strings.CutPrefix(prefix, string(s)+":{")
	site, end := strings.CutSuffix(site, "}:")
	return site, start && end
}

// Registry returns the key of the space's [Registry], the sites that have data in it.
func (s Space) Registry() string { return string(s) + ":registry" }

// DayKey returns the key of a day's counts, by UTC, at the site of a prefix.
func DayKey(prefix string, t time.Time) string {
	return prefix + "d:" + strconv.FormatInt(Day(t), 10)
}

// Day returns the number of days from 1970 to t, by UTC.
func Day(t time.Time) int64 {
	return t.UTC().Truncate(24*time.Hour).Unix() / 86400 // rounded down before 1970, too
}

// EndedKey returns the key of a session or login that has ended.
func EndedKey(id string) string { return "park:ended:" + id }

// CameraKey returns the key of the state of a camera, and the prefix of what else is kept
// of it.
func CameraKey(id string) string { return "park:camera:{" + id + "}" }

// ModelsKey returns the prefix of the keys of the models of a site.
func ModelsKey(site string) string { return "park:models:{" + site + "}:" }

// Keys of no site.
const (
	// erasedKey holds the state of [Client.Erased].
	erasedKey = "park:erased"
	// writableKey begins the keys that [Client.Writable] writes.
	writableKey = "park:writable"
	// Audit is the prefix of the keys of the audit. Its hash tag keeps them on one
	// shard, so their entries have the times of one clock.
	Audit = "park:audit:{all}:"
	// KeptRequests is the prefix of the keys of requests that cameras sent and that were
	// refused. Its hash tag keeps them on one shard.
	KeptRequests = "park:kept:{all}:"
	// Sites is the prefix of the keys of the configurations of sites. Its hash tag keeps
	// them on one shard.
	Sites = "park:sites:{all}:"
	// Matcher is the prefix of the keys of the matcher's turns. Its hash tag keeps them on
	// one shard.
	Matcher = "park:match:{all}:"
)
