# Copyright (c) 2026, jobsched contributors
# packages: libio-socket-ssl-perl openssl

# examples/wishlist_alerts.sql, run by its own unprivileged role: who is told
# what, once, in spite of items that fail and of a server that does; jobs turned
# on and off by a setting; mail of failures, also when the server dies meanwhile.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use HttpServers;
use JobschedTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SmtpServer;
use Test::More;

my $node = jobsched_node('wishlist_alerts', conf => q{
jobsched.http_allow = '127.0.0.1'
jobsched.smtp_from = 'shop@db.example.com'
restart_after_crash = on
});
$node->safe_psql('postgres',
	'CREATE ROLE shop LOGIN; CREATE DATABASE shop OWNER shop');
create_extension($node, 'shop');
$node->safe_psql('shop', 'GRANT USAGE ON SCHEMA jobsched TO shop');

sub shop
{
	my ($sql) = @_;
	return sql_as($node, 'shop', 'shop', $sql);
}

# No slot shall come between: the next one is on a 29th of February.
sub park
{
	return shop(q{SELECT jobsched.alter_job(name, schedule => '0 0 29 2 *') FROM jobsched.jobs});
}

# Runs a job, which is to succeed with a result; returns the run's id.
sub check_run
{
	my ($job, $args, $expected, $name) = @_;
	my ($run_id, $status) = run_job($node, 'shop', $job, role => 'shop', args => $args);
	is($status, 'succeeded', $name);
	is_deeply(
		decode_json(shop("SELECT result FROM jobsched.runs WHERE run_id = $run_id")),
		$expected, "$name: result");
	return $run_id;
}

# The sample: who wants what, and whose address is of no use.
my @items = grep { ($_->[0] + $_->[1]) % 3 == 0 }
	map { my $customer = $_; map { [ $customer, $_ ] } 1 .. 20 } 1 .. 60;
my @on_sale = grep { $_->[1] % 4 == 0 } @items;
my @restocked = grep { $_->[1] % 5 == 0 } @items;
sub is_reachable { return $_[0]->[0] != 13 && $_[0]->[0] != 42; }
sub reachable { return grep { is_reachable($_) } @_; }
sub unreachable { return grep { !is_reachable($_) } @_; }
sub listed { return join("\n", map { "$_->[0]|$_->[1]" } @_); }

sub notified
{
	my ($kind) = @_;
	return shop("SELECT customer_id, product_id FROM wishlist.notifications WHERE kind = '$kind' ORDER BY 1, 2");
}

install_example($node, 'shop', 'shop', 'wishlist_alerts.sql', 'the example installs');
is( shop(
		q{SELECT name, schedule, timezone, enabled, state FROM jobsched.jobs ORDER BY name}),
	"wishlist-sale-check|0 * * * *|America/New_York|t|active\n"
	. "wishlist-stock-check|*/30 * * * *|America/New_York|t|active",
	'its jobs are there');
is( shop(
		q{SELECT job_name, next_runs[2] - next_runs[1], extract(minute FROM run_at)::integer % 30 FROM jobsched.upcoming ORDER BY job_name}),
	"wishlist-sale-check|01:00:00|0\nwishlist-stock-check|00:30:00|0",
	'with their next runs');

park();

# Sales: batches of 7, of which some have an item that fails
my $sale = check_run(
	'wishlist-sale-check',
	'{"batch_size": 7}',
	{ checked => scalar(@on_sale), notified => scalar(reachable(@on_sale)), errors => scalar(unreachable(@on_sale)) },
	'the sale check');
is(notified('sale'), listed(reachable(@on_sale)), 'customers are told of sales, each once');
is( shop(q{SELECT address, message FROM wishlist.notifications WHERE kind = 'sale' AND customer_id = 1 AND product_id = 8}),
	'customer1@example.com|Customer 1, Product 8 is on sale: 64.00 instead of 80.00.',
	'with the message');
is( shop("SELECT DISTINCT run_id FROM wishlist.notifications"), $sale, 'by this run');
is( shop("SELECT level, message FROM jobsched.run_logs WHERE run_id = $sale AND level = 'warning' ORDER BY seq"),
	join(
		"\n",
		map {
			"warning|customer $_->[0], product $_->[1]: "
			. ($_->[0] == 13
				? 'customer 13 has no address (22004)'
				: 'new row for relation "notifications" violates check constraint "address_is_email" (23514)')
		} unreachable(@on_sale)),
	'failed items are logged');

