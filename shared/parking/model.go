package parking

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// Models are the models of a site, in the order of From. Before the first the
// default one is valid.
type Models []*Model

// At returns the model that is valid for an exit observed at t.
func (m Models) At(t time.Time) *Model {
	for _, model := range slices.Backward(m) {
		if !t.Before(model.From) {
			return model
		}
	}
	return DefaultModel()
}

// Model is what the near rule knows of the cameras, the plates and the stays of a site.
// All of its numbers are integers, and it has no plates: an erasure would have to find
// them here. The weights are logarithms of probabilities, or of how much more probable
// something is of the two reads of one visit than of two vehicles.
type Model struct {
	// Version names the model.
	Version string `json:"version"`
	// From is the instant from which the model is valid: for exits observed then or later.
	From time.Time `json:"from"`

	// Margin is by how much a pair has to outweigh the others of its reads, and to exceed
	// zero. Margins are those of methods that need another one.
	Margin  Weight            `json:"margin"`
	Margins map[Method]Weight `json:"margins,omitempty"`
	// Doubt is by how much the weight of a lone read and a read of an exact stay has to
	// exceed that of the time between the reads of the stay, to make it doubtful.
	Doubt Weight `json:"doubt"`
	// Long is how many seconds an exact stay of a plate with other exact stays lasts at most
	// without being doubtful; 0: any stay. It depends on the site, so it is only learnt.
	Long int64 `json:"long"`

	// Prior is of a pair about which nothing is known: the more lone exits an hour a site
	// has, the less.
	Prior Weight  `json:"prior"`
	Edits Edits   `json:"edits"`
	Texts Texts   `json:"texts"`
	Dwell []Dwell `json:"dwell"`
	// Known is how frequent a plate is that has exact stays of its own.
	Known      Weight     `json:"known"`
	Lists      Lists      `json:"lists"`
	Appearance Appearance `json:"appearance"`
	// Posteriors are, by margin, the share of right stays where it was measured, in the
	// order of the margins.
	Posteriors []Posterior `json:"posteriors,omitempty"`
}

// Edits are the weights of the differences of two texts.
type Edits struct {
	// None, One and Two are of that number of differences, at given places.
	None Weight `json:"none"`
	One  Weight `json:"one"`
	Two  Weight `json:"two"`
	// Missing is of a character that only one of the texts has.
	Missing Weight `json:"missing"`
	// Confused are of two characters, in their order, that are read as each other; Letters,
	// Digits and Mixed of any other two letters, two digits, a letter and a digit.
	Confused map[string]Weight `json:"confused"`
	Letters  Weight            `json:"letters"`
	Digits   Weight            `json:"digits"`
	Mixed    Weight            `json:"mixed"`
}

// Texts tell how frequent a text is among the plates that are read at a site.
type Texts struct {
	// Shapes are the frequent ones, by what they have at each place.
	Shapes []Shape `json:"shapes,omitempty"`
	// Other is of all other shapes together; Letter and Digit of any letter and digit in them.
	Other  Weight `json:"other"`
	Letter Weight `json:"letter"`
	Digit  Weight `json:"digit"`
	// Rarest is the weight of the rarest text that is believed to be so rare.
	Rarest Weight `json:"rarest"`
}

// Shape is how frequent the texts of a shape are. A shape has "A" for a letter and "0" for
// a digit.
type Shape struct {
	Shape  string `json:"shape"`
	Weight Weight `json:"weight"`
	// Places are of the characters at each place; Else of those that a place does not have.
	Places []map[string]Weight `json:"places"`
	Else   Weight              `json:"else"`
}

// Dwell is how probable it is that a stay ends within an hour, if it is longer than the
// [Dwell] before and at most that many seconds.
type Dwell struct {
	Seconds int64  `json:"seconds"`
	Weight  Weight `json:"weight"`
}

// Lists are the weights of the cameras' candidates.
type Lists struct {
	// Listed is of a text that is in the list of the other read and differs in one character,
	// if that list has one candidate; ListedTwo if it differs in two. Shared is of two lists
	// that have a third text.
	Listed    Weight `json:"listed"`
	ListedTwo Weight `json:"listed_two"`
	Shared    Weight `json:"shared"`
	// Neither is if both reads have lists and nothing is in both; Missing if one has a list.
	Neither Weight `json:"neither"`
	Missing Weight `json:"missing"`
}

// Appearance are the weights of make and colour.
type Appearance struct {
	Makes  Look  `json:"makes"`
	Colors Look  `json:"colors"`
	Joint  Joint `json:"joint"`
	// Relief is by how many percent the margin of a pair is lower if these weigh something:
	// most pairs are far from it then, so that few of those near it are wrong.
	Relief Weight `json:"relief"`
}

// Joint is what is added for two reads that both have a make and a colour, if both, one or
// neither of these is equal: a camera that mistakes one often mistakes the other, too.
type Joint struct {
	Both    Weight `json:"both"`
	One     Weight `json:"one"`
	Neither Weight `json:"neither"`
}

