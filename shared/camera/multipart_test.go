package camera

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"parkstream/shared/parking"
)

// posted returns a request with a type and a body.
func posted(contentType, body string) Request {
	r := Request{Header: http.Header{}, Body: []byte(body)}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

const jpeg = "\xff\xd8\xff\xe0 a picture \r\n--other\r\n\xff\xd9"

func TestForm(t *testing.T) {
	const typed = `multipart/form-data; boundary=b`
	crlf := func(lines ...string) string { return strings.Join(lines, "\r\n") }
	two := crlf("--b", `Content-Disposition: form-data; name="json"`, "", `{"a":1}`, "--b",
		`Content-Disposition: form-data; name="upload"; filename="x.jpg"`, "Content-Type: image/JPEG", "", jpeg, "--b--", "")
	want := []part{{Name: "json", Data: []byte(`{"a":1}`)}, {Name: "upload", Filename: "x.jpg", ContentType: "image/jpeg", Data: []byte(jpeg)}}
	var many strings.Builder
	for range maxParts + 1 {
		many.WriteString("--b\r\n\r\nx\r\n")
	}
	for name, tt := range map[string]struct {
		contentType, body string
		want              []part // nil: refused
	}{
		"two parts":                       {typed, two, want},
		"a quoted boundary":               {`multipart/form-data; boundary="b"`, two, want},
		"line feeds alone":                {typed, "--b\nContent-Disposition: form-data; name=json\n\n{\"a\":1}\n--b--", want[:1]},
		"a preamble and an epilogue":      {typed, "hello\r\n" + two + "bye", want},
		"no boundary in the type":         {"multipart/form-data", two, want},
		"no type at all":                  {"", two, want},
		"the whole line as boundary":      {"multipart/form-data; boundary=--b", two, want},
		"mixed":                           {"multipart/x-mixed-replace; boundary=b", two, want},
		"blanks after a boundary":         {typed, strings.ReplaceAll(two, "--b\r\n", "--b \t\r\n"), want},
		"a boundary with odd characters":  {"multipart/form-data; boundary=a b=/?:c", strings.ReplaceAll(two, "--b", "--a b=/?:c"), want},
		"a boundary that begins a longer": {typed, strings.Replace(two, `{"a":1}`, "--bc\r\n--b-", 1), []part{{Name: "json", Data: []byte("--bc\r\n--b-")}, want[1]}},
		"not at the beginning of a line":  {typed, strings.Replace(two, `{"a":1}`, "x--b", 1), []part{{Name: "json", Data: []byte("x--b")}, want[1]}},
		"no header":                       {typed, "--b\r\n\r\nx\r\n--b--", []part{{Data: []byte("x")}}},
		"no data":                         {typed, "--b\r\n\r\n\r\n--b--", []part{{Data: []byte{}}}},
		"base64":                          {typed, "--b\r\nContent-Transfer-Encoding: Base64\r\n\r\neA==\r\n--b--", []part{{Data: []byte("x")}}},
		"a name that is not quoted right": {typed, "--b\r\nContent-Disposition: form-data; name=a b; filename=\"ü;x\"\r\n\r\nx\r\n--b--", []part{{Name: "a b", Filename: "ü", Data: []byte("x")}}},
		"form-encoded":                    {"application/x-www-form-urlencoded; charset=UTF-8", "json=%7B%22a%22%3A1%7D&x=a+b&y", []part{want[0], {Name: "x", Data: []byte("a b")}, {Name: "y", Data: []byte{}}}},
		"JSON that is called a form":      {"application/x-www-form-urlencoded", `{"a":"100%"}`, []part{}},
		"JSON":                            {"application/json", `{}`, []part{}},

		"no end":                {typed, strings.TrimSuffix(two, "--b--\r\n"), nil},
		"cut off in a header":   {typed, "--b\r\nContent-Disposition: form", nil},
		"cut off after a line":  {typed, "--b", nil},
		"no part":               {typed, "nothing", nil},
		"empty":                 {typed, "", nil},
		"another boundary":      {"multipart/form-data; boundary=c", two, nil},
		"no boundary anywhere":  {"multipart/form-data", "x" + two, nil},
		"an endless header":     {typed, "--b\r\nX: " + strings.Repeat("x", maxPartHead) + "\r\n\r\nx\r\n--b--", nil},
		"a header without name": {typed, "--b\r\nno header\r\n\r\nx\r\n--b--", nil},
		"too many parts":        {typed, many.String() + "--b--", nil},
		"an unknown encoding":   {typed, "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n--b--", nil},
		"no base64":             {typed, "--b\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--b--", nil},
		"a bad escape":          {formEncoding, "a=%zz", nil},
		"too many fields":       {formEncoding, strings.Repeat("a&", maxParts+1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := posted(tt.contentType, tt.body).form()
			if tt.want == nil {
				if !errors.Is(err, parking.ErrInvalid) {
					t.Errorf("%v, %v, want a refusal", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fmt.Sprintf("%q", tt.want), fmt.Sprintf("%q", got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// The parts of a large body are in it, not copies.
func TestFormShares(t *testing.T) {
	picture := jpeg + strings.Repeat("\x00\r\n--", 1<<20)
	r := posted("multipart/form-data; boundary=b", "--b\r\n\r\n{}\r\n--b\r\n\r\n"+picture+"\r\n--b--")
	allocated := testing.AllocsPerRun(1, func() {
		fresh := r.prepared()
		pictures := fresh.pictures()
		if len(pictures) != 1 || len(pictures[0].Data) != len(picture) || string(fresh.document()) != "{}" {
			t.Fatalf("%d pictures, document %q", len(pictures), fresh.document())
		}
		within := func(p *byte) bool {
			at, start := uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&r.Body[0]))
			return at >= start && at < start+uintptr(len(r.Body))
		}
		if !within(&pictures[0].Data[0]) {
			t.Error("the picture is a copy")
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations", allocated)
	}
}

func FuzzForm(f *testing.F) {
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=json\r\n\r\n{}\r\n--b--"))
	f.Add("multipart/mixed; boundary=\"-\"", []byte("---\n\nx\n-----"))
	f.Add(formEncoding, []byte("a=b&c=%20"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		parts, err := formOf(http.Header{"Content-Type": {contentType}}, body)
		if err != nil && !errors.Is(err, parking.ErrInvalid) {
			t.Errorf("error %v is no ErrInvalid", err)
		}
		for _, p := range parts {
			if mediaType(contentType) != formEncoding && !bytes.Contains(body, p.Data) && !bytes.Contains(bytes.ToLower(body), []byte("base64")) {
				t.Errorf("%q is not in the body", p.Data)
			}
		}
	})
}
