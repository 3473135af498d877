# Copyright (c) 2026, jobsched contributors

# Runs that wait for events: who sees which, in every order of sending and queueing;
# what is consumed; time; kill -9 of each process; and what happens to jobs meanwhile.

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
my $node = jobsched_node('events', conf => "restart_after_crash = on\nmax_prepared_transactions = 5\n");

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

# One that waits for events.
sub await
{
	my ($names, $more) = @_;
	return trigger('get', "wait_for => '{$names}'" . ($more ? ", $more" : ''));
}

sub send_event
{
	my ($arguments) = @_;
	return app("SELECT jobsched.send_event($arguments)");
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

sub result
{
	my ($run_id) = @_;
	ended($run_id);
	return psql("SELECT concat_ws(' ', status, reason, result) FROM jobsched.runs WHERE run_id = $run_id");
}

sub state
{
	my ($run_id) = @_;
	return psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run_id");
}

# The scheduler has made a step that began after now, so it has seen what was committed.
my $tick = 0;

sub step
{
	is(ended(trigger('nop')), 'succeeded', 'a step ' . ++$tick);
	return ended(trigger('nop'));
}

sub stop { return psql('SELECT jobsched.stop_processing()') }
sub start { return psql('SELECT jobsched.start_processing()') }

# What it has got, by name.
app(q{
	CREATE FUNCTION app.get(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		got jsonb = '{}';
		name text;
	BEGIN
		PERFORM app.leave(args);
		FOREACH name IN ARRAY string_to_array(coalesce(args ->> 'names', 'a'), ',') LOOP
			got = got || jsonb_build_object(name, jobsched.event(name));
		END LOOP;
		IF (args ->> 'fail')::int >= jobsched.attempt() THEN
			RAISE 'once more' USING ERRCODE = '40001';
		END IF;
		RETURN got;
	END $$;
	SELECT jobsched.create_job('get', handler => 'app.get', backoff => 'fixed', backoff_base => '0', backoff_jitter => 0, max_attempts => 3);
	SELECT jobsched.create_job('nop', command => 'SELECT 1')});

# ------------------------------------------------------------------------
# Sent to all
# ------------------------------------------------------------------------

send_event(q{'a', '"old"'});
my $run = await('a');
my $other = await('a');
step();
is(state($run), 'queued waiting_for_event', 'it does not see what was sent before it was queued');
is(psql("SELECT events, until, parents FROM jobsched.waiting WHERE run_id = $run"), '{a}||0', 'and is in view waiting');
is(psql("SELECT count(*) FROM jobsched.upcoming WHERE run_id = $run"), '0', 'not in view upcoming');
send_event(q{'b'});
step();
is(state($run), 'queued waiting_for_event', 'another name does not concern it');
send_event(q{'a', '{"n": 1}'});
is(result($_), 'succeeded {"a": {"n": 1}}', 'all that wait see it') for ($run, $other);
$run = await('a');
step();
is(state($run), 'queued waiting_for_event', 'one that is queued later does not');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'it can be cancelled');

# all of several; the first of each; NULL
$run = await('a,b,c', q{args => '{"names": "a,b,c"}'});
send_event(q{'b', '1'});
send_event(q{'b', '2'});
step();
is(psql("SELECT events FROM jobsched.waiting WHERE run_id = $run"), '{a,c}', 'the others are still to come');
send_event(q{'c'});
send_event(q{'a', '3'});
is(result($run), 'succeeded {"a": 3, "b": 1, "c": null}', 'it starts when all have come, with the first of each');

# before the wait begins
stop();
my $parent = trigger('nop');
$run = await('a', "after => '{$parent}'");
send_event(q{'a', '"early"'});
send_event(q{'a', '"late"'});
start();
is(result($run), 'succeeded {"a": "early"}', 'what comes while it waits for runs is not lost, and the first counts');

# run_at is one condition more
$run = await('a', q{run_at => now() + interval '1 day'});
send_event(q{'a'});
step();
is(state($run), 'queued not_due', 'it waits for its run_at too');
app("SELECT jobsched.cancel_run($run)");

# attempts
$run = await('a', q{args => '{"fail": 2}'});
send_event(q{'a', '7'});
send_event(q{'a', '8'});
is(result($run), 'succeeded {"a": 7}', 'each attempt gets the same');

# of one statement
is(app(q{SELECT count(*) FROM jobsched.trigger_many('get', '{NULL,NULL,NULL}', wait_for => '{a}')}), '3', 'many wait');
send_event(q{'a', '9'});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE result = '{"a": 9}'}, '3', 'and are let go');

