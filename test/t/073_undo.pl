# Copyright (c) 2026, jobsched contributors

# Steps that are undone when their workflow run fails: which, in which order, once each,
# whatever dies meanwhile.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JSON::PP;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = jobsched_node('undo', conf => "restart_after_crash = on\njobsched.max_workers = 4\njobsched.http_allow = '127.0.0.0/8'\n");
my $sink = start_sink($node);
my $json = JSON::PP->new->canonical;

create_extension($node, $db);
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

sub refused
{
	my ($sql, $like, $name) = @_;
	return like(error_of($node, $db, $sql, 'app'), $like, $name);
}

sub define
{
	my ($name, $more, @steps) = @_;
	my $steps = $json->encode(\@steps) =~ s/'/''/gr;
	return app("SELECT jobsched.create_job('$name', steps => '$steps'" . ($more ? ", $more)" : ')'));
}

# A step that does something, and what takes it back.
sub act
{
	my ($name, $after, %more) = @_;
	return { name => $name, handler => 'app.act', undo => { handler => 'app.undo', max_attempts => 1 }, $after ? (after => $after) : (), %more };
}

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($args ? ", '" . $json->encode($args) . "')" : ')'));
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

sub shown
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id");
}

sub becomes_shown
{
	my ($run_id, $expected, $name) = @_;
	return wait_value($node, $db, "SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id", $expected, $name);
}

# What has been undone, in the order in which that happened.
sub undone
{
	my ($run_id) = @_;
	return psql("SELECT COALESCE(string_agg(step, ' ' ORDER BY no), '') FROM app.effect WHERE workflow = $run_id AND what = 'undone'");
}

sub step_run
{
	my ($run_id, $step) = @_;
	my $of = "FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'";

	wait_until($node, $db, "SELECT count(*) = 1 $of", "step $step is queued");
	return psql("SELECT run_id $of");
}

my $gate;

sub open_the_gate
{
	$gate->quit if $gate;
	return $gate = undef;
}

sub new_scheduler
{
	my $pid = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($pid)");
	return wait_new_scheduler($node, $db, $pid);
}

