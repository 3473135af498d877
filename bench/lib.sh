# shellcheck shell=bash
# A throw-away server for measurements, and how figures are printed.
# Needs test/lib/common.sh and test/lib/server.sh. Reads $tree, $workers,
# $directory and $settings; sets $work and $bindir.
# shellcheck disable=SC2154 # these are its parameters

# --- the server ------------------------------------------------------------

# as_server CMD...: as the user that the server runs as, which is not root.
as_server() {
	if [ "$(id -u)" = 0 ]; then runuser -u "$server_user" -- "$@"; else "$@"; fi
}

choose_server_user() {
	server_user=$(id -un)
	[ "$(id -u)" = 0 ] || return 0
	server_user=postgres
	getent passwd "$server_user" >/dev/null || server_user=nobody
}

build() {
	local args=("PG_CONFIG=$PG_CONFIG" with_llvm=no)
	mkdir "$work/build" "$work/stage"
	tar -C "$tree" --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - \
		Makefile jobsched.control src sql | tar -C "$work/build" -xf -
	make -s -C "$work/build" -j"$(nproc)" "${args[@]}" </dev/null || die "the build failed"
	make -s -C "$work/build" "${args[@]}" DESTDIR="$work/stage" install </dev/null >/dev/null ||
		die "make install failed"
	chmod -R go+rX "$work/stage"
}

# stage_settings: what makes the server find the extension in our directory.
stage_settings() {
	say "dynamic_library_path = '$work/stage$("$PG_CONFIG" --pkglibdir):\$libdir'"
	if [ "$pg_major" -ge 18 ]; then
		say "extension_control_path = '$work/stage$("$PG_CONFIG" --sharedir):\$system'"
	elif grep -q extension_destdir "$bindir/postgres"; then
		say "extension_destdir = '$work/stage'"
	else
		die "PostgreSQL $pg_major finds extensions outside its own directories only in Debian's build"
	fi
}

# Durable: fsync and synchronous_commit are on, as they are by default. No
# checkpoint falls into a measurement but those that are asked for.
server_settings() {
	local setting
	stage_settings
	cat <<END
shared_preload_libraries = 'jobsched'
jobsched.max_workers = $workers
max_worker_processes = $((workers + 8))
fsync = on
synchronous_commit = on
shared_buffers = 256MB
max_wal_size = 8GB
checkpoint_timeout = 1h
listen_addresses = ''
unix_socket_directories = '$work'
END
	for setting in "${settings[@]}"; do
		say "${setting%%=*} = '${setting#*=}'"
	done
}

start_server() {
	local log=$work/log
	[ "$(id -u)" != 0 ] || chown "$server_user" "$work"
	as_server "$bindir/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
	server_settings | as_server tee -a "$work/data/postgresql.conf" >/dev/null
	as_server "$bindir/pg_ctl" -D "$work/data" -l "$log" -w start >/dev/null || {
		tail -n 20 "$log" >&2
		die "the server does not start"
	}
	"$bindir/createdb" -h "$work" -U postgres bench
	query 'CREATE EXTENSION jobsched'
}

# Runs at every exit.
finish() {
	local status=$?
	trap - EXIT INT TERM
	[ -n "${work:-}" ] || exit "$status"
	if [ -f "$work/data/postmaster.pid" ]; then
		as_server "$bindir/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null || :
	fi
	if [ -n "${keep:-}" ]; then say "# kept: $work"; else rm -rf "$work"; fi
	exit "$status"
}

# open_bench: builds, and starts the server. What is on in a RAM disk has no
# fsync worth the name, hence /var/tmp.
open_bench() {
	trap finish EXIT
	trap 'exit 130' INT TERM
	prepare_server
	bindir=$("$PG_CONFIG" --bindir)
	choose_server_user
	work=$(mktemp -d "$directory/jobsched-bench.XXXXXX")
	chmod 755 "$work"
	build
	start_server
}

# --- asking it -------------------------------------------------------------

psql() { "$bindir/psql" -X -q -At -v ON_ERROR_STOP=1 -h "$work" -U postgres -d bench "$@"; }
query() { psql -c "$1"; }
pgbench() { "$bindir/pgbench" -n -h "$work" -U postgres "$@" bench 2>&1; }

# wait_until SECONDS CONDITION: looks four times a second.
wait_until() {
	local deadline=$((SECONDS + $1))
	until [ "$(query "SELECT $2")" = t ]; do
		[ "$SECONDS" -lt "$deadline" ] || die "waited $1 seconds for: $2"
		sleep 0.25
	done
}

# A figure that is measured next to the work of autovacuum or of a checkpoint
# is not that figure.
settle() {
	query "CHECKPOINT" && sleep 1
}

# --- figures ---------------------------------------------------------------

# figure NAME KEY=VALUE...: a result, one line.
figure() {
	printf '%-22s' "$1"
	shift
	printf ' %s' "$@"
	printf '\n'
}

# round KEY=VALUE...: one of several measurements of which the median counts.
round() { say "#   $*"; }

# median VALUE...: the lower one of the two in the middle.
median() {
	printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", b ? a / b : 0 }'; }

machine() {
	say "# $("$PG_CONFIG" --version), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)," \
		"fsync $(fsync_ms) ms, $workers workers"
}

# fsync_ms: what one commit waits for at least.
fsync_ms() {
	"$bindir/pg_test_fsync" -s 1 -f "$work/fsync" 2>/dev/null |
		awk '$1 == "fdatasync" { print $4 / 1000; exit }'
	rm -f "$work/fsync"
}
