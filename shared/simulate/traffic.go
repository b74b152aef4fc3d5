package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// Kinds of visits.
const (
	short     = "short"
	regular   = "regular"
	fleet     = "fleet"
	overnight = "overnight"
	traveller = "traveller"
)

// vehicle is one that comes to the car park.
type vehicle struct {
	number  int64
	plate   string
	country *country
	looks   appearance
	// hard: it is misread more often than others. stubborn: and the same way each time,
	// which is misread then.
	hard, stubborn bool
	misread        string
	inside         bool
	// kind and hour are those of a regular or a vehicle of a fleet: the hour of the day when
	// it comes.
	kind string
	hour float64
}

// Of hard vehicles, which are misread more often, some are misread the same way each time.
const (
	hardShare     = 0.05
	hardFactor    = 4
	stubbornShare = 0.5
)

// Visitors by hour of the day, relative to each other.
var (
	workdays = [24]float64{.3, .2, .1, .1, .2, .6, 1.6, 3.2, 5.2, 6.5, 7.4, 8, 8.2, 7.8, 7.2, 7, 7.4, 8, 7.2, 5.6, 4, 2.6, 1.3, .6}
	weekends = [24]float64{.8, .6, .4, .2, .2, .3, .6, 1.2, 2.6, 4.6, 6.6, 8, 8.4, 8.4, 8.6, 8.4, 7.6, 6.6, 6, 5.4, 4.4, 3.2, 2.2, 1.4}
)

// Traffic on a day at the weekend and on another one, relative to their mean in a week, and
// the share of regulars who come.
const (
	weekendTraffic, workdayTraffic = 0.825, 1.07
	weekendRegulars                = 0.225
	workdayRegulars                = 0.75
	meanRegulars                   = (5*workdayRegulars + 2*weekendRegulars) / 7
)

func isWeekend(at time.Time) bool {
	return at.Weekday() == time.Saturday || at.Weekday() == time.Sunday
}

// intensity returns how busy a moment is, 1 in the mean of a week.
func intensity(local time.Time) float64 {
	curve, factor := &workdays, workdayTraffic
	if isWeekend(local) {
		curve, factor = &weekends, weekendTraffic
	}
	sum := 0.0
	for _, c := range curve {
		sum += c
	}
	hour := local.Hour()
	part := float64(local.Minute())/60 + float64(local.Second())/3600
	return factor * 24 / sum * (curve[hour]*(1-part) + curve[(hour+1)%24]*part)
}

// peak is at least the greatest intensity.
const peak = 2.5

// population are the vehicles that come each day or so.
func population(s *Scenario, visits float64, r *registry, random *rand.Rand) (vehicles []*vehicle) {
	for n := int(visits * s.Fleets / meanRegulars); n > 0; {
		size := min(4+random.IntN(9), n)
		plates, country := r.fleet(size, random)
		hour := 6 + 2*random.Float64()
		for _, plate := range plates {
			v := newVehicle(plate, country, random)
			v.kind, v.hour = fleet, hour
			vehicles = append(vehicles, v)
		}
		n -= size
	}
	for range int(visits * s.Regulars / meanRegulars) {
		v := stranger(r, random)
		v.kind = regular
		switch at := random.Float64(); {
		case at < 0.75:
			v.hour = 8.1 + 0.8*random.NormFloat64()
		case at < 0.93:
			v.hour = 13 + random.NormFloat64()
		default:
			v.hour = 21 + 0.5*random.NormFloat64()
		}
		v.hour = min(max(v.hour, 4), 22.5)
		vehicles = append(vehicles, v)
	}
	return vehicles
}

// stranger returns a vehicle that was not here before.
func stranger(r *registry, random *rand.Rand) *vehicle {
	plate, country := r.next(random)
	return newVehicle(plate, country, random)
}

// newVehicle draws what a vehicle looks like and how hard its plate is to read.
func newVehicle(plate string, country *country, random *rand.Rand) *vehicle {
	v := &vehicle{plate: plate, country: country, looks: drawAppearance(random)}
	if random.Float64() < hardShare {
		v.hard, v.stubborn = true, random.Float64() < stubbornShare
	}
	return v
}

const (
	minDwell = 2 * time.Minute
	maxDwell = 5 * 24 * time.Hour
)

// dwell draws which kind of visit a vehicle makes that comes at a local time, and for how
// long. again reports that it was here before on this day.
func dwell(v *vehicle, local time.Time, again bool, random *rand.Rand) (kind string, d time.Duration) {
	logNormal := func(median time.Duration, s float64) time.Duration {
		return time.Duration(float64(median) * math.Exp(s*random.NormFloat64()))
	}
	hour := local.Hour()
	switch at := random.Float64(); {
	case again:
		kind, d = short, logNormal(84*time.Minute, 0.85)
	case v.kind != "":
		kind, d = v.kind, logNormal(504*time.Minute, 0.1)
		if at < 0.1 { // half a day
			d = logNormal(4*time.Hour, 0.15)
		}
	case hour >= 16 && at < 0.12 || at < 0.01:
		next := time.Date(local.Year(), local.Month(), local.Day()+1, 8, 20, 0, 0, local.Location())
		kind, d = overnight, next.Sub(local)+time.Duration(float64(75*time.Minute)*random.NormFloat64())
	case hour < 12 && at > 0.96 || at > 0.985:
		kind, d = traveller, logNormal(60*time.Hour, 0.4)
	default:
		kind, d = short, logNormal(84*time.Minute, 0.85)
	}
	return kind, min(max(d, minDwell), maxDwell)
}
