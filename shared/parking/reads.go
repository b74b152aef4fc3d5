package parking

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// Reads are what [Match] leaves of the events of a site for the near rule: the lone reads,
// and the exact stays that may be two visits. The matcher has them without reading all
// events: of the exact stays it needs those only that may matter to the [Matching].
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
	// Previous is, of an exit, the time of the exit before of its plate: the vehicle must
	// have come after it. It is zero if there is none.
	Previous time.Time
	// Known reports that the plate has an exact stay of its own.
	Known bool
}

// ExactStay is a stay of the pairing rule with what the near rule needs to know of its
// reads.
type ExactStay struct {
	Entry, Exit Event
	// Known reports that the plate has another exact stay.
	Known bool
}

// ReadsOf returns the reads of the events of a site, which are as in [Current], of all
// plates. Their order is undefined.
func ReadsOf(events []Event, repeats Repeats) *Reads {
	lines := make(map[string][]Event)
	for i := range events {
		if e := &events[i]; !e.NoPlate && !e.Void {
			lines[e.Plate] = append(lines[e.Plate], *e)
		}
	}
	r := new(Reads)
	for _, line := range lines {
		r.Add(line, repeats)
	}
	return r
}

// Add adds the reads of all events of one plate, which are as in [Pair].
func (r *Reads) Add(line []Event, repeats Repeats) {
	line = slices.Clone(line)
	slices.SortFunc(line, compare)
	line = slices.CompactFunc(line, func(a, b Event) bool { return compare(a, b) == 0 })
	lone, exact := len(r.Lone), len(r.Exact)
	stays := Pair(line, repeats).Stays // one an exit
	for i := range line {
		var before, after *Event
		if i > 0 {
			before = &line[i-1]
		}
		if i+1 < len(line) {
			after = &line[i+1]
		}
		lone := Lone{Event: line[i]}
		if line[i].Kind == Exit {
			stay := &stays[0]
			stays = stays[1:]
			switch {
			case stay.EntryID != "":
				r.Exact = append(r.Exact, ExactStay{Entry: *before, Exit: line[i]})
				continue
			case stay.Repeat:
				continue
			case before != nil:
				lone.Previous = before.Time
			}
		} else if after != nil {
			if after.Kind == Exit || repeats.Repeat(&line[i], after) {
				continue
			}
			lone.Next = after.Time
		}
		r.Lone = append(r.Lone, lone)
	}
	n := len(r.Exact) - exact
	for i := range r.Lone[lone:] {
		r.Lone[lone+i].Known = n > 0
	}
	for i := range r.Exact[exact:] {
		r.Exact[exact+i].Known = n > 1
	}
}

// read is a read that takes part in [Reads.Match].
type read struct {
	event *Event
	text  []rune
	line  int32 // of its plate
	known bool
	lone  bool
	// resolved reports that it is of a passage of which an exact stay has another read; used
	// that it, or another read of its passage, is of a stay.
	resolved, used bool
	at             int64 // nanoseconds since 1970
	// bound is when the vehicle has left, of an entry, or had not come yet, of an exit.
	bound int64
	mates []*read // of its passage
	pairs []int32
}

// newRead returns a read of an exact stay.
func newRead(e *Event, known bool) *read {
	r := &read{event: e, text: []rune(e.Plate), known: known, at: e.Time.UnixNano(), bound: math.MaxInt64}
	if e.Kind == Exit {
		r.bound = math.MinInt64
	}
	return r
}

// loneRead returns a lone read.
func loneRead(l *Lone, text []rune) read {
	r := *newRead(&l.Event, l.Known)
	r.text, r.lone = text, true
	switch {
	case l.Kind == Entry && !l.Next.IsZero():
		r.bound = l.Next.UnixNano()
	case l.Kind == Exit && !l.Previous.IsZero():
		r.bound = l.Previous.UnixNano()
	}
	return r
}

// passes reports whether two reads are the same, or of one passage.
func (r *read) passes(o *read) bool { return r == o || slices.Contains(r.mates, o) }

// use marks the reads of a passage as those of a stay.
func (r *read) use() {
	r.used = true
	for _, mate := range r.mates {
		mate.used = true
	}
}

