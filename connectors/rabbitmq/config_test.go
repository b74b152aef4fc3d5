package rabbitmq

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSettings(t *testing.T) {
	s, err := SettingsFrom([]string{"gateway_url=https://gw:8443", "RABBITMQ_HEARTBEAT=5s", "max_attempts=3", "OTHER=x", "NAMESPACES=a,b"})
	if err != nil {
		t.Fatal(err)
	}
	if s.GatewayURL != "https://gw:8443" || s.Heartbeat != 5*time.Second || s.MaxAttempts != 3 || len(s.Namespaces) != 2 || s.RetryDelay != time.Second {
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
		{[]string{"MAX_IN_FLIGHT=many", "RETRY_DELAY=soon"}, []string{"many", "soon"}},
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

func TestGatewayWithACAOfItsOwn(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "bad.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(good, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		file         string
		opens, calls bool
	}{{good, true, true}, {"", true, false}, {bad, false, false}, {filepath.Join(dir, "none"), false, false}} {
		transport, err := newTransport(tt.file)
		if (err == nil) != tt.opens {
			t.Errorf("CA %q: %v", tt.file, err)
		}
		if err != nil {
			continue
		}
		resp, err := (&http.Client{Transport: transport}).Get(server.URL)
		if (err == nil) != tt.calls {
			t.Errorf("CA %q: %v", tt.file, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		transport.CloseIdleConnections()
	}
}

// The CA is read anew for each connection: it may be replaced while the connector
// runs.
func TestTheGatewaysCAIsReplaced(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(cert []byte) {
		t.Helper()
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(otherCA(t))
	transport, err := newTransport(file)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if resp, err := client.Get(server.URL); err == nil {
		_ = resp.Body.Close()
		t.Fatal("a certificate of another CA was taken")
	}
	write(server.Certificate().Raw)
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatalf("after the CA was replaced: %v", err)
	}
	_ = resp.Body.Close()
}

// otherCA returns a certificate that has signed nothing.
func otherCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
