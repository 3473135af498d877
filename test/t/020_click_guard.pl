# Copyright (c) 2026, jobsched contributors

# examples/click_guard.sql, run by its own unprivileged role: what its jobs
# compute, by trigger and on their schedule, what is seen of them, a feed that is
# read by HTTP, and people who are told of failures, also when the server dies
# meanwhile.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use List::Util qw(sum max);
use POSIX qw(floor);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $as_of = '2026-03-10 15:00:00+00';
my $days = 30;
my $last_hour = $days * 24 + 14;    # counted from the first hour of the sample

my $node = jobsched_node('click_guard', conf => "jobsched.http_allow = '127.0.0.1'\nrestart_after_crash = on\n");
$node->safe_psql('postgres',
	'CREATE ROLE guard LOGIN; CREATE DATABASE ads OWNER guard');
create_extension($node, 'ads');
$node->safe_psql('ads', 'GRANT USAGE ON SCHEMA jobsched TO guard');

sub guard
{
	my ($sql) = @_;
	return sql_as($node, 'ads', 'guard', $sql);
}

# No slot shall come between: the next one is on a 29th of February.
sub park
{
	return guard(q{SELECT jobsched.alter_job(name, schedule => '0 0 29 2 *') FROM jobsched.jobs});
}

# Runs a job, to an end that is expected; returns the run's id.
sub check_run
{
	my ($job, $args, $expected, $name) = @_;
	my ($run_id, $status) = run_job($node, 'ads', $job, role => 'guard', args => $args);
	is($status, $expected, $name);
	return $run_id;
}

sub result_of
{
	my ($run_id) = @_;
	my $result = guard("SELECT result FROM jobsched.runs WHERE run_id = $run_id");
	return $result eq '' ? undef : decode_json($result);
}

# Mean and sample standard deviation.
sub mean_stddev
{
	my $mean = sum(@_) / @_;
	return ($mean, sqrt(sum(map { ($_ - $mean)**2 } @_) / (@_ - 1)));
}

# What load_sample() delivers: [base, swing, clicks in the last hour] by source.
my %rhythm = (
	'com.example.puzzle' => [ 14, 1, 0 ],
	'deals.example.net' => [ 4, 1, 75 ],
	'news.example.com' => [ 9, 2, 14 ]);
my %delivered = (staged => 0, ingested => 0, rejected => 0, duplicates => 0);
my %clicks;
foreach my $source (sort keys %rhythm)
{
	my ($base, $swing, $in_last_hour) = @{ $rhythm{$source} };
	foreach my $hour (0 .. $last_hour)
	{
		my $count =
			$hour == $last_hour
			? $in_last_hour
			: $base + floor($hour % 24 / 6) * $swing + ($hour + 1) * 7 % 5;
		my @numbers = map { $hour * 101 + $_ } 0 .. $count - 1;
		my $rejected = grep { $_ % 97 == 0 } @numbers;
		my $repeated = grep { $_ % 40 == 0 } @numbers;
		$clicks{$source}[$hour] = $count - $rejected;
		$delivered{staged} += $count + $repeated;
		$delivered{ingested} += $count - $rejected;
		$delivered{rejected} += $rejected;
		$delivered{duplicates} += $repeated;
	}
}

my (@baselines, @profiles, @anomalies);
foreach my $source (sort keys %clicks)
{
	my @counts = @{ $clicks{$source} };
	my ($mean, $stddev) = mean_stddev(@counts[ 0 .. $days * 24 - 1 ]);
	push @baselines,
		sprintf('%s|%d|%d|%.4f|%.4f', $source, $days * 24,
		sum(@counts[ 0 .. $days * 24 - 1 ]), $mean, $stddev);
	foreach my $hour (0 .. 23)
	{
		($mean, $stddev) = mean_stddev(map { $counts[ $_ * 24 + $hour ] } 0 .. $days - 1);
		push @profiles, sprintf('%s|%d|%d|%.4f|%.4f', $source, $hour, $days, $mean, $stddev);
		next if $hour != $last_hour % 24;
		my $score = ($counts[$last_hour] - $mean) / max($stddev, sqrt($mean), 1);
		push @anomalies,
			sprintf('%s|2026-03-10 14:00|%s|%d|%.4f|%.2f',
			$source, $score > 0 ? 'spike' : 'drop', $counts[$last_hour], $mean, $score)
			if abs($score) >= 3;
	}
}

