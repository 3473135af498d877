-- Secrets that HTTP requests are sent with.

-- What requests are sent with and nobody reads.  Never dumped; row level
-- security without a policy keeps it from pg_read_all_data too, as long as no
-- value is in a TOAST table, which has none; and ANALYZE samples no values (90_rights.sql).
CREATE TABLE jobsched_internal.secret (
	owner regrole NOT NULL,
	name text COLLATE "C" NOT NULL,
	value text NOT NULL,
	created_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (owner, name)
);
ALTER TABLE jobsched_internal.secret ALTER COLUMN value SET STORAGE PLAIN;

CREATE FUNCTION jobsched.set_secret(name text, value text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_set_secret';
COMMENT ON FUNCTION jobsched.set_secret IS
'Keeps a value (4 to 7000 bytes) that HTTP requests of a role are sent with: {{secret.NAME}}, or '
'sign_with. Nothing shows it again; more: doc/http.md.';

CREATE FUNCTION jobsched.drop_secret(name text, owner name DEFAULT CURRENT_USER)
RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'jobsched_drop_secret';
COMMENT ON FUNCTION jobsched.drop_secret IS
'Removes a secret. Requests that need it fail.';

CREATE VIEW jobsched.secrets WITH (security_barrier) AS
SELECT s.name,
	pg_catalog.pg_get_userbyid(s.owner) AS owner,
	s.created_at,
	s.updated_at
FROM jobsched_internal.secret s
WHERE jobsched_internal.may_see(s.owner);
COMMENT ON VIEW jobsched.secrets IS 'The secrets that set_secret() has kept, without their values.';
