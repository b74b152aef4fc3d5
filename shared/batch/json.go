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

// appendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
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

// members reads a JSON object and calls read for the value of each member. name is
// valid until read reads from d.
func members(d *jsontext.Decoder, read func(name []byte) error) error {
	if err := begin(d, '{'); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		name, _ := unquote(value) // an invalid name matches none of ours
		if err := read(name); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// elements reads a JSON array and calls read for each element.
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

// atEnd returns an error if d has more input.
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

// readBytes reads a string, or null as nil. The result is valid until the next read
// from d.
func readBytes(d *jsontext.Decoder) ([]byte, error) {
	value, err := d.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return nil, err
	}
	return unquote(value)
}

// unquote returns the text of a JSON string. It may share memory with value.
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