psql(q{CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO app});
make_gate($node, $db, 'app');
app(q{
	CREATE TABLE app.fails (step text);
	CREATE TABLE app.effect (no bigserial, workflow bigint, step text, what text, run_id bigint, info jsonb);
	-- which step it is, or is to be undone
	CREATE FUNCTION app.me() RETURNS text LANGUAGE sql AS
		$$SELECT regexp_replace(split_part(jobsched.job_name(), '.', 2), '^undo:', '') || COALESCE('/' || (jobsched.args() ->> 'index'), '')$$;
	CREATE FUNCTION app.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF args -> 'gated' ? app.me() THEN
			PERFORM id FROM public.gate FOR SHARE;
		END IF;
		IF args -> 'bad' ? app.me() THEN
			RAISE 'bad %', app.me();
		END IF;
		INSERT INTO app.effect (workflow, step, what, run_id) VALUES (jobsched.workflow_run_id(), app.me(), 'done', jobsched.run_id());
		RETURN jsonb_build_object('id', app.me() || ' of ' || jobsched.workflow_run_id());
	END $$;
	CREATE FUNCTION app.told(args jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO app.effect (what, info) VALUES ('told', args)$$;
	CREATE FUNCTION app.undo(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF args -> 'gated' ? ('undo:' || app.me()) THEN
			PERFORM id FROM public.gate FOR SHARE;
		END IF;
		IF args -> 'bad' ? ('undo:' || app.me()) OR EXISTS (SELECT FROM app.fails f WHERE f.step = 'undo:' || app.me()) THEN
			RAISE 'bad undo %', app.me();
		END IF;
		INSERT INTO app.effect (workflow, step, what, run_id, info) VALUES (jobsched.workflow_run_id(), app.me(), 'undone', jobsched.run_id(),
			jsonb_build_object('args', args, 'why', jobsched.step_result('undo'),
				'before', (SELECT jsonb_agg(u.step || ' ' || u.status ORDER BY u.run_id) FROM jobsched.upstream() u)));
	END $$});

# ------------------------------------------------------------------------
# Which, and when
# ------------------------------------------------------------------------

define('chain', '', act('a'), { name => 'b', handler => 'app.act' }, act('c'), act('d'));
my $run = trigger('chain', {});
is(ended($run), 'succeeded', 'a run that succeeds');
is(undone($run), '', '... is not undone');
is(shown($run), 'a succeeded, b succeeded, c succeeded, d succeeded, undo skipped upstream_succeeded', '... and it is known that it will not be');
is(psql("SELECT result - 'undo' = result AND result ? 'a' FROM jobsched.runs WHERE run_id = $run"), 't', 'its result is that of its steps');

$run = trigger('chain', { bad => ['d'], x => 7 });
is(ended($run), 'failed child_failed', 'one that fails');
is(undone($run), 'c a', '... is undone from its end on');
is(shown($run), 'a succeeded, b succeeded, c succeeded, d failed error, undo succeeded, undo:a succeeded, undo:c succeeded', '... what has succeeded');
is(psql("SELECT result ? 'a' AND NOT result ? 'undo' AND NOT result ? 'undo:a' FROM jobsched.runs WHERE run_id = $run"), 't', 'its result is that of its steps');
my $failed_step = step_run($run, 'd');
is(psql("SELECT error FROM jobsched.runs WHERE run_id = $run"), "run $failed_step of job \"chain.d\" has failed", 'its error is the first');
is(psql("SELECT info - 'args' FROM app.effect WHERE workflow = $run AND step = 'a' AND what = 'undone'"),
	qq({"why": {"step": "d", "error": "bad d", "reason": "child_failed", "run_id": $failed_step, "status": "failed"}, "before": ["undo succeeded", "undo:c succeeded"]}),
	'it knows why, and what was undone before');
is(psql("SELECT info -> 'args' ->> 'x' FROM app.effect WHERE workflow = $run AND step = 'a' AND what = 'undone'"), '7', 'it has the arguments of its step');
is(psql("SELECT concat_ws(' ', total, succeeded, failed, first_failed_step) FROM jobsched.workflows WHERE run_id = $run"), '7 6 1 d', 'view workflows');
is(psql(qq{SELECT jsonb_path_query_array(jobsched.workflow_graph($run), '\$.edges[*] ? (\@.when == "undo")')}),
	'[{"to": "undo:a", "from": "a", "when": "undo"}, {"to": "undo:c", "from": "c", "when": "undo"}]', 'the graph');
is(app(q{SELECT string_agg(step || ': ' || explanation, ' ' ORDER BY step_no) FROM jobsched.explain_steps('chain') WHERE step LIKE 'undo%'}),
	'undo: Lets undo begin when all steps have ended, if the run fails or is cancelled. undo:a: Calls its function to undo "a", if that has succeeded. '
	. 'undo:c: Calls its function to undo "c", if that has succeeded. undo:d: Calls its function to undo "d", if that has succeeded.', 'in words');

# commands, placeholders, arguments, conditions
define('forms', '', { name => 'a', handler => 'app.act', args => { y => 1, z => 1 }, undo => {
			command => q{INSERT INTO app.effect (workflow, step, what, info) VALUES (jobsched.workflow_run_id(), 'a', 'undone', jobsched.args())},
			args => { of => '{{steps.a.result.id}}', z => 2 } } },
	{ name => 'b', handler => 'app.act', undo => q{INSERT INTO app.effect (workflow, step, what, info) VALUES (jobsched.workflow_run_id(), 'b', 'undone', jobsched.step_result('a'))} },
	{ name => 'c', handler => 'app.act', undo => { command => 'SELECT 1/0', if => 'false' } },
	{ name => 'd', handler => 'app.act' });
$run = trigger('forms', { bad => ['d'] });
is(ended($run), 'failed child_failed', 'undo in all forms');
is(shown($run), 'a succeeded, b succeeded, c succeeded, d failed error, undo succeeded, undo:a succeeded, undo:b succeeded, undo:c skipped condition', '... if its condition holds');
is(psql("SELECT info FROM app.effect WHERE workflow = $run AND step = 'a' AND what = 'undone'"), qq({"y": 1, "z": 2, "of": "a of $run", "bad": ["d"]}), 'arguments and a result');
is(psql("SELECT info FROM app.effect WHERE workflow = $run AND step = 'b' AND what = 'undone'"), qq({"id": "a of $run"}), 'results of others');

# what is optional
define('optional', '', act('a'), act('b', ['a'], optional => JSON::PP::true), act('c', ['a']));
$run = trigger('optional', { bad => ['b'] });
is(ended($run), 'succeeded', 'an optional step fails');
is(undone($run), '', '... and nothing is undone');
is(shown($run), 'a succeeded, b failed error, c succeeded, undo skipped upstream_succeeded', '... by the scheduler');
$run = trigger('optional', { bad => ['c'] });
is(ended($run), 'failed child_failed', 'another one fails');
like(undone($run), qr/^b a$/, '... and the optional one is undone too');

# a failure of what undoes
define('worse', '', act('a'), act('b'), act('x', []), act('c', [ 'b', 'x' ]), { name => 'd', handler => 'app.act' });
$run = trigger('worse', { bad => [ 'd', 'undo:b' ] });
is(ended($run), 'failed child_failed', 'what undoes a step fails');
is(join(' ', sort split / /, undone($run)), 'a c x', '... the others are undone all the same');
is(psql("SELECT concat_ws(' ', status, error) FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'undo:b'"), 'failed bad undo b', '... it is to be seen');
is(psql("SELECT info ->> 'before' FROM app.effect WHERE workflow = $run AND step = 'a' AND what = 'undone'"), '["undo succeeded", "undo:b failed"]', '... also by the others');
is(psql("SELECT first_failed_step FROM jobsched.workflows WHERE run_id = $run"), 'd', '... and is not why it has failed');

# ------------------------------------------------------------------------
# Retries
# ------------------------------------------------------------------------

my $again = app("SELECT jobsched.retry_run($run, args => '{\"bad\": []}')");
is(ended($again), 'succeeded', 'it is retried');
is(shown($again), 'a succeeded, b succeeded, x succeeded, c succeeded, d succeeded, undo skipped upstream_succeeded', 'what has been undone is done anew, and what comes after it');
define('twice', '', act('a'), act('b', []), { name => 'c', handler => 'app.act', after => [ 'a', 'b' ] });
app(q{INSERT INTO app.fails VALUES ('undo:a')});
$run = trigger('twice', { bad => ['c'] });
is(ended($run), 'failed child_failed', 'one of two is undone');
is(undone($run), 'b', '... not the other');
app('DELETE FROM app.fails');
$again = app("SELECT jobsched.retry_run($run)");
is(ended($again), 'failed child_failed', 'it is retried, and fails once more');
like(shown($again), qr/^a succeeded carried_over, b succeeded, c failed/, 'what has not been undone is carried over');
is(join(' ', sort split / /, undone($again)), 'a b', '... and is undone with the others');
my $third = app("SELECT jobsched.retry_run($again, args => '{\"bad\": []}')");
is(ended($third), 'succeeded', 'the third time it succeeds');
is(shown($third), 'a succeeded, b succeeded, c succeeded, undo skipped upstream_succeeded', '... with nothing carried over');

# ------------------------------------------------------------------------
# What ends early
# ------------------------------------------------------------------------

define('long', q{deadline => '1 hour'}, act('a'), act('b'), act('c'), act('d', [ 'c' ], when => 'always'));
sub begun
{
	my (@gated) = @_;
	my $id = trigger('long', { gated => \@gated });

	wait_at_gate($node, $db, step_run($id, $gated[0])) if $gated[0] !~ /:/;
	return $id;
}
$gate = close_gate($node, $db);
$run = begun('c');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'a run is cancelled');
is(undone($run), 'd b a', '... and undone, also what is always done');
is(psql("SELECT DISTINCT info -> 'why' FROM app.effect WHERE workflow = $run AND what = 'undone'"), '{"reason": "cancelled", "status": "cancelled"}', '... which knows why');
is(psql("SELECT concat_ws(' ', total, failed, cancelled) FROM jobsched.workflows WHERE run_id = $run"), '8 0 1', 'view workflows');
$again = app("SELECT jobsched.retry_run($run, from_step => '{a}', args => '{\"gated\": []}')");
is(ended($again), 'succeeded', 'it can be retried');

set_clock($node, $db, '2040-01-01');
$run = begun('c');
set_clock($node, $db, '2040-01-01 02:00');
is(ended($run), 'timed_out deadline', 'a deadline is over');
is(undone($run), 'd b a', '... and it is undone');
is(psql("SELECT DISTINCT info -> 'why' FROM app.effect WHERE workflow = $run AND what = 'undone'"), '{"reason": "deadline", "status": "timed_out"}', '... which knows why');
set_clock($node, $db, undef);

# once more, while it is undone
$run = begun('c', 'undo:b');
app("SELECT jobsched.cancel_run($run)");
wait_at_gate($node, $db, step_run($run, 'undo:b'));
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'cancelled once more, while it is undone');
like(shown($run), qr/undo:a cancelled parent_ended, undo:b cancelled parent_ended, undo:d succeeded$/, '... it stays as it is');

