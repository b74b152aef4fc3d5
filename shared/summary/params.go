package summary

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"parkstream/shared/parking"
)

// parameter is a parameter in the query of a route. It is given once and not empty, or
// omitted.
type parameter struct {
	name     string
	kind     kind
	min, max int64    // of a wholeNumber
	choices  []string // of oneOf
	required bool
}

type kind int

const (
	freeText kind = iota
	wholeNumber
	oneOf
	instant
	siteName
	stayID
	plateText
	cursorText
	userName
	entryID
	eventText
	reviewText
)

// maxOffset bounds the offset of a page in the list of vehicles inside a site.
const maxOffset = 1_000_000

// maxUserName bounds the name of a user in a query, in bytes.
const maxUserName = 512

var (
	plateParam    = parameter{name: "plate", kind: plateText}
	siteParam     = parameter{name: "site", kind: siteName}
	idParam       = parameter{name: "id", kind: stayID}
	fromParam     = parameter{name: "from", kind: instant}
	toParam       = parameter{name: "to", kind: instant}
	cursorParam   = parameter{name: "cursor", kind: cursorText}
	versionParam  = parameter{name: "v", kind: freeText}
	limitParam    = parameter{name: "limit", kind: wholeNumber, min: 1, max: maxLimit}
	offsetParam   = parameter{name: "offset", kind: wholeNumber, max: maxOffset}
	offsetOfAll   = parameter{name: "offset", kind: wholeNumber, max: maxInsideAnywhere - 1}
	stepParam     = parameter{name: "step", kind: wholeNumber, min: 1, max: maxMinutes}
	statusParam   = parameter{name: "status", kind: oneOf, choices: statuses()}
	methodParam   = parameter{name: "method", kind: oneOf, choices: methods()}
	disputedParam = parameter{name: "disputed", kind: oneOf, choices: []string{"true", "false", "1", "0"}}
	formatParam   = parameter{name: "format", kind: oneOf, choices: []string{"json", "csv"}}
	bomParam      = parameter{name: "bom", kind: oneOf, choices: []string{"0", "1"}}
	afterParam    = parameter{name: "after", kind: siteName}
	whoParam      = parameter{name: "who", kind: userName}
	actionParam   = parameter{name: "action", kind: oneOf, choices: actions()}
	dryRunParam   = parameter{name: "dry_run", kind: oneOf, choices: []string{"0", "1"}}
	pruneParam    = parameter{name: "prune", kind: oneOf, choices: []string{"0", "1"}}
	changeParam   = parameter{name: "version", kind: freeText}
	entryParam    = parameter{name: "cursor", kind: entryID}
	eventParam    = parameter{name: "cursor", kind: eventText}
	auditParams   = []parameter{fromParam, toParam, whoParam, actionParam, siteParam, limitParam, entryParam, formatParam, bomParam}
	listParams    = []parameter{plateParam, siteParam, statusParam, methodParam, disputedParam, fromParam, toParam, limitParam, cursorParam, formatParam, bomParam}
	minutesParams = []parameter{siteParam, fromParam, toParam, stepParam}
)

// statuses returns the choices of the parameter status.
func statuses() []string {
	return []string{string(parking.Completed), string(parking.UnmatchedExit), string(parking.Repeated), string(parking.Void)}
}

// methods returns the choices of the parameter method.
func methods() []string {
	var choices []string
	for _, method := range parking.Methods() {
		choices = append(choices, string(method))
	}
	return choices
}

func (p parameter) must() parameter {
	p.required = true
	return p
}

// checkQuery returns an error for parameters that a route does not have, for missing
// ones and for repeated or empty ones: a typing mistake must not look like a result.
// The handlers read the values.
func checkQuery(query url.Values, known []parameter) error {
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.name
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch given := query[name]; {
		case len(known) == 0:
			return parking.Invalid("unknown parameter %.40q: this path takes none", name)
		case !slices.Contains(names, name):
			return parking.Invalid("unknown parameter %.40q: want %s", name, strings.Join(names, ", "))
		case len(given) > 1:
			return parking.Invalid("parameter %q is given %d times, want once", name, len(given))
		case given[0] == "":
			return parking.Invalid("parameter %q is empty: give it a value or leave it out", name)
		}
	}
	for _, p := range known {
		if p.required && !query.Has(p.name) {
			return parking.Invalid("parameter %q is missing", p.name)
		}
	}
	return nil
}

