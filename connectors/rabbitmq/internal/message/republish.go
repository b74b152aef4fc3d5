package message

import (
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// Failure is why a message is published again.
type Failure struct {
	Function string // that failed, "" if none was called
	Reason   string
	Status   int // of the call's HTTP response, 0 if there was none
	// Only reports that other functions listen to the queue, too: they have had the
	// message, or get it on their own.
	Only bool
}

// Republish returns a copy of the message for another queue: a retry queue, in which it
// waits for ttl, or the dead letters, with a ttl of 0. history is what the copy begins
// with.
func (d *Delivery) Republish(queue string, ttl time.Duration, history History, f Failure) broker.Message {
	next := d.headers
	next.history = history
	// A message that has to get to one function only stays so: the others have had it.
	if next.onlyFunction == "" && f.Only {
		next.onlyFunction = f.Function
	}
	if d.amqp.UserId != "" {
		next.userID = d.amqp.UserId
	}
	if d.amqp.Expiration != "" {
		next.expiration = d.amqp.Expiration
	}
	if v, ok := d.amqp.Headers[headerCopies]; ok {
		next.copies = v
	}
	h := Original(d.amqp.Headers, d.source.Queue)
	next.write(h, d.source.Queue)
	h[HeaderFunction] = f.Function
	h[HeaderReason] = Clip(f.Reason, MaxReason)
	h[HeaderStatus] = int32(f.Status)
	h[HeaderQueue] = d.source.Queue
	if next.deaths != nil {
		h[HeaderDeaths] = next.deaths
	}
	if ttl > 0 {
		move(h, headerDeath, HeaderDeaths) // the broker's record stands alone then
	} else if deathsOfBroker(h[HeaderDeaths]) {
		move(h, HeaderDeaths, headerDeath)
	}
	keepUnreadable(h, d.amqp.Headers)
	m := forward(&d.amqp, queue, h)
	m.TTL = ttl
	m.Fit = fitInto(next.omitted, d.source.FrameMax)
	return m
}

// Replay returns a copy of a dead letter for its queue, as it was first published; if
// several functions listen to the queue, for the one that failed. frameMax is that of
// the connection that it came over.
func Replay(d *amqp.Delivery, queue string, frameMax int) broker.Message {
	m := forward(d, queue, replayHeaders(d.Headers, queue))
	m.Fit = fitInto(text(d.Headers, HeaderOmitted), frameMax)
	return m
}

func replayHeaders(h amqp.Table, queue string) amqp.Table {
	to := Original(h, queue)
	past := readHeaders(&amqp.Delivery{Headers: h, RoutingKey: queue}, queue, time.Now())
	past.history = History{}
	past.write(to, queue)
	keepUnreadable(to, h)
	return to
}

// move renames a header if it is there.
func move(h amqp.Table, from, to string) {
	if v, there := h[from]; there {
		delete(h, from)
		h[to] = v
	}
}

// forward makes a message of d for another queue.
func forward(d *amqp.Delivery, queue string, headers amqp.Table) broker.Message {
	return broker.Message{
		Queue: queue, ID: d.MessageId, Body: d.Body, ContentType: d.ContentType, Headers: headers, Timestamp: d.Timestamp, Forwarded: true,
		ContentEncoding: d.ContentEncoding, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo, Type: d.Type, AppID: d.AppId, Priority: d.Priority,
	}
}

// Original returns a copy of the headers as the publisher sent them, with room
// for ours: without what this connector and the broker added on the way.
func Original(h amqp.Table, queue string) amqp.Table {
	c := make(amqp.Table, len(h)+10)
	for k, v := range h {
		if strings.HasPrefix(k, Prefix) || k == "x-delivery-count" || k == "x-acquired-count" || k == headerCopies {
			continue
		}
		c[k] = v
	}
	ours := func(v any) bool {
		name, _ := v.(string)
		return name == queue || name == broker.DeadQueue(queue) || strings.HasPrefix(name, retryPrefix(queue))
	}
	if list, ok := c[headerDeath].([]any); ok {
		list = slices.DeleteFunc(slices.Clone(list), func(d any) bool { t, _ := d.(amqp.Table); return ours(t["queue"]) })
		if c[headerDeath] = list; len(list) == 0 {
			delete(c, headerDeath)
		}
	}
	if list, there := c[headerDeath]; there && !deathsOfBroker(list) {
		c[HeaderDeaths] = list
		delete(c, headerDeath)
	}
	for _, which := range []string{"x-first-death-", "x-last-death-"} {
		if ours(c[which+"queue"]) {
			maps.DeleteFunc(c, func(k string, _ any) bool { return strings.HasPrefix(k, which) })
		}
	}
	return c
}

// maxDeaths bounds the queues that a message was dead-lettered in before it came to
// ours.
const maxDeaths = 100

// deathsOfBroker reports whether an x-death header may be one that RabbitMQ has
// written.
func deathsOfBroker(v any) bool {
	list, ok := v.([]any)
	if !ok || len(list) > maxDeaths {
		return false
	}
	for _, death := range list {
		t, ok := death.(amqp.Table)
		if !ok {
			return false
		}
		for name, v := range t {
			switch name {
			case "queue", "reason", "exchange", "original-expiration":
				_, ok = v.(string)
			case "count":
				_, ok = v.(int64)
			case "time":
				_, ok = v.(time.Time)
			case "routing-keys":
				var keys []any
				keys, ok = v.([]any)
				ok = ok && !slices.ContainsFunc(keys, func(key any) bool { _, text := key.(string); return !text })
			}
			if !ok {
				return false
			}
		}
	}
	return true
}
