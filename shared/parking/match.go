package parking

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
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
	// other pair of the exit or of the entry, or zero, if all others weigh less than that.
	Weight Weight `json:"weight,omitzero"`
	Margin Weight `json:"margin,omitzero"`
	Parts  *Parts `json:"parts,omitempty"`
	// Posterior is the share of right stays among those with such a margin where it was
	// measured, from 0 to 1.
	Posterior float64 `json:"posterior,omitzero"`
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

// Match derives the stays of a site from its events, which are as in [Current], of all
// plates. It is a pure function of the set of events, the rejections and the models: it
// ignores their order and repetitions.
func Match(events []Event, repeats Repeats, rejections []Rejection, models Models) []Stay {
	lines := make(map[string][]Event)
	for i := range events {
		if e := &events[i]; !e.NoPlate && !e.Void {
			lines[e.Plate] = append(lines[e.Plate], *e)
		}
	}
	var stays []Stay
	reads := new(Reads)
	for _, line := range lines {
		stays = append(stays, Pair(line, repeats).Stays...)
		reads.Add(line, repeats)
	}
	byID := func(a, b Stay) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(stays, byID)
	for _, s := range reads.Match(rejections, models) {
		i, _ := slices.BinarySearchFunc(stays, s, byID)
		stays[i] = s
	}
	return stays
}

// Match returns the stays that are otherwise than by [Pair], in the order of their ids:
// near and split ones, exact ones that are disputed, and those that a person corrected.
func (r *Reads) Match(rejections []Rejection, models Models) []Stay {
	return r.match(rejections, models, mostAlike)
}

func (r *Reads) match(rejections []Rejection, models Models, most int) []Stay {
	return newCrowdedMatching(r.Lone, rejections, models, most).Match(r.Exact)
}

// passage is the time within which reads of one gate and direction are of one vehicle if
// their plates are similar.
const passage = 20 * time.Second

// matching is the state of a [Matching].
type matching struct {
	*table
	models   []validModel // in the order in which they become valid
	rejected map[Rejection]bool
	concerns sync.Map // the concern of an exact stay by the id of its exit
	pairs    []pair
	doubts   []doubt
}

// validModel is a model of a site with what weighs pairs by it, once that is needed.
type validModel struct {
	*Model
	scorer func() *scorer
}

// pair is an entry and an exit that may be of one vehicle. One of them is of an exact stay,
// or none is.
type pair struct {
	entry, exit *read
	model       *scorer
	sum, margin Weight // margin is by how much it has to outweigh others
	// alone reports that one of the reads is of an exact stay, and that there is no other
	// pair with which that would be two visits.
	alone bool
}

// doubt is what makes an exact stay doubtful.
type doubt struct {
	stay           int
	entries, exits []int32 // pairs of lone entries with its exit, of its entry with lone exits
}

func newMatching(t *table, rejections []Rejection, models Models) *matching {
	m := &matching{table: t, rejected: make(map[Rejection]bool, len(rejections))}
	for _, model := range append(Models{DefaultModel()}, models...) {
		m.models = append(m.models, validModel{model, sync.OnceValue(func() *scorer { return newScorer(model) })})
	}
	for _, r := range rejections {
		m.rejected[r] = true
	}
	return m
}

// model returns the model that is valid for an exit observed at t; see [Models.At].
func (m *matching) model(t time.Time) *validModel {
	i := len(m.models) - 1
	for i > 0 && t.Before(m.models[i].From) {
		i--
	}
	return &m.models[i]
}

// scorer returns what weighs the pairs of an exit.
func (m *matching) scorer(exit *read) *scorer { return m.model(exit.event.Time).scorer() }

// weigh returns a pair, unless it is impossible or weighs less than the least.
func (m *matching) weigh(entry, exit *read, least Weight) (pair, bool) {
	d := exit.at - entry.at
	if d < int64(minNear) || d > int64(MaxNear) || exit.at >= entry.bound || entry.at <= exit.bound {
		return pair{}, false
	}
	s := m.scorer(exit)
	al, ok := s.align(entry.text, exit.text)
	if !ok || entry.event.Corrected() && exit.event.Corrected() || len(m.rejected) > 0 && m.rejected[Rejection{entry.event.ID, exit.event.ID}] {
		return pair{}, false
	}
	parts := s.weigh(entry, exit, &al)
	p := pair{entry: entry, exit: exit, model: s, sum: parts.sum()}
	if p.sum < least {
		return pair{}, false
	}
	method := Split
	if entry.lone && exit.lone {
		method = al.method()
	}
	p.margin = s.margin(method, parts)
	return p, true
}

