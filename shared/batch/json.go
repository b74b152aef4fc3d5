package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			dst, _ = jsontext.AppendQuote(dst, strings.ToValidUTF8(s, "\uFFFD")) // fails on invalid UTF-8 only
			return dst
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// members reads a JSON object. read reads the value of one member, whose name is
// its own until it does.
func members(d *jsontext.Decoder, read func(name []byte) error) error {
	if err := begin(d, '{'); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		name, _ := unquote(value) // one that is not valid UTF-8 is none that is looked for
		if err := read(name); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// elements reads a JSON array.
func elements(d *jsontext.Decoder, read func() error) error {
	if err := begin(d, '['); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func begin(d *jsontext.Decoder, kind jsontext.Kind) error {
	t, err := d.ReadToken()
	if err == nil && t.Kind() != kind {
		err = fmt.Errorf("want a JSON %s, not a %s", kind, t.Kind())
	}
	return err
}

// atEnd is an error where something follows.
func atEnd(d *jsontext.Decoder) error {
	switch t, err := d.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("a JSON %s follows at the end", t.Kind())
	}
}

func readText(d *jsontext.Decoder) (string, error) {
	text, err := readBytes(d)
	return string(text), err
}

// readBytes reads a string, which is valid until d reads on, or null as nil.
func readBytes(d *jsontext.Decoder) ([]byte, error) {
	value, err := d.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return nil, err
	}
	return unquote(value)
}

// unquote returns the text of a JSON string, which is valid as long as value is.
func unquote(value jsontext.Value) ([]byte, error) {
	if value.Kind() != '"' {
		return nil, fmt.Errorf("want a JSON string, not a %s", value.Kind())
	}
	text := value[1 : len(value)-1]
	if bytes.IndexByte(value, '\\') < 0 && utf8.Valid(text) {
		return text, nil
	}
	return jsontext.AppendUnquote(nil, value)
}
