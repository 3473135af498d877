// Connections as the role that starts the server, and one transaction for each request.
// A connection that was lost is thrown away; the next request makes another, so that a
// database that comes back is found again without anybody's help.

import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import pg from 'pg';
import { RestError, answerTooLong, isLost } from './errors.mjs';

const MAX_CONNECTIONS = 8;
const MAX_WAITING = 100;
const MAX_ZONES = 1000;
// Of all that the server sends for one request.
const MAX_RECEIVED = 64 * 1024 * 1024;
// How much longer than a statement may take the server may say nothing.
const GRACE = 10000;
const socketDirectory = '/var/run/postgresql';

// As libpq chooses where nothing is said: the local socket, the user of this process.
function target(url) {
	if (url !== undefined)
		return { connectionString: url };
	const { PGHOST, PGUSER } = process.env;
	const user = PGUSER || userInfo().username;
	return { host: PGHOST || (existsSync(socketDirectory) ? socketDirectory : 'localhost'), user, database: process.env.PGDATABASE || user };
}

class Silence extends Error {}

// watch: an answer has a limit of its own; messages of errors and notices have none, and
// one that is longer than a string can be would end this process. A server behind a
// network that is gone would be waited for for ever.
function watch(client) {
	const { stream } = client.connection;
	stream.on('data', (chunk) => {
		client.received += chunk.length;
		if (client.received > MAX_RECEIVED)
			stream.destroy(answerTooLong());
	});
	stream.on('timeout', () => stream.destroy(new Silence('the database does not answer')));
}

export class Database {
	constructor({ url, statementTimeout }) {
		this.statementTimeout = statementTimeout;
		this.zones = new Map();
		this.pool = new pg.Pool({
			...target(url), application_name: 'jobsched dashboard', max: MAX_CONNECTIONS, connectionTimeoutMillis: 10000,
			idleTimeoutMillis: 60000, idle_in_transaction_session_timeout: 60000, allowExitOnIdle: false,
		});
		// Of a connection that waits: the pool has dropped it already.
		this.pool.on('error', () => {});
		this.pool.on('connect', watch);
	}

	end() {
		return this.pool.end();
	}

	// transaction: `work` with a connection, all or nothing. Its settings end with it.
	async transaction({ readOnly, settings, zone }, work) {
		const client = await this.begin(readOnly);
		let lost = false;
		try {
			const known = zone !== undefined && await this.knowsZone(client, zone);
			await this.set(client, known ? [...settings, ['TimeZone', zone]] : settings);
			const result = await work(client, { zone: known });
			await client.query('COMMIT');
			return result;
		} catch (error) {
			lost = !(error instanceof RestError) && isLost(error);
			if (!lost)
				await client.query('ROLLBACK').catch(() => { lost = true; });
			throw error;
		} finally {
			await this.giveBack(client, lost);
		}
	}

	// What a function has left in the session (a role, settings, temporary tables, locks)
	// is not for the next request.
	async giveBack(client, lost) {
		const clean = !lost && await client.query('DISCARD ALL').then(() => true, () => false);
		client.connection.stream.setTimeout(0);
		client.release(!clean);
	}

	// A connection can have died while it waited in the pool. As long as nothing has
	// begun, another may be tried. The path is for what we ask of the catalog: nobody else
	// can put an operator of his there that fits better than the catalog's.
	async begin(readOnly) {
		for (let tries = 0; ; tries++) {
			const client = await this.connect();
			client.received = 0;
			client.connection.stream.setTimeout(this.statementTimeout + GRACE);
			try {
				await client.query(`BEGIN ${readOnly ? 'READ ONLY' : ''}; SET LOCAL search_path = pg_catalog, pg_temp`);
				return client;
			} catch (error) {
				client.release(true);
				if (!isLost(error) || error instanceof Silence || tries >= MAX_CONNECTIONS)
					throw error;
			}
		}
	}

	async connect() {
		const exhausted = new RestError(504, 'PGRST003', 'Timed out acquiring connection from connection pool.');
		if (this.pool.waitingCount >= MAX_WAITING)
			throw exhausted;
		try {
			const client = await this.pool.connect();
			// Its error is the error of the query that it interrupts.
			if (client.listenerCount('error') === 0)
				client.on('error', () => {});
			return client;
		} catch (error) {
			throw /timeout exceeded when trying to connect/.test(error.message) ? exhausted : error;
		}
	}

	async set(client, settings) {
		const all = [...settings, ['statement_timeout', String(this.statementTimeout)], ['lock_timeout', String(this.statementTimeout)]];
		await client.query('SELECT pg_catalog.set_config(_.name, _.value, true) FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS _ (name, value)',
			[all.map(([name]) => name), all.map(([, value]) => value)]);
	}

	async knowsZone(client, zone) {
		if (!this.zones.has(zone)) {
			const { rows } = await client.query('SELECT 1 FROM pg_catalog.pg_timezone_names WHERE name = $1', [zone]);
			if (this.zones.size >= MAX_ZONES)
				this.zones.clear();
			this.zones.set(zone, rows.length > 0);
		}
		return this.zones.get(zone);
	}
}
