package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"parkstream/cmd/parkstream/internal/eventfile"
	"parkstream/shared/broker"
)

const (
	// sendWindow is how many events are published before their confirms are
	// awaited.
	sendWindow = 1000
	// progressInterval is how often progress is shown.
	progressInterval = time.Second
	// mistakesShown is how many bad lines are quoted.
	mistakesShown = 10
)

type sendCommand struct {
	File            string  `arg:"" help:"JSONL or CSV file with events; - is standard input."`
	Format          string  `enum:"auto,jsonl,csv" default:"auto" help:"jsonl, csv, or auto: by the file's extension."`
	Pace            float64 `default:"0" help:"Publish at the recorded pace times this factor; 0 is as fast as possible."`
	Strict          bool    `help:"Stop at the first line that is no event."`
	RabbitMQURLFile string  `name:"rabbitmq-url-file" default:".parkstream/secrets/rabbitmq-url" help:"File with the URL of RabbitMQ."`
}

// Run publishes the events of the file. What cannot be published is reported
// with its line, and makes the exit code 1.
func (c sendCommand) Run(ctx context.Context) error {
	if !(c.Pace >= 0) { // also when it is NaN
		return fmt.Errorf("--pace is %g, want 0 or more", c.Pace)
	}
	in := os.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	events, err := c.reader(in)
	if err != nil {
		return err
	}
	config := broker.Config{
		URLs: broker.URLFile(c.RabbitMQURLFile), Name: "parkstream-send",
		// An outage under way is waited for, and the user is told so.
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
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
	for _, queue := range []string{eventfile.Entries, eventfile.Exits} {
		if _, err := publisher.DeclareQueue(ctx, queue); err != nil {
			return err
		}
	}
	s := &sending{sendCommand: c, publisher: publisher, started: time.Now(), terminal: isTerminal(os.Stderr)}
	err = s.all(ctx, events)
	s.progress(true)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted: %d events are confirmed", s.confirmed)
	case err != nil:
		return err
	case s.mistakes > 0 || s.failed > 0:
		return fmt.Errorf("%d events are confirmed, %d lines are no events, %d events could not be published", s.confirmed, s.mistakes, s.failed)
	}
	return nil
}

func (c sendCommand) reader(in io.Reader) (eventfile.Reader, error) {
	if c.Format == "csv" || c.Format == "auto" && strings.EqualFold(filepath.Ext(c.File), ".csv") {
		return eventfile.NewCSV(in)
	}
	return eventfile.NewJSONL(in), nil
}

// sending is one run of the command.
type sending struct {
	sendCommand
	publisher *broker.Publisher
	started   time.Time
	first     time.Time // recorded time of the first event
	shown     time.Time
	terminal  bool

	window                      []eventfile.Event
	confirmed, mistakes, failed int
}

func (s *sending) all(ctx context.Context, events eventfile.Reader) error {
	for {
		e, err := events.Next()
		var mistake *eventfile.LineError
		switch {
		case errors.Is(err, io.EOF):
			return s.flush(ctx)
		case errors.As(err, &mistake):
			if s.mistakes++; s.mistakes <= mistakesShown {
				s.clear()
				fmt.Fprintln(os.Stderr, mistake)
			}
			if s.Strict {
				return errors.Join(s.flush(ctx), mistake)
			}
			continue
		case err != nil:
			return errors.Join(s.flush(ctx), err)
		}
		if err := s.wait(ctx, e); err != nil {
			return err
		}
		if s.window = append(s.window, e); len(s.window) == sendWindow {
			if err := s.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// wait holds an event back until its time has come, after what is due before it
// is published.
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

func (s *sending) flush(ctx context.Context) error {
	if len(s.window) == 0 {
		return nil
	}
	msgs := make([]broker.Message, len(s.window))
	for i, e := range s.window {
		msgs[i] = broker.Message{Queue: e.Queue, ID: messageID(e.ID), Body: e.Body, ContentType: "application/json"}
	}
	err := s.publisher.Publish(ctx, msgs)
	var some *broker.PublishError
	if errors.As(err, &some) {
		for i, reason := range some.Failed {
			if s.failed++; s.failed <= mistakesShown {
				s.clear()
				fmt.Fprintf(os.Stderr, "line %d: %v\n", s.window[i].Line, reason)
			}
		}
		s.confirmed += len(msgs) - len(some.Failed)
	} else if err == nil {
		s.confirmed += len(msgs)
	}
	s.window = s.window[:0]
	s.progress(false)
	if err != nil && some == nil {
		return err
	}
	return ctx.Err()
}

// messageID leaves out an id that AMQP cannot carry: the event's own counts.
func messageID(id string) string {
	const most = 255
	if len(id) > most {
		return ""
	}
	return id
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

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
