#!/bin/bash
#
# Refuses circles: files of src/ that call each other in a circle, and folders that do.
# packages: binutils
# server: any
#
# The graph is read from the objects that the build leaves beside the sources: a file
# calls another one if its object refers to a function that is defined in the other's.
# Variables are no calls. Inline functions and macros belong to the file that uses them.
#
# What the graph does not show are calls by pointer: hooks, visitors, callbacks. They are
# how a lower floor calls a higher one on purpose; whoever hands the pointer down refers
# to both, and that is in the graph.
#
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"
cd "$here/../src"

passed=0
failed=0

# calls OBJECT...: lines 'CALLER CALLED FUNCTION', of files.
calls() {
	nm -AP "$@" | sed 's/\.o: / /' | awk '
		$3 == "T" { home[$2] = $1 }
		$3 == "U" { caller[n] = $1; name[n++] = $2 }
		END {
			for (i = 0; i < n; i++)
				if (name[i] in home)
					print caller[i], home[name[i]], name[i]
		}'
}

# between_folders: the same, of folders. What has none, guc.c and init.c, is left out.
between_folders() {
	awk '{
		a = $1; b = $2
		if (sub("/.*", "", a) && sub("/.*", "", b) && a != b)
			print a, b, $3
	}'
}

# circles: of such lines; each on a line of its own.
circles() {
	awk '{ print $1, $2 }' | sort -u | LC_ALL=C tsort 2>&1 >/dev/null | sed 's/^tsort: //' | awk '
		/input contains a loop/ { if (circle) print circle; circle = ""; next }
		{ circle = circle (circle ? " " : "") $0 }
		END { if (circle) print circle }' || :
}

# show CALLS MEMBER...: the calls that make a circle, by file.
show() {
	local calls=$1 members=" ${*:2} "
	say "circle:${members% }"
	sort -u <<<"$calls" | awk -v members="$members" '
		$1 != $2 && index(members, " " $1 " ") && index(members, " " $2 " ") {
			arrow = "    " $1 " calls " $2 ":"
			if (arrow != last)
				printf "%s%s", (last ? "\n" : ""), arrow
			printf " %s", $3
			last = arrow
		}
		END { print "" }'
}

# judge CALLS: one failure for each circle; what is in none has passed.
judge() {
	local found circle members all
	found=$(circles <<<"$1")
	all=$(awk '{ print $1; print $2 }' <<<"$1" | sort -u | wc -l)
	members=$(tr ' ' '\n' <<<"$found" | sort -u | grep -c . || :)
	passed=$((passed + all - members))
	while read -r circle; do
		[ -n "$circle" ] || continue
		failed=$((failed + 1))
		# shellcheck disable=SC2086 # one word is one member
		show "$1" $circle
	done <<<"$found"
}

# A test that finds nothing where there is something would pass for ever.
if [ "$(printf 'a b f\nb c g\nc a h\nc d i\n' | circles | wc -w)" = 3 ]; then
	passed=$((passed + 1))
else
	say "a circle of three is not found"
	failed=$((failed + 1))
fi

objects=()
for source in *.c */*.c; do
	objects+=("${source%.c}.o")
	if [ ! -f "${source%.c}.o" ] || [ "${source%.c}.o" -ot "$source" ]; then
		say "src/$source has not been compiled: build first"
		failed=$((failed + 1))
	fi
done
if [ "$failed" = 0 ]; then
	files=$(calls "${objects[@]}")
	judge "$files"
	judge "$(between_folders <<<"$files")"
fi
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
