// Dead letters: what has failed for good and nobody has retried; by job and error, or one
// by one (tab all).

import { html } from '../lib/html.js';
import { get, quote, read } from '../lib/api.js';
import { number, plural, reason, sentences } from '../lib/format.js';
import { idOf, jobOf } from '../lib/given.js';
import { useLive } from '../lib/live.js';
import { may, mayAny } from '../lib/me.js';
import { messagesOf } from '../lib/pattern.js';
import { href, route, setQuery } from '../lib/route.js';
import { Act, say } from '../parts/act.js';
import { Filters, Pager, Search } from '../parts/filters.js';
import { Icon } from '../parts/icon.js';
import { Empty, Loaded, Page } from '../parts/page.js';
import { Brief, JobLink, Working, redriveJob, retryMany, retryRun, why } from '../parts/runs.js';
import { Status } from '../parts/status.js';
import { Selection, Table, useSelected } from '../parts/table.js';
import { Time } from '../parts/time.js';
import { useJobNames } from './runs.js';

const ROWS = 50;
const NEWEST = 10;
const MOST = 10000;
const PAGE = 1000;
const SELECT = 'run_id,job_id,job_name,owner,status,reason,attempt,source,finished_at,error';

const ofJob = ({ job, job_id: id }) => ({ ...(job && { job_name: `eq.${job}` }), ...(id && { job_id: `eq.${id}` }) });

// --- groups ------------------------------------------------------------------

// ofGroup: the filter of its runs. Without a message the reason is the pattern.
function ofGroup({ job_id: id, pattern, sqlstate }) {
	return { job_id: `eq.${id}`, sqlstate: sqlstate === null ? 'is.null' : `eq.${sqlstate}`,
		...(pattern !== null && { or: `(error.match.${quote(messagesOf(pattern))},and(error.is.null,reason.eq.${quote(pattern)}))` }) };
}

// Ids of all that a group has, a page after the other.
async function idsOf(group) {
	const ids = [];
	for (let last; ids.length < MOST;) {
		const rows = await get('dead_letters', { select: 'run_id', order: 'run_id.desc', limit: PAGE, ...ofGroup(group), ...(last && { run_id: `lt.${last}` }) });
		ids.push(...rows);
		if (rows.length < PAGE)
			break;
		last = rows.at(-1).run_id;
	}
	return ids;
}

// One group of a job that has no other is redrive()'s; the others are retried one by one.
async function retryGroup(group, alone) {
	if (alone)
		return redriveJob({ job_id: group.job_id }, group.job_name, group.count);
	try {
		const runs = await idsOf(group);
		if (runs.length === 0)
			say('there are none left that can be retried');
		else
			await retryMany(runs);
	} catch (error) {
		say(sentences(error.message, error.details, error.hint), { bad: true });
	}
	return undefined;
}

const rowRetry = (run) => html`<${Act} small icon="retry" label="Retry" run=${() => retryRun(run)} when=${may(run.owner)} />`;

const newestColumns = [
	{ name: 'run_id', title: 'Run', cell: (run) => run.run_id },
	{ name: 'status', title: 'Status', kind: 'state', cell: (run) => html`<${Status} status=${run.status} why=${run.error ? undefined : why(run)} />` },
	{ name: 'ended', title: 'Ended', cell: (run) => html`<${Time} value=${run.finished_at} />` },
	{ name: 'error', title: 'Error', kind: 'error', cell: (run) => html`<${Brief} text=${run.error} />` },
	{ name: 'retry', title: 'Action', cell: rowRetry },
];

function Newest({ group }) {
	const live = useLive((stop) => get('dead_letters', { select: SELECT, order: 'run_id.desc', limit: NEWEST, ...ofGroup(group) }, { signal: stop }), [JSON.stringify(ofGroup(group)), group.count], 0);
	return html`<${Loaded} live=${live}>${(rows) => html`<div class="runs inner"><${Table} label="Newest runs" columns=${newestColumns} rows=${rows} keyOf=${(run) => run.run_id} link=${(run) => href(['run', run.run_id])}
		empty=${html`<p class="note">They have been retried meanwhile.</p>`} /></div>
		${group.count > rows.length && html`<p class="note">These are the newest ${rows.length} of ${number(group.count)}. <a href=${href('dead', { tab: 'all', job_id: group.job_id })}>All of this job</a></p>`}`}</${Loaded}>`;
}

const keyOf = (group) => JSON.stringify([group.job_id, group.pattern, group.sqlstate]);

function Group({ group, alone, open }) {
	const name = group.job_name ?? `job ${group.job_id}`;
	return html`<section class="card group"><div class="group-head">
		<button class="quiet open" aria-expanded=${open} onClick=${() => setQuery({ open: open ? '' : keyOf(group) }, { replace: true })}><${Icon} name=${open ? 'down' : 'right'} label=${open ? 'Hide the runs' : 'Show the runs'} /></button>
		<div class="group-what"><h2><a href=${href(['job', group.job_id])}><bdi>${name}</bdi></a></h2>
			<p dir="auto" class="pattern">${group.pattern === null ? html`<span class="note">the message is not yours to read</span>` : reason(group.pattern) !== group.pattern.replaceAll('_', ' ') ? reason(group.pattern) : group.pattern}</p>
			<p class="note">${group.sqlstate && html`<code>${group.sqlstate}</code>, `}first <${Time} value=${group.first_at} />, last <${Time} value=${group.last_at} />, <a href=${href(['run', group.example_run_id])}>run ${group.example_run_id}</a></p></div>
		<b class="group-count">${number(group.count)}</b>
		<${Act} icon="retry" label="Retry all" run=${() => retryGroup(group, alone)} when=${may(group.owner)} hint=${`Retries ${plural(group.count, 'run')}`} /></div>
		${open && html`<${Newest} group=${group} />`}</section>`;
}

