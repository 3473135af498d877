# Copyright (c) 2026, jobsched contributors

# Answers of odd shapes, packed, and in other encodings than the database's: the
# server goes on, and what is recorded can be read.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Compress::Zlib qw(memGzip);
use HttpServers;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $superuser = getpwuid($<);
my $node = http_node('http_answers');
my $server = start_fault_server($node);
my $url = $server->{url};

sub psql
{
	my ($db, $sql) = @_;
	return session_sql($node, $db, $superuser, $sql);
}

# What becomes of a request to this path of the server.
sub ask
{
	my ($db, $path) = @_;
	my $run_id = psql($db, "SELECT jobsched.http_request('GET', '$url/$path', max_attempts => 1, timeout => '30 s')");

	return ($run_id, end_of($node, $db, $run_id));
}

sub answered
{
	my ($db, $columns, $headers, $body) = @_;
	my $bytes = "HTTP/1.1 200 OK\r\n${headers}Content-Length: " . length($body) . "\r\n\r\n$body";
	my ($run_id, $end) = ask($db, 'raw/' . unpack('H*', $bytes));

	is($end, 'succeeded', "$db: a request is answered") or diag $headers;
	return psql($db, "SELECT $columns FROM jobsched.http_responses WHERE run_id = $run_id");
}

sub since_start
{
	return psql('postgres', 'SELECT pg_postmaster_start_time(), pid FROM pg_stat_activity WHERE backend_type IN (\'jobsched http\', \'checkpointer\') ORDER BY 2');
}

# ------------------------------------------------------------------------
# Odd shapes
# ------------------------------------------------------------------------

my $two = "Content-Length: 2\r\n\r\nok";
my @malformed = ("HTTP/1.1 200 OK\r\n X: y\r\n$two", "HTTP/1.1 200 OK\r\n\tX: y\r\n$two", "HTTP/1.1 404 No\r\n  \r\n$two");

ask('postgres', 'healthy');
my $since = since_start();
for my $round (1 .. 3)
{
	for my $bytes (@malformed)
	{
		is((ask('postgres', 'healthy'))[1], 'succeeded', 'an ordinary response');
		my ($run_id, $end) = ask('postgres', 'raw/' . unpack('H*', $bytes));
		# newer versions of libcurl do not mind
		like($end, qr/^(failed network 08P01|succeeded|failed http_status JS404)$/, 'one whose first header is a folded line');
		like(psql('postgres', "SELECT error FROM jobsched.runs WHERE run_id = $run_id AND reason = 'network'"),
			qr/^(the response is (malformed|not valid HTTP))?$/, 'and why');
	}
}
is(since_start(), $since, 'the server and its process go on');

# What is more than the answer to one request is not that to another.
my $twice = unpack 'H*', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 500 No\r\n$two";
for (1 .. 5)
{
	is((ask('postgres', "raw/$twice"))[1], 'succeeded', 'two answers at once');
	is((ask('postgres', 'healthy'))[1], 'succeeded', 'the second is nobody\'s');
}

# ------------------------------------------------------------------------
# Packed bodies
# ------------------------------------------------------------------------

my $text = '{"packed": "' . 'very ' x 100 . '"}';
my $gzip = memGzip($text);

is(answered('postgres', 'body, body_size, truncated', "Content-Encoding: gzip\r\n", $gzip), "$text|" . length($text) . '|f', 'gzip is unpacked');
is(answered('postgres', q{body, encode(body_bytes, 'hex')}, "Content-Encoding: br\r\n", $gzip), '|' . unpack('H*', $gzip), 'what is not known is left');
is(answered('postgres', q{encode(body_bytes, 'hex')}, "Content-Encoding: gzip, gzip\r\n", memGzip($gzip)), unpack('H*', memGzip($gzip)), 'and several layers');
is(answered('postgres', 'body', "Content-Encoding: gzip\r\n", 'plain'), 'plain', 'and what is not packed after all');
is(answered('postgres', 'octet_length(body), truncated', "Content-Encoding: gzip\r\n", memGzip('x' x 600_000)), '262144|t', 'what is too much is not unpacked');
psql('postgres', "SELECT jobsched.set_secret('s', 'confidential')");
my $echo = unpack 'H*', "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: " . length(memGzip('it is confidential')) . "\r\n\r\n" . memGzip('it is confidential');
my $run_id = psql('postgres', qq{SELECT jobsched.http_request('GET', '$url/raw/$echo', headers => '{"X-Secret": "{{secret.s}}"}')});
end_of($node, 'postgres', $run_id);
is(psql('postgres', "SELECT body FROM jobsched.http_responses WHERE run_id = $run_id"), 'it is ***', 'a secret that comes back packed is not shown');

# There is more than one way to escape a character.
psql('postgres', qq{SELECT jobsched.set_secret('odd', 'ab"cd/ef+gh!\xc3\xa9')});
foreach my $form ('ab\"cd\/ef+gh!\u00e9', 'ab\u0022cd/ef\u002Bgh!\u00E9', 'ab%22cd%2Fef%2bgh!%C3%A9', 'ab%22cd%2fef%2bgh%21%c3%a9', '%2561b%2522cd/ef%252Bgh!%25c3%25a9')
{
	my $body = "{\"a\": \"\\\\ 5% $form\", \"b\": \"\\n\"}";
	my $back = unpack 'H*', "HTTP/1.1 200 OK\r\nX-Back: it is ab\"cd/ef+gh!\xe9.\r\nContent-Length: " . length($body) . "\r\n\r\n$body";

	$run_id = psql('postgres', qq{SELECT jobsched.http_request('GET', '$url/raw/$back', headers => '{"X-Secret": "{{secret.odd}}"}')});
	end_of($node, 'postgres', $run_id);
	is(psql('postgres', "SELECT body FROM jobsched.http_responses WHERE run_id = $run_id"), '{"a": "\\\\ 5% ***", "b": "\\n"}', "nor is one that comes back as $form");
	like(psql('postgres', "SELECT headers FROM jobsched.http_responses WHERE run_id = $run_id"), qr/"it is \*\*\*\."/, 'nor in ISO 8859-1 in a header');
}