// add adds a pair to those of its reads.
func (m *matching) add(p pair) int32 {
	n := int32(len(m.pairs)) //nolint:gosec // there is no memory for more
	m.pairs = append(m.pairs, p)
	p.entry.pairs = append(p.entry.pairs, n)
	p.exit.pairs = append(p.exit.pairs, n)
	return n
}

// doubt finds the lone reads of passages of which an exact stay has a read, and the exact
// stays that may be two visits.
func (m *matching) doubt(exact []ExactStay) {
	var long []int // stays with a read within
	known := make(map[string]bool)
	for i := range exact {
		stay := &exact[i]
		within, certain := false, known[stay.Exit.ID] || stay.Entry.Corrected() || stay.Exit.Corrected()
		for _, r := range m.of(stay) {
			if stay.has(r) {
				r.resolved = true
			} else if !certain && stay.encloses(r) {
				within = true
			}
		}
		if within {
			known[stay.Exit.ID] = true
			long = append(long, i)
		}
	}
	for _, i := range long {
		stay := &exact[i]
		entry, exit := newRead(&stay.Entry, stay.Known), newRead(&stay.Exit, stay.Known)
		d := doubt{stay: i}
		for _, r := range m.of(stay) {
			if r.resolved || !stay.encloses(r) {
				continue
			}
			if r.event.Kind == Exit {
				if p, ok := m.weigh(entry, r, math.MinInt32); ok && p.doubts(exit.at-entry.at) {
					d.exits = append(d.exits, m.add(p))
				}
			} else if p, ok := m.weigh(r, exit, math.MinInt32); ok && p.doubts(exit.at-entry.at) {
				d.entries = append(d.entries, m.add(p))
			}
		}
		m.alone(&d)
		if len(d.entries)+len(d.exits) > 0 {
			m.doubts = append(m.doubts, d)
		}
	}
}

// has reports whether a lone read is a read of the stay, or of the passage of one.
func (s *ExactStay) has(r *read) bool {
	return s.Entry.ID == r.event.ID || s.Exit.ID == r.event.ID || samePassage(&s.Entry, r.event) || samePassage(&s.Exit, r.event)
}

// encloses reports whether a lone read is between the reads of the stay, and may make it
// doubtful.
func (s *ExactStay) encloses(r *read) bool {
	return r.event.Time.After(s.Entry.Time) && r.event.Time.Before(s.Exit.Time) && s.Exit.Time.Sub(r.event.Time) <= maxDoubt
}

// doubts reports whether a pair with a read of an exact stay makes that doubtful: if
// it weighs enough, and the more the stay is longer than most.
func (p *pair) doubts(stay int64) bool { return p.sum-p.model.dwell(stay) >= p.model.Doubt }

// alone marks the pairs of an exact stay with which it is not two visits.
func (m *matching) alone(d *doubt) {
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, i := range d.exits {
		first = min(first, m.pairs[i].exit.at)
	}
	for _, i := range d.entries {
		p := &m.pairs[i]
		p.alone = p.entry.at <= first
		last = max(last, p.entry.at)
	}
	for _, i := range d.exits {
		p := &m.pairs[i]
		p.alone = p.exit.at >= last
	}
}

// pair finds the pairs of lone reads that weigh more than nothing, and the reads that are
// of one passage. All processors search. The order in which pairs are found does not matter:
// margins are more than zero, so of the pairs of a read at most one outweighs the others.
func (m *matching) pair() {
	var next atomic.Int64
	parts := make([]comparison, runtime.GOMAXPROCS(0))
	var searching sync.WaitGroup
	for i := range parts {
		parts[i].matching = m
		searching.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					parts[i].panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
				}
			}()
			const some = 256
			for {
				to := int(next.Add(some))
				for line := to - some; line < min(to, len(m.texts)); line++ {
					parts[i].compare(line)
				}
				if to >= len(m.texts) {
					return
				}
			}
		})
	}
	searching.Wait()
	for i := range parts {
		if text := parts[i].panicked; text != "" {
			panic(text) // the caller may recover: a fault here ends one call, not the process
		}
		for _, p := range parts[i].pairs {
			m.add(p)
		}
		for _, two := range parts[i].mates {
			two[0].mates = append(two[0].mates, two[1])
			two[1].mates = append(two[1].mates, two[0])
		}
	}
}

