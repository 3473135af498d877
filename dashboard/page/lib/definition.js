// The definition of a job: the parameters of create_job() and alter_job(), what a form has
// of them, and what is sent. Pure functions.
//
// A form has a text for each parameter, or true and false. '' is none, or the default.
//   formOf(row)               the texts, of a row of view jobs (as SELECT asks for it)
//   createArgs(values)        what create_job() is sent: all that is not as by default
//   alterCalls(before, now)   the calls that make one of the other: only what has changed
//   fieldOf(error, values)    the parameter that an error is about

import { intervalMs, prettyJson } from './format.js';
import { raw } from './raw.js';

export const KINDS = ['sql', 'function', 'http', 'steps'];
// The parameter that makes a job one of the kind.
export const ESSENCE = { sql: 'command', function: 'handler', http: 'url', steps: 'steps' };

// name: { type, otherwise, clear, only }
//   otherwise  what the form shows of a job that has the default
//   clear      what alter_job() takes to remove it; without it the default is sent
//   only       the kinds of jobs that have it
// Texts that are cut into a list: lines, or words between commas.
const SQL = ['sql'];
const HTTP = ['http'];
const STEPS = ['steps'];
const NOT_STEPS = ['sql', 'function', 'http'];

export const PARAMETERS = {
	name: { type: 'text', required: true },
	command: { type: 'text', only: SQL, required: true },
	handler: { type: 'text', only: ['function'], required: true },
	url: { type: 'text', only: HTTP, required: true },
	steps: { type: 'json', only: STEPS, required: true, shape: 'array' },
	args: { type: 'json', clear: {}, shape: 'object' },
	description: { type: 'text', clear: '' },
	metadata: { type: 'json', shape: 'object' },
	owner: { type: 'text', required: 'edit' },
	mode: { type: 'choice', only: SQL, options: ['auto', 'transaction', 'autocommit'] },
	share_transaction: { type: 'flag', otherwise: false, only: ['function'] },
	method: { type: 'choice', only: HTTP, options: ['POST', 'GET', 'PUT', 'PATCH', 'DELETE', 'HEAD'] },
	headers: { type: 'json', only: HTTP, clear: {}, shape: 'object' },
	body: { type: 'json', only: HTTP },
	body_text: { type: 'text', only: HTTP, clear: '' },
	sign_with: { type: 'text', only: HTTP, clear: '' },
	connect_timeout: { type: 'span', only: HTTP, clear: '0' },
	success_codes: { type: 'words', only: HTTP, clear: [] },
	max_redirects: { type: 'whole', only: HTTP, clear: 0 },
	schedule: { type: 'text', clear: '' },
	timezone: { type: 'text', required: 'edit' },
	after: { type: 'lines', clear: [] },
	enabled: { type: 'flag', otherwise: true },
	starts_at: { type: 'instant', clear: '-infinity' },
	ends_at: { type: 'instant', clear: 'infinity' },
	max_runs: { type: 'whole', clear: 0 },
	jitter: { type: 'span', clear: '0' },
	overlap: { type: 'choice', options: ['skip', 'queue', 'allow', 'replace'] },
	queue_limit: { type: 'whole', otherwise: '1' },
	misfire: { type: 'choice', options: ['once', 'skip', 'all'] },
	misfire_grace: { type: 'span', otherwise: '5 s' },
	pause_after_failures: { type: 'whole', clear: 0 },
	timeout: { type: 'span', only: NOT_STEPS, clear: '0' },
	deadline: { type: 'span', only: STEPS, clear: '0' },
	max_attempts: { type: 'whole', clear: 0 },
	backoff: { type: 'choice', options: ['exponential', 'linear', 'fixed'] },
	backoff_base: { type: 'span', otherwise: '10 s' },
	backoff_max: { type: 'span', otherwise: '1 h' },
	backoff_jitter: { type: 'number', otherwise: '0.2' },
	retry_delays: { type: 'words', clear: [] },
	retry_on: { type: 'words', clear: [] },
	no_retry_on: { type: 'words', clear: [] },
	max_concurrency: { type: 'whole', clear: 0 },
	queue: { type: 'text', clear: '' },
	keys: { type: 'lines', clear: [] },
	on_success: { type: 'text', clear: '' },
	on_failure: { type: 'text', clear: '' },
	keep: { type: 'choice', only: NOT_STEPS, options: ['all', 'failures'] },
	keep_for: { type: 'span', only: NOT_STEPS, clear: '0' },
};

const NAMES = Object.keys(PARAMETERS);
const otherwise = (name) => PARAMETERS[name].otherwise ?? PARAMETERS[name].options?.[0] ?? '';
export const applies = (name, kind) => PARAMETERS[name].only?.includes(kind) ?? true;

// What is wrong before anything is sent.
export class FieldError extends Error {
	constructor(field, message) {
		super(message);
		this.field = field;
	}
}

