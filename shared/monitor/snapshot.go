package monitor

import "time"

// Snapshot is the state of the system at one time. Counts increase from the start of
// the process that keeps them. Of a function with several replicas, the snapshot has
// the counts of one.
type Snapshot struct {
	At    time.Time `json:"at"`
	Parts []Part    `json:"parts"`
	// Latency has the time from the receipt of events to their result, by event type.
	Latency  []Latency `json:"latency"`
	Outcomes []Outcome `json:"outcomes"`
	// Connector is null if the connector is unknown or unreachable.
	Connector *Connector `json:"connector"`
}

// The states of a part.
const (
	stateUp          = "up"
	stateNotReady    = "not_ready"
	stateUnreachable = "unreachable"
)

// Part is a process or service that the system needs.
type Part struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`  // function, connector or store
	State string `json:"state"` // up, not_ready or unreachable
	// Detail describes the fault in public words. The log has the cause.
	Detail string `json:"detail,omitzero"`
}

// Latency is a histogram.
type Latency struct {
	EventType  string  `json:"event_type"`
	Count      uint64  `json:"count"`
	SumSeconds float64 `json:"sum_seconds"`
	// Buckets are cumulative. The last one has no bound.
	Buckets []Bucket `json:"buckets"`
}

// Bucket is the number of events that took at most UpToSeconds.
type Bucket struct {
	UpToSeconds *float64 `json:"up_to_seconds"` // null: no bound
	Count       uint64   `json:"count"`
}

// Outcome is the number of events with an outcome.
type Outcome struct {
	EventType string  `json:"event_type"`
	Outcome   string  `json:"outcome"`
	Events    float64 `json:"events"`
}

// Connector has the counts of the connector.
type Connector struct {
	Queues   []Queue   `json:"queues"`
	Breakers []Breaker `json:"breakers"`
}

// Queue is a queue as the connector sees it.
type Queue struct {
	Queue        string  `json:"queue"`
	Received     float64 `json:"received"`
	Acked        float64 `json:"acked"`
	DeadLettered float64 `json:"dead_lettered"`
	Retried      float64 `json:"retried"`
	Returned     float64 `json:"returned"`
	InHand       float64 `json:"in_hand"`
	// OldestUnackedSeconds is the time since the delivery of the oldest unacked
	// message.
	OldestUnackedSeconds float64 `json:"oldest_unacked_seconds"`
	// Ready, Waiting (for a retry) and Dead are the numbers of messages in the broker
	// now, or null if the connector does not count them.
	Ready   *float64 `json:"ready"`
	Waiting *float64 `json:"waiting"`
	Dead    *float64 `json:"dead"`
}

// Breaker is the breaker between the connector and a function.
type Breaker struct {
	Function      string  `json:"function"`
	State         string  `json:"state"` // closed, open or probing
	CallsInFlight float64 `json:"calls_in_flight"`
	CallsLimit    float64 `json:"calls_limit"`
}
