/*
 * campaign_runner: automation jobs of many users, queued by an application.
 *
 *	campaign-job	triggered			one run for each row of campaign.jobs
 *	campaign-report	triggered			after a campaign's last job: keeps its totals
 *	campaign-ping	hook				an outside cron service lets waiting jobs begin, or adds one
 *	campaign-watch	every 10 seconds	takes what hangs from its worker; shows that all is alive
 *
 * The application inserts rows into campaign.jobs and knows no more than that; or
 * it calls campaign.launch(), for many users at once.
 * At most two jobs of a user run at the same time and ten of all; users take
 * turns; what hangs is ended after two minutes, what fails by chance is tried
 * again.  campaign.settings changes all of this at run time.  With an address of
 * Slack in it, people are told when jobs fail or wait too long, and when that is over.
 *
 * Plain SQL for any client; safe to run again.  Whoever runs it owns the
 * tables and the jobs and needs USAGE on schema jobsched; to tell people, also
 * EXECUTE on function jobsched.http_request.
 */
CREATE EXTENSION IF NOT EXISTS jobsched;

BEGIN;

CREATE SCHEMA IF NOT EXISTS campaign;

-- Tables

-- Jobs of many users that were queued together; campaign_id is the id of the run
-- that ends when they have.
CREATE TABLE IF NOT EXISTS campaign.campaigns (
	campaign_id bigint PRIMARY KEY,
	kind text NOT NULL,
	totals jsonb,
	launched_at timestamptz NOT NULL DEFAULT now(),
	finished_at timestamptz
);

CREATE TABLE IF NOT EXISTS campaign.jobs (
	job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	campaign_id bigint REFERENCES campaign.campaigns,
	user_id integer NOT NULL,
	kind text NOT NULL CHECK (kind IN ('invite', 'follow_up', 'report')),
	payload jsonb NOT NULL DEFAULT '{}',
	-- when it is due; NULL: when the outside service says so
	scheduled_at timestamptz DEFAULT now(),
	created_at timestamptz NOT NULL DEFAULT now(),
	run_id bigint
);
CREATE INDEX IF NOT EXISTS jobs_run ON campaign.jobs (run_id);
CREATE INDEX IF NOT EXISTS jobs_waiting ON campaign.jobs (job_id) WHERE run_id IS NULL AND campaign_id IS NULL;

-- What the jobs have done: once for each, whatever crashes.
CREATE TABLE IF NOT EXISTS campaign.messages (
	message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	job_id bigint NOT NULL UNIQUE REFERENCES campaign.jobs,
	user_id integer NOT NULL,
	body text NOT NULL,
	sent_at timestamptz NOT NULL DEFAULT now()
);

-- One row.  An UPDATE takes effect at its commit, for what starts from then on.
CREATE TABLE IF NOT EXISTS campaign.settings (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	max_running integer NOT NULL CHECK (max_running > 0),
	max_running_per_user integer NOT NULL CHECK (max_running_per_user > 0),
	timeout interval NOT NULL,
	max_attempts integer NOT NULL,
	processing boolean NOT NULL,
	-- an incoming webhook: 'https://hooks.slack.com/{{secret.slack}}'
	slack_url text,
	-- false: nobody is told
	alerts boolean NOT NULL DEFAULT true,
	-- so many failures in ten minutes are worth telling, this long after the last of them
	alert_threshold integer NOT NULL DEFAULT 3 CHECK (alert_threshold BETWEEN 1 AND 100),
	alert_delay interval NOT NULL DEFAULT '30 s',
	-- so many waiting jobs begin when the outside service says so
	batch_size integer NOT NULL DEFAULT 100 CHECK (batch_size > 0),
	-- how often campaign-watch looks, and how long a job may be with its worker until
	-- it is taken for stuck, which is longer than any timeout
	heartbeat interval NOT NULL DEFAULT '10 s' CHECK (heartbeat >= '1 s'),
	stuck_after interval NOT NULL DEFAULT '10 min',
	CHECK (stuck_after > timeout)
);
INSERT INTO campaign.settings VALUES (true, 10, 2, '120 s', 3, true)
ON CONFLICT DO NOTHING;

