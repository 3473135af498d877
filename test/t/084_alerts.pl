# Copyright (c) 2026, jobsched contributors

# Alerts: each condition fires and is over, and channels are told of both, once, whatever
# happens to the server in between.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SmtpServer;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('alerts', conf => "timezone = 'UTC'\nmax_prepared_transactions = 2\nrestart_after_crash = on\n");
my $sink = start_sink($node, answer => q{
	my %seen;
	sub {
		my ($request) = @_;
		my $times = $seen{ $request->{path} }++;
		return (429, 'slow down', 'Retry-After' => 2) if $request->{path} =~ m{^/busy} && $times < 1;
		return (500, 'no') if $request->{path} =~ m{^/broken} && $times < 1;
		return;
	}});
my $url = $sink->{url};
my $json = JSON::PP->new->utf8->canonical;

define_clock($node, $db);

sub psql { my ($sql) = @_; return session_sql($node, $db, $superuser, $sql) }
sub app { my ($sql) = @_; return session_sql($node, $db, 'app', $sql) }

# Instants of one day.
sub at { my ($time) = @_; return set_clock($node, $db, "2026-03-02 $time+00") }

# The error of a role's statement, in one line; '' for none.
sub refused
{
	my ($sql, $role) = @_;
	my $error = error_of($node, $db, $sql, $role || 'app');

	return $error =~ /ERROR:\s+(\S+): ([^\n]*)/ ? "$1 $2" : $error;
}

sub run
{
	my ($job) = @_;
	my ($run_id, $status) = run_job($node, $db, $job, role => 'app');
	return $run_id;
}

# The bodies of what was sent to a path: exactly $n, when there are as many.
sub sent
{
	my ($path, $n) = @_;
	my @requests = wait_requests($sink, $n, qr{^/\Q$path\E$});

	is(scalar @requests, $n, "$n at $path, and no more");
	return map { $json->decode($_->{body}) } @requests;
}

# What the items of a message say, in one line.
sub items
{
	my ($message) = @_;
	return join('; ', map { "$_->{alert} $_->{job} $_->{condition} $_->{state} $_->{count}" } sort { "$a->{alert} $a->{job}" cmp "$b->{alert} $b->{job}" } @{ $message->{items} });
}

sub state_is
{
	my ($name, $expected, $what) = @_;
	return wait_value($node, $db, qq{SELECT string_agg(concat_ws(' ', job, condition, state, count), '; ' ORDER BY job, condition) FROM jobsched.alerts WHERE name = '$name'}, $expected, $what);
}

sub channel
{
	my ($name) = @_;
	return app(qq{SELECT jobsched.set_channel('$name', 'webhook', '$url/$name')});
}

# Whatever is yet to be sent has been.
sub settled
{
	return until_true($node, $db, q{SELECT NOT EXISTS (SELECT FROM jobsched_internal.run WHERE run_at <= jobsched_internal.clock_now())}, 'all is sent');
}

