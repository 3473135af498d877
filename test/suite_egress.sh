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

run_plain test/http/egress_test.c src/http/egress.c
