#!/bin/bash
#
# Tests src/mux with sanitizers and without a server of PostgreSQL's,
# against a server that misbehaves (http/hostile.c) and one with HTTP/2.
# packages: gcc make libcurl4-openssl-dev zlib1g-dev openssl nghttp2-server perl
# server: any
#
# The last line is 'N passed, N failed'.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=test/lib/common.sh
. "$here/lib/common.sh"

work=$(mktemp -d "${TMPDIR:-/tmp}/jobsched_http_mux.XXXXXX")
nghttpd=

clean_up() {
	local status=$?
	trap - EXIT
	[ -z "$nghttpd" ] || kill "$nghttpd" 2>/dev/null || true
	rm -rf "$work"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

give_up() {
	[ ! -s "$work/log" ] || tail -n 30 "$work/log"
	warn "$@"
	say '0 passed, 1 failed'
	exit 1
}

# authority NAME: a certificate that signs others.
authority() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" \
		-keyout "$work/$1.key" -out "$work/$1.pem"
}

# certificate: for localhost, signed by 'ours'.
certificate() {
	openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/key.pem" -out "$work/request.pem" &&
		echo 'subjectAltName=DNS:localhost' >"$work/extensions" &&
		openssl x509 -req -in "$work/request.pem" -CA "$work/ours.pem" -CAkey "$work/ours.key" -CAcreateserial \
			-days 2 -extfile "$work/extensions" -out "$work/cert.pem"
}

free_port() {
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_nghttpd() {
	local try
	mkdir "$work/files"
	say hello >"$work/files/index.html"
	port=$(free_port)
	nghttpd -a 127.0.0.1 -d "$work/files" "$port" "$work/key.pem" "$work/cert.pem" >"$work/log" 2>&1 &
	nghttpd=$!
	for try in {1..100}; do
		! listens "$port" || return 0
		kill -0 "$nghttpd" 2>/dev/null || return 1
		sleep 0.1
	done
	warn "nghttpd does not listen after $try tries"
	return 1
}

make -s -C "$here/http" >"$work/log" 2>&1 || give_up 'the test does not build'
{ authority ours && authority other && certificate; } >"$work/log" 2>&1 || give_up 'no certificates'
start_nghttpd || give_up 'no HTTP/2 server'
: >"$work/log"
# What a sanitizer finds ends the program before its last line.
"$here/http/build/mux_test" "$port" "$work/ours.pem" "$work/other.pem" || [ $? = 1 ] ||
	give_up 'the test broke off'
