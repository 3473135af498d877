# Copyright (c) 2026, jobsched contributors

# What workflows leave, and how people see them: the result of a workflow run, view
# workflows and workflow_graph(), in every state, of jobs that are altered, given
# away and dropped meanwhile, for roles that may see some of it, and after kill -9.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('workflows', conf => "restart_after_crash = on\n");
my $json = JSON::PP->new->canonical->allow_nonref;

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

sub quoted
{
	my ($text) = @_;
	return q{'} . $text =~ s/'/''/gr . q{'};
}

sub define
{
	my ($name, @steps) = @_;
	my $more = @steps && !ref $steps[0] ? ', ' . shift @steps : '';
	return app("SELECT jobsched.create_job('$name', steps => " . quoted($json->encode([@steps])) . "$more)");
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

# The row of a run in view workflows, for some role.
sub row_of
{
	my ($run_id, $columns, $sql) = @_;
	return ($sql || \&psql)->("SELECT concat_ws(' ', $columns) FROM jobsched.workflows WHERE run_id = $run_id");
}

my $members = q{'total', total, 'waiting', waiting, 'queued', queued, 'running', running, 'retrying', retrying, 'succeeded', succeeded,
	'failed', failed, 'timed_out', timed_out, 'lost', lost, 'cancelled', cancelled, 'skipped', skipped};

# Only what is not 0.
sub counts_of
{
	my ($run_id, $sql) = @_;
	return ($sql || \&psql)->(qq{SELECT string_agg(key || ' ' || value, ', ' ORDER BY value::int DESC, key)
		FROM jobsched.workflows, jsonb_each_text(jsonb_build_object($members)) WHERE run_id = $run_id AND value <> '0'});
}

sub becomes_counts
{
	my ($run_id, $expected, $name) = @_;
	my $until = time() + 180;

	usleep(20_000) while (counts_of($run_id) // '') ne $expected && time() < $until;
	return is(counts_of($run_id), $expected, $name);
}

# Whether the result of workflow runs is what their steps have left: to the byte.
sub results_agree
{
	my ($condition, $name) = @_;
	return is(psql(qq{
		SELECT count(*) FROM jobsched.runs w CROSS JOIN LATERAL (
			SELECT coalesce(jsonb_object_agg(s.step, s.result) FILTER (WHERE s.status = 'succeeded' AND s.result IS NOT NULL), '{}') AS result
			FROM jobsched.steps s WHERE s.workflow_run_id = w.run_id) s
		WHERE $condition AND NOT coalesce(record_image_eq(ROW(w.result), ROW(s.result)), false)}), '0', $name);
}

sub logs_of
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(level || ': ' || message, '; ' ORDER BY seq) FROM jobsched.run_logs WHERE run_id = $run_id");
}

make_gate($node, $db, 'app', 'PUBLIC');
app(q{
	CREATE FUNCTION app.ok(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('args', args) $$;
	CREATE FUNCTION app.give(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args -> 'give' $$;
	CREATE FUNCTION app.none(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT 1 $$;
	CREATE FUNCTION app.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	CREATE FUNCTION app.retry(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'once more' USING ERRCODE = '40001'; END $$;
	CREATE FUNCTION app.pass(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM public.gate FOR SHARE; END $$;
	CREATE FUNCTION app.text(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', (args ->> 'size')::int)) $$;
	CREATE TABLE app.told (run jsonb);
	CREATE FUNCTION app.tell(run jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.told VALUES (run) $$;
	CREATE FUNCTION app.before(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_agg(u.result) FROM jobsched.upstream() u $$;
	SELECT jobsched.create_job('before', handler => 'app.before');
	SELECT jobsched.create_job('plain', handler => 'app.ok')});

# ------------------------------------------------------------------------
# The result
# ------------------------------------------------------------------------

# A value of any kind, as deep as it comes; the seed is fixed.
srand(67);
sub value
{
	my ($depth) = @_;
	my $kind = int rand($depth > 3 ? 5 : 9);

	return undef if $kind == 0;
	return rand() < 0.5 ? JSON::PP::true : JSON::PP::false if $kind == 1;
	return int(rand(10)**int(rand(12))) if $kind == 2;
	return 'x' x int rand(6) if $kind == 3;
	return 'ä€"' . 'y' x int rand(300) if $kind == 4;
	return [ map { value($depth + 1) } 1 .. rand(7) ] if $kind < 7;
	return { map { ('k' x (1 + rand(4)) . $_ => value($depth + 1)) } 1 .. rand($depth ? 5 : 40) };
}

my @given = map {
	my $number = 1 + int rand(70);
	define("given-$_", map { { name => substr('name of step ', int rand(12)) . $_, handler => 'app.give', args => { give => value(0) }, after => [] } } 1 .. $number);
	trigger("given-$_")
} 1 .. 25;
is(ended($_), 'succeeded', 'many values') for @given;
results_agree('run_id IN (' . join(', ', @given) . ')', 'the result has what each step has left, to the byte');
is(psql('SELECT count(*) FROM jobsched.runs WHERE result::text::jsonb <> result AND run_id IN (' . join(', ', @given) . ')'), '0', 'and can be read');

define('mixed', { name => 'a', handler => 'app.ok' }, { name => 'b', handler => 'app.none', after => [] },
	{ name => 'c', handler => 'app.fail', after => [], optional => JSON::PP::true }, { name => 'd', handler => 'app.ok', after => ['c'] });
my $run = trigger('mixed');
is(ended($run), 'succeeded', 'a workflow with steps of all kinds');
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $run"), '{"a": {"args": {}}}', 'has results of those that succeeded and have one');
my $dependent = trigger('before', "after => '{$run}'");
is(end_of($node, $db, $dependent, 'result'), '[{"a": {"args": {}}}]', 'who waits for it finds them in upstream()');

define('fails', q{on_success => 'app.tell', on_failure => 'app.tell'}, { name => 'a', handler => 'app.ok', after => [] }, { name => 'b', handler => 'app.fail', after => [] });
$run = trigger('fails');
is(ended($run), 'failed child_failed', 'a workflow that fails');
results_agree("run_id = $run", 'has what the others have left');
wait_value($node, $db, "SELECT run -> 'result' FROM app.told WHERE run ->> 'run_id' = '$run'", '{"a": {"args": {}}}', 'and tells that');

define('nothing', { name => 'a', handler => 'app.none' });
$run = trigger('nothing');
is(end_of($node, $db, $run, 'status, result'), 'succeeded|{}', 'of steps that leave nothing it is empty');

# children that are no steps
app(q{CREATE FUNCTION app.begets(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(jobsched.trigger('plain', child => true)) $$;
	SELECT jobsched.create_job('begets', handler => 'app.begets')});
$run = trigger('begets');
like(end_of($node, $db, $run, 'result'), qr/^\d+$/, 'a parent keeps its own result');
is(row_of($run, 'kind'), '', 'and is no workflow');

# sizes
set_setting($node, 'jobsched.max_result_size', '10 kB');
my @large = map { { name => "s$_", handler => 'app.text', args => { size => 3000 }, after => [] } } 1 .. 4;
define('large', @large, { name => 'last', handler => 'app.text', args => { size => 1000 }, after => [ map { "s$_" } 1 .. 4 ] }, { name => 'own', handler => 'app.text', args => { size => 1000 }, after => [] });
$run = trigger('large');
is(ended($run), 'succeeded', 'results that are too large together');
is(psql("SELECT string_agg(key, ' ' ORDER BY key) FROM jobsched.runs, jsonb_object_keys(result) key WHERE run_id = $run"), 'last own', 'only the last steps\' are kept');
is(logs_of($run), 'warning: the result has only those of the last steps: with all of them it exceeds jobsched.max_result_size of 10 kB', 'and the log says so');
define('larger', @large);
$run = trigger('larger');
is(end_of($node, $db, $run, 'status, result IS NULL'), 'succeeded|t', 'or none');
is(logs_of($run), 'warning: the result was dropped: it exceeds jobsched.max_result_size of 10 kB', 'and the log says that');
define('fits', @large[ 0 .. 2 ]);
$run = trigger('fits');
ended($run);
results_agree("run_id = $run", 'what fits is kept');
is(logs_of($run), '', 'without a word');
set_setting($node, 'jobsched.max_result_size', undef);

define('megabytes', map { { name => "s$_", handler => 'app.text', args => { size => 900_000 }, after => [] } } 1 .. 40);
set_setting($node, 'jobsched.max_result_size', '1000 MB');
$run = trigger('megabytes');
is(end_of($node, $db, $run, 'status, result IS NULL'), 'succeeded|t', 'more than one process can be asked to hold');
is(logs_of($run), 'warning: the result was dropped: it exceeds 16384 kB', 'is left out too');
set_setting($node, 'jobsched.max_result_size', undef);

define('thousand', map { { name => "step $_", handler => 'app.ok', args => { n => $_ }, after => $_ == 1 || $_ % 50 ? [] : [ 'step ' . ($_ - 1) ] } } 1 .. 1000);
$run = trigger('thousand');
is(ended($run), 'succeeded', 'a workflow of 1,000 steps');
results_agree("run_id = $run", 'has all of their results');
is(row_of($run, 'total, succeeded, progress'), '1000 1000 1', 'and is a row');
is(psql("SELECT jsonb_array_length(g -> 'nodes'), jsonb_array_length(g -> 'edges') FROM jobsched.workflow_graph($run) g"), '1000|20', 'and a graph');

# ------------------------------------------------------------------------
# View workflows
# ------------------------------------------------------------------------

define('all', { name => 'first', handler => 'app.ok' }, { name => 'gate', handler => 'app.pass' }, { name => 'then', handler => 'app.ok' },
	{ name => 'bad', handler => 'app.fail', after => ['first'], optional => JSON::PP::true },
	{ name => 'worse', handler => 'app.fail', after => ['first'] },
	{ name => 'if bad', handler => 'app.ok', after => ['first'], when => 'failure' },
	{ name => 'again', handler => 'app.retry', after => ['first'], max_attempts => 2, backoff_base => '1 hour' });
$run = trigger('all', q{run_at => now() + interval '1 hour'});
is(row_of($run, 'workflow, kind, status, reason, total, progress, current_step, started_at'), 'all steps queued not_due 0 0', 'one that is to begin later');
is(app("SELECT jobsched.cancel_run($run)"), 't', 'is cancelled');
wait_value($node, $db, "SELECT concat_ws(' ', kind, status, reason, total, progress, result) FROM jobsched.workflows WHERE run_id = $run", 'steps cancelled cancelled 0 1', 'and stays a row');

my $gate = close_gate($node, $db);
$run = trigger('all');
becomes_counts($run, 'total 7, failed 2, retrying 1, running 1, skipped 1, succeeded 1, waiting 1', 'one that is executed: counts');
is(row_of($run, 'status, reason, round(progress::numeric, 2), current_step, first_failed_step'), 'running waiting_for_children 0.57 gate worse', 'how far it has come, what holds it up, what has failed');
is(row_of($run, q{current_run_id = (SELECT s.run_id FROM jobsched.steps s WHERE s.workflow_run_id = workflows.run_id AND s.step = 'gate'),
	first_failed_run_id = (SELECT s.run_id FROM jobsched.steps s WHERE s.workflow_run_id = workflows.run_id AND s.step = 'worse'),
	started_at >= queued_at, finished_at IS NULL, duration IS NULL, result IS NULL}), 't t t t t t', 'with their runs');
$gate->quit;
becomes_counts($run, 'total 7, succeeded 3, failed 2, retrying 1, skipped 1', 'the gate is open');
is(row_of($run, 'current_step, round(progress::numeric, 2)'), 'again 0.86', 'now another holds it up');
app("SELECT jobsched.cancel_run((SELECT current_run_id FROM jobsched.workflows WHERE run_id = $run))");
is(ended($run), 'failed child_failed', 'it ends');
is(counts_of($run), 'total 7, succeeded 3, failed 2, cancelled 1, skipped 1', 'counts');
like(row_of($run, 'progress, current_step, first_failed_step, duration = finished_at - started_at, error'), qr/^1 worse t run \d+ of job "all.worse" has failed$/, 'the rest');
is(psql("SELECT count(*) FROM jobsched.workflows v JOIN jobsched.runs r USING (run_id) WHERE ROW(v.status, v.owner, v.queued_at, v.started_at, v.finished_at, v.duration, v.error, v.result, v.args)
	IS DISTINCT FROM ROW(r.status, r.owner, r.queued_at, r.started_at, r.finished_at, r.duration, r.error, r.result, r.args) OR v.workflow IS DISTINCT FROM r.job_name OR v.reason IS DISTINCT FROM r.reason"), '0', 'view runs says the same');

# cancelled in the middle
$gate = close_gate($node, $db);
$run = trigger('all');
becomes_counts($run, 'total 7, failed 2, retrying 1, running 1, skipped 1, succeeded 1, waiting 1', 'another one');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'is cancelled');
$gate->quit;
is(row_of($run, 'progress, first_failed_step, result'), '1 worse', 'and has no result');
define('cancelled', { name => 'a', handler => 'app.pass' }, { name => 'b', handler => 'app.ok' });
$gate = close_gate($node, $db);
$run = trigger('cancelled');
becomes_counts($run, 'total 2, running 1, waiting 1', 'one in which nothing has failed');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'is cancelled');
$gate->quit;
is(row_of($run, 'cancelled, first_failed_step'), '2', 'and does not say that something has');

# altered in the middle, and before
$gate = close_gate($node, $db);
$run = trigger('cancelled');
becomes_counts($run, 'total 2, running 1, waiting 1', 'one that has begun');
my $later = trigger('cancelled', q{run_at => now() + interval '1 hour'});
app(q{SELECT jobsched.alter_job('cancelled', handler => 'app.ok')});
my $plain = trigger('cancelled');
is(ended($plain), 'succeeded', 'its job has become a function');
is(row_of($plain, 'kind'), '', 'whose runs are no workflows');
is(row_of($run, 'status, total'), 'running 2', 'but this one is');
my $graph = psql("SELECT jobsched.workflow_graph($run) -> 'edges'");
is($graph, '[{"to": "b", "from": "a", "when": "success"}]', 'with its edges');
app(q{SELECT jobsched.drop_job('cancelled')});
$gate->quit;
is(ended($run), 'succeeded', 'its job is dropped');
results_agree("run_id = $run", 'it has a result');
is(row_of($run, 'workflow, total, succeeded'), 'cancelled 2 2', 'and is a row');
wait_until($node, $db, q{SELECT count(*) FILTER (WHERE dropped_at IS NULL) = 0 AND count(*) > 0 FROM jobsched_internal.job WHERE name LIKE 'cancelled.%'}, 'its steps are dropped');
is(psql("SELECT jobsched.workflow_graph($run) -> 'edges'"), $graph, 'the edges stay');

# slots that are skipped are none of a plain job's
define('often', q{schedule => '* * * * * *', overlap => 'skip'}, { name => 'a', handler => 'app.pass' });
$gate = close_gate($node, $db);
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM jobsched.workflows WHERE workflow = 'often' AND current_step = 'a' AND running = 1)}, 'a slot has its run');
wait_until($node, $db, q{SELECT skipped > 0 FROM jobsched_internal.job_state s JOIN jobsched_internal.job USING (job_id) WHERE name = 'often'}, 'another one is passed over');
app(q{SELECT jobsched.alter_job('often', schedule => '')});
$gate->quit;
wait_value($node, $db, q{SELECT DISTINCT status, reason, total FROM jobsched.workflows WHERE workflow = 'often' ORDER BY 1}, "skipped|overlap|0\nsucceeded||1", 'skipped slots are rows too');

# batches
$gate = close_gate($node, $db);
app(q{SELECT jobsched.create_job('member', handler => 'app.pass', max_concurrency => 2)});
my $batch = app(q{SELECT jobsched.trigger_batch('member', array_fill(NULL::jsonb, ARRAY[5]))});
becomes_counts($batch, 'total 5, queued 3, running 2', 'a batch that lives');
is(row_of($batch, 'kind, workflow, status, reason, progress, current_step, current_run_id - run_id'), 'batch member running waiting_for_children 0 1', 'what it is');
is(psql("SELECT jsonb_path_query_array(g, '\$.nodes[*].runs'), g -> 'edges' FROM jobsched.workflow_graph($batch) g"), '[3, 2]|[]', 'as a graph it is numbers');
app("SELECT jobsched.cancel_run((SELECT max(run_id) FROM jobsched.runs WHERE parent_run_id = $batch))");
becomes_counts($batch, 'total 5, queued 2, running 2, cancelled 1', 'a member is cancelled');
$gate->quit;
is(ended($batch), 'failed child_failed', 'it ends');
is(counts_of($batch), 'total 5, succeeded 4, cancelled 1', 'counts of its result');
is(row_of($batch, "progress, first_failed_run_id - run_id, result ->> 'total'"), '1 5 5', 'and what has failed');
$batch = app(q{SELECT jobsched.trigger_batch('plain', '{}')});
is(ended($batch), 'succeeded', 'an empty batch');
is(row_of($batch, 'total, progress'), '0 1', 'is a row');
$batch = app(q{SELECT jobsched.trigger_batch('mixed', '{NULL,NULL}')});
is(ended($batch), 'succeeded', 'a batch of workflows');
is(psql("SELECT string_agg(kind || ' ' || total, ', ' ORDER BY run_id) FROM jobsched.workflows WHERE run_id >= $batch"), 'batch 2, steps 4, steps 4', 'all of them are rows');
is(psql("SELECT jobsched.workflow_graph($plain) IS NULL, jobsched.workflow_graph(-1) IS NULL"), 't|t', 'no graph of anything else');

# the result of a batch and of a workflow does not get in the way of a retry
$run = trigger('fails');
ended($run);
my $again = app("SELECT jobsched.retry_run($run)");
is(ended($again), 'failed child_failed', 'a workflow is retried');
is(row_of($again, 'kind, total'), 'steps 2', 'as what it is');

# ------------------------------------------------------------------------
# Whose it is
# ------------------------------------------------------------------------

# (NOINHERIT first: from 16 on a grant takes it over.)
psql(q{
	ALTER ROLE app NOINHERIT; CREATE ROLE other LOGIN; CREATE ROLE nobody LOGIN; CREATE ROLE watcher LOGIN; CREATE ROLE past LOGIN BYPASSRLS; GRANT pg_monitor TO watcher; GRANT other TO app;
	GRANT USAGE ON SCHEMA jobsched TO other, nobody, watcher, past; GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA app TO PUBLIC});
define('given away', { name => 'one', handler => 'app.ok' }, { name => 'gate', handler => 'app.pass' }, { name => 'two', handler => 'app.ok' });
$gate = close_gate($node, $db);
$run = trigger('given away');
becomes_counts($run, 'total 3, running 1, succeeded 1, waiting 1', 'a workflow in the middle');
psql(q{SELECT jobsched.alter_job('given away', owner => 'other')});
$gate->quit;
is(ended($run), 'succeeded', 'is given away');
is(psql("SELECT string_agg(r.owner || ' ' || r.status, ', ' ORDER BY r.run_id) FROM jobsched.runs r WHERE parent_run_id = $run"), 'app succeeded, app succeeded, other succeeded', 'its last step is another\'s');
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $run"), '{"one": {"args": {}}}', 'whose result is not in that of the workflow run');
is(counts_of($run, \&app), 'succeeded 2, total 2', 'nor is it counted for its owner');
is(counts_of($run), 'succeeded 3, total 3', 'but for a superuser');
is(app("SELECT jsonb_array_length(jobsched.workflow_graph($run) -> 'nodes')"), '2', 'nor in the graph');

my $all = psql('SELECT count(*) FROM jobsched.workflows');
is(sql_as($node, $db, 'nobody', 'SELECT count(*) FROM jobsched.workflows'), '0', 'a role sees nothing of others');
is(sql_as($node, $db, 'nobody', "SELECT jobsched.workflow_graph($run) IS NULL"), 't', 'and no graph');
is(sql_as($node, $db, 'watcher', 'SELECT count(*) FROM jobsched.workflows'), $all, 'a monitor sees all');
is(sql_as($node, $db, 'past', 'SELECT count(*) FROM jobsched.workflows WHERE num_nonnulls(args, result, error) > 0 OR total > 0'), '0', 'nor does one whom no policy binds');

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

# A workflow that takes longer than history is kept; and what is left of one that
# has failed when successes are not kept any more.
psql(q{ALTER ROLE app INHERIT});
define('long', { name => 'one', handler => 'app.ok' }, { name => 'two', handler => 'app.text', args => { size => 50_000 } }, { name => 'gate', handler => 'app.pass' }, { name => 'three', handler => 'app.ok' });
my $short = trigger('fails');
ended($short);
$gate = close_gate($node, $db);
$run = trigger('long');
becomes_counts($run, 'total 4, succeeded 2, running 1, waiting 1', 'a workflow that takes long');
set_setting($node, 'jobsched.history_retention', '1 min');
for my $turn (1 .. 9)
{
	set_clock($node, $db, psql(q{SELECT jobsched_internal.clock_now() + interval '10 s'}));
	wait_until($node, $db, q{SELECT started_at > jobsched_internal.clock_now() - interval '9 s' FROM jobsched_internal.ring WHERE ring = 0}, 'the ring has moved on');
}
is(counts_of($run), 'total 4, succeeded 2, running 1, waiting 1', 'its steps are kept');
is(psql("SELECT count(*) FROM jobsched_internal.history_kept WHERE parent_run_id = $run"), '2', 'beyond their segment');
is(counts_of($short), 'failed 1, total 1', 'of one that has failed what is a success is gone');
is(psql("SELECT jsonb_array_length(g -> 'nodes'), g -> 'edges' FROM jobsched.workflow_graph($short) g"), '1|[]', 'also from the graph');
is(psql("SELECT jsonb_array_length(jobsched.workflow_graph($run) -> 'edges')"), '3', 'the other one has all its edges');
$gate->quit;
is(ended($run), 'succeeded', 'it ends');
is(psql("SELECT string_agg(key, ' ' ORDER BY key), sum(length(value::text)) > 50000 FROM jobsched.runs, jsonb_each(result) WHERE run_id = $run"), 'one three two|t', 'with all results');
results_agree("run_id = $run", 'as its steps have them');
set_setting($node, 'jobsched.history_retention', undef);
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

# while many of them end; of each the workflow run ends once, with all of it
my $first = psql('SELECT max(run_id) FROM jobsched.runs');
define('crash', map { { name => "s$_", handler => 'app.ok', $_ < 6 ? (after => []) : () } } 1 .. 7);
for my $round (1 .. 4)
{
	app(q{SELECT count(*) FROM jobsched.trigger_many('crash', array_fill(NULL::jsonb, ARRAY[40]))});
	wait_until($node, $db, "SELECT count(*) >= 10 * $round FROM jobsched.runs WHERE job_name = 'crash' AND status = 'succeeded'", 'some have ended');
	end_sessions($node);
	if ($round % 2)
	{
		kill_and_start($node);
		wait_connection($node);
	}
	else
	{
		my $scheduler = scheduler_pid($node, $db);
		kill 'KILL', $scheduler;
		wait_connection($node);
		wait_new_scheduler($node, $db, $scheduler);
	}
}
wait_drained($node, $db);
is(psql("SELECT status, count(*) FROM jobsched.runs WHERE job_name = 'crash' AND run_id > $first GROUP BY 1"), 'succeeded|160', 'all end');
results_agree("job_name = 'crash'", 'with their results');
is(psql(q{SELECT count(*) FROM jobsched.workflows WHERE workflow = 'crash' AND total = 7 AND succeeded = 7 AND kind = 'steps'}), '160', 'and are rows');

# A long queue of other runs is not read.
app(q{SELECT jobsched.create_job('idle', command => 'SELECT 1')});
app(q{SELECT jobsched.pause_job('idle')});
app(q{SELECT count(*) FROM jobsched.trigger_many('idle', array_fill(NULL::jsonb, ARRAY[5000]))});
psql('ANALYZE jobsched_internal.run');
my $plan = psql('EXPLAIN SELECT * FROM jobsched.workflows ORDER BY run_id DESC LIMIT 20');
like($plan, qr/run_workflow on run q\b/, 'a page of workflows is read by an index');
my $waiting = app(q{SELECT jobsched.trigger('crash', run_at => now() + interval '1 day')});
is(row_of($waiting, 'workflow, status'), 'crash queued', 'which has those that have not begun');
app("SELECT jobsched.cancel_run($waiting)");
app(q{SELECT jobsched.drop_job('idle')});
wait_drained($node, $db);

end_sessions($node);
$node->stop;
check_log($node, killed => 1);
done_testing();
