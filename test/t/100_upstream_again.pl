# Copyright (c) 2026, jobsched contributors

# upstream() in runs that retry_run() and redrive() have made: they have the parents of
# the old run, as far as history has them and their owner may see them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = jobsched_node('upstream_again', conf => q{
restart_after_crash = on
max_prepared_transactions = 2
jobsched.max_workers = 4
});
create_extension($node, $db);
effects_schema($node, $db);
define_clock($node, $db);

sub psql
{
	my ($sql) = @_;
	return session_sql($node, $db, $superuser, $sql);
}

sub app
{
	my ($sql) = @_;
	return session_sql($node, $db, 'app', $sql);
}

sub trigger
{
	my ($job, $more) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($more ? ", $more)" : ')'));
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

sub retry
{
	my ($run_id) = @_;
	return app("SELECT jobsched.retry_run($run_id)");
}

# What an execution has seen.
sub seen
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(concat_ws(' ', parent, status, result ->> 'gave'), ', ' ORDER BY parent) FROM app.seen WHERE run_id = $run_id");
}

sub gave { return join ', ', map { "$_ succeeded $_" } @_ }

# Tables that say who waited for whom.
sub rows
{
	return psql('SELECT (SELECT count(*) FROM jobsched_internal.dependency), (SELECT count(*) FROM jobsched_internal.waited)');
}

# look fails as long as its name is in app.broken.
app(q{
	CREATE TABLE app.broken (job text);
	CREATE TABLE app.seen (run_id bigint, parent bigint, status text, result jsonb);
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.give(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('gave', jobsched.run_id()) $$;
	CREATE FUNCTION app.look(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.broken WHERE job = jobsched.job_name()) THEN
			RAISE 'broken';
		END IF;
		INSERT INTO app.seen SELECT jobsched.run_id(), u.run_id, u.status, u.result FROM jobsched.upstream() u;
	END $$;
	SELECT jobsched.create_job('give', handler => 'app.give'),
		jobsched.create_job('fail', handler => 'app.fail', max_attempts => 1),
		jobsched.create_job('look', handler => 'app.look', max_attempts => 1),
		jobsched.create_job('night', handler => 'app.look', max_attempts => 1, after => '{give}')});

sub break { my ($job) = @_; return app("INSERT INTO app.broken VALUES ('$job')"); }
sub mend { return app('DELETE FROM app.broken') }

# ------------------------------------------------------------------------
# The same parents
# ------------------------------------------------------------------------

break('look');
break('night');
my @parents = map { trigger('give') } 1 .. 3;
my $after = 'after => ' . "'{" . join(',', @parents) . "}'";
my $run = trigger('look', $after);
is(ended($run), 'failed error P0001', 'a run fails that has waited');
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'it waits no more');
my $again = retry($run);
is(ended($again), 'failed error P0001', 'it is retried, and fails once more');
mend();
my $third = retry($again);
is(ended($third), 'succeeded', 'a retry of the retry succeeds');
is(seen($third), gave(@parents), 'and has the parents of the first');

break('look');
$run = trigger('look', $after);
ended($run);
mend();
$again = app(q{SELECT string_agg(r::text, ',') FROM jobsched.redrive('look') r});
is(ended($again), 'succeeded', 'redrive() makes another run');
is(seen($again), gave(@parents), 'which has them too');

my $failed = trigger('fail');
$run = trigger('look', "after => '{$failed,$parents[0]}'");
is(ended($run), 'skipped upstream_failed', 'one is skipped for its parent');
$again = retry($run);
is(ended($again), 'succeeded', 'it starts if it is retried');
is(seen($again), gave($parents[0]) . ", $failed failed", 'and sees how its parents have ended');

# ------------------------------------------------------------------------
# Parents that live
# ------------------------------------------------------------------------

my $far = trigger('give', q{run_at => now() + interval '1 day'});
$run = trigger('look', "after => '{$far,$parents[0]}'");
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'one is cancelled while it waits');
$again = retry($run);
wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $again", 'queued waiting_for_upstream', 'its retry waits');
is(psql("SELECT after_when, parents, parent_ids FROM jobsched.waiting WHERE run_id = $again"), "done|1|{$far}", 'for what has not ended');
app("SELECT jobsched.cancel_run($far)");
is(ended($again), 'succeeded', '... and starts then, whatever has become of that');
is(seen($again), gave($parents[0]) . ", $far cancelled", 'which it sees');

# ------------------------------------------------------------------------
# Jobs after jobs, and batches
# ------------------------------------------------------------------------

my $night = psql(q{SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'night' AND status = 'failed'});
$again = retry($night);
is(ended($again), 'succeeded', 'a run of a job that comes after another is retried');
is(psql("SELECT count(*), min(status) FROM app.seen WHERE run_id = $again AND result ->> 'gave' = parent::text"), '1|succeeded', 'and sees the success that it came after');

break('look');
my $batch = app(q{SELECT jobsched.trigger_batch('give', ARRAY['{}', '{}']::jsonb[], on_complete => 'look')});
ended($batch);
my $completion = psql(qq{SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'look' AND run_id > $batch});
is(ended($completion), 'failed error P0001', 'the run after a batch fails');
mend();
$again = retry($completion);
ended($again);
is(psql("SELECT parent, result ->> 'succeeded' FROM app.seen WHERE run_id = $again"), "$batch|2", 'its retry has the totals');

# ------------------------------------------------------------------------
# Who may see what
# ------------------------------------------------------------------------

