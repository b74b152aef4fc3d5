package deadletter

import (
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"

	"parkstream/shared/broker"
)

// Purge deletes the dead letters of a queue that a filter selects and returns how
// many. Dead letters that come while it works are left.
func Purge(ctx context.Context, conn *broker.Conn, queue string, f Filter) (purged int, err error) {
	r, err := open(conn, queue)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for more := true; more; {
		var batch []*amqp.Delivery
		for more && len(batch) < replayBatch {
			d, err := r.next(ctx)
			if err != nil {
				return purged, err
			}
			if more = d != nil; more {
				if letter := newLetter(queue, d); f.selects(&letter) {
					batch = append(batch, d)
				}
			}
		}
		n, err := r.acknowledge(batch)
		if purged += n; err != nil {
			return purged, err
		}
	}
	return purged, nil
}