-- Queueing

-- A row is a run: both are there if the application's transaction commits.
-- The key makes a second call for the same row harmless.
CREATE OR REPLACE FUNCTION campaign.begin_job(job campaign.jobs) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
RETURN jobsched.trigger('campaign-job',
	args => jsonb_build_object('job_id', job.job_id, 'user_id', job.user_id),
	run_at => job.scheduled_at,
	idempotency_key => 'job:' || job.job_id);

CREATE OR REPLACE FUNCTION campaign.queue_job() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	NEW.run_id := campaign.begin_job(NEW);
	RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER queue_job BEFORE INSERT ON campaign.jobs
FOR EACH ROW WHEN (NEW.campaign_id IS NULL AND NEW.scheduled_at IS NOT NULL) EXECUTE FUNCTION campaign.queue_job();

-- The oldest that wait for the outside service; returns how many.
CREATE OR REPLACE FUNCTION campaign.begin_waiting() RETURNS bigint
LANGUAGE sql SET search_path = campaign, pg_temp AS $$
	WITH batch AS (
		SELECT j.job_id FROM jobs j
		WHERE j.run_id IS NULL AND j.campaign_id IS NULL
		ORDER BY j.job_id LIMIT (SELECT batch_size FROM settings) FOR UPDATE SKIP LOCKED
	), begun AS (
		UPDATE jobs j SET run_id = begin_job(j) FROM batch b WHERE b.job_id = j.job_id RETURNING 1
	)
	SELECT count(*) FROM begun
$$;

