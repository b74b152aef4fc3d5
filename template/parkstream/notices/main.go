// Command notices writes the notices that have to accompany a program: the licences of
// the modules that are linked into it, of what it embeds, and of Go.
//
//	go list -deps -json=Dir,EmbedFiles,ImportPath,Module,Standard PACKAGE | go run ./notices "$(go env GOROOT)"
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "notices: want the folder of Go as the only argument")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

// listed is a package as `go list` describes it.
type listed struct {
	Dir, ImportPath string
	EmbedFiles      []string
	Standard        bool
	Module          *module
}

type module struct {
	Path, Version, Dir string
	Main               bool
	Replace            *module
}

// licence matches the names of files with licences and notices.
var licence = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)s?([.-].*)?$`)

// write writes the notices of the packages that `go list` has listed.
func write(w io.Writer, packages io.Reader, goroot string) error {
	folders := map[string]map[string]bool{"Go": {goroot: true}} // by owner
	for d := json.NewDecoder(packages); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read what go list says: %w", err)
		}
		if p.Standard {
			continue
		}
		if p.Module == nil {
			return fmt.Errorf("the package %s is of no module", p.ImportPath)
		}
		name, m := p.Module.Path, cmp.Or(p.Module.Replace, p.Module)
		if !p.Module.Main {
			name += " " + m.Version
		}
		if folders[name] == nil {
			folders[name] = make(map[string]bool)
		}
		// A package may have been taken from elsewhere, with a licence of its own.
		for _, file := range append(p.EmbedFiles, ".") {
			for dir := filepath.Join(p.Dir, filepath.Dir(file)); ; dir = filepath.Dir(dir) {
				folders[name][dir] = true
				if dir == m.Dir || dir == filepath.Dir(dir) {
					break
				}
			}
		}
	}
	if len(folders) == 1 {
		return errors.New("go list has named no package")
	}
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		if err := one(w, name, slices.Sorted(maps.Keys(folders[name]))); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, rule+"ca-certificates\n\nThe file /etc/ssl/certs/ca-certificates.crt of an image is made by Debian's package\nca-certificates from Mozilla's list of certificates, which is under the Mozilla\nPublic License 2.0: https://mozilla.org/MPL/2.0/")
	return err
}

const rule = "================================================================================\n"

// one writes the licences in the folders of one module.
func one(w io.Writer, name string, dirs []string) error {
	found := false
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, file := range files {
			if file.IsDir() || filepath.Ext(file.Name()) == ".go" || !licence.MatchString(file.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, file.Name()))
			if err != nil {
				return err
			}
			found = true
			where, err := filepath.Rel(dirs[0], filepath.Join(dir, file.Name()))
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%s%s: %s\n\n%s\n", rule, name, where, text); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("%s has no licence in %v", name, dirs)
	}
	return nil
}
