# Copyright (c) 2026, jobsched contributors

# What a page asks besides views: who he is, what is dead and of what, since when
# the queue waits, and schedules while they are written.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $owners = $ENV{JOBSCHED_WHOAMI_OWNERS} || 200;
my $of_each = $ENV{JOBSCHED_WHOAMI_JOBS} || 5;
my $db = 'postgres';
my $node = jobsched_node('dashboard_sql', conf => q{
restart_after_crash = on
jobsched.max_workers = 1
jobsched.timezone = 'Europe/Berlin'
fsync = off
});

create_extension($node, $db);
define_clock($node, $db);

sub psql { return $node->safe_psql($db, $_[0]); }
sub as { return sql_as($node, $db, @_); }

sub error_as
{
	my ($role, $sql) = @_;

	return error_of($node, $db, "SET SESSION AUTHORIZATION $role; $sql");
}

psql(q{
	CREATE ROLE app LOGIN; CREATE ROLE other LOGIN; CREATE ROLE idle LOGIN; CREATE ROLE stranger LOGIN;
	CREATE ROLE boss LOGIN IN ROLE app, other, idle; CREATE ROLE above LOGIN IN ROLE boss;
	CREATE ROLE reluctant LOGIN NOINHERIT IN ROLE app; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	CREATE ROLE holder LOGIN; CREATE ROLE chief LOGIN SUPERUSER; CREATE ROLE gone LOGIN; CREATE ROLE shut_out LOGIN;
	ALTER DATABASE postgres OWNER TO holder;
	GRANT USAGE ON SCHEMA jobsched TO app, other, idle, stranger, boss, above, reluctant, watcher, holder, gone;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO app});

# ------------------------------------------------------------------------
# whoami()
# ------------------------------------------------------------------------

my $me = q{SELECT role, superuser, watches_all, COALESCE(manages::text, 'all'), may_stop, may_request FROM jobsched.whoami()};

is(as('app', $me), 'app|f|f|{}|f|t', 'nobody has jobs so far');
as($_, q{SELECT jobsched.create_job('same', command => 'SELECT 1 / 0', max_attempts => 1)}) for qw(app other gone);
as('idle', q{SELECT jobsched.create_job('dropped', command => 'SELECT 1'); SELECT jobsched.drop_job('dropped')});
as('other', q{SELECT jobsched.create_job('flow', steps => '[{"name": "a", "command": "SELECT 1 / 0"}]')});
is(as('app', $me), 'app|f|f|{app}|f|t', 'an owner, who may send requests');
is(as('idle', $me), 'idle|f|f|{}|f|f', 'one whose job is dropped');
is(as('stranger', $me), 'stranger|f|f|{}|f|f', 'a stranger');
is(as('boss', $me), 'boss|f|f|{app,other}|f|t', 'a member has what they have');
is(as('above', $me), 'above|f|f|{app,other}|f|t', 'also one of a member');
is(as('reluctant', $me), 'reluctant|f|f|{}|f|f', 'but not one who does not inherit');
is(as('reluctant', "SET ROLE app; $me"), 'app|f|f|{app}|f|t', 'unless he is that role');
is(as('watcher', $me), 'watcher|f|t|{}|f|f', 'pg_monitor sees all and manages none');
is(as('holder', $me), 'holder|f|f|{}|t|f', 'the owner of the database may stop processing');
is(as('chief', $me), 'chief|t|t|all|t|t', 'a superuser may all');
like(error_as('shut_out', $me), qr/42501/, 'without USAGE there is no answer');
is(as('app', q{SELECT database, server_version = current_setting('server_version'), version = (SELECT extversion FROM pg_extension WHERE extname = 'jobsched'),
	timezone, standby FROM jobsched.whoami()}), 'postgres|t|t|Europe/Berlin|f', 'and where he is');
is(as('app', q{SET jobsched.timezone = 'UTC'; SELECT timezone FROM jobsched.whoami()}), 'UTC', 'with the zone that a job would get');

