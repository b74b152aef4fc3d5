package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"
	"golang.org/x/crypto/bcrypt"

	"parkstream/shared/access"
)

// users runs `parkstream users ARGS...` on a file with an input.
func users(t *testing.T, file, in string, args ...string) (out, notes string, err error) {
	t.Helper()
	var p struct {
		Users usersCommand `cmd:""`
	}
	parser, err := kong.New(&p)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(append([]string{"users"}, append(args, "--file", file)...))
	if err != nil {
		return "", "", err
	}
	var o, n bytes.Buffer
	term := terminal{t.Context(), strings.NewReader(in), &o, &n}
	switch c := p.Users; k.Command() {
	case "users add <name>":
		err = c.Add.run(term)
	case "users list":
		err = c.List.run(term)
	case "users remove <name>":
		err = c.Remove.run(term)
	default:
		err = c.Passwd.run(term)
	}
	return o.String(), n.String(), err
}

// hasPassword reports whether a user of a file has a password.
func hasPassword(t *testing.T, file, name, password string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var u struct{ Name, Password string }
		if json.Unmarshal([]byte(line), &u) == nil && u.Name == name {
			return bcrypt.CompareHashAndPassword([]byte(u.Password), []byte(password)) == nil
		}
	}
	return false
}

func parsed(t *testing.T, file string) *access.Users {
	t.Helper()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	found, err := readUsers(file)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var oneToken = regexp.MustCompile(`^[0-9a-f]{64}\n$`)

// A user's life. A token is printed once, alone; what is secret is in no other output.
func TestUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "users")
	var secret []string
	run := func(in string, args ...string) string {
		t.Helper()
		out, notes, err := users(t, file, in, args...)
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		if notes == "" && args[0] != "list" {
			t.Errorf("%q tells nothing", args)
		}
		secret = append(secret, "hunter2", "other")
		for _, s := range secret {
			if strings.Contains(notes, s) || args[0] == "list" && strings.Contains(out, s) {
				t.Errorf("%q prints %q: %s%s", args, s, out, notes)
			}
		}
		if args[0] != "list" && out != "" {
			if !oneToken.MatchString(out) {
				t.Errorf("%q prints %q", args, out)
			}
			secret = append(secret, strings.TrimSpace(out))
		}
		return out
	}
	if out := run("hunter2\r\n", "add", "anna", "--role", "operator", "--site", "north,south", "--site", "east", "--password-file", "-"); out != "" {
		t.Errorf("with a password it prints %q", out)
	}
	token := strings.TrimSpace(run("", "add", "gate-3", "--role", "machine", "--site", "north"))
	screen := strings.TrimSpace(run("", "add", "screen", "--role", "viewer", "--plates", "--token"))
	found := parsed(t, file)
	if u := found.FindToken(token); u == nil || u.Name != "gate-3" || u.Role != access.Machine || u.HasPassword() || fmt.Sprint(u.Sites.Names()) != "[north]" {
		t.Errorf("the machine: %+v", u)
	}
	if u := found.FindToken(screen); u == nil || u.Name != "screen" || !u.Plates || u.HasPassword() || !u.Sites.All() {
		t.Errorf("a viewer with a token: %+v", u)
	}
	if u := found.Find("anna"); u.HasToken() || !u.HasPassword() || fmt.Sprint(u.Sites.Names()) != "[east north south]" {
		t.Errorf("with a password: %+v", u)
	}

	// What a person writes into the file stays.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte("# the gates\n\n"), text...), 0o644); err != nil {
		t.Fatal(err)
	}
	next := strings.TrimSpace(run("", "passwd", "gate-3", "--token"))
	both := strings.TrimSpace(run("other\n", "passwd", "anna", "--token", "--password-file", "-"))
	if found = parsed(t, file); found.FindToken(token) != nil || found.FindToken(next) == nil || found.FindToken(both).Name != "anna" || !hasPassword(t, file, "anna", "other") {
		t.Error("the former ones still count, or the new ones do not")
	}
	list := run("", "list")
	for _, want := range []string{`anna +operator +east,north,south +whole +password,token\n`, `gate-3 +machine +north +- +token\n`, `screen +viewer +all +whole +token\n`} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("the list has no %s:\n%s", want, list)
		}
	}
	if strings.Contains(list, "$2") || strings.Contains(list, "sha256") {
		t.Errorf("the list has hashes:\n%s", list)
	}
	run("", "remove", "screen")
	if found = parsed(t, file); found.Find("screen") != nil || len(found.All()) != 2 {
		t.Errorf("%d users are left", len(found.All()))
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "# the gates\n\n{") {
		t.Errorf("%s, %v", text, err)
	}
}