// table has the lone reads by their plates.
type table struct {
	*index
	reads  []read  // of each plate the entries first, each kind in the order of its times
	starts []int32 // of the plates' entries and exits, in turn
	spans  []times // of each plate
}

// times are when the entries and the exits of a plate were.
type times struct{ entries, exits span }

// all returns from when to when any of the reads were.
func (t *times) all() span {
	return span{min(t.entries.from, t.exits.from), max(t.entries.to, t.exits.to)}
}

// span is from a time to another one.
type span struct{ from, to int64 }

// never is the span of nothing. It meets none.
var never = span{math.MaxInt64, math.MinInt64}

// meets reports whether two spans have a time in common.
func (s span) meets(o span) bool { return s.from <= o.to && o.from <= s.to }

// widened returns the span with so much time before and after it.
func (s span) widened(by time.Duration) span { return span{s.from - int64(by), s.to + int64(by)} }

// newTable returns the table of lone reads, of those that are long enough to be compared.
func newTable(lone []Lone) *table {
	byID := make(map[string]int32, len(lone))
	lines := make(map[string]int32, len(lone))
	var texts [][]rune
	reads := make([]read, 0, len(lone))
	for i := range lone {
		l := &lone[i]
		var in [maxText]rune
		text := textOf(l.Plate, &in)
		if text == nil || l.NoPlate || l.Void {
			continue
		}
		at, again := byID[l.ID]
		if again && !supersedes(l, reads[at].event) {
			continue
		}
		line, ok := lines[l.Plate]
		if !ok {
			line = int32(len(texts)) //nolint:gosec // at most as many as reads
			lines[l.Plate] = line
			texts = append(texts, slices.Clone(text))
		}
		r := loneRead(l, texts[line])
		r.line = line
		if again {
			reads[at] = r
			continue
		}
		byID[l.ID] = int32(len(reads)) //nolint:gosec // as above
		reads = append(reads, r)
	}
	return tableOf(reads, texts)
}

// tableOf returns the table of reads, each of the text of its line.
func tableOf(reads []read, texts [][]rune) *table {
	t := &table{reads: reads}
	slices.SortFunc(t.reads, func(a, b read) int {
		return cmp.Or(cmp.Compare(a.line, b.line), compare(Event{Kind: a.event.Kind}, Event{Kind: b.event.Kind}), cmp.Compare(a.at, b.at), strings.Compare(a.event.ID, b.event.ID))
	})
	t.starts, t.spans = make([]int32, 2*len(texts)+1), make([]times, len(texts))
	for i := range t.spans {
		t.spans[i] = times{never, never}
	}
	for i := range t.reads {
		r := &t.reads[i]
		t.starts[slot(r)+1]++
		s := &t.spans[r.line].entries
		if r.event.Kind == Exit {
			s = &t.spans[r.line].exits
		}
		*s = span{min(s.from, r.at), max(s.to, r.at)}
	}
	for i := range len(t.starts) - 1 {
		t.starts[i+1] += t.starts[i]
	}
	t.index = newIndex(texts, t.spans)
	return t
}

// supersedes reports whether a lone read counts instead of another one of its id, which
// was read before or after a later version of the event was recorded.
func supersedes(l *Lone, e *Event) bool {
	return cmp.Or(cmp.Compare(l.Version, e.Version), compare(l.Event, *e), strings.Compare(l.Plate, e.Plate)) > 0
}

func slot(r *read) int32 {
	if r.event.Kind == Exit {
		return 2*r.line + 1
	}
	return 2 * r.line
}

// line returns the entries and the exits of a plate.
func (t *table) line(i int) (entries, exits []read) {
	return t.reads[t.starts[2*i]:t.starts[2*i+1]], t.reads[t.starts[2*i+1]:t.starts[2*i+2]]
}

// of returns those of some reads that are in the span.
func (s span) of(reads []read) []read {
	start := sort.Search(len(reads), func(i int) bool { return reads[i].at >= s.from })
	end := start
	for end < len(reads) && reads[end].at <= s.to {
		end++
	}
	return reads[start:end]
}

