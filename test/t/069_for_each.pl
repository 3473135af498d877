# Copyright (c) 2026, jobsched contributors

# Steps with for_each: what the elements are, how they run and what is read of them;
# what is refused; what becomes of them when their workflow is cancelled, paused,
# dropped, altered, given away; crashes; copies of rows that are kept; many of them.

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
use Time::HiRes qw(sleep);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('for_each', conf => "restart_after_crash = on\njobsched.max_workers = 4\n");
my $sink = start_sink($node);
my $json = JSON::PP->new->canonical;

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

# Runs a workflow to its end, which is returned, with its id.
sub run_of
{
	my ($name, @steps) = @_;
	define($name, @steps);
	my $run = trigger($name);
	return (ended($run), $run);
}

# The steps of a workflow run, in their order.
sub shown
{
	my ($run_id, $columns) = @_;
	$columns ||= 'step, status, reason';
	return psql("SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id");
}

# The elements of its steps.
sub items
{
	my ($run_id, $columns) = @_;
	$columns ||= 'item, status, reason';
	return psql("SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY step_no, item) FROM jobsched.step_items WHERE workflow_run_id = $run_id");
}

sub step_run
{
	my ($run_id, $step) = @_;
	my $of = "FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'";

	wait_until($node, $db, "SELECT count(*) = 1 $of", "step $step is queued");
	return psql("SELECT run_id $of");
}

sub item_run
{
	my ($run_id, $item) = @_;
	my $of = "FROM jobsched.step_items WHERE workflow_run_id = $run_id AND item = $item";

	wait_until($node, $db, "SELECT count(*) = 1 $of", "element $item is queued");
	return psql("SELECT run_id $of");
}

sub drained
{
	my ($name) = @_;
	return wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run}, '0', $name);
}

sub new_scheduler
{
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	return wait_new_scheduler($node, $db, $scheduler);
}

sub kill_hard
{
	my ($pid) = @_;
	end_sessions($node);
	kill 'KILL', $pid;
	wait_connection($node, $db);
	return wait_scheduler($node, $db);
}

