package summary

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	// queryTimeout bounds a query. It is well below the time of a call (exec_timeout),
	// so the caller gets a response.
	queryTimeout = 15 * time.Second
	// queriesTogether bounds the concurrent queries over all sites. The others wait.
	// Each takes some MiB if there are thousands of sites.
	queriesTogether = 4
	// maxDownloads bounds the concurrent CSV downloads of one site.
	maxDownloads = 16
	// maxDownloadsOfAll bounds the concurrent downloads of several sites, besides those
	// of one site. Each takes some MiB if there are thousands of sites, until the reader
	// has read it.
	maxDownloadsOfAll = 4
	// One principal gets a part of these numbers.
	queriesShare, downloadsShare, downloadsOfAllShare = 2, 4, 2

	maxCSVRows = 100_000
)

// errSlow is the cause of a query's context after its timeout.
var errSlow = errors.New("this takes more than " + queryTimeout.String() + ": ask for one site, or for less time")

// bounds are the limits of concurrency, time and size.
type bounds struct {
	queries, downloads, downloadsOfAll *pool

	timeout time.Duration // of a query
	csvRows int           // of a download
}

func newBounds() *bounds {
	return &bounds{
		queries: newPool(queriesTogether, queriesShare), downloads: newPool(maxDownloads, downloadsShare),
		downloadsOfAll: newPool(maxDownloadsOfAll, downloadsOfAllShare),
		timeout:        queryTimeout, csvRows: maxCSVRows,
	}
}

// query bounds a query by its site in the path or in the query.
func (h handler) query(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.bounded(w, r, cmp.Or(r.PathValue("site"), r.URL.Query().Get("site")), next)
	}
}

// bounded bounds the time of a query, and the concurrency of queries over several sites.
func (h handler) bounded(w http.ResponseWriter, r *http.Request, site string, next http.HandlerFunc) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), h.bounds.timeout, errSlow)
	defer cancel()
	r = r.WithContext(ctx)
	if covers(ctx, site) {
		leave, err := h.bounds.queries.wait(ctx)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		defer leave()
	}
	next(w, r)
}
