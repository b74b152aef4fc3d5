package timeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/shared/parking"
)

// Look-alike plates come in any order, with versions, while what was decided of them
// before is posted by anyone: processors that record an event again, two matchers of which
// one may be late, and people who reject or erase. No revision is posted with two
// contents, none falls, and after each step no read is of two stays. After a tick at the end what is posted last of
// each exit is what parking.Match makes of all events.
func TestDecisionsAgreeWithTheOracle(t *testing.T) {
	s, client := newStore(t)
	var decided, refused, withdrawn int
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			o := &decisionOracle{
				s: s, client: client, site: fmt.Sprint("site-", seed), random: rand.New(rand.NewPCG(seed, 1)),
				events: make(map[string]parking.Event), posted: make(map[string]parking.Stay), told: make(map[string]string),
			}
			for range 20 {
				o.record(t)
				for range o.random.IntN(3) {
					o.tick(t, o.random.IntN(2) == 0)
				}
				if o.random.IntN(3) == 0 {
					o.reject(t)
				}
				if o.random.IntN(8) == 0 {
					o.erase(t)
				}
				o.check(t)
			}
			for range 2 { // what is withdrawn by hand may be decided otherwise
				o.tick(t, false)
			}
			o.check(t)
			o.compare(t)
			decided, refused, withdrawn = decided+o.decided, refused+o.refused, withdrawn+o.withdrawn
		})
	}
	if decided < 150 || refused < 20 || withdrawn < 15 {
		t.Errorf("%d changes were made, %d refused and %d withdrawn by events: too few to tell", decided, refused, withdrawn)
	}
}

type decisionOracle struct {
	s          *Store
	client     goredis.UniversalClient
	site       string
	random     *rand.Rand
	drawn      int
	planned    []parking.Event          // that have not come yet
	events     map[string]parking.Event // the versions that count
	rejections []parking.Rejection
	stale      []Change                // of a matcher that was late
	posted     map[string]parking.Stay // by id, of the highest revision
	told       map[string]string       // id and revision -> content
	decided    int
	refused    int
	withdrawn  int
}

// misread returns a plate as a camera may read it.
func (o *decisionOracle) misread(plate string) string {
	if o.random.IntN(2) == 0 {
		return plate
	}
	i := o.random.IntN(3)
	return plate[:i] + strings.NewReplacer("B", "8", "1", "I", "2", "Z", "7", "T").Replace(plate[i:i+1]) + plate[i+1:]
}

// plan plans the reads of a vehicle that comes once or twice, of which some are lost and
// some are of a plate like that of another one.
func (o *decisionOracle) plan() {
	plate := fmt.Sprintf("B%d7AB%04d", 1+o.random.IntN(2), 331*o.random.IntN(30))
	at := start.Add(-20 * time.Hour).Add(time.Duration(o.random.IntN(12*60)) * time.Minute)
	for range 1 + o.random.IntN(2) {
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			at = at.Add(time.Duration(5+o.random.IntN(90)) * time.Minute)
			if o.random.IntN(8) == 0 {
				continue
			}
			read := o.misread(plate)
			for i := range 1 + o.random.IntN(9)/8 { // a second read repeats the first
				o.drawn++
				o.planned = append(o.planned, parking.Event{
					ID: fmt.Sprint("e", o.drawn), Site: o.site, Version: 1, Kind: kind, Time: at.Add(time.Duration(10*i) * time.Second),
					Gate: "g", Plate: read, RawPlate: read,
				})
			}
		}
	}
}

