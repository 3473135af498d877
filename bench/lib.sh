# shellcheck shell=bash
# What the scripts here have in common: options, a throw-away server, and how
# figures are printed. A script sets $tree, defines usage, measure_NAME for each
# name in $all, and ends with run_bench "$@".
# shellcheck disable=SC2154 # tree, all, numbers, words, bindir, work: set elsewhere

# shellcheck source=test/lib/common.sh
. "$tree/test/lib/common.sh"
# shellcheck source=test/lib/server.sh
. "$tree/test/lib/server.sh"
# shellcheck source=test/lib/stage.sh
. "$tree/test/lib/stage.sh"

# --- options ---------------------------------------------------------------

workers=8
settings=()
directory=/var/tmp
keep=
wanted=()

common_usage() {
	cat <<END
  --workers N      jobsched.max_workers (default $workers)
  --set NAME=VALUE another server setting; may be repeated
  --directory DIR  where to put the server, a real disk (default $directory)
  --keep           leave the directory of the server
  --help           this text

Environment:
  PG_CONFIG        pg_config of the PostgreSQL to measure with; default: the
                   newest that is installed with its server-dev package, else
                   the newest that apt has
END
}

# is_among WORD WORD...: whether the first is one of the others.
is_among() {
	local word=$1
	shift
	[[ " $* " == *" $word "* ]]
}

# set_option --NAME VALUE: into the variable of that name.
set_option() {
	local name=${1#--}
	name=${name//-/_}
	if is_among "$name" workers "${numbers[@]}"; then
		[[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "$1 needs a number"
	elif is_among "$name" directory "${words[@]}"; then
		[ -n "${2:-}" ] || die "$1 needs a value"
	else
		die "unknown option: $1 (see --help)"
	fi
	printf -v "$name" %s "$2"
}

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--keep) keep=1 ;;
		--set) [[ ${2:-} == *=* ]] || die "--set needs NAME=VALUE" && settings+=("$2") && shift ;;
		-*) set_option "$1" "${2:-}" && shift ;;
		*)
			is_among "$1" "${all[@]}" || die "no such measurement: $1"
			wanted+=("$1")
			;;
		esac
		shift
	done
	[ "${#wanted[@]}" -gt 0 ] || wanted=("${all[@]}")
	[ -d "$directory" ] || die "no such directory: $directory"
}

# run_bench ARGS...: the script as a whole.
run_bench() {
	local name
	case " $* " in *" --help "* | *" -h "*) usage && exit 0 ;; esac
	parse_options "$@"
	clean_environment
	open_bench
	machine
	for name in "${wanted[@]}"; do
		"measure_$name"
	done
}

# more_settings: further lines for postgresql.conf.
more_settings() { :; }

# stop_more: ends what a script has started beside the server.
stop_more() { :; }

# --- the server ------------------------------------------------------------

# Durable: fsync and synchronous_commit are on, as they are by default. No
# checkpoint falls into a measurement but those that are asked for.
server_settings() {
	local setting
	cat <<END
shared_preload_libraries = 'jobsched'
jobsched.max_workers = $workers
max_worker_processes = $((workers + 8))
fsync = on
synchronous_commit = on
shared_buffers = 256MB
max_wal_size = 8GB
checkpoint_timeout = 1h
END
	more_settings
	for setting in "${settings[@]}"; do
		say "${setting%%=*} = '${setting#*=}'"
	done
}

# Runs at every exit.
finish() {
	local status=$?
	trap - EXIT INT TERM
	[ -n "${work:-}" ] || exit "$status"
	stop_server immediate || :
	stop_more
	if [ -n "${keep:-}" ]; then say "# kept: $work"; else rm -rf "$work"; fi
	exit "$status"
}

# open_bench: builds, and starts the server. What is on in a RAM disk has no
# fsync worth the name, hence /var/tmp.
open_bench() {
	trap finish EXIT
	trap 'exit 130' INT TERM
	open_stage "$directory/jobsched-bench.XXXXXX"
	build_stage
	# shellcheck disable=SC2119 # no options for initdb
	server_settings | init_server
	start_server
	make_database
}

# make_database: with the extension and what is measured with it.
make_database() {
	"$bindir/createdb" -h "$work" -U postgres bench
	query 'CREATE EXTENSION jobsched'
	psql -f "$tree/bench/sql/setup.sql" >/dev/null
}

