# Copyright (c) 2026, jobsched contributors

# Steps that look before they start: delay, if, placeholders for the results of
# others; undisturbed, with kill -9, and with owners who try what is not meant.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JSON::PP;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('looks', conf => "restart_after_crash = on\n");
my $sink = start_sink($node);
my $json = JSON::PP->new->canonical;

define_clock($node, $db);

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

sub quoted
{
	my ($text) = @_;
	return q{'} . $text =~ s/'/''/gr . q{'};
}

# A workflow that is called $name.
sub define
{
	my ($name, @steps) = @_;
	return app("SELECT jobsched.create_job('$name', if_exists => 'update', steps => " . quoted($json->encode(\@steps)) . ')');
}

sub trigger
{
	my ($job, $args) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($args ? ', ' . quoted($json->encode($args)) : '') . ')');
}

# The run of a new workflow.
sub begin
{
	my (@steps) = @_;
	define('flow', @steps);
	return trigger('flow');
}

sub ended
{
	my ($run_id) = @_;
	return end_of($node, $db, $run_id);
}

my $shown = q{string_agg(concat_ws(' ', step, status, reason), ', ' ORDER BY step_no)};

# What has become of the steps of a workflow run.
sub becomes_shown
{
	my ($run_id, $expected, $name) = @_;
	return wait_value($node, $db, "SELECT $shown FROM jobsched.steps WHERE workflow_run_id = $run_id", $expected, $name);
}

sub of_step
{
	my ($run_id, $step, $columns) = @_;
	return psql("SELECT $columns FROM jobsched.steps s JOIN jobsched.runs r USING (run_id) WHERE workflow_run_id = $run_id AND step = '$step'");
}

sub says
{
	my ($name, $what, %more) = @_;
	return { name => $name, command => "SELECT to_jsonb('$what'::text)", %more };
}

sub ended_step
{
	my ($run_id, $step) = @_;
	return wait_until($node, $db, "SELECT count(*) = 1 FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step' AND finished_at IS NOT NULL", "step $step has ended");
}

sub new_scheduler
{
	my $scheduler = scheduler_pid($node, $db);
	psql("SELECT pg_terminate_backend($scheduler)");
	return wait_new_scheduler($node, $db, $scheduler);
}

# With it goes the time that was set.
sub crash
{
	end_sessions($node);
	kill_and_start($node);
	return wait_scheduler($node, $db);
}

# The clock goes on to a time that is relative to the end of a step.
sub move_clock
{
	my ($run_id, $step, $by) = @_;
	return set_clock($node, $db,
		psql("SELECT finished_at + interval '$by' FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'"));
}

# The scheduler has seen what the clock says, and done what is due.
sub caught_up
{
	is(ended(trigger('plain')), 'succeeded', 'the scheduler has looked at the clock');
	return;
}

make_gate($node, $db, 'app');
app(q{SELECT jobsched.create_job('plain', command => 'SELECT 1')});

# ------------------------------------------------------------------------
# delay
# ------------------------------------------------------------------------

my $now = psql('SELECT date_trunc(\'second\', clock_timestamp())');
set_clock($node, $db, $now);

# With none before it: after it has been queued.
my $run = begin(says('first', 1, delay => '1 hour'), says('second', 2, delay => '2 hours'), says('third', 3));
becomes_shown($run, 'first queued not_due, second queued waiting_for_upstream, third queued waiting_for_upstream', 'a step waits for its delay');
is(of_step($run, 'first', "r.run_at = '$now'::timestamptz + interval '1 hour'"), 't', 'and it shows until when');
is(psql("SELECT string_agg(concat_ws(' ', job_name, delay), ', ' ORDER BY run_id) FROM jobsched.waiting"),
	'flow.second 02:00:00, flow.third', 'what waits for it shows its own delay');
is(psql("SELECT string_agg(job_name, ', ') FROM jobsched.upcoming WHERE run_at = '$now'::timestamptz + interval '1 hour'"),
	'flow.first', 'it is upcoming');
set_clock($node, $db, psql("SELECT '$now'::timestamptz + interval '59 min 59 s'"));
caught_up();
becomes_shown($run, 'first queued not_due, second queued waiting_for_upstream, third queued waiting_for_upstream', 'not a second too early');
set_clock($node, $db, psql("SELECT '$now'::timestamptz + interval '1 hour'"));
becomes_shown($run, 'first succeeded, second queued not_due, third queued waiting_for_upstream', 'it starts, and the next one waits');

sub check_second
{
	my ($name) = @_;
	is(of_step($run, 'second', 's.run_at = (SELECT p.finished_at FROM jobsched.steps p WHERE p.workflow_run_id = s.workflow_run_id AND p.step = \'first\') + interval \'2 hours\''),
		't', "$name: it shows until when");
	is(psql("SELECT string_agg(job_name, ', ' ORDER BY job_name) FROM jobsched.upcoming WHERE run_at >= jobsched_internal.clock_now() + interval '1 hour'"),
		'flow.second', "$name: it is upcoming");
	is(psql("SELECT string_agg(job_name, ', ' ORDER BY job_name) FROM jobsched.waiting"), 'flow.third', "$name: only the third waits for runs");
	return;
}
check_second('released');
new_scheduler();
move_clock($run, 'first', '1 hour 59 min 59 s');
caught_up();
becomes_shown($run, 'first succeeded, second queued not_due, third queued waiting_for_upstream', 'a new scheduler derives it again');
move_clock($run, 'first', '1 hour');
check_second('a new scheduler');
crash();
check_second('after a crash');
move_clock($run, 'first', '2 hours');
is(ended($run), 'succeeded', 'after the delay it starts');
is(of_step($run, 'second', 's.run_at = (SELECT p.finished_at FROM jobsched.steps p WHERE p.workflow_run_id = s.workflow_run_id AND p.step = \'first\') + interval \'2 hours\' AND s.started_at >= s.run_at'),
	't', 'history says when it was to start');

# The last of several; a skipped one counts; a failure too.
$run = begin(says('a', 1, after => []), says('b', 1, after => [], delay => '10 min'),
	{ name => 'c', command => 'SELECT 1/0', after => ['b'], delay => '10 min' },
	says('d', 1, after => [ 'a', 'c' ], when => 'done', delay => '10 min'),
	says('e', 1, after => [ 'c' ], delay => '10 min'));
ended_step($run, 'a');
move_clock($run, 'a', '9 min');
caught_up();
becomes_shown($run, 'a succeeded, b queued not_due, c queued waiting_for_upstream, d queued waiting_for_upstream, e queued waiting_for_upstream', 'a is done');
set_clock($node, $db, psql("SELECT jobsched_internal.clock_now() + interval '1 min'"));
ended_step($run, 'b');
move_clock($run, 'b', '10 min');
becomes_shown($run, 'a succeeded, b succeeded, c failed error, d queued not_due, e skipped upstream_failed', 'what cannot start is skipped without a delay');
is(of_step($run, 'd', 's.run_at = (SELECT max(p.finished_at) FROM jobsched.steps p WHERE p.workflow_run_id = s.workflow_run_id AND p.step = \'c\') + interval \'10 min\''), 't', 'the last one counts');

# Paused, and cancelled, meanwhile
app("SELECT jobsched.pause_job('flow')");
move_clock($run, 'c', '10 min');
becomes_shown($run, 'a succeeded, b succeeded, c failed error, d queued job_paused, e skipped upstream_failed', 'its time comes while it is paused');
app("SELECT jobsched.resume_job('flow')");
is(ended($run), 'failed child_failed', 'and it starts when it is resumed');
becomes_shown($run, 'a succeeded, b succeeded, c failed error, d succeeded, e skipped upstream_failed', 'its time has come');
$run = begin(says('a', 1), says('b', 1, delay => '3650 days'));
becomes_shown($run, 'a succeeded, b queued not_due', 'for ten years');
app("SELECT jobsched.cancel_run($run)");
is(ended($run), 'cancelled cancelled', 'unless it is cancelled');
becomes_shown($run, 'a succeeded, b cancelled parent_ended', 'with its workflow');

# Claimed, and given up, before it has begun
$run = begin(says('a', 1), says('b', 1, delay => '1 min'));
ended_step($run, 'a');
psql('SELECT jobsched.stop_processing()');
move_clock($run, 'a', '1 min');
becomes_shown($run, 'a succeeded, b queued processing_stopped', 'its time comes while nothing is processed');
psql('SELECT jobsched.start_processing()');
is(ended($run), 'succeeded', 'and then it starts');

# A step with a delay may be tried again: that delay is its policy's.
$run = begin(says('a', 1), { name => 'b', command => 'SELECT 1/(jobsched.attempt() - 1)', delay => '1 min', retry_on => ['22012'], backoff => 'fixed', backoff_base => '0' });
ended_step($run, 'a');
move_clock($run, 'a', '1 min');
is(ended($run), 'succeeded', 'tried again');
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# if
# ------------------------------------------------------------------------

app(q{
	CREATE FUNCTION app.told(run jsonb) RETURNS void LANGUAGE sql AS 'SELECT app.leave(run)';
	CREATE FUNCTION app.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
	CREATE FUNCTION app.parent(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.trigger('plain', child => true) $$;
	CREATE FUNCTION app.puts_off() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM jobsched.snooze('1 hour'); RETURN true; END $$;
	-- waits while somebody has locked the table of the gate; writes nothing
	CREATE FUNCTION app.at_gate() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN count(*) >= 0 FROM public.gate; END $$;
	CREATE FUNCTION app.settings(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('role', current_user, 'search_path', current_setting('search_path'),
			'read_only', current_setting('transaction_read_only'), 'work_mem', current_setting('work_mem')) $$;
	CREATE FUNCTION app.disturb() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('search_path', 'nowhere', false), set_config('work_mem', '65kB', true), set_config('transaction_read_only', 'on', true);
		SET ROLE other;
		RETURN true;
	END $$;
	CREATE FUNCTION app.run(statement text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; RETURN true; END $$;
	CREATE DOMAIN app.yes AS boolean CHECK (value)});
psql('CREATE ROLE other; GRANT other TO app');

sub of
{
	my ($name, $if, %more) = @_;
	return { name => $name, handler => 'app.echo', if => $if, %more };
}

$run = begin(
	says('first', 'yes'),
	of('true', "jobsched.step_result('first') = '\"yes\"'", after => ['first']),
	of('args', "jobsched.args() ->> 'a' = 'b' AND jobsched.run_id() > 0", after => ['first'], args => { a => 'b' }),
	of('false', "jobsched.step_result('first') = '\"no\"'", after => ['first'], on_failure => 'app.told', on_success => 'app.told'),
	of('null', "jobsched.step_result('first') -> 'x' = '1'", after => ['first']),
	{ name => 'command', command => 'SELECT 1', if => 'EXISTS (SELECT FROM app.effect)', after => ['first'] },
	says('behind', 1, after => ['false']), says('failure', 1, after => ['false'], when => 'failure'),
	says('done', 1, after => ['false'], when => 'done'), says('some', 1, after => [ 'false', 'true' ]));
is(ended($run), 'succeeded', 'a step that is skipped has not failed');
becomes_shown($run,
	'first succeeded, true succeeded, args succeeded, false skipped condition, null skipped condition, command skipped condition, '
	  . 'behind skipped upstream_skipped, failure skipped upstream_skipped, done succeeded, some succeeded',
	'conditions, and what comes after');
is(of_step($run, 'false', "concat_ws(' ', s.attempt, s.started_at IS NULL, r.worker_pid IS NOT NULL, s.error IS NULL)"), '0 t t t', 'to look is no attempt');
is(psql("SELECT count(*) FROM jobsched.attempts a JOIN jobsched.steps s USING (run_id) WHERE s.step IN ('false', 'null', 'command')"), '0', 'it shows none');
is(psql('SELECT count(*) FROM app.effect'), '0', 'nobody is told');
is(psql('SELECT count(*) FROM jobsched.dead_letters'), psql("SELECT count(*) FROM jobsched.runs WHERE source <> 'step' AND status = 'failed'"), 'it is no dead letter');

# Retries: each attempt looks.
$run = begin(of('again', '1 / (jobsched.attempt() - 1) > 0', retry_on => ['22012'], backoff => 'fixed', backoff_base => '0'),
	{ name => 'once', command => 'SELECT 1/0', if => 'jobsched.attempt() = 1', retry_on => ['22012'], backoff => 'fixed', backoff_base => '0', after => [] },
	{ name => 'never', command => 'SELECT 1', if => '1/0 = 1', after => [], optional => JSON::PP::true });
is(ended($run), 'succeeded', 'errors of conditions');
becomes_shown($run, 'again succeeded, once skipped condition, never failed error', 'an error of the condition is one of the attempt');
is(of_step($run, 'again', 's.attempt'), '2', 'in its second attempt');
is(of_step($run, 'once', 's.attempt'), '1', 'one attempt was made');
like(of_step($run, 'never', 'r.error_context'), qr/"if" of step "never"/, 'the error says where');

# What is not meant
for (
	[ q{app.run('CREATE TABLE app.made ()')}, 'failed error 25006' ],
	[ q{app.run('DELETE FROM app.effect')}, 'failed error 25006' ],
	[ q{app.run('SET LOCAL transaction_read_only = off')}, 'failed error 25001' ],
	[ q{app.run('COMMIT')}, 'failed error 0A000' ],
	[ q{app.run($x$DO 'BEGIN COMMIT; END'$x$)}, 'failed error 2D000' ],
	[ q{jobsched.trigger('plain') > 0}, 'failed error 25006' ],
	[ q{jobsched.cancel_run(jobsched.run_id())}, 'failed error 25006' ],
	[ q{app.run($x$SELECT jobsched.drop_job('flow')$x$)}, 'failed error 25006' ],
	[ q{jobsched.discard('enough') IS NULL}, 'failed discarded JS001' ],
	[ q{'yes'}, 'succeeded' ],
	[ q{'yes'::text}, 'failed error 42804' ],
	[ q{'perhaps'}, 'failed error 22P02' ],
	[ q{NULL -- is not true}, 'skipped condition' ],
	[ q{true /* is */ -- true) FROM x}, 'succeeded' ],
	[ q{1}, 'failed error 42804' ],
	[ q{unnest('{t,t}'::bool[])}, 'failed error 42804' ],
	[ q{unnest('{}'::bool[])}, 'failed error 42804' ],
	[ q{missing()}, 'failed error 42883' ],
	[ q{$1}, 'failed error 42P02' ],
	[ q{true::app.yes}, 'succeeded' ],
	[ q{false::app.yes}, 'failed error 23514' ],
	[ q{NULL::app.yes}, 'skipped condition' ],
	[ q{app.puts_off()}, 'failed error 25006' ],
	[ q{pg_sleep(60) IS NULL}, 'timed_out timeout 57014', timeout => '100 ms' ],
	[ q{app.run('SET LOCAL statement_timeout = 50') AND pg_sleep(0.1) IS NULL}, 'skipped condition' ],
	[ q{pg_terminate_backend(pg_backend_pid()) AND pg_sleep(60) IS NULL}, 'lost worker_died 57P01' ],
	[ q{app.disturb()}, 'succeeded' ])
{
	my ($if, $expected, %more) = @{$_};
	for my $kind ({ handler => 'app.settings' }, { command => 'SELECT app.settings(NULL)' }, { url => "$sink->{url}/ok/hostile" })
	{
		my $work = (keys %{$kind})[0];
		$run = begin({ name => 'one', %{$kind}, if => $if, max_attempts => 1, %more });
		ended($run);
		my $end = of_step($run, 'one', q{concat_ws(' ', r.status, r.reason, r.sqlstate)});
		$end =~ s/^lost worker_died .*/lost worker_died 57P01/;
		is($end, $expected, "$work: $if");
	}
}
$run = begin({ name => 'one', handler => 'app.settings' }, { name => 'two', handler => 'app.settings', if => 'app.disturb()' },
	{ name => 'three', command => 'SELECT app.settings(NULL)', if => 'app.disturb()' });
is(ended($run), 'succeeded', 'settings');
is(psql("SELECT count(DISTINCT COALESCE(result -> 'settings', result)) FROM jobsched.steps WHERE workflow_run_id = $run"), '1', 'the condition leaves no settings behind');
is(psql("SELECT count(*) FROM jobsched.runs WHERE job_name = 'flow.one' AND reason = 'snoozed'"), '0', 'it cannot put the step off');

# What the owner has set for transactions
psql('ALTER ROLE app SET default_transaction_read_only = on; ALTER ROLE app SET default_transaction_isolation = serializable');
psql("SELECT pg_terminate_backend(pid) FROM jobsched.workers WHERE owner = 'app'");
end_sessions($node);
define_as_superuser('strict', of('true', 'true'), of('false', 'false', after => []), { name => 'url', url => "$sink->{url}/ok/strict", if => 'true', after => [] });
$run = psql(q{SELECT jobsched.trigger('strict')});
is(ended($run), 'succeeded', 'in a read-only, serializable transaction');
becomes_shown($run, 'true succeeded, false skipped condition, url succeeded', 'it is recorded all the same');
psql('ALTER ROLE app RESET ALL');
psql("SELECT pg_terminate_backend(pid) FROM jobsched.workers WHERE owner = 'app'");
end_sessions($node);

sub define_as_superuser
{
	my ($name, @steps) = @_;
	return psql("SELECT jobsched.create_job('$name', owner => 'app', steps => " . quoted($json->encode(\@steps)) . ')');
}

# In a command that is no transaction; steps that could share one
$run = begin({ name => 'vacuum', command => 'VACUUM app.effect', if => 'app.at_gate()' },
	{ name => 'several', command => 'SELECT 1; VACUUM app.effect', mode => 'autocommit', if => 'app.at_gate()' },
	map { { name => "shared$_", handler => 'app.echo', share_transaction => JSON::PP::true, if => "jobsched.args() ->> 'n' <> '3'", args => { n => $_ }, after => ['several'] } } 1 .. 6);
is(ended($run), 'succeeded', 'other transactions');
becomes_shown($run, 'vacuum succeeded, several succeeded, ' . join(', ', map { "shared$_ " . ($_ == 3 ? 'skipped condition' : 'succeeded') } 1 .. 6), 'each by its own condition');

# In a command that commits
app(q{CREATE PROCEDURE app.commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.effect VALUES (jobsched.run_id()); COMMIT; INSERT INTO app.effect VALUES (jobsched.run_id()); END $$});
$run = begin({ name => 'calls', command => 'CALL app.commits()', if => 'app.disturb()' }, { name => 'does', command => q{DO 'BEGIN COMMIT; PERFORM 1; COMMIT; END'}, if => 'true' });
is(ended($run), 'succeeded', 'procedures');
is(psql("SELECT count(*) FROM app.effect WHERE run_id = " . of_step($run, 'calls', 'run_id')), '2', 'both of its transactions');

# ------------------------------------------------------------------------
# Requests
# ------------------------------------------------------------------------

sub request
{
	my ($name, $path, %more) = @_;
	return { name => $name, url => "$sink->{url}$path", %more };
}

forget_requests($sink);
$run = begin(request('yes', '/ok/yes', if => 'true'), request('no', '/ok/no', if => 'false', after => [], on_failure => 'app.told'),
	request('flaky', '/flaky/2', if => 'true', after => [], backoff => 'fixed', backoff_base => '0'));
is(ended($run), 'succeeded', 'requests with conditions');
becomes_shown($run, 'yes succeeded, no skipped condition, flaky succeeded', 'one is not sent');
is(join(', ', sort map { $_->{path} } requests($sink)), '/flaky/2, /flaky/2, /flaky/2, /ok/yes', 'and nobody has had it');
is(of_step($run, 'yes', 's.attempt'), '1', 'to look is no attempt');
is(of_step($run, 'flaky', 's.attempt'), '3', 'all attempts are requests');
is(psql("SELECT string_agg(a.attempt::text, ',' ORDER BY a.attempt) FROM jobsched.attempts a JOIN jobsched.steps s USING (run_id) WHERE s.step = 'flaky' AND workflow_run_id = $run"), '1,2,3',
	'and the only ones that show');

# Placeholders: each as its place wants it
forget_requests($sink);
psql(q{SELECT pg_terminate_backend(pid) FROM jobsched.workers});
app(q{SELECT jobsched.set_secret('hooks', 'very secret')});
my $odd = 'a b/c?d=e&f#g"h\\\\ {{secret.hooks}} {{args.x}} é';
$run = begin({ name => 'one step', command => 'SELECT ' . quoted($json->encode({ text => $odd, n => 7, deep => { list => [ 1, 'x' ], null => undef } })) . '::jsonb' },
	request('send', '/echo/{{steps.one step.result.text}}?n={{ steps.one step.result.n }}',
		headers => { 'X-N' => 'n {{steps.one step.result.n}}', Authorization => 'Bearer {{secret.hooks}}' },
		body => { whole => '{{steps.one step.result}}', list => [ '{{steps.one step.result.deep.list}}', '{{steps.one step.result.deep.null}}' ],
			text => 'so {{steps.one step.result.text}}', arg => '{{args.n}}', other => '{{args.braces}}' },
		args => { n => '{{steps.one step.result.n}}', braces => '{{args.n}} {{ }} {{' }));
is(ended($run), 'succeeded', 'placeholders in a request');
my ($sent) = requests($sink);
is($sent->{headers}->{'x-n'}, 'n 7', 'in a header');
is($sent->{headers}->{authorization}, 'Bearer very secret', 'beside others');
my $body = $json->decode($sent->{body});
is($json->encode($body->{list}), '[[1,"x"],null]', 'as JSON values');
is($body->{arg}, 7, 'through an argument');
is($body->{other}, '{{args.n}} {{ }} {{', 'other braces in arguments are text');
is($json->encode($body->{whole}{deep}), '{"list":[1,"x"],"null":null}', 'a whole result');
is($body->{text}, "so $body->{whole}{text}", 'in a text');
like($body->{text}, qr/\{\{secret\.hooks\}\} \{\{args\.x\}\}/, 'what a result has is no placeholder');
unlike($sent->{target} // $sent->{path}, qr/very/, 'nor in the URL');

# in arguments of a function and of a command
$run = begin(says('a', 'A {{steps.a.result}}'), { name => 'b', handler => 'app.echo', args => { x => '{{steps.a.result}}', y => [ 'is {{steps.a.result}}', { z => 1 } ] } },
	{ name => 'c', command => 'SELECT jobsched.args()', args => { x => '{{steps.b.result.y}}' } },
	{ name => 'parent', handler => 'app.parent', args => { x => '{{steps.a.result}}' } });
is(ended($run), 'succeeded', 'placeholders in arguments');
is(of_step($run, 'b', 's.result::text'), '{"x": "A {{steps.a.result}}", "y": ["is A {{steps.a.result}}", {"z": 1}]}', 'filled once');
is(of_step($run, 'c', 's.result::text'), '{"x": ["is A {{steps.a.result}}", {"z": 1}]}', 'of a command too');
is(of_step($run, 'b', "r.args ->> 'x'"), 'A {{steps.a.result}}', 'view runs shows what it got');
is(of_step($run, 'parent', "r.args ->> 'x'"), 'A {{steps.a.result}}', 'also of one that has waited for its children');
define('flow', { name => 'b', handler => 'app.echo', after => ['a'], args => { x => '{{steps.a.result}}' } }, says('a', 1, after => []));
$run = trigger('flow', { x => '{{steps.nobody.result}}', y => '{{steps.a.result}}' });
is(ended($run), 'succeeded', 'arguments of the workflow run');
is(of_step($run, 'b', 's.result::text'), '{"x": "1", "y": "{{steps.a.result}}"}', 'these are values');

# What is not there
for my $missing ([ 'a', 'steps.a.result.no', 'Its result has no such key.' ], [ 'fails', 'steps.fails.result', 'That step has ended as "failed".' ],
	[ 'skipped', 'steps.skipped.result', 'That step has ended as "skipped".' ], [ 'nothing', 'steps.nothing.result', 'That step has left no result.' ])
{
	my ($step, $placeholder, $detail) = @{$missing};
	my @before = (says('a', 1), { name => 'fails', command => 'SELECT 1/0', after => [], optional => JSON::PP::true },
		says('skipped', 1, if => 'false', after => []), { name => 'nothing', command => 'SELECT NULL::jsonb', after => [] });
	my @after = (after => [ 'a', 'fails', 'skipped', 'nothing' ], when => 'done');
	$run = begin(@before, { name => 'b', handler => 'app.echo', args => { x => "{{$placeholder}}" }, @after }, request('c', "/ok/{{$placeholder}}", @after),
		request('d', '/ok/d', @after, if => "jobsched.step_result('$step') -> 'x' IS NOT NULL", headers => { 'X-X' => "{{$placeholder}}" }));
	ended($run);
	is(of_step($run, 'b', q{concat_ws(' ', r.status, r.sqlstate, r.error, r.error_detail)}), "failed 22023 args needs $placeholder, which is not there $detail", "$placeholder in arguments");
	is(of_step($run, 'c', q{concat_ws(' ', r.status, r.sqlstate, r.error, r.error_detail)}), "failed 22023 url needs $placeholder, which is not there $detail", "$placeholder in a URL");
	is(of_step($run, 'd', q{concat_ws(' ', r.status, r.reason)}), 'skipped condition', 'it can look first');
}
$run = begin({ name => 'a', command => q{SELECT jsonb_build_object('null', null, 'lines', E'a\r\nX-Evil: 1')} },
	request('null', '/ok/{{steps.a.result.null}}', after => ['a']), request('lines', '/ok', after => ['a'], headers => { 'X-A' => '{{steps.a.result.lines}}' }));
ended($run);
like(of_step($run, 'null', 'r.error'), qr/needs steps\.a\.result\.null, which is null/, 'null is no text');
like(of_step($run, 'lines', q{concat_ws(' ', r.status, r.reason, r.error)}), qr/failed bad_request .*X-A/, 'no line ends in a header');

# How large it may be
set_setting($node, 'jobsched.max_args_size', '64kB');
$run = begin({ name => 'a', command => q{SELECT to_jsonb(repeat('x', 60000))} },
	{ name => 'b', handler => 'app.echo', after => ['a'], args => { x => '{{steps.a.result}}' } },
	{ name => 'c', handler => 'app.echo', after => ['a'], args => { x => '{{steps.a.result}}', y => '{{steps.a.result}}' } });
ended($run);
like(of_step($run, 'b', 'r.status'), qr/succeeded/, 'as large as arguments');
like(of_step($run, 'c', q{concat_ws(' ', r.status, r.sqlstate)}), qr/failed JS054/, 'not larger');
set_setting($node, 'jobsched.max_args_size', undef);

# As many as there are
$run = begin((map { { name => "s$_", command => "SELECT to_jsonb($_)", after => [] } } 1 .. 300),
	{ name => 'all', handler => 'app.echo', after => [ map { "s$_" } 1 .. 300 ], args => { sum => [ map { "{{steps.s$_.result}}" } 1 .. 300 ] } },
	request('post', '/echo', body => { rows => [ map { "{{steps.s$_.result}}" } 1 .. 300 ], last => '{{steps.all.result.sum}}' }));
is(ended($run), 'succeeded', 'many placeholders');
is(of_step($run, 'all', q{(SELECT sum(x::int) FROM jsonb_array_elements_text(s.result -> 'sum') x)}), 300 * 301 / 2, 'all of them');

# ------------------------------------------------------------------------
# kill -9, and others in between
# ------------------------------------------------------------------------

sub lock_gate { return close_gate($node, $db, 'LOCK TABLE public.gate') }

sub unlock
{
	my ($gate) = @_;
	$gate->query_safe('COMMIT');
	$gate->quit;
	return;
}

sub step_run
{
	my ($run_id, $step) = @_;
	my $of = "FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'";

	wait_until($node, $db, "SELECT count(*) = 1 $of", "step $step is queued");
	return psql("SELECT run_id $of");
}

my @looks = (says('a', 'x'), request('b', '/ok/{{steps.a.result}}', if => 'app.at_gate()'), says('c', 1));
for my $who ('its worker', 'the scheduler', 'the server', 'nobody')
{
	forget_requests($sink);
	my $gate = lock_gate();
	$run = begin(@looks);
	my $worker = wait_at_gate($node, $db, step_run($run, 'b'));
	if ($who eq 'its worker')
	{
		end_sessions($node);
		kill 'KILL', $worker;
		wait_connection($node, $db);
		wait_scheduler($node, $db);
	}
	elsif ($who eq 'the scheduler') { new_scheduler() }
	elsif ($who eq 'the server') { crash() }
	unlock($gate) if $who eq 'nobody' || $who eq 'the scheduler';
	is(ended($run), 'succeeded', "$who dies while it looks");
	becomes_shown($run, 'a succeeded, b succeeded, c succeeded', "$who: each is executed");
	is(scalar(requests($sink)), 1, "$who: it is sent once");
	# with the server goes a claim that was not on the disk, or it counts as an attempt that was lost
	like(of_step($run, 'b', 's.attempt'), $who eq 'nobody' || $who eq 'the scheduler' ? qr/^1$/ : qr/^[12]$/, "$who: attempts");
}

# The next attempt of a request that has looked
forget_requests($sink);
{
	my $gate = lock_gate();
	$run = begin(request('b', '/gate/one', if => 'app.at_gate()', retry_on => ['lost'], backoff => 'fixed', backoff_base => '0'));
	wait_at_gate($node, $db, step_run($run, 'b'));
	unlock($gate);
	wait_requests($sink, 1);
	$gate = lock_gate();
	kill 'TERM', http_worker_pid($node, $db);
	wait_requests($sink, 2);
	open_gate($sink, 'one');
	is(ended($run), 'succeeded', 'its request is sent again, and it does not look');
	is(of_step($run, 'b', 's.attempt'), '2', 'as another attempt');
	unlock($gate);
}

# Cancelled, paused, dropped while it looks
for my $what ('cancel_run', 'pause_job', 'drop_job', 'cancel workflow')
{
	forget_requests($sink);
	my $gate = lock_gate();
	$run = begin(@looks);
	my $b = step_run($run, 'b');
	wait_at_gate($node, $db, $b);
	app($what eq 'cancel_run' ? "SELECT jobsched.cancel_run($b)" : $what eq 'cancel workflow' ? "SELECT jobsched.cancel_run($run)" : "SELECT jobsched.$what('flow')");
	caught_up() if $what =~ /job/;
	unlock($gate);
	if ($what eq 'pause_job')
	{
		becomes_shown($run, 'a succeeded, b queued job_paused, c queued waiting_for_upstream', 'paused while it looks');
		is(scalar(requests($sink)), 0, 'it is not sent');
		# who has looked does not look again
		crash();
		my $again = lock_gate();
		app(q{SELECT jobsched.resume_job('flow')});
		wait_requests($sink, 1);
		unlock($again);
	}
	is(ended($run), { cancel_run => 'failed child_failed', 'cancel workflow' => 'cancelled cancelled' }->{$what} || 'succeeded', "$what while it looks");
	is(scalar(requests($sink)), $what =~ /cancel/ ? 0 : 1, "$what: requests");
}

# Another owner, between two steps
psql('CREATE ROLE heir LOGIN; GRANT USAGE ON SCHEMA jobsched, app TO heir; GRANT EXECUTE ON FUNCTION jobsched.http_request TO heir; GRANT heir TO app; GRANT SELECT ON gate TO heir');
app('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO heir');
{
	forget_requests($sink);
	my $gate = lock_gate();
	$run = begin(@looks);
	wait_at_gate($node, $db, step_run($run, 'b'));
	app(q{SELECT jobsched.pause_job('flow')});
	caught_up();
	unlock($gate);
	becomes_shown($run, 'a succeeded, b queued job_paused, c queued waiting_for_upstream', 'its request is ready');
	psql(q{SELECT jobsched.alter_job('flow', owner => 'heir')});
	psql(q{SELECT jobsched.resume_job('flow')});
	ended($run);
	is(of_step($run, 'b', q{concat_ws(' ', r.status, r.reason, r.sqlstate)}), 'failed bad_request 42501', 'another owner does not send what is not his');
	is(scalar(requests($sink)), 0, 'nobody does');
	psql(q{SELECT jobsched.drop_job('flow')});
}
for my $member (0, 1)
{
	forget_requests($sink);
	my $gate = lock_gate();
	$run = begin(says('a', 'x'), { name => 'gate', command => 'SELECT app.at_gate()' },
		request('b', '/ok/{{steps.a.result}}', if => q{current_user = 'heir'}, max_attempts => 1), says('c', 'of c'), { name => 'd', handler => 'app.echo', args => { x => '{{steps.c.result}}' } });
	wait_at_gate($node, $db, step_run($run, 'gate'));
	psql($member ? 'REVOKE heir FROM app; GRANT app TO heir' : 'SELECT 1');
	psql(q{SELECT jobsched.alter_job('flow', owner => 'heir')});
	unlock($gate);
	ended($run);
	is(of_step($run, 'b', q{concat_ws(' ', r.status, r.error_detail)}), $member ? 'succeeded' : 'failed That step was executed as another role.', "another owner, member $member");
	is(of_step($run, 'd', q{concat_ws(' ', r.status, r.reason)}), $member ? 'succeeded' : 'skipped upstream_skipped', 'results of its own');
	is(scalar(requests($sink)), $member, 'requests of the new owner');
	psql(q{SELECT jobsched.drop_job('flow')});
}

# A rate counts requests, not looks.
psql('ALTER ROLE app RESET ALL');
app(q{SELECT jobsched.set_queue('slow', rate => 1, per => '1 day', burst => 2)});
$run = begin(map { request("r$_", "/ok/$_", after => [], if => 'true', queue => 'slow') } 1 .. 3);
wait_value($node, $db, "SELECT string_agg(status, ',' ORDER BY status) FROM jobsched.steps WHERE workflow_run_id = $run", 'queued,succeeded,succeeded', 'two of three are sent');
app("SELECT jobsched.cancel_run($run)");
ended($run);

# An owner who cannot log in any more; and rows that somebody has spoilt
for my $spoilt (q{step_if = 'SELEC'}, q{step_if = 'true; DROP TABLE app.effect'}, q{step_if = NULL}, q{step_looks = false}, q{step = NULL},
	q{args = '{"x": "{{steps.q.result}}"}'}, q[args = '{"x": "{{steps.a"}'], q{args = '[]'}, q{step_delay = '-1 day'}, q{step_delay = '100000 days'})
{
	define('flow', says('a', 1), request('b', '/ok/b', if => 'true', max_attempts => 1, description => $spoilt));
	psql("UPDATE jobsched_internal.job SET $spoilt, revision = revision + 1 WHERE workflow_id IS NOT NULL AND dropped_at IS NULL AND step = 'b'");
	if ($spoilt =~ /00 days/)
	{
		$run = trigger('flow');
		wait_value($node, $db, "SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = $run AND reason = 'not_due'", '1', 'it waits');
		app("SELECT jobsched.cancel_run($run)");
	}
	else { $run = trigger('flow') }
	like(ended($run), qr/^(succeeded|failed child_failed|cancelled cancelled)$/, "spoilt: $spoilt");
}
define('flow', says('a', 1), request('b', '/ok/b', if => 'true'));
psql('ALTER ROLE app NOLOGIN');
$run = psql(q{SELECT jobsched.trigger('flow')});
is(ended($run), 'failed owner_cannot_connect 28000', 'a workflow needs an owner who can log in');
psql('ALTER ROLE app LOGIN');

# The steps that are named are found wherever they are, while others take numbers of
# runs: in several workflows at once, and right after a new set of steps.
app(q{CREATE OR REPLACE FUNCTION app.own(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args || jsonb_build_object('own', jsonb_build_array(args -> 'run', args -> 'n')) $$});
my @numbered = map {
	my $n = $_;
	{ name => "n$n", handler => 'app.own', args => { n => $n, map { ("of $_" => "{{steps.n$_.result.own}}") } 1 .. $n - 1 } }
} 1 .. 8;
for my $set (1, 2)
{
	define('flow', @numbered, says('set', $set));
	app(q{SELECT count(*) FROM generate_series(1, 40) n, jsonb_build_object('run', n) a, LATERAL (SELECT jobsched.trigger(CASE WHEN n % 4 = 0 THEN 'flow' ELSE 'plain' END, a)) t});
	wait_drained($node, $db);
	is(psql(q{SELECT count(*), count(*) FILTER (WHERE s.status = 'succeeded') FROM jobsched.steps s WHERE step ~ '^n[1-8]$'}), 80 * $set . '|' . 80 * $set, "set $set: all have found what they need");
}
is(psql(q{SELECT count(*) FROM jobsched.steps s JOIN jobsched.runs w ON w.run_id = s.workflow_run_id,
	generate_series(1, 7) n WHERE step ~ '^n[1-8]$' AND n < substr(step, 2)::int
	AND s.result -> ('of ' || n) IS DISTINCT FROM jsonb_build_array(w.args -> 'run', n)}), '0', 'of their own workflow, each of its step');

wait_drained($node, $db);
done_testing();
