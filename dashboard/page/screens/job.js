// One job: its state and what can be done with it, its statistics and runs, and how it is
// defined.

import { html } from '../lib/html.js';
import { call, get, one, read } from '../lib/api.js';
import { SELECT, spanText } from '../lib/definition.js';
import { duration, firstLine, number, plural } from '../lib/format.js';
import { useKeys } from '../lib/keys.js';
import { useLive } from '../lib/live.js';
import { may } from '../lib/me.js';
import { go, href } from '../lib/route.js';
import { slotsOf } from '../lib/slots.js';
import { Act, act } from '../parts/act.js';
import { Json } from '../parts/json.js';
import { More } from '../parts/menu.js';
import { Code, Empty, Facts, Loaded, Page, Section } from '../parts/page.js';
import { triggerJob, why } from '../parts/runs.js';
import { Slots, Words } from '../parts/schedule.js';
import { Status, Strip } from '../parts/status.js';
import { Table } from '../parts/table.js';
import { absolute, Time } from '../parts/time.js';
import { backfillJob, redriveJob, triggerWith } from './jobacts.js';
import { dropJob, pauseJob, resumeJob } from './jobs.js';
import { Errors, Statistics } from './jobstats.js';

// What changes by itself, asked for often; the definition only when it has changed.
const STATE = 'job_id,name,owner,kind,schedule,timezone,after,waiting_for,enabled,state,state_reason,next_run_at,last_status,last_run_id,last_started_at,last_duration_ms,consecutive_failures,recent,scheduled_runs,max_runs,ends_at,updated_at';
const RUNS = 'run_id,status,reason,source,attempt,scheduled_for,queued_at,started_at,duration_ms,error';
const SLOTS = 10;

// --- head --------------------------------------------------------------------------

function Actions({ job, dead }) {
	if (!may(job.owner))
		return null;
	const isPaused = job.state === 'paused';
	const enable = () => act(() => call('alter_job', { job_id: job.job_id, enabled: !job.enabled }), `${job.name} is ${job.enabled ? 'disabled' : 'enabled'}`);
	const drop = async () => { if (await dropJob(job)) go('jobs'); };
	return html`<${Act} kind="primary" icon="play" label="Trigger" hint="t" run=${() => triggerJob(job)} /><${Act} label="Trigger with…" run=${() => triggerWith(job)} />
		${isPaused ? html`<${Act} icon="play" label="Resume" hint="p" run=${() => resumeJob(job)} />` : html`<${Act} icon="pause" label="Pause" hint="p" run=${() => pauseJob(job)} />`}
		<a class="button" href=${href(['job', job.job_id, 'edit'])} title="e">Edit</a>
		<${More}><${Act} kind="quiet" icon=${job.enabled ? 'ban' : 'check'} label=${job.enabled ? 'Disable' : 'Enable'} run=${enable} /><${Act} kind="quiet" icon="retry" label="Backfill…" run=${() => backfillJob(job)} when=${job.schedule !== null} />
			<${Act} kind="quiet" icon="retry" label="Redrive dead letters…" run=${() => redriveJob(job)} when=${dead} /><a class="button quiet" href=${href(['job', 'new'], { from: job.job_id })}>Duplicate</a>
			<${Act} kind="quiet danger" icon="trash" label="Drop…" run=${drop} /></${More}>`;
}

function useWords(job) {
	return useLive((stop) => job?.schedule ? read('explain_schedule', { schedule: job.schedule, timezone: job.timezone }, { signal: stop }) : null, [job?.schedule, job?.timezone], 0);
}

const after = (names) => `after ${names.join(', ')}`;

