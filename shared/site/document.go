package site

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"parkstream/shared/parking"
)

// Bounds of what is configured.
const (
	// MaxSites bounds the sites with a configuration.
	MaxSites = 10_000
	// MaxCameras and MaxGates bound those of a site.
	MaxCameras = 500
	MaxGates   = 500
	// MaxCapacity bounds the places of a site.
	MaxCapacity = 1_000_000

	maxBytes       = 8 << 20 // of all documents together: each process has a copy
	maxNameRunes   = 100
	maxDirections  = 32
	minLongestStay = time.Minute
	maxLongestStay = 366 * day
	minImages      = time.Hour
	maxImages      = 3660 * day
	maxSettle      = 5 * day // what is lone for longer has no partner any more
	minTokenBytes  = 8
	maxTokenBytes  = 128
	maxQuoted      = 40

	day = 24 * time.Hour
)

// tokenPrefix begins a token that is given by its hash.
const tokenPrefix = "sha256:"

// Values of occupancy_when_silent.
const (
	occupancyFlagged = "flagged" // the default
	occupancyUnknown = "unknown"
)

var noToken [sha256.Size]byte

// document is the text form of a site: in files, in the API and in Redis.
type document struct {
	ID             string           `json:"id"`
	Name           string           `json:"name,omitempty"`
	Zone           string           `json:"zone,omitempty"`
	Capacity       json.Number      `json:"capacity,omitempty"`
	Repeat         string           `json:"repeat,omitempty"`
	LongestStay    string           `json:"longest_stay,omitempty"`
	ImageRetention string           `json:"image_retention,omitempty"`
	WhenSilent     string           `json:"occupancy_when_silent,omitempty"`
	Settle         string           `json:"settle,omitempty"`
	Policy         policyDocument   `json:"policy,omitempty"`
	Gates          []gateDocument   `json:"gates,omitempty"`
	Cameras        []cameraDocument `json:"cameras,omitempty"`
}

type gateDocument struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

type cameraDocument struct {
	ID         string            `json:"id"`
	Gate       string            `json:"gate,omitempty"`
	Role       string            `json:"role,omitempty"`
	Format     string            `json:"format,omitempty"`
	Zone       string            `json:"zone,omitempty"`
	Directions map[string]string `json:"directions,omitempty"`
	Token      string            `json:"token,omitempty"` // in Redis its hash, in the API nothing
}

// stored is the form in Redis.
type stored struct {
	document
	Repeats parking.Repeats `json:"repeats,omitempty"`
	Removed bool            `json:"removed,omitempty"` // only its Repeats are kept
}

// documentOf returns the text form of a site, with the hashes of tokens.
func documentOf(s *Site) document {
	d := document{
		ID: s.ID, Name: s.Name, Zone: s.location().String(),
		LongestStay: formatDuration(s.LongestStay), ImageRetention: formatDuration(s.ImageRetention), Policy: s.Policy.document(),
	}
	if s.Capacity != 0 {
		d.Capacity = json.Number(strconv.Itoa(s.Capacity))
	}
	if s.HideDoubtful {
		d.WhenSilent = occupancyUnknown
	}
	if s.Repeat != nil {
		d.Repeat = cmp.Or(formatDuration(*s.Repeat), "0s")
	}
	if s.Settle != nil {
		d.Settle = cmp.Or(formatDuration(*s.Settle), "0s")
	}
	for _, g := range s.Gates {
		d.Gates = append(d.Gates, gateDocument(g))
	}
	for _, c := range s.Cameras {
		k := cameraDocument{ID: c.ID, Gate: c.Gate, Role: string(c.Role), Format: c.Format}
		if c.Location != nil && c.Location.String() != d.Zone {
			k.Zone = c.Location.String()
		}
		for direction, kind := range c.Directions {
			if k.Directions == nil {
				k.Directions = make(map[string]string, len(c.Directions))
			}
			k.Directions[direction] = kind.String()
		}
		if c.TokenHash != noToken {
			k.Token = tokenPrefix + hex.EncodeToString(c.TokenHash[:])
		}
		d.Cameras = append(d.Cameras, k)
	}
	return d
}

// report takes a mistake and where it is in a document, such as cameras[2].gate.
type report func(path, format string, args ...any)

