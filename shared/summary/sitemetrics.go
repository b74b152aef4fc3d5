package summary

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/shared/parking"
	"parkstream/shared/timeline"
)

const (
	// maxSiteSeries bounds the sites in the metrics.
	maxSiteSeries = 100
	// siteScrapeTimeout is well below the timeout of Prometheus.
	siteScrapeTimeout = time.Second
)

func siteDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("parkstream_"+name, help, labels, nil)
}

var (
	sitesKnown    = siteDesc("sites", "Sites that something is kept of; of the first 100 in the order of their names the state is in the metrics.")
	siteOccupancy = siteDesc("site_occupancy", "Vehicles inside as shown: as counted by events since the last count by hand.", "site")
	siteInside    = siteDesc("site_vehicles_inside", "Plates whose last event is an entry.", "site")
	siteEvents    = siteDesc("site_events", "Events that were observed at the site, each once. A void one is taken away again.", "site", "event_type")
	siteNoPlates  = siteDesc("site_no_plates", "Events among them without a plate.", "site", "event_type")
	siteStays     = siteDesc("site_stays", "Stays since the site's first event, by status: completed, unmatched_exit, repeat, missed_exit or repeated_entry. A late event can move one.", "site", "status")
)

// SiteMetrics collects the state of the sites at the time of a scrape. Every replica of
// the summary reports the same.
type SiteMetrics struct {
	sites *timeline.Store
	log   *slog.Logger
}

// NewSiteMetrics returns the collector.
func NewSiteMetrics(sites *timeline.Store, log *slog.Logger) SiteMetrics {
	return SiteMetrics{sites: sites, log: log}
}

// Describe implements prometheus.Collector.
func (SiteMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sitesKnown, siteOccupancy, siteInside, siteEvents, siteNoPlates, siteStays} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It reports nothing if Redis does not answer,
// so the other metrics of the process can be read.
func (m SiteMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), siteScrapeTimeout)
	defer cancel()
	sites, err := m.sites.Sites(ctx)
	if err != nil {
		m.log.Debug("the sites are not in the metrics", "error", err)
		return
	}
	known := len(sites)
	states, err := m.sites.States(ctx, sites[:min(known, maxSiteSeries)])
	if err != nil {
		m.log.Debug("the sites are not in the metrics", "error", err)
		return
	}
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(sitesKnown, int64(known))
	for _, s := range states {
		gauge(siteOccupancy, s.Occupancy, s.Site)
		gauge(siteInside, s.VehiclesInside, s.Site)
		gauge(siteStays, s.Totals.CompletedStays, s.Site, string(parking.Completed))
		gauge(siteStays, s.Totals.UnmatchedExits, s.Site, string(parking.UnmatchedExit))
		gauge(siteStays, s.Totals.RepeatedExits, s.Site, string(parking.Repeated))
		gauge(siteStays, s.Totals.MissedExits, s.Site, "missed_exit")
		gauge(siteStays, s.Totals.RepeatedEntries, s.Site, "repeated_entry")
		gauge(siteEvents, s.Totals.Entries, s.Site, parking.Entry.String())
		gauge(siteEvents, s.Totals.Exits, s.Site, parking.Exit.String())
		gauge(siteNoPlates, s.Totals.NoPlateEntries, s.Site, parking.Entry.String())
		gauge(siteNoPlates, s.Totals.NoPlateExits, s.Site, parking.Exit.String())
	}
}
