package health

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/site"
)

const (
	hour = time.Hour
	week = 7 * 24 * time.Hour
	// historyWeeks is how many weeks tell what is usual at an hour of a weekday, and
	// leastWeeks how many it takes.
	historyWeeks = 4
	leastWeeks   = 2
	// mostSilence bounds the part of a silence that is compared with what is usual.
	mostSilence = week
	// A camera is silent if it has been for leastSilence, and usually has leastExpected
	// in that time.
	leastSilence  = 10 * time.Minute
	leastExpected = 10
	// matchDays are counted for the match rate.
	matchDays = 7
	dayHours  = 24
)

// Health is how a camera is now.
type Health struct {
	Camera string    `json:"camera"`
	Site   string    `json:"site"`
	Gate   string    `json:"gate"`
	Role   site.Role `json:"role"`
	// Format is that of the last request that was accepted, or the configured one.
	Format string `json:"format"`
	// Silent reports whether the camera is silent though it should not be, and Reason tells
	// of which kind the silence is.
	Silent bool   `json:"silent"`
	Reason string `json:"reason,omitempty"`
	// The times of the last requests of each kind; nil: there was none in 90 days.
	LastRequest   *time.Time `json:"last_request"`
	LastRead      *time.Time `json:"last_read"`
	LastHeartbeat *time.Time `json:"last_heartbeat"`
	LastRefused   *time.Time `json:"last_refused"`
	// ReadsLastHour and the following numbers are of the last hour or day. That of the
	// hour supposes that the reads of the clock hour before came evenly.
	ReadsLastHour  int64 `json:"reads_last_hour"`
	ReadsLastDay   int64 `json:"reads_last_day"`
	RefusedLastDay int64 `json:"refused_last_day"`
	// NoPlateShare is the share of the day's reads that have no plate, and Confidence the
	// mean of those that have one; nil: there are none.
	NoPlateShare *float64 `json:"no_plate_share"`
	Confidence   *float64 `json:"mean_confidence"`
	// MatchRate is the share of the camera's entries that began a stay and of its exits
	// that ended one; nil: there are none.
	MatchRate *float64 `json:"match_rate"`
	// SkewSeconds is from the time that the camera gave to the arrival of its last read.
	SkewSeconds *float64 `json:"skew_seconds"`
}

// record is what Redis has of a camera.
type record struct {
	state map[string]string
	days  map[int64]map[string]string // counts
	sets  map[string]int64            // distinct ids of the days that count
}

