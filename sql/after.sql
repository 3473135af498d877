-- Runs that wait for runs: arguments, errors, views.  What becomes of them is in
-- test/t/061_after.pl.

CREATE ROLE regress_after LOGIN;
CREATE ROLE regress_after_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_after, regress_after_other;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_after;
SET ROLE regress_after;
SELECT jobsched.create_job('step', command => 'SELECT run_id IS NULL FROM jobsched.upstream() LIMIT 1') AS step \gset

-- a run for later
SELECT jobsched.trigger('step', run_at => now() + interval '1 day') AS first \gset
SELECT jobsched.trigger('step', after => ARRAY[:first, :first]) AS second \gset
SELECT jobsched.trigger('step', '{}', after => ARRAY[:second, :first], after_when => 'done') AS third \gset
SELECT count(*) FROM jobsched.trigger_many('step', '{NULL,NULL}', after => ARRAY[:third], after_when => 'failure');
SELECT jobsched.trigger('step', after => '{}') AS free \gset
SELECT jobsched.trigger('step', after => NULL, after_when => 'failure') AS free_too \gset
CALL jobsched.wait_run(:free, '60 s');
CALL jobsched.wait_run(:free_too, '60 s');
SELECT job_name, owner, after_when, parents, parent_ids = ARRAY[:first]::bigint[] AS first,
	parent_ids = ARRAY[:first, :second]::bigint[] AS both, since <= run_at AS since, run_at < now() AS run_at
FROM jobsched.waiting ORDER BY run_id;
SELECT status, reason, count(*) FROM jobsched.runs WHERE run_id > :first GROUP BY 1, 2 ORDER BY 1;

-- all in one statement; nothing of it is left if that is rolled back
BEGIN;
SELECT jobsched.trigger('step', after => array_agg(r)) AS many, array_agg(r) AS parents
FROM jobsched.trigger_many('step', array_fill('{}'::jsonb, ARRAY[12])) r \gset
SELECT parents, parent_ids = (:'parents'::bigint[])[3:] AS newest FROM jobsched.waiting WHERE run_id = :many;
SELECT jobsched.trigger('step', after => array_agg(r)) AS many
FROM jobsched.trigger_many('step', array_fill('{}'::jsonb, ARRAY[1200])) r \gset
SELECT parents FROM jobsched.waiting WHERE run_id = :many;
SELECT jobsched.trigger('step', after_when => 'done', after => ARRAY(
	SELECT jobsched.trigger_many('step', ARRAY(SELECT jsonb_build_object('id', id) FROM generate_series(1, 3) id)))) AS many \gset
SELECT parents FROM jobsched.waiting WHERE run_id = :many;
SELECT jobsched.trigger('step', after_when => 'done', after => ARRAY(
	SELECT jobsched.trigger_many('step', ARRAY(SELECT jsonb_build_object('id', id) FROM generate_series(1, 0) id)))) AS many \gset
SELECT parents FROM jobsched.waiting WHERE run_id = :many;
ROLLBACK;
SELECT count(*) FROM jobsched.waiting;

-- to queues and limits they are like runs for later
SELECT jobsched.set_queue('line', paused => true);
SELECT jobsched.set_limit('class', max_running => 1);
SELECT jobsched.create_job('in line', command => 'SELECT 1', queue => 'line', keys => '{class:a}') AS in_line \gset
SELECT jobsched.trigger('in line') AS due, jobsched.trigger('in line', keys => '{class:b}', after => ARRAY[:first]) AS behind,
	jobsched.trigger('in line', keys => '{class:c}', run_at => now() + interval '1 day') AS later \gset
SELECT q.waiting, l.waiting, l.keys FROM jobsched.queues q, jobsched.limits l WHERE q.name = 'line' AND l.key_class = 'class';
SELECT run_id - :due AS run FROM jobsched.upcoming WHERE job_name = 'in line' ORDER BY 1;
SELECT jobsched.drop_job('in line');
SELECT jobsched.drop_queue('line');
SELECT jobsched.drop_limit('class');

-- requests
SELECT jobsched.http_request('GET', 'http://127.0.0.1:1/', after => ARRAY[:first]) IS NOT NULL AS request;
SELECT jobsched.http_get('http://127.0.0.1:1/', after => ARRAY[:first], after_when => 'failure') IS NOT NULL AS get;
SELECT jobsched.http_post('http://127.0.0.1:1/', after => ARRAY[:first]) IS NOT NULL AS post;
SELECT jobsched.http_put('http://127.0.0.1:1/', after => ARRAY[:first]) IS NOT NULL AS put;
SELECT jobsched.http_patch('http://127.0.0.1:1/', after => ARRAY[:first]) IS NOT NULL AS patch;
SELECT jobsched.http_delete('http://127.0.0.1:1/', after => ARRAY[:first]) IS NOT NULL AS delete;
SELECT after_when, parents FROM jobsched.waiting WHERE run_id > (SELECT max(run_id) - 6 FROM jobsched.waiting) ORDER BY run_id;

-- errors
SELECT jobsched.trigger('step', after => ARRAY[:first, NULL]);
SELECT jobsched.trigger('step', after => ARRAY[0]);
SELECT jobsched.trigger('step', after => '{-1,9223372036854775807}');
SELECT jobsched.trigger('step', after => ARRAY[:first], after_when => 'always');
SELECT jobsched.trigger_many('step', '{NULL}', after => '{0}');
SELECT jobsched.http_get('http://127.0.0.1:1/', after => '{0}');
SELECT jobsched.trigger('step', after => ARRAY(SELECT generate_series(1, 100001)));
SELECT jobsched.trigger('step', after => array_fill(:first, ARRAY[100001]));
SELECT jobsched.trigger_many('step', array_fill(NULL::jsonb, ARRAY[500001]), after => ARRAY[:first, :second]);
SELECT jobsched.trigger_many('step', array_fill('{}'::jsonb, ARRAY[2000, 50000]), after => ARRAY(SELECT generate_series(1, 100000)));