# Again: only what failed is tried again
check_run(
	'wishlist-sale-check', '{}',
	{ checked => scalar(unreachable(@on_sale)), notified => 0, errors => scalar(unreachable(@on_sale)) },
	'the next sale check');
shop(q{UPDATE wishlist.customers SET email = 'thirteen@example.com' WHERE customer_id = 13});
my @thirteen = grep { $_->[0] == 13 } @on_sale;
my @still_failing = grep { $_->[0] != 13 } unreachable(@on_sale);
check_run(
	'wishlist-sale-check', '{}',
	{ checked => @thirteen + @still_failing, notified => scalar(@thirteen), errors => scalar(@still_failing) },
	'a sale check after an address was mended');
is( notified('sale'),
	listed(grep { $_->[0] != 42 } @on_sale), 'failed items are picked up by a later run');

# Stock, on the real schedule path
shop(q{SELECT jobsched.alter_job('wishlist-stock-check', schedule => '* * * * * *')});
my $scheduled = q{FROM jobsched.runs WHERE job_name = 'wishlist-stock-check' AND source = 'schedule' AND status = 'succeeded'};
wait_value($node, 'shop', "SELECT count(*) >= 2 $scheduled", 't', 'the stock check runs on its schedule');
my @stock_failing = grep { $_->[0] == 42 } @restocked;
is_deeply(
	decode_json(shop("SELECT result $scheduled ORDER BY run_id LIMIT 1")),
	{ checked => scalar(@restocked), notified => @restocked - @stock_failing, errors => scalar(@stock_failing) },
	'its first run tells everybody');
is_deeply(
	decode_json(shop("SELECT result $scheduled ORDER BY run_id OFFSET 1 LIMIT 1")),
	{ checked => scalar(@stock_failing), notified => 0, errors => scalar(@stock_failing) },
	'its second nobody');
is(notified('stock'), listed(grep { $_->[0] != 42 } @restocked), 'customers are told of restocking, each once');

# Off and on by a setting
shop(q{UPDATE wishlist.settings SET enabled = false WHERE job_name = 'wishlist-stock-check'});
is( shop(q{SELECT enabled, state, next_run_at IS NULL FROM jobsched.jobs WHERE name = 'wishlist-stock-check'}),
	'f|disabled|t', 'a setting turns a job off');
is( shop(q{SELECT enabled, state FROM jobsched.jobs WHERE name = 'wishlist-sale-check'}),
	't|active', 'and no other');
is( shop(q{SELECT count(*) FROM jobsched.upcoming WHERE job_name = 'wishlist-stock-check' AND source = 'schedule'}),
	0, 'nothing of it is to come');
install_example($node, 'shop', 'shop', 'wishlist_alerts.sql', 'the example installs again');
is( shop(q{SELECT name, schedule, enabled FROM jobsched.jobs ORDER BY name}),
	"wishlist-sale-check|0 * * * *|t\nwishlist-stock-check|*/30 * * * *|f",
	'which puts the schedules back and leaves the setting alone');
park();
my $before = shop("SELECT coalesce(max(run_id), 0) $scheduled");
shop(
	q{UPDATE wishlist.settings SET enabled = true WHERE job_name = 'wishlist-stock-check';
	  SELECT jobsched.alter_job('wishlist-stock-check', schedule => '* * * * * *')});
wait_value($node, 'shop', "SELECT EXISTS (SELECT $scheduled AND run_id > $before)",
	't', 'the setting turns it on again');
park();

# What happens to products
shop(q{UPDATE wishlist.products SET sale_price = sale_price - 1 WHERE product_id = 8});
check_run(
	'wishlist-sale-check', '{}',
	{ checked => scalar(@still_failing), notified => 0, errors => scalar(@still_failing) },
	'a lower price in a running sale');
shop(q{UPDATE wishlist.products SET sale_price = NULL WHERE product_id = 8});
shop(q{UPDATE wishlist.products SET sale_price = 50 WHERE product_id = 8});
my @eight = grep { $_->[1] == 8 } @on_sale;
my $new_sale = check_run(
	'wishlist-sale-check', '{}',
	{ checked => @eight + @still_failing, notified => scalar(@eight), errors => scalar(@still_failing) },
	'a new sale');
