// The HTTP of it: limits of sizes and times, who may come in, and which part answers.
// Every request ends in an answer: what no part has foreseen is a 500 that says nothing
// of its cause to the client.

import { createServer } from 'node:http';
import { RestError, fromDatabase } from './errors.mjs';

const API = '/api';
const MAX_BODY = 1024 * 1024;
const MAX_DRAINED = 16 * MAX_BODY;
const limits = {
	maxHeaderSize: 65536, headersTimeout: 10000, requestTimeout: 30000, keepAliveTimeout: 5000, connectionsCheckingInterval: 1000,
};
const always = {
	'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer', 'Cross-Origin-Resource-Policy': 'same-origin',
	'Cross-Origin-Opener-Policy': 'same-origin', 'X-Frame-Options': 'DENY',
};

// slowest: milliseconds that an answer may take.
export function makeServer({ gate, files, rest, log, slowest }) {
	const server = createServer(limits, (request, response) => {
		respond({ gate, files, rest }, request).catch((error) => failure(error, log)).then((answer) => send(request, response, answer))
			.catch((error) => {
				log(error.stack);
				request.destroy();
			});
	});
	server.maxConnections = 100;
	// All that fit into the size: what Node.js would leave out could be a second Host.
	server.maxHeadersCount = 0;
	// A client that does not take its answer.
	server.setTimeout(slowest + 30000, (socket) => socket.destroy());
	server.on('clientError', refuse);
	return server;
}

async function respond({ gate, files, rest }, request) {
	gate.checkOrigin(request);
	const [, path, query] = /^([^?#]*)\??([^#]*)/.exec(request.url);
	if (path !== API && !path.startsWith(`${API}/`))
		return files.answer(request.method, path);
	gate.checkToken(request);
	const answer = await rest.answer({
		method: request.method, path: path.slice(API.length) || '/', query, headers: request.headers, body: await readBody(request),
	});
	return { ...answer, headers: { 'Cache-Control': 'no-store', ...answer.headers } };
}

function failure(error, log) {
	const known = error instanceof RestError ? error : unforeseen(error, log);
	return {
		status: known.status, body: known.body(),
		headers: {
			'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store', 'Proxy-Status': `PostgREST; error=${known.code}`,
			...known.headers,
		},
	};
}

function unforeseen(error, log) {
	const known = isOurs(error) ? new RestError(500, 'DASH500', 'internal error') : fromDatabase(error);
	if (known.code === 'DASH500')
		log(error.stack);
	else if (known.code === 'PGRST001')
		log(`no connection to the database: ${error.message || error.code}`);
	return known;
}

// A mistake in this program; the driver throws plain errors.
const isOurs = (error) => error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError || error instanceof SyntaxError;

function send(request, response, { status, headers, body }) {
	const bytes = Buffer.from(body);
	response.writeHead(status, {
		...always, ...headers, ...(status === 204 ? {} : { 'Content-Length': bytes.length }), ...(request.complete ? {} : { Connection: 'close' }),
	});
	response.end(request.method === 'HEAD' || status === 204 ? undefined : bytes);
	if (!request.complete)
		drain(request);
}

// What a refused client still sends is thrown away for a while, so that it reads why.
function drain(request) {
	let drained = 0;
	request.on('data', (chunk) => {
		drained += chunk.length;
		if (drained > MAX_DRAINED)
			request.destroy();
	});
	request.on('error', () => {});
	request.resume();
}

function tooLong() {
	return new RestError(413, 'DASH413', 'the request is too long', { details: `A body can have ${MAX_BODY} bytes.` });
}

async function readBody(request) {
	const chunks = [];
	let size = 0;
	if (Number(request.headers['content-length'] ?? 0) > MAX_BODY)
		throw tooLong();
	await new Promise((resolve, reject) => {
		request.on('data', (chunk) => {
			size += chunk.length;
			if (size > MAX_BODY)
				reject(tooLong());
			else
				chunks.push(chunk);
		});
		request.on('end', resolve);
		request.on('error', () => reject(new RestError(400, 'DASH400', 'the request broke off')));
	});
	try {
		return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
	} catch {
		throw new RestError(400, 'PGRST102', 'Empty or invalid json', { details: 'The body is not UTF-8.' });
	}
}

// What is no HTTP, or too slow or long for it.
const refusals = new Map([['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'], ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout']]);

function refuse(error, socket) {
	if (error.code === 'ECONNRESET' || !socket.writable)
		return socket.destroy();
	// At once it would take the answer away from a client that still sends.
	setTimeout(() => socket.destroy(), 1000);
	return socket.end(`HTTP/1.1 ${refusals.get(error.code) ?? '400 Bad Request'}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