func (r *record) time(field string) time.Time {
	ms, err := strconv.ParseInt(r.state[field], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// count returns a count of the UTC hour of t.
func (r *record) count(name string, t time.Time) int64 {
	n, _ := strconv.ParseInt(r.days[redis.Day(t)][countField(name, t)], 10, 64) // missing: 0
	return n
}

// sum returns a count of the last day, of whole clock hours and the present one.
func (r *record) sum(name string, now time.Time) (n int64) {
	for h := range dayHours {
		n += r.count(name, now.Add(-time.Duration(h)*hour))
	}
	return n
}

// evaluate returns the health of a camera. zone is that of its site.
func evaluate(c *site.Camera, zone *time.Location, r *record, now time.Time) Health {
	h := Health{
		Camera: c.ID, Site: c.Site, Gate: c.Gate, Role: c.Role, Format: c.Format,
		LastRequest: orNil(r.time(fieldRequest)), LastRead: orNil(r.time(fieldRead)),
		LastHeartbeat: orNil(r.time(fieldHeartbeat)), LastRefused: orNil(r.time(fieldRefused)),
		ReadsLastDay: r.sum(countReads, now), RefusedLastDay: r.sum(countRefused, now),
	}
	if f := r.state[fieldFormat]; f != "" {
		h.Format = f
	}
	left := 1 - float64(now.Sub(now.Truncate(hour)))/float64(hour) // of the hour before that is within the last 60 minutes
	h.ReadsLastHour = r.count(countReads, now) + int64(math.Round(left*float64(r.count(countReads, now.Add(-hour)))))
	h.NoPlateShare = share(r.sum(countNoPlate, now), h.ReadsLastDay)
	if mean := share(r.sum(countConfidence, now), r.sum(countConfident, now)*confidenceUnits); mean != nil {
		h.Confidence = mean
	}
	h.MatchRate = share(r.sets[setTaken]+r.sets[setMatched], r.sets[setEntries]+r.sets[setExits])
	if ms, err := strconv.ParseInt(r.state[fieldSkew], 10, 64); err == nil {
		h.SkewSeconds = new(float64(ms) / 1000)
	}
	h.Reason = silence(zone, r.time(fieldSince), r.time(fieldRequest), r.time(fieldRead), now, r.count)
	h.Silent = h.Reason != ""
	return h
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// share returns a part of a whole, at most 1, or nil if there is nothing.
func share(part, whole int64) *float64 {
	if whole <= 0 {
		return nil
	}
	return new(min(1, float64(part)/float64(whole)))
}

// silence returns why a camera is silent, or "" if it is not: there was no request, or no
// read, for a time in which it usually has several. A camera that sends heartbeats is
// missed at night, too. counts returns a count of a UTC hour.
func silence(zone *time.Location, since, request, read, now time.Time, counts func(name string, hour time.Time) int64) string {
	for _, kind := range []struct {
		what, count string
		last        time.Time
	}{{"request", countRequests, request}, {"read", countReads, read}} {
		if kind.last.IsZero() || now.Sub(kind.last) < leastSilence {
			continue
		}
		usual := expected(zone, since, kind.last, now, func(hour time.Time) int64 { return counts(kind.count, hour) })
		if usual >= leastExpected {
			return fmt.Sprintf("no %s since %s, usually there are about %.0f in this time", kind.what, kind.last.In(zone).Format(time.RFC3339), usual)
		}
	}
	return ""
}

// expected returns how many there usually are from one time to another, but at most in
// its first week: for each hour the median of those at the same local time and weekday of the
// weeks before, the lower one of two, and nothing for an hour that is known from fewer
// than leastWeeks. counts returns the number of a UTC hour.
func expected(zone *time.Location, since, from, to time.Time, counts func(hour time.Time) int64) (total float64) {
	if to.Sub(from) > mostSilence {
		to = from.Add(mostSilence)
	}
	for start := from.Truncate(hour); start.Before(to); start = start.Add(hour) {
		var weeks []int64
		for w := range historyWeeks {
			if at := weeksBefore(start, w+1, zone); !at.Before(since) {
				weeks = append(weeks, counts(at))
			}
		}
		if len(weeks) < leastWeeks {
			continue
		}
		slices.Sort(weeks)
		part := earlier(to, start.Add(hour)).Sub(later(from, start))
		total += float64(weeks[(len(weeks)-1)/2]) * float64(part) / float64(hour)
	}
	return total
}

// weeksBefore returns the hour of the same local time some weeks before.
func weeksBefore(t time.Time, weeks int, zone *time.Location) time.Time {
	return t.In(zone).AddDate(0, 0, -7*weeks).Truncate(hour).UTC()
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sees reports whether a camera sees events of a kind.
func sees(role site.Role, kind parking.Kind) bool {
	return role == site.Both || role == site.Entries && kind == parking.Entry || role == site.Exits && kind == parking.Exit
}

// Doubt is why the occupancy of a site may be wrong.
type Doubt struct {
	// Cameras are silent, and no other camera of the site sees what they do.
	Cameras []string `json:"silent_cameras"`
	Reason  string   `json:"reason"`
}

// DoubtOf returns the doubt about the occupancy of a site with cameras, or nil: all that
// see the entries, or all that see the exits, are silent.
func DoubtOf(cameras []Health) *Doubt {
	var d *Doubt
	for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
		var silent []string
		all := true
		for i := range cameras {
			if c := &cameras[i]; sees(c.Role, kind) {
				all = all && c.Silent
				silent = append(silent, c.Camera)
			}
		}
		if !all || len(silent) == 0 {
			continue
		}
		if d == nil {
			d = &Doubt{Reason: "every camera that sees the " + plural(kind) + " is silent"}
		} else {
			d.Reason = "every camera of the site is silent"
		}
		for _, id := range silent {
			if !slices.Contains(d.Cameras, id) {
				d.Cameras = append(d.Cameras, id)
			}
		}
	}
	return d
}

func plural(kind parking.Kind) string {
	if kind == parking.Entry {
		return "entries"
	}
	return "exits"
}
