package redis

import (
	"strings"
	"testing"

	"parkstream/shared/instance/instancetest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The first command opens a connection, the next one reuses it.
func TestPoolMetrics(t *testing.T) {
	client, err := Open(URL(instancetest.Redis(t).URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		if err := client.Current().Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(NewPoolMetrics(client))
	if err := testutil.GatherAndCompare(r, strings.NewReader(`
# HELP parkstream_redis_pool_connections Connections to Redis, by state: idle, or used by a command.
# TYPE parkstream_redis_pool_connections gauge
parkstream_redis_pool_connections{state="idle"} 1
parkstream_redis_pool_connections{state="used"} 0
# HELP parkstream_redis_pool_requests_total Connections that commands asked for, by result: hit (one was there), miss (one had to be made) or timeout (none became free in time).
# TYPE parkstream_redis_pool_requests_total counter
parkstream_redis_pool_requests_total{result="hit"} 2
parkstream_redis_pool_requests_total{result="miss"} 1
parkstream_redis_pool_requests_total{result="timeout"} 0
`), "parkstream_redis_pool_connections", "parkstream_redis_pool_requests_total"); err != nil {
		t.Error(err)
	}
}