# ------------------------------------------------------------------------
# Sent to a run
# ------------------------------------------------------------------------

$run = await('a');
$other = await('a');
my $event = send_event("'a', '1', $other");
is(result($other), 'succeeded {"a": 1}', 'it is for that run');
is(state($run), 'queued waiting_for_event', 'and for no other one');
is(psql("SELECT taken_by = $other, owner, run_id = $other FROM jobsched.events WHERE event_id = $event"), 't|app|t', 'it was taken');
is(send_event("'a', '1', $other"), '', 'a run that has ended gets none');
send_event("'a', '\"mine\"', $run");
send_event("'a', '\"for all\"'");
is(result($run), 'succeeded {"a": "mine"}', 'the first counts, whoever it is for');

# steps
app(q{SELECT jobsched.create_job('ship', steps => '[
	{"name": "check", "command": "SELECT 1"},
	{"name": "approve", "handler": "app.get", "wait_for": ["a"], "wait_timeout": "3 days"},
	{"name": "again", "handler": "app.get", "wait_for": ["a"], "after": ["check"]},
	{"name": "other", "handler": "app.get", "args": {"names": "b"}, "wait_for": ["b"], "after": []}]')});
is(app(q{SELECT explanation FROM jobsched.explain_steps('ship') WHERE step <> 'check' ORDER BY step_no}),
	qq(Calls its function when "check" has succeeded, and event "a" has come.\n) .
	qq(Calls its function when "check" has succeeded, and event "a" has come.\n) .
	qq(Calls its function when event "b" has come.), 'explain_steps() tells');

sub steps
{
	my ($workflow) = @_;
	return psql("SELECT string_agg(concat_ws(' ', step, status, reason, result), ', ' ORDER BY step) FROM jobsched.steps WHERE workflow_run_id = $workflow");
}

stop();
my $workflow = trigger('ship');
my $second = trigger('ship');
send_event("'a', '1', $workflow");
start();
wait_value($node, $db, "SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $workflow AND result = '{\"a\": 1}'", '1',
	'what was sent to the workflow run before its steps were there is taken by one of them');
step();
is(psql("SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $workflow AND reason = 'waiting_for_event'"), '2', 'and by one only');
is(psql("SELECT until > now() + interval '2 days' FROM jobsched.waiting w JOIN jobsched.steps s USING (run_id) WHERE workflow_run_id = $second AND step = 'approve'"),
	't', 'its time is counted');
send_event("'a', '2', $workflow");
send_event("'b', '3', $workflow");
is(ended($workflow), 'succeeded', 'the workflow ends when all have come');
is(psql("SELECT count(DISTINCT result) FROM jobsched.steps WHERE workflow_run_id = $workflow AND step IN ('approve', 'again')"), '2', 'each was consumed once');
send_event("'a', '4'");
my $step = psql("SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $second AND step = 'other'");
send_event("'b', '5', $step");
is(ended($second), 'succeeded', 'events to all and to a step');
is(steps($second), 'again succeeded {"a": 4}, approve succeeded {"a": 4}, check succeeded {"?column?": 1}, other succeeded {"b": 5}', 'all see what was sent to all')
  or diag steps($second);

# what else steps have: delay, if, for_each
app(q{
	CREATE FUNCTION app.named(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_array(args -> 'item', jobsched.event('a') -> 'by') $$;
	SELECT jobsched.create_job('each', steps => '[
	{"name": "send", "handler": "app.named", "for_each": "SELECT jobsched.event(''a'') -> ''to''", "wait_for": ["a"]},
	{"name": "tell", "handler": "app.named", "after": [], "wait_for": ["a"], "if": "jobsched.event(''a'') ? ''no''"}]')});
$workflow = trigger('each');
wait_value($node, $db, "SELECT count(*) FROM jobsched.waiting JOIN jobsched.steps USING (run_id) WHERE workflow_run_id = $workflow", '2', 'both wait');
is(psql("SELECT waiting, queued, current_step FROM jobsched.workflows WHERE run_id = $workflow"), '2|0|', 'view workflows counts them as waiting');
send_event(q{'a', '{"to": ["ann", "bob"], "by": "cid"}'});
is(ended($workflow), 'succeeded', 'events in for_each and if');
is(psql("SELECT string_agg(r.result::text, ' ' ORDER BY r.run_id) FROM jobsched.runs r JOIN jobsched.steps s ON r.parent_run_id = s.run_id WHERE s.workflow_run_id = $workflow"),
	'["ann", "cid"] ["bob", "cid"]', 'elements have what their step has got');
is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.steps WHERE workflow_run_id = $workflow AND step = 'tell'"), 'skipped condition', 'a condition has it too');

# always, after a cancel; skip_step(); what is carried over
app(q{SELECT jobsched.create_job('lasts', steps => '[
	{"name": "first", "handler": "app.named", "wait_for": ["a"]},
	{"name": "never", "command": "SELECT 1", "after": [], "wait_for": ["b"]},
	{"name": "last", "handler": "app.named", "after": ["first", "never"], "when": "always", "wait_for": ["c", "a"]}]')});
$workflow = trigger('lasts');
send_event("'a', '{\"by\": 1}', $workflow");
wait_value($node, $db, "SELECT result FROM jobsched.steps WHERE workflow_run_id = $workflow AND step = 'first'", '[null, 1]', 'one has its event');
app("SELECT jobsched.cancel_run($workflow)");
wait_value($node, $db, "SELECT events FROM jobsched.waiting JOIN jobsched.steps USING (run_id) WHERE workflow_run_id = $workflow AND parents = 0", '{c,a}',
	'one that is always done waits after a cancel too');
send_event("'a', '{\"by\": 2}', $workflow");
send_event("'c', NULL, $workflow");
is(ended($workflow), 'cancelled cancelled', 'and has its events');
is(steps($workflow), 'first succeeded [null, 1], last succeeded [null, 2], never cancelled parent_ended', 'the others were cancelled');
$workflow = app("SELECT jobsched.retry_run($workflow, from_step => '{last}')");
wait_value($node, $db, "SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $workflow AND reason = 'waiting_for_event'", '1', 'what is done anew waits anew');
app("SELECT jobsched.skip_step($workflow, 'never')");
wait_value($node, $db, "SELECT count(*) FROM jobsched.waiting JOIN jobsched.steps USING (run_id) WHERE workflow_run_id = $workflow AND step = 'last' AND parents = 0", '1', 'what waits for an event can be skipped');
app("SELECT jobsched.skip_step($workflow, 'last')");
is(ended($workflow), 'succeeded', 'nothing waits any more');
is(steps($workflow), 'first succeeded carried_over [null, 1], last skipped skipped_by_request, never skipped skipped_by_request', 'what was carried over waited for nothing');

# many that await the same of one run
app(q{
	CREATE FUNCTION app.spread(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT count(*) FROM jobsched.trigger_many('get', array_fill(NULL::jsonb, ARRAY[(args ->> 'n')::int]), child => true, wait_for => '{a}')
	$$;
	SELECT jobsched.create_job('spread', handler => 'app.spread')});
$workflow = trigger('spread', q{args => '{"n": 60}'});
app("DO \$\$ BEGIN FOR i IN 1..40 LOOP PERFORM jobsched.send_event('a', to_jsonb(i), $workflow); END LOOP; END \$\$");
step();
app("DO \$\$ BEGIN FOR i IN 41..60 LOOP PERFORM jobsched.send_event('a', to_jsonb(i), $workflow); END LOOP; END \$\$");
is(ended($workflow), 'succeeded', 'as many events as children');
is(psql("SELECT count(*), count(DISTINCT result), min((result ->> 'a')::int), max((result ->> 'a')::int) FROM jobsched.runs WHERE parent_run_id = $workflow"),
	'60|60|1|60', 'each child has one');

# one of those that are told is cancelled
$workflow = trigger('spread', q{args => '{"n": 3}'});
wait_value($node, $db, "SELECT count(*) FROM jobsched.waiting w JOIN jobsched.runs r USING (run_id) WHERE parent_run_id = $workflow", '3', 'three wait');
app("BEGIN; SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.runs WHERE parent_run_id = $workflow; SELECT jobsched.send_event('a', to_jsonb(i), $workflow) FROM generate_series(1, 3) i; COMMIT");
is(ended($workflow), 'failed child_failed', 'the others get theirs');
is(psql("SELECT count(DISTINCT result) FROM jobsched.runs WHERE parent_run_id = $workflow AND status = 'succeeded'"), '2', 'one each');
$workflow = trigger('spread', q{args => '{"n": 3}'});
wait_value($node, $db, "SELECT count(*) FROM jobsched.waiting w JOIN jobsched.runs r USING (run_id) WHERE parent_run_id = $workflow", '3', 'three wait again');
app("SELECT jobsched.cancel_run($workflow)");
is(ended($workflow), 'cancelled cancelled', 'a tree that waits is cancelled');

# ------------------------------------------------------------------------
# Time
# ------------------------------------------------------------------------

set_clock($node, $db, '2030-01-01 00:00+00');
$run = await('a', q{wait_timeout => '1 hour'});
my $after = trigger('nop', "after => '{$run}', after_when => 'failure'");
until_true($node, $db, "SELECT until = '2030-01-01 01:00+00' FROM jobsched.waiting WHERE run_id = $run", 'its time is counted');
set_clock($node, $db, '2030-01-01 00:59:59+00');
step();
is(state($run), 'queued waiting_for_event', 'its time is not over');
set_clock($node, $db, '2030-01-01 01:00+00');
is(ended($run), 'timed_out no_event', 'it is');
is(psql("SELECT attempt, started_at IS NULL, error FROM jobsched.runs WHERE run_id = $run"), '0|t|event "a" has not come', 'no attempt was made');
is(ended($after), 'succeeded', 'those that wait for its failure start');
is(psql("SELECT count(*) FROM jobsched.dead_letters WHERE run_id = $run"), '1', 'it is a dead letter');
my $again = app("SELECT jobsched.retry_run($run)");
step();
is(state($again), 'queued waiting_for_event', 'a retry waits too');
send_event("'a', '1'");
is(result($again), 'succeeded {"a": 1}', 'for an event of its own');

# from when its parents have ended, and not before its run_at
$parent = trigger('nop', q{run_at => '2030-01-01 02:00+00'});
$run = await('a', "after => '{$parent}', wait_timeout => '1 hour'");
$other = await('a', q{run_at => '2030-01-01 05:00+00', wait_timeout => '1 hour'});
set_clock($node, $db, '2030-01-01 02:30+00');
until_true($node, $db, "SELECT until = '2030-01-01 03:30+00' FROM jobsched.waiting WHERE run_id = $run", 'it begins to wait when its parent has ended');
is(psql("SELECT until FROM jobsched.waiting WHERE run_id = $other"), psql(q{SELECT '2030-01-01 06:00+00'::timestamptz}), 'not before its run_at');
end_sessions($node);
$node->restart;
wait_scheduler($node, $db);
set_clock($node, $db, '2030-01-01 03:29+00');
step();
is(state($run), 'queued waiting_for_event', 'a restart does not change that');
is(psql("SELECT until FROM jobsched.waiting WHERE run_id = $run"), psql(q{SELECT '2030-01-01 03:30+00'::timestamptz}), 'its time has not begun anew');

# the end of time
my $last = await('a', q{run_at => '294276-12-31 12:00+00', wait_timeout => '3650 days'});
until_true($node, $db, "SELECT until = '294276-12-31 23:59:59.999999+00' FROM jobsched.waiting WHERE run_id = $last", 'a time that would be over after the last instant');
app("SELECT jobsched.cancel_run($last)");

# what came in time counts, though the scheduler did not see it
my $scheduler = scheduler_pid($node, $db);
kill 'STOP', $scheduler;
send_event("'a', '2'");
set_clock($node, $db, '2030-01-01 10:00+00');
kill 'CONT', $scheduler;
is(result($_), 'succeeded {"a": 2}', 'an event that has come is seen before the time is over') for ($run, $other);

# events are kept for as long as they are needed
$run = await('a,b', q{args => '{"names": "a,b"}'});
$event = send_event("'a', '1', keep => '1 minute'");
my $gone = send_event("'x', '1', keep => '1 minute'");
my $kept = send_event("'x', '1', keep => '1 day'");
step();
set_clock($node, $db, '2030-01-01 12:00+00');
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
wait_value($node, $db, "SELECT string_agg(event_id::text, ',' ORDER BY event_id) FROM jobsched.events WHERE event_id IN ($event, $gone, $kept)",
	"$event,$kept", 'events that have expired and that nobody needs are deleted');
send_event("'b', '2'");
is(result($run), 'succeeded {"a": 1, "b": 2}', 'what it has got is kept');

# one that is to end, and does not as somebody holds its row, is told of what another awaits too
set_clock($node, $db, '2030-01-01 12:30+00');
app(q{
	CREATE FUNCTION app.two(args jsonb) RETURNS void LANGUAGE sql AS $$
		SELECT jobsched.trigger('get', child => true, optional => true, wait_for => '{a}', wait_timeout => '1 hour'),
			jobsched.trigger('get', child => true, wait_for => '{a,b}')
	$$;
	SELECT jobsched.create_job('two', handler => 'app.two')});
$parent = trigger('two');
wait_value($node, $db, "SELECT count(*) FROM jobsched.waiting w JOIN jobsched.runs r USING (run_id) WHERE parent_run_id = $parent", '2', 'two wait');
$run = psql("SELECT min(run_id) FROM jobsched.runs WHERE parent_run_id = $parent");
step();
my $holder = $node->background_psql($db);
$holder->query_safe("BEGIN; SELECT FROM jobsched_internal.run WHERE run_id = $run FOR UPDATE");
set_clock($node, $db, '2030-01-01 13:30+00');
step();
send_event("'b', '3', $parent");
step();
send_event("'a', '3', $parent");
step();
$holder->query_safe('COMMIT');
$holder->quit;
is(ended($parent), 'succeeded', 'the other one gets it') or diag psql("SELECT * FROM jobsched.waiting");
is(state($run), 'timed_out no_event', 'its time was over');

# More at once than a step sees to.
app(q{SELECT count(*) FROM jobsched.trigger_many('get', array_fill(NULL::jsonb, ARRAY[6000]), wait_for => '{never}', wait_timeout => '1 minute')});
wait_value($node, $db, 'SELECT count(*) FROM jobsched.waiting WHERE until IS NOT NULL', '6000', 'many wait for a minute');
set_clock($node, $db, '2030-01-01 14:00+00');
wait_drained($node, $db);
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE status = 'timed_out' AND reason = 'no_event' AND finished_at >= '2030-01-01 14:00+00'}), '6000', 'it is over for all of them');
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Commits
# ------------------------------------------------------------------------

sub begin
{
	my ($sql) = @_;
	my $session = $node->background_psql($db, extra_params => [ '-U', 'app' ]);

	return ($session, $session->query_safe("BEGIN; $sql"));
}

# queued first; sent and committed while that is open
my ($open, $id) = begin(q{SELECT jobsched.trigger('get', wait_for => '{a}')});
send_event(q{'a', '"between"'});
$open->query_safe('COMMIT');
$open->quit;
is(result($id), 'succeeded {"a": "between"}', 'an event that was committed after the run was queued, and before its commit');

# sent first, queued and committed while that is open
($open) = begin(q{SELECT jobsched.send_event('a', '"later"')});
$run = await('a');
step();
is(state($run), 'queued waiting_for_event', 'an open transaction has sent nothing');
$open->query_safe('COMMIT');
$open->quit;
is(result($run), 'succeeded {"a": "later"}', 'what counts is its commit');

# rolled back
($open) = begin(q{SELECT jobsched.send_event('a', '"never"'); SAVEPOINT s; SELECT jobsched.send_event('a', '"nor this"')});
$run = await('a');
$open->query_safe('ROLLBACK');
step();
is(state($run), 'queued waiting_for_event', 'nothing comes of what is rolled back');
$open->query_safe(q{BEGIN; SAVEPOINT s; SELECT jobsched.send_event('a', '"undone"'); ROLLBACK TO s; SELECT jobsched.send_event('a', '"done"'); COMMIT});
$open->quit;
is(result($run), 'succeeded {"a": "done"}', 'to a savepoint too');

# in one transaction
is(app(q{BEGIN; SELECT jobsched.send_event('a', '"before"') \g /dev/null
	SELECT jobsched.trigger('get', wait_for => '{a}') AS id \gset
	COMMIT; SELECT :id}) =~ /(\d+)/, 1, 'sent before queued in one transaction');
$run = $1;
is(result($run), 'succeeded {"a": "before"}', 'what counts is the commit there too');

# prepared
$run = await('a');
psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.send_event('a', '"prepared"'); PREPARE TRANSACTION 'e'});
$other = await('a');
step();
is(state($run), 'queued waiting_for_event', 'a prepared event has not come');
psql(q{COMMIT PREPARED 'e'});
is(result($_), 'succeeded {"a": "prepared"}', 'until it is committed, and then also for who was queued meanwhile') for ($run, $other);
$run = await('a');
step();
is(state($run), 'queued waiting_for_event', 'not for who is queued later');
app("SELECT jobsched.cancel_run($run)");

my $prepared = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('get', wait_for => '{a}') AS id \gset
	PREPARE TRANSACTION 'r'; SELECT :id});
send_event(q{'a', '"meanwhile"'});
step();
psql(q{COMMIT PREPARED 'r'});
is(result($prepared), 'succeeded {"a": "meanwhile"}', 'a prepared run sees what came since it was queued');

# with the extension
$node->safe_psql('template1', 'CREATE DATABASE leaving');
$node->safe_psql('leaving', 'CREATE EXTENSION jobsched');
wait_scheduler($node, 'leaving');
is($node->safe_psql('leaving', q{BEGIN; SELECT jobsched.send_event('a') > 0; DROP EXTENSION jobsched; COMMIT}), 't', 'the extension can be dropped afterwards');

# both, in either order
for my $order ('e r', 'r e')
{
	my $id = psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.trigger('get', wait_for => '{a}') AS id \gset
		PREPARE TRANSACTION 'r'; SELECT :id});
	psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.send_event('a', '"both"'); PREPARE TRANSACTION 'e'});
	for my $gid (split / /, $order)
	{
		step();
		psql("COMMIT PREPARED '$gid'");
	}
	is(result($id), 'succeeded {"a": "both"}', "both prepared, committed in the order $order");
}

