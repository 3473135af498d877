// What charts and lists of the page are made of: spans, sums, groups, and words of alerts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conditions, definitions, secretsIn, target, users } from '../page/lib/alerts.js';
import { prettyJson, reason } from '../page/lib/format.js';
import { idOf, jobOf, lineOf, placeOf } from '../page/lib/given.js';
import { RANGES, byHost, countBy, highest, hostOf, percentile, rangeOf, spans, sums } from '../page/lib/series.js';

const NOW = Date.UTC(2026, 2, 29, 12, 34, 56);
const iso = (at) => new Date(at).toISOString();

test('ranges', () => {
	assert.deepEqual(['1h', '7d', '2d', undefined, '__proto__', 'constructor'].map(rangeOf), ['1h', '7d', '24h', '24h', '24h', '24h']);
});

test('spans have the whole range, and the bucket of now at the end', () => {
	for (const [name, range] of Object.entries(RANGES)) {
		const { starts, end } = spans(range, NOW);
		assert.equal(starts.length, range.span / range.width + 1, name);
		assert.ok(starts.at(-1) <= NOW && NOW < end && starts[0] <= NOW - range.span, name);
		assert.deepEqual(starts.slice(1).map((at, i) => at - starts[i]), starts.slice(1).map(() => range.width), name);
	}
	assert.equal(iso(spans(RANGES['1h'], NOW).starts[0]), '2026-03-29T11:30:00.000Z');
	assert.equal(iso(spans(RANGES['7d'], NOW).starts.at(-1)), '2026-03-29T12:00:00.000Z');
	assert.equal(spans(RANGES['24h'], Date.UTC(2026, 0, 1)).starts.at(-1), Date.UTC(2026, 0, 1), 'at its begin');
});

test('days are those of the zone, also where clocks are set', () => {
	const before = process.env.TZ;
	process.env.TZ = 'Europe/Berlin';
	try {
		const { starts, end } = spans(RANGES['30d'], NOW, false);
		assert.deepEqual([starts.length, iso(starts[0]), iso(starts.at(-1)), iso(end)], [31, '2026-02-26T23:00:00.000Z', '2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z']);
	} finally {
		process.env.TZ = before ?? '';
		if (before === undefined)
			delete process.env.TZ;
	}
});

const starts = [0, 1, 2].map((hour) => Date.UTC(2026, 0, 1, hour));
const row = (hour, job_name, more) => ({ bucket: iso(starts[0] + hour * 3600000), job_name, runs: 1, succeeded: 1, failed: 0, timed_out: 0, cancelled: 0, lost: 0, skipped: 0, missed: 0, retries: 0, mean_ms: 10, p95_ms: 12, delay_p95_ms: 1, ...more });

test('sums over jobs, with zeros where nothing ended', () => {
	const found = sums([row(0, 'a'), row(0, 'b', { runs: 3, failed: 2, mean_ms: 50 }), row(2, 'a', { skipped: 7, runs: 0, succeeded: 0, mean_ms: null })], starts);
	assert.deepEqual([found.runs, found.failed, found.skipped, found.succeeded], [[4, 0, 0], [2, 0, 0], [0, 0, 7], [2, 0, 0]]);
	assert.deepEqual(found.mean_ms, [40, null, null], 'means by the number of runs');
	assert.equal('p95_ms' in found, false, 'percentiles cannot be added up');
});

test('a bucket that begins elsewhere belongs to the one that has it; what is before belongs to none', () => {
	assert.deepEqual(sums([row(0.5, 'a'), row(-1, 'a'), row(9, 'a')], starts).runs, [1, 0, 1]);
	assert.deepEqual(sums([row(0, 'a')], []).runs, []);
	assert.deepEqual(sums([], starts).runs, [0, 0, 0]);
});

test('a column by bucket', () => {
	const rows = [row(0, 'a', { p95_ms: 5 }), row(0, 'b', { p95_ms: 9 }), row(1, 'a', { p95_ms: null }), row(2, 'a', { p95_ms: 0 })];
	assert.deepEqual(highest(rows, starts, 'p95_ms'), [9, null, 0]);
	assert.deepEqual(highest([], starts, 'p95_ms'), [null, null, null]);
});

test('percentiles', () => {
	assert.equal(percentile([], 0.5), undefined);
	assert.deepEqual([0, 0.5, 0.95, 1].map((share) => percentile([4, 1, 3, 2], share)), [1, 2, 4, 4]);
	assert.equal(percentile([10, 9], 0.5), 9, 'numbers, not texts');
});

