# Copyright (c) 2026, jobsched contributors

# Who sees which runs, and how they are found.  The policies tell the planner in
# which jobs the runs of a reader can be (src/api/seen.c): every kind of role sees
# exactly the rows that the rule says, by whatever plan; first and next pages come
# from an index; and the planner knows about how many rows there are.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
# jit: a plan is looked at, and not how long it takes
my $node = jobsched_node('main', conf => "jit = off\nautovacuum = off\n");

$node->safe_psql($db, q{
	CREATE ROLE tenth LOGIN; CREATE ROLE small LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE goes LOGIN; CREATE ROLE before LOGIN;
	CREATE ROLE gives LOGIN; CREATE ROLE takes LOGIN;
	CREATE ROLE member LOGIN IN ROLE small; CREATE ROLE nested LOGIN IN ROLE member; CREATE ROLE twofold LOGIN IN ROLE tenth, small;
	CREATE ROLE noinherit LOGIN NOINHERIT IN ROLE small; CREATE ROLE below_noinherit LOGIN IN ROLE noinherit;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE below_monitor LOGIN IN ROLE monitor;
	CREATE ROLE stats LOGIN IN ROLE pg_read_all_stats; CREATE ROLE reader LOGIN IN ROLE pg_read_all_data;
	CREATE ROLE bypasser LOGIN BYPASSRLS; CREATE ROLE dbowner LOGIN; CREATE ROLE later LOGIN;
	CREATE ROLE boss LOGIN SUPERUSER});
$node->safe_psql($db, 'CREATE ROLE noset LOGIN');
$node->safe_psql($db, $node->pg_version < 16 ? 'GRANT small TO noset' : 'GRANT small TO noset WITH INHERIT TRUE, SET FALSE');
$node->safe_psql($db, $node->pg_version < 16 ? 'GRANT small TO later' : 'GRANT small TO later WITH INHERIT FALSE');
$node->safe_psql($db, 'ALTER ROLE later NOINHERIT') if $node->pg_version < 16;
my @roles = qw(tenth small stranger before gives takes member nested twofold noinherit below_noinherit monitor below_monitor
	stats reader bypasser dbowner noset later boss);
create_extension($node, $db);
$node->safe_psql($db, q{
	ALTER DATABASE postgres OWNER TO dbowner;
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC});

# ------------------------------------------------------------------------
# History
# ------------------------------------------------------------------------

# Jobs 1 to 100 with 150,000 runs: a tenth is tenth's, the last job has 20 and is small's.
$node->safe_psql($db, q{
	CREATE FUNCTION public.fill(job_ids bigint[], owners oid[], runs bigint, first bigint) RETURNS void LANGUAGE sql AS $$
		INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source,
			run_at, queued_at, started_at, finished_at, args)
		SELECT first + i, CASE WHEN i % 4 = 0 THEN 100 ELSE 0 END + i * 7 / runs, 1, job_ids[1 + i % cardinality(job_ids)],
			owners[1 + i % cardinality(job_ids)], 0, 0, CASE WHEN i % 4 = 0 THEN 'failed' ELSE 'succeeded' END, 'trigger', t, t, t, t, '{"a": 1}'
		FROM generate_series(0, runs - 1) i, LATERAL (SELECT now() - (runs - i) * interval '1 s' AS t) s
	$$;
	CREATE TABLE public.of AS
	SELECT i AS n, CASE WHEN i = 100 THEN 'small' WHEN i % 10 = 0 THEN 'tenth' ELSE current_user END::name AS owner,
		jobsched.create_job(CASE i WHEN 100 THEN 'rare' ELSE 'job-' || i END, command => 'SELECT 1',
			owner => CASE WHEN i = 100 THEN 'small' WHEN i % 10 = 0 THEN 'tenth' ELSE current_user END) AS job_id
	FROM generate_series(1, 110) i;
	SELECT public.fill(array_agg(job_id ORDER BY n), array_agg((SELECT oid FROM pg_roles WHERE rolname = owner) ORDER BY n), 150000, 1000000)
	FROM public.of WHERE n <> 100;
	SELECT public.fill(array_agg(job_id), array_agg((SELECT oid FROM pg_roles WHERE rolname = owner)), 20, 2000000) FROM public.of WHERE n = 100;
	INSERT INTO jobsched_internal.run_log (run_id, segment, attempt, job_id, owner, seq, logged_at, level, message, callback)
	SELECT run_id, segment, 1, job_id, owner, 1, finished_at, 'notice', 'hello', false FROM jobsched_internal.history WHERE run_id % 5 = 0;
	INSERT INTO jobsched_internal.attempt (run_id, segment, attempt, job_id, owner, status, finished_at, retry_at, callback)
	SELECT run_id, 100 + segment % 100, 0, job_id, owner, 'failed', finished_at, finished_at, false FROM jobsched_internal.history WHERE run_id % 5 = 0;
	SELECT count(jobsched.trigger(CASE WHEN i = 1 THEN 'rare' ELSE 'job-' || 10 * i END, run_at => '2099-01-01')) FROM generate_series(1, 9) i;
	SELECT setval('jobsched_internal.run_id_seq', 3000000)});
