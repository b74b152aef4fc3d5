package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"parkstream/shared/camera"
	"parkstream/shared/redirect"
	"parkstream/shared/simulate"
)

const (
	// waitingPosts bounds the posts that wait for one connection.
	waitingPosts = 64
	// Delays before a post is made again; they double up to the second.
	postAgainDelay    = 100 * time.Millisecond
	postAgainMaxDelay = 5 * time.Second
	postTimeout       = time.Minute
	// newCameras is how long a camera that was just configured may be unknown.
	newCameras = 15 * time.Second
	// mostRefusals is how many refusals are shown.
	mostRefusals = 10
)

// playing is one run of the command.
type playing struct {
	simulatePlayCommand
	simulation *simulate.Simulation
	client     *http.Client
	cameras    map[string]simulatedCamera
	truth      *simulate.TruthWriter
	out        io.Writer
	terminal   bool
	started    time.Time

	mu     sync.Mutex
	counts playCounts
	shown  time.Time
}

// playCounts are what the summary tells.
type playCounts struct {
	posts, again, retries, refused, visits int
	fates                                  map[simulate.Fate]int
	now                                    time.Time // in the car park
	behind                                 time.Duration
	slowest                                time.Duration
}

func newPlaying(c simulatePlayCommand, s *simulate.Simulation, cameras map[string]simulatedCamera, truth *simulate.TruthWriter) *playing {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	transport.MaxIdleConnsPerHost = c.Connections
	return &playing{
		simulatePlayCommand: c, simulation: s, client: &http.Client{Transport: transport, CheckRedirect: redirect.Refuse, Timeout: postTimeout}, cameras: cameras, truth: truth, out: os.Stderr, terminal: isTerminal(os.Stderr),
		started: time.Now(), counts: playCounts{fates: make(map[simulate.Fate]int), now: s.Start},
	}
}

// run posts everything until it is accepted or ctx ends. Posts of one vehicle go over one
// connection, in their order.
func (p *playing) run(ctx context.Context) error {
	workers, working := errgroup.WithContext(ctx)
	queues := make([]chan simulate.Post, p.Connections)
	for i := range queues {
		queues[i] = make(chan simulate.Post, waitingPosts)
		workers.Go(func() error {
			for post := range queues[i] {
				if err := p.post(working, post); err != nil {
					return err
				}
			}
			return nil
		})
	}
	workers.Go(func() error {
		defer func() {
			for _, queue := range queues {
				close(queue)
			}
		}()
		return p.dispatch(working, queues)
	})
	err := workers.Wait()
	p.client.CloseIdleConnections()
	p.summary(ctx, err)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted: what is in the truth was posted, the rest was not")
	case err != nil:
		return err
	case p.counts.refused > 0:
		return fmt.Errorf("%d of %d posts were refused", p.counts.refused, p.counts.posts)
	}
	return nil
}

