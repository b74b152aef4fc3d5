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
	recordEnd(audit.Change{After: fmt.Sprintf("%d events, %d stays", total.Events, total.Stays)}, err)
	switch {
	case context.Cause(ctx) == errSlow: //nolint:errorlint // it is never wrapped
		h.Log.WarnContext(r.Context(), "plate erased at some sites only", "plate", parking.MaskPlate(plate), "events", total.Events, "stays", total.Stays)
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusServiceUnavailable, goOn(done))
	case err != nil:
		h.fail(w, r, err)
	default:
		h.Log.InfoContext(r.Context(), "plate erased", "plate", parking.MaskPlate(plate), "events", total.Events, "stays", total.Stays)
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
			total.Events += e.Events
			total.Keys += e.Keys
			total.Stays += e.Stays
		}
		after = some[len(some)-1]
	}
	return total, after, nil
}

func (h handler) eraseAtSite(ctx context.Context, site, plate string) (erasure, error) {
	erased, err := h.Sites.ErasePlate(ctx, site, plate)
	if err != nil {
		return erasure{}, err
	}
	stays, err := h.Stays.ErasePlate(ctx, site, plate)
	return erasure{Events: erased.Events, Keys: erased.Keys, Stays: stays}, err
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