# prepared over a crash
$run = await('a');
psql(q{BEGIN; SET LOCAL ROLE app; SELECT jobsched.send_event('a', '"crashed"'); PREPARE TRANSACTION 'e'});
end_sessions($node);
kill_and_start($node);
wait_scheduler($node, $db);
psql(q{COMMIT PREPARED 'e'});
is(result($run), 'succeeded {"a": "crashed"}', 'prepared, and committed after a crash');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

sub kill_scheduler
{
	my $pid = scheduler_pid($node, $db);

	kill 'KILL', $pid;
	end_sessions($node);
	wait_connection($node);
	return wait_new_scheduler($node, $db, $pid);
}

$run = await('a,b', q{args => '{"names": "a,b"}'});
$other = await('a');
send_event("'a', '1', $run");
step();
kill_scheduler();
is(psql("SELECT events FROM jobsched.waiting WHERE run_id = $run"), '{b}', 'what it has got it keeps');
send_event("'a', '2', $run");
send_event("'a', '3', $other");
send_event("'b', '4'");
is(result($run), 'succeeded {"a": 1, "b": 4}', 'after a crash it gets the others');
is(result($other), 'succeeded {"a": 3}', 'and so do others');

# killed while many are let go
app(q{SELECT count(*) FROM jobsched.trigger_many('get', array_fill('{"names": "many"}'::jsonb, ARRAY[3000]), wait_for => '{many}')});
my $many = send_event(q{'many', '"x"'});
for my $i (1 .. 3)
{
	until_true($node, $db, "SELECT count(*) > 300 * $i FROM jobsched.runs WHERE result = '{\"many\": \"x\"}'", 'some have been let go');
	kill_scheduler();
}
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'all have ended');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE status = 'succeeded' AND result = '{"many": "x"}'}), '3000', 'each has got it');
check_exactly_once($node, $db, 'and ran once', "'get'");
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.event_match', 'nothing is left behind');

