# Copyright (c) 2026, jobsched contributors

# What a run leaves behind, or does to its process: the next run of the same
# worker finds a session as good as new, other owners notice nothing, and what
# became of the run is told.  (The plain cases are in sql/context.sql.)

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = jobsched_node('leftovers', conf => "restart_after_crash = on\n");
create_extension($node, $db);
effects_schema($node, $db);
my $version = $node->safe_psql($db, 'SHOW server_version_num');

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

psql(q{
	CREATE ROLE other LOGIN;
	GRANT USAGE ON SCHEMA jobsched, app TO other;
	GRANT INSERT, SELECT ON app.effect TO other;
	GRANT pg_read_all_stats TO app});
make_gate($node, $db, 'app');

# Everything about a session that a run could change and the next one could
# see.  The pause is longer than the timeouts that are left behind.
my $super = psql('SELECT current_user');
psql(qq{
	SET ROLE app;
	CREATE FUNCTION app.session(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	DECLARE
		large_object text := 'none';
	BEGIN
		PERFORM pg_sleep(0.1);
		BEGIN
			PERFORM loread(0, 1);
			large_object := 'open';
		EXCEPTION WHEN undefined_object THEN
		END;
		RAISE NOTICE 'still heard';
		RETURN (SELECT jsonb_object_agg(name, setting) FROM pg_settings) || jsonb_build_object(
			'user', current_user || ' ' || session_user,
			'temporary', (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())
				+ (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema())
				+ (SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema()),
			'prepared', (SELECT count(*) FROM pg_prepared_statements),
			'cursors', (SELECT count(*) FROM pg_cursors),
			'channels', (SELECT count(*) FROM pg_listening_channels()),
			'locks', (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
			'large object', large_object);
	END \$\$;
	RESET ROLE;
	CREATE TABLE pristine (role name, session jsonb);

	-- Runs a job to its end.
	CREATE PROCEDURE run(job text, INOUT id bigint) LANGUAGE plpgsql AS \$\$
	DECLARE
		status text;
	BEGIN
		id := jobsched.trigger(job);
		COMMIT;
		CALL jobsched.wait_run(id, '60 s', status);
	END \$\$;
	-- The session that a run finds: its process, and how it differs from the
	-- first one that was seen of this owner.
	CREATE PROCEDURE look(role text, INOUT pid int, INOUT verdict text) LANGUAGE plpgsql AS \$\$
	DECLARE
		id bigint;
		seen jsonb;
	BEGIN
		CALL run('clean ' || role, id);
		SELECT worker_pid, concat_ws(' ', status, error), result INTO pid, verdict, seen FROM jobsched.runs WHERE run_id = id;
		INSERT INTO pristine SELECT role, seen WHERE NOT EXISTS (SELECT FROM pristine p WHERE p.role = look.role);
		SELECT concat_ws(', ', verdict, (SELECT string_agg(message, ' ') FROM jobsched.run_logs WHERE run_id = id),
				string_agg(key || ' is ' || a.value || ' and was ' || b.value, ', '))
			INTO verdict
			FROM jsonb_each_text(seen) a FULL JOIN (SELECT e.* FROM pristine p, jsonb_each_text(p.session) e WHERE p.role = look.role) b USING (key)
			WHERE a.value IS DISTINCT FROM b.value;
	END \$\$;
	-- Has a session soiled, and looks at it.
	CREATE PROCEDURE soil(role text, command text, mode text, INOUT id bigint, INOUT ended text, INOUT verdict text) LANGUAGE plpgsql AS \$\$
	DECLARE
		pid int;
		pid_then int;
	BEGIN
		PERFORM jobsched.alter_job('dirty ' || role, command => command, mode => mode);
		CALL run('dirty ' || role, id);
		CALL look(role, pid_then, verdict);
		SELECT concat_ws(' ', status, reason, sqlstate), worker_pid INTO ended, pid FROM jobsched.runs WHERE run_id = id;
		verdict := concat_ws(', ', CASE WHEN pid <> pid_then THEN 'another worker' END, verdict);
	END \$\$;
	SELECT jobsched.create_job('dirty ' || r, command => 'SELECT 1', backoff_base => '1 ms', owner => r),
		jobsched.create_job('clean ' || r, handler => 'app.session', owner => r)
	FROM unnest('{app,$super}'::name[]) r;
	GRANT EXECUTE ON FUNCTION app.leave TO other;
	SET ROLE other;
	SELECT jobsched.create_job('tick', '* * * * * *', command => 'SELECT app.leave(NULL)')});

sub quoted
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

sub of_run
{
	my ($run_id, $columns) = @_;
	return psql("SELECT $columns FROM jobsched.runs WHERE run_id = $run_id");
}

# Runs a command; returns the run, its end, and what the next run found.
sub soil
{
	my ($role, $command, $mode) = @_;
	return split /\|/, psql("CALL soil('$role', " . quoted($command) . ", '" . ($mode || 'auto') . "', NULL, NULL, NULL)"), 3;
}

# Runs a command; the next run must find the same worker, its session as new,
# and be heard.
sub check_clean
{
	my ($role, $name, $command, $mode, $expected) = @_;
	my ($run_id, $ended, $found) = soil($role, $command, $mode);

	is($ended, $expected || 'succeeded', "$name: the run");
	is($found, 'succeeded, still heard', "$name: the next run of the same worker finds a session as new");
	return $run_id;
}

sub check_new
{
	my ($role, $name) = @_;
	return is((split /\|/, psql("CALL look('$role', NULL, NULL)"), 2)[1], 'succeeded, still heard', $name);
}

check_new($_, "$_: a first look") for ('app', $super);
is(psql(q{SELECT DISTINCT session->>'temporary', session->>'prepared', session->>'cursors', session->>'channels', session->>'locks', session->>'large object',
		session->>'statement_timeout', split_part(session->>'user', ' ', 1) = role FROM pristine}),
	'0|0|0|0|0|none|0|t', 'there is nothing to begin with');

# ------------------------------------------------------------------------
# Settings
# ------------------------------------------------------------------------

check_clean('app', 'statement_timeout', q{SELECT set_config('statement_timeout', '40ms', false)});
check_clean('app', 'statement_timeout that struck',
	q{SET statement_timeout = '40ms'; SELECT pg_sleep(3600)}, 'autocommit', 'failed error 57014');
check_clean('app', 'other timeouts',
	q{SET lock_timeout = '1ms'; SET idle_in_transaction_session_timeout = '1ms'; SET idle_session_timeout = '1ms'; SET deadlock_timeout = '1ms'},
	'autocommit', 'failed error 42501');
check_clean('app', 'other timeouts',
	q{SET lock_timeout = '1ms'; SET idle_in_transaction_session_timeout = '1ms'; SET idle_session_timeout = '1ms'}, 'autocommit');
check_clean('app', 'settings of a failed run',
	q{SELECT set_config(name, setting, false) FROM (VALUES ('work_mem', '70MB'), ('jit', 'off'), ('DateStyle', 'German'), ('TimeZone', 'Asia/Tokyo'),
		('default_tablespace', ''), ('client_min_messages', 'error'), ('application_name', 'not me'), ('jobsched.timezone', 'Asia/Tokyo')) v (name, setting);
	SELECT 1 / 0}, 'autocommit', 'failed error 22012');
check_clean('app', 'settings of transactions to come',
	q{SET default_transaction_isolation = 'serializable'; SET default_transaction_read_only = on; SET default_transaction_deferrable = on}, 'autocommit');
check_clean('app', 'a role that has settings of its own', q{SET ROLE pg_read_all_stats; SET search_path = pg_temp, app}, 'autocommit');
check_clean($super, 'what only a superuser may set', q{
	SET session_replication_role = replica; SET log_min_messages = panic; SET log_min_error_statement = panic;
	SET zero_damaged_pages = on; SET deadlock_timeout = '1ms'; SET row_security = off;
	SET allow_system_table_mods = on; SET log_error_verbosity = terse}, 'autocommit');
check_clean($super, 'another user', q{SET SESSION AUTHORIZATION app; SET ROLE app; SELECT 1 / 0}, 'autocommit', 'failed error 22012');
check_clean('app', 'a user one may not be', qq{SET SESSION AUTHORIZATION "$super"}, 'auto', 'failed error 42501');
check_clean('app', 'the owner itself', q{SET SESSION AUTHORIZATION app; SET ROLE app}, 'autocommit');

# ------------------------------------------------------------------------
# Objects of the session
# ------------------------------------------------------------------------

check_clean('app', 'temporary objects', q{
	CREATE TEMP TABLE runs (LIKE app.effect); CREATE TEMP SEQUENCE s; CREATE TEMP VIEW v AS SELECT 1;
	CREATE FUNCTION pg_temp.session(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
	CREATE TYPE pg_temp.jsonb AS (x int);
	CREATE DOMAIN pg_temp.numeric AS int}, 'autocommit');
check_clean('app', 'many temporary tables', q{
	DO $$ BEGIN FOR i IN 1 .. 3 LOOP EXECUTE 'CREATE TEMP TABLE t' || i || ' AS SELECT 1'; COMMIT; END LOOP; RAISE 'enough'; END $$},
	'auto', 'failed error P0001');
check_clean('app', 'an open large object', q{SELECT lo_open(lo_create(0), 131072)});
check_clean('app', 'an open large object, kept over commits', q{SELECT lo_open(lo_create(0), 131072); SELECT 1}, 'autocommit');
check_clean('app', 'an open large object of a failed run', q{SELECT lo_open(lo_create(0), 393216), 1 / 0}, 'auto', 'failed error 22012');
check_clean('app', 'prepared statements, cursors and locks of a procedure', q{
	DO $$ BEGIN
		EXECUTE 'PREPARE p AS SELECT 1';
		EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)';
		COMMIT;
		PERFORM pg_advisory_lock(1), pg_advisory_lock_shared(2), pg_advisory_xact_lock(3);
		RAISE 'enough';
	END $$}, 'auto', 'failed error P0001');

# By handlers too, also those that share a transaction.
psql(q{
	SET ROLE app;
	CREATE FUNCTION app.soil(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('work_mem', '70MB', false), set_config('statement_timeout', '40ms', false),
			set_config('search_path', 'pg_temp', false);
		EXECUTE 'CREATE TEMP TABLE IF NOT EXISTS t (x int)';
		EXECUTE 'DEALLOCATE ALL';
		EXECUTE 'PREPARE p AS SELECT 1';
		PERFORM pg_advisory_lock(1), lo_open(lo_create(0), 131072);
		IF args ? 'fail' THEN
			RAISE 'enough';
		END IF;
	END $$;
	SELECT jobsched.create_job('soil', handler => 'app.soil')});
for my $shares ('false', 'true')
{
	my $shared = $shares eq 'true' ? 'runs that may share a transaction' : 'a handler';
	sql_as($node, $db, 'app', "SELECT jobsched.alter_job('soil', share_transaction => $shares)");
	sql_as($node, $db, 'app', q{SELECT count(*) FROM jobsched.trigger_many('soil', array_fill('{}'::jsonb, ARRAY[15]) || array_fill('{"fail": 1}'::jsonb, ARRAY[15]))});
	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run r JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'soil'}, 'all have run');
	psql(q{SELECT pg_terminate_backend(pid, 60000) FROM (SELECT pid FROM jobsched.workers WHERE owner = 'app' AND state = 'idle' OFFSET 1) w});
	check_clean('app', $shared, 'SELECT 1');
}
is(psql(q{SELECT string_agg(DISTINCT concat_ws(' ', (args ? 'fail')::text, status, sqlstate), ', ') FROM jobsched.runs WHERE job_name = 'soil'}),
	'succeeded, true failed P0001', 'the runs have come to their own ends');

# ------------------------------------------------------------------------
# What needs a client, or an end of the transaction
# ------------------------------------------------------------------------

check_clean('app', 'COPY FROM STDIN in a block', q{DO $$ BEGIN EXECUTE 'COPY app.effect FROM STDIN'; END $$}, 'auto', 'failed error 0A000');
check_clean('app', 'COPY TO STDOUT in a block', q{DO $$ BEGIN EXECUTE 'COPY app.effect TO STDOUT'; END $$}, 'auto', 'failed error 0A000');
check_clean('app', 'a transaction in a block', q{DO $$ BEGIN EXECUTE 'BEGIN'; END $$}, 'auto', 'failed error 0A000');
check_clean('app', 'PREPARE TRANSACTION in a block', q{DO $$ BEGIN EXECUTE 'PREPARE TRANSACTION ''x'''; END $$}, 'auto', 'failed error 0A000');
for my $command ('COPY app.effect FROM STDIN', 'COMMIT', 'SELECT 1; ROLLBACK; SELECT 2')
{
	psql("UPDATE jobsched_internal.job SET command = '$command', revision = revision + 1 WHERE name = 'dirty app'");
	my ($run_id) = run_job($node, $db, 'dirty app');
	is(of_run($run_id, 'status, sqlstate'), 'failed|0A000', "$command, put into the job's row by hand: the run fails");
}
check_clean('app', 'after that', 'SELECT 1');

# ------------------------------------------------------------------------
# Cancels that are caught
# ------------------------------------------------------------------------

psql(q{
	SET ROLE app;
	CREATE FUNCTION app.stubborn(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		caught int := 0;
	BEGIN
		WHILE caught < (args->>'times')::int LOOP
			BEGIN
				PERFORM pg_sleep(3600);
			EXCEPTION WHEN query_canceled THEN
				caught := caught + 1;
				PERFORM jobsched.progress(caught);
			END;
		END LOOP;
		PERFORM app.leave(args);
		RETURN jsonb_build_object('caught', caught);
	END $$;
	SELECT jobsched.create_job('stubborn', handler => 'app.stubborn', args => '{"times": 1}')});

sub start_stubborn
{
	my ($times) = @_;
	my $run_id = sql_as($node, $db, 'app', qq{SELECT jobsched.trigger('stubborn', '{"times": $times}')});
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
		WHERE r.run_id = $run_id AND a.wait_event = 'PgSleep')", 'it sleeps');
	return ($run_id, psql("SELECT worker_pid FROM jobsched.running WHERE run_id = $run_id"));
}

my ($run_id, $pid) = start_stubborn(1);
psql("SELECT pg_cancel_backend($pid)");
wait_run_state($node, $db, $run_id, 'succeeded');
is(of_run($run_id, q{result->>'caught'}), '1', 'a run that catches a cancel of its backend goes on');
check_clean('app', 'a caught cancel', 'SELECT 1');

# One that is cancelled with its job cannot succeed, whatever it catches.
($run_id, $pid) = start_stubborn(1);
sql_as($node, $db, 'app', q{SELECT jobsched.drop_job('stubborn', cancel_running => true)});
wait_run_state($node, $db, $run_id, 'cancelled');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '0', 'a run that catches the cancel of its job is cancelled all the same, without effect');
check_clean('app', 'a caught cancel of the job', 'SELECT 1');

