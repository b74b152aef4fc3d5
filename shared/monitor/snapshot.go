package monitor

import "time"

// Snapshot is the system at a moment. Counts grow from the start of the process
// that keeps them; of a function with several replicas one has answered.
type Snapshot struct {
	At    time.Time `json:"at"`
	Parts []Part    `json:"parts"`
	// Latency of events from being taken in to their result, by event type.
	Latency  []Latency `json:"latency"`
	Outcomes []Outcome `json:"outcomes"`
	// Connector is null where it is not known or cannot be reached.
	Connector *Connector `json:"connector"`
}

// The states of a part.
const (
	stateUp          = "up"
	stateNotReady    = "not_ready"
	stateUnreachable = "unreachable"
)

// Part is a process or service that has to work.
type Part struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`  // function, connector or store
	State string `json:"state"` // up, not_ready or unreachable
	// Detail says what is wrong in words that anybody may read; causes are in the
	// log.
	Detail string `json:"detail,omitzero"`
}

// Latency is a histogram.
type Latency struct {
	EventType  string  `json:"event_type"`
	Count      uint64  `json:"count"`
	SumSeconds float64 `json:"sum_seconds"`
	// Buckets count cumulatively, the last has no bound.
	Buckets []Bucket `json:"buckets"`
}

// Bucket counts events that took at most so long.
type Bucket struct {
	UpToSeconds *float64 `json:"up_to_seconds"` // null: no bound
	Count       uint64   `json:"count"`
}

// Outcome counts events by what became of them.
type Outcome struct {
	EventType string  `json:"event_type"`
	Outcome   string  `json:"outcome"`
	Events    float64 `json:"events"`
}

// Connector is what the connector counts.
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
	// OldestUnackedSeconds is how long ago the oldest unacked message came in.
	OldestUnackedSeconds float64 `json:"oldest_unacked_seconds"`
	// Ready, Waiting (for a retry) and Dead are messages in the broker now; null
	// where the connector does not count them.
	Ready   *float64 `json:"ready"`
	Waiting *float64 `json:"waiting"`
	Dead    *float64 `json:"dead"`
}

// Breaker is what stands between the connector and a function.
type Breaker struct {
	Function      string  `json:"function"`
	State         string  `json:"state"` // closed, open or probing
	CallsInFlight float64 `json:"calls_in_flight"`
	CallsLimit    float64 `json:"calls_limit"`
}