# remake_database: without what an earlier measurement left in it.
remake_database() {
	"$bindir/dropdb" --force -h "$work" -U postgres bench
	make_database
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

# --- work for it -----------------------------------------------------------

wal_position="pg_current_wal_insert_lsn() - '0/0'"

# queue_runs JOB N: prints the WAL position before, after, and when the client
# saw the commit.
queue_runs() {
	psql <<END
BEGIN;
SELECT $wal_position;
SELECT count(*) AS n FROM jobsched.trigger_many('$1', array_fill(NULL::jsonb, ARRAY[$2])) \gset
SELECT $wal_position;
COMMIT;
SELECT clock_timestamp();
END
}

# rate_since WHEN: runs a second from WHEN to the end of the last run.
rate_since() {
	query "SELECT round(count(*) / extract(epoch FROM max(finished_at) - '$1'))
		FROM jobsched_internal.history WHERE finished_at > '$1'"
}

# empty_queue JOB: dropping a job cancels what is queued of it.
empty_queue() {
	query "SELECT jobsched.drop_job('$1')" >/dev/null
	wait_until 300 "NOT EXISTS (SELECT FROM jobsched_internal.run)"
	query 'VACUUM jobsched_internal.run'
	query "SELECT jobsched.create_job('$1', handler => 'bench.noop')" >/dev/null
}

# run_burst JOBS ROUNDS: jobs that are due at the same second. The first slot is
# discarded: it finds no workers. Jobs run one INSERT each.
run_burst() {
	local slots
	query "SELECT jobsched.create_job('burst-' || i, '*/10 * * * * *',
			command => 'INSERT INTO bench.sink DEFAULT VALUES')
		FROM generate_series(1, $1) i" >/dev/null
	wait_until 120 "count(DISTINCT scheduled_for) > $2 FROM jobsched.runs WHERE job_name LIKE 'burst-%'"
	sleep 3
	query "SELECT jobsched.drop_job('burst-' || i) FROM generate_series(1, $1) i" >/dev/null
	query "SELECT format('#   %s jobs at %s: start first %s ms, p50 %s ms, last %s ms, last finished %s ms', n, scheduled_for::time,
		round(first::numeric, 1), round(p50::numeric, 1), round(last::numeric, 1), round(finished::numeric, 1)) FROM bench.burst ORDER BY scheduled_for"
	slots=$(query "SELECT format('slots=%s start_first_ms=%s start_p50_ms=%s start_last_ms=%s end_last_ms=%s', count(*),
			round((percentile_disc(0.5) WITHIN GROUP (ORDER BY first))::numeric, 1),
			round((percentile_disc(0.5) WITHIN GROUP (ORDER BY p50))::numeric, 1),
			round((percentile_disc(0.5) WITHIN GROUP (ORDER BY last))::numeric, 1),
			round((percentile_disc(0.5) WITHIN GROUP (ORDER BY finished))::numeric, 1))
		FROM (SELECT * FROM bench.burst WHERE n = $1 ORDER BY scheduled_for OFFSET 1) s")
	figure burst "jobs=$1" "$slots"
}

# --- programs in JavaScript ------------------------------------------------

# node_program FILE ARGS...: one of peers.d, with the packages that it needs.
# They want a newer node than Debian has, so that is among the packages.
node_program() {
	local node
	[ -d "$work/peers/node_modules" ] || install_node_packages
	node=$(printf '%s\n' "$work"/peers/node_modules/node-linux-*/bin/node | head -n 1)
	PGHOST=$work "$node" "$work/peers/$1" "${@:2}"
}

install_node_packages() {
	have npm || install_packages npm || die "cannot install npm"
	cp -r "$tree/bench/peers.d" "$work/peers"
	(cd "$work/peers" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error) \
		>"$work/npm.log" 2>&1 </dev/null || {
		tail -n 20 "$work/npm.log" >&2
		die "npm install failed"
	}
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

# elapsed BEGIN: seconds since $EPOCHREALTIME was BEGIN.
elapsed() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", b - a }'; }

# per_second N BEGIN: N things were done since then.
per_second() { awk -v n="$1" -v a="$2" -v b="$EPOCHREALTIME" 'BEGIN { printf "%d\n", n / (b - a) }'; }

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
