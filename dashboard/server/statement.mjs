// Makes statements of what a reader has read and the catalog has confirmed. Values are
// bind parameters without exception; names come from the catalog, quoted; all else in a
// statement is written here.

import { operators } from './reader.mjs';
import { unsupported } from './errors.mjs';
import { quoteIdent } from './catalog.mjs';

// What a select may cast to: how a client writes it, how we do.
const casts = new Map(['text', 'smallint', 'integer', 'bigint', 'numeric', 'real', 'boolean', 'json', 'jsonb', 'date', 'time',
	'timestamp', 'timestamptz', 'interval', 'uuid', 'bytea', 'regclass'].flatMap((type) => [type, `${type}[]`])
	.concat(['double precision', 'character varying']).map((type) => [type, type])
	.concat([['int', 'integer'], ['int2', 'smallint'], ['int4', 'integer'], ['int8', 'bigint'], ['float4', 'real'],
		['float8', 'double precision'], ['float', 'double precision'], ['bool', 'boolean'], ['decimal', 'numeric'],
		['varchar', 'character varying'], ['timestamp with time zone', 'timestamptz']]));

const MAX_BODY = 32 * 1024 * 1024;

export class Statement {
	constructor(relation) {
		this.relation = relation;
		this.values = [];
	}

	bind(value) {
		this.values.push(value);
		return `$${this.values.length}`;
	}

	field({ column, steps }) {
		const known = this.relation.column(column);
		const sql = `${this.relation.alias}.${quoteIdent(known.name)}`;
		if (steps.length === 0)
			return sql;
		return steps.reduce((inner, step) => `${inner} ${step.text ? '->>' : '->'} ${this.bind(step.name)}::${step.index ? 'integer' : 'text'}`,
			known.json ? sql : `pg_catalog.to_jsonb(${sql})`);
	}

	select(items) {
		return items.map((item) => item.all ? `${this.relation.alias}.*` : this.selected(item)).join(', ');
	}

	selected({ field, alias, cast }) {
		const type = cast === undefined ? undefined : casts.get(cast.trim().toLowerCase());
		if (cast !== undefined && type === undefined)
			throw unsupported(`a cast to ${cast}`);
		const sql = this.field(field);
		return `${type ? `(${sql})::${type}` : sql} AS ${quoteIdent(alias ?? nameOf(field))}`;
	}

	where(filters) {
		return filters.length === 0 ? '' : ` WHERE ${filters.map((filter) => this.condition(filter)).join(' AND ')}`;
	}

	condition(filter) {
		const sql = filter.logic
			? `(${filter.children.map((child) => this.condition(child)).join(` ${filter.logic} `)})`
			: this.test(filter);
		return filter.negated ? `NOT (${sql})` : sql;
	}

	test({ field, operator, value }) {
		const sql = this.field(field);
		if (operator === 'is')
			return `${sql} IS ${value}`;
		if (operator === 'in')
			return `${sql} = ANY (${this.bind(value)})`;
		return `${sql} ${operators.get(operator)} ${this.bind(value)}`;
	}

	order(terms) {
		return terms.length === 0 ? '' : ` ORDER BY ${terms.map(({ field, direction, nulls }) =>
			`${this.field(field)} ${direction} ${nulls}`).join(', ')}`;
	}

	page({ limit, offset }) {
		return ` LIMIT ${this.bind(limit)}::bigint OFFSET ${this.bind(offset)}::bigint`;
	}
}

function nameOf({ column, steps }) {
	return steps.filter((step) => !step.index).at(-1)?.name ?? column;
}

// The whole answer is made by the server, so that no number goes through ours. One that
// is too long is not sent to us.
function answer({ body, counted = 'NULL::bigint', source, from }) {
	return `WITH _source AS (${source}), _page AS (${from})
		SELECT _.total, _.page_rows, CASE WHEN pg_catalog.octet_length(_.body) <= ${MAX_BODY} THEN _.body END AS body
		FROM (SELECT (${counted}) AS total, pg_catalog.count(*) AS page_rows, ${body} AS body FROM _page) _`;
}

export const bodies = {
	rows: "coalesce(pg_catalog.json_agg(_page.*), '[]')::text",
	first: "coalesce(pg_catalog.json_agg(_page.*) -> 0, 'null')::text",
	scalars: "coalesce(pg_catalog.json_agg(_page._scalar), '[]')::text",
	scalar: "coalesce(pg_catalog.json_agg(_page._scalar) -> 0, 'null')::text",
	document: "coalesce(pg_catalog.string_agg(_page._scalar::text, ''), '')",
	none: "''::text",
	csv: `(SELECT coalesce(pg_catalog.string_agg(_key, ','), '') FROM (SELECT pg_catalog.json_object_keys(_row) AS _key
			FROM (SELECT pg_catalog.row_to_json(_page.*) AS _row FROM _page LIMIT 1) _first) _keys)
		|| E'\\n' || coalesce(pg_catalog.string_agg(pg_catalog.substr((_page.*)::text, 2, pg_catalog.length((_page.*)::text) - 2), E'\\n'), '')`,
};

