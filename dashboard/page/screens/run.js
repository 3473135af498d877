// Run: #/run/ID, all that there is of one: what it did with its time, what it was given
// and gave, its attempts, log, requests, what it waits for, its children and steps.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { get, one } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { duration, intervalMs, number, percent, plural, reason, relative } from '../lib/format.js';
import { idOf, lineOf } from '../lib/given.js';
import { useKeys } from '../lib/keys.js';
import { useLive } from '../lib/live.js';
import { may } from '../lib/me.js';
import { href, route, setQuery } from '../lib/route.js';
import { raw } from '../lib/raw.js';
import { Act, ask } from '../parts/act.js';
import { Bar } from '../parts/chart.js';
import { Pager } from '../parts/filters.js';
import { Icon } from '../parts/icon.js';
import { Json } from '../parts/json.js';
import { Code, Empty, Facts, Loaded, Page, Problem, Section } from '../parts/page.js';
import { Brief, DEAD, JobLink, Took, cancelRun, isLive, mayRetry, retryRun, sourceInWords, triggerJob, why } from '../parts/runs.js';
import { RunLine } from '../parts/runline.js';
import { Status } from '../parts/status.js';
import { Table } from '../parts/table.js';
import { Time } from '../parts/time.js';
import { Batch, Items, Steps, useWorkflow } from '../parts/workflow.js';
import { Responses } from '../parts/responses.js';

const OFTEN = 2;
const SELECT = 'run_id,job_id,job_name,owner,status,reason,source,parent_run_id,optional,attempt,priority,scheduled_for,run_at,queued_at,started_at,finished_at,duration_ms,missed_count,keys,worker_pid,sqlstate,command_tag';
const DETAILS = 'args::text,request::text,result::text,handler,error,error_detail,error_hint,error_context,command';

// One that was there and is not any more was removed from history, or hidden from us.
async function load(id, stop) {
	const run = await one('runs', { select: SELECT, run_id: `eq.${id}` }, { signal: stop });
	const progress = run?.status === 'running' ? await one('running', { select: 'progress_done,progress_total,progress_message,elapsed_ms', run_id: `eq.${id}` }, { signal: stop }) : undefined;
	return { run, progress };
}

// What does not change while the run is in the same state is asked for once in each.
const state = (run) => `${run.status} ${run.reason} ${run.attempt}`;
const useOnce = (run, query, of = state(run)) => useLive(query, [run.run_id, of], 0);

// --- above all ---------------------------------------------------------------

function Progress({ progress }) {
	if (!progress || progress.progress_done === null)
		return null;
	const { progress_done: done, progress_total: total, progress_message: message } = progress;
	return html`<div class="run-progress" role="status">${total > 0 && html`<${Bar} share=${done / total} words=${percent(done / total)} />`}
		<span>${number(done)}${total > 0 && ` of ${number(total)}`}${message && html` · <bdi>${message}</bdi>`}</span></div>`;
}

async function askArgs(run, args, { title, label, hint }) {
	const values = await ask({ title, label, fields: [{ name: 'args', label: 'Arguments', type: 'json', value: args ?? '{}', hint }] });
	return values === null ? undefined : values.args ?? raw('{}');
}

