// Time cut into buckets, as run_stats() cuts it: by the clocks of a zone. Here it is the
// browser's, or UTC. Buckets in which nothing ended have no row; they are put in. Pure.

const DAY = 24 * 60;

// Ranges of the statistics: the bucket fits, so that there are 7 to 90.
export const RANGES = {
	'1h': { name: '1 h', minutes: 60, bucket: 10, interval: '10 minutes' },
	'24h': { name: '24 h', minutes: DAY, bucket: 60, interval: '1 hour' },
	'7d': { name: '7 d', minutes: 7 * DAY, bucket: 360, interval: '6 hours' },
	'30d': { name: '30 d', minutes: 30 * DAY, bucket: DAY, interval: '1 day' },
	'90d': { name: '90 d', minutes: 90 * DAY, bucket: DAY, interval: '1 day' },
};

const wall = (at, utc) => utc ? [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), at.getUTCHours() * 60 + at.getUTCMinutes()]
	: [at.getFullYear(), at.getMonth(), at.getDate(), at.getHours() * 60 + at.getMinutes()];
const instant = ([y, m, d, minute], utc) => utc ? Date.UTC(y, m, d, 0, minute) : new Date(y, m, d, 0, minute).getTime();

// bucketStart: of the bucket in which an instant is. Widths divide a day.
export function bucketStart(at, width, utc) {
	const [y, m, d, minute] = wall(new Date(at), utc);
	return instant([y, m, d, minute - minute % width], utc);
}

// bucketStarts: all from that of `from` until `to`. An hour that comes twice is one.
export function bucketStarts(from, to, width, utc) {
	const [y, m, d, minute] = wall(new Date(bucketStart(from, width, utc)), utc);
	const starts = [];
	for (let i = 0; ; i++) {
		const at = instant([y, m, d, minute + i * width], utc);
		if (at >= to)
			return starts;
		if (starts.length === 0 || at > starts.at(-1))
			starts.push(at);
	}
}

// fill: a row for each start; undefined where there is none. A row that begins between
// two starts, as it may when clocks are set, belongs to the earlier.
export function fill(starts, rows, instantOf = (row) => Date.parse(row.bucket)) {
	const filled = starts.map(() => undefined);
	for (const row of rows) {
		const at = starts.findLastIndex((start) => start <= instantOf(row));
		if (at >= 0)
			filled[at] = filled[at] === undefined ? row : add(filled[at], row);
	}
	return filled;
}

const COUNTS = ['runs', 'succeeded', 'failed', 'timed_out', 'cancelled', 'lost', 'skipped', 'missed', 'retries'];
const MOST = ['p50_ms', 'p95_ms', 'p99_ms', 'max_ms', 'delay_p95_ms'];

// Two jobs of one name, of two owners: counts add up, of times the longer is shown.
function add(one, other) {
	const sum = { ...one };
	for (const name of COUNTS)
		sum[name] = (one[name] ?? 0) + (other[name] ?? 0);
	for (const name of MOST)
		sum[name] = one[name] === null || one[name] === undefined ? other[name] : Math.max(one[name], other[name] ?? 0);
	return sum;
}

// columnsOf: what a chart takes: seconds, and for each name its values. Counts of nothing
// are 0, times of nothing null.
export const columnsOf = (starts, filled, names) => [starts.map((at) => at / 1000),
	...names.map((name) => filled.map((row) => row?.[name] ?? (name.endsWith('_ms') ? null : 0)))];

export const failures = (row) => (row?.failed ?? 0) + (row?.timed_out ?? 0) + (row?.lost ?? 0);
export const ended = (row) => failures(row) + (row?.succeeded ?? 0) + (row?.cancelled ?? 0);

// heatOf: days of 24 hours, newest last: [{ day, hours: [{ at, row }] }], of rows by hour.
export function heatOf(now, days, rows, utc) {
	const byStart = new Map();
	for (const row of rows) {
		const at = bucketStart(Date.parse(row.bucket), 60, utc);
		byStart.set(at, byStart.has(at) ? add(byStart.get(at), row) : row);
	}
	const [y, m, d] = wall(new Date(now), utc);
	return Array.from({ length: days }, (_, i) => {
		const date = [y, m, d - (days - 1 - i)];
		return { day: instant([...date, 0], utc), hours: Array.from({ length: 24 }, (none, hour) => {
			const at = instant([...date, hour * 60], utc);
			return { at, row: byStart.get(at), later: at > now };
		}) };
	});
}
