# Copyright (c) 2026, jobsched contributors

# Every column of every view, in queries that are put together at random around
# functions that tell what they are given. No value of another role's rows may
# reach them, and they are called no more often than there are rows to see.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = attack_node('views');
my $secret = secret_text();
my @views = split /\n/, $node->safe_psql('postgres', q{
	SELECT viewname FROM pg_views WHERE schemaname = 'jobsched' AND viewname <> 'health' ORDER BY 1});

cmp_ok(scalar(@views), '>', 8, 'there are views');

# Rows of the victim in each view: runs that have ended in each way, and their logs.
attack_sql($node, 'victim', qq{
	SELECT jobsched.create_job('ok', command => 'SELECT ''$secret''');
	SELECT jobsched.create_job('bad', command => 'DO \$\$ BEGIN RAISE EXCEPTION ''$secret'' USING DETAIL = ''$secret'', HINT = ''$secret''; END \$\$',
		max_attempts => 2, backoff_base => '1 ms');
	SELECT jobsched.create_job('web', url => 'http://127.0.0.1:1/$secret', max_attempts => 1);
	SELECT jobsched.trigger(j, args => '{"s": "$secret"}', keys => '{user:$secret}', idempotency_key => '$secret' || i)
	FROM unnest('{ok,bad,web}'::text[]) j, generate_series(1, 3) i});
until_true($node, 'postgres', q{SELECT count(*) = 1 FROM jobsched_internal.run}, 'all runs but the one that waits have ended');
attack_sql($node, 'attacker', q{
	SELECT jobsched.trigger('attacker_job');
	CREATE TABLE told (what text);
	CREATE FUNCTION tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
	BEGIN INSERT INTO told VALUES ($1); RETURN $1 IS NULL OR $1 <> 'x'; END $$;
	CREATE FUNCTION tell_and_fail(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
	BEGIN IF $1 LIKE '%only-the-victim%' THEN RAISE 'it is %', $1; END IF; RETURN true; END $$;
	CREATE FUNCTION tell_pair(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
	BEGIN INSERT INTO told VALUES ($1), ($2); RETURN true; END $$;
	CREATE OPERATOR ~<< (LEFTARG = text, RIGHTARG = text, PROCEDURE = tell_pair, RESTRICT = eqsel, JOIN = eqjoinsel)});
until_true($node, 'postgres', q{SELECT count(*) = 1 FROM jobsched_internal.run}, 'the attacker has a run of its own');

my %columns;
foreach my $view (@views)
{
	$columns{$view} = [ split /\n/, $node->safe_psql('postgres',
		"SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'jobsched.${view}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum") ];
}

# Queries of a view, each with one function on one column.
sub query
{
	my ($view, $column) = @_;
	my $other = chosen(@{ $columns{$view} });
	my $limit = chance(0.3) ? 'LIMIT 5' : '';
	my $order = chance(0.3) ? "ORDER BY ${other}::text" : '';
	my $settings = chance(0.5) ? '' : 'SET enable_seqscan = off; SET enable_material = off; SET plan_cache_mode = force_generic_plan; ';

	return $settings . chosen(
		"SELECT count(*) FROM (SELECT 1 FROM jobsched.$view v WHERE tell(v.${column}::text) $order $limit) x",
		"SELECT count(*) FROM (SELECT 1 FROM jobsched.$view v WHERE NOT tell(v.${column}::text) OR tell(v.${other}::text) $order $limit) x",
		"SELECT count(*) FROM jobsched.$view v WHERE tell_and_fail(v.${column}::text)",
		"SELECT count(*) FROM jobsched.$view v WHERE v.${column}::text ~<< 'q'",
		"SELECT count(*) FROM (VALUES ('a'), ('b')) l (t) LEFT JOIN jobsched.$view v ON tell_pair(l.t, v.${column}::text)",
		"SELECT count(*) FROM jobsched.$view v JOIN jobsched.$view w ON tell_pair(v.${column}::text, w.${other}::text)",
		"SELECT count(*) FROM (SELECT v.${column}::text AS c FROM jobsched.$view v GROUP BY 1 HAVING tell(v.${column}::text)) x",
		"SELECT count(*) FROM (SELECT DISTINCT v.${column}::text AS c FROM jobsched.$view v OFFSET 0) x WHERE tell(c)",
		"SELECT bool_or(tell(v.${column}::text)) FROM jobsched.$view v",
		"SELECT count(*) FROM jobsched.$view v WHERE EXISTS (SELECT FROM jobsched.$view w WHERE tell_pair(w.${column}::text, v.${other}::text))",
		"WITH c AS (SELECT * FROM jobsched.$view v WHERE tell(v.${column}::text)) SELECT count(*) FROM c",
		"SELECT count(*) FROM jobsched.$view v WHERE tell(v.${column}::text) IS NOT NULL",
		"SELECT count(*) FROM jobsched.$view v WHERE CASE WHEN tell(v.${column}::text) THEN true ELSE tell_and_fail(v.${other}::text) END",
		"EXPLAIN (ANALYZE, COSTS off) SELECT * FROM jobsched.$view v WHERE tell(v.${column}::text)",
		"SELECT count(*) FROM jobsched.$view TABLESAMPLE system (100) v WHERE tell(v.${column}::text)",
		"SELECT v.${column}::text FROM jobsched.$view v WHERE v.ctid IS NOT NULL",
		"SELECT v.$column, v.tableoid FROM jobsched.$view v",
		"SELECT $column FROM jobsched.$view FOR UPDATE");
}

my $everything = '';
foreach my $round (rounds())
{
	foreach my $view (@views)
	{
		my @queries = map { 'BEGIN; ' . query($view, $_) . '; COMMIT; RESET ALL;' }
		  grep { chance(0.4) } @{ $columns{$view} };
		my ($out, $err) = attack_sql($node, 'attacker', "SET statement_timeout = '20s';\n" . join("\n", @queries));

		$everything .= $err;
		unlike($out . $err, qr/$secret/, "round $round: view $view shows nothing of the victim's");
	}
}
is($node->safe_psql('postgres', "SELECT count(*) FROM told WHERE what LIKE '%$secret%'"), '0', 'no function was given anything of the victim\'s');

# How often a function is called tells how many rows there are.
my $calls = '';
foreach my $view (@views)
{
	my $visible = attack_sql($node, 'attacker', "SELECT count(*) FROM jobsched.$view");
	my @columns = @{ $columns{$view} };
	my $out = attack_sql($node, 'attacker', join "\n",
		map { "TRUNCATE told; SELECT FROM jobsched.$view v WHERE tell(v.${_}::text); SELECT '$_', count(*) FROM told;" } @columns);
	my %called = map { split /\|/ } grep { /\|/ } split /\n/, $out;

	is(scalar(keys %called), scalar(@columns), "$view: each column was tried");
	$calls .= "$view.$_: $called{$_} calls for $visible rows\n" for grep { $called{$_} > $visible } @columns;
}
is($calls, '', 'functions are called for visible rows only');
check_unharmed($node, $everything);
done_testing();
