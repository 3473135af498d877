#!/bin/bash
#
# Tests jobsched with a PostgreSQL that this Debian does not have: makes a
# chroot of the Debian that has it and runs test/run.sh in there. See --help.

set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=test/lib/common.sh
. "$tree/test/lib/common.sh"

usage() {
	cat <<'END'
usage: test/chroot.sh N [options of test/run.sh]
       test/chroot.sh N --shell [command...]

Runs test/run.sh with PostgreSQL N (15: Debian bookworm, 17: trixie, 18: forky
or sid) in a chroot, which is made if it is not there or is broken, and kept
for the next time. Suites that do not depend on PostgreSQL's version
('# server: any') are left out. Needs root or sudo; installs mmdebstrap if it is missing.
What a run installs or writes in there is gone after it. The exit status is
that of test/run.sh. With --shell, runs a command or a shell there instead,
with this tree at /src.

Environment:
  JOBSCHED_CHROOT_DIR  where chroots are kept (default /var/cache/jobsched-test)
  JOBSCHED_MIRROR      Debian mirror (default: the one that apt uses here)
  PROVE_FLAGS, COPT, TEST_TIMEOUT, JOBSCHED_TRY_AGAIN  as for test/run.sh
  JOBSCHED_KILL_CYCLES, JOBSCHED_KILL_SEED  as for test/t/004_crash.pl
END
}

cache=${JOBSCHED_CHROOT_DIR:-/var/cache/jobsched-test}
# What the tests in the chroot see of our environment.
passed_on=(CI COPT PROVE_FLAGS TEST_TIMEOUT JOBSCHED_TRY_AGAIN JOBSCHED_KILL_CYCLES JOBSCHED_KILL_SEED)

# suites_with N: the Debian suites that have PostgreSQL N, best first.
suites_with() {
	case $1 in
	15) say bookworm ;;
	17) say trixie ;;
	18) say forky sid ;;
	*) die "no Debian suite is known to have PostgreSQL $1" ;;
	esac
}

# packages N...: what test/run.sh would install, so that it need not.
packages() {
	printf 'postgresql-%s\n' "$@"
	say libpq-dev make gcc libc6-dev libcurl4-openssl-dev zlib1g-dev libipc-run-perl procps
	test_packages "$tree" server
}

# stamp N...: what a complete chroot has in its file /.jobsched. Another list of
# packages makes another chroot.
stamp() { packages "$@" | tr -s '[:space:]' ' '; }

is_complete() {
	local version
	[ -f "$root/.jobsched" ] && [ "$(cat "$root/.jobsched")" = "$(stamp "$@")" ] || return 1
	for version in "$@"; do
		[ -f "$root/usr/lib/postgresql/$version/lib/pgxs/src/makefiles/pgxs.mk" ] &&
			chroot "$root" "/usr/lib/postgresql/$version/bin/postgres" --version >/dev/null ||
			return 1
	done
}

# The servers' headers come without what their packages depend on: clang and
# llvm-dev are most of a gigabyte, and nothing here wants them.
# shellcheck disable=SC2016 # expanded by a shell in the chroot
unpack_headers='cd /tmp && apt-get download -q PACKAGES &&
	for package in *.deb; do dpkg -x "$package" / && rm "$package" || exit 1; done'

