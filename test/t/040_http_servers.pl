# Copyright (c) 2026, jobsched contributors
# packages: nginx openssl

# The servers that tests of HTTP requests use: each does what HttpServers.pm
# says, as a client of a few lines sees it.  When this passes and another test
# fails, it is not the servers.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Compress::Raw::Zlib;
use Errno qw(ECONNRESET);
use HttpServers;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $dir = PostgreSQL::Test::Utils::tempdir();
my $patience = $PostgreSQL::Test::Utils::timeout_default;

# ------------------------------------------------------------------------
# A client
# ------------------------------------------------------------------------

sub connection_to
{
	my ($server) = @_;
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->{port}, Proto => 'tcp')
	  // die "cannot connect: $!";
}

sub send_request
{
	my ($socket, $method, $path, %opt) = @_;
	my $body = $opt{body} // '';
	my $headers = join '', map { "$_\r\n" } @{ $opt{headers} || [] };

	$headers .= 'Content-Length: ' . length($body) . "\r\n" unless $opt{unfinished} || $body eq '' || $headers =~ /Transfer-/;
	syswrite($socket, "$method $path HTTP/1.1\r\nHost: test\r\n$headers\r\n$body");
	return $socket;
}

# Reads until a function of what there is says that it is enough, or the end.
# Returns it, and how it ended: enough, end, reset or timeout.
sub read_until
{
	my ($socket, $is_enough, $seconds) = @_;
	my $until = time() + ($seconds // $patience);
	my $select = IO::Select->new($socket);
	my $got = '';

	until ($is_enough->($got))
	{
		my $left = $until - time();
		return ($got, 'timeout') unless $left > 0 && $select->can_read($left);
		my $n = sysread($socket, $got, 1 << 20, length $got);
		return ($got, $! == ECONNRESET ? 'reset' : "error $!") unless defined $n;
		return ($got, 'end') unless $n;
	}
	return ($got, 'enough');
}

# Whether an answer is whole, by its Content-Length.
sub is_whole
{
	my ($text) = @_;
	return 0 unless $text =~ /\r\n\r\n/;
	my $body = length($text) - $+[0];
	return $text !~ /^Content-Length: (\d+)/mi || $body >= $1;
}

# Status, head and body of the answer to a request of its own connection.
sub fetch
{
	my ($server, $method, $path, %opt) = @_;
	my $socket = $opt{socket} // connection_to($server);
	my ($text, $how) = read_until(send_request($socket, $method, $path, %opt), \&is_whole);
	my ($head, $body) = split /\r\n\r\n/, $text, 2;
	my ($status) = ($head // '') =~ m{^HTTP/1\.1 (\d+)};
	return ($status, $head, $body);
}

# ------------------------------------------------------------------------
# The sink
# ------------------------------------------------------------------------

my $sink = start_sink($dir);
my ($status, $head, $body) = fetch($sink, 'POST', '/a%20b?x=1&y=%3d', headers => [ 'X-One: 1', 'x-one: 2' ], body => "body\0\xff");
is("$status $body", '200 ok', 'the sink answers');
my ($request) = wait_requests($sink, 1);
is_deeply(
	[ @{$request}{qw(method path query body connection)}, $request->{headers}->{'x-one'} ],
	[ 'POST', '/a b', { x => 1, y => '=' }, "body\0\xff", 1, '1, 2' ],
	'and keeps the request');
is_deeply($request->{header_list}->[1], [ 'X-One', '1' ], 'with its headers as they came');
cmp_ok(abs(time() - $request->{time}), '<', 60, 'and its time');

my $socket = connection_to($sink);
fetch($sink, 'GET', "/$_", socket => $socket) for 1 .. 3;
is_deeply([ map { $_->{connection} } (requests($sink))[ 1 .. 3 ] ], [ 2, 2, 2 ], 'connections are kept, and counted');
send_request($socket, 'GET', '/first');
send_request($socket, 'GET', '/second');
my ($text) = read_until($socket, sub { 2 <= (() = $_[0] =~ /ok/g) });
is(scalar(() = $text =~ /200 Answer/g), 2, 'requests can follow each other without waiting');
send_request($socket, 'POST', '/chunked', headers => ['Transfer-Encoding: chunked'], body => "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
is((wait_requests($sink, 1, qr/chunked/))[0]->{body}, 'abcde', 'chunks are put together');

forget_requests($sink);
is(scalar(requests($sink)), 0, 'requests can be forgotten');
my $big = 'x' x 3_000_000;
$socket = connection_to($sink);
syswrite($socket, "PUT /big HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3000000\r\n\r\n");
($text) = read_until($socket, sub { $_[0] =~ /\r\n\r\n/ });
is($text, "HTTP/1.1 100 Continue\r\n\r\n", 'a client that asks whether to go on may');
print $socket $big;
$socket->flush;
ok((wait_requests($sink, 1))[0]->{body} eq $big, 'a big body comes whole');

($status, $head) = fetch($sink, 'GET', '/status/429?retry-after=7');
like("$status $head", qr/^429 .*\r\nRetry-After: 7\r/s, 'a status, and when to come again');
my $begin = time();
fetch($sink, 'GET', '/delay/0.2');
cmp_ok(time() - $begin, '>=', 0.2, 'an answer that takes its time');
my $echo = decode_json((fetch($sink, 'PATCH', '/echo', body => "caf\xc3\xa9"))[2]);
is_deeply([ @{$echo}{qw(method body)} ], [ 'PATCH', "caf\x{e9}" ], 'the request as answer');
like((fetch($sink, 'GET', '/headers'))[1], qr/X-Repeat: one.*x-repeat: two/s, 'headers that repeat');
is(length((fetch($sink, 'GET', '/body/100001'))[2]), 100001, 'a body of any size');
like((fetch($sink, 'GET', '/redirect/307?to=http://b/c'))[1], qr/ 307 .*Location: http:..b.c\r/s, 'a redirect');
is(join(' ', map { (fetch($sink, 'GET', '/flaky/2', headers => ["Idempotency-Key: $_"]))[0] } qw(a b a a b b)),
	'503 503 503 200 503 200', 'failures until it works, each key for itself');
is((fetch($sink, 'GET', '/gone'))[0], 410, 'a thing that has gone');
ok(!utf8::decode((fetch($sink, 'GET', '/invalid-utf8'))[2]), 'no UTF-8');
send_request($socket = connection_to($sink), 'HEAD', '/body/5', headers => ['Connection: close']);
like((read_until($socket, sub { 0 }))[0], qr/Length: 5\r\n\r\n$/, 'no body for HEAD, and a connection is closed if that is asked for');

my @waiting = map { send_request(connection_to($sink), 'GET', "/gate/$_") } qw(a a b);
wait_requests($sink, 3, qr/gate/);
open_gate($sink, 'a');
is((read_until($_, \&is_whole))[1], 'enough', 'an open gate lets through who waits') for @waiting[ 0, 1 ];
is((read_until($waiting[2], \&is_whole, 0.1))[1], 'timeout', 'and not who waits at another');
is((fetch($sink, 'GET', '/gate/a'))[0], 200, 'nor is it closed again');
is(scalar(aborted($sink)), 0, 'nobody has gone away');
close $waiting[2];
is((wait_aborted($sink, 1))[0]->{path}, '/gate/b', 'until one did');

my $port = $sink->{port};
stop_http_server($sink);
ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port), 'a server that is stopped refuses connections');
my $again = start_sink($dir, port => $port);
is((fetch($again, 'GET', '/'))[0], 200, 'another one can have its port');
stop_http_server($again);

my $own = start_sink($dir, answer => q{sub {
	my ($request) = @_;
	return unless $request->{path} =~ m{^/twice/(.*)};
	return (207, "$1 $1 $request->{body}", 'X-Own' => 'yes');
}});
($status, $head, $body) = fetch($own, 'POST', '/twice/a', body => 'b');
like("$status $head $body", qr/^207 .*X-Own: yes\r.* a a b$/s, "answers of a test's own");
is((fetch($own, 'GET', '/status/404'))[0], 404, 'beside the usual ones');
stop_http_server($own);

# ------------------------------------------------------------------------
# The fault server
# ------------------------------------------------------------------------

my $fault = start_fault_server($dir);

# What comes of a path within a time, until it is enough.
sub fault
{
	my ($path, $is_enough, $seconds) = @_;
	return read_until(send_request(connection_to($fault), 'GET', $path), $is_enough || sub { 0 }, $seconds);
}

is_deeply([ fault('/close') ], [ '', 'end' ], '/close');
is_deeply([ fault('/reset') ], [ '', 'reset' ], '/reset');
is_deeply([ fault('/never', undef, 0.1) ], [ '', 'timeout' ], '/never');
my ($got, $how) = fault('/reset-mid-body');
like("$how $got", qr/^reset .*Length: 20\r\n\r\n0123456789$/s, '/reset-mid-body');
($got, $how) = fault('/short-body');
like("$how $got", qr/^end .*Length: 20\r\n\r\n0123456789$/s, '/short-body');
like((fault('/bad-chunk', sub { $_[0] =~ /world/ }))[0], qr/hello\r\nzz\r\n/, '/bad-chunk');
like((fault('/not-http', sub { $_[0] =~ /\n/ }))[0], qr/^220 mail/, '/not-http');
($got, $how) = fault('/slow-loris', undef, 0.45);
like("$how $got", qr/^timeout .*\r\n\r\nx{2,5}$/s, '/slow-loris');
like((fault('/slow-head', undef, 0.3))[0], qr/X-Slow: x{1,4}$/, '/slow-head');
is((fault('/endless-body', sub { length $_[0] > 20_000_000 }))[1], 'enough', '/endless-body');
is((fault('/endless-headers', sub { length $_[0] > 5_000_000 }))[1], 'enough', '/endless-headers');
is((fault('/huge-header', sub { length $_[0] > 10_000_000 && is_whole($_[0]) }))[1], 'enough', '/huge-header');
is(scalar(() = (fault('/many-headers', \&is_whole))[0] =~ /^X-Many/mg), 100_000, '/many-headers');
is((fault('/continue-forever', sub { 3 <= (() = $_[0] =~ /100 Continue/g) }))[1], 'enough', '/continue-forever');
like((fault('/split-crlf', \&is_whole))[0], qr/X-Split: yes\r\n\r\nok$/, '/split-crlf');
like((fault('/control-bytes', \&is_whole))[0], qr/X-Control: a\x01\x1b\[31mb\xff\r/, '/control-bytes');
is(scalar(() = (fault('/two-lengths', \&is_whole))[0] =~ /^Content-Length/mg), 2, '/two-lengths');
like((fault('/no-reason', sub { $_[0] =~ /ok$/ }))[0], qr{^HTTP/1.1 200\n}, '/no-reason');
like((fault('/upgrade', sub { $_[0] =~ /\x02/ }))[0], qr{^HTTP/1.1 101 }, '/upgrade');
is((fault('/else', \&is_whole))[1], 'enough', 'any other path is answered');

foreach my $path ('/early-answer', '/early-close')
{
	$socket = connection_to($fault);
	send_request($socket, 'POST', $path, headers => ['Content-Length: 1000000'], unfinished => 1);
	like((read_until($socket, \&is_whole))[0], qr/ 413 .*no$/s, $path);
}

my ($bomb) = fault('/gzip-bomb', \&is_whole);
$bomb = substr $bomb, index($bomb, "\r\n\r\n") + 4;
cmp_ok(length($bomb), '<', 2_000_000, '/gzip-bomb is small');
my $inflate = Compress::Raw::Zlib::Inflate->new(-WindowBits => WANT_GZIP, -LimitOutput => 1, -Bufsize => 1 << 20);
my ($size, $piece, $state) = (0, '', Z_OK);
while ($state == Z_OK || $state == Z_BUF_ERROR)
{
	$state = $inflate->inflate($bomb, $piece);
	$size += length $piece;
	$piece = '';
}
is("$size " . ($state + 0), (1 << 30) . ' ' . (Z_STREAM_END + 0), 'and becomes a gigabyte');

$begin = time();
is((fetch($fault, 'GET', '/'))[0], 200, 'nobody else is kept waiting by all of these');
is((wait_requests($fault, 1, qr{^/never$}))[0]->{method}, 'GET', 'all of them are kept too');
stop_http_server($fault);

my $deaf = start_deaf_server($dir);
$socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $deaf->{port}, Proto => 'tcp', Blocking => 0);
is(scalar(IO::Select->new($socket)->can_write(0.3)), undef, 'a deaf server neither accepts nor refuses');
stop_http_server($deaf);

# ------------------------------------------------------------------------
# nginx
# ------------------------------------------------------------------------

my $behind = start_sink($dir);
my $nginx = start_tls_nginx($dir, sink => $behind);

# What openssl says of a port: the verdict on its certificate, and what nginx
# answers in HTTP/1.1.
sub tls
{
	my ($kind, @args) = @_;
	my $port = $nginx->{ports}->{$kind};
	my $out = `printf 'GET /of/$kind HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' |
		openssl s_client -ign_eof -connect 127.0.0.1:$port -CAfile $nginx->{ca} -verify_hostname localhost @args 2>&1`;
	my ($verdict) = $out =~ /Verify return code: \d+ \((.*)\)/;
	return ($verdict // "none: $out", $out);
}

my ($verdict, $out) = tls('good');
is($verdict, 'ok', 'nginx has a certificate of its CA');
like($out, qr{HTTP/1.1 200}, 'and answers');
is((wait_requests($behind, 1))[0]->{path}, '/of/good', 'by what is behind it');
is((tls('expired'))[0], 'certificate has expired', 'one that has expired');
is((tls('wrong_host'))[0], 'hostname mismatch', "one of another host");
like((tls('self_signed'))[0], qr/self[- ]signed certificate/, 'one of nobody');
like((tls('good', '-alpn', 'h2'))[1], qr/ALPN protocol: h2/, 'nginx speaks HTTP/2');
my ($logged) = grep { $_->{path} eq '/of/good' } wait_tls_requests($nginx, 4);
is_deeply(
	[ @{$logged}{qw(kind protocol method status)} ], [ 'good', 'HTTP/1.1', 'GET', 200 ],
	'its requests can be read');
like($logged->{tls}, qr/^TLSv1\.[23]$/, 'with TLS version');
like($logged->{connection}, qr/^\d+$/, 'and connection');
is((fetch({ port => $nginx->{ports}->{plain} }, 'GET', '/plain'))[0], 200, 'it does without TLS too');
my $nginx_pid = $nginx->{pid};
stop_http_server($nginx);
ok(!kill(0, $nginx_pid), 'and ends');
stop_http_server($behind);

# ------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------

my $resolver = make_resolver($dir);
set_host($resolver, 'rebind.example.com', '93.184.216.34', '127.0.0.1,::1');
set_host($resolver, 'hang.example.com', 'hang');
set_host($resolver, 'fail.example.com', 'fail');

# Another process's view of a name.
sub start_lookup
{
	my ($name, $family) = @_;
	my $code = q{
		my ($error, @found) = Socket::getaddrinfo($ARGV[0], "80",
			{ socktype => Socket::SOCK_STREAM(), family => $ARGV[1] eq "4" ? Socket::AF_INET() : 0 });
		print join ",", "$error", map { (Socket::getnameinfo($_->{addr}, Socket::NI_NUMERICHOST() | Socket::NI_NUMERICSERV()))[1, 2] } @found};
	return with_resolver($resolver, sub {
		open(my $pipe, '-|', $^X, '-MSocket', '-e', $code, $name, $family // '') or die "perl: $!";
		return $pipe;
	});
}

sub lookup
{
	my $pipe = start_lookup(@_);
	return scalar <$pipe> // '';
}

is(lookup('rebind.example.com'), ',93.184.216.34,80', 'a name has one address');
is(lookup('rebind.example.com'), ',127.0.0.1,80,::1,80', 'and then others');
is(lookup('REBIND.example.com', 4), ',127.0.0.1,80', 'which stay, those of one family too');
is(asked_for($resolver, 'rebind.example.com'), 2, 'calls are counted, by the name as it was asked for');
like(lookup('fail.example.com'), qr/not known|No address/, 'a name has none');
like(lookup('127.0.0.1'), qr/,127\.0\.0\.1,80/, 'others are asked of the system');
my $pending = start_lookup('hang.example.com');
sleep(0.01) until asked_for($resolver, 'hang.example.com');
ok(!IO::Select->new($pending)->can_read(0.2), 'a name hangs');
set_host($resolver, 'hang.example.com', '10.0.0.1');
is(scalar <$pending>, ',10.0.0.1,80', 'until it is told otherwise');

done_testing();
