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
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('alerts', conf => "timezone = 'UTC'\nmax_prepared_transactions = 2\n");
my $sink = start_sink($node, answer => q{
	my %seen;
	sub {
		my ($request) = @_;
		my $times = $seen{ $request->{path} }++;
		return (429, 'slow down', 'Retry-After' => 2) if $request->{path} =~ m{^/busy} && $times < 1;
		return (500, 'no') if $request->{path} =~ m{^/broken} && $times < 1;
		return 200;
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

done_testing();
