# Copyright (c) 2026, jobsched contributors

# Who is behind a run: what one role has written is never executed as another,
# whatever becomes of roles, owners and databases; and the session of a job is
# that of its owner.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = http_node('identity', conf => "jobsched.worker_idle_timeout = '200ms'\n");
my $sink = start_sink($node);
my $url = $sink->{url};
my $dir = PostgreSQL::Test::Utils::tempdir();

sub psql
{
	my ($sql) = @_;
	return $node->safe_psql($db, $sql);
}

sub as
{
	my ($role, $sql) = @_;
	return sql_as($node, $db, $role, $sql);
}

sub ended
{
	my ($run_id, $columns) = @_;
	return end_of($node, $db, $run_id, $columns);
}

psql(q{
	CREATE ROLE old LOGIN; CREATE ROLE new LOGIN; CREATE ROLE mgr LOGIN CREATEROLE; CREATE ROLE nobody LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC;
	GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO old, new;
	CREATE SCHEMA work; GRANT ALL ON SCHEMA work TO PUBLIC;
	CREATE TABLE work.done (as_role text DEFAULT current_user, what text);
	GRANT INSERT, SELECT ON work.done TO PUBLIC});

# ------------------------------------------------------------------------
# The session is the owner's session
# ------------------------------------------------------------------------

sub weak_password
{
	my ($name, $refused) = @_;
	my $run_id = as('mgr', q{SELECT jobsched.trigger('mk')});
	my $seen = ended($run_id, 'status, sqlstate, error');

	is($seen, $refused ? 'failed|22023|password is too short' : 'succeeded||', $name);
	psql('DROP ROLE IF EXISTS weak');
	wait_until($node, $db, q{SELECT count(*) = 0 FROM jobsched.workers}, 'its worker has gone');
	return;
}

as('mgr', q{SELECT jobsched.create_job('mk', command => $$CREATE ROLE weak LOGIN PASSWORD 'a'$$, max_attempts => 1)});
weak_password('without a library nothing is refused', 0);
for my $where ('ROLE mgr', "DATABASE $db", "ROLE mgr IN DATABASE $db", 'ROLE ALL')
{
	psql("ALTER $where SET session_preload_libraries = 'passwordcheck'");
	weak_password("session_preload_libraries by ALTER $where: a job is refused what the role is refused", 1);
	psql("ALTER $where RESET session_preload_libraries");
}
set_setting($node, 'session_preload_libraries', 'passwordcheck');
weak_password('session_preload_libraries in postgresql.conf', 1);
set_setting($node, 'session_preload_libraries', undef);
psql(q{ALTER ROLE mgr SET session_preload_libraries = 'no_such_library'});
my $run_id = psql(q{SELECT jobsched.trigger('mk')});
like(ended($run_id, 'status, reason, sqlstate, error'), qr/^failed\|owner_cannot_connect\|58P01\|.*no_such_library/,
	'a library that cannot be loaded: no session, and the run says why');
psql(q{ALTER ROLE mgr RESET session_preload_libraries});
weak_password('and when it is not wanted any more the job runs', 0);

# What the server asks of who logs in: CONNECTION LIMIT.
as('new', q{SELECT jobsched.create_job('quick', command => 'SELECT 1')});
for my $where ('ROLE new', "DATABASE $db")
{
	psql("ALTER $where CONNECTION LIMIT 0");
	$run_id = psql(q{SELECT jobsched.trigger('quick')});
	is(ended($run_id, 'status, reason, sqlstate'), 'failed|owner_cannot_connect|53300', "ALTER $where CONNECTION LIMIT 0: there is no session for a job either");
	psql("ALTER $where CONNECTION LIMIT -1");
}
psql('ALTER ROLE new CONNECTION LIMIT 1');
my $client = $node->background_psql($db, extra_params => [ '-U', 'new' ]);
$client->query_safe('SELECT 1');
$run_id = psql(q{SELECT jobsched.trigger('quick')});
is((run_job($node, $db, 'mk'))[1], 'succeeded', 'a role whose sessions are used up keeps no other');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $run_id"), 'queued', 'its job waits');
$client->quit;
is(ended($run_id, 'status'), 'succeeded', 'until there is room');
psql('ALTER ROLE new CONNECTION LIMIT -1; DROP ROLE IF EXISTS weak');

