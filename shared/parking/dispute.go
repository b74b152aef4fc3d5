package parking

import "slices"

// Disputed reports whether some lone reads make an exact stay doubtful, or a person or the
// plate does. It is as [Reads.Match] has it of the stay if none of these reads is of another
// near stay: that depends on all reads of the site.
func (s ExactStay) Disputed(lone []Lone, rejections []Rejection, models Models) bool {
	t, _ := newTable(lone).uncrowded(mostAlike)
	m := newMatching(t, rejections, models)
	exact := []ExactStay{s}
	m.doubt(exact)
	return slices.ContainsFunc(m.stays(exact), func(s Stay) bool { return s.Disputed || s.Match.Method == Split })
}
