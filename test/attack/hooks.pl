# Copyright (c) 2026, jobsched contributors

# Requests to hooks, some genuine and most not, with odd bodies and headers, from a
# role without any rights: in statements, blocks that catch errors, cursors,
# savepoints and prepared transactions, with functions of its own in its search_path.
# Who proves nothing gets one error, whatever he sends, and starts nothing; who proves
# who he is gets one run for each id; and nobody's code but the owner's is executed.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex hmac_sha256_base64);
use Encode ();
use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use IPC::Run;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = 'a-key-of-the-victim-0815';
my $node = attack_node('hooks');
my $errors = '';

$node->safe_psql('postgres', q{
	GRANT USAGE ON SCHEMA jobsched TO nobody;
	CREATE SCHEMA lure AUTHORIZATION nobody;
	CREATE TABLE public.lured (by_whom name DEFAULT current_user, what text);
	GRANT ALL ON public.lured TO PUBLIC});
attack_sql($node, 'victim', qq{
	SELECT jobsched.set_secret('key', '$key');
	SELECT jobsched.create_hook('token', 'waiting', secret => 'key', header => 'x-token', rate => 0, dedupe => 'x-id', keep_headers => '{x-kept}');
	SELECT jobsched.create_hook('github', 'waiting', verify => 'github', secret => 'key', rate => 0, dedupe => '\$.id');
	SELECT jobsched.create_hook('hmac', 'waiting', verify => 'hmac', secret => 'key', header => 'x-sign', rate => 0, dedupe => '\$.id');
	SELECT jobsched.create_hook('stripe', 'waiting', verify => 'stripe', secret => 'key', rate => 0);
	SELECT jobsched.create_hook('standard', 'waiting', verify => 'standard', secret => 'key', rate => 0);
	SELECT jobsched.create_hook('slack', event => 'e', verify => 'slack', secret => 'key', rate => 0, dedupe => '\$.id')});