is( shop("SELECT count(*) FROM wishlist.notifications WHERE run_id = $new_sale AND message LIKE '%50.00 instead of 80.00.'"),
	scalar(@eight), 'is told with the new price');
shop(q{INSERT INTO wishlist.items (customer_id, product_id) SELECT 2, p FROM generate_series(1, 20) p ON CONFLICT DO NOTHING});
check_run(
	'wishlist-sale-check', '{}',
	{ checked => scalar(@still_failing), notified => 0, errors => scalar(@still_failing) },
	'items put on the list during a sale');

# One job's error
my ($failed, $status) = run_job($node, 'shop', 'wishlist-sale-check', role => 'shop', args => '{"batch_size": 0}');
is($status, 'failed', 'a bad argument fails the run');
is( shop("SELECT sqlstate, error FROM jobsched.runs WHERE run_id = $failed"),
	'22023|batch_size must be greater than zero', 'its error is in the history');
check_run(
	'wishlist-stock-check', '{}',
	{ checked => scalar(@stock_failing), notified => 0, errors => scalar(@stock_failing) },
	'the other job after that');

# Status and history
my $nobody = sub { my ($n) = @_; return qq({"errors": $n, "checked": $n, "notified": 0}) };
is( shop(
		q{SELECT name, enabled, state, last_status, last_duration > interval '0', last_result, next_run_at > now() FROM wishlist.status ORDER BY name}),
	'wishlist-sale-check|t|active|failed|t|' . $nobody->(scalar @still_failing) . "|t\n"
	. 'wishlist-stock-check|t|active|succeeded|t|' . $nobody->(scalar @stock_failing) . '|t',
	'each job shows its last and its next run');
is( shop(
		q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'wishlist-sale-check' AND duration = finished_at - started_at}),
	7,
	'the history has the duration of each run');
is( shop("SELECT status, checked, notified, errors, duration > '0', cardinality(warnings) FROM wishlist.log WHERE run_id = $sale"),
	join('|', 'succeeded', scalar(@on_sale), scalar(reachable(@on_sale)), scalar(unreachable(@on_sale)), 't', scalar(unreachable(@on_sale))),
	'so has the log, with the counts');
is(shop("SELECT status, error, duration > '0' FROM wishlist.log WHERE job_name = 'wishlist-sale-check' LIMIT 1"), 'failed|batch_size must be greater than zero|t', 'the newest first');

