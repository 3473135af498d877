#!/bin/bash
#
# Tests jobsched with a PostgreSQL server that is built to find mistakes: with
# assertions, with sanitizers, or to run under valgrind. Takes long, and is no
# part of CI. See --help. The last line is 'N passed, N failed'.

set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=test/lib/common.sh
. "$tree/test/lib/common.sh"
# shellcheck source=test/lib/server.sh
. "$tree/test/lib/server.sh"
# shellcheck source=test/lib/counts.sh
. "$tree/test/lib/counts.sh"

usage() {
	cat <<'END'
usage: test/instrumented.sh FLAVOUR [options] [options of test/run.sh]

Builds a PostgreSQL server from source, out of tree, keeps it for the next
time, and runs test/run.sh with it. Runs as root or as a user with sudo, on
Debian; Debian packages that are missing are installed.

  assert    with assertions; from 17 on also with injection points, which
            test/t/016_injection.pl needs
  sanitize  server and extension with AddressSanitizer and
            UndefinedBehaviorSanitizer, and with assertions
  valgrind  the server under valgrind's memcheck; some 20 times slower

A report of a sanitizer is a failure. A report of valgrind is one if it has a
line of this tree's src/ in it; others are the server's own, and are counted.

  --pg N          version of the server; default: the newest that apt has
  --source DIR    an unpacked source tree, instead of Debian's source package
  --cache DIR     where servers are kept (200 MB to 1 GB each); default:
                  /var/cache/jobsched-test for root, else
                  ${XDG_CACHE_HOME:-~/.cache}/jobsched
  --rebuild       build the server anew
  --build-only    build the server and print its pg_config
  --reports DIR   where valgrind's reports go; default: a temporary directory,
                  which stays if there are any
  --help          this text

Without options of test/run.sh these are run: regression, isolation and TAP
tests; with valgrind regression tests and t/001*.pl. Environment: as for
test/run.sh, with other defaults for TEST_TIMEOUT and PG_TEST_TIMEOUT_DEFAULT.
END
}

flavour=
version=
source=
cache=
rebuild=
build_only=
reports=
run_options=()

parse_options() {
	flavour=${1:-}
	case $flavour in
	assert | sanitize | valgrind) shift ;;
	*) die "the first argument is one of assert, sanitize, valgrind (see --help)" ;;
	esac
	while [ $# -gt 0 ]; do
		case $1 in
		--pg | --source | --cache | --reports) [ $# -ge 2 ] || die "$1 needs a value" ;;
		esac
		case $1 in
		--pg) version=$2 && shift ;;
		--source) source=$(cd "$2" && pwd) && shift ;;
		--cache) mkdir -p "$2" && cache=$(cd "$2" && pwd) && shift ;;
		--rebuild) rebuild=1 ;;
		--build-only) build_only=1 ;;
		--reports) mkdir -p "$2" && reports=$(cd "$2" && pwd) && shift ;;
		*) run_options+=("$1") ;;
		esac
		shift
	done
}

choose_cache() {
	[ -z "$cache" ] || return 0
	# What is below root's home cannot be read by the user that tests run as.
	cache=/var/cache/jobsched-test
	[ "$(id -u)" = 0 ] || cache=${XDG_CACHE_HOME:-$HOME/.cache}/jobsched
	mkdir -p "$cache"
}

# --- the source ------------------------------------------------------------

build_packages() {
	local package packages=(make gcc libc6-dev bison flex perl libipc-run-perl)
	[ -n "$source" ] || packages+=(dpkg-dev)
	[ "$flavour" != valgrind ] || packages+=(valgrind)
	for package in "${packages[@]}"; do
		package_installed "$package" || say "$package"
	done
}

# source_lists DIR: lists of source packages for where this machine's binary
# packages come from; most machines have none. Leaves apt's options in $apt_source.
# shellcheck disable=SC2016 # apt's variables
source_lists() {
	mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
	apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian' | sort -u >"$1/sources.list"
	apt_source=(-q -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=-
		-o "Dir::State::Lists=$1/lists" -o "Dir::Cache=$1/cache" -o APT::Sandbox::User=root
		-o Acquire::Retries=3)
}

# unpack_newest PACKAGE: as PostgreSQL's authors have released it. With Debian's patches
# what is built would be installed into the directories of this machine's own server.
# A mirror can lack the files of the newest version that its lists have.
unpack_newest() {
	local release
	for release in $(apt-cache "${apt_source[@]}" showsrc "$1" | sed -n 's/^Version: //p' | sort -ruV); do
		if apt-get "${apt_source[@]}" source --download-only "$1=$release"; then
			mkdir source && tar -C source --strip-components=1 -xf "$1"_*.orig.tar.*
			return
		fi
	done
	return 1
}

