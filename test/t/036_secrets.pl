# Copyright (c) 2026, jobsched contributors

# A secret's value is nowhere but in its table: not in the log, not with errors,
# not in pg_stat_activity, not in a dump.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = jobsched_node('main', conf => "log_statement = none\nlog_min_error_statement = error\nlog_error_verbosity = verbose\nlog_parameter_max_length_on_error = -1\n");

create_extension($node, $db);
$node->safe_psql($db, 'CREATE ROLE keeper LOGIN; CREATE ROLE somebody LOGIN; GRANT USAGE ON SCHEMA jobsched TO keeper');
$node->safe_psql($db, q{CREATE FUNCTION keep(name text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN PERFORM jobsched.set_secret(name, 'within-the-function'); END $$});

# ------------------------------------------------------------------------
# Errors
# ------------------------------------------------------------------------

my $start = log_size($node);

for my $case (
	[ 'bad name', q{SELECT jobsched.set_secret('bad name', 'plain-in-statement')}, qr/invalid name of a secret/ ],
	[ 'too long', q{SELECT jobsched.set_secret('long', repeat('plain-in-statement', 1000))}, qr/has 18000 bytes/ ],
	[ 'no such owner', q{SELECT jobsched.set_secret('name', 'plain-in-statement', 'nobody')}, qr/role "nobody" does not exist/ ],
	[ 'not the owner', q{SELECT jobsched.set_secret('name', 'plain-in-statement', 'somebody')}, qr/42501/, 'keeper' ],
	[ 'read only', q{SET default_transaction_read_only = on; SELECT jobsched.set_secret('name', 'plain-in-statement')}, qr/read-only/ ],
	[ 'in a function', q{SELECT keep('bad name')}, qr/invalid name of a secret/ ],
	[ 'in a block', q{DO $$ BEGIN PERFORM jobsched.set_secret('bad name', 'plain-in-statement'); END $$}, qr/invalid name of a secret/ ],
	[ 'a parameter', q{SELECT jobsched.set_secret($1, $2) \bind 'bad name' 'plain-in-statement' \g}, qr/invalid name of a secret/ ],
	[ 'an error after it', q{SELECT jobsched.set_secret('name', 'plain-in-statement'), 1 / (n - 1) FROM generate_series(1, 1) n}, qr/division by zero/ ],
	[ 'an error in a later statement of the same query', q{SELECT jobsched.set_secret('name', 'plain-in-statement')\; SELECT 1 / 0}, qr/division by zero/ ])
{
	my ($what, $sql, $message, $role) = @$case;

	next if $sql =~ /\\bind/ && $node->pg_version < 16;
	my $error = error_of($node, $db, $sql, $role);
	like($error, $message, "$what: an error");
	unlike($error, qr/plain-in-statement|within-the-function/, "$what: which does not show the value");
}
is($node->safe_psql($db, q{SELECT count(*) FROM jobsched.secrets}), '0', 'nothing was kept');
unlike(log_since($node, $start), qr/plain-in-statement|within-the-function/, 'the log does not show the value');
like(log_since($node, $start), qr/STATEMENT:  SELECT jobsched\.set_secret\(\.\.\.\)/, 'but that it was set_secret()');

# ------------------------------------------------------------------------
# Success
# ------------------------------------------------------------------------

$start = log_size($node);
my $session = $node->background_psql($db);
$session->query_safe(q{SELECT jobsched.set_secret('kept', 'quiet-value')});
is($node->safe_psql($db, q{SELECT query FROM pg_stat_activity WHERE query ~ 'secret' AND pid <> pg_backend_pid()}),
	'SELECT jobsched.set_secret(...)', 'pg_stat_activity shows what it was, and not the value');
$session->quit;
unlike(log_since($node, $start), qr/quiet-value/, 'nor does the log');

# ------------------------------------------------------------------------
# Dumps
# ------------------------------------------------------------------------

$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $db ], 'pg_dump works');
unlike(slurp_file("$dir/plain.sql"), qr/quiet-value/, 'a dump has no value');
$node->command_ok([ 'pg_dumpall', '-f', "$dir/all.sql" ], 'pg_dumpall works');
unlike(slurp_file("$dir/all.sql"), qr/quiet-value/, 'nor has one of everything');
is($node->safe_psql($db, q{SELECT value FROM jobsched_internal.secret}), 'quiet-value', 'it is kept');

# ------------------------------------------------------------------------
# Encodings: requests are UTF-8, whatever the database is
# ------------------------------------------------------------------------

for my $encoding ('UTF8', 'LATIN1', 'SQL_ASCII')
{
	my $name = lc $encoding;
	$node->safe_psql($db, "CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	create_extension($node, $name);
	$node->safe_psql($name, q{CREATE FUNCTION render(definition jsonb, of_run boolean, args jsonb, secrets jsonb, more jsonb)
		RETURNS jsonb LANGUAGE c AS 'jobsched', 'jobsched_http_render'});
	is($node->safe_psql($name, q{SET client_encoding = 'UTF8';
		SELECT render('{"url": "https://example.com/ä?{{secret.s}}", "body_text": "ä"}', false, NULL, '{"s": "sé{}cret"}', NULL)->>'url'}),
		'https://example.com/%C3%A4?s%C3%A9%7B%7Dcret', "$encoding: a URL is UTF-8");
}
my $error = error_of($node, 'sql_ascii', q{SELECT jobsched.set_secret('bytes', E'abcd\\xff')});
like($error, qr/22021: the value of secret "bytes" is not valid UTF-8/, 'bytes of no encoding are refused as a secret');
unlike($error, qr/0xff/, 'and not shown');
$error = error_of($node, 'sql_ascii', q{SELECT render(jsonb_build_object('url', 'https://example.com', 'headers', jsonb_build_object('A', E'\\xff')), false, NULL, '{}', NULL)});
like($error, qr/22021: header "A" is not valid UTF-8/, 'nor in a header');

check_log($node);
$node->stop;
done_testing();
