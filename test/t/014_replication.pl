# Copyright (c) 2026, jobsched contributors

# Logical replication of all tables: runs go on, no statement of ours or about
# our tables is refused, and what arrives on a subscriber runs nothing there,
# whatever happens on the publisher.  A clone made of files, both servers
# running.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $publisher = jobsched_node('publisher', init => { allows_streaming => 'logical' }, conf => "jobsched.history_retention = '10 min'\n");
my $subscriber = jobsched_node('subscriber', conf => "max_logical_replication_workers = 10\nwal_retrieve_retry_interval = '200ms'\n");

# Each effect tells the server on which it came about.
sub prepare
{
	my ($node, $db) = @_;

	effects_schema($node, $db);
	return $node->safe_psql($db, q{
		ALTER TABLE app.effect ADD server text DEFAULT current_setting('cluster_name'), ADD id uuid DEFAULT gen_random_uuid() PRIMARY KEY});
}

sub make_jobs
{
	my ($node, $db) = @_;

	return sql_as($node, $db, 'app', q{
		SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
		SELECT jobsched.create_job('quick', handler => 'app.leave');
		SELECT jobsched.create_job('shares', handler => 'app.leave', share_transaction => true);
		SELECT jobsched.create_job('at start', '@startup', handler => 'app.leave');
		SELECT jobsched.create_job('fails', command => 'SELECT 1 / 0')});
}

# Runs of all kinds come to their ends.
sub goes_on
{
	my ($node, $db, $name) = @_;
	my $since = $node->safe_psql($db, 'SELECT clock_timestamp()');

	is((run_job($node, $db, 'quick'))[1] . ' ' . (run_job($node, $db, 'fails'))[1], 'succeeded failed', "$name: runs are triggered");
	$node->safe_psql($db, q{SELECT count(*) FROM jobsched.trigger_many('shares', array_fill('{"a": 1}'::jsonb, ARRAY[50]))});
	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run WHERE source = 'trigger' AND run_at < now()}, 'all have run');
	return wait_value($node, $db, "SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$since'",
		't', "$name: slots fire");
}

create_extension($publisher, $db);
prepare($publisher, $db);
make_jobs($publisher, $db);

# ------------------------------------------------------------------------
# The publisher
# ------------------------------------------------------------------------

$publisher->safe_psql($db, q{
	CREATE PUBLICATION everything FOR ALL TABLES;
	CREATE PUBLICATION ours FOR TABLES IN SCHEMA app;
	CREATE TABLE public.keyless (x int)});
is($publisher->safe_psql($db, q{SELECT count(*) > 30 FROM pg_publication_tables WHERE pubname = 'everything' AND schemaname = 'jobsched_internal'}),
	't', 'a publication of all tables has ours too');
like(error_of($publisher, $db, 'UPDATE public.keyless SET x = 1'), qr/55000.*replica identity/, 'and then the server refuses to change a table without key');
goes_on($publisher, $db, 'published');
$publisher->safe_psql($db, q{
	SELECT jobsched.alter_job('quick', description => 'changed');
	SELECT jobsched.pause_job('quick');
	SELECT jobsched.resume_job('quick');
	SELECT jobsched.create_job('brief', '* * * * *', 'SELECT 1');
	SELECT jobsched.trigger('brief', run_at => now() + interval '1 hour');
	SELECT jobsched.drop_job('brief');
	SELECT jobsched.adopt()});
goes_on($publisher, $db, 'after changes of jobs');

# Whoever has the rights can write to our tables.
is($publisher->safe_psql($db, q{
	DO $$
	DECLARE
		t regclass;
		c name;
	BEGIN
		FOR t, c IN SELECT r.oid, min(a.attname) FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = 2
			WHERE relnamespace = 'jobsched_internal'::regnamespace AND relkind IN ('r', 'p') GROUP BY 1 LOOP
			EXECUTE format('UPDATE %s SET %I = %2$I WHERE false', t, c);
			EXECUTE format('DELETE FROM %s WHERE false', t);
		END LOOP;
	END $$;
	SELECT 'all'}), 'all', 'UPDATE and DELETE are refused for none of our tables');

