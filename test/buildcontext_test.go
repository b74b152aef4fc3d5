package test

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	services, contexts := buildContexts(t)
	compiled := sharedLayer(t, contexts)
	for name, f := range services.Functions {
		context := contexts[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(context, "handler")
			inBuild(t, context, "sh", "build.sh", f.BuildArgs["FUNCTION"], program)
			if f.BuildArgs["FUNCTION"] != name {
				t.Errorf("build_args has FUNCTION %q", f.BuildArgs["FUNCTION"])
			}
			for id, path := range compiledPackages(t, context, "./cmd/handler") {
				own := strings.HasPrefix(path, "parkstream/functions/") || path == "parkstream/cmd/handler"
				if _, ok := compiled[id]; !ok && !own {
					t.Errorf("%s is compiled again after the layer that all functions share", path)
				}
			}
			notices(t, program, program+".notices")
			serves(t, program, name, f)
		})
	}
}

// buildContexts makes the build context of every function of stack.yml with the code
// of faas-cli, and leaves the working directory at the repository, where that runs.
func buildContexts(t *testing.T) (services *stack.Services, contexts map[string]string) {
	t.Helper()
	t.Chdir(repository)
	services, err := stack.ParseYAMLFile("stack.yml", "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	if len(services.Functions) != 7 {
		t.Errorf("stack.yml has %d functions, want 7", len(services.Functions))
	}
	dir := t.TempDir()
	contexts = make(map[string]string)
	for name, f := range services.Functions {
		contexts[name], err = builder.CreateBuildContext(name, f.Handler, f.Language, services.StackConfiguration.CopyExtraPaths,
			builder.WithBuildDir(dir), builder.WithTemplateDir("template"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return services, contexts
}

// inBuild runs a program in a folder with the variables that the Dockerfile of
// functions gives it, and returns what it prints.
func inBuild(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	for _, line := range dockerfile(t) {
		if variables, ok := strings.CutPrefix(line, "ENV "); ok {
			for _, v := range regexp.MustCompile(`(\w+)=("[^"]*"|\S+)`).FindAllStringSubmatch(variables, -1) {
				cmd.Env = append(cmd.Env, v[1]+"="+strings.Trim(v[2], `"`))
			}
		}
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, &errs)
	}
	return string(out)
}

// dockerfile returns the instructions of the functions' Dockerfile.
func dockerfile(t *testing.T) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("template/parkstream/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// sharedLayer repeats the steps of the Dockerfile down to what compiles shared/,
// checks that they are the same for every function, and returns what they compile.
func sharedLayer(t *testing.T, contexts map[string]string) map[string]string {
	t.Helper()
	lines := dockerfile(t)
	last := slices.IndexFunc(lines, func(line string) bool { return strings.HasSuffix(line, " go build ./shared/...") })
	if last < 0 {
		t.Fatal("the Dockerfile does not compile shared/ by itself")
	}
	layer := t.TempDir()
	for _, line := range lines[:last] {
		words := strings.Fields(line)
		switch words[0] {
		case "FROM", "ENV", "WORKDIR":
		case "ARG": // a builder may key every later step with it
			if name, _, _ := strings.Cut(words[1], "="); !slices.Contains([]string{"GO_IMAGE", "TARGETOS", "TARGETARCH"}, name) {
				t.Errorf("%s comes before the layer that all functions share", line)
			}
		case "COPY":
			sources, to := words[1:len(words)-1], filepath.Join(layer, words[len(words)-1])
			for _, source := range sources {
				first := ""
				for name, context := range contexts {
					switch sum := checksum(t, filepath.Join(context, source)); first {
					case "":
						first = sum
						copyTo(t, filepath.Join(context, source), to)
					case sum:
					default:
						t.Errorf("%s is another in the context of %s: the layer is not shared", source, name)
					}
				}
			}
		default:
			t.Errorf("%s comes before the layer that all functions share", line)
		}
	}
	return compiledPackages(t, layer, "./shared/...")
}

// compiledPackages returns the packages that a build of a pattern needs, without
// those of Go, by what go's cache knows each compiled one by.
func compiledPackages(t *testing.T, dir, pattern string) map[string]string {
	t.Helper()
	words := strings.Fields(inBuild(t, dir, "go", "list", "-export", "-deps", "-f", `{{if not .Standard}}{{.BuildID}} {{.ImportPath}}{{end}}`, pattern))
	packages := make(map[string]string)
	for pair := range slices.Chunk(words, 2) {
		packages[pair[0]] = pair[1]
	}
	return packages
}

// checksum is of a file, or of all files in a folder with their names and modes.
func checksum(t *testing.T, path string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(path, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		fmt.Fprintf(sum, "%s %v %d\n%s", strings.TrimPrefix(file, path), info.Mode(), len(text), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// copyTo copies a file or a folder as COPY does, a file into a folder.
func copyTo(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.CopyFS(to, os.DirFS(from))
	} else {
		var text []byte
		text, err = os.ReadFile(from)
		err = errors.Join(err, os.WriteFile(filepath.Join(to, filepath.Base(from)), text, info.Mode()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Both Dockerfiles build on the builder's own architecture for that of the image, with
// BuildKit, which passes it, and with Docker's older builder, which does not. Their
// base can be pinned, and their images have notices.
func TestDockerfiles(t *testing.T) {
	for _, file := range []string{"template/parkstream/Dockerfile", "connectors/rabbitmq/Dockerfile"} {
		text := read(t, file)
		from := regexp.MustCompile(`(?m)^FROM .*`).FindAllString(text, -1)
		if want := []string{"FROM --platform=${BUILDPLATFORM:-linux} ${GO_IMAGE} AS build", "FROM scratch"}; !slices.Equal(from, want) {
			t.Errorf("%s has %q, want %q", file, from, want)
		}
		for _, want := range []string{
			`(?m)^ARG GO_IMAGE=golang:\S+$`, `(?m)^ARG TARGETOS$`, `(?m)^ARG TARGETARCH$`, `(?m)^USER 12000:12000$`,
			`(?m)^COPY --from=build /\S+\.notices /THIRD-PARTY-NOTICES$`,
		} {
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("%s has no %s", file, want)
			}
		}
		for run := range strings.Lines(text) {
			if strings.HasPrefix(run, "RUN ") && !strings.HasPrefix(run, "RUN GOOS=$TARGETOS GOARCH=$TARGETARCH ") {
				t.Errorf("%s compiles for the builder's platform: %s", file, run)
			}
		}
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

// serves checks that a function starts although no server that it needs can be reached,
// and stops on a signal.
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
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended, which Wait reports
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if !strings.Contains(log.String(), `"process":"`+name+`"`) || t.Failed() {
		t.Errorf("the log:\n%s", log.String())
	}
}

// make image-connector uses the given builder, or the first that works, and names what
// to install if there is none.
func TestImageBuilder(t *testing.T) {
	for _, tt := range []struct {
		name    string
		found   map[string]string // what each one that is installed answers to info
		builder string
		want    string // the builder; empty: none
	}{
		{"docker first", map[string]string{"docker": "exit 0", "buildah": "exit 0", "podman": "exit 0"}, "", "docker"},
		{"no daemon", map[string]string{"docker": "exit 1", "buildah": "exit 0"}, "", "buildah"},
		{"podman alone", map[string]string{"podman": "exit 0"}, "", "podman"},
		{"named", map[string]string{"docker": "exit 0", "podman": "exit 0"}, "podman", "podman"},
		{"none works", map[string]string{"docker": "exit 1"}, "", ""},
		{"none", nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bin := t.TempDir()
			for _, program := range []string{"sh", "bash", "cat", "dirname", "sed", "uname"} {
				path, err := exec.LookPath(program)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(bin, program)); err != nil {
					t.Fatal(err)
				}
			}
			for program, info := range tt.found {
				script := "#!/bin/sh\n[ $1 != info ] || " + info + "\necho $0 \"$@\"\n"
				if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "image-connector", "IMAGE=name", "TAG=tag", "BUILDER="+tt.builder, "ARGS=--pull")
			cmd.Dir = repository
			cmd.Env = append(os.Environ(), "PATH="+bin, "MAKEFLAGS=")
			text, err := cmd.CombinedOutput()
			out := string(text)
			if tt.want == "" {
				if err == nil || !strings.Contains(out, "apt-get install buildah") {
					t.Errorf("error %v:\n%s", err, out)
				}
				return
			}
			if err != nil || !strings.Contains(out, filepath.Join(bin, tt.want)+" build ") || !strings.Contains(out, " --tag name:tag ") || !strings.Contains(out, " --pull .\n") {
				t.Errorf("error %v:\n%s", err, out)
			}
			if given := strings.Contains(out, " BUILDPLATFORM=linux/"); given == (tt.want == "docker") {
				t.Errorf("the platform is given: %v\n%s", given, out)
			}
		})
	}
}
