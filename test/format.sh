#!/bin/bash
#
# Lays out the C code as PostgreSQL's own pgindent does, or refuses what is laid
# out otherwise. See --help.

set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=test/lib/common.sh
. "$tree/test/lib/common.sh"

usage() {
	cat <<'END'
usage: test/format.sh [--check | --write | --diff] [FILE...]
       test/format.sh --typedefs

  --check     names the files that are not laid out; the last line is
              'N passed, N failed', by files (this is the default)
  --write     lays them out
  --diff      shows what --write would change
  --typedefs  writes test/format/typedefs.list anew, from the debug
              information of a compiler; needs gcc, objdump and the headers
              that a build needs
  --help      this text

Without FILE: all C files of src/, test/ and bench/.

The tools are pgindent and pg_bsd_indent 2.1.2, as PostgreSQL 16 to 18 have
them: those on PATH, or those of Debian's postgresql-server-dev-17 or -18. If
they are not there, they are fetched from Debian once, and kept in
${XDG_CACHE_HOME:-~/.cache}/jobsched/pgindent. Nothing is installed, and root is
not needed.

Environment:
  PG_SOURCE        an unpacked source tree of PostgreSQL 16, 17 or 18, to build
                   the tools from instead of fetching them
  PG_CONFIG        of the server whose headers --typedefs and a build of
                   the tools use (default: pg_config)
  JOBSCHED_MIRROR  Debian mirror (default: the one that apt uses here)
END
}

indent_version=2.1.2
typedefs=$tree/test/format/typedefs.list
cache=${XDG_CACHE_HOME:-$HOME/.cache}/jobsched/pgindent
# Where the tools are fetched from, whatever Debian this is.
suite=trixie
packages=(postgresql-server-dev-17 libc6)
# Names of types that are names of ours, too; pgindent would take each for the type.
not_types='text'

work=$(mktemp -d "${TMPDIR:-/tmp}/jobsched-format.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# --- the tools -------------------------------------------------------------

# fits DIR: has both tools, and they run here.
fits() {
	[ -x "$1/pgindent" ] && [ -x "$1/pg_bsd_indent" ] &&
		[[ "$("$1/pg_bsd_indent" --version 2>/dev/null)" == "pg_bsd_indent $indent_version "* ]]
}

# find_tools: sets $tools to a directory that has them.
find_tools() {
	local on_path dir
	have perl || die "pgindent needs perl (Debian package perl)"
	on_path=$(command -v pg_bsd_indent || :)
	for dir in ${on_path:+"${on_path%/*}"} /usr/lib/postgresql/{17,18}/bin "$cache"; do
		if fits "$dir"; then
			tools=$dir
			return 0
		fi
	done
	mkdir "$work/tools"
	if [ -n "${PG_SOURCE:-}" ]; then build_tools; else fetch_tools; fi
	rm -rf "$cache"
	mkdir -p "${cache%/*}"
	mv "$work/tools" "$cache"
	tools=$cache
	fits "$tools" || die "$tools has no pg_bsd_indent $indent_version that runs here"
}

# fetch_tools: unpacks Debian's package, with the C library that it wants: this Debian
# may be older. apt gets lists of its own, so that nothing of this machine is touched.
fetch_tools() {
	local mirror options package
	have apt-get || die "there is no pg_bsd_indent here, and no apt: see PG_SOURCE in --help"
	mirror=$(debian_mirror)
	say "fetching pgindent from Debian $suite" >&2
	mkdir -p "$work"/apt/{lists,cache/archives}/partial
	say "deb ${mirror:-http://deb.debian.org/debian} $suite main" >"$work/apt/sources.list"
	options=(-q -o "Dir::Etc::SourceList=$work/apt/sources.list" -o Dir::Etc::SourceParts=-
		-o "Dir::State::Lists=$work/apt/lists" -o Dir::State::Status=/dev/null
		-o "Dir::Cache=$work/apt/cache" -o Acquire::Languages=none -o Acquire::Retries=3
		-o APT::Sandbox::User=)
	(
		cd "$work/apt"
		apt-get "${options[@]}" update && apt-get "${options[@]}" download "${packages[@]}"
	) >"$work/apt/log" 2>&1 || {
		tail -n 5 "$work/apt/log" >&2
		die "cannot fetch ${packages[*]} of Debian $suite: see PG_SOURCE in --help"
	}
	for package in "$work"/apt/*.deb; do dpkg -x "$package" "$work/root"; done
	cp "$work"/root/usr/lib/postgresql/*/bin/pg*indent "$work"/root/usr/lib/*-linux-*/{ld*.so*,libc.so.6} "$work/tools"
	mv "$work/tools/pg_bsd_indent" "$work/tools/program"
	cat >"$work/tools/pg_bsd_indent" <<-END
		#!/bin/sh
		exec "$cache"/ld*.so* --library-path "$cache" "$cache/program" "\$@"
	END
	chmod +x "$work/tools/pg_bsd_indent"
}

# build_tools: any server's headers and libraries do. 18's source has a word that older
# headers do not know.
build_tools() {
	local config=${PG_CONFIG:-pg_config} indent=$PG_SOURCE/src/tools/pg_bsd_indent
	[ -f "$indent/indent.c" ] || die "$PG_SOURCE has no src/tools/pg_bsd_indent"
	gcc -O2 -w -Dpg_noreturn=_Noreturn -I"$indent" -I"$("$config" --includedir-server)" \
		-o "$work/tools/pg_bsd_indent" "$indent"/*.c \
		"-L$("$config" --pkglibdir)" "-L$("$config" --libdir)" -lpgcommon -lpgport ||
		die "cannot build pg_bsd_indent"
	cp "$PG_SOURCE/src/tools/pgindent/pgindent" "$work/tools"
	chmod +x "$work/tools/pgindent"
}

# --- the layout ------------------------------------------------------------

all_files() { (cd "$tree" && find src test bench -name build -prune -o -name '*.[ch]' -print | LC_ALL=C sort); }

# lay_out FILE...: copies of them, in $work/tree. What pgindent says is a failure of its:
# not every version has an exit status for that.
lay_out() {
	mkdir "$work/tree"
	tar -C "$tree" -cf - "$@" | tar -C "$work/tree" -xf -
	# It writes its temporary files into the working directory.
	(cd "$work" && perl "$tools/pgindent" --indent="$tools/pg_bsd_indent" --typedefs="$typedefs" tree) \
		>"$work/said" 2>&1 || say "pgindent failed" >>"$work/said"
	[ ! -s "$work/said" ] || {
		cat "$work/said" >&2
		die "pgindent cannot lay out all files"
	}
}

# our_types: those that src/ and the tests define in the usual ways. One that is missing in the
# list would be laid out like a variable.
our_types() {
	(cd "$tree" && all_files | xargs cat) |
		sed -nE 's/^\}[ \t]*([A-Za-z_0-9]+);$/\1/p
			s/^typedef (struct|union|enum) [A-Za-z_0-9]+ \*?([A-Za-z_0-9]+);$/\2/p
			s/^typedef .*\(\*[ \t]*([A-Za-z_0-9]+)\) *\(.*/\1/p' | LC_ALL=C sort -u
}

check_typedefs() {
	local missing
	missing=$(our_types | LC_ALL=C comm -23 - "$typedefs" | tr '\n' ' ')
	[ -z "$missing" ] || die "not in test/format/typedefs.list (test/format.sh --typedefs renews it): $missing"
}

# handle FILE...: one by one, as $mode says.
handle() {
	local file passed=0 failed=0
	for file in "$@"; do
		if cmp -s "$tree/$file" "$work/tree/$file"; then
			passed=$((passed + 1))
			continue
		fi
		failed=$((failed + 1))
		case $mode in
		check) say "$file is not laid out (test/format.sh --diff shows it, --write mends it)" ;;
		diff) diff -u --label "a/$file" --label "b/$file" "$tree/$file" "$work/tree/$file" || : ;;
		write)
			cat "$work/tree/$file" >"$tree/$file"
			say "$file"
			;;
		esac
	done
	[ "$mode" = check ] || return 0
	say "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}

