// Package site is what is configured of a car park: its name, time zone, capacity, gates
// and cameras. [Parse] reads it from a file, and a [Registry] keeps it in Redis.
package site

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"
	_ "time/tzdata" // images have no time zones

	"parkstream/shared/parking"
)

// Site is the configuration of a car park. The zero value but for the ID is that of a
// site without an entry in the registry.
type Site struct {
	ID   string
	Name string
	// Location is the time zone; UTC unless configured.
	Location *time.Location
	// Capacity is the number of places, or 0 if it is unknown.
	Capacity int
	// Repeat is the time within which a read is a repeat; nil is [parking.DefaultRepeat].
	// A change is valid for reads observed [RepeatDelay] later.
	Repeat *time.Duration
	// Repeats are the settings of Repeat until now. The registry keeps them.
	Repeats parking.Repeats
	// LongestStay is how long vehicles stay at most, or 0 if it is unknown.
	LongestStay time.Duration
	// ImageRetention is how long pictures are kept; 0 is the default of the functions.
	ImageRetention time.Duration
	// HideDoubtful hides the occupancy while it is doubtful, because the cameras of a
	// direction are silent.
	HideDoubtful bool
	// Settle is how long after an exit near stays are made of what is lone then; nil is
	// [DefaultSettle]. See [Site.SettleTime].
	Settle *time.Duration
	// Policy is which stays are billed.
	Policy  Policy
	Gates   []Gate
	Cameras []Camera
}

// DefaultSettle is the Settle of a site that does not have one. By then most vehicles that
// are mistaken for the one of an exit have left under their own plates.
const DefaultSettle = 24 * time.Hour

// SettleTime returns how long after an exit near stays are made of what is lone then.
func (s *Site) SettleTime() time.Duration {
	if s.Settle == nil {
		return DefaultSettle
	}
	return *s.Settle
}

// Gate is where vehicles drive in or out.
type Gate struct {
	ID   string
	Name string
}

// Role is which direction a camera sees.
type Role string

const (
	// Entries and Exits: the camera sees one direction, whatever its format tells.
	Entries Role = "entry"
	Exits   Role = "exit"
	// Both: the direction in the camera's format tells, by Camera.Directions.
	Both Role = "both"
)

// Camera is a camera of a site. Its ID is unique among all sites.
type Camera struct {
	ID   string
	Site string
	Gate string
	Role Role
	// Directions maps what the camera's format says of the direction, in lower case, to a
	// kind. It adds to what the format itself defines, and precedes it.
	Directions map[string]parking.Kind
	// Format is the name of a format, or Auto.
	Format string
	// Location is the time zone of local times that the camera sends: its own, or that
	// of its site.
	Location *time.Location
	// TokenHash is the [HashToken] of the camera's token. Zero: the camera has none.
	TokenHash [sha256.Size]byte
}

// HashToken returns what is kept of a camera's token.
func HashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// Authentic reports whether a token is the camera's.
func (c Camera) Authentic(token string) bool {
	sum := HashToken(token)
	var none [sha256.Size]byte
	return token != "" && c.TokenHash != none && subtle.ConstantTimeCompare(sum[:], c.TokenHash[:]) == 1
}

func (s *Site) location() *time.Location {
	if s.Location == nil {
		return time.UTC
	}
	return s.Location
}
