# Copyright (c) 2026, jobsched contributors

# keep => 'failures': a success leaves no row of history, and whoever would have read it gets on
# without; and nothing is done twice or forgotten by kill -9.  keep_for: rows go when they are old.

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
my $node = jobsched_node('keep', conf => "restart_after_crash = on\njobsched.max_workers = 2\nautovacuum = off\n");
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

# How a run has ended, be there a row or not.
sub wait_run
{
	my ($run_id) = @_;
	return app("CALL jobsched.wait_run($run_id, '60 s')");
}

sub rows
{
	my ($job) = @_;
	return psql("SELECT count(*) FROM jobsched.runs WHERE job_name = '$job'");
}

sub idle
{
	my ($job) = @_;
	return until_true($node, $db, "SELECT NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = '$job'
		AND finished_at IS NULL)", "no run of $job is left");
}

psql(q{CREATE TABLE public.gate (id int); INSERT INTO gate VALUES (1); GRANT ALL ON gate TO app});
app(q{
	CREATE TABLE app.bad (no int);
	CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.bad) OR args ? 'fail' THEN
			RAISE EXCEPTION 'to fail';
		END IF;
		PERFORM jobsched.log('info', 'a message');
		PERFORM app.leave(args);
		RETURN '{"n": 1}';
	END $$;
	CREATE FUNCTION app.told(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
	CREATE FUNCTION app.parent(args jsonb) RETURNS void LANGUAGE sql AS
		$$SELECT jobsched.trigger('few', child => true)$$;
	SELECT jobsched.create_job('few', handler => 'app.work', keep => 'failures', max_attempts => 1);
	SELECT jobsched.create_job('told', handler => 'app.work', keep => 'failures', on_success => 'app.told');
	SELECT jobsched.create_job('parent', handler => 'app.parent', keep => 'failures');
	SELECT jobsched.create_job('again', command => $$SELECT 1/(jobsched.attempt() - 1)$$, keep => 'failures',
		max_attempts => 2, backoff_base => '10 ms', retry_on => '{22}');
	SELECT jobsched.create_job('gate', command => 'SELECT id FROM public.gate FOR UPDATE', keep => 'failures');
	SELECT jobsched.create_job('after', command => 'SELECT jobsched.upstream()');
	SELECT jobsched.create_job('web', command => 'SELECT 1', keep => 'failures')});

# ------------------------------------------------------------------------
# What leaves a row
# ------------------------------------------------------------------------

my $run = app(q{SELECT jobsched.trigger('few')});
is(wait_run($run), 'succeeded', 'who waits learns of the success');
is(psql("SELECT count(*) FROM jobsched_internal.history WHERE run_id = $run"), '0', 'it leaves no row');
is(psql("SELECT count(*) FROM jobsched_internal.run_log WHERE run_id = $run"), '0', 'nor messages');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run"), '1', 'but its effect');
is(wait_run($run), 'succeeded', 'who waits later too');
wait_value($node, $db, "SELECT last_run_id = $run AND last_status = 'succeeded' AND recent = '.' FROM jobsched.jobs WHERE name = 'few'",
	't', 'the job tells of it');
like(error_of($node, $db, "CALL jobsched.wait_run($run)", 'app'), qr/^$/, 'also in another session');
psql('CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other');
like(error_of($node, $db, "CALL jobsched.wait_run($run)", 'other'), qr/run $run does not exist/, 'a stranger does not learn of it');
for my $call ('cancel_run(%s)', 'retry_run(%s)', q{trigger('after', after => '{%s}')})
{
	like(error_of($node, $db, sprintf("SELECT jobsched.$call", $run), 'app'), qr/ERROR: +\w+: .*does not exist|ERROR: +\w+: .*$run/,
		"$call: there is no such run");
}

my $failed = app(q{SELECT jobsched.trigger('few', '{"fail": 1}')});
is(wait_run($failed), 'failed', 'a failure');
is(rows('few'), '1', 'leaves a row');
wait_value($node, $db, q{SELECT consecutive_failures FROM jobsched.jobs WHERE name = 'few'}, '1', 'it is counted');
is(wait_run(my $mended = app(q{SELECT jobsched.trigger('few')})), 'succeeded', 'the success that follows');
is(psql("SELECT status || ' ' || (result->>'n') FROM jobsched.runs WHERE run_id = $mended"), 'succeeded 1', 'is kept');
wait_value($node, $db, q{SELECT consecutive_failures FROM jobsched.jobs WHERE name = 'few'}, '0', 'and ends the failures');
is(wait_run(app(q{SELECT jobsched.trigger('few')})), 'succeeded', 'the next one');
is(rows('few'), '2', 'is not');

