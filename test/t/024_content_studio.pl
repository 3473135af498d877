# Copyright (c) 2026, jobsched contributors

# examples/content_studio.sql, run by its own unprivileged role: languages are
# evaluated, and then cleaned up; what frequent languages lack is translated by
# a server that fails at times; people are told of that, also when the server dies
# meanwhile.  A standby does nothing of this, and all of it when it is promoted; and
# an evaluation comes when its schedule says.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = jobsched_node('content_studio', init => { allows_streaming => 1 }, conf => "jobsched.http_allow = '127.0.0.1'\nrestart_after_crash = on\n");
$node->safe_psql('postgres', 'CREATE ROLE studio LOGIN; CREATE DATABASE studio OWNER studio');
create_extension($node, 'studio');
$node->safe_psql('studio', q{
	GRANT USAGE ON SCHEMA jobsched TO studio;
	GRANT EXECUTE ON FUNCTION jobsched.http_request TO studio});

sub studio
{
	my ($sql) = @_;
	return sql_as($node, 'studio', 'studio', $sql);
}

# Runs a job; returns its result, and the run's id.
sub result_of
{
	my ($job, %param) = @_;
	my ($run_id, $status) = run_job($node, 'studio', $job, role => 'studio', %param);
	is($status, 'succeeded', "$job runs");
	return (decode_json(studio("SELECT result FROM jobsched.runs WHERE run_id = $run_id")), $run_id);
}

# A translator: it is busy when it first hears of lesson 2, does not know the
# word "unspeakable", has no good answer to "mumble", and thinks about Lesson 6
# in German for as long as the gate is closed.
my $translator = start_sink($node, answer => q{
	my %seen;
	sub {
		my ($request) = @_;
		my ($language) = $request->{path} =~ m{^/translate/(..)$} or return;
		my $text = JSON::PP->new->utf8->decode($request->{body});
		my $lesson = "$text->{title} $language";
		return (503, 'busy', 'Retry-After' => 1) if $lesson eq 'Lesson 2 de' && !$seen{$lesson}++;
		return (422, 'no such word') if $text->{body} =~ /unspeakable/;
		return (200, 'hm') if $text->{body} =~ /mumble/;
		my $answer = JSON::PP->new->utf8->encode({ title => "$language: $text->{title}", body => "$language: $text->{body}" });
		return ($lesson eq 'Lesson 6 de' ? [ gate => 'six' ] : (), 200, $answer);
	}});

my $slack = start_sink($node, answer => q{sub { return ([ gate => 'slack' ], 200, 'ok') }});
open_gate($slack, 'slack');

# What people have been told of something, at least $n messages.
sub told
{
	my ($n, $pattern) = @_;
	return map { decode_json($_->{body})->{text} } wait_messages($slack, $n, undef, $pattern);
}

install_example($node, 'studio', 'studio', 'content_studio.sql', 'the example installs');
install_example($node, 'studio', 'studio', 'content_studio.sql', 'and again');
is( studio('SELECT name, schedule, timezone, active FROM content_studio.status ORDER BY name'),
	"language-evaluation|0 2 1,15 * *|UTC|t\n"
	. "preload-at-start|\@startup|UTC|t\n"
	. "preload-frequent|0 3 * * *|UTC|t\n"
	. "translate-lesson||UTC|t",
	'its jobs are there');
is(studio('SELECT scheduler ~ \'^pid\', processing, problems IS NULL FROM content_studio.scheduler'), 't|t|t', 'and a scheduler');
studio("UPDATE content_studio.settings SET translator_url = '$translator->{url}', slack_url = '$slack->{url}/slack', alert_delay = '0 s'");

# ------------------------------------------------------------------------
# Evaluation, and then cleanup
# ------------------------------------------------------------------------

sub step_of
{
	my ($run_id, $step, $columns) = @_;
	return studio("SELECT $columns FROM jobsched.steps WHERE workflow_run_id = $run_id AND step = '$step'");
}

my ($failed, $status) = run_job($node, 'studio', 'language-evaluation', role => 'studio', args => '{"as_of": "some day"}');
is($status, 'failed', 'an evaluation fails');
is(step_of($failed, 'cleanup', 'status, reason'), 'skipped|upstream_failed', 'nothing is cleaned up after that');
is(studio("SELECT status, first_failed_step, cleaned_lessons FROM content_studio.evaluations WHERE run_id = $failed"), 'failed|evaluation|', 'it is seen which step it was');
like((told(1, qr/evaluation/))[0], qr/^\*job "language-evaluation" failed once\*\nstudio-jobs: .*, run $failed failed/, 'people are told');
is(studio(q{SELECT job, condition, state FROM jobsched.alerts WHERE state = 'firing'}), 'language-evaluation|failures|firing', 'an alert fires');

