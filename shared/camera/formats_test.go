package camera

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// sample returns the request in a file of testdata: a body whose type follows from the
// name, or for .http header lines, an empty line and a body. The body of such a file has
// CRLF only if the file has.
func sample(t testing.TB, name string) Request {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	switch filepath.Ext(name) {
	case ".json":
		return posted("application/json", string(text))
	case ".xml":
		return posted("application/xml", string(text))
	case ".txt":
		return posted("text/plain", string(text))
	}
	r := textproto.NewReader(bufio.NewReader(bytes.NewReader(text)))
	header, err := r.ReadMIMEHeader()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	_, body, _ := cutHead(text)
	return Request{Header: http.Header(header), Body: body}
}

// samples returns the files of testdata: a folder a format, and of its files those that
// are requests.
func samples(t testing.TB) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*")
	if err != nil {
		t.Fatal(err)
	}
	byFolder := map[string][]string{}
	for _, name := range files {
		switch filepath.Ext(name) {
		case ".json", ".xml", ".txt", ".http":
			folder := filepath.Base(filepath.Dir(name))
			byFolder[folder] = append(byFolder[folder], name)
		}
	}
	return byFolder
}

// Each sample of a format is recognised by that format, and by no other one.
func TestSamplesAreRecognisedByOne(t *testing.T) {
	for folder, names := range samples(t) {
		if _, err := ByName(folder); err != nil {
			continue // shared samples: another test has them
		}
		for _, name := range names {
			claimed := claims(sample(t, name))
			if strings.Join(claimed, ",") != folder {
				t.Errorf("%s is recognised by %v", name, claimed)
			}
		}
	}
}

// claims returns the formats that recognise a request.
func claims(r Request) []string {
	var claimed []string
	r = r.prepared()
	for more := true; more && len(claimed) == 0; more = r.nextExample() {
		for _, f := range All() {
			if f.Recognise(r) {
				claimed = append(claimed, f.Name)
			}
		}
	}
	return claimed
}

func TestFormats(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		if f.Name == "" || f.Name != strings.ToLower(f.Name) || seen[f.Name] || f.Name == site.Auto || f.Recognise == nil || f.Parse == nil {
			t.Errorf("format %+v", f)
		}
		seen[f.Name] = true
		if got, err := ByName(f.Name); err != nil || got.Name != f.Name {
			t.Errorf("ByName(%s) = %s, %v", f.Name, got.Name, err)
		}
		if f.Accepted != nil {
			if contentType, body := f.Accepted(); contentType == "" && len(body) > 0 {
				t.Errorf("the answer of %s has no type", f.Name)
			}
		}
	}
	if _, err := ByName("other"); !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), "auto, axis, ") {
		t.Errorf("another name: %v", err)
	}
}

func TestUnrecognised(t *testing.T) {
	for name, tt := range map[string]struct{ contentType, body, want string }{
		"JSON":            {"", `{"SECRET1":1,"b":"SECRET1"}`, `it has a JSON object with the members "b", "secret1". Looked for: axis, blueiris`},
		"a list":          {"", `["SECRET1"]`, "it has a list in JSON"},
		"broken JSON":     {"", `{"a":SECRET1`, "the request has JSON that is malformed"},
		"XML":             {"", `<Other>SECRET1</Other>`, `it has XML with the root "Other"`},
		"a type in XML":   {"", `<!DOCTYPE a><a/>`, "the request has XML that cannot be read: the XML has a document type, which is refused"},
		"text":            {"text/plain", "SECRET1", "it has neither JSON nor XML nor a form"},
		"a form":          {formEncoding, "a=SECRET1", "it has a form without JSON or XML"},
		"nothing":         {"", "", "the request has no body"},
		"a long list":     {"", `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1}`, `"l", .... Looked for`},
		"a form, cut off": {"multipart/form-data; boundary=b", "--b\r\n\r\nSECRET1", "the multipart body has no end"},
	} {
		_, err := Recognise(posted(tt.contentType, tt.body))
		if !errors.Is(err, parking.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if bad := slices.Contains([]string{"a form, cut off", "broken JSON", "a type in XML", "nothing"}, name); errors.Is(err, ErrUnrecognised) == bad || errors.Is(err, ErrMalformed) != bad {
			t.Errorf("%s: %v, ErrUnrecognised %v, ErrMalformed %v", name, err, errors.Is(err, ErrUnrecognised), errors.Is(err, ErrMalformed))
		}
	}
}

// An adapter that panics refuses its request, and the process goes on.
func TestParsePanics(t *testing.T) {
	f := Format{Name: "broken", Parse: func(Request, site.Camera) (Message, error) { panic("SECRET1") }}
	if _, err := f.parse(posted("", "{}"), site.Camera{}); !errors.Is(err, parking.ErrInvalid) || err.Error() != "the adapter of the format broken failed on this request" {
		t.Errorf("%v", err)
	}
	f.Parse = func(Request, site.Camera) (Message, error) { return Message{Reads: make([]Read, maxReads+1)}, nil }
	if _, err := f.parse(posted("", "{}"), site.Camera{}); !errors.Is(err, parking.ErrInvalid) || err.Error() != "the request has 1001 reads, at most 1000 are allowed" {
		t.Errorf("too many reads: %v", err)
	}
	if _, _, err := Parse(posted("", "{}"), site.Camera{Format: "other"}); !errors.Is(err, parking.ErrInvalid) {
		t.Errorf("a camera with an unknown format: %v", err)
	}
}
