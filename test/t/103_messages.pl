# Copyright (c) 2026, jobsched contributors
# packages: libio-socket-ssl-perl openssl

# Messages of alerts whose receivers hang, refuse for hours, or are too many; the same after
# crashes in the middle of a mail; storms; and very many states.
#
# JOBSCHED_STORM_SECONDS (3) is how long a storm is looked at, JOBSCHED_ALERT_STATES (300) how
# many states there are.

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
use Time::HiRes qw(sleep time);

my $storm_seconds = $ENV{JOBSCHED_STORM_SECONDS} || 3;
my $states = $ENV{JOBSCHED_ALERT_STATES} || 300;
my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('messages', conf => qq{
timezone = 'UTC'
restart_after_crash = on
jobsched.timezone = 'UTC'
jobsched.smtp_from = 'alerts\@db.example.com'
jobsched.smtp_tls = 'none'
});
my $sink = start_sink($node, answer => q{
	my %seen;
	sub {
		my ($request) = @_;
		my $times = $seen{ $request->{path} }++;
		return (500, 'no') if $request->{path} =~ m{^/down};
		return (503, 'later', 'Retry-After' => 1200) if $request->{path} =~ m{^/away};
		return (429, 'slow down', 'Retry-After' => 1) if $request->{path} =~ m{^/storm} && $times < 2;
		return;
	}});
my $relay = start_relay($node);
my $json = JSON::PP->new->utf8->canonical;

define_clock($node, $db);
set_setting($node, 'jobsched.smtp_url', $relay->{url});

sub psql { my ($sql) = @_; return session_sql($node, $db, $superuser, $sql) }
sub app { my ($sql) = @_; return session_sql($node, $db, 'app', $sql) }
sub at { my ($time) = @_; return set_clock($node, $db, "2026-03-02 $time+00") }
sub mails_to { my ($to) = @_; return grep { $_->{to} eq $to } mails($relay) }

sub wait_mails_to
{
	my ($to, $n) = @_;
	my $until = time() + 60;

	sleep 0.02 while mails_to($to) < $n && time() < $until;
	is(scalar(mails_to($to)), $n, "$n to $to");
	return mails_to($to);
}

sub id_of { my ($mail) = @_; return $mail->{data} =~ /^Message-ID: (\S+)/mi ? $1 : undef }

# A failure, which is told at once.
sub fail_once { return run_job($node, $db, 'bad', role => 'app') }

sub alert
{
	my ($channel) = @_;
	return app(qq{SELECT jobsched.set_alert('each', '{$channel}', '{bad}', group_for => '0 s', every_failure => true)});
}

at('10:00:00');
app(q{
	CREATE FUNCTION app.fail(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE division_by_zero; END $$;
	SELECT jobsched.create_job('bad', handler => 'app.fail', max_attempts => 1)});

# ------------------------------------------------------------------------
# Mails to several addresses
# ------------------------------------------------------------------------

my $silent = 'silent@b.example';
app(qq{SELECT jobsched.set_channel('hangs', 'email', to_address => '{$silent,fine\@b.example}'), jobsched.alter_job('channel:hangs', timeout => '1 h')});
alert('hangs');
fail_once();
wait_mails_to($silent, 1);
wait_mails_to('fine@b.example', 1);
fail_once();
wait_mails_to('fine@b.example', 2);
is(app(q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'channel:hangs' AND status = 'running'}), '2', 'while those to an address that hangs do');

# The death of the process that sends ends those of all others, and each is sent again.
my @before = map { id_of($_) } wait_mails_to($silent, 2);
end_sessions($node);
kill 9, http_worker_pid($node, $db);
wait_connection($node, $db);
my @after = map { id_of($_) } wait_mails_to($silent, 4);
at('10:00:00');
is(join(' ', sort @after[ 2, 3 ]), join(' ', sort @before), 'a mail that was being sent when its process died comes again, with the same Message-ID');
is(join('|', map { $_->{data} =~ /^Date: (.*?)\r?$/mi } mails_to($silent)), join('|', ('Mon, 02 Mar 2026 10:00:00 +0000') x 4), 'and the Date of the message, whenever it comes');
fail_once();
wait_mails_to('fine@b.example', 3);
release($relay);
wait_drained($node, $db);
is(app(q{SELECT count(*), count(*) FILTER (WHERE status = 'succeeded') FROM jobsched.runs WHERE job_name = 'channel:hangs'}), '6|6', 'all are sent in the end');
app(q{SELECT jobsched.drop_channel('hangs')});

