# Copyright (c) 2026, jobsched contributors
# packages: nodejs npm
# npm: dashboard
# server: any

# The server of the dashboard: who may come in, the page it serves, what happens when
# the database goes away and comes back.  Its API is asked by the scripts in
# dashboard/test, whose parts are counted here.

use strict;
use warnings;

use File::Path qw(make_path);
use FindBin;
use lib $FindBin::Bin;
use HTTP::Tiny;
use IPC::Run;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $db = 'postgres';
my $tests = "$FindBin::Bin/../../dashboard/test";
my $patience = $PostgreSQL::Test::Utils::timeout_default || 180;
my $json = JSON::PP->new->utf8->allow_nonref;
my $node = jobsched_node('dashboard', conf => "log_statement = all\n");
create_extension($node, $db);
$node->safe_psql($db, slurp_file("$tests/fixture.sql") . 'GRANT USAGE ON SCHEMA jobsched TO clerk');

# A copy, so that it has a page that is ours.
my $home = PostgreSQL::Test::Utils::tempdir();
make_path("$home/dist/assets", "$home/dist/.git");
system_or_bail('cp', '-r', map({ "$tests/../$_" } qw(serve.mjs server package.json node_modules)), $home);
my $page = "<!doctype html><title>jobs</title><script>let a = 1;</script>\n";
append_to_file("$home/dist/index.html", $page);
append_to_file("$home/dist/assets/a.js", "let b = 2;\n");
append_to_file("$home/dist/$_", "no\n") foreach qw(.hidden .git/config);
symlink('/etc/passwd', "$home/dist/passwd");
symlink('/etc', "$home/dist/etc");

my %environment = (PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $db, PGUSER => 'clerk');

# What starts a program whose standard error is a pipe that nobody reads.
my @unread = ($^X, '-e', 'pipe(my $r, my $w); open(STDERR, ">&", $w); close($w); close($r); exec(@ARGV)');
my @starter;