# One that never gives in can be terminated.
sql_as($node, $db, 'app', q{SELECT jobsched.create_job('stubborn', mode => 'autocommit', command => $$DO 'BEGIN PERFORM app.stubborn(jobsched.args()); END'$$)});
($run_id, $pid) = start_stubborn(1000000);
for my $n (1 .. 3)
{
	psql("SELECT pg_cancel_backend($pid)");
	wait_until($node, $db, "SELECT progress_done = $n FROM jobsched.running WHERE run_id = $run_id", 'the cancel was caught');
}
psql("SELECT pg_terminate_backend($pid)");
wait_run_state($node, $db, $run_id, 'lost');
is(of_run($run_id, 'reason, sqlstate'), 'worker_died|57P01', 'a run that catches every cancel is ended by pg_terminate_backend()');
sql_as($node, $db, 'app', q{SELECT jobsched.drop_job('stubborn')});

# ------------------------------------------------------------------------
# Processes that end
# ------------------------------------------------------------------------

# Runs a command that ends its worker, until it is given up: one that the
# owner's own settings end at its third attempt, others after three more.
sub check_fatal
{
	my ($name, $role, $command, $expected) = @_;
	my $scheduler = scheduler_pid($node, $db);
	my ($id, $ended, $found) = soil($role, $command);
	is("$ended " . of_run($id, 'attempt'), $expected, "$name: how it ends");
	is($found, 'another worker, succeeded, still heard', "$name: the next run finds a session as new");
	is(psql("SELECT count(*) FROM app.effect WHERE run_id = $id"), '0', "$name: without effect");
	is(psql(qq{SELECT last_status || right(recent, 1) FROM jobsched.jobs WHERE name = 'dirty $role'}),
		$expected =~ /^lost/ ? 'lostL' : 'failedF', "$name: the job tells");
	is(scheduler_pid($node, $db), $scheduler, "$name: the scheduler has not been disturbed");
	return;
}

