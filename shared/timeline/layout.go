package timeline

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"parkstream/shared/parking"
	"parkstream/shared/redis"
)

// layoutSource has the names of keys and the parts of members, for the scripts.
//
//go:embed layout.lua
var layoutSource string

// newScript returns a script with the layout.
func newScript(sources ...string) *redis.Script {
	return redis.NewScript(append([]string{layoutSource}, sources...)...)
}

// siteKeys is the prefix of a site's keys. Its methods return the keys. layout.lua has
// the same names and describes the contents.
type siteKeys string

func keysOf(site string) siteKeys { return siteKeys(redis.Timelines.Site(site)) }

func (k siteKeys) events() string            { return string(k) + "e" }
func (k siteKeys) timelines() string         { return string(k) + "t" }
func (k siteKeys) revisions() string         { return string(k) + "r" }
func (k siteKeys) inside() string            { return string(k) + "in" }
func (k siteKeys) former() string            { return string(k) + "f" }
func (k siteKeys) totals() string            { return string(k) + "n" }
func (k siteKeys) corrections() string       { return string(k) + "c" }
func (k siteKeys) lone() string              { return string(k) + "l" }
func (k siteKeys) decisions() string         { return string(k) + "m" }
func (k siteKeys) decided() string           { return string(k) + "md" }
func (k siteKeys) given() string             { return string(k) + "me" }
func (k siteKeys) gone() string              { return string(k) + "g" }
func (k siteKeys) rejections() string        { return string(k) + "x" }
func (k siteKeys) corrected() string         { return string(k) + "v" }
func (k siteKeys) unfinished() string        { return string(k) + "p" }
func (k siteKeys) older(plate string) string { return string(k) + "o:" + plate }
func (k siteKeys) day(t time.Time) string    { return redis.DayKey(string(k), t) }

// member returns the form of an event in its timeline. The order of bytes is the order
// of the timeline.
func member(e *parking.Event) string { return memberAt(e, e.Time) }

func memberAt(e *parking.Event, t time.Time) string {
	return instant(t) + string(rune(e.Kind)) + e.ID
}

// instant returns the form of a time at the start of a member.
func instant(t time.Time) string { return redis.Base32.Format(t) }

// Lengths in bytes at the start of a member: of its slot, and of all before the id.
const (
	slotLen = 4
	headLen = 14
)

// parseMember returns the id and the time in a member.
func parseMember(m string) (id string, t time.Time, err error) {
	t, rest, err := redis.Base32.Cut(m)
	if err != nil {
		return "", t, fmt.Errorf("member %q: %w", m, err)
	}
	if len(rest) < 2 { // for kind and id
		return "", t, fmt.Errorf("member %q is too short", m)
	}
	return rest[1:], t, nil
}

// Plates of the timelines of events without a plate and of void ones.
const (
	noPlate = "-"
	void    = "~"
)

// plateOf returns the plate of the timeline that an event belongs to.
func plateOf(e *parking.Event) string {
	switch {
	case e.Void:
		return void
	case e.NoPlate:
		return noPlate
	}
	return e.Plate
}

// keptOf returns what is kept of an event beside its member; layout.lua lists it. The
// places are left to the script.
func keptOf(e *parking.Event, member string) string {
	head := member[:slotLen]
	switch {
	case e.Void:
		return strings.TrimRight(head+void+member[slotLen:headLen]+version(e), "\n")
	case e.NoPlate:
		head += noPlate + member[slotLen:headLen]
	case e.Version > 1:
		head += e.Plate + "\t" + member[slotLen:headLen]
	default:
		head += e.Plate
	}
	raw := e.RawPlate
	if raw == e.Plate {
		raw = ""
	}
	if raw == "" && e.Gate == "" && e.Camera == "" && e.Version <= 1 && e.Details.IsZero() {
		return head
	}
	details := ""
	if !e.Details.IsZero() || e.Correction != nil {
		text, _ := json.Marshal(keptDetails{e.Details, keptCorrection(e.Correction)}) // no number in it is infinite: see parking.NewEvent
		details = string(text)
	}
	return head + strings.TrimRight(version(e)+"\n"+raw+"\n"+e.Gate+"\n"+e.Camera+"\n\n"+details, "\n")
}

// version returns the line of the version.
func version(e *parking.Event) string {
	if e.Version <= 1 {
		return "\n"
	}
	return "\n" + strconv.FormatInt(e.Version, 10)
}

// Lines of what is kept of an event after its head.
const (
	versionLine = iota + 1
	rawLine
	gateLine
	cameraLine
	placesLine
	detailsLine
)

// errNoPlateKept is the error of an event of which no plate was kept.
var errNoPlateKept = errors.New("version 0.1.0 recorded it, which kept no plate")

// parseKept returns the event of a member and of what is kept of it.
func parseKept(site, m, kept string) (parking.Event, error) {
	id, at, err := parseMember(m)
	if err != nil {
		return parking.Event{}, err
	}
	e := parking.Event{ID: id, Site: site, Kind: parking.Kind(m[redis.Base32.Len()]), Version: 1}
	lines := strings.Split(kept, "\n")
	line := func(i int) string {
		if i < len(lines) {
			return lines[i]
		}
		return ""
	}
	if e.Plate, _, _ = strings.Cut(line(0)[min(slotLen, len(line(0))):], "\t"); e.Plate == "" {
		return e, fmt.Errorf("event %q: %w", id, errNoPlateKept)
	}
	if n := line(versionLine); n != "" {
		if e.Version, err = strconv.ParseInt(n, 10, 64); err != nil {
			return e, fmt.Errorf("event %q: %w", id, err)
		}
	}
	switch e.Plate[:1] {
	case void:
		e.Plate, e.Void = "", true
		return e, nil // the time is that of its place
	case noPlate:
		e.Plate, e.NoPlate = "", true
	}
	e.Time, e.RawPlate, e.Gate, e.Camera = at, cmp.Or(line(rawLine), e.Plate), line(gateLine), line(cameraLine)
	if text := line(detailsLine); text != "" {
		var details keptDetails
		if err := json.Unmarshal([]byte(text), &details); err != nil {
			return e, fmt.Errorf("details of event %q: %w", id, err)
		}
		e.Details, e.Correction = details.Details, details.Correction
	}
	switch c := e.Correction; {
	case c == nil || c.NoPlate:
	case c.Confirms:
		c.Was = e.Plate
	default:
		c.Was, err = plateBefore(&e, kept)
	}
	return e, err
}

// keptDetails is the JSON of an event's details, with what is known of its correction.
type keptDetails struct {
	parking.Details
	Correction *parking.Correction `json:"correction,omitempty"`
}

// keptCorrection returns a correction without the plate before, which is that of the
// newest former place: an erasure finds it there.
func keptCorrection(c *parking.Correction) *parking.Correction {
	if c == nil {
		return nil
	}
	kept := *c
	kept.Was = ""
	return &kept
}

// plateBefore returns the plate that an event had before its correction, or "" if it was
// erased.
func plateBefore(e *parking.Event, kept string) (string, error) {
	places, err := formerPlaces(e.ID, kept)
	if n := len(places); n > 0 && places[n-1].plate != e.Plate && places[n-1].Time.Equal(e.Time) {
		return places[n-1].plate, nil
	}
	return "", err
}
