package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parkstream/cmd/internal/services"
	"parkstream/shared/batch"
	"parkstream/shared/evaluate"
	"parkstream/shared/instance"
	"parkstream/shared/matcher"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/redis"
	"parkstream/shared/review"
	"parkstream/shared/stay"
	"parkstream/shared/timeline"
)

const (
	// eventsAtOnce is how many events a processor is called with.
	eventsAtOnce = 250
	// tickEvery is how often the matcher is called, by the time of the events: a minute is
	// shorter than what would change the result.
	tickEvery = 6 * time.Hour
	// matchWindow is the MATCH_WINDOW of the matcher.
	matchWindow = 144 * time.Hour
	// kept is for how long events are kept, from the oldest one on.
	kept = 365 * 24 * time.Hour
)

// realPipeline puts stays together as the functions do: the processors take the events, the
// matcher ticks at simulated times, and the stays are read where they are posted, in a
// private Redis.
type realPipeline struct {
	client *redis.Client
	settle time.Duration
	say    func(format string, args ...any)
	stop   func() error
}

// startPipeline starts a private Redis.
func startPipeline(ctx context.Context, settle time.Duration, say func(format string, args ...any)) (*realPipeline, error) {
	if !instance.RedisInstalled() {
		if err := services.Install(ctx, []string{"Redis"}, say); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "parkstream-evaluate-")
	if err != nil {
		return nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	// Nothing here has to survive the machine.
	node, err := instance.StartRedis(ctx, instance.RedisOptions{Dir: dir, Fsync: "no"})
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	stop := func() error { return errors.Join(node.Kill(), remove()) }
	client, err := redis.Open(redis.URL(node.URL()))
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &realPipeline{client, settle, say, func() error { return errors.Join(client.Close(), stop()) }}, nil
}

// Stays returns the stays of all sites after all is decided. It forgets what was there
// before.
func (r *realPipeline) Stays(ctx context.Context, d *evaluate.Data, models evaluate.Modeller) ([]parking.Stay, error) {
	if err := r.client.Current().FlushDB(ctx).Err(); err != nil {
		return nil, err
	}
	if len(d.Sites()) == 0 {
		return nil, nil
	}
	first, last := d.First(), d.Last()
	retention := time.Since(first) + kept
	store, stays := timeline.New(r.client, retention), stay.New(r.client, retention)
	store.MaxSites = timeline.MostMaxSites
	w := &pipelineWork{
		store: store, stays: stays, models: make(map[string]parking.Models),
		processors: make(map[parking.Kind]pipeline.Handler), waiting: make(map[parking.Kind][]batch.Event),
	}
	for site, events := range d.Sites() {
		w.models[site] = models(events)
	}
	log := slog.New(slog.DiscardHandler)
	config := pipeline.Config{
		Store: store, Summaries: w, Log: log, Limits: parking.Limits{MaxFuture: kept + max(0, time.Until(last)), Retention: retention},
		Caller: func(context.Context) pipeline.Caller {
			return pipeline.Caller{CheckSite: func(string) error { return nil }, MayRead: true}
		},
	}
	config.Metrics = pipeline.NewMetrics(prometheus.NewRegistry(), "entry-processor")
	w.processors[parking.Entry] = pipeline.NewEntryEventProcessor(config)
	config.Metrics = pipeline.NewMetrics(prometheus.NewRegistry(), "exit-processor")
	w.processors[parking.Exit] = pipeline.NewExitEventProcessor(config)
	var now time.Time
	w.matcher = matcher.SiteMatcher{
		Store: store, Stays: stays, Summaries: w, Window: matchWindow, Log: log, Now: func() time.Time { return now },
		Models: func(_ context.Context, site string) (parking.Models, error) { return w.models[site], nil },
		Settle: func(context.Context, string) (time.Duration, error) { return r.settle, nil },
		Repair: func(context.Context, string) (none review.Unposted, err error) { return none, nil },
	}
	for i := range d.Events {
		e := &d.Events[i]
		if tick := e.Time.Truncate(tickEvery); tick.After(now) {
			if now = tick; i > 0 {
				if err := w.tick(ctx); err != nil {
					return nil, err
				}
			}
		}
		if err := w.take(ctx, e); err != nil {
			return nil, err
		}
	}
	now = last.Add(r.settle)
	if err := w.tick(ctx); err != nil {
		return nil, err
	}
	if w.refused > 0 {
		r.say("%d events are refused, the first one because %s", w.refused, w.reason)
	}
	return w.read(ctx)
}

// pipelineWork is one evaluation by the pipeline.
type pipelineWork struct {
	store      *timeline.Store
	stays      *stay.Store
	models     map[string]parking.Models // by site
	processors map[parking.Kind]pipeline.Handler
	waiting    map[parking.Kind][]batch.Event
	matcher    matcher.SiteMatcher
	taken      int
	refused    int
	reason     string // of the first refused event
}

// take hands an event to its processor, with others.
func (w *pipelineWork) take(ctx context.Context, e *parking.Event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	w.taken++
	w.waiting[e.Kind] = append(w.waiting[e.Kind], batch.Event{ID: strconv.Itoa(w.taken), Data: text})
	if len(w.waiting[e.Kind]) < eventsAtOnce {
		return nil
	}
	return w.process(ctx, e.Kind)
}

// process has a processor process what waits for it.
func (w *pipelineWork) process(ctx context.Context, kind parking.Kind) error {
	results := w.processors[kind].ProcessMessages(ctx, w.waiting[kind])
	for i := range results {
		switch r := &results[i]; r.Outcome {
		case batch.Done:
		case batch.Reject:
			w.refused++
			w.reason = cmp.Or(w.reason, r.Reason)
		default:
			return fmt.Errorf("the %s-processor answers event %q with %s: %s", kind, r.EventID, r.Outcome, r.Reason)
		}
	}
	w.waiting[kind] = w.waiting[kind][:0]
	return nil
}

// tick has the processors process all that waits, and the matcher match each site.
func (w *pipelineWork) tick(ctx context.Context) error {
	for kind := range w.processors {
		if err := w.process(ctx, kind); err != nil {
			return err
		}
	}
	for site := range w.models {
		if _, err := w.matcher.Match(ctx, site); err != nil {
			return fmt.Errorf("match the reads of site %s: %w", site, err)
		}
	}
	return nil
}

// Post stores stays as the summary does, in the form that they are posted in.
func (w *pipelineWork) Post(ctx context.Context, stays []parking.Stay) error {
	text, err := json.Marshal(stays)
	if err != nil {
		return err
	}
	var posted []parking.Stay
	if err := json.Unmarshal(text, &posted); err != nil {
		return err
	}
	for i := range posted {
		if err := posted[i].CheckMatch(); err != nil {
			return err
		}
	}
	_, err = w.stays.Upsert(ctx, posted)
	return err
}

// read returns the stays as the summary shows them.
func (w *pipelineWork) read(ctx context.Context) ([]parking.Stay, error) {
	var all []parking.Stay
	for site := range w.models {
		err := w.stays.Export(ctx, stay.Query{Sites: []string{site}}, func(page []stay.StoredStay) error {
			for i := range page {
				all = append(all, page[i].Stay)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b parking.Stay) int { return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}
