package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/process"
)

const (
	// sweepInterval is the time between two sweeps of a process. Half of it is random:
	// replicas sweep at different times. firstSweep is the time within which the first
	// begins, since a process may not live for long.
	sweepInterval = time.Hour
	firstSweep    = time.Minute
	// sweepTimeout bounds a sweep; the next one goes on.
	sweepTimeout = 10 * time.Minute
	day          = 24 * time.Hour
)

// Keep returns how long the pictures of a site are kept.
type Keep func(ctx context.Context, site string) (time.Duration, error)

// SweepRegularly removes expired pictures until the process closes. Several processes may
// do so.
func (s *Store) SweepRegularly(p *process.Process, keep Keep) {
	if s == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.sweepEvery(ctx, firstSweep, sweepInterval, keep, p.Log)
	}()
	p.OnClose("sweep of pictures", func(ctx context.Context) error {
		stop()
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func (s *Store) sweepEvery(ctx context.Context, first, interval time.Duration, keep Keep, log *slog.Logger) {
	wait := rand.N(first)                            //nolint:gosec // it is no secret
	for ; ; wait = interval/2 + rand.N(interval/2) { //nolint:gosec // neither
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		timed, cancel := context.WithTimeout(ctx, sweepTimeout)
		removed, err := s.Sweep(timed, keep)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			log.Warn("not all expired pictures are removed, the next sweep goes on", "removed", removed, "error", err)
		case removed > 0:
			log.Info("expired pictures removed", "pictures", removed)
		}
	}
}

// Sweep removes expired pictures. A site keeps a picture for a time from its arrival, but
// not for longer than that from the end of its event's day. An error at one site does not
// keep the others from being swept. After an error, the next call removes the rest.
func (s *Store) Sweep(ctx context.Context, keep Keep) (removed int, err error) {
	sites, err := s.backend.folders(ctx, "")
	errs := []error{err}
	for _, site := range sites {
		if ctx.Err() != nil {
			break
		}
		if checkSite(site) != nil {
			continue // it is not ours
		}
		n, err := s.sweepSite(ctx, site, keep)
		removed += n
		if err != nil {
			errs = append(errs, fmt.Errorf("site %s: %w", site, err))
		}
	}
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return removed, s.unavailable("remove expired pictures from", err)
	}
	s.metrics.swept.Set(float64(s.now().UnixMilli()) / 1e3)
	return removed, nil
}

func (s *Store) sweepSite(ctx context.Context, site string, keep Keep) (removed int, err error) {
	kept, err := keep(ctx, site)
	if err != nil {
		return 0, err
	}
	if kept <= 0 {
		return 0, parking.Invalid("pictures are to be kept for %s", kept)
	}
	days, err := s.backend.folders(ctx, site)
	if err != nil {
		return 0, err
	}
	limit := s.now().Add(-kept)
	left := len(days)
	for _, name := range days {
		begin, ok := parseDay(name)
		if !ok || !begin.Before(limit) {
			continue
		}
		folder := site + "/" + name
		over := !begin.Add(day).After(limit)
		err := s.backend.each(ctx, folder, func(some []stored) error {
			var expired []string
			for _, one := range some {
				if over || one.at.Before(limit) {
					expired = append(expired, one.name)
				}
			}
			if len(expired) == 0 {
				return nil
			}
			n, err := s.backend.remove(ctx, folder, expired)
			removed += n
			s.metrics.expired.Add(float64(n))
			return err
		})
		if err != nil {
			return removed, err
		}
		if over {
			s.backend.removeFolder(folder)
			left--
		}
	}
	if left == 0 {
		s.backend.removeFolder(site)
	}
	return removed, nil
}