# One that is refused for hours.
my $late = 'later-99@b.example';
my $well = 'well@b.example';
app(qq{SELECT jobsched.set_channel('late', 'email', to_address => '{$late,$well}')});
alert('late');
for my $n (1 .. 3)
{
	fail_once();
	wait_mails_to($well, $n);
}
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'channel:late' AND status = 'retrying'}, '3', 'the others wait for their next attempt');
end_sessions($node);
kill_and_start($node);
wait_scheduler($node, $db);
at('10:00:00');
fail_once();
wait_mails_to($well, 4);

# But not any number of them: what comes then is in one mail, when some have been given up.
for my $n (5 .. 21)
{
	fail_once();
	wait_mails_to($well, $n);
}
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'channel:late' AND status = 'retrying'}, '21', 'so many wait');
fail_once() for 1 .. 3;
wait_value($node, $db, q{SELECT sum(count) FROM jobsched.alerts}, '3', 'the next failures');
is(scalar(mails_to($well)), 21, 'are not told now');
app(q{SELECT count(jobsched.cancel_run(run_id)) FROM jobsched.runs WHERE job_name = 'channel:late' AND status = 'retrying'});
like((wait_mails_to($well, 22))[-1]->{data}, qr/failed 3 times/, 'but in one');
app(q{SELECT jobsched.drop_channel('late'), jobsched.drop_alert('each')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_told}, '0', 'nothing is left');

# ------------------------------------------------------------------------
# A receiver that is away
# ------------------------------------------------------------------------

sub attempts { my ($path) = @_; return scalar requests($sink, qr{^/\Q$path\E$}) }
sub channel { my ($name) = @_; return app(qq{SELECT jobsched.set_channel('$name', 'webhook', '$sink->{url}/$name')}) }
sub next_attempt { my ($name) = @_; return wait_value($node, $db, qq{SELECT status FROM jobsched.runs WHERE job_name = 'channel:$name'}, 'retrying', "$name: it will be tried again") }

sub minutes_to_next
{
	my ($name) = @_;
	return psql(qq{SELECT ceil(extract(epoch FROM run_at - jobsched_internal.clock_now()) / 60) FROM jobsched.runs WHERE job_name = 'channel:$name'});
}

at('11:00:00');
channel($_) for qw(down away);
app(q{SELECT jobsched.test_channel('down'), jobsched.test_channel('away')});
for my $n (1 .. 8)
{
	wait_requests($sink, $n, qr{^/down$});
	next_attempt('down');
	cmp_ok(minutes_to_next('down'), '<=', 5, "after $n attempts the next is in five minutes at most");
	my $expected = 1 + int(($n - 1) / 4);
	wait_requests($sink, $expected, qr{^/away$});
	next_attempt('away');
	is(attempts('away'), $expected, 'who says when he is back is left alone until then');
	at(sprintf '11:%02d:00', 5 * $n);
}
app(q{SELECT jobsched.drop_channel('down'), jobsched.drop_channel('away')});

# How many at a time is a matter of the kind, but what somebody has chosen stays.
sub at_a_time { return app(q{SELECT max_concurrency FROM jobsched.jobs WHERE name = 'channel:kinds'}) }
app(q{SELECT jobsched.set_channel('kinds', 'notify')});
is(at_a_time(), '1', 'one message');
app(qq{SELECT jobsched.set_channel('kinds', 'email', to_address => '{$well}')});
is(at_a_time(), '4', 'four mails');
app(q{SELECT jobsched.set_channel('kinds', 'notify')});
is(at_a_time(), '1', 'one message again');
app(qq{SELECT jobsched.alter_job('channel:kinds', max_concurrency => 2), jobsched.set_channel('kinds', 'email', to_address => '{$well}')});
is(at_a_time(), '2', 'or what somebody has chosen');
app(q{SELECT jobsched.drop_channel('kinds')});

# ------------------------------------------------------------------------
# What has ended before a crash
# ------------------------------------------------------------------------

# Twenty ends of each of many jobs, of which the scheduler has not taken note: more than
# wait for definitions at any time.  By the real clock, which outlives a server.
set_clock($node, $db, undef);
my $ended = 5100;
app(qq{SELECT count(jobsched.create_job('lost ' || i, handler => 'app.fail')) FROM generate_series(1, $ended) i});
app(q{SELECT jobsched.set_channel('nobody', 'notify'), jobsched.set_alert('lost', '{nobody}', '{lost *}', group_for => '1 h')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.alerts WHERE name = 'lost'}, '1', 'it is there');
my $columns = psql(q{SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'jobsched_internal.history'::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('run_id', 'job_id', 'finished_at')});
psql(qq{INSERT INTO jobsched_internal.history (run_id, job_id, finished_at, $columns)
	SELECT nextval('jobsched_internal.run_id_seq'), j.job_id, clock_timestamp() - i * interval '1 ms', @{[ $columns =~ s/(\w+)/h.$1/gr ]}
	FROM (SELECT * FROM jobsched_internal.history WHERE job_id = (SELECT job_id FROM jobsched.jobs WHERE name = 'bad') ORDER BY run_id DESC LIMIT 1) h,
		jobsched_internal.job j, generate_series(1, 20) i WHERE j.name LIKE 'lost %'});