is(wait_run($run = app(q{SELECT jobsched.retry_run(} . $failed . q{)})), 'failed', 'it fails once more');
app(q{SELECT jobsched.alter_job('few', handler => 'app.leave')});
is(wait_run($run = app(qq{SELECT jobsched.retry_run($run)})), 'succeeded', 'a retry by request');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run"), '1', 'is kept');
is(wait_run(app(q{SELECT jobsched.trigger('few')})), 'succeeded', 'and one more');
app(q{SELECT jobsched.alter_job('few', handler => 'app.work')});

is(wait_run($run = app(q{SELECT jobsched.trigger('told')})), 'succeeded', 'a run that is told');
idle('told');
is(psql(qq{SELECT string_agg(source, ' ' ORDER BY run_id) FROM jobsched.runs WHERE job_name = 'told'}), 'trigger callback',
	'is kept, with what is called');
is(wait_run($run = app(q{SELECT jobsched.trigger('parent')})), 'succeeded', 'a run with a child');
is(psql(qq{SELECT string_agg(status, ' ' ORDER BY run_id) FROM jobsched.runs WHERE $run IN (run_id, parent_run_id)}),
	'succeeded succeeded', 'is kept, with the child');
is(wait_run($run = app(q{SELECT jobsched.trigger('again')})), 'succeeded', 'a run with two attempts');
is(psql("SELECT attempt FROM jobsched.runs WHERE run_id = $run"), '2', 'is kept');
my ($batch) = app(q{SELECT jobsched.trigger_batch('few', ARRAY['{}', '{}']::jsonb[])});
is(wait_run($batch), 'succeeded', 'a batch');
is(psql("SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $batch AND status = 'succeeded'"), '2', 'keeps its members');

# ------------------------------------------------------------------------
# Who waits for it
# ------------------------------------------------------------------------

app(q{BEGIN});
my $first = app(q{SELECT jobsched.trigger('few')});
my $second = app("SELECT jobsched.trigger('after', after => '{$first}')");
app(q{COMMIT});
is(wait_run($second), 'succeeded', 'what waits for it starts');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $first AND result = '{\"n\": 1}'"), '1', 'since its row is kept');

# named while it runs, by a transaction that commits after its end
my $gate = close_gate($node, $db);
$run = app(q{SELECT jobsched.trigger('gate')});
wait_at_gate($node, $db, $run);
my $namer = $node->background_psql($db, extra_params => [ '-U', 'app' ]);
$namer->set_query_timer_restart();
$namer->query_safe('BEGIN');
my $named = $namer->query_safe("SELECT jobsched.trigger('after', after => '{$run}')");
$gate->quit;
is(wait_run($run), 'succeeded', 'it ends while somebody is about to wait for it');
is(psql("SELECT count(*) FROM jobsched_internal.history WHERE run_id = $run"), '1', 'and is kept');
$namer->query_safe('COMMIT');
$namer->quit;
is(wait_run($named), 'succeeded', 'who starts after it');

# a wait that began before the end
$gate = close_gate($node, $db);
$run = app(q{SELECT jobsched.trigger('gate')});
wait_at_gate($node, $db, $run);
my $waiter = $node->background_psql($db, extra_params => [ '-U', 'app' ]);
$waiter->set_query_timer_restart();
$waiter->query_until(qr/begun/, "\\echo begun\nCALL jobsched.wait_run($run);\n\\echo over\n");
until_true($node, $db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL jobsched.wait_run%' AND wait_event_type = 'Extension')},
	'the session waits');
$gate->quit;
like($waiter->query_until(qr/over/, ''), qr/succeeded/, 'a session that waits learns how it ended');
$waiter->quit;
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run"), '0', 'and nothing is kept');

