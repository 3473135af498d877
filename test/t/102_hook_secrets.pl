# Copyright (c) 2026, jobsched contributors

# Hooks whose secret is in a vault: it is read anew with each request, as the hook's owner, and
# whatever the vault does the caller learns nothing. And the rates of hooks, where more of them
# are in use than there is room for.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use lib $FindBin::Bin;
use JobschedTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'hooks';
my $node = jobsched_node('hook_secrets', conf => "timezone = 'UTC'\nlog_statement = none\nlog_min_duration_statement = -1\n");

$node->safe_psql('postgres', q{
	CREATE DATABASE hooks TEMPLATE template0;
	CREATE ROLE keeper LOGIN; CREATE ROLE anon LOGIN; CREATE ROLE other LOGIN});
create_extension($node, $db);
define_clock($node, $db);
$node->safe_psql($db, q{
	GRANT USAGE ON SCHEMA jobsched TO keeper, anon, other;
	CREATE SCHEMA api AUTHORIZATION keeper});

sub psql { return $node->safe_psql($db, @_) }
sub keeper { return sql_as($node, $db, 'keeper', @_) }

# All that anon gets to see: the id, or whatever is said.
sub receive
{
	my ($hook, $headers, $before) = @_;
	my ($ret, $out, $err) = $node->psql($db,
		($before // '') . "SELECT jobsched.receive('$hook', 'body', '$headers')", extra_params => [ '-U', 'anon', '-v', 'VERBOSITY=verbose' ]);

	return $err eq '' ? $out : $err =~ s/^psql:<stdin>:\d+: //mgr =~ s/^LOCATION.*\n?//mgr =~ s/\n\z//r;
}

sub signed
{
	my ($key, $before) = @_;
	return receive('signed', qq({"x-signature": "@{[ hmac_sha256_hex('body', $key) ]}"}), $before);
}

sub refusal_of { my ($hook) = @_; return keeper("SELECT last_refusal FROM jobsched.hooks WHERE name = '$hook'") }

my $refusal = 'ERROR:  PT401: the request was refused';

sub is_refused
{
	my ($got, $reason, $what) = @_;

	is($got, $refusal, "$what: the one refusal");
	is(refusal_of('signed'), $reason, "$what: the owner knows why");
}

keeper(q{SELECT jobsched.create_job('work', command => 'SELECT 1'), jobsched.pause_job('work')});

# ------------------------------------------------------------------------
# The vault
# ------------------------------------------------------------------------

# What the extension would have made; a role sees what is granted to it.
psql(q{
	CREATE SCHEMA vault;
	CREATE TABLE vault.secrets (name text PRIMARY KEY, secret text, for_role name);
	CREATE FUNCTION vault.decrypt(secret text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN secret; END $$;
	CREATE VIEW vault.decrypted_secrets AS
		SELECT name, vault.decrypt(secret) AS decrypted_secret FROM vault.secrets WHERE for_role = current_user;
	INSERT INTO vault.secrets VALUES ('x', 'the-first-key', 'keeper'), ('short', 'x', 'keeper'), ('foreign', 'the-others-key', 'other');
	GRANT USAGE ON SCHEMA vault TO keeper, other;
	GRANT SELECT ON vault.decrypted_secrets TO keeper, other});

my $create = q{SELECT jobsched.create_hook('signed', 'work', verify => 'hmac', header => 'x-signature', secret => 'vault.x')};

like(error_of($node, $db, $create, 'keeper'), qr/JS055: extension "supabase_vault" is not installed/, 'no vault, no hook');
psql(q{
	BEGIN;
	SET LOCAL allow_system_table_mods = on;
	INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
	VALUES (4294000000, 'supabase_vault', 10, 'vault'::regnamespace, false, '0');
	COMMIT});
like(error_of($node, $db, $create, 'keeper'), qr/JS055: view "vault.decrypted_secrets" does not belong to extension/, 'nor with a view that somebody has made');
sub make_genuine
{
	return psql(q{
		BEGIN;
		SET LOCAL allow_system_table_mods = on;
		INSERT INTO pg_depend VALUES ('pg_class'::regclass, 'vault.decrypted_secrets'::regclass, 0, 'pg_extension'::regclass, 4294000000, 0, 'e');
		COMMIT});
}
make_genuine();
like(error_of($node, $db, $create =~ s/vault\.x/vault.$_/r, 'keeper'), qr/42704: secret "vault\.$_" of role "keeper" does not exist/, "not by $_, which the owner does not see")
  for qw(nothing foreign);
like(error_of($node, $db, $create =~ s/vault\.x/vault.short/r, 'keeper'), qr/22023: secret "vault\.short" has a value/, 'nor by one that is too short');
is(keeper($create), '', 'a hook by a secret of the vault; there is no token');
like(signed('the-first-key'), qr/^\d+$/, 'who signs with it is let in');
is_refused(signed('another-key'), 'the signature is wrong', 'another key');

# ------------------------------------------------------------------------
# Another secret, and none
# ------------------------------------------------------------------------

psql(q{UPDATE vault.secrets SET secret = E'the-second-key\nthe-first-key' WHERE name = 'x'});
like(signed($_), qr/^\d+$/, "while the secret has both, $_") for qw(the-first-key the-second-key);
psql(q{UPDATE vault.secrets SET secret = 'the-second-key' WHERE name = 'x'});
is_refused(signed('the-first-key'), 'the signature is wrong', 'the old one');
like(signed('the-second-key'), qr/^\d+$/, 'the new one');
psql(q{UPDATE vault.secrets SET for_role = 'other' WHERE name = 'x'});
is_refused(signed('the-second-key'), 'its secret is missing, or has a key that cannot be made out', 'one that the owner does not see any more');
psql(q{UPDATE vault.secrets SET for_role = 'keeper', secret = NULL WHERE name = 'x'});
is_refused(signed('the-second-key'), 'its secret is missing, or has a key that cannot be made out', 'null');
psql(q{UPDATE vault.secrets SET secret = 'the-second-key' WHERE name = 'x'; REVOKE SELECT ON vault.decrypted_secrets FROM keeper});
is_refused(signed('the-second-key'), 'its secret cannot be read (SQLSTATE 42501)', 'without the right to read');
psql(q{GRANT SELECT ON vault.decrypted_secrets TO keeper});
like(signed('the-second-key'), qr/^\d+$/, 'with it again');

# ------------------------------------------------------------------------
# A vault that has been spoilt
# ------------------------------------------------------------------------

# Its function is a user's by now, and says what it can.
psql(q{CREATE TABLE api.seen (who text); GRANT ALL ON api.seen TO PUBLIC; GRANT USAGE ON SCHEMA api TO PUBLIC});
sub decrypt { my ($body) = @_; return psql("CREATE OR REPLACE FUNCTION vault.decrypt(secret text) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$") }

decrypt(q{RAISE EXCEPTION 'it is %', secret USING DETAIL = secret, HINT = secret, TABLE = secret;});
is_refused(signed('the-second-key'), 'its secret cannot be read (SQLSTATE P0001)', 'a vault that raises');
for my $code (qw(40001 57014))
{
	decrypt(qq{RAISE EXCEPTION 'it is %', secret USING ERRCODE = '$code', DETAIL = secret, HINT = secret;});
	is(signed('the-second-key'), "ERROR:  $code: the secret of the hook could not be read", "$code: who waits for a retry or a cancel has the code, and no more");
}
decrypt(q{RAISE NOTICE 'it is %', secret; RAISE WARNING 'it is %', secret; RETURN secret;});
like(signed('the-second-key'), qr/^\d+$/, 'its warnings are not told');
is(receive('signed', '{}'), $refusal, 'nor with a refusal');
for my $loud (q{RAISE INFO 'it is %', secret;}, q{PERFORM set_config('client_min_messages', 'notice', false); RAISE NOTICE 'it is %', secret;})
{
	decrypt("$loud RETURN secret;");
	like(signed('the-second-key'), qr/^\d+$/, "nor what it says louder: $loud");
}
decrypt(q{COMMIT; RETURN secret;});
is_refused(signed('the-second-key'), 'its secret cannot be read (SQLSTATE 2D000)', 'it cannot commit');
decrypt(q{RETURN repeat('x', 10000000);});
is_refused(signed('the-second-key'), 'its secret is missing, or has a key that cannot be made out', 'one that is endless');
decrypt(q{EXECUTE 'RESET ROLE'; RETURN secret;});
is_refused(signed('the-second-key'), 'its secret cannot be read (SQLSTATE 42501)', 'it cannot become somebody else');
decrypt(q{INSERT INTO api.seen VALUES (current_user); RETURN secret;});
like(signed('the-second-key'), qr/^\d+$/, 'it does what it does');
is(psql('SELECT DISTINCT who FROM api.seen'), 'keeper', 'with the rights of the owner, not of who calls');
is(signed('the-second-key', 'BEGIN READ ONLY; ') =~ /^ERROR:  25006/ ? 1 : 0, 1, 'read-only');
decrypt(q{PERFORM pg_sleep(1000); RETURN secret;});
is(signed('the-second-key', "SET statement_timeout = '100 ms'; "), 'ERROR:  57014: the secret of the hook could not be read', 'one that hangs holds up its caller as long as he wants');
decrypt(q{RETURN secret;});

# In a block the caller has his session back, whatever has happened.
decrypt(q{RAISE EXCEPTION 'no';});
psql(q{CREATE FUNCTION api.try() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			PERFORM jobsched.receive('signed', 'body', '{}');
		EXCEPTION WHEN SQLSTATE 'PT401' THEN NULL;
		END;
		RETURN concat_ws(' ', current_user, current_setting('search_path'), current_setting('client_min_messages'));
	END $$});
is(sql_as($node, $db, 'anon', 'SELECT api.try()'), 'anon "$user", public notice', 'user and settings are as they were');
decrypt(q{RETURN secret;});
is(sql_as($node, $db, 'anon', 'SELECT api.try()'), 'anon "$user", public notice', 'also after a reading');
psql(q{BEGIN; SET LOCAL allow_system_table_mods = on; DELETE FROM pg_depend WHERE refobjid = 4294000000; COMMIT});
is_refused(signed('the-second-key'), 'its secret cannot be read (SQLSTATE JS055)', 'a view that is not the extension\'s any more');
psql(q{BEGIN; SET LOCAL allow_system_table_mods = on; DELETE FROM pg_extension WHERE oid = 4294000000; COMMIT; DROP SCHEMA vault CASCADE});
is_refused(signed('the-second-key'), 'its secret cannot be read (SQLSTATE JS055)', 'no vault at all');
my $log = slurp_file($node->logfile);
unlike($log, qr/(?:ERROR|LOG): .*it is the-/, 'what we say in the log has no secret');

# ------------------------------------------------------------------------
# Rates
# ------------------------------------------------------------------------

# Nobody sends faster to a hook because others have taken its place in shared memory.
set_clock($node, $db, '2026-03-02 10:00:00+00');
my $victim = keeper(q{SELECT jobsched.create_hook('victim', 'work', rate => 1)});
my $id = psql(q{SELECT get_byte(uuid_send(hook_id), 0) & 127 FROM jobsched_internal.hook WHERE name = 'victim'});
keeper(q{CREATE TABLE api.crowd AS SELECT 'crowd' || i AS name, jobsched.create_hook('crowd' || i, 'work', rate => 1) AS token FROM generate_series(1, 2400) i});
psql(qq{DELETE FROM api.crowd c USING jobsched_internal.hook h WHERE h.name = c.name AND get_byte(uuid_send(h.hook_id), 0) & 127 <> $id});
cmp_ok(psql('SELECT count(*) FROM api.crowd'), '>', 8, 'more hooks of one bucket than there is room for');
psql(q{CREATE FUNCTION api.send(hook text, token text, times int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		accepted int := 0;
	BEGIN
		FOR i IN 1 .. times LOOP
			BEGIN
				PERFORM jobsched.receive(hook, '', '{}', token);
				accepted := accepted + 1;
			EXCEPTION WHEN SQLSTATE 'PT401' THEN NULL;
			END;
		END LOOP;
		RETURN accepted;
	END $$});
my $send = "SELECT api.send('victim', '$victim', 20)";
is(psql($send), 10, 'ten seconds of its rate at once');
psql(q{SELECT api.send(name, token, 20) FROM api.crowd});
is(psql($send), 0, 'no more, however many others have used up theirs since');
psql(q{SELECT api.send(name, 'wrong', 1) FROM api.crowd}) for 1 .. 2;
is(psql($send), 0, 'or are refused');
set_clock($node, $db, '2026-03-02 10:00:03+00');
is(psql($send), 3, 'three seconds later three more');
set_clock($node, $db, '2026-03-02 10:01:00+00');
is(psql($send), 10, 'and after a while it has its room');

# Nor does anybody keep another's sender out by hooks of his own, however full he keeps them.
sql_as($node, $db, 'other', q{SELECT jobsched.create_job('mob', command => 'SELECT 1'), jobsched.pause_job('mob')});
psql(q{
	CREATE TABLE api.mob (name text, token text);
	GRANT ALL ON api.mob TO other});
sql_as($node, $db, 'other', q{INSERT INTO api.mob SELECT 'mob' || i, jobsched.create_hook('mob' || i, 'mob', rate => 1) FROM generate_series(1, 2400) i});
psql(qq{DELETE FROM api.mob m USING jobsched_internal.hook h WHERE h.name = m.name AND get_byte(uuid_send(h.hook_id), 0) & 127 <> $id});
cmp_ok(psql('SELECT count(*) FROM api.mob'), '>', 8, 'hooks of another role, more than there is room for');
my $fill = q{SELECT api.send(name, token, 20) FROM api.mob};
set_clock($node, $db, '2026-03-02 10:02:00+00');
psql($fill);
is(psql($send), 10, 'what comes when all is theirs has its room');
psql($fill);
is(psql($send), 0, 'and does not begin anew');
for my $second (1 .. 3)
{
	set_clock($node, $db, "2026-03-02 10:02:0$second+00");
	psql($fill);
	is(psql($send), 1, "$second: it has its rate");
}

$node->stop;
done_testing();