end_sessions($node);
kill_and_start($node);
wait_scheduler($node, $db);
wait_value($node, $db, q{SELECT count(*), sum(count) FROM jobsched.alerts WHERE name = 'lost'}, "$ended|" . 20 * $ended, 'all of them count');
app(q{SELECT jobsched.drop_alert('lost'), (SELECT count(jobsched.drop_job(name)) FROM jobsched.jobs WHERE name LIKE 'lost %')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, '0', 'nothing is left');

# ------------------------------------------------------------------------
# Ends that wait for their turn
# ------------------------------------------------------------------------

# Alerts take a while to be compared with jobs, and some have just been changed. What
# succeeds meanwhile does not overtake what has failed before.
my ($heavy, $both) = (1000, 6);
app(qq{
	CREATE FUNCTION app.both(args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
		BEGIN IF args ? 'gate' THEN PERFORM id FROM gate FOR SHARE; ELSE RAISE division_by_zero; END IF; END \$\$;
	SELECT count(jobsched.create_job('heavy ' || i, handler => 'app.fail', max_attempts => 1, share_transaction => true)) FROM generate_series(1, $heavy) i;
	SELECT count(jobsched.create_job('both ' || i, handler => 'app.both', max_attempts => 1, max_concurrency => 2)) FROM generate_series(1, $both) i;
	SELECT jobsched.set_alert('order', '{nobody}', '{heavy *,both *}', group_for => '1 h')});
make_gate($node, $db, 'app');
set_setting($node, 'jobsched.max_workers', $both + 2);
my $gate = close_gate($node, $db);
app(qq{SELECT jobsched.trigger('both ' || i, '{"gate": 1}') FROM generate_series(1, $both) i});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE status = 'running'}, $both, 'they will succeed');
app(q{SELECT count(jobsched.set_alert('other ' || i, '{nobody}', (SELECT array_agg('nothing like it ' || i || ' ' || k) FROM generate_series(1, 100) k))) FROM generate_series(1, 2000) i});
app(q{SELECT jobsched.set_alert('order', '{nobody}', '{heavy *,both *}', group_for => '2 h')});
app(qq{SELECT count(jobsched.trigger('heavy ' || i)) FROM generate_series(1, $heavy) i});
app(qq{SELECT jobsched.trigger('both ' || i, '{}') FROM generate_series(1, $both) i});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE status = 'failed' AND job_name ~ '^(heavy|both)'}, $heavy + $both, 'others fail');
until_true($node, $db, qq{SELECT count(*) > $heavy / 2 FROM jobsched_internal.alert_state}, 'alerts see the first');
note('alerts see ', psql(q{SELECT count(*) FROM jobsched_internal.alert_state}));
$gate->quit;
wait_drained($node, $db);
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, $heavy + $both, 'and all');
is(psql(q{SELECT count(*) FROM jobsched_internal.alert_state WHERE firing}), $heavy, 'what has succeeded since does not fire');
app(q{SELECT count(jobsched.drop_alert('other ' || i)) FROM generate_series(1, 2000) i});
app(q{SELECT jobsched.drop_alert('order'), (SELECT count(jobsched.drop_job(name)) FROM jobsched.jobs WHERE name ~ '^(heavy|both) ')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, '0', 'nothing is left');

# ------------------------------------------------------------------------
# A storm, by the real clock
# ------------------------------------------------------------------------

app(qq{SELECT jobsched.set_channel('storm', 'slack', '$sink->{url}/storm')});
app(q{SELECT count(jobsched.create_job('storm ' || i, handler => 'app.fail', max_attempts => 1, share_transaction => true)) FROM generate_series(1, 20) i});
app(sprintf q{SELECT jobsched.set_alert('storm', '{storm}', '{storm *}', every_failure => true, group_for => '%d ms')}, 100 * $storm_seconds);
wait_value($node, $db, q{SELECT count(*) FROM jobsched.alerts}, '1', 'it is there');
my $since = time();
app(q{SELECT count(*) FROM generate_series(1, 20) n, jobsched.trigger_many('storm ' || n, array_fill('{}'::jsonb, ARRAY[50]))});

# Of all requests those that were not taken (429) count too.
sub storm_counts
{
	my @texts = map { $json->decode($_->{body})->{text} } requests($sink, qr{^/storm$});
	my %seen;
	my $sum = 0;

	for my $text (grep { !$seen{$_}++ } @texts)
	{
		$sum += $1 // 1 while $text =~ / failed(?: (\d+) times)?,/g;
		$sum += $1 // 1 if $text =~ /^and \d+ more, with (?:(\d+)|a) failures?$/m;
	}
	return $sum;
}

sleep 0.1 while time() < $since + $storm_seconds;
my $told = requests($sink, qr{^/storm$});
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.alert_state}, '0', 'all has been told');
wait_drained($node, $db);
note(sprintf 'storm: %d requests in %d s, %d until all was told, after %.1f s', $told, $storm_seconds, scalar(requests($sink, qr{^/storm$})), time() - $since);
cmp_ok($told, '<=', 3, "a thousand failures: three requests at most in the first $storm_seconds s");
is(storm_counts(), 1000, 'whose texts have all of them');
app(q{SELECT jobsched.drop_alert('storm'), jobsched.drop_channel('storm'), (SELECT count(jobsched.drop_job(name)) FROM jobsched.jobs WHERE name LIKE 'storm %')});

