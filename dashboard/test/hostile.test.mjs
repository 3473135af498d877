// Whoever wants in, or wants more than he is given: other pages, wrong tokens, paths out
// of the directory, requests that are too long, too slow, or no HTTP; names and values
// that would like to be SQL. Needs what api.test.mjs needs.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { ask, json, port, token } from './link.mjs';

const host = `127.0.0.1:${port}`;
const authorization = `Authorization: Bearer ${token}`;

// raw: bytes as they are; what comes back until the server closes.
function raw(text, { after } = {}) {
	return new Promise((resolve, reject) => {
		const socket = net.connect(port, '127.0.0.1');
		const chunks = [];
		socket.on('connect', () => {
			socket.write(text);
			after?.(socket);
		});
		socket.on('data', (chunk) => chunks.push(chunk));
		socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
		socket.on('error', (error) => error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(Buffer.concat(chunks).toString('latin1')) : reject(error));
	});
}

const statusOf = (answer) => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
const simple = (...headers) => raw(['GET /api/shelf HTTP/1.1', 'Connection: close', ...headers, '', ''].join('\r\n')).then(statusOf);

// As a request without the headers that ask() adds.
function bare(method, path, headers) {
	return new Promise((resolve, reject) => {
		http.request({ host: '127.0.0.1', port, method, path, headers, agent: false }, (answer) => {
			answer.resume();
			answer.on('end', () => resolve(answer));
		}).on('error', reject).end();
	});
}

test('names of the host', async () => {
	assert.equal(await simple(`Host: ${host}`, authorization), 200);
	assert.equal(await simple(`Host: localhost:${port}`, authorization), 200);
	assert.equal(await simple(`Host: LOCALHOST:${port}`, authorization), 200);
	for (const name of ['evil.example', `evil.example:${port}`, `127.0.0.1.evil.example:${port}`, 'localhost', '127.0.0.1:1', `127.0.0.2:${port}`,
		`localhost:${port}.evil.example`, `user@${host}`, '', `${host} `.repeat(2)])
		assert.equal(await simple(`Host: ${name}`, authorization), 403, name);
	assert.equal(await simple(`Host: ${host}`, 'Host: evil.example', authorization), 403);
	assert.equal(await simple(`Host: evil.example`, `Host: ${host}`, authorization), 403);
	for (const hidden of ['Host: evil.example', 'Origin: http://evil.example'])
		assert.equal(await simple(`Host: ${host}`, authorization, ...Array(3000).fill('a:b'), hidden), 403, 'behind many others');
	assert.match(String(await simple(authorization)), /^40[03]$/, 'without a name, as Node.js 20 or 18 has it');
	assert.equal(statusOf(await raw(`GET /api/shelf HTTP/1.0\r\n${authorization}\r\n\r\n`)), 403);
	assert.equal(statusOf(await raw(`GET http://evil.example/api/shelf HTTP/1.1\r\nConnection: close\r\nHost: evil.example\r\n${authorization}\r\n\r\n`)), 403);
	assert.equal((await bare('GET', '/', { Host: 'evil.example' })).statusCode, 403, 'nor does it get the page');
});

test('other pages', async () => {
	const own = { Origin: `http://${host}`, 'Sec-Fetch-Site': 'same-origin' };
	assert.equal((await ask('GET', '/shelf', { headers: own })).status, 200);
	for (const Origin of ['http://evil.example', 'null', `https://${host}`, `http://localhost:${port}`, `http://127.0.0.1:${port}0`, '', 'http://127.0.0.1'])
		for (const method of ['GET', 'POST', 'OPTIONS', 'DELETE'])
			assert.equal((await ask(method, '/shelf', { headers: { Origin } })).status, 403, `${method} from "${Origin}"`);
	for (const site of ['cross-site', 'same-site', 'x'])
		assert.equal((await ask('GET', '/shelf', { headers: { 'Sec-Fetch-Site': site } })).status, 403, site);
	const answer = await ask('GET', '/shelf', { headers: own });
	assert.equal(Object.keys(answer.headers).some((name) => name.startsWith('access-control-')), false, 'nobody else may read');
	assert.deepEqual(['x-content-type-options', 'cache-control', 'cross-origin-resource-policy', 'referrer-policy', 'x-frame-options']
		.map((name) => answer.headers[name]), ['nosniff', 'no-store', 'same-origin', 'no-referrer', 'DENY']);
});

