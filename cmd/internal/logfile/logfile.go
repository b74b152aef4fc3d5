// Package logfile writes log files of bounded size.
package logfile

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// MaxBytes is the size at which a log is rotated. One old file is kept: a log takes at
// most twice as much.
const MaxBytes = 64 << 20

// File is a log that [Open] has opened.
type File struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open opens the log at path for appending, and creates it if it is missing.
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

// Write implements io.Writer. It rotates a log that would become too large: the old one
// gets the suffix ".1". If that fails the log keeps growing, and no line is lost.
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
