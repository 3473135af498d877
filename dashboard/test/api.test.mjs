// The API, asked by the client that pages and programs use, @supabase/postgrest-js, and
// by hand where the client would not ask such a thing. What is expected is what a
// PostgREST answers. Needs the database of fixture.sql and a server for schemas
// library and jobsched as role clerk.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PostgrestClient } from '@supabase/postgrest-js';
import { api, ask, json, token } from './link.mjs';

const client = new PostgrestClient(api, { headers: { Authorization: `Bearer ${token}` } });
const books = () => client.from('book');
const ids = ({ data, error }) => {
	assert.equal(error, null);
	return data.map((row) => row.book_id);
};

test('filters', async () => {
	assert.deepEqual(ids(await books().select('book_id').eq('book_id', 3)), [3]);
	assert.deepEqual(ids(await books().select('book_id').gt('book_id', 1).lte('book_id', 4).neq('book_id', 3).order('book_id')), [2, 4]);
	assert.deepEqual(ids(await books().select('book_id').in('title', ['book 7', 'book 8', 'a,b (c)']).order('book_id')), [7, 8]);
	assert.deepEqual(ids(await books().select('book_id').eq('title', 'a "quoted", (odd) title & more: é')), [9007199254740996]);
	assert.deepEqual(ids(await books().select('book_id').is('state', null)), [9007199254740996]);
	assert.deepEqual(ids(await books().select('book_id').not('state', 'in', '(new,lost)').lt('book_id', 8).order('book_id')), [1, 4, 7]);
	assert.deepEqual(ids(await books().select('book_id').like('title', 'book _0').order('book_id')), [10, 20, 30]);
	assert.deepEqual(ids(await books().select('book_id').ilike('title', '%QUOTED%')), [9007199254740996]);
	assert.deepEqual(ids(await books().select('book_id').or('book_id.eq.1,and(book_id.gte.29,lent.is.true)').order('book_id')), [1, 30]);
	assert.deepEqual(ids(await books().select('book_id').contains('facts', { pages: 50 })), [5]);
	assert.deepEqual(ids(await books().select('book_id').contains('subjects', ['s1', '"all, of \\"it\\""']).order('book_id').limit(2)), [1, 3]);
	assert.deepEqual(ids(await books().select('book_id').overlaps('subjects', ['s0']).order('book_id').limit(1)), [2]);
	assert.deepEqual(ids(await books().select('book_id').eq('facts->author->>name', 'A3').order('book_id').limit(2)), [3, 8]);
	assert.deepEqual(ids(await books().select('book_id').filter('facts->prizes->>0', 'eq', 'p9')), [9]);
	assert.deepEqual(ids(await books().select('book_id').gte('bought_at', '2026-03-08T00:00:00Z').order('bought_at')), [28, 29, 30]);
	assert.deepEqual(ids(await books().select('book_id').match({ lent: true, shelf_id: 3 }).order('book_id').limit(2)), [2, 6]);
	assert.deepEqual(ids(await books().select('book_id').isDistinct('state', 'new').order('book_id').limit(2)), [1, 2]);
	assert.deepEqual(ids(await books().select('book_id').in('book_id', [])), []);
});

test('columns', async () => {
	const { data } = await books().select('id:book_id::text,name:facts->author->>name,facts->pages,loan,price,subjects,bought_at,shelf_id').eq('book_id', 4).single();
	assert.deepEqual(data, { id: '4', name: 'A4', pages: 40, loan: '4 days', price: 0.5, subjects: ['s0', 'all, of "it"'],
		bought_at: '2026-03-02T00:00:00+00:00', shelf_id: 1 });
	assert.match((await ask('GET', '/book?select=book_id&title=like.a*')).body, /^\[\{"book_id":9007199254740995\}\]$/, 'no number goes through JavaScript');
	assert.deepEqual((await client.from('odd "name", of (it)').select('x:"a ""b"", c"')).error.code, 'PGRST100');
	assert.deepEqual((await client.from('odd "name", of (it)').select('x:"a \\"b\\", c","__proto__"').eq('"a \\"b\\", c"', 1)).data,
		[JSON.parse('{"x": 1, "__proto__": "x"}')]);
	assert.deepEqual((await client.from('lost').select().order('book_id').limit(1)).data, [{ book_id: 2, title: 'book 2' }]);
});

