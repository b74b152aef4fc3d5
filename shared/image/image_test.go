package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parkstream/shared/eventually"
	"parkstream/shared/parking"
	"parkstream/shared/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	jpeg = []byte("\xff\xd8\xff\xe0\x00\x10JFIF the picture")
	png  = []byte("\x89PNG\r\n\x1a\n the picture")
	noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
)

// open returns the store of a URL. Its time is noon.
func open(t *testing.T, url string) *Store {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"images-access-key": "reader", "images-secret-key": "hush"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := process.New(process.Options{Environ: []string{"SECRETS_DIR=" + dir}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	settings := Settings{URL: url, Timeout: 5 * time.Second}
	store, err := Wire(p, settings)
	if err := errors.Join(err, settings.Validate()); err != nil {
		t.Fatal(err)
	}
	store.now = func() time.Time { return noon }
	return store
}

// server returns an S3 server with a bucket of one picture that is not ours, and the URL
// of a place in it.
func server(t *testing.T) (fake *s3mem.Backend, url string) {
	t.Helper()
	fake = s3mem.New()
	if err := fake.CreateBucket("pictures"); err != nil {
		t.Fatal(err)
	}
	if _, err := fake.PutObject("pictures", "other/north/2000-01-01/x.jpg", nil, bytes.NewReader(jpeg), int64(len(jpeg)), nil); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(fake).Server())
	t.Cleanup(s.Close)
	return fake, "s3://pictures/park/gate?endpoint=" + s.URL
}

// everywhere runs a test with both kinds of store. names returns what is kept below the
// place of the pictures.
func everywhere(t *testing.T, test func(t *testing.T, store *Store, names func() []string)) {
	t.Helper()
	t.Run("file", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "park", "gate")
		test(t, open(t, "file://"+dir), func() []string { return filesIn(t, dir) })
	})
	t.Run("s3", func(t *testing.T) {
		fake, url := server(t)
		test(t, open(t, url), func() []string {
			list, err := fake.ListBucket("pictures", nil, gofakes3.ListBucketPage{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, o := range list.Contents {
				if name, ok := strings.CutPrefix(o.Key, "park/gate/"); ok {
					names = append(names, name)
				} else if !strings.HasPrefix(o.Key, "other/") {
					t.Errorf("an object outside of the prefix: %q", o.Key)
				}
			}
			if _, err := fake.HeadObject("pictures", "other/north/2000-01-01/x.jpg"); err != nil {
				t.Error("what is not ours:", err)
			}
			return names
		})
	})
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func put(t *testing.T, s *Store, site, event string, at time.Time, pictures ...[]byte) string {
	t.Helper()
	reference, err := s.Put(t.Context(), site, event, at, pictures...)
	if err != nil || reference == "" {
		t.Fatalf("put: %q, %v", reference, err)
	}
	return reference
}

func content(t *testing.T, s *Store, reference string) (text, contentType string) {
	t.Helper()
	p, err := s.Get(t.Context(), reference)
	if errors.Is(err, ErrNotFound) {
		return "", ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	data, err := io.ReadAll(p)
	if err != nil || p.Size != int64(len(data)) {
		t.Fatalf("size %d, read %d, %v", p.Size, len(data), err)
	}
	return string(data), p.ContentType
}

func TestPutAndGet(t *testing.T) {
	everywhere(t, func(t *testing.T, s *Store, names func() []string) {
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		first := put(t, s, "north", "cam1:7", noon, jpeg, png)
		if want := "north/2026-03-14/" + baseOf("north", "cam1:7") + "0.jpg"; first != want {
			t.Errorf("reference %q, want %q", first, want)
		}
		second := strings.Replace(first, "0.jpg", "1.png", 1)
		for reference, want := range map[string][2]string{
			first: {string(jpeg), "image/jpeg"}, second: {string(png), "image/png"}, strings.Replace(first, "0.jpg", "2.jpg", 1): {},
		} {
			if text, kind := content(t, s, reference); text != want[0] || kind != want[1] {
				t.Errorf("%s is %q, %q, want %q", reference, text, kind, want)
			}
		}
		// A later version of the event, and the same request again.
		other := append(slices.Clone(jpeg), " of another version"...)
		for range 2 {
			if again := put(t, s, "north", "cam1:7", noon.Add(time.Second), other); again != first {
				t.Errorf("the event's reference has become %q", again)
			}
		}
		if text, _ := content(t, s, first); text != string(other) {
			t.Errorf("the picture of the new version is %q", text)
		}
		want := []string{first, second}
		if diff := gocmp.Diff(want, names()); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		if n := testutil.ToFloat64(s.metrics.stored); n != 4 {
			t.Errorf("%v are counted", n)
		}
		if n := testutil.ToFloat64(s.metrics.bytes); int(n) != len(jpeg)+len(png)+2*len(other) {
			t.Errorf("%v bytes are counted", n)
		}
	})
}

// Of what is no picture, nothing is kept; the others of its event are.
func TestRefused(t *testing.T) {
	tooLarge := append(slices.Clone(jpeg), make([]byte, MaxBytes)...)
	for name, tt := range map[string]struct {
		site     string
		after    time.Duration
		pictures [][]byte
		kept     int
		why      string
	}{
		"no picture":   {pictures: nil},
		"empty":        {pictures: [][]byte{{}}, why: "neither JPEG nor PNG"},
		"a GIF":        {pictures: [][]byte{[]byte("GIF89a...")}, why: "neither JPEG nor PNG, but image/gif"},
		"a page":       {pictures: [][]byte{[]byte("<html><script>"), jpeg}, kept: 1, why: "picture 1 of an event at site \"north\": it is neither JPEG nor PNG, but text/html"},
		"an SVG":       {pictures: [][]byte{[]byte(`<?xml version="1.0"?><svg/>`)}, why: "neither JPEG nor PNG"},
		"half a head":  {pictures: [][]byte{jpeg[:2], png[:7]}, why: "picture 2 of an event"},
		"too many":     {pictures: [][]byte{jpeg, png, jpeg, png, jpeg}, kept: 4, why: "at most 4"},
		"too large":    {pictures: [][]byte{tooLarge}, why: "at most 16777216 are kept"},
		"in 25 hours":  {after: 25 * time.Hour, pictures: [][]byte{jpeg}, why: "25h0m0s in the future"},
		"in 23 hours":  {after: 23 * time.Hour, pictures: [][]byte{jpeg}, kept: 1},
		"long ago":     {after: -time.Hour * 24 * 365, pictures: [][]byte{jpeg}, kept: 1},
		"site .":       {site: ".", pictures: [][]byte{jpeg}, why: "has no pictures"},
		"site ..":      {site: "..", pictures: [][]byte{jpeg}, why: "has no pictures"},
		"site ...":     {site: "...", pictures: [][]byte{jpeg}, why: "has no pictures"},
		"site a/b":     {site: "a/b", pictures: [][]byte{jpeg}, why: "must be 1 to 64 ASCII"},
		"site ../x":    {site: "../x", pictures: [][]byte{jpeg}, why: "must be 1 to 64 ASCII"},
		"site of NUL":  {site: "a\x00", pictures: [][]byte{jpeg}, why: "must be 1 to 64 ASCII"},
		"site .hidden": {site: ".hidden", pictures: [][]byte{jpeg}, kept: 1},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, s *Store, names func() []string) {
				reference, err := s.Put(t.Context(), cmp.Or(tt.site, "north"), "id", noon.Add(tt.after), tt.pictures...)
				if (reference != "") != (tt.kept > 0) || (err != nil) != (tt.why != "") || err != nil && !strings.Contains(err.Error(), tt.why) {
					t.Errorf("reference %q, error %v, want %q", reference, err, tt.why)
				}
				if got := names(); len(got) != tt.kept {
					t.Errorf("kept: %q", got)
				}
				if n := testutil.ToFloat64(s.metrics.refused); int(n) != len(tt.pictures)-tt.kept {
					t.Errorf("%v are counted as refused", n)
				}
			})
		})
	}
}

