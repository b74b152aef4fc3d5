package failure_test

import (
	"errors"
	"fmt"

	"parkstream/shared/failure"
)

// The log gets the error, and a caller only what it may know.
func ExampleTold() {
	err := failure.In("Redis", fmt.Errorf("store the events: %w", errors.New("dial tcp 10.1.2.3:6379: no route to host")))
	fmt.Println("log:   ", err)
	fmt.Println("caller:", failure.Told(err))
	// Output:
	// log:    store the events: dial tcp 10.1.2.3:6379: no route to host
	// caller: Redis cannot be used now
}
