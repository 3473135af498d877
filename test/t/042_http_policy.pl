# Copyright (c) 2026, jobsched contributors

# What becomes of HTTP requests that fail, take too long, are cancelled or are
# answered with something else than what was hoped for: the same as of other
# runs, and what only requests have.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(strftime);
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('http_policy', conf => q{
jobsched.timezone = 'UTC'
timezone = 'UTC'
jobsched.history_retention = '7300d'
jobsched.failure_retention = '7300d'
});
my $sink = start_sink($node);
my $other = start_sink($node);
my $deaf = start_deaf_server($node);
my $url = $sink->{url};
my $json = JSON::PP->new->canonical->utf8;
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

sub ended
{
	my ($run_id, $columns) = @_;
	return end_of($node, $db, $run_id, $columns);
}

sub all_ended
{
	return until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
}

sub wait_state
{
	my ($run_id, $status) = @_;
	return until_true($node, $db, "SELECT status = '$status' FROM jobsched.runs WHERE run_id = $run_id", "run $run_id is $status");
}

# A request of its own, or a run of a job.
sub request
{
	my ($path, $more) = @_;
	return app("SELECT jobsched.http_request('POST', '$url$path'" . ($more ? ", $more)" : ')'));
}

sub trigger
{
	my ($job, $more) = @_;
	return app("SELECT jobsched.trigger('$job'" . ($more ? ", $more)" : ')'));
}

# One that the server does not answer; its run, when that is under way.
sub hang
{
	my ($gate, $more) = @_;
	my $run_id = request("/gate/$gate", $more);

	wait_requests($sink, 1, qr{^/gate/$gate$});
	return $run_id;
}

sub count
{
	my ($pattern) = @_;
	return scalar(requests($sink, $pattern));
}

# After everything that was queued before has been sent, as far as it may.
sub after_the_last
{
	return ended(request('/last'));
}

# ------------------------------------------------------------------------
# Which failures are tried again
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.http_get('$url/first')});
app(q{SELECT jobsched.alter_job('http', backoff => 'fixed', backoff_base => '1 ms')});
pass('what holds for requests without a job can be said');

foreach my $status (408, 425, 429, 500, 502, 503, 599)
{
	is(ended(request("/status/$status", 'max_attempts => 2'), 'status, reason, sqlstate, attempt, error'),
		"failed|http_status|JS$status|2|the server answered with status $status", "$status is tried again");
}
foreach my $status (400, 401, 404, 409, 410, 301, 304)
{
	is(ended(request("/status/$status", 'max_attempts => 2'), 'status, reason, sqlstate, attempt'), "failed|http_status|JS$status|1", "$status is not");
}
is(ended(request('/status/500'), 'status, attempt'), 'failed|5', 'by default there are five attempts');
is(count(qr{/status/500$}), 5 + 2, 'each is sent');
is(ended(request('/flaky/4'), 'status, attempt'), 'succeeded|5', 'the last one may succeed');
app(qq{SELECT jobsched.create_job('picky', url => '$url/status/{{args.s}}', backoff_base => '1 ms', retry_on => '{404,JS403,timeout}')});
is(ended(trigger('picky', qq('{"s": "$_"}', max_attempts => 3)), 'attempt'), '3', "retry_on with $_") for 404, 403;
is(ended(trigger('picky', qq('{"s": "$_"}', max_attempts => 3)), 'attempt'), '1', "retry_on without $_") for 503;
app(q{SELECT jobsched.alter_job('picky', retry_on => '{}', no_retry_on => '{5xx,408}')});
is(ended(trigger('picky', qq('{"s": "$_"}', max_attempts => 3)), 'attempt'), '1', "no_retry_on with $_") for 500, 503, 408;
is(ended(trigger('picky', qq('{"s": "$_"}', max_attempts => 3)), 'attempt'), '3', "no_retry_on without $_") for 429;
app(q{SELECT jobsched.alter_job('picky', retry_on => '{4xx}', no_retry_on => '{404}', max_attempts => 2)});
is(ended(trigger('picky', q('{"s": "404"}')), 'attempt'), '1', 'no_retry_on takes away from retry_on');
is(ended(trigger('picky', q('{"s": "400"}')), 'attempt'), '2', 'and leaves the rest');

