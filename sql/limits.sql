-- Queues, limits of keys, and concurrency, as SQL sees them.
CREATE ROLE regress_limits_owner LOGIN;
CREATE ROLE regress_limits_other LOGIN;
CREATE ROLE regress_limits_group NOLOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_limits_owner, regress_limits_other;
SET ROLE regress_limits_owner;

-- what is refused: of jobs
SELECT test.refusal(format('SELECT jobsched.create_job(''bad'', command => ''SELECT 1'', %s)', what)) FROM (VALUES
	($$max_concurrency => -1$$),
	($$max_concurrency => 10001$$),
	($$queue => repeat('x', 201)$$),
	($$keys => ARRAY['user:{{args.id']$$),
	($$keys => ARRAY['user:}}']$$),
	($$keys => ARRAY['user:{{id}}']$$),
	($$keys => ARRAY['user:{{}}']$$),
	($$keys => ARRAY['user:{{args.}}']$$),
	($$keys => ARRAY['user:{{args.a..b}}']$$),
	($$keys => ARRAY['user:{{args.{{args.x}}}}']$$),
	($$keys => ARRAY['user:{{secret.token}}']$$),
	($$keys => ARRAY['']$$),
	($$keys => ARRAY['a', NULL]$$),
	($$keys => ARRAY[['a'], ['b']]$$),
	($$keys => ARRAY[repeat('x', 201)]$$),
	($$keys => ARRAY['1','2','3','4','5','6','7','8','9']$$),
	-- a scheduled run has the job's arguments only
	($$schedule => '@daily', keys => ARRAY['user:{{args.id}}']$$),
	($$schedule => '@daily', keys => ARRAY['user:{{args.id}}'], args => '{"id": null}'$$),
	($$schedule => '@daily', keys => ARRAY['{{args.id}}'], args => '{"id": ""}'$$),
	($$schedule => '@daily', keys => ARRAY['user:{{args.id}}'], args => '{"id": [1]}'$$)
) v (what);

-- of queues and limits of keys
-- (who may act for whom is worded differently from version to version)
SELECT regexp_replace(test.refusal('SELECT jobsched.' || what), '^42501: .*', '42501') AS refusal FROM (VALUES
	($$set_queue('')$$),
	($$set_queue(NULL)$$),
	($$set_queue(repeat('x', 201))$$),
	($$set_queue('q', 0)$$),
	($$set_queue('q', 10001)$$),
	($$set_queue('q', rate => 5)$$),
	($$set_queue('q', per => '1 s')$$),
	($$set_queue('q', burst => 2)$$),
	($$set_queue('q', rate => 0, per => '1 s')$$),
	($$set_queue('q', rate => 1, per => '0')$$),
	($$set_queue('q', rate => 1, per => '-1 s')$$),
	($$set_queue('q', rate => 1, per => '1 month')$$),
	($$set_queue('q', rate => 11, per => '10 microseconds')$$),
	($$set_queue('q', rate => 1, per => '1 day', burst => 5000)$$),
	($$set_queue('q', rate => 1, per => '1 s', burst => 0)$$),
	($$set_queue('q', owner => 'regress_limits_nobody')$$),
	($$set_queue('q', owner => 'regress_limits_other')$$),
	($$set_limit('user:42')$$),
	($$set_limit('')$$),
	($$set_limit('user', 1, owner => 'regress_limits_other')$$),
	($$drop_queue('q')$$),
	($$drop_queue('q', 'regress_limits_other')$$),
	($$drop_limit('user')$$)
) v (what);
RESET ROLE;
-- a role that cannot log in may have HTTP requests, and so limits
SELECT jobsched.set_queue('q', owner => 'regress_limits_group');
SELECT jobsched.drop_queue('q', 'regress_limits_group');
SET ROLE regress_limits_owner;
BEGIN READ ONLY;
SELECT jobsched.set_queue('q');
ROLLBACK;

