package site

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/probe"
	"parkstream/shared/redis"
)

const (
	// freshFor is how long a copy of the registry is used before it is read again.
	freshFor = 5 * time.Second
	// readApart is the least time between two reads, for all callers together.
	readApart = time.Second
	// readTimeout bounds a read.
	readTimeout = 2 * time.Second
	// usableFor is how long a copy is used if it cannot be read again. Redis has no news
	// while it is unavailable, and cameras do not wait for it.
	usableFor = time.Hour
	// certainFor is the same for [Registry.Repeats]. It is well below RepeatDelay.
	certainFor = 30 * time.Second

	// RepeatDelay is the time from a change of Site.Repeat to the first observation that
	// it is valid for. All processes know the change by then.
	RepeatDelay = time.Minute
	// maxRepeats bounds the settings of Site.Repeat that are kept.
	maxRepeats = 100
	// changeTries bounds the tries of a change while others change the registry.
	changeTries = 100
)

// Registry is the configuration of all sites. It is in Redis, and each process has a
// copy that is at most [freshFor] old. It is safe for concurrent use by any number of
// processes.
type Registry struct {
	stored redis.Documents
	now    func() time.Time
	copy   atomic.Pointer[snapshot]
	failed atomic.Pointer[time.Time] // the last read, if it failed
	turn   chan struct{}             // holds a value while no read is under way
	read   *probe.Shared[*snapshot]

	maxBytes int // of all documents together
}

// snapshot is the registry at one time. It does not change.
type snapshot struct {
	version string
	readAt  time.Time
	sites   map[string]Site
	retired map[string]parking.Repeats // of sites that were removed
	cameras map[string]Camera
	bytes   map[string]int // of the documents
	wrong   error          // what this version does not understand of them
}

// NewRegistry returns the registry in a Redis. The caller closes the client.
func NewRegistry(client *redis.Client) *Registry {
	r := &Registry{
		stored: redis.Documents{Client: client, Prefix: redis.Sites, What: "the configurations of sites"},
		now:    time.Now, turn: make(chan struct{}, 1), maxBytes: maxBytes,
	}
	r.turn <- struct{}{}
	r.read = probe.New(readApart, r.refresh)
	return r
}

// Site returns the configuration of a site, or that of a site without one.
func (r *Registry) Site(ctx context.Context, id string) (Site, error) {
	s, _, err := r.Find(ctx, id)
	return s, err
}

// Find is [Registry.Site], and reports whether the site has a configuration.
func (r *Registry) Find(ctx context.Context, id string) (site Site, found bool, err error) {
	s, err := r.current(ctx, freshFor, usableFor)
	if err != nil {
		return Site{}, false, err
	}
	_, found = s.sites[id]
	return s.site(id), found, nil
}

// Zone returns the time zone of a site.
func (r *Registry) Zone(ctx context.Context, id string) (*time.Location, error) {
	s, err := r.Site(ctx, id)
	return s.Location, err
}

// Sites returns the configurations of all sites that have one, sorted by their ids.
func (r *Registry) Sites(ctx context.Context) ([]Site, error) {
	s, err := r.current(ctx, freshFor, usableFor)
	if err != nil {
		return nil, err
	}
	return s.sorted(), nil
}

// Camera returns a camera. If it is unknown the registry is read again first, at most
// once a second.
func (r *Registry) Camera(ctx context.Context, id string) (camera Camera, found bool, err error) {
	s, err := r.current(ctx, freshFor, usableFor)
	if err != nil {
		return Camera{}, false, err
	}
	if camera, found = s.cameras[id]; found {
		return camera, true, nil
	}
	if s, err = r.current(ctx, 0, 0); err != nil { // no copy tells that there is none
		return Camera{}, false, err
	}
	camera, found = s.cameras[id]
	return camera, found, nil
}

// Repeats returns the settings of repeated reads at a site. It returns an error rather
// than settings that may lack one that is valid already.
func (r *Registry) Repeats(ctx context.Context, site string) (parking.Repeats, error) {
	s, err := r.current(ctx, freshFor, certainFor)
	if err != nil {
		return nil, err
	}
	return s.site(site).Repeats, nil
}

// Configuration returns the configurations of all sites as Redis has them now, with
// their version, for a [Change].
func (r *Registry) Configuration(ctx context.Context) (sites []Site, version string, err error) {
	s, err := r.refresh(ctx)
	if err != nil {
		return nil, "", err
	}
	return s.sorted(), s.version, nil
}

// current returns a copy that is at most fresh old, or, if the registry cannot be read,
// at most usable.
func (r *Registry) current(ctx context.Context, fresh, usable time.Duration) (*snapshot, error) {
	old, now := r.copy.Load(), r.now()
	if old != nil && old.age(now) < fresh {
		return old, nil
	}
	if failed := r.failed.Load(); failed != nil && now.Sub(*failed).Abs() < freshFor && old != nil && old.age(now) < usable {
		return old, nil
	}
	if _, err := r.read.Result(ctx); err != nil {
		if old != nil && old.age(now) < usable {
			return old, nil
		}
		return nil, err
	}
	return r.copy.Load(), nil
}

