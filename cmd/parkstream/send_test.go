package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/cmd/internal/eventfile"
	"parkstream/shared/broker"
	"parkstream/shared/broker/brokertest"
	"parkstream/shared/eventually"
)

// TestSendWithoutRabbitMQ wants an answer at once, not a wait without end, and no
// password in it.
func TestSendWithoutRabbitMQ(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	events := write("events.jsonl", `{"id":"e1","vehicle_plate":"P","entry_date_time":"2026-11-23T08:15:00Z"}`)
	for _, tt := range []struct{ name, urlFile, want string }{
		{"no file", filepath.Join(dir, "nothing"), "no such file"},
		{"refused", write("refused", "amqp://user:hunter2@127.0.0.1:1/"), "connection refused"},
		{"no URL", write("garbage", "http://user:hunter2@127.0.0.1:1/"), "not of the form amqp://"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := sendCommand{File: events, Format: "auto", RabbitMQURLFile: tt.urlFile}.Run(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			t.Errorf("%s: waited, then %v", tt.name, err)
		case !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "does `parkstream up` run?") || strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestSendPaceIsANumber(t *testing.T) {
	for _, pace := range []float64{-1, math.NaN()} {
		if err := (sendCommand{File: "nothing", Pace: pace}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "--pace") {
			t.Errorf("%g: %v", pace, err)
		}
	}
}

func TestSendCameraFlags(t *testing.T) {
	for want, c := range map[string]sendCommand{
		"needs --camera":           {Format: "hikvision"},
		"needs --zone":             {Format: "hikvision", sendCamera: sendCamera{Camera: "c"}},
		"is no time zone":          {Format: "hikvision", sendCamera: sendCamera{Camera: "c", Zone: "Berlin"}},
		"Local":                    {Format: "hikvision", sendCamera: sendCamera{Camera: "c", Zone: "Local"}},
		"want entry or exit":       {Format: "hikvision", sendCamera: sendCamera{Camera: "c", Zone: "UTC", Direction: map[string]string{"in": "into"}}},
		"--camera and --site":      {Format: "auto", sendCamera: sendCamera{Camera: strings.Repeat("c", 1000), Zone: "UTC"}},
		"none of auto, jsonl":      {Format: "other"},
		"--zone is that of a":      {Format: "auto", sendCamera: sendCamera{Zone: "UTC"}},
		"--site is that of a":      {Format: "csv", sendCamera: sendCamera{Site: "north"}},
		"--gate is that of a":      {Format: "jsonl", sendCamera: sendCamera{Gate: "1"}},
		"--kind is that of a":      {Format: "auto", sendCamera: sendCamera{Kind: "exit"}},
		"--dates is that of a":     {Format: "auto", sendCamera: sendCamera{Dates: "dmy"}},
		"--direction is that of a": {Format: "auto", sendCamera: sendCamera{Direction: map[string]string{"in": "entry"}}},
		"need the --format of a ":  {Format: "auto", More: []string{"other"}},
		"no such file":             {Format: recordedFormat, sendCamera: sendCamera{Camera: "c", Zone: "UTC"}},
	} {
		c.File = filepath.Join(t.TempDir(), "nothing")
		if _, err := c.source(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// captureStderr returns a function that reads the output on the terminal so far.
func captureStderr(t *testing.T) (said func() string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = file
	t.Cleanup(func() {
		os.Stderr = stderr
		_ = file.Close()
	})
	return func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

// awaitSaid waits until the output contains a text.
func awaitSaid(t *testing.T, said func() string, want string) {
	t.Helper()
	eventually.Succeeds(t, "it says "+want, func() error {
		if text := said(); !strings.Contains(text, want) {
			return fmt.Errorf("said %q", text)
		}
		return nil
	})
}

// events returns a CSV with rows from a number on, whose ids are their lines.
func events(first, n int) string {
	var text strings.Builder
	if first == 2 {
		text.WriteString("id,vehicle_plate,entry_date_time,exit_date_time\n")
	}
	for i := first; i < first+n; i++ {
		entry, exit := "2026-11-23T08:15:00Z", ""
		if i%2 == 1 {
			entry, exit = exit, entry
		}
		fmt.Fprintf(&text, "%d,P %d,%s,%s\n", i, i, entry, exit)
	}
	return text.String()
}

func TestSend(t *testing.T) {
	node := rabbitMQ(t)
	proxy := brokertest.NewProxy(t, node.URL())
	dir := t.TempDir()
	urlFile := filepath.Join(dir, "rabbitmq-url")
	if err := os.WriteFile(urlFile, []byte(proxy.Through(node.URL())), 0o600); err != nil {
		t.Fatal(err)
	}
	command := sendCommand{File: filepath.Join(dir, "events.csv"), Format: "auto", RabbitMQURLFile: urlFile}
	write := func(t *testing.T, text string) {
		t.Helper()
		if err := os.WriteFile(command.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := broker.Dial(t.Context(), broker.Config{URLs: func() ([]string, error) { return []string{node.URL()}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// arrived empties the queues and returns how often each id was in them.
	arrived := func(t *testing.T) map[string]int {
		t.Helper()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		ids := make(map[string]int)
		for _, queue := range []string{eventfile.Entries, eventfile.Exits} {
			for {
				d, found, err := ch.Get(queue, true)
				if err != nil {
					t.Fatal(err)
				}
				if !found {
					break
				}
				ids[d.MessageId]++
			}
		}
		return ids
	}
	// complete empties the queues and wants every row of a file in them.
	complete := func(t *testing.T, n int) {
		t.Helper()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		entries, err1 := ch.Consume(eventfile.Entries, "", true, false, false, false, nil)
		exits, err2 := ch.Consume(eventfile.Exits, "", true, false, false, false, nil)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		missing := make(map[string]bool, n)
		for i := 2; i < n+2; i++ {
			missing[strconv.Itoa(i)] = true
		}
		for deadline := time.After(time.Minute); len(missing) > 0; {
			select {
			case d := <-entries:
				delete(missing, d.MessageId)
			case d := <-exits:
				delete(missing, d.MessageId)
			case <-deadline:
				t.Fatalf("%d of %d rows have not arrived", len(missing), n)
			}
		}
		if err := ch.Close(); err != nil {
			t.Fatal(err)
		}
		arrived(t) // what came twice
	}
	// through has standard input be a pipe with a text that does not end.
	through := func(t *testing.T, text string) {
		t.Helper()
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		stdin := os.Stdin
		os.Stdin = out
		t.Cleanup(func() { os.Stdin = stdin; _ = out.Close(); _ = in.Close() })
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("the connection is cut twice", func(t *testing.T) {
		const n = 12000
		write(t, events(2, n))
		for _, queue := range []string{eventfile.Entries, eventfile.Exits} {
			if _, err := broker.DeclareQueue(conn, queue); err != nil {
				t.Fatal(err)
			}
		}
		said := captureStderr(t)
		sent := make(chan error, 1)
		go func() { sent <- command.Run(t.Context()) }()
		await := func(exits int) {
			ch, err := conn.Channel()
			if err != nil {
				t.Fatal(err)
			}
			defer ch.Close()
			for q := (amqp.Queue{}); q.Messages < exits; {
				if q, err = ch.QueueDeclarePassive(eventfile.Exits, true, false, false, false, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		await(1)
		proxy.Pause()
		awaitSaid(t, said, " events confirmed, waiting: RabbitMQ has not confirmed what was published")
		proxy.Cut()
		proxy.Resume()
		await(n / 4)
		proxy.Cut()
		if err := <-sent; err != nil {
			t.Error(err)
		}
		complete(t, n)
		if !strings.Contains(said(), "12000 events confirmed in ") {
			t.Errorf("said %q", said())
		}
	})

	t.Run("records are refused", func(t *testing.T) {
		write(t, events(2, 10)+"11,\"P 11,2026-11-23T08:15:00Z,\n"+events(13, 5)+"a,b\n"+events(19, 1))
		said := captureStderr(t)
		err := command.Run(t.Context())
		if err == nil || err.Error() != "of 18 records 16 are confirmed and 2 are refused" {
			t.Error(err)
		}
		first, second := strings.Index(said(), "line 12: a quote"), strings.Index(said(), "line 18: it has 2 fields")
		if first < 0 || second < first {
			t.Errorf("said %q", said())
		}
		if ids := arrived(t); len(ids) != 16 {
			t.Errorf("%d have arrived", len(ids))
		}
		strict := command
		strict.Strict = true
		if err := strict.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "of 11 records 10 are confirmed and 1 are refused") || !strings.Contains(err.Error(), "--from-line 12 ") {
			t.Errorf("strict: %v", err)
		}
		if ids := arrived(t); len(ids) != 10 {
			t.Errorf("%d have arrived", len(ids))
		}
		rest := command
		rest.FromLine = 19
		if err := rest.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if ids := arrived(t); len(ids) != 1 || ids["19"] != 1 {
			t.Errorf("%v have arrived", ids)
		}
	})

	t.Run("there is no event", func(t *testing.T) {
		captureStderr(t)
		for text, want := range map[string]string{
			"": "events.csv: it is empty", "\n\n": "events.csv: it is empty", events(2, 0): "events.csv has no event", "\x1f\x8b\x08": "gunzip",
		} {
			write(t, text)
			if err := command.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", text, err)
			}
		}
		folder := command
		folder.File = dir
		if err := folder.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is a directory") {
			t.Error(err)
		}
	})

	t.Run("recorded requests and exported tables of a camera", func(t *testing.T) {
		captureStderr(t)
		recorded := command
		recorded.File, recorded.Format = "../../shared/camera/testdata/dahua/tollgate.json", recordedFormat
		recorded.More = []string{"../../shared/camera/testdata/hikvision/form.http", "../../shared/camera/testdata/hikvision/motion.xml"}
		recorded.sendCamera = sendCamera{Camera: "gate-1", Zone: "Europe/Berlin", Kind: "both", Direction: map[string]string{"Obverse": "entry", "forward": "exit"}}
		checked := recorded
		checked.Check = true
		if err := checked.Run(t.Context()); err != nil || len(arrived(t)) > 0 {
			t.Errorf("checked: %v", err)
		}
		if err := recorded.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if ids := arrived(t); len(ids) != 2 {
			t.Errorf("%v have arrived", ids)
		}
		write(t, "Kennzeichen;Zeitpunkt\nB-AB 1234;23.11.2026 08:15:30\nB-AB 1235;gestern\n")
		exported := command
		exported.sendCamera = sendCamera{Camera: "gate-1", Zone: "Europe/Berlin", Kind: "entry"}
		if err := exported.Run(t.Context()); err == nil || err.Error() != "of 2 records 1 are confirmed and 1 are refused" {
			t.Error(err)
		}
		if ids := arrived(t); len(ids) != 1 {
			t.Errorf("%v have arrived", ids)
		}
		exported.Check = true
		if err := exported.Run(t.Context()); err == nil || err.Error() != "of 2 records 1 are refused" {
			t.Error(err)
		}
	})

	t.Run("what comes through a pipe is not held back, and Ctrl-C ends the wait for more", func(t *testing.T) {
		through(t, events(2, 7))
		captureStderr(t)
		piped := command
		piped.File = "-"
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sent := make(chan error, 1)
		go func() { sent <- piped.Run(ctx) }()
		complete(t, 7)
		cancel()
		if err := <-sent; err == nil || !strings.Contains(err.Error(), "interrupted: of 7 records 7 are confirmed and 0 are refused; what comes before line 8 is done") {
			t.Error(err)
		}
	})

	t.Run("there is an alarm, then no connection", func(t *testing.T) {
		const n = 3000
		write(t, events(2, n))
		if _, err := node.Ctl(t.Context(), "set_vm_memory_high_watermark", "0"); err != nil {
			t.Fatal(err)
		}
		start := func(ctx context.Context) (said func() string, sent chan error) {
			said, sent = captureStderr(t), make(chan error, 1)
			go func() { sent <- command.Run(ctx) }()
			awaitSaid(t, said, "0 events confirmed, waiting: RabbitMQ has an alarm and takes no messages: ")
			return said, sent
		}
		ctx, cancel := context.WithCancel(t.Context())
		_, sent := start(ctx)
		cancel()
		if err := <-sent; err == nil || !strings.Contains(err.Error(), "0 are confirmed and 0 are refused, 1000 are not known to be confirmed; what comes before line 2 is done") {
			t.Error(err)
		}
		said, sent := start(t.Context())
		proxy.SetDown(true)
		proxy.Cut()
		awaitSaid(t, said, "waiting: there is no connection to RabbitMQ")
		proxy.SetDown(false)
		if _, err := node.Ctl(t.Context(), "set_vm_memory_high_watermark", "0.4"); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		complete(t, n)
	})
}