# fetch_source: into the cache.
fetch_source() {
	local work
	[ -n "$version" ] || version=$(newest_packaged)
	[ -n "$version" ] || die "apt knows no postgresql-server-dev package; --pg or --source says what to build"
	source=$cache/postgresql-$version
	[ ! -f "$source/configure" ] || return 0
	heading "fetching the source of postgresql-$version"
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	source_lists "$work"
	(cd "$work" && apt-get "${apt_source[@]}" update && unpack_newest "postgresql-$version") >"$work/log" 2>&1 || {
		tail -n 5 "$work/log"
		rm -rf "$work"
		die "apt has no source of postgresql-$version; --source takes an unpacked tree"
	}
	mv "$work/source" "$source"
	rm -rf "$work"
}

# --- the server ------------------------------------------------------------

# configure_options: a server with little in it builds fast.
configure_options() {
	local options=(--enable-debug --enable-tap-tests --without-readline --without-zlib --without-icu)
	[ "$flavour" = valgrind ] || options+=(--enable-cassert)
	[ "$flavour" != assert ] || [ "$version" -lt 17 ] || options+=(--enable-injection-points)
	case $flavour in
	assert) options+=('CFLAGS=-O1 -fno-omit-frame-pointer') ;;
	sanitize) options+=('CFLAGS=-O1 -fno-omit-frame-pointer -fno-common -fsanitize=address,undefined') ;;
	# This also has memory contexts tell valgrind what is whose.
	valgrind) options+=('CFLAGS=-Og -fno-omit-frame-pointer' 'CPPFLAGS=-DUSE_VALGRIND') ;;
	esac
	printf '%s\n' "${options[@]}"
}

# stamp: what a complete server was built from, and how.
stamp() {
	sed -n "s/^PACKAGE_STRING=//p" "$source/configure"
	say "$source"
	configure_options
}

# What the extension and its tests need; not the rest of contrib, and not ecpg, which
# takes longer than all of this.
parts=(
	src/common src/port src/timezone src/backend src/backend/utils/mb/conversion_procs
	src/backend/snowball src/include src/backend/replication/libpqwalreceiver
	src/backend/replication/pgoutput src/fe_utils src/interfaces/libpq src/bin
	src/pl/plpgsql/src src/makefiles src/test/regress src/test/isolation src/test/perl
	contrib/passwordcheck
)

# make_server: in the build directory.
make_server() {
	local part options
	mapfile -t options < <(configure_options)
	"$source/configure" --prefix="$server" "${options[@]}" || return 1
	make -s -j"$(nproc)" -C src/backend generated-headers || return 1
	for part in "${parts[@]}"; do
		make -s -j"$(nproc)" -C "$part" all || return 1
		make -s -C "$part" install || return 1
	done
	make -s -C config install || return 1
	make -s -C src install-local || return 1
	[[ " ${options[*]} " != *" --enable-injection-points "* ]] ||
		make -s -C src/test/modules/injection_points install
}

# wrap_valgrind: 'postgres' becomes a script that runs it under valgrind, but
# for what initdb does. The suppressions go along.
wrap_valgrind() {
	cp "$source/src/tools/valgrind.supp" "$server/valgrind.supp"
	mv "$server/bin/postgres" "$server/bin/postgres.bin"
	cat >"$server/bin/postgres" <<'END'
#!/bin/sh
dir=$(dirname "$0")
case "$*" in
*--boot* | *--single* | *--check* | *--version* | *--describe-config* | -V | "-C "* | *" -C "*)
	exec "$dir/postgres.bin" "$@" ;;
esac
exec valgrind --quiet --leak-check=no --num-callers=40 --trace-children=yes \
	--suppressions="$dir/../valgrind.supp" --fullpath-after= \
	--error-markers=VALGRINDERROR-BEGIN,VALGRINDERROR-END \
	--log-file="${JOBSCHED_REPORTS:-/tmp}/valgrind.%p" "$dir/postgres.bin" "$@"
END
	chmod 755 "$server/bin/postgres"
}

