// Package processor has what the functions entry-processor and exit-processor share:
// settings and wiring.
package processor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"parkstream/shared/access"
	"parkstream/shared/audit"
	"parkstream/shared/camera/health"
	"parkstream/shared/faas"
	"parkstream/shared/gateway"
	"parkstream/shared/parking"
	"parkstream/shared/pipeline"
	"parkstream/shared/process"
	"parkstream/shared/redis"
	"parkstream/shared/site"
	"parkstream/shared/summary/summaryclient"
	"parkstream/shared/timeline"
)

// Settings of a processor. The secrets redis-url and summary-token are files.
type Settings struct {
	GatewayURL string        `env:"GATEWAY_URL"` // discovered if it is empty
	SummaryURL string        `env:"SUMMARY_URL"` // the gateway's /function/summary if it is empty
	Retention  time.Duration `env:"RETENTION" envDefault:"2160h"`
	MaxFuture  time.Duration `env:"MAX_FUTURE" envDefault:"2m"`
	MaxSites   int           `env:"MAX_SITES" envDefault:"1000"`
	ShowPlates bool          `env:"SHOW_PLATES" envDefault:"false"`
	Redis      redis.Settings
	Audit      audit.Settings
}

// Validate reports every mistake.
func (s Settings) Validate() error {
	errs := []error{process.CheckURL("GATEWAY_URL", s.GatewayURL), process.CheckURL("SUMMARY_URL", s.SummaryURL), s.Redis.Validate(), s.Audit.Validate()}
	if s.Retention < time.Hour {
		errs = append(errs, fmt.Errorf("RETENTION is %s, want at least 1h", s.Retention))
	}
	if s.MaxFuture < 0 || s.MaxFuture > 24*time.Hour {
		errs = append(errs, fmt.Errorf("MAX_FUTURE is %s, want 0s to 24h", s.MaxFuture))
	}
	if s.MaxSites < 1 || s.MaxSites > timeline.MostMaxSites {
		errs = append(errs, fmt.Errorf("MAX_SITES is %d, want 1 to %d", s.MaxSites, timeline.MostMaxSites))
	}
	return errors.Join(errs...)
}

// callerOf returns what the principal of a call may do.
func callerOf(ctx context.Context) pipeline.Caller {
	principal := access.From(ctx)
	return pipeline.Caller{
		CheckSite: func(site string) error {
			if !principal.Sites.Has(site) {
				return access.ErrSite
			}
			return nil
		},
		MayRead: principal.May(access.Read),
	}
}

// Wire builds the parts of a processor. It opens no connection.
func Wire(rt *faas.Runtime) (pipeline.Config, error) {
	var s Settings
	err := rt.Settings(&s)
	client, redisErr := redis.Open(rt.Secret("redis-url").Value, redis.WithSettings(s.Redis), redis.WithLogger(rt.Log))
	if err := errors.Join(err, redisErr); err != nil {
		return pipeline.Config{}, err
	}
	client.Register(rt, rt.Registerer)
	data := timeline.New(client, s.Retention)
	client.RegisterReplicas(rt)
	summaryToken := rt.Secret("summary-token").Value
	rt.Access.Token("connector", rt.Secret("connector-token").Value, access.PostEvents)
	rt.Access.Token("summary", summaryToken, access.ReadMetrics)
	rt.Admit(func(w http.ResponseWriter, r *http.Request) (context.Context, int64, bool) {
		ctx, ok := rt.Access.Require(w, r, access.PostEvents)
		return ctx, pipeline.MaxBody(r), ok
	})
	data.MaxSites = s.MaxSites
	registry := site.NewRegistry(client)
	rt.OnWarning("sites", registry.Check)
	data.Repeats = registry.Repeats
	recorded := audit.New(client, s.Audit, rt.Log, rt.Registerer)
	recorded.Register(rt, rt.Access)
	summaries := summaryclient.NewFunc(gateway.LocateSummary(s.GatewayURL, s.SummaryURL), summaryToken)
	if s.Redis.Replicas > 0 {
		summaries.Timeout += 2 * s.Redis.ReplicasTimeout // the endpoint waits for the replicas' memory and disks
	}
	summaries.Register(rt)
	recorder := health.NewRecorder(client, rt.Log)
	rt.OnClose("health of the cameras", recorder.Close)
	return pipeline.Config{
		Store:      auditedStore{data, recorded},
		Summaries:  summaries,
		Caller:     callerOf,
		Limits:     parking.Limits{MaxFuture: s.MaxFuture, Retention: s.Retention},
		Metrics:    pipeline.NewMetrics(rt.Registerer, rt.Name),
		Log:        rt.Log,
		ShowPlates: s.ShowPlates,
		Done:       outcomes(registry, recorder),
	}, nil
}

// outcomes returns a function that records what became of events at sites with cameras.
func outcomes(registry *site.Registry, recorder *health.Recorder) func(context.Context, []pipeline.Done) {
	return func(ctx context.Context, done []pipeline.Done) {
		now := time.Now()
		var at site.Site // of the event before: most calls have one site
		for _, d := range done {
			if d.Event.Site != at.ID {
				var err error
				if at, err = registry.Site(ctx, d.Event.Site); err != nil {
					return // the registry has no copy: the next site would wait for it, too
				}
			}
			recorder.Outcome(at.Cameras, d.Event, d.Stays, now)
		}
	}
}
