# Copyright (c) 2026, jobsched contributors

# Each way in which a run ends, and who is told of it: on_success if it has
# succeeded, on_failure if it has failed, timed out or is lost, nobody if it was
# cancelled.  Each function is called once, whoever has recorded the end.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('ends');
my $sink = start_sink($node);
my $url = $sink->{url};

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

# A job whose requests the server answers as its name's verb says.
sub create
{
	my ($name, $path, $more) = @_;
	return app(qq{SELECT jobsched.create_job('$name', url => '$url/$path', on_success => 'app.good', on_failure => 'app.bad'}
		. ($more ? ", $more)" : ')'));
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

# How often a run's end was queued to be told, and what was told.
sub told
{
	my ($run_id) = @_;

	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run WHERE source = 'callback'}, 'nobody is to be told any more');
	return psql(qq{SELECT concat_ws(' ',
		(SELECT count(*) FROM jobsched.runs WHERE source = 'callback' AND args ->> 'run_id' = '$run_id'),
		(SELECT string_agg(concat_ws(' ', function, args ->> 'status', args ->> 'reason'), ', ') FROM app.told WHERE args ->> 'run_id' = '$run_id'))});
}

# A request under way.
sub hang
{
	my ($job, $more) = @_;
	forget_requests($sink);
	my $run_id = trigger($job, $more);
	wait_requests($sink, 1, qr{^/gate/});
	return $run_id;
}