// oddIDs are ids of events that are no names of files.
var oddIDs = []string{
	"a/b", "../../../etc/passwd", "..", ".", "/", "//", `C:\x`, "a b", "KA01AB1234", "%2e%2e%2f", "~", "*", "ＫＡ０１", "é", "e\u0301", "A", "a",
	strings.Repeat("x", parking.MaxIDBytes), strings.Repeat("é", parking.MaxIDBytes/2), "a\x00b", "a\nb", " ", "-", "a-0.jpg", "\xff",
}

// Names tell no plate, are of one form, and each event has its own.
func TestNothingEscapes(t *testing.T) {
	everywhere(t, func(t *testing.T, s *Store, names func() []string) {
		for i, id := range oddIDs {
			data := append(slices.Clone(jpeg), fmt.Sprint(i)...)
			reference := put(t, s, "north", id, noon, data)
			if text, _ := content(t, s, reference); text != string(data) {
				t.Errorf("the picture of %q is %q", id, text)
			}
		}
		kept := names()
		if len(kept) != len(oddIDs) {
			t.Errorf("%d events have %d pictures", len(oddIDs), len(kept))
		}
		for _, name := range kept {
			if _, ok := parseName(name); !ok || strings.Contains(name, "KA01") {
				t.Errorf("a picture is called %q", name)
			}
		}
	})
}

