# Copyright (c) 2026, jobsched contributors

# HTTP requests, from SQL, from jobs and from changes of tables: what is sent,
# whether, when and how often, what is kept of the answer, and who sees that.

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
my $node = http_node('http', conf => q{
max_prepared_transactions = 5
jobsched.timezone = 'UTC'
timezone = 'UTC'
jobsched.history_retention = '7300d'
});
my $sink = start_sink($node);
my $url = $sink->{url};
my $json = JSON::PP->new->canonical->utf8;
define_clock($node, $db);

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

sub all_sent
{
	return until_true($node, $db, 'SELECT count(*) = 0 FROM jobsched_internal.run', 'the queue is empty');
}

sub ended
{
	my ($run_id, $columns) = @_;
	return end_of($node, $db, $run_id, $columns);
}

# Queues a request by a call, waits for the answer; returns the run and what
# the sink was sent.
sub sent_by
{
	my ($call) = @_;

	forget_requests($sink);
	my $run_id = app("SELECT $call");
	is(ended($run_id), 'succeeded', (split /\n/, $call)[0] . ' succeeds');
	return ($run_id, wait_requests($sink, 1));
}

sub trigger
{
	my ($job, $more) = @_;
	return sent_by("jobsched.trigger('$job'" . ($more ? ", $more)" : ')'));
}

# After everything that was queued before has been sent, as far as it may.
sub check_sent
{
	my ($expected, $name) = @_;

	is(ended(app("SELECT jobsched.http_get('$url/last', max_attempts => 1)")), 'succeeded', "$name: a last request succeeds");
	is_deeply([ grep { $_ ne '/last' } sort map { $_->{path} } requests($sink) ], [ sort @{$expected} ], $name);
	return forget_requests($sink);
}

# ------------------------------------------------------------------------
# Sent if and only if the transaction commits
# ------------------------------------------------------------------------

app(qq{
	SELECT jobsched.http_post('$url/committed', '{"n": 1}');
	BEGIN;
	SELECT jobsched.http_post('$url/rolled-back');
	ROLLBACK;
	BEGIN;
	SELECT jobsched.http_post('$url/before');
	SAVEPOINT s;
	SELECT jobsched.http_post('$url/in-savepoint');
	ROLLBACK TO s;
	SELECT jobsched.http_post('$url/after');
	COMMIT;
	DO \$\$ BEGIN
		PERFORM jobsched.http_post('$url/in-handler');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM jobsched.http_post('$url/handled');
	END \$\$});
all_sent();
check_sent([qw(/after /before /committed /handled)], 'what is committed is sent, and nothing else');

app(qq{
	BEGIN;
	SELECT jobsched.http_post('$url/commit-prepared');
	PREPARE TRANSACTION 'commits';
	BEGIN;
	SELECT jobsched.http_post('$url/rollback-prepared');
	PREPARE TRANSACTION 'rolls back'});
check_sent([], 'nothing is sent by a transaction that is prepared');
app(q{COMMIT PREPARED 'commits'; ROLLBACK PREPARED 'rolls back'});
wait_requests($sink, 1);
all_sent();
check_sent(['/commit-prepared'], 'it is when that commits, and not when it rolls back');

# The first request of a role, whose job is yet to be made, does not hold up
# others, whether it comes to be or not.
foreach my $end ('COMMIT', 'ROLLBACK')
{
	psql("CREATE ROLE first_\L$end\E LOGIN; GRANT USAGE ON SCHEMA jobsched TO first_\L$end\E; GRANT EXECUTE ON FUNCTION jobsched.http_request TO first_\L$end\E");
	my ($first, $second) = map { $node->background_psql($db, extra_params => [ '-U', "first_\L$end\E" ]) } 1 .. 2;

	$first->query_safe("BEGIN; SELECT jobsched.http_get('$url/first-$end')");
	$second->query_safe("SELECT jobsched.http_get('$url/second-$end')");
	wait_requests($sink, 1, qr/second-$end/);
	pass('the second does not wait for the first');
	$first->query_safe($end);
	$_->quit for $first, $second;
	all_sent();
	check_sent([ $end eq 'COMMIT' ? "/first-$end" : (), "/second-$end" ], "two first requests at once, one of which ends with $end");
	is(psql("SELECT count(*) FROM jobsched.jobs WHERE owner = 'first_\L$end\E'"), '1', 'there is one job');
}

