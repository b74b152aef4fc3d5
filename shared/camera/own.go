package camera

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"parkstream/shared/parking"
	"parkstream/shared/site"
)

// own is our own JSON: an event as our queues take it, a read with fewer and simpler
// members, or a list of these. It is no variable, because it would be initialised with
// itself.
func own() Format { return Format{Name: ownName, Recognise: isOwn, Parse: parseOwn} }

const ownName = "own"

// isOwn reports whether a request has the members of an event or a read and is of no
// other format. Others have a plate and a time, too.
func isOwn(r Request) bool {
	e := r.example()
	if !hasAny(e, "vehicle_plate", "entry_date_time", "exit_date_time") && !hasAll(e, "id", "void") &&
		(!hasAll(e, "plate") || !hasAny(e, "time", "direction")) && !isEmptyList(r.document()) {
		return false
	}
	return !slices.ContainsFunc(All(), func(f Format) bool { return f.Name != ownName && f.Recognise(r) })
}

func isEmptyList(text []byte) bool {
	return len(text) > 1 && text[0] == '[' && string(trimmed(text[1:])) == "]"
}

// ownEvent is an event, by its first members, or a read, by those after them.
type ownEvent struct {
	ID           scalar  `json:"id"`
	Site         scalar  `json:"site"`
	Version      scalar  `json:"version"`
	Void         bool    `json:"void"`
	VehiclePlate present `json:"vehicle_plate"`
	EntryTime    present `json:"entry_date_time"`
	ExitTime     present `json:"exit_date_time"`

	Plate     present `json:"plate"`
	Time      present `json:"time"`
	Direction scalar  `json:"direction"`

	Vehicle    scalar          `json:"vehicle"`
	Confidence scalar          `json:"confidence"`
	Candidates json.RawMessage `json:"candidates"`
	Country    scalar          `json:"country"`
	Make       scalar          `json:"make"`
	Color      scalar          `json:"color"`
	Image      base64Picture   `json:"image"`
}

type ownCandidate struct {
	Plate      scalar `json:"plate"`
	Confidence scalar `json:"confidence"`
}

func parseOwn(r Request, c site.Camera) (Message, error) {
	m, err := eachRead(r, func(e ownEvent) (Read, error) { return e.read(r, c) })
	return m.withPictures(r), err
}

func (e ownEvent) read(r Request, c site.Camera) (Read, error) {
	if e.Site != "" && string(e.Site) != c.Site {
		return Read{}, parking.Invalid("the event is of the site %s, and the camera %s of another one", quote(string(e.Site)), c.ID)
	}
	read := Read{
		ID: string(e.ID), Void: e.Void, Vehicle: string(e.Vehicle),
		Country: string(e.Country), Make: string(e.Make), Color: string(e.Color), Pictures: e.Image.pictures(),
	}
	if e.Void {
		if read.ID == "" && read.Vehicle == "" {
			return Read{}, parking.Invalid("a void event has no id: want that of the event which there was not")
		}
	} else if err := e.readPlate(&read); err != nil {
		return Read{}, err
	}
	if err := e.readVersion(&read); err != nil {
		return Read{}, err
	}
	return read, e.readTime(&read, r, c)
}

// readPlate sets the plate. An event without one has null; a read may have any text that
// means so.
func (e ownEvent) readPlate(read *Read) error {
	switch {
	case !e.VehiclePlate.Given && !e.Plate.Given:
		return parking.Invalid("vehicle_plate or plate is missing; it is null if none was read")
	case e.VehiclePlate.Given && e.VehiclePlate.Text == "" && !e.VehiclePlate.Null:
		return parking.Invalid("vehicle_plate is empty; it is null if none was read")
	}
	read.Plate = Plate(firstOf(e.VehiclePlate.Text, e.Plate.Text))
	var err error
	if read.Confidence, err = ownConfidence(e.Confidence); err != nil {
		return err
	}
	candidates, err := decodeList[ownCandidate](e.Candidates, parking.MaxCandidates)
	if err != nil {
		return err
	}
	for _, candidate := range candidates {
		likely, err := ownConfidence(candidate.Confidence)
		if err != nil {
			return err
		}
		read.Candidates = append(read.Candidates, parking.Candidate{Plate: string(candidate.Plate), Confidence: likely})
	}
	return nil
}

func ownConfidence(text scalar) (*float64, error) {
	c := confidence(string(text), ofOne)
	if c == nil && text != "" {
		return nil, parking.Invalid("confidence is %s, want 0 to 1", quote(string(text)))
	}
	return c, nil
}

func (e ownEvent) readVersion(read *Read) error {
	if e.Version == "" {
		return nil
	}
	version, err := strconv.ParseInt(string(e.Version), 10, 64)
	if err != nil || version < 1 || version > parking.MaxVersion {
		return parking.Invalid("version is %s, want 1 to %d", quote(string(e.Version)), int64(parking.MaxVersion))
	}
	read.Order = version
	return nil
}

// readTime sets the time and the direction. In an event the name of the time tells the
// direction.
func (e ownEvent) readTime(read *Read, r Request, c site.Camera) error {
	name, given := "time", e.Time
	switch {
	case e.EntryTime.Text != "" && e.ExitTime.Text != "":
		return parking.Invalid("there are an entry_date_time and an exit_date_time; an event is one of both")
	case e.EntryTime.Given && !e.EntryTime.Null:
		name, given, read.Direction = "entry_date_time", e.EntryTime, parking.Entry.String()
	case e.ExitTime.Given && !e.ExitTime.Null:
		name, given, read.Direction = "exit_date_time", e.ExitTime, parking.Exit.String()
	default:
		read.Direction = strings.ToLower(strings.TrimSpace(string(e.Direction)))
	}
	switch read.Direction {
	case "entry", "in":
		read.Kind = parking.Entry
	case "exit", "out":
		read.Kind = parking.Exit
	}
	at, err := r.anyTime(string(given.Text), c)
	if err != nil {
		return err
	}
	if at.Time.IsZero() && !e.Void && (given.Given && !given.Null || e.ID != "") {
		return parking.Invalid("%s is %s, want a time such as 2026-11-27T08:15:00Z", name, quote(string(given.Text)))
	}
	read.Time, read.AmbiguousTime = at.Time, at.Ambiguous
	return nil
}