// A request reads nothing but pictures.
func TestGetReadsPicturesOnly(t *testing.T) {
	everywhere(t, func(t *testing.T, s *Store, _ func() []string) {
		reference := put(t, s, "north", "id", noon, jpeg)
		file := reference[len("north/2026-03-14/"):]
		if dir, ok := s.backend.(folder); ok {
			other := filepath.Join(t.TempDir(), "secret")
			for _, err := range []error{
				os.WriteFile(other, []byte("hush"), 0o600),
				os.Symlink(other, filepath.Join(string(dir), "north", "2026-03-14", strings.Repeat("a", 32)+"-0.jpg")),
				os.Symlink(filepath.Dir(other), filepath.Join(string(dir), "linked")),
				os.Mkdir(filepath.Join(string(dir), "north", "private"), 0o700),
				os.Link(filepath.Join(string(dir), reference), filepath.Join(string(dir), "north", "private", file)),
				os.Mkdir(filepath.Join(string(dir), "north", "2026-03-14", strings.Repeat("b", 32)+"-0.jpg"), 0o700),
				os.WriteFile(filepath.Join(string(dir), "north", "2026-03-14", strings.Repeat("c", 32)+"-0.jpg"), jpeg, 0o600),
				os.Truncate(filepath.Join(string(dir), "north", "2026-03-14", strings.Repeat("c", 32)+"-0.jpg"), MaxBytes+1),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, reference := range []string{
			"", "/", "north", "north/", "north/2026-03-14", "north/2026-03-14/", "north/2026-3-14/" + file, "north/private/" + file, "north/2026-02-30/" + file, "north/20260314/" + file,
			"north/../north/2026-03-14/" + file, "../north/2026-03-14/" + file, "./north/2026-03-14/" + file, "/north/2026-03-14/" + file, "north//2026-03-14/" + file,
			"north/2026-03-14/../2026-03-14/" + file, "north/2026-03-14/" + file + "/", "north/2026-03-14/" + file + "\n", "north/2026-03-14/" + strings.ToUpper(file),
			"north/2026-03-14/" + file + "\x00", "north/2026-03-14/" + strings.TrimSuffix(file, ".jpg"), "north/2026-03-14/." + file, "south/2026-03-14/" + file,
			"north/2026-03-14/" + strings.Repeat("b", 32) + "-0.jpg", "north/2026-03-14/" + strings.Repeat("c", 32) + "-0.jpg", "north/2026-03-15/" + file, "../../../../etc/passwd", "north/2026-03-14/%2e%2e%2f" + file,
		} {
			if p, err := s.Get(t.Context(), reference); !errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %v, %v", reference, p, err)
			}
		}
		for _, reference := range []string{"north/2026-03-14/" + strings.Repeat("a", 32) + "-0.jpg", "linked/2026-03-14/" + file} { // links
			if p, err := s.Get(t.Context(), reference); err == nil {
				t.Errorf("%q: %v", reference, p)
			}
		}
	})
}

func TestErase(t *testing.T) {
	everywhere(t, func(t *testing.T, s *Store, names func() []string) {
		midnight := noon.Add(12 * time.Hour)
		put(t, s, "north", "a", noon, jpeg, png, jpeg, png)
		put(t, s, "north", "a", noon, png) // of another kind than that before
		put(t, s, "north", "cam/1:KA01", noon, jpeg)
		put(t, s, "north", "late", midnight.Add(-time.Second), jpeg)
		put(t, s, "north", "late", midnight, jpeg) // the time of a later version
		kept := []string{
			put(t, s, "north", "b", noon, jpeg), put(t, s, "south", "a", noon, jpeg), put(t, s, "north", "a", noon.Add(day), jpeg),
		}
		events := []Event{{"a", noon}, {"cam/1:KA01", noon.Add(time.Minute)}, {"late", midnight}, {"unknown", noon}, {"a", noon}, {"", time.Time{}}}
		for _, want := range []int{8, 0} {
			if n, err := s.Erase(t.Context(), "north", events); n != want || err != nil {
				t.Errorf("%d are erased, %v, want %d", n, err, want)
			}
		}
		got := names()
		slices.Sort(kept)
		slices.Sort(got)
		if diff := gocmp.Diff(kept, got); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		for _, site := range []string{"..", ".", "", "../north"} {
			if n, err := s.Erase(t.Context(), site, events); n != 0 || err != nil {
				t.Errorf("site %q: %d, %v", site, n, err)
			}
		}
		if n := testutil.ToFloat64(s.metrics.erased); n != 8 {
			t.Errorf("%v are counted", n)
		}
	})
}

// keeping returns how long sites keep pictures: a day, unless it is given.
func keeping(sites map[string]time.Duration) Keep {
	return func(_ context.Context, site string) (time.Duration, error) {
		kept, ok := sites[site]
		switch {
		case !ok:
			return day, nil
		case kept == 0:
			return 0, errors.New("the registry is unavailable")
		}
		return kept, nil
	}
}

func TestSweep(t *testing.T) {
	everywhere(t, func(t *testing.T, s *Store, names func() []string) {
		// Pictures arrive when the test runs: it sweeps at times relative to that.
		now := time.Now().UTC()
		s.now = func() time.Time { return now }
		today := now.Truncate(day)
		old := put(t, s, "north", "old", today.Add(-5*day), jpeg)
		put(t, s, "north", "old2", today.Add(-4*day), jpeg, png)
		put(t, s, "north", "yesterday", today.Add(-time.Second), jpeg)
		put(t, s, "north", "today", now, jpeg)
		put(t, s, "long", "old", today.Add(-5*day), jpeg)
		put(t, s, "broken", "old", today.Add(-50*day), jpeg)
		put(t, s, "zone", "old", today.Add(-5*day), jpeg)
		sites := map[string]time.Duration{"long": 5 * day, "broken": 0}
		sweep := func(at time.Time, want int, kept ...string) {
			t.Helper()
			s.now = func() time.Time { return at }
			n, err := s.Sweep(t.Context(), keeping(sites))
			if n != want || (err != nil) != (sites["broken"] == 0) {
				t.Errorf("%d are removed, want %d; error %v", n, want, err)
			}
			var left []string
			for _, name := range names() {
				left = append(left, strings.Join(strings.Split(name, "/")[:2], "/"))
			}
			slices.Sort(kept)
			if diff := gocmp.Diff(kept, left); diff != "" {
				t.Errorf("at %s kept (-want +got):\n%s", at, diff)
			}
		}
		in := func(site string, days int) string { return site + "/" + dayOf(today.Add(time.Duration(days)*day)) }
		sweep(now, 4, in("broken", -50), in("long", -5), in("north", -1), in("north", 0))
		if text, _ := content(t, s, old); text != "" {
			t.Error("an expired picture is there")
		}
		if n := testutil.ToFloat64(s.metrics.swept); n != 0 {
			t.Errorf("an incomplete sweep is one at %v", n)
		}
		delete(sites, "broken")
		sites["broken"] = day
		sweep(now, 1, in("long", -5), in("north", -1), in("north", 0))
		if n := testutil.ToFloat64(s.metrics.swept); n != float64(now.UnixMilli())/1e3 {
			t.Errorf("swept at %v", n)
		}
		// A day after its arrival each is expired, also before its day is over.
		sweep(now.Add(day+time.Minute), 3)
		if n := testutil.ToFloat64(s.metrics.expired); n != 8 {
			t.Errorf("%v are counted", n)
		}
		sweep(now.Add(9*day), 0)
	})
}

// A sweep leaves alone what is not ours, and removes what a crash has left.
func TestSweepOfFolders(t *testing.T) {
	dir := t.TempDir()
	s := open(t, "file://"+dir)
	hash := strings.Repeat("0", 32)
	others := []string{"notes.txt", "north/readme", "north/2000-01-01/readme.jpg", "north/2000-01-01/sub/" + hash + "-0.jpg", "north/2000-1-1/" + hash + "-0.jpg", "north/2000-01-01/.tmp", "lost+found/2000-01-01/" + hash + "-0.jpg"}
	ours := []string{"north/2000-01-01/" + hash + "-0.jpg", "north/2000-01-01/." + hash + "-0.jpg.ABCDEF.tmp", "south/2000-01-02/" + hash + "-1.png"}
	for _, name := range slices.Concat(others, ours) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, jpeg, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(t.Context(), keeping(nil)); n != len(ours) || err != nil {
		t.Errorf("%d are removed, %v", n, err)
	}
	got := filesIn(t, dir)
	slices.Sort(others)
	slices.Sort(got)
	if diff := gocmp.Diff(others, got); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "south")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the empty folder of a site is left:", err)
	}
}

