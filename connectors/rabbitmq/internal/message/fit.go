package message

import (
	"maps"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// brokerAdds bounds the headers that RabbitMQ adds to a message that waits in queue,
// on its way back from there.
func brokerAdds(queue string) int { return 400 + 4*len(queue) }

// headerRoom returns how many bytes of headers m may have: as many as fit into a
// frame with what the broker adds, and at most 122 KiB of the usual 128.
func headerRoom(m *broker.Message, frameMax int) int {
	return min(m.HeaderRoom(frameMax)-brokerAdds(m.Queue), frameMax/64*61)
}

// usualFrameMax is RabbitMQ's default.
const usualFrameMax = 128 << 10

// fitInto returns a [broker.Message.Fit] for a message that came over a connection with
// frames of frameMax bytes, 0 for no limit, and may come back over it from a
// retry queue. omitted are the headers that were left out before.
func fitInto(omitted string, frameMax int) func(*broker.Message, int) {
	if frameMax == 0 {
		frameMax = usualFrameMax
	}
	return func(m *broker.Message, leaving int) {
		m.Headers = maps.Clone(m.Headers)
		fit(m, omitted, min(leaving, frameMax, usualFrameMax))
	}
}

// optional are headers of ours that are left out, in this order, when leaving out the
// publisher's is not enough.
var optional = []string{HeaderExpiration, HeaderUser, HeaderRoutingKey, HeaderOriginal, HeaderQueue}

// fit has the headers of m fit into a frame: it clips texts and leaves out the
// publisher's largest headers, then those of ours that are of no use to the
// connector. omitted are those that were left out before.
func fit(m *broker.Message, omitted string, frameMax int) {
	h, room := m.Headers, headerRoom(m, frameMax)
	longest := max(0, min(MaxReason, room/8)) // text
	for _, name := range []string{HeaderReason, HeaderUnreadable} {
		if v, ok := h[name]; ok && v != "" {
			h[name] = Clip(text(h, name), longest)
		}
	}
	if omitted != "" {
		h[HeaderOmitted] = Clip(omitted, longest)
	}
	size := broker.HeadersSize(h)
	if size <= room && len(h) <= broker.MaxHeaders {
		return
	}
	type candidate struct {
		name string
		size int
	}
	var candidates []candidate
	add := func(name string) {
		candidates = append(candidates, candidate{name, broker.HeadersSize(amqp.Table{name: h[name]}) - broker.HeadersSize(nil)})
	}
	for name := range h {
		if !strings.HasPrefix(name, Prefix) || name == HeaderCC || name == HeaderDeaths {
			add(name)
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return b.size - a.size })
	for _, name := range optional {
		if _, there := h[name]; there {
			add(name)
		}
	}
	h[HeaderOmitted] = strings.Repeat(".", longest+len(ellipsis)) // its room
	size = broker.HeadersSize(h)
	var left []string
	for _, c := range candidates {
		if size <= room && len(h) <= broker.MaxHeaders {
			break
		}
		delete(h, c.name)
		size -= c.size
		left = append(left, c.name)
	}
	if omitted = strings.Trim(omitted+","+strings.Join(left, ","), ","); omitted == "" {
		delete(h, HeaderOmitted)
	} else {
		h[HeaderOmitted] = Clip(omitted, longest)
	}
	if reason := text(h, HeaderReason); size > room && reason != "" {
		h[HeaderReason] = Clip(reason, max(0, len(reason)-(size-room)-len(ellipsis)))
	}
}