my ($result, $run) = result_of('language-evaluation');
like((told(2, qr/evaluation/))[1], qr/^\*job "language-evaluation" is well again/, 'people are told of that too');
my $cleaned = $result->{cleanup};
$result = $result->{evaluation};
is_deeply(
	[ @{$result}{qw(total_languages frequent_languages demoted_languages)} ],
	[ 5, [ 'de', 'en', 'fr' ], ['it'] ],
	'it says which languages are frequent');
is($result->{evaluation_date}, studio('SELECT current_date'), 'and when');
is(studio('SELECT language, frequency FROM content_studio.languages ORDER BY language'),
	"de|0.3000\nen|0.5000\neo|0.0250\nfr|0.1500\nit|0.0250", 'by their share of all uses');
is(studio('SELECT message FROM jobsched.run_logs WHERE run_id = ' . step_of($run, 'evaluation', 'run_id') . ' ORDER BY seq'),
	"Step 1/2: counting uses of 30 days\nStep 2/2: 3 of 5 languages are frequent, 1 no longer", 'its steps are kept');
is_deeply($cleaned, { cleaned_languages => ['it'], total_cleaned_lessons => 4 }, 'the cleanup follows');
is(studio('SELECT message FROM jobsched.run_logs WHERE run_id = ' . step_of($run, 'cleanup', 'run_id') . ' ORDER BY seq'),
	qq{Step 1/2: keeping ["de", "en", "fr"]\nStep 2/2: removed 4 lessons}, 'of this evaluation');
is(studio("SELECT status, frequent_languages, cleaned_lessons FROM content_studio.evaluations WHERE run_id = $run"), 'succeeded|["de", "en", "fr"]|4', 'both are seen together');
is(studio('SELECT count(*) FROM content_studio.translations'), 0, 'what nobody reads is gone');
my $retried = studio(qq{SELECT jobsched.retry_run($failed, args => '{"as_of": "2026-01-01"}')});
is(end_of($node, 'studio', $retried, q{status || ' ' || (result->'evaluation'->>'evaluation_date')}), 'succeeded 2026-01-01', 'what failed is retried by hand, with what was wrong mended');
result_of('language-evaluation');

# ------------------------------------------------------------------------
# Preloading
# ------------------------------------------------------------------------

studio(q{UPDATE content_studio.lessons SET body = 'unspeakable words' WHERE lesson_id = 5});
my $preload;
($result, $preload) = result_of('preload-frequent');
is($result->{requested}, 12, 'a preload asks for what is missing');
wait_value($node, 'studio', "SELECT total, done, failed, percent, took IS NULL FROM content_studio.preloads WHERE preload_id = $preload",
	'12|9|2|91.7|t', 'how far it has come is seen while it goes on');
($result) = result_of('preload-frequent');
is($result->{requested}, 2, 'another one does not ask again for what is on its way');
open_gate($translator, 'six');
wait_value($node, 'studio', 'SELECT sum(done), sum(failed), bool_and(took IS NOT NULL) FROM content_studio.preloads',
	'10|4|t', 'until all has come');
is(studio(q{SELECT lesson_id, language, title, body FROM content_studio.translations WHERE lesson_id IN (2, 6) ORDER BY 1, 2}),
	"2|de|de: Lesson 2|de: Words and sentences of lesson 2.\n"
	. "2|fr|fr: Lesson 2|fr: Words and sentences of lesson 2.\n"
	. "6|de|de: Lesson 6|de: Words and sentences of lesson 6.\n"
	. "6|fr|fr: Lesson 6|fr: Words and sentences of lesson 6.",
	'the translations are kept');
is(studio(q{SELECT attempt FROM jobsched.runs JOIN content_studio.translations USING (run_id) WHERE lesson_id = 2 AND language = 'de'}),
	2, 'one that failed at first was tried again');
