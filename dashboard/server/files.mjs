// The page. Which files there are is found out once, at the start; a request is looked
// up among their paths, as it is. No path is ever made of what a request says.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RestError } from './errors.mjs';

const MAX_FILES = 1000;
const types = new Map(Object.entries({
	html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8',
	svg: 'image/svg+xml', png: 'image/png', ico: 'image/x-icon', json: 'application/json', txt: 'text/plain; charset=utf-8',
}));

export class Files {
	constructor(directory) {
		this.paths = new Map();
		this.collect(directory, '');
		if (this.paths.has('/index.html'))
			this.paths.set('/', this.paths.get('/index.html'));
	}

	// Plain files only: a link could lead out of the directory.
	collect(directory, prefix) {
		for (const entry of entries(directory)) {
			const path = join(directory, entry.name);
			if (entry.name.startsWith('.'))
				continue;
			if (entry.isDirectory())
				this.collect(path, `${prefix}/${entry.name}`);
			else if (entry.isFile() && this.paths.size < MAX_FILES)
				this.paths.set(`${prefix}/${entry.name}`, path);
		}
	}

	answer(method, path) {
		const file = this.paths.get(path);
		if (file === undefined && path === '/')
			throw new RestError(404, 'DASH404', 'the page is not built', { hint: 'Without it the API can be used all the same.' });
		if (file === undefined)
			throw new RestError(404, 'DASH404', 'no such file');
		if (method !== 'GET' && method !== 'HEAD')
			throw new RestError(405, 'DASH405', `a file cannot be asked for with ${method}`, { headers: { Allow: 'GET, HEAD' } });
		const body = read(file);
		const type = types.get(/\.([a-z]+)$/.exec(file)?.[1]) ?? 'application/octet-stream';
		return { status: 200, headers: { 'Content-Type': type, 'Cache-Control': 'no-cache', ...policy(type, body) }, body };
	}
}

function entries(directory) {
	try {
		return readdirSync(directory, { withFileTypes: true });
	} catch (error) {
		if (error.code === 'ENOENT')
			return [];
		throw error;
	}
}

// A page that is being built anew can be away for a moment.
function read(file) {
	try {
		return readFileSync(file);
	} catch {
		throw new RestError(404, 'DASH404', 'no such file');
	}
}

// policy: what the page may do: its own scripts, and requests to this server only.
function policy(type, body) {
	if (!type.startsWith('text/html'))
		return {};
	const scripts = [...body.toString('utf8').matchAll(/<script(?:\s[^>]*)?>([^]*?)<\/script>/gi)]
		.map(([, text]) => text).filter((text) => text !== '')
		.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
	return {
		'Content-Security-Policy': ["default-src 'none'", ['script-src', "'self'", ...scripts].join(' '), "style-src 'self' 'unsafe-inline'",
			"img-src 'self' data:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"].join('; '),
	};
}
