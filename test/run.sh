#!/bin/bash
#
# Builds jobsched, installs it into a PostgreSQL of this machine and runs all
# of its tests. See --help. The last line is 'N passed, N failed', also where
# the build or this script fails.

set -euo pipefail

source_tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=test/lib/common.sh
. "$source_tree/test/lib/common.sh"
# shellcheck source=test/lib/server.sh
. "$source_tree/test/lib/server.sh"
# shellcheck source=test/lib/counts.sh
. "$source_tree/test/lib/counts.sh"
# shellcheck source=test/lib/report.sh
. "$source_tree/test/lib/report.sh"

usage() {
	cat <<'END'
usage: test/run.sh [options]

Builds the extension from a copy of this tree, installs it (it stays
installed) and runs its tests: SQL regression tests, isolation tests, TAP
tests, and the suites test/suite_*.sh. Runs as root or as a user with sudo, on
Debian; Debian packages that are missing are installed. No server needs to be
running, and none that runs is touched.

  --pg N            test with PostgreSQL N of Debian's packages; default:
                    $PG_CONFIG, else the newest that is installed with its
                    server-dev package, else the newest that apt has
  --only KIND,...   only these of regress, isolation, tap, suites
  --tests PATTERN   TAP tests to run, such as 't/001*.pl'
  --suite PATTERN   suites to run, such as 'suite_crash*'
  --server-only     leave out suites that do not depend on PostgreSQL's version
  --keep            leave the copied tree, with all logs, in place
  --help            this text

A suite runs unprivileged, in the copied tree, with PG_CONFIG set, and ends on
the line 'N passed, N failed'. Among its first ten lines it may have
'# needs: root', '# server: any' (it does not depend on PostgreSQL's version)
and, as TAP tests may, '# packages: a b' (Debian packages). A TAP test may have
'# npm: FOLDER' too: 'npm ci' is run in that folder of the copied tree.

Environment:
  PG_CONFIG         pg_config of the PostgreSQL to test with
  COPT              more compiler flags; default -Werror
  PROVE_FLAGS       flags for prove; default --timer and a job for each core
  TEST_TIMEOUT      seconds for each kind of test, and for each suite
                    (default 2400)
  JOBSCHED_TRY_AGAIN  if it is set, a TAP file that failed is run once more,
                    alone; if it passes it has passed, and there is a line
                    'flaky: FILE' above the last one

The last line is 'N passed, N failed'; TAP tests count by assertion. The exit
status is 0 if the build and every test passed, and each kind ran one or more.
END
}

all_kinds=(regress isolation tap suites)
only=
pg_option=
tap_pattern=
suite_pattern='suite_*.sh'
server_only=
keep=
time_limit=${TEST_TIMEOUT:-2400}
work=
passed=0
failed=0
summary=()
flaky=()

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--pg | --only | --tests | --suite) [ $# -ge 2 ] || die "$1 needs a value" ;;
		esac
		case $1 in
		--pg) pg_option=$2 && shift ;;
		--only) only=$2 && shift ;;
		--tests) tap_pattern=$2 && shift ;;
		--suite) suite_pattern=${2%.sh}.sh && shift ;;
		--server-only) server_only=server ;;
		--keep) keep=1 ;;
		*) die "unknown option: $1 (see --help)" ;;
		esac
		shift
	done
	check_options
}

