#!/bin/bash
#
# Attacks the extension with odd inputs that generators make (attack/*.pl), in a
# network with nothing but loopback: an odd spelling may be a public address.
# needs: root
# packages: iproute2
#
# Environment: JOBSCHED_ATTACK_ROUNDS (default 1: a minute in all; 60: an hour),
# JOBSCHED_ATTACK_SEED (default 1), JOBSCHED_ATTACK_TESTS (default *.pl). The
# last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"
# shellcheck source=test/lib/counts.sh
. "$here/lib/counts.sh"

tester=$(stat -c %U "$here")
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# in_the_network: what runs in the namespace, as root.
in_the_network() {
	ip link set lo up
	exec runuser -u "$tester" -- make -s --no-print-directory -C "$here/.." installcheck \
		REGRESS= ISOLATION= PROVE_TESTS="test/attack/${JOBSCHED_ATTACK_TESTS:-*.pl}" PROVE_FLAGS="--timer -j$(nproc)" \
		PG_CONFIG="${PG_CONFIG:-pg_config}" with_llvm=no
}
export here tester
export -f in_the_network

status=0
unshare -n bash -c in_the_network 2>&1 | tee "$log" || status=$?
read -r passed failed < <(count_tap "$log" "$status")
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