# The rings turn: a segment is emptied with TRUNCATE, which is published too.
define_clock($publisher, $db);
my $segment = $publisher->safe_psql($db, q{SELECT segment FROM jobsched_internal.ring WHERE ring = 0});
set_clock($publisher, $db, $publisher->safe_psql($db, q{SELECT clock_timestamp() + interval '150 s'}));
wait_value($publisher, $db, "SELECT segment <> $segment FROM jobsched_internal.ring WHERE ring = 0", 't', 'history turns to its next segment');
set_clock($publisher, $db, undef);
goes_on($publisher, $db, 'and runs go on');

# ------------------------------------------------------------------------
# A subscriber without the extension
# ------------------------------------------------------------------------

$subscriber->safe_psql('postgres', 'CREATE DATABASE bare');
$subscriber->safe_psql('postgres', 'CREATE ROLE app LOGIN');
$subscriber->safe_psql('bare', q{
	CREATE SCHEMA app;
	CREATE TABLE public.keyless (x int);
	CREATE TABLE app.effect (run_id bigint, job text, scheduled_for timestamptz, attempt int, server text, id uuid PRIMARY KEY)});
my $from = $publisher->connstr . " dbname=$db";
like(error_of($subscriber, 'bare', "CREATE SUBSCRIPTION all_of_it CONNECTION '$from' PUBLICATION everything"),
	qr/(42P01|3F000).*jobsched_internal/, 'all tables cannot be subscribed to where ours are not');
$subscriber->safe_psql('bare', "CREATE SUBSCRIPTION of_app CONNECTION '$from' PUBLICATION ours");
$subscriber->wait_for_subscription_sync($publisher, 'of_app', 'bare');
is($subscriber->safe_psql('bare', 'SELECT count(*) > 0, string_agg(DISTINCT server, $$ $$) FROM app.effect'), 't|publisher', 'but those of the application can');
goes_on($publisher, $db, 'subscribed to');
$publisher->safe_psql($db, q{SELECT jobsched.pause_job('tick')});
wait_until($publisher, $db, q{SELECT count(*) = 0 FROM jobsched_internal.run}, 'the queue is empty');
$publisher->wait_for_catchup('of_app');
my $effects = q{SELECT count(*), min(id::text), max(id::text) FROM app.effect};
is($subscriber->safe_psql('bare', $effects), $publisher->safe_psql($db, $effects), 'what runs do arrives there');
$publisher->safe_psql($db, q{SELECT jobsched.resume_job('tick')});
$subscriber->safe_psql('bare', 'DROP SUBSCRIPTION of_app');

# ------------------------------------------------------------------------
# A subscriber with the extension
# ------------------------------------------------------------------------

create_extension($subscriber, $db);
prepare($subscriber, $db);
$subscriber->safe_psql($db, q{
	CREATE TABLE public.keyless (x int);
	ALTER SEQUENCE jobsched_internal.job_id_seq RESTART 1000000;
	ALTER SEQUENCE jobsched_internal.run_id_seq RESTART 1000000;
	CREATE TABLE public.own_tick (at timestamptz DEFAULT clock_timestamp());
	SELECT jobsched.create_job('own', '* * * * * *', 'INSERT INTO public.own_tick DEFAULT VALUES')});
is($subscriber->safe_psql($db, q{SELECT oid FROM pg_database WHERE datname = current_database()}),
	$publisher->safe_psql($db, q{SELECT oid FROM pg_database WHERE datname = current_database()}),
	'both databases have the same OID, so that does not tell one from the other');
$subscriber->safe_psql($db, "CREATE SUBSCRIPTION everything CONNECTION '$from' PUBLICATION everything WITH (copy_data = false)");
$publisher->wait_for_catchup('everything');