function Head({ job, words, dead }) {
	return html`<${Section}><${Facts} of=${[
		['State', html`<${Status} status=${job.state} />${job.state_reason && html` <span class="why">${job.state_reason}</span>`}`],
		['Schedule', words ? firstLine(words) : job.after?.length > 0 ? after(job.after) : job.schedule ? html`<code>${job.schedule}</code>` : 'on demand'],
		['Waits for', job.waiting_for?.length > 0 && job.waiting_for.join(', ')],
		['Next', job.next_run_at && html`<${Time} value=${job.next_run_at} /> <span class="note">${absolute(job.next_run_at)}</span>`],
		['Last run', job.last_run_id && html`<a href=${href(['run', job.last_run_id])}><${Status} status=${job.last_status} /></a> <${Time} value=${job.last_started_at} />${job.last_duration_ms !== null && html` <span class="note">took ${duration(job.last_duration_ms)}</span>`}`],
		['Last 20', job.recent && html`<${Strip} recent=${job.recent} />`],
		['Failures in a row', job.consecutive_failures > 0 && html`<span class="bad">${number(job.consecutive_failures)}</span>`],
		['Dead letters', dead && html`<a href=${href('dead', { job: job.name })}>there are some</a>`],
	].map(([name, value]) => [name, value || undefined])} /></${Section}>`;
}

// --- alerts, steps, runs -------------------------------------------------------------

const ALERTS = [
	{ name: 'name', title: 'Alert', cell: (row) => row.name }, { name: 'state', title: 'State', cell: (row) => html`<${Status} status=${row.state} />` }, { name: 'condition', title: 'When', cell: (row) => row.condition.replaceAll('_', ' ') },
	{ name: 'since', title: 'Since', kind: 'tight', cell: (row) => html`<${Time} value=${row.since} />` }, { name: 'error', title: 'What', narrow: 'hide', cell: (row) => firstLine(row.error) },
];

function Alerts({ job }) {
	const live = useLive((stop) => get('alerts', { select: 'name,condition,state,since,error', job: `eq.${job.name}`, owner: `eq.${job.owner}`, limit: 20 }, { signal: stop }), [job.name], 15);
	if (!live.data || live.data.length === 0)
		return null;
	return html`<${Section} title="Alerts" actions=${html`<a href=${href('alerts')}>All alerts</a>`}><${Table} label="Alerts" columns=${ALERTS} rows=${live.data} keyOf=${(row) => `${row.name} ${row.condition}`} /></${Section}>`;
}

const STEPS = [
	{ name: 'step', title: 'Step', kind: 'tight', cell: (row) => html`<b>${row.step}</b>${row.optional && html` <span class="tag">optional</span>`}` }, { name: 'kind', title: 'Kind', narrow: 'hide', cell: (row) => row.kind },
	{ name: 'after', title: 'Waits for', cell: (row) => row.after?.length > 0 ? html`${row.after.join(', ')}${row.when && row.when !== 'success' && html` <span class="tag">${row.when}</span>`}` : html`<span class="none">–</span>` },
	{ name: 'what', title: 'What it does', cell: (row) => row.explanation },
];

function Steps({ job }) {
	const live = useLive((stop) => read('explain_steps', { job_id: job.job_id }, { signal: stop }), [job.job_id, job.updated_at], 0);
	return html`<${Section} title="Steps" actions=${html`<a href=${href('workflows', { job: job.name })}>Its workflow runs</a>`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Steps" columns=${STEPS} rows=${rows} keyOf=${(row) => row.step_no} />`}</${Loaded}></${Section}>`;
}

const RUN_COLUMNS = [
	{ name: 'run', title: 'Run', cell: (run) => run.run_id }, { name: 'status', title: 'Status', cell: (run) => html`<${Status} status=${run.status} why=${why(run)} />` },
	{ name: 'source', title: 'Source', narrow: 'hide', cell: (run) => run.source }, { name: 'started', title: 'Started', kind: 'tight', cell: (run) => html`<${Time} value=${run.started_at} />` },
	{ name: 'took', title: 'Took', right: true, cell: (run) => duration(run.duration_ms) }, { name: 'attempt', title: 'Attempt', right: true, narrow: 'hide', cell: (run) => run.attempt || '' },
	{ name: 'error', title: 'Error', narrow: 'hide', cell: (run) => firstLine(run.error).slice(0, 160) },
];

function Runs({ job }) {
	const live = useLive((stop) => get('runs', { select: RUNS, job_id: `eq.${job.job_id}`, order: 'run_id.desc', limit: 20 }, { signal: stop }), [job.job_id], 5);
	return html`<${Section} title="Newest runs" actions=${html`<a href=${href('runs', { job: job.name })}>All its runs</a>`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Newest runs" columns=${RUN_COLUMNS} rows=${rows}
		keyOf=${(run) => run.run_id} link=${(run) => href(['run', run.run_id])} empty=${html`<${Empty}>It has not run yet${may(job.owner) ? '. Trigger it, or wait for its next slot.' : '.'}</${Empty}>`} />`}</${Loaded}></${Section}>`;
}

