// The page's logic that needs no browser: what a form sends, buckets of time, slots.
// Needs no database.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bucketStart, bucketStarts, columnsOf, fill, heatOf } from '../page/lib/buckets.js';
import { alterCalls, applies, blankForm, createArgs, fieldOf, formOf, instantOf, instantText, PARAMETERS, spanText } from '../page/lib/definition.js';
import { formNames } from '../page/lib/jobfields.js';
import { raw, rawJson } from '../page/lib/raw.js';
import { periodName, trends } from '../page/lib/trend.js';
import { crowd, density, entriesOf, goesOn, groups, slotsOf } from '../page/lib/slots.js';

process.env.TZ = 'Europe/Berlin';

// What create_job() has, by the manual.
function parameters(name) {
	const text = readFileSync(new URL('../../doc/reference.md', import.meta.url), 'utf8');
	const [, declared] = new RegExp(`^${name}\\(\\n(.*?)\\)\nRETURNS`, 'ms').exec(text);
	return declared.trim().split('\n').map((line) => line.trim().split(' ')[0]);
}

const form = (changes) => ({ ...blankForm(), ...changes });
// As view jobs has it.
const row = (changes) => ({ kind: 'function', name: 'a', handler: 'shop.work', args: '{}', timezone: 'UTC', owner: 'demo', enabled: true, mode: 'auto', share_transaction: false, backoff: 'exponential', backoff_base: '00:00:10',
	backoff_max: '01:00:00', backoff_jitter: 0.2, overlap: 'skip', queue_limit: 1, misfire: 'once', misfire_grace: '00:00:05', keep: 'all', ...changes });
const args = (calls) => JSON.parse(rawJson(calls[0][1]));
const altered = (changes, now) => {
	const before = formOf(row(changes));
	return alterCalls(7, before, { ...before, ...now });
};

test('the form has the parameters of create_job()', () => {
	const wanted = parameters('create_job').filter((name) => name !== 'if_exists').sort();
	assert.deepEqual(formNames().sort(), wanted);
	assert.deepEqual(Object.keys(PARAMETERS).sort(), wanted);
	const known = parameters('alter_job');
	assert.deepEqual(wanted.filter((name) => !known.includes(name)), []);
});

test('create_job() is sent what is not as by default', () => {
	assert.deepEqual(createArgs(form({ name: 'a', command: 'SELECT 1' })), { name: 'a', command: 'SELECT 1' });
	assert.deepEqual(createArgs(form({ name: 'a', command: 'SELECT 1', handler: 'of.another_kind', url: 'http://x', schedule: '@daily', timezone: 'Europe/Berlin', enabled: false, max_attempts: '5', backoff_jitter: '0',
		keys: 'user:{{args.user}}\n\n b,c ', retry_delays: '1 s, 2 min', retry_on: '40001,08', timeout: ' 5 min ', overlap: 'queue', queue_limit: '3' })), {
		name: 'a', command: 'SELECT 1', schedule: '@daily', timezone: 'Europe/Berlin', enabled: false, max_attempts: 5, backoff_jitter: 0, keys: ['user:{{args.user}}', 'b,c'], retry_delays: ['1 s', '2 min'],
		retry_on: ['40001', '08'], timeout: '5 min', overlap: 'queue', queue_limit: 3 });
	assert.equal(rawJson(createArgs(form({ kind: 'function', name: 'a', handler: 'b.c', args: '{"id": 12345678901234567890, "x": 1.0}' }))),
		'{"name":"a","handler":"b.c","args":{"id": 12345678901234567890, "x": 1.0}}', 'numbers stay as they are written');
});

test('what is wrong is told before anything is sent', () => {
	const field = (changes) => {
		try {
			createArgs(form({ name: 'a', command: 'b', ...changes }));
		} catch (error) {
			return error.field;
		}
		return undefined;
	};
	assert.equal(field({}), undefined);
	assert.equal(field({ name: ' ' }), 'name');
	assert.equal(field({ command: '' }), 'command');
	assert.equal(field({ kind: 'http' }), 'url');
	assert.equal(field({ args: '[1]' }), 'args');
	assert.equal(field({ args: '{' }), 'args');
	assert.equal(field({ metadata: 'null' }), 'metadata');
	assert.equal(field({ kind: 'steps', steps: '{}' }), 'steps');
	assert.equal(field({ max_runs: '1.5' }), 'max_runs');
	assert.equal(field({ max_runs: 'x' }), 'max_runs');
	assert.equal(field({ backoff_jitter: 'x' }), 'backoff_jitter');
	assert.equal(field({ starts_at: 'soon' }), 'starts_at');
	assert.equal(field({ schedule: '@daily', after: 'b' }), 'after');
	assert.equal(field({ kind: 'http', url: 'http://x', body: '{}', body_text: 'x' }), 'body_text');
});

