# Copyright (c) 2026, jobsched contributors
# packages: libio-socket-ssl-perl openssl

# E-mail: what a relay gets, over which connections, whether and when again, and what
# becomes of texts and addresses that want to be something else.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use Encode qw(decode encode);
use HttpServers;
use JobschedTest;
use JSON::PP;
use MIME::Base64;
use MIME::QuotedPrint;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SmtpServer;
use Test::More;

my $db = 'postgres';
my $superuser = getpwuid($<);
my $node = http_node('mail', conf => q{
jobsched.timezone = 'UTC'
timezone = 'UTC'
jobsched.smtp_from = 'alerts@db.example.com'
log_min_messages = log
jobsched.http_max_inflight = 100
});
my $json = JSON::PP->new->canonical->utf8;
my $jobs = 0;

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

sub quoted
{
	my ($text) = @_;
	return q{'} . $text =~ s/'/''/gr . q{'};
}

# Queues a mail, as a channel does; more is of the job.
sub queue_mail
{
	my ($to, $args, $more) = @_;
	my $job = 'mail ' . ++$jobs;
	my $request = quoted($json->encode({ channel => 'email', to => $to }));

	# a text that is an object is the whole request
	$request = quoted($to) if $to =~ /^\{/;
	$args = ref $args eq 'SCALAR' ? ${$args} : quoted(ref $args ? $json->encode($args) : $args // '{"id": "m1", "subject": "s", "text": "t"}');
	$more = $more ? ", $more" : '';
	app("SELECT jobsched.create_job('$job', url => 'http://127.0.0.1:1/', retry_delays => '{10 ms, 10 ms, 10 ms, 10 ms}'$more)");
	app("SELECT jobsched.pause_job('$job')");
	my $run_id = app("SELECT jobsched.trigger('$job', args => $args)");
	psql("UPDATE jobsched_internal.run SET request = $request WHERE run_id = $run_id");
	app("SELECT jobsched.resume_job('$job')");
	return $run_id;
}

sub ended
{
	my ($run_id, $columns) = @_;
	return end_of($node, $db, $run_id, $columns || q{concat_ws('|', status, reason, sqlstate, attempt, error)});
}

sub sent { return ended(queue_mail(@_)); }

sub use_relay
{
	my ($relay, %more) = @_;

	set_setting($node, "jobsched.$_", $more{$_}) for keys %more;
	return set_setting($node, 'jobsched.smtp_url', $relay->{url});
}

# Headers (names in lower case), and the text decoded.
sub parts
{
	my ($mail) = @_;
	my ($head, $body) = split /\r\n\r\n/, $mail->{data}, 2;
	my %headers;

	$head =~ s/\r\n[ \t]+/ /g;
	push @{ $headers{ lc $1 } }, $2 while $head =~ /^([\w-]+): (.*?)\r?$/mg;
	return (\%headers, decode('UTF-8', decode_qp($body)) =~ s/\r\n/\n/gr);
}

# ------------------------------------------------------------------------
# No relay, no mail
# ------------------------------------------------------------------------

is(sent('a@b.example'), 'failed|bad_request|55000|1|no e-mail can be sent: jobsched.smtp_url is not set', 'without a relay');
like(error_of($node, $db, "ALTER SYSTEM SET jobsched.smtp_url = '$_'"), qr/22023/, 'smtp_url ' . s/\n/<LF>/r) for
  'http://relay', 'relay:25', 'smtp://', 'smtp://relay/path', 'smtp://user:pass@relay', 'smtp://relay:0', 'smtp://relay:65536', 'smtp://relay:25x',
  'smtp://relay?x', 'smtp://re lay', 'smtp://[::1', 'smtp://-x', "smtp://relay\n", 'SMTP://relay';
like(error_of($node, $db, "ALTER SYSTEM SET jobsched.smtp_from = '$_'"), qr/22023/, 'smtp_from ' . s/\n/<LF>/r) for
  'a', 'a@', '@b', 'a b@c', 'a@b c', '<a@b>', "a\@b\n", 'a@b>', 'a@[1.2.3.4]', '"a b"@c', 'a@b@c', 'a..b@c', 'a@b..c', "a\xc3\xa9\@b";
is(psql("SELECT count(*) FROM pg_settings WHERE name LIKE 'jobsched.smtp%' AND context = 'sighup'"), 5, 'settings are the superuser\'s');
is(app("SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings WHERE name LIKE 'jobsched.smtp%'"),
	'jobsched.smtp_from jobsched.smtp_tls jobsched.smtp_url', 'others do not see user and file');

# ------------------------------------------------------------------------
# TLS
# ------------------------------------------------------------------------

my $relay = start_relay($node, tls => 'starttls');
my $certificates = $relay->{certificates};
use_relay($relay);
# where the system trusts nobody, there is no file of those it trusts
like(sent('a@b.example', undef, 'max_attempts => 1'),
	qr/^failed\|tls\|08001\|1\|the (server's certificate is not trusted|file of trusted certificates cannot)/, 'a certificate of an unknown authority is refused');
is(scalar(mails($relay)), 0, 'nothing is sent');
set_setting($node, 'jobsched.http_ca_file', $relay->{ca});

my $run = queue_mail('a@b.example', { id => 'm2', subject => 'Hello', text => "one\ntwo" });
is(ended($run), 'succeeded|1', 'STARTTLS');
my ($mail) = mails($relay);
is_deeply([ @{$mail}{qw(from to tls)} ], [ 'alerts@db.example.com', 'a@b.example', 1 ], 'the envelope, and TLS');
my ($headers, $text) = parts($mail);
is($text, "one\ntwo\n", 'the text');
is($headers->{subject}[0], 'Hello', 'the subject');
is($headers->{from}[0], '<alerts@db.example.com>', 'From');
is($headers->{to}[0], '<a@b.example>', 'To');
is($headers->{'auto-submitted'}[0], 'auto-generated', 'Auto-Submitted');
like($headers->{'message-id'}[0], qr/^<[0-9a-f]{32}\@db\.example\.com>$/, 'Message-ID');
like($headers->{date}[0], qr/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d \+0000$/, 'Date');
is(join(' ', map { scalar @{ $headers->{$_} } } sort keys %{$headers}), join(' ', (1) x 9), 'each header once');
is(psql("SELECT concat_ws('|', h.status, http_version, method, url, body, h.total > h.first_byte, r.result) FROM jobsched.http_responses h JOIN jobsched.runs r USING (run_id) WHERE run_id = $run"),
	'250|MAIL|mailto:a@b.example|2.0.0' . "\n" . 'taken|t|{"status": 250}', 'the answer is kept');
my @said = said($relay);
is(join(' ', map { /^(\w+)/ } @said[ -7 .. -1 ]), 'EHLO STARTTLS EHLO MAIL RCPT DATA QUIT', 'the dialogue');

foreach my $case ([ smtps => 'good', 'succeeded|1' ],
	map { [ $_->[0], $_->[1], "failed|tls|08001|1|the server's certificate is not trusted, or not for this host" ] }
	map { [ smtps => $_ ], [ starttls => $_ ] } qw(expired wrong_host self_signed))
{
	my ($tls, $cert, $expected) = @{$case};
	my $other = start_relay($node, tls => $tls, cert => $cert, certificates => $certificates);

	use_relay($other);
	is(sent('a@b.example', undef, 'max_attempts => 1'), $expected, "$tls, certificate $cert");
	is(scalar(mails($other)), $expected =~ /^s/ ? 1 : 0, 'is what the relay got');
	stop_http_server($other);
}

my $open = start_relay($node, certificates => $certificates);
use_relay($open);
is(sent('a@b.example', undef, 'max_attempts => 1'), 'failed|tls|08001|1|the mail relay does not offer STARTTLS', 'no STARTTLS, no mail');
is(scalar(mails($open)), 0, 'nothing is sent in the clear');
my $refuses_tls = start_relay($node, tls => 'starttls', starttls => '454 4.7.0 not now', certificates => $certificates);
use_relay($refuses_tls);
is(sent('a@b.example', undef, 'max_attempts => 2'), 'failed|smtp_status|JS454|2|the mail relay answered with 454: 4.7.0 not now', 'STARTTLS refused');
is(scalar(grep { /^MAIL/ } said($refuses_tls)), 0, 'nothing is sent then either');
use_relay($open, 'smtp_tls' => 'none');
is(sent('a@b.example'), 'succeeded|1', 'without TLS if the settings say so');

# ------------------------------------------------------------------------
# Logging in
# ------------------------------------------------------------------------

my $password = 'Pa55 w%rd:x';
my $file = $node->data_dir . '/smtp_password';

sub keep_password
{
	my ($content) = @_;
	open(my $out, '>', $file) or die "$file: $!";
	print $out $content;
	return close $out;
}

is(sent('a@b.example'), 'succeeded|1', 'before');
use_relay($open, smtp_user => 'me@example.com');
is(sent('a@b.example'), 'failed|bad_request|55000|1|no e-mail can be sent: jobsched.smtp_user is set and jobsched.smtp_tls is "none"',
	'a password is not sent without TLS');
set_setting($node, 'jobsched.smtp_tls');
is(sent('a@b.example'), 'failed|bad_request|55000|1|jobsched.smtp_user is set and jobsched.smtp_password_file is not', 'nor without a file');
set_setting($node, 'jobsched.smtp_password_file', 'smtp_password');
is(sent('a@b.example'), 'failed|bad_request|55000|1|the password for the mail relay cannot be read', 'that is missing');
keep_password('');
is(sent('a@b.example'), 'failed|bad_request|55000|1|the password for the mail relay cannot be read', 'or empty');
unlink $file;
system('mkfifo', $file) == 0 or die 'mkfifo';
is(sent('a@b.example'), 'failed|bad_request|55000|1|the password for the mail relay cannot be read', 'or a pipe');
unlink $file;
keep_password("$password\n");
foreach my $mechanisms ('GSSAPI NTLM CRAM-MD5 PLAIN LOGIN', 'LOGIN')
{
	my $guarded = start_relay($node, tls => 'starttls', auth => "me\@example.com:$password", mechanisms => $mechanisms, certificates => $certificates);

	use_relay($guarded);
	is(sent('a@b.example'), 'succeeded|1', "logs in: $mechanisms");
	is((mails($guarded))[0]{auth}, 1, 'with name and password');
	keep_password('wrong' . $password);
	my $refused = ended(my $id = queue_mail('a@b.example'), q{concat_ws('|', status, reason, sqlstate, attempt)});
	is($refused, 'failed|smtp_status|JS535|1', 'the password is wrong');
	keep_password($password);
	stop_http_server($guarded);
}
my $echo = start_relay($node, tls => 'smtps', auth => 'me@example.com:other', echo => "not $password", certificates => $certificates);
use_relay($echo);
$run = queue_mail('a@b.example');
like(ended($run), qr/^failed\|smtp_status\|JS535\|1\|the mail relay answered with 535: 5\.7\.8 no: (PLAIN|LOGIN) \*\*\* not \*\*\*$/, 'a relay that repeats the password');
my @secrets = ($password, encode_base64($password, ''), encode_base64("\0me\@example.com\0$password", ''));
my $dump = psql("SELECT string_agg(x::text, '') FROM (SELECT r::text FROM jobsched.runs r UNION ALL SELECT h::text FROM jobsched.http_responses h) x(x)");
my $log = slurp_file($node->logfile);
foreach my $secret (@secrets)
{
	is(index($dump, $secret), -1, 'the password is in no row');
	is(index($log, $secret), -1, 'nor in the log');
}
# half of it, at the end of what is kept of a line, would be some of it too
my $tells_much = start_relay($node, tls => 'smtps', auth => 'me@example.com:other', echo => 'x' x 961 . $password, certificates => $certificates);
use_relay($tells_much);
$run = queue_mail('a@b.example');
is(ended($run), 'failed|smtp_status|JS535|1|the mail relay answered with 535: ', 'a line that is too long is not shown');
unlike(psql("SELECT body FROM jobsched.http_responses WHERE run_id = $run"), qr/Pa5/, 'nor kept');
my $refused = 'failed|bad_request|55000|1|the password for the mail relay cannot be read';
foreach my $content ("a\nb", "a\0b", "a\tb", 'x' x 1025, "\n\r\n")
{
	keep_password($content);
	is(sent('a@b.example'), $refused, 'not a password: ' . $json->encode([substr $content, 0, 10]));
}
open(my $large, '>', $file) or die $file;
truncate $large, 1 << 30;
close $large;
is(sent('a@b.example'), $refused, 'nor 1 GB');
unlink $file;
mkdir $file;
is(sent('a@b.example'), $refused, 'nor a directory');
rmdir $file;
symlink '/dev/zero', $file;
is(sent('a@b.example'), $refused, 'nor a device');
unlink $file;
keep_password($password);
my $modest = start_relay($node, tls => 'starttls', auth => "me\@example.com:$password", mechanisms => 'CRAM-MD5', certificates => $certificates);
use_relay($modest);
is(sent('a@b.example', undef, 'max_attempts => 1'),
	'failed|network|08P01|1|the mail relay offers no way to log in with a password', 'no mechanism that is known');
set_setting($node, "jobsched.$_") for qw(smtp_user smtp_password_file);
unlink $file;

# ------------------------------------------------------------------------
# What a relay may answer
# ------------------------------------------------------------------------

use_relay($relay);
is(sent('refused@b.example'), "failed|smtp_status|JS550|1|the mail relay answered with 550: 5.1.1 no such\n5.1.1 per\xc3\xbcson", '5xx is not tried again');
is(sent('rejected@b.example'), 'failed|smtp_status|JS554|1|the mail relay answered with 554: 5.7.1 no such texts', 'nor for the text');
is(sent('later-2@b.example', { id => 'later', text => 'x' }), 'succeeded|3', '4xx is, until it is taken');
is(sent('late-1@b.example', { id => 'late', text => 'x' }), 'succeeded|2', 'of the text too');
is(sent('later-9@b.example', undef, 'max_attempts => 2'), 'failed|smtp_status|JS450|2|the mail relay answered with 450: 4.2.0 greylisted', 'as often as the policy says');
is(sent('refused@b.example', undef, q{retry_on => '{550}', max_attempts => 3}) =~ s/\|the.*//sr, 'failed|smtp_status|JS550|3', 'or what the policy says');
is(sent('closes@b.example', undef, 'max_attempts => 1'), 'failed|network|08006|1|the connection to the mail relay broke', 'no answer to the text');
is(sent('nonsense@b.example', undef, 'max_attempts => 1'), 'failed|network|08P01|1|what the mail relay says is not SMTP', 'no SMTP');
is(sent('babbles@b.example', undef, 'max_attempts => 1'), 'failed|network|08P01|1|what the mail relay says is not SMTP', 'answers nobody has asked for');
is(scalar(grep { $_->{to} =~ /babbles/ } mails($relay)), 0, 'are not taken for others');
is(sent("a\@b.example", undef, 'max_attempts => 1'), 'succeeded|1', 'after all that the next one goes');
set_setting($node, 'jobsched.smtp_tls', 'none');
foreach my $case (
	[ 'greeting', '554 5.7.1 go away', 'failed|smtp_status|JS554|1|the mail relay answered with 554: 5.7.1 go away' ],
	[ 'greeting', '421 4.3.2 busy', 'failed|smtp_status|JS421|2|the mail relay answered with 421: 4.3.2 busy' ],
	[ 'greeting', 'HTTP/1.1 400 Bad Request', 'timed_out|timeout|57014|2|canceling run due to its timeout of 1000 ms' ])
{
	my ($what, $answer, $expected) = @{$case};
	my $other = start_relay($node, $what => $answer, certificates => $certificates);

	use_relay($other);
	is(sent('a@b.example', undef, 'max_attempts => 2, timeout => \'1 s\''), $expected, "$what: $answer");
	stop_http_server($other);
}
my $nobody = start_relay($node, certificates => $certificates);
stop_http_server($nobody);
use_relay($nobody);
is(sent('a@b.example', undef, 'max_attempts => 1'), 'failed|network|08001|1|cannot connect to the server', 'nobody there');
use_relay($open);

# ------------------------------------------------------------------------
# Texts that want to be something else
# ------------------------------------------------------------------------

sub mail_of
{
	my ($subject, $text) = @_;
	my $before = mails($open);

	is(sent('a@b.example', { id => 'x' . ++$jobs, subject => $subject, text => $text }), 'succeeded|1', 'a mail is sent');
	my $got = (mails($open))[-1];
	is(scalar(grep { length > 78 } split /\r\n/, $got->{data}), 0, 'with no long line');
	unlike($got->{data}, qr/[^\r\n\t\x20-\x7e]/, 'of plain ASCII');
	my ($h, $t) = parts($got);
	is(join(' ', sort keys %{$h}), 'auto-submitted content-transfer-encoding content-type date from message-id mime-version subject to', 'with these headers');
	return (decode('MIME-Header', $h->{subject}[0]), $t, $got);
}

my @texts = (
	[ 'ascii', 'plain' ],
	[ "a\r\nBcc: victim\@example.com\r\n\r\nbody", "x\r\n.\r\nMAIL FROM:<evil\@example.com>\r\nRCPT TO:<victim\@example.com>\r\nDATA\r\n" ],
	[ '=?UTF-8?B?QmNjOg==?=', ".\n..\n.\r.\n...dots\nFrom me\n>From\n" ],
	[ "\x{fc}ber \x{1f600} " x 30, "\x{fc}\x{1f600}\x{20ac} " x 500 ],
	[ "tab\tbell\x07del\x7f", "ends in space \nends in tab\t\n=3D=\n\n\n" ],
	[ 'x' x 5000, 'y' x 5000 . "\n" . '.' x 200 . "\n" . ' ' x 200 . "\n" . "\x{e9}" x 200 ],
	[ '', '' ]);
foreach my $case (@texts)
{
	my ($subject, $body) = @{$case};
	my ($got_subject, $got_text, $got) = mail_of($subject, $body);
	my $expected = $body =~ s/\r\n?/\n/gr;

	(my $shown = $subject) =~ s/[\x00-\x1f\x7f]/ /g;
	my $cut = encode('UTF-8', $shown);
	$cut = substr $cut, 0, 200;
	$shown = decode('UTF-8', $cut, Encode::FB_QUIET);
	is($got_subject, $shown, 'the subject is one line');
	$expected .= "\n" if $expected ne '' && $expected !~ /\n\z/;
	is($got_text, $expected, 'the text is whole');
	is_deeply([ @{$got}{qw(from to)} ], [ 'alerts@db.example.com', 'a@b.example' ], 'it went to whom it should');
}
is(scalar(grep { / \(bare LF\)$/ } said($open)), 0, 'no line had a bare LF');
my ($long) = (mail_of('long', 'word ' x 100_000))[1];
like($long, qr/^(word )+w?o?r?d?\n\[\.\.\.\]\n\z/, 'a text that is too long is cut');
cmp_ok(length $long, '<', 263_000, 'to 256 kB');

my $mails = mails($open);
foreach my $address ("a\@b.example>\r\nRCPT TO:<victim\@example.com", 'a@b.example> SIZE=1', 'a@b.example, c@d.example', 'a b@c.example', '', '@', 'a@', '-x@b.example',
	"\xc3\xa9\@b.example", 'a@' . 'b' x 64 . '.example', 'a' x 250 . '@b.example', '"a b"@c.example', 'a@[127.0.0.1]', 'a@b.example ', "a\@b.example\n")
{
	like(ended(queue_mail($address), q{concat_ws('|', status, reason, sqlstate, attempt)}), qr/^failed\|bad_request\|22023\|1$/, 'an address that is refused: ' . $json->encode([$address]));
}
foreach my $request ('{"channel": "email"}', '{"channel": "email", "to": 1}', '{"channel": "email", "to": ["a@b.example"]}')
{
	is(ended(queue_mail($request), q{concat_ws('|', status, reason, sqlstate, attempt)}), 'failed|bad_request|22023|1', "request $request");
}
is(scalar(mails($open)), $mails, 'nothing of that went out');
foreach my $args ('{}', '{"subject": 1, "text": {"a": 1}, "id": null}', '{"subject": null}')
{
	is(sent('a@b.example', $args), 'succeeded|1', "args $args");
}

# Rules for requests, and their proxy, are not the relay's.
set_setting($node, 'jobsched.http_deny', '0.0.0.0/0, [::]/0');
set_setting($node, 'jobsched.http_proxy', 'http://127.0.0.1:1');
is(sent('a@b.example'), 'succeeded|1', 'http_allow, http_deny and http_proxy do not matter');
set_setting($node, "jobsched.$_") for qw(http_deny http_proxy);

# ------------------------------------------------------------------------
# The same mail has the same Message-ID
# ------------------------------------------------------------------------

sub ids_of
{
	my ($where, $to) = @_;
	return map { (parts($_))[0]{'message-id'}[0] } grep { $_->{to} eq $to } mails($where);
}

sent('same@b.example', { id => 'one', text => 'x' });
sent('same@b.example', { id => 'one', text => 'x again' });
sent('same@b.example', { id => 'two', text => 'x' });
my @ids = ids_of($open, 'same@b.example');
is($ids[0], $ids[1], 'the same message has the same Message-ID');
isnt($ids[0], $ids[2], 'another has another');
sent('other@b.example', { id => 'one', text => 'x' });
isnt((ids_of($open, 'other@b.example'))[0], $ids[0], 'and so has another recipient');

# ------------------------------------------------------------------------
# A relay that hangs delays nobody
# ------------------------------------------------------------------------

my $sink = start_sink($node);
my @hanging = map { queue_mail('silent@b.example', { id => "hang $_", text => 'x' }, q{timeout => '1 h'}) } 1 .. 6;
wait_mails_to($open, 'silent@b.example', 4);
is(end_of($node, $db, app("SELECT jobsched.http_get('$sink->{url}/while')")), 'succeeded', 'requests go on while a relay hangs');
is(scalar(grep { $_->{to} eq 'silent@b.example' } mails($open)), 4, 'one role has four connections');
is(sent('hangs@b.example', undef, q{max_attempts => 1, timeout => '300 ms'}),
	'timed_out|timeout|57014|1|canceling run due to its timeout of 300 ms', 'a mail that waits for one of them ends in time');
app("SELECT jobsched.cancel_run($hanging[0])");
like(ended($hanging[0]), qr/^cancelled/, 'one that hangs can be cancelled');
wait_mails_to($open, 'silent@b.example', 5);
ok(1, 'and the next has its place');
# nor do they delay its own requests, be they as many as it may have under way
app(q{SELECT jobsched.set_channel('many', 'email', to_address => '{silent@b.example}')});
app(q{SELECT jobsched.alter_job('channel:many', max_concurrency => 1000)});
app(q{SELECT jobsched.test_channel('many') FROM generate_series(1, 150)});
wait_value($node, $db, q{SELECT count(*) FROM jobsched.runs WHERE keys = '{http_host:smtp}' AND status = 'running'}, '64', 'as many mails are under way as requests to one host may be');
is(end_of($node, $db, app("SELECT jobsched.http_get('$sink->{url}/meanwhile', timeout => '10 s')")), 'succeeded', 'the role\'s own requests go on');
app(q{SELECT jobsched.drop_channel('many')});
end_sessions($node);
kill_and_start($node);
release($open);
like(ended($_), qr/^succeeded/, 'after kill -9 it is sent again') for @hanging[ 1 .. 5 ];
my %seen;
$seen{$_}++ for ids_of($open, 'silent@b.example');
is(scalar(keys %seen), 6, 'six messages');
cmp_ok(scalar(grep { $_ > 1 } values %seen), '>=', 4, 'of which some came twice, with the same Message-ID');

my $stays = start_relay($node, stays => 1, certificates => $certificates);
use_relay($stays);
is(sent('a@b.example'), 'succeeded|1', 'nobody waits for the answer to QUIT');
foreach my $silent (qw(greeting EHLO MAIL RCPT DATA))
{
	my $mute = start_relay($node, silent => $silent, certificates => $certificates);

	use_relay($mute);
	my $hangs = queue_mail('a@b.example', undef, q{timeout => '2 s', max_attempts => 1});
	is(end_of($node, $db, app("SELECT jobsched.http_get('$sink->{url}/$silent')")), 'succeeded', "a request goes on: $silent");
	is(ended($hangs), 'timed_out|timeout|57014|1|canceling run due to its timeout of 2000 ms', "no answer to $silent");
	stop_http_server($mute);
}

# ------------------------------------------------------------------------
# Channels
# ------------------------------------------------------------------------

use_relay($open);
app(q{SELECT jobsched.set_channel('ops', 'email', to_address => '{first@b.example,refused@b.example,later-1@c.example}')});
app(q{SELECT jobsched.alter_job('channel:ops', backoff_base => '10 ms')});
$run = app(q{SELECT jobsched.test_channel('ops')});
is(ended($run), 'succeeded|1', 'test_channel() sends a mail');
my %end;
foreach my $other (split /\n/, psql(q{SELECT run_id FROM jobsched_internal.run UNION SELECT run_id FROM jobsched.runs WHERE job_name = 'channel:ops' ORDER BY 1}))
{
	my ($to, $end) = split / /, ended($other, q{(SELECT min(url) FROM jobsched.http_responses h WHERE h.run_id = runs.run_id) || ' ' || concat_ws('|', status, reason, sqlstate, attempt)}), 2;
	$end{$to} = $end if defined $end;
}
is_deeply(\%end, { 'mailto:first@b.example' => 'succeeded|1', 'mailto:refused@b.example' => 'failed|smtp_status|JS550|1', 'mailto:later-1@c.example' => 'succeeded|2' },
	'each address has a mail of its own');
($headers, $text) = parts((grep { $_->{to} eq 'first@b.example' } mails($open))[0]);
like($headers->{subject}[0], qr/ops/, 'what it is about');
wait_value($node, $db, q{SELECT state, last_sent_at IS NOT NULL FROM jobsched.channels WHERE name = 'ops'}, 'active|t', 'one address that is refused does not disable the channel');
set_setting($node, 'jobsched.smtp_url');
is(ended(app(q{SELECT jobsched.test_channel('ops')})), 'failed|bad_request|55000|1|no e-mail can be sent: jobsched.smtp_url is not set', 'without a relay it says so');
like(app(q{SELECT last_error FROM jobsched.channels WHERE name = 'ops'}), qr/jobsched\.smtp_url is not set/, 'in view channels too');

# ------------------------------------------------------------------------
# Other encodings of the database
# ------------------------------------------------------------------------

use_relay($open);
$node->safe_psql('postgres', "CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
create_extension($node, 'latin1');
$node->safe_psql('latin1', 'GRANT USAGE ON SCHEMA jobsched TO app; GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
$db = 'latin1';
$run = queue_mail('latin1@b.example', q{{"id": "l", "subject": "\u00fcber", "text": "gr\u00fc\u00dfe"}});
is(ended($run), 'succeeded|1', 'a database of LATIN1');
($headers, $text) = parts((grep { $_->{to} eq 'latin1@b.example' } mails($open))[0]);
is(decode('MIME-Header', $headers->{subject}[0]) . ": $text", "\x{fc}ber: gr\x{fc}\x{df}e\n", 'sends UTF-8');

$node->safe_psql('postgres', "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
create_extension($node, 'bytes');
$node->safe_psql('bytes', 'GRANT USAGE ON SCHEMA jobsched TO app; GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
$db = 'bytes';
is(ended(queue_mail('bytes@b.example', qq{{"id": "b\xff", "subject": "a\xff\xc3\xa9", "text": "b\xfe\xc3\xa9"}})), 'succeeded|1', 'a database without an encoding');
($headers, $text) = parts((grep { $_->{to} eq 'bytes@b.example' } mails($open))[0]);
is(decode('MIME-Header', $headers->{subject}[0]) . ": $text", "a?\x{e9}: b?\x{e9}\n", 'sends UTF-8 too');

$node->safe_psql('postgres', "CREATE DATABASE win1252 ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0");
create_extension($node, 'win1252');
$node->safe_psql('win1252', 'GRANT USAGE ON SCHEMA jobsched TO app; GRANT EXECUTE ON FUNCTION jobsched.http_request TO app');
$db = 'win1252';
is(ended(queue_mail('win@b.example', \"jsonb_build_object('subject', 'a' || chr(129) || chr(128), 'text', chr(233) || chr(157))")), 'succeeded|1', 'a text that has no equivalent in UTF-8');
($headers, $text) = parts((grep { $_->{to} eq 'win@b.example' } mails($open))[0]);
is(decode('MIME-Header', $headers->{subject}[0]) . ": $text", "a?\x{20ac}: \x{e9}?\n", 'does not keep the mail from being sent');

$node->stop;
done_testing();

sub wait_mails_to
{
	my ($where, $to, $count) = @_;
	my $until = time() + 120;

	select undef, undef, undef, 0.02 while time() < $until && grep({ $_->{to} eq $to } mails($where)) < $count;
	return;
}
