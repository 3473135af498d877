# Copyright (c) 2026, jobsched contributors

# One scheduler and a few workers serve all roles: what one of them does, the
# others hardly notice.  The bounds are far below what each of these did before
# there were shares, and far above what it takes on a busy machine.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $db = 'postgres';
my $node = jobsched_node('shares', conf => "jobsched.cancel_grace = '500ms'\n");
create_extension($node, $db);
$node->safe_psql($db, q{
	CREATE ROLE hog LOGIN; CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC; GRANT CREATE ON SCHEMA public TO hog});

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

# How long a run of a role's job takes from trigger() to its end.
sub latency
{
	my ($role, $job) = @_;
	my $begin = time();
	my $run_id = session_sql($node, $db, $role, "SELECT jobsched.trigger('$job')");

	session_sql($node, $db, $role, "CALL jobsched.wait_run($run_id, '180 s') \\g /dev/null");
	return time() - $begin;
}

# The longest of several, while something else goes on.
sub worst_latency
{
	my ($role, $job, $times) = @_;
	my $worst = 0;

	for my $i (1 .. $times)
	{
		my $took = latency($role, $job);
		$worst = $took if $took > $worst;
	}
	return $worst;
}

sql_as($node, $db, $_, q{SELECT jobsched.create_job('quick', command => 'SELECT 1')}) for ('ann', 'bob');

# ------------------------------------------------------------------------
# Bounds
# ------------------------------------------------------------------------

my @too_large = (
	q{SELECT jobsched.create_job('x', command => 'SELECT 1', description => repeat('x', 2000000))},
	q{SELECT jobsched.create_job('x', command => 'SELECT ' || repeat('1+', 1000000) || '1')},
	q{SELECT jobsched.create_job('x', command => 'SELECT 1', args => jsonb_build_object('a', repeat('x', 2000000)))},
	q{SELECT jobsched.create_job('x', command => 'SELECT 1', metadata => jsonb_build_object('a', repeat('x', 2000000)))},
	q{SELECT jobsched.alter_job('quick', description => repeat('x', 2000000))},
	q{SELECT jobsched.pause_job('quick', repeat('x', 20000))},
	q{SELECT jobsched.trigger('quick', jsonb_build_object('a', repeat('x', 20000000)))},
	q{SELECT jobsched.trigger_many('quick', ARRAY['{}', jsonb_build_object('a', repeat('x', 20000000))])});

for my $sql (@too_large)
{
	my $error = error_of($node, $db, $sql, 'ann');
	like($error, qr/JS054: .* bytes, more than the .* allowed.*HINT: /s, 'too large: ' . substr($sql, 16, 50))
	  or diag substr($error, 0, 500);
}
is(psql(q{SELECT count(*) FROM jobsched_internal.run}), '0', 'nothing of it was queued');
for my $setting ('max_job_size', 'max_args_size', 'max_queue_memory', 'spare_workers')
{
	like(error_of($node, $db, "SET jobsched.$setting = 100000", 'ann'), qr/55P02/, "no session sets jobsched.$setting");
	like(error_of($node, $db, "ALTER ROLE ann SET jobsched.$setting = 100000", 'ann'), qr/ERROR/, "nor does a role");
}
set_setting($node, 'jobsched.max_job_size', '4MB');
is(error_of($node, $db, q{SELECT jobsched.alter_job('quick', description => repeat('x', 2000000))}, 'ann'), '', 'a superuser can raise a bound');
set_setting($node, 'jobsched.max_job_size', undef);
is(error_of($node, $db, q{SELECT jobsched.alter_job('quick', enabled => true)}, 'ann'), '', 'what was larger before can be changed');
is(error_of($node, $db, q{SELECT jobsched.alter_job('quick', description => '')}, 'ann'), '', 'and shrink');

# ------------------------------------------------------------------------
# Rows that are larger than they may be
# ------------------------------------------------------------------------

sql_as($node, $db, 'hog', q{
	SELECT jobsched.create_job('huge ' || i, command => 'SELECT 1', args => '{"k": 1}', keys => '{"k:{{args.k}}"}') FROM generate_series(1, 12) i;
	SELECT jobsched.create_job('waiting', command => 'SELECT 1');
	SELECT count(*) FROM jobsched.trigger_many('waiting', array_fill('{}'::jsonb, ARRAY[30]), run_at => now() + interval '1 day')});
