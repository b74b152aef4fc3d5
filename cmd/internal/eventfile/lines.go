package eventfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/text/encoding/unicode"
)

// packed are files that are often sent by mistake, by how they begin.
var packed = []struct{ start, what string }{
	{"\x1f\x8b", "it is compressed with gzip: unpack it first, as with `gunzip -c FILE | parkstream send -`"},
	{"\x28\xb5\x2f\xfd", "it is compressed with zstd: unpack it first"},
	{"\xfd7zX", "it is compressed with xz: unpack it first"},
	{"BZh", "it is compressed with bzip2: unpack it first"},
	{"PK\x03\x04", "it is a ZIP archive or a workbook such as .xlsx: unpack it, or save the sheet as CSV"},
	{"\xd0\xcf\x11\xe0", "it is a workbook such as .xls: save the sheet as CSV"},
	{"\xff\xfe\x00\x00", "it is UTF-32: save it as UTF-8"},
	{"\x00\x00\xfe\xff", "it is UTF-32: save it as UTF-8"},
}

// decode returns text in UTF-8. UTF-16 is known by its byte order mark, or because
// the first letter of an event file is ASCII.
func decode(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	start, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, p := range packed {
		if bytes.HasPrefix(start, []byte(p.start)) {
			return nil, errors.New(p.what)
		}
	}
	if len(start) < 2 {
		return in, nil
	}
	utf16 := func(order unicode.Endianness) (*bufio.Reader, error) {
		return bufio.NewReader(unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder().Reader(in)), nil
	}
	switch a, b := start[0], start[1]; {
	case a == 0xff && b == 0xfe, a != 0 && b == 0:
		return utf16(unicode.LittleEndian)
	case a == 0xfe && b == 0xff, a == 0 && b != 0:
		return utf16(unicode.BigEndian)
	}
	return in, nil
}

const notUTF8 = "it is not valid UTF-8: save the file as UTF-8"

// maxLine bounds a line in bytes.
const maxLine = 1 << 20

// byteOrderMark begins files of some editors and spreadsheets, and with it each
// part of files that were put together.
const byteOrderMark = "\ufeff"

// line is a line without its end, cut at maxLine.
type line struct {
	number int
	text   []byte
	long   bool
}

func (l line) blank() bool { return !l.long && len(bytes.TrimSpace(l.text)) == 0 }

func (l line) tooLong() error {
	return &LineError{l.number, fmt.Sprintf("it has more than %d bytes: want one event a line", maxLine)}
}

// lines reads lines that end in LF, CRLF or CR.
type lines struct {
	in     *bufio.Reader
	number int    // of the last line read
	cr     bool   // it ended in CR
	back   []line // given back by unread
	err    error  // that ended the reading
}

// next returns the next line. Its error is io.EOF or ends the reading.
func (l *lines) next() (line, error) {
	if len(l.back) > 0 {
		next := l.back[0]
		l.back = l.back[1:]
		return next, nil
	}
	next := line{number: l.number + 1}
	for l.err == nil {
		b, err := l.in.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && len(next.text) > 0:
			l.err = err
			return l.whole(next), nil
		case errors.Is(err, io.EOF):
			l.err = err
		case err != nil:
			l.err = fmt.Errorf("read line %d: %w", next.number, err)
		case b == '\n' && l.cr && len(next.text) == 0: // the rest of CRLF
			l.cr = false
		case b == '\n', b == '\r':
			l.cr = b == '\r'
			return l.whole(next), nil
		case len(next.text) == maxLine:
			next.long = true
		default:
			l.cr = false
			next.text = append(next.text, b)
		}
	}
	return line{}, l.err
}

func (l *lines) whole(next line) line {
	l.number = next.number
	next.text = bytes.TrimPrefix(next.text, []byte(byteOrderMark))
	return next
}

// nextFilled returns the next line that is not blank.
func (l *lines) nextFilled() (line, error) {
	for {
		next, err := l.next()
		if err != nil || !next.blank() {
			return next, err
		}
	}
}

// unread gives lines back: they are the next ones.
func (l *lines) unread(again ...line) { l.back = slices.Concat(again, l.back) }

// extend adds lines to a record that is incomplete at the end of its first line, until
// complete reports that it is done or cannot be completed. A line that is a complete
// record is never added: a missing quote or brace does not swallow the records after
// it. If the record stays incomplete, only its first line is bad and reading continues
// with the second.
func (l *lines) extend(first line, complete func(text []byte) (done, more bool), alone func(line) bool) (text []byte, last int, ok bool) {
	text = first.text
	var added []line
	last = first.number
	for {
		done, more := complete(text)
		if done {
			return text, last, true
		}
		if !more || len(added) == maxRecordLines || len(text) > maxRecord {
			break
		}
		next, err := l.next()
		if err != nil {
			break // the next call meets it again
		}
		added, last = append(added, next), next.number
		if next.long || alone(next) {
			break
		}
		text = slices.Concat(text, []byte("\n"), next.text)
	}
	l.unread(added...)
	return nil, 0, false
}
