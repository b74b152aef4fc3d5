// Package image keeps the pictures that cameras send: in a folder, or in a bucket of an
// S3 server.
//
// A picture is at site/day/name. The day is that of the event's time in UTC, and the
// name is made from the event's id, so a picture of the same event replaces the one
// before, and the pictures of an erased event are found by its id and time. A name tells
// no plate, even if the id has one.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"parkstream/shared/parking"
	"parkstream/shared/process"
)

// Bounds of what is kept.
const (
	// MaxPictures is the maximum number of pictures of an event.
	MaxPictures = 4
	// MaxBytes is the maximum size of a picture.
	MaxBytes = 16 << 20
	// maxAhead is how far the time of an event may be in the future. A later day would
	// be kept for too long.
	maxAhead = 24 * time.Hour
	// putsAtOnce bounds the concurrent puts of a process.
	putsAtOnce = 32
	// erasedAtOnce bounds the events whose pictures are erased concurrently.
	erasedAtOnce = 16
)

// ErrNotFound is the error of a picture that is not there.
var ErrNotFound = errors.New("there is no such picture: it was never stored, or its time is over")

var errBusy = errors.New("the store of pictures is slow, and has too many to store")

// backend is where pictures are. Names have slashes; the folder of a site is at its top.
type backend interface {
	// put stores data under a name, whole or not at all. It keeps and copies none of it.
	put(ctx context.Context, name, contentType string, data []byte) error
	// get opens a picture and returns its size. Its error may be [ErrNotFound].
	get(ctx context.Context, name string) (io.ReadCloser, int64, error)
	// folders returns the names of the folders in a folder, which is "" for the top.
	folders(ctx context.Context, folder string) ([]string, error)
	// named returns the names of the pictures in a folder that begin with base.
	named(ctx context.Context, folder, base string) ([]string, error)
	// each calls do with the pictures of a folder, some at a time, until it fails.
	each(ctx context.Context, folder string, do func([]stored) error) error
	// remove removes pictures of a folder, and returns how many it has removed.
	remove(ctx context.Context, folder string, names []string) (int, error)
	// removeFolder removes a folder if it is empty.
	removeFolder(folder string)
	// check returns an error if pictures cannot be kept now.
	check(ctx context.Context) error
}

// stored is a picture in a folder.
type stored struct {
	name string
	at   time.Time // when it was stored
}

// Store keeps pictures. Its methods may be called concurrently. A nil Store keeps none
// and has none.
type Store struct {
	backend backend
	where   string // for people
	timeout time.Duration
	metrics *metrics
	now     func() time.Time

	slots   chan struct{} // has a value for each put under way
	failing atomic.Bool   // the last put failed
}

// Wire returns the store of a process, with its metrics and its warning. It is nil if no
// IMAGES_URL is set.
func Wire(p *process.Process, s Settings) (*Store, error) {
	if s.URL == "" {
		return nil, nil //nolint:nilnil // a nil Store keeps nothing
	}
	loc, err := parseURL(s.URL)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // Validate reports it
	}
	var b backend = folder(loc.dir)
	if loc.bucket != "" {
		if b, err = newBucket(p, loc); err != nil {
			return nil, err
		}
	}
	store := &Store{
		backend: b, where: loc.String(), timeout: s.Timeout, metrics: newMetrics(p.Registerer),
		now: time.Now, slots: make(chan struct{}, putsAtOnce),
	}
	p.OnWarning("images", store.Check)
	return store, nil
}

// UnavailableError is the error of a store that cannot be used now.
type UnavailableError struct{ cause error }

func (e *UnavailableError) Error() string { return e.cause.Error() }
func (e *UnavailableError) Unwrap() error { return e.cause }

// Detail returns the public text.
func (*UnavailableError) Detail() string { return "the store of pictures cannot be used now" }

// unavailable returns the error of doing something with the store; nil and [ErrNotFound]
// stay what they are.
func (s *Store) unavailable(doing string, err error) error {
	if err == nil || errors.Is(err, ErrNotFound) {
		return err
	}
	return &UnavailableError{fmt.Errorf("%s %s: %w", doing, s.where, err)}
}

// Check returns an error if pictures cannot be kept now.
func (s *Store) Check(ctx context.Context) error {
	return s.unavailable("keep pictures in", s.backend.check(ctx))
}

