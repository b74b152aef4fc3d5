package evaluate

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parkstream/shared/parking"
)

// The summary takes every stay that is derived, of each method, as it is.
func TestStaysCanBePosted(t *testing.T) {
	methods := make(map[parking.Method]int)
	disputed := 0
	for _, scenario := range []string{"harsh", "syntax+fleets+lists+looks"} {
		s, err := Scenario(scenario, 7, 300, 4)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Simulate(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, stay := range d.Stays(Fixed(parking.DefaultModel())) {
			if stay.Match == nil && !stay.Disputed {
				continue
			}
			methods[stay.Method()]++
			if stay.Disputed {
				disputed++
			}
			if err := stay.CheckMatch(); err != nil {
				t.Errorf("%+v with %+v: %v", stay, stay.Match, err)
			}
			text, err := json.Marshal(stay)
			var again parking.Stay
			if err == nil {
				err = json.Unmarshal(text, &again)
			}
			if err != nil || !cmp.Equal(stay, again, cmpopts.EquateEmpty()) {
				t.Errorf("%s is read as %+v, %v", text, again, err)
			}
		}
	}
	for _, method := range []parking.Method{parking.OCR, parking.Edit, parking.TwoEdits, parking.Split} {
		if methods[method] == 0 {
			t.Errorf("no stay has the method %s: %v", method, methods)
		}
	}
	if disputed == 0 {
		t.Error("no stay is disputed")
	}
}
