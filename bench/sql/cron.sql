-- :n jobs of pg_cron that execute :command each minute, but are off.
CREATE EXTENSION IF NOT EXISTS pg_cron;
SELECT count(cron.unschedule(jobid)) FROM cron.job;
SELECT count(cron.schedule('bench-' || i, '* * * * *', :'command')) FROM generate_series(1, :n) i;
UPDATE cron.job SET active = false;

-- What they did last, after the minute in which they were due.
CREATE OR REPLACE VIEW bench.cron_slot AS
SELECT done.n, round(done.n / extract(epoch FROM greatest(done.last, ran.last) - slot)) AS rate,
	round(bench.ms(ran.start_first, slot)::numeric, 1) AS start_first_ms,
	round(bench.ms(ran.start_p50, slot)::numeric, 1) AS start_p50_ms,
	round(bench.ms(ran.start_last, slot)::numeric, 1) AS start_last_ms,
	round(bench.ms(greatest(done.last, ran.last), slot)::numeric, 1) AS end_last_ms
FROM (SELECT count(*) AS n, max(at) AS last, date_trunc('minute', min(at)) AS slot FROM bench.sink) done,
	(SELECT max(end_time) AS last, min(start_time) AS start_first, max(start_time) AS start_last,
		percentile_disc(0.5) WITHIN GROUP (ORDER BY start_time) AS start_p50
	FROM cron.job_run_details) ran;
