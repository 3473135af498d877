# Copyright (c) 2026, jobsched contributors

# Every SQL example of the manual is executed as it stands, those of a page one
# after the other, by a role that is no superuser.  No request leaves: there is
# room for none.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tree = "$FindBin::Bin/../..";
my $node = jobsched_node('examples', conf => "jobsched.http_max_inflight = 0\nmax_worker_processes = 100\njobsched.max_databases = 50\n");
$node->safe_psql('postgres', 'CREATE ROLE alice LOGIN; CREATE ROLE app; CREATE ROLE app_owner; CREATE ROLE app_user; CREATE ROLE web_user; CREATE ROLE authenticator');

# What the examples of a page take for granted.
my %before = (
	'doc/schedules.md' => q{
		CREATE PROCEDURE app.report() LANGUAGE sql AS 'SELECT 1';
		CREATE MATERIALIZED VIEW totals AS SELECT 1;},
	'doc/jobs.md' => q{
		CREATE TABLE app.invoice (id int, due_on date, reminded_at timestamptz);
		CREATE FUNCTION app.poll(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';},
	'doc/metrics.md' => 'CREATE SCHEMA api;',
	'doc/rest.md' => 'CREATE SCHEMA api;',
	'doc/watching.md' => q{SELECT jobsched.create_job('import', command => 'SELECT 1');},
	'doc/runs.md' => q{
		CREATE TABLE app.image (id int);
		INSERT INTO app.image VALUES (1), (2);
		CREATE FUNCTION app.push_order(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.page_somebody(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		SELECT jobsched.create_job(name, handler => 'app.push_order')
		FROM unnest('{send-reminders,resize,charge,import,remind,reindex,refresh,nightly}'::text[]) name;
		SELECT jobsched.create_job('fails', command => 'SELECT 1 / 0', max_attempts => 1);
		SELECT jobsched.trigger_many('fails', array_fill(NULL::jsonb, ARRAY[17]));
		CALL jobsched.wait_run(17);},
	'doc/alerts.md' => q{SELECT jobsched.create_job('nightly', command => 'SELECT 1');},
	'doc/workflows.md' => q{
		CREATE TABLE app.image (id int);
		INSERT INTO app.image VALUES (1), (2);
		CREATE FUNCTION app.work(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.extract(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
		CREATE FUNCTION app.load(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
		CREATE FUNCTION app.complain(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.reserve(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.ship(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.release(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.import_sales(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
		CREATE FUNCTION app.import_stock(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
		CREATE FUNCTION app.check() RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE TABLE app.pages (step text, status text, error text);
		SELECT jobsched.create_job(name, handler => 'app.work') FROM unnest('{collect,score,resize,mail-report,clean-up,ship}'::text[]) name;
		SELECT jobsched.trigger_many('resize', array_fill(NULL::jsonb, ARRAY[18]));
		-- a run of nightly that has this id, and has begun
		CREATE PROCEDURE nightly(wanted bigint) LANGUAGE plpgsql AS $$
		BEGIN
			WHILE EXISTS (SELECT FROM jobsched.workflows WHERE kind = 'steps' AND total = 0) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
			PERFORM jobsched.trigger('collect')
			FROM generate_series((SELECT max(run_id) FROM jobsched.runs) + 1, wanted - 1);
			PERFORM jobsched.trigger('nightly');
			COMMIT;
			WHILE (SELECT count(*) FROM jobsched.steps WHERE workflow_run_id = wanted) < 5 LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END $$;},
	'doc/limits.md' => q{
		CREATE FUNCTION app.report(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';
		CREATE FUNCTION app.send(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT 1';},
	'doc/http.md' => q{
		CREATE TABLE orders (id int, customer_id int, created_at timestamptz DEFAULT now());
		INSERT INTO orders VALUES (1, 2);
		CREATE TABLE app.prices (item int, price numeric);
		SELECT jobsched.set_secret('reports', 'abcd'), jobsched.set_secret('orders', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');});

# The second of two examples may give another definition of the same.
my %between = ('doc/http.md' => "DROP TRIGGER IF EXISTS orders_webhook ON orders;\n");

# What has happened to the runs that an example names, when it is executed.
my $ping = q{(SELECT run_id FROM jobsched.steps WHERE workflow_run_id = 41 AND step = 'ping')};
my %meanwhile = ('SELECT jobsched.retry_run(35);' => qq{
	CALL nightly(35); SELECT jobsched.cancel_run(35); CALL jobsched.wait_run(35);
	CALL nightly(41); SELECT jobsched.cancel_run($ping); CALL jobsched.wait_run(41);
	CALL nightly(47);});

# What the examples leave.
my %after = ('doc/procedures.md' => [
	[ 'a subscription', 'SELECT count(*) FROM app.payment', '1' ]],
	'doc/workflows.md' => [
	[ 'a sequence', 'SELECT amount FROM app.total', '7' ],
	[ 'many at the same time', q{SELECT string_agg(concat_ws(' ', id, status, width), ', ' ORDER BY id) FROM app.picture_report},
		'1 succeeded 320, 2 failed, 3 succeeded 400' ],
	[ 'an approval', q{SELECT string_agg(concat_ws(' ', id, state, by), ', ' ORDER BY id) FROM app.purchase}, '1 ordered ann, 2 refused' ],
	[ 'taking back', q{SELECT string_agg(concat_ws(' ', status, (SELECT count(*) FROM app.booking b WHERE b.trip = (args ->> 'trip')::int)), ', ' ORDER BY run_id)
		FROM jobsched.workflows WHERE workflow = 'book-trip'}, 'succeeded 2, failed 0' ],
	[ 'a chain of jobs', q{SELECT string_agg(job || ' after ' || after::text, ', ' ORDER BY job) FROM app.night WHERE after <> '{}'},
		'bill after {get-orders,get-prices}, send-bills after {bill}' ]]);

sub with_what_happens
{
	my ($example) = @_;
	return join '', (map { $meanwhile{$_} } grep { index($example, $_) == 0 } keys %meanwhile), $example;
}

sub examples
{
	my ($page) = @_;
	return slurp_file("$tree/$page") =~ /^ *```sql\n(.*?)^ *```$/msg;
}

my $count = 0;

for my $path ("$tree/README.md", glob "$tree/doc/*.md")
{
	my $page = substr $path, length "$tree/";
	my $db = 'page' . ++$count;
	my @examples = examples($page);
	my ($out, $err) = ('', '');

	# what comes first anyway; what is for those who may read all tables
	@examples = grep { !/\ACREATE EXTENSION/ && !/jobsched_internal/ } @examples;
	next unless @examples;
	# roles are made by a superuser
	my @roles = grep { /\A\s*CREATE ROLE/ } @examples;
	@examples = grep { !/\A\s*CREATE ROLE/ } @examples;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER alice");
	$node->psql($db, join("\n", 'CREATE EXTENSION jobsched; CREATE SCHEMA app;', $before{$page} || (),
			map { ($between{$page} || '') . with_what_happens($_) } @examples),
		extra_params => [ '-U', 'alice', '-v', 'ON_ERROR_STOP=1' ], on_error_stop => 1, stdout => \$out, stderr => \$err);
	is(join("\n", grep { /ERROR|HINT|DETAIL/ } split /\n/, $err), '', "$page: " . @examples . ' examples');
	$node->safe_psql($db, $_) foreach @roles;
	wait_value($node, $db, $_->[1], $_->[2], "$page: $_->[0]") for @{ $after{$page} || [] };
}

$node->stop;
done_testing();
