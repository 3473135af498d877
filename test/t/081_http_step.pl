# Copyright (c) 2026, jobsched contributors

# Durable procedures that send requests: what comes back, what is an error, what is sent
# once, whatever is killed meanwhile; rights; retries; how long answers are kept.

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
my $node = http_node('http_step', conf => "restart_after_crash = on\n");

# /fixed/NAME is 402 until /fix/NAME was asked for.
my $sink = start_sink($node, answer => q{
	my %fixed;
	sub {
		my ($request) = @_;
		return (200, 'fixed') if $request->{path} =~ m{^/fix/(.*)} && ++$fixed{$1};
		return ($fixed{$1} ? 200 : 402, "state of $1") if $request->{path} =~ m{^/fixed/(.*)};
		return (200, 'x' x 3000, 'X-Long' => 'y' x 3000) if $request->{path} eq '/large';
		return;
	}});
my $url = $sink->{url};

define_clock($node, $db);
make_gate($node, $db, 'app');

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

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job', '" . ($args || '{}') . "')");
}

sub result
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id, q{concat_ws(' ', status, reason, result)});
}

sub error_of_run
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id, q{concat_ws(' ', sqlstate, error)});
}

sub done
{
	my ($run_id) = @_;
	return psql("SELECT string_agg(name, ' ' ORDER BY id) FROM app.done WHERE run_id = $run_id");
}

# The run that a run waits for.
sub request_of
{
	my ($run) = @_;

	until_true($node, $db, "SELECT parents = 1 FROM jobsched.waiting WHERE run_id = $run", "run $run waits for a request");
	return psql("SELECT parent_ids[1] FROM jobsched.waiting WHERE run_id = $run");
}

sub children
{
	my ($run) = @_;
	return psql("SELECT count(*) FROM jobsched.runs WHERE parent_run_id = $run");
}

sub restart
{
	end_sessions($node);
	kill_and_start($node);
	wait_scheduler($node, $db);
	return;
}

# A procedure of this text, and its run.
sub procedure
{
	my ($name, $text, $args) = @_;

	define($name, $text);
	return trigger($name, $args);
}

