# Copyright (c) 2026, jobsched contributors

# One process sends the HTTP requests of all roles.  Whatever one of them asks
# for, and whoever answers it, requests of others are sent and recorded soon:
# before this was so it took from ten seconds to for ever.  The bounds here are
# wide, for the machine may be busy.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use IO::Socket::INET;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $soon = 5;
my $node = http_node('http_shares', conf => q{
jobsched.http_max_per_host = 2000
jobsched.http_max_inflight = 400
jobsched.max_job_size = '16 MB'
});
my $sink = start_sink($node, answer => q{sub {
	my ($request) = @_;
	return ([ gate => 'letters' ], 200, 'a' x 262144) if $request->{path} eq '/letters';
	return;
}});
my $url = $sink->{url};
my $calm = start_sink($node);    # one that is not busy itself

# Takes connections, and reads nothing.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 4000)
  or die "cannot listen: $!";
my $black_hole = 'http://127.0.0.1:' . $silent->sockport;

sub psql
{
	my ($sql) = @_;
	return session_sql($node, $db, $superuser, $sql);
}

sub as
{
	my ($role, $sql) = @_;
	return session_sql($node, $db, $role, $sql);
}

sub make_role
{
	my ($role) = @_;

	psql("CREATE ROLE $role LOGIN");
	psql("GRANT USAGE ON SCHEMA jobsched TO $role");
	return psql("GRANT EXECUTE ON FUNCTION jobsched.http_request TO $role");
}

sub running
{
	my ($role) = @_;
	return psql("SELECT count(*) FROM jobsched_internal.run WHERE status = 'running' AND owner = '$role'::regrole");
}

# A request is sent, answered and recorded, and it does not take long.
sub is_served
{
	my ($role, $what) = @_;
	my $run_id = as($role, "SELECT jobsched.http_get('$calm->{url}/quick')");

	is(end_of($node, $db, $run_id), 'succeeded', "a request of another role $what");
	return in_time($node, psql("SELECT extract(epoch FROM finished_at - queued_at) FROM jobsched.runs WHERE run_id = $run_id"),
		$soon, "soon $what");
}

# Nothing of a role is left.
sub stop_all
{
	my ($role) = @_;

	as($role, "SELECT jobsched.cancel_runs(name) FROM jobsched.jobs WHERE owner = '$role'");
	return until_true($node, $db, "SELECT NOT EXISTS (SELECT FROM jobsched_internal.run WHERE owner = '$role'::regrole)",
		"no run of $role is left");
}

make_role($_) foreach qw(mallory alice);
as('alice', "SELECT jobsched.http_get('$url/first')");
as('mallory', "SELECT jobsched.http_get('$url/first')");
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the first requests are over');

# ------------------------------------------------------------------------
# Bytes
# ------------------------------------------------------------------------

my $large = "jobsched.http_request('POST', '$black_hole/large', body_text => repeat('x', 16000000), connect_timeout => '1 h'";

as('mallory', "SELECT count($large, timeout => '1 h')) FROM generate_series(1, 24)");
until_true($node, $db, "SELECT count(*) = 24 FROM jobsched_internal.run WHERE status = 'running'", 'all have been claimed');
is_served('alice', 'while large requests wait for a server');
my $late = as('mallory', "SELECT $large, timeout => '1 s', max_attempts => 1)");
is(end_of($node, $db, $late, 'status, reason, error'),
	'timed_out|timeout|canceling run due to its timeout of 1000 ms', 'one that is not begun ends with its timeout');
is(running('mallory'), '24', 'while the others wait');
my $cancelled = as('mallory', "SELECT $large, timeout => '1 h')");
until_true($node, $db, "SELECT status = 'running' FROM jobsched_internal.run WHERE run_id = $cancelled", 'another one waits');
as('mallory', "SELECT jobsched.cancel_run($cancelled)");
is(end_of($node, $db, $cancelled, 'status'), 'cancelled', 'one that is not begun can be cancelled');
my $of_alice = as('alice', "SELECT $large, timeout => '1 s', max_attempts => 1)");
is(end_of($node, $db, $of_alice, 'status'), 'timed_out', 'a large one of another role');
is(psql("SELECT count(*) FROM jobsched_internal.http_response WHERE run_id = $of_alice"), '1', 'has been begun');
is(psql("SELECT count(*) FROM jobsched_internal.http_response WHERE run_id IN ($late, $cancelled)"), '0', 'unlike those');
stop_all('mallory');