is(ended(request('/status/404', q(success_codes => '{2xx,404}'))), 'succeeded', 'success_codes say what is a success');
is(ended(request('/status/204', q(success_codes => '{200}'))), 'failed http_status JS204', 'and what is none');
is(ended(request('/status/302', q(success_codes => '{3xx}'))), 'succeeded', 'a class of them too');

# ------------------------------------------------------------------------
# When
# ------------------------------------------------------------------------

# How long a run waits after its first attempt, in seconds.
my $delay = 'extract(epoch FROM run_at - (SELECT finished_at FROM jobsched.attempts a WHERE a.run_id = r.run_id AND attempt = 1))::float8';

sub wait_after
{
	my ($path) = @_;
	app("SELECT jobsched.alter_job('waits', url => '$url$path')");
	my $run_id = trigger('waits');

	wait_state($run_id, 'retrying');
	my $seconds = psql("SELECT $delay FROM jobsched.runs r WHERE run_id = $run_id");
	app("SELECT jobsched.cancel_run($run_id)");
	is(ended($run_id, 'status, attempt'), 'cancelled|1', 'a request that waits for another attempt is cancelled');
	return $seconds;
}

sub http_date
{
	my ($seconds) = @_;
	return strftime('%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT', gmtime(time() + $seconds));
}

set_clock($node, $db, '2030-05-01 12:00:00+00');
app(qq{SELECT jobsched.create_job('waits', url => '$url/', backoff_base => '10 s', backoff_jitter => 0)});
is(wait_after('/status/503?retry-after=120'), '120', 'Retry-After in seconds is honoured');
my $waited = wait_after('/status/429?retry-after=' . http_date(600));
ok($waited > 550 && $waited <= 600, "as a date too ($waited s)");
is(wait_after('/status/503?retry-after=86400'), '3600', 'up to backoff_max');
is(wait_after('/status/503?retry-after=' . http_date(-600)), '1', 'what is over is waited for a second');
is(wait_after("/status/503?retry-after=$_"), '10', "Retry-After: $_ says nothing")
  for ('soon', '-5', '1.5');
is(wait_after('/status/500?retry-after=120'), '10', 'nor does it with another status');

app(qq{SELECT jobsched.alter_job('waits', url => '$url/status/503?retry-after=120')});
forget_requests($sink);
my $run_id = trigger('waits');
wait_state($run_id, 'retrying');
set_clock($node, $db, '2030-05-01 12:01:55+00');
after_the_last();
is(count(qr/503/), 1, 'it is not sent before');
set_clock($node, $db, '2030-05-01 12:02:01+00');
wait_requests($sink, 2, qr/503/);
pass('and then it is');
app("SELECT jobsched.cancel_runs('waits')");
ended($run_id);
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# By hand
# ------------------------------------------------------------------------

my $more = q(body => '{"n": 7}', max_attempts => 1, priority => 5, headers => '{"Idempotency-Key": "by-hand-%s", "X-H": "h"}');
forget_requests($sink);
my @dead = map { request('/flaky/1', sprintf($more, $_)) } 1 .. 3;
ended($_) for @dead;
is(app("SELECT string_agg(job_name || ' ' || status || ' ' || sqlstate, ', ') FROM jobsched.dead_letters WHERE run_id IN (" . join(',', @dead) . ')'),
	join(', ', ('http failed JS503') x 3), 'requests that have failed are dead letters');
$run_id = app("SELECT jobsched.retry_run($dead[0])");
is(ended($run_id, 'status, source, priority, job_name'), 'succeeded|retry|5|http', 'one is retried');
my ($first, $again) = (requests($sink, qr/flaky/))[ 0, -1 ];
is("$again->{method} $again->{target} $again->{body} @{$again->{headers}}{qw(x-h content-type)}",
	"$first->{method} $first->{target} $first->{body} @{$first->{headers}}{qw(x-h content-type)}", 'with all that it had');
is($again->{body}, '{"n": 7}', 'its body too');
is(psql("SELECT string_agg(status::text, ' ' ORDER BY run_id) FROM jobsched.http_responses WHERE run_id IN ($dead[0], $run_id)"), '503 200', 'each has its answer');
like(error_of($node, $db, "SELECT jobsched.retry_run($dead[0])", 'app'), qr/JS055.*retried already/, 'once');
my @redriven = split /\n/, app("SELECT jobsched.redrive('http', since => (SELECT min(finished_at) FROM jobsched.runs WHERE run_id IN ($dead[1], $dead[2])))");
is(scalar(@redriven), 2, 'redrive() takes the others') or diag "@redriven";
is(ended($_), 'succeeded', 'which succeed') for @redriven;
is(count(qr/flaky/), 6, 'each is sent once more');

