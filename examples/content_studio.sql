/*
 * content_studio: which languages a language school's content is kept in.
 *
 *	language-evaluation	1st and 15th, 02:00	in two steps:
 *		evaluation							usage -> which languages are frequent
 *		cleanup			after its success	removes content of the others
 *	preload-frequent	daily at 03:00		translates what frequent languages lack
 *	preload-at-start	server's start		the same
 *	translate-lesson	triggered			one lesson into one language, by HTTP
 *
 * With an address of Slack in content_studio.settings people are told of what fails
 * or does not begin.
 *
 * Plain SQL for any client; safe to run again.  Whoever runs it owns the
 * tables and the jobs and needs USAGE on schema jobsched and EXECUTE on
 * function jobsched.http_request.  All times are UTC.
 */
CREATE EXTENSION IF NOT EXISTS jobsched;

BEGIN;

CREATE SCHEMA IF NOT EXISTS content_studio;

-- Tables

CREATE TABLE IF NOT EXISTS content_studio.languages (
	language text PRIMARY KEY CHECK (language ~ '^[a-z]{2}$'),
	name text NOT NULL,
	-- share of the uses that the last evaluation has counted
	frequency numeric(6,4) NOT NULL DEFAULT 0,
	frequent boolean NOT NULL DEFAULT false,
	evaluated_at timestamptz
);

CREATE TABLE IF NOT EXISTS content_studio.usage (
	usage_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	language text NOT NULL REFERENCES content_studio.languages,
	lesson_id bigint NOT NULL,
	used_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS usage_used_at ON content_studio.usage (used_at, language);

-- In English.
CREATE TABLE IF NOT EXISTS content_studio.lessons (
	lesson_id bigint PRIMARY KEY,
	title text NOT NULL,
	body text NOT NULL
);

CREATE TABLE IF NOT EXISTS content_studio.translations (
	lesson_id bigint REFERENCES content_studio.lessons ON DELETE CASCADE,
	language text REFERENCES content_studio.languages,
	title text NOT NULL,
	body text NOT NULL,
	run_id bigint,
	translated_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (lesson_id, language)
);

-- What a preload has asked for: a row for each request.
CREATE TABLE IF NOT EXISTS content_studio.requests (
	preload_id bigint NOT NULL,
	lesson_id bigint NOT NULL,
	language text NOT NULL,
	run_id bigint NOT NULL UNIQUE,
	status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'done', 'failed')),
	error text,
	requested_at timestamptz NOT NULL DEFAULT now(),
	ended_at timestamptz,
	PRIMARY KEY (preload_id, lesson_id, language)
);
CREATE INDEX IF NOT EXISTS requests_waiting ON content_studio.requests (lesson_id, language) WHERE status = 'waiting';

-- One row.  An UPDATE takes effect at its commit.
CREATE TABLE IF NOT EXISTS content_studio.settings (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	-- false: no job runs by itself, as in development
	enabled boolean NOT NULL DEFAULT true,
	translator_url text NOT NULL DEFAULT 'http://127.0.0.1:8089',
	-- an incoming webhook: 'https://hooks.slack.com/{{secret.slack}}'
	slack_url text,
	-- what happens in this time is one message
	alert_delay interval NOT NULL DEFAULT '30 s',
	-- a language is frequent from this share of all uses on, in so many days
	min_frequency numeric NOT NULL DEFAULT 0.05,
	evaluated_days integer NOT NULL DEFAULT 30,
	-- translations at the same time
	parallel integer NOT NULL DEFAULT 4
);
INSERT INTO content_studio.settings DEFAULT VALUES
ON CONFLICT DO NOTHING;

-- Handlers

