package summary

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"parkstream/docs/api/apitest"
	"parkstream/shared/access"
	"parkstream/shared/process"
)

// everyRight are the rights of the token in most tests.
var everyRight = []access.Right{access.Read, access.ReadPlates, access.Correct, access.Administer, access.PostStays}

// newGuard returns a guard of a users file, open if there is none. It takes the token of
// another part, which has some rights.
func newGuard(t *testing.T, users string, secret func() (string, error), rights ...access.Right) *access.Guard {
	t.Helper()
	dir, mode := t.TempDir(), "open"
	if users != "" {
		mode = "closed"
		if err := os.WriteFile(filepath.Join(dir, "users"), []byte(users), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := process.New(process.Options{Name: "summary", Environ: []string{"SECRETS_DIR=" + dir, "LISTEN=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	g, err := access.New(p, access.Settings{Access: mode})
	if err != nil {
		t.Fatal(err)
	}
	g.Token("processors", secret, rights...)
	return g
}

// admitting serves an endpoint as a function does: Admit decides before the body is
// read. It requires of each response that docs/api describes it.
type admitting struct {
	t testing.TB
	*Endpoint
}

func (a admitting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	apitest.Handler(a.t, "summary", http.HandlerFunc(a.admit)).ServeHTTP(w, r)
}

func (a admitting) admit(w http.ResponseWriter, r *http.Request) {
	if ctx, _, admitted := a.Admit(w, r); admitted {
		a.Endpoint.ServeHTTP(w, r.WithContext(ctx))
	}
}