# One that has no job yet, and one of a role that is dropped.
$node->safe_psql($db, q{
	SELECT jobsched.create_job('of goes', command => 'SELECT 1', owner => 'goes');
	SELECT public.fill(ARRAY[(SELECT job_id FROM jobsched_internal.job WHERE name = 'of goes')], ARRAY['goes'::regrole::oid], 7, 4000000);
	DROP ROLE goes;
	SELECT public.fill('{0}', ARRAY['small'::regrole::oid], 2, 4100000)});
# A job that is given away, twice, and comes back; what it did before stays with who had it.
$node->safe_psql($db, q{
	SELECT jobsched.create_job('given', command => 'SELECT 1', owner => 'gives');
	SELECT public.fill(ARRAY[(SELECT job_id FROM jobsched_internal.job WHERE name = 'given')], ARRAY['gives'::regrole::oid], 5, 4200000);
	SELECT jobsched.alter_job('given', owner => 'takes')});
$node->safe_psql($db, q{
	SELECT public.fill(ARRAY[(SELECT job_id FROM jobsched_internal.job WHERE name = 'given')], ARRAY['takes'::regrole::oid], 6, 4300000);
	SELECT jobsched.alter_job('given', owner => 'before');
	SELECT public.fill(ARRAY[(SELECT job_id FROM jobsched_internal.job WHERE name = 'given')], ARRAY['before'::regrole::oid], 4, 4400000);
	SELECT jobsched.alter_job('given', owner => 'takes');
	SELECT jobsched.drop_job('given')});
is($node->safe_psql($db, q{SELECT string_agg(owner::regrole::text, ' ' ORDER BY owner::regrole::text) FROM jobsched_internal.former_owner}),
	'before gives takes', 'former owners are known');
# Renamed.
$node->safe_psql($db, 'ALTER ROLE before RENAME TO renamed');
@roles = map { $_ eq 'before' ? 'renamed' : $_ } @roles;
$node->safe_psql($db, 'ANALYZE jobsched_internal.history; ANALYZE jobsched_internal.run; ANALYZE jobsched_internal.attempt; ANALYZE jobsched_internal.run_log; ANALYZE jobsched_internal.job; ANALYZE jobsched_internal.job_name_of');

# ------------------------------------------------------------------------
# Everybody sees what the rule says
# ------------------------------------------------------------------------

# The rule, asked of each row by a superuser: has the role the rights of the owner, or those of pg_monitor?
sub rule
{
	my ($role) = @_;
	return "(pg_has_role('$role'::regrole, owner, 'USAGE') OR pg_has_role('$role'::regrole, 'pg_monitor'::regrole, 'USAGE'))";
}

sub digest { return "SELECT count(*), md5(string_agg(k, ',' ORDER BY k)) FROM ($_[0]) rows (k)" }

my %seen = (
	runs => "SELECT run_id::text FROM jobsched.runs",
	attempts => "SELECT run_id || ' ' || attempt FROM jobsched.attempts",
	run_logs => "SELECT run_id || ' ' || seq FROM jobsched.run_logs",
	dead_letters => "SELECT run_id::text FROM jobsched.dead_letters");

sub expected
{
	my ($role) = @_;
	my $rule = rule($role);
	return (
		runs => "SELECT run_id::text FROM (SELECT run_id, owner FROM jobsched_internal.run UNION ALL SELECT run_id, owner FROM jobsched_internal.history) r WHERE $rule",
		attempts => "SELECT run_id || ' ' || attempt FROM (SELECT run_id, attempt, owner FROM jobsched_internal.attempt
			UNION ALL SELECT run_id, attempt, owner FROM jobsched_internal.history WHERE started_at IS NOT NULL) r WHERE $rule",
		run_logs => "SELECT run_id || ' ' || seq FROM jobsched_internal.run_log r WHERE $rule",
		dead_letters => "SELECT run_id::text FROM jobsched_internal.history r WHERE status = 'failed' AND $rule");
}

