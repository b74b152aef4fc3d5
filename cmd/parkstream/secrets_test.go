package main

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parkstream/cmd/internal/secrets"
	"parkstream/shared/access"
)

// secretsInit is secretsInitWithUsers in a folder that has a users file: the hash of a
// password takes its time.
func secretsInit(t *testing.T, c secretsInitCommand, in string) (out, notes string, err error) {
	t.Helper()
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if file := filepath.Join(c.Dir, "users"); !exists(file) {
		if err := os.WriteFile(file, []byte("# of a person\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return secretsInitWithUsers(t, c, in)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// secretsInitWithUsers runs `parkstream secrets init` with the defaults of its flags.
// Whatever it does, it prints no secret of its folder, in whole or in part.
func secretsInitWithUsers(t *testing.T, c secretsInitCommand, in string) (out, notes string, err error) {
	t.Helper()
	c.RabbitMQ, c.Redis = "rabbitmq:5672", "redis:6379"
	var o, n bytes.Buffer
	err = c.run(strings.NewReader(in), &o, &n)
	printed := fmt.Sprint(&o, &n, err)
	for _, secret := range secretsIn(c.Dir) {
		if strings.Contains(printed, secret) {
			t.Errorf("%q is printed: %s", secret, printed)
		}
	}
	return o.String(), n.String(), err
}

// secretsIn returns the tokens and, of each URL, the password as it is and as the URL
// has it.
func secretsIn(dir string) (found []string) {
	for _, name := range []string{"summary-token", "connector-token", "session-key", "admin-password", "metrics-token", "rabbitmq-url", "redis-url"} {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		for value := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == ',' || r == '\n' }) {
			if u, err := url.Parse(value); err == nil && u.User != nil {
				password, _ := u.User.Password()
				_, encoded, _ := strings.Cut(u.User.String(), ":")
				found = append(found, password, encoded)
			} else {
				found = append(found, value)
			}
		}
	}
	return found
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		found[e.Name()] = string(text)
	}
	return found
}

// With --nodes all of a deployment is written, the passwords in the URLs are those of
// the nodes, and a second run changes nothing.
func TestSecretsInitForNodes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a folder's")
	out, _, err := secretsInitWithUsers(t, secretsInitCommand{Dir: dir, Nodes: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	first := files(t, dir)
	for file, want := range map[string]string{
		"rabbitmq-url":  `^amqp://parkstream:\w{20,}@rabbitmq:5672/$`,
		"redis-url":     `^redis://:\w{20,}@redis:6379/0$`,
		"summary-token": `^\w{20,}$`, "connector-token": `^\w{20,}$`, "session-key": `^([0-9a-f]{64}\n){2}$`,
		"admin-password": `^\w{20,}$`, "metrics-token": `^[0-9a-f]{64}$`,
		"rabbitmq.conf": `^default_user = parkstream\ndefault_pass = \w{20,}\n$`,
		"redis.conf":    `(?s)^requirepass \w{20,}\n.*appendonly yes\nappendfsync always\nmaxmemory-policy noeviction\n`,
	} {
		if !regexp.MustCompile(want).MatchString(first[file]) {
			t.Errorf("%s is %q", file, first[file])
		}
	}
	if len(first) != 10 {
		t.Errorf("%d files", len(first))
	}
	checkUsers(t, dir)
	for config, secret := range map[string]string{"rabbitmq.conf": "rabbitmq-url", "redis.conf": "redis-url"} {
		u, err := url.Parse(first[secret])
		if err != nil {
			t.Fatal(err)
		}
		if password, _ := u.User.Password(); !strings.Contains(first[config], " "+password+"\n") {
			t.Errorf("%s has another password than %s", config, secret)
		}
	}

	again, notes, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, "")
	if err != nil || again != out || strings.Contains(notes, "wrote") {
		t.Errorf("the second run: %q, %q, %v", again, notes, err)
	}
	if diff := cmp.Diff(first, files(t, dir)); diff != "" {
		t.Errorf("the second run changes (-before +after):\n%s", diff)
	}

	// A shell runs the printed commands.
	script := `faas_cli() { printf '%s|' "$@"; cat "${4#--from-file=}"; echo; }` + "\n" + strings.ReplaceAll(out, "faas-cli", "faas_cli")
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	got, err := shell.Output()
	want := ""
	for _, name := range []string{"rabbitmq-url", "redis-url", "summary-token", "connector-token", "session-key", "users"} {
		want += "secret|create|" + name + "|--from-file=" + filepath.Join(dir, name) + "|" + first[name] + "\n"
	}
	if err != nil || string(got) != want {
		t.Errorf("a shell runs (-want +got):\n%s%v", cmp.Diff(want, string(got)), err)
	}

	// A configuration that is lost is written again, from the secret.
	if err := os.Remove(filepath.Join(dir, "redis.conf")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, files(t, dir)); diff != "" {
		t.Errorf("without its configuration (-before +after):\n%s", diff)
	}
	// One that is another's is not, and neither is the secret.
	if err := os.WriteFile(filepath.Join(dir, "redis.conf"), []byte("requirepass another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, ""); err == nil || !strings.Contains(err.Error(), "redis.conf is there with another password") {
		t.Errorf("a configuration with another password: %v", err)
	}
}

// checkUsers compares a users file with the secrets of its two users.
func checkUsers(t *testing.T, dir string) {
	t.Helper()
	made, file := files(t, dir), filepath.Join(dir, "users")
	users := parsed(t, file)
	if u := users.Find("admin"); u == nil || u.Role != access.Admin || !u.Sites.All() || !hasPassword(t, file, "admin", made["admin-password"]) {
		t.Errorf("admin-password is not that of an admin: %+v", u)
	}
	if u := users.FindToken(made["metrics-token"]); u == nil || !u.Principal(access.ViaToken).May(access.ReadMetrics) || len(users.All()) != 2 {
		t.Errorf("metrics-token reads no metrics: %+v", u)
	}
}

// A folder of an older version gets what is missing and keeps its own; what a person has
// taken out is not made again.
func TestSecretsInitInAnOlderFolder(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	mine := map[string]string{"rabbitmq-url": "amqp://u:hidden@host/", "redis-url": "redis://host/0", "summary-token": "mine-of-last-year", "users": "# of a person\n"}
	for name, value := range mine {
		write(name, value)
	}
	_, notes, err := secretsInitWithUsers(t, secretsInitCommand{Dir: dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	now := files(t, dir)
	for name, value := range mine {
		if now[name] != value || !strings.Contains(notes, "kept "+filepath.Join(dir, name)+"\n") {
			t.Errorf("%s is %q; %s", name, now[name], notes)
		}
	}
	if now["connector-token"] == "" || now["session-key"] == "" || len(now) != len(mine)+2 {
		t.Errorf("it makes %q", now)
	}
}

// A rotated session-key signs at once, and with a key that every replica knows already;
// what the former keys have signed stays valid until it is to end.
func TestSecretsRotate(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	file := filepath.Join(dir, "session-key")
	rotate := func(c secretsRotateCommand) (out string) {
		t.Helper()
		c.Dir = dir
		var o, n bytes.Buffer
		if err := c.run(&o, &n); err != nil {
			t.Fatal(err)
		}
		for _, s := range secretsIn(dir) {
			if printed := o.String() + n.String(); strings.Contains(printed, s) {
				t.Errorf("%q is printed: %s", s, printed)
			}
		}
		return o.String()
	}
	keys := func() []string {
		t.Helper()
		return strings.Fields(files(t, dir)["session-key"])
	}
	write("session-key", secrets.NewSessionKeys())
	first := keys()
	if out := rotate(secretsRotateCommand{Name: "session-key"}); out != "faas-cli secret update session-key --from-file="+file+"\n" {
		t.Errorf("it prints %q", out)
	}
	second := keys()
	if len(second) != 3 || second[0] != first[1] || second[2] != first[0] || slices.Contains(first, second[1]) {
		t.Errorf("%q becomes %q", first, second)
	}
	for range 20 {
		rotate(secretsRotateCommand{Name: "session-key"})
	}
	if n := len(keys()); n != 10 {
		t.Errorf("%d keys are kept", n)
	}
	last := keys()
	rotate(secretsRotateCommand{Name: "session-key", EndSessions: true})
	if now := keys(); len(now) != 2 || slices.ContainsFunc(now, func(k string) bool { return slices.Contains(last, k) }) {
		t.Errorf("to end all sessions %q becomes %q", last, now)
	}
	write("session-key", "# by hand\n"+first[0])
	rotate(secretsRotateCommand{Name: "session-key"})
	if now := keys(); len(now) != 3 || now[2] != first[0] {
		t.Errorf("one key of a person becomes %q", now)
	}
	for _, name := range []string{"connector-token", "summary-token"} {
		if err := (secretsRotateCommand{Name: name, Dir: dir}).run(io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "parkstream secrets init makes it") {
			t.Errorf("%s that is missing: %v", name, err)
		}
		write(name, "former-one")
		rotate(secretsRotateCommand{Name: name})
		if now := files(t, dir)[name]; len(now) < 20 {
			t.Errorf("%s is %q", name, now)
		}
	}
	if err := (secretsRotateCommand{Name: "summary-token", EndSessions: true}).Validate(); err == nil {
		t.Error("--end-sessions of a token")
	}
}

// With URLs of nodes that exist only the secrets are written.
func TestSecretsInitForURLs(t *testing.T) {
	const rabbitMQ, redisURL = "amqps://u:p%40ss@one:5671/v,amqps://u:p%40ss@two:5671/v", "rediss://user:hunter2@redis.example:6380/1"
	given := filepath.Join(t.TempDir(), "given")
	if err := os.WriteFile(given, []byte(redisURL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(in string) (string, error) {
		_, notes, err := secretsInit(t, secretsInitCommand{Dir: dir, RabbitMQURLFile: "-", RedisURLFile: given}, in)
		return notes, err
	}
	if _, err := run(rabbitMQ + "\r\n"); err != nil {
		t.Fatal(err)
	}
	first := files(t, dir)
	if first["rabbitmq-url"] != rabbitMQ || first["redis-url"] != redisURL || len(first["summary-token"]) < 20 || len(first) != 6 {
		t.Errorf("%q", first)
	}
	if notes, err := run(rabbitMQ); err != nil || strings.Contains(notes, "wrote") {
		t.Errorf("the second run: %q, %v", notes, err)
	}
	if _, err := run("amqp://u:hidden@three:5672/"); err == nil || !strings.Contains(err.Error(), "another value") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("another URL: %v", err)
	}
	if diff := cmp.Diff(first, files(t, dir)); diff != "" {
		t.Errorf("another URL changes (-before +after):\n%s", diff)
	}
	if err := os.Chmod(filepath.Join(dir, "redis-url"), 0o644); err != nil {
		t.Fatal(err)
	}
	if notes, err := run(rabbitMQ); err != nil || !strings.Contains(notes, "others can read it: chmod 600 "+filepath.Join(dir, "redis-url")) {
		t.Errorf("a secret that others can read: %q, %v", notes, err)
	}
	// An empty file, such as a full disk leaves, is not a secret.
	if err := os.WriteFile(filepath.Join(dir, "redis-url"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(rabbitMQ); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, files(t, dir)); diff != "" {
		t.Errorf("after an empty file (-before +after):\n%s", diff)
	}
}

// What cannot be is refused with what to do, without a secret, and writes nothing.
func TestSecretsInitRefuses(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	good, empty := write("good", "amqp://u:hidden@host/"), write("empty", "\n")
	for name, tt := range map[string]struct {
		c    secretsInitCommand
		in   string
		want string
	}{
		"nothing said":        {secretsInitCommand{}, "", "give its URL with --rabbitmq-url-file, or --nodes"},
		"one of two":          {secretsInitCommand{RabbitMQURLFile: good}, "", "give its URL with --redis-url-file, or --nodes"},
		"no file":             {secretsInitCommand{RabbitMQURLFile: filepath.Join(dir, "none")}, "", "no such file"},
		"an empty file":       {secretsInitCommand{RabbitMQURLFile: empty}, "", "it is empty"},
		"an empty input":      {secretsInitCommand{RabbitMQURLFile: "-"}, "", "it is empty"},
		"not of RabbitMQ":     {secretsInitCommand{RabbitMQURLFile: "-"}, "redis://:hidden@host", "no URL of a RabbitMQ"},
		"not of Redis":        {secretsInitCommand{RabbitMQURLFile: good, RedisURLFile: "-"}, "amqp://u:hidden@host/", "--redis-url-file: "},
		"no URL of RabbitMQ":  {secretsInitCommand{RabbitMQURLFile: "-"}, "hidden", "no URL of a RabbitMQ"},
		"no URL of Redis":     {secretsInitCommand{RabbitMQURLFile: good, RedisURLFile: "-"}, "://hidden", "--redis-url-file: "},
		"broken percent sign": {secretsInitCommand{RabbitMQURLFile: "-"}, "amqp://u:hidden%zz@host/", "no URL of a RabbitMQ"},
		"a bare slash":        {secretsInitCommand{RabbitMQURLFile: "-"}, "amqp://u:hid/den@host/", "special characters of the password percent-encoded"},
		"no port":             {secretsInitCommand{RabbitMQURLFile: "-"}, "amqp://u:hidden@host:99999/", "no URL of a RabbitMQ"},
		"both at once":        {secretsInitCommand{RabbitMQURLFile: empty, RedisURLFile: "-"}, "://hidden", "it is empty\n--redis-url-file: "},
	} {
		t.Run(name, func(t *testing.T) {
			tt.c.Dir = t.TempDir()
			_, _, err := secretsInitWithUsers(t, tt.c, tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if left := files(t, tt.c.Dir); len(left) > 0 {
				t.Errorf("it writes %q", left)
			}
		})
	}
	for _, c := range []secretsInitCommand{
		{RabbitMQURLFile: "-", RedisURLFile: "-", RabbitMQ: "a:1", Redis: "b:2"},
		{RabbitMQ: "rabbitmq", Redis: "b:2"},
		{RabbitMQ: "a:1", Redis: ":6379"},
		{RabbitMQ: "a:amqp", Redis: "b:2"},
		{RabbitMQ: "a:65536", Redis: "b:2"},
		{RabbitMQ: "a:0", Redis: "b:2"},
		{RabbitMQ: "u@a:1", Redis: "b:2"},
		{RabbitMQ: "a:1", Redis: "b/c:2"},
		{RabbitMQ: "a:1", Redis: "b c:2"},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

// A configuration whose URL is lost has a password that a node may run with: none is
// made in its place.
func TestSecretsInitWithoutTheURLOfAConfiguration(t *testing.T) {
	for secret, config := range map[string]string{"rabbitmq-url": "rabbitmq.conf", "redis-url": "redis.conf"} {
		dir := t.TempDir()
		if _, _, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, secret)); err != nil {
			t.Fatal(err)
		}
		before := files(t, dir)
		_, _, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, "")
		if err == nil || !strings.Contains(err.Error(), config+" is there without "+secret) {
			t.Errorf("%s without %s: %v", config, secret, err)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("%s without %s (-before +after):\n%s", config, secret, diff)
		}
	}
}

// Two runs at the same time give the same secrets to all, and the nodes their passwords.
func TestSecretsInitTwiceAtOnce(t *testing.T) {
	for i := range 20 {
		dir := t.TempDir()
		if i > 0 {
			writer(t, dir)("users", "# of a person\n")
		}
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				if _, _, err := secretsInitWithUsers(t, secretsInitCommand{Dir: dir, Nodes: true}, ""); err != nil {
					t.Error(err)
				}
			})
		}
		runs.Wait()
		made := files(t, dir)
		for config, secret := range map[string]string{"rabbitmq.conf": "rabbitmq-url", "redis.conf": "redis-url"} {
			u, err := url.Parse(made[secret])
			if err != nil {
				t.Fatal(err)
			}
			if password, _ := u.User.Password(); !strings.Contains(made[config], " "+password+"\n") {
				t.Fatalf("%s has another password than %s", config, secret)
			}
		}
		if want := map[bool]int{true: 10, false: 8}[i == 0]; len(made) != want {
			t.Fatalf("%d files, want %d", len(made), want)
		}
		if i == 0 && parsed(t, filepath.Join(dir, "users")).FindToken(made["metrics-token"]) == nil {
			t.Fatal("metrics-token is that of no user")
		}
	}
}

// In a folder that others can write to, they may replace a secret.
func TestSecretsInitInAnOpenFolder(t *testing.T) {
	dir := t.TempDir()
	for mode, want := range map[os.FileMode]bool{0o777: true, 0o770: true, 0o755: false, 0o700: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		_, notes, err := secretsInit(t, secretsInitCommand{Dir: dir, Nodes: true}, "")
		if err != nil || strings.Contains(notes, "chmod 700 "+dir) != want {
			t.Errorf("mode %o: %q, %v", mode, notes, err)
		}
	}
}