# A server of ours, as a hash: run, link, url, token, err.
sub start_serve
{
	my (@options) = @_;
	my %serve = (out => '', err => '');
	local @ENV{ keys %environment } = values %environment;

	$serve{run} = IPC::Run::start([ @starter, 'node', "$home/serve.mjs", @options ], '<', \undef, '>', \$serve{out}, '2>', \$serve{err},
		IPC::Run::timeout($patience));
	$serve{run}->pump until $serve{out} =~ /\n/ || !$serve{run}->pumpable;
	($serve{link}, $serve{url}, $serve{token}) = $serve{out} =~ m{\A((http://127\.0\.0\.1:\d+)/#token=([\w-]{43}))\n\z}
	  or die "no link: $serve{out}$serve{err}";
	return \%serve;
}

sub ask
{
	my ($serve, $method, $path, %options) = @_;

	return HTTP::Tiny->new(timeout => $patience)->request($method, "$serve->{url}$path",
		{ %options, headers => { Authorization => "Bearer $serve->{token}", %{ $options{headers} || {} } } });
}

# The SQLSTATE, or other code, of an error.
sub code { return $json->decode($_[0]->{content})->{code} }

my $serve = start_serve('--schema', 'library', '--schema', 'jobsched', '--statement-timeout', '10');

# ------------------------------------------------------------------------
# The page
# ------------------------------------------------------------------------

my $answer = HTTP::Tiny->new->get("$serve->{url}/");
is($answer->{status}, 200, 'the page is there, without a token');
is($answer->{content}, $page, 'as it is in dist');
is($answer->{headers}->{'content-type'}, 'text/html; charset=utf-8', 'its type');
like($answer->{headers}->{'content-security-policy'},
	qr{\Adefault-src 'none'; script-src 'self' 'sha256-[\w+/]{43}='; .*connect-src 'self'; .*frame-ancestors 'none'\z}, 'its policy knows its script');
is($answer->{headers}->{'x-frame-options'}, 'DENY', 'in no frame');
is(HTTP::Tiny->new->get("$serve->{url}/assets/a.js")->{content}, "let b = 2;\n", 'a file of it');
is(HTTP::Tiny->new->head("$serve->{url}/")->{status}, 200, 'HEAD');
is(HTTP::Tiny->new->get("$serve->{url}$_")->{status}, 404, "not $_") foreach qw(/.hidden /.git/config /passwd /etc/passwd /assets /assets/../index.html /dist/index.html);
is(HTTP::Tiny->new->post("$serve->{url}/")->{status}, 405, 'no POST to a file');
is(HTTP::Tiny->new->get("$serve->{url}/api/book")->{status}, 401, 'no API without a token');

# ------------------------------------------------------------------------
# How it is started
# ------------------------------------------------------------------------

# What it says when it cannot start.
sub start_error
{
	my (@arguments) = @_;
	local @ENV{ keys %environment } = values %environment;
	my ($out, $err);

	ok(!IPC::Run::run([ 'node', "$home/serve.mjs", @arguments ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($patience)),
		"refused: @arguments");
	is($out, '', 'no link');
	return $err;
}

like(start_error('--port', 'x'), qr/^serve\.mjs: --port needs a number from 0 to 65535, not: x$/m, 'a port');
like(start_error('--port', '65536'), qr/--port needs a number/, 'a port that there is not');
like(start_error('--max-rows', '0'), qr/--max-rows needs a number from 1/, 'rows');
like(start_error('--host', '0.0.0.0'), qr/Unknown option '--host'/, 'it listens on loopback, and nowhere else');
like(start_error('a', 'b'), qr/one connection URL at most/, 'two URLs');
like(start_error('--schema', 'nothing'), qr/the database has no schema "nothing"/, 'a schema that is not there');
like(start_error("postgresql://nobody\@/postgres?host=" . $node->host . '&port=' . $node->port), qr/cannot connect to the database: .*"nobody"/, 'a role that is not there');
my ($port) = $serve->{url} =~ /(\d+)\z/;
like(start_error('--port', $port), qr/EADDRINUSE/, 'a port that is taken');
my $other = start_serve('--schema', 'library', 'postgresql://clerk@/postgres?host=' . $node->host . '&port=' . $node->port);
is(ask($other, 'GET', '/api/rpc/twice?n=2')->{content}, '4', 'by a URL');
isnt($other->{token}, $serve->{token}, 'each has its own token');
is(ask($serve, 'GET', '/api/shelf', headers => { Authorization => "Bearer $other->{token}" })->{status}, 401, 'which is no good elsewhere');
$other->{run}->signal('TERM');
$other->{run}->finish;
is($other->{run}->result(0), 0, 'SIGTERM ends it');
is($other->{err}, '', 'without a word');

is(HTTP::Tiny->new->get("http://127.0.0.2:$port/")->{status}, 599, 'it listens at one address of loopback only');

# ------------------------------------------------------------------------
# The API, and logic of the page, by dashboard/test: one test here for each part of a script.
# ------------------------------------------------------------------------

foreach my $script (qw(reader forms graph series api hostile))
{
	local $ENV{DASHBOARD_LINK} = $serve->{link};
	my ($out, $err) = ('', '');
	my $good = IPC::Run::run([ 'node', '--test', '--test-reporter=tap', "$tests/$script.test.mjs" ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($patience));

	my @parts = $out =~ /^((?:not )?ok \d+ - .*)$/mg;
	cmp_ok(scalar @parts, '>', 5, "$script.test.mjs has parts");
	ok(!/^not/, "$script.test.mjs: " . s/^(?:not )?ok \d+ - //r) foreach @parts;
	ok($good, "$script.test.mjs has passed") or diag "$out$err";
}

# What reached the server, without what is quoted in it: names of ours and of the catalog.
my $log = slurp_file($node->logfile);
my %said = map { s/"(?:[^"]|"")*"//gr => 1 } $log =~ /jobsched dashboard LOG:  (?:statement|execute [^:]*): (.*?)(?=^\d{4}-)/msg;
cmp_ok(scalar keys %said, '>', 50, 'statements were logged');
is_deeply([ grep { /DROP|pg_sleep|secret|book 7|quoted/ } keys %said ], [], 'none has a value of a request in it');
is($node->safe_psql($db, q{SELECT count(*) FROM pg_prepared_xacts}), '0', 'nothing is left over');
is($node->safe_psql($db, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'clerk' AND state <> 'idle'}), '0', 'no transaction stays open');
cmp_ok($node->safe_psql($db, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'clerk' AND application_name = 'jobsched dashboard'}), '<=', 8, 'few connections');
$serve->{run}->pump_nb;
unlike($serve->{err}, qr/serve\.mjs:/, 'it has nothing to complain about');

# ------------------------------------------------------------------------
# The connection is lost
# ------------------------------------------------------------------------

sub settle
{
	my ($status, $what) = @_;
	my $until = time() + $patience;

	usleep(20_000) until ask($serve, 'GET', '/api/shelf')->{status} == $status || time() > $until;
	return is(ask($serve, 'GET', '/api/shelf')->{status}, $status, $what);
}

my $backends = q{FROM pg_stat_activity WHERE usename = 'clerk'};
$node->safe_psql($db, "SELECT pg_terminate_backend(pid, 60000) $backends");
is(ask($serve, 'GET', '/api/shelf')->{status}, 200, 'connections that died while idle are not noticed');

# A call that waits in the database; what is answered comes into the string.
sub start_wait
{
	my ($answer) = @_;
	my $run = IPC::Run::start([ $^X, '-MHTTP::Tiny', '-e', q{
		my $r = HTTP::Tiny->new(timeout => 180)->request('POST', "$ARGV[0]/api/rpc/wait", { content => '{"seconds": 4.5}',
			headers => { Authorization => "Bearer $ARGV[1]", 'Content-Type' => 'application/json' } });
		print "$r->{status} $r->{content}"; }, $serve->{url}, $serve->{token} ], '<', \undef, '>', $answer, IPC::Run::timeout($patience));

	wait_until($node, $db, "SELECT count(*) = 1 $backends AND wait_event = 'PgSleep'", 'the call waits');
	return $run;
}

my $waiting = start_wait(\my $killed);
$node->safe_psql($db, "SELECT pg_terminate_backend(pid, 60000) $backends AND wait_event = 'PgSleep'");
$waiting->finish;
like($killed, qr/\A503 .*"code":"(?:57P01|PGRST001)"/, 'a call whose connection is cut is told so');
is(ask($serve, 'GET', '/api/shelf')->{status}, 200, 'the next one works');

# A server that is there but says nothing any more, as behind a network that is gone.
$waiting = start_wait(\my $silent);
my $stopped = $node->safe_psql($db, "SELECT pid $backends AND wait_event = 'PgSleep'");
kill 'STOP', $stopped;
$waiting->finish;
kill 'CONT', $stopped;
like($silent, qr/\A503 .*"code":"PGRST001"/, 'a call is not waited for much longer than its statement may take');
is(ask($serve, 'GET', '/api/shelf')->{status}, 200, 'others get a connection');

@starter = @unread;
my $mute = start_serve('--schema', 'library');
$node->stop('fast');
is(ask($mute, 'GET', '/api/shelf')->{status}, 503, 'complaints that nobody reads do not end it') foreach 1 .. 3;
$mute->{run}->signal('TERM');
$mute->{run}->finish;
$answer = ask($serve, 'GET', '/api/shelf');
is($answer->{status}, 503, 'without a database');
is(code($answer), 'PGRST001', 'the code for that');
is(HTTP::Tiny->new->get("$serve->{url}/")->{status}, 200, 'the page is served all the same');
$node->start;
settle(200, 'the database is found again');
is(ask($serve, 'GET', '/api/rpc/twice?n=21')->{content}, '42', 'calls too');

# A session cannot be taken over by what another request has set.
$node->safe_psql($db, q{CREATE FUNCTION library.leave() RETURNS text LANGUAGE sql AS $$
	SELECT set_config('statement_timeout', '1ms', true) || set_config('request.method', 'left', true) || set_config('search_path', 'nowhere', true) $$});
ask($serve, 'POST', '/api/rpc/leave', content => '{}', headers => { 'Content-Type' => 'application/json' }) foreach 1 .. 10;
is($json->decode(ask($serve, 'GET', '/api/rpc/request')->{content})->{timeout}, '10s', 'settings end with their request') foreach 1 .. 10;

$serve->{run}->signal('INT');
$serve->{run}->finish;
is($serve->{run}->result(0), 0, 'SIGINT ends it');
$node->stop;

done_testing();
