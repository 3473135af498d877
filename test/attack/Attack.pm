# Copyright (c) 2026, jobsched contributors

=pod

=head1 NAME

Attack - what generators of odd inputs have in common

=head1 SYNOPSIS

  use FindBin;
  use lib "$FindBin::Bin", "$FindBin::Bin/../t";
  use Attack;

  my $node = attack_node('functions');
  foreach my $round (rounds()) { ... chosen(@list) ... odd_value('jsonb') ... }
  check_unharmed($node);

All choices come of one seed, so a run can be repeated: JOBSCHED_ATTACK_SEED,
default 1. JOBSCHED_ATTACK_ROUNDS says how long it takes: by default 1, which
is some fifteen seconds for each file.

The roles: attacker and victim may use the extension and make HTTP requests,
nobody has no right but to connect. What is the victim's holds the text of
secret_text(), and no other role may ever see that.

=cut

package Attack;

use strict;
use warnings;

use Exporter 'import';
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  attack_node check_unharmed rounds chosen chance whole odd_value literal
  secret_text attack_sql
);

my $secret = 'only-the-victim-knows-4711';
my %first_pid;

sub secret_text { return $secret }

sub rounds
{
	return 1 .. ($ENV{JOBSCHED_ATTACK_ROUNDS} || 1);
}

# ------------------------------------------------------------------------
# Choices
# ------------------------------------------------------------------------

srand($ENV{JOBSCHED_ATTACK_SEED} || 1);

# From 0 to $n - 1.
sub whole
{
	my ($n) = @_;
	return int(rand($n));
}

sub chosen
{
	my (@of) = @_;
	return $of[ whole(scalar @of) ];
}

sub chance
{
	my ($part) = @_;
	return rand() < $part;
}

# ------------------------------------------------------------------------
# Values
# ------------------------------------------------------------------------

