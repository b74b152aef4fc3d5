// Package schedule reads the schedules of functions, as in the annotation that cron
// connectors read, and has each tick of one taken once.
package schedule

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Parse returns the schedule of a cron expression with five fields, or of a descriptor
// such as @hourly. It refuses one that has no time in the next five years.
func Parse(text string) (cron.Schedule, error) {
	if strings.Contains(text, "TZ=") && !strings.Contains(text, " ") {
		return nil, errors.New("a zone only") // cron panics
	}
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return nil, err
	}
	if every, ok := schedule.(cron.ConstantDelaySchedule); ok {
		return aligned{every.Delay}, nil
	}
	if schedule.Next(time.Now()).IsZero() {
		return nil, errors.New("it has no time in the next five years")
	}
	return schedule, nil
}

// aligned is the schedule of @every. Its instants are multiples of the delay, equal in
// all processes, and not counted from the start of one.
type aligned struct{ delay time.Duration }

// Next returns the first instant after t.
func (a aligned) Next(t time.Time) time.Time { return t.Truncate(a.delay).Add(a.delay) }
