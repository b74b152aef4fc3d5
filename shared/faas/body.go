package faas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"parkstream/shared/access"
)

// Admission decides on a call before a byte of its body is read. It gets the method,
// the path (after /function/<name>), the query, the header and the announced length; the
// request's body is empty. It returns the context for the call, which has the principal
// ([access.From]), and how many bytes the body may have. 0 leaves the body unread, and
// MAX_BODY_BYTES bounds the number. If the call is not admitted, the response is what
// the Admission wrote to w.
//
// Everything that can be decided without the body belongs here: who calls, and what the
// caller may do.
type Admission func(w http.ResponseWriter, r *http.Request) (ctx context.Context, maxBody int64, admitted bool)

// AnyBody is the limit of an [Admission] that allows what the process allows.
const AnyBody = math.MaxInt64

const (
	// defaultMemory is the memory limit of the functions in stack.yml.
	defaultMemory = 128 << 20
	// bodiesShare is the part of the memory that bodies may take.
	bodiesShare = 4
	// firstRead is the initial size of a body's buffer, which doubles as the bytes
	// arrive: an announced length costs nothing. It is not counted, and small calls are
	// served while large ones are refused. The bound of a process's connections bounds
	// it, too.
	firstRead = 16 << 10
	// growth is how many times its limit a body takes at most: while it grows there
	// are two of it.
	growth = 2
	// A body that uses counted memory has to progress by stallBytes in each
	// stallTimeout, or end: other bodies lack that memory.
	stallBytes   = 64 << 10
	stallTimeout = 5 * time.Second
)

// bodiesLimit is the default of MAX_BODY_BYTES_IN_FLIGHT: a quarter of the memory
// that GOMEMLIMIT allows, or of 128 MiB, and enough for one body.
func bodiesLimit(maxBody int64) int64 {
	memory := debug.SetMemoryLimit(-1) // a negative limit changes nothing
	if memory == math.MaxInt64 {
		memory = defaultMemory
	}
	return max(memory/bodiesShare, growth*maxBody)
}

// Errors of a body for which there is not enough memory now.
var (
	errBusy  = errors.New("the bodies of the calls in flight take all memory that they may take")
	errShare = errors.New("the bodies of this login's calls in flight take all memory that one login may take")
)

// bodies bounds the memory that the bodies of all calls take together, and those of one
// principal.
type bodies struct {
	limit int64
	share int64         // of limit, for one principal
	stall time.Duration // stallTimeout

	mu   sync.Mutex
	held int64
	by   map[string]int64 // held by each principal that has a share; no zeros
}

// principalShare is the part of the bodies' memory that one principal may take, if that
// is enough for one body.
const principalShare = 4

func newBodies(limit, maxBody int64) *bodies {
	return &bodies{limit: limit, share: max(limit/principalShare, growth*maxBody), stall: stallTimeout, by: make(map[string]int64)}
}

// reserve returns an empty reservation for a call.
func (b *bodies) reserve(p access.Principal) *reservation {
	if p.Exempt() {
		return &reservation{of: b}
	}
	return &reservation{of: b, by: string(p.Role) + " " + p.Name}
}

// pace aborts a body that stalls while it uses counted memory.
type pace struct {
	conn  *http.ResponseController
	stall time.Duration
	end   time.Time // of reading the whole request
	next  int       // the size at which the deadline is renewed, from firstRead on
}

// arrived takes the number of bytes that have arrived, and renews the deadline if the
// body progresses. It does nothing on a server without deadlines.
func (p *pace) arrived(n int) {
	if n < p.next {
		return
	}
	p.next = n + stallBytes
	deadline := time.Now().Add(p.stall)
	if deadline.After(p.end) {
		deadline = p.end
	}
	_ = p.conn.SetReadDeadline(deadline)
}

// finish restores the deadline of the whole request. net/http continues to read, to
// notice when the caller leaves, and an early deadline would end the call's context.
func (p *pace) finish() {
	if p.next > firstRead {
		_ = p.conn.SetReadDeadline(p.end)
	}
}

// reservation is the part that one call holds.
type reservation struct {
	of   *bodies
	by   string // the principal; empty: it has no share
	held int64
}

// resize makes the reservation cover n bytes, of which firstRead are not counted.
func (r *reservation) resize(n int64) error {
	n = max(0, n-firstRead)
	b, more := r.of, n-r.held
	if more == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case more > 0 && b.held+more > b.limit:
		return errBusy
	case more > 0 && r.by != "" && b.by[r.by]+more > b.share:
		return errShare
	}
	b.held, r.held = b.held+more, n
	if r.by == "" {
		return nil
	}
	if b.by[r.by] += more; b.by[r.by] == 0 {
		delete(b.by, r.by)
	}
	return nil
}

func (r *reservation) release() { _ = r.resize(0) } // only growing can fail

// read reads the body of a call, up to limit bytes. The reservation covers its
// memory until it is released.
func (r *reservation) read(req *http.Request, limit int64, p *pace) ([]byte, error) {
	tooLarge := &http.MaxBytesError{Limit: limit}
	size := req.ContentLength
	switch {
	case limit == 0 || size == 0:
		return nil, nil
	case size > limit:
		return nil, tooLarge
	case size < 0: // not announced: one byte more tells that it is too large
		size = limit + 1
	}
	defer p.finish()
	var body []byte
	for int64(len(body)) < size {
		p.arrived(len(body))
		if len(body) == cap(body) {
			grown := min(max(firstRead, growth*int64(cap(body))), size)
			if err := r.resize(grown + int64(cap(body))); err != nil { // both are there while one is copied
				return nil, err
			}
			body = append(make([]byte, 0, grown), body...)
			_ = r.resize(grown)
		}
		n, err := req.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, tooLarge
		case errors.Is(err, io.EOF) && req.ContentLength > int64(len(body)):
			return nil, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, err
		}
	}
	return body, nil
}

// refused turns an error of reading a body into a response. An incomplete body gets
// 408: a connector takes 400 for a rejected event.
func refused(err error) (status int, reason string) {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the request's body is larger than %d bytes", tooLarge.Limit)
	}
	if errors.Is(err, errBusy) || errors.Is(err, errShare) {
		return http.StatusTooManyRequests, err.Error() + " (MAX_BODY_BYTES_IN_FLIGHT): try again"
	}
	failed, network := errors.AsType[net.Error](err) // its text has addresses
	switch {
	case network && failed.Timeout():
		return http.StatusRequestTimeout, "the request's body did not arrive in time"
	case network || errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusRequestTimeout, "the connection was cut before the request's body had arrived"
	}
	return http.StatusBadRequest, "the request's body is not encoded as its header says"
}
