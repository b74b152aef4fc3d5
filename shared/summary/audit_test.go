package summary

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/audit"
	"parkstream/shared/redis"
	"parkstream/shared/redis/redistest"
)

// recorded returns the entries of the audit, oldest first, without what differs from run
// to run.
func (g *guarded) recorded(t *testing.T) []audit.Entry {
	t.Helper()
	page, err := g.audit.List(t.Context(), audit.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(page.Entries)
	for i := range page.Entries {
		e := &page.Entries[i]
		changes := e.Action == audit.Correct || e.Action == audit.Erase
		if changes && (e.Of == "") != (e.Outcome == audit.Begun) {
			t.Errorf("entry %+v ends %q", e, e.Of)
		}
		e.ID, e.At, e.Of, e.Address = "", time.Time{}, "", ""
	}
	return page.Entries
}

func (g *guarded) search(who, body string) *httptest.ResponseRecorder {
	return g.as(who, "POST", "/search", body)
}

// What persons change, search for and download with whole plates is recorded, with who
// it was; what shows no more than others see is not. The log has no whole plate.
func TestActsAreInTheAudit(t *testing.T) {
	const masked = "*******234"
	by := func(who, role string, a audit.Action, site, object, plate, before, after string, o audit.Outcome) audit.Entry {
		return audit.Entry{Who: who, Role: role, Via: "token", Action: a, Site: site, Object: object, Plate: plate, Before: before, After: after, Outcome: o}
	}
	read := func(who, role string, a audit.Action, site, object, plate string) []audit.Entry {
		return []audit.Entry{by(who, role, a, site, object, plate, "", "", audit.Begun)}
	}
	change := func(who, role string, a audit.Action, site, object, plate, before, after string, o audit.Outcome) []audit.Entry {
		return []audit.Entry{by(who, role, a, site, object, plate, "", "", audit.Begun), by(who, role, a, site, object, plate, before, after, o)}
	}
	for name, tt := range map[string]struct {
		who, method, path, body string
		code                    int
		want                    []audit.Entry
	}{
		"a correction":               {operator, "POST", "/sites/north/occupancy", `{"counted":7,"reason":"ka 01 ab 1234 had left"}`, 201, change(operator, operator, audit.Correct, "north", "counted 7", "", "5", "7", audit.Done)},
		"a correction that is wrong": {operator, "POST", "/sites/north/occupancy", `{"counted":-7,"reason":"r"}`, 400, change(operator, operator, audit.Correct, "north", "counted -7", "", "", "", audit.Failed)},
		"a body that is none":        {operator, "POST", "/sites/north/occupancy", `{"reason":"r"}`, 400, nil},
		"a correction without right": {viewer, "POST", "/sites/north/occupancy", `{"counted":7,"reason":"r"}`, 403, nil},
		"an erasure everywhere":      {admin, "DELETE", "/plates?plate=ka+01+ab+1234", "", 200, change(admin, admin, audit.Erase, "", "", masked, "", "1 events, 9 stays, 0 pictures", audit.Done)},
		"an erasure at a site":       {admin, "DELETE", "/plates/KA01AB1234?site=north", "", 200, change(admin, admin, audit.Erase, "north", "", masked, "", "1 events, 9 stays, 0 pictures", audit.Done)},
		"an erasure of one's site":   {admin + atNorth, "DELETE", "/plates?plate=KA01AB1234", "", 200, change(admin+atNorth, admin, audit.Erase, "north", "", masked, "", "1 events, 9 stays, 0 pictures", audit.Done)},
		"an erasure that goes on":    {admin, "DELETE", "/plates?plate=KA01AB1234&after=north", "", 200, change(admin, admin, audit.Erase, "", "after north", masked, "", "0 events, 0 stays, 0 pictures", audit.Done)},
		"an erasure elsewhere":       {admin + atNorth, "DELETE", "/plates?plate=KA01AB1234&site=south", "", 403, nil},
		"a search":                   {plates, "GET", "/?plate=KA01AB1234&site=north&limit=10&status=completed", "", 200, read(plates, viewer, audit.Search, "north", "limit=10&status=completed", masked)},
		"a search in the body":       {operator, "POST", "/search", `{"plate":"ka-01-ab-1234"}`, 200, read(operator, operator, audit.Search, "", "", masked)},
		"a search of one's site":     {operator + atNorth, "POST", "/search", `{"plate":"ka-01-ab-1234"}`, 200, read(operator+atNorth, operator, audit.Search, "north", "", masked)},
		"a search elsewhere":         {operator + atNorth, "POST", "/search", `{"plate":"ka-01-ab-1234","site":"south"}`, 403, nil},
		"a search without right":     {viewer, "POST", "/search", `{"plate":"ka-01-ab-1234"}`, 403, nil},
		"a search that is wrong":     {operator, "POST", "/search", `{"plate":"ka-01-ab-1234","limit":0}`, 400, nil},
		"a list without a plate":     {operator, "GET", "/?site=north", "", 200, nil},
		"a download":                 {operator, "GET", "/?format=csv&site=north&from=2026-01-01T00:00:00Z", "", 200, read(operator, operator, audit.Download, "north", "from=2026-01-01T00%3A00%3A00Z", "")},
		"a page of a download":       {operator, "GET", "/?format=csv&limit=2", "", 200, read(operator, operator, audit.Download, "", "limit=2", "")},
		"a download in the body":     {plates, "POST", "/search", `{"format":"csv","plate":"KA01AB1234"}`, 200, read(plates, viewer, audit.Download, "", "", masked)},
		"a download of masked ones":  {viewer, "GET", "/?format=csv", "", 200, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.fill(t)
			if w := g.as(tt.who, tt.method, tt.path, tt.body); w.Code != tt.code {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tt.code)
			}
			if diff := cmp.Diff(tt.want, g.recorded(t), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if text := strings.ToUpper(g.log.String()); strings.Contains(text, "1AB1") || strings.Contains(text, "01 AB") {
				t.Errorf("the log has the plate: %s", text)
			}
		})
	}
}

