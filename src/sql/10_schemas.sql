/* The extension's objects */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION jobsched" to load this file. \quit

-- Operators need no schema from here on: views, policies, checks and SQL bodies
-- are bound while this holds.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The public face: functions and views only.
CREATE SCHEMA jobsched;
COMMENT ON SCHEMA jobsched IS 'jobsched: schedules, job queue and run history (functions and views)';

-- Tables.  Nobody gets rights here: functions and views check who asks.
CREATE SCHEMA jobsched_internal;
COMMENT ON SCHEMA jobsched_internal IS 'jobsched: tables; use the functions and views of schema jobsched';
