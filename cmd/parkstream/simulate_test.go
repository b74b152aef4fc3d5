package main

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"parkstream/shared/camera"
	"parkstream/shared/parking"
	"parkstream/shared/simulate"
	"parkstream/shared/site"
)

// What a simulated camera of each format posts is recognised, and is read as what the
// simulation takes for the truth: in the hour that comes twice, with a skewed clock, by
// cameras that see both directions.
func TestSimulatedCamerasAreRead(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	scenario := simulate.Base()
	scenario.Start, scenario.Duration, scenario.Location = time.Date(2026, 10, 25, 0, 0, 0, 0, berlin), 7*time.Hour, berlin
	scenario.Visits, scenario.NoPlate, scenario.Doubled, scenario.Skew = 25_000, 0.05, 0.1, 3*time.Second
	scenario.Candidates, scenario.Appearance, scenario.Cameras = true, true, nil
	cameras := make(map[string]site.Camera)
	for _, format := range simulate.Formats() {
		scenario.Cameras = append(scenario.Cameras, simulate.Camera{ID: format, Gate: "1", Role: simulate.Both, Format: format})
		cameras[format] = site.Camera{ID: format, Site: "s", Gate: "1", Role: site.Both, Format: site.Auto, Location: berlin, Directions: simulatedDirections(format)}
	}
	simulation, err := simulate.New(scenario)
	if err != nil {
		t.Fatal(err)
	}
	counted := make(map[string]int)
	versions := make(map[string][]int64)
	for step := range simulation.Steps() {
		if step.Post == nil {
			continue
		}
		read := step.Post.Read
		payload := read.Payload(berlin)
		request := camera.Request{Header: http.Header{"Content-Type": {payload.ContentType}}, Body: payload.Body, Received: step.Post.At.Add(24 * time.Hour)}
		format, message, err := camera.Parse(request, cameras[read.Camera.ID])
		if err != nil || format.Name != read.Camera.Format {
			t.Fatalf("%s is read as %s: %v\n%s", read.Camera.Format, format.Name, err, payload.Body)
		}
		events, _, err := camera.Events(message, cameras[read.Camera.ID], request.Received)
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %d events, %v\n%s", format.Name, len(events), err, payload.Body)
		}
		// Posted once more, later, it is the same event: a simulation posted twice changes nothing.
		request.Received = request.Received.Add(time.Hour)
		_, message, err = camera.Parse(request, cameras[read.Camera.ID])
		again, _, wrong := camera.Events(message, cameras[read.Camera.ID], request.Received)
		if err != nil || wrong != nil || !reflect.DeepEqual(again, events) {
			t.Fatalf("%s: posted again it is %+v, %v, %v; it was %+v", format.Name, again, err, wrong, events)
		}
		e, want := events[0], read.Event("s")
		if e.Plate != want.Plate || e.NoPlate != want.NoPlate || !e.Time.Equal(want.Time) || e.Kind != want.Kind || e.Camera != want.Camera || e.Gate != want.Gate {
			t.Fatalf("%s is read as\n%+v, want\n%+v\n%s", format.Name, e, want, payload.Body)
		}
		if c := e.Details.Confidence; read.Plate != "" && (c == nil || *c < read.Confidence-0.005 || *c > read.Confidence+0.005) {
			t.Fatalf("%s has the confidence %v, want %v", format.Name, c, read.Confidence)
		}
		if !strings.EqualFold(e.Details.Color, want.Details.Color) && e.Details.Color != "" {
			t.Fatalf("%s has the colour %q, want %q", format.Name, e.Details.Color, want.Details.Color)
		}
		counted[format.Name]++
		if e.Details.AmbiguousTime {
			counted[format.Name+" ambiguous"]++
		}
		if e.NoPlate {
			counted[format.Name+" without a plate"]++
		}
		if e.Details.Country != "" {
			counted[format.Name+" with a country"]++
		}
		if e.Details.Image != "" || len(message.Reads[0].Pictures) > 0 {
			counted[format.Name+" with a picture"]++
		}
		if versions[e.ID] == nil {
			versions[e.ID] = make([]int64, read.Reads)
		}
		versions[e.ID][read.Order-1] = e.Version
	}
	several := 0
	for id, of := range versions {
		several += len(of) - 1
		if !slices.IsSorted(of) {
			t.Errorf("the reads of %s have the versions %v", id, of)
		}
	}
	if several < 100 {
		t.Errorf("%d versions", several)
	}
	var events []string
	for _, format := range simulate.Formats() {
		if counted[format] < 60 || counted[format+" without a plate"] == 0 || counted[format+" with a country"] == 0 && format != "frigate" {
			t.Errorf("%s: %v", format, counted)
		}
		if counted[format+" ambiguous"] > 0 {
			events = append(events, format)
		}
	}
	if want := []string{"dahua", "milesight"}; !slices.Equal(events, want) {
		t.Errorf("ambiguous times have %v, want %v", events, want)
	}
	for _, format := range []string{"dahua", "hikvision", "milesight", "platerecognizer"} {
		if counted[format+" with a picture"] != counted[format] {
			t.Errorf("%s has pictures in %d of %d reads", format, counted[format+" with a picture"], counted[format])
		}
	}
}

// simulatedDirections are what a format that defines no direction is to be mapped to.
func simulatedDirections(format string) map[string]parking.Kind {
	switch format {
	case "platerecognizer":
		return map[string]parking.Kind{"180": parking.Entry, "0": parking.Exit}
	case "hikvision":
		return map[string]parking.Kind{"forward": parking.Entry, "reverse": parking.Exit}
	case "dahua":
		return map[string]parking.Kind{"obverse": parking.Entry, "reverse": parking.Exit}
	case "frigate":
		return map[string]parking.Kind{"gate-in": parking.Entry, "gate-out": parking.Exit}
	}
	return nil
}