# the worker, and with it the server
app(q{
	CREATE FUNCTION app.hang(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.attempt() = 1 THEN
			PERFORM pg_sleep(3600);
		END IF;
		RETURN jobsched.event('a');
	END $$;
	SELECT jobsched.create_job('hang', handler => 'app.hang')});
$run = trigger('hang', q{wait_for => '{a}'});
send_event("'a', '1', $run");
wait_value($node, $db, "SELECT count(*) FROM jobsched.running WHERE run_id = $run", '1', 'it is executed');
my $open_event = send_event("'a', '2', $run");
kill 'KILL', psql("SELECT worker_pid FROM jobsched.running WHERE run_id = $run");
end_sessions($node);
wait_connection($node);
is(result($run), 'succeeded 1', 'the next attempt has the same event');
is(psql("SELECT count(*) FROM jobsched.events WHERE event_id = $open_event AND taken_by IS NULL"), '1', 'and has taken no other one');

# while the scheduler is down
$run = await('a');
step();
$scheduler = scheduler_pid($node, $db);
kill 'STOP', $scheduler;
send_event("'a', '\"down\"'");
kill 'KILL', $scheduler;
end_sessions($node);
wait_connection($node);
wait_new_scheduler($node, $db, $scheduler);
is(result($run), 'succeeded {"a": "down"}', 'what came while no scheduler was there is not lost');

# ------------------------------------------------------------------------
# A model
# ------------------------------------------------------------------------

# What is sent and queued one after the other decides what each run gets, whenever
# the scheduler looks, and however often it is killed: of each name the first that
# was sent later, to all or to this run.
srand($ENV{JOBSCHED_EVENTS_SEED} // 71);
my @waits;
for my $i (1 .. 300)
{
	my $name = ('a', 'b', 'c')[ rand 3 ];
	my @open = grep { !$_->{ended} } @waits;
	my $kind = rand;

	if ($kind < 0.4)
	{
		my @names = grep { rand() < 0.5 } ('a', 'b', 'c');
		@names = ($name) if !@names;
		my $names = join ',', @names;
		push @waits, { id => await($names, qq{args => '{"names": "$names"}'}), names => \@names, got => {} };
		next;
	}
	my $to = $kind < 0.8 && @open ? $open[ rand @open ] : undef;
	send_event("'$name', '$i'" . ($to ? ", $to->{id}" : ''));
	for my $wait ($to ? $to : @open)
	{
		$wait->{got}->{$name} //= $i if grep { $_ eq $name } @{ $wait->{names} };
		$wait->{ended} = keys %{ $wait->{got} } == @{ $wait->{names} };
	}
	kill_scheduler() if $i % 100 == 0;
}
my @wrong;
for my $wait (@waits)
{
	my $expected = $wait->{ended} ? 'succeeded {' . join(', ', map { qq{"$_": $wait->{got}->{$_}} } sort keys %{ $wait->{got} }) . '}'
	  : 'queued waiting_for_event';
	my $is = $wait->{ended} ? result($wait->{id}) : state($wait->{id});
	push @wrong, "run $wait->{id}: $is, and not $expected" if $is ne $expected;
}
cmp_ok(scalar(grep { $_->{ended} } @waits), '>', 50, 'many have got all');
is_deeply(\@wrong, [], 'each has got what the model says');
app("SELECT jobsched.cancel_runs('get')");
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the others are cancelled');

# ------------------------------------------------------------------------
# Meanwhile
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('held', handler => 'app.get')});
$run = trigger('held', q{wait_for => '{a}'});
app(q{SELECT jobsched.pause_job('held')});
send_event("'a', '1'");
step();
is(state($run), 'queued job_paused', 'a paused job\'s run gets its event');
app(q{SELECT jobsched.resume_job('held')});
is(result($run), 'succeeded {"a": 1}', 'and starts when it is resumed');
$run = trigger('held', q{wait_for => '{a}'});
app(q{SELECT jobsched.drop_job('held')});
is(ended($run), 'cancelled job_dropped', 'a dropped job\'s run is cancelled');