test('pages and counts', async () => {
	const all = await books().select('book_id', { count: 'exact' }).order('book_id').range(10, 14);
	assert.deepEqual([all.status, all.count, ids(all)], [206, 31, [10 + 1, 12, 13, 14, 15]]);
	assert.equal((await books().select('*', { count: 'exact', head: true }).eq('lent', true)).count, 15);
	assert.equal((await books().select('*', { count: 'planned', head: true })).count, 31);
	assert.equal((await books().select('*', { count: 'estimated', head: true })).count, 31);
	assert.equal((await client.rpc('numbers', { n: 2000 }, { count: 'exact' })).count, 2000);
	assert.equal((await client.rpc('numbers', { n: 2000 })).data.length, 1000);
	assert.deepEqual((await client.rpc('numbers', { n: 9 }).range(3, 4)).data, [4, 5]);
	assert.deepEqual(ids(await books().select('book_id').order('state', { ascending: false, nullsFirst: true }).order('book_id').limit(2)),
		[9007199254740996, 3]);
	const beyond = await ask('GET', '/shelf', { headers: { Range: '7-9', Prefer: 'count=exact' } });
	assert.deepEqual([beyond.status, beyond.range, json(beyond).code], [416, '*/4', 'PGRST103']);
	const ranged = await ask('GET', '/shelf?select=shelf_id&order=shelf_id', { headers: { Range: '1-2' } });
	assert.deepEqual([ranged.status, ranged.range, ranged.body], [200, '1-2/*', '[{"shelf_id":2}, \n {"shelf_id":3}]']);
	assert.equal((await ask('GET', '/shelf?limit=0')).range, '*/*');
	assert.equal((await ask('GET', '/shelf?limit=-1')).status, 416);
	assert.equal((await ask('GET', '/shelf?offset=99999999999999999999')).status, 200);
});

test('forms of answers', async () => {
	assert.equal((await books().select('book_id').gt('book_id', 1).single()).error.code, 'PGRST116');
	assert.equal((await books().select('book_id').eq('book_id', -1).maybeSingle()).data, null);
	assert.equal((await client.from('shelf').select().lt('shelf_id', 3).order('shelf_id').csv()).data, 'shelf_id,label\n1,"shelf 1"\n2,"shelf 2"');
	const part = await ask('GET', '/rpc/states?select=n:books&order=state&limit=2', { headers: { Accept: 'text/csv' } });
	assert.equal(part.body, 'n\n10\n10', 'the names of what was selected');
	const named = await ask('GET', '/shelf?select=_page:label,_source:shelf_id&shelf_id=eq.1', { headers: { Accept: 'text/csv' } });
	assert.equal(named.body, '_page,_source\n"shelf 1",1', 'names of ours as a column');
	const report = await ask('GET', '/rpc/report', { headers: { Accept: 'text/x-report' } });
	assert.deepEqual([report.status, report.headers['content-type'], report.body], [200, 'text/x-report; charset=utf-8', 'one\ntwo\n']);
	assert.equal((await ask('GET', '/rpc/report')).body, '"one\\ntwo\\n"');
	assert.equal((await ask('GET', '/shelf', { headers: { Accept: 'image/png' } })).status, 406);
	const head = await ask('HEAD', '/shelf');
	assert.deepEqual([head.status, head.range, head.body], [200, '0-3/*', '']);
	const zone = await ask('GET', '/book?select=bought_at&book_id=eq.1', { headers: { Prefer: 'timezone=Asia/Tokyo' } });
	assert.deepEqual([zone.body, zone.headers['preference-applied']], ['[{"bought_at":"2026-03-01T15:00:00+09:00"}]', 'timezone=Asia/Tokyo']);
	const nowhere = await ask('GET', '/book?select=bought_at&book_id=eq.1', { headers: { Prefer: 'timezone=No/Where' } });
	assert.deepEqual([nowhere.body, nowhere.headers['preference-applied']], ['[{"bought_at":"2026-03-01T06:00:00+00:00"}]', undefined]);
	const long = await ask('GET', '/rpc/long');
	assert.deepEqual([long.status, json(long).code], [413, 'DASH413']);
});

