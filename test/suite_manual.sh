#!/bin/bash
#
# Refuses what cannot be read in a diff or on a phone: lines of the manual of more
# than 100 characters, code and table rows excepted, and table cells of more than
# 200. Compares the list of files in doc/internals.md with src/, and the version in
# META.json with the control file's.
# server: any
#
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"
cd "$here/.."

passed=0
failed=0

# check WHAT FINDINGS: FINDINGS are lines, of which there shall be none.
check() {
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		say "$1:" "$2"
		failed=$((failed + 1))
	fi
}

# too_long PAGE: a cell ends at a bar that is not escaped.
too_long() {
	perl -CSD -ne '
		if (/^ *```/) { $code = !$code; next }
		next if $code;
		if (/^ *\|/) {
			for (split /(?<!\\)\|/) {
				s/^\s+|\s+$//g;
				print "line $.: a cell of ", length, "\n" if length > 200;
			}
			next;
		}
		chomp;
		print "line $.: ", length, " characters\n" if length > 100' "$1"
}

# files_listed: FOLDER/FILE of each item in the list of files, sorted.
files_listed() {
	sed -n '/^## Files/,$p' doc/internals.md |
		awk -F'`' '/^### / { folder = $2 } /^- `[a-z_]+\.c`/ { print folder $2 }' | LC_ALL=C sort
}

# versions: the control file's, with three numbers as PGXN wants them, and META.json's.
versions() {
	perl -MJSON::PP -0777 -ne '
		if ($ARGV =~ /control/) { ($version) = /^default_version = .([\d.]+)/m; next }
		$version .= ".0" while $version =~ tr/.// < 2;
		$meta = decode_json($_);
		print "$version\n$meta->{version}\n$meta->{provides}{jobsched}{version}\n"' \
		jobsched.control META.json
}

for page in README.md CONTRIBUTING.md SECURITY.md doc/*.md dashboard/README.md src/*/README.md; do
	check "$page" "$(too_long "$page")"
done
check "files in doc/internals.md (<) and in src/ (>)" \
	"$(diff <(files_listed) <(find src -name '*.c' | LC_ALL=C sort) | grep '^[<>]' || :)"
check "the version in jobsched.control is another one in META.json" "$(versions | uniq | tail -n +2)"
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
