// Package site is what is configured of a car park: its name, time zone, capacity, gates
// and cameras.
package site

import (
	"time"

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
	// Repeats are the settings of repeated reads; nil is the default.
	Repeats parking.Repeats
	// LongestStay is how long vehicles stay at most, or 0 if it is unknown.
	LongestStay time.Duration
	// ImageRetention is how long pictures are kept; 0 is the default of the functions.
	ImageRetention time.Duration
	Gates          []Gate
	Cameras        []Camera
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

// Auto is the format of a camera whose requests are recognised by their content.
const Auto = "auto"

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
}
