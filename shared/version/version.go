// Package version identifies the build of Parkstream.
package version

import (
	"cmp"
	"runtime/debug"
)

// version and revision are set by the linker when an image is built: its build
// sees no repository.
var version, revision string

// Version returns the version of an image or of the module, "devel" for a build of
// a checkout.
func Version() string {
	stamped := ""
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		stamped = info.Main.Version
	}
	return cmp.Or(version, stamped, "devel")
}

// Revision returns the commit of the build, "unknown" if it is not recorded.
func Revision() string {
	stamped := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				stamped = s.Value
			}
		}
	}
	return cmp.Or(revision, stamped, "unknown")
}
