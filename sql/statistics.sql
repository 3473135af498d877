-- Statistics: run_stats(), view job_stats, stat_reset(), as SQL sees them.
CREATE ROLE regress_stats LOGIN;
CREATE ROLE regress_stats_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_stats, regress_stats_other;
SET ROLE regress_stats;
SELECT jobsched.create_job('stats', command => 'SELECT 1', metadata => '{"team": "a"}') IS NOT NULL AS created;
SELECT jobsched.create_job('stats fails', command => 'SELECT 1 / 0', metadata => '{"team": "b"}') IS NOT NULL AS created;
SELECT jobsched.create_job('stats never runs', command => 'SELECT 1') IS NOT NULL AS created;
SELECT count(jobsched.trigger('stats')) FROM generate_series(1, 5);
SELECT jobsched.trigger('stats fails') IS NOT NULL AS triggered;

-- what has ended is there within seconds
DO $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXIT WHEN (SELECT sum(runs) FROM jobsched.run_stats(NULL, NULL, NULL) WHERE job_name IN ('stats', 'stats fails')) = 6;
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT bucket, job_name, runs, succeeded, failed, timed_out, cancelled, lost, skipped, missed, retries,
	mean_ms > 0 AS mean, p50_ms > 0 AS p50, p95_ms >= p50_ms AS p95, p99_ms >= p95_ms AS p99, max_ms >= p99_ms AS max, delay_p95_ms >= 0 AS delay
FROM jobsched.run_stats('-infinity', 'infinity', NULL) ORDER BY job_name COLLATE "C";
SELECT job_name, period, now() - since BETWEEN period - '1 h'::interval AND period + '1 h'::interval AS since, runs, succeeded, success_rate,
	mean_ms > 0 AS mean, p95_ms >= p50_ms AS p95, last_succeeded_at IS NOT NULL AS has_succeeded, runs_before, success_rate_before, p95_ms_before, success_trend, p95_trend
FROM jobsched.job_stats ORDER BY job_name COLLATE "C", period;

-- of which jobs
SELECT job_name, runs FROM jobsched.run_stats(NULL, NULL, NULL, 'stats');
SELECT job_name, runs FROM jobsched.run_stats(NULL, NULL, NULL, 'stats never runs');
SELECT job_name, runs FROM jobsched.run_stats(NULL, NULL, NULL, metadata => '{"team": "b"}');
SELECT job_name, runs FROM jobsched.run_stats(NULL, NULL, NULL, 'stats', '{"team": "b"}');
SELECT job_name, runs FROM jobsched.run_stats(now() - '1 h'::interval, now() + '1 h'::interval, '1 day', 'stats');
SELECT count(*) FROM jobsched.run_stats(now() - '2 days'::interval, now() - '1 day'::interval, '1 h');
SELECT bucket = date_trunc('day', now(), 'Asia/Tokyo') AS day FROM jobsched.run_stats(NULL, NULL, '1 day', 'stats', timezone => 'Asia/Tokyo');
SELECT bucket = date_trunc('month', now(), 'Asia/Tokyo') AS month FROM jobsched.run_stats(NULL, NULL, '1 month', 'stats', timezone => 'Asia/Tokyo');
SELECT bucket = date_trunc('week', now(), 'UTC') AS week FROM jobsched.run_stats(NULL, NULL, '7 days', 'stats', timezone => 'UTC');

-- errors
SELECT jobsched.run_stats(NULL, NULL, NULL, 'no such job');
SELECT jobsched.run_stats(NULL, NULL, '1 minute');
SELECT jobsched.run_stats(NULL, NULL, '-1 day');
SELECT jobsched.run_stats(NULL, NULL, '1 month 1 day');
SELECT jobsched.run_stats(NULL, NULL, '-2 months');
SELECT jobsched.run_stats(NULL, NULL, '20000 years');
SELECT jobsched.run_stats(NULL, NULL, '1 day', timezone => 'Mars/Phobos');
SELECT jobsched.stat_reset('no such job');
BEGIN READ ONLY;
SELECT jobsched.stat_reset('stats');
ROLLBACK;

SELECT jobsched.run_stats(NULL, NULL, '0');
SELECT jobsched.run_stats(NULL, NULL, '2147483647 days');
SELECT jobsched.run_stats(NULL, NULL, '1 day', timezone => '');

-- the largest and the least
SELECT count(*) FROM jobsched.run_stats('294276-12-31', NULL, '1 day');
SELECT count(*) FROM jobsched.run_stats(NULL, '4714-11-24 BC', '1 day', timezone => 'Asia/Kathmandu');
SELECT count(*) FROM jobsched.run_stats('4714-11-24 00:00:00+00 BC', '294276-12-31', '1000 years', 'stats');

-- what to look at
SELECT count(*) FROM jobsched.insights() WHERE job_name IS NOT NULL;
SELECT count(jobsched.trigger('stats fails')) FROM generate_series(1, 2);
DO $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXIT WHEN (SELECT failures_7d FROM jobsched.dashboard_summary()) = 3 AND EXISTS (SELECT FROM jobsched.insights() WHERE job_name = 'stats fails');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT severity, job_name, what, since IS NOT NULL AS since, evidence, advice FROM jobsched.insights() WHERE job_name IS NOT NULL;
SELECT processing, running, complete, runs_1h, failures_1h, success_rate_1h, p95_ms_1h >= p50_ms_1h AS p95, runs_24h, runs_7d, failures_7d FROM jobsched.dashboard_summary();

-- others
SET ROLE regress_stats_other;
SELECT count(*) FROM jobsched.insights() WHERE job_name IS NOT NULL;
SELECT running, scheduled, runs_7d, failures_7d, success_rate_7d FROM jobsched.dashboard_summary();
SELECT count(*) FROM jobsched.run_stats(NULL, NULL, NULL);
SELECT count(*) FROM jobsched.job_stats;
SELECT jobsched.run_stats(NULL, NULL, NULL, 'stats');
SELECT jobsched.stat_reset('stats');
SELECT jobsched.stat_reset();
SELECT count(*) FROM jobsched_internal.stat;

-- anew
SET ROLE regress_stats;
BEGIN;
SELECT jobsched.stat_reset('stats');
SELECT jobsched.stat_reset('stats');
ROLLBACK;
SELECT runs FROM jobsched.run_stats(NULL, NULL, NULL, 'stats');
SELECT jobsched.stat_reset('stats');
DO $$
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM jobsched.run_stats(NULL, NULL, NULL, 'stats'));
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT job_name, runs FROM jobsched.run_stats(NULL, NULL, NULL);
SELECT count(jobsched.drop_job(name)) FROM jobsched.jobs;
RESET ROLE;
REVOKE USAGE ON SCHEMA jobsched FROM regress_stats, regress_stats_other;
DROP ROLE regress_stats, regress_stats_other;
