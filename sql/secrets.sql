-- Secrets: who keeps, sees and uses them, and where their values are not.
CREATE ROLE regress_secrets_owner LOGIN;
CREATE ROLE regress_secrets_other LOGIN;
CREATE ROLE regress_secrets_group NOLOGIN;
CREATE ROLE regress_secrets_monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE regress_secrets_reader LOGIN IN ROLE pg_read_all_data;
GRANT USAGE ON SCHEMA jobsched TO regress_secrets_owner, regress_secrets_other, regress_secrets_monitor;
CREATE FUNCTION test.render_with_secrets(definition jsonb, of_run boolean, args jsonb, secrets jsonb, more jsonb)
RETURNS jsonb LANGUAGE c AS 'jobsched', 'jobsched_http_render';

SET ROLE regress_secrets_owner;
-- what is refused
-- (who may act for whom is worded differently from version to version)
SELECT regexp_replace(test.refusal('SELECT jobsched.' || what), '^42501: .*', '42501') AS refusal FROM (VALUES
	($$set_secret('', 'value')$$),
	($$set_secret('two words', 'value')$$),
	($$set_secret('brace}}', 'value')$$),
	($$set_secret(repeat('x', 64), 'value')$$),
	($$set_secret(NULL, 'value')$$),
	($$set_secret('name', NULL)$$),
	($$set_secret('name', '')$$),
	($$set_secret('name', 'abc')$$),
	($$set_secret('name', repeat('x', 7001))$$),
	($$set_secret('name', 'value', 'regress_secrets_nobody')$$),
	($$set_secret('name', 'value', 'regress_secrets_other')$$),
	($$drop_secret('name')$$),
	($$drop_secret(NULL)$$),
	($$drop_secret('name', 'regress_secrets_other')$$)
) v (what);
RESET ROLE;
-- a role that cannot log in can make requests, and so have secrets
SELECT jobsched.set_secret('name', 'value', 'regress_secrets_group');
SELECT jobsched.drop_secret('name', 'regress_secrets_group');
SET ROLE regress_secrets_owner;
BEGIN READ ONLY;
SELECT jobsched.set_secret('name', 'value');
ROLLBACK;
SELECT * FROM jobsched.secrets;

-- kept, and changed
SELECT jobsched.set_secret('token', 'hush-first');
SELECT jobsched.set_secret('key.of-1', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
-- (of a text that does not compress: it is on the row's page, for a TOAST table could be read)
SELECT string_agg(md5(i::text), '') AS noise FROM generate_series(1, 300) i \gset
SELECT jobsched.set_secret('longest', left(:'noise', 7000));
SELECT jobsched.set_secret(repeat('n', 63), 'four');
-- what is meant as a key to sign with is one, or is refused
SELECT value, jobsched.set_secret('signing', value) IS NOT NULL AS kept FROM unnest(ARRAY['v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3 raw-key',
	'v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3|v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'not a key: whsec', 'v1,text', 'prewhsec_x', 'text|text', '{"key": "whsec"}']) value;
SELECT value, regexp_replace(r, '.*"signing" ', '') AS refusal FROM unnest(ARRAY['whsec_', 'v1,whsec_', 'whsec_hush*hush*hush*hush*hush*hush*', 'whsec_aHVzaA==', 'v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY', 'whsec_' || repeat('aHVz', 22),
	'WHSEC_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'V1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'v1, whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', '"v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"', 'v2,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3 whsec_x',
	'v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3|v1,whsec_hush', 'raw-key whsec_hush', 'v1,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3|', 'v1,whsec_MDEyMzQ1Njc4-WFiY2RlZjAxMjM0NTY_', 'whsk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'whpk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'v1a,whsk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3', 'v1a,whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3']) value,
	test.refusal(format('SELECT jobsched.set_secret(%L, %L)', 'signing', value)) r WHERE r !~ '^(DETAIL|HINT)';
SELECT jobsched.drop_secret('signing');
SELECT jobsched.set_secret('token', 'hush-hush');
SELECT name, owner, updated_at > created_at AS changed FROM jobsched.secrets ORDER BY name;
-- rolled back, nothing of it stays
BEGIN;
SELECT jobsched.set_secret('token', 'rolled-back');
SELECT jobsched.set_secret('temporary', 'rolled-back');
ROLLBACK;
SELECT jobsched.drop_secret(repeat('n', 63));
SELECT name FROM jobsched.secrets ORDER BY name;
RESET ROLE;
SELECT jobsched.set_secret('token', 'other-value', 'regress_secrets_other');

-- names are seen by their owner, by who may act for that role, and in monitoring; values by nobody
SELECT attname FROM pg_attribute WHERE attrelid = 'jobsched.secrets'::regclass AND attnum > 0 ORDER BY attnum;
SET ROLE regress_secrets_other;
SELECT name, owner FROM jobsched.secrets ORDER BY name;
SELECT value FROM jobsched_internal.secret;
SET ROLE regress_secrets_monitor;
SELECT name, owner FROM jobsched.secrets ORDER BY name, owner;
SET ROLE regress_secrets_reader;
SELECT count(*) FROM jobsched_internal.secret;
RESET ROLE;
SELECT count(*) FROM jobsched_internal.secret;
ANALYZE jobsched_internal.secret;
SELECT pg_relation_size(reltoastrelid) AS toasted FROM pg_class WHERE oid = 'jobsched_internal.secret'::regclass;
SELECT attname FROM pg_stats WHERE schemaname = 'jobsched_internal' AND tablename = 'secret' AND attname = 'value';
-- no dump has them
SELECT count(*) FROM pg_extension e, unnest(e.extconfig) c WHERE c = 'jobsched_internal.secret'::regclass;

-- the statement is not shown, and an error has no context that quotes it
SELECT jobsched.set_secret('shown', 'shown-value'), (SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid());
CREATE FUNCTION test.secret_context() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	context text;
	message text;
BEGIN
	PERFORM jobsched.set_secret('in valid', 'context-value');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT, message = MESSAGE_TEXT;
	RETURN message || '|' || context;
END
$$;
SELECT test.secret_context();
SELECT jobsched.set_secret('shown', 'context-value', 'regress_secrets_nobody');
-- the context of what follows is as ever
DO $$ BEGIN PERFORM jobsched.set_secret('shown', 'shown-value'); PERFORM 1 / 0; END $$;
SELECT jobsched.drop_secret('shown');

-- a request has the secrets of its owner, as they are then
SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{secret.token}}"}}', false, NULL, NULL,
	jsonb_build_object('owner', role))->'headers'->0 AS header
FROM (VALUES ('regress_secrets_owner'), ('regress_secrets_other')) v (role);
SELECT length(test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{secret.longest}}"}}', false, NULL, NULL,
	'{"owner": "regress_secrets_owner"}')->'headers'->>0);
