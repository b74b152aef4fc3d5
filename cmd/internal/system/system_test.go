package system

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/openfaas/faas-provider/types"

	"parkstream/shared/access"
	"parkstream/shared/image"
	"parkstream/shared/parking"
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

// noUsers writes a users file: the hash of a password takes its time.
func noUsers(s *System) error {
	return os.WriteFile(filepath.Join(s.Secrets(), "users"), []byte("# none\n"), 0o600)
}

// A stop that cuts off a request of the gateway returns an error.
func TestStopThatCutsOff(t *testing.T) {
	t.Parallel() // it takes the grace of the gateway
	s, err := New(Config{Dir: t.TempDir(), Timeout: time.Hour, Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(noUsers(s), s.writeSecrets(), s.startGateway()); err != nil {
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

// Whether functions ask for a login is the start's decision: neither stack.yml nor the
// environment changes it. Nor do they bring a port that is not on loopback.
func TestAccessOfFunctions(t *testing.T) {
	t.Setenv("ACCESS", "open")
	t.Setenv("METRICS_LISTEN", ":9100")
	stack := map[string]string{
		"ACCESS": "open", "access": "open", "USERS_FILE": "/theirs", "LISTEN": ":8080", "METRICS_LISTEN": ":9100", "TRUSTED_PROXIES": "0.0.0.0/0",
	}
	for users, want := range map[string]access.Settings{
		"":      {Access: "open", TrustedProxies: []string{"127.0.0.0/8", "::1"}},
		"users": {Access: "closed", UsersFile: "users", TrustedProxies: []string{"127.0.0.0/8", "::1"}},
	} {
		s := System{Config: Config{Users: users}}
		// As the gateway makes the environment of a function; of a name the last value counts.
		cmd := exec.Command("env")
		for name, value := range stack {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		cmd.Env = append(cmd.Env, s.access()...)
		var got access.Settings
		if err := process.Parse(&got, cmd.Environ()); err != nil {
			t.Fatal(err)
		}
		if got.Access != want.Access || got.UsersFile != want.UsersFile || !slices.Equal(got.TrustedProxies, want.TrustedProxies) {
			t.Errorf("--users %q: %+v, want %+v", users, got, want)
		}
		var metrics struct {
			Listen string `env:"METRICS_LISTEN"`
		}
		if err := process.Parse(&metrics, cmd.Environ()); err != nil || metrics.Listen != "" {
			t.Errorf("--users %q: metrics at %q, %v", users, metrics.Listen, err)
		}
	}
}

// Cron's calls of generators need no login. Where people and cameras have one, they do not
// write to the site of cameras that name none.
func TestSiteOfGenerators(t *testing.T) {
	for users, want := range map[string]string{"": parking.DefaultSite, "users": "generated"} {
		s := System{Config: Config{Users: users}}
		var got struct {
			Site string `env:"DEFAULT_SITE"`
		}
		if err := process.Parse(&got, append([]string{"DEFAULT_SITE=generated"}, s.access()...)); err != nil || got.Site != want { // stack.yml's comes first
			t.Errorf("--users %q: site %q, %v", users, got.Site, err)
		}
	}
}

// Pictures are kept in the folder of the data, whatever it is called, unless the
// environment has another place.
func TestImagesURL(t *testing.T) {
	t.Setenv("IMAGES_URL", "")
	for dir, want := range map[string]string{
		"/data": "file:///data/images", "/a b/50%/ü#?": "file:///a%20b/50%25/%C3%BC%23%3F/images",
	} {
		got := (&System{Config: Config{Dir: dir}}).imagesURL()
		if err := (image.Settings{URL: got, Timeout: time.Second}).Validate(); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", dir, got, err, want)
		}
	}
	const bucket = "s3://bucket?region=eu-central-1"
	t.Setenv("IMAGES_URL", bucket)
	if got := (&System{Config: Config{Dir: "/data"}}).imagesURL(); got != bucket {
		t.Error(got)
	}
}
