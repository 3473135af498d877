# Copyright (c) 2026, jobsched contributors

# pg_upgrade keeps jobs, where their schedules stand, the queue, history, logs,
# owners and privileges; no slot and no trigger runs twice, and the slots of the
# time without a server are one run.  test/upgrade.sh runs this with two
# servers: JOBSCHED_UPGRADE_FROM is where the old one is installed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/t";
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $from = $ENV{JOBSCHED_UPGRADE_FROM} or plan skip_all => 'JOBSCHED_UPGRADE_FROM is not set: run test/upgrade.sh';
my $db = 'shop';
my $copy = 'shop_copy';

# A server that is not started yet, of the old version or of the new one.
sub node
{
	my ($name, $install_path, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $install_path ? (install_path => $install_path) : ());

	# Checksums: both have to agree, and the defaults of 17 and 18 do not.
	$node->init(extra => [ '--encoding=UTF8', '--locale=C', '--data-checksums' ]);
	$node->append_conf('postgresql.conf', q{
max_worker_processes = 20
log_line_prefix = '%m [%p] %b %q%a '
} . $conf);
	return $node;
}

my $loaded = "shared_preload_libraries = 'jobsched'\njobsched.max_workers = 8\njobsched.instance_id = 'shop'\n";

sub bindir
{
	my ($node) = @_;
	return $node->config_data('--bindir');
}

# ------------------------------------------------------------------------
# The cluster to upgrade
# ------------------------------------------------------------------------

# Triggers a job whose first attempt holds; waits until it does.
sub hold
{
	my ($node, $job) = @_;
	my $run_id = $node->safe_psql($db, "SELECT jobsched.trigger('$job')");

	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
		WHERE r.run_id = $run_id AND a.wait_event = 'PgSleep')", "$job holds");
	return $run_id;
}

# Workflow runs and a batch in the middle: one in a step that is executed, one that has
# got one of two events, with another that nobody has waited for yet, and a batch of
# which one member is executed and others wait.
sub begin_trees
{
	my ($node) = @_;
	my ($flow, $waits, $batch, $next);

	sql_as($node, $db, 'app', q{
		SELECT jobsched.create_job('flow', steps => '[
			{"name": "first", "command": "SELECT 1 AS n"},
			{"name": "each", "for_each": "SELECT ''[1, 2]''::jsonb", "handler": "app.hold"},
			{"name": "bad", "handler": "app.fail", "after": ["first"], "max_attempts": 1, "optional": true},
			{"name": "sum", "command": "SELECT count(*) AS n FROM jobsched.step_results() WHERE status IN (''succeeded'', ''failed'')", "after": ["each", "bad"], "when": "done"}]');
		SELECT jobsched.create_job('asks', steps => '[
			{"name": "ask", "command": "SELECT jobsched.event(''yes'') || jobsched.event(''no'') AS n", "wait_for": ["yes", "no"], "wait_timeout": "1 day"},
			{"name": "later", "command": "SELECT jobsched.event(''early'') AS n", "wait_for": ["early"]},
			{"name": "clean", "command": "SELECT 1", "after": ["ask", "later"], "when": "always", "delay": "1 s"}]');
		CREATE FUNCTION app.hold_if(args jsonb) RETURNS void LANGUAGE sql AS
			'SELECT app.leave(args); SELECT pg_sleep(CASE WHEN args ? ''hold'' AND jobsched.attempt() = 1 THEN 3600 ELSE 0 END)';
		SELECT jobsched.create_job('one at a time', handler => 'app.hold_if', max_concurrency => 1);
		SELECT jobsched.create_job('totals', command => 'SELECT result AS n FROM jobsched.upstream()')});
	$flow = $node->safe_psql($db, q{SELECT jobsched.trigger('flow')});
	$waits = $node->safe_psql($db, q{SELECT jobsched.trigger('asks')});
	($batch, $next) = split /\|/, sql_as($node, $db, 'app', q{
		SELECT jobsched.trigger_batch('one at a time', ARRAY['{"hold": 1}', '{}', '{}']::jsonb[], on_complete => 'totals') \gset
		SELECT :trigger_batch, (SELECT run_id FROM jobsched.runs WHERE job_name = 'totals')});
	wait_until($node, $db, "SELECT (SELECT count(*) FROM jobsched.step_items WHERE workflow_run_id = $flow AND status = 'running') = 2", 'elements are executed');
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE parent_run_id = $batch AND status = 'running')", 'a member is executed');
	sql_as($node, $db, 'app', "SELECT jobsched.send_event('yes', '[1]', run_id => $waits), jobsched.send_event('early', '2', run_id => $waits)");
	wait_until($node, $db, "SELECT EXISTS (SELECT FROM jobsched_internal.event_match)", 'a step has got an event');
	return ($flow, $waits, $batch, $next);
}

