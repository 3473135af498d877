#!/bin/bash
#
# Compares jobsched.next_runs() with independent cron libraries; see
# cron_diff/diff.js for what, and what not. Needs jobsched installed.
# packages: nodejs npm
# server: any
#
# Environment: PG_CONFIG (default pg_config), CRON_DIFF_CASES (default 12000),
# CRON_DIFF_SEED (default 20260101; another one brings other cases).
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"

cases=${CRON_DIFF_CASES:-12000}
seed=${CRON_DIFF_SEED:-20260101}
bindir=$("${PG_CONFIG:-pg_config}" --bindir)
work=$(mktemp -d /tmp/jobsched_cron_diff.XXXXXX)

# initdb refuses root, so as root all that belongs to the server is postgres's.
as_server() {
	if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

clean_up() {
	local status=$?
	trap - EXIT
	[ ! -f "$work/data/postmaster.pid" ] ||
		as_server "$bindir/pg_ctl" -D "$work/data" -m immediate stop >/dev/null || true
	rm -rf "$work"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# The last line, where the comparison itself could not be made.
give_up() {
	[ ! -s "$work/log" ] || tail -n 30 "$work/log"
	warn "$@"
	say '0 passed, 1 failed'
	exit 1
}

install_libraries() {
	if ! have node || ! have npm; then
		apt_update
		apt_get install -y --no-install-recommends nodejs npm >/dev/null || return 1
	fi
	cp "$here"/cron_diff/*.js* "$work" &&
		cd "$work" &&
		npm_config_cache=$work/npm npm ci --ignore-scripts --no-audit --no-fund >"$work/log" 2>&1
}

start_server() {
	export PATH=$bindir:$PATH PGHOST=$work PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	[ "$(id -u)" != 0 ] || chown postgres "$work"
	as_server "$bindir/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --no-locale >"$work/log" 2>&1 || return 1
	if ! as_server "$bindir/pg_ctl" -D "$work/data" -l "$work/data/log" -w start >"$work/log" 2>&1 \
		-o "-k $work -p 5432 -c listen_addresses= -c shared_preload_libraries=jobsched -c fsync=off"; then
		cat "$work/data/log" >>"$work/log"
		return 1
	fi
	psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION jobsched' >"$work/log" 2>&1
}

install_libraries || give_up 'the cron libraries could not be installed'
start_server || give_up 'the server could not be started with jobsched'
node diff.js "$cases" "$seed" || [ $? = 1 ] || give_up 'the comparison broke off'