# a worker that ends when it was about to leave nothing: its run goes on, and is there
$gate = close_gate($node, $db);
$run = app(q{SELECT jobsched.trigger('gate')});
wait_at_gate($node, $db, $run);
my $holder = $node->background_psql($db);
$holder->set_query_timer_restart();
$holder->query_safe('BEGIN; LOCK TABLE jobsched_internal.dependency');
my $pid = psql("SELECT pid FROM jobsched.workers WHERE run_id = $run");
$gate->quit;
wait_value($node, $db, "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid", 'relation', 'it has said so');
psql("SELECT pg_terminate_backend($pid)");
wait_value($node, $db, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 'its worker ends');
$gate = close_gate($node, $db);
$holder->query_safe('COMMIT');
$holder->quit;
wait_at_gate($node, $db, $run);
is(error_of($node, $db, "SELECT jobsched.trigger('after', after => '{$run}')", 'app'), '', 'it can be named');
$gate->quit;
is(wait_run($run), 'succeeded', 'it succeeds after all');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run"), '1', 'and is kept');
idle('after');

# jobs that come after it
app(q{SELECT jobsched.create_job('next', command => 'SELECT jobsched.upstream()', after => '{web}')});
$run = app(q{SELECT jobsched.trigger('web')});
is(wait_run($run), 'succeeded', 'a job that another one comes after');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'next' AND status = 'succeeded'}, '1', 'lets it run');
is(psql("SELECT count(*) FROM jobsched.runs WHERE run_id = $run"), '1', 'and its success is kept');
app(q{SELECT jobsched.drop_job('next')});

# idempotency keys
$run = app(q{SELECT jobsched.trigger('few', idempotency_key => 'k')});
is(wait_run($run), 'succeeded', 'a run with a key');
is(app(q{SELECT jobsched.trigger('few', idempotency_key => 'k')}), $run, 'is not queued again');

# ------------------------------------------------------------------------
# What was executed
# ------------------------------------------------------------------------

sub executed
{
	my ($run_id, $role) = @_;
	return sql_as($node, $db, $role || 'app', "SELECT COALESCE(command_tag, '-') || ': ' || COALESCE(command, '-') FROM jobsched.runs WHERE run_id = $run_id");
}

sub run_text
{
	my ($command, @more) = @_;
	app("SELECT jobsched.create_job('text', command => \$x\$$command\$x\$, if_exists => 'update'" . join('', map { ", $_" } @more) . ')');
	my $id = app(q{SELECT jobsched.trigger('text')});
	wait_run($id);
	return $id;
}

my @ran = map { run_text($_) } 'SELECT generate_series(1, 5)', 'INSERT INTO app.bad SELECT 1 WHERE false',
  'CREATE TABLE app.made (id int); DROP TABLE app.made', 'SELECT 1/0', 'VACUUM app.bad';
my @texts = map { executed($_) } @ran;
is_deeply(\@texts, [ 'SELECT 5: SELECT generate_series(1, 5)', 'INSERT 0 0: INSERT INTO app.bad SELECT 1 WHERE false',
	'DROP TABLE: CREATE TABLE app.made (id int); DROP TABLE app.made', '-: SELECT 1/0', 'VACUUM: VACUUM app.bad' ],
	'each run tells what it has executed, though its job was changed since');
app(q{SELECT jobsched.alter_job('text', description => 'nothing else')});
is(executed($ran[4]), 'VACUUM: VACUUM app.bad', 'also after a change of something else');
app(q{SELECT jobsched.alter_job('text', handler => 'app.leave')});
is(executed($ran[4]), 'VACUUM: VACUUM app.bad', 'and when it has no command any more');
$run = app(q{SELECT jobsched.trigger('text')});
wait_run($run);
is(executed($run), '-: -', 'a handler is none');
app(q{SELECT jobsched.alter_job('text', command => 'SELECT 7')});
is(executed($run), '-: -', 'nor does it become one');
$run = app(q{SELECT jobsched.trigger('text')});
wait_run($run);
is(executed($run), 'SELECT 1: SELECT 7', 'the present one');
is(sql_as($node, $db, 'other', "SELECT count(*) FROM jobsched.runs WHERE run_id = $run"), '0', 'a stranger does not see the run');
psql('GRANT pg_read_all_data TO other');
is(sql_as($node, $db, 'other', "SELECT count(*) FROM jobsched_internal.job_command"), '0', 'nor the texts');
is(sql_as($node, $db, 'other', "SELECT count(jobsched_internal.command_of(job_id, 1)) FROM jobsched_internal.job"), '0', 'nor by the function');
psql(q{SELECT jobsched.alter_job('text', owner => 'other')});
is(executed($run), 'SELECT 1: -', 'who has given the job away sees no text any more');
is(sql_as($node, $db, 'other', "SELECT count(*) FROM jobsched_internal.job j, generate_series(1, 6) r WHERE name = 'text' AND jobsched_internal.command_of(job_id, r) IS NOT NULL"),
	'0', 'and who has got it does not see what was before');
