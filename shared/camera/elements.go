package camera

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// maxElements bounds the objects of a document, and the reads that they become.
const maxElements = 1000

// elements returns the JSON objects of the document: the document itself, those of the
// list that it is, or several that follow each other. Its error is a [parking.ErrInvalid].
func (r Request) elements() ([][]byte, error) {
	text := r.document()
	if documentKind(text) != "json" {
		return nil, parking.Invalid("want JSON")
	}
	return split(text, maxElements)
}

// split returns the values of a list, or those that follow each other, of which there
// are at most most. They share the text.
func split(text []byte, most int) ([][]byte, error) {
	d := newJSONReader(text)
	inList := text[0] == '['
	if inList {
		if _, err := d.ReadToken(); err != nil {
			return nil, malformed("the JSON is malformed")
		}
	}
	var values [][]byte
	for {
		if inList && d.PeekKind() == ']' {
			return values, nil
		}
		start := d.InputOffset()
		err := d.SkipValue()
		switch {
		case errors.Is(err, io.EOF) && !inList:
			return values, nil
		case err != nil:
			return nil, malformed("the JSON is malformed after %d bytes", start)
		case len(values) == most:
			return nil, parking.Invalid("the JSON has a list of more than %d elements", most)
		}
		values = append(values, bytes.TrimLeft(text[start:d.InputOffset()], " \t\r\n,"))
	}
}

// newJSONReader returns a reader of the tokens of a text, which it does not copy.
func newJSONReader(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// decodeList returns the values of a list, or one value, decoded. null and nothing are
// an empty list.
func decodeList[T any](text []byte, most int) ([]T, error) {
	if text = trimmed(text); len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	values, err := split(text, most)
	if err != nil {
		return nil, err
	}
	return decodeAll[T](values)
}

func decodeAll[T any](values [][]byte) ([]T, error) {
	decoded := make([]T, len(values))
	for i, text := range values {
		if err := decodeJSON(text, &decoded[i]); err != nil {
			return nil, err
		}
	}
	return decoded, nil
}

// example returns the members of the JSON object that the document is, or of the first
// one of a list, with their names in lower case. It is nil if there is no object.
func (r Request) example() map[string][]byte {
	c := r.prepared().content
	if !c.exampleRead {
		c.exampleRead = true
		if text := r.document(); len(text) > 0 && text[0] == '[' {
			c.exampleMembers = membersOf(firstElement(text))
		} else {
			c.exampleMembers = r.members()
		}
	}
	return c.exampleMembers
}

// nextExample has example return the next object of several. It reports whether there is
// one.
func (r Request) nextExample() bool {
	c := r.prepared().content
	if !c.examplesRead {
		c.examplesRead = true
		if all, err := r.elements(); err == nil && len(all) > 1 {
			c.examples = all[1:]
		}
	}
	for len(c.examples) > 0 {
		c.exampleRead, c.exampleMembers = true, membersOf(c.examples[0])
		c.examples = c.examples[1:]
		if c.exampleMembers != nil {
			return true
		}
	}
	return false
}

// firstElement returns the first element of a list, or nothing.
func firstElement(list []byte) []byte {
	d := newJSONReader(list)
	if _, err := d.ReadToken(); err != nil || d.PeekKind() != '{' {
		return nil
	}
	start := d.InputOffset()
	if d.SkipValue() != nil {
		return nil
	}
	return bytes.TrimLeft(list[start:d.InputOffset()], " \t\r\n")
}

// hasAll reports whether there are members of all these names.
func hasAll(members map[string][]byte, names ...string) bool {
	for _, name := range names {
		if _, found := members[name]; !found {
			return false
		}
	}
	return members != nil
}

// hasAny reports whether there is a member of one of these names.
func hasAny(members map[string][]byte, names ...string) bool {
	for _, name := range names {
		if _, found := members[name]; found {
			return true
		}
	}
	return false
}

// firstOf returns the first text that is not empty.
func firstOf[T ~string](texts ...T) string {
	for _, text := range texts {
		if t := strings.TrimSpace(string(text)); t != "" {
			return t
		}
	}
	return ""
}

// firstClock returns the first reading of a time that there is. One that is malformed is
// an error only if no other is there.
func firstClock(readings ...func() (clock, error)) (clock, error) {
	var wrong error
	for _, reading := range readings {
		c, err := reading()
		if err == nil && !c.Time.IsZero() {
			return c, nil
		}
		if wrong == nil {
			wrong = err
		}
	}
	return clock{}, wrong
}

// present is a [scalar] that reports whether it was there. null is, and is empty.
type present struct {
	Text        scalar
	Given, Null bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *present) UnmarshalJSON(text []byte) error {
	p.Given, p.Null = true, text[0] == 'n'
	return p.Text.UnmarshalJSON(text)
}

// detail is what a read does without: anything else instead is empty.
type detail[T any] struct{ Value T }

// UnmarshalJSON implements json.Unmarshaler.
func (d *detail[T]) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &d.Value) != nil {
		var none T
		d.Value = none
	}
	return nil
}

// withPictures returns the message with the pictures of the request's form. They belong
// to its read if the request tells of one vehicle only.
func (m Message) withPictures(r Request) Message {
	if len(m.Reads) == 1 && len(m.Unread) == 0 {
		m.Reads[0].Pictures = append(m.Reads[0].Pictures, r.pictures()...)
	}
	return m
}

// anyTime reads a time in a form that depends on the version of a camera: a number since
// 1970 in any unit, or a time of ISO 8601, which is one of the camera's zone if it has
// none.
func (r Request) anyTime(text string, c site.Camera) (clock, error) {
	if _, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil && !isCompactTime(strings.TrimSpace(text)) {
		return epoch(text, 0)
	}
	return readTime(text, c.Location, r.Received)
}
