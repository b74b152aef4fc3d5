package health

import (
	"strconv"
	"strings"
	"time"

	"parkstream/shared/redis"
)

// What is kept of a camera, below [redis.CameraKey]. Each key expires.
//
//	park:camera:{id}                the last requests: see the fields below
//	park:camera:{id}:d:<day>        counts of a UTC day, by hour: r7 are the reads from 7:00
//	park:camera:{id}:m:<day>:<set>  HyperLogLog of ids: what became of events observed then
const (
	// stateFor is how long the last requests are kept, dayFor the counts of a day and
	// matchFor what became of a day's events.
	stateFor = 90 * 24 * time.Hour
	dayFor   = (historyWeeks + 2) * week
	matchFor = (matchDays + 3) * 24 * time.Hour
)

// Fields of the last requests. Times are milliseconds since 1970.
const (
	fieldSince     = "since" // the first request
	fieldFormat    = "format"
	fieldRequest   = "last_request"
	fieldHeartbeat = "last_heartbeat"
	fieldRead      = "last_read"
	fieldRefused   = "last_refused"
	fieldSkew      = "skew_ms"
)

// Counts of an hour. Their names are short, since a day with at most 128 fields is kept
// in a compact form.
const (
	countRequests   = "q"
	countRefused    = "x"
	countReads      = "r"
	countNoPlate    = "n"
	countConfident  = "c" // reads with a confidence
	countConfidence = "s" // the sum of them, in 1/confidenceUnits
)

// confidenceUnits are counted for a confidence of 1: Redis adds whole numbers.
const confidenceUnits = 10_000

// Sets of ids of events. Entries are those with a plate, taken are the ones among them
// that began a stay. Exits are those with a plate that are no repeats, matched are the ones
// among them that ended a stay.
const (
	setEntries = "entries"
	setTaken   = "taken"
	setExits   = "exits"
	setMatched = "matched"
)

func dayKey(id string, day int64) string {
	return redis.CameraKey(id) + ":d:" + strconv.FormatInt(day, 10)
}

func matchKey(id string, day int64, set string) string {
	return redis.CameraKey(id) + ":m:" + strconv.FormatInt(day, 10) + ":" + set
}

// countField returns the field of a count of the hour of t in its day.
func countField(count string, t time.Time) string { return count + strconv.Itoa(t.UTC().Hour()) }

// cameraOf returns the camera whose event has an id, or "": the ids of what cameras send
// begin with the camera's.
func cameraOf(id string) string {
	camera, _, found := strings.Cut(id, ":")
	if !found {
		return ""
	}
	return camera
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