sub shown
{
	my ($node, $run_id) = @_;
	return $node->safe_psql($db, "SELECT string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no) FROM jobsched.steps WHERE workflow_run_id = $run_id");
}

# They go on where they were.
sub check_trees
{
	my ($node, $flow, $waits, $batch, $next) = @_;

	wait_run_state($node, $db, $flow, 'succeeded');
	is(shown($node, $flow), 'first succeeded, each succeeded, bad failed error, sum succeeded', 'a workflow run goes on, and ends');
	is($node->safe_psql($db, "SELECT result #>> '{sum,n}', result #>> '{each,succeeded}' FROM jobsched.runs WHERE run_id = $flow"), '3|2', 'with what its steps had done before');
	is($node->safe_psql($db, "SELECT count(*) FROM app.effect WHERE run_id IN (SELECT run_id FROM jobsched.step_items WHERE workflow_run_id = $flow)"), '2', 'each element once');
	is(shown($node, $waits), 'ask queued waiting_for_event, later queued waiting_for_upstream, clean queued waiting_for_upstream', 'one that waits for an event still does');
	sql_as($node, $db, 'app', "SELECT jobsched.send_event('no', '[2]', run_id => $waits)");
	wait_run_state($node, $db, $waits, 'succeeded');
	is($node->safe_psql($db, "SELECT result #> '{ask}', result #> '{later}' FROM jobsched.runs WHERE run_id = $waits"), '[1, 2]|2', 'events from before and after are seen');
	wait_run_state($node, $db, $next, 'succeeded');
	is($node->safe_psql($db, "SELECT status, (SELECT count(*) FROM app.effect e JOIN jobsched.runs m USING (run_id) WHERE m.parent_run_id = $batch) FROM jobsched.runs WHERE run_id = $batch"), 'succeeded|3', 'a batch ends, and each member has been done once');
	is($node->safe_psql($db, "SELECT result ->> 'total', result ->> 'succeeded' FROM jobsched.runs WHERE run_id = $next"), '3|3', 'what comes after it sees its totals');
	return;
}