// --- how it is defined ---------------------------------------------------------------

const list = (values) => values?.length > 0 ? html`<code>${values.join(', ')}</code>` : undefined;
const span = (value) => value ? spanText(value) : undefined;

function What({ job }) {
	return html`<${Section} title="What it does" note=${job.description}>
		${job.kind === 'sql' && html`<${Code} text=${job.command} copy label="Command" />`}
		${job.kind === 'http' && html`<${Code} text=${`${job.method ?? 'POST'} ${job.url}`} copy label="Request" />${job.headers && html`<h3>Headers</h3><${Json} text=${job.headers} label="Headers" />`}
			${job.body && html`<h3>Body</h3><${Json} text=${job.body} label="Body" />`}${job.body_text && html`<h3>Body</h3><${Code} text=${job.body_text} copy label="Body" />`}`}
		${job.kind === 'steps' && html`<details><summary>Steps as JSON</summary><${Json} text=${job.steps} label="Steps" /></details>`}
		${job.args !== '{}' && html`<h3>Arguments</h3><${Json} text=${job.args} label="Arguments" />`}${job.metadata && html`<h3>Metadata</h3><${Json} text=${job.metadata} label="Metadata" />`}
		<${Facts} of=${[['Kind', job.kind], ['Function', job.handler && html`<code>${job.handler}</code>`], ['Owner', job.owner], ['Mode', job.kind === 'sql' && job.mode !== 'auto' ? job.mode : undefined], ['Shares a transaction', job.share_transaction ? 'yes' : undefined],
			['Signed with', job.sign_with], ['Time to connect', job.kind === 'http' ? job.connect_timeout ? duration(Number(job.connect_timeout)) : '10 s' : undefined], ['Success', job.kind === 'http' ? list(job.success_codes && JSON.parse(job.success_codes)) ?? '2xx' : undefined],
			['Redirects', job.kind === 'http' ? job.max_redirects ?? '0' : undefined], ['Told of success', job.on_success && html`<code>${job.on_success}</code>`], ['Told of failure', job.on_failure && html`<code>${job.on_failure}</code>`]]} /></${Section}>`;
}

function When({ job, state, words }) {
	const live = useLive((stop) => state.schedule && state.next_run_at ? read('next_runs', { schedule: state.schedule, timezone: state.timezone, from: state.next_run_at, n: SLOTS - 1 }, { signal: stop }) : [], [state.schedule, state.timezone, state.next_run_at], 0);
	const slots = slotsOf(state, live.data ?? [], SLOTS);
	return html`<${Section} title="When" actions=${state.next_run_at && html`<a href=${href('upcoming', { job: state.name })}>The next 24 hours</a>`}>${words && html`<${Words} text=${words} />`}<${Facts} of=${[['Schedule', state.schedule ? html`<code>${state.schedule}</code>` : state.after?.length > 0 ? after(state.after) : 'on demand'], ['Time zone', state.schedule && state.timezone],
		['From', job.starts_at && absolute(job.starts_at)], ['Until', job.ends_at && absolute(job.ends_at)], ['Runs at most', job.max_runs && `${number(job.max_runs)}, ${number(state.scheduled_runs)} so far`], ['Jitter', span(job.jitter)]].map(([name, value]) => [name, value || undefined])} />
		${slots.length > 0 && html`<h3>Next slots</h3><${Slots} slots=${slots} timezone=${state.timezone} label="Next slots" />`}
		${state.schedule && !state.next_run_at && html`<p class="note">No slot is to come${state.state === 'active' ? '' : ` while it is ${state.state}`}.</p>`}</${Section}>`;
}

const OVERLAP = { skip: 'the slot makes no run', queue: 'its run waits', allow: 'its run starts beside', replace: 'live runs are cancelled' };
const MISFIRE = { once: 'one run for all', skip: 'no run', all: 'a run for each' };