// Requests without a login are those of open if access is open. A page that repeats its
// search has one entry.
func TestAnOpenSearchIsInTheAudit(t *testing.T) {
	g := newGuarded(t)
	for range 3 {
		if w := g.as(open, "GET", "/?plate=KA01AB1234", ""); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	want := []audit.Entry{{Who: "open", Role: "open", Via: "open", Action: audit.Search, Plate: "*******234", Outcome: audit.Begun}}
	if diff := cmp.Diff(want, g.recorded(t)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// What cannot be recorded is answered 503 and not done: nothing changes, and nothing is
// shown.
func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	client := g.client.Current()
	contents := func() map[string]any {
		held := redistest.Contents(t, client)
		for _, a := range audit.Actions() {
			delete(held, redis.Audit+string(a))
		}
		return held
	}
	for _, a := range audit.Actions() {
		if err := client.RPush(t.Context(), redis.Audit+string(a), "no stream").Err(); err != nil {
			t.Fatal(err)
		}
	}
	before := contents()
	requests := []struct{ who, method, path, body string }{
		{operator, "POST", "/sites/north/occupancy", `{"counted":7,"reason":"r"}`},
		{admin, "DELETE", "/plates?plate=" + northPlate, ""},
		{admin, "DELETE", "/plates/" + northPlate + "?site=north", ""},
		{operator, "GET", "/?plate=" + northPlate, ""},
		{operator, "POST", "/search", `{"plate":"` + northPlate + `"}`},
		{operator, "GET", "/?format=csv", ""},
		{operator, "GET", "/?format=csv&limit=1", ""},
		{plates, "POST", "/search", `{"format":"csv"}`},
	}
	for _, tt := range requests {
		w := g.as(tt.who, tt.method, tt.path, tt.body)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "not done") {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
		if text := w.Body.String(); strings.Contains(text, "1AB1") || strings.Contains(text, "WRONGTYPE") {
			t.Errorf("%s %s shows %s", tt.method, tt.path, text)
		}
	}
	if diff := cmp.Diff(before, contents()); diff != "" {
		t.Errorf("Redis has changed (-before +now):\n%s", diff)
	}
	if w := g.as(viewer, "GET", "/?site=north", ""); w.Code != http.StatusOK {
		t.Errorf("a list that is not recorded: %d %s", w.Code, w.Body)
	}
	for _, a := range audit.Actions() {
		client.Del(t.Context(), redis.Audit+string(a))
	}
	for _, tt := range requests {
		if w := g.as(tt.who, tt.method, tt.path, tt.body); w.Code >= 300 {
			t.Errorf("afterwards %s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

// An erased plate is in no key of Redis, also not in the audit of its searches and of
// its erasure.
func TestErasedIsNotInTheAudit(t *testing.T) {
	g := newGuarded(t)
	g.fill(t)
	g.search(operator, `{"plate":"`+northPlate+`"}`)
	g.as(operator, "POST", "/sites/north/occupancy", `{"counted":7,"reason":"counted"}`)
	g.as(operator, "GET", "/?format=csv&plate="+northPlate, "")
	g.as(admin, "GET", "/?plate=ka+01+ab+1234", "")
	if w := g.as(admin, "DELETE", "/plates?plate="+northPlate, ""); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for key, held := range redistest.Contents(t, g.client.Current()) {
		if strings.HasSuffix(key, "}:c") {
			continue // the reasons of corrections are people's own words
		}
		if text := strings.ToUpper(key + fmt.Sprint(held)); strings.Contains(text, "1AB1") || strings.Contains(text, "01 AB") {
			t.Errorf("%s has %s", key, text)
		}
	}
	if n := len(g.recorded(t)); n != 7 {
		t.Errorf("%d entries, want 7", n)
	}
}

// fillAudit records entries of both sites and of none.
func (g *guarded) fillAudit(t *testing.T) {
	t.Helper()
	for i := range 12 {
		e := audit.Entry{Who: []string{"anna", "otto"}[i%2], Role: admin, Via: "session", Address: "192.0.2.7", Action: audit.Actions()[i%3], Site: []string{"north", "south", ""}[i%3], Outcome: audit.Done}
		if i == 3 {
			e.Who, e.Object, e.Before = "=cmd|' /C calc'!A0", "+1\n\"quoted\", @SUM(1)\u202e", "-5"
		}
		if err := g.audit.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// Filters select, pages follow each other, and an administrator of a site sees the
// entries of it only.
func TestAuditList(t *testing.T) {
	g := newGuarded(t)
	g.fillAudit(t)
	whole := answeredAs[audit.Page](t, g, admin, "/audit").Entries
	if len(whole) != 12 {
		t.Fatalf("%d entries", len(whole))
	}
	sixth := whole[6].At.Format(time.RFC3339Nano)
	for query, wants := range map[string]func(audit.Entry) bool{
		"":         func(audit.Entry) bool { return true },
		"who=anna": func(e audit.Entry) bool { return e.Who == "anna" },
		"who=" + url.QueryEscape("=cmd|' /C calc'!A0"): func(e audit.Entry) bool { return strings.HasPrefix(e.Who, "=cmd") },
		"action=login":        func(e audit.Entry) bool { return e.Action == audit.Login },
		"site=north":          func(e audit.Entry) bool { return e.Site == "north" },
		"site=north&who=otto": func(e audit.Entry) bool { return e.Site == "north" && e.Who == "otto" },
		"from=" + sixth:       func(e audit.Entry) bool { return !e.At.Before(whole[6].At) },
		"to=" + sixth:         func(e audit.Entry) bool { return e.At.Before(whole[6].At) },
		"site=west":           func(audit.Entry) bool { return false },
	} {
		for _, who := range []string{admin, admin + atNorth} {
			var want []audit.Entry
			for _, e := range whole {
				if wants(e) && (who == admin || e.Site == "north") {
					want = append(want, e)
				}
			}
			if who != admin && query == "site=west" {
				if w := g.as(who, "GET", "/audit?"+query, ""); w.Code != http.StatusForbidden {
					t.Errorf("%s of %s: %d %s", query, who, w.Code, w.Body)
				}
				continue
			}
			var got []audit.Entry
			for cursor, pages := "", 0; pages < 20; pages++ {
				page := answeredAs[audit.Page](t, g, who, "/audit?limit=5&"+query+cursor)
				got = append(got, page.Entries...)
				if page.Next == "" {
					break
				}
				cursor = "&cursor=" + url.QueryEscape(page.Next)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", query, who, diff)
			}
		}
	}
}

// The CSV has what the list has, in columns; no text of it is a formula or a line. It is
// as long as other downloads, and its header tells where it goes on.
func TestAuditCSV(t *testing.T) {
	g := newGuarded(t)
	g.fillAudit(t)
	rows := func(who, query string) (records [][]string, w *httptest.ResponseRecorder) {
		t.Helper()
		w = g.as(who, "GET", "/audit?format=csv"+query, "")
		text := w.Body.String()
		if w.Code != http.StatusOK || w.Header().Get("Content-Disposition") != `attachment; filename="audit.csv"` || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %q %s", w.Code, w.Header(), text)
		}
		if !strings.Contains(query, "bom=0") {
			var found bool
			if text, found = strings.CutPrefix(text, byteOrderMark); !found {
				t.Errorf("no byte order mark: %.20q", text)
			}
		}
		records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || !slices.Equal(records[0], auditTable.columns) || strings.Count(text, "\r\n") != len(records) || strings.Contains(text, "\u202e") {
			t.Fatalf("error %v in\n%s", err, text)
		}
		return records[1:], w
	}
	list := answeredAs[audit.Page](t, g, admin, "/audit").Entries
	whole, _ := rows(admin, "&bom=0")
	if len(whole) != len(list) {
		t.Fatalf("%d rows, want %d", len(whole), len(list))
	}
	for i := range list {
		if diff := cmp.Diff(auditRecord(&list[i]), whole[i]); diff != "" {
			t.Errorf("row %d (-want +got):\n%s", i, diff)
		}
	}
	odd := whole[slices.IndexFunc(whole, func(r []string) bool { return strings.Contains(r[2], "cmd") })]
	for column, want := range map[int]string{2: "'=cmd|'' /C calc'!A0", 8: `'+1\u000a"quoted",' '@SUM(1)\u202e`, 10: "'-5"} {
		if odd[column] != want {
			t.Errorf("%s is %q, want %q", auditTable.columns[column], odd[column], want)
		}
	}
	if north, _ := rows(admin+atNorth, ""); len(north) != 4 || slices.ContainsFunc(north, func(r []string) bool { return r[7] != "north" }) {
		t.Errorf("of the site north: %q", north)
	}
	g.api().bounds.csvRows = 5
	var parts [][]string
	for cursor, pages := "", 0; pages < 10; pages++ {
		some, w := rows(admin, "&bom=0"+cursor)
		parts = append(parts, some...)
		next := w.Header().Get("X-Next-Cursor")
		if next == "" {
			break
		}
		cursor = "&cursor=" + url.QueryEscape(next)
	}
	if diff := cmp.Diff(whole, parts); diff != "" {
		t.Errorf("in parts (-want +got):\n%s", diff)
	}
	if page, w := rows(admin, "&limit=2"); len(page) != 2 || w.Header().Get("X-Next-Cursor") == "" {
		t.Errorf("a page: %q", page)
	}
	if w := g.as(admin, "HEAD", "/audit?format=csv", ""); w.Code != http.StatusOK || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %s", w.Code, w.Body)
	}
}

// The audit has no other method: no entry can be changed or removed.
func TestAuditIsAppendOnly(t *testing.T) {
	g := newGuarded(t)
	g.fillAudit(t)
	before := g.recorded(t)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{"/audit", "/audit/1-1.login"} {
			if w := g.as(admin, method, path, "{}"); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
	if diff := cmp.Diff(before, g.recorded(t)); diff != "" {
		t.Errorf("(-before +now):\n%s", diff)
	}
}