function Groups({ wanted }) {
	const live = useLive((stop) => read('dead_letter_groups', { max: MOST, ...(wanted.job && { job: wanted.job }), ...(wanted.job_id && { job_id: wanted.job_id }) }, { signal: stop }),
		[wanted.job, wanted.job_id], 15);
	return html`<${Loaded} live=${live}>${(groups) => {
		const perJob = new Map();
		for (const { job_id: id } of groups)
			perJob.set(id, (perJob.get(id) ?? 0) + 1);
		const sum = groups.reduce((all, { count }) => all + Number(count), 0);
		return groups.length === 0 ? html`<${None} wanted=${wanted} />` : html`<p class="note summary">${sum >= MOST ? `The newest ${number(sum)}` : plural(sum, 'run')} in ${plural(groups.length, 'group')}</p>
			${groups.slice(0, 200).map((group) => html`<${Group} key=${keyOf(group)} group=${group} alone=${perJob.get(group.job_id) === 1 && sum < MOST} open=${wanted.open === keyOf(group)} />`)}
			${groups.length > 200 && html`<p class="note">These are the 200 largest of ${number(groups.length)} groups. Narrow them by job.</p>`}`;
	}}</${Loaded}>`;
}

const None = ({ wanted }) => wanted.job || wanted.job_id ? html`<${Empty}>This job has no dead letters. <a href=${href('dead', { tab: wanted.tab })}>Show those of all jobs</a></${Empty}>`
	: html`<${Empty}>There are no dead letters: no run has failed for good without being retried. <a href=${href('runs', { status: 'failed,timed_out,lost' })}>Runs that failed</a></${Empty}>`;

// --- one by one --------------------------------------------------------------

const columns = [
	{ name: 'run_id', title: 'Run', cell: (run) => run.run_id },
	{ name: 'job', title: 'Job', kind: 'name', cell: (run) => html`<${JobLink} run=${run} />` },
	...newestColumns.slice(1, 2),
	{ name: 'attempt', title: 'Attempts', right: true, narrow: 'hide', cell: (run) => run.attempt },
	...newestColumns.slice(2),
];

const runKey = (run) => run.run_id;

function All({ wanted }) {
	const key = JSON.stringify(wanted);
	const live = useLive((stop) => get('dead_letters', { select: SELECT, order: 'run_id.desc', limit: ROWS + 1, ...ofJob(wanted), ...(idOf(wanted.page) && { run_id: `lt.${wanted.page}` }) }, { signal: stop }), [key], 10);
	const rows = (live.data ?? []).slice(0, ROWS);
	const { selected, setSelected, those } = useSelected(rows, runKey, key);
	const chosen = those.filter((run) => may(run.owner));
	return html`<${Selection} selected=${selected} setSelected=${setSelected}>
		<${Act} icon="retry" label=${`Retry ${chosen.length}`} when=${chosen.length > 0} run=${() => retryMany(chosen).then(() => setSelected(new Map()))} />
		${chosen.length === 0 && html`<span class="note">These are not yours to manage.</span>`}</${Selection}>
	<${Loaded} live=${live}>${() => html`<div class="runs"><${Table} label="Dead letters" columns=${columns} rows=${rows} keyOf=${runKey} link=${(run) => href(['run', run.run_id])} named=${(run) => `run ${run.run_id}`}
			selected=${mayAny() ? selected : undefined} setSelected=${setSelected} empty=${html`<${None} wanted=${wanted} />`} /></div>
		<${Pager} first=${wanted.page} next=${live.data.length > ROWS && String(rows.at(-1).run_id)} />`}</${Loaded}>`;
}

// --- the screen --------------------------------------------------------------

export function DeadLetters() {
	const { query: wanted } = route.value;
	const names = useJobNames(wanted.job);
	const all = wanted.tab === 'all';
	const filter = jobOf({ job: wanted.job, job_id: wanted.job_id });
	const tab = (name, words, on) => html`<a href=${href('dead', { ...wanted, tab: name, page: '', open: '' })} aria-current=${on ? 'page' : undefined}>${words}</a>`;
	return html`<${Page} title="Dead letters" sub="Runs that failed for good, and that nobody has retried." actions=${html`<${Act} icon="retry" label="Retry all of this job" when=${filter !== undefined && mayAny()}
		run=${() => redriveJob(filter, wanted.job ?? `job ${wanted.job_id}`)} />`}>
	<nav class="tabs" aria-label="How they are shown">${tab('', 'By error', !all)}${tab('all', 'One by one', all)}</nav>
	<${Filters}><${Search} name="job" label="Job" slash offers=${names} clears=${['page', 'job_id', 'open']} />
		${wanted.job_id && html`<span class="tag">job ${wanted.job_id} <button class="quiet small" onClick=${() => setQuery({ job_id: '', page: '' })}><${Icon} name="cross" label="All jobs" /></button></span>`}</${Filters}>
	<${Working} />
	${all ? html`<${All} wanted=${wanted} />` : html`<${Groups} wanted=${wanted} />`}</${Page}>`;
}
