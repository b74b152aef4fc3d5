package camera

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// many is a JSON list, or one element of it without the list, as some versions of a
// format send it. null is an empty list. What cannot be read is left out: use [element]
// for what must not be. In XML it is a repeated element.
type many[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (m *many[T]) UnmarshalJSON(text []byte) error {
	*m = nil
	if text[0] == 'n' {
		return nil
	}
	var elements []json.RawMessage
	if text[0] != '[' {
		elements = []json.RawMessage{text}
	} else if err := json.Unmarshal(text, &elements); err != nil {
		return fmt.Errorf("decode a list: %w", err)
	}
	for _, text := range elements {
		var value T
		if json.Unmarshal(text, &value) == nil {
			*m = append(*m, value)
		}
	}
	return nil
}

// element is one of several values, or why it cannot be read: it does not take the
// others with it.
type element[T any] struct {
	Value T
	Err   error
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *element[T]) UnmarshalJSON(text []byte) error {
	*e = element[T]{}
	if string(text) == "null" {
		e.Err = parking.Invalid("the JSON has null instead of an object")
		return nil
	}
	e.Err = decodeJSON(text, &e.Value)
	return nil
}

// UnmarshalXML implements xml.Unmarshaler.
func (e *element[T]) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	*e = element[T]{}
	return d.DecodeElement(&e.Value, &start) //nolint:wrapcheck // it is the decoder's own
}

// textOr is a JSON text, or an object instead of it, as depends on the version or the mode
// of a format.
type textOr[T any] struct {
	Text   string
	Object T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *textOr[T]) UnmarshalJSON(text []byte) error {
	*o = textOr[T]{}
	if text[0] != '{' {
		return (*scalar)(&o.Text).UnmarshalJSON(text)
	}
	if err := json.Unmarshal(text, &o.Object); err != nil {
		return fmt.Errorf("decode an object: %w", err)
	}
	return nil
}

// loose is a [scalar] that a read does without: an object or a list instead is empty.
type loose string

// UnmarshalJSON implements json.Unmarshaler.
func (o *loose) UnmarshalJSON(text []byte) error {
	*o = ""
	if err := (*scalar)(o).UnmarshalJSON(text); err != nil && text[0] != '{' && text[0] != '[' {
		return err
	}
	return nil
}

// each returns what the JSON objects of a request tell together: usually there is one.
func each[T any](r Request, read func(T) (Message, error)) (Message, error) {
	texts, err := r.elements()
	if err != nil {
		return Message{}, err
	}
	return eachOf(texts, read)
}

// eachOf is [each] of the texts of objects.
func eachOf[T any](texts [][]byte, read func(T) (Message, error)) (Message, error) {
	var all Message
	for i, text := range texts {
		var object element[T]
		if err := object.UnmarshalJSON(text); err != nil {
			return Message{}, err
		}
		m, err := Message{}, object.Err
		if err == nil {
			m, err = read(object.Value)
		}
		if err != nil && len(texts) > 1 {
			err = fmt.Errorf("element %d of %d: %w", i+1, len(texts), err)
		}
		all.add(m, err)
		if len(all.Reads) > maxReads {
			return Message{}, parking.Invalid("the request has more than %d reads", maxReads)
		}
	}
	return all, nil
}

// eachRead is [each] of objects that are one vehicle.
func eachRead[T any](r Request, read func(T) (Read, error)) (Message, error) {
	return each(r, func(object T) (Message, error) {
		one, err := read(object)
		if err != nil {
			return Message{}, err
		}
		return Message{Reads: []Read{one}}, nil
	})
}

// direction returns the first of the words that the camera's configuration knows as a
// direction, or else the first that tells one, in lower case. A format that tells the
// direction in several ways gives all of them, the best first.
func direction(c site.Camera, words ...string) string {
	first := ""
	for _, word := range words {
		word = strings.ToLower(told(word))
		if _, found := c.Directions[word]; found {
			return word
		}
		if first == "" {
			first = word
		}
	}
	return first
}

// identity returns what a camera names a vehicle by, or "" if it names none: cameras write
// a UUID of zeros for that, which would be the same for all vehicles.
func identity(text string) string {
	if strings.Trim(text, "0-{} ") == "" {
		return ""
	}
	return told(text)
}

// told returns a text without blanks around it, or "" if it means that something is not
// known.
func told(text string) string {
	text = strings.TrimSpace(text)
	switch strings.ToLower(text) {
	case "unknown", "none", "null", "n/a", "undefined", "unrecognized", "other":
		return ""
	}
	if strings.Trim(text, "-") == "" {
		return ""
	}
	return text
}
