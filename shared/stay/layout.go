package stay

import (
	_ "embed"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// layoutSource has the names of keys and the parts of positions, for the scripts.
//
//go:embed layout.lua
var layoutSource string

// newScript returns a script with the layout.
func newScript(source string) *redis.Script { return redis.NewScript(layoutSource, source) }

// siteKeys is the prefix of a site's keys. Its methods return the keys. layout.lua has
// the same names and describes the contents.
type siteKeys string

func keysOf(site string) siteKeys { return siteKeys(redis.Stays.Site(site)) }

func (k siteKeys) stays() string          { return string(k) + "s" }
func (k siteKeys) plates() string         { return string(k) + "p" }
func (k siteKeys) day(t time.Time) string { return redis.DayKey(string(k), t) }

// status returns the key of the stays of one status.
func (k siteKeys) status(s parking.Status) string { return string(k) + "x:" + letters[s] }

// marked returns the key of the stays with a mark.
func (k siteKeys) marked(mark string) string { return string(k) + "m:" + mark }

// disputed is the mark of disputed stays. The other marks are methods.
const disputed = "disputed"

// marksOf returns the marks of a stay. Most have none.
func marksOf(s *parking.Stay) []string {
	if s.Match == nil {
		return nil
	}
	var marks []string
	if s.Match.Method != parking.Exact {
		marks = append(marks, string(s.Match.Method))
	}
	if s.Disputed {
		marks = append(marks, disputed)
	}
	return marks
}

// letters stand for statuses in keys and values.
var letters = map[parking.Status]string{parking.Completed: "c", parking.UnmatchedExit: "u", parking.Repeated: "r", parking.Void: "v"}

// position returns the place of a stay in the order of exits, which is the order of
// bytes.
func position(exit time.Time, id string) string { return instant(exit) + id }

// instant returns the form of a time at the start of a position.
func instant(t time.Time) string { return redis.Base16.Format(t) }

var instantLen = redis.Base16.Len()
