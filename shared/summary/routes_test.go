package summary

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/stay"
)

// edge is a value of a parameter and whether a route accepts it.
type edge struct {
	value string
	taken bool
}

// garbage is refused by every parameter except a free text.
var garbage = []string{"\x00", "a\x00b", "\xff", "a\xc3", "%00", "%", "a%2Fb", "\u202e\n", " ", "\t", strings.Repeat("x", 5000), "☃️"}

// edgesOf returns the values at which a parameter could break. A kind without values
// fails the test.
func edgesOf(p parameter) []edge {
	var edges []edge
	add := func(taken bool, values ...string) {
		for _, v := range values {
			edges = append(edges, edge{v, taken})
		}
	}
	if p.kind != freeText && p.kind != stayID && p.kind != userName {
		add(false, garbage...)
	}
	switch p.kind {
	case freeText:
		add(true, append(slices.Clone(garbage), "x")...)
	case wholeNumber:
		add(true, fmt.Sprint(p.min), fmt.Sprint(p.min+1), fmt.Sprint(p.max-1), fmt.Sprint(p.max), "00"+fmt.Sprint(p.max))
		add(false, fmt.Sprint(p.min-1), fmt.Sprint(p.max+1), "-1", "-0", "+1", "1.0", "1.5", "1e2", "0x1", "1_0", "١", "NaN", "Infinity", "null", " 1", "1 ",
			fmt.Sprint(math.MaxInt64), fmt.Sprint(math.MinInt64), "9223372036854775808", "-9223372036854775809", fmt.Sprint(math.MaxInt32), fmt.Sprint(math.MinInt32),
			"4294967297", "18446744073709551617", strings.Repeat("9", 400))
	case oneOf:
		add(true, p.choices...)
		for _, c := range p.choices {
			add(slices.Contains(p.choices, strings.ToUpper(c)), strings.ToUpper(c))
			add(false, c+" ", c+"\x00", c+","+c)
		}
		add(false, "none", "*")
	case instant:
		add(true, instants...)
		add(false, "now", "0", "-1", "1795763908", "2026-11-23", "2026-11-23T08:15:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z",
			"2026-11-23T25:00:00Z", "-0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-11-23T08:15:00Zx")
	case siteName:
		add(true, "a", "A-b_c.9", strings.Repeat("s", parking.MaxSiteBytes), ".", "..")
		add(false, strings.Repeat("s", parking.MaxSiteBytes+1), "a b", "a/b", "a}b", "a{b", "ä", "a*", "a?b", "a\nb")
	case stayID:
		add(true, oddIDs...)
		add(true, strings.Repeat("i", parking.MaxIDBytes))
		add(false, strings.Repeat("i", parking.MaxIDBytes+1), "\x00", "a\x00b", "\xff", "a\xc3", "a\nb", "\x7f", "\u202e")
	case plateText:
		add(true, "KA01AB1234", "ka-01 ab 1234", "Ä/ß 1", "京都 500", "A.B", "../A", "A;B", "A?B#C", "A&B", "A+B", strings.Repeat("P", parking.MaxPlateRunes))
		add(false, "--", "/", "..", strings.Repeat("P", parking.MaxPlateRunes+1))
	case userName:
		add(true, "anna", "DOMAIN\\anna", "zoë@example.org", "\x00", "a\nb", "\xff", "\u202e", strings.Repeat("n", maxUserName))
		add(false, strings.Repeat("n", maxUserName+1))
	case entryID:
		add(true, "1795763908123-0.login", "0-0.post-event", "9223372036854775807-18446744073709551615.erase")
		add(false, "1795763908123-0", "1-1.none", "1-1.minute", "1.login", "-1-0.login", "01-0.login", "9223372036854775808-0.login", "1-0.login.login")
	case eventText:
		at := func(member string) string { return base64.RawURLEncoding.EncodeToString([]byte(member)) }
		instant := redis.Base32.Format(today)
		add(true, at(instant+"0e1"), at(instant+"1"+strings.Repeat("x", parking.MaxIDBytes)), at(instant+"0a/ä"))
		add(false, "MTY", "==", at(""), at(instant), at(instant+"0"), at(instant+"0\n"), at(instant+"0"+strings.Repeat("x", parking.MaxIDBytes+1)), at("!"+instant+"0e"))
	case reviewText:
		at := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
		add(true, "disputed.", "unmatched_exit.", "no_plate.", "unmatched_exit."+at(today.Format(time.RFC3339Nano)+" x1"), "no_plate."+at(redis.Base32.Format(today)+"0e1"))
		add(false, ".", "disputed", "completed.", "disputed.x", "unmatched_exit.x", "unmatched_exit."+at("2026 x1"), "unmatched_exit."+at(today.Format(time.RFC3339Nano)), "unmatched_exit."+at("0001-01-01T00:00:00Z x1"), "no_plate."+at("x"), "no_plate.==")
	case cursorText:
		at := func(position, prefix string) string {
			return base64.RawURLEncoding.EncodeToString([]byte(position + "\n" + prefix))
		}
		position := func(t time.Time, id string) string { return fmt.Sprintf("%016x%s", t.UnixNano(), id) }
		add(true, at(position(today, "x1"), "stay:{a}:"), at(position(lastInstant, "x"), "stay:{a}:"), at(position(firstInstant, "a/b"), "stay:{..}:"))
		add(false, "MTY", "==", "x", at("", ""), at(position(today, ""), "stay:{a}:"), at("0123456789abcdeg"+"x", "stay:{a}:"), at(position(today, "x"), "stay:{a}:s"),
			at(position(today, "x"), "stay:{a}b}:"), at(position(today, "x"), "stay:{}:"), at(position(today, "x"), "a"), at(position(today, "x\x00"), "stay:{a}:"),
			at(position(today, strings.Repeat("x", 129)), "stay:{a}:"))
	}
	return edges
}

