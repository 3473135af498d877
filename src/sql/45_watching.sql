-- What is happening: workers, runs in progress, what comes next, and health.

CREATE FUNCTION jobsched_internal.workers(
	OUT seat integer, OUT owner oid, OUT pid integer, OUT state text, OUT started_at timestamptz,
	OUT runs bigint, OUT run_id bigint, OUT attempt integer, OUT job_id bigint, OUT run_started_at timestamptz,
	OUT assigned integer, OUT progress_done bigint, OUT progress_total bigint, OUT progress_message text)
RETURNS SETOF record LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'jobsched_workers';

CREATE FUNCTION jobsched_internal.flights(
	OUT run_id bigint, OUT attempt integer, OUT job_id bigint, OUT started_at timestamptz, OUT pid integer)
RETURNS SETOF record LANGUAGE C STABLE PARALLEL RESTRICTED ROWS 100 AS 'MODULE_PATHNAME', 'jobsched_flights';

CREATE FUNCTION jobsched_internal.scheduler(
	OUT pid integer, OUT started_at timestamptz, OUT last_active_at timestamptz, OUT enabled boolean,
	OUT ready bigint, OUT last_error text, OUT last_error_at timestamptz, OUT launcher_pid integer,
	OUT max_workers integer, OUT workers_in_use integer)
RETURNS record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_scheduler';

CREATE VIEW jobsched.workers WITH (security_barrier) AS
SELECT w.seat, pg_catalog.pg_get_userbyid(w.owner) AS owner, w.pid, w.state, w.started_at,
	w.runs, w.run_id, w.assigned
FROM jobsched_internal.workers() w
WHERE jobsched_internal.may_see(w.owner);
COMMENT ON VIEW jobsched.workers IS 'The worker processes of this database: whose they are, what they do and how many runs they have done.';

CREATE VIEW jobsched.running WITH (security_barrier) AS
SELECT w.run_id,
	w.job_id,
	j.name AS job_name,
	pg_catalog.pg_get_userbyid(w.owner) AS owner,
	w.attempt,
	r.source,
	r.scheduled_for,
	w.run_started_at AS started_at,
	jobsched_internal.clock_now() - w.run_started_at AS elapsed,
	jobsched_internal.milliseconds(jobsched_internal.clock_now() - w.run_started_at) AS elapsed_ms,
	w.progress_done,
	w.progress_total,
	CASE WHEN jobsched_internal.may_read(w.owner, r.handler IS NOT NULL) THEN w.progress_message END AS progress_message,
	w.pid AS worker_pid
FROM jobsched_internal.workers() w
	LEFT JOIN jobsched_internal.job j ON j.job_id = w.job_id
		AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
	LEFT JOIN jobsched_internal.run r ON r.run_id = w.run_id
WHERE w.run_id IS NOT NULL AND jobsched_internal.may_see(w.owner)
UNION ALL
SELECT f.run_id,
	f.job_id,
	j.name,
	pg_catalog.pg_get_userbyid(r.owner),
	f.attempt,
	r.source,
	r.scheduled_for,
	f.started_at,
	jobsched_internal.clock_now() - f.started_at,
	jobsched_internal.milliseconds(jobsched_internal.clock_now() - f.started_at),
	NULL,
	NULL,
	NULL,
	f.pid
FROM jobsched_internal.flights() f
	JOIN jobsched_internal.run r ON r.run_id = f.run_id
	LEFT JOIN jobsched_internal.job j ON j.job_id = f.job_id
		AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
WHERE jobsched_internal.may_see(r.owner);
COMMENT ON VIEW jobsched.running IS 'The runs that a worker executes at this moment, with their progress; HTTP requests that are under way.';

-- Whether a run waits for others that have not ended; for how many, and the
-- newest of them.
CREATE FUNCTION jobsched_internal.waits(run_id bigint) RETURNS boolean
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'jobsched_waits';

-- Or for events of some names.
CREATE FUNCTION jobsched_internal.waits(run_id bigint, wait_for text[]) RETURNS boolean
LANGUAGE sql STABLE PARALLEL RESTRICTED COST 100
RETURN jobsched_internal.waits(run_id) OR COALESCE(jobsched_internal.awaits(run_id, wait_for) <> '{}', false);

