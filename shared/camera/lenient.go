package camera

import (
	"encoding/json"
	"fmt"
	"strings"

	"parkstream/shared/site"
)

// many is a JSON list, or one element of it without the list, as some versions of a
// format send it. null is an empty list. In XML it is a repeated element.
type many[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (m *many[T]) UnmarshalJSON(text []byte) error {
	*m = nil
	switch text[0] {
	case 'n':
		return nil
	case '[':
		var elements []T
		if err := json.Unmarshal(text, &elements); err != nil {
			return fmt.Errorf("decode a list: %w", err)
		}
		*m = elements
		return nil
	}
	var element T
	if err := json.Unmarshal(text, &element); err != nil {
		return fmt.Errorf("decode an element: %w", err)
	}
	*m = many[T]{element}
	return nil
}

// loose is a [scalar] that a read does without: an object or a list instead is empty.
type loose string

// UnmarshalJSON implements json.Unmarshaler.
func (o *loose) UnmarshalJSON(text []byte) error {
	*o = ""
	if text[0] == '{' || text[0] == '[' {
		return nil
	}
	return (*scalar)(o).UnmarshalJSON(text)
}

// each returns what the JSON objects of a request tell together: usually there is one. If
// one is refused the request is.
func each[T any](r Request, read func(T) (Message, error)) (Message, error) {
	objects, err := decodeElements[T](r)
	if err != nil {
		return Message{}, err
	}
	var all Message
	for _, object := range objects {
		m, err := read(object)
		if err != nil {
			return Message{}, err
		}
		all.Reads, all.Heartbeat = append(all.Reads, m.Reads...), all.Heartbeat || m.Heartbeat
	}
	return all, nil
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
