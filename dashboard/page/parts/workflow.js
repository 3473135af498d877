// A workflow run: its steps as a graph, and as a table with what each did when. A batch:
// its members by status.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { call, get, one, read } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { duration, percent, reason } from '../lib/format.js';
import { idOf } from '../lib/given.js';
import { NODE, edgesBetween, layout } from '../lib/graph.js';
import { useLive } from '../lib/live.js';
import { may } from '../lib/me.js';
import { href, route } from '../lib/route.js';
import { ticks, waterfall } from '../lib/timeline.js';
import { Act, act, confirm } from './act.js';
import { Pager } from './filters.js';
import { Json } from './json.js';
import { Loaded, Section } from './page.js';
import { Brief, why } from './runs.js';
import { Shares, inWords } from './shares.js';
import { Status, tone } from './status.js';
import { Table } from './table.js';

const ROW = 'run_id,kind,status,total,waiting,queued,running,retrying,succeeded,failed,timed_out,lost,cancelled,skipped,progress,current_step,first_failed_step';
const STEP = 'step,step_no,run_id,status,reason,optional,attempt,queued_at,run_at,started_at,finished_at,duration_ms,for_each,items,error';
const MOST = 1000;
const FEW = 100;

// useWorkflow: { row, graph, steps } of a run that is a workflow run or a batch; row is
// null of others, which are asked for once.
export function useWorkflow(run, live) {
	const [other, setOther] = useState(['step', 'item'].includes(run.source));
	return useLive((stop) => load(run, stop).then((found) => { setOther(found.row === null); return found; }), [run.run_id, run.status], live && !other ? 3 : 0);
}

async function load(run, stop) {
	const row = await one('workflows', { select: ROW, run_id: `eq.${run.run_id}` }, { signal: stop });
	if (row?.kind !== 'steps' || row.total === 0)
		return { row: row ?? null };
	const [graph, steps] = await Promise.all([read('workflow_graph', { run_id: run.run_id }, { signal: stop }),
		get('steps', { select: STEP, workflow_run_id: `eq.${run.run_id}`, order: 'step_no', limit: MOST }, { signal: stop })]);
	return { row, graph, steps };
}

// --- graph -------------------------------------------------------------------

const WHEN = { failure: 'fails', done: 'done', always: 'always', undo: 'undo' };

// Graph: what is looked at first is what has failed, or runs, or is the first.
export function Graph({ graph }) {
	const box = useRef();
	const edges = edgesBetween(graph.nodes, graph.edges);
	const key = JSON.stringify([graph.nodes.map(({ id }) => id), edges]);
	const { width, height, places, lines } = useMemo(() => layout(graph.nodes, edges), [key]);
	useEffect(() => {
		const first = graph.nodes.find(({ status }) => status === 'failed') ?? graph.nodes.find(({ status }) => status === 'running') ?? graph.nodes[0];
		if (first === undefined)
			return;
		const { x, y } = places.get(first.id);
		box.current.scrollTo(x + NODE.width / 2 - box.current.clientWidth / 2, y + NODE.height / 2 - box.current.clientHeight / 2);
	}, [key]);
	return html`<div class="graph" ref=${box} tabindex="0" role="group" aria-label="Graph of the steps; the table below has the same"><div style=${{ width: `${width}px`, height: `${height}px` }}>
		<svg width=${width} height=${height} aria-hidden="true">${edges.map(({ from, to, when }, i) => html`<path key=${`${from} ${to}`} d=${lines[i]} class=${when}><title>${`${from}, ${when}: ${to}`}</title></path>`)}</svg>
		${graph.nodes.map((node) => {
			const { x, y } = places.get(node.id);
			return html`<a key=${node.id} class="node ${tone(node.status)} ${node.status}" href=${href(['run', node.run_id])} style=${{ left: `${x}px`, top: `${y}px`, width: `${NODE.width}px`, height: `${NODE.height}px` }}
				title=${`${node.id}: ${node.status}${node.reason ? `, ${reason(node.reason)}` : ''}`}><b><bdi>${node.id}</bdi></b><${Status} status=${node.status} /></a>`;
		})}</div></div>`;
}

// --- steps over time ---------------------------------------------------------

const SPANS = { queued: 'others had not ended', wait: 'waited', run: 'was executed' };

function Lane({ parts, step, axis, whole }) {
	const words = parts.map(({ what, from, to }) => `${SPANS[what]} ${duration(to - from)}`).join(', ');
	return html`<span class="lane" role="img" aria-label=${words || 'nothing yet'} title=${words} style=${{ backgroundSize: `${(axis[1] ?? whole) * 100 / whole}% 100%` }}>${parts.map(({ what, left, width }) => html`<i class="part ${what} ${what === 'run' ? tone(step.status) : ''}" style=${{ left: `${left}%`, width: `${width}%` }}></i>`)}</span>`;
}

async function skip(run, step) {
	if (await confirm(`Skip step ${step.step}`, { body: 'It ends as skipped, and what comes after it by its success is skipped too.' }))
		await act(() => call('skip_step', { run_id: run.run_id, step: step.step }), `step ${step.step} is skipped`);
}

