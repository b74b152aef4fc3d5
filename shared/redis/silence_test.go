package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"parkstream/shared/instance"
)

// A Redis that is stopped, so that it neither answers nor fails, uses up the time of
// neither a script nor another command, whatever its kind is and whatever its URL repeats.
func TestASilentRedis(t *testing.T) {
	primary := instance.RedisForTest(t)
	behind := instance.RedisForTest(t)
	replica := instance.RedisReplicaForTest(t, behind)
	sentinel := instance.SentinelForTest(t, behind)
	for name, tt := range map[string]struct {
		url    string
		silent []*instance.Redis
	}{
		"standalone": {primary.URL(), []*instance.Redis{primary}},
		"Sentinel":   {sentinel.URL(), []*instance.Redis{replica, behind}}, // no failover
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := waitingClient(t, tt.url, 0)
			run := func(ctx context.Context) error {
				_, err := text(ctx, client, setScript, "park:{a}:")
				return err
			}
			get := func(ctx context.Context) error { return client.Current().Exists(ctx, "park:{a}:").Err() }
			await(t, func() error { return run(t.Context()) })
			for _, node := range tt.silent {
				defer pause(t, node)()
			}
			for range 2 {
				for _, do := range []func(context.Context) error{get, run} {
					ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
					err := do(ctx)
					if ctx.Err() != nil {
						t.Error("the time of the call is used up")
					}
					cancel()
					if _, ok := errors.AsType[silentError](err); !ok {
						t.Errorf("error %v", err)
					}
				}
			}
			for _, node := range tt.silent {
				if err := node.Resume(); err != nil {
					t.Fatal(err)
				}
			}
			await(t, func() error { return errors.Join(run(t.Context()), get(t.Context())) })
		})
	}
}
