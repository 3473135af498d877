# shellcheck shell=bash
# Reads the output of pg_regress and prove. Each function prints
# "passed failed" of a log, and counts at least one failure where the log does
# not show that everything was run to the end.

# count_regress LOG STATUS: pg_regress and pg_isolation_regress. 15 prints
# 'test x ... ok' ('     x ... ok' in a parallel group), 16 and later 'ok 1 - x'
# ('ok 1 + x'); both close on 'All N tests passed' or 'N of M tests failed'.
count_regress() {
	awk -v status="$2" '
		/^(test|    ) +[^ ]+ +\.\.\. ok( |$)/ || /^ok [0-9]+ +[-+] / { ok++ }
		/^(test|    ) +[^ ]+ +\.\.\. FAILED/ || /^not ok [0-9]+ +[-+] / { bad++ }
		match($0, /All [0-9]+ tests passed/) {
			split(substr($0, RSTART), w, " ")
			closed = 1; passed = w[2]
		}
		match($0, /[0-9]+ of [0-9]+ tests failed/) {
			split(substr($0, RSTART), w, " ")
			closed = 1; failed = w[1]; passed = w[3] - w[1]
		}
		END {
			if (!closed) { passed = ok; failed = bad + 1 }
			else if (bad > failed) { passed -= bad - failed; failed = bad }
			if (!failed && (status != 0 || !passed)) failed = 1
			printf "%d %d\n", passed, failed
		}' "$1"
}

# count_tap LOG STATUS: prove. Assertions are counted: 'Files=2, Tests=9' has
# them all, and each file with a failure has a line
# 't/x.pl (Wstat: 256 (exited 1) Tests: 3 Failed: 1)'; one that died, or whose plan was
# not met, can have 'Failed: 0' there and counts as one.
count_tap() {
	awk -v status="$2" '
		match($0, /^Files=[0-9]+, Tests=[0-9]+/) {
			line = substr($0, RSTART, RLENGTH); sub(/.*Tests=/, "", line)
			closed = 1; total = line
		}
		/\(Wstat: .* Tests: [0-9]+ Failed: [0-9]+\)/ {
			n = $0; sub(/.* Failed: /, "", n); n += 0
			real += n; failed += n ? n : 1
		}
		END {
			passed = total - real
			if (passed < 0) passed = 0
			if (!failed && (!closed || status != 0 || !passed)) failed = 1
			printf "%d %d\n", passed, failed
		}' "$1"
}

# count_suite LOG STATUS: a suite says itself what it counted, on its last line.
count_suite() {
	local passed failed
	if ! read -r passed failed < <(last_count "$1"); then
		say "0 1"
	elif [ "$failed" = 0 ] && { [ "$2" != 0 ] || [ "$passed" = 0 ]; }; then
		say "$passed 1"
	else
		say "$passed $failed"
	fi
}
