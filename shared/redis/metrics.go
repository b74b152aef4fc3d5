package redis

import "github.com/prometheus/client_golang/prometheus"

func poolDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("parkstream_redis_pool_"+name, help, labels, nil)
}

var (
	poolConnections = poolDesc("connections", "Connections to Redis, by state: idle, or used by a command.", "state")
	poolRequests    = poolDesc("requests_total", "Connections that commands asked for, by result: hit (one was there), miss (one had to be made) or timeout (none became free in time).", "result")
	poolWaits       = poolDesc("waits_total", "Commands that had to wait for a connection.")
	poolWaitSeconds = poolDesc("wait_seconds_total", "Seconds that commands waited for a connection, together.")
	poolStale       = poolDesc("stale_connections_total", "Connections that were closed because they were of no use any more.")
)

// PoolMetrics collects the use of a Redis client's connections.
type PoolMetrics struct{ client *Client }

// NewPoolMetrics returns the collector of a client. A process has one.
func NewPoolMetrics(client *Client) PoolMetrics { return PoolMetrics{client} }

// Describe implements prometheus.Collector.
func (PoolMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConnections, poolRequests, poolWaits, poolWaitSeconds, poolStale} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m PoolMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.client.Current().PoolStats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge(poolConnections, float64(s.IdleConns), "idle")
	gauge(poolConnections, max(0, float64(s.TotalConns)-float64(s.IdleConns)), "used")
	counter(poolRequests, float64(s.Hits), "hit")
	counter(poolRequests, float64(s.Misses), "miss")
	counter(poolRequests, float64(s.Timeouts), "timeout")
	counter(poolWaits, float64(s.WaitCount))
	counter(poolWaitSeconds, float64(s.WaitDurationNs)/1e9)
	counter(poolStale, float64(s.StaleConns))
}