// site returns the site of a document and reports every mistake.
func (d *document) site(wrong report) Site {
	s := Site{ID: d.ID, Name: d.Name}
	checkID("site", d.ID, "id", wrong)
	checkName(d.Name, "name", wrong)
	s.Location = zoneOf(d.Zone, time.UTC, "zone", wrong)
	if d.Capacity != "" {
		n, err := strconv.Atoi(string(d.Capacity))
		if err != nil || n < 0 || n > MaxCapacity {
			wrong("capacity", "capacity %s: want a number of places from 0 to %d", quote(string(d.Capacity)), MaxCapacity)
		}
		s.Capacity = n
	}
	if d.Repeat != "" {
		s.Repeat = new(durationOf(d.Repeat, 0, parking.MaxRepeat, "repeat", wrong))
	}
	if d.LongestStay != "" {
		s.LongestStay = durationOf(d.LongestStay, minLongestStay, maxLongestStay, "longest_stay", wrong)
	}
	if d.ImageRetention != "" {
		s.ImageRetention = durationOf(d.ImageRetention, minImages, maxImages, "image_retention", wrong)
	}
	switch d.WhenSilent {
	case "", occupancyFlagged:
	case occupancyUnknown:
		s.HideDoubtful = true
	default:
		wrong("occupancy_when_silent", "occupancy_when_silent %s: want %s or %s", quote(d.WhenSilent), occupancyFlagged, occupancyUnknown)
	}
	if d.Settle != "" {
		s.Settle = new(durationOf(d.Settle, 0, maxSettle, "settle", wrong))
	}
	s.Policy = d.Policy.policy(wrong)
	gates := make(map[string]bool)
	if n := len(d.Gates); n > MaxGates {
		wrong("gates", "there are %d gates, at most %d are possible", n, MaxGates)
	}
	for i, g := range d.Gates {
		path := fmt.Sprintf("gates[%d].", i)
		checkID("gate", g.ID, path+"id", wrong)
		if gates[g.ID] && g.ID != "" {
			wrong(path+"id", "gate %s is there already", quote(g.ID))
		}
		gates[g.ID] = true
		checkName(g.Name, path+"name", wrong)
		s.Gates = append(s.Gates, Gate(g))
	}
	if n := len(d.Cameras); n > MaxCameras {
		wrong("cameras", "there are %d cameras, at most %d are possible", n, MaxCameras)
	}
	cameras := make(map[string]bool)
	for i := range d.Cameras {
		k := &d.Cameras[i]
		path := fmt.Sprintf("cameras[%d].", i)
		if cameras[k.ID] && k.ID != "" {
			wrong(path+"id", "camera %s is there already", quote(k.ID))
		}
		cameras[k.ID] = true
		if k.Gate != "" && !gates[k.Gate] {
			wrong(path+"gate", "gate %s of camera %s is not one of the site's gates", quote(k.Gate), quote(k.ID))
		}
		s.Cameras = append(s.Cameras, k.camera(&s, func(field, format string, args ...any) { wrong(path+field, format, args...) }))
	}
	return s
}

// camera returns the camera of a document and reports every mistake in it alone.
func (k *cameraDocument) camera(s *Site, wrong report) Camera {
	c := Camera{ID: k.ID, Site: s.ID, Gate: k.Gate, Role: Role(k.Role), Format: k.Format}
	checkID("camera", k.ID, "id", wrong)
	switch c.Role {
	case Entries, Exits, Both:
	case "":
		wrong("role", "role of camera %s is missing: want entry, exit or both", quote(k.ID))
	default:
		wrong("role", "role %s: want entry, exit or both", quote(k.Role))
	}
	if c.Format == "" {
		c.Format = Auto
	}
	own, known := formats[c.Format]
	if !known {
		wrong("format", "format %s: want one of %s", quote(k.Format), strings.Join(Formats(), ", "))
	}
	c.Location = zoneOf(k.Zone, s.Location, "zone", wrong)
	if n := len(k.Directions); n > maxDirections {
		wrong("directions", "there are %d directions, at most %d are possible", n, maxDirections)
	}
	for _, text := range slices.Sorted(maps.Keys(k.Directions)) {
		direction, kind := strings.ToLower(strings.TrimSpace(text)), k.Directions[text]
		if checkText(direction) != nil || direction == "" {
			wrong("directions", "direction %s: want 1 to %d characters that print", quote(text), maxNameRunes)
		}
		if _, twice := c.Directions[direction]; twice {
			wrong("directions", "direction %s is there already, in other letters", quote(text))
		}
		if c.Directions == nil {
			c.Directions = make(map[string]parking.Kind)
		}
		switch kind {
		case parking.Entry.String():
			c.Directions[direction] = parking.Entry
		case parking.Exit.String():
			c.Directions[direction] = parking.Exit
		default:
			wrong("directions", "direction %s is %s: want entry or exit", quote(text), quote(kind))
		}
	}
	if c.Role == Both && known && !own && len(k.Directions) == 0 {
		wrong("role", "camera %s is of both directions, and its format %s does not tell an entry from an exit: give it directions, such as {approaching: entry, leaving: exit}", quote(k.ID), k.Format)
	}
	if k.Token != "" {
		c.TokenHash = tokenOf(k.Token, wrong)
	}
	return c
}

