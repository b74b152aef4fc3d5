package camera

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// Bounds of what an event tells besides. What is longer is cut off: no vehicle is lost
// for the name of its make.
const (
	mostVehicleBytes  = 128
	mostCountryRunes  = 16
	mostMakeRunes     = 32
	mostMemoryOfPlate = parking.MaxRawPlateRunes
)

// Observation is an event and the read that it is made of.
type Observation struct {
	Event parking.Event
	Read  *Read
}

// Events is [Observe] without the reads.
func Events(m Message, c site.Camera, received time.Time) (events []parking.Event, undirected int, err error) {
	observed, undirected, err := Observe(m, c, received)
	for _, o := range observed {
		events = append(events, o.Event)
	}
	return events, undirected, err
}

// maxReasons bounds the reasons that are given for reads that are no events.
const maxReasons = 5

// reasons returns the first errors that differ as one, or nil if there are none.
func reasons(errs []error) error {
	var first []error
	for _, err := range errs {
		if len(first) < maxReasons && !slices.ContainsFunc(first, func(e error) bool { return e.Error() == err.Error() }) {
			first = append(first, err)
		}
	}
	return errors.Join(first...)
}

// Observe returns the events of a message's reads, in their order, and the number of
// reads that come to nothing yet: the camera does not know the direction of a vehicle
// that it still tracks. Reads that cannot be events are left out, and the error, a
// [parking.ErrInvalid], tells why, as it does of what is unread.
func Observe(m Message, c site.Camera, received time.Time) (observed []Observation, undirected int, err error) {
	var (
		errs = slices.Clone(m.Unread)
		seen = map[string]int{}
	)
	for i := range m.Reads {
		r := &m.Reads[i]
		e, err := event(*r, c, received)
		switch {
		case err == nil:
		case errors.Is(err, errNoDirection) && r.Tracked:
			undirected++
			continue
		default:
			errs = append(errs, err)
			continue
		}
		// Several vehicles without a plate may be seen at one instant.
		if r.ID == "" && r.Vehicle == "" && e.NoPlate {
			if seen[e.ID]++; seen[e.ID] > 1 {
				e.ID = validID(e.ID+":"+strconv.Itoa(seen[e.ID]), c)
			}
		}
		observed = append(observed, Observation{e, r})
	}
	return observed, undirected, reasons(errs)
}

// event returns the event of one read.
//
// Its id is made of the camera and the sender's id, or else the vehicle, or else a hash
// of plate, kind and time, so that a read that is sent again is the same event. Its
// version is the order of the read. A read without a time has the time at which it was
// received, and the event tells so; if it is sent again the first one counts.
func event(r Read, c site.Camera, received time.Time) (parking.Event, error) {
	kind, err := KindOf(r, c)
	if err != nil {
		return parking.Event{}, err
	}
	plate := Plate(r.Plate)
	e := parking.Event{
		Kind: kind, Site: c.Site, Gate: c.Gate, Camera: c.ID, Version: r.Order,
		Void: r.Void, RawPlate: plate, NoPlate: plate == "" && !r.Void, Time: r.Time,
		Details: parking.Details{
			Vehicle: tidy(r.Vehicle, mostVehicleBytes), Confidence: likely(r.Confidence), Candidates: candidates(r.Candidates),
			Country: tidy(r.Country, mostCountryRunes), Make: tidy(r.Make, mostMakeRunes), Color: tidy(r.Color, mostMakeRunes),
			AmbiguousTime: r.AmbiguousTime,
		},
	}
	if e.Time.IsZero() && !e.Void {
		e.Time, e.Details.ReceivedTime = received.UTC().Truncate(time.Microsecond), true
		if r.Vehicle != "" && r.Order == 0 {
			e.Version = parking.MaxVersion - received.UnixMilli()
		}
	}
	e.ID = id(r, e, c)
	return parking.NewEvent(e)
}