// --- what a form shows -----------------------------------------------------

const REQUEST_JSON = ['headers', 'body', 'success_codes'];
const REQUEST_TEXT = ['url', 'method', 'body_text', 'sign_with', 'connect_timeout', 'max_redirects'];
const JSON_COLUMNS = ['args', 'metadata', 'steps'];

// The columns of view jobs that a form needs. JSON comes as text.
export const SELECT = ['job_id', 'kind', ...NAMES.filter((name) => !REQUEST_JSON.includes(name) && !REQUEST_TEXT.includes(name) && !JSON_COLUMNS.includes(name)),
	...JSON_COLUMNS.map((name) => `${name}::text`), ...REQUEST_JSON.map((name) => `${name}:request->${name}::text`), ...REQUEST_TEXT.map((name) => `${name}:request->>${name}`)].join(',');

const PARTS = [['d', 86400000], ['h', 3600000], ['min', 60000]];

// spanText: an interval as people write it, exactly: "1 h 30 min", "2.5 s". Both are
// intervals to the database.
export function spanText(interval) {
	let rest = intervalMs(interval);
	if (rest === undefined || rest < 0)
		return interval ?? '';
	const words = [];
	for (const [name, size] of PARTS) {
		const n = Math.floor(rest / size);
		rest -= n * size;
		if (n > 0)
			words.push(`${n} ${name}`);
	}
	if (rest > 0 || words.length === 0)
		words.push(`${Number((rest / 1000).toFixed(6))} s`);
	return words.join(' ');
}

const two = (n) => String(n).padStart(2, '0');

// instantText: as an input of type datetime-local has it, and back.
export function instantText(value, utc) {
	const at = new Date(value);
	if (value === null || value === undefined || Number.isNaN(at.getTime()))
		return '';
	const [y, m, d, h, i, s] = utc ? [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()]
		: [at.getFullYear(), at.getMonth(), at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds()];
	return `${String(y).padStart(4, '0')}-${two(m + 1)}-${two(d)}T${two(h)}:${two(i)}${s > 0 ? `:${two(s)}` : ''}`;
}

