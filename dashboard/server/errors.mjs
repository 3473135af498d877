// Errors as PostgREST answers them: a status, and a body of code, details, hint and
// message. What the database refuses has its SQLSTATE as code; what PostgREST itself
// would refuse has PostgREST's code; what only this server refuses begins with DASH.

export class RestError extends Error {
	constructor(status, code, message, { details = null, hint = null, headers = {} } = {}) {
		super(message);
		this.status = status;
		this.code = code;
		this.details = details;
		this.hint = hint;
		this.headers = headers;
	}

	body() {
		return JSON.stringify({ code: this.code, details: this.details, hint: this.hint, message: this.message });
	}
}

// What PostgREST has and this server has not: never a guess.
export function unsupported(what) {
	return new RestError(501, 'DASH501', `${what} is not supported by the dashboard's server`, {
		hint: 'Use PostgREST, which has all of it.',
	});
}

// No text of the server's can have one.
export function zeroByte() {
	return new RestError(400, '22021', 'invalid byte sequence for encoding "UTF8": 0x00');
}

export function answerTooLong() {
	return new RestError(413, 'DASH413', 'the answer is too long', { hint: 'Ask for fewer rows or columns.' });
}

export function tooMuch(what, limit) {
	return new RestError(400, 'DASH400', `too many ${what}`, { details: `At most ${limit} are allowed.` });
}

// The whole code, else its longest prefix, decides.
const statusOf = new Map(Object.entries({
	'08': 503, '09': 500, '0L': 403, '0P': 403, '21000': 500, 23503: 409, 23505: 409, '25006': 405, 25: 500,
	28: 403, '2D': 500, 38: 500, 39: 500, '3B': 500, 40: 500, 53400: 500, 53: 503, 54: 500, 55: 500,
	'57P01': 503, '57P02': 503, '57P03': 503, 57: 500, 58: 500, F0: 500, HV: 500, P0001: 400, P0: 500, XX: 500,
	42883: 404, '42P01': 404, '42P17': 500, 42501: 403,
}));

function statusOfState(sqlstate) {
	const chosen = /^PT([2-5][0-9][0-9])$/.exec(sqlstate);
	if (chosen)
		return Number(chosen[1]);
	return statusOf.get(sqlstate) ?? statusOf.get(sqlstate.slice(0, 2)) ?? 400;
}

// The driver's errors of a connection have no SQLSTATE, but a code like ECONNREFUSED
// or none.
export function fromDatabase(error) {
	if (error instanceof RestError)
		return error;
	if (typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) && error.severity !== undefined)
		return new RestError(statusOfState(error.code), error.code, error.message, {
			details: error.detail ?? null, hint: error.hint ?? null,
		});
	return new RestError(503, 'PGRST001', 'Database client error. Retrying the connection.', { details: error.message });
}

// Whether a connection can be used no more after this.
export function isLost(error) {
	return error.severity === undefined || /^(08|57P0)/.test(error.code) || /^(FATAL|PANIC)$/.test(error.severity);
}