sub define
{
	my ($name, $text) = @_;

	app(qq{
		CREATE OR REPLACE PROCEDURE app.$name(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS \$\$
		DECLARE
			r jsonb;
			s jsonb;
		BEGIN
			$text
		END \$\$;
		SELECT jobsched.create_job('$name', handler => 'app.$name', max_attempts => 1, if_exists => 'update')});
	return;
}

app(q{
	CREATE TABLE app.stop (point text);
	CREATE TABLE app.done (id bigserial, run_id bigint, name text);
	CREATE FUNCTION app.stop_at(at text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM app.stop WHERE point = at) THEN
			PERFORM FROM public.gate;
		END IF;
	END $$;
	CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.done (run_id, name) VALUES (jobsched.run_id(), args ->> 'name');
		RETURN args -> 'name';
	END $$;
	CREATE FUNCTION app.fails(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'no';
	END $$});

# Each request that a run asks for, once.
define('flow', qq{
	PERFORM app.stop_at('before');
	CALL jobsched.step('a', 'app.work', '{"name": "a"}', r);
	CALL jobsched.http_step('ask', 'POST', '$url' || COALESCE(args ->> 'path', '/text/yes'), args, r);
	PERFORM app.stop_at('after');
	CALL jobsched.step('b', 'app.work', '{"name": "b"}', s);
	result := r -> 'body';
	PERFORM app.stop_at('end');
});

# ------------------------------------------------------------------------
# What comes back
# ------------------------------------------------------------------------

my $run = trigger('flow', '{"n": 0}');
is(result($run), 'succeeded "yes"', 'a request');
is(done($run), 'a b', 'the steps are done once');
is(children($run), '1', 'it has one request');
is(psql("SELECT string_agg(concat_ws(' ', seq, name, function, request_run_id IS NOT NULL, result ->> 'status', error), ',' ORDER BY seq) FROM jobsched.procedure_steps WHERE run_id = $run"),
	'1 a app.work f,2 ask t 200,3 b app.work f', 'and has a memo');
is(psql("SELECT concat_ws(' ', job_name, status, optional, result) FROM jobsched.runs WHERE parent_run_id = $run"), 'http succeeded t {"status": 200}', 'it is a run of its own');
is(psql("SELECT request_run_id = (result ->> 'run_id')::bigint AND request_run_id = (SELECT run_id FROM jobsched.http_responses WHERE body = 'yes') FROM jobsched.procedure_steps WHERE run_id = $run AND name = 'ask'"), 't', 'of which the result tells');
is(psql('SELECT count(*) FROM jobsched_internal.memo WHERE name < \' \''), '0', 'nothing is left of the wait');
my ($sent) = requests($sink, qr{/text/yes});
is($sent->{body}, '{"n": 0}', 'what was sent');

app(q{SELECT jobsched.set_secret('token', 'very-secret-value')});
$run = procedure('asks', qq{
	CALL jobsched.http_step('echo', 'put', '$url/echo', NULL, result, headers => '{"Authorization": "Bearer {{secret.token}}"}',
		params => '{"q": ["a b", 1]}', timeout => '10 s', max_attempts => 2, keys => ARRAY['k:1'], body_text => 'text', priority => 5,
		connect_timeout => '5 s', success_codes => ARRAY['2xx'], max_redirects => 1, sign_with => 'token');
});
like(result($run), qr/^succeeded .*"status": 200/, 'all parameters');
($sent) = requests($sink, qr{/echo});
is($sent->{method}, 'PUT', 'method');
is($sent->{headers}{authorization}, 'Bearer very-secret-value', 'a secret');
ok($sent->{headers}{'webhook-signature'} || $sent->{headers}{'x-jobsched-signature'} || grep({ /sign/i } keys %{ $sent->{headers} }), 'a signature');
unlike(result($run), qr/very-secret-value/, 'which is not in what comes back');
is(psql("SELECT concat_ws(' ', priority, keys) FROM jobsched.runs WHERE parent_run_id = $run"), "5 {k:1,http_host:127.0.0.1:$sink->{port}}", 'and what holds for the run');

# more than a result may be
$run = procedure('large', qq{CALL jobsched.http_step('a', 'GET', '$url/large', NULL, result);});
like(result($run), qr/"body": "x{3000}"/, 'a large answer');
set_setting($node, 'jobsched.max_result_size', '4kB');
$run = trigger('large');
my $end = result($run);
like($end, qr/^succeeded .*x-long.*"truncated": true/i, 'one that is too large');
unlike($end, qr/"body"/, 'is without its body');
set_setting($node, 'jobsched.max_result_size', '2kB');
$run = trigger('large');
like(result($run), qr/^succeeded \{"run_id": \d+, "status": 200, "truncated": true\}$/, 'or even without headers');
set_setting($node, 'jobsched.max_result_size', undef);

# ------------------------------------------------------------------------
# While it waits
# ------------------------------------------------------------------------

$run = trigger('flow', '{"path": "/gate/wait"}');
my $request = request_of($run);
is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run"), 'retrying waiting_for_request', 'a run that waits');
is(psql("SELECT count(*) FROM jobsched.running WHERE run_id = $run"), '0', 'holds no worker');
is(psql("SELECT count(*) FROM jobsched.upcoming WHERE run_id = $run"), '0', 'and is not about to start');
is(psql("SELECT concat_ws(' ', parents, events, until) FROM jobsched.waiting WHERE run_id = $run"), '1 {}', 'for what it waits');
wait_requests($sink, 1, qr{/gate/wait});
restart();
is(request_of($run), $request, 'a restart does not change that');
wait_requests($sink, 2, qr{/gate/wait});
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $request"), 'running', 'the request is sent again');
open_gate($sink, 'wait');
is(result($run), 'succeeded "ok"', 'it goes on');
is(done($run), 'a b', 'with nothing done twice');
my %keys = map { $_->{headers}{'idempotency-key'} => 1 } requests($sink, qr{/gate/wait});
is(scalar keys %keys, 1, 'and one Idempotency-Key');

# ends
for ([ 'cancel', 'cancelled cancelled' ], [ 'drop', 'cancelled job_dropped' ])
{
	my ($how, $expected) = @{$_};

	app(qq{SELECT jobsched.create_job('$how', handler => 'app.flow')});
	$run = trigger($how, qq({"path": "/gate/$how"}));
	$request = request_of($run);
	wait_requests($sink, 1, qr{/gate/$how});
	app($how eq 'cancel' ? "SELECT jobsched.cancel_run($run)" : "SELECT jobsched.drop_job('$how')");
	is(result($run), $expected, "a run that waits: $how");
	is(result($request), 'cancelled parent_ended', 'its request ends with it');
	wait_aborted($sink, 1, qr{/gate/$how});
}
$run = trigger('flow', '{"path": "/gate/kept"}');
$request = request_of($run);
app("SELECT jobsched.cancel_run($request)");
is(error_of_run($run), 'JS002 the request of step "ask" has failed', 'the request can be cancelled');
like(psql("SELECT error_detail FROM jobsched.runs WHERE run_id = $run"), qr/^Run $request: cancelled/, 'which is a failure of it');

$run = trigger('flow', '{"path": "/gate/no_job"}');
$request = request_of($run);
app(q{SELECT jobsched.drop_job('http')});
is(result($run) =~ s/ .*//sr, 'failed', 'its job can be dropped');
is(psql("SELECT error_detail FROM jobsched.runs WHERE run_id = $run"), "Run $request: cancelled: job_dropped.", 'which is one too');

# pauses
$run = trigger('flow', '{"path": "/gate/paused"}');
$request = request_of($run);
app(q{SELECT jobsched.pause_job('flow')});
open_gate($sink, 'paused');
is(result($request), 'succeeded {"status": 200}', 'while its job is paused the request is sent');
until_true($node, $db, "SELECT count(*) = 0 FROM jobsched.waiting WHERE run_id = $run", 'it waits for that no more');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run"), 'retrying', 'but for its job');
app(q{SELECT jobsched.resume_job('flow')});
is(result($run), 'succeeded "ok"', 'and goes on when it is resumed');
app(q{SELECT jobsched.pause_job('http')});
$run = trigger('flow');
$request = request_of($run);
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $request"), 'queued', 'job http is paused');
app(q{SELECT jobsched.resume_job('http')});
is(result($run), 'succeeded "yes"', 'and resumed');

# a procedure that is replaced meanwhile
$run = procedure('changes', qq{CALL jobsched.http_step('a', 'GET', '$url/gate/changes', NULL, result);});
request_of($run);
define('changes', qq{CALL jobsched.sleep('s', '0'); result := '1';});
open_gate($sink, 'changes');
is(result($run), 'succeeded 1', 'it need not come back to its request');
$run = procedure('changes', qq{CALL jobsched.http_step('a', 'GET', '$url/gate/changed', NULL, result);});
request_of($run);
define('changes', qq{CALL jobsched.http_step('a', 'GET', '$url/another', NULL, result);});
open_gate($sink, 'changed');
is(error_of_run($run), '55000 step "a" was another one when it was done', 'but not with another');
is(scalar requests($sink, qr{/another}), 0, 'which is not sent');

# another owner
psql('CREATE ROLE other LOGIN; GRANT app TO other; GRANT USAGE, CREATE ON SCHEMA app TO other; GRANT ALL ON ALL TABLES IN SCHEMA app TO other; GRANT ALL ON ALL SEQUENCES IN SCHEMA app TO other');
app(q{SELECT jobsched.create_job('given', handler => 'app.flow')});
$run = trigger('given', '{"path": "/gate/given"}');
$request = request_of($run);
psql(q{SELECT jobsched.alter_job('given', owner => 'other')});
open_gate($sink, 'given');
is(result($run), 'succeeded "ok"', 'a job is given away: the run has its answer');
is(psql("SELECT owner FROM jobsched.runs WHERE run_id = $request"), 'app', 'and the request stays who it was');

# ------------------------------------------------------------------------
# Failures
# ------------------------------------------------------------------------

$run = trigger('flow', '{"path": "/status/404"}');
is(error_of_run($run), 'JS002 the request of step "ask" has failed', 'a request that fails');
$request = psql("SELECT run_id FROM jobsched.runs WHERE parent_run_id = $run");
my $why = "Run $request: failed: the server answered with status 404.";
is(psql("SELECT error_detail FROM jobsched.runs WHERE run_id = $run"), $why, 'why');
is(psql("SELECT concat_ws(' ', result ->> 'status', error) FROM jobsched.procedure_steps WHERE run_id = $run AND name = 'ask'"), "404 $why", 'its memo');
is(done($run), 'a', 'nothing comes after it');
is(psql("SELECT count(*) FROM jobsched.attempts WHERE run_id = $run"), '2', 'and it is not tried again');
is(psql("SELECT concat_ws(' ', status, reason) FROM jobsched.runs WHERE run_id = $run"), 'failed error', 'the run says that it has failed');

my $catch = qq{
	BEGIN
		CALL jobsched.http_step('ask', 'GET', '$url/status/404', NULL, r);
	EXCEPTION WHEN SQLSTATE 'JS002' THEN
		CALL jobsched.sleep('rest', '1 ms');
		result := '"caught"';
	END;
};
$run = procedure('catches', qq{$catch CALL jobsched.step('b', 'app.work', '{"name": "b"}', r); CALL jobsched.sleep('rest again', '1 ms');});
is(result($run), 'succeeded "caught"', 'it can be caught');
is(children($run), '1', 'and is the same in each execution');
is(done($run), 'b', 'the procedure goes on');
$run = procedure('returns', qq{CALL jobsched.http_step('ask', 'GET', '$url/status/404', NULL, r, success_codes => ARRAY['2xx', '404']); result := r -> 'status';});
is(result($run), 'succeeded 404', 'a status that is no failure is returned');
$run = procedure('dead', q{CALL jobsched.http_step('ask', 'GET', 'http://127.0.0.1:1/', NULL, r, max_attempts => 1);});
like(psql("SELECT error_detail FROM jobsched.runs WHERE run_id = " . (error_of_run($run) && $run)), qr/^Run \d+: failed: .*onnect/, 'no connection');
is(psql("SELECT result IS NULL OR result - 'run_id' = '{}' FROM jobsched.procedure_steps WHERE run_id = $run"), 't', 'which has no answer');
app(q{SELECT jobsched.alter_job('http', retry_delays => ARRAY['1 ms'::interval], max_attempts => 20)});
$run = trigger('flow', '{"path": "/flaky/1"}');
is(result($run), 'succeeded "ok"', 'a request is tried again');
is(psql("SELECT attempt FROM jobsched.runs WHERE parent_run_id = $run"), '2', 'for itself');

# ------------------------------------------------------------------------
# Retries by hand
# ------------------------------------------------------------------------

# what has succeeded is kept, what the run has ended of is done anew
$run = procedure('pays', qq{
	CALL jobsched.http_step('first', 'GET', '$url/text/first', NULL, r);
	BEGIN
		CALL jobsched.http_step('never', 'GET', '$url/fixed/never', NULL, s);
	EXCEPTION WHEN SQLSTATE 'JS002' THEN
		NULL;
	END;
	CALL jobsched.http_step('pay', 'GET', '$url/fixed/pay', NULL, s);
	result := jsonb_build_array(r -> 'body', s -> 'body');
});
is(error_of_run($run), 'JS002 the request of step "pay" has failed', 'a run fails');
app(qq{SELECT jobsched.http_get('$url/fix/$_')}) for qw(pay never);
wait_requests($sink, 2, qr{/fix/});
my $again = app("SELECT jobsched.retry_run($run)");
is(result($again), 'succeeded ["first", "state of pay"]', 'and is retried');
is(children($again), '1', 'the failed request is sent anew');
is(scalar requests($sink, qr{/text/first}), 1, 'what has succeeded is not');
is(scalar requests($sink, qr{/fixed/never}), 1, 'nor what the procedure has got over');

# caught, and then raised again
$run = procedure('gives_up', qq{
	BEGIN
		CALL jobsched.http_step('pay', 'GET', '$url/fixed/up', NULL, result);
	EXCEPTION WHEN SQLSTATE 'JS002' THEN
		PERFORM jobsched.log('info', 'no');
		RAISE EXCEPTION 'given up';
	END;
});
is(error_of_run($run), 'P0001 given up', 'a run gives up');
app(qq{SELECT jobsched.http_get('$url/fix/up')});
wait_requests($sink, 1, qr{/fix/up});
like(result(app("SELECT jobsched.retry_run($run)")), qr/^succeeded/, 'nothing was done since: the request is sent anew');

# raised again after another one has failed that was to help
$run = procedure('falls_back', qq{
	BEGIN
		CALL jobsched.http_step('pay', 'GET', '$url/fixed/first', NULL, result);
	EXCEPTION WHEN SQLSTATE 'JS002' THEN
		BEGIN
			CALL jobsched.http_step('tell', 'GET', '$url/fixed/second', NULL, r);
		EXCEPTION WHEN SQLSTATE 'JS002' THEN
			NULL;
		END;
		RAISE;
	END;
});
is(error_of_run($run), 'JS002 the request of step "pay" has failed', 'a run fails of the first of two');
app(qq{SELECT jobsched.http_get('$url/fix/first')});
wait_requests($sink, 1, qr{/fix/first});
like(result(app("SELECT jobsched.retry_run($run)")), qr/^succeeded/, 'which is sent anew');
is(scalar requests($sink, qr{/fixed/second}), 1, 'instead of the other');

# what comes later fails
$run = procedure('gets_over', qq{$catch CALL jobsched.step('b', 'app.work', '{"name": "b"}', r); CALL jobsched.step('c', 'app.fails', '{}', r);});
is(error_of_run($run), 'P0001 no', 'a later step fails');
$again = app("SELECT jobsched.retry_run($run)");
is(error_of_run($again), 'P0001 no', 'and once more');
is(children($again), '0', 'what the procedure has got over stays as it was');

# a run that is cancelled while the request is there, and when that has succeeded
$run = trigger('flow', '{"path": "/gate/retried"}');
request_of($run);
wait_requests($sink, 1, qr{/gate/retried});
app("SELECT jobsched.cancel_run($run)");
is(result($run), 'cancelled cancelled', 'a run is cancelled');
open_gate($sink, 'retried');
is(result($again = app("SELECT jobsched.retry_run($run)")), 'succeeded "ok"', 'and retried');
is(children($again), '1', 'the request is sent anew');
is(done($again), 'b', 'nothing else is');
$run = trigger('flow', '{"path": "/gate/in_time"}');
$request = request_of($run);
app(q{SELECT jobsched.pause_job('flow')});
open_gate($sink, 'in_time');
is(result($request), 'succeeded {"status": 200}', 'a request succeeds');
app("SELECT jobsched.cancel_run($run)");
is(result($run), 'cancelled cancelled', 'before the run is cancelled');
app(q{SELECT jobsched.resume_job('flow')});
is(result($again = app("SELECT jobsched.retry_run($run)")), 'succeeded "ok"', 'and retried');
is(children($again), '0', 'the request is not sent again');

# ------------------------------------------------------------------------
# The door
# ------------------------------------------------------------------------

my $n = 0;
sub refused
{
	my ($call, $expected, $what) = @_;

	$n++;
	like(error_of_run(procedure("refused_$n", $call)), $expected, $what);
	return;
}

my $ok = "'GET', '$url/refused', NULL, r";
refused("CALL jobsched.http_step('a', 'GET', 'ftp://x', NULL, r);", qr/^22023 /, 'a URL');
refused("CALL jobsched.http_step('a', 'GET', NULL, NULL, r);", qr/^22004 .*url/, 'none');
refused("CALL jobsched.http_step('a', NULL, '$url', NULL, r);", qr/^22004 .*method/, 'no method');
refused("CALL jobsched.http_step(NULL, $ok);", qr/^22004 .*name/, 'no name');
refused("CALL jobsched.http_step('', $ok);", qr/^22023 invalid name of a step/, 'an empty name');
refused("CALL jobsched.http_step(E'\\x01\\x31', $ok);", qr/^22023 invalid name of a step/, 'one of ours');
refused("CALL jobsched.http_step('a', $ok, headers => '[]');", qr/^22023 /, 'headers');
refused("CALL jobsched.http_step('a', $ok, headers => '{\"Host\": \"x\"}');", qr/^22023 /, 'a header');
refused("CALL jobsched.http_step('a', $ok, timeout => '2 days');", qr/^22023 invalid timeout/, 'a timeout');
refused("CALL jobsched.http_step('a', $ok, max_attempts => -1);", qr/^22023 max_attempts/, 'attempts');
refused("CALL jobsched.http_step('a', 'POST', '$url', to_jsonb(repeat('x', 17000000)), r);", qr/^(54000|22023) /, 'a body');
refused("CALL jobsched.http_step('a', 'POST', '$url/text/1', NULL, r); CALL jobsched.http_step('a', 'POST', '$url/text/1', NULL, r);", qr/^42710 step "a" comes twice/, 'a name that comes twice');
refused("CALL jobsched.step('a', 'app.work', '{}', r); CALL jobsched.http_step('a', $ok);", qr/^42710 /, 'of another kind too');
my $first = 'IF jobsched.attempt() <= 1 THEN';
refused("$first CALL jobsched.sleep('a', '0'); ELSE CALL jobsched.http_step('a', $ok); END IF;", qr/^55000 step "a" was another/, 'it was a sleep');
refused("$first CALL jobsched.step('a', 'app.work', '{}', r); CALL jobsched.sleep('s', '0'); END IF; CALL jobsched.http_step('a', $ok);", qr/^55000 step "a" was another/, 'it was a step');
for my $other ("step('a', 'app.work', '{}', r)", "sleep('a', '0')", "await_event('a', '0', r)", "http_step('a', 'POST', '$url/text/1', NULL, r)",
	"http_step('a', 'GET', '$url/text/2', NULL, r)", "http_step('a', 'GET', '$url/text/1', '1', r)", "http_step('a', 'GET', '$url/text/1', NULL, r, headers => '{\"X\": \"1\"}')")
{
	refused("IF jobsched.attempt() <= 2 THEN CALL jobsched.http_step('a', 'GET', '$url/text/1', NULL, r); CALL jobsched.sleep('s', '0'); ELSE CALL jobsched.$other; END IF;", qr/^55000 step "a" was another/, "it was a request, not $other");
}
app(qq{CREATE FUNCTION app.in_step(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	DECLARE r jsonb; BEGIN CALL jobsched.http_step('a', $ok); RETURN r; END \$\$});
refused("CALL jobsched.step('s', 'app.in_step', '{}', r);", qr/^2D000 http_step\(\) is used in a step/, 'in a step');
app(qq{SELECT jobsched.create_job('command', command => \$\$ CALL jobsched.http_step('a', 'GET', '$url/refused', NULL, NULL) \$\$, max_attempts => 1)});
like(error_of_run(trigger('command')), qr/^55000 http_step\(\) is used in a run that is no durable procedure/, 'in a command');
is(app("CALL jobsched.http_step('a', 'GET', '$url/refused', NULL, NULL)"), '', 'by hand it does nothing');
like(error_of($node, $db, "CALL jobsched.http_step('a', 'GET', 'ftp://x', NULL, NULL)", 'app'), qr/22023: url does not begin/, 'but check');
is(scalar requests($sink, qr{/refused}), 0, 'nothing was sent of all that');

# where step() cannot be called
app(qq{CREATE FUNCTION app.asks() RETURNS jsonb LANGUAGE plpgsql AS \$\$
	DECLARE r jsonb; BEGIN EXECUTE 'CALL jobsched.http_step(''a'', ''GET'', ''$url/text/function'', NULL, NULL)' INTO r; RETURN r -> 'body'; END \$\$});
$run = procedure('function', 'result := app.asks();');
is(result($run), 'succeeded "function"', 'in a function');
$run = procedure('swallows', qq{BEGIN CALL jobsched.http_step('a', 'GET', '$url/text/swallowed', NULL, r); EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'swallowed'; END; result := r -> 'body';});
is(result($run), 'succeeded "swallowed"', 'WHEN OTHERS does not catch the wait');

# whose rights
psql(qq{CREATE ROLE low LOGIN; GRANT USAGE ON SCHEMA jobsched TO low; GRANT USAGE, CREATE ON SCHEMA app TO low; GRANT EXECUTE ON FUNCTION jobsched.http_request TO low});
session_sql($node, $db, 'low', qq{CREATE FUNCTION app.low() RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS \$\$
	DECLARE r jsonb; BEGIN CALL jobsched.http_step('a', $ok); RETURN r; END \$\$});
refused('result := app.low();', qr/^42501 http_step\(\) is called as role "low"/, 'a function with the rights of another role');
psql('GRANT low TO app');
refused("SET LOCAL ROLE low; CALL jobsched.http_step('a', $ok);", qr/^42501 http_step\(\) is called as role "low"/, 'SET ROLE');
psql('REVOKE low FROM app');
psql('REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM app');
refused("CALL jobsched.http_step('a', $ok);", qr/^42501 role "app" may not make HTTP requests/, 'who may make no requests');
psql('GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
$run = procedure('loses', qq{CALL jobsched.http_step('a', 'GET', '$url/text/kept', NULL, result); CALL jobsched.await_event('go', NULL, r); result := result -> 'body';});
until_true($node, $db, "SELECT events = '{go}' FROM jobsched.waiting WHERE run_id = $run", 'a run has an answer');
psql('REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM app');
app(q{SELECT jobsched.send_event('go')});
is(result($run), 'succeeded "kept"', 'and keeps it when its owner may ask no more');
session_sql($node, $db, 'low', qq{CREATE FUNCTION app.takes() RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS \$\$
	DECLARE r jsonb; BEGIN CALL jobsched.http_step('a', 'GET', '$url/text/kept', NULL, r); RETURN r; END \$\$});
$again = procedure('gives', qq{
	IF jobsched.attempt() <= 2 THEN
		CALL jobsched.http_step('a', 'GET', '$url/text/kept', NULL, r);
		CALL jobsched.sleep('s', '0');
	END IF;
	result := app.takes();
});
like(error_of_run($again), qr/^42501 /, 'which another role\'s function does not get');
psql('GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');

# who sees the answer
psql('CREATE ROLE monitor LOGIN; GRANT pg_monitor TO monitor; GRANT USAGE ON SCHEMA jobsched TO monitor');
is(session_sql($node, $db, 'monitor', "SELECT concat_ws(' ', name, result, error) FROM jobsched.procedure_steps WHERE run_id = $run AND name = 'a'"), 'a', 'pg_monitor does not see what was answered');
is(app("SELECT result ->> 'body' FROM jobsched.procedure_steps WHERE run_id = $run AND name = 'a'"), 'kept', 'its owner does');

# ------------------------------------------------------------------------
# Surroundings
# ------------------------------------------------------------------------

# a clock that is set back
set_clock($node, $db, psql(q{SELECT now() + interval '1 day'}));
$run = trigger('flow', '{"path": "/gate/back"}');
request_of($run);
define('awaits', q{CALL jobsched.await_event('go', NULL, r); result := '"went"';});
my $awaits = trigger('awaits');
until_true($node, $db, "SELECT events = '{go}' FROM jobsched.waiting WHERE run_id = $awaits", 'a run waits for an event');
set_clock($node, $db, psql('SELECT now()'));
open_gate($sink, 'back');
is(result($run), 'succeeded "ok"', 'a clock that is set back does not hold up who waits for a request');
app(q{SELECT jobsched.send_event('go')});
is(result($awaits), 'succeeded "went"', 'nor for an event');
set_clock($node, $db, undef);

# in a job made of steps, for each element
app(q{SELECT jobsched.create_job('steps', steps => '[
	{"name": "all", "handler": "app.flow", "for_each": "SELECT to_jsonb(n) FROM generate_series(1, 3) n"},
	{"name": "one", "handler": "app.flow"}]')});
is(result($run = trigger('steps')) =~ s/\{.*//sr, 'succeeded ', 'in a job made of steps');
is(scalar requests($sink, qr{/text/yes}), 6, 'each of them asks once');
app(q{CREATE FUNCTION app.child(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(jobsched.trigger('fails', child => true)) $$;
	SELECT jobsched.create_job('fails', handler => 'app.fails', max_attempts => 1)});
$run = procedure('children', qq{CALL jobsched.step('child', 'app.child', '{}', r); CALL jobsched.http_step('a', 'GET', '$url/text/child', NULL, r); result := r -> 'body';});
is(result($run), 'failed child_failed "child"', 'other children are what they were');

# a role whose runs have all of the memory that it may have
set_setting($node, 'jobsched.max_queue_memory', '1MB');
restart();
app(qq{SELECT count(*) FROM jobsched.trigger_many('flow', array_fill('{"path": "/text/full"}'::jsonb, ARRAY[3000]))});
wait_drained($node, $db);
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'flow' AND status = 'succeeded' AND result = '"full"'}), '3000', 'all have their answers');
is(scalar requests($sink, qr{/text/full}), 3000, 'of one request each');
set_setting($node, 'jobsched.max_queue_memory', undef);
restart();

# ------------------------------------------------------------------------
# kill -9
# ------------------------------------------------------------------------

for my $how ('worker', 'server')
{
	for my $point ('before', 'after', 'end')
	{
		forget_requests($sink);
		app("TRUNCATE app.stop; INSERT INTO app.stop VALUES ('$point')");
		my $gate = close_gate($node, $db, 'LOCK TABLE gate');
		$run = trigger('flow', qq({"path": "/text/$how"}));
		my $pid = wait_at_gate($node, $db, $run);
		app('DELETE FROM app.stop');
		end_sessions($node);
		if ($how eq 'worker')
		{
			kill 'KILL', $pid;
			wait_connection($node);
		}
		else
		{
			kill_and_start($node);
		}
		eval { $gate->quit };
		wait_scheduler($node, $db);
		is(result($run), qq{succeeded "$how"}, "$how killed at $point: it has its answer");
		is(done($run), 'a b', 'each step was done once');
		is(scalar requests($sink, qr{/text/$how}), 1, 'and the request was sent once');
	}
}

# the process that sends, while the request is with the server
$run = trigger('flow', '{"path": "/gate/http"}');
request_of($run);
wait_requests($sink, 1, qr{/gate/http});
end_sessions($node);
kill 'KILL', http_worker_pid($node, $db);
wait_connection($node);
wait_scheduler($node, $db);
wait_requests($sink, 2, qr{/gate/http});
open_gate($sink, 'http');
is(result($run), 'succeeded "ok"', 'the process that sends is killed: it sends again');
is(children($run), '1', 'the same request');

# whenever it happens
forget_requests($sink);
app(q{SELECT count(*) FROM jobsched.trigger_many('flow', ARRAY(SELECT jsonb_build_object('path', '/text/any', 'n', n) FROM generate_series(1, 300) n))});
for my $i (1 .. 6)
{
	until_true($node, $db, "SELECT count(*) >= 80 * $i FROM app.done d JOIN jobsched.runs USING (run_id) WHERE args ->> 'path' = '/text/any'", 'some steps are done');
	my ($pid) = $i % 2 ? worker_pids($node, $db) : http_worker_pid($node, $db);
	end_sessions($node);
	kill 'KILL', $pid if $pid;
	wait_connection($node);
	wait_scheduler($node, $db);
}
wait_drained($node, $db);
my $any = q{FROM jobsched.runs r WHERE job_name = 'flow' AND args ->> 'path' = '/text/any'};
is(psql(qq{SELECT count(*) $any AND status = 'succeeded' AND result = '"any"'}), '300', 'all have their answers');
is(psql(qq{SELECT count(*) $any AND (SELECT count(*) FROM app.done d WHERE d.run_id = r.run_id) <> 2}), '0', 'each step was done once');
is(psql(qq{SELECT count(*) $any AND (SELECT count(*) FROM jobsched.runs c WHERE c.parent_run_id = r.run_id) <> 1}), '0', 'each has one request');
%keys = ();
$keys{ $_->{body} }{ $_->{headers}{'idempotency-key'} } = 1 for requests($sink, qr{/text/any});
is(scalar keys %keys, 300, 'each was sent');
is(scalar(grep { keys %{$_} > 1 } values %keys), 0, 'with one Idempotency-Key');
is(psql(q{SELECT count(*) FROM jobsched_internal.memo m JOIN jobsched_internal.history h USING (run_id) WHERE m.name < ' ' AND h.status = 'succeeded' AND h.job_id = (SELECT job_id FROM jobsched.jobs WHERE name = 'flow')}), '0', 'nothing is left of the waits');

# ------------------------------------------------------------------------
# Retention
# ------------------------------------------------------------------------

$run = trigger('flow', '{"path": "/gate/late"}');
$request = request_of($run);
app(q{SELECT jobsched.pause_job('flow')});
open_gate($sink, 'late');
is(result($request), 'succeeded {"status": 200}', 'a request has ended');
set_setting($node, 'jobsched.history_retention', '1 d');
set_setting($node, 'jobsched.failure_retention', '1 d');
for my $hours (map { $_ * 6 } 1 .. 9)
{
	set_clock($node, $db, psql("SELECT now() + '$hours h'"));
	until_true($node, $db, q{SELECT count(*) = 2 FROM jobsched_internal.ring WHERE started_at > jobsched_internal.clock_now() - interval '3 h'}, "$hours hours later");
}
is(psql("SELECT count(*) FROM jobsched.http_responses WHERE run_id = $request"), '0', 'its response is removed');
app(q{SELECT jobsched.resume_job('flow')});
is(result($run), 'succeeded "ok"', 'the procedure has it all the same');

# a run is kept for longer than its request that has succeeded
$run = trigger('flow', '{"path": "/gate/kept_on"}');
$request = request_of($run);
app(q{SELECT jobsched.pause_job('flow')});
open_gate($sink, 'kept_on');
is(result($request), 'succeeded {"status": 200}', 'one more has ended');
app("SELECT jobsched.cancel_run($run)");
is(result($run), 'cancelled cancelled', 'and then the run');
set_setting($node, 'jobsched.failure_retention', '1000 d');
for my $hours (map { $_ * 6 } 10 .. 19)
{
	set_clock($node, $db, psql("SELECT now() + '$hours h'"));
	until_true($node, $db, q{SELECT count(*) = 1 FROM jobsched_internal.ring WHERE started_at > jobsched_internal.clock_now() - interval '3 h'}, "$hours hours later");
}
is(psql("SELECT string_agg(run_id::text, ' ') FROM jobsched.runs WHERE run_id IN ($run, $request)"), $run, 'the request is removed, the run is not');
app(q{SELECT jobsched.resume_job('flow')});
is(result($again = app("SELECT jobsched.retry_run($run)")), 'succeeded "ok"', 'which is retried');
is(children($again), '0', 'with what was answered');
set_clock($node, $db, undef);

end_sessions($node);
check_log($node, killed => 1, allow => qr/unexpected postmaster exit|terminating connection/);
$node->stop;
done_testing();