# build_server: leaves its directory in $server.
build_server() {
	local build
	server=$cache/$flavour-$version
	exec 8>"$cache/lock"
	flock 8
	if [ -z "$rebuild" ] && [ -f "$server/stamp" ] && [ "$(cat "$server/stamp")" = "$(stamp)" ]; then return 0; fi
	heading "building a server of flavour $flavour from $source"
	rm -rf "$server"
	mkdir -p "$server"
	build=$(mktemp -d "$cache/build.XXXXXX")
	# The build runs programs of its own; a leak in one of them stops it.
	if ! (cd "$build" && ASAN_OPTIONS=detect_leaks=0 make_server) >"$server/build.log" 2>&1; then
		tail -n 40 "$server/build.log"
		rm -rf "$build"
		die "the server cannot be built; all of the log is in $server/build.log"
	fi
	rm -rf "$build"
	[ "$flavour" != valgrind ] || wrap_valgrind
	chmod -R a+rX "$server"
	stamp >"$server/stamp"
}

# --- the tests -------------------------------------------------------------

# Reports go where the server's log goes (gcc's UndefinedBehaviorSanitizer knows
# no other place beside AddressSanitizer), and test/run.sh looks for them there.
# After undefined behaviour a process goes on, so that all of it is seen.
sanitizer_environment() {
	local format="stack_trace_format='    #%n %p in %f %S (%m)'"
	export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:disable_coredump=1:detect_stack_use_after_return=0:$format"
	export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=0:$format"
}

prepare_tests() {
	local timeout=600
	[ "$flavour" != valgrind ] || timeout=1800
	export PG_CONFIG=$server/bin/pg_config
	export TEST_TIMEOUT=${TEST_TIMEOUT:-14400} PG_TEST_TIMEOUT_DEFAULT=${PG_TEST_TIMEOUT_DEFAULT:-$timeout}
	[ -n "$reports" ] || reports=$(mktemp -d "${TMPDIR:-/tmp}/jobsched-reports.XXXXXX")
	chmod 1777 "$reports"
	export JOBSCHED_REPORTS=$reports
	[ "$flavour" != sanitize ] || sanitizer_environment
	[ "${#run_options[@]}" = 0 ] || return 0
	run_options=(--only "regress,isolation,tap")
	[ "$flavour" != valgrind ] || run_options=(--only "regress,tap" --tests 't/001*.pl')
}

# split_reports: one file for each report, of all that $reports holds, below
# $reports/each.
split_reports() {
	rm -rf "$reports/each"
	mkdir "$reports/each"
	find "$reports" -maxdepth 1 -type f -name 'valgrind.*' -size +0 -print0 |
		sort -z | xargs -0 -r awk -v dir="$reports/each" '
			/VALGRINDERROR-BEGIN/ {
				if (out != "") close(out)
				out = sprintf("%s/%05d", dir, ++n)
			}
			out != "" { print >out }'
}

# ours: the reports that have a line of src/ in them. test/run.sh compiles in a
# directory named "tree"; the server is compiled elsewhere.
ours='/tree/src/[a-z_0-9/]*\.[ch]:|jobsched\.so'

count_files() { find "$1" -maxdepth 1 -type f | wc -l; }

# judge_reports: shows those that are ours; of the same line only one.
judge_reports() {
	local file seen="" key mine=0
	split_reports
	while IFS= read -r file; do
		key=$(grep -m1 -oE "($ours).*" "$file") || continue
		mine=$((mine + 1))
		[[ $seen != *"$key;"* ]] || continue
		seen+="$key;"
		heading "report ${file##*/}"
		head -n 60 "$file"
	done < <(find "$reports/each" -type f | sort)
	heading "reports"
	say "$(count_files "$reports/each") in all, $mine with a line of src/ in them (in $reports)"
	failed=$((failed + mine))
}

run_tests() {
	local status=0 log
	log=$(mktemp)
	logged "$log" 0 bash "$tree/test/run.sh" "${run_options[@]}" || status=$?
	read -r passed failed < <(count_suite "$log" "$status")
	rm -f "$log"
}

main() {
	local missing default_reports
	case " $* " in "  " | *" --help "* | *" -h "*) usage && exit 0 ;; esac
	parse_options "$@"
	default_reports=$reports
	choose_cache
	missing=$(build_packages)
	# shellcheck disable=SC2086 # one word is one package
	[ -z "$missing" ] || install_packages $missing || die "cannot install" $missing
	[ -n "$source" ] || fetch_source
	version=$(sed -n "s/^PACKAGE_VERSION='\([0-9]*\).*/\1/p" "$source/configure")
	build_server
	exec 8>&-
	[ -z "$build_only" ] || { say "$server/bin/pg_config" && exit 0; }
	prepare_tests
	trap 'kill "$running"' INT TERM
	run_tests
	[ "$flavour" != valgrind ] || judge_reports
	[ -n "$default_reports" ] || [ -n "$(find "$reports" -type f -size +0)" ] || rm -rf "$reports"
	say "$passed passed, $failed failed"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

main "$@"
