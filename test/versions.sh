#!/usr/bin/env bash
# Runs the tests of the connector, of the stores and of the whole system, the
# fault runs among them, with the RabbitMQ and Redis of newer Debian releases:
#
#   test/versions.sh [SUITE ...]     by default trixie (RabbitMQ 4.0, Redis 8.0)
#                                    and forky (RabbitMQ 4.3)
#
# Each suite gets a root of its own (some 900 MB), made once by debootstrap below
# $XDG_CACHE_HOME/parkstream (default ~/.cache/parkstream); delete it to have newer
# packages. The tests run inside that root, with this machine's Go, in namespaces
# of mounts and processes: neither outlives the run.
#
# Prints failures and the figures of the faults, at the end a table of what passed;
# the complete output of each part is in a log beside the roots. Exits with 1 when
# anything failed. Takes half an hour on two busy processors, too long for CI.
#
# Needs Linux and root, for chroot and mounts; a Debian or its kin, whose mirror
# is used; and go on the PATH. Installs debootstrap where it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'versions: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

[[ $(uname -s) == Linux ]] || fail 'needs Linux: the newer servers run in a chroot'
((EUID == 0)) || fail 'needs root for chroot and mounts: run it with sudo, or in a container'
command -v apt-get >/dev/null || fail 'needs apt-get: the newer servers come from Debian'
command -v debootstrap >/dev/null || {
	say 'installing debootstrap'
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/parkstream
# gcc for the race detector, locales for the test of Redis's collation, procps for ps.
packages=rabbitmq-server,redis-server,redis-sentinel,gcc,libc6-dev,locales,ca-certificates,procps

# make_root SUITE builds the root of a suite, whole or not at all.
make_root() {
	local suite=$1 root=$cache/$1 partial=$cache/$1.partial mirror script options=()
	[[ -d $root ]] && return
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
	[[ -n $mirror ]] || fail "apt-get knows no mirror: run apt-get update"
	say "making a root of $suite in $root"
	mkdir -p "$cache"
	rm -rf "$partial"
	# An older debootstrap does not know a newer suite and has no key for it.
	script=/usr/share/debootstrap/scripts/$suite
	if [[ ! -e $script ]]; then
		script=/usr/share/debootstrap/scripts/sid
		options+=(--no-check-gpg)
		say "debootstrap does not know $suite: its packages are installed without a check of their signatures"
	fi
	debootstrap --variant=minbase "${options[@]}" --include="$packages" "$suite" "$partial" "$mirror" "$script" >"$cache/$suite.log" 2>&1 ||
		fail "debootstrap failed: $(tail -n 3 "$cache/$suite.log")"
	# Erlang's nodes find each other by names that only these know.
	cp /etc/hosts /etc/nsswitch.conf "$partial/etc/"
	mv "$partial" "$root"
}

# inside ROOT COMMAND runs a shell command in a root, at this checkout.
inside() {
	local root=$1 command=$2 goroot modules build
	goroot=$(go env GOROOT) modules=$(go env GOMODCACHE) build=$cache/go-build
	mkdir -p "$build" "$root/src" "$root/usr/local/go" "$root/go/pkg/mod" "$root/go/build"
	unshare --mount --propagation private --pid --fork --kill-child -- bash -euo pipefail -c '
		root=$1 goroot=$2 modules=$3 build=$4 command=$5
		mount --rbind /dev "$root/dev"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/tmp"
		mount --bind . "$root/src"
		mount --bind "$goroot" "$root/usr/local/go"
		mount --bind "$modules" "$root/go/pkg/mod"
		mount --bind "$build" "$root/go/build"
		exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TMPDIR=/tmp \
			PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			GOPATH=/go GOCACHE=/go/build GOPROXY=off GOTOOLCHAIN=local \
			bash -euo pipefail -c "cd /src; $command; exit" # stays, to wait for orphans
	' bash "$root" "$goroot" "$modules" "$build" "$command"
}

# results has a line for each part of each suite.
results=() failed=()

# run SUITE PART ARGS... runs go test in a suite's root.
run() {
	local suite=$1 part=$2 log=$cache/$1.$2.log began=$SECONDS result=passed
	shift 2
	say "$suite: $part, output in $log"
	inside "$cache/$suite" "go test -race -count=1 -timeout 40m -v $*" 2>&1 | tee "$log" | shown || {
		result=FAILED
		failed+=("$suite: $part; read $log")
	}
	results+=("$(printf '| %-6s | %-10s | %-8s | %-6s | %-6s | %6d | %6d | %7d | %7d |' "$suite" "$part" \
		"$(version "$suite" rabbitmq-server)" "$(version "$suite" redis-server)" "$result" \
		"$(count PASS "$log")" "$(count FAIL "$log")" "$(count SKIP "$log")" $((SECONDS - began)))")
}

# shown prints of go test's output packages, failures by name and each fault's line.
shown() { grep -a --line-buffered -E '^(ok|FAIL|panic:|WARNING: DATA RACE)|^ *(--- FAIL|[a-z]+_test\.go:[0-9]+: \|)' || true; }

# count VERDICT LOG counts tests, with those within tests.
count() { grep -acE "^ *--- $1" "$2" || true; }

# version SUITE PACKAGE prints it without what Debian adds.
version() { chroot "$cache/$1" dpkg-query -W -f '${source:Upstream-Version}' "$2" | sed 's/^.*://; s/+.*//'; }

trap 'exit 130' INT # go test ends on it as well
go mod download
(($# > 0)) || set -- trixie forky
for suite; do
	make_root "$suite"
	run "$suite" connectors ./connectors/...
	run "$suite" shared ./shared/...
	run "$suite" system -run "'TestEndToEnd|TestStaysEqualTheOracle|TestFaults'" ./test
done
printf '| %-6s | %-10s | %-8s | %-6s | %-6s | passed | failed | skipped | seconds |\n' suite part RabbitMQ Redis result
printf '|%s|%s|%s|%s|%s|-------:|-------:|--------:|--------:|\n' -------- ------------ ---------- -------- --------
printf '%s\n' "${results[@]}"
for what in "${failed[@]}"; do say "failed: $what"; done
((${#failed[@]} == 0))
