package summary

import (
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
	// maxDownloadsOfAll bounds the concurrent downloads of all sites, besides those of
	// one site. Each takes some MiB if there are thousands of sites, until the reader
	// has read it.
	maxDownloadsOfAll = 4
	maxCSVRows        = 100_000
)

// errSlow is the cause of a query's context after its timeout.
var errSlow = errors.New("this takes more than " + queryTimeout.String() + ": ask for one site, or for less time")

// bounds are the limits of concurrency, time and size.
type bounds struct {
	queries, downloads, downloadsOfAll chan struct{}

	timeout time.Duration // of a query
	csvRows int           // of a download
}

func newBounds() *bounds {
	return &bounds{
		queries: make(chan struct{}, queriesTogether), downloads: make(chan struct{}, maxDownloads), downloadsOfAll: make(chan struct{}, maxDownloadsOfAll),
		timeout: queryTimeout, csvRows: maxCSVRows,
	}
}

// query bounds the time of a query, and the concurrency of queries over all sites.
func (h handler) query(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), h.bounds.timeout, errSlow)
		defer cancel()
		r = r.WithContext(ctx)
		if r.URL.Query().Get("site") == "" && r.PathValue("site") == "" {
			select {
			case h.bounds.queries <- struct{}{}:
				defer func() { <-h.bounds.queries }()
			case <-ctx.Done():
				h.fail(w, r, ctx.Err())
				return
			}
		}
		next(w, r)
	}
}