app(q{
	CREATE TABLE app.told (function text, args jsonb);
	CREATE FUNCTION app.good(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.told VALUES ('good', args) $$;
	CREATE FUNCTION app.bad(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.told VALUES ('bad', args) $$;
	CREATE FUNCTION app.fails(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
	CREATE FUNCTION app.sleeps(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(3600) $$});

# ------------------------------------------------------------------------
# The HTTP worker records it
# ------------------------------------------------------------------------

create('ok', 'text/x');
create('not found', 'status/404');
create('slow', 'gate/slow', q{timeout => '200 ms', max_attempts => 1});
create('hangs', 'gate/hangs', q{max_attempts => 1});

my $run_id = trigger('ok');
is(ended($run_id), 'succeeded', 'a request that succeeds');
is(told($run_id), '1 good succeeded', 'tells on_success');
$run_id = trigger('not found');
is(ended($run_id), 'failed http_status JS404', 'one that fails');
is(told($run_id), '1 bad failed http_status', 'tells on_failure');
$run_id = trigger('slow');
is(ended($run_id), 'timed_out timeout 57014', 'one that takes too long');
is(told($run_id), '1 bad timed_out timeout', 'tells on_failure');
$run_id = hang('hangs');
app("SELECT jobsched.cancel_run($run_id)");
is(ended($run_id), 'cancelled cancelled 57014', 'one that is cancelled while it is sent');
is(told($run_id), '0', 'tells nobody');

# ------------------------------------------------------------------------
# A worker records it: what is told tells nobody in turn
# ------------------------------------------------------------------------

# The run of the function that a request's end has queued.
sub callback_of
{
	my ($id) = @_;
	ended($id);
	return psql("SELECT run_id FROM jobsched.runs WHERE source = 'callback' AND args ->> 'run_id' = '$id'");
}

for my $case ([ 'app.good', 'succeeded' ], [ 'app.fails', 'failed error P0001' ])
{
	my ($function, $end) = @{$case};
	my $callback = callback_of(app("SELECT jobsched.http_request('GET', '$url/text/x', on_success => '$function', on_failure => 'app.bad')"));
	is(ended($callback), $end, "the run of $function");
	is(told($callback), '0', 'tells nobody');
}
create('told late', 'text/x', q{timeout => '1 s'});
app(q{SELECT jobsched.alter_job('told late', on_success => 'app.sleeps')});
my $callback = callback_of(trigger('told late'));
is(ended($callback), 'timed_out timeout 57014', 'a function that takes too long');
is(told($callback), '0', 'tells nobody');
$callback = callback_of(trigger('told late', q{timeout => '1 h'}));
app(q{SELECT jobsched.drop_job('told late', cancel_running => true)});
is((split / /, ended($callback))[0], 'cancelled', 'one of a job that is dropped');
is(told($callback), '0', 'tells nobody');

# ------------------------------------------------------------------------
# A worker records it, of a job that is SQL
# ------------------------------------------------------------------------

app(q{CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF args ? 'fails' THEN
			RAISE EXCEPTION 'no';
		ELSIF args ? 'sleeps' THEN
			PERFORM pg_sleep(3600);
		END IF;
		RETURN args;
	END $$});

sub create_sql
{
	my ($name, $work, $more) = @_;
	return app(qq{SELECT jobsched.create_job('$name', $work, on_success => 'app.good', on_failure => 'app.bad'} . ($more ? ", $more)" : ')'));
}

sub wait_running
{
	my ($id) = @_;
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running WHERE run_id = $id)", 'it is executed');
	return $id;
}

create_sql('function', q{handler => 'app.work'}, q{max_attempts => 1});
create_sql('shares', q{handler => 'app.work'}, q{max_attempts => 1, share_transaction => true});
create_sql('command', q{command => 'SELECT 1; SELECT app.work(jobsched.args())'}, q{max_attempts => 1, mode => 'autocommit'});
my @sql_jobs = ('function', 'shares', 'command');
for my $job (@sql_jobs)
{
	$run_id = trigger($job);
	is(ended($run_id), 'succeeded', "$job: a run that succeeds");
	is(told($run_id), '1 good succeeded', 'tells on_success');
	$run_id = trigger($job, q{args => '{"fails": 1}'});
	is(ended($run_id), 'failed error P0001', "$job: one that fails");
	is(told($run_id), '1 bad failed error', 'tells on_failure');
	$run_id = trigger($job, q{args => '{"sleeps": 1}', timeout => '100 ms'});
	is(ended($run_id), 'timed_out timeout 57014', "$job: one that takes too long");
	is(told($run_id), '1 bad timed_out timeout', 'tells on_failure');
	$run_id = wait_running(trigger($job, q{args => '{"sleeps": 1}'}));
	app("SELECT jobsched.cancel_run($run_id)");
	is(ended($run_id), 'cancelled cancelled 57014', "$job: one that is cancelled while it is executed");
	is(told($run_id), '0', 'tells nobody');
	$run_id = trigger($job, q{run_at => now() + interval '1 day'});
	app("SELECT jobsched.cancel_run($run_id)");
	is(ended($run_id), 'cancelled cancelled', "$job: one that is cancelled while it waits");
	is(told($run_id), '0', 'tells nobody');
}

# Of several runs in one transaction each tells of its own end, also if they
# have to be executed one by one.
sub trigger_together
{
	my ($args) = @_;
	app(q{SELECT jobsched.pause_job('shares')});
	my @ids = split /\n/, app("SELECT jobsched.trigger_many('shares', ARRAY[$args]::jsonb[])");
	app(q{SELECT jobsched.resume_job('shares')});
	return @ids;
}

my @together = trigger_together(q('{}', '{"fails": 1}', '{}'));
is(join(', ', map { ended($_) } @together), 'succeeded, failed error P0001, succeeded', 'runs that share a transaction');
is(join(', ', map { told($_) } @together), '1 good succeeded, 1 bad failed error, 1 good succeeded', 'tell each of its own end');
@together = trigger_together(q('{}', '{"sleeps": 1}', '{}'));
wait_running($together[1]);
app("SELECT jobsched.cancel_run($together[1])");
is(join(', ', map { (split / /, ended($_))[0] } @together), 'succeeded, cancelled, succeeded', 'runs of which one is cancelled');
is(join(', ', map { told($_) } @together), '1 good succeeded, 0, 1 good succeeded', 'tell each of its own end');

for my $case ([ 'app.good', 'succeeded' ], [ 'app.fails', 'failed error P0001' ])
{
	my ($function, $end) = @{$case};
	app("SELECT jobsched.alter_job('function', on_success => '$function')");
	$callback = callback_of(trigger('function'));
	is(ended($callback), $end, "function: the run of $function");
	is(told($callback), '0', 'tells nobody');
}
$callback = app("SELECT jobsched.retry_run($callback)");
is(ended($callback), 'failed error P0001', 'the same, retried');
is(told($callback), '0', 'tells nobody');
app(q{SELECT jobsched.alter_job('function', on_success => 'app.good')});

create_sql('dropped sql', q{handler => 'app.work'});
$run_id = trigger('dropped sql', q{run_at => now() + interval '1 day'});
my $under_way = wait_running(trigger('dropped sql', q{args => '{"sleeps": 1}'}));
app(q{SELECT jobsched.drop_job('dropped sql', cancel_running => true)});
is((split / /, ended($_))[0], 'cancelled', 'a run of a job that is dropped') for $run_id, $under_way;
is(told($_), '0', 'tells nobody') for $run_id, $under_way;

# ------------------------------------------------------------------------
# The scheduler records it
# ------------------------------------------------------------------------

$run_id = trigger('ok', q{run_at => now() + interval '1 day'});
app("SELECT jobsched.cancel_run($run_id)");
is(ended($run_id), 'cancelled cancelled', 'a run that is cancelled while it waits');
is(told($run_id), '0', 'tells nobody');

$run_id = trigger('ok', q{run_at => now() + interval '1 day', idempotency_key => 'k', on_conflict => 'replace'});
my $second = trigger('ok', q{idempotency_key => 'k', on_conflict => 'replace'});
is(ended($run_id), 'cancelled replaced', 'a run that another one replaces');
is(told($run_id), '0', 'tells nobody');
is(ended($second), 'succeeded', 'that one');
is(told($second), '1 good succeeded', 'tells on_success');

create('dropped', 'text/x');
$run_id = trigger('dropped', q{run_at => now() + interval '1 day'});
app(q{SELECT jobsched.drop_job('dropped')});
is(ended($run_id), 'cancelled job_dropped', 'a run of a job that is dropped');
is(told($run_id), '0', 'tells nobody');

create('overlaps', 'gate/overlaps', q{schedule => 'every 1 second', overlap => 'replace'});
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'overlaps' AND status = 'cancelled' AND reason = 'replaced'},
	'a slot has taken the place of a run');
app(q{SELECT jobsched.drop_job('overlaps', cancel_running => true)});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run WHERE run_at < now()}, 'the queue is empty');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'overlaps' AND source = 'callback'}), '0', 'what a slot replaces tells nobody');

