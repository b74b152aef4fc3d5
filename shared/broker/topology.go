package broker

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// DeliveryLimit is how often a broker delivers a message before it dead-letters it by
// itself. The limit only catches messages that crash their consumer: a failed message
// is republished with its attempts in a header. It is set because RabbitMQ 4 has a
// default of 20, which messages exceed that are returned during an outage of a few
// hours.
const DeliveryLimit = 1000

// deadDeliveryLimit allows to read dead letters any number of times.
const deadDeliveryLimit = 1<<31 - 1

// DeadQueue returns the name of the queue of dead letters of queue.
func DeadQueue(queue string) string { return queue + ".dead" }

// RetryQueue returns the name of the queue in which messages wait for delay
// before they come back to queue.
func RetryQueue(queue string, delay time.Duration) string {
	return queue + ".retry." + strconv.FormatInt(delay.Milliseconds(), 10)
}

// Queue is a queue as the broker has it.
type Queue struct {
	Name string
	// Messages is how many are ready.
	Messages int
	// Foreign lists how the queue differs from our declaration; empty for a queue that
	// we have declared.
	Foreign []string
}

// ErrWrongQueue is wrapped by the error for a queue that exists and cannot be used.
var ErrWrongQueue = errors.New("unusable queue")

// DeclareQueue makes sure that queue and its dead-letter queue exist: durable
// quorum queues, of which the first dead-letters to the second. It is idempotent. A
// quorum queue with other arguments is accepted if it cannot lose messages, and so is
// an existing queue that the user of the connection may not configure.
//
// An error that wraps [ErrWrongQueue] names the remedy for a queue that cannot be used.
func DeclareQueue(conn *Conn, queue string) (Queue, error) {
	dead, err := declare(conn, DeadQueue(queue), amqp.Table{"x-delivery-limit": int64(deadDeliveryLimit)}, loses)
	if err != nil {
		return Queue{}, err
	}
	q, err := declare(conn, queue, deadLetterTo(DeadQueue(queue), amqp.Table{"x-delivery-limit": int64(DeliveryLimit)}), loses)
	for _, odd := range dead.Foreign {
		q.Foreign = append(q.Foreign, odd+" of "+dead.Name)
	}
	return q, err
}

// DeclareRetryQueue makes sure that the queue exists in which messages wait for delay
// before they return to queue. A queue of that name with other arguments is an
// [ErrWrongQueue].
func DeclareRetryQueue(conn *Conn, queue string, delay time.Duration) error {
	args := deadLetterTo(queue, amqp.Table{"x-message-ttl": delay.Milliseconds()})
	_, err := declare(conn, RetryQueue(queue, delay), args, func(has amqp.Table) string {
		for arg, want := range args {
			if has[arg] != want {
				return fmt.Sprintf("its %s is not %v, so that messages would not come back from it", arg, want)
			}
		}
		return loses(has)
	})
	return err
}

// loses returns how a queue with these arguments loses messages, "" if it does not.
func loses(args amqp.Table) string {
	_, deadLetters := args["x-dead-letter-exchange"]
	_, ttl := args["x-message-ttl"]
	_, length := args["x-max-length"]
	_, bytes := args["x-max-length-bytes"]
	switch {
	case ttl && !deadLetters:
		return "it drops messages after its x-message-ttl"
	case (length || bytes) && args["x-overflow"] != "reject-publish":
		return "it drops messages when it is full (x-max-length without x-overflow=reject-publish)"
	}
	return ""
}

// deadLetterTo adds the arguments with which a queue dead-letters to target without
// losing messages.
func deadLetterTo(target string, args amqp.Table) amqp.Table {
	args["x-dead-letter-exchange"] = ""
	args["x-dead-letter-routing-key"] = target
	args["x-dead-letter-strategy"] = "at-least-once"
	args["x-overflow"] = "reject-publish" // at-least-once needs it
	return args
}

const argType = "x-queue-type"

// maxArguments bounds the attempts of declare; RabbitMQ has fewer arguments.
const maxArguments = 30

