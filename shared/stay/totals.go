package stay

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"parkstream/shared/parking"
)

// bucketGrowth is the ratio of a bucket of durations to the previous one. The error of
// a quantile is at most half of it, some 2 %.
const bucketGrowth = 1.04

// bucketOf returns the bucket of a duration in seconds: 0 for a duration of 0,
// otherwise the one of its logarithm.
func bucketOf(seconds int64) int {
	if seconds <= 0 {
		return 0
	}
	return 1 + int(math.Log(float64(seconds))/math.Log(bucketGrowth))
}

// bucketMiddle returns the duration, in seconds, that represents a bucket.
func bucketMiddle(bucket int) float64 {
	if bucket == 0 {
		return 0
	}
	return math.Pow(bucketGrowth, float64(bucket)-0.5)
}

// totals is the sum of the hashes of days.
type totals struct {
	completed, unmatched, repeated, seconds int64
	buckets                                 map[int]int64
	marks                                   map[string]int64
}

func newTotals() *totals { return &totals{buckets: make(map[int]int64), marks: make(map[string]int64)} }

func (t *totals) add(fields map[string]string) {
	for field, text := range fields {
		switch n := parseCount(text); {
		case field == "c":
			t.completed += n
		case field == "u":
			t.unmatched += n
		case field == "r":
			t.repeated += n
		case field == "seconds":
			t.seconds += n
		case strings.HasPrefix(field, "m:"):
			t.marks[field[len("m:"):]] += n
		case strings.HasPrefix(field, "b"):
			t.buckets[int(parseCount(field[1:]))] += n
		}
	}
}

func (t *totals) merge(u *totals) {
	t.completed += u.completed
	t.unmatched += u.unmatched
	t.repeated += u.repeated
	t.seconds += u.seconds
	for b, n := range u.buckets {
		t.buckets[b] += n
	}
	for mark, n := range u.marks {
		t.marks[mark] += n
	}
}

func (t *totals) counts() Counts {
	c := Counts{Completed: t.completed, UnmatchedExits: t.unmatched, RepeatedExits: t.repeated, Disputed: t.marks[disputed]}
	c.Methods = Methods{
		OCR: t.marks[string(parking.OCR)], Edit: t.marks[string(parking.Edit)], TwoEdits: t.marks[string(parking.TwoEdits)],
		Split: t.marks[string(parking.Split)], Corrected: t.marks[string(parking.Corrected)],
	}
	c.Methods.Exact = t.completed - c.Methods.OCR - c.Methods.Edit - c.Methods.TwoEdits - c.Methods.Split - c.Methods.Corrected
	if all := t.completed + t.unmatched; all > 0 {
		c.MatchRate = new(float64(t.completed) / float64(all))
	}
	if t.completed > 0 {
		c.AverageSeconds = new(float64(t.seconds) / float64(t.completed))
		c.P50Seconds = new(t.quantile(0.50))
		c.P95Seconds = new(t.quantile(0.95))
	}
	return c
}

func (t *totals) durations() []Durations {
	list := make([]Durations, len(durationBounds)+1)
	for i := range durationBounds {
		list[i].UpToSeconds = &durationBounds[i]
	}
	for b, n := range t.buckets {
		i, _ := slices.BinarySearchFunc(durationBounds, bucketMiddle(b), func(bound int64, seconds float64) int {
			return cmp.Compare(float64(bound), seconds)
		})
		list[i].Stays += n
	}
	return list
}

// durationBounds are the usual bounds of a car park's tariff, in seconds.
var durationBounds = []int64{60, 300, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 12 * 3600, 24 * 3600, 2 * 86400, 7 * 86400}

// quantile returns the middle of the bucket with the quantile, in seconds, rounded to
// hundredths. Whole seconds would add to the error of short durations.
func (t *totals) quantile(q float64) float64 {
	last := 0
	for b := range t.buckets {
		last = max(last, b)
	}
	rank := int64(math.Ceil(q * float64(t.completed)))
	for b := range last + 1 {
		if rank -= t.buckets[b]; rank <= 0 {
			return math.Round(100*bucketMiddle(b)) / 100
		}
	}
	return math.Round(100*bucketMiddle(last)) / 100
}

func parseCount(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
