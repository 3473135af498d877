// Everything that can be done on the page is done there, and looked for in the database.

import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { none, open, origin, settled, until, value } from './rig.mjs';

const seen = await open();
const { page } = seen;
const dialog = page.getByRole('dialog');
after(() => seen.close());
afterEach(() => none(seen.complaints.splice(0)));

// --- as a person does it ----------------------------------------------------

// By a link, so that nothing of the test before is left.
async function visit(hash) {
	await page.goto('about:blank');
	await page.goto(`${origin}/${hash}`);
	await settled(page);
}

const button = (name, within = page) => within.getByRole('button', { name, exact: true });
const row = (name) => page.locator('tbody tr').filter({ has: page.getByText(name, { exact: true }) });
const section = (title) => page.locator('section').filter({ has: page.getByRole('heading', { name: title, exact: true }) });
const said = (text) => page.getByRole('status').filter({ hasText: text }).first().waitFor();
const job = async (name) => `job/${await value('SELECT job_id FROM jobsched.jobs WHERE name = $1', name)}`;
const run = (name, status) => value('SELECT max(run_id) FROM jobsched.runs WHERE job_name = $1 AND status = $2', name, status);
const runs = (name, source = 'trigger') => value('SELECT count(*)::int FROM jobsched.runs WHERE job_name = $1 AND source = $2', name, source);

// What is typed into fields by their labels: text, true or false for a box, [option] of a list.
async function fill(within, fields) {
	for (const [label, given] of Object.entries(fields)) {
		const field = within.getByLabel(label, { exact: true }).and(within.locator(':not([type=radio])'));
		if (typeof given === 'boolean')
			await field.setChecked(given);
		else if (Array.isArray(given))
			await field.selectOption(given);
		else
			await field.fill(given);
	}
}

async function answer(label, fields = {}) {
	await dialog.waitFor();
	await fill(dialog, fields);
	await button(label, dialog).click();
}

// closed: the dialog is gone: what it asked for is done.
async function closed() {
	await dialog.waitFor({ state: 'hidden' });
	await settled(page);
}

// --- jobs -------------------------------------------------------------------

test('jobs: several are triggered, paused and resumed', async () => {
	const before = await runs('count');
	await visit('#/jobs?name=count');
	await page.getByRole('checkbox', { name: 'Select count' }).check();
	await button('Trigger').click();
	await until('(SELECT count(*) FROM jobsched.runs WHERE job_name = $1 AND source = $2) > $3', 'a run', 'count', 'trigger', before);
	await button('Pause').click();
	await until('(SELECT state = $1 FROM jobsched.jobs WHERE name = $2)', 'a pause', 'paused', 'count');
	await button('Resume').click();
	await until('(SELECT state = $1 FROM jobsched.jobs WHERE name = $2)', 'its end', 'active', 'count');
});

test('job: trigger, with arguments whose numbers stay as they are', async () => {
	await visit(`#/${await job('import')}`);
	await button('Trigger with…').click();
	await answer('Trigger', { Arguments: '{"user": 7, "big": 12345678901234567890.0123}', Priority: '3' });
	await until("EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'import' AND priority = 3 AND args ->> 'big' = '12345678901234567890.0123')", 'the run');
	await visit(`#/${await job('count')}`);
	const before = await runs('count');
	await button('Trigger').click();
	await until('(SELECT count(*) FROM jobsched.runs WHERE job_name = $1 AND source = $2) > $3', 'a run', 'count', 'trigger', before);
});

test('job: paused with a reason, resumed', async () => {
	await visit(`#/${await job('import')}`);
	await button('Pause').click();
	await answer('Pause', { Reason: 'the shop is closed' });
	await until("(SELECT state = 'paused' AND state_reason ~ 'the shop is closed' FROM jobsched.jobs WHERE name = 'import')");
	await page.getByText('the shop is closed').first().waitFor();
	await button('Resume').click();
	await until("(SELECT state = 'active' FROM jobsched.jobs WHERE name = 'import')");
});

const more = async (name) => {
	await page.locator('summary', { hasText: 'More' }).first().click();
	await button(name).click();
};

test('job: disabled and enabled', async () => {
	await visit(`#/${await job('ping')}`);
	await more('Disable');
	await until("(SELECT NOT enabled FROM jobsched.jobs WHERE name = 'ping')");
	await settled(page);
	await more('Enable');
	await until("(SELECT enabled FROM jobsched.jobs WHERE name = 'ping')");
});

