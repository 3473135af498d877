# Copyright (c) 2026, jobsched contributors

# Errors of our functions in every surrounding that a caller can give them:
# whoever catches one goes on as the same user, in the same transaction, with
# what he did before and after, and without what he did in the block.  And a
# role's first request, which waits for nobody.

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
my $node = http_node('errors', conf => "max_prepared_transactions = 5\njobsched.max_workers = 6\n");
my $sink = start_sink($node);
my $url = $sink->{url};

sub psql { return $node->safe_psql($db, $_[0]); }
sub as { return sql_as($node, $db, @_); }

# All output of a script that goes on after errors, in one session.
sub script_as
{
	my ($role, $sql) = @_;
	my ($ret, $out, $err) = $node->psql($db, $sql, on_error_stop => 0, extra_params => [ '-U', $role ]);

	is($ret, 0, 'the session goes on to its end') or diag $err;
	return ($out, $err);
}

# What a session would not say of a transaction that is as it should be.
sub check_calm
{
	my ($offset, $what, $allowed) = @_;
	my @bad = grep { !$allowed || $_ !~ $allowed } log_since($node, $offset) =~ /^.*(?:WARNING|FATAL|PANIC|TRAP|LOG:  .*terminated by signal).*$/mg;

	return is(join("\n", @bad), '', "$what: nothing in the log about transactions, snapshots or crashes");
}

# ------------------------------------------------------------------------
# Every function, with something wrong in it
# ------------------------------------------------------------------------

psql(q{
	CREATE ROLE victim LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO victim;
	CREATE SCHEMA door AUTHORIZATION app;
	GRANT ALL ON SCHEMA door TO PUBLIC;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO victim});
as('victim', q{SELECT jobsched.create_job('theirs', command => 'SELECT 1'), jobsched.set_queue('theirs', 1), jobsched.create_hook('theirs', event => 'theirs'), jobsched.set_channel('theirs', 'notify'), jobsched.set_alert('theirs', '{theirs}')});
as('app', q{
	SELECT jobsched.create_job('own', '0 0 1 1 *', 'SELECT 1', args => '{"a": 1}'), jobsched.create_job('taken', command => 'SELECT 1');
	CREATE TABLE door.hooked (v text);
	CREATE TABLE door.call (n serial, function name, call text);
	CREATE TABLE door.effect (surrounding text, n integer, what text, said text, role name DEFAULT current_user, session name DEFAULT session_user, at serial);
	GRANT ALL ON ALL TABLES IN SCHEMA door TO PUBLIC;
	GRANT ALL ON ALL SEQUENCES IN SCHEMA door TO PUBLIC});

