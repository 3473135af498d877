-- :n jobs of pg_cron that execute :command each minute, but are off.
CREATE EXTENSION IF NOT EXISTS pg_cron;
SELECT count(cron.unschedule(jobid)) FROM cron.job;
SELECT count(cron.schedule('bench-' || i, '* * * * *', :'command')) FROM generate_series(1, :n) i;
UPDATE cron.job SET active = false;

-- What they did in the minute that is in pg_cron's history.
CREATE OR REPLACE VIEW bench.cron_minute AS
SELECT count(*) FILTER (WHERE status = 'succeeded') = (SELECT count(*) FROM cron.job)
		AND max(end_time) < slot + interval '1 minute' AS whole,
	round(count(*) / extract(epoch FROM max(end_time) - slot)) AS rate,
	round(bench.ms(min(start_time), slot)::numeric, 1) AS start_first_ms,
	round(bench.ms(percentile_disc(0.5) WITHIN GROUP (ORDER BY start_time), slot)::numeric, 1) AS start_p50_ms,
	round(bench.ms(max(start_time), slot)::numeric, 1) AS start_last_ms,
	round(bench.ms(max(end_time), slot)::numeric, 1) AS end_last_ms
FROM cron.job_run_details, (SELECT date_trunc('minute', min(start_time)) AS slot FROM cron.job_run_details) first
GROUP BY slot;
