package eventfile

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// objects reads objects of JSON however they are separated: by line ends, by
// nothing, or by the brackets and commas of an array.
type objects struct {
	lines *lines
	rest  line // of a line of which objects were taken

	open   int // brackets that are open between the objects
	opened int // line of the first of them
}

func (o *objects) Next() (Event, error) {
	for {
		if len(o.rest.text) == 0 {
			next, err := o.lines.next()
			if errors.Is(err, io.EOF) && o.open > 0 {
				o.open = 0
				return Event{}, &LineError{o.opened, "the array that begins here has no end: is the file complete?"}
			}
			if err != nil {
				return Event{}, err
			}
			if next.long {
				return Event{}, next.tooLong()
			}
			o.rest = next
		}
		if o.separators(); len(o.rest.text) > 0 {
			return o.object()
		}
	}
}

// separators removes what separates two objects from the rest.
func (o *objects) separators() {
	o.rest.text = bytes.TrimLeftFunc(o.rest.text, func(r rune) bool {
		switch r {
		case '[':
			if o.open++; o.open == 1 {
				o.opened = o.rest.number
			}
		case ']':
			o.open = max(0, o.open-1)
		case ' ', '\t', ',':
		default:
			return false
		}
		return true
	})
}

// object takes one object from the rest, and from the lines after it when it goes
// on there.
func (o *objects) object() (Event, error) {
	first := o.rest
	o.rest = line{}
	if !utf8.Valid(first.text) {
		return Event{}, &LineError{first.number, notUTF8}
	}
	var (
		end  int
		fail error
	)
	text, last, ok := o.lines.extend(first, func(text []byte) (done, more bool) {
		d := jsontext.NewDecoder(bytes.NewReader(text))
		value, err := d.ReadValue()
		if end = int(d.InputOffset()); err == nil && value.Kind() != '{' {
			err = json.Unmarshal(value, new(wire)) // its error names the actual type
		}
		if fail == nil {
			fail = err
		}
		return err == nil, errors.Is(err, io.ErrUnexpectedEOF)
	}, o.alone)
	if !ok {
		o.open = 0 // the part left out may contain a bracket
		return Event{}, &LineError{first.number, explain(fail)}
	}
	o.rest = line{number: last, text: text[end:]}
	return parse(first.number, bytes.Clone(text[:end]))
}

// alone reports whether a line is a complete event, valid or not.
func (o *objects) alone(l line) bool {
	var w wire
	err := json.Unmarshal(bytes.Trim(l.text, "[], \t"), &w)
	return err == nil && (given(w.EntryTime) || given(w.ExitTime))
}
