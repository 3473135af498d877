#!/usr/bin/env node
// Makes the pictures of the manual, doc/pictures/*.png:
//
//   node dashboard/test/pictures.mjs "LINK" [folder]
//
// LINK is what serve.mjs prints, started as role shop in a database that stage.sql has
// filled. A workflow is added to it. Look at the pictures before you commit them.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { smaller } from './png.mjs';

const [link, folder = fileURLToPath(new URL('../../doc/pictures', import.meta.url))] = process.argv.slice(2);
const { origin, hash } = new URL(link);
const headers = { Authorization: `Bearer ${hash.slice('#token='.length)}`, 'Content-Type': 'application/json' };

async function ask(path, body) {
	const answer = await fetch(`${origin}/api/${path}`, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
	if (!answer.ok)
		throw new Error(await answer.text());
	return answer.json();
}

const first = async (path) => (await ask(path))[0];

const sleep = (seconds) => `SELECT pg_sleep(${seconds})`;
const steps = [
	{ name: 'reserve', command: sleep(0.4) },
	{ name: 'charge', command: sleep(1.2), after: ['reserve'] },
	{ name: 'pack', command: sleep(2.1), after: ['reserve'] },
	{ name: 'labels', for_each: 'SELECT to_jsonb(g) FROM generate_series(1, 6) g', command: sleep(0.3), after: ['charge'] },
	{ name: 'ship', command: sleep(0.6), after: ['pack', 'labels'] },
	{ name: 'apologize', command: 'SELECT 1', after: ['charge'], when: 'failure' },
];

async function makeWorkflow() {
	await ask('rpc/create_job', { name: 'order', steps, description: 'From the basket to the parcel', if_exists: 'update' });
	const run = await ask('rpc/trigger', { job: 'order', args: { order: 4711 } });
	for (;;) {
		const { status } = await first(`runs?select=status&run_id=eq.${run}`);
		if (status === 'succeeded')
			return run;
	}
}

const run = await makeWorkflow();
const failed = await first('dead_letters?select=run_id&job_name=eq.stock&order=run_id.desc&limit=1');
const job = await first('jobs?select=job_id&name=eq.search-index');
const pictures = {
	now: ['now?range=7d', 1000], job: [`job/${job.job_id}?range=30d`, 720], run: [`run/${failed.run_id}`, 760], workflow: [`run/${run}`, 860],
};

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
const page = await (await browser.newContext({ viewport: { width: 1240, height: 900 }, colorScheme: 'light', timezoneId: 'UTC', locale: 'en-US' })).newPage();
await page.goto(link);
mkdirSync(folder, { recursive: true });
for (const [name, [screen, height]] of Object.entries(pictures)) {
	await page.setViewportSize({ width: 1240, height });
	await page.evaluate((target) => { location.hash = `#/${target}`; }, screen);
	await page.waitForFunction(() => document.querySelector('main h1') && !document.querySelector('.loading, .progress.on, .stale'));
	await page.evaluate(() => document.activeElement?.blur());
	const file = join(folder, `${name}.png`);
	await page.screenshot({ path: file });
	writeFileSync(file, smaller(readFileSync(file)));
}
await browser.close();