test('the token', async () => {
	for (const [given, code] of [[undefined, 'PGRST302'], ['', 'PGRST301'], ['Bearer', 'PGRST301'], ['Bearer x', 'PGRST301'], [`Basic ${token}`, 'PGRST301'],
		[`Bearer ${token}x`, 'PGRST301'], [`Bearer ${token.slice(1)}`, 'PGRST301'], [`Bearer ${token} ${token}`, 'PGRST301'], ['Bearer ' + 'x'.repeat(9999), 'PGRST301']]) {
		const answer = await raw(['GET /api/shelf HTTP/1.1', `Host: ${host}`, 'Connection: close',
			...(given === undefined ? [] : [`Authorization: ${given}`]), '', ''].join('\r\n'));
		assert.equal(statusOf(answer), 401, given);
		assert.ok(answer.includes(`"code":"${code}"`), given);
		assert.match(answer, /WWW-Authenticate: Bearer\r\n/);
	}
	assert.equal((await bare('GET', `/api/shelf?token=${token}`, {})).statusCode, 401, 'it is not taken from the URL');
	assert.equal((await bare('GET', '/api/shelf', { Cookie: `token=${token}` })).statusCode, 401, 'nor from a cookie');
	assert.equal((await bare('OPTIONS', '/api/shelf', {})).statusCode, 401);
	assert.equal(Buffer.from(token, 'base64url').length, 32);
});

test('files', async () => {
	for (const path of ['/../package.json', '/..%2fpackage.json', '/%2e%2e/package.json', '/..\\package.json', '//etc/passwd', '/./../serve.mjs', '/serve.mjs',
		'/%00', '/index.html%00.js', '/constructor', '/__proto__', '/.git/config', '/apix', '/node_modules/pg/package.json', '/....//package.json', '/%'])
		assert.equal(statusOf(await raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)), 404, path);
	for (const path of ['/api/../shelf', '/api//shelf', '/api/shelf/', '/api/rpc/', '/api/rpc/a/b'])
		assert.equal(statusOf(await raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\nConnection: close\r\n\r\n`)), 404, path);
});

test('requests that are too long', async () => {
	const long = JSON.stringify({ what: 'x'.repeat(2 * 1024 * 1024) });
	const answer = await ask('POST', '/rpc/echo', { body: long, headers: { 'Content-Length': long.length } });
	assert.deepEqual([answer.status, json(answer).code], [413, 'DASH413']);
	const chunked = await ask('POST', '/rpc/echo', { body: long, headers: { 'Transfer-Encoding': 'chunked' } });
	assert.equal(chunked.status, 413);
	const endless = await raw(`POST /api/rpc/echo HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\nTransfer-Encoding: chunked\r\n\r\n`, { after: (socket) => {
		const chunk = Buffer.from(`100000\r\n${'x'.repeat(0x100000)}\r\n`);
		const more = () => socket.destroyed || socket.write(chunk, more);
		more();
	} });
	assert.ok(endless === '' || statusOf(endless) === 413, 'one that never ends is cut off');
	assert.equal(JSON.parse((await ask('POST', '/rpc/echo', { body: JSON.stringify({ what: 'x'.repeat(1000000) }) })).body).what.length, 1000000);
	assert.equal(await simple(`Host: ${host}`, `X-Long: ${'x'.repeat(70000)}`), 431);
	assert.equal(statusOf(await raw(`GET /api/shelf?x=${'y'.repeat(70000)} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)), 431);
	assert.equal((await ask('GET', `/shelf?${'label=eq.x&'.repeat(300)}`)).status, 400);
	assert.equal((await ask('GET', `/shelf?select=${'label,'.repeat(300)}label`)).status, 400);
	assert.equal((await ask('GET', `/shelf?and=${'(and'.repeat(3000)}`)).status, 400);
});

test('messages that are too long', async () => {
	for (const name of ['shout', 'fail_at_length']) {
		assert.match((await ask('POST', `/rpc/${name}`, { body: '{"n": 1000}' })).body, /^1$|x{1000}/);
		const answer = await ask('POST', `/rpc/${name}`, { body: '{"n": 68000000}' });
		assert.deepEqual([answer.status, json(answer).code], [413, 'DASH413'], name);
		assert.equal((await ask('GET', '/shelf')).status, 200);
	}
});

