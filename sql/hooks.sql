-- Definitions of hooks, and what is wrong with them.  test/t/078_hooks.pl sends requests.
CREATE ROLE regress_hooks_owner LOGIN;
CREATE ROLE regress_hooks_other LOGIN;
GRANT USAGE ON SCHEMA jobsched TO regress_hooks_owner, regress_hooks_other;
SET ROLE regress_hooks_owner;
SELECT jobsched.create_job('hooked', command => 'SELECT 1') > 0 AS ok, jobsched.set_secret('signing', 'some-secret');

-- A token is shown once.
SELECT jobsched.create_hook('by-token', 'hooked') ~ '^jsh_[A-Za-z0-9_-]{43}$' AS token;
SELECT jobsched.create_hook('by-signature', 'hooked', verify => 'github', secret => 'signing', keep_headers => '{X-GitHub-Event}', rate => 0) IS NULL AS none;
SELECT jobsched.create_hook('by-header', event => 'came', verify => 'hmac', secret => 'signing', header => 'X-Hmac', dedupe => '$.id', tolerance => '1 min', max_size => 100) IS NULL AS none;
SELECT name, owner, job, event, verify, secret, header, dedupe, tolerance, keep_headers, max_size, rate, accepted, refused, last_refusal
FROM jobsched.hooks ORDER BY name;
SELECT length(jobsched.rotate_hook('by-token')) AS length;
SELECT old_token_until - updated_at AS keeps FROM jobsched.hooks WHERE name = 'by-token';

-- What is wrong
SELECT call, test.refusal('SELECT jobsched.' || call)
FROM (VALUES
	($$create_hook(NULL, 'hooked')$$),
	($$create_hook('', 'hooked')$$),
	($$create_hook('a b', 'hooked')$$),
	($$create_hook(repeat('x', 64), 'hooked')$$),
	($$create_hook('by-token', 'hooked')$$),
	($$create_hook('new')$$),
	($$create_hook('new', 'hooked', 'came')$$),
	($$create_hook('new', 'missing')$$),
	($$create_hook('new', event => '')$$),
	($$create_hook('new', 'hooked', verify => 'sha1')$$),
	($$create_hook('new', 'hooked', verify => 'stripe')$$),
	($$create_hook('new', 'hooked', verify => 'stripe', secret => 'missing')$$),
	($$create_hook('new', 'hooked', verify => 'stripe', secret => 'no name')$$),
	($$create_hook('new', 'hooked', verify => 'stripe', secret => 'vault.x')$$),
	($$create_hook('new', 'hooked', verify => 'stripe', secret => 'signing', header => 'x-a')$$),
	($$create_hook('new', 'hooked', verify => 'hmac', secret => 'signing')$$),
	($$create_hook('new', 'hooked', header => 'x a')$$),
	($$create_hook('new', 'hooked', dedupe => 'x a')$$),
	($$create_hook('new', 'hooked', dedupe => '$.')$$),
	($$create_hook('new', 'hooked', dedupe => repeat('x', 201))$$),
	($$create_hook('new', 'hooked', tolerance => '-1 s')$$),
	($$create_hook('new', 'hooked', tolerance => '2 days')$$),
	($$create_hook('new', 'hooked', keep_headers => '{NULL}')$$),
	($$create_hook('new', 'hooked', keep_headers => '{Authorization}')$$),
	($$create_hook('new', 'hooked', keep_headers => '{x-token}', header => 'X-Token')$$),
	($$create_hook('new', 'hooked', keep_headers => array_fill('x'::text, ARRAY[21]))$$),
	($$create_hook('new', event => 'came', keep_headers => '{x-a}')$$),
	($$create_hook('new', 'hooked', max_size => 0)$$),
	($$create_hook('new', 'hooked', max_size => 20000000)$$),
	($$create_hook('new', 'hooked', rate => -1)$$),
	($$rotate_hook('missing')$$),
	($$rotate_hook('by-signature')$$),
	($$rotate_hook('by-token', '-1 s')$$),
	($$rotate_hook('by-token', '367 days')$$),
	($$drop_hook('missing')$$),
	($$drop_hook(NULL)$$),
	($$hook_wrapper('missing', 'public')$$),
	($$hook_wrapper('by-token', 'no schema')$$),
	($$receive('missing', '')$$),
	($$receive('by-token', '', '{}', 'wrong')$$),
	($$receive('by-signature', '', '[]')$$),
	($$receive(NULL, NULL)$$),
	($$event_token('', 1)$$),
	($$event_token('e', NULL)$$),
	($$event_token('e', -1)$$),
	($$event_token('e', 1, '0')$$),
	($$event_token('e', 1, '367 days')$$),
	($$receive_event('wrong')$$),
	($$receive_event(NULL)$$)) v (call);
SELECT name, refused, last_refusal FROM jobsched.hooks ORDER BY name;

-- A function for PostgREST
SELECT jobsched.hook_wrapper('by-signature', 'public');

-- Others
RESET ROLE;
SET ROLE regress_hooks_other;
SELECT count(*) FROM jobsched.hooks;
SELECT call, test.refusal('SELECT jobsched.' || call)
FROM (VALUES
	($$create_hook('mine', 'hooked')$$),
	($$create_hook('by-token', event => 'e')$$),
	($$rotate_hook('by-token')$$),
	($$drop_hook('by-token')$$),
	($$hook_wrapper('by-token', 'public')$$)) v (call);

RESET ROLE;
SELECT jobsched.drop_hook(name) FROM jobsched.hooks;
SET ROLE regress_hooks_owner;
SELECT jobsched.drop_job('hooked'), jobsched.drop_secret('signing');
RESET ROLE;
REVOKE USAGE ON SCHEMA jobsched FROM regress_hooks_owner, regress_hooks_other;
SELECT count(*) FROM jobsched.hooks;
DROP ROLE regress_hooks_owner, regress_hooks_other;
