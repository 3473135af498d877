-- What the page is shown: jobs of every kind, runs in every state, and all that is
-- around them, of role shop; role watcher sees it and may do nothing with it. To be run
-- as a superuser with psql; :url is a server that answers as test/t/HttpServers.pm says.
-- shop.staged() tells whether it is all there.

CREATE ROLE shop LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA jobsched TO shop, watcher;
GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO shop;
-- The owner of the database may stop all jobs.
SELECT format('ALTER DATABASE %I OWNER TO shop', current_database()) \gexec
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;

-- --- what jobs do -------------------------------------------------------------

CREATE FUNCTION shop.work(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.log('info', 'reading ' || coalesce(args->>'items', '20') || ' items');
	IF args ? 'error' THEN
		RAISE EXCEPTION 'item % not found in warehouse "%"', args->>'item', args->>'error'
			USING HINT = 'Is the warehouse open?', DETAIL = 'It was asked 3 times.', ERRCODE = 'P0002';
	END IF;
	PERFORM jobsched.log('warning', 'a price is missing');
	RETURN jsonb_build_object('checked', 20, 'notified', 3, 'total', 12345678901234567890);
END $$;
-- Stays half done until it is cancelled.
CREATE FUNCTION shop.report(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM jobsched.progress(7, 20, 'page 7 of 20');
	PERFORM pg_sleep(3600);
END $$;
CREATE PROCEDURE shop.lose() LANGUAGE plpgsql AS $$
BEGIN
	COMMIT;
	PERFORM pg_terminate_backend(pg_backend_pid());
END $$;
CREATE PROCEDURE shop.subscription(args jsonb, INOUT result jsonb) LANGUAGE plpgsql AS $$
DECLARE
	paid jsonb;
BEGIN
	CALL jobsched.step('charge', 'shop.work', args, paid);
	CALL jobsched.sleep('a month', '30 days');
	result := paid;
END $$;

-- --- jobs ---------------------------------------------------------------------

SELECT jobsched.create_job('prices', '*/2 * * * * *', handler => 'shop.work', description => 'Reads the prices of all shops', metadata => '{"team": "shop"}');
SELECT jobsched.create_job('reports', '0 6 * * MON-FRI', timezone => 'Europe/Berlin', handler => 'shop.report', queue => 'slow', timeout => '2 hours');
SELECT jobsched.create_job('import', handler => 'shop.work', keys => '{user:$args.user}', description => 'What a user sends us', max_attempts => 3);
SELECT jobsched.create_job('mails', '0 * * * *', handler => 'shop.work', args => '{"error": "north", "item": 7}', max_attempts => 1);
SELECT jobsched.create_job('stubborn', handler => 'shop.work', args => '{"error": "south", "item": 8}', max_attempts => 5, retry_on => '{P0002}', backoff_base => '1 hour');
SELECT jobsched.create_job('cleanup', '0 3 * * *', command => 'DELETE FROM pg_temp.nothing WHERE false');
SELECT jobsched.create_job('too long', command => 'SELECT pg_sleep(3600)', timeout => '50 ms', max_attempts => 1);
SELECT jobsched.create_job('lost one', command => 'CALL shop.lose()', max_attempts => 1);
SELECT jobsched.create_job('count', command => 'SELECT g FROM generate_series(1, 5) g');
SELECT jobsched.create_job('each second', '* * * * * *', command => 'SELECT 1', misfire => 'skip', misfire_grace => '1 second', enabled => false);
SELECT jobsched.create_job('after import', command => 'SELECT 1', after => '{import}');
SELECT jobsched.create_job('<b>odd</b> & "name"/1?', command => $$SELECT '<script>alert(1)</script>'::int$$, max_attempts => 1, description => '<img src=x onerror=alert(1)>');
SELECT jobsched.create_job('subscription', handler => 'shop.subscription');
SELECT jobsched.create_job('ping', '0 * * * *', url => :'url' || '/text/pong', method => 'GET');
SELECT jobsched.create_job('order hook', url => :'url' || '/echo', body => '"{{args}}"');
SELECT jobsched.create_job('unwell', url => :'url' || '/status/503', method => 'GET', max_attempts => 1);
SELECT jobsched.create_job('order', '0 5 * * *', steps => '[
	{"name": "reserve", "handler": "shop.work"},
	{"name": "charge", "handler": "shop.work", "after": ["reserve"]},
	{"name": "pack", "handler": "shop.work", "after": ["reserve"]},
	{"name": "each", "for_each": "SELECT to_jsonb(g) FROM generate_series(1, 8) g", "command": "SELECT 1", "after": ["charge"]},
	{"name": "ship", "command": "SELECT 1", "after": ["pack", "each"]},
	{"name": "apology", "command": "SELECT 1", "after": ["charge"], "when": "failure"}]');
SELECT jobsched.create_job('refund', steps => '[
	{"name": "look", "command": "SELECT 1"},
	{"name": "pay", "handler": "shop.work", "args": {"error": "bank", "item": 9}, "after": ["look"]},
	{"name": "tell", "command": "SELECT 1", "after": ["pay"]}]');
SELECT jobsched.create_job('approval', steps => '[
	{"name": "ask", "command": "SELECT 1"},
	{"name": "decide", "command": "SELECT 1", "after": ["ask"], "wait_for": ["approved"]},
	{"name": "note", "command": "SELECT 1", "after": ["decide"]}]');

-- --- around them --------------------------------------------------------------

SELECT jobsched.pause_job('cleanup', 'the table is being moved');
SELECT jobsched.set_queue('slow', max_running => 1);
SELECT jobsched.set_queue('closed', paused => true);
SELECT jobsched.set_limit('user', max_running => 2, rate => 1000, per => '1 minute');
SELECT jobsched.set_secret('slack', 'T000/B000/XXXX');
SELECT jobsched.set_secret('signing', 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD');
SELECT jobsched.create_hook('github', 'import', verify => 'github', secret => 'signing');
SELECT jobsched.create_hook('approve', event => 'approved');
SELECT jobsched.set_channel('ops', 'notify');
SELECT jobsched.set_channel('slack', 'slack', :'url' || '/slack');
SELECT jobsched.set_alert('failures', '{ops}', '{mails,stubborn}', group_for => '0 s');
SELECT jobsched.set_alert('slow ones', '{slack}', '{prices}', runs_longer_than => '10 s');

-- --- runs ---------------------------------------------------------------------

SELECT jobsched.trigger_batch('import', ARRAY(SELECT jsonb_build_object('user', g % 3, 'items', g) FROM generate_series(1, 12) g));
SELECT jobsched.trigger('import', '{"user": 4, "error": "east", "item": 5}', max_attempts => 1) FROM generate_series(1, 3);
SELECT jobsched.trigger('mails') FROM generate_series(1, 3);
SELECT jobsched.trigger('reports') FROM generate_series(1, 2);
SELECT jobsched.trigger(job) FROM unnest('{stubborn,too long,lost one,count,"<b>odd</b> & \"name\"/1?",subscription,ping,unwell,order,refund,approval}'::text[]) job;
SELECT jobsched.trigger('order hook', '{"id": 1, "item": "a chair"}');
SELECT jobsched.trigger('import', '{"user": 9}', wait_for => '{approved}', wait_timeout => '1 day');
SELECT jobsched.trigger('count', run_at => now() + interval '1 day');
SELECT jobsched.trigger('count', run_at => now() + interval '2 days') AS cancelled \gset
SELECT jobsched.cancel_run(:cancelled);

-- Its slots are missed: whoever waits for staged() resumes it.
SELECT jobsched.alter_job('each second', enabled => true);
SELECT jobsched.pause_job('each second', 'until slots are missed');

CREATE FUNCTION shop.staged() RETURNS boolean LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE status = 'succeeded' AND job_name = 'order') = 1
		AND count(*) FILTER (WHERE status = 'succeeded' AND job_name IN ('import', 'order hook', 'ping')) >= 14
		AND count(*) FILTER (WHERE status = 'failed' AND job_name = 'mails') = 3
		AND count(*) FILTER (WHERE status = 'failed' AND job_name IN ('import', 'refund', 'unwell')) >= 5
		AND count(*) FILTER (WHERE status = 'running' AND job_name = 'reports') = 1
		AND count(DISTINCT status) FILTER (WHERE status IN ('timed_out', 'lost', 'cancelled', 'missed', 'skipped', 'retrying')) = 6
	FROM jobsched.runs
$$;
