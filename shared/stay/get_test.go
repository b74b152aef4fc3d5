package stay

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/parking"
)

func TestGet(t *testing.T) {
	s := newStore(t)
	before := time.Now().Truncate(time.Millisecond)
	stay := completed("x1", "b", "P1", today.Add(123*time.Millisecond), 60)
	put(t, s, stay, unmatched("x1", "a", "P2", today))
	k, err := s.Get(t.Context(), []string{"b"}, "x1")
	if err != nil || !reflect.DeepEqual(k.Stay, stay) || k.UpdatedAt.Before(before) || k.UpdatedAt.After(time.Now()) {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := s.Get(t.Context(), sitesOf(t, s), "x1"); !errors.As(err, new(AmbiguousError)) {
		t.Errorf("at two sites: %+v, %v", k, err)
	}
	put(t, s, unmatched("x3", "b", "P3", today))
	if k, err := s.Get(t.Context(), sitesOf(t, s), "x3"); err != nil || k.Site != "b" {
		t.Errorf("at any site: %+v, %v", k, err)
	}
	if k, err := s.Get(t.Context(), sitesOf(t, s), "x1"); !slices.Equal(ambiguous(err), []string{"a", "b"}) {
		t.Errorf("at two sites: %+v, %v", k, err)
	}
	if _, err := s.Get(t.Context(), []string{"b"}, "x2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := parseValue("a", "x", "1 0 1 u\nP\nshort"); err == nil {
		t.Error("a damaged value was read")
	}
}

// ambiguous returns the sites in an AmbiguousError.
func ambiguous(err error) []string {
	several, _ := errors.AsType[AmbiguousError](err)
	return several.Sites()
}

func TestErasePlate(t *testing.T) {
	s := newStore(t)
	put(t, s, completed("x1", "a", "P1", today, 60), unmatched("x2", "a", "P1", today), completed("x3", "a", "P2", today, 60), completed("x4", "b", "P1", today, 60))
	if n, err := s.ErasePlate(t.Context(), "a", "P1"); err != nil || n != 2 {
		t.Fatalf("erased %d, %v", n, err)
	}
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{Limit: 10}, "b/x4 a/x3"},
		{Query{Limit: 10, Plate: "P1"}, "b/x4"},
		{Query{Limit: 10, Plate: "P2"}, "a/x3"},
		{Query{Limit: 10, Status: parking.UnmatchedExit}, ""},
	} {
		if got := strings.Join(list(t, s, tt.q), " "); got != tt.want {
			t.Errorf("left of %+v: %q, want %q", tt.q, got, tt.want)
		}
	}
	if stats, err := s.Stats(t.Context(), []string{"a"}, time.Time{}, time.Time{}); err != nil || stats.Completed != 2 || stats.UnmatchedExits != 1 {
		t.Errorf("the sums tell nothing of a vehicle and are to stay: %+v, %v", stats.Counts, err)
	}
	checkKept(t, s, "x3 of P2")
	if n, err := s.ErasePlate(t.Context(), "a", "P1"); err != nil || n != 0 {
		t.Errorf("erased again: %d, %v", n, err)
	}
}
