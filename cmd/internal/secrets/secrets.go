// Package secrets writes the secrets of a system: files of a folder, one a secret, that
// only their owner can read.
package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"parkstream/shared/process"
)

// Ensure returns a secret of the folder. If it is missing, Ensure writes the result of
// value, for its owner alone; a nil value is an error then. An empty file, as a crash or
// a full disk leaves it, counts as missing. A line end after the secret is removed. If
// several processes write the same secret, all get the value of the first.
func Ensure(dir, name string, value func() string) (string, error) {
	secret, err := read(dir, name)
	if err != nil || secret != "" {
		return secret, err
	}
	if value == nil {
		return "", fmt.Errorf("the secret %s is missing or empty in %s", name, dir)
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return "", fmt.Errorf("write the secret %s: %w", name, err)
	}
	defer lock.Close()
	if secret, err := read(dir, name); err != nil || secret != "" { // another process was first
		return secret, err
	}
	v := value()
	return v, Write(dir, name, []byte(v))
}

// lockFolder waits until no other process has the lock of a folder. Closing the file
// releases the lock, as does the end of the process.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// Edit replaces the text of a file by what edit makes of it; a missing file is empty. Edits
// at the same time follow one another, a reader gets the old text or the new one, and a
// link to a file stays one.
func Edit(path string, edit func(text []byte) ([]byte, error)) error {
	if linked, err := filepath.EvalSymlinks(path); err == nil {
		path = linked
	}
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	lock, err := lockFolder(dir)
	if err != nil {
		return fmt.Errorf("edit %s: %w", path, err)
	}
	defer lock.Close()
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("edit %s: %w", path, err)
	}
	after, err := edit(before)
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	return Write(dir, name, after)
}

// read returns a secret of the folder, "" if it is missing or empty.
func read(dir, name string) (string, error) {
	secret, err := process.NewSecret(dir, name).Value()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, process.ErrEmptySecret) {
		return "", nil
	}
	return secret, err
}

// Write writes a secret for its owner alone. The replacement is atomic: a reader
// gets the old value or the new one, also after a crash.
func Write(dir, name string, value []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the secret %s: %w", name, err)
		}
	}()
	f, err := os.CreateTemp(dir, temporary+"*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if removeErr := os.Remove(f.Name()); !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// temporary is the prefix of temporary files; no secret's name begins with a dot.
const temporary = ".new-"
