package broker

import (
	"errors"
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/failure"
)

func TestFailure(t *testing.T) {
	_, unread := URLs(func() (string, error) { return "", errors.New("open /run/secrets/x") })()
	for want, err := range map[string]error{
		"the secret rabbitmq-url cannot be read":                                      unread,
		"RabbitMQ refuses the login of rabbitmq-url":                                  fmt.Errorf("dial: %w", amqp.ErrCredentials),
		"RabbitMQ has no virtual host as in rabbitmq-url, or none for its user":       &amqp.Error{Code: amqp.NotAllowed},
		"RabbitMQ refused the messages: a queue is full or its leader is unavailable": &PublishError{map[int]error{1: ErrNacked}},
		"RabbitMQ cannot be used now":                                                 errors.New("amqp://user:secret@host"),
	} {
		marked := Failure(err)
		if !errors.Is(marked, err) || failure.Told(marked) != want || failure.Detailed(marked).(interface{ Detail() string }).Detail() != want {
			t.Errorf("%v: %s, want %s", err, failure.Told(marked), want)
		}
	}
	if Failure(nil) != nil || failure.Detailed(nil) != nil {
		t.Error("nil does not stay nil")
	}
}
