package parking

import (
	"slices"
	"unicode/utf8"
)

// Bounds of an explanation.
const (
	maxDifferences = 4
	maxModelRunes  = 64
)

// Methods returns the methods in the order in which they are shown.
func Methods() []Method { return []Method{Exact, OCR, Edit, TwoEdits, Split, Corrected} }

// Method returns by which rule the entry and the exit belong together, or "" if there is no
// entry.
func (s *Stay) Method() Method {
	switch {
	case s.Status() != Completed:
		return ""
	case s.Match == nil:
		return Exact
	}
	return s.Match.Method
}

// OtherPlates returns the plates of the stay's reads, normalised, that are not the stay's.
// A person asks for the stay by each of them.
func (s *Stay) OtherPlates() []string {
	if s.Match == nil {
		return nil
	}
	var others []string
	for _, raw := range []string{s.Match.EntryPlate, s.Match.ExitPlate} {
		if plate := NormalizePlate(raw); plate != "" && plate != s.Plate && !slices.Contains(others, plate) {
			others = append(others, plate)
		}
	}
	return others
}

// CheckMatch returns an [ErrInvalid] unless the explanation of the stay is within its bounds
// and agrees with the rest.
func (s *Stay) CheckMatch() error {
	e := s.Match
	switch {
	case e == nil && !s.Disputed:
		return nil
	case s.EntryID == "":
		return Invalid("stay %s has no entry: it must have neither match nor disputed", quote(s.ID))
	case e == nil:
		return nil
	case !slices.Contains(Methods(), e.Method):
		return Invalid("stay %s has the method %s, want one of %v", quote(s.ID), quote(string(e.Method)), Methods())
	case len(e.Differences) > maxDifferences:
		return Invalid("stay %s has %d differences, at most %d are possible", quote(s.ID), len(e.Differences), maxDifferences)
	case len(e.Alternatives) > MaxAlternatives:
		return Invalid("stay %s has %d alternatives, at most %d are possible", quote(s.ID), len(e.Alternatives), MaxAlternatives)
	case !(e.Posterior >= 0 && e.Posterior <= 1): // NaN is neither
		return Invalid("stay %s has the posterior %v, want 0 to 1", quote(s.ID), e.Posterior)
	}
	for i := range e.Differences {
		if err := e.Differences[i].check(); err != nil {
			return err
		}
	}
	for _, a := range e.Alternatives {
		for _, id := range []string{a.EntryID, a.ExitID} {
			if err := CheckID(id); err != nil {
				return Invalid("an alternative of stay %s: %v", quote(s.ID), err)
			}
		}
		if a.EntryID == s.EntryID && a.ExitID == s.ID {
			return Invalid("an alternative of stay %s is the stay itself", quote(s.ID))
		}
	}
	if err := checkText("model", e.Model, maxModelRunes); err != nil {
		return err
	}
	return s.checkPlates()
}

// checkPlates checks that the plates of an explanation could be read, and that the stay's is
// one of them, unless a person gave it.
func (s *Stay) checkPlates() error {
	near := s.Match.Method != Exact && s.Match.Method != Corrected
	for _, f := range []struct{ name, raw string }{{"entry_plate", s.Match.EntryPlate}, {"exit_plate", s.Match.ExitPlate}} {
		plate := NormalizePlate(f.raw)
		switch {
		case f.raw == "" && !near:
		case f.raw == "":
			return Invalid("stay %s has the method %s without %s", quote(s.ID), s.Match.Method, f.name)
		case utf8.RuneCountInString(f.raw) > MaxRawPlateRunes || !printable(f.raw):
			return Invalid("%s %s of stay %s must be at most %d printable characters", f.name, quote(f.raw), quote(s.ID), MaxRawPlateRunes)
		case plate == "" || utf8.RuneCountInString(plate) > MaxPlateRunes:
			return Invalid("%s %s of stay %s must have 1 to %d letters and digits", f.name, quote(f.raw), quote(s.ID), MaxPlateRunes)
		}
	}
	others := s.OtherPlates()
	switch {
	case s.Match.Method == Exact && len(others) > 0:
		return Invalid("stay %s has the method exact and the plates of its reads differ from its own", quote(s.ID))
	case near && len(others) == 0:
		return Invalid("stay %s has the method %s and reads of one plate", quote(s.ID), s.Match.Method)
	case near && len(others) > 1:
		return Invalid("stay %s has a plate that neither of its reads has", quote(s.ID))
	}
	return nil
}

// check returns an [ErrInvalid] unless d is a character that is replaced or missing.
func (d *Difference) check() error {
	character := func(text string) bool { return text == "" || utf8.RuneCountInString(text) == 1 && printable(text) }
	switch {
	case d.Position < 1 || d.Position > MaxPlateRunes:
		return Invalid("a difference is at position %d, want 1 to %d", d.Position, MaxPlateRunes)
	case !character(d.Entry) || !character(d.Exit):
		return Invalid("a difference at position %d is of %s and %s, want one character of each plate, or none of one", d.Position, quote(d.Entry), quote(d.Exit))
	case d.Entry == d.Exit:
		return Invalid("a difference at position %d is none: both plates have %s there", d.Position, quote(d.Entry))
	}
	return nil
}