check_options() {
	local kind
	[[ $pg_option =~ ^[0-9]*$ ]] || die "--pg needs a major version, not: $pg_option"
	for kind in ${only//,/ }; do
		[[ " ${all_kinds[*]} " == *" $kind "* ]] || die "no such kind of tests: $kind"
	done
}

wanted() { [ -z "$only" ] || [[ ",$only," == *",$1,"* ]]; }

# --- results ---------------------------------------------------------------

# record NAME PASSED FAILED SECONDS
record() {
	passed=$((passed + $2))
	failed=$((failed + $3))
	summary+=("$(printf '  %-28s %5d passed, %d failed  (%d s)' "$1" "$2" "$3" "$4")")
}

# fail WHY: what failed without being a test.
fail() {
	failed=$((failed + 1))
	summary+=("  FAILED: $*")
}

give_up() {
	fail "$1"
	exit 1
}

# Runs at every exit, so that a bug in this script, a build that fails or an
# interrupt can never pass for a success.
finish() {
	local status=$?
	set +e
	trap '' INT TERM
	trap - EXIT
	[ "$status" = 0 ] || [ "$failed" -gt 0 ] || fail "test/run.sh stopped with status $status"
	[ "$passed" -gt 0 ] || [ "$failed" -gt 0 ] || fail "no test ran"
	if [ -n "$work" ]; then
		stop_leftovers
		if [ -n "$keep" ]; then say "" "kept: $work"; else remove_work; fi
	fi
	heading "${pg_version:-PostgreSQL ${pg_option:-(not found)}}"
	[ "${#summary[@]}" = 0 ] || printf '%s\n' "${summary[@]}"
	[ "${#flaky[@]}" = 0 ] || printf '%s\n' "${flaky[@]}"
	say "$passed passed, $failed failed"
	if [ "$failed" = 0 ]; then exit 0; else exit 1; fi
}

# leftovers: process ids of what a test left running. All of it has its working
# directory in our copy, servers in their data directory. To be called in a
# subshell: it leaves that directory so as not to find itself.
leftovers() {
	cd /
	find /proc -maxdepth 2 -name cwd -lname "$work/*" 2>/dev/null |
		sed -n 's|^/proc/\([0-9]*\)/cwd$|\1|p' | grep -vx "$$" || :
}

# stop_leftovers: SIGQUIT is PostgreSQL's immediate shutdown.
stop_leftovers() {
	local pids
	mapfile -t pids < <(leftovers)
	[ "${#pids[@]}" -gt 0 ] || return 0
	kill -QUIT "${pids[@]}" 2>/dev/null || :
	sleep 1
	mapfile -t pids < <(leftovers)
	[ "${#pids[@]}" = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || :
}

# remove_work: as root where a suite that ran as root left files.
remove_work() {
	cd /
	rm -rf "$work" 2>/dev/null || as_root rm -rf "$work" || warn "cannot remove $work"
}

# prepare_tests: what cannot be installed for one test fails, and keeps no
# other from running.
prepare_tests() {
	local missing
	missing=$(missing_test_packages "$source_tree" $server_only)
	[ -n "$missing" ] || return 0
	# shellcheck disable=SC2086 # one word is one package
	install_packages $missing || fail "cannot install what tests need:" $missing
}

# --- the copied tree -------------------------------------------------------

# as_tester CMD...: as the unprivileged user that owns the copy: initdb refuses
# root. Descriptor 9 is the lock: what the command leaves behind must not keep it.
as_tester() {
	if [ "$(id -un)" = "$tester" ]; then "$@" 9<&-; else runuser -u "$tester" -- "$@" 9<&-; fi
}

choose_tester() {
	tester=$(id -un)
	[ "$(id -u)" = 0 ] || return 0
	tester=postgres
	getent passwd "$tester" >/dev/null || tester=nobody
}

copy_tree() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/jobsched-test.XXXXXX")
	tree=$work/tree
	mkdir "$tree" "$work/tmp" "$work/home" "$work/logs"
	tar -C "$source_tree" --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
		--exclude=./tmp_* --exclude=./results --exclude=./output_iso --exclude='./regression.*' \
		-cf - . | tar -C "$tree" -xf -
	chmod -R u+rwX,go+rX "$work"
	chmod 1777 "$work/tmp"
	[ "$(id -un)" = "$tester" ] || chown -R "$tester" "$work"
	cd "$tree"
}

# Nothing of the caller's own setup may reach the tests: another server's PG*
# variables, make's flags, a home directory that the tester cannot read.
clean_environment() {
	local name
	for name in $(compgen -e PG; compgen -e MAKE) MFLAGS PROVE_TESTS PERL5OPT; do
		case $name in PG_CONFIG | PG_TEST_*) ;; *) unset "$name" ;; esac
	done
	export LC_ALL=C.UTF-8 HOME=$work/home TMPDIR=$work/tmp
	prove_flags=${PROVE_FLAGS:---timer -j$(nproc)}
}

