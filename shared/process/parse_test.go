package process_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/process"
)

// program has a setting of each form, and two structs with fields of one name.
type program struct {
	Timeout time.Duration `env:"exec_timeout" envDefault:"55s"`
	Drain   time.Duration `env:"DRAIN_TIMEOUT" envDefault:"25s"`
	Bytes   int64         `env:"MAX_BODY_BYTES" envDefault:"8388608"`
	Count   int           `env:"COUNT" envDefault:"1"`
	Plates  bool          `env:"SHOW_PLATES" envDefault:"false"`
	Topics  []string      `env:"TOPICS"`
	Ignored []string      `env:"IGNORED" envDefault:"cron,test"`
	Name    string        `env:"NAME" envDefault:"any"`
	Inner   struct {
		Timeout time.Duration `env:"INNER_TIMEOUT" envDefault:"1s"`
		Count   int           `env:"INNER_COUNT" envDefault:"2"`
	}
}

// Validate reports what is less than its default.
func (p *program) Validate() error {
	return errors.Join(
		process.CheckRange("DRAIN_TIMEOUT", p.Drain, 0, time.Hour),
		process.CheckRange("COUNT", p.Count, 1, 10),
		process.CheckRange("INNER_TIMEOUT", p.Inner.Timeout, 0, p.Timeout),
	)
}

func TestParse(t *testing.T) {
	defaults := func(change func(*program)) program {
		p := program{Timeout: 55 * time.Second, Drain: 25 * time.Second, Bytes: 8 << 20, Count: 1, Ignored: []string{"cron", "test"}, Name: "any"}
		p.Inner.Timeout, p.Inner.Count = time.Second, 2
		change(&p)
		return p
	}
	for _, tt := range []struct {
		environ []string
		want    func(*program)
	}{
		{nil, func(*program) {}},
		{[]string{"exec_timeout=", "TOPICS=", "IGNORED=", "COUNT=", "SHOW_PLATES=", "NAME="}, func(*program) {}}, // empty is not set
		{[]string{"exec_timeout=30", "DRAIN_TIMEOUT=30"}, func(p *program) { p.Timeout, p.Drain = 30*time.Second, 30*time.Second }},
		{[]string{"exec_timeout=1m30s", "DRAIN_TIMEOUT=1m30s"}, func(p *program) { p.Timeout, p.Drain = 90*time.Second, 90*time.Second }},
		{[]string{"EXEC_TIMEOUT=30", "drain_timeout=30"}, func(p *program) { p.Timeout, p.Drain = 30*time.Second, 30*time.Second }},
		{[]string{"Drain_Timeout=0"}, func(p *program) { p.Drain = 0 }},
		{[]string{"drain_timeout=1", "DRAIN_TIMEOUT=2", "EXEC_TIMEOUT=3", "exec_timeout=4"}, func(p *program) { p.Drain, p.Timeout = 2*time.Second, 4*time.Second }},
		{[]string{"drain_timeout=1", "DRAIN_TIMEOUT="}, func(p *program) { p.Drain = time.Second }},
		{[]string{"MAX_BODY_BYTES=4611686018427387904", "COUNT=10"}, func(p *program) { p.Bytes, p.Count = 1<<62, 10 }},
		{[]string{"SHOW_PLATES=true"}, func(p *program) { p.Plates = true }},
		{[]string{"TOPICS= a, b ,,", "ignored=c"}, func(p *program) { p.Topics, p.Ignored = []string{"a", "b"}, []string{"c"} }},
		{[]string{"IGNORED=,"}, func(p *program) { p.Ignored = nil }},
		{[]string{"INNER_TIMEOUT=2", "NAME=a=b", "OTHER=x", "NOTHING"}, func(p *program) { p.Inner.Timeout, p.Name = 2*time.Second, "a=b" }},
	} {
		var got program
		if err := process.Parse(&got, tt.environ); err != nil {
			t.Errorf("%q: %v", tt.environ, err)
		}
		if diff := cmp.Diff(defaults(tt.want), got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.environ, diff)
		}
	}
}

// Every mistake is reported at once, under the name that the user wrote, and what cannot
// be parsed does not make others look wrong.
func TestMistakesOfSettings(t *testing.T) {
	const duration, number = "want a duration such as 1m30s or a whole number of seconds", "want a whole number"
	for _, tt := range []struct{ environ, want []string }{
		{
			[]string{"exec_timeout=soon", "DRAIN_TIMEOUT=2h", "COUNT=0", "MAX_BODY_BYTES=8MB", "SHOW_PLATES=perhaps", "INNER_TIMEOUT=1d", "INNER_COUNT=two"},
			[]string{
				`exec_timeout is "soon": ` + duration, `MAX_BODY_BYTES is "8MB": ` + number, `SHOW_PLATES is "perhaps": want true or false`,
				`INNER_TIMEOUT is "1d": ` + duration, `INNER_COUNT is "two": ` + number,
				`DRAIN_TIMEOUT is 2h0m0s, want 0s to 1h0m0s`, `COUNT is 0, want 1 to 10`,
			},
		},
		{
			[]string{"EXEC_TIMEOUT=soon", "drain_timeout=2h", "Count=11", "inner_timeout=-1"},
			[]string{
				`EXEC_TIMEOUT is "soon": ` + duration, `drain_timeout is 2h0m0s, want 0s to 1h0m0s`, `Count is 11, want 1 to 10`,
				`inner_timeout is -1s, want 0s to 55s`,
			},
		},
		{[]string{"COUNT=99999999999"}, []string{`COUNT is 99999999999, want 1 to 10`}},
		{[]string{"COUNT=99999999999999999999", "MAX_BODY_BYTES=-99999999999999999999"}, []string{
			`MAX_BODY_BYTES is "-99999999999999999999": want a whole number of at most 64 bits`, `COUNT is "99999999999999999999": want a whole number of at most 64 bits`,
		}},
		{[]string{"exec_timeout=10000000000"}, []string{`exec_timeout is "10000000000": ` + duration}},
	} {
		err := process.Parse(new(program), tt.environ)
		if err == nil {
			t.Errorf("%q: no error", tt.environ)
			continue
		}
		if diff := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.environ, diff)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "http://host": "", "https://host:8443/path": "",
		"host:8080": "GATEWAY_URL is not an http:// or https:// URL with a host", "ftp://host": "GATEWAY_URL is not an http:// or https:// URL with a host",
		"http://": "GATEWAY_URL is not an http:// or https:// URL with a host", "http://host:port%": "GATEWAY_URL is not an http:// or https:// URL with a host",
		"http://user:hidden@host": "GATEWAY_URL has a password: no secret may be in the environment, and none is asked for there",
	} {
		got := ""
		if err := process.CheckURL("GATEWAY_URL", value); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	const want = "GATEWAY_URL has a password: put it into the files of basic-auth-user and basic-auth-password"
	if err := process.CheckURL("GATEWAY_URL", "http://user:hidden@host", "basic-auth-user", "basic-auth-password"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
