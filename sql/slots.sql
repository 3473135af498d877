-- Policies for slots, as SQL sees them: what is refused, kept, changed and
-- removed; and backfill().  What they do is in test/t/031_slots.pl.
CREATE ROLE regress_slots_owner LOGIN;
CREATE ROLE regress_slots_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_slots_owner, regress_slots_other;
SET ROLE regress_slots_owner;
SET timezone = 'UTC';

CREATE TEMP VIEW policies AS
SELECT name, overlap, queue_limit AS queue, misfire, misfire_grace AS grace, starts_at, ends_at,
	max_runs AS max, jitter, pause_after_failures AS pause, max_concurrency AS conc
FROM jobsched.jobs WHERE owner = 'regress_slots_owner' ORDER BY name;

-- defaults; all of them; NULL is the default
SELECT jobsched.create_job('plain', '@daily', 'SELECT 1') IS NOT NULL AS created;
SELECT jobsched.create_job('full', '@daily', 'SELECT 1', overlap => 'queue', queue_limit => 1000, misfire => 'all',
	misfire_grace => '1 day', starts_at => '2100-01-01', ends_at => '2100-02-01', max_runs => 2147483647,
	jitter => '24 hours', pause_after_failures => 1000000, max_concurrency => 10000) IS NOT NULL AS created;
SELECT jobsched.create_job('nulls', '@daily', 'SELECT 1', overlap => NULL, queue_limit => NULL, misfire => NULL,
	misfire_grace => NULL, max_runs => 0, jitter => '0', pause_after_failures => 0, max_concurrency => 0) IS NOT NULL AS created;
SELECT * FROM policies;

-- what is refused
SELECT r FROM unnest(ARRAY[$$overlap => 'Skip'$$, $$overlap => ''$$, $$queue_limit => 0$$, $$queue_limit => 1001$$,
	$$misfire => 'none'$$, $$misfire_grace => '-1 s'$$, $$misfire_grace => '1 day 1 s'$$, $$misfire_grace => '1 month'$$,
	$$starts_at => 'infinity'$$, $$ends_at => '-infinity'$$, $$starts_at => '2100-02-01', ends_at => '2100-02-01'$$,
	$$max_runs => -1$$, $$jitter => '-1 s'$$, $$jitter => '25 hours'$$, $$pause_after_failures => -1$$,
	$$pause_after_failures => 1000001$$, $$max_concurrency => -1$$, $$max_concurrency => 10001$$]) p,
	LATERAL (SELECT string_agg(x, E'\n') AS r
		FROM test.refusal(format('SELECT jobsched.create_job(''bad'', ''@daily'', ''SELECT 1'', %s)', p)) x) x;
-- also against what the job has
SELECT jobsched.alter_job('full', ends_at => '2100-01-01');
SELECT jobsched.alter_job('full', starts_at => '2100-02-02');
SELECT jobsched.alter_job('full', overlap => 'sometimes');
-- a timestamp out of bounds never comes
SELECT jobsched.create_job('bad', '2100-03-01 00:00', 'SELECT 1', ends_at => '2100-02-01');
SELECT jobsched.create_job('bad', '2000-03-01 00:00', 'SELECT 1', ends_at => '2100-02-01');

-- what is changed, kept, and removed
SELECT jobsched.alter_job('full', overlap => 'replace', queue_limit => 2, misfire => 'skip', misfire_grace => '0',
	starts_at => '2100-01-02', ends_at => '2100-01-03', max_runs => 5, jitter => '1 min', pause_after_failures => 6, max_concurrency => 7);
SELECT jobsched.alter_job('full', description => 'the rest stays');
SELECT * FROM policies WHERE name = 'full';
SELECT jobsched.alter_job('full', starts_at => '-infinity', ends_at => 'infinity', max_runs => 0, jitter => '0',
	pause_after_failures => 0, max_concurrency => 0);
SELECT * FROM policies WHERE name = 'full';
SELECT jobsched.create_job('full', '@daily', 'SELECT 1', if_exists => 'update') IS NOT NULL AS updated;
SELECT * FROM policies WHERE name = 'full';

