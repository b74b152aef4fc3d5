package summary

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/stay"
)

// nearStay returns a stay of a plate whose entry was read otherwise. The ids are told apart
// from others by the names.
func nearStay(entryID, exitID, entryPlate, plate string) parking.Stay {
	s := completed(exitID, "north", plate, today, 3600)
	s.EntryID, s.Revision = entryID, 2
	s.Match = &parking.Explanation{
		Method: parking.Edit, EntryPlate: entryPlate, ExitPlate: plate, Differences: []parking.Difference{{Position: 9, Entry: "Q", Exit: "W"}, {Position: 10, Exit: "V"}},
		Weight: 912, Margin: 845, Parts: &parking.Parts{Text: -210, Rarity: 1010, Dwell: -88, Prior: 200}, Posterior: 0.999,
		Alternatives: []parking.Alternative{{EntryID: "of another DL8CAF5031", ExitID: exitID, Weight: 67}, {EntryID: entryID, ExitID: "of a third MH12DE1433", Weight: 12}}, Model: "default",
	}
	return s
}

// A viewer sees that a stay is near, and neither of its plates nor those of other reads.
func TestAViewerSeesNoPlateOfANearStay(t *testing.T) {
	g := newGuarded(t)
	byHand := nearStay("in-XK47PQR", "out-HH88ZZ9", "XK47PQR", "HH88ZZ9")
	byHand.Plate, byHand.Match.Method = "DL8CAF5031", parking.Corrected
	put(t, g.stays, nearStay("in-KA01AB12Q", "out-KA01AB12WV", "KA-01 AB 12Q", "KA01AB12WV"), byHand)
	secret := []string{"KA01AB12Q", "KA01AB12WV", "XK47PQR", "HH88ZZ9", "DL8CAF5031", "MH12DE1433"}
	for _, path := range []string{"/", "/?format=csv", "/?format=csv&limit=5"} {
		text := g.as(viewer, "GET", path, "").Body.String()
		for _, plate := range secret {
			if key := parking.NormalizePlate(text); strings.Contains(key, plate) {
				t.Errorf("GET %s has %s: %s", path, plate, text)
			}
		}
		if strings.Contains(text, `"Q"`) || strings.Contains(text, `"W"`) || strings.Contains(text, `"V"`) {
			t.Errorf("GET %s has a character in which plates differ: %s", path, text)
		}
	}
	page := answeredAs[stay.Page](t, g, viewer, "/?limit=1")
	if m := page.Stays[0].Match; m == nil || m.Method == "" || m.Margin != 845 || len(m.Differences) != 2 || m.Differences[1].Entry != "" || len(m.Alternatives) != 2 || m.Alternatives[0].Weight != 67 {
		t.Errorf("the viewer sees the match %+v", m)
	}
	for _, id := range []string{"out-KA01AB12WV", "out-HH88ZZ9"} {
		if w := g.as(viewer, "GET", "/stays?id="+url.QueryEscape(id), ""); w.Code != http.StatusNotFound {
			t.Errorf("a guess of the id %s is answered %d %s", id, w.Code, w.Body)
		}
		w := g.as(operator, "GET", "/stays?id="+url.QueryEscape(id), "")
		if text := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(text, `"position":9,"entry":"Q","exit":"W"`) || !strings.Contains(text, "of another DL8CAF5031") {
			t.Errorf("the stay %s for an operator: %d %s", id, w.Code, text)
		}
	}
}