export function instantOf(text, utc) {
	const at = new Date(utc ? `${text}Z` : text);
	return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

const isEmptyJson = (text) => /^\s*(\{\s*\}|\[\s*\])?\s*$/.test(text);

const SHOW = {
	flag: (value) => value,
	json: (value, { shape }) => shape === 'object' && isEmptyJson(value) ? '' : prettyJson(value),
	span: (value) => spanText(value),
	lines: (value) => value.join('\n'),
	words: (value) => (Array.isArray(value) ? value : JSON.parse(value)).map((one) => intervalMs(one) === undefined ? one : spanText(one)).join(', '),
	instant: (value, parameter, utc) => instantText(value, utc),
};

// The view has the time to connect in milliseconds.
function shown(name, value, utc) {
	const parameter = PARAMETERS[name];
	if (value === null || value === undefined)
		return otherwise(name);
	if (name === 'connect_timeout')
		return /^\d+$/.test(value) ? `${Number(value) / 1000} s` : value;
	return SHOW[parameter.type]?.(value, parameter, utc) ?? String(value);
}

export const blankForm = () => ({ kind: 'sql', ...Object.fromEntries(NAMES.map((name) => [name, otherwise(name)])) });
export const formOf = (row, utc = false) => ({ kind: row.kind, ...Object.fromEntries(NAMES.map((name) => [name, shown(name, row[name], utc)])) });

// --- what is sent ------------------------------------------------------------

const number = (test, words) => (name, text) => {
	if (!test(Number(text)))
		throw new FieldError(name, words);
	return Number(text);
};

function json(name, text) {
	let value;
	try {
		value = JSON.parse(text);
	} catch (error) {
		throw new FieldError(name, `this is not JSON: ${error.message}`);
	}
	const { shape } = PARAMETERS[name];
	const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
	if (shape === 'object' && !isObject)
		throw new FieldError(name, 'this must be a JSON object, such as {"a": 1}');
	if (shape === 'array' && !Array.isArray(value))
		throw new FieldError(name, 'this must be a JSON array, such as [{"name": "first", "handler": "app.first"}]');
	return raw(text.trim());
}

const list = (separator) => (name, text) => text.split(separator).map((one) => one.trim()).filter((one) => one !== '');

const READ = {
	text: (name, text) => text,
	choice: (name, text) => text,
	flag: (name, value) => value,
	span: (name, text) => text.trim(),
	json,
	lines: list('\n'),
	words: list(/[,\n]/),
	whole: number(Number.isSafeInteger, 'this must be a whole number'),
	number: number(Number.isFinite, 'this must be a number'),
	instant(name, text, utc) {
		const at = instantOf(text, utc);
		if (at === undefined)
			throw new FieldError(name, 'this is not a date and time');
		return at;
	},
};

const isBlank = (value) => typeof value === 'string' && value.trim() === '';
const read = (name, value, utc) => READ[PARAMETERS[name].type](name, value, utc);

function check(values, editing) {
	for (const name of NAMES) {
		const { required } = PARAMETERS[name];
		if (applies(name, values.kind) && (required === true || (required === 'edit' && editing)) && isBlank(values[name]))
			throw new FieldError(name, 'this is needed');
	}
	if (values.kind === 'http' && !isBlank(values.body) && !isBlank(values.body_text))
		throw new FieldError('body_text', 'give one of the two: a body that is JSON, or a text');
	if (!isBlank(values.schedule) && !isBlank(values.after))
		throw new FieldError('after', 'a job has a schedule, or comes after other jobs, not both');
}

export function createArgs(values, utc = false) {
	check(values, false);
	const args = {};
	for (const name of NAMES)
		if (applies(name, values.kind) && !isBlank(values[name]) && values[name] !== otherwise(name))
			args[name] = read(name, values[name], utc);
	return args;
}

// What alter_job() takes for a text that has become empty, or that the new kind has not.
function cleared(name, utc) {
	const { clear } = PARAMETERS[name];
	return clear !== undefined ? clear : otherwise(name) === '' ? undefined : read(name, otherwise(name), utc);
}

function change(name, before, now, utc) {
	if (!applies(name, now.kind))
		// What the request had goes with it.
		return !applies(name, before.kind) || before[name] === otherwise(name) || HTTP === PARAMETERS[name].only ? undefined : cleared(name, utc);
	if (before[name] === now[name] && (applies(name, before.kind) || now[name] === otherwise(name)))
		return undefined;
	return isBlank(now[name]) ? cleared(name, utc) : read(name, now[name], utc);
}

// A body that is JSON is removed by an empty text.
function removeBody(before, now, args) {
	if (now.kind === 'http' && !isBlank(before.body) && isBlank(now.body) && args.body_text === undefined)
		args.body_text = '';
	if (args.body !== undefined && args.body_text === '')
		delete args.body_text;
}

// alterCalls: [[function, arguments], ...]; none if nothing has changed.
export function alterCalls(job_id, before, now, utc = false) {
	check(now, true);
	const args = {};
	for (const name of NAMES) {
		const value = change(name, before, now, utc);
		if (value !== undefined)
			args[name] = value;
	}
	removeBody(before, now, args);
	const calls = Object.keys(args).length > 0 ? [['alter_job', { job_id, ...args }]] : [];
	if (!isBlank(before.metadata) && isBlank(now.metadata))
		calls.push(['set_job_metadata', { job: null, metadata: null, job_id }]);
	return calls;
}

// Whether two forms would make the same job.
export const isSame = (one, other) => one.kind === other.kind && NAMES.every((name) => one[name] === other[name]);

// --- what an error is about --------------------------------------------------

const WORDS = [
	[/time zone/, 'timezone'], [/name of a job|already exists/, 'name'], [/\brole\b/, 'owner'], [/success code/, 'success_codes'], [/\bkey "/, 'keys'],
	[/which after names|come after itself/, 'after'], [/\brequests?\b|secret/, 'url'], [/\bstep/, 'steps'],
];

const texts = (value) => String(value).split(/[,\n]/).map((one) => one.trim());

// fieldOf: by the name of a parameter that the message begins with or has, by a value that
// it quotes, by its words; at last what makes the job. undefined: none.
export function fieldOf(error, values) {
	if (error instanceof FieldError)
		return error.field;
	const message = error.message ?? '';
	const named = NAMES.filter((name) => applies(name, values.kind));
	const has = (name) => new RegExp(`(^|[^\\w."])${name}([^\\w.]|$)`).test(message);
	const leads = named.find((name) => message.startsWith(`${name} `) || message.startsWith(`invalid ${name} `));
	if (leads)
		return leads;
	const word = WORDS.find(([pattern, name]) => applies(name, values.kind) && pattern.test(message))?.[1];
	const quoted = [...message.matchAll(/"((?:[^"]|"")*)"/g)].map(([, value]) => value).filter((value) => value !== '');
	return named.filter((name) => name.includes('_')).find(has) ?? word
		?? named.find((name) => quoted.some((value) => texts(values[name]).includes(value)))
		?? named.filter((name) => name !== 'name').find(has)
		?? named.find((name) => quoted.some((value) => String(values[name]).includes(value)))
		?? functionNamed(message, named, values)
		?? (/^(42601|42P01|42703|42704|42883|3F000)$/.test(error.code ?? '') ? ESSENCE[values.kind] : undefined);
}

// "function shop.nothing(jsonb) does not exist", without quotes.
const functionNamed = (message, named, values) => named.find((name) => ['handler', 'on_success', 'on_failure'].includes(name) && !isBlank(values[name]) && message.includes(values[name].trim()));