my $n = 10_000;
app("SELECT count(jobsched.http_post('$url/many', jsonb_build_object('n', i))) FROM generate_series(1, $n) i");
all_sent();
my @many = requests($sink, qr/many/);
is(scalar(@many), $n, "$n requests of one statement are sent");
is(scalar(keys %{ { map { $json->decode($_->{body})->{n} => 1 } @many } }), $n, 'each one once');
is(scalar(keys %{ { map { $_->{headers}->{'idempotency-key'} => 1 } @many } }), $n, 'with a key of its own');
cmp_ok(scalar(keys %{ { map { $_->{connection} => 1 } @many } }), '<=', 100, 'on connections that are kept');
is(psql(qq{SELECT count(*), count(DISTINCT run_id), min(status), max(status) FROM jobsched.http_responses WHERE url = '$url/many'}),
	"$n|$n|200|200", 'all their answers are recorded');
@many = ();

# ------------------------------------------------------------------------
# What is sent
# ------------------------------------------------------------------------

my ($run_id, $request) = sent_by(qq{jobsched.http_post('$url/a%20b?x=1', '{"text": "caf\x{c3}\x{a9} {{args.x}}"}',
	'{"X-One": "1", "X-Many": ["a", "b"]}', '{"q": "a&b=c/\x{c3}\x{a9}", "list": [1, true]}')});
is("$request->{method} $request->{target} $request->{version}",
	'POST /a%20b?x=1&q=a%26b%3Dc%2F%C3%A9&list=1&list=true HTTP/1.1', 'parameters are appended to the query') or diag $request->{target};
is_deeply($json->decode($request->{body}), { text => "caf\x{e9} {{args.x}}" }, 'the body is sent as it is');
is_deeply([ map { $_->[1] } grep { $_->[0] =~ /^X-(One|Many)/ } @{ $request->{header_list} } ], [qw(1 a b)], 'headers too, repeats too');
is($request->{headers}->{'content-type'}, 'application/json', 'JSON is said to be that');
like($request->{headers}->{'user-agent'}, qr{^jobsched/\d+\.\d+}, 'we say who we are');
like($request->{headers}->{'idempotency-key'}, qr/^"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"$/, 'there is a key');
like($request->{headers}->{traceparent}, qr/^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/, 'and a trace');
is("@{$request->{headers}}{qw(x-jobsched-run x-jobsched-attempt x-jobsched-job)}", "$run_id 1 http", 'and the run');

my %call = (
	GET => "jobsched.http_get('$url/m')", POST => "jobsched.http_post('$url/m')", PUT => "jobsched.http_put('$url/m', '[1]')",
	PATCH => "jobsched.http_patch('$url/m', '\"p\"')", DELETE => "jobsched.http_delete('$url/m')",
	PURGE => "jobsched.http_request('purge', '$url/m')", HEAD => "jobsched.http_request('HEAD', '$url/m')");
