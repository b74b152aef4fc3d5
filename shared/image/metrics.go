package image

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	stored, refused, failed prometheus.Counter
	bytes                   prometheus.Counter
	expired, erased         prometheus.Counter
	swept                   prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	put := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_images_total",
		Help: "Pictures of cameras: stored, refused because of what they are, or failed because the store cannot be used.",
	}, []string{"result"})
	removed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parkstream_images_removed_total",
		Help: "Pictures removed: expired, or erased with a plate.",
	}, []string{"reason"})
	m := &metrics{
		stored: put.WithLabelValues("stored"), refused: put.WithLabelValues("refused"), failed: put.WithLabelValues("failed"),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parkstream_images_stored_bytes_total", Help: "Size of the pictures stored.",
		}),
		expired: removed.WithLabelValues("expired"), erased: removed.WithLabelValues("erased"),
		swept: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parkstream_images_swept_timestamp_seconds",
			Help: "When this process last had removed every expired picture; 0 if it never has.",
		}),
	}
	r.MustRegister(put, removed, m.bytes, m.swept)
	return m
}