-- What a server has sent, if it is JSON.
CREATE OR REPLACE FUNCTION content_studio.json_of(body text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN body::jsonb;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END $$;

-- Counts uses and says which languages are frequent.
CREATE OR REPLACE FUNCTION content_studio.evaluate(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SET search_path = content_studio, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	setting settings;
	to_time timestamptz := coalesce((args->>'as_of')::timestamptz, jobsched.scheduled_for(), now());
	frequent_now text[];
	demoted text[];
	total bigint;
BEGIN
	SELECT * INTO setting FROM settings;
	PERFORM jobsched.log('info', format('Step 1/2: counting uses of %s days', setting.evaluated_days));
	SELECT coalesce(array_agg(l.language ORDER BY l.language), '{}') INTO demoted FROM languages l WHERE l.frequent;

	WITH uses AS (
		SELECT u.language, count(*) AS n
		FROM usage u
		WHERE u.used_at >= to_time - make_interval(days => setting.evaluated_days) AND u.used_at < to_time
		GROUP BY u.language
	), shares AS (
		SELECT l.language, round(coalesce(u.n, 0) / greatest(sum(u.n) OVER (), 1), 4) AS frequency
		FROM languages l LEFT JOIN uses u USING (language)
	), evaluated AS (
		UPDATE languages l
		SET frequency = s.frequency, frequent = s.frequency >= setting.min_frequency, evaluated_at = to_time
		FROM shares s
		WHERE s.language = l.language
		RETURNING l.language, l.frequent
	)
	SELECT count(*), coalesce(array_agg(e.language ORDER BY e.language) FILTER (WHERE e.frequent), '{}')
	INTO total, frequent_now FROM evaluated e;
	SELECT coalesce(array_agg(d ORDER BY d), '{}') INTO demoted FROM unnest(demoted) d WHERE d <> ALL (frequent_now);

	PERFORM jobsched.log('info', format('Step 2/2: %s of %s languages are frequent, %s no longer',
		cardinality(frequent_now), total, cardinality(demoted)));
	RETURN jsonb_build_object('evaluation_date', to_time::date, 'total_languages', total,
		'frequent_languages', frequent_now, 'demoted_languages', demoted);
END $$;

-- Removes what there is in languages that are not frequent, as the step before has
-- found them.
CREATE OR REPLACE FUNCTION content_studio.cleanup(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SET search_path = content_studio, pg_temp AS $$
DECLARE
	cleaned text[];
	lessons bigint;
BEGIN
	PERFORM jobsched.log('info', format('Step 1/2: keeping %s',
		jobsched.step_result('evaluation')->>'frequent_languages'));
	WITH removed AS (
		DELETE FROM translations t USING languages l
		WHERE l.language = t.language AND NOT l.frequent
		RETURNING t.language
	)
	SELECT coalesce(array_agg(DISTINCT r.language ORDER BY r.language), '{}'), count(*) INTO cleaned, lessons FROM removed r;
	PERFORM jobsched.log('info', format('Step 2/2: removed %s lessons', lessons));
	RETURN jsonb_build_object('cleaned_languages', cleaned, 'total_cleaned_lessons', lessons);
END $$;

-- Asks the translator for what frequent languages lack, but for what has been
-- asked for and is not there yet.  The answers come one by one; how far a
-- preload has come is in content_studio.preloads.
CREATE OR REPLACE FUNCTION content_studio.preload(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SET search_path = content_studio, pg_temp AS $$
DECLARE
	missing record;
	requested bigint := 0;
BEGIN
	PERFORM jobsched.log('info', 'Step 1/2: looking for what frequent languages lack');

	-- of those nobody is told
	UPDATE requests r SET status = 'failed', error = 'cancelled', ended_at = u.finished_at
	FROM jobsched.runs u
	WHERE r.status = 'waiting' AND u.run_id = r.run_id AND u.status = 'cancelled';

	FOR missing IN
		SELECT s.*, l.language, count(*) OVER () AS total
		FROM languages l CROSS JOIN lessons s
		WHERE l.frequent AND l.language <> 'en'
			AND NOT EXISTS (SELECT FROM translations t WHERE t.lesson_id = s.lesson_id AND t.language = l.language)
			AND NOT EXISTS (SELECT FROM requests r
				WHERE r.lesson_id = s.lesson_id AND r.language = l.language AND r.status = 'waiting')
		ORDER BY l.language, s.lesson_id
	LOOP
		INSERT INTO requests (preload_id, lesson_id, language, run_id)
		VALUES (jobsched.run_id(), missing.lesson_id, missing.language,
			jobsched.trigger('translate-lesson',
				jsonb_build_object('lesson_id', missing.lesson_id, 'language', missing.language,
					'title', missing.title, 'body', missing.body)));
		requested := requested + 1;
		PERFORM jobsched.progress(requested, missing.total, 'asking for ' || missing.language);
	END LOOP;
	PERFORM jobsched.log('info', format('Step 2/2: asked for %s translations', requested));
	RETURN jsonb_build_object('requested', requested);
END $$;

-- The next preload asks for it again.
CREATE OR REPLACE FUNCTION content_studio.note_failure(response jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = content_studio, pg_temp AS $$
DECLARE
	problem text := coalesce(response->>'error', response->>'status');
BEGIN
	UPDATE requests r SET status = 'failed', error = problem, ended_at = now()
	WHERE r.run_id = (response->>'run_id')::bigint;
	PERFORM jobsched.log('warning', format('lesson %s in %s: %s', response->'args'->>'lesson_id', response->'args'->>'language', problem));
	RETURN NULL;
END $$;

-- What no alert can know of: the request has succeeded, and its answer is no good.
CREATE OR REPLACE FUNCTION content_studio.tell(problem text) RETURNS void
LANGUAGE sql SET search_path = content_studio, pg_temp AS $$
	SELECT jobsched.trigger('channel:studio-slack', jsonb_build_object('subject', 'content_studio', 'text', problem))
	FROM settings WHERE slack_url IS NOT NULL
$$;

-- A translation has come: {"title", "body"}.
CREATE OR REPLACE FUNCTION content_studio.store_translation(response jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = content_studio, pg_temp AS $$
DECLARE
	asked jsonb := response->'args';
	answer jsonb := json_of(response->>'body');
BEGIN
	IF (answer->>'title' IS NULL) OR (answer->>'body' IS NULL) THEN
		PERFORM tell(format('lesson %s in %s: the answer has no title and body', asked->>'lesson_id', asked->>'language'));
		RETURN note_failure(response || '{"error": "the answer has no title and body"}');
	END IF;
	INSERT INTO translations AS t (lesson_id, language, title, body, run_id)
	SELECT l.lesson_id, asked->>'language', answer->>'title', answer->>'body', (response->>'run_id')::bigint
	FROM lessons l
	WHERE l.lesson_id = (asked->>'lesson_id')::bigint
	ON CONFLICT (lesson_id, language) DO UPDATE
		SET title = excluded.title, body = excluded.body, run_id = excluded.run_id, translated_at = now();
	UPDATE requests r SET status = 'done', ended_at = now() WHERE r.run_id = (response->>'run_id')::bigint;
	RETURN NULL;
END $$;

-- Who is told of what: evaluations and preloads that fail, until one succeeds, or do
-- not begin; each translation that fails, many of them in one message.
CREATE OR REPLACE FUNCTION content_studio.apply_alerts(setting content_studio.settings) RETURNS void
LANGUAGE plpgsql SET search_path = content_studio, pg_temp AS $$
BEGIN
	IF setting.slack_url IS NOT NULL THEN
		PERFORM jobsched.set_channel('studio-slack', 'slack', setting.slack_url);
		PERFORM jobsched.set_alert('studio-jobs', '{studio-slack}', '{language-evaluation,preload-*}',
			late => '1 hour', group_for => setting.alert_delay);
		PERFORM jobsched.set_alert('studio-translations', '{studio-slack}', '{translate-lesson}',
			every_failure => true, group_for => setting.alert_delay);
	ELSE
		PERFORM jobsched.drop_alert(a.name)
		FROM (SELECT DISTINCT name FROM jobsched.alerts
			WHERE name IN ('studio-jobs', 'studio-translations') AND owner = current_user) a;
		PERFORM jobsched.drop_channel(c.name)
		FROM jobsched.channels c WHERE c.name = 'studio-slack' AND c.owner = current_user;
	END IF;
END $$;

-- Watching

-- Evaluations: how far each has come, and what its steps have left.
CREATE OR REPLACE VIEW content_studio.evaluations AS
SELECT w.run_id, w.status, w.current_step, w.first_failed_step, w.started_at, w.duration,
	w.result->'evaluation'->'frequent_languages' AS frequent_languages,
	w.result->'cleanup'->'total_cleaned_lessons' AS cleaned_lessons
FROM jobsched.workflows w
WHERE w.owner = current_user AND w.workflow = 'language-evaluation';

-- The jobs: what, when, whether they run.
CREATE OR REPLACE VIEW content_studio.status AS
SELECT j.name, j.schedule, j.timezone, j.enabled AS active, j.last_status, j.last_finished_at, j.next_run_at
FROM jobsched.jobs j
WHERE j.owner = current_user
	AND j.name IN ('language-evaluation', 'preload-frequent', 'preload-at-start', 'translate-lesson');

-- The scheduler: whether there is one (on a standby there is none), what it has to do,
-- and what is wrong with it.
CREATE OR REPLACE VIEW content_studio.scheduler AS
SELECT (SELECT c.value FROM jobsched.health() c WHERE c."check" = 'scheduler') AS scheduler,
	coalesce(d.processing, false) AS processing, d.running, d.ready, d.workers, d.busy_workers, d.runs_24h, d.failures_24h,
	(SELECT string_agg(c."check" || ': ' || c.message, '; ') FROM jobsched.health() c WHERE c.status <> 'ok') AS problems
FROM jobsched.dashboard_summary() d;

-- How far each preload has come.
CREATE OR REPLACE VIEW content_studio.preloads AS
SELECT r.preload_id, min(r.requested_at) AS requested_at, count(*) AS total,
	count(*) FILTER (WHERE r.status = 'done') AS done,
	count(*) FILTER (WHERE r.status = 'failed') AS failed,
	round(100.0 * count(*) FILTER (WHERE r.status <> 'waiting') / count(*), 1) AS percent,
	CASE WHEN count(*) FILTER (WHERE r.status = 'waiting') = 0 THEN max(r.ended_at) - min(r.requested_at) END AS took
FROM content_studio.requests r
GROUP BY r.preload_id;

CREATE OR REPLACE VIEW content_studio.metrics AS
SELECT (SELECT count(*) FROM content_studio.languages l WHERE l.frequent) AS frequent_languages,
	(SELECT count(*) FROM content_studio.translations) AS translations,
	count(*) FILTER (WHERE r.status = 'waiting') AS waiting,
	count(*) FILTER (WHERE r.status = 'failed' AND r.ended_at > now() - interval '1 day') AS failed_today,
	percentile_cont(0.95) WITHIN GROUP (ORDER BY r.ended_at - r.requested_at) AS p95,
	-- of the translator alone, as jobsched has counted
	(SELECT s.success_rate FROM jobsched.job_stats s
		WHERE s.job_name = 'translate-lesson' AND s.owner = current_user AND s.period = '1 day') AS success_rate,
	(SELECT s.p95_ms FROM jobsched.job_stats s
		WHERE s.job_name = 'translate-lesson' AND s.owner = current_user AND s.period = '1 day') AS translator_p95_ms
FROM content_studio.requests r;

-- Sample rows: five languages, of which one was frequent and is hardly used any
-- more; six lessons.

INSERT INTO content_studio.languages (language, name, frequent)
VALUES ('en', 'English', true), ('de', 'German', false), ('fr', 'French', false), ('it', 'Italian', true), ('eo', 'Esperanto', false)
ON CONFLICT DO NOTHING;

INSERT INTO content_studio.lessons (lesson_id, title, body)
SELECT n, 'Lesson ' || n, format('Words and sentences of lesson %s.', n) FROM generate_series(1, 6) AS n
ON CONFLICT DO NOTHING;

INSERT INTO content_studio.translations (lesson_id, language, title, body)
SELECT n, 'it', 'Lezione ' || n, format('Parole e frasi della lezione %s.', n) FROM generate_series(1, 4) AS n
WHERE NOT EXISTS (SELECT FROM content_studio.usage)
ON CONFLICT DO NOTHING;

INSERT INTO content_studio.usage (language, lesson_id, used_at)
SELECT u.language, 1 + n % 6, date_trunc('hour', now()) - n * interval '1 hour'
FROM (VALUES ('en', 200), ('de', 120), ('fr', 60), ('it', 10), ('eo', 10)) AS u(language, uses)
	CROSS JOIN LATERAL generate_series(1, u.uses) AS n
WHERE NOT EXISTS (SELECT FROM content_studio.usage);

-- Jobs

CREATE OR REPLACE FUNCTION content_studio.apply_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path = content_studio, pg_temp AS $$
BEGIN
	PERFORM jobsched.create_job(
		name => 'translate-lesson',
		url => NEW.translator_url || '/translate/{{args.language}}',
		body => '{"from": "en", "to": "{{args.language}}", "title": "{{args.title}}", "body": "{{args.body}}"}',
		max_concurrency => NEW.parallel,
		backoff_base => '2 s',
		on_success => 'content_studio.store_translation',
		on_failure => 'content_studio.note_failure',
		description => 'translates one lesson into one language',
		if_exists => 'update');
	PERFORM apply_alerts(NEW);
	PERFORM jobsched.alter_job(s.name, enabled => NEW.enabled)
	FROM status s
	WHERE s.schedule IS NOT NULL AND s.active <> NEW.enabled;
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_settings AFTER UPDATE ON content_studio.settings
FOR EACH ROW EXECUTE FUNCTION content_studio.apply_settings();

SELECT jobsched.create_job(
	name => 'language-evaluation',
	schedule => '0 2 1,15 * *',
	timezone => 'UTC',
	steps => '[
		{"name": "evaluation", "handler": "content_studio.evaluate", "max_attempts": 3,
		 "description": "says which languages are frequent"},
		{"name": "cleanup", "handler": "content_studio.cleanup",
		 "description": "removes content of languages that are not"}]',
	description => 'says which languages are frequent, and removes content of the others',
	if_exists => 'update') AS language_evaluation;

SELECT jobsched.create_job(
	name => 'preload-frequent',
	schedule => '0 3 * * *',
	timezone => 'UTC',
	handler => 'content_studio.preload',
	description => 'translates what frequent languages lack',
	if_exists => 'update') AS preload_frequent;

SELECT jobsched.create_job(
	name => 'preload-at-start',
	schedule => '@startup',
	handler => 'content_studio.preload',
	description => 'the same when the server starts',
	if_exists => 'update') AS preload_at_start;

-- puts the addresses and the switch in force
UPDATE content_studio.settings SET one = one;

COMMIT;
