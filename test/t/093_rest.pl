# Copyright (c) 2026, jobsched contributors

# What users of a REST gateway expect.  The statements are those that PostgREST makes
# of requests, and the statuses those that it makes of SQLSTATEs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = http_node('rest', conf => "jobsched.max_workers = 4\n");
my $sink = start_sink($node);
my $url = $sink->{url};
my $json = JSON::PP->new->canonical->allow_nonref;
my $superuser = getpwuid($<) . '';

sub psql { return session_sql($node, $db, $superuser, $_[0]); }
sub app { return session_sql($node, $db, 'app', $_[0]); }

# ------------------------------------------------------------------------
# A gateway
# ------------------------------------------------------------------------

# Of an error, for who has logged in.
sub status_of
{
	my ($error) = @_;
	my ($state) = $error =~ /(?:ERROR|FATAL):  (\w{5}):/ or return $error eq '' ? 200 : 0;

	return $1 if $state =~ /^PT(\d{3})$/;
	return 409 if $state =~ /^2350[35]$/;
	return 405 if $state eq '25006';
	return 403 if $state eq '42501' || $state =~ /^(?:28|0L|0P)/;
	return 404 if $state eq '42883' || $state eq '42P01';
	return 503 if $state =~ /^(?:08|53[0123]|57P01)/;
	return 500 if $state =~ /^(?:09|25|2D|38|39|3B|40|53|54|55|57|58|F0|HV|P000[2-4]|XX|42P17)/;
	return 400;
}

