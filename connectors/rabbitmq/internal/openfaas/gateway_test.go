package openfaas

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
	"testing"
	"time"
)

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
		g, err := NewGateway(GatewayConfig{CAFile: tt.file})
		if (err == nil) != tt.opens {
			t.Errorf("CA %q: %v", tt.file, err)
		}
		if err != nil {
			continue
		}
		resp, err := g.client.Get(server.URL)
		if (err == nil) != tt.calls {
			t.Errorf("CA %q: %v", tt.file, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		g.CloseIdleConnections()
	}
}

// The CA is read for each connection: it may be replaced while the connector
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
	g, err := NewGateway(GatewayConfig{CAFile: file})
	if err != nil {
		t.Fatal(err)
	}
	defer g.CloseIdleConnections()
	if resp, err := g.client.Get(server.URL); err == nil {
		_ = resp.Body.Close()
		t.Fatal("a certificate of another CA was taken")
	}
	write(server.Certificate().Raw)
	resp, err := g.client.Get(server.URL)
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
