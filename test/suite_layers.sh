#!/bin/bash
#
# Refuses an include from a lower folder of src/ to a higher one, or between two of
# the same floor. The floors, from the ground, are those of doc/internals.md.
# server: any
#
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"
cd "$here/../src"

declare -A floor=(
	[base]=0 [cron]=0 [mux]=0
	[shmem]=1
	[store]=2
	[http]=3 [process]=3
	[run]=4
	[api]=5 [scheduler]=5 [worker]=5
)
passed=0
failed=0

# judge FILE FOLDER: whether FILE may include what is in FOLDER.
judge() {
	local from=${1%%/*}
	if [ "$from" = "$2" ] || [ "${floor[$2]}" -lt "${floor[$from]}" ]; then
		passed=$((passed + 1))
	else
		say "$1 includes a header of $2/"
		failed=$((failed + 1))
	fi
}

for folder in */; do
	[ "$folder" = sql/ ] || [ -n "${floor[${folder%/}]:-}" ] || {
		say "src/$folder has no floor"
		failed=$((failed + 1))
	}
done
while IFS=: read -r file folder; do
	[ -z "${floor[$folder]:-}" ] || judge "$file" "$folder"
done < <(grep -o '^#include "[a-z]*/' ./*/*.[ch] | sed 's|^\./||; s/:#include "/:/; s|/$||')
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