# ------------------------------------------------------------------------
# Encodings
# ------------------------------------------------------------------------

my $cafe = "caf\xc3\xa9";    # in UTF-8, as the client wants it
my $kanji = "\xe6\xbc\xa2\xe5\xad\x97";
my $bytes = q{body, encode(body_bytes, 'hex')};

# Content-Type, body, and what the client sees of it; undef: the bytes.
my @bodies = (
	[ 'text/plain; charset=utf-8', $cafe, $cafe ],
	[ 'text/plain; charset=iso-8859-1', "caf\xe9", $cafe ],
	[ 'text/plain; charset="ISO-8859-1"; format=flowed', "caf\xe9", $cafe ],
	[ 'text/plain;format=flowed ;CHARSET=Windows-1252', "caf\xe9", $cafe ],
	[ 'text/plain; charset=us-ascii', 'plain', 'plain' ],
	[ 'text/plain; charset=no-such', 'plain', 'plain' ],
	[ 'text/plain; charset=', 'plain', 'plain' ],
	[ 'text/plain; charset="', 'plain', 'plain' ],
	[ 'text/plain; charset=SQL_ASCII', "caf\xe9", undef ],
	[ 'application/json', qq{"$cafe"}, qq{"$cafe"} ],
	[ 'application/json', "\"caf\xe9\"", undef ],
	[ 'text/plain; charset=utf-8', "caf\xe9", undef ],
	[ 'text/plain; charset=utf-8', "a\0b", undef ],
	[ 'text/plain; charset=iso-8859-1', "a\0b", undef ],
	[ 'text/plain; charset=utf-16', "\xff\xfea\0", undef ],
	[ 'text/plain; charset=shift_jis', "\x8a", undef ]);
my @japanese = ([ 'text/plain; charset=Shift_JIS', "\x8a\xbf\x8e\x9a", $kanji ], [ 'text/plain; charset=euc-jp', "\xb4\xc1\xbb\xfa", $kanji ],
	[ 'text/plain', $kanji, $kanji ]);

sub check_body
{
	my ($db, $type, $body, $text) = @_;
	my $hex = unpack 'H*', $body;

	is(answered($db, $bytes, "Content-Type: $type\r\n", $body), defined $text ? "$text|" : "|$hex", "$db: $type, $hex");
	return;
}

my $rows = q{SELECT count(*), count(headers::text), count(body) > 0 FROM jobsched.http_responses};

for my $encoding ('UTF8', 'LATIN1', 'EUC_JP', 'SQL_ASCII')
{
	my $db = lc $encoding;

	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	create_extension($node, $db);
	# Whoever may make conversions: nothing of his is called.
	psql($db, q{SET client_encoding = 'UTF8'});
	psql($db, qq{CREATE DEFAULT CONVERSION public.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8}) if $encoding ne 'SQL_ASCII';

	check_body($db, @{$_}) for @bodies;
	check_body($db, $_->[0], $_->[1], $encoding eq 'LATIN1' ? undef : $_->[2]) for @japanese;
	check_body($db, 'text/plain; charset=euc-kr', "\xb0\xa1", $encoding eq 'UTF8' || $encoding eq 'SQL_ASCII' ? "\xea\xb0\x80" : undef);

	my $found = answered($db, q{headers -> 0 ->> 1, headers -> 1 ->> 1, headers -> 2 ->> 0}, "A: $cafe\r\nB: caf\xe9\r\nX-\xff: 1\r\n", 'ok');
	is($found, "$cafe|$cafe|X-\xc3\xbf", "$db: headers of UTF-8 and of ISO 8859-1");
	is(answered($db, q{headers -> 0 ->> 1}, "A: \xea\xb0\x80!\r\n", 'ok'), $encoding eq 'UTF8' || $encoding eq 'SQL_ASCII' ? "\xea\xb0\x80!" : '?!',
		"$db: a character of a header that the database does not have");

	# What is cut is cut between characters.
	my ($cut) = answered($db, 'octet_length(body) % 2, truncated', "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", memGzip('x' . "\xc3\xa9" x 200_000));
	like($cut, qr/\|t$/, "$db: a body that ends within a character");
	is(psql($db, 'SELECT count(*) FROM jobsched.http_responses WHERE truncated AND body IS NOT NULL'), '1', "$db: is text all the same");
	for my $client ($encoding, 'UTF8')
	{
		my ($all, $readable, $some) = split /\|/, $node->safe_psql($db, "SET client_encoding = '$client'; $rows");
		is($readable, $all, "$db: all rows can be read by clients with $client");
		is($node->psql($db, "SET client_encoding = '$client'; SELECT body, headers FROM jobsched.http_responses WHERE length(body) < 1000"), 0, "$db: and shown")
		  if $client eq 'UTF8';
	}
}

end_sessions($node);
$node->stop;
done_testing();