# What could be called in the place of a function, an operator or a cast of the server's.
attack_sql($node, 'nobody', q{
	CREATE FUNCTION lure.lured(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.lured (what) VALUES ($1)';
	CREATE FUNCTION lure.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT lure.lured('now'); SELECT pg_catalog.now()$$;
	CREATE FUNCTION lure.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$SELECT lure.lured('setting'); SELECT '{}'::text$$;
	CREATE FUNCTION lure.equals(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT lure.lured('='); SELECT true$$;
	CREATE OPERATOR lure.= (LEFTARG = text, RIGHTARG = text, FUNCTION = lure.equals);
	CREATE FUNCTION lure.jsonb_path_query_first(jsonb, jsonpath, jsonb, boolean) RETURNS jsonb LANGUAGE sql AS $$SELECT lure.lured('path'); SELECT '1'::jsonb$$;
	CREATE FUNCTION lure.json_text(json) RETURNS text LANGUAGE sql AS $$SELECT lure.lured('json'); SELECT ''$$;
	CREATE DOMAIN lure.odd_text AS text CHECK (length(VALUE) < 100000000);
	CREATE DOMAIN lure.odd_json AS jsonb CHECK (VALUE IS NULL OR jsonb_typeof(VALUE) <> 'x')});

# ------------------------------------------------------------------------
# Requests
# ------------------------------------------------------------------------

my @ids = map { "id-$_" } 1 .. 12;

sub quoted { my ($text) = @_; return "'" . $text =~ s/'/''/gr . "'" }
sub json_string { my ($text) = @_; return '"' . $text =~ s/(["\\])/\\$1/gr . '"' }

sub body
{
	my ($id) = @_;
	return chosen(
		qq({"id": "$id"}), qq( {"id" :\n"$id" } ), qq({"id": "x", "id": "$id"}), qq({"id": "$id", "a": [1e3, {"b": "\\u00e9"}]}),
		qq({"id": "$id", "deep": ) . ('[' x 900) . (']' x 900) . '}', qq({"id": "$id", "long": ") . ('x' x 20000) . '"}',
		qq({"id": "$id", "t": "it''s '; DROP TABLE x; --"}), qq({"id": "$id", "é": "\x{20ac}"}));
}

# The header in odd forms, of which the first three are one that counts.
sub header
{
	my ($name, $value) = @_;
	my $v = json_string($value);
	my $upper = uc $name;
	my $form = whole(12);

	return (1, chosen(qq("$name": $v), qq("$upper": $v), qq("$name": "x", "$name": $v))) if $form < 8;
	return (0, chosen(qq("$name": $v, "$upper": $v), qq("$name": [$v]), qq("$name": {"a": $v}), qq("$name": null), qq("$name ": $v),
			qq("$name": 1), qq("$name": ""), qq("$name\\n": $v)));
}

# A hook, its body and headers, and whether it is to be accepted, as which repeat.
sub request
{
	my $hook = chosen(qw(token github hmac stripe standard slack));
	my $id = chosen(@ids);
	my $body = body($id);
	my $bytes = Encode::encode('UTF-8', $body);
	my $at = time + chosen(0, 0, 0, 0, -100, 100, -1000, 1000, 999_999_999_999 - time, -time);
	my $near = abs($at - time) < 200;
	my $with = chance(0.75) ? $key : chosen('', 'wrong-key-wrong-key', "$key ", uc $key);
	my ($counts, $header) = (1, '');
	my @more = chance(0.2) ? ('"x-kept": ' . json_string(chosen('', 'k', 'x' x 5000))) : ();

	if ($hook eq 'token') { ($counts, $header) = header('x-token', $with); push @more, qq("x-id": "$id") }
	elsif ($hook eq 'github') { ($counts, $header) = header('x-hub-signature-256', 'sha256=' . hmac_sha256_hex($bytes, $with)) }
	elsif ($hook eq 'hmac') { ($counts, $header) = header('x-sign', chosen(hmac_sha256_hex($bytes, $with), hmac_sha256_base64($bytes, $with) . '=')) }
	elsif ($hook eq 'stripe') { ($counts, $header) = header('stripe-signature', "t=$at,v1=" . hmac_sha256_hex("$at.$bytes", $with)); $counts &&= $near }
	elsif ($hook eq 'standard')
	{
		($counts, $header) = header('webhook-signature', 'v1,' . hmac_sha256_base64("$id.$at.$bytes", $with) . '=');
		push @more, qq("webhook-id": "$id"), qq("webhook-timestamp": "$at");
		$counts &&= $near;
	}
	else
	{
		($counts, $header) = header('x-slack-signature', 'v0=' . hmac_sha256_hex("v0:$at:$bytes", $with));
		push @more, qq("x-slack-request-timestamp": "$at");
		$counts &&= $near;
	}
	return { hook => $hook, id => "$hook:$id", body => $body, headers => '{' . join(', ', $header, @more) . '}', accepted => $counts && $with eq $key };
}

sub odd_request
{
	return { hook => '', odd => 'SELECT jobsched.receive(' . join(', ', odd_value('text'), odd_value('text'), odd_value('jsonb'), odd_value('text')) . ')' };
}

sub call
{
	my ($r) = @_;
	return $r->{odd} if $r->{odd};
	my $type = chosen(['text', 'jsonb'], ['text', 'jsonb'], ['lure.odd_text', 'lure.odd_json'], ['varchar', 'jsonb'], ['varchar::text', 'json::jsonb']);
	my $as = chosen('', '', 'body => ');
	return "SELECT jobsched.receive(" . quoted($r->{hook}) . ", $as" . quoted($r->{body}) . "::$type->[0], " . ($as ? 'headers => ' : '') . quoted($r->{headers}) . "::$type->[1])";
}

# In what it is called; each gives the id, or the error.
sub statement
{
	my ($r) = @_;
	my $call = call($r);

	return chosen(
		"$call;",
		"BEGIN; $call; COMMIT;",
		"BEGIN; SAVEPOINT s; $call; RELEASE s; COMMIT;",
		"BEGIN; DECLARE c CURSOR FOR $call; FETCH c; CLOSE c; COMMIT;",
		"PREPARE p AS $call; EXECUTE p; DEALLOCATE p;",
		"BEGIN ISOLATION LEVEL REPEATABLE READ; $call; COMMIT;",
		"SET search_path = lure, pg_catalog, public; $call; RESET search_path;",
		"DO \$do\$ DECLARE r bigint; BEGIN EXECUTE " . literal($call) . " INTO r; RAISE INFO 'id %', r;
			EXCEPTION WHEN OTHERS THEN RAISE INFO 'caught % %', SQLSTATE, SQLERRM; END \$do\$;");
}

# The one error that there is, or those that the session or the server's parser has.
sub told
{
	my ($said) = @_;
	my @told;

	for (split /\n/, $said)
	{
		s/^psql:<stdin>:\d+: //;
		push @told, $_ if /^(ERROR|CONTEXT|DETAIL|HINT|WARNING)|INFO: .*caught/;
	}
	return join "\n", grep { !/^ERROR:  PT401: the request was refused$|caught PT401 the request was refused$|^ERROR:  25P02/ } @told;
}

my %first;
my $last_id = 0;

foreach my $round (rounds())
{
	for my $try (1 .. 150)
	{
		my $r = chance(0.9) ? request() : odd_request();
		my $statement = Encode::encode('UTF-8', statement($r));
		my ($out, $err) = attack_sql($node, 'nobody', $statement);
		my ($id) = "$out\n$err" =~ /(?:^|INFO:.*id )(\d+)$/m;

		$errors .= "$err\n";
		if ($r->{odd})
		{
			is($id, undef, "round $round, $try: what is odd starts nothing");
			# A value may be none of its type, or too long for anything.
			unlike(told($err), qr/hook|\Q$key\E|secret|token is|signature/, 'and nothing is told of it') or diag $statement;
			next;
		}
		is(told($err), '', "round $round, $try: nothing but the refusal is told") or diag $statement;
		is(defined $id ? 1 : 0, $r->{accepted} ? 1 : 0, 'who has proved it, and nobody else, gets an id') or diag "$statement $err";
		next if !defined $id;
		$first{ $r->{id} } //= $id;
		is($id, $first{ $r->{id} }, 'a repeat gets the same');
	}
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM public.lured}), '0', 'nobody was lured');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobsched.runs WHERE source = 'trigger' AND args ? 'hook'}), scalar(grep { !/^slack/ } keys %first), 'one run for each id, and no other');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobsched.events}), scalar(grep { /^slack/ } keys %first), 'and one event');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT owner || ' ' || job_name, ', ') FROM jobsched.runs WHERE args ? 'hook'}), 'victim waiting', 'all of the one job');
for my $view (qw(hooks events runs jobs procedure_steps))
{
	is(scalar attack_sql($node, 'nobody', "SELECT count(*) FROM jobsched.$view"), '0', "who sends sees nothing in view $view");
}

