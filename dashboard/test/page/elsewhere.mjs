// The page as a file on any web server, and a stand-in for a PostgREST elsewhere: another
// origin, which answers what serve.mjs answers, with CORS as PostgREST has it.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { origin, token } from './rig.mjs';

const CORS = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': '*', 'Access-Control-Allow-Methods': '*' };

// answer: what the API says to this request, without who is asked for being known to it.
// `good` is the token that is taken.
export async function answer({ method, path, headers, body }, good) {
	if (method === 'OPTIONS')
		return { status: 204, headers: CORS };
	if (headers.authorization !== `Bearer ${good}`)
		return { status: 401, headers: { ...CORS, 'Content-Type': 'application/json' }, body: JSON.stringify({ code: 'PGRST301', message: 'JWT invalid', details: null, hint: null }) };
	const passed = Object.fromEntries(['accept', 'accept-profile', 'content-profile', 'content-type'].filter((name) => headers[name]).map((name) => [name, headers[name]]));
	const found = await fetch(`${origin}/api${path}`, { method, body, headers: { ...passed, authorization: `Bearer ${token}` } });
	return { status: found.status, headers: { ...CORS, 'Content-Type': found.headers.get('content-type') ?? 'application/json' }, body: await found.text() };
}

async function listen(handle) {
	const server = createServer(async (request, response) => {
		const chunks = [];
		for await (const chunk of request)
			chunks.push(chunk);
		const { status = 200, headers, body } = await handle({ method: request.method, path: request.url, headers: request.headers, body: chunks.length > 0 ? Buffer.concat(chunks).toString() : undefined });
		response.writeHead(status, headers).end(body);
	});
	await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
	return { url: `http://127.0.0.1:${server.address().port}`, close() { server.closeAllConnections(); server.close(); } };
}

export const servePage = () => listen(() => ({ headers: { 'Content-Type': 'text/html' }, body: readFileSync(new URL('../../dist/index.html', import.meta.url)) }));
export const serveApi = (good) => listen((request) => answer(request, good));
