-- Thirty days of a shop's jobs in half a minute, for pictures of the dashboard:
--
--   psql -X -v days=30 -f dashboard/test/stage.sql
--
-- For a superuser, in an empty database of a throw-away server with jobsched.max_workers = 1:
-- the clock of the whole server is moved, as tests do.  Nothing is written into statistics
-- or history by hand; each run is executed, and moves the clock by what it says that it
-- takes.  At the end the real clock goes on, and so do the jobs.

\set ON_ERROR_STOP on
\if :{?days}
\else
\set days 30
\endif
SET client_min_messages = warning;
\set QUIET on
CREATE EXTENSION IF NOT EXISTS jobsched;
CREATE SCHEMA stage;
CREATE FUNCTION stage.set_clock(timestamptz) RETURNS void LANGUAGE c AS 'jobsched', 'jobsched_set_clock';
CREATE ROLE shop LOGIN;
GRANT USAGE ON SCHEMA jobsched, stage TO shop;

-- What a run does: it takes so many seconds, more or less, more as weeks pass if it `grows`,
-- and fails in a share of its runs, and in a bad night.  Chance is the same each time.
CREATE FUNCTION stage.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
	at timestamptz := jobsched_internal.clock_now();
	chance float := abs(hashint8extended(jobsched.run_id(), 42) % 10000) / 10000.0;
	other float := abs(hashint8extended(jobsched.run_id(), 7) % 10000) / 10000.0;
	age float := extract(epoch FROM at - (SELECT began FROM stage.play)) / 86400;
	took float := (args->>'seconds')::float * (0.6 + 0.9 * chance * chance) * (1 + age * COALESCE((args->>'grows')::float, 0));
	bad boolean := COALESCE((args->>'bad_day')::float, -1) = floor(age) AND extract(hour FROM at) < 6;
BEGIN
	-- when the real clock goes on there is nothing to move
	IF (SELECT ended FROM stage.play) THEN
		PERFORM pg_sleep(least(took, 5));
	ELSE
		PERFORM stage.set_clock(at + make_interval(secs => took));
	END IF;
	IF bad OR other < COALESCE((args->>'fails')::float, 0) THEN
		RAISE EXCEPTION 'item % not found in warehouse "%"', (other * 1000)::int, CASE WHEN chance < 0.5 THEN 'north' ELSE 'south' END USING ERRCODE = 'P0002';
	END IF;
	RETURN jsonb_build_object('items', (chance * 500)::int);
END $$;
CREATE TABLE stage.play (began timestamptz NOT NULL, ended boolean NOT NULL);
INSERT INTO stage.play VALUES (date_trunc('hour', now()) - make_interval(days => :days), false);
SELECT stage.set_clock(began) FROM stage.play \g /dev/null

SET ROLE shop;
SELECT jobsched.create_job('prices', '*/30 * * * *', handler => 'stage.work', args => '{"seconds": 0.8, "fails": 0.01}', description => 'Reads the prices of all shops'),
	jobsched.create_job('stock', '0 * * * *', handler => 'stage.work', args => '{"seconds": 4, "fails": 0.06, "bad_day": 18}', max_attempts => 1),
	jobsched.create_job('mails', '20 * * * *', handler => 'stage.work', args => '{"seconds": 0.3, "fails": 0.02}'),
	jobsched.create_job('search-index', '10 */2 * * *', handler => 'stage.work', args => '{"seconds": 20, "grows": 0.06}', description => 'Grows with what is sold'),
	jobsched.create_job('reports', '0 6 * * MON-FRI', timezone => 'Europe/Berlin', handler => 'stage.work', args => '{"seconds": 90}'),
	jobsched.create_job('invoices', '30 2 * * *', handler => 'stage.work', args => '{"seconds": 45, "bad_day": 25}'),
	jobsched.create_job('cleanup', '0 3 * * *', handler => 'stage.work', args => '{"seconds": 8}') \g /dev/null
RESET ROLE;

-- To the next slot, again and again.  A run that takes longer than there is to the next slot
-- is not waited for by the clock: it has moved it.
CREATE PROCEDURE stage.wait_idle() LANGUAGE plpgsql AS $$
DECLARE
	patience int := 6000;
BEGIN
	WHILE EXISTS (SELECT 1 FROM jobsched.jobs WHERE next_run_at <= jobsched_internal.clock_now())
		OR EXISTS (SELECT 1 FROM jobsched_internal.run WHERE run_at <= jobsched_internal.clock_now()) LOOP
		COMMIT;
		PERFORM pg_sleep(0.005);
		patience := patience - 1;
		IF patience = 0 THEN
			RAISE EXCEPTION 'nothing moves at %', jobsched_internal.clock_now();
		END IF;
	END LOOP;
	COMMIT;
END $$;
CREATE PROCEDURE stage.run() LANGUAGE plpgsql AS $$
DECLARE
	next timestamptz;
BEGIN
	LOOP
		CALL stage.wait_idle();
		SELECT min(next_run_at) INTO next FROM jobsched.jobs;
		EXIT WHEN next IS NULL OR next >= clock_timestamp();
		PERFORM stage.set_clock(greatest(next, jobsched_internal.clock_now()));
		COMMIT;
	END LOOP;
END $$;
CALL stage.run();
UPDATE stage.play SET ended = true;
SELECT stage.set_clock(NULL) \g /dev/null

-- What goes on while the picture is made.
SET ROLE shop;
SELECT jobsched.alter_job('prices', schedule => '*/5 * * * * *', args => '{"seconds": 1.5}'),
	jobsched.create_job('thumbnails', 'every 20 seconds', handler => 'stage.work', args => '{"seconds": 3}'),
	jobsched.set_queue('slow', max_running => 1), jobsched.set_channel('ops', 'notify'), jobsched.set_alert('failures', '{ops}') \g /dev/null
RESET ROLE;
SELECT status, count(*) FROM jobsched.runs GROUP BY status ORDER BY status;