# A database of an owner who is no superuser; jobs in every state.
sub define_jobs
{
	my ($node) = @_;

	$node->safe_psql('postgres', q{
		CREATE ROLE gone; -- so that OIDs differ from those of the new cluster
		DROP ROLE gone;
		CREATE ROLE boss LOGIN CREATEDB;
		CREATE ROLE stranger LOGIN;
		CREATE ROLE other LOGIN;
		CREATE DATABASE shop OWNER boss;
		GRANT SET ON PARAMETER jobsched.enabled TO boss;
		ALTER ROLE other SET jobsched.timezone = 'Asia/Tokyo'});
	sql_as($node, $db, 'boss', 'CREATE EXTENSION jobsched');
	wait_scheduler($node, $db);
	effects_schema($node, $db);
	$node->safe_psql($db, q{
		GRANT USAGE ON SCHEMA jobsched TO other;
		REVOKE EXECUTE ON FUNCTION jobsched.explain_schedule FROM PUBLIC;
		SET ROLE app;
		CREATE FUNCTION app.hold(args jsonb) RETURNS void LANGUAGE sql AS
			'SELECT app.leave(args); SELECT pg_sleep(CASE jobsched.attempt() WHEN 1 THEN 3600 ELSE 0 END)';
		CREATE PROCEDURE app.hold_apart() LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM app.leave('{}');
			COMMIT;
			PERFORM pg_sleep(3600);
		END $$;
		CREATE FUNCTION app.fail(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			RAISE NOTICE 'about to fail';
			RAISE EXCEPTION 'as wanted' USING HINT = 'none';
		END $$;
		CREATE VIEW app.failures AS SELECT run_id, error FROM jobsched.runs WHERE status = 'failed';
		CREATE FUNCTION app.start_quick() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = '' AS
			$$ SELECT jobsched.trigger('quick') $$});
	sql_as($node, $db, 'app', q{
		SELECT jobsched.create_job('tick', '* * * * * *', handler => 'app.leave');
		SELECT jobsched.create_job('quick', handler => 'app.leave', share_transaction => true);
		SELECT jobsched.create_job('hold', handler => 'app.hold');
		SELECT jobsched.create_job('hold apart', command => 'CALL app.hold_apart()');
		SELECT jobsched.create_job('fail', handler => 'app.fail');
		SELECT jobsched.create_job('result', command => $$ SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i $$);
		SELECT jobsched.create_job('daily', '30 2 * * MON-FRI', 'SELECT 1', timezone => 'Europe/Berlin',
			args => jsonb_build_object('text', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)),
			description => 'it''s ä', metadata => '{"team": null}');
		SELECT jobsched.create_job('every', 'every 90 minutes', 'VACUUM app.effect', mode => 'autocommit');
		SELECT jobsched.create_job('off', '0 4 * * *', 'SELECT 1', enabled => false);
		SELECT jobsched.create_job('paused', '* * * * * *', 'SELECT 1');
		SELECT jobsched.pause_job('paused', 'holidays');
		SELECT jobsched.set_secret('token', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i));
		SELECT jobsched.trigger('paused', '{"n": 1}');
		SELECT jobsched.create_job('once', (clock_timestamp() + interval '0.3 s')::text, handler => 'app.leave');
		SELECT jobsched.create_job('at start', '@startup', handler => 'app.leave');
		SELECT jobsched.create_job('broken', '* * * * * *', 'SELECT 1');
		SELECT jobsched.create_job('seen', command => 'SELECT count(*) FROM jobsched.upstream()');
		SELECT jobsched.create_job('dropped', handler => 'app.leave')});
	sql_as($node, $db, 'other', q{SELECT jobsched.create_job('of other', '0 9 * * *', 'SELECT current_user')});
	$node->safe_psql($db, q{UPDATE jobsched_internal.job SET schedule = 'nonsense' WHERE name = 'broken'});
	is((run_job($node, $db, $_))[1], $_ eq 'fail' ? 'failed' : 'succeeded', "$_ has run") for ('quick', 'fail', 'result', 'of other', 'dropped');
	$node->safe_psql($db, q{SELECT jobsched.drop_job('dropped')});
	wait_until($node, $db, q{SELECT state = 'completed' FROM jobsched.jobs WHERE name = 'once'}, 'once has run');
	wait_until($node, $db, q{SELECT state = 'invalid' FROM jobsched.jobs WHERE name = 'broken'}, 'broken is found invalid');
	wait_until($node, $db, q{SELECT count(*) >= 3 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded'}, 'tick ticks');

	# A copy, whose jobs sleep; and a database that is switched off.
	sql_as($node, 'postgres', 'boss', 'CREATE DATABASE shop_copy TEMPLATE shop');
	wait_scheduler($node, $copy);
	wait_scheduler($node, $db);
	$node->safe_psql('postgres', 'CREATE DATABASE still; ALTER DATABASE still SET jobsched.enabled = off');
	create_extension($node, 'still');
	$node->safe_psql('still', q{CREATE ROLE idler LOGIN; GRANT USAGE ON SCHEMA jobsched TO idler});
	sql_as($node, 'still', 'idler', q{SELECT jobsched.create_job('tick', '* * * * * *', 'SELECT 1')});
	return;
}

# ------------------------------------------------------------------------
# What is to be kept
# ------------------------------------------------------------------------

# As pg_upgrade starts servers: nothing of ours runs in them.
sub start_still
{
	my ($node) = @_;
	return $node->command_ok([ bindir($node) . '/pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start' ],
		$node->name . ' starts as for an upgrade');
}

sub stop_still
{
	my ($node) = @_;
	return $node->command_ok([ bindir($node) . '/pg_ctl', '-w', '-D', $node->data_dir, 'stop' ], 'and stops');
}

# Every row of ours, who owns what, and whom they let do what.  Not who owns the
# extension itself: pg_upgrade makes that the superuser, for any extension; and
# not the rows' types, which it makes members.
sub contents
{
	my ($node, $in) = @_;
	my $rows = join ' UNION ALL ',
	  map { "SELECT '$_' AS what, count(*)::text AS n, md5(string_agg(t::text, '' ORDER BY t::text)) AS digest FROM jobsched_internal.$_ t" }
	  ('identity', 'job', 'job_state', 'run', 'dependency', 'waited', 'event', 'event_match', 'event_full', 'ring', 'history', 'attempt', 'retried', 'run_log', 'secret');

	return $node->safe_psql($in, qq{
		$rows
		UNION ALL SELECT 'job_id_seq', last_value::text, is_called::text FROM jobsched_internal.job_id_seq
		UNION ALL SELECT 'run_id_seq', last_value::text, is_called::text FROM jobsched_internal.run_id_seq
		UNION ALL SELECT 'database', oid::text, datdba::regrole::text FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT 'extension', extversion, extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'jobsched'
		UNION ALL (SELECT 'member ' || pg_describe_object(classid, objid, objsubid), NULL, NULL
			FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid <> 'pg_type'::regclass
				AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jobsched') ORDER BY 1)
		UNION ALL (SELECT a.what || ' ' || a.name, x.grantor::regrole || ' to ' || x.grantee::regrole, x.privilege_type || ' ' || x.is_grantable
			FROM (SELECT 'schema', nspname::text, nspacl FROM pg_namespace
				UNION ALL SELECT 'table', oid::regclass::text, relacl FROM pg_class WHERE relnamespace::regnamespace::text ~ '^(jobsched|app)'
				UNION ALL SELECT 'function', oid::regprocedure::text, proacl FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^(jobsched|app)'
				UNION ALL SELECT 'setting', parname, paracl FROM pg_parameter_acl) a (what, name, acl),
				aclexplode(a.acl) x
			WHERE x.grantee <> x.grantor ORDER BY 1, 2, 3)
		UNION ALL (SELECT 'set', setdatabase::text || ' ' || setrole::regrole, setconfig::text FROM pg_db_role_setting ORDER BY 1, 2)});
}

# Lines of one of two texts, marked with which.
sub difference
{
	my ($was, $is) = @_;
	my %lines;

	$lines{$_}++ for split /\n/, $was;
	$lines{$_}-- for split /\n/, $is;
	return join "\n", map { ($lines{$_} > 0 ? 'was ' : 'is ') . $_ } sort grep { $lines{$_} != 0 } keys %lines;
}

my $definitions = q{
	SELECT job_id, name, owner, schedule, timezone, command, handler, md5(args::text), mode, share_transaction, enabled,
		state, state_reason, description, metadata, created_at, updated_at
	FROM jobsched.jobs ORDER BY job_id};

# ------------------------------------------------------------------------
# One way of upgrading
# ------------------------------------------------------------------------

sub pg_upgrade_command
{
	my ($old, $new, @options) = @_;
	return [ bindir($new) . '/pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir,
		'-b', bindir($old), '-B', bindir($new), '-s', $new->host, '-p', $old->port, '-P', $new->port, @options ];
}

# A server that has been upgraded and lacks our library keeps everything, and
# says what it lacks.
sub check_without_library
{
	my ($node) = @_;

	$node->start;
	like(error_of($node, $db, q{SELECT jobsched.trigger('quick')}), qr/must be loaded when the server starts.*shared_preload_libraries/s,
		'a new server without the library in shared_preload_libraries says so');
	$node->stop;
	$node->append_conf('postgresql.conf', $loaded);
	return;
}

sub check_after
{
	my ($node, %was) = @_;
	my ($held, $apart, $due, $later, $paused, $waiting) = @{ $was{runs} };

	wait_scheduler($node, $db);
	check_trees($node, @{ $was{trees} });
	is($node->safe_psql($db, $definitions), $was{definitions}, 'the jobs are what they were, in the same states');
	is($node->safe_psql($db, q{SELECT string_agg(DISTINCT status, ' ') FROM jobsched.health() WHERE "check" IN ('identity', 'scheduler', 'enabled')}),
		'ok', 'health() finds it at home');

	# What was in progress when the old server was stopped, and what waited.
	wait_run_state($node, $db, $held, 'succeeded');
	# The old scheduler may still have handed it to another worker before it went.
	cmp_ok($node->safe_psql($db, "SELECT attempt FROM jobsched.runs WHERE run_id = $held"), '>=', 2, 'a run that the stop cut off is done again');
	wait_run_state($node, $db, $apart, 'lost');
	is($node->safe_psql($db, "SELECT count(*) FROM app.effect WHERE run_id = $apart"), '1', 'one that may have left effects is not');
	wait_run_state($node, $db, $due, 'succeeded');
	pass('a run that became due meanwhile runs');
	is($node->safe_psql($db, "SELECT string_agg(status || ' ' || reason, ', ' ORDER BY run_id) FROM jobsched.runs WHERE run_id IN ($later, $paused)"),
		'queued job_paused, queued not_due', 'others wait on');
	is($node->safe_psql($db, "SELECT r.reason, w.after_when, w.parents, w.parent_ids FROM jobsched.runs r JOIN jobsched.waiting w USING (run_id) WHERE run_id = $waiting"),
		"waiting_for_upstream|done|1|{$later}", 'one waits for another that waits, and for one that has ended');
	$node->safe_psql($db, "SELECT jobsched.cancel_run($later)");
	wait_run_state($node, $db, $waiting, 'succeeded');
	is($node->safe_psql($db, "SELECT result FROM jobsched.runs WHERE run_id = $waiting"), '{"count": 2}', 'it starts when both have ended, and sees both');

	# Slots.
	wait_until($node, $db, "SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded' AND scheduled_for > '$was{started}'", 'tick ticks');
	is($node->safe_psql($db, "SELECT count(*) FROM jobsched.runs WHERE job_name = 'tick' AND status = 'succeeded'
			AND missed_count >= floor(extract(epoch FROM timestamptz '$was{started}' - '$was{stopped}')) - 1"),
		'1', 'the slots of the time without a server are one run');
	wait_value($node, $db, q{SELECT string_agg(status || ' ' || source, ', ') FROM jobsched.runs WHERE job_name = 'at start'},
		'succeeded startup', '@startup has fired once');
	is($node->safe_psql($db, q{SELECT count(*) FROM jobsched.runs WHERE job_name IN ('once', 'off', 'daily', 'broken', 'every') AND source = 'schedule'
			AND queued_at > '} . $was{stopped} . q{'}), '0', 'no other has');
	is($node->safe_psql($db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'once'}), '1', 'what has run once does not run again');

	# Rights, numbers.
	my $new = sql_as($node, $db, 'app', q{SELECT jobsched.create_job('new', handler => 'app.leave')});
	cmp_ok($new, '>', $was{max_job}, 'ids of jobs go on');
	my ($run_id, $status) = run_job($node, $db, 'new', role => 'app');
	is($status, 'succeeded', 'a new job runs');
	cmp_ok($run_id, '>', $was{max_run}, 'ids of runs go on');
	is((run_job($node, $db, 'fail', role => 'app'))[1], 'failed', 'an old job runs, and fails as before');
	# One by hand, that of the workflow, and this.
	is($node->safe_psql($db, q{SELECT count(*) FROM app.failures}), '3', 'views on our views work');
	is($node->safe_psql($db, q{SELECT count(*) FROM jobsched.run_logs WHERE message = 'about to fail'}), '3', 'logs are there');
	like(error_of($node, $db, q{SELECT count(*) FROM jobsched.jobs}, 'stranger'), qr/permission denied for schema jobsched/, 'who could not see anything cannot');
	is(sql_as($node, $db, 'other', q{SELECT string_agg(name, ' ') FROM jobsched.jobs}), 'of other', 'who could see his own sees his own');

	# Other databases.
	wait_scheduler($node, $copy);
	is($node->safe_psql($copy, q{SELECT DISTINCT state FROM jobsched.jobs}), 'asleep', 'jobs of a copy sleep on');
	is($node->safe_psql($copy, q{SELECT count(*) FROM jobsched.runs WHERE status NOT IN ('queued') AND queued_at > '} . $was{stopped} . q{'}), '0', 'and have not run');
	is($node->safe_psql('still', q{SELECT (SELECT count(*) FROM jobsched.runs), status FROM jobsched.health() WHERE "check" = 'enabled'}),
		'0|warning', 'what was switched off is');

	$node->safe_psql($db, q{SELECT jobsched.alter_job('tick', enabled => false)});
	wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run WHERE run_at <= now() AND job_id <> (SELECT job_id FROM jobsched.jobs WHERE name = 'paused')},
		'0', 'the queue is worked off');
	check_slots($node, $db, 'tick', 1, 'each slot is in exactly one row, before and after');
	check_exactly_once($node, $db, 'effects are the succeeded runs', q{'tick', 'quick', 'hold', 'once', 'at start', 'dropped', 'new'});
	return;
}

