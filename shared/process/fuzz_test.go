package process_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"parkstream/shared/process"
)

// forms are settings of each form.
type forms struct {
	Timeout time.Duration `env:"exec_timeout" envDefault:"55s"`
	Bytes   int64         `env:"MAX_BODY_BYTES" envDefault:"8388608"`
	Count   int           `env:"COUNT" envDefault:"1"`
	Plates  bool          `env:"SHOW_PLATES" envDefault:"false"`
	Topics  []string      `env:"TOPICS"`
	Name    string        `env:"NAME" envDefault:"any"`
}

func (f *forms) Validate() error { return process.CheckRange("COUNT", f.Count, 1, 10) }

// environ returns the settings as a user writes them.
func (f *forms) environ() []string {
	return []string{
		"exec_timeout=" + f.Timeout.String(), "MAX_BODY_BYTES=" + strconv.FormatInt(f.Bytes, 10), "COUNT=" + strconv.Itoa(f.Count),
		"SHOW_PLATES=" + strconv.FormatBool(f.Plates), "TOPICS=" + cmp.Or(strings.Join(f.Topics, ","), ","), "NAME=" + f.Name,
	}
}

// FuzzParse wants that settings are parsed twice the same, that what is accepted is
// accepted again as it was understood, and that a mistake names the setting and quotes
// the value as they were written.
func FuzzParse(f *testing.F) {
	names := []string{"exec_timeout", "MAX_BODY_BYTES", "COUNT", "SHOW_PLATES", "TOPICS", "NAME"}
	for i, value := range []string{"90", "-9223372036854775808", "10", "T", " a, ,b,\x00", "a=b"} {
		f.Add(uint8(i), false, value)
		f.Add(uint8(i), true, value)
	}
	for _, value := range []string{"", "1m30s", "9223372036", "9223372037", "-2562047h47m16.854775808s", "0x10", "1_000", "+5", "1e3", "soon\nNAME is fine", "COUNT", "99999999999999999999"} {
		f.Add(uint8(0), false, value)
		f.Add(uint8(2), true, value)
	}
	f.Fuzz(func(t *testing.T, which uint8, otherCase bool, value string) {
		name := names[int(which)%len(names)]
		if otherCase {
			if name = strings.ToLower(name); name == "exec_timeout" {
				name = strings.ToUpper(name)
			}
		}
		var first, again forms
		err := process.Parse(&first, []string{name + "=" + value})
		if err2 := process.Parse(&again, []string{name + "=" + value}); gocmp.Diff(first, again) != "" || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Errorf("%s=%q is read as %+v, error %v, and as %+v, error %v", name, value, first, err, again, err2)
		}
		if err != nil {
			outside := fmt.Sprintf("%s is %d, want 1 to 10", name, first.Count)
			if value == "" || !strings.HasPrefix(err.Error(), fmt.Sprintf("%s is %q: want ", name, value)) && err.Error() != outside || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
			return
		}
		var accepted forms
		if err := process.Parse(&accepted, first.environ()); err != nil || gocmp.Diff(first, accepted) != "" {
			t.Errorf("%s=%q is read as %+v, written as %q and read as %+v, error %v", name, value, first, first.environ(), accepted, err)
		}
		if slices.ContainsFunc(accepted.Topics, func(topic string) bool { return topic == "" || strings.TrimSpace(topic) != topic }) {
			t.Errorf("%s=%q has the topics %q", name, value, accepted.Topics)
		}
	})
}

// FuzzParseDuration wants that a duration is read as it is written, and that a whole
// number is one of seconds.
func FuzzParseDuration(f *testing.F) {
	for _, text := range []string{"30", "1m30s", "-1", "9223372036", "9223372037", "1.5h", "", "1d", "9223372036854775807ns"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := process.ParseDuration(text)
		if err != nil {
			if d != 0 || err.Error() != "want a duration such as 1m30s or a whole number of seconds" {
				t.Errorf("%q is %s, error %v", text, d, err)
			}
			return
		}
		if again, err := process.ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is read as %s, and that as %s, error %v", text, d, again, err)
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && (d%time.Second != 0 || int64(d/time.Second) != n) {
			t.Errorf("%q is %s, want so many seconds", text, d)
		}
	})
}

// FuzzCheckURL wants that no part of a URL is in the error, since it may be a password,
// and that a URL with one is refused.
func FuzzCheckURL(f *testing.F) {
	for _, value := range []string{"", "http://host", "host:8080", "http://user:hidden@host", "http://user:hid%den@host", "http://user:80/hidden@host", "https://[::1]:8443/x?y#z", "\x7f"} {
		f.Add(value)
	}
	answers := []string{
		"GATEWAY_URL is not an http:// or https:// URL with a host", "GATEWAY_URL has a password: put it into the files of a and b",
		"GATEWAY_URL has a password: no secret may be in the environment, and none is asked for there",
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, secrets := range [][]string{nil, {"a", "b"}} {
			err := process.CheckURL("GATEWAY_URL", value, secrets...)
			switch {
			case err != nil && !slices.Contains(answers, err.Error()):
				t.Errorf("%q: %v", value, err)
			case err == nil && value != "" && !strings.HasPrefix(strings.ToLower(value), "http"):
				t.Errorf("%q is accepted", value)
			}
			host, _, _ := strings.Cut(strings.TrimPrefix(value, "http://"), "/")
			if err == nil && strings.HasPrefix(value, "http://") && !strings.ContainsAny(host, "?#") && strings.Contains(host, "@") {
				t.Errorf("%q has a password and is accepted", value)
			}
		}
	})
}

// FuzzSecret wants that a secret is read as its file has it, without the line ends after
// it, and that neither it nor its error prints it.
func FuzzSecret(f *testing.F) {
	for _, content := range []string{"hidden\n", "", "\r\n", "a\nb\r\n", "\x00\xff", "%s"} {
		f.Add([]byte(content))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, "token"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		secret := process.NewSecret(dir, "token")
		want := strings.TrimRight(string(content), "\r\n")
		for range 2 {
			if got, err := secret.Value(); got != want || (err != nil) != (want == "") {
				t.Errorf("%q is read as %q, error %v", content, got, err)
			} else if empty := "secret token: put it into the file " + filepath.Join(dir, "token") + ": the file is empty"; err != nil && err.Error() != empty {
				t.Errorf("%q: %v", content, err)
			}
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, secret); got != "secret token (hidden)" {
				t.Errorf("%q is printed by %s as %q", content, verb, got)
			}
		}
	})
}
