package message

import (
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/connectors/rabbitmq/internal/openfaas"
)

// Dead is what a dead letter says of why it is one.
type Dead struct {
	Reason   string
	Function string // that failed, "" if that is not known
	Status   int    // of the last call's HTTP response, 0 if there was none
	Attempts int
	// First and Last are when the first and the last attempt failed, zero if nothing
	// tells, or a time in the future.
	First, Last time.Time
	// Since is when the message became a dead letter: at its last attempt, or as the
	// broker says when it made it one, or else no earlier than it was published. It is
	// zero if nothing tells, or a time in the future.
	Since time.Time
	// Original is the publisher's table of headers in the encoding of AMQP if it cannot be
	// read as a whole, and fits.
	Original []byte
}

// ReadDead reads the headers of a dead letter.
func ReadDead(d *amqp.Delivery, now time.Time) Dead {
	h := d.Headers
	dead := Dead{
		Reason: Clip(text(h, HeaderReason), MaxReason), Function: functionName(text(h, HeaderFunction)),
		Status: number(h, HeaderStatus, 999), Attempts: number(h, HeaderAttempts, openfaas.AttemptsLimit),
		First: notAfter(now, instant(h, HeaderFirstTime)), Last: notAfter(now, instant(h, HeaderLastTime)),
		Since: since(d, now),
	}
	if dead.Reason == "" {
		dead.Reason = "dead-lettered by the broker"
		if reason := text(h, "x-first-death-reason"); reason != "" {
			dead.Reason += ": " + Clip(reason, MaxReason)
		}
	}
	if reason := unreadable(h); reason != "" {
		dead.Original, _ = h[HeaderOriginal].([]byte)
		if !strings.HasPrefix(dead.Reason, unreadablePrefix) {
			dead.Reason += "; " + reason
		}
	}
	return dead
}

func since(d *amqp.Delivery, now time.Time) time.Time {
	if last := notAfter(now, instant(d.Headers, HeaderLastTime)); !last.IsZero() {
		return last
	}
	if deaths, ok := d.Headers[headerDeath].([]any); ok && len(deaths) > 0 {
		if death, ok := deaths[0].(amqp.Table); ok {
			if at, _ := death["time"].(time.Time); !notAfter(now, at).IsZero() {
				return at
			}
		}
	}
	return notAfter(now, published(d))
}

// notAfter returns an instant, zero if it is after now.
func notAfter(now, t time.Time) time.Time {
	if t.After(now) {
		return time.Time{}
	}
	return t
}