psql(q{UPDATE jobsched_internal.job SET description = repeat('x', 50000000) WHERE name = 'huge 1'});
psql(q{UPDATE jobsched_internal.job SET description = (SELECT description FROM jobsched_internal.job WHERE name = 'huge 1') WHERE name LIKE 'huge %'});
psql(q{UPDATE jobsched_internal.run r SET args = jsonb_build_object('a', repeat('x', 20000000)) WHERE job_id = (SELECT job_id FROM jobsched_internal.job WHERE name = 'waiting')});
my $cpu = 0;
my $scheduler;
for my $i (1 .. 3)
{
	$scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	wait_new_scheduler($node, $db, $scheduler);
	in_time($node, latency('ann', 'quick'), 5, 'what is large is not waited for when a scheduler starts');
	$cpu += scheduler_cpu();
}
cmp_ok($cpu, '<', 1, "it reads none of that ($cpu s)");
psql(q{UPDATE jobsched_internal.job SET schedule = '* * * * * *', first_run_at = now(), revision = revision + 1, schedule_revision = schedule_revision + 1 WHERE name = 'huge 1'});
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
wait_value($node, $db, q{SELECT state || ': ' || state_reason FROM jobsched.jobs WHERE name = 'huge 1'},
	'invalid: its definition is larger than jobsched.max_job_size', 'a job that is too large to be read is invalid');
psql(q{SELECT count(*) FROM jobsched.cancel_runs('waiting')});
in_time($node, worst_latency('ann', 'quick', 3), 5, 'runs that are too large end without being in the way');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'waiting' AND status = 'cancelled'}, '30', 'all of them');
psql(q{UPDATE jobsched_internal.job SET description = NULL WHERE name LIKE 'huge %'});
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE owner = 'hog'});

# Of the process that there is now, in seconds.
sub scheduler_cpu
{
	my $pid = scheduler_pid($node, $db);
	my @fields = split / /, (slurp_file("/proc/$pid/stat") =~ s/^.*\) //r);
	return ($fields[11] + $fields[12]) / 100;
}

# ------------------------------------------------------------------------
# Places
# ------------------------------------------------------------------------

my $naps = sql_as($node, $db, 'hog', q{
	SELECT jobsched.create_job('nap', command => 'SELECT pg_sleep(600)');
	SELECT count(*) FROM jobsched.trigger_many('nap', array_fill('{}'::jsonb, ARRAY[8]))});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running WHERE job_name = 'nap'}, '4', 'a role alone has all places');
in_time($node, latency('ann', 'quick'), 5, 'a role that has none has its run started at once');
in_time($node, worst_latency('ann', 'quick', 5), 5, 'and again');
psql(q{CREATE ROLE fresh LOGIN});
sql_as($node, $db, 'fresh', q{SELECT jobsched.create_job('quick', command => 'SELECT 1'); SELECT jobsched.create_job('nap', command => 'SELECT pg_sleep(600)')});
in_time($node, latency('fresh', 'quick'), 5, 'also one that had no job before');
sql_as($node, $db, 'fresh', q{SELECT jobsched.trigger('nap')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running WHERE job_name = 'nap'}, '5', 'a second role has a long run');
in_time($node, latency('bob', 'quick'), 5, 'and a third is not kept waiting by the first');
is(psql(q{SELECT count(*) FROM jobsched.running WHERE job_name = 'nap'}), '5', 'all long runs go on');

# The same role in another database takes no spare place; another one does.
$node->safe_psql($db, 'CREATE DATABASE other');
create_extension($node, 'other');
$node->safe_psql('other', q{GRANT USAGE ON SCHEMA jobsched TO PUBLIC});
$node->safe_psql('other', q{SELECT jobsched.create_job('quick', command => 'SELECT 1', owner => 'hog')});
$node->safe_psql('other', q{SELECT jobsched.trigger('quick')});
$node->safe_psql('other', q{SELECT jobsched.create_job('quick', command => 'SELECT 1', owner => 'bob')});
my $begin = time();
my $run_id = sql_as($node, 'other', 'bob', q{SELECT jobsched.trigger('quick')});
wait_run_state($node, 'other', $run_id, 'succeeded');
in_time($node, time() - $begin, 5, 'places are shared with other databases');
is($node->safe_psql('other', q{SELECT count(*) FROM jobsched.runs WHERE status = 'queued' AND owner = 'hog'}), '1', 'where a role that has several has no further one');

