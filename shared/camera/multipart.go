package camera

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// Bounds of a form.
const (
	maxParts        = 64
	maxPartHead     = 16 << 10
	maxBoundary     = 100
	tooManyParts    = "the form has more than %d parts"
	formEncoding    = "application/x-www-form-urlencoded"
	multipartPrefix = "multipart/"
)

// part is one part of a form.
type part struct {
	Name, Filename string
	// ContentType is as sent, in lower case and without parameters.
	ContentType string
	// Charset is that of the type, or empty.
	Charset string
	// Data is a part of the body, unless it was encoded.
	Data []byte
}

// formOf returns the parts of a multipart or a form-encoded body, in their order. A body
// of another type has none. Its error is a [parking.ErrInvalid].
func formOf(header http.Header, body []byte) ([]part, error) {
	given := header.Get("Content-Type")
	contentType := mediaType(given)
	switch {
	case strings.HasPrefix(contentType, multipartPrefix), contentType == "" && boundaryLine(body) != "":
		return multipart(given, body)
	case contentType == formEncoding && documentKind(body) == "":
		return formEncoded(body)
	}
	return nil, nil
}

func formEncoded(body []byte) ([]part, error) {
	if bytes.Count(body, []byte("&")) >= maxParts {
		return nil, malformed(tooManyParts, maxParts)
	}
	var parts []part
	for field := range strings.SplitSeq(string(bytes.TrimSpace(body)), "&") {
		name, value, _ := strings.Cut(field, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || valueErr != nil {
			return nil, malformed("the body is not form-encoded, as its Content-Type tells")
		}
		parts = append(parts, part{Name: name, Data: []byte(value)})
	}
	return parts, nil
}

// multipart splits a multipart body. Its parts share the body.
func multipart(contentType string, body []byte) ([]part, error) {
	boundary := boundaryOf(contentType, body)
	if boundary == "" {
		return nil, malformed("the multipart body has no boundary: its Content-Type has none, and it does not begin with one")
	}
	delimiter := []byte("--" + boundary)
	if next, _ := nextDelimiter(body, delimiter); next < 0 && strings.HasPrefix(boundary, "--") {
		delimiter = []byte(boundary) // some cameras name the whole line
	}
	start, after := nextDelimiter(body, delimiter)
	if start < 0 {
		return nil, malformed("the multipart body does not have the boundary %s", quote(boundary))
	}
	var parts []part
	for rest := body[after:]; ; {
		if bytes.HasPrefix(rest, []byte("--")) {
			return parts, nil
		}
		if len(parts) == maxParts {
			return nil, malformed(tooManyParts, maxParts)
		}
		next, after := nextDelimiter(rest, delimiter)
		if next < 0 {
			return nil, malformed("the multipart body has no end: the line %s is missing", quote(string(delimiter)+"--"))
		}
		p, err := partOf(rest[:next])
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		rest = rest[after:]
	}
}

// boundaryOf returns the boundary that the type names, or that the body begins with.
func boundaryOf(contentType string, body []byte) string {
	if boundary := parameter(contentType, "boundary"); boundary != "" && len(boundary) <= maxBoundary {
		return boundary
	}
	return boundaryLine(body)
}

// boundaryLine returns the boundary that a body begins with, or "".
func boundaryLine(body []byte) string {
	line, _, found := bytes.Cut(body[:min(len(body), maxBoundary)], []byte("\n"))
	boundary, isOne := strings.CutPrefix(strings.TrimRight(string(line), "\r \t"), "--")
	if !found || !isOne {
		return ""
	}
	return boundary
}

// nextDelimiter returns where the line break before the next line with a delimiter
// begins, and where the delimiter ends. start is -1 if there is none.
func nextDelimiter(text, delimiter []byte) (start, after int) {
	for from := 0; ; {
		at := bytes.Index(text[from:], delimiter)
		if at < 0 {
			return -1, 0
		}
		at += from
		from = at + len(delimiter)
		if at > 0 && text[at-1] != '\n' || !endsDelimiter(text[from:]) {
			continue
		}
		start = at
		if start > 0 {
			start-- // the line feed belongs to the delimiter
		}
		if start > 0 && text[start-1] == '\r' {
			start--
		}
		return start, from
	}
}

// endsDelimiter reports whether what follows a delimiter is the end of a line or of the
// form.
func endsDelimiter(rest []byte) bool {
	if bytes.HasPrefix(rest, []byte("--")) {
		return true
	}
	rest = bytes.TrimLeft(rest[:min(len(rest), maxBoundary)], " \t")
	return len(rest) > 0 && (rest[0] == '\r' || rest[0] == '\n')
}

// partOf reads a part: the rest of the line of its delimiter, its head, and its data.
func partOf(text []byte) (part, error) {
	_, text, _ = bytes.Cut(text, []byte("\n"))
	head, data, found := cutHead(text)
	if !found || len(head) > maxPartHead {
		return part{}, malformed("a part of the multipart body has no end of its header within %d bytes", maxPartHead)
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(slices.Clip(head), "\r\n\r\n"...)))).ReadMIMEHeader()
	if err != nil {
		return part{}, malformed("a part of the multipart body has a header that is malformed")
	}
	disposition := header.Get("Content-Disposition")
	p := part{
		Name: parameter(disposition, "name"), Filename: parameter(disposition, "filename"),
		ContentType: mediaType(header.Get("Content-Type")), Charset: parameter(header.Get("Content-Type"), "charset"), Data: data,
	}
	switch encoding := strings.ToLower(header.Get("Content-Transfer-Encoding")); encoding {
	case "", "binary", "8bit", "7bit":
	case "base64":
		if p.Data, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err != nil {
			return part{}, malformed("a part of the multipart body is not base64, as its header tells")
		}
	default:
		return part{}, malformed("a part of the multipart body has the encoding %s, which is not supported", quote(encoding))
	}
	return p, nil
}

// cutHead separates the lines of a part's header from its data. There may be none.
func cutHead(text []byte) (head, data []byte, found bool) {
	for at := 0; at <= maxPartHead; {
		end := bytes.IndexByte(text[at:], '\n')
		if end < 0 {
			return nil, nil, false
		}
		if line := text[at : at+end]; len(bytes.TrimRight(line, "\r")) == 0 {
			return text[:at], text[at+end+1:], true
		}
		at += end + 1
	}
	return nil, nil, false
}

// mediaType returns the type of a Content-Type without its parameters.
func mediaType(contentType string) string {
	contentType, _, _ = strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(contentType))
}

// parameter returns a parameter of a header, also of one that is not quoted as it ought
// to be.
func parameter(header, name string) string {
	if _, parameters, err := mime.ParseMediaType(header); err == nil {
		return parameters[name]
	}
	for field := range strings.SplitSeq(header, ";") {
		key, value, _ := strings.Cut(field, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// pictureType returns the type of a picture by its first bytes, or "".
func pictureType(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return "image/jpeg"
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return "image/png"
	}
	return ""
}
