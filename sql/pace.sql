-- stop_processing(), start_processing(), reset_stuck(), as SQL sees them.
CREATE ROLE regress_pace LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_pace;
SET ROLE regress_pace;
SELECT jobsched.create_job('pace', command => 'SELECT 1') IS NOT NULL AS created;

-- who may, and where
SELECT jobsched.stop_processing();
SELECT jobsched.start_processing();
RESET ROLE;
BEGIN READ ONLY;
SELECT jobsched.stop_processing();
ROLLBACK;
BEGIN READ ONLY;
SELECT jobsched.reset_stuck('1 s');
ROLLBACK;

-- not without a commit
BEGIN;
SELECT jobsched.stop_processing();
SELECT status, value FROM jobsched.health() WHERE "check" = 'processing';
ROLLBACK;
SELECT status, value FROM jobsched.health() WHERE "check" = 'processing';
SET ROLE regress_pace;
SELECT jobsched.trigger('pace') AS run_id \gset
CALL jobsched.wait_run(:run_id, '1 min');
RESET ROLE;

-- with one
SELECT jobsched.stop_processing();
SELECT stopped_at AS since FROM jobsched_internal.identity \gset
SELECT jobsched.stop_processing();
SELECT stopped_at = :'since' AS still FROM jobsched_internal.identity;
SELECT status, value, regexp_replace(message, 'since .* no', 'since then no') AS message FROM jobsched.health() WHERE "check" IN ('enabled', 'processing');
SET ROLE regress_pace;
SELECT jobsched.trigger('pace') AS run_id \gset
SELECT jobsched.trigger('pace', run_at => now() + interval '1 hour') AS later \gset
SELECT run_id = :later AS later, status, reason, attempt FROM jobsched.runs WHERE run_id IN (:run_id, :later) ORDER BY run_id;
SELECT count(*) FROM jobsched_internal.identity;
-- what waits can be cancelled
SELECT jobsched.cancel_run(:later);
CALL jobsched.wait_run(:later, '1 min');
SELECT status, reason FROM jobsched.runs WHERE run_id = :run_id;
RESET ROLE;
SELECT jobsched.start_processing();
SELECT jobsched.start_processing();
CALL jobsched.wait_run(:run_id, '1 min');
SELECT status, value FROM jobsched.health() WHERE "check" = 'processing';
-- in one transaction
BEGIN;
SELECT jobsched.stop_processing();
SELECT jobsched.start_processing();
COMMIT;
SELECT jobsched.trigger('pace') AS run_id \gset
CALL jobsched.wait_run(:run_id, '1 min');

-- what reset_stuck() refuses, and what it leaves alone
SELECT jobsched.reset_stuck(NULL);
SELECT jobsched.reset_stuck('-1 s');
SELECT jobsched.reset_stuck('1 month');
SELECT jobsched.trigger('pace', run_at => now() + interval '1 hour') AS later \gset
SELECT jobsched.reset_stuck('0');
SELECT status FROM jobsched.runs WHERE run_id = :later;

-- none of these settings is for a database, a role or a session
ALTER DATABASE :"DBNAME" SET jobsched.cancel_grace = '1 s';
ALTER DATABASE :"DBNAME" SET jobsched.shutdown_grace = '1 s';
ALTER ROLE regress_pace SET jobsched.max_workers = 1;
SET jobsched.history_retention = '1 h';

SELECT jobsched.drop_job('pace');
REVOKE USAGE ON SCHEMA jobsched FROM regress_pace;
DROP ROLE regress_pace;
