package parking

import "time"

// Date returns the date of an instant by the clocks of a zone, as the midnight in UTC
// that has it.
func Date(t time.Time, zone *time.Location) time.Time {
	year, month, day := t.In(zone).Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// StartOfDay returns the first instant of a date by the clocks of a zone, in UTC: of a day
// with 23 or 25 hours, and of one that does not begin at midnight, too. A date that the
// zone leaves out begins with the next one.
func StartOfDay(date time.Time, zone *time.Location) time.Time {
	before, start := date.Add(-maxOffset), date.Add(maxOffset)
	for start.Sub(before) > time.Second {
		middle := before.Add(start.Sub(before) / 2).Truncate(time.Second)
		if Date(middle, zone).Before(date) {
			before = middle
		} else {
			start = middle
		}
	}
	return start
}

// maxOffset is more than the offset of any zone.
const maxOffset = 16 * time.Hour