# --- the list of types -----------------------------------------------------

# words: all of them in the C files, but for comments and strings.
words() {
	(cd "$tree" && all_files | xargs cat) |
		perl -0pe 's{/\*.*?\*/}{}gs; s{"(\\.|[^"\\])*"}{}g' |
		grep -oE '[A-Za-z_][A-Za-z0-9_]*' | LC_ALL=C sort -u
}

# write_typedefs: what the compiler knows as a type and a C file of ours mentions.
write_typedefs() {
	local config=${PG_CONFIG:-pg_config} flags file
	have objdump || die "--typedefs needs objdump (Debian package binutils)"
	flags=(-w -g -fno-eliminate-unused-debug-types -D_GNU_SOURCE -DHAVE_ZLIB
		-I"$tree/src" -I"$tree/src/mux" -I"$tree/test/http" -I"$tree/test/fuzz"
		-I"$("$config" --includedir-server)" '-DJS_VERSION=""')
	for file in $(all_files | grep '\.c$'); do
		gcc "${flags[@]}" -c -o "$work/object.o" "$tree/$file" || die "cannot compile $file"
		objdump --dwarf=info "$work/object.o" |
			awk '/\(DW_TAG_/ { type = /\(DW_TAG_typedef\)/ } type && /DW_AT_name/ { print $NF; type = 0 }'
	done | LC_ALL=C sort -u | LC_ALL=C comm -12 - <(words) | grep -vxE "$not_types" >"$work/typedefs"
	cat "$work/typedefs" >"$typedefs"
}

mode=check
files=()

parse_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--help | -h) usage && exit 0 ;;
		--check | --write | --diff | --typedefs) mode=${1#--} ;;
		-*) die "unknown option: $1 (see --help)" ;;
		*)
			[ -f "$1" ] || die "no such file: $1"
			files+=("$(realpath --relative-to="$tree" "$1")")
			;;
		esac
		shift
	done
}

main() {
	parse_options "$@"
	if [ "$mode" = typedefs ]; then
		write_typedefs
		return
	fi
	find_tools
	check_typedefs
	[ "${#files[@]}" -gt 0 ] || mapfile -t files < <(all_files)
	lay_out "${files[@]}"
	handle "${files[@]}"
}

main "$@"