if ($version >= 170000)
{
	check_fatal('transaction_timeout', 'app', q{SELECT app.leave(NULL); SET transaction_timeout = '20ms'; SELECT pg_sleep(3600)}, 'failed error 25P04 3');
}
# No server before 17 has a setting by which a session ends itself.

# SIGTERM from outside of the server, sent by the run itself.
check_fatal('SIGTERM', $super, q{SELECT app.leave(NULL); COPY (SELECT 1) TO PROGRAM 'kill -TERM $PPID'; SELECT pg_sleep(3600)}, 'lost worker_died 57P01 4');

# ------------------------------------------------------------------------
# Memory
# ------------------------------------------------------------------------

check_clean('app', 'a value that is too large', q{SELECT repeat('x', 1073741824)}, 'auto', 'failed error 54000');

# Of a large result only the first row is kept, so what the worker holds does
# not grow with it.
sub memory
{
	my ($id) = soil('app', q{SELECT pg_backend_pid() AS pid, sum(total_bytes) AS bytes FROM pg_backend_memory_contexts});
	return split /\|/, of_run($id, q{result->>'pid', result->>'bytes'});
}

my ($worker, $before) = memory();
check_clean('app', 'many rows', q{SELECT i, repeat('x', 100) FROM generate_series(1, 150000) i});
check_clean('app', 'many rows, in memory', q{SELECT array_length(array_agg(repeat('x', 100) || i), 1) FROM generate_series(1, 150000) i});
$run_id = check_clean('app', 'a large result', q{SELECT repeat('x', 10000000) AS x});
is(psql("SELECT message ~ 'dropped: it exceeds' FROM jobsched.run_logs WHERE run_id = $run_id"), 't', 'a large result: dropped, which the log tells');
my ($worker_after, $after) = memory();
is($worker_after, $worker, 'the same worker');
cmp_ok($after, '<', $before + 2_000_000, "holds no more memory than before ($before, $after bytes)");