test('calls', async () => {
	assert.equal((await client.rpc('twice', { n: 4 })).data, 8);
	assert.equal((await client.rpc('twice', { n: 4, plus: 1 }, { get: true })).data, 9);
	assert.equal((await client.rpc('twice', { n: null })).data, null);
	const what = { a: [1, { b: null }], '"': 'é\n\\' };
	assert.deepEqual((await client.rpc('echo', { what, at: '2026-01-01T00:00:00Z', words: ['a,b', '"'] })).data,
		{ what, at: '2026-01-01T00:00:00+00:00', words: ['a,b', '"'] });
	assert.deepEqual((await client.rpc('echo', { what: 5, words: ['a', 'b'] }, { get: true })).data, { what: 5, at: null, words: ['a', 'b'] });
	assert.match((await ask('POST', '/rpc/echo', { body: '{"what": 12345678901234567890.10}' })).body, /12345678901234567890\.10/);
	assert.deepEqual((await client.rpc('states').select('state').gt('books', 0).neq('state', 'new').order('state', { ascending: false })).data,
		[{ state: 'lost' }, { state: 'lent' }]);
	assert.deepEqual((await client.rpc('first_book')).data, { shelf_id: 1, label: 'shelf 1' });
	assert.deepEqual((await client.rpc('first_book').single()).data, { shelf_id: 1, label: 'shelf 1' });
	assert.equal((await client.rpc('jot', { note_id: 100, body: 'x' })).status, 204);
	assert.deepEqual((await client.from('note').select('body').eq('note_id', 100)).data, [{ body: 'x' }]);
	const { data } = await client.rpc('request', {}).setHeader('X-Mine', 'yes');
	assert.deepEqual([data.role, data.method, data.path, data.headers['x-mine'], data.read_only, data.timeout, data.path_of_names],
		['clerk', 'POST', '/rpc/request', 'yes', 'on', '10s', '"library", "public"']);
	assert.equal(JSON.stringify(data).includes(token), false, 'the token is not told to the database');
});

test('errors', async () => {
	const of = async (name, args, options) => {
		const { status, error } = await client.rpc(name, args, options);
		return [status, error.code, error.message, error.details, error.hint];
	};
	const states = { P0001: 400, 22023: 400, 23505: 409, 23503: 409, 23514: 400, 42501: 403, 42704: 400, 42883: 404, '42P01': 404, 28000: 403,
		25006: 405, 40001: 500, 53300: 503, 54000: 500, 55000: 500, 57014: 500, JS001: 400, XX000: 500, PT418: 418, PT999: 400 };
	for (const [state, status] of Object.entries(states))
		assert.deepEqual(await of('fail', { state }), [status, state, `failed with ${state}`, 'd', 'h']);
	assert.deepEqual((await of('twice', { n: 'x' })).slice(0, 3), [400, '22P02', 'invalid input syntax for type integer: "x"']);
	assert.deepEqual(await of('twice', { n: 1, m: 2 }), [404, 'PGRST202', 'Could not find the function library.twice(n, m) in the schema cache',
		'Searched for the function library.twice with parameters n, m or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache.',
		'Perhaps you meant to call the function library.twice(n, plus)']);
	assert.equal((await of('none'))[1], 'PGRST202');
	assert.deepEqual((await of('closed')).slice(0, 2), [403, '42501']);
	assert.deepEqual((await of('two', { a: 1 })).slice(0, 2), [300, 'PGRST203']);
	assert.deepEqual((await of('jot', { note_id: 1, body: 'x' }, { get: true })).slice(0, 2), [405, '25006']);
	assert.deepEqual((await of('wait', { seconds: 60 })).slice(0, 2), [500, '57014']);
	const unknown = await books().select('titel');
	assert.deepEqual([unknown.status, unknown.error.code, unknown.error.message, unknown.error.hint],
		[400, '42703', 'column book.titel does not exist', 'Perhaps you meant to reference the column "book.title".']);
	assert.equal((await client.from('nothing').select()).error.code, 'PGRST205');
	assert.equal((await client.from('x'.repeat(70)).select()).error.code, 'PGRST205');
	assert.deepEqual([(await client.from('safe').select()).status, (await client.from('safe').select()).error.code], [403, '42501']);
	assert.equal((await client.schema('pg_catalog').from('pg_class').select()).error.code, 'PGRST106');
	assert.equal((await books().select().eq('book_id', 'x')).error.code, '22P02');
	assert.deepEqual(json(await ask('GET', '/book?book_id=near.1')), { code: 'PGRST100', details: 'unexpected "n" expecting "not" or operator (eq, gt, ...)',
		hint: null, message: '"failed to parse filter (near.1)" (line 1, column 1)' });
	assert.equal((await ask('PUT', '/rpc/twice', { body: '{}' })).status, 405);
	assert.equal((await ask('GET', '/a/b')).status, 404);
});

