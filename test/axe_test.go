package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// axe-core is the npm package that finds obstacles to accessibility. Its licence is
// MPL-2.0 and its size half a megabyte: it lies in the user's cache and not in the
// repository. The hash is that of the package.
const (
	axePackage = "axe-core@4.14.1"
	axeFile    = "axe-core-4.14.1.tgz"
	axeHash    = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

// axeScript returns the script of axe-core, which npm gets if the cache lacks it.
func axeScript(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("find the user's cache, which keeps %s: %v", axePackage, err)
	}
	dir := filepath.Join(cache, "parkstream")
	script, err := readAxe(filepath.Join(dir, axeFile))
	if errors.Is(err, os.ErrNotExist) {
		if err = packAxe(t.Context(), dir); err == nil {
			script, err = readAxe(filepath.Join(dir, axeFile))
		}
	}
	if err != nil {
		t.Fatalf("the page cannot be tested for accessibility without %s, which npm gets into %s (`make deps` installs npm): %v", axePackage, dir, err)
	}
	return script
}

// packAxe puts the package into a folder, whole or not at all.
func packAxe(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(dir, "npm-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "npm", "pack", axePackage, "--silent", "--pack-destination", fresh).CombinedOutput(); err != nil {
		return fmt.Errorf("npm pack %s: %w: %s", axePackage, err, bytes.TrimSpace(out))
	}
	return os.Rename(filepath.Join(fresh, axeFile), filepath.Join(dir, axeFile))
}

// readAxe takes the script out of the package, whose hash is as it has to be.
func readAxe(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if sum := sha512.Sum512(text); base64.StdEncoding.EncodeToString(sum[:]) != axeHash {
		return "", fmt.Errorf("%s is another package than %s: remove it", file, axePackage)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if err != nil {
			return "", fmt.Errorf("find axe.min.js in %s: %w", file, err)
		}
		if h.Name == "package/axe.min.js" {
			script, err := io.ReadAll(files)
			return string(script), err
		}
	}
}

// accessible fails the test for everything that axe-core finds on the page in its
// current state.
func (b tab) accessible(script, what string) {
	b.Helper()
	b.eval(script + "; undefined")
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	found, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](`axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v =>
		v.id + ' (' + v.impact + ') in ' + v.nodes.length + ' places, first ' + v.nodes[0].target.join(' ') + ': ' + v.nodes[0].failureSummary))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("axe-core on the page %s: %v", what, err)
	}
	for _, f := range found {
		b.Errorf("the page %s: %s", what, strings.Join(strings.Fields(f), " "))
	}
}
