// Package version tells which build of Parkstream this is.
package version

import (
	"cmp"
	"runtime/debug"
)

// Version is the module's version, "devel" for a build of a checkout.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// Revision is the commit of the build, "unknown" where the build does not say.
func Revision() string {
	var revision string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return cmp.Or(revision, "unknown")
}
