-- Channels: ways to tell somebody something.

-- A channel is a job, called channel:NAME, and a message is a run of it
-- (src/http/channel.c): there is no table of channels.

CREATE FUNCTION jobsched.set_channel(
	name text,
	kind text,
	url text DEFAULT NULL,
	to_address text[] DEFAULT NULL,
	template jsonb DEFAULT NULL,
	sign_with text DEFAULT NULL,
	handler text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_channel';
COMMENT ON FUNCTION jobsched.set_channel IS
'Defines a channel, or changes it and enables it again: kind slack or webhook (url), email (to_address), notify, or '
'handler (a function that takes jsonb). More: doc/alerts.md.';

CREATE FUNCTION jobsched.drop_channel(name text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_channel';
COMMENT ON FUNCTION jobsched.drop_channel IS
'Removes a channel; messages that wait to be sent are cancelled. History of its messages stays until it expires.';

CREATE FUNCTION jobsched.test_channel(name text, owner name DEFAULT CURRENT_USER)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_test_channel';
COMMENT ON FUNCTION jobsched.test_channel IS
'Sends a message of kind test through a channel, and returns the id of its run (of mail to several addresses: the first). '
'Of a paused or disabled channel it waits until that goes on.';

CREATE VIEW jobsched.channels WITH (security_barrier) AS
SELECT pg_catalog.substr(j.name, 9) AS name,
	jobsched_internal.owner_name_of(j.owner, j.owner_name, j.home) AS owner,
	CASE WHEN j.handler IS NOT NULL THEN 'handler' ELSE j.request ->> 'channel' END AS kind,
	j.request ->> 'url' AS url,
	CASE WHEN pg_catalog.jsonb_typeof(j.request -> 'to') = 'array'
		THEN ARRAY(SELECT pg_catalog.jsonb_array_elements_text(j.request -> 'to')) END AS to_address,
	j.request -> 'body' AS template,
	j.request ->> 'sign_with' AS sign_with,
	j.handler,
	j.request -> 'headers' AS headers,
	CASE WHEN NOT EXISTS (SELECT FROM jobsched_internal.identity i
			WHERE i.id = 1 AND i.token = j.home AND i.instance_id = jobsched_internal.instance_id()
				AND i.database = (SELECT d.oid FROM pg_catalog.pg_database d
					WHERE d.datname = pg_catalog.current_database())) THEN 'asleep'
		WHEN s.auto_paused_revision = j.revision THEN 'disabled'
		WHEN j.paused THEN 'paused'
		ELSE 'active' END AS state,
	CASE WHEN s.auto_paused_revision = j.revision THEN s.auto_paused_reason
		WHEN j.paused THEN j.pause_reason END AS state_reason,
	s.succeeded_at AS last_sent_at,
	s.last_run_id,
	e.error AS last_error,
	e.finished_at AS last_error_at,
	j.created_at,
	j.updated_at
FROM jobsched_internal.job j
	LEFT JOIN jobsched_internal.job_state s ON s.job_id = j.job_id
	LEFT JOIN LATERAL (
		SELECT r.error, r.finished_at FROM (
			(SELECT h.run_id, h.error, h.finished_at FROM jobsched_internal.history h
			 WHERE h.job_id = j.job_id AND h.handler IS NULL ORDER BY h.run_id DESC LIMIT 100)
			UNION ALL
			(SELECT a.run_id, a.error, a.finished_at FROM jobsched_internal.attempt a
			 WHERE a.job_id = j.job_id AND NOT a.callback ORDER BY a.run_id DESC LIMIT 100)) r
		WHERE r.error IS NOT NULL
		ORDER BY r.finished_at DESC LIMIT 1) e ON true
WHERE j.dropped_at IS NULL AND j.workflow_id IS NULL AND pg_catalog.starts_with(j.name, 'channel:')
	AND j.schedule IS NULL AND j.after_jobs IS NULL AND (j.handler IS NOT NULL OR j.request ? 'channel')
	AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home));
COMMENT ON VIEW jobsched.channels IS 'The channels that set_channel() has defined, and what has come of their last messages.';
COMMENT ON COLUMN jobsched.channels.state IS 'active, disabled (its messages are refused for good: set_channel() enables it), paused (by pause_job()) or asleep (this database is a copy)';
COMMENT ON COLUMN jobsched.channels.state_reason IS 'why it is disabled or paused';
COMMENT ON COLUMN jobsched.channels.last_sent_at IS 'when a message has been accepted last';
COMMENT ON COLUMN jobsched.channels.last_run_id IS 'the run of the last message that has ended';
COMMENT ON COLUMN jobsched.channels.last_error IS 'the newest error among the last 100 messages and their attempts';