// Lists, downloads and single stays have how a stay was matched and what the policy of its
// site makes of it, which changes with the policy and not with the stay.
func TestMatchedStays(t *testing.T) {
	g := newGuarded(t)
	opened := *g.endpoint
	opened.Handler = g.open
	e := &opened
	near, exact, disputed := nearStay("e1", "x1", "KA01AB1234", "KA01AB1284"), completed("x2", "north", "MH12DE1433", today.Add(-time.Minute), 60), completed("x3", "south", "DL8CAF5031", today.Add(-time.Hour), 60)
	disputed.Disputed, disputed.Match = true, &parking.Explanation{Method: parking.Exact}
	w := g.as(processors, "POST", "/", stayJSON(t, near, exact, disputed, unmatched("x4", "north", "KA09", today.Add(-2*time.Hour))))
	if w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for path, want := range map[string]string{
		"/":                                    "x1 edit hold, x2 exact bill, x3 exact disputed hold, x4",
		"/?plate=ka-01+ab+1234":                "x1 edit hold",
		"/?plate=ka-01+ab+1284":                "x1 edit hold",
		"/?method=exact":                       "x2 exact bill, x3 exact disputed hold",
		"/?method=edit":                        "x1 edit hold",
		"/?method=ocr":                         "",
		"/?disputed=true":                      "x3 exact disputed hold",
		"/?disputed=1&method=edit":             "",
		"/?disputed=0":                         "x1 edit hold, x2 exact bill",
		"/?disputed=false&method=exact":        "x2 exact bill",
		"/?method=exact&status=unmatched_exit": "",
		"/?method=edit&site=south":             "",
	} {
		for _, format := range []string{"", "format=csv&bom=0&", "format=csv&bom=0&limit=10&"} {
			w := e.call("GET", strings.Replace(path, "?", "?"+format, 1), "")
			if got := matchedOf(t, w); got != want {
				t.Errorf("GET %s %s: %d %q, want %q", path, format, w.Code, got, want)
			}
		}
	}
	for body, want := range map[string]string{
		`{"plate":"KA01AB1234"}`:                "x1 edit hold",
		`{"disputed":true}`:                     "x3 exact disputed hold",
		`{"disputed":1}`:                        "x3 exact disputed hold",
		`{"disputed":"false","method":"exact"}`: "x2 exact bill",
	} {
		if got := matchedOf(t, e.call("POST", "/search", body)); got != want {
			t.Errorf("POST /search %s: %q, want %q", body, got, want)
		}
	}
	for _, bad := range []string{`{"method":true}`, `{"disputed":null}`, `{"disputed":2}`, `{"method":"approximate"}`} {
		if w := e.call("POST", "/search", bad); w.Code != http.StatusBadRequest {
			t.Errorf("POST /search %s: %d %s", bad, w.Code, w.Body)
		}
	}
	for _, step := range []struct{ policy, want string }{
		{`{"edit":"bill","exact":"never"}`, "x1 edit bill, x2 exact never, x4"},
		{`{"disputed":"never"}`, "x1 edit hold, x2 exact bill, x4"},
	} {
		if w := g.as(admin, "PUT", "/sites/north", `{"settle":"1h","policy":`+step.policy+`}`); w.Code != http.StatusOK {
			t.Errorf("the policy %s: %d %s", step.policy, w.Code, w.Body)
		}
		if text := e.call("GET", "/configuration", "").Body.String(); !strings.Contains(text, `"settle":"1h","policy":{`) {
			t.Errorf("the configuration with the policy %s: %s", step.policy, text)
		}
		if got := matchedOf(t, e.call("GET", "/?site=north", "")); got != step.want {
			t.Errorf("with the policy %s: %q, want %q", step.policy, got, step.want)
		}
		if text := e.call("GET", "/stays/x1", "").Body.String(); !strings.Contains(text, `"billing":"`+strings.Fields(step.want)[2][:4]+`"`) {
			t.Errorf("with the policy %s: %s", step.policy, text)
		}
	}
	if got := answered[stay.Stats](t, e, "/stats"); got.Methods != (stay.Methods{Exact: 2, Edit: 1}) || got.Disputed != 1 || got.Completed != 3 {
		t.Errorf("sums %+v", got.Counts)
	}
	// What is shown is posted again as the same stay.
	page := e.call("GET", "/", "").Body.String()
	if w := g.as(processors, "POST", "/", strings.TrimSuffix(strings.TrimPrefix(page, `{"stays":`), `,"next":""}`+"\n")); w.Code != http.StatusCreated || w.Body.String() != `{"ignored":4,"stored":0}`+"\n" {
		t.Errorf("posted again: %d %s", w.Code, w.Body)
	}
}

