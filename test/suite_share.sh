#!/bin/bash
#
# Tests what keeps one owner's HTTP requests from taking the time and the places
# of others', outside any server, with the sanitizers of the compiler where it has
# them; see http/share_test.c.
# packages: gcc
# server: any
#
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"

run_plain test/http/share_test.c src/base/needles.c