# Spare places are taken too: the first run that ends makes room.
psql(q{CREATE ROLE late LOGIN; CREATE ROLE later LOGIN});
sql_as($node, $db, $_, q{SELECT jobsched.create_job('nap', command => 'SELECT pg_sleep(600)'); SELECT jobsched.trigger('nap')}) for ('late', 'later');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running WHERE job_name = 'nap'}, '6', 'all places, and the spare ones, are taken');
my $waiting = psql(q{SELECT owner FROM jobsched.runs WHERE job_name = 'nap' AND status = 'queued' AND owner <> 'hog'});
psql(q{SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.running WHERE owner = 'hog'});
wait_value($node, $db, qq{SELECT count(*) FROM jobsched.running WHERE owner = '$waiting'}, '1', 'the first place that gets free is for who has none');
is(psql(q{SELECT count(*) FROM jobsched.running WHERE owner = 'hog'}), '3', 'not for who has several');

# Roles that have none wait in turn, whatever database they wait in.
sub has_asked
{
	my ($where, $role, $ready) = @_;

	sql_as($node, $where, $role, q{SELECT jobsched.create_job('doze', command => 'SELECT pg_sleep(600)'); SELECT jobsched.trigger('doze')});
	wait_value($node, $where, 'SELECT ready FROM jobsched_internal.scheduler()', $ready, "$role waits in $where");
}

my @dozing = (
	$db => q{SELECT string_agg(owner::text, ',' ORDER BY started_at) FROM jobsched.running WHERE job_name = 'doze'},
	other => q{SELECT string_agg(owner::text, ',' ORDER BY started_at) FROM jobsched.running WHERE job_name = 'doze'});
psql(q{SELECT jobsched.cancel_runs(status => 'queued')});
wait_value($node, $db, 'SELECT ready FROM jobsched_internal.scheduler()', '0', 'nobody else waits here');
has_asked('other', 'bob', 2);
has_asked($db, 'ann', 1);
psql(q{CREATE ROLE third LOGIN});
has_asked($db, 'third', 2);
psql(q{SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.running WHERE owner = 'hog'});
wait_value($node, 'other', $dozing[3], 'bob', 'the first one in another database gets the first place');
is(psql($dozing[1]), '', 'not the one that came after it');
psql(q{SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.running WHERE owner = 'hog'});
wait_value($node, $db, $dozing[1], 'ann', 'then comes the second one');
psql(q{SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.runs WHERE owner = 'third' AND status = 'queued'});
wait_value($node, $db, 'SELECT ready FROM jobsched_internal.scheduler()', '0', 'the third one is called off');
$node->safe_psql('other', q{SELECT jobsched.cancel_runs(status => 'running')});
psql(q{SELECT jobsched.cancel_runs(status => 'running')});
wait_value($node, 'other', q{SELECT count(*) FROM jobsched.runs WHERE owner = 'hog' AND status = 'queued'}, '0', 'and when nobody waits, a role that has several gets one more');
wait_drained($node, $db);
wait_value($node, $db, q{SELECT count(*) <= 4 FROM jobsched.workers}, 't', 'more workers than there should be leave');

# ------------------------------------------------------------------------
# A job that is changed all the time
# ------------------------------------------------------------------------

sql_as($node, $db, 'hog', q{
	SELECT jobsched.create_job('crowd', command => 'SELECT 1');
	SELECT count(*) FROM jobsched.trigger_many('crowd', array_fill('{}'::jsonb, ARRAY[100000]), run_at => now() + interval '1 day')});
my $changes = $node->background_psql($db, extra_params => [ '-U', 'hog' ]);
$changes->query_until(qr/begun/, q{
	CREATE PROCEDURE public.change() LANGUAGE plpgsql AS $$ BEGIN
		FOR i IN 1 .. 1000000 LOOP
			PERFORM jobsched.pause_job('crowd'); COMMIT;
			PERFORM jobsched.alter_job('crowd', max_concurrency => 1 + i % 5); COMMIT;
			PERFORM jobsched.resume_job('crowd'); COMMIT;
		END LOOP; END $$;
	\echo begun
	CALL public.change();
});
in_time($node, worst_latency('ann', 'quick', 20), 3, 'a job with many runs that is changed all the time');
psql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL public.change%'});
eval { $changes->quit };
sql_as($node, $db, 'hog', q{SELECT jobsched.resume_job('crowd'); SELECT jobsched.alter_job('crowd', max_concurrency => 0)});

