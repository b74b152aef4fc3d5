package evaluate

import (
	"math"
	"slices"
	"time"

	"parkstream/shared/parking"
)

// Window is the part of the data that is scored, by the times of exits. Its ends may be
// zero: then it has none.
type Window struct{ From, To time.Time }

func (w Window) has(at time.Time) bool {
	return !at.Before(w.From) && (w.To.IsZero() || at.Before(w.To))
}

// Issued counts stays of one kind.
type Issued struct {
	Issued    int `json:"issued"`
	SameCar   int `json:"same_car"`   // entry and exit are of one vehicle
	SameVisit int `json:"same_visit"` // and of one visit
}

// Precision is the share of stays of one vehicle.
func (i Issued) Precision() float64 { return share(i.SameCar, i.Issued) }

// Right is the share of stays of one visit.
func (i Issued) Right() float64 { return share(i.SameVisit, i.Issued) }

func (i *Issued) count(car, visit bool) {
	i.Issued++
	if car {
		i.SameCar++
	}
	if visit {
		i.SameVisit++
	}
}

func (i *Issued) add(o Issued) {
	i.Issued += o.Issued
	i.SameCar += o.SameCar
	i.SameVisit += o.SameVisit
}

// Visits counts visits, and those of them that have a stay of their own entry and exit.
type Visits struct {
	Visits int `json:"visits"`
	Right  int `json:"right"`
}

// Recall is the share of visits that have such a stay.
func (v Visits) Recall() float64 { return share(v.Right, v.Visits) }

func (v *Visits) count(right bool) {
	v.Visits++
	if right {
		v.Right++
	}
}

func (v *Visits) add(o Visits) {
	v.Visits += o.Visits
	v.Right += o.Right
}

// Hours are started hours that stays are charged.
type Hours struct {
	Stays int `json:"stays"`
	Over  int `json:"over"`  // charged and not due
	Under int `json:"under"` // due and not charged
	// Unknown are stays of which it is not known what is due: the truth lacks the vehicle,
	// or when it drove in.
	Unknown int `json:"unknown"`
}

// Wrong returns the money charged wrongly per 1,000 stays, at a tariff for each started hour.
func (h Hours) Wrong(tariff float64) float64 {
	return 1000 * tariff * share(h.Over+h.Under, h.Stays)
}

func (h *Hours) add(o Hours) {
	h.Stays += o.Stays
	h.Over += o.Over
	h.Under += o.Under
	h.Unknown += o.Unknown
}

// Bands are the lower ends of bands of margins. The last band is of pairs without
// alternatives, by their weight.
var Bands = []parking.Weight{0, 150, 250, 350, 500, 700, 1000}

// MostEdits is the last of the kinds of missed visits: those of so many edits or more.
const MostEdits = 3

// Counts are the result of an evaluation. Counts of several add up.
type Counts struct {
	Near       Issued // by any other method than exact and corrected
	Exact      Issued // exact or corrected
	Undisputed Issued // those of the exact stays
	Method     map[parking.Method]Issued
	Margin     map[parking.Weight]Issued // near stays, by band
	BothReads  Visits                    // of which both passages were read
	All        Visits                    // that ended
	// Missed are visits with both reads that have no stay of their own, by the edits between
	// the plates of the reads; the last are of more.
	Missed [MostEdits + 1]int

	ExactHours, UndisputedHours, NearHours Hours
	// Uncharged are the hours due of visits that ended and whose exit has no stay.
	Uncharged int
	// UnknownReads are those of scored stays that the truth lacks: it may not know which
	// vehicle they are of.
	UnknownReads int
}

// Add adds the counts of another evaluation.
func (c *Counts) Add(o *Counts) {
	c.Near.add(o.Near)
	c.Exact.add(o.Exact)
	c.Undisputed.add(o.Undisputed)
	c.BothReads.add(o.BothReads)
	c.All.add(o.All)
	c.ExactHours.add(o.ExactHours)
	c.UndisputedHours.add(o.UndisputedHours)
	c.NearHours.add(o.NearHours)
	c.Uncharged += o.Uncharged
	c.UnknownReads += o.UnknownReads
	for i := range o.Missed {
		c.Missed[i] += o.Missed[i]
	}
	c.Method, c.Margin = sum(c.Method, o.Method), sum(c.Margin, o.Margin)
}

