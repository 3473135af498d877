-- Roles without privileges that own jobs. They outlive the database.
SELECT format('CREATE ROLE %I LOGIN', name) FROM (VALUES ('bench_owner'), ('bench_small')) role (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
GRANT USAGE ON SCHEMA jobsched TO bench_owner, bench_small;