# Changed with all its runs ready: none starts.
sql_as($node, $db, 'hog', q{
	SELECT jobsched.create_job('ready', command => 'SELECT pg_sleep(0.01)');
	SELECT count(*) FROM jobsched.trigger_many('ready', array_fill('{}'::jsonb, ARRAY[30000]))});
wait_until($node, $db, q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'ready' AND status = 'succeeded'}, 'some have run');
sql_as($node, $db, 'hog', q{SELECT jobsched.pause_job('ready')});
in_time($node, latency('ann', 'quick'), 3, 'a job with many ready runs is paused');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running WHERE job_name = 'ready'}, '0', 'its runs end');
my $done = psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'ready' AND status = 'succeeded'});
in_time($node, worst_latency('ann', 'quick', 5), 3, 'others go on');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'ready' AND status = 'succeeded'}), $done, 'and none of it starts');
sql_as($node, $db, 'hog', q{SELECT jobsched.drop_job('ready'); SELECT jobsched.drop_job('crowd')});
wait_drained($node, $db);

# ------------------------------------------------------------------------
# Memory
# ------------------------------------------------------------------------

# Memory of its own.
sub scheduler_kb
{
	my $pid = scheduler_pid($node, $db);
	return (slurp_file("/proc/$pid/status") =~ /RssAnon:\s+(\d+)/)[0];
}

$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
latency('ann', 'quick');
my $before = scheduler_kb();
sql_as($node, $db, 'hog', q{
	SELECT jobsched.create_job('keyed', command => 'SELECT 1', keys => '{"a{{args.i}}","b{{args.i}}","c{{args.i}}","d{{args.i}}","e{{args.i}}","f{{args.i}}","g{{args.i}}","h{{args.i}}"}');
	SELECT jobsched.pause_job('keyed');
	SELECT count(*) FROM jobsched.trigger_many('keyed', (SELECT array_agg(jsonb_build_object('i', i)) FROM generate_series(1, 20000) i))});
in_time($node, latency('ann', 'quick'), 5, 'many keys are no reason to wait');
wait_until($node, $db, q{SELECT bool_and(r.ready >= 0) FROM jobsched_internal.scheduler() r}, 'it has stepped');
latency('ann', 'quick') for 1 .. 5;
my $per_run = (scheduler_kb() - $before) / 20000;
cmp_ok($per_run, '<', 5, "a run with 8 keys of its own takes less than 5 kB ($per_run)");

# Beyond its share a role's runs wait in the table; all are executed.
sql_as($node, $db, 'hog', q{SELECT jobsched.drop_job('keyed')});
wait_drained($node, $db);
set_setting($node, 'jobsched.max_queue_memory', '1MB');
$scheduler = scheduler_pid($node, $db);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
latency('ann', 'quick');
$before = scheduler_kb();
sql_as($node, $db, 'hog', q{
	SELECT jobsched.create_job('many', command => 'SELECT 1');
	SELECT jobsched.pause_job('many');
	SELECT count(*) FROM jobsched.trigger_many('many', array_fill('{}'::jsonb, ARRAY[30000]))});
latency('ann', 'quick') for 1 .. 5;
my $grown = scheduler_kb() - $before;
cmp_ok($grown, '<', 8000, "30000 runs of one role take no more than its share ($grown kB)");
my $last = psql(q{SELECT max(run_id) FROM jobsched_internal.run});
sql_as($node, $db, 'hog', "SELECT jobsched.cancel_run($last)");
wait_run_state($node, $db, $last, 'cancelled');
pass('one that is in the table only can be cancelled');
sql_as($node, $db, 'hog', q{SELECT jobsched.resume_job('many')});
wait_drained($node, $db);
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'many' AND status = 'succeeded'}), '29999', 'each of them is executed, once');
set_setting($node, 'jobsched.max_queue_memory', undef);

# So do requests beyond those that are served soon.
$before = scheduler_kb();
$last = sql_as($node, $db, 'hog', q{SELECT jobsched.trigger('many', run_at => now() + interval '1 day')});
sql_as($node, $db, 'hog', "SELECT count(jobsched.cancel_run($last)) FROM generate_series(1, 200000)");
latency('ann', 'quick') for 1 .. 5;
wait_value($node, $db, 'SELECT count(*) FROM jobsched_internal.run_stop', '0', 'all stops are served');
$grown = scheduler_kb() - $before;
cmp_ok($grown, '<', 10000, "200000 requests take no more than some of them ($grown kB)");

