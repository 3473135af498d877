# Copyright (c) 2026, jobsched contributors
# packages: prometheus

# Metrics: metrics() says exactly what has happened, to whom may see it, whatever jobs are
# called; counters go on over restarts and kill -9; Prometheus reads the text, and the
# files in monitoring/ name nothing that does not exist.

use strict;
use warnings;

use CPAN::Meta::YAML;
use FindBin;
use lib $FindBin::Bin;
use File::Temp;
use HTTP::Tiny;
use IPC::Run;
use IO::Socket::INET;
use JobschedTest;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

srand($ENV{JOBSCHED_METRICS_SEED} || 20261130);
my $cycles = $ENV{JOBSCHED_METRICS_CYCLES} || 4;
my $db = 'postgres';
my $monitoring = "$FindBin::Bin/../../monitoring";
my $node = jobsched_node('metrics', conf => q{
restart_after_crash = on
jobsched.max_workers = 4
fsync = off
});

create_extension($node, $db);

my $superuser = $node->safe_psql($db, 'SELECT current_user');

sub psql { return $node->safe_psql($db, $_[0]); }
sub as { return sql_as($node, $db, @_); }

psql(q{
	CREATE ROLE app LOGIN;
	CREATE ROLE "Ö""w\er" LOGIN;
	CREATE ROLE other LOGIN;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	GRANT USAGE ON SCHEMA jobsched TO app, "Ö""w\er", other, watcher});

# ------------------------------------------------------------------------
# Reading
# ------------------------------------------------------------------------

my $label = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"/;

# What a text says: 'name{labels}' => value.  Dies where it is no OpenMetrics.
sub parse
{
	my ($text) = @_;
	my %values;

	die 'no end' unless $text =~ s/# EOF\n?\z//;
	for my $line (split /\n/, $text)
	{
		next if $line =~ /^# (?:HELP [a-z_]+ [^\n]+|TYPE [a-z_]+ (?:gauge|counter|info|histogram)|UNIT [a-z_]+_seconds seconds)$/;
		die "not a sample: $line" unless $line =~ /^([a-z_]+(?:\{$label(?:,$label)*\})?) ([0-9.]+)$/;
		die "twice: $1" if exists $values{$1};
		$values{$1} = $2;
	}
	return \%values;
}

sub metrics { return parse(as($_[0] || 'watcher', 'SELECT jobsched.metrics()')); }

sub ended
{
	my ($values) = @_;
	my $sum = 0;

	$sum += $values->{"jobsched_runs_ended_total{status=\"$_\"}"} for qw(succeeded failed cancelled timed_out lost);
	return $sum;
}

# Until so many runs have been counted.
sub wait_counted
{
	my ($count, $what) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $values;

	wait_drained($node, $db);
	usleep(50_000) while ended($values = metrics()) < $count && time() < $until;
	is(ended($values), $count, "$what: all runs are counted, and none twice");
	return $values;
}

