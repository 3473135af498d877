-- keep and keep_for: the parameters. What becomes of rows is in t/091_keep.pl.
SET client_min_messages = warning;
SELECT jobsched.create_job('all', command => 'SELECT 1') > 0 AS ok;
SELECT jobsched.create_job('failures', command => 'SELECT 1', keep => 'failures', keep_for => '1 day') > 0 AS ok;
SELECT name, keep, keep_for FROM jobsched.jobs ORDER BY name;
-- what is not given stays; '0' removes keep_for
SELECT jobsched.alter_job('failures', description => 'x');
SELECT jobsched.alter_job('all', keep => 'failures', keep_for => '1 hour');
SELECT name, keep, keep_for FROM jobsched.jobs ORDER BY name;
SELECT jobsched.alter_job('all', keep => 'all', keep_for => '0');
SELECT name, keep, keep_for FROM jobsched.jobs ORDER BY name;
-- NULL is the default
SELECT jobsched.create_job('null', command => 'SELECT 1', keep => NULL, keep_for => NULL) > 0 AS ok;
SELECT name, keep, keep_for FROM jobsched.jobs WHERE name = 'null';
-- a definition that does not give them has the defaults
SELECT jobsched.create_job('failures', command => 'SELECT 1', if_exists => 'update') > 0 AS ok;
SELECT name, keep, keep_for FROM jobsched.jobs WHERE name = 'failures';

\set VERBOSITY default
SELECT jobsched.create_job('bad', command => 'SELECT 1', keep => 'nothing');
SELECT jobsched.create_job('bad', command => 'SELECT 1', keep => '');
SELECT jobsched.create_job('bad', command => 'SELECT 1', keep_for => '-1 day');
SELECT jobsched.create_job('bad', command => 'SELECT 1', keep_for => '100000 years');
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1"}]', keep => 'failures');
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1"}]', keep_for => '1 day');
SELECT jobsched.alter_job('all', keep => 'success');
-- a job with keep cannot become one that is made of steps
SELECT jobsched.alter_job('all', keep => 'failures');
SELECT jobsched.alter_job('all', steps => '[{"name": "a", "command": "SELECT 1"}]');
SELECT jobsched.alter_job('all', steps => '[{"name": "a", "command": "SELECT 1"}]', keep => 'all');
-- nor can a step have them
SELECT jobsched.create_job('bad', steps => '[{"name": "a", "command": "SELECT 1", "keep": "failures"}]');

SELECT jobsched.drop_job(name) FROM jobsched.jobs WHERE name IN ('all', 'failures', 'null');
