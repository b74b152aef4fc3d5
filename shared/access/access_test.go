package access

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestRights has the table of roles and rights, written by hand.
func TestRights(t *testing.T) {
	for _, tt := range []struct {
		who  Principal
		want string
	}{
		{Principal{}, ""},
		{Principal{Role: Viewer, Sites: AllSites()}, "read"},
		{Principal{Role: Viewer, Sites: AllSites(), Plates: true}, "read read_plates"},
		{Principal{Role: Operator, Sites: AllSites()}, "read read_plates correct post_events generate"},
		{Principal{Role: Admin, Sites: AllSites()}, "read read_plates correct administer post_events generate read_metrics"},
		{Principal{Role: Admin, Sites: SitesOf("a")}, "read read_plates correct administer post_events generate"},
		{Principal{Role: Machine, Sites: AllSites()}, "post_events read_metrics"},
		{Principal{Role: Machine, Sites: SitesOf("a")}, "post_events"},
		{Principal{Role: Machine, Sites: AllSites(), Plates: true}, "post_events read_metrics"},
		{Principal{Role: Open, Sites: AllSites()}, "read read_plates post_events generate read_metrics"},
		{PartOf("connector", PostEvents), "post_events"},
		{PartOf("processor", PostStays, ReadMetrics), "post_stays read_metrics"},
		{PartOf("nothing"), ""},
		{Principal{Role: "owner", Sites: AllSites()}, ""},
	} {
		var got []string
		for _, r := range tt.who.Rights() {
			got = append(got, r.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s (plates %t, all sites %t) may %q, want %q", tt.who.Role, tt.who.Plates, tt.who.Sites.All(), got, tt.want)
		}
	}
	if p := From(t.Context()); len(p.Rights()) != 0 || p.Sites.Has("a") || p.Exempt() {
		t.Errorf("without a principal: %+v", p)
	}
	if p := From(NewContext(t.Context(), Principal{Name: "anna"})); p.Name != "anna" {
		t.Errorf("the context has %+v", p)
	}
}

// A set has the sites that it was made of, in order, and each once.
func TestSites(t *testing.T) {
	if s := (Sites{}); s.All() || s.Has("") || s.Has("a") || len(s.Names()) != 0 {
		t.Errorf("the zero value is %+v", s)
	}
	if s := AllSites(); !s.All() || !s.Has("a") || s.Names() != nil {
		t.Errorf("all sites are %+v", s)
	}
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(rapid.StringMatching("[a-e]{0,2}")).Draw(t, "names")
		given := slices.Clone(names)
		s := SitesOf(names...)
		if !slices.Equal(names, given) {
			t.Fatal("SitesOf changes its arguments")
		}
		got := s.Names()
		if s.All() || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("%v", got)
		}
		for _, name := range []string{"", "a", "b", "ab", "ee", "f", "*"} {
			if s.Has(name) != slices.Contains(names, name) || s.Has(name) != slices.Contains(got, name) {
				t.Fatalf("%q in %v: %t", name, names, s.Has(name))
			}
		}
		if len(got) > 0 {
			got[0] = "changed"
			if s.Has("changed") {
				t.Fatal("Names returns the set itself")
			}
		}
	})
}
