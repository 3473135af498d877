// What charts are made of: spans of time, sums of statistics, groups. Pure functions; all
// instants are milliseconds since 1970, and those for a chart's axis seconds.

const MINUTE = 60000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

// The statistics are kept by ten minutes for two hours, by the hour for 30 days.
export const RANGES = {
	'1h': { name: '1 h', words: 'last hour', span: HOUR, width: 10 * MINUTE, bucket: '10 minutes' },
	'24h': { name: '24 h', words: 'last 24 hours', span: DAY, width: HOUR, bucket: '1 hour' },
	'7d': { name: '7 d', words: 'last 7 days', span: 7 * DAY, width: 6 * HOUR, bucket: '6 hours' },
	'30d': { name: '30 d', words: 'last 30 days', span: 30 * DAY, width: DAY, bucket: '1 day' },
};
export const rangeOf = (name) => Object.hasOwn(RANGES, name ?? '') ? name : '24h';

// midnight: of the day that has it, so many days later.
function midnight(at, days, utc) {
	const day = new Date(at);
	return utc ? Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate() + days)
		: new Date(day.getFullYear(), day.getMonth(), day.getDate() + days).getTime();
}

// spans: { starts, end }, when each bucket begins and the last one ends. The one that
// has `now` is the last, so it is not over yet; there is one more than the range has. Days
// are days of the zone that is chosen; what is narrower is by UTC, as it is kept.
export function spans({ span, width }, now, utc = true) {
	const starts = [];
	if (width === DAY) {
		const days = span / DAY;
		for (let i = -days; i <= 0; i++)
			starts.push(midnight(now, i, utc));
		return { starts, end: midnight(now, 1, utc) };
	}
	const last = Math.floor(now / width) * width;
	for (let at = last - span; at <= last; at += width)
		starts.push(at);
	return { starts, end: last + width };
}

const COUNTS = ['runs', 'succeeded', 'failed', 'timed_out', 'cancelled', 'lost', 'skipped', 'missed', 'retries'];

// A row belongs to the last bucket that begins before it: where clocks are set, the
// database's may begin elsewhere.
function placeOf(starts, at) {
	let low = 0;
	let high = starts.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (starts[middle] <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low - 1;
}

// sums: rows of run_totals(), or of several jobs, added up by bucket: { failed: [0, 2, ..], .. }.
// A bucket without rows has zeros, as nothing ended in it. Numbers can be added up;
// percentiles cannot, so they are not here. mean_ms can, by the number of runs.
export function sums(rows, starts) {
	const zeros = () => starts.map(() => 0);
	const found = Object.fromEntries(COUNTS.map((name) => [name, zeros()]));
	const spent = zeros();
	for (const row of rows) {
		const at = placeOf(starts, Date.parse(row.bucket));
		if (at < 0)
			continue;
		for (const name of COUNTS)
			found[name][at] += row[name] ?? 0;
		spent[at] += (row.mean_ms ?? 0) * (row.runs ?? 0);
	}
	return { ...found, mean_ms: spent.map((ms, i) => found.runs[i] > 0 ? ms / found.runs[i] : null) };
}

// highest: a column by bucket; null where there is nothing. Of several rows the highest.
export function highest(rows, starts, column) {
	const values = starts.map(() => null);
	for (const row of rows) {
		const at = placeOf(starts, Date.parse(row.bucket));
		if (at >= 0 && row[column] !== null && row[column] !== undefined && (values[at] === null || row[column] > values[at]))
			values[at] = row[column];
	}
	return values;
}

// percentile: as percentile_disc() has it; undefined of nothing.
export function percentile(values, share) {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}

// hostOf: host and port of a URL; the text itself if it is none.
export function hostOf(url) {
	try {
		return new URL(url).host || url;
	} catch {
		return url ?? '';
	}
}

const succeeds = (status) => status !== null && status >= 200 && status < 300;

// byHost: requests, newest first, grouped: how many a host answered with success, how long
// its answers took, and the last one that was no success. Without a status there was no
// answer. Busiest first.
export function byHost(responses) {
	const hosts = new Map();
	for (const response of responses) {
		const host = hostOf(response.url);
		if (!hosts.has(host))
			hosts.set(host, []);
		hosts.get(host).push(response);
	}
	return [...hosts].map(([host, all]) => {
		const times = all.filter(({ status, total_ms: ms }) => status !== null && ms !== null).map(({ total_ms: ms }) => ms);
		return { host, responses: all.length, success: all.filter(({ status }) => succeeds(status)).length / all.length,
			p50: percentile(times, 0.5), p95: percentile(times, 0.95), last: all[0], lastError: all.find(({ status }) => !succeeds(status)) };
	}).sort((a, b) => b.responses - a.responses || (a.host < b.host ? -1 : 1));
}

// countBy: [[value, how many], ..], most first.
export function countBy(rows, of) {
	const counts = new Map();
	for (const row of rows)
		counts.set(of(row), (counts.get(of(row)) ?? 0) + 1);
	return [...counts].sort(([a, x], [b, y]) => y - x || (String(a) < String(b) ? -1 : 1));
}
