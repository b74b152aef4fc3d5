package camera

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"parkstream/shared/parking"
)

// content is what formats ask of a request: parts of its body, found once.
type content struct {
	request Request

	formRead bool
	parts    []part
	formErr  error

	documentRead bool
	text         []byte

	membersRead bool
	objects     map[string][]byte

	rootRead bool
	rootName string

	checkRead bool
	checkErr  error

	exampleRead    bool
	exampleMembers map[string][]byte
	examplesRead   bool
	examples       [][]byte // those after it
}

// prepared returns a request that remembers what was found in its body.
func (r Request) prepared() Request {
	if r.content == nil {
		r.content = &content{request: r}
	}
	return r
}

// form returns the parts of a multipart or form-encoded body, and none of another one.
func (r Request) form() ([]part, error) {
	c := r.prepared().content
	if !c.formRead {
		c.parts, c.formErr = formOf(c.request.Header, c.request.Body)
		c.formRead = true
	}
	return c.parts, c.formErr
}

// check returns an error if the form is malformed, or the JSON is beyond its bounds.
func (r Request) check() error {
	c := r.prepared().content
	if !c.checkRead {
		c.checkRead = true
		if _, c.checkErr = r.form(); c.checkErr == nil {
			c.checkErr = checkJSON(Request{content: c}.document())
		}
	}
	return c.checkErr
}

// document returns the text of the JSON or XML document that a request has: its body, or
// the first part of its form that is one. It is empty if there is none. Document kinds
// are by content: cameras get the type wrong.
func (r Request) document() []byte {
	c := r.prepared().content
	if c.documentRead {
		return c.text
	}
	c.documentRead = true
	if text := trimmed(c.request.Body); documentKind(text) != "" {
		c.text = inUTF8(text, parameter(c.request.Header.Get("Content-Type"), "charset"))
		return c.text
	}
	parts, _ := Request{content: c}.form()
	for _, p := range parts {
		if text := trimmed(p.Data); documentKind(text) != "" {
			c.text = inUTF8(text, p.Charset)
			break
		}
	}
	return c.text
}

// inUTF8 returns the text of a document in UTF-8, by the encoding that XML declares or
// the charset of its type. Cameras made for China write GBK, with either or none, and
// others declare what they do not write: what is valid UTF-8 is taken as that. Of a text
// of no encoding that is known the wrong bytes become U+FFFD: no plate is lost for a name.
func inUTF8(text []byte, charset string) []byte {
	kind := documentKind(text)
	if kind == "" {
		return text
	}
	if kind == "xml" {
		charset = cmp.Or(xmlEncoding(text), charset)
	}
	charset = strings.ToLower(charset)
	declared, err := htmlindex.Get(charset)
	isChinese := err == nil && (declared == simplifiedchinese.GBK || declared == simplifiedchinese.GB18030)
	if utf8.Valid(text) && (!isChinese || hasWideRune(text)) || charset != "" && err != nil {
		return text
	}
	if charset == "" || charset == "utf-8" || strings.HasPrefix(charset, "utf-16") {
		charset, declared = "", simplifiedchinese.GB18030
	}
	decoded, err := declared.NewDecoder().Bytes(text)
	if err != nil || charset == "" && bytes.ContainsRune(decoded, utf8.RuneError) {
		if kind == "json" { // its decoder does that
			return text
		}
		return bytes.ToValidUTF8(text, []byte("\ufffd"))
	}
	return decoded
}

// hasWideRune reports whether a text in UTF-8 has no letter, or one of three bytes or
// more, which texts of other encodings hardly ever look like: 鲁 in GBK is ³ in UTF-8.
func hasWideRune(text []byte) bool {
	const twoBytes = 0x7ff
	return bytes.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 ||
		bytes.ContainsFunc(text, func(r rune) bool { return r > twoBytes })
}

var xmlDeclaration = regexp.MustCompile(`^<\?xml[^>]*\sencoding\s*=\s*["']([A-Za-z0-9._:-]+)["']`)

// xmlEncoding returns the encoding that an XML document declares, or "".
func xmlEncoding(text []byte) string {
	if m := xmlDeclaration.FindSubmatch(text[:min(len(text), 256)]); m != nil {
		return string(m[1])
	}
	return ""
}

// pictures returns the parts of the form that are JPEG or PNG.
func (r Request) pictures() []Picture {
	parts, _ := r.form()
	var pictures []Picture
	for _, p := range parts {
		if contentType := pictureType(p.Data); contentType != "" {
			pictures = append(pictures, Picture{ContentType: contentType, Data: p.Data})
		}
	}
	return pictures
}

// members returns the members of the JSON object that is the document, as text. Their
// names are in lower case. It is nil if the document is no valid object.
func (r Request) members() map[string][]byte {
	c := r.prepared().content
	if !c.membersRead {
		c.membersRead = true
		c.objects = membersOf(Request{content: c}.document())
	}
	return c.objects
}

// has reports whether the document is a JSON object with all these members, whose names
// are in lower case.
func (r Request) has(names ...string) bool {
	members := r.members()
	for _, name := range names {
		if _, found := members[name]; !found {
			return false
		}
	}
	return members != nil
}