# Two runs with one PostgreSQL would test each other's library.
lock_server() {
	exec 9<"$("$PG_CONFIG" --pkglibdir)"
	flock -n 9 && return
	say "another run uses PostgreSQL $pg_major: waiting for its end"
	flock 9
}

make_args() { printf '%s\n' "PG_CONFIG=$PG_CONFIG" with_llvm=no "COPT=${COPT--Werror}"; }

# make_value VARIABLE: its value in the Makefile.
make_value() {
	as_tester make -s --no-print-directory "${make_args[@]}" \
		--eval="jobsched-test-value: ; @echo '\$(strip \$($1))'" jobsched-test-value
}

build() {
	local become=
	heading "building for $pg_version"
	as_tester make -s "${make_args[@]}" clean >/dev/null
	as_tester make -s -j"$(nproc)" "${make_args[@]}" </dev/null || give_up "the build"
	[ -w "$("$PG_CONFIG" --pkglibdir)" ] || become=as_root
	$become make -s "${make_args[@]}" install </dev/null || give_up "make install"
	summary+=("  build and install             ok")
}

# --- running tests ---------------------------------------------------------

# timed_out STATUS NAME: 124 and 137 are timeout's.
timed_out() {
	case $1 in 124 | 137) fail "$2 ran into the time limit of $time_limit s" ;; esac
}

# installcheck LOG MAKE-ARGS...: by PGXS.
installcheck() {
	local log=$1
	shift
	logged "$log" "$time_limit" "${tester_prefix[@]}" make -s --no-print-directory installcheck \
		"${make_args[@]}" "PROVE_FLAGS=$prove_flags" "$@"
}

# run_make KIND COUNTER MAKE-ARGS...: one of the three kinds that PGXS runs. They run apart
# because make would not start the next after a failure.
run_make() {
	local kind=$1 counter=$2 log=$work/logs/$1.log status=0 good bad start=$SECONDS
	shift 2
	heading "$kind"
	touch "$work/started"
	installcheck "$log" "$@" || status=$?
	timed_out "$status" "$kind"
	read -r good bad < <("$counter" "$log" "$status")
	stop_leftovers
	if [ "$bad" -gt 0 ] && [ "$kind" = tap ]; then
		show_tap "$tree" "$log"
		try_again "$log" "$status"
	elif [ "$bad" -gt 0 ]; then
		show_diffs "$tree"
		show_server_logs "$tree" "$work/started"
	fi
	record "$kind" "$good" "$bad" $((SECONDS - start))
}

# try_again LOG STATUS: for run_make, in CI. A TAP file that failed is run once more, alone.
# It has failed if it fails again; else it is named as flaky. What it left in the server's
# logs the first time counts all the same.
try_again() {
	local file bad_again files
	mapfile -t files < <(failed_files "$1")
	[ -n "${JOBSCHED_TRY_AGAIN:-}" ] && [ "$2" -lt 124 ] && [ "${#files[@]}" -gt 0 ] || return 0
	bad=0
	for file in "${files[@]}"; do
		keep_logs
		heading "once more: $file"
		status=0
		installcheck "$work/logs/again.log" REGRESS= ISOLATION= "PROVE_TESTS=$file" || status=$?
		stop_leftovers
		read -r _ bad_again < <(count_tap "$work/logs/again.log" "$status")
		[ "$bad_again" -gt 0 ] || flaky+=("flaky: $file")
		bad=$((bad + bad_again))
	done
	keep_logs
}

# keep_logs: those of the servers, for check_logs. The next TAP run empties tmp_check.
keep_logs() { [ ! -d tmp_check/log ] || mv tmp_check/log "$(mktemp -d "$work/kept.XXXXXX")"; }

run_regress() {
	[ -n "$(make_value REGRESS)" ] || return 0
	run_make regress count_regress ISOLATION= TAP_TESTS=
}

run_isolation() {
	[ -n "$(make_value ISOLATION)" ] || return 0
	# The diffs of regress are shown already.
	find "$tree" -name regression.diffs -exec mv {} {}.shown \;
	run_make isolation count_regress REGRESS= TAP_TESTS=
}

