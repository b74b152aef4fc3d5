package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"parkstream/cmd/internal/eventfile"
	"parkstream/shared/camera"
	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// sendCamera is the camera of recorded requests and of exported tables. With the values
// of its configuration the events have the ids that the webhook gives them.
type sendCamera struct {
	Camera    string            `help:"Id of the camera whose recorded requests or exported table the file has."`
	Site      string            `help:"Site of the camera."`
	Gate      string            `help:"Gate of the camera."`
	Zone      string            `help:"Time zone of local times, such as Europe/Berlin."`
	Kind      string            `enum:"entry,exit,both" default:"both" help:"entry or exit, or both: each read tells its direction."`
	Direction map[string]string `help:"What a direction means: forward=entry;reverse=exit." placeholder:"WORD=KIND"`
	Dates     string            `enum:"auto,dmy,mdy" default:"auto" help:"Whether dates such as 07/08/2026 begin with the day (dmy) or the month (mdy); auto refuses them."`
}

// recordedFormat is the name of the format of requests that are recognised.
const recordedFormat = "camera"

// recorded reports whether the files are recorded requests.
func (c sendCommand) recorded() bool {
	return c.Format == recordedFormat || slices.ContainsFunc(camera.All(), func(f camera.Format) bool { return f.Name == c.Format })
}

// camera returns the camera of the flags, or nil if there is none.
func (c sendCommand) camera() (*eventfile.Camera, error) {
	if c.Camera == "" {
		if c.recorded() {
			return nil, fmt.Errorf("--format %s needs --camera, the id of the camera", c.Format)
		}
		return nil, c.useless()
	}
	if err := cmp.Or(parking.CheckID(c.Camera), parking.CheckSite(cmp.Or(c.Site, parking.DefaultSite))); err != nil {
		return nil, fmt.Errorf("--camera and --site: %w", err)
	}
	if c.Zone == "" {
		return nil, errors.New("--camera needs --zone, the time zone of its local times, such as Europe/Berlin, or UTC")
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil || c.Zone == "Local" {
		return nil, fmt.Errorf("--zone %q is no time zone such as Europe/Berlin", c.Zone)
	}
	of := eventfile.Camera{Camera: site.Camera{
		ID: c.Camera, Site: c.Site, Gate: c.Gate, Format: c.Format, Location: zone,
		Role: map[string]site.Role{"entry": site.Entries, "exit": site.Exits}[c.Kind], Directions: map[string]parking.Kind{},
	}, Received: time.Now()}
	of.Role = cmp.Or(of.Role, site.Both)
	if c.Format == recordedFormat {
		of.Format = site.Auto
	}
	if c.Dates != "auto" {
		of.Dates = camera.DateOrder(c.Dates)
	}
	for word, kind := range c.Direction {
		switch kind {
		case parking.Entry.String():
			of.Directions[strings.ToLower(strings.TrimSpace(word))] = parking.Entry
		case parking.Exit.String():
			of.Directions[strings.ToLower(strings.TrimSpace(word))] = parking.Exit
		default:
			return nil, fmt.Errorf("--direction %s=%s: want entry or exit", word, kind)
		}
	}
	return &of, nil
}

// useless returns an error if there are values of a camera, and no camera.
func (c sendCamera) useless() error {
	for name, given := range map[string]bool{
		"--site": c.Site != "", "--gate": c.Gate != "", "--zone": c.Zone != "", "--direction": len(c.Direction) > 0,
		"--kind": cmp.Or(c.Kind, "both") != "both", "--dates": cmp.Or(c.Dates, "auto") != "auto",
	} {
		if given {
			return fmt.Errorf("%s is that of a camera: it needs --camera, the id of the one that the file is of", name)
		}
	}
	return nil
}

// source is what is read.
type source struct {
	io.Closer
	open func() (eventfile.Reader, error)
}

func (c sendCommand) source() (*source, error) {
	known := []string{"auto", "jsonl", "csv", recordedFormat}
	if !c.recorded() && !slices.Contains(append(known, ""), c.Format) {
		return nil, fmt.Errorf("--format %q is none of %s, %s", c.Format, strings.Join(known, ", "), strings.Join(camera.Names()[1:], ", "))
	}
	of, err := c.camera()
	if err != nil {
		return nil, err
	}
	if c.recorded() {
		requests, err := eventfile.NewRequests(append([]string{c.File}, c.More...), of)
		return &source{io.NopCloser(nil), func() (eventfile.Reader, error) { return requests, nil }}, err
	}
	if len(c.More) > 0 {
		return nil, errors.New("several files need the --format of a camera")
	}
	if c.File == "-" {
		return &source{io.NopCloser(nil), func() (eventfile.Reader, error) { return eventfile.NewOf(os.Stdin, c.format(), of) }}, nil
	}
	in, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	return &source{in, func() (eventfile.Reader, error) { return eventfile.NewOf(in, c.format(), of) }}, nil
}

// check reads the whole file and reports every record that is no event.
func (c sendCommand) check(ctx context.Context, source *source) error {
	good, bad := 0, 0
	for r := range c.read(ctx, source) {
		mistake, isBad := errors.AsType[*eventfile.LineError](r.err)
		switch {
		case isBad:
			bad++
			fmt.Fprintln(os.Stderr, mistake)
		case r.err != nil:
			return r.err
		default:
			good++
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case good+bad == 0:
		return fmt.Errorf("%s has no event", c.name())
	case bad > 0:
		return fmt.Errorf("of %d records %d are refused", good+bad, bad)
	}
	fmt.Fprintf(os.Stderr, "every record is an event: %d\n", good)
	return nil
}
