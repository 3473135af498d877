# Copyright (c) 2026, jobsched contributors

# Texts that say the same in different forms, on the way through servers: what
# is judged is what is used.  Placeholders in what a trigger gives, spellings of
# hosts, and redirects: what goes along, and why one is not followed.

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
my $superuser = getpwuid($<);
my $node = http_node('http_text', conf => "jobsched.http_max_per_host = 2\n");

# /leak/FORM?to=URL leads to that URL with the request's X-Key in it, in that
# form; /nowhere redirects and does not say where to.
my $sink = start_sink($node, answer => <<'END');
sub {
	my ($request) = @_;
	my $key = $request->{headers}->{'x-key'} // '';
	my ($form) = $request->{path} =~ m{^/leak/(\w+)$};

	return (302, '', 'X-Nothing' => 'here') if $request->{path} eq '/nowhere';
	return unless defined $form;
	my $percent = sub { join '', map { /[A-Za-z0-9]/ ? $_ : sprintf('%%%02X', ord) } split //, $_[0] };
	$key = $percent->($key) if $form eq 'percent' || $form eq 'twice';
	$key = lc $percent->($key) if $form eq 'lower';
	$key = $percent->($key) if $form eq 'twice';
	$key =~ s/"/%22/g if $form eq 'quotes';
	$key =~ s{/}{%2f}g if $form eq 'slashes';
	$key =~ s/(["\\])/\\$1/g if $form eq 'json';
	$key =~ s{([^A-Za-z0-9])}{sprintf('\\u%04x', ord $1)}ge if $form eq 'unicode';
	return (307, '', Location => "$request->{query}->{to}?k=$key");
}
END
my $other = start_sink($node);
my $url = $sink->{url};

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

# A request of its own, sent once.
sub request
{
	my ($method, $path, $more) = @_;
	return app("SELECT jobsched.http_request('$method', '$url$path', max_attempts => 1" . ($more ? ", $more)" : ')'));
}

# ------------------------------------------------------------------------
# Headers that a trigger gives
# ------------------------------------------------------------------------

# mallory may make triggers on app's table, and is not to get app's secret
psql(q{CREATE ROLE mallory LOGIN; GRANT USAGE ON SCHEMA jobsched TO mallory; GRANT USAGE ON SCHEMA app TO mallory;
	GRANT EXECUTE ON FUNCTION jobsched.http_webhook TO mallory});
app(q{SELECT jobsched.set_secret('api', 'the-owners-secret'); CREATE TABLE app.change (n int); GRANT TRIGGER ON app.change TO mallory});
foreach my $headers (
	'{"X-A": "{{secret.api}}"}', '{"X-A": "\u007b\u007bsecret.api}}"}', '{"X-A": "{\u007bsecret.api}}"}', '{"X-A": "\u007b{secret.api}}"}', '{"X-A": "\u007B\u007Bsecret.api\u007d\u007D"}',
	'{"X-A": ["plain", "\u007b\u007bsecret.api}}"]}', '{"X-A": "x\t\u007b\u007b\u0073ecret.api}}"}', '{"X-A": "plain", "X-A": "\u007b\u007bvault.api}}"}', '{"\u007b\u007bsecret.api}}": "x"}',
	'{"X-A": {"b": ["\u007b\u007bsecret.api}}"]}}', '"\u007b\u007bsecret.api}}"', '{"X-A": "\u007b\u007brun.id}}"}', '{"X-A": "\u007b\u007b"}')
{
	like(error_of($node, $db, "CREATE TRIGGER spy AFTER INSERT ON app.change FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/spy', '$headers')", 'mallory'),
		qr/22023: headers that trigger "spy" gives contain a placeholder/, "$headers is refused");
}
sql_as($node, $db, 'mallory', "CREATE TRIGGER spy AFTER INSERT ON app.change FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('$url/plain', " .
	q['{"X-A": "\u007b secret.api \u007d} %7B%7Bsecret.api}}", "X-\u0042": [ "one", "two" ]}')]);
app('INSERT INTO app.change VALUES (1)');
my ($plain) = wait_requests($sink, 1, qr{^/plain$});
is(join('|', @{ $plain->{headers} }{qw(x-a x-b)}), '{ secret.api }} %7B%7Bsecret.api}}|one, two', 'escapes of what is no placeholder are nothing special');
psql('DROP TRIGGER spy ON app.change');
is(scalar(requests($sink, qr/spy/)), 0, 'nothing else has been sent');

# ------------------------------------------------------------------------
# Spellings of a host
# ------------------------------------------------------------------------

my @spellings = ('127.0.0.1', '127.1', '127.0.1', '2130706433', '0x7f000001', '0x7f.1', '0177.0.0.1', '017700000001', '127.0.0.1.', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:FFFF:127.0.0.1]');
my @runs = map { app("SELECT jobsched.http_get('http://$_:$sink->{port}/gate/host')") } @spellings;

wait_requests($sink, 2, qr{^/gate/host$});
is(ended(app("SELECT jobsched.http_get('$other->{url}/passes')")), 'succeeded', 'requests to another port are sent meanwhile');
is(scalar(requests($sink, qr{^/gate/host$})), 2, 'http_max_per_host holds for a host in all of its spellings');
is(psql('SELECT string_agg(DISTINCT k, chr(10)) FROM jobsched.runs r, unnest(keys) k WHERE run_id IN (' . join(', ', @runs) . ')'), "http_host:127.0.0.1:$sink->{port}", 'which have one key');
open_gate($sink, 'host');
is(ended($_), 'succeeded', 'they are all sent') foreach @runs;
is(join(' ', sort { $a cmp $b } keys %{ { map { $_->{headers}->{host} => 1 } requests($sink, qr{^/gate/host$}) } }), "127.0.0.1:$sink->{port}", 'to the host as it was judged');
like(error_of($node, $db, "SELECT jobsched.http_get('http://b\x{c3}\x{bc}cher.example/')", 'app'), qr/22023: url has a host that is not in ASCII.*xn--/s, 'other characters in a host are refused, with a hint');

# ------------------------------------------------------------------------
# What another origin gets
# ------------------------------------------------------------------------

my $cross = "http://localhost:$other->{port}/cross";
my $credentials = q('{"apikey": "k2", "X-Api-Key": "plain", "Authorization": "Bearer t", "Cookie": "a=b", "Private-Token": "t", "Content-Key": "t", "Accept": "text/plain", "X-Token": "{{secret.api}}"}');

is(ended(request('POST', "/redirect/307?to=$cross", qq(body => '{"k": 1}', headers => $credentials, max_redirects => 1))), 'succeeded', 'another origin may be led to');
my ($over) = requests($other, qr{^/cross$});
is(join(' ', sort(grep { !/^(host|connection)$/ } keys %{ $over->{headers} })), 'accept content-length content-type idempotency-key traceparent user-agent', 'of headers it gets what tells nothing');
is("$over->{method} $over->{body}", 'POST {"k": 1}', 'and the body');
forget_requests($sink);
is(ended(request('POST', '/redirect/307?to=/same', qq(body => '{"k": 1}', headers => $credentials, max_redirects => 1))), 'succeeded', 'the same origin');
is(join('|', @{ (requests($sink, qr{^/same$}))[0]->{headers} }{qw(apikey x-api-key authorization cookie private-token x-token)}), 'k2|plain|Bearer t|a=b|t|the-owners-secret', 'gets all of them');

# a secret of characters that each encoding treats differently
app(q{SELECT jobsched.set_secret('odd', 'ab"cd/ef\gh+ij')});
forget_requests($other);
foreach my $form (qw(raw percent lower twice quotes slashes json unicode))
{
	my $id = request('GET', "/leak/$form?to=$other->{url}/leaked", q(headers => '{"X-Key": "{{secret.odd}}"}', max_redirects => 1));

	is(ended($id, 'status, error ~ \'not followed: .*secret\''), 'failed|t', "a secret that comes back in Location goes nowhere else: $form");
	is(ended(request('GET', "/leak/$form?to=/stays", q(headers => '{"X-Key": "{{secret.odd}}"}', max_redirects => 1))), 'succeeded', 'to whom has it, it does');
}
is(ended(request('GET', "/leak/raw?to=$other->{url}/harmless", q(headers => '{"X-Key": "no secret"}', max_redirects => 1))), 'succeeded', 'what is none goes there');
is(join(' ', map { $_->{path} } requests($other)), '/harmless', 'and nothing else has been asked');

# ------------------------------------------------------------------------
# POST and GET
# ------------------------------------------------------------------------

forget_requests($sink);
foreach my $status (301, 302)
{
	my $body = q(body => '{"k": 1}', max_redirects => 3);

	is(ended(request('POST', "/redirect/$status?to=/after$status", $body), 'status, reason, sqlstate, error, error_hint ~ \'success_codes\''),
		"failed|http_status|JS$status|the server answered with status $status, and the redirect was not followed: it would make a GET of the POST, and the body would not arrive|t", "$status of a POST is a failure");
	is(scalar(requests($sink, qr{^/after$status$})), 0, 'nothing is asked instead');
	is(ended(request('POST', "/redirect/$status?to=/asked$status", "$body, success_codes => '{200,$status}'")), 'succeeded', 'where it is a success');
	is((requests($sink, qr{^/asked$status$}))[0]->{method}, 'GET', 'it leads to what a GET gets');
	is(ended(request('PUT', "/redirect/$status?to=/put$status", $body)), 'succeeded', 'a PUT');
	is((requests($sink, qr{^/put$status$}))[0]->{body}, '{"k": 1}', 'is a PUT elsewhere too');
}
is(ended(request('POST', '/redirect/303?to=/see', q(body => '1', max_redirects => 1))), 'succeeded', '303 says that the POST has arrived');
is((requests($sink, qr{^/see$}))[0]->{method}, 'GET', 'and where a GET finds more');
app(qq{SELECT jobsched.create_job('moved', url => '$url/redirect/302?to=/after', body => '1', max_redirects => 1, max_attempts => 1)});
is(ended(app(q{SELECT jobsched.trigger('moved')})), 'failed http_status JS302', 'the same holds for jobs');
app(q{SELECT jobsched.alter_job('http', success_codes => '{2xx,302}')});
is(ended(request('POST', '/redirect/302?to=/by-job', q(body => '1', max_redirects => 1))), 'succeeded', 'and the job of single requests can ask for it');
app(q{SELECT jobsched.alter_job('http', success_codes => '{}')});

# ------------------------------------------------------------------------
# Why not
# ------------------------------------------------------------------------

sub why_not
{
	my ($method, $path, $more) = @_;
	return ended(request($method, $path, $more), 'error');
}

my $not = 'and the redirect was not followed:';
is(why_not('GET', '/nowhere', 'max_redirects => 1'), "the server answered with status 302, $not it redirects without saying where to", 'without Location');
is(why_not('GET', '/redirect/307?to=/redirect/307%3Fto=/redirect/307', 'max_redirects => 1'), "the server answered with status 307, $not max_redirects have been followed", 'too many');
is(why_not('GET', '/redirect/302?to=ftp://127.0.0.1/', 'max_redirects => 1'), "the server answered with status 302, $not the URL that it redirects to does not begin with http:// or https://", 'another scheme');
is(why_not('GET', '/redirect/302?to=http://user:word@127.0.0.1/', 'max_redirects => 1'), "the server answered with status 302, $not the URL that it redirects to has credentials in it", 'with a user');
is(why_not('GET', '/redirect/302?to=http://1.2.3.4.5/', 'max_redirects => 1'), "the server answered with status 302, $not the URL that it redirects to has an invalid host", 'no host');
is(why_not('GET', '/redirect/300?to=/', 'max_redirects => 1'), "the server answered with status 300, $not its status is none of 301, 302, 303, 307 and 308", 'a choice');
app(qq{SELECT jobsched.create_job('tells', url => '$url/redirect/307?to=$other->{url}/told', body => '"{{secret.api}}"', max_redirects => 1, max_attempts => 1)});
like(ended(app(q{SELECT jobsched.trigger('tells')}), 'error'), qr/^the server answered with status 307, $not it redirects to another host a request with a secret/, 'a body with a secret');
is(ended(request('GET', '/redirect/302?to=/'), 'error, error_hint'), 'the server answered with status 302|max_redirects says how many redirects are followed, by default none.', 'they are not followed at all');
is(ended(request('GET', '/status/304', 'max_redirects => 1'), 'error, error_hint'), 'the server answered with status 304|', '304 is no redirect');
is(ended(request('GET', '/redirect/302?to=/', q(success_codes => '{302}')), 'status, error'), 'succeeded|', 'nor is a success asked why');

# ------------------------------------------------------------------------
# Signatures
# ------------------------------------------------------------------------

app(q{SELECT jobsched.set_secret('hook', 'v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3'), jobsched.set_secret('raw', '0123456789abcdef01234567')});
is(ended(request('POST', '/signed', "body => '{\"a\": 1}', sign_with => '$_'")), 'succeeded', "signed with $_") foreach qw(hook raw);
foreach my $request (requests($sink, qr{^/signed$}))
{
	require Digest::SHA;
	my ($id, $time, $signature) = @{ $request->{headers} }{qw(webhook-id webhook-timestamp webhook-signature)};

	is($signature, 'v1,' . Digest::SHA::hmac_sha256_base64("$id.$time.$request->{body}", '0123456789abcdef01234567') . '=', 'by the bytes of the key');
}
like(error_of($node, $db, "SELECT jobsched.set_secret('hook', '$_')", 'app'), qr/22023: the value of secret "hook" has an? (asymmetric )?key.*HINT/s, "$_ is refused when it is set")
  foreach 'v1,whsec_hush', 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY', 'whsk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'v1a,whpk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3';

done_testing();
