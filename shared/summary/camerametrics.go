package summary

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/camera/health"
)

func cameraDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("parkstream_camera_"+name, help, []string{"site", "camera"}, nil)
}

var (
	cameraSilent     = cameraDesc("silent", "1 if a camera is silent though it usually is not at this hour of this weekday.")
	cameraLastRead   = cameraDesc("last_read_timestamp_seconds", "When the last read of a camera arrived, in seconds since 1970.")
	cameraHeartbeat  = cameraDesc("last_heartbeat_timestamp_seconds", "When the last heartbeat of a camera arrived, in seconds since 1970.")
	cameraReads      = cameraDesc("reads_last_hour", "Reads of a camera in the last hour.")
	cameraNoPlate    = cameraDesc("no_plate_ratio", "Share of the reads of a camera without a plate, in the last day.")
	cameraConfidence = cameraDesc("confidence_ratio", "Mean confidence of a camera, in the last day.")
	cameraMatched    = cameraDesc("match_ratio", "Share of the entries of a camera that began a stay and of its exits that ended one, in a week.")
)

// CameraMetrics collects the health of the cameras at the time of a scrape. Every replica of
// the summary reports the same.
type CameraMetrics struct {
	cameras *health.Reader
	log     *slog.Logger
}

// NewCameraMetrics returns the collector.
func NewCameraMetrics(cameras *health.Reader, log *slog.Logger) CameraMetrics {
	return CameraMetrics{cameras: cameras, log: log}
}

// Describe implements prometheus.Collector.
func (CameraMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cameraSilent, cameraLastRead, cameraHeartbeat, cameraReads, cameraNoPlate, cameraConfidence, cameraMatched} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It reports nothing if Redis does not answer,
// so the other metrics of the process can be read.
func (m CameraMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), siteScrapeTimeout)
	defer cancel()
	snapshot, err := m.cameras.Snapshot(ctx)
	if err != nil {
		m.log.Debug("the cameras are not in the metrics", "error", err)
		return
	}
	for i := range snapshot.All {
		c := &snapshot.All[i]
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, c.Site, c.Camera)
		}
		silent := 0.0
		if c.Silent {
			silent = 1
		}
		gauge(cameraSilent, silent)
		gauge(cameraReads, float64(c.ReadsLastHour))
		for d, at := range map[*prometheus.Desc]*time.Time{cameraLastRead: c.LastRead, cameraHeartbeat: c.LastHeartbeat} {
			if at != nil {
				gauge(d, float64(at.UnixMilli())/1000)
			}
		}
		for d, v := range map[*prometheus.Desc]*float64{cameraNoPlate: c.NoPlateShare, cameraConfidence: c.Confidence, cameraMatched: c.MatchRate} {
			if v != nil {
				gauge(d, *v)
			}
		}
	}
}
