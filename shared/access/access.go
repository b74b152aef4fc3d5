// Package access decides who may do what. A [Guard] identifies the caller of a request
// as a [Principal] by a password or token of the users file, by the token of another
// part of the system, or by a session, and refuses what the principal has no [Right] to.
//
// The roles and their rights are one table in access.go.
package access

import (
	"context"
	"slices"
)

// Right is what a route needs.
type Right uint8

const (
	// Read: stays, sites and counts; plates are masked without ReadPlates.
	Read Right = iota
	// ReadPlates: whole plates, search by plate.
	ReadPlates
	// Correct: the number of vehicles inside, and which reads are of one vehicle.
	Correct
	// Administer: erasure and audit.
	Administer
	// PostEvents: events of cameras.
	PostEvents
	// Generate: events that are made up, with parameters.
	Generate
	// PostStays: stays that a processor has found.
	PostStays
	// ReadMetrics: of all sites together.
	ReadMetrics
)

var rightNames = [...]string{
	Read: "read", ReadPlates: "read_plates", Correct: "correct", Administer: "administer",
	PostEvents: "post_events", Generate: "generate", PostStays: "post_stays", ReadMetrics: "read_metrics",
}

// String returns the right's name, as GET /me has it.
func (r Right) String() string { return rightNames[r] }

// changes reports whether a request that needs the right changes something, whatever its
// method.
func (r Right) changes() bool {
	return r == Correct || r == PostEvents || r == Generate || r == PostStays
}

// rights is a set of them.
type rights uint16

func rightsOf(all ...Right) (set rights) {
	for _, r := range all {
		set |= 1 << r
	}
	return set
}

func (s rights) has(r Right) bool { return s&(1<<r) != 0 }

// Role is what a principal is.
type Role string

// The roles of users, and those of principals that are no users.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
	Machine  Role = "machine"

	// Part is the role of another part of the system, which has a token of its own.
	Part Role = "part"
	// Open is the role of everyone without a login if ACCESS is open.
	Open Role = "open"
)

// Roles returns the roles that a user may have.
func Roles() []Role { return []Role{Viewer, Operator, Admin, Machine} }

// roleRights is the table of roles and rights. Those of a Part are with its token.
var roleRights = map[Role]rights{
	Viewer:   rightsOf(Read),
	Operator: rightsOf(Read, ReadPlates, Correct, PostEvents, Generate),
	Admin:    rightsOf(Read, ReadPlates, Correct, PostEvents, Generate, Administer, ReadMetrics),
	Machine:  rightsOf(PostEvents, ReadMetrics),
	Open:     rightsOf(Read, ReadPlates, PostEvents, Generate, ReadMetrics),
}

// Sites is a set of sites: some, or all that there are. The zero value is empty.
type Sites struct {
	all   bool
	names []string // sorted, each once
}

// AllSites returns the set of all sites.
func AllSites() Sites { return Sites{all: true} }

// SitesOf returns the set of some sites.
func SitesOf(names ...string) Sites {
	return Sites{names: slices.Compact(slices.Sorted(slices.Values(names)))}
}

// All reports whether the set has all sites.
func (s Sites) All() bool { return s.all }

// Has reports whether a site is in the set.
func (s Sites) Has(site string) bool {
	if s.all {
		return true
	}
	_, found := slices.BinarySearch(s.names, site)
	return found
}

// Names returns the sites in order; nil if there are all.
func (s Sites) Names() []string { return slices.Clone(s.names) }

// Ways of being identified, for Principal.Via.
const (
	ViaPassword = "password"
	ViaToken    = "token"
	ViaSession  = "session"
	ViaOpen     = "open"
)

// Principal is who makes a request. The zero value may do nothing.
type Principal struct {
	// Name is unique among the principals of a role.
	Name string
	Role Role
	// Sites are those that the principal sees.
	Sites Sites
	// Plates: a viewer sees whole plates.
	Plates bool
	// Via is the way in, one of the constants.
	Via string
	// Address is that of the caller; see TRUSTED_PROXIES.
	Address string

	rights rights // of a Part
}

// PartOf returns the principal of another part of the system.
func PartOf(name string, all ...Right) Principal {
	return Principal{Name: name, Role: Part, Sites: AllSites(), Via: ViaToken, rights: rightsOf(all...)}
}

// May reports whether the principal has a right at its sites. ReadMetrics needs all
// sites: metrics tell them apart by a label only.
func (p Principal) May(r Right) bool {
	set := p.rights | roleRights[p.Role]
	if p.Role == Viewer && p.Plates {
		set |= rightsOf(ReadPlates)
	}
	return set.has(r) && (r != ReadMetrics || p.Sites.All())
}

// Rights returns the rights of the principal in the order of the constants.
func (p Principal) Rights() []Right {
	var all []Right
	for r := range Right(len(rightNames)) {
		if p.May(r) {
			all = append(all, r)
		}
	}
	return all
}

// Exempt reports whether the principal may have all that the process bounds, and no
// share of it only: another part of the system, or everyone together.
func (p Principal) Exempt() bool { return p.Role == Part || p.Role == Open }

type principalKey struct{}

// NewContext returns a context with a principal.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns the principal of a request; one that may do nothing if there is none.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
