package test

import (
	"debug/buildinfo"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/openfaas/go-sdk/stack"

	"parkstream/shared/tracing"
)

// TestStack checks what other programs rely on in stack.yml.
func TestStack(t *testing.T) {
	t.Setenv("DEFAULT_SITE", "") // as for those who do not set it
	services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct{ topic, schedule string }{
		"entry-processor": {topic: "vehicle_entries"},
		"exit-processor":  {topic: "vehicle_exits"},
		"entry-generator": {topic: "cron-function", schedule: "* * * * *"},
		"exit-generator":  {topic: "cron-function", schedule: "* * * * *"},
		"matcher":         {topic: "cron-function", schedule: "* * * * *"},
		"camera":          {},
		"summary":         {},
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
		if sends := strings.HasSuffix(name, "-processor"); (annotations["parkstream.send-token"] == "true") != sends {
			t.Errorf("%s has the annotations %v", name, annotations)
		}
		for _, setting := range []string{"METRICS_LISTEN", "OIDC_ISSUER", "PUBLIC_URL", "TRUSTED_PROXIES"} {
			if value, ok := f.Environment[setting]; !ok || value != os.Getenv(setting) {
				t.Errorf("%s has %s %q", name, setting, value)
			}
		}
		if f.Environment["SCHEDULE"] != w.schedule {
			t.Errorf("%s has SCHEDULE %q, and its annotation schedule is %q", name, f.Environment["SCHEDULE"], w.schedule)
		}
		if site := f.Environment["DEFAULT_SITE"]; strings.HasSuffix(name, "-generator") && site != "generated" {
			t.Errorf("%s generates at the site %q", name, site)
		}
		if !f.ReadOnlyRootFilesystem {
			t.Errorf("%s: readonly_root_filesystem %v", name, f.ReadOnlyRootFilesystem)
		}
	}
}

// optionalSecrets are read if they are there. OpenFaaS does not deploy a function whose
// secrets are missing.
var optionalSecrets = []string{"images-access-key", "images-secret-key", "metrics-token", "oidc-client-secret", "otlp-headers"}

// Each function has exactly the secrets that its packages read.
func TestSecretsOfFunctions(t *testing.T) {
	services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	reads := regexp.MustCompile(`\.Secret\(([^()]*)\)`)
	for name, f := range services.Functions {
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if and .Module .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}{{end}}", "./functions/"+name)
		list.Dir = repository
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		var want []string
		for file := range strings.FieldsSeq(string(out)) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range reads.FindAllStringSubmatch(string(text), -1) {
				secret := strings.Trim(call[1], `"`)
				if call[1] == "tracing.HeadersSecret" {
					secret = tracing.HeadersSecret
				} else if secret == call[1] {
					t.Errorf("%s reads the secret %s: the test finds names only", file, call[1])
				}
				if !slices.Contains(optionalSecrets, secret) {
					want = append(want, secret)
				}
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(slices.Values(f.Secrets)); !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("%s has the secrets %v, and reads %v", name, got, slices.Compact(want))
		}
	}
}

// The command in docs/operations.md deploys all functions but the generators.
func TestStackWithoutGenerators(t *testing.T) {
	_, command, found := strings.Cut(read(t, "docs/operations.md"), "faas-cli deploy -f stack.yml --regex '")
	expression, _, closed := strings.Cut(command, "'\n")
	services, err := stack.ParseYAMLFile(filepath.Join(repository, "stack.yml"), expression, "", true)
	if !found || !closed || err != nil {
		t.Fatalf("expression %q: %v", expression, err)
	}
	if got, want := slices.Sorted(maps.Keys(services.Functions)), []string{"camera", "entry-processor", "exit-processor", "matcher", "summary"}; !slices.Equal(got, want) {
		t.Errorf("%s deploys %v, want %v", expression, got, want)
	}
}

// The steps of a build make a program for the given platform, or for that of this
// machine if none is given.
func TestPlatforms(t *testing.T) {
	_, contexts := buildContexts(t)
	context := contexts["entry-generator"]
	for _, file := range []string{"go.mod", "LICENSE"} {
		copyTo(t, filepath.Join(context, "function", file), context)
	}
	for _, tt := range []struct{ os, arch, want string }{
		{"", "", runtime.GOOS + "/" + runtime.GOARCH},
		{"linux", "arm64", "linux/arm64"},
	} {
		t.Setenv("GOOS", tt.os)
		t.Setenv("GOARCH", tt.arch)
		// A small program of the context stands for the function.
		program := filepath.Join(t.TempDir(), "program")
		inBuild(t, context, "sh", "compile.sh", "./notices", program)
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for _, s := range info.Settings {
			got[s.Key] = s.Value
		}
		if platform := got["GOOS"] + "/" + got["GOARCH"]; platform != tt.want || got["CGO_ENABLED"] != "0" || got["-trimpath"] != "true" {
			t.Errorf("for %q/%q the program is of %s: %v", tt.os, tt.arch, platform, got)
		}
		if text, err := os.ReadFile(program + ".notices"); err != nil || len(text) == 0 {
			t.Errorf("notices: %d bytes, error %v", len(text), err)
		}
	}
}

// Every image has the version of the file VERSION. Its name leads to no registry unless
// REGISTRY names one: a foreign account would get our secrets.
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
		makes.Env = append(os.Environ(), "MAKEFLAGS=")
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
