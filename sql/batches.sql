-- Batches: arguments, errors, views, and ends that need no disaster.  The rest is
-- in test/t/064_batches.pl.

CREATE ROLE regress_batches LOGIN;
CREATE ROLE regress_batches_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_batches, regress_batches_other;
CREATE SCHEMA batches AUTHORIZATION regress_batches;
GRANT regress_batches TO regress_batches_other;
SET ROLE regress_batches_other;
SELECT jobsched.create_job('theirs', command => 'SELECT 1') AS theirs \gset
SET ROLE regress_batches;
SET search_path = batches;

CREATE FUNCTION work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'fails' THEN
		RAISE EXCEPTION 'no';
	END IF;
	RETURN args;
END $$;
CREATE FUNCTION sums(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('args', sums.args, 'status', u.status, 'totals', u.result) FROM jobsched.upstream() u
$$;
CREATE FUNCTION told(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT jobsched.log('notice', args ->> 'status') $$;
SELECT jobsched.create_job('work', handler => 'batches.work', on_success => 'batches.told', on_failure => 'batches.told',
	pause_after_failures => 3) AS work \gset
SELECT jobsched.create_job('sums', handler => 'batches.sums', args => '{"of": "job"}') AS sums \gset

-- arguments
SELECT jobsched.trigger_batch(NULL, '{}');
SELECT jobsched.trigger_batch('missing', '{}');
SELECT jobsched.trigger_batch('theirs', '{}');
SELECT jobsched.trigger_batch('work', NULL);
SELECT jobsched.trigger_batch('work', ARRAY['[]']::jsonb[]);
SELECT jobsched.trigger_batch('work', array_fill(NULL::jsonb, ARRAY[100001]));
SELECT jobsched.trigger_batch('work', '{}', on_complete => 'missing');
SELECT jobsched.trigger_batch('work', '{}', on_complete => 'theirs');
SELECT jobsched.trigger_batch('work', '{}', on_complete_args => '{}');
SELECT jobsched.trigger_batch('work', '{}', on_complete => 'sums', on_complete_args => '1');
SELECT jobsched.trigger_batch('work', '{}', on_complete => 'sums', after_when => 'sometimes');
SELECT jobsched.trigger_batch('work', '{}', after_when => 'sometimes');
SELECT jobsched.trigger_batch('work', '{}', run_at => 'infinity');
SELECT jobsched.trigger_batch('work', '{}', timeout => '-1 s');
SELECT jobsched.trigger_batch('work', '{}', max_attempts => -1);
SELECT jobsched.trigger_batch('work', '{NULL}', keys => ARRAY['a:{{args.none}}']);
SELECT jobsched.trigger_batch('work', '{}', child => true);
-- whoever may see less than the batch has does not get its totals
SET ROLE regress_batches_other;
SELECT jobsched.trigger_batch('theirs', '{}', on_complete => 'sums');
RESET ROLE;
SELECT count(*) FROM jobsched_internal.run WHERE owner = 'regress_batches'::regrole;
SET ROLE regress_batches;

-- ends
CREATE PROCEDURE run(call text) LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	next_id bigint;
	ended text;
	r record;
BEGIN
	EXECUTE 'SELECT ' || call INTO id;
	next_id := (SELECT run_id FROM jobsched.waiting WHERE parent_ids = ARRAY[id]);
	COMMIT;
	CALL jobsched.wait_run(id, '60 s', ended);
	SELECT * INTO r FROM jobsched.runs WHERE run_id = id;
	RAISE INFO '% % % % %', r.job_name, r.status, r.reason, r.result, regexp_replace(r.error, 'run \d+', 'run N', 'g');
	IF next_id IS NOT NULL THEN
		CALL jobsched.wait_run(next_id, '60 s', ended);
		SELECT * INTO r FROM jobsched.runs WHERE run_id = next_id;
		RAISE INFO '% % % %', r.job_name, r.status, r.reason, r.result;
	END IF;
	FOR r IN SELECT c.job_name, c.status, c.reason, count(*) FROM jobsched.runs c
		WHERE c.parent_run_id = id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
	LOOP
		RAISE INFO '% of %: % %', r.count, r.job_name, r.status, r.reason;
	END LOOP;
END $$;
CALL run($$ jobsched.trigger_batch('work', '{}') $$);
CALL run($$ jobsched.trigger_batch('work', '{}', on_complete => 'sums') $$);
CALL run($$ jobsched.trigger_batch('work', '{NULL}') $$);
CALL run($$ jobsched.trigger_batch('work', array_fill('{"a": 1}'::jsonb, ARRAY[30]), 'sums', '{"b": 2}') $$);
CALL run($$ jobsched.trigger_batch('work', ARRAY['{"fails": 1}', '{}', '{}']::jsonb[], 'sums') $$);
CALL run($$ jobsched.trigger_batch('work', ARRAY['{"fails": 1}', '{}', '{}']::jsonb[], 'sums', after_when => 'success') $$);
CALL run($$ jobsched.trigger_batch('work', ARRAY['{}', '{}', '{"fails": 1}']::jsonb[], 'sums', after_when => 'failure') $$);
CALL run($$ jobsched.trigger_batch('work', ARRAY['{"fails": 1}', '{}']::jsonb[], 'sums', after_when => 'success', optional => true) $$);
CALL run($$ jobsched.trigger_batch('work', ARRAY['{}', '{}']::jsonb[], 'sums', after_when => 'failure') $$);
CALL run($$ jobsched.trigger_batch('work', ARRAY['{}']::jsonb[], 'work', run_at => now() + interval '200 ms', priority => 3) $$);

-- what it is in views
SELECT jobsched.pause_job('work');
SELECT jobsched.trigger_batch('work', ARRAY['{"a": 1}', '{"b": 1}']::jsonb[], 'sums', '{"c": 1}', priority => 7) AS batch \gset
SELECT status, reason, source, attempt, priority, args, result, run_id < (SELECT min(run_id) FROM jobsched.runs WHERE parent_run_id = :batch) AS first,
	started_at IS NOT NULL AS started, worker_pid FROM jobsched.runs WHERE run_id = :batch;
SELECT job_name, status, reason, source, priority, args FROM jobsched.runs WHERE run_id > :batch ORDER BY run_id;
SELECT job_name, after_when, parent_ids = ARRAY[:batch::bigint] AS waits FROM jobsched.waiting;
SELECT count(*) FROM jobsched.attempts WHERE run_id = :batch;
SELECT count(*) FROM jobsched.running;
SELECT count(*) FROM jobsched.upcoming WHERE run_id = :batch;
\set VERBOSITY sqlstate
SELECT jobsched.retry_run(:batch);
\set VERBOSITY default
SELECT jobsched.cancel_run(:batch);
CALL jobsched.wait_run(:batch, '60 s');
SELECT status, reason, result, duration > '0' AS took FROM jobsched.runs WHERE run_id = :batch;
SELECT status, reason FROM jobsched.runs WHERE parent_run_id = :batch;
SELECT count(*) FROM jobsched.attempts WHERE run_id = :batch;
CREATE PROCEDURE until_all_have_ended() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 6000 LOOP
		COMMIT;
		EXIT WHEN NOT EXISTS (SELECT FROM jobsched.runs WHERE status IN ('queued', 'running', 'retrying'));
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL until_all_have_ended();
SELECT status, result FROM jobsched.runs WHERE job_name = 'sums' ORDER BY run_id DESC LIMIT 1;

-- it is no run of its job's: nobody is told, nothing is counted, no dead letter
SELECT jobsched.resume_job('work');
SELECT jobsched.trigger_batch('work', ARRAY['{"fails": 1}', '{"fails": 1}']::jsonb[]) AS batch \gset
CALL jobsched.wait_run(:batch, '60 s');
CALL until_all_have_ended();
SELECT message, count(*) FROM jobsched.run_logs WHERE run_id > :batch GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM jobsched.dead_letters WHERE run_id >= :batch;
SELECT state, consecutive_failures FROM jobsched.jobs WHERE name = 'work';
SELECT regexp_replace(reason || ' ' || error, 'run \d+', 'run N') AS why FROM jobsched.runs WHERE run_id = :batch;
DO $$ BEGIN
	PERFORM jobsched.retry_run(max(run_id)) FROM jobsched.runs WHERE source = 'batch';
EXCEPTION WHEN SQLSTATE 'JS055' THEN
	RAISE INFO '%', regexp_replace(SQLERRM, 'run \d+', 'run N');
END $$;
SELECT jobsched.alter_job('work', pause_after_failures => 0);
SELECT count(*) FROM jobsched.redrive('work');
CALL until_all_have_ended();
SELECT count(*), count(parent_run_id) FROM jobsched.runs WHERE source = 'retry';

-- inside a run: its child or not
CREATE FUNCTION starts(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.trigger_batch('work', ARRAY['{}', '{"fails": 1}']::jsonb[], child => (args ->> 'child')::boolean, optional => args ? 'optional');
	RETURN '"begun"';
END $$;
SELECT jobsched.create_job('starts', handler => 'batches.starts') AS starts \gset
CALL run($$ jobsched.trigger('starts', '{"child": false}') $$);
CALL run($$ jobsched.trigger('starts', '{"child": true}') $$);
CALL run($$ jobsched.trigger('starts', '{"child": true, "optional": 1}') $$);
CREATE FUNCTION nest(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.trigger_batch('nest', ARRAY['{}']::jsonb[], child => true);
	RETURN NULL;
END $$;
SELECT jobsched.create_job('nest', handler => 'batches.nest') AS nest \gset
SELECT jobsched.trigger('nest') AS nest \gset
CALL jobsched.wait_run(:nest, '60 s');
SELECT source, status, reason, regexp_replace(error, 'run \d+', 'run N', 'g') AS error, count(*) FROM jobsched.runs WHERE job_name = 'nest' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

CALL until_all_have_ended();
SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE owner = current_user ORDER BY name;
RESET search_path;
SET ROLE regress_batches_other;
SELECT jobsched.drop_job('theirs');
RESET ROLE;
DROP SCHEMA batches CASCADE;
REVOKE regress_batches FROM regress_batches_other;
REVOKE USAGE ON SCHEMA jobsched FROM regress_batches, regress_batches_other;
DROP ROLE regress_batches, regress_batches_other;