psql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other; GRANT USAGE ON SCHEMA app TO other; GRANT INSERT ON app.effect TO other});
app(q{SELECT jobsched.create_job('given', handler => 'app.get')});
$run = trigger('given', q{wait_for => '{a,b}', args => '{"names": "a,b"}'});
send_event("'b', '2'");
step();
psql(q{SELECT jobsched.alter_job('given', owner => 'other')});
send_event("'a', '1'");
step();
is(state($run), 'queued waiting_for_event', 'what the old owner sends is not for the new one\'s run');
session_sql($node, $db, 'other', "SELECT jobsched.send_event('a', '3')");
is(result($run), 'succeeded {"a": 3, "b": 2}', 'what the new one sends is');

psql(q{CREATE ROLE leaver LOGIN; GRANT USAGE ON SCHEMA jobsched TO leaver});
session_sql($node, $db, 'leaver', q{SELECT jobsched.create_job('left', command => 'SELECT 1')});
$run = session_sql($node, $db, 'leaver', q{SELECT jobsched.trigger('left', wait_for => '{a}')});
step();
psql(q{REVOKE USAGE ON SCHEMA jobsched FROM leaver; DROP ROLE leaver});
is(ended($run), 'failed owner_cannot_connect 42704', 'nobody waits for what nobody can send');