# The series of a job, without its labels job and owner: 'name{more}' => value.
sub of_job
{
	my ($values, $job, $owner) = @_;
	my %found;

	for my $series (keys %$values)
	{
		my $short = $series;

		$found{ $short =~ s/\{\}//r } = $values->{$series} if $short =~ s/\{job="\Q$job\E",owner="\Q$owner\E",?/{/;
	}
	return \%found;
}

# ------------------------------------------------------------------------
# Exact values
# ------------------------------------------------------------------------

as('app', q{
	SELECT jobsched.create_job('good', command => 'SELECT 1'),
		jobsched.create_job('slow', command => 'SELECT pg_sleep(0.3)'),
		jobsched.create_job('again', command => 'SELECT 1 / 0', max_attempts => 3, backoff => 'fixed', backoff_base => '10 ms', retry_on => ARRAY['22012']),
		jobsched.create_job('daily', '0 3 * * *', 'SELECT 1', timezone => 'Europe/Berlin'),
		jobsched.create_job('off', '0 3 * * *', 'SELECT 1', enabled => false),
		jobsched.create_job('steps', steps => '[{"name": "a", "command": "SELECT 1"}, {"name": "b", "command": "SELECT 1", "after": ["a"]}]')});
as('app', q{SELECT jobsched.trigger(j) FROM unnest(ARRAY['good', 'good', 'good', 'slow', 'again', 'steps']) j});
# states of jobs are written by themselves
wait_until($node, $db, q{SELECT last_status = 'failed' AND consecutive_failures = 1 FROM jobsched.jobs WHERE name = 'again'}, 'the state of a job is written');
my $values = wait_counted(6, 'runs');
my $good = of_job($values, 'good', 'app');
my $again = of_job($values, 'again', 'app');
my $daily = of_job($values, 'daily', 'app');

is_deeply([ map { $good->{"jobsched_runs_total{status=\"$_\"}"} } qw(succeeded failed cancelled timed_out lost) ], [ 3, 0, 0, 0, 0 ], 'runs by status');
is_deeply([ map { $again->{$_} } split / /, q(jobsched_runs_total{status="failed"} jobsched_run_attempts_total jobsched_run_retries_total jobsched_runs_executed_total jobsched_job_consecutive_failures jobsched_job_last_status{status="failed"}) ],
	[ 1, 3, 2, 1, 1, 1 ], 'attempts and retries');
my $slow = of_job($values, 'slow', 'app')->{jobsched_runs_duration_seconds_total};
ok($slow >= 0.3 && $slow < 60, "durations are in seconds: $slow");
is($daily->{jobsched_job_next_run_timestamp_seconds}, psql(q{SELECT extract(epoch FROM next_run_at)::bigint FROM jobsched.jobs WHERE name = 'daily'}), 'the next run');
is($daily->{'jobsched_job_info{kind="sql",schedule="0 3 * * *",timezone="Europe/Berlin"}'}, 1, 'what a job is');
is($daily->{jobsched_job_last_end_timestamp_seconds}, undef, 'what there is not has no series');
is(of_job($values, 'off', 'app')->{jobsched_job_active}, 0, 'a job that is disabled is not active');
is_deeply([ map { $values->{$_} } split / /, q(jobsched_jobs{state="active",kind="sql"} jobsched_jobs{state="active",kind="steps"} jobsched_jobs{state="disabled",kind="sql"}) ], [ 4, 1, 1 ], 'jobs by state and kind');
is_deeply([ map { $values->{$_} } split / /, q(jobsched_run_duration_seconds_count jobsched_run_duration_seconds_bucket{le="+Inf"} jobsched_run_duration_seconds_bucket{le="4294.967296"} jobsched_runs_total{job="others",owner="",status="succeeded"}) ],
	[ 6, 6, 6, 0 ], 'a histogram of all, and nothing of others');
cmp_ok($values->{'jobsched_run_duration_seconds_bucket{le="0.262144"}'}, '<=', 5, 'the slow run is in a bucket that is above');
is_deeply([ map { $values->{$_} } split / /, q(jobsched_launcher_up jobsched_scheduler_up jobsched_processing_enabled jobsched_workers_max jobsched_health_status{check="scheduler"}) ], [ 1, 1, 1, 4, 0 ], 'processes');
is(scalar(grep { /^jobsched_job_active/ } keys %$values), 6, 'steps have no series');
is(as('watcher', q{SELECT succeeded, failed, executed, attempts, retries FROM jobsched.job_totals WHERE job_name = 'again'}), '0|1|1|3|2', 'view job_totals');

# ------------------------------------------------------------------------
# Who sees what
# ------------------------------------------------------------------------

is_deeply(of_job(metrics('app'), 'good', 'app'), $good, 'an owner sees his jobs');
ok(!exists metrics('app')->{'jobsched_runs_ended_total{status="succeeded"}'}, 'but no sums of all');
is(join(' ', grep { /job=|_ended_|_bucket/ } keys %{ metrics('other') }), '', 'others see no jobs');
is(metrics('other')->{jobsched_scheduler_up}, 1, 'and the processes');
is(as('other', 'SELECT count(*) FROM jobsched.job_totals'), '0', 'nor in the view');
like(error_of($node, $db, 'SELECT jobsched.metrics()', 'stranger'), qr/permission denied for schema jobsched/, 'without USAGE nothing is seen');
like(error_of($node, $db, q{SELECT jobsched.metrics('xml')}, 'other'), qr/22023.*invalid format: "xml"/s, 'another format');

# ------------------------------------------------------------------------
# Names
# ------------------------------------------------------------------------

my @hostile = ('quo"te', 'back\\slash', "new\nline", 'n\\n', 'ümläut ☃', '{a="b"} 1', '# EOF', "tab\tand\rreturn", 'others');
for my $name (@hostile)
{
	my $literal = $name =~ s/'/''/gr;

	as('Ö"w\er', "SELECT jobsched.create_job('$literal', command => 'SELECT 1'); SELECT jobsched.trigger('$literal')");
}
$values = wait_counted(6 + @hostile, 'jobs of all names');
for my $name (@hostile)
{
	my $escaped = $name =~ s/([\\"])/\\$1/gr =~ s/\n/\\n/gr;

	is(of_job($values, $escaped, 'Ö\\"w\\\\er')->{'jobsched_runs_total{status="succeeded"}'}, 1, "job $escaped");
}
for my $encoding ([ 'LATIN1', "'zo' || chr(233)", "zo\xc3\xa9" ], [ 'SQL_ASCII', q{E'bad\xff\xc3 good\xc3\xa9'}, "bad?? good\xc3\xa9" ])
{
	my ($name, $job, $shown) = @$encoding;
	my $other = lc $name;
	my $client = $name eq 'SQL_ASCII' ? $name : 'UTF8';

	psql("CREATE DATABASE $other TEMPLATE template0 ENCODING '$name' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($other, "CREATE EXTENSION jobsched; SELECT jobsched.create_job($job, command => 'SELECT 1')");
	is(of_job(parse($node->safe_psql($other, "SET client_encoding = '$client'; SELECT jobsched.metrics()")), $shown, $superuser)->{jobsched_job_active}, 1,
		"a job in a database with $name");
	psql("DROP DATABASE $other WITH (FORCE)");
}

# ------------------------------------------------------------------------
# Prometheus
# ------------------------------------------------------------------------

my $dir = File::Temp->newdir;

sub promtool
{
	my ($what, @command) = @_;
	my ($out, $err) = ('', '');

	ok(IPC::Run::run([ 'promtool', @command ], '<', \undef, '>', \$out, '2>', \$err), $what) || diag($out, $err);
	return $out . $err;
}

my $text = as('watcher', q{SELECT jobsched.metrics('prometheus')});
{
	my $out = '';
	my $input = "$text\n";

	ok(IPC::Run::run([ qw(promtool check metrics) ], '<', \$input, '>&', \$out), 'promtool finds nothing in metrics()') || diag($out);
	is($out, '', 'nor has it to remark anything');
}
promtool('promtool reads the alerts', qw(check rules), "$monitoring/jobsched.rules.yml");
promtool('promtool finds that alerts fire when they should', qw(test rules), "$monitoring/jobsched.rules.test.yml");
promtool('promtool reads the configuration', qw(check config), "$monitoring/prometheus.yml");

# A server as small as can be: what metrics() says, over HTTP.
sub bridge
{
	my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "no socket: $!";
	my $port = $listener->sockport;
	my $child = fork();

	die "no process: $!" unless defined $child;
	return ($child, $port) if $child > 0;
	$SIG{TERM} = 'DEFAULT';
	while (my $client = $listener->accept)
	{
		my $body = '';

		while (my $line = <$client>) { last if $line =~ /^\r?\n$/; }
		IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr($db) . ' user=watcher', '-c', 'SELECT jobsched.metrics()' ], '<', \undef, '>', \$body);
		$body =~ s/\n\n\z/\n/;
		printf $client "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length $body, $body;
		close $client;
	}
	POSIX::_exit(0);
}

my ($bridge, $bridge_port) = bridge();
my $port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$dir/prometheus.yml", qq{
rule_files: ['$monitoring/jobsched.rules.yml']
scrape_configs:
  - job_name: jobsched
    scrape_interval: 1s
    honor_labels: true
    static_configs: [{targets: ['127.0.0.1:$bridge_port']}]
});
my $prometheus = IPC::Run::start([ 'prometheus', "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$port" ],
	'<', \undef, '>', "$dir/log", '2>&1');