# ------------------------------------------------------------------------
# Another owner
# ------------------------------------------------------------------------

psql(q{
	CREATE FUNCTION work.tell(args jsonb) RETURNS void LANGUAGE sql AS
		$$INSERT INTO work.done (what) VALUES ('callback ' || (args ->> 'status'))$$;
	CREATE FUNCTION work.handle(args jsonb) RETURNS void LANGUAGE sql AS
		$$INSERT INTO work.done (what) VALUES ('handler ' || (args ->> 'n'))$$});
as('old', qq{
	SELECT jobsched.set_secret('api', 'old secret');
	SELECT jobsched.create_job('plain', handler => 'work.handle');
	SELECT jobsched.create_job('caller', url => '$url/of-old', on_success => 'work.tell')});
as('new', q{SELECT jobsched.set_secret('api', 'new secret')});

my $plain = as('old', q{SELECT jobsched.trigger('plain', '{"n": 1}', run_at => clock_timestamp() + interval '1 hour')});
my $single = as('old', qq{SELECT jobsched.http_request('POST', '$url/single', headers => '{"X-Api": "{{secret.api}}"}',
	on_success => 'work.tell', on_failure => 'work.tell', run_at => clock_timestamp() + interval '1 hour')});
# Its callback waits: the handler is not there at once.
psql('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
psql('GRANT CONNECT ON DATABASE postgres TO old, new, mgr, nobody, app');
my $paused = as('old', qq{SELECT jobsched.http_request('POST', '$url/later', body => '{}', on_failure => 'work.tell', run_at => clock_timestamp() + interval '1 hour')});
psql(q{SELECT jobsched.alter_job('plain', owner => 'new')});
psql(q{SELECT jobsched.alter_job('http', owner => 'new')});
is(ended($single, 'status, reason, owner'), 'cancelled|owner_changed|old', 'a request that the old owner has queued is cancelled, and is his');
is(ended($paused, 'status, reason, owner'), 'cancelled|owner_changed|old', 'all of them');
is(psql('SELECT count(*) FROM work.done'), '0', 'and nobody is told in the name of another');
is(scalar(requests($sink)), 0, 'no request was sent with the secret of the new one');
like(error_of($node, $db, "SELECT jobsched.retry_run($single)"), qr/JS055.*is of another owner of its job/, 'nor is it by retry_run()');
is(psql(q{SELECT count(*) FROM jobsched.redrive('http')}), '0', 'or redrive()');
is(psql("SELECT status FROM jobsched.runs WHERE run_id = $plain"), 'queued', 'a run with arguments only waits on');
is(as('old', "SELECT concat_ws('|', job_name, schedule, timezone, owner) FROM jobsched.upcoming WHERE run_id = $plain"), 'old', 'the old owner sees it, but not what the job is by now');
my $now = psql(q{SELECT jobsched.trigger('plain', '{"n": 2}')});
is(ended($now, 'status, owner'), 'succeeded|new', 'runs are executed as the new owner');
is(psql('SELECT as_role, what FROM work.done'), 'new|handler 2', 'and what he has accepted');

# A callback that waits while its job gets another owner: the gate is before the
# function.
make_gate($node, $db, 'old', 'new');
psql(q{
	CREATE OR REPLACE FUNCTION work.tell(args jsonb) RETURNS void LANGUAGE plpgsql AS
		$$BEGIN PERFORM id FROM gate FOR UPDATE; INSERT INTO work.done (what) VALUES ('callback ' || (args ->> 'status')); END$$;
	TRUNCATE work.done});
my $gate = close_gate($node, $db);
as('old', q{SELECT jobsched.alter_job('caller', max_concurrency => 1)});
$run_id = as('old', q{SELECT jobsched.trigger('caller')});
is(ended($run_id, 'status'), 'succeeded', 'a request is sent');
my $callback = psql(q{SELECT max(run_id) FROM jobsched.runs WHERE source = 'callback'});
wait_at_gate($node, $db, $callback);
as('old', q{SELECT jobsched.pause_job('caller')});
my $second = as('old', q{SELECT jobsched.trigger('caller')});
psql(q{SELECT jobsched.alter_job('caller', owner => 'new')});
psql(q{SELECT pg_cancel_backend(worker_pid) FROM jobsched.running WHERE run_id = } . $callback);
$gate->quit;
like(ended($callback, 'status, owner'), qr/^cancelled\|old$/, 'the callback that was being executed was executed as the old owner');
psql(q{SELECT jobsched.resume_job('caller')});
is(ended($second, 'status, owner'), 'succeeded|new', 'a run of what the job is, is the new owner\'s');
$callback = psql("SELECT max(run_id) FROM jobsched.runs WHERE source = 'callback'");
is(ended($callback, 'status, owner'), 'succeeded|new', 'and so is its callback');
is(psql('SELECT DISTINCT as_role FROM work.done'), 'new', 'which is the new owner\'s by then');

# Many of them, and back again.
my @many = split /\n/, as('old', qq{SELECT jobsched.http_request('GET', '$url/many/' || i, run_at => clock_timestamp() + interval '1 hour') FROM generate_series(1, 600) i});
psql(q{GRANT EXECUTE ON FUNCTION jobsched.http_request TO mgr});
# 'old' has a new job "http" since the first went to 'new'.  Requests get it in
# portions, and those that came later than another name would get another job.
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.run WHERE job_id = 0}, '0', 'each request has its job');
as('old', q{SELECT jobsched.pause_job('http'); SELECT jobsched.alter_job('http', name => 'mine')});
psql(q{SELECT jobsched.alter_job('mine', owner => 'mgr')});
wait_value($node, $db, q{SELECT DISTINCT status || ' ' || reason FROM jobsched.runs WHERE request ->> 'url' LIKE '%/many/%'},
	'cancelled owner_changed', 'however many there are, and though the job is paused');
