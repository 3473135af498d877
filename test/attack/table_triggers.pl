# Copyright (c) 2026, jobsched contributors

# Changes of tables of odd shapes that start jobs, made in odd ways by a role that may
# only change them: none fails because of a trigger, each row is in one run, all runs
# are the owner's, and nobody else's functions, operators and casts are called.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../t";
use Attack;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = attack_node('table_triggers');
my $errors = '';

sub psql { return $node->safe_psql('postgres', $_[0]) }

psql(q{
	CREATE SCHEMA shop AUTHORIZATION victim;
	GRANT USAGE ON SCHEMA shop TO attacker;
	CREATE SCHEMA lure AUTHORIZATION attacker;
	CREATE TABLE public.lured (by_whom name DEFAULT current_user, what text);
	GRANT ALL ON public.lured TO PUBLIC});

# What could be called in the place of the server's, with the rights of another.
attack_sql($node, 'attacker', q{
	CREATE FUNCTION lure.lured(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.lured (what) VALUES ($1)';
	CREATE TYPE lure.kind AS ENUM ('a', 'b');
	CREATE TYPE lure.pair AS (k lure.kind, t text);
	CREATE FUNCTION lure.pair_json(lure.pair) RETURNS json LANGUAGE sql AS $$SELECT lure.lured('pair::json'); SELECT '1'::json$$;
	CREATE FUNCTION lure.kind_json(lure.kind) RETURNS json LANGUAGE sql AS $$SELECT lure.lured('kind::json'); SELECT '1'::json$$;
	CREATE CAST (lure.pair AS json) WITH FUNCTION lure.pair_json(lure.pair) AS IMPLICIT;
	CREATE CAST (lure.kind AS json) WITH FUNCTION lure.kind_json(lure.kind) AS IMPLICIT;
	CREATE FUNCTION lure.to_json(anyelement) RETURNS json LANGUAGE sql AS $$SELECT lure.lured('to_json'); SELECT '1'::json$$;
	CREATE FUNCTION lure.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT lure.lured('now'); SELECT pg_catalog.now()$$;
	CREATE FUNCTION lure.equals(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT lure.lured('='); SELECT true$$;
	CREATE OPERATOR lure.= (LEFTARG = text, RIGHTARG = text, FUNCTION = lure.equals);
	GRANT USAGE ON SCHEMA lure TO victim});

# ------------------------------------------------------------------------
# Tables
# ------------------------------------------------------------------------

# Each has columns n, a, b, and where they are is odd.
my %shapes = (
	plain => 'CREATE TABLE shop.t (n int, a int, b text)',
	dropped => 'CREATE TABLE shop.t (x text, n int, y jsonb, a int, z int[], b text); ALTER TABLE shop.t DROP COLUMN x, DROP COLUMN y, DROP COLUMN z',
	added => q{CREATE TABLE shop.t (n int); INSERT INTO shop.t VALUES (0); ALTER TABLE shop.t ADD COLUMN a int DEFAULT 7, ADD COLUMN b text DEFAULT 'later'; DELETE FROM shop.t},
	generated => 'CREATE TABLE shop.t (g int GENERATED ALWAYS AS (n * 2) STORED, n int, a int, i bigint GENERATED ALWAYS AS IDENTITY, b text)',
	typed => 'CREATE TYPE shop.row AS (n int, a int, b text); CREATE TABLE shop.t OF shop.row',
	luring => q{CREATE TABLE shop.t (n int, a int, b text, k lure.kind DEFAULT 'a', p lure.pair DEFAULT ROW ('b', 'x'), ps lure.pair[] DEFAULT ARRAY[ROW ('a', 'y')::lure.pair])},
	partitioned => 'CREATE TABLE shop.t (n int, a int, b text) PARTITION BY RANGE (n); CREATE TABLE shop.t1 PARTITION OF shop.t FOR VALUES FROM (MINVALUE) TO (6);
		CREATE TABLE shop.t2 (b text, x int, n int, a int); ALTER TABLE shop.t2 DROP COLUMN x; ALTER TABLE shop.t ATTACH PARTITION shop.t2 DEFAULT',
	inherited => 'CREATE TABLE shop.t (n int, a int, b text); CREATE TABLE shop.t1 (c int) INHERITS (shop.t)',
	guarded => 'CREATE TABLE shop.t (n int, a int, b text); ALTER TABLE shop.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON shop.t USING (n <> 3) WITH CHECK (true)',
	unlogged => 'CREATE UNLOGGED TABLE shop.t (n int, a int, b text)',
	wide => 'CREATE TABLE shop.t (n int, a int, b text, ' . join(', ', map { "c$_ int" } 1 .. 900) . ')');

# For a statement, one for each event; for each row, one for all.
sub triggers
{
	my ($kind, $options) = @_;
	my $call = "EXECUTE FUNCTION jobsched.trigger_job('waiting'$options)";

	return "CREATE TRIGGER tr AFTER INSERT OR UPDATE OR DELETE ON shop.t FOR EACH ROW $call" if $kind eq 'row';
	return "CREATE CONSTRAINT TRIGGER tr AFTER INSERT OR UPDATE OR DELETE ON shop.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW $call" if $kind eq 'deferred';
	return "CREATE TRIGGER ti AFTER INSERT ON shop.t REFERENCING NEW TABLE AS n FOR EACH STATEMENT $call;
		CREATE TRIGGER tu AFTER UPDATE ON shop.t REFERENCING NEW TABLE AS n OLD TABLE AS o FOR EACH STATEMENT $call;
		CREATE TRIGGER td AFTER DELETE ON shop.t REFERENCING OLD TABLE AS o FOR EACH STATEMENT $call";
}

# ------------------------------------------------------------------------
# Changes
# ------------------------------------------------------------------------

sub rows { return chosen(0, 1, 1, 2, 10, 10, 2500) }

sub change
{
	my $rows = rows();
	my $n = 1 + whole(10);
	my $b = chosen('NULL', q{'x'}, q{repeat('long', 5000)}, q{E'\x01"\\\\'}, q{'ä' || chr(8364)});

	return chosen(
		"INSERT INTO shop.t (n, a, b) SELECT g, g, $b FROM generate_series(1, $rows) g",
		"INSERT INTO shop.t (n, a, b) SELECT g, g, $b FROM generate_series(1, $rows) g ON CONFLICT DO NOTHING",
		"UPDATE shop.t SET a = a + 1 WHERE n <= $n", "UPDATE shop.t SET n = n + 5, b = $b WHERE n <= $n", 'UPDATE shop.t SET a = 1 WHERE false',
		"DELETE FROM shop.t WHERE n = $n", "DELETE FROM ONLY shop.t WHERE n > $n",
		"WITH d AS (DELETE FROM shop.t WHERE n < $n RETURNING n, a) INSERT INTO shop.t (n, a) SELECT n, a FROM d",
		"MERGE INTO shop.t USING generate_series(1, $n) g ON t.n = g WHEN MATCHED AND g % 2 = 0 THEN UPDATE SET a = g WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (n, a, b) VALUES (g, g, $b)",
		"COPY shop.t (n, a) FROM STDIN;\n1\t1\n2\t\\N\n\\.\n");
}

# In what the change is made. What is undone by a savepoint starts nothing.
sub statement
{
	my ($change) = @_;
	return "$change;" if $change =~ /^COPY/;
	return chosen(
		"$change;",
		"BEGIN; $change; COMMIT;",
		"BEGIN; SAVEPOINT s; $change; ROLLBACK TO s; $change; COMMIT;",
		"BEGIN; SAVEPOINT s; $change; RELEASE s; COMMIT;",
		"SET search_path = lure, pg_catalog; $change; RESET search_path;",
		"BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL work_mem = '64kB'; $change; COMMIT;",
		"BEGIN ISOLATION LEVEL SERIALIZABLE; $change; COMMIT;",
		"PREPARE p AS " . ($change =~ /^MERGE/ ? 'SELECT 1' : $change) . '; EXECUTE p; DEALLOCATE p;',
		'DO $do$ BEGIN BEGIN ' . "$change; RAISE 'undo'; EXCEPTION WHEN OTHERS THEN NULL; END; $change; END \$do\$;",
		"BEGIN; SET CONSTRAINTS ALL IMMEDIATE; $change; COMMIT;");
}

# Rows that runs have, each of which is new, old or both; those that were skipped beside.
my $rows_of_runs = q{
	SELECT coalesce(sum(CASE WHEN status = 'skipped' THEN coalesce((args -> 'rows')::int, 1)
		WHEN args ? 'record' THEN 1
		ELSE greatest(jsonb_array_length(nullif(args -> 'records', 'null')), jsonb_array_length(nullif(args -> 'old_records', 'null')), 0) END), 0)
	FROM jobsched.runs WHERE source = 'trigger' AND args ->> 'schema' = 'shop' AND run_id > };

# The same from triggers of the test's own, which count.
my $counting = q{
	CREATE TABLE IF NOT EXISTS public.changed (n bigint);
	CREATE OR REPLACE FUNCTION public.count_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN INSERT INTO public.changed VALUES (1); RETURN NULL; END$$;
	CREATE OR REPLACE FUNCTION public.count_new() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN INSERT INTO public.changed SELECT count(*) FROM n; RETURN NULL; END$$;
	CREATE OR REPLACE FUNCTION public.count_old() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN INSERT INTO public.changed SELECT count(*) FROM o; RETURN NULL; END$$;
	TRUNCATE public.changed};

sub counters
{
	my ($kind) = @_;
	return 'CREATE TRIGGER zr AFTER INSERT OR UPDATE OR DELETE ON shop.t FOR EACH ROW EXECUTE FUNCTION public.count_row()' if $kind ne 'statement';
	return 'CREATE TRIGGER zi AFTER INSERT ON shop.t REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION public.count_new();
		CREATE TRIGGER zu AFTER UPDATE ON shop.t REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION public.count_old();
		CREATE TRIGGER zd AFTER DELETE ON shop.t REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION public.count_old()';
}

foreach my $round (rounds())
{
	foreach my $shape (sort keys %shapes)
	{
		my $kind = chosen('row', 'statement', 'deferred');
		my $options = join '', map { ", '$_'" } @{ chosen([], [ "columns=n,a" ], [ "columns=b" ], $kind eq "statement" ? [ "batch=" . chosen(1, 7, 1000) ] : []) };

		psql('DROP TABLE IF EXISTS shop.t, shop.t1, shop.t2 CASCADE; DROP TYPE IF EXISTS shop.row CASCADE');
		attack_sql($node, 'victim', "$shapes{$shape}; GRANT ALL ON shop.t TO attacker");
		attack_sql($node, 'victim', 'GRANT ALL ON shop.t1 TO attacker') if $shape eq 'inherited';
		psql("$counting; " . counters($kind));
		my (undef, $made) = attack_sql($node, 'victim', triggers($kind, $options));
		is($made, '', "round $round: triggers of table $shape, $kind$options");
		my $last = psql('SELECT coalesce(max(run_id), 0) FROM jobsched.runs');

		for my $try (1 .. 8)
		{
			my $statement = statement(change());
			my (undef, $err) = attack_sql($node, 'attacker', "SET statement_timeout = '60 s'; $statement");

			$errors .= "$err\n";
			unlike($err, qr/jobsched|trigger_job|WARNING/, "round $round, $shape, $kind, $try: no change fails, and no row, because of a trigger") or diag "$statement $err";
			last if $err =~ /WARNING/;
		}
		is(psql($rows_of_runs . $last), psql('SELECT coalesce(sum(n), 0) FROM public.changed'), "round $round: $shape, $kind$options: each row that was changed is in one run");
		is(psql("SELECT count(*) FROM jobsched.runs WHERE status = 'skipped' AND run_id > $last"), '0', 'and none was skipped');
		is(psql("SELECT coalesce(string_agg(DISTINCT owner || ' ' || job_name, ', '), 'victim waiting') FROM jobsched.runs WHERE source = 'trigger' AND run_id > $last"), 'victim waiting', 'all are of the owner');
		attack_sql($node, 'victim', q{SELECT jobsched.cancel_runs(older_than => '0 s')});
	}
}

is(psql('SELECT count(*) FROM public.lured WHERE by_whom <> ' . "'attacker'"), '0', 'nobody was lured');
is(scalar attack_sql($node, 'attacker', q{SELECT count(*) FROM jobsched.runs WHERE args ->> 'schema' = 'shop'}), '0', 'who changes a table sees no run of it');
check_unharmed($node, $errors);
$node->stop;
done_testing();
