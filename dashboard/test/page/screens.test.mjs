// Every screen, with data in it: opened from a link, in light and dark, on a desk and on
// a phone. It complains of nothing, axe-core finds nothing, nothing is wider than the
// window, and screenshots are kept for people to look at.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { none, open, origin, settled, shot, value, violations } from './rig.mjs';

const job = (name) => value('SELECT job_id FROM jobsched.jobs WHERE name = $1', name);
const run = (name, status) => value('SELECT max(run_id) FROM jobsched.runs WHERE job_name = $1 AND status = $2', name, status);
const ODD = '<b>odd</b> & "name"/1?';

const screens = {
	now: 'now', jobs: 'jobs', runs: 'runs', workflows: 'workflows', dead: 'dead', upcoming: 'upcoming', queues: 'queues', workers: 'workers', http: 'http',
	alerts: 'alerts', secrets: 'secrets', jobform: 'job/new',
	job: `job/${await job('import')}`, 'job-steps': `job/${await job('order')}`, edit: `job/${await job('mails')}/edit`,
	'run-failed': `run/${await run('mails', 'failed')}`, 'run-workflow': `run/${await run('order', 'succeeded')}`,
};

// Seen in one way on a desk and one on a phone: they are made of the same parts.
const kinds = {
	'job-http': `job/${await job('ping')}`, 'job-odd': `job/${await job(ODD)}`, 'job-paused': `job/${await job('cleanup')}`, 'edit-steps': `job/${await job('order')}/edit`,
	'edit-http': `job/${await job('order hook')}/edit`,
	'run-running': `run/${await run('reports', 'running')}`, 'run-retrying': `run/${await run('stubborn', 'retrying')}`, 'run-http': `run/${await run('order hook', 'succeeded')}`,
	'run-refund': `run/${await run('refund', 'failed')}`, 'run-approval': `run/${await run('approval', 'running')}`, 'run-odd': `run/${await run(ODD, 'failed')}`,
	'run-procedure': `run/${await run('subscription', 'retrying')}`, 'run-lost': `run/${await run('lost one', 'lost')}`,
	'run-batch': `run/${await value("SELECT run_id FROM jobsched.workflows WHERE kind = 'batch'")}`,
	'run-step': `run/${await run('order.each', 'succeeded')}`, 'run-none': 'run/999999999', 'job-none': 'job/999999999',
	'jobs-none': 'jobs?name=no+such+job', 'runs-failed': 'runs?status=failed', 'runs-none': 'runs?job=no+such+job', nowhere: 'nowhere',
};

const seen = await open();
const { page } = seen;
after(() => seen.close());

async function look(name, scheme, width, { axe = true } = {}) {
	await page.emulateMedia({ colorScheme: scheme });
	await page.setViewportSize({ width, height: width < 500 ? 800 : 900 });
	await settled(page);
	await shot(page, `${name}.${scheme}.${width}`);
	if (axe)
		none(await violations(page), `axe-core: ${scheme}, ${width} wide`);
	assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `no wider than ${width}`);
}

async function visit(hash) {
	seen.complaints.length = 0;
	await page.setViewportSize({ width: 1360, height: 900 });
	await seen.go(`#/${hash}`);
	assert.match(await page.title(), /^.+ · jobsched$/);
}

for (const [name, hash] of Object.entries(screens))
	test(name, async () => {
		await visit(hash);
		// Contrast is a matter of the theme, all else of the width: two of four tell all.
		await look(name, 'light', 1360);
		await look(name, 'dark', 1360, { axe: false });
		await look(name, 'dark', 375);
		await look(name, 'light', 375, { axe: false });
		none(seen.complaints);
	});

for (const [name, hash] of Object.entries(kinds))
	test(name, async () => {
		await visit(hash);
		await look(name, 'light', 1360);
		await look(name, 'dark', 375);
		none(seen.complaints);
	});

test('login', async () => {
	const other = await open({ at: `${origin}/` });
	await shot(other.page, 'login.light.1360');
	none(await violations(other.page));
	await other.page.emulateMedia({ colorScheme: 'dark' });
	await other.page.setViewportSize({ width: 375, height: 800 });
	await shot(other.page, 'login.dark.375');
	none(await violations(other.page));
	none(other.complaints);
	await other.close();
});

test('themes and times can be chosen, and are kept', async () => {
	const { page: mine, close } = await open({ hash: '#/jobs' });
	await mine.setViewportSize({ width: 1360, height: 900 });
	const theme = mine.getByRole('button', { name: /^Theme/ });
	await theme.click();
	await theme.click();
	assert.match(await theme.getAttribute('aria-label'), /dark/);
	await mine.getByRole('button', { name: /^Times/ }).click();
	await mine.reload();
	await settled(mine);
	assert.match(await theme.getAttribute('aria-label'), /dark/);
	assert.match(await mine.getByRole('button', { name: /^Times/ }).getAttribute('aria-label'), /UTC/);
	assert.equal(await mine.evaluate(() => document.documentElement.dataset.theme), 'dark');
	await close();
});