is(psql(q{SELECT count(*) FROM jobsched.runs WHERE reason = 'owner_changed' AND request ->> 'url' LIKE '%/many/%'}), '600', 'each is told of');

# ------------------------------------------------------------------------
# Roles that are renamed and dropped
# ------------------------------------------------------------------------

psql(q{CREATE ROLE brief LOGIN; GRANT CONNECT ON DATABASE postgres TO brief});
as('brief', q{
	SELECT jobsched.create_job('of brief', command => $$INSERT INTO work.done (what) VALUES ('of brief')$$);
	SELECT jobsched.set_queue('queue of brief', max_running => 1);
	SELECT jobsched.set_secret('of.brief', 'long enough')});
psql('ALTER ROLE brief RENAME TO short');
wait_value($node, $db, q{SELECT owner_name FROM jobsched_internal.job WHERE name = 'of brief'}, 'short', 'a role is renamed: so it is in the row that a dump has');
wait_value($node, $db, q{SELECT owner_name FROM jobsched_internal.limit_definition WHERE name = 'queue of brief'}, 'short', 'also in that of a queue');
is((run_job($node, $db, 'of brief', role => 'short'))[1], 'succeeded', 'and its jobs are its jobs');
my $oid = psql(q{SELECT oid FROM pg_roles WHERE rolname = 'short'});
psql('TRUNCATE work.done');
psql('DROP OWNED BY short; DROP ROLE short');
wait_value($node, $db, q{SELECT owner_name IS NULL FROM jobsched_internal.job WHERE name = 'of brief'}, 't', 'a role is dropped: no name is left');
wait_value($node, $db, q{SELECT count(*) FROM jobsched_internal.secret WHERE name = 'of.brief'}, '0', 'nor its secrets');
my $waits = psql(q{SELECT jobsched.trigger('of brief', run_at => clock_timestamp() + interval '1 hour')});