# ------------------------------------------------------------------------
# Time
# ------------------------------------------------------------------------

is(ended(app("SELECT jobsched.http_request('GET', '$deaf->{url}/', connect_timeout => '200 ms', max_attempts => 1)"), 'status, reason, sqlstate, error, duration < interval \'10 s\''),
	'timed_out|timeout|57014|no connection within 200 ms|t', 'a server that takes no connection');
is(ended(app("SELECT jobsched.http_request('GET', '$deaf->{url}/', timeout => '200 ms', max_attempts => 1)"), 'status, error'),
	'timed_out|canceling run due to its timeout of 200 ms', 'the time of the whole counts there too');
forget_requests($sink);
is(ended(hang('slow', q(timeout => '300 ms', connect_timeout => '200 ms', max_attempts => 2)), 'status, attempt, error, duration >= interval \'300 ms\' AND duration < interval \'10 s\''),
	'timed_out|2|canceling run due to its timeout of 300 ms|t', 'a server that does not answer, again and again');
wait_aborted($sink, 2, qr/slow/);
pass('the transfers are cut off');
is(ended(app("SELECT jobsched.create_job('slow', url => '$url/gate/slow', timeout => '200 ms', max_attempts => 1); SELECT jobsched.trigger('slow')") =~ s/.*\n//r,
	'status, error'), 'timed_out|canceling run due to its timeout of 200 ms', 'the timeout of a job');

# ------------------------------------------------------------------------
# Cancelled
# ------------------------------------------------------------------------

forget_requests($sink);
my @hung = map { hang("cancel$_") } 1 .. 3;
is(app("SELECT jobsched.cancel_run($hung[0]), jobsched.cancel_run($hung[1], force => true)"), 't|t', 'requests that are under way are cancelled');
is(ended($_, 'status, reason, sqlstate, attempt'), 'cancelled|cancelled|57014|1', 'they end so') for @hung[ 0, 1 ];
wait_aborted($sink, 1, qr/cancel$_/) for 1, 2;
pass('the transfers are cut off');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $hung[2]"), 'running', 'the one beside them is not');
open_gate($sink, "cancel$_") for 1 .. 3;
is(ended($hung[2]), 'succeeded', 'it succeeds');
after_the_last();
is(ended($_), 'cancelled cancelled 57014', 'the others never do') for @hung[ 0, 1 ];
is(app("SELECT jobsched.cancel_run($hung[0])"), 'f', 'they have ended');
is(psql("SELECT count(*) FROM jobsched.http_responses WHERE run_id IN ($hung[0], $hung[1])"), '0', 'and have no answer');

app(q{SELECT jobsched.set_limit('http_host', max_running => 1)});
$hung[0] = hang('holds');
$run_id = request('/waits');
ended(app("SELECT jobsched.http_get('$other->{url}/')"));
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'queued', 'a request waits');
app("SELECT jobsched.cancel_run($run_id)");
is(ended($run_id, 'status, reason, started_at'), 'cancelled|cancelled|', 'it is cancelled');
open_gate($sink, 'holds');
is(ended($hung[0]), 'succeeded', 'what it waited for succeeds');
app(q{SELECT jobsched.drop_limit('http_host')});
after_the_last();
is(count(qr/waits/), 0, 'it is not sent');

# Cancels at about the time of the answer: cancelled or succeeded, as recorded.
forget_requests($sink);
app(q{DO $$ DECLARE id bigint; BEGIN
	FOR i IN 1 .. 200 LOOP
		id := jobsched.http_post('} . $url . q{/delay/0.002');
		COMMIT;
		IF i % 3 = 0 THEN PERFORM pg_sleep(random() * 0.01); END IF;
		PERFORM jobsched.cancel_run(id);
		COMMIT;
	END LOOP;
END $$});
all_ended();
is(psql(qq{SELECT count(*) FILTER (WHERE status NOT IN ('succeeded', 'cancelled')), count(*),
		count(*) FILTER (WHERE status = 'succeeded' AND NOT EXISTS (SELECT FROM jobsched.http_responses p WHERE p.run_id = r.run_id AND p.status = 200))
	FROM jobsched.runs r WHERE request ->> 'url' LIKE '%delay/0.002'}), '0|200|0', 'each is cancelled or succeeds');

