// What the tests of the page have in common: a browser, pages that note what they ask
// and complain of, and the database, in which they look for what the page has done.
//
//   DASHBOARD_LINK, DASHBOARD_WATCHER_LINK   links of two serve.mjs, of the owner and a watcher
//   DASHBOARD_DATABASE    a URL for pg, of the owner
//   DASHBOARD_SHOTS       a folder for screenshots; without it there are none
//   CHROMIUM              the browser; default: /usr/bin/chromium
//
// Nothing here sleeps: Playwright's locators wait for what is on the page, until() for
// what is in the database.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { chromium } from 'playwright-core';

export const PATIENCE = 30000;
export const link = process.env.DASHBOARD_LINK;
export const watcherLink = process.env.DASHBOARD_WATCHER_LINK;
export const shots = process.env.DASHBOARD_SHOTS;
export const origin = new URL(link).origin;
export const token = new URL(link).hash.slice('#token='.length);

// --- the database -----------------------------------------------------------

const pool = new pg.Pool({ connectionString: process.env.DASHBOARD_DATABASE, max: 2 });
pool.on('error', () => {});

// value: the first column of the first row.
export async function value(sql, ...parameters) {
	const { rows } = await pool.query({ text: sql, values: parameters, rowMode: 'array' });
	return rows[0]?.[0];
}

// until: waits for a condition, a function or SQL; fails with `what`.
export async function until(condition, what, ...parameters) {
	const end = Date.now() + PATIENCE;
	while (!(typeof condition === 'string' ? await value(`SELECT ${condition}`, ...parameters) : await condition())) {
		if (Date.now() > end)
			assert.fail(`waited in vain for: ${what ?? condition}`);
		await pause(25);
	}
}

// --- the browser ------------------------------------------------------------

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
	'--disable-component-update', '--disable-sync', '--disable-extensions', '--disable-default-apps'];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGUMENTS });
after(async () => {
	await browser.close();
	await pool.end();
});

// What the browser says of answers that are errors does not say which.
const FAILED = /Failed to load resource/;

// open: a page of its own browser profile, as `page`, with what it says and asks:
//   complaints (with `hushed` not of answers that are errors), requests (URL and method of each), api(path): those of the API
export async function open({ at = link, hash, scheme = 'light', width = 1360, height = 900, timezone = 'UTC', hushed = false } = {}) {
	const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height }, timezoneId: timezone, locale: 'en-US', reducedMotion: 'reduce' });
	const page = await context.newPage();
	const seen = { page, context, complaints: [], requests: [] };
	page.setDefaultTimeout(PATIENCE);
	page.on('console', (message) => {
		if (['error', 'warning'].includes(message.type()) && !FAILED.test(message.text()))
			seen.complaints.push(message.text());
	});
	page.on('response', async (answer) => {
		if (answer.status() >= 400 && !hushed)
			seen.complaints.push(`${answer.status()} ${decodeURIComponent(answer.url())} ${await answer.text().catch(() => '')}`);
	});
	page.on('pageerror', (error) => seen.complaints.push(error.stack));
	page.on('dialog', (dialog) => {
		if (dialog.type() !== 'beforeunload')
			seen.complaints.push(`dialog: ${dialog.message()}`);
		dialog.accept();
	});
	page.on('request', (request) => seen.requests.push({ url: request.url(), method: request.method(), at: Date.now() }));
	seen.api = (path = '') => seen.requests.filter(({ url }) => new URL(url).pathname.startsWith(`/api/${path}`));
	seen.go = (target) => show(page, target);
	seen.close = () => context.close();
	if (at !== null) {
		await page.goto(at);
		await page.locator('h1').waitFor();
		if (hash !== undefined)
			await show(page, hash);
	}
	return seen;
}

// show: a screen, until it has its data.
export async function show(page, hash) {
	await page.evaluate((target) => { location.hash = target; }, hash);
	await settled(page);
}

// settled: there is a title, nothing says that it is loading, and no request is under way.
export async function settled(page) {
	await page.locator('main h1').waitFor();
	await page.waitForFunction(() => !document.querySelector('.loading, .progress.on, .stale'));
}

export async function shot(page, name) {
	if (!shots)
		return;
	mkdirSync(shots, { recursive: true });
	await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

// --- axe-core ---------------------------------------------------------------

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// violations: as lines. The page's policy lets no script of ours be added to it, so it
// is evaluated from outside. What is drawn, and hundreds of names of time zones, are left out.
export async function violations(page) {
	if (!await page.evaluate(() => 'axe' in window))
		await page.evaluate(axe);
	const found = await page.evaluate(() => window.axe.run({ exclude: ['svg > *', 'datalist'] }, { resultTypes: ['violations'] }));
	return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)}: ${node.failureSummary?.replace(/\s+/g, ' ')}`));
}

// none: a list of complaints that shall be empty.
export const none = (list, what) => assert.deepEqual(list, [], what);
