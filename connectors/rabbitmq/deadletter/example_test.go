package deadletter_test

import (
	"context"
	"fmt"
	"time"

	"parkstream/connectors/rabbitmq/deadletter"
	"parkstream/shared/broker"
	"parkstream/shared/process"
)

// An operator lists the dead letters of a queue and replays those of a function that
// was repaired.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config := broker.Config{URLs: broker.URLs(process.NewSecret("secrets", "rabbitmq-url").Value), Name: "operator"}
	conn, err := broker.Dial(ctx, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	publisher := broker.NewPublisher(config)
	defer publisher.Close()

	all, err := deadletter.List(ctx, conn, "vehicle_exits", deadletter.Filter{}, func(l deadletter.Letter) error {
		fmt.Println(l.ID, l.Function, l.Reason)
		return nil
	})
	fmt.Println(all, err)
	replayed, err := deadletter.Replay(ctx, conn, publisher, "vehicle_exits", deadletter.Filter{Function: "exit-processor"})
	fmt.Println(replayed, err)
}
