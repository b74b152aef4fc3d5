package parking

import (
	"slices"
	"strings"
	"time"
)

// Method tells by which rule the entry and the exit of a stay were put together.
type Method string

// The methods.
const (
	// Exact: both reads have one plate, and the exit directly follows the entry.
	Exact Method = "exact"
	// OCR: the plates differ in one character, and the two look alike.
	OCR Method = "ocr"
	// Edit: the plates differ in one character, which may be missing in one of them.
	Edit Method = "edit"
	// TwoEdits: the plates differ in two characters.
	TwoEdits Method = "two_edits"
	// Split: an exact stay was two visits, and this is one of them.
	Split Method = "split"
	// Corrected: a person corrected the plate of at least one read. Then both have one.
	Corrected Method = "corrected"
)

// Weight is a log-likelihood ratio in hundredths of a nat. Sums of weights are exact, and
// so is what is decided by them.
type Weight int32

// Explanation tells how the entry and the exit of a stay were put together, or what makes
// an exact stay doubtful. [Match] makes it.
type Explanation struct {
	Method Method `json:"method"`
	// EntryPlate and ExitPlate are the plates as the cameras read them.
	EntryPlate string `json:"entry_plate,omitempty"`
	ExitPlate  string `json:"exit_plate,omitempty"`
	// Differences are those of the normalised plates.
	Differences []Difference `json:"differences,omitempty"`
	// Weight is the sum of the parts. Margin is by how much it exceeds that of the best
	// other pair of the exit or of the entry, or zero, if there is none.
	Weight Weight `json:"weight,omitempty"`
	Margin Weight `json:"margin,omitempty"`
	Parts  *Parts `json:"parts,omitempty"`
	// Posterior is the share of right stays among those with such a margin where it was
	// measured, from 0 to 1.
	Posterior float64 `json:"posterior,omitempty"`
	// Alternatives are the best other reads, at most [MaxAlternatives].
	Alternatives []Alternative `json:"alternatives,omitempty"`
	// Model is the version of the model that the weights are of.
	Model string `json:"model,omitempty"`
}

// Difference is a character in which two plates differ. Entry or Exit is empty if the
// character is missing there.
type Difference struct {
	// Position counts characters from 1, in the longer plate.
	Position int    `json:"position"`
	Entry    string `json:"entry"`
	Exit     string `json:"exit"`
}

// Parts are the summands of a weight.
type Parts struct {
	Text       Weight `json:"text"`       // the texts are reads of one plate
	Rarity     Weight `json:"rarity"`     // few plates read like these
	Dwell      Weight `json:"dwell"`      // stays last that long
	Prior      Weight `json:"prior"`      // of a pair about which nothing is known
	Lists      Weight `json:"lists"`      // the cameras' candidates
	Appearance Weight `json:"appearance"` // make and colour
}

// MaxAlternatives bounds the alternatives of a stay.
const MaxAlternatives = 3

// Alternative is another pair of the exit or of the entry of a stay. It names no plate: an
// erasure would have to find it here.
type Alternative struct {
	EntryID string `json:"entry_id"`
	ExitID  string `json:"exit_id"`
	Weight  Weight `json:"weight"`
}

// Rejection tells that an entry and an exit of a site are not of one vehicle. A person
// decided so.
type Rejection struct {
	EntryID string
	ExitID  string
}

// Reads are what [Match] leaves of the events of a site for the near rule: the lone reads,
// and the exact stays that may be two visits. The matcher has them without reading all
// events.
type Reads struct {
	Lone  []Lone
	Exact []ExactStay
}

// Lone is a read that has no part in an exact stay and repeats nothing: an exit without an
// entry, or an entry that another entry or nothing follows.
type Lone struct {
	Event
	// Next is, of an entry, the time of the next entry of its plate: the vehicle must have
	// left before. It is zero if there is none.
	Next time.Time
	// Known reports that the plate has an exact stay of its own.
	Known bool
}

// ExactStay is a stay of the pairing rule with what the near rule needs to know of its
// reads.
type ExactStay struct {
	Entry, Exit Event
}

// Match derives the stays of a site from its events, which are as in [Current], of all
// plates. It is a pure function of the set of events, the rejections and the models.
func Match(events []Event, repeats Repeats, rejections []Rejection, models Models) []Stay {
	lines := make(map[string][]Event)
	for i := range events {
		if e := &events[i]; !e.NoPlate && !e.Void {
			lines[e.Plate] = append(lines[e.Plate], *e)
		}
	}
	var stays []Stay
	for _, line := range lines {
		stays = append(stays, Pair(line, repeats).Stays...)
	}
	slices.SortFunc(stays, func(a, b Stay) int { return strings.Compare(a.ID, b.ID) })
	return stays
}

// Models are the models of a site, in the order of From. Before the first the
// default one is valid.
type Models []*Model

// Model is what the near rule knows of the cameras, the plates and the stays of a site.
type Model struct {
	// Version names the model.
	Version string `json:"version"`
	// From is the instant from which the model is valid: for exits observed then or later.
	From time.Time `json:"from"`
	// Margin is by how much a pair has to outweigh the others of its reads.
	Margin Weight `json:"margin"`
}