func (s *snapshot) age(now time.Time) time.Duration { return now.Sub(s.readAt).Abs() }

// refresh reads the registry, unless the copy has its version, and keeps the copy.
func (r *Registry) refresh(ctx context.Context) (*snapshot, error) {
	select {
	case <-r.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { r.turn <- struct{}{} }()
	now, known := r.now().Round(0), "" // without the monotonic clock, which stands still in a suspended machine
	old := r.copy.Load()
	if old != nil {
		known = old.version
	}
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	documents, version, changed, err := r.stored.Read(limited, known)
	if err != nil {
		r.failed.Store(&now)
		return nil, err
	}
	var s *snapshot
	if changed {
		s = parseSnapshot(documents, version, now)
	} else {
		same := *old
		same.readAt = now
		s = &same
	}
	r.failed.Store(nil)
	r.copy.Store(s)
	return s, nil
}

// parseSnapshot parses the documents of the registry. What it does not understand, of a
// later version maybe, stops no other site.
func parseSnapshot(documents []string, version string, now time.Time) *snapshot {
	s := &snapshot{
		version: version, readAt: now, sites: make(map[string]Site), retired: make(map[string]parking.Repeats),
		cameras: make(map[string]Camera), bytes: make(map[string]int),
	}
	wrong := func(id, format string, args ...any) {
		if s.wrong == nil {
			s.wrong = notUnderstoodError(fmt.Sprintf("the configuration of site %q is not understood, its default is used: ", id) + fmt.Sprintf(format, args...))
		}
	}
	for _, line := range documents {
		var d stored
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			wrong(d.ID, "%v", err)
			continue
		}
		s.bytes[d.ID] = len(line)
		if d.Removed {
			s.retired[d.ID] = d.Repeats
			continue
		}
		one := d.site(func(_, format string, args ...any) { wrong(d.ID, format, args...) })
		one.Repeats = d.Repeats
		s.sites[d.ID] = one
		for _, camera := range one.Cameras {
			s.cameras[camera.ID] = camera
		}
	}
	return s
}

// notUnderstoodError is the public text of a warning.
type notUnderstoodError string

func (e notUnderstoodError) Error() string { return string(e) }

// Detail returns the public text.
func (e notUnderstoodError) Detail() string { return string(e) }

// Check returns an error with a public text if a configuration has parts that this
// version does not understand. It is a check for warnings.
func (r *Registry) Check(ctx context.Context) error {
	s, err := r.current(ctx, freshFor, usableFor)
	if err != nil {
		return err
	}
	return s.wrong
}

func (s *snapshot) site(id string) Site {
	if one, found := s.sites[id]; found {
		return one
	}
	return Site{ID: id, Location: time.UTC, Repeats: s.retired[id]}
}

func (s *snapshot) sorted() []Site {
	sites := make([]Site, 0, len(s.sites))
	for _, id := range slices.Sorted(maps.Keys(s.sites)) {
		sites = append(sites, s.sites[id])
	}
	return sites
}

// Change is a change of the registry. All of it is done, or nothing.
type Change struct {
	// Put are sites whose configuration is added or replaced. A camera without a
	// TokenHash keeps the one it has, at whichever site it was.
	Put []Site
	// Remove are sites whose configuration is removed.
	Remove []string
	// Version is that of the configuration that the change was made from. If it is empty
	// the change is made from whatever there is.
	Version string
	// DryRun changes nothing.
	DryRun bool
}

// ErrVersion is the error of a [Change] of a configuration that has changed since.
var ErrVersion = errors.New("the configuration of the sites was changed by others in the meantime: look at it again")

// Put adds or replaces the configurations of sites.
func (r *Registry) Put(ctx context.Context, sites ...Site) error {
	_, _, err := r.Apply(ctx, Change{Put: sites})
	return err
}

// Delete removes the configuration of a site.
func (r *Registry) Delete(ctx context.Context, id string) error {
	_, _, err := r.Apply(ctx, Change{Remove: []string{id}})
	return err
}

