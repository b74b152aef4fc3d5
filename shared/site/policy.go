package site

import (
	"maps"
	"slices"
	"strings"

	"parkstream/shared/parking"
)

// Billing is what becomes of a stay.
type Billing string

// The billings, the strictest last.
const (
	// Bill: the stay is charged for.
	Bill Billing = "bill"
	// Hold: a person decides.
	Hold Billing = "hold"
	// Never: the stay is not charged for.
	Never Billing = "never"
)

var billings = []Billing{Bill, Hold, Never}

// Policy is which stays a site bills. What it lacks has the default: exact stays are billed,
// all others and disputed ones are held.
type Policy struct {
	Methods  map[parking.Method]Billing
	Disputed Billing
}

// Billing returns what becomes of a stay: what its method has, or of a disputed stay what
// those have, if that is stricter. It is "" of a stay without an entry, which is no stay to
// be billed.
func (p Policy) Billing(s *parking.Stay) Billing {
	method := s.Method()
	if method == "" {
		return ""
	}
	billing := p.of(method)
	if s.Disputed && slices.Index(billings, p.disputed()) > slices.Index(billings, billing) {
		billing = p.disputed()
	}
	return billing
}

// of returns the billing of a method.
func (p Policy) of(method parking.Method) Billing {
	if billing, found := p.Methods[method]; found {
		return billing
	}
	if method == parking.Exact {
		return Bill
	}
	return Hold
}

func (p Policy) disputed() Billing {
	if p.Disputed == "" {
		return Hold
	}
	return p.Disputed
}

// disputedKey is the key of Policy.Disputed in a document. The others are methods.
const disputedKey = "disputed"

// policyDocument is the text form of a policy: of each method a billing.
type policyDocument map[string]string

func policyKeys() []string {
	keys := make([]string, 0, len(parking.Methods())+1)
	for _, method := range parking.Methods() {
		keys = append(keys, string(method))
	}
	return append(keys, disputedKey)
}

// document returns the text form without what is the default anyway.
func (p Policy) document() policyDocument {
	d := make(policyDocument)
	for method, billing := range p.Methods {
		d[string(method)] = string(billing)
	}
	if p.Disputed != "" {
		d[disputedKey] = string(p.Disputed)
	}
	if len(d) == 0 {
		return nil
	}
	return d
}

// policy returns the policy of a document and reports every mistake.
func (d policyDocument) policy(wrong report) (p Policy) {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		billing := Billing(d[key])
		switch {
		case !slices.Contains(policyKeys(), key):
			wrong("policy", "policy has the unknown method %s: want %s", quote(key), strings.Join(policyKeys(), ", "))
		case !slices.Contains(billings, billing):
			wrong("policy."+key, "policy of %s is %s: want bill, hold or never", key, quote(d[key]))
		case key == disputedKey:
			p.Disputed = billing
		default:
			if p.Methods == nil {
				p.Methods = make(map[parking.Method]Billing)
			}
			p.Methods[parking.Method(key)] = billing
		}
	}
	return p
}
