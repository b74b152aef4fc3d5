package rabbitmq

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"parkstream/shared/eventually"
)

// A function that has lost its network: the calls in flight get no answer, those that
// begin later reach another instance. They do not wait for the timeout of the first.
func TestCallsThatGetNoAnswerHoldUpNoOthers(t *testing.T) {
	t.Parallel()
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "10", annotationMaxInFlight: "2", annotationTimeout: "5m"})
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(leave) })
	defer release()
	declareQueue(t, queue)
	publish(t, events(queue, "first", 1)...)
	c := startConnector(t, g, nil)
	c.settled(t, queue, 1) // how long calls take is known then
	f.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		entered <- struct{}{}
		<-leave
		return false
	})
	publish(t, events(queue, "a", 40)...)
	<-entered
	<-entered
	f.setScript(nil)
	eventually.True(t, "the events beside those of the silent calls are done", func() bool { once, _ := f.done(); return once >= 21 })
	release()
	c.settled(t, queue, 41)
	if once, more := f.done(); once != 41 || more != 0 {
		t.Errorf("%d events were done once, %d more often", once, more)
	}
}

// A function that is deployed with other annotations while no call gets a response is
// served at once, including the unacked messages that wait for a call.
func TestANewDeploymentDoesNotWaitForOldCalls(t *testing.T) {
	t.Parallel()
	const inCalls, collected = 2, 30
	queue := queueName(t)
	g := newGateway(t)
	f := g.add("fn", queue, map[string]string{annotationBatchSize: "50", annotationMaxInFlight: "2", annotationTimeout: "5m"})
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(leave) })
	defer release()
	f.setScript(func(http.ResponseWriter, *http.Request, []string) bool {
		entered <- struct{}{}
		<-leave
		return false
	})
	declareQueue(t, queue)
	c := startConnector(t, g, nil)
	for i := range inCalls { // all that may be under way
		publish(t, events(queue, fmt.Sprint("a-", i), 1)...)
		<-entered
	}
	publish(t, events(queue, "b", collected)...)
	eventually.True(t, "messages are unacked", func() bool { return c.counters(t, queue)["unacked"] == inCalls+collected })
	f = g.add("fn", queue, map[string]string{annotationBatchSize: "20", annotationMaxInFlight: "2", annotationTimeout: "5m"})
	eventually.True(t, "the new deployment gets them", func() bool {
		once, _ := f.done()
		return once+len(entered) >= collected // a single event may have been a probe of the old one
	})
	if code, text := readyz(c); code != http.StatusOK {
		t.Errorf("not ready: %s", text)
	}
	release()
	c.settled(t, queue, inCalls+collected)
}
