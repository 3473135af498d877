// The page without a mouse: every way is a key or a tab, the focus is seen, and nothing
// that is typed into a field is taken for a key of ours.

import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { none, open, settled, until, value } from './rig.mjs';

const seen = await open();
const { page } = seen;
after(() => seen.close());
afterEach(() => none(seen.complaints.splice(0)));

const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
const focused = () => page.evaluate(() => {
	const { tagName, textContent, className } = document.activeElement;
	return { tagName, className, text: textContent.trim().slice(0, 60) };
});

// firstRow: keys are taken a moment after the rows are there.
const firstRow = () => until(async () => {
	if (!(await focused()).className.includes('row'))
		await press('j');
	return (await focused()).className.includes('row');
}, 'the focus is in the first row');

test('keys lead to each screen', async () => {
	for (const [key, title] of Object.entries({ j: 'Jobs', r: 'Runs', f: 'Workflows', d: 'Dead letters', u: 'Upcoming', q: 'Queues and limits', w: 'Workers', h: 'HTTP', a: 'Alerts and channels', s: 'Secrets', n: 'Now' })) {
		await press('g', key);
		await page.getByRole('heading', { name: title, exact: true, level: 1 }).waitFor();
	}
});

test('from the start to the retry of a run', async () => {
	await press('g', 'n', 'g', 'r');
	await page.getByRole('heading', { name: 'Runs', exact: true }).waitFor();
	await press('/');
	await page.keyboard.type('too long');
	await page.waitForURL(/job=too/);
	await settled(page);
	await press('Escape');
	await firstRow();
	assert.match((await focused()).text, /^\d+$/);
	const run = (await focused()).text;
	await press('Enter');
	await page.waitForURL(new RegExp(`#/run/${run}$`));
	await page.getByRole('button', { name: 'Retry', exact: true }).waitFor();
	await press('R');
	await until("(SELECT count(*) = 1 FROM jobsched.runs WHERE job_name = 'too long' AND source = 'retry')", 'the retry');
});

test('a dialog takes the focus, and gives it back', async () => {
	await seen.go(`#/job/${await value("SELECT job_id FROM jobsched.jobs WHERE name = 'count'")}`);
	await page.getByRole('button', { name: 'Trigger with…' }).focus();
	await press('Enter');
	await page.getByRole('dialog').waitFor();
	for (let i = 0; i < 8; i++) {
		await press('Tab');
		assert.ok(await page.evaluate(() => document.activeElement === document.body || document.querySelector('dialog[open]').contains(document.activeElement)), 'the focus stays in it');
	}
	await press('Escape');
	await page.getByRole('dialog').waitFor({ state: 'hidden' });
	assert.match((await focused()).text, /Trigger with/);
	await press('p');
	await page.getByRole('dialog').waitFor();
	await page.keyboard.type('by a key');
	await press('Enter');
	await until("(SELECT state = 'paused' AND state_reason ~ 'by a key' FROM jobsched.jobs WHERE name = 'count')");
	await page.getByRole('button', { name: 'Resume', exact: true }).waitFor();
	await press('p');
	await until("(SELECT state = 'active' FROM jobsched.jobs WHERE name = 'count')");
});

test('rows are gone through and selected', async () => {
	await seen.go('#/jobs');
	await firstRow();
	await press('j');
	const second = await page.locator('tbody tr a.row').nth(1).textContent();
	assert.equal((await focused()).text, second.trim());
	await press('x');
	assert.ok(await page.locator('tbody tr').nth(1).getByRole('checkbox').isChecked());
	await press('k', 'x');
	await page.getByText('2 rows selected').waitFor();
	await page.getByRole('button', { name: 'Clear' }).click();
});

test('help lists the keys', async () => {
	await press('?');
	const help = page.getByRole('dialog', { name: 'Keys' });
	await help.waitFor();
	for (const name of ['Go to Runs', 'Refresh', 'Search', 'Next row'])
		await help.getByText(name, { exact: true }).waitFor();
	await press('Escape');
	await help.waitFor({ state: 'hidden' });
	await page.getByRole('button', { name: '? keys' }).focus();
	await press('Enter');
	await help.waitFor();
	await press('Escape');
	await help.waitFor({ state: 'hidden' });
});

test('what is typed is no key', async () => {
	await seen.go('#/jobs');
	await press('/');
	await page.keyboard.type('gr?');
	await page.waitForURL(/name=gr/);
	assert.match(page.url(), /#\/jobs\?/);
	assert.equal(await page.getByRole('dialog').count(), 0);
	await press('Escape');
	await seen.go('#/jobs');
});

test('the focus is always seen', async () => {
	for (const hash of ['#/now', '#/jobs', '#/runs', '#/queues', '#/job/new']) {
		await seen.go(hash);
		await page.getByRole('link', { name: 'jobsched', exact: true }).focus();
		for (let i = 0; i < 40; i++) {
			await press('Tab');
			const found = await page.evaluate(() => {
				const one = document.activeElement;
				const box = one.getBoundingClientRect();
				// The ring of a radio button may be around its label.
				const ring = [one, one.closest('label')].some((around) => around && getComputedStyle(around).outlineStyle !== 'none' && parseFloat(getComputedStyle(around).outlineWidth) > 0);
				return { body: one === document.body, html: one.outerHTML.slice(0, 120), ring,
					seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight };
			});
			if (found.body)
				break;
			assert.ok(found.ring, `${hash}: no ring around ${found.html}`);
			assert.ok(found.seen, `${hash}: not in sight: ${found.html}`);
		}
	}
});

test('the menu can be passed over', async () => {
	await seen.go('#/jobs');
	await page.locator('a.skip').focus();
	await press('Enter');
	assert.ok(await page.evaluate(() => document.activeElement.id === 'main'));
});

test('on a phone there is a menu', async () => {
	const { page: phone, close, complaints } = await open({ width: 375, height: 740 });
	const jobs = phone.getByRole('link', { name: 'Jobs', exact: true });
	await jobs.waitFor({ state: 'hidden' });
	await phone.getByRole('button', { name: 'Menu' }).click();
	await jobs.click();
	await phone.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
	await jobs.waitFor({ state: 'hidden' });
	none(complaints);
	await close();
});
