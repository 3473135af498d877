# Copyright (c) 2026, jobsched contributors

# Steps that run other jobs: whose runs these are, what they get and leave; what is
# refused; what becomes of them when something is cancelled, paused, dropped, renamed or
# given away; retries, also of single elements; crashes; dumps.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JSON::PP;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = jobsched_node('job_steps', conf => "restart_after_crash = on\njobsched.max_workers = 4\n");
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

sub quoted
{
	my ($text) = @_;
	return q{'} . $text =~ s/'/''/gr . q{'};
}

# A workflow that is called $name.
sub define
{
	my ($name, @steps) = @_;
	return app("SELECT jobsched.create_job('$name', steps => " . quoted($json->encode([@steps])) . ", if_exists => 'update')");
}

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($args ? ', ' . quoted($args) : '') . ')');
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

# The steps of a workflow run, in their order.
sub shown
{
	my ($run_id, $columns) = @_;
	$columns ||= 'step, status, reason';
	return psql("SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id");
}

# The runs of jobs, or elements, of its steps.
sub called
{
	my ($run_id, $columns) = @_;
	$columns ||= 'r.job_name, r.status, r.reason';
	return psql("SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY r.run_id) FROM jobsched.steps s JOIN jobsched.runs r ON r.parent_run_id = s.run_id WHERE s.workflow_run_id = $run_id");
}

sub called_run
{
	my ($run_id, $more) = @_;
	my $of = "FROM jobsched.steps s JOIN jobsched.runs r ON r.parent_run_id = s.run_id WHERE s.workflow_run_id = $run_id" . ($more || '');

	wait_until($node, $db, "SELECT count(*) > 0 $of", 'the job of the step has a run');
	return psql("SELECT min(r.run_id) $of");
}

sub refused
{
	my ($sql, $like, $name) = @_;
	return like(error_of($node, $db, $sql, 'app'), $like, $name);
}

sub refused_steps
{
	my ($steps, $like, $name) = @_;
	return refused("SELECT jobsched.create_job('bad', steps => " . quoted($json->encode($steps)) . ')', $like, $name);
}

psql(q{CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO PUBLIC; CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA app TO other});
app(q{CREATE TABLE app.gate (open boolean); INSERT INTO app.gate VALUES (true);
CREATE TABLE app.told (what jsonb);
CREATE FUNCTION app.show(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
CREATE FUNCTION app.tell(run jsonb) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO app.told SELECT jsonb_build_object('job', run ->> 'job', 'status', run ->> 'status') $$;
CREATE PROCEDURE app.wait() LANGUAGE plpgsql AS
	$$ BEGIN WHILE NOT (SELECT open FROM app.gate) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$});

sub gate
{
	my ($open) = @_;
	return app("UPDATE app.gate SET open = $open");
}

# ------------------------------------------------------------------------
# Whose runs they are, what they get and leave
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('other', handler => 'app.show', args => '{"a": "job", "b": "job", "c": "job"}', on_success => 'app.tell')});
define('outer',
	{ name => 'first', command => q{SELECT 7 AS n} },
	{ name => 'call', job => 'other', args => { c => 'step', n => '{{steps.first.result.n}}' } },
	{ name => 'last', command => q{SELECT jobsched.step_result('call') AS got, 1 AS one} });
