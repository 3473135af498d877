-- What the measurements work on.

CREATE SCHEMA bench;

CREATE TABLE bench.sink (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A run that does as little as a run can.
CREATE FUNCTION bench.noop(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
END $$;

-- A trivial run: one row.
CREATE FUNCTION bench.insert_row(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.sink DEFAULT VALUES;
END $$;

-- One that takes a moment, and leaves a trace.
CREATE TABLE bench.done (run_id bigint NOT NULL);
CREATE FUNCTION bench.campaign(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.done VALUES (jobsched.run_id());
	PERFORM pg_sleep(random() * 0.004);
END $$;

SELECT jobsched.create_job('noop', handler => 'bench.noop');
SELECT jobsched.create_job('insert', handler => 'bench.insert_row');
SELECT jobsched.create_job('shared', handler => 'bench.noop', share_transaction => true);

-- What pgbench works on: tables like those of a queue and its history.
CREATE TABLE bench.queue (LIKE jobsched_internal.run INCLUDING ALL) WITH (fillfactor = 70);
CREATE TABLE bench.history (LIKE jobsched_internal.history INCLUDING ALL) PARTITION BY LIST (segment);
CREATE TABLE bench.history_0 PARTITION OF bench.history FOR VALUES IN (0);
CREATE TABLE bench.history_1 PARTITION OF bench.history FOR VALUES IN (1);

-- A figure of its own for each percentile, in milliseconds.
CREATE FUNCTION bench.percentiles(ms double precision[]) RETURNS text LANGUAGE sql AS $$
	SELECT format('n=%s p50_ms=%s p99_ms=%s max_ms=%s', count(*),
		round((percentile_cont(0.5) WITHIN GROUP (ORDER BY m))::numeric, 2),
		round((percentile_cont(0.99) WITHIN GROUP (ORDER BY m))::numeric, 2),
		round(max(m)::numeric, 2))
	FROM unnest(ms) m
$$;

CREATE FUNCTION bench.ms(later timestamptz, earlier timestamptz) RETURNS double precision LANGUAGE sql AS $$
	SELECT extract(epoch FROM later - earlier) * 1000
$$;

-- The slots of jobs that are due at the same second, in milliseconds after it.
CREATE VIEW bench.burst AS
SELECT scheduled_for, count(*) AS n,
	percentile_cont(0.5) WITHIN GROUP (ORDER BY bench.ms(started_at, scheduled_for)) AS p50,
	min(bench.ms(started_at, scheduled_for)) AS first,
	max(bench.ms(started_at, scheduled_for)) AS last,
	max(bench.ms(finished_at, scheduled_for)) AS finished
FROM jobsched.runs WHERE job_name LIKE 'burst-%' AND status = 'succeeded' GROUP BY 1;

-- Runs that are cancelled while they are executed, one after the other: how
-- long each went on, in milliseconds.
CREATE TABLE bench.cancelled (ms double precision);
CREATE PROCEDURE bench.cancel_many(n integer) LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	called timestamptz;
	ended text;
BEGIN
	FOR i IN 1 .. n LOOP
		id := jobsched.trigger('sleeps');
		COMMIT;
		WHILE NOT EXISTS (SELECT FROM jobsched.running r JOIN pg_stat_activity a ON a.pid = r.worker_pid
				WHERE r.run_id = id AND a.wait_event = 'PgSleep') LOOP
			PERFORM pg_sleep(0.005);
			COMMIT;
		END LOOP;
		called := clock_timestamp();
		PERFORM jobsched.cancel_run(id);
		COMMIT;
		CALL jobsched.wait_run(id, '1 min', ended);
		INSERT INTO bench.cancelled SELECT bench.ms(finished_at, called) FROM jobsched.runs WHERE run_id = id;
		COMMIT;
	END LOOP;
END $$;