# ------------------------------------------------------------------------
# The session between two runs
# ------------------------------------------------------------------------

psql(q{
	CREATE ROLE slow LOGIN;
	ALTER ROLE slow SET default_transaction_isolation = 'serializable';
	ALTER ROLE slow SET default_transaction_read_only = on;
	ALTER ROLE slow SET default_transaction_deferrable = on;
	CREATE TABLE open_work (id int)});
psql(q{SELECT jobsched.create_job('calm', command => 'SET TRANSACTION ISOLATION LEVEL READ COMMITTED', owner => 'slow')});
my $superuser = getpwuid($<);
my $writer = $node->background_psql($db);
# It lasts until the end of this: who waits for it waits for all of wait_run()'s time.
$writer->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO open_work VALUES (1)');
in_time($node, latency($superuser, 'calm'), 100, 'no snapshot is waited for in our transactions');
in_time($node, latency($superuser, 'calm'), 100, 'nor between two runs');
wait_value($node, $db, q{SELECT count(*) FROM jobsched.running}, '0', 'the worker has come back');
$writer->quit;

# ------------------------------------------------------------------------
# What cannot be interrupted
# ------------------------------------------------------------------------

SKIP:
{
	skip 'PL/Perl is not there', 7 unless psql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'plperl'});
	psql(q{CREATE EXTENSION plperl; GRANT USAGE ON LANGUAGE plperl TO hog});
	sql_as($node, $db, 'hog', q{
		CREATE FUNCTION public.spin(jsonb) RETURNS jsonb LANGUAGE plperl AS $$ my $i = 0; while (1) { $i++ } $$;
		SELECT jobsched.create_job('spin', handler => 'public.spin', max_attempts => 1)});
	is(psql(q{SELECT status || ' ' || value FROM jobsched.health() WHERE "check" = 'unresponsive'}), 'ok 0', 'all react');
	my $spin = sql_as($node, $db, 'hog', q{SELECT jobsched.trigger('spin')});
	wait_run_state($node, $db, $spin, 'running');
	wait_until($node, $db, qq{SELECT started_at < clock_timestamp() - interval '1 s' FROM jobsched.running WHERE run_id = $spin}, 'it has begun a while ago');
	like(error_of($node, $db, 'DROP DATABASE other'), qr/55006: .*process \d+, which executes run $spin of role "hog".*HINT: .*kill -9/s,
		'DROP DATABASE says which process it would wait for');
	psql("SELECT jobsched.cancel_run($spin, force => true)");
	wait_value($node, $db, q{SELECT status FROM jobsched.health() WHERE "check" = 'unresponsive'}, 'warning', 'health() shows that it does not react');
	like(psql(q{SELECT value || ' ' || message FROM jobsched.health() WHERE "check" = 'unresponsive'}), qr/^pid \d+ .*run $spin .*has not reacted/, 'and which it is');
	my ($ret, $out, $err) = $node->psql($db, "SELECT jobsched.cancel_run($spin, force => true)");
	like($err, qr/WARNING:  run $spin does not react: its worker, process \d+/, 'cancel_run() says so');
	($ret, $out, $err) = $node->psql($db, "SELECT jobsched.reset_stuck('1 ms')");
	like($err, qr/WARNING:  run $spin does not react/, 'and reset_stuck()');
	in_time($node, worst_latency('ann', 'quick', 3), 5, 'others go on');
}

# ------------------------------------------------------------------------
# health() right after CREATE EXTENSION
# ------------------------------------------------------------------------

my @said;
for my $i (1 .. 6)
{
	$node->safe_psql($db, "CREATE DATABASE h$i");
	push @said, $node->safe_psql("h$i", q{CREATE EXTENSION jobsched;
		SELECT string_agg(value, ' ') FROM (SELECT value FROM generate_series(1, 50) i, LATERAL (SELECT * FROM jobsched.health() WHERE i > 0) h WHERE "check" = 'enabled') x});
}
unlike("@said", qr/off/, 'health() never says that it is off when it is not');

end_sessions($node);
$node->stop('immediate');
done_testing();