test('what is no HTTP, or half of one', async () => {
	for (const text of ['hello\r\n\r\n', 'GET\r\n\r\n', '\0\0\0\0', `GET /api/shelf HTTP/1.1\r\nHost: ${host}\r\nX: a\0b\r\n\r\n`,
		`GET /api/shelf HTTP/1.1\r\nHost: ${host}\r\nbad header\r\n\r\n`, `GET /api/\x01 HTTP/9.9\r\n\r\n`,
		`POST /api/rpc/echo HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
		`POST /api/rpc/echo HTTP/1.1\r\nHost: ${host}\r\nContent-Length: -5\r\n\r\n`,
		`POST /api/rpc/echo HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx`])
		assert.equal(statusOf(await raw(text)), 400, JSON.stringify(text));
	await raw(`POST /api/rpc/echo HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\nContent-Length: 100\r\n\r\n{"what`, { after: (socket) => socket.end() });
	await raw(`GET /api/rpc/wait?seconds=1 HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\n\r\n`, { after: (socket) => socket.destroy() });
	assert.equal((await ask('GET', '/shelf')).status, 200, 'it goes on');
});

test('one that is slow is sent away', async () => {
	const [head, body] = await Promise.all([raw(`GET /api/shelf HTTP/1.1\r\nHost: ${host}\r\nX-Slow: `), raw('')]);
	assert.equal(statusOf(head), 408);
	assert.ok(body === '' || statusOf(body) === 408);
});

test('bodies', async () => {
	const of = async (body, headers) => {
		const answer = await ask('POST', '/rpc/twice', { body, headers });
		return [answer.status, answer.status === 200 ? answer.body : json(answer).code];
	};
	for (const body of ['{', '{"n": 1', '{n: 1}', "{'n': 1}", '{"n": 1}x', 'NaN', '{"n": 0x1}', '\ufeff{"n": 1}', '{"n": 1,}', '{"n":"\u0001"}'])
		assert.deepEqual(await of(body), [400, 'PGRST102'], body);
	for (const body of ['[1]', '1', 'null', '"x"', '[]', 'true'])
		assert.deepEqual(await of(body), [400, 'PGRST102'], body);
	assert.deepEqual(await of(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), [400, 'PGRST102']);
	assert.deepEqual(await of('[{"n": 1}]'), [501, 'DASH501']);
	assert.deepEqual(await of('{"n": 1, "n": 2}'), [200, '4']);
	assert.deepEqual(await of('{"n": 1, "__proto__": {"plus": 5}}'), [404, 'PGRST202']);
	assert.deepEqual(await of('{"__proto__": null, "constructor": 1}'), [404, 'PGRST202']);
	assert.deepEqual(await of('{"n": "\\u0000"}'), [400, '22P05']);
	assert.deepEqual(await of('{"n": "\\ud800"}'), [400, '22P02']);
	assert.deepEqual(await of('{"n": 1e400}'), [400, '22P02']);
	assert.deepEqual(await of('{"n": 99999999999}'), [400, '22003']);
	assert.equal((await of(`{"n": ${'['.repeat(400000)}${']'.repeat(400000)}}`))[1], '54001');
	assert.equal((await of(`{${Array.from({ length: 20000 }, (_, i) => `"k${i}":1`).join()}}`))[0], 404);
	assert.deepEqual(await of('{"n": 1}', { 'Content-Type': 'text/plain' }), [415, 'PGRST102']);
	assert.deepEqual(await of('{"n": 1}', { 'Content-Type': 'application/x-www-form-urlencoded' }), [415, 'PGRST102']);
	const notes = await ask('POST', '/note', { body: '[{"note_id": 70, "body": "x", "__proto__": 1}]' });
	assert.deepEqual([notes.status, json(notes).code], [400, 'PGRST204']);
	assert.equal({}.plus, undefined);
});

test('headers', async () => {
	for (const [name, value] of [['Range', 'x'], ['Range', '1-0-9'], ['Range', '-5'], ['Range', 'bytes=0-1'], ['Prefer', 'count=many'], ['Prefer', '=,=,=;;'],
		['Prefer', `timezone=${'x'.repeat(5000)}`], ['Prefer', "timezone='; DROP TABLE library.note; --"], ['Accept', ';;,,;q=x'], ['Accept', '*/*;q=9e9'],
		['Accept-Profile', 'library'], ['X-Forwarded-Host', 'evil.example'], ['X-HTTP-Method-Override', 'DELETE'], ['__proto__', 'x'], ['Expect', '100-continue'],
		['Upgrade', 'websocket']]) {
		const answer = await ask('GET', '/shelf', { headers: { [name]: value } });
		assert.ok([200, 406].includes(answer.status), `${name}: ${value} gives ${answer.status}`);
	}
	assert.equal((await ask('GET', '/shelf', { headers: { 'Accept-Profile': 'library"; DROP' } })).status, 406);
	assert.equal((await ask('GET', '/shelf', { headers: { Range: '5-1' } })).status, 416);
	assert.equal((await ask('GET', `/shelf?offset=${'9'.repeat(300)}`, { headers: { Range: `${'9'.repeat(300)}-` } })).status, 200);
	const split = await raw(`GET /api/shelf?select=a%0d%0aSet-Cookie:%20x=1 HTTP/1.1\r\nHost: ${host}\r\n${authorization}\r\nPrefer: timezone=UTC%0d%0aX: y\r\nConnection: close\r\n\r\n`);
	assert.doesNotMatch(split, /^(?:Set-Cookie|X):/im);
});

test('SQL in names and values', async () => {
	const bad = ['"; DROP TABLE library.note; --', "'; DROP TABLE library.note; --", 'x" FROM library.safe; --', '$1', '$$', '\\', "\\'", '%00', '%27%29', 'a%22b', '/*', '--',
		'pg_sleep(9)', '(SELECT secret FROM library.safe)', 'label) OR (true', '%F0%9F%98%80', '%C2%A0', 'label::regclass', 'ctid', 'xmin', 'tableoid', 'shelf'];
	for (const one of bad.map((text) => text.includes('%') ? text : encodeURIComponent(text))) {
		for (const path of [`/${one}`, `/rpc/${one}`, `/shelf?${one}=eq.1`, `/shelf?select=${one}`, `/shelf?order=${one}`, `/shelf?label=eq.${one}`, `/shelf?label=in.(${one})`,
			`/shelf?or=(${one}.eq.1)`, `/shelf?or=(label.eq.${one})`, `/book?select=facts->${one}`, `/book?facts->>${one}=eq.1`, `/book?select=x:${one}`, `/book?select=${one}:title`,
			`/shelf?select=label::${one}`, `/shelf?limit=${one}`, `/shelf?offset=${one}`, `/shelf?shelf_id=is.${one}`, `/rpc/twice?n=${one}`, `/rpc/twice?${one}=1`,
			`/rpc/states?state=eq.${one}`]) {
			const answer = await ask('GET', path);
			assert.ok(answer.status < 500 || answer.status === 501, `${path}: ${answer.status} ${answer.body}`);
			assert.doesNotMatch(answer.body, /"code":"(?:42601|XX|42P18)/, path);
		}
	}
	assert.equal((await ask('GET', '/note')).status, 200);
	assert.equal(json(await ask('GET', '/shelf?label=eq.%00')).code, '22021');
});

test('nothing is left for the next request', async () => {
	const clean = { role: 'clerk', encoding: 'UTF8', read_only: 'off', secret: '', locks: 0, channels: 0, tables: 0 };
	for (let i = 0; i < 10; i++) {
		assert.equal((await ask('POST', '/rpc/leave_behind', { body: '{}' })).status, 204);
		assert.deepEqual(json(await ask('POST', '/rpc/left_behind', { body: '{}' })), clean);
	}
});

test('operators of others do not see what is asked of the catalog', async () => {
	assert.equal((await ask('POST', '/rpc/twice', { body: '{"n": 1}' })).body, '2');
	assert.equal((await ask('GET', '/shelf')).status, 200);
});

// A generator that gives the same numbers on each run.
function random(seed) {
	let state = seed;
	return (n) => {
		state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
		return Math.floor(state / 0x80000000 * n);
	};
}

test('queries at random never become wrong SQL', async () => {
	const next = random(20260301);
	const pieces = ['book_id', 'title', 'facts', 'loan', 'subjects', 'nothing', '"', '->', '->>', '0', '-1', ',', '.', ':', '::', 'text', 'int', '(', ')', '()', '*', 'eq', 'not', 'in',
		'is', 'null', 'and', 'or', 'like', 'cs', '{', '}', 'asc', 'desc', 'nullsfirst', '%25', '%5C', '%27', '+', 'é', '!', '...', 'count', '=', 'x'];
	const some = (n) => Array.from({ length: 1 + next(n) }, () => pieces[next(pieces.length)]).join('');
	const seen = new Map();
	for (let i = 0; i < 1500; i++) {
		const parts = [`select=${some(5)}`, `order=${some(4)}`, `or=(${some(8)})`, `${some(3)}=${some(5)}`, `title=eq.${some(4)}`, `facts=${some(5)}`];
		const path = `/book?${parts.filter(() => next(3) === 0).join('&')}`;
		const answer = await ask('GET', encodeURI(path).replaceAll('%25', '%'));
		const code = answer.status < 300 ? 'ok' : json(answer).code;
		seen.set(code, (seen.get(code) ?? 0) + 1);
		assert.ok(answer.status < 500 || answer.status === 501, `${path}: ${answer.status} ${answer.body}`);
		assert.doesNotMatch(code, /^(42601|42P18|XX|42P02|DASH500)/, `${path}: ${answer.body}`);
	}
	assert.ok(seen.get('ok') > 50 && seen.get('PGRST100') > 50 && seen.get('42703') > 10, JSON.stringify([...seen]));
});

test('many at a time', async () => {
	const answers = await Promise.all(Array.from({ length: 80 }, (_, i) => ask('GET', `/rpc/twice?n=${i}`)));
	assert.deepEqual(answers.map((answer) => answer.body), Array.from({ length: 80 }, (_, i) => String(2 * i)));
	const slow = await Promise.all(Array.from({ length: 20 }, () => ask('POST', '/rpc/wait', { body: '{"seconds": 0.3}' })));
	assert.ok(slow.every((answer) => answer.status === 200));
});