END
{
	my $status = $?;

	$prometheus->kill_kill(grace => 5) if $prometheus;
	if ($bridge)
	{
		kill 'TERM', $bridge;
		waitpid $bridge, 0;
	}
	$? = $status;
}

# The values of a query, by label job; undef: there is no answer.
sub query
{
	my ($promql) = @_;
	my $escaped = $promql =~ s/([^A-Za-z0-9_.])/sprintf '%%%02X', ord $1/ger;
	my $response = HTTP::Tiny->new(timeout => 10)->get("http://127.0.0.1:$port/api/v1/query?query=$escaped");

	return unless $response->{success};
	return { map { ($_->{metric}{job} // '') => $_->{value}[1] } @{ decode_json($response->{content})->{data}{result} } };
}

sub wait_query
{
	my ($promql, $job, $expected, $what) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $found;

	while (time() < $until)
	{
		$found = query($promql);
		last if $found && defined $found->{$job} && $found->{$job} eq $expected;
		usleep(200_000);
	}
	return is($found && $found->{$job}, $expected, $what);
}

wait_query('sum by (job) (jobsched_runs_total{owner="app"})', 'good', '3', 'Prometheus has read what metrics() says');
wait_query('count(up == 1)', '', '1', 'without an error');
my $scraped = query('sum by (job) (jobsched_runs_total{owner!="app",owner!=""})');
my @characters = map { my $name = $_; utf8::decode($name); $name } @hostile;
is_deeply([ sort keys %$scraped ], [ sort @characters ], 'names come through as they are');
wait_query('histogram_quantile(1, jobsched_run_duration_seconds_bucket)', 'jobsched', '1.048576', 'histograms can be asked');
{
	my $response = HTTP::Tiny->new->get("http://127.0.0.1:$port/api/v1/metadata?metric=jobsched_runs");

	is(decode_json($response->{content})->{data}{jobsched_runs}[0]{type}, 'counter', 'it is read as OpenMetrics');
}
as('app', q{SELECT jobsched.trigger('good')});
wait_query('sum by (job) (jobsched_runs_total{owner="app"})', 'good', '4', 'and another run is seen');

# ------------------------------------------------------------------------
# Files
# ------------------------------------------------------------------------

my %exists;
my %labels_of;
$exists{$1} = $2 while $text =~ /^# TYPE (\S+) (\S+)$/mg;
for my $series (keys %{ metrics() })
{
	my ($name, $labels) = $series =~ /^([a-z_]+)(.*)$/;

	$labels_of{$name}{$1} = 1 while $labels =~ /([a-z_]+)="(?:[^"\\]|\\.)*"/g;
}

sub check_names
{
	my ($file, $content) = @_;
	my %named;

	$named{$1} = 1 while $content =~ /\b(?:sql_)?(jobsched_[a-z_]+)\b/g;
	my @unknown = grep { !$exists{$_} && !(/^(.*)_(?:bucket|sum|count)$/ && ($exists{$1} // '') eq 'histogram') } sort keys %named;
	return is("@unknown", '', "$file names metrics that exist");
}

# Runs a query as who watches; returns its columns.
sub columns_of
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql($db, "CREATE TEMP TABLE tried AS $sql; SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'tried'::regclass AND attnum > 0",
		extra_params => [ '-U', 'watcher' ]);

	return $status == 0 ? $out : "error: $err";
}

sub check_exported
{
	my ($file, $metric, $name, $sql) = @_;
	my @labels = sort @{ $metric->{key_labels} || $metric->{labels} || [] };
	my $columns = columns_of($sql);

	is(join(' ', grep { my $wanted = $_; !grep { $_ eq $wanted } split / /, $columns } @labels, @{ $metric->{values} }), '', "$file: $name has its columns") || diag($columns);
	return is("@labels", join(' ', sort keys %{ $labels_of{$name} || {} }), "$file: $name has the labels that it has in metrics()");
}

psql(q{GRANT TEMPORARY ON DATABASE postgres TO watcher});
{
	my $file = 'jobsched.collector.yml';
	my $content = slurp_file("$monitoring/$file");
	my $collector = CPAN::Meta::YAML->read_string($content)->[0];
	my %query = map { $_->{query_name} => $_->{query} } @{ $collector->{queries} };

	check_names($file, join ' ', map { $_->{metric_name} } @{ $collector->{metrics} });
	for my $metric (@{ $collector->{metrics} })
	{
		check_exported($file, $metric, $metric->{metric_name}, $query{ $metric->{query_ref} });
		is($metric->{type}, $exists{ $metric->{metric_name} }, "$file: $metric->{metric_name} has its type");
	}
	is(scalar @{ $collector->{metrics} } > 20, 1, "$file has been read");
}
{
	my $file = 'prometheus-sql-exporter.yml';
	my $config = CPAN::Meta::YAML->read_string(slurp_file("$monitoring/$file"))->[0];
	my $queries = $config->{jobs}[0]{queries};

	check_names($file, join ' ', map { $_->{name} } @$queries);
	check_exported($file, $_, $_->{name}, $_->{query}) for @$queries;
	is(scalar @$queries > 20, 1, "$file has been read");
}
for my $file (qw(jobsched.rules.yml jobsched.rules.test.yml grafana-prometheus.json))
{
	check_names($file, slurp_file("$monitoring/$file"));
}
{
	my $manual = slurp_file("$FindBin::Bin/../../doc/metrics.md");
	my %described;

	check_names('doc/metrics.md', $manual);
	$described{$1} = 1 while $manual =~ /^\| `(jobsched_[a-z_]+)/mg;
	is(join(' ', grep { !$described{$_} } sort keys %exists), '', 'doc/metrics.md describes each metric');
	my %alert = map { $_ => 1 } slurp_file("$monitoring/jobsched.rules.yml") =~ /alert: (\w+)/g;
	my %told = map { $_ => 1 } $manual =~ /^\| `(Jobsched\w+)`/mg;
	is(join(' ', sort keys %told), join(' ', sort keys %alert), 'and each alert');
	my %tested = map { $_ => 1 } slurp_file("$monitoring/jobsched.rules.test.yml") =~ /alertname: (\w+)\n\s+exp_alerts/g;
	is(join(' ', sort keys %tested), join(' ', sort keys %alert), 'each alert is tested');
}
for my $file (qw(grafana-prometheus.json grafana-postgresql.json))
{
	my $board = decode_json(slurp_file("$monitoring/$file"));
	my %ids;

	is($board->{schemaVersion}, 39, "$file is a board");
	for my $panel (@{ $board->{panels} })
	{
		ok(!$ids{ $panel->{id} }++ && $panel->{gridPos}{x} + $panel->{gridPos}{w} <= 24, "$file: panel $panel->{title} has its place");
		for my $target (@{ $panel->{targets} })
		{
			my $expression = $target->{expr} // $target->{rawSql};

			$expression =~ s/\$__rate_interval/5m/g;
			$expression =~ s/\$__timeFrom\(\)/'2026-01-01T00:00:00Z'/g;
			$expression =~ s/\$__timeTo\(\)/'2100-01-01T00:00:00Z'/g;
			$expression =~ s/\$__interval_ms/60000/g;
			if (defined $target->{rawSql})
			{
				unlike(columns_of("SELECT * FROM ($expression) q"), qr/^error:/, "$file: $panel->{title}");
				like($expression, qr/ AS time\b/, "$file: $panel->{title} is over time") if $target->{format} eq 'time_series';
			}
			else
			{
				ok(defined query($expression), "$file: $panel->{title}");
			}
		}
	}
}

# ------------------------------------------------------------------------
# Not a series for each job
# ------------------------------------------------------------------------

sub listed { my $values = shift; return join ' ', sort map { /^jobsched_job_active\{job="([^"]+)",owner="other"/ ? $1 : () } keys %$values; }

# What may not go down; and what others have, likewise.
sub counters { my $values = shift; return { map { /_total|_bucket|_count|_sum/ ? ($_ => $values->{$_}) : () } keys %$values }; }

sub gone_down
{
	my ($before, $after, $ignored) = @_;

	return join ' ', sort grep { exists $after->{$_} && $after->{$_} < $before->{$_} && !($ignored && /$ignored/) } keys %{ counters($before) };
}

as('app', q{SELECT jobsched.drop_job(j) FROM unnest(ARRAY['good', 'slow', 'again', 'daily', 'off', 'steps']) j});
as('Ö"w\er', q{SELECT jobsched.drop_job(name) FROM jobsched.jobs});
wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched_internal.stat_total WHERE job_id > 0}, 'what is counted of jobs goes with them');
$values = metrics();
my $ended = ended($values);
is($ended, 7 + @hostile, 'but not from the sum of all');

set_setting($node, 'jobsched.metrics_jobs', 2);
as('other', q{SELECT jobsched.create_job('j' || n, command => 'SELECT 1') FROM generate_series(1, 5) n});
is(listed(metrics()), 'j1 j2', 'as long as none has run the first ones are listed');
for my $job (qw(j4 j5 j1 j2 j3))
{
	as('other', "SELECT jobsched.trigger('$job')");
	$values = wait_counted(++$ended, $job);
}
is(listed($values), 'j4 j5', 'then those that have run first');
is($values->{'jobsched_runs_total{job="others",owner="",status="succeeded"}'}, 3, 'the others are added up');
as('other', q{SELECT jobsched.drop_job('j4')});
wait_until($node, $db, q{SELECT count(*) = 1 FROM jobsched_internal.stat_total WHERE listed IS NOT NULL}, 'a place becomes free');
as('other', q{SELECT jobsched.trigger('j2')});
my $before = $values;
$values = wait_counted(++$ended, 'another');
is(listed($values), 'j2 j5', 'another job takes it');
is(of_job($values, 'j2', 'other')->{'jobsched_runs_total{status="succeeded"}'}, 2, 'with all its runs');
is(gone_down($before, $values), '', 'and nothing goes down by it');
set_setting($node, 'jobsched.metrics_jobs', 0);
as('other', q{SELECT jobsched.trigger(j) FROM unnest(ARRAY['j2', 'j5']) j});
$before = $values;
$ended += 2;
$values = wait_counted($ended, 'no series of jobs');
is(listed($values), '', 'no job is listed any more');
is($values->{'jobsched_runs_total{job="others",owner="",status="succeeded"}'}, 5, 'what they do is among the others');
is(gone_down($before, $values), '', 'nothing goes down by that either');
set_setting($node, 'jobsched.metrics_jobs', undef);

# ------------------------------------------------------------------------
# Crashes
# ------------------------------------------------------------------------

as('other', q{SELECT jobsched.create_job('load', command => 'SELECT 1'), jobsched.create_job('flaky', command => 'SELECT 1 / (random() * 3)::int', max_attempts => 2, backoff => 'fixed', backoff_base => '50 ms', retry_on => ARRAY['22012'])});

$before = metrics();
for my $cycle (1 .. $cycles)
{
	my $kind = (qw(scheduler worker postmaster restart))[ $cycle % 4 ];
	my $down = '';

	as('other', q{SELECT count(jobsched.trigger(CASE WHEN n % 4 = 0 THEN 'flaky' ELSE 'load' END)) FROM generate_series(1, 1000) n});
	$ended += 1000;
	for (1 .. 4)
	{
		usleep(100_000 + int rand 400_000);
		$values = metrics();
		$down .= gone_down($before, $values);
		$before = $values;
	}
	if ($kind eq 'postmaster')
	{
		kill_and_start($node);
	}
	elsif ($kind eq 'restart')
	{
		$node->restart;
	}
	else
	{
		my @workers = worker_pids($node, $db);

		kill 9, $kind eq 'worker' && @workers ? $workers[0] : scheduler_pid($node, $db);
		wait_connection($node, $db);
	}
	$values = metrics();
	$down .= gone_down($before, $values);
	wait_scheduler($node, $db);
	$before = $values;
	$values = wait_counted($ended, "$kind ($cycle)");
	$down .= gone_down($before, $values);
	is($down, '', "no counter goes down ($kind, $cycle)");
	$before = $values;
	is( psql(q{SELECT count(*) FROM jobsched.job_totals t JOIN (
			SELECT job_name, sum(succeeded) AS succeeded, sum(failed) AS failed, sum(runs) AS runs, sum(retries) AS retries
			FROM jobsched.run_stats(NULL, NULL, NULL) GROUP BY 1) s USING (job_name)
		WHERE (t.succeeded, t.failed, t.executed, t.retries) IS DISTINCT FROM (s.succeeded, s.failed, s.runs, s.retries)}),
		'0', "counters of jobs are what statistics say ($kind, $cycle)");
}

# ------------------------------------------------------------------------
# Resets
# ------------------------------------------------------------------------

as('other', q{SELECT jobsched.stat_reset('load')});
wait_until($node, $db, q{SELECT COALESCE((SELECT executed FROM jobsched.job_totals WHERE job_name = 'load'), 0) = 0}, 'stat_reset() begins the counters of a job anew');
$values = metrics();
is(gone_down($before, $values, qr/job="load"/), '', 'and no others');
is(ended($values), $ended, 'nor the sum of all');

check_log($node, killed => 1);
done_testing();