at('10:00:00');
app(q{
	CREATE TABLE app.told (id bigserial, message jsonb);
	CREATE FUNCTION app.tell(jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO app.told (message) VALUES ($1) $$;
	CREATE TABLE app.ill (job text PRIMARY KEY);
	CREATE FUNCTION app.work(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM app.ill WHERE job = jobsched.job_name()) THEN
				RAISE division_by_zero USING MESSAGE = 'no ' || jobsched.job_name() || ' today';
			END IF;
		END $$});

sub job
{
	my ($name, $more) = @_;
	return app(qq{SELECT jobsched.create_job('$name', handler => 'app.work', max_attempts => 1} . ($more ? ", $more" : '') . ')');
}
sub ill { my ($name) = @_; return app("INSERT INTO app.ill VALUES ('$name')") }
sub well { my ($name) = @_; return app("DELETE FROM app.ill WHERE job = '$name'") }

# ------------------------------------------------------------------------
# Failures
# ------------------------------------------------------------------------

channel('ops');
app(q{SELECT jobsched.set_channel('log', 'handler', handler => 'app.tell')});
job('bad one');
ill('bad one');
app(q{SELECT jobsched.set_alert('fails', '{ops,log}', '{bad*}')});
is(app(q{SELECT state, job IS NULL, channels FROM jobsched.alerts}), 'ok|t|{ops,log}', 'nothing fires');
run('bad one') for 1 .. 2;
my $last = run('bad one');
state_is('fails', 'bad one failures firing 3', 'it fires');
is(app(qq{SELECT since, last_run_id = $last, last_status, sqlstate, error FROM jobsched.alerts}), '2026-03-02 10:00:00+00|t|failed|22012|no bad one today', 'and says why');
at('10:00:29');
is(scalar requests($sink), 0, 'nobody is told before group_for has passed');
at('10:00:30');
my ($message) = sent('ops', 1);
is(items($message), 'fails bad one failures firing 3', 'one message for all');
is(join(' ', map { $message->{$_} } qw(version kind channel count more)), '1 alert ops 3 0', 'in the form that is promised');
is($message->{subject}, 'job "bad one" failed 3 times', 'subject');
is($message->{text}, qq{fails: job "bad one" failed 3 times, since 2026-03-02 10:00:00 UTC, run $last failed (22012): no bad one today}, 'text');
my ($item) = @{ $message->{items} };
is(join(' ', map { $item->{$_} // 'null' } qw(since until first_at last_at last_run_id status sqlstate error)),
	"2026-03-02T10:00:00+00:00 null 2026-03-02T10:00:00+00:00 2026-03-02T10:00:00+00:00 $last failed 22012 no bad one today", 'item');
wait_value($node, $db, q{SELECT message ->> 'text' FROM app.told}, $message->{text}, 'the other channel has the same');
run('bad one');
state_is('fails', 'bad one failures firing 4', 'it fires on, and nobody is told again');
well('bad one');
at('10:01:00');
run('bad one');
state_is('fails', 'ok', 'a success ends it');
at('10:01:30');
(undef, $message) = sent('ops', 2);
is(items($message), 'fails bad one failures resolved 4', 'that is told, with what has been counted');
is($message->{subject}, 'job "bad one" is well again, it failed 4 times', 'in words');
is($message->{items}->[0]->{until}, '2026-03-02T10:01:00+00:00', 'and when');
isnt($message->{id}, ($json->decode((requests($sink))[0]->{body}))->{id}, 'each has an id of its own');
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, '0', 'what is over and told is forgotten');

# ------------------------------------------------------------------------
# What counts as failure
# ------------------------------------------------------------------------

at('10:10:00');
channel('count');
job($_) && ill($_) for qw(third often each quiet missed);
app(q{SELECT jobsched.drop_alert('fails'),
	jobsched.set_alert('third', '{count}', '{third}', threshold => 3),
	jobsched.set_alert('often', '{count}', '{often}', threshold => 2, within => '10 minutes'),
	jobsched.set_alert('each', '{count}', '{each}', every_failure => true),
	jobsched.set_alert('quiet', '{count}', '{quiet}', resolved => false)});
run('third') for 1 .. 2;
well('third');
run('third');
ill('third');
run('third') for 1 .. 2;
run('often');
well('often');
at('10:15:00');
run('often');
ill('often');
state_is('third', 'ok', 'two in a row are not three');
state_is('often', 'ok', 'one is not two');
run('third');
run('often');
run($_) for qw(each each quiet);
state_is('third', 'third failures firing 3', 'threshold: so many in a row');
state_is('often', 'often failures firing 2', 'within: so many in that time, whatever is between');
at('10:15:30');
($message) = sent('count', 1);
is(items($message), 'each each failures firing 2; often often failures firing 2; quiet quiet failures firing 1; third third failures firing 3', 'one message for all alerts');
is($message->{count}, 8, 'and their sum');
is($message->{subject}, '4 alerts fire', 'several');
settled();
state_is('each', 'ok', 'every_failure: what has been told is over');
well($_) for qw(each quiet often third);
at('10:20:00');
run($_) for qw(each quiet often third);
ill('each');
run('each');
state_is('each', 'each failures firing 1', 'another one');
state_is($_, 'ok', "$_ is well again") for qw(often third quiet);
at('10:20:30');
(undef, $message) = sent('count', 2);
is(items($message), 'each each failures firing 1; often often failures resolved 2; third third failures resolved 3', 'each failure is told once, and what shall be told that it is over');
ill('often');
run('often');
at('10:31:00');
run('often');
state_is('often', 'ok', 'within: what is too long ago does not count');
at('10:35:00');
run('often');
state_is('often', 'often failures firing 2', 'what is not does');
app(q{SELECT jobsched.drop_alert(name) FROM jobsched.alerts});
wait_value($node, $db, q{SELECT (SELECT count(*) FROM jobsched_internal.alert_state) + (SELECT count(*) FROM jobsched_internal.alert_told)}, '0', 'a dropped alert leaves nothing');

# Not what is yet to be tried again, nor steps beside their workflow.
at('10:40:00');
job('called');
app(q{SELECT jobsched.create_job('again', handler => 'app.work', max_attempts => 2, retry_on => '{22012}', backoff => 'fixed', backoff_base => '1 minute', backoff_jitter => 0),
	jobsched.create_job('flow', steps => '[{"name": "a", "handler": "app.work", "max_attempts": 1}, {"name": "b", "job": "called"}]')});
ill($_) for qw(again flow a called);
channel('rest');
app(q{SELECT jobsched.set_alert('all', '{rest}', on_status => '{failed,skipped}')});
my $again = app(q{SELECT jobsched.trigger('again')});
wait_run_state($node, $db, $again, 'retrying');
my $flow = run('flow');
is(app(qq{SELECT string_agg(status, ',' ORDER BY run_id) FROM jobsched.runs WHERE run_id > $flow}) =~ /failed/ ? 1 : 0, 1, 'steps have failed');
state_is('all', 'flow failures firing 1', 'a workflow fails once, its steps are silent, and a retry is no failure');
at('10:41:00');
is(end_of($node, $db, $again), 'failed error 22012', 'the last attempt has failed');
state_is('all', 'again failures firing 1; flow failures firing 1', 'that is one');
app(q{SELECT jobsched.drop_alert('all')});

# ------------------------------------------------------------------------
# Conditions of time
# ------------------------------------------------------------------------

at('11:50:00');
channel('time');
app(q{SELECT jobsched.set_queue('slow', paused => true), jobsched.create_job('noon', '0 12 * * *', handler => 'app.work', queue => 'slow'),
	jobsched.set_alert('late', '{time}', '{noon}', on_status => '{}', late => '10 minutes'),
	jobsched.set_alert('waits', '{time}', '{noon}', on_status => '{}', waits_longer_than => '15 minutes')});
at('12:00:00');
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run}, '1', 'its slot has come');
at('12:09:59');
state_is('late', 'ok', 'not yet late');
at('12:10:00');
state_is('late', 'noon late firing 0', 'late');
at('12:10:30');
($message) = sent('time', 1);
is("$message->{subject} $message->{items}->[0]->{since}", 'job "noon" is late 2026-03-02T12:10:00+00:00', 'that is told');
at('12:15:00');
state_is('waits', 'noon waits_longer firing 0', 'waits too long');
app(q{SELECT jobsched.pause_job('noon')});
state_is('late', 'ok', 'one that is paused is not late');
state_is('waits', 'ok', 'nor does it wait');
app(q{SELECT jobsched.resume_job('noon')});
state_is('late', 'noon late firing 0', 'it is once it goes on');
app(q{SELECT jobsched.set_queue('slow')});
state_is('late', 'ok', 'until it begins');
state_is('waits', 'ok', 'likewise');
at('12:16:00');
(undef, $message) = sent('time', 2);
is(items($message), 'late noon late resolved 0; waits noon waits_longer resolved 0', 'each is over');
app(q{SELECT jobsched.drop_alert('late'), jobsched.drop_alert('waits'), jobsched.drop_job('noon')});

at('13:00:00');
make_gate($node, $db, 'app');
app(q{SELECT jobsched.create_job('long', 'SELECT id FROM public.gate FOR UPDATE', schedule => NULL),
	jobsched.set_alert('long', '{time}', '{long}', on_status => '{}', runs_longer_than => '10 minutes')} =~ s/'SELECT id FROM public.gate FOR UPDATE', schedule => NULL/command => 'SELECT id FROM public.gate FOR UPDATE'/r);
my $gate = close_gate($node, $db);
my $long = app(q{SELECT jobsched.trigger('long')});
wait_at_gate($node, $db, $long);
at('13:09:59');
state_is('long', 'ok', 'not yet too long');
at('13:10:00');
state_is('long', 'long runs_longer firing 0', 'runs too long');
is(app(q{SELECT last_run_id FROM jobsched.alerts WHERE name = 'long'}), $long, 'which run');
$gate->quit;
end_of($node, $db, $long);
state_is('long', 'ok', 'until it ends');
app(q{SELECT jobsched.drop_alert('long')});

at('14:00:00');
channel('dead');
job('heart', q{schedule => '0 0 1 1 *'});
run('heart');
app(q{SELECT jobsched.set_alert('heart', '{dead}', '{heart}', on_status => '{}', no_success_for => '1 hour', repeat_every => '2 hours')});
at('14:59:59');
state_is('heart', 'ok', 'it has succeeded');
at('15:00:00');
state_is('heart', 'heart no_success firing 0', 'not for an hour');
at('15:00:30');
sent('dead', 1);
settled();
is(app(q{SELECT last_sent, next_reminder FROM jobsched.alerts WHERE name = 'heart'}), '2026-03-02 15:00:30+00|2026-03-02 17:00:30+00', 'a reminder will come');
at('17:00:29');
end_sessions($node);
$node->restart;
wait_scheduler($node, $db);
at('17:00:30');
(undef, $message) = sent('dead', 2);
is("$message->{kind} $message->{subject}", 'reminder still: job "heart" does not succeed', 'it does, also after a restart');
settled();
at('17:30:00');
run('heart');
state_is('heart', 'ok', 'a success ends it');
at('17:30:30');
sent('dead', 3);
settled();
at('18:00:00');
app(q{SELECT jobsched.pause_job('heart')});
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'heart'}, 'paused', 'paused');
at('19:00:00');
state_is('heart', 'ok', 'time in which it is paused does not count');
app(q{SELECT jobsched.resume_job('heart')});
wait_value($node, $db, q{SELECT counts_from FROM jobsched_internal.alert_state}, '2026-03-02 19:00:00+00', 'it counts from then on');
end_sessions($node);
$node->restart;
wait_scheduler($node, $db);
at('19:59:59');
state_is('heart', 'ok', 'not yet');
at('20:00:00');
state_is('heart', 'heart no_success firing 0', 'an hour after it has gone on');
app(q{SELECT jobsched.drop_job('heart')});
state_is('heart', 'ok', 'a job that is dropped has no alerts');
app(q{SELECT jobsched.drop_alert('heart')});