test('job: backfill, after its slots were shown', async () => {
	await visit(`#/${await job('mails')}`);
	await more('Backfill…');
	await answer('Show the slots', { From: '2026-03-01T00:00', Until: '2026-03-01T03:00' });
	await dialog.getByText('3 slots').waitFor();
	assert.equal(await runs('mails', 'backfill'), 0);
	await answer('Queue 3 runs');
	await until("(SELECT array_agg(scheduled_for ORDER BY scheduled_for) = '{2026-03-01 00:00Z,2026-03-01 01:00Z,2026-03-01 02:00Z}' FROM jobsched.runs WHERE job_name = 'mails' AND source = 'backfill')");
});

test('job: redrive', async () => {
	await visit(`#/${await job('import')}`);
	await button('Trigger').waitFor();
	await more('Redrive dead letters…');
	await answer('Redrive');
	await until("(SELECT count(*) = 3 FROM jobsched.runs WHERE job_name = 'import' AND source = 'retry')");
});

test('job: edited', async () => {
	await visit(`#/${await job('reports')}/edit`);
	await fill(page, { Description: 'What the office reads', Schedule: '30 7 * * MON-FRI' });
	await page.getByText(/07:30|7:30/).first().waitFor();
	await button('Save').click();
	await until("(SELECT schedule = '30 7 * * MON-FRI' AND description = 'What the office reads' AND timezone = 'Europe/Berlin' AND queue = 'slow' AND timeout = '2 hours' FROM jobsched.jobs WHERE name = 'reports')");
	await page.getByRole('heading', { name: 'reports', exact: true }).waitFor();
});

const kinds = {
	SQL: [{ Command: 'SELECT 42' }, "kind = 'sql' AND command = 'SELECT 42'"],
	Function: [{ Function: 'shop.work', Arguments: '{"items": 12345678901234567890}' }, "kind = 'function' AND handler = 'shop.work' AND args ->> 'items' = '12345678901234567890'"],
	'HTTP request': [{ URL: 'http://127.0.0.1:1/{{args.id}}', Method: ['PUT'], Headers: '{"X-Team": "shop"}', 'Body, JSON': '{"a": 1}' },
		"kind = 'http' AND request ->> 'method' = 'PUT' AND request ->> 'url' = 'http://127.0.0.1:1/{{args.id}}'"],
	Steps: [{ Steps: '[{"name": "one", "command": "SELECT 1"}, {"name": "two", "command": "SELECT 2"}]' }, "kind = 'steps' AND jsonb_array_length(steps) = 2"],
};
for (const [kind, [fields, check]] of Object.entries(kinds))
	test(`a job of kind ${kind} is made`, async () => {
		const name = `made ${kind}`;
		await visit('#/job/new');
		await page.getByRole('radio', { name: kind, exact: true }).check();
		await fill(page, { Name: name, Description: 'by hand', ...fields, Schedule: '0 4 * * *' });
		await button('Create job').click();
		await until(`(SELECT schedule = '0 4 * * *' AND description = 'by hand' AND ${check} FROM jobsched.jobs WHERE name = $1)`, name, name);
		await page.getByRole('heading', { name, exact: true }).waitFor();
	});

test('a job that is wrong is told where', async () => {
	await visit('#/job/new');
	await fill(page, { Name: 'wrong', Command: 'SELECT 1', Schedule: '61 * * * *' });
	await button('Create job').click();
	const field = page.getByLabel('Schedule', { exact: true });
	await page.locator('[aria-invalid=true]').waitFor();
	assert.equal(await field.getAttribute('aria-invalid'), 'true');
	// What was typed is not lost by a key or a link.
	await page.getByRole('link', { name: 'Runs', exact: true }).click();
	await answer('Back');
	assert.equal(await field.inputValue(), '61 * * * *');
	await page.getByRole('link', { name: 'Runs', exact: true }).click();
	await answer('Leave');
	await page.getByRole('heading', { name: 'Runs', exact: true }).waitFor();
	assert.equal(await value("SELECT count(*)::int FROM jobsched.jobs WHERE name = 'wrong'"), 0);
	seen.complaints.length = 0;
});