function Actions({ run, details, workflow, isRetried }) {
	const mine = may(run.owner);
	const isSteps = workflow?.kind === 'steps';
	const args = details?.args;
	const retryWith = async () => {
		const found = await askArgs(run, args, { title: `Retry run ${run.run_id} with other arguments`, label: 'Retry', hint: 'They are merged over those of the old run, key by key.' });
		if (found !== undefined)
			await retryRun(run, { args: found });
	};
	const triggerAgain = async () => {
		const found = await askArgs(run, args, { title: `Trigger ${run.job_name} again`, label: 'Trigger', hint: 'A new run, which has nothing to do with this one.' });
		if (found !== undefined)
			await triggerJob({ job_id: run.job_id, name: run.job_name }, { args: found });
	};
	const cancel = () => cancelRun(run);
	const retry = () => retryRun(run);
	const canCancel = mine && isLive(run);
	const canRetry = mine && mayRetry(run) && !isRetried;
	useKeys({ ...(canCancel && { c: ['Cancel the run', cancel] }), ...(canRetry && { R: ['Retry the run', retry] }) });
	return html`<${Act} kind="danger" label="Cancel" run=${cancel} when=${canCancel} />
		<${Act} kind="danger" label="Terminate" hint="Ends its worker at once" run=${() => cancelRun(run, true)} when=${canCancel && run.status === 'running' && run.reason !== 'waiting_for_children'} />
		<${Act} kind="primary" icon="retry" label="Retry" run=${retry} when=${canRetry} />
		<${Act} label="Retry with…" hint="With other arguments" run=${retryWith} when=${canRetry && details?.request === null} />
		<${Act} label="Retry from…" hint="From a step, which is done anew with all that comes after it" run=${() => retryFrom(run)} when=${mine && isSteps && !isLive(run)} />
		<${Act} icon="play" label="Trigger again" run=${triggerAgain} when=${mine && run.job_id !== null && details?.request === null && !['step', 'item', 'batch', 'callback'].includes(run.source)} />`;
}

async function retryFrom(run) {
	const steps = await get('steps', { select: 'step', order: 'step_no', workflow_run_id: `eq.${run.run_id}`, limit: 1000 });
	const values = await ask({ title: `Retry run ${run.run_id} from a step`, label: 'Retry',
		fields: [{ name: 'step', label: 'Step', type: 'select', options: steps.map(({ step }) => step), value: steps[0]?.step, hint: 'It is done anew with all that comes after it; what else has succeeded is carried over.' }] });
	if (values !== null)
		await retryRun(run, { from_step: [values.step] });
}

// --- facts -------------------------------------------------------------------

// What the times of a run are beside those of its job.
function Typical({ run }) {
	const { data } = useOnce(run, (stop) => run.job_id === null ? Promise.resolve([]) : get('job_stats', { select: 'period,runs,success_rate,p50_ms,p95_ms', job_id: `eq.${run.job_id}` }, { signal: stop }), run.status);
	const stats = (data ?? []).filter((one) => one.runs > 0).sort((a, b) => intervalMs(b.period) - intervalMs(a.period))[0];
	if (!stats || stats.p50_ms === null)
		return html`<span class="none">–</span>`;
	const mine = run.duration_ms;
	const words = mine === null || run.status !== 'succeeded' ? '' : mine > stats.p95_ms * 1.2 ? 'slower than usual' : mine < stats.p50_ms / 2 ? 'faster than usual' : 'as usual';
	return html`${words && `${words}; `}<span class="note">the median is ${duration(stats.p50_ms)}, 95 of 100 take ${duration(stats.p95_ms)} at most</span>`;
}

function Place({ run }) {
	const { data } = useOnce(run, (stop) => run.source === 'step' ? one('steps', { select: 'workflow_run_id,workflow,step', run_id: `eq.${run.run_id}` }, { signal: stop }).then((row) => row ?? null)
		: run.source === 'item' ? one('step_items', { select: 'workflow_run_id,workflow,step,item,step_run_id,value::text', run_id: `eq.${run.run_id}` }, { signal: stop }).then((row) => row ?? null) : Promise.resolve(null), 'once');
	if (data)
		return html`step <b>${data.step}</b>${data.item !== undefined && data.item !== null && html`, element <a href=${href(['run', data.step_run_id])}>${data.item}</a>`} of <a href=${href(['run', data.workflow_run_id])}>${data.workflow} ${data.workflow_run_id}</a>`;
	return run.parent_run_id === null ? null : html`<a href=${href(['run', run.parent_run_id])}>run ${run.parent_run_id}</a>${run.optional === true && html` <span class="note">(may fail)</span>`}`;
}

// Views do not say which run is the retry of which, but that one was retried: it is no
// dead letter any more. undefined: it is none in any case, or that is not known yet.
const isLetter = (run) => mayRetry(run) && DEAD.includes(run.status);
function useRetried(run) {
	const { data } = useOnce(run, (stop) => isLetter(run) ? get('dead_letters', { select: 'run_id', run_id: `eq.${run.run_id}`, limit: 1 }, { signal: stop }) : Promise.resolve(null));
	return isLetter(run) && data ? data.length === 0 : undefined;
}