# A success that is to come, by a clock that was set back, is as good as one of now.
at('20:05:00');
job($_) for qw(back tick);
run('back');
app(q{SELECT jobsched.set_alert('back', '{dead}', '{back}', on_status => '{}', no_success_for => '1 hour')});
set_clock($node, $db, '2020-01-01 00:00:00+00');
run('tick');
set_clock($node, $db, '2020-01-01 01:00:01+00');
state_is('back', 'back no_success firing 0', 'the clock may be set back by years');
app(q{SELECT jobsched.drop_alert('back')});

# ------------------------------------------------------------------------
# Which jobs
# ------------------------------------------------------------------------

at('20:10:00');
channel('which');
job('a.one', q{metadata => '{"team": "red", "tags": ["x", "y"]}'});
job('a.two', q{metadata => '{"team": "blue"}'});
ill($_) for qw(a.one a.two);
app(q{SELECT jobsched.set_alert('red', '{which}', '{*.one,*.two}', metadata => '{"team": "red", "tags": ["y"]}')});
run($_) for qw(a.one a.two);
state_is('red', 'a.one failures firing 1', 'jobs whose metadata contains it');
app(q{SELECT jobsched.set_job_metadata('a.two', '{"team": "red", "tags": ["y", "z"]}')});
run('a.two');
state_is('red', 'a.one failures firing 1; a.two failures firing 1', 'as it is now');
app(q{SELECT jobsched.set_alert('red', '{which}', '{*.two}')});
state_is('red', 'a.two failures firing 1', 'an alert that is changed keeps what holds');
app(q{SELECT jobsched.alter_job('a.two', name => 'b')});
state_is('red', 'ok', 'it follows the name');
app(q{SELECT jobsched.drop_alert('red')});