-- One job for each of these users, as one batch; returns the id of the campaign.
-- Limits hold for its jobs as for all others.
CREATE OR REPLACE FUNCTION campaign.launch(of_kind text, users integer[], with_payload jsonb DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql SET search_path = campaign, pg_temp AS $$
DECLARE
	ids bigint[] := ARRAY(SELECT nextval(pg_get_serial_sequence('campaign.jobs', 'job_id')) FROM unnest(users));
	batch bigint;
BEGIN
	batch := jobsched.trigger_batch('campaign-job',
		ARRAY(SELECT jsonb_build_object('job_id', j.id, 'user_id', j.who) FROM unnest(ids, users) AS j(id, who)),
		on_complete => 'campaign-report');
	INSERT INTO campaigns (campaign_id, kind) VALUES (batch, of_kind);
	INSERT INTO jobs (job_id, campaign_id, user_id, kind, payload) OVERRIDING SYSTEM VALUE
	SELECT j.id, batch, j.who, of_kind, with_payload FROM unnest(ids, users) AS j(id, who);
	RETURN batch;
END $$;

-- The handler

CREATE OR REPLACE FUNCTION campaign.run_job(args jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = campaign, pg_temp AS $$
DECLARE
	job jobs;
BEGIN
	SELECT * INTO job FROM jobs j WHERE j.job_id = (args->>'job_id')::bigint;
	IF NOT FOUND THEN
		PERFORM jobsched.discard('the job has been deleted');
	END IF;
	IF job.payload ? 'not_before' AND (job.payload->>'not_before')::timestamptz > now() THEN
		PERFORM jobsched.snooze((job.payload->>'not_before')::timestamptz - now());
		RETURN NULL;
	END IF;
	-- for trying out: what a real one would do by itself
	IF job.payload ? 'takes' THEN
		PERFORM pg_sleep((job.payload->>'takes')::float8);
	END IF;
	IF jobsched.attempt() <= (job.payload->>'busy')::integer THEN
		RAISE EXCEPTION 'the network was busy at attempt %', jobsched.attempt() USING ERRCODE = 'connection_failure';
	END IF;
	IF job.payload ? 'fails' THEN
		RAISE EXCEPTION '%', job.payload->>'fails';
	END IF;
	INSERT INTO messages (job_id, user_id, body)
	VALUES (job.job_id, job.user_id, format('%s for user %s', job.kind, job.user_id));
	RETURN jsonb_build_object('kind', job.kind, 'attempt', jobsched.attempt());
END $$;

-- What an outside service sends, with its secret in header x-webhook-secret: {} lets
-- waiting jobs begin, {"user_id": 7, "kind": "report"} adds one.
CREATE OR REPLACE FUNCTION campaign.from_outside(args jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = campaign, pg_temp AS $$
DECLARE
	added bigint;
BEGIN
	IF args->'body' ? 'kind' THEN
		INSERT INTO jobs (user_id, kind)
		VALUES ((args #>> '{body,user_id}')::integer, args #>> '{body,kind}')
		RETURNING job_id INTO added;
		RETURN jsonb_build_object('job_id', added);
	END IF;
	RETURN jsonb_build_object('begun', begin_waiting());
END $$;

-- Lets it in: returns the secret, once.  A request is campaign.receive(body, headers).
CREATE OR REPLACE FUNCTION campaign.open_hook() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	SELECT jobsched.create_hook('campaign-ping', 'campaign-ping', header => 'x-webhook-secret', max_size => 10000, rate => 10)
$$;
REVOKE ALL ON FUNCTION campaign.open_hook() FROM PUBLIC;

CREATE OR REPLACE FUNCTION campaign.receive(body text, headers jsonb) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT jobsched.receive('campaign-ping', body, headers)
$$;
REVOKE ALL ON FUNCTION campaign.receive(text, jsonb) FROM PUBLIC;

-- The last job of a campaign has ended; the run that this one has waited for has
-- the totals.
CREATE OR REPLACE FUNCTION campaign.report(args jsonb) RETURNS jsonb
LANGUAGE sql SET search_path = campaign, pg_temp AS $$
	UPDATE campaigns c SET totals = u.result, finished_at = now()
	FROM jobsched.upstream() u
	WHERE c.campaign_id = u.run_id
	RETURNING c.totals
$$;

-- Watching

CREATE OR REPLACE VIEW campaign.history AS
SELECT r.run_id, (r.args->>'job_id')::bigint AS job_id, (r.args->>'user_id')::integer AS user_id, r.status,
	r.reason, r.attempt, r.queued_at, r.started_at, r.finished_at, r.duration, r.error
FROM jobsched.runs r
WHERE r.job_id = (SELECT j.job_id FROM jobsched.jobs j WHERE j.name = 'campaign-job' AND j.owner = current_user)
	AND r.source <> 'batch';

-- waiting: for the outside service.
CREATE OR REPLACE VIEW campaign.queue AS
SELECT count(*) FILTER (WHERE h.status IN ('queued', 'retrying')) AS pending,
	count(*) FILTER (WHERE h.status = 'running') AS processing,
	count(DISTINCT h.user_id) AS users,
	now() - min(h.queued_at) FILTER (WHERE h.status = 'queued') AS oldest,
	(SELECT count(*) FROM campaign.jobs j WHERE j.run_id IS NULL AND j.campaign_id IS NULL) AS waiting
FROM campaign.history h WHERE h.status IN ('queued', 'retrying', 'running');

-- What ended in a range of time, by day; days are those of the session's time zone.
CREATE OR REPLACE FUNCTION campaign.analytics(since timestamptz, until timestamptz,
	OUT day date, OUT runs bigint, OUT succeeded bigint, OUT failed bigint, OUT timed_out bigint, OUT cancelled bigint,
	OUT lost bigint, OUT retries bigint, OUT success_rate numeric, OUT mean interval, OUT p50 interval, OUT p95 interval,
	OUT p99 interval, OUT longest interval)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT s.bucket::date, s.runs, s.succeeded, s.failed, s.timed_out, s.cancelled, s.lost, s.retries,
		round(100.0 * s.succeeded / nullif(s.succeeded + s.failed + s.timed_out + s.lost, 0), 1),
		s.mean_ms * interval '1 ms', s.p50_ms * interval '1 ms', s.p95_ms * interval '1 ms', s.p99_ms * interval '1 ms',
		s.max_ms * interval '1 ms'
	FROM jobsched.run_stats(since, until, '1 day', 'campaign-job') s
	ORDER BY s.bucket
$$;

-- The same by outcome, of what is in history.
CREATE OR REPLACE FUNCTION campaign.outcomes(since timestamptz, until timestamptz,
	OUT status text, OUT reason text, OUT runs bigint, OUT users bigint, OUT percent numeric, OUT mean interval,
	OUT p50 interval, OUT p95 interval)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = campaign, pg_temp AS $$
	SELECT h.status, h.reason, count(*), count(DISTINCT h.user_id), round(100.0 * count(*) / sum(count(*)) OVER (), 1),
		avg(h.duration), percentile_cont(0.5) WITHIN GROUP (ORDER BY h.duration),
		percentile_cont(0.95) WITHIN GROUP (ORDER BY h.duration)
	FROM history h WHERE h.finished_at >= since AND h.finished_at < until
	GROUP BY h.status, h.reason ORDER BY count(*) DESC, h.status
$$;

-- What jobs of the last week have failed of, most frequent first; the user is one of them.
CREATE OR REPLACE VIEW campaign.error_patterns AS
SELECT e.pattern, e.sqlstate, e.count AS runs, e.first_at, e.last_at, e.example_run_id, j.user_id AS example_user
FROM jobsched.error_patterns('7 days', 'campaign-job') e
	LEFT JOIN campaign.jobs j ON j.run_id = e.example_run_id
ORDER BY e.count DESC;

-- What to look at: what jobsched finds, and what only this application knows of.
CREATE OR REPLACE VIEW campaign.insights AS
SELECT i.severity, i.what AS insight, i.evidence AS detail, i.advice
FROM jobsched.insights() i WHERE i.job_name LIKE 'campaign-%' OR i.job_name IS NULL
UNION ALL
SELECT 'warning', 'users with three failures or more', string_agg(user_id::text, ', ' ORDER BY user_id), 'see campaign.history of each'
FROM (SELECT user_id FROM campaign.history WHERE status IN ('failed', 'timed_out', 'lost') GROUP BY 1 HAVING count(*) >= 3) u
HAVING count(*) > 0
UNION ALL
SELECT 'info', 'jobs that needed more than one attempt', count(*)::text, NULL
FROM campaign.history WHERE status = 'succeeded' AND attempt > 1 HAVING count(*) > 0
UNION ALL
SELECT 'warning', 'jobs that wait for more than five minutes', count(*)::text, 'raise max_running, or look at what runs'
FROM campaign.history WHERE status = 'queued' AND reason NOT IN ('not_due', 'waiting_for_upstream') AND queued_at < now() - interval '5 min' HAVING count(*) > 0;

-- One row, for machines.
CREATE OR REPLACE VIEW campaign.health AS
SELECT CASE WHEN h.failing OR b.missed THEN 'error' WHEN h.warning OR NOT s.processing THEN 'warning' ELSE 'ok' END AS status,
	q.pending, q.processing, q.waiting, t.processing AS accepting, d.workers, d.max_workers, d.runs_1h, d.success_rate_1h, d.p95_ms_1h,
	b.last_beat, concat_ws('; ', h.message, CASE WHEN b.missed THEN 'campaign-watch has not come back' END) AS message
FROM campaign.settings t, campaign.queue q, jobsched.dashboard_summary() d,
	LATERAL (SELECT coalesce(d.processing, false) AS processing) s,
	(SELECT bool_or(c.status = 'error') AS failing, bool_or(c.status = 'warning') AS warning,
		string_agg(c."check" || ': ' || c.message, '; ') FILTER (WHERE c.status <> 'ok') AS message FROM jobsched.health() c) h,
	LATERAL (SELECT max(j.last_finished_at) AS last_beat,
		coalesce(max(j.last_finished_at) < now() - greatest(3 * t.heartbeat, '1 min'), false) AS missed
		FROM jobsched.jobs j WHERE j.name = 'campaign-watch' AND j.owner = current_user) b;

-- Stuck jobs

-- Takes what has been with its worker for longer, also other runs of this role; it is
-- executed again.  Returns how many.
CREATE OR REPLACE FUNCTION campaign.reset_stuck(older_than interval) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp
RETURN jobsched.reset_stuck(older_than);

-- A timeout ends what can be interrupted; this is for the rest.
CREATE OR REPLACE FUNCTION campaign.watch(args jsonb) RETURNS jsonb
LANGUAGE sql SET search_path = campaign, pg_temp AS $$
	SELECT jsonb_build_object('stuck', reset_stuck(stuck_after)) FROM settings
$$;

-- Settings

-- Who is told of what.
CREATE OR REPLACE FUNCTION campaign.apply_alerts(setting campaign.settings) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF setting.slack_url IS NOT NULL THEN
		PERFORM jobsched.set_channel('campaign-slack', 'slack', setting.slack_url);
		PERFORM jobsched.set_alert('campaign-failures', '{campaign-slack}', '{campaign-job}',
			threshold => setting.alert_threshold, within => '10 min', group_for => setting.alert_delay);
		PERFORM jobsched.set_alert('campaign-queue', '{campaign-slack}', '{campaign-job}',
			on_status => '{}', waits_longer_than => '5 min', group_for => setting.alert_delay);
		PERFORM jobsched.mute_alert(a.name, CASE WHEN NOT setting.alerts THEN timestamptz 'infinity' END)
		FROM unnest('{campaign-failures,campaign-queue}'::text[]) AS a(name);
	ELSE
		PERFORM jobsched.drop_alert(a.name)
		FROM (SELECT DISTINCT name FROM jobsched.alerts
			WHERE name IN ('campaign-failures', 'campaign-queue') AND owner = current_user) a;
		PERFORM jobsched.drop_channel(c.name)
		FROM jobsched.channels c WHERE c.name = 'campaign-slack' AND c.owner = current_user;
	END IF;
END $$;

CREATE OR REPLACE FUNCTION campaign.apply_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM jobsched.set_queue('campaigns', max_running => NEW.max_running, paused => NOT NEW.processing);
	PERFORM jobsched.set_limit('user', max_running => NEW.max_running_per_user);
	PERFORM jobsched.alter_job('campaign-job', timeout => NEW.timeout, max_attempts => NEW.max_attempts);
	PERFORM jobsched.alter_job('campaign-watch', schedule => format('every %s seconds', extract(epoch FROM NEW.heartbeat)::integer));
	PERFORM campaign.apply_alerts(NEW);
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_settings AFTER UPDATE ON campaign.settings
FOR EACH ROW EXECUTE FUNCTION campaign.apply_settings();

-- Jobs

SELECT jobsched.create_job(
	name => 'campaign-job',
	handler => 'campaign.run_job',
	queue => 'campaigns',
	keys => ARRAY['user:{{args.user_id}}'],
	retry_on => '{08,40001,40P01,53,55P03,57P01,57P02,57P03,timeout,lost}',
	backoff_base => '5 s',
	description => 'one automation job of a user',
	if_exists => 'update') AS campaign_job;

SELECT jobsched.create_job(
	name => 'campaign-report',
	handler => 'campaign.report',
	description => 'keeps the totals of a campaign',
	if_exists => 'update') AS campaign_report;

SELECT jobsched.create_job(
	name => 'campaign-ping',
	handler => 'campaign.from_outside',
	description => 'lets waiting jobs begin, or adds one',
	if_exists => 'update') AS campaign_ping;

-- Of this one only failures are of interest, and not for long.
SELECT jobsched.create_job(
	name => 'campaign-watch',
	schedule => 'every 10 seconds',
	handler => 'campaign.watch',
	keep => 'failures',
	keep_for => '7 days',
	description => 'takes what hangs from its worker',
	if_exists => 'update') AS campaign_watch;

-- puts the numbers in force
UPDATE campaign.settings SET one = one;

COMMIT;