test('writing', async () => {
	const note = client.from('note');
	assert.deepEqual((await note.insert({ note_id: 1, body: 'one' }).select()).data, [{ note_id: 1, body: 'one', tags: [] }]);
	const many = await note.insert([{ note_id: 2, body: 'two' }, { note_id: 3, body: 'three', tags: ['a'] }].map((row) => ({ tags: ['z'], ...row })));
	assert.deepEqual([many.status, many.error], [201, null]);
	assert.deepEqual((await note.update({ body: 'TWO', tags: ['x, y'] }).in('note_id', [2, 3]).select('note_id,tags').order('note_id')).error.code, 'DASH501');
	assert.deepEqual((await note.update({ body: 'TWO', tags: ['x, y'] }).eq('note_id', 2).select('body,tags').single()).data, { body: 'TWO', tags: ['x, y'] });
	const changed = await ask('PATCH', '/note?note_id=lt.4', { body: '{"body": "same"}' });
	assert.deepEqual([changed.status, changed.range, changed.body], [204, '0-2/*', '']);
	assert.equal((await note.insert({ note_id: 1, body: 'again' })).status, 409);
	assert.equal((await note.insert({ note_id: 9, nothing: 1 })).error.code, 'PGRST204');
	const single = await ask('PATCH', '/note?note_id=lt.4', { body: '{"body": "not kept"}',
		headers: { Prefer: 'return=representation', Accept: 'application/vnd.pgrst.object+json' } });
	assert.equal(single.status, 406);
	assert.deepEqual((await note.select('body').lt('note_id', 4)).data.map((row) => row.body), ['same', 'same', 'same'], 'what is refused is not done');
	assert.deepEqual((await note.delete().eq('note_id', 1).select('note_id')).data, [{ note_id: 1 }]);
	assert.equal((await note.delete().gt('note_id', 1)).status, 204);
	assert.deepEqual((await note.select()).data, []);
	assert.equal((await client.from('shelf').insert({ shelf_id: 9, label: 'x' })).error.code, '42501');
});

test('what it has not is 501', async () => {
	const requests = [
		books().select('title,shelf(label)'), books().select().textSearch('title', 'x'), books().select().eq('shelf.label', 'x'),
		client.from('note').upsert({ note_id: 1, body: 'x' }), books().select().likeAnyOf('title', ['a']), client.from('note').delete(),
		books().select('title::nothing'), client.rpc('twice', { n: 1 }).select('x'), client.rpc('any_record'),
	];
	for (const request of requests) {
		const { status, error } = await request;
		assert.deepEqual([status, error.code], [501, 'DASH501'], request.url?.href);
	}
	for (const [method, path, headers] of [['GET', '/'], ['PUT', '/note?note_id=eq.1'], ['GET', '/book', { Prefer: 'handling=strict' }],
		['GET', '/book', { Accept: 'application/vnd.pgrst.object+json;nulls=stripped' }], ['POST', '/note', { Prefer: 'missing=default' }]])
		assert.equal((await ask(method, path, { headers, ...(method === 'GET' ? {} : { body: '{}' }) })).status, 501, `${method} ${path}`);
});

test('jobs, as a page handles them', async () => {
	const jobs = client.schema('jobsched');
	const { data: job, error } = await jobs.rpc('create_job', { name: 'from a page', schedule: '0 6 * * *', command: 'SELECT 1', args: { a: 1 } });
	assert.equal(error, null);
	assert.equal(typeof job, 'number');
	assert.deepEqual((await jobs.from('jobs').select('name,schedule,enabled').eq('name', 'from a page').single()).data,
		{ name: 'from a page', schedule: '0 6 * * *', enabled: true });
	const { data: run } = await jobs.rpc('trigger', { job: 'from a page' });
	const until = Date.now() + 60000;
	let found;
	do
		found = (await jobs.from('runs').select('status,source').eq('run_id', run).maybeSingle()).data;
	while (found?.status !== 'succeeded' && Date.now() < until);
	assert.equal(found.status, 'succeeded');
	assert.equal((await jobs.rpc('next_runs', { schedule: '0 6 * * *', n: 3 })).data.length, 3);
	assert.equal((await jobs.rpc('health', {}, { get: true })).error, null);
	assert.equal((await jobs.rpc('drop_job', { job: 'from a page' })).error, null);
	assert.equal((await jobs.rpc('trigger', { job: 'from a page' })).error.code, '42704');
});
