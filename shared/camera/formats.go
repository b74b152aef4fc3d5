package camera

import (
	"encoding/json"
	"slices"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// All returns every format. Each is in the file of its name.
func All() []Format {
	return []Format{
		axis,
		blueiris,
		cloudevents(),
		dahua,
		frigate,
		genetec,
		hikvision,
		milesight,
		openalpr,
		own(),
		platerecognizer,
		unifi,
		verkada,
	}
}

// Names returns the names of all formats, and the one by which a format is recognised.
func Names() []string {
	names := []string{site.Auto}
	for _, f := range All() {
		names = append(names, f.Name)
	}
	return names
}

// ErrUnrecognised is wrapped by the error of a request that is of no known format.
var ErrUnrecognised = parking.Invalid("the request is of no known format")

// Parse returns what a camera's request tells, and its format: the configured one, or the
// one that recognises the request. Its error is a [parking.ErrInvalid], also if an
// adapter panics. If a part of the request can be read there is none, see
// [Message.Unread].
func Parse(r Request, c site.Camera) (Format, Message, error) {
	r = r.prepared()
	f, err := formatOf(r, c)
	if err != nil {
		return Format{}, Message{}, err
	}
	m, err := f.parse(r, c)
	return f, m, err
}

func formatOf(r Request, c site.Camera) (Format, error) {
	if c.Format != "" && c.Format != site.Auto {
		return ByName(c.Format)
	}
	return Recognise(r)
}

// parse is Parse with an error instead of a panic: an adapter reads what strangers send.
func (f Format) parse(r Request, c site.Camera) (m Message, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			m, err = Message{}, parking.Invalid("the adapter of the format %s failed on this request", f.Name)
		}
	}()
	if err := r.check(); err != nil {
		return Message{}, err
	}
	m, err = f.Parse(r, c)
	switch {
	case err != nil:
		return Message{}, err
	case len(m.Reads) > maxReads:
		return Message{}, parking.Invalid("the request has %d reads, at most %d are allowed", len(m.Reads), maxReads)
	case len(m.Reads) == 0 && !m.Heartbeat && len(m.Unread) > 0: // there is nothing that can be read
		return Message{}, reasons(m.Unread)
	}
	return m, nil
}

// maxReads bounds the reads of one request.
const maxReads = 1000

// ByName returns the format of a name.
func ByName(name string) (Format, error) {
	all := All()
	if i := slices.IndexFunc(all, func(f Format) bool { return f.Name == name }); i >= 0 {
		return all[i], nil
	}
	return Format{}, parking.Invalid("there is no format %s; there are %s", quote(name), strings.Join(Names(), ", "))
}

// Recognise returns the format of a request by its content. Its error wraps
// [ErrUnrecognised] unless the form itself is malformed.
func Recognise(r Request) (Format, error) {
	r = r.prepared()
	if err := r.check(); err != nil {
		return Format{}, err
	}
	for more := true; more; more = r.nextExample() { // the first of a list may be what cannot be read
		for _, f := range All() {
			if f.Recognise(r) {
				return f, nil
			}
		}
	}
	seen, sound := r.described()
	if !sound {
		return Format{}, malformed("the request has %s", seen)
	}
	return Format{}, unrecognised{seen}
}

// ErrMalformed is wrapped by the error of a request that is cut off or otherwise not what
// it claims to be, such as JSON, XML or a form.
var ErrMalformed = parking.Invalid("the request is malformed")

// malformed returns an ErrMalformed with a reason for people.
func malformed(format string, args ...any) error {
	return malformedError{parking.Invalid(format, args...)}
}

type malformedError struct{ error }

func (e malformedError) Unwrap() []error { return []error{e.error, ErrMalformed} }

// unrecognised is an error that tells what was looked at.
type unrecognised struct{ seen string }

func (e unrecognised) Error() string {
	return "the request is of no known format: it has " + e.seen + ". Looked for: " + strings.Join(Names()[1:], ", ") +
		". Set the camera's format if it is one of them"
}

func (e unrecognised) Unwrap() error { return ErrUnrecognised }

// described returns what a request has, without any of its values, and whether it is
// sound.
func (r Request) described() (seen string, sound bool) {
	text := r.document()
	switch {
	case len(r.Body) == 0:
		return "no body", false
	case documentKind(text) == "xml":
		if err := decodeXML(text, new(struct{})); err != nil {
			return "XML that cannot be read: " + err.Error(), false
		}
		return "XML with the root " + quote(r.root()), true
	case documentKind(text) == "json":
		if !json.Valid(text) {
			return "JSON that is malformed", false
		}
		members := r.members()
		if members == nil {
			return "a list in JSON", true
		}
		names := make([]string, 0, len(members))
		for name := range members {
			names = append(names, quote(name))
		}
		slices.Sort(names)
		const shown = 12
		if len(names) > shown {
			names = append(names[:shown], "...")
		}
		return "a JSON object with the members " + strings.Join(names, ", "), true
	}
	if parts, _ := r.form(); len(parts) > 0 {
		return "a form without JSON or XML", true
	}
	return "neither JSON nor XML nor a form", true
}
