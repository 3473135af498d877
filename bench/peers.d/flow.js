// flow.js PATTERN N: pg-boss: N jobs of one flow, in one of the five patterns that its
// authors have measured.  Prints jobs a second, from when the flow has been queued to
// the end of the last job.
//
// Jobs are fetched and completed in batches of 1000.  pg-boss lets jobs go that wait
// for others every five seconds, at most once a second; here it does as soon as nothing
// is left that could be fetched, so that no time passes in between.
import { PgBoss } from "pg-boss";
import { clock, setClock, settings } from "./common.js";

const pattern = process.argv[2];
const n = Number(process.argv[3]);
const BATCH = 1000;

const patterns = {
	independent: () => [],
	chain: (i) => i > 0 ? [i - 1] : [],
	fan: (i) => i === 0 ? [] : i < n - 1 ? [0] : Array.from({ length: n - 2 }, (_, k) => k + 1),
	join: (i) => i < n - 1 ? [] : Array.from({ length: n - 1 }, (_, k) => k),
	layers: (i) => {
		const width = Math.floor(n / 20), at = i % width, above = i - at - width;
		return above < 0 ? [] : [at, (at * 7) % width, (at * 13 + 1) % width].map((k) => above + k);
	},
};

const boss = new PgBoss({ ...settings, supervise: false, schedule: false });
await boss.start();
await boss.createQueue("flow");
await boss.deleteAllJobs("flow");
const count = pattern === "layers" ? Math.floor(n / 20) * 20 : n;
const jobs = Array.from({ length: count }, (_, i) =>
	({ ref: `r${i}`, name: "flow", dependsOn: patterns[pattern](i).map((k) => `r${k}`) }));
if (pattern === "independent") // it takes no flow in which nothing waits
	await boss.insert("flow", jobs.map(() => ({})));
else
	await boss.flow(jobs);

setClock();
const begin = clock();
for (let done = 0; done < count;) {
	const batch = await boss.fetch("flow", { batchSize: BATCH });
	if (batch.length === 0) {
		await boss.resolveFlow();
		continue;
	}
	await boss.complete("flow", batch.map((job) => job.id));
	done += batch.length;
}
console.log(Math.round(count / (clock() - begin) * 1000));
await boss.stop({ graceful: false });
process.exit(0);