psql(q{SELECT jobsched.alter_job('text', owner => 'app')});
psql('REVOKE pg_read_all_data FROM other');
app(q{DO $$BEGIN FOR i IN 1 .. 150 LOOP PERFORM jobsched.alter_job('text', command => 'SELECT ' || i); END LOOP; END$$});
is(psql(q{SELECT count(*) FROM jobsched_internal.job_command c JOIN jobsched_internal.job j USING (job_id) WHERE name = 'text'}), '100',
	'of a job that is altered again and again not all texts are kept');
is(executed($run), 'SELECT 1: -', 'then that of an old run is not known');
$run = app(q{SELECT jobsched.trigger('text')});
wait_run($run);
app(q{SELECT jobsched.alter_job('text', command => 'SELECT 0')});
is(executed($run), 'SELECT 1: SELECT 150', 'but that of the last one is');
app(q{SELECT jobsched.drop_job('text')});
is(executed($run), 'SELECT 1: SELECT 150', 'the text outlives the job');

# ------------------------------------------------------------------------
# What it costs
# ------------------------------------------------------------------------

sub wal_of
{
	my ($keep) = @_;
	app("SELECT jobsched.alter_job('web', keep => '$keep')");
	is(wait_run(app(q{SELECT jobsched.trigger('web')})), 'succeeded', "with $keep");
	psql('CHECKPOINT');
	app(q{SELECT jobsched.pause_job('web')});
	app(q{SELECT count(*) FROM jobsched.trigger_many('web', array_fill('{}'::jsonb, ARRAY[500]))});
	my $before = psql('SELECT pg_current_wal_insert_lsn()');
	app(q{SELECT jobsched.resume_job('web')});
	until_true($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'all have run');
	# without images of pages, which are the same for both
	my $bytes = psql("SELECT (pg_current_wal_insert_lsn() - '$before') / 500");
	return int($bytes);
}
psql(q{ALTER SYSTEM SET full_page_writes = off});
psql(q{SELECT pg_reload_conf()});
until_true($node, $db, q{SELECT current_setting('full_page_writes') = 'off'}, 'no images of pages');
my $all = wal_of('all');
my $few = wal_of('failures');
note "WAL bytes for the execution of a run: $all with all, $few with failures";
cmp_ok($few, '<', $all * 0.75, 'a run that leaves nothing writes less');
psql(q{ALTER SYSTEM RESET full_page_writes});
psql(q{SELECT pg_reload_conf()});

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

app(q{TRUNCATE app.effect});
app(q{SELECT jobsched.create_job('tick', 'every 1 second', handler => 'app.leave', keep => 'failures', misfire => 'all', overlap => 'queue', queue_limit => 1000)});
app(q{CREATE TABLE app.wanted (run_id bigint)});
my %victims = (worker => 'jobsched worker', scheduler => 'jobsched scheduler', postmaster => '');
for my $victim (sort(keys %victims), sort(keys %victims))
{
	app(q{INSERT INTO app.wanted SELECT jobsched.trigger_many('few', array_fill('{}'::jsonb, ARRAY[4000]))});
	until_true($node, $db, q{SELECT count(*) BETWEEN 1 AND 3900 FROM jobsched_internal.run r JOIN app.wanted w USING (run_id)}, 'they run');
	end_sessions($node);
	if ($victim eq 'postmaster')
	{
		kill_and_start($node);
	}
	else
	{
		my $pid = $node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type = '$victims{$victim}' LIMIT 1");
		kill 'KILL', $pid if $pid ne '';
	}
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run r JOIN app.wanted w USING (run_id)}, '0',
		"$victim: all that was queued has run");
}
is(psql(q{SELECT count(*) FROM app.wanted w FULL JOIN (SELECT run_id, count(*) AS n FROM app.effect WHERE job = 'few' GROUP BY 1) e USING (run_id)
	WHERE w.run_id IS NULL OR n IS DISTINCT FROM 1}), '0', 'each exactly once');
