package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// folder keeps pictures in files. Nothing outside of it is read or written, whatever a
// name is: see [os.Root]. It is opened for each use, since a volume may be mounted again.
type folder string

const (
	dirMode  = 0o750
	fileMode = 0o640
	// tempEnd is the end of the name of a file that is being written.
	tempEnd = ".tmp"
	// someFiles is how many files of a folder are handled at a time.
	someFiles = 1000
)

func (f folder) put(_ context.Context, name, _ string, data []byte) error {
	if err := os.MkdirAll(string(f), dirMode); err != nil {
		return err
	}
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return err
	}
	defer root.Close()
	temp := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text()+tempEnd)
	file, err := create(root, temp)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync() // or the name may be there after a crash, and the content not
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}

// create creates a file and its folder, which a sweep may remove in between.
func create(root *os.Root, name string) (file *os.File, err error) {
	const tries = 3
	for range tries {
		if err = root.MkdirAll(path.Dir(name), dirMode); err == nil {
			file, err = root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return file, err
}

func (f folder) get(_ context.Context, name string) (io.ReadCloser, int64, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, 0, orNotFound(err)
	}
	defer root.Close()
	file, err := root.Open(name)
	if err != nil {
		return nil, 0, orNotFound(err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

func orNotFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// open opens a folder below. It is nil if there is none.
func (f folder) open(name string) (*os.File, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, noneIfMissing(err)
	}
	defer root.Close()
	dir, err := root.Open(path.Join(".", name))
	if err != nil {
		return nil, noneIfMissing(err)
	}
	return dir, nil
}

func noneIfMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f folder) folders(_ context.Context, name string) ([]string, error) {
	dir, err := f.open(name)
	if err != nil || dir == nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() { // no link
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (f folder) named(_ context.Context, name, base string) ([]string, error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, noneIfMissing(err)
	}
	defer root.Close()
	var names []string
	for n := range MaxPictures {
		for _, k := range kinds {
			file := fmt.Sprintf("%s%d%s", base, n, k.suffix)
			_, err := root.Lstat(path.Join(name, file))
			if err == nil {
				names = append(names, file)
			} else if noneIfMissing(err) != nil {
				return nil, err
			}
		}
	}
	return names, nil
}

func (f folder) each(ctx context.Context, name string, do func([]stored) error) error {
	dir, err := f.open(name)
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(someFiles)
		var some []stored
		for _, e := range entries {
			if !isOurs(e.Name()) {
				continue
			}
			if info, err := e.Info(); err == nil { // else it has been removed
				some = append(some, stored{e.Name(), info.ModTime()})
			}
		}
		if len(some) > 0 {
			if err := errors.Join(ctx.Err(), do(some)); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// isOurs reports whether a file is a picture, or the rest of one whose writing ended in a
// crash. Other files are left alone.
func isOurs(file string) bool {
	if rest, ok := strings.CutSuffix(file, tempEnd); ok {
		rest, _ = strings.CutPrefix(rest, ".")
		file = strings.TrimSuffix(rest, path.Ext(rest))
	}
	return fileForm.MatchString(file)
}

func (f folder) remove(ctx context.Context, name string, files []string) (removed int, err error) {
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return 0, noneIfMissing(err)
	}
	defer root.Close()
	var errs []error
	for _, file := range files {
		if ctx.Err() != nil {
			return removed, errors.Join(append(errs, ctx.Err())...)
		}
		err := root.Remove(path.Join(name, file))
		if err == nil {
			removed++
		}
		errs = append(errs, noneIfMissing(err))
	}
	return removed, errors.Join(errs...)
}

func (f folder) removeFolder(name string) {
	if root, err := os.OpenRoot(string(f)); err == nil {
		defer root.Close()
		_ = root.Remove(name) // it fails if something is in it
	}
}

func (f folder) check(context.Context) error {
	if err := os.MkdirAll(string(f), dirMode); err != nil {
		return err
	}
	file, err := os.CreateTemp(string(f), ".check-*")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}
