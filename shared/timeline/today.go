package timeline

import (
	"context"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// part is the counts that were read of a UTC day. They count for a local day as they are,
// or, if minus is set, are what has to be taken away from it.
type part struct {
	read  *goredis.SliceCmd // entries and exits by turns
	minus bool
}

const minutesPerDay = 24 * 60

// span is from an instant to another one, exclusive.
type span struct{ start, end time.Time }

// daysOf returns the day of an instant by the clocks of each zone, computed once.
func daysOf(now time.Time) func(zone *time.Location) span {
	known := make(map[*time.Location]span, 1)
	return func(zone *time.Location) span {
		day, found := known[zone]
		if !found {
			date := parking.Date(now, zone)
			day = span{parking.StartOfDay(date, zone), parking.StartOfDay(date.AddDate(0, 0, 1), zone)}
			known[zone] = day
		}
		return day
	}
}

// readDay reads the counts of a local day. Redis has counts by UTC: of each day the sum,
// and of each minute. Of a UTC day that is a part of the local one it reads the minutes
// inside, or the sum and the minutes outside, whichever are fewer.
func readDay(ctx context.Context, p goredis.Pipeliner, key siteKeys, local span) (parts []part) {
	const utc = minutesPerDay * time.Minute
	for day := local.start.Truncate(utc); day.Before(local.end); day = day.Add(utc) {
		from, to := max(0, minuteOf(local.start, day)), min(minutesPerDay, minuteOf(local.end, day))
		read := func(minus bool, fields ...string) {
			if len(fields) > 0 {
				parts = append(parts, part{p.HMGet(ctx, key.day(day), fields...), minus})
			}
		}
		if to-from < minutesPerDay/2 {
			read(false, minuteFields(from, to)...)
			continue
		}
		read(false, "entries", "exits")
		read(true, append(minuteFields(0, from), minuteFields(to, minutesPerDay)...)...)
	}
	return parts
}

// minuteOf returns the minute of a day in which an instant is.
func minuteOf(t, day time.Time) int { return int(t.Sub(day) / time.Minute) }

// minuteFields returns the fields of the minutes of a day in a range.
func minuteFields(from, to int) []string {
	fields := make([]string, 0, 2*max(0, to-from))
	for minute := from; minute < to; minute++ {
		n := strconv.Itoa(minute)
		fields = append(fields, "e"+n, "x"+n)
	}
	return fields
}

// sum returns the counts of parts that were read.
func sum(parts []part) (entries, exits int64) {
	for _, one := range parts {
		for i, v := range one.read.Val() {
			n := parseCount(v)
			if one.minus {
				n = -n
			}
			if i%2 == 0 {
				entries += n
			} else {
				exits += n
			}
		}
	}
	return entries, exits
}