-- bounds and next_run_at
SELECT jobsched.alter_job('plain', starts_at => '2100-01-01 12:00', ends_at => '2100-01-03');
SELECT next_run_at, state FROM jobsched.jobs WHERE name = 'plain';
SELECT run_at, next_runs FROM jobsched.upcoming WHERE job_name = 'plain';
SELECT jobsched.alter_job('plain', max_runs => 1);
SELECT run_at, next_runs FROM jobsched.upcoming WHERE job_name = 'plain';
-- a bound on a slot holds it
SELECT jobsched.alter_job('plain', starts_at => '2100-01-02', ends_at => '2100-01-02 00:00:01', max_runs => 0);
SELECT run_at, next_runs FROM jobsched.upcoming WHERE job_name = 'plain';
-- no slot within: the job is completed, not wrong
SELECT jobsched.alter_job('plain', starts_at => '2100-01-01 12:00', ends_at => '2100-01-01 13:00');
SELECT next_run_at, state, state_reason FROM jobsched.jobs WHERE name = 'plain';
SELECT jobsched.alter_job('plain', starts_at => '-infinity', ends_at => '2001-01-01');
SELECT next_run_at, state, state_reason FROM jobsched.jobs WHERE name = 'plain';
SELECT jobsched.alter_job('plain', ends_at => 'infinity');
SELECT next_run_at > now() AS goes_on, state FROM jobsched.jobs WHERE name = 'plain';
-- the steps of an interval are counted from starts_at, which is the first slot
SELECT jobsched.create_job('steps', 'every 2 days', 'SELECT 1') IS NOT NULL AS created;
SELECT next_run_at - created_at BETWEEN '1 day 23 hours' AND '2 days 1 hour' AS one_step_later FROM jobsched.jobs WHERE name = 'steps';
SELECT jobsched.alter_job('steps', ends_at => '2199-01-01');
SELECT next_run_at - created_at BETWEEN '1 day 23 hours' AND '2 days 1 hour' AS still FROM jobsched.jobs WHERE name = 'steps';
SELECT jobsched.alter_job('steps', starts_at => '2100-01-05 08:00');
SELECT next_runs FROM jobsched.upcoming WHERE job_name = 'steps';
SELECT jobsched.alter_job('steps', starts_at => '2100-01-05 08:00', schedule => 'every month');
SELECT next_runs[1:3] FROM jobsched.upcoming WHERE job_name = 'steps';
SELECT jobsched.alter_job('steps', starts_at => '-infinity', schedule => 'every hour');
SELECT next_run_at <= now() + interval '1 hour 5 min' AS begins_now FROM jobsched.jobs WHERE name = 'steps';
SELECT jobsched.alter_job('steps', starts_at => '2100-01-05 08:00');
SELECT jobsched.alter_job('steps', starts_at => '-infinity');
SELECT next_run_at <= now() + interval '1 hour 5 min' AS begins_now FROM jobsched.jobs WHERE name = 'steps';
-- every second Monday at nine, on the zone's clocks; the day of the month is that of starts_at
SELECT jobsched.create_job('mondays', 'every 2 weeks', 'SELECT 1', timezone => 'Europe/Berlin',
	starts_at => '2100-03-15 09:00 Europe/Berlin') IS NOT NULL AS created;
SELECT s AT TIME ZONE 'Europe/Berlin' AS slot, to_char(s AT TIME ZONE 'Europe/Berlin', 'Dy') AS day
FROM jobsched.upcoming, unnest(next_runs) s WHERE job_name = 'mondays';
SELECT jobsched.create_job('lasts', 'every month', 'SELECT 1', timezone => 'Europe/Berlin',
	starts_at => '2100-01-31 09:00 Europe/Berlin') IS NOT NULL AS created;
SELECT s AT TIME ZONE 'Europe/Berlin' AS slot FROM jobsched.upcoming, unnest(next_runs) s WHERE job_name = 'lasts';
-- one that has begun long ago goes on in its step; cron is not moved by bounds
SELECT jobsched.create_job('since', 'every 7 days', 'SELECT 1', starts_at => '2020-01-06 09:00') IS NOT NULL AS created;
SELECT extract(isodow FROM next_run_at) AS day, next_run_at::time AS time, next_run_at > now() AND next_run_at <= now() + interval '7 days' AS next
FROM jobsched.jobs WHERE name = 'since';
SELECT jobsched.pause_job('since');
SELECT slot FROM jobsched.backfill('since', '2019-12-01', '2020-01-21', dry_run => true);
SELECT jobsched.create_job('cron', '0 9 * * MON', 'SELECT 1', starts_at => '2100-01-05 10:00') IS NOT NULL AS created;
SELECT next_runs[1:2] FROM jobsched.upcoming WHERE job_name = 'cron';
-- without starts_at the instant from which it is counted is no slot
SELECT jobsched.create_job('from now', 'every 1 day', 'SELECT 1') IS NOT NULL AS created;
SELECT count(*) FROM jobsched.backfill('from now', '2020-01-01', now() + interval '1 hour', dry_run => true);

