package batch

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendRequest appends the request body for events to dst. source is the
// CloudEvents source of all of them, for example "/rabbitmq/vehicle_entries".
// Data that is JSON in valid UTF-8 and not nested deeply is embedded unchanged, other
// data as base64.
func AppendRequest(dst []byte, source string, events []Event) []byte {
	dst = append(dst, '[')
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendEvent(dst, source, &events[i])
	}
	return append(dst, ']')
}

func appendEvent(dst []byte, source string, e *Event) []byte {
	dst = append(dst, `{"specversion":"1.0","id":`...)
	dst = appendString(dst, e.ID)
	dst = append(dst, `,"source":`...)
	dst = appendString(dst, source)
	dst = append(dst, `,"type":"`+EventType+`"`...)
	if !e.Time.IsZero() && expressible(e.Time) {
		dst = append(dst, `,"time":"`...)
		dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	dst = appendAttribute(dst, "traceparent", e.TraceParent)
	dst = appendAttribute(dst, "tracestate", e.TraceState)
	for _, a := range e.Attributes {
		dst = appendAttribute(dst, a.Name, a.Value)
	}
	asJSON := shallow(e.Data) && jsontext.Value(e.Data).IsValid()
	if describes(e.ContentType, asJSON) {
		dst = appendAttribute(dst, "datacontenttype", e.ContentType)
	}
	if asJSON {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Data...)
	} else {
		dst = append(dst, `,"data_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Data)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendAttribute appends an optional attribute, unless it is empty or CloudEvents
// cannot express it.
func appendAttribute(dst []byte, name, value string) []byte {
	if value == "" || !IsText(value) {
		return dst
	}
	dst = append(dst, ',')
	dst = appendString(dst, name)
	dst = append(dst, ':')
	return appendString(dst, value)
}

// IsText reports whether s is a valid value of an attribute: CloudEvents excludes
// invalid UTF-8, control characters and Unicode's noncharacters.
func IsText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return isText(s[i:])
		}
	}
	return true
}

func isText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return false
		}
	}
	return true
}

// expressible reports whether RFC 3339 can express t: its years have four digits.
func expressible(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// describes reports whether a content type adds to how data is encoded and does not
// contradict it. By the rules of CloudEvents, data that is embedded is JSON.
func describes(contentType string, asJSON bool) bool {
	if contentType == "" || asJSON && contentType == "application/json" {
		return false
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || !strings.Contains(kind, "/") {
		return false
	}
	return !asJSON || strings.HasSuffix(kind, "/json") || strings.HasSuffix(kind, "+json")
}

// maxDepth is how deeply embedded data may be nested: the parsers of some languages
// have a limit of 64 levels and would refuse the whole batch.
const maxDepth = 60

// shallow reports whether JSON is nested at most maxDepth deep.
func shallow(data []byte) bool {
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) <= maxDepth {
		return true
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++ // what follows does not end the string
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			if depth++; depth > maxDepth {
				return false
			}
		case c == ']', c == '}':
			depth--
		}
	}
	return true
}

// ParseRequest parses a request body. An error means that the sender does not follow
// the contract; it concerns the whole request. An optional attribute that cannot be
// read is ignored, and data that cannot be read is reported as the event's DataErr.
// The events' data are slices of body, which must not change while they are used.
func ParseRequest(body []byte) ([]Event, error) {
	var events []Event
	// Of duplicate names the last one counts; in the data of an event they are up to
	// the function. Invalid UTF-8 in one event does not concern the others.
	d := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	attribute := func(name []byte) error { return events[len(events)-1].read(d, name, body) }
	err := elements(d, func() error {
		if len(events) == MaxEvents {
			return ErrTooMany
		}
		events = append(events, Event{})
		return members(d, attribute)
	})
	if err == nil {
		err = atEnd(d)
	}
	if err != nil {
		return nil, fmt.Errorf("parse batch as a CloudEvents JSON array: %w", err)
	}
	seen := make(map[string]struct{}, len(events))
	for i := range events {
		id := events[i].ID
		if id == "" {
			return nil, fmt.Errorf("event %d of the batch has no id", i)
		}
		if _, twice := seen[id]; twice {
			return nil, fmt.Errorf("two events of the batch have the id %q", id)
		}
		seen[id] = struct{}{}
	}
	return events, nil
}

// read reads one member of an event.
func (e *Event) read(d *jsontext.Decoder, name, body []byte) (err error) {
	switch string(name) {
	case "id":
		e.ID, err = readText(d)
	case "traceparent":
		e.TraceParent, err = readAttribute(d)
	case "tracestate":
		e.TraceState, err = readAttribute(d)
	case "time":
		var text string
		text, err = readAttribute(d)
		if e.Time, _ = time.Parse(time.RFC3339, text); !expressible(e.Time) {
			e.Time = time.Time{}
		}
	case "data":
		var value jsontext.Value
		value, err = d.ReadValue()
		end := d.InputOffset()
		e.Data, e.DataErr = body[end-int64(len(value)):end:end], nil
	case "data_base64":
		err = e.readBase64(d)
	default:
		return d.SkipValue()
	}
	if err != nil {
		return fmt.Errorf("%s of an event: %w", name, err)
	}
	return nil
}

func (e *Event) readBase64(d *jsontext.Decoder) error {
	value, err := d.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return err
	}
	text, err := unquote(value)
	if err == nil {
		e.Data, err = base64.StdEncoding.AppendDecode(nil, text)
	}
	if err != nil {
		e.Data, err = nil, fmt.Errorf("data_base64 cannot be read: %w", err)
	}
	e.DataErr = err
	return nil
}

// readAttribute reads an optional attribute. It returns "" for one that is not a
// text.
func readAttribute(d *jsontext.Decoder) (string, error) {
	value, err := d.ReadValue()
	if err != nil {
		return "", err
	}
	text, err := unquote(value)
	if err != nil || !IsText(string(text)) {
		return "", nil //nolint:nilerr // see above
	}
	return string(text), nil
}