job('abcab') && ill('abcab');
my @matching = ('a*b', '*b', 'a*', '*cab', 'abcab', '*', '*a*c*b', 'ab*ab', '***', '*abcab*');
my @others = ('abc*cab', '*bc', 'b*', 'abcab*x', 'a*a*a*b', 'abca', 'ABCAB', '*b*b*b');
app(qq{SELECT jobsched.set_alert('$_', '{which}', ARRAY['$_'])}) for @matching, @others;
run('abcab');
wait_value($node, $db, q{SELECT string_agg(name, ' ' ORDER BY name COLLATE "C") FROM jobsched.alerts WHERE state = 'firing'}, join(' ', sort @matching), 'patterns');
app(q{SELECT jobsched.drop_alert(name) FROM (SELECT DISTINCT name FROM jobsched.alerts) a});

# A channel that is named later is told what fires.
channel('later');
job('added') && ill('added');
app(q{SELECT jobsched.set_alert('added', '{which}', '{added}', group_for => '0 s')});
run('added');
state_is('added', 'added failures firing 1', 'it fires');
app(q{SELECT jobsched.set_alert('added', '{which,later}', '{added}', group_for => '0 s')});
($message) = sent('later', 1);
is(items($message), 'added added failures firing 1', 'a channel that is added is told');
settled();
app(q{SELECT jobsched.drop_alert('added')});

# ------------------------------------------------------------------------
# Muted
# ------------------------------------------------------------------------

at('20:20:00');
channel('mute');
job($_) && ill($_) for qw(loud soft);
app(q{SELECT jobsched.set_alert('muted', '{mute}', '{loud,soft}'), jobsched.mute_alert('muted', '2026-03-02 21:00+00', 'loud')});
run($_) for qw(loud soft);
state_is('muted', 'loud failures firing 1; soft failures firing 1', 'both fire');
is(app(q{SELECT job, muted_until FROM jobsched.alerts WHERE name = 'muted' AND muted_until IS NOT NULL}), 'loud|2026-03-02 21:00:00+00', 'one is muted');
at('20:20:30');
($message) = sent('mute', 1);
is(items($message), 'muted soft failures firing 1', 'only the other is told');
settled();
at('21:00:00');
at('21:00:30');
(undef, $message) = sent('mute', 2);
is(items($message), 'muted loud failures firing 1', 'what still fires then is told');
settled();
app(q{SELECT jobsched.mute_alert('muted', 'infinity')});
well('loud');
run('loud');
run('soft');
state_is('muted', 'soft failures firing 2', 'one is over');
app(q{SELECT jobsched.mute_alert('muted', NULL)});
at('21:01:30');
(undef, undef, $message) = sent('mute', 3);
is(items($message), 'muted loud failures resolved 1', 'what was told before is told to be over');
app(q{SELECT jobsched.drop_alert('muted')});
settled();

# One channel has been told before it was muted, the other has not.
channel($_) for qw(quick slow);
app(q{SELECT jobsched.pause_job('channel:slow'), jobsched.set_alert('two', '{quick,slow}', '{loud}', group_for => '0 s')});
ill('loud');
run('loud');
sent('quick', 1);
app(q{SELECT jobsched.mute_alert('two', 'infinity'), jobsched.resume_job('channel:slow')});
wait_value($node, $db, q{SELECT held FROM jobsched_internal.alert_state}, 't', 'the other is not told now');
well('loud');
run('loud');
state_is('two', 'ok', 'it is over');
app(q{SELECT jobsched.mute_alert('two', NULL)});
(undef, $message) = sent('quick', 2);
is(items($message), 'two loud failures resolved 1', 'who was told that it fires is told that it is over');
settled();
app(q{SELECT count(jobsched.create_job('silent ' || i, handler => 'app.work')) FROM generate_series(1, 101) i});
app(q{SELECT count(jobsched.mute_alert('two', 'infinity', 'silent ' || i)) FROM generate_series(1, 100) i});
is(refused(q{SELECT jobsched.mute_alert('two', 'infinity', 'silent 101')}), 'JS054 alert "two" is muted for 100 jobs, as many as are allowed', 'not for too many jobs');
is(refused(q{SELECT jobsched.mute_alert('two', 'infinity', 'silent 100'), jobsched.mute_alert('two', 'infinity')}), '', 'others can be changed, and all muted');
app(q{SELECT jobsched.drop_alert('two'), (SELECT count(jobsched.drop_job('silent ' || i)) FROM generate_series(1, 101) i)});