CREATE FUNCTION jobsched_internal.waits_for(run_id bigint, OUT parents bigint, OUT parent_ids bigint[])
RETURNS record LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'jobsched_waits_for';

-- When a run starts that has waited for others, if its step has a delay; as long as
-- it waits for them, its run_at.
CREATE FUNCTION jobsched_internal.starts_at(run_id bigint) RETURNS timestamptz
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'jobsched_starts_at';

-- What has become of the children of a run, by status.
CREATE FUNCTION jobsched_internal.members_of(
	run_id bigint, only_failed boolean, with_cancelled boolean,
	OUT total bigint, OUT waiting bigint, OUT queued bigint, OUT running bigint, OUT retrying bigint,
	OUT succeeded bigint, OUT failed bigint, OUT timed_out bigint, OUT lost bigint, OUT cancelled bigint,
	OUT skipped bigint, OUT current_run_id bigint, OUT current_job_id bigint,
	OUT failed_run_id bigint, OUT failed_job_id bigint)
RETURNS record LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'jobsched_members_of';

CREATE VIEW jobsched.waiting WITH (security_invoker) AS
SELECT r.run_id,
	r.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(r.owner) AS owner,
	r.after_when,
	w.parents,
	w.parent_ids,
	r.queued_at AS since,
	r.run_at,
	j.step_delay AS delay,
	e.events,
	CASE WHEN e.events <> '{}' THEN r.wait_until END AS until
FROM jobsched_internal.run r
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = r.job_id
	LEFT JOIN jobsched_internal.job_of_run j ON j.job_id = r.job_id,
	LATERAL jobsched_internal.waits_for(r.run_id) w,
	LATERAL (SELECT COALESCE(jobsched_internal.awaits(r.run_id, r.wait_for), '{}') AS events) e
WHERE (r.after_when IS NOT NULL OR r.wait_for IS NOT NULL) AND r.attempt = 0 AND r.status = 'queued'
	AND (w.parents > 0 OR e.events <> '{}')
	AND jobsched_internal.may_see(r.owner)::integer <> 0
UNION ALL
-- durable procedures
SELECT r.run_id, r.job_id, n.name, pg_catalog.pg_get_userbyid(r.owner), NULL,
	pg_catalog.num_nonnulls(m.request_run_id), pg_catalog.array_remove(ARRAY[m.request_run_id], NULL), m.stored_at, r.run_at,
	NULL, e.events, m.sleeps_until
FROM jobsched_internal.run r
	JOIN jobsched_internal.memo m ON m.run_id = r.run_id AND m.name = ''
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = r.job_id,
	LATERAL (SELECT CASE WHEN m.event IS NULL THEN '{}' ELSE jobsched_internal.awaits(r.run_id, ARRAY[m.event]) END AS events) e
WHERE r.status = 'retrying' AND (r.reason = 'waiting_for_event' AND e.events <> '{}'
		OR r.reason = 'waiting_for_request' AND EXISTS (SELECT FROM jobsched_internal.run q WHERE q.run_id = m.request_run_id))
	AND jobsched_internal.may_see(r.owner)::integer <> 0;
COMMENT ON VIEW jobsched.waiting IS 'The runs that wait for other runs or for events (parameters after and wait_for of trigger() and its like, await_event() and http_step()), and for which.';
COMMENT ON COLUMN jobsched.waiting.parents IS 'how many of the runs that it waits for have not ended; 1000: at least as many';
COMMENT ON COLUMN jobsched.waiting.parent_ids IS 'the ten newest of these';
COMMENT ON COLUMN jobsched.waiting.since IS 'when it was queued; of await_event() and http_step(): when that began to wait';
COMMENT ON COLUMN jobsched.waiting.run_at IS 'before this it does not start in any case';
COMMENT ON COLUMN jobsched.waiting.delay IS 'of a step: how long after the last of these has ended it starts';
COMMENT ON COLUMN jobsched.waiting.events IS 'the names of events that have not come';
COMMENT ON COLUMN jobsched.waiting.until IS 'when it ends as timed_out if they have not, or await_event() goes on; NULL: never, or that is not counted yet';