# Jobs of the publisher arrive, with their states and runs.
$publisher->safe_psql($db, q{
	SET ROLE app;
	SELECT jobsched.create_job(name || ' arrives', schedule, handler => handler, command => command) FROM jobsched.jobs WHERE name <> 'brief'});
my $queued = $publisher->safe_psql($db, q{SELECT jobsched.trigger('quick arrives', run_at => clock_timestamp() + interval '1 s')});
$publisher->safe_psql($db, q{SELECT jobsched.trigger('quick arrives', run_at => now() + interval '1 hour')});
goes_on($publisher, $db, 'with a subscriber that has the extension');
$publisher->wait_for_catchup('everything');
is($subscriber->safe_psql($db, q{SELECT count(*) FROM jobsched_internal.job WHERE name LIKE '% arrives'}), '5', 'jobs arrive');

# Nothing of what has arrived runs, whoever reads it and when; what is the
# subscriber's own does.
sub nothing_runs
{
	my ($name) = @_;
	my $scheduler = scheduler_pid($subscriber, $db);
	my $since;

	$publisher->wait_for_catchup('everything');
	kill 'TERM', $scheduler;
	wait_new_scheduler($subscriber, $db, $scheduler);
	$since = $subscriber->safe_psql($db, 'SELECT clock_timestamp()');
	is($subscriber->safe_psql($db, q{SELECT string_agg(DISTINCT state, ' ') FROM jobsched.jobs WHERE name LIKE '% arrives'}), 'asleep', "$name: they are asleep");
	if (is($subscriber->safe_psql($db, q{SELECT state FROM jobsched.jobs WHERE name = 'own'}), 'active', "$name: the subscriber's own job is not"))
	{
		wait_value($subscriber, $db, "SELECT count(*) > 1 FROM public.own_tick WHERE at > '$since'", 't', "$name: it runs");
	}
	else
	{
		wait_until($publisher, $db, qq{SELECT clock_timestamp() > '$since'::timestamptz + interval '2 s'}, 'two slots have passed');
	}
	is($subscriber->safe_psql($db, q{SELECT string_agg(DISTINCT server, ' ') FROM app.effect}), 'publisher', "$name: and have not run there");
	is($subscriber->safe_psql($db, q{SELECT count(*) FROM (SELECT run_id FROM app.effect GROUP BY 1 HAVING count(*) > 1) d}), '0', "$name: no effect twice");
	return;
}

# Who waited for whom of what has failed is moved on the publisher, though the subscriber may
# come by it before.
my $parent = $publisher->safe_psql($db, q{SELECT jobsched.trigger('quick arrives', run_at => now() + interval '1 hour')});
my $waiting = $publisher->safe_psql($db, "SELECT jobsched.trigger('quick arrives', after => '{$parent}')");
my $gate = close_gate($publisher, $db, "SELECT FROM jobsched_internal.dependency WHERE run_id = $waiting FOR UPDATE");
$publisher->safe_psql($db, "SELECT jobsched.cancel_run($waiting)");
wait_run_state($publisher, $db, $waiting, 'cancelled');
nothing_runs('arrived');
$gate->quit;
wait_value($publisher, $db, "SELECT count(*) FROM jobsched_internal.waited WHERE run_id = $waiting", '1', 'the publisher moves a row');
$publisher->wait_for_catchup('everything');
is($subscriber->safe_psql($db, "SELECT (SELECT count(*) FROM jobsched_internal.dependency WHERE run_id = $waiting), (SELECT count(*) FROM jobsched_internal.waited WHERE run_id = $waiting)"),
	'0|1', 'and so does the subscriber');
$subscriber->restart;
wait_scheduler($subscriber, $db);
nothing_runs('after a restart');
goes_on($publisher, $db, 'after that the publisher');

