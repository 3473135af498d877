// Runs: newest first, with what can be done to one, to those that are selected, and to all
// that match.
//
// Only job and id have an index. Of the other filters no more is read than windows of ids,
// each twice as wide as the last, for about a second; then a button looks further back.

import { html } from '../lib/html.js';
import { among, contains, get, one } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { idOf, jobOf } from '../lib/given.js';
import { number } from '../lib/format.js';
import { useKeys } from '../lib/keys.js';
import { useLive } from '../lib/live.js';
import { may, mayAny } from '../lib/me.js';
import { href, route, setQuery } from '../lib/route.js';
import { Act } from '../parts/act.js';
import { Choice, Filters, Pager, Search, Several } from '../parts/filters.js';
import { Icon } from '../parts/icon.js';
import { Empty, Loaded, Page } from '../parts/page.js';
import { Brief, DEAD, JobLink, LIVE, STATUSES, Took, Working, cancelMany, cancelMatching, isLive, mayRetry, redriveJob, retryMany, why } from '../parts/runs.js';
import { Status } from '../parts/status.js';
import { Selection, Table, useSelected } from '../parts/table.js';
import { Time } from '../parts/time.js';

const ROWS = 50;
const SELECT = 'run_id,job_id,job_name,owner,status,reason,source,attempt,queued_at,started_at,finished_at,duration_ms,error';
const FIRST_WINDOW = 50000;
const PATIENCE = 1200;

export const SOURCES = ['schedule', 'trigger', 'retry', 'backfill', 'batch', 'step', 'item', 'after', 'callback', 'startup'];
const AGES = [['15m', 'last 15 min', 900], ['1h', 'last hour', 3600], ['24h', 'last day', 86400], ['7d', 'last week', 604800]];
const ages = AGES.map(([value, label]) => ({ value, label }));