app(q{SELECT jobsched.alter_job('tick', enabled => false)});
idle('tick');
is(psql(q{SELECT count(*) FROM (SELECT scheduled_for FROM app.effect WHERE job = 'tick' GROUP BY 1 HAVING count(*) > 1) x}),
	'0', 'no slot twice');
is(psql(q{SELECT count(*) - 1 - extract(epoch FROM max(scheduled_for) - min(scheduled_for))::int FROM
	(SELECT DISTINCT scheduled_for FROM app.effect WHERE job = 'tick') x}), '0', 'and none is left out');

# failures are told from the success that ended them, whatever is lost
app(q{INSERT INTO app.bad VALUES (1)});
is(wait_run(app(q{SELECT jobsched.trigger('few')})), 'failed', 'it fails') for 1 .. 2;
until_true($node, $db, q{SELECT consecutive_failures = 2 FROM jobsched.jobs WHERE name = 'few'}, 'both are counted');
app(q{DELETE FROM app.bad});
is(wait_run(app(q{SELECT jobsched.trigger('few')})), 'succeeded', 'it succeeds');
psql('SELECT pg_switch_wal()');
end_sessions($node);
kill_and_start($node);
wait_connection($node, $db);
wait_scheduler($node, $db);
wait_value($node, $db, q{SELECT consecutive_failures || ' ' || last_status || right(recent, 3) FROM jobsched.jobs WHERE name = 'few'},
	'0 succeededFF.', 'after kill -9 too');

# ------------------------------------------------------------------------
# Statistics
# ------------------------------------------------------------------------

# Of two jobs, of their role, and of all.
my $counts = q{SELECT string_agg(s.runs || ' ' || s.succeeded || ' ' || s.failed || ' ' || s.max_ms, '; ' ORDER BY s.job_name)
		|| '; ' || (SELECT runs_7d || ' ' || failures_7d FROM jobsched.dashboard_summary())
		|| '; ' || (SELECT string_agg(m, ' ') FROM regexp_split_to_table(jobsched.metrics(), '\n') m WHERE m LIKE 'jobsched_runs_ended_total%' OR m LIKE 'jobsched_run_duration_seconds_count%')
	FROM jobsched.run_stats(NULL, NULL, NULL) s WHERE s.job_name IN ('counted', 'silent')};

# All that has ended is written, and on disk.
sub wait_written
{
	my ($runs) = @_;

	until_true($node, $db, qq{SELECT string_agg(runs::text, ' ' ORDER BY job_name) = '$runs' FROM jobsched.run_stats(NULL, NULL, NULL) WHERE job_name IN ('counted', 'silent')}, "$runs runs are counted");
	psql('SELECT pg_switch_wal()');
	return;
}

sub crash
{
	my ($victim) = @_;
	my $pid = scheduler_pid($node, $db);

	end_sessions($node);
	if ($victim eq 'postmaster')
	{
		kill_and_start($node);
	}
	else
	{
		kill 'KILL', $pid;
	}
	wait_connection($node, $db);
	return wait_new_scheduler($node, $db, $pid);
}

app(q{SELECT jobsched.create_job('counted', handler => 'app.work', keep => 'failures', max_attempts => 1);
	SELECT jobsched.create_job('silent', handler => 'app.work', keep => 'failures', max_attempts => 1)});
my $written = 0;
for my $victim ('scheduler', 'postmaster', 'scheduler')
{
	app(qq{SELECT count(*) FROM jobsched.trigger_many('$_', array_fill('{}'::jsonb, ARRAY[200]))}) for 'counted', 'silent';
	idle($_) for 'counted', 'silent';
	is(wait_run(app(q{SELECT jobsched.trigger('counted', '{"fail": 1}')})), 'failed', 'and a failure');
	is(wait_run(app(q{SELECT jobsched.trigger('counted')})), 'succeeded', 'and what follows it');
	$written++;
	wait_written(202 * $written . ' ' . 200 * $written);
	my $before = psql($counts);
	crash($victim);
	is(psql($counts), $before, "kill -9 of the $victim: successes without a row stay counted: $before");
}
is(rows('silent'), '0', 'which left no row');

