-- HTTP requests and what came back.

CREATE FUNCTION jobsched.http_request(
	method text,
	url text,
	body jsonb DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	on_conflict text DEFAULT 'return_existing',
	idempotency_period interval DEFAULT '1 day',
	body_text text DEFAULT NULL,
	run_at timestamptz DEFAULT pg_catalog.now(),
	priority integer DEFAULT 0,
	sign_with text DEFAULT NULL,
	connect_timeout interval DEFAULT NULL,
	success_codes text[] DEFAULT NULL,
	max_redirects integer DEFAULT NULL,
	on_success text DEFAULT NULL,
	on_failure text DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_http_request';
COMMENT ON FUNCTION jobsched.http_request IS
'Queues an HTTP request and returns the id of its run; it is sent if and only if the transaction '
'commits, at least once. Whoever may execute this function may make HTTP requests, by jobs too; '
'parameters: doc/http.md.';

CREATE FUNCTION jobsched.http_get(
	url text,
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('GET', url, NULL, headers, params, timeout, max_attempts, keys, idempotency_key,
	after => after, after_when => after_when, child => child, optional => optional,
	wait_for => wait_for, wait_timeout => wait_timeout);
COMMENT ON FUNCTION jobsched.http_get IS
'Queues a GET request, as http_request() does.';

CREATE FUNCTION jobsched.http_post(
	url text,
	body jsonb DEFAULT '{}',
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('POST', url, COALESCE(body, '{}'), headers, params, timeout, max_attempts, keys, idempotency_key,
	after => after, after_when => after_when, child => child, optional => optional,
	wait_for => wait_for, wait_timeout => wait_timeout);
COMMENT ON FUNCTION jobsched.http_post IS
'Queues a POST request with a JSON body, as http_request() does.';

CREATE FUNCTION jobsched.http_put(
	url text,
	body jsonb DEFAULT '{}',
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('PUT', url, COALESCE(body, '{}'), headers, params, timeout, max_attempts, keys, idempotency_key,
	after => after, after_when => after_when, child => child, optional => optional,
	wait_for => wait_for, wait_timeout => wait_timeout);
COMMENT ON FUNCTION jobsched.http_put IS
'Queues a PUT request with a JSON body, as http_request() does.';

CREATE FUNCTION jobsched.http_patch(
	url text,
	body jsonb DEFAULT '{}',
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('PATCH', url, COALESCE(body, '{}'), headers, params, timeout, max_attempts, keys, idempotency_key,
	after => after, after_when => after_when, child => child, optional => optional,
	wait_for => wait_for, wait_timeout => wait_timeout);
COMMENT ON FUNCTION jobsched.http_patch IS
'Queues a PATCH request with a JSON body, as http_request() does.';

CREATE FUNCTION jobsched.http_delete(
	url text,
	body jsonb DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	after_when text DEFAULT 'success',
	child boolean DEFAULT false,
	optional boolean DEFAULT false,
	wait_for text[] DEFAULT NULL,
	wait_timeout interval DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('DELETE', url, body, headers, params, timeout, max_attempts, keys, idempotency_key,
	after => after, after_when => after_when, child => child, optional => optional,
	wait_for => wait_for, wait_timeout => wait_timeout);
COMMENT ON FUNCTION jobsched.http_delete IS
'Queues a DELETE request, as http_request() does.';

CREATE FUNCTION jobsched.http_webhook()
RETURNS trigger LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_http_webhook';
COMMENT ON FUNCTION jobsched.http_webhook IS
'Trigger function for triggers AFTER a change, whose first argument is the name of a job, which is '
'triggered with the change, or a URL, to which it is posted. It never hinders the change; more: '
'doc/http.md, doc/triggers.md.';

-- Who may make requests is for the administrator to say.
REVOKE ALL ON FUNCTION jobsched.http_request, jobsched.http_webhook FROM PUBLIC;

-- What came back of HTTP requests, in the segment of their attempt's record.
CREATE TABLE jobsched_internal.http_response (
	run_id bigint NOT NULL,
	segment smallint NOT NULL,
	attempt integer NOT NULL,
	job_id bigint NOT NULL,
	owner oid NOT NULL,
	status integer,
	http_version integer,
	responded_at timestamptz NOT NULL,
	method text NOT NULL,
	-- with *** where secrets are
	url text NOT NULL,
	remote_address inet,
	remote_port integer,
	-- from the start of the transfer
	resolved interval,
	connected interval,
	secured interval,
	first_byte interval,
	total interval,
	-- an array of [name, value]
	headers jsonb,
	-- text if it is valid in the database's encoding, else bytes
	body text,
	body_bytes bytea,
	body_size bigint,
	truncated boolean NOT NULL,
	PRIMARY KEY (run_id, attempt, segment)
) PARTITION BY LIST (segment);

CREATE VIEW jobsched.http_responses WITH (security_invoker) AS
SELECT r.run_id,
	r.attempt,
	r.job_id,
	n.name AS job_name,
	pg_catalog.pg_get_userbyid(r.owner) AS owner,
	r.status,
	r.responded_at,
	r.method,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.url END AS url,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.headers END AS headers,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.body END AS body,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.body_bytes END AS body_bytes,
	r.body_size,
	r.truncated,
	CASE r.http_version WHEN 10 THEN '1.0' WHEN 11 THEN '1.1' WHEN 20 THEN '2' WHEN 30 THEN '3' END AS http_version,
	CASE WHEN jobsched_internal.may_manage(r.owner) THEN r.remote_address END AS remote_address,
	r.remote_port,
	r.resolved,
	r.connected,
	r.secured,
	r.first_byte,
	r.total,
	jobsched_internal.milliseconds(r.resolved) AS resolved_ms,
	jobsched_internal.milliseconds(r.connected) AS connected_ms,
	jobsched_internal.milliseconds(r.secured) AS secured_ms,
	jobsched_internal.milliseconds(r.first_byte) AS first_byte_ms,
	jobsched_internal.milliseconds(r.total) AS total_ms
FROM jobsched_internal.http_response r
	LEFT JOIN jobsched_internal.job_name_of n ON n.job_id = r.job_id
WHERE jobsched_internal.may_manage(r.owner)::integer <> 0;
COMMENT ON VIEW jobsched.http_responses IS 'What servers answered to HTTP requests: a row for each attempt that was sent, kept as long as the run. Only for the owner; not for pg_monitor.';
COMMENT ON COLUMN jobsched.http_responses.status IS 'of the response; NULL if none came, and view runs or attempts says why';
COMMENT ON COLUMN jobsched.http_responses.url IS 'where the request went, in the end; *** stands for secrets';
COMMENT ON COLUMN jobsched.http_responses.headers IS 'an array of [name, value], in the order in which they came';
COMMENT ON COLUMN jobsched.http_responses.body IS 'the body, or its first jobsched.http_max_response, unpacked, in the encoding of the database, if it is text';
COMMENT ON COLUMN jobsched.http_responses.body_bytes IS 'the same if it is not';
COMMENT ON COLUMN jobsched.http_responses.body_size IS 'bytes of the body, unpacked, that were kept';
COMMENT ON COLUMN jobsched.http_responses.truncated IS 'whether there was more, or it was compressed and ended too early';
COMMENT ON COLUMN jobsched.http_responses.resolved IS 'time from the start until the name was resolved; then until there was a connection (connected), TLS was agreed upon (secured), the first byte came (first_byte) and the last (total)';
