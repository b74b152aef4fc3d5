#!/bin/sh
# Compiles a program for an image: sh compile.sh PACKAGE OUTPUT [LINKER FLAGS]
# and writes the notices of what is linked into it: OUTPUT.notices
#
# GOOS and GOARCH are the image's; when they are unset or empty, as in builders
# that do not tell the platform, they are this machine's.
set -eu
package=$1
output=$2

go build -ldflags "-s -w ${3-}" -o "$output" "$package"
go list -deps -json=Dir,EmbedFiles,ImportPath,Module,Standard "$package" >"$output.packages"
# The packages are those of the image's system, the command runs on this one.
GOOS= GOARCH= go run "./$(dirname "$0")/notices" "$(go env GOROOT)" <"$output.packages" >"$output.notices"
