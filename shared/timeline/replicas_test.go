package timeline

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"parkstream/shared/instance"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// BenchmarkReplicas is what replicas cost: 500 new entries a call, four callers.
func BenchmarkReplicas(b *testing.B) {
	for _, setup := range []struct {
		name           string
		replica, asked int
	}{{"none", 0, 0}, {"one, not waited for", 1, 0}, {"one", 1, 1}} {
		b.Run(setup.name, func(b *testing.B) {
			primary := instance.RedisForTest(b)
			if setup.replica > 0 {
				instance.RedisReplicaForTest(b, primary)
			}
			client, err := redis.Open(redis.URL(primary.URL()), redis.WithSettings(redis.Settings{Replicas: setup.asked, ReplicasTimeout: 20 * time.Second}))
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			s := New(client, retention)
			const size = 500
			var batches atomic.Int64
			b.SetParallelism(2) // with two processors
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := int(batches.Add(1)) * size
					events := make([]parking.Event, size)
					for i := range events {
						events[i] = entry(fmt.Sprint(n+i), 0)
						events[i].Plate = fmt.Sprint("KA", n+i)
					}
					for _, r := range s.Record(b.Context(), events) {
						if r.Err != nil {
							b.Error(r.Err)
							return
						}
					}
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
