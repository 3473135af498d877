# Copyright (c) 2026, jobsched contributors

# Every function of the extension, with odd values of each type: from a plain
# statement, in a block that catches errors, through a superuser's wrapper, and
# in a job. Whatever comes of it, the caller is who he was, effects are committed
# or gone as the transaction says, and the server stands.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = attack_node('functions');
my @functions = map { [ split /\|/, $_ ] } split /\n/, $node->safe_psql('postgres', q{
	SELECT p.oid::regproc, array_to_string(ARRAY(SELECT format_type(t, NULL)
			FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n), ';'),
		p.pronargdefaults, array_to_string(p.proargnames[1:p.pronargs], ';')
	FROM pg_proc p
	WHERE p.pronamespace = 'jobsched'::regnamespace AND p.prorettype <> 'trigger'::regtype
	ORDER BY 1, 2});

cmp_ok(scalar(@functions), '>', 30, 'there are functions to call');

$node->safe_psql('postgres', q{
	CREATE TABLE mark (n int, by_whom name DEFAULT current_user);
	GRANT ALL ON mark TO PUBLIC;
	GRANT USAGE ON SCHEMA jobsched TO nobody;
	CREATE FUNCTION as_superuser(call text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
	DECLARE r text;
	BEGIN EXECUTE call INTO r; RETURN r; END $$});

# A call with named arguments: the required ones, and some of the others.
sub call
{
	my ($name, $types, $defaults, $names) = @{ chosen(@functions) };
	my @types = split /;/, $types // '';
	my @names = split /;/, $names // '';
	my $required = @types - $defaults;
	my @arguments;

	foreach my $i (0 .. $#types)
	{
		next if $i >= $required && chance(0.75);
		push @arguments, ($names[$i] ? qq{"$names[$i]" => } : '') . odd_value($types[$i]);
	}
	return "SELECT $name(" . join(', ', @arguments) . ')';
}

my $number = 0;
my (@kept, $errors, $seen);

# Ways to make a call. Each leaves the mark of its number, and none that is negative.
sub statement
{
	my $call = call();
	my $n = ++$number;
	my $text = literal($call);

	push @kept, $n;
	return chosen(
		"INSERT INTO mark VALUES ($n); $call;",
		"DO \$do\$ BEGIN INSERT INTO mark VALUES ($n);
			BEGIN INSERT INTO mark VALUES (-$n); EXECUTE $text; RAISE 'undo'; EXCEPTION WHEN OTHERS THEN NULL; END;
		END \$do\$;",
		"DO \$do\$ BEGIN INSERT INTO mark VALUES ($n);
			BEGIN INSERT INTO mark VALUES (-$n); PERFORM public.as_superuser($text); RAISE 'undo'; EXCEPTION WHEN OTHERS THEN NULL; END;
		END \$do\$;",
		"BEGIN; INSERT INTO mark VALUES ($n); SAVEPOINT s; INSERT INTO mark VALUES (-$n); $call; ROLLBACK TO s; COMMIT;",
		"DO \$do\$ BEGIN INSERT INTO mark VALUES ($n); COMMIT;
			BEGIN EXECUTE $text; INSERT INTO mark VALUES (-$n); RAISE 'undo'; EXCEPTION WHEN OTHERS THEN NULL; END; COMMIT;
		END \$do\$;",
	) . "\nSELECT current_user, session_user \\gset\n\\echo who :current_user :session_user\n";
}

foreach my $round (rounds())
{
	foreach my $role (qw(attacker nobody attacker attacker))
	{
		my $script = "SET statement_timeout = '5s';\nSET client_min_messages = error;\n"
		  . join("\n", map { statement() } 1 .. 40);
		my ($out, $err) = attack_sql($node, $role, $script);
		my %who = map { $_ => 1 } grep { /^who / } split /\n/, $out;

		$errors .= "$err\n";
		$seen .= $out . $err;
		is(join(',', keys %who), "who $role $role", "round $round: $role stays $role");
	}
	my $calls = join(', ', map { literal(call()) } 1 .. 30);
	my ($out, $err) = attack_sql($node, 'attacker', "SELECT jobsched.create_job('attack_' || n, command => c, timeout => '5 s', max_attempts => 1, if_exists => 'update'),
			jobsched.trigger('attack_' || n)
		FROM unnest(ARRAY[$calls]) WITH ORDINALITY AS u (c, n)");
	is($err, '', "round $round: jobs that call are defined");
	# One that calls snooze() does so each time.
	my $live = q{jobsched_internal.run r JOIN jobsched_internal.job j USING (job_id) WHERE j.name LIKE 'attack\_%' AND r.source = 'trigger'};
	until_true($node, 'postgres', "SELECT count(*) = 0 FROM $live AND r.attempt < 2 AND r.reason IS DISTINCT FROM 'snoozed'",
		"round $round: jobs that call have been executed");
	$node->safe_psql('postgres', "SELECT jobsched.cancel_run(r.run_id) FROM $live");
	until_true($node, 'postgres', "SELECT count(*) = 0 FROM $live", "round $round: and have ended");
}

is($node->safe_psql('postgres', 'SELECT count(*) FROM mark WHERE n < 0'), '0', 'what was undone is gone');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT by_whom) FROM mark WHERE by_whom NOT IN ('attacker', 'nobody')}), '0', 'nobody wrote as somebody else');
my %there = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT n FROM mark');
is(join(' ', grep { !$there{$_} } @kept), '', 'what was committed is there');
unlike($seen, qr/${\ secret_text() }/, 'nobody has seen what is the victim\'s');
check_unharmed($node, $errors);
done_testing();