test('a job is dropped', async () => {
	await visit(`#/${await job('made SQL')}`);
	await more('Drop…');
	await dialog.waitFor();
	await button('Back', dialog).click();
	assert.equal(await value("SELECT count(*)::int FROM jobsched.jobs WHERE name = 'made SQL'"), 1);
	await more('Drop…');
	await answer('Drop made SQL');
	await until("NOT EXISTS (SELECT FROM jobsched.jobs WHERE name = 'made SQL')");
	await page.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
});

// --- runs -------------------------------------------------------------------

test('run: cancelled, running or waiting', async () => {
	const running = await run('reports', 'running');
	await visit(`#/run/${running}`);
	await button('Cancel').click();
	await answer(`Cancel run ${running}`);
	await until("(SELECT status = 'cancelled' FROM jobsched.runs WHERE run_id = $1)", 'the end', running);
	const waiting = await value("SELECT max(run_id) FROM jobsched.runs WHERE job_name = 'import' AND reason = 'waiting_for_event'");
	await visit(`#/run/${waiting}`);
	await button('Cancel').click();
	await answer(`Cancel run ${waiting}`);
	await until("(SELECT status = 'cancelled' FROM jobsched.runs WHERE run_id = $1)", 'the end', waiting);
});

test('run: its worker is terminated', async () => {
	await until("EXISTS (SELECT FROM jobsched.running WHERE job_name = 'reports')");
	const running = await value("SELECT run_id FROM jobsched.running WHERE job_name = 'reports'");
	await visit(`#/run/${running}`);
	await button('Terminate').click();
	await answer(`Terminate run ${running}`);
	await until("(SELECT status = 'cancelled' FROM jobsched.runs WHERE run_id = $1)", 'the end', running);
});

test('run: retried, with other arguments too, and triggered again', async () => {
	const unwell = await run('unwell', 'failed');
	await visit(`#/run/${unwell}`);
	await button('Retry').click();
	await until("EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'unwell' AND source = 'retry')");
	await visit(`#/run/${await value("SELECT min(run_id) FROM jobsched.dead_letters WHERE job_name = 'mails' AND source = 'trigger'")}`);
	await button('Retry with…').click();
	await answer('Retry', { Arguments: '{"error": "west", "item": 99}' });
	await until("EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'mails' AND source = 'retry' AND args ->> 'error' = 'west')");
	const before = await runs('order');
	await visit(`#/run/${await run('order', 'succeeded')}`);
	await button('Trigger again').click();
	await answer('Trigger');
	await until('(SELECT count(*) FROM jobsched.runs WHERE job_name = $1 AND source = $2) > $3', 'a run', 'order', 'trigger', before);
});

test('workflow: a step is skipped, and a run is retried from one', async () => {
	await visit(`#/run/${await run('approval', 'running')}`);
	const step = page.locator('tbody tr').filter({ has: page.getByText('note', { exact: true }) });
	await button('Skip', step).click();
	await answer('Skip step note');
	await until("(SELECT status = 'skipped' FROM jobsched.steps WHERE workflow = 'approval' AND step = 'note')");
	await visit(`#/run/${await value("SELECT min(run_id) FROM jobsched.workflows WHERE workflow = 'order'")}`);
	await button('Retry from…').click();
	await answer('Retry', { Step: ['ship'] });
	await until("EXISTS (SELECT FROM jobsched.steps s JOIN jobsched.runs r ON r.run_id = s.workflow_run_id WHERE s.workflow = 'order' AND r.source = 'retry' AND s.step = 'pack' AND s.reason = 'carried_over')");
});

test('runs: those that are selected, and all that match', async () => {
	const lost = await run('lost one', 'lost');
	await visit('#/runs?job=lost+one');
	await page.getByRole('checkbox', { name: `Select run ${lost}` }).check();
	await button('Retry 1').click();
	await answer('Retry 1 run');
	await until("EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'lost one' AND source = 'retry')");
	await visit('#/runs?job=count&status=queued');
	await button('Cancel all queued').click();
	await answer('Cancel them');
	await until("NOT EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'count' AND status = 'queued')");
});

test('dead letters: one, and all of a group', async () => {
	const one = await value("SELECT min(run_id) FROM jobsched.dead_letters WHERE job_name = 'refund'");
	await visit('#/dead?tab=all&job=refund');
	await button('Retry', row(String(one))).click();
	await until('NOT EXISTS (SELECT FROM jobsched.dead_letters WHERE run_id = $1)', 'it is retried', one);
	const last = await value("SELECT max(run_id) FROM jobsched.dead_letters WHERE job_name = 'mails'");
	await visit('#/dead?job=mails');
	await button('Retry all', page.locator('section.group')).click();
	await dialog.waitFor();
	await dialog.locator('button[type=submit]').click();
	await until("NOT EXISTS (SELECT FROM jobsched.dead_letters WHERE job_name = 'mails' AND run_id <= $1)", 'they are retried', last);
});

