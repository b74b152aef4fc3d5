package summary

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

// bounds returns the bounds of the endpoint, which a test may change.
func (e *endpoint) bounds() *bounds { return e.api().bounds }

// A request that changes something needs the token before its body is read. Every route
// has a bound for its body.
func TestAdmission(t *testing.T) {
	e := newEndpoint(t)
	for _, tt := range []struct {
		method, path string
		maxBody      int64
		secret       bool
	}{
		{"POST", "/", math.MaxInt64, true},
		{"POST", "/sites/a/occupancy", 64 << 10, true},
		{"DELETE", "/plates/P1", 0, true},
		{"GET", "/", 0, false},
		{"HEAD", "/stats", 0, false},
		{"GET", "/nothing/here", 0, false},
		{"POST", "/nothing/here", 0, false},
		{"PUT", "/", 0, false},
		{"POST", "/stats", 0, false},
	} {
		for _, header := range []string{"", "Bearer wrong", "Bearer " + token} {
			r := httptest.NewRequest(tt.method, tt.path, http.NoBody)
			if header != "" {
				r.Header.Set("Authorization", header)
			}
			w := httptest.NewRecorder()
			_, maxBody, admitted := e.api().Admit(w, r)
			if header == "Bearer wrong" || tt.secret && header == "" {
				if admitted || w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "error") {
					t.Errorf("%s %s with %q: admitted %t, %d %s", tt.method, tt.path, header, admitted, w.Code, w.Body)
				}
				continue
			}
			if !admitted || maxBody != tt.maxBody {
				t.Errorf("%s %s with %q: admitted %t with %d bytes, want %d", tt.method, tt.path, header, admitted, maxBody, tt.maxBody)
			}
		}
	}
}

// Excess stays are not parsed.
func TestTooManyStays(t *testing.T) {
	one := strings.Trim(stayJSON(t, unmatched("x", "a", "P", today)), "[]")
	many := "[" + strings.Repeat(one+",", maxPosted)
	if stays, err := parseStays([]byte(strings.TrimSuffix(many, ",") + "]")); err != nil || len(stays) != maxPosted {
		t.Errorf("%d stays: %d, %v", maxPosted, len(stays), err)
	}
	for _, body := range []string{many + one + "]", many + "not even JSON"} {
		if _, err := parseStays([]byte(body)); err != errTooMany { //nolint:errorlint // it is never wrapped
			t.Errorf("%v", err)
		}
	}
}

// commands counts the commands of a client, and the largest pipeline.
type commands struct{ all, most atomic.Int64 }

func (c *commands) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.all.Add(1)
		return next(ctx, cmd)
	}
}

func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		n := int64(len(cmds))
		c.all.Add(n)
		for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); {
			most = c.most.Load()
		}
		return next(ctx, cmds)
	}
}

