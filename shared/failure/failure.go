// Package failure turns errors into text that callers may read: which part failed, and
// how. Callers of a function may be strangers, and the text of an error contains
// addresses, URLs and paths: it belongs in the log.
package failure

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// failed is an error of a part.
type failed struct {
	error
	part, kind string
}

func (f *failed) Unwrap() error { return f.error }

// In marks an error as one of a part, such as "Redis". The text of the error stays as
// it is; nil stays nil.
func In(part string, err error) error { return New(part, "", err) }

// New is [In] for an error whose kind is known: a verb and its object, such as "answers
// 503". Callers may read both part and kind.
func New(part, kind string, err error) error {
	if err == nil {
		return nil
	}
	return &failed{err, part, kind}
}

// odd is the kind of an answer that makes no sense.
const odd = "gives an answer that makes no sense"

// Odd is [In] for a response of a part that makes no sense. It is not an outage.
func Odd(part string, err error) error { return New(part, odd, err) }

// Outage reports whether an error means that a part cannot be used now, whatever the
// request: it cannot be reached, does not answer, or refuses because of its state.
// Every other error is about the request itself. A Redis reply is about the request
// only if it concerns the command or its keys.
func Outage(err error) bool {
	for f, found := errors.AsType[*failed](err); found; f, found = errors.AsType[*failed](f.error) {
		if f.kind == odd {
			return false
		}
	}
	reply, ok := redisReply(err)
	if !ok {
		return err != nil
	}
	switch code, text, _ := strings.Cut(reply, " "); code {
	case "ERR":
		return strings.HasPrefix(text, "max number of clients")
	case "WRONGTYPE", "CROSSSLOT":
		return false
	default:
		return true
	}
}

// redisReply returns the error that a Redis replied with, if it is one.
func redisReply(err error) (text string, ok bool) {
	reply, ok := errors.AsType[interface {
		error
		RedisError()
	}](err)
	if !ok {
		return "", false
	}
	return reply.Error(), true
}

// Told returns what callers may read of an error: the outermost part that it is marked
// with, and the kind of failure. If no mark has a kind, the result of a method Detail()
// string takes its place, which callers may read, too.
func Told(err error) string {
	part, kind := "", ""
	rest := err
	for f, found := errors.AsType[*failed](rest); found && kind == ""; f, found = errors.AsType[*failed](rest) {
		if part == "" {
			part = f.part
		}
		kind, rest = f.kind, f.error
	}
	if part == "" {
		part = "a part of the system"
	}
	if kind == "" {
		if known, ok := errors.AsType[interface {
			error
			Detail() string
		}](err); ok {
			return part + ": " + known.Detail()
		}
		kind = kindOf(err)
	}
	return part + " " + kind
}

// Detailed returns an error with a method Detail() string, whose result is what callers
// may read of err. nil stays nil.
func Detailed(err error) error {
	if err == nil {
		return nil
	}
	return public{err}
}

type public struct{ error }

func (p public) Unwrap() error { return p.error }

// Detail returns the public text.
func (p public) Detail() string { return Told(p.error) }

// kindOf derives the kind of an error from its type.
func kindOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "was not waited for"
	case errors.Is(err, syscall.ECONNREFUSED): // also if the retries took all the time
		return "refuses connections"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "does not answer in time"
	case is[*net.DNSError](err):
		return "cannot be found by its name"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "ended the connection"
	case is[*tls.CertificateVerificationError](err), is[tls.RecordHeaderError](err), is[tls.AlertError](err):
		return "cannot be reached with TLS"
	case is[*net.OpError](err):
		return "cannot be reached"
	}
	// The reply of a Redis begins with a code; what follows may be an address.
	if reply, ok := redisReply(err); ok {
		code, _, _ := strings.Cut(reply, " ")
		if code != "" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
			return "refuses with " + code
		}
	}
	return "cannot be used now"
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
