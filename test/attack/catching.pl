# Copyright (c) 2026, jobsched contributors

# All ways to catch an error, put together at random: savepoints, blocks with
# EXCEPTION, blocks that commit, functions that call functions, SECURITY DEFINER,
# triggers, cursors. Calls that fail are strewn in between. A model knows which
# rows must be there in the end, seen from another session.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = attack_node('catching');

# Each of these fails, in the middle of what it does.
my @failing = (
	q{jobsched.create_job('c', '0 25 * * *', 'SELECT 1', if_exists => 'update')},
	q{jobsched.create_job('c', '0 25 * * *', 'SELECT 1', if_exists => 'keep')},
	q{jobsched.create_job('attacker_job', 'no schedule', 'SELECT 1', if_exists => 'update')},
	q{jobsched.create_job('attacker_job', NULL, 'SELECT 1')},
	q{jobsched.create_job('c', handler => 'no.such', if_exists => 'keep')},
	q{jobsched.create_job(repeat('x', 100000), NULL, 'SELECT 1', if_exists => 'keep')},
	q{jobsched.create_job('c', command => 'SELECT 1', owner => 'victim', if_exists => 'update')},
	q{jobsched.create_job('c', url => 'gopher://x/', if_exists => 'keep')},
	q{jobsched.alter_job('attacker_job', schedule => 'nonsense')},
	q{jobsched.alter_job('attacker_job', owner => 'victim')},
	q{jobsched.alter_job('no such job', enabled => false)},
	q{jobsched.trigger('no such job')},
	q{jobsched.trigger('attacker_job', args => '[]')},
	q{jobsched.trigger('attacker_job', idempotency_key => repeat('k', 100000))},
	q{jobsched.http_post('http://')},
	q{jobsched.http_post('http://127.0.0.1:1/', headers => '{"a b": 1}')},
	q{jobsched.http_request('GET', 'http://127.0.0.1:1/', on_failure => 'no.such')},
	q{jobsched.set_secret('', 'x')},
	q{jobsched.set_limit('', 1)},
	q{jobsched.set_queue('q', -1)},
	q{jobsched.backfill('attacker_job', now(), 'infinity')},
	q{jobsched.cancel_run(-1)},
	q{jobsched.wait_run(-1)},
	q{jobsched.next_runs('nonsense')},
	q{jobsched.explain_schedule('61 * * * *')},
	q{jobsched.adopt()},
	q{jobsched.discard('enough')},
	q{1 / 0});

# And these do something, if what is around them commits.
my @working = (
	q{jobsched.create_job('kept', command => 'SELECT 1', if_exists => 'keep')},
	q{jobsched.create_job('kept', command => 'SELECT 2', if_exists => 'update')},
	q{jobsched.trigger('attacker_job', run_at => now() + interval '1 year')},
	q{jobsched.trigger('attacker_job', idempotency_key => 'k', on_conflict => 'replace', run_at => now() + interval '1 year')},
	q{jobsched.http_request('GET', 'http://127.0.0.1:1/', run_at => now() + interval '1 year')},
	q{jobsched.set_secret('mine', 'some value')},
	q{jobsched.alter_job('attacker_job', description => 'changed')});