var instants = []string{
	"0000-01-01T00:00:00Z", "0000-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00-12:00", "1677-09-21T00:12:43Z", "1969-12-31T23:59:59.999999999Z",
	"1970-01-01T00:00:00Z", "1970-01-01T00:00:00+14:00", "1970-01-05T00:00:00Z", "2026-11-23T08:15:00Z", "2026-11-23T08:15:00.123456789+05:30", "2261-12-31T23:59:59Z",
	"2262-01-01T00:00:00Z", "2262-04-11T23:47:17Z", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
}

// example returns a value of a parameter that every route accepts.
func example(t *testing.T, p parameter) string {
	t.Helper()
	for _, e := range edgesOf(p) {
		if e.taken {
			return e.value
		}
	}
	t.Fatalf("the kind of parameter %q has no edges: add them", p.name)
	return ""
}

// pathParams are the parameters in a path.
var pathParams = map[string]parameter{
	"site": siteParam, "id": idParam, "plate": plateParam, "file": {name: "file", kind: freeText},
	"day": {name: "day", kind: freeText}, "version": {name: "version", kind: siteName}, "name": {name: "name", kind: freeText},
}

// target returns a request of a route with its required values.
func target(t *testing.T, one *route, query url.Values) string {
	t.Helper()
	return pathWith(t, one, "", "") + "?" + query.Encode()
}

// pathWith returns the path of a route with a value of one of its parameters and examples
// of the others.
func pathWith(t *testing.T, one *route, name, value string) string {
	t.Helper()
	segments := strings.Split(one.path, "/")
	for i, segment := range segments {
		if !strings.HasPrefix(segment, "{") {
			continue
		}
		of := strings.Trim(segment, "{.}")
		p, known := pathParams[of]
		switch {
		case !known:
			t.Fatalf("the parameter %q in the path of %s has no edges: add them", of, one.path)
		case of == name:
			segments[i] = url.PathEscape(value)
		case of == "file":
			segments[i] = "page.js"
		default:
			segments[i] = url.PathEscape(example(t, p))
		}
	}
	return strings.Join(segments, "/")
}

