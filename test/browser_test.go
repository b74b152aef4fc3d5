package test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"parkstream/shared/eventually"
)

// tab is a browser's tab, which belongs to a test.
type tab struct {
	*testing.T
	ctx      context.Context
	problems *problems
}

// problems are what a page complained of.
type problems struct {
	mu   sync.Mutex
	list []string
}

func (p *problems) add(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, fmt.Sprintf(format, args...))
}

// openBrowser starts a headless Chromium with a profile of its own. It ends with
// the test.
func openBrowser(t *testing.T) tab {
	t.Helper()
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // as root, in a container, there is none
		chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := tab{t, ctx, new(problems)}
	// The first step starts the browser and must not have a deadline.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start Chromium, which `make deps` installs: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = chromedp.Cancel(ctx) // before its profile is removed
	})
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.problems.add("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
		case *runtime.EventConsoleAPICalled:
			b.problems.add("console: %s", e.Type)
		case *cdplog.EventEntryAdded:
			b.problems.add("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	})
	_, err2 := chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	_, err3 := chromedp.Call(ctx, cdplog.Enable, cdp.Empty{})
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return b
}

// in is the tab within a part of the test.
func (b tab) in(t *testing.T) tab {
	b.T = t
	return b
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.Fatal(err)
	}
}

func (b tab) open(address string) {
	b.Helper()
	b.do(chromedp.Navigate(address))
}

func (b tab) size(width, height int64, options ...chromedp.EmulateViewportOption) {
	b.Helper()
	b.do(chromedp.EmulateViewport(width, height, options...))
}

// prefers sets the colours that the device prefers.
func (b tab) prefers(scheme string) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}); err != nil {
		b.Fatal(err)
	}
}

func (b tab) eval(script string) {
	b.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script))
}

// value is that of an expression in the page.
func value[T any](b tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

func (b tab) text(expression string) string {
	b.Helper()
	text, err := value[string](b, expression)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

func (b tab) number(expression string) float64 {
	b.Helper()
	n, err := value[float64](b, expression)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// wants waits until an expression in the page has a value.
func (b tab) wants(expression, want string) {
	b.Helper()
	eventually.Succeeds(b.T, "the page shows the value", func() error {
		got, err := value[string](b, expression)
		if err == nil && got != want {
			err = fmt.Errorf("%s is %q, want %q", expression, got, want)
		}
		return err
	})
}

// calm fails the test when the page has complained of anything.
func (b tab) calm() {
	b.Helper()
	b.problems.mu.Lock()
	defer b.problems.mu.Unlock()
	for _, p := range b.problems.list {
		b.Errorf("the browser's console has %s", p)
	}
}

// screenshot leaves a picture of the page in the folder SCREENSHOTS, or the
// test's own.
func (b tab) screenshot(name string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(cmp.Or(os.Getenv("SCREENSHOTS"), b.TempDir()), name), png, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}
