# Copyright (c) 2026, jobsched contributors

# Jobs that come after jobs: a run once each of them has succeeded since the last such
# run, whatever happens to the jobs meanwhile, and whenever the server is killed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('job_after', conf => "jobsched.max_workers = 4\nrestart_after_crash = on\n");

sub psql
{
	my ($sql) = @_;
	return session_sql($node, $db, getpwuid($<) . '', $sql);
}

sub app
{
	my ($sql) = @_;
	return session_sql($node, $db, 'app', $sql);
}

# Runs a job, whose function fails if it is told to.
sub runs
{
	my ($job, $end) = @_;
	my $args = $end && $end eq 'fails' ? q('{"fails": true}') : 'NULL';
	my $run_id = app("SELECT jobsched.trigger('$job', $args)");

	app("CALL jobsched.wait_run($run_id, '180 s') \\g /dev/null\nSELECT 1");
	return $run_id;
}

# What the runs of a job have come after, oldest first.
sub came_after
{
	my ($job, $count, $name) = @_;

	wait_value($node, $db, "SELECT count(*) FROM app.came WHERE job = '$job'", $count, $name);
	return app("SELECT string_agg(after, ' ' ORDER BY run_id) FROM app.came WHERE job = '$job'");
}

sub column
{
	my ($job, $column) = @_;
	return app("SELECT $column FROM jobsched.jobs WHERE name = '$job'");
}

# Passes if nothing comes: what would come has been seen to, for another job has come that
# was told of the same success.
sub nothing_more
{
	my ($job, $count, $name) = @_;
	my $seen = app(q{SELECT count(*) FROM app.came WHERE job = 'witness'});

	runs('tick');
	wait_until($node, $db, qq{SELECT count(*) > $seen FROM app.came WHERE job = 'witness'}, 'the witness has come');
	is(app("SELECT count(*) FROM jobsched.runs WHERE job_name = '$job' AND source = 'after'"), $count, $name);
}

create_extension($node, $db);
$node->safe_psql($db, q{
	CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; GRANT other TO app;
	CREATE SCHEMA app AUTHORIZATION app; GRANT USAGE ON SCHEMA jobsched TO app, other;
	GRANT USAGE ON SCHEMA app TO other});
