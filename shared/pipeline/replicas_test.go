package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"parkstream/shared/batch"
	"parkstream/shared/instance"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/timeline"
)

// Without the replica's acknowledgement an exit is a retry and its stay is not
// posted, also when it comes again, to another process, as a duplicate.
func TestNothingIsPostedBeforeReplicasHaveIt(t *testing.T) {
	primary := instance.RedisForTest(t)
	replica := instance.RedisReplicaForTest(t, primary)
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
	for deadline := time.Now().Add(time.Minute); ; {
		got := last.ProcessMessages(t.Context(), event)[0]
		if got.Outcome == batch.Done && len(posted.stays) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with its replica again it became %+v, and %d stays were posted", got, len(posted.stays))
		}
	}
}
