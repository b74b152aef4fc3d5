package logfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log never exceeds its limit. Its lines stay whole and in order over all starts, and
// only the oldest are lost.
func TestLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	var want strings.Builder
	for _, line := range []string{"one\n", "two\n", "three\n", "four\n", "five\n", "six\n"} {
		f, err := open(path, 10)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := f.Write([]byte(line)); err != nil || n != len(line) {
			t.Fatalf("%d bytes of %q are written, error %v", n, line, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		want.WriteString(line)
		var got string
		for _, name := range []string{path + ".1", path} {
			text, err := os.ReadFile(name)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if len(text) > 10 {
				t.Errorf("%s has %d bytes", name, len(text))
			}
			got += string(text)
		}
		if !strings.HasSuffix(want.String(), got) || !strings.HasSuffix(got, line) {
			t.Errorf("the logs have %q of %q", got, want.String())
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v, error %v", info, err)
	}
}

// A line longer than the limit, and a folder in which nothing can be renamed,
// cost no line.
func TestNothingIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	f, err := open(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.Write([]byte("a line that is long\n")); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "a line that is long\n") != 3 {
		t.Errorf("the log has %q, error %v", text, err)
	}
}