test('alter_job() is sent what has changed', () => {
	assert.deepEqual(altered({}, {}), []);
	assert.deepEqual(args(altered({}, { handler: 'shop.other' })), { job_id: 7, handler: 'shop.other' });
	assert.deepEqual(args(altered({}, { enabled: false, share_transaction: true })), { job_id: 7, enabled: false, share_transaction: true });
	assert.deepEqual(args(altered({ timeout: '00:05:00' }, { timeout: '6 min' })), { job_id: 7, timeout: '6 min' });
});

test('a value that is cleared is sent as alter_job() takes it', () => {
	const cleared = { schedule: '', description: '', timeout: '0', max_attempts: 0, retry_delays: [], retry_on: [], no_retry_on: [], starts_at: '-infinity', ends_at: 'infinity', max_runs: 0, jitter: '0', pause_after_failures: 0,
		max_concurrency: 0, queue: '', keys: [], on_success: '', on_failure: '', keep_for: '0', args: {} };
	const had = { schedule: '@daily', description: 'x', timeout: '00:01:00', max_attempts: 3, retry_delays: ['00:00:01'], retry_on: ['08'], no_retry_on: ['40001'], starts_at: '2026-01-01T00:00:00Z', ends_at: '2036-01-01T00:00:00Z', max_runs: 9,
		jitter: '00:01:00', pause_after_failures: 5, max_concurrency: 2, queue: 'q', keys: ['a'], on_success: 'a.b', on_failure: 'a.c', keep_for: '7 days', args: '{"a": 1}' };
	assert.deepEqual(args(altered(had, Object.fromEntries(Object.keys(cleared).map((name) => [name, ''])))), { job_id: 7, ...cleared });
	// What cannot be nothing becomes as by default.
	assert.deepEqual(args(altered({ backoff_base: '00:00:30', queue_limit: 4 }, { backoff_base: '', queue_limit: '' })), { job_id: 7, backoff_base: '10 s', queue_limit: 1 });
	assert.deepEqual(altered({ metadata: '{"a": 1}' }, { metadata: '' }), [['set_job_metadata', { job: null, metadata: null, job_id: 7 }]]);
	assert.deepEqual(args(altered({ after: ['b'] }, { after: '', schedule: '@daily' })), { job_id: 7, after: [], schedule: '@daily' });
	assert.throws(() => altered({}, { timezone: '' }), { field: 'timezone' });
});

test('of a request', () => {
	const http = { kind: 'http', handler: null, url: 'http://x', method: 'GET', headers: '{"a": "b"}', body: '{"c": 1}', success_codes: '["200", "5xx"]', connect_timeout: '2500', max_redirects: '2', sign_with: 's' };
	assert.deepEqual(altered(http, {}), []);
	assert.equal(formOf(row(http)).connect_timeout, '2.5 s');
	assert.deepEqual(args(altered(http, { method: 'POST', headers: '', body: '', success_codes: '', connect_timeout: '', max_redirects: '', sign_with: '' })),
		{ job_id: 7, method: 'POST', headers: {}, body_text: '', success_codes: [], connect_timeout: '0', max_redirects: 0, sign_with: '' });
	assert.deepEqual(args(altered(http, { body: '', body_text: 'x' })), { job_id: 7, body_text: 'x' });
	assert.deepEqual(args(altered({ ...http, body: null, body_text: 'x' }, { body: '[]', body_text: '' })), { job_id: 7, body: [] });
});

test('a job becomes another kind', () => {
	const before = formOf(row({ share_transaction: true, keep: 'failures', timeout: '00:01:00' }));
	assert.deepEqual(args(alterCalls(7, before, { ...before, kind: 'sql', command: 'SELECT 1' })), { job_id: 7, command: 'SELECT 1', share_transaction: false });
	assert.deepEqual(args(alterCalls(7, before, { ...before, kind: 'http', url: 'http://x', method: 'PUT' })), { job_id: 7, url: 'http://x', method: 'PUT', share_transaction: false });
	assert.deepEqual(args(alterCalls(7, before, { ...before, kind: 'steps', steps: '[]' })), { job_id: 7, steps: [], share_transaction: false, timeout: '0', keep: 'all' });
	const request = formOf(row({ kind: 'http', handler: null, url: 'http://x', headers: '{"a": "b"}' }));
	assert.deepEqual(args(alterCalls(7, request, { ...request, kind: 'sql', command: 'SELECT 1' })), { job_id: 7, command: 'SELECT 1' });
	assert.equal(applies('deadline', 'sql'), false);
});