# The file, and the jobs as they are seen
install_example($node, 'ads', 'guard', 'click_guard.sql', 'the example installs');
is( guard(
		q{SELECT name, schedule, timezone, state, owner FROM jobsched.jobs ORDER BY name}),
	"calculate-baseline|0 2 * * *|UTC|active|guard\n"
	. "ingest-clicks|0 */6 * * *|UTC|active|guard\n"
	. "run-detection|0 * * * *|UTC|active|guard",
	'its jobs are there');
is( guard(q{SELECT name, schedule, state, array_length(string_to_array(next_runs, ', '), 1),
			(SELECT string_agg(DISTINCT t, ', ' ORDER BY t) FROM unnest(string_to_array(next_runs, ', ')) t WHERE name <> 'run-detection')
		FROM click_guard.schedule ORDER BY name}),
	"calculate-baseline|0 2 * * *|active|4|02:00\n"
	. "ingest-clicks|0 */6 * * *|active|4|00:00, 06:00, 12:00, 18:00\n"
	. 'run-detection|0 * * * *|active|4|',
	'the next runs of each are visible');
is(guard(q{SELECT count(*) > 0 FROM click_guard.raw_clicks}), 't', 'there are sample rows');

is( guard(
		q{SELECT string_agg(coalesce(click_guard.source_key(s), '-'), ' ' ORDER BY n)
		  FROM unnest(ARRAY['https://www.News.example.com/today?id=7', 'HTTP://u:p@news.example.com:80', ' m.news.example.com.#x ',
				'www.com', 'android-app://com.Example.puzzle/', '(not set)', '', 'localhost', 'a b.example.com']) WITH ORDINALITY AS t(s, n)}),
	'news.example.com news.example.com news.example.com www.com com.example.puzzle - - - -',
	'sources are brought to one spelling');

# A month whose numbers are known
park();
guard("TRUNCATE click_guard.raw_clicks; SELECT click_guard.load_sample('$as_of')");
guard(
	qq{SELECT jobsched.alter_job('calculate-baseline', args => '{"as_of": "$as_of", "days": $days}');
	   SELECT jobsched.alter_job('run-detection', args => '{"as_of": "$as_of"}')});

my $ingest = check_run('ingest-clicks', '{}', 'succeeded', 'ingest-clicks runs');
is_deeply(result_of($ingest), { %delivered, sources => 3 }, 'it counts what it did');
is(guard('SELECT count(*) FROM click_guard.clicks'), $delivered{ingested}, 'each click is kept once');
is( guard('SELECT count(*) FROM click_guard.rejected_clicks'),
	$delivered{rejected}, 'clicks without a source are put aside');
is(guard('SELECT count(*) FROM click_guard.raw_clicks'), 0, 'the staging table is empty');
is( guard("SELECT level, message FROM jobsched.run_logs WHERE run_id = $ingest"),
	"warning|$delivered{rejected} clicks without a usable source",
	'its log is kept');

my $baseline = check_run('calculate-baseline', '{}', 'succeeded', 'calculate-baseline runs');
is( guard(
		'SELECT source_key, hours, clicks, mean, stddev FROM click_guard.baselines ORDER BY source_key COLLATE "C"'),
	join("\n", @baselines),
	'mean and standard deviation of each source');
is( guard(
		'SELECT source_key, hour, days, mean, stddev FROM click_guard.baseline_hours ORDER BY source_key COLLATE "C", hour'),
	join("\n", @profiles),
	'hourly profile of each source');
is( guard(
		'SELECT DISTINCT window_start = '
		. "timestamptz '2026-02-08 00:00+00', window_end = timestamptz '2026-03-10 00:00+00' FROM click_guard.baselines"),
	't|t',
	'over 30 complete days');

my $found = q{SELECT source_key, to_char(hour_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), kind, clicks, expected, score
	FROM click_guard.anomalies ORDER BY source_key COLLATE "C"};