// root returns the name of the root of the XML document, without its name space, or "".
func (r Request) root() string {
	c := r.prepared().content
	if !c.rootRead {
		c.rootRead = true
		c.rootName = rootOf(Request{content: c}.document())
	}
	return c.rootName
}

// trimmed returns a text without a byte order mark, blanks and NULs around it. UTF-16
// with such a mark becomes UTF-8.
func trimmed(text []byte) []byte {
	const around = " \t\r\n\x00"
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		narrow, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Bytes(text)
		if err == nil {
			text = narrow
		}
	}
	return bytes.Trim(bytes.TrimPrefix(bytes.Trim(text, around), []byte("\ufeff")), around)
}

// documentKind returns "json" or "xml" by the first character, or "".
func documentKind(text []byte) string {
	text = trimmed(text[:min(len(text), 1024)])
	switch {
	case len(text) == 0:
	case text[0] == '{', text[0] == '[':
		return "json"
	case text[0] == '<':
		return "xml"
	}
	return ""
}

// membersOf returns the members of an object as parts of its text. Of two of one name
// it is the last one.
func membersOf(text []byte) map[string][]byte {
	if len(text) == 0 || text[0] != '{' {
		return nil
	}
	// It reads a bytes.Buffer in place.
	d := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return nil
	}
	members := map[string][]byte{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil
		}
		key := strings.ToLower(name.String())
		start := d.InputOffset()
		if err := d.SkipValue(); err != nil {
			return nil
		}
		members[key] = bytes.TrimLeft(text[start:d.InputOffset()], " \t\r\n:")
	}
	if _, err := d.ReadToken(); err != nil {
		return nil
	}
	return members
}

// Bounds of a JSON document.
const (
	maxJSONDepth  = 64
	maxJSONTokens = 100_000
)

// checkJSON returns an error if a JSON document is beyond its bounds: small values cost
// many times their text when they are decoded, and nested ones are read once a level.
// What is malformed is left to those who decode it.
func checkJSON(text []byte) error {
	if documentKind(text) != "json" {
		return nil
	}
	d := newJSONReader(text)
	for range maxJSONTokens {
		if _, err := d.ReadToken(); err != nil {
			return nil //nolint:nilerr // it is malformed, or at its end
		}
		if d.StackDepth() > maxJSONDepth {
			return malformed("the JSON is deeper than %d lists and objects", maxJSONDepth)
		}
	}
	return malformed("the JSON has more than %d parts", maxJSONTokens)
}

// decodeJSON decodes the text of a JSON document. Names match in any case, members that
// are unknown are ignored, and bytes that are not UTF-8 become U+FFFD. Use [scalar] for
// texts and numbers. The error is a [parking.ErrInvalid] without any text of the
// document.
func decodeJSON(text []byte, into any) error {
	err := json.Unmarshal(text, into)
	if err == nil {
		return nil
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return malformed("the JSON is malformed at byte %d", syntax.Offset)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(wrong.Value, " ")
		return parking.Invalid("the JSON has a value of the wrong type in %s: %s", quote(wrong.Field), kind)
	}
	if errors.Is(err, parking.ErrInvalid) {
		return err
	}
	return malformed("the JSON cannot be read")
}

// scalar is the text of a JSON string, number or boolean, as written: no digit of a
// number is lost. null is empty. A list of one is that one: what makes JSON of XML writes
// it for an element.
type scalar string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scalar) UnmarshalJSON(text []byte) error {
	switch text[0] {
	case '"':
		var t string
		if err := json.Unmarshal(text, &t); err != nil {
			return fmt.Errorf("decode a string: %w", err)
		}
		*s = scalar(t)
	case '{', '[':
		var elements []json.RawMessage
		if json.Unmarshal(text, &elements) != nil || len(elements) != 1 || elements[0][0] == '[' {
			return parking.Invalid("the JSON has an object or a list instead of a text or a number")
		}
		return s.UnmarshalJSON(elements[0])
	case 'n':
		*s = ""
	default:
		*s = scalar(text)
	}
	return nil
}

// base64Picture is a picture in a JSON string. One that cannot be decoded, or is neither
// JPEG nor PNG, is empty: no vehicle is lost for its picture.
type base64Picture []byte

// UnmarshalJSON implements json.Unmarshaler.
func (p *base64Picture) UnmarshalJSON(text []byte) error {
	*p = nil
	if len(text) < 2 || text[0] != '"' {
		return nil
	}
	encoded := text[1 : len(text)-1]
	if bytes.IndexByte(encoded, '\\') >= 0 {
		var unescaped string
		if err := json.Unmarshal(text, &unescaped); err != nil {
			return fmt.Errorf("decode a picture: %w", err)
		}
		encoded = []byte(unescaped)
	}
	*p = decodeBase64(encoded)
	return nil
}

// pictures returns the picture as those of a read.
func (p base64Picture) pictures() []Picture {
	if len(p) == 0 {
		return nil
	}
	return []Picture{{ContentType: pictureType(p), Data: p}}
}

