# Copyright (c) 2026, jobsched contributors

# No room: files cannot grow (a limit for our processes stands for a full
# disk).  What cannot be written says so, no run is lost or done twice, health()
# tells the reason, and all goes on when there is room again.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Small WAL segments: a limit for the size of a file can be below that of a
# table and above that of WAL.
my $db = 'postgres';
my $node = jobsched_node('full', init => { extra => [ '--encoding=UTF8', '--locale=C', '--wal-segsize=4' ] }, conf => q{
max_wal_size = 64MB
log_statement = none
log_error_verbosity = terse
autovacuum = off
});
create_extension($node, $db);
effects_schema($node, $db);

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

psql(q{
	SET ROLE app;
	CREATE FUNCTION app.noise(bytes int) RETURNS text LANGUAGE sql AS
		$$ SELECT string_agg(md5(random()::text), '') FROM generate_series(1, bytes / 32) $$;
	SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
	SELECT jobsched.create_job('quick', handler => 'app.leave');
	SELECT jobsched.create_job('large', command => 'SELECT app.leave(NULL); SELECT app.noise(900000) AS noise')});

# From here on: each slot, each effect, once.
sub all_is_well
{
	my ($name) = @_;
	check_goes_on($node, $db, $name);
	psql(q{SELECT jobsched.alter_job('tick', enabled => false)});
	becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.run WHERE run_at <= now()}, '0', "$name: nothing is left behind");
	check_slots($node, $db, 'tick', 1, "$name: each slot once");
	check_exactly_once($node, $db, "$name: effects are the succeeded runs, each once");
	is(psql(q{SELECT string_agg("check", ', ') FROM jobsched.health() WHERE status = 'error'}), '', "$name: health() finds no fault");
	return psql(q{SELECT jobsched.alter_job('tick', enabled => true)});
}


my $postmaster = slurp_file($node->data_dir . '/postmaster.pid');
$postmaster =~ s/\n.*//s;

# Limits the size of files for our processes and those to come, or with undef
# gives it free again.
sub limit_files
{
	my ($bytes) = @_;
	my @pids = ($postmaster, scheduler_pid($node, $db), worker_pids($node, $db));
	my $limit = defined $bytes ? "$bytes:" : 'unlimited:';
	for my $pid (grep { $_ ne '' } @pids)
	{
		is(system('prlimit', "--pid=$pid", "--fsize=$limit"), 0, 'the limit is set') if kill 0, $pid;
	}
	return;
}

my $limit = 4 * 1024 * 1024;

# The file that large values of a table go to.
sub toast_size
{
	my ($table) = @_;
	return psql("SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'jobsched_internal.$table'::regclass");
}

check_goes_on($node, $db, 'at first');

# ------------------------------------------------------------------------
# History
# ------------------------------------------------------------------------

# The table that results go to is larger than a file may be.
psql(q{SELECT count(*) FROM jobsched.trigger_many('large', array_fill('{}'::jsonb, ARRAY[8]))});
becomes($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'large' AND status = 'succeeded'}, '8', 'large results');
cmp_ok(toast_size('history_000'), '>', $limit, 'they make a large file');
psql('CHECKPOINT');
limit_files($limit);
my ($run_id, $status) = run_job($node, $db, 'large');
is(psql("SELECT status, reason, error ~ 'could not extend file' FROM jobsched.runs WHERE run_id = $run_id"), 'failed|error|t',
	'the result cannot be written: the run has failed, and says why');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = $run_id"), '0', 'without effect');
my $worker = psql("SELECT worker_pid FROM jobsched.runs WHERE run_id = $run_id");
is(psql("SELECT count(*) FROM jobsched.workers WHERE pid = $worker"), '1', 'its worker stays');
check_goes_on($node, $db, 'no room for large results');
limit_files();
is((run_job($node, $db, 'large'))[1], 'succeeded', 'room again: it works');