my $detection = check_run('run-detection', '{}', 'succeeded', 'run-detection runs');
is(scalar(@anomalies), 2, 'the sample has a spike and a drop');
is(guard($found), join("\n", @anomalies), 'anomalies with their scores');
is_deeply(
	result_of($detection),
	{
		from => '2026-03-10T14:00:00+00:00', to => '2026-03-10T15:00:00+00:00',
		sources => 3, anomalies => 2, without_baseline => 0
	},
	'it counts what it found');

# Clicks that are still staged count, once
guard(
	q{INSERT INTO click_guard.raw_clicks (event_id, source, campaign, occurred_at)
	  SELECT 'late/' || n % 20, 'com.example.puzzle', 'spring-1', timestamptz '2026-03-10 14:30+00' FROM generate_series(1, 40) n;
	  INSERT INTO click_guard.raw_clicks (event_id, source, campaign, occurred_at)
	  VALUES ('new/1', 'fresh.example.org', 'spring-1', '2026-03-10 14:31+00')});
my $again = check_run('run-detection', '{}', 'succeeded', 'run-detection runs again');
is( guard($found),
	join("\n", grep { !/^com\.example\.puzzle/ } @anomalies),
	'an anomaly goes away when its missing clicks arrive');
is(result_of($again)->{without_baseline}, 1, 'a source without a baseline is counted');
is( result_of(check_run('run-detection', '{"threshold": 100}', 'succeeded', 'arguments of a trigger hold'))->{anomalies},
	0, 'a higher threshold finds less');

# The real schedule path
guard(q{SELECT jobsched.alter_job('run-detection', schedule => '* * * * * *')});
wait_value($node, 'ads',
	q{SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'run-detection' AND source = 'schedule' AND status = 'succeeded'},
	't', 'run-detection runs on its schedule');
is( guard(
		q{SELECT count(*) FROM jobsched.runs WHERE source = 'schedule' AND (scheduled_for IS NULL OR started_at < scheduled_for OR job_name <> 'run-detection')}),
	0,
	'for its slots and not before them');
is(guard($found), join("\n", grep { !/^com\.example\.puzzle/ } @anomalies), 'with the same outcome');

# One job's error
my $failed = check_run('run-detection', '{"threshold": "high"}', 'failed', 'a bad argument fails the run');
is( guard("SELECT status, sqlstate, error, result IS NULL FROM jobsched.runs WHERE run_id = $failed"),
	'failed|22P02|invalid input syntax for type numeric: "high"|t',
	'its error is in the history');
is( guard("SELECT error_context ~ 'run_detection' FROM jobsched.runs WHERE run_id = $failed"),
	't', 'with its place');
my $refused = check_run('calculate-baseline', '{"days": 1}', 'failed', 'so does one that the handler refuses');
is( guard("SELECT sqlstate, error FROM jobsched.runs WHERE run_id = $refused"),
	'22023|a baseline needs at least 2 days, not 1', 'with its own error');
is(guard('SELECT count(*) FROM click_guard.baselines'), 3, 'a failed run leaves nothing behind');
wait_value($node, 'ads',
	"SELECT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'run-detection' AND source = 'schedule' AND status = 'succeeded' AND run_id > $failed)",
	't', 'the schedule goes on after a failure');
is( result_of(check_run('ingest-clicks', '{}', 'succeeded', 'and so do the other jobs'))->{ingested},
	21, 'with their work');
is( guard(
		q{SELECT last_status, consecutive_failures, recent ~ 'F$' FROM jobsched.jobs WHERE name = 'calculate-baseline'}),
	'failed|1|t',
	'the failed job shows it');

# The history
is( guard(
		qq{SELECT job_name, status, result->>'staged', finished_at >= started_at, started_at >= queued_at
		   FROM jobsched.runs WHERE run_id = $ingest}),
	"ingest-clicks|succeeded|$delivered{staged}|t|t",
	'a run is kept with its counts and times');
