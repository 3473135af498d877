# Copyright (c) 2026, jobsched contributors
# packages: nginx openssl

# Where HTTP requests may go: judged by the address that a connection is made
# to, whatever its name, its spelling and the environment say, and by the
# settings of the moment.  And whom they trust: TLS.

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
use Time::HiRes qw(time);

my $db = 'postgres';
my $superuser = getpwuid($<);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $resolver = make_resolver($dir);
my $sink = start_sink($dir);
my $other = start_sink($dir);
my $url = $sink->{url};

# With proxies in its environment that lead nowhere.
my $node = with_resolver($resolver, sub {
	local @ENV{qw(http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY)} = ('http://127.0.0.1:1') x 6;
	return http_node('http_egress', conf => "jobsched.worker_idle_timeout = '1 h'\n");
});

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

sub start_get
{
	my ($to, $more) = @_;
	return app("SELECT jobsched.http_request('GET', '$to', " . ($more || 'max_attempts => 1') . ')');
}

sub get
{
	my ($to, $more) = @_;
	return ended(start_get($to, $more));
}

sub allow
{
	my ($rules) = @_;
	return set_setting($node, 'jobsched.http_allow', $rules);
}

my $refused = 'failed egress_refused 42501';

# ------------------------------------------------------------------------
# Addresses
# ------------------------------------------------------------------------

is(get("$url/open"), 'succeeded', 'what http_allow lists is allowed, whatever proxies are in the environment');
is(get("http://localhost:$sink->{port}/"), 'succeeded', 'by a name that leads there too');
get("$url/open");
is(join(' ', map { $_->{connection} } requests($sink, qr/open/)), '1 1', 'a connection is kept');
allow('');
forget_requests($sink);
is(get("$url/kept"), $refused, 'when it is listed no longer, it is refused, on a connection that is kept too');
foreach my $host (
	'127.0.0.1', '127.9.9.9', 'localhost', 'LOCALHOST', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]',
	'[64:ff9b::7f00:1]', '[2002:7f00:1::]', '[fd00::1]', '[fe80::1]', '10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1',
	'169.254.169.254', '224.0.0.1', '255.255.255.255', '2130706433', '0x7f000001', '017700000001', '127.1', '0177.0.0.1', '0x7f.1', '0')
{
	my ($ret, $run_id, $error) = $node->psql($db, "SELECT jobsched.http_request('GET', 'http://$host:$sink->{port}/', max_attempts => 1)",
		extra_params => [ '-U', 'app', '-v', 'VERBOSITY=verbose' ]);
	like($ret == 0 ? ended($run_id) : $error, qr/^($refused$|.*ERROR:  22023)/, "$host is refused");
}
is(scalar(requests($sink)), 0, 'nothing of that has come');

allow("127.0.0.0/8:$sink->{port}");
is(get("$url/"), 'succeeded', 'a network and a port are allowed');
is(get("$other->{url}/"), $refused, 'another port is not');
allow('127.0.0.0/8');
is(get("$other->{url}/"), 'succeeded', 'then it is, after a reload');
is(get("http://[::ffff:127.0.0.1]:$sink->{port}/"), 'succeeded', 'so is the same address in IPv6');
set_setting($node, 'jobsched.http_deny', "127.0.0.1:$other->{port}");
is(get("$other->{url}/"), $refused, 'what http_deny lists is refused, though it is allowed');
is(get("http://[::ffff:127.0.0.1]:$other->{port}/"), $refused, 'in IPv6 too');
is(get("$url/"), 'succeeded', 'and nothing else');
is(get("$url/redirect/302?to=$other->{url}/", 'max_attempts => 1, max_redirects => 3'), $refused, 'a redirect there is refused');
set_setting($node, 'jobsched.http_deny');
like(error_of($node, $db, "ALTER SYSTEM SET jobsched.http_allow = '10.0.0.1/8'"), qr/22023.*invalid value/, 'a rule that is none is refused');
like(error_of($node, $db, q{SET jobsched.http_allow = ''}, 'app'), qr/55P02/, 'users do not set rules');

# ------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------

sub named
{
	my ($name, $more) = @_;
	return get("http://$name.example.com:$sink->{port}/$name", $more);
}

set_host($resolver, 'inside.example.com', '127.0.0.1');
set_host($resolver, 'friend.example.com', '127.0.0.1');
set_host($resolver, 'mixed.example.com', '127.0.0.2,::1,127.0.0.1');
set_host($resolver, 'mapped.example.com', '::ffff:127.0.0.1');
set_host($resolver, 'rebinds.example.com', '93.184.216.34', '127.0.0.1');
set_host($resolver, 'fails.example.com', 'fail');
set_host($resolver, "hangs$_.example.com", 'hang') for 1 .. 30;

allow('friend.example.com, *.friends.example.com');
forget_requests($sink);
is(named('inside'), $refused, 'a name that leads inside is refused');
is(named('mapped'), $refused, 'in IPv6 too');
is(named('mixed'), $refused, 'whatever it leads to');
is(named('friend'), 'succeeded', 'but not a name that is allowed');
isnt(named('rebinds', q(max_attempts => 1, connect_timeout => '300 ms')), 'succeeded', 'a name that leads to an address outside, and then inside,') for 1 .. 2;
psql(q{SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'jobsched http'});
is(named('rebinds', q(max_attempts => 1, connect_timeout => '300 ms')), $refused, 'is refused when it does');
is(join(' ', map { $_->{path} } requests($sink)), '/friend', 'and nothing has come');
allow('127.0.0.1/32');
is(named('mixed'), 'succeeded', 'of several addresses one that is allowed is taken');
is(named('fails'), 'failed network 08001', 'a name without address');
is(get("$url/"), 'succeeded', 'is in nobody\'s way');

