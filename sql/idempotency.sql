-- Keys of trigger(), as SQL sees them.
CREATE ROLE regress_key_owner LOGIN;
CREATE ROLE regress_key_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_key_owner, regress_key_other;
SET ROLE regress_key_owner;
SELECT jobsched.create_job('keyed', command => 'SELECT jobsched.args()') IS NOT NULL AS created;
SELECT jobsched.create_job('also keyed', command => 'SELECT 1') IS NOT NULL AS created;

-- what is refused
SELECT jobsched.trigger('keyed', idempotency_key => '');
SELECT jobsched.trigger('keyed', idempotency_key => repeat('k', 201));
SELECT jobsched.trigger('keyed', idempotency_key => repeat('ä', 101));
SELECT jobsched.trigger('keyed', idempotency_key => 'k', on_conflict => 'ignore');
SELECT jobsched.trigger('keyed', idempotency_key => 'k', idempotency_period => '0');
SELECT jobsched.trigger('keyed', idempotency_key => 'k', idempotency_period => '-1 s');
SELECT jobsched.trigger('keyed', idempotency_key => 'k', idempotency_period => '1 month');
SELECT jobsched.trigger('keyed', idempotency_key => 'k', idempotency_period => '3651 days');
SELECT jobsched.trigger('keyed', '[]', idempotency_key => 'k');
SELECT count(*) FROM jobsched.runs WHERE job_name = 'keyed';

-- without a key each call is a run of its own, whatever is said of conflicts
SELECT jobsched.trigger('keyed', on_conflict => 'error') <> jobsched.trigger('keyed', on_conflict => 'error') AS two;

-- return_existing: while the run waits
SELECT jobsched.trigger('keyed', '{"n": 1}', now() + interval '1 hour', idempotency_key => 'a') AS first \gset
SELECT jobsched.trigger('keyed', '{"n": 2}', idempotency_key => 'a') = :first AS existing;
-- bad arguments are refused all the same
SELECT jobsched.trigger('keyed', '[]', idempotency_key => 'a');
-- a key belongs to a job
SELECT jobsched.trigger('also keyed', idempotency_key => 'a') <> :first AS another;
-- keys are compared byte by byte
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'A') <> :first AS another;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => repeat('ä', 100))
	= jobsched.trigger('keyed', idempotency_key => repeat('ä', 100)) AS longest;
-- when it has ended
SELECT jobsched.cancel_run(:first);
CALL jobsched.wait_run(:first, '1 min');
SELECT jobsched.trigger('keyed', idempotency_key => 'a') = :first AS existing;
SELECT jobsched.trigger('keyed', '{"n": 3}', idempotency_key => 'b') AS first \gset
CALL jobsched.wait_run(:first, '1 min');
SELECT jobsched.trigger('keyed', idempotency_key => 'b') = :first AS existing;
SELECT status, result FROM jobsched.runs WHERE run_id = :first;
-- when its period is over and it has not ended
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'c', idempotency_period => '1 us') AS first \gset
SELECT jobsched.trigger('keyed', idempotency_key => 'c') = :first AS existing;
-- when it has
SELECT jobsched.cancel_run(:first);
CALL jobsched.wait_run(:first, '1 min');
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'c') > :first AS another;

-- error
DO $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM jobsched.trigger('keyed', idempotency_key => 'c', on_conflict => 'error');
EXCEPTION WHEN unique_violation THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE NOTICE '% / % / %', SQLERRM, regexp_replace(detail, '\d+', 'N'), hint;
	ASSERT detail LIKE '% ' || (SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'keyed') || ' %';
END $$;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'd', on_conflict => 'error') > 0 AS not_taken;

-- replace: one that waits
SELECT jobsched.trigger('keyed', '{"n": 1}', now() + interval '1 hour', idempotency_key => 'e', on_conflict => 'replace') AS first \gset
SELECT jobsched.trigger('keyed', '{"n": 2}', now() + interval '2 hours', 7, idempotency_key => 'e', on_conflict => 'replace') AS second \gset
CALL jobsched.wait_run(:first, '1 min');
SELECT status, reason, started_at FROM jobsched.runs WHERE run_id = :first;
SELECT status, reason, args, priority, run_at > now() + interval '1 hour' AS later FROM jobsched.runs WHERE run_id = :second;
SELECT jobsched.trigger('keyed', idempotency_key => 'e') = :second AS keeps_the_key;
-- one that has ended
SELECT jobsched.trigger('keyed', '{"n": 3}', idempotency_key => 'e', on_conflict => 'replace') AS third \gset
CALL jobsched.wait_run(:third, '1 min');
SELECT jobsched.trigger('keyed', '{"n": 4}', idempotency_key => 'e', on_conflict => 'replace') AS fourth \gset
CALL jobsched.wait_run(:fourth, '1 min');
SELECT status, reason, result FROM jobsched.runs WHERE run_id IN (:third, :fourth) ORDER BY run_id;

