-- Inbound hooks: what the world may start, and links that answer a run.

-- A hook.  Written by the functions below in the caller's transaction, and deleted by
-- the scheduler when its owner has been dropped.  Its name is unique in the database,
-- for who calls it knows no more.  Of a token there is only the SHA-256.
CREATE TABLE jobsched_internal.hook (
	hook_id uuid PRIMARY KEY,
	name text COLLATE "C" NOT NULL,
	owner oid NOT NULL,
	-- as with jobs; only what is at home counts
	owner_name text,
	home uuid NOT NULL,
	-- what it starts: a run of a job, or an event
	job_id bigint,
	event text COLLATE "C",
	verify text NOT NULL CHECK (verify = ANY (ARRAY['token', 'standard', 'github', 'stripe', 'slack', 'hmac'])),
	secret text,
	header text,
	dedupe text,
	tolerance interval NOT NULL,
	keep_headers text[],
	max_size integer NOT NULL,
	rate integer,
	token_hash bytea,
	-- the one before, and until when it holds
	old_token_hash bytea,
	old_token_until timestamptz,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	CHECK (pg_catalog.num_nonnulls(job_id, event) = 1)
);
CREATE UNIQUE INDEX hook_name ON jobsched_internal.hook (name, home);

-- What has come, as it was counted in shared memory.  Written by the scheduler.
CREATE TABLE jobsched_internal.hook_state (
	hook_id uuid PRIMARY KEY,
	accepted bigint NOT NULL,
	refused bigint NOT NULL,
	last_received_at timestamptz,
	last_refused_at timestamptz,
	last_refusal text
) WITH (fillfactor = 70);

-- A token that sends one event to one run, once.  Only its SHA-256 is here.  Written by
-- event_token(), deleted by receive_event(), and by the scheduler when it has expired.
CREATE TABLE jobsched_internal.event_token (
	token_hash bytea PRIMARY KEY,
	owner oid NOT NULL,
	name text COLLATE "C" NOT NULL,
	run_id bigint NOT NULL,
	created_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL
);
CREATE INDEX event_token_expires_at ON jobsched_internal.event_token (expires_at);

CREATE FUNCTION jobsched.create_hook(
	name text,
	job text DEFAULT NULL,
	event text DEFAULT NULL,
	verify text DEFAULT 'token',
	secret text DEFAULT NULL,
	dedupe text DEFAULT NULL,
	tolerance interval DEFAULT '5 minutes',
	keep_headers text[] DEFAULT NULL,
	max_size integer DEFAULT 1048576,
	header text DEFAULT NULL,
	rate integer DEFAULT 100)
RETURNS text LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_create_hook';
COMMENT ON FUNCTION jobsched.create_hook IS
'Lets others start a run of a job, or send an event, by receive(), if they prove who they are. Returns the '
'token, which nothing shows again; NULL where a secret proves it. More: doc/hooks.md.';

CREATE FUNCTION jobsched.rotate_hook(name text, keep_old interval DEFAULT '1 day')
RETURNS text LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_rotate_hook';
COMMENT ON FUNCTION jobsched.rotate_hook IS
'Gives a hook another token, and returns it. The old one holds for as long as keep_old says.';

CREATE FUNCTION jobsched.drop_hook(name text)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_hook';
COMMENT ON FUNCTION jobsched.drop_hook IS
'Removes a hook. Runs that it has queued stay.';

CREATE FUNCTION jobsched.receive(hook text, body text, headers jsonb DEFAULT NULL, token text DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_receive';
COMMENT ON FUNCTION jobsched.receive IS
'Hands a request to a hook, whose job is queued as its owner''s, whoever calls. Returns the id of the run or '
'event, for a repeat the same; whatever is wrong is the same error, PT401.';

CREATE FUNCTION jobsched.hook_wrapper(hook text, schema text)
RETURNS text LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_hook_wrapper';
COMMENT ON FUNCTION jobsched.hook_wrapper IS
'The statements that make a function of a hook, in a schema that PostgREST serves; \gexec executes them.';

CREATE FUNCTION jobsched.event_token(name text, run_id bigint, expires interval DEFAULT '7 days')
RETURNS text LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_event_token';
COMMENT ON FUNCTION jobsched.event_token IS
'A token with which whoever has it can send this event to this run, once, by receive_event().';

CREATE FUNCTION jobsched.receive_event(token text, payload jsonb DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_receive_event';
COMMENT ON FUNCTION jobsched.receive_event IS
'Sends the event of a token of event_token(), which is used up by that. Returns the event''s id; NULL if the run '
'has ended. Whatever is wrong is the same error, PT401.';

-- What has come to a hook, for who may see it; why it was refused, for its owner.
CREATE FUNCTION jobsched_internal.hook_totals(
	hook_id uuid,
	OUT accepted bigint,
	OUT refused bigint,
	OUT last_received_at timestamptz,
	OUT last_refused_at timestamptz,
	OUT last_refusal text)
LANGUAGE C STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'jobsched_hook_totals';

CREATE VIEW jobsched.hooks WITH (security_barrier) AS
SELECT h.name,
	jobsched_internal.owner_name_of(h.owner, h.owner_name, h.home) AS owner,
	(SELECT j.name FROM jobsched_internal.job j
	 WHERE j.job_id = h.job_id AND j.dropped_at IS NULL
		AND jobsched_internal.may_see(jobsched_internal.owner_of(j.owner, j.owner_name, j.home))) AS job,
	h.event,
	h.verify,
	h.secret,
	h.header,
	h.dedupe,
	h.tolerance,
	h.keep_headers,
	h.max_size,
	h.rate,
	h.old_token_until,
	h.created_at,
	h.updated_at,
	t.accepted,
	t.refused,
	t.last_received_at,
	t.last_refused_at,
	t.last_refusal
FROM jobsched_internal.hook h
	CROSS JOIN LATERAL jobsched_internal.hook_totals(h.hook_id) t
WHERE jobsched_internal.may_see(jobsched_internal.owner_of(h.owner, h.owner_name, h.home));
COMMENT ON VIEW jobsched.hooks IS 'The hooks that create_hook() has defined, and what has come to them.';
COMMENT ON COLUMN jobsched.hooks.job IS 'NULL, without an event: the job has been dropped, or you may not see it';
COMMENT ON COLUMN jobsched.hooks.old_token_until IS 'until then the token before rotate_hook() holds too';
COMMENT ON COLUMN jobsched.hooks.accepted IS 'requests that were accepted, repeats among them';
COMMENT ON COLUMN jobsched.hooks.last_refusal IS 'why the last one was refused, which its sender is not told; for the owner only';