my %wrong = (
	create_job => [
		(map {
			my $if_exists = $_;
			map { "('new', $_, if_exists => '$if_exists')" } (
				"'0 25 * * *', 'SELECT 1'", "command => 'SELECT ('", "handler => 'no.such'", "command => 'SELECT 1', args => '[]'",
				"command => 'SELECT 1', owner => 'victim'", "command => 'SELECT 1', owner => 'nobody at all'", "url => 'ftp://x'",
				"command => 'SELECT 1', keys => '{{{args.x}}}', schedule => '* * * * *'", "command => 'SELECT 1', timezone => 'Mars'", "''",
				"steps => '[]'", q{steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "handler": "no.such"}]'})
		} qw(error update keep)),
		"('taken', command => 'SELECT 1')", "('own', '0 25 * * *', 'SELECT 1', if_exists => 'update')",
		"('own', command => 'SELEC 1', if_exists => 'update')", "('new', command => 'SELECT 1', if_exists => 'maybe')",
		"(repeat('x', 1000), command => 'SELECT 1', if_exists => 'keep')", "('', command => 'SELECT 1', if_exists => 'keep')",
		"(NULL, if_exists => 'update')"
	],
	alter_job => [
		"('missing', name => 'x')", "('own', schedule => 'no schedule')", "('own', name => 'taken')", "('own', owner => 'victim')",
		"('own', owner => 'victim', name => 'theirs')", "('own', handler => 'no.such')", "('own', name => '')", "('theirs', name => 'x')", '(NULL)'
	],
	set_job_metadata => [ "('missing', '{}')", "('theirs', '{}')", "(NULL, '{}')", "('own', jsonb_build_object('a', repeat('x', 2000000)))" ],
	drop_job => [ "('missing')", "('theirs')", '(NULL)' ],
	pause_job => [ "('missing')", "('theirs')" ],
	explain_steps => [ "('missing')", "('theirs')", "('own')", '(NULL)' ],
	resume_job => [ "('missing')", "('theirs')" ],
	trigger => [
		"('missing')", "('theirs')", "('own', '[]')", "('own', run_at => 'infinity')", "('own', keys => '{{{args.none}}}')",
		"('own', idempotency_key => '')", "('own', idempotency_key => 'k', on_conflict => 'sometimes')",
		"('own', idempotency_key => 'k', keys => '{{{args.none}}}')", "('own', timeout => '-1 s')",
		"('own', after => '{0}')", "('own', after => '{NULL}')", "('own', after_when => 'sometimes')",
		"('own', child => true)", "('own', optional => true)", "('own', owner => 'victim')", "('theirs', owner => 'victim')", "(job_id => -1)", "('own', job_id => 1)", '()',
		"('own', wait_for => '{NULL}')", "('own', wait_for => '{\"\"}')", "('own', wait_timeout => '1 s')", "('own', wait_for => '{x}', wait_timeout => '0')"
	],
	trigger_many => [ "('missing', '{}')", q{('own', ARRAY['{}', '[]']::jsonb[])}, "('own', NULL)", "('own', '{NULL}', after => '{0}')", "('own', '{NULL}', child => true)" ],
	trigger_batch => [
		"('missing', '{}')", "('theirs', '{}')", q{('own', ARRAY['{}', '[]']::jsonb[])}, "('own', NULL)", "('own', '{}', 'missing')", "('own', '{}', 'theirs')",
		"('own', '{NULL}', 'own', '[]')", "('own', '{}', on_complete_args => '{}')", "('own', '{}', 'own', after_when => 'sometimes')", "('own', '{NULL}', child => true)",
		"('own', '{NULL}', keys => '{{{args.none}}}')", "('own', '{NULL}', run_at => 'infinity')"
	],
	send_event => [ "('')", "(NULL)", "('x', run_id => -1)", "('x', keep => '-1 s')", "('x', keep => '1000 days')" ],
	backfill => [ "('missing', now(), now())", "('own', '2000-01-01', '2010-01-01', max => 1)", "('taken', '2000-01-01', '2001-01-01')" ],
	cancel_run => [ '(-1)' ],
	cancel_runs => [ '()', "('missing')", "(status => 'lost')" ],
	retry_run => [ '(-1)', "(-1, args => '[]')" ],
	skip_step => [ "(-1, 'a')" ],
	redrive => [ "('missing')" ],
	reset_stuck => [ '(NULL)', "('-1 s')" ],
	wait_run => [ '(-1)', '(NULL)' ],
	step => [ q{('a', 'missing.function', '{}', NULL)}, "(NULL, NULL, NULL, NULL)" ],
	sleep => [ "(NULL, '0')", "('a', NULL)" ],
	await_event => [ "(NULL, '0', NULL)", "('', '0', NULL)", "('a', '-1 s', NULL)", "('a', '0', NULL, '')" ],
	http_step => [ "(NULL, 'GET', '$url', NULL, NULL)", "('a', NULL, '$url', NULL, NULL)", "('a', 'GET', 'ftp://x', NULL, NULL)", "('a', 'GET', '$url', NULL, NULL, '[]')", "('a', 'POST', '$url', '1', NULL, body_text => 'x')", "('', 'GET', 'x', NULL, NULL)" ],
	adopt => [ '()' ],
	stop_processing => [ '()' ],
	start_processing => [ '()' ],
	http_request => [
		"('GET', 'ftp://x')", "(NULL, NULL)", "('POST', '$url', on_success => 'no.such')", "('POST', '$url', keys => '{{{args.none}}}')",
		"('POST', '$url', after => '{0}')", "('POST', '$url', idempotency_key => 'k', on_conflict => 'no')", "('POST', '$url', timeout => '-1 s')", "('POST', '$url', '{}', body_text => 'x')"
	],
	(map { $_ => [ "('no url')", "('$url', headers => '[]')", "('$url', after => '{0}')", "('$url', child => true)", "('$url', wait_timeout => '1 s')" ] } qw(http_get http_post http_put http_patch http_delete)),
	http_webhook => [ 'SELECT jobsched.http_webhook()',
		q{CREATE TRIGGER bad AFTER INSERT ON door.hooked FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('http://')} ],
	trigger_job => [ 'SELECT jobsched.trigger_job()',
		q{CREATE TRIGGER bad AFTER INSERT ON door.hooked FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('own', 'columns=none')},
		q{CREATE TRIGGER bad AFTER INSERT ON door.hooked FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('own')} ],
	set_queue => [ "('q', -1)", "('theirs', 1, owner => 'victim')", "('q', 1, rate => 1)", '(NULL)' ],
	drop_queue => [ "('missing')", "('theirs', 'victim')" ],
	set_limit => [ "('a:b', 1)", "('c', 0)", "('c', 1, owner => 'victim')" ],
	drop_limit => [ "('missing')", "('c', 'victim')" ],
	set_secret => [ "('s', 'x')", "('s', 'long enough', 'victim')", "(NULL, 'long enough')" ],
	drop_secret => [ "('missing')", "('s', 'victim')" ],
	set_channel => [
		"(NULL, 'notify')", "('a b', 'notify')", "('c', 'sms')", "('c', 'slack')", "('c', 'slack', 'http://')", "('c', 'email')", "('c', 'email', to_address => '{a}')",
		"('c', 'email', to_address => '{NULL}')", "('c', 'notify', 'http://x.example')", "('c', 'handler', handler => 'no.function')", "('c', 'notify', owner => 'victim')" ],
	set_alert => [
		"(NULL, '{theirs}')", "('', '{c}')", "('a', NULL)", "('a', '{}')", "('a', '{theirs}')", "('a', '{theirs}', owner => 'victim')", "('a', '{c}', '{}')", "('a', '{c}', metadata => '[]')",
		"('a', '{c}', on_status => '{}')", "('a', '{c}', threshold => 0)", "('a', '{c}', late => '0 s')", "('a', '{c}', group_for => '-1 s')", "('a', '{c}', every_failure => true, threshold => 2)" ],
	mute_alert => [ "('missing', 'infinity')", "('theirs', 'infinity', owner => 'victim')", "(NULL, 'infinity')" ],
	drop_alert => [ "('missing')", "('theirs', 'victim')", '(NULL)' ],
	drop_channel => [ "('missing')", "('theirs', 'victim')", '(NULL)' ],
	test_channel => [ "('missing')", "('theirs', 'victim')", '(NULL)' ],
	run_totals => [ "(NULL, NULL, '1 s')", "(NULL, NULL, '1 mon 1 day')", "(NULL, NULL, '-1 day')", "(NULL, NULL, '1 day', timezone => 'Mars')" ],
	run_stats => [ "(NULL, NULL, NULL, 'missing')", "(NULL, NULL, NULL, 'theirs')", "(NULL, NULL, '1 s')", "(NULL, NULL, '1 mon 1 day')", "(NULL, NULL, '1 day', timezone => 'Mars')", "(NULL, NULL, NULL, 'own', owner => 'victim')", "(NULL, NULL, NULL, 'own', job_id => 1)" ],
	metrics => [ "('xml')", "('')" ],
	stat_reset => [ "('missing')", "('theirs')" ],
	error_patterns => [ "('1 day', 'own', job_id => 1)", "('1 day', owner => 'victim')" ],
	dead_letter_groups => [ "('own', job_id => 1)", "(owner => 'victim')" ],
	create_hook => [
		"(NULL)", "('a b', 'own')", "('h')", "('h', 'own', 'e')", "('h', 'theirs')", "('h', 'missing')", "('h', event => '')", "('h', 'own', verify => 'none')",
		"('h', 'own', verify => 'github')", "('h', 'own', verify => 'github', secret => 'missing')", "('h', 'own', secret => 'vault.x')", "('h', 'own', dedupe => '\$.[')",
		"('h', 'own', tolerance => '2 days')", "('h', 'own', max_size => 0)", "('h', 'own', rate => -1)", "('h', 'own', header => 'a b')", "('h', 'own', keep_headers => '{Authorization}')",
		"('h', event => 'e', keep_headers => '{x-a}')" ],
	rotate_hook => [ "('missing')", "('theirs')", "('missing', NULL)" ],
	drop_hook => [ "('missing')", "('theirs')", '(NULL)' ],
	hook_wrapper => [ "('missing', 'public')", "('theirs', 'public')" ],
	receive => [ "('missing', '')", "('theirs', '{}', '[]', 'wrong')", '(NULL, NULL)' ],
	event_token => [ "('e', -1)", "('', 1)", "('e', NULL)", "('e', 1, '0')" ],
	receive_event => [ "('wrong')", '(NULL)' ],
	next_runs => [ "('no schedule')", "('* * * * *', n => 0)" ],
	explain_schedule => [ "('no schedule')", "('* * * * *', 'Mars')" ],
	discard => [ "('not wanted')" ],
	snooze => [ "('-1 s')", "('1 s', to_jsonb(repeat('x', 18 * 1024 * 1024)))" ],
	log => [ "('loudly', 'x')" ],
	job => [ q{SELECT jobsched.job(NULL::jobsched.runs), 1 / 0} ],
	runs => [ q{SELECT jobsched.runs(NULL::jobsched.jobs), 1 / 0} ],
	# These refuse nothing.
	(map { $_ => [ "SELECT 1 / count(*) * 0 / 0 FROM (SELECT jobsched.$_) x" ] } qw(run_id() job_name() args() state() upstream() attempt() scheduled_for() progress(1) health() insights() dashboard_summary() event('x') jobs_with_metadata('{}') workflow_run_id() step_result('x') step_results('x') workflow_graph(1) whoami()))
);

