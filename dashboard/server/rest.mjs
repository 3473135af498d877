// Answers one request of the API: finds the route, reads what is asked, and within one
// transaction looks the names up and executes one statement. GET and HEAD, and calls of
// functions that only read, cannot write: their transaction is read-only.

import { RestError, answerTooLong, unsupported } from './errors.mjs';
import { readColumns } from './reader.mjs';
import { findRelation, findRoutine, quoteIdent } from './catalog.mjs';
import {
	accepted, argumentNames, checkContentType, decode, page, parameters, preferences, profile, query, rowKeys, shown,
} from './request.mjs';
import { bodies, callStatement, deleteStatement, insertStatement, planStatement, readStatement, updateStatement } from './statement.mjs';

const tableMethods = new Set(['GET', 'HEAD', 'POST', 'PATCH', 'DELETE']);
const callMethods = new Set(['GET', 'HEAD', 'POST']);

export class Rest {
	constructor(database, { schemas, maxRows }) {
		this.database = database;
		this.schemas = schemas;
		this.maxRows = maxRows;
	}

	// request: method, path below the API's root, query, headers, body. The answer is a
	// status, headers and a body.
	async answer(request) {
		const route = findRoute(request);
		if (request.method === 'OPTIONS')
			return { status: 200, headers: { Allow: route.call ? 'OPTIONS,GET,HEAD,POST' : 'OPTIONS,GET,HEAD,POST,PATCH,DELETE' }, body: '' };
		const context = this.context(request, route);
		const readOnly = isRead(request.method);
		const result = await this.database.transaction({ readOnly, settings: this.settings(request), zone: context.prefer.zone },
			async (client, { zone }) => ({ ...await work(client, context), zone }));
		return withHeaders(result, context);
	}

	context({ method, query: text, headers, body }, route) {
		const reads = isRead(method);
		const named = reads ? headers['accept-profile'] : headers['content-profile'];
		if (!reads)
			checkContentType(headers['content-type']);
		return {
			...route, method, body, named, schema: profile(named, this.schemas), prefer: preferences(headers.prefer),
			accept: headers.accept, range: method === 'GET' ? headers.range : undefined, pairs: parameters(text), maxRows: this.maxRows,
		};
	}

	// What functions and policies can know of the request. Our token is nobody's business.
	settings({ method, path, headers }) {
		const told = Object.entries(headers).filter(([name]) => !['authorization', 'cookie', 'proxy-authorization'].includes(name));
		return [
			['request.method', method], ['request.path', path], ['request.headers', JSON.stringify(Object.fromEntries(told))],
		];
	}
}

const isRead = (method) => method === 'GET' || method === 'HEAD';

// findRoute: /relation or /rpc/function.
function findRoute({ method, path }) {
	const parts = path.slice(1).split('/').map(decode);
	const call = parts[0] === 'rpc' && parts.length === 2;
	if (parts[0] === '' && parts.length === 1)
		throw unsupported('the description of the API');
	if (parts.length > (call ? 2 : 1) || parts.at(-1) === '')
		throw new RestError(404, 'PGRST125', 'Invalid path specified in request URL');
	if (method !== 'OPTIONS' && !(call ? callMethods : tableMethods).has(method))
		throw call ? new RestError(405, 'PGRST101', `Cannot use the ${method} method on RPC`) : unsupported(`${method} of a table`);
	return { call, name: parts.at(-1) };
}

function work(client, context) {
	if (context.call)
		return call(client, context);
	return isRead(context.method) ? read(client, context) : write(client, context);
}

// look: what the catalog knows of the name that is asked for. From then on names are
// looked up as functions and operators of the API expect it.
async function look(client, { schema, name }, find, ...more) {
	const known = await find(client, schema, name, ...more);
	await client.query("SELECT pg_catalog.set_config('search_path', $1, true)", [[schema, 'public'].map(quoteIdent).join(', ')]);
	return known;
}

// fetch: the one row of an answer; `count` is what Content-Range may tell.
async function fetch(client, statement) {
	const { rows: [row] } = await client.query(statement);
	if (row.body === null)
		throw answerTooLong();
	return { body: row.body, rows: Number(row.page_rows), total: row.total === null ? null : Number(row.total) };
}

function checkSingle(form, rows) {
	if (form.body === 'object' && rows !== 1)
		throw new RestError(406, 'PGRST116', 'Cannot coerce the result to a single JSON object', { details: `The result contains ${rows} rows` });
}

// ---------------------------------------------------------------------------
// Reading
// ---------------------------------------------------------------------------

async function read(client, context) {
	const form = accepted(context.accept);
	const asked = query(context.pairs);
	const limits = page({ ...context, last: asked.last });
	const relation = await look(client, context, findRelation);
	const body = context.method === 'HEAD' ? bodies.none : { json: bodies.rows, object: bodies.first, csv: bodies.csv }[form.body];
	const found = await fetch(client, readStatement(relation, { ...asked, page: limits, count: context.prefer.count, maxRows: context.maxRows, body }));
	checkSingle(form, found.rows);
	const total = await counted(client, relation, asked.filters, context, found.total);
	const { status, range } = shown({ offset: limits.offset, rows: found.rows, total });
	return { status, range, form, body: found.body };
}

