package matcher

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/faas"
	"parkstream/shared/gateway"
	"parkstream/shared/learn"
	"parkstream/shared/model"
	"parkstream/shared/process"
	"parkstream/shared/redis"
	"parkstream/shared/review"
	"parkstream/shared/schedule"
	"parkstream/shared/site"
	"parkstream/shared/stay"
	"parkstream/shared/summary/summaryclient"
	"parkstream/shared/timeline"
)

// settings of the matcher. The secrets redis-url and summary-token are files.
type settings struct {
	GatewayURL string        `env:"GATEWAY_URL"` // discovered if it is empty
	SummaryURL string        `env:"SUMMARY_URL"` // the gateway's /function/summary if it is empty
	Retention  time.Duration `env:"RETENTION" envDefault:"2160h"`
	Window     time.Duration `env:"MATCH_WINDOW" envDefault:"144h"`
	Schedule   string        `env:"SCHEDULE" envDefault:"* * * * *"`
	Redis      redis.Settings
}

// Bounds of MATCH_WINDOW: each stay of a day is decided, and a tick is no search in all
// events.
const (
	shortestWindow = 24 * time.Hour
	longestWindow  = model.MaxWindow
)

// Validate reports every mistake.
func (s settings) Validate() error {
	errs := []error{process.CheckURL("GATEWAY_URL", s.GatewayURL), process.CheckURL("SUMMARY_URL", s.SummaryURL), s.Redis.Validate()}
	if s.Retention < time.Hour {
		errs = append(errs, fmt.Errorf("RETENTION is %s, want at least 1h", s.Retention))
	}
	if s.Window < shortestWindow || s.Window > longestWindow {
		errs = append(errs, fmt.Errorf("MATCH_WINDOW is %s, want %s to %s", s.Window, shortestWindow, longestWindow))
	}
	if _, err := schedule.Parse(s.Schedule); err != nil {
		errs = append(errs, fmt.Errorf("SCHEDULE is %q, want a cron expression as in the annotation schedule: %w", s.Schedule, err))
	}
	return errors.Join(errs...)
}

// Wire builds the matcher from the settings and secrets of its process. It opens no
// connection.
func Wire(rt *faas.Runtime) (http.Handler, error) {
	var s settings
	settingsErr := rt.Settings(&s)
	client, err := redis.Open(rt.Secret("redis-url").Value, redis.WithSettings(s.Redis), redis.WithLogger(rt.Log))
	if err := errors.Join(settingsErr, err); err != nil {
		return nil, err
	}
	ticks, err := schedule.NewTicks(client, rt.Name, s.Schedule)
	if err != nil {
		return nil, err
	}
	client.Register(rt, rt.Registerer)
	client.RegisterReplicas(rt)
	token := rt.Secret("summary-token").Value
	rt.Access.Token("summary", token, access.ReadMetrics)
	rt.Admit(admission(rt.Access))
	summaries := summaryclient.NewFunc(gateway.LocateSummary(s.GatewayURL, s.SummaryURL), token)
	if s.Redis.Replicas > 0 {
		summaries.Timeout += 2 * s.Redis.ReplicasTimeout // the endpoint waits for the replicas' memory and disks
	}
	summaries.Register(rt)
	registry := site.NewRegistry(client)
	rt.OnWarning("sites", registry.Check)
	store := timeline.New(client, s.Retention)
	store.Repeats = registry.Repeats
	stays, models := stay.New(client, s.Retention), model.New(client)
	metrics := NewMetrics(rt.Registerer)
	sites := SiteMatcher{
		Store: store, Stays: stays, Summaries: summaries, Models: models.Models,
		Settle: func(ctx context.Context, id string) (time.Duration, error) {
			one, err := registry.Site(ctx, id)
			return one.SettleTime(), err
		},
		Repair:    (&review.Reviewer{Events: store, Post: summaries.Post}).Repair,
		Estimates: &Estimates{Source: store, Stays: stays, Metrics: metrics, Log: rt.Log, Now: time.Now},
		Window:    s.Window, Log: rt.Log, Now: time.Now,
	}
	return handler(New(Config{
		Sites: store, Turns: NewTurns(client), Metrics: metrics, Log: rt.Log, Now: time.Now, Site: sites.Match,
	}), ticks, learn.Handler(&learn.Learner{Stays: stays, Events: store, Models: models, Match: Reader{store, stays}.match, Now: time.Now}, rt.Log)), nil
}