-- a definition is stated as a whole each time
SELECT jobsched.set_queue('mail', 2, 10, '1 min', 5);
SELECT jobsched.set_queue('slow', rate => 1, per => '1 day');
SELECT jobsched.set_limit('user', 2);
SELECT jobsched.set_limit('brand', rate => 3, per => '1 s');
SELECT * FROM jobsched.queues ORDER BY name;
SELECT * FROM jobsched.limits ORDER BY key_class;
SELECT jobsched.set_queue('mail', paused => true);
SELECT jobsched.drop_queue('slow');
SELECT jobsched.drop_limit('brand');
SELECT * FROM jobsched.queues ORDER BY name;
SELECT * FROM jobsched.limits ORDER BY key_class;
-- rolled back, nothing of it stays
BEGIN;
SELECT jobsched.set_queue('gone');
SELECT jobsched.drop_queue('mail');
ROLLBACK;
SELECT name FROM jobsched.queues;

-- nobody else sees or drops it; a namesake of another role is another
RESET ROLE;
SET ROLE regress_limits_other;
SELECT * FROM jobsched.queues;
SELECT * FROM jobsched.limits;
SELECT test.refusal($$SELECT jobsched.drop_queue('mail', 'regress_limits_owner')$$);
SELECT jobsched.set_queue('mail', 7);
SELECT name, max_running, paused FROM jobsched.queues;
SELECT jobsched.drop_queue('mail');
RESET ROLE;
SET ROLE regress_limits_owner;

-- jobs: kept, changed, removed
SELECT jobsched.create_job('limited', command => 'SELECT 1', max_concurrency => 3, queue => 'mail',
	keys => ARRAY['user:{{args.user_id}}', 'brand:{{ args.brand.id }}', 'all']) > 0 AS created;
SELECT max_concurrency, queue, keys FROM jobsched.jobs WHERE name = 'limited';
SELECT jobsched.alter_job('limited', description => 'the limits stay');
SELECT max_concurrency, queue, keys FROM jobsched.jobs WHERE name = 'limited';
SELECT test.refusal($$SELECT jobsched.alter_job('limited', schedule => '@daily')$$);
SELECT test.refusal($$SELECT jobsched.alter_job('limited', keys => ARRAY['{{x}}'])$$);
SELECT jobsched.alter_job('limited', max_concurrency => 0, queue => '', keys => '{}');
SELECT max_concurrency, queue, keys FROM jobsched.jobs WHERE name = 'limited';
SELECT jobsched.create_job('limited', command => 'SELECT 1', queue => 'mail', keys => ARRAY['a'], max_concurrency => 1, if_exists => 'update') > 0 AS updated;
SELECT jobsched.create_job('limited', command => 'SELECT 1', if_exists => 'update') > 0 AS updated;
SELECT max_concurrency, queue, keys FROM jobsched.jobs WHERE name = 'limited';

-- keys of runs: from the arguments, those of the run over those of the job
SELECT jobsched.alter_job('limited', queue => 'mail', args => '{"user_id": 1, "brand": {"id": "x"}}',
	keys => ARRAY['user:{{args.user_id}}', 'brand:{{ args.brand.id }}', 'vip:{{args.vip}}']);
