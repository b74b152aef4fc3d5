package process_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parkstream/shared/process"
)

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	p, err := process.New(process.Options{Environ: []string{"SECRETS_DIR=" + dir}})
	if err != nil {
		t.Fatal(err)
	}
	secret := p.Secret("token")
	if _, err := secret.Value(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing secret: %v", err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want string) {
		t.Helper()
		if got, err := secret.Value(); got != want || err != nil {
			t.Errorf("Value() = %q, %v, want %q", got, err, want)
		}
	}
	write(path, " hush \r\n\n")
	want(" hush ")
	want(" hush ")
	write(path, "changed")
	want("changed")
	write(path+".new", "renamed")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	want("renamed")
	shown := fmt.Sprintf("%v %+v %#v %s %q %d %x", secret, secret, secret, secret, secret, secret, secret)
	if strings.Contains(shown, "renamed") || strings.Contains(shown, fmt.Sprintf("%x", "renamed")) {
		t.Errorf("it prints itself: %s", shown)
	}
	write(path, "\n")
	if _, err := secret.Value(); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("an empty secret: %v", err)
	}
}