# ------------------------------------------------------------------------
# keep_for
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('short', handler => 'app.work', keep_for => '1 hour', max_attempts => 2, backoff_base => '10 ms', retry_on => '{P0}')});
app(q{SELECT jobsched.create_job('long', handler => 'app.work')});
app(q{SELECT jobsched.create_job('far', command => 'SELECT jobsched.upstream()')});
my $old = app(q{SELECT jobsched.trigger('short')});
my $bad = app(q{SELECT jobsched.trigger('short', '{"fail": 1}')});
my $kept = app(q{SELECT jobsched.trigger('short')});
my $other = app(q{SELECT jobsched.trigger('long')});
wait_run($_) for $old, $bad, $kept, $other;
my $waits = app("SELECT jobsched.trigger('far', run_at => now() + interval '1 year', after => '{$kept}')");
is(psql("SELECT count(*) FROM jobsched_internal.attempt WHERE run_id = $bad"), '1', 'there is an attempt');
advance_clock($node, $db, '61 min');
wait_value($node, $db, "SELECT string_agg(run_id::text, ' ' ORDER BY run_id) FROM jobsched_internal.history WHERE run_id IN ($old, $bad, $kept, $other)",
	"$kept $other", 'what is older than keep_for goes, but not what another run needs');
is(psql("SELECT count(*) FROM jobsched_internal.run_log WHERE run_id IN ($old, $bad)"), '0', 'its messages too');
is(psql("SELECT count(*) FROM jobsched_internal.attempt WHERE run_id = $bad"), '0', 'and attempts');
is(psql("SELECT count(*) FROM jobsched_internal.run_log WHERE run_id = $kept"), '1', 'others stay');
like(error_of($node, $db, "SELECT jobsched.trigger('far', after => '{$kept}')", 'app'), qr/run $kept does not exist/,
	'what has expired cannot be named any more');
app("SELECT jobsched.cancel_run($waits)");
until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE run_id = $waits AND status = 'cancelled')", 'nobody waits');
until_true($node, $db, "SELECT NOT EXISTS (SELECT FROM jobsched_internal.dependency)", 'nobody speaks of it');
advance_clock($node, $db, '61 s');
wait_value($node, $db, "SELECT count(*) FROM jobsched_internal.history WHERE run_id = $kept", '0', 'it goes in a later pass');

# somebody who names a run is waited for
my $late = app(q{SELECT jobsched.trigger('short')});
wait_run($late);
$namer = $node->background_psql($db, extra_params => [ '-U', 'app' ]);
$namer->set_query_timer_restart();
$namer->query_safe('BEGIN');
$named = $namer->query_safe("SELECT jobsched.trigger('far', run_at => now() + interval '1 year', after => '{$late}')");
my $plain = app(q{SELECT jobsched.trigger('short')});
wait_run($plain);
advance_clock($node, $db, '61 min');
# which takes some steps of the scheduler, of which the first begins a pass
wait_run(app(q{SELECT jobsched.trigger('few')})) for 1 .. 3;
is(psql("SELECT count(*) FROM jobsched_internal.history WHERE run_id IN ($late, $plain)"), '2', 'nothing goes while somebody names runs');
$namer->query_safe('COMMIT');
$namer->quit;
wait_value($node, $db, "SELECT string_agg(run_id::text, ' ' ORDER BY run_id) FROM jobsched_internal.history WHERE run_id IN ($late, $plain)", $late,
	'then what nobody has named');
app(q{SELECT jobsched.alter_job('long', keep_for => '1 minute')});
wait_value($node, $db, "SELECT count(*) FROM jobsched_internal.history WHERE run_id = $other", '0', 'a keep_for that is given later applies to what is there');

# what keep_for deletes is counted for good by then
app(q{SELECT jobsched.create_job('brief', handler => 'app.work', keep_for => '1 second')});
app(q{SELECT count(*) FROM jobsched.trigger_many('brief', array_fill('{}'::jsonb, ARRAY[20]))});
idle('brief');
until_true($node, $db, q{SELECT runs = 20 FROM jobsched.run_stats(NULL, NULL, NULL, 'brief')}, 'they are counted');
advance_clock($node, $db, '61 s');
# which takes some steps of the scheduler
is(wait_run(app(q{SELECT jobsched.trigger('silent', '{"fail": 1}')})), 'failed', 'something else that is to be counted again') for 1 .. 3;
wait_written(202 * $written . ' ' . (200 * $written + 3));
my $counted = psql($counts);
# a crash would set the clock back
my $ended = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($ended)");
wait_new_scheduler($node, $db, $ended);
is(psql($counts), $counted, 'what is deleted early is counted for good before, and stays when a scheduler counts again');
is(psql(q{SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'brief')}), '20', 'also for its job');
advance_clock($node, $db, '3 minutes');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'brief'}, '0', 'then it goes');
is(psql($counts), $counted, 'which changes no number');