attack_sql($node, 'attacker', q{
	CREATE TABLE mark (n int);
	CREATE TABLE with_trigger (n int);
	CREATE FUNCTION evaluate(call text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ' || call; END $$;
	CREATE FUNCTION in_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN PERFORM evaluate(TG_ARGV[0]); EXCEPTION WHEN OTHERS THEN NULL; END;
		RETURN NEW;
	END $$;
	CREATE FUNCTION caught(call text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evaluate(call);
		RETURN false;
	EXCEPTION WHEN OTHERS THEN
		RETURN true;
	END $$});
$node->safe_psql('postgres', q{
	CREATE FUNCTION as_definer(call text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN PERFORM public.evaluate(call); END $$});
for my $n (0 .. $#failing)
{
	attack_sql($node, 'attacker', "CREATE TRIGGER t$n BEFORE INSERT ON with_trigger FOR EACH ROW WHEN (NEW.n = $n) EXECUTE FUNCTION in_trigger("
		. literal($failing[$n]) . ')');
}

my $number = 0;
my %there;

# A block of PL/pgSQL. @$kept gets the marks that it leaves if what is around it
# commits.
sub block
{
	my ($depth, $kept) = @_;
	my $text = '';

	foreach (1 .. 1 + whole(4))
	{
		my $kind = whole($depth > 3 ? 5 : 8);
		my $n = ++$number;

		if ($kind == 0)
		{
			$text .= "INSERT INTO mark VALUES ($n);\n";
			push @{$kept}, $n;
		}
		elsif ($kind == 1) { $text .= 'PERFORM ' . chosen(@working) . ";\n" }
		elsif ($kind == 2) { $text .= 'PERFORM caught(' . literal(chosen(@failing)) . ");\n" }
		elsif ($kind == 3) { $text .= 'INSERT INTO with_trigger VALUES (' . whole(scalar @failing) . ");\n" }
		elsif ($kind == 4)
		{
			my $definer = 'PERFORM as_definer(' . literal(chosen(@failing)) . ')';
			$text .= "BEGIN INSERT INTO mark VALUES (-$n); $definer; RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END;\n";
		}
		elsif ($kind == 5)
		{
			# caught: what is inside is undone
			my @lost;
			my $inner = block($depth + 1, \@lost);
			$text .= "BEGIN\n${inner}INSERT INTO mark VALUES (-$n);\nPERFORM evaluate(" . literal(chosen(@failing))
			  . ");\nRAISE 'x';\nEXCEPTION WHEN OTHERS THEN\nINSERT INTO mark VALUES ($n);\nEND;\n";
			push @{$kept}, $n;
		}
		elsif ($kind == 6)
		{
			my $inner = block($depth + 1, $kept);
			$text .= "BEGIN\n${inner}EXCEPTION WHEN division_by_zero THEN NULL;\nEND;\n";
		}
		else
		{
			my $inner = block($depth + 1, $kept);
			$text .= "IF true THEN\n${inner}END IF;\n";
		}
	}
	return $text;
}

# A transaction with savepoints, in psql with ON_ERROR_ROLLBACK's means.
sub transaction
{
	my @kept;
	my $text = "BEGIN;\n";

	foreach (1 .. 1 + whole(5))
	{
		my $n = ++$number;

		if (chance(0.5))
		{
			$text .= "SAVEPOINT s; INSERT INTO mark VALUES (-$n); SELECT " . chosen(@failing) . "; ROLLBACK TO s;\n";
			$text .= "RELEASE s;\n" if chance(0.5);
		}
		elsif (chance(0.5))
		{
			$text .= "SAVEPOINT s; INSERT INTO mark VALUES ($n); SELECT " . chosen(@working) . "; RELEASE s;\n";
			push @kept, $n;
		}
		else
		{
			$text .= "DECLARE c$n CURSOR FOR SELECT caught(" . literal(chosen(@failing)) . ") FROM generate_series(1, 3);\nFETCH 2 FROM c$n;\n";
		}
	}
	return ($text . "ROLLBACK;\n") if chance(0.2);
	$there{$_} = 1 for @kept;
	return $text . "COMMIT;\n";
}

sub script
{
	my $text = '';

	foreach (1 .. 12)
	{
		if (chance(0.4)) { $text .= transaction() }
		else
		{
			my @kept;
			my $block = block(0, \@kept);
			my $commit = chance(0.3) ? 'COMMIT;' : '';
			$text .= "DO \$do\$ BEGIN\n${block}${commit}END \$do\$;\n";
			$there{$_} = 1 for @kept;
		}
		$text .= "SELECT current_user, session_user, count(pg_current_xact_id_if_assigned()) AS x FROM mark LIMIT 1 \\gset\n"
		  . "\\echo who :current_user :session_user :x\n";
	}
	return $text;
}

my $errors = '';
foreach my $round (rounds())
{
	foreach my $part (1 .. 10)
	{
		my ($out, $err) = attack_sql($node, 'attacker', "SET client_min_messages = error;\n" . script());

		$errors .= "$err\n";
		my %who = map { $_ => 1 } grep { /^who / } split /\n/, $out;
		is(join(',', keys %who), 'who attacker attacker 0', "round $round, part $part: no transaction and no user is left over");
	}
}

my %seen = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT n FROM mark');
is(join(' ', sort { $a <=> $b } grep { !$there{$_} } keys %seen), '', 'what was undone is gone');
is(join(' ', sort { $a <=> $b } grep { !$seen{$_} } keys %there), '', 'what was committed is there');
check_unharmed($node, $errors);
done_testing();
