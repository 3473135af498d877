-- :rows rows of history, as a server has them that has been busy for a month:
-- successes of the last eight days in the seven segments of ring 0 that are in
-- use, everything else of the last 35 days in those of ring 1. Ids go up with
-- time. Written in the order of time, as runs do.

-- Jobs 1 to 1000; each tenth is bench_owner's, the last is bench_small's and
-- has hardly any runs; the first has a fifth of all.
CREATE TABLE bench.fill AS
SELECT i AS n, jobsched.create_job(
	CASE i WHEN 1 THEN 'busy' WHEN 1000 THEN 'rare' ELSE 'job-' || i END,
	'0 4 1 1 *', handler => 'bench.noop',
	owner => CASE WHEN i = 1000 THEN 'bench_small' WHEN i % 10 = 0 THEN 'bench_owner' ELSE current_user END) AS job_id
FROM generate_series(1, 1000) i;
CREATE UNIQUE INDEX ON bench.fill (n);

-- Which of the jobs: 'rare' has 20 runs in all, 4 of them not successes.
CREATE FUNCTION bench.job_of(i bigint, every bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN i % every = every / 2 THEN 1000
		WHEN hashint8(i) % 5 = 0 THEN 1
		ELSE 2 + (hashint8extended(i, 1) & 1048575) % 998 END
$$;

-- Successes have even ids, the others odd ones in between; those of the others
-- begin earlier.
CREATE TABLE bench.fill_ring AS
SELECT ring, n, span, CASE ring WHEN 0 THEN last - 2 * n ELSE 0 END AS first,
	CASE ring WHEN 0 THEN 2 ELSE last / n::float8 END AS step
FROM (VALUES (0, (0.94 * :rows)::bigint, interval '196 hours'),
		(1, :rows - (0.94 * :rows)::bigint, interval '840 hours')) ring (ring, n, span),
	LATERAL (SELECT 2 * round(0.94 * :rows * 840 / 196)::bigint AS last) ids;

INSERT INTO jobsched_internal.history (run_id, segment, attempt, job_id, owner, worker_pid, missed_count, priority,
	status, source, run_at, queued_at, started_at, finished_at, scheduled_for, reason,
	sqlstate, error, error_context, args, result)
SELECT r.run_id, r.ring * 100 + r.i * 7 / r.n, 1, f.job_id, j.owner, 1000 + r.i % 8, 0, 0,
	r.status, CASE WHEN r.i % 3 = 0 THEN 'schedule' ELSE 'trigger' END, r.at, r.at,
	CASE WHEN r.status <> 'skipped' THEN r.at + interval '2 ms' END,
	r.at + interval '3 ms' + r.i % 50 * interval '1 ms',
	CASE WHEN r.i % 3 = 0 THEN r.at END,
	CASE r.status WHEN 'failed' THEN 'error' WHEN 'skipped' THEN 'overlap' WHEN 'cancelled' THEN 'backend_cancelled'
		WHEN 'lost' THEN 'worker_died' END,
	CASE WHEN r.status = 'failed' THEN '22012' END,
	CASE WHEN r.status = 'failed' THEN 'division by zero' END,
	CASE WHEN r.status = 'failed' THEN 'PL/pgSQL function app.calculate(jsonb) line 12 at assignment' END,
	CASE WHEN r.i % 3 > 0 THEN jsonb_build_object('id', r.i) END,
	CASE WHEN r.ring = 0 AND r.i % 2 = 0 THEN jsonb_build_object('rows', r.i % 1000) END
FROM (
	SELECT g.ring, g.n, i,
		g.first + 2 * round(i * g.step / 2)::bigint + g.ring AS run_id,
		now() - g.span * (1 - i / g.n::float8) AS at,
		CASE WHEN g.ring = 0 THEN 'succeeded'
			WHEN i % 20 < 14 THEN 'failed' WHEN i % 20 < 18 THEN 'skipped'
			WHEN i % 20 = 18 THEN 'cancelled' ELSE 'lost' END AS status
	FROM bench.fill_ring g, generate_series(0, g.n - 1) i) r
	JOIN bench.fill f ON f.n = bench.job_of(r.i, CASE r.ring WHEN 0 THEN r.n / 16 ELSE r.n / 4 END)
	JOIN jobsched_internal.job j ON j.job_id = f.job_id;

-- Each twentieth run has said something.
INSERT INTO jobsched_internal.run_log (run_id, segment, attempt, job_id, owner, seq, logged_at, level, message, callback)
SELECT run_id, segment, attempt, job_id, owner, seq, finished_at, 'notice', format('%s of %s rows done', seq * 100, 200), false
FROM jobsched_internal.history, generate_series(1, 2) seq WHERE run_id % 40 < 2;

-- Where the rings stand. The scheduler reads this when it starts.
UPDATE jobsched_internal.ring SET segment = ring * 100 + 6, started_at = now();
SELECT setval('jobsched_internal.run_id_seq', max(run_id)) FROM jobsched_internal.history;

VACUUM (ANALYZE) jobsched_internal.history;
VACUUM (ANALYZE) jobsched_internal.run_log;
VACUUM (ANALYZE) jobsched_internal.job;
ANALYZE jobsched_internal.job_name_of;

-- A queue: runs that wait for a job that is paused, and some that are executed.
SELECT jobsched.pause_job('job-500');
SELECT count(*) FROM jobsched.trigger_many('job-500', array_fill(NULL::jsonb, ARRAY[5000]));
SELECT jobsched.create_job('sleeper', command => 'SELECT pg_sleep(3600)');
SELECT count(*) FROM jobsched.trigger_many('sleeper', array_fill(NULL::jsonb, ARRAY[4]));