# The function cannot be called as long as there is no session; it is kept, and
# can be called when there is one.
psql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC, app');
$run_id = psql(q{SELECT jobsched.trigger('ok')});
is(ended($run_id), 'failed owner_cannot_connect 42501', 'a run that is refused for its owner');
is(told($run_id), '1', 'has somebody to tell');
$callback = callback_of($run_id);
is(ended($callback), 'failed owner_cannot_connect 42501', 'who is refused as well');
psql('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
is(ended(app("SELECT jobsched.retry_run($callback)")), 'succeeded', 'and is told later');
is(told($run_id), '1 bad failed owner_cannot_connect', 'that the run has failed');

psql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jobsched worker'");
$run_id = psql(q{SELECT jobsched.trigger('function')});
is(ended($run_id), 'failed owner_cannot_connect 42501', 'a run that is SQL, refused for its owner');
$callback = callback_of($run_id);
is(ended($callback), 'failed owner_cannot_connect 42501', 'who is to be told is refused as well');
psql('GRANT CONNECT ON DATABASE postgres TO PUBLIC');
is(ended(app("SELECT jobsched.retry_run($callback)")), 'succeeded', 'and is told later');
is(told($run_id), '1 bad failed owner_cannot_connect', 'that the run has failed');

# It may have left effects, for it is no transaction: else it would go back to the queue.
$run_id = wait_running(trigger('command', q{args => '{"sleeps": 1}'}));
psql("SELECT pg_terminate_backend(worker_pid) FROM jobsched.running WHERE run_id = $run_id");
like(ended($run_id), qr/^lost worker_died/, 'a run that is SQL loses its worker');
is(told($run_id), '1 bad lost worker_died', 'tells on_failure');

$run_id = hang('hangs');
kill 'TERM', http_worker_pid($node, $db);
like(ended($run_id), qr/^lost worker_died/, 'a run that loses its worker');
is(told($run_id), '1 bad lost worker_died', 'tells on_failure');

$run_id = hang('hangs');
my $sql_run = wait_running(trigger('command', q{args => '{"sleeps": 1}'}));
psql('CREATE TABLE on_disk (); DROP TABLE on_disk');
end_sessions($node);
kill_and_start($node);
wait_connection($node);
is(ended($run_id), 'lost server_restarted', 'a run that the end of the server cuts off');
is(told($run_id), '1 bad lost server_restarted', 'tells on_failure');
is(ended($sql_run), 'lost server_restarted', 'so does one that is SQL');
is(told($sql_run), '1 bad lost server_restarted', 'tells on_failure');

done_testing();