test('now: processing is stopped and started', async () => {
	await visit('#/now');
	await button('Stop processing').click();
	await answer('Stop processing');
	await button('Start processing').waitFor();
	const waits = await value("SELECT jobsched.trigger('count')");
	await until("(SELECT reason = 'processing_stopped' FROM jobsched.runs WHERE run_id = $1)", 'a run waits', waits);
	await button('Start processing').click();
	await answer('Start processing');
	await until("(SELECT status = 'succeeded' FROM jobsched.runs WHERE run_id = $1)", 'it is executed', waits);
});

// --- limits -----------------------------------------------------------------

test('queues', async () => {
	const queue = (what) => value(`SELECT ${what} FROM jobsched.queues WHERE name = 'made'`);
	await visit('#/queues');
	await button('Limit a queue').click();
	await answer('Set', { Queue: 'made', 'At once': '3', 'How often': '10', in: '1 minute', Burst: '5' });
	await closed();
	assert.equal(await queue("concat_ws(' ', owner, max_running, rate, per, burst, paused)"), 'shop 3 10 00:01:00 5 f');
	await button('Change', row('made')).click();
	await answer('Set', { 'At once': '', 'How often': '20' });
	await closed();
	assert.equal(await queue("concat_ws(' ', max_running, rate, per, burst, paused)"), '20 00:01:00 5 f');
	await button('Pause', row('made')).click();
	await answer('Pause');
	await until("(SELECT paused AND rate = 20 FROM jobsched.queues WHERE name = 'made')");
	await button('Resume', row('made')).click();
	await until("(SELECT NOT paused AND rate = 20 FROM jobsched.queues WHERE name = 'made')");
	await button('Drop', row('made')).click();
	await answer('Drop');
	await until("NOT EXISTS (SELECT FROM jobsched.queues WHERE name = 'made')");
});

test('a value that is refused stays in the dialog', async () => {
	await visit('#/queues');
	await button('Limit a queue').click();
	await answer('Set', { Queue: 'made', 'How often': '10' });
	await dialog.getByRole('alert').waitFor();
	seen.complaints.length = 0;
	assert.equal(await dialog.getByLabel('How often').inputValue(), '10');
	await answer('Set', { in: '1 hour' });
	await closed();
	assert.equal(await value("SELECT per::text FROM jobsched.queues WHERE name = 'made'"), '01:00:00');
	await value("SELECT jobsched.drop_queue('made')");
});

test('limits of keys', async () => {
	await visit('#/queues');
	await button('Limit keys').click();
	await answer('Set', { Class: 'made', 'At once': '1' });
	await closed();
	assert.equal(await value("SELECT max_running FROM jobsched.limits WHERE key_class = 'made'"), 1);
	const made = section('Limits of keys').locator('tbody tr').filter({ hasText: 'made' });
	await button('Change', made).click();
	await answer('Set', { 'At once': '2' });
	await closed();
	assert.equal(await value("SELECT max_running FROM jobsched.limits WHERE key_class = 'made'"), 2);
	await button('Drop', made).click();
	await answer('Drop');
	await until("NOT EXISTS (SELECT FROM jobsched.limits WHERE key_class = 'made')");
});

// --- alerts, channels, hooks, secrets ---------------------------------------

