-- What a dump takes with it, and what a logical replica does.

-- Jobs are the user's data; what happened to them stays where it happened.
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.job', 'WHERE dropped_at IS NULL');
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.job_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.limit_definition', '');
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.hook', '');
SELECT pg_catalog.pg_extension_config_dump('jobsched_internal.alert', '');

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
-- made of what history has here, so a row of the publisher would meet one of ours
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.stat
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.stat ENABLE REPLICA TRIGGER keep_own;
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.stat_mark
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.stat_mark ENABLE REPLICA TRIGGER keep_own;
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.stat_reset
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.stat_reset ENABLE REPLICA TRIGGER keep_own;
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.stat_total
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.stat_total ENABLE REPLICA TRIGGER keep_own;
CREATE TRIGGER keep_own BEFORE INSERT OR UPDATE OR DELETE ON jobsched_internal.former_owner
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.keep_own();
ALTER TABLE jobsched_internal.former_owner ENABLE REPLICA TRIGGER keep_own;

-- Of jobs the owners that they had, whoever changes them (src/store/store_owner.c); what we
-- write ourselves goes past triggers.
CREATE FUNCTION jobsched_internal.remember_owner() RETURNS trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'jobsched_remember_owner';
CREATE TRIGGER remember AFTER UPDATE OR DELETE ON jobsched_internal.job
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.remember_owner();
ALTER TABLE jobsched_internal.job ENABLE ALWAYS TRIGGER remember;

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
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.memo
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.memo ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.event
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.event ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.event_token
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.event_token ENABLE REPLICA TRIGGER disown;
CREATE TRIGGER disown BEFORE INSERT OR UPDATE ON jobsched_internal.job_command
	FOR EACH ROW EXECUTE FUNCTION jobsched_internal.disown();
ALTER TABLE jobsched_internal.job_command ENABLE REPLICA TRIGGER disown;
