-- Alerts: what is told to channels, and when.

-- An alert.  Written by the functions below in the caller's transaction, and deleted by
-- the scheduler when its owner has been dropped.
CREATE TABLE jobsched_internal.alert (
	alert_id uuid PRIMARY KEY,
	name text COLLATE "C" NOT NULL,
	owner oid NOT NULL,
	-- as with jobs; only what is at home counts
	owner_name text,
	home uuid NOT NULL,
	channels text[] NOT NULL,
	-- which jobs: patterns of their names, and what their metadata contains
	jobs text[] NOT NULL,
	metadata jsonb,
	on_status text[] NOT NULL,
	threshold integer NOT NULL,
	within interval,
	no_success_for interval,
	runs_longer_than interval,
	waits_longer_than interval,
	late interval,
	every_failure boolean NOT NULL,
	group_for interval NOT NULL,
	repeat_every interval,
	resolved boolean NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	-- counts every change of the row
	revision bigint NOT NULL
);
CREATE UNIQUE INDEX alert_name ON jobsched_internal.alert (name, owner, home);

-- Until when an alert is silent, for one job or (0) for all.  Written by mute_alert(); the
-- scheduler deletes what has passed.
CREATE TABLE jobsched_internal.alert_mute (
	alert_id uuid NOT NULL,
	job_id bigint NOT NULL,
	until timestamptz NOT NULL,
	PRIMARY KEY (alert_id, job_id)
);

-- What an alert knows of a job.  Written by the scheduler; see src/scheduler/sched_alert.c.
CREATE TABLE jobsched_internal.alert_state (
	alert_id uuid NOT NULL,
	job_id bigint NOT NULL,
	condition text NOT NULL,
	job_name text,
	firing boolean NOT NULL,
	held boolean NOT NULL,
	since timestamptz,
	until timestamptz,
	-- of this time that it fires, or is about to
	count bigint NOT NULL,
	first_at timestamptz,
	last_at timestamptz,
	last_run_id bigint,
	status text,
	sqlstate text,
	error text,
	-- failures since the last success, or the instants of those that may count
	streak bigint NOT NULL,
	streak_from timestamptz,
	failed_at bigint[],
	-- its last change, and when it began to fire
	changed_at timestamptz,
	seq bigint NOT NULL,
	fired_seq bigint NOT NULL,
	counts_from timestamptz,
	PRIMARY KEY (alert_id, job_id, condition)
) WITH (fillfactor = 70);

-- What a channel has been told of an alert: all changes up to a number.  Written by the
-- scheduler with the run of the message.
CREATE TABLE jobsched_internal.alert_told (
	alert_id uuid NOT NULL,
	channel text COLLATE "C" NOT NULL,
	told_seq bigint NOT NULL,
	-- what it had been told before the last message, which may have failed
	told_before bigint NOT NULL,
	run_id bigint,
	sent_at timestamptz,
	remind_at timestamptz,
	failed_at timestamptz,
	PRIMARY KEY (alert_id, channel)
) WITH (fillfactor = 70);

CREATE FUNCTION jobsched.set_alert(
	name text,
	channels text[],
	jobs text[] DEFAULT '{*}',
	metadata jsonb DEFAULT NULL,
	on_status text[] DEFAULT '{failed,timed_out,lost}',
	threshold integer DEFAULT 1,
	within interval DEFAULT NULL,
	no_success_for interval DEFAULT NULL,
	runs_longer_than interval DEFAULT NULL,
	waits_longer_than interval DEFAULT NULL,
	late interval DEFAULT NULL,
	every_failure boolean DEFAULT false,
	group_for interval DEFAULT '30 seconds',
	repeat_every interval DEFAULT NULL,
	resolved boolean DEFAULT true,
	owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_alert';
COMMENT ON FUNCTION jobsched.set_alert IS
'Says which channels are told when jobs of a role fail, do not succeed, run or wait too long, or are late. '
'Each call states the whole alert; more: doc/alerts.md.';

CREATE FUNCTION jobsched.mute_alert(
	name text,
	until timestamptz,
	job text DEFAULT NULL,
	owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_mute_alert';
COMMENT ON FUNCTION jobsched.mute_alert IS
'Lets an alert send nothing until an instant, of one job or of all; NULL lets it send again. What still '
'fires then is told.';

CREATE FUNCTION jobsched.drop_alert(name text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_alert';
COMMENT ON FUNCTION jobsched.drop_alert IS
'Removes an alert. Nobody is told of what has fired any more.';

CREATE VIEW jobsched.alerts WITH (security_barrier) AS
SELECT a.name,
	jobsched_internal.owner_name_of(a.owner, a.owner_name, a.home) AS owner,
	COALESCE(j.name, s.job_name) AS job,
	s.condition,
	CASE WHEN s.firing THEN 'firing' ELSE 'ok' END AS state,
	s.since,
	s.count,
	s.first_at,
	s.last_at,
	s.last_run_id,
	s.status AS last_status,
	s.sqlstate,
	s.error,
	t.last_sent,
	t.next_reminder,
	m.muted_until,
	a.channels,
	a.jobs,
	a.metadata,
	a.on_status,
	a.threshold,
	a.within,
	a.no_success_for,
	a.runs_longer_than,
	a.waits_longer_than,
	a.late,
	a.every_failure,
	a.group_for,
	a.repeat_every,
	a.resolved,
	a.created_at,
	a.updated_at
FROM jobsched_internal.alert a
	LEFT JOIN jobsched_internal.alert_state s ON s.alert_id = a.alert_id AND s.firing
	LEFT JOIN jobsched_internal.job j ON j.job_id = s.job_id
	CROSS JOIN LATERAL (
		SELECT pg_catalog.max(u.sent_at) AS last_sent,
			pg_catalog.min(u.remind_at) FILTER (WHERE s.firing) AS next_reminder
		FROM jobsched_internal.alert_told u
		WHERE u.alert_id = a.alert_id AND u.channel = ANY (a.channels)) t
	CROSS JOIN LATERAL (
		SELECT pg_catalog.max(u.until) AS muted_until
		FROM jobsched_internal.alert_mute u
		WHERE u.alert_id = a.alert_id AND (u.job_id = 0 OR u.job_id = s.job_id)
			AND u.until > jobsched_internal.clock_now()) m
WHERE jobsched_internal.may_see(jobsched_internal.owner_of(a.owner, a.owner_name, a.home));
COMMENT ON VIEW jobsched.alerts IS 'The alerts that set_alert() has defined: a row for each job and condition for which one fires, else one row.';
COMMENT ON COLUMN jobsched.alerts.condition IS 'what it fires for: failures, no_success, runs_longer, waits_longer or late';
COMMENT ON COLUMN jobsched.alerts.since IS 'when it began to fire; of failures: when the first of them was';
COMMENT ON COLUMN jobsched.alerts.count IS 'failures since then';
COMMENT ON COLUMN jobsched.alerts.last_sent IS 'when one of its channels was sent a message about this alert';
COMMENT ON COLUMN jobsched.alerts.next_reminder IS 'when the next message comes if nothing changes';
COMMENT ON COLUMN jobsched.alerts.muted_until IS 'until then mute_alert() lets it send nothing';
