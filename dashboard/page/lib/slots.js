// What comes: slots and queued runs as entries in order, and how crowded it gets. Pure.

const most = 2000;

// slotsOf: the next n slots of a job of which the view knows the next one, and that has
// `later`, what next_runs() says from there on; within its bounds.
export function slotsOf(job, later, n) {
	if (!job.next_run_at)
		return [];
	const left = job.max_runs === null || job.max_runs === undefined ? n : Math.max(0, job.max_runs - (job.scheduled_runs ?? 0));
	const end = job.ends_at ? Date.parse(job.ends_at) : Infinity;
	return [job.next_run_at, ...later.filter((at) => Date.parse(at) > Date.parse(job.next_run_at))].filter((at) => Date.parse(at) <= end).slice(0, Math.min(n, left));
}

// entriesOf: rows of view upcoming as [{ at, row, repeated }], in order, those before
// `until`. A slot has its later ones in next_runs. At most `limit` are in entries; `all` are
// their instants, and those of what is left out.
export function entriesOf(rows, until, limit = most) {
	const entries = [];
	for (const row of rows) {
		const first = Date.parse(row.run_at);
		if (first < until)
			entries.push({ at: first, row, repeated: false });
		for (const text of row.next_runs ?? []) {
			const at = Date.parse(text);
			if (at > first && at < until)
				entries.push({ at, row, repeated: true });
		}
	}
	entries.sort((one, other) => one.at - other.at || one.row.job_id - other.row.job_id);
	return { entries: entries.slice(0, limit), all: entries.map(({ at }) => at) };
}

// goesOn: after the last slot that is known there are more before `until`: the last known
// one and the usual distance; undefined if there are none.
export function goesOn(row, until) {
	const known = (row.next_runs ?? []).map((text) => Date.parse(text));
	const last = known.at(-1);
	if (known.length < 2 || last >= until)
		return undefined;
	const step = (last - known[0]) / (known.length - 1);
	return step > 0 && last + step < until ? { last, step } : undefined;
}

// density: for each of n equal spans from `from`: how many are known, and how many more
// there may be if schedules go on as they begin.
export function density(instants, rows, from, until, n) {
	const width = (until - from) / n;
	const spans = Array.from({ length: n }, (_, i) => ({ at: from + i * width, known: 0, assumed: 0 }));
	const span = (at) => spans[Math.min(n - 1, Math.max(0, Math.floor((at - from) / width)))];
	for (const at of instants)
		span(at).known++;
	for (const row of rows) {
		const more = goesOn(row, until);
		if (more !== undefined)
			spans.forEach((one) => { one.assumed += Math.max(0, between(more, one.at, one.at + width)); });
	}
	return spans;
}

// How many of last + step, last + 2 step, ... are from a up to, not including, b.
function between({ last, step }, a, b) {
	const first = Math.max(1, Math.ceil((a - last) / step));
	const end = Math.ceil((b - last) / step);
	return end - first;
}

// groups: entries by the minute or hour in which they are, in order: [{ at, entries }].
export function groups(entries, width) {
	const found = [];
	for (const entry of entries) {
		const at = Math.floor(entry.at / width) * width;
		if (found.at(-1)?.at !== at)
			found.push({ at, entries: [] });
		found.at(-1).entries.push(entry);
	}
	return found;
}

// crowd: entries of one group, a row for each job and each queued run: [{ row, at, last, n }].
export function crowd(entries) {
	const found = new Map();
	for (const { at, row } of entries) {
		const key = row.run_id ?? `job ${row.job_id}`;
		if (!found.has(key))
			found.set(key, { key, row, at, n: 0 });
		const one = found.get(key);
		one.n++;
		one.last = at;
	}
	return [...found.values()];
}