const Policies = ({ job }) => html`<${Section} title="Overlap and missed slots"><${Facts} of=${[['If a run is live', `${job.overlap}: ${OVERLAP[job.overlap]}`], ['Runs that may wait', job.overlap === 'queue' ? number(job.queue_limit) : undefined],
	['Missed slots', `${job.misfire}: ${MISFIRE[job.misfire]}`], ['Late is not missed up to', span(job.misfire_grace)], ['Paused after', job.pause_after_failures ? `${plural(job.pause_after_failures, 'failure')} in a row` : undefined]]} /></${Section}>`;

const Retries = ({ job }) => html`<${Section} title="Retries and timeouts"><${Facts} of=${[['Timeout', span(job.timeout) ?? (job.kind === 'http' ? '30 s' : job.kind === 'steps' ? undefined : 'none')], ['Deadline', span(job.deadline)], ['Attempts', job.max_attempts || 'as by default'],
	...(job.retry_delays?.length > 0 ? [['Waits', job.retry_delays.map(spanText).join(', ')]] : [['Waits', `${job.backoff}, from ${spanText(job.backoff_base)} to ${spanText(job.backoff_max)}`], ['Random share', job.backoff_jitter]]),
	['Retried', list(job.retry_on) ?? 'transient errors'], ['But not', list(job.no_retry_on)]]} /></${Section}>`;

const Limits = ({ job }) => html`<${Section} title="Limits and history"><${Facts} of=${[['At the same time', job.max_concurrency ? number(job.max_concurrency) : 'no limit of its own'], ['Queue', job.queue && html`<a href=${href('queues')}>${job.queue}</a>`], ['Keys', list(job.keys)],
	['Kept', job.keep === 'failures' ? 'failures; successes are only counted' : 'all runs'], ['Kept for', span(job.keep_for) ?? 'as the settings say'], ['Created', html`<${Time} value=${job.created_at} />`], ['Changed', html`<${Time} value=${job.updated_at} />`]]} /></${Section}>`;

function Definition({ state, words }) {
	const live = useLive((stop) => one('jobs', { select: `${SELECT},created_at,updated_at`, job_id: `eq.${state.job_id}` }, { signal: stop }), [state.job_id, state.updated_at], 0);
	return html`<${Loaded} live=${live}>${(job) => html`<div class="definition"><div><${What} job=${job} /><${Retries} job=${job} /></div><div><${When} job=${job} state=${state} words=${words} /><${Policies} job=${job} /><${Limits} job=${job} /></div></div>`}</${Loaded}>`;
}

// --- the screen --------------------------------------------------------------------

const KINDS = { sql: 'SQL command', function: 'Function', http: 'HTTP request', steps: 'Workflow' };

function Known({ job }) {
	const words = useWords(job).data;
	const dead = useLive((stop) => one('dead_letters', { select: 'run_id', job_id: `eq.${job.job_id}`, order: 'run_id' }, { signal: stop }), [job.job_id], 30).data !== undefined;
	const mine = may(job.owner);
	useKeys(mine ? { t: ['Trigger', () => triggerJob(job)], p: ['Pause or resume', () => job.state === 'paused' ? resumeJob(job) : pauseJob(job)], e: ['Edit', () => go(['job', job.job_id, 'edit'])] } : {});
	return html`<${Page} title=${job.name} sub=${`${KINDS[job.kind]} of ${job.owner}`} actions=${html`<${Actions} job=${job} dead=${dead} />`}>
		<${Head} job=${job} words=${words} dead=${dead} /><${Alerts} job=${job} />${job.kind === 'steps' && html`<${Steps} job=${job} />`}<${Statistics} job=${job} /><${Errors} job=${job} /><${Runs} job=${job} /><${Definition} state=${job} words=${words} /></${Page}>`;
}

export function Job({ path }) {
	const live = useLive((stop) => !/^\d+$/.test(path[1]) ? 'none' : one('jobs', { select: STATE, job_id: `eq.${path[1]}` }, { signal: stop }).then((row) => row ?? 'none'), [path[1]], 5);
	if (live.data === undefined || live.data === 'none')
		return html`<${Page} title="Job"><${Loaded} live=${live}>${() => html`<${Empty}>There is no such job, or you may not see it. Its runs may still be in the history. <a href=${href('jobs')}>To the jobs</a></${Empty}>`}</${Loaded}></${Page}>`;
	return html`<${Known} job=${live.data} />`;
}
