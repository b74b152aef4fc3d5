package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"

	"parkstream/cmd/internal/eventfile"
	"parkstream/shared/broker"
	"parkstream/shared/parking"
	"parkstream/shared/process"
	"parkstream/shared/redis"
	"parkstream/shared/summary/summaryclient"
)

// MonolithArg is the first argument that makes the program run [Monolith].
const MonolithArg = "monolith"

// Monolith is the classic design, written for the comparison. It is one process with a
// goroutine for each queue. It consumes with automatic acknowledgement, and loses
// unprocessed messages when it dies. It does one HSET for each event and one POST of
// the stay for each exit, to the same endpoint as ours. It ends after the given numbers
// of events.
type Monolith struct {
	// Entries and Exits are how many of each it works off.
	Entries, Exits int
	// Secrets is the folder of the secrets.
	Secrets string
	// SummaryURL is the URL to which stays are posted.
	SummaryURL string
}

// MonolithResult is what the monolith has measured.
type MonolithResult struct {
	// Seconds from the first delivery to the end of the last event.
	Seconds float64 `json:"seconds"`
}

// Run works off the events.
func (m Monolith) Run(ctx context.Context) (MonolithResult, error) {
	client, err := redis.Open(process.NewSecret(m.Secrets, "redis-url").Value)
	if err != nil {
		return MonolithResult{}, fmt.Errorf("open the Redis of the monolith: %w", err)
	}
	defer client.Close()
	db := client.Current()
	conn, err := broker.Dial(ctx, broker.Config{URLs: broker.URLs(process.NewSecret(m.Secrets, "rabbitmq-url").Value), Name: "monolith"})
	if err != nil {
		return MonolithResult{}, err
	}
	defer conn.Close()
	post := summaryclient.New(m.SummaryURL, process.NewSecret(m.Secrets, "summary-token").Value)
	defer post.Close()

	var once sync.Once
	var first time.Time
	began := func() { once.Do(func() { first = time.Now() }) }
	work := []struct {
		queue  string
		events int
		handle func(context.Context, []byte) error
	}{
		{eventfile.Entries, m.Entries, func(ctx context.Context, body []byte) error { return classicEntry(ctx, db, body) }},
		{eventfile.Exits, m.Exits, func(ctx context.Context, body []byte) error { return classicExit(ctx, db, post, body) }},
	}
	err = inParallel(len(work), func(i int) error {
		w := work[i]
		if w.events == 0 {
			return nil
		}
		ch, err := conn.Channel()
		if err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		defer ch.Close()
		const autoAck = true
		deliveries, err := ch.ConsumeWithContext(ctx, w.queue, "", autoAck, false, false, false, amqp.Table{})
		if err != nil {
			return fmt.Errorf("consume %s: %w", w.queue, err)
		}
		for range w.events {
			d, err := next(ctx, deliveries)
			if err != nil {
				return err
			}
			began()
			if err := w.handle(ctx, d.Body); err != nil {
				return err
			}
		}
		return nil
	})
	return MonolithResult{Seconds: time.Since(first).Seconds()}, err
}

func classicKey(plate string) string { return "monolith:" + plate }

// classicEntry writes an entry into the vehicle's hash.
func classicEntry(ctx context.Context, db goredis.UniversalClient, body []byte) error {
	var e parking.EntryEvent
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("read an entry: %w", err)
	}
	if err := db.HSet(ctx, classicKey(e.VehiclePlate), "entry_id", e.ID, "entry_date_time", e.EntryTime.Format(time.RFC3339Nano)).Err(); err != nil {
		return fmt.Errorf("store an entry: %w", err)
	}
	return nil
}

// classicExit reads the entry, writes the exit into the same hash and posts the
// stay.
func classicExit(ctx context.Context, db goredis.UniversalClient, post *summaryclient.Client, body []byte) error {
	var e parking.ExitEvent
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("read an exit: %w", err)
	}
	key := classicKey(e.VehiclePlate)
	found, err := db.HGetAll(ctx, key).Result()
	if err != nil {
		return fmt.Errorf("look up an entry: %w", err)
	}
	stay := parking.Stay{
		ID: e.ID, Site: parking.DefaultSite, Plate: e.VehiclePlate, ExitTime: e.ExitTime,
		EntryID: found["entry_id"], Revision: 1,
	}
	if stay.EntryID != "" {
		if stay.EntryTime, err = time.Parse(time.RFC3339Nano, found["entry_date_time"]); err != nil {
			return fmt.Errorf("read the time of an entry: %w", err)
		}
	}
	return errors.Join(
		db.HSet(ctx, key, "exit_id", e.ID, "exit_date_time", e.ExitTime.Format(time.RFC3339Nano)).Err(),
		post.Post(ctx, []parking.Stay{stay}))
}