const Retried = ({ run, isRetried }) => isRetried ? html`yes: <a href=${href('runs', { job_id: run.job_id, source: 'retry' })}>retries of its job</a>`
	: html`not yet: it is a <a href=${href('dead', { job_id: run.job_id })}>dead letter</a>`;

const RunFacts = ({ run, place, isRetried }) => html`<${Facts} of=${[
	['Job', html`<${JobLink} run=${run} />`], ['Owner', html`<bdi>${run.owner}</bdi>`], ['Why it is there', sourceInWords(run.source)], ['Part of', place],
	['Attempt', run.attempt > 0 && number(run.attempt)], ['Slot', run.scheduled_for && html`<${Time} value=${run.scheduled_for} exact />`],
	['Took', run.started_at && html`<${Took} run=${run} />`], ['Beside its job', html`<${Typical} run=${run} />`], ['Has it been retried', isRetried !== undefined && html`<${Retried} run=${run} isRetried=${isRetried} />`],
	['Slots in it', run.missed_count > 0 && `${plural(run.missed_count, 'slot')} missed or skipped`],
	['Limits', run.keys?.length > 0 && html`<bdi>${run.keys.join(', ')}</bdi>`], ['Priority', run.priority !== 0 && run.priority], ['Worker', run.worker_pid > 0 && `process ${run.worker_pid}`],
	['Result of the command', run.command_tag && html`<code>${run.command_tag}</code>`]].filter(([, value]) => value !== false)} />`;

// --- what it says ------------------------------------------------------------

export function ErrorText({ of }) {
	const rest = [['Detail', of.error_detail], ['Hint', of.error_hint]].filter(([, text]) => text);
	return html`<div class="error-text"><pre tabindex="0" dir="auto" aria-label="Error">${of.error}</pre>
		${(rest.length > 0 || of.sqlstate) && html`<${Facts} of=${[...rest.map(([name, text]) => [name, html`<span class="keep" dir="auto">${text}</span>`]), ['SQLSTATE', of.sqlstate && html`<code>${of.sqlstate}</code>`]]} />`}
		${of.error_context && html`<details><summary>Context</summary><${Code} text=${of.error_context} copy label="Context" /></details>`}</div>`;
}

function Details({ run, details }) {
	return html`${details.error && html`<${Section} title=${run.status === 'retrying' ? 'Why the last attempt failed' : 'Error'}><${ErrorText} of=${{ ...details, sqlstate: run.sqlstate }} /></${Section}>`}
	${(details.args !== null || details.result !== null) && html`<div class="grid run-data"><div class="half"><${Section} title="Arguments">${details.args === null ? html`<p class="note">none</p>` : html`<${Json} text=${details.args} label="Arguments" />`}</${Section}></div>
		<div class="half"><${Section} title="Result">${details.result === null ? html`<p class="note">${isLive(run) ? 'none yet' : 'none'}</p>` : html`<${Json} text=${details.result} label="Result" />`}</${Section}></div></div>`}
	${details.request && html`<${Section} title="Request" note="as it was queued"><${Json} text=${details.request} label="Request" /></${Section}>`}
	${details.handler && html`<${Section} title="Handler"><${Code} text=${details.handler} copy label="Handler" /></${Section}>`}
	${details.command && html`<${Section} title="Command" note="as it ran"><${Code} text=${details.command} copy label="Command" /></${Section}>`}`;
}

const attemptColumns = [
	{ name: 'attempt', title: 'Attempt', cell: (row) => row.attempt },
	{ name: 'status', title: 'Status', cell: (row) => html`<${Status} status=${row.status} why=${why(row)} />` },
	{ name: 'started', title: 'Started', cell: (row) => html`<${Time} value=${row.started_at} exact />` },
	{ name: 'took', title: 'Took', right: true, cell: (row) => duration(row.duration_ms) },
	{ name: 'retry', title: 'Next was due', narrow: 'hide', cell: (row) => row.retry_at ? html`<${Time} value=${row.retry_at} exact />` : html`<span class="none">–</span>` },
	{ name: 'error', title: 'Error', kind: 'error', cell: (row) => row.error === null ? html`<span class="none">–</span>` : html`<details class="in-cell"><summary><${Brief} text=${row.error} /></summary><${ErrorText} of=${row} /></details>` },
];

