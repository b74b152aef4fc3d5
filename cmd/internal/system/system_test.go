package system

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"

	"parkstream/shared/process"
)

// The connector serves the topics of the stack file and no others.
func TestConnectorTopics(t *testing.T) {
	function := func(name string, annotations map[string]string) types.FunctionDeployment {
		return types.FunctionDeployment{Service: name, Annotations: &annotations}
	}
	for _, tt := range []struct {
		name      string
		functions []types.FunctionDeployment
		want      string
	}{
		{"no function", nil, ""},
		{"no topic", []types.FunctionDeployment{{Service: "summary"}, function("generator", map[string]string{"schedule": "* * * * *"})}, ""},
		{"some, one twice", []types.FunctionDeployment{
			function("b", map[string]string{"topic": "exits"}),
			{Service: "summary"},
			function("a", map[string]string{"topic": "entries"}), function("c", map[string]string{"topic": "exits"}),
		}, "exits,entries"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(Config{Dir: t.TempDir(), Functions: tt.functions, Say: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Stop() }()
			if got := s.connectorCommand().Env; !slices.Contains(got, "TOPICS="+tt.want) {
				t.Errorf("the environment is %q, want one with TOPICS=%s", got, tt.want)
			}
		})
	}
}

// A stop that cuts off a request of the gateway returns an error.
func TestStopThatCutsOff(t *testing.T) {
	t.Parallel() // it takes the grace of the gateway
	s, err := New(Config{Dir: t.TempDir(), Timeout: time.Hour, Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.writeSecrets(), s.startGateway()); err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(s.Secrets(), "basic-auth-password"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := http.NewRequest(http.MethodPost, s.URL(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("admin", string(password))
	fmt.Fprintf(conn, "POST /system/functions HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", r.Header.Get("Authorization"))
	// The gateway asks for the body, which does not come.
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := s.Stop(); !errors.Is(err, process.ErrCutOff) {
		t.Errorf("the stop returns %v", err)
	}
}
