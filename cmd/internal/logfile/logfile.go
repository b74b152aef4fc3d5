// Package logfile keeps logs that cannot fill a disk.
package logfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// MaxBytes is how large a log grows before it becomes the old one. There is one
// old one, so that a log takes twice as much at most.
const MaxBytes = 64 << 20

// File is a log; [Open] makes it.
type File struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the log at path for appending, and makes it where there is none.
func Open(path string) (*File, error) { return open(path, MaxBytes) }

func open(path string, limit int64) (*File, error) {
	f := &File{path: path, max: limit}
	return f, f.reopen()
}

func (f *File) reopen() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open a log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open a log: %w", err), file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write implements io.Writer. What would make the log too large goes into a new
// one, and the old one is then at the path with ".1" behind it. Where that fails
// the log goes on growing, so that no line is lost for it.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+int64(len(p)) > f.max && os.Rename(f.path, f.path+".1") == nil {
		full := f.file
		if f.reopen() == nil {
			_ = full.Close()
		}
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	return n, err
}

// Close implements io.Closer.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}