# Dropped jobs.
app("SELECT jobsched.create_job('$_', url => '$url/gate/$_') FROM (VALUES (1)) v") for qw(drop-now drop-later);
my %dropped = map { $_ => trigger($_) } qw(drop-now drop-later);
wait_requests($sink, 1, qr/$_/) for keys %dropped;
app(q{SELECT jobsched.drop_job('drop-now', cancel_running => true), jobsched.drop_job('drop-later')});
is(ended($dropped{'drop-now'}), 'cancelled job_dropped 57014', 'a job can be dropped with its requests');
wait_aborted($sink, 1, qr/drop-now/);
open_gate($sink, 'drop-later');
is(ended($dropped{'drop-later'}), 'succeeded', 'or without');

# Stuck.
forget_requests($sink);
$run_id = hang('stuck');
my ($worker) = (http_worker_pid($node, $db));
is(app(q{SELECT jobsched.reset_stuck('0 s')}), '1', 'a request is reset');
wait_requests($sink, 2, qr/stuck/);
is(psql("SELECT string_agg(concat_ws(' ', attempt, status, reason), ', ' ORDER BY attempt) FROM jobsched.attempts WHERE run_id = $run_id"),
	'1 lost reset, 2 running', 'it is tried again');
my @stuck = requests($sink, qr/stuck/);
is($stuck[0]->{headers}->{'idempotency-key'}, $stuck[1]->{headers}->{'idempotency-key'}, 'with its key');
is(http_worker_pid($node, $db), $worker, 'its worker, which others need, stays');
open_gate($sink, 'stuck');
is(ended($run_id), 'succeeded', 'and it succeeds');

# ------------------------------------------------------------------------
# Slots
# ------------------------------------------------------------------------

set_clock($node, $db, '2030-06-01 11:59:30+00');
app("SELECT jobsched.create_job('$_', '0 * * * *', url => '$url/gate/$_-{{run.scheduled_for}}', overlap => '$_', queue_limit => 1) FROM (VALUES (1)) v")
  for qw(skip replace queue);
set_clock($node, $db, '2030-06-01 12:00:00+00');
wait_requests($sink, 1, qr/^\/gate\/$_-.*T12/) for qw(skip replace queue);
set_clock($node, $db, '2030-06-01 13:00:00+00');
wait_requests($sink, 1, qr/^\/gate\/replace-.*T13/);
wait_aborted($sink, 1, qr/^\/gate\/replace-.*T12/);
my $slots = q{SELECT string_agg(concat_ws(' ', status, CASE WHEN status <> 'queued' THEN reason END), ', ' ORDER BY scheduled_for) FROM jobsched.runs WHERE job_name = '%s'};
becomes($node, $db, sprintf($slots, 'replace'), 'cancelled replaced, running', 'overlap replace: it takes the place');
becomes($node, $db, sprintf($slots, 'queue'), 'running, queued', 'overlap queue: it waits');
is(count(qr/^\/gate\/(skip|queue)-.*T13/), 0, 'nothing is sent for it meanwhile');
foreach my $slot ('skip-2030-06-01T12:00:00Z', 'queue-2030-06-01T12:00:00Z', 'queue-2030-06-01T13:00:00Z', 'replace-2030-06-01T13:00:00Z')
{
	open_gate($sink, $slot);
}
all_ended();
is(psql(sprintf($slots, 'queue')), 'succeeded, succeeded', 'and has its turn');
becomes($node, $db, sprintf($slots, 'skip'), 'succeeded, skipped overlap', 'overlap skip: the next slot is skipped');
app(qq{SELECT jobsched.drop_job('$_')}) for qw(skip replace queue);
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Paused
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.create_job('pausable', url => '$url/pausable')});
app(q{SELECT jobsched.pause_job('pausable')});
$run_id = trigger('pausable');
after_the_last();
is(psql("SELECT status, reason FROM jobsched.runs WHERE run_id = $run_id") . count(qr/pausable/), 'queued|job_paused0', 'a paused job sends nothing');
app(q{SELECT jobsched.resume_job('pausable')});
is(ended($run_id), 'succeeded', 'until it is resumed');
app(q{SELECT jobsched.pause_job('http')});
$run_id = request('/while-paused');
trigger('pausable') =~ /(\d+)/ and ended($1);
is(count(qr/while-paused/), 0, 'nor do requests without a job, if that is paused');
app(q{SELECT jobsched.resume_job('http')});
is(ended($run_id), 'succeeded', 'until it is resumed');
app(qq{SELECT jobsched.create_job('fails', url => '$url/status/400', pause_after_failures => 2)});
ended(trigger('fails')) for 1, 2;
becomes($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'fails'}, 'paused', 'pause_after_failures counts answers');

