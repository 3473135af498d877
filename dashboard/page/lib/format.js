// Values as people read them. Pure functions.

const UNITS = [['d', 86400000], ['h', 3600000], ['min', 60000], ['s', 1000]];

// duration: of milliseconds, with two units at most: 3 ms, 1.25 s, 4 min 7 s, 2 d 3 h.
export function duration(ms) {
	if (ms === null || ms === undefined || Number.isNaN(ms))
		return '';
	if (ms < 0)
		return `-${duration(-ms)}`;
	if (ms < 10)
		return `${Number(ms.toFixed(1))} ms`;
	if (ms < 1000)
		return `${Math.round(ms)} ms`;
	if (ms < 60000)
		return `${Number((ms / 1000).toFixed(ms < 10000 ? 2 : 1))} s`;
	const whole = Math.round(ms / 1000) * 1000;
	const at = UNITS.findIndex(([, size]) => whole >= size);
	const [name, size] = UNITS[at];
	const [lower, lowerSize] = UNITS[at + 1];
	const rest = Math.floor((whole % size) / lowerSize);
	return `${Math.floor(whole / size)} ${name}${rest > 0 ? ` ${rest} ${lower}` : ''}`;
}

// relative: of an instant to now: "in 5 min", "3 s ago".
export function relative(at, now) {
	const ms = at - now;
	if (!Number.isFinite(ms))
		return '';
	if (Math.abs(ms) < 1000)
		return 'now';
	const about = Math.abs(ms) < 60000 ? `${Math.floor(Math.abs(ms) / 1000)} s` : duration(Math.floor(Math.abs(ms) / 1000) * 1000);
	return ms > 0 ? `in ${about}` : `${about} ago`;
}

export const number = (value) => value === null || value === undefined ? '' : Number(value).toLocaleString('en-US');

// short: 1,234 is 1.2k; for charts and tiles.
export function short(value) {
	if (value === null || value === undefined)
		return '';
	for (const [name, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]])
		if (Math.abs(value) >= size)
			return `${Number((value / size).toFixed(1))}${name}`;
	return String(Math.round(value * 100) / 100);
}

export const percent = (share) => share === null || share === undefined ? '' : `${Number((share * 100).toFixed(share > 0.99 && share < 1 ? 2 : 1))} %`;

export const plural = (n, word) => `${number(n)} ${word}${Number(n) === 1 ? '' : 's'}`;

// An interval as PostgreSQL writes it ("1 day 02:03:04.5"), in milliseconds; without
// months, which have no length. undefined: it is none.
export function intervalMs(text) {
	const found = /^(?:(-?\d+) days? ?)?(?:(-)?(\d+):(\d\d):(\d\d(?:\.\d+)?))?$/.exec(text ?? '');
	if (!found || !text)
		return undefined;
	const [, days = 0, minus, hours = 0, minutes = 0, seconds = 0] = found;
	const time = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000;
	return Number(days) * 86400000 + (minus ? -time : time);
}

// interval: as text of PostgreSQL, in our words; one with months stays as it is.
export const interval = (text) => duration(intervalMs(text)) || text;

// sentences: message, details and hint of an error in a row; some end with a full stop.
export const sentences = (...parts) => parts.filter(Boolean).map((part) => part.replace(/\.$/, '')).join('. ');

export const firstLine = (text) => (text ?? '').split('\n', 1)[0];

const MOST_JSON = 1000000;
const DEEPEST = 30;

// prettyJson: JSON text with one value in a line. Numbers and texts stay as they are
// written, as JavaScript would round large numbers. What is no JSON stays too, and what is
// very long. Very deep values are not indented further, or a few brackets would fill the memory.
export function prettyJson(text) {
	if (text.length > MOST_JSON)
		return text;
	const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
	let out = '';
	let depth = 0;
	tokens.forEach((token, i) => {
		const line = () => `\n${'  '.repeat(Math.min(depth, DEEPEST))}`;
		if (token === '{' || token === '[') {
			const empty = tokens[i + 1] === '}' || tokens[i + 1] === ']';
			depth++;
			out += empty ? token : token + line();
		} else if (token === '}' || token === ']') {
			const empty = tokens[i - 1] === '{' || tokens[i - 1] === '[';
			depth--;
			out += empty ? token : line() + token;
		} else
			out += token === ',' ? token + line() : token === ':' ? ': ' : token;
	});
	return out;
}

// No prototype: a reason is anybody's text, such as __proto__.
const REASONS = {
	__proto__: null,
	waiting_for_children: 'waits for its children', waiting_for_upstream: 'waits for other runs', waiting_for_event: 'waits for an event',
	waiting_for_request: 'waits for a request', waiting_for_run: 'waits for another run of its job', waiting_for_worker: 'waits for a worker',
	waiting_for_turn: 'waits for its turn', not_due: 'its time has not come', processing_stopped: 'processing is stopped', job_paused: 'the job is paused',
	worker_died: 'its worker died', server_restarted: 'the server was restarted', child_failed: 'a child failed', http_status: 'the server did not answer with success',
	owner_cannot_connect: 'the owner cannot connect', egress_refused: 'requests to this address are refused', bad_request: 'the request cannot be sent',
	queue_full: 'the queue was full', overlap: 'another run was live', upstream_failed: 'a run it waited for failed', upstream_skipped: 'a run it waited for was skipped',
	upstream_succeeded: 'a run it waited for succeeded', no_event: 'the event has not come', job_dropped: 'the job was dropped',
	backend_cancelled: 'cancelled by pg_cancel_backend()', owner_changed: 'the owner has changed', parent_ended: 'its parent ended',
	skipped_by_request: 'skipped by request', misfire: 'the slot was missed', carried_over: 'done in the run before', channel_refused: 'the receiver refused for good',
	smtp_status: 'the mail relay refused', network: 'the server did not answer properly', tls: 'TLS failed', timeout: 'it took too long', deadline: 'its deadline passed',
	condition: 'its condition is not true',
};

// reason: a run's or job's reason in words; our own words go unchanged.
export const reason = (word) => word ? REASONS[word] ?? word.replaceAll('_', ' ') : '';