# That the publisher renews its identity, and in the end has the same
# jobsched.instance_id as before, makes the subscriber no other.
for my $id ('changed', '')
{
	$publisher->append_conf('postgresql.conf', "jobsched.instance_id = '$id'\n");
	$publisher->restart;
	wait_scheduler($publisher, $db);
	cmp_ok($publisher->safe_psql($db, 'SELECT jobsched.adopt()'), '>', 0, "the publisher is adopted as '$id'");
	goes_on($publisher, $db, 'adopted');
}
nothing_runs('adopted on the publisher');
$subscriber->safe_psql($db, 'DROP SUBSCRIPTION everything');

# ------------------------------------------------------------------------
# A subscriber that has a part of the copy when its scheduler starts
# ------------------------------------------------------------------------

# What history has is not added to states of jobs that are about to arrive.
$publisher->safe_psql($db, q{
	DO $$
	BEGIN
		EXECUTE (SELECT 'CREATE PUBLICATION part FOR TABLE ' || string_agg(format('%I.%I', schemaname, tablename), ', ')
			FROM pg_publication_tables WHERE pubname = 'everything' AND schemaname = 'jobsched_internal' AND tablename <> 'job_state');
	END $$});
$subscriber->safe_psql('postgres', 'CREATE DATABASE part');
create_extension($subscriber, 'part');
$subscriber->safe_psql('part', "CREATE SUBSCRIPTION part CONNECTION '$from' PUBLICATION part");
$subscriber->wait_for_subscription_sync($publisher, 'part', 'part');
my $of_part = scheduler_pid($subscriber, 'part');
kill 'TERM', $of_part;
wait_new_scheduler($subscriber, 'part', $of_part);
is($subscriber->safe_psql('part', q{SELECT count(*) > 0 FROM jobsched.runs WHERE status = 'failed'}), 't', 'history without states of jobs has arrived');
is($subscriber->safe_psql('part', q{SELECT count(*) FROM jobsched_internal.job_state}), '0', 'and the scheduler makes no states of it');
$subscriber->safe_psql('part', 'DROP SUBSCRIPTION part');

# ------------------------------------------------------------------------
# A subscriber that gets a copy of all there is
# ------------------------------------------------------------------------

$subscriber->safe_psql('postgres', 'CREATE DATABASE full_copy');
create_extension($subscriber, 'full_copy');
prepare($subscriber, 'full_copy');
$subscriber->safe_psql('full_copy', 'CREATE TABLE public.keyless (x int)');
$subscriber->safe_psql('full_copy', "CREATE SUBSCRIPTION full_copy CONNECTION '$from' PUBLICATION everything");
wait_until($subscriber, 'full_copy', q{SELECT srsubstate = 'r' FROM pg_subscription_rel WHERE srrelid = 'app.effect'::regclass}, 'the table of the application is copied');
pass('all tables, with what they hold: the table of the application arrives');
wait_until($subscriber, 'full_copy', q{SELECT srsubstate = 'r' FROM pg_subscription_rel WHERE srrelid = 'jobsched_internal.job'::regclass}, 'jobs are copied');
my $pid = scheduler_pid($subscriber, 'full_copy');
kill 'TERM', $pid;
wait_new_scheduler($subscriber, 'full_copy', $pid);
is($subscriber->safe_psql('full_copy', q{SELECT string_agg(DISTINCT state, ' ') FROM jobsched.jobs}), 'asleep', 'jobs too, asleep');
is($subscriber->safe_psql('full_copy', q{SELECT status FROM jobsched.health() WHERE "check" = 'identity'}), 'warning', 'health() says so');
goes_on($publisher, $db, 'meanwhile the publisher');
$publisher->wait_for_catchup('full_copy');
is($subscriber->safe_psql('full_copy', q{SELECT string_agg(DISTINCT server, ' ') FROM app.effect}), 'publisher', 'nothing runs there');
wait_value($subscriber, 'full_copy', q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')},
	'0', 'the copy of each table comes to its end');

