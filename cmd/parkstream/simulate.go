package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/process"
	"parkstream/shared/simulate"
	"parkstream/shared/site"
	"parkstream/shared/timeline"
)

type simulateCommand struct {
	Play  simulatePlayCommand  `cmd:"" default:"withargs" help:"Play a car park: its cameras post what they read, in the formats of their vendors."`
	Check simulateCheckCommand `cmd:"" help:"Compare the truth of a simulation with what became of its reads."`
}

type simulatePlayCommand struct {
	Duration time.Duration `default:"24h" help:"How long cameras read, in the time of the car park (${default})."`
	Pace     float64       `default:"2000" help:"How many times faster than real the time passes; 0 is as fast as possible (${default})."`
	Start    time.Time     `help:"Begin at this time, such as 2026-11-26T00:00:00Z. By default the simulated time ends when the run does."`
	Site     string        `default:"simulated" help:"The site; it is configured if it is not yet (${default})."`
	Zone     string        `default:"Europe/Berlin" help:"Time zone of a site that is not configured yet (${default})."`
	Seed     uint64        `default:"1" help:"One of the many car parks; with the same start it is the same one (${default})."`
	Visits   float64       `default:"2000" help:"Visits a day (${default})."`
	Scenario string        `default:"base" help:"How plates are misread and who comes: some of ${scenarios}, joined with + (${default})."`
	Formats  texts         `default:"${simulated_formats}" help:"Formats of the cameras: one at the entry and one at the exit of each (${default})."`
	Truth    string        `placeholder:"FILE" help:"Write the truth to this file: each visit, and each read with what becomes of it."`
	Check    bool          `help:"Check the truth at the end, as 'simulate check' does."`

	Connections int `default:"16" help:"How many posts are under way at a time (${default})."`
	summaryAPI
}

// Bounds of a simulation.
const (
	mostConnections = 256
	// simulatedWarmUp is for how long before the start vehicles came that are inside then.
	simulatedWarmUp = 72 * time.Hour
	// mostAhead is how far simulated time may be ahead of real time: processors accept
	// MAX_FUTURE, and cameras' clocks are skewed.
	mostAhead = time.Minute
	// keptFor is the default of RETENTION.
	keptFor = 2160 * time.Hour
)

// Validate returns an error for values of the flags that cannot be used.
func (c simulatePlayCommand) Validate() error {
	var wrong []error
	if !(c.Pace >= 0) {
		wrong = append(wrong, fmt.Errorf("--pace is %g, want 0 or more", c.Pace))
	}
	if c.Connections < 1 || c.Connections > mostConnections {
		wrong = append(wrong, fmt.Errorf("--connections is %d, want 1 to %d", c.Connections, mostConnections))
	}
	if err := parking.CheckSite(c.Site); err != nil {
		wrong = append(wrong, fmt.Errorf("--site: %w", err))
	}
	if c.Check && c.Truth == "" {
		wrong = append(wrong, errors.New("--check needs --truth FILE"))
	}
	return errors.Join(wrong...)
}

// Run plays the simulation until it is over or ctx ends.
func (c simulatePlayCommand) Run(ctx context.Context) error {
	s, err := c.scenario(time.Now())
	if err != nil {
		return err
	}
	configured, err := c.simulated(ctx, c.Site)
	if err != nil {
		return err
	}
	if configured.Config != nil {
		c.Zone = cmp.Or(configured.Config.text("zone"), "UTC")
	}
	if s.Location, err = time.LoadLocation(c.Zone); err != nil || c.Zone == "Local" {
		return fmt.Errorf("--zone %s: want a name of the IANA time zones, such as Europe/Berlin", c.Zone)
	}
	simulation, err := simulate.New(s)
	if err != nil {
		return err
	}
	cameras, err := c.configure(ctx, s.Cameras, configured.Config)
	if err != nil {
		return err
	}
	truth := io.Discard
	if c.Truth != "" {
		f, err := os.Create(c.Truth)
		if err != nil {
			return fmt.Errorf("--truth: %w", err)
		}
		defer f.Close()
		truth = f
	}
	p := newPlaying(c, simulation, cameras, simulate.NewTruthWriter(truth))
	err = p.truth.Write(simulate.Truth{Run: &simulate.TruthRun{
		Site: c.Site, Seed: c.Seed, Start: s.Start, End: s.Start.Add(s.Duration), Zone: c.Zone, New: configured.Totals == timeline.Totals{},
	}})
	if err == nil {
		err = p.run(ctx)
	}
	if err = errors.Join(err, p.truth.Flush()); err != nil || !c.Check {
		return err
	}
	return simulateCheckCommand{Truth: c.Truth, Wait: 2 * time.Minute, summaryAPI: c.summaryAPI}.Run(ctx)
}