# ------------------------------------------------------------------------
# Very many states
# ------------------------------------------------------------------------

sub memory_of_scheduler
{
	my $status = slurp_file('/proc/' . scheduler_pid($node, $db) . '/status');
	return $status =~ /^RssAnon:\s+(\d+) kB/m ? $1 / 1024 : 0;
}

sub cpu_of_scheduler
{
	my @fields = split / /, slurp_file('/proc/' . scheduler_pid($node, $db) . '/stat') =~ s/^.*\) //sr;
	return ($fields[11] + $fields[12]) / 100;
}

sub timed
{
	my ($what, $do) = @_;
	my $begin = time();
	my $cpu = cpu_of_scheduler();

	$do->();
	my $used = cpu_of_scheduler() - $cpu;
	note(sprintf '%s: %.1f s, the scheduler %.2f s of processor time, %.1f MB', $what, time() - $begin, $used, memory_of_scheduler());
	return $used;
}

# How long a run of a job that has nothing to do with it takes, at most.
my $longest = 0;
sub ping
{
	my $begin = time();

	run_job($node, $db, 'ping', role => 'app');
	my $took = time() - $begin;
	$longest = $took if $took > $longest;
	return;
}

sub ping_until
{
	my ($query, $expected) = @_;

	$longest = 0;
	ping() while psql($query) ne $expected;
	note(sprintf 'a run of another job took %.2f s at most', $longest);
	return;
}

at('13:00:00');
app(q{SELECT jobsched.create_job('ping', command => 'SELECT 1')});
app(qq{SELECT jobsched.set_channel('many', 'webhook', '$sink->{url}/many'), count(jobsched.create_job('state ' || i, handler => 'app.fail')) FROM generate_series(1, $states) i});
ping();
my $firing = q{SELECT count(*) FROM jobsched_internal.alert_state WHERE firing};
note(sprintf '%d jobs: %.1f MB', $states, memory_of_scheduler());
timed('an alert of all of them', sub {
	app(q{SELECT jobsched.set_alert('many', '{many}', '{state *}', on_status => '{}', no_success_for => '1 h', repeat_every => '1 h')});
	ping() for 1 .. 3;
});
at('14:00:00');
timed('all fire', sub { ping_until($firing, $states) });
timed('it is told', sub { at('14:00:30'); ping_until(q{SELECT count(*) FROM jobsched_internal.alert_told WHERE sent_at IS NOT NULL}, 1) });
my ($message) = wait_requests($sink, 1, qr{^/many$});
is($json->decode($message->{body})->{subject}, "$states alerts fire", 'all of them fire');
end_sessions($node);
$since = time();
$node->restart;
wait_scheduler($node, $db);
at('14:00:30');
ping();
note(sprintf 'a restart until a run has ended: %.1f s, %.1f MB', time() - $since, memory_of_scheduler());
is(psql($firing), $states, 'they fire on');
timed('a reminder', sub { at('15:00:30'); wait_requests($sink, 2, qr{^/many$}); ping() });
timed('the alert is dropped', sub {
	app(q{SELECT jobsched.drop_alert('many')});
	ping_until(q{SELECT count(*) FROM jobsched_internal.alert_state}, 0);
});
is(psql(q{SELECT count(*) FROM jobsched_internal.alert_told}), '0', 'nothing is left');

$node->stop;
done_testing();
