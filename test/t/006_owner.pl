# Copyright (c) 2026, jobsched contributors

# A job that cannot run, whatever the reason, tells so and disturbs no other.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('owner', conf => "jobsched.worker_idle_timeout = '200ms'\n");
create_extension($node, $db);
$node->safe_psql($db, q{
	CREATE ROLE good LOGIN; CREATE ROLE gone LOGIN; CREATE ROLE locked LOGIN; CREATE ROLE barred LOGIN;
	CREATE ROLE limited LOGIN; CREATE ROLE heir LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC;
	REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
	GRANT CONNECT ON DATABASE postgres TO good, gone, locked, barred, limited, heir});

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

for my $role ('good', 'gone', 'locked', 'barred', 'limited')
{
	sql_as($node, $db, $role, qq{
		SELECT jobsched.create_job('$role tick', '* * * * * *', 'SELECT 1');
		SELECT jobsched.create_job('$role', command => 'SELECT current_user')});
}
my $scheduler = scheduler_pid($node, $db);

# The others: a triggered run succeeds, and a slot that comes from now on.
sub others_go_on
{
	my ($name) = @_;
	my $since = psql('SELECT clock_timestamp()');
	is((run_job($node, $db, 'good'))[1], 'succeeded', "$name: others are triggered");
	wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'good tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: others' slots fire");
	is(scheduler_pid($node, $db), $scheduler, "$name: the scheduler has not been disturbed");
	return;
}

# A triggered run of the job ends as failed; with SQLSTATE and message.
sub refused
{
	my ($job, $sqlstate, $message, $name) = @_;
	my ($run_id, $status) = run_job($node, $db, $job);
	my $run = psql("SELECT status, reason, sqlstate, error FROM jobsched.runs WHERE run_id = $run_id");
	like($run, qr/^failed\|owner_cannot_connect\|$sqlstate\|.*$message/, $name);
	return;
}

sub succeeds
{
	my ($job, $name) = @_;
	is((run_job($node, $db, $job))[1], 'succeeded', $name);
	return;
}

wait_until($node, $db, q{SELECT bool_and(last_status = 'succeeded') FROM jobsched.jobs WHERE schedule IS NOT NULL}, 'all tick');
succeeds($_, "$_ works") for ('good', 'gone', 'locked', 'barred', 'limited');

# ------------------------------------------------------------------------
# The owner
# ------------------------------------------------------------------------

psql('ALTER ROLE locked NOLOGIN');
refused('locked', '28000', 'role "locked" is not permitted to log in', 'NOLOGIN: a run fails and says why');
wait_value($node, $db, q{SELECT last_status || ' ' || (consecutive_failures > 0) FROM jobsched.jobs WHERE name = 'locked tick'}, 'failed true', 'the scheduled ones too');
others_go_on('NOLOGIN');
psql('ALTER ROLE locked LOGIN');
succeeds('locked', 'LOGIN: it works again');

psql('REVOKE CONNECT ON DATABASE postgres FROM barred');
refused('barred', '42501', 'role "barred" has no CONNECT privilege', 'REVOKE CONNECT: a run fails and says why');
others_go_on('REVOKE CONNECT');
psql('GRANT CONNECT ON DATABASE postgres TO barred');
succeeds('barred', 'GRANT CONNECT: it works again');

psql(q{ALTER ROLE limited VALID UNTIL '2001-01-01'});
succeeds('limited', 'an expired password does not matter: none is asked for');

# A setting of the role that no session survives or that is nonsense
psql(q{ALTER ROLE limited SET lock_timeout = 1; ALTER ROLE limited SET default_transaction_read_only = on; ALTER ROLE limited SET search_path = 'no_such'});
succeeds('limited', 'unpleasant settings of the role do no harm');

# The role is dropped: our rows are no dependency.
psql('REVOKE CONNECT ON DATABASE postgres FROM gone; DROP ROLE gone');
wait_until($node, $db, q{SELECT state = 'invalid' OR last_status = 'failed' FROM jobsched.jobs WHERE name = 'gone tick'}, 'it is noticed');
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'gone tick'}, 'invalid', 'a job whose owner is dropped is invalid');
like(psql(q{SELECT state_reason FROM jobsched.jobs WHERE name = 'gone tick'}), qr/the owner, role with OID \d+, does not exist/, 'and says why');
is(psql(q{SELECT status, value FROM jobsched.health() WHERE "check" = 'invalid_jobs'}), 'error|1', 'health() counts it');
like(psql(q{SELECT owner FROM jobsched.jobs WHERE name = 'gone tick'}), qr/^unknown \(OID=\d+\)$/, 'views show it all the same');
others_go_on('DROP ROLE');
my $run_id = psql(q{SELECT jobsched.trigger('gone')});
wait_run_state($node, $db, $run_id, 'failed');
like(psql("SELECT reason, sqlstate, error FROM jobsched.runs WHERE run_id = $run_id"), qr/^owner_cannot_connect\|42704\|/, 'a triggered run fails and says why');
psql(q{SELECT jobsched.alter_job('gone tick', owner => 'heir')});
wait_value($node, $db, q{SELECT state || ' ' || last_status FROM jobsched.jobs WHERE name = 'gone tick'}, 'active succeeded', 'with another owner it goes on');
psql(q{SELECT jobsched.alter_job('gone', owner => 'heir')});
($run_id) = run_job($node, $db, 'gone');
is(psql("SELECT status, owner, result->>'current_user' FROM jobsched.runs WHERE run_id = $run_id"), 'succeeded|heir|heir', 'as that one');

