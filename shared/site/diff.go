package site

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff returns what differs between the configurations of sites, a line each, sorted by
// the ids: + is added, - is removed, ~ changes. No line has a token.
func Diff(before, after []Site) []string {
	var lines []string
	was, is := byID(before), byID(after)
	at := make(map[string]string) // the sites of cameras before
	for i := range before {
		for _, c := range before[i].Cameras {
			at[c.ID] = before[i].ID
		}
	}
	each(was, is, func(id string, a, b *Site) {
		switch {
		case b == nil:
			lines = append(lines, fmt.Sprintf("- site %s with %s", id, count(len(a.Cameras), "camera")))
			return
		case a == nil:
			lines = append(lines, "+ site "+id+describe(siteFields(b)))
			a = &Site{ID: id}
		default:
			if changes := compare(siteFields(a), siteFields(b)); changes != "" {
				lines = append(lines, "~ site "+id+": "+changes)
			}
		}
		lines = append(lines, diffParts("~ site "+id, a, b, at)...)
	})
	return lines
}

// diffParts returns the lines about gates and cameras of one site.
func diffParts(site string, a, b *Site, at map[string]string) (lines []string) {
	gate := func(g Gate) string { return g.ID }
	each(index(a.Gates, gate), index(b.Gates, gate), func(id string, a, b *Gate) {
		switch {
		case a == nil:
			lines = append(lines, fmt.Sprintf("%s: + gate %s%s", site, id, describe([]field{{"name", b.Name}})))
		case b == nil:
			lines = append(lines, fmt.Sprintf("%s: - gate %s", site, id))
		case *a != *b:
			lines = append(lines, fmt.Sprintf("%s: ~ gate %s: %s", site, id, compare([]field{{"name", a.Name}}, []field{{"name", b.Name}})))
		}
	})
	camera := func(c Camera) string { return c.ID }
	each(index(a.Cameras, camera), index(b.Cameras, camera), func(id string, a, b *Camera) {
		switch {
		case a == nil:
			from := ""
			if other := at[id]; other != "" && other != b.Site {
				from = ", from site " + other
			}
			lines = append(lines, fmt.Sprintf("%s: + camera %s%s%s", site, id, describe(cameraFields(b)), from))
		case b == nil:
			lines = append(lines, fmt.Sprintf("%s: - camera %s", site, id))
		default:
			changes := compare(cameraFields(a), cameraFields(b))
			if a.TokenHash != b.TokenHash && b.TokenHash != noToken {
				changes = strings.TrimPrefix(changes+", another token", ", ")
			}
			if changes != "" {
				lines = append(lines, fmt.Sprintf("%s: ~ camera %s: %s", site, id, changes))
			}
		}
	})
	return lines
}

// field is a setting as a text, empty if it is the default.
type field struct{ name, value string }

func siteFields(s *Site) []field {
	d := documentOf(s)
	return []field{
		{"name", d.Name},
		{"zone", d.Zone},
		{"capacity", string(d.Capacity)},
		{"repeat", d.Repeat},
		{"longest stay", d.LongestStay},
		{"image retention", d.ImageRetention},
		{"occupancy when silent", d.WhenSilent},
		{"settle", d.Settle},
		{"policy", described(d.Policy)},
	}
}

func cameraFields(c *Camera) []field {
	directions := make(map[string]string, len(c.Directions))
	for direction, kind := range c.Directions {
		directions[direction] = kind.String()
	}
	zone := ""
	if c.Location != nil {
		zone = c.Location.String()
	}
	return []field{
		{"role", string(c.Role)}, {"gate", c.Gate}, {"format", c.Format}, {"zone", zone}, {"directions", described(directions)},
	}
}

// described returns the values of keys in words.
func described(values map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		parts = append(parts, key+" is "+values[key])
	}
	return strings.Join(parts, " and ")
}

// describe returns the settings that are not the default, after a colon.
func describe(fields []field) string {
	var parts []string
	for _, f := range fields {
		if f.value != "" {
			parts = append(parts, f.name+" "+shown(f))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// compare returns the settings that differ.
func compare(a, b []field) string {
	var parts []string
	for i := range a {
		if a[i] != b[i] {
			parts = append(parts, fmt.Sprintf("%s %s -> %s", a[i].name, shown(a[i]), shown(b[i])))
		}
	}
	return strings.Join(parts, ", ")
}

func shown(f field) string {
	if f.name == "name" && f.value != "" {
		return quote(f.value)
	}
	return cmp.Or(f.value, "default")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func byID(sites []Site) map[string]*Site { return index(sites, func(s Site) string { return s.ID }) }

func index[T any](list []T, id func(T) string) map[string]*T {
	found := make(map[string]*T, len(list))
	for i := range list {
		found[id(list[i])] = &list[i]
	}
	return found
}

// each calls do for each id of two maps, in order, with what they have of it or nil.
func each[T any](a, b map[string]*T, do func(id string, a, b *T)) {
	ids := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		do(id, a[id], b[id])
	}
}
