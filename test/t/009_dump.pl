# Copyright (c) 2026, jobsched contributors

# pg_dump and restore keep the jobs, with their owners by name and the
# sequence; in the new place they sleep until adopt().

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'shop';
my $node = jobsched_node('origin');
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('postgres', 'CREATE ROLE first LOGIN; CREATE ROLE second LOGIN');
create_extension($node, $db);
$node->safe_psql($db, q{
	GRANT USAGE ON SCHEMA jobsched TO first, second;
	CREATE TABLE hit (job text, db text DEFAULT current_database());
	GRANT ALL ON hit TO first, second;
	CREATE FUNCTION handle(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		INSERT INTO public.hit VALUES (jobsched.job_name()); SELECT args
	$$});
sql_as($node, $db, 'first', q{
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'public.handle', timezone => 'Europe/Berlin',
		args => '{"a": "it''s \\\\ \u00e9", "b": [1, null]}', description => 'each second', metadata => '{"team": "ä"}');
	SELECT jobsched.create_job('paused', '0 4 * * 1-5', 'SELECT 1');
	SELECT jobsched.pause_job('paused', 'holidays');
	SELECT jobsched.create_job('off', 'every 90 minutes', 'VACUUM hit', enabled => false);
	SELECT jobsched.create_job('once', (clock_timestamp() + interval '0.3 s')::text, handler => 'public.handle');
	SELECT jobsched.create_job('dropped', '0 4 * * *', 'SELECT 1');
	SELECT jobsched.drop_job('dropped')});
