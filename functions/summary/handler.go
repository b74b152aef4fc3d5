// Package function is the summary: it stores the stays that the processors post, and
// serves them and the sites to people.
package function

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"

	"parkstream/shared/access"
	"parkstream/shared/access/ended"
	"parkstream/shared/access/oidc"
	"parkstream/shared/access/session"
	"parkstream/shared/audit"
	"parkstream/shared/camera/health"
	"parkstream/shared/faas"
	"parkstream/shared/gateway"
	"parkstream/shared/image"
	"parkstream/shared/model"
	"parkstream/shared/monitor"
	"parkstream/shared/process"
	"parkstream/shared/redis"
	"parkstream/shared/site"
	"parkstream/shared/stay"
	"parkstream/shared/summary"
	"parkstream/shared/timeline"
)

var service http.Handler

// settings of the summary; the secrets redis-url and summary-token are files.
type settings struct {
	Retention    time.Duration `env:"RETENTION" envDefault:"2160h"`
	GatewayURL   string        `env:"GATEWAY_URL"`   // discovered if it is empty
	ConnectorURL string        `env:"CONNECTOR_URL"` // for its health and metrics; empty: not shown
	MaxSites     int           `env:"MAX_SITES" envDefault:"1000"`
	// ImageRetention is that of sites for which the registry has none.
	ImageRetention time.Duration `env:"IMAGE_RETENTION" envDefault:"720h"`
	Images         image.Settings
	OIDC           oidc.Settings
	Redis          redis.Settings
	Audit          audit.Settings
}

// Validate reports every mistake.
func (s settings) Validate() error {
	errs := []error{process.CheckURL("GATEWAY_URL", s.GatewayURL), process.CheckURL("CONNECTOR_URL", s.ConnectorURL), s.Redis.Validate(), s.Audit.Validate(), s.OIDC.Validate(), s.Images.Validate()}
	if s.Retention < time.Hour { // with none, every stay would be too old to be kept
		errs = append(errs, fmt.Errorf("RETENTION is %s, want at least 1h", s.Retention))
	}
	if s.ImageRetention < time.Hour {
		errs = append(errs, fmt.Errorf("IMAGE_RETENTION is %s, want at least 1h", s.ImageRetention))
	}
	if s.MaxSites < 1 || s.MaxSites > timeline.MostMaxSites {
		errs = append(errs, fmt.Errorf("MAX_SITES is %d, want 1 to %d", s.MaxSites, timeline.MostMaxSites))
	}
	return errors.Join(errs...)
}

// Wire builds the function from its settings and secrets.
func Wire(rt *faas.Runtime) error {
	var s settings
	err := rt.Settings(&s)
	client, redisErr := redis.Open(rt.Secret("redis-url").Value, redis.WithSettings(s.Redis), redis.WithLogger(rt.Log))
	images, imagesErr := image.Wire(rt.Process, s.Images)
	if err := errors.Join(err, redisErr, imagesErr); err != nil {
		return err
	}
	client.Register(rt, rt.Registerer)
	recorded := audit.New(client, s.Audit, rt.Log, rt.Registerer)
	recorded.Register(rt, rt.Access)
	stays := stay.New(client, s.Retention)
	client.RegisterReplicas(rt)
	sites := timeline.New(client, s.Retention)
	sites.MaxSites = s.MaxSites
	registry := site.NewRegistry(client)
	cameras := health.NewReader(client, registry)
	rt.OnWarning("sites", registry.Check)
	stays.Zone, sites.Settings, sites.Repeats = registry.Zone, summary.SettingsOf(registry), registry.Repeats
	rt.Registerer.MustRegister(summary.NewSiteMetrics(sites, rt.Log), summary.NewCameraMetrics(cameras, rt.Log))
	images.SweepRegularly(rt.Process, s.keepImages(registry))
	token := rt.Secret("summary-token").Value
	rt.Access.Token("processors", token, access.PostStays)
	parts := monitor.New(gateway.New(s.GatewayURL).URL, s.ConnectorURL, client.Writable, rt.Log)
	parts.Token = token // the processors take it for their metrics
	endpoint := summary.NewHandler(summary.Config{
		Stays:    stays,
		Sites:    sites,
		Registry: registry,
		Models:   model.New(client),
		Cameras:  cameras,
		Images:   images,
		Monitor:  parts,
		Access:   rt.Access,
		Login:    login(rt, s.OIDC, client),
		// The processors and all replicas of the summary have this secret.
		CursorKey: token,
		Audit:     recorded,
		Metrics:   summary.NewMetrics(rt.Registerer),
		Log:       rt.Log,
	})
	rt.Admit(endpoint.Admit)
	service = endpoint
	return nil
}

// keepImages returns how long sites keep pictures: no longer than events, by which they
// are found.
func (s settings) keepImages(configured *site.Registry) image.Keep {
	return func(ctx context.Context, id string) (time.Duration, error) {
		config, err := configured.Site(ctx, id)
		return min(cmp.Or(config.ImageRetention, s.ImageRetention), s.Retention), err
	}
}

// login builds how people log in.
func login(rt *faas.Runtime, s oidc.Settings, client *redis.Client) summary.Login {
	c := session.Config{
		Keys: rt.Secret("session-key").Value, User: rt.Access.User, Ended: ended.New(client),
		HTTPS: s.ByHTTPS(), Log: rt.Log,
	}
	var provider summary.Provider
	if s.Issuer != "" {
		p := oidc.Register(rt.Process, s)
		provider, c.Grant = p, p.Grant
	}
	sessions := session.New(c)
	rt.Access.AddIdentifier(sessions.Identify)
	rt.OnWarning("session-key", func(ctx context.Context) error {
		if provider == nil && !rt.Access.HasPasswords() {
			return nil // no one needs a session
		}
		return sessions.Available(ctx)
	})
	return summary.Login{Sessions: sessions, Provider: provider}
}

// Handle serves one call.
func Handle(req handler.Request) (handler.Response, error) { return faas.Adapt(service, req) }