my @log = map { [ split /\|/, $_, -1 ] } split /\n/, guard('SELECT run_id, job_name, status, metadata, error, messages FROM click_guard.run_log LIMIT 100');
is_deeply([ map { $_->[0] } @log ], [ sort { $b <=> $a } map { $_->[0] } @log ], 'the log has the newest first');
my ($logged) = grep { $_->[0] == $ingest } @log;
is_deeply([ @{$logged}[ 1, 2 ], decode_json($logged->[3])->{rejected}, decode_json($logged->[5]) ],
	[ 'ingest-clicks', 'succeeded', $delivered{rejected}, ["$delivered{rejected} clicks without a usable source"] ], 'with metadata and messages');
($logged) = grep { $_->[0] == $refused } @log;
is("@{$logged}[1, 2, 4]", 'calculate-baseline failed a baseline needs at least 2 days, not 1', 'or what was wrong');
wait_value($node, 'ads', q{SELECT (SELECT sum(runs) FROM jobsched.run_stats(now() - interval '1 day', now() + interval '1 hour', NULL, 'ingest-clicks')) =
	(SELECT count(*) FROM jobsched.runs WHERE job_name = 'ingest-clicks' AND finished_at IS NOT NULL)}, 't', 'statistics count them');
is( guard(q{SELECT pattern FROM jobsched.error_patterns('1 hour', 'calculate-baseline')}),
	'a baseline needs at least <n> days, not <n>', 'and errors of a kind');

# By hand, outside a run
is( guard(qq{SELECT click_guard.run_detection('{"as_of": "$as_of", "threshold": 100}')->>'anomalies'}),
	0, 'handlers can be called by hand');

# The file again
install_example($node, 'ads', 'guard', 'click_guard.sql', 'the example installs again');
is( guard(
		q{SELECT string_agg(schedule, ', ' ORDER BY name) FROM jobsched.jobs}),
	'0 2 * * *, 0 */6 * * *, 0 * * * *',
	'and puts the schedules back');
is(guard('SELECT count(*) FROM click_guard.raw_clicks'), 0, 'without more sample rows');

# A feed: three pages of ten, of which the second is busy at first; then nothing
# new; then something that is no page
my $feed = start_sink($node, answer => q{
	my $busy = 1;
	sub {
		my ($request) = @_;
		my $after = $request->{query}->{after} || 0;
		return (503, 'busy', 'Retry-After' => 1) if $after == 10 && $busy-- > 0;
		return (200, '<html>') if $request->{path} =~ /strange/;
		return (404, 'nothing here') if $request->{path} =~ /nowhere/;
		return (200, '{"clicks": [], "next": 30, "more": true}') if $request->{path} =~ /round/;
		my @numbers = grep { $_ <= 30 } $after + 1 .. $after + 10;
		my @clicks = map { { event_id => "feed/$_", source => $_ == 7 ? '?' : "https://www.feed.example.org/$_",
			campaign => 'spring-1', occurred_at => '2026-03-10T14:30:00Z' } } @numbers;
		return (200, JSON::PP->new->utf8->encode({ clicks => \@clicks, next => $after + @numbers,
			more => $after + @numbers < 30 ? JSON::PP::true : JSON::PP::false }));
	}});
$node->safe_psql('ads', 'GRANT EXECUTE ON FUNCTION jobsched.http_request TO guard');
guard("UPDATE click_guard.feed SET base_url = '$feed->{url}'");
is( guard(q{SELECT schedule, timezone FROM jobsched.jobs WHERE name = 'fetch-clicks'}),
	'30 5/6 * * *|UTC', 'a feed has a job');
check_run('fetch-clicks', undef, 'succeeded', 'which runs');
wait_value($node, 'ads', q{SELECT count(*) FROM click_guard.clicks WHERE event_id LIKE 'feed/%'}, 29, 'clicks come by HTTP, and are ingested');
is(guard(q{SELECT source FROM click_guard.rejected_clicks WHERE event_id = 'feed/7'}), '?', 'or rejected');
is(guard(q{SELECT DISTINCT source_key FROM click_guard.clicks WHERE event_id LIKE 'feed/%'}), 'feed.example.org', 'with the same spelling of sources');
is_deeply([ map { "$_->{method} $_->{target}" } requests($feed) ],
	[ 'GET /clicks?after=', 'GET /clicks?after=10', 'GET /clicks?after=10', 'GET /clicks?after=20' ],
	'page after page, and again what failed');