// Look are the weights of a make or a colour. Equal is that both reads have the same;
// of those in Frequent it is how much more probable that is than by chance.
type Look struct {
	Equal    Weight            `json:"equal"`
	Differ   Weight            `json:"differ"`
	Frequent map[string]Weight `json:"frequent,omitempty"`
}

// Posterior is the share of right stays, in ten thousandths, of margins from Margin on.
type Posterior struct {
	Margin Weight `json:"margin"`
	Right  int    `json:"right"`
}

// Bounds of a model.
const (
	// MaxModel is the length of its document.
	MaxModel       = 256 << 10
	maxWeight      = 100_00
	maxDwells      = 256
	maxShapes      = 256
	maxPosteriors  = 64
	maxFrequent    = 256
	maxRelief      = 50 // percent
	maxVersionText = 64
)

// ParseModel returns the model of a document, or every mistake in it as an [ErrInvalid].
func ParseModel(text []byte) (*Model, error) {
	if len(text) > MaxModel {
		return nil, Invalid("the model has %d bytes, at most %d are allowed", len(text), MaxModel)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	m := new(Model)
	if err := decoder.Decode(m); err != nil {
		return nil, Invalid("the model is no document of a model: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, Invalid("the model is followed by something else")
	}
	return m, m.Check()
}

// Check returns every mistake in a model as an [ErrInvalid].
func (m *Model) Check() error {
	c := &checker{}
	c.want(m.Version != "" && len(m.Version) <= maxVersionText && printable(m.Version), "version %s must be 1 to %d bytes of printable text", quote(m.Version), maxVersionText)
	c.want(m.Margin > 0, "margin is %d, want more than 0", m.Margin)
	for method, margin := range m.Margins {
		c.want(slices.Contains([]Method{OCR, Edit, TwoEdits, Split}, method), "margins: %s is no method that has a margin", quote(string(method)))
		c.want(margin > 0, "margins: that of %s is %d, want more than 0", quote(string(method)), margin)
		c.weight("margins", margin)
	}
	c.want(m.Doubt > 0, "doubt is %d, want more than 0", m.Doubt)
	c.want(m.Long >= 0, "long is %d, want 0 or more", m.Long)
	for name, w := range map[string]Weight{
		"margin": m.Margin, "doubt": m.Doubt, "prior": m.Prior, "known": m.Known,
		"edits: none": m.Edits.None, "edits: one": m.Edits.One, "edits: two": m.Edits.Two, "edits: missing": m.Edits.Missing,
		"edits: letters": m.Edits.Letters, "edits: digits": m.Edits.Digits, "edits: mixed": m.Edits.Mixed,
		"texts: other": m.Texts.Other, "texts: letter": m.Texts.Letter, "texts: digit": m.Texts.Digit, "texts: rarest": m.Texts.Rarest,
		"lists: listed": m.Lists.Listed, "lists: listed_two": m.Lists.ListedTwo, "lists: shared": m.Lists.Shared, "lists: neither": m.Lists.Neither, "lists: missing": m.Lists.Missing,
	} {
		c.weight(name, w)
	}
	for pair, w := range m.Edits.Confused {
		runes := []rune(pair)
		c.want(utf8.ValidString(pair) && len(runes) == 2 && runes[0] < runes[1], "edits: confused has %s, want two characters in their order", quote(pair))
		c.weight("edits: confused", w)
	}
	c.texts(&m.Texts)
	c.dwell(m.Dwell)
	c.look("appearance: makes", &m.Appearance.Makes)
	c.look("appearance: colors", &m.Appearance.Colors)
	for _, w := range [...]Weight{m.Appearance.Joint.Both, m.Appearance.Joint.One, m.Appearance.Joint.Neither} {
		c.weight("appearance: joint", w)
	}
	c.want(m.Appearance.Relief >= 0 && m.Appearance.Relief <= maxRelief, "appearance: relief is %d, want 0 to %d", m.Appearance.Relief, maxRelief)
	c.want(len(m.Posteriors) <= maxPosteriors, "posteriors has %d, at most %d are allowed", len(m.Posteriors), maxPosteriors)
	for i, p := range m.Posteriors {
		c.weight("posteriors: margin", p.Margin)
		c.want(i == 0 || p.Margin > m.Posteriors[i-1].Margin, "posteriors: the margin %d is not more than the one before", p.Margin)
		c.want(p.Right >= 0 && p.Right <= 10_000, "posteriors: right is %d, want 0 to 10000", p.Right)
	}
	return errors.Join(c.wrong...)
}

// checker collects the mistakes of a model.
type checker struct{ wrong []error }

func (c *checker) want(ok bool, format string, args ...any) {
	if !ok {
		c.wrong = append(c.wrong, Invalid("%s", "model: "+fmt.Sprintf(format, args...)))
	}
}

func (c *checker) weight(name string, w Weight) {
	c.want(w >= -maxWeight && w <= maxWeight, "%s is %d, want %d to %d", name, w, -maxWeight, maxWeight)
}

func (c *checker) texts(t *Texts) {
	c.want(len(t.Shapes) <= maxShapes, "texts: %d shapes, at most %d are allowed", len(t.Shapes), maxShapes)
	seen := make(map[string]bool)
	for i := range t.Shapes {
		s := &t.Shapes[i]
		c.want(s.Shape != "" && len(s.Shape) <= maxText && shapeOf([]rune(s.Shape)) == toShape(s.Shape) && !seen[s.Shape],
			"texts: the shape %s must be of at most %d \"A\" and \"0\", and there once", quote(s.Shape), maxText)
		seen[s.Shape] = true
		c.weight("texts: weight of a shape", s.Weight)
		c.weight("texts: else of a shape", s.Else)
		c.want(len(s.Places) == len(s.Shape), "texts: the shape %s has %d places, want %d", quote(s.Shape), len(s.Places), len(s.Shape))
		for at, place := range s.Places {
			for text, w := range place {
				c.want(at < len(s.Shape) && utf8.RuneCountInString(text) == 1 && shapeOf([]rune(text))[0] == s.Shape[at],
					"texts: the shape %s has %s at place %d", quote(s.Shape), quote(text), at+1)
				c.weight("texts: a character", w)
			}
		}
	}
}

func (c *checker) dwell(d []Dwell) {
	c.want(len(d) > 0 && len(d) <= maxDwells, "dwell has %d, want 1 to %d", len(d), maxDwells)
	for i := range d {
		c.weight("dwell", d[i].Weight)
		c.want(d[i].Seconds > 0 && (i == 0 || d[i].Seconds > d[i-1].Seconds), "dwell: %d seconds are not more than those before", d[i].Seconds)
	}
}

func (c *checker) look(name string, l *Look) {
	c.weight(name, l.Equal)
	c.weight(name, l.Differ)
	c.want(len(l.Frequent) <= maxFrequent, "%s: frequent has %d, at most %d are allowed", name, len(l.Frequent), maxFrequent)
	for text, w := range l.Frequent {
		c.want(text != "" && utf8.RuneCountInString(text) <= maxDescribingRunes && printable(text), "%s: frequent has %s", name, quote(text))
		c.weight(name, w)
	}
}

// DefaultVersion is the version of [DefaultModel].
const DefaultVersion = "default-1"

// DefaultModel returns the model of a site of which nothing is known: a new one each time.
// Its plates are believed to be less rare than most are, and its lone exits to be as many
// as some thousand vehicles inside make.
func DefaultModel() *Model {
	m := &Model{
		Version: DefaultVersion,
		Margin:  400,
		Margins: map[Method]Weight{TwoEdits: 650},
		Doubt:   300,
		Prior:   -350,
		Edits: Edits{
			None: -15, One: -450, Two: -650, Missing: -190,
			Confused: make(map[string]Weight),
			Letters:  -420, Digits: -350, Mixed: -500,
		},
		Texts: Texts{Letter: -260, Digit: -210, Rarest: -1850},
		Known: -850,
		Dwell: []Dwell{
			{300, -387},
			{600, -231},
			{900, -172},
			{1200, -147},
			{1800, -133},
			{2700, -132},
			{3600, -144},
			{5400, -169},
			{7200, -204},
			{10800, -253},
			{14400, -311},
			{18000, -347},
			{21600, -334},
			{25200, -299},
			{28800, -279},
			{32400, -279},
			{36000, -296},
			{43200, -339},
			{50400, -404},
			{57600, -458},
			{72000, -511},
			{86400, -569},
			{108000, -628},
			{129600, -680},
			{172800, -720},
			{216000, -753},
			{259200, -784},
			{345600, -829},
			{432000, -889},
		},
		Posteriors: []Posterior{{250, 9830}, {300, 9950}, {400, 9965}, {500, 9985}, {550, 9997}}, // measured with simulated car parks
		Lists:      Lists{Listed: 450, ListedTwo: 650, Shared: 250, Neither: -120, Missing: -40},
		Appearance: Appearance{Makes: Look{Equal: 110, Differ: -110}, Colors: Look{Equal: 100, Differ: -90}, Relief: 30},
	}
	for _, group := range []struct {
		weight Weight
		pairs  string
	}{
		{-110, "0D 0O 0Q 1I 1L 2Z 5S 6G 8B DO OQ"},
		{-180, "14 17 1T 27 38 3B 4A 56 68 7T 7Z CG DQ EF IL IT FP HM HN MN PR RB UV VY KX WV VW IJ 1J EB 89 09 08 6B 8S 3S BR GQ CO GO LI MW NW HK TY"},
	} {
		for i := 0; i+1 < len(group.pairs); i += 3 {
			a, b := group.pairs[i:i+1], group.pairs[i+1:i+2]
			if a > b {
				a, b = b, a
			}
			if _, there := m.Edits.Confused[a+b]; !there {
				m.Edits.Confused[a+b] = group.weight
			}
		}
	}
	return m
}
