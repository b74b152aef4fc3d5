package secrets

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"parkstream/shared/access"
)

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	for _, made := range []string{"first", "second"} {
		got, err := Ensure(dir, "token", func() string { return made })
		if err != nil || got != "first" {
			t.Errorf("%q, %v", got, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// All that write a secret at the same time get the value of the first, also if an empty
// file is there.
func TestSecretAtTheSameTime(t *testing.T) {
	for _, name := range []string{"missing", "empty"} {
		for range 20 {
			dir := t.TempDir()
			if name == "empty" {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := make([]string, 8)
			var all sync.WaitGroup
			for i := range got {
				all.Go(func() {
					var err error
					if got[i], err = Ensure(dir, name, func() string { return strconv.Itoa(i) }); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || slices.ContainsFunc(got, func(s string) bool { return s != string(text) }) {
				t.Fatalf("%s: %q got %q, %v is in the file", name, got, text, err)
			}
		}
	}
}

// One that is never made has to be there.
func TestSecretThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	for _, made := range []string{"", "\n"} {
		if made != "" {
			if err := os.WriteFile(filepath.Join(dir, "token"), []byte(made), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := Ensure(dir, "token", nil); got != "" || err == nil || !strings.Contains(err.Error(), "the secret token is missing or empty in "+dir) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A secret is readable by its owner only, even if another file was there before. A
// reader gets the old secret or the new one, never a part.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(file) // as a reader has it that comes at a bad moment
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := Write(dir, "token", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if text, err := os.ReadFile(file); string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := io.ReadAll(old); string(text) != "old" {
		t.Errorf("who has opened the old one reads %q, %v", text, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, "folder", []byte("value")); err == nil || !strings.Contains(err.Error(), "write the secret folder") || strings.Contains(err.Error(), "value") {
		t.Errorf("in place of a folder: %v", err)
	}
	files, err := os.ReadDir(dir)
	if len(files) != 2 || err != nil {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestSecretThatIsEmptyOrEdited(t *testing.T) {
	for text, want := range map[string]string{"": "made", "\n": "made", "mine\n": "mine", "mine\r\n": "mine", "a b": "a b"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Ensure(dir, "token", func() string { return "made" })
		if err != nil || got != want {
			t.Errorf("a file with %q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// Edits at the same time follow one another, a link stays one, and what is refused or
// the same changes nothing.
func TestEdit(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "users"), filepath.Join(t.TempDir(), "link")
	add := func(text []byte) ([]byte, error) { return append(text, "line\n"...), nil }
	if err := errors.Join(os.Symlink(file, link), Edit(file, add)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := Edit([]string{file, link}[i%2], add); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if text, err := os.ReadFile(file); err != nil || strings.Count(string(text), "line\n") != 21 {
		t.Errorf("%q, %v", text, err)
	}
	before, err := os.Stat(file)
	if err != nil || before.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", before, err)
	}
	refused := errors.New("refused")
	if err := Edit(file, func([]byte) ([]byte, error) { return []byte("other"), refused }); !errors.Is(err, refused) {
		t.Errorf("a refused edit: %v", err)
	}
	if err := Edit(file, func(text []byte) ([]byte, error) { return text, nil }); err != nil {
		t.Error(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written: %v", err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link: %v, %v", info, err)
	}
	if err := Edit(filepath.Join(dir, "none", "users"), func(text []byte) ([]byte, error) { return text, nil }); err == nil || !strings.Contains(err.Error(), "edit ") {
		t.Errorf("in a folder that is missing: %v", err)
	}
}

// A system on this machine has the token of an administrator, in a folder of any age, and
// takes none away that a person has made.
func TestEnsureAccess(t *testing.T) {
	const other = `{"name":"admin","role":"admin","token":"sha256:` + "0000000000000000000000000000000000000000000000000000000000000000" + "\"}\n"
	for name, tt := range map[string]struct {
		users string
		has   bool // admin-token is that of an administrator
	}{
		"users of a person":           {"# mine\n", true},
		"admin without a token":       {strings.Replace(other, `"token":"sha256:`, `"password":"$2a$10$`, 1)[:len(`{"name":"admin","role":"admin","password":"$2a$10$`)+53] + "\"}\n", true},
		"admin with another token":    {other, false},
		"admin is the name of others": {strings.Replace(other, `"role":"admin"`, `"role":"viewer"`, 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, UsersFile)
			if err := os.WriteFile(file, []byte(tt.users), 0o600); err != nil {
				t.Fatal(err)
			}
			var texts []string
			for range 2 {
				if err := EnsureAccess(dir); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, string(text))
			}
			if texts[0] != texts[1] || !tt.has && texts[0] != tt.users {
				t.Errorf("the users are %q", texts)
			}
			users, err := access.ParseUsers([]byte(texts[0]))
			if err != nil {
				t.Fatal(err)
			}
			token, err := Ensure(dir, AdminToken, nil)
			if u := users.FindToken(token); err != nil || (u != nil && u.Role == access.Admin) != tt.has {
				t.Errorf("admin-token is that of %+v, %v", u, err)
			}
			for _, name := range []string{SummaryToken, ConnectorToken, SessionKey, MetricsToken} {
				if _, err := Ensure(dir, name, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, UsersFile), []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := EnsureAccess(dir); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("with a users file that has mistakes: %v", err)
	}
}