# paused, and dropped
$run = begun('c');
app("SELECT jobsched.pause_job('long'), jobsched.cancel_run($run)");
becomes_shown($run, 'a succeeded, b succeeded, c cancelled parent_ended, d queued job_paused, undo queued waiting_for_upstream', 'a pause holds it');
app("SELECT jobsched.resume_job('long')");
is(ended($run), 'cancelled cancelled', '... until it is resumed');
is(undone($run), 'd b a', '... and undone');
define('dropped', '', act('a'), act('b'));
$run = trigger('dropped', { gated => ['b'], bad => ['b'] });
wait_at_gate($node, $db, step_run($run, 'b'));
app(q{SELECT jobsched.drop_job('dropped')});
open_the_gate();
is(ended($run), 'failed child_failed', 'a dropped job');
is(undone($run), 'a', '... is undone');

# skipped by request
$gate = close_gate($node, $db);
$run = begun('c');
app("SELECT jobsched.skip_step($run, 'undo')");
becomes_shown($run, 'a succeeded, b succeeded, c running, d queued waiting_for_upstream, undo skipped skipped_by_request', 'undo is skipped');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', '... the run is cancelled');
is(undone($run), '', '... and nothing is undone');
$run = begun('c', 'undo:b');
app("SELECT jobsched.cancel_run($run)");
wait_at_gate($node, $db, step_run($run, 'undo:b'));
app("SELECT jobsched.skip_step($run, 'undo:a')");
wait_value($node, $db, "SELECT concat_ws(' ', status, reason) FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'undo:a'", 'skipped skipped_by_request', 'one undo is skipped');
open_the_gate();
is(ended($run), 'cancelled cancelled', '... the run ends');
is(undone($run), 'd b', '... and the others are undone');

