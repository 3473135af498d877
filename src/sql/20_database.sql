-- The database as a home of jobs: who it is, whether it processes runs at all.

-- Who this database is.  The row stays behind when the jobs are dumped, moves
-- with the files when the cluster is upgraded, and betrays a copy: jobs run
-- only where their home is this row's token and this row's database is the
-- one it is read in.
CREATE TABLE jobsched_internal.identity (
	id smallint PRIMARY KEY CHECK (id = 1),
	token uuid NOT NULL,
	database oid NOT NULL,
	instance_id text NOT NULL,
	-- by stop_processing(): no run starts
	stopped_at timestamptz
);

CREATE FUNCTION jobsched_internal.instance_id() RETURNS text
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_instance_id';

CREATE FUNCTION jobsched_internal.clock_now() RETURNS timestamptz
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_clock_now';

CREATE FUNCTION jobsched_internal.announce() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_announce';

-- Whether anything starts at all.
CREATE VIEW jobsched_internal.processing AS
SELECT stopped_at IS NOT NULL AS stopped FROM jobsched_internal.identity WHERE id = 1;

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
