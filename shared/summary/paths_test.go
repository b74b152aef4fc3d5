package summary

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/stay"
)

// oddIDs are ids of events that a URL has to encode, or that change if the path is
// cleaned.
var oddIDs = []string{
	"b", "cam1/7", "a/../b", "a/./b", "a//b", "/b", "b/", "//", "/", ".", "..", "../b", "./b", "b/..", "b/.", "b//..//b",
	"a%2Fb", "%2e%2e", "%25", "%", "%252F", "a;b", "a?b", "a#b", "a b", " b", "b ", "a+b", "a&site=x", `a\b`, `..\b`,
	"Ä/ß", "京都 500", "مرحبا/..", "stats", "page/page.js",
}

// Every id is found unchanged, by its path and by the query. It is never cleaned into
// another.
func TestOddIDs(t *testing.T) {
	e := newEndpoint(t)
	for i, id := range oddIDs {
		put(t, e.stays, unmatched(id, "a", "P"+string(rune('A'+i%26)), today))
	}
	for _, id := range oddIDs {
		for _, path := range []string{
			"/stays/" + url.PathEscape(id),
			"/stays?" + url.Values{"id": {id}}.Encode(),
			(&url.URL{Path: "/stays/" + id}).EscapedPath(), // as from a gateway that decodes and re-encodes a path
		} {
			w := e.call("GET", path, "")
			var got struct{ ID string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || got.ID != id {
				t.Errorf("GET %s: %d %s, want the stay %q", path, w.Code, w.Body, id)
			}
		}
	}
	for _, path := range []string{"/stays/x%2F..%2Fb", "/stays/x/../b", "/stays/x//b", "/stays/%2e/x", "/stays/b%2F.%2F", "/stays/%252e"} {
		if w := e.call("GET", path, ""); w.Code != http.StatusNotFound || w.Header().Get("Location") != "" {
			t.Errorf("GET %s: %d %s %s, want 404", path, w.Code, w.Header().Get("Location"), w.Body)
		}
	}
	for _, path := range []string{"/stays/%00", "/stays/a%0Ab", "/stays/%ff", "/stays/" + strings.Repeat("x", 129), "/stays?id=%00", "/stays?id=%ff"} {
		if w := e.call("GET", path, ""); w.Code != http.StatusBadRequest {
			t.Errorf("GET %s: %d %s, want 400", path, w.Code, w.Body)
		}
	}
}

// An erasure concerns the plate that the caller meant, or none.
func TestErasesNoOtherPlate(t *testing.T) {
	e := newEndpoint(t)
	e.record(t, "a", "VICTIM1+", "XVICTIM1+", "AB2FCD+", "ABCD+", "AB+", "CD+")
	const all = "a/xAB a/xAB2FCD a/xABCD a/xCD a/xVICTIM1 a/xXVICTIM1"
	left := func() string {
		found := list(t, e.stays, stay.Query{Limit: 10})
		slices.Sort(found)
		return strings.Join(found, " ")
	}
	for _, path := range []string{
		"/plates/X%2F..%2FVICTIM1", "/plates/X/../VICTIM1", "/plates/X/%2e%2e/VICTIM1", "/plates/./VICTIM1", "/plates/VICTIM1/", "/plates/VICTIM1/.",
		"/plates//VICTIM1", "//plates/VICTIM1", "/plates/%2FVICTIM1", "/plates/VICTIM1%2F", "/x/../plates/VICTIM1", "/./plates/VICTIM1", "/stays/../plates/VICTIM1",
		"/plates/..%5CVICTIM1", "/plates/AB%2FCD", "/plates/AB/CD", "/plates/AB%252FCD", "/plates/AB%25CD", "/plates/%2e%2e", "/plates/..", "/plates/.", "/plates/",
		"/plates/AB%00CD", "/plates/AB%ffCD", "/plates/AB%0ACD", "/plates/%20", "/plates/AB?CD", "/plates/AB?CD=", "/plates/AB?plate=CD",
		"/plates", "/plates?plate=", "/plates?plate=AB&plate=CD", "/plates?plate=AB%252FCD", "/plates?plate=AB%00CD", "/plates?site=a", "/plates?Plate=AB",
		"/plates/AB?site=", "/plates/AB?site=a&site=b", "/plates?plate=AB&site=", "/plates/AB?site=a%2F", "/plates/" + strings.Repeat("A", 33),
	} {
		w := e.authorized("DELETE", path, "")
		if w.Code < 400 || w.Code >= 500 || w.Header().Get("Location") != "" {
			t.Errorf("DELETE %s: %d %s %s", path, w.Code, w.Header().Get("Location"), w.Body)
		}
		if got := left(); got != all {
			t.Fatalf("DELETE %s erased: left %s", path, got)
		}
	}
	if w := e.authorized("DELETE", "/plates/AB%2FCD", ""); !strings.Contains(w.Body.String(), "use DELETE /plates?plate=") {
		t.Errorf("a refusal does not tell the way: %s", w.Body)
	}
	for _, tt := range []struct{ path, left string }{
		{"/plates?plate=x%2F..%2Fvictim1", "a/xAB a/xAB2FCD a/xABCD a/xCD a/xVICTIM1"},
		{"/plates?plate=A%3BB%3FC%23D&site=a", "a/xAB a/xAB2FCD a/xCD a/xVICTIM1"},
		{"/plates?plate=A.B", "a/xAB2FCD a/xCD a/xVICTIM1"},
		{"/plates/c%3Bd", "a/xAB2FCD a/xVICTIM1"},
		{"/plates/%76ictim%201?site=a", "a/xAB2FCD"},
		{"/plates?plate=" + url.QueryEscape("ab 2f·cd"), ""},
	} {
		if w := e.authorized("DELETE", tt.path, ""); w.Code != http.StatusOK || left() != tt.left {
			t.Errorf("DELETE %s: %d %s, left %s, want %s", tt.path, w.Code, w.Body, left(), tt.left)
		}
	}
}

// An id of stays at several sites is an error.
func TestAnIDOfTwoSites(t *testing.T) {
	e := newEndpoint(t)
	put(t, e.stays, unmatched("same", "one", "P1", today), unmatched("same", "two", "P2", today), unmatched("other", "two", "P3", today))
	for _, path := range []string{"/stays/same", "/stays?id=same"} {
		w := e.call("GET", path, "")
		var got struct {
			Error string
			Sites []string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusConflict || got.Error == "" {
			t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
		}
		if diff := cmp.Diff([]string{"one", "two"}, got.Sites); diff != "" {
			t.Errorf("GET %s: sites (-want +got):\n%s", path, diff)
		}
	}
	for path, plate := range map[string]string{"/stays/same?site=two": "P2", "/stays?id=same&site=one": "P1", "/stays/other": "P3"} {
		if w := e.call("GET", path, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"`+plate+`"`) {
			t.Errorf("GET %s: %d %s, want %s", path, w.Code, w.Body, plate)
		}
	}
	if w := e.call("GET", "/stays/same?sit=two", ""); w.Code != http.StatusBadRequest {
		t.Errorf("a typing mistake: %d %s", w.Code, w.Body)
	}
}

// The scheme's name may be in any case. Exactly one token is required.
func TestBearer(t *testing.T) {
	e := newEndpoint(t)
	for shown, want := range map[string]int{
		"Bearer " + token: 201, "bearer " + token: 201, "BEARER " + token: 201, "bEaReR " + token: 201,
		"Bearer   " + token: 201, "Bearer\t" + token: 201, "Bearer \t " + token + " ": 201, " Bearer " + token: 201,
		"": 401, "Bearer": 401, "Bearer" + " ": 401, "bearer\t": 401, token: 401, "Bearer" + token: 401, "Bearer:" + token: 401, "Bearer=" + token: 401,
		"Bearer " + token + " " + token: 401, "Bearer " + token + ",": 401, "Bearer " + token + ", Bearer " + token: 401, "Bearer \"" + token + "\"": 401,
		"Basic " + token: 401, "Bearer Bearer " + token: 401, "Bearer\u00a0" + token: 401, "Bearer\n" + token: 401, "Bearer " + strings.ToUpper(token): 401,
	} {
		if w := e.call("POST", "/", "[]", "Authorization", shown); w.Code != want {
			t.Errorf("%q: %d %s, want %d", shown, w.Code, w.Body, want)
		}
	}
	for _, second := range []string{"Bearer " + token, "Bearer wrong", ""} {
		r := request("POST", "/", "[]")
		r.Header["Authorization"] = []string{"Bearer " + token, second}
		if w := e.serve(r); w.Code != http.StatusUnauthorized {
			t.Errorf("two tokens, the second %q: %d", second, w.Code)
		}
	}
}
