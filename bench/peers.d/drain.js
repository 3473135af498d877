// drain.js N PROCESSES CONCURRENCY BATCH: how many no-op jobs a second
// graphile-worker executes, from the commit of the statement that adds them
// all to when the last has left the queue.
import { clock, connect, setClock, sleep, start, stop } from "./common.js";

const [n, processes, concurrency, batch] = process.argv.slice(2).map(Number);
const client = await connect();
const workers = [];
const done = [];
for (let i = 0; i < processes; i++) {
	const worker = await start("worker.js", "graphile", concurrency, batch);
	worker.on("message", (count) => { done[i] = count; });
	workers.push(worker);
}

const total = () => done.reduce((sum, count) => sum + count, 0);

// Workers report each 5 ms; the queue is looked at only when all is done, since
// looking is work for the server too.
async function drain(count) {
	const before = total();
	await client.query(`SELECT count(*) FROM graphile_worker.add_jobs(
		(SELECT array_agg(ROW('noop', '{}', NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec)
		 FROM generate_series(1, ${count})))`);
	const begin = clock();
	while (total() - before < count) await sleep(2);
	let left;
	do {
		({ rows: [{ left }] } = await client.query("SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS left"));
	} while (left);
	return Math.round(count / (clock() - begin) * 1000);
}

setClock();
await sleep(500);
await drain(Math.min(n, 5000));
await client.query("VACUUM graphile_worker._private_jobs");
await client.query("CHECKPOINT");
await sleep(1000);
console.log(await drain(n));
await Promise.all(workers.map(stop));
await client.end();