# What ends before a definition has been read, since there are many, is known when it has.
app(q{SELECT count(jobsched.set_alert('of others ' || i, '{quick}', '{nothing}')) FROM generate_series(1, 2000) i});
app(q{SELECT jobsched.set_alert('at once', '{quick}', '{loud}')});
ill('loud');
run('loud');
state_is('at once', 'loud failures firing 1', 'what fails as soon as there is an alert counts');
well('loud');
app(q{SELECT count(jobsched.drop_alert(name)) FROM jobsched.alerts WHERE name LIKE 'of others %' OR name = 'at once'});

# ------------------------------------------------------------------------
# Storms, and channels that do not answer
# ------------------------------------------------------------------------

at('21:10:00');
app(qq{SELECT jobsched.set_channel('slack', 'slack', '$url/slack')});
app(q{SELECT jobsched.set_alert('storm', '{slack}', '{storm*}')});
job("storm $_", 'share_transaction => true') && ill("storm $_") for 1 .. 20;
app(q{SELECT count(*) FROM generate_series(1, 20) n, jobsched.trigger_many('storm ' || n, array_fill('{}'::jsonb, ARRAY[50]))});
wait_value($node, $db, q{SELECT sum(count) FROM jobsched.alerts WHERE name = 'storm'}, '1000', 'a thousand failures');
at('21:10:30');
my @said = wait_requests($sink, 1, qr{^/slack});
is(scalar @said, 1, 'one message');
like($json->decode($said[0]->{body})->{text}, qr/^\*20 alerts fire\*\n(storm: job "storm \d+" failed 50 times,[^\n]*\n){10}and 10 more, with 500 failures$/, 'that adds up');
settled();
app(q{SELECT jobsched.drop_alert('storm')});

channel('busy');
app(q{SELECT jobsched.set_alert('busy', '{busy}', '{soft}', group_for => '0 s', every_failure => true)});
run('soft');
wait_requests($sink, 1, qr{^/busy});
run('soft') for 1 .. 3;
at('21:10:40');
wait_requests($sink, 2, qr{^/busy});
my @busy = wait_requests($sink, 3, qr{^/busy});
is(join(',', map { $json->decode($_->{body})->{count} } @busy), '1,1,3', '429: what comes meanwhile is one message');
is($busy[0]->{headers}->{'idempotency-key'}, $busy[1]->{headers}->{'idempotency-key'}, 'and the one that was refused is the same');
settled();
app(q{SELECT jobsched.drop_alert('busy')});

# A channel that fails for good makes no alert, and what it could not tell is told again.
channel('broken');
app(q{SELECT jobsched.alter_job('channel:broken', max_attempts => 1), jobsched.set_alert('broken', '{broken}', group_for => '0 s')});
run('soft');
wait_value($node, $db, q{SELECT failed_at IS NOT NULL FROM jobsched_internal.alert_told}, 't', 'the message has failed');
state_is('broken', 'soft failures firing 1', 'that makes no alert');
wait_value($node, $db, q{SELECT message ~ '^channel "broken" of alert "broken" has failed last' FROM jobsched.health() WHERE "check" = 'alerts'}, 't', 'health() says so');
at('22:10:40');
wait_requests($sink, 2, qr{^/broken});
settled();
wait_value($node, $db, q{SELECT status FROM jobsched.health() WHERE "check" = 'alerts'}, 'ok', 'it is told again after an hour');
app(q{SELECT jobsched.drop_alert('broken')});

# ------------------------------------------------------------------------
# Crashes
# ------------------------------------------------------------------------

# By the real clock, which outlives a server.
set_clock($node, $db, undef);
channel('crash');
app(q{SELECT jobsched.set_alert('crash', '{crash}', '{soft}', group_for => '5 s')});
run('soft') for 1 .. 2;

sub crash
{
	my ($how) = @_;
	my $old = scheduler_pid($node, $db);

	end_sessions($node);
	if ($how eq 'scheduler')
	{
		# The server restarts all, as after any crash of a process of its.
		kill 9, $old;
		wait_connection($node, $db);
	}
	else
	{
		kill_and_start($node);
	}
	return wait_new_scheduler($node, $db, $old);
}

# Of messages that were sent more than once, one.
sub different
{
	my ($path) = @_;
	my (%seen, @different);

	for my $body (map { $json->decode($_->{body}) } requests($sink, qr{^/\Q$path\E}))
	{
		push @different, $body unless $seen{ $body->{id} }++;
	}
	return @different;
}

crash('scheduler');
state_is('crash', 'soft failures firing 2', 'after the end of the scheduler it fires');
crash('server');
state_is('crash', 'soft failures firing 2', 'after that of the server too');
wait_requests($sink, 1, qr{^/crash});
settled();
crash('server');
run('soft');
state_is('crash', 'soft failures firing 3', 'it counts on');
crash('scheduler');
well('soft');
run('soft');
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, '0', 'all is told');
is(join(', ', map { items($_) } different('crash')), 'crash soft failures firing 2, crash soft failures resolved 3', 'nothing is told twice, nothing is lost');

# What became of jobs while there was no scheduler.
job($_) && ill($_) for qw(gone renamed);
app(q{SELECT jobsched.set_alert('stray', '{crash}', '{gone,renamed}', group_for => '0 s', late => '1 day'), jobsched.mute_alert('stray', 'infinity', 'gone')});
forget_requests($sink);
run($_) for qw(gone renamed);
state_is('stray', 'gone failures firing 1; renamed failures firing 1', 'both fire');
settled();
my $stopped = scheduler_pid($node, $db);
kill 'STOP', $stopped;
app(q{SELECT jobsched.drop_job('gone'), jobsched.alter_job('renamed', name => 'another')});
end_sessions($node);
kill 9, $stopped;
wait_connection($node, $db);
wait_new_scheduler($node, $db, $stopped);
state_is('stray', 'ok', 'jobs that it does not concern after a restart do not fire');
app(q{SELECT jobsched.drop_alert('stray')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_mute WHERE job_id <> 0}, '0', 'it leaves nothing');

