#!/usr/bin/env bash
# Runs every fuzz target of the repository for FUZZTIME (20s), as many at a time as the
# machine has processors. The targets are found in the tests. An input that fails one
# is written below its package's testdata/fuzz, where `go test` tries it from then on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export FUZZTIME=${FUZZTIME:-20s} GO=${GO:-go}

fuzz() {
	local package=$1 target=$2 out execs
	# The second text alone is no failure: go test may end so when the time is up.
	if ! out=$("$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1s -parallel 1 "$package" 2>&1) &&
		! grep -A 1 -- "^--- FAIL: $target (" <<<"$out" | grep -q '^    context deadline exceeded$'; then
		printf '%s %s failed:\n%s\n' "$package" "$target" "$out"
		return 1
	fi
	# go test passes when the time is up while an input never returns: the counter, a line
	# every 3 s, stands still then. A busy machine may stand still for a while: only 12 s count, and an
	# input that began to hang later goes unseen.
	if sed -nE 's/^fuzz: elapsed: [^,]*, (gathering [^,]*|execs: [0-9]+).*/\1/p' <<<"$out" | tail -n 5 | uniq -c | grep -qE '^ *5 '; then
		printf '%s %s hangs:\n%s\n' "$package" "$target" "$out"
		return 1
	fi
	execs=$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1) || execs='known inputs only'
	printf '%s %s: %s\n' "$package" "$target" "$execs"
}
export -f fuzz

targets=$(grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' . | sed -E 's#^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*)\(.*#\1 \2#' | sort)
xargs -L 1 -P "$(getconf _NPROCESSORS_ONLN)" bash -c 'fuzz "$@"' fuzz <<<"$targets"