// With thousands of sites every query is as correct as with few. It sends a bounded
// number of commands, few of them at a time.
func TestThousandsOfSites(t *testing.T) {
	const sites, busy = 1000, 150
	e := newEndpoint(t)
	e.events.MaxSites = 2 * sites
	e.stays.Now = func() time.Time { return today.Add(time.Hour) }
	var stays []parking.Stay
	for i := range sites {
		stays = append(stays, unmatched(fmt.Sprint("x", i), fmt.Sprintf("s%04d", i), "P", today.Add(-time.Duration(i%7)*time.Minute)))
	}
	for i := range busy { // busy sites are spread among the others, with equal times at two sites
		stays = append(stays, unmatched(fmt.Sprint("b", i), "busy", "P", today.Add(-time.Duration(i)*2*time.Second)),
			completed(fmt.Sprint("b", i), "busy2", "P", today.Add(-time.Duration(i)*2*time.Second), 60))
	}
	put(t, e.stays, stays...)
	for some := range slices.Chunk(stays, 250) {
		events := make([]parking.Event, len(some))
		for i, s := range some {
			events[i] = parking.Event{ID: "e" + s.ID, Kind: parking.Entry, Site: s.Site, RawPlate: s.ID, Plate: strings.ToUpper(s.ID), Time: s.ExitTime}
		}
		for _, r := range e.events.Record(t.Context(), events) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	slices.SortFunc(stays, func(a, b parking.Stay) int {
		if c := b.ExitTime.Compare(a.ExitTime); c != 0 {
			return c
		}
		if c := strings.Compare(b.ID, a.ID); c != 0 {
			return c
		}
		return strings.Compare(a.Site+"}", b.Site+"}") // as their keys
	})
	var want, unmatchedOnly, completedOnly []string
	for _, s := range stays {
		name := s.Site + "/" + s.ID
		want = append(want, name)
		if s.Status() == parking.Completed {
			completedOnly = append(completedOnly, name)
		} else {
			unmatchedOnly = append(unmatchedOnly, name)
		}
	}
	for name, tt := range map[string]struct {
		q    stay.Query
		want []string
	}{
		"all":               {stay.Query{Limit: 1000}, want},
		"in small pages":    {stay.Query{Limit: 250}, want},
		"by plate":          {stay.Query{Limit: 1000, Plate: "P"}, want},
		"by status":         {stay.Query{Limit: 1000, Status: parking.UnmatchedExit}, unmatchedOnly},
		"by plate & status": {stay.Query{Limit: 100, Plate: "P", Status: parking.Completed}, completedOnly},
	} {
		if diff := cmp.Diff(tt.want, list(t, e.stays, tt.q)); diff != "" {
			t.Errorf("%s (-want +got):\n%.1000s", name, diff)
		}
		tt.q.Sites = names(t, e)
		// A download and the list after its cursor are complete together.
		cursor, err := e.stays.CursorAfter(t.Context(), tt.q, 601)
		if err != nil {
			t.Fatal(err)
		}
		var exported []string
		head, rest := tt.q, tt.q
		head.Last, rest.Cursor = cursor, cursor
		parts := []stay.Query{head, rest}
		if cursor == "" {
			parts = parts[:1]
		}
		for _, q := range parts {
			if err := e.stays.Export(t.Context(), q, func(part []stay.StoredStay) error {
				for _, k := range part {
					exported = append(exported, k.Site+"/"+k.ID)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(tt.want, exported); diff != "" {
			t.Errorf("export %s (-want +got):\n%.1000s", name, diff)
		}
	}

	e.call("GET", "/inside?limit=1", "") // Redis knows the script from then on
	counted := new(commands)
	e.client.Current().AddHook(counted)
	week := "from=" + url.QueryEscape(today.AddDate(0, 0, -6).Format(time.RFC3339))
	for path, tt := range map[string]struct {
		code     int
		commands int64
	}{
		"/?limit=1":                               {200, sites + 100},
		"/?limit=1000":                            {200, 3 * sites},
		"/?plate=P&status=completed&limit=1":      {200, sites + 600},
		"/?plate=P&status=unmatched_exit&limit=1": {200, sites + 600},
		"/?plate=NONE&status=completed":           {200, sites + 100},
		"/?format=csv&limit=1":                    {200, sites + 100},
		"/?format=csv":                            {200, 7 * sites},
		"/stays/b7":                               {409, sites + 100},
		"/stays/nowhere":                          {404, sites + 100},
		"/stats?" + week:                          {200, 8 * sites},
		"/stats?from=2017-01-01T00:00:00Z":        {400, 10},
		"/minutes?" + week:                        {200, 9 * sites},
		"/minutes":                                {200, 3 * sites},
		"/overview":                               {200, 4*sites + 100}, // inside, left by a decision, totals, today
		"/inside?limit=1000":                      {200, sites + 100},
		"/inside":                                 {200, sites + 100},
		"/sites":                                  {200, 10},
	} {
		counted.all.Store(0)
		counted.most.Store(0)
		w := e.call("GET", path, "")
		if w.Code != tt.code || counted.all.Load() > tt.commands || counted.most.Load() > 1000 {
			t.Errorf("GET %s: %d %.200s; %d commands, %d of them together; want %d and at most %d commands, 1000 together",
				path, w.Code, w.Body, counted.all.Load(), counted.most.Load(), tt.code, tt.commands)
		}
		if tt.code == 400 && !strings.Contains(w.Body.String(), "ask for one site, or for less time") {
			t.Errorf("GET %s: %s", path, w.Body)
		}
	}
	var stats stay.Stats
	if err := json.Unmarshal(e.call("GET", "/stats?"+week, "").Body.Bytes(), &stats); err != nil || stats.Completed != busy || stats.UnmatchedExits != sites+busy {
		t.Errorf("sums of all sites: %+v, %v", stats.Counts, err)
	}
	inside, err := e.events.InsideSites(t.Context(), names(t, e), 600)
	if err != nil || len(inside) != 600 || !slices.IsSortedFunc(inside, func(a, b timeline.InsideSite) int { return a.Since.Compare(b.Since) }) {
		t.Errorf("%d vehicles inside, %v", len(inside), err)
	}
	all, err := e.events.InsideSites(t.Context(), names(t, e), 100_000)
	if err != nil || len(all) != len(stays) {
		t.Errorf("%d vehicles inside, want %d: %v", len(all), len(stays), err)
	}
	for i := range inside {
		if !inside[i].Since.Equal(all[i].Since) {
			t.Fatalf("the vehicle %d is inside since %s, want %s", i, inside[i].Since, all[i].Since)
		}
	}
	if w := e.authorized("DELETE", "/plates/P", ""); w.Code != 200 || !strings.Contains(w.Body.String(), fmt.Sprintf(`"stays":%d`, len(stays))) {
		t.Errorf("erasure at all sites: %d %s", w.Code, w.Body)
	}
}

func names(t *testing.T, e *endpoint) []string {
	t.Helper()
	sites, err := e.events.Sites(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sites
}

// register registers the sites from s0 up to, but not including, n.
func register(t *testing.T, e *endpoint, n int) {
	t.Helper()
	for _, key := range []string{"stay:registry", "park:registry"} {
		members := make([]redis.Z, n)
		for i := range members {
			members[i] = redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: fmt.Sprint("s", i)}
		}
		if err := e.client.Current().ZAdd(t.Context(), key, members...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// A query over too many sites is refused with a suggestion.
func TestTooManySites(t *testing.T) {
	e := newEndpoint(t)
	register(t, e, stay.MaxSites+1)
	for _, path := range []string{"/", "/?plate=P", "/?format=csv", "/?format=csv&limit=1", "/stays/x", "/stats", "/minutes", "/overview", "/inside", "/sites"} {
		if w := e.call("GET", path, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "ask for one site") {
			t.Errorf("GET %s: %d %.200s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{"/?site=a", "/?format=csv&site=a", "/stats?site=a", "/minutes?site=a", "/sites/a", "/sites/a/inside"} {
		if w := e.call("GET", path, ""); w.Code != 200 {
			t.Errorf("GET %s: %d %.200s", path, w.Code, w.Body)
		}
	}
}

// With the maximum number of sites all requests of the page succeed. A query without a
// span covers as much as the bound allows and returns its span.
func TestMostSites(t *testing.T) {
	e := newEndpoint(t)
	e.stays.Now = func() time.Time { return today.Add(time.Hour) }
	put(t, e.stays, unmatched("new", "s0", "P", today), unmatched("edge", "s0", "P", today.AddDate(0, 0, -19)), unmatched("old", "s0", "P", today.AddDate(0, 0, -20)))
	register(t, e, stay.MaxSites)
	ago := func(days int) string { return url.QueryEscape(today.AddDate(0, 0, -days).Format(time.RFC3339)) }
	for path, want := range map[string]string{
		"/stats":                      fmt.Sprintf(`{"from":%q,"to":%q,"zone":"UTC","completed":0,"unmatched_exits":2,`, today.AddDate(0, 0, -19).Truncate(day).Format(time.RFC3339), today.AddDate(0, 0, 1).Truncate(day).Format(time.RFC3339)),
		"/stats?from=" + ago(6):       `"unmatched_exits":1,`,
		"/stats?to=" + ago(0):         `"unmatched_exits":2,`,
		"/minutes":                    `"step_seconds":60`,
		"/minutes?from=" + ago(0):     `"step_seconds":60`,
		"/overview":                   `"site":"s9999"`,
		"/inside?limit=100":           `"vehicles":[]`,
		"/sites":                      `"s9999"`,
		"/?limit=50":                  `"id":"old"`,
		"/?limit=50&plate=P":          `"id":"old"`,
		"/?limit=50&status=completed": `"stays":[]`,
		"/?format=csv":                `"old"`,
	} {
		if w := e.call("GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("GET %s: %d %.300s; want %s", path, w.Code, w.Body, want)
		}
	}
	if w := e.call("GET", "/stats?from="+ago(20), ""); w.Code != 400 || !strings.Contains(w.Body.String(), "at most 20 days") {
		t.Errorf("21 days: %d %.300s", w.Code, w.Body)
	}
	// The stays of one busy site among them are not downloaded in small batches.
	const busy = 1000
	stays := make([]parking.Stay, busy)
	for i := range stays {
		stays[i] = unmatched(fmt.Sprint("b", i), "s1", "P", today.Add(-time.Duration(i)*time.Second))
	}
	put(t, e.stays, stays...)
	e.call("GET", "/inside?limit=1", "") // Redis knows the script from then on
	counted := new(commands)
	e.client.Current().AddHook(counted)
	w := e.call("GET", "/?format=csv", "")
	if n, most := counted.all.Load(), int64(4*stay.MaxSites+100); w.Code != 200 || strings.Count(w.Body.String(), "\n") != busy+3+1 || n > most {
		t.Errorf("a download with a busy site: %d, %d lines, %d commands, want at most %d", w.Code, strings.Count(w.Body.String(), "\n"), n, most)
	}
}

// A query without a span succeeds even if stays are kept for longer than one query may
// cover.
func TestStatsOfLongRetention(t *testing.T) {
	e := newEndpointKeeping(t, 2*stay.MaxStatsDays*day)
	var stats stay.Stats
	w := e.call("GET", "/stats?site=a", "")
	if err := json.Unmarshal(w.Body.Bytes(), &stats); err != nil || w.Code != 200 || stats.To.Sub(stats.From) != stay.MaxStatsDays*day {
		t.Errorf("%d %.300s", w.Code, w.Body)
	}
}

// A slow query is aborted, and the response suggests a smaller one.
func TestSlowQueries(t *testing.T) {
	e := newEndpoint(t)
	e.record(t, "a", "P1+")
	e.record(t, "b", "P1+")
	e.bounds().timeout = time.Nanosecond
	for _, path := range []string{"/", "/?format=csv&limit=1", "/stays/x", "/stats", "/minutes", "/overview", "/inside", "/sites", "/?site=a", "/stats?site=a", "/sites/a", "/sites/a/inside", "/sites/a/occupancy"} {
		if w := e.call("GET", path, ""); w.Code != 503 || !strings.Contains(w.Body.String(), "ask for one site, or for less time") || w.Header().Get("Retry-After") == "" {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := e.authorized("DELETE", "/plates/P1", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "ask again\"") || w.Header().Get("Retry-After") == "" {
		t.Errorf("erasure: %d %s", w.Code, w.Body)
	}
	e.bounds().timeout = time.Minute
	if text := goOn("b"); !strings.Contains(text, "after=b") {
		t.Error(text)
	}
	if w := e.authorized("DELETE", "/plates/P1?after=a&site=b", ""); w.Code != 400 {
		t.Errorf("erasure at a site after another: %d %s", w.Code, w.Body)
	}
	// The next request continues after a site.
	if w := e.authorized("DELETE", "/plates/P1?after=a", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"stays":1`) {
		t.Errorf("erasure after a: %d %s", w.Code, w.Body)
	}
	if got := strings.Join(list(t, e.stays, stay.Query{Limit: 10}), " "); got != "a/xP1" {
		t.Errorf("left: %s", got)
	}
	// Waiting queries are aborted, too. Queries of one site do not wait.
	for range queriesTogether {
		e.bounds().queries.turns <- struct{}{}
	}
	e.bounds().timeout = 10 * time.Millisecond
	if w := e.call("GET", "/stats", ""); w.Code != 503 {
		t.Errorf("without a turn: %d %s", w.Code, w.Body)
	}
	e.bounds().timeout = time.Minute
	if w := e.call("GET", "/stats?site=a", ""); w.Code != 200 {
		t.Errorf("one site: %d %s", w.Code, w.Body)
	}
}

// plain restores a text of a download, as docs/summary-api.md describes.
func plain(text string) string {
	var b strings.Builder
	begin := true
	for _, r := range text {
		if begin && r == '\'' {
			begin = false
			continue
		}
		b.WriteRune(r)
		begin = separates(r)
	}
	return b.String()
}

// No text is a formula in any cell that a spreadsheet makes of it, and every text can
// be restored.
func TestTextsAreInertAndCanBeRead(t *testing.T) {
	check := func(t rapid.TB, text string) {
		shown := inert(text)
		if got := plain(shown); got != text {
			t.Fatalf("%q is shown as %q and read as %q", text, shown, got)
		}
		for _, cell := range strings.FieldsFunc(shown, func(r rune) bool { return strings.ContainsRune(",;|\t\r\n :\"", r) }) {
			if strings.ContainsAny(cell[:1], "=+-@") || strings.ContainsAny(string([]rune(cell)[:1]), "＝＋－＠") {
				t.Fatalf("%q is shown as %q, with the cell %q", text, shown, cell)
			}
		}
		if first := strings.TrimLeftFunc(shown, unicode.IsSpace); first != "" && strings.ContainsAny(string([]rune(first)[:1]), "=+-@＝＋－＠") {
			t.Fatalf("%q is shown as %q", text, shown)
		}
	}
	for text, want := range map[string]string{
		"=1+1": "'=1+1", "＝1+1": "'＝1+1", "'=1+1": "''=1+1", "x;=1+1": "x;'=1+1", "+1": "'+1", "-A1": "'-A1", "@SUM(A1)": "'@SUM(A1)",
		"'": "''", "x|＠a": "x|'＠a", "−1": "'−1", "﹣1": "'﹣1", " =1": "' '=1", `"=1`: `'"'=1`, `x"=1`: `x"'=1`, "x\t-1": "x\t'-1",
		"\u00a0=1": "'\u00a0'=1", "\u200b=1": "'\u200b'=1", "\u3000＝1": "'\u3000'＝1",
		// Harmless texts stay unchanged.
		"a=1": "a=1", "12E5": "12E5", "00123": "00123", "1-2": "1-2", "O'Hara": "O'Hara", "a@b": "a@b", "": "", "ÖÄ 1": "ÖÄ 1",
	} {
		if got := inert(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
		check(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.StringOf(rapid.SampledFrom([]rune("a1=+-@＝'\"',;|: \t\u00a0\u200bé−"))).Draw(t, "text"))
	})
}

// Every text column is quoted and inert. A text that looks like a number is read back
// unchanged.
func TestCSVTexts(t *testing.T) {
	e := newEndpoint(t)
	ids := []string{"12E5", "00123", "1-2", `say "hi"`, "a,b;=1", "'=1", "=1"}
	var stays []parking.Stay
	for i, id := range ids {
		s := completed(id, "=site", "1E5", today.Add(-time.Duration(i)*time.Minute), 60)
		s.EntryID = id
		stays = append(stays, s)
	}
	put(t, e.stays, stays...)
	text := e.call("GET", "/?format=csv", "").Body.String()
	first, _, _ := strings.Cut(text, "\r\n")
	if first != "\ufeff"+strings.Join(csvColumns, ",") {
		t.Errorf("it begins with %q", first)
	}
	if w := e.call("GET", "/?format=csv&bom=0", "").Body.String(); "\ufeff"+w != text {
		t.Errorf("without the mark: %q", w)
	}
	if w := e.call("GET", "/?format=csv&bom=yes", ""); w.Code != 400 {
		t.Errorf("bom=yes: %d", w.Code)
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) != len(ids)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		if got := []string{plain(row[0]), plain(row[1]), plain(row[2]), plain(row[3]), plain(row[5])}; !slices.Equal(got, []string{ids[i], "=site", "1E5", ids[i], ids[i]}) {
			t.Errorf("row %d is read as %q", i, got)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\r\n") {
		for i, field := range strings.Split(line, `","`) {
			if line != first && i == 0 && !strings.HasPrefix(field, `"`) {
				t.Errorf("not quoted: %s", line)
			}
		}
	}
	if !strings.Contains(text, `,"1E5",`) || !strings.Contains(text, `,60,"PT1M","completed",1,`) {
		t.Error(text)
	}
}

// downloading is a caller that acts after the first part.
type downloading struct {
	*httptest.ResponseRecorder
	after   func()
	flushed int
}

func (d *downloading) FlushError() error {
	if d.flushed++; d.flushed == 1 {
		d.after()
	}
	return nil
}

// A download comes in parts. An incomplete one is recognisable.
func TestDownload(t *testing.T) {
	e := newEndpoint(t)
	var stays []parking.Stay
	for i := range 1200 {
		stays = append(stays, unmatched(fmt.Sprintf("x%04d", i), "a", "P", today.Add(-time.Duration(i)*time.Second)))
	}
	put(t, e.stays, stays...)
	ids := func(body *bytes.Buffer) (ids []string) {
		t.Helper()
		rows, err := csv.NewReader(body).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows[1:] {
			ids = append(ids, row[0])
		}
		return ids
	}
	// Stays stored during the download do not change its cursor.
	e.bounds().csvRows = 700
	w := &downloading{ResponseRecorder: httptest.NewRecorder(), after: func() { put(t, e.stays, unmatched("new", "a", "P", today.Add(-600*time.Second))) }}
	e.ServeHTTP(w, httptest.NewRequest("GET", "/?format=csv&bom=0", http.NoBody))
	next := w.Header().Get("X-Next-Cursor")
	first := ids(w.Body)
	if w.flushed < 3 || next == "" || len(first) < 700 || first[0] != "x0000" || first[len(first)-1] != "x0699" {
		t.Errorf("%d parts, next %q, %d rows", w.flushed, next, len(first))
	}
	rest := e.call("GET", "/?format=csv&bom=0&cursor="+next, "")
	if got := ids(rest.Body); len(got) != 500 || got[0] != "x0700" || rest.Header().Get("X-Next-Cursor") != "" {
		t.Errorf("the rest: %d rows, next %q", len(got), rest.Header().Get("X-Next-Cursor"))
	}
	if w := e.call("HEAD", "/?format=csv", ""); w.Code != 200 || w.Header().Get("X-Next-Cursor") == "" || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	for range maxDownloads {
		e.bounds().downloads.turns <- struct{}{}
	}
	for range maxDownloadsOfAll - 1 { // those over all sites have a number of their own
		e.bounds().downloadsOfAll.turns <- struct{}{}
	}
	if w := e.call("GET", "/?format=csv", ""); w.Code != http.StatusOK {
		t.Errorf("the last download over all sites: %d %s", w.Code, w.Body)
	}
	e.bounds().downloadsOfAll.turns <- struct{}{}
	if w := e.call("GET", "/?format=csv", ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one download over all sites too many: %d %s", w.Code, w.Body)
	}
	if w := e.call("GET", "/?format=csv&site=a", ""); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("one download too many: %d %s", w.Code, w.Body)
	}
	for range maxDownloadsOfAll {
		<-e.bounds().downloadsOfAll.turns
	}
	for range maxDownloads {
		<-e.bounds().downloads.turns
	}

	broken := &downloading{ResponseRecorder: httptest.NewRecorder(), after: func() { _ = e.redis.Kill() }}
	func() {
		defer func() {
			if cause := recover(); cause != http.ErrAbortHandler { //nolint:errorlint // net/http compares it, too
				t.Errorf("a download that breaks off ends with %v", cause)
			}
		}()
		e.ServeHTTP(broken, httptest.NewRequest("GET", "/?format=csv&bom=0", http.NoBody))
	}()
	text := broken.Body.String()
	if _, err := csv.NewReader(strings.NewReader(text)).ReadAll(); err == nil || !strings.HasSuffix(text, brokenOff) {
		t.Errorf("it ends with %q and is read without an error", text[max(0, len(text)-100):])
	}
}
