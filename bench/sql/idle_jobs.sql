-- :n jobs that have nothing to do while we measure: schedules once a year, on
-- any minute from ten days from now on, single times far ahead, long
-- intervals; in five time zones; commands and handlers. Each tenth is
-- bench_owner's, one is bench_small's.
SELECT count(jobsched.create_job('job-' || i,
	CASE i % 10
		WHEN 8 THEN to_char(now() + interval '2 years' + i * interval '37 seconds', 'YYYY-MM-DD HH24:MI:SS')
		WHEN 9 THEN 'every ' || 300 + i % 100 || ' days'
		ELSE to_char(now() + interval '10 days' + i % 500000 * interval '1 minute', 'FMMI FMHH24 FMDD FMMM *') END,
	command => CASE WHEN i % 2 = 0 THEN 'SELECT 1' END,
	handler => CASE WHEN i % 2 = 1 THEN 'bench.noop' END,
	timezone => (ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo', 'Australia/Sydney'])[1 + i % 5],
	owner => CASE WHEN i = 1000 THEN 'bench_small' WHEN i % 10 = 0 THEN 'bench_owner' ELSE current_user END))
FROM generate_series(1, :n) i;
