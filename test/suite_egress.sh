#!/bin/bash
#
# Tests which addresses HTTP requests may go to, outside any server, with the
# sanitizers of the compiler where it has them; see http/egress_test.c.
# packages: gcc
# server: any
#
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"

program=$(mktemp)
trap 'rm -f "$program"' EXIT

# build FLAGS...
build() {
	"${CC:-gcc}" -std=gnu11 -g -Wall -Wextra -Werror "$@" -I"$here/../src" \
		-o "$program" "$here/http/egress_test.c" "$here/../src/egress.c"
}

if ! build -fsanitize=address,undefined -fno-sanitize-recover=all 2>/dev/null; then
	say "without sanitizers"
	if ! build; then
		say "0 passed, 1 failed"
		exit 1
	fi
fi
"$program"
