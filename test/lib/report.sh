# shellcheck shell=bash
# Shows what is worth reading after a failure. Needs lib/common.sh.

# show_tail FILE LINES
show_tail() {
	[ -s "$1" ] || return 0
	heading "last lines of $1"
	tail -n "$2" "$1"
}

show_diffs() {
	local file
	while IFS= read -r file; do
		[ -s "$file" ] || continue
		heading "$file"
		head -n 400 "$file"
	done < <(find "$1" -name regression.diffs)
}

# show_server_logs TREE MARK: those of pg_regress's own servers that are newer
# than the file MARK; initdb's only where no server came to be.
show_server_logs() {
	local file
	while IFS= read -r file; do
		[ "${file##*/}" = postmaster.log ] || [ ! -s "${file%/*}/postmaster.log" ] || continue
		show_tail "$file" 40
	done < <(find "$1" \( -name postmaster.log -o -name initdb.log \) \
		-newer "$2" ! -path '*/tmp_check/*')
}

# failed_files LOG: the test files that prove's LOG has as failed.
failed_files() { sed -n 's/^\([^ ]*\.pl\) *(Wstat: .*/\1/p' "$1" | sort -u; }

# show_tap TREE LOG: the logs of the test files that LOG has as failed.
show_tap() {
	local test base file
	while IFS= read -r test; do
		base=$(basename "$test" .pl)
		show_tail "$1/tmp_check/log/regress_log_$base" 60
		for file in "$1/tmp_check/log/$base"_*.log; do
			show_tail "$file" 40
		done
	done < <(failed_files "$2")
}

# Traces of a crash, of a failed assertion, of a sanitizer or of a leak. A
# SIGKILL is none: tests kill processes on purpose.
crash_pattern='TRAP: |terminated by signal (4|6|7|8|11)[^0-9]|(ERROR|SUMMARY): (Address|Leak|Thread)Sanitizer|: runtime error: |VALGRINDERROR|WARNING: .* leak: |resource was not closed:'

# crashed_logs TREE: the server logs that have such traces. A test may pass and
# its server crash all the same.
crashed_logs() {
	find "$1" -type f -name '*.log' -exec grep -lE "$crash_pattern" {} + || :
}

show_crashes() {
	local file
	for file in "$@"; do
		heading "crash or leak in $file"
		grep -nE -B 5 -A 15 "$crash_pattern" "$file" | head -n 60
	done
}