# Of roles that are dropped before they have a job for their requests.
for my $role ('brief1', 'brief2')
{
	psql("CREATE ROLE $role LOGIN; GRANT EXECUTE ON FUNCTION jobsched.http_request TO $role");
	psql("BEGIN; SET LOCAL ROLE $role; SELECT jobsched.http_post('$url/brief'); RESET ROLE; DROP OWNED BY $role; DROP ROLE $role; COMMIT");
}
wait_value($node, $db, q{SELECT count(*), count(DISTINCT j.owner), count(j.owner_name) FROM jobsched_internal.job j JOIN jobsched.runs r USING (job_id) WHERE j.name = 'http' AND r.reason = 'owner_cannot_connect'}, '2|2|0', 'requests of dropped roles end, of jobs that were theirs');

# Nobody has a process, however many runs wait.
psql(q{CREATE ROLE brief3 LOGIN; GRANT CONNECT ON DATABASE postgres TO brief3});
as('brief3', q{SELECT jobsched.create_job('of brief3', command => 'SELECT 1'); SELECT jobsched.pause_job('of brief3')});
as('brief3', q{SELECT count(jobsched.trigger('of brief3')) FROM generate_series(1, 2000)});
psql('DROP OWNED BY brief3; DROP ROLE brief3');
wait_value($node, $db, q{SELECT owner_name IS NULL FROM jobsched_internal.job WHERE name = 'of brief3'}, 't', 'its owner is dropped');
my $before = log_size($node);
psql(q{SELECT jobsched.resume_job('of brief3')});
wait_value($node, $db, q{SELECT status, count(*) FROM jobsched.runs WHERE job_name = 'of brief3' GROUP BY 1}, 'failed|2000', 'all its runs end');
unlike(log_since($node, $before), qr/not this worker's to execute|"jobsched worker"/, 'and no worker is started for them');

# One of the same name, then one of the same OID.
psql('CREATE ROLE short LOGIN; GRANT CONNECT ON DATABASE postgres TO short');
like(error_of($node, $db, q{SELECT jobsched.trigger('of brief')}, 'short'), qr/42704/, 'another role of that name has nothing to do with it');
$run_id = psql(q{SELECT jobsched.trigger('of brief')});
is(ended($run_id, 'status, reason, sqlstate'), 'failed|owner_cannot_connect|42704', 'nor is it executed as that one');
my $newest = psql(q{SELECT oid FROM pg_roles WHERE rolname = 'short'});
end_sessions($node);
$node->stop;
command_ok([ 'pg_resetwal', '-o', $oid, '-D', $node->data_dir ], 'the server will give the OID out again');
$node->start;
psql('CREATE ROLE heir LOGIN; GRANT CONNECT ON DATABASE postgres TO heir');
is(psql(q{SELECT oid FROM pg_roles WHERE rolname = 'heir'}), $oid, 'a role has the OID of the dropped one');
# No later role is to get that of another dropped one, by chance, and to see its runs.
psql("SELECT count(lo_unlink(lo_create(0))) FROM generate_series($oid, $newest)");
wait_scheduler($node, $db);
like(error_of($node, $db, q{SELECT jobsched.trigger('of brief')}, 'heir'), qr/42704/, 'the job is not its');
is(as('heir', q{SELECT count(*) FROM jobsched.jobs}), '0', 'it sees none');
is(as('heir', q{SELECT count(*) FROM jobsched.queues}) . as('heir', q{SELECT count(*) FROM jobsched.secrets}), '00', 'and has no queue and no secret');
$run_id = psql(q{SELECT jobsched.trigger('of brief')});
is(ended($run_id, 'status, reason, sqlstate'), 'failed|owner_cannot_connect|42704', 'nor does it run as that role');
like(psql(q{SELECT owner FROM jobsched.jobs WHERE name = 'of brief'}), qr/^unknown \(OID=$oid\)$/, 'views show what is known');
is(psql('SELECT count(*) FROM work.done'), '0', 'nothing has happened');
is(error_of($node, $db, q{SELECT jobsched.create_job('of brief3', command => 'SELECT 1'), jobsched.drop_job('of brief3')}, 'heir'), '', 'it can have one of the same name');
psql(q{SELECT jobsched.alter_job('of brief', owner => 'heir')});
is((run_job($node, $db, 'of brief', role => 'heir'))[1], 'succeeded', 'until a superuser gives it the job');

# ------------------------------------------------------------------------
# Dumps
# ------------------------------------------------------------------------

my $origin = jobsched_node('origin', conf => "log_min_messages = debug1\n"); # to see which processes start
$origin->safe_psql('postgres', 'CREATE DATABASE src');
create_extension($origin, 'src');
$origin->safe_psql('src', q{
	CREATE ROLE intern LOGIN; CREATE ROLE gone LOGIN; CREATE ROLE stay LOGIN; CREATE ROLE "16385" LOGIN; CREATE ROLE "Mx. ""O""" LOGIN;
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC});
for my $role ('intern', 'gone', 'stay', '16385', 'Mx. "O"')
{
	(my $quoted = $role) =~ s/"/""/g;
	$origin->safe_psql('src', qq{SET SESSION AUTHORIZATION "$quoted";
		SELECT jobsched.create_job('of $role', '* * * * * *', 'SELECT current_user');
		SELECT jobsched.set_queue('queue', max_running => 3)});
}
sub dump_to
{
	my ($file) = @_;
	return command_ok([ 'pg_dump', '-Fc', '-f', "$dir/$file", '-d', $origin->connstr('src') ], "pg_dump: $file");
}

dump_to('all');
$origin->safe_psql('src', 'ALTER ROLE stay RENAME TO stayed; DROP ROLE intern');
wait_until($origin, 'src', q{SELECT count(*) = 1 FROM jobsched_internal.job WHERE owner_name IS NULL}, 'the drop is noticed');
wait_until($origin, 'src', q{SELECT count(*) = 1 FROM jobsched_internal.limit_definition WHERE owner_name = 'stayed'}, 'the rename too');
dump_to('dropped');
$origin->safe_psql('src', 'DROP ROLE gone');

sub restore
{
	my ($target, $file, $name) = @_;
	$target->safe_psql('postgres', "CREATE DATABASE $name");
	command_ok([ 'pg_restore', '-e', '-d', $target->connstr($name), "$dir/$file" ], "$file is restored as $name");
	# One that began before the rows came finds them with its next sweep.
	wait_scheduler($target, $name);
	my $pid = scheduler_pid($target, $name);
	$target->safe_psql($name, "SELECT pg_terminate_backend($pid)");
	return wait_new_scheduler($target, $name, $pid);
}

# The same cluster, two roles less, one under another name.
restore($origin, 'all', 'dst');
is($origin->safe_psql('dst', 'SELECT count(*) FROM jobsched.jobs'), '5', 'all jobs are there, also those of roles that are not');
wait_value($origin, 'dst', q{SELECT status, value, message ~ '"gone"' AND message ~ '"intern"' AND message ~ '"stay"' FROM jobsched.health() WHERE "check" = 'identity'},
	'warning|restored|t', 'health() names the roles');
unlike(sql_as($origin, 'dst', 'stayed', 'SELECT message FROM jobsched.health()'), qr/gone|intern/, 'not to everybody');
like($origin->safe_psql('dst', q{SELECT state, state_reason FROM jobsched.jobs WHERE name = 'of gone'}), qr/^asleep\|.*the owner does not exist/, 'so does the job');
my ($ret, $out, $err) = $origin->psql('dst', 'SELECT jobsched.adopt()');
is($out, '2', 'adopt() takes the others');
like($err, qr/NOTICE:  3 jobs sleep on: their owners do not exist here/, 'and says so');
is($origin->safe_psql('dst', q{SELECT string_agg(name || ' ' || owner || ' ' || state, ', ' ORDER BY name) FROM jobsched.jobs}),
	'of 16385 16385 active, of Mx. "O" Mx. "O" active, of gone gone asleep, of intern intern asleep, of stay stay asleep', 'each with its owner');
$origin->safe_psql('dst', 'CREATE ROLE gone LOGIN');
is($origin->safe_psql('dst', 'SELECT jobsched.adopt()'), '1', 'once there is such a role it is taken');
wait_until($origin, 'dst', q{SELECT bool_or(status = 'succeeded' AND owner = 'gone' AND result ->> 'current_user' = 'gone') FROM jobsched.runs WHERE job_name = 'of gone'}, 'and runs as that');
is($origin->safe_psql('dst', q{SELECT string_agg(owner, ', ' ORDER BY owner) FROM jobsched.queues}), '16385, Mx. "O", gone, intern, stay', 'queues came along');
is($origin->safe_psql('dst', q{SELECT count(*) FROM jobsched_internal.limit_definition d, jobsched_internal.identity i WHERE d.home = i.token}), '3', 'and hold for who is there');
$origin->safe_psql('dst', q{SELECT jobsched.alter_job('of intern', owner => 'stayed')});
is($origin->safe_psql('dst', 'SELECT jobsched.adopt()'), '1', 'a superuser can name another owner');

# Another cluster, where the numbers are others'.
my $other = jobsched_node('other');
$other->safe_psql('postgres', 'CREATE ROLE dba LOGIN SUPERUSER; CREATE ROLE second LOGIN SUPERUSER; CREATE ROLE "16386" LOGIN SUPERUSER; CREATE ROLE stayed LOGIN');
restore($other, 'dropped', 'shop');
like($other->safe_psql('shop', q{SELECT string_agg(name || '/' || owner || '/' || state, ', ' ORDER BY name) FROM jobsched.jobs}),
	qr/^of 16385\/16385\/asleep, of Mx. "O"\/Mx. "O"\/asleep, of gone\/gone\/asleep, of intern\/unknown \(OID=\d+\)\/asleep, of stay\/stayed\/asleep$/,
	'elsewhere owners are as they were called, or not known');
is(sql_as($other, 'shop', 'stayed', 'SELECT string_agg(name, \',\') FROM jobsched.jobs'), 'of stay', 'who has the name sees the job');
is($other->safe_psql('shop', 'SELECT jobsched.adopt()'), '1', 'a number is nobody');
wait_until($other, 'shop', q{SELECT bool_or(status = 'succeeded') FROM jobsched.runs WHERE job_name = 'of stay'}, 'what is adopted runs');
is($other->safe_psql('shop', q{SELECT DISTINCT owner FROM jobsched.runs}), 'stayed', 'and only that, as its owner');

# A number that is somebody's here: as if jobs of 'far' had come from a cluster
# where he had the OID that is that of 'near'.
psql(q{
	CREATE ROLE far LOGIN; CREATE ROLE near LOGIN;
	GRANT CONNECT ON DATABASE postgres TO far, near;
	GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO far, near;
	CREATE TABLE work.hooked (a int); ALTER TABLE work.hooked OWNER TO near;
	CREATE TRIGGER hook AFTER INSERT ON work.hooked FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('sender');
	CREATE FUNCTION work.told(args jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO work.done (what) VALUES (args ->> 'status')$$;
	TRUNCATE work.done});
as('far', qq{SELECT jobsched.create_job('same', command => 'SELECT 1'); SELECT jobsched.create_job('sender', url => '$url/far');
	SELECT jobsched.alter_job('http', description => 'of far')});
psql(q{UPDATE jobsched_internal.job SET home = gen_random_uuid(), owner = 'near'::regrole WHERE owner = 'far'::regrole});
my $far = psql(q{SELECT job_id FROM jobsched.jobs WHERE name = 'same'});
my $near = as('near', q{SELECT jobsched.create_job('same', command => 'SELECT 2', if_exists => 'keep')});
isnt($near, $far, 'a job that has the number of a role by chance is not that of this role');
is(as('near', q{SELECT jobsched.create_job('same', command => 'SELECT 3', if_exists => 'update')}), $near, 'nor is it in his way');
$single = as('near', qq{SELECT jobsched.http_request('POST', '$url/near', on_success => 'work.told', on_failure => 'work.told')});
as('near', q{INSERT INTO work.hooked VALUES (1)});
is(ended($single, 'owner, status'), 'near|succeeded', 'his requests are his');
wait_until($node, $db, 'SELECT count(*) = 1 FROM work.done', 'and he is told of their ends');
is(as('far', 'SELECT jobsched.adopt()'), '3', 'who has the name takes the jobs');
is(psql(q{SELECT string_agg(DISTINCT as_role, ',') FROM work.done}), 'near', 'nothing of the other has been executed as him');
is(as('far', q{SELECT string_agg(concat_ws('/', run_id, job_name, source, status, reason, error), ' ') FROM jobsched.runs}), '', 'or waits for that');
like(psql(q{SELECT error FROM jobsched.runs WHERE owner = 'near' AND status = 'skipped'}), qr/job "sender" of role "near" does not exist/, 'a webhook finds no job of another either');
is(psql(q{SELECT string_agg(name || '/' || owner, ' ' ORDER BY name, owner) FROM jobsched.jobs WHERE owner IN ('far', 'near')}),
	'http/far http/near same/far same/near sender/far', 'each has his own');

# ------------------------------------------------------------------------
# A clone
# ------------------------------------------------------------------------

$origin->safe_psql('postgres', q{
	CREATE ROLE thief LOGIN CREATEDB; CREATE ROLE friend LOGIN; CREATE DATABASE model});
create_extension($origin, 'model');
$origin->safe_psql('model', q{
	GRANT USAGE ON SCHEMA jobsched TO PUBLIC;
	CREATE FUNCTION public.nightly(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
	SELECT jobsched.create_job('nightly', '* * * * * *', handler => 'public.nightly');
	SELECT jobsched.trigger('nightly');
	SET SESSION AUTHORIZATION friend;
	SELECT jobsched.create_job('friendly', '* * * * * *', 'SELECT current_user')});
$origin->safe_psql('postgres', 'ALTER DATABASE model IS_TEMPLATE true');
sql_as($origin, 'postgres', 'thief', 'CREATE DATABASE clone TEMPLATE model');
my $cloned_at = $origin->safe_psql('postgres', 'SELECT clock_timestamp()');
is(sql_as($origin, 'clone', 'friend', q{SELECT state FROM jobsched.jobs}), 'asleep', 'in a clone jobs sleep');
like(error_of($origin, 'clone', 'SELECT jobsched.adopt()', 'friend'), qr/42501/, 'whose owner says first that it is no copy');
sql_as($origin, 'clone', 'thief', q{
	DROP FUNCTION public.nightly(jsonb);
	CREATE TABLE public.stolen (as_role text);
	CREATE FUNCTION public.nightly(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO public.stolen VALUES (current_user)';
	SELECT jobsched.create_job('mine', '* * * * * *', 'SELECT current_user')});
($ret, $out, $err) = $origin->psql('clone', 'SELECT jobsched.adopt()', extra_params => [ '-U', 'thief' ]);
is($out, '1', 'the owner of the clone adopts his own job');
like($err, qr/2 jobs sleep on: you may not act for their owners/, 'and is told of the others');
wait_until($origin, 'clone', q{SELECT count(*) >= 2 FROM jobsched.runs WHERE job_name = 'mine' AND status = 'succeeded'}, 'that one runs');
is($origin->safe_psql('clone', qq{SELECT DISTINCT job_name FROM jobsched.runs WHERE started_at > '$cloned_at'}), 'mine', 'and no other');
is($origin->safe_psql('clone', q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM jobsched.jobs}), 'friendly asleep, mine active, nightly asleep', 'they sleep on');
like(error_of($origin, 'clone', 'SELECT jobsched.adopt()', 'gone'), qr/42501/, 'who has nothing there has nothing to adopt');
is(sql_as($origin, 'clone', 'friend', 'SELECT jobsched.adopt()'), '1', 'another adopts his own');
wait_until($origin, 'clone', q{SELECT bool_or(result ->> 'current_user' = 'friend') FROM jobsched.runs WHERE job_name = 'friendly' AND status = 'succeeded'}, 'which runs as him');
is($origin->safe_psql('clone', 'SELECT count(*) FROM public.stolen'), '0', 'nothing of the thief\'s was executed as another');
is($origin->safe_psql('clone', 'DROP FUNCTION public.nightly(jsonb); SELECT jobsched.adopt()'), '1', 'a superuser decides for himself');

# adopt() commits while a scheduler that starts has read whose database this is,
# and has not read the jobs.
$origin->safe_psql('postgres', 'CREATE DATABASE between TEMPLATE model');
wait_scheduler($origin, 'between');
my $adopts = $origin->background_psql('between');
$adopts->query_safe('BEGIN; LOCK TABLE jobsched_internal.job IN ACCESS EXCLUSIVE MODE');
$origin->safe_psql('between', q{SELECT pg_terminate_backend(pid) FROM jobsched_internal.scheduler()});
wait_until($origin, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity
	WHERE datname = 'between' AND backend_type = 'jobsched scheduler' AND wait_event_type = 'Lock' AND wait_event = 'relation'}, 'a scheduler is about to read the jobs');
is($adopts->query_safe('SELECT jobsched.adopt()'), '2', 'they are adopted meanwhile');
$adopts->query_safe('COMMIT');
$adopts->quit;
wait_until($origin, 'between', q{SELECT count(DISTINCT job_name) = 2 FROM jobsched.runs WHERE status = 'succeeded' AND source = 'schedule'}, 'they do not sleep on');

# ------------------------------------------------------------------------
# What the launcher can be made to do
# ------------------------------------------------------------------------

my $pid = scheduler_pid($origin, 'src');
my $mark = log_size($origin);
my $tries = join ' ', map { "BEGIN EXECUTE '$_'; EXCEPTION WHEN OTHERS THEN NULL; END;" } (
	'CREATE DATABASE no', 'CREATE DATABASE no TEMPLATE src', 'DROP DATABASE src', 'ALTER DATABASE src RENAME TO no',
	'ALTER DATABASE src SET TABLESPACE pg_default', 'DROP ROLE stayed', 'CREATE EXTENSION jobsched');
sql_as($origin, 'postgres', 'gone', "DO \$\$BEGIN $tries END\$\$;" x 200);
for my $sql ('CREATE DATABASE no', 'CREATE DATABASE no TEMPLATE src', 'DROP DATABASE src', 'DROP DATABASE src WITH (FORCE)',
	'ALTER DATABASE src RENAME TO no', 'ALTER DATABASE src SET TABLESPACE pg_default', 'DROP EXTENSION jobsched', 'ALTER EXTENSION jobsched UPDATE')
{
	isnt(error_of($origin, $sql =~ /EXTENSION/ ? 'src' : 'postgres', $sql, 'gone'), '', "refused: $sql");
}
is(scheduler_pid($origin, 'src'), $pid, 'what is refused disturbs no scheduler');
my @started = log_since($origin, $mark) =~ /starting background worker process "jobsched scheduler/g;
cmp_ok(scalar(@started), '<', 10, 'nor does it have processes started, however often it is tried');
$origin->safe_psql('postgres', 'CREATE DATABASE late TEMPLATE model');
wait_scheduler($origin, 'late');
pass('a new database is found');

check_log($node);
# one that starts may have waited too long for what adopt() had locked
check_log($origin, allow => qr/canceling statement due to lock timeout/);
check_log($other);
$_->stop for $node, $origin, $other;
done_testing();
