package summary

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

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
