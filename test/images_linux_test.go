package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// builtImage is the connector's image, unpacked.
type builtImage struct {
	root              string // folder with its files
	program           string // its entry point
	version, revision string
}

// connectorImage builds the image as `make image-connector` does, with buildah. No
// registry is asked: in place of the official image of Go this machine's programs
// are seen inside the build, read-only, and Go's caches.
func connectorImage(t *testing.T) builtImage {
	t.Helper()
	b := newBuildah(t)
	const name = "localhost/parkstream/rabbitmq-connector"
	version := strings.TrimSpace(read(t, "VERSION"))
	b.run(t, repository, "make", "--no-print-directory", "image-connector", "BUILDER=buildah", "IMAGE="+name, "TAG="+version,
		"ARGS=--quiet "+strings.Join(b.options, " "))
	out := filepath.Join(b.dir, "image")
	b.run(t, repository, "buildah", "push", "--quiet", name+":"+version, "dir:"+out)

	var manifest struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	var config struct {
		Config struct {
			User         string
			Env          []string
			Entrypoint   []string
			ExposedPorts map[string]any
			Labels       map[string]string
		}
	}
	readJSON(t, filepath.Join(out, "manifest.json"), &manifest)
	blob := func(digest string) string { return filepath.Join(out, strings.TrimPrefix(digest, "sha256:")) }
	readJSON(t, blob(manifest.Config.Digest), &config)
	root := filepath.Join(b.dir, "files")
	for _, layer := range manifest.Layers {
		unpack(t, blob(layer.Digest), root)
	}

	c := config.Config
	label := func(name string) string { return c.Labels["org.opencontainers.image."+name] }
	if c.User != fmt.Sprintf("%d:%[1]d", connectorUser) || !slices.Equal(c.Entrypoint, []string{"/rabbitmq-connector"}) ||
		!slices.Contains(c.Env, "LISTEN=:8083") || c.ExposedPorts["8083/tcp"] == nil {
		t.Errorf("the image's settings are %+v", c)
	}
	if label("version") != version || strings.TrimSuffix(label("revision"), "-dirty") != commit(t) || label("licenses") != "MIT" || label("title") == "" || label("description") == "" {
		t.Errorf("the image's labels are %v", c.Labels)
	}
	var files []string
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/THIRD-PARTY-NOTICES", "/etc/ssl/certs/ca-certificates.crt", "/rabbitmq-connector"}; !slices.Equal(files, want) {
		t.Fatalf("the image has the files %v, want %v", files, want)
	}
	unwritable(t, root)
	program := filepath.Join(root, "rabbitmq-connector")
	static(t, program)
	notices(t, program, filepath.Join(root, "THIRD-PARTY-NOTICES"))
	return builtImage{root: root, program: c.Entrypoint[0], version: version, revision: label("revision")}
}

// commit returns the hash of the checkout's commit.
func commit(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git rev-parse HEAD: %v: images are labelled with the commit, so run this in a clone whose files git takes for yours", err)
	}
	return strings.TrimSpace(string(out))
}

// TestFunctionImages builds the images of two functions: for the second one the
// builder takes what both share from its cache.
func TestFunctionImages(t *testing.T) {
	_, contexts := buildContexts(t)
	b := newBuildah(t)
	for i, name := range []string{"entry-processor", "summary"} {
		out := b.run(t, contexts[name], "buildah", slices.Concat([]string{
			"build", "--layers", "--tag", "localhost/" + name,
			"--build-arg", "FUNCTION=" + name, "--build-arg", "BUILDPLATFORM=linux/" + runtime.GOARCH,
		}, b.options, []string{"."})...)
		_, after, _ := strings.Cut(out, " go build ./shared/...\n")
		if cached := strings.HasPrefix(after, "--> Using cache "); cached != (i > 0) {
			t.Errorf("%s: what is shared is from the cache: %v\n%s", name, cached, out)
		}
	}
}