-- debounce
SELECT jobsched.trigger('keyed', '{"n": 1}', idempotency_key => 'f', on_conflict => 'debounce', idempotency_period => '1 hour') AS first \gset
SELECT jobsched.trigger('keyed', '{"n": 2}', idempotency_key => 'f', on_conflict => 'debounce', idempotency_period => '2 hours') AS second \gset
CALL jobsched.wait_run(:first, '1 min');
SELECT status, reason FROM jobsched.runs WHERE run_id = :first;
SELECT status, reason, args, run_at - queued_at AS quiet FROM jobsched.runs WHERE run_id = :second;
SELECT jobsched.trigger('keyed', '{"n": 3}', now() + interval '5 min', idempotency_key => 'f', on_conflict => 'debounce') AS third \gset
SELECT run_at < now() + interval '6 min' AS as_given FROM jobsched.runs WHERE run_id = :third;
CALL jobsched.wait_run(:second, '1 min');

-- throttle: within the period, ended or not
SELECT jobsched.trigger('keyed', idempotency_key => 'g', on_conflict => 'throttle', idempotency_period => '1 hour') AS first \gset
SELECT jobsched.trigger('keyed', idempotency_key => 'g', on_conflict => 'throttle') = :first AS existing;
CALL jobsched.wait_run(:first, '1 min');
SELECT jobsched.trigger('keyed', idempotency_key => 'g', on_conflict => 'throttle') = :first AS existing;
-- after it, live or not
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'h', on_conflict => 'throttle', idempotency_period => '1 us') AS first \gset
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'h', on_conflict => 'throttle') <> :first AS another;
SELECT status FROM jobsched.runs WHERE run_id = :first;

-- several times in one statement, in one transaction, in savepoints
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'i') = jobsched.trigger('keyed', idempotency_key => 'i') AS one;
SELECT array_agg(jobsched.trigger('keyed', jsonb_build_object('i', i), now() + interval '1 hour', idempotency_key => 'j', on_conflict => 'replace') ORDER BY i) AS ids
FROM generate_series(1, 5) i \gset
CALL jobsched.wait_run((:'ids'::bigint[])[4], '1 min');
SELECT status, reason, args FROM jobsched.runs WHERE run_id = ANY (:'ids'::bigint[]) ORDER BY run_id;
BEGIN;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'l') AS first \gset
SAVEPOINT s;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'k') AS lost \gset
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'l', on_conflict => 'replace') AS lost_too \gset
ROLLBACK TO s;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'k', on_conflict => 'error') AS second \gset
SELECT jobsched.trigger('keyed', idempotency_key => 'l') = :first AS first_again;
COMMIT;
SELECT jobsched.trigger('keyed', idempotency_key => 'k') = :second AS second_again;
SELECT count(*) FROM jobsched.runs WHERE run_id IN (:lost, :lost_too);
SELECT status FROM jobsched.runs WHERE run_id IN (:first, :second);
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT jobsched.trigger('keyed', idempotency_key => 'k') = :second AS second_again;
COMMIT;

-- whose job it is
RESET ROLE;
SET ROLE regress_key_other;
SELECT jobsched.trigger('keyed', idempotency_key => 'k');
SELECT jobsched.create_job('keyed', command => 'SELECT 1') IS NOT NULL AS created;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'k') <> :second AS own;
SELECT jobsched.drop_job('keyed');
RESET ROLE;
SET ROLE regress_key_owner;
-- a job that is dropped takes its keys with it
SELECT jobsched.drop_job('keyed');
SELECT jobsched.create_job('keyed', command => 'SELECT 1') IS NOT NULL AS created;
SELECT jobsched.trigger('keyed', run_at => now() + interval '1 hour', idempotency_key => 'k', on_conflict => 'error') > :second AS not_taken;
BEGIN READ ONLY;
SELECT jobsched.trigger('keyed', idempotency_key => 'k');
ROLLBACK;

-- nothing is left to be done
RESET ROLE;
SELECT jobsched.trigger('also keyed') AS last \gset
CALL jobsched.wait_run(:last, '1 min');
SELECT count(*) FROM jobsched_internal.run_stop;
SELECT jobsched.drop_job(name) FROM (VALUES ('keyed'), ('also keyed')) j (name);
REVOKE USAGE ON SCHEMA jobsched FROM regress_key_owner, regress_key_other;
DROP ROLE regress_key_owner, regress_key_other;