# hostile
$run = await('a');
session_sql($node, $db, 'other', "SELECT jobsched.send_event('a', '\"evil\"')");
step();
is(state($run), 'queued waiting_for_event', 'another role wakes nobody');
like(error_of($node, $db, "SELECT jobsched.send_event('a', '1', $run)", 'other'), qr/42704: +run $run does not exist/, 'and sends nothing to others\' runs');
is(session_sql($node, $db, 'other', "SELECT count(*) FROM jobsched.events WHERE owner = 'app'"), '0', 'nor sees their events');
is(session_sql($node, $db, 'other', 'SELECT count(*) FROM jobsched.waiting'), '0', 'nor who waits');
send_event("'a', '1'");
is(result($run), 'succeeded {"a": 1}', 'its owner does');

# An event whose row is held is taken later; so does a wait begin whose run's row is.
$run = await('a');
step();
$scheduler = scheduler_pid($node, $db);
kill 'STOP', $scheduler;
$event = send_event("'a', '1', $run");
$holder = $node->background_psql($db);
$holder->query_safe("BEGIN; SELECT 1 FROM jobsched_internal.event WHERE event_id = $event FOR UPDATE");
kill 'CONT', $scheduler;
step();
is(state($run), 'queued waiting_for_event', 'what somebody holds is not taken');
$holder->query_safe('COMMIT');
is(result($run), 'succeeded {"a": 1}', 'until he lets go');
kill 'STOP', $scheduler;
$run = await('a', q{wait_timeout => '1 hour'});
$holder->query_safe("BEGIN; SELECT 1 FROM jobsched_internal.run WHERE run_id = $run FOR UPDATE");
kill 'CONT', $scheduler;
step();
is(psql("SELECT until IS NULL FROM jobsched.waiting WHERE run_id = $run"), 't', 'nor does the time begin of a run that somebody holds');
$holder->query_safe('COMMIT');
$holder->quit;
until_true($node, $db, "SELECT until IS NOT NULL FROM jobsched.waiting WHERE run_id = $run", 'until he lets go');
send_event("'a', '1', $run");
is(ended($run), 'succeeded', 'it goes on');