const Attempts = ({ attempts }) => attempts.length < 2 ? null : html`<${Section} title="Attempts" note=${attempts.length}><div class="runs"><${Table} label="Attempts" columns=${attemptColumns}
	rows=${attempts} keyOf=${(row) => row.attempt} /></div></${Section}>`;

// --- log ---------------------------------------------------------------------

const LINES = 200;
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error'];
// The log of an attempt is written when it ends; `from` is the attempt and the line before.
function Log({ run }) {
	const { level, from } = route.value.query;
	const query = (stop) => {
		const at = lineOf(from);
		const least = LEVELS.indexOf(level);
		return get('run_logs', { select: 'attempt,seq,logged_at,level,message', run_id: `eq.${run.run_id}`, order: 'attempt,seq', limit: LINES + 1,
			...(least > 0 && { level: `in.(${LEVELS.slice(least).join(',')})` }), ...(at && { or: `(attempt.gt.${at[0]},and(attempt.eq.${at[0]},seq.gt.${at[1]}))` }) }, { signal: stop });
	};
	const live = useLive(query, [run.run_id, level, from, state(run)], isLive(run) ? 5 : 0);
	const rows = (live.data ?? []).slice(0, LINES);
	const several = rows.some((row) => row.attempt !== rows[0].attempt);
	const pick = html`<label class="choice"><span>Level</span><select value=${level ?? ''} onChange=${(event) => setQuery({ level: event.target.value, from: '' }, { replace: true })}>
		<option value="">all</option>${LEVELS.slice(1).map((one) => html`<option value=${one} selected=${one === level}>${one}${one !== 'error' && ' and worse'}</option>`)}</select></label>`;
	if (live.data?.length === 0 && !level && !from)
		return run.status === 'running' && run.reason === null ? html`<${Section} title="Log"><p class="note">The log of an attempt comes when it ends.</p></${Section}>` : null;
	return html`<${Section} title="Log" actions=${pick}><${Loaded} live=${live}>${() => rows.length === 0 ? html`<p class="note">No line is like that.</p>`
		: html`<ol class="log" tabindex="0" aria-label="Log">${rows.map((row) => html`<li key=${`${row.attempt}.${row.seq}`} class=${row.level}><${Time} value=${row.logged_at} exact />${several && html`<span class="note">attempt ${row.attempt}</span>`}
			<b>${row.level}</b><span dir="auto">${row.message}</span></li>`)}</ol>`}</${Loaded}>
		<${Pager} name="from" label="Pages of the log" words=${['First lines', 'Next lines']} first=${from} next=${live.data?.length > LINES && `${rows.at(-1).attempt}.${rows.at(-1).seq}`} /></${Section}>`;
}

// --- others ------------------------------------------------------------------

function Waits({ run }) {
	const live = useLive((stop) => one('waiting', { select: 'after_when,parents,parent_ids,since,run_at,delay,events,until', run_id: `eq.${run.run_id}` }, { signal: stop }).then((row) => row ?? null), [run.run_id, state(run)], 5);
	const row = live.data;
	if (!row)
		return null;
	const ends = { success: 'to succeed', failure: 'to fail', done: 'to end', always: 'to end', undo: 'to end' }[row.after_when] ?? 'to end';
	return html`<${Section} title="It waits"><${Facts} of=${[
		['For runs', row.parents > 0 && html`${row.parents >= 1000 ? '1,000 or more' : number(row.parents)} ${ends}: ${row.parent_ids.map((id) => html`<a href=${href(['run', id])}>${id}</a> `)}${row.parents > row.parent_ids.length && '…'}`],
		['For events', row.events?.length > 0 && row.events.map((event) => html`<span class="tag"><bdi>${event}</bdi></span> `)], ['Since', html`<${Time} value=${row.since} />`],
		['Not before', row.run_at && Date.parse(row.run_at) > now.value && html`<${Time} value=${row.run_at} />`], ['Then for', row.delay], ['Until', row.until && html`<${Time} value=${row.until} />`]]
		.filter(([, value]) => value !== false)} /></${Section}>`;
}

