# Copyright (c) 2026, jobsched contributors

# What people look at in psql: no line has more than 120 columns, whatever names and
# numbers there are; the variables of examples/jobsched.psqlrc work.  And error_pattern()
# in the encodings of other databases.

use strict;
use warnings;
use utf8;

use Encode qw(decode encode);
use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('psql', conf => "timezone = 'UTC'\njobsched.max_workers = 2\n");
my $wide = '漢字かな交じり文' x 8;    # 64 characters of two columns, 192 bytes
my $role = '長い名前の役割です' x 2;

create_extension($node, $db);

sub utf8_sql { my ($sql) = @_; return decode('UTF-8', $node->safe_psql($db, encode('UTF-8', $sql))) }

# What psql writes, as people see it; %param: what the session reads first, and who it is.
sub screen
{
	my ($sql, %param) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PSQLRC} = $param{psqlrc} if $param{psqlrc};
	local $ENV{PGCLIENTENCODING} = 'UTF8';
	local $ENV{PAGER} = '';
	my @command = ('psql', $param{psqlrc} ? () : '-X', '-d', $node->connstr($db), '-v', 'ON_ERROR_STOP=1', '-P', 'pager=off', @{ $param{options} || [] });

	IPC::Run::run(\@command, '<', \encode('UTF-8', $sql), '>', \$out, '2>', \$err);
	is($err, '', 'psql has nothing to say') unless $param{may_fail};
	return decode('UTF-8', $out);
}

# As terminals count: what is here is of one or two.
sub columns
{
	my ($line) = @_;
	my $two = () = $line =~ /[\x{1100}-\x{115f}\x{2e80}-\x{a4cf}\x{ac00}-\x{d7a3}\x{ff00}-\x{ff60}]/g;
	return length($line) + $two;
}

sub widest
{
	my ($screen) = @_;
	my ($most) = sort { $b <=> $a } map { columns($_) } split /\n/, $screen;
	return $most;
}

# ------------------------------------------------------------------------
# Spans of time, and what fits
# ------------------------------------------------------------------------

my %spans = (
	'0' => '0 ms', '0.0004 s' => '0 ms', '3.2 ms' => '3 ms', '999.4 ms' => '999 ms', '999.6 ms' => '1.0 s', '3.24 s' => '3.2 s',
	'59.94 s' => '59.9 s', '59.96 s' => '1 min 0 s', '250 s' => '4 min 10 s', '3599.4 s' => '59 min 59 s', '3599.6 s' => '1 h 0 min',
	'125 min' => '2 h 5 min', '23:59:29' => '23 h 59 min', '23:59:31' => '1 d 0 h', '3 days 4 h' => '3 d 4 h', '1 month' => '30 d 0 h',
	'-3.2 s' => '-3.2 s', '-0.0004 s' => '0 ms', '-0.0006 s' => '-1 ms', '-100 days' => '-100 d 0 h');

is($node->safe_psql($db, "SELECT jobsched_internal.time_text('$_')"), $spans{$_}, "$_ as people say it") for sort keys %spans;
for my $span ('178000000 years', '-178000000 years', '2147483647 days 2562047788:00:54.775807', '-2147483648 days -2562047788:00:54')
{
	like($node->safe_psql($db, "SELECT jobsched_internal.time_text('$span')"), qr/^-?\d+ d \d+ h$/, "$span is a span too");
	like($node->safe_psql($db, "SELECT jobsched_internal.milliseconds('$span')"), qr/^-?\d[\d.e+]+$/, '... and a number');
}
is($node->safe_psql($db, q{SELECT jobsched_internal.milliseconds('1.2345678 s'), jobsched_internal.milliseconds('1 day 1 us')}), '1234.568|86400000.001', 'milliseconds');

my @fits = (
	[ 'abc', 3, 'abc' ], [ 'abcd', 3, '...' ], [ 'abcdef', 5, 'ab...' ], [ 'abc', 0, 'abc' ], [ 'abcd', -5, '...' ], [ '漢字', 4, '漢字' ], [ '漢字漢', 5, '漢...' ],
	[ '漢字漢', 4, '...' ], [ '', 5, '' ], [ "a\nb\tc", 9, 'a b c' ], [ "a\x{85}b", 9, 'a b' ], [ "e\x{301}e", 3, "e\x{301}e" ]);
is(utf8_sql("SELECT jobsched_internal.fit('$_->[0]', $_->[1])"), $_->[2], "what fits into $_->[1] columns") for @fits;
is($node->safe_psql($db, q{SELECT length(jobsched_internal.fit(repeat('x', 100000000), 100))}), '100', 'of much no more is read');

# ------------------------------------------------------------------------
# An empty database, and one with everything in it
# ------------------------------------------------------------------------

like(screen('TABLE jobsched.overview'), qr/^ health +\| +0 \| ok *\n jobs +\| +0 \|/m, 'there is an overview of nothing');
like(screen('TABLE jobsched.top'), qr/^\(0 rows\)$/m, 'and nothing runs');

