package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/parking"
	"parkstream/shared/probe"
	"parkstream/shared/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var berlin = zone("Europe/Berlin")

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

// sameZones compares sites with their zones by name.
var sameZones = cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })

func open(t *testing.T, node *instance.Redis) *Registry {
	t.Helper()
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return NewRegistry(client)
}

// north returns a site with everything.
func north() Site {
	return Site{
		ID: "north", Name: "North Ä", Location: berlin, Capacity: 120, Repeat: new(90 * time.Second),
		LongestStay: 24 * time.Hour, ImageRetention: 720 * time.Hour, HideDoubtful: true, Settle: new(36 * time.Hour),
		Policy: Policy{Methods: map[parking.Method]Billing{parking.OCR: Bill, parking.TwoEdits: Never}, Disputed: Bill},
		Gates:  []Gate{{ID: "main", Name: "Main gate"}, {ID: "back"}},
		Cameras: []Camera{
			{ID: "north-in", Site: "north", Gate: "main", Role: Entries, Format: "hikvision", Location: berlin, TokenHash: HashToken("entry-token")},
			{
				ID: "north-both", Site: "north", Gate: "back", Role: Both, Format: "frigate", Location: zone("Asia/Kolkata"), TokenHash: HashToken("other-token"),
				Directions: map[string]parking.Kind{"in": parking.Entry, "away": parking.Exit},
			},
		},
	}
}

