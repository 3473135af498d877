# Copyright (c) 2026, jobsched contributors

# Sets of steps while their job is altered all the time and runs of it begin: each
# run has one set, whole, and in the end the one in force is left.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('step_sets', "jobsched.max_workers = 4\nrestart_after_crash = on\n");
my $rounds = 150;

sub app
{
	my ($sql) = @_;
	return session_sql($node, $db, 'app', $sql);
}

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

create_extension($node, $db);
psql(q{CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app});
app(q{
	CREATE FUNCTION app.set(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args -> 'set' $$;
	CREATE FUNCTION app.steps(n integer) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(jsonb_build_object('name', 's' || i, 'handler', 'app.set', 'args', jsonb_build_object('set', n)) ORDER BY i)
		FROM generate_series(1, 2 + n % 3) i
	$$;
	CREATE PROCEDURE app.alter_all_the_time(rounds integer) LANGUAGE plpgsql AS $$
	BEGIN
		FOR n IN 2 .. rounds LOOP
			PERFORM jobsched.alter_job('flow', steps => app.steps(n));
			IF n % 10 = 0 THEN
				PERFORM jobsched.pause_job('flow'), jobsched.resume_job('flow');
			END IF;
			COMMIT;
			PERFORM pg_sleep(random() / 50);
		END LOOP;
	END $$;
	CREATE PROCEDURE app.trigger_all_the_time(rounds integer) LANGUAGE plpgsql AS $$
	BEGIN
		FOR n IN 1 .. rounds LOOP
			PERFORM jobsched.trigger('flow');
			COMMIT;
			PERFORM pg_sleep(random() / 50);
		END LOOP;
	END $$;
	SELECT jobsched.create_job('flow', steps => app.steps(1));
	SELECT jobsched.create_job('alters', command => 'CALL app.alter_all_the_time(} . $rounds . q{)');
	SELECT jobsched.create_job('triggers', command => 'CALL app.trigger_all_the_time(} . $rounds . q{)')});

sub new_scheduler
{
	my $pid = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($pid)");
	return wait_new_scheduler($node, $db, $pid);
}

for my $restarts (0, 1)
{
	my ($alters, $triggers) = map { app("SELECT jobsched.trigger('$_')") } 'alters', 'triggers';
	if ($restarts)
	{
		new_scheduler() for 1 .. 5;
	}
	is(end_of($node, $db, $_), 'succeeded', 'altered and triggered all the time') for $alters, $triggers;
	wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run}, '0', 'all have ended');
	is(psql(q{SELECT string_agg(DISTINCT concat_ws(' ', status, reason), ', ') FROM jobsched.runs WHERE job_name LIKE 'flow%'}),
		'succeeded', 'no run has lost its steps');
	is(psql(q{SELECT count(*) FROM (SELECT FROM jobsched.steps GROUP BY workflow_run_id
			HAVING count(DISTINCT result) <> 1 OR count(*) <> 2 + min(result #>> '{}')::integer % 3) x}),
		'0', 'each has had one set, whole');
	is(psql(q{SELECT count(DISTINCT workflow_run_id) FROM jobsched.steps}), $rounds * ($restarts + 1), 'all of them');
	wait_value(
		$node, $db,
		q{SELECT count(DISTINCT step_revision) || ' ' || (count(*) = (SELECT jsonb_array_length(steps) FROM jobsched.jobs WHERE name = 'flow'))
			FROM jobsched_internal.job WHERE workflow_id IS NOT NULL AND dropped_at IS NULL},
		'1 true',
		'the set in force is left');
	is(psql(q{SELECT count(*) FROM jobsched.runs r JOIN jobsched_internal.job j USING (job_id) WHERE j.workflow_id IS NOT NULL AND r.job_name NOT LIKE 'flow.s_'}),
		'0', 'runs of others have kept their names');
}
is(psql(q{SELECT count(DISTINCT result) > 20 FROM jobsched.steps}), 't', 'there have been many');

# Anybody may have the system's indexes ignored; by that no step escapes what is done to its job.
{
	local $ENV{PGOPTIONS} = '-c ignore_system_indexes=on';
	psql(q{SELECT jobsched.pause_job('flow')});
	is(psql('SHOW ignore_system_indexes'), 'on', 'without the indexes');
}
is(psql(q{SELECT count(*) = 0 FROM jobsched_internal.job WHERE workflow_id IS NOT NULL AND dropped_at IS NULL AND NOT paused}), 't',
	'all steps are paused with their job');
psql(q{SELECT jobsched.resume_job('flow')});

# A step knows the slot of its workflow.
app(q{SELECT jobsched.create_job('slots', '0 3 * * *', timezone => 'UTC', steps => '[
	{"name": "one", "command": "SELECT 1"}, {"name": "two", "command": "SELECT jobsched.scheduled_for()"}]')});
app(q{SELECT jobsched.backfill('slots', '2026-01-01 UTC', '2026-01-03 UTC')});
wait_value($node, $db, q{SELECT string_agg(to_char((result->>'scheduled_for')::timestamptz AT TIME ZONE 'UTC', 'DD HH24:MI'), ', ' ORDER BY result)
		FROM jobsched.steps WHERE workflow = 'slots' AND step = 'two' AND status = 'succeeded'},
	'01 03:00, 02 03:00', 'steps know the slot of their workflow');

done_testing();