// matchedOf returns the ids of stays in JSON or CSV, and how they were matched.
func matchedOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var lines []string
	line := func(id, method string, disputed bool, billing string) {
		if disputed {
			method += " disputed"
		}
		lines = append(lines, strings.TrimSpace(strings.Join([]string{id, method, billing}, " ")))
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
		rows, err := csv.NewReader(w.Body).ReadAll()
		if err != nil || len(rows) == 0 {
			t.Fatalf("%q, %v", rows, err)
		}
		of := func(row []string, column string) string { return row[slices.Index(rows[0], column)] }
		for _, row := range rows[1:] {
			line(of(row, "id"), of(row, "method"), of(row, "disputed") == "true", of(row, "billing"))
		}
		return strings.Join(lines, ", ")
	}
	var page struct {
		Stays []struct {
			parking.StayJSON
			Billing *string `json:"billing"`
		} `json:"stays"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s, %v", w.Code, w.Body, err)
	}
	for _, k := range page.Stays {
		method, billing := "", ""
		if k.Match != nil {
			method = string(k.Match.Method)
		}
		if k.Billing != nil {
			billing = *k.Billing
		}
		line(k.ID, method, k.Disputed, billing)
	}
	return strings.Join(lines, ", ")
}

// A stay whose explanation is not in its bounds is refused, and nothing of the request is
// stored. The answer does not repeat a long text.
func TestPostedMatchesAreBounded(t *testing.T) {
	e := newEndpoint(t)
	good := stayJSON(t, nearStay("e1", "x1", "KA01AB1234", "KA01AB1284"))
	if w := e.authorized("POST", "/", good); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for name, change := range map[string][2]string{
		"an unknown method":              {`"method":"edit"`, `"method":"guess"`},
		"a long method":                  {`"method":"edit"`, `"method":"` + strings.Repeat("x", 1<<20) + `"`},
		"a weight with a fraction":       {`"weight":912`, `"weight":912.5`},
		"a weight out of range":          {`"weight":912`, `"weight":2147483648`},
		"a posterior above 1":            {`"posterior":0.999`, `"posterior":2`},
		"many differences":               {`"differences":[`, `"differences":[` + strings.Repeat(`{"position":1,"entry":"A","exit":"B"},`, 1000)},
		"a difference of a text":         {`"entry":"Q"`, `"entry":"QQQ"`},
		"many alternatives":              {`"alternatives":[`, `"alternatives":[` + strings.Repeat(`{"entry_id":"a","exit_id":"b","weight":1},`, 1000)},
		"a long id":                      {`of another DL8CAF5031`, strings.Repeat("x", 129)},
		"a long plate":                   {`"entry_plate":"KA01AB1234"`, `"entry_plate":"` + strings.Repeat("K", 1<<20) + `"`},
		"no plate":                       {`"entry_plate":"KA01AB1234"`, `"entry_plate":"---"`},
		"a plate that is not the stay's": {`"vehicle_plate":"KA01AB1284"`, `"vehicle_plate":"KA01AB1294"`},
		"a long model":                   {`"model":"default"`, `"model":"` + strings.Repeat("m", 65) + `"`},
		"the method twice":               {`"method":"edit"`, `"method":"edit","method":"ocr"`},
		"a match that is a text":         {`"match":{`, `"match":"exact","was":{`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		w := e.authorized("POST", "/", strings.Replace(text, `"revision":2`, `"revision":9`, 1))
		if text == good || w.Code != http.StatusBadRequest || w.Body.Len() > 1000 || !strings.Contains(w.Body.String(), `"error":`) {
			t.Errorf("%s: %d %.1000s", name, w.Code, w.Body)
		}
	}
	none := strings.Replace(stayJSON(t, unmatched("x2", "north", "KA01", today)), `"status"`, `"disputed":true,"status"`, 1)
	if w := e.authorized("POST", "/", none); w.Code != http.StatusBadRequest {
		t.Errorf("a disputed stay without an entry: %d %s", w.Code, w.Body)
	}
	if got := answered[stay.Page](t, e, "/"); len(got.Stays) != 1 || got.Stays[0].Revision != 2 {
		t.Errorf("stored are %+v", got)
	}
}