sub check_seen
{
	my ($role, $what, $prefix) = @_;
	my %expected = expected($role);
	for my $view (sort keys %seen)
	{
		my $expected = $node->safe_psql($db, digest($expected{$view}));
		my $got = $node->safe_psql($db, ($prefix // "SET ROLE $role;") . digest($seen{$view}));
		is($got, $expected, "$what: $role sees of $view what the rule says");
	}
}

check_seen($_, 'default plans') for @roles;
for my $off ('enable_seqscan', 'enable_seqscan = off; SET enable_bitmapscan', 'enable_indexscan = off; SET enable_seqscan', 'plan_cache_mode = force_generic_plan; SET enable_hashjoin')
{
	check_seen($_, "SET $off = off", "SET $off = off; SET ROLE $_;") for qw(small member twofold noinherit gives takes renamed monitor stranger boss);
}
is($node->safe_psql($db, 'SET ROLE small; SELECT count(*) FROM jobsched.runs'), '23', 'small has its 23, with one in the queue and two without a job');
is($node->safe_psql($db, 'SET ROLE gives; SELECT count(*) FROM jobsched.runs'), '5', 'who has given a job away has its runs');

# Rights that change while a session has prepared statements.
my $session = $node->background_psql($db);
$session->query_safe(q{SET plan_cache_mode = force_generic_plan; SET ROLE later;
	PREPARE mine AS SELECT count(*) FROM jobsched.runs; PREPARE newest AS SELECT max(run_id) FROM (SELECT run_id FROM jobsched.runs ORDER BY run_id DESC LIMIT 5) r});
sub mine { return $session->query_safe('EXECUTE mine') }
is(mine(), '0', 'a member that does not inherit sees nothing');
$session->query_safe('SET ROLE small');
is(mine(), '23', 'after SET ROLE the same statement shows what is small\'s');
$session->query_safe('RESET ROLE; SET ROLE later');
is(mine(), '0', 'and nothing again');
$node->safe_psql($db, $node->pg_version < 16 ? 'ALTER ROLE later INHERIT' : 'GRANT small TO later WITH INHERIT TRUE');
is(mine(), '23', 'a role that comes to inherit sees the runs at once');
$node->safe_psql($db, 'REVOKE small FROM later');
is(mine(), '0', 'and one that has left no more');
$node->safe_psql($db, 'GRANT pg_monitor TO later');
my $all = $node->safe_psql($db, 'SELECT (SELECT count(*) FROM jobsched_internal.run) + (SELECT count(*) FROM jobsched_internal.history)');
is(mine(), $all, 'a monitor sees all, also those of a dropped role, by a plan that was made before');
$node->safe_psql($db, 'REVOKE pg_monitor FROM later');
is(mine(), '0', 'until it is none');
$session->query_safe('RESET ROLE');
is(mine(), $all, 'a superuser sees all');
$session->quit;

# A job that comes into being while a plan exists.
$session = $node->background_psql($db);
$session->query_safe('SET plan_cache_mode = force_generic_plan; SET ROLE stranger; PREPARE mine AS SELECT count(*) FROM jobsched.runs');
is(mine(), '0', 'nothing yet');
$session->query_safe(q{SELECT jobsched.create_job('new', command => 'SELECT 1'); SELECT jobsched.trigger('new', run_at => '2099-01-01')});
is(mine(), '1', 'a run of a job that was made after the plan');
$session->quit;

# ------------------------------------------------------------------------
# By an index, in order
# ------------------------------------------------------------------------

sub plan_of
{
	my ($role, $query) = @_;
	return $node->safe_psql($db, "SET ROLE $role; EXPLAIN $query LIMIT 50");
}

my $scan_of_all = qr/Seq Scan on (?:history_00[0-6]|history_10[0-6]|attempt_10[0-6]|run_log_00[0-6]) /;
my $superuser = getpwuid($<);
my %page = (
	'runs' => 'SELECT * FROM jobsched.runs ORDER BY run_id DESC',
	'the next runs' => 'SELECT * FROM jobsched.runs WHERE run_id < 1120000 ORDER BY run_id DESC',
	'failed runs' => q{SELECT * FROM jobsched.runs WHERE status = 'failed' ORDER BY run_id DESC},
	'attempts' => 'SELECT * FROM jobsched.attempts ORDER BY run_id DESC',
	'the next attempts' => 'SELECT * FROM jobsched.attempts WHERE run_id < 1120000 ORDER BY run_id DESC',
	'dead letters' => 'SELECT * FROM jobsched.dead_letters ORDER BY run_id DESC',
	'messages' => 'SELECT * FROM jobsched.run_logs ORDER BY run_id DESC',
	'the next messages' => 'SELECT * FROM jobsched.run_logs WHERE run_id < 1120000 ORDER BY run_id DESC');
for my $what (sort keys %page)
{
	for my $role ($superuser, 'tenth', 'small')
	{
		my $plan = plan_of($role, $page{$what});
		unlike($plan, $scan_of_all, "$what, newest first, for $role: no table is read as a whole");
		if ($role eq 'small')
		{
			like($plan, qr/Index Cond: \(.*job_id = ANY \(jobsched_internal\.seen_jobs\(\)\)/, 'but by the index of jobs');
		}
		else
		{
			like($plan, qr/Merge Append.*Index Scan Backward/s, 'but in the order of an index');
			unlike($plan, qr/Sort\s.*Append/, 'without a sort of all');
		}
	}
}
unlike(plan_of('member', $page{runs}), $scan_of_all, 'as small\'s, a member\'s');

# ------------------------------------------------------------------------
# How many
# ------------------------------------------------------------------------

for my $role ($superuser, 'monitor', 'tenth', 'twofold', 'small')
{
	my ($estimate) = $node->safe_psql($db, "SET ROLE $role; EXPLAIN SELECT run_id FROM jobsched.runs") =~ /rows=(\d+)/;
	my $count = $node->safe_psql($db, "SET ROLE $role; SELECT count(*) FROM jobsched.runs");
	my $ratio = $estimate / $count;
	ok($ratio > 1 / 1.5 && $ratio < 1.5, "the planner expects $estimate runs for $role, of $count");
}

# ------------------------------------------------------------------------
# Jobs that change hands otherwise
# ------------------------------------------------------------------------

# A table's writer, a subscription: session_replication_role is what its worker has.
sub of_gives
{
	my ($name, $first) = @_;
	my $id = $node->safe_psql($db, "SELECT jobsched.create_job('$name', command => 'SELECT 1', owner => 'gives')");

	$node->safe_psql($db, "SELECT public.fill(ARRAY[$id], ARRAY['gives'::regrole::oid], 3, $first)");
	return $id;
}
my $by_hand = of_gives('by hand', 4500000);
my $replicated = of_gives('replicated', 4600000);
my $deleted = of_gives('deleted', 4700000);
my $foreign = of_gives('foreign', 4800000);
$node->safe_psql($db, qq{
	UPDATE jobsched_internal.job SET owner = 'takes'::regrole, owner_name = 'takes' WHERE job_id = $by_hand;
	SET session_replication_role = replica;
	UPDATE jobsched_internal.job SET owner = 4294967295, owner_name = 'takes', home = gen_random_uuid() WHERE job_id = $replicated;
	DELETE FROM jobsched_internal.job WHERE job_id = $deleted});
# of a copy, where another role has the owner's name by now
$node->safe_psql($db, qq{
	UPDATE jobsched_internal.job SET owner_name = 'takes', home = gen_random_uuid() WHERE job_id = $foreign;
	SELECT jobsched.alter_job('foreign', owner => 'tenth')});
check_seen($_, 'after jobs were changed past their functions') for qw(gives takes);
cmp_ok($node->safe_psql($db, "SET ROLE gives; SELECT count(*) FROM jobsched.runs WHERE job_id IN ($by_hand, $replicated, $deleted, $foreign)"),
	'==', 12, 'who had the jobs sees what they did');

# ------------------------------------------------------------------------
# A role that comes to see everything
# ------------------------------------------------------------------------

# The plan is kept; also of runs whose job is yet to be made, or is not there any more.
$session = $node->background_psql($db);
$session->query_safe("SET plan_cache_mode = force_generic_plan; SET ROLE gives; PREPARE all_runs AS SELECT count(*) FROM jobsched.runs; EXECUTE all_runs");
$node->safe_psql($db, 'GRANT pg_monitor TO gives');
is($session->query_safe('EXECUTE all_runs'), $node->safe_psql($db, 'SELECT count(*) FROM jobsched.runs'),
	'a plan that was kept shows everything to who sees everything by now');
$node->safe_psql($db, 'REVOKE pg_monitor FROM gives');
is($session->query_safe('EXECUTE all_runs'), $node->safe_psql($db, 'SET ROLE gives; SELECT count(*) FROM jobsched.runs'), 'and no more when he does not');
# The same plan for another role, by SET ROLE and by a function with its owner's rights.
$session->query_safe('RESET ROLE; SET ROLE small');
is($session->query_safe('EXECUTE all_runs'), $node->safe_psql($db, 'SET ROLE small; SELECT count(*) FROM jobsched.runs'), 'nor to another role');
$session->quit;

# Who may use the schema can make an operator of the function.
$node->safe_psql($db, q{
	CREATE TABLE public.own (j bigint); CREATE INDEX ON public.own (j);
	CREATE OPERATOR public.<?> (FUNCTION = jobsched_internal.may_see_run, LEFTARG = oid, RIGHTARG = bigint);
	GRANT SELECT ON public.own TO small;
	GRANT USAGE ON SCHEMA jobsched_internal TO small});
unlike($node->safe_psql($db, q{SET ROLE small; SET enable_seqscan = off; EXPLAIN SELECT * FROM public.own WHERE 10::oid OPERATOR(public.<?>) j}),
	qr/seen_jobs/, 'of an operator the planner is told nothing');

done_testing();
