package simulate

import (
	"math"
	"math/rand/v2"
	"time"

	"parkstream/shared/parking"
)

// Fate is what becomes of a read.
type Fate string

// The fates.
const (
	// Event: the read is an event, or the version of one that counts.
	Event Fate = "event"
	// Version: the camera sends another read of the same vehicle, which is a later version of
	// the event.
	Version Fate = "version"
	// Repeat: the camera takes the vehicle for another one a moment later, and reads the same
	// plate. Of two entries the first one is the repeat, of two exits the second.
	Repeat Fate = "repeat"
	// NoPlate: the camera reads no plate.
	NoPlate Fate = "no-plate"
	// Dropped: the camera does not see the vehicle.
	Dropped Fate = "dropped"
)

// Read is what a camera reads of a vehicle that passes it, once.
type Read struct {
	// Number counts the reads of a simulation.
	Number int64
	Visit  *Visit
	Camera *Camera
	Kind   parking.Kind
	// Seen is when the vehicle was there.
	Seen time.Time
	Fate Fate

	// What follows is what the camera tells. A dropped read has nothing of it.

	// Time is Seen by the camera's clock, as its format tells it.
	Time time.Time
	// Track is the camera's number of the vehicle. Order is the place of the read among the
	// Reads of the track, from 1.
	Track        uint64
	Order, Reads int
	// Plate is empty if none was read.
	Plate       string
	Confidence  float64
	Candidates  []parking.Candidate
	Make, Color string
}

// Event returns the read as an event of a site: what is left of it when it was sent as our
// own JSON.
func (r *Read) Event(site string) parking.Event {
	e := parking.Event{
		ID: r.EventID(), Kind: r.Kind, Site: site, Gate: r.Camera.Gate, Camera: r.Camera.ID, Version: int64(r.Order),
		NoPlate: r.Plate == "", RawPlate: r.Plate, Plate: r.Plate, Time: r.Time,
		Details: parking.Details{Vehicle: r.vehicle(), Candidates: r.Candidates, Country: r.Visit.Country, Make: r.Make, Color: r.Color},
	}
	if r.Plate != "" {
		e.Details.Confidence = &r.Confidence
	}
	return e
}

// lane is a camera and how it reads.
type lane struct {
	Camera
	reader
	format *format
	errors float64 // share of plates that it misreads, of vehicles that are not hard
	skew   time.Duration
	tracks uint64
}

// newLanes draws what the cameras of a scenario are like, and returns those of each
// direction.
func newLanes(s *Scenario, random *rand.Rand) map[parking.Kind][]*lane {
	lanes := make(map[parking.Kind][]*lane)
	var all []*lane
	sum, count := 0.0, 0.0
	for i := range s.Cameras {
		l := &lane{Camera: s.Cameras[i], format: formats[s.Cameras[i].Format]}
		l.reader = reader{s.Composition, s.Syntax, newConfusions(s.Syntax, random)}
		l.errors = math.Exp(0.4 * random.NormFloat64())
		l.skew = time.Duration(min(max(random.NormFloat64(), -2.5), 2.5) * float64(s.Skew))
		l.tracks = random.Uint64N(1 << 31)
		all = append(all, l)
		for _, kind := range []parking.Kind{parking.Entry, parking.Exit} {
			if l.Role.sees(kind) {
				lanes[kind] = append(lanes[kind], l)
				sum += l.errors
				count++
			}
		}
	}
	// The mean of cameras and vehicles is that of the scenario.
	factor := (1 - s.Accuracy) / (sum / count) / (1 + hardShare*(hardFactor-1))
	for _, l := range all {
		l.errors *= factor
	}
	return lanes
}

// reading is what a camera makes of a plate.
type reading struct {
	plate       string
	confidence  float64
	candidates  []parking.Candidate
	make, color string
}

