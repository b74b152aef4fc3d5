package redis

import (
	"errors"
	"fmt"
	"time"
)

// Settings of a client. A program has them as a field of its own settings.
type Settings struct {
	// Replicas is the number of replicas that have to acknowledge the writes of a
	// script before its call succeeds. With 0 a call waits for none.
	Replicas int `env:"REDIS_REPLICAS" envDefault:"0"`
	// ReplicasTimeout bounds the wait for acknowledgements, once for the replicas'
	// memory and once for their disks.
	ReplicasTimeout time.Duration `env:"REDIS_REPLICAS_TIMEOUT" envDefault:"3s"`
}

const (
	maxReplicas        = 9
	minReplicasTimeout = 10 * time.Millisecond
	// A wait takes at most a third of the time left for its call, whatever the timeout:
	// see [replicas.wait]. The longest call takes 55 s. In it a processor has time for
	// its own two waits and for two tries of a post, of 4 s and two waits each.
	maxReplicasTimeout = 7 * time.Second
)

// Validate returns all mistakes as one error.
func (s Settings) Validate() error {
	var errs []error
	if s.Replicas < 0 || s.Replicas > maxReplicas {
		errs = append(errs, fmt.Errorf("REDIS_REPLICAS is %d, want 0 to %d", s.Replicas, maxReplicas))
	}
	if s.ReplicasTimeout < minReplicasTimeout || s.ReplicasTimeout > maxReplicasTimeout {
		errs = append(errs, fmt.Errorf("REDIS_REPLICAS_TIMEOUT is %s, want %s to %s: a wait takes at most a third of what is left of its call (exec_timeout)", s.ReplicasTimeout, minReplicasTimeout, maxReplicasTimeout))
	}
	return errors.Join(errs...)
}