# much that belongs to few rows
app(q{
	CREATE FUNCTION app.talk(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 1000 LOOP
			PERFORM jobsched.log('info', 'a message');
		END LOOP;
	END $$;
	SELECT jobsched.create_job('talk', handler => 'app.talk', keep_for => '1 hour')});
wait_run(app(q{SELECT jobsched.trigger('talk')})) for 1 .. 7;
my $messages = q{SELECT count(*) FROM jobsched_internal.run_log l JOIN jobsched_internal.history h USING (run_id) WHERE h.job_id =
	(SELECT job_id FROM jobsched_internal.job WHERE name = 'talk')};
is(psql($messages), '7000', 'there are many messages');
my $before = psql('SELECT pg_current_wal_insert_lsn()');
advance_clock($node, $db, '62 min');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'talk'}, '0', 'the rows go');
is(psql(q{SELECT count(*) FROM jobsched_internal.run_log l WHERE message = 'a message' AND
	NOT EXISTS (SELECT FROM jobsched_internal.history h WHERE h.run_id = l.run_id)}), '0', 'and all that belongs to them');
SKIP:
{
	skip 'pg_walinspect is not installed', 1
	  if psql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_walinspect'}) eq '0';
	psql('CREATE EXTENSION pg_walinspect');
	my $end = psql('SELECT pg_current_wal_flush_lsn()');
	cmp_ok(psql(qq{SELECT max(n) FROM (SELECT count(*) AS n FROM pg_get_wal_records_info('$before', '$end')
		WHERE resource_manager = 'Heap' AND record_type LIKE 'DELETE%' GROUP BY xid) x}), '<', 2100, 'no step deletes them all');
}

# who waits, and is so slow that the row has gone, does not take a failure for a success
app(q{SELECT jobsched.alter_job('gate', keep_for => '1 hour')});
$gate = close_gate($node, $db);
$run = app(q{SELECT jobsched.trigger('gate')});
wait_at_gate($node, $db, $run);
$waiter = $node->background_psql($db, extra_params => [ '-U', 'app' ], on_error_stop => 0);
$waiter->set_query_timer_restart();
$waiter->query_until(qr/begun/, "\\echo begun\nCALL jobsched.wait_run($run);\n\\echo over\n");
my $waiting = q{FROM pg_stat_activity WHERE query LIKE 'CALL jobsched.wait_run%' AND wait_event_type = 'Extension'};
until_true($node, $db, "SELECT EXISTS (SELECT $waiting)", 'the session waits');
my $slow = psql("SELECT pid $waiting");
kill 'STOP', $slow;
app("SELECT jobsched.cancel_run($run)");
wait_value($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $run", 'cancelled', 'the run is cancelled');
advance_clock($node, $db, '62 min');
wait_value($node, $db, "SELECT count(*) FROM jobsched.runs WHERE run_id = $run", '0', 'and its row is gone');
kill 'CONT', $slow;
$waiter->query_until(qr/over/, '');
like($waiter->{stderr}, qr/run $run does not exist/, 'the session that waits learns that it knows nothing');
$waiter->quit;
$gate->quit;

# ids of another extension
my $ghost = app(q{SELECT jobsched.trigger('few')});
is(wait_run($ghost), 'succeeded', 'a run that leaves nothing');
psql('BEGIN; DROP EXTENSION jobsched CASCADE; CREATE EXTENSION jobsched; GRANT USAGE ON SCHEMA jobsched TO app; COMMIT');
app(q{SELECT jobsched.create_job('anew', command => 'SELECT 1', enabled => false)});
is(psql("SELECT setval('jobsched_internal.run_id_seq', $ghost - 1)"), $ghost - 1, 'the ids come again');
like(error_of($node, $db, "CALL jobsched.wait_run($ghost)", 'app'), qr/run $ghost does not exist/, 'it was none of the new extension');
is(app(q{SELECT jobsched.trigger('anew', run_at => now() + interval '1 day')}), $ghost, 'now there is one with its id');
is(error_of($node, $db, "SELECT jobsched.trigger('anew', after => '{$ghost}')", 'app'), '', 'which can be named');

set_clock($node, $db, undef);
end_sessions($node);
check_log($node, killed => 1);
$node->stop;
done_testing();