test('spans and instants', () => {
	assert.equal(spanText('01:00:00'), '1 h');
	assert.equal(spanText('1 day 02:03:04.5'), '1 d 2 h 3 min 4.5 s');
	assert.equal(spanText('00:00:00'), '0 s');
	assert.equal(spanText('1 mon'), '1 mon');
	assert.equal(spanText(null), '');
	assert.equal(instantText('2026-07-01T10:00:00+00:00', true), '2026-07-01T10:00');
	assert.equal(instantText('2026-07-01T10:00:05+00:00', false), '2026-07-01T12:00:05');
	assert.equal(instantOf('2026-07-01T12:00:05', false), '2026-07-01T10:00:05.000Z');
	assert.equal(instantOf('2026-07-01T12:00', true), '2026-07-01T12:00:00.000Z');
	assert.equal(instantOf('x', true), undefined);
});

test('the field that an error is about', () => {
	const of = (message, changes, code) => fieldOf({ message, code }, form({ kind: 'function', name: 'n', handler: 'shop.nix', ...changes }));
	assert.equal(of('max_attempts "5000" is out of range', { max_attempts: '5000' }), 'max_attempts');
	assert.equal(of('invalid schedule "61 * * * *"', { schedule: '61 * * * *' }), 'schedule');
	assert.equal(of('time zone "Mars" is not recognized', { timezone: 'Mars' }), 'timezone');
	assert.equal(of('function shop.nix(jsonb) does not exist', {}, '42883'), 'handler');
	assert.equal(of('function shop.gone(jsonb) does not exist', { on_success: 'shop.gone' }, '42883'), 'on_success');
	assert.equal(of('job "prices" of role "demo" already exists', { name: 'prices' }, '42710'), 'name');
	assert.equal(of('the name of a job cannot be empty'), 'name');
	assert.equal(of('invalid input syntax for type interval: "abc"', { jitter: 'abc' }), 'jitter');
	assert.equal(of('role "xx" does not exist', { owner: 'xx' }, '42704'), 'owner');
	assert.equal(of('args must be a JSON object'), 'args');
	assert.equal(of('invalid element "xx" of retry_on', { retry_on: '08, xx' }), 'retry_on');
	assert.equal(of('key "{{args.u}}" needs args.u, which is not there', { keys: 'a\n{{args.u}}' }), 'keys');
	assert.equal(of('job "nix", which after names, does not exist', { after: 'nix' }, '42704'), 'after');
	assert.equal(of('ends_at "2026-11-01 00:00:00+00" is not after starts_at'), 'ends_at');
	assert.equal(of('syntax error at or near "selec"', { kind: 'sql', command: 'selec 1' }, '42601'), 'command');
	assert.equal(of('url does not begin with http:// or https://', { kind: 'http', url: 'ftp://x' }), 'url');
	assert.equal(of('invalid success code "9x"', { kind: 'http', success_codes: '9x' }), 'success_codes');
	assert.equal(of('something else'), undefined);
});

test('JSON stays as it is written', () => {
	assert.equal(rawJson({ a: raw('{"b": 1e400}'), c: 'd', e: undefined, f: null }), '{"a":{"b": 1e400},"c":"d","f":null}');
	assert.throws(() => raw('{"a": 1}, "b": 2'));
});

test('buckets', () => {
	const hour = 3600000;
	const to = Date.parse('2026-07-02T10:25:00Z');
	assert.equal(bucketStart(to, 10, true), Date.parse('2026-07-02T10:20:00Z'));
	assert.equal(bucketStart(to, 1440, false), Date.parse('2026-07-01T22:00:00Z'), 'a day begins by the clocks of the zone');
	assert.equal(bucketStart(to, 360, false), Date.parse('2026-07-02T10:00:00Z'));
	const starts = bucketStarts(to - 3 * hour, to, 60, true);
	assert.deepEqual(starts.map((at) => new Date(at).toISOString().slice(11, 16)), ['07:00', '08:00', '09:00', '10:00']);
	const rows = [{ bucket: '2026-07-02T08:00:00+00:00', runs: 3, p95_ms: 5 }, { bucket: '2026-07-02T08:00:00+00:00', runs: 2, p95_ms: 9 }];
	const filled = fill(starts, rows);
	assert.deepEqual(columnsOf(starts, filled, ['runs', 'p95_ms']), [starts.map((at) => at / 1000), [0, 5, 0, 0], [null, 9, null, null]]);
	// In the night when clocks go forward and back a day has 23 and 25 hours.
	for (const [from, hours] of [['2026-03-29', 23], ['2026-10-25', 25]]) {
		const at = Date.parse(`${from}T12:00:00Z`);
		const [first, second] = bucketStarts(at, at + 24 * hour, 1440, false);
		assert.equal(second - first, hours * hour);
	}
	assert.equal(new Set(bucketStarts(Date.parse('2026-10-24T22:00:00Z'), Date.parse('2026-10-25T23:00:00Z'), 60, false)).size, 24, 'an hour that comes twice is one');
});

