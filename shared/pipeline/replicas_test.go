package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/eventually"
	"parkstream/shared/instance/instancetest"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/timeline"
)

// Without the replica's acknowledgement an exit is a retry and its stay is not posted,
// even if it is delivered again, to another process, as a duplicate.
func TestNothingIsPostedBeforeReplicasHaveIt(t *testing.T) {
	primary := instancetest.Redis(t)
	replica := instancetest.RedisReplica(t, primary)
	var posted summaries
	processor := func() *pipeline.ExitEventProcessor {
		client, err := redis.Open(redis.URL(primary.URL()), redis.WithSettings(redis.Settings{Replicas: 1, ReplicasTimeout: 300 * time.Millisecond}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		return pipeline.NewExitEventProcessor(config(timeline.New(client, retention), &posted))
	}
	event := []batch.Event{exit("x", "KA01", 0)}
	if err := replica.Pause(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := processor().ProcessMessages(t.Context(), event)[0]
		if got.Outcome != batch.Retry || !strings.Contains(got.Reason, "0 of 1 replicas") || len(posted.stays) > 0 {
			t.Errorf("with a stopped replica it became %+v, and %d stays were posted", got, len(posted.stays))
		}
	}
	if err := replica.Resume(); err != nil {
		t.Fatal(err)
	}
	last := processor()
	eventually.Succeeds(t, "with its replica again it is done", func() error {
		got := last.ProcessMessages(t.Context(), event)[0]
		if got.Outcome != batch.Done || len(posted.stays) != 1 {
			return fmt.Errorf("it became %+v, and %d stays were posted", got, len(posted.stays))
		}
		return nil
	})
}
