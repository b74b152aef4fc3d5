// Package camera reads what cameras send. An adapter is a pure function of a request and
// the camera's configuration: one file a format. docs/cameras.md has the facts about each
// format and where they come from.
package camera

import (
	"net/http"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// Request is one request of a camera.
type Request struct {
	Header http.Header
	// Body is whole. Parts of it are shared, not copied.
	Body []byte
	// Received is the time of its arrival. Adapters use it to choose between two readings
	// of a local time, and never instead of an observed time.
	Received time.Time

	content *content // what was found in the body, or nil
}

// Format is one format of requests.
type Format struct {
	// Name is the name in a camera's configuration, in lower case.
	Name string
	// Recognise reports whether a request looks like one of this format. It is cheap,
	// and never true for another format's request.
	Recognise func(Request) bool
	// Parse returns what the request tells. Its error is a [parking.ErrInvalid] that
	// says what was expected where, as are those of [Message.Unread].
	Parse func(Request, site.Camera) (Message, error)
	// Accepted returns the body and the type of the answer that the camera expects for a
	// request that was accepted. nil is our own JSON.
	Accepted func() (contentType string, body []byte)
}

// Message is what a request tells.
type Message struct {
	// Reads are the vehicles seen. They may be none.
	Reads []Read
	// Heartbeat reports that the camera says that it is alive.
	Heartbeat bool
	// Unread tells why parts of the request are no reads: what cannot be read does not take
	// the other vehicles with it.
	Unread []error
}

// add adds what a part of a request tells, or why it cannot be read.
func (m *Message) add(part Message, err error) {
	m.Reads, m.Unread = append(m.Reads, part.Reads...), append(m.Unread, part.Unread...)
	m.Heartbeat = m.Heartbeat || part.Heartbeat
	if err != nil {
		m.Unread = append(m.Unread, err)
	}
}

// addRead adds a read, or why there is none.
func (m *Message) addRead(read Read, err error) {
	if err != nil {
		m.Unread = append(m.Unread, err)
		return
	}
	m.Reads = append(m.Reads, read)
}

// Read is one vehicle that a camera saw.
type Read struct {
	// Direction is what the format says, in lower case, or empty. Kind is its meaning if
	// the format defines one; see [KindOf].
	Direction string
	Kind      parking.Kind // zero: the format does not tell
	// Plate is the plate as sent. Empty: no plate was read; adapters use [Plate].
	Plate string
	// Time is the time of the observation in UTC. Zero: the format tells none.
	Time          time.Time
	AmbiguousTime bool
	// ID is the sender's own id of the event, or empty. It precedes Vehicle.
	ID string
	// Void reports that there was no such event. Plate and Time mean nothing then.
	Void bool
	// Vehicle is the camera's own id of the vehicle, or empty. VehicleCounts reports that
	// it is a counter that may begin again, so that it names a vehicle only for a time.
	Vehicle       string
	VehicleCounts bool
	// Order grows with each read of the same vehicle; it is the version of the event. Zero:
	// there is one read of a vehicle.
	Order int64
	// Tracked reports that the camera still sees the vehicle: a later read of it follows.
	Tracked bool
	// Confidence is from 0 to 1, or nil.
	Confidence           *float64
	Candidates           []parking.Candidate
	Country, Make, Color string
	// Pictures are parts of the body, decoded if they were text, the most telling first.
	Pictures []Picture
}

// Picture is one picture in a request.
type Picture struct {
	// ContentType is image/jpeg or image/png.
	ContentType string
	Data        []byte
}
