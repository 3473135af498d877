/*
 * click_guard: find click fraud in an advertising network's click stream.
 *
 *	ingest-clicks		every 6 hours	raw_clicks -> clicks, sources
 *	calculate-baseline	daily at 02:00	clicks -> baselines, baseline_hours
 *	run-detection		every hour		last hour against baseline -> anomalies
 *	fetch-clicks		every 6 hours	HTTP feed -> raw_clicks, if there is a feed
 *
 * Plain SQL for any client; safe to run again.  Whoever runs it owns the
 * tables and the jobs and needs USAGE on schema jobsched; with a feed, or to tell
 * people of failures, also EXECUTE on function jobsched.http_request.  All times are
 * UTC.
 */
CREATE EXTENSION IF NOT EXISTS jobsched;

BEGIN;

CREATE SCHEMA IF NOT EXISTS click_guard;

-- Tables

-- What the network delivers, as it comes: repeated, misspelt, late.
CREATE TABLE IF NOT EXISTS click_guard.raw_clicks (
	raw_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	event_id text NOT NULL,
	source text NOT NULL,
	campaign text NOT NULL,
	occurred_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS raw_clicks_occurred_at ON click_guard.raw_clicks (occurred_at);

-- Where the network delivers by HTTP, and how far that has been read.  One row;
-- UPDATE ... SET base_url = 'https://...' makes job fetch-clicks, NULL drops it.
CREATE TABLE IF NOT EXISTS click_guard.feed (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	base_url text,
	position text NOT NULL DEFAULT '',
	fetched_at timestamptz,
	error text
);
INSERT INTO click_guard.feed DEFAULT VALUES
ON CONFLICT DO NOTHING;

-- Who is told by Slack when a job fails, does not begin, or has not succeeded for two
-- days.  One row; without an address nobody is.
CREATE TABLE IF NOT EXISTS click_guard.watch (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	-- an incoming webhook: 'https://hooks.slack.com/{{secret.slack}}'
	slack_url text,
	-- what happens in this time is one message
	alert_delay interval NOT NULL DEFAULT '30 s'
);
INSERT INTO click_guard.watch DEFAULT VALUES
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS click_guard.sources (
	source_key text PRIMARY KEY,
	first_seen timestamptz NOT NULL,
	last_seen timestamptz NOT NULL,
	CHECK (first_seen <= last_seen)
);

CREATE TABLE IF NOT EXISTS click_guard.clicks (
	event_id text PRIMARY KEY,
	source_key text NOT NULL REFERENCES click_guard.sources,
	campaign text NOT NULL,
	occurred_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS clicks_occurred_at ON click_guard.clicks (occurred_at);
CREATE INDEX IF NOT EXISTS clicks_source ON click_guard.clicks (source_key, occurred_at);

-- Clicks whose source cannot be told, kept for whoever talks to the network.
CREATE TABLE IF NOT EXISTS click_guard.rejected_clicks (
	event_id text PRIMARY KEY,
	source text NOT NULL,
	campaign text NOT NULL,
	occurred_at timestamptz NOT NULL
);

-- Clicks per hour of a source, hours without a click included.
CREATE TABLE IF NOT EXISTS click_guard.baselines (
	source_key text PRIMARY KEY REFERENCES click_guard.sources,
	window_start timestamptz NOT NULL,
	window_end timestamptz NOT NULL,
	hours integer NOT NULL,
	clicks bigint NOT NULL,
	mean numeric(12,4) NOT NULL,
	stddev numeric(12,4) NOT NULL,
	calculated_at timestamptz NOT NULL
);

-- The same for each hour of the day.
CREATE TABLE IF NOT EXISTS click_guard.baseline_hours (
	source_key text REFERENCES click_guard.baselines ON DELETE CASCADE,
	hour smallint CHECK (hour BETWEEN 0 AND 23),
	days integer NOT NULL,
	mean numeric(12,4) NOT NULL,
	stddev numeric(12,4) NOT NULL,
	PRIMARY KEY (source_key, hour)
);

CREATE TABLE IF NOT EXISTS click_guard.anomalies (
	source_key text REFERENCES click_guard.sources,
	hour_start timestamptz,
	kind text GENERATED ALWAYS AS (CASE WHEN score > 0 THEN 'spike' ELSE 'drop' END) STORED,
	clicks bigint NOT NULL,
	expected numeric(12,4) NOT NULL,
	score numeric(10,2) NOT NULL,
	detected_at timestamptz NOT NULL,
	PRIMARY KEY (source_key, hour_start)
);
CREATE INDEX IF NOT EXISTS anomalies_hour ON click_guard.anomalies (hour_start);

-- Utilities

-- The host or application that a click came from, in one spelling: without
-- scheme, credentials, port, path and the prefixes that sites use for the
-- same pages.  NULL if there is no such thing in the text.
CREATE OR REPLACE FUNCTION click_guard.source_key(source text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN substring(lower(btrim(source)) FROM
	'^(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?(?:(?:www[0-9]?|m|amp)\.)?'
	'([a-z0-9_-]+(?:\.[a-z0-9_-]+)+)\.?(?::[0-9]*)?(?:[/?#]|$)');

-- The time that a run is about: asked for, or its slot, or now.
CREATE OR REPLACE FUNCTION click_guard.as_of(args jsonb) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce((args->>'as_of')::timestamptz, jobsched.scheduled_for(), now()) $$;

-- Everything that is known to have been clicked.  The network delivers all
-- the time and ingestion comes every few hours, so the last hour is mostly
-- still in raw_clicks.
CREATE OR REPLACE VIEW click_guard.all_clicks AS
SELECT event_id, source_key, occurred_at FROM click_guard.clicks
UNION
SELECT event_id, click_guard.source_key(source), occurred_at FROM click_guard.raw_clicks
WHERE click_guard.source_key(source) IS NOT NULL;

-- Handlers

-- Moves what was delivered into clicks, each event once.
CREATE OR REPLACE FUNCTION click_guard.ingest_clicks(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SET search_path = click_guard, pg_temp AS $$
DECLARE
	staged bigint;
	ingested bigint;
	rejected bigint;
	seen_sources bigint;
BEGIN
	WITH taken AS (
		DELETE FROM raw_clicks RETURNING *
	), keyed AS (
		SELECT DISTINCT ON (event_id) event_id, source, source_key(source), campaign, occurred_at
		FROM taken
		ORDER BY event_id, raw_id
	), seen AS (
		INSERT INTO sources AS s (source_key, first_seen, last_seen)
		SELECT k.source_key, min(k.occurred_at), max(k.occurred_at)
		FROM keyed k
		WHERE k.source_key IS NOT NULL
		GROUP BY k.source_key
		ORDER BY k.source_key
		ON CONFLICT (source_key) DO UPDATE
			SET first_seen = least(s.first_seen, excluded.first_seen),
				last_seen = greatest(s.last_seen, excluded.last_seen)
		RETURNING 1
	), kept AS (
		INSERT INTO clicks (event_id, source_key, campaign, occurred_at)
		SELECT k.event_id, k.source_key, k.campaign, k.occurred_at
		FROM keyed k
		WHERE k.source_key IS NOT NULL
		ORDER BY k.event_id
		ON CONFLICT (event_id) DO NOTHING
		RETURNING 1
	), refused AS (
		INSERT INTO rejected_clicks (event_id, source, campaign, occurred_at)
		SELECT k.event_id, k.source, k.campaign, k.occurred_at
		FROM keyed k
		WHERE k.source_key IS NULL
		ORDER BY k.event_id
		ON CONFLICT (event_id) DO NOTHING
		RETURNING 1
	)
	SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM kept),
		(SELECT count(*) FROM refused), (SELECT count(*) FROM seen)
	INTO staged, ingested, rejected, seen_sources;

	IF rejected > 0 THEN
		PERFORM jobsched.log('warning', format('%s clicks without a usable source', rejected));
	END IF;
	RETURN jsonb_build_object('staged', staged, 'ingested', ingested, 'rejected', rejected,
		'duplicates', staged - ingested - rejected, 'sources', seen_sources);
END $$;

-- What a server has sent, if it is JSON.
CREATE OR REPLACE FUNCTION click_guard.json_of(body text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN body::jsonb;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END $$;

-- The feed did not answer, in spite of all attempts.  The next run asks for the
-- same page.
CREATE OR REPLACE FUNCTION click_guard.note_failure(response jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = click_guard, pg_temp AS $$
DECLARE
	problem text := coalesce(response->>'error', response->>'status');
BEGIN
	UPDATE feed SET error = problem;
	PERFORM jobsched.log('warning', format('run %s: %s', response->>'run_id', problem));
	RETURN NULL;
END $$;

-- A page of the feed has come: {"clicks": [{"event_id", "source", "campaign",
-- "occurred_at"}], "next": where the next page begins, "more": whether it is
-- there already}.  The page, and that it has been read, are committed together;
-- a page that is delivered twice does no harm, for ingest_clicks() takes each
-- event once.
CREATE OR REPLACE FUNCTION click_guard.store_page(response jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = click_guard, pg_temp AS $$
DECLARE
	page jsonb := json_of(response->>'body');
	next_page jsonb := jsonb_build_object('after', page->>'next');
	stored bigint;
BEGIN
	IF page->'clicks' IS NULL OR page->>'next' IS NULL THEN
		RETURN note_failure(response || '{"error": "the answer is no page of clicks"}');
	ELSIF (page->>'more')::boolean AND page->>'next' = response->'args'->>'after' THEN
		RETURN note_failure(response || '{"error": "the page leads to itself"}');
	END IF;
	INSERT INTO raw_clicks (event_id, source, campaign, occurred_at)
	SELECT c.event_id, c.source, c.campaign, c.occurred_at
	FROM jsonb_to_recordset(page->'clicks') AS c(event_id text, source text, campaign text, occurred_at timestamptz);
	GET DIAGNOSTICS stored = ROW_COUNT;

	UPDATE feed SET position = page->>'next', fetched_at = now(), error = NULL;
	PERFORM jobsched.alter_job('fetch-clicks', args => next_page);
	IF (page->>'more')::boolean THEN
		PERFORM jobsched.trigger('fetch-clicks', next_page);
	ELSE
		PERFORM jobsched.trigger('ingest-clicks');
	END IF;
	RETURN jsonb_build_object('stored', stored, 'next', page->>'next');
END $$;

-- Mean, standard deviation and hourly profile of every source, over the last
-- complete days (args: days, default 30).  A source that is younger than that
-- is measured since its first click.
CREATE OR REPLACE FUNCTION click_guard.calculate_baseline(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SET search_path = click_guard, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	days integer := coalesce((args->>'days')::integer, 30);
	to_time timestamptz := date_trunc('day', as_of(args));
	from_time timestamptz := to_time - make_interval(days => days);
	calculated bigint;
	counted bigint;
	removed bigint;
BEGIN
	IF days < 2 THEN
		RAISE EXCEPTION 'a baseline needs at least 2 days, not %', days
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	PERFORM jobsched.progress(0, 2, 'removing baselines of silent sources');
	DELETE FROM baselines b USING sources s
	WHERE s.source_key = b.source_key
		AND (s.last_seen < from_time OR s.first_seen >= to_time);
	GET DIAGNOSTICS removed = ROW_COUNT;

	PERFORM jobsched.progress(1, 2, 'counting clicks by hour');
	WITH hourly AS (
		SELECT c.source_key, date_trunc('hour', c.occurred_at) AS hour_start, count(*) AS clicks
		FROM clicks c
		WHERE c.occurred_at >= from_time AND c.occurred_at < to_time
		GROUP BY c.source_key, date_trunc('hour', c.occurred_at)
	), counts AS (
		SELECT s.source_key, h.hour_start, coalesce(c.clicks, 0) AS clicks
		FROM sources s
			CROSS JOIN LATERAL generate_series(greatest(date_trunc('hour', s.first_seen), from_time),
				to_time - interval '1 hour', interval '1 hour') AS h(hour_start)
			LEFT JOIN hourly c ON c.source_key = s.source_key AND c.hour_start = h.hour_start
		WHERE s.last_seen >= from_time AND s.first_seen < to_time
	), stats AS (
		SELECT c.source_key, extract(hour FROM c.hour_start)::smallint AS hour,
			count(*) AS hours, sum(c.clicks) AS clicks,
			avg(c.clicks) AS mean, coalesce(stddev_samp(c.clicks), 0) AS stddev
		FROM counts c
		GROUP BY GROUPING SETS ((c.source_key), (c.source_key, extract(hour FROM c.hour_start)::smallint))
	), overall AS (
		INSERT INTO baselines AS b (source_key, window_start, window_end, hours, clicks, mean, stddev, calculated_at)
		SELECT t.source_key, from_time, to_time, t.hours, t.clicks, t.mean, t.stddev, now()
		FROM stats t
		WHERE t.hour IS NULL
		ORDER BY t.source_key
		ON CONFLICT (source_key) DO UPDATE
			SET window_start = excluded.window_start, window_end = excluded.window_end,
				hours = excluded.hours, clicks = excluded.clicks,
				mean = excluded.mean, stddev = excluded.stddev, calculated_at = excluded.calculated_at
		RETURNING b.clicks
	), profile AS (
		INSERT INTO baseline_hours (source_key, hour, days, mean, stddev)
		SELECT t.source_key, t.hour, t.hours, t.mean, t.stddev
		FROM stats t
		WHERE t.hour IS NOT NULL
		ORDER BY t.source_key, t.hour
		ON CONFLICT (source_key, hour) DO UPDATE
			SET days = excluded.days, mean = excluded.mean, stddev = excluded.stddev
	)
	SELECT count(*), coalesce(sum(o.clicks), 0) INTO calculated, counted FROM overall o;

	RETURN jsonb_build_object('from', from_time, 'to', to_time, 'sources', calculated,
		'clicks', counted, 'removed', removed);
END $$;

-- Compares the last complete hours (args: hours, default 1) to the baseline
-- and keeps those whose distance from the mean of that hour of the day, in
-- standard deviations, reaches the threshold (default 3).  A source known for
-- less than min_days (default 7) is held against its overall mean.  Counts
-- scatter by the square root of their mean even where the past happened to be
-- smooth, so that is the least deviation assumed.  Looking at an hour again
-- replaces the earlier verdict.
CREATE OR REPLACE FUNCTION click_guard.run_detection(args jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql SET search_path = click_guard, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	threshold numeric := coalesce((args->>'threshold')::numeric, 3);
	min_days integer := coalesce((args->>'min_days')::integer, 7);
	to_time timestamptz := date_trunc('hour', as_of(args));
	from_time timestamptz := to_time - make_interval(hours => coalesce((args->>'hours')::integer, 1));
	compared bigint;
	found_anomalies bigint;
	unknown_sources bigint;
BEGIN
	IF threshold <= 0 OR from_time >= to_time THEN
		RAISE EXCEPTION 'threshold and hours must be greater than zero'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	DELETE FROM anomalies a WHERE a.hour_start >= from_time AND a.hour_start < to_time;

	WITH observed AS MATERIALIZED (
		SELECT c.source_key, date_trunc('hour', c.occurred_at) AS hour_start, count(*) AS clicks
		FROM all_clicks c
		WHERE c.occurred_at >= from_time AND c.occurred_at < to_time
		GROUP BY c.source_key, date_trunc('hour', c.occurred_at)
	), expected AS (
		SELECT b.source_key, h.hour_start,
			CASE WHEN p.days >= min_days THEN p.mean ELSE b.mean END AS mean,
			CASE WHEN p.days >= min_days THEN p.stddev ELSE b.stddev END AS stddev
		FROM generate_series(from_time, to_time - interval '1 hour', interval '1 hour') AS h(hour_start)
			CROSS JOIN baselines b
			LEFT JOIN baseline_hours p ON p.source_key = b.source_key AND p.hour = extract(hour FROM h.hour_start)
	), scored AS (
		SELECT e.source_key, e.hour_start, coalesce(o.clicks, 0) AS clicks, e.mean,
			(coalesce(o.clicks, 0) - e.mean) / greatest(e.stddev, sqrt(e.mean), 1) AS score
		FROM expected e
			LEFT JOIN observed o ON o.source_key = e.source_key AND o.hour_start = e.hour_start
	), found AS (
		INSERT INTO anomalies (source_key, hour_start, clicks, expected, score, detected_at)
		SELECT s.source_key, s.hour_start, s.clicks, s.mean, s.score, now()
		FROM scored s
		WHERE abs(s.score) >= threshold
		ORDER BY s.source_key, s.hour_start
		ON CONFLICT (source_key, hour_start) DO UPDATE
			SET clicks = excluded.clicks, expected = excluded.expected,
				score = excluded.score, detected_at = excluded.detected_at
		RETURNING 1
	)
	SELECT (SELECT count(DISTINCT s.source_key) FROM scored s),
		(SELECT count(*) FROM found),
		(SELECT count(DISTINCT o.source_key) FROM observed o
			WHERE NOT EXISTS (SELECT FROM baselines b WHERE b.source_key = o.source_key))
	INTO compared, found_anomalies, unknown_sources;

	PERFORM jobsched.log('warning', format('%s of %s: %s clicks from %s, expected %s (score %s)',
		a.kind, to_char(a.hour_start, 'YYYY-MM-DD HH24:MI'), a.clicks, a.source_key,
		round(a.expected, 1), a.score))
	FROM anomalies a
	WHERE a.hour_start >= from_time AND a.hour_start < to_time
	ORDER BY a.source_key, a.hour_start;

	RETURN jsonb_build_object('from', from_time, 'to', to_time, 'sources', compared,
		'anomalies', found_anomalies, 'without_baseline', unknown_sources);
END $$;

-- Watching

-- The jobs, with the times of day of each one's next runs: "00:00, 06:00, 12:00, 18:00".
CREATE OR REPLACE VIEW click_guard.schedule AS
SELECT j.name, j.schedule, j.timezone, j.state, j.last_status, j.last_finished_at, j.next_run_at,
	(SELECT string_agg(to_char(n AT TIME ZONE j.timezone, 'HH24:MI'), ', ' ORDER BY n)
		FROM unnest(u.next_runs) WITH ORDINALITY AS x(n, nr) WHERE nr <= 4) AS next_runs
FROM jobsched.jobs j
	LEFT JOIN jobsched.upcoming u ON u.job_id = j.job_id AND u.source = 'schedule'
WHERE j.owner = current_user AND (j.name IN ('calculate-baseline', 'run-detection') OR j.name LIKE '%-clicks');

-- What has run, newest first; the metadata are the counts that the handlers return.
CREATE OR REPLACE VIEW click_guard.run_log AS
SELECT r.run_id, r.job_name, r.status, r.result AS metadata, r.error, r.source, r.started_at, r.finished_at, r.duration,
	(SELECT jsonb_agg(l.message ORDER BY l.seq) FROM jobsched.run_logs l WHERE l.run_id = r.run_id) AS messages
FROM jobsched.runs r
WHERE r.owner = current_user AND (r.job_name IN ('calculate-baseline', 'run-detection') OR r.job_name LIKE '%-clicks')
ORDER BY r.run_id DESC;

-- Sample rows

-- Deliveries of 30 complete days and of today up to a time.  Three sources
-- with a daily rhythm and some scatter: in the last hour one is flooded and
-- one falls silent.  Every 40th click is delivered twice and every 97th names
-- no source.
CREATE OR REPLACE FUNCTION click_guard.load_sample(until_time timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = click_guard, pg_temp SET timezone = 'UTC' AS $$
DECLARE
	last_hour timestamptz := date_trunc('hour', until_time) - interval '1 hour';
	first_hour timestamptz := date_trunc('day', until_time) - interval '30 days';
	loaded bigint;
BEGIN
	WITH planned AS (
		SELECT s.host, s.spellings, h.hour_start, (h.nr - 1) * 101 AS first_nr,
			CASE WHEN h.hour_start = last_hour THEN s.in_last_hour
				ELSE s.base + extract(hour FROM h.hour_start)::integer / 6 * s.swing + (h.nr * 7 % 5)::integer END AS clicks
		FROM (VALUES
				('news.example.com', ARRAY['https://www.News.example.com/today?id=7', 'news.example.com', 'HTTP://news.example.com:80/'], 9, 2, 14),
				('deals.example.net', ARRAY['//m.deals.example.net/offer#top', ' Deals.Example.NET. ', 'https://deals.example.net'], 4, 1, 75),
				('com.example.puzzle', ARRAY['android-app://com.example.puzzle/', 'com.example.Puzzle', 'com.example.puzzle'], 14, 1, 0)
			) AS s(host, spellings, base, swing, in_last_hour)
			CROSS JOIN generate_series(first_hour, last_hour, interval '1 hour') WITH ORDINALITY AS h(hour_start, nr)
	), click AS (
		SELECT p.host || '/' || n AS event_id,
			CASE WHEN n % 97 = 0 THEN '(not set)' ELSE p.spellings[1 + n % 3] END AS source,
			'spring-' || 1 + n % 2 AS campaign,
			p.hour_start + make_interval(secs => i * 3600.0 / p.clicks) AS occurred_at,
			n
		FROM planned p
			CROSS JOIN LATERAL generate_series(0, p.clicks - 1) AS i
			CROSS JOIN LATERAL (SELECT p.first_nr + i) AS x(n)
	)
	INSERT INTO raw_clicks (event_id, source, campaign, occurred_at)
	SELECT c.event_id, c.source, c.campaign, c.occurred_at
	FROM click c
		CROSS JOIN LATERAL generate_series(1, CASE WHEN c.n % 40 = 0 THEN 2 ELSE 1 END)
	ORDER BY c.occurred_at, c.event_id;
	GET DIAGNOSTICS loaded = ROW_COUNT;
	RETURN loaded;
END $$;

SELECT click_guard.load_sample(now()) AS raw_clicks
WHERE NOT EXISTS (SELECT FROM click_guard.all_clicks);

-- Jobs

SELECT jobsched.create_job(
	name => 'ingest-clicks',
	schedule => '0 */6 * * *',
	timezone => 'UTC',
	handler => 'click_guard.ingest_clicks',
	description => 'moves delivered clicks into clicks',
	if_exists => 'update') AS ingest_clicks;

SELECT jobsched.create_job(
	name => 'calculate-baseline',
	schedule => '0 2 * * *',
	timezone => 'UTC',
	handler => 'click_guard.calculate_baseline',
	args => '{"days": 30}',
	description => 'mean, standard deviation and hourly profile of each source',
	if_exists => 'update') AS calculate_baseline;

SELECT jobsched.create_job(
	name => 'run-detection',
	schedule => '0 * * * *',
	timezone => 'UTC',
	handler => 'click_guard.run_detection',
	args => '{"hours": 1, "threshold": 3}',
	description => 'compares the last hour to the baseline',
	if_exists => 'update') AS run_detection;

CREATE OR REPLACE FUNCTION click_guard.apply_feed() RETURNS trigger
LANGUAGE plpgsql SET search_path = click_guard, pg_temp AS $$
BEGIN
	IF NEW.base_url IS NOT NULL THEN
		PERFORM jobsched.create_job(
			name => 'fetch-clicks',
			schedule => '30 5/6 * * *',
			timezone => 'UTC',
			method => 'GET',
			url => NEW.base_url || '/clicks?after={{args.after}}',
			args => jsonb_build_object('after', NEW.position),
			on_success => 'click_guard.store_page',
			on_failure => 'click_guard.note_failure',
			description => 'fetches clicks from the feed',
			if_exists => 'update');
	ELSIF EXISTS (SELECT FROM jobsched.jobs j WHERE j.name = 'fetch-clicks' AND j.owner = current_user) THEN
		PERFORM jobsched.drop_job('fetch-clicks');
	END IF;
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_feed AFTER UPDATE OF base_url ON click_guard.feed
FOR EACH ROW EXECUTE FUNCTION click_guard.apply_feed();

-- puts the job in force
UPDATE click_guard.feed SET base_url = base_url WHERE base_url IS NOT NULL;

-- Alerts

CREATE OR REPLACE FUNCTION click_guard.apply_watch() RETURNS trigger
LANGUAGE plpgsql SET search_path = click_guard, pg_temp AS $$
BEGIN
	IF NEW.slack_url IS NOT NULL THEN
		PERFORM jobsched.set_channel('click-slack', 'slack', NEW.slack_url);
		PERFORM jobsched.set_alert('click-jobs', '{click-slack}', '{*-clicks,calculate-baseline,run-detection}',
			late => '10 min', no_success_for => '2 days', group_for => NEW.alert_delay);
	ELSE
		PERFORM jobsched.drop_alert(a.name)
		FROM (SELECT DISTINCT name FROM jobsched.alerts WHERE name = 'click-jobs' AND owner = current_user) a;
		PERFORM jobsched.drop_channel(c.name)
		FROM jobsched.channels c WHERE c.name = 'click-slack' AND c.owner = current_user;
	END IF;
	RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER apply_watch AFTER UPDATE ON click_guard.watch
FOR EACH ROW EXECUTE FUNCTION click_guard.apply_watch();

-- puts the alerts in force
UPDATE click_guard.watch SET one = one WHERE slack_url IS NOT NULL;

COMMIT;