# sources URL N...: where the chroot has its packages from. Of a second and
# further N also the suite that has it; what both have comes from the newer one.
sources() {
	local url=$1 version suite
	shift 2
	[ $# = 0 ] || [ -n "$url" ] || die "apt has no Debian mirror here: set JOBSCHED_MIRROR"
	[ -z "$url" ] || say "$url"
	for version in "$@"; do
		for suite in $(suites_with "$version"); do say "deb $url $suite main"; done
	done
}

# make_chroot SUITE N...: the Release files of testing and unstable expire
# within a week, so their age is not checked.
make_chroot() {
	local suite=$1 headers sources
	shift
	mapfile -t sources < <(sources "$(debian_mirror)" "$@")
	headers=$(printf 'postgresql-server-dev-%s ' "$@")
	heading "making a chroot of Debian $suite with PostgreSQL $* in $root"
	rm -rf "$root.new"
	# shellcheck disable=SC2016 # $1 is mmdebstrap's
	mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
		--include="$(packages "$@" | tr -s '[:space:]' ,)" \
		--aptopt='Acquire::Check-Valid-Until "false"' \
		--aptopt='Acquire::Retries "3"' \
		--aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--setup-hook='mkdir -p "$1/etc/postgresql-common"' \
		--setup-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
		--customize-hook="chroot \"\$1\" sh -c '${unpack_headers/PACKAGES/$headers}'" \
		"$suite" "$root.new" "${sources[@]}" </dev/null || return 1
	mkdir -p "$root.new/src"
	stamp "$@" >"$root.new/.jobsched"
	rm -rf "$root"
	mv "$root.new" "$root"
}

# prepare_chroot N...: leaves its directory in $root. The first N decides on the
# Debian. One process at a time makes it.
prepare_chroot() {
	local suite suites versions=$*
	suites=$(suites_with "$1")
	mkdir -p "$cache"
	exec 8>"$cache/lock"
	flock 8
	for suite in $suites; do
		root=$cache/$suite-${versions// /-}
		! is_complete "$@" || return 0
	done
	have mmdebstrap || { apt_update && apt_get install -y --no-install-recommends mmdebstrap; }
	for suite in $suites; do
		root=$cache/$suite-${versions// /-}
		if make_chroot "$suite" "$@" && is_complete "$@"; then return 0; fi
	done
	return 1
}

# Runs within namespaces of its own, so that its mounts and processes end with
# it. A throw-away layer over the chroot, where the kernel has overlays, keeps
# the chroot as it was made; /tmp is outside of it, so that --keep means something.
# Arguments: root layer tree command...
# shellcheck disable=SC2016 # expanded by the inner shell
inside='
	set -e
	root=$1 layer=$2 tree=$3
	shift 3
	mkdir -p "$layer/upper" "$layer/work" "$layer/root" "$layer/tmp"
	if mount -t overlay overlay -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" "$layer/root" 2>/dev/null
	then root=$layer/root
	fi
	mkdir -p "$root/src"
	mount --bind "$tree" "$root/src"
	mount -o remount,bind,ro "$root/src"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs tmpfs "$root/dev/shm"
	chmod 1777 "$root/dev/shm" "$layer/tmp"
	mount --bind "$layer/tmp" "$root/tmp"
	cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || :
	exec chroot "$root" env -i -C / "$@"'

# entering N: sets $entry, the command that enters the chroot and runs what
# follows it.
entering() {
	local version=$1 name environment
	layer=$(mktemp -d /tmp/jobsched-chroot.XXXXXX)
	chmod 755 "$layer"
	environment=(HOME=/root TERM="${TERM:-dumb}" LC_ALL=C.UTF-8
		PATH="/usr/lib/postgresql/$version/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	for name in "${passed_on[@]}"; do
		[ -z "${!name+x}" ] || environment+=("$name=${!name}")
	done
	entry=(unshare --mount --propagation private --ipc --pid --fork --kill-child
		bash -c "$inside" inside "$root" "$layer" "$tree" "${environment[@]}")
}

# run_inside CMD...: in the background, so that a signal to us can be passed on
# to test/run.sh, which then closes its books.
run_inside() {
	env --default-signal=INT,QUIT "${entry[@]}" "$@" </dev/null &
	entered=$!
	trap forward_signal INT TERM
	wait_for "$entered"
}

# again_as_root SCRIPT ARGS...: with what it needs of our environment.
again_as_root() {
	local IFS=,
	as_root --preserve-env="JOBSCHED_CHROOT_DIR,JOBSCHED_MIRROR,${passed_on[*]}" bash "$@"
}

# forward_signal: unshare itself takes none; its child is the command.
forward_signal() {
	local children=()
	read -ra children 2>/dev/null <"/proc/$entered/task/$entered/children" || :
	[ "${#children[@]}" = 0 ] || kill -TERM "${children[@]}" 2>/dev/null || :
}

# Leaves only what --keep is about.
clean_up() {
	[ -n "${layer:-}" ] || return 0
	rm -rf "$layer/upper" "$layer/work" "$layer/root"
	case " $* " in
	*" --keep "*) say "(in the chroot; from outside: $layer/tmp)" >&2 ;;
	*) rm -rf "$layer" ;;
	esac
}

main() {
	local version=${1:-}
	case " $* " in "  " | *" --help "* | *" -h "*) usage && exit 0 ;; esac
	if [ "$(id -u)" != 0 ]; then
		again_as_root "$tree/test/chroot.sh" "$@"
		exit
	fi
	[[ $version =~ ^[0-9]+$ ]] || die "the first argument is PostgreSQL's major version (see --help)"
	shift
	prepare_chroot "$version" || {
		warn "no chroot with PostgreSQL $version could be made"
		say "0 passed, 1 failed"
		exit 1
	}
	exec 8>&-
	trap 'clean_up "$@"' EXIT
	entering "$version"
	if [ "${1:-}" = --shell ]; then
		shift
		[ $# -gt 0 ] || set -- bash
		"${entry[@]}" "$@"
	else
		run_inside bash /src/test/run.sh --pg "$version" --server-only "$@"
	fi
}

# test/upgrade.sh has the functions only.
[ "${BASH_SOURCE[0]}" != "$0" ] || main "$@"