# What one does after an upgrade, and later.
sub check_maintenance
{
	my ($node) = @_;
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';

	$node->command_ok([ 'vacuumdb', '--all', '--analyze-only' ], 'vacuumdb --analyze-only');
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $db ], 'pg_dump');
	$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER boss');
	$node->command_ok([ 'pg_restore', '-e', '-d', 'restored', $dump ], 'pg_restore');
	is($node->safe_psql('restored', q{SELECT DISTINCT state FROM jobsched.jobs}), 'asleep', 'what is restored from it sleeps');
	$node->safe_psql($copy, 'DROP EXTENSION jobsched CASCADE');
	is($node->safe_psql($copy, q{SELECT count(*) FROM pg_namespace WHERE nspname ~ 'jobsched'}), '0', 'DROP EXTENSION leaves nothing');
	create_extension($node, $copy);
	return;
}

# The old cluster is as it was: started again it would fire as well.
sub check_old
{
	my ($node) = @_;

	$node->append_conf('postgresql.conf', "jobsched.instance_id = 'old'\n");
	$node->start;
	wait_scheduler($node, $db);
	is($node->safe_psql($db, q{SELECT DISTINCT state FROM jobsched.jobs}), 'asleep', 'with another jobsched.instance_id the old cluster sleeps');
	$node->stop;
	return;
}

