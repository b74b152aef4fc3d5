package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrEmptySecret is wrapped by the error of a secret whose file is empty. The error of
// a missing file wraps fs.ErrNotExist.
var ErrEmptySecret = errors.New("the file is empty")

// Secret is the content of a file. It is safe for concurrent use and never
// prints its value.
type Secret struct {
	name string
	path string

	mu    sync.Mutex
	read  fs.FileInfo // of the file that value came from
	value string
}

// NewSecret returns the secret of a name in a folder. The file is read when its
// value is asked for.
func NewSecret(dir, name string) *Secret {
	return &Secret{name: name, path: filepath.Join(dir, name)}
}

// Value returns the content without the line ends after it. It reads the file
// again when it was changed or replaced. An empty file is an error.
func (s *Secret) Value() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.path)
	if err != nil {
		return "", s.missing(err)
	}
	if s.read != nil && os.SameFile(s.read, info) && s.read.ModTime().Equal(info.ModTime()) && s.read.Size() == info.Size() {
		return s.value, nil
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return "", s.missing(err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", fmt.Errorf("secret %s: put it into the file %s: %w", s.name, s.path, ErrEmptySecret)
	}
	s.read, s.value = info, value
	return value, nil
}

func (s *Secret) missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("secret %s: put it into the file %s, or name its folder in SECRETS_DIR: %w", s.name, s.path, fs.ErrNotExist)
	}
	return fmt.Errorf("read secret %s: %w", s.name, err)
}

// String returns the secret's name only.
func (s *Secret) String() string { return "secret " + s.name + " (hidden)" }

// Format writes String for every verb: no way of printing shows the value.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }
