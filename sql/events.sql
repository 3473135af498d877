-- Runs that wait for events: arguments, errors, views.  What becomes of them is in
-- test/t/071_events.pl.

CREATE ROLE regress_events LOGIN;
CREATE ROLE regress_events_other LOGIN;
CREATE ROLE regress_events_monitor LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA jobsched TO regress_events, regress_events_other, regress_events_monitor;
GRANT EXECUTE ON FUNCTION jobsched.http_request TO regress_events;
SET ROLE regress_events;
SELECT jobsched.create_job('step', command => 'SELECT jobsched.event(''go'')') AS step \gset

SELECT jobsched.trigger('step', wait_for => '{go,"and more",go}', wait_timeout => '1 hour') AS first \gset
SELECT jobsched.trigger('step', '{}', wait_for => '{go}', after => ARRAY[:first], after_when => 'done') AS second \gset
SELECT jobsched.trigger('step', wait_for => '{}') AS free \gset
SELECT jobsched.trigger('step', wait_for => NULL, wait_timeout => NULL) AS free_too \gset
CALL jobsched.wait_run(:free, '60 s');
CALL jobsched.wait_run(:free_too, '60 s');
SELECT status, reason, count(*) FROM jobsched.runs WHERE run_id > :first GROUP BY 1, 2 ORDER BY 1;
SELECT job_name, owner, after_when, parents, events FROM jobsched.waiting ORDER BY run_id;
SELECT count(*) FROM jobsched.upcoming WHERE run_id IN (:first, :second);

-- events
SELECT jobsched.send_event('and more', '{"x": 1}') > :first AS all \gset
SELECT jobsched.send_event('go', '[1]', :first) > :first AS one;
CALL jobsched.wait_run(:first, '60 s');
SELECT result FROM jobsched.runs WHERE run_id = :first;
SELECT reason FROM jobsched.runs WHERE run_id = :second;
SELECT name, owner, run_id = :first AS first, payload, expires_at - sent_at AS kept, taken_by = :first AS taken
FROM jobsched.events ORDER BY event_id;
SELECT jobsched.send_event('go', run_id => :first) IS NULL AS has_ended;
SELECT jobsched.send_event('go', keep => '0') > 0 AS not_kept;
CALL jobsched.wait_run(:second, '60 s');
SELECT jobsched.event('go') IS NULL AS outside;

-- nothing of it is left if that is rolled back
BEGIN;
SELECT jobsched.send_event('rolled back') > 0 AS sent;
SELECT count(*) FROM jobsched.events WHERE name = 'rolled back';
ROLLBACK;
SELECT count(*) FROM jobsched.events WHERE name = 'rolled back';

-- requests
SELECT jobsched.http_request('GET', 'http://127.0.0.1:1/', wait_for => '{never}') IS NOT NULL AS request;
SELECT jobsched.http_get('http://127.0.0.1:1/', wait_for => '{never}') IS NOT NULL AS get;
SELECT jobsched.http_post('http://127.0.0.1:1/', wait_for => '{never}', wait_timeout => '1 day') IS NOT NULL AS post;
SELECT jobsched.http_put('http://127.0.0.1:1/', wait_for => '{never}') IS NOT NULL AS put;
SELECT jobsched.http_patch('http://127.0.0.1:1/', wait_for => '{never}') IS NOT NULL AS patch;
SELECT jobsched.http_delete('http://127.0.0.1:1/', wait_for => '{never}') IS NOT NULL AS delete;
SELECT count(*), min(events) FROM jobsched.waiting;

-- to queues and limits they are like runs for later
SELECT jobsched.set_queue('line', paused => true);
SELECT jobsched.create_job('in line', command => 'SELECT 1', queue => 'line') > 0 AS in_line;
SELECT count(jobsched.trigger('in line')) FROM generate_series(1, 2);
SELECT jobsched.trigger('in line', wait_for => '{never}') > 0 AS waits;
SELECT waiting FROM jobsched.queues WHERE name = 'line';
SELECT jobsched.drop_job('in line');
SELECT jobsched.drop_queue('line');

-- errors
\set VERBOSITY default
SELECT jobsched.trigger('step', wait_for => '{NULL}');
SELECT jobsched.trigger('step', wait_for => '{""}');
SELECT jobsched.trigger('step', wait_for => ARRAY[repeat('x', 256)]);
SELECT jobsched.trigger('step', wait_for => array_fill('x'::text, ARRAY[101]));
SELECT jobsched.trigger('step', wait_timeout => '1 s');
SELECT jobsched.trigger('step', wait_for => '{}', wait_timeout => '1 s');
SELECT jobsched.trigger('step', wait_for => '{go}', wait_timeout => '-1 s');
SELECT jobsched.trigger('step', wait_for => '{go}', wait_timeout => '0');
SELECT jobsched.trigger('step', wait_for => '{go}', wait_timeout => '1 month');
SELECT jobsched.send_event(NULL);
SELECT jobsched.send_event('');
SELECT jobsched.send_event(repeat('x', 256));
SELECT jobsched.send_event('go', keep => '-1 s');
SELECT jobsched.send_event('go', keep => '367 days');
SELECT jobsched.send_event('go', run_id => 0);
SELECT jobsched.send_event('go', to_jsonb(repeat('x', 20000000)));
BEGIN READ ONLY;
SELECT jobsched.send_event('go');
ROLLBACK;
SELECT jobsched.create_job('typo', command => 'SELECT jobsched.event(''went'')') AS typo \gset
SELECT jobsched.trigger('typo', wait_for => '{go}') AS typo \gset
SELECT jobsched.send_event('go') > 0 AS sent;
CALL jobsched.wait_run(:typo, '60 s');
SELECT sqlstate, replace(error, :'typo', 'N') AS error, error_hint FROM jobsched.runs WHERE run_id = :typo;

-- steps
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1", "wait_for": "go"}]');
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1", "wait_for": [1]}]');
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1", "wait_for": [""]}]');
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1", "wait_timeout": "1 s"}]');
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1", "wait_for": ["go"], "wait_timeout": "0"}]');
SELECT jobsched.create_job('good', steps => '[
	{"name": "a", "command": "SELECT 1", "wait_for": ["go"]},
	{"name": "b", "command": "SELECT 1", "wait_for": ["go", "on"], "wait_timeout": "1 hour"},
	{"name": "c", "command": "SELECT 1", "wait_for": ["1", "2", "3", "4", "5", "6"], "optional": true}]') > 0 AS good;
SELECT step, explanation FROM jobsched.explain_steps('good');

-- others see nothing and send nothing
SELECT jobsched.trigger('step', wait_for => '{go}') AS mine \gset
SET ROLE regress_events_other;
SELECT count(*) FROM jobsched.events;
SELECT count(*) FROM jobsched.waiting;
SELECT jobsched.send_event('go') > 0 AS sent;
SET ROLE regress_events_monitor;
SELECT count(*) > 3 AS sees, count(*) FILTER (WHERE owner = 'regress_events_other') FROM jobsched.events;
SET ROLE regress_events;
SELECT status FROM jobsched.runs WHERE run_id = :mine;
RESET ROLE;

SELECT count(jobsched.drop_job(name)) FROM jobsched.jobs WHERE owner LIKE 'regress_events%';
DROP OWNED BY regress_events, regress_events_other, regress_events_monitor;
DROP ROLE regress_events, regress_events_other, regress_events_monitor;