# It takes over: what has been copied runs there from now on.  Sequences are
# not replicated; new runs and jobs have ids of their own all the same.
$subscriber->safe_psql('full_copy', 'DROP SUBSCRIPTION full_copy');
$publisher->stop;
# Its last outcomes have not been added up yet, as far as the copy knows.
$subscriber->safe_psql('full_copy', q{UPDATE jobsched_internal.job_state
	SET last_finished_at = last_finished_at - interval '1 hour', consecutive_failures = 0, recent = ''});
# Nor has the row been deleted that says for whom a run has waited.
$subscriber->safe_psql('full_copy', "INSERT INTO jobsched_internal.dependency VALUES ($waiting, $parent)");
my $adopted = $subscriber->safe_psql('full_copy', 'SELECT jobsched.adopt()');
cmp_ok($adopted, '>=', 10, 'adopt() wakes the jobs of the copy');
wait_value($subscriber, 'full_copy', q{SELECT consecutive_failures > 0 AND recent LIKE '%F' FROM jobsched.jobs WHERE name = 'fails'}, 't',
	'and what has become of their runs is read back');
wait_value($subscriber, 'full_copy', "SELECT count(*) FROM jobsched_internal.dependency WHERE run_id = $waiting", '0', 'and what is left of one that has waited is deleted');
goes_on($subscriber, 'full_copy', 'adopted');
my $new = $subscriber->safe_psql('full_copy', q{SELECT max(job_id) FROM jobsched.jobs});
is(error_of($subscriber, 'full_copy', q{SELECT jobsched.create_job('new', command => 'SELECT 1')}), '', 'adopted: a new job is defined');
cmp_ok($subscriber->safe_psql('full_copy', q{SELECT job_id FROM jobsched.jobs WHERE name = 'new'}) || 0, '>', $new, 'with an id of its own');
$publisher->start;
wait_scheduler($publisher, $db);

# ------------------------------------------------------------------------
# A clone
# ------------------------------------------------------------------------

# Both are alike down to the last block but for the setting.
$publisher->safe_psql($db, q{SELECT jobsched.pause_job('quick')});
my $later = $publisher->safe_psql($db, q{SELECT jobsched.trigger('quick')});
$publisher->backup('clone');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($publisher, 'clone');
$clone->append_conf('postgresql.conf', "jobsched.instance_id = 'clone'\n");
$clone->start;
wait_scheduler($clone, $db);
is($clone->safe_psql($db, q{SELECT string_agg(DISTINCT state, ' ') FROM jobsched.jobs WHERE name <> 'brief'}), 'asleep', 'a clone that has been told so: jobs sleep');
is($clone->safe_psql($db, q{SELECT status, value FROM jobsched.health() WHERE "check" = 'identity'}), 'warning|copy', 'health() says so');
$publisher->safe_psql($db, q{SELECT jobsched.resume_job('quick')});
wait_run_state($publisher, $db, $later, 'succeeded');
my $resumed = $clone->safe_psql($db, q{SELECT jobsched.resume_job('quick')::text || clock_timestamp()});
wait_until($clone, $db, qq{SELECT last_active_at > '$resumed' FROM jobsched_internal.scheduler()}, 'the scheduler of the clone has seen that it is resumed');
is($clone->safe_psql($db, q{SELECT count(*) FROM app.effect WHERE server = 'clone'}), '0', 'nothing runs on the clone');
is($clone->safe_psql($db, "SELECT status FROM jobsched.runs WHERE run_id = $later"), 'queued', 'what was queued waits');
cmp_ok($clone->safe_psql($db, 'SELECT jobsched.adopt()'), '>', 5, 'adopt()');
goes_on($clone, $db, 'adopted');
goes_on($publisher, $db, 'and the original');

check_log($_) for ($publisher, $subscriber, $clone);
$_->stop for ($clone, $subscriber, $publisher);
done_testing();
