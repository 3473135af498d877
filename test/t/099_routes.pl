# Copyright (c) 2026, jobsched contributors

# Each route of doc/rest.md is executed: its SQL as it stands, and what a REST
# gateway makes of its request, by a role that is no superuser.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('routes');
my $json = JSON::PP->new->canonical->utf8;

sub psql { return session_sql($node, $db, $superuser, $_[0]) }
sub app { return session_sql($node, $db, 'app', $_[0]) }

sub lines_of { return split /\n/, psql($_[0]) }

# ------------------------------------------------------------------------
# What a gateway makes of requests
# ------------------------------------------------------------------------

sub quoted { return "'" . $_[0] =~ s/'/''/gr . "'" }

# What parameters and columns of a result a function has; the type of each parameter.
sub function
{
	my ($name) = @_;
	my $of = "FROM pg_proc p WHERE pronamespace = 'jobsched'::regnamespace AND prokind = 'f' AND proname = " . quoted($name);
	my %parameters = map { split / /, $_, 2 } lines_of("SELECT n || ' ' || format_type(t, NULL) FROM (SELECT proargnames, pronargs, proargtypes $of) p, unnest(proargnames[1:pronargs], proargtypes::oid[]) u(n, t) WHERE n IS NOT NULL");
	my %columns = map { $_ => 1 } lines_of("SELECT n FROM (SELECT * $of) p, unnest(proargnames, proargmodes) u(n, m) WHERE m IN ('o', 't')"),
		lines_of("SELECT a.attname $of AND EXISTS (SELECT FROM pg_type t WHERE t.oid = prorettype AND typtype = 'c')" =~ s/ WHERE / JOIN pg_type y ON y.oid = p.prorettype JOIN pg_attribute a ON a.attrelid = y.typrelid AND a.attnum > 0 WHERE /r);
	my ($count, $volatile, $required) = split /\|/, psql("SELECT count(*), coalesce(bool_or(provolatile = 'v'), false), string_agg(array_to_string(proargnames[1:pronargs - pronargdefaults], ' '), '') $of"), -1;

	return ($count, \%parameters, \%columns, $volatile eq 't', [ split / /, $required // '' ]);
}

sub columns_of
{
	my ($view) = @_;
	return { map { $_ => 1 } lines_of("SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('jobsched.$view') AND attnum > 0") };
}

# A column, or a key of one: args->>brand.
sub column
{
	my ($name, $columns) = @_;
	my ($column, $key) = $name =~ /^(\w+)(?:->>(\w+))?$/ or die "no column: $name";

	die "no such column: $name" unless $columns->{$column};
	return "\"$column\"" . (defined $key ? " ->> '$key'" : '');
}

sub condition
{
	my ($name, $value, $columns) = @_;

	return '(' . join(' OR ', map { condition((split /[.]/, $_, 2), $columns) } split /,/, $1) . ')' if $name eq 'or' && $value =~ /^\((.*)\)$/;

	my $column = column($name, $columns);
	my ($not, $op, $operand) = $value =~ /^(not\.)?(\w+)\.(.*)$/ or die "no condition: $name=$value";
	my %compare = (eq => '=', neq => '<>', gt => '>', gte => '>=', lt => '<', lte => '<=', cs => '@>');
	my $condition =
		$op eq 'is' && $operand =~ /^(?:null|true|false)$/ ? "$column IS $operand"
		: $op eq 'like' ? "$column LIKE " . quoted($operand =~ tr/*/%/r)
		: $op eq 'in' && $operand =~ /^\((.*)\)$/ ? "$column = ANY (" . quoted("{$1}") . ')'
		: $compare{$op} ? "$column $compare{$op} " . quoted($operand)
		: die "no such operator: $name=$value";

	return $not ? "NOT ($condition)" : $condition;
}

# The rows of something that has columns.
sub select_from
{
	my ($from, $columns, @query) = @_;
	my ($what, @where) = ('*');
	my ($order, $limit) = ('', '');

	for my $pair (@query)
	{
		my ($name, $value) = @$pair;
		if ($name eq 'select') { $what = join ', ', map { column($_, $columns) } split /,/, $value }
		elsif ($name eq 'order') { $order = ' ORDER BY ' . join ', ', map { /^(.*?)(?:\.(asc|desc))?$/; column($1, $columns) . ($2 ? " $2" : '') } split /,/, $value }
		elsif ($name =~ /^(?:limit|offset)$/ && $value =~ /^\d+$/) { $limit .= " $name $value" }
		else { push @where, condition($name, $value, $columns) }
	}
	return "SELECT $what FROM $from" . (@where ? ' WHERE ' . join(' AND ', @where) : '') . $order . $limit;
}

# A body has columns of view jobs, of one job or of several.
sub body_of
{
	my ($view, $body) = @_;
	my $decoded = $json->decode($body);
	my @given = sort keys %{ ref $decoded eq 'ARRAY' ? $decoded->[0] : $decoded };
	my $columns = columns_of($view);
	column($_, $columns) for @given;
	my $types = psql("SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ') FROM pg_attribute
		WHERE attrelid = 'jobsched.$view'::regclass AND attname = ANY ('{" . join(',', @given) . "}')");
	my $array = ref $decoded eq 'ARRAY' ? $body : "[$body]";

	return ($columns, "json_to_recordset(\$body\$$array\$body\$) b($types)", @given);
}

sub statement_of
{
	my ($method, $path, $body) = @_;
	my ($target, $query) = split /\?/, $path, 2;
	my @query = map { [ split /=/, $_, 2 ] } split /&/, $query // '';

	if ($target =~ m{^/rpc/(\w+)$})
	{
		my $name = $1;
		my ($count, $parameters, $columns, $volatile, $required) = function($name);
		my %given = $method eq 'POST' ? %{ $json->decode($body // '{}') } : map { @$_ } grep { $parameters->{ $_->[0] } } @query;
		my @unknown = grep { !$parameters->{$_} } keys %given;
		my @missing = grep { !exists $given{$_} } @$required;

		die "there are $count functions $name" if $count != 1;
		die "function $name is called by $method" if $method ne 'POST' && ($method ne 'GET' || $volatile);
		die "unknown: @unknown" if @unknown;
		die "missing: @missing" if @missing;
		@query = grep { !$parameters->{ $_->[0] } } @query if $method eq 'GET';
		return select_from("jobsched.$name()", $columns, @query) if !%given;
		my $arguments = join ', ', map { "\"$_\" => " . ($method eq 'GET' ? quoted($given{$_}) . "::$parameters->{$_}" : "a.\"$_\"") } sort keys %given;
		return select_from("jobsched.$name($arguments)", $columns, @query) if $method eq 'GET';
		my $types = join ', ', map { "\"$_\" $parameters->{$_}" } sort keys %given;
		return "SELECT c.* FROM json_to_record(\$body\$$body\$body\$) a($types), LATERAL jobsched.$name($arguments) c";
	}

	my ($view) = $target =~ m{^/(\w+)$} or die "no path: $path";
	my $known = columns_of($view);
	die "no view: $view" unless %$known;
	return select_from("jobsched.$view", $known, @query) if $method eq 'GET';
	my @where = map { condition(@$_, $known) } @query;
	my $where = @where ? ' WHERE ' . join(' AND ', map { s/^/jobs./r } @where) : '';
	return "DELETE FROM jobsched.$view$where" if $method eq 'DELETE';
	my ($columns, $from, @given) = body_of($view, $body);
	return "INSERT INTO jobsched.$view (" . join(', ', map { "\"$_\"" } @given) . ') SELECT ' . join(', ', map { "b.\"$_\"" } @given) . " FROM $from" if $method eq 'POST';
	return "UPDATE jobsched.$view SET " . join(', ', map { "\"$_\" = b.\"$_\"" } @given) . " FROM $from$where";
}

# ------------------------------------------------------------------------
# The routes
# ------------------------------------------------------------------------

psql('ALTER DATABASE postgres OWNER TO app');
app(q{
	CREATE FUNCTION app.collect(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
	SELECT jobsched.create_job(name, command => 'SELECT 1') FROM unnest('{ingest,campaign}'::text[]) name;
	SELECT jobsched.create_job('broken', command => 'SELECT 1 / 0', max_attempts => 1);
	SELECT jobsched.create_job('night', steps => '[{"name": "one", "handler": "app.collect"}]');
	SELECT jobsched.trigger('night');
	SELECT jobsched.trigger_many('broken', '{NULL,NULL}')});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.dead_letters WHERE job_name = 'broken'}, 2, 'two runs can be retried');
my @dead = lines_of(q{SELECT run_id FROM jobsched.dead_letters ORDER BY run_id});

my @rows = map { [ split /\s+\|\s+/, $_ =~ s/^\| | \|$//gr ] } grep { /^\| .*\| `/ } split /\n/, slurp_file("$FindBin::Bin/../../doc/rest.md");
my @routes = grep { @$_ == 3 } @rows;
cmp_ok(scalar @routes, '>', 75, 'doc/rest.md has ' . @routes . ' routes');
is(join(', ', map { $_->[0] } grep { $_->[1] !~ /^`[A-Z].*`$/ || $_->[2] !~ /^`[A-Z].*`$/ } @routes), '', 'with SQL and a request each');
is(scalar(grep { @$_ == 2 && $_->[1] !~ /^`GET \S+\(/ } @rows), 0, 'what has no SQL are rows with other rows');
for my $row (@routes)
{
	my ($route, $sql, $call) = map { s/^`|`$//gr } @$row;

	# run 1 stands for one that has failed
	for ($sql, $call) { s/(retry_run\(|retry_run \{"run_id": )1\b/$1 . shift @dead/e }
	is(error_of($node, $db, $sql, 'app') // '', '', "$route: $sql");
	my ($method, $path, $body) = $call =~ /^(GET|POST|PATCH|DELETE) (\S+)(?: ([{\[].*[}\]]))?$/;
	my $statement = eval { statement_of($method // '', $path // '', $body) };
	is($@, '', "$route: $call is a request") or next;
	$statement = "BEGIN READ ONLY; $statement; COMMIT" if $method eq 'GET';
	is(error_of($node, $db, $statement, 'app') // '', '', "$route: $call is answered");
}

# What the five systems have.
my %served = map { $_->[0] => 1 } @routes;
my $all = join "\n", map { join ' ', @$_ } @routes;
like($all, qr/\b$_\b/, "a route has $_")
	for qw(jobs_with_metadata create_job alter_job drop_job trigger runs upcoming next_runs health queues reset_stuck stop_processing start_processing
	run_stats job_stats error_patterns insights dashboard_summary metrics run_logs attempts retry_run redrive cancel_run workflows steps set_alert set_channel create_hook);

check_log($node, allow => qr/division by zero/);
end_sessions($node);
$node->stop;
done_testing();