--
-- backfill()
--
SELECT jobsched.create_job('fill', '0 0 * * *', $$SELECT jobsched.scheduled_for() AS slot$$,
	starts_at => '2020-02-27', ends_at => '2100-01-01') IS NOT NULL AS created;
SELECT jobsched.create_job('no slots', command => 'SELECT 1') IS NOT NULL AS created;
SELECT jobsched.pause_job('fill');
SELECT * FROM jobsched.backfill('fill', '2020-02-25', '2020-03-02', dry_run => true);
SELECT count(*) FROM jobsched.runs WHERE job_name = 'fill';
SELECT slot, run_id IS NOT NULL AS made FROM jobsched.backfill('fill', '2020-02-25', '2020-03-01');
SELECT slot, run_id IS NOT NULL AS made FROM jobsched.backfill('fill', '2020-02-28', '2020-03-02');
-- twice in one transaction, and rolled back
BEGIN;
SELECT slot, run_id IS NOT NULL AS made FROM jobsched.backfill('fill', '2020-03-02', '2020-03-03');
SELECT slot, run_id IS NOT NULL AS made FROM jobsched.backfill('fill', '2020-03-02', '2020-03-03');
ROLLBACK;
SELECT slot, run_id IS NOT NULL AS made FROM jobsched.backfill('fill', '2020-03-02', '2020-03-03', dry_run => true);
-- bounds of time: from the first on, without the last, and no future
SELECT * FROM jobsched.backfill('fill', '2020-03-05', '2020-03-05');
SELECT count(*) FROM jobsched.backfill('fill', '2020-03-05', '2020-03-07', dry_run => true);
SELECT max(slot) <= now() AS past FROM jobsched.backfill('fill', '2020-03-05', '2099-01-01', dry_run => true, max => 100000);
-- what is refused
SELECT * FROM jobsched.backfill('fill', '2020-03-01', '2021-03-01', max => 364);
SELECT count(*) FROM jobsched.backfill('fill', '2020-03-01', '2021-03-01', max => 364, dry_run => true);
SELECT count(*) FROM jobsched.backfill('fill', '2020-03-01', '2021-03-01', max => 365, dry_run => true);
SELECT * FROM jobsched.backfill('fill', '2020-03-02', '2020-03-01');
SELECT * FROM jobsched.backfill('fill', '-infinity', '2020-03-01');
SELECT * FROM jobsched.backfill('fill', NULL, '2020-03-01');
SELECT * FROM jobsched.backfill('fill', '2020-03-01', '2020-03-02', max => 0);
SELECT * FROM jobsched.backfill('no slots', '2020-03-01', '2020-03-02');
SELECT * FROM jobsched.backfill('no such job', '2020-03-01', '2020-03-02');
BEGIN READ ONLY;
SELECT * FROM jobsched.backfill('fill', '2020-03-05', '2020-03-06', dry_run => true);
SELECT * FROM jobsched.backfill('fill', '2020-03-05', '2020-03-06');
ROLLBACK;
RESET ROLE;
SET ROLE regress_slots_other;
SELECT * FROM jobsched.backfill('fill', '2020-03-01', '2020-03-02', dry_run => true);
RESET ROLE;
SET ROLE regress_slots_owner;
-- they run
SELECT jobsched.resume_job('fill');
CALL test.until($$ SELECT count(*) = 4 FROM jobsched.runs WHERE job_name = 'fill' AND status = 'succeeded' $$);
SELECT source, scheduled_for, result = jsonb_build_object('slot', scheduled_for) AS same FROM jobsched.runs WHERE job_name = 'fill' ORDER BY run_id;

-- nothing is left
RESET ROLE;
SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE owner = 'regress_slots_owner';
DROP VIEW pg_temp.policies;
REVOKE USAGE ON SCHEMA jobsched FROM regress_slots_owner, regress_slots_other;
DROP ROLE regress_slots_owner, regress_slots_other;