app(q{
	CREATE TABLE app.came (job text, run_id bigint, after text);
	CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF args ? 'fails' THEN RAISE 'it was told to'; END IF;
		RETURN to_jsonb(jobsched.run_id());
	END $$;
	CREATE FUNCTION app.come(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.came SELECT args ->> 'job', jobsched.run_id(),
			(SELECT string_agg(u.job_name || u.result, ',' ORDER BY u.job_name) FROM jobsched.upstream() u)
	$$;
	SELECT jobsched.create_job(name, handler => 'app.work', max_attempts => 1) FROM unnest('{a,b,tick}'::text[]) name;
	SELECT jobsched.create_job('both', handler => 'app.come', args => '{"job": "both"}', after => '{a,b}');
	SELECT jobsched.create_job('then', handler => 'app.come', args => '{"job": "then"}', after => '{both}');
	SELECT jobsched.create_job('witness', handler => 'app.come', args => '{"job": "witness"}', after => '{tick}')});

# --- once each has succeeded -----------------------------------------------

is(column('both', 'after'), '{a,b}', 'the view names the jobs that a job comes after');
is(column('both', 'waiting_for'), '{a,b}', '... and those of them that are awaited');
my $a = runs('a');
wait_value($node, $db, q{SELECT waiting_for FROM jobsched.jobs WHERE name = 'both'}, '{b}', 'a success is seen at once');
runs('b', 'fails');
nothing_more('both', 0, 'no run while one has not succeeded: a failure is no success');
my $b = runs('b');
is(came_after('both', 1, 'a run when each has succeeded'), "a$a,b$b", '... whose upstream() are the two successes');
came_after('then', 1, 'a job that comes after that one follows');
is(app(q{SELECT DISTINCT source FROM jobsched.runs WHERE job_name IN ('both', 'then')}), 'after', 'the source of such runs');
is(column('both', 'waiting_for'), '{a,b}', 'what has been come after is awaited again');

runs('a');
$a = runs('a');
nothing_more('both', 1, 'two successes of one are not one of each');
$b = runs('b');
like(came_after('both', 2, 'a second run'), qr/ a$a,b$b$/, '... comes after the last success of each');

# --- what becomes of it if -------------------------------------------------

app(q{SELECT jobsched.pause_job('both')});
runs($_) for qw(a b a b);
nothing_more('both', 2, 'a paused job has no run');
app(q{SELECT jobsched.resume_job('both')});
came_after('both', 3, 'when it is resumed it has one');
nothing_more('both', 3, '... and only one');

app(q{SELECT jobsched.alter_job('both', enabled => false)});
runs($_) for qw(a b);
nothing_more('both', 3, 'a disabled job has no run');
app(q{SELECT jobsched.alter_job('both', enabled => true)});
came_after('both', 4, 'when it is enabled it has one');

runs('a');
app(q{SELECT jobsched.create_job('both', handler => 'app.come', args => '{"job": "both"}', after => '{a,b}', if_exists => 'update')});
runs('b');
came_after('both', 5, 'the same definition once more forgets no success');
runs('a');
app(q{SELECT jobsched.alter_job('both', after => '{b,a}')});
runs('b');
nothing_more('both', 5, 'successes from before other jobs were named do not count');
runs('a');
came_after('both', 6, 'those after it do');
app(q{SELECT jobsched.alter_job('b', name => 'c')});
is(column('both', 'after'), '{c,a}', 'a job that is renamed is the same');
runs($_) for qw(a c);
came_after('both', 7, '... and counts');
app(q{SELECT jobsched.alter_job('both', after => '{}')});
is(column('both', 'after'), '', 'an empty array removes them');
runs($_) for qw(a c);
nothing_more('both', 7, '... and the job has no run of its own any more');
app(q{SELECT jobsched.alter_job('both', after => '{a,c}')});
app(q{SELECT jobsched.drop_job('c')});
runs('a');
wait_value($node, $db, q{SELECT waiting_for FROM jobsched.jobs WHERE name = 'both'}, '{c}', 'a job that is dropped is awaited for ever, and shown');
app(q{SELECT jobsched.create_job('c', handler => 'app.work')});
runs('c');
nothing_more('both', 7, '... also if another gets its name');
app(q{SELECT jobsched.alter_job('both', after => '{a,c}')});
app(q{SELECT jobsched.alter_job('c', owner => 'other')});
runs($_) for qw(a);
session_sql($node, $db, 'other', q{SELECT jobsched.trigger('c') AS run \gset
CALL jobsched.wait_run(:run, '180 s') \g /dev/null
SELECT 1});
wait_value($node, $db, q{SELECT waiting_for FROM jobsched.jobs WHERE name = 'both'}, '{c}', 'a job that has got another owner is awaited for ever');
nothing_more('both', 7, '... and its successes do not count');
app(q{SELECT jobsched.alter_job('c', owner => 'app')});

# A workflow run is a run like any other; a batch is none of its job, its members are.
app(q{
	SELECT jobsched.create_job('flow', steps => '[{"name": "one", "handler": "app.work"}]');
	SELECT jobsched.create_job('after flow', handler => 'app.come', args => '{"job": "after flow"}', after => '{flow}')});
my $flow = runs('flow');
came_after('after flow', 1, 'a job comes after one that is made of steps');

# A job made of steps that comes after another one is a workflow before it begins.
app(q{SELECT jobsched.set_queue('narrow', 1, owner => 'app') \g /dev/null
	SELECT jobsched.create_job('holds', command => 'SELECT pg_sleep(600)', queue => 'narrow');
	SELECT jobsched.create_job('steps after', after => '{tick}', queue => 'narrow', steps => '[{"name": "one", "handler": "app.work"}]')});
my $holds = app(q{SELECT jobsched.trigger('holds')});
wait_value($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $holds", 'running', 'a queue is full');
runs('tick');
wait_value($node, $db, q{SELECT kind || ' ' || status FROM jobsched.workflows WHERE workflow = 'steps after'}, 'steps queued', 'a workflow run that comes after a job is one while it waits');
app("SELECT jobsched.cancel_runs('steps after', 'queued')");
wait_value($node, $db, q{SELECT kind || ' ' || status FROM jobsched.workflows WHERE workflow = 'steps after'}, 'steps cancelled', '... and if it is cancelled before it begins');
app("SELECT jobsched.cancel_run($holds), jobsched.drop_job('steps after')");

# What has just succeeded is not come after by a job that is created afterwards.
for my $round (1 .. 3)
{
	app(qq{SELECT jobsched.create_job('fresh $round', command => 'SELECT 1')});
	runs("fresh $round");
	app(qq{SELECT jobsched.create_job('late $round', command => 'SELECT 1', after => '{fresh $round}')});
	nothing_more("late $round", 0, "a success from before a job was created does not count, round $round");
}

app(q{SELECT jobsched.alter_job('both', after => '{a}')});
my $batch = app(q{SELECT jobsched.trigger_batch('a', ARRAY[NULL, NULL]::jsonb[])});
app("CALL jobsched.wait_run($batch, '180 s') \\g /dev/null\nSELECT 1");
wait_until($node, $db, q{SELECT waiting_for = '{a}' AND (SELECT count(*) FROM app.came WHERE job = 'both') > 7
	FROM jobsched.jobs WHERE name = 'both'}, 'members have been come after');
unlike(app(q{SELECT string_agg(after, ' ') FROM app.came WHERE job = 'both'}), qr/a$batch\b/, 'a batch is no success of its job');

# As a run that was triggered, and not as one of a slot, which has another after it.
app(q{
	CREATE FUNCTION app.once_more(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF jobsched.attempt() = 1 THEN RAISE 'once more' USING ERRCODE = '40001'; END IF;
		PERFORM app.come(args);
	END $$;
	SELECT jobsched.create_job('tries', handler => 'app.once_more', args => '{"job": "tries"}', backoff_base => '0.01 s', after => '{a}')});
runs('a');
came_after('tries', 1, 'it is tried again after a transient error');

# --- errors ----------------------------------------------------------------

sub refused
{
	my ($call, $pattern, $name) = @_;
	like(error_of($node, $db, "SELECT jobsched.$call", 'app'), $pattern, $name);
}

refused(q{alter_job('a', after => '{then}')}, qr/ERROR:  22023: job "a" would come after itself, by way of job "both"/, 'a circle');
refused(q{alter_job('a', after => '{a}')}, qr/ERROR:  22023: job "a" cannot come after itself/, 'the job itself');
refused(q{create_job('new', command => 'SELECT 1', after => '{nobody}')},
	qr/ERROR:  42704: job "nobody", which after names, does not exist\nHINT:  Name jobs of the same owner/, 'a job that is not there');
refused(q{create_job('new', command => 'SELECT 1', after => ARRAY[NULL]::text[])}, qr/ERROR:  22004: /, 'NULL for a name');
refused(q{create_job('new', 'every 5 minutes', 'SELECT 1', after => '{a}')},
	qr/ERROR:  22023: job "new" cannot have both a schedule and jobs that it comes after/, 'a schedule as well');
refused(q{alter_job('both', schedule => 'every 5 minutes')}, qr/ERROR:  22023: job "both" cannot have both/, '... by alter_job() too');
refused(q{alter_job('both', owner => 'other')}, qr/ERROR:  22023: job "both" comes after jobs of its owner/, 'another owner');
refused(q{create_job('new', command => 'SELECT 1', after => array_fill('a'::text, ARRAY[101]))},
	qr/ERROR:  JS054: after has 101 elements/, 'too many');
is(app(q{SELECT count(*) FROM jobsched.jobs WHERE name = 'new'}), 0, 'none of them is there');
like(error_of($node, $db, q{SELECT jobsched.create_job('new', command => 'SELECT 1', after => '{a}')}, 'other'),
	qr/ERROR:  42704: job "a"/, "another role's job is not there");

# --- the database is dumped ------------------------------------------------

# There runs get ids that others had here.
app(q{SELECT jobsched.create_job('dumped', command => 'SELECT 1', after => '{tick}')});
my $seen = psql(q{SELECT max(succeeded_run_id) FROM jobsched_internal.job_state WHERE job_id = (SELECT job_id FROM jobsched.jobs WHERE name = 'tick')});
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr($db) ], 'pg_dump');
psql('CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('copy') ], 'psql restores it');
wait_scheduler($node, 'copy');
$node->safe_psql('copy', 'SELECT jobsched.adopt()');
$node->safe_psql('copy', "SELECT setval('jobsched_internal.run_id_seq', $seen, false)");
is($node->safe_psql('copy', q{SELECT jobsched.trigger('tick')}, extra_params => [ '-U', 'app' ]), $seen, 'a run with the id that another has had');
wait_value($node, 'copy', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'dumped' AND status = 'succeeded'}, '1', '... is come after');
psql('DROP DATABASE copy WITH (FORCE)');

# The keys of what runs by itself are there.
refused(q{create_job('new', handler => 'app.work', keys => ARRAY['k:{{args.x}}'], after => '{a}')}, qr/ERROR:  22023: .*args\.x/, 'keys that are not in args');

# --- two sessions ----------------------------------------------------------

sub begins
{
	my ($call) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0, extra_params => [ '-U', 'app' ]);

	$session->set_query_timer_restart();
	$session->query("BEGIN; SELECT jobsched.$call");
	return $session;
}