// concerning returns the lone reads that concern an exact stay: those of a similar plate
// between its reads, or of the kind of one of them at that time.
func (t *table) concerning(plate string, entry, exit int64) (found []*read) {
	var in [maxText]rune
	text := textOf(plate, &in)
	if text == nil {
		return nil
	}
	entered := span{entry - int64(passage), max(exit, entry+int64(passage))}
	left := span{min(entry, exit-int64(passage)), exit + int64(passage)}
	t.find(text, 0, span{entered.from, left.to}, func(i int) {
		when := &t.spans[i]
		if !when.entries.meets(entered) && !when.exits.meets(left) || !within(text, t.texts[i], maxEdits) {
			return
		}
		entries, exits := t.line(i)
		for _, reads := range [...][]read{entered.of(entries), left.of(exits)} {
			for j := range reads {
				found = append(found, &reads[j])
			}
		}
	})
	return found
}

// concern is what concerns an exact stay with such a plate and times.
type concern struct {
	plate       string
	entry, exit int64
	reads       []*read
}

// concerning returns the lone reads that concern an exact stay. They are searched once: what
// was found is kept by the id of the exit.
func (m *matching) concerning(exitID, plate string, entry, exit time.Time) []*read {
	c := concern{plate: plate, entry: entry.UnixNano(), exit: exit.UnixNano()}
	known, _ := m.concerns.Load(exitID)
	if k, found := known.(concern); found && k.plate == c.plate && k.entry == c.entry && k.exit == c.exit {
		return k.reads
	}
	if c.reads = m.table.concerning(plate, c.entry, c.exit); len(c.reads) > 0 {
		m.concerns.Store(exitID, c)
	}
	return c.reads
}

// Matching applies the near rule to the lone reads of a site, and finds the exact stays that
// matter to it among many. Its methods are safe for concurrent use, but for Match.
type Matching struct {
	*matching
	// Crowded is how many of the lone reads are left to persons, because too many others are
	// like them.
	Crowded int
}

// NewMatching returns the matching of lone reads.
func NewMatching(lone []Lone, rejections []Rejection, models Models) *Matching {
	return newCrowdedMatching(lone, rejections, models, mostAlike)
}

func newCrowdedMatching(lone []Lone, rejections []Rejection, models Models, most int) *Matching {
	t, crowded := newTable(lone).uncrowded(most)
	return &Matching{newMatching(t, rejections, models), crowded}
}

// Concern reports whether [Matching.Match] may have another result with an exact stay than
// without it.
func (m *Matching) Concern(exitID, plate string, entry, exit time.Time) bool {
	return short(plate) || m.model(exit).tooLong(entry, exit) || len(m.concerning(exitID, plate, entry, exit)) > 0
}

// Remain reports whether [Matching.Match] may have another result with an exact stay, of reads
// that no person corrected, than without it, now that its events are known: most lone reads
// weigh too little to make it doubtful. It need not be told whether the plate is known, which
// lowers a weight: long stays remain.
func (m *Matching) Remain(stay *ExactStay) bool {
	if short(stay.Exit.Plate) || m.model(stay.Exit.Time).tooLong(stay.Entry.Time, stay.Exit.Time) {
		return true
	}
	entry, exit := newRead(&stay.Entry, false), newRead(&stay.Exit, false)
	if slices.ContainsFunc(m.of(stay), func(r *read) bool { return stay.has(r) || stay.encloses(r) && m.weighs(entry, r, exit) }) {
		return true
	}
	m.concerns.Delete(stay.Exit.ID)
	return false
}

// of returns the lone reads that concern an exact stay.
func (m *matching) of(stay *ExactStay) []*read {
	return m.concerning(stay.Exit.ID, stay.Exit.Plate, stay.Entry.Time, stay.Exit.Time)
}

// Match returns the stays that are otherwise than by [Pair], given the exact stays that
// remain; see [Reads.Match]. It is called once.
func (m *Matching) Match(exact []ExactStay) []Stay {
	m.doubt(exact)
	m.pair()
	return m.stays(exact)
}

// weighs reports whether a lone read between those of an exact stay makes it doubtful.
func (m *matching) weighs(entry, r, exit *read) bool {
	stay := exit.at - entry.at
	if r.event.Kind == Exit {
		exit = r
	} else {
		entry = r
	}
	p, ok := m.weigh(entry, exit, math.MinInt32)
	return ok && p.doubts(stay)
}