# A secret of control characters takes thirteen times its size, in each way that it may come back.
as('mallory', "SELECT jobsched.set_secret('s' || i, repeat(chr(1), 6990) || 'secret' || i) FROM generate_series(1, 16) i");
my $secrets = join ' ', map { "{{secret.s$_}}" } 1 .. 16;
as('mallory', "SELECT jobsched.create_job('heavy', url => '$url/gate/heavy', timeout => '1 h', body_text => '$secrets')");
as('mallory', "SELECT count(jobsched.trigger('heavy')) FROM generate_series(1, 400)");
until_true($node, $db, "SELECT count(*) = 400 FROM jobsched_internal.run WHERE status = 'running'", 'requests with many secrets have been claimed');
wait_requests($sink, 100, qr/heavy/);
is_served('alice', 'while they wait for a server');
my ($sent, $before) = (0, -1);
while ($sent != $before)
{
	sleep 2;
	($before, $sent) = ($sent, scalar requests($sink, qr/heavy/));
}
cmp_ok($sent, '<', 300, 'some of them wait for memory');
stop_all('mallory');

# ------------------------------------------------------------------------
# Places
# ------------------------------------------------------------------------

as('mallory', "SELECT count(jobsched.http_get('$black_hole/hang', timeout => '1 d')) FROM generate_series(1, 1000)");
until_true($node, $db, "SELECT count(*) >= 400 FROM jobsched_internal.run WHERE status = 'running'", 'one role has all places');
is_served('alice', 'while another has all places');
is(running('mallory'), '400', 'one role alone has as many as jobsched.http_max_inflight');
foreach my $i (1 .. 6)
{
	make_role("mallory$i");
	as("mallory$i", "SELECT count(jobsched.http_get('$black_hole/hang', timeout => '1 d')) FROM generate_series(1, 300)");
	until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched_internal.run WHERE status = 'running' AND owner = 'mallory$i'::regrole)",
		"mallory$i has some places");
}
is_served('alice', 'while seven others want all places');
stop_all($_) foreach 'mallory', map { "mallory$_" } 1 .. 6;

# ------------------------------------------------------------------------
# Time: what fails when it has been made
# ------------------------------------------------------------------------

as('mallory', qq{SELECT jobsched.create_job('vain', url => '$url/vain', max_attempts => 1,
	body_text => repeat('x', 12000000) || '{{args.nonesuch}}')});
as('mallory', "SELECT count(jobsched.trigger('vain')) FROM generate_series(1, 500)");
until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched.runs WHERE owner = 'mallory' AND status = 'failed')", 'the first has failed');
is_served('alice', 'while large ones fail');
isnt(running('mallory'), '0', 'which they still do');
is(psql("SELECT DISTINCT error FROM jobsched.runs WHERE owner = 'mallory' AND status = 'failed'"),
	'body needs args.nonesuch, which is not there', 'each for its own reason');
stop_all('mallory');

# ------------------------------------------------------------------------
# Time: what is looked for in responses
# ------------------------------------------------------------------------

as('mallory', "SELECT jobsched.set_secret('s' || i, repeat('a', 5000 + i) || i) FROM generate_series(1, 16) i");
as('mallory', "SELECT jobsched.create_job('letters', url => '$url/letters', timeout => '1 h', body_text => '$secrets')");
as('mallory', "SELECT count(jobsched.trigger('letters')) FROM generate_series(1, 800)");
wait_requests($sink, 400, qr/letters/);
open_gate($sink, 'letters');
until_true($node, $db, "SELECT EXISTS (SELECT FROM jobsched_internal.http_response WHERE body_size = 262144)", 'the first is recorded');
is_served('alice', 'while responses are searched');
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
is(psql("SELECT count(*) FROM jobsched_internal.http_response WHERE body = repeat('a', 262144)"), '800', 'all are recorded, as they were');

end_sessions($node);
check_log($node);
$node->stop;
done_testing();
