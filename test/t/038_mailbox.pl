# Copyright (c) 2026, jobsched contributors

# Runs of a job whose runs are short are put behind each other into mailboxes.
# One that takes long after all keeps none waiting while other workers are idle,
# also if its worker has not begun it yet when the scheduler goes to sleep.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $rounds = 15;
my $node = jobsched_node('mailbox', conf => "jobsched.max_workers = 8\n");
create_extension($node, $db);
define_clock($node, $db);

# By a clock that stands still each run of the job is short.
$node->safe_psql($db, q{
	CREATE FUNCTION public.pass(args jsonb) RETURNS void LANGUAGE sql AS
		$$ SELECT pg_advisory_xact_lock_shared(1) WHERE args ? 'gate' $$;
	SELECT jobsched.create_job('short', handler => 'public.pass')});
set_clock($node, $db, '2030-01-01');
run_job($node, $db, 'short') for 1 .. 3;

for my $round (1 .. $rounds)
{
	$node->safe_psql($db, 'SELECT pg_terminate_backend(pid) FROM jobsched.workers');
	wait_until($node, $db, 'SELECT count(*) = 0 FROM jobsched.workers', 'the workers are gone');
	my $gate = close_gate($node, $db, 'SELECT pg_advisory_lock(1)');
	$node->safe_psql($db, q{SELECT jobsched.trigger_many('short', array_fill('{"gate": 1}'::jsonb, ARRAY[6]))});
	becomes($node, $db, 'SELECT count(*) FROM jobsched.running', '6', "round $round: each has a worker of its own");
	$gate->quit;
	wait_drained($node, $db);
}

check_log($node);
$node->stop;
done_testing();
