-- Limits: queues, and keys of classes.

-- Queues, and what holds for each key of a class.  They belong to a role and
-- hold for its jobs.  A number that is NULL is no limit.
CREATE TABLE jobsched_internal.limit_definition (
	owner oid NOT NULL,
	kind text NOT NULL CHECK (kind = ANY (ARRAY['queue', 'class'])),
	name text NOT NULL,
	max_running integer,
	rate integer,
	per interval,
	burst integer NOT NULL,
	paused boolean NOT NULL,
	-- as with jobs; only what is at home counts
	owner_name text,
	home uuid NOT NULL,
	PRIMARY KEY (owner, kind, name, home)
);

-- Until when each rate is used up, so that a restart gives no burst.  Written
-- by the scheduler, with the claims.
CREATE TABLE jobsched_internal.limit_state (
	owner oid NOT NULL,
	kind text NOT NULL,
	name text NOT NULL,
	tat timestamptz NOT NULL,
	PRIMARY KEY (owner, kind, name)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION jobsched.set_queue(
	name text,
	max_running integer DEFAULT NULL,
	rate integer DEFAULT NULL,
	per interval DEFAULT NULL,
	burst integer DEFAULT NULL,
	paused boolean DEFAULT false,
	owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_queue';
COMMENT ON FUNCTION jobsched.set_queue IS
'Says what holds for the runs of all jobs of a role that name this queue: how many run at the '
'same time (max_running), how many start in each interval (rate, per, burst), or none (paused). '
'Each call states the whole definition; more: doc/limits.md.';

CREATE FUNCTION jobsched.drop_queue(name text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_queue';
COMMENT ON FUNCTION jobsched.drop_queue IS
'Removes a queue''s limits. Jobs that name it run without them.';

CREATE FUNCTION jobsched.set_limit(
	key_class text,
	max_running integer DEFAULT NULL,
	rate integer DEFAULT NULL,
	per interval DEFAULT NULL,
	burst integer DEFAULT NULL,
	owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_limit';
COMMENT ON FUNCTION jobsched.set_limit IS
'Says what holds for each key of a class, of the runs of one role: ''user'' is the class of ''user:42'' and of ''user:43'', and each of these has its own count and rate. Each call states the whole definition; the numbers are those of set_queue().';

CREATE FUNCTION jobsched.drop_limit(key_class text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_limit';
COMMENT ON FUNCTION jobsched.drop_limit IS
'Removes the limits of a class of keys.';

CREATE VIEW jobsched.queues WITH (security_barrier) AS
SELECT d.name,
	jobsched_internal.owner_name_of(d.owner, d.owner_name, d.home) AS owner,
	d.max_running,
	d.rate,
	d.per,
	CASE WHEN d.rate IS NOT NULL THEN d.burst END AS burst,
	d.paused,
	COALESCE(n.running, 0) AS running,
	COALESCE(n.waiting, 0) AS waiting
FROM jobsched_internal.limit_definition d
	LEFT JOIN (
		SELECT j.owner, j.home, j.queue,
			pg_catalog.count(*) FILTER (WHERE r.status = 'running') AS running,
			pg_catalog.count(*) FILTER (WHERE r.status <> 'running') AS waiting
		FROM jobsched_internal.run r
			JOIN jobsched_internal.job j ON j.job_id = r.job_id
		-- who queues elements of a step takes no place
		WHERE j.queue IS NOT NULL AND (j.step_for_each IS NULL OR r.source <> 'step')
			AND r.status <> 'waiting' AND (r.status = 'running' OR (r.run_at <= jobsched_internal.clock_now()
			AND COALESCE(r.reason, '') NOT IN ('waiting_for_event', 'waiting_for_request')
			AND ((r.after_when IS NULL AND r.wait_for IS NULL) OR r.attempt > 0
				OR NOT jobsched_internal.waits(r.run_id, r.wait_for))
			AND (j.step_delay IS NULL OR r.after_when IS NULL OR r.attempt > 0
				OR jobsched_internal.starts_at(r.run_id) <= jobsched_internal.clock_now())))
		GROUP BY 1, 2, 3
	) n ON n.owner = d.owner AND n.home = d.home AND n.queue = d.name
WHERE d.kind = 'queue' AND jobsched_internal.may_see(jobsched_internal.owner_of(d.owner, d.owner_name, d.home));
COMMENT ON VIEW jobsched.queues IS 'The queues that set_queue() has defined, and what is in them.';
COMMENT ON COLUMN jobsched.queues.running IS 'runs that are with a worker';
COMMENT ON COLUMN jobsched.queues.waiting IS 'runs that are due and wait, for whatever but other runs and events (view waiting)';

CREATE VIEW jobsched.limits WITH (security_barrier) AS
SELECT d.name AS key_class,
	jobsched_internal.owner_name_of(d.owner, d.owner_name, d.home) AS owner,
	d.max_running,
	d.rate,
	d.per,
	CASE WHEN d.rate IS NOT NULL THEN d.burst END AS burst,
	COALESCE(n.keys, 0) AS keys,
	COALESCE(n.running, 0) AS running,
	COALESCE(n.waiting, 0) AS waiting
FROM jobsched_internal.limit_definition d
	LEFT JOIN (
		SELECT j.owner, j.home, pg_catalog.split_part(k.key, ':', 1) AS class,
			pg_catalog.count(DISTINCT k.key) AS keys,
			pg_catalog.count(*) FILTER (WHERE r.status = 'running') AS running,
			pg_catalog.count(*) FILTER (WHERE r.status <> 'running') AS waiting
		FROM jobsched_internal.run r
			JOIN jobsched_internal.job j ON j.job_id = r.job_id
			CROSS JOIN LATERAL pg_catalog.unnest(r.keys) AS k (key)
		WHERE r.status <> 'waiting' AND (r.status = 'running' OR (r.run_at <= jobsched_internal.clock_now()
			AND COALESCE(r.reason, '') NOT IN ('waiting_for_event', 'waiting_for_request')
			AND ((r.after_when IS NULL AND r.wait_for IS NULL) OR r.attempt > 0
				OR NOT jobsched_internal.waits(r.run_id, r.wait_for))
			AND (j.step_delay IS NULL OR r.after_when IS NULL OR r.attempt > 0
				OR jobsched_internal.starts_at(r.run_id) <= jobsched_internal.clock_now())))
		GROUP BY 1, 2, 3
	) n ON n.owner = d.owner AND n.home = d.home AND n.class = d.name
WHERE d.kind = 'class' AND jobsched_internal.may_see(jobsched_internal.owner_of(d.owner, d.owner_name, d.home));
COMMENT ON VIEW jobsched.limits IS 'The limits of keys that set_limit() has defined, and how many runs all keys of each class have together.';
COMMENT ON COLUMN jobsched.limits.keys IS 'different keys of these runs';
COMMENT ON COLUMN jobsched.limits.running IS 'runs that are with a worker';
COMMENT ON COLUMN jobsched.limits.waiting IS 'runs that are due and wait, for whatever but other runs and events (view waiting)';