// The sweeps end with their process, also while one is under way.
func TestSweepRegularly(t *testing.T) {
	s := open(t, "file://"+t.TempDir())
	put(t, s, "north", "old", noon.Add(-99*day), jpeg)
	ctx, stop := context.WithCancel(t.Context())
	p, err := process.New(process.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.sweepEvery(ctx, time.Millisecond, time.Millisecond, keeping(nil), p.Log)
	}()
	eventually.True(t, "the old picture to be removed", func() bool { return testutil.ToFloat64(s.metrics.expired) == 1 })
	stop()
	<-ended

	p2, err := process.New(process.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.SweepRegularly(p2, keeping(nil))
	p2.Close()
	(*Store)(nil).SweepRegularly(p2, nil)
}

// A nil store drops pictures.
func TestDropped(t *testing.T) {
	p, err := process.New(process.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Wire(p, Settings{})
	if s != nil || err != nil {
		t.Fatal(s, err)
	}
	if reference, err := s.Put(t.Context(), "north", "id", noon, jpeg); reference != "" || err != nil {
		t.Error(reference, err)
	}
	if _, err := s.Get(t.Context(), "north/2026-03-14/"+baseOf("north", "id")+"0.jpg"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if n, err := s.Erase(t.Context(), "north", []Event{{"id", noon}}); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// A picture that cannot be written leaves nothing behind, and Check tells.
func TestBrokenFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, "file://"+dir)
	reference := put(t, s, "north", "id", noon, jpeg)
	path := filepath.Join(dir, reference)
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if reference, err := s.Put(t.Context(), "north", "id", noon, jpeg); reference != "" || err == nil {
		t.Errorf("%q, %v", reference, err)
	}
	if got := filesIn(t, dir); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	if n := testutil.ToFloat64(s.metrics.failed); n != 1 {
		t.Errorf("%v are counted", n)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, "file://"+file).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "keep pictures in file://"+file) {
		t.Error(err)
	}
}

// What an S3 server refuses is told, with its place and without its keys, and is not a
// picture that is not there.
func TestRefusingServer(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>`)
	}))
	defer refusing.Close()
	s := open(t, "s3://pictures?endpoint="+refusing.URL)
	reference, err := s.Put(t.Context(), "north", "id", noon, jpeg)
	_, getErr := s.Get(t.Context(), "north/2026-03-14/"+baseOf("north", "id")+"0.jpg")
	_, eraseErr := s.Erase(t.Context(), "north", []Event{{"id", noon}})
	_, sweepErr := s.Sweep(t.Context(), keeping(nil))
	for name, err := range map[string]error{"put": err, "get": getErr, "erase": eraseErr, "sweep": sweepErr, "check": s.Check(t.Context())} {
		if _, ok := errors.AsType[*UnavailableError](err); !ok || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "s3://pictures/") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if reference != "" {
		t.Errorf("the reference is %q", reference)
	}
}

// A server that does not answer costs a camera the time of the settings, and when all
// turns are taken by such puts it costs nothing.
func TestHangingServer(t *testing.T) {
	s := open(t, "file://"+t.TempDir())
	entered := make(chan struct{}, putsAtOnce)
	s.backend = hanging{s.backend, entered}
	s.timeout = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, putsAtOnce+1)
	for range putsAtOnce {
		go func() {
			_, err := s.Put(ctx, "north", "id", noon, jpeg)
			errs <- err
		}()
	}
	for range putsAtOnce {
		<-entered
	}
	s.timeout = time.Millisecond
	if _, err := s.Put(t.Context(), "north", "id", noon, jpeg); !errors.Is(err, errBusy) { // it waits for its turn
		t.Error(err)
	}
	s.timeout = time.Hour
	if _, err := s.Put(t.Context(), "north", "id", noon, jpeg); !errors.Is(err, errBusy) { // it does not
		t.Error(err)
	}
	cancel()
	for range putsAtOnce {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	s.backend = s.backend.(hanging).backend
	put(t, s, "north", "id", noon, jpeg)
	if s.failing.Load() {
		t.Error("a put that succeeded is a failing one")
	}
}

// hanging is a backend whose puts end with their contexts.
type hanging struct {
	backend
	entered chan struct{}
}

func (h hanging) put(ctx context.Context, _, _ string, _ []byte) error {
	h.entered <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// The keys are read from their files for each request, and the time of the settings
// bounds a request that gets no answer.
func TestKeysOfS3(t *testing.T) {
	asked := make(chan string, 10)
	hang := make(chan struct{})
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		asked <- strings.Split(credential, "/")[0] + " " + strings.Split(credential, "/")[2] + " " + r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type")
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			<-hang
		}
	}))
	defer s3.Close()
	defer close(hang)
	dir := t.TempDir()
	write := func(access string) {
		t.Helper()
		for name, text := range map[string]string{"images-access-key": access, "images-secret-key": "hush of " + access} {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	environ := []string{"SECRETS_DIR=" + dir, "AWS_ACCESS_KEY_ID=wrong", "AWS_SECRET_ACCESS_KEY=wrong"}
	p, err := process.New(process.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	settings := Settings{URL: "s3://pictures/p?region=eu-central-1&endpoint=" + s3.URL, Timeout: time.Minute}
	if _, err := Wire(p, settings); err == nil || strings.Count(err.Error(), "put it into the file "+dir) != 2 {
		t.Errorf("without keys: %v", err)
	}
	write("first")
	s, err := Wire(p, settings)
	if err != nil {
		t.Fatal(err)
	}
	s.now = func() time.Time { return noon }
	for _, key := range []string{"first", "second"} {
		write(key)
		reference := put(t, s, "north", "id", noon, png)
		if got, want := <-asked, key+" eu-central-1 PUT /pictures/p/"+reference+" image/png"; got != want {
			t.Errorf("asked as %q, want %q", got, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, "north/2026-03-14/"+baseOf("north", "id")+"0.png"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// Put copies no picture: for one of 10 MB less than a quarter of that is allocated, by
// the server of the test as well.
func TestPutCopiesNothing(t *testing.T) {
	s3 := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer s3.Close()
	data := append(slices.Clone(jpeg), make([]byte, 10<<20)...)
	for _, url := range []string{"file://" + t.TempDir(), "s3://pictures?endpoint=" + s3.URL} {
		s := open(t, url)
		put(t, s, "north", "first", noon, jpeg)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		put(t, s, "north", "id", noon, data)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20/4 {
			t.Errorf("%s: %d bytes are allocated", url, n)
		}
	}
}

func TestSettings(t *testing.T) {
	for url, want := range map[string]string{
		"":                                         "",
		"file:///var/lib/pictures":                 "file:///var/lib/pictures",
		"file://localhost/var/../p/":               "file:///p",
		"s3://b-1/?region=eu-west-1":               "s3://b-1/",
		"s3://b-1/a/b?region=r":                    "s3://b-1/a/b/",
		"s3://b-1?endpoint=http://h:9":             "s3://b-1/",
		"s3://b-1?endpoint=https://h/&region=auto": "s3://b-1/",

		"file://pictures":                            "is not file:///folder or s3://",
		"file:pictures":                              "is not file:///folder or s3://",
		"file:///p?x=1":                              "is not file:///folder or s3://",
		"/var/lib/pictures":                          "is not file:///folder or s3://",
		"http://host/hush":                           "is not file:///folder or s3://",
		"s3://key:hush@bucket?region=r":              "has a user: put the keys",
		"s3://b-1?region=r&endpoint=http://u:hush@h": "has a user: put the keys",
		"s3://b-1":                                   "has no region",
		"s3:///p?region=r":                           "has no valid bucket",
		"s3://B?region=r":                            "has no valid bucket",
		"s3://b-1/../x?region=r":                     "has a prefix with",
		"s3://b-1/a//b?region=r":                     "has a prefix with",
		"s3://b-1?region=r&region=s":                 "has other parameters",
		"s3://b-1?region=":                           "has other parameters",
		"s3://b-1?region=r&secret=hush":              "has other parameters",
		"s3://b-1?region=r;x":                        "is not file:///folder or s3://",
		"s3://b-1?endpoint=h:9000":                   "has an endpoint that",
		"s3://b-1?endpoint=http://h/path":            "has an endpoint that",
		"s3://b-1?region=r#hush":                     "is not file:///folder or s3://",
		"s3://b-1?%zz":                               "is not file:///folder or s3://",
		"\x00hush":                                   "is not file:///folder or s3://",
	} {
		err := Settings{URL: url, Timeout: time.Second}.Validate()
		if url == "" || strings.Contains(want, "://") && !strings.HasPrefix(want, "is not") {
			loc, _ := parseURL(url)
			if err != nil || url != "" && loc.String() != want {
				t.Errorf("%q: %s, %v, want %s", url, loc, err, want)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "IMAGES_URL "+want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, want %s", url, err, want)
		}
	}
	for _, timeout := range []time.Duration{-1, 0, time.Millisecond, time.Minute} {
		if err := (Settings{Timeout: timeout}).Validate(); err == nil || !strings.Contains(err.Error(), "IMAGES_TIMEOUT is "+timeout.String()+", want 10ms to 30s") {
			t.Error(err)
		}
	}
}