// buildah builds images with a storage of its own.
type buildah struct {
	dir     string
	environ []string
	options []string // of a build
}

func newBuildah(t *testing.T) *buildah {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Fatalf("%v: run make deps", err)
	}
	b := &buildah{dir: t.TempDir()}
	storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", filepath.Join(b.dir, "storage"), filepath.Join(b.dir, "run"))
	conf := filepath.Join(b.dir, "storage.conf")
	if err := os.WriteFile(conf, []byte(storage), 0o600); err != nil {
		t.Fatal(err)
	}
	b.environ = append(os.Environ(), "CONTAINERS_STORAGE_CONF="+conf, "BUILDAH_ISOLATION=chroot")

	// The stand-in has nothing of its own but the certificates and the links of a
	// Debian's root.
	base := filepath.Join(b.dir, "base")
	for _, dir := range []string{"usr", "tmp", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(base, dir)); err != nil {
			t.Fatal(err)
		}
	}
	certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "etc/ssl/certs/ca-certificates.crt"), certificates, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	var tool struct{ GOROOT, GOMODCACHE, GOCACHE string }
	if err := json.Unmarshal(out, &tool); err != nil {
		t.Fatal(err)
	}
	const image = "localhost/go"
	container := strings.TrimSpace(b.prepare(t, "from", "scratch"))
	b.prepare(t, "copy", "--quiet", container, base, "/")
	b.prepare(t, "config", "--env", "PATH=/go/root/bin:/usr/bin:/bin", "--env", "GOTOOLCHAIN=local", "--env", "GOFLAGS=",
		"--env", "GOROOT=/go/root", "--env", "GOMODCACHE=/go/modules", "--env", "GOCACHE=/go/cache", container)
	b.prepare(t, "run", "--volume", "/usr:/usr:ro", container, "/usr/bin/true")
	b.prepare(t, "commit", "--quiet", "--rm", container, image)
	b.options = []string{
		"--build-arg", "GO_IMAGE=" + image, "--volume", "/usr:/usr:ro", "--volume", tool.GOROOT + ":/go/root:ro",
		"--volume", tool.GOMODCACHE + ":/go/modules", "--volume", tool.GOCACHE + ":/go/cache",
	}
	return b
}

// prepare runs buildah. That it fails is the machine's fault, not that of an image.
func (b *buildah) prepare(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.try(t, b.dir, "buildah", args...)
	if err != nil {
		t.Fatalf("no image can be built here: buildah needs the capability CAP_SYS_ADMIN, or user namespaces; CONTRIBUTING.md says how to do without: %v", err)
	}
	return out
}

// run runs a program with the storage and returns what it prints.
func (b *buildah) run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	out, err := b.try(t, dir, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *buildah) try(t *testing.T, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, b.environ
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String(), nil
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// unpack writes the files of a layer into a folder, with their modes and, as root,
// their owners.
func unpack(t *testing.T, layer, dir string) {
	t.Helper()
	file, err := os.Open(layer)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var text []byte
			text, err = io.ReadAll(files)
			err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o600))
		}
		if err = errors.Join(err, os.Chmod(path, h.FileInfo().Mode())); err == nil && os.Geteuid() == 0 {
			err = os.Chown(path, h.Uid, h.Gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// unwritable tries to write to each file and into each folder below dir as the user
// that the connector runs as. Only root can become another user.
func unwritable(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	for parent := filepath.Dir(dir); parent != os.TempDir() && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const tries = `for file; do
		[ ! -d "$file" ] || file=$file/new
		(: >>"$file") 2>/dev/null && echo "$file"
	done
	true`
	cmd := exec.CommandContext(t.Context(), "find", dir, "-exec", "sh", "-c", tries, "sh", "{}", "+")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: connectorUser, Gid: connectorUser}}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("user %d writes to %q, error %v", connectorUser, out, err)
	}
}

// static checks that a program needs no other file to start.
func static(t *testing.T, program string) {
	t.Helper()
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("%s is linked dynamically", program)
	}
}
