-- Jobs

CREATE FUNCTION jobsched.create_job(
	name text,
	schedule text DEFAULT NULL,
	command text DEFAULT NULL,
	handler text DEFAULT NULL,
	args jsonb DEFAULT '{}',
	timezone text DEFAULT pg_catalog.current_setting('jobsched.timezone'),
	enabled boolean DEFAULT true,
	description text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	owner name DEFAULT CURRENT_USER,
	mode text DEFAULT 'auto',
	share_transaction boolean DEFAULT false,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	backoff text DEFAULT 'exponential',
	backoff_base interval DEFAULT '10 seconds',
	backoff_max interval DEFAULT '1 hour',
	backoff_jitter double precision DEFAULT 0.2,
	retry_delays interval[] DEFAULT NULL,
	retry_on text[] DEFAULT NULL,
	no_retry_on text[] DEFAULT NULL,
	overlap text DEFAULT 'skip',
	queue_limit integer DEFAULT 1,
	misfire text DEFAULT 'once',
	misfire_grace interval DEFAULT '5 seconds',
	starts_at timestamptz DEFAULT NULL,
	ends_at timestamptz DEFAULT NULL,
	max_runs integer DEFAULT NULL,
	jitter interval DEFAULT NULL,
	pause_after_failures integer DEFAULT NULL,
	max_concurrency integer DEFAULT NULL,
	queue text DEFAULT NULL,
	keys text[] DEFAULT NULL,
	url text DEFAULT NULL,
	method text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	body jsonb DEFAULT NULL,
	body_text text DEFAULT NULL,
	sign_with text DEFAULT NULL,
	connect_timeout interval DEFAULT NULL,
	success_codes text[] DEFAULT NULL,
	max_redirects integer DEFAULT NULL,
	on_success text DEFAULT NULL,
	on_failure text DEFAULT NULL,
	if_exists text DEFAULT 'error')
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_create_job';
COMMENT ON FUNCTION jobsched.create_job IS
'Defines a job and returns its id. Exactly one of command (SQL text), handler (''schema.function'', takes jsonb, returns jsonb or void) and url (an HTTP request). schedule: cron with 5 or 6 fields, a macro, ''every 90 seconds'', a timestamp, or NULL for a job that is only triggered. timezone: IANA name, default jobsched.timezone. args: a JSON object. mode: auto, transaction or autocommit. share_transaction: for a handler whose runs are many and short: several of them are executed in one transaction, each in a subtransaction of its own; session settings and temporary tables of one are seen by the next. timeout: how long an attempt may take, by the clock; then it is cancelled, and its worker terminated after jobsched.cancel_grace (status timed_out); default none, 30 seconds for an HTTP request. max_attempts: how often a run is tried in all, 1 to 1000; default 5 for an HTTP request, 3 for a triggered run that is one transaction, else 1. What is worth another attempt is in retry_on: SQLSTATEs (''40001''), classes of them (''08''), HTTP statuses (''503'', ''5xx''), ''timeout'', ''lost'' or ''all''; by default ''40001'', ''40P01'', ''55P03'', ''08'', ''53'', ''57P01'', ''57P02'', ''57P03'', ''408'', ''425'', ''429'', ''5xx'', ''timeout'' and ''lost''; no_retry_on takes some of these away. Before attempt n+1 it waits backoff_base (exponential: times 3 to the power of n-1; linear: times n; fixed), backoff_max at most, shortened at random by up to the share backoff_jitter (0 to 1); or what retry_delays gives, whose last element holds for all that follow. overlap, when a slot comes while a run of the job is live: skip it; queue its run, up to queue_limit of them, until the others have ended; allow it beside them, up to max_concurrency; or replace them, which are cancelled. misfire, for slots found later than misfire_grace: once (one run for the newest), skip (none) or all (one each, at most 100). starts_at, ends_at: the schedule has no slots before and after. max_runs: how many runs the schedule makes in all. jitter: each slot''s run starts up to so much later. pause_after_failures: after so many failures in a row the job is paused until resume_job(). max_concurrency: how many of its runs are executed at the same time (1 to 10000); default any number. queue: the name of a queue, whose limits (set_queue()) hold for all jobs that name it. keys: what limits of keys (set_limit()) hold for, at most 8 texts with placeholders such as ''user:{{args.user_id}}''. A run takes a place of every limit that names it, or waits. url, method (default POST), headers (a JSON object), body (JSON) or body_text: the request, with placeholders {{args.path}}, {{run.id}}, {{run.attempt}}, {{run.scheduled_for}}, {{job.name}}, {{secret.NAME}} and {{vault.NAME}}; without a body it sends job, run_id, attempt, scheduled_for and args. sign_with: the name of a secret for a Standard Webhooks signature. connect_timeout: default 10 seconds. success_codes: statuses that are a success, such as ''200'' or ''2xx''; default 2xx. max_redirects: how many redirects are followed; default 0. on_success, on_failure: functions (jsonb) that are called, in a run of their own, with what came of the run. The owner needs EXECUTE on jobsched.http_request. if_exists, when the owner has a job of this name: error, update or keep.';

