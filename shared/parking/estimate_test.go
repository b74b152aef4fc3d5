package parking

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lenient returns a model by which every pair of similar plates is a stay.
func lenient() *Model {
	m := DefaultModel()
	m.Margin, m.Margins, m.Prior = 1, nil, 2000
	return m
}

// The exits of hidden entries that are given another one are counted, and nothing else is:
// not the near stays of exits that have none.
func TestEstimateNear(t *testing.T) {
	s := newSite(20)
	for i := range 40 {
		s.visit(fmt.Sprintf("HID%02dXY", i)) // the exact ones, of which a sample is hidden
	}
	for i := range 30 {
		plate := fmt.Sprintf("LONE%02dQ", 11*i%97)
		s.exit = func(string) string { return plate[:6] + "0" } // a misread exit
		s.visit(plate)
	}
	s.entry, s.exit = func(plate string) string { return plate }, func(string) string { return "" }
	at := s.at
	for i := range 5 { // entries that look like those of hidden stays, while these are inside
		s.at = s.events[0].Time.Add(time.Duration(i)*s.every + s.every/2)
		s.visit(fmt.Sprintf("HID%02dXV", i))
	}
	s.at = at
	r := ReadsOf(Current(s.events), nil)
	var sample []ExactStay
	for i := range r.Exact {
		if r.Exact[i].Exit.Plate < "HID20" {
			sample = append(sample, r.Exact[i])
		}
	}
	models := Models{lenient()}
	got := EstimateNear(r, sample, nil, models)
	if got.Hidden != 20 || got.Wrong < 1 || got.Wrong > 5 || got.Near < 10 || got.Near+got.Unmatched != 30 {
		t.Fatalf("%+v", got)
	}
	if again := EstimateNear(r, append(sample, sample...), nil, models); again != got {
		t.Errorf("a sample with stays twice: %+v, want %+v", again, got)
	}
	if want := float64(got.Wrong) / 20 * float64(got.Unmatched); got.WrongNear() != want {
		t.Errorf("%v are wrong, want %v", got.WrongNear(), want)
	}
	if none := EstimateNear(r, nil, nil, models); none.Hidden != 0 || none.Wrong != 0 || none.WrongNear() != 0 || none.Near < got.Near {
		t.Errorf("without a sample: %+v", none)
	}
	strict := lenient()
	strict.Margin = 9000
	if none := EstimateNear(r, sample, nil, Models{strict}); none.Wrong != 0 || none.Near != 0 || none.Unmatched != 30 {
		t.Errorf("by a model that matches nothing: %+v", none)
	}
	if diff := cmp.Diff(ReadsOf(Current(s.events), nil).Lone, r.Lone, cmp.Transformer("sorted", func(l []Lone) map[string]Lone {
		by := make(map[string]Lone)
		for _, e := range l {
			by[e.ID] = e
		}
		return by
	})); diff != "" {
		t.Errorf("the reads were changed:\n%s", diff)
	}
}
