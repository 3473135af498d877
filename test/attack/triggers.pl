# Copyright (c) 2026, jobsched contributors

# Triggers of tables with odd arguments, and odd rows in tables that have them: a
# change is made whatever its trigger says, no run is anybody's but the owner's of
# the table, and the server stands.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = attack_node('triggers');
my @types = qw(text jsonb json integer[] interval timestamptz numeric);
my $errors = '';

attack_sql($node, 'attacker', q{
	CREATE TYPE public.odd_pair AS (a int, b text);
	CREATE DOMAIN public.odd_text AS text CHECK (length(VALUE) < 1000000)});
attack_sql($node, 'victim', q{
	CREATE TABLE public.watched (id int, v text);
	GRANT ALL ON public.watched TO attacker;
	CREATE TRIGGER watch AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('waiting', 'key={{record.v}}', 'on_conflict=replace')});

sub odd_option
{
	return chosen("'key=" . chosen('{{record.a}}', '{{record.b.c}}', 'k', '{{old_record.a}}', '{{', '}}', '{{record.}}', '{{type}}') . "'",
		"'on_conflict=" . chosen(qw(replace debounce throttle return_existing error nothing)) . "'", "'period=" . chosen('1 s', '-1 s', 'x', '1000 years', '') . "'",
		"'columns=" . chosen('a', 'a,b', 'b,a', '"a"', 'a,,b', 'c', '', 'ctid', 'tableoid') . "'", "'batch=" . chosen(qw(1 2 1000 0 -1 x 99999999999999999999)) . "'",
		"'" . chosen('', '=', 'a', 'key', 'KEY=a', ' key=a') . "'");
}

sub odd_trigger
{
	my ($table) = @_;
	my ($event, $tables) = @{ chosen([ 'INSERT', 'NEW TABLE AS n' ], [ 'UPDATE', 'NEW TABLE AS n OLD TABLE AS o' ], [ 'UPDATE', 'OLD TABLE AS o' ], [ 'DELETE', 'OLD TABLE AS o' ]) };
	my $level = chosen('FOR EACH ROW', "REFERENCING $tables FOR EACH STATEMENT", 'FOR EACH STATEMENT');
	my $function = chosen('trigger_job', 'trigger_job', 'http_webhook');
	my @options = map { odd_option() } 1 .. chosen(0, 0, 1, 2, 3);
	my $target = chosen("'attacker_job'", "'attacker_job'", "'victim_job'", "'missing'", "'http://127.0.0.1:9/x'", "''");

	return "CREATE OR REPLACE TRIGGER t" . chosen(1 .. 3) . ' ' . chosen('AFTER', 'AFTER', 'AFTER', 'BEFORE') . " $event ON $table $level EXECUTE FUNCTION jobsched.$function("
	  . join(', ', $target, @options) . ')';
}

foreach my $round (rounds())
{
	my ($x, $y) = (chosen(@types), chosen(@types, 'public.odd_pair', 'public.odd_text'));

	attack_sql($node, 'attacker', "DROP TABLE IF EXISTS public.odd; CREATE TABLE public.odd (n int, a $x, b $y)");
	for my $try (1 .. 15)
	{
		my $values = join ', ', map { "($_, " . ($x =~ /^public/ ? 'NULL' : odd_value($x)) . ', ' . ($y =~ /^public/ ? 'NULL' : odd_value($y)) . ')' } 1 .. 3;
		my (undef, $err) = attack_sql($node, 'attacker', odd_trigger('public.odd'));
		# What the values themselves are refused for is no matter of triggers.
		my ($free) = attack_sql($node, 'attacker', "BEGIN; ALTER TABLE public.odd DISABLE TRIGGER USER; INSERT INTO public.odd VALUES $values; SELECT 'made ' || count(*) FROM public.odd; ROLLBACK");
		my ($made, $said) = attack_sql($node, 'attacker', "SET statement_timeout = '30 s'; BEGIN; INSERT INTO public.odd VALUES $values; SELECT 'made ' || count(*) FROM public.odd; ROLLBACK");

		$errors .= "$err\n$said\n";
		is($made, $free, "round $round, $try: a trigger does not hinder an insert") or diag $said;
		attack_sql($node, 'attacker', "INSERT INTO public.odd VALUES $values; UPDATE public.odd SET n = n + 1; DELETE FROM public.odd WHERE n > 3");
		attack_sql($node, 'attacker', 'CREATE TRIGGER spy' . chosen('', ' AFTER') . " AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('victim_job')");
		my (undef, $wrote) = attack_sql($node, 'attacker', 'INSERT INTO public.watched VALUES (1, ' . odd_value('text') . ')');
		$errors .= "$wrote\n";
	}
	attack_sql($node, 'attacker', q{SELECT jobsched.cancel_runs(older_than => '0 s')});
}

is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'public.watched'::regclass}), '1', 'nobody else has made a trigger');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobsched.runs WHERE job_name = 'victim_job' AND source = 'trigger'}), '0', "the victim's job has not been started");
is($node->safe_psql('postgres', q{SELECT count(*) FROM jobsched.runs WHERE owner = 'victim' AND source = 'trigger' AND job_name <> 'waiting'}), '0', 'nor another of its');
check_unharmed($node, $errors);
$node->stop;
done_testing();