# ------------------------------------------------------------------------
# Many at once, a crash, and a long session
# ------------------------------------------------------------------------

my $same = qq(SELECT jobsched.receive('token', '{}', '{"x-token": "$key", "x-id": "SAME"}'));
my @sessions = map
{
	my $out = '';
	{ out => \$out, run => IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-U', 'nobody', '-c', $same ], '<', \undef, '>', \$out, '2>', \$errors) };
} 1 .. 50;
$_->{run}->finish for @sessions;
my %same = map { ${ $_->{out} } => 1 } @sessions;
like((keys %same)[0], qr/^\d+\n\z/, 'it is a run');
is(scalar(keys %same), 1, 'fifty at once get one run') or diag join '', keys %same;
is(attack_sql($node, 'nobody', $same) . "\n", (keys %same)[0], 'and who comes later');

my $memory = q{SELECT sum(total_bytes) FROM pg_catalog.pg_backend_memory_contexts};
my ($grown) = attack_sql($node, scalar getpwuid($<), qq{
	CREATE TEMP TABLE before AS $memory;
	DO \$\$ BEGIN FOR i IN 1 .. 3000 LOOP
		PERFORM jobsched.receive('token', '{"a": 1}', '{"x-token": "$key", "x-id": "SAME"}');
		BEGIN PERFORM jobsched.receive('github', '{"id": 1}', '{"x-hub-signature-256": "sha256=00"}'); EXCEPTION WHEN OTHERS THEN NULL; END;
	END LOOP; END \$\$;
	SELECT ($memory) - (SELECT * FROM before) < 4000000});
is($grown, 't', 'a session of many requests does not grow');

check_unharmed($node, $errors);
$node->stop;
done_testing();
