package site

import "slices"

// Auto is the format of a camera whose requests are recognised by their content.
const Auto = "auto"

// formats are the names of the formats of shared/camera. The value reports whether the
// format itself can tell an entry from an exit, so that a camera of both directions needs
// no Camera.Directions.
var formats = map[string]bool{
	Auto:              true, // it may be one of those
	"axis":            true,
	"blueiris":        false,
	"cloudevents":     true,
	"dahua":           true,
	"frigate":         false,
	"genetec":         false,
	"hikvision":       true,
	"milesight":       true,
	"openalpr":        false,
	"own":             true,
	"platerecognizer": false,
	"unifi":           false,
	"verkada":         false,
}

// Formats returns the names that a camera's format may have, sorted.
func Formats() []string {
	names := make([]string, 0, len(formats))
	for name := range formats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
