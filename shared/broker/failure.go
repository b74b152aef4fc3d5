package broker

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/failure"
)

// errURL is wrapped by the error for a secret that cannot be read.
var errURL = errors.New("read the broker's URL")

// Failure marks an error of a [Publisher] as one of RabbitMQ, or of its secret
// rabbitmq-url, with what callers may read of it; see [failure.Told]. nil stays nil.
func Failure(err error) error {
	refused, _ := errors.AsType[*amqp.Error](err)
	switch {
	case errors.Is(err, errURL):
		return failure.New("the secret rabbitmq-url", "cannot be read", err)
	case errors.Is(err, amqp.ErrCredentials):
		return failure.New("RabbitMQ", "refuses the login of rabbitmq-url", err)
	case errors.Is(err, amqp.ErrVhost), refused != nil && refused.Code == amqp.NotAllowed:
		return failure.New("RabbitMQ", "has no virtual host as in rabbitmq-url, or none for its user", err)
	case errors.Is(err, ErrNacked):
		return failure.New("RabbitMQ", "refused the messages: a queue is full or its leader is unavailable", err)
	}
	return failure.In("RabbitMQ", err)
}