SELECT test.refusal($$SELECT jobsched.trigger('limited')$$);
SELECT test.refusal($$SELECT jobsched.trigger('limited', '{"vip": {"a": 1}}')$$);
SELECT test.refusal($$SELECT jobsched.trigger('limited', jsonb_build_object('vip', repeat('x', 200)))$$);
SELECT test.refusal($$SELECT jobsched.trigger('limited', keys => ARRAY['{{args.nothing}}'])$$);
SELECT test.refusal($$SELECT jobsched.trigger('limited', keys => ARRAY['a}}'])$$);
SELECT test.refusal($$SELECT jobsched.trigger_many('limited', ARRAY['{"vip": true}', '{}']::jsonb[])$$);
SELECT jobsched.trigger('limited', '{"vip": true, "user_id": 4.50}') AS run_1 \gset
SELECT jobsched.trigger('limited', keys => ARRAY['own:{{args.user_id}}', 'own:1', 'text']) AS run_2 \gset
SELECT jobsched.trigger('limited', keys => '{}') AS run_3 \gset
SELECT run_id AS run_4 FROM jobsched.trigger_many('limited', ARRAY['{"vip": 7}']::jsonb[]) AS run_id \gset
SELECT run_id - :run_1 AS n, status, reason, keys FROM jobsched.runs WHERE job_name = 'limited' ORDER BY run_id;
SELECT name, running, waiting FROM jobsched.queues;
SELECT key_class, keys, running, waiting FROM jobsched.limits;

-- the queue goes on, and history keeps the keys
SELECT jobsched.set_queue('mail');
CALL jobsched.wait_run(:run_1, '1 min');
CALL jobsched.wait_run(:run_4, '1 min');
SELECT run_id - :run_1 AS n, status, reason, keys FROM jobsched.runs WHERE run_id IN (:run_1, :run_4) ORDER BY run_id;
CALL jobsched.wait_run(:run_2, '1 min');
CALL jobsched.wait_run(:run_3, '1 min');

-- what a queued run has it keeps; a queue is its job's
SELECT jobsched.set_queue('mail', paused => true);
SELECT jobsched.trigger('limited', keys => ARRAY['k']) AS run_5 \gset
SELECT jobsched.alter_job('limited', keys => '{}');
SELECT status, reason, keys FROM jobsched.runs WHERE run_id = :run_5;
SELECT jobsched.alter_job('limited', queue => '');
CALL jobsched.wait_run(:run_5, '1 min');
SELECT keys FROM jobsched.runs WHERE run_id = :run_5;

-- a queue that nobody has defined is no limit
SELECT jobsched.alter_job('limited', queue => 'unheard of');
SELECT jobsched.trigger('limited') AS run_6 \gset
CALL jobsched.wait_run(:run_6, '1 min');

-- a scheduled run has keys too
SELECT jobsched.create_job('ticks', '* * * * * *', 'SELECT 1', args => '{"id": 9}', keys => ARRAY['user:{{args.id}}']) > 0 AS created;
CALL test.until($$SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'ticks' AND status = 'succeeded'$$);
SELECT DISTINCT keys FROM jobsched.runs WHERE job_name = 'ticks';
-- and one that takes the place of slots that had none
SELECT jobsched.alter_job('ticks', command => 'SELECT pg_sleep(1.5)');
CALL test.until($$SELECT count(*) > 0 FROM jobsched.runs WHERE job_name = 'ticks' AND status = 'skipped'$$);
SELECT jobsched.retry_run(max(run_id)) AS run_7 FROM jobsched.runs WHERE job_name = 'ticks' AND status = 'skipped' \gset
SELECT keys FROM jobsched.runs WHERE run_id = :run_7;
SELECT jobsched.drop_job('ticks');

-- and so have those of backfill()
SELECT jobsched.create_job('past', '0 0 * * *', 'SELECT 1', args => '{"id": 9}', keys => ARRAY['user:{{args.id}}']) > 0 AS created;
SELECT jobsched.pause_job('past');
SELECT count(run_id) FROM jobsched.backfill('past', '2020-01-01', '2020-01-03');
SELECT keys FROM jobsched.runs WHERE job_name = 'past';
SELECT jobsched.drop_job('past');

-- nothing is left
SELECT jobsched.drop_job('limited');
SELECT jobsched.drop_queue('mail');
SELECT jobsched.drop_limit('user');
RESET ROLE;
SELECT count(*) FROM jobsched_internal.limit_definition;
REVOKE USAGE ON SCHEMA jobsched FROM regress_limits_owner, regress_limits_other;
DROP ROLE regress_limits_owner, regress_limits_other, regress_limits_group;
