-- Who may see what: the functions that views, policies and grants rest on
-- (90_rights.sql).
--
-- Views.  Each shows a role the jobs and runs of the roles whose privileges
-- it has; members of pg_monitor and superusers see all.  doc/security.md has
-- the table of who sees what.
--
-- Tables that grow large are guarded by row level security, and their views
-- run with their readers' rights: unlike a security barrier that leaves the
-- planner free to read just the first page, by an index, of millions of rows.
-- SELECT on these tables helps nobody around that: the schema cannot be used,
-- but by members of pg_read_all_data, for whom the policies hold.  Whom they do
-- not bind (BYPASSRLS) the views' own conditions do, and since a function in a
-- condition may be called before these, what rows have to tell is NULL for him.
-- (They are written as numbers: of these the planner believes that they leave
-- nearly all rows, as is right where a policy has been before.)
-- Tables job, limit_definition and hook have no policy: it would keep pg_dump out.
-- The names of jobs are read from job's parent, which has one: a function in a
-- condition on a name must not be given those of others.  Who has given a job away
-- sees the runs that he still has, and no view shows him what the job is by now.
--
-- Callbacks (runs with a handler) have a response in their arguments, which is
-- its owner's alone, as in http_responses; so is what comes of it, errors and
-- messages too, which may quote it.
--
-- What a queued run does not have yet is NULL by a condition that the planner
-- cannot foresee: a function of a constant would be called before the policy,
-- once for each hidden row.

CREATE FUNCTION jobsched_internal.may_see(owner oid) RETURNS boolean
LANGUAGE C STABLE STRICT LEAKPROOF PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'jobsched_may_see';

-- Of a run the same. For the planner its job is in it: src/api/seen.c tells him how many runs
-- these are, and in which jobs they can be, so that an index by job serves who may see few.
CREATE FUNCTION jobsched_internal.may_see_support(internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_may_see_support';

CREATE FUNCTION jobsched_internal.may_see_run(owner oid, job_id bigint) RETURNS boolean
LANGUAGE C STABLE STRICT LEAKPROOF PARALLEL SAFE COST 5 SUPPORT jobsched_internal.may_see_support
AS 'MODULE_PATHNAME', 'jobsched_may_see';

-- The jobs that may have runs which the caller may see.
CREATE FUNCTION jobsched_internal.seen_jobs() RETURNS bigint[]
LANGUAGE C STABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'jobsched_seen_jobs';

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

-- Whether the arguments of a function that reads all jobs, or one, name one; an error if they
-- contradict each other.
CREATE FUNCTION jobsched_internal.check_job_filter(job text, owner name, job_id bigint) RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'jobsched_check_job_filter';
