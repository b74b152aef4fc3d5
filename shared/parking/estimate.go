package parking

import "slices"

// Estimate tells how many near stays are wrong, without knowing the truth.
type Estimate struct {
	// Hidden are the exact stays whose entries were hidden, and Wrong those of them whose
	// exits were given another entry.
	Hidden, Wrong int
	// Near are the near stays, and Unmatched the exits that have no entry.
	Near, Unmatched int
}

// WrongNear returns the number of near stays that are wrong by the estimate. Of an exit
// without an entry the rule errs as often as of one whose entry is hidden. It is rather too
// high: most exits without an entry are worse misread than those of exact stays.
func (e Estimate) WrongNear() float64 {
	if e.Hidden == 0 {
		return 0
	}
	return float64(e.Wrong) / float64(e.Hidden) * float64(e.Unmatched)
}

// EstimateNear estimates how many near stays are wrong: it hides the entries of some exact
// stays and looks what their exits are given, which is wrong. The stays are a sample of the
// exact ones, few against the lone reads. It is a pure function of the sets.
func EstimateNear(r *Reads, sample []ExactStay, rejections []Rejection, models Models) Estimate {
	hidden := make(map[string]bool, len(sample))
	lone := slices.Clip(r.Lone)
	for i := range sample {
		if id := sample[i].Exit.ID; !hidden[id] {
			hidden[id] = true
			lone = append(lone, Lone{Event: sample[i].Exit, Known: true})
		}
	}
	exact := slices.DeleteFunc(slices.Clone(r.Exact), func(s ExactStay) bool { return hidden[s.Exit.ID] })
	e := Estimate{Hidden: len(hidden)}
	for i := range r.Lone {
		if r.Lone[i].Kind == Exit {
			e.Unmatched++
		}
	}
	for _, s := range (&Reads{Lone: lone, Exact: exact}).Match(rejections, models) {
		switch {
		case s.Match == nil, s.Match.Method == Exact, s.Match.Method == Corrected, s.Match.Method == Split:
		case hidden[s.ID]:
			e.Wrong++
		default:
			e.Near++
		}
	}
	e.Unmatched -= e.Near
	return e
}