// counted: with count=estimated small numbers are exact and large ones the planner's.
async function counted(client, relation, filters, { prefer, maxRows }, exact) {
	if (prefer.count !== 'planned' && !(prefer.count === 'estimated' && exact > maxRows))
		return exact;
	const { rows: [row] } = await client.query(planStatement(relation, filters));
	const planned = row['QUERY PLAN'][0].Plan['Plan Rows'];
	return Math.max(planned, exact ?? 0);
}

// ---------------------------------------------------------------------------
// Calls
// ---------------------------------------------------------------------------

async function call(client, context) {
	const reads = isRead(context.method);
	const asked = query(context.pairs, { call: reads });
	const names = reads ? [...asked.given.keys()] : argumentNames(context.body);
	const limits = page({ ...context, last: asked.last });
	const routine = await look(client, context, findRoutine, names);
	const form = accepted(context.accept, routine.mediaType);
	if (!routine.composite && (asked.filters.length > 0 || asked.order.length > 0 || asked.last.has('select')))
		throw unsupported('select, order or a filter of a function that returns no rows');
	if (routine.reads)
		await client.query('SET TRANSACTION READ ONLY');
	const found = await fetch(client, callStatement(routine, {
		...asked, names, json: reads ? undefined : context.body || '{}', page: limits, count: counting.get(context.prefer.count),
		body: routine.void || context.method === 'HEAD' ? bodies.none : callBody(routine, form),
	}));
	if (routine.void)
		return { status: 204, range: '0-0/*', body: '' };
	checkSingle(form, found.rows);
	return { ...shown({ offset: limits.offset, ...found }), form, body: found.body };
}

// What a function gives is there to be counted; it has no plan that would tell.
const counting = new Map([['exact', 'exact'], ['estimated', 'exact']]);

function callBody(routine, form) {
	if (form.body === 'csv' || form.body === 'document')
		return bodies[form.body];
	const many = routine.setOf && form.body === 'json';
	return routine.composite ? (many ? bodies.rows : bodies.first) : (many ? bodies.scalars : bodies.scalar);
}

// ---------------------------------------------------------------------------
// Writing
// ---------------------------------------------------------------------------

async function write(client, context) {
	const { prefer, method } = context;
	if (prefer.resolution !== undefined)
		throw unsupported('an upsert');
	if (prefer.missing === 'default')
		throw unsupported('missing=default');
	const form = accepted(context.accept);
	const asked = query(method === 'POST' ? context.pairs.filter(([key]) => ['select', 'columns', 'on_conflict'].includes(key)) : context.pairs);
	if (asked.order.length > 0 || asked.last.has('limit') || asked.last.has('offset'))
		throw unsupported(`${method} with order, limit or offset`);
	if (method !== 'POST' && asked.filters.length === 0)
		throw unsupported(`${method} of all rows, without a filter,`);
	const select = prefer.returns === 'representation' ? asked.select : undefined;
	const body = select === undefined ? bodies.none : { json: bodies.rows, object: bodies.first, csv: bodies.csv }[form.body];
	const relation = await look(client, context, findRelation);
	const statement = writeStatement(relation, context, { ...asked, select, body });
	const found = statement === undefined ? { rows: 0, body: select === undefined ? '' : '[]' } : await fetch(client, statement);
	if (select !== undefined)
		checkSingle(form, found.rows);
	return { status: writeStatus(method, select), range: writeRange(method, found.rows, prefer.count), form: select && form, body: found.body };
}

// undefined where there is nothing to do.
function writeStatement(relation, { method, body }, asked) {
	if (method === 'DELETE')
		return deleteStatement(relation, asked);
	const wanted = asked.last.has('columns') ? readColumns(asked.last.get('columns')) : undefined;
	const keys = rowKeys(body, wanted);
	if (keys === undefined || (method === 'PATCH' && keys.length === 0))
		return undefined;
	const columns = [...new Set(keys)].map((key) => relation.target(key));
	return (method === 'POST' ? insertStatement : updateStatement)(relation, { ...asked, json: asArray(body), columns });
}

const asArray = (body) => body.trimStart().startsWith('[') ? body : `[${body}]`;

function writeStatus(method, select) {
	if (method === 'POST')
		return 201;
	return select === undefined ? 204 : 200;
}

function writeRange(method, rows, count) {
	return `${method === 'PATCH' && rows > 0 ? `0-${rows - 1}` : '*'}/${count === undefined ? '*' : rows}`;
}

// ---------------------------------------------------------------------------
// Headers of the answer
// ---------------------------------------------------------------------------

function withHeaders({ status, range, form, body, zone }, { named, schema, prefer }) {
	const applied = [['count', prefer.count], ['return', prefer.returns], ['timezone', zone ? prefer.zone : undefined]]
		.filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${value}`).join(', ');
	const headers = { 'Content-Range': range };
	if (form !== undefined)
		headers['Content-Type'] = `${form.type}; charset=utf-8`;
	if (named !== undefined)
		headers['Content-Profile'] = schema;
	if (applied !== '')
		headers['Preference-Applied'] = applied;
	return { status, headers, body };
}