func sum[K comparable](a, b map[K]Issued) map[K]Issued {
	if a == nil {
		a = make(map[K]Issued)
	}
	for k, n := range b {
		total := a[k]
		total.add(n)
		a[k] = total
	}
	return a
}

func share(part, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// Verdict is what is true of a stay.
type Verdict struct {
	Stay parking.Stay
	// Car and Visit report whether entry and exit are of one vehicle, and of one visit.
	Car, Visit bool
	// Entry and Exit are what is true of the reads; nil: the truth lacks them.
	Entry, Exit *Told

	entry, exit  int32 // visits
	known        bool  // the truth has both reads
	charged, due int   // started hours; due is -1 if it is not known
}

// Told is what is true of a read: its visit, and what else was read of that.
type Told struct {
	Vehicle    int32     `json:"vehicle"`
	Visit      int32     `json:"visit"`
	Plate      string    `json:"plate,omitempty"` // the true one, if it is known
	EntryPlate string    `json:"entry_plate,omitempty"`
	Entry      time.Time `json:"entry,omitzero"`
	ExitPlate  string    `json:"exit_plate,omitempty"`
	Exit       time.Time `json:"exit,omitzero"`
}

// told returns what is true of a visit.
func (s *scoring) told(v int32) *Told {
	if v == nowhere {
		return nil
	}
	return &Told{s.visits[v].vehicle, v, s.visits[v].plate, s.entries[v].plate, s.entries[v].at, s.exits[v].plate, s.exits[v].at}
}

// passage is what was read of a visit in one direction.
type passage struct {
	plate string
	at    time.Time
}

// scoring is one evaluation under way.
type scoring struct {
	*Data
	Window
	entries, exits []passage // of visits; without a plate if no plate was read
	right, stays   []bool    // of visits: one stay is right; its exit has a stay
	last           time.Time
	counts         *Counts
}

// Score compares stays with the truth. each may be nil; it is told every scored stay that
// has an entry.
func (d *Data) Score(stays []parking.Stay, w Window, each func(*Verdict)) *Counts {
	s := &scoring{
		Data: d, Window: w,
		entries: make([]passage, len(d.visits)), exits: make([]passage, len(d.visits)),
		right: make([]bool, len(d.visits)), stays: make([]bool, len(d.visits)),
		counts: &Counts{Method: make(map[parking.Method]Issued), Margin: make(map[parking.Weight]Issued)},
	}
	s.passages()
	for i := range stays {
		if stays[i].Status() != parking.Completed {
			continue
		}
		v := s.judge(&stays[i])
		if v.Visit {
			s.right[v.exit] = true
		}
		if v.exit >= 0 {
			s.stays[v.exit] = true
		}
		if w.has(v.Stay.ExitTime) {
			s.count(v)
			if each != nil {
				v.Entry, v.Exit = s.told(v.entry), s.told(v.exit)
				each(v)
			}
		}
	}
	s.visited()
	return s.counts
}

// passages collects what the events that count tell of visits.
func (s *scoring) passages() {
	for _, e := range s.current() {
		if e.Time.After(s.last) {
			s.last = e.Time
		}
		v, known := s.visitOf(e.Site, e.ID)
		if !known || v == nowhere {
			continue
		}
		p := &s.exits[v]
		if e.Kind == parking.Entry {
			p = &s.entries[v]
		}
		// Of several reads the first one with a plate counts; events are in the order of time.
		if p.at.IsZero() || p.plate == "" && e.Plate != "" {
			*p = passage{e.Plate, e.Time}
		}
	}
}

// judge tells what is true of a stay.
func (s *scoring) judge(stay *parking.Stay) *Verdict {
	v := &Verdict{Stay: *stay, entry: nowhere, exit: nowhere, due: -1}
	entry, entryKnown := s.visitOf(stay.Site, stay.EntryID)
	exit, exitKnown := s.visitOf(stay.Site, stay.ID)
	if v.known = entryKnown && exitKnown; entryKnown {
		v.entry = entry
	}
	if exitKnown {
		v.exit = exit
	}
	both := v.entry != nowhere && v.exit != nowhere
	v.Car = both && s.visits[entry].vehicle == s.visits[exit].vehicle
	v.Visit = both && entry == exit
	v.charged = started(stay.ExitTime.Sub(stay.EntryTime))
	switch {
	case v.Visit:
		v.due = v.charged
	case v.exit != nowhere:
		v.due = s.due(exit)
	}
	return v
}

// started returns the started hours of a time.
func started(d time.Duration) int { return max(1, int(math.Ceil(d.Hours()))) }

// due returns the started hours of a visit, or -1 if they are not known.
func (s *scoring) due(v int32) int {
	entry, exit := s.visits[v].entry, s.visits[v].exit
	if entry.IsZero() {
		entry = s.entries[v].at
	}
	if exit.IsZero() {
		exit = s.exits[v].at
	}
	if entry.IsZero() || exit.IsZero() {
		return -1
	}
	return started(exit.Sub(entry))
}

// count counts a stay.
func (s *scoring) count(v *Verdict) {
	c := s.counts
	if !v.known {
		c.UnknownReads++
	}
	method := parking.Exact
	if v.Stay.Match != nil && v.Stay.Match.Method != "" {
		method = v.Stay.Match.Method
	}
	n := c.Method[method]
	n.count(v.Car, v.Visit)
	c.Method[method] = n
	if method != parking.Exact && method != parking.Corrected {
		c.Near.count(v.Car, v.Visit)
		c.NearHours.charge(v)
		band := Band(v.Stay.Match)
		n := c.Margin[band]
		n.count(v.Car, v.Visit)
		c.Margin[band] = n
		return
	}
	c.Exact.count(v.Car, v.Visit)
	c.ExactHours.charge(v)
	if !v.Stay.Disputed {
		c.Undisputed.count(v.Car, v.Visit)
		c.UndisputedHours.charge(v)
	}
}

func (h *Hours) charge(v *Verdict) {
	h.Stays++
	if v.due < 0 {
		h.Unknown++
		return
	}
	h.Over += max(0, v.charged-v.due)
	h.Under += max(0, v.due-v.charged)
}

// Band returns the band of a near stay: the greatest of [Bands] that its margin reaches.
// That of a pair without alternatives is its weight.
func Band(m *parking.Explanation) parking.Weight {
	margin := m.Weight
	if len(m.Alternatives) > 0 {
		margin = min(margin, m.Margin)
	}
	for _, band := range slices.Backward(Bands) {
		if margin >= band {
			return band
		}
	}
	return Bands[0]
}

// longestStay is how long a vehicle can have been inside without a read.
const longestStay = 5 * 24 * time.Hour

// visited counts the visits that have a stay of their own, and those that should.
func (s *scoring) visited() {
	later := make(map[int32]time.Time) // of vehicles, the last read
	for v := range s.visits {
		for _, p := range []passage{s.entries[v], s.exits[v]} {
			if p.at.After(later[s.visits[v].vehicle]) {
				later[s.visits[v].vehicle] = p.at
			}
		}
	}
	for i := range s.visits {
		v, entry, exit := &s.visits[i], s.entries[i], s.exits[i]
		at := v.exit // by which the window goes
		for _, known := range []time.Time{exit.at, entry.at} {
			if at.IsZero() {
				at = known
			}
		}
		ended := v.ended || !exit.at.IsZero() || later[v.vehicle].After(entry.at) || s.last.Sub(entry.at) > longestStay
		if v.none || !ended || !s.has(at) {
			continue
		}
		s.counts.All.count(s.right[i])
		if !s.stays[i] {
			s.counts.Uncharged += max(0, s.due(int32(i))) //nolint:gosec // fewer than 2^31 visits
		}
		if entry.plate == "" || exit.plate == "" {
			continue
		}
		s.counts.BothReads.count(s.right[i])
		if !s.right[i] {
			s.counts.Missed[min(MostEdits, edits(entry.plate, exit.plate))]++
		}
	}
}

// edits returns how many characters have to be replaced, inserted or removed to make one
// plate of the other.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(y)]
}
