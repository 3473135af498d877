# Copyright (c) 2026, jobsched contributors

# kill -9 of worker, scheduler and server at each commit of a tree with many members: a
# workflow with a step for each of many things, and a batch with a run after it.
# Whatever was killed: each member has done its work once, totals are right, what comes
# after comes once.  And a workflow that takes longer than history is kept.
#
# JOBSCHED_CRASH_MEMBERS sets how many members there are; from 10,000 on each way of
# killing has its turn at each commit.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $members = $ENV{JOBSCHED_CRASH_MEMBERS} || 1000;
my $db = 'postgres';
my $superuser = getpwuid($<);
my $patience = $PostgreSQL::Test::Utils::timeout_default || 180;

# The scheduler does not wait for the disk.  With this delay of the WAL writer what it
# has committed last is lost when the server is killed, unless something flushes it.
my $node = jobsched_node('workflow_crash', conf => q{
restart_after_crash = on
wal_level = replica
max_wal_senders = 2
wal_writer_delay = '10 s'
fsync = off
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

psql('CREATE TABLE public.flush (n int)');
app(qq{
	CREATE TABLE app.told (run_id bigint);
	CREATE FUNCTION app.tell(run jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.told VALUES ((run ->> ''run_id'')::bigint)';
	-- one of a hundred fails
	CREATE FUNCTION app.member(args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		PERFORM app.leave(args);
		IF COALESCE(args -> 'item', args -> 'n')::int % 100 = 0 THEN
			RAISE 'as planned';
		END IF;
	END \$\$;
	CREATE FUNCTION app.sum(args jsonb) RETURNS jsonb LANGUAGE sql AS \$\$
		SELECT app.leave(args);
		SELECT u.result FROM jobsched.upstream() u
	\$\$;
	SELECT jobsched.create_job('member', handler => 'app.member', share_transaction => true, backoff_base => '10 ms');
	SELECT jobsched.create_job('completion', handler => 'app.sum', backoff_base => '10 ms');
	SELECT jobsched.create_job('fan', on_success => 'app.tell', steps => '[
		{"name": "each", "for_each": "SELECT to_jsonb(i) FROM generate_series(1, $members) i", "handler": "app.member", "optional": true, "backoff_base": "10 ms"},
		{"name": "sum", "handler": "app.sum", "when": "done", "backoff_base": "10 ms"},
		{"name": "approved", "handler": "app.leave", "wait_for": ["go"], "backoff_base": "10 ms"}]')});

# ------------------------------------------------------------------------
# Where, and how
# ------------------------------------------------------------------------

my ($fan, $batch, $completion);

sub begin
{
	($fan, $batch) = split /\|/, app(qq{SELECT jobsched.trigger('fan'), jobsched.trigger_batch('member',
		ARRAY(SELECT jsonb_build_object('n', i) FROM generate_series(1, $members) i), on_complete => 'completion')});
	return;
}

# By the number of members of the batch, and elements, that have ended.
sub ended_more_than
{
	my ($share) = @_;
	return sub {
		"SELECT count(*) >= 2 * $members * $share FROM jobsched.runs r WHERE status IN ('succeeded', 'failed')
			AND parent_run_id IN ($batch, (SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $fan AND step = 'each'))";
	};
}

sub has_ended
{
	my ($of) = @_;
	return sub { 'SELECT EXISTS (SELECT FROM jobsched.runs WHERE finished_at IS NOT NULL AND run_id IN (SELECT run_id FROM (' . $of->() . ') o (run_id)))' };
}

sub step { my ($name) = @_; return sub { "SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $fan AND step = '$name'" }; }

# In the order in which they come.
my @places = (
	[ 'all is queued', sub { 'SELECT true' } ],
	[ 'the steps are queued', sub { "SELECT EXISTS (" . step('each')->() . ')' } ],
	[ 'the elements are queued', sub { "SELECT EXISTS (SELECT FROM jobsched.step_items WHERE workflow_run_id = $fan)" } ],
	[ 'some have ended', ended_more_than(0.1) ],
	[ 'half have ended', ended_more_than(0.5) ],
	[ 'almost all have ended', ended_more_than(0.97) ],
	[ 'the batch has ended', has_ended(sub { "SELECT $batch" }) ],
	[ 'what comes after it has ended', has_ended(sub { "SELECT run_id FROM jobsched.runs WHERE job_name = 'completion' AND run_id > $batch" }) ],
	[ 'the step with elements has ended', has_ended(step('each')) ],
	[ 'the step after it has ended', has_ended(step('sum')) ],
	[ 'the event is sent', sub { "SELECT true" } ],
	[ 'the last step has ended', has_ended(step('approved')) ],
	[ 'all has ended', has_ended(sub { "SELECT $fan" }) ]);

sub kill_process
{
	my ($pid) = @_;

	kill 'KILL', $pid if $pid;
	return wait_connection($node, $db);
}

my $is_held = q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type LIKE 'jobsched%')};

# Returns whether somebody is held where it has committed, and has not gone on: it
# waits for a standby that does not exist.
sub hold_commits
{
	my $until = time() + 3;

	set_setting($node, 'synchronous_standby_names', 'nobody');
	while (time() < $until)
	{
		return 1 if psql($is_held) eq 't';
		last if psql('SELECT NOT EXISTS (SELECT FROM jobsched_internal.run)') eq 't';
		usleep(5_000);
	}
	return 0;
}

my %held;

my %ways = (
	'the server is killed' => sub { end_sessions($node); kill_and_start($node) },
	'the server is killed, with all on the disk' => sub {
		psql('INSERT INTO public.flush VALUES (1)');
		end_sessions($node);
		kill_and_start($node);
	},
	'the server is killed while commits are held' => sub {
		$held{ hold_commits() }++;
		# no process hears of that any more
		$node->safe_psql($db, 'ALTER SYSTEM RESET synchronous_standby_names');
		end_sessions($node);
		kill_and_start($node);
	},
	'a worker is killed' => sub { my ($pid) = worker_pids($node, $db); end_sessions($node); kill_process($pid) },
	'the scheduler is killed' => sub { my $pid = scheduler_pid($node, $db); end_sessions($node); kill_process($pid) });

# ------------------------------------------------------------------------
# What has become of it
# ------------------------------------------------------------------------

my $failing = int($members / 100);
my $totals = join '|', $members, $members - $failing, $failing, 0, 0;
my $columns = join ', ', map { "result ->> '$_'" } qw(total succeeded failed lost cancelled);

sub check
{
	my ($name) = @_;
	my $left = $members - $failing;

	is(end_of($node, $db, $fan), 'succeeded', "$name: the workflow run");
	is(end_of($node, $db, $batch), 'failed child_failed', "$name: the batch");
	$completion = psql("SELECT string_agg(run_id::text, ',') FROM jobsched.runs WHERE job_name = 'completion' AND run_id > $batch");
	is(end_of($node, $db, $completion), 'succeeded', "$name: one run after it");
	is(psql("SELECT $columns FROM jobsched.runs WHERE run_id = $batch"), $totals, "$name: totals of the batch");
	is(psql("SELECT $columns FROM jobsched.runs WHERE run_id = $completion"), $totals, "$name: which the run after it has got");
	is(psql("SELECT $columns FROM jobsched.steps WHERE workflow_run_id = $fan AND step = 'each'"), $totals, "$name: totals of the step");
	is(psql("SELECT $columns FROM jobsched.steps WHERE workflow_run_id = $fan AND step = 'sum'"), $totals, "$name: which the next step has got");
	is(psql("SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $fan"),
		'each failed child_failed, sum succeeded, approved succeeded', "$name: the steps");
	is(psql("SELECT count(*), count(DISTINCT e.run_id), count(DISTINCT r.run_id) FILTER (WHERE r.status = 'succeeded'), count(*) FILTER (WHERE r.status IS DISTINCT FROM 'succeeded')
		FROM app.effect e LEFT JOIN jobsched.runs r USING (run_id) WHERE e.run_id >= $fan"), join('|', (2 * $left + 3) x 3, 0), "$name: each has left its effect once");
	is(psql("SELECT count(*), count(DISTINCT run_id) FROM jobsched.runs WHERE parent_run_id IN ($batch, (SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $fan AND step = 'each'))"),
		join('|', (2 * $members) x 2), "$name: each is there once");
	wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.run', '0', "$name: nothing is left");
	is(psql("SELECT string_agg(run_id::text, ',') FROM app.told"), $fan, "$name: the function is told once");
	is(psql('SELECT count(*) FROM jobsched_internal.dependency'), '0', "$name: nobody waits");
	psql('TRUNCATE app.effect, app.told');
	return;
}

sub crash_at
{
	my ($place, $way) = @_;
	my ($where, $condition) = @$place;

	begin();
	if ($where eq 'the event is sent')
	{
		until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched.steps WHERE workflow_run_id = $fan AND reason = 'waiting_for_event')", 'the last step waits');
	}
	app("SELECT jobsched.send_event('go', run_id => $fan)");
	until_true($node, $db, $condition->(), $where);
	$ways{$way}->();
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	return check("$where, $way");
}

my $hold = 'the server is killed while commits are held';
my @ways = sort grep { $_ ne $hold } keys %ways;
splice @ways, 2, 0, $hold;    # early, and late
for my $i (0 .. $#places)
{
	crash_at($places[$i], $_) for $members >= 10_000 ? @ways : $ways[ $i % @ways ];
}
# where most is going on, each of them
crash_at($places[4], $_) for $members >= 10_000 ? () : @ways;
# a fast machine may be done before commits are held; here they are from the first on
set_setting($node, 'synchronous_standby_names', 'nobody');
app('SET synchronous_commit = local');
begin();
app("SELECT jobsched.send_event('go', run_id => $fan)");
until_true($node, $db, $is_held, 'commits are held');
$ways{$hold}->();
wait_scheduler($node, $db);
check("all is queued, $hold");
cmp_ok($held{1} // 0, '>', 0, 'commits have been held');

# ------------------------------------------------------------------------
# For whom a run has waited, in portions
# ------------------------------------------------------------------------

# The scheduler deletes rows of dependency of a run that has succeeded, and moves those of
# one that has not, some in each of its steps.  It leaves a row that somebody holds: so it
# is killed when it has come as far as that.
my ($wide, $before) = (5000, 2999);
app(q{
	CREATE TABLE app.upstream (run_id bigint, parents bigint, succeeded bigint);
	CREATE FUNCTION app.count_upstream(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.upstream SELECT jobsched.run_id(), count(DISTINCT run_id), count(*) FILTER (WHERE status = 'succeeded') FROM jobsched.upstream()
	$$;
	CREATE FUNCTION app.quick(args jsonb) RETURNS void LANGUAGE sql AS '';
	SELECT jobsched.create_job('quick', handler => 'app.quick', share_transaction => true);
	SELECT jobsched.create_job('wide', handler => 'app.count_upstream', backoff_base => '10 ms')});
my $parents = app("SELECT array_agg(r) FROM jobsched.trigger_many('quick', array_fill(NULL::jsonb, ARRAY[$wide])) r");
wait_drained($node, $db);

sub rows_of
{
	my ($run) = @_;
	return "SELECT (SELECT count(*) FROM jobsched_internal.dependency WHERE run_id = $run), (SELECT count(*) FROM jobsched_internal.waited WHERE run_id = $run)";
}

sub crash_between_portions
{
	my ($way, $succeeds) = @_;
	my $what = ($succeeds ? 'rows are deleted, ' : 'rows are moved, ') . $way;

	app(q{SELECT jobsched.pause_job('wide')});
	my $run = app("SELECT jobsched.trigger('wide', after => '$parents')");
	# those that OFFSET passes over would be locked too
	my $gate = close_gate($node, $db, "SELECT FROM jobsched_internal.dependency WHERE run_id = $run AND parent_run_id =
		(SELECT parent_run_id FROM jobsched_internal.dependency WHERE run_id = $run ORDER BY parent_run_id OFFSET $before LIMIT 1) FOR UPDATE");
	app("SELECT jobsched.cancel_run($run)") unless $succeeds;
	app(q{SELECT jobsched.resume_job('wide')});
	is(end_of($node, $db, $run), $succeeds ? 'succeeded' : 'cancelled cancelled', "$what: the run ends");
	wait_value($node, $db, rows_of($run), join('|', $wide - $before, $succeeds ? 0 : $before), "$what: a part is done");
	$ways{$way}->();
	eval { $gate->quit };
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	wait_value($node, $db, rows_of($run), join('|', 0, $succeeds ? 0 : $wide), "$what: all of it is done, once");
	$run = app("SELECT jobsched.retry_run($run)") unless $succeeds;
	is(end_of($node, $db, $run), 'succeeded', "$what: its retry ends");
	return is(psql("SELECT parents, succeeded FROM app.upstream WHERE run_id = $run"), "$wide|$wide", "$what: who has looked has seen all of them");
}

for my $way ('the server is killed', 'the server is killed, with all on the disk', 'the scheduler is killed')
{
	crash_between_portions($way, $_) for 0, 1;
}

# ------------------------------------------------------------------------
# Longer than history is kept
# ------------------------------------------------------------------------

# A workflow of five minutes, and retention of one.
app(q{
	CREATE FUNCTION app.seen(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(r.step || ' ' || r.status ORDER BY r.run_id) FROM jobsched.step_results() r WHERE r.status IN ('succeeded', 'failed')
	$$;
	CREATE FUNCTION app.fail(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'as planned'; END $$;
	SELECT jobsched.create_job('other', command => 'SELECT 1');
	SELECT jobsched.create_job('long', steps => '[
		{"name": "each", "for_each": "SELECT ''[1, 2]''::jsonb", "command": "SELECT jobsched.args() -> ''item'' AS n"},
		{"name": "bad", "handler": "app.fail", "after": [], "optional": true, "max_attempts": 1},
		{"name": "one", "command": "SELECT 1 AS n", "after": ["each"], "delay": "150 s"},
		{"name": "two", "command": "SELECT 2 AS n", "delay": "150 s"},
		{"name": "three", "handler": "app.seen", "after": ["two", "bad"], "when": "done", "delay": "150 s"}]')});
set_setting($node, 'jobsched.history_retention', '1 min');
set_setting($node, 'jobsched.failure_retention', '1 min');

# Some seconds later; a ring cannot stay behind for longer than a seventh of the retention.
sub pass_time
{
	my ($seconds) = @_;

	for (1 .. $seconds / 10)
	{
		set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + interval '10 s'}));
		wait_until($node, $db, q{SELECT min(started_at) > jobsched_internal.clock_now() - interval '9 s' FROM jobsched_internal.ring}, 'both rings have moved on');
	}
	return;
}

set_clock($node, $db, psql('SELECT clock_timestamp()'));
my $long = app(q{SELECT jobsched.trigger('long')});
my $other = app(q{SELECT jobsched.trigger('other')});
end_of($node, $db, $other);
until_true($node, $db, "SELECT count(*) = 2 FROM jobsched.steps WHERE workflow_run_id = $long AND finished_at IS NOT NULL", 'the first steps have ended');
pass_time(90);
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $other"), '0', 'another run is forgotten');
for my $step (qw(one two))
{
	pass_time(70);
	until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched.steps WHERE workflow_run_id = $long AND step = '$step' AND status = 'succeeded')", "$step has ended");
	end_sessions($node);
	kill_and_start($node) if $step eq 'one';
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	if ($step eq 'one')
	{
		# the clock is the server's, which knows nothing of it any more
		set_clock($node, $db, psql("SELECT finished_at FROM jobsched.steps WHERE workflow_run_id = $long AND step = 'one'"));
	}
	pass_time(90);
	is(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $long"), '5', 'the steps are kept');
	is(psql("SELECT count(*) FROM jobsched.step_items WHERE workflow_run_id = $long"), '2', 'and the elements');
}
pass_time(70);
is(end_of($node, $db, $long), 'succeeded', 'the workflow ends after more than five minutes');
is(psql("SELECT result -> 'three' FROM jobsched.runs WHERE run_id = $long"),
	'["each succeeded", "bad failed", "one succeeded", "two succeeded"]', 'its last step has seen all of them');
is(psql("SELECT concat_ws(' ', result #>> '{each,total}', result #>> '{one,n}', result #>> '{two,n}') FROM jobsched.runs WHERE run_id = $long"), '2 1 2', 'and so has its result');
pass_time(180);
is(psql("SELECT (SELECT count(*) FROM jobsched.runs WHERE run_id = $long OR parent_run_id = $long), (SELECT count(*) FROM jobsched.step_items WHERE workflow_run_id = $long)"), '0|0', 'then all of it is forgotten');

end_sessions($node);
$node->stop;
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
done_testing();