# Nor can failures be recorded.
psql(q{
	SELECT jobsched.create_job('fails', command => $$
		DO 'BEGIN PERFORM app.leave(NULL); RAISE EXCEPTION ''large'' USING DETAIL = app.noise(16000), HINT = app.noise(16000); END'$$, mode => 'transaction', owner => 'app');
	SELECT count(*) FROM jobsched.trigger_many('fails', array_fill('{}'::jsonb, ARRAY[250]))});
becomes($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'fails' AND status = 'failed'}, '250', 'large errors');
cmp_ok(toast_size('history_100'), '>', $limit, 'they make a large file');
psql('CHECKPOINT');
limit_files($limit);
# Some may still find room in pages that the file has.
my $lost = q{FROM jobsched.runs WHERE job_name = 'fails' AND status = 'lost'};
for (1 .. 40)
{
	psql(q{SELECT count(*) FROM jobsched.trigger_many('fails', array_fill('{}'::jsonb, ARRAY[10]))});
	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run r JOIN jobsched.jobs j USING (job_id) WHERE j.name = 'fails'}, 'they have ended');
	last if psql("SELECT count(*) $lost") > 0;
}
is(psql("SELECT DISTINCT reason, attempt $lost"), 'worker_died|4', 'the failure cannot be written: tried again three times, then lost');
is(psql("SELECT bool_and(error ~ 'could not extend file') $lost"), 't', 'which says why');
check_goes_on($node, $db, 'no room for failures');
limit_files();
is((run_job($node, $db, 'fails'))[1], 'failed', 'room again: it is recorded');
all_is_well('there was no room for history');

# ------------------------------------------------------------------------
# The queue
# ------------------------------------------------------------------------

# Nor can the scheduler write.  (A session that has come before can.)  The queue is larger than a file may be, and
# each page of it as full as it may be.
psql(q{SELECT count(*) FROM jobsched.trigger_many('quick', array_fill('{"a": 1}'::jsonb, ARRAY[30000]), run_at => now() + interval '1 day')});
cmp_ok(psql(q{SELECT pg_relation_size('jobsched_internal.run')}), '>', $limit, 'a long queue');
psql(q{
	SELECT jobsched.create_job('tick ' || i, '* * * * * *', handler => 'app.leave', owner => 'app') FROM generate_series(1, 20) i;
	CHECKPOINT});
check_goes_on($node, $db, 'a long queue');
my $since = psql('SELECT clock_timestamp()');
my $session = $node->background_psql($db);
limit_files($limit);
becomes($node, $db, qq{SELECT message ~ 'could not (extend|write)' AND value::timestamptz > '$since' FROM jobsched.health() WHERE "check" = 'last_error'}, 't', 'the queue cannot grow: health() tells');
is(psql(q{SELECT count(*) FROM jobsched.jobs WHERE state = 'invalid'}), '0', 'no job is to blame');
my $waiting = $session->query_safe(q{SELECT jobsched.trigger('quick')});
limit_files();
$session->quit;
becomes($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $waiting", 'succeeded', 'room again: what was triggered meanwhile runs');
wait_scheduler($node, $db);
check_goes_on($node, $db, 'room again');
is(psql(q{SELECT count(*) FROM jobsched.jobs WHERE state = 'invalid'}), '0', 'no job is to blame afterwards either');
psql(q{SELECT jobsched.alter_job(name, enabled => false) FROM jobsched.jobs WHERE name LIKE 'tick %'});
becomes($node, $db, q{SELECT count(*) FROM jobsched_internal.run WHERE run_at <= now() AND source = 'schedule'}, '0', 'nothing is left behind');
check_slots($node, $db, "tick $_", 1, "tick $_: each slot once") for (1, 20);
psql(q{SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name LIKE 'tick %'});
all_is_well('the queue could not grow');
check_log($node, allow => qr/could not (extend|write)/);
$node->stop;
done_testing();