# ------------------------------------------------------------------------
# Jobs that become something else while their runs wait
# ------------------------------------------------------------------------

# Its runs leave a row as SQL, and a request otherwise.
my @sql = ("command => 'SELECT app.leave(NULL)'", "url => '$url/turned/{{run.id}}', max_attempts => 2, retry_delays => '{1 hour}'");
sub check_turned
{
	my ($id, $is_sql, $name) = @_;
	is(ended($id), 'succeeded', "$name: succeeds");
	return is(psql("SELECT count(*) FROM app.effect WHERE run_id = $id") . count(qr{/turned/$id$}), $is_sql ? '10' : '01', "$name: as what it is now");
}

set_clock($node, $db, '2030-07-01 12:00:00+00');
foreach my $is_sql (1, 0)
{
	my ($new, $old) = $is_sql ? @sql : reverse @sql;
	my $name = $is_sql ? 'a request that becomes SQL' : 'SQL that becomes a request';
	my $job = "turns $is_sql";

	app("SELECT jobsched.create_job('$job', $old)");
	app("SELECT jobsched.pause_job('$job')");
	my $held = trigger($job);
	my $delayed = trigger($job, q(run_at => '2030-07-01 13:00:00+00'));
	after_the_last();
	app("SELECT jobsched.alter_job('$job', $new); SELECT jobsched.resume_job('$job')");
	check_turned($held, $is_sql, "$name, of a paused job");
	set_clock($node, $db, '2030-07-01 13:00:00+00');
	check_turned($delayed, $is_sql, "$name, for later");
	set_clock($node, $db, '2030-07-01 12:00:00+00');
}
app("SELECT jobsched.create_job('turns', $sql[1])");
app("SELECT jobsched.alter_job('turns', url => '$url/status/503')");
$run_id = trigger('turns');
wait_state($run_id, 'retrying');
app("SELECT jobsched.alter_job('turns', $sql[0])");
set_clock($node, $db, '2030-07-01 14:30:00+00');
check_turned($run_id, 1, 'a request that waits for another attempt');
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# Functions that are told
# ------------------------------------------------------------------------