SELECT test.refusal($$ SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{secret.longest}}"}}',
	false, NULL, NULL, '{"owner": "regress_secrets_other"}') $$);

-- Supabase Vault: a stand-in, for the extension itself is not at hand
SELECT test.refusal($$ SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{vault.api}}"}}',
	false, NULL, NULL, '{"owner": "regress_secrets_owner"}') $$);
CREATE SCHEMA vault;
CREATE TABLE vault.kept (name text, decrypted_secret text, for_role name);
INSERT INTO vault.kept VALUES ('api', 'vault-owner', 'regress_secrets_owner'), ('api', 'vault-other', 'regress_secrets_other'),
	('short', 'abc', 'regress_secrets_owner');
CREATE VIEW vault.decrypted_secrets AS
SELECT name, decrypted_secret || ' ' || current_setting('search_path') AS decrypted_secret
FROM vault.kept WHERE for_role = current_user;
GRANT USAGE ON SCHEMA vault TO regress_secrets_owner;
GRANT SELECT ON vault.decrypted_secrets TO regress_secrets_owner;
BEGIN;
SET LOCAL allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
VALUES (4294000000, 'supabase_vault', 10, 'vault'::regnamespace, false, '0');
COMMIT;
-- the view is nobody's yet
SELECT test.refusal($$ SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{vault.api}}"}}',
	false, NULL, NULL, '{"owner": "regress_secrets_owner"}') $$);
BEGIN;
SET LOCAL allow_system_table_mods = on;
INSERT INTO pg_depend VALUES ('pg_class'::regclass, 'vault.decrypted_secrets'::regclass, 0, 'pg_extension'::regclass, 4294000000, 0, 'e');
COMMIT;
-- read as the owner, without a search path of somebody's
SET search_path = test, public, pg_catalog;
SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{vault.api}}"}}', false, NULL, NULL,
	'{"owner": "regress_secrets_owner"}')->'headers'->0 AS header;
SELECT current_user = session_user AS is_self, current_setting('search_path') AS search_path;
RESET search_path;
SELECT test.refusal(format($$ SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{vault.%s}}"}}',
	false, NULL, NULL, '{"owner": "%s"}') $$, name, role))
FROM (VALUES ('nothing', 'regress_secrets_owner'), ('api', 'regress_secrets_other')) v (name, role);
-- read once, however often it is named
CREATE FUNCTION vault.told(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'read'; RETURN $1; END $$;
CREATE OR REPLACE VIEW vault.decrypted_secrets AS
SELECT name, vault.told(decrypted_secret) AS decrypted_secret FROM vault.kept WHERE name = 'api' AND for_role = current_user;
SELECT test.render_with_secrets('{"url": "https://example.com/{{vault.api}}", "headers": {"X-Token": "{{vault.api}} {{ vault.api }}"}}',
	false, NULL, NULL, '{"owner": "regress_secrets_owner"}')->'headers'->0 AS header;
-- what a view calls cannot become somebody else
CREATE FUNCTION vault.escape() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE'; RETURN current_user; END $$;
CREATE OR REPLACE VIEW vault.decrypted_secrets AS SELECT name, vault.escape() AS decrypted_secret FROM vault.kept;
SELECT test.refusal($$ SELECT test.render_with_secrets('{"url": "https://example.com", "headers": {"X-Token": "{{vault.api}}"}}',
	false, NULL, NULL, '{"owner": "regress_secrets_owner"}') $$);
SELECT current_user = session_user AS is_self;
BEGIN;
SET LOCAL allow_system_table_mods = on;
DELETE FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND refobjid = 4294000000;
DELETE FROM pg_extension WHERE oid = 4294000000;
COMMIT;
SET client_min_messages = warning;
DROP SCHEMA vault CASCADE;
RESET client_min_messages;

SELECT jobsched.drop_secret(name, owner) FROM jobsched.secrets WHERE owner ~ '^regress_secrets';
SELECT count(*) FROM jobsched.secrets;
REVOKE USAGE ON SCHEMA jobsched FROM regress_secrets_owner, regress_secrets_other, regress_secrets_monitor;
DROP FUNCTION test.render_with_secrets;
DROP FUNCTION test.secret_context;
DROP ROLE regress_secrets_owner, regress_secrets_other, regress_secrets_group, regress_secrets_monitor, regress_secrets_reader;
