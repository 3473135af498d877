// Reads the small languages of a query string: select, order, filters, and logic
// trees. Whoever reads asks for what may come next, and what does not fit is an
// error that names its column. Nothing here knows the database: a name that was read
// is only a name until the catalog has been asked.

import { RestError, unsupported, tooMuch } from './errors.mjs';

const MAX_ITEMS = 200;
const MAX_LIST = 10000;
const MAX_DEPTH = 16;

// Those with a symbol take one value of the field's own type.
export const operators = new Map(Object.entries({
	eq: '=', neq: '<>', gt: '>', gte: '>=', lt: '<', lte: '<=', like: 'LIKE', ilike: 'ILIKE', match: '~',
	imatch: '~*', cs: '@>', cd: '<@', ov: '&&', isdistinct: 'IS DISTINCT FROM', in: 'in', is: 'is',
}));
const otherOperators = new Set(['fts', 'plfts', 'phfts', 'wfts', 'sl', 'sr', 'nxr', 'nxl', 'adj']);
const truths = new Map(Object.entries({
	null: 'NULL', not_null: 'NOT NULL', true: 'TRUE', false: 'FALSE', unknown: 'UNKNOWN',
}));

class Reader {
	// `before` is how many characters of the request came before the text.
	constructor(what, text, before = 0) {
		this.what = what;
		this.text = text;
		this.before = before;
		this.at = 0;
	}

	fail(expected, at = this.at) {
		const found = at < this.text.length ? `"${String.fromCodePoint(this.text.codePointAt(at))}"` : 'end of input';
		throw new RestError(400, 'PGRST100',
			`"failed to parse ${this.what} (${this.text})" (line 1, column ${this.before + at + 1})`,
			{ details: `unexpected ${found} expecting ${expected}` });
	}

	get ended() { return this.at >= this.text.length; }
	sees(token) { return this.text.startsWith(token, this.at); }

	took(token) {
		if (!this.sees(token))
			return false;
		this.at += token.length;
		return true;
	}

	need(token, expected = `"${token}"`) {
		if (!this.took(token))
			this.fail(expected);
	}

	// The longest match of a sticky expression, '' if there is none.
	match(expression) {
		expression.lastIndex = this.at;
		const found = expression.exec(this.text)?.[0] ?? '';
		this.at += found.length;
		return found;
	}

	end() {
		if (!this.ended)
			this.fail('end of input');
	}