// comparison is what was found of some plates.
type comparison struct {
	*matching

	pairs    []pair
	mates    [][2]*read
	panicked string // why the search ended, with the stack
}

// compare compares the reads of a plate with those of it and of those that follow it in the
// table.
func (c *comparison) compare(line int) {
	entries, exits := c.line(line)
	this := &c.spans[line]
	passages := times{this.entries.widened(passage), this.exits.widened(passage)}
	c.find(c.texts[line], line, this.all().widened(MaxNear), func(other int) { // each two plates once
		that := &c.spans[other]
		near, reverse := that.entries.from < this.exits.to, this.entries.from < that.exits.to
		mates := that.entries.meets(passages.entries) || that.exits.meets(passages.exits)
		if !near && !reverse && !mates {
			return
		}
		candidates, others := c.line(other)
		if near && other != line {
			for i := range exits {
				c.near(candidates, &exits[i])
			}
		}
		if reverse && other != line {
			for i := range others {
				c.near(entries, &others[i])
			}
		}
		if mates {
			for i := range exits {
				c.addMates(others, &exits[i])
			}
			for i := range entries {
				c.addMates(candidates, &entries[i])
			}
		}
	})
}

// near adds the pairs of an exit with the entries of one plate: at most one, because the
// vehicle of each entry must have left before the next one.
func (c *comparison) near(entries []read, exit *read) {
	if exit.resolved {
		return
	}
	end := len(entries) // most plates have one
	if end > 8 {
		end = sort.Search(end, func(i int) bool { return entries[i].at >= exit.at })
	}
	for i := range slices.Backward(entries[:end]) {
		e := &entries[i]
		if e.at >= exit.at {
			continue
		}
		if exit.at-e.at > int64(MaxNear) || e.bound <= exit.at || e.at <= exit.bound {
			return
		}
		if p, ok := c.weigh(e, exit, 1); ok && !e.resolved {
			c.pairs = append(c.pairs, p)
		}
	}
}

// precedes tells which of two reads of a kind comes first in the table.
func (r *read) precedes(o *read) bool {
	return cmp.Or(cmp.Compare(r.line, o.line), cmp.Compare(r.at, o.at), strings.Compare(r.event.ID, o.event.ID)) < 0
}

// addMates adds the reads of the passage of a read, of those of one plate: the later ones in
// the table, so that each two are added once.
func (c *comparison) addMates(of []read, r *read) {
	for i := sort.Search(len(of), func(i int) bool { return of[i].at >= r.at-int64(passage) }); i < len(of) && of[i].at <= r.at+int64(passage); i++ {
		if o := &of[i]; r.precedes(o) && samePassage(o.event, r.event) {
			c.mates = append(c.mates, [2]*read{r, o})
		}
	}
}

// samePassage reports whether two reads are of one vehicle that passes a gate.
func samePassage(a, b *Event) bool {
	if a.Kind != b.Kind || a.Time.Sub(b.Time).Abs() > passage {
		return false
	}
	first, second := a.Camera, b.Camera
	if first == "" || second == "" {
		first, second = a.Gate, b.Gate
	}
	return first == second && (a.Plate == b.Plate || Similar(a.Plate, b.Plate))
}

// order tells which of two pairs weighs more. Two different ones are never equal.
func order(p, q *pair) int {
	return cmp.Or(cmp.Compare(p.sum, q.sum), -strings.Compare(p.entry.event.ID, q.entry.event.ID), -strings.Compare(p.exit.event.ID, q.exit.event.ID))
}

// alignment returns how the texts of a pair differ. Most pairs are not asked for it again.
func (p *pair) alignment() *alignment {
	al, _ := p.model.align(p.entry.text, p.exit.text)
	return &al
}

// rivals calls each with the other pairs of the reads of a pair, or of the passages that
// these are of, until it returns false. Some come twice.
func (m *matching) rivals(p *pair, each func(q *pair) bool) bool {
	of := func(r *read) bool {
		for _, i := range r.pairs {
			if q := &m.pairs[i]; q != p && !each(q) {
				return false
			}
		}
		return true
	}
	for _, r := range [...]*read{p.entry, p.exit} {
		if !of(r) {
			return false
		}
		for _, mate := range r.mates {
			if !of(mate) {
				return false
			}
		}
	}
	return true
}