# Names that nobody answers for.
my $pid = http_worker_pid($node, $db);
my @hung = map { start_get("http://hangs$_.example.com/", q(max_attempts => 1, connect_timeout => '5 min')) } 1 .. 30;
my @others = map { start_get($_ % 2 ? "$url/" : "http://inside.example.com:$sink->{port}/") } 1 .. 20;
is(scalar(grep { ended($_, 'status') ne 'succeeded' } @others), 0, 'names that hang delay nobody else');
is(psql('SELECT count(*) FROM jobsched.running WHERE run_id IN (' . join(',', @hung) . ')'), '30', 'and those still hang then');
app(q{SELECT jobsched.cancel_runs('http')});
is(scalar(grep { ended($_, 'status') ne 'cancelled' } @hung), 0, 'they can be cancelled');
@hung = map { start_get("http://hangs$_.example.com/", q(max_attempts => 1, connect_timeout => '1 s')) } 1 .. 30;
is(scalar(grep { ended($_, q{concat_ws(' ', status, error), duration >= '1 s'}) ne 'timed_out no connection within 1000 ms|t' } @hung), 0,
	'their time can be short');
in_time($node, psql('SELECT extract(epoch FROM max(duration)) FROM jobsched.runs WHERE run_id IN (' . join(',', @hung) . ')'), 5, 'and they end in it');
start_get("http://hangs$_.example.com/") for 1 .. 5;
until_true($node, $db, 'SELECT count(*) = 5 FROM jobsched.running', 'requests hang at their names');
my $begin = time();
is(psql("SELECT pg_terminate_backend($pid, 5000)"), 't', 'while they hang, the worker can be terminated');
in_time($node, time() - $begin, 4, 'at once');
app(q{SELECT jobsched.cancel_runs('http')});
set_host($resolver, "hangs$_.example.com", 'fail') for 1 .. 30;
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');

# ------------------------------------------------------------------------
# Our own proxy
# ------------------------------------------------------------------------

allow('');
set_setting($node, 'jobsched.http_proxy', $url);
forget_requests($sink);
is(get('http://outside.example.com/by-proxy'), 'succeeded', 'jobsched.http_proxy is used');
is((requests($sink))[0]->{target}, 'http://outside.example.com/by-proxy', 'the proxy is asked');
is(get('http://10.0.0.1/by-proxy'), $refused, 'an address that is not allowed is refused there too');
set_setting($node, 'jobsched.http_proxy');
like(error_of($node, $db, q{ALTER SYSTEM SET jobsched.http_proxy = 'ftp://x'}), qr/22023/, 'what is no proxy is refused');

# ------------------------------------------------------------------------
# TLS
# ------------------------------------------------------------------------

my $nginx = start_tls_nginx($dir, sink => $sink);
allow('127.0.0.0/8, [::1]/128');
my $untrusted = "failed|tls|08001|the server's certificate is not trusted, or not for this host";
sub secure
{
	my ($kind, $more) = @_;
	return ended(start_get("$nginx->{urls}->{$kind}/$kind", $more), 'status, reason, sqlstate, error');
}

# Where the system has no authorities at all the message is another one.
like(secure('good'), qr/^failed\|tls\|08001\|/, 'a certificate of an unknown authority is not trusted');
set_setting($node, 'jobsched.http_ca_file', $nginx->{ca});
is(secure('good'), 'succeeded|||', 'with jobsched.http_ca_file it is');
is(secure($_), $untrusted, "$_: it is not") for qw(expired wrong_host self_signed);
is(get("https://127.0.0.1:$nginx->{ports}->{good}/"), 'succeeded', 'a certificate for an address');
is(psql('SELECT http_version, secured BETWEEN connected AND first_byte FROM jobsched.http_responses WHERE run_id = '
	. "(SELECT max(run_id) FROM jobsched.http_responses)"), '2|t', 'HTTP/2 is spoken, and when TLS was agreed upon is recorded');
is(scalar(requests($sink, qr/expired|wrong_host|self_signed/)), 0, 'nothing is sent to servers that are not trusted');
set_setting($node, 'jobsched.http_ca_file', "$dir/nothing");
like(secure('good'), qr/^failed\|tls\|08001/, 'without the file nobody is trusted');
set_setting($node, 'jobsched.http_ca_file', $nginx->{ca});
is(secure('good'), 'succeeded|||', 'until it is there again');
like(ended(start_get("https://localhost:$nginx->{ports}->{plain}/"), 'concat_ws(\' \', status, reason, sqlstate)'), qr/^failed tls 08001$/, 'who does not speak TLS');
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 10);
is(ended(start_get('https://127.0.0.1:' . $silent->sockport . '/', q(max_attempts => 1, connect_timeout => '300 ms')), 'status, error'),
	'timed_out|no connection within 300 ms', 'who says nothing');

# Many at once share connections.
forget_requests($sink);
app("SELECT count(jobsched.http_post('$nginx->{url}/gate/h2')) FROM generate_series(1, 40)");
wait_requests($sink, 40, qr/h2/);
open_gate($sink, 'h2');
until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
my @logged = grep { $_->{path} eq '/gate/h2' } wait_tls_requests($nginx, 40);
is(scalar(grep { $_->{protocol} eq 'HTTP/2.0' && $_->{status} == 200 } @logged), 40, 'forty requests by HTTP/2');
my %connections = map { $_->{connection} => 1 } @logged;
cmp_ok(scalar(keys %connections), '<=', 4, 'share few connections: ' . join ' ', keys %connections);

end_sessions($node);
check_log($node);
$node->stop;
done_testing();
