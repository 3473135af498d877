-- Graphs of runs that wait for runs.  Each procedure queues n runs of a job, in one
-- transaction.  Unlike trigger_many() it calls trigger() for each run whose parents
-- are its own.

CREATE SCHEMA graph;

-- One behind the other.
CREATE PROCEDURE graph.chain(job text, n integer) LANGUAGE plpgsql AS $$
DECLARE
	previous bigint[];
BEGIN
	FOR i IN 1 .. n LOOP
		previous := ARRAY[jobsched.trigger(job, after => previous)];
	END LOOP;
END $$;

-- One, then all others but one, then that one.
CREATE PROCEDURE graph.fan(job text, n integer) LANGUAGE plpgsql AS $$
DECLARE
	first bigint := jobsched.trigger(job);
	members bigint[];
BEGIN
	members := ARRAY(SELECT jobsched.trigger_many(job, array_fill(NULL::jsonb, ARRAY[n - 2]),
		after => ARRAY[first]));
	PERFORM jobsched.trigger(job, after => members);
END $$;

-- All but one, then that one.
CREATE PROCEDURE graph.join(job text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.trigger(job, after => ARRAY(
		SELECT jobsched.trigger_many(job, array_fill(NULL::jsonb, ARRAY[n - 1]))));
END $$;

-- 20 layers; each run waits for three of the layer before.
CREATE PROCEDURE graph.layers(job text, n integer) LANGUAGE plpgsql AS $$
DECLARE
	width integer := n / 20;
	above bigint[];
	layer bigint[];
BEGIN
	FOR l IN 1 .. 20 LOOP
		layer := '{}';
		FOR i IN 0 .. width - 1 LOOP
			layer := layer || jobsched.trigger(job, after => CASE WHEN l > 1 THEN
				ARRAY[above[i + 1], above[(i * 7 + 1) % width + 1], above[(i * 13 + 2) % width + 1]] END);
		END LOOP;
		above := layer;
	END LOOP;
END $$;

-- Those beside which the others are measured.
CREATE PROCEDURE graph.independent(job text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.trigger_many(job, array_fill(NULL::jsonb, ARRAY[n]));
END $$;

-- A run that queues n children of a job.
CREATE FUNCTION graph.make_children(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.trigger_many(args->>'job', array_fill(NULL::jsonb, ARRAY[(args->>'n')::integer]),
		child => true);
END $$;
SELECT jobsched.create_job('parent', handler => 'graph.make_children');

CREATE PROCEDURE graph.children(job text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.trigger('parent', jsonb_build_object('job', job, 'n', n - 1));
END $$;

-- A job of n steps, each after the one before.  What looks uses its result.
CREATE FUNCTION graph.result(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"n": 1}'::jsonb $$;

CREATE FUNCTION graph.steps_of(handler text, n integer, looks boolean) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('name', 's' || i, 'handler', handler)
		|| CASE WHEN looks AND i > 1
			THEN jsonb_build_object('args', jsonb_build_object('n', format('{{steps.s%s.result.n}}', i - 1)))
			ELSE '{}' END ORDER BY i)
	FROM generate_series(1, n) i
$$;

-- As many workflows as it takes for n steps, each behind the one before.
CREATE PROCEDURE graph.trigger_steps(job text, n integer, handler text, looks boolean) LANGUAGE plpgsql AS $$
DECLARE
	most integer := LEAST(n, 1000);
	previous bigint[];
BEGIN
	IF NOT EXISTS (SELECT FROM jobsched.jobs WHERE name = job) THEN
		PERFORM jobsched.create_job(job, steps => graph.steps_of(handler, most, looks));
	END IF;
	FOR i IN 1 .. GREATEST(n / most, 1) LOOP
		previous := ARRAY[jobsched.trigger(job, after => previous)];
	END LOOP;
END $$;

CREATE PROCEDURE graph.steps(job text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	CALL graph.trigger_steps(format('steps-%s', n), n, 'bench.noop', false);
END $$;

CREATE PROCEDURE graph.looks(job text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	CALL graph.trigger_steps(format('looks-%s', n), n, 'graph.result', true);
END $$;

-- One, then a run for each of n elements, then one.
CREATE PROCEDURE graph.map(job text, n integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.create_job('map', steps => jsonb_build_array(
		jsonb_build_object('name', 'first', 'handler', 'bench.noop'),
		jsonb_build_object('name', 'each', 'handler', 'bench.noop',
			'for_each', format('SELECT to_jsonb(i) FROM generate_series(1, %s) i', n)),
		jsonb_build_object('name', 'last', 'handler', 'bench.noop')));
	PERFORM jobsched.trigger('map');
END $$;

-- The time from the end of a run of a chain to the start of the next, in milliseconds.
CREATE VIEW graph.gap AS
SELECT bench.ms(started_at, lag(finished_at) OVER (ORDER BY run_id)) AS ms
FROM jobsched.runs WHERE job_name = 'step';
