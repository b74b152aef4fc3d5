package parking

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// The example in the documentation is what the rule makes of it.
func TestTheExampleOfTheRule(t *testing.T) {
	read := func(kind Kind, id, raw string, at time.Duration) Event {
		e, err := NewEvent(Event{ID: id, Kind: kind, RawPlate: raw, Time: noon.Add(at)})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	stays := Match([]Event{
		read(Entry, "in:1", "MA8-1234", -4*time.Hour), read(Exit, "out:2", "M AB 1234", -90*time.Minute),
		read(Entry, "in:3", "LK18 ABC", -2*time.Hour), // of another vehicle
	}, nil, nil, nil)
	if len(stays) != 1 || stays[0].Match == nil || stays[0].EntryID != "in:1" {
		t.Fatalf("stays %+v", stays)
	}
	got, err := json.MarshalIndent(stays[0].Match, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/matching.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "<!-- example:begin -->\n```json\n")
	example, _, _ = strings.Cut(example, "```\n<!-- example:end -->")
	if strings.TrimSpace(example) != string(got) {
		t.Errorf("the example in docs/matching.md is\n%s\nbut should be\n%s", example, got)
	}
}
