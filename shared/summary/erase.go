package summary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
)

// erasure has the numbers of what was removed of a plate.
type erasure struct {
	Events int64 `json:"events"`
	Stays  int64 `json:"stays"`
	Keys   int64 `json:"keys"`
	// Pictures is nil if none are kept.
	Pictures *int64 `json:"pictures,omitempty"`
}

func (e *erasure) add(other erasure) {
	e.Events += other.Events
	e.Stays += other.Stays
	e.Keys += other.Keys
	if e.Pictures != nil {
		*e.Pictures += *other.Pictures
	}
}

// String returns the numbers for the audit.
func (e *erasure) String() string {
	text := fmt.Sprintf("%d events, %d stays", e.Events, e.Stays)
	if e.Pictures != nil {
		text += fmt.Sprintf(", %d pictures", *e.Pictures)
	}
	return text
}

func (h handler) erase(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	site, err1 := siteOf(values)
	after, err3 := afterParam.site(values)
	inPath := r.PathValue("plate")
	plate, err2 := plateOf(cmp.Or(inPath, values.Get("plate")))
	err := errors.Join(err1, cmp.Or(certainPlate(inPath), err2), err3)
	if err == nil && site != "" && after != "" {
		err = parking.Invalid("site and after are both given: after goes on with an erasure at all sites")
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	sites := []string{site}
	if site == "" {
		if sites, err = h.everySite(r.Context()); err != nil {
			h.fail(w, r, err)
			return
		}
	}
	e := entry(r.Context(), audit.Erase, site)
	e.Plate = plate
	if after != "" {
		e.Object = "after " + after
	}
	recordEnd, err := h.Audit.Begin(r.Context(), e)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), h.bounds.timeout, errSlow)
	defer cancel()
	total, done, err := h.eraseAt(ctx, sites, after, plate)
	// Files must not keep what was erased before an error, either.
	err = errors.Join(err, h.Stays.Erased(r.Context()))
	recordEnd(audit.Change{After: total.String()}, err)
	switch {
	case context.Cause(ctx) == errSlow: //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "plate erased at some sites only", "plate", parking.MaskPlate(plate), "erased", total.String())
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, goOn(done))
	case err != nil:
		h.fail(w, r, err)
	default:
		h.Log.InfoContext(r.Context(), "plate erased", "plate", parking.MaskPlate(plate), "erased", total.String())
		httpjson.Write(w, http.StatusOK, total)
	}
}

// goOn returns instructions to complete an erasure that ran out of time after a site.
func goOn(done string) string {
	if done == "" {
		return "the erasure took all the time there is: ask again"
	}
	return fmt.Sprintf("the plate is erased at the sites up to %q, which took all the time there is: ask again with after=%s", done, url.QueryEscape(done))
}

// erasedAtOnce bounds the sites at which a plate is erased concurrently.
const erasedAtOnce = 8

// eraseAt erases a plate at those sites, which are sorted, that follow after. It
// returns the last site up to which the erasure is complete, even with an error.
func (h handler) eraseAt(ctx context.Context, sites []string, after, plate string) (total erasure, done string, err error) {
	total = h.noErasure()
	begin, found := slices.BinarySearch(sites, after)
	if found {
		begin++
	}
	for some := range slices.Chunk(sites[begin:], erasedAtOnce) {
		erased, errs := make([]erasure, len(some)), make([]error, len(some))
		var wg sync.WaitGroup
		for i, site := range some {
			wg.Go(func() { erased[i], errs[i] = h.eraseAtSite(ctx, site, plate) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return total, after, err
		}
		for _, e := range erased {
			total.add(e)
		}
		after = some[len(some)-1]
	}
	return total, after, nil
}

// noErasure returns the numbers of an erasure that has removed nothing yet.
func (h handler) noErasure() (e erasure) {
	if h.Images != nil {
		e.Pictures = new(int64)
	}
	return e
}

// eraseAtSite erases a plate at a site. The pictures go first: their names are found by
// the events. So do the stays of other plates that its events have changed: a process may have
// ended before it posted them.
func (h handler) eraseAtSite(ctx context.Context, site, plate string) (erasure, error) {
	e := h.noErasure()
	if h.Images != nil {
		places, err := h.Sites.Places(ctx, site, plate)
		if err != nil {
			return e, err
		}
		pictures, err := h.Images.Erase(ctx, site, eventsAt(places))
		*e.Pictures = int64(pictures)
		if err != nil {
			return e, err
		}
	}
	stays, err := h.Sites.Affected(ctx, site, plate)
	if err != nil {
		return e, err
	}
	if _, err := h.Stays.Upsert(ctx, stays); err != nil {
		return e, err
	}
	erased, err := h.Sites.ErasePlate(ctx, site, plate)
	if err != nil {
		return e, err
	}
	e.Events, e.Keys = erased.Events, erased.Keys
	e.Stays, err = h.Stays.ErasePlate(ctx, site, plate)
	return e, err
}

// everySite returns the names of the sites with events or stays that the principal sees.
func (h handler) everySite(ctx context.Context) ([]string, error) {
	withEvents, err1 := h.Sites.Sites(ctx)
	withStays, err2 := h.Stays.Sites(ctx)
	sites := slices.Concat(withEvents, withStays)
	slices.Sort(sites)
	seen := access.From(ctx).Sites
	sites = slices.DeleteFunc(slices.Compact(sites), func(site string) bool { return !seen.Has(site) })
	return sites, errors.Join(err1, err2)
}
