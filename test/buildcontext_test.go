package test

import (
	"debug/buildinfo"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/openfaas/go-sdk/builder"
	"github.com/openfaas/go-sdk/stack"
)

// TestBuildContexts makes the build context of every function with the code of
// faas-cli, builds it with the script that the Dockerfile runs, and starts what
// comes out with the environment of stack.yml.
func TestBuildContexts(t *testing.T) {
	t.Chdir(repository) // faas-cli copies relative to where it is run
	dockerfile, err := os.ReadFile("template/parkstream/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(dockerfile), "COPY --from=build /handler.notices ") {
		t.Error("the image has no notices")
	}
	if !strings.Contains(string(dockerfile), `sh build.sh "$FUNCTION" /handler`) {
		t.Error("the Dockerfile does not build with build.sh as this test does")
	}
	services, err := stack.ParseYAMLFile("stack.yml", "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	if len(services.Functions) != 5 {
		t.Errorf("stack.yml has %d functions, want 5", len(services.Functions))
	}
	contexts := t.TempDir()
	for name, f := range services.Functions {
		context, err := builder.CreateBuildContext(name, f.Handler, f.Language, services.StackConfiguration.CopyExtraPaths,
			builder.WithBuildDir(contexts), builder.WithTemplateDir("template"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(context, "handler")
			build := exec.CommandContext(t.Context(), "sh", "build.sh", f.BuildArgs["FUNCTION"], program)
			build.Dir = context
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			if f.BuildArgs["FUNCTION"] != name {
				t.Errorf("build_args has FUNCTION %q", f.BuildArgs["FUNCTION"])
			}
			notices(t, program, program+".notices")
			serves(t, program, name, f)
		})
	}
}

// notices checks that the notices in a file are of everything in a program.
func notices(t *testing.T, program, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"\nparkstream: LICENSE\n", "\nGo: LICENSE\n", "\nca-certificates\n"}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		want = append(want, "\n"+m.Path+" "+m.Version+": ")
	}
	if strings.HasSuffix(filepath.Dir(program), "summary") {
		want = append(want, "uplot/LICENSE\n")
	}
	for _, w := range want {
		if !strings.Contains(string(text), w) {
			t.Errorf("the notices do not have %q", w)
		}
	}
}

// serves checks that a function comes up on its own, although nothing that it
// needs can be reached, and stops when it is told to.
func serves(t *testing.T, program, name string, f stack.Function) {
	secrets := t.TempDir()
	values := map[string]string{"redis-url": "redis://127.0.0.1:1/0", "rabbitmq-url": "amqp://127.0.0.1:1/", "summary-token": "secret"}
	for _, secret := range f.Secrets {
		if err := os.WriteFile(filepath.Join(secrets, secret), []byte(values[secret]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	cmd := exec.CommandContext(t.Context(), program)
	cmd.ExtraFiles = []*os.File{socket}
	for key, value := range f.Environment {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	cmd.Env = append(cmd.Env, "SECRETS_DIR="+secrets, "LISTEN_FD=3")
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + listener.Addr().String() + "/_/health")
	if err != nil {
		t.Errorf("health: %v", err)
	} else {
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("health: %s", resp.Status)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended by itself, which Wait tells
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if !strings.Contains(log.String(), `"process":"`+name+`"`) || t.Failed() {
		t.Errorf("the log:\n%s", log.String())
	}
}

// TestStack checks what other programs rely on in stack.yml.
func TestStack(t *testing.T) {
	services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		topic, schedule string
		secrets         []string
	}{
		"entry-processor": {topic: "vehicle_entries", secrets: []string{"redis-url", "summary-token"}},
		"exit-processor":  {topic: "vehicle_exits", secrets: []string{"redis-url", "summary-token"}},
		"entry-generator": {topic: "cron-function", schedule: "* * * * *", secrets: []string{"rabbitmq-url", "redis-url"}},
		"exit-generator":  {topic: "cron-function", schedule: "* * * * *", secrets: []string{"rabbitmq-url", "redis-url"}},
		"summary":         {secrets: []string{"redis-url", "summary-token"}},
	}
	for name, w := range want {
		f, ok := services.Functions[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		annotations := map[string]string{}
		if f.Annotations != nil {
			annotations = *f.Annotations
		}
		if annotations["topic"] != w.topic || annotations["schedule"] != w.schedule {
			t.Errorf("%s has the annotations %v, want topic %q and schedule %q", name, annotations, w.topic, w.schedule)
		}
		if !slices.Equal(f.Secrets, w.secrets) {
			t.Errorf("%s has the secrets %v, want %v", name, f.Secrets, w.secrets)
		}
		if !f.ReadOnlyRootFilesystem {
			t.Errorf("%s: readonly_root_filesystem %v", name, f.ReadOnlyRootFilesystem)
		}
	}
}

// Every image has the version of the file VERSION, and a name that leads to no
// registry unless REGISTRY gives one: an account that is not ours would get our
// secrets.
func TestImageNames(t *testing.T) {
	version := strings.TrimSpace(read(t, "VERSION"))
	for _, tt := range []struct{ registry, tag, prefix, suffix string }{
		{"", "", "localhost/parkstream/", ":" + version},
		{"registry.example/park", "1.2.3", "registry.example/park/", ":1.2.3"},
	} {
		t.Setenv("REGISTRY", tt.registry)
		t.Setenv("TAG", tt.tag)
		services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), "", "", true)
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range services.Functions {
			if want := tt.prefix + name + tt.suffix; f.Image != want {
				t.Errorf("the image of %s is %s, want %s", name, f.Image, want)
			}
		}
		connector := tt.prefix + "rabbitmq-connector" + tt.suffix
		makes := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--dry-run", "image-connector")
		makes.Dir = repository
		if out, err := makes.CombinedOutput(); err != nil || !strings.Contains(string(out), `"`+connector+`"`) {
			t.Errorf("make image-connector does not make %s: %v\n%s", connector, err, out)
		}
		if tt.registry == "" {
			for _, d := range []deployment{onKubernetes(t), onFaasd(t)} {
				if d.image != connector {
					t.Errorf("the image on %s is %s, want %s", d.name, d.image, connector)
				}
			}
		}
	}
}