# below another run
app(q{CREATE FUNCTION app.above(args jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(jobsched.trigger('long', '{"gated": ["c"]}', child => true))$$;
	SELECT jobsched.create_job('above', handler => 'app.above')});
$gate = close_gate($node, $db);
$run = trigger('above');
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $run)", 'it has a child');
my $child = psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $run");
wait_at_gate($node, $db, step_run($child, 'c'));
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'a run above it is cancelled');
is(undone($child), 'd b a', '... and it is undone');
is(psql("SELECT DISTINCT info -> 'why' ->> 'reason' FROM app.effect WHERE workflow = $child AND what = 'undone'"), 'parent_ended', '... which knows why');
open_the_gate();

# ------------------------------------------------------------------------
# Elements
# ------------------------------------------------------------------------

define('items', '', act('a'), act('each', undef, for_each => 'SELECT to_jsonb(n * 10) FROM generate_series(0, 5) n', max_concurrency => 2), act('b'));
$run = trigger('items', { bad => [ 'each/1', 'each/4' ] });
is(ended($run), 'failed child_failed', 'elements fail');
is(psql("SELECT string_agg(step || ' ' || (info #>> '{args,item}'), ', ' ORDER BY step) FROM app.effect WHERE workflow = $run AND what = 'undone' AND step <> 'a'"),
	'each/0 0, each/2 20, each/3 30, each/5 50', '... and the others are undone');
like(undone($run), qr/ a$/, '... before what came before them');
is(psql("SELECT string_agg(concat_ws(' ', item, value, status), ', ' ORDER BY item) FROM jobsched.step_items WHERE step_run_id = " . step_run($run, 'undo:each')),
	'0 0 succeeded, 2 20 succeeded, 3 30 succeeded, 5 50 succeeded', 'view step_items');
is(psql("SELECT result ->> 'total' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'undo:each'"), '4', 'the result are totals');
$run = trigger('items', { bad => [ map { "each/$_" } 0 .. 5 ] });
is(ended($run), 'failed child_failed', 'all elements fail');
is(undone($run), 'a', '... and there is nothing to undo of them');
$run = trigger('items', { bad => [ 'b', 'undo:each/3' ] });
is(ended($run), 'failed child_failed', 'a step after them fails');
is(psql("SELECT count(*) FROM app.effect WHERE workflow = $run AND what = 'undone'"), '6', '... all are undone but the one of which that fails');
is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'undo:each'"), 'failed child_failed', '... which is to be seen');