psql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched, app TO other; GRANT ALL ON ALL TABLES IN SCHEMA app TO other;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO other});
break('look');
$run = trigger('look', $after);
ended($run);
mend();
psql(q{SELECT jobsched.alter_job(job_id => job_id, owner => 'other') FROM jobsched.jobs WHERE name = 'look'});
$again = session_sql($node, $db, 'other', "SELECT jobsched.retry_run($run)");
is(ended($again), 'succeeded', 'it is retried as another owner');
is(seen($again), '', 'who sees nothing of the old one');
psql(q{SELECT jobsched.alter_job(job_id => job_id, owner => 'app') FROM jobsched.jobs WHERE name = 'look'});

# ------------------------------------------------------------------------
# What is left of it
# ------------------------------------------------------------------------

psql('TRUNCATE jobsched_internal.waited');
$run = trigger('look', $after);
is(ended($run), 'succeeded', 'one succeeds');
app(q{SELECT jobsched.create_job('flow', steps => '[{"name": "a", "handler": "app.fail", "max_attempts": 1}, {"name": "b", "handler": "app.give"}]')});
ended(trigger('flow', $after));
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'a workflow fails');
is(rows(), '0|0', 'nothing is kept of success, of steps and of what has steps');

# A successor finds what is left of a step and of a job that has been dropped.
app(q{SELECT jobsched.create_job('gone', handler => 'app.fail', max_attempts => 1)});
$failed = trigger('gone', $after);
ended($failed);
app(q{SELECT jobsched.drop_job('gone')});
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'a run fails whose job is dropped then');
psql("TRUNCATE jobsched_internal.waited;
	INSERT INTO jobsched_internal.dependency SELECT run_id, $parents[0] FROM jobsched_internal.history WHERE run_id = $failed OR (source = 'step' AND status = 'failed')");
is(rows(), '2|0', 'rows of dependency are left');
psql(q{SELECT pg_terminate_backend(} . scheduler_pid($node, $db) . ')');
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.dependency', '0', 'a successor deletes them');
is(rows(), '0|0', '... and keeps nothing of them');

my $many = app(q{SELECT string_agg(r::text, ',') FROM jobsched.trigger_many('give', array_fill(NULL::jsonb, ARRAY[5000])) r});
$run = trigger('look', "after => '{$many}', run_at => now() + interval '1 day'");
app("SELECT jobsched.cancel_run($run)");
ended($run);
wait_value($node, $db, 'SELECT (SELECT count(*) FROM jobsched_internal.dependency), (SELECT count(*) FROM jobsched_internal.waited)', '0|5000', '5000 are moved');
$again = retry($run);
is(ended($again), 'succeeded', '... and seen');
is(psql("SELECT count(*) FROM app.seen WHERE run_id = $again AND status = 'succeeded'"), '5000', '... by a retry');

# A part of them has been moved when it is retried.
break('look');
$run = trigger('look', $after);
ended($run);
wait_value($node, $db, "SELECT count(*) FROM jobsched_internal.waited WHERE run_id = $run", '3', 'the rows of one have been moved');
psql("WITH d AS (DELETE FROM jobsched_internal.waited WHERE run_id = $run AND parent_run_id >= $parents[1] RETURNING *)
	INSERT INTO jobsched_internal.dependency SELECT * FROM d");
mend();
$again = retry($run);
ended($again);
is(seen($again), gave(@parents), 'what has not been moved so far is there too');
psql(q{SELECT pg_terminate_backend(} . scheduler_pid($node, $db) . ')');
wait_value($node, $db, "SELECT (SELECT count(*) FROM jobsched_internal.dependency), (SELECT count(*) FROM jobsched_internal.waited WHERE run_id = $run)", '0|3', 'the next scheduler moves the rest');

# The server is killed before its retry begins.
break('look');
$run = trigger('look', $after);
ended($run);
mend();
psql('SELECT jobsched.stop_processing()');
$again = retry($run);
end_sessions($node);
kill_and_start($node);
wait_connection($node, $db);
psql('SELECT jobsched.start_processing()');
wait_scheduler($node, $db);
is(ended($again), 'succeeded', 'the server is killed');
is(seen($again), gave(@parents), 'and the retry sees what it would have seen');

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

set_setting($node, 'jobsched.history_retention', '1 min');
set_setting($node, 'jobsched.failure_retention', '1 h');
break('look');
my $gone = trigger('give');
$failed = trigger('fail');
$run = trigger('look', "after => '{$gone,$failed}', after_when => 'done'");
ended($run);
mend();
set_clock($node, $db, psql('SELECT clock_timestamp()'));
for (1 .. 9)
{
	set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + interval '10 s'}));
	wait_until($node, $db, q{SELECT started_at > jobsched_internal.clock_now() - interval '9 s' FROM jobsched_internal.ring WHERE ring = 0}, 'the ring has moved on');
}
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $gone"), '0', 'a parent is forgotten');
$again = retry($run);
is(ended($again), 'succeeded', 'the run is retried');
is(seen($again), "$failed failed", 'and sees those that are left');

set_setting($node, 'jobsched.failure_retention', '1 min');
my $enough = 0;
while (psql('SELECT count(*) FROM jobsched_internal.waited') ne '0' && $enough++ < 20)
{
	set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + interval '10 s'}));
	wait_until($node, $db, q{SELECT min(started_at) > jobsched_internal.clock_now() - interval '9 s' FROM jobsched_internal.ring}, 'the rings have moved on');
}
is(rows(), '0|0', 'with the records of the runs goes for whom they have waited');

end_sessions($node);
$node->stop;
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
done_testing();
