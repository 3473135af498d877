# Copyright (c) 2026, jobsched contributors

# HTTP answers that are spoilt at random, on connections that are kept and on new
# ones. Each request ends, others' requests are answered meanwhile, nobody gets
# what was answered to another, and no process of the server dies.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use File::Spec;
use HttpServers;
use IO::Socket::INET;
use JobschedTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = attack_node('answers');
my $secret = secret_text();
my $sink = start_sink($node);

# Answers as they should be; what is spoilt is made of them.
my @sound = (
	"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"a\": \"b\"}\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX: y\r\n\r\n",
	"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:PORT/next\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nok",
	"HTTP/1.0 200 OK\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe4\xf6\xfc",
	"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 23\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0",
	"HTTP/1.1 200 OK\r\n X: folded first\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nX: y\r\n\tfolded\r\nContent-Length: 2\r\n\r\nok");
my @tokens = ("\r\n", "\n", "\r", ' ', "\t", "\0", ':', '0', '-1', '99999999999999999999', 'chunked', 'gzip', "\xff", "\x80",
	'HTTP/1.1 200 OK', 'Content-Length: 5', 'Transfer-Encoding: chunked', 'Location: http://0x7f.1/', 'Location: //[::1]/',
	'Location: http://2130706433/', 'Content-Encoding: deflate', 'Connection: keep-alive', "\x1f\x8b", 'charset="utf-16"');

sub spoil
{
	my ($bytes) = @_;

	foreach (1 .. whole(6))
	{
		my $at = whole(length($bytes) + 1);
		my $kind = whole(6);

		if ($kind == 0) { substr($bytes, $at, 1, chr(whole(256))) if $at < length $bytes }
		elsif ($kind == 1) { substr($bytes, $at, 1 + whole(20), '') if $at < length $bytes }
		elsif ($kind == 2) { substr($bytes, $at, 0, chosen(@tokens)) }
		elsif ($kind == 3) { substr($bytes, $at, 0, chosen(@tokens) x (1 + whole(2000))) }
		elsif ($kind == 4) { my $part = substr($bytes, $at, whole(60)); substr($bytes, $at, 0, $part x (1 + whole(8))) }
		else { $bytes = substr($bytes, 0, $at) . chosen(@sound) }
	}
	return $bytes;
}

# A server with one process for each connection. Answers come by the number in
# the request's path, so that what is sent does not depend on who comes first.
my @answers;
my $listener = IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "cannot listen: $!";
my $port = $listener->sockport;
my $count = 120;

my @rounds = rounds();
push @answers, (chance(0.4) ? chosen(@sound) : spoil(chosen(@sound))) =~ s/PORT/$port/gr for 1 .. $count * @rounds;
my @closes = map { chance(0.3) } @answers;

my $server = fork // die "cannot fork: $!";
if ($server == 0)
{
	# What it has of ours open would keep others waiting for our end.
	open STDIN, '<', File::Spec->devnull;
	open STDOUT, '>', File::Spec->devnull;
	open STDERR, '>', File::Spec->devnull;
	$SIG{CHLD} = 'IGNORE';
	while (my $connection = $listener->accept)
	{
		next if fork;
		close $listener;
		answer_all($connection);
		POSIX::_exit(0);
	}
	POSIX::_exit(0);
}
close $listener;
END { kill 'TERM', $server if $server }

sub answer_all
{
	my ($connection) = @_;
	my $buffer = '';

	$SIG{PIPE} = 'IGNORE';
	alarm 60;
	while (sysread($connection, $buffer, 65536, length $buffer))
	{
		while ($buffer =~ s/^(\w+) \/(\w+).*?\r\n\r\n//s)
		{
			my $what = $2;
			my $bytes = $what =~ /^\d+$/ ? $answers[$what] : "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

			syswrite($connection, $bytes);
			return if $what =~ /^\d+$/ && $closes[$what];
		}
	}
	return;
}

attack_sql($node, 'attacker', q{SELECT jobsched.http_get('http://127.0.0.1:1/', max_attempts => 1)});
attack_sql($node, 'victim', q{SELECT jobsched.http_get('http://127.0.0.1:1/', max_attempts => 1)});
until_true($node, 'postgres', q{SELECT count(*) = 1 FROM jobsched_internal.run}, 'both have made requests');
my $http_worker = http_worker_pid($node, 'postgres');

foreach my $round (@rounds)
{
	my $from = ($round - 1) * $count;
	my $to = $from + $count - 1;

	attack_sql($node, 'attacker', "SELECT jobsched.http_request('GET', 'http://127.0.0.1:$port/' || n, max_attempts => 1, max_redirects => 2, timeout => '3 s') FROM generate_series($from, $to) n");
	attack_sql($node, 'victim', "SELECT jobsched.http_request('POST', '$sink->{url}/text/$secret', max_attempts => 1) FROM generate_series(1, 20)");
	until_true($node, 'postgres', q{SELECT count(*) = 1 FROM jobsched_internal.run}, "round $round: all requests have ended");
}
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT status, ',') FROM jobsched.runs WHERE owner = 'victim' AND request ->> 'url' LIKE '%/text/%'}),
	'succeeded', 'the requests of others have succeeded');
is($node->safe_psql('postgres', qq{SELECT count(*) FROM jobsched.http_responses r JOIN jobsched.runs u USING (run_id) WHERE u.owner = 'attacker' AND r::text LIKE '%$secret%'}),
	'0', 'nobody got what was answered to another');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT status, ',') FROM jobsched.runs WHERE owner = 'attacker' AND status NOT IN ('succeeded', 'failed', 'timed_out')}),
	'', 'each request has ended as a server can end it');
is(http_worker_pid($node, 'postgres'), $http_worker, 'the process of requests is the one that it was');
stop_http_server($sink);
check_unharmed($node);
done_testing();
