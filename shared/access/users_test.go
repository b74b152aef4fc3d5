package access

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"
)

// hash returns a hash that is cheap to check.
func hash(tb testing.TB, password string) string {
	tb.Helper()
	text, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

var (
	someHash  = "$2a$10$" + strings.Repeat("x", 53)
	someToken = tokenPrefix + strings.Repeat("ab", 32)
)

func TestParseUsers(t *testing.T) {
	users, err := ParseUsers([]byte("\n# people\r\n" +
		`{"name":"anna","role":"operator","sites":["south","north","south"],"password":"` + someHash + "\"}\r\n" +
		"  \t\n" +
		`  {"role":"viewer","name":"ben@example.com","plates":true,"password":"$2y$14$` + strings.Repeat(".", 53) + `"}` + "\n" +
		`# {"name":"anna"` + "\n" +
		`{"name":"gate-3","role":"machine","sites":["*"],"token":"` + someToken + `"}` + "\n" +
		`{"name":"root","role":"admin","password":"` + someHash + `","token":"sha256:` + strings.Repeat("AB", 31) + `00"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range users.All() {
		got = append(got, fmt.Sprint(u.Name, u.Role, u.Sites.All(), u.Sites.Names(), u.Plates, u.HasPassword(), u.HasToken()))
	}
	want := []string{
		fmt.Sprint("anna", Operator, false, []string{"north", "south"}, false, true, false),
		fmt.Sprint("ben@example.com", Viewer, true, []string{}, true, true, false),
		fmt.Sprint("gate-3", Machine, true, []string{}, false, false, true),
		fmt.Sprint("root", Admin, true, []string{}, false, true, true),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	if users.Find("root") == nil || users.Find("Root") != nil || users.Find("") != nil {
		t.Error("a user is found by another name, or not by his own")
	}
	// A name that is not there takes as long as the slowest that is.
	if cost, err := bcrypt.Cost([]byte(users.decoy)); cost != 14 || err != nil || checkHash(users.decoy) != nil {
		t.Errorf("the decoy has cost %d, %v", cost, err)
	}
	if none, err := ParseUsers(nil); err != nil || len(none.All()) != 0 || none.FindToken("") != nil {
		t.Errorf("no text: %v", err)
	}
}

func TestMistakesInUsers(t *testing.T) {
	with := func(member string) string {
		return `{"name":"a","role":"viewer","password":"` + someHash + `",` + member + `}`
	}
	for _, tt := range []struct{ line, want string }{
		{`{}`, "name: want 1 to 64|role: want viewer|neither password nor token"},
		{`{"name":"a:b","role":"Viewer","password":"` + someHash + `"}`, "name: want|role: want viewer"},
		{`{"name":"` + strings.Repeat("a", 65) + `","role":"viewer","password":"` + someHash + `"}`, "name: want"},
		{`{"name":"-a","role":"viewer","password":"` + someHash + `"}`, "name: want"},
		{`{"name":"a\u0000","role":"viewer","password":"` + someHash + `"}`, "name: want"},
		{`{"name":"ä","role":"viewer","password":"` + someHash + `"}`, "name: want"},
		{`{"name":"a","role":"open","password":"` + someHash + `"}`, "role: want viewer"},
		{`{"name":"a","role":"part","password":"` + someHash + `"}`, "role: want viewer"},
		{`{"name":"a","role":"machine","password":"` + someHash + `"}`, "password: a machine has a token only"},
		{`{"name":"a","role":"viewer","password":"secret"}`, "password: want a bcrypt hash"},
		{`{"name":"a","role":"viewer","password":"$2a$15$` + strings.Repeat("x", 53) + `"}`, "password: want a bcrypt hash"},
		{`{"name":"a","role":"viewer","password":"$2a$03$` + strings.Repeat("x", 53) + `"}`, "password: want a bcrypt hash"},
		{`{"name":"a","role":"viewer","password":"$1a$10$` + strings.Repeat("x", 53) + `"}`, "password: want a bcrypt hash"},
		{`{"name":"a","role":"viewer","password":"` + someHash + `x"}`, "password: want a bcrypt hash"},
		{`{"name":"a","role":"viewer","password":"$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"}`, "password: want a bcrypt hash"},
		{`{"name":"a","role":"viewer","token":"secret"}`, "token: want sha256:"},
		{`{"name":"a","role":"viewer","token":"` + someToken + `a"}`, "token: want sha256:"},
		{`{"name":"a","role":"viewer","token":"` + strings.TrimPrefix(someToken, tokenPrefix) + `"}`, "token: want sha256:"},
		{with(`"sites":[]`), "sites: the list is empty"},
		{with(`"sites":null`), "sites: want an array"},
		{with(`"sites":"north"`), "sites: want an array"},
		{with(`"sites":[1]`), "sites: want an array"},
		{with(`"sites":["a","*"]`), "sites: site"},
		{with(`"sites":[""]`), "site"},
		{with(`"sites":["a b"]`), "site"},
		{with(`"plates":1`), "plates: want true or false"},
		{with(`"plates":"yes"`), "plates: want true or false"},
		{`{"name":"a","role":"admin","plates":true,"password":"` + someHash + `"}`, "plates: this is for viewers"},
		{with(`"site":["a"]`), `"site" is not known`},
		{with(`"Sites":["a"]`), `"Sites" is not known`},
		{with(`"role":"admin"`), "a member is given twice"},
		{`{"name":1}`, "name: want a text"},
		{`{"name":"a","role":["admin"]}`, "role: want a text"},
		{`[]`, "this is not a JSON object on one line"},
		{`null`, "name: want|role: want|neither"},
		{`anna:secret`, "this is not a JSON object on one line"},
		{`{"name":"a"`, "this is not a JSON object on one line"},
		{with(`"plates":true`) + "}", "this is not a JSON object on one line"},
		{with(`"plates":true`) + with(`"plates":true`), "this is not a JSON object on one line"},
		{"{\"name\":\"\xff\"}", "this is not a JSON object on one line"},
	} {
		_, err := ParseUsers([]byte("\n" + tt.line + "\n"))
		if err == nil {
			t.Errorf("%s: no mistake", tt.line)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		want := strings.Split(tt.want, "|")
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], "users: line 2: ") || !strings.Contains(got[i], want[i]) {
				t.Errorf("%s:\n got %q\nwant %q", tt.line, got, want)
				break
			}
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "xxxx") || strings.Contains(err.Error(), "abab") {
			t.Errorf("the mistake shows a password or token: %v", err)
		}
	}
}

// Mistakes in several lines are told at once, up to a bound; a file is bounded, too.
func TestBoundsOfUsers(t *testing.T) {
	line := func(name, more string) string { return `{"name":"` + name + `","role":"viewer"` + more + "}\n" }
	withPassword := func(name string) string { return line(name, `,"password":"`+someHash+`"`) }
	withToken := func(name string) string { return line(name, `,"token":"`+someToken+`"`) }
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"names twice":  {withPassword("a") + withPassword("b") + withPassword("a"), []string{`users: line 3: the name "a" is that of line 1`}},
		"tokens twice": {withToken("a") + "\n" + withToken("b"), []string{`users: line 3: the token is that of line 1`}},
		"several": {line("a", "") + withPassword("b") + "{}\n", []string{
			"users: line 1: neither password nor token is given", "users: line 3: name: want 1 to 64 ASCII letters, digits and . _ @ + -, the first a letter or digit",
			"users: line 3: role: want viewer, operator, admin or machine", "users: line 3: neither password nor token is given",
		}},
		"too large": {strings.Repeat("#", maxUsersBytes+1), []string{"users: the file has 4194305 bytes, want at most 4194304"}},
	} {
		_, err := ParseUsers([]byte(tt.text))
		if err == nil {
			t.Errorf("%s: no mistake", name)
		} else if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	_, err := ParseUsers([]byte(strings.Repeat(line("a", ""), 30)))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxMistakes+1 || lines[maxMistakes] != "users: and 10 more mistakes" {
		t.Errorf("%d lines, the last %s", len(lines), lines[len(lines)-1])
	}
	var many bytes.Buffer
	for i := range maxUsers {
		many.WriteString(withPassword(fmt.Sprint("u", i)))
	}
	if users, err := ParseUsers(many.Bytes()); err != nil || len(users.All()) != maxUsers {
		t.Errorf("%d users: %v", maxUsers, err)
	}
	many.WriteString(withPassword("another") + withPassword("one-more"))
	if _, err := ParseUsers(many.Bytes()); err == nil || err.Error() != "users: line 10001: there are more than 10000 users" {
		t.Errorf("too many users: %v", err)
	}
}

// The edits change one line and leave the others as they are.
func TestEdits(t *testing.T) {
	file := []byte("# ours\r\n\n" + `{ "name":"anna", "role":"operator", "sites":["north"], "password":"` + someHash + "\"}\r\n" +
		`{"name":"gate","role":"machine","token":"` + someToken + `"}`)
	before, _ := ParseUsers(file)
	lines := func(text []byte) []string { return slices.Collect(strings.Lines(string(text))) }

	added, err := AddUser(file, NewUser{Name: "ben", Role: Viewer, Sites: []string{"south"}, Plates: true, Password: "a <long> password"})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(added, append(slices.Clone(file), '\n')) || len(lines(added)) != 5 {
		t.Errorf("after the addition:\n%s", added)
	}
	users, err := ParseUsers(added)
	if err != nil {
		t.Fatal(err)
	}
	ben := users.Find("ben")
	if ben.Role != Viewer || !ben.Plates || !slices.Equal(ben.Sites.Names(), []string{"south"}) || ben.HasToken() ||
		bcrypt.CompareHashAndPassword([]byte(ben.password), []byte("a <long> password")) != nil {
		t.Errorf("the new user is %+v", ben)
	}
	if cost, _ := bcrypt.Cost([]byte(ben.password)); cost != 10 {
		t.Errorf("the cost of a new password is %d", cost)
	}

	token := NewToken()
	changed, err := SetToken(file, "anna", token)
	if err != nil {
		t.Fatal(err)
	}
	users, _ = ParseUsers(changed)
	anna := users.Find("anna")
	if users.FindToken(token) != anna || !anna.HasPassword() || anna.Fingerprint() == before.Find("anna").Fingerprint() {
		t.Errorf("with a token anna is %+v", anna)
	}
	if users.Find("gate").Fingerprint() != before.Find("gate").Fingerprint() {
		t.Error("the other user has changed")
	}
	if got, want := lines(changed), lines(file); got[0] != want[0] || got[1] != want[1] || got[3] != want[3] || strings.Contains(string(changed), token) {
		t.Errorf("with a token:\n%s", changed)
	}

	changed, err = SetPassword(changed, "anna", "another")
	if err != nil {
		t.Fatal(err)
	}
	users, _ = ParseUsers(changed)
	if anna = users.Find("anna"); users.FindToken(token) != anna || anna.password == someHash || checkHash(anna.password) != nil {
		t.Errorf("with another password anna is %+v", anna)
	}

	removed, err := RemoveUser(file, "anna")
	if want := strings.Join(slices.Concat(lines(file)[:2], lines(file)[3:]), ""); err != nil || string(removed) != want {
		t.Errorf("without anna: %v\n%s", err, removed)
	}
	alone, _ := AddUser(nil, NewUser{Name: "x", Role: Machine, Token: token})
	if empty, err := RemoveUser(alone, "x"); err != nil || string(empty) != "# no users\n" {
		t.Errorf("without a user: %q %v", empty, err)
	}
}

func TestRefusedEdits(t *testing.T) {
	file := []byte(`{"name":"anna","role":"operator","password":"` + someHash + `"}`)
	add := func(u NewUser) func([]byte) ([]byte, error) {
		return func(file []byte) ([]byte, error) { return AddUser(file, u) }
	}
	token := NewToken()
	for _, tt := range []struct {
		edit func([]byte) ([]byte, error)
		want string
	}{
		{add(NewUser{Name: "anna", Role: Viewer, Password: "p"}), "the user anna exists"},
		{add(NewUser{Name: "a b", Role: "king", Sites: []string{"x y"}}), "name: want"},
		{add(NewUser{Name: "a b", Role: "king", Sites: []string{"x y"}}), "role: want"},
		{add(NewUser{Name: "a b", Role: "king", Sites: []string{"x y"}}), "sites: "},
		{add(NewUser{Name: "ben", Role: Viewer}), "neither password nor token is given"},
		{add(NewUser{Name: "ben", Role: Viewer, Password: strings.Repeat("p", 73)}), "want a password of 1 to 72 bytes"},
		{add(NewUser{Name: "ben", Role: Viewer, Token: "short"}), "want a token of at least 20 bytes"},
		{add(NewUser{Name: "ben", Role: Machine, Password: "p"}), "a machine has a token only"},
		{add(NewUser{Name: "ben", Role: Admin, Plates: true, Token: token}), "plates: "},
		{func(file []byte) ([]byte, error) { return RemoveUser(file, "ben") }, "there is no user ben"},
		{func(file []byte) ([]byte, error) { return RemoveUser(file, "") }, "there is no user"},
		{func(file []byte) ([]byte, error) { return SetPassword(file, "ben", "p") }, "there is no user ben"},
		{func(file []byte) ([]byte, error) { return SetPassword(file, "anna", "") }, "want a password"},
		{func(file []byte) ([]byte, error) { return SetToken(file, "ben", token) }, "there is no user ben"},
		{func(file []byte) ([]byte, error) { return SetToken(file, "anna", "") }, "want a token"},
		{func([]byte) ([]byte, error) { return RemoveUser([]byte("anna:secret\n"), "anna") }, "users: line 1: this is not a JSON object"},
	} {
		if changed, err := tt.edit(file); err == nil || !strings.Contains(err.Error(), tt.want) || changed != nil {
			t.Errorf("%v, want %s; %q", err, tt.want, changed)
		}
	}
	if one, two := NewToken(), NewToken(); one == two || len(one) != 64 {
		t.Errorf("tokens %s %s", one, two)
	}
}

// A user who was added is found, and all lines are as before when he is removed again.
func TestEditsAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var file []byte
		for i := range rapid.IntRange(0, 4).Draw(t, "users") {
			file = append(file, rapid.SampledFrom([]string{"", "\n", "# a comment\n", "  \r\n"}).Draw(t, "between")...)
			var err error
			if file, err = AddUser(file, NewUser{Name: fmt.Sprint("u", i), Role: Machine, Token: NewToken()}); err != nil {
				t.Fatal(err)
			}
		}
		u := NewUser{
			Name: rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9._@+-]{0,9}`).Filter(func(s string) bool { return s[0] != 'u' }).Draw(t, "name"),
			Role: rapid.SampledFrom(Roles()).Draw(t, "role"), Sites: rapid.SliceOf(rapid.StringMatching(`[a-z]{1,3}`)).Draw(t, "sites"), Token: NewToken(),
		}
		added, err := AddUser(file, u)
		if err != nil {
			t.Fatal(err)
		}
		users, err := ParseUsers(added)
		if err != nil || users.FindToken(u.Token) != users.Find(u.Name) || users.Find(u.Name).Role != u.Role || users.Find(u.Name).Sites.All() != (len(u.Sites) == 0) {
			t.Fatalf("%v\n%s", err, added)
		}
		removed, err := RemoveUser(added, u.Name)
		if want := cmpOr(file, []byte(noUsers)); err != nil || !bytes.Equal(removed, want) {
			t.Fatalf("%v\n%q, want\n%q", err, removed, want)
		}
	})
}

func cmpOr(text, otherwise []byte) []byte {
	if len(bytes.TrimSpace(text)) == 0 {
		return otherwise
	}
	return text
}

// Whatever the text, its users are valid or its mistakes have lines, and no mistake
// repeats more of the text than names.
func FuzzUsers(f *testing.F) {
	f.Add([]byte(`{"name":"anna","role":"operator","sites":["north"],"password":"` + someHash + `"}` + "\n# x\n"))
	f.Add([]byte(`{"name":"gate","role":"machine","token":"` + someToken + `"}`))
	f.Add([]byte(`{"name":"a","role":"viewer","plates":true,"sites":["*"],"token":"` + someToken + `"}` + "\r\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, err := ParseUsers(text)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "users: ") {
					t.Errorf("a mistake without a line: %q", line)
				}
			}
			return
		}
		for _, u := range users.All() {
			switch {
			case checkUserName(u.Name) != nil, !slices.Contains(Roles(), u.Role), !u.HasPassword() && !u.HasToken(), u.Role == Machine && u.HasPassword(),
				!u.Sites.All() && len(u.Sites.Names()) == 0, users.Find(u.Name) != u:
				t.Errorf("%+v", u)
			}
			removed, err := RemoveUser(text, u.Name)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := ParseUsers(removed)
			if err != nil || len(rest.All()) != len(users.All())-1 || rest.Find(u.Name) != nil {
				t.Errorf("without %s: %v, %d of %d users", u.Name, err, len(rest.All()), len(users.All()))
			}
		}
		if _, err := AddUser(text, NewUser{Name: "anna", Role: Machine, Token: strings.Repeat("t", minToken)}); err != nil && users.Find("anna") == nil && users.FindToken(strings.Repeat("t", minToken)) == nil && len(users.All()) < maxUsers && len(text) < maxUsersBytes/2 {
			t.Errorf("a user cannot be added: %v", err)
		}
	})
}

// A wrong password costs the same whatever the hash of the user, and for unknown users.
func TestWrongPasswordsCostTheSame(t *testing.T) {
	const dear = bcrypt.MinCost + 3
	users, err := ParseUsers(fmt.Appendf(nil, `{"name":"cheap","role":"viewer","password":%q}`+"\n"+`{"name":"dear","role":"viewer","password":%q}`,
		hash(t, "right"), decoyOf(dear)))
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{users.Find("cheap").password, users.Find("dear").password, users.decoy} {
		l := login{name: "name", hash: hash, password: "wrong", cost: users.cost}
		work := 0
		for _, one := range append(l.padding(), hash) {
			cost, err := bcrypt.Cost([]byte(one))
			if err != nil {
				t.Fatal(err)
			}
			work += 1 << cost
		}
		if work != 1<<dear || l.right() {
			t.Errorf("a wrong password costs %d rounds for %.7s, want %d", work, hash, 1<<dear)
		}
	}
	if l := (login{hash: users.Find("cheap").password, password: "right", cost: users.cost}); !l.right() {
		t.Error("the right password is wrong")
	}
}

// Editors of some systems begin a file with a byte order mark and end lines in CRLF.
func TestUsersFileOfAnEditor(t *testing.T) {
	line := fmt.Sprintf(`{"name":"anna","role":"viewer","password":%q}`, hash(t, "anna's"))
	plain, err := ParseUsers([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	file := []byte("\ufeff" + line + "\r\n# end\r\n")
	users, err := ParseUsers(file)
	if err != nil || users.Find("anna").Fingerprint() != plain.Find("anna").Fingerprint() {
		t.Fatalf("with a byte order mark: %v", err)
	}
	if file, err = SetPassword(file, "anna", "another"); err != nil || bytes.Contains(file, []byte("\ufeff")) {
		t.Errorf("edited: %q %v", file, err)
	}
	if file, err = RemoveUser(file, "anna"); err != nil || string(file) != "# end\r\n" {
		t.Errorf("removed: %q %v", file, err)
	}
}
