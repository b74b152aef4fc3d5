package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// detailed is an error with a detail that everyone may read.
type detailed struct{}

func (detailed) Error() string  { return "10.0.0.3: 0 of 1 replicas" }
func (detailed) Detail() string { return "0 of 1 replicas" }

// reply is an error that a Redis has answered with.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// secret matches what callers must not read: addresses, URLs, paths, names of hosts.
var secret = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|::|//|:\d|/[a-z]|hush`)

func TestTold(t *testing.T) {
	get := func(url string) error {
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	closing := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer closing.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	secure.Config.ErrorLog = nil
	_, noFile := os.ReadFile("/hush/redis-url")
	dial := func(err error) error {
		return fmt.Errorf("dial hush: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 3), Port: 6379}, Err: err})
	}
	for i, tt := range []struct {
		err  error
		want string
	}{
		{get("http://127.0.0.1:1/hush"), "refuses connections"},
		{get(closing.URL + "/hush"), "ended the connection"},
		{get(secure.URL), "cannot be reached with TLS"},
		{dial(syscall.ECONNREFUSED), "refuses connections"},
		{fmt.Errorf("no connection: %w: %w", context.DeadlineExceeded, dial(syscall.ECONNREFUSED)), "refuses connections"},
		{dial(syscall.ECONNRESET), "ended the connection"},
		{dial(syscall.EPIPE), "ended the connection"},
		{dial(syscall.EHOSTUNREACH), "cannot be reached"},
		{dial(os.ErrDeadlineExceeded), "does not answer in time"},
		{dial(syscall.ETIMEDOUT), "does not answer in time"},
		{&net.DNSError{Err: "no such host", Name: "hush", Server: "10.0.0.1:53"}, "cannot be found by its name"},
		{&url.Error{Op: "Post", URL: "http://hush/", Err: context.DeadlineExceeded}, "does not answer in time"},
		{fmt.Errorf("http://hush: %w", context.Canceled), "was not waited for"},
		{fmt.Errorf("read 10.0.0.3:6379: %w", io.EOF), "ended the connection"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "cannot be reached with TLS"},
		{noFile, "cannot be used now"},
		{errors.New("http://10.0.0.3/hush"), "cannot be used now"},
		{fmt.Errorf("record: %w", reply("OOM command not allowed when used memory > 'maxmemory'.")), "refuses with OOM"},
		{reply("READONLY You can't write against a read only replica."), "refuses with READONLY"},
		{reply("WRONGPASS invalid username-password pair"), "refuses with WRONGPASS"},
		{reply("MOVED 3999 10.0.0.3:6381"), "refuses with MOVED"},
		{reply("10.0.0.3:6381 is hush"), "cannot be used now"},
		{reply(""), "cannot be used now"},
		{New("", "answers 503", errors.New("http://hush answers 503")), "answers 503"},
		{New("the inner part", "answers 503", dial(syscall.ECONNREFUSED)), "answers 503"},
	} {
		if tt.err == nil {
			t.Fatalf("%d: no error", i)
		}
		marked := fmt.Errorf("more: %w", In("Redis", fmt.Errorf("post: %w", tt.err)))
		if got := Told(marked); got != "Redis "+tt.want {
			t.Errorf("%v: told %q, want %q", tt.err, got, tt.want)
		}
		if !strings.Contains(marked.Error(), tt.err.Error()) || !errors.Is(marked, tt.err) {
			t.Errorf("the log would lose %v: %v", tt.err, marked)
		}
		if got := Told(tt.err); secret.MatchString(got) || got == "" {
			t.Errorf("%v: told %q", tt.err, got)
		}
	}
	if got, want := Told(In("Redis", fmt.Errorf("at 10.0.0.3: %w", detailed{}))), "Redis: 0 of 1 replicas"; got != want {
		t.Errorf("told %q of a detail, want %q", got, want)
	}
	if got, want := Told(In("the store", fmt.Errorf("record: %w", Odd("Redis", errors.New("hush"))))), "the store "+odd; got != want {
		t.Errorf("told %q of an odd answer, want %q", got, want)
	}
	if err := In("Redis", nil); err != nil {
		t.Errorf("an error of nothing: %v", err)
	}
}

// An error that keeps a part from being used is an outage. A part's answer about the
// request is not.
func TestOutage(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{&net.DNSError{Err: "no such host"}, true},
		{context.DeadlineExceeded, true},
		{context.Canceled, true},
		{os.ErrDeadlineExceeded, true},
		{io.EOF, true},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true},
		{errors.New("redis: connection pool timeout"), true},
		{detailed{}, true},
		{reply("CLUSTERDOWN Hash slot not served"), true},
		{reply("MOVED 3999 10.0.0.3:6381"), true},
		{reply("ASK 3999 10.0.0.3:6381"), true},
		{reply("TRYAGAIN Multiple keys request during rehashing of slot"), true},
		{reply("READONLY You can't write against a read only replica."), true},
		{reply("OOM command not allowed when used memory > 'maxmemory'."), true},
		{reply("MISCONF Redis is configured to save RDB snapshots"), true},
		{reply("NOREPLICAS Not enough good replicas to write."), true},
		{reply("MASTERDOWN Link with MASTER is down"), true},
		{reply("LOADING Redis is loading the dataset in memory"), true},
		{reply("BUSY Redis is busy running a script."), true},
		{reply("NOSCRIPT No matching script."), true},
		{reply("NOAUTH Authentication required."), true},
		{reply("WRONGPASS invalid username-password pair"), true},
		{reply("NOPERM this user has no permissions"), true},
		{reply("ERR max number of clients reached"), true},
		{reply("ERR user_script:12: attempt to index a nil value"), false},
		{reply("WRONGTYPE Operation against a key holding the wrong kind of value"), false},
		{reply("CROSSSLOT Keys in request don't hash to the same slot"), false},
		{Odd("Redis", errors.New("unexpected answer")), false},
	} {
		marked := tt.err
		if marked != nil {
			marked = In("the store", fmt.Errorf("record: %w", New("Redis", "", tt.err)))
		}
		if Outage(tt.err) != tt.want || Outage(marked) != tt.want {
			t.Errorf("%v: %t, %t when it is marked, want %t", tt.err, Outage(tt.err), Outage(marked), tt.want)
		}
	}
}