# ------------------------------------------------------------------------
# With what else steps can be
# ------------------------------------------------------------------------

# placeholders, whichever way requests and commands look for them
forget_requests($sink);
sub noting
{
	my ($name) = @_;
	return { command => q{INSERT INTO app.effect (workflow, step, what, info) SELECT jobsched.workflow_run_id(), split_part(jobsched.job_name(), ':', 2), 'undone', jobsched.args() - 'bad'},
		args => { own => "{{steps.$name.result.id}}", first => '{{steps.s1.result.id}}' } };
}
sub asking
{
	my ($name) = @_;
	return { url => "$sink->{url}/ok/$name/{{steps.s1.result.id}}", body => { own => "{{steps.$name.result.id}}", why => '{{args.y}}' },
		if => "jobsched.step_result('undo') ->> 'status' = 'failed'" };
}
define('looks', '', (map { { name => "s$_", handler => 'app.act', args => { y => $_ }, undo => ($_ % 2 ? noting("s$_") : asking("s$_")) } } 1 .. 6), { name => 'last', handler => 'app.act' });
$run = trigger('looks', { bad => ['last'] });
is(ended($run), 'failed child_failed', 'undo with placeholders');
is(psql("SELECT string_agg(concat_ws(' ', s.step, r.status, r.sqlstate, r.error), ', ' ORDER BY s.step_no) FROM jobsched.steps s JOIN jobsched.runs r USING (run_id) WHERE s.workflow_run_id = $run AND s.step ~ '^undo' AND r.status <> 'succeeded'"), '', '... all of them are found');
is(undone($run), 's5 s3 s1', '... by commands');
is(psql("SELECT string_agg(info::text, ' ' ORDER BY no) FROM app.effect WHERE workflow = $run AND what = 'undone'"),
	join(' ', map { qq({"y": $_, "own": "s$_ of $run", "first": "s1 of $run"}) } 5, 3, 1), '... each its own');
is(join(' ', map { "$_->{path} $_->{body}" =~ s/%20/ /gr } requests($sink)), join(' ', map { qq(/ok/s$_/s1 of $run {"own": "s$_ of $run", "why": $_}) } 6, 4, 2), '... and by requests');

# what cannot be queued
define('keyed', '', act('a'), act('b'), { name => 'c', handler => 'app.act', args => { x => '{{steps.a.result}}' }, undo => { handler => 'app.undo', keys => ['{{args.x}}'], on_failure => 'app.told' } },
	act('d'), { name => 'last', handler => 'app.act' });
$run = trigger('keyed', { bad => ['last'] });
is(ended($run), 'failed child_failed', 'undo that has no key');
is(undone($run), 'd b a', '... the others are undone');
like(psql("SELECT concat_ws(' ', r.status, r.reason, r.sqlstate, r.error, r.started_at) FROM jobsched.runs r JOIN jobsched.steps s USING (run_id) WHERE s.workflow_run_id = $run AND s.step = 'undo:c'"),
	qr/^failed error 22023 .*x/, '... it has failed');
is(psql("SELECT first_failed_step FROM jobsched.workflows WHERE run_id = $run"), 'last', '... and is not why the workflow has');
wait_value($node, $db, "SELECT string_agg(info ->> 'job', ' ') FROM app.effect WHERE what = 'told'", 'keyed.undo:c', '... its owner is told');
is(psql("SELECT info ->> 'before' FROM app.effect WHERE workflow = $run AND step = 'b' AND what = 'undone'"), '["undo succeeded", "undo:d succeeded", "undo:c failed"]', '... and so are the others');