# A job that has come from elsewhere is that of the role of its name, whoever has the OID.
psql(q{UPDATE jobsched_internal.job SET home = '00000000-0000-0000-0000-000000000001', owner_name = 'stranger' WHERE owner = 'gone'::regrole});
is(as('stranger', $me), 'stranger|f|f|{stranger}|f|f', 'a job from elsewhere belongs to a name');
is(as('gone', $me), 'gone|f|f|{}|f|f', 'and not to an OID');

sub fastest_ms
{
	my ($role, $sql) = @_;
	my @ms = split /\n/, as($role, join('', map { "SELECT clock_timestamp() AS began \\gset\nSELECT count(*) FROM ($sql) x \\gset ignored_\nSELECT extract(epoch FROM clock_timestamp() - :'began'::timestamptz) * 1000;\n" } 1 .. 5));

	return (sort { $a <=> $b } @ms)[0];
}

# So many owners, with so many jobs and steps each, one of them dropped.
psql(qq{
	SELECT format('CREATE ROLE many_%s', i) FROM generate_series(1, $owners) i \\gexec
	CREATE ROLE many LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO many;
	SELECT format('GRANT many_%s TO many', i) FROM generate_series(1, $owners) i \\gexec
	ALTER TABLE jobsched_internal.job DISABLE TRIGGER ALL;
	INSERT INTO jobsched_internal.job SELECT (jsonb_populate_record(j, jsonb_build_object('job_id', 1000000 + $of_each * i + n, 'name', 'many ' || n,
			'owner', ('many_' || i)::regrole::oid::bigint, 'owner_name', 'many_' || i, 'dropped_at', CASE WHEN n < $of_each OR i = 1 THEN now() END))).*
		FROM jobsched_internal.job j, generate_series(1, $owners) i, generate_series(1, $of_each) n WHERE j.name = 'same' AND j.owner = 'app'::regrole;
	ALTER TABLE jobsched_internal.job ENABLE TRIGGER ALL});
is(as('many', 'SELECT cardinality(manages) FROM jobsched.whoami()'), $owners - 1, 'many roles, but the one that has none any more');
my $ms = fastest_ms('many', 'SELECT * FROM jobsched.whoami()');
note("whoami() of $owners roles with $of_each jobs each: $ms ms");
cmp_ok($ms, '<', 500, 'and that is fast');
psql('DELETE FROM jobsched_internal.job WHERE job_id > 1000000');

# ------------------------------------------------------------------------
# Jobs of one name
# ------------------------------------------------------------------------

