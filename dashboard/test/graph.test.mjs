// Layout of graphs, arithmetic of time lines, patterns of errors, and what does many calls.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NODE, edgesBetween, layers, layout } from '../page/lib/graph.js';
import { many } from '../page/lib/many.js';
import { messagesOf } from '../page/lib/pattern.js';
import { phases, runSpans, shares, ticks, waterfall } from '../page/lib/timeline.js';

const nodes = (...ids) => ids.map((id) => ({ id }));
const edges = (...pairs) => pairs.map(([from, to]) => ({ from, to }));

function random(seed) {
	let state = seed;
	return () => {
		state = (state * 1103515245 + 12345) % 2147483648;
		return state / 2147483648;
	};
}

function big(count, seed, per = 3) {
	const dice = random(seed);
	const all = Array.from({ length: count }, (nothing, i) => ({ id: `s${i}` }));
	const ties = [];
	for (let i = 1; i < count; i++)
		for (let n = 0; n < per; n++)
			if (dice() < 0.6)
				ties.push({ from: `s${Math.floor(Math.max(0, i - 60) + dice() * Math.min(i, 60))}`, to: `s${i}` });
	return [all, edgesBetween(all, ties)];
}

test('a node is as far right as the longest path to it', () => {
	const layer = layers(nodes('a', 'b', 'c', 'd'), edges(['a', 'b'], ['b', 'c'], ['a', 'c'], ['a', 'd']));
	assert.deepEqual(Object.fromEntries(layer), { a: 0, b: 1, c: 2, d: 1 });
});

test('a circle ends, and what is unknown or twice is left out', () => {
	assert.equal(edgesBetween(nodes('a', 'b'), edges(['a', 'b'], ['a', 'b'], ['b', 'b'], ['x', 'a'])).length, 1);
	const { places } = layout(nodes('a', 'b', 'c'), edges(['a', 'b'], ['b', 'a'], ['a', 'c']));
	assert.equal(places.size, 3);
});

test('names that are special to objects are names', () => {
	const { places } = layout(nodes('__proto__', 'constructor'), edges(['__proto__', 'constructor']));
	assert.equal(places.get('constructor').layer, 1);
});

test('nothing is drawn of nothing', () => {
	const { places, lines } = layout([], []);
	assert.equal(places.size + lines.length, 0);
	assert.ok(layout(nodes('a'), []).height > NODE.height);
});

test('edges that can be untangled do not cross', () => {
	const crossed = layout(nodes('a', 'b', 'c', 'x', 'y', 'z'), edges(['a', 'z'], ['b', 'y'], ['c', 'x']));
	assert.equal(crossed.crossings, 0);
	const { places } = crossed;
	assert.equal(places.get('a').y < places.get('b').y, places.get('z').y < places.get('y').y);
});

test('no node lies on another', () => {
	for (const seed of [1, 2, 3, 4]) {
		const [all, ties] = big(200, seed);
		const { places, width, height, lines } = layout(all, ties);
		assert.equal(lines.length, ties.length);
		for (let layer = 0; layer < 200; layer++) {
			const list = [...places.values()].filter((place) => place.layer === layer);
			list.sort((a, b) => a.y - b.y);
			list.forEach((place, i) => {
				assert.ok(i === 0 || place.y >= list[i - 1].y + NODE.height, 'they overlap');
				assert.ok(place.x >= 0 && place.x + NODE.width <= width && place.y >= 0 && place.y + NODE.height <= height, 'outside');
			});
		}
		for (const { from, to } of ties)
			assert.ok(places.get(from).layer < places.get(to).layer);
	}
});

test('a straight line of steps is straight', () => {
	const { places } = layout(nodes('a', 'b', 'c'), edges(['a', 'b'], ['b', 'c']));
	assert.equal(new Set([...places.values()].map(({ y }) => y)).size, 1);
});

