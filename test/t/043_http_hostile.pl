# Copyright (c) 2026, jobsched contributors

# HTTP requests whose servers are slow, broken or hostile, and whose own server
# is killed, stopped and taken apart meanwhile: nobody else is delayed, nothing
# is lost, and nothing is recorded twice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('http_hostile', conf => q{
restart_after_crash = on
max_prepared_transactions = 5
jobsched.worker_idle_timeout = '1 h'
});
my $soon = 4;    # seconds: who waits for sessions, or for requests, waits for five and more
my $sink = start_sink($node);
my $fault = start_fault_server($node);
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

sub ended
{
	my ($run_id, $columns) = @_;
	return end_of($node, $db, $run_id, $columns);
}

sub all_ended
{
	return until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
}

sub worker
{
	until_true($node, $db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jobsched http' AND datname = current_database()}, 'there is an HTTP worker');
	return http_worker_pid($node, $db);
}

# Requests that wait for their answer at a gate of the sink.
sub hang
{
	my ($gate, $count) = @_;

	app("SELECT count(jobsched.http_post('$url/gate/$gate', jsonb_build_object('n', i))) FROM generate_series(1, $count) i");
	return wait_requests($sink, $count, qr{^/gate/$gate$});
}

# Each run has succeeded, with one answer; and each was sent, always with the
# same key.  How often it was sent in all is for the caller to judge.
sub check_each
{
	my ($gate, $count, $name) = @_;

	open_gate($sink, $gate);
	all_ended();
	is(psql(qq{SELECT count(*), count(*) FILTER (WHERE status = 'succeeded'), count(DISTINCT run_id) FROM jobsched.runs WHERE request ->> 'url' = '$url/gate/$gate'}),
		"$count|$count|$count", "$name: each run has succeeded");
	is(psql(qq{SELECT count(*), count(DISTINCT run_id) FROM jobsched.http_responses WHERE url = '$url/gate/$gate' AND status = 200}),
		"$count|$count", "$name: each has one answer");
	my %keys;
	push @{ $keys{ $_->{headers}->{'idempotency-key'} } }, $_->{headers}->{'x-jobsched-run'} for requests($sink, qr{^/gate/$gate$});
	is(scalar(keys %keys), $count, "$name: each was sent");
	is(scalar(grep { my %runs = map { $_ => 1 } @{$_}; keys %runs != 1 } values %keys), 0, "$name: with one key");
	return;
}

app("SELECT jobsched.http_get('$url/first')");
all_ended();
app(q{SELECT jobsched.alter_job('http', backoff => 'fixed', backoff_base => '1 ms')});
my $pid = worker();
app(q{
	CREATE TABLE app.told (run_id text, status text, reason text);
	CREATE FUNCTION app.tell(args jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO app.told VALUES (args ->> 'run_id', args ->> 'status', args ->> 'reason')
	$$});

# One whose only attempt is cut off: somebody is told.
sub start_lost
{
	my $run_id = app("SELECT jobsched.http_request('POST', '$url/gate/lost', max_attempts => 1, on_failure => 'app.tell')");

	wait_requests($sink, 1, qr/lost/);
	return $run_id;
}

sub check_lost
{
	my ($run_id, $reason, $name) = @_;

	like(ended($run_id), qr/^lost ($reason)/, "$name: a request without another attempt is lost");
	all_ended();
	return like(psql("SELECT count(*), min(status), min(reason) FROM app.told WHERE run_id = '$run_id'"), qr/^1\|lost\|($reason)$/, "$name: which somebody is told, once");
}

# ------------------------------------------------------------------------
# Answers
# ------------------------------------------------------------------------

my $time = 1500;
my %answer = (
	'close' => qr/^failed network 08006/, 'never' => qr/^timed_out timeout 57014/, 'reset' => qr/^failed network 08006/,
	'reset-mid-body' => qr/^failed network 08006/, 'short-body' => qr/^failed network 08006/,
	'bad-chunk' => qr/^failed network 08(006|P01)/, 'not-http' => qr/^failed network 08P01/,
	'slow-loris' => qr/^timed_out timeout/, 'slow-head' => qr/^timed_out timeout/,
	'endless-body' => qr/^succeeded$/, 'endless-headers' => qr/^failed network 08P01/,
	'huge-header' => qr/^failed network 08P01/, 'many-headers' => qr/^failed network 08P01/,
	'gzip-bomb' => qr/^succeeded$/, 'continue-forever' => qr/^(timed_out timeout|failed network 08P01)/,
	'split-crlf' => qr/^succeeded$/, 'early-answer' => qr/^failed http_status JS413/, 'early-close' => qr/^failed (http_status JS413|network 08006)/,
	'control-bytes' => qr/^succeeded$/, 'two-lengths' => qr/^(succeeded|failed network 08(006|P01)|timed_out)/,
	'no-reason' => qr/^succeeded$/, 'upgrade' => qr/^(failed|timed_out)/);

# All at once, and healthy ones among them, which end while others hang.
my %run;
my @hanging = map { app("SELECT jobsched.http_request('GET', '$fault->{url}/$_', max_attempts => 1, timeout => '1 h')") } ('never', 'slow-loris', 'slow-head');
my @healthy;
foreach my $path (sort keys %answer)
{
	$run{$path} = app("SELECT jobsched.http_request('POST', '$fault->{url}/$path', body_text => repeat('x', 100000), max_attempts => 1, timeout => '$time ms')");
	push @healthy, app("SELECT jobsched.http_post('$url/healthy')");
}
my @ends = map { ended($_, 'status') } @healthy;
is(scalar(grep { $_ ne 'succeeded' } @ends), 0, 'healthy requests succeed') or diag explain \@ends;
is(psql('SELECT count(*) FROM jobsched.running WHERE run_id IN (' . join(',', @hanging) . ')'), '3', 'and wait for none that hangs');
app("SELECT jobsched.cancel_run($_)") for @hanging;
is(ended($_), 'cancelled cancelled 57014', 'which can be cancelled') for @hanging;
foreach my $path (sort keys %answer)
{
	like(ended($run{$path}, q{concat_ws(' ', status, reason, sqlstate, error)}), $answer{$path}, "/$path has its end");
	# whose end nobody watched would go on for ever
	in_time($node, psql("SELECT extract(epoch FROM duration) FROM jobsched.runs WHERE run_id = $run{$path}"), $time / 1000 + $soon, "/$path: in time");
}
my $answers = 'SELECT %s FROM jobsched.http_responses WHERE run_id = %s';
is(psql(sprintf($answers, 'truncated, body_size', $run{$_})), 't|262144', "/$_: what is too much is not read") for 'endless-body', 'gzip-bomb';
is(psql(sprintf($answers, q{jsonb_path_query_first(headers, 'strict $[*] ? (@[0] == "X-Control")[1]')}, $run{'control-bytes'})),
	qq{"a\\u0001\\u001b[31mb\xc3\xbf"}, 'control characters in a header are harmless')
  or diag psql(sprintf($answers, 'headers', $run{'control-bytes'}));
is(worker(), $pid, 'the worker has survived all of it');

# Again and again: nothing is left of them.  (Memory goes up and down with how
# many of them are under way.)
sub size_of
{
	my ($process) = @_;
	my ($kb) = slurp_file("/proc/$process/status") =~ /^RssAnon:\s+(\d+) kB/m;
	my @files = glob "/proc/$process/fd/*";
	return ($kb, scalar @files);
}

my $quick = join ', ', map { "'$_'" } qw(close reset reset-mid-body short-body bad-chunk not-http endless-headers many-headers
	early-answer early-close control-bytes no-reason endless-body);
sub annoy
{
	my ($count) = @_;
	app("SELECT count(jobsched.http_request('POST', '$fault->{url}/' || (ARRAY[$quick])[1 + i % array_length(ARRAY[$quick], 1)],
		body_text => repeat('x', 1000), max_attempts => 1, timeout => '20 s')) FROM generate_series(1, $count) i");
	return all_ended();
}
my $before = psql('SELECT max(run_id) FROM jobsched.runs');
annoy(500);
my ($kb, $files) = size_of($pid);
annoy(2000);
my ($kb_after, $files_after) = size_of($pid);
cmp_ok($kb_after - $kb, '<', 24 * 1024, "2,000 hostile answers take no memory ($kb kB before, $kb_after kB after)");
cmp_ok($files_after - $files, '<', 70, "nor files ($files before, $files_after after)");
is(psql("SELECT count(*), count(*) FILTER (WHERE status IN ('timed_out', 'lost')) FROM jobsched.runs WHERE run_id > $before"), '2500|0', 'each had its end at once');
is(worker(), $pid, 'it is the same worker');
my $offset = log_size($node);
psql("SELECT pg_log_backend_memory_contexts($pid)");
wait_log($node, qr/Grand total/, $offset, 'its memory is shown');
unlike(log_since($node, $offset), qr/jobsched transfer/, 'no transfer is left there');

# ------------------------------------------------------------------------
# While transfers hang
# ------------------------------------------------------------------------

hang('quiet', 50);
becomes($node, $db, qq{SELECT count(*), count(backend_xmin), count(backend_xid), count(xact_start), (SELECT count(*) FROM pg_locks WHERE pid = $pid)
	FROM pg_stat_activity WHERE pid = $pid}, '1|0|0|0|0', 'there is no transaction, snapshot or lock while 50 requests are under way');
is(psql(q{SELECT count(*), count(DISTINCT worker_pid) FROM jobsched.running}), '50|1', 'view running shows them');
is(ended(app("SELECT jobsched.http_get('$fault->{url}/ok')")), 'succeeded', 'others go on');

# A row that somebody holds when its answer comes.
my @held = map { $_->{headers}->{'x-jobsched-run'} } (requests($sink, qr/quiet/))[ 7, 8 ];
my $holder = $node->background_psql($db);
$holder->query_safe("BEGIN; SELECT FROM jobsched_internal.run WHERE run_id = $held[0] FOR UPDATE");
psql("BEGIN; SELECT FROM jobsched_internal.run WHERE run_id = $held[1] FOR UPDATE; PREPARE TRANSACTION 'holds'");
open_gate($sink, 'quiet');
becomes($node, $db, q{SELECT string_agg(run_id::text, ' ' ORDER BY run_id) FROM jobsched_internal.run}, join(' ', sort { $a <=> $b } @held),
	'rows that somebody holds are waited for; the others are recorded');
is(ended(app("SELECT jobsched.http_get('$url/beside')")), 'succeeded', 'and others go on');
$holder->query_safe('COMMIT');
$holder->quit;
is(ended($held[0]), 'succeeded', 'it is recorded when the lock is gone');
psql(q{ROLLBACK PREPARED 'holds'});
is(ended($held[1]), 'succeeded', 'a prepared transaction is a lock as any other');
check_each('quiet', 50, 'under way');
is(scalar(requests($sink, qr/quiet/)), 50, 'under way: each was sent once');
is(worker(), $pid, 'it is the same worker');

# A cancel that comes when the answer is there, but cannot be recorded: there is
# no other attempt.
app("SELECT jobsched.create_job('again', url => '$url/gate/again', success_codes => '{299}', retry_on => '{all}', retry_delays => '{0,0}')");
my $again = app(q{SELECT jobsched.trigger('again')});
wait_requests($sink, 1, qr/again/);
psql("BEGIN; SELECT FROM jobsched_internal.run WHERE run_id = $again FOR UPDATE; PREPARE TRANSACTION 'holds'");
open_gate($sink, 'again');
is(ended(app("SELECT jobsched.http_post('$url/gate/again')")), 'succeeded', 'an answer comes');
app("SELECT jobsched.cancel_run($again)");
my $later = app("SELECT jobsched.http_request('GET', '$url/later', run_at => clock_timestamp() + interval '1 day')");
app("SELECT jobsched.cancel_run($later)");
is(ended($later), 'cancelled cancelled', 'a later cancel has been served');
psql(q{ROLLBACK PREPARED 'holds'});
is(ended($again, 'status, reason, attempt'), 'cancelled|cancelled|1', 'a request whose answer could not be recorded is cancelled');
is(scalar(requests($sink, qr/again/)), 2, 'and not sent again');
is(worker(), $pid, 'it is the same worker');

# The scheduler goes, and another one comes.
my $scheduler = scheduler_pid($node, $db);
hang('adopted', 50);
psql("SELECT pg_terminate_backend($scheduler)");
wait_new_scheduler($node, $db, $scheduler);
is(psql(q{SELECT count(*) FROM jobsched.running}), '50', 'they go on without a scheduler');
my $cancelled = (requests($sink, qr/adopted/))[3]->{headers}->{'x-jobsched-run'};
app("SELECT jobsched.cancel_run($cancelled)");
is(ended($cancelled), 'cancelled cancelled 57014', 'the next one can cancel them');
open_gate($sink, 'adopted');
all_ended();
is(psql(qq{SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM jobsched.runs WHERE request ->> 'url' LIKE '%/adopted' GROUP BY 1) x}),
	'cancelled 1, succeeded 49', 'the others succeed');