// decodeBase64 returns a picture in base64, or as a data URL, or nil.
func decodeBase64(encoded []byte) []byte {
	if comma := bytes.IndexByte(encoded[:min(len(encoded), maxBoundary)], ','); comma >= 0 && bytes.HasPrefix(encoded, []byte("data:")) {
		encoded = encoded[comma+1:]
	}
	encoded = bytes.TrimRight(bytes.TrimSpace(encoded), "=")
	encoding := base64.RawStdEncoding // skips line ends
	if bytes.ContainsAny(encoded[:min(len(encoded), 4096)], "-_") {
		encoding = base64.RawURLEncoding
	}
	data := make([]byte, encoding.DecodedLen(len(encoded)))
	n, err := encoding.Decode(data, encoded)
	if err != nil || pictureType(data[:n]) == "" {
		return nil
	}
	return data[:n]
}

// Bounds of an XML document.
const (
	maxXMLDepth  = 64
	maxXMLTokens = 100_000
	maxXMLTag    = 16 << 10
)

// decodeXML decodes the text of an XML document. Elements match by their local names, in
// any name space, with any prefix or none. A document type is refused, and so is every
// entity but the five of XML itself. The error is a [parking.ErrInvalid] without any text
// of the document.
func decodeXML(text []byte, into any) error {
	_, err := decodeFirstXML(text, into)
	return err
}

// decodeFirstXML is decodeXML of the first of several documents. It returns the text of
// the others.
func decodeFirstXML(text []byte, into any) (others []byte, err error) {
	r := newXMLReader(text)
	err = xml.NewTokenDecoder(r).Decode(into)
	switch {
	case err == nil:
		return text[r.decoder.InputOffset():], nil
	case errors.Is(err, parking.ErrInvalid):
		return nil, err
	}
	if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
		if strings.Contains(syntax.Msg, "entity") {
			return nil, malformed("the XML has an entity in line %d, which is refused", syntax.Line)
		}
		return nil, malformed("the XML is malformed in line %d", syntax.Line)
	}
	return nil, malformed("the XML cannot be read as what it ought to be")
}

// rootOf returns the local name of the root of an XML document, or "".
func rootOf(text []byte) string {
	if documentKind(text) != "xml" {
		return ""
	}
	r := newXMLReader(text)
	for {
		token, err := r.Token()
		if err != nil {
			return ""
		}
		if start, ok := token.(xml.StartElement); ok {
			return start.Name.Local
		}
	}
}

// xmlReader reads the tokens of a document within its bounds. Fields whose tags have no
// name space match elements and attributes of any.
type xmlReader struct {
	decoder       *xml.Decoder
	depth, tokens int
	hasLongTag    bool
}

func newXMLReader(text []byte) *xmlReader {
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = charsetReader(text)
	return &xmlReader{decoder: d, hasLongTag: hasLongTag(text)}
}

// hasLongTag reports whether a tag is beyond its bound: the attributes of one cost many
// times their text. Pictures are between tags.
func hasLongTag(text []byte) bool {
	for {
		start := bytes.IndexByte(text, '<')
		if start < 0 {
			return false
		}
		text = text[start:]
		switch {
		case bytes.HasPrefix(text, []byte("<![CDATA[")):
			_, text, _ = bytes.Cut(text, []byte("]]>"))
		case bytes.HasPrefix(text, []byte("<!--")):
			_, text, _ = bytes.Cut(text, []byte("-->"))
		default:
			end := tagEnd(text[:min(len(text), maxXMLTag)])
			if end < 0 {
				return len(text) > maxXMLTag
			}
			text = text[end:]
		}
	}
}

// tagEnd returns where the tag that a text begins with ends, or -1. A quoted value may
// have the character that ends a tag.
func tagEnd(text []byte) int {
	quote := byte(0)
	for i, c := range text {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"', c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return -1
}

// charsetReader reads a document that declares another encoding and is in UTF-8, see
// [inUTF8].
func charsetReader(text []byte) func(charset string, input io.Reader) (io.Reader, error) {
	return func(charset string, input io.Reader) (io.Reader, error) {
		if !utf8.Valid(text) {
			return nil, malformed("the XML has the encoding %s, which is unknown", quote(charset))
		}
		return input, nil
	}
}

// Token implements xml.TokenReader.
func (r *xmlReader) Token() (xml.Token, error) {
	if r.hasLongTag {
		return nil, malformed("the XML has a tag of more than %d bytes", maxXMLTag)
	}
	token, err := r.decoder.Token()
	if err != nil {
		return nil, err
	}
	if r.tokens++; r.tokens > maxXMLTokens {
		return nil, malformed("the XML has more than %d parts", maxXMLTokens)
	}
	switch token.(type) {
	case xml.Directive:
		return nil, malformed("the XML has a document type, which is refused: it may define entities")
	case xml.StartElement:
		if r.depth++; r.depth > maxXMLDepth {
			return nil, malformed("the XML is deeper than %d elements", maxXMLDepth)
		}
	case xml.EndElement:
		r.depth--
	}
	return token, nil
}