test('days and hours', () => {
	const now = Date.parse('2026-07-02T10:25:00Z');
	const days = heatOf(now, 30, [{ bucket: '2026-07-02T09:00:00Z', runs: 4 }, { bucket: '2026-06-02T00:00:00Z', runs: 1 }], true);
	assert.deepEqual([days.length, days[0].hours.length, new Date(days[0].day).toISOString()], [30, 24, '2026-06-03T00:00:00.000Z']);
	assert.equal(days[29].hours[9].row.runs, 4);
	assert.deepEqual([days[29].hours[10].later, days[29].hours[11].later], [false, true]);
	assert.equal(days.flatMap(({ hours }) => hours).filter(({ row: found }) => found).length, 1);
});

test('slots', () => {
	const at = (minute) => `2026-07-02T10:${String(minute).padStart(2, '0')}:00Z`;
	const job = { next_run_at: at(0), max_runs: null };
	assert.deepEqual(slotsOf(job, [at(0), at(5), at(10)], 2), [at(0), at(5)]);
	assert.deepEqual(slotsOf({ ...job, ends_at: at(5) }, [at(5), at(10)], 9), [at(0), at(5)]);
	assert.deepEqual(slotsOf({ ...job, max_runs: 7, scheduled_runs: 6 }, [at(5)], 9), [at(0)]);
	assert.deepEqual(slotsOf({ next_run_at: null }, [at(5)], 9), []);
	const from = Date.parse(at(0));
	const until = from + 3600000;
	const rows = [{ job_id: 1, run_at: at(0), next_runs: [at(0), at(5), at(10), at(15), at(20)] }, { job_id: 2, run_id: 9, run_at: at(7), next_runs: null }, { job_id: 3, run_at: '2026-07-03T10:00:00Z', next_runs: null }];
	const { entries, all } = entriesOf(rows, until);
	assert.deepEqual([all.length, entries.map(({ row: { job_id } }) => job_id)], [6, [1, 1, 2, 1, 1, 1]]);
	assert.deepEqual([entriesOf(rows, until, 2).all.length, entriesOf(rows, until, 2).entries.length], [6, 2]);
	assert.deepEqual(goesOn(rows[0], until), { last: Date.parse(at(20)), step: 300000 });
	assert.equal(goesOn(rows[0], Date.parse(at(21))), undefined);
	const spans = density(all, rows, from, until, 6);
	assert.deepEqual(spans.map(({ known }) => known), [3, 2, 1, 0, 0, 0]);
	assert.deepEqual(spans.map(({ assumed }) => assumed), [0, 0, 1, 2, 2, 2]);
	const [first] = groups(entries, 600000);
	assert.deepEqual(crowd(first.entries).map(({ n, row: { job_id } }) => [job_id, n]), [[1, 2], [2, 1]]);
});

test('trends', () => {
	const words = (changes) => trends({ runs: 100, runs_before: 100, success_trend: 0, p95_trend: 0, ...changes }).map(({ text }) => text);
	assert.deepEqual(words({}), ['as before']);
	assert.deepEqual(words({ success_trend: -0.05, p95_trend: 0.5 }), ['5 % fewer succeed', '50 % slower']);
	assert.deepEqual(words({ success_trend: 0.1, p95_trend: -0.25 }), ['10 % more succeed', '25 % faster']);
	assert.deepEqual(words({ runs_before: 0, success_trend: null, p95_trend: null }), ['nothing before to compare with']);
	assert.deepEqual(words({ runs: 0 }), ['none, but there were some before']);
	assert.deepEqual(words({ runs: 0, runs_before: 0 }), []);
	assert.deepEqual(['01:00:00', '1 day', '7 days', '2 days'].map(periodName), ['last hour', 'last day', 'last week', '2 days']);
});
