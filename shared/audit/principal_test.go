package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/access"
)

func TestBy(t *testing.T) {
	got := By(access.Principal{Name: "anna", Role: access.Operator, Via: access.ViaSession, Address: "192.0.2.7", Sites: access.AllSites()}, Correct)
	want := Entry{Who: "anna", Role: "operator", Via: "session", Address: "192.0.2.7", Action: Correct}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Each role is a person or not: a new one has to be decided here. A principal of no role
// is recorded, too.
func TestPerson(t *testing.T) {
	want := map[access.Role]bool{
		access.Viewer: true, access.Operator: true, access.Admin: true, access.Open: true, "": true,
		access.Machine: false, access.Part: false,
	}
	for _, role := range append(access.Roles(), access.Part, access.Open, "") {
		if wanted, decided := want[role]; !decided || Person(access.Principal{Role: role}) != wanted {
			t.Errorf("role %q: %t, decided %t", role, Person(access.Principal{Role: role}), decided)
		}
	}
}