is(scalar(requests($sink, qr/adopted/)), 50, 'each was sent once');
is(worker(), $pid, 'it is the same worker');

# The worker is terminated.
my $lost = start_lost();
hang('terminated', 50);
my $since = time();
is(psql("SELECT pg_terminate_backend($pid, 5000)"), 't', 'the worker is terminated');
in_time($node, time() - $since, $soon, 'at once');
wait_requests($sink, 100, qr/terminated/);
is(psql(q{SELECT string_agg(DISTINCT concat_ws(' ', a.attempt, a.status, a.reason, a.sqlstate), ', ') FROM jobsched.attempts a
	JOIN jobsched.runs r USING (run_id) WHERE r.request ->> 'url' LIKE '%/terminated'}),
	'1 lost worker_died 57P01, 2 running', 'its runs are lost, and tried again');
check_each('terminated', 50, 'terminated');
check_lost($lost, 'worker_died', 'terminated');
is(scalar(requests($sink, qr/terminated/)), 100, 'terminated: each was sent twice');

# ------------------------------------------------------------------------
# DDL
# ------------------------------------------------------------------------

sub quick
{
	my ($sql, $name) = @_;
	my $begin = time();

	$node->safe_psql('template1', $sql);
	return in_time($node, time() - $begin, $soon, $name);
}