my %body = (POST => '{}', PUT => '[1]', PATCH => '"p"');
foreach my $method (sort keys %call)
{
	(undef, $request) = sent_by($call{$method});
	is("$request->{method} $request->{body}", "$method " . ($body{$method} // ''), "$method is sent, with the body that it has");
}
(undef, $request) = sent_by("jobsched.http_delete('$url/m', '{\"a\": 1}')");
is($request->{body}, '{"a": 1}', 'DELETE may have a body');
(undef, $request) = sent_by("jobsched.http_request('POST', '$url/m', body_text => 'a=b', headers => '{\"content-type\": \"x/y\", \"User-Agent\": \"z\"}')");
is("$request->{body} @{$request->{headers}}{qw(content-type user-agent)}", 'a=b x/y z', 'a text of a type of its own');
(undef, $request) = sent_by("jobsched.http_request('POST', '$url/m', body_text => repeat('0123456789', 300000))");
is(length $request->{body}, 3_000_000, 'a large body');

# Attempts: the key stays, the span does not.
forget_requests($sink);
$run_id = app("SELECT jobsched.create_job('tries', url => '$url/flaky/2', retry_delays => '{0,0}'); SELECT jobsched.trigger('tries')");
$run_id =~ s/.*\n//s;
is(ended($run_id, 'status, attempt'), 'succeeded|3', 'the third attempt succeeds');
my @tries = requests($sink);
is(scalar(keys %{ { map { $_->{headers}->{'idempotency-key'} => 1 } @tries } }), 1, 'all have one key');
is_deeply([ map { $_->{headers}->{'x-jobsched-attempt'} } @tries ], [ 1, 2, 3 ], 'and a number of their own');
my @traces = map { [ split /-/, $_->{headers}->{traceparent} ] } @tries;
is(scalar(keys %{ { map { $_->[1] => 1 } @traces } }), 1, 'they are of one trace');
is(scalar(keys %{ { map { $_->[2] => 1 } @traces } }), 3, 'each a span of it');
is(psql("SELECT string_agg(attempt || ' ' || status, ', ' ORDER BY attempt) FROM jobsched.http_responses WHERE run_id = $run_id"),
	'1 503, 2 503, 3 200', 'each has its answer');

# traceparent
my ($trace, $span) = ('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331');
sub traced
{
	my ($sql) = @_;
	forget_requests($sink);
	my @got = split /\n/, app("BEGIN; SET LOCAL jobsched.traceparent = '00-$trace-$span-01'; $sql; COMMIT");
	ended($got[-1]);
	return (wait_requests($sink, 1))[0]->{headers}->{traceparent};
}
like(traced("SELECT jobsched.http_get('$url/traced')"), qr/^00-$trace-(?!$span)[0-9a-f]{16}-01$/, "the caller's trace is continued");
like(traced("SELECT jobsched.trigger('tries')"), qr/^00-$trace-(?!$span)[0-9a-f]{16}-01$/, 'by jobs too');
(undef, $request) = sent_by("jobsched.http_get('$url/traced')");
unlike($request->{headers}->{traceparent}, qr/$trace/, 'and not after the transaction');
is(app("SET jobsched.traceparent = '00-$trace-0000000000000000-01'; SHOW jobsched.traceparent; RESET jobsched.traceparent"), '', 'what is none is ignored');

# ------------------------------------------------------------------------
# Jobs
# ------------------------------------------------------------------------

app("SELECT jobsched.create_job('plain', url => '$url/plain', args => '{\"a\": 1}')");
($run_id, $request) = trigger('plain', q{'{"b": [2]}'});
is_deeply($json->decode($request->{body}),
	{ job => 'plain', run_id => 0 + $run_id, attempt => 1, scheduled_for => undef, args => { a => 1, b => [2] } },
	'a job without a body sends what the run is') or diag $request->{body};

app(<<"SQL");
SELECT jobsched.create_job('the "job"', method => 'put',
	url => '$url/p/{{args.path}}?run={{run.id}}&q={{args.q}}&job={{job.name}}',
	headers => '{"X-User": "user {{ args.user.id }}", "X-Attempt": "{{run.attempt}}"}',
	body => '{"all": "{{args.user}}", "id": "{{args.user.id}}", "text": "id {{args.user.id}}: {{args.q}}",
		"list": ["{{args.list}}", "{{run.scheduled_for}}", "}}"], "{no": 1}')
SQL
($run_id, $request) = trigger('the "job"', q{'{"path": "a/../b?c#d", "q": "x&y=1 \"\\\\\n%", "user": {"id": 42, "n": "o"}, "list": [1, null]}'});
is("$request->{method} $request->{target}",
	"PUT /p/a%2F..%2Fb%3Fc%23d?run=$run_id&q=x%26y%3D1%20%22%5C%0A%25&job=the%20%22job%22",
	'in a URL placeholders are percent-encoded');
is("@{$request->{headers}}{qw(x-user x-attempt)}", 'user 42 1', 'in headers they are text');
is_deeply($json->decode($request->{body}), {
	all => { id => 42, n => 'o' }, id => 42, text => "id 42: x&y=1 \"\\\n%", list => [ [ 1, undef ], undef, '}}' ], '{no' => 1 },
	'in a JSON body they are values, or text in texts') or diag $request->{body};
app("SELECT jobsched.create_job('text', url => '$url/', body_text => 'user={{args.u}}')");
(undef, $request) = trigger('text', q{'{"u": "a\"b"}'});
is($request->{body}, 'user=a"b', 'in a text they are text');
like(error_of($node, $db, "SELECT jobsched.create_job('x', url => '$url/{{$_}}')", 'app'), qr/22023.*unknown placeholder/, "{{$_}} is refused")
  for ('arg.x', 'run.no', 'env.PATH', '');
is(app(q{SELECT kind, request ->> 'url', command IS NULL, handler IS NULL FROM jobsched.jobs WHERE name = 'text'}), "http|$url/|t|t", 'view jobs shows it');
app(qq{SELECT jobsched.alter_job('text', url => '$url/altered', headers => '{"X-New": "1"}')});
(undef, $request) = trigger('text', q{'{"u": 1}'});
is("$request->{path} $request->{headers}->{'x-new'} $request->{body}", '/altered 1 user=1', 'a job can be altered, in part');
app(q{SELECT jobsched.alter_job('text', command => 'SELECT 1')});
is(ended(app(q{SELECT jobsched.trigger('text')})), 'succeeded', 'into something else');
forget_requests($sink);
check_sent([], 'which sends nothing');

# A slot.
set_clock($node, $db, '2031-03-01 11:59:30+00');
app("SELECT jobsched.create_job('hourly', '0 * * * *', url => '$url/slot')");
wait_caught_up($node, $db);
forget_requests($sink);
set_clock($node, $db, '2031-03-01 12:00:00+00');
($request) = wait_requests($sink, 1);
is($json->decode($request->{body})->{scheduled_for}, '2031-03-01T12:00:00Z', 'a slot sends a request') or diag $request->{body};
is($request->{headers}->{'x-jobsched-scheduled-for'}, '2031-03-01T12:00:00Z', 'which says in a header what slot');
all_sent();
is(psql(q{SELECT status, source, scheduled_for FROM jobsched.runs WHERE job_name = 'hourly'}), 'succeeded|schedule|2031-03-01 12:00:00+00', 'its run succeeds');
set_clock($node, $db, '2031-03-01 13:00:00+00');
wait_requests($sink, 2);
wait_caught_up($node, $db);
becomes($node, $db, q{SELECT last_status, recent FROM jobsched.jobs WHERE name = 'hourly'}, 'succeeded|..', 'so does the next one');
forget_requests($sink);
is(app(q{SELECT count(*) FROM jobsched.backfill('hourly', '2031-03-01 08:00:00+00', '2031-03-01 10:00:00+00')}), '2', 'slots are backfilled');
wait_caught_up($node, $db);
is(join(' ', sort map { $json->decode($_->{body})->{scheduled_for} } requests($sink)), '2031-03-01T08:00:00Z 2031-03-01T09:00:00Z', 'by requests');
app(q{SELECT jobsched.drop_job('hourly')});
set_clock($node, $db, undef);

# ------------------------------------------------------------------------
# What is kept of the answer
# ------------------------------------------------------------------------

sub answer_of
{
	my ($path, $columns) = @_;
	my ($id) = sent_by("jobsched.http_get('$url$path')");
	return app("SELECT $columns FROM jobsched.http_responses WHERE run_id = $id");
}

is(answer_of('/headers', q{jsonb_path_query_array(headers, 'strict $[*] ? (@[0] like_regex "^x-" flag "i")')}),
	'[["X-Repeat", "one"], ["X-Other", "a, b"], ["x-repeat", "two"], ["X-Empty", ""]]', 'headers, in order, repeats and empty ones too');
is(answer_of('/text/hello', 'status, method, url, http_version, body, body_bytes IS NULL, body_size, truncated, remote_address, remote_port'),
	"200|GET|$url/text/hello|1.1|hello|t|5|f|127.0.0.1|$sink->{port}", 'status, body and whom it is from');
is(answer_of('/text/hello', 'resolved <= connected AND connected <= first_byte AND first_byte <= total AND resolved >= interval \'0\', secured IS NULL, total < interval \'1 minute\''),
	't|t|t', 'timings ascend');
is(answer_of('/delay/0.3', "first_byte >= interval '300 ms'"), 't', 'they are true');
is(answer_of('/invalid-utf8', q{body IS NULL, encode(body_bytes, 'hex'), body_size}), 't|636166e920fffe|7', 'what is no text is bytes');
is(answer_of('/nul', q{body IS NULL, encode(body_bytes, 'hex')}), 't|610062', 'so is text with a zero byte');
is(answer_of('/body/0', q{body, body_bytes IS NULL, body_size}), '|t|0', 'an empty body');
is(answer_of('/body/262144', 'length(body), body_size, truncated'), '262144|262144|f', 'as much as jobsched.http_max_response');
is(answer_of('/body/262145', 'length(body), body_size, truncated'), '262144|262144|t', 'more is cut off');
set_setting($node, 'jobsched.http_max_response', '1kB');
is(answer_of('/body/2000', 'length(body), truncated'), '1024|t', 'a reload holds for what follows');
set_setting($node, 'jobsched.http_max_response');

is(psql('SELECT result FROM jobsched.runs WHERE run_id = ' . (sent_by("jobsched.http_get('$url/status/204')"))[0]), '{"status": 204}', "a run's result is the status");

# The owner's only.
psql(q{
	CREATE ROLE other LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE member LOGIN IN ROLE app;
	GRANT USAGE ON SCHEMA jobsched TO other, monitor, member});
my $all = app('SELECT count(*) FROM jobsched.http_responses');
cmp_ok($all, '>', $n, 'the owner sees the answers');
is(sql_as($node, $db, 'member', 'SELECT count(*) FROM jobsched.http_responses'), $all, 'so does a member of it');
is(sql_as($node, $db, $_, 'SELECT count(*) FROM jobsched.http_responses'), '0', "$_ sees none") for qw(other monitor);
is(sql_as($node, $db, 'other', 'SELECT (SELECT count(*) FROM jobsched.runs) + (SELECT count(*) FROM jobsched.jobs)'), '0', 'other sees no runs');
like(error_of($node, $db, 'SELECT FROM jobsched_internal.http_response', $_), qr/42501/, "$_ cannot go behind the view") for qw(other monitor);

# ------------------------------------------------------------------------
# Webhooks
# ------------------------------------------------------------------------

app(qq{
	CREATE TABLE app.orders (id int PRIMARY KEY, customer text, total numeric);
	CREATE TRIGGER hook AFTER INSERT OR UPDATE OR DELETE ON app.orders
		FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/hook', '{"X-Hook": "yes"}');
	GRANT USAGE ON SCHEMA app TO other;
	GRANT ALL ON app.orders TO other});
forget_requests($sink);
app(q{INSERT INTO app.orders VALUES (1, 'caf' || chr(233) || ' "x"', 12.50); BEGIN; DELETE FROM app.orders; ROLLBACK});
all_sent();
app(q{UPDATE app.orders SET total = 13});
all_sent();
sql_as($node, $db, 'other', 'DELETE FROM app.orders');
all_sent();
my %row = (id => 1, customer => "caf\x{e9} \"x\"");
my @old = map { { %row, total => $_ } } (12.50, 13);
is_deeply([ map { $json->decode($_->{body}) } requests($sink) ], [
		{ type => 'INSERT', schema => 'app', table => 'orders', record => $old[0], old_record => undef },
		{ type => 'UPDATE', schema => 'app', table => 'orders', record => $old[1], old_record => $old[0] },
		{ type => 'DELETE', schema => 'app', table => 'orders', record => undef, old_record => $old[1] } ],
	'changes of a table are posted to a URL, if they are committed') or diag explain requests($sink);
is(join(' ', map { "$_->{method}$_->{path}$_->{headers}->{'x-hook'}" } requests($sink)), join(' ', ('POST/hookyes') x 3), 'with headers');
is(psql(qq{SELECT string_agg(DISTINCT owner || ' ' || job_name, ', ') FROM jobsched.runs WHERE request ->> 'url' = '$url/hook'}), 'app http',
	"their runs are of the table's owner, whoever changes it");

app(qq{
	SELECT jobsched.create_job('order', url => '$url/order/{{args.record.id}}', args => '{"from": "job"}', method => 'PUT');
	CREATE TABLE app.items (id int);
	CREATE TRIGGER hook AFTER INSERT ON app.items FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('order');
	GRANT ALL ON app.items TO other});
forget_requests($sink);
sql_as($node, $db, 'other', 'INSERT INTO app.items SELECT generate_series(1, 3)');
all_sent();
is(join(' ', sort map { "$_->{method}$_->{path}" } requests($sink)), 'PUT/order/1 PUT/order/2 PUT/order/3', 'a webhook by the name of a job triggers that');
is_deeply($json->decode((requests($sink, qr/1/))[0]->{body})->{args},
	{ from => 'job', type => 'INSERT', schema => 'app', table => 'items', record => { id => 1 }, old_record => undef }, 'with the change as arguments');
is(psql(q{SELECT count(*), min(owner::text) FROM jobsched.runs WHERE job_name = 'order' AND status = 'succeeded'}), '3|app', "as runs of the table's owner");

like(error_of($node, $db, "CREATE TABLE pg_temp.t (); CREATE TRIGGER hook AFTER INSERT ON pg_temp.t FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url')", 'other'),
	qr/42501.*http_webhook/, 'who may not make requests cannot make webhooks');
# What a change says besides, which is made in any case.
sub warning_of
{
	my ($sql, $role) = @_;
	my ($ret, $stdout, $stderr) = $node->psql($db, $sql, extra_params => [ '-v', 'VERBOSITY=verbose', $role ? ('-U', $role) : () ]);

	return $ret == 0 ? $stderr : "failed: $stderr";
}

psql(qq{
	CREATE SCHEMA other AUTHORIZATION other;
	CREATE TABLE other.t (id int);
	CREATE TRIGGER hook AFTER INSERT ON other.t FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/refused');
	ALTER TABLE other.t OWNER TO other});
like(warning_of('INSERT INTO other.t VALUES (1)', 'other'), qr/^\S+ WARNING:  42501.*role "other" may not make HTTP requests/, 'nor use one that is there');
like(warning_of('INSERT INTO other.t VALUES (1)'), qr/^\S+ WARNING:  42501/, 'nor may a superuser in its place');
is(psql('SELECT count(*) FROM other.t'), '2', 'the change is made');
# Whoever may create triggers on a table must not get at more of its owner.
app(q{SELECT jobsched.alter_job('order', command => 'SELECT 1')});
like(warning_of('INSERT INTO app.items VALUES (4)', 'app'), qr/^\S+ WARNING:  JS055.*job "order" of role "app" has no url/, 'a webhook triggers nothing but requests');
like(error_of($node, $db, qq{
	CREATE TABLE app.told (id int);
	CREATE TRIGGER hook AFTER INSERT ON app.told FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url', '{"X": "{{secret.token}}"}')}, 'app'),
	qr/22023.*contain a placeholder/, 'nor does it tell a secret');
psql(qq{
	CREATE ROLE outsider LOGIN;
	CREATE TABLE public.letters (id int);
	ALTER TABLE public.letters OWNER TO app;
	CREATE TRIGGER hook AFTER INSERT ON public.letters FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/letter');
	GRANT INSERT ON public.letters TO outsider;
	GRANT USAGE ON SCHEMA public TO outsider});
sql_as($node, $db, 'outsider', 'INSERT INTO public.letters VALUES (1)');
pass('whoever may change the table needs no right to jobsched');
all_sent();
app(q{SELECT jobsched.drop_job('order')});
like(warning_of('INSERT INTO app.items VALUES (4)', 'app'), qr/^\S+ WARNING:  42704.*job "order"/, 'a webhook without its job sends nothing');
app('DROP TRIGGER hook ON app.items');
like(error_of($node, $db, 'CREATE TRIGGER hook AFTER INSERT ON app.items FOR EACH STATEMENT EXECUTE FUNCTION jobsched.http_webhook(\'x\')', 'app'), qr/39P01.*REFERENCING NEW TABLE/s, 'for a statement it needs a transition table');

# ------------------------------------------------------------------------
# Keys
# ------------------------------------------------------------------------

$run_id = app("SELECT jobsched.http_post('$url/keyed', idempotency_key => 'k')");
is(app("SELECT jobsched.http_post('$url/keyed-again', idempotency_key => 'k')"), $run_id, 'an idempotency key has one request');
ended($run_id);
is(app("SELECT jobsched.http_post('$url/keyed-again', idempotency_key => 'k')"), $run_id, 'after its end too');
like(error_of($node, $db, "SELECT jobsched.http_request('POST', '$url/keyed-again', idempotency_key => 'k', on_conflict => 'error')", 'app'), qr/23505/, 'on request it is an error');
my $waits = app("SELECT jobsched.http_request('POST', '$url/replaced', idempotency_key => 'r', run_at => now() + interval '1 day')");
isnt(app("SELECT jobsched.http_request('POST', '$url/replaces', idempotency_key => 'r', on_conflict => 'replace')"), $waits, 'one that waits can be replaced');
like(ended($waits), qr/^cancelled/, 'then it is cancelled');
all_sent();
is(scalar(requests($sink, qr/keyed-again|replaced/)), 0, 'what lost is not sent');
is(scalar(requests($sink, qr/replaces/)), 1, 'what won is');

# ------------------------------------------------------------------------
# Limits
# ------------------------------------------------------------------------

my $elsewhere = start_sink($node);

# When the gate is closed: after a later request to another host the scheduler
# has seen all that were queued before.
sub check_at_gate
{
	my ($gate, $expected, $name) = @_;

	wait_requests($sink, $expected, qr{^/gate/$gate});
	is(ended(app("SELECT jobsched.http_get('$elsewhere->{url}/')")), 'succeeded', "$name: another host is not limited");
	return is(scalar(requests($sink, qr{^/gate/$gate})), $expected, $name);
}

sub post_to_gate
{
	my ($gate, $count, $more) = @_;

	forget_requests($sink);
	return app("SELECT jobsched.http_request('POST', '$url/gate/$gate', jsonb_build_object('n', i)" . ($more ? ", $more" : '') . ") FROM generate_series(1, $count) i");
}

sub check_all_pass
{
	my ($gate, $count) = @_;

	open_gate($sink, $gate);
	all_sent();
	return is(scalar(requests($sink, qr{^/gate/$gate})), $count, "gate $gate: then all are sent, once");
}

app(q{SELECT jobsched.set_limit('http_host', max_running => 2)});
$run_id = post_to_gate('a', 5);
check_at_gate('a', 2, 'a limit of hosts holds');
is(psql(q{SELECT count(*), min(reason), min(keys::text) FROM jobsched.runs WHERE status = 'queued'}),
	"3|waiting_for_turn|{http_host:127.0.0.1:$sink->{port}}", 'the others wait for their turn');
check_all_pass('a', 5);

app(q{SELECT jobsched.set_limit('http_host', rate => 1, per => '1 hour')});
post_to_gate('b', 3);
open_gate($sink, 'b');
check_at_gate('b', 1, 'so does a rate');
app(q{SELECT jobsched.drop_limit('http_host')});
check_all_pass('b', 3);

set_setting($node, 'jobsched.http_max_per_host', 3);
post_to_gate('c', 8);
check_at_gate('c', 3, 'jobsched.http_max_per_host holds');
app(q{SELECT jobsched.set_limit('http_host', max_running => 5)});
check_at_gate('c', 3, 'a role cannot raise it');
check_all_pass('c', 8);
app(q{SELECT jobsched.drop_limit('http_host')});
set_setting($node, 'jobsched.http_max_per_host');

app(q{SELECT jobsched.set_limit('user', max_running => 1)});
post_to_gate('d', 4, q{keys => ARRAY['user:' || i % 2]});
check_at_gate('d', 2, 'keys of requests hold');
check_all_pass('d', 4);

app(qq{SELECT jobsched.set_queue('narrow', max_running => 1); SELECT jobsched.create_job('narrow', url => '$url/gate/{{args.gate}}', queue => 'narrow')});
forget_requests($sink);
app(q{SELECT jobsched.trigger_many('narrow', array_fill('{"gate": "e"}'::jsonb, ARRAY[3]))});
check_at_gate('e', 1, 'the queue of a job holds');
check_all_pass('e', 3);
app(q{SELECT jobsched.alter_job('narrow', queue => '', max_concurrency => 2)});
forget_requests($sink);
app(q{SELECT jobsched.trigger_many('narrow', array_fill('{"gate": "f"}'::jsonb, ARRAY[3]))});
check_at_gate('f', 2, 'so does its max_concurrency');
check_all_pass('f', 3);

# Priority: while one is under way all wait, and then have their turn.
app(q{SELECT jobsched.set_limit('http_host', max_running => 1)});
post_to_gate('g', 1);
wait_requests($sink, 1);
app("SELECT jobsched.http_request('POST', '$url/p/' || p, priority => p) FROM unnest(ARRAY[1, -1, 3, 0, 2]) p");
check_at_gate('g', 1, 'requests wait for a place');
open_gate($sink, 'g');
all_sent();
is(join(' ', map { $_->{path} } requests($sink, qr{/p/})), '/p/3 /p/2 /p/1 /p/0 /p/-1', 'higher priority goes first');
app(q{SELECT jobsched.drop_limit('http_host')});

# Later.
set_clock($node, $db, '2031-03-01 12:00:00+00');
forget_requests($sink);
app("SELECT jobsched.http_request('POST', '$url/later', run_at => '2031-03-01 13:00:00+00')");
check_sent([], 'run_at is waited for');
set_clock($node, $db, '2031-03-01 13:00:00+00');
wait_requests($sink, 1, qr/later/);
pass('then it is sent');
all_sent();
set_clock($node, $db, undef);

is(psql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jobsched http'}), '1', 'one process has done all of this');
end_sessions($node);
check_log($node);
$node->stop;
done_testing();
