package summary

import (
	"context"
	"slices"

	"parkstream/shared/access"
	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// mask is what a principal sees of plates: all of them whole, or each masked, in ids as
// well. Every response with plates passes it.
type mask struct{ whole bool }

func maskOf(ctx context.Context) mask {
	return mask{whole: access.From(ctx).May(access.ReadPlates)}
}

func (m mask) plate(plate string) string {
	if m.whole {
		return plate
	}
	return parking.MaskPlate(plate)
}

// stay returns a stay as the principal sees it. An id may have the plate as it was read
// before it was corrected.
func (m mask) stay(k stay.StoredStay) stay.StoredStay {
	if m.whole {
		return k
	}
	for _, plate := range append(k.OtherPlates(), k.Plate) {
		k.ID, k.EntryID = parking.MaskReadsIn(k.ID, plate), parking.MaskReadsIn(k.EntryID, plate)
	}
	k.Plate = parking.MaskPlate(k.Plate)
	if k.Match != nil {
		k.Match = maskedMatch(k.Match)
	}
	return k
}

// maskedMatch returns an explanation without the plates of the stay and the ids of other
// reads, whose plates are not known here.
func maskedMatch(e *parking.Explanation) *parking.Explanation {
	masked := *e
	masked.EntryPlate, masked.ExitPlate = maskRaw(e.EntryPlate), maskRaw(e.ExitPlate)
	masked.Differences = slices.Clone(e.Differences)
	for i := range masked.Differences {
		for _, character := range []*string{&masked.Differences[i].Entry, &masked.Differences[i].Exit} {
			if *character != "" {
				*character = parking.MaskPlate(*character)
			}
		}
	}
	masked.Alternatives = slices.Clone(e.Alternatives)
	for i := range masked.Alternatives {
		masked.Alternatives[i].EntryID, masked.Alternatives[i].ExitID = hiddenText, hiddenText
	}
	return &masked
}

// maskRaw masks a plate as a camera read it.
func maskRaw(plate string) string { return parking.MaskPlate(parking.NormalizePlate(plate)) }

// knows reports whether the principal may ask for a stay by its id. An id that is masked
// must not confirm a guess of the plate in it.
func (m mask) knows(k stay.StoredStay) bool { return m.stay(k).ID == k.ID }

func (m mask) inside(list []timeline.Inside) []timeline.Inside {
	for i := range list {
		list[i].Plate = m.plate(list[i].Plate)
	}
	return list
}

func (m mask) insideSites(list []timeline.InsideSite) []timeline.InsideSite {
	for i := range list {
		list[i].Plate = m.plate(list[i].Plate)
	}
	return list
}

// hiddenText stands for a text in which a plate cannot be found.
const hiddenText = "***"

// event returns an event as the principal sees it. The texts of a void event, of one
// without a plate and of a corrected one may contain the plate of a version before, which
// may not be known.
func (m mask) event(e parking.Event) parking.Event {
	if m.whole {
		return e
	}
	text := func(text string) string { return parking.MaskReadsIn(e.MaskPlatesIn(text), e.Plate) }
	switch c := e.Correction; {
	case e.Void || e.NoPlate || c != nil && c.Was == "":
		text = func(string) string { return hiddenText }
	case c != nil:
		masked := text
		text = func(text string) string { return parking.MaskReadsIn(masked(text), c.Was) }
	}
	e.ID = text(e.ID)
	if e.Details.Vehicle != "" {
		e.Details.Vehicle = text(e.Details.Vehicle)
	}
	e.Details.Image = "" // it shows the plate
	candidates := slices.Clone(e.Details.Candidates)
	for i := range candidates {
		candidates[i].Plate = maskRaw(candidates[i].Plate)
	}
	e.Details.Candidates = candidates
	if c := e.Correction; c != nil {
		e.Correction = &parking.Correction{ID: text(c.ID), By: hiddenText, At: c.At, Was: parking.MaskPlate(c.Was), NoPlate: c.NoPlate, Confirms: c.Confirms, AsRead: c.AsRead, WasAsRead: c.WasAsRead}
	}
	e.RawPlate, e.Plate = parking.MaskPlate(e.Plate), ""
	return e
}

// knowsEvent reports whether the principal may ask for an event by its id; see [mask.knows].
func (m mask) knowsEvent(e parking.Event) bool { return m.event(e).ID == e.ID }

// corrections hides the reasons: people write plates into them.
func (m mask) corrections(list []timeline.Correction) []timeline.Correction {
	for i := range list {
		if !m.whole {
			list[i].Reason = hiddenText
		}
	}
	return list
}