	// "..." with \" and \\ in it; undefined if none begins here.
	quoted() {
		const found = this.match(/"(?:[^"\\]|\\[^])*"/y);
		return found === '' ? undefined : found.slice(1, -1).replace(/\\([^])/g, '$1');
	}

	name(expected = 'field name (* or [a..z0..9_$])') {
		const name = this.quoted() ?? this.match(/(?:[^,.:()"!>-]|-(?!>))+/y);
		if (name === '')
			this.fail(expected);
		return name;
	}

	// A column, and what of its JSON.
	field() {
		return { column: this.name(), steps: this.steps(/(?:[^,.:()"-]|-(?!>))+/y) };
	}

	steps(key) {
		const steps = [];
		while (this.sees('->')) {
			const text = this.took('->>') || !this.took('->');
			const quoted = this.quoted();
			const name = quoted ?? this.match(key);
			if (name === '')
				this.fail('a key or an index');
			steps.push({ text, name, index: quoted === undefined && /^-?[0-9]{1,9}$/.test(name) });
			if (steps.length > MAX_DEPTH)
				throw tooMuch('steps into JSON', MAX_DEPTH);
		}
		return steps;
	}
}

// separated: items of a list, as far as the commas go.
function separated(reader, item, limit, what) {
	const items = [];
	do {
		if (items.length >= limit)
			throw tooMuch(what, limit);
		items.push(item(reader));
	} while (reader.took(','));
	return items;
}

// ---------------------------------------------------------------------------
// select and order
// ---------------------------------------------------------------------------

export function readSelect(text) {
	if (text === undefined || text.trim() === '')
		return [{ all: true }];
	const reader = new Reader('select parameter', text);
	const items = separated(reader, selectItem, MAX_ITEMS, 'columns to select');
	reader.end();
	return items;
}

function selectItem(reader) {
	reader.match(/ +/y);
	if (reader.took('...'))
		throw unsupported('embedding');
	if (reader.took('*'))
		return { all: true };
	const alias = readAlias(reader);
	const field = reader.field();
	refuseCalls(reader, field.column);
	const cast = reader.took('::') ? reader.match(/[A-Za-z0-9_ ]+(?:\[\])?/y) : undefined;
	if (cast === '')
		reader.fail('a type');
	refuseCalls(reader);
	return { field, alias, cast };
}

function readAlias(reader) {
	const start = reader.at;
	const name = reader.name();
	if (!reader.sees('::') && reader.took(':'))
		return name;
	reader.at = start;
	return undefined;
}

// Aggregates are off, as they are in PostgREST unless somebody turns them on.
function refuseCalls(reader, column) {
	if (reader.match(/\.(?:sum|avg|min|max|count)\(\)/y) || (column === 'count' && reader.took('()')))
		throw new RestError(400, 'PGRST123', 'Use of aggregate functions is not allowed');
	if (reader.sees('(') || reader.sees('!'))
		throw unsupported('embedding');
}

export function readOrder(text) {
	if (text === undefined || text === '')
		return [];
	const reader = new Reader('order', text);
	const terms = separated(reader, orderTerm, MAX_ITEMS, 'terms of an order');
	reader.end();
	return terms;
}

function orderTerm(reader) {
	const field = reader.field();
	if (reader.sees('('))
		throw unsupported('embedding');
	let direction = '', nulls = '';
	while (reader.took('.')) {
		const word = reader.match(/(?:asc|desc|nullsfirst|nullslast)(?![a-z])/y);
		if (word === 'asc' || word === 'desc') {
			if (direction || nulls)
				reader.fail('"," or end of input');
			direction = word.toUpperCase();
		} else if (word && !nulls)
			nulls = word === 'nullsfirst' ? 'NULLS FIRST' : 'NULLS LAST';
		else
			reader.fail('"asc", "desc", "nullsfirst" or "nullslast"');
	}
	return { field, direction, nulls };
}

// Parameter columns of an INSERT or UPDATE.
export function readColumns(text) {
	const reader = new Reader('columns parameter', text);
	const names = separated(reader, (r) => r.name(), MAX_ITEMS, 'columns');
	reader.end();
	return names;
}

// ---------------------------------------------------------------------------
// Filters
// ---------------------------------------------------------------------------

// Whether a value has the form of a filter: what tells filters of a function's result
// from its arguments.
export function isFilter(value) {
	const word = /^(?:not\.)?([a-z]+)(?:\((?:any|all)\))?\./.exec(value)?.[1];
	return word !== undefined && (operators.has(word) || otherOperators.has(word));
}

// One parameter of a query string that is no other's.
export function readFilter(key, value) {
	const logic = /^(not\.)?(and|or)$/.exec(key);
	if (logic)
		return readLogic(logic, value);
	const reader = new Reader('filter', value);
	const test = readTest(reader, (r) => r.text.slice(r.at));
	reader.end();
	return { ...test, field: readKey(key) };
}

function readKey(key) {
	const reader = new Reader('filter', key);
	const column = reader.name();
	if (reader.sees('.'))
		throw unsupported('a filter of an embedded relation');
	const steps = reader.steps(/(?:[^"-]|-(?!>))+/y);
	reader.end();
	return { column, steps };
}

function readLogic([, not, word], value) {
	const reader = new Reader('logic tree', value, word.length);
	const count = { conditions: 0 };
	const tree = readBranches(reader, word, not !== undefined, count, 1);
	reader.end();
	return tree;
}

function readBranches(reader, word, negated, count, depth) {
	if (depth > MAX_DEPTH)
		throw tooMuch('levels of a logic tree', MAX_DEPTH);
	reader.need('(');
	const children = separated(reader, (r) => readBranch(r, count, depth), MAX_ITEMS, 'conditions');
	reader.need(')', '"," or ")"');
	return { logic: word.toUpperCase(), negated, children };
}

function readBranch(reader, count, depth) {
	if (++count.conditions > MAX_ITEMS)
		throw tooMuch('conditions', MAX_ITEMS);
	const word = reader.match(/(?:not\.)?(?:and|or)(?=\()/y);
	if (word)
		return readBranches(reader, word.replace('not.', ''), word.startsWith('not.'), count, depth + 1);
	const field = reader.field();
	reader.need('.');
	return { ...readTest(reader, readNested), field };
}

// A value within a logic tree ends at a comma or parenthesis, unless it is quoted or
// an array.
function readNested(reader) {
	const start = reader.at;
	const quoted = reader.quoted();
	if (quoted !== undefined && (reader.ended || reader.sees(',') || reader.sees(')')))
		return quoted;
	reader.at = start;
	return reader.match(/\{(?:[^{}"]|"(?:[^"\\]|\\[^])*")*\}(?=[,)])/y) || reader.match(/[^,)]*/y);
}

// [not.]operator.value, of which `value` reads the last.
function readTest(reader, value) {
	const negated = reader.took('not.');
	const start = reader.at;
	const word = reader.match(/[a-z]+/y);
	if (otherOperators.has(word))
		throw unsupported(`operator ${word}`);
	if (!operators.has(word))
		reader.fail(negated ? 'operator (eq, gt, ...)' : '"not" or operator (eq, gt, ...)', start);
	if (reader.sees('('))
		throw unsupported('an operator with any or all');
	reader.need('.');
	if (word === 'in')
		return { negated, operator: word, value: readList(reader) };
	if (word === 'is')
		return { negated, operator: word, value: readTruth(reader, value) };
	const text = takeAll(reader, value);
	return { negated, operator: word, value: /^i?like$/.test(word) ? text.replaceAll('*', '%') : text };
}

function takeAll(reader, value) {
	const text = value(reader);
	if (value !== readNested)
		reader.at = reader.text.length;
	return text;
}

function readTruth(reader, value) {
	const start = reader.at;
	const truth = truths.get(takeAll(reader, value).toLowerCase());
	if (truth === undefined)
		reader.fail('isVal: (null, not_null, true, false, unknown)', start);
	return truth;
}

function readList(reader) {
	reader.need('(');
	if (reader.took(')'))
		return [];
	const list = separated(reader, readElement, MAX_LIST, 'elements of a list');
	reader.need(')', '"," or ")"');
	return list;
}

function readElement(reader) {
	const start = reader.at;
	const quoted = reader.quoted();
	if (quoted !== undefined && (reader.sees(',') || reader.sees(')')))
		return quoted;
	reader.at = start;
	return reader.match(/[^,)]*/y);
}
