// worker.js PEER CONCURRENCY [BATCH]: a worker process. Sends {i, at} of each
// job that has one (when it started), else the number of jobs done so far.
import { Logger, run } from "graphile-worker";
import { PgBoss } from "pg-boss";
import { clock, pool, setClock, settings } from "./common.js";

const [peer, concurrency, batch] = process.argv.slice(2);
let done = 0;

function handle(data) {
	done++;
	if (data?.i === undefined) return;
	process.send({ i: data.i, at: clock() });
	if (data.i % 50 === 0) setImmediate(setClock);
}

// With BATCH: the configuration that its documentation gives for throughput.
async function graphile() {
	const batching = batch ? { localQueue: { size: Number(batch) }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {};
	await run({
		preset: { worker: { concurrentJobs: Number(concurrency), ...batching, logger: new Logger(() => () => {}) } },
		pgPool: pool(Number(concurrency) + 2),
		taskList: { noop: handle },
		noHandleSignals: true,
	});
}

async function boss() {
	const boss = new PgBoss({ ...settings, useListenNotify: true, supervise: false, schedule: false });
	boss.on("error", console.error);
	await boss.start();
	await boss.work("noop", { localConcurrency: Number(concurrency) }, async ([job]) => handle(job.data));
}

setClock();
await { graphile, boss }[peer]();
process.send("ready");
if (batch) setInterval(() => process.send(done), 5);
