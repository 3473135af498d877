# Copyright (c) 2026, jobsched contributors

# Durable procedures that have done much when they are executed again: each step is done
# once, and has the result that it had, whatever the size of all of them, over sleeps,
# kill -9 and retries; and the worker does not keep more of it than it may.

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
my $node = jobsched_node('many_steps', conf => "restart_after_crash = on\nfsync = off\njobsched.max_workers = 1\n");
create_extension($node, $db);
effects_schema($node, $db);

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

# A result has as many bytes as is said.
app(q{
	CREATE TABLE app.done (run_id bigint, n int);
	CREATE TABLE app.broken (at int);
	CREATE FUNCTION app.sample(n int, size int) RETURNS text LANGUAGE sql AS $$
		SELECT left(repeat(md5(n::text), size / 32 + 1), size)
	$$;
	CREATE FUNCTION app.make(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.broken WHERE at = (args ->> 'n')::int) THEN
			RAISE 'broken';
		END IF;
		INSERT INTO app.done VALUES (jobsched.run_id(), (args ->> 'n')::int);
		RETURN to_jsonb(app.sample((args ->> 'n')::int, (args ->> 'size')::int));
	END $$;
	-- sizes in turn; it sleeps after each quarter
	CREATE PROCEDURE app.many(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		n int := (args ->> 'n')::int;
		size int;
		made jsonb;
	BEGIN
		FOR i IN 1 .. n LOOP
			size := args -> 'sizes' -> (i % jsonb_array_length(args -> 'sizes'));
			CALL jobsched.step('s' || i, 'app.make', jsonb_build_object('n', i, 'size', size), made);
			IF made #>> '{}' IS DISTINCT FROM app.sample(i, size) THEN
				RAISE 'step % has the result of another one', i;
			END IF;
			IF i % (n / 4) = 0 THEN
				CALL jobsched.sleep('sleep' || i, (args ->> 'sleep')::interval);
			END IF;
		END LOOP;
		result := to_jsonb(n);
	END $$;
	SELECT jobsched.create_job('many', handler => 'app.many', max_attempts => 1)});

sub trigger
{
	my ($n, $sizes, $sleep) = @_;
	return app("SELECT jobsched.trigger('many', '{\"n\": $n, \"sizes\": [$sizes], \"sleep\": \"$sleep\"}')");
}

sub check
{
	my ($run, $n, $what, @before) = @_;
	my $runs = join ',', $run, @before;

	is(end_of($node, $db, $run, 'status, result'), "succeeded|$n", "$what: it succeeds");
	return is(psql("SELECT count(*), count(DISTINCT n) FROM app.done WHERE run_id IN ($runs)"), "$n|$n", "$what: each step is done once");
}

sub memory
{
	my ($pid) = worker_pids($node, $db);
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	return $kb;
}

check(trigger(1000, '100', '1 ms'), 1000, '1000 small results');
my $before = memory();
check(trigger(120, '10, 5000, 100000, 500000', '1 ms'), 120, 'small and large results');
check(trigger(2000, '4000', '1 ms'), 2000, 'more than is kept at a time');
check(trigger(400, '200000', '1 ms'), 400, 'much more');
cmp_ok(memory() - $before, '<', 40 * 1024, 'the worker does not keep all of it');

# kill -9, of the worker, the scheduler and the server, while it sleeps with some done
my $kills = 0;
for my $who (qw(worker scheduler server))
{
	my $run = trigger(200, '10, 5000', '2 s');

	until_true($node, $db, "SELECT count(*) >= 100 FROM app.done WHERE run_id = $run", 'half of it is done');
	my ($pid) = $who eq 'worker' ? worker_pids($node, $db) : scheduler_pid($node, $db);
	end_sessions($node);
	if ($who eq 'server')
	{
		kill_and_start($node);
	}
	elsif ($pid)
	{
		kill 'KILL', $pid;
	}
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	check($run, 200, "kill -9 of the $who");
}

# what a retry takes over
app('INSERT INTO app.broken VALUES (150)');
my $run = trigger(200, '10, 5000', '1 ms');
is(end_of($node, $db, $run), 'failed error P0001', 'a step fails');
app('DELETE FROM app.broken');
check(app("SELECT jobsched.retry_run($run)"), 200, 'its retry', $run);

# a name that comes twice, with a memo and without
app(q{
	CREATE PROCEDURE app.twice(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
	BEGIN
		CALL jobsched.step('a', 'app.make', '{"n": 1, "size": 1}', result);
		CALL jobsched.sleep('b', '1 ms');
		CALL jobsched.step('a', 'app.make', '{"n": 1, "size": 1}', result);
	END $$;
	SELECT jobsched.create_job('twice', handler => 'app.twice', max_attempts => 1)});
is(end_of($node, $db, app(q{SELECT jobsched.trigger('twice')})), 'failed error 42710', 'a name that comes twice is refused');

end_sessions($node);
$node->stop;
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
done_testing();
