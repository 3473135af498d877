// What a request says apart from its path: parameters, range, preferences, what it
// accepts, its body. Names of a client's are kept in maps and lists, never as keys of
// an object.

import { RestError, tooMuch, unsupported, zeroByte } from './errors.mjs';
import { isFilter, readFilter, readOrder, readSelect } from './reader.mjs';

const MAX_PARAMETERS = 200;
const reserved = new Set(['select', 'order', 'limit', 'offset', 'columns', 'on_conflict']);

// parameters: of a query string, decoded, in their order.
export function parameters(query) {
	const all = query.split('&').filter((one) => one !== '');
	if (all.length > MAX_PARAMETERS)
		throw tooMuch('parameters', MAX_PARAMETERS);
	return all.map((one) => {
		const at = one.indexOf('=');
		return at < 0 ? [decode(one), ''] : [decode(one.slice(0, at)), decode(one.slice(at + 1))];
	});
}

export function decode(text) {
	if (text.includes('%00'))
		throw zeroByte();
	try {
		return decodeURIComponent(text.replaceAll('+', ' '));
	} catch {
		throw new RestError(400, 'DASH400', 'malformed URL', { details: 'A percent sign begins no UTF-8 there.' });
	}
}

// query: the parameters by their use. Those that are no filter are a function's
// arguments, if it is one that is called.
export function query(pairs, { call = false } = {}) {
	const last = new Map(pairs);
	const others = pairs.filter(([key]) => !reserved.has(key));
	const given = new Map(call ? others.filter(([key, value]) => !isLogic(key) && !isFilter(value)) : []);
	const filters = others.filter(([key, value]) => isLogic(key) || !call || isFilter(value));
	if (last.has('on_conflict'))
		throw unsupported('on_conflict');
	return {
		select: readSelect(last.get('select')),
		order: readOrder(last.get('order')),
		filters: filters.map(([key, value]) => readFilter(key, value)),
		given, last,
	};
}

const isLogic = (key) => /^(?:not\.)?(?:and|or)$/.test(key);

// ---------------------------------------------------------------------------
// Pages
// ---------------------------------------------------------------------------

function outOfRange(details) {
	return new RestError(416, 'PGRST103', 'Requested range not satisfiable', { details });
}

function number(text) {
	return text !== undefined && /^-?[0-9]+$/.test(text) ? Math.min(Number(text), Number.MAX_SAFE_INTEGER) : undefined;
}

// page: what limit and offset, and in a GET the header Range, leave of the result.
export function page({ last, range, maxRows }) {
	const limit = number(last.get('limit')) ?? Infinity;
	const offset = number(last.get('offset')) ?? 0;
	const [, from, to] = /^([0-9]+)-([0-9]*)$/.exec(range ?? '') ?? [];
	const first = number(from) ?? 0;
	const end = number(to) ?? Infinity;
	if (limit < 0)
		throw outOfRange('Limit should be greater than or equal to zero.');
	if (offset < 0)
		throw outOfRange('Offset should be greater than or equal to zero.');
	if (first > end)
		throw outOfRange('The lower boundary must be lower than or equal to the upper boundary in the Range header.');
	const begin = Math.max(offset, first);
	const rows = Math.min(offset + limit, end + 1) - begin;
	return { offset: begin, limit: Math.max(Math.min(rows, maxRows), 0) };
}

// shown: status and Content-Range of a page.
export function shown({ offset, rows, total }) {
	if (total !== null && offset > total)
		throw Object.assign(outOfRange(`An offset of ${offset} was requested, but there are only ${total} rows.`),
			{ headers: { 'Content-Range': `*/${total}` } });
	return {
		status: total !== null && rows < total ? 206 : 200,
		range: `${rows === 0 ? '*' : `${offset}-${offset + rows - 1}`}/${total ?? '*'}`,
	};
}

// ---------------------------------------------------------------------------
// Headers
// ---------------------------------------------------------------------------

const counts = new Set(['exact', 'planned', 'estimated']);
const returns = new Set(['minimal', 'representation']);

