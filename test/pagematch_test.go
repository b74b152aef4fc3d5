package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"parkstream/shared/parking"
)

// matchedStays are of the site near, newest exit first: two of similar plates, a disputed one
// and one by its plate alone.
func matchedStays(exit time.Time) []parking.Stay {
	stays := make([]parking.Stay, 4)
	for i := range stays {
		stays[i] = parking.Stay{ID: fmt.Sprint("near", i), Site: "near", Plate: "KA01AB1284", EntryID: fmt.Sprint("entry", i), ExitTime: exit.Add(-time.Duration(i) * time.Minute), Revision: 1}
		stays[i].EntryTime = stays[i].ExitTime.Add(-time.Hour)
	}
	stays[0].Match = &parking.Explanation{
		Method: parking.Edit, EntryPlate: "ka-01 ab 1234", ExitPlate: "KA01AB1284", Differences: []parking.Difference{{Position: 9, Entry: "3", Exit: "8"}},
		Weight: 912, Margin: 845, Parts: &parking.Parts{Text: -210, Rarity: 1010, Dwell: -88, Prior: 200}, Posterior: 0.9991,
		Alternatives: []parking.Alternative{{EntryID: "entry9", ExitID: "near0", Weight: 67}}, Model: "default",
	}
	stays[1].Match = &parking.Explanation{Method: parking.TwoEdits, EntryPlate: "KA01AB1284", ExitPlate: "A01BAB1284", Differences: []parking.Difference{{Position: 1, Entry: "K"}, {Position: 5, Exit: "B"}}}
	stays[2].Disputed, stays[2].Match = true, &parking.Explanation{Method: parking.Exact, Alternatives: []parking.Alternative{{EntryID: "entry2", ExitID: "<i>x6</i>", Weight: 412}}}
	return stays
}

// matchesOnThePage looks at stays whose plates differ, and at a disputed one.
func matchesOnThePage(b tab, s *system, axe string) {
	b.Helper()
	exit := time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	stays := matchedStays(exit)
	s.storeStays(b.T, stays)
	const words = `[...document.querySelectorAll('#stay-rows .why > td > p')].map(e => e.textContent)`
	b.open(s.gateway + "/function/summary/?site=near")
	b.wants(words+`[0]`, "Read as ka-01 ab 1234 at the entry and as KA01AB1284 at the exit. The plates differ in one character. 3 at the entry is 8 at the exit. "+
		"This pair is 4,700 times likelier than the next best one. Of stays with such a margin 99.9 % were right where it was measured. It is held: a person decides before it is billed.")
	b.wants(words+`[1]`, "Read as KA01AB1284 at the entry and as A01BAB1284 at the exit. The plates differ in two characters. K is missing at the exit. B is missing at the entry. "+
		"No other pair comes close. It is held: a person decides before it is billed.")
	b.wants(words+`[2]`, "Both cameras read the same plate. It may be two visits, not one: a similar plate was read between its entry and its exit. It is held: a person decides before it is billed.")
	b.wants(words+`.length + ' of ' + document.querySelectorAll('#stay-rows tr:not(.why)').length`, "3 of 4")
	b.wants(`[...document.querySelectorAll('#stay-rows .why mark')].map(e => e.textContent).join()`, "3,8,K,B")
	b.wants(`[...document.querySelectorAll('#stay-rows .tag')].map(e => e.textContent).join()`, "Completed,Completed,Disputed,Completed")
	b.wants(`[...document.querySelectorAll('#stay-rows tr:not(.why) td:last-child')].map(e => e.textContent).join()`, "One character,Two characters,Same plate,Same plate")
	b.accessible(axe, "with matched stays")

	// Figures stay open while rows come.
	b.do(chromedp.Click(chromedp.CSS("#stay-rows .why summary")))
	const figures = `[...document.querySelectorAll('#stay-rows details[open] p')].map(e => e.textContent).join()`
	b.wants(figures, "One vehicle is 9,100 times likelier than two (weight 9.12). The weight is the sum of: how alike the plates are -2.10, how rare such plates are 10.10, "+
		"how long the stay is -0.88, before anything is known 2.00. Another pair is the entry entry9 with this exit (weight 0.67). Weighed by the model default.")
	later := stays[3]
	later.ID, later.ExitTime = "later", exit.Add(time.Minute)
	s.storeStays(b.T, []parking.Stay{later})
	b.wants(`String(document.querySelectorAll('#stay-rows tr:not(.why)').length)`, "5")
	b.wants(`String(document.querySelectorAll('#stay-rows details[open]').length)`, "1")
	b.screenshot("matched.png")

	for choice, want := range map[string]string{"disputed": "?site=near&disputed=true 1", "two_edits": "?site=near&method=two_edits 1", "exact": "?site=near&method=exact 3", "ocr": "?site=near&method=ocr 0"} {
		b.eval(fmt.Sprintf(`(() => { const s = document.querySelector('#match'); s.value = %q; s.dispatchEvent(new Event('change')) })()`, choice))
		b.wants(`location.search + ' ' + document.querySelectorAll('#stay-rows tr:not(.why)').length`, want)
	}
	b.wants(`document.querySelector('#csv').search`, "?"+b.text(`location.search.slice(1)`)+"&format=csv")
	b.open(s.gateway + "/function/summary/?site=near&disputed=true")
	b.wants(`document.querySelector('#match').value + document.querySelectorAll('#stay-rows tr:not(.why)').length`, "disputed1")
	b.wants(`document.querySelector('#n-match').textContent.split(', ').slice(0, 3).join()`, "5 stays,2 by similar plates,1 disputed")

	// The policy of the site is on the page at once.
	if status, answer := s.callAs(b.T, s.secret(b.T, "admin-token"), "PUT", "/function/summary/sites/near", `{"policy":{"disputed":"never"}}`); status != http.StatusOK {
		b.Fatalf("%d %s", status, answer)
	}
	b.wants(`document.querySelector('#stay-rows strong').textContent`, "It is not billed.")
	if status, answer := s.callAs(b.T, s.secret(b.T, "admin-token"), "DELETE", "/function/summary/sites/near", ""); status != http.StatusOK {
		b.Fatalf("%d %s", status, answer)
	}
}