my @second = grep { $_->{body} =~ /Lesson 2"/ } requests($translator, qr{/de$});
is(scalar(@second), 2, 'the translator has heard of it twice');
is($second[0]->{headers}->{'idempotency-key'}, $second[1]->{headers}->{'idempotency-key'}, 'with the same key');
cmp_ok($second[1]->{time} - $second[0]->{time}, '>=', 0.9, 'and not before it wanted');

is(studio("SELECT language, status, error FROM content_studio.requests WHERE preload_id = $preload AND lesson_id = 5 ORDER BY 1"),
	join("\n", map { "$_|failed|" . studio("SELECT runs.error FROM jobsched.runs JOIN content_studio.requests USING (run_id)
		WHERE preload_id = $preload AND lesson_id = 5 AND language = '$_'") } qw(de fr)),
	'failures are kept with what was wrong');
like(studio("SELECT min(error) FROM content_studio.requests"), qr/422/, 'such as the status');
is(studio("SELECT max(attempt) FROM jobsched.runs JOIN content_studio.requests USING (run_id) WHERE lesson_id = 5"),
	1, 'what will not become better is not tried again');
like((told(1, qr/translate/))[0], qr/studio-translations: job "translate-lesson" failed.*422/, 'people are told');

close_gate_of($translator, 'six');
studio(q{UPDATE content_studio.lessons SET body = 'mumble' WHERE lesson_id = 5;
	DELETE FROM content_studio.translations WHERE lesson_id = 6 AND language = 'de'});
($result, $preload) = result_of('preload-frequent');
wait_value($node, 'studio', "SELECT DISTINCT status, error FROM content_studio.requests WHERE preload_id = $preload ORDER BY 1",
	"failed|the answer has no title and body\nwaiting|", 'an answer that is none is a failure');
like((told(1, qr/title/))[0], qr/^\*content_studio\*\nlesson 5 in (de|fr): the answer has no title and body$/, 'and people are told');
is(studio(q{SELECT jobsched.cancel_runs('translate-lesson')}), 1, 'a request is cancelled');
wait_aborted($translator, 1);
open_gate($translator, 'six');
studio(q{UPDATE content_studio.lessons SET body = 'a "quoted" \word' WHERE lesson_id = 5});

is(studio(q{
	BEGIN;
	SELECT jobsched.alter_job('preload-frequent', timezone => 'Asia/Tokyo') \g /dev/null
	SELECT timezone, to_char(next_run_at AT TIME ZONE 'Asia/Tokyo', 'HH24:MI') FROM content_studio.status WHERE name = 'preload-frequent';
	ROLLBACK}), 'Asia/Tokyo|03:00', 'a job has a time zone of its own');

# The real schedule path
studio(q{SELECT jobsched.alter_job('preload-frequent', schedule => '* * * * * *')});
wait_value($node, 'studio', 'SELECT count(*) FROM content_studio.translations', 12, 'what failed is asked for by the next one on schedule');
is(studio('SELECT body FROM content_studio.translations WHERE lesson_id = 5 AND language = \'fr\''), 'fr: a "quoted" \word', 'text comes as it is');
is(studio(q{SELECT count(*) FROM content_studio.requests WHERE error = 'cancelled'}), 1, 'and what was cancelled');
is(studio(q{SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'preload-frequent' AND source = 'schedule' AND status = 'succeeded'}),
	't', 'which succeeded');
is(studio('SELECT frequent_languages, translations, waiting, p95 IS NOT NULL FROM content_studio.metrics'), '3|12|0|t', 'metrics');
wait_value($node, 'studio', q{SELECT success_rate BETWEEN 0.3 AND 0.95 AND p95_ms > 0 FROM jobsched.job_stats WHERE job_name = 'translate-lesson' AND period = '1 day'}, 't', 'the translator is counted');
is(studio('SELECT success_rate BETWEEN 0.3 AND 0.95, translator_p95_ms > 0 FROM content_studio.metrics'), 't|t', 'which they show');
my $metrics = studio('SELECT jobsched.metrics()');
like($metrics, qr/^jobsched_runs_total\{.*job="translate-lesson".*status="failed".*\} [1-9]/m, 'metrics for Prometheus have each job');
like($metrics, qr/^jobsched_job_next_run_timestamp_seconds\{.*job="language-evaluation".*\} \d/m, 'and when it comes next');

# ------------------------------------------------------------------------
# Off and on, and at the server's start
# ------------------------------------------------------------------------

studio('UPDATE content_studio.settings SET enabled = false');
is(studio('SELECT string_agg(name, \', \' ORDER BY name) FROM content_studio.status WHERE schedule IS NOT NULL AND active'), '', 'one switch turns all jobs off');
install_example($node, 'studio', 'studio', 'content_studio.sql', 'the example installs again');
is(studio('SELECT count(*) FROM content_studio.status WHERE schedule IS NOT NULL AND active'), 0, 'and leaves it off');
studio('UPDATE content_studio.settings SET enabled = true');
is(studio('SELECT count(*) FROM content_studio.status WHERE active'), 4, 'the switch turns them on');
is(studio(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'preload-at-start'}), 0, 'no server has started yet');

# A translation is under way when the server dies.
close_gate_of($translator, 'six');
studio(q{DELETE FROM content_studio.translations WHERE lesson_id = 6 AND language = 'de'});
my @heard = requests($translator, qr{/de$});
result_of('preload-frequent');
wait_requests($translator, @heard + 1, qr{/de$});
studio(q{DELETE FROM content_studio.translations WHERE lesson_id = 3});
# People are being told, too.  Messages go out one a second: none from before is to hang there.
my $untold = q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'channel:studio-slack' AND finished_at IS NULL};
wait_value($node, 'studio', $untold, 0, 'all from before has been told');
close_gate_of($slack, 'slack');
($failed) = run_job($node, 'studio', 'language-evaluation', role => 'studio', args => '{"as_of": "no day"}');
wait_messages($slack, 1, undef, qr/run $failed\b/);
my $requests = requests($slack);
kill_and_start($node);
wait_connection($node, 'studio');
open_gate($translator, 'six');
wait_value($node, 'studio', 'SELECT count(*) FROM content_studio.translations', 12, 'a start of the server preloads');
is(studio(q{SELECT status, result->>'requested' FROM jobsched.runs WHERE job_name = 'preload-at-start'}), 'succeeded|2', 'once');
my @of_six = requests($translator, qr{/de$});
@of_six = grep { $_->{body} =~ /Lesson 6"/ } @of_six[ @heard .. $#of_six ];
is(scalar(@of_six), 2, 'what was under way was sent again');
is($of_six[0]->{headers}->{'idempotency-key'}, $of_six[1]->{headers}->{'idempotency-key'}, 'with the same key');

wait_requests($slack, $requests + 1);
open_gate($slack, 'slack');
wait_value($node, 'studio', $untold, 0, 'nothing is left to be told');
is(scalar(told(1, qr/run $failed\b/)), 1, 'what was sent again after the crash has the same id');
studio('UPDATE content_studio.settings SET slack_url = NULL');
is(studio('SELECT (SELECT count(*) FROM jobsched.channels) + (SELECT count(*) FROM jobsched.alerts)'), 0, 'without an address nobody is told');

# ------------------------------------------------------------------------
# A standby
# ------------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('content_studio_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
studio(q{DELETE FROM content_studio.translations WHERE lesson_id = 1});
$node->wait_for_catchup($standby);
is(sql_as($standby, 'studio', 'studio', q{SELECT scheduler, processing, problems IS NULL FROM content_studio.scheduler}), 'standby|f|t', 'a standby runs nothing');
is(sql_as($standby, 'studio', 'studio', 'SELECT count(*) FROM content_studio.status WHERE active'), 4, 'and knows the jobs');
like(error_of($standby, 'studio', q{SELECT jobsched.trigger('preload-frequent')}, 'studio'), qr/25006/, 'nor can it be made to');
my $asked = requests($translator);
$node->stop('immediate');
$standby->promote;
wait_value($standby, 'studio', 'SELECT count(*) FROM content_studio.translations', 12, 'when it is promoted it takes over');
is(scalar(requests($translator)), $asked + 2, 'with what was missing, and no more');

# Months go by until an evaluation is due: on the 1st or 15th, at two o'clock.
define_clock($standby, 'studio');
my $due = sql_as($standby, 'studio', 'studio', q{
	SET timezone = 'UTC';
	UPDATE content_studio.settings SET enabled = false;
	SELECT jobsched.alter_job('language-evaluation', enabled => true) \g /dev/null
	SELECT next_run_at FROM content_studio.status WHERE name = 'language-evaluation'});
like($due, qr/-(?:01|15) 02:00:00\+00$/, 'an evaluation is due');
set_clock($standby, 'studio', $due);
my $evaluation = "FROM jobsched.runs WHERE job_name = 'language-evaluation' AND source = 'schedule'";
wait_value($standby, 'studio', "SELECT string_agg(status, ' ') $evaluation", 'succeeded', 'then it begins by itself');
is(sql_as($standby, 'studio', 'studio', "SELECT scheduled_for = '$due', result->'evaluation'->>'evaluation_date', result->'cleanup' ? 'total_cleaned_lessons' $evaluation"),
	't|' . substr($due, 0, 10) . '|t', 'for its slot, with both steps');

$standby->stop;
check_log($node, killed => 1);
check_log($standby);
stop_http_server($_) for $translator, $slack;
done_testing();