sub literal
{
	my ($text) = @_;
	my $quoted = $text =~ s/([\\'])/$1$1/gr;
	return "E'$quoted'";
}

# SQL that makes a text, odd as names, URLs, schedules and the like.
my @texts = (
	q{''}, q{' '}, q{repeat('x', 100)}, q{repeat('x', 300000)}, q{repeat(E'\x01', 70000)},
	q{chr(8232) || 'a'}, q{'ä' || repeat('é', 200)}, q{E'a\nb'}, q{E'a\tb\rc'}, q{E'\x7f'},
	q{'%s%n%d'}, q{'\\u0000'}, q{'a"b'}, q{'a''b'}, q{'$1'}, q{'*'}, q{'#1'}, q{'1'}, q{'-1'}, q{'NaN'},
	q{'* * * * *'}, q{'0 25 * * *'}, q{'every 1 second'}, q{'every 99999999999999 years'}, q{'@startup'},
	q{'0 0 31 2 *'}, q{'H H * * *'}, q{'2026-01-01 00:00:00+00'}, q{'infinity'}, q{'30 seconds'},
	q{'UTC'}, q{'Europe/Berlin'}, q{'+99'}, q{'../../etc/passwd'}, q{'posix/UTC'},
	q{'auto'}, q{'autocommit'}, q{'transaction'}, q{'skip'}, q{'queue'}, q{'all'}, q{'exponential'},
	q{'update'}, q{'keep'}, q{'error'}, q{'return_existing'}, q{'replace'}, q{'debounce'},
	q{'POST'}, q{'GET'}, q{'G E T'}, q{E'GET\r\nX: y'},
	q{'http://127.0.0.1:1/'}, q{'http://[::1]:1/'}, q{'http://2130706433:1/'}, q{'http://0x7f.1:1/'},
	q{'http://127.0.0.1:99999/'}, q{'http://u:p@127.0.0.1:1/'}, q{'http://127.0.0.1:1/{{secret.api}}'},
	q{'http://bücher.example/'}, q{'file:///etc/passwd'}, q{'gopher://127.0.0.1:1/'}, q{'http://'}, q{'http:///x'},
	q{'{{secret.api}}'}, q{'{{vault.x}}'}, q{'{{args.a.b}}'}, q~'{{'~, q{'{args.x}'}, q{'{{run.id}}'},
	q{'attacker_alert'}, q{'victim_alert'}, q{'{attacker_channel}'}, q{'{victim_channel}'}, q{'{*}'}, q{'{failed,missed}'}, q{'attacker_channel'}, q{'victim_channel'}, q{'channel:victim_channel'}, q{'channel:attacker_channel'}, q{'slack'}, q{'webhook'}, q{'email'}, q{'notify'}, q{'handler'},
	q{'{a@b.example}'}, q{E'{"a@b\\r\\nRCPT TO:<c@d>"}'}, q{'attacker_hook'}, q{'victim_hook'}, q{'victim_signed'}, q{'github'}, q{'stripe'}, q{'hmac'}, q{'$.a'}, q{'vault.x'}, q{'api'}, q{'x-a'},
	q{'attacker_job'}, q{'victim_job'}, q{'victim.victim_job'}, q{'http'},
	q{'SELECT 1'}, q{'SELECT'}, q{';'}, q{'COMMIT'}, q{'VACUUM'}, q{'ROLLBACK; SELECT 1'}, q{'SELECT 1; COMMIT; SELECT 2'},
	q{'DO $$ BEGIN COMMIT; END $$'}, q{'SET ROLE victim'}, q{'RESET ROLE'}, q{'SELECT pg_sleep(0.01)'},
	q{'public.attacker_handler'}, q{'pg_catalog.jsonb_out'}, q{'jobsched.trigger'}, q{'no.such_function'}, q{'a.b.c.d'},
	q{'user:42'}, q{':'}, q{'a:'}, q{'victim'}, q{'attacker'}, q{'nobody'}, q{'no such role'},
	q{'whsec_!!'}, q{'v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3'}, q{'0'}, q{'40001'}, q{'5xx'}, q{'200-299'},
);

my %values = (
	text => \@texts,
	name => [ q{''}, q{'attacker'}, q{'victim'}, q{'nobody'}, q{'postgres'}, q{repeat('x', 70)::name}, q{'no such'} ],
	boolean => [ 'true', 'false' ],
	integer => [ '0', '1', '-1', '2', '20', '1000000', '2147483647', '-2147483648' ],
	bigint => [ '0', '1', '-1', '2', '5', '9223372036854775807', '-9223372036854775808', '4294967296' ],
	'double precision' => [ '0', '1', '0.5', '-1', q{'NaN'}, q{'Infinity'}, q{'-Infinity'}, '1e300', '1e-320' ],
	interval => [ q{'0'}, q{'1 s'}, q{'1 us'}, q{'-1 s'}, q{'1 month'}, q{'178000000 years'}, q{'-178000000 years'},
		q{'1 month -30 days'}, q{'10 ms'}, q{'2147483647 days'} ],
	'timestamp with time zone' => [ 'now()', q{'infinity'}, q{'-infinity'}, q{'4713-01-01 BC'}, q{'294276-12-31'},
		q{'2000-01-01'}, q{now() + interval '1 year'}, q{now() - interval '1 hour'} ],
	jsonb => [ q{'{}'}, q{'[]'}, q{'null'}, q{'1'}, q{'"x"'}, q{'{"a": null}'}, q{'{"a": {"b": [1, {"c": 2}]}}'},
		q{'{"x": "{{secret.api}}"}'}, q~'{"X-A": "\u007b\u007bsecret.api}}"}'~, q{'{"a b": "c"}'}, q{'{"": ""}'},
		q{'{"Host": "x"}'}, q{'{"X": "a\r\nY: b"}'}, q{'{"X": ["a", "b"]}'}, q{'{"Content-Length": "1"}'},
		q{jsonb_build_object('k', repeat('v', 300000))}, q{jsonb_build_object(repeat('k', 300000), 1)},
		q{(SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 3000) i)},
		q{to_jsonb(1e1000::numeric)}, q{(repeat('[', 1000) || repeat(']', 1000))::jsonb}, q{'{"a": "\ud83d\ude00"}'},
		q{'{"x-hub-signature-256": "sha256=0"}'}, q{'{"stripe-signature": "t=1,v1=,=,,t"}'}, q{'{"Authorization": "Bearer "}'}, q{'{"authorization": ["x"], "Authorization": 1}'} ],
	'jobsched.jobs' => [ '(SELECT x FROM jobsched.jobs x LIMIT 1)', q~jsonb_populate_record(NULL::jobsched.jobs, '{"job_id": 1, "owner": "victim"}')~ ],
	'jobsched.runs' => [ '(SELECT x FROM jobsched.runs x LIMIT 1)', q~jsonb_populate_record(NULL::jobsched.runs, '{"run_id": 1, "job_id": 1, "owner": "victim"}')~ ],
	regclass => [ q{'pg_class'}, q{'pg_proc'} ],
	oid => [ '0', '10', '16384', '4294967295' ],
);

# A value of the type, as SQL; one in eight is NULL.
sub odd_value
{
	my ($type) = @_;

	return "NULL::$type" if chance(0.12);
	if ($type =~ /^(.*)\[\]$/)
	{
		my $of = $1;
		return "'{}'::$type" if chance(0.15);
		return "array_fill(" . odd_value($of) . "::$of, ARRAY[2000])" if chance(0.05);
		return "array_fill(" . odd_value($of) . "::$of, ARRAY[2, 2])" if chance(0.05);
		return 'ARRAY[' . join(', ', map { odd_value($of) } 0 .. whole(4)) . "]::$type";
	}
	my $of = $values{$type} or die "no values of type $type";
	return '(' . chosen(@{$of}) . ")::$type";
}

# ------------------------------------------------------------------------
# Servers
# ------------------------------------------------------------------------

sub attack_node
{
	my ($name, %param) = @_;
	my $node = jobsched_node("attack_$name",
		conf => "jobsched.http_allow = '127.0.0.0/8, [::1]/128'\nlog_min_messages = warning\n"
		  . "restart_after_crash = off\nmax_prepared_transactions = 4\n" . ($param{conf} // ''));

	create_extension($node, 'postgres');
	$node->safe_psql('postgres', q{
		CREATE ROLE attacker LOGIN; CREATE ROLE victim LOGIN; CREATE ROLE nobody LOGIN;
		GRANT CREATE ON SCHEMA public TO attacker, victim;
		GRANT USAGE ON SCHEMA jobsched TO attacker, victim;
		GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO attacker, victim});
	attack_sql($node, 'victim', qq{
		SELECT jobsched.set_secret('api', '$secret');
		SELECT jobsched.set_queue('victim_queue', 1);
		SELECT jobsched.create_hook('victim_hook', event => '$secret'),
			jobsched.create_hook('victim_signed', event => '$secret', verify => 'github', secret => 'api'),
			jobsched.set_channel('victim_channel', 'webhook', 'http://127.0.0.1:9/$secret', template => '{"s": "$secret"}'),
			jobsched.set_alert('victim_alert', '{victim_channel}', '{$secret}', metadata => '{"s": "$secret"}');
		SELECT jobsched.create_job('victim_job', command => 'SELECT ''$secret''', args => '{"s": "$secret"}',
			description => '$secret', metadata => '{"s": "$secret"}');
		SELECT jobsched.create_job('waiting', command => 'SELECT 1');
		SELECT jobsched.trigger('waiting', run_at => now() + interval '10 years', args => '{"s": "$secret"}')});
	$node->safe_psql('postgres', q{
		CREATE FUNCTION public.attacker_handler(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
		ALTER FUNCTION public.attacker_handler OWNER TO attacker});
	attack_sql($node, 'attacker', q{SELECT jobsched.create_job('attacker_job', handler => 'public.attacker_handler'), jobsched.create_hook('attacker_hook', 'attacker_job'),
		jobsched.set_channel('attacker_channel', 'handler', handler => 'public.attacker_handler'), jobsched.set_alert('attacker_alert', '{attacker_channel}')});
	$first_pid{$name} = postmaster($node);
	return $node;
}

sub postmaster
{
	my ($node) = @_;
	return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
}

# Statements of a role, of which some may fail; returns standard output and error.
sub attack_sql
{
	my ($node, $role, $sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 0,
		extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);

	return wantarray ? ($out, $err) : $out;
}

# What no input may bring about.
my $harm = qr/terminated by signal|exited with exit code [^01]|PANIC:|TRAP:|AddressSanitizer|runtime error:
	|was not closed|reference leak|leaked|snapshot .* still active|in a subtransaction|unexpected state
	|unrecognized .* type|invalid memory alloc|could not find|cache lookup failed|XX00[0-9]/x;

sub check_unharmed
{
	my ($node, $errors) = @_;
	my ($name) = $node->name =~ /^attack_(.*)$/;
	my @lines = grep { /$harm/ } split /\n/, slurp_file($node->logfile) . "\n" . ($errors // '');

	is(join("\n", @lines[ 0 .. ($#lines > 9 ? 9 : $#lines) ]), '', 'no crash, no leak, no internal error');
	is(postmaster($node), $first_pid{$name}, 'the server is the one that was started');
	is($node->safe_psql('postgres', 'SELECT 1'), '1', 'and lets in who comes');
	return;
}

1;