my $run = trigger('outer', '{"b": "run", "c": "run"}');
is(ended($run), 'succeeded', 'a step runs another job');
is(shown($run), 'first succeeded, call succeeded, last succeeded', 'in its turn');
my $left = '{"a": "job", "b": "run", "c": "step", "n": 7}';
is(called($run, 'r.job_name, r.source, r.status, r.result'), "other item succeeded $left", 'by a run of this job, whose arguments are below those of the step');
is(shown($run, 'step, result') =~ s/ first.*?, //r, qq[first {"n": 7}, call $left, last {"got": $left, "one": 1}], 'and what it has left is the result of the step');
wait_value($node, $db, 'SELECT what FROM app.told', '{"job": "other", "status": "succeeded"}', 'the function that the job names is told');
is(psql("SELECT concat_ws(' ', step, item, value, status) FROM jobsched.step_items WHERE workflow_run_id = $run"), 'call succeeded', 'view step_items has it');
is(app(q{SELECT string_agg(concat_ws(' ', step, kind, explanation), ', ') FROM jobsched.explain_steps('outer') WHERE step = 'call'}),
	'call job Runs job "other" when "first" has succeeded.', 'explain_steps() says so');
is(app("SELECT jobsched.workflow_graph($run) #>> '{nodes,1,id}'"), 'call', 'and the graph has it');

# The definition is that of when the step starts.
gate('false');
define('late', { name => 'wait', command => 'CALL app.wait()', mode => 'autocommit' }, { name => 'call', job => 'other' });
$run = trigger('late');
wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.running WHERE job_name = 'late.wait'", 'the step before is executed');
app(q{SELECT jobsched.alter_job('other', args => '{"a": "altered"}')});
gate('true');
is(ended($run), 'succeeded', 'a job is altered before its step starts');
is(called($run, 'r.result'), '{"a": "altered"}', 'it runs as it is then');

# Of each element
define('many', { name => 'call', job => 'other', for_each => 'VALUES (to_jsonb(5)), (to_jsonb(6))' },
	{ name => 'sum', command => q{SELECT sum((result ->> 'item')::int) FROM jobsched.step_results('call')} });
$run = trigger('many');
is(ended($run), 'succeeded', 'a job is run for each element');
is(called($run, 'r.job_name, r.result'), 'other {"a": "altered", "item": 5, "index": 0}, other {"a": "altered", "item": 6, "index": 1}', 'with the element');
is(shown($run, q{step, result ->> 'total', result ->> 'sum', items ->> 'succeeded'}), 'call 2 2, sum 11', 'the step has totals, and later ones find what each has left');
is(psql("SELECT string_agg(concat_ws(' ', item, value), ', ' ORDER BY item) FROM jobsched.step_items WHERE workflow_run_id = $run"), '0 5, 1 6', 'view step_items has the elements');

# Skipped, and what it cannot do
define('not', { name => 'call', job => 'other', if => 'false' }, { name => 'last', command => 'SELECT 1', when => 'done' });
$run = trigger('not');
is(ended($run), 'succeeded', 'a step with job looks');
is(shown($run) . (called($run) // ''), 'call skipped condition, last succeeded', 'and has no run of the job if it is not to start');

# ------------------------------------------------------------------------
# Workflows in workflows
# ------------------------------------------------------------------------

define('inner', { name => 'one', command => 'SELECT 1 AS n' }, { name => 'two', command => q{SELECT jobsched.args() ->> 'x' AS x, jobsched.step_result('one') AS one} });
define('nest', { name => 'call', job => 'inner', args => { x => 'y' } });
$run = trigger('nest');
is(ended($run), 'succeeded', 'a workflow runs another');
is(shown($run, 'step, result'), 'call {"one": {"n": 1}, "two": {"x": "y", "one": {"n": 1}}}', 'whose result is that of the step');
my $inner = called_run($run);
is(psql("SELECT kind || ' ' || total FROM jobsched.workflows WHERE run_id = $inner"), 'steps 2', 'it is a workflow run of its own');
define('nest2', { name => 'call', job => 'nest' });
$run = trigger('nest2');
is(ended($run), 'succeeded', 'and so on');

define('inner_fails', { name => 'one', command => 'SELECT 1 AS n' }, { name => 'two', command => q{SELECT 1 / (jobsched.args() ->> 'by')::int AS n} });
define('nest_fails', { name => 'call', job => 'inner_fails' }, { name => 'never', command => 'SELECT 1' });
$run = trigger('nest_fails', '{"by": 0}');
is(ended($run), 'failed child_failed', 'a step fails as its job has');
is(shown($run), 'call failed child_failed, never skipped upstream_failed', 'those after it do not start');
$inner = called_run($run);
is(shown($run, q{error}) =~ s/, $//r, qq{run $inner of job "inner_fails" has failed}, 'its error names the run');
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'call'"), '{"one": {"n": 1}}', 'what it has left is there all the same');
is(psql("SELECT count(*) FROM jobsched.dead_letters WHERE run_id = $inner"), '0', 'the run of the job is no dead letter');
refused("SELECT jobsched.retry_run($inner)", qr/is of an element of a step, or of the job of one/, 'and is not retried by itself');
my $again = app("SELECT jobsched.retry_run($run, args => '{\"by\": 1}')");
is(ended($again), 'succeeded', 'it is retried with its workflow');
is(shown($again), 'call succeeded, never succeeded', 'anew');
$again = app("SELECT jobsched.retry_run($again, from_step => '{never}')");
is(ended($again), 'succeeded', 'a step with job is carried over');
is(shown($again, 'step, reason, result'), 'call carried_over {"one": {"n": 1}, "two": {"n": 1}}, never {"?column?": 1}', 'with its result');

# Cancelled: the whole tree, but for what is always done
app('CREATE TABLE app.done (what text)');
define('rented', { name => 'work', command => 'CALL app.wait()', mode => 'autocommit' },
	{ name => 'return', command => q{INSERT INTO app.done VALUES ('returned')}, when => 'always' });
define('renting', { name => 'call', job => 'rented' });
gate('false');
$run = trigger('renting');
wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.running WHERE job_name = 'rented.work'", 'a step of a nested workflow is executed');
app("SELECT jobsched.cancel_run($run)");
like(ended($run), qr{^cancelled}, 'the workflow is cancelled');
is(shown($run), 'call cancelled parent_ended', 'so is its step');
is(called($run), 'rented cancelled parent_ended', 'and the nested workflow');
is(shown(called_run($run)), 'work cancelled parent_ended, return succeeded', 'whose always step is done');
gate('true');

# The nested workflow's deadline
app(q{SELECT jobsched.create_job('hurried', deadline => '100 ms', steps => '[{"name": "work", "command": "CALL app.wait()", "mode": "autocommit"}]')});
define('hurrying', { name => 'call', job => 'hurried' }, { name => 'handle', command => 'SELECT 1', when => 'failure' });
gate('false');
$run = trigger('hurrying');
is(ended($run), 'failed child_failed', 'a nested workflow has a deadline of its own');
is(called($run) . '; ' . shown($run), 'hurried timed_out deadline; call failed child_failed, handle succeeded', 'and has failed then');
gate('true');

# ------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------

refused_steps([ { name => 'x', job => 'nobody' } ], qr/job "nobody" does not exist.*step "x" \(steps\[0\]\.job\)/s, 'a job that does not exist');
refused_steps([ { name => 'x', job => 'bad' } ], qr/job "bad" cannot be a step of itself.*steps\[0\]\.job/s, 'the job itself');
refused_steps([ { name => 'x', job => 'other', timeout => '1 s' } ], qr/a step with "job" cannot have "timeout".*steps\[0\]\.timeout/s, 'what is the job\'s to say');
refused_steps([ { name => 'x', job => 'other', max_attempts => 2 } ], qr/a step with "job" cannot have "max_attempts"/, 'attempts too');
refused_steps([ { name => 'x', job => 'other', command => 'SELECT 1' } ], qr/a step with "job" cannot have "command"/, 'and other work');
refused_steps([ { name => 'x', job => 'other', url => 'http://x/' } ], qr/a step with "job" cannot have "url"/, 'and a request');
refused_steps([ { name => 'x', job => 5 } ], qr/invalid job "5"/, 'what is no name');
refused_steps([ { name => 'x' } ], qr/neither command nor handler nor url nor job/, 'nothing');
psql(q{SELECT jobsched.create_job('of_other', command => 'SELECT 1', owner => 'other')});
refused_steps([ { name => 'x', job => 'of_other' } ], qr/job "of_other" does not exist/, 'a job of another owner');
refused(q{SELECT jobsched.alter_job('inner', steps => '[{"name": "up", "job": "nest2"}]')},
	qr/job "inner" would be a step of itself, by way of job "nest".*steps\[0\]\.job/s, 'a circle of three');
define('to_drop', { name => 'x', command => 'SELECT 1' });
define('dangling', { name => 'call', job => 'to_drop' });
app(q{SELECT jobsched.drop_job('to_drop')});
refused(q{SELECT jobsched.create_job('to_drop', steps => '[{"name": "x", "job": "dangling"}]')},
	qr/job "to_drop" would be a step of itself, by way of job "dangling"/, 'a circle by a name that had been free');
define('innocent', { name => 'x', job => 'dangling' });
refused(q{SELECT jobsched.alter_job('innocent', name => 'to_drop')}, qr/would be a step of itself.*step "x"/s, 'or by a new name');
like(error_of($node, $db, q{SELECT jobsched.alter_job('nest', owner => 'other')}, $superuser), qr/job "inner" does not exist.*step "call"/s, 'another owner has no such job');

# A circle that nobody has seen ends.
define('ring1', { name => 'call', job => 'other' });
define('ring2', { name => 'call', job => 'ring1' });
psql(q{UPDATE jobsched_internal.job SET step_job = 'ring2' WHERE name = 'ring1.call'});
$run = trigger('ring1');
is(ended($run), 'failed child_failed', 'a circle past the functions ends');
is(psql(q{SELECT max(sqlstate) FROM jobsched.runs WHERE status = 'failed' AND error LIKE '%16 generations are above it'}), 'JS054', 'at the limit of generations');

# ------------------------------------------------------------------------
# What happens meanwhile
# ------------------------------------------------------------------------

# Paused
app(q{SELECT jobsched.pause_job('other')});
define('calls', { name => 'call', job => 'other' });
$run = trigger('calls');
$inner = called_run($run);
wait_value($node, $db, "SELECT reason FROM jobsched.runs WHERE run_id = $inner", 'job_paused', 'the run of a paused job waits');
is(shown($run), 'call running waiting_for_children', 'and the step with it');
app(q{SELECT jobsched.resume_job('other')});
is(ended($run), 'succeeded', 'until it is resumed');

# Dropped before the step starts, and afterwards
is(ended(trigger('dangling')), 'failed child_failed', 'a workflow whose job is gone fails');
is(psql(q{SELECT error || ' ' || sqlstate FROM jobsched.runs WHERE job_name = 'dangling.call'}),
	'job "to_drop", which step "call" runs, does not exist 42704', 'the step says why');
app(q{SELECT jobsched.create_job('to_drop', command => 'SELECT 1')});
is(ended(app(q{SELECT jobsched.retry_run(max(run_id)) FROM jobsched.runs WHERE job_name = 'dangling'})), 'succeeded', 'with another one of this name it goes on');
app(q{SELECT jobsched.pause_job('to_drop')});
$run = trigger('dangling');
$inner = called_run($run);
app(q{SELECT jobsched.drop_job('to_drop')});
is(ended($run), 'failed child_failed', 'a job is dropped while its run waits');
is(called($run) . '; ' . shown($run), 'to_drop cancelled job_dropped; call failed child_failed', 'so the step fails');

# Limits of the job hold for its runs.
app(q{SELECT jobsched.create_job('single', command => 'CALL app.wait()', mode => 'autocommit', max_concurrency => 1)});
define('singles', { name => 'call', job => 'single', for_each => 'SELECT to_jsonb(i) FROM generate_series(1, 3) i' });
gate('false');
$run = trigger('singles');
wait_value($node, $db, "SELECT items ->> 'running' || ' ' || (items ->> 'queued') FROM jobsched.steps WHERE workflow_run_id = $run", '1 2', 'limits of the job hold');
gate('true');
is(ended($run), 'succeeded', 'for each of its runs');

# The run of a job is cancelled
gate('false');
define('cancelled', { name => 'call', job => 'single', optional => JSON::PP::true }, { name => 'last', command => 'SELECT 1', when => 'done' });
$run = trigger('cancelled');
$inner = called_run($run);
app("SELECT jobsched.cancel_run($inner)");
is(ended($run), 'succeeded', 'the run of a job is cancelled');
is(shown($run), 'call failed child_failed, last succeeded', 'so the step has failed');
gate('true');

# ------------------------------------------------------------------------
# Elements that are carried over
# ------------------------------------------------------------------------

sub items
{
	my ($run_id, $columns) = @_;
	$columns ||= 'item, status, reason';
	return psql("SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY step_no, item) FROM jobsched.step_items WHERE workflow_run_id = $run_id");
}

app(q{CREATE TABLE app.thing (id int, v int, bad boolean); INSERT INTO app.thing VALUES (0, 10, false), (1, 11, true), (2, 12, false), (3, 13, false);
CREATE TABLE app.did (v int);
CREATE FUNCTION app.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO app.did VALUES ((args ->> 'item')::int);
	ASSERT NOT (SELECT bad FROM app.thing WHERE v = (args ->> 'item')::int);
	RETURN jsonb_build_object('v', args -> 'item'); END $$});
my @each = ({ name => 'each', handler => 'app.act', for_each => 'SELECT to_jsonb(v) FROM app.thing ORDER BY id' },
	{ name => 'sum', command => q{SELECT sum((result ->> 'v')::int) AS sum FROM jobsched.step_results('each')} });
define('each', @each);
$run = trigger('each');
is(ended($run), 'failed child_failed', 'an element fails');
app('UPDATE app.thing SET bad = false; UPDATE app.thing SET v = 22 WHERE id = 2; INSERT INTO app.thing VALUES (4, 14, false); TRUNCATE app.did');
$again = app("SELECT jobsched.retry_run($run)");
is(ended($again), 'succeeded', 'the workflow is retried');
is(items($again), '0 succeeded carried_over, 1 succeeded, 2 succeeded, 3 succeeded carried_over, 4 succeeded', 'elements that had succeeded, with equal values, are carried over');
is(app(q{SELECT string_agg(v::text, ' ' ORDER BY v) FROM app.did}), '11 14 22', 'the others are executed');
is(shown($again, q{step, result ->> 'succeeded', result ->> 'sum'}), 'each 5, sum 70', 'the totals, and later steps, have all of them');
my $third = app("TRUNCATE app.did; SELECT jobsched.retry_run($again, from_step => '{sum}')");
is(ended($third), 'succeeded', 'a retry of a retry');
is(items($third), join(', ', map { "$_ succeeded carried_over" } 0 .. 4), 'carries over all');
is(shown($third, q{step, status, reason, result ->> 'total'}), 'each succeeded 5, sum succeeded', 'and ends though nothing is executed');
my $fourth = app("SELECT jobsched.retry_run($third, from_step => '{each}')");
is(ended($fourth), 'succeeded', 'a step that is named');
is(items($fourth), join(', ', map { "$_ succeeded" } 0 .. 4), 'is done anew with all elements');
is(app('SELECT count(*) FROM app.did'), '5', 'each of them once');

# After one that is done anew, nothing is carried over.
define('each', { name => 'before', command => 'SELECT 1' }, @each);
app('UPDATE app.thing SET bad = true WHERE id = 4');
$run = trigger('each');
is(ended($run), 'failed child_failed', 'an element fails again');
$again = app("UPDATE app.thing SET bad = false; SELECT jobsched.retry_run($run, from_step => '{before}')");
is(ended($again), 'succeeded', 'a step before it is named');
is(items($again), join(', ', map { "$_ succeeded" } 0 .. 4), 'so elements are done anew');

# Of a job
app(q{SELECT jobsched.create_job('acts', handler => 'app.act')});
define('of_job', { name => 'each', job => 'acts', for_each => 'SELECT to_jsonb(v) FROM app.thing ORDER BY id' });
app('UPDATE app.thing SET bad = true WHERE id = 0');
$run = trigger('of_job');
is(ended($run), 'failed child_failed', 'a job fails for one element');
$again = app("UPDATE app.thing SET bad = false; SELECT jobsched.retry_run($run)");
is(ended($again), 'succeeded', 'the workflow is retried');
is(items($again), '0 succeeded, ' . join(', ', map { "$_ succeeded carried_over" } 1 .. 4), 'the job is run for this one');

# The definition has changed, but neither the names of its steps nor the elements.
define('altered', @each);
app('UPDATE app.thing SET bad = true WHERE id = 1');
$run = trigger('altered');
is(ended($run), 'failed child_failed', 'an element fails');
define('altered', { %{ $each[0] }, handler => 'app.show' }, $each[1]);
$again = app("SELECT jobsched.retry_run($run)");
is(ended($again), 'succeeded', 'the workflow is altered, and retried');
is(items($again), '0 succeeded carried_over, 1 succeeded, ' . join(', ', map { "$_ succeeded carried_over" } 2 .. 4), 'elements are carried over all the same');

# Retention
my $minutes = 0;
sub turn_the_ring
{
	my $segment = psql('SELECT segment FROM jobsched_internal.ring WHERE ring = 0');

	set_clock($node, $db, psql("SELECT clock_timestamp() + interval '" . ++$minutes . " minutes'"));
	return wait_until($node, $db, "SELECT segment <> $segment FROM jobsched_internal.ring WHERE ring = 0", 'the ring moves on');
}
define('aged', @each);
set_setting($node, 'jobsched.history_retention', '1min');
my @aged = map { trigger('aged') } 1 .. 3;
is(ended($_), 'failed child_failed', 'an element fails') for @aged;
app(q{UPDATE app.thing SET bad = false; SELECT jobsched.pause_job('aged')});
my @anew = map { app("SELECT jobsched.retry_run($_)") } @aged[ 0, 1 ];
turn_the_ring() for 1 .. 10;
is(items($aged[2], 'item'), '1', 'retention takes elements away');
push @anew, app("SELECT jobsched.retry_run($aged[2])");
psql("DELETE FROM jobsched_internal.history WHERE run_id = (SELECT run_id FROM jobsched.step_items WHERE workflow_run_id = $aged[1] AND item = 2)");
app(q{SELECT jobsched.resume_job('aged')});
is(ended($_), 'succeeded', 'the workflow is retried') for @anew;
is(items($anew[0]), '0 succeeded carried_over, 1 succeeded, ' . join(', ', map { "$_ succeeded carried_over" } 2 .. 4), 'elements that a retry has named are kept');
is(items($anew[1]), '0 succeeded carried_over, 1 succeeded, 2 succeeded, 3 succeeded, 4 succeeded', 'one is gone all the same: it is done anew, and those behind it');
is(items($anew[2]), join(', ', map { "$_ succeeded" } 0 .. 4), 'and all if all are gone');
set_clock($node, $db, undef);
set_setting($node, 'jobsched.history_retention', '7d');

# ------------------------------------------------------------------------
# Undone
# ------------------------------------------------------------------------

# The runs of these steps have no arguments.
app('CREATE TABLE app.undone (args jsonb, result jsonb)');
my $undo = 'INSERT INTO app.undone SELECT jobsched.args(), r.result FROM jobsched.step_results(\'%s\') r WHERE r.item IS NOT DISTINCT FROM (jobsched.args() ->> \'index\')::int';
app(q{SELECT jobsched.create_job('plain', handler => 'app.show')});
define('undone',
	{ name => 'job', job => 'plain', undo => sprintf($undo, 'job') },
	{ name => 'each', job => 'plain', for_each => q{SELECT '[5, 6]'::jsonb}, undo => sprintf($undo, 'each') },
	{ name => 'bad', command => 'SELECT 1 / 0' });
$run = trigger('undone');
is(ended($run), 'failed child_failed', 'steps that run jobs are undone');
is(shown($run), 'job succeeded, each succeeded, bad failed error, undo succeeded, undo:job succeeded, undo:each succeeded', 'after what has failed');
is(app(q{SELECT string_agg(concat_ws(' ', args, result), ', ' ORDER BY args ->> 'index') FROM app.undone}),
	'{"item": 5, "index": 0} {"item": 5, "index": 0}, {"item": 6, "index": 1} {"item": 6, "index": 1}, {} {}', 'with what their jobs have left');
is(ended($again = app("SELECT jobsched.retry_run($run)")), 'failed child_failed', 'the workflow is retried');
is(items($again, 'step, item, reason'), 'job, each 0, each 1, undo:each 0, undo:each 1', 'it runs the jobs anew');

# What the steps of a job have undone is that of its own run.
define('undoes', { name => 'work', command => 'SELECT 1', undo => 'SELECT 1' });
define('fails_later', { name => 'call', job => 'undoes' }, { name => 'bad', command => 'SELECT 1 / 0' });
$run = trigger('fails_later');
is(ended($run), 'failed child_failed', 'a workflow fails after another that was its step');
is(shown(called_run($run)), 'work succeeded, undo skipped upstream_succeeded', 'that one is not undone');

# ------------------------------------------------------------------------
# Paused in the middle, and owners who cannot log in
# ------------------------------------------------------------------------

app(q{SELECT jobsched.pause_job('plain')});
define('paused', { name => 'one', job => 'plain' }, { name => 'two', job => 'plain' });
$run = trigger('paused');
$inner = called_run($run);
app(q{SELECT jobsched.pause_job('paused'); SELECT jobsched.resume_job('plain')});
wait_value($node, $db, "SELECT string_agg(status || ' ' || coalesce(reason, ''), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run", 'succeeded , queued job_paused',
	'the workflow is paused: the run of the job goes on, the next step waits');
app(q{SELECT jobsched.resume_job('paused')});
is(ended($run), 'succeeded', 'until it is resumed');

psql(q{CREATE ROLE leaver LOGIN});
sub leaver
{
	my ($sql) = @_;
	return $node->safe_psql($db, "SET ROLE leaver; $sql");
}
leaver(q{SELECT jobsched.create_job('work', command => 'SELECT 1'); SELECT jobsched.pause_job('work');
	SELECT jobsched.create_job('leaving', steps => '[{"name": "call", "job": "work"}, {"name": "next", "job": "work", "when": "done"}]')});
my $left_run = leaver(q{SELECT jobsched.trigger('leaving')});
$inner = called_run($left_run);
psql('ALTER ROLE leaver NOLOGIN');
leaver(q{SELECT jobsched.resume_job('work')});
is(ended($left_run), 'failed child_failed', 'the owner loses LOGIN');
is(called($left_run) . '; ' . shown($left_run), 'work failed owner_cannot_connect; call failed child_failed, next failed owner_cannot_connect', 'the run of the job fails, and the step that would run it');

# ------------------------------------------------------------------------
# Crashes and copies
# ------------------------------------------------------------------------

gate('false');
define('crashed', { name => 'call', job => 'single' });
$run = trigger('crashed');
$inner = called_run($run);
wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.running WHERE run_id = $inner", 'the job is executed');
my $scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
end_sessions($node);
$node->stop('immediate');
$node->start;
wait_scheduler($node, $db);
gate('true');
wait_until($node, $db, "SELECT count(*) = 0 FROM jobsched_internal.run", 'all has ended after a crash');
like(called($run) . '; ' . shown($run), qr/^single (succeeded|lost \w+); call (succeeded|failed child_failed)$/, 'the step as its job');

$run = trigger('nest2');
kill 'KILL', $_ for split /\n/, psql(q{SELECT pid FROM jobsched.workers});
end_sessions($node);
wait_connection($node, $db);
wait_scheduler($node, $db);
is(ended($run), 'succeeded', 'workers are killed');
is(psql(qq{WITH RECURSIVE t AS (SELECT run_id, parent_run_id FROM jobsched.runs WHERE run_id = $run
	UNION ALL SELECT r.run_id, r.parent_run_id FROM jobsched.runs r JOIN t ON r.parent_run_id = t.run_id) SELECT count(*) FROM t}),
	'7', 'each run of the tree is there once');

# A dump has names.
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-U', $superuser, '-f', $dump, $db ], 'a dump');
end_sessions($node);
$node->safe_psql($db, 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-U', $superuser, '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'copy' ], 'is restored');
is($node->safe_psql('copy', q{SELECT string_agg(step_job, ',' ORDER BY step_job) FROM jobsched_internal.job WHERE name IN ('nest.call', 'nest2.call') AND dropped_at IS NULL}),
	'inner,nest', 'the names of jobs are in it');

done_testing();
