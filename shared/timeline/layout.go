package timeline

import (
	_ "embed"
	"fmt"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// layoutSource has the names of keys and the parts of members, for the scripts.
//
//go:embed layout.lua
var layoutSource string

// newScript returns a script with the layout.
func newScript(source string) *redis.Script { return redis.NewScript(layoutSource, source) }

// siteKeys is the prefix of a site's keys. Its methods return the keys. layout.lua has
// the same names and describes the contents.
type siteKeys string

func keysOf(site string) siteKeys { return siteKeys(redis.Timelines.Site(site)) }

func (k siteKeys) events() string            { return string(k) + "e" }
func (k siteKeys) timelines() string         { return string(k) + "t" }
func (k siteKeys) revisions() string         { return string(k) + "r" }
func (k siteKeys) inside() string            { return string(k) + "in" }
func (k siteKeys) totals() string            { return string(k) + "n" }
func (k siteKeys) corrections() string       { return string(k) + "c" }
func (k siteKeys) older(plate string) string { return string(k) + "o:" + plate }
func (k siteKeys) day(t time.Time) string    { return redis.DayKey(string(k), t) }

// member returns the form of an event in its timeline. The order of bytes is the order
// of the timeline.
func member(e *parking.Event) string {
	return instant(e.Time) + string(rune(e.Kind)) + e.ID
}

// instant returns the form of a time at the start of a member.
func instant(t time.Time) string { return redis.Base32.Format(t) }

// parseMember returns the id and the time in a member.
func parseMember(m string) (id string, t time.Time, err error) {
	t, rest, err := redis.Base32.Cut(m)
	if err != nil {
		return "", t, fmt.Errorf("member %q: %w", m, err)
	}
	if len(rest) < 2 { // for kind and id
		return "", t, fmt.Errorf("member %q is too short", m)
	}
	return rest[1:], t, nil
}

// extra returns the parts of an event outside of the timeline, one a line: the raw
// plate if it differs from the key, and the gate.
func extra(e *parking.Event) string {
	raw := e.RawPlate
	if raw == e.Plate {
		raw = ""
	}
	if raw == "" && e.Gate == "" {
		return ""
	}
	return "\n" + raw + "\n" + e.Gate
}