$node->safe_psql('postgres', 'CREATE DATABASE other');
hang('ddl', 20);
quick('DROP DATABASE other', 'another database is dropped');
end_sessions($node);
quick('CREATE DATABASE copy TEMPLATE postgres', 'this one is copied');
wait_scheduler($node, $db);
wait_requests($sink, 40, qr/ddl/);
pass('its requests are tried again');
$node->safe_psql('copy', qq{
	SELECT jobsched.pause_job('http');
	SELECT jobsched.adopt();
	SELECT jobsched.http_post('$url/gate/dropped')});
wait_until($node, 'copy', q{SELECT bool_and(elapsed > '1.5 s') FROM jobsched.running}, 'its request hangs for longer than a run is waited for');
quick('DROP DATABASE copy', 'one whose requests are under way is dropped');
wait_aborted($sink, 1, qr/dropped/);
check_each('ddl', 20, 'copied');

# The extension goes, and comes again.
hang('extension', 20);
end_sessions($node);
quick('SELECT 1', 'a connection');
$since = time();
$node->safe_psql($db, 'DROP EXTENSION jobsched CASCADE');
in_time($node, time() - $since, $soon, 'the extension is dropped');
create_extension($node, $db);
$node->safe_psql($db, 'GRANT USAGE ON SCHEMA jobsched TO app; GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
open_gate($sink, 'extension');
is(ended(app("SELECT jobsched.http_get('$url/new')")), 'succeeded', 'when it is back requests are sent');
all_ended();
is(psql('SELECT count(*), count(DISTINCT run_id) FROM jobsched.http_responses'), '1|1', 'of the old ones nothing is recorded');
is(psql('SELECT count(*) FROM jobsched.runs'), '1', 'nothing at all');
app(q{SELECT jobsched.alter_job('http', backoff => 'fixed', backoff_base => '1 ms')});

# ------------------------------------------------------------------------
# Crashes
# ------------------------------------------------------------------------

# Each gets hold of a server that is down, and brings it up again.
my %crash = (
	'worker killed' => sub {
		my $from = log_size($node);
		kill 'KILL', worker();
		wait_log($node, qr/all server processes terminated; reinitializing/, $from, 'worker killed: the server begins anew');
	},
	'postmaster killed' => sub { kill_and_start($node) },
	'immediate shutdown' => sub { $node->stop('immediate'); $node->start; },
	'fast shutdown' => sub { $node->stop('fast'); $node->start; });

foreach my $how (sort keys %crash)
{
	my $gate = $how =~ s/ /-/r;
	forget_requests($sink);
	$lost = start_lost();
	hang($gate, 30);
	$crash{$how}->();
	end_sessions($node);
	wait_connection($node, $db);
	wait_scheduler($node, $db);
	wait_requests($sink, 60, qr/$gate/);
	pass("$how: what was under way is sent again");
	check_each($gate, 30, $how);
	check_lost($lost, 'server_restarted|worker_died', $how);
	is(scalar(requests($sink, qr/$gate/)), 60, "$how: each was sent twice");
}

# In the middle of many that are answered.
forget_requests($sink);
app("SELECT count(jobsched.http_post('$url/many')) FROM generate_series(1, 3000) i");
wait_requests($sink, 700);
$node->stop('immediate');
$node->start;
end_sessions($node);
wait_scheduler($node, $db);
all_ended();
is(psql(qq{SELECT count(*), count(*) FILTER (WHERE status = 'succeeded'),
		(SELECT count(*) FROM jobsched.http_responses p WHERE p.url = '$url/many' AND status = 200),
		(SELECT count(DISTINCT run_id) FROM jobsched.http_responses p WHERE p.url = '$url/many' AND status = 200)
	FROM jobsched.runs WHERE request ->> 'url' = '$url/many'}), '3000|3000|3000|3000', 'of many that a crash interrupts each succeeds, once');
my %sent;
$sent{ $_->{headers}->{'idempotency-key'} }++ for requests($sink, qr/many/);
is(scalar(keys %sent), 3000, 'each was sent');
is(scalar(grep { $_ > 2 } values %sent), 0, 'none more than twice');

# ------------------------------------------------------------------------
# Coming and going
# ------------------------------------------------------------------------

# At about the time when the worker leaves for want of work.
set_setting($node, 'jobsched.worker_idle_timeout', '20 ms');
forget_requests($sink);
foreach my $i (1 .. 25)
{
	ended(app("SELECT jobsched.http_get('$url/brief') FROM pg_sleep(random() * 0.04)"));
}
is(scalar(requests($sink, qr/brief/)), 25, 'requests that come when the worker leaves are sent, once');
is(psql(qq{SELECT count(*) FROM jobsched.runs WHERE request ->> 'url' = '$url/brief' AND status <> 'succeeded'}), '0', 'they succeed');
in_time($node, psql(qq{SELECT extract(epoch FROM max(finished_at - queued_at)) FROM jobsched.runs WHERE request ->> 'url' = '$url/brief'}), 3, 'soon');
set_setting($node, 'jobsched.worker_idle_timeout');

# ------------------------------------------------------------------------
# At the bound
# ------------------------------------------------------------------------

sub restart_with_inflight
{
	my ($max) = @_;

	end_sessions($node);
	$node->append_conf('postgresql.conf', "jobsched.http_max_inflight = $max");
	$node->restart;
	return wait_scheduler($node, $db);
}

restart_with_inflight(0);
my $waiting = app("SELECT jobsched.http_get('$url/waiting')");
app(q{SELECT jobsched.create_job('sql', command => 'SELECT 1')});
is(ended(app(q{SELECT jobsched.trigger('sql')})), 'succeeded', 'without room for requests, other runs are executed');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $waiting"), 'queued', 'and requests wait');
is(http_worker_pid($node, $db), '', 'there is no worker for them');
restart_with_inflight(5);
is(ended($waiting), 'succeeded', 'until there is');
forget_requests($sink);
app("SELECT count(jobsched.http_post('$url/gate/bound')) FROM generate_series(1, 12)");
wait_requests($sink, 5, qr/bound/);
my $last = app("SELECT jobsched.http_request('GET', '$url/last', priority => 1)");
is(psql('SELECT count(*) FROM jobsched.running'), '5', 'one role has all of jobsched.http_max_inflight');
is(scalar(requests($sink, qr/bound/)), 5, 'the rest waits');
my $other = psql("SELECT jobsched.http_get('$url/other')");
becomes($node, $db, "SELECT status FROM jobsched.runs WHERE run_id = $other", 'succeeded', 'another role has a place');
open_gate($sink, 'bound');
is(ended($last), 'succeeded', 'until there is room');
all_ended();
is(scalar(requests($sink, qr/bound/)), 12, 'all are served');

# ------------------------------------------------------------------------
# Runs that end before they are sent, and are cancelled meanwhile
# ------------------------------------------------------------------------

app(qq{SELECT count(jobsched.http_get('http://127.0.0.1:' || 1000 + i, headers => '{"X": "{{secret.nonesuch}}"}', max_attempts => 1)) FROM generate_series(1, 600) i});
app(q{SELECT jobsched.cancel_runs('http')});
all_ended();
is(ended(app("SELECT jobsched.http_get('$url/after')")), 'succeeded', 'the HTTP worker goes on');

end_sessions($node);
check_log($node, killed => 1);
$node->stop;
done_testing();