// dispatch hands out posts when they are due.
func (p *playing) dispatch(ctx context.Context, queues []chan simulate.Post) error {
	for step := range p.simulation.Steps() {
		var err error
		switch {
		case step.Over != nil:
			p.count(func(c *playCounts) { c.visits++ })
			err = p.truth.Write(simulate.TruthOfVisit(step.Over))
		case step.Unseen != nil:
			p.count(func(c *playCounts) { c.fates[step.Unseen.Fate]++ })
			err = p.truth.Write(simulate.TruthOfRead(step.Unseen))
		default:
			if err = p.wait(ctx, step.Post.At); err != nil {
				return err
			}
			select {
			case queues[step.Post.Read.Track%uint64(len(queues))] <- *step.Post:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		p.progress()
	}
	return nil
}

// due returns when a time of the car park has come.
func (p *playing) due(at time.Time) time.Time {
	if p.Pace == 0 {
		return p.started
	}
	return p.started.Add(time.Duration(float64(at.Sub(p.simulation.Start)) / p.Pace))
}

// wait returns when a time of the car park has come.
func (p *playing) wait(ctx context.Context, at time.Time) error {
	due := p.due(at)
	delay := time.Until(due)
	p.count(func(c *playCounts) {
		c.now = at
		if c.behind = max(-delay, 0); p.Pace == 0 {
			c.behind = 0
		}
	})
	for delay > 0 {
		select {
		case <-time.After(min(delay, progressInterval)):
		case <-ctx.Done():
			return ctx.Err()
		}
		p.progress()
		delay = time.Until(due)
	}
	return ctx.Err()
}

// post makes one post until it is answered for good, and writes the read's truth.
func (p *playing) post(ctx context.Context, post simulate.Post) error {
	read := post.Read
	payload := read.Payload(p.simulation.Location)
	truth := simulate.TruthOfRead(read)
	if err := p.identify(truth.Read, payload); err != nil {
		return err
	}
	refusal, err := p.untilAnswered(ctx, read.Camera.ID, payload)
	truth.Read.Accepted = err == nil && refusal == nil
	p.count(func(c *playCounts) {
		if c.posts++; post.Again {
			c.again++
		} else {
			c.fates[read.Fate]++
		}
		if refusal != nil {
			if c.refused++; c.refused <= mostRefusals {
				p.clear()
				fmt.Fprintln(p.out, refusal)
			}
		}
	})
	if post.Again {
		return err
	}
	return errors.Join(err, p.truth.Write(truth))
}

// identify sets the id and version that the adapter of the camera's format makes of a
// read.
func (p *playing) identify(t *simulate.TruthRead, payload simulate.Payload) error {
	c, now := p.cameras[t.Camera].Camera, time.Now()
	request := camera.Request{Header: http.Header{"Content-Type": {payload.ContentType}}, Body: payload.Body, Received: now}
	_, message, err := camera.Parse(request, c)
	if err == nil {
		events, _, err2 := camera.Events(message, c, now)
		if err = err2; err == nil && len(events) == 1 {
			t.Event, t.Version = events[0].ID, events[0].Version
			return nil
		}
	}
	return fmt.Errorf("a post of the camera %s is not one event (%w)", t.Camera, err)
}

// untilAnswered posts until the answer is final: accepted, or refused with the reason.
func (p *playing) untilAnswered(ctx context.Context, id string, payload simulate.Payload) (refusal, err error) {
	for delay := postAgainDelay; ; delay = min(2*delay, postAgainMaxDelay) {
		began := time.Now()
		status, after, text, err := p.once(ctx, id, payload)
		p.count(func(c *playCounts) { c.slowest = max(c.slowest, time.Since(began)) })
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil, status >= http.StatusInternalServerError, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		case status/100 == 2:
			return nil, nil
		case status == http.StatusUnauthorized && time.Since(p.started) < newCameras: // it was configured a moment ago
		case status == http.StatusUnauthorized:
			return nil, fmt.Errorf("the token of the camera %s is refused: the site %s was configured by others, or with another token: choose another --site", id, p.Site)
		case status == http.StatusNotFound:
			return nil, fmt.Errorf("%s has no function camera: %s", p.Gateway, text)
		default:
			return fmt.Errorf("camera %s: %d %s", id, status, text), nil
		}
		p.count(func(c *playCounts) { c.retries++ })
		select {
		case <-time.After(max(delay, after)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// once makes one request. after is how long the answer asks to wait.
func (p *playing) once(ctx context.Context, id string, payload simulate.Payload) (status int, after time.Duration, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.Gateway, "/")+"/function/camera/"+id, bytes.NewReader(payload.Body))
	if err != nil {
		return 0, 0, "", fmt.Errorf("--gateway %s: %w", p.Gateway, err)
	}
	r.Header.Set("Content-Type", payload.ContentType)
	r.Header.Set("Authorization", "Bearer "+p.cameras[id].token)
	resp, err := p.client.Do(r)
	if err != nil {
		return 0, 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, 0, "", fmt.Errorf("read the answer: %w", err)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		after = min(time.Duration(seconds)*time.Second, postAgainMaxDelay)
	}
	return resp.StatusCode, after, strings.TrimSpace(string(answer)), nil
}

// count changes the counts.
func (p *playing) count(change func(*playCounts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.counts)
}

// progress shows the state each second.
func (p *playing) progress() {
	if !p.terminal || time.Since(p.shown) < progressInterval {
		return
	}
	p.shown = time.Now()
	p.count(func(c *playCounts) {
		p.clear()
		fmt.Fprintf(p.out, "%s: %d posts accepted, %d made again, %.0f/s", c.now.In(p.simulation.Location).Format("Mon 15:04"), c.posts-c.refused, c.retries, float64(c.posts)/time.Since(p.started).Seconds())
		if c.behind > 2*time.Second {
			fmt.Fprintf(p.out, ", %s behind", c.behind.Round(time.Second))
		}
	})
}

// clear empties the line of progress.
func (p *playing) clear() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

// summary shows what was posted.
func (p *playing) summary(ctx context.Context, err error) {
	p.clear()
	c := &p.counts
	took := time.Since(p.started)
	fmt.Fprintf(p.out, "%s to %s at site %s, seed %d: %d visits, %d posts in %s (%.0f/s), %d of them sent twice, %d attempts failed and were made again, %d refused; the slowest answer took %s\n",
		p.simulation.Start.In(p.simulation.Location).Format(time.RFC3339), c.now.In(p.simulation.Location).Format(time.RFC3339), p.Site, p.Seed,
		c.visits, c.posts, took.Round(time.Millisecond), float64(c.posts)/took.Seconds(), c.again, c.retries, c.refused, c.slowest.Round(time.Millisecond))
	fmt.Fprintf(p.out, "reads:")
	for _, fate := range fates {
		fmt.Fprintf(p.out, " %d %s", c.fates[fate], fate)
	}
	fmt.Fprintln(p.out)
	if p.Truth != "" && err == nil && ctx.Err() == nil && !p.Check {
		fmt.Fprintf(p.out, "check it: parkstream simulate check %s\n", shellQuoted(p.Truth))
	}
}

// fates are the kinds of reads in the order in which they are shown.
var fates = []simulate.Fate{simulate.Event, simulate.Version, simulate.Repeat, simulate.NoPlate, simulate.Dropped}
