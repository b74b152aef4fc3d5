package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/openfaas/faas-provider/logs"

	"parkstream/cmd/internal/logfile"
)

// linesKept is how many lines of a function faas-cli can read.
const linesKept = 2000

// logBook writes the output of a function to a file, and keeps the last lines for
// readers of the API.
type logBook struct {
	name string
	file *logfile.File

	mu      sync.Mutex
	rest    []byte // of a line without an end
	lines   []logs.Message
	readers map[chan logs.Message]struct{}
}

func openLogBook(dir, name string) (*logBook, error) {
	file, err := logfile.Open(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("open the log of function %s: %w", name, err)
	}
	return &logBook{name: name, file: file, readers: make(map[chan logs.Message]struct{})}, nil
}

// Write implements io.Writer for the output of the function.
func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.file.Write(p)
	b.rest = append(b.rest, p...)
	for {
		line, rest, found := bytes.Cut(b.rest, []byte("\n"))
		if !found {
			break
		}
		b.add(logs.Message{Name: b.name, Namespace: namespace, Instance: b.name, Timestamp: time.Now(), Text: string(line)})
		b.rest = rest
	}
	b.rest = bytes.Clone(b.rest)
	return n, err
}

func (b *logBook) add(m logs.Message) {
	if len(b.lines) == linesKept {
		b.lines = slices.Delete(b.lines, 0, linesKept/10)
	}
	b.lines = append(b.lines, m)
	for reader := range b.readers {
		select {
		case reader <- m:
		default: // a reader that does not keep up misses lines; the file has them
		}
	}
}

// Close closes the file and ends every reader.
func (b *logBook) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for reader := range b.readers {
		close(reader)
	}
	clear(b.readers)
	return b.file.Close()
}

// follow returns the lines kept and, if more are wanted, a channel of later ones, which
// leave closes.
func (b *logBook) follow(more bool) (kept []logs.Message, next chan logs.Message, leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept = slices.Clone(b.lines)
	if !more {
		return kept, nil, func() {}
	}
	next = make(chan logs.Message, linesKept)
	b.readers[next] = struct{}{}
	return kept, next, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.readers, next)
	}
}

// logs answers for an unknown function: the SDK answers every error of Query with 500
// and no reason.
func (g *Gateway) logs(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if name := r.URL.Query().Get("name"); g.find(name) == nil {
			refuse(w, http.StatusNotFound, fmt.Sprintf("function %q is not deployed", name))
			return
		}
		next(w, r)
	}
}

// Query implements the SDK's logs.Requester.
func (g *Gateway) Query(ctx context.Context, r logs.Request) (<-chan logs.Message, error) {
	f := g.find(r.Name)
	if f == nil {
		return nil, fmt.Errorf("function %q is not deployed", r.Name)
	}
	kept, next, leave := f.log.follow(r.Follow)
	if r.Since != nil {
		kept = slices.DeleteFunc(kept, func(m logs.Message) bool { return m.Timestamp.Before(*r.Since) })
	}
	if r.Tail > 0 && len(kept) > r.Tail {
		kept = kept[len(kept)-r.Tail:]
	}
	out := make(chan logs.Message)
	go func() {
		defer close(out)
		defer leave()
		send := func(m logs.Message) bool {
			select {
			case out <- m:
				return true
			case <-ctx.Done():
				return false
			}
		}
		for _, m := range kept {
			if !send(m) {
				return
			}
		}
		for next != nil {
			select {
			case m, open := <-next:
				if !open || !send(m) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
