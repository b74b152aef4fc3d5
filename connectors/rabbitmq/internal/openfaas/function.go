package openfaas

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/process"
)

// The annotations of a function that the connector reads. All but the topic are
// optional.
const (
	annotationTopic       = "topic"
	annotationPrefix      = "parkstream."
	annotationBatchSize   = annotationPrefix + "batch-size"
	annotationBatchBytes  = annotationPrefix + "batch-bytes"
	annotationLinger      = annotationPrefix + "linger"
	annotationMinInFlight = annotationPrefix + "min-in-flight"
	annotationMaxInFlight = annotationPrefix + "max-in-flight"
	annotationMaxAttempts = annotationPrefix + "max-attempts"
	annotationTimeout     = annotationPrefix + "timeout"
	annotationSlow        = annotationPrefix + "slow-after"
	annotationSendToken   = annotationPrefix + "send-token"
)

// Function is a function that listens to queues, with how it wants to be called.
type Function struct {
	// Name is what the gateway calls it: with its namespace, as name.namespace,
	// where the connector watches namespaces.
	Name string
	// Queues are those it listens to.
	Queues []string
	// BatchSize is the number of events in a call at most. At 0 the function gets
	// single raw messages; at 1 or more it speaks the batch contract.
	BatchSize int
	// BatchBytes bounds the size of a batch. A larger message goes alone.
	BatchBytes int
	// Linger is how long a batch waits for more events while other calls are in
	// flight.
	Linger time.Duration
	// MinInFlight and MaxInFlight bound the calls at the same time.
	MinInFlight, MaxInFlight int
	// MaxAttempts is how often an event is tried before it becomes a dead letter.
	MaxAttempts int
	// Timeout bounds a call.
	Timeout time.Duration
	// SlowAfter is how long a call may take before there are too many of them.
	SlowAfter time.Duration
	// SendToken is whether calls carry the connector's token.
	SendToken bool
}

// Batched reports whether the function speaks the batch contract.
func (f *Function) Batched() bool { return f.BatchSize > 0 }

// PerCall returns the number of events in one call at most.
func (f *Function) PerCall() int { return max(1, f.BatchSize) }

// Equal reports whether both are called in the same way.
func (f *Function) Equal(o *Function) bool {
	a, b := *f, *o
	a.Queues, b.Queues = nil, nil
	return reflect.DeepEqual(a, b)
}

// Bounds of what settings and annotations may ask for.
const (
	InFlightLimit = 1000 // of calls at the same time
	AttemptsLimit = 1000 // of attempts with an event
)

// Defaults are the settings that a function can override with an annotation.
type Defaults struct {
	Timeout           time.Duration `env:"UPSTREAM_TIMEOUT" envDefault:"60s"`
	ConsumerTimeout   time.Duration `env:"CONSUMER_TIMEOUT" envDefault:"30m"`
	MaxAttempts       int           `env:"MAX_ATTEMPTS" envDefault:"8"`
	Linger            time.Duration `env:"LINGER" envDefault:"2ms"`
	BatchBytes        int           `env:"BATCH_BYTES" envDefault:"4194304"`
	MaxInFlight       int           `env:"MAX_IN_FLIGHT" envDefault:"4"`
	MaxInFlightSingle int           `env:"MAX_IN_FLIGHT_SINGLE" envDefault:"32"`
}

// newFunction reads the annotations of a function that listens to queues. The error
// lists every mistake; the function has its name and queues all the same.
func newFunction(name string, queues []string, annotations map[string]string, d Defaults) (*Function, error) {
	f := &Function{Name: name, Queues: queues}
	r := annotationReader{values: annotations}
	for _, queue := range f.Queues {
		r.errs = append(r.errs, checkQueueName(queue)...)
	}
	f.BatchSize = r.integer(annotationBatchSize, 0, 0, batch.MaxEvents)
	f.BatchBytes = r.integer(annotationBatchBytes, d.BatchBytes, 1, 1<<30)
	f.Linger = r.duration(annotationLinger, d.Linger, 0, time.Minute)
	inFlight := d.MaxInFlight
	if !f.Batched() {
		inFlight = d.MaxInFlightSingle
	}
	f.MaxInFlight = r.integer(annotationMaxInFlight, inFlight, 1, InFlightLimit)
	f.MinInFlight = r.integer(annotationMinInFlight, min(2, f.MaxInFlight), 1, InFlightLimit)
	f.MaxAttempts = r.integer(annotationMaxAttempts, d.MaxAttempts, 1, AttemptsLimit)
	f.Timeout = r.duration(annotationTimeout, d.Timeout, time.Millisecond, time.Hour)
	f.SlowAfter = r.duration(annotationSlow, f.Timeout/2, time.Millisecond, time.Hour)
	f.SendToken = r.boolean(annotationSendToken)
	if f.MinInFlight > f.MaxInFlight {
		r.errs = append(r.errs, fmt.Errorf("%s is %d and %s only %d", annotationMinInFlight, f.MinInFlight, annotationMaxInFlight, f.MaxInFlight))
	}
	if f.Timeout > d.ConsumerTimeout/2 {
		r.errs = append(r.errs, fmt.Errorf("%s is %s; the broker's consumer_timeout of %s asks for at most half of it", annotationTimeout, f.Timeout, d.ConsumerTimeout))
	}
	if len(r.errs) > 0 {
		return f, fmt.Errorf("function %s: %w", name, errors.Join(r.errs...))
	}
	return f, nil
}

// maxQueueName leaves room for the names of the retry queues in the 255 bytes that
// AMQP allows.
const maxQueueName = 230

// checkQueueName finds names with which the client would close the connection that
// all queues share, or which no HTTP header can carry.
func checkQueueName(queue string) (errs []error) {
	if len(queue) > maxQueueName {
		errs = append(errs, fmt.Errorf("the queue name %s has %d bytes; at most %d are possible", queue, len(queue), maxQueueName))
	}
	if !validField(queue) {
		errs = append(errs, fmt.Errorf("the queue name %q has a control character; annotation %s separates queues by commas", queue, annotationTopic))
	}
	return errs
}

type annotationReader struct {
	values map[string]string
	errs   []error
}

func (r *annotationReader) integer(name string, otherwise, least, most int) int {
	text, given := r.values[name]
	if !given {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < least || n > most {
		r.errs = append(r.errs, fmt.Errorf("annotation %s is %q; it takes a whole number from %d to %d", name, text, least, most))
	}
	return n
}

func (r *annotationReader) duration(name string, otherwise, least, most time.Duration) time.Duration {
	text, given := r.values[name]
	if !given {
		return otherwise
	}
	d, err := process.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < least || d > most {
		r.errs = append(r.errs, fmt.Errorf("annotation %s is %q; it takes a duration from %s to %s, such as 2ms or 30s", name, text, least, most))
	}
	return d
}

// boolean returns false if the annotation is missing.
func (r *annotationReader) boolean(name string) bool {
	text, given := r.values[name]
	switch strings.TrimSpace(text) {
	case "true":
		return true
	case "false":
	default:
		if given {
			r.errs = append(r.errs, fmt.Errorf("annotation %s is %q; it takes true or false", name, text))
		}
	}
	return false
}