# Dropped while runs wait, and while one is in progress.
psql(q{CREATE ROLE brief LOGIN; GRANT CONNECT ON DATABASE postgres TO brief; CREATE TABLE gate (id int); INSERT INTO gate VALUES (1); GRANT ALL ON gate TO brief});
sql_as($node, $db, 'brief', q{SELECT jobsched.create_job('brief', command => 'SELECT id FROM gate FOR UPDATE; SELECT 1', max_concurrency => 1)});
my $gate = $node->background_psql($db);
$gate->query_safe('BEGIN; SELECT id FROM gate FOR UPDATE');
my $running = sql_as($node, $db, 'brief', q{SELECT jobsched.trigger('brief')});
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $running)", 'it runs');
my $later = sql_as($node, $db, 'brief', q{SELECT jobsched.trigger('brief')});
is(psql("SELECT status, reason FROM jobsched.runs WHERE run_id = $later"), 'queued|waiting_for_turn', 'another one waits for its end');
psql('BEGIN; DROP OWNED BY brief; DROP ROLE brief; COMMIT');
$gate->quit;
wait_until($node, $db, "SELECT count(*) = 2 FROM jobsched.runs WHERE run_id IN ($running, $later) AND finished_at IS NOT NULL", 'both have ended');
like(psql("SELECT status, reason, sqlstate FROM jobsched.runs WHERE run_id = $later"), qr/^failed\|owner_cannot_connect\|42704$/, 'dropped while a run waits: it fails and says why');
others_go_on('DROP ROLE with a run in progress');
psql(q{SELECT jobsched.drop_job('brief')});

# ------------------------------------------------------------------------
# Rows spoilt by a superuser
# ------------------------------------------------------------------------

sub spoil
{
	my ($set, $job) = @_;
	psql(qq{UPDATE jobsched_internal.job SET $set, revision = revision + 1 WHERE name = '$job'});
	# the scheduler hears of it at the next change or slot of the job
	return;
}

spoil(q{schedule = 'nonsense'}, 'locked tick');
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'locked tick'}, 'invalid', 'a broken schedule: the job is invalid');
like(psql(q{SELECT state_reason FROM jobsched.jobs WHERE name = 'locked tick'}), qr/^invalid schedule: /, 'and says why');
is(psql(q{SELECT next_run_at IS NULL FROM jobsched.jobs WHERE name = 'locked tick'}), 't', 'and has no next run');
is(psql(q{SELECT count(*) FROM jobsched.upcoming WHERE job_name = 'locked tick'}), '0', 'nor is it upcoming');
spoil(q{timezone = 'Mars/Olympus'}, 'barred tick');
wait_value($node, $db, q{SELECT state || ' ' || state_reason FROM jobsched.jobs WHERE name = 'barred tick'},
	'invalid time zone "Mars/Olympus" does not exist', 'a zone that does not exist');
others_go_on('broken rows');
is(psql(q{SELECT value FROM jobsched.health() WHERE "check" = 'invalid_jobs'}), '2', 'health() counts them');

# Also at a start.
kill 'TERM', $scheduler;
$scheduler = wait_new_scheduler($node, $db, $scheduler);
others_go_on('broken rows at a start');
is(psql(q{SELECT string_agg(name, ', ' ORDER BY name) FROM jobsched.jobs WHERE state = 'invalid'}), 'barred tick, locked tick', 'still invalid');

psql(q{SELECT jobsched.alter_job('locked tick', schedule => '* * * * * *')});
psql(q{SELECT jobsched.alter_job('barred tick', timezone => 'Europe/Berlin')});
my $since = psql('SELECT clock_timestamp()');
wait_value($node, $db, qq{SELECT string_agg(name || ' ' || state || ' ' || last_status, ', ' ORDER BY name) FROM jobsched.jobs
	WHERE name IN ('locked tick', 'barred tick') AND last_started_at > '$since'},
	'barred tick active succeeded, locked tick active succeeded', 'put right by alter_job() they are active and run');

# What the work is.
psql(q{CREATE FUNCTION public.handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT'});
psql(q{SELECT jobsched.create_job('handler', handler => 'public.handle')});
psql(q{DROP FUNCTION public.handle});
($run_id) = run_job($node, $db, 'handler');
like(psql("SELECT status, reason, sqlstate FROM jobsched.runs WHERE run_id = $run_id"), qr/^failed\|error\|42883$/, 'a handler that does not exist: a failed run');
spoil(q{command = 'THIS IS NOT SQL'}, 'good tick');
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'good tick' AND status = 'failed' AND sqlstate = '42601')}, 'a broken command fails');
pass('a command that is no SQL: a failed run');
psql(q{SELECT jobsched.alter_job('good tick', command => 'SELECT 1')});
others_go_on('broken work');

# To have a role's privileges is not to be able to become it (16 and later).
if ($node->pg_version >= 16)
{
	psql(q{CREATE ROLE reader LOGIN; GRANT good TO reader WITH INHERIT TRUE, SET FALSE});
	for my $owner ('', q{, owner => 'good'})
	{
		like(error_of($node, $db, "SELECT jobsched.alter_job('good tick', command => 'SELECT 2'$owner)", 'reader'), qr/42501/,
			"who cannot SET ROLE to a job's owner cannot change what it executes$owner");
	}
}

check_log($node);
$node->stop;
done_testing();
