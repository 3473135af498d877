#!/bin/bash
#
# Tests pg_upgrade of a server with jobs, in a chroot that has both versions.
# See --help. The last line is 'N passed, N failed'.

set -euo pipefail

# shellcheck source=test/chroot.sh
. "$(dirname "${BASH_SOURCE[0]}")/chroot.sh"

usage() {
	cat <<'END'
usage: test/upgrade.sh [OLD NEW] [--keep]

Runs test/upgrade.pl: a server of version OLD (15) with jobs in every state,
runs in progress and runs that wait is upgraded to NEW (17) by pg_upgrade
--check, --copy and --link. Works in a chroot as test/chroot.sh makes them, with
both servers. Needs root or sudo; takes two or three minutes, and some more to make
the chroot the first time. With --keep, what the test leaves is kept.

Environment: as for test/chroot.sh
END
}

old=15
new=17
options=()

parse_options() {
	local versions=()
	while [ $# -gt 0 ]; do
		case $1 in
		--keep) options+=("$1") ;;
		*[!0-9]* | '') die "unknown option: $1 (see --help)" ;;
		*) versions+=("$1") ;;
		esac
		shift
	done
	[ "${#versions[@]}" = 0 ] || [ "${#versions[@]}" = 2 ] || die "give both versions, or none"
	old=${versions[0]:-$old}
	new=${versions[1]:-$new}
}

# In the chroot, which is thrown away: the old server's library is installed
# here, the new one's by test/run.sh.
inside_chroot() {
	local args=("PG_CONFIG=/usr/lib/postgresql/$1/bin/pg_config" with_llvm=no "COPT=${COPT--Werror}") build=/tmp/build
	mkdir "$build"
	tar -C /src --exclude=./.git --exclude='*.o' --exclude='*.so' -cf - Makefile jobsched.control src sql |
		tar -C "$build" -xf -
	make -s -C "$build" -j"$(nproc)" "${args[@]}" install </dev/null || die "the build for PostgreSQL $1 failed"
	rm -rf "$build"
	export JOBSCHED_UPGRADE_FROM=/usr/lib/postgresql/$1
	exec bash /src/test/run.sh --pg "$2" --server-only --only tap --tests upgrade.pl "${@:3}"
}

main() {
	case " $* " in *" --help "* | *" -h "*) usage && exit 0 ;; esac
	if [ "${1:-}" = --inside ]; then
		shift
		inside_chroot "$@"
	fi
	parse_options "$@"
	if [ "$(id -u)" != 0 ]; then
		again_as_root "$tree/test/upgrade.sh" "$@"
		exit
	fi
	prepare_chroot "$new" "$old" || {
		warn "no chroot with PostgreSQL $old and $new could be made"
		say "0 passed, 1 failed"
		exit 1
	}
	exec 8>&-
	trap 'clean_up "$@"' EXIT
	entering "$new"
	run_inside bash /src/test/upgrade.sh --inside "$old" "$new" "${options[@]}"
}

main "$@"
