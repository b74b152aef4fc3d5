package main

import (
	"os"
	"sync"
	"testing"

	"parkstream/shared/instance"
)

var stopShared = func() {}

// startShared starts a RabbitMQ for all tests that want one.
var startShared = sync.OnceValues(func() (*instance.RabbitMQ, error) {
	node, stop, err := instance.SharedRabbitMQ()
	if err == nil {
		stopShared = stop
	}
	return node, err
})

func rabbitMQ(t *testing.T) *instance.RabbitMQ {
	t.Helper()
	node, err := startShared()
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func TestMain(m *testing.M) {
	code := m.Run()
	stopShared()
	os.Exit(code)
}