// id returns the id of the event of a read.
func id(r Read, e parking.Event, c site.Camera) string {
	switch {
	case r.ID != "":
		return validID(c.ID+":"+r.ID, c)
	case r.Vehicle == "":
		return validID(c.ID+":"+hash(parking.NormalizePlate(e.RawPlate), e.Kind.String(), e.Time.UTC().Format(time.RFC3339Nano)), c)
	case r.VehicleCounts:
		return validID(c.ID+":"+r.Vehicle+":"+e.Time.UTC().Format("2006010215"), c)
	}
	return validID(c.ID+":"+r.Vehicle, c)
}

// validID returns an id, or a hash of it if it would not be valid.
func validID(id string, c site.Camera) string {
	if parking.CheckID(id) == nil {
		return id
	}
	return c.ID + ":" + hash(id)
}

// hash returns 24 characters that stand for texts.
func hash(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\n")))
	return hex.EncodeToString(sum[:12])
}

// KindOf returns whether a read is an entry or an exit: by the camera's role if that is
// one direction, or else by what the camera's configuration maps the direction to, or
// else by what the format defines. A direction in degrees is the nearest one that the
// configuration has, at most 90 away.
func KindOf(r Read, c site.Camera) (parking.Kind, error) {
	switch c.Role {
	case site.Entries:
		return parking.Entry, nil
	case site.Exits:
		return parking.Exit, nil
	case site.Both:
	}
	direction := strings.ToLower(strings.TrimSpace(r.Direction))
	if kind, found := c.Directions[direction]; found {
		return kind, nil
	}
	if kind, found := nearest(direction, c.Directions); found {
		return kind, nil
	}
	switch {
	case r.Kind == parking.Entry || r.Kind == parking.Exit:
		return r.Kind, nil
	case strings.Trim(direction, "-") == "" || direction == "unknown" || direction == "none":
		return 0, errNoDirection
	}
	return 0, parking.Invalid("the camera sees both directions, and its configuration does not have the direction %s: map it to entry or exit in the camera's directions", quote(direction))
}

// errNoDirection is the error of a read whose direction is not known.
var errNoDirection = parking.Invalid("the camera sees both directions, and the request does not tell which one: set the camera's role to entry or exit")

// nearest returns the kind of the direction in degrees that is nearest to one.
func nearest(direction string, of map[string]parking.Kind) (kind parking.Kind, found bool) {
	const circle, most = 360, 90
	degrees, err := strconv.ParseFloat(direction, 64)
	if err != nil {
		return 0, false
	}
	best := math.Inf(1)
	for text, k := range of {
		mapped, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		away := math.Abs(math.Remainder(degrees-mapped, circle))
		// Of two that are as near it is the entry, whatever the order of the map.
		if away <= most && (away < best || away == best && k < kind) {
			kind, best = k, away
		}
	}
	return kind, kind != 0
}

// likely returns a confidence if it is one.
func likely(c *float64) *float64 {
	if c == nil || !(*c >= 0 && *c <= 1) {
		return nil
	}
	return c
}

// candidates returns the readings that are plates, at most as many as an event has.
func candidates(given []parking.Candidate) []parking.Candidate {
	var readings []parking.Candidate
	for _, c := range given {
		plate := tidy(Plate(c.Plate), mostMemoryOfPlate)
		if plate == "" || slices.ContainsFunc(readings, func(r parking.Candidate) bool { return r.Plate == plate }) {
			continue
		}
		if len(readings) == parking.MaxCandidates {
			break
		}
		readings = append(readings, parking.Candidate{Plate: plate, Confidence: likely(c.Confidence)})
	}
	return readings
}

// tidy returns the printable characters of a text, cut off after most bytes. A text of
// dashes is one that is not known.
func tidy(text string, most int) string {
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "")))
	if strings.Trim(text, "-") == "" {
		return ""
	}
	end := 0
	for i, r := range text {
		if i+len(string(r)) > most {
			break
		}
		end = i + len(string(r))
	}
	return text[:end]
}