app(q{
	CREATE TABLE app.told (id int GENERATED ALWAYS AS IDENTITY, who text, function text, source text, run_id bigint, args jsonb);
	CREATE FUNCTION app.tell(function text, args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.told (who, function, source, run_id, args)
		SELECT current_user || ' ' || session_user, function, source, r.run_id, args FROM jobsched.runs r WHERE r.run_id = jobsched.run_id()
	$$;
	CREATE FUNCTION app.good(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT app.tell('good', args) $$;
	CREATE FUNCTION app.bad(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT app.tell('bad', args) $$;
	CREATE FUNCTION app.third_time(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.tell('third time', args);
		IF jobsched.attempt() < 3 THEN
			RAISE EXCEPTION 'not yet' USING ERRCODE = '40001';
		END IF;
	END $$});

# What functions were told about a run: name and the value of a path, if one
# has been given.
sub told
{
	my ($id, $columns) = @_;
	all_ended();
	return psql('SELECT ' . ($columns || 'function') . " FROM app.told WHERE args ->> 'run_id' = '$id' ORDER BY id");
}

app(qq{SELECT jobsched.create_job('told', url => '$url/{{args.verb}}/{{args.value}}', args => '{"a": 1}',
	on_success => 'app.good', on_failure => 'app.bad', backoff_base => '1 ms', max_attempts => 2)});
sub told_of
{
	my ($verb, $value) = @_;
	my $id = trigger('told', qq('{"verb": "$verb", "value": "$value"}'));
	ended($id);
	return $id;
}
$run_id = told_of('text', 'hello');
is(told($run_id, 'who, function, source'), 'app app|good|callback', 'on_success is called, as the owner');
my $args = $json->decode(told($run_id, 'args'));
my $headers = delete $args->{headers};
is_deeply($args, { run_id => 0 + $run_id, job => 'told', attempt => 1, status => 'succeeded', result => { status => 200 }, http_status => 200, body => 'hello',
		args => { a => 1, verb => 'text', value => 'hello' } }, 'with the answer') or diag explain $args;
is((grep { $_->[0] eq 'Content-Type' } @{$headers})[0]->[1], 'text/plain', 'and its headers');
is(told(told_of('invalid-utf8', 0), q{function, args ->> 'body_base64', args ? 'body'}), "good|Y2Fm6SD//g==|f", 'a body that is no text is base64');
is(told(told_of('body', 300_000), q{function, length(args ->> 'body'), args -> 'truncated'}), 'good|262144|true', 'and says if it is cut off');
$run_id = told_of('status', 503);
is(told($run_id, q{function, args ->> 'status', args ->> 'reason', args ->> 'http_status', args ->> 'attempt', args ->> 'error', args ->> 'body'}),
	'bad|failed|http_status|503|2|the server answered with status 503|status 503', 'on_failure is called, after the last attempt');
is(told(told_of('flaky', 1)), 'good', 'and not if that succeeds');
app(q{SELECT jobsched.alter_job('told', timeout => '150 ms')});
is(told(told_of('gate', 'told'), q{function, args ->> 'status', args ? 'http_status'}), 'bad|timed_out|f', 'a timeout is told');
app(q{SELECT jobsched.alter_job('told', timeout => '0')});
$run_id = trigger('told', q('{"verb": "gate", "value": "told2"}'));
wait_requests($sink, 1, qr/told2/);
app("SELECT jobsched.cancel_run($run_id)");
ended($run_id);
is(told($run_id), '', 'a cancel is not');
is(told(request('/text/x', q(on_success => 'app.good', on_failure => 'app.bad')), q{function, args ->> 'job', args ->> 'body'}), 'good|http|x', 'requests without a job have functions too');
is(told(request('/status/400', q(on_success => 'app.good', on_failure => 'app.bad')), q{function, args ->> 'http_status'}), 'bad|400', 'of both kinds');
$run_id = request('/text/y', q(on_success => 'app.third_time'));
is(told($run_id), 'third time', 'a function that fails is called again, and has its effect once');
is(psql("SELECT status, attempt FROM jobsched.runs r JOIN app.told t USING (run_id) WHERE t.args ->> 'run_id' = '$run_id'"), 'succeeded|3', 'its run has had three attempts');
like(error_of($node, $db, "SELECT jobsched.http_request('GET', '$url', on_success => '$_')", 'app'), qr/42883|42501/, "$_ is refused")
  for 'app.nothing', 'pg_catalog.pg_read_file';

# ------------------------------------------------------------------------
# 410
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.create_job('gone', url => '$url/gone', on_failure => 'app.bad')});
$run_id = trigger('gone');
is(ended($run_id, 'status, sqlstate, attempt'), 'failed|JS410|1', '410 is not tried again');
becomes($node, $db, q{SELECT state, state_reason FROM jobsched.jobs WHERE name = 'gone'},
	"paused|paused because the server answered 410 Gone (run $run_id)", 'it pauses the job');
my $later = trigger('gone');
becomes($node, $db, "SELECT count(*) FROM app.told WHERE args ->> 'run_id' = '$run_id'", '1', 'on_failure is called all the same');
after_the_last();
is(psql("SELECT status, reason FROM jobsched.runs WHERE run_id = $later"), 'queued|job_paused', 'later runs wait');
is(count(qr{^/gone$}), 1, 'and are not sent');
app(qq{SELECT jobsched.alter_job('gone', url => '$url/'); SELECT jobsched.resume_job('gone')});
is(ended($later), 'succeeded', 'until the job is resumed');
app(qq{SELECT jobsched.create_job('moved', url => '$url/gone', max_concurrency => 1)});
app(q{SELECT jobsched.alter_job('moved', keys => ARRAY['moved']); SELECT jobsched.set_limit('moved', max_running => 1)});
$run_id = trigger('moved');
app(qq{SELECT jobsched.alter_job('moved', url => '$url/')});
like(ended($run_id, 'status'), qr/^(failed|succeeded)$/, 'a job that has another URL by then');
is(ended(trigger('moved'), 'status'), 'succeeded', 'is not paused by what the old one answers');
is(ended(request('/gone')), 'failed http_status JS410', 'a request without a job may be answered so too');
is(ended(request('/')), 'succeeded', 'others go on');
is(psql(q{SELECT state FROM jobsched.jobs WHERE name = 'http'}), 'active', 'their job is not paused');

# ------------------------------------------------------------------------
# Redirects
# ------------------------------------------------------------------------

sub redirect
{
	my ($status, $to, $options) = @_;
	my $id = request("/redirect/$status?to=$to", "body => '{\"a\": 1}', max_attempts => 1" . ($options ? ", $options" : ''));
	my $end = ended($id);
	return $end eq 'succeeded' ? $id : $end;
}

forget_requests($sink);
is(redirect(302, "$url/target"), 'failed http_status JS302', 'redirects are not followed');
is(count(qr/target/), 0, 'the target is not asked');
$run_id = redirect(303, '/target', 'max_redirects => 1');
my ($target) = requests($sink, qr/target/);
is("$target->{method} $target->{body}" . ($target->{headers}->{'content-type'} // ''), 'GET ', 'with max_redirects they are; with 303 a POST becomes a GET');
is(psql("SELECT status, url FROM jobsched.http_responses WHERE run_id = $run_id"), "200|$url/target", 'the answer is that of the end');
forget_requests($sink);
redirect(307, '/target', 'max_redirects => 1');
($target) = requests($sink, qr/target/);
is("$target->{method} $target->{body}", 'POST {"a": 1}', '307 keeps method and body');
is(redirect(307, "/redirect/307%3Fto=/redirect/307%253Fto=/target", 'max_redirects => 2'), 'failed http_status JS307', 'so many and no more');
forget_requests($other);
like(redirect(307, "$other->{url}/over", q(max_redirects => 1, headers => '{"Authorization": "Bearer x", "X-Own": "y"}')), qr/^\d+$/, 'another origin may be led to');
my ($over) = requests($other, qr/over/);
is(join(' ', map { $_ // '-' } @{$over->{headers}}{qw(authorization x-own)}), '- -', 'which gets no credentials, whatever they are called');
forget_requests($sink);
redirect(307, '/target', q(max_redirects => 1, headers => '{"Authorization": "Bearer x"}'));
is((requests($sink, qr/target/))[0]->{headers}->{authorization}, 'Bearer x', 'the same origin does');
is(redirect(307, 'http://10.0.0.1/', 'max_redirects => 1'), 'failed egress_refused 42501', 'a redirect to an address that is not allowed is refused');
like(redirect(307, 'file:///etc/passwd', 'max_redirects => 1'), qr/^failed http_status JS307/, 'so is one to something else than HTTP');

# ------------------------------------------------------------------------
# Reasons
# ------------------------------------------------------------------------

my $closed = start_sink($node);
stop_http_server($closed);
is(ended(app("SELECT jobsched.http_get('$closed->{url}/', max_attempts => 2)"), 'status, reason, sqlstate, attempt'), 'failed|network|08001|2', 'nobody there: tried again');
is(ended(app("SELECT jobsched.http_get('http://does-not-exist.invalid/', max_attempts => 1)")), 'failed network 08001', 'no such name');
is(ended(request('/')), 'succeeded', 'neither is in the way of another') for 1 .. 3;
is(ended(app("SELECT jobsched.http_get('http://$_/', max_attempts => 3)"), 'status, reason, sqlstate, attempt, error, error_hint LIKE \'%http_allow%\''),
	'failed|egress_refused|42501|1|requests to this address are not allowed|t', "$_ is refused, and not tried again") for '10.1.2.3', '169.254.169.254', '[fd00::1]';
app(qq{SELECT jobsched.create_job('needs', url => '$url/{{args.what}}')});
is(ended(trigger('needs'), 'status, reason, sqlstate, attempt, error LIKE \'%args.what%\''), 'failed|bad_request|22023|1|t', 'an argument that is missing');
is(psql("SELECT count(*) FROM jobsched.http_responses WHERE run_id = (SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'needs')"), '0', 'then nothing is sent');

# Definitions that somebody has spoilt behind our back: they fail, and nobody else.
my @spoilt = ('"x"', '1', '[]', '{}', '{"url": 1}', '{"url": "http://h/", "method": "a b"}', '{"url": "http://h/", "headers": "x"}',
	'{"url": "http://h/", "headers": {"a\r\nb": "c"}}', '{"url": "http://h/", "headers": {"a": "b\r\nc: d"}}',
	'{"url": "ftp://h/"}', '{"url": "http://h/{{x}}"}', '{"url": "http://h/\u0001\n"}', '{"url": "http://h/", "headers": {"Content-Length": "9"}}');
my $http_pid = http_worker_pid($node, $db);
app("SELECT jobsched.create_job('spoilt $_', url => '$url/spoilt'); SELECT jobsched.pause_job('spoilt $_')") for 0 .. $#spoilt;
my @spoilt_runs = map { trigger("spoilt $_") } 0 .. $#spoilt;
psql("UPDATE jobsched_internal.job SET request = '$spoilt[$_]' WHERE name = 'spoilt $_'; SELECT jobsched.resume_job('spoilt $_')") for 0 .. $#spoilt;
is(ended($spoilt_runs[$_], 'status, reason, sqlstate, attempt'), 'failed|bad_request|22023|1', "a job with request $spoilt[$_]") for 0 .. $#spoilt;
is(count(qr/spoilt/), 0, 'nothing is sent');
is(http_worker_pid($node, $db), $http_pid, 'the worker is the same');

# ------------------------------------------------------------------------
# Rights
# ------------------------------------------------------------------------

psql(q{
	CREATE ROLE svc NOLOGIN; CREATE ROLE other LOGIN;
	GRANT svc TO app; GRANT USAGE ON SCHEMA jobsched TO svc, other;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO svc});
forget_requests($sink);
app(qq{SELECT jobsched.create_job('of svc', url => '$url/svc', owner => 'svc')});
is(ended(trigger('of svc'), 'status, owner'), 'succeeded|svc', 'a job of a role that cannot log in makes requests');
is(ended(app("SET ROLE svc; SELECT jobsched.http_get('$url/svc'); RESET ROLE"), 'status, owner'), 'succeeded|svc', 'so does such a role');
like(error_of($node, $db, "SET ROLE svc; SELECT jobsched.create_job('x', command => 'SELECT 1')", 'app'), qr/28000/, 'it still has no sessions');

like(error_of($node, $db, "SELECT jobsched.create_job('x', url => '$url')", 'other'), qr/42501.*role "other" may not make HTTP requests/, 'without the privilege there are no jobs');
like(error_of($node, $db, "SELECT jobsched.http_$_('$url')", 'other'), qr/42501.*permission denied for function http_request/, "no requests (http_$_)") for qw(get post put patch delete);
like(error_of($node, $db, "SELECT jobsched.create_job('x', url => '$url', owner => 'other')"), qr/42501.*role "other"/, 'not for a superuser either');
sql_as($node, $db, 'other', q{SELECT jobsched.create_job('sql', command => 'SELECT 1')});
like(error_of($node, $db, "SELECT jobsched.alter_job('sql', url => '$url')", 'other'), qr/42501/, 'nor by alter_job()');
like(error_of($node, $db, "SELECT jobsched.alter_job('of svc', owner => 'other')"), qr/42501.*role "other"/, 'nor by another owner');
psql(q{GRANT EXECUTE ON FUNCTION jobsched.http_request TO other});
my @revoked = split /\n/, session_sql($node, $db, 'other', qq{
	SELECT jobsched.create_job('revoked', url => '$url/revoked');
	SELECT jobsched.trigger('revoked', run_at => clock_timestamp() + interval '1 day');
	SELECT jobsched.http_request('POST', '$url/revoked', run_at => clock_timestamp() + interval '1 day')});
psql(q{REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM other});
set_clock($node, $db, psql(q{SELECT now() + interval '2 days'}));
is(ended($_, 'status, reason, sqlstate, error'), 'failed|bad_request|42501|role "other" may not make HTTP requests', 'what is queued when the privilege is revoked is not sent')
  for @revoked[ 1, 2 ];
set_clock($node, $db, undef);
is(count(qr/revoked/), 0, 'not at all');
like(error_of($node, $db, "SELECT jobsched.trigger('revoked')", 'other'), qr/^$|42501/, 'it can be triggered, at most');

all_ended();
is(psql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jobsched http'}), '1', 'one process has done all of this');
end_sessions($node);
check_log($node);
$node->stop;
done_testing();
