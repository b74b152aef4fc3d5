package summary

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/httpjson"
	"parkstream/shared/parking"
	"parkstream/shared/site"
	"parkstream/shared/stay"
)

// csvColumns are the fields of a stay, in the order of csvRecord.
var csvColumns = []string{
	"id", "site", "vehicle_plate", "entry_id", "entry_date_time", "exit_id", "exit_date_time",
	"duration_seconds", "duration", "status", "revision", "updated_at",
	"entry_local_time", "exit_local_time", "method", "disputed", "billing",
}

// table is a list as a CSV file.
type table struct {
	file    string
	columns []string
	numbers []int // the columns that are not quoted
}

var staysTable = table{"stays.csv", csvColumns, []int{secondsColumn, revisionColumn}}

// byteOrderMark tells spreadsheets that the text is UTF-8.
const byteOrderMark = "\ufeff"

// csv responds with all stays up to a maximum, or with one page if a limit is given.
// The header X-Next-Cursor has the cursor at which a longer list continues.
func (h handler) csv(w http.ResponseWriter, r *http.Request, q listQuery, onePage, bom bool) {
	head := staysTable.head(bom)
	if onePage {
		h.bounded(w, r, q.site, func(w http.ResponseWriter, r *http.Request) { h.csvPage(w, r, q, head) })
		return
	}
	leave, ok := h.mayDownload(w, r, covers(r.Context(), q.site))
	if !ok {
		return
	}
	defer leave()
	var err error
	var next string
	if q.Sites, err = h.sitesOf(r.Context(), q.site, h.Stays); err == nil {
		q.Last, err = h.Stays.CursorAfter(r.Context(), q.Query, h.bounds.csvRows)
	}
	if err == nil {
		next, err = h.next(r.Context(), q.Last)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.download(w, r, staysTable, head, next, func(ctx context.Context, send func([][]string) error) error {
		return h.Stays.Export(ctx, q.Query, func(stays []stay.StoredStay) error {
			shown, sites, err := h.show(ctx, stays)
			if err != nil {
				return err
			}
			records := make([][]string, len(shown))
			for i := range shown {
				records[i] = csvRecord(&shown[i], sites[shown[i].Site].Location)
			}
			return send(records)
		})
	})
}

// mayDownload takes a turn of the downloads of one site or of several. leave ends it. If
// there is none, it has written the response.
func (h handler) mayDownload(w http.ResponseWriter, r *http.Request, several bool) (leave func(), ok bool) {
	downloads, which := h.bounds.downloads, "downloads of one site"
	if several {
		downloads, which = h.bounds.downloadsOfAll, "downloads of several sites"
	}
	leave, err := downloads.try(r.Context())
	if err != nil {
		w.Header().Set("Retry-After", "5")
		httpjson.Error(w, http.StatusTooManyRequests, which+" are under way, and "+err.Error()+": try again")
	}
	return leave, err == nil
}

func (h handler) csvPage(w http.ResponseWriter, r *http.Request, q listQuery, head string) {
	stays, next, err := h.page(r.Context(), q)
	var shown []shownStay
	var sites map[string]site.Site
	if err == nil {
		shown, sites, err = h.show(r.Context(), stays)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	staysTable.setHeader(w.Header(), next)
	text := []byte(head)
	for i := range shown {
		text = staysTable.append(text, csvRecord(&shown[i], sites[shown[i].Site].Location))
	}
	_, _ = w.Write(text)
}

// head returns the first line of the file.
func (t table) head(bom bool) string {
	head := strings.Join(t.columns, ",") + "\r\n"
	if bom {
		return byteOrderMark + head
	}
	return head
}

func (t table) setHeader(h http.Header, next string) {
	if next != "" {
		h.Set("X-Next-Cursor", next)
	}
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+t.file+`"`)
}

// download streams a list as CSV after a head. It sends the header, with the cursor of
// what follows, with the first bytes. An error before that sets the status of the
// response.
func (h handler) download(w http.ResponseWriter, r *http.Request, t table, head, next string, export func(context.Context, func(records [][]string) error) error) {
	text, sent := []byte(head), false
	send := func() error {
		if !sent {
			t.setHeader(w.Header(), next)
			sent = true
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		text = text[:0]
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
	if r.Method == http.MethodHead {
		t.setHeader(w.Header(), next)
		return
	}
	err := export(r.Context(), func(records [][]string) error {
		for _, record := range records {
			text = t.append(text, record)
		}
		return send()
	})
	switch {
	case err == nil && !sent: // the list is empty
		_ = send()
	case err != nil && !sent:
		h.fail(w, r, err)
	case err != nil:
		h.Log.InfoContext(r.Context(), "a download broke off", "error", err)
		// A proxy may end the response as if it were complete. This line has fewer
		// fields than the others.
		text = append(text[:0], brokenOff...)
		_ = send()
		panic(http.ErrAbortHandler)
	}
}

// brokenOff is the last line of an incomplete download.
const brokenOff = "\"INCOMPLETE: the download broke off here\"\r\n"

// The numeric columns.
const (
	secondsColumn  = 7
	revisionColumn = 10
)

// append appends a line. Texts are always quoted: a spreadsheet then does not take
// them for numbers and keeps separators inside of them.
func (t table) append(line []byte, record []string) []byte {
	for i, field := range record {
		if i > 0 {
			line = append(line, ',')
		}
		if slices.Contains(t.numbers, i) {
			line = append(line, field...)
			continue
		}
		line = append(line, '"')
		line = append(line, strings.ReplaceAll(field, `"`, `""`)...)
		line = append(line, '"')
	}
	return append(line, '\r', '\n')
}

// csvRecord returns the fields of a stay at a site of a time zone.
func csvRecord(k *shownStay, zone *time.Location) []string {
	entry, localEntry, seconds, duration, disputed := "", "", "", "", ""
	if d, ok := k.Duration(); ok {
		entry, localEntry = csvTime(k.EntryTime), localTime(k.EntryTime, zone)
		seconds, duration = strconv.FormatInt(int64(d/time.Second), 10), parking.ISODuration(d)
		disputed = strconv.FormatBool(k.Disputed)
	}
	return []string{
		inert(k.ID), inert(k.Site), inert(k.Plate), inert(k.EntryID), entry, inert(k.ID), csvTime(k.ExitTime),
		seconds, duration, string(k.Status()), strconv.FormatInt(k.Revision, 10), csvTime(k.UpdatedAt),
		localEntry, localTime(k.ExitTime, zone), string(k.Method()), disputed, string(k.billing),
	}
}

func csvTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// localTime returns a time by the clocks of a zone, with its offset.
func localTime(t time.Time, zone *time.Location) string { return t.In(zone).Format(time.RFC3339Nano) }