func camera(id, token string) Camera {
	c := Camera{ID: id, Role: Entries, Format: Auto}
	if token != "" {
		c.TokenHash = HashToken(token)
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What one process puts another one has, with every field. A site without a
// configuration is one in UTC.
func TestRegistry(t *testing.T) {
	node := instancetest.Redis(t)
	a, b := open(t, node), open(t, node)
	if sites, err := b.Sites(t.Context()); err != nil || len(sites) != 0 {
		t.Fatalf("an empty registry has %+v, %v", sites, err)
	}
	must(t, a.Put(t.Context(), north(), Site{ID: "south"}))
	expect := func(r *Registry, want ...Site) {
		t.Helper()
		got, err := r.Sites(t.Context())
		must(t, err)
		for i := range got {
			got[i].Repeats = nil
		}
		if diff := cmp.Diff(want, got, sameZones); diff != "" {
			t.Errorf("sites (-want +got):\n%s", diff)
		}
	}
	south := Site{ID: "south", Location: time.UTC}
	expect(a, north(), south)
	if _, _, err := b.Configuration(t.Context()); err != nil { // reads it now
		t.Fatal(err)
	}
	expect(b, north(), south)
	got, err := b.Site(t.Context(), "north")
	must(t, err)
	if got.Repeats = nil; cmp.Diff(north(), got, sameZones) != "" {
		t.Errorf("north is %+v", got)
	}
	unknown, err := b.Site(t.Context(), "elsewhere")
	must(t, err)
	if diff := cmp.Diff(Site{ID: "elsewhere", Location: time.UTC}, unknown, sameZones); diff != "" {
		t.Errorf("a site without a configuration (-want +got):\n%s", diff)
	}
	must(t, b.Delete(t.Context(), "south"))
	must(t, b.Delete(t.Context(), "south"))
	expect(b, north())
}

// A process reads the registry again when its copy is old, and not before.
func TestACopyIsReadAgain(t *testing.T) {
	node := instancetest.Redis(t)
	a, b := open(t, node), open(t, node)
	if _, err := b.Site(t.Context(), "north"); err != nil {
		t.Fatal(err)
	}
	must(t, a.Put(t.Context(), north()))
	name := func() string {
		s, err := b.Site(t.Context(), "north")
		must(t, err)
		return s.Name
	}
	b.read = probe.New(time.Millisecond, b.refresh)
	start := b.copy.Load().readAt
	b.now = func() time.Time { return start.Add(freshFor - 1) }
	if got := name(); got != "" {
		t.Errorf("before its time the copy is read again: %q", got)
	}
	for _, after := range []time.Duration{freshFor, -freshFor} { // clocks are set back, too
		b.copy.Store(&snapshot{version: "x", readAt: start})
		b.now = func() time.Time { return start.Add(after) }
		eventually.True(t, "the copy to be read again", func() bool { return name() == "North Ä" })
	}
}

// A camera that was added a moment ago is found, and a flood of unknown ones reads the
// registry once a second.
func TestUnknownCamera(t *testing.T) {
	node := instancetest.Redis(t)
	a, b := open(t, node), open(t, node)
	has := func(id string) bool {
		c, found, err := b.Camera(t.Context(), id)
		must(t, err)
		if found && (c.ID != id || c.Site != "north") {
			t.Errorf("camera %s is %+v", id, c)
		}
		return found
	}
	if has("north-in") {
		t.Error("a camera is known that was not added")
	}
	must(t, a.Put(t.Context(), north()))
	eventually.True(t, "the camera to be known", func() bool { return has("north-in") })

	node2 := open(t, node)
	reads := node2.stored.Client.Current().Info(t.Context(), "commandstats").Val()
	for i := range 1000 {
		has(fmt.Sprint("unknown", i))
	}
	after := node2.stored.Client.Current().Info(t.Context(), "commandstats").Val()
	if n := calls(after) - calls(reads); n > 60 { // 1,000 of them take less than a minute
		t.Errorf("1,000 unknown cameras made %d reads", n)
	}
}

// calls returns the calls of scripts in what Redis tells of its commands.
func calls(stats string) (n int) {
	for line := range strings.Lines(stats) {
		if text, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			_, _ = fmt.Sscanf(text, "%d", &n)
		}
	}
	return n
}

// Without Redis cameras and sites are known for a time, and what is not known is not
// denied. Settings that may be outdated are not used.
func TestWithoutRedis(t *testing.T) {
	node := instancetest.Redis(t)
	r, none := open(t, node), open(t, node)
	must(t, r.Put(t.Context(), north()))
	must(t, node.Kill())
	start := r.copy.Load().readAt
	for after, want := range map[time.Duration]string{
		0: "site camera repeats", freshFor: "site camera repeats", certainFor: "site camera", usableFor - 1: "site camera", usableFor: "",
	} {
		r.now = func() time.Time { return start.Add(after) }
		r.failed.Store(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		var known []string
		if s, err := r.Site(ctx, "north"); err == nil && s.Name != "" {
			known = append(known, "site")
		}
		if _, found, err := r.Camera(ctx, "north-in"); err == nil && found {
			known = append(known, "camera")
		}
		if repeats, err := r.Repeats(ctx, "north"); err == nil && len(repeats) == 1 {
			known = append(known, "repeats")
		}
		if got := strings.Join(known, " "); got != want {
			t.Errorf("%s after the last read %q is known, want %q", after, got, want)
		}
		if _, _, err := r.Camera(ctx, "unknown"); err == nil {
			t.Errorf("%s after the last read an unknown camera is denied", after)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := none.Site(ctx, "north"); err == nil {
		t.Error("without a copy a site is known")
	}
	if err := r.Put(ctx, Site{ID: "x"}); err == nil || errors.Is(err, parking.ErrInvalid) || errors.Is(err, ErrVersion) {
		t.Errorf("a change without Redis: %v", err)
	}
}

// Concurrent changes of all processes are made, each whole. One that was made from an
// older configuration is refused.
func TestConcurrentChanges(t *testing.T) {
	node := instancetest.Redis(t)
	a, b := open(t, node), open(t, node)
	_, version, err := a.Configuration(t.Context())
	must(t, err)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			id := fmt.Sprint("s", i)
			if err := []*Registry{a, b}[i%2].Put(t.Context(), Site{ID: id, Cameras: []Camera{camera("c-"+id, "a-token-"+id)}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	sites, now, err := a.Configuration(t.Context())
	if err != nil || len(sites) != 16 || version == now {
		t.Errorf("%d sites, version %s and before %s, %v", len(sites), now, version, err)
	}
	if _, _, err := b.Apply(t.Context(), Change{Put: []Site{{ID: "late"}}, Version: version}); !errors.Is(err, ErrVersion) {
		t.Errorf("a change of an older configuration: %v", err)
	}
	change := Change{Put: []Site{{ID: "intime"}}, Remove: []string{"s1", "none"}, Version: now, DryRun: true}
	for _, dry := range []bool{true, false} {
		change.DryRun = dry
		changes, after, err := b.Apply(t.Context(), change)
		if want := []string{"+ site intime: zone UTC", "- site s1 with 1 camera"}; err != nil || !slices.Equal(changes, want) || (after == now) != dry {
			t.Errorf("dry %t: %q, version %s, %v", dry, changes, after, err)
		}
	}
	sites, _, err = a.Configuration(t.Context())
	var ids []string
	for _, s := range sites {
		ids = append(ids, s.ID)
	}
	if err != nil || len(ids) != 16 || slices.Contains(ids, "s1") || !slices.Contains(ids, "intime") || slices.Contains(ids, "late") {
		t.Errorf("sites %q, %v", ids, err)
	}
}

// Of concurrent changes that contradict each other one is made: a camera is at one site.
func TestConcurrentChangesOfOneCamera(t *testing.T) {
	node := instancetest.Redis(t)
	var all sync.WaitGroup
	var made atomic.Int64
	for i := range 16 {
		r := open(t, node)
		all.Go(func() {
			err := r.Put(t.Context(), Site{ID: fmt.Sprint("s", i), Cameras: []Camera{camera("one", "the-token-of-one")}})
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, parking.ErrInvalid) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d sites have the camera", made.Load())
	}
}

// The script writes nothing of a change that was made from another version.
func TestWriteOfAnOldVersion(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	must(t, r.Put(t.Context(), Site{ID: "a", Name: "now"}))
	for _, version := range []string{"0", "1", ""} {
		later, changed, err := r.stored.Change(t.Context(), version, "a", `{"id":"a","name":"late"}`)
		if err != nil || changed || later != "" {
			t.Errorf("version %q: %q, %v", version, later, err)
		}
	}
	if sites, _, err := r.Configuration(t.Context()); err != nil || len(sites) != 1 || sites[0].Name != "now" {
		t.Errorf("%+v, %v", sites, err)
	}
}

// A version does not come again after Redis has lost its data.
func TestVersionsAfterALoss(t *testing.T) {
	node := instancetest.Redis(t)
	a, b := open(t, node), open(t, node)
	must(t, a.Put(t.Context(), Site{ID: "x", Name: "before"}))
	if s, err := b.Site(t.Context(), "x"); err != nil || s.Name != "before" {
		t.Fatalf("%+v, %v", s, err)
	}
	must(t, a.stored.Client.Current().FlushAll(t.Context()).Err())
	must(t, a.Put(t.Context(), Site{ID: "x", Name: "after"}))
	if sites, _, err := b.Configuration(t.Context()); err != nil || len(sites) != 1 || sites[0].Name != "after" {
		t.Errorf("%+v, %v", sites, err)
	}
}

// A token is kept as its hash. It stays with its camera, at whichever site that is.
func TestTokens(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	authentic := func(id, token string) bool {
		c, found, err := r.Camera(t.Context(), id)
		must(t, err)
		return found && c.Authentic(token)
	}
	if (Camera{}).Authentic("") || (Camera{}).Authentic("x") {
		t.Error("a camera without a token takes one")
	}
	must(t, r.Put(t.Context(), Site{ID: "a", Cameras: []Camera{camera("one", "the-token-of-one")}}))
	if !authentic("one", "the-token-of-one") || authentic("one", "the-token-of-two") || authentic("one", "") {
		t.Error("another token is taken")
	}
	must(t, r.Put(t.Context(), Site{ID: "a"}, Site{ID: "b", Cameras: []Camera{camera("one", "")}})) // it moves
	if c, _, _ := r.Camera(t.Context(), "one"); c.Site != "b" || !authentic("one", "the-token-of-one") {
		t.Errorf("after its move it is %+v", c)
	}
	must(t, r.Put(t.Context(), Site{ID: "b", Cameras: []Camera{camera("one", "another-token")}}))
	if authentic("one", "the-token-of-one") || !authentic("one", "another-token") {
		t.Error("a new token does not replace the old one")
	}
	for key, value := range map[string]string{"s": "b"} {
		text := r.stored.Client.Current().HGet(t.Context(), redis.Sites+key, value).Val()
		if strings.Contains(text, "another-token") || !strings.Contains(text, `"token":"sha256:`) {
			t.Errorf("Redis has %s", text)
		}
	}
	must(t, r.Delete(t.Context(), "b"))
	if err := r.Put(t.Context(), Site{ID: "b", Cameras: []Camera{camera("one", "")}}); !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("a camera that was removed has its token still: %v", err)
	}
}

// A change with mistakes changes nothing, and its error has all of them.
func TestChangesWithMistakes(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	must(t, r.Put(t.Context(), Site{ID: "a", Cameras: []Camera{camera("one", "the-token-of-one")}}))
	many := make([]Camera, MaxCameras+1)
	for i := range many {
		many[i] = camera(fmt.Sprint("many", i), "a-token-of-many")
	}
	err := r.Put(t.Context(),
		Site{ID: "good", Name: "not stored"},
		Site{ID: "b", Capacity: -1, Cameras: []Camera{camera("one", ""), camera("two", ""), {ID: "three", Gate: "g", Role: "r", Format: "f", TokenHash: HashToken("x")}}},
		Site{ID: "b"}, Site{ID: "l", Location: time.Local}, Site{ID: "c d"}, Site{ID: "e", Cameras: many, Repeat: new(2 * time.Hour)},
	)
	for _, want := range []string{
		"capacity \"-1\": want a number", "camera \"one\" is at another site already", "camera \"two\" has no token", "gate \"g\" of camera \"three\"", "role \"r\"", "zone \"Local\"", "format \"f\"",
		"site \"b\" is given twice", "id \"c d\"", "there are 501 cameras", "repeat \"2h\": want a duration from 0s to 1h",
	} {
		if err == nil || !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if sites, _, err := r.Configuration(t.Context()); err != nil || len(sites) != 1 {
		t.Errorf("sites %+v, %v", sites, err)
	}
}

func TestTheNumberOfSitesIsBounded(t *testing.T) {
	sites := make([]Site, MaxSites+1)
	for i := range sites {
		sites[i].ID = fmt.Sprint("s", i)
	}
	none := parseSnapshot(nil, "0", time.Now())
	if _, _, err := none.change(Change{Put: sites}, time.Now(), maxBytes); err == nil || !strings.Contains(err.Error(), "there are 10001 sites then, at most 10000") {
		t.Errorf("one too many: %v", err)
	}
	if _, after, err := none.change(Change{Put: sites[1:]}, time.Now(), maxBytes); err != nil || len(after) != MaxSites {
		t.Errorf("%d sites: %v", len(after), err)
	}
}

// All documents together are bounded, since every process has a copy.
func TestTheSizeIsBounded(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	if r.maxBytes != maxBytes {
		t.Errorf("the bound is %d", r.maxBytes)
	}
	r.maxBytes = 10_000
	site := func(n int) Site {
		return Site{ID: fmt.Sprint("s", n), Cameras: []Camera{camera(fmt.Sprint("c", n), "a-token")}}
	}
	put := 0
	var err error
	for ; put < 200 && err == nil; put++ {
		err = r.Put(t.Context(), site(put))
	}
	if put < 20 || put > 100 || !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), "bytes together") {
		t.Errorf("%d sites are taken, then %v", put, err)
	}
	must(t, r.Delete(t.Context(), "s0")) // there is room again
	must(t, r.Put(t.Context(), Site{ID: "small"}))
}

// A change of repeat is valid for what is observed a minute later, and what was valid
// before stays so, also if the configuration is removed.
func TestRepeats(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	var want parking.Repeats
	for i, step := range []struct {
		repeat  *time.Duration
		removed bool
		added   *time.Duration
	}{
		{nil, false, nil},
		{new(time.Minute), false, nil}, // the default
		{new(2 * time.Minute), false, new(2 * time.Minute)},
		{new(2 * time.Minute), false, nil},
		{new(time.Duration(0)), false, new(time.Duration(0))},
		{nil, true, new(time.Minute)},
		{nil, false, nil},
		{new(time.Hour), false, new(time.Hour)},
	} {
		now := start.Add(time.Duration(i) * time.Hour)
		r.now = func() time.Time { return now }
		if step.removed {
			must(t, r.Delete(t.Context(), "a"))
		} else {
			must(t, r.Put(t.Context(), Site{ID: "a", Repeat: step.repeat}))
		}
		if step.added != nil {
			want = append(want, parking.RepeatSince{From: now.Add(time.Minute), Within: *step.added})
		}
		got, err := r.Repeats(t.Context(), "a")
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
	if sites, err := r.Sites(t.Context()); err != nil || len(sites) != 1 {
		t.Errorf("%+v, %v", sites, err)
	}
	// Clocks differ: the order of settings is that of the changes.
	r.now = func() time.Time { return start }
	must(t, r.Put(t.Context(), Site{ID: "a", Repeat: new(time.Second)}))
	got, err := r.Repeats(t.Context(), "a")
	if last := len(want) - 1; err != nil || len(got) != last+2 || !got[last+1].From.After(got[last].From) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Settings of repeat are bounded, and a configuration can be removed all the same.
func TestRepeatsAreBounded(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	for i := range maxRepeats {
		must(t, r.Put(t.Context(), Site{ID: "a", Repeat: new(time.Duration(i+100) * time.Second)}))
	}
	if err := r.Put(t.Context(), Site{ID: "a", Repeat: new(time.Second)}); !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("one more: %v", err)
	}
	must(t, r.Put(t.Context(), Site{ID: "a", Name: "new", Repeat: new(time.Duration(maxRepeats+99) * time.Second)}))
	must(t, r.Delete(t.Context(), "a"))
	if got, err := r.Repeats(t.Context(), "a"); err != nil || len(got) != maxRepeats+1 || got[maxRepeats].Within != parking.DefaultRepeat {
		t.Errorf("%d settings, %v", len(got), err)
	}
}

// What another version has written stops nothing else, stays as it is, and is a warning.
func TestWhatIsNotUnderstood(t *testing.T) {
	r := open(t, instancetest.Redis(t))
	must(t, r.Put(t.Context(), north()))
	for _, document := range []string{`{"id":"x","zone":"Mars/Olympus","name":"X"}`, `{"id":"x","cameras":[{"id":"new","role":"entry","format":"vendor9"}]}`, `{"id":"x","cameras":{}}`, `{`, `[]`} {
		must(t, r.stored.Client.Current().HSet(t.Context(), redis.Sites+"s", "x", document).Err())
		must(t, r.stored.Client.Current().Incr(t.Context(), redis.Sites+"v").Err())
		if _, _, err := r.Configuration(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, found, err := r.Camera(t.Context(), "north-in"); err != nil || !found || c.Site != "north" {
			t.Errorf("%s: %+v, %t, %v", document, c, found, err)
		}
		if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "is not understood") {
			t.Errorf("%s: the warning is %v", document, err)
		}
		must(t, r.Put(t.Context(), Site{ID: "y", Name: document}))
		if got := r.stored.Client.Current().HGet(t.Context(), redis.Sites+"s", "x").Val(); got != document {
			t.Errorf("%s became %s", document, got)
		}
	}
	must(t, r.Put(t.Context(), Site{ID: "x"}))
	if err := r.Check(t.Context()); err != nil {
		t.Errorf("after it was replaced: %v", err)
	}
}