// read draws what the camera reads of a vehicle.
func (l *lane) read(s *Scenario, v *vehicle, random *rand.Rand) (r reading) {
	if s.Appearance {
		looks := v.looks
		if random.Float64() > 0.85 {
			looks = drawAppearance(random)
		}
		r.make, r.color = looks.make(), looks.color()
	}
	r.plate = v.plate
	likely := l.errors
	if v.hard {
		likely *= hardFactor
	}
	if random.Float64() < likely {
		if !v.stubborn || v.misread == "" {
			v.misread = l.misread(v.plate, random)
		}
		r.plate = v.misread
	}
	r.confidence = confidence(r.plate == v.plate, random)
	if s.Candidates {
		r.candidates = l.candidates(r.plate, v.plate, r.confidence, random)
	}
	return r
}

// pass returns what a camera reads of a vehicle that passes it.
func (l *lane) pass(s *Scenario, v *vehicle, visit *Visit, kind parking.Kind, seen time.Time, random *rand.Rand) []*Read {
	if random.Float64() < s.Dropped {
		return []*Read{{Visit: visit, Camera: &l.Camera, Kind: kind, Seen: seen, Fate: Dropped}}
	}
	reads := l.track(s, v, visit, kind, seen, random)
	if random.Float64() >= s.Doubled {
		return reads
	}
	again := l.track(s, v, visit, kind, seen.Add(between(2*time.Second, 15*time.Second, random)), random)
	first, second := reads[len(reads)-1], again[len(again)-1]
	if first.Plate != "" && first.Plate == second.Plate {
		if kind == parking.Entry {
			first.Fate = Repeat
		} else {
			second.Fate = Repeat
		}
	}
	return append(reads, again...)
}

// plateLater is the share of vehicles whose plate a camera that posts several reads does not
// have in the first one.
const plateLater = 0.1

// track returns the reads of a vehicle that the camera takes for one.
func (l *lane) track(s *Scenario, v *vehicle, visit *Visit, kind parking.Kind, seen time.Time, random *rand.Rand) []*Read {
	n, noPlate, late := 1, random.Float64() < s.NoPlate, false
	if l.format.tracks {
		n, late = 1+random.IntN(3), random.Float64() < plateLater
	}
	l.tracks++
	reads := make([]*Read, n)
	at := l.clock(seen, s.Location)
	for i := range reads {
		r := &Read{Visit: visit, Camera: &l.Camera, Kind: kind, Seen: seen, Fate: Version, Time: at, Track: l.tracks, Order: i + 1, Reads: n}
		got, last := l.read(s, v, random), i == n-1
		r.Make, r.Color = got.make, got.color
		if notYet := late && i == 0 && !last; !noPlate && !notYet {
			r.Plate, r.Confidence, r.Candidates = got.plate, got.confidence, got.candidates
		}
		switch {
		case last && noPlate:
			r.Fate = NoPlate
		case last:
			r.Fate = Event
		}
		reads[i] = r
		seen = seen.Add(between(200*time.Millisecond, 900*time.Millisecond, random))
		if !l.format.first {
			at = l.clock(seen, s.Location)
		}
	}
	return reads
}

// clock returns a time as the camera's format tells it.
func (l *lane) clock(at time.Time, zone *time.Location) time.Time {
	at = at.Add(l.skew).Truncate(l.format.resolution)
	if l.format.local {
		at = later(at, zone)
	}
	return at.UTC()
}

// later returns the later of the two times that a local time may mean when clocks were set
// back, which is what is taken of a day that is past.
func later(at time.Time, zone *time.Location) time.Time {
	_, end := at.In(zone).ZoneBounds()
	if end.IsZero() {
		return at
	}
	_, before := at.In(zone).Zone()
	_, after := end.Zone()
	if back := time.Duration(before-after) * time.Second; back > 0 && !at.Add(back).Before(end) {
		return at.Add(back)
	}
	return at
}

func between(least, most time.Duration, random *rand.Rand) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}
