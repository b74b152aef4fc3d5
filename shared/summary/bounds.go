package summary

import (
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	// queryTimeout bounds a query. It is well below the time of a call (exec_timeout),
	// so that the caller is told.
	queryTimeout = 15 * time.Second
	// queriesTogether is how many queries over all sites run at the same time; the
	// others wait. Each takes some MiB where there are thousands of sites.
	queriesTogether = 4
	// maxDownloads is how many CSV downloads of one site run at the same time.
	maxDownloads = 16
	// maxDownloadsOfAll is how many of all sites run besides those. Each takes some MiB
	// if there are thousands of sites, for as long as the reader takes.
	maxDownloadsOfAll = 4
	maxCSVRows        = 100_000
)

// errSlow is the cause with which a query's time ends.
var errSlow = errors.New("this takes more than " + queryTimeout.String() + ": ask for one site, or for less time")

// bounds are those of what runs at the same time, and of its time and size.
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

// query bounds the time of a query, and how many of those over all sites run at the
// same time.
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