# Between any two steps: failures are told once each, as long as no process dies between
# the end of a run and its report.
ill('soft');
app(q{SELECT jobsched.set_alert('crash', '{crash}', '{soft}', group_for => '0 s', every_failure => true)});
forget_requests($sink);
for my $round (1 .. 4)
{
	app(q{SELECT count(*) FROM jobsched.trigger_many('soft', array_fill('{}'::jsonb, ARRAY[5]))});
	wait_until($node, $db, sprintf(q{SELECT count(*) >= %d FROM jobsched.runs WHERE job_name = 'soft' AND status = 'failed'}, 1 + 5 * $round));
	crash($round % 2 ? 'scheduler' : 'server');
}
wait_drained($node, $db);
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, '0', 'all has been told');
my $sum = 0;
$sum += $_->{count} for different('crash');
is($sum, 20, 'each failure is in one message');
app(q{SELECT jobsched.drop_alert('crash')});

# Of mails to several addresses it is enough that one is taken.
my $relay = start_relay($node);
set_setting($node, @{$_}) for [ 'jobsched.smtp_url', $relay->{url} ], [ 'jobsched.smtp_from', 'alerts@db.example.com' ], [ 'jobsched.smtp_tls', 'none' ];
for my $to ('refused@b.example,fine@b.example', 'fine@b.example,refused@b.example', 'refused@b.example')
{
	app(qq{SELECT jobsched.set_channel('mail', 'email', to_address => '{$to}'), jobsched.set_alert('mailed', '{mail}', '{soft}', group_for => '0 s')});
	run('soft');
	wait_until($node, $db, q{SELECT count(*) = 1 FROM jobsched_internal.alert_told});
	settled();
	run('tick');
	is(psql(q{SELECT failed_at IS NOT NULL FROM jobsched_internal.alert_told}), $to =~ /,/ ? 'f' : 't', "mails to $to");
	app(q{SELECT jobsched.drop_alert('mailed')});
	wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_told}, '0', 'dropped');
}
is(scalar(mails($relay)), 2, 'each of them once');

# ------------------------------------------------------------------------
# Rights, and errors
# ------------------------------------------------------------------------

psql(q{CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA jobsched TO other; CREATE ROLE keeper LOGIN IN ROLE app; GRANT USAGE ON SCHEMA jobsched TO keeper});
app(q{SELECT jobsched.set_alert('mine', '{ops}')});
is(refused(q{SELECT jobsched.drop_alert('mine', owner => 'app')}, 'other'), '42704 alert "mine" of role "app" does not exist', 'others cannot drop it');
is(refused(q{SELECT jobsched.mute_alert('mine', 'infinity', owner => 'app')}, 'other'), '42704 alert "mine" of role "app" does not exist', 'nor mute it');
like(refused(q{SELECT jobsched.set_alert('mine', '{ops}', owner => 'app')}, 'other'), qr/^42501/, 'nor change it');
is(refused(q{SELECT jobsched.set_alert('mine', '{ops}')}, 'other'), '42704 channel "ops" of role "other" does not exist', 'nor use a channel');
is(sql_as($node, $db, 'other', q{SELECT count(*) FROM jobsched.alerts}), '0', 'nor see it');
like(error_of($node, $db, q{SELECT * FROM jobsched_internal.alert_state}, 'other'), qr/42501/, 'nor what is known');
is(sql_as($node, $db, 'keeper', q{SELECT jobsched.mute_alert('mine', NULL, owner => 'app')}), '', 'who may act for the owner may');
sql_as($node, $db, 'other', q{SELECT jobsched.set_channel('ops', 'notify')});
sql_as($node, $db, 'other', q{BEGIN; SELECT jobsched.set_alert('mine', '{ops}'); PREPARE TRANSACTION 'other'});
is(refused(q{SET lock_timeout = '5s'; SELECT jobsched.set_alert('mine', '{ops}')}), '', 'one of the same name, that another role is about to define, is in nobody\'s way');
psql(q{ROLLBACK PREPARED 'other'});
for (
	[ q{NULL, '{ops}'}, '22004 name cannot be NULL' ],
	[ q{'', '{ops}'}, '22023 the name of an alert cannot be empty' ],
	[ q{repeat('x', 101), '{ops}'}, '42622 the name of an alert cannot be longer than 100 bytes' ],
	[ q{'x', NULL}, '22004 channels cannot be NULL' ],
	[ q{'x', '{}'}, '22023 channels is empty' ],
	[ q{'x', '{ops,ops}'}, '22023 channel "ops" is named twice' ],
	[ q{'x', '{ops,NULL}'}, '22004 an element of channels cannot be NULL' ],
	[ q{'x', array_fill('ops'::text, ARRAY[11])}, 'JS054 channels has 11 elements, more than the 10 that are allowed' ],
	[ q{'x', '{nope}'}, '42704 channel "nope" of role "app" does not exist' ],
	[ q{'x', '{ops}', '{}'}, '22023 jobs is empty' ],
	[ q{'x', '{ops}', '{""}'}, '22023 invalid element of jobs ""' ],
	[ q{'x', '{ops}', array_fill('a'::text, ARRAY[101])}, 'JS054 jobs has 101 elements, more than the 100 that are allowed' ],
	[ q{'x', '{ops}', metadata => '[1]'}, '22023 invalid metadata' ],
	[ q{'x', '{ops}', metadata => jsonb_build_object('a', repeat('x', 2000))}, '22023 invalid metadata' ],
	[ q{'x', '{ops}', metadata => jsonb_build_object('a', (SELECT jsonb_agg('[]'::jsonb) FROM generate_series(1, 17)))}, '22023 invalid metadata' ],
	[ q{'x', '{ops}', on_status => '{succeeded}'}, '22023 invalid element of on_status "succeeded"' ],
	[ q{'x', '{ops}', on_status => '{}'}, '22023 alert "x" has no condition' ],
	[ q{'x', '{ops}', threshold => 0}, '22023 invalid threshold "0"' ],
	[ q{'x', '{ops}', threshold => 101, within => '1 h'}, '22023 invalid threshold "101"' ],
	[ q{'x', '{ops}', within => '1 month'}, '22023 within "1 mon" has no fixed length' ],
	[ q{'x', '{ops}', late => '0 s'}, '22023 late "00:00:00" is too short' ],
	[ q{'x', '{ops}', repeat_every => '-1 s'}, '22023 repeat_every "-00:00:01" is negative' ],
	[ q{'x', '{ops}', every_failure => true, threshold => 2}, '22023 every_failure is given with threshold' ],
	[ q{'x', '{ops}', every_failure => true, on_status => '{}', late => '1 h'}, '22023 every_failure is given without on_status' ],
	[ q{'x', '{ops}', owner => 'nobody'}, '42704 role "nobody" does not exist' ])
{
	my ($args, $error) = @{$_};
	is(refused("SELECT jobsched.set_alert($args)"), $error, $error);
}
is(refused(q{SELECT jobsched.mute_alert('mine', 'infinity', 'nope')}), '42704 job "nope" of role "app" does not exist', 'mute: no such job');
is(refused(q{BEGIN READ ONLY; SELECT jobsched.drop_alert('mine')}), '25006 cannot execute drop_alert() in a read-only transaction', 'read only');