// tokenOf returns the hash of a token that is given in plain or as its hash. No mistake
// quotes it.
func tokenOf(text string, wrong report) (hash [sha256.Size]byte) {
	if hexadecimal, hashed := strings.CutPrefix(text, tokenPrefix); hashed {
		raw, err := hex.DecodeString(hexadecimal)
		if err != nil || len(raw) != len(hash) || [sha256.Size]byte(raw) == noToken {
			wrong("token", "token: want the 64 hexadecimal digits of a SHA-256 after %s", tokenPrefix)
			return hash
		}
		return [sha256.Size]byte(raw)
	}
	unreserved := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~", r)
	}
	if len(text) < minTokenBytes || len(text) > maxTokenBytes || strings.ContainsFunc(text, func(r rune) bool { return !unreserved(r) }) {
		wrong("token", "token: want %d to %d ASCII letters, digits, hyphens, dots, underscores or tildes, as a path may have them, or %s and the hash of one", minTokenBytes, maxTokenBytes, tokenPrefix)
	}
	return HashToken(text)
}

func zoneOf(name string, otherwise *time.Location, path string, wrong report) *time.Location {
	if name == "" {
		return otherwise
	}
	zone, err := loadLocation(name)
	// Local is the zone of this machine. Others have times of their own, with leap
	// seconds.
	if err != nil || name == "Local" || strings.HasPrefix(name, "right/") || strings.HasPrefix(name, "posix/") {
		wrong(path, "zone %s: want a name of the IANA time zones, such as Europe/Berlin or UTC", quote(name))
		return otherwise
	}
	return zone
}

// zones are the zones that were loaded, by their names. There are some 600.
var zones sync.Map

// loadLocation is [time.LoadLocation], which reads a file each time.
func loadLocation(name string) (*time.Location, error) {
	if known, found := zones.Load(name); found {
		return known.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		zones.Store(name, zone)
	}
	return zone, err
}

func checkID(what, id, path string, wrong report) {
	switch {
	case id == "":
		wrong(path, "id of the %s is missing", what)
	case parking.CheckSite(id) != nil:
		wrong(path, "id %s: want 1 to %d ASCII letters, digits, dots, hyphens or underscores", quote(id), parking.MaxSiteBytes)
	}
}

func checkName(name, path string, wrong report) {
	if err := checkText(name); err != nil {
		wrong(path, "name %s: %v", quote(name), err)
	}
}

func checkText(text string) error {
	if utf8.RuneCountInString(text) > maxNameRunes || !utf8.ValidString(text) ||
		strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("want at most %d characters that print", maxNameRunes)
	}
	return nil
}

func quote(text string) string {
	if len(text) > maxQuoted {
		return strconv.Quote(text[:maxQuoted]) + "..."
	}
	return strconv.Quote(text)
}

func durationOf(text string, least, most time.Duration, path string, wrong report) time.Duration {
	d, err := parseDuration(text)
	if err != nil || d < least || d > most {
		wrong(path, "%s %s: want a duration from %s to %s, such as 90s, 12h or 30d", path, quote(text), cmp.Or(formatDuration(least), "0s"), formatDuration(most))
	}
	return d
}

// parseDuration parses a duration of Go, which may begin with days: 30d, 1d12h.
func parseDuration(text string) (time.Duration, error) {
	before, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		return time.ParseDuration(text)
	}
	days, err := strconv.ParseUint(before, 10, 16)
	if err != nil {
		return 0, err
	}
	more := time.Duration(0)
	if rest != "" {
		if more, err = time.ParseDuration(rest); err == nil && (more < 0 || rest[0] == '+') {
			err = strconv.ErrSyntax
		}
	}
	return time.Duration(days)*day + more, err
}

// formatDuration returns a duration in its largest unit that has no fraction; "" if it is
// zero.
func formatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}
