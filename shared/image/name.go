package image

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"
	"time"

	"parkstream/shared/parking"
)

// name is where a picture is. Its text is the reference in [parking.Details].
type name struct{ site, day, file string }

func (n name) String() string { return n.site + "/" + n.day + "/" + n.file }

func (n name) contentType() string {
	for _, k := range kinds {
		if strings.HasSuffix(n.file, k.suffix) {
			return k.contentType
		}
	}
	return "application/octet-stream" // no name is like that
}

// kind is a kind of picture that is kept.
type kind struct{ contentType, suffix string }

var kinds = []kind{{"image/jpeg", ".jpg"}, {"image/png", ".png"}}

// kindOf returns the kind of a picture by its first bytes, whatever its sender calls it,
// or nil.
func kindOf(data []byte) *kind {
	contentType := http.DetectContentType(data)
	for i := range kinds {
		if kinds[i].contentType == contentType {
			return &kinds[i]
		}
	}
	return nil
}

// hashDigits is how many hexadecimal digits of an event's hash are in a name.
const hashDigits = 32

// baseOf returns the beginning of the names of an event's pictures. An id may contain
// slashes, dots, a plate and more bytes than a file's name may have: its hash does not.
func baseOf(site, event string) string {
	sum := sha256.Sum256([]byte(site + "/" + event)) // no site has a slash
	return hex.EncodeToString(sum[:])[:hashDigits] + "-"
}

// fileForm is the form of all names: a hash, a number and a suffix.
var fileForm = regexp.MustCompile(`^[0-9a-f]{32}-[0-9]\.(jpg|png)$`)

// parseName returns the place that a reference names. It reports whether Put may have
// made it.
func parseName(reference string) (name, bool) {
	site, rest, _ := strings.Cut(reference, "/")
	day, file, _ := strings.Cut(rest, "/")
	_, isDay := parseDay(day)
	return name{site, day, file}, checkSite(site) == nil && isDay && fileForm.MatchString(file)
}

// checkSite returns an error for a site that has no pictures. A folder cannot be called
// "." or "..", and a URL with such a name would be another one.
func checkSite(site string) error {
	if strings.Trim(site, ".") == "" {
		return parking.Invalid("a site that is called %.40q has no pictures", site)
	}
	return parking.CheckSite(site)
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// parseDay returns the beginning of a day.
func parseDay(day string) (time.Time, bool) {
	t, err := time.Parse(time.DateOnly, day)
	return t, err == nil && dayOf(t) == day
}