# The operating system has no more for the worker.
SKIP:
{
	skip 'AddressSanitizer ends a process that gets no memory', 6
	  if $node->config_data('--configure') =~ /-fsanitize=\S*address/;

	my ($size) = slurp_file("/proc/$worker/status") =~ /^VmSize:\s+(\d+) kB/m;
	my $limit = ($size + 65536) * 1024;
	is(system('prlimit', "--pid=$worker", "--as=$limit"), 0, 'the worker may have 64 MB more and nothing else');
	check_clean('app', 'out of memory', q{SELECT array_length(array_agg(repeat('x', 100) || i), 1) FROM generate_series(1, 2000000) i}, 'auto', 'failed error 53200');
	$run_id = check_clean('app', 'out of memory, caught', q{
		DO $$ BEGIN PERFORM length(repeat('x', 200000000)); EXCEPTION WHEN out_of_memory THEN RAISE NOTICE 'caught'; END $$});
	is(psql("SELECT string_agg(message, ',') FROM jobsched.run_logs WHERE run_id = $run_id"), 'caught', 'the run can go on');
}
psql("SELECT pg_terminate_backend($worker, 60000)");

# ------------------------------------------------------------------------
# Notices
# ------------------------------------------------------------------------

# At least 100,000, and then more until the run of another owner has ended.
sql_as($node, $db, 'app', q{SELECT jobsched.alter_job('dirty app', mode => 'transaction', command => $job$
	DO $$
	DECLARE
		n int := 0;
		enough boolean := false;
	BEGIN
		WHILE n < 5000000 AND NOT enough LOOP
			n := n + 1;
			RAISE NOTICE 'flood % %', n, repeat('x', n % 100);
			IF n >= 100000 AND n % 1000 = 0 THEN
				enough := EXISTS (SELECT FROM app.effect WHERE job = 'meanwhile');
			END IF;
		END LOOP;
		RAISE INFO 'enough: %', enough;
		PERFORM set_config('app.enough', enough::text, true);
	END $$;
	SELECT current_setting('app.enough') AS enough$job$)});