sql_as($node, $db, 'second', q{
	SELECT jobsched.create_job('of second', command => E'INSERT INTO public.hit VALUES (''x\ty\\\\z'')', mode => 'transaction');
	SELECT jobsched.create_job('at start', '@startup', handler => 'public.handle');
	SELECT jobsched.create_job('flow', steps => '[
		{"name": "first", "command": "SELECT 1 AS n"},
		{"name": "ask", "command": "SELECT jobsched.event(''go'') AS n", "wait_for": ["go", "on"]},
		{"name": "last", "handler": "public.handle"}]')});
wait_until($node, $db, q{SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded'}, 'it ticks');
wait_until($node, $db, q{SELECT state = 'completed' FROM jobsched.jobs WHERE name = 'once'}, 'the one-shot has run');
$node->safe_psql($db, q{SELECT jobsched.trigger('of second', run_at => now() + interval '1 day')});

# A workflow in the middle, which has got one of two events, and a batch that waits.
my $flow = $node->safe_psql($db, q{SELECT jobsched.trigger('flow')});
my $batch = $node->safe_psql($db, q{SELECT jobsched.trigger_batch('paused', '{NULL,NULL}', on_complete => 'once')});
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.steps WHERE workflow_run_id = $flow AND step = 'ask' AND reason = 'waiting_for_event')", 'a step waits for events');
$node->safe_psql($db, "SELECT jobsched.send_event('go', '17', run_id => $flow)");
wait_until($node, $db, 'SELECT EXISTS (SELECT FROM jobsched_internal.event_match)', 'it has got one');

my $definition = q{
	SELECT job_id, name, owner, schedule, timezone, command, handler, args, mode, enabled, description, metadata, created_at, steps
	FROM jobsched.jobs ORDER BY job_id};
my $wanted = $node->safe_psql($db, $definition);
is(scalar(split /\n/, $wanted), 7, 'the jobs to begin with');

# ------------------------------------------------------------------------
# pg_dump, at any moment
# ------------------------------------------------------------------------

$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain.sql", '-d', $node->connstr($db) ], 'pg_dump, plain');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", '-d', $node->connstr($db) ], 'pg_dump, custom format');
my $dump = slurp_file("$dir/plain.sql");
unlike($dump, qr/COPY jobsched_internal\.(run|history|job_state|identity|ring|run_log|dependency|waited|event|event_match)\b/, 'what happened here is not dumped');
unlike($dump, qr/\tdropped\t/, 'nor jobs that were dropped');

# ------------------------------------------------------------------------
# Into another database of the same cluster, and another cluster
# ------------------------------------------------------------------------

my $other = jobsched_node('other');
$other->safe_psql('postgres', 'CREATE ROLE padding'); # so that OIDs differ
$other->safe_psql('postgres', 'CREATE ROLE second LOGIN; CREATE ROLE first LOGIN');

for my $case ([ $node, 'copy', 'plain' ], [ $other, 'shop', 'custom' ], [ $other, 'shop2', 'plain' ])
{
	my ($target, $name, $format) = @$case;
	my $where = $target->name . ", $name";

	$target->safe_psql('postgres', "CREATE DATABASE $name");
	if ($format eq 'plain')
	{
		$target->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", '-d', $target->connstr($name) ],
			"$where: psql restores it");
	}
	else
	{
		$target->command_ok([ 'pg_restore', '-e', '-d', $target->connstr($name), "$dir/custom" ], "$where: pg_restore restores it");
	}
	wait_scheduler($target, $name);
	is($target->safe_psql($name, $definition), $wanted, "$where: the jobs are as they were, with their owners");
	is($target->safe_psql($name, q{SELECT DISTINCT state, state_reason ~ 'adopt', next_run_at IS NULL FROM jobsched.jobs}),
		'asleep|t|t', "$where: all are asleep, and the reason says what to do");
	is($target->safe_psql($name, 'SELECT count(*) FROM jobsched.runs'), '0', "$where: there are no runs");

	$target->safe_psql($name, 'TRUNCATE hit');

	# A job of its own runs; those that came do not, with or without a restart.
	my $new = $target->safe_psql($name, q{SELECT jobsched.create_job('own', '* * * * * *', 'SELECT 1')});
	cmp_ok($new, '>', $target->safe_psql($name, q{SELECT max(job_id) FROM jobsched.jobs WHERE name <> 'own'}), "$where: the sequence goes on");
	is($target->safe_psql($name, q{SELECT state FROM jobsched.jobs WHERE name = 'own'}), 'active', "$where: a new job is awake");
	my $asleep = $target->safe_psql($name, q{SELECT jobsched.trigger('of second')});
	my $pid = scheduler_pid($target, $name);
	kill 'TERM', $pid;
	wait_new_scheduler($target, $name, $pid);
	wait_until($target, $name, q{SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'own' AND status = 'succeeded'}, 'its own job runs');
	is($target->safe_psql($name, q{SELECT count(*) FROM jobsched.runs WHERE job_name <> 'own' AND status <> 'queued'}), '0', "$where: and no other");
	is($target->safe_psql($name, q{SELECT count(*) FROM hit}), '0', "$where: nothing has happened");

	is($target->safe_psql($name, 'SELECT jobsched.adopt()'), '7', "$where: adopt() wakes them");
	is($target->safe_psql($name, q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM jobsched.jobs}),
		'at start active, flow active, of second active, off disabled, once completed, own active, paused paused, tick active', "$where: as what they were");
	wait_until($target, $name, q{SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded'}, 'it ticks');
	is($target->safe_psql($name, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick' AND missed_count > 1}), '0', "$where: what was slept through is not made up for");
	wait_run_state($target, $name, $asleep, 'succeeded');
	is($target->safe_psql($name, qq{SELECT owner FROM jobsched.runs WHERE run_id = $asleep}), 'second', "$where: what was triggered runs, as its owner");
	is($target->safe_psql($name, q{SELECT DISTINCT result FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded'}),
		$node->safe_psql($db, q{SELECT args FROM jobsched.jobs WHERE name = 'tick'}), "$where: with its arguments");
	is($target->safe_psql($name, q{SELECT count(*) FROM jobsched.runs WHERE job_name IN ('paused', 'off', 'at start', 'once')}), '0', "$where: others wait for their time, and a time that has passed does not come again");
	is($target->safe_psql($name, 'SELECT jobsched.adopt()'), '0', "$where: adopt() again does nothing");

	# What waited in the original does not exist here, nor what it had got.
	is($target->safe_psql($name, 'SELECT (SELECT count(*) FROM jobsched_internal.event), (SELECT count(*) FROM jobsched_internal.dependency)'), '0|0', "$where: no events, and nobody waits");
	my $anew = $target->safe_psql($name, q{SELECT jobsched.trigger('flow')});
	$target->safe_psql($name, "SELECT jobsched.send_event(name, '18', run_id => $anew) FROM unnest('{go,on}'::text[]) name");
	wait_run_state($target, $name, $anew, 'succeeded');
	is($target->safe_psql($name, "SELECT result #>> '{ask}', (SELECT string_agg(step || ' ' || owner, ', ' ORDER BY step_no) FROM jobsched.steps s JOIN jobsched.runs USING (run_id) WHERE workflow_run_id = $anew)
		FROM jobsched.runs WHERE run_id = $anew"), '18|first second, ask second, last second', "$where: a workflow runs, with all its steps, as its owner");
}
is($node->safe_psql($db, q{SELECT count(*) FROM hit WHERE db <> current_database()}), '0', 'the original is where it was');
is($node->safe_psql($db, q{SELECT DISTINCT state FROM jobsched.jobs WHERE name IN ('tick', 'of second')}), 'active', 'and awake');

# ------------------------------------------------------------------------
# Into a server without the library
# ------------------------------------------------------------------------

my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->start;
my $err;
$bare->psql('postgres', slurp_file("$dir/plain.sql"), stderr => \$err, on_error_stop => 0);
like($err, qr/jobsched must be loaded when the server starts/, 'a server without the library refuses, and says why');
$bare->stop;

# ------------------------------------------------------------------------
# A physical copy
# ------------------------------------------------------------------------

$node->stop;
$node->append_conf('postgresql.conf', "jobsched.instance_id = 'staging'\n");
$node->start;
wait_scheduler($node, $db);
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT state, ' ') FROM jobsched.jobs}), 'asleep', 'with another jobsched.instance_id jobs sleep');
is($node->safe_psql($db, q{SELECT status FROM jobsched.health() WHERE "check" = 'identity'}), 'warning', 'health() says so');
my $since = $node->safe_psql($db, 'SELECT clock_timestamp()');
my $asleep = $node->safe_psql($db, q{SELECT jobsched.trigger('of second')});
wait_until($node, $db, "SELECT clock_timestamp() > '$since'::timestamptz + interval '2 s'", 'two slots have passed');
is($node->safe_psql($db, "SELECT count(*) FROM jobsched.runs WHERE started_at > '$since'"), '0', 'nothing runs');
$node->safe_psql($db, 'SELECT jobsched.adopt()');
wait_run_state($node, $db, $asleep, 'succeeded');
wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'", 't', 'until adopt()');

# The workflow that was in the middle is where it was, and has the event that it had got;
# so is the batch.
is($node->safe_psql($db, "SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $flow"),
	'first succeeded, ask queued waiting_for_event, last queued waiting_for_upstream', 'a workflow waits on');
$node->safe_psql($db, "SELECT jobsched.send_event('on', NULL, run_id => $flow)");
wait_run_state($node, $db, $flow, 'succeeded');
is($node->safe_psql($db, "SELECT result #>> '{ask}' FROM jobsched.runs WHERE run_id = $flow"), '17', 'with the event that it had got');
$node->safe_psql($db, q{SELECT jobsched.resume_job('paused')});
wait_run_state($node, $db, $batch, 'succeeded');
wait_value($node, $db, "SELECT string_agg(status, ',') FROM jobsched.runs WHERE job_name = 'once' AND run_id > $batch", 'succeeded', 'and a batch ends, and what comes after it');

check_log($node);
check_log($other);
$node->stop;
$other->stop;
done_testing();
