// What the catalog says about the names of a request. Each is looked up in the
// transaction that uses it: there is no cache that could be stale. What goes into a
// statement is the name that the catalog gave back, quoted; what it does not know never
// comes near one. (The one exception is the client's own name for a column of its
// answer, which is quoted too.) A name is compared as text: as a `name` it would be cut
// at 63 bytes.

import { RestError, unsupported, zeroByte } from './errors.mjs';

// Behind a zero byte the server would read no further.
export function quoteIdent(name) {
	if (name.includes('\0'))
		throw zeroByte();
	return `"${name.replaceAll('"', '""')}"`;
}

export class Relation {
	constructor(schema, name, columns) {
		this.name = name;
		this.sql = `${quoteIdent(schema)}.${quoteIdent(name)}`;
		this.alias = quoteIdent(name);
		this.columns = new Map(columns.map((column) => [column.name, column]));
	}

	// The column of a SELECT, filter or order.
	column(name) {
		const column = this.columns.get(name);
		if (column === undefined)
			throw new RestError(400, '42703', `column ${this.name}.${name} does not exist`, { hint: this.hintFor(name) });
		return column;
	}

	// The column of an INSERT or UPDATE.
	target(name) {
		const column = this.columns.get(name);
		if (column === undefined)
			throw new RestError(400, 'PGRST204', `Could not find the '${name}' column of '${this.name}' in the schema cache`);
		return column;
	}

	// As the server says it where a column is not found.
	hintFor(name) {
		const near = [...this.columns.keys()].map((column) => ({ column, distance: distance(column, name) }))
			.filter((one) => one.distance <= 3 && one.distance <= name.length / 2);
		const least = Math.min(...near.map((one) => one.distance));
		const best = near.filter((one) => one.distance === least).map((one) => `"${this.name}.${one.column}"`);
		if (best.length === 0 || best.length > 2)
			return null;
		return `Perhaps you meant to reference the column ${best.join(' or the column ')}.`;
	}
}

// Levenshtein's, of names: both are short, or the answer is "far".
function distance(a, b) {
	if (a.length > 63 || b.length > 63 || Math.abs(a.length - b.length) > 3)
		return Infinity;
	let row = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++)
			next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
		row = next;
	}
	return row[b.length];
}

const relationSql = `
	SELECT c.relname AS name, a.attname AS column, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
		a.atttypid IN ('pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.jsonb'::pg_catalog.regtype) AS is_json
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	ORDER BY a.attnum`;

export async function findRelation(client, schema, name) {
	const { rows } = await client.query(relationSql, [schema, name]);
	if (rows.length === 0)
		throw new RestError(404, 'PGRST205', `Could not find the table '${schema}.${name}' in the schema cache`);
	const columns = rows.filter((row) => row.column !== null)
		.map((row) => ({ name: row.column, type: row.type, json: row.is_json }));
	return new Relation(schema, rows[0].name, columns);
}

// ---------------------------------------------------------------------------
// Functions
// ---------------------------------------------------------------------------

// Of each function of this name: its arguments, and what it gives. A function with
// parameters OUT or TABLE gives rows with these; one of a composite type its attributes.
const functionsSql = `
	SELECT p.proname AS name, p.provolatile AS volatility, p.proretset AS set_of, p.provariadic <> 0 AS variadic,
		p.pronargdefaults AS defaults, t.typname AS type_name, t.typtype AS type_kind,
		p.prorettype = 'pg_catalog.void'::pg_catalog.regtype AS is_void,
		(SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', coalesce(p.proargnames[o], ''),
				'mode', coalesce(p.proargmodes[o], 'i'), 'type', pg_catalog.format_type(a, NULL),
				'json', a IN ('pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.jsonb'::pg_catalog.regtype)) ORDER BY o), '[]')
			FROM pg_catalog.unnest(coalesce(p.proallargtypes, p.proargtypes::pg_catalog.oid[])) WITH ORDINALITY AS _ (a, o)) AS arguments,
		(SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
				'json', a.atttypid IN ('pg_catalog.json'::pg_catalog.regtype, 'pg_catalog.jsonb'::pg_catalog.regtype)) ORDER BY a.attnum), '[]')
			FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes
	FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
		JOIN pg_catalog.pg_type t ON t.oid = p.prorettype
	WHERE n.nspname = $1::pg_catalog.text AND p.proname = $2::pg_catalog.text AND p.prokind = 'f'
		AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype`;

class Routine {
	constructor(schema, row) {
		const results = row.arguments.filter((one) => 'otb'.includes(one.mode));

		this.sql = `${quoteIdent(schema)}.${quoteIdent(row.name)}`;
		this.inputs = row.arguments.filter((one) => 'ibv'.includes(one.mode));
		this.required = this.inputs.slice(0, this.inputs.length - row.defaults).map((one) => one.name);
		this.variadic = row.variadic;
		this.reads = row.volatility !== 'v';
		this.setOf = row.set_of;
		this.void = row.is_void;
		this.composite = results.length > 0 || row.type_kind === 'c';
		this.opaque = row.type_kind === 'p' && !row.is_void && results.length === 0;
		// A domain that is named like a media type gives documents of that type.
		this.mediaType = row.type_kind === 'd' && /^[a-z]+\/[a-z0-9.+-]+$/.test(row.type_name) ? row.type_name : undefined;
		this.relation = new Relation(schema, row.name, results.length > 0 ? results : row.attributes);
	}

	takes(names) {
		return this.required.every((name) => names.includes(name))
			&& names.every((name) => name !== '' && this.inputs.some((input) => input.name === name));
	}
}

// findRoutine: the one that takes arguments of exactly these names.
export async function findRoutine(client, schema, name, names) {
	const { rows } = await client.query(functionsSql, [schema, name]);
	const all = rows.map((row) => new Routine(schema, row));
	const fits = all.filter((routine) => routine.takes(names));
	if (fits.length > 1)
		throw new RestError(300, 'PGRST203', `Could not choose the best candidate function between: ${fits
			.map((one) => `${schema}.${name}(${one.inputs.map((input) => `${input.name} => ${input.type}`).join(', ')})`).join(', ')}`, {
			hint: 'Try renaming the parameters or the function itself in the database so function overloading can be resolved',
		});
	if (fits.length === 0)
		throw notFound(schema, name, names, all);
	if (fits[0].variadic)
		throw unsupported('a function with variadic arguments');
	if (fits[0].opaque)
		throw unsupported('a function that returns record or another pseudo-type');
	return fits[0];
}

function notFound(schema, name, names, all) {
	const wanted = names.length === 0 ? 'without parameters' : `with parameters ${names.join(', ')}`;
	const called = names.length === 0 ? `${schema}.${name} without parameters` : `${schema}.${name}(${names.join(', ')})`;
	const near = all.find((routine) => routine.inputs.some((input) => names.includes(input.name)));
	return new RestError(404, 'PGRST202', `Could not find the function ${called} in the schema cache`, {
		details: `Searched for the function ${schema}.${name} ${wanted} or with a single unnamed json/jsonb parameter, `
			+ 'but no matches were found in the schema cache.',
		hint: near ? `Perhaps you meant to call the function ${schema}.${name}(${near.inputs.map((input) => input.name).join(', ')})` : null,
	});
}
