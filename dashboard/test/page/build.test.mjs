// The page is one file, made of what is in page/, and asks nobody but the API.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { none, open, origin, settled, until } from './rig.mjs';

const home = join(dirname(fileURLToPath(import.meta.url)), '../..');
const built = readFileSync(join(home, 'dist/index.html'), 'utf8');

test('the sources give the page that is in dist', () => {
	const folder = mkdtempSync(join(tmpdir(), 'dashboard-'));
	execFileSync(process.execPath, [join(home, 'build.mjs'), folder]);
	assert.ok(readFileSync(join(folder, 'index.html'), 'utf8') === built, 'run `node build.mjs` in dashboard/');
});

test('it has the licences of what is in it', () => {
	const { devDependencies } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8'));
	for (const name of ['preact', 'htm', '@preact/signals', 'uplot'])
		assert.ok(built.includes(`${name} ${devDependencies[name]} (`), name);
	assert.match(built, /Apache License[\s\S]*Permission is hereby granted/);
});

test('it is small', () => {
	const size = brotliCompressSync(built).length;
	assert.ok(size < 100_000, `${size} bytes`);
});

test('its policy lets nothing else run', () => {
	const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(built)[1];
	assert.match(policy, /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; /);
	assert.doesNotMatch(policy, /unsafe|(src|data:) \*/);
	assert.equal(built.match(/<script/g).length, 1);
	assert.doesNotMatch(built, /<script[^>]+src|<link[^>]+stylesheet|@import|url\((?!["']?data:)/);
});

test('it asks its own origin only', async () => {
	const { page, requests, complaints, close } = await open({ hash: '#/jobs' });
	await page.reload();
	await settled(page);
	none(requests.map(({ url }) => url).filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith('data:')));
	none(requests.map(({ url }) => new URL(url)).filter(({ protocol, pathname }) => protocol !== 'data:' && pathname !== '/' && !pathname.startsWith('/api/')).map(String));
	none(complaints);
	await close();
});

test('what is not its own cannot run in it', async () => {
	const { page, complaints, close } = await open({ hash: '#/jobs' });
	await page.evaluate(() => {
		const script = document.createElement('script');
		script.textContent = 'window.ran = true';
		document.body.append(script);
	});
	assert.equal(await page.evaluate(() => window.ran), undefined);
	await until(() => complaints.some((text) => /Content Security Policy/.test(text)), 'the browser complains');
	await close();
});

test('the token is not left in the URL', async () => {
	const { page, close } = await open();
	assert.doesNotMatch(page.url(), /token/);
	await close();
});