# More runs wait than there is room for, and others wait for them.
set_setting($node, 'jobsched.max_queue_memory', '1 MB');
app("SELECT count(*) FROM jobsched.trigger_many('get', array_fill(NULL::jsonb, ARRAY[5000]), wait_for => '{a}')");
psql(q{SELECT count(jobsched.send_event('a', to_jsonb(run_id), run_id)) FROM (
	SELECT run_id FROM jobsched_internal.run WHERE wait_for IS NOT NULL ORDER BY run_id DESC) x});
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'all have gone');
is(psql("SELECT count(*) FROM jobsched.runs WHERE status = 'succeeded' AND result -> 'a' = to_jsonb(run_id)"), '5000', 'each has got what was sent to it');
app("SELECT count(jobsched.trigger('nop', after => ARRAY[r])) FROM jobsched.trigger_many('get', array_fill(NULL::jsonb, ARRAY[3000]), wait_for => '{a}') r");
send_event("'a', '\"room\"'");
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'those that wait for them, too');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE result = '{"a": "room"}'}), '3000', 'all have got what was sent to all');
app(q{SELECT count(*) FROM jobsched.trigger_many('nop', array_fill(NULL::jsonb, ARRAY[300]), wait_for => ARRAY(SELECT 'n' || i FROM generate_series(1, 50) i))});
app(q{SELECT count(jobsched.send_event('n' || i)) FROM generate_series(1, 50) i});
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'those that wait for many events, too');
set_setting($node, 'jobsched.max_queue_memory', undef);

