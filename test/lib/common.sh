# shellcheck shell=bash
# Small helpers shared by test/run.sh, test/chroot.sh and .ci/run.

say() { printf '%s\n' "$*"; }
heading() { printf '\n=== %s ===\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	warn "$@"
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# as_root CMD...: as root, through sudo where we are not root. sudo may ask
# for a password only where somebody is there to type it.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif ! have sudo; then
		die "not root and no sudo: cannot run: $*"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		sudo -n "$@"
	fi
}

# apt_get ARGS...: never asks, waits for another apt to finish, tries again
# where the network fails.
apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q \
		-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
		-o Dpkg::Options::=--force-confold "$@" </dev/null
}

# apt_update: refreshes the package lists, once in a run. A broken third-party
# source makes it fail although Debian's own lists are fine, hence no exit.
apt_updated=
apt_update() {
	[ -z "$apt_updated" ] || return 0
	apt_updated=1
	apt_get update >/dev/null || warn "apt-get update failed; going on with the lists at hand"
}

# debian_mirror: the one that this machine's apt has its Debian packages from;
# empty where it has none.
# shellcheck disable=SC2016 # apt's variable
debian_mirror() {
	if [ -n "${JOBSCHED_MIRROR:-}" ]; then
		say "$JOBSCHED_MIRROR"
	else
		apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
			'Origin: Debian' 'Label: Debian' 2>/dev/null | sort -u | head -n 1
	fi
}

# has_mark FILE PATTERN: FILE has a line '# PATTERN' among its first ten.
has_mark() { head -n 10 "$1" | grep -q "^# $2"; }

# test_packages TREE [server]: Debian packages that TREE's tests ask for with a
# line '# packages: a b'; with 'server', not those of suites that run with any.
test_packages() {
	local file
	for file in "$1"/t/*.pl "$1"/test/t/*.pl "$1"/test/suite_*.sh; do
		[ -f "$file" ] || continue
		[ "${2:-}" != server ] || ! has_mark "$file" 'server: any' || continue
		head -n 10 "$file" | sed -n 's/^# packages: *//p'
	done | tr -s '[:blank:]' '\n' | sort -u
}

# wait_for PID: its status. A signal with a trap interrupts bash's own wait.
wait_for() {
	local status=0
	wait "$1" || status=$?
	while kill -0 "$1" 2>/dev/null; do
		status=0
		wait "$1" || status=$?
	done
	return "$status"
}

# logged LOG SECONDS CMD...: runs CMD within that time, and shows and logs what
# it prints. In the background, because bash takes no signal while a command
# runs in the foreground; in the background CMD would ignore SIGINT and SIGQUIT.
# Through a file, because a pipe stays open as long as anything that CMD left
# behind. Descriptor 9 is a lock of ours that such a thing must not keep.
logged() {
	local log=$1 seconds=$2 status=0 shower
	shift 2
	: >"$log"
	timeout -k 60 "$seconds" env --default-signal=INT,QUIT "$@" </dev/null >>"$log" 2>&1 9<&- &
	running=$!
	tail -s 0.2 -n +1 -f --pid="$running" "$log" 9<&- &
	shower=$!
	wait_for "$running" || status=$?
	wait_for "$shower" || :
	return "$status"
}

# last_count FILE: prints "passed failed" of the closing line
# 'N passed, N failed' (', N skipped' may follow); fails where FILE does not
# end in one.
last_count() {
	local line
	line=$(sed '/^[[:space:]]*$/d' "$1" 2>/dev/null | tail -n 1)
	[[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ [0-9]+\ skipped)?$ ]] || return 1
	say "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
}

# run_plain SOURCE...: a program of plain C, from these files below the tree, with
# the sanitizers of the compiler where it has them.
run_plain() {
	local tree program status=0 sources=("$@")
	tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
	program=$(mktemp)
	if build_plain -fsanitize=address,undefined -fno-sanitize-recover=all 2>/dev/null ||
		{ say "without sanitizers" && build_plain; }; then
		"$program" || status=$?
	else
		say "0 passed, 1 failed"
		status=1
	fi
	rm -f "$program"
	return "$status"
}

# build_plain FLAGS...: by run_plain, from its sources.
build_plain() {
	(cd "$tree" && "${CC:-gcc}" -std=gnu11 -O1 -g -Wall -Wextra -Werror "$@" -Isrc -o "$program" "${sources[@]}")
}
