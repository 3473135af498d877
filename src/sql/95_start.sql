-- The first rows, and the scheduler.

INSERT INTO jobsched_internal.identity (id, token, database, instance_id)
SELECT 1, pg_catalog.gen_random_uuid(), d.oid, jobsched_internal.instance_id()
FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database();

INSERT INTO jobsched_internal.ring
SELECT r, r * 100, jobsched_internal.clock_now()
FROM (VALUES (0), (1)) v (r);

-- At commit a scheduler starts for this database.
SELECT jobsched_internal.announce();