# too many
set_setting($node, 'jobsched.max_events', 50);
session_sql($node, $db, 'other', "SELECT count(jobsched.send_event('x')) FROM generate_series(1, 51)");
until_true($node, $db, q{SELECT count(*) = 1 FROM jobsched_internal.event_full WHERE owner = 'other'::regrole}, 'they are counted');
like(error_of($node, $db, q{SELECT jobsched.send_event('x')}, 'other'), qr/JS054: +role "other" has more than the 50 events/, 'who has too many sends no more');
set_setting($node, 'jobsched.max_events', undef);
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
until_true($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.event_full}, 'they are counted anew');
like(session_sql($node, $db, 'other', q{SELECT jobsched.send_event('x')}), qr/^\d+$/, 'and it sends again');

# ------------------------------------------------------------------------
# Copies
# ------------------------------------------------------------------------

stop();
$run = await('a');
end_sessions($node);
$node->safe_psql('template1', "CREATE DATABASE copy TEMPLATE $db");
start();
send_event("'a', '1'");
is(ended($run), 'succeeded', 'here it gets its event');
wait_scheduler($node, 'copy');
is($node->safe_psql('copy', "SELECT status, reason FROM jobsched.runs WHERE run_id = $run"), 'queued|waiting_for_event', 'in a copy it sleeps');
$node->safe_psql('copy', 'SELECT jobsched.adopt(), jobsched.start_processing()');
$node->safe_psql('copy', "SET ROLE app; SELECT jobsched.send_event('a', '2')");
wait_value($node, 'copy', "SELECT status, result FROM jobsched.runs WHERE run_id = $run", 'succeeded|{"a": 2}', 'until that is adopted');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