sub totals
{
	my (%more) = @_;
	my $total = 0;
	$total += $_ for values %more;
	return join ', ', map { qq{"$_": } . ($_ eq 'total' ? $total : $more{$_} // 0) } qw(lost total failed skipped cancelled succeeded timed_out);
}

# As a step shows them.
sub has_totals
{
	my ($run_id, $step, $name, %of) = @_;
	return is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'"), '{' . totals(%of) . '}', $name);
}

make_gate($node, $db, 'app');
app(q{
	CREATE TABLE app.thing (id integer PRIMARY KEY, state text);
	INSERT INTO app.thing SELECT i, 'new' FROM generate_series(0, 4) i;
	CREATE TABLE app.told (args jsonb);
	CREATE FUNCTION app.tell(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO app.told VALUES (args)';
	CREATE FUNCTION app.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
	CREATE FUNCTION app.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.leave(args);
		IF args #>> '{item,do}' = 'fail' THEN
			RAISE 'no';
		ELSIF args #>> '{item,do}' = 'again' AND jobsched.attempt() = 1 THEN
			RAISE 'again' USING ERRCODE = '40001';
		ELSIF args #>> '{item,do}' = 'wait' THEN
			PERFORM id FROM public.gate FOR SHARE;
		END IF;
		RETURN to_jsonb((args ->> 'index')::int * 10);
	END $$;
	-- the results of all elements, as step_result() and step_results() have them
	CREATE FUNCTION app.collect(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('totals', jobsched.step_result('each'), 'second', jobsched.step_result('each', 1),
			'beyond', jobsched.step_result('each', 1000000), 'before', jobsched.step_result('each', -1),
			'same', COALESCE(bool_and(s.result IS NOT DISTINCT FROM jobsched.step_result('each', s.item)), true),
			'all', jsonb_agg(s.result ORDER BY n), 'items', jsonb_agg(s.item ORDER BY n))
		FROM jobsched.step_results('each') WITH ORDINALITY s(step, run_id, status, args, result, error, item, n)
	$$});

my $act = { name => 'each', handler => 'app.act', max_attempts => 1 };
my $collect = { name => 'collect', handler => 'app.collect', when => 'done' };
sub each_of
{
	my ($sql, %more) = @_;
	return { %$act, for_each => $sql, %more };
}

# ------------------------------------------------------------------------
# What the elements are
# ------------------------------------------------------------------------

for (
	[ 'an array', q{SELECT '[7, "x", null, {"a": [1]}, [2, 3], true]'::jsonb}, '7, "x", null, {"a": [1]}, [2, 3], true' ],
	[ 'rows', q{SELECT to_jsonb(i * i) FROM generate_series(1, 3) i}, '1, 4, 9' ],
	[ 'one row', q{SELECT '{"a": 1}'::jsonb}, '{"a": 1}' ],
	[ 'a scalar', q{SELECT to_jsonb('x'::text)}, '"x"' ],
	[ 'rows in an order', q{SELECT to_jsonb(id) FROM app.thing ORDER BY id DESC}, '4, 3, 2, 1, 0' ],
	[ 'NULLs, which are none', q{SELECT CASE WHEN i <> 2 THEN to_jsonb(i) END FROM generate_series(1, 3) i}, '1, 3' ],
	[ 'null of JSON, which is one', q{SELECT 'null'::jsonb FROM generate_series(1, 2)}, 'null, null' ],
	[ 'an array of arrays', q{SELECT '[[1], []]'::jsonb}, '[1], []' ],
	[ 'what a statement returns', q{UPDATE app.thing SET state = 'old' WHERE id < 2 RETURNING to_jsonb(state)}, '"old", "old"' ],
	[ 'WITH', q{WITH x AS (DELETE FROM app.thing WHERE id = 4 RETURNING id) SELECT to_jsonb(id) FROM x}, '4' ],
	[ 'VALUES', q{VALUES ('1'::jsonb), ('2')}, '1, 2' ],
	[ 'args and the run', q{SELECT jsonb_build_array(jobsched.args() -> 'given', jobsched.run_id() IS NOT NULL, jobsched.workflow_run_id() IS NOT NULL, jobsched.job_name())}, '"by step", true, true, "flow.each"' ],
	[ 'no rows', q{SELECT '1'::jsonb WHERE false}, '' ],
	[ 'an empty array', q{SELECT '[]'::jsonb}, '' ],
	[ 'NULL', q{SELECT NULL::jsonb}, '' ])
{
	my ($what, $sql, $expected) = @$_;
	my ($end, $run) = run_of('flow', each_of($sql, handler => 'app.echo', args => { given => 'by step', item => 'hidden' }), $collect);
	my $count = psql("SELECT count(*) FROM jobsched.step_items WHERE workflow_run_id = $run");

	is($end, 'succeeded', "$what: succeeds");
	is(items($run, 'value'), $expected, "$what: elements");
	has_totals($run, 'each', "$what: totals", succeeded => $count);
	is(psql("SELECT count(*) = 0 FROM (SELECT item, row_number() OVER (ORDER BY run_id) - 1 AS n FROM jobsched.step_items WHERE workflow_run_id = $run) x WHERE n <> item"),
		't', "$what: in order");
	is(psql("SELECT result ->> 'same' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"), 'true', "$what: found by index");
}
psql(q{INSERT INTO app.thing VALUES (4, 'new')});

my ($end, $run) = run_of('flow', { name => 'list', command => q{SELECT '["a", "b"]'::jsonb}, args => { of => 'list' } },
	each_of(q{SELECT jobsched.step_result('list')}, args => { of => 'each' }), $collect,
	{ name => 'up', command => q{SELECT jsonb_agg(to_jsonb(u) - 'run_id' ORDER BY step) FROM jobsched.upstream() u}, after => ['each'] });
is($end, 'succeeded', 'elements of a result');
is(psql("SELECT result FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"),
	'{"all": [0, 10], "same": true, "items": [0, 1], "before": null, "beyond": null, "second": 10, "totals": {' . totals(succeeded => 2) . '}}',
	'what a later step reads');
is(psql("SELECT result -> 0 -> 'result' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'up'"), '{' . totals(succeeded => 2) . '}', 'upstream() has the totals');
is(psql("SELECT string_agg(DISTINCT concat_ws(' ', source, job_name), ', ') FROM jobsched.runs WHERE parent_run_id = (SELECT run_id FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'each')"),
	'item flow.each', 'the runs of elements');
is(psql("SELECT args FROM jobsched.runs WHERE run_id = " . item_run($run, 1)), '{"of": "each", "item": "b", "index": 1}', 'their arguments');
is(shown($run, 'step'), 'list, each, collect, up', 'view steps has a row for each step');

# Elements see others, and their workflow; a child of one does too.
($end, $run) = run_of('flow', { name => 'list', command => q{SELECT 7} },
	each_of(q{SELECT to_jsonb(i) FROM generate_series(1, 3) i}, handler => undef, command => q{SELECT jsonb_build_array(jobsched.workflow_run_id(), jobsched.step_result('list') -> '?column?', jobsched.args() -> 'item')}));
is(items($run, 'result'), join(', ', map { "[$run, 7, $_]" } 1 .. 3), 'elements of a command see their workflow');
app(q{SELECT jobsched.create_job('reads', command => 'SELECT jsonb_build_array(jobsched.workflow_run_id(), jobsched.step_result(''list''))')});
($end, $run) = run_of('flow', { name => 'list', command => q{SELECT to_jsonb(7)} },
	each_of(q{SELECT to_jsonb(1)}, handler => undef, command => q{SELECT jobsched.trigger('reads', child => true)}));
is($end, 'succeeded', 'an element with a child');
is(psql("SELECT result FROM jobsched.runs WHERE parent_run_id = " . item_run($run, 0)), "[$run, 7]", 'which sees the workflow');

# ------------------------------------------------------------------------
# What is refused
# ------------------------------------------------------------------------

app(q{
	CREATE DOMAIN app.doc AS jsonb;
	CREATE PROCEDURE app.commits(INOUT x jsonb) LANGUAGE plpgsql AS 'BEGIN COMMIT; x := ''[1]''; END';
	CREATE PROCEDURE app.plain(INOUT x jsonb) LANGUAGE plpgsql AS 'BEGIN x := ''[1, 2]''; END'});
($end, $run) = run_of('flow', each_of(q{SELECT to_jsonb(id)::app.doc FROM app.thing WHERE id < 2 ORDER BY id}));
is(items($run, 'value'), '0, 1', 'a domain over jsonb');
($end, $run) = run_of('flow', each_of(q{CALL app.plain('null')}));
is(items($run, 'value'), '1, 2', 'a procedure');
for (
	[ 'several columns', q{SELECT '1'::jsonb, 2}, '42601', 'for_each returns 2 columns, not one' ],
	[ 'no column', q{SELECT FROM app.thing}, '42601', 'for_each returns 0 columns, not one' ],
	[ 'json', q{SELECT '[1]'::json}, '42804', 'for_each returns json, not jsonb' ],
	[ 'an integer', q{SELECT id FROM app.thing}, '42804', 'for_each returns integer, not jsonb' ],
	[ 'an array of SQL', q{SELECT ARRAY['1'::jsonb]}, '42804', 'for_each returns jsonb[], not jsonb' ],
	[ 'nothing', q{UPDATE app.thing SET state = state}, '42601', 'for_each returns nothing' ],
	[ 'DO', q{DO $x$ BEGIN END $x$}, '42601', 'for_each returns nothing' ],
	[ 'several rows, one of them an array', q{VALUES ('1'::jsonb), ('[2]')}, '22023', 'for_each returns several rows, and one of them is an array' ],
	[ 'arrays', q{VALUES ('[]'::jsonb), ('[2]')}, '22023', 'for_each returns several rows, and one of them is an array' ],
	[ 'too many rows', q{SELECT to_jsonb(i) FROM generate_series(1, 100001) i}, 'JS054', 'for_each returns too many elements, more than 100000' ],
	[ 'too many elements', q{SELECT jsonb_agg(i) FROM generate_series(1, 100001) i}, 'JS054', 'for_each returns 100001 elements, more than 100000' ],
	[ 'an error', q{SELECT to_jsonb(1 / (id - 3)) FROM app.thing}, '22012', 'division by zero' ],
	[ 'a table that is not there', q{SELECT to_jsonb(x) FROM app.nowhere x}, '42P01', 'relation "app.nowhere" does not exist' ],
	[ 'a commit', q{CALL app.commits('null')}, '2D000', 'invalid transaction termination' ],
	[ 'a child', q{SELECT to_jsonb(jobsched.trigger('reads', child => true))}, 'JS055', 'child is used in for_each' ],
	[ 'a batch as a child', q{SELECT to_jsonb(jobsched.trigger_batch('reads', '{NULL}', child => true))}, 'JS055', 'child is used in for_each' ],
	[ 'a child that is a request', qq{SELECT to_jsonb(jobsched.http_get('$sink->{url}/ok', child => true))}, 'JS055', 'child is used in for_each' ],
	[ 'snooze()', q{SELECT to_jsonb(1) FROM jobsched.snooze('1 minute')}, 'JS055', 'snooze() is used in for_each' ],
	[ 'discard()', q{SELECT to_jsonb(1) FROM jobsched.discard('enough')}, 'JS001', 'enough' ],
	[ 'a huge element', q{VALUES ('1'::jsonb), (to_jsonb(repeat('x', 20000000)))}, 'JS054', qr/^args has \d+ bytes, more than the \d+ kB that are allowed$/ ],
	[ 'an element that is deep', q{SELECT ('[' || repeat('[', 6000) || repeat(']', 6000) || ']')::jsonb}, undef, undef ],
	[ 'VACUUM', q{VACUUM app.thing}, '25001', qr/VACUUM cannot/ ])
{
	my ($what, $sql, $state, $message) = @$_;
	my ($end, $run) = run_of('flow', each_of($sql), $collect);
	my $error = psql("SELECT error FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'each'");

	next if !defined $state;
	is(psql("SELECT concat_ws(' ', status, sqlstate) FROM jobsched.runs WHERE run_id = " . step_run($run, 'each')), "failed $state", "$what: the step fails");
	ref $message ? like($error, $message, "$what: why") : is($error, $message, "$what: why");
	is($end, 'failed child_failed', "$what: and the workflow");
	is(items($run), '', "$what: without elements");
	is(psql("SELECT status FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"), 'succeeded', "$what: others go on, and read nothing");
}
($end, $run) = run_of('flow', each_of(q{SELECT to_jsonb(i) FROM generate_series(1, 3) i}, keys => ['of:{{args.item.id}}']));
is(psql("SELECT concat_ws(' ', sqlstate, error, error_context) FROM jobsched.runs WHERE run_id = " . step_run($run, 'each')),
	q{22023 key "of:{{args.item.id}}" needs args.item.id, which is not there, or is no text, number or boolean element 0 of for_each}, 'a key that the element does not have');
like(error_of($node, $db, "SELECT jobsched.retry_run(" . step_run($run, 'each') . ')', 'app'), qr/JS055/, 'the run of a step is not retried by itself');

# What is read of a step that has no elements
($end, $run) = run_of('flow', { name => 'one', command => 'SELECT 1' }, { name => 'reads', command => q{SELECT jobsched.step_result('one', 0)} },
	{ name => 'null', command => q{SELECT jobsched.step_result(NULL, 0) IS NULL AND jobsched.step_result(NULL) IS NULL}, after => [] });
is(psql("SELECT concat_ws(' ', sqlstate, error) FROM jobsched.runs WHERE run_id = " . step_run($run, 'reads')), '42809 step "one" has no elements', 'an index of a step without elements');

# ------------------------------------------------------------------------
# How elements run
# ------------------------------------------------------------------------

my $mixed = q{SELECT '[{"do": "ok"}, {"do": "fail"}, {"do": "again"}, {"do": "fail"}]'::jsonb};
my @quick = (max_attempts => 2, backoff => 'fixed', backoff_base => '0');
my @after = ({ name => 'good', command => 'SELECT 1', after => ['each'] }, { name => 'bad', command => 'SELECT 1', after => ['each'], when => 'failure' });
($end, $run) = run_of('flow', each_of($mixed, @quick, on_success => 'app.tell', on_failure => 'app.tell'), @after);
is($end, 'failed child_failed', 'elements that fail');
is(items($run, 'item, status, attempt'), '0 succeeded 1, 1 failed 1, 2 succeeded 2, 3 failed 1', 'each has its attempts');
is(shown($run), 'each failed child_failed, good skipped upstream_failed, bad succeeded', 'the step has failed, and others see that');
has_totals($run, 'each', 'totals of them', succeeded => 2, failed => 2);
is(psql("SELECT error = 'run ' || (SELECT run_id FROM jobsched.step_items WHERE workflow_run_id = $run AND item = 1) || ' of job \"flow.each\" has failed' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'each'"),
	't', 'the error is about the first');
wait_value($node, $db, q{SELECT string_agg(concat_ws(' ', args ->> 'job', args ->> 'status', args -> 'result' ->> 'total'), ', ') FROM app.told}, 'flow.each failed 4', 'the end of the step is told once');
is(psql(q{SELECT string_agg(job_name, ', ') FROM jobsched.dead_letters WHERE source IN ('step', 'item')}), '', 'elements are no dead letters');
like(error_of($node, $db, 'SELECT jobsched.retry_run(' . item_run($run, 1) . ')', 'app'), qr/JS055.*workflow run/s, 'nor are they retried by themselves');

($end, $run) = run_of('flow', each_of($mixed, @quick, optional => JSON::PP::true), @after);
is($end, 'succeeded', 'the step is optional');
is(shown($run), 'each failed child_failed, good skipped upstream_failed, bad succeeded', 'but has failed');

my $many = q{SELECT to_jsonb(i) FROM generate_series(1, 50) i};
for ([ 'in shared transactions', share_transaction => JSON::PP::true ],
	[ 'one at a time', max_concurrency => 1 ],
	[ 'of a queue', queue => 'narrow' ],
	[ 'with keys', keys => ['of:{{args.item}}'] ])
{
	my ($what, @more) = @$_;
	my ($end, $run) = run_of('flow', each_of($many, @more), $collect);

	is($end, 'succeeded', "elements $what");
	is(psql("SELECT (result -> 'all') = (SELECT jsonb_agg(i * 10) FROM generate_series(0, 49) i) AND (result ->> 'same')::boolean FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"),
		't', "$what: all results");
	is(psql("SELECT count(*) FROM (SELECT FROM app.effect WHERE run_id IN (SELECT run_id FROM jobsched.step_items WHERE workflow_run_id = $run) GROUP BY run_id HAVING count(*) = 1) x"), '50', "$what: each once");
}
is(psql("SELECT string_agg(keys::text, ' ' ORDER BY item) FROM (SELECT item, r.keys FROM jobsched.step_items i JOIN jobsched.runs r USING (run_id) WHERE i.workflow_run_id = (SELECT max(workflow_run_id) FROM jobsched.steps WHERE workflow = 'flow') AND i.item < 3) x"),
	'{of:1} {of:2} {of:3}', 'keys are filled from the element');

# One at a time: not the map, which would wait for itself.
app(q{SELECT jobsched.set_queue('narrow', 1)});
my $gate = close_gate($node, $db);
define('flow', each_of(q{SELECT '[{"do": "wait"}, {"do": "ok"}]'::jsonb}, max_concurrency => 1, queue => 'narrow'));
my $first = trigger('flow');
wait_at_gate($node, $db, item_run($first, 0));
my $second = trigger('flow');
item_run($second, 1);
is(items($first, 'item, status'), '0 running, 1 queued', 'one at a time');
is(items($second, 'item, status'), '0 queued, 1 queued', 'over all runs of the workflow; the maps are not held');
$gate->query_safe('COMMIT');
$gate->quit;
is(ended($_), 'succeeded', 'they end') for $first, $second;

# More than fits into memory; and an array that does not
for ([ 'rows', q{SELECT to_jsonb(repeat(md5(i::text), 40)) FROM generate_series(1, 8000) i} ],
	[ 'an array', q{SELECT jsonb_agg(repeat(md5(i::text), 40)) FROM generate_series(1, 8000) i} ])
{
	my ($what, $sql) = @$_;
	my ($end, $run) = run_of('flow', { name => 'each', command => q{SELECT to_jsonb(md5((jobsched.args() -> 'item')::text))}, for_each => $sql });
	is(psql("SELECT count(*) = 8000 AND bool_and(result = to_jsonb(md5(to_jsonb(repeat(md5((item + 1)::text), 40))::text))) FROM jobsched.step_items WHERE workflow_run_id = $run"),
		't', "$what of 10 MB");
}

# Requests: the map is executed by a worker, the elements are sent.
($end, $run) = run_of('flow', { name => 'each', url => "$sink->{url}/ok/{{args.item.id}}", for_each => q{SELECT '[{"id": "a1"}, {"id": "a2"}, {"id": "a3"}]'::jsonb} });
is($end, 'succeeded', 'requests');
is(items($run, "item, status, result"), join(', ', map { qq{$_ succeeded {"status": 200}} } 0 .. 2), 'each is sent');
is(psql("SELECT count(*) FROM jobsched.http_responses WHERE url LIKE '%/ok/a_'"), '3', 'with its element');
($end, $run) = run_of('flow', { name => 'each', url => "$sink->{url}/status/{{args.item}}", max_attempts => 1, for_each => q{SELECT '[200, 404, 410]'::jsonb} });
is(items($run), '0 succeeded, 1 failed http_status, 2 failed http_status', 'some fail');
is(psql(q{SELECT state FROM jobsched.jobs WHERE name = 'flow'}), 'active', '410 pauses nothing');

# What the step looks for, it looks for once, for all elements.
app(q{CREATE TABLE app.look (n int); CREATE FUNCTION app.keep(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args'; CREATE SEQUENCE app.looks});
my $three = q{SELECT '[{"id": "b1"}, {"id": "b2"}, {"id": "b3"}]'::jsonb};
$first = { name => 'first', command => q{SELECT 'ok' AS path, 5 AS n} };
($end, $run) = run_of('flow', $first, { name => 'each', handler => 'app.keep', for_each => $three, if => q{(jobsched.step_result('first') ->> 'n')::int > 5} });
is($end, 'succeeded', 'a step with for_each has a condition');
is(shown($run) . (items($run) // ''), 'first succeeded, each skipped condition', 'that does not hold: no element');
($end, $run) = run_of('flow', $first, { name => 'each', handler => 'app.keep', for_each => $three, if => q{pg_advisory_xact_lock(5) IS NOT NULL AND (jobsched.step_result('first') ->> 'n')::int = 5},
	args => { n => '{{steps.first.result.n}}', all => ['{{steps.first.result}}'], item => '{{steps.first.result.n}}' } });
is($end, 'succeeded', 'that holds; and placeholders in args');
is(items($run, q{item, result - 'all'}), join(', ', map { qq($_ {"n": 5, "item": {"id": "b) . ($_ + 1) . qq("}, "index": $_}) } 0 .. 2), 'elements have what they stand for, and their own over it');
is(psql("SELECT count(*) FROM jobsched.step_items WHERE workflow_run_id = $run AND result -> 'all' = '[{\"n\": 5, \"path\": \"ok\"}]'"), '3', 'also in arrays');
($end, $run) = run_of('flow', $first, { name => 'each', url => "$sink->{url}/{{steps.first.result.path}}/{{args.item.id}}/{{args.n}}", if => 'true', args => { n => '{{steps.first.result.n}}' }, for_each => $three, keys => ['of:{{args.item.id}}'] });
is($end, 'succeeded', 'placeholders in requests of elements');
is(items($run, 'item, status, attempt'), '0 succeeded 1, 1 succeeded 1, 2 succeeded 1', 'which are sent at once');
is(psql("SELECT string_agg(substring(url from '/ok.*'), ' ' ORDER BY url) FROM jobsched.http_responses WHERE url LIKE '%/ok/b_/5'"), '/ok/b1/5 /ok/b2/5 /ok/b3/5', 'with what these stand for');
($end, $run) = run_of('flow', $first, { name => 'each', url => "$sink->{url}/ok/{{args.item.id}}", if => 'true', for_each => $three });
is(items($run, 'status'), 'succeeded, succeeded, succeeded', 'requests with a condition and without placeholders');
($end, $run) = run_of('flow', $first, { name => 'each', url => "$sink->{url}/status/503?{{steps.first.result.n}}", for_each => q{SELECT '[1]'::jsonb}, max_attempts => 2, backoff_base => '10 ms' });
is($end, 'failed child_failed', 'a request of an element fails');
is(items($run, 'status, attempt'), 'failed 2', 'after its attempts');
($end, $run) = run_of('flow', $first, { name => 'each', command => 'SELECT 1', for_each => $three, args => { n => '{{steps.first.result.nothing}}' } });
is($end, 'failed child_failed', 'what is not there');
like(psql("SELECT error FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'each'"), qr/args needs steps.first.result.nothing, which is not there/, '... fails the step');
is(items($run), '', 'which has no element then');
($end, $run) = run_of('flow', { name => 'each', command => 'SELECT 1', for_each => $three, if => '1 / 0 = 1' });
is(psql("SELECT concat_ws(' ', r.sqlstate, r.attempt) FROM jobsched.runs r WHERE run_id = " . step_run($run, 'each')), '22012 1', 'a condition that fails');

# A slot is known to elements too.
app(q{SELECT jobsched.create_job('slots', '0 3 * * *', timezone => 'UTC', steps => '[{"name": "each", "command": "SELECT to_jsonb(jobsched.scheduled_for())", "for_each": "SELECT to_jsonb(jobsched.scheduled_for())"}]')});
app(q{SELECT jobsched.backfill('slots', '2026-01-01 UTC', '2026-01-02 UTC')});
wait_value($node, $db, q{SELECT string_agg(concat_ws(' ', value = result, (result #>> '{}')::timestamptz = '2026-01-01 03:00 UTC'), ', ') FROM jobsched.step_items WHERE workflow = 'slots' AND status = 'succeeded'}, 't t', 'the slot');

# What the owner has set for transactions is for his statement.
psql(q{ALTER ROLE app SET default_transaction_read_only = on; ALTER ROLE app SET default_transaction_isolation = serializable;
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'});
($end, $run) = run_of('flow', { name => 'each', command => 'SELECT 1', for_each => q{SELECT jsonb_build_array(current_setting('transaction_isolation'), current_setting('transaction_read_only'))} });
is(items($run, 'value, status'), '"serializable" succeeded, "on" succeeded', 'read only, serializable');
psql(q{ALTER ROLE app RESET ALL; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'});

# Transient errors of for_each, which max_attempts of the step does not concern
app(q{CREATE FUNCTION app.shaky(n integer) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.attempt() < n THEN RAISE 'again' USING ERRCODE = '40001'; END IF;
		RETURN '[{"do": "ok"}]';
	END $$});
for ([ 3, 'succeeded', 3 ], [ 4, 'failed', 3 ])
{
	my ($n, $expected, $attempts) = @$_;
	my ($end, $run) = run_of('flow', each_of("SELECT app.shaky($n)", backoff => 'fixed', backoff_base => '0'));

	is(shown($run, 'status, attempt'), "$expected $attempts", "for_each that fails before attempt $n");
	is(psql("SELECT count(*) FROM jobsched.step_items WHERE workflow_run_id = $run"), $expected eq 'succeeded' ? '1' : '0', 'elements are there once');
}

# Deferred triggers of for_each fail the map.
app(q{CREATE TABLE app.unlucky (x integer UNIQUE DEFERRABLE INITIALLY DEFERRED)});
($end, $run) = run_of('flow', each_of(q{INSERT INTO app.unlucky SELECT 1 FROM generate_series(1, 2) RETURNING to_jsonb(x)}));
is(psql("SELECT concat_ws(' ', status, sqlstate) FROM jobsched.runs WHERE run_id = " . step_run($run, 'each')) . items($run), 'failed 23505', 'a deferred constraint');

# The map is as long as for_each takes.
($end, $run) = run_of('flow', each_of(q{SELECT to_jsonb(1) FROM pg_sleep(100)}, timeout => '100 ms'));
is(shown($run), 'each timed_out timeout', 'for_each that takes too long');
define('flow', each_of(q{SELECT to_jsonb(id) FROM public.gate FOR SHARE}, queue => 'narrow'), $collect);
$gate = close_gate($node, $db);
$run = trigger('flow');
wait_at_gate($node, $db, step_run($run, 'each'));
is(psql(q{SELECT running + waiting FROM jobsched.queues WHERE name = 'narrow'}), '0', 'who queues elements is not in the queue of the step');
app('SELECT jobsched.cancel_run(' . step_run($run, 'each') . ')');
is(ended($run), 'failed child_failed', 'for_each is cancelled');
is(shown($run) . items($run), 'each cancelled cancelled, collect succeeded', 'without elements');
$gate->query_safe('COMMIT');
$gate->quit;

# Its worker dies: with nothing left of it.
app(q{CREATE SEQUENCE app.times;
	CREATE FUNCTION app.dies() RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('app.times') = 1 THEN
			PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60);
		END IF;
		RETURN '[{}, {}]';
	END $$});
($end, $run) = run_of('flow', each_of('SELECT app.dies()', max_attempts => 1));
is($end, 'succeeded', 'for_each whose worker dies');
is(items($run, 'item, status'), '0 succeeded, 1 succeeded', 'is executed once more');

# With one place for all runs of the owner
set_setting($node, 'jobsched.max_running_per_owner', 1);
($end, $run) = run_of('flow', each_of($many), $collect);
is($end, 'succeeded', 'with one place for all runs of the owner');
set_setting($node, 'jobsched.max_running_per_owner', undef);

# Elements, and for_each, that change their own workflow
($end, $run) = run_of('flow', { name => 'each', for_each => q{SELECT to_jsonb(i) FROM generate_series(1, 5) i},
		command => q{SELECT jobsched.alter_job('flow', steps => jsonb_build_array(jsonb_build_object('name', 'n' || (jobsched.args() ->> 'index'), 'command', 'SELECT 1')));
			SELECT to_jsonb(count(*)) FROM jobsched.step_results()} }, $collect);
is($end, 'succeeded', 'elements that alter their workflow');
is(items($run, 'result'), join(', ', (2) x 5), 'go on with the steps with which it has begun');
($end, $run) = run_of('flow', each_of(q{WITH x AS (SELECT jobsched.drop_job('flow', cancel_running => true)) SELECT to_jsonb(1) FROM x}), $collect);
is($end, 'cancelled job_dropped', 'for_each that drops its workflow');
drained('and nothing is left');
($end, $run) = run_of('flow', each_of(q{WITH x AS (SELECT jobsched.alter_job('flow', steps => '[{"name": "x", "command": "SELECT 1"}]')) SELECT to_jsonb(1) FROM x}), $collect);
is($end, 'succeeded', 'for_each that alters its workflow');
is(items($run), '0 succeeded', 'has its elements');

# Another run can wait for an element.
define('flow', each_of(q{SELECT '[{}, {"do": "wait"}]'::jsonb}));
$gate = close_gate($node, $db);
$run = trigger('flow');
wait_at_gate($node, $db, item_run($run, 1));
app(q{SELECT jobsched.create_job('peeps', command => 'SELECT jsonb_build_array(step, item, job_name, result) FROM jobsched.upstream()')});
my $peeps = app("SELECT jobsched.trigger('peeps', after => ARRAY[" . item_run($run, 1) . '::bigint])');
$gate->query_safe('COMMIT');
$gate->quit;
ended($peeps);
is(psql("SELECT result FROM jobsched.runs WHERE run_id = $peeps"), '["each", 1, "flow.each", 10]', 'upstream() says which element it was');

# Generations
app(q{SELECT jobsched.create_job('deep', steps => '[{"name": "each", "for_each": "SELECT to_jsonb(1)", "command": "SELECT jobsched.trigger(''deep'', child => true)"}]')});
$run = trigger('deep');
ended($run);
is(psql(q{SELECT concat_ws(' ', count(*), max(sqlstate), max(error)) FROM jobsched.runs WHERE sqlstate = 'JS054' AND job_name LIKE 'deep%'}) =~ s/\d+ cannot/N cannot/r,
	'1 JS054 run N cannot have children, because 16 generations are above it', 'generations have an end');
drained('and all of them');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name LIKE 'deep%' AND source IN ('trigger', 'step', 'item')}), '17', 'there were so many');

# As the manual has it
my ($example) = slurp_file('doc/workflows.md') =~ /^### A step for each of many things\n\n```sql\n(.*?)^```$/ms;
app('CREATE TABLE app.image AS SELECT id FROM generate_series(11, 13) id');
app($example);
$run = trigger('images');
is(ended($run), 'succeeded', "the manual's example");
is(psql("SELECT result - 'totals' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'report'"),
	'{"all": [{"id": 11, "no": 0}, {"id": 12, "no": 1}, {"id": 13, "no": 2}], "first": {"id": 11, "no": 0}}', 'what it returns');

# ------------------------------------------------------------------------
# What happens meanwhile
# ------------------------------------------------------------------------

my $waits = q{SELECT '[{"do": "wait"}, {"do": "ok"}, {"do": "ok"}]'::jsonb};
my @old = (each_of($waits, max_concurrency => 1), $collect);
sub begun
{
	define('flow', @old);
	$gate = close_gate($node, $db);
	my $begun = trigger('flow');
	wait_at_gate($node, $db, item_run($begun, 0));
	return $begun;
}

sub open_the_gate
{
	$gate->query_safe('COMMIT');
	$gate->quit;
	return;
}

my @late = (
	[ 'cancel_run() of the workflow run', sub { 'SELECT jobsched.cancel_run(' . $_[0] . ')' }, 'cancelled cancelled', 'each cancelled parent_ended, collect cancelled parent_ended',
		'0 cancelled parent_ended, 1 cancelled parent_ended, 2 cancelled parent_ended' ],
	[ 'cancel_run() of the step', sub { 'SELECT jobsched.cancel_run(' . step_run($_[0], 'each') . ')' }, 'failed child_failed', 'each cancelled cancelled, collect succeeded',
		'0 cancelled parent_ended, 1 cancelled parent_ended, 2 cancelled parent_ended' ],
	[ 'cancel_run() of an element', sub { 'SELECT jobsched.cancel_run(' . item_run($_[0], 0) . ')' }, 'failed child_failed', 'each failed child_failed, collect succeeded',
		'0 cancelled cancelled, 1 succeeded, 2 succeeded' ],
	[ 'cancel_run() of an element that waits', sub { 'SELECT jobsched.cancel_run(' . item_run($_[0], 2) . ')' }, 'failed child_failed', 'each failed child_failed, collect succeeded',
		'0 succeeded, 1 succeeded, 2 cancelled cancelled' ],
	[ 'drop_job()', sub { q{SELECT jobsched.drop_job('flow')} }, 'succeeded', 'each succeeded, collect succeeded', '0 succeeded, 1 succeeded, 2 succeeded' ],
	[ 'drop_job() with cancel_running', sub { q{SELECT jobsched.drop_job('flow', cancel_running => true)} }, 'cancelled job_dropped', undef, undef ],
	[ 'alter_job()', sub { q{SELECT jobsched.alter_job('flow', steps => '[{"name": "new", "command": "SELECT 1"}]')} }, 'succeeded', 'each succeeded, collect succeeded', '0 succeeded, 1 succeeded, 2 succeeded' ]);
for (@late)
{
	my ($what, $sql, $expected, $steps, $items) = @$_;
	my $begun = begun();

	app($sql->($begun));
	for my $item (($items || '') =~ /(\d) cancelled/g)
	{
		wait_until($node, $db, "SELECT finished_at IS NOT NULL FROM jobsched.step_items WHERE workflow_run_id = $begun AND item = $item", "$what: element $item has ended");
	}
	if ($what =~ /alter|waits/)
	{
		new_scheduler();	# which has to find out all by the rows
	}
	open_the_gate();
	is(ended($begun), $expected, "$what: the workflow run");
	is(shown($begun), $steps, "$what: steps") if $steps;
	is(items($begun), $items, "$what: elements") if $items;
	unlike(items($begun, 'status'), qr/queued|running/, "$what: all have ended");
	has_totals($begun, 'each', "$what: totals", map { my $status = $_; $status => scalar grep { / \Q$status\E/ } split /, /, $items } qw(succeeded cancelled failed)) if $items;
}
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.job s JOIN jobsched_internal.job j ON j.job_id = s.workflow_id
		WHERE j.name = 'flow' AND j.dropped_at IS NULL AND s.dropped_at IS NULL AND s.step_revision <> j.steps_revision}, '0', 'old sets of steps are retired');

# Paused: what has begun ends, other elements wait.
my $begun = begun();
app(q{SELECT jobsched.pause_job('flow')});
open_the_gate();
wait_value($node, $db, "SELECT string_agg(concat_ws(' ', item, status, reason), ', ' ORDER BY item) FROM jobsched.step_items WHERE workflow_run_id = $begun",
	'0 succeeded, 1 queued job_paused, 2 queued job_paused', 'elements of a workflow that is paused');
app(q{SELECT jobsched.resume_job('flow')});
is(ended($begun), 'succeeded', 'and resumed');

# Given away: elements that have not started are executed as the new owner.
psql(q{CREATE ROLE other LOGIN; GRANT other TO app; GRANT USAGE ON SCHEMA jobsched, app TO other;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO other; GRANT ALL ON ALL TABLES IN SCHEMA app, public TO other});
define('flow', each_of($waits, max_concurrency => 1, handler => undef,
	command => q{SELECT to_jsonb(current_user::text) FROM (SELECT id FROM public.gate WHERE jobsched.args() #>> '{item,do}' = 'wait' FOR SHARE) x RIGHT JOIN (SELECT 1) y ON true}));
$gate = close_gate($node, $db);
$begun = trigger('flow');
wait_at_gate($node, $db, item_run($begun, 0));
app(q{SELECT jobsched.alter_job('flow', owner => 'other')});
open_the_gate();
is(ended($begun), 'succeeded', 'a workflow that is given away');
is(items($begun, 'result'), '"app", "other", "other"', 'as whom its elements were executed');
psql(q{SELECT jobsched.drop_job('flow')});
drained('nothing is left');

# ------------------------------------------------------------------------
# Crashes
# ------------------------------------------------------------------------

# While elements are queued, and while they are executed
my $each = 20000;
app(qq{SELECT jobsched.create_job('crash', steps => '[{"name": "each", "for_each": "SELECT to_jsonb(i) FROM generate_series(1, $each) i", "handler": "app.act", "share_transaction": true},
	{"name": "collect", "handler": "app.collect"}]')});
$run = trigger('crash');
my $map = step_run($run, 'each');
until_true($node, $db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query = 'queueing elements') OR EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $map)", 'elements are being queued');
kill_hard($node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched worker' LIMIT 1"))
  for grep { psql("SELECT count(*) FROM jobsched_internal.run WHERE parent_run_id = $map") eq '0' } 1;
is(psql("SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $map") =~ /^(0|$each)$/, 1, 'all elements are there or none');
wait_until($node, $db, "SELECT count(*) >= 2000 FROM jobsched.step_items WHERE workflow_run_id = $run AND finished_at IS NOT NULL", 'some elements have ended');
kill_hard($node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'jobsched worker' LIMIT 1"));
new_scheduler();
is(ended($run), 'succeeded', 'a workflow that was cut off');
has_totals($run, 'each', 'each element is counted once', succeeded => $each);
is(psql("SELECT concat_ws(' ', count(*), count(DISTINCT run_id)) FROM app.effect WHERE run_id IN (SELECT run_id FROM jobsched.runs WHERE parent_run_id = $map)"), "$each $each", 'and executed once');
is(psql("SELECT (result ->> 'same')::boolean AND jsonb_array_length(result -> 'all') = $each FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"), 't', 'and read');

# At any time
srand 7;
for my $round (1 .. 5)
{
	define('flow', each_of(q{SELECT jsonb_build_object('do', CASE WHEN i % 500 = 7 THEN 'fail' END) FROM generate_series(0, 2999) i},
			share_transaction => $round % 2 ? JSON::PP::true : JSON::PP::false), $collect);
	$run = trigger('flow');
	for (1 .. 3)
	{
		sleep(rand(0.5));
		if (rand() < 0.3)
		{
			new_scheduler();
			next;
		}
		my $pid = $node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'jobsched %' ORDER BY random() LIMIT 1");
		kill_hard($pid) if $pid;
	}
	is(ended($run), 'failed child_failed', "killed at any time, round $round");
	has_totals($run, 'each', 'totals', succeeded => 2994, failed => 6);
	is(psql("SELECT concat_ws(' ', result -> 'same', jsonb_array_length(result -> 'all')) FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"), 'true 3000', 'results');
	is(psql("SELECT concat_ws(' ', count(*), count(DISTINCT run_id)) FROM app.effect WHERE run_id IN (SELECT run_id FROM jobsched.step_items WHERE workflow_run_id = $run)"), '2994 2994', 'effects');
}

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

set_clock($node, $db, '2040-01-01');
set_setting($node, "jobsched.$_", '1min') for qw(history_retention failure_retention);
app(q{SELECT jobsched.create_job('kept', steps => '[{"name": "each", "for_each": "SELECT ''[{}, {\"do\": \"fail\"}, {}]''::jsonb", "handler": "app.act", "max_attempts": 1},
	{"name": "wait", "command": "SELECT id FROM public.gate FOR SHARE", "when": "done"}, {"name": "collect", "handler": "app.collect"}]')});
$gate = close_gate($node, $db);
$run = trigger('kept');
wait_at_gate($node, $db, step_run($run, 'wait'));
turn_rings($node, $db);
is(psql("SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $map"), '0', 'what nobody needs is removed');
is(items($run, 'item, status'), '0 succeeded, 1 failed, 2 succeeded', 'elements that a later step may read are not');
turn_rings($node, $db);
is(items($run, 'item, status'), '0 succeeded, 1 failed, 2 succeeded', 'nor later');
open_the_gate();
is(ended($run), 'failed child_failed', 'the workflow goes on');
is(psql("SELECT result -> 'all' FROM jobsched.steps WHERE workflow_run_id = $run AND step = 'collect'"), '[0, null, 20]', 'and reads them');
turn_rings($node, $db);
wait_value($node, $db, "SELECT count(*) FROM jobsched_internal.history_kept", '0', 'then they are removed too');

# ------------------------------------------------------------------------
# Spoilt rows
# ------------------------------------------------------------------------

define('flow', each_of($waits, max_concurrency => 1), $collect);
$gate = close_gate($node, $db);
$begun = trigger('flow');
wait_at_gate($node, $db, item_run($begun, 0));
psql(q{UPDATE jobsched_internal.job SET step_for_each = NULL WHERE step = 'each' AND name = 'flow.each'});
psql("UPDATE jobsched_internal.run SET args = '{\"index\": \"x\"}' WHERE run_id = " . psql("SELECT max(run_id) FROM jobsched_internal.run WHERE source = 'item'"));
new_scheduler();
open_the_gate();
like(ended($begun), qr/^(succeeded|failed)/, 'a step whose for_each somebody has taken away while it waits');
drained('nothing is left');

done_testing();
