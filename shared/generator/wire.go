package generator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/broker"
	"parkstream/shared/faas"
	"parkstream/shared/failure"
	"parkstream/shared/parking"
	"parkstream/shared/redis"
	"parkstream/shared/schedule"
)

// settings of a generator. The secrets rabbitmq-url and redis-url are files.
type settings struct {
	EntryQueue string        `env:"ENTRY_QUEUE" envDefault:"vehicle_entries"`
	ExitQueue  string        `env:"EXIT_QUEUE" envDefault:"vehicle_exits"`
	Count      int           `env:"DEFAULT_COUNT" envDefault:"1"`
	Above      int           `env:"DEFAULT_ABOVE" envDefault:"80"`
	Site       string        `env:"DEFAULT_SITE" envDefault:"default"`
	Schedule   string        `env:"SCHEDULE" envDefault:"* * * * *"`
	Retention  time.Duration `env:"RETENTION" envDefault:"2160h"`
	Redis      redis.Settings
	Audit      audit.Settings
}

// Validate returns all mistakes as one error.
func (s settings) Validate() error {
	var errs []error
	if s.Count < 1 || s.Count > maxDefaultCount {
		errs = append(errs, fmt.Errorf("DEFAULT_COUNT is %d, want 1 to %d: anyone may make a call without parameters", s.Count, maxDefaultCount))
	}
	if s.Above < 0 || s.Above > 100 {
		errs = append(errs, fmt.Errorf("DEFAULT_ABOVE is %d, want 0 to 100", s.Above))
	}
	if err := parking.CheckSite(s.Site); err != nil {
		errs = append(errs, fmt.Errorf("DEFAULT_SITE: %w", err))
	}
	if _, err := schedule.Parse(s.Schedule); err != nil {
		errs = append(errs, fmt.Errorf("SCHEDULE is %q, want a cron expression as in the annotation schedule: %w", s.Schedule, err))
	}
	if s.Retention < time.Hour {
		errs = append(errs, fmt.Errorf("RETENTION is %s, want at least 1h", s.Retention))
	}
	return errors.Join(append(errs, s.Redis.Validate(), s.Audit.Validate())...)
}

// admission returns who may call a generator, see [faas.Admission]: anyone as cron does,
// without parameters, and otherwise those who may generate.
func admission(guard *access.Guard) faas.Admission {
	return func(w http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
		if r.Method == http.MethodPost && r.URL.RawQuery == "" && r.ContentLength == 0 {
			if err := guard.CheckRequest(r); err != nil {
				guard.Refuse(w, r, err)
				return nil, 0, false
			}
			return r.Context(), 0, true
		}
		ctx, ok := guard.Require(w, r, access.Generate)
		return ctx, maxBody, ok
	}
}

// Wire returns the parts of a generator for the settings and secrets of its process. It
// opens no connection.
func Wire(rt *faas.Runtime) (Config, error) {
	var s settings
	settingsErr := rt.Settings(&s)
	client, err := redis.Open(rt.Secret("redis-url").Value, redis.WithSettings(s.Redis), redis.WithLogger(rt.Log))
	if err := errors.Join(settingsErr, err); err != nil {
		return Config{}, err
	}
	ticks, err := schedule.NewTicks(client, rt.Name, s.Schedule)
	if err != nil {
		return Config{}, err
	}
	client.Register(rt, rt.Registerer)
	client.RegisterReplicas(rt)
	rt.Admit(admission(rt.Access))
	inside := NewInside(client, s.Retention)

	publisher := broker.NewPublisher(broker.Config{
		URLs: broker.URLs(rt.Secret("rabbitmq-url").Value), Name: rt.Name, Log: rt.Log, Registerer: rt.Registerer,
	})
	rt.OnReady("rabbitmq", func(ctx context.Context) error {
		return failure.Detailed(broker.Failure(publisher.Connect(ctx)))
	})
	rt.OnClose("RabbitMQ publisher", func(context.Context) error { return publisher.Close() })
	recorded := audit.New(client, s.Audit, rt.Log, rt.Registerer)
	recorded.Register(rt, rt.Access)
	return Config{
		Publisher: publisher, Inside: inside, Ticks: ticks, Audit: recorded, Metrics: NewMetrics(rt.Registerer), Log: rt.Log,
		EntryQueue: s.EntryQueue, ExitQueue: s.ExitQueue, Count: s.Count, Above: s.Above, Site: s.Site, Now: time.Now,
	}, nil
}