# Begins a call in a session, which waits for another; returns the error when that has committed.
sub waits_for
{
	my ($other, $call) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0, extra_params => [ '-U', 'app' ]);

	$session->set_query_timer_restart();
	$session->query_until(qr/started/, "\\echo started\nSELECT jobsched.$call;\n");
	wait_until($node, $db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock')}, 'a session waits');
	$other->query('COMMIT');
	$other->quit;
	$session->query('SELECT 1');
	my $error = $session->{stderr};
	$session->quit;
	return $error;
}

app(q{
	SELECT jobsched.create_job('c1', handler => 'app.work'), jobsched.create_job('c3', handler => 'app.work');
	SELECT jobsched.create_job('c2', handler => 'app.work', after => '{c3}'), jobsched.create_job('c4', handler => 'app.work', after => '{c1}')});
like(waits_for(begins(q{alter_job('c1', after => '{c2}')}), q{alter_job('c3', after => '{c4}')}),
	qr/job "c3" would come after itself/, 'no circle of halves that two sessions make');
like(waits_for(begins(q{drop_job('c2')}), q{create_job('new', handler => 'app.work', after => '{c2}')}),
	qr/job "c2", which after names, does not exist/, 'a job that is dropped meanwhile is not there');

# --- the server is killed --------------------------------------------------