export function preferences(header) {
	const all = new Map((header ?? '').split(',').map((one) => one.trim().split('=')).filter((one) => one.length === 2));
	if (all.get('handling') === 'strict')
		throw unsupported('handling=strict');
	if (all.get('params') === 'single-object')
		throw unsupported('params=single-object');
	if (all.get('return') === 'headers-only')
		throw unsupported('return=headers-only');
	return {
		count: counts.has(all.get('count')) ? all.get('count') : undefined,
		returns: returns.has(all.get('return')) ? all.get('return') : undefined,
		zone: all.get('timezone'),
		resolution: all.get('resolution'),
		missing: all.get('missing'),
	};
}

function mediaRanges(header) {
	return header.split(',').map((one) => {
		const [type, ...rest] = one.split(';').map((part) => part.trim());
		const q = rest.find((parameter) => /^q=/i.test(parameter));
		return { type: type.toLowerCase(), rest, q: q === undefined ? 1 : Number(q.slice(2)) };
	}).filter((one) => one.type !== '' && one.q > 0).sort((a, b) => b.q - a.q);
}

// accepted: the form of the answer: json, object, csv, or `mediaType`'s document.
export function accepted(header, mediaType) {
	const ranges = mediaRanges(header || '*/*');
	for (const { type, rest } of ranges) {
		const form = forms.get(type) ?? (mediaType !== undefined && (type === mediaType || type === mediaType.replace(/\/.*/, '/*'))
			? { body: 'document', type: mediaType } : undefined);
		if (form !== undefined && rest.some((parameter) => /^nulls=stripped$/i.test(parameter)))
			throw unsupported('nulls=stripped');
		if (form !== undefined)
			return form;
	}
	throw new RestError(406, 'PGRST107', `None of these media types are available: ${ranges.map((one) => one.type).join(', ')}`);
}

const json = { body: 'json', type: 'application/json' };
const object = { body: 'object', type: 'application/vnd.pgrst.object+json' };
const forms = new Map([
	['*/*', json], ['application/*', json], ['application/json', json],
	['application/vnd.pgrst.array+json', { ...json, type: 'application/vnd.pgrst.array+json' }],
	['application/vnd.pgrst.object+json', object], ['application/vnd.pgrst.object', object],
	['text/csv', { body: 'csv', type: 'text/csv' }],
]);

// profile: the schema that a request names, else the first.
export function profile(name, schemas) {
	if (name === undefined || schemas.includes(name))
		return name ?? schemas[0];
	throw new RestError(406, 'PGRST106', `Invalid schema: ${name}`, { hint: `Only the following schemas are exposed: ${schemas.join(', ')}` });
}

// ---------------------------------------------------------------------------
// Bodies
// ---------------------------------------------------------------------------

const invalid = () => new RestError(400, 'PGRST102', 'Empty or invalid json');

// The text goes to the server as it is, numbers and all; here it is read for its keys.
function parsed(body) {
	try {
		return JSON.parse(body);
	} catch {
		throw invalid();
	}
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

// argumentNames: of a call. No body is no arguments.
export function argumentNames(body) {
	const value = parsed(body === '' ? '{}' : body);
	if (Array.isArray(value) && value.length > 0 && value.every(isObject))
		throw unsupported('a call with an array of arguments');
	if (!isObject(value))
		throw new RestError(400, 'PGRST102', 'All object keys must match');
	return Object.keys(value);
}

// rowKeys: of an object or of many that have the same ones; undefined for no row.
export function rowKeys(body, columns) {
	const value = parsed(body);
	const rows = Array.isArray(value) ? value : [value];
	if (!rows.every(isObject))
		throw new RestError(400, 'PGRST102', 'All object keys must match');
	if (rows.length === 0)
		return undefined;
	if (columns !== undefined)
		return columns;
	const keys = Object.keys(rows[0]);
	const set = new Set(keys);
	if (!rows.every((row) => Object.keys(row).length === keys.length && Object.keys(row).every((key) => set.has(key))))
		throw new RestError(400, 'PGRST102', 'All object keys must match');
	return keys;
}

export function checkContentType(header) {
	const type = (header ?? 'application/json').split(';')[0].trim().toLowerCase();
	if (type !== 'application/json')
		throw new RestError(415, 'PGRST102', `Content-Type not acceptable: ${type}`);
}