# ------------------------------------------------------------------------
# What a superuser spoils
# ------------------------------------------------------------------------

app(q{SELECT jobsched.set_alert('sound', '{count}', '{soft}', group_for => '0 s', every_failure => true)});
forget_requests($sink);
for my $spoil (
	q{UPDATE jobsched_internal.alert SET jobs = '{NULL,"*"}', channels = '{{ops,NULL},{a,b}}', on_status = '{what,NULL,failed}' WHERE name = 'mine'},
	q{UPDATE jobsched_internal.alert SET metadata = '[[[[1]]]]', group_for = '-3 months', within = '-1 day', threshold = -5 WHERE name = 'mine'},
	q{UPDATE jobsched_internal.alert SET no_success_for = '178000000 years', late = '-1 s', repeat_every = '1 microsecond', name = repeat('x', 100000) WHERE name = 'mine'},
	q{INSERT INTO jobsched_internal.alert_state (alert_id, job_id, condition, firing, held, count, streak, seq, fired_seq, since, changed_at, failed_at)
		SELECT alert_id, j.job_id, c, true, false, -1, -1, 9223372036854775807, -7, 'infinity', '-infinity', '{NULL,1}'
		FROM jobsched_internal.alert, jobsched_internal.job j, unnest('{failures,late,nonsense}'::text[]) c WHERE j.name IN ('soft', 'loud')
		ON CONFLICT (alert_id, job_id, condition) DO UPDATE SET count = -1, streak = -1, seq = 9223372036854775807, fired_seq = -7, since = 'infinity', changed_at = '-infinity', failed_at = '{NULL,1}'},
	q{INSERT INTO jobsched_internal.alert_told (alert_id, channel, told_seq, told_before, remind_at, run_id)
		SELECT alert_id, c, -1, 9223372036854775807, '-infinity', -1 FROM jobsched_internal.alert, unnest('{count,nope}'::text[]) c
		ON CONFLICT DO NOTHING},
	q{INSERT INTO jobsched_internal.alert_mute SELECT alert_id, -1, '-infinity' FROM jobsched_internal.alert},
	q{UPDATE jobsched_internal.alert SET owner = 4294967295, owner_name = 'nobody' WHERE length(name) > 1000})
{
	psql($spoil);
	app(q{SELECT jobsched.mute_alert('sound', NULL)});
	crash('scheduler');
	run('soft');
	is(scalar(wait_requests($sink, 1, qr{^/count})) > 0, 1, "others go on after $spoil");
	forget_requests($sink);
}
app(q{SELECT jobsched.drop_alert('sound')});

# A row that somebody holds holds up nobody.
app(q{SELECT jobsched.set_alert('held', '{count}', '{soft}', group_for => '0 s'), jobsched.set_alert('free', '{ops}', '{loud}', group_for => '0 s')});
ill('loud');
run('soft');
wait_requests($sink, 1, qr{^/count});
settled();
psql(q{BEGIN; SELECT count(*) FROM (SELECT FROM jobsched_internal.alert_state FOR UPDATE) s; PREPARE TRANSACTION 'held'});
run('soft');
run('loud');
wait_requests($sink, 1, qr{^/ops});
psql(q{ROLLBACK PREPARED 'held'});
state_is('held', 'soft failures firing 2', 'it is written when it may be');

