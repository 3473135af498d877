// The one door to the API: PostgREST's, or that of dashboard/serve.mjs.
//   get(view, query)     rows; query: { select, order, limit, column: 'eq.1', and: [..] }
//   read(name, args)     a function that only reads
//   call(name, args)     a function that changes something; args may have raw() JSON (lib/raw.js)
// What fails is an ApiError, with the server's message, hint and SQLSTATE.

import { signal } from '@preact/signals';
import { rawJson } from './raw.js';
import { close, renew, session } from './session.js';

const PROFILE = 'jobsched';
const PATIENCE = 45000;

// What the whole page says about the connection: when the API was heard of last, and
// since when it is not.
export const connection = signal({ ok: true, since: Date.now() });

export class ApiError extends Error {
	constructor(status, { message, code, hint, details } = {}) {
		super(message ?? `the server answered with status ${status}`);
		Object.assign(this, { status, code, hint, details });
	}

	// It is worth another try by itself.
	get passes() {
		return this.status === 0 || this.status === 429 || this.status >= 500;
	}
}

// An element of in.(...), or of or=(...): quoted, so that it may have commas.
export const quote = (value) => `"${String(value).replace(/[\\"]/g, '\\$&')}"`;
export const among = (values) => `in.(${values.map(quote).join(',')})`;

// contains: a filter of texts that have this one in them. PostgREST takes * for %, and has no
// way to write a *: any character is one.
export const contains = (text) => `ilike.*${text.replace(/[\\%_*]/g, (sign) => sign === '*' ? '_' : `\\${sign}`)}*`;

function search(query = {}) {
	const parameters = new URLSearchParams();
	for (const [name, value] of Object.entries(query))
		for (const one of Array.isArray(value) ? value : [value])
			if (one !== undefined && one !== null)
				parameters.append(name, one);
	const text = parameters.toString();
	return text === '' ? '' : `?${text}`;
}

function headers({ token, apikey }, body) {
	return {
		Accept: 'application/json',
		'Accept-Profile': PROFILE,
		...(body !== undefined && { 'Content-Type': 'application/json', 'Content-Profile': PROFILE }),
		...((token ?? apikey) && { Authorization: `Bearer ${token ?? apikey}` }),
		...(apikey && { apikey }),
	};
}

function heard(ok) {
	if (ok !== connection.value.ok)
		connection.value = { ok, since: Date.now() };
}

async function send(method, path, { query, body, signal: stop }) {
	const now = session.value;
	if (now === null)
		throw new ApiError(401, { message: 'not connected' });
	const limit = AbortSignal.timeout(PATIENCE);
	try {
		const answer = await fetch(`${now.url}${path}${search(query)}`, {
			method, headers: headers(now, body), body: body === undefined ? undefined : rawJson(body), cache: 'no-store', redirect: 'error',
			referrerPolicy: 'no-referrer', credentials: 'omit', signal: stop ? AbortSignal.any([stop, limit]) : limit });
		const text = await answer.text();
		heard(answer.status !== 502 && answer.status !== 503 && answer.status !== 504);
		return { answer, text };
	} catch (error) {
		if (stop?.aborted)
			throw error;
		heard(false);
		throw new ApiError(0, { message: limit.aborted ? `no answer within ${PATIENCE / 1000} seconds` : 'the API cannot be reached' });
	}
}

const parse = (text) => {
	try {
		return text === '' ? null : JSON.parse(text);
	} catch {
		return undefined;
	}
};

async function ask(method, path, options = {}) {
	let { answer, text } = await send(method, path, options);
	if (answer.status === 401 && await renew())
		({ answer, text } = await send(method, path, options));
	const found = parse(text);
	if (answer.ok && found !== undefined)
		return found;
	const error = new ApiError(answer.status, answer.ok ? { message: 'the answer is not JSON: is this the URL of PostgREST?' } : found ?? {});
	// A hook's PT401 is about the hook, not about us.
	if (answer.status === 401 && error.code !== 'PT401')
		close(error.message);
	throw error;
}

export const get = (view, query, options) => ask('GET', `/${view}`, { ...options, query });
export const call = (name, args = {}, options) => ask('POST', `/rpc/${name}`, { ...options, body: args });
export const read = call;

// onlyRow: of a function that gives one row, as servers differ in how.
export const onlyRow = (found) => Array.isArray(found) ? found[0] : found;

// one: the first row, or undefined.
export const one = async (view, query, options) => (await get(view, { ...query, limit: 1 }, options))[0];