is(guard(q{SELECT position, error IS NULL, fetched_at IS NOT NULL FROM click_guard.feed}), '30|t|t', 'how far it has been read is kept');
check_run('fetch-clicks', undef, 'succeeded', 'the next one');
is((wait_requests($feed, 5))[4]->{target}, '/clicks?after=30', 'asks for what is new');

guard(qq{UPDATE click_guard.feed SET base_url = '$feed->{url}/strange'});
check_run('fetch-clicks', undef, 'succeeded', 'what is no page');
wait_value($node, 'ads', 'SELECT position, error FROM click_guard.feed', '30|the answer is no page of clicks', 'is an error, and changes nothing');
guard(qq{UPDATE click_guard.feed SET base_url = '$feed->{url}/round'});
check_run('fetch-clicks', undef, 'succeeded', 'a feed that goes round and round');
wait_value($node, 'ads', 'SELECT error FROM click_guard.feed', 'the page leads to itself', 'is left alone');
is(scalar(requests($feed, qr{/round/})), 1, 'and not asked again');
guard(qq{UPDATE click_guard.feed SET base_url = '$feed->{url}/nowhere'});
check_run('fetch-clicks', undef, 'failed', 'no feed there');
wait_value($node, 'ads', q{SELECT error ~ '404' FROM click_guard.feed}, 't', 'is noted too');
install_example($node, 'ads', 'guard', 'click_guard.sql', 'the example installs with a feed');
is(guard(q{SELECT args->>'after' FROM jobsched.jobs WHERE name = 'fetch-clicks'}), 30, 'and goes on where it was');
guard('UPDATE click_guard.feed SET base_url = NULL');
is(guard(q{SELECT count(*) FROM jobsched.jobs WHERE name = 'fetch-clicks'}), 0, 'without a feed there is no such job');
guard(q{SELECT jobsched.alter_job('run-detection', schedule => '0 * * * *')});

# Alerts: Slack has no answer until its gate opens
my $slack = start_sink($node, answer => q{sub { return ([ gate => 'slack' ], 200, 'ok') }});
guard("UPDATE click_guard.watch SET slack_url = '$slack->{url}/slack', alert_delay = '0 s'");
$failed = check_run('calculate-baseline', '{"days": 1}', 'failed', 'a job fails');
wait_requests($slack, 1);
is(guard(q{SELECT job, condition, count FROM jobsched.alerts WHERE state = 'firing'}), 'calculate-baseline|failures|1', 'an alert fires');

# The server dies while people are being told
my $log_offset = log_size($node);
kill_and_start($node);
my %schedules = (
	'ingest-clicks' => '0 */6 * * *',
	'calculate-baseline' => '0 2 * * *',
	'run-detection' => '0 * * * *');
foreach my $job (sort keys %schedules)
{
	my $line = quotemeta(qq{job "$job" of "guard": schedule "$schedules{$job}" (UTC), next run });
	wait_log($node, qr/LOG:\s+$line\d/, $log_offset, "$job is logged at start-up");
}

wait_requests($slack, 2);
check_run('calculate-baseline', '{"days": 30}', 'succeeded', 'the job succeeds');
open_gate($slack, 'slack');
my @told = map { decode_json($_->{body})->{text} } wait_messages($slack, 2);
is(scalar(@told), 2, 'people are told of the failure and of its end, once each');
like($told[0], qr/^\*job "calculate-baseline" failed once\*\nclick-jobs: .*, run $failed failed \(22023\): a baseline needs/, 'what was wrong');
like($told[1], qr/^\*job "calculate-baseline" is well again/, 'and that it is over');
guard('UPDATE click_guard.watch SET slack_url = NULL');
is(guard('SELECT (SELECT count(*) FROM jobsched.channels) + (SELECT count(*) FROM jobsched.alerts)'), 0, 'without an address nobody is told');

$node->stop;
check_log($node, killed => 1);
stop_http_server($_) for $feed, $slack;
done_testing();
