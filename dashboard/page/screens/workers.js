// Workers: the seats for processes that execute runs, and who sits there.

import { html } from '../lib/html.js';
import { get, onlyRow, read } from '../lib/api.js';
import { number, plural } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { href } from '../lib/route.js';
import { Bar } from '../parts/chart.js';
import { Empty, Loaded, Page } from '../parts/page.js';
import { Status } from '../parts/status.js';
import { Table } from '../parts/table.js';
import { Elapsed, Time } from '../parts/time.js';

const ROWS = 1000;

const columns = [
	{ name: 'seat', title: 'Seat', cell: (seat) => number(seat.seat) },
	{ name: 'state', title: 'State', cell: (seat) => html`<${Status} status=${seat.state} />` },
	{ name: 'run', title: 'Run', kind: 'name', cell: (seat) => seat.run_id === null ? html`<span class="none">–</span>` : html`<a href=${href(['run', seat.run_id])}>${seat.run?.job_name ?? `run ${seat.run_id}`}</a>${seat.run && html` <span class="note"><${Elapsed} since=${seat.run.started_at} /></span>`}` },
	{ name: 'assigned', title: 'Assigned', narrow: 'hide', right: true, cell: (seat) => number(seat.assigned) },
	{ name: 'runs', title: 'Runs done', right: true, cell: (seat) => number(seat.runs) },
	{ name: 'owner', title: 'Role', cell: (seat) => seat.owner ?? html`<span class="none">–</span>` },
	{ name: 'pid', title: 'Process', right: true, cell: (seat) => seat.pid === null ? html`<span class="none">–</span>` : html`<code>${seat.pid}</code>` },
	{ name: 'since', title: 'Started', kind: 'tight', right: true, cell: (seat) => html`<${Time} value=${seat.started_at} />` },
];

async function load(stop) {
	const [seats, summary, runs] = await Promise.all([get('workers', { order: 'seat', limit: ROWS }, { signal: stop }), read('dashboard_summary', {}, { signal: stop }),
		get('running', { select: 'run_id,job_name,started_at', limit: ROWS }, { signal: stop })]);
	const byId = new Map(runs.map((run) => [run.run_id, run]));
	return { seats: seats.map((seat) => ({ ...seat, run: byId.get(seat.run_id) })), sum: onlyRow(summary) };
}

function Head({ sum }) {
	const { busy_workers: busy, workers, max_workers: most } = sum;
	const words = `${number(busy)} of ${number(most)} workers are busy`;
	return html`<div class="card workers"><p><strong>${words}</strong>${workers !== null && html` <span class="note">${number(workers)} exist; jobsched.max_workers is ${number(most)}</span>`}</p>
		<${Bar} share=${most > 0 ? busy / most : 0} words=${words} tone=${most > 0 && busy >= most ? 'warn' : 'busy'} />
		<p class="note">${sum.ready > 0 ? html`<a href=${href('runs', { status: 'queued' })}>${plural(sum.ready, 'run')}</a> could start and wait for a worker.` : 'No run waits for a worker.'}</p></div>`;
}

export function Workers() {
	const live = useLive(load, [], 2);
	return html`<${Page} title="Workers"><${Loaded} live=${live}>${({ seats, sum }) => html`<div class="stack"><${Head} sum=${sum} /><${Table} label="Workers" columns=${columns} rows=${seats} keyOf=${(seat) => seat.seat}
		empty=${html`<${Empty}>There is no worker of yours at this moment. One is started when a run is due, and ends when there is nothing to do.</${Empty}>`} /></div>`}</${Loaded}></${Page}>`;
}