# By hand, with the result
is(shop(q{CALL wishlist.check_now('sale')}), $nobody->(scalar @still_failing), 'a check by hand returns its result');
like(shop(q{CALL wishlist.check_now('sale', '{"batch_size": 0}')}), qr/"error": "batch_size must be/, 'or what was wrong');
like(error_of($node, 'shop', q{CALL wishlist.check_now('nothing')}, 'shop'), qr/job "wishlist-nothing-check" does not exist/, 'of those that there are');

# By hand, outside a run
is( shop(q{SELECT wishlist.sale_check('{}')->>'checked'}),
	scalar(@still_failing), 'handlers can be called by hand');

# By HTTP: a server that is busy when it first hears of customer 3, and does not
# want to hear of customer 6
my $mailer = start_sink($node, answer => q{
	my %seen;
	sub {
		my ($request) = @_;
		my $to = JSON::PP->new->utf8->decode($request->{body})->{to};
		return (422, 'no such customer') if $to eq 'customer6@example.com';
		return (503, 'busy') if $to eq 'customer3@example.com' && !$seen{$to}++;
		return (202, 'sent');
	}});
$node->safe_psql('shop', 'GRANT EXECUTE ON FUNCTION jobsched.http_request TO shop');
shop("UPDATE wishlist.delivery SET url = '$mailer->{url}/notify'");
shop(q{SELECT jobsched.alter_job('wishlist-notify', backoff_base => '50 ms')});
shop(q{UPDATE wishlist.products SET sale_price = NULL WHERE product_id = 12});
shop(q{UPDATE wishlist.products SET sale_price = 60 WHERE product_id = 12});
my @twelve = ([ 2, 12 ], grep { $_->[1] == 12 && $_->[0] != 42 } @on_sale);
my $by_http = check_run(
	'wishlist-sale-check', '{}',
	{ checked => @twelve + @still_failing, notified => scalar(@twelve), errors => scalar(@still_failing) },
	'a check that notifies by HTTP');
wait_value($node, 'shop', "SELECT delivered, waiting, failed FROM wishlist.deliveries WHERE run_id = $by_http",
	(@twelve - 1) . '|0|1', 'all but one are delivered');
my %told;
foreach my $request (requests($mailer))
{
	my $body = decode_json($request->{body});
	push @{ $told{ $body->{to} } }, $request;
	next if $body->{to} ne 'customer9@example.com';
	is($body->{text}, 'Customer 9, Product 12 is on sale: 60.00 instead of 120.00.', 'with the message');
	is($body->{notification}, shop('SELECT notification_id FROM wishlist.notifications WHERE customer_id = 9 AND product_id = 12 ORDER BY 1 DESC LIMIT 1'),
		'and its number');
}
is(scalar(keys %told), scalar(@twelve), 'each customer has a request');
is_deeply([ map { scalar @{ $told{"customer$_\@example.com"} } } 3, 6, 9 ], [ 2, 1, 1 ], 'what may become better is tried again');
like(shop('SELECT customer_id, product_id, error FROM wishlist.undelivered'), qr/^6\|12\|.*422/, 'what was not delivered is kept, with what was wrong');
shop(q{UPDATE wishlist.customers SET email = 'six@example.com' WHERE customer_id = 6});
my $caught_up = check_run(
	'wishlist-sale-check', '{}',
	{ checked => 1 + @still_failing, notified => 1, errors => scalar(@still_failing) },
	'the next one takes it up');
wait_value($node, 'shop', "SELECT delivered, waiting, failed FROM wishlist.deliveries WHERE run_id = $caught_up", '1|0|0', 'and delivers it');
shop('UPDATE wishlist.delivery SET url = NULL');
is(shop(q{SELECT count(*) FROM jobsched.jobs WHERE name = 'wishlist-notify'}), 0, 'without an address there is no such job');

# Mail of a failure: the server dies before the relay has said that it takes it.
my $relay = start_relay($node, tls => 'starttls');
set_setting($node, 'jobsched.http_ca_file', $relay->{ca});
set_setting($node, 'jobsched.smtp_url', $relay->{url});
shop(q{UPDATE wishlist.watch SET mail_to = '{silent@example.com}', alert_delay = '0 s'});

# Mails of the relay, at least $n, whose Message-IDs are different.
sub different_mails
{
	my ($n) = @_;
	my %seen;

	return grep { $_->{data} =~ /^Message-ID: (\S+)/mi && !$seen{$1}++ } wait_mails($relay, $n);
}

($failed, $status) = run_job($node, 'shop', 'wishlist-sale-check', role => 'shop', args => '{"batch_size": 0}');
wait_mails($relay, 1);
is(shop(q{SELECT name, job, condition, count FROM jobsched.alerts WHERE state = 'firing'}), 'wishlist-checks|wishlist-sale-check|failures|1', 'an alert fires');

# A crash
my $log_offset = log_size($node);
kill_and_start($node);
foreach my $job ('wishlist-sale-check', 'wishlist-stock-check')
{
	my $line = quotemeta(qq{job "$job" of "shop": schedule "0 0 29 2 *" (America/New_York), next run });
	wait_log($node, qr/LOG:\s+$line\d/, $log_offset, "$job is logged at start-up");
}

wait_scheduler($node, 'shop');
is(scalar(different_mails(2)), 1, 'a mail that is sent again is the same');
release($relay);
check_run(
	'wishlist-sale-check', '{}',
	{ checked => scalar(@still_failing), notified => 0, errors => scalar(@still_failing) },
	'a check after the crash');
my @mails = different_mails(3);
is(scalar(@mails), 2, 'people are told of the failure and of its end, once each');
like($mails[0]->{data}, qr/^Subject: job "wishlist-sale-check" failed once\r\n(?s:.*)batch_size must be/m, 'of what was wrong');
like($mails[1]->{data}, qr/^Subject: job "wishlist-sale-check" is well again/m, 'and that it is over');
is(scalar(grep { !$_->{tls} || $_->{to} ne 'silent@example.com' } @mails), 0, 'over TLS');
shop('UPDATE wishlist.watch SET mail_to = NULL');
is(shop('SELECT (SELECT count(*) FROM jobsched.channels) + (SELECT count(*) FROM jobsched.alerts)'), 0, 'without addresses nobody is told');

$node->stop;
check_log($node, killed => 1);
stop_http_server($_) for $mailer, $relay;
done_testing();