// Put stores pictures of an event, the most telling first, and returns the reference of
// the first one stored, or "" if none was. It takes at most the time of the settings.
// Pictures beyond [MaxPictures] and data that is no JPEG or PNG are not stored; the error
// tells so. It names no plate and no secret.
func (s *Store) Put(ctx context.Context, site, event string, at time.Time, pictures ...[]byte) (reference string, err error) {
	if s == nil || len(pictures) == 0 {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var errs []error
	for i, data := range pictures {
		name, err := s.name(site, event, at, i, data)
		if err != nil {
			s.metrics.refused.Inc()
		} else {
			err = s.put(ctx, name, data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("picture %d of an event at site %q: %w", i+1, site, err))
		} else if reference == "" {
			reference = name.String()
		}
	}
	return reference, errors.Join(errs...)
}

// name returns where a picture belongs, or an error if it is not to be stored.
func (s *Store) name(site, event string, at time.Time, number int, data []byte) (name, error) {
	kind := kindOf(data)
	ahead := at.Sub(s.now())
	switch err := checkSite(site); {
	case err != nil:
		return name{}, err
	case number >= MaxPictures:
		return name{}, parking.Invalid("an event has at most %d pictures", MaxPictures)
	case len(data) > MaxBytes:
		return name{}, parking.Invalid("it has %d bytes, at most %d are kept", len(data), MaxBytes)
	case kind == nil:
		return name{}, parking.Invalid("it is neither JPEG nor PNG, but %s", http.DetectContentType(data))
	case ahead > maxAhead:
		return name{}, parking.Invalid("the event is %s in the future", ahead.Round(time.Minute))
	}
	return name{site: site, day: dayOf(at), file: fmt.Sprintf("%s%d%s", baseOf(site, event), number, kind.suffix)}, nil
}

func (s *Store) put(ctx context.Context, name name, data []byte) error {
	err := s.enter(ctx)
	if err == nil {
		err = s.backend.put(ctx, name.String(), name.contentType(), data)
		s.failing.Store(err != nil)
		<-s.slots
	}
	if err != nil {
		s.metrics.failed.Inc()
		return s.unavailable("store it in", err)
	}
	s.metrics.stored.Inc()
	s.metrics.bytes.Add(float64(len(data)))
	return nil
}

// enter waits for its turn. While puts fail, for instance because a server does not
// answer, it does not wait: a camera is not to wait for its picture.
func (s *Store) enter(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	if s.failing.Load() {
		return errBusy
	}
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		s.failing.Store(true)
		return errBusy
	}
}

// Picture is an open picture.
type Picture struct {
	io.ReadCloser
	// ContentType is image/jpeg or image/png.
	ContentType string
	// Size in bytes.
	Size int64
}

// Get opens the picture of a reference. It reads nothing that Put cannot have stored:
// the error is [ErrNotFound] then.
func (s *Store) Get(ctx context.Context, reference string) (*Picture, error) {
	name, ok := parseName(reference)
	if s == nil || !ok {
		return nil, ErrNotFound
	}
	content, size, err := s.backend.get(ctx, name.String())
	if err != nil {
		return nil, s.unavailable("read a picture from", err)
	}
	if size > MaxBytes {
		return nil, errors.Join(ErrNotFound, content.Close())
	}
	return &Picture{ReadCloser: content, ContentType: name.contentType(), Size: size}, nil
}

// Event is one of whose pictures are erased.
type Event struct {
	ID   string
	Time time.Time
}

// Erase removes all pictures of events at a site, and returns how many there were. After
// an error a part is removed, and a repeated call removes the rest.
func (s *Store) Erase(ctx context.Context, site string, events []Event) (removed int, err error) {
	if s == nil || checkSite(site) != nil {
		return 0, nil //nolint:nilerr // no picture has such a site
	}
	var count atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(erasedAtOnce)
	for _, one := range folders(site, events) {
		group.Go(func() error {
			n, err := s.eraseNamed(ctx, one.folder, one.base)
			count.Add(int64(n))
			return err
		})
	}
	err = group.Wait()
	return int(count.Load()), s.unavailable("erase pictures from", err)
}

func (s *Store) eraseNamed(ctx context.Context, folder, base string) (int, error) {
	names, err := s.backend.named(ctx, folder, base)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	n, err := s.backend.remove(ctx, folder, names)
	s.metrics.erased.Add(float64(n))
	return n, err
}

// nearMidnight is the time around an event on whose days its pictures are searched for:
// versions of an event differ in their time by less.
const nearMidnight = time.Hour

// eventFolder is a folder with what the names of an event's pictures begin with.
type eventFolder struct{ folder, base string }

// folders returns where the pictures of events may be, each place once.
func folders(site string, events []Event) []eventFolder {
	var all []eventFolder
	seen := make(map[eventFolder]bool)
	for _, e := range events {
		for _, at := range []time.Time{e.Time.Add(-nearMidnight), e.Time.Add(nearMidnight)} {
			one := eventFolder{site + "/" + dayOf(at), baseOf(site, e.ID)}
			if !seen[one] {
				seen[one] = true
				all = append(all, one)
			}
		}
	}
	return all
}
