package rabbitmq

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSettings(t *testing.T) {
	s, err := SettingsFrom([]string{"gateway_url=https://gw:8443", "RABBITMQ_HEARTBEAT=5s", "max_attempts=3", "OTHER=x", "NAMESPACES=a,b", "DRAIN_TIMEOUT=40", "retry_max_delay="})
	if err != nil {
		t.Fatal(err)
	}
	if s.GatewayURL != "https://gw:8443" || s.Heartbeat != 5*time.Second || s.MaxAttempts != 3 || len(s.Namespaces) != 2 || s.RetryDelay != time.Second || s.DrainTimeout != 40*time.Second {
		t.Errorf("%+v", s)
	}
	if got := s.retryDelays(); len(got) != 5 || got[0] != time.Second || got[4] != 256*time.Second {
		t.Errorf("delays %v", got)
	}
}

// All mistakes are reported at once, each by the name of its setting.
func TestBadSettings(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		want    []string
	}{
		{[]string{"GATEWAY_URL=gw", "MAX_ATTEMPTS=0", "LINGER=1h", "RABBITMQ_CERT_FILE=x"}, []string{"GATEWAY_URL", "MAX_ATTEMPTS is 0", "LINGER is 1h0m0s", "RABBITMQ_KEY_FILE"}},
		{[]string{"GATEWAY_URL=http://user:hidden@gw"}, []string{"basic-auth-user"}},
		{[]string{"MAX_IN_FLIGHT=many", "retry_delay=soon"}, []string{`MAX_IN_FLIGHT is "many"`, `retry_delay is "soon"`}},
		{[]string{"UPSTREAM_TIMEOUT=20m"}, []string{"at most half of it"}},
		{[]string{"RETRY_DELAY=1ms", "RETRY_MAX_DELAY=24h"}, []string{"so far apart"}},
		{[]string{"RETRY_DELAY=1m", "RETRY_MAX_DELAY=1s"}, []string{"RETRY_MAX_DELAY"}},
	} {
		_, err := SettingsFrom(tt.environ)
		if err == nil {
			t.Errorf("%q is taken", tt.environ)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v does not say %q", tt.environ, err, want)
			}
		}
		if strings.Contains(err.Error(), "hidden") {
			t.Errorf("the error has a password: %v", err)
		}
	}
}

func TestListsInSettings(t *testing.T) {
	s, err := SettingsFrom([]string{"TOPICS= a, b ,", "IGNORED_TOPICS=c , d", "NAMESPACES=e, f"})
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]string{"a b": s.Topics, "c d": s.IgnoredTopics, "e f": s.Namespaces} {
		if strings.Join(got, " ") != want {
			t.Errorf("lists in settings: %q, want %q", got, want)
		}
	}
}

// A gateway without login has no secrets, or empty ones. One of the two alone is a mistake.
func TestCredential(t *testing.T) {
	const missing = "-"
	for _, tt := range []struct {
		user, password string
		login          bool
		wrong          string // in the error
	}{
		{missing, missing, false, ""},
		{"", "", false, ""},
		{"\n", "\r\n", false, ""},
		{missing, "", false, ""},
		{"", missing, false, ""},
		{"admin", "word", true, ""},
		{"admin", "", true, "basic-auth-password"},
		{"admin", missing, true, "basic-auth-password"},
		{"", "word", true, "basic-auth-user"},
		{missing, "word", true, "basic-auth-user"},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"basic-auth-user": tt.user, "basic-auth-password": tt.password} {
			if text == missing {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		user, password, err := Settings{SecretsDir: dir}.credential()()
		if (user+password != "") != tt.login || (err != nil) != (tt.wrong != "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%q, %q: %q, %q, %v", tt.user, tt.password, user, password, err)
		}
	}
}
