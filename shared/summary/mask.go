package summary

import (
	"context"

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

// stay returns a stay as the principal sees it.
func (m mask) stay(k stay.StoredStay) stay.StoredStay {
	if m.whole {
		return k
	}
	k.ID, k.EntryID = parking.MaskPlateIn(k.ID, k.Plate), parking.MaskPlateIn(k.EntryID, k.Plate)
	k.Plate = parking.MaskPlate(k.Plate)
	return k
}

func (m mask) stays(list []stay.StoredStay) []stay.StoredStay {
	for i := range list {
		list[i] = m.stay(list[i])
	}
	return list
}

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

// hiddenText stands for a text of people in which a plate cannot be found.
const hiddenText = "***"

// corrections hides the reasons: people write plates into them.
func (m mask) corrections(list []timeline.Correction) []timeline.Correction {
	for i := range list {
		if !m.whole {
			list[i].Reason = hiddenText
		}
	}
	return list
}
