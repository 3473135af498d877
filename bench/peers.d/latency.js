// latency.js N: from the call that adds a job, and from when its commit is
// known, to the start of the job; one after the other on an idle server. Each
// peer with its worker in a process of its own.
import { PgBoss } from "pg-boss";
import { clock, connect, figure, percentiles, setClock, settings, sleep, start, stop } from "./common.js";

const n = Number(process.argv[2]);
const client = await connect();

// add(i) adds a job and returns its id; starts() returns when each started.
async function measure(name, add, starts) {
	const calls = [], commits = [], ids = [];
	for (let i = 0; i < n; i++) {
		if (i % 50 === 0) setClock();
		calls.push(clock());
		ids.push(await add(i));
		commits.push(clock());
		await sleep(15);
	}
	const started = await starts(ids);
	const since = (from) => percentiles(from.map((at, i) => started[i] - at));
	figure("trigger_to_start", name, "from=call", since(calls));
	figure("trigger_to_start", name, "from=commit", since(commits));
}

// The starts that a worker process reports.
async function withWorker(peer, name, add) {
	const worker = await start("worker.js", peer, 4);
	const started = [];
	worker.on("message", ({ i, at }) => { started[i] = at; });
	await sleep(1000);
	await measure(name, add, async () => {
		while (started.filter((at) => at !== undefined).length < n) await sleep(100);
		return started;
	});
	await stop(worker);
}

async function jobsched() {
	const add = async () => {
		const { rows } = await client.query({ name: "trigger", text: "SELECT jobsched.trigger('noop') AS id" });
		return rows[0].id;
	};
	await add(0);
	await sleep(500);
	await measure("jobsched", add, async (ids) => {
		await sleep(500);
		const { rows } = await client.query(
			`SELECT extract(epoch FROM started_at)::float8 * 1000 AS at
			FROM unnest($1::bigint[]) WITH ORDINALITY id (run_id, nr) JOIN jobsched.runs USING (run_id) ORDER BY nr`, [ids]);
		return rows.map((row) => row.at);
	});
}

async function graphile() {
	await withWorker("graphile", "graphile-worker", (i) => client.query({
		name: "add", text: "SELECT graphile_worker.add_job('noop', json_build_object('i', $1::int))", values: [i] }));
}

async function boss() {
	const boss = new PgBoss({ ...settings, supervise: false, schedule: false });
	await boss.start();
	await boss.createQueue("noop", { notify: true });
	await withWorker("boss", "pg-boss", (i) => boss.send("noop", { i }));
	await boss.stop();
}

await jobsched();
await graphile();
await boss();
await client.end();
