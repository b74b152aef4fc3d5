package simulate

import (
	"iter"
	"math/rand/v2"
	"time"

	"parkstream/shared/parking"
)

// Visit is what is true of a visit.
type Visit struct {
	// Number counts the visits of a simulation, Vehicle its vehicles.
	Number, Vehicle int64
	Plate           string
	Country         string
	Kind            string
	Entry           time.Time
	// Exit is zero if the vehicle was inside at the end.
	Exit time.Time
	// Tailgated reports that the vehicle drove in or out directly behind another one.
	Tailgated bool
}

// Step is one thing that happens. One of its fields is set.
type Step struct {
	// Post is what a camera posts.
	Post *Post
	// Unseen is a read that no camera posts: one that was dropped.
	Unseen *Read
	// Over is a visit that has ended, or goes on at the end.
	Over *Visit
}

// Post is a read when a camera posts it.
type Post struct {
	At   time.Time
	Read *Read
	// Again reports that the camera has posted the read before.
	Again bool
}

// Simulation is a scenario, ready to run.
type Simulation struct{ Scenario }

// New returns a simulation, or every mistake in its scenario.
func New(s Scenario) (*Simulation, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return &Simulation{s}, nil
}

// Steps runs the simulation. Posts come in the order of their times.
func (s *Simulation) Steps() iter.Seq[Step] {
	return func(yield func(Step) bool) { newPark(&s.Scenario).run(yield) }
}

// park is the state of a running simulation. What drives and what cameras make of it are
// drawn apart: the same vehicles come whatever the cameras are like.
type park struct {
	*Scenario
	traffic, optics *rand.Rand
	plates          *registry
	regulars        []*vehicle
	lanes           map[parking.Kind][]*lane
	strangers       float64 // a day
	midnight        time.Time
	arrivals        queue[arrival]
	exits           queue[*stay]
	posts           queue[Post]
	end             time.Time

	vehicles, visits, reads int64
}

// arrival is a vehicle that will come; nil: a stranger, which is made when it comes.
type arrival struct {
	*vehicle
	again, tailgated bool
}

// stay is a visit under way.
type stay struct {
	*Visit
	vehicle *vehicle
	quiet   bool // it is over before the start
}

func newPark(s *Scenario) *park {
	key := mix(s.Seed ^ mix(uint64(s.Start.UnixNano()))) //nolint:gosec // any bits do
	p := &park{Scenario: s, traffic: rand.New(rand.NewPCG(key, 1)), optics: rand.New(rand.NewPCG(key, 2)), end: s.Start.Add(s.Duration)}
	home := s.Home
	if home == "" {
		home = homes[s.Seed%uint64(len(homes))]
	}
	p.plates = newRegistry(home, s.Foreign, p.traffic)
	first := s.Visits / (1 + s.Reentries)
	p.regulars = population(s, first, p.plates, p.traffic)
	p.strangers = first * (1 - s.Regulars - s.Fleets)
	p.lanes = newLanes(s, p.optics)
	began := s.Start.Add(-s.WarmUp)
	local := began.In(s.Location)
	p.midnight = time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, s.Location)
	if p.strangers > 0 {
		p.arrivals.add(p.nextStranger(began), arrival{})
	}
	return p
}

// run yields what happens until all is told.
func (p *park) run(yield func(Step) bool) {
	began := p.Start.Add(-p.WarmUp)
	for {
		arrival, exit := p.arrivals.next(), p.exits.next()
		next := p.midnight
		if arrival != nil && arrival.at.Before(next) {
			next = arrival.at
		}
		if exit != nil && exit.at.Before(next) {
			next = exit.at
		}
		over := !next.Before(p.end)
		for post := p.posts.next(); post != nil && (over || !post.at.After(next)); post = p.posts.next() {
			what := p.posts.take().what
			if !yield(Step{Post: &what}) {
				return
			}
		}
		var steps []Step
		switch {
		case over:
			for len(p.exits.items) > 0 {
				if visit := p.exits.take().what.Visit; !yield(Step{Over: visit}) {
					return
				}
			}
			return
		case exit != nil && exit.at.Equal(next):
			steps = p.leave(p.exits.take())
		case arrival != nil && arrival.at.Equal(next):
			steps = p.arrive(p.arrivals.take())
		default:
			p.newDay(began)
		}
		for _, s := range steps {
			if !yield(s) {
				return
			}
		}
	}
}

// nextStranger returns when the next stranger comes: a Poisson process whose rate goes by
// the hour of the day.
func (p *park) nextStranger(after time.Time) time.Time {
	day := float64(24 * time.Hour)
	for {
		after = after.Add(time.Duration(day / (p.strangers * peak) * p.traffic.ExpFloat64()))
		if p.traffic.Float64()*peak < intensity(after.In(p.Location)) || !after.Before(p.end) {
			return after
		}
	}
}