// Apply makes a change. It returns what changed, as [Diff] does, and the version after
// it; of a dry run the version that it was made from. Its error is [ErrVersion],
// [Mistakes] with every one, or that of Redis.
func (r *Registry) Apply(ctx context.Context, c Change) (changes []string, version string, err error) {
	for range changeTries {
		s, err := r.refresh(ctx)
		if err != nil {
			return nil, "", err
		}
		if c.Version != "" && c.Version != s.version {
			return nil, "", ErrVersion
		}
		pairs, after, err := s.change(c, r.now(), r.maxBytes)
		if err != nil {
			return nil, "", err
		}
		changes = Diff(s.sorted(), (&snapshot{sites: after}).sorted())
		if c.DryRun || len(pairs) == 0 {
			return changes, s.version, nil
		}
		version, changed, err := r.stored.Change(ctx, s.version, pairs...)
		if err != nil {
			return nil, "", err
		}
		if changed {
			_, err = r.refresh(ctx)
			return changes, version, err
		}
	}
	return nil, "", ErrVersion
}

// change returns the documents that a change writes, as [redis.Documents.Change] takes
// them, and all sites after it.
func (s *snapshot) change(c Change, now time.Time, maxBytes int) (pairs []string, after map[string]Site, err error) {
	var mistakes Mistakes
	wrong := func(path, format string, args ...any) {
		mistakes = append(mistakes, Mistake{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	after = maps.Clone(s.sites)
	for _, id := range c.Remove {
		delete(after, id)
	}
	put := make(map[string]bool)
	place := make(map[string]string) // of the cameras in c.Put
	for i := range c.Put {
		one, path := &c.Put[i], fmt.Sprintf("sites[%d].", i)
		if put[one.ID] {
			wrong(path+"id", "site %s is given twice", quote(one.ID))
			continue
		}
		put[one.ID] = true
		d := documentOf(one)
		for j := range d.Cameras {
			k := &d.Cameras[j]
			place[k.ID] = fmt.Sprintf("%scameras[%d]", path, j)
			if k.Token != "" {
				continue
			}
			if hash := s.cameras[k.ID].TokenHash; hash != noToken {
				k.Token = tokenPrefix + hex.EncodeToString(hash[:])
			} else {
				wrong(place[k.ID]+".token", "camera %s has no token, and none from before", quote(k.ID))
			}
		}
		checked := d.site(func(at, format string, args ...any) { wrong(path+at, format, args...) })
		if checked.Repeats, err = nextRepeats(s.site(one.ID).Repeats, one.Repeat, now, maxRepeats); err != nil {
			wrong(path+"repeat", "%v", err)
		}
		after[one.ID] = checked
	}
	if n := len(after); n > MaxSites {
		wrong("sites", "there are %d sites then, at most %d are possible", n, MaxSites)
	}
	owner := make(map[string]string)
	for _, id := range slices.Sorted(maps.Keys(after)) {
		for _, camera := range after[id].Cameras {
			if other, taken := owner[camera.ID]; taken && other != id {
				wrong(place[camera.ID]+".id", "camera %s is at another site already: the ids of cameras are unique among all sites", quote(camera.ID))
			}
			owner[camera.ID] = id
		}
	}
	size := 0
	for _, n := range s.bytes {
		size += n
	}
	write := func(id, text string) {
		pairs = append(pairs, id, text)
		size += len(text) - s.bytes[id]
	}
	for _, id := range slices.Sorted(maps.Keys(put)) {
		one := after[id]
		text := encode(stored{document: documentOf(&one), Repeats: one.Repeats})
		if was, found := s.sites[id]; !found || encode(stored{document: documentOf(&was), Repeats: was.Repeats}) != text {
			write(id, text)
		}
	}
	for _, id := range c.Remove {
		was, found := s.sites[id]
		if !found || put[id] {
			continue
		}
		repeats, _ := nextRepeats(was.Repeats, nil, now, maxRepeats+1)
		text := ""
		if len(repeats) > 0 { // what past events mean must not change
			text = encode(stored{document: document{ID: id}, Repeats: repeats, Removed: true})
		}
		write(id, text)
	}
	if len(pairs) > 0 && size > maxBytes {
		wrong("sites", "the configurations of all sites have %d bytes together then, at most %d are possible", size, maxBytes)
	}
	return pairs, after, mistakes.orNil()
}

// nextRepeats returns the settings with the one that is valid after now, if it is
// another one than before.
func nextRepeats(former parking.Repeats, repeat *time.Duration, now time.Time, most int) (parking.Repeats, error) {
	within := parking.DefaultRepeat
	if repeat != nil {
		within = *repeat
	}
	from, last := now.Add(RepeatDelay).UTC().Truncate(time.Millisecond), parking.DefaultRepeat
	if n := len(former); n > 0 {
		last = former[n-1].Within
		if !from.After(former[n-1].From) { // the clocks of two processes differ
			from = former[n-1].From.Add(time.Millisecond)
		}
	}
	if within == last {
		return former, nil
	}
	if len(former) >= most {
		return former, parking.Invalid("repeat was changed %d times, which is all that can be kept of it", most)
	}
	return append(slices.Clone(former), parking.RepeatSince{From: from, Within: within}), nil
}

func encode(d stored) string {
	text, _ := json.Marshal(d) // it has strings and numbers
	return string(text)
}
