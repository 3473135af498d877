#!/usr/bin/env node
// Makes dist/index.html of page/: one file with script, style and the licences of what
// is in it, and a policy that lets only this script run. The same sources make the same
// bytes; a test compares. `node build.mjs DIRECTORY` writes there instead.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const home = dirname(fileURLToPath(import.meta.url));
const target = process.argv[2] ?? join(home, 'dist');
const packages = ['preact', 'htm', '@preact/signals', 'uplot'];

async function bundle(entry, options) {
	const { outputFiles } = await build({ entryPoints: [join(home, entry)], absWorkingDir: home, bundle: true, minify: true, write: false,
		target: 'es2022', legalComments: 'none', charset: 'utf8', ...options });
	return outputFiles[0].text.trimEnd();
}

function licences() {
	return packages.map((name) => {
		const folder = join(home, 'node_modules', name);
		const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
		return `${name} ${version} (${license})\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8').trim()}`;
	}).join('\n\n----\n\n').replaceAll('--', '- -');
}

const digest = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

// It may run in any host's page, and asks the API that a person names.
const policy = (script, style) => ["default-src 'none'", `script-src ${digest(script)}`, `style-src ${digest(style)}`, 'img-src data:',
	"connect-src 'self' https: http://127.0.0.1:* http://localhost:*", "base-uri 'none'", "form-action 'none'"].join('; ');

// What ends a script in HTML must not be in one.
const script = (await bundle('page/main.js', { format: 'iife' })).replaceAll('</script', '<\\/script');
const style = await bundle('page/style.css', {});
const parts = {
	policy: `<meta http-equiv="Content-Security-Policy" content="${policy(script, style)}">`,
	style: `<style>${style}</style>`,
	script: `<script>${script}</script>`,
};
const page = readFileSync(join(home, 'page/index.html'), 'utf8').replace(/<!-- (policy|style|script) -->/g, (whole, name) => parts[name])
	.replace('<html', () => `<!--\nMade by build.mjs of page/; do not edit. jobsched is under the PostgreSQL licence. In it are:\n\n${licences()}\n-->\n<html`);

mkdirSync(target, { recursive: true });
writeFileSync(join(target, 'index.html'), page);