sql_as($node, $db, 'other', q{SELECT jobsched.create_job('meanwhile', command => 'INSERT INTO app.effect VALUES (jobsched.run_id(), jobsched.job_name())')});
$run_id = psql(q{SELECT jobsched.trigger('dirty app')});
wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $run_id)", 'it runs');
is((run_job($node, $db, 'meanwhile', role => 'other'))[1], 'succeeded', 'a flood of notices: others run');
wait_run_state($node, $db, $run_id, 'succeeded');
is(of_run($run_id, q{result->>'enough'}), 'true', 'at the same time');
my ($count, $bytes, $last) = split /\|/,
  psql("SELECT count(*), sum(length(message)), (array_agg(message ORDER BY seq DESC))[1] FROM jobsched.run_logs WHERE run_id = $run_id");
cmp_ok($count, '<=', 1000, "a bounded number of messages is kept ($count)");
cmp_ok($bytes, '<=', 65536 + 100, "of a bounded size ($bytes)");
like($last, qr/^\d{5,} more messages were dropped$/, 'and the last one tells how many were not');
unlike(log_since($node), qr/flood \d/, "the server's log is not flooded");
is(psql("SELECT string_agg(split_part(message, ' ', 2), ',' ORDER BY seq) FROM jobsched.run_logs WHERE run_id = $run_id AND seq <= 3"),
	'1,2,3', 'the first ones are kept');