// draw returns a new event, or another version of one.
func (o *decisionOracle) draw() parking.Event {
	ids := slices.Sorted(maps.Keys(o.events))
	if len(ids) > 0 && o.random.IntN(8) == 0 { // a late read after another one, which it may repeat
		if e := o.events[ids[o.random.IntN(len(ids))]]; !e.Void {
			o.drawn++
			e.ID, e.Version, e.Time = fmt.Sprint("e", o.drawn), 1, e.Time.Add([]time.Duration{10 * time.Second, 4 * time.Minute}[o.random.IntN(2)])
			if o.random.IntN(2) == 0 {
				e.Kind ^= parking.Entry ^ parking.Exit
			}
			return e
		}
	}
	if len(ids) == 0 || o.random.IntN(5) > 0 {
		for len(o.planned) < 12 {
			o.plan()
		}
		i := o.random.IntN(len(o.planned))
		e := o.planned[i]
		o.planned = slices.Delete(o.planned, i, i+1)
		return e
	}
	e := o.events[ids[o.random.IntN(len(ids))]]
	e.Version++
	switch o.random.IntN(6) {
	case 0:
		e.Time = e.Time.Add(time.Duration(o.random.IntN(60)-30) * time.Minute)
	case 1:
		e.Kind ^= parking.Entry ^ parking.Exit
	case 2:
		e.Void = !e.Void
	case 3:
		e.Camera = fmt.Sprint("c", e.Version)
	case 4:
		e.Plate = o.misread(fmt.Sprintf("B17AB%04d", 331*o.random.IntN(30)))
	}
	if e.Void {
		e.Plate, e.Gate, e.Camera = "", "", ""
	} else if e.Plate == "" {
		e.Plate, e.Gate = "B17AB9999", "g"
	}
	e.RawPlate = e.Plate
	return e
}

// record records some events, and posts what is answered, or dies before that. Some are
// delivered again.
func (o *decisionOracle) record(t *testing.T) {
	t.Helper()
	var batch []parking.Event
	for range 1 + o.random.IntN(8) {
		e := o.draw()
		o.events[e.ID] = e
		batch = append(batch, e)
	}
	for _, id := range slices.Sorted(maps.Keys(o.events)) {
		if o.random.IntN(4) == 0 {
			batch = append(batch, o.events[id])
		}
	}
	before := o.withdrawals(t)
	for i, r := range o.s.Record(t.Context(), batch) {
		if r.Err != nil {
			t.Fatalf("%+v: %v", batch[i], r.Err)
		}
		o.post(t, r.Stays...)
	}
	for id := range o.withdrawals(t) {
		if !before[id] {
			o.withdrawn++
		}
	}
	o.unique(t)
}

