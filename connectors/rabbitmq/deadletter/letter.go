package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/message"
)

// Letter is a message that no function could handle.
type Letter struct {
	// ID is the message id, or made of the body if the publisher gave none.
	ID string
	// Queue is the queue that the message came from.
	Queue string
	// Reason says why it is a dead letter.
	Reason string
	// Function is the one that failed, "" if that is not known.
	Function string
	// Status is the HTTP status of the last call, 0 if it had none.
	Status int
	// Attempts is how many have failed.
	Attempts int
	// First and Last are when the first and the last attempt failed, zero if that is
	// not known or in the future.
	First, Last time.Time
	// Since is when it became a dead letter, zero if that is not known.
	Since       time.Time
	ContentType string
	// Headers are those of the publisher, as far as they can be read.
	Headers map[string]any
	// Original is the publisher's table of headers in the encoding of AMQP, if it
	// cannot be read as a whole and fits.
	Original []byte
	Body     []byte
}

// Filter selects dead letters: those that fulfil each of its fields that is set. The
// zero value selects all.
type Filter struct {
	IDs      []string // one of these
	Reason   string   // the reason contains this
	Function string   // the function that failed
	// Before selects those that became dead letters earlier. One of which that is not
	// known is not selected.
	Before time.Time
	Match  func(*Letter) bool
}

// selects reports whether the filter selects a dead letter.
func (f Filter) selects(d *Letter) bool {
	if !f.Before.IsZero() && (d.Since.IsZero() || !d.Since.Before(f.Before)) || f.Match != nil && !f.Match(d) {
		return false
	}
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, d.ID)) && strings.Contains(d.Reason, f.Reason) && (f.Function == "" || f.Function == d.Function)
}

// newLetter reads a message that is in the dead letters of queue.
func newLetter(queue string, d *amqp.Delivery) Letter {
	dead := message.ReadDead(d, time.Now())
	letter := Letter{
		ID: d.MessageId, Queue: queue, Reason: dead.Reason, Function: dead.Function, Status: dead.Status, Attempts: dead.Attempts,
		First: dead.First, Last: dead.Last, Since: dead.Since, Original: dead.Original,
		ContentType: d.ContentType, Headers: message.Original(d.Headers, queue), Body: d.Body,
	}
	if letter.ID == "" {
		sum := sha256.Sum256(d.Body)
		letter.ID = "sha256:" + hex.EncodeToString(sum[:6])
	}
	return letter
}
