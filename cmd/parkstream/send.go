package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"parkstream/cmd/internal/eventfile"
	"parkstream/shared/broker"
)

const (
	// sendWindow and sendBytes bound the events that are published before their
	// confirms are awaited.
	sendWindow = 1000
	sendBytes  = 8 << 20
	// linger is how long a window that is not full waits for the next event, which
	// may be a long time in coming through a pipe.
	linger = 20 * time.Millisecond
	// progressInterval is how often progress is shown, waitInterval how often the
	// reason for waiting is.
	progressInterval = time.Second
	waitInterval     = 3 * time.Second
	// Delays before unconfirmed events are published again; they double up to the second.
	againDelay    = 100 * time.Millisecond
	againMaxDelay = 5 * time.Second
)

type sendCommand struct {
	File            string   `arg:"" help:"File with events as CSV or JSON; - is standard input. Or a table that a camera has exported, or with the --format of a camera a recorded request, or a folder of them."`
	More            []string `arg:"" optional:"" help:"More recorded requests of the camera."`
	Format          string   `default:"auto" help:"jsonl, csv, or auto: by the file's extension, else by how it begins. Recorded requests have the format ${camera_formats}; camera recognises it."`
	FromLine        int      `default:"1" help:"Leave out the records before this line, or the recorded requests before this one."`
	Check           bool     `help:"Check the whole file and publish nothing."`
	Pace            float64  `default:"0" help:"Publish at the recorded pace times this factor; 0 is as fast as possible."`
	Strict          bool     `help:"Stop at the first record that is no event."`
	RabbitMQURLFile string   `name:"rabbitmq-url-file" default:".parkstream/secrets/rabbitmq-url" help:"File with the URL of RabbitMQ."`
	sendCamera
}

// Run publishes the events of the file until each is confirmed. It reports an invalid
// record with its line. It returns an error if there was one, or no event at all.
func (c sendCommand) Run(ctx context.Context) error {
	if !(c.Pace >= 0) { // also when it is NaN
		return fmt.Errorf("--pace is %g, want 0 or more", c.Pace)
	}
	source, err := c.source()
	if err != nil {
		return err
	}
	defer source.Close()
	if c.Check {
		return c.check(ctx, source)
	}
	config := broker.Config{URLs: broker.URLs(func() (string, error) { return readURLFile(c.RabbitMQURLFile) }), Name: "parkstream-send"}
	// The publisher would wait for a RabbitMQ that never runs, too.
	conn, err := broker.Dial(ctx, config)
	if err == nil {
		err = conn.Close()
	}
	if err != nil {
		return fmt.Errorf("RabbitMQ cannot be reached (does `parkstream up` run? else name the file with its URL with --rabbitmq-url-file): %w", err)
	}
	publisher := broker.NewPublisher(config)
	defer publisher.Close()
	s := &sending{sendCommand: c, publisher: publisher, started: time.Now(), terminal: isTerminal(os.Stderr), patience: time.NewTicker(waitInterval)}
	defer s.patience.Stop()
	err = s.declare(ctx)
	if err == nil {
		err = s.all(ctx, s.read(ctx, source))
	}
	s.progress(true)
	return s.outcome(ctx, err)
}

func (c sendCommand) format() eventfile.Format {
	if c.Format != "auto" {
		return eventfile.Format(c.Format)
	}
	switch strings.ToLower(filepath.Ext(c.File)) {
	case ".jsonl", ".ndjson", ".json":
		return eventfile.JSONL
	}
	return eventfile.Auto
}

// sending is one run of the command.
type sending struct {
	sendCommand
	publisher *broker.Publisher
	started   time.Time
	first     time.Time // recorded time of the first event
	shown     time.Time
	terminal  bool
	patience  *time.Ticker // ticks when the reason for waiting is due on the terminal

	window             []eventfile.Event // in the order of the file, not yet confirmed
	bytes              int               // of the window's bodies
	line               int               // of the last record read
	confirmed, refused int
}

// outcome returns the summary for the user.
func (s *sending) outcome(ctx context.Context, err error) error {
	count := fmt.Sprintf("of %d records %d are confirmed and %d are refused", s.confirmed+s.refused+len(s.window), s.confirmed, s.refused)
	if len(s.window) > 0 {
		count += fmt.Sprintf(", %d are not known to be confirmed", len(s.window))
	}
	record := "line"
	if s.recorded() {
		record = "request"
	}
	rest := fmt.Sprintf("what comes before %s %d is done: --from-line %d goes on there, and events that arrive twice count once", record, s.next(), s.next())
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s; %s", count, rest)
	case err != nil && s.line > 0:
		return fmt.Errorf("%w; %s; %s", err, count, rest)
	case err != nil:
		return err
	case s.confirmed+s.refused == 0:
		return fmt.Errorf("%s has no event", s.name())
	case s.refused > 0:
		return errors.New(count)
	}
	return nil
}

func (c sendCommand) name() string {
	if c.File == "-" {
		return "standard input"
	}
	return c.File
}

// next returns the line to go on at. The last one may have more events than were
// read.
func (s *sending) next() int {
	if len(s.window) > 0 {
		return s.window[0].Line
	}
	return max(1, s.line)
}

// declare makes sure that the queues exist.
func (s *sending) declare(ctx context.Context) error {
	return s.await(func() error {
		for _, queue := range []string{eventfile.Entries, eventfile.Exits} {
			if _, err := s.publisher.DeclareQueue(ctx, queue); err != nil {
				return err
			}
		}
		return nil
	})
}

