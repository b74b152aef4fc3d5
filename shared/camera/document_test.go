package camera

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

func TestDocument(t *testing.T) {
	for name, tt := range map[string]struct{ contentType, body, want string }{
		"JSON":                         {"application/json", ` {"a":1} `, `{"a":1}`},
		"a byte order mark":            {"", "\ufeff\r\n[1]", "[1]"},
		"a NUL at the end":             {"", "{}\n\x00", "{}"},
		"XML of another type":          {"text/plain", "<?xml version='1.0'?><a/>", "<?xml version='1.0'?><a/>"},
		"called a form":                {formEncoding, `{"a":"b"}`, `{"a":"b"}`},
		"the first document of a form": {"multipart/form-data; boundary=b", "--b\r\n\r\n" + jpeg + "\r\n--b\r\n\r\n<a/>\r\n--b\r\n\r\n{}\r\n--b--", "<a/>"},
		"a field of a form":            {formEncoding, "x=1&json=%7B%7D", "{}"},
		"text":                         {"text/plain", "plate=1", ""},
		"nothing":                      {"", "", ""},
	} {
		if got := string(posted(tt.contentType, tt.body).document()); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestMembers(t *testing.T) {
	for text, want := range map[string]map[string][]byte{
		`{"Plate" : "K\u0041" , "n":{"x":[1,2]},"e":1e400,"":null}`: {"plate": []byte(`"K\u0041"`), "n": []byte(`{"x":[1,2]}`), "e": []byte("1e400"), "": []byte("null")},
		`{"a":1,"a":2}`:    {"a": []byte("2")},
		"{\"a\":\"\xff\"}": {"a": []byte("\"\xff\"")},
		`{}`:               {},
		`[]`:               nil,
		`{"a":1`:           nil,
		`{"a"}`:            nil,
		`{a:1}`:            nil,
		`<a/>`:             nil,
		strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000): nil,
	} {
		if diff := cmp.Diff(want, posted("", text).members()); diff != "" {
			t.Errorf("members of %.40s (-want +got):\n%s", text, diff)
		}
	}
	if r := posted("", `{"Plate":"1","X":2}`); !r.has("plate", "x") || r.has("plate", "y") || posted("", "[]").has() {
		t.Error("has")
	}
}

func TestDecodeJSON(t *testing.T) {
	var v struct {
		Text, Number, Big, Yes, Null, Missing, Escaped scalar
		List                                           []scalar
		Picture                                        base64Picture
	}
	err := decodeJSON([]byte(`{"text":"-","Number":1607123958.748393,"BIG":123456789012345678901234567890,"yes":true,"null":null,"escaped":["K\u0041"],"list":[1,"2"],
		"picture":"data:image\/jpeg;base64,\/9j\/4AAQ"}`), &v)
	if err != nil || v.Text != "-" || v.Number != "1607123958.748393" || v.Big != "123456789012345678901234567890" || v.Yes != "true" || v.Null != "" ||
		v.Missing != "" || v.Escaped != "KA" || len(v.List) != 2 || string(v.Picture) != "\xff\xd8\xff\xe0\x00\x10" {
		t.Errorf("%q, %v", v, err)
	}
	if p := v.Picture.pictures(); len(p) != 1 || p[0].ContentType != "image/jpeg" {
		t.Errorf("pictures %v", p)
	}
	for name, text := range map[string]string{
		"cut off": `{"text":"SECRET1`, "an object for a text": `{"text":{"SECRET1":1}}`, "a list for a text": `{"text":["SECRET1","b"]}`, "a list in a list for a text": `{"text":[["SECRET1"]]}`, "no object": `"SECRET1"`,
		"a text for a list": `{"list":"SECRET1"}`, "too deep": strings.Repeat("[", 20000), "more after it": `{} SECRET1`, "nothing": ``,
	} {
		err := decodeJSON([]byte(text), &v)
		if !errors.Is(err, parking.ErrInvalid) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBase64Picture(t *testing.T) {
	for text, want := range map[string]string{
		`"/9j/4AAQ"`: "\xff\xd8\xff\xe0\x00\x10", `"_9j_4AAQ"`: "\xff\xd8\xff\xe0\x00\x10", `"/9j/\n4AA="`: "\xff\xd8\xff\xe0\x00", `"data:image/jpeg;base64,/9j/4AA"`: "\xff\xd8\xff\xe0\x00",
		`""`: "", `null`: "", `1`: "", `"-"`: "", `"aGVsbG8="`: "", `"/9j/!!!!"`: "",
	} {
		var p base64Picture
		if err := p.UnmarshalJSON([]byte(text)); err != nil || string(p) != want {
			t.Errorf("%s: %q, %v, want %q", text, p, err, want)
		}
	}
}

func TestDecodeXML(t *testing.T) {
	type anpr struct {
		Event string `xml:"eventType"`
		Plate string `xml:"ANPR>licensePlate"`
		Lane  string `xml:"lane,attr"`
	}
	want := anpr{"ANPR", "K&A", "1"}
	const inner = `<eventType>ANPR</eventType><ANPR><licensePlate>K&amp;A</licensePlate></ANPR>`
	for name, text := range map[string]string{
		"plain":              `<E lane="1">` + inner + `</E>`,
		"a name space":       `<?xml version="1.0" encoding="UTF-8"?><E xmlns="http://example.test/1" lane="1">` + inner + `</E>`,
		"prefixes":           `<x:E xmlns:x="http://example.test/2" x:lane="1"><x:eventType>ANPR</x:eventType><x:ANPR><y:licensePlate>K&#38;A</y:licensePlate></x:ANPR></x:E>`,
		"an encoding":        `<?xml version="1.0" encoding="GB2312"?><E lane="1">` + inner + `</E>`,
		"comments and CDATA": `<!-- c --><E lane="1"><eventType>ANPR</eventType><ANPR><licensePlate><![CDATA[K&A]]></licensePlate></ANPR></E>`,
	} {
		var got anpr
		if err := decodeXML([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if root := posted("", text).root(); root != "E" {
			t.Errorf("%s: root %q", name, root)
		}
	}
	for name, tt := range map[string]struct{ text, want string }{
		"an entity of its own":   {`<!DOCTYPE E [<!ENTITY a "b">]><E>&a;</E>`, "the XML has a document type, which is refused: it may define entities"},
		"an external entity":     {`<!DOCTYPE E SYSTEM "file:///etc/passwd"><E/>`, "the XML has a document type, which is refused: it may define entities"},
		"a type within":          {`<E><!DOCTYPE E></E>`, "the XML has a document type, which is refused: it may define entities"},
		"an undefined entity":    {"<E>\n&SECRET1;</E>", "the XML has an entity in line 2, which is refused"},
		"a bare ampersand":       {`<E>SECRET1 & b</E>`, "the XML has an entity in line 1, which is refused"},
		"cut off":                {`<E><SECRET1>`, "the XML is malformed in line 1"},
		"not closed rightly":     {`<E><SECRET1></E>`, "the XML is malformed in line 1"},
		"too deep":               {strings.Repeat("<a>", 65) + strings.Repeat("</a>", 65), "the XML is deeper than 64 elements"},
		"too many":               {"<E>" + strings.Repeat("<a/>", maxXMLTokens) + "</E>", "the XML has more than 100000 parts"},
		"an unknown encoding":    {"<?xml version=\"1.0\" encoding=\"x-odd\"?><E>\xff</E>", `xml: opening charset "x-odd": the XML has the encoding "x-odd", which is unknown`},
		"nothing":                {"", "the XML cannot be read as what it ought to be"},
		"a byte that is not XML": {"<E>\x01</E>", "the XML is malformed in line 1"},
	} {
		var got struct {
			Text string `xml:",chardata"`
			A    []any  `xml:"a"`
		}
		if err := decodeXML([]byte(tt.text), &got); !errors.Is(err, parking.ErrInvalid) || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if root := posted("", `<!DOCTYPE E><E/>`).root(); root != "" {
		t.Errorf("root behind a document type: %q", root)
	}
}

// XML is in the encoding that it declares, or in what its letters show.
func TestXMLInAnotherEncoding(t *testing.T) {
	encoded := func(e encoding.Encoding, text string) string {
		other, err := e.NewEncoder().String(text)
		if err != nil {
			t.Fatal(err)
		}
		return other
	}
	alert := func(declaration, plate string) string {
		return declaration + "<EventNotificationAlert>\r\n<channelName>Süd 京</channelName>\r\n<ANPR><licensePlate>" + plate + "</licensePlate></ANPR></EventNotificationAlert>\r\n"
	}
	declared := func(name string) string { return `<?xml version="1.0" encoding="` + name + `"?>` + "\r\n" }
	gb := simplifiedchinese.GBK
	latin := func(text string) string {
		return strings.NewReplacer("京", "", "ü", "\xfc", "Ü", "\xdc").Replace(text)
	}
	asUTF16 := func(text string) string { return encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM), text) }
	for name, test := range map[string]struct{ contentType, body, plate string }{
		"GB2312":                            {"", encoded(gb, alert(declared("GB2312"), "京A12345")), "京A12345"},
		"GBK in small letters":              {"", encoded(gb, alert(declared("gbk"), "京A12345")), "京A12345"},
		"GB18030":                           {"", encoded(simplifiedchinese.GB18030, alert(declared("GB18030"), "京A12345")), "京A12345"},
		"GB2312 that looks like UTF-8":      {"", encoded(gb, strings.NewReplacer("Süd 京", "").Replace(alert(declared("GB2312"), "鲁A12345"))), "鲁A12345"},
		"GB2312 of the type alone":          {"text/xml; charset=GB2312", encoded(gb, alert("", "京A12345")), "京A12345"},
		"GBK that nothing tells":            {"", encoded(gb, strings.NewReplacer("ü", "").Replace(alert(declared("UTF-8"), "京A12345"))), "京A12345"},
		"UTF-8 that is declared as GB2312":  {"", alert(declared("GB2312"), "京A12345"), "京A12345"},
		"UTF-8 that is declared as Latin 1": {"", strings.NewReplacer("京", "").Replace(alert(declared("ISO-8859-1"), "DÜ 1")), "DÜ 1"},
		"Latin 1":                           {"", latin(alert(declared("iso-8859-1"), "DÜ 1")), "DÜ 1"},
		"Latin 1 that nothing tells":        {"", latin(alert(declared("UTF-8"), "A1")), "A1"},
		"windows-1252":                      {"application/xml; charset=windows-1252", latin(alert("", "DÜ 1")), "DÜ 1"},
		"UTF-16":                            {"", asUTF16(alert(declared("UTF-16"), "DÜ 1")), "DÜ 1"},
		"UTF-8 that is declared as UTF-16":  {"", alert(declared("utf-16"), "DÜ 1"), "DÜ 1"},
		"UTF-8 of a charset that is none":   {"", alert(declared("x-none"), "DÜ 1"), "DÜ 1"},
		"GB2312 in a form": {
			"multipart/form-data; boundary=b",
			"--b\r\nContent-Type: application/xml; charset=\"GB2312\"\r\nContent-Disposition: form-data; name=\"alarm\"\r\n\r\n" + encoded(gb, alert("", "京A12345")) + "\r\n--b--\r\n", "京A12345",
		},
		"UTF-16 in a form": {"multipart/form-data; boundary=b", "--b\r\n\r\n" + asUTF16(alert("", "DÜ 1")) + "\r\n--b--\r\n", "DÜ 1"},
	} {
		r := Request{Header: http.Header{"Content-Type": {test.contentType}}, Body: []byte(test.body), Received: received}
		f, m, err := Parse(r, site.Camera{ID: "gate-1", Site: "north", Role: site.Entries})
		if err != nil || f.Name != "hikvision" || len(m.Reads) != 1 || m.Reads[0].Plate != test.plate {
			t.Errorf("%s: %s %+v, %v, want %s", name, f.Name, m.Reads, err, test.plate)
		}
	}
	_, _, err := Parse(Request{Body: []byte(latin(alert(declared("x-none"), "SECRET"))), Received: received}, site.Camera{Format: "hikvision"})
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), `the encoding "x-none", which is unknown`) {
		t.Errorf("an unknown encoding: %v", err)
	}
}

// JSON ought to be UTF-8, and cameras made for China write GBK. The second byte of a
// letter may look like a backslash.
func TestJSONInAnotherEncoding(t *testing.T) {
	gbk := func(text string) string {
		encoded, err := simplifiedchinese.GBK.NewEncoder().String(text)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	message := func(plate string) string {
		return `{"Picture":{"Plate":{"PlateNumber":"` + plate + `"},"SnapInfo":{"SnapTime":"2026-11-23 08:15:30"}}}`
	}
	for name, test := range map[string]struct{ contentType, body, plate string }{
		"UTF-8":                 {"application/json", message("京A12345"), "京A12345"},
		"GBK":                   {"application/json", gbk(message("京A12345")), "京A12345"},
		"GBK with a backslash":  {"", gbk(message("俓A12345")), "俓A12345"},
		"GBK with its name":     {"application/json;charset=GBK", gbk(message("粤B12345")), "粤B12345"},
		"Latin 1 with its name": {"application/json; charset=ISO-8859-1", message("D\xdc 1"), "DÜ 1"},
		"Latin 1":               {"application/json", message("D\xdc 1"), "D\ufffd 1"},
		"an unknown one":        {"application/json; charset=x-none", message("D\xdc 1"), "D\ufffd 1"},
		"in a form":             {"multipart/form-data; boundary=b", "--b\r\n\r\n" + gbk(message("京A12345")) + "\r\n--b--\r\n", "京A12345"},
	} {
		r := Request{Header: http.Header{"Content-Type": {test.contentType}}, Body: []byte(test.body), Received: received}
		_, m, err := Parse(r, site.Camera{ID: "gate-1", Site: "north", Role: site.Entries})
		if err != nil || len(m.Reads) != 1 || m.Reads[0].Plate != test.plate {
			t.Errorf("%s: %+v, %v, want %s", name, m.Reads, err, test.plate)
		}
	}
}
