#!/bin/bash
#
# Fuzzes the schedule parser and the search for the next instant, outside any
# server; see fuzz/Makefile.
# packages: clang libclang-rt-dev make
# server: any
#
# Environment: PG_CONFIG (default pg_config) for the headers, FUZZ_SECONDS
# (default 10) for each fuzzer. The last line is 'N passed, N failed'.

# Functions are called through check().
# shellcheck disable=SC2317

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"

passed=0
failed=0

finish() {
	say "$passed passed, $failed failed"
	[ "$failed" = 0 ]
	exit
}

# check WHAT CMD...
check() {
	local what=$1
	shift
	heading "$what"
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		warn "$what failed"
		return 1
	fi
}

can_fuzz() {
	local out
	have clang && have make && out=$(mktemp) || return 1
	printf '%s\n' 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d == 0 && n; }' |
		clang -x c -fsanitize=fuzzer,address,undefined -o "$out" - 2>/dev/null || { rm -f "$out"; return 1; }
	rm -f "$out"
}

# Without the list of byte strings that libFuzzer prints at its end.
fuzz() {
	make -s -C "$here/fuzz" PG_CONFIG="${PG_CONFIG:-pg_config}" FUZZ_SECONDS="${FUZZ_SECONDS:-10}" "$@" 2>&1 |
		sed '/ # Uses: /d; /ecommended dictionary/d'
}

check 'clang with libFuzzer' can_fuzz || finish
check 'build' fuzz all || finish
check 'parser' fuzz run-parse || true
check 'next instant' fuzz run-next || true
finish