// base returns the parameters that a route requires besides the tested one.
func base(t *testing.T, one *route, tried string) url.Values {
	t.Helper()
	values := make(url.Values)
	for _, p := range one.query {
		if p.required && p.name != tried {
			values.Set(p.name, example(t, p))
		}
		// The common bound of offset and limit has a test of its own. So has that of
		// from and to.
		if p.name == "limit" && tried == "offset" {
			values.Set("limit", "1")
		}
	}
	return values
}

var bodies = map[string]string{"/": "[]", "/search": "{}", "/login": `{"name":"a","password":"b"}`, "/sites/{site}/occupancy": `{"counted":1,"reason":"r"}`, "/sites/{site}": "{}", "/sites/{site}/decisions": `{"id":"d","decision":"plate","event_id":"e","plate":"P"}`, "/sites/{site}/models": `{"version":"default"}`, "/configuration": `{"sites":[]}`}

// bodyOf returns a body that a route accepts at a path.
func bodyOf(t *testing.T, one *route, target string) string {
	t.Helper()
	if one.method != "PUT" || one.path != "/sites/{site}/models/{version}" {
		return bodies[one.path]
	}
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	m := parking.DefaultModel() // of the version in the path
	m.Version = u.Path[strings.LastIndex(u.Path, "/")+1:]
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every route accepts valid values and refuses unknown ones, at every edge of every
// parameter. No response is a panic, a failure of the server, or one that ignores a
// parameter.
func TestEveryParameterOfEveryRoute(t *testing.T) {
	e := newEndpoint(t)
	e.stays.Now = func() time.Time { return today }
	put(t, e.stays, unmatched("b", "a", "KA01AB1234", today))
	for i := range e.api().routes {
		one := &e.api().routes[i]
		if one.path == "/system" {
			continue // it calls other parts; its query is tested below
		}
		ask := func(values url.Values) (int, string) {
			path := target(t, one, values)
			w := e.authorized(one.method, path, bodyOf(t, one, path))
			checkAnswer(t, one.method+" "+path, w.Code, w.Header(), w.Body.Bytes())
			return w.Code, one.method + " " + path + ": " + strconv.Itoa(w.Code) + " " + fmt.Sprintf("%.300s", w.Body)
		}
		if code, said := ask(base(t, one, "")); code == http.StatusBadRequest || code >= 500 {
			t.Errorf("%s without more than it needs", said)
		}
		for _, p := range one.query {
			set := func(given ...string) url.Values {
				values := base(t, one, p.name)
				values[p.name] = given
				return values
			}
			if code, said := ask(base(t, one, p.name)); (code == http.StatusBadRequest) != p.required {
				t.Errorf("%s without the parameter %s", said, p.name)
			}
			if code, said := ask(set("")); code != http.StatusBadRequest {
				t.Errorf("%s with an empty parameter", said)
			}
			if v := example(t, p); true {
				if code, said := ask(set(v, v)); code != http.StatusBadRequest {
					t.Errorf("%s with a parameter twice", said)
				}
			}
			for _, edge := range edgesOf(p) {
				code, said := ask(set(edge.value))
				if edge.taken && code == http.StatusBadRequest && p.kind != instant || !edge.taken && code != http.StatusBadRequest {
					t.Errorf("%s, %s of %.60q", said, p.name, edge.value)
				}
			}
		}
		for _, unknown := range []string{"palte", "Site", "sit", " site", "site ", "site\x00", "site[]", "", "\xff", strings.Repeat("n", 5000)} {
			values := base(t, one, "")
			values.Set(unknown, "a")
			if code, said := ask(values); (code == http.StatusBadRequest) == one.anyQuery {
				t.Errorf("%s with an unknown parameter", said)
			}
		}
		for _, raw := range []string{"%zz", "a;b", "site=%", "site=a;b", "%", ";"} {
			path := target(t, one, nil)
			if w := e.authorized(one.method, path+raw, bodyOf(t, one, path)); w.Code != http.StatusBadRequest {
				t.Errorf("%s %s%s: %d %s", one.method, path, raw, w.Code, w.Body)
			}
		}
		triedInPath(t, e, one)
	}
	for _, query := range []string{"?x=1", "?site=a", "?%zz", "?="} {
		if w := e.call("GET", "/system"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("/system%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// triedInPath tests the edges of the parameters in a route's path.
func triedInPath(t *testing.T, e *endpoint, one *route) {
	t.Helper()
	for segment := range strings.SplitSeq(one.path, "/") {
		if !strings.HasPrefix(segment, "{") {
			continue
		}
		name := strings.Trim(segment, "{.}")
		for _, edge := range edgesOf(pathParams[name]) {
			path := pathWith(t, one, name, edge.value) + "?" + base(t, one, "").Encode()
			w := e.authorized(one.method, path, bodyOf(t, one, path))
			checkAnswer(t, one.method+" "+path, w.Code, w.Header(), w.Body.Bytes())
			refused := w.Code == http.StatusBadRequest
			mayRefuse := one.method == "DELETE" && certainPlate(edge.value) != nil || name == "file"
			if edge.taken && refused && !mayRefuse || !edge.taken && !refused {
				t.Errorf("%s %s: %d %.300s", one.method, path, w.Code, w.Body)
			}
		}
	}
}

// checkAnswer requires no failure of the server, JSON for every error, and responses
// that must not be cached.
func checkAnswer(t *testing.T, what string, code int, h http.Header, body []byte) {
	t.Helper()
	asset := strings.HasPrefix(what, "GET /page/") && code == http.StatusOK
	if code >= 500 || code >= 300 && code < 400 {
		t.Errorf("%s: %d %.300s", what, code, body)
	}
	if code >= 400 {
		var problem struct{ Error string }
		if err := json.Unmarshal(body, &problem); err != nil || problem.Error == "" || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s %.300s, want JSON with an error", what, code, h.Get("Content-Type"), body)
		}
	}
	if !asset && h.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d Cache-Control is %q", what, code, h.Get("Cache-Control"))
	}
}

// A pair of bounds is accepted if the second is not before the first. It selects what
// lies between them.
func TestEverySpan(t *testing.T) {
	e := newEndpoint(t)
	e.stays.Now = func() time.Time { return today }
	put(t, e.stays, unmatched("x1", "a", "P1", today), unmatched("x2", "a", "P2", today.Add(-day)))
	e.observe(t, today.Add(-day), "e a P1 0")
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, from := range append(slices.Clone(instants), "") {
		for _, to := range append(slices.Clone(instants), today.Format(time.RFC3339), "") {
			values := make(url.Values)
			want := 0
			for _, exit := range []time.Time{today, today.Add(-day)} {
				if (from == "" || !exit.Before(at(from))) && (to == "" || exit.Before(at(to))) {
					want++
				}
			}
			if from != "" {
				values.Set("from", from)
			}
			if to != "" {
				values.Set("to", to)
			}
			wrong := from != "" && to != "" && at(to).Before(at(from))
			for _, path := range []string{"/?", "/stats?", "/minutes?"} {
				w := e.call("GET", path+values.Encode(), "")
				checkAnswer(t, "GET "+path+values.Encode(), w.Code, w.Header(), w.Body.Bytes())
				if wrong && w.Code != http.StatusBadRequest || !wrong && w.Code != http.StatusOK && path == "/?" {
					t.Errorf("%s%s: %d %s", path, values.Encode(), w.Code, w.Body)
				}
			}
			if wrong {
				continue
			}
			if got := answered[stay.Page](t, e, "/?"+values.Encode()); len(got.Stays) != want {
				t.Errorf("from %q to %q: %d stays, want %d", from, to, len(got.Stays), want)
			}
		}
	}
	for query, want := range map[string]int{
		"from=1969-12-31T23:00:00Z&to=1970-01-01T00:10:00Z": 10, "from=1969-12-31T23:00:00Z&to=1969-12-31T23:30:00Z": 0, "to=1970-01-01T00:00:00Z": 60,
		"from=1970-01-01T00:00:00Z&to=1970-01-01T00:00:00Z": 0, "from=1970-01-01T00:00:00Z&to=1970-01-08T00:00:00Z&step=10080": 2,
		"to=1677-01-01T00:00:00Z": 60, "from=9999-01-01T00:00:00Z&to=9999-12-31T00:00:00Z": 0, "from=2261-12-31T23:00:00Z&to=9999-12-31T00:00:00Z": 60,
	} {
		if got := answered[minutesResponse](t, e, "/minutes?"+query); len(got.Minutes) != want {
			t.Errorf("/minutes?%s: %d minutes, want %d", query, len(got.Minutes), want)
		}
	}
}

// Offset and limit have a common bound if a query covers all sites.
func TestOffsetAndLimit(t *testing.T) {
	e := newEndpoint(t)
	for query, want := range map[string]int{
		"offset=0&limit=1000": 200, "offset=999&limit=1": 200, "offset=900": 200, "offset=901": 400, "offset=999&limit=2": 400, "offset=1000&limit=1": 400,
		"offset=9223372036854775807": 400, "offset=9223372036854775807&limit=1": 400, "offset=9223372036854775806&limit=1000": 400, "offset=-9223372036854775808": 400,
	} {
		if w := e.call("GET", "/inside?"+query, ""); w.Code != want {
			t.Errorf("/inside?%s: %d %s, want %d", query, w.Code, w.Body, want)
		}
	}
}

// Every path responds to other methods with the allowed ones. No path is redirected to
// another.
func TestMethodsAndPaths(t *testing.T) {
	e := newEndpoint(t)
	routes := e.api().routes
	for i := range routes {
		path := target(t, &routes[i], nil)
		var methods []string
		for _, other := range routes {
			if other.path == routes[i].path {
				methods = append(methods, other.method)
			}
		}
		if slices.Contains(methods, "GET") {
			methods = append(methods, "HEAD")
		}
		slices.Sort(methods)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
			if slices.Contains(methods, method) {
				continue
			}
			w := e.authorized(method, path, "[]")
			checkAnswer(t, method+" "+path, w.Code, w.Header(), w.Body.Bytes())
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != strings.Join(methods, ", ") {
				t.Errorf("%s %s: %d, Allow %q; want 405, %q", method, path, w.Code, w.Header().Get("Allow"), methods)
			}
		}
	}
	for _, path := range []string{
		"/nothing", "//", "/.", "/..", "/%2e", "/./", "//stats", "/stats/", "/./stats", "/x/../stats", "/stats/.", "/stats%2F", "/%2Fstats", "/stats%00", "/Stats", "/sites/", "/sites//inside",
		"/sites/a/", "/sites/a/b", "/sites/a/inside/", "/stays/", "/plates/", "/page/", "/page", "/page/none", "/page/../stats", "/page/%2e%2e/stats", "/*", "/stats;x", "/\xff",
	} {
		w := e.call("GET", path, "")
		checkAnswer(t, "GET "+path, w.Code, w.Header(), w.Body.Bytes())
		if w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d %s %s", path, w.Code, w.Header(), w.Body)
		}
	}
	for _, path := range []string{"/st%61ts", "/%73ites"} { // the same path, RFC 3986, section 6.2.2.2
		if w := e.call("GET", path, ""); w.Code != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
	}
}
