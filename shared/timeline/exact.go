package timeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"parkstream/shared/parking"
)

// mostCounted bounds the exact stays of a plate that are counted.
const mostCounted = 2

// ExactStays returns how many exact stays each of some plates has, at most 2: among its
// newest reads, if there are more than 10,000.
func (s *Store) ExactStays(ctx context.Context, site string, plates []string) (map[string]int, error) {
	counts := make(map[string]int, len(plates))
	oldest := instant(s.oldest())
	for some := range slices.Chunk(plates, lonePerPage) {
		r := s.loneReader(site, time.Time{}, time.Time{})
		reads := make([]placed, len(some))
		for i, plate := range some {
			reads[i].plate = plate
		}
		lines, err := r.readLines(ctx, reads)
		for plate, l := range lines {
			for err == nil && l.older && exactStays(l.members) < mostCounted && l.read < maxSearched {
				err = r.readOlder(ctx, plate, l, oldest)
			}
			counts[plate] = exactStays(l.members)
		}
		if err != nil {
			return nil, fmt.Errorf("count the exact stays of %d plates of site %s in Redis: %w", len(plates), site, err)
		}
	}
	return counts, nil
}

// exactStays returns how many exits are directly after an entry, at most mostCounted.
func exactStays(members []string) (n int) {
	for i := 1; i < len(members) && n < mostCounted; i++ {
		if kindOf(members[i]) == parking.Exit && kindOf(members[i-1]) == parking.Entry {
			n++
		}
	}
	return n
}