const childColumns = [
	{ name: 'run_id', title: 'Run', cell: (row) => row.run_id },
	{ name: 'job', title: 'Job', kind: 'name', cell: (row) => html`<${JobLink} run=${row} />` },
	{ name: 'status', title: 'Status', kind: 'state', cell: (row) => html`<${Status} status=${row.status} why=${row.error ? undefined : why(row)} />${row.optional && html` <span class="note">may fail</span>`}` },
	{ name: 'queued', title: 'Queued', cell: (row) => html`<${Time} value=${row.queued_at} />` },
	{ name: 'took', title: 'Took', right: true, cell: (row) => html`<${Took} run=${row} />` },
	{ name: 'error', title: 'Error', kind: 'error', cell: (row) => html`<${Brief} text=${row.error} />` },
];
const CHILDREN = 20;

// Steps and elements have their own place.
function Children({ run, title, without = [] }) {
	const { children: page } = route.value.query;
	const live = useLive((stop) => get('runs', { select: 'run_id,job_id,job_name,status,reason,optional,queued_at,started_at,finished_at,duration_ms,error', parent_run_id: `eq.${run.run_id}`,
		order: 'run_id.desc', limit: CHILDREN + 1, ...(idOf(page) && { run_id: `lt.${page}` }), ...(without.length > 0 && { source: `not.in.(${without.join(',')})` }) }, { signal: stop }), [run.run_id, run.status, page, without.join()], isLive(run) ? 5 : 0);
	const rows = (live.data ?? []).slice(0, CHILDREN);
	if (rows.length === 0 && !page)
		return null;
	return html`<${Section} title=${title}><div class="runs"><${Table} label=${title} columns=${childColumns} rows=${rows} keyOf=${(row) => row.run_id} link=${(row) => href(['run', row.run_id])}
			empty=${html`<p class="note">No more.</p>`} /></div>
		<${Pager} name="children" label=${`Pages of ${title}`} first=${page} next=${live.data?.length > CHILDREN && rows.at(-1).run_id} /></${Section}>`;
}

const procedureColumns = [
	{ name: 'seq', title: 'No.', cell: (row) => row.seq },
	{ name: 'name', title: 'What', cell: (row) => html`<b><bdi>${row.name}</bdi></b> <span class="note">${row.function ?? (row.event !== null ? `event ${row.event}` : row.request_run_id !== null ? 'request' : row.sleeps_until ? 'sleep' : '')}</span>` },
	{ name: 'stored', title: 'Done', cell: (row) => html`<${Time} value=${row.stored_at} />` },
	{ name: 'more', title: 'What came of it', cell: (row) => html`${row.error !== null && html`<span class="bad"><${Brief} text=${row.error} /></span>`}${row.request_run_id !== null && html`<a href=${href(['run', row.request_run_id])}>run ${row.request_run_id}</a> `}
		${row.sleeps_until && html`until <${Time} value=${row.sleeps_until} exact />`}${row.result !== null && html`<details class="in-cell"><summary>result</summary><${Json} text=${row.result} label="Result" /></details>`}` },
];

function ProcedureSteps({ run }) {
	const live = useLive((stop) => get('procedure_steps', { select: 'seq,name,function,result::text,sleeps_until,stored_at,event,request_run_id,error', run_id: `eq.${run.run_id}`, order: 'seq', limit: 200 }, { signal: stop }),
		[run.run_id, state(run)], isLive(run) ? 5 : 0);
	return !live.data?.length ? null : html`<${Section} title="Steps of the procedure"><${Table} label="Steps of the procedure" columns=${procedureColumns} rows=${live.data} keyOf=${(row) => row.seq} /></${Section}>`;
}

// --- the screen --------------------------------------------------------------