# another owner
psql(q{CREATE ROLE heir LOGIN; GRANT USAGE ON SCHEMA app, jobsched TO heir; GRANT ALL ON ALL TABLES IN SCHEMA app, public TO heir; GRANT ALL ON ALL SEQUENCES IN SCHEMA app TO heir});
for my $member (0, 1)
{
	psql('GRANT app TO heir') if $member;
	define("own$member", '', act('a'), act('each', undef, for_each => q{SELECT '[1, 2]'::jsonb}), act('b'), act('c'), act('d'), { name => 'last', handler => 'app.act' });
	$gate = close_gate($node, $db);
	$run = trigger("own$member", { gated => ['b'], bad => ['last'] });
	wait_at_gate($node, $db, step_run($run, 'b'));
	psql("SELECT jobsched.alter_job('own$member', owner => 'heir')");
	open_the_gate();
	is(ended($run), 'failed child_failed', "another owner in the middle, member $member");
	is(psql("SELECT string_agg(DISTINCT s.owner::text, ' ') FROM jobsched.runs s WHERE parent_run_id = $run"), 'app heir', '... has executed the rest');
	is(join(' ', sort split / /, undone($run)), $member ? 'a b c d each/0 each/1' : 'c d', '... which is undone');
	is(psql("SELECT string_agg(concat_ws(' ', s.step, r.status, r.sqlstate), ', ' ORDER BY s.step) FROM jobsched.runs r JOIN jobsched.steps s USING (run_id) WHERE s.workflow_run_id = $run AND s.step ~ '^undo:'"),
		$member ? 'undo:a succeeded, undo:b succeeded, undo:c succeeded, undo:d succeeded, undo:each succeeded'
		: 'undo:a failed 42501, undo:b failed 42501, undo:c succeeded, undo:d succeeded, undo:each failed 42501', '... what is not his is not');
}

# other steps, and none
define('altered', '', act('a'), act('b'), { name => 'last', handler => 'app.act' });
$gate = close_gate($node, $db);
$run = trigger('altered', { gated => ['last'], bad => ['last'] });
wait_at_gate($node, $db, step_run($run, 'last'));
app(q{SELECT jobsched.alter_job('altered', steps => '[{"name": "a", "command": "SELECT 1", "undo": "SELECT 1/0"}]')});
open_the_gate();
is(ended($run), 'failed child_failed', 'it gets other steps');
is(undone($run), 'b a', '... and is undone as it began');
define('gone', '', act('a'), act('b'), { name => 'last', handler => 'app.act' });
$gate = close_gate($node, $db);
$run = trigger('gone', { gated => ['undo:b'], bad => ['last'] });
wait_at_gate($node, $db, step_run($run, 'undo:b'));
app(q{SELECT jobsched.drop_job('gone', cancel_running => true)});
is(ended($run), 'cancelled job_dropped', 'it is dropped with cancel_running while it is undone');
open_the_gate();
is(undone($run), '', '... and what has not been undone stays');

# a slot replaces it
set_clock($node, $db, '2041-01-01 00:00:30');
define('slots', q{schedule => '* * * * *', timezone => 'UTC', overlap => 'replace', args => '{"gated": ["b", "undo:a"]}'}, act('a'), act('b'));
$gate = close_gate($node, $db);
set_clock($node, $db, '2041-01-01 00:01:10');
wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.workflows WHERE workflow = 'slots'", 'a slot');
$run = psql("SELECT run_id FROM jobsched.workflows WHERE workflow = 'slots'");
wait_at_gate($node, $db, step_run($run, 'b'));
for my $minute (2 .. 4)
{
	set_clock($node, $db, "2041-01-01 00:0$minute:10");
	wait_until($node, $db, "SELECT next_run_at > '2041-01-01 00:0$minute:10+00' FROM jobsched.jobs WHERE name = 'slots'", "slot $minute");
	wait_at_gate($node, $db, step_run($run, 'undo:a'));
}
app(q{SELECT jobsched.pause_job('slots')});
open_the_gate();
is(ended($run), 'cancelled replaced', 'slots replace it');
is(undone($run), 'a', '... the later ones let it be undone');
app(q{SELECT jobsched.drop_job('slots', cancel_running => true)});
set_clock($node, $db, undef);

# jobs
app(q{SELECT jobsched.create_job('part', handler => 'app.act'); SELECT jobsched.create_job('parts', steps => '[{"name": "in", "handler": "app.act", "undo": {"handler": "app.undo"}}, {"name": "out", "handler": "app.act", "undo": {"handler": "app.undo"}}]')});
define('jobs', '', { name => 'a', job => 'part', undo => { handler => 'app.undo', args => { got => '{{steps.a.result.id}}' } } },
	{ name => 'b', job => 'parts', undo => { handler => 'app.undo' } },
	{ name => 'each', job => 'part', for_each => q{SELECT '["x", "y"]'::jsonb}, undo => { handler => 'app.undo' } },
	{ name => 'c', job => 'parts', undo => { handler => 'app.undo' } });
