// What a run, a workflow or a request did with its time. Pure functions; instants are
// milliseconds, and `now` ends what has not ended.

export const instant = (text) => text === null || text === undefined ? undefined : Date.parse(text);
const finite = (value) => Number.isFinite(value) ? value : undefined;

// runSpans: one after the other, without holes: [{ what, from, to, status }], where what
// is due (its time has not come), wait, attempt, pause (until the next attempt) or
// children (it has been executed, and they have not ended).
export function runSpans(run, attempts, now) {
	const from = instant(run.queued_at);
	if (from === undefined)
		return [];
	const end = Math.max(instant(run.finished_at) ?? now, from);
	const done = executed(run, attempts, end);
	const first = done[0]?.from ?? end;
	// Once it was executed this is the time of what comes next, if it is later.
	const runAt = finite(instant(run.run_at));
	const due = done.length > 1 || (done.length === 1 && runAt > first) ? undefined : runAt;
	const spans = [];
	const add = (what, to, rest) => {
		const start = spans.at(-1)?.to ?? from;
		const stop = Math.min(Math.max(to, start), end);
		if (stop > start || rest)
			spans.push({ what, from: start, to: stop, ...rest });
	};
	if (due !== undefined && due > from)
		add('due', Math.min(due, first));
	add('wait', first);
	done.forEach((one, i) => {
		if (i > 0)
			add('pause', one.from);
		add('attempt', one.to, { status: one.status, attempt: one.attempt });
	});
	if (done.length > 0)
		add(run.status === 'retrying' ? 'pause' : 'children', end);
	return spans;
}

// executed: the attempts in their order, with the one that goes on.
function executed(run, attempts, end) {
	const done = attempts.filter((one) => one.started_at !== null).sort((a, b) => a.attempt - b.attempt)
		.map((one) => ({ attempt: one.attempt, status: one.status, from: instant(one.started_at), to: instant(one.finished_at) ?? end }));
	const started = instant(run.started_at);
	if (started !== undefined && !done.some((one) => one.attempt === run.attempt))
		done.push({ attempt: run.attempt, status: run.status, from: started, to: end });
	return done;
}

// shares: of spans, in per cent, none below `least`, so that what is short can be seen.
export function shares(spans, least = 1) {
	const whole = spans.reduce((sum, { from, to }) => sum + (to - from), 0);
	const raw = spans.map(({ from, to }) => whole > 0 ? (to - from) * 100 / whole : 100 / spans.length);
	const small = raw.filter((share) => share < least).length;
	const rest = raw.reduce((sum, share) => sum + (share < least ? 0 : share), 0);
	return raw.map((share) => share < least ? least : share * (100 - small * least) / rest);
}

// waterfall: steps below each other: { from, to, rows: [{ step, parts: [{ what, left, width }] }] }
// in per cent of the whole. what is queued (others have not ended), wait or run.
export function waterfall(steps, edges, now) {
	const ends = new Map(steps.map((step) => [step.step, instant(step.finished_at)]));
	const before = new Map();
	for (const edge of edges)
		before.set(edge.to, [...before.get(edge.to) ?? [], edge.from]);
	const spans = steps.map((step) => ({ step, parts: stepParts(step, before.get(step.step) ?? [], ends, now) }));
	const all = spans.flatMap(({ parts }) => parts);
	const from = all.reduce((least, part) => Math.min(least, part.from), Infinity);
	const to = all.reduce((most, part) => Math.max(most, part.to), -Infinity);
	if (all.length === 0)
		return { from: now, to: now, rows: spans };
	const whole = Math.max(to - from, 1);
	return { from, to, rows: spans.map(({ step, parts }) => ({ step, parts: parts.map((part) => ({ ...part, left: (part.from - from) * 100 / whole, width: (part.to - part.from) * 100 / whole })) })) };
}

function stepParts(step, upstream, ends, now) {
	const queued = instant(step.queued_at);
	if (queued === undefined)
		return [];
	const end = instant(step.finished_at) ?? now;
	const started = instant(step.started_at);
	// What was never executed has no wait of its own.
	const free = upstream.reduce((last, name) => Math.max(last, ends.get(name) ?? end), queued);
	const could = Math.min(free, started ?? end);
	const parts = [{ what: 'queued', from: queued, to: could }, { what: 'wait', from: could, to: started ?? end }];
	if (started !== undefined)
		parts.push({ what: 'run', from: started, to: Math.max(end, started) });
	return parts.filter((part) => part.to > part.from || part.what === 'run');
}

// ticks: round steps on an axis of so many milliseconds, at most `most` of them.
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000, 600000, 900000, 1800000, 3600000,
	7200000, 14400000, 21600000, 43200000, 86400000];
export function ticks(whole, most = 6) {
	if (!(whole > 0))
		return [];
	const step = STEPS.find((one) => whole / one <= most) ?? Math.ceil(whole / most / 86400000) * 86400000;
	return Array.from({ length: Math.floor(whole / step) + 1 }, (nothing, i) => i * step);
}

// phases: what a request did until which millisecond: [{ what, from, to }].
export function phases(response) {
	const found = [];
	let from = 0;
	for (const [what, value] of [['DNS', response.resolved_ms], ['connect', response.connected_ms], ['TLS', response.secured_ms],
		['first byte', response.first_byte_ms], ['rest', response.total_ms]]) {
		if (value === null || value === undefined)
			continue;
		found.push({ what, from, to: Math.max(value, from) });
		from = Math.max(value, from);
	}
	return found;
}
