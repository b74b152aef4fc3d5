package summary

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

// A search is the list with its parameters in the body: of each value of each parameter
// it says the same.
func TestSearchIsTheList(t *testing.T) {
	e := newEndpoint(t)
	put(t, e.stays, completed("x1", "a", "KA01AB1234", today, 60), unmatched("x2", "b", "P2", today.Add(-day)), unmatched("b", "a", "P2", today.Add(-2*day)))
	for _, p := range listParams {
		for _, edge := range edgesOf(p) {
			body, err := json.Marshal(map[string]string{p.name: edge.value})
			if err != nil || !utf8.ValidString(edge.value) {
				continue // JSON has no such text
			}
			got, want := e.call("POST", "/search", string(body)), e.call("GET", "/?"+url.Values{p.name: {edge.value}}.Encode(), "")
			if got.Code != want.Code || got.Body.String() != want.Body.String() || got.Header().Get("Content-Type") != want.Header().Get("Content-Type") {
				t.Errorf("POST /search %.200s: %d %.300s, want %d %.300s", body, got.Code, got.Body, want.Code, want.Body)
			}
		}
	}
	var next string
	for i, want := range []string{"x1", "x2", "b"} {
		body := fmt.Sprintf(`{"limit":1,"cursor":%q}`, next)
		if i == 0 {
			body = `{"limit":1}`
		}
		var page stay.Page
		w := e.call("POST", "/search", body)
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"id":"`+want+`"`) {
			t.Fatalf("page %d: %d %s", i, w.Code, w.Body)
		}
		next = page.Next
	}
	if next != "" {
		t.Errorf("after the last page: %q", next)
	}
	w := e.call("POST", "/search", `{"plate":"ka 01 ab 1234","site":"a","format":"csv","bom":0,"limit":"5"}`)
	if w.Code != http.StatusOK || strings.Count(w.Body.String(), "\n") != 2 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// A body that is not an object of texts and numbers is refused.
func TestBadSearches(t *testing.T) {
	e := newEndpoint(t)
	for _, body := range []string{
		"", " ", "null", "[]", `"x"`, "1", "{", "{}x", "{}{}", `{"plate":null}`, `{"plate":true}`, `{"plate":["A"]}`, `{"plate":{"a":1}}`, `{"plate":""}`, `{"palte":"A"}`, `{"Plate":"A"}`,
		`{"plate":"A","plate":"B"}`, `{"limit":1.5}`, `{"limit":1e2}`, `{"limit":0}`, `{"limit":-1}`, `{"limit":1001}`, `{"limit":99999999999999999999}`, `{"bom":2}`, `{"site":7e400}`, `{"plate":12}`, `{"cursor":1}`, `{"limit":true}`,
		"{\"plate\":\"\xff\"}", `{"plate":"\ud800"}`, `{"plate":"\u0000"}`, `{"":"x"}`, `{"cursor":7}`, `{"offset":1}`, "{\"plate\":\"A\n\"}",
		strings.Repeat("[", 15000), `{"plate":` + strings.Repeat(`{"a":`, 3000),
	} {
		w := e.call("POST", "/search", body, "Content-Type", "application/json")
		checkAnswer(t, "POST /search "+body[:min(len(body), 50)], w.Code, w.Header(), w.Body.Bytes())
		if w.Code != http.StatusBadRequest {
			t.Errorf("%.100q: %d %.300s", body, w.Code, w.Body)
		}
	}
	for _, query := range []string{"?plate=A", "?x=1", "?site=a"} {
		if w := e.call("POST", "/search"+query, "{}"); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	if _, most, _ := e.api().Admit(newRecorder(), request("POST", "/search", "{}")); most != maxSearch {
		t.Errorf("a body may have %d bytes", most)
	}
}

// FuzzSearch checks that every value of an accepted body is a text or number of it.
func FuzzSearch(f *testing.F) {
	for _, seed := range []string{`{}`, `{"plate":"KA01","limit":10}`, `{"from":"2026-11-24T11:53:07Z","bom":0}`, `{"a":1e9,"b":"\u00e9"}`, `{"plate":null}`, `[1]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		values, err := parseSearch(&http.Request{Body: http.NoBody})
		if err == nil || values != nil {
			t.Fatal("an empty body is accepted")
		}
		r := request("POST", "/search", string(body))
		if values, err = parseSearch(r); err != nil {
			return
		}
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil || len(members) != len(values) {
			t.Fatalf("%q: %v of %v, %v", body, values, members, err)
		}
		for name, given := range values {
			text, isText := members[name].(string)
			if _, isNumber := members[name].(float64); len(given) != 1 || !isNumber && (!isText || text != given[0]) {
				t.Fatalf("%q: %s is %q", body, name, given)
			}
		}
		if err := checkQuery(values, listParams); err != nil {
			return
		}
		if q, err := parseQuery(values); err == nil && (q.site != "" && parking.CheckSite(q.site) != nil || q.Limit < 1 || q.Limit > maxLimit) {
			t.Fatalf("%q: %+v", body, q)
		}
	})
}