test('1,000 steps are laid out in 100 ms', () => {
	const graphs = [big(1000, 7), big(1000, 8, 2), [nodes(...Array.from({ length: 1000 }, (nothing, i) => `n${i}`)), []]];
	const chain = nodes(...Array.from({ length: 1000 }, (nothing, i) => `c${i}`));
	graphs.push([chain, chain.slice(1).flatMap((node, i) => [{ from: chain[i].id, to: node.id }, ...(i > 300 ? [{ from: chain[i - 300].id, to: node.id }] : [])])]);
	const fan = nodes('first', ...Array.from({ length: 998 }, (nothing, i) => `f${i}`), 'last');
	graphs.push([fan, fan.slice(1, -1).flatMap(({ id }) => [{ from: 'first', to: id }, { from: id, to: 'last' }])]);
	layout(...graphs[0]);
	for (const [all, ties] of graphs) {
		// The processor's time, as others may use the machine.
		const times = [1, 2, 3, 4, 5].map(() => {
			const start = process.cpuUsage();
			layout(all, ties);
			return process.cpuUsage(start).user / 1000;
		});
		assert.ok(Math.min(...times) < 100, `${Math.min(...times)} ms for ${ties.length} edges`);
	}
});

const at = (seconds) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString();
const ms = (seconds) => Date.parse(at(seconds));
const words = (spans) => spans.map((span) => `${span.what} ${(span.to - span.from) / 1000}`);

test('a run that has succeeded waits, then runs', () => {
	const run = { status: 'succeeded', attempt: 1, queued_at: at(0), run_at: at(0), started_at: at(2), finished_at: at(5) };
	assert.deepEqual(words(runSpans(run, [{ attempt: 1, status: 'succeeded', started_at: at(2), finished_at: at(5) }], ms(9))), ['wait 2', 'attempt 3']);
});

test('what is not due, and what goes on', () => {
	const run = { status: 'queued', attempt: 0, queued_at: at(0), run_at: at(20), started_at: null, finished_at: null };
	assert.deepEqual(words(runSpans(run, [], ms(9))), ['due 9']);
	assert.deepEqual(words(runSpans(run, [], ms(25))), ['due 20', 'wait 5']);
	assert.deepEqual(words(runSpans({ ...run, run_at: 'infinity' }, [], ms(3))), ['wait 3']);
	const running = { ...run, status: 'running', attempt: 1, run_at: at(0), started_at: at(1) };
	assert.deepEqual(words(runSpans(running, [], ms(9))), ['wait 1', 'attempt 8']);
});

test('attempts have pauses between them', () => {
	const attempts = [{ attempt: 2, status: 'failed', started_at: at(10), finished_at: at(11) }, { attempt: 1, status: 'failed', started_at: at(1), finished_at: at(2) }];
	const run = { status: 'retrying', attempt: 2, queued_at: at(0), run_at: at(40), started_at: null, finished_at: null };
	assert.deepEqual(words(runSpans(run, attempts, ms(20))), ['wait 1', 'attempt 1', 'pause 8', 'attempt 1', 'pause 9']);
	assert.deepEqual(words(runSpans({ ...run, status: 'running', attempt: 3, started_at: at(15) }, attempts, ms(20))).slice(-2), ['pause 4', 'attempt 5']);
	// After its first attempt run_at is the time of the next one, not when it was due.
	assert.deepEqual(words(runSpans({ ...run, attempt: 1 }, [{ attempt: 1, status: 'snoozed', started_at: at(2), finished_at: at(3) }], ms(9))), ['wait 2', 'attempt 1', 'pause 6']);
});

test('a run waits for its children after its attempt; clocks that differ make nothing negative', () => {
	const attempts = [{ attempt: 1, status: 'succeeded', started_at: at(1), finished_at: at(2) }];
	const run = { status: 'running', attempt: 1, queued_at: at(0), run_at: at(0), started_at: at(1), finished_at: null };
	assert.deepEqual(words(runSpans(run, attempts, ms(7))), ['wait 1', 'attempt 1', 'children 5']);
	for (const span of runSpans({ ...run, queued_at: at(30) }, attempts, ms(7)))
		assert.ok(span.to >= span.from);
});