// newDay has the regulars of a day come.
func (p *park) newDay(began time.Time) {
	day := p.midnight
	share := workdayRegulars
	if isWeekend(day) {
		share = weekendRegulars
	}
	for _, v := range p.regulars {
		if p.traffic.Float64() >= share {
			continue
		}
		minutes := int(60*v.hour + 12*p.traffic.NormFloat64())
		at := time.Date(day.Year(), day.Month(), day.Day(), 0, minutes, p.traffic.IntN(60), p.traffic.IntN(1e9), p.Location)
		if !at.Before(began) && at.Before(p.end) {
			p.arrivals.add(at, arrival{vehicle: v})
		}
	}
	p.midnight = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, p.Location)
}

// follows is how soon the next vehicle has to come to follow the one before at once.
const follows = 3 * time.Minute

// hurry has the next of a queue follow at once, now and then, and reports whether it does.
func hurry[T any](p *park, q *queue[T], at time.Time) *T {
	if p.traffic.Float64() >= p.Tailgating {
		return nil
	}
	next := q.next()
	if next == nil || next.at.Sub(at) > follows {
		return nil
	}
	if soon := at.Add(between(time.Second, 3*time.Second, p.traffic)); soon.Before(next.at) {
		next.at = soon
	}
	return &next.what
}

// arrive has a vehicle drive in.
func (p *park) arrive(a item[arrival]) []Step {
	at, v := a.at, a.what.vehicle
	if v == nil {
		v = stranger(p.plates, p.traffic)
		p.arrivals.add(p.nextStranger(at), arrival{})
	}
	if next := hurry(p, &p.arrivals, at); next != nil {
		next.tailgated = true
	}
	if v.inside {
		return nil
	}
	kind, dwell := dwell(v, at.In(p.Location), a.what.again, p.traffic)
	s := &stay{Visit: &Visit{Plate: v.plate, Country: v.country.code, Kind: kind, Entry: at.UTC(), Tailgated: a.what.tailgated}, vehicle: v}
	v.inside = true
	leaves := at.Add(dwell)
	s.quiet = !leaves.After(p.Start)
	p.exits.add(leaves, s)
	if s.quiet {
		return nil
	}
	if v.number == 0 {
		p.vehicles++
		v.number = p.vehicles
	}
	p.visits++
	s.Number, s.Vehicle = p.visits, v.number
	return p.pass(s, parking.Entry, at)
}

// leave has a vehicle drive out.
func (p *park) leave(x item[*stay]) (steps []Step) {
	at, s := x.at, x.what
	s.vehicle.inside = false
	if next := hurry(p, &p.exits, at); next != nil {
		(*next).Tailgated = true
	}
	if local := at.In(p.Location); s.Kind != traveller && p.traffic.Float64() < p.Reentries {
		again := local.Add(10*time.Minute + time.Duration(float64(72*time.Minute)*p.traffic.ExpFloat64()))
		if again.Day() == local.Day() && again.Hour() < 23 {
			p.arrivals.add(again, arrival{vehicle: s.vehicle, again: true})
		}
	}
	if s.quiet {
		return nil
	}
	steps = p.pass(s, parking.Exit, at)
	s.Exit = at.UTC()
	return append(steps, Step{Over: s.Visit})
}

// pass has a camera see a vehicle.
func (p *park) pass(s *stay, kind parking.Kind, at time.Time) (steps []Step) {
	lanes := p.lanes[kind]
	l := lanes[p.traffic.IntN(len(lanes))]
	for _, r := range l.pass(p.Scenario, s.vehicle, s.Visit, kind, at, p.optics) {
		p.reads++
		r.Number = p.reads
		if r.Fate == Dropped {
			steps = append(steps, Step{Unseen: r})
		} else {
			p.post(r)
		}
	}
	return steps
}

// post has a camera post a read, now and then later or two times.
func (p *park) post(r *Read) {
	delay := 150*time.Millisecond + time.Duration(float64(350*time.Millisecond)*p.optics.ExpFloat64())
	if p.optics.Float64() < p.Late {
		delay = time.Minute + time.Duration(float64(15*time.Minute)*p.optics.ExpFloat64())
	}
	at := p.until(r.Seen.Add(delay))
	p.posts.add(at, Post{At: at, Read: r})
	if p.optics.Float64() < p.Repeated {
		again := p.until(at.Add(between(2*time.Second, 20*time.Second, p.optics)))
		p.posts.add(again, Post{At: again, Read: r, Again: true})
	}
}

// until returns a time, or the end if that is earlier: then a camera posts what it has
// left.
func (p *park) until(at time.Time) time.Time {
	if at.After(p.end) {
		return p.end
	}
	return at
}
