// bulk.js N ROUNDS: jobs a second that one statement adds, commit included,
// each with an argument; no worker is there. In each round all peers, one right
// after the other: through the interface that a program has, and from SQL.
import { makeWorkerUtils } from "graphile-worker";
import { PgBoss } from "pg-boss";
import { clock, connect, figure, median, pool, setClock, settings, sleep } from "./common.js";

const [n, rounds] = process.argv.slice(2).map(Number);
const client = await connect();
const utils = await makeWorkerUtils({ pgPool: pool(2), preset: {} });
const boss = new PgBoss({ ...settings, supervise: false, schedule: false });
await utils.migrate();
await boss.start();
await boss.createQueue("bulk");

const numbers = Array.from({ length: n }, (_, i) => i + 1);
await client.query(`CREATE TABLE bench.bulk AS
	SELECT array_agg(jsonb_build_object('n', i)) AS arguments,
		array_agg(ROW('bulk', json_build_object('n', i), NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec) AS specs
	FROM generate_series(1, ${n}) i`);
await client.query("SELECT jobsched.create_job('bulk', handler => 'bench.noop')");
await client.query("SELECT jobsched.pause_job('bulk')");

async function emptyJobsched() {
	await client.query("SELECT jobsched.drop_job('bulk')");
	let left;
	do {
		await sleep(250);
		({ rows: [{ left }] } = await client.query("SELECT EXISTS (SELECT FROM jobsched_internal.run) AS left"));
	} while (left);
	await client.query("VACUUM jobsched_internal.run");
	await client.query("SELECT jobsched.create_job('bulk', handler => 'bench.noop')");
	await client.query("SELECT jobsched.pause_job('bulk')");
}

const emptyGraphile = () => client.query("TRUNCATE graphile_worker._private_jobs");
const emptyBoss = () => boss.deleteAllJobs("bulk");

const contestants = [
	{ peer: "jobsched", from: "client", empty: emptyJobsched,
		prepare: () => numbers.map((i) => ({ n: i })),
		add: (list) => client.query(`SELECT count(*) FROM jobsched.trigger_many('bulk',
			(SELECT array_agg(a) FROM jsonb_array_elements($1) a))`, [JSON.stringify(list)]) },
	{ peer: "graphile-worker", from: "client", empty: emptyGraphile,
		prepare: () => numbers.map((i) => ({ identifier: "bulk", payload: { n: i } })),
		add: (list) => utils.addJobs(list) },
	{ peer: "pg-boss", from: "client", empty: emptyBoss,
		prepare: () => numbers.map((i) => ({ data: { n: i } })),
		add: (list) => boss.insert("bulk", list) },
	{ peer: "jobsched", from: "sql", empty: emptyJobsched,
		add: () => client.query("SELECT count(*) FROM bench.bulk, jobsched.trigger_many('bulk', arguments)") },
	{ peer: "graphile-worker", from: "sql", empty: emptyGraphile,
		add: () => client.query("SELECT count(*) FROM bench.bulk, graphile_worker.add_jobs(specs)") },
];

setClock();
for (const each of contestants) each.rates = [];
for (let i = 1; i <= rounds; i++) {
	for (const each of contestants) {
		const list = each.prepare?.();
		await client.query("CHECKPOINT");
		await sleep(1000);
		const begin = clock();
		await each.add(list);
		each.rates.push(Math.round(n / (clock() - begin) * 1000));
		await each.empty();
	}
	console.log(`#   round ${i}: ` + contestants.map((each) => `${each.peer} from ${each.from} ${each.rates.at(-1)}/s`).join(", "));
}
for (const from of ["client", "sql"])
	figure("bulk", `runs=${n}`, `rounds=${rounds}`, `from=${from}`,
		...contestants.filter((each) => each.from === from).map((each) => `${each.peer}_per_s=${median(each.rates)}`));
await utils.release();
await boss.stop({ graceful: false });
await client.end();
process.exit(0);