as($_, q{SELECT jobsched.trigger('same')}) for qw(app app other);
as('other', q{SELECT jobsched.trigger('flow')});
wait_drained($node, $db);
wait_value($node, $db, q{SELECT sum(runs) FROM jobsched.run_stats(NULL, NULL, NULL, 'same')}, '3', 'statistics have them');
my %id = map { $_ => psql("SELECT job_id FROM jobsched.jobs WHERE name = 'same' AND owner = '$_'") } qw(app other);
my $stats = 'SELECT COALESCE(sum(runs), 0) FROM jobsched.run_stats(NULL, NULL, NULL';
my $patterns = q{SELECT COALESCE(string_agg(concat_ws(' ', count, pattern), ', '), 'none') FROM jobsched.error_patterns('1 day'};
my $groups = q{SELECT COALESCE(string_agg(concat_ws(' ', job_name, owner, count, sqlstate, pattern), ', ' ORDER BY owner, job_name), 'none') FROM jobsched.dead_letter_groups(};

is(as('boss', "$stats, 'same')"), 3, 'run_stats(): a name is that of both');
is(as('boss', "$stats, 'same', owner => 'app')"), 2, 'with its owner of one');
is(as('boss', "$stats, job_id => $id{other})"), 1, 'or by its id');
is(as('boss', "$stats, job_id => $id{other}, metadata => '{\"a\": 1}')"), 0, 'that has to have the metadata, too');
is(as('boss', "$patterns, 'same')"), '3 division by zero', 'error_patterns(): a name is that of both');
is(as('boss', "$patterns, 'same', 'other')"), '1 division by zero', 'with its owner of one');
is(as('boss', "$patterns, job_id => $id{app})"), '2 division by zero', 'or by its id');
is(as('boss', "$patterns, 'flow', 'other')"), '1 division by zero', 'of a job made of steps those of its steps');
is(as('app', "$patterns, 'same', 'other')"), 'none', 'nothing of others');
is(as('app', "$patterns, job_id => $id{other})"), 'none', 'by an id neither');
is(as('app', "$patterns, 'same', 'no such role')"), 'none', 'nor of a role that is not there');

for my $call ("run_stats(NULL, NULL, NULL, ", "error_patterns('1 day', ", 'dead_letter_groups(')
{
	like(error_as('boss', "SELECT * FROM jobsched.${call}job => 'same', job_id => 1)"), qr/22023.*job_id is given with job.*Give either/s, "$call: either the one or the other");
	like(error_as('boss', "SELECT * FROM jobsched.${call}owner => 'app', job_id => 1)"), qr/22023.*job_id is given with owner/s, 'owner is part of the name');
	like(error_as('boss', "SELECT * FROM jobsched.${call}owner => 'app')"), qr/22004.*job cannot be NULL/s, 'and nothing without it');
}
like(error_as('app', "$stats, 'same', owner => 'other')"), qr/42704.*job "same" of role "other" does not exist/s, 'run_stats() says that there is none');
like(error_as('app', "$stats, job_id => $id{other})"), qr/42704.*job $id{other} does not exist/s, 'by id as well');
like(error_as('app', "$stats, 'same', owner => 'no such role')"), qr/42704/, 'and that there is no such role');

# ------------------------------------------------------------------------
# Jobs in order
# ------------------------------------------------------------------------

my $pages = 'SELECT name, job_id FROM jobsched.jobs';

psql(q{SELECT jobsched.create_job('page ' || n % 50, command => 'SELECT 1', owner => CASE WHEN n > 50 THEN 'app' ELSE 'other' END) FROM generate_series(1, 100) n});
is(as($_, "${pages}_by_name"), as($_, "$pages ORDER BY name, job_id"), "jobs_by_name: what $_ sees, in order") for qw(app boss stranger watcher chief);
is(psql('SELECT count(*) FROM (SELECT * FROM jobsched.jobs EXCEPT SELECT * FROM jobsched.jobs_by_name) d'), '0', 'with all columns');
psql('ANALYZE jobsched_internal.job');
like(psql("SET enable_seqscan = off; EXPLAIN SELECT * FROM jobsched.jobs_by_name WHERE name >= 'page 3' AND (name > 'page 3' OR job_id > 7) LIMIT 5"),
	qr/Index Scan using job_name.*\n.*Index Cond: .*name >= 'page 3'/, 'a page is read by the index');
{
	my $walked = '';
	my ($name, $id) = ('', 0);

	while (my @rows = split /\n/, as('boss', "${pages}_by_name WHERE name >= '$name' AND (name > '$name' OR job_id > $id) LIMIT 7"))
	{
		$walked .= "$_\n" for @rows;
		($name, $id) = split /\|/, $rows[-1];
	}
	is($walked =~ s/\n\z//r, as('boss', "$pages ORDER BY name, job_id"), 'page by page nothing is missing');
}
psql(q{SELECT jobsched.drop_job(job_id => job_id) FROM jobsched.jobs WHERE name LIKE 'page %'});
psql(q{CREATE DATABASE ordered TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8' ENCODING 'UTF8'});
create_extension($node, 'ordered');
$node->safe_psql('ordered', q{SELECT jobsched.create_job('page ' || n, command => 'SELECT 1') FROM generate_series(1, 500) n; ANALYZE jobsched_internal.job});
like($node->safe_psql('ordered', 'EXPLAIN SELECT * FROM jobsched.channels'), qr/Index Cond: .*\(name ~?>=~? 'channel:'/, 'channels are found among jobs by an index, whatever the order of names is');
psql('DROP DATABASE ordered WITH (FORCE)');
unlike(psql('EXPLAIN (COSTS OFF) SELECT * FROM jobsched.upcoming ORDER BY run_at LIMIT 5'), qr/Sort.*Subquery Scan on u\n/s, 'upcoming is in order before slots are computed');

# ------------------------------------------------------------------------
# Dead letters
# ------------------------------------------------------------------------

my $letters = 'SELECT sum(count) FROM jobsched.dead_letter_groups()';

is(as('app', "$groups)"), 'same app 2 22012 division by zero', 'one sees his own');
is(as('stranger', "$groups)"), 'none', 'or none');
is(as('watcher', "$groups 'same')"), 'same app 2 22012 division by zero, same other 1 22012 division by zero', 'pg_monitor all, by owner');
is(as('boss', "$groups 'same', owner => 'other')"), 'same other 1 22012 division by zero', 'of one of them');
is(as('boss', "$groups job_id => $id{app})"), 'same app 2 22012 division by zero', 'by id');
is(as('boss', "$groups 'no such job')"), 'none', 'of no job');
is(as('boss', 'SELECT count(*) FROM jobsched.dead_letters'), as('boss', $letters), 'as many as the view has');
is(as('app', q{SELECT first_at < last_at AND example_run_id = (SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'same' AND owner = 'app') FROM jobsched.dead_letter_groups()}), 't', 'from when to when, and the newest');
is(as('boss', 'SELECT array_agg(count) FROM jobsched.dead_letter_groups(max => 2)'), '{1,1}', 'only the newest');
is(as('boss', "SELECT count(*) FROM jobsched.dead_letter_groups(max => $_)"), '0', "max $_ is none") for (0, -1, -2147483648);
is(as('boss', "SELECT sum(count) FROM jobsched.dead_letter_groups(max => $_)"), '4', "max $_ is as many as can be") for ('NULL', 2147483647);
as('app', q{SELECT jobsched.redrive('same', max => 1)});
wait_drained($node, $db);
is(as('app', 'SELECT count(*) FROM jobsched.dead_letters'), as('app', $letters), 'one that is retried is dead no more');
as('app', q{SELECT jobsched.drop_job('same')});
is(as('app', q{SELECT job_name, job_id FROM jobsched.dead_letter_groups()}), "same|$id{app}", 'those of a dropped job stay');
is(as('app', q{SELECT count(*) FROM jobsched.dead_letter_groups('same')}), 1, 'and are found by its name');

# Runs that were skipped hide what is older than 50,000 of them, but not of a job that is named.
psql(q{
	INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, missed_count, priority, status, source, run_at, queued_at, finished_at, reason)
	SELECT 1000000 + n, (SELECT segment FROM jobsched_internal.ring WHERE ring = 1), 0, j.job_id, j.owner, 0, 0, 'skipped', 'schedule', now(), now(), now(), 'overlap'
	FROM generate_series(1, 50000) n, jobsched_internal.job j WHERE j.name = 'flow';
	ANALYZE jobsched_internal.history});
is(as('other', "$groups)"), 'none', 'what is read has a bound');
is(as('other', "$groups 'same')"), 'same other 1 22012 division by zero', 'for each job');
$ms = fastest_ms('chief', 'SELECT * FROM jobsched.dead_letter_groups()');
note("dead_letter_groups() behind 50,000 skipped runs: $ms ms");
cmp_ok($ms, '<', 2000, 'and that is fast');
psql('DELETE FROM jobsched_internal.history WHERE run_id > 1000000');

# ------------------------------------------------------------------------
# Since when the queue waits
# ------------------------------------------------------------------------

my $start = '2030-01-01 12:00:00+00';
my $oldest = q{SELECT COALESCE(to_char(oldest_ready_at AT TIME ZONE 'UTC', 'HH24:MI:SS'), 'none') FROM jobsched.dashboard_summary()};

sub is_oldest
{
	my ($expected, $name, $role) = @_;

	return is(as($role, $oldest), $expected, $name) if $role;
	return wait_value($node, $db, $oldest, $expected, $name);
}

sub gauge { return psql(q{SELECT substring(jobsched.metrics() FROM '\njobsched_queue_oldest_ready_seconds ([0-9.]+)\n')}); }

set_clock($node, $db, $start);
is_oldest('none', 'nothing waits');
is(gauge(), '0', 'nor does the gauge say so');
as('other', q{SELECT jobsched.create_job('late', command => 'SELECT 1'), jobsched.create_job('held', command => 'SELECT 1'), jobsched.create_job('one', command => 'SELECT 1', max_concurrency => 1)});
psql('ALTER SYSTEM SET jobsched.enabled = off');
psql('SELECT pg_reload_conf()');
wait_value($node, $db, 'SELECT processing FROM jobsched.dashboard_summary()', 'f', 'nothing starts');
as('other', q{SELECT jobsched.trigger('late', run_at => '2030-01-01 12:10:00+00')});
set_clock($node, $db, '2030-01-01 12:05:00+00');
as('other', q{SELECT jobsched.pause_job('held'); SELECT jobsched.trigger('held')});
as('app', q{SELECT jobsched.create_job('mine', command => 'SELECT 1')});
my $mine = as('app', q{SELECT jobsched.trigger('mine')});
is_oldest('12:05:00', 'since it was queued');
set_clock($node, $db, '2030-01-01 12:20:00+00');
wait_value($node, $db, 'SELECT ready FROM jobsched.dashboard_summary()', '2', 'another one is due');
is_oldest('12:05:00', 'the oldest counts, whatever its id');
is(gauge(), '900', 'so long it waits');
is_oldest('12:10:00', 'of a role its own: since it was due', 'other');
is_oldest('12:05:00', 'and of another', 'app');
is_oldest('none', 'and nobody else\'s', 'stranger');
is_oldest('12:05:00', 'pg_monitor sees all', 'watcher');
as('app', "SELECT jobsched.cancel_run($mine)");
is_oldest('12:10:00', 'one that is cancelled waits no more');
as('other', q{SELECT jobsched.resume_job('held')});
wait_value($node, $db, 'SELECT ready FROM jobsched.dashboard_summary()', '2', 'what was held is ready');
as('other', q{SELECT count(jobsched.cancel_run(run_id)) FROM jobsched.runs WHERE job_name = 'late' AND finished_at IS NULL});
is_oldest('12:20:00', 'since it is held no more');
as('other', q{SELECT count(jobsched.cancel_run(run_id)) FROM jobsched.runs WHERE finished_at IS NULL});
wait_drained($node, $db);
is_oldest('none', 'none is left');
is(gauge(), '0', 'nor in the gauge');

# Whoever says that a run is due since long has not made it wait for so long, before a crash and after it, when
# the clock is set back, too.
as('other', q{SELECT jobsched.trigger('late', run_at => '1999-01-01')});
is_oldest('12:20:00', 'a run waits since it was queued, if that was later');
kill 9, scheduler_pid($node, $db);
wait_connection($node, $db);
wait_scheduler($node, $db);
is_oldest('12:20:00', 'so it does after a crash');
is(gauge(), '0', 'and not for less than no time when the clock is set back');
as('other', q{SELECT count(jobsched.cancel_run(run_id)) FROM jobsched.runs WHERE finished_at IS NULL});
wait_drained($node, $db);
set_clock($node, $db, undef);

# Limits: the second waits for the first, and then for a worker.
as('other', q{SELECT jobsched.trigger('one') FROM generate_series(1, 3)});
wait_value($node, $db, 'SELECT ready, limited FROM jobsched.dashboard_summary()', '1|2', 'one is ready');
my $first = as('other', 'SELECT oldest_ready_at FROM jobsched.dashboard_summary()');
as('other', q{SELECT jobsched.cancel_run(min(run_id)) FROM jobsched.runs WHERE job_name = 'one' AND finished_at IS NULL});
wait_value($node, $db, "SELECT ready = 1 AND limited = 1 AND oldest_ready_at > '$first' FROM jobsched.dashboard_summary()", 't', 'the next one is, since it has its turn');
psql('ALTER SYSTEM RESET jobsched.enabled');
psql('SELECT pg_reload_conf()');
wait_drained($node, $db);
is_oldest('none', 'all have had their turn');

# ------------------------------------------------------------------------
# Schedules while they are written
# ------------------------------------------------------------------------

psql(q{
	CREATE FUNCTION public.probe(schedule text, timezone text DEFAULT 'Europe/Berlin') RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		began timestamptz := clock_timestamp();
		said text; detail text; hint text; state text;
	BEGIN
		BEGIN
			PERFORM jobsched.explain_schedule(schedule, timezone);
			PERFORM count(*) FROM jobsched.next_runs(schedule, timezone, n => 10);
			state := '00000';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			IF state <> '22023' OR COALESCE(hint, '') = '' OR length(said) > 300 THEN
				RETURN format('%s: %s %s, %s, %s', left(schedule, 100), state, said, detail, hint);
			END IF;
		END;
		IF clock_timestamp() - began > interval '1 s' THEN
			RETURN format('%s: %s', left(schedule, 100), clock_timestamp() - began);
		END IF;
		RETURN CASE WHEN state = '00000' THEN 'ok' END;
	END $$;
	CREATE TABLE public.written (schedule text);
	INSERT INTO public.written VALUES ('0 0 30 2 *'), ('0 9 * * 1-5'), ('*/15 8-18 * JAN-MAR MON-FRI'), ('0 0 L * *'), ('0 0 15W * *'), ('0 0 LW * *'), ('0 12 * * 5L'), ('0 12 * * FRI#3'),
		('H H(0-7) * * *'), ('30 0 9 1,15 * *'), ('@daily'), ('@yearly'), ('@startup'), ('@every 5m'), ('every 90 seconds'), ('every month'), ('EVERY 1000 years'), ('every 99999999999999999999 days'),
		('2030-01-31T09:30:00.123456+05:30'), ('2030-01-31 09:30'), ('2030-02-30T09:30:00Z'), ('TZ=UTC 0 0 * * *'), ('30 seconds'), ('daily'), ('0 0 29 2 *'), ('0 0 */29 2 1'), ('0 0 31 4,6,9,11 *'),
		('* * * * * * *'), ('0 0 * * ?'), ('0-59/61 * * * *'), ('5-1 * * * *'), ('1,2,,3 * * * *'), ('$ * * * *'), ('0 0 $ * *'), ('-1 * * * *'), ('60 24 32 13 8'), ('99999999999999999999 * * * *')});
is(psql(q{SELECT string_agg(p, E'\n') FROM public.written w, generate_series(0, length(schedule)) n, public.probe(left(schedule, n)) p WHERE p <> 'ok'}), '', 'each beginning of a schedule is one, or is refused with a hint');
is(psql(q{SELECT string_agg(p, E'\n') FROM public.written w, generate_series(1, length(schedule)) n, public.probe(overlay(schedule PLACING '' FROM n FOR 1)) p WHERE p <> 'ok'}), '', 'also with a character left out');
is(psql(q{SELECT string_agg(p, E'\n') FROM (VALUES (''), (' '), (E'\t\n'), ('@'), ('every'), ('every '), ('*'), (repeat('*', 10000)), (repeat('1,', 5000)), (repeat(' ', 10000)), (repeat('0 0 1 1 * ', 1000)),
	(repeat('ä', 10000)), ('täglich'), (E'0 0 * * *\u00a0'), (E'\x7f'), (repeat('@', 1000)), ('every ' || repeat('9', 10000)), ('2030-' || repeat('1', 10000))) s (schedule), public.probe(schedule) p}), '', 'and what is none at all');
is(psql(q{SELECT string_agg(p, E'\n') FROM unnest(ARRAY['', 'E', 'Euro', 'Europe/', 'Europe/Berli', '+02', 'CEST', '../../etc/passwd', repeat('x', 10000)]) z, public.probe('@daily', z) p WHERE p <> 'ok'}), '', 'time zones likewise');
is(psql(q{SELECT public.probe('0 0 29 2 *'), public.probe('@daily'), public.probe('every 2 weeks')}), 'ok|ok|ok', 'what is one is said to be');
like(error_of($node, $db, q{SELECT jobsched.next_runs('@daily', n => 0)}), qr/22023.*invalid number of runs: 0.*between 1 and 10000/s, 'a number that is none');
is(psql(q{SELECT jobsched.explain_schedule(NULL) IS NULL, (SELECT count(*) FROM jobsched.next_runs(NULL))}), 't|0', 'NULL is nothing');
$ms = fastest_ms('app', q{SELECT jobsched.explain_schedule(schedule), (SELECT count(*) FROM jobsched.next_runs(schedule)) FROM (VALUES ('0 0 29 2 *'), ('0 9 * * 1-5')) s (schedule)});
note("two schedules, explained and computed: $ms ms");
cmp_ok($ms, '<', 200, 'fast enough for each key');

$node->stop;
done_testing();