$run = trigger('jobs', { bad => ['out'] });
is(ended($run), 'failed child_failed', 'steps that run jobs');
is(undone($run), 'a', '... are undone as steps');
is(psql("SELECT string_agg(e.step, ' ') FROM app.effect e JOIN jobsched.runs r ON r.run_id = e.workflow JOIN jobsched.steps s ON s.run_id = r.parent_run_id WHERE s.workflow_run_id = $run AND e.what = 'undone'"), 'in', '... and the job that has failed by itself');
app(q{SELECT jobsched.alter_job('parts', args => '{"bad": []}')});
$run = trigger('jobs', { bad => ['c'] });
is(ended($run), 'succeeded', 'they succeed');
define('jobs2', '', { name => 'a', job => 'part', undo => { handler => 'app.undo', args => { got => '{{steps.a.result.id}}' } } },
	{ name => 'b', job => 'parts', undo => { handler => 'app.undo' } },
	{ name => 'each', job => 'part', for_each => q{SELECT '["x", "y"]'::jsonb}, undo => { handler => 'app.undo' } },
	{ name => 'c', handler => 'app.act' });
$run = trigger('jobs2', { bad => ['c'] });
is(ended($run), 'failed child_failed', 'one after them fails');
like(undone($run), qr{^each/(0 each/1|1 each/0) b a$}, '... and they are undone');
is(psql("SELECT string_agg((info #>> '{args,item}'), ' ' ORDER BY step) FROM app.effect WHERE workflow = $run AND what = 'undone' AND step ~ 'each'"), 'x y', '... with the arguments of elements');

# elements that are carried over, and half undone
define('half', '', act('each', undef, for_each => 'SELECT to_jsonb(n * 10) FROM generate_series(0, 3) n'), { name => 'last', handler => 'app.act' });
app(q{INSERT INTO app.fails VALUES ('undo:each/1')});
$run = trigger('half', { bad => ['last', 'each/3'] });
is(ended($run), 'failed child_failed', 'some elements are undone');
is(join(' ', sort split / /, undone($run)), 'each/0 each/2', '... and one is not');
app('DELETE FROM app.fails');
$again = app("SELECT jobsched.retry_run($run, args => '{\"bad\": [\"last\"]}')");
is(ended($again), 'failed child_failed', 'it is retried, and fails');
is(psql("SELECT string_agg(concat_ws(' ', i.item, i.status, i.reason), ', ' ORDER BY i.item) FROM jobsched.step_items i WHERE i.workflow_run_id = $again AND i.step = 'each'"),
	'0 succeeded, 1 succeeded carried_over, 2 succeeded, 3 succeeded', '... what has been undone is done anew, and no other');
is(join(' ', sort split / /, undone($again)), 'each/0 each/1 each/2 each/3', '... and all are undone');

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

# a new scheduler decides as the one before
$gate = close_gate($node, $db);
$run = begun('c');
app(q{SELECT jobsched.pause_job('long')});
app("SELECT jobsched.cancel_run($run)");
becomes_shown($run, 'a succeeded, b succeeded, c cancelled parent_ended, d queued job_paused, undo queued waiting_for_upstream', 'before it is decided');
new_scheduler();
app(q{SELECT jobsched.resume_job('long')});
is(ended($run), 'cancelled cancelled', 'another scheduler');
is(undone($run), 'd b a', '... has it undone');

# a worker, and the server, while it is undone
for my $how ('worker', 'server')
{
	$gate ||= close_gate($node, $db);
	$run = begun('c', 'undo:b');
	app("SELECT jobsched.cancel_run($run)");
	my $pid = wait_at_gate($node, $db, step_run($run, 'undo:b'));
	end_sessions($node);
	if ($how eq 'worker')
	{
		kill 'KILL', $pid;
		wait_connection($node, $db);
	}
	else
	{
		kill_and_start($node);
	}
	undef $gate;
	wait_scheduler($node, $db);
	is(ended($run), 'cancelled cancelled', "kill -9 of the $how");
	is(undone($run), 'd b a', '... each is undone once');
	like(shown($run), qr/undo succeeded, undo:a succeeded, undo:b succeeded, undo:d succeeded$/, '... and none is lost');
}