test('hosts', () => {
	assert.deepEqual(['https://a.example:8443/x?y', 'http://[::1]:80/', 'nothing', '', null].map(hostOf), ['a.example:8443', '[::1]', 'nothing', '', '']);
	const answer = (url, status, total_ms, run_id) => ({ url, status, total_ms, run_id });
	const [a, b] = byHost([answer('http://a/1', 200, 10, 9), answer('http://b/', 500, 7, 8), answer('http://a/2', null, 0.1, 7), answer('http://a/3', 204, 30, 6), answer('http://a/4', 404, 20, 5)]);
	assert.deepEqual([a.host, a.responses, a.success, a.p50, a.p95, a.last.run_id, a.lastError.run_id], ['a', 4, 0.5, 20, 30, 9, 7]);
	assert.deepEqual([b.host, b.success, b.lastError.status], ['b', 0, 500]);
	assert.deepEqual(byHost([]), []);
});

test('counts by a value', () => {
	assert.deepEqual(countBy(['b', 'a', 'b', 'c', '__proto__', 'a'], (value) => value), [['a', 2], ['b', 2], ['__proto__', 1], ['c', 1]]);
});

test('what an alert fires at', () => {
	assert.deepEqual(conditions({ on_status: ['failed', 'timed_out', 'lost'], threshold: 1 }), ['ends as failed, timed out or lost']);
	assert.deepEqual(conditions({ on_status: ['failed'], threshold: 3, within: '01:00:00', late: '1 day' }), ['ends as failed, 3 times within 1 h', 'starts later than 1 d']);
	assert.deepEqual(conditions({ on_status: ['failed'], threshold: 1, every_failure: true }), ['each end as failed']);
	assert.deepEqual(conditions({ on_status: [], threshold: 1, no_success_for: '1 mon' }), ['no success for 1 mon']);
	assert.deepEqual(definitions([{ owner: 'a', name: 'x', state: 'firing' }, { owner: 'a', name: 'x', state: 'firing' }, { owner: 'b', name: 'x', state: 'ok' }]).map(({ owner, firing }) => [owner, firing]), [['a', 2], ['b', 0]]);
});

test('where channels send, and who names a secret', () => {
	assert.equal(target({ kind: 'email', to_address: ['a@b', 'c@d'] }), 'a@b, c@d');
	assert.equal(target({ kind: 'notify', name: 'feed' }), 'NOTIFY feed');
	assert.deepEqual(secretsIn('{{secret.a}} {{ secret.b-1.c }} {{args.secret.d}} {{secret.a}}'), ['a', 'b-1.c']);
	assert.deepEqual(secretsIn(null), []);
	const things = [{ name: 1, owner: 'o', text: '{{secret.key}}' }, { name: 2, owner: 'p', text: '{{secret.key}}' }, { name: 3, owner: 'o', secret: 'key' }, { name: 4, owner: 'o', text: '{{secret.key2}}' }];
	assert.deepEqual(users(things, { name: 'key', owner: 'o' }).map(({ name }) => name), [1, 3]);
});

test('what a spoilt link gives is none', () => {
	assert.deepEqual(['7', '', 'abc', '1e3', '0x10', '-1', ' 7', '7,8', '12345678901234567890', undefined].map(idOf), ['7', ...Array(9).fill(undefined)]);
	assert.deepEqual(placeOf('["a\\"b",3]', ['string', 'number']), ['a"b', 3]);
	for (const text of ['', 'x', 'null', '{}', '["a"]', '["a","0),owner.eq.x"]', '["a",1.5]', '["a",1e999]', '[["a"],1]', '["a",1,2]', undefined])
		assert.equal(placeOf(text, ['string', 'number']), undefined, text);
	assert.deepEqual(lineOf('2.17'), ['2', '17']);
	assert.deepEqual(['2', '2.x', '0),or(1.1', undefined].map(lineOf), Array(4).fill(undefined));
});

test('a function is told the job that is listed, or none', () => {
	assert.deepEqual(jobOf({ job_id: '7', owner: 'shop' }), { job_id: 7 });
	assert.deepEqual(jobOf({ job: 'a, "b"', owner: 'shop' }), { job: 'a, "b"', owner: 'shop' });
	for (const wanted of [{}, { owner: 'shop' }, { job_id: 'abc' }, { job_id: '0x10' }, { job: 'harmless', job_id: '7' }, { job: 'harmless', job_id: 'abc' }])
		assert.equal(jobOf(wanted), undefined, JSON.stringify(wanted));
});

test('words that every object has are words', () => {
	for (const word of ['__proto__', 'constructor', 'toString'])
		assert.equal(reason(word), word.replaceAll('_', ' '));
});

test('JSON that is deep or long', () => {
	const deep = '['.repeat(20000) + ']'.repeat(20000);
	assert.ok(prettyJson(deep).length < 100 * deep.length);
	assert.equal(prettyJson(deep).replace(/\s/g, ''), deep);
	const long = JSON.stringify(['x'.repeat(20000000)]);
	assert.equal(prettyJson(long), long);
});
