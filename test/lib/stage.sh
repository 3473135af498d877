# shellcheck shell=bash
# Builds jobsched into a directory and starts a server there that finds it, so
# that nothing is installed. Used by test/demo.sh and bench/. Needs
# lib/common.sh and lib/server.sh; reads $tree, sets $work and $bindir.
# shellcheck disable=SC2154 # tree, PG_CONFIG and pg_major are others'

# A caller's PGHOST or PGOPTIONS are about another server.
clean_environment() {
	local name
	for name in $(compgen -e PG); do
		[ "$name" = PG_CONFIG ] || unset "$name"
	done
	export LC_ALL=C.UTF-8
}

# as_server CMD...: as the user that the server runs as, which is not root.
as_server() {
	if [ "$(id -u)" = 0 ]; then runuser -u "$server_user" -- "$@"; else "$@"; fi
}

choose_server_user() {
	server_user=$(id -un)
	[ "$(id -u)" = 0 ] || return 0
	server_user=postgres
	getent passwd "$server_user" >/dev/null || server_user=nobody
}

# open_stage TEMPLATE [N]: makes the directory $work. Before anything else.
open_stage() {
	prepare_server "${2:-}"
	bindir=$("$PG_CONFIG" --bindir)
	choose_server_user
	work=$(mktemp -d "$1")
	say "$bindir" >"$work/bindir"
}

build_stage() {
	local args=("PG_CONFIG=$PG_CONFIG" with_llvm=no)
	mkdir "$work/build" "$work/stage"
	tar -C "$tree" --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - \
		Makefile jobsched.control src sql | tar -C "$work/build" -xf -
	make -s -C "$work/build" -j"$(nproc)" "${args[@]}" </dev/null || die "the build failed"
	make -s -C "$work/build" "${args[@]}" DESTDIR="$work/stage" install </dev/null >/dev/null ||
		die "make install failed"
	chmod -R go+rX "$work/stage"
}

# stage_settings: what makes the server find the extension in our directory.
stage_settings() {
	say "dynamic_library_path = '$work/stage$("$PG_CONFIG" --pkglibdir):\$libdir'"
	if [ "$pg_major" -ge 18 ]; then
		say "extension_control_path = '$work/stage$("$PG_CONFIG" --sharedir):\$system'"
	elif grep -q extension_destdir "$bindir/postgres"; then
		say "extension_destdir = '$work/stage'"
	else
		die "PostgreSQL $pg_major finds extensions outside its own directories only in Debian's build"
	fi
}

# init_server [OPTION...]: makes its data directory, by initdb with these
# options, with the settings that it reads from standard input. Only the owner
# of the data, and root, can reach the server: by the socket in $work.
init_server() {
	[ "$(id -u)" != 0 ] || chown "$server_user" "$work"
	as_server "$bindir/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 "$@" \
		>/dev/null </dev/null
	{
		stage_settings
		say "listen_addresses = ''"
		say "unix_socket_directories = '$work'"
		say "port = 5432"
		cat
	} | as_server tee -a "$work/data/postgresql.conf" >/dev/null
}

start_server() {
	as_server "$bindir/pg_ctl" -D "$work/data" -l "$work/log" -w -t 120 start >/dev/null || {
		tail -n 20 "$work/log" >&2
		die "the server does not start"
	}
}

# stop_server MODE [DIRECTORY]: if it runs. DIRECTORY is that of another one.
stop_server() {
	local dir=${2:-$work}
	[ -f "$dir/data/postmaster.pid" ] || return 0
	as_server "$(cat "$dir/bindir")/pg_ctl" -D "$dir/data" -m "$1" -w stop >/dev/null
}