# ------------------------------------------------------------------------
# A run that crashes the server
# ------------------------------------------------------------------------

# The crash may cut off the session that asks for it, and come again.
sub trigger_crash
{
	my $id;

	$node->psql($db, qq{SELECT jobsched.trigger('dirty $super')});
	do
	{
		wait_connection($node, $db);
		$node->psql($db, qq{SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'dirty $super'}, stdout => \$id);
	} until $id;
	return $id;
}

psql(qq{SELECT jobsched.alter_job('dirty $super', command => } . q{$$SELECT app.leave(NULL); COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'; SELECT pg_sleep(3600)$$, mode => 'auto', backoff_base => '1 ms')});
$run_id = trigger_crash();
wait_run_state($node, $db, $run_id, 'lost');
is(of_run($run_id, 'reason, error, attempt'), 'server_restarted|the server stopped while the run was in progress|4',
	'a run that crashes the server is tried again three times, then lost, and says why');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '0', 'without effect');
wait_scheduler($node, $db);
is(psql(q{SELECT string_agg("check" || ' ' || status, ', ') FROM jobsched.health() WHERE status = 'error'}), '', 'health() finds no fault afterwards');

# As quick as can be: its claim is on disk before it begins, but for the first
# after a time without crashes, so it is counted.
psql(qq{SELECT jobsched.alter_job('dirty $super', command => } . q{$$COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'; SELECT pg_sleep(3600)$$, mode => 'auto')});
$run_id = trigger_crash();
wait_run_state($node, $db, $run_id, 'lost');
is(of_run($run_id, 'reason, attempt'), 'server_restarted|4', 'also one that crashes it at once');
wait_scheduler($node, $db);

# The same from outside, to one that is innocent.
sql_as($node, $db, 'app', q{SELECT jobsched.alter_job('dirty app', mode => 'auto', command => 'SELECT app.leave(NULL); SELECT id FROM gate FOR UPDATE')});
my $gate = close_gate($node, $db);
$run_id = psql(q{SELECT jobsched.trigger('dirty app')});
kill 'KILL', wait_at_gate($node, $db, $run_id);
$gate->quit;    # has lost its connection
wait_run_state($node, $db, $run_id, 'succeeded');
is(psql("SELECT attempt FROM jobsched.runs WHERE run_id = $run_id"), '2', 'kill -9 of a worker: its run is done again');
is(psql("SELECT string_agg(attempt::text, ',') FROM app.effect WHERE run_id = $run_id"), '2', 'and has its effect once');
check_new('app', 'the next run finds a new session');

# ------------------------------------------------------------------------
# Others
# ------------------------------------------------------------------------

sql_as($node, $db, 'other', q{SELECT jobsched.alter_job('tick', enabled => false)});
wait_drained($node, $db);
check_slots($node, $db, 'tick', 1, 'through all of this each slot of another owner has fired once');
check_exactly_once($node, $db, 'with its effect', q{'tick'});
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick' AND status NOT IN ('succeeded', 'skipped')}), '0', 'none has failed');
unlike(log_since($node), qr/leak|WARNING:  (?!terminating connection|pid|there is)/i, 'no worker has leaked anything');

check_log($node, killed => 1, allow => qr/terminating connection|unexpected postmaster exit/);
$node->stop;
done_testing();
