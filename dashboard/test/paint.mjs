#!/usr/bin/env node
// How fast the page is there: medians of 10 openings, each by a browser without a cache.
//
//   node dashboard/test/paint.mjs "LINK"
//
// LINK is what serve.mjs prints. One line comes out, as from the scripts of bench/:
// first_paint_ms (something is seen), data_ms (the start has all its data), the size of
// the page and of what is sent of it by a server that compresses, in bytes.

import { brotliCompressSync, gzipSync } from 'node:zlib';
import { chromium } from 'playwright-core';

const [link] = process.argv.slice(2);
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });

async function openOnce() {
	const context = await browser.newContext({ viewport: { width: 1360, height: 900 } });
	const page = await context.newPage();
	const start = Date.now();
	await page.goto(link);
	await page.waitForFunction(() => document.querySelector('main h1') && !document.querySelector('.loading, .progress.on, .stale'));
	const data = Date.now() - start;
	const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
	await context.close();
	return { paint, data };
}

const seen = [];
for (let i = 0; i < 10; i++)
	seen.push(await openOnce());
await browser.close();
const page = Buffer.from(await (await fetch(new URL('/', link))).arrayBuffer());
console.log(`page first_paint_ms=${Math.round(median(seen.map(({ paint }) => paint)))} data_ms=${median(seen.map(({ data }) => data))} `
	+ `bytes=${page.length} gzip=${gzipSync(page, { level: 9 }).length} brotli=${brotliCompressSync(page).length}`);