// await makes a call to RabbitMQ and reports to the user what it waits for.
func (s *sending) await(call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	for {
		select {
		case err := <-done:
			return err
		case <-s.patience.C:
			s.tell(nil)
		}
	}
}

// tell shows the reason for waiting; failed is the error of the last attempt to
// publish.
func (s *sending) tell(failed error) {
	s.clear()
	fmt.Fprintf(os.Stderr, "%d events confirmed, waiting: %v\n", s.confirmed, cmp.Or(s.publisher.Waiting(), failed, errNotConfirmed))
}

var errNotConfirmed = errors.New("RabbitMQ has not confirmed what was published")

// record is what a Reader returned.
type record struct {
	eventfile.Event
	err error
}

// read reads the file beside the publishing. A read that hangs, of a pipe in which
// nothing comes, ends with the process.
func (c sendCommand) read(ctx context.Context, source *source) <-chan record {
	records := make(chan record, 16)
	go func() {
		defer close(records)
		pass := func(r record) bool {
			select {
			case records <- r:
				return true
			case <-ctx.Done():
				return false
			}
		}
		events, err := source.open()
		if err != nil {
			pass(record{err: fmt.Errorf("%s: %w", c.name(), err)})
			return
		}
		for {
			e, err := events.Next()
			_, goesOn := errors.AsType[*eventfile.LineError](err)
			if errors.Is(err, io.EOF) || !pass(record{e, err}) || err != nil && !goesOn {
				return
			}
		}
	}()
	return records
}

// all publishes every event of the input, and returns when all are confirmed.
func (s *sending) all(ctx context.Context, records <-chan record) error {
	for {
		var idle <-chan time.Time // never, while nothing is to be published
		if len(s.window) > 0 && len(records) == 0 {
			idle = time.After(linger)
		}
		select {
		case r, more := <-records:
			if !more {
				return s.flush(ctx)
			}
			if err := s.take(ctx, r); err != nil {
				return err
			}
		case <-idle:
			if err := s.flush(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take handles one record.
func (s *sending) take(ctx context.Context, r record) error {
	bad, isBad := errors.AsType[*eventfile.LineError](r.err)
	switch {
	case isBad && bad.Line > 0 && bad.Line < s.FromLine, r.err == nil && r.Line < s.FromLine:
		return nil
	case isBad:
		s.line = max(s.line, bad.Line)
		s.refused++
		s.clear()
		fmt.Fprintln(os.Stderr, bad)
		if s.Strict {
			return errors.Join(s.flush(ctx), errors.New("stopped at the first record that is no event (--strict)"))
		}
		return nil
	case r.err != nil:
		return errors.Join(s.flush(ctx), r.err)
	}
	s.line = r.Line
	err := s.wait(ctx, r.Event)
	s.window, s.bytes = append(s.window, r.Event), s.bytes+len(r.Body)
	if err == nil && (len(s.window) >= sendWindow || s.bytes >= sendBytes) {
		err = s.flush(ctx)
	}
	return err
}

// wait returns when an event is due. If it is not due yet, wait first publishes the
// window.
func (s *sending) wait(ctx context.Context, e eventfile.Event) error {
	if s.Pace == 0 {
		return ctx.Err()
	}
	if s.first.IsZero() {
		s.first = e.Time
	}
	due := s.started.Add(time.Duration(float64(e.Time.Sub(s.first)) / s.Pace))
	delay := time.Until(due)
	if delay <= 0 {
		return ctx.Err()
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush publishes the window until every event is confirmed or ctx ends.
func (s *sending) flush(ctx context.Context) error {
	s.patience.Reset(waitInterval)
	for delay := againDelay; len(s.window) > 0; delay = min(2*delay, againMaxDelay) {
		err := s.publish(ctx)
		if s.progress(false); err == nil {
			break
		}
		if errors.Is(err, broker.ErrUnroutable) { // a queue was deleted
			err = errors.Join(err, s.declare(ctx))
		}
		for again := time.After(delay); again != nil; {
			select {
			case <-again:
				again = nil
			case <-s.patience.C:
				s.tell(err)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return ctx.Err()
}

// publish publishes the window once and leaves the unconfirmed events in it.
func (s *sending) publish(ctx context.Context) error {
	msgs := make([]broker.Message, len(s.window))
	for i, e := range s.window {
		msgs[i] = broker.Message{Queue: e.Queue, ID: e.ID, Body: e.Body, ContentType: "application/json"}
	}
	err := s.await(func() error { return s.publisher.Publish(ctx, msgs) })
	var failed map[int]error
	if some, ok := errors.AsType[*broker.PublishError](err); ok {
		failed = some.Failed
	}
	sent := len(s.window)
	left := s.window[:0]
	s.bytes = 0
	for i, e := range s.window {
		if failed[i] != nil {
			left, s.bytes = append(left, e), s.bytes+len(e.Body)
		}
	}
	s.window = left
	s.confirmed += sent - len(left)
	return err
}

func (s *sending) progress(last bool) {
	if !last && (!s.terminal || time.Since(s.shown) < progressInterval) {
		return
	}
	s.shown = time.Now()
	took := time.Since(s.started)
	s.clear()
	fmt.Fprintf(os.Stderr, "%d events confirmed in %s, %.0f/s", s.confirmed, took.Round(time.Millisecond), float64(s.confirmed)/took.Seconds())
	if last {
		fmt.Fprintln(os.Stderr)
	}
}

// clear empties the line of progress.
func (s *sending) clear() {
	if s.terminal {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