function stepColumns({ run, before, fall, axis, whole }) {
	const rows = new Map(fall.rows.map((row) => [row.step.step, row]));
	const skippable = may(run.owner) && run.finished_at === null;
	return [
		{ name: 'step', title: 'Step', cell: (step) => html`<bdi>${step.step}</bdi>` },
		{ name: 'status', title: 'Status', kind: 'state', cell: (step) => html`<${Status} status=${step.status} why=${why(step)} />${step.optional && html` <span class="note">may fail</span>`}` },
		{ name: 'after', title: 'After', narrow: 'hide', cell: (step) => html`<span class="note brief after" title=${before.get(step.step)}>${before.get(step.step)}</span>` },
		{ name: 'time', title: html`<span class="axis"><span>Time</span>${axis.slice(1).map((at) => html`<i style=${{ left: `${at * 100 / whole}%` }}>${duration(at)}</i>`)}</span>`, kind: 'time',
			cell: (step) => html`<${Lane} parts=${rows.get(step.step).parts} step=${step} axis=${axis} whole=${whole} />` },
		{ name: 'took', title: 'Took', right: true, cell: (step) => duration(step.duration_ms) },
		{ name: 'more', title: html`<span class="sr">More</span>`, kind: 'more', cell: (step) => html`${step.for_each && html`<a href=${href(['run', step.run_id])} title=${inWords(step.items)}>${step.items ? html`<${Shares} counts=${step.items} />` : 'elements'}</a>`}
			${skippable && step.started_at === null && step.finished_at === null && html`<${Act} small icon="skip" label="Skip" run=${() => skip(run, step)} />`}` },
	];
}

export function Steps({ run, workflow: { row, graph, steps } }) {
	const [all, setAll] = useState(false);
	if (!graph || !steps?.length)
		return html`<${Section} title="Steps"><p class="note">${run.finished_at === null ? 'The steps are there once the run begins.' : 'It has no steps: it did not begin, or they were removed from history.'}</p></${Section}>`;
	// Many are not drawn each second, but when there is news.
	const end = run.finished_at !== null ? Date.parse(run.finished_at) : steps.length > FEW ? now.peek() : now.value;
	const fall = waterfall(steps, graph.edges, end);
	const whole = Math.max(fall.to - fall.from, 1);
	const axis = ticks(whole, 5);
	const shown = all ? steps : steps.slice(0, FEW);
	const before = new Map();
	for (const { from, to, when } of graph.edges)
		before.set(to, [...before.get(to) ?? [], WHEN[when] ? `${from} (${WHEN[when]})` : from]);
	for (const [to, names] of before)
		before.set(to, names.join(', '));
	return html`<${Section} title="Steps" note=${`${percent(row.progress)} ended`}><${Shares} counts=${row} list /><${Graph} graph=${graph} />
		<div class="runs steps ${steps.length > 30 ? 'many' : ''}"><${Table} label="Steps" columns=${stepColumns({ run, before, fall, axis, whole })} rows=${shown} keyOf=${(step) => step.run_id} link=${(step) => href(['run', step.run_id])} /></div>
		${shown.length < steps.length && html`<p class="pager"><button onClick=${() => setAll(true)}>Show all ${steps.length} steps</button></p>`}
		${steps.length >= MOST && html`<p class="note">These are the first ${MOST} steps.</p>`}</${Section}>`;
}

export const Batch = ({ row }) => html`<${Section} title="Members" note=${`${percent(row.progress)} ended`}><${Shares} counts=${row} list /></${Section}>`;

// --- elements of a step ------------------------------------------------------

const ITEMS = 25;
const itemColumns = [
	{ name: 'item', title: 'Element', cell: (row) => row.item ?? 'job' },
	{ name: 'status', title: 'Status', kind: 'state', cell: (row) => html`<${Status} status=${row.status} why=${why(row)} />` },
	{ name: 'value', title: 'Value', cell: (row) => html`<code class="brief value">${(row.value ?? '').slice(0, 120)}</code>` },
	{ name: 'attempt', title: 'Attempt', right: true, narrow: 'hide', cell: (row) => row.attempt || html`<span class="none">–</span>` },
	{ name: 'took', title: 'Took', right: true, cell: (row) => duration(row.duration_ms) },
	{ name: 'more', title: 'Result or error', kind: 'error', cell: (row) => row.error ? html`<${Brief} text=${row.error} />` : row.result === null ? html`<span class="none">–</span>`
		: html`<details class="in-cell"><summary><code class="brief">${row.result.slice(0, 100)}</code></summary><${Json} text=${row.result} label="Result" /></details>` },
];

// Items: of the run of a step with for_each, or that runs another job; nothing of others.
export function Items({ run }) {
	const { item } = route.value.query;
	const live = useLive((stop) => get('step_items', { select: 'item,run_id,status,reason,attempt,duration_ms,value::text,result::text,error', step_run_id: `eq.${run.run_id}`, order: 'item', limit: ITEMS + 1,
		...(idOf(item) && { item: `gt.${item}` }) }, { signal: stop }), [run.run_id, run.status, item], run.finished_at === null ? 3 : 0);
	const rows = (live.data ?? []).slice(0, ITEMS);
	if (rows.length === 0 && !item)
		return null;
	return html`<${Section} title="Elements"><${Loaded} live=${live}>${() => html`<div class="runs"><${Table} label="Elements" columns=${itemColumns} rows=${rows} keyOf=${(row) => row.run_id}
			link=${(row) => href(['run', row.run_id])} empty=${html`<p class="note">No more.</p>`} /></div>`}</${Loaded}>
		<${Pager} name="item" label="Pages of elements" first=${item} next=${live.data?.length > ITEMS && rows.at(-1).item} /></${Section}>`;
}