// declare declares a quorum queue with args. If it exists with other arguments, each
// refusal of the broker names one of them; declare adopts it and tries again, until the
// declaration matches. unusable returns why a queue with the arguments found cannot be
// used, "" if it can.
func declare(conn *Conn, queue string, args amqp.Table, unusable func(amqp.Table) string) (Queue, error) {
	args = maps.Clone(args)
	args[argType] = amqp.QueueTypeQuorum
	q := Queue{Name: queue}
	for range maxArguments {
		found, err := queueDeclare(conn, queue, args, false)
		if err == nil {
			if why := unusable(args); why != "" {
				return Queue{}, fmt.Errorf("%w: %s was declared with other arguments, and %s. "+
					"Once it is empty, delete it (rabbitmqctl delete_queue %s) and start again", ErrWrongQueue, queue, why, queue)
			}
			q.Messages = found.Messages
			return q, nil
		}
		var refused *amqp.Error
		if !errors.As(err, &refused) {
			return Queue{}, fmt.Errorf("declare queue %s: %w", queue, err)
		}
		switch refused.Code {
		case amqp.AccessRefused:
			return passive(conn, q, "it may not be configured by this user", err)
		case amqp.PreconditionFailed:
			d, ok := parseDifference(refused.Reason)
			if !ok {
				return passive(conn, q, refused.Reason, err)
			}
			if err := d.adopt(queue, args); err != nil {
				return Queue{}, err
			}
			q.Foreign = append(q.Foreign, d.String())
		default:
			return Queue{}, fmt.Errorf("declare queue %s: %w", queue, err)
		}
	}
	return Queue{}, fmt.Errorf("declare queue %s: %w: its arguments could not be found out", queue, ErrWrongQueue)
}

// passive returns a queue that exists; cause is why it could not be declared.
func passive(conn *Conn, q Queue, difference string, cause error) (Queue, error) {
	found, err := queueDeclare(conn, q.Name, nil, true)
	if err != nil {
		return Queue{}, fmt.Errorf("declare queue %s: %w", q.Name, cause)
	}
	q.Messages = found.Messages
	q.Foreign = append(q.Foreign, difference)
	return q, nil
}

// queueDeclare uses a channel of its own, because a refusal closes it.
func queueDeclare(conn *Conn, queue string, args amqp.Table, passive bool) (amqp.Queue, error) {
	ch, err := conn.Channel()
	if err != nil {
		return amqp.Queue{}, err
	}
	defer ch.Close()
	if passive {
		return ch.QueueDeclarePassive(queue, true, false, false, false, args)
	}
	return ch.QueueDeclare(queue, true, false, false, false, args)
}

// difference is one argument in which an existing queue differs from a declaration, as
// the broker reports it.
type difference struct {
	arg     string
	none    bool   // the queue does not have the argument
	current string // its value
}

var differencePattern = regexp.MustCompile(`inequivalent arg '([^']+)' for queue .* but current is (?:(none)|(?:the value )?'(.*?)'(?: of type '\w+')?)$`)

func parseDifference(reason string) (difference, bool) {
	m := differencePattern.FindStringSubmatch(reason)
	if m == nil {
		return difference{}, false
	}
	return difference{arg: m[1], none: m[2] != "", current: m[3]}, true
}

func (d difference) String() string {
	if d.none {
		return "no " + d.arg
	}
	return d.arg + "=" + d.current
}

// adopt changes args to those of the queue. It returns an error if the queue cannot be
// used with them.
func (d difference) adopt(queue string, args amqp.Table) error {
	switch d.arg {
	case argType:
		kind := d.current
		if d.none {
			kind = "classic"
		}
		return fmt.Errorf("%w: %s exists as a %s queue, which can lose messages; Parkstream uses quorum queues. "+
			"Once it is empty, delete it (rabbitmqctl delete_queue %s) and start again, or use a queue of another name", ErrWrongQueue, queue, kind, queue)
	case "durable", "exclusive", "auto_delete":
		return fmt.Errorf("%w: %s exists and is not a durable shared queue (%s is %s). "+
			"Delete it (rabbitmqctl delete_queue %s) and start again, or use a queue of another name", ErrWrongQueue, queue, d.arg, d.current, queue)
	}
	if d.none {
		delete(args, d.arg)
		return nil
	}
	if n, err := strconv.ParseInt(d.current, 10, 64); err == nil {
		args[d.arg] = n
	} else {
		args[d.arg] = d.current
	}
	return nil
}