// since: of an age, or of an instant that a link gives.
function since(value) {
	const age = AGES.find(([name]) => name === value);
	const at = age ? now.peek() - age[2] * 1000 : Date.parse(value);
	return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

export const list = (text) => (text ?? '').split(',').filter((value) => value !== '');

function conditions({ job, job_id: id, status, source, owner, queued, finished, error }) {
	return { ...(job && { job_name: `eq.${job}` }), ...(id && { job_id: `eq.${id}` }), ...(status && { status: among(list(status)) }), ...(source && { source: `eq.${source}` }),
		...(owner && { owner: `eq.${owner}` }), ...(queued && { queued_at: `gte.${since(queued) ?? queued}` }), ...(finished && { finished_at: `gte.${since(finished) ?? finished}` }),
		...(error && { error: contains(error) }) };
}

// What is live is few, and found at once.
const isSlow = ({ status, source, owner, queued, finished, error }) => Boolean(source || owner || queued || finished || error
	|| (status && !list(status).every((one) => LIVE.includes(one))));

const page = (wanted, range, limit, stop) => get('runs', { select: SELECT, order: 'run_id.desc', limit, ...conditions(wanted), run_id: range }, { signal: stop });

// load: { rows, next }: rows are one more than a page if there is another; next is where
// to look further if there may be.
async function load(wanted, stop) {
	const from = idOf(wanted.page);
	if (!isSlow(wanted)) {
		const rows = await page(wanted, from ? [`lt.${from}`] : [], ROWS + 1, stop);
		return { rows: rows.slice(0, ROWS), next: rows.length > ROWS ? rows[ROWS - 1].run_id : undefined };
	}
	let top = from ? Number(from) : ((await one('runs', { select: 'run_id', order: 'run_id.desc' }, { signal: stop }))?.run_id ?? 0) + 1;
	const rows = [];
	const until = performance.now() + PATIENCE;
	for (let size = FIRST_WINDOW; rows.length <= ROWS && top > 1; size *= 2) {
		const bottom = Math.max(1, top - size);
		rows.push(...await page(wanted, [`lt.${top}`, `gte.${bottom}`], ROWS + 1 - rows.length, stop));
		if (rows.length > ROWS)
			return { rows: rows.slice(0, ROWS), next: rows[ROWS - 1].run_id };
		top = await leads(wanted, bottom, stop) ? bottom : 1;
		if (performance.now() > until)
			break;
	}
	return { rows, next: top > 1 ? top : undefined, far: top > 1 };
}

// leads: whether there can be more below. Ids are given as runs are queued.
async function leads({ queued }, bottom, stop) {
	if (!queued || bottom <= 1)
		return true;
	const before = await one('runs', { select: 'queued_at', order: 'run_id.desc', run_id: `lt.${bottom}` }, { signal: stop });
	return before !== undefined && Date.parse(before.queued_at) >= Date.parse(since(queued));
}

// Names of jobs that are like what is typed.
export function useJobNames(text) {
	const { data } = useLive((stop) => text ? get('jobs', { select: 'name', order: 'name', limit: 20, name: contains(text) }, { signal: stop }) : Promise.resolve([]), [text], 0);
	return [...new Set((data ?? []).map((job) => job.name))];
}

export const runColumns = [
	{ name: 'run_id', title: 'Run', cell: (run) => run.run_id },
	{ name: 'job', title: 'Job', kind: 'name', cell: (run) => html`<${JobLink} run=${run} />` },
	{ name: 'status', title: 'Status', kind: 'state', cell: (run) => html`<${Status} status=${run.status} why=${run.error ? undefined : why(run)} />` },
	{ name: 'source', title: 'Source', narrow: 'hide', cell: (run) => html`<span class="note">${run.source}</span>` },
	{ name: 'attempt', title: 'Attempt', right: true, narrow: 'hide wide', cell: (run) => run.attempt > 0 ? run.attempt : html`<span class="none">–</span>` },
	{ name: 'queued', title: 'Queued', cell: (run) => html`<${Time} value=${run.queued_at} />` },
	{ name: 'started', title: 'Started', narrow: 'hide wide', cell: (run) => html`<${Time} value=${run.started_at} />` },
	{ name: 'finished', title: 'Finished', narrow: 'hide', cell: (run) => html`<${Time} value=${run.finished_at} />` },
	{ name: 'took', title: 'Took', right: true, cell: (run) => html`<${Took} run=${run} />` },
	{ name: 'error', title: 'Error', kind: 'error', cell: (run) => html`<${Brief} text=${run.error} />` },
];

const keyOf = (run) => run.run_id;
const FILTERS = ['job', 'job_id', 'status', 'source', 'owner', 'queued', 'finished', 'error'];

// What cancel_runs() and redrive() can be told: the job, and a state.
function All({ wanted, name }) {
	const statuses = list(wanted.status);
	const ofJob = jobOf(wanted);
	const others = ((wanted.job || wanted.job_id) && ofJob === undefined) || ['source', 'queued', 'finished', 'error'].some((filter) => wanted[filter]) || (wanted.owner && !wanted.job);
	const live = statuses.length > 0 && statuses.every((status) => LIVE.includes(status));
	const dead = statuses.every((status) => DEAD.includes(status));
	if (others || !mayAny())
		return null;
	return html`<${Act} kind="danger" label=${`Cancel all ${live ? statuses.join(' and ') : 'live ones'}`} when=${live || (ofJob !== undefined && statuses.length === 0)}
			run=${() => cancelMatching(ofJob ?? {}, statuses, `${live ? statuses.join(' and ') : 'queued, running and retrying'} runs${ofJob ? ` of ${name}` : ' that you manage'}`)} />
		<${Act} icon="retry" label="Retry all dead letters" when=${ofJob !== undefined && dead} run=${() => redriveJob(ofJob, name)} />`;
}

export function Runs() {
	const { query: wanted } = route.value;
	const key = JSON.stringify(wanted);
	const live = useLive((stop) => load(wanted, stop), [key], isSlow(wanted) ? 15 : 5);
	const names = useJobNames(wanted.job);
	const rows = live.data?.rows ?? [];
	const { selected, setSelected, those } = useSelected(rows, keyOf, key);
	const chosen = those.filter((run) => may(run.owner));
	const cancellable = chosen.filter(isLive);
	const retriable = chosen.filter(mayRetry);
	const cancel = () => cancelMany(cancellable).then(() => setSelected(new Map()));
	const retry = () => retryMany(retriable).then(() => setSelected(new Map()));
	useKeys(selected.size === 0 ? {} : { ...(cancellable.length > 0 && { c: ['Cancel the selected runs', cancel] }), ...(retriable.length > 0 && { R: ['Retry the selected runs', retry] }) });
	const name = wanted.job ?? (wanted.job_id && (rows[0]?.job_name ?? `job ${wanted.job_id}`));
	const filtered = FILTERS.some((filter) => wanted[filter]);
	const others = names.filter((other) => other !== wanted.job);

	return html`<${Page} title="Runs" actions=${html`<${All} wanted=${wanted} name=${name} />`}>
	<${Filters} label="Filter by status"><${Several} name="status" label="Status" options=${STATUSES} /></${Filters}>
	<${Filters}><${Search} name="job" label="Job" slash offers=${names} clears=${['page', 'job_id']} /><${Search} name="error" label="Text in the error" /><${Search} name="owner" label="Owner" />
		<${Choice} name="source" label="Source" options=${SOURCES} /><${Choice} name="queued" label="Queued" options=${ages} /><${Choice} name="finished" label="Finished" options=${ages} />
		${wanted.job_id && html`<span class="tag">job ${name} <button class="quiet small" onClick=${() => setQuery({ job_id: '', page: '' })}><${Icon} name="cross" label="All jobs" /></button></span>`}
		${filtered && html`<a href=${href('runs')}>Clear all</a>`}</${Filters}>
	<${Working} />
	<${Selection} selected=${selected} setSelected=${setSelected}>
		<${Act} kind="danger" label=${`Cancel ${cancellable.length}`} run=${cancel} when=${cancellable.length > 0} />
		<${Act} icon="retry" label=${`Retry ${retriable.length}`} run=${retry} when=${retriable.length > 0} />
		${cancellable.length + retriable.length === 0 && html`<span class="note">${chosen.length === 0 ? 'These are not yours to manage.' : 'There is nothing to do for these.'}</span>`}</${Selection}>
	<${Loaded} live=${live}>${({ next, far }) => html`<div class="runs"><${Table} label="Runs" columns=${runColumns} rows=${rows} keyOf=${keyOf} link=${(run) => href(['run', run.run_id])}
			named=${(run) => `run ${run.run_id}`} selected=${mayAny() ? selected : undefined} setSelected=${setSelected}
			empty=${filtered ? html`<${Empty}>${far ? `No run is like that, back to run ${number(next)}.` : 'No run is like that.'} ${wanted.job && !names.includes(wanted.job) && others.length > 0
					? html`There are jobs ${others.slice(0, 6).map((other) => html`<a href=${href('runs', { ...wanted, job: other, page: '' })}>${other}</a> `)}` : html`<a href=${href('runs')}>Show all</a>`}</${Empty}>`
				: html`<${Empty}>There are no runs yet. <a href=${href('jobs')}>Trigger a job</a>, or wait until one is due.</${Empty}>`} /></div>
		${far ? html`<nav class="pager" aria-label="Pages">${wanted.page && html`<button onClick=${() => setQuery({ page: '' })}><${Icon} name="left" />First page</button>`}
			<button onClick=${() => setQuery({ page: next })}>Look further back<${Icon} name="right" /></button><span class="note">This is all back to run ${number(next)}.</span></nav>`
			: html`<${Pager} first=${wanted.page} next=${next && String(next)} />`}`}</${Loaded}></${Page}>`;
}