test('channels', async () => {
	await visit('#/alerts?tab=channels');
	await button('New channel').click();
	await answer('Go on', { 'How people are told': ['webhook'] });
	await dialog.getByLabel('URL', { exact: true }).waitFor();
	await answer('Make', { Name: 'made', URL: `${await value("SELECT split_part(url, '/slack', 1) FROM jobsched.channels WHERE name = 'slack'")}/made`, 'Signed with the secret': 'signing' });
	await closed();
	assert.equal(await value("SELECT concat_ws(' ', kind, sign_with) FROM jobsched.channels WHERE name = 'made'"), 'webhook signing');
	await button('Test', row('made')).click();
	await until("(SELECT last_sent_at IS NOT NULL FROM jobsched.channels WHERE name = 'made')", 'a test message');
	await button('Pause', row('made')).click();
	await answer('Pause', { Reason: 'holidays' });
	await until("(SELECT state = 'paused' FROM jobsched.channels WHERE name = 'made')");
	await button('Resume', row('made')).click();
	await until("(SELECT state = 'active' FROM jobsched.channels WHERE name = 'made')");
	await button('Change', row('made')).click();
	await answer('Change', { 'Signed with the secret': '', Headers: '{"X-Team": "shop"}' });
	await closed();
	assert.equal(await value("SELECT concat_ws(' ', sign_with, headers ->> 'X-Team') FROM jobsched.channels WHERE name = 'made'"), 'shop');
	await button('Drop', row('made')).click();
	await answer('Drop');
	await until("NOT EXISTS (SELECT FROM jobsched.channels WHERE name = 'made')");
});

test('alerts', async () => {
	const alert = (what) => value(`SELECT ${what} FROM jobsched.alerts WHERE name = 'made'`);
	const made = section('Alerts').locator('tbody tr').filter({ hasText: 'made' });
	await visit('#/alerts');
	await button('New alert').click();
	await answer('Make', { Name: 'made', Channels: 'ops, slack', Jobs: 'count, imp*', 'so many times': '2', within: '1 hour' });
	await closed();
	assert.equal(await alert("concat_ws(' ', owner, channels, jobs, threshold, within)"), 'shop {ops,slack} {count,imp*} 2 01:00:00');
	await button('Change', made).click();
	await answer('Change', { Channels: 'ops', 'Or has no success for': '1 day' });
	await closed();
	assert.equal(await alert("concat_ws(' ', channels, jobs, threshold, no_success_for)"), '{ops} {count,imp*} 2 24:00:00');
	await button('Mute', made).click();
	await answer('Mute', { 'How long': ['for 8 hours'] });
	await closed();
	assert.ok(await alert("bool_and(muted_until BETWEEN now() + interval '7 hours' AND now() + interval '9 hours')"));
	await button('Unmute', made).click();
	await answer('Unmute');
	await closed();
	assert.equal(await alert('max(muted_until)'), null);
	await button('Drop', made).click();
	await answer('Drop');
	await until("NOT EXISTS (SELECT FROM jobsched.alerts WHERE name = 'made')");
});

test('hooks', async () => {
	await visit('#/alerts?tab=hooks');
	await button('New hook').click();
	await answer('Make', { Name: 'made', 'Starts the job': 'count' });
	const token = (await dialog.locator('code').textContent()).trim();
	assert.ok(token.length > 20);
	await answer('I have it');
	await closed();
	assert.equal(await value("SELECT concat_ws(' ', job, verify) FROM jobsched.hooks WHERE name = 'made'"), 'count token');
	await button('Rotate', row('made')).click();
	await answer('Rotate');
	await dialog.locator('code').waitFor();
	assert.notEqual((await dialog.locator('code').textContent()).trim(), token);
	await answer('I have it');
	await closed();
	assert.ok(await value("SELECT old_token_until > now() FROM jobsched.hooks WHERE name = 'made'"));
	await button('Drop', row('made')).click();
	await answer('Drop');
	await until("NOT EXISTS (SELECT FROM jobsched.hooks WHERE name = 'made')");
});

test('secrets', async () => {
	await visit('#/secrets');
	await button('Set a secret').click();
	await answer('Set', { Name: 'made', Value: 'never to be seen' });
	await closed();
	const before = await value("SELECT updated_at FROM jobsched.secrets WHERE name = 'made' AND owner = 'shop'");
	await button('Replace', row('made')).click();
	await answer('Replace', { Value: 'never to be seen either' });
	await closed();
	assert.ok(await value("SELECT updated_at > $1 FROM jobsched.secrets WHERE name = 'made'", before));
	assert.ok(!(await page.content()).includes('never to be seen'), 'no value stays in the page');
	await button('Drop', row('made')).click();
	await answer('Drop');
	await until("NOT EXISTS (SELECT FROM jobsched.secrets WHERE name = 'made')");
});

test('what is said can be read by those who do not see it', async () => {
	await visit(`#/${await job('count')}`);
	await button('Trigger').click();
	await said('count is triggered');
	await page.getByRole('link', { name: /^run \d+$/ }).last().click();
	await page.getByRole('heading', { name: /^Run \d+|count/ }).first().waitFor();
});
