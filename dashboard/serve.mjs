#!/usr/bin/env node
// A small local server for the dashboard: serves the page, and answers the part of
// PostgREST's API that it uses, as the database role that starts it. README.md says
// what it answers and what keeps others out.
//
//   browser --HTTP, token--> http.mjs --> gate.mjs     who may come in
//                                    |--> files.mjs    the page
//                                    `--> rest.mjs     a request of the API
//                                           request.mjs, reader.mjs   what is asked
//                                           catalog.mjs               the names, confirmed
//                                           statement.mjs             one statement of them
//                                           database.mjs              in one transaction
//
// Nothing is kept between requests but connections, and names of time zones that exist.
// Killed at any moment it leaves nothing behind: the server rolls the transaction back.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Database } from './server/database.mjs';
import { Files } from './server/files.mjs';
import { Gate } from './server/gate.mjs';
import { makeServer } from './server/http.mjs';
import { Rest } from './server/rest.mjs';

const usage = `usage: node serve.mjs [options] [connection URL]

Serves jobsched's dashboard on 127.0.0.1, as the database role that connects, and
prints a link to it. Without a URL libpq's environment variables (PGHOST, PGPORT,
PGDATABASE, PGUSER, PGPASSWORD, PGSSLMODE, PGPASSFILE) and ~/.pgpass decide.

  --port N               where to listen; default: a free port
  --schema NAME          schema of the API, can be repeated; default: jobsched
  --max-rows N           rows of an answer at most; default: 1000
  --statement-timeout S  seconds that a statement may take; default: 30
  --help                 this text
`;

const options = {
	port: { type: 'string', default: '0' },
	schema: { type: 'string', multiple: true, default: ['jobsched'] },
	'max-rows': { type: 'string', default: '1000' },
	'statement-timeout': { type: 'string', default: '30' },
	help: { type: 'boolean', default: false },
};

function die(message) {
	process.stderr.write(`serve.mjs: ${message}\n`);
	process.exit(1);
}

function integer(name, text, least, most) {
	if (!/^[0-9]{1,9}$/.test(text) || Number(text) < least || Number(text) > most)
		die(`--${name} needs a number from ${least} to ${most}, not: ${text}`);
	return Number(text);
}

function readOptions() {
	try {
		const { values, positionals } = parseArgs({ options, allowPositionals: true });
		if (positionals.length > 1)
			die(`one connection URL at most (see --help)`);
		return { ...values, url: positionals[0] };
	} catch (error) {
		return die(`${error.message} (see --help)`);
	}
}

// The first connection tells a wrong password or name before anybody opens the page.
async function checkDatabase(database, schemas) {
	try {
		const { rows } = await database.pool.query('SELECT n FROM pg_catalog.unnest($1::text[]) n'
			+ ' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = n)', [schemas]);
		if (rows.length > 0)
			die(`the database has no schema "${rows[0].n}"`);
	} catch (error) {
		die(`cannot connect to the database: ${error.message || error.code}`);
	}
}

async function main() {
	const { port, schema, 'max-rows': rows, 'statement-timeout': seconds, url, help } = readOptions();
	if (help)
		return process.stdout.write(usage);
	const wanted = integer('port', port, 0, 65535);
	const maxRows = integer('max-rows', rows, 1, 100000);
	const statementTimeout = integer('statement-timeout', seconds, 1, 86400) * 1000;
	const database = new Database({ url, statementTimeout });
	await checkDatabase(database, schema);

	const gate = new Gate();
	const files = new Files(join(dirname(fileURLToPath(import.meta.url)), 'dist'));
	const rest = new Rest(database, { schemas: schema, maxRows });
	const log = (text) => process.stderr.write(`serve.mjs: ${text}\n`);
	// Nobody has to read it: a pipe whose other end is gone does not end us.
	process.stderr.on('error', () => {});
	// The names are looked up before the statement.
	const server = makeServer({ gate, files, rest, log, slowest: 3 * statementTimeout });
	server.on('error', (error) => die(error.message));
	server.listen(wanted, '127.0.0.1', () => {
		gate.open(server.address().port);
		process.stdout.write(`http://127.0.0.1:${server.address().port}/#token=${gate.token}\n`);
	});
	for (const signal of ['SIGINT', 'SIGTERM'])
		process.once(signal, () => stop(server, database));
	return undefined;
}

// A second signal, or a request that does not end, does not keep it.
function stop(server, database) {
	server.close(() => database.end().finally(() => process.exit(0)));
	server.closeIdleConnections();
	setTimeout(() => process.exit(0), 2000).unref();
}

await main();