sub upgrade
{
	my ($mode) = @_;
	my $old = node("old_$mode", $from, $loaded);
	my $new = node("new_$mode", undef, $mode eq 'copy' ? '' : $loaded);
	my (%was, %old);

	$old->start;
	define_jobs($old);
	$old->command_ok(pg_upgrade_command($old, $new, '--check'), "$mode: pg_upgrade --check of a running server");
	$was{runs} = [
		hold($old, 'hold'), hold($old, 'hold apart'),
		$old->safe_psql($db, q{SELECT jobsched.trigger('quick', run_at => clock_timestamp() + interval '3 s')}),
		$old->safe_psql($db, q{SELECT jobsched.trigger('quick', run_at => clock_timestamp() + interval '1 day', priority => 7)}),
		$old->safe_psql($db, q{SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'paused'}) ];
	push @{ $was{runs} }, $old->safe_psql($db, q{SELECT jobsched.trigger('seen', after_when => 'done',
		after => ARRAY(SELECT run_id FROM jobsched.runs WHERE job_name = 'result' OR priority = 7))});
	$was{trees} = [ begin_trees($old) ];
	$was{definitions} = $old->safe_psql($db, $definitions);
	is(scalar(split /\n/, $was{definitions}), 19, 'the jobs to begin with');
	($was{max_job}, $was{max_run}) = split /\|/, $old->safe_psql($db, q{SELECT (SELECT max(job_id) FROM jobsched.jobs), (SELECT max(run_id) FROM jobsched.runs)});
	$was{stopped} = $old->safe_psql($db, 'SELECT clock_timestamp()');
	$old->stop;

	start_still($old);
	$old{$_} = contents($old, $_) for ($db, $copy, 'still');
	stop_still($old);
	$new->command_ok(pg_upgrade_command($old, $new, "--$mode"), "$mode: pg_upgrade");
	start_still($new);
	is(difference($old{$_}, contents($new, $_)), '', "$mode: all rows, owners and privileges of $_") for ($db, $copy, 'still');
	# More than five seconds, so that slots are missed and not just late.
	wait_until($new, $db, "SELECT clock_timestamp() > '$was{stopped}'::timestamptz + interval '8 s'", 'some slots have passed');
	stop_still($new);

	check_without_library($new) if $mode eq 'copy';
	$new->start;
	$was{started} = $new->safe_psql($db, 'SELECT pg_postmaster_start_time()');
	check_after($new, %was);
	check_maintenance($new);
	check_old($old) if $mode eq 'copy';
	check_log($new);
	$new->stop;
	return;
}

upgrade($_) for ('copy', 'link');
done_testing();