CREATE FUNCTION jobsched.alter_job(
	job text,
	name text DEFAULT NULL,
	schedule text DEFAULT NULL,
	command text DEFAULT NULL,
	handler text DEFAULT NULL,
	args jsonb DEFAULT NULL,
	timezone text DEFAULT NULL,
	enabled boolean DEFAULT NULL,
	description text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	owner name DEFAULT NULL,
	mode text DEFAULT NULL,
	share_transaction boolean DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	backoff text DEFAULT NULL,
	backoff_base interval DEFAULT NULL,
	backoff_max interval DEFAULT NULL,
	backoff_jitter double precision DEFAULT NULL,
	retry_delays interval[] DEFAULT NULL,
	retry_on text[] DEFAULT NULL,
	no_retry_on text[] DEFAULT NULL,
	overlap text DEFAULT NULL,
	queue_limit integer DEFAULT NULL,
	misfire text DEFAULT NULL,
	misfire_grace interval DEFAULT NULL,
	starts_at timestamptz DEFAULT NULL,
	ends_at timestamptz DEFAULT NULL,
	max_runs integer DEFAULT NULL,
	jitter interval DEFAULT NULL,
	pause_after_failures integer DEFAULT NULL,
	max_concurrency integer DEFAULT NULL,
	queue text DEFAULT NULL,
	keys text[] DEFAULT NULL,
	url text DEFAULT NULL,
	method text DEFAULT NULL,
	headers jsonb DEFAULT NULL,
	body jsonb DEFAULT NULL,
	body_text text DEFAULT NULL,
	sign_with text DEFAULT NULL,
	connect_timeout interval DEFAULT NULL,
	success_codes text[] DEFAULT NULL,
	max_redirects integer DEFAULT NULL,
	on_success text DEFAULT NULL,
	on_failure text DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_alter_job';
COMMENT ON FUNCTION jobsched.alter_job IS
'Changes a job; what is NULL stays as it is. An empty schedule removes the schedule; zero removes timeout, max_runs, jitter, pause_after_failures and max_concurrency; starts_at => ''-infinity'' and ends_at => ''infinity'' remove the bound; max_attempts zero and empty arrays for retry_delays, retry_on and no_retry_on bring back what holds by default; an empty queue and an empty array of keys remove what they limit. A change of schedule or timezone starts the schedule anew: slots missed before are forgotten. command, handler and url replace each other. Empty texts remove body_text, sign_with, on_success and on_failure, an empty object the headers, an empty array success_codes. The change holds for runs that start after the commit; but a run that is queued keeps its keys.';

CREATE FUNCTION jobsched.drop_job(job text, cancel_running boolean DEFAULT false)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_job';
COMMENT ON FUNCTION jobsched.drop_job IS
'Drops a job: its queued runs are cancelled, running ones finish unless cancel_running is true. Its history stays until it expires.';

CREATE FUNCTION jobsched.pause_job(job text, reason text DEFAULT NULL)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_pause_job';
COMMENT ON FUNCTION jobsched.pause_job IS
'Holds a job: no run of it starts, by schedule or by trigger, until resume_job(); queued runs wait, running ones finish.';

CREATE FUNCTION jobsched.resume_job(job text)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_resume_job';
COMMENT ON FUNCTION jobsched.resume_job IS
'Lets a paused job go on, also one that pause_after_failures has paused; failures are counted anew. What becomes of slots missed meanwhile the job''s misfire policy says.';

CREATE FUNCTION jobsched.trigger(
	job text,
	args jsonb DEFAULT NULL,
	run_at timestamptz DEFAULT pg_catalog.now(),
	priority integer DEFAULT 0,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	on_conflict text DEFAULT 'return_existing',
	idempotency_period interval DEFAULT '1 day')
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_trigger';
COMMENT ON FUNCTION jobsched.trigger IS
'Queues a run of a job and returns its id. The run exists if and only if the transaction commits, and starts then, or at run_at. args (a JSON object) are merged over the job''s. Higher priority starts first. timeout, max_attempts and keys override the job''s; an empty array means no keys. idempotency_key (1 to 200 bytes): a name for what is asked for, which one run of the job keeps for idempotency_period from when it was queued, and until it has ended. on_conflict says what a call with a key that is kept does: return_existing returns the id of the run that keeps it, error raises 23505, replace cancels it if it still waits and queues a new run, debounce does that with a run that starts idempotency_period from now (or at run_at), throttle returns the id within the period and queues a new run after it.';

CREATE FUNCTION jobsched.trigger_many(
	job text,
	args jsonb[],
	run_at timestamptz DEFAULT pg_catalog.now(),
	priority integer DEFAULT 0,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'jobsched_trigger_many';
COMMENT ON FUNCTION jobsched.trigger_many IS
'Queues one run of a job for each element of args (a JSON object or NULL) and returns their ids in the same order.';

CREATE FUNCTION jobsched.backfill(
	job text,
	"from" timestamptz,
	"to" timestamptz,
	dry_run boolean DEFAULT false,
	max integer DEFAULT 1000)
RETURNS TABLE (slot timestamptz, run_id bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'jobsched_backfill';
COMMENT ON FUNCTION jobsched.backfill IS
'Queues one run of a job for each slot that its schedule has had from "from" until before "to", whether the slot has had a run or not, and returns slots and run ids; scheduled_for is the slot, source is backfill. run_id is NULL for a slot of which a run is waiting or running already, and with dry_run, which only shows the slots. More slots than max are refused.';

CREATE FUNCTION jobsched.cancel_run(run_id bigint, force boolean DEFAULT false)
RETURNS boolean LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_cancel_run';
COMMENT ON FUNCTION jobsched.cancel_run IS
'Cancels a run once the transaction commits: one that waits does not start, one that is executed is interrupted, and its worker terminated after jobsched.cancel_grace, or at once with force. Returns false when the run has ended already. A run that is past its last statement may still succeed; a cancelled one never does.';

CREATE FUNCTION jobsched.cancel_runs(
	job text DEFAULT NULL,
	status text DEFAULT NULL,
	older_than interval DEFAULT NULL,
	force boolean DEFAULT false)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_cancel_runs';
COMMENT ON FUNCTION jobsched.cancel_runs IS
'Cancels, as cancel_run() does, every run that the caller may manage and that meets all conditions given: of a job, with a status (queued, running, retrying), queued longer ago than older_than. One condition at least is needed. Returns how many.';

CREATE FUNCTION jobsched.retry_run(run_id bigint)
RETURNS bigint LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_retry_run';
COMMENT ON FUNCTION jobsched.retry_run IS
'Queues a run that has ended without success anew, with the arguments, priority and slot that it had, and returns the id of the new run. A run is retried like this once; the new one can be.';

CREATE FUNCTION jobsched.reset_stuck(older_than interval)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_reset_stuck';
COMMENT ON FUNCTION jobsched.reset_stuck IS
'Once the transaction commits, takes every run that the caller may manage and that has been executed for longer than older_than from its worker, which is terminated. A run that is one transaction goes back to the queue, as one that lost its worker; any other is tried again if its job''s policy says so, or ends as lost, reason reset. Returns how many.';

CREATE PROCEDURE jobsched.wait_run(
	run_id bigint,
	timeout interval DEFAULT NULL,
	INOUT status text DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_wait_run';
COMMENT ON PROCEDURE jobsched.wait_run IS
'Waits until a run has ended and returns its status. Holds no snapshot, lock or transaction id while it waits, so it cannot be called inside a transaction block. timeout NULL: no limit; when it is over: error 57014.';

CREATE FUNCTION jobsched.adopt()
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_adopt';
COMMENT ON FUNCTION jobsched.adopt IS
'Makes this database the home of jobs that came with a dump, a template or a physical copy, and sleep; returns how many it has woken: those of roles that the caller may act for. The first call is the database''s owner''s.';

CREATE FUNCTION jobsched.stop_processing()
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_stop_processing';
COMMENT ON FUNCTION jobsched.stop_processing IS
'From the commit on no run starts in this database and no slot fires, until start_processing(), also over restarts; queued runs wait, running ones finish. For the database''s owner.';

CREATE FUNCTION jobsched.start_processing()
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_start_processing';
COMMENT ON FUNCTION jobsched.start_processing IS
'Ends stop_processing(): what waits starts, and slots missed meanwhile are made up by one run for the newest of each job. For the database''s owner.';

-- HTTP requests

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
	on_failure text DEFAULT NULL)
RETURNS bigint LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_http_request';
COMMENT ON FUNCTION jobsched.http_request IS
'Queues an HTTP request and returns the id of its run, which is one of the caller''s job "http" (which the scheduler makes when it is first needed). It is sent if and only if the transaction commits, at least once, and with the same Idempotency-Key each time. body: JSON, or body_text: any text; headers: a JSON object, in whose values {{secret.NAME}} and {{vault.NAME}} are replaced when it is sent, while url and body are sent as they are; params: a JSON object that is appended to the url''s query. timeout: of an attempt, default 30 seconds; max_attempts: default 5. keys, idempotency_key and the like are those of trigger(), the others those of create_job(). Whoever may execute this function may make HTTP requests, by jobs too.';

CREATE FUNCTION jobsched.http_get(
	url text,
	headers jsonb DEFAULT NULL,
	params jsonb DEFAULT NULL,
	timeout interval DEFAULT NULL,
	max_attempts integer DEFAULT NULL,
	keys text[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('GET', url, NULL, headers, params, timeout, max_attempts, keys, idempotency_key);
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
	idempotency_key text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('POST', url, body, headers, params, timeout, max_attempts, keys, idempotency_key);
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
	idempotency_key text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('PUT', url, body, headers, params, timeout, max_attempts, keys, idempotency_key);
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
	idempotency_key text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('PATCH', url, body, headers, params, timeout, max_attempts, keys, idempotency_key);
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
	idempotency_key text DEFAULT NULL)
RETURNS bigint LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN jobsched.http_request('DELETE', url, body, headers, params, timeout, max_attempts, keys, idempotency_key);
COMMENT ON FUNCTION jobsched.http_delete IS
'Queues a DELETE request, as http_request() does.';

CREATE FUNCTION jobsched.http_webhook()
RETURNS trigger LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_http_webhook';
COMMENT ON FUNCTION jobsched.http_webhook IS
'Trigger function for triggers AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW. Its argument is the name of a job of the table''s owner, which is triggered with the change as args; or a URL, to which the change is posted, and headers as a JSON object if you like. The change: {"type", "schema", "table", "record", "old_record"}. What is queued belongs to the table''s owner, who needs EXECUTE on jobsched.http_request. It never hinders the change: a row that cannot be sent makes a warning and a run of status skipped, reason unsendable.';

-- Who may make requests is for the administrator to say.
REVOKE ALL ON FUNCTION jobsched.http_request, jobsched.http_webhook FROM PUBLIC;

-- Limits

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
'Says what holds for the runs of all jobs of a role that name this queue; each call states the whole definition. max_running: how many are executed at the same time. rate and per: so many start in each interval, evenly spread; burst: how many may start at once after a pause, default 1. paused: none starts. NULL: no such limit. What exceeds a limit waits; what runs goes on.';

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

-- Secrets

CREATE FUNCTION jobsched.set_secret(name text, value text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_secret';
COMMENT ON FUNCTION jobsched.set_secret IS
'Keeps a value (4 to 7000 bytes) that HTTP requests of a role are sent with: {{secret.NAME}} in URL, headers or body, or sign_with. It takes the place of the one of this name that there may be. Nothing shows it again: no view, no log, no dump. For a key of sign_with: whsec_ and base64, or other text; while a key is changed, the new and the old one with a space between them.';

CREATE FUNCTION jobsched.drop_secret(name text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_secret';
COMMENT ON FUNCTION jobsched.drop_secret IS
'Removes a secret. Requests that need it fail.';

-- Schedules

CREATE FUNCTION jobsched.next_runs(
	schedule text,
	timezone text DEFAULT pg_catalog.current_setting('jobsched.timezone'),
	"from" timestamptz DEFAULT pg_catalog.now(),
	n integer DEFAULT 5)
RETURNS SETOF timestamptz LANGUAGE C STABLE PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'jobsched_next_runs';
COMMENT ON FUNCTION jobsched.next_runs IS
'The next n (1 to 10000) instants at which a schedule fires, strictly after from. Intervals are counted from from.';

CREATE FUNCTION jobsched.explain_schedule(
	schedule text,
	timezone text DEFAULT pg_catalog.current_setting('jobsched.timezone'))
RETURNS text LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_explain_schedule';
COMMENT ON FUNCTION jobsched.explain_schedule IS
'Says in words when a schedule fires, with warnings about what may surprise.';

-- Inside a run.  Outside of one they return NULL.

CREATE FUNCTION jobsched.run_id() RETURNS bigint
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_run_id';
COMMENT ON FUNCTION jobsched.run_id IS 'The id of the run that calls it; NULL outside a run.';

CREATE FUNCTION jobsched.job_name() RETURNS text
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_job_name';
COMMENT ON FUNCTION jobsched.job_name IS 'The name of the job whose run calls it; NULL outside a run.';

CREATE FUNCTION jobsched.args() RETURNS jsonb
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_args';
COMMENT ON FUNCTION jobsched.args IS 'The arguments of the run that calls it; NULL outside a run.';

CREATE FUNCTION jobsched.attempt() RETURNS integer
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_attempt';
COMMENT ON FUNCTION jobsched.attempt IS 'Which try at the run this is, from 1; NULL outside a run.';

CREATE FUNCTION jobsched.scheduled_for() RETURNS timestamptz
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_scheduled_for';
COMMENT ON FUNCTION jobsched.scheduled_for IS 'The slot that the run was made for; NULL for a triggered run and outside a run.';

CREATE FUNCTION jobsched.snooze(delay interval) RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_snooze';
COMMENT ON FUNCTION jobsched.snooze IS 'Lets the run that calls it be executed once more, after a delay, when this attempt has come to its end: what it has done until then is committed. Does not count as an attempt of max_attempts. The last call holds; a delay of zero means at once. Does nothing outside a run.';

CREATE FUNCTION jobsched.discard(reason text) RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_discard';
COMMENT ON FUNCTION jobsched.discard IS 'Raises an error, with reason as its message and SQLSTATE JS001, that ends the run as failed (reason discarded) whatever its policy: there is no use in trying again.';

CREATE FUNCTION jobsched.progress(done bigint, total bigint DEFAULT NULL, message text DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_progress';
COMMENT ON FUNCTION jobsched.progress IS 'Shows in view running, at once and to others, how far the run is. Messages are cut at 127 bytes. Does nothing outside a run.';

CREATE FUNCTION jobsched.log(level text, message text) RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'jobsched_log';
COMMENT ON FUNCTION jobsched.log IS 'Keeps a message with the run (view run_logs). level: debug, info, notice, warning or error. Outside a run it raises the message as a notice or warning.';

-- Behind the views

CREATE FUNCTION jobsched_internal.may_see(owner oid) RETURNS boolean
LANGUAGE C STABLE STRICT LEAKPROOF PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_may_see';

CREATE FUNCTION jobsched_internal.may_manage(owner oid) RETURNS boolean
LANGUAGE C STABLE STRICT LEAKPROOF PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_may_manage';

-- What a run has to tell; of a callback for its owner alone.
CREATE FUNCTION jobsched_internal.may_read(owner oid, callback boolean) RETURNS boolean
LANGUAGE C STABLE STRICT LEAKPROOF PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_may_read';

-- Whose a row is, and how that role is called.
CREATE FUNCTION jobsched_internal.owner_of(owner oid, owner_name text, home uuid) RETURNS oid
LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_owner_of';

CREATE FUNCTION jobsched_internal.owner_name_of(owner oid, owner_name text, home uuid) RETURNS name
LANGUAGE C STABLE PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_owner_name_of';

CREATE FUNCTION jobsched_internal.workers(
	OUT slot integer, OUT owner oid, OUT pid integer, OUT state text, OUT started_at timestamptz,
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

CREATE FUNCTION jobsched_internal.slots_of(
	job_name text, schedule text, timezone text, anchor timestamptz, after timestamptz, n integer)
RETURNS SETOF timestamptz LANGUAGE C STABLE PARALLEL SAFE ROWS 5 AS 'MODULE_PATHNAME', 'jobsched_slots_of';

CREATE FUNCTION jobsched_internal.redrive_run(run_id bigint) RETURNS bigint
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_redrive_run';

CREATE FUNCTION jobsched_internal.job_id_of(job text) RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_job_id_of';

CREATE FUNCTION jobsched_internal.instance_id() RETURNS text
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_instance_id';

CREATE FUNCTION jobsched_internal.clock_now() RETURNS timestamptz
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_clock_now';

CREATE FUNCTION jobsched_internal.announce() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_announce';

-- What a logical replica gets from its publisher: jobs, and what became of
-- their runs, but not who the publisher is nor where its rings stand.
CREATE FUNCTION jobsched_internal.keep_own() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_keep_own';
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.identity
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.identity ENABLE REPLICA TRIGGER keep_own;
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.ring
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.ring ENABLE REPLICA TRIGGER keep_own;
-- Runs and what is left of them come with the OIDs of another cluster's roles.
CREATE FUNCTION jobsched_internal.disown() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_disown';
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.run
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.run ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.history
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.history ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.attempt
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.attempt ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.run_log
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.run_log ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.http_response
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.http_response ENABLE REPLICA TRIGGER disown;

-- Members of pg_read_all_data can use the schema. Of its functions they, and
-- whoever reads a view, need those that views call; these check who asks.
REVOKE ALL ON FUNCTION jobsched_internal.scheduler, jobsched_internal.announce, jobsched_internal.keep_own, jobsched_internal.disown FROM PUBLIC;