# Those that take no argument are named as they are called.
for my $function (grep { /\(/ } keys %wrong)
{
	$wrong{ $function =~ s/\(.*//r } = delete $wrong{$function};
}

is(join(' ', sort keys %wrong),
	psql(q{SELECT string_agg(DISTINCT proname::text COLLATE "C", ' ' ORDER BY proname::text COLLATE "C") FROM pg_proc WHERE pronamespace = 'jobsched'::regnamespace}),
	'every function is called');

my @values;

for my $function (sort keys %wrong)
{
	for my $call (@{ $wrong{$function} })
	{
		my $sql = $call !~ /^\(/ ? $call : ($function =~ /^(?:wait_run|step|sleep|await_event|http_step)$/ ? 'CALL' : 'SELECT') . " jobsched.$function$call";

		push @values, "('$function', \$c\$$sql\$c\$)";
	}
}
as('app', 'INSERT INTO door.call (function, call) VALUES ' . join(', ', @values));

as('app', q{
	-- The block, as migrations write it.
	CREATE FUNCTION door.attempt(surrounding text, n integer, call text) RETURNS text LANGUAGE plpgsql AS $f$
	DECLARE
		said text;
	BEGIN
		INSERT INTO door.effect (surrounding, n, what) VALUES (surrounding, n, 'before');
		BEGIN
			INSERT INTO door.effect (surrounding, n, what) VALUES (surrounding, n, 'inside');
			EXECUTE call;
			RAISE 'it came through';
		EXCEPTION WHEN OTHERS THEN
			said := SQLERRM;
		END;
		INSERT INTO door.effect (surrounding, n, what, said) VALUES (surrounding, n, 'after', said);
		RETURN said;
	END $f$;
	CREATE PROCEDURE door.in_procedure(surrounding text, n integer, call text) LANGUAGE plpgsql AS $f$
	DECLARE
		said text;
	BEGIN
		INSERT INTO door.effect (surrounding, n, what) VALUES (surrounding, n, 'before');
		COMMIT;
		BEGIN
			INSERT INTO door.effect (surrounding, n, what) VALUES (surrounding, n, 'inside');
			EXECUTE call;
			RAISE 'it came through';
		EXCEPTION WHEN OTHERS THEN
			said := SQLERRM;
		END;
		COMMIT;
		INSERT INTO door.effect (surrounding, n, what, said) VALUES (surrounding, n, 'after', said);
		COMMIT;
	END $f$;
	CREATE FUNCTION door.in_job(args jsonb) RETURNS jsonb LANGUAGE sql AS $f$
		SELECT to_jsonb(door.attempt(args ->> 'surrounding', (args ->> 'n')::integer, args ->> 'call'))
	$f$});
# A superuser's, which anybody may call.
psql(q{
	CREATE FUNCTION door.as_superuser(call text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $f$
	BEGIN
		EXECUTE call;
		RAISE 'it came through';
	END $f$;
	CREATE FUNCTION door.around(call text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $f$
	BEGIN
		EXECUTE call;
	EXCEPTION WHEN OTHERS THEN
		-- and what it does then, it does with its rights
		EXECUTE 'SET LOCAL log_min_messages = ''warning''';
		RAISE;
	END $f$});

my %calls = map { split /\t/, $_, 2 } split /\n/, as('app', q{SELECT n || E'\t' || call FROM door.call ORDER BY n});
my @ns = sort { $a <=> $b } keys %calls;
my $offset = log_size($node);
my @surroundings;

# Statements for all calls in one session of app, which sees what came of the last one.
sub all_calls
{
	my ($surrounding, $statement) = @_;
	my $sql = '';

	push @surroundings, $surrounding;
	for my $n (@ns)
	{
		my $one = $statement;
		my $call = $calls{$n};

		$one =~ s/:call/$call/g;
		$one =~ s/:quoted/\$q\$$call\$q\$/g;
		$one =~ s/:n/'$surrounding', $n/g;
		$sql .= "$one;\n";
	}
	return script_as('app', $sql);
}

my $mark = 'INSERT INTO door.effect (surrounding, n, what) VALUES (:n, ';
all_calls('statement', "${mark}'before');\n:call;\n${mark}'after')");
all_calls('savepoint', "BEGIN;\n${mark}'before');\nSAVEPOINT s;\n${mark}'inside');\n:call;\nROLLBACK TO s;\n${mark}'after');\nCOMMIT");
all_calls('block', 'SELECT door.attempt(:n, :quoted)');
all_calls('two blocks', 'SELECT door.attempt(:n, $r$SELECT door.attempt(\'inner\', 0, :quoted); SELECT 1 / 0$r$)');
all_calls('security definer', 'SELECT door.attempt(:n, $r$SELECT door.as_superuser(:quoted)$r$)');
all_calls('security definer that catches', 'SELECT door.attempt(:n, $r$SELECT door.around(:quoted)$r$)');
all_calls('procedure', 'CALL door.in_procedure(:n, :quoted)');
all_calls('read only', "BEGIN READ ONLY;\n:call;\nROLLBACK;\n${mark}'before');\n${mark}'after')");
all_calls('prepared', "BEGIN;\n${mark}'before');\nSAVEPOINT s;\n:call;\nROLLBACK TO s;\n${mark}'after');\nPREPARE TRANSACTION 'p';\nDISCARD ALL;\nCOMMIT PREPARED 'p'");

# In jobs: a handler, one that shares its transaction, and a command that commits.
as('app', q{
	SELECT jobsched.create_job('handler', handler => 'door.in_job', max_attempts => 1),
		jobsched.create_job('sharing', handler => 'door.in_job', share_transaction => true, max_attempts => 1),
		jobsched.create_job('command', command => $$ CALL door.in_procedure('command', (jobsched.args() ->> 'n')::integer, jobsched.args() ->> 'call') $$, max_attempts => 1);
	SELECT count(jobsched.trigger(job, jsonb_build_object('surrounding', job, 'n', n, 'call', call)))
	FROM door.call, unnest('{handler, sharing, command}'::text[]) AS job});
push @surroundings, qw(handler sharing command);
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name IN ('handler', 'sharing', 'command') AND status NOT IN ('succeeded')}, '0', 'jobs with such calls end');
is(psql(q{SELECT status, count(*) / (SELECT count(*) FROM door.call) FROM jobsched.runs WHERE job_name IN ('handler', 'sharing', 'command') GROUP BY 1}),
	'succeeded|3', 'and succeed, as they have caught the errors');

for my $surrounding (@surroundings)
{
	is(psql(qq{
		SELECT c.n, c.call, string_agg(concat_ws(' ', e.what, e.role, e.session), ', ' ORDER BY e.at)
		FROM door.call c LEFT JOIN door.effect e ON e.n = c.n AND e.surrounding = '$surrounding'
		GROUP BY c.n, c.call HAVING string_agg(concat_ws(' ', e.what, e.role, e.session), ', ' ORDER BY e.at) IS DISTINCT FROM 'before app app, after app app'
		ORDER BY c.n LIMIT 5}), '', "$surrounding: what is before and after is committed by the same user, what is inside is not");
}
is(psql(q{SELECT count(*) FROM door.effect WHERE what = 'inside' OR surrounding = 'inner'}), '0', 'nothing of any block is left');
is(psql(q{
	SELECT c.call, e.said FROM door.call c JOIN door.effect e USING (n)
	WHERE e.surrounding = 'block' AND e.what = 'after' AND (e.said = 'it came through' OR e.said ~ 'current transaction is aborted|unexpected')}),
	'', 'each call is refused');
is(psql(q{SELECT string_agg(name, ' ' ORDER BY name) FROM jobsched.jobs}), 'channel:theirs command handler own sharing taken theirs', 'no job has come of it');
is(psql(q{SELECT count(*) FROM jobsched_internal.run}), '0', 'nor a run');
check_calm($offset, 'wrong calls');

# ------------------------------------------------------------------------
# A refused create_job(if_exists) that is caught
# ------------------------------------------------------------------------

$offset = log_size($node);
script_as('app', q{
	CREATE TABLE door.orders (v text);
	SELECT jobsched.create_job('nightly', '0 25 * * *', 'SELECT 1', if_exists => 'update');
	SELECT 1;
	ROLLBACK;
	DO $$ BEGIN
		BEGIN
			INSERT INTO door.orders VALUES ('of the block');
			PERFORM jobsched.create_job('nightly', '0 25 * * *', 'SELECT 1', if_exists => 'update');
		EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'skipped: %', SQLERRM;
		END;
	END $$;
	INSERT INTO door.orders VALUES ('order 1');
	INSERT INTO door.orders VALUES ('order 2')});
is(psql('SELECT string_agg(v, \', \' ORDER BY v) FROM door.orders'), 'order 1, order 2', 'what follows is committed, what is in the block is not');

# The same in a function that is called twice, and an error after it.
my ($out, $err) = script_as('app', q{
	CREATE FUNCTION door.twice(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $x$
	BEGIN
		BEGIN
			PERFORM jobsched.create_job('nightly', '0 25 * * *', 'SELECT 1', if_exists => 'keep');
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		RETURN '{}';
	END $x$;
	SELECT door.twice('{}');
	SELECT door.twice('{}');
	SELECT 1/0;
	SELECT 2});
is($out, "{}\n{}\n2", 'an error of another statement ends nothing but that');
unlike($err, qr/aborted|closed the connection/, 'the server lives');

# Nobody becomes somebody by an error of his wrapper.
psql(q{
	CREATE ROLE nobody LOGIN;
	CREATE FUNCTION door.schedule(nm text, sched text, how text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = '' AS
	$$ SELECT jobsched.create_job(nm, sched, command => 'SELECT 1', if_exists => how) $$;
	CREATE FUNCTION door.post(url text, key text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = '' AS
	$$ SELECT jobsched.http_request('POST', url, idempotency_key => key) $$});
for my $call ("door.schedule('x', 'no schedule at all', 'update')", "door.schedule('x', 'no schedule at all', 'keep')", "door.post('no url', NULL)", "door.post('$url/x', '')")
{
	($out, $err) = script_as('nobody', qq{
		DO \$\$ BEGIN
			BEGIN PERFORM $call; EXCEPTION WHEN OTHERS THEN NULL; END;
			RAISE NOTICE 'goes on as %', current_user;
			EXECUTE 'ALTER ROLE nobody SUPERUSER';
		END \$\$;
		SELECT current_user});
	like($err, qr/goes on as nobody.*permission denied|goes on as nobody.*must be superuser/s, "$call: whoever catches its error stays who he is");
	is($out, 'nobody', 'in the next statement, too');
}
is(psql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'nobody'}), 'f', 'and has no more rights');
check_calm($offset, 'errors that are caught', qr/WARNING:  there is no transaction in progress/);

# ------------------------------------------------------------------------
# What others have is not told
# ------------------------------------------------------------------------

for my $to (
	[ "jobsched.alter_job('own', owner => 'victim', name => 'NAME')", 'theirs', 'none' ],
	[ "jobsched.create_job('NAME', command => 'SELECT 1', owner => 'victim')", 'theirs', 'none' ],
	[ "jobsched.create_job('NAME', command => 'SELECT 1', owner => 'victim', if_exists => 'keep')", 'theirs', 'none' ],
	(map { [ "jobsched.$_('NAME')", 'theirs', 'none' ] } qw(alter_job drop_job pause_job resume_job trigger redrive cancel_runs)),
	[ "jobsched.set_queue('NAME', 1, owner => 'victim')", 'theirs', 'none' ],
	[ "jobsched.drop_queue('NAME', 'victim')", 'theirs', 'none' ])
{
	my ($call, @names) = @{$to};
	my @told = map { my $name = $_; my $one = $call =~ s/NAME/$name/r; error_of($node, $db, "SELECT $one", 'app') =~ s/$name/NAME/gr } @names;

	isnt($told[0], '', "$call is refused");
	is($told[0], $told[1], 'in the same way whether there is one or not');
}
# nor by a webhook, which is for jobs that make requests
psql(q{GRANT CREATE ON SCHEMA door TO victim});
as('victim', q{CREATE TABLE door.victims (v text); GRANT INSERT, TRIGGER ON door.victims TO app});
my @told = map {
	as('app', "CREATE OR REPLACE TRIGGER probe AFTER INSERT ON door.victims FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$_')");
	my (undef, undef, $warning) = $node->psql($db, 'INSERT INTO door.victims VALUES (1)',
		extra_params => [ '-U', 'app', '-v', 'VERBOSITY=verbose' ]);
	$warning =~ s/$_/NAME/gr
} qw(theirs none);
like($told[0], qr/WARNING:  42704.*does not exist/, 'a webhook for a job without a url sends nothing');
is($told[0], $told[1], 'as if there were none');
# nor by waiting for who has it
my $holder = $node->background_psql($db, extra_params => [ '-U', 'victim' ]);
$holder->query_safe(q{BEGIN; SELECT jobsched.create_job('open', command => 'SELECT 1'), jobsched.alter_job('theirs', description => 'x'), jobsched.set_queue('theirs', 2), jobsched.set_secret('theirs', 'long enough')});
for my $call ("alter_job('own', owner => 'victim', name => 'open')", "create_job('open', command => 'SELECT 1', owner => 'victim', if_exists => 'update')", "alter_job('theirs')",
	"set_queue('theirs', 1, owner => 'victim')", "drop_queue('theirs', 'victim')", "set_secret('theirs', 'long enough', 'victim')", "drop_secret('theirs', 'victim')")
{
	unlike(error_of($node, $db, "SET lock_timeout = '5 s'; SELECT jobsched.$call", 'app'), qr/lock timeout|^$/, "$call waits for nothing of others");
}
$holder->query_safe('ROLLBACK');
$holder->quit;

# ------------------------------------------------------------------------
# The first request of a role waits for nobody
# ------------------------------------------------------------------------

my $roles = 0;

# A role that has made none, and a session of it.
sub new_role
{
	my $role = 'web' . ++$roles;

	psql(qq{
		CREATE ROLE $role LOGIN;
		GRANT USAGE ON SCHEMA jobsched TO $role;
		GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO $role});
	return ($role, $node->background_psql($db, extra_params => [ '-U', $role ]));
}

sub check_sent
{
	my ($role, $n, $what) = @_;

	wait_value($node, $db, qq{SELECT count(*), count(DISTINCT job_id), bool_and(job_name = 'http') FROM jobsched.runs WHERE owner = '$role' AND status = 'succeeded'}, "$n|1|t", "$what: all are sent, of one job");
	is(psql(qq{SELECT count(*) FROM jobsched.jobs WHERE owner = '$role'}), '1', 'there is one');
	return is(scalar(requests($sink, qr{^/$role/})), $n, 'each was sent once');
}

for my $end (qw(COMMIT ROLLBACK))
{
	my ($role, $first) = new_role();

	psql("CREATE TABLE door.orders_$role (v text); GRANT ALL ON door.orders_$role TO $role");
	$first->query_safe("BEGIN; SELECT jobsched.http_post('$url/$role/first', '{}')");
	($out, $err) = script_as($role, qq{
		SET statement_timeout = '20 s';
		DO \$\$ BEGIN BEGIN PERFORM jobsched.http_post('$url/$role/second', '{}'); EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'gave up'; END; END \$\$;
		SET statement_timeout = 0;
		INSERT INTO door.orders_$role VALUES ('order 1')});
	unlike($err, qr/gave up/, "$end: the second does not wait for the first");
	is(psql("SELECT count(*) FROM door.orders_$role"), '1', 'and its session goes on');
	wait_requests($sink, 1, qr{^/$role/second});
	pass('nor is what it has asked for held up');
	$first->query_safe($end);
	check_sent($role, $end eq 'COMMIT' ? 2 : 1, $end);
	$first->quit;
}

# Whoever may write a table with a webhook does not hold up its owner.
{
	my ($role, $owner) = new_role();
	my ($writer, $session) = new_role();

	psql("GRANT CREATE ON SCHEMA door TO $role");
	as($role, qq{
		CREATE TABLE door.watched (v text);
		CREATE TRIGGER hook AFTER INSERT ON door.watched FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/$role/hook');
		GRANT INSERT ON door.watched TO $writer});
	$session->query_safe(q{BEGIN; INSERT INTO door.watched SELECT 'row ' || n FROM generate_series(1, 300) n});
	$owner->query_safe("SET statement_timeout = '20 s'; SELECT jobsched.http_post('$url/$role/own')");
	wait_requests($sink, 1, qr{^/$role/own});
	pass('an open insert into a table with a webhook does not hold up its owner');
	$session->query_safe('COMMIT');
	check_sent($role, 301, 'many in one transaction');
	$_->quit for $owner, $session;
}

# Keys hold from the first request on, when there is no job yet.
{
	my ($role, $session) = new_role();
	my $call = "jobsched.http_request('POST', '$url/$role/keyed', idempotency_key => 'k'";
	my $first = $session->query_safe("BEGIN; SELECT $call)");

	is($session->query_safe("SELECT $call)"), $first, 'a key holds in the transaction of the first request');
	$session->query_safe('COMMIT');
	is($session->query_safe("SELECT $call)"), $first, 'and after it');
	like(error_of($node, $db, "SELECT $call, on_conflict => 'error')", $role), qr/23505/, 'in each manner');
	check_sent($role, 1, 'with a key');
	is($session->query_safe("SELECT $call)"), $first, 'and when there is a job');

	my ($other, $others) = new_role();
	isnt($others->query_safe("SELECT jobsched.http_request('POST', '$url/$other/keyed', idempotency_key => 'k')"), $first, 'but not for another role');
	check_sent($other, 1, 'with the same key');
	$_->quit for $session, $others;
}

# So does a replacement, of more requests than get their job in one step.
{
	my ($role, $session) = new_role();
	my $last = $session->query_safe(qq{
		SELECT max(jobsched.http_request('POST', '$url/$role/replaced', idempotency_key => 'k', on_conflict => 'replace'))
		FROM generate_series(1, 2000)});

	wait_drained($node, $db);
	is(psql(qq{SELECT count(*), max(run_id) FROM jobsched.runs WHERE owner = '$role' AND status = 'succeeded'}), "1|$last", 'of requests that are replaced before there is a job only the last is sent');
	is(scalar(requests($sink, qr{^/$role/})), 1, 'once');
	$session->quit;
}

# The job can be named before there is a row of it.
{
	my ($role, $session) = new_role();

	$session->query_safe("BEGIN; SELECT jobsched.http_post('$url/$role/held'); SELECT jobsched.pause_job('http'); COMMIT");
	wait_value($node, $db, qq{SELECT status, reason, job_name FROM jobsched.runs WHERE owner = '$role'}, 'queued|job_paused|http', 'it can be paused in the transaction of the first request');
	$session->query_safe("SELECT jobsched.resume_job('http')");
	check_sent($role, 1, 'resumed');
	$session->quit;

	($role, $session) = new_role();
	$session->query_safe("SELECT jobsched.alter_job('http', max_attempts => 1); SELECT jobsched.http_post('$url/$role/after')");
	check_sent($role, 1, 'with a job that was altered before');
	is(psql("SELECT max_attempts FROM jobsched.jobs WHERE owner = '$role'"), '1', 'which it has');
	$session->quit;

	($role, $session) = new_role();
	for my $cancel ("jobsched.drop_job('http')", "jobsched.cancel_runs('http')")
	{
		my $id = $session->query_safe("BEGIN; SELECT jobsched.http_post('$url/$role/never')");

		$session->query_safe("SELECT $cancel; COMMIT");
		is(end_of($node, $db, $id, 'status'), 'cancelled', "$cancel cancels it in the same transaction");
	}
	is(scalar(requests($sink, qr{^/$role/})), 0, 'and nothing is sent');
	# a superuser has many jobs "http" to choose from, and gets his own
	is(psql("BEGIN; SELECT jobsched.http_post('$url/super/1') > 0; SELECT jobsched.alter_job('http', description => 'mine'); COMMIT; SELECT count(*) FROM jobsched.jobs WHERE description = 'mine' AND owner = current_user"),
		"t\n\n1", 'the job of who has made a request is his own');
	$session->quit;
}

# Somebody is making a job of this name himself: only the scheduler waits, and not
# for him.  Nor is anything lost meanwhile when the server dies.
{
	my ($role, $session) = new_role();
	my ($free, $other) = new_role();

	$session->query_safe(q{BEGIN; SELECT jobsched.create_job('http', url => 'http://127.0.0.1/', description => 'by hand')});
	my @ids = split /\n/, as($role, "SET statement_timeout = '20 s'; SELECT jobsched.http_post('$url/$role/' || n) FROM generate_series(1, 3) n");
	my $replaced = as($role, "SELECT jobsched.http_request('POST', '$url/$role/replaced', idempotency_key => 'r')");
	my $replacing = as($role, "SELECT jobsched.http_request('POST', '$url/$role/4', idempotency_key => 'r', on_conflict => 'replace')");
	as($role, "SELECT jobsched.cancel_run($ids[0])");
	$other->query_safe("SELECT jobsched.http_post('$url/$free/1')");
	check_sent($free, 1, 'of another role');
	is(psql("SELECT count(*) FROM jobsched_internal.run WHERE owner = '$role'::regrole AND job_id = 0"), '5', 'those wait for a job');
	$_->quit for $other;
	end_sessions($node);
	kill_and_start($node);
	wait_connection($node);
	wait_value($node, $db, qq{SELECT string_agg(concat_ws(' ', status, reason), ', ' ORDER BY run_id) FROM jobsched.runs WHERE owner = '$role'},
		'cancelled cancelled, succeeded, succeeded, cancelled replaced, succeeded', 'after a crash they get one, and what was wanted of them is done');
	is(psql("SELECT description FROM jobsched.jobs WHERE owner = '$role'"), 'Requests made by http_post() and its like.', 'the job of the crashed transaction is none');
	is(join(' ', sort map { $_->{path} } requests($sink, qr{^/$role/})), join(' ', map { "/$role/$_" } 2 .. 4), 'each is sent once');
	eval { $session->quit };
}

# A copy does not send what it has found; whoever adopts it does.
{
	my ($role, $session) = new_role();

	$session->query_safe(q{BEGIN; SELECT jobsched.create_job('http', url => 'http://127.0.0.1/')});
	my $id = as($role, "SELECT jobsched.http_post('$url/$role/copied')");
	psql("UPDATE jobsched_internal.run SET home = gen_random_uuid() WHERE run_id = $id");
	my $pid = psql('SELECT pid FROM jobsched_internal.scheduler()');
	psql("SELECT pg_terminate_backend($pid)");
	wait_new_scheduler($node, $db, $pid);
	$session->query_safe('ROLLBACK');
	psql("SELECT jobsched.create_job('after', command => 'SELECT 1'); ");
	run_job($node, $db, 'after');
	is(psql("SELECT status, job_id FROM jobsched.runs WHERE run_id = $id"), 'queued|0', 'a request from elsewhere is left alone');
	psql('SELECT jobsched.adopt()');
	check_sent($role, 1, 'adopted');
	$session->quit;
}

# Every role that has been served has what it asked for.
wait_drained($node, $db);
check_log($node, allow => qr/terminating background worker|scheduler FATAL:  terminating/, killed => 1);
end_sessions($node);
done_testing();