# Random graphs: each succeeded step of each workflow that fails is undone once, before
# those that it comes after.
my $seed = $ENV{JOBSCHED_STEPS_SEED} || 73;
srand $seed;
my %after;
for my $g (0 .. 11)
{
	my @names = map { "s$_" } 0 .. 3 + int rand 5;
	my @steps;

	for my $i (0 .. $#names)
	{
		my @after = grep { rand() < 0.4 } @names[ 0 .. $i - 1 ];
		$after{"g$g"}{ $names[$i] } = [@after];
		push @steps, { name => $names[$i], handler => 'app.act', after => [@after], max_attempts => 1,
			rand() < 0.7 || !$i ? (undo => { handler => 'app.undo' }) : (),
			rand() < 0.2 ? (optional => JSON::PP::true) : (),
			@after && rand() < 0.4 ? (when => (qw(done failure always))[ rand 3 ]) : () };
	}
	define("g$g", '', @steps);
}
sub begin_some
{
	my ($count) = @_;
	my @sql;

	for (1 .. $count)
	{
		my $g = 'g' . int rand 12;
		my @bad = grep { rand() < 0.25 } sort keys %{ $after{$g} };
		push @sql, "SELECT jobsched.trigger('$g', '" . $json->encode({ bad => \@bad }) . "')";
	}
	return split /\n/, app(join ";\n", @sql);
}
sub comes_after
{
	my ($g, $later, $earlier) = @_;
	for my $step (@{ $after{$g}{$later} })
	{
		return 1 if $step eq $earlier || comes_after($g, $step, $earlier);
	}
	return 0;
}
sub check_random
{
	my ($name) = @_;
	my (%undone, @faults);

	wait_drained($node, $db);
	push @{ $undone{ $_->[0] } }, $_->[1] for map { [ split /\|/ ] } split /\n/,
		psql(q{SELECT workflow, step FROM app.effect WHERE what = 'undone' ORDER BY no});
	for (split /\n/, psql(q{SELECT w.run_id, w.workflow, w.status,
			bool_or(r.status NOT IN ('succeeded', 'skipped') AND NOT r.optional) FILTER (WHERE s.step !~ '^undo'),
			string_agg(s.step, ' ' ORDER BY s.step) FILTER (WHERE s.status = 'succeeded' AND s.step !~ '^undo'
				AND w.steps @> jsonb_build_array(jsonb_build_object('name', s.step, 'undo', '{"handler": "app.undo"}'::jsonb)))
		FROM (SELECT w.*, j.steps FROM jobsched.workflows w JOIN jobsched.jobs j USING (job_id)) w
			JOIN jobsched.steps s ON s.workflow_run_id = w.run_id JOIN jobsched.runs r ON r.run_id = s.run_id
		WHERE w.workflow ~ '^g[0-9]' GROUP BY 1, 2, 3}))
	{
		my ($id, $g, $status, $failed, $succeeded) = split /\|/, $_, -1;
		my @got = @{ $undone{$id} || [] };
		my $expected = $status eq 'succeeded' ? '' : $succeeded;

		push @faults, "run $id of $g ends as $status" if $status ne 'cancelled' && ($status eq 'succeeded') == ($failed eq 't');
		push @faults, "run $id of $g ($status): @got, not $expected" if join(' ', sort @got) ne $expected;
		for my $i (0 .. $#got)
		{
			push @faults, "run $id of $g: $got[$_] after $got[$i]" for grep { comes_after($g, $got[$_], $got[$i]) } $i + 1 .. $#got;
		}
	}
	return is(join("\n", @faults), '', "$name: what has failed is undone (seed $seed)");
}
begin_some(60);
check_random('at random');
begin_some(120);
for my $round (1 .. 4)
{
	my @pids = worker_pids($node, $db);

	end_sessions($node);
	if ($round == 2)
	{
		kill_and_start($node);
	}
	elsif (@pids)
	{
		kill 'KILL', $pids[ rand @pids ];
	}
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	app('SELECT jobsched.cancel_run(run_id) FROM (SELECT run_id FROM jobsched.workflows WHERE finished_at IS NULL ORDER BY run_id LIMIT 5) w') if $round == 3;
}
check_random('with kill -9');

# ------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------

refused("SELECT jobsched.retry_run(" . step_run($run, 'undo:b') . ')', qr/55000/, 'what undoes a step is not retried by itself');
refused(q{SELECT jobsched.trigger('chain', after => '{1}', after_when => 'undo')}, qr/22023.*invalid after_when "undo"/s, 'undo is no condition of runs');
is(psql('SELECT count(*) FROM jobsched_internal.dependency'), '0', 'nothing is left');
is(psql('SELECT count(*) FROM jobsched_internal.run_stop'), '0', '... of stops either');

done_testing();
