package rabbitmq

import (
	"parkstream/connectors/rabbitmq/internal/message"
)

// item is a message on its way into one function.
type item struct {
	*message.Delivery
	history message.History
}

func newItem(d *message.Delivery) item { return item{Delivery: d, history: d.History()} }

// envelope is about what a message costs in a request besides its body.
const envelope = 256

func (it *item) size() int { return it.Size() + envelope }

// maxLoggedID bounds an id in a log line.
const maxLoggedID = 128

// clip bounds a reason that a function has given.
func clip(reason string) string { return message.Clip(reason, message.MaxReason) }
