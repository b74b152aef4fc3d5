package webhook

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/camera"
)

// Results of requests and reads, as the metrics have them.
const (
	resultAccepted     = "accepted"
	resultUnrecognised = "unrecognised"
	resultMalformed    = "malformed"
	resultInvalid      = "invalid"
	resultUnavailable  = "unavailable"

	readEvent      = "event"
	readNoPlate    = "no_plate"
	readUndirected = "undirected"
	readRejected   = "rejected"
)

// noFormat is the label of requests whose format is not known.
const noFormat = "none"

// maxSkews bounds the cameras with a skew, the last ones.
const maxSkews = 5000

// Metrics of the webhook.
type Metrics struct {
	requests, reads *prometheus.CounterVec
	refused         *prometheus.CounterVec
	dropped         prometheus.Counter
	skew            *prometheus.GaugeVec

	mu    sync.Mutex
	skews *simplelru.LRU[string, struct{}] // cameras with a skew
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_camera_requests_total",
			Help: "Requests of cameras with the right token, by format and by result: accepted, unrecognised, malformed, invalid, unavailable.",
		}, []string{"format", "result"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_camera_reads_total",
			Help: "Reads of cameras, by format and by result: event, no_plate, undirected, rejected.",
		}, []string{"format", "result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parkstream_camera_refusals_total",
			Help: "Requests that were refused before their body was read, by reason: camera (unknown), token (wrong), query (a token there), encoding (compressed); and throttled, of the first three those that have to wait.",
		}, []string{"reason"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parkstream_camera_pictures_dropped_total",
			Help: "Pictures in requests of cameras that were dropped, because IMAGES_URL is not set.",
		}),
		skew: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "parkstream_camera_skew_seconds",
			Help: "Of the last read of a camera: seconds from the time that the camera gave to its arrival. Negative: the camera's clock is ahead.",
		}, []string{"camera"}),
	}
	m.skews, _ = simplelru.NewLRU(maxSkews, func(camera string, _ struct{}) { m.skew.DeleteLabelValues(camera) }) // fails for a size of 0 only
	for _, format := range append(camera.Names()[1:], noFormat) {
		for _, result := range []string{resultAccepted, resultUnrecognised, resultMalformed, resultInvalid, resultUnavailable} {
			m.requests.WithLabelValues(format, result)
		}
	}
	for _, reason := range []string{refusedCamera, refusedToken, refusedQuery, refusedThrottled, refusedEncoding} {
		m.refused.WithLabelValues(reason)
	}
	r.MustRegister(m.requests, m.reads, m.refused, m.dropped, m.skew)
	return m
}

// request counts a request. format is empty if it is not known.
func (m *Metrics) request(format, result string) {
	if format == "" {
		format = noFormat
	}
	m.requests.WithLabelValues(format, result).Inc()
}

// accepted counts a request and its reads. The camera is a configured one.
func (m *Metrics) accepted(id, format string, observed []camera.Observation, undirected, rejected int, received time.Time) {
	m.request(format, resultAccepted)
	for i := range observed {
		o := &observed[i]
		result := readEvent
		if o.Event.NoPlate {
			result = readNoPlate
		}
		m.reads.WithLabelValues(format, result).Inc()
		if !o.Read.Time.IsZero() {
			m.setSkew(id, received.Sub(o.Read.Time))
		}
	}
	for result, n := range map[string]int{readUndirected: undirected, readRejected: rejected} {
		if n > 0 {
			m.reads.WithLabelValues(format, result).Add(float64(n))
		}
	}
}

func (m *Metrics) setSkew(id string, skew time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skews.Add(id, struct{}{})
	m.skew.WithLabelValues(id).Set(skew.Seconds())
}