// scenario returns what is simulated.
func (c simulatePlayCommand) scenario(now time.Time) (simulate.Scenario, error) {
	s := simulate.Base()
	s.NoPlate, s.Late, s.Repeated, s.Tailgating = 0.01, 0.01, 0.01, 0.02
	s.Skew, s.Candidates, s.Appearance, s.WarmUp = 3*time.Second, true, true, simulatedWarmUp
	s.Seed, s.Duration, s.Visits, s.Cameras = c.Seed, c.Duration, c.Visits, nil
	if err := s.Vary(c.Scenario); err != nil {
		return s, fmt.Errorf("--scenario: %w", err)
	}
	for i, format := range c.Formats {
		gate := fmt.Sprint(i + 1)
		if format == "axis" { // it tells entries from exits itself
			s.Cameras = append(s.Cameras, simulate.Camera{ID: c.Site + "-axis", Gate: gate, Role: simulate.Both, Format: format})
			continue
		}
		s.Cameras = append(s.Cameras,
			simulate.Camera{ID: fmt.Sprintf("%s-%s-in", c.Site, format), Gate: gate, Role: simulate.Entries, Format: format},
			simulate.Camera{ID: fmt.Sprintf("%s-%s-out", c.Site, format), Gate: gate, Role: simulate.Exits, Format: format})
	}
	took := time.Duration(0)
	if c.Pace > 0 {
		took = time.Duration(float64(c.Duration) / c.Pace)
	}
	over := now.Add(took)
	s.Start = c.Start
	if c.Start.IsZero() {
		s.Start = over.Add(-c.Duration).Truncate(time.Second)
	}
	if end := s.Start.Add(s.Duration); end.Sub(over) > mostAhead {
		return s, fmt.Errorf("--start: the simulated time would end at %s, when it is only %s: processors accept events of MAX_FUTURE ahead at most", end.Format(time.RFC3339), over.Format(time.RFC3339))
	}
	if began := s.Start.Add(-s.WarmUp); now.Sub(began) > keptFor {
		return s, fmt.Errorf("--start: vehicles come from %s on, which is longer ago than the %s for which events are kept (RETENTION)", began.Format(time.RFC3339), keptFor)
	}
	return s, nil
}

// simulatedSite is the state of a site, as far as it matters here.
type simulatedSite struct {
	Totals timeline.Totals `json:"totals"`
	Config siteConfig      `json:"config"`
}

// siteConfig is the configuration of a site. What does not matter here is kept.
type siteConfig map[string]any

func (c siteConfig) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// cameras returns the cameras of a site.
func (c siteConfig) cameras() (list []cameraConfig, err error) {
	text, err := json.Marshal(c["cameras"])
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	return list, err
}

type gateConfig struct {
	ID string `json:"id"`
}

type cameraConfig struct {
	ID     string `json:"id"`
	Gate   string `json:"gate"`
	Role   string `json:"role"`
	Format string `json:"format"`
	Token  string `json:"token,omitempty"`
}

// simulated returns the state of a site; of an unknown one it is zero.
func (a summaryAPI) simulated(ctx context.Context, id string) (s simulatedSite, err error) {
	err = a.call(ctx, http.MethodGet, "/sites/"+id, nil, &s)
	if status, ok := errors.AsType[*statusError](err); ok && status.code == http.StatusNotFound {
		err = nil
	}
	return s, err
}

// configure configures the cameras of a site that has none, and returns the simulated ones.
// Their tokens are made of that of the caller, so that a later run knows them, too.
func (c simulatePlayCommand) configure(ctx context.Context, simulated []simulate.Camera, config siteConfig) (map[string]simulatedCamera, error) {
	secret, err := process.NewSecret(filepath.Dir(c.TokenFile), filepath.Base(c.TokenFile)).Value()
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return nil, err
	}
	cameras := make(map[string]simulatedCamera)
	var gates []gateConfig
	var list []cameraConfig
	for _, s := range simulated {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = mac.Write([]byte("camera " + s.ID))
		token := hex.EncodeToString(mac.Sum(nil)[:20])
		if gate := (gateConfig{s.Gate}); !slices.Contains(gates, gate) {
			gates = append(gates, gate)
		}
		list = append(list, cameraConfig{s.ID, s.Gate, string(s.Role), s.Format, token})
		cameras[s.ID] = simulatedCamera{
			Camera: site.Camera{ID: s.ID, Site: c.Site, Gate: s.Gate, Role: site.Role(s.Role), Format: s.Format, Location: zone},
			token:  token,
		}
	}
	if known, err := config.cameras(); err != nil || len(known) > 0 {
		for _, s := range simulated {
			if !slices.ContainsFunc(known, func(c cameraConfig) bool { return c.ID == s.ID }) {
				return nil, errors.Join(err, fmt.Errorf("the site %s has cameras, and %s is not among them: choose another --site, or other --formats", c.Site, s.ID))
			}
		}
		return cameras, err
	}
	if config == nil {
		config = siteConfig{"name": "Simulated car park", "zone": c.Zone}
	}
	config["gates"], config["cameras"] = gates, list
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	var done json.RawMessage
	if err := c.call(ctx, http.MethodPut, "/sites/"+c.Site, text, &done); err != nil {
		return nil, fmt.Errorf("configure the site %s: %w", c.Site, err)
	}
	return cameras, nil
}

// simulatedCamera is a camera as it is configured.
type simulatedCamera struct {
	site.Camera
	token string
}