const cameraToken = "token-of-the-camera"

// addCameras configures two cameras and lets one of them report a vehicle. The page has
// them when it reads their state the next time, which is ten seconds old at most.
func (s *system) addCameras(t *testing.T) {
	t.Helper()
	site := `{"gates":[{"id":"main"}],"cameras":[{"id":"gate-in","gate":"main","role":"entry","format":"own","token":"` + cameraToken + `"},{"id":"gate-out","gate":"main","role":"exit","token":"` + cameraToken + `2"}]}`
	if status, answer := s.callAs(t, s.secret(t, "admin-token"), "PUT", "/function/summary/sites/default", site); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	read := fmt.Sprintf(`{"plate":"B-PS 1234","time":%q,"confidence":0.5}`, time.Now().UTC().Format(time.RFC3339))
	if status, answer := s.callAs(t, cameraToken, "POST", "/function/camera/gate-in", read); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
}

// camerasOnThePage looks at the table of the cameras.
func camerasOnThePage(b tab, s *system, axe string) {
	b.Helper()
	b.open(s.gateway + "/function/summary/?site=default")
	b.wants(`[...document.querySelectorAll('#camera-rows tr')].map(r => [...r.children].slice(0, 3).map(c => c.textContent).join(' ')).join(', ')`, "gate-in default OK, gate-out default Not seen")
	b.wants(`document.querySelector('#cameras-text').textContent`, "none of 2 cameras is silent")
	b.wants(`[...document.querySelector('#camera-rows tr').querySelectorAll('.number')].slice(0, 3).map(c => c.textContent).join(', ')`, "1, 0 %, 50.0 %")
	b.wants(`String(document.querySelector('#cameras').hidden)`, "false")
	b.accessible(axe, "with cameras")
	b.open(s.gateway + "/function/summary/?site=near") // which has none
	b.wants(`String(document.querySelector('#stay-rows tr') !== null && document.querySelector('#cameras').hidden)`, "true")
	if status, answer := s.callAs(b.T, s.secret(b.T, "admin-token"), "DELETE", "/function/summary/sites/default", ""); status != http.StatusOK {
		b.Fatalf("%d %s", status, answer)
	}
}

// storeStays posts stays as a processor does.
func (s *system) storeStays(t *testing.T, stays []parking.Stay) {
	t.Helper()
	body, err := json.Marshal(stays)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+"/function/summary", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.secret(t, "summary-token"))
	s.want(t, r, http.StatusCreated)
}
