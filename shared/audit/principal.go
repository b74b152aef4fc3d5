package audit

import "parkstream/shared/access"

// By returns the beginning of an entry about what a principal does.
func By(p access.Principal, a Action) Entry {
	return Entry{Who: p.Name, Role: string(p.Role), Via: p.Via, Address: p.Address, Action: a}
}

// Person reports whether a principal may be a person, whose acts are recorded. Cameras
// and other parts of the system post events by the thousand, which are their own record.
func Person(p access.Principal) bool {
	switch p.Role {
	case access.Machine, access.Part:
		return false
	default:
		return true
	}
}