// outweighs reports whether a pair is to be a stay. No two pairs with a read in common are
// so, as each would have to weigh more than the other. A pair with a read of an exact stay
// is unlikely, but tells that the text is less rare than it seems, as those of fleets are.
func (m *matching) outweighs(p *pair) bool {
	return !p.alone && p.sum >= p.margin && m.rivals(p, func(q *pair) bool {
		switch {
		case q.alone:
			return p.sum-q.sum >= p.margin/2
		case p.sum-q.sum >= p.margin:
			return true
		}
		return p.entry.passes(q.entry) && p.exit.passes(q.exit) && order(p, q) > 0 // the same vehicle, seen twice
	})
}

// stays returns the result.
func (m *matching) stays(exact []ExactStay) []Stay {
	var stays []Stay
	told := make(map[string]bool)
	tell := func(s Stay) {
		if !told[s.ID] {
			told[s.ID] = true
			stays = append(stays, s)
		}
	}
	for i := range m.pairs {
		if p := &m.pairs[i]; p.entry.lone && p.exit.lone && m.outweighs(p) {
			p.entry.use()
			p.exit.use()
			tell(m.stay(p, p.alignment().method()))
		}
	}
	best := func(pairs []int32) *pair {
		for _, i := range pairs {
			if p := &m.pairs[i]; m.outweighs(p) {
				return p
			}
		}
		return nil
	}
	split := make(map[int]bool)
	for i := range m.doubts {
		d := &m.doubts[i]
		if first, second := best(d.exits), best(d.entries); first != nil && second != nil && first.exit.at < second.entry.at {
			first.exit.use()
			second.entry.use()
			tell(m.stay(first, Split))
			tell(m.stay(second, Split))
			split[d.stay] = true
		}
	}
	for i := range m.doubts {
		d := &m.doubts[i]
		if split[d.stay] {
			continue
		}
		left := slices.Concat(d.entries, d.exits)
		left = slices.DeleteFunc(left, func(i int32) bool { return m.pairs[i].entry.used || m.pairs[i].exit.used })
		if len(left) > 0 {
			s := exactStay(&exact[d.stay])
			s.Disputed = true
			s.Match = &Explanation{Method: Exact, Alternatives: m.alternatives(left), Model: m.pairs[left[0]].model.Version}
			tell(s)
		}
	}
	for i := range exact {
		e := &exact[i]
		if told[e.Exit.ID] {
			continue
		}
		s := exactStay(e)
		corrected := e.Entry.Corrected() || e.Exit.Corrected()
		s.Disputed = len(m.rejected) > 0 && m.rejected[Rejection{s.EntryID, s.ID}]
		switch {
		case corrected:
			s.Match = &Explanation{Method: Corrected}
		case s.Disputed:
			s.Match = &Explanation{Method: Exact}
		default:
			if short(s.Plate) {
				s.Match = m.chance(e)
			}
			if s.Match == nil && e.Known {
				s.Match = m.tooLong(e)
			}
			s.Disputed = s.Match != nil
		}
		if s.Match != nil {
			tell(s)
		}
	}
	slices.SortFunc(stays, func(a, b Stay) int { return strings.Compare(a.ID, b.ID) })
	return stays
}

// chance returns why an exact stay of a short plate is doubtful, or nil if it is not: many
// plates are read as it is, if a part of each is hidden.
func (m *matching) chance(e *ExactStay) *Explanation {
	entry, exit := newRead(&e.Entry, false), newRead(&e.Exit, false)
	s := m.scorer(exit)
	parts := s.weigh(entry, exit, &alignment{weight: s.Edits.None})
	if parts.sum() >= s.Margin {
		return nil
	}
	return &Explanation{Method: Exact, Weight: parts.sum(), Parts: parts, Model: s.Version}
}

// tooLong returns why an exact stay of a plate with others is doubtful by its length, or nil.
func (m *matching) tooLong(e *ExactStay) *Explanation {
	model := m.model(e.Exit.Time)
	if !model.tooLong(e.Entry.Time, e.Exit.Time) {
		return nil
	}
	dwell := m.scorer(newRead(&e.Exit, true)).dwell(int64(e.Exit.Time.Sub(e.Entry.Time)))
	return &Explanation{Method: Exact, Parts: &Parts{Dwell: dwell}, Model: model.Version}
}

