# Copyright (c) 2026, jobsched contributors
# packages: nodejs npm chromium fonts-dejavu-core
# npm: dashboard
# server: any

# The page of the dashboard, in a browser: dashboard/test/page has the tests, whose
# parts are counted here; this makes the database that they look at.

use strict;
use warnings;

use File::Path qw(make_path);
use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use IPC::Run;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $home = "$FindBin::Bin/../../dashboard";
my $tests = "$home/test/page";
my $patience = $PostgreSQL::Test::Utils::timeout_default || 180;
my $node = jobsched_node('page', conf => "jobsched.max_workers = 6\njobsched.http_allow = '127.0.0.0/8'\n");
my $sink = start_sink($node);

create_extension($node, $db);
$node->safe_psql($db, slurp_file("$tests/data.sql"), extra_params => [ '-v', "url=$sink->{url}" ]);

# A page that has data of each kind; slots of a job have to be missed while it is paused.
wait_until($node, $db, q{SELECT updated_at < clock_timestamp() - interval '3 s' FROM jobsched.jobs WHERE name = 'each second'}, 'slots are missed');
sql_as($node, $db, 'shop', q{SELECT jobsched.resume_job('each second')});
wait_until($node, $db, q{SELECT EXISTS (SELECT FROM jobsched.runs WHERE status = 'missed')}, 'they are told');
sql_as($node, $db, 'shop', q{SELECT jobsched.alter_job('each second', enabled => false)});
wait_until($node, $db, 'SELECT shop.staged()', 'the data is there');

# ------------------------------------------------------------------------
# Two servers of the page
# ------------------------------------------------------------------------

sub start_serve
{
	my ($role) = @_;
	my %serve = (out => '', err => '');
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $db, PGUSER => $role);

	$serve{run} = IPC::Run::start([ 'node', "$home/serve.mjs" ], '<', \undef, '>', \$serve{out}, '2>', \$serve{err}, IPC::Run::timeout(10 * $patience));
	$serve{run}->pump until $serve{out} =~ /\n/ || !$serve{run}->pumpable;
	($serve{link}) = $serve{out} =~ m{\A(http://127\.0\.0\.1:\d+/#token=[\w-]{43})\n\z} or die "no link: $serve{out}$serve{err}";
	return \%serve;
}

my %serve = map { $_ => start_serve($_) } qw(shop watcher);

# ------------------------------------------------------------------------
# The browser
# ------------------------------------------------------------------------

# What it keeps, and what it finds of a user's, is in a folder of ours.
my $own = PostgreSQL::Test::Utils::tempdir();
make_path("$own/$_") foreach qw(home run);
$ENV{HOME} = "$own/home";
$ENV{XDG_RUNTIME_DIR} = "$own/run";
$ENV{XDG_CONFIG_HOME} = $ENV{XDG_CACHE_HOME} = "$own/home";
delete @ENV{qw(DISPLAY DBUS_SESSION_BUS_ADDRESS)};
$ENV{DASHBOARD_LINK} = $serve{shop}->{link};
$ENV{DASHBOARD_WATCHER_LINK} = $serve{watcher}->{link};
$ENV{DASHBOARD_DATABASE} = "postgresql://shop\@/$db?host=" . $node->host . '&port=' . $node->port;
$ENV{DASHBOARD_SHOTS} ||= "$PostgreSQL::Test::Utils::tmp_check/screenshots";

sub start_script
{
	my ($name) = @_;
	my %script = (name => $name, out => '', err => '');

	$script{run} = IPC::Run::start([ 'node', '--test', '--test-reporter=tap', "$tests/$name.test.mjs" ], '<', \undef, '>', \$script{out}, '2>', \$script{err}, IPC::Run::timeout(3 * $patience));
	return \%script;
}

# One test here for each part of a script.
sub finish_script
{
	my ($script) = @_;
	my $good = $script->{run}->finish;
	my @parts = $script->{out} =~ /^ *((?:not )?ok \d+ - .*)$/mg;

	cmp_ok(scalar @parts, '>', 2, "$script->{name}.test.mjs has parts");
	ok(!/^not/, "$script->{name}.test.mjs: " . s/^(?:not )?ok \d+ - //r) foreach @parts;
	ok($good, "$script->{name}.test.mjs has passed") or diag "$script->{out}$script->{err}";
	return;
}

# The longest beside others, as none of these changes what another looks at; what does comes last.
my $screens = start_script('screens');
finish_script(start_script($_)) foreach qw(build keyboard network watcher);
finish_script($screens);
finish_script(start_script('actions'));

foreach my $role (sort keys %serve)
{
	$serve{$role}->{run}->signal('TERM');
	$serve{$role}->{run}->finish;
	is($serve{$role}->{run}->result(0), 0, "the server of $role ends");
	is($serve{$role}->{err}, '', 'and has nothing to complain about');
}
$node->stop;

done_testing();