run_tap() {
	local pattern=$tap_pattern
	[ -n "$(make_value TAP_TESTS)" ] || return 0
	[ -n "$pattern" ] || pattern=$(make_value PROVE_TESTS)
	[ -n "$pattern" ] || pattern='t/*.pl'
	compgen -G "${pattern%% *}" >/dev/null || pattern=test/$pattern
	choose_tap "$pattern"
	if [ "${#tap_files[@]}" = 0 ]; then
		fail "no TAP test matches ${pattern#test/}"
		return 0
	fi
	install_modules
	run_make tap count_tap REGRESS= ISOLATION= "PROVE_TESTS=${tap_files[*]}"
}

# choose_tap PATTERN: the files to run, in tap_files. What does not depend on the server's
# version is left out where only that counts, and the summary says so.
choose_tap() {
	local file
	tap_files=()
	for file in $1; do
		if [ ! -f "$file" ]; then
			continue
		elif [ -n "$server_only" ] && has_mark "$file" 'server: any'; then
			summary+=("  left out: $file (any server will do: it runs with the machine's own)")
		else
			tap_files+=("$file")
		fi
	done
}

# install_modules: what the chosen TAP tests have of npm, as their lock files say. A copied
# tree can have it already, where it was installed in the tree: as there is no network.
install_modules() {
	local folder folders
	mapfile -t folders < <(sed -s -n '1,10s/^# npm: *//p' "${tap_files[@]}" | sort -u)
	for folder in "${folders[@]}"; do
		! as_tester npm --prefix "$folder" ls --all >/dev/null 2>&1 || continue
		heading "npm ci in $folder"
		as_tester env npm_config_cache="$work/npm" npm --prefix "$folder" ci --ignore-scripts --no-audit --no-fund </dev/null ||
			fail "npm ci in $folder"
	done
}

run_suites() {
	local suite ran=
	for suite in test/$suite_pattern; do
		[ -f "$suite" ] || continue
		ran=1
		[ -z "$server_only" ] || ! has_mark "$suite" 'server: any' || continue
		run_suite "$suite"
	done
	[ -n "$ran" ] || [ "$suite_pattern" = 'suite_*.sh' ] || fail "no suite matches $suite_pattern"
}

# run_suite FILE: as the tester, or as root if it says '# needs: root'.
run_suite() {
	local name log status=0 good bad start=$SECONDS runner=("${tester_prefix[@]}")
	name=$(basename "$1" .sh)
	log=$work/logs/$name.log
	heading "$name"
	[ -x "$1" ] || { fail "$name is not executable" && return 0; }
	if has_mark "$1" 'needs: root'; then
		runner=()
		# sudo drops variables, so they are passed again behind it.
		[ "$(id -u)" = 0 ] || runner=(sudo -n env PG_CONFIG="$PG_CONFIG" TMPDIR="$TMPDIR" LC_ALL=C.UTF-8)
	fi
	logged "$log" "$time_limit" "${runner[@]}" "./$1" || status=$?
	timed_out "$status" "$name"
	read -r good bad < <(count_suite "$log" "$status")
	record "$name" "$good" "$bad" $((SECONDS - start))
	stop_leftovers
	[ "$status" = 0 ] || say "$name: exit status $status"
}

# check_logs: a test can pass while its server crashed or leaked.
check_logs() {
	local logs
	mapfile -t logs < <(crashed_logs "$work")
	[ "${#logs[@]}" -gt 0 ] || return 0
	show_crashes "${logs[@]}"
	fail "crashes or leaks in ${#logs[@]} log file(s)"
}

main() {
	local kind
	case " $* " in *" --help "* | *" -h "*) usage && exit 0 ;; esac
	trap finish EXIT
	trap 'exit 130' INT TERM
	parse_options "$@"
	prepare_server "$pg_option"
	prepare_tests
	pg_version=$("$PG_CONFIG" --version)
	choose_tester
	copy_tree
	clean_environment
	lock_server
	mapfile -t make_args < <(make_args)
	tester_prefix=()
	[ "$(id -un)" = "$tester" ] || tester_prefix=(runuser -u "$tester" --)
	build
	for kind in "${all_kinds[@]}"; do
		! wanted "$kind" || "run_$kind"
	done
	check_logs
}

main "$@"