# What is in a body, as rows of columns that a view has.
sub body_of
{
	my ($view, $body) = @_;
	my $decoded = $json->decode($body);
	my %columns = map { %$_ } ref $decoded eq 'ARRAY' ? @$decoded : $decoded;
	my $columns = join ', ', map { "\"$_\"" } sort keys %columns;
	my $types = psql("SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ') FROM pg_attribute
		WHERE attrelid = 'jobsched.$view'::regclass AND attname = ANY ('{" . join(',', keys %columns) . "}') AND attnum > 0");

	return ($columns, qq{(SELECT \$body\$$body\$body\$::json AS json_data) pgrst_payload,
		LATERAL (SELECT CASE WHEN json_typeof(pgrst_payload.json_data) = 'array' THEN pgrst_payload.json_data
			ELSE json_build_array(pgrst_payload.json_data) END AS val) pgrst_uniform_json,
		LATERAL (SELECT $columns FROM json_to_recordset(pgrst_uniform_json.val) AS _($types)) pgrst_body});
}

# The rows that come back.
sub answer
{
	my ($view, $change) = @_;
	return qq{WITH pgrst_source AS ($change RETURNING "jobsched"."$view".*)
		SELECT coalesce(json_agg(_postgrest_t), '[]') FROM (SELECT "$view".* FROM "pgrst_source" AS "$view") _postgrest_t};
}

sub post
{
	my ($view, $body, $conflict) = @_;
	my ($columns, $from) = body_of($view, $body);
	my $given = $columns =~ s/"(\w+)"/"pgrst_body"."$1"/gr;

	return answer($view, qq{INSERT INTO "jobsched"."$view"($columns) SELECT $given FROM $from} . ($conflict // ''));
}

sub patch
{
	my ($view, $where, $body) = @_;
	my ($columns, $from) = body_of($view, $body);
	my $set = join ', ', map { "$_ = \"pgrst_body\".$_" } split /, /, $columns;

	return answer($view, qq{UPDATE "jobsched"."$view" SET $set FROM $from WHERE $where});
}

sub delete_
{
	my ($view, $where) = @_;
	return answer($view, qq{DELETE FROM "jobsched"."$view" WHERE $where});
}

# A call of a function, with arguments from JSON.
sub rpc
{
	my ($function, $body) = @_;
	my %given = %{ $json->decode($body // '{}') };
	my $types = psql("SELECT string_agg(format('%I %s', n, format_type(t, NULL)), ', ') FROM pg_proc, unnest(proargnames[1:pronargs], proargtypes::oid[]) u(n, t)
		WHERE pronamespace = 'jobsched'::regnamespace AND proname = '$function' AND n = ANY ('{" . join(',', keys %given) . "}')");
	my $arguments = join ', ', map { "\"$_\" := pgrst_body.\"$_\"" } sort keys %given;

	return "SELECT * FROM jobsched.$function()" unless %given;
	return "SELECT pgrst_call.* FROM (SELECT \$body\$$body\$body\$::json AS json_data) pgrst_payload,
		LATERAL (SELECT * FROM json_to_record(pgrst_payload.json_data) AS _($types)) pgrst_body,
		LATERAL (SELECT * FROM jobsched.$function($arguments)) pgrst_call";
}

sub rows_of
{
	my ($sql, $role) = @_;
	return $json->decode(sql_as($node, $db, $role // 'app', $sql));
}

# What is wrong with a request is the caller's, and said.
sub refused
{
	my ($sql, $status, $message, $what, $role) = @_;
	my $error = error_of($node, $db, $sql, $role // 'app');

	is(status_of($error), $status, "$what: $status") or diag $error;
	return like($error, $message, "$what: what is said");
}

psql(q{
	CREATE ROLE other LOGIN;
	CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	CREATE ROLE twofold LOGIN IN ROLE app, other;
	CREATE ROLE stranger LOGIN;
	CREATE ROLE service LOGIN BYPASSRLS;
	GRANT USAGE ON SCHEMA jobsched TO other, watcher, twofold, service});
app(q{CREATE FUNCTION app.work(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args'});

# ------------------------------------------------------------------------
# POST, PATCH and DELETE on /jobs
# ------------------------------------------------------------------------

my $rows = rows_of(post('jobs', '{"name": "a", "command": "SELECT 1", "schedule": "0 6 * * *", "metadata": {"b": 7}, "timeout": "5 minutes", "keys": ["k:1"], "retry_delays": ["1 second"]}'));
is(scalar @$rows, 1, 'a job is created by POST');
is("@{$rows->[0]}{qw(name schedule command owner kind state backoff timezone timeout enabled)}", 'a 0 6 * * * SELECT 1 app sql active exponential UTC 00:05:00 1', 'and comes back as it is, with defaults');
is($json->encode([ @{ $rows->[0] }{qw(metadata keys retry_delays)} ]), '[{"b":7},["k:1"],["00:00:01"]]', 'with JSON and lists');
like($rows->[0]->{job_id}, qr/^\d+$/, 'with its id');
isnt($rows->[0]->{next_run_at}, undef, 'and its next run');

$rows = rows_of(post('jobs', '[{"name": "b", "handler": "app.work"}, {"name": "c", "handler": "app.work", "enabled": false}, {"name": "d", "handler": "app.work"}]'));
is(join(' ', map { "$_->{name}:" . ($_->{enabled} ? 'on' : 'off') } @$rows), 'b:on c:off d:on', 'several at once; what only some have is the default of the others');
refused(post('jobs', '[{"name": "e", "handler": "app.work"}, {"name": "a", "handler": "app.work"}]'), 400, qr/42710: job "a" of role "app" already exists/, 'one of several that cannot be');
is(app(q{SELECT count(*) FROM jobsched.jobs WHERE name = 'e'}), '0', 'none of them is there then');

my %nothing = map { $_ => undef } split /\n/, psql(q{SELECT n FROM pg_proc, unnest(proargnames) n WHERE oid = 'jobsched.create_job'::regproc AND EXISTS (
	SELECT FROM pg_attribute WHERE attrelid = 'jobsched.jobs'::regclass AND attname = n)});
$rows = rows_of(post('jobs', $json->encode({ %nothing, name => 'nulls', command => 'SELECT 1' })));
app(q{SELECT jobsched.create_job('plain', command => 'SELECT 1')});
my $compared = q{to_jsonb(j) - '{job_id,name,created_at,updated_at}'::text[]};
is(app("SELECT count(DISTINCT $compared) FROM jobsched.jobs j WHERE name IN ('nulls', 'plain')"), '1', 'null is the default, of every column');

psql('GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
$rows = rows_of(post('jobs', qq({"name": "calls", "request": {"url": "$url/called", "method": "PUT", "headers": {"X-A": "b"}, "body": {"c": [1]}, "connect_timeout": "2 seconds", "success_codes": ["2xx"], "max_redirects": 3}})));
is($rows->[0]->{kind}, 'http', 'a request is an object with the parameters of one');
app(qq{SELECT jobsched.create_job('calls too', url => '$url/called', method => 'PUT', headers => '{"X-A": "b"}', body => '{"c": [1]}', connect_timeout => '2 seconds', success_codes => '{2xx}', max_redirects => 3)});
is(app(q{SELECT count(DISTINCT request) FROM jobsched.jobs WHERE name LIKE 'calls%'}), '1', 'as create_job() makes it');
is(app(q{INSERT INTO jobsched.jobs (name, request) SELECT 'calls again', request FROM jobsched.jobs WHERE name = 'calls' RETURNING request = (SELECT request FROM jobsched.jobs WHERE name = 'calls too')}), 't', 'what the view shows can be written');
$rows = rows_of(post('jobs', '{"name": "steps", "steps": [{"name": "one", "handler": "app.work"}], "after": ["b", "c"]}'));
is($json->encode([ @{ $rows->[0] }{qw(kind after)} ]), '["steps",["b","c"]]', 'steps, and what it comes after');

# PATCH
$rows = rows_of(patch('jobs', q{jobs.name = 'a'}, '{"schedule": "0 7 * * *", "timezone": "Europe/Berlin", "enabled": false}'));
is("@{$rows->[0]}{qw(schedule timezone state command)}", '0 7 * * * Europe/Berlin disabled SELECT 1', 'PATCH changes what it names');
my $before = app(q{SELECT jsonb_build_array(updated_at, state) FROM jobsched.jobs WHERE name = 'a'});
rows_of(patch('jobs', q{jobs.name = 'a'}, '{"schedule": "0 7 * * *"}'));
is(app(q{SELECT jsonb_build_array(updated_at, state) FROM jobsched.jobs WHERE name = 'a'}), $before, 'what is the same already is no change');
$rows = rows_of(patch('jobs', q{jobs.name = 'a'}, '{"schedule": null, "timeout": null, "metadata": null, "keys": null, "retry_delays": null, "enabled": null, "timezone": null, "description": null}'));
is($json->encode([ @{ $rows->[0] }{qw(schedule timeout metadata keys retry_delays timezone enabled)} ]), '[null,null,null,null,null,"UTC",true]', 'null takes away, or makes the default');
$rows = rows_of(patch('jobs', q{jobs.name = 'a'}, '{"handler": "app.work"}'));
is("@{$rows->[0]}{qw(kind handler)}" . ($rows->[0]->{command} // ' none'), 'function app.work none', 'a handler replaces a command');
$rows = rows_of(patch('jobs', q{jobs.name = 'a'}, '{"handler": null, "command": "SELECT 2"}'));
is("@{$rows->[0]}{qw(kind command)}", 'sql SELECT 2', 'and a command a handler');
refused(patch('jobs', q{jobs.name = 'a'}, '{"command": null}'), 400, qr/22023: the job would have no command/, 'a job without work');
refused(patch('jobs', q{jobs.name = 'a'}, '{"name": null}'), 400, qr/22004: name cannot be NULL/, 'a job without a name');
refused(patch('jobs', q{jobs.name = 'a'}, '{"owner": null}'), 400, qr/22004: owner cannot be NULL/, 'a job without an owner');
$rows = rows_of(patch('jobs', q{jobs.name = 'calls'}, qq({"request": {"url": "$url/other"}})));
is($json->encode($rows->[0]->{request}->{headers} // 'none'), '"none"', 'a request is replaced as a whole');
$rows = rows_of(patch('jobs', q{jobs.name = 'steps'}, '{"after": null, "steps": [{"name": "two", "handler": "app.work"}]}'));
is($json->encode([ $rows->[0]->{after}, $rows->[0]->{steps}->[0]->{name} ]), '[null,"two"]', 'steps too; it comes after nothing any more');
$rows = rows_of(patch('jobs', q{jobs.name IN ('b', 'c', 'd')}, '{"description": "several"}'));
is(scalar @$rows, 3, 'several at once');
$rows = rows_of(patch('jobs', q{jobs.name = 'd'}, '{"name": "dd"}'));
is($rows->[0]->{name}, 'dd', 'a job is renamed');
refused(patch('jobs', q{jobs.name = 'dd'}, '{"name": "a"}'), 400, qr/42710: job "a"/, 'but not to a name that is taken');
is($json->encode(rows_of(patch('jobs', q{jobs.name = 'none'}, '{"enabled": false}'))), '[]', 'of what is not there nothing comes back');

app(q{SELECT jobsched.create_job('fails', command => 'SELECT 1 / 0', max_attempts => 1, pause_after_failures => 1)});
app(q{SELECT jobsched.trigger('fails')});
wait_value($node, $db, q{SELECT state FROM jobsched.jobs WHERE name = 'fails'}, 'paused', 'a job is paused after a failure');
rows_of(patch('jobs', q{jobs.name = 'fails'}, '{"metadata": {"x": 1}}'));
is(app(q{SELECT state FROM jobsched.jobs WHERE name = 'fails'}), 'paused', 'and stays so with other metadata');

# What cannot be written.
for my $column (split /\n/, psql(q{SELECT attname FROM pg_attribute WHERE attrelid = 'jobsched.jobs'::regclass AND attnum > 0 AND attname NOT IN ('request', 'steps', 'after')
	AND attname <> ALL ((SELECT proargnames FROM pg_proc WHERE oid = 'jobsched.create_job'::regproc)::text[])}))
{
	my $type = psql("SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'jobsched.jobs'::regclass AND attname = '$column'");
	my $value = $type eq 'text' ? 'x' : $type =~ /^timestamp/ ? '2027-01-01T00:00:00Z' : $type eq 'interval' ? '1 hour' : $type eq 'text[]' ? ['x'] : 77;

	refused(post('jobs', $json->encode({ name => 'x', command => 'SELECT 1', $column => $value })), 400, qr/428C9: column "$column" of view "jobs" cannot be written.*HINT/s, "POST of $column");
	refused(patch('jobs', q{jobs.name = 'a'}, $json->encode({ $column => $value })), 400, qr/428C9: column "$column"/, "PATCH of $column");
}
refused(post('jobs', '{"name": "x"}'), 400, qr/22023: no command/, 'POST without work');
refused(post('jobs', '{"command": "SELECT 1"}'), 400, qr/22004: name/, 'POST without a name');
refused(post('jobs', '{"name": "x", "command": "SELECT ("}'), 400, qr/42601/, 'POST of a command that does not parse');
refused(post('jobs', '{"name": "x", "request": []}'), 400, qr/22023: request must be/, 'POST of a request that is none');
refused(post('jobs', '{"name": "x", "request": {"url": "http://x.example", "uri": 1}}'), 400, qr/22023: invalid key "uri" in request/, 'POST of a request with something unknown');
refused(post('jobs', '{"name": "x", "request": {"url": ["http://x.example"]}}'), 400, qr/22023: invalid url/, 'POST of a request with a value of another type');
for my $none ('{}', '{"url": null}', '{"method": "PUT"}')
{
	refused(post('jobs', qq({"name": "x", "request": $none})), 400, qr/22023: request has no url.*HINT/s, "POST of request $none");
	refused(patch('jobs', "jobs.name = '$_'", qq({"request": $none})), 400, qr/22023: request has no url/, "PATCH of $_ to $none") for qw(calls a);
}
refused(post('jobs', '{"name": "x", "request": {"url": "http://x.example", "connect_timeout": 99999999999}}'), 400, qr/22023: invalid connect_timeout in request: 99999999999 milliseconds.*HINT/s, 'POST of a long time');
refused(post('jobs', '{"name": "channel:x", "command": "SELECT 1"}'), 400, qr/42939/, 'POST of a channel');
refused(post('jobs', '{"name": "x", "command": "SELECT 1", "owner": "other"}'), 403, qr/42501/, 'POST for another role');
refused(patch('jobs', q{jobs.name = 'a'}, '{"owner": "other"}'), 403, qr/42501/, 'PATCH to another role');
refused(post('jobs', '{"name": "x", "command": "SELECT 1", "owner": "nobody at all"}'), 400, qr/42704/, 'POST for nobody');
for my $conflict (' ON CONFLICT("name") DO UPDATE SET "name" = EXCLUDED."name"', ' ON CONFLICT("job_id") DO UPDATE SET "name" = EXCLUDED."name"')
{
	refused(post('jobs', '{"name": "a", "command": "SELECT 3"}', $conflict), 400, qr/ERROR:  \w+: /, 'an upsert');
}
is(app(q{SELECT command FROM jobsched.jobs WHERE name = 'a'}), 'SELECT 2', 'changes nothing');
app(rpc('create_job', '{"name": "a", "command": "SELECT 3", "if_exists": "update"}'));
is(app(q{SELECT command FROM jobsched.jobs WHERE name = 'a'}), 'SELECT 3', 'create_job() does that');
is(status_of(error_of($node, $db, 'BEGIN READ ONLY; ' . post('jobs', '{"name": "x", "command": "SELECT 1"}'), 'app')), 405, 'nothing is written in a GET');

# Rights are those of whoever writes.
is($json->encode(rows_of(patch('jobs', q{jobs.name = 'a'}, '{"enabled": false}'), 'other')), '[]', 'of others there is nothing to change');
is($json->encode(rows_of(delete_('jobs', 'true'), 'other')), '[]', 'nor to delete');
refused(patch('jobs', q{jobs.name = 'a'}, '{"enabled": false}'), 403, qr/42501: permission denied for job "a".*HINT/s, 'who may only watch', 'watcher');
refused(delete_('jobs', q{jobs.name = 'a'}), 403, qr/42501: permission denied for job "a"/, 'who may only watch cannot delete', 'watcher');
refused(post('jobs', '{"name": "x", "command": "SELECT 1"}'), 403, qr/42501: permission denied for schema jobsched/, 'who has no USAGE', 'stranger');
rows_of(patch('jobs', q{jobs.name = 'a'}, '{"enabled": false}'), 'twofold');
is(app(q{SELECT enabled FROM jobsched.jobs WHERE name = 'a'}), 'f', 'who has the privileges of the owner can');
$rows = rows_of(post('jobs', '{"name": "theirs", "command": "SELECT 1", "owner": "other"}'), 'twofold');
is($rows->[0]->{owner}, 'other', 'and create a job for him');

# The trigger is of this view: it takes values for what they are here, and rows for what has been seen.
psql('CREATE ROLE reader LOGIN IN ROLE pg_read_all_data; CREATE SCHEMA reader AUTHORIZATION reader');
for my $function (qw(write_job refuse_write))
{
	like(error_of($node, $db, qq{CREATE VIEW reader.$function AS SELECT 1::bigint AS job_id, 'x' AS name, 0::bigint AS command;
		CREATE TRIGGER t INSTEAD OF INSERT OR UPDATE OR DELETE ON reader.$function FOR EACH ROW EXECUTE FUNCTION jobsched_internal.$function()}, 'reader'),
		qr/42501: permission denied for function/, "who can use every schema has no trigger $function");
}
psql(q{CREATE SCHEMA forged; CREATE VIEW forged.jobs AS SELECT 1::bigint AS job_id, 'x' AS name, 1::bigint AS command;
	CREATE TRIGGER t INSTEAD OF INSERT OR UPDATE OR DELETE ON forged.jobs FOR EACH ROW EXECUTE FUNCTION jobsched_internal.write_job()});
for my $sql (q{INSERT INTO forged.jobs (name, command) VALUES ('x', 81985529216486895)}, q{UPDATE forged.jobs SET command = 2}, 'DELETE FROM forged.jobs')
{
	like(error_of($node, $db, $sql, $superuser), qr/39P01: "jobs" is not view jobs/, "of another view: $sql");
}

# Which runs leave a row, and for how long.
$rows = rows_of(post('jobs', '{"name": "kept", "command": "SELECT 1", "keep": "failures", "keep_for": "2 days"}'));
is("@{$rows->[0]}{qw(keep keep_for)}", 'failures 48:00:00', 'POST of keep') or diag $json->encode($rows);
$rows = rows_of(patch('jobs', q{jobs.name = 'kept'}, '{"keep": null, "keep_for": null}'));
is($json->encode([ @{ $rows->[0] }{qw(keep keep_for)} ]), '["all",null]', 'PATCH to the default');
refused(patch('jobs', q{jobs.name = 'kept'}, '{"keep": "some"}'), 400, qr/22023: invalid keep "some".*HINT/s, 'PATCH of another word');
refused(patch('jobs', q{jobs.name = 'kept'}, '{"keep_for": "1 month"}'), 400, qr/22023: keep_for "1 mon" has no fixed length.*HINT/s, 'PATCH of a month');
rows_of(delete_('jobs', q{jobs.name = 'kept'}));

# Two at once: what one has not named stays as the other has made it.
my $first = $node->background_psql($db, extra_params => [ '-U', 'app' ]);
my $second = $node->background_psql($db, extra_params => [ '-U', 'app' ]);
$first->query_safe(q{BEGIN; UPDATE jobsched.jobs SET description = 'first' WHERE name = 'b'});
$second->query_until(qr/begun/, qq{\\echo begun\nUPDATE jobsched.jobs SET schedule = '0 8 * * *' WHERE name = 'b';\n});
wait_until($node, $db, q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted}, 'the second waits for the first');
$first->query_safe('COMMIT');
$second->query_safe('SELECT 1');
is(app(q{SELECT description, schedule FROM jobsched.jobs WHERE name = 'b'}), 'first|0 8 * * *', 'both changes are there');
$first->query_safe(q{BEGIN; DELETE FROM jobsched.jobs WHERE name = 'c'});
$second->query_until(qr/begun/, qq{\\echo begun\nUPDATE jobsched.jobs SET schedule = '0 8 * * *' WHERE name = 'c' RETURNING 'changed';\n});
wait_until($node, $db, q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted}, 'the second waits for a DELETE');
$first->query_safe('COMMIT');
unlike($second->query_safe('SELECT 1'), qr/changed/, 'and finds nothing to change');
$_->quit for $first, $second;

# DELETE
$rows = rows_of(delete_('jobs', q{jobs.name IN ('dd', 'nulls')}));
is(join(' ', sort map { $_->{name} } @$rows), 'dd nulls', 'DELETE drops jobs, and shows them');
is(app(q{SELECT count(*) FROM jobsched.jobs WHERE name IN ('c', 'dd', 'nulls')}), '0', 'they are gone');
refused(delete_('jobs', q{jobs.name = 'channel:tell'}), 400, qr/JS055: job "channel:tell" is a channel/, 'a channel is deleted elsewhere')
	if app(q{SELECT jobsched.set_channel('tell', 'notify'); SELECT 1});
is(app("BEGIN; INSERT INTO jobsched.jobs (name, command) VALUES ('undone', 'SELECT 1'); ROLLBACK; SELECT count(*) FROM jobsched.jobs WHERE name = 'undone'"), '0', 'a change is of its transaction');

# Other views.
for my $view (split /\n/, psql(q{SELECT relname FROM pg_class WHERE relnamespace = 'jobsched'::regnamespace AND relkind = 'v' AND relname <> 'jobs' ORDER BY 1}))
{
	my $column = psql("SELECT attname FROM pg_attribute WHERE attrelid = 'jobsched.$view'::regclass AND attnum = 1");

	for my $sql ("INSERT INTO jobsched.$view DEFAULT VALUES", "UPDATE jobsched.$view SET \"$column\" = \"$column\"", "DELETE FROM jobsched.$view")
	{
		refused($sql, 403, qr/42501: permission denied for view $view/, $sql);
	}
	refused("INSERT INTO jobsched.$view DEFAULT VALUES", 400, qr/42809: view "$view" cannot be written.*HINT/s, "view $view, by a superuser", $superuser);
}

# ------------------------------------------------------------------------
# Whose mistake it is
# ------------------------------------------------------------------------

my $succeeded = app(q{SELECT jobsched.trigger('b')});
is(end_of($node, $db, $succeeded, 'status'), 'succeeded', 'a run has succeeded');
app(q{SELECT jobsched.create_job('often', '* * * * *', 'SELECT 1', enabled => false), jobsched.create_hook('signed', 'b', verify => 'github', secret => 'key')})
	if app(q{SELECT jobsched.set_secret('key', 'long enough'); SELECT 1});
my $large = '{"a": "' . 'x' x 2_000_000 . '"}';
for my $mistake (
	[ 'retry_run', qq({"run_id": $succeeded}), 'JS055', 'a retry of a run that has succeeded' ],
	[ 'retry_run', qq({"run_id": $succeeded, "from_step": ["a"]}), 'JS055', 'a retry of steps that there are not' ],
	[ 'retry_run', '{"run_id": -1}', '42704', 'a retry of a run that is not there' ],
	[ 'skip_step', qq({"run_id": $succeeded, "step": "a"}), 'JS055', 'a step of a run without any' ],
	[ 'event_token', qq({"name": "e", "run_id": $succeeded}), 'JS055', 'a token for a run that has ended' ],
	[ 'backfill', '{"job": "b2", "from": "2027-01-01", "to": "2027-01-02"}', '42704', 'a backfill of a job that is not there' ],
	[ 'backfill', '{"job": "plain", "from": "2020-01-01", "to": "2020-01-02"}', 'JS055', 'a backfill without a schedule' ],
	[ 'backfill', '{"job": "often", "from": "2020-01-01", "to": "2020-02-01", "max": 10}', 'JS054', 'a backfill of too many' ],
	[ 'backfill', '{"job": "often", "from": null, "to": "2020-02-01"}', '22004', 'a backfill from never' ],
	[ 'trigger', '{"job": "b", "child": true}', 'JS055', 'a child of nothing' ],
	[ 'trigger', '{"job": "http"}', 'JS055', 'a request that is none' ],
	[ 'trigger', '{"job": "b", "wait_for": [' . join(', ', map { "\"$_\"" } 1 .. 101) . ']}', 'JS054', 'too many events' ],
	[ 'trigger', '{"job": "b", "args": []}', '22023', 'args that are none' ],
	[ 'trigger', '{}', '22004', 'no job' ],
	[ 'trigger_many', '{"job": "b"}', '22004', 'no args' ],
	[ 'trigger_batch', '{"job": "b"}', '22004', 'no args of a batch' ],
	[ 'set_job_metadata', qq({"job": "b", "metadata": $large}), 'JS054', 'metadata that are too large' ],
	[ 'rotate_hook', '{"name": "signed"}', 'JS055', 'a hook without a token' ],
	[ 'create_hook', '{"name": "v", "job": "b", "verify": "github", "secret": "vault.x"}', 'JS055', 'a vault that is not there' ],
	[ 'set_alert', '{"name": "x", "channels": [' . join(', ', map { "\"$_\"" } 1 .. 11) . ']}', 'JS054', 'too many channels' ],
	[ 'drop_job', '{"job": "channel:tell"}', 'JS055', 'a channel dropped as a job' ],
	[ 'create_job', '{"name": "x", "command": "SELECT 1", "after": [' . join(', ', map { "\"$_\"" } 1 .. 101) . ']}', 'JS054', 'too many jobs to come after' ],
	[ 'create_job', '{"name": "x", "handler": "app.none"}', '42883', 'a handler that is not there' ],
	[ 'http_request', qq({"method": "GET", "url": "$url", "headers": {) . join(', ', map { "\"X-$_\": \"\"" } 1 .. 101) . '}}', 'JS054', 'too many headers' ],
	[ 'discard', '{"reason": "x"}', 'JS001', 'discard() outside a run' ],
	[ 'receive', '{"hook": "none", "body": ""}', 'PT401', 'a hook that is not there' ])
{
	my ($function, $body, $code, $what) = @$mistake;
	my $error = error_of($node, $db, $body eq '{}' ? "SELECT * FROM jobsched.$function()" : rpc($function, $body), 'app');

	like($error, qr/ERROR:  $code: /, "$what is $code");
	my $status = status_of($error);
	ok($status >= 400 && $status < 500, "and $status");
}
is(app(rpc('cancel_run', qq({"run_id": $succeeded}))), 'f', 'a cancel of a run that has ended is no error');

# No error of ours that a caller causes, and none that the manual tells of, is in a class that
# gateways take for a failure of the server.
my $root = "$FindBin::Bin/../..";
my @documented = slurp_file("$root/doc/reference.md") =~ /^- (.*)$/mg;
is(join(', ', grep { /^(?:53|54|55|57|58|XX|25|2D|39)\w{3} / && !/^57014 (?:the time|what unwinds)|^25001|^25006|^2D000/ } @documented), '', 'the reference names none');
my @classes = map { "ERRCODE_$_" } qw(PROGRAM_LIMIT_EXCEEDED OBJECT_NOT_IN_PREREQUISITE_STATE OBJECT_IN_USE INSUFFICIENT_RESOURCES CONFIGURATION_LIMIT_EXCEEDED
	QUERY_CANCELED INTERNAL_ERROR DATA_CORRUPTED LOCK_NOT_AVAILABLE STATEMENT_TOO_COMPLEX TOO_MANY_ARGUMENTS SYSTEM_ERROR IO_ERROR);
# What none of them causes: waits that are over, states of the server, damage.
my %others = map { $_ => 1 } ('src/api/wait.c ERRCODE_QUERY_CANCELED', 'src/api/wait.c ERRCODE_CONFIGURATION_LIMIT_EXCEEDED', 'src/api/utility_hook.c ERRCODE_OBJECT_IN_USE',
	'src/http/hook_verify.c ERRCODE_INTERNAL_ERROR', 'src/store/store_run.c ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE', 'src/store/store_run.c ERRCODE_LOCK_NOT_AVAILABLE',
	'src/store/store_identity.c ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE', 'src/run/row_json.c ERRCODE_DATA_CORRUPTED', 'src/run/step_runs.c ERRCODE_DATA_CORRUPTED',
	'src/run/procedure.c ERRCODE_QUERY_CANCELED', 'src/run/procedure.c ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE', 'src/run/carry.c ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE',
	'src/run/undo_runs.c ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE', 'src/run/retry.c ERRCODE_QUERY_CANCELED');
my %found;
for my $file (map { s{^\Q$root\E/}{}r } glob("$root/src/{api,base,http,run,store}/*.c"))
{
	my $code = slurp_file("$root/$file");

	$found{"$file $1"} = 1 while $code =~ /errcode\((ERRCODE_\w+)\)/g;
}
cmp_ok(scalar keys %found, '>', 50, 'the sources have errors');
is(join(', ', sort grep { my ($file, $code) = split / /; (grep { $_ eq $code } @classes) && !$others{$_} } keys %found), '', 'and none of these but what no caller causes');

# ------------------------------------------------------------------------
# JSON null is the default
# ------------------------------------------------------------------------

my $waits = app(q{SELECT jobsched.trigger('b', run_at => '2099-01-01')});
my %calls = (
	create_job => q{name => 'null', command => 'SELECT 1'}, alter_job => q{job => 'plain'}, set_job_metadata => q{job => 'plain', metadata => '{}'}, drop_job => q{job => 'plain'},
	pause_job => q{job => 'plain'}, resume_job => q{job => 'plain'}, explain_steps => q{job => 'steps'}, trigger => q{job => 'b'}, trigger_many => q{job => 'b', args => '{NULL}'},
	trigger_batch => q{job => 'b', args => '{NULL}'}, backfill => q{job => 'often', "from" => now() - interval '1 hour', "to" => now()}, cancel_run => "run_id => $waits",
	cancel_runs => q{status => 'queued'}, redrive => q{job => 'fails'}, retry_run => '', send_event => q{name => 'e'}, event_token => "name => 'e', run_id => $waits",
	http_request => "method => 'GET', url => '$url'", (map { $_ => "url => '$url'" } qw(http_get http_post http_put http_patch http_delete)),
	set_queue => q{name => 'q'}, drop_queue => q{name => 'there'}, set_limit => q{key_class => 'c'}, drop_limit => q{key_class => 'there'}, set_secret => q{name => 's', value => 'long enough'},
	drop_secret => q{name => 'key'}, create_hook => q{name => 'null', job => 'b'}, rotate_hook => q{name => 'there'}, set_channel => q{name => 'null', kind => 'notify'},
	drop_channel => q{name => 'there'}, test_channel => q{name => 'tell'}, set_alert => q{name => 'null', channels => '{tell}'}, mute_alert => q{name => 'there', until => NULL},
	drop_alert => q{name => 'there'}, next_runs => q{schedule => '@daily'}, explain_schedule => q{schedule => '@daily'}, error_patterns => q{job => 'b'}, dead_letter_groups => q{job => 'b'}, metrics => q{format => 'openmetrics'}, run_totals => q{"from" => now() - interval '1 day', "to" => now(), bucket => '1 hour'}, run_stats => q{"from" => now() - interval '1 day', "to" => now(), bucket => '1 hour'}, stat_reset => q{job => 'b'}, receive => '', receive_event => '', snooze => q{delay => '1 s'},
	progress => q{done => 1}, step_result => q{step => 'a'}, step_results => '', wait_run => '', http_step => '', await_event => '');
app(q{SELECT jobsched.set_queue('there', 1), jobsched.set_limit('there', 1), jobsched.create_hook('there', 'b') IS NULL, jobsched.set_channel('there', 'notify'), jobsched.set_alert('there', '{tell}')});
for my $line (split /\n/, psql(q{SELECT proname || ' ' || n || ' ' || COALESCE(pg_get_function_arg_default(p.oid, i::integer), '') FROM pg_proc p, unnest(proargnames[1:pronargs]) WITH ORDINALITY u(n, i)
	WHERE pronamespace = 'jobsched'::regnamespace AND i > pronargs - pronargdefaults AND prokind = 'f' ORDER BY proname, i}))
{
	my ($function, $parameter, $default) = split / /, $line, 3;
	my $call = $calls{$function};

	if (!defined $call)
	{
		fail("$function() is called with NULL");
		next;
	}
	next if $call eq '' || $call =~ /(?:^|, )"?$parameter"? =>/;
	is(error_of($node, $db, "BEGIN; SELECT jobsched.$function($call, \"$parameter\" => NULL); ROLLBACK", 'app'), '', "$function($parameter => NULL) is as its default $default");
}
# And does what that does.
sub same
{
	my ($what, $left, $right, $of) = @_;
	my @got = map { app("BEGIN; DO \$x\$ BEGIN PERFORM $_; END \$x\$; SELECT $of; ROLLBACK") } $left, $right;

	return is($got[0], $got[1], "$what: the same") && isnt($got[0], '', "$what: something");
}
same('create_hook', q{jobsched.create_hook('same', 'b', rate => NULL, max_size => NULL, tolerance => NULL, verify => NULL)}, q{jobsched.create_hook('same', 'b')}, q{to_jsonb(h) - '{created_at,updated_at}'::text[] FROM jobsched.hooks h WHERE name = 'same'});
same('set_alert', q{jobsched.set_alert('same', '{tell}', jobs => NULL, on_status => NULL, threshold => NULL, every_failure => NULL, group_for => NULL, resolved => NULL, owner => NULL)}, q{jobsched.set_alert('same', '{tell}')},
	q{to_jsonb(a) - '{created_at,updated_at}'::text[] FROM jobsched.alerts a WHERE name = 'same'});
same('next_runs', '1', '1', q{jsonb_agg(r) FROM jobsched.next_runs('@daily', NULL, NULL, NULL) r});
is(app(q{SELECT count(*) FROM jobsched.next_runs('@daily', n => NULL)}), '5', 'five runs');
same('send_event', q{jobsched.send_event('same', keep => NULL)}, q{jobsched.send_event('same')}, q{expires_at - sent_at FROM jobsched.events WHERE name = 'same'});
is(app(q{SELECT count(*) FROM jobsched.backfill('often', now() - interval '10 minutes', now(), dry_run => NULL, max => NULL) WHERE run_id IS NOT NULL}), '10', 'a backfill is not dry');
app(q{SELECT jobsched.cancel_runs('often')});
is(app("SELECT jobsched.cancel_run($waits, NULL)"), 't', 'a run is cancelled, not by force');
is(app(q{SELECT count(*) FROM jobsched.redrive('fails', NULL, NULL)}), '1', 'a dead letter is taken, however old');
app(qq{SELECT jobsched.http_post('$url/null', body => NULL)});
is((wait_requests($sink, 1, qr{^/null}))[0]->{body}, '{}', 'http_post() has a body');

# ------------------------------------------------------------------------
# Which job
# ------------------------------------------------------------------------

app(q{SELECT jobsched.create_job('same', command => 'SELECT 1')});
sql_as($node, $db, 'other', q{SELECT jobsched.create_job('same', '* * * * *', 'SELECT 1', enabled => false)});
my ($mine, $theirs) = split /\|/, psql(q{SELECT min(job_id) FILTER (WHERE owner = 'app'), min(job_id) FILTER (WHERE owner = 'other') FROM jobsched.jobs WHERE name = 'same'});
refused(rpc('trigger', '{"job": "same"}'), 400, qr/42P08: job name "same" is not unique.*job_id/s, 'a name of two', 'twofold');
for my $given ('"job": "same", "owner": "other"', "\"job_id\": $theirs")
{
	my $run = sql_as($node, $db, 'twofold', rpc('trigger', "{$given}"));

	is(psql("SELECT owner, job_id FROM jobsched.runs WHERE run_id = $run"), "other|$theirs", "$given is that job");
	is(sql_as($node, $db, 'twofold', 'SELECT count(*) FROM (' . rpc('trigger_many', "{$given, \"args\": [{}, {}]}") . ') x'), '2', '... for trigger_many()');
	like(sql_as($node, $db, 'twofold', rpc('trigger_batch', "{$given, \"args\": [{}]}")), qr/^\d+$/, '... for trigger_batch()');
	is(sql_as($node, $db, 'twofold', 'SELECT count(*) FROM (' . rpc('backfill', "{$given, \"from\": \"2020-01-01T00:00:00Z\", \"to\": \"2020-01-01T00:03:00Z\"}") . ') x'), '3', '... for backfill()');
	sql_as($node, $db, 'twofold', rpc('pause_job', "{$given, \"reason\": \"x\"}"));
	is(psql("SELECT string_agg(state, ' ' ORDER BY job_id) FROM jobsched.jobs WHERE name = 'same'"), 'active paused', '... for pause_job()');
	sql_as($node, $db, 'twofold', rpc('resume_job', "{$given}"));
	is(psql("SELECT state FROM jobsched.jobs WHERE job_id = $theirs"), 'disabled', '... for resume_job()');
	my $metadata = $given =~ /job_id/ ? "\"job\": null, $given" : $given;
	sql_as($node, $db, 'twofold', rpc('set_job_metadata', "{$metadata, \"metadata\": {\"a\": 1}}"));
	is(psql("SELECT metadata FROM jobsched.jobs WHERE job_id = $theirs"), '{"a": 1}', '... for set_job_metadata()');
	like(sql_as($node, $db, 'twofold', rpc('cancel_runs', "{$given}")), qr/^\d+$/, '... for cancel_runs()');
	is(sql_as($node, $db, 'twofold', rpc('stat_reset', "{$given}")), '', '... for stat_reset()');
	is(sql_as($node, $db, 'twofold', rpc('redrive', "{$given}")), '', '... for redrive()');
	refused(rpc('explain_steps', "{$given}"), 400, qr/42809: job "same" is not made of steps/, '... for explain_steps()', 'twofold');
	for my $function (qw(trigger backfill pause_job resume_job drop_job explain_steps redrive cancel_runs stat_reset))
	{
		my $more = $function eq 'backfill' ? ', "from": "2020-01-01", "to": "2020-01-02"' : '';

		refused(rpc($function, "{$given$more}"), 400, qr/42704: job .* does not exist/, "$function() of what is another's");
	}
}
sql_as($node, $db, 'twofold', "SELECT jobsched.alter_job(job_id => $theirs, description => 'by id')");
is(psql("SELECT count(*) FROM jobsched.jobs WHERE description = 'by id' AND job_id = $theirs"), '1', 'alter_job() takes the id');
refused(rpc('trigger', "{\"job\": \"same\", \"job_id\": $mine}"), 400, qr/22023: job_id is given with job/, 'name and id');
refused(rpc('trigger', "{\"owner\": \"app\", \"job_id\": $mine}"), 400, qr/22023: job_id is given with owner/, 'owner and id');
refused(rpc('trigger', '{"owner": "app"}'), 400, qr/22004: job cannot be NULL/, 'an owner alone');
refused(rpc('cancel_runs', '{"owner": "app"}'), 400, qr/22004: job cannot be NULL/, 'an owner of no job');
refused(rpc('stat_reset', '{"owner": "app"}'), 400, qr/22004: job cannot be NULL/, 'nor the statistics of all of them');
refused(rpc('trigger', '{"job": "same", "owner": "nobody at all"}'), 400, qr/42704/, 'an owner that is not there');
my $step = psql(q{SELECT job_id FROM jobsched_internal.job WHERE step = 'two' LIMIT 1});
refused(rpc('trigger', "{\"job_id\": $step}"), 400, qr/42704: job $step does not exist/, 'a step is no job');
refused(rpc('trigger', '{"job_id": 999999999999}'), 400, qr/42704: job 999999999999 does not exist/, 'an id of nothing');
like(app(rpc('trigger', '{"job": "same", "owner": null, "job_id": null, "args": null, "run_at": null, "child": null}')), qr/^\d+$/, 'nulls say nothing');
sql_as($node, $db, 'twofold', rpc('drop_job', "{\"job_id\": $theirs}"));
is(psql(q{SELECT string_agg(owner, ',') FROM jobsched.jobs WHERE name = 'same'}), 'app', 'drop_job() drops that one');

# ------------------------------------------------------------------------
# A header that anybody sends
# ------------------------------------------------------------------------

for my $bad ('00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', 'nonsense', '00-' . 'f' x 1000, "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", '')
{
	my $run = sql_as($node, $db, 'app', "BEGIN; SELECT set_config('jobsched.traceparent', '$bad', true) \\g /dev/null\nSELECT jobsched.trigger('b'); COMMIT");

	is(psql("SELECT count(*) FROM jobsched_internal.run WHERE run_id = $run AND traceparent IS NOT NULL"), '0', 'a malformed traceparent is ignored: ' . substr($bad, 0, 60));
}
is(app(q{SET jobsched.traceparent = 'nonsense'; SHOW jobsched.traceparent; RESET jobsched.traceparent}), '', 'it is as none');

# ------------------------------------------------------------------------
# GET
# ------------------------------------------------------------------------

for my $call ('health()', q{next_runs('@daily')}, q{explain_schedule('@daily')}, q{explain_steps('steps')}, q{jobs_with_metadata('{}')}, "workflow_graph($succeeded)", q{hook_wrapper('there', 'app')}, 'run_id()', 'upstream()')
{
	my ($function) = $call =~ /^(\w+)/;

	is(psql("SELECT provolatile FROM pg_proc WHERE pronamespace = 'jobsched'::regnamespace AND proname = '$function'"), 's', "$function() only reads");
	is(error_of($node, $db, "BEGIN READ ONLY; SELECT * FROM jobsched.$call", 'app'), '', 'in a transaction for reading');
}

# ------------------------------------------------------------------------
# Rows and what belongs to them
# ------------------------------------------------------------------------

# GET /runs?select=run_id,job(name,metadata)&order=run_id&limit=1
$rows = rows_of(qq{SELECT coalesce(json_agg(_postgrest_t), '[]') FROM (
	SELECT "jobsched"."runs"."run_id", row_to_json("runs_job_1".*)::jsonb AS "job" FROM "jobsched"."runs"
	LEFT JOIN LATERAL (SELECT "job_1"."name", "job_1"."handler" FROM "jobsched"."job"("runs") AS "job_1") AS "runs_job_1" ON TRUE
	WHERE "jobsched"."runs"."run_id" = $succeeded LIMIT 1) _postgrest_t});
is($json->encode($rows), qq([{"job":{"handler":"app.work","name":"b"},"run_id":$succeeded}]), 'a run with its job');
# GET /jobs?select=name,runs(run_id)&name=eq.b&runs.order=run_id.desc&runs.limit=1
$rows = rows_of(q{SELECT coalesce(json_agg(_postgrest_t), '[]') FROM (
	SELECT "jobsched"."jobs"."name", COALESCE("jobs_runs_1"."jobs_runs_1", '[]') AS "runs" FROM "jobsched"."jobs"
	LEFT JOIN LATERAL (SELECT json_agg("jobs_runs_1")::jsonb AS "jobs_runs_1" FROM (SELECT "runs_1"."run_id" FROM "jobsched"."runs"("jobs") AS "runs_1" ORDER BY "runs_1"."run_id" LIMIT 1) AS "jobs_runs_1") AS "jobs_runs_1" ON TRUE
	WHERE "jobsched"."jobs"."name" = 'b') _postgrest_t});
is($json->encode($rows), qq([{"name":"b","runs":[{"run_id":$succeeded}]}]), 'a job with a run');
is(psql(q{SELECT string_agg(concat_ws(' ', proname, proretset, prorows, provolatile), ', ' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'jobsched'::regnamespace AND proargtypes[0] IN (SELECT reltype FROM pg_class WHERE relnamespace = 'jobsched'::regnamespace)}),
	'job t 1 s, runs t 1000 s', 'a relation to one, and one to many, as PostgREST tells');
unlike(app("EXPLAIN SELECT r.run_id, j.name FROM jobsched.runs r LEFT JOIN LATERAL jobsched.job(r) j ON true WHERE r.run_id = $succeeded"), qr/Function Scan on job/, 'it is put into the query');
is(sql_as($node, $db, 'other', "SELECT count(*) FROM jobsched.runs r, jobsched.job(r) WHERE r.job_id = $mine"), '0', 'others see nothing by it');

# ------------------------------------------------------------------------
# Who sees what
# ------------------------------------------------------------------------

is(sql_as($node, $db, 'service', q{SELECT (SELECT count(*) FROM jobsched.jobs) || ' ' || (SELECT count(*) FROM jobsched.runs)}), '0 0', 'BYPASSRLS alone shows nothing of others');
psql('GRANT pg_monitor TO service');
cmp_ok(sql_as($node, $db, 'service', 'SELECT count(*) FROM jobsched.runs'), '>', 10, 'as a member of pg_monitor it watches all');
psql('REVOKE pg_monitor FROM service; GRANT app, other TO service');
is(sql_as($node, $db, 'service', 'SELECT count(*) FROM jobsched.jobs'), psql(q{SELECT count(*) FROM jobsched.jobs WHERE owner IN ('app', 'other')}), 'as a member of owners it sees theirs');

# A gateway lists what is granted to a role or to everybody, and does not look at the schema.
my $page = slurp_file("$root/doc/rest.md");
my ($hide) = $page =~ /```sql\n(REVOKE .*?)```/s or die 'doc/rest.md does not say how to hide';
my $listed = q{SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = 'jobsched'::regnamespace AND has_function_privilege('%1$s', oid, 'EXECUTE'))
	+ (SELECT count(*) FROM pg_class WHERE relnamespace = 'jobsched'::regnamespace AND relkind = 'v' AND has_table_privilege('%1$s', oid, 'SELECT, INSERT, UPDATE, DELETE'))};
is(error_of($node, $db, 'SELECT 1 FROM jobsched.jobs', 'stranger') =~ /permission denied for schema/ ? 'refused' : 'seen', 'refused', 'without USAGE there is nothing to see');
psql($hide =~ s/\bweb_user\b/app/gr);
is(psql(sprintf $listed, 'stranger'), '0', 'and nothing is listed if it is revoked from everybody');
cmp_ok(psql(sprintf $listed, 'app'), '>', 80, 'those that it is granted to have all');
is(status_of(error_of($node, $db, post('jobs', '{"name": "after", "command": "SELECT 1"}'), 'app')), 200, 'and work as before');
is(end_of($node, $db, app(q{SELECT jobsched.trigger('after')}), 'status'), 'succeeded', 'their jobs too');
is(psql(q{SELECT has_function_privilege('other', 'jobsched.http_request'::regproc, 'EXECUTE')}), 'f', 'nobody may make requests by that');

end_sessions($node);
check_log($node, allow => qr/division by zero/);
done_testing();