utf8_sql(qq{CREATE ROLE "$role" LOGIN; GRANT USAGE ON SCHEMA jobsched TO "$role"});
utf8_sql(qq{
	SET ROLE "$role";
	SELECT jobsched.create_job('$wide', '0 0 1 1 *', 'SELECT pg_sleep(3600)'),
		jobsched.create_job('a$wide', command => 'SELECT jobsched.progress(9223372036854775807, 1), pg_sleep(3600)'),
		jobsched.create_job('fails', command => \$\$DO 'BEGIN RAISE ''$wide \%'', 17; END'\$\$),
		jobsched.create_job('fails$wide', command => \$\$DO 'BEGIN RAISE ''$wide \%'', 17; END'\$\$),
		jobsched.create_job('b' || repeat('x', 190), '0 0 1 1 *', 'SELECT 1'), jobsched.create_job('c', '0 0 1 1 *', 'SELECT 1')});
utf8_sql(qq{
	SET ROLE "$role";
	SELECT jobsched.trigger('fails'), jobsched.trigger('fails$wide')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE status = 'failed'}, '2', 'two runs have failed');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.jobs WHERE consecutive_failures > 0}, '2', 'and their jobs show it');
$node->safe_psql($db, q{SELECT setval('jobsched_internal.run_id_seq', 9000000000000000000)});
utf8_sql(qq{
	SET ROLE "$role";
	SELECT jobsched.trigger('a$wide'), jobsched.trigger('$wide');
	SELECT jobsched.trigger(name) FROM jobsched.jobs, generate_series(1, 3) WHERE name !~ '^fails'});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running WHERE progress_done IS NOT NULL OR job_name !~ '^a'}, '2', 'two runs are executed');

my $overview = screen('TABLE jobsched.overview');
my $top = screen('TABLE jobsched.top');

cmp_ok(widest($overview), '<=', 120, 'overview: no line has more than 120 columns') or diag encode('UTF-8', $overview);
cmp_ok(widest($overview), '>', 100, '... and they are used');
cmp_ok(widest($top), '<=', 120, 'top: neither') or diag encode('UTF-8', $top);
like($top, qr/^ 9\d{18} \| a漢字.*\.\.\. \| 長い.*\.\.\. +\| running 100 % +\| [\d.]+ m?s +\| \d+ *$/m, 'top has a run, its job, owner, progress, time and process');
like($top, qr/\| (?:assigned|waiting_for_worker) +\|/, '... and what waits for a worker');
is(join(' ', map { /^ (\S[^|]*?) +\|/ } split /\n/, $overview),
	'health jobs failing jobs running queue due workers failed in 1 hour failed in 1 day next', 'the rows of overview');
like($overview, qr/^ jobs +\| +6 \| active 6 *$/m, 'jobs by state');
like($overview, qr/^ failing jobs +\| +2 \| fails 1 times, fails漢/m, 'jobs that fail');
like($overview, qr/^ failed in 1 hour +\| +2 \| fails 1, fails漢/m, 'failures');
like($overview, qr/^ running +\| +2 \| longest: /m, 'what runs');

# the longest first
my @ms = split /\n/, $node->safe_psql($db, q{SELECT elapsed_ms FROM jobsched.running ORDER BY elapsed DESC});
cmp_ok($ms[0], '>=', $ms[1], 'elapsed_ms is a number');
is(decode('UTF-8', $node->safe_psql($db, q{SELECT run_id FROM jobsched.top LIMIT 2})),
	$node->safe_psql($db, q{SELECT run_id FROM jobsched.running ORDER BY started_at, run_id}), 'top: what has run longest is first');

# by rights
$node->safe_psql($db, q{CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA jobsched TO stranger});
my $seen = screen('TABLE jobsched.overview; TABLE jobsched.top', options => [ '-U', 'stranger' ]);
like($seen, qr/^ jobs +\| +0 \|.*^ running +\| +0 \|.*^ failed in 1 day +\| +0 \|.*^\(0 rows\)$/ms, 'a stranger sees numbers of nothing');
unlike($seen, qr/漢/, '... and no name');

# ------------------------------------------------------------------------
# The snippet
# ------------------------------------------------------------------------

$node->safe_psql($db, q{
	INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at,
		queued_at, started_at, finished_at, reason, error)
	SELECT 9200000000000000000, 107, 1, job_id, 'postgres'::regrole, 0, 0, 'failed', 'trigger', now(), now(), now(), now(), 'error', E'one\ntwo'
	FROM jobsched.create_job('two lines', command => 'SELECT 1') job_id});

my $snippet = "$FindBin::Bin/../../examples/jobsched.psqlrc";
my @variables = slurp_file($snippet) =~ /^\\set (\w+) /mg;
my @said = slurp_file($snippet) =~ /^--\t:(\w+)/mg;