// What cannot be is refused with every mistake at once, and changes nothing.
func TestUsersRefuses(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	before := `{"name":"anna","role":"viewer","password":"$2a$10$` + strings.Repeat("a", 53) + "\"}\n"
	file, broken := write("users", before), write("broken", "{\"name\":\"a b\"}\n{\n")
	long := write("long", strings.Repeat("x", 73)+"\n")
	good, lines, empty := write("good", "hunter2"), write("lines", "one\ntwo\n"), write("empty", "\n")
	for name, tt := range map[string]struct {
		file, args string
		want       []string
	}{
		"all at once":          {file, "add a:b --role viewer --site x/y --plates --password-file " + long, []string{"name: want", `site "x/y"`, "72 bytes"}},
		"the name is taken":    {file, "add anna --role admin --token", []string{"anna exists"}},
		"no role":              {file, "add bob", []string{"--role"}},
		"another role":         {file, "add bob --role king", []string{"viewer"}},
		"plates of a machine":  {file, "add bob --role machine --plates", []string{"plates"}},
		"a machine's password": {file, "add bob --role machine --password-file " + good, []string{"machine"}},
		"no terminal":          {file, "add bob --role viewer", []string{"--password-file", "--token"}},
		"no password file":     {file, "add bob --role viewer --password-file " + filepath.Join(dir, "none"), []string{"no such file"}},
		"an empty password":    {file, "add bob --role viewer --password-file " + empty, []string{"one line with the password"}},
		"two lines":            {file, "passwd anna --password-file " + lines, []string{"one line with the password"}},
		"a long password":      {file, "passwd anna --password-file " + long, []string{"72 bytes"}},
		"passwd of no user":    {file, "passwd bob", []string{"there is no user bob"}},
		"remove no user":       {file, "remove bob", []string{"there is no user bob"}},
		"a file with mistakes": {broken, "add bob --role viewer --token", []string{"line 1", "line 2"}},
		"list mistakes":        {broken, "list", []string{"line 1", "line 2"}},
		"list of no file":      {filepath.Join(dir, "none"), "list", []string{"no such file"}},
		"passwd in no file":    {filepath.Join(dir, "none"), "passwd anna", []string{"no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			was, _ := os.ReadFile(tt.file)
			out, _, err := users(t, tt.file, "", strings.Fields(tt.args)...)
			if err == nil || out != "" {
				t.Fatalf("%q, %v", out, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want it with %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "xxx") || strings.Contains(err.Error(), "aaaa") {
				t.Errorf("a secret is told: %v", err)
			}
			if is, _ := os.ReadFile(tt.file); !bytes.Equal(was, is) {
				t.Errorf("the file is %q now", is)
			}
		})
	}
}

// Edits at the same time are all in the file.
func TestUsersAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if _, _, err := users(t, file, "", "add", fmt.Sprint("gate-", i), "--role", "machine"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(parsed(t, file).All()); n != 8 {
		t.Errorf("%d users", n)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A token that could not be printed is told to be lost.
func TestUsersTokenIsLost(t *testing.T) {
	c := usersAddCommand{Name: "gate-3", Role: "machine", usersFile: usersFile{filepath.Join(t.TempDir(), "users")}}
	if err := c.run(terminal{t.Context(), strings.NewReader(""), broken{}, new(bytes.Buffer)}); err == nil || !strings.Contains(err.Error(), "passwd NAME --token") {
		t.Errorf("%v", err)
	}
}