-- In the order of time by itself: so the slots after the next, which take longer than all else, are computed
-- of as many rows as are wanted.  They would be before the order, were it not in the inner query too.
CREATE VIEW jobsched.upcoming WITH (security_barrier) AS
SELECT u.run_at, u.job_id, u.job_name, u.owner, u.source, u.run_id, u.schedule, u.timezone,
	CASE WHEN u.source = 'schedule' THEN
		ARRAY(SELECT s FROM jobsched_internal.slots_of(u.job_name, u.schedule, u.timezone, u.anchor,
			u.run_at - '1 microsecond'::interval, u.slots_left) s
			WHERE u.ends_at IS NULL OR s <= u.ends_at)
		ELSE ARRAY[u.run_at] END AS next_runs
FROM (
	SELECT CASE WHEN s.schedule_revision = j.schedule_revision
			THEN s.next_run_at ELSE j.first_run_at END AS run_at,
		j.job_id, j.name AS job_name, jobsched_internal.owner_name_of(j.owner, j.owner_name, j.home) AS owner,
		'schedule'::text AS source, NULL::bigint AS run_id, j.schedule, j.timezone, j.anchor, j.ends_at,
		LEAST(j.max_runs - COALESCE(s.scheduled_runs, 0), 5)::integer AS slots_left
	FROM jobsched_internal.job j
		LEFT JOIN jobsched_internal.job_state s ON s.job_id = j.job_id
	WHERE j.dropped_at IS NULL AND j.enabled AND NOT j.paused
		AND (s.auto_paused_revision IS NULL OR s.auto_paused_revision <> j.revision)
		AND (j.max_runs IS NULL OR s.scheduled_runs IS NULL OR s.scheduled_runs < j.max_runs)
		AND (s.invalid_revision IS NULL OR s.invalid_revision <> j.revision)
		AND EXISTS (SELECT FROM jobsched_internal.identity i
			WHERE i.token = j.home
				AND i.instance_id = jobsched_internal.instance_id()
				AND i.database = (SELECT d.oid FROM pg_catalog.pg_database d
					WHERE d.datname = pg_catalog.current_database()))
		AND jobsched_internal.may_see_run(jobsched_internal.owner_of(j.owner, j.owner_name, j.home), j.job_id)
	UNION ALL
	SELECT CASE WHEN d.step_delay IS NOT NULL AND r.after_when IS NOT NULL AND r.attempt = 0
			THEN jobsched_internal.starts_at(r.run_id) ELSE r.run_at END,
		r.job_id, j.name, pg_catalog.pg_get_userbyid(r.owner),
		r.source, r.run_id, j.schedule, j.timezone, j.anchor, NULL, NULL
	FROM jobsched_internal.run r
		LEFT JOIN jobsched_internal.job j ON j.job_id = r.job_id
			AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))
		LEFT JOIN jobsched_internal.job_of_run d ON d.job_id = r.job_id
	WHERE r.status <> ALL (ARRAY['running', 'waiting']) AND jobsched_internal.may_see_run(r.owner, r.job_id)
		AND COALESCE(r.reason, '') NOT IN ('waiting_for_event', 'waiting_for_request')
		AND ((r.after_when IS NULL AND r.wait_for IS NULL) OR r.attempt > 0
			OR NOT jobsched_internal.waits(r.run_id, r.wait_for))
	ORDER BY 1
) u
WHERE u.run_at IS NOT NULL
ORDER BY u.run_at;
COMMENT ON VIEW jobsched.upcoming IS 'What will run next: the next slot of each active job (next_runs: the next five) and the runs that are queued, but for those that wait for other runs or events (view waiting).';

CREATE FUNCTION jobsched.health(OUT "check" text, OUT status text, OUT value text, OUT message text)
RETURNS SETOF record LANGUAGE C STABLE PARALLEL UNSAFE ROWS 8 AS 'MODULE_PATHNAME', 'jobsched_health';
COMMENT ON FUNCTION jobsched.health IS 'One row for each check; status is ok, warning or error. Shows no job''s data.';