-- the same call again, once nothing is known any more of what it waited for
SELECT jobsched.trigger('step', after => ARRAY[:free], idempotency_key => 'again', idempotency_period => '30 days') AS kept \gset
CALL jobsched.wait_run(:kept, '60 s');
RESET ROLE;
DELETE FROM jobsched_internal.history WHERE run_id IN (:free, :kept);
SET ROLE regress_after;
SELECT jobsched.trigger('step', after => ARRAY[:free], idempotency_key => 'again') = :kept AS same;
SELECT jobsched.trigger('step', after => ARRAY[0], idempotency_key => 'another');

-- what this call would cancel, for it has the key and has not started
SELECT jobsched.trigger('step', idempotency_key => 'next', after => ARRAY[:first]) AS next \gset
\set VERBOSITY sqlstate
SELECT jobsched.trigger('step', after => ARRAY[:next], idempotency_key => 'next', on_conflict => 'replace');
SELECT regexp_replace(:'LAST_ERROR_MESSAGE', '\d+', 'N') AS message;
SELECT jobsched.trigger('step', after => ARRAY[:first, :next, :second], idempotency_key => 'next', on_conflict => 'debounce', idempotency_period => '1 s') AS no;
\set VERBOSITY default
SELECT jobsched.trigger('step', after => ARRAY[:first], idempotency_key => 'next', on_conflict => 'replace') AS next \gset
SELECT jobsched.trigger('step', idempotency_key => 'in turn') AS one \gset
CALL jobsched.wait_run(:one, '60 s');
SELECT jobsched.trigger('step', after => ARRAY[:one], idempotency_key => 'in turn', on_conflict => 'replace') > :one AS another;

-- by a trigger of a table, each row after those before it
CREATE TEMP TABLE chain (run_id bigint);
CREATE FUNCTION pg_temp.chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.run_id := jobsched.trigger('step', after => ARRAY(SELECT c.run_id FROM chain c));
	RETURN NEW;
END $$;
CREATE TRIGGER chain BEFORE INSERT ON chain FOR EACH ROW EXECUTE FUNCTION pg_temp.chain();
BEGIN;
INSERT INTO chain VALUES (NULL), (NULL), (NULL);
INSERT INTO chain VALUES (NULL);
SELECT w.parents FROM chain c LEFT JOIN jobsched.waiting w USING (run_id) ORDER BY c.run_id;
ROLLBACK;
DROP TABLE chain;
DROP FUNCTION pg_temp.chain;

-- where nothing can be written
BEGIN READ ONLY;
SELECT jobsched.trigger('step', after => ARRAY[:first]);
ROLLBACK;

-- where leaders ask workers
SELECT count(set_config(name, 'on', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(*) > 0 AS seen FROM jobsched.waiting;
SELECT count(*) > 0 AS seen FROM jobsched.runs WHERE reason = 'waiting_for_upstream';
SELECT count(*) FROM jobsched.queues;
SELECT count(*) FROM jobsched.upstream();
SELECT count(set_config(name, 'off', false)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');

-- another role
SET ROLE regress_after_other;
SELECT jobsched.create_job('mine', command => 'SELECT 1') AS mine \gset
\set VERBOSITY sqlstate
SELECT jobsched.trigger('mine', after => ARRAY[:first]);
\set VERBOSITY default
SELECT count(*) FROM jobsched.waiting;
SELECT count(*) FROM jobsched.upstream();
RESET ROLE;
GRANT pg_monitor TO regress_after_other;
SET ROLE regress_after_other;
SELECT count(*) > 0 AS seen FROM jobsched.waiting;
SELECT jobsched.trigger('mine', after => ARRAY[:first]) IS NOT NULL AS named;
SELECT count(*) FROM jobsched_internal.dependency;
RESET ROLE;
REVOKE pg_monitor FROM regress_after_other;
\set VERBOSITY sqlstate
SELECT jobsched.trigger('mine', after => ARRAY[:first]);

-- a run is whose job it was
SET ROLE regress_after;
SELECT jobsched.create_job('given', command => 'SELECT 1') AS given \gset
SELECT jobsched.trigger('given') AS given \gset
CALL jobsched.wait_run(:given, '60 s');
RESET ROLE;
SELECT jobsched.alter_job('given', owner => 'regress_after_other');
SELECT jobsched.trigger('mine', after => ARRAY[:given]);
SET ROLE regress_after_other;
SELECT jobsched.trigger('mine', after => ARRAY[:given]);
SELECT jobsched.drop_job('given');
SET ROLE regress_after;
SELECT jobsched.trigger('step', after => ARRAY[:given]) AS last \gset
CALL jobsched.wait_run(:last, '60 s');
SELECT result FROM jobsched.runs WHERE run_id = :last;
RESET ROLE;
\set VERBOSITY default

-- the end
SET ROLE regress_after;
SELECT jobsched.cancel_run(:first);
CALL jobsched.wait_run(:second, '60 s');
CALL jobsched.wait_run(:third, '60 s');
SELECT jobsched.cancel_runs(job => 'http') IS NOT NULL AS cancelled;
SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name IN ('step', 'http') ORDER BY name DESC;
SET ROLE regress_after_other;
SELECT jobsched.drop_job('mine');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION jobsched.http_request FROM regress_after;
REVOKE USAGE ON SCHEMA jobsched FROM regress_after, regress_after_other;
DROP ROLE regress_after, regress_after_other;