// Shown: the run as it was seen last; gone: it is not there any more.
function Shown({ run, progress, gone }) {
	const live = isLive(run) && !gone;
	// What was seen stays, though the run is not there any more.
	const kept = useRef();
	const details = useOnce(run, async (stop) => {
		kept.current = await one('runs', { select: DETAILS, run_id: `eq.${run.run_id}` }, { signal: stop }) ?? kept.current;
		return kept.current;
	}).data;
	const attempts = useOnce(run, (stop) => get('attempts', { select: 'attempt,status,reason,started_at,finished_at,duration_ms,retry_at,error,sqlstate,error_detail,error_hint,error_context', run_id: `eq.${run.run_id}`, order: 'attempt.desc', limit: 100 }, { signal: stop })).data ?? [];
	const workflow = useWorkflow(run, live);
	const isRetried = useRetried(run);
	const name = run.job_name ?? `job ${run.job_id}`;
	// The same object is not drawn again: there may be a thousand.
	const steps = useMemo(() => workflow.data?.row?.kind === 'steps' && html`<${Steps} run=${run} workflow=${workflow.data} />`, [workflow.data, run.finished_at]);
	return html`<${Page} title=${`Run ${run.run_id}`} sub=${html`<bdi>${name}</bdi>, ${sourceInWords(run.source)}, queued ${relative(Date.parse(run.queued_at), now.value)}`}
		actions=${!gone && html`<${Actions} run=${run} details=${details} workflow=${workflow.data?.row} isRetried=${isRetried} />`}>
	${gone && html`<p class="offline" role="status"><${Icon} name="warning" /><span>This run is not there any more: it was removed from history, or you may not see it now. This is what it was.</span></p>`}
	<${Section}><div class="run-head"><${Status} status=${run.status} why=${why(run)} /><${Progress} progress=${progress} /></div>
		<${RunLine} run=${run} attempts=${attempts} live=${live} /></${Section}>
	<${Section} title="Facts"><${RunFacts} run=${run} isRetried=${isRetried} place=${(run.source === 'step' || run.source === 'item' || run.parent_run_id !== null) && html`<${Place} run=${run} />`} /></${Section}>
	${live && ['queued', 'retrying', 'running'].includes(run.status) && html`<${Waits} run=${run} />`}
	${steps}
	${workflow.data?.row?.kind === 'batch' && html`<${Batch} run=${run} row=${workflow.data.row} />`}
	${details && html`<${Details} run=${run} details=${details} />`}
	<${Attempts} attempts=${attempts} />
	<${ProcedureSteps} run=${run} />
	<${Responses} run=${run} of=${state(run)} />
	<${Log} run=${run} />
	${run.source === 'step' && html`<${Items} run=${run} />`}
	<${Children} run=${run} title=${workflow.data?.row?.kind === 'batch' ? 'Members' : 'Children'} without=${['step', 'item']} /></${Page}>`;
}

export function Run({ path: [, id] }) {
	const valid = /^\d{1,18}$/.test(id ?? '');
	const [seen, setSeen] = useState();
	const live = useLive((stop) => valid ? load(id, stop) : Promise.resolve({}), [id], seen && (!isLive(seen) ? 30 : seen.status === 'running' ? OFTEN : 5));
	const run = live.data?.run;
	useEffect(() => { if (run) setSeen(run); }, [run]);
	const shown = run ?? seen;
	if (live.data === undefined && live.error)
		return html`<${Page} title=${`Run ${id}`}><${Problem} error=${live.error} retry=${live.refresh} /></${Page}>`;
	if (live.data === undefined)
		return html`<${Page} title=${`Run ${id}`}><p class="loading" role="status">Loading…</p></${Page}>`;
	if (!shown)
		return html`<${Page} title=${`Run ${id ?? ''}`}><${Empty}>There is no such run, or none that you may see. It may have been removed from history. <a href=${href('runs')}>To the runs</a></${Empty}></${Page}>`;
	return html`${live.error && html`<${Problem} error=${live.error} retry=${live.refresh} />`}<${Shown} run=${shown} progress=${live.data.progress} gone=${run === undefined} />`;
}
