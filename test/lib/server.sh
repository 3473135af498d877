# shellcheck shell=bash
# Finds or installs the PostgreSQL to test with, and what the build needs.
# Sets PG_CONFIG, pg_major. Needs lib/common.sh.

debian_pg_config() { say "/usr/lib/postgresql/$1/bin/pg_config"; }

# pg_config_complete PG_CONFIG: server, PGXS and headers are all there. Files
# are looked at, not packages: a server from source is as good.
pg_config_complete() {
	local bindir
	[ -x "$1" ] || have "$1" || return 1
	bindir=$("$1" --bindir) || return 1
	[ -x "$bindir/postgres" ] && [ -x "$bindir/initdb" ] && [ -x "$bindir/psql" ] &&
		[ -f "$("$1" --pgxs)" ] && [ -f "$("$1" --includedir-server)/postgres.h" ]
}

newest_installed() {
	local dir
	for dir in /usr/lib/postgresql/*/; do
		dir=$(basename "$dir")
		if [[ $dir =~ ^[0-9]+$ ]] && pg_config_complete "$(debian_pg_config "$dir")"; then
			say "$dir"
		fi
	done | sort -n | tail -n 1
}

newest_packaged() {
	apt-cache search --names-only '^postgresql-server-dev-[0-9]+$' |
		sed -n 's/^postgresql-server-dev-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1
}

# choose_server [N]: N, or $PG_CONFIG, or the newest that is installed whole,
# or the newest that there is a package of.
choose_server() {
	local major=${1:-}
	if [ -z "$major" ] && [ -n "${PG_CONFIG:-}" ]; then
		PG_CONFIG=$(command -v "$PG_CONFIG") || die "no such program: $PG_CONFIG"
		return 0
	fi
	[ -n "$major" ] || major=$(newest_installed)
	if [ -z "$major" ]; then
		apt_update
		major=$(newest_packaged)
	fi
	[ -n "$major" ] || die "no PostgreSQL is installed, and apt knows no postgresql-server-dev package"
	PG_CONFIG=$(debian_pg_config "$major")
}

has_header() {
	local dir
	for dir in /usr/include /usr/include/*-linux-gnu* /usr/local/include; do
		[ ! -f "$dir/$1" ] || return 0
	done
	return 1
}

# package_installed NAME: or a command of that name is there, from elsewhere.
package_installed() {
	have "$1" || [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# missing_packages: prints the Debian packages to install for the build and for
# PostgreSQL's own kinds of tests, none if all is there. Tools are looked for as
# files, so that they may come from elsewhere.
missing_packages() {
	have make || say make
	have gcc || say gcc
	has_header stdio.h || say libc6-dev
	has_header curl/curl.h || say libcurl4-openssl-dev
	has_header zlib.h || say zlib1g-dev
	have prove || say perl
	perl -MIPC::Run -e 1 2>/dev/null || say libipc-run-perl
	if ! pg_config_complete "$PG_CONFIG"; then
		[[ $PG_CONFIG =~ ^/usr/lib/postgresql/([0-9]+)/bin/pg_config$ ]] ||
			die "$PG_CONFIG belongs to an incomplete installation (server, PGXS and headers are needed)"
		say "postgresql-${BASH_REMATCH[1]}"
		say "postgresql-server-dev-${BASH_REMATCH[1]}"
	fi
}

# missing_test_packages TREE [server]: those that single tests ask for.
missing_test_packages() {
	local package
	for package in $(test_packages "$@"); do
		package_installed "$package" || say "$package"
	done
}

# install_packages PACKAGE...: and no more: nobody asked for services that run,
# now or after the next start of the machine.
install_packages() {
	local package output
	heading "installing $*"
	apt_update
	for package in "$@"; do
		apt-cache show "$package" >/dev/null 2>&1 || {
			warn "apt has no $package (test/chroot.sh N tests PostgreSQL N in a Debian that has it)"
			return 1
		}
	done
	output=$(
		trap allow_services EXIT
		trap 'exit 130' INT TERM
		forbid_services
		apt_get install -y --no-install-recommends "$@" 2>&1 && disable_services "$@"
	) || {
		tail -n 40 <<<"$output"
		return 1
	}
}

# What keeps packages from making a cluster, and from starting what they bring.
# It goes away again, the machine is not ours.
cluster_dropin=/etc/postgresql-common/createcluster.d/jobsched-test.conf
service_policy=/usr/sbin/policy-rc.d

forbid_services() {
	as_root mkdir -p "${cluster_dropin%/*}"
	say 'create_main_cluster = false' | as_root tee "$cluster_dropin" >/dev/null
	[ -e "$service_policy" ] || {
		printf '#!/bin/sh\n# of jobsched tests\nexit 101\n' | as_root tee "$service_policy" >/dev/null
		as_root chmod 755 "$service_policy"
	}
}

allow_services() {
	as_root rm -f "$cluster_dropin"
	! grep -qx '# of jobsched tests' "$service_policy" 2>/dev/null || as_root rm -f "$service_policy"
}

# disable_services PACKAGE...: what was just installed of those that bring one.
disable_services() {
	[[ " $* " == *" nginx "* ]] && have systemctl || return 0
	as_root systemctl -q disable nginx >/dev/null 2>&1 || warn "nginx will be started with the machine"
}

# prepare_server [N]: the whole of this file, but for single tests' packages.
prepare_server() {
	local missing
	choose_server "${1:-}"
	missing=$(missing_packages)
	if [ -n "$missing" ]; then
		# shellcheck disable=SC2086 # one word is one package
		install_packages $missing || die "cannot install" $missing
	fi
	pg_config_complete "$PG_CONFIG" || die "$PG_CONFIG: incomplete installation"
	export PG_CONFIG
	pg_major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
	[ "$pg_major" -ge 15 ] || die "PostgreSQL $pg_major is too old: 15 is the oldest that works"
}
