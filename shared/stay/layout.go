package stay

import (
	_ "embed"
	"time"

	"parkstream/shared/redis"
)

// layoutSource has the names of keys and the parts of positions for the scripts.
//
//go:embed layout.lua
var layoutSource string

// newScript returns a script that knows the layout.
func newScript(source string) *redis.Script { return redis.NewScript(layoutSource, source) }

// siteKeys are the keys of a site, by their prefix. layout.lua has the same names and says
// what is in each.
type siteKeys string

func keysOf(site string) siteKeys { return siteKeys(redis.Stays.Site(site)) }

func (k siteKeys) stays() string          { return string(k) + "s" }
func (k siteKeys) plates() string         { return string(k) + "p" }
func (k siteKeys) completed() string      { return string(k) + "x:c" }
func (k siteKeys) unmatched() string      { return string(k) + "x:u" }
func (k siteKeys) day(t time.Time) string { return redis.DayKey(string(k), t) }

// position returns a stay's place in the order of time: byte order is that of exits.
func position(exit time.Time, id string) string { return instant(exit) + id }

// instant returns a time as a position begins with it.
func instant(t time.Time) string { return redis.Base16.Format(t) }

var instantLen = redis.Base16.Len()