// withdrawals returns the exits whose decisions are withdrawn and not posted yet.
func (o *decisionOracle) withdrawals(t *testing.T) map[string]bool {
	t.Helper()
	decisions, err := o.s.Decisions(t.Context(), o.site, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, d := range decisions {
		if d.Withdraws() {
			ids[d.Stay.ID] = true
		}
	}
	return ids
}

// unique checks that each entry is that of one stay: by what is decided and the pairing
// rule, and by what was posted and is to be posted. What is given is there and no repeat.
func (o *decisionOracle) unique(t *testing.T) {
	t.Helper()
	decisions, err := o.s.Decisions(t.Context(), o.site, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(o.site)
	kept, listed := o.s.redis.Current().HKeys(t.Context(), keys.decisions()).Val(), o.s.redis.Current().ZRange(t.Context(), keys.decided(), 0, -1).Val()
	slices.Sort(kept)
	if slices.Sort(listed); !slices.Equal(kept, listed) {
		t.Errorf("decided of %v, a tick finds %v", kept, listed)
	}
	meant, shown := make(map[string]string), make(map[string]string) // exit -> entry
	entries := make(map[string]parking.Event)
	reads := parking.ReadsOf(o.current(), nil)
	for _, x := range reads.Exact {
		meant[x.Exit.ID], entries[x.Entry.ID] = x.Entry.ID, x.Entry
	}
	for _, l := range reads.Lone {
		entries[l.ID] = l.Event
	}
	for id, s := range o.posted {
		shown[id] = s.EntryID
	}
	for _, d := range decisions {
		if d.Withdraws() && d.Stay.EntryID != meant[d.Stay.ID] {
			t.Fatalf("the withdrawn stay of %s has the entry %q, want %q", d.Stay.ID, d.Stay.EntryID, meant[d.Stay.ID])
		}
		if e := entries[d.Stay.EntryID]; !d.Withdraws() && (e.Kind != parking.Entry || e.Plate != d.EntryPlate || !e.Time.Equal(d.Stay.EntryTime)) {
			t.Fatalf("%s of %s is given to the exit %s, and it is %+v", d.Stay.EntryID, d.EntryPlate, d.Stay.ID, e)
		}
		if meant[d.Stay.ID] = d.Stay.EntryID; !d.Posted {
			shown[d.Stay.ID] = d.Stay.EntryID
		}
	}
	for what, entries := range map[string]map[string]string{"by the decisions": meant, "as posted": shown} {
		owners := make(map[string]string)
		for _, x := range slices.Sorted(maps.Keys(entries)) {
			if e := entries[x]; e != "" && owners[e] != "" {
				t.Fatalf("%s the entry %s is of the exits %s and %s", what, e, owners[e], x)
			} else if e != "" {
				owners[e] = x
			}
		}
	}
}

// erase erases the plate of an event, and what was posted of it.
func (o *decisionOracle) erase(t *testing.T) {
	t.Helper()
	current := o.current()
	if len(current) == 0 {
		return
	}
	plate := current[o.random.IntN(len(current))].Plate
	if _, err := o.s.ErasePlate(t.Context(), o.site, plate); err != nil {
		t.Fatal(err)
	}
	for _, e := range current {
		if e.Plate == plate {
			delete(o.events, e.ID)
			delete(o.posted, e.ID)
		}
	}
	maps.DeleteFunc(o.posted, func(_ string, s parking.Stay) bool { return s.Plate == plate })
	o.unique(t)
}

// post takes what is posted.
func (o *decisionOracle) post(t *testing.T, stays ...parking.Stay) {
	t.Helper()
	for _, s := range stays {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprint(s.ID, " ", s.Revision)
		if told, ok := o.told[at]; ok && told != string(text) {
			t.Fatalf("revision %s is\n%s and\n%s", at, told, text)
		}
		o.told[at] = string(text)
		if s.Revision > o.posted[s.ID].Revision {
			o.posted[s.ID] = s
		}
	}
}

func (o *decisionOracle) current() (events []parking.Event) {
	for _, id := range slices.Sorted(maps.Keys(o.events)) {
		if e := o.events[id]; !e.Void {
			events = append(events, e)
		}
	}
	return events
}

// tick does what the matcher does. With late, some of its changes are made later, and it
// dies before it posts others.
func (o *decisionOracle) tick(t *testing.T, late bool) {
	t.Helper()
	decisions, err := o.s.Decisions(t.Context(), o.site, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	reads := parking.ReadsOf(o.current(), nil)
	byID := make(map[string]*parking.Event)
	exact := make(map[string]*parking.Event)
	for i := range reads.Lone {
		byID[reads.Lone[i].ID] = &reads.Lone[i].Event
	}
	for i := range reads.Exact {
		x := &reads.Exact[i]
		byID[x.Entry.ID], byID[x.Exit.ID], exact[x.Exit.ID] = &x.Entry, &x.Exit, &x.Entry
	}
	known := make(map[string]Decision)
	changes := o.stale
	o.stale = nil
	var posts []parking.Stay
	for _, d := range decisions {
		known[d.Stay.ID] = d
		if !d.Posted && !late {
			posts = append(posts, d.Stay)
		}
	}
	wanted := make(map[string]bool)
	for _, stay := range reads.Match(o.rejections, nil) {
		c := Change{Stay: stay, EntryPlate: byID[stay.EntryID].Plate, ExitPlate: byID[stay.ID].Plate}
		if e := exact[stay.ID]; e != nil {
			c.Exact = Place{e.ID, e.Time}
		}
		wanted[stay.ID] = true
		if d, ok := known[stay.ID]; ok {
			c.Was = d.Was
			same, now := d.Stay, stay
			same.Revision, now.Revision = 0, 0
			if cmp.Equal(same, now) {
				continue
			}
		}
		changes = append(changes, c)
	}
	for id, d := range known {
		if !wanted[id] && !d.Withdraws() {
			changes = append(changes, Change{Stay: parking.Stay{ID: id}, Was: d.Was})
		}
	}
	if late {
		some := o.random.IntN(len(changes) + 1)
		o.stale = slices.Clone(changes[some:])
		changes = changes[:some]
	}
	decided, err := o.s.Decide(t.Context(), o.site, changes)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range decided {
		if d.Refused != "" {
			o.refused++
			continue
		}
		o.decided++
		posts = append(posts, d.Stay)
	}
	if late {
		posts = posts[:o.random.IntN(len(posts)+1)]
	}
	o.post(t, posts...)
	o.unique(t)
	if err := o.s.Posted(t.Context(), o.site, posts); err != nil {
		t.Fatal(err)
	}
}

// reject rejects a pair, mostly one that was decided.
func (o *decisionOracle) reject(t *testing.T) {
	t.Helper()
	decisions, err := o.s.Decisions(t.Context(), o.site, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range decisions {
		if !d.Withdraws() && o.random.IntN(2) == 0 {
			pair := parking.Rejection{EntryID: d.Stay.EntryID, ExitID: d.Stay.ID}
			o.rejections = append(o.rejections, pair)
			events, err := o.s.Events(t.Context(), o.site, []string{pair.EntryID, pair.ExitID})
			if err != nil {
				t.Fatal(err)
			}
			of := Versions{events[pair.EntryID].Version, events[pair.ExitID].Version}
			stays, _, err := o.s.Reject(t.Context(), o.site, Rejection{Rejection: pair, ID: fmt.Sprint("d", len(o.rejections)), By: "ann", At: start}, of)
			if err != nil {
				t.Fatal(err)
			}
			o.post(t, stays...)
			o.unique(t)
			return
		}
	}
}

// check compares what is kept of decisions with the decisions.
func (o *decisionOracle) check(t *testing.T) {
	t.Helper()
	decisions, err := o.s.Decisions(t.Context(), o.site, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	keys := keysOf(o.site)
	given, gone := make(map[string]string), make(map[string]bool)
	lines := make(map[string][]string)
	for _, e := range o.current() {
		lines[e.Plate] = append(lines[e.Plate], member(&e))
	}
	for _, d := range decisions {
		if d.Withdraws() {
			continue
		}
		if other := given[d.Stay.EntryID]; other != "" {
			t.Fatalf("entry %s is given to %s and %s", d.Stay.EntryID, other, d.Stay.ID)
		}
		given[d.Stay.EntryID] = d.Stay.ID
		if line := lines[d.EntryPlate]; len(line) > 0 && slices.Max(line) == entryMember(d.Stay.EntryID, d.Stay.EntryTime) {
			gone[d.EntryPlate] = true
		}
	}
	if diff := cmp.Diff(given, o.client.HGetAll(t.Context(), keys.given()).Val()); diff != "" {
		t.Fatalf("given, -want +got:\n%s", diff)
	}
	got := make(map[string]bool)
	for _, plate := range o.client.ZRange(t.Context(), keys.gone(), 0, -1).Val() {
		got[plate] = true
	}
	if diff := cmp.Diff(gone, got); diff != "" {
		t.Fatalf("gone, -want +got:\n%s", diff)
	}
	inside, err := o.s.Inside(t.Context(), o.site, 0, 100)
	site, err2 := o.s.Site(t.Context(), o.site)
	var want []string
	for _, plate := range slices.Sorted(maps.Keys(lines)) {
		if kindOf(slices.Max(lines[plate])) == parking.Entry && !gone[plate] {
			want = append(want, plate)
		}
	}
	var plates []string
	for _, v := range inside {
		plates = append(plates, v.Plate)
	}
	slices.Sort(plates)
	if !slices.Equal(want, plates) || err != nil || err2 != nil || site.VehiclesInside != int64(len(want)) || site.Occupancy != int64(len(want)) {
		t.Fatalf("inside %q, %+v, errors %v and %v; want %q", plates, site, err, err2, want)
	}
}

// compare compares what was posted last with parking.Match.
func (o *decisionOracle) compare(t *testing.T) {
	t.Helper()
	var want, got []parking.Stay
	for _, s := range parking.Match(o.current(), nil, o.rejections, nil) {
		s.Revision = 0
		want = append(want, s)
	}
	for _, id := range slices.Sorted(maps.Keys(o.posted)) {
		if s := o.posted[id]; !s.Void {
			s.Revision = 0
			got = append(got, s)
		}
	}
	slices.SortFunc(want, func(a, b parking.Stay) int { return strings.Compare(a.ID, b.ID) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("stays, -want +got:\n%s", diff)
	}
}