# Each success is come after once at most; and when all is quiet, not all are open.
app(q{
	SELECT jobsched.create_job('left', handler => 'app.work'), jobsched.create_job('right', handler => 'app.work');
	SELECT jobsched.create_job('crashed', handler => 'app.come', args => '{"job": "crashed"}', after => '{left,right}')});
for my $round (1 .. 4)
{
	my $before = app(q{SELECT count(*) FROM app.came WHERE job = 'crashed'});

	app(q{SELECT jobsched.trigger_many('left', array_fill(NULL::jsonb, ARRAY[50])) \g /dev/null
		SELECT jobsched.trigger_many('right', array_fill(NULL::jsonb, ARRAY[50])) \g /dev/null
		SELECT 1});
	wait_until($node, $db, qq{SELECT count(*) > $before FROM app.came WHERE job = 'crashed'}, "some have come in round $round");
	end_sessions($node);
	kill_and_start($node);
	wait_until($node, $db, q{SELECT NOT EXISTS (SELECT FROM jobsched_internal.run)}, "all has ended after crash $round");
	wait_until($node, $db, q{SELECT cardinality(waiting_for) > 0 FROM jobsched.jobs WHERE name = 'crashed'},
		"what is open after crash $round is not of both");
}
is(app(q{SELECT count(*) FROM (SELECT unnest(string_to_array(after, ',')) AS run FROM app.came WHERE job = 'crashed') r
		GROUP BY run HAVING count(*) > 1 LIMIT 1}), '', 'no success has been come after twice');
is(app(q{SELECT count(*) FROM app.came WHERE job = 'crashed' AND after !~ '^left\d+,right\d+$'}), 0, 'each run came after one of each');
my $before = app(q{SELECT count(*) FROM app.came WHERE job = 'crashed'});
runs($_) for qw(left right);
wait_until($node, $db, qq{SELECT count(*) > $before FROM app.came WHERE job = 'crashed'}, 'it goes on');

# A success of which the scheduler has not heard, with many failures that it has: of runs
# that are newer.
make_gate($node, $db, 'app');
app(q{
	CREATE FUNCTION app.waits(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF args ? 'fails' THEN RAISE 'it was told to'; END IF;
		PERFORM FROM public.gate FOR UPDATE;
	END $$;
	SELECT jobsched.create_job('slow', handler => 'app.waits', max_attempts => 1);
	SELECT jobsched.create_job('after slow', handler => 'app.come', args => '{"job": "after slow"}', after => '{slow}')});
my $gate = close_gate($node, $db);
my $slow = app(q{SELECT jobsched.trigger('slow')});
wait_at_gate($node, $db, $slow);
app(q{SELECT jobsched.trigger_many('slow', array_fill('{"fails": true}'::jsonb, ARRAY[25])) \g /dev/null
	SELECT 1});
wait_until($node, $db, q{SELECT recent LIKE repeat('F', 20) FROM jobsched.jobs WHERE name = 'slow'}, 'the failures are tallied');
my $scheduler = scheduler_pid($node, $db);
kill 'STOP', $scheduler;
$gate->quit;
wait_value($node, $db, "SELECT status FROM jobsched_internal.history WHERE run_id = $slow", 'succeeded', 'it succeeds unheard of');
end_sessions($node);
kill 'KILL', $scheduler;
kill_and_start($node);
came_after('after slow', 1, 'it is come after when the server is back');

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