test('shares add up to 100, and what is short can be seen', () => {
	const spans = [{ from: 0, to: 1 }, { from: 1, to: 1000000 }, { from: 1000000, to: 1000000 }];
	const found = shares(spans);
	assert.ok(Math.abs(found.reduce((sum, share) => sum + share) - 100) < 1e-9);
	assert.ok(found.every((share) => share >= 1));
	assert.deepEqual(shares([{ from: 5, to: 5 }]), [100]);
});

test('a step waits for others, then by itself, then runs', () => {
	const steps = [{ step: 'a', queued_at: at(0), started_at: at(1), finished_at: at(4) }, { step: 'b', queued_at: at(0), started_at: at(6), finished_at: at(10) },
		{ step: 'c', queued_at: at(0), started_at: null, finished_at: at(4) }, { step: 'd', queued_at: at(0), started_at: null, finished_at: null }];
	const { rows, from, to } = waterfall(steps, edges(['a', 'b'], ['a', 'c'], ['b', 'd']), ms(20));
	assert.deepEqual([from, to], [ms(0), ms(20)]);
	assert.deepEqual(rows.map(({ parts }) => words(parts)), [['wait 1', 'run 3'], ['queued 4', 'wait 2', 'run 4'], ['queued 4'], ['queued 10', 'wait 10']]);
	assert.deepEqual([rows[1].parts[2].left, rows[1].parts[2].width], [30, 20]);
	assert.deepEqual(waterfall([], [], 5).rows, []);
});

test('an axis has few round ticks', () => {
	assert.deepEqual(ticks(5200), [0, 1000, 2000, 3000, 4000, 5000]);
	assert.deepEqual(ticks(0), []);
	for (let whole = 0.5; whole < 1e12; whole *= 1.7)
		assert.ok(ticks(whole).length <= 7);
});

test('phases of a request follow each other', () => {
	assert.deepEqual(phases({ resolved_ms: 1, connected_ms: 3, secured_ms: null, first_byte_ms: 10, total_ms: 12 }).map(({ what, from, to }) => [what, from, to]),
		[['DNS', 0, 1], ['connect', 1, 3], ['first byte', 3, 10], ['rest', 10, 12]]);
	assert.deepEqual(phases({}), []);
});

test('a pattern of errors finds its messages', () => {
	const finds = (pattern, message) => new RegExp(messagesOf(pattern), 's').test(message);
	assert.ok(finds('item <n> not found in <text>', 'item 17\nnot  found in "the [north]"\n'));
	assert.ok(!finds('division by zero', 'division by zero in row 7'));
	assert.ok(finds('50% of a_b \\x (c) [d] {e} ^f$ | ? + *', '50% of a_b \\x (c) [d] {e} ^f$ | ? + *'));
	assert.ok(!finds('a.b', 'axb'));
	assert.ok(finds('no answer of https://api.example.com/<path>', 'no answer of https://me:secret@api.example.com/v1/x?y=z'));
	assert.ok(finds('no answer of https://x.org/<path>', 'no answer of https://x.org?a=1'));
	assert.ok(finds('the beginning of...', 'the beginning of a long story'));
	assert.ok(finds('<script>alert(<n>)</script>', '<script>alert(1)</script>'));
	assert.ok(finds('', ''));
});

test('many calls: never more at a time than asked, all are heard of, and it can be stopped', async () => {
	let now = 0;
	let most = 0;
	const heard = [];
	const { done, failed } = await many([1, 2, 3, 4, 5, 6, 7], async (n) => {
		most = Math.max(most, ++now);
		await new Promise((resolve) => { setImmediate(resolve); });
		now--;
		if (n % 3 === 0)
			throw new Error(`no ${n}`);
	}, { at: 3, progress: (n) => heard.push(n) });
	assert.deepEqual([done, failed.length, most, heard.at(-1)], [5, 2, 3, 7]);
	let calls = 0;
	await many([1, 2, 3, 4], async () => { calls++; }, { at: 1, stopped: () => calls === 2 });
	assert.equal(calls, 2);
});