is("@said", "@variables", 'the comment of the snippet has all its variables');
for my $variable (@variables)
{
	my $screen = screen(":$variable\n", psqlrc => $snippet);
	like($screen, qr/^\(\d+ rows?\)$/m, ":$variable works") or diag encode('UTF-8', $screen);
}
is(screen(":overview\n", psqlrc => $snippet) =~ s/\d//gr =~ s/ +/ /gr, screen('TABLE jobsched.overview') =~ s/\d//gr =~ s/ +/ /gr, ':overview is that');
like(screen(":failures\n", psqlrc => $snippet), qr/^ +2 \| 漢.*\| P0001 +\| fails, fails漢/m, ':failures has patterns');
like(screen(":runs\n", psqlrc => $snippet), qr/^ +\d+ \| two lines +\| failed .*\| one two *$/m, ':runs has a line for each');
like(screen(":jobs\n", psqlrc => $snippet), qr/^ fails +\| active +\| +\| failed +\| +[\d.]+ \| F *$/m, ':jobs has jobs');

# ------------------------------------------------------------------------
# Of a part it says that it is one
# ------------------------------------------------------------------------

$node->safe_psql($db, q{CREATE ROLE many LOGIN; GRANT USAGE ON SCHEMA jobsched TO many});
$node->safe_psql($db, q{
	SET ROLE many;
	SELECT count(jobsched.create_job('m' || i, command => 'SELECT 1')) FROM generate_series(1, 10001) i;
	SELECT count(jobsched.trigger('m1', run_at => now() + interval '1 day')) FROM generate_series(1, 10001) i;
	RESET ROLE;
	INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at,
		queued_at, started_at, finished_at, reason, error)
	SELECT i, 107, 1, job_id, 'many'::regrole, 0, 0, 'failed', 'trigger', now(), now(), now(), now(), 'error', 'x'
	FROM jobsched.jobs, generate_series(100001, 110001) i WHERE name = 'm1'});
$seen = screen('TABLE jobsched.overview', options => [ '-U', 'many' ]);
like($seen, qr/^ jobs +\| 10000 \| of the first 10000: active 10000 *$/m, 'of jobs');
like($seen, qr/^ failing jobs +\| +0 \| of the first 10000: none *$/m, '... and those that fail');
like($seen, qr/^ queue +\| 10000 \| of the oldest 10000: not_due 10000 *$/m, 'of runs');
like($seen, qr/^ due +\| +0 \| of the oldest 10000: none *$/m, '... and those that are due');
like($seen, qr/^ failed in $_ +\| 10000 \| of the newest 10000: m1 10000 *$/m, "of those that failed in $_") for '1 hour', '1 day';

# ------------------------------------------------------------------------
# Other encodings
# ------------------------------------------------------------------------

my %encodings = (
	LATIN1 => [ 'iso-8859-1', 'Wert «x 17» fehlt für 5 €' =~ s/ €//r, 'Wert <text> fehlt für <n>' ],
	WIN1252 => [ 'cp1252', 'Wert „x“ fehlt für 5 €, “y” und ‚z‘', 'Wert <text> fehlt für <n> €, <text> und <text>' ],
	EUC_JP => [ 'euc-jp', '値"\\値"は12件', '値<text>は<n>件' ],
	KOI8R => [ 'koi8-r', 'строка "х" 17', 'строка <text> <n>' ],
	SQL_ASCII => [ 'iso-8859-1', 'Wert «x» "y" 5', 'Wert «x» <text> <n>' ],
	MULE_INTERNAL => [ 'us-ascii', 'value "y" 5', 'value <text> <n>' ]);

for my $encoding (sort keys %encodings)
{
	my ($name, $message, $pattern) = @{ $encodings{$encoding} };
	my $base = 'in_' . lc $encoding;
	my $hex = unpack 'H*', encode($name, $message);
	my $call = "jobsched_internal.error_pattern(convert_from('\\x$hex', '$encoding'))";

	$node->safe_psql($db, "CREATE DATABASE $base TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($base, 'CREATE EXTENSION jobsched');
	is(decode($name, pack 'H*', $node->safe_psql($base, "SELECT encode(convert_to($call, '$encoding'), 'hex')")), $pattern, "$encoding: pattern");
	# whatever bytes are text there
	is($node->safe_psql($base, qq{
		DO \$\$
		DECLARE
			t text;
		BEGIN
			FOR a IN 1..255 LOOP
				FOR b IN 1..255 BY 3 LOOP
					BEGIN
						t := convert_from(('\\x' || lpad(to_hex(a), 2, '0') || lpad(to_hex(b), 2, '0') || '3122' || lpad(to_hex(a), 2, '0') || lpad(to_hex(b), 2, '0'))::bytea, '$encoding');
						PERFORM jobsched_internal.error_pattern(t), jobsched_internal.fit(t, 4), jobsched_internal.fit(t, 5);
					EXCEPTION WHEN character_not_in_repertoire THEN
					END;
				END LOOP;
			END LOOP;
		END \$\$; SELECT 'done'}), 'done', "$encoding: whatever is text");
}

$node->stop;
done_testing();