// counting: what the total is taken from, with count=estimated not beyond `most` rows.
function counting(count, rows, most) {
	if (count === 'exact')
		return `SELECT pg_catalog.count(*) FROM ${rows}`;
	if (count === 'estimated')
		return `SELECT pg_catalog.count(*) FROM (SELECT FROM ${rows} LIMIT ${most + 1}) _rows`;
	return undefined;
}

export function readStatement(relation, { select, filters, order, page, count, maxRows, body }) {
	const statement = new Statement(relation);
	const where = statement.where(filters);
	const counted = counting(count, `${relation.sql}${where}`, maxRows);
	const source = `SELECT ${statement.select(select)} FROM ${relation.sql}${where}${statement.order(order)}${statement.page(page)}`;
	return { text: answer({ body, counted, source, from: 'SELECT * FROM _source' }), values: statement.values };
}

// planStatement: what the planner expects of the same filters.
export function planStatement(relation, filters) {
	const statement = new Statement(relation);
	return { text: `EXPLAIN (FORMAT JSON) SELECT FROM ${relation.sql}${statement.where(filters)}`, values: statement.values };
}

// callStatement: arguments are a JSON text, of which the server takes what the function
// has, or texts by name.
export function callStatement(routine, { json, given, names, select, filters, order, page, count, body }) {
	const statement = new Statement(routine.relation);
	const inputs = routine.inputs.filter((input) => names.includes(input.name));
	const lateral = json !== undefined && inputs.length > 0;
	const from = lateral ? `pg_catalog.json_to_recordset(pg_catalog.json_build_array(${statement.bind(json)}::json)) AS _arguments (${inputs
		.map((input) => `${quoteIdent(input.name)} ${input.type}`).join(', ')}), LATERAL ` : '';
	const call = inputs.map((input) => `${quoteIdent(input.name)} => ${lateral
		? `_arguments.${quoteIdent(input.name)}` : `${statement.bind(given.get(input.name))}::${input.type}`}`).join(', ');
	const source = routine.composite
		? `SELECT _call.* FROM ${from}${routine.sql}(${call}) AS _call`
		: `SELECT _call._scalar FROM ${from}${routine.sql}(${call}) AS _call (_scalar)`;
	const shown = routine.composite ? statement.select(select) : '*';
	const rows = `_source AS ${routine.relation.alias}${statement.where(filters)}`;
	const counted = count === undefined ? undefined : `SELECT pg_catalog.count(*) FROM ${rows}`;
	return {
		text: answer({ body, counted, source, from: `SELECT ${shown} FROM ${rows}${statement.order(order)}${statement.page(page)}` }),
		values: statement.values,
	};
}

// ---------------------------------------------------------------------------
// Statements that change rows
// ---------------------------------------------------------------------------

function records(statement, json, columns) {
	return `pg_catalog.json_to_recordset(${statement.bind(json)}::json) AS _body (${columns
		.map((column) => `${quoteIdent(column.name)} ${column.type}`).join(', ')})`;
}

function changed(statement, source, select, body) {
	return {
		text: answer({ body, source: `${source} RETURNING ${select === undefined ? '1' : statement.select(select)}`, from: 'SELECT * FROM _source' }),
		values: statement.values,
	};
}

export function insertStatement(relation, { json, columns, select, body }) {
	const statement = new Statement(relation);
	const names = columns.map((column) => quoteIdent(column.name)).join(', ');
	const rows = columns.length === 0 ? 'DEFAULT VALUES'
		: `(${names}) SELECT ${columns.map((column) => `_body.${quoteIdent(column.name)}`).join(', ')} FROM ${records(statement, json, columns)}`;
	return changed(statement, `INSERT INTO ${relation.sql} ${rows}`, select, body);
}

export function updateStatement(relation, { json, columns, filters, select, body }) {
	const statement = new Statement(relation);
	const set = columns.map((column) => `${quoteIdent(column.name)} = _body.${quoteIdent(column.name)}`).join(', ');
	const from = `(SELECT * FROM ${records(statement, json, columns)} LIMIT 1) _body`;
	return changed(statement, `UPDATE ${relation.sql} SET ${set} FROM ${from}${statement.where(filters)}`, select, body);
}

export function deleteStatement(relation, { filters, select, body }) {
	const statement = new Statement(relation);
	return changed(statement, `DELETE FROM ${relation.sql}${statement.where(filters)}`, select, body);
}