func exactStay(e *ExactStay) Stay { return stayOf(&e.Entry, &e.Exit, nil) }

// stay returns the stay of a pair.
func (m *matching) stay(p *pair, method Method) Stay {
	s := stayOf(p.entry.event, p.exit.event, nil)
	s.Match = m.explain(p, method)
	return s
}

// explanation returns what a pair tells without regard to others. An empty method is that of its
// differences.
func (p *pair) explanation(method Method) *Explanation {
	al := p.alignment()
	return &Explanation{
		Method: cmp.Or(method, al.method()), EntryPlate: p.entry.event.RawPlate, ExitPlate: p.exit.event.RawPlate, Differences: al.differences(),
		Weight: p.sum, Margin: p.sum, Parts: p.model.weigh(p.entry, p.exit, al), Model: p.model.Version,
	}
}

// explain returns why a pair is a stay.
func (m *matching) explain(p *pair, method Method) *Explanation {
	e := p.explanation(method)
	var others []int32
	m.rivals(p, func(q *pair) bool {
		if !q.alone && (!p.entry.passes(q.entry) || !p.exit.passes(q.exit)) {
			e.Margin = min(e.Margin, p.sum-q.sum)
		}
		return true
	})
	for _, r := range [...]*read{p.entry, p.exit} {
		for _, i := range r.pairs {
			if q := &m.pairs[i]; q != p {
				others = append(others, i)
			}
		}
	}
	e.Alternatives = m.alternatives(others)
	e.Posterior = p.model.posterior(e.Margin)
	return e
}

// alternatives returns the best of some pairs.
func (m *matching) alternatives(pairs []int32) []Alternative {
	slices.SortFunc(pairs, func(i, j int32) int { return order(&m.pairs[j], &m.pairs[i]) })
	pairs = slices.Compact(pairs)
	pairs = pairs[:min(len(pairs), MaxAlternatives)]
	var a []Alternative
	for _, i := range pairs {
		p := &m.pairs[i]
		a = append(a, Alternative{EntryID: p.entry.event.ID, ExitID: p.exit.event.ID, Weight: p.sum})
	}
	return a
}

// Suggestion is a pair of a lone read.
type Suggestion struct {
	EntryID string
	ExitID  string
	Explanation
}

// MaxSuggestions bounds the suggestions for a read.
const MaxSuggestions = 10

// Suggest returns the pairs of a lone read, those that weigh most first, also those that
// weigh too little for a stay. Margin is by how much they exceed the best other one of the
// read; it is negative of all but one.
func (r *Reads) Suggest(id string, rejections []Rejection, models Models) []Suggestion {
	at := slices.IndexFunc(r.Lone, func(l Lone) bool { return l.ID == id })
	if at < 0 {
		return nil
	}
	similar := []Lone{r.Lone[at]}
	for i := range r.Lone {
		if l := &r.Lone[i]; l.Kind != similar[0].Kind && Similar(l.Plate, similar[0].Plate) {
			similar = append(similar, *l)
		}
	}
	m := newMatching(newTable(similar), rejections, models)
	var this *read
	for i := range m.reads {
		if m.reads[i].event.ID == id {
			this = &m.reads[i]
		}
	}
	if this == nil {
		return nil
	}
	for i := range m.reads {
		entry, exit := &m.reads[i], this
		if this.event.Kind == Entry {
			entry, exit = exit, entry
		}
		if entry.event.Kind == Entry && exit.event.Kind == Exit {
			if p, ok := m.weigh(entry, exit, math.MinInt32); ok {
				m.add(p)
			}
		}
	}
	slices.SortFunc(m.pairs, func(p, q pair) int { return order(&q, &p) })
	var s []Suggestion
	for i := range m.pairs[:min(len(m.pairs), MaxSuggestions)] {
		p := &m.pairs[i]
		best := 0 // of all but itself
		if i == 0 && len(m.pairs) > 1 {
			best = 1
		}
		e := p.explanation("")
		if best != i {
			e.Margin = min(e.Margin, p.sum-m.pairs[best].sum)
		}
		e.Posterior = p.model.posterior(e.Margin)
		s = append(s, Suggestion{p.entry.event.ID, p.exit.event.ID, *e})
	}
	return s
}