# Nor is it forgotten when others are told meanwhile.
settled();
app(q{SELECT jobsched.set_alert('free', '{count}', '{loud}', group_for => '0 s')});
run('loud');
wait_requests($sink, 2, qr{^/count});
settled();
psql(q{BEGIN; SELECT count(*) FROM (SELECT FROM jobsched_internal.alert_state s JOIN jobsched_internal.alert a USING (alert_id) WHERE a.name = 'held' FOR UPDATE OF s) s; PREPARE TRANSACTION 'held'});
well($_) for qw(soft loud);
run('soft');
run('loud');
forget_requests($sink);
wait_value($node, $db, q{SELECT count(*) FROM jobsched.alerts WHERE state = 'firing' AND name = 'free'}, '0', 'the other is over');
settled();
psql(q{ROLLBACK PREPARED 'held'});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state s JOIN jobsched_internal.alert a USING (alert_id) WHERE a.name IN ('held', 'free')}, '0', 'both have been told');
ill($_) for qw(soft loud);

# ------------------------------------------------------------------------
# The manual
# ------------------------------------------------------------------------

my ($own, $recipes) = slurp_file("$FindBin::Bin/../../doc/alerts.md") =~ /^(## Alerts, .*?)^## Channels.*^(## Recipes.*)/ms;
for my $text ($own, $recipes)
{
	my $script = join ";\n", "BEGIN; SET search_path = app; SELECT jobsched.create_job('nightly', command => 'SELECT 1')", $text =~ /^```sql\n(.*?)^```/msg;

	is(error_of($node, $db, "$script; ROLLBACK", 'app'), '', 'what the manual says can be executed');
}

# A dump has alerts, which sleep where it is restored until somebody adopts them.
app(q{SELECT jobsched.set_alert('dumped', '{ops}', '{soft}', group_for => '0 s')});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
my $dump = $node->basedir . '/alerts.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, $db ], 'a dump');
$node->psql('copy', undef, extra_params => [ '-q', '-f', $dump ]);
is($node->safe_psql('copy', q{SELECT count(*) FROM jobsched.alerts WHERE name = 'dumped'}), '1', 'a copy has it');
is($node->safe_psql('copy', q{SELECT count(*) FROM jobsched_internal.alert_state}), '0', 'but not what fires');
$node->safe_psql('copy', q{SELECT jobsched.adopt()});
forget_requests($sink);
$node->safe_psql('copy', q{SELECT jobsched.trigger('soft')}, extra_params => [ '-U', 'app' ]);
wait_requests($sink, 1, qr{^/ops});
wait_value($node, 'copy', q{SELECT state FROM jobsched.alerts WHERE name = 'dumped'}, 'firing', 'it works there once it is adopted');
is(psql(q{SELECT count(*) FROM jobsched_internal.alert_state s JOIN jobsched_internal.alert a USING (alert_id) WHERE name = 'dumped'}), '0', 'and is another one');

# So do those of a database that is copied as it is.
app(q{SELECT jobsched.mute_alert('dumped', NULL)});
run('soft');
state_is('dumped', 'soft failures firing 1', 'it fires');
settled();
end_sessions($node);
$node->safe_psql('template1', "CREATE DATABASE clone TEMPLATE $db");
forget_requests($sink);
is($node->safe_psql('clone', q{SELECT count(*) FROM jobsched_internal.alert_state s JOIN jobsched_internal.alert a USING (alert_id) WHERE name = 'dumped'}), '1', 'a clone has what fires');
wait_scheduler($node, 'clone');
$node->safe_psql('clone', q{SELECT jobsched.adopt()});
is($node->safe_psql('clone', q{SELECT count(*) FROM jobsched_internal.alert_state s JOIN jobsched_internal.alert a USING (alert_id) WHERE name = 'dumped'}), '0', 'until it is adopted');
is(scalar requests($sink), 0, 'and sends nothing');

# Roles
app(q{SELECT jobsched.drop_alert(name) FROM jobsched.alerts});
psql(q{CREATE ROLE brief LOGIN; GRANT USAGE ON SCHEMA jobsched TO brief; GRANT EXECUTE ON FUNCTION jobsched.http_request TO brief});
sql_as($node, $db, 'brief', qq{SELECT jobsched.set_channel('c', 'webhook', '$url/brief'), jobsched.set_alert('a', '{c}')});
psql(q{ALTER ROLE brief RENAME TO briefer});
wait_value($node, $db, q{SELECT owner_name FROM jobsched_internal.alert WHERE name = 'a'}, 'briefer', 'the name of a role is followed');
psql(q{DROP OWNED BY briefer; DROP ROLE briefer});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert WHERE name = 'a'}, '0', 'and its end');

# Who has more patterns and metadata than can be compared holds up nobody.
my $log = log_size($node);
app(q{SELECT count(jobsched.set_alert('many ' || i, '{ops}', array_fill('*' || repeat('a', 126) || 'b', ARRAY[100]))) FROM generate_series(1, 202) i});
job('a' x 190);
wait_log($node, qr/job "[^"]+" has more alerts than can be compared with it: alert "many \d+", and others perhaps, do not concern it/, $log, 'which the log says');

done_testing();