// number returns the value of the parameter, or otherwise if it is absent.
func (p parameter) number(values url.Values, otherwise int64) (int64, error) {
	text := values.Get(p.name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strings.Trim(text, "0123456789") != "" || n < p.min || n > p.max {
		return otherwise, parking.Invalid("%s %.40q: want a number from %d to %d", p.name, text, p.min, p.max)
	}
	return n, nil
}

// choice returns the value of the parameter, which is one of the choices, or "" if it
// is absent.
func (p parameter) choice(values url.Values) (string, error) {
	text := values.Get(p.name)
	if text != "" && !slices.Contains(p.choices, text) {
		return "", parking.Invalid("%s %.40q: want %s", p.name, text, strings.Join(p.choices, " or "))
	}
	return text, nil
}

// plateOf returns the normalised plate for a plate in any spelling.
func plateOf(text string) (string, error) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", parking.Invalid("plate %.40q has characters that do not print", text)
	}
	if strings.Contains(text, "%") {
		return "", parking.Invalid("plate %.40q has a %%, as if it was percent-encoded twice: leave it out, a plate is found without it", text)
	}
	plate := parking.NormalizePlate(text)
	if plate == "" {
		return "", parking.Invalid("plate %.40q has no letter or digit", text)
	}
	if n := utf8.RuneCountInString(plate); n > parking.MaxPlateRunes {
		return "", parking.Invalid("plate has %d letters and digits, at most %d are possible", n, parking.MaxPlateRunes)
	}
	return plate, nil
}

// certainPlate returns an error for a plate in a path that an intermediary may have
// changed or cut off: an erasure must concern exactly the plate that the caller meant.
func certainPlate(plate string) error {
	if plate == "." || plate == ".." || strings.ContainsAny(plate, `/\%`) {
		return parking.Invalid("plate %.40q may not be the one that was meant, since gateways change such a path: use DELETE /plates?plate=", plate)
	}
	return nil
}

func siteOf(values url.Values) (string, error) { return siteParam.site(values) }

func (p parameter) site(values url.Values) (string, error) {
	site := values.Get(p.name)
	if site == "" {
		return "", nil
	}
	return site, parking.CheckSite(site)
}

// spanOf returns the bounds of a time range. A zero bound is absent.
func spanOf(values url.Values) (from, to time.Time, err error) {
	from, err1 := timeOf(values, "from")
	to, err2 := timeOf(values, "to")
	if err := errors.Join(err1, err2); err != nil {
		return from, to, err
	}
	hasFrom, hasTo := values.Get("from") != "", values.Get("to") != ""
	if hasFrom && hasTo && to.Before(from) {
		return from, to, parking.Invalid("to %s is before from %s", values.Get("to"), values.Get("from"))
	}
	if hasFrom {
		from = nearest(from)
	}
	if hasTo {
		to = nearest(to)
	}
	return from, to, nil
}

func timeOf(values url.Values, name string) (time.Time, error) {
	text := values.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := parking.ParseTime(text)
	if err != nil {
		return t, parking.Invalid("%s %v", name, err)
	}
	return t, nil
}

var (
	firstInstant = time.Unix(0, 0).UTC()
	lastInstant  = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)
)

// nearest returns the instant nearest to t within the years of valid events. Year 1 as
// a bound selects the same as 1970, and would be equal to an absent bound.
func nearest(t time.Time) time.Time {
	switch {
	case t.Before(firstInstant):
		return firstInstant
	case t.After(lastInstant):
		return lastInstant
	default:
		return t
	}
}
