package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/eventually"
	"parkstream/shared/instance"
	"parkstream/shared/instance/instancetest"
)

// authority signs certificates of a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.cert, a.key = a.issue(t, name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes name.pem and name.key; if there is no authority yet it signs
// itself.
func (a *authority) issue(t *testing.T, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.Subject = pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(a.dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// The broker shows a certificate and wants one.
func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	newAuthority(t, dir, "other")
	ca.issue(t, "server", &x509.Certificate{DNSNames: []string{"broker.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	secure, err := instance.StartRabbitMQ(t.Context(), instance.RabbitMQOptions{Dir: file("node"), Config: fmt.Sprintf(
		"listeners.ssl.1 = %s\nssl_options.cacertfile = %s\nssl_options.certfile = %s\nssl_options.keyfile = %s\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
		address, file("ca.pem"), file("server.pem"), file("server.key"))})
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Kill()
	u, err := url.Parse(secure.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme, u.Host = "amqps", address
	eventually.True(t, "the port for TLS is open", func() bool { // RabbitMQ 4 opens it after the other
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	good := TLS{CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key"), ServerName: "broker.example"}
	for _, tt := range []struct {
		name   string
		change func(*TLS)
		want   string // in the error, empty for none
	}{
		{"good", func(*TLS) {}, ""},
		{"no certificate of ours", func(c *TLS) { c.CertFile, c.KeyFile = "", "" }, "certificate"},
		{"another CA", func(c *TLS) { c.CAFile = file("other.pem") }, "signed by unknown authority"},
		{"another name", func(c *TLS) { c.ServerName = "elsewhere" }, "broker.example"},
		{"the system's CAs", func(c *TLS) { c.CAFile = "" }, "unknown authority"},
		{"no such CA", func(c *TLS) { c.CAFile = file("none") }, "read the broker's CA"},
		{"no certificate in the CA", func(c *TLS) { c.CAFile = file("client.key") }, "has no PEM certificate"},
		{"a key of another", func(c *TLS) { c.KeyFile = file("server.key") }, "client certificate"},
	} {
		cfg := Config{URLs: urls(u.String()), TLS: good}
		tt.change(&cfg.TLS)
		conn, err := Dial(t.Context(), cfg)
		if err == nil {
			inspectedMessages(t, conn)
			_ = conn.Close()
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// inspectedMessages has the broker deliver and return messages that the client
// library refuses.
func inspectedMessages(t *testing.T, conn *Conn) {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	returned := ch.NotifyReturn(make(chan amqp.Return, 1))
	deep := amqp.Table{}
	for range maxNesting {
		deep = amqp.Table{"deep": deep}
	}
	m := amqp.Publishing{MessageId: "the id", Headers: amqp.Table{"deep": deep, "many": make([]any, maxElements+1), "sound": "kept"}}
	for _, queue := range []string{q.Name, "nowhere"} {
		if err := ch.Publish("", queue, true, false, m); err != nil {
			t.Fatal(err)
		}
	}
	check := func(how, id string, headers amqp.Table) {
		t.Helper()
		if id != m.MessageId || headers["sound"] != "kept" || headers[HeaderUnreadable] == nil || len(headers) != 3 {
			t.Errorf("%s: message %q with headers %v", how, id, headers)
		}
	}
	eventually.True(t, "the message is in the queue", func() bool {
		d, found, err := ch.Get(q.Name, true)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			check("delivered", d.MessageId, d.Headers)
		}
		return found
	})
	r := <-returned
	check("returned", r.MessageId, r.Headers)
}

// A broker that does not accept a certificate may reset the connection before its
// reason was read.
func TestResetInTheHandshake(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}()
	_, err = Dial(t.Context(), Config{URLs: urls("amqp://u:p@" + l.Addr().String())})
	if err == nil || !strings.Contains(err.Error(), "certificate") || !strings.Contains(err.Error(), "reset") {
		t.Errorf("a reset in the handshake: %v", err)
	}
}

// While a memory alarm is on the broker takes nothing: publishing waits for its
// end, or for that of its context.
func TestPublishWaitsForTheEndOfAnAlarm(t *testing.T) {
	private := instancetest.RabbitMQ(t)
	p := testPublisher(t, Config{URLs: urls(private.URL()), Name: "alarm"})
	if _, err := p.DeclareQueue(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	watermark := func(fraction string) {
		t.Helper()
		if _, err := private.Ctl(t.Context(), "set_vm_memory_high_watermark", fraction); err != nil {
			t.Fatal(err)
		}
	}
	blocked := func() bool { return p.Blocked() != nil }
	watermark("0.00001")
	// the broker notifies the connections that publish of its alarm
	told := make(chan error, 1)
	go func() {
		for !blocked() && t.Context().Err() == nil {
			if err := p.Publish(t.Context(), []Message{{Queue: "q", ID: "before"}}); err != nil {
				told <- err
				return
			}
		}
		told <- nil
	}()
	eventually.True(t, "the broker tells of its alarm", blocked)

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.Publish(short, []Message{{Queue: "q", ID: "not"}}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "takes no messages") {
		t.Errorf("published during the alarm: %v", err)
	}
	// The broker does not even answer a request to open a channel now.
	short, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.DeclareQueue(short, "q"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("declared a queue during the alarm: %v", err)
	}
	watermark("0.4")
	if err := p.Publish(t.Context(), []Message{{Queue: "q", ID: "after"}}); err != nil {
		t.Errorf("after the alarm: %v", err)
	}
	if err := <-told; err != nil {
		t.Errorf("when the alarm came: %v", err)
	}
}
