package audit

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Action is what was done. Each action has a stream of its own, so the entries of one
// action never displace those of another.
type Action string

// The actions that are recorded.
const (
	Login        Action = "login"
	LoginRefused Action = "login-refused"
	Logout       Action = "logout"
	Correct      Action = "correct"
	Erase        Action = "erase"
	// Search is a search for a plate.
	Search Action = "search"
	// Download is a CSV download with whole plates.
	Download Action = "download"
	// Generate is a call of a generator by a person.
	Generate Action = "generate"
	// PostEvent is a call of a processor by a person.
	PostEvent Action = "post-event"
	// Configure is a change of the configuration of sites.
	Configure Action = "configure"
	// Decide is a decision about reads whose plates may be wrong.
	Decide Action = "decide"
)

// Actions returns every action.
func Actions() []Action {
	return []Action{Login, LoginRefused, Logout, Correct, Erase, Search, Download, Generate, PostEvent, Configure, Decide}
}

// Outcome is what is known of an act when its entry is written.
type Outcome string

const (
	// Begun is the outcome of an entry that is written before the act. If no entry of
	// its end follows, the process ended in between.
	Begun  Outcome = "begun"
	Done   Outcome = "done"
	Failed Outcome = "failed"
	// Refused is the outcome of a refused login.
	Refused Outcome = "refused"
)

// Entry is one entry of the audit. Its texts may come from anyone: [Log.Add] bounds
// them, escapes what does not print, and masks the plate wherever it occurs.
type Entry struct {
	// ID identifies the entry. It and At are set by the log.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Who is the name of the user, "open" if access is open.
	Who     string `json:"who"`
	Role    string `json:"role"`
	Via     string `json:"via"`
	Address string `json:"address"`
	Action  Action `json:"action"`
	// Site is empty if the act concerns no single site.
	Site   string `json:"site"`
	Object string `json:"object"`
	// Plate is the whole plate when an entry is added, and masked when it is read.
	Plate   string  `json:"plate"`
	Before  string  `json:"before"`
	After   string  `json:"after"`
	Outcome Outcome `json:"outcome"`
	// Of is the id of the entry whose act this one ends.
	Of string `json:"of"`
}

// field is a text of an entry, with its name in Redis and its bound in bytes.
type field struct {
	name string
	most int
	of   func(*Entry) *string
}

// fields are the texts of an entry, in the order in which Redis has them.
var fields = []field{
	{"who", 128, func(e *Entry) *string { return &e.Who }},
	{"role", 32, func(e *Entry) *string { return &e.Role }},
	{"via", 32, func(e *Entry) *string { return &e.Via }},
	{"address", 64, func(e *Entry) *string { return &e.Address }},
	{"site", 64, func(e *Entry) *string { return &e.Site }},
	{"object", 512, func(e *Entry) *string { return &e.Object }},
	{"plate", 128, func(e *Entry) *string { return &e.Plate }},
	{"before", 256, func(e *Entry) *string { return &e.Before }},
	{"after", 256, func(e *Entry) *string { return &e.After }},
	{"outcome", 16, func(e *Entry) *string { return (*string)(&e.Outcome) }},
	{"of", 64, func(e *Entry) *string { return &e.Of }},
}

// printable returns a text of at most some bytes without characters that a terminal, a
// log or a table could take for something else: each that does not print is escaped as
// in Go. A longer text ends in an ellipsis.
func printable(text string, most int) string {
	const ellipsis = "…"
	var b strings.Builder
	end := 0 // of the longest part that leaves room for the ellipsis
	for rest := text; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, rest[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		if b.Len() > most {
			return b.String()[:end] + ellipsis
		}
		if b.Len() <= most-len(ellipsis) {
			end = b.Len()
		}
		rest = rest[size:]
	}
	return b.String()
}
