// Now: the start. Whether all is well, what runs and waits, what has become of runs, what
// comes next, and what is worth a look.

import { html } from '../lib/html.js';
import { call, get, onlyRow, read } from '../lib/api.js';
import { now, serverSays } from '../lib/clock.js';
import { duration, number, percent, plural, short } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { may, me } from '../lib/me.js';
import { zone } from '../lib/prefs.js';
import { href, route } from '../lib/route.js';
import { RANGES, highest, rangeOf, spans, sums } from '../lib/series.js';
import { Act, act, confirm } from '../parts/act.js';
import { Bar, Chart } from '../parts/chart.js';
import { Icon } from '../parts/icon.js';
import { Empty, Loaded, Page, Section } from '../parts/page.js';
import { cancelRun } from '../parts/runs.js';
import { Status, Strip } from '../parts/status.js';
import { Table } from '../parts/table.js';
import { Elapsed, Time } from '../parts/time.js';

const HEIGHT = 150;

// --- whether all is well -------------------------------------------------------

const TODO = {
	__proto__: null,
	launcher: 'Raise max_worker_processes, and restart the server.', scheduler: 'See last_error and the server\'s log.', enabled: 'Set jobsched.enabled to on.',
	last_error: 'It may be over: look at its time. It stays until the server is restarted.', workers: 'Raise jobsched.max_workers or max_worker_processes, or have shorter runs.',
	unresponsive: 'Its code does not check for interrupts. Wait, or end the process.', identity: 'Decide whether to adopt the jobs: adopt().',
};
const LEADS = { workers: ['workers'], invalid_jobs: ['jobs', { state: 'invalid' }], alerts: ['alerts', { tab: 'channels' }], identity: ['jobs', { state: 'asleep' }] };
const worse = { error: 0, warning: 1 };

function Health() {
	const live = useLive((stop) => read('health', {}, { signal: stop }), [], 10);
	if (live.data === undefined)
		return html`<div class="health">${live.error ? html`<${Loaded} live=${live} />` : html`<p class="note">Asking for its health…</p>`}</div>`;
	const bad = live.data.filter(({ status }) => status !== 'ok').sort((a, b) => worse[a.status] - worse[b.status]);
	if (bad.length === 0)
		return html`<p class="health well ${live.stale ? 'stale' : ''}"><${Icon} name="check" /><strong>jobsched is well.</strong> <span class="note">${plural(live.data.length, 'check')} of its scheduler and workers, nothing to do.</span></p>`;
	return html`<ul class="health ${live.stale ? 'stale' : ''}" aria-label="Health">${bad.map((row) => html`<li key=${row.check} class=${row.status === 'error' ? 'bad' : 'warn'}>
		<${Status} status=${row.status} /><strong>${row.check.replaceAll('_', ' ')}</strong><span>${[row.value, row.message].filter(Boolean).join(': ')}</span>
		${TODO[row.check] && html`<span class="note">${TODO[row.check]}</span>`}
		${LEADS[row.check] && html`<a href=${href(...LEADS[row.check])}>Look</a>`}</li>`)}</ul>`;
}

// --- numbers -------------------------------------------------------------------

const Tile = ({ name, value, beside, note, to, tone = '', title }) => html`<a class="tile ${tone}" href=${to} title=${title}><span>${name}</span><b>${value ?? '–'}${beside && html` <small>${beside}</small>`}</b>${note && html`<span>${note}</span>`}</a>`;
const loud = (tone, when) => when > 0 ? tone : '';

function QueueTiles({ sum }) {
	const more = sum.complete ? '' : '+';
	const count = (value) => value === null ? '–' : `${short(value)}${more}`;
	const words = (value, text) => `${number(value)}${more ? ' and more' : ''}: ${text}`;
	return html`<div class="tiles" role="group" aria-label="At this moment">
		<${Tile} name="running" value=${count(sum.running)} to=${href('runs', { status: 'running' })} tone=${loud('busy', sum.running)} title=${words(sum.running, 'with a worker now')}
			beside=${sum.http_in_flight > 0 ? `${short(sum.http_in_flight)} HTTP` : undefined} />
		<${Tile} name="ready" value=${count(sum.ready)} to=${href('runs', { status: 'queued' })} title=${words(sum.ready, 'wait for a worker only')} />
		<${Tile} name="scheduled" value=${count(sum.scheduled)} to=${href('upcoming')} title=${words(sum.scheduled, 'their time has not come; also retries')} />
		<${Tile} name="waiting" value=${count(sum.waiting)} to=${href('workflows')} title=${words(sum.waiting, 'wait for other runs or events')} beside=${sum.open > 0 ? `${short(sum.open)} open` : undefined} />
		<${Tile} name="limited" value=${count(sum.limited)} to=${href('queues')} tone=${loud('warn', sum.limited)} title=${words(sum.limited, 'wait for the limits of queues and keys')}
			beside=${sum.behind > 0 ? `${short(sum.behind)} behind` : undefined} />
		<${Tile} name="held" value=${count(sum.held)} to=${href('jobs', { state: 'paused' })} tone=${loud('warn', sum.held)} title=${words(sum.held, 'their job is paused or disabled')} />
		<${Tile} name="workers busy" value=${`${number(sum.busy_workers)} of ${number(sum.max_workers)}`} to=${href('workers')} title=${`${plural(sum.workers ?? 0, 'worker')} there; the most is jobsched.max_workers`} />
	</div>`;
}

// total: a row of run_totals(), of the whole range; undefined: nothing has ended.
function PastTiles({ total = {}, words }) {
	const failures = FAILURES.reduce((sum, name) => sum + (total[name] ?? 0), 0);
	const decided = failures + (total.succeeded ?? 0);
	const retries = total.retries ?? 0;
	return html`<div class="tiles" role="group" aria-label=${words}>
		<${Tile} name="runs" value=${short(total.runs ?? 0)} to=${href('runs')} note=${words} />
		<${Tile} name="failures" value=${short(failures)} to=${href('dead')} tone=${loud('bad', failures)} note=${retries > 0 ? `${short(retries)} ${retries === 1 ? 'retry' : 'retries'}` : 'no retries'} />
		<${Tile} name="success rate" value=${decided > 0 ? percent(total.succeeded / decided) : undefined} to=${href('jobs', { last: 'failed' })} note=${total.skipped + total.missed > 0 ? `${short(total.skipped)} skipped, ${short(total.missed)} missed` : 'nothing skipped'} />
		<${Tile} name="duration p50" value=${duration(total.p50_ms) || undefined} to=${href('runs', { status: 'succeeded' })} note="half take less" />
		<${Tile} name="duration p95" value=${duration(total.p95_ms) || undefined} to=${href('runs', { status: 'succeeded' })} note="1 of 20 takes more" />
		<${Tile} name="start delay p95" value=${duration(total.delay_p95_ms) || undefined} to=${href('queues')} note="due until started" />
	</div>`;
}

// --- charts --------------------------------------------------------------------

const OUTCOMES = [
	['succeeded', 'chart-good'], ['failed', 'chart-bad'], ['timed_out', 'chart-timed-out'], ['lost', 'chart-lost'], ['cancelled', 'dull'], ['skipped', 'chart-skipped'], ['missed', 'chart-warn'],
];
const FAILURES = ['failed', 'timed_out', 'lost'];
const DURATIONS = [['p50', 'p50_ms', 'chart-1'], ['p95', 'p95_ms', 'chart-2'], ['p99', 'p99_ms', 'chart-3']];
const any = (values) => values.some((value) => value > 0);
const ms = (value) => value >= 1000 ? Number.isInteger(Math.log10(value)) ? `${number(value / 1000)} s` : duration(value) : value === 0 ? '0' : value >= 1 ? `${Number(value.toPrecision(3))} ms` : `${Number((value * 1000).toPrecision(3))} µs`;
const timezone = () => zone.value === 'UTC' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone;

// Of all jobs together, however many there are: by bucket, and of the whole range.
async function statistics(range, stop) {
	const { span, bucket } = RANGES[range];
	const { starts, end } = spans(RANGES[range], now.peek(), zone.peek() === 'UTC');
	const iso = (at) => new Date(at).toISOString();
	const of = (from, width) => read('run_totals', { from: iso(from), to: iso(end), bucket: width, timezone: bucket === '1 day' ? timezone() : 'UTC' }, { signal: stop });
	const [rows, [total]] = await Promise.all([of(starts[0], bucket), of(now.peek() - span, null)]);
	return { rows, total, starts, end };
}

const stacked = (found, names) => {
	const shown = OUTCOMES.filter(([name]) => names.includes(name) && (any(found[name]) || name === names[0]));
	return { data: shown.map(([name]) => found[name]), series: shown.map(([name, tone]) => ({ label: name.replace('_', ' '), tone, stacked: true, bars: true, format: number })) };
};

function Charts({ rows, starts, end }) {
	const xs = starts.map((at) => at / 1000);
	const span = [starts[0] / 1000, end / 1000];
	const found = sums(rows, starts);
	const all = stacked(found, OUTCOMES.map(([name]) => name));
	const failed = stacked(found, FAILURES);
	const delays = highest(rows, starts, 'delay_p95_ms');
	const none = rows.length === 0;
	const empty = 'Nothing has ended in this time.';
	const fails = FAILURES.some((name) => any(found[name]));
	return html`<div class="charts"><${Chart} title="Runs by outcome" data=${none ? [[]] : [xs, ...all.data]} series=${all.series} format=${short} span=${span} height=${HEIGHT} empty=${empty} />
		<${Chart} title="Failures" data=${fails ? [xs, ...failed.data] : [[]]} series=${failed.series} format=${short} span=${span} height=${HEIGHT} empty=${none ? empty : 'No run has failed in this time.'} />
		<${Chart} title="Duration" note="of all runs" data=${rows.some((row) => row.p50_ms !== null) ? [xs, ...DURATIONS.map(([, column]) => highest(rows, starts, column))] : [[]]}
			series=${DURATIONS.map(([label, , tone]) => ({ label, tone }))} format=${ms} log span=${span} height=${HEIGHT} empty=${empty} />
		<${Chart} title="Start delay" note="from when a run was due" data=${any(delays) ? [xs, delays] : [[]]}
			series=${[{ label: 'p95', tone: 'calm', fill: true }]} format=${ms} span=${span} height=${HEIGHT} empty=${empty} /></div>`;
}

const Ranges = ({ range }) => html`<nav class="ranges" aria-label="Range">${Object.entries(RANGES).map(([name, { name: words }]) => html`<a href=${href('now', { range: name === '24h' ? '' : name })} aria-current=${name === range ? 'true' : undefined}>${words}</a>`)}</nav>`;

function Past({ range }) {
	const live = useLive((stop) => statistics(range, stop), [range, zone.value], 30);
	const { words } = RANGES[range];
	return html`<div class="numbers-now"><${PastTiles} total=${live.data?.total} words=${words} /></div>
		<${Section} title="What has become of runs" note=${words} actions=${html`<${Ranges} range=${range} />`}>
		${live.data === undefined && !live.error ? html`<div class="charts waiting" role="status"><p class="loading">Loading…</p></div>`
			: html`<${Loaded} live=${live}>${({ rows, starts, end }) => html`<${Charts} rows=${rows} starts=${starts} end=${end} />`}</${Loaded}>`}</${Section}>`;
}

// --- lists ---------------------------------------------------------------------

function Progress({ run }) {
	if (run.progress_total > 0)
		return html`<span class="progressing"><${Bar} share=${run.progress_done / run.progress_total} words=${`${number(run.progress_done)} of ${number(run.progress_total)}`} />
			<span class="note">${run.progress_message || `${number(run.progress_done)} of ${number(run.progress_total)}`}</span></span>`;
	return html`<span class="note">${run.progress_message || (run.progress_done !== null && run.progress_done !== undefined ? `${number(run.progress_done)} done` : '')}</span>`;
}

const running = [
	{ name: 'job', title: 'Job', cell: (run) => run.job_name },
	{ name: 'progress', title: 'Progress', cell: (run) => html`<${Progress} run=${run} />` },
	{ name: 'for', title: 'For', right: true, cell: (run) => html`<${Elapsed} since=${run.started_at} />` },
	{ name: 'cancel', title: html`<span class="sr">Cancel</span>`, right: true, cell: (run) => html`<${Act} small label="Cancel" kind="danger" when=${may(run.owner)} run=${() => cancelRun({ ...run, status: 'running' })} />` },
];

function Running() {
	const live = useLive((stop) => get('running', { select: 'run_id,job_name,owner,started_at,progress_done,progress_total,progress_message', order: 'started_at', limit: 11 }, { signal: stop }), [], 2);
	return html`<${Section} title="Running" actions=${live.data?.length > 10 && html`<a href=${href('runs', { status: 'running' })}>All</a>`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Running" columns=${running}
		rows=${rows.slice(0, 10)} keyOf=${(run) => run.run_id} link=${(run) => href(['run', run.run_id])} empty=${html`<div class="nothing-runs"><${Empty}>Nothing runs at this moment.</${Empty}></div>`} />`}</${Loaded}></${Section}>`;
}

const coming = [
	{ name: 'job', title: 'Job', cell: (slot) => slot.job_name },
	{ name: 'why', title: 'Schedule or run', narrow: 'hide', cell: (slot) => slot.run_id === null && slot.schedule ? html`<code>${slot.schedule}</code>` : html`<span class="note">${slot.run_id === null ? slot.source : `run ${slot.run_id}, ${slot.source}`}</span>` },
	{ name: 'at', title: 'Starts', kind: 'tight', right: true, cell: (slot) => html`<${Time} value=${slot.run_at} />` },
];

function Coming() {
	const live = useLive((stop) => get('upcoming', { select: 'run_at,job_id,job_name,source,run_id,schedule', order: 'run_at', limit: 10 }, { signal: stop }), [], 5);
	return html`<${Section} title="Next" actions=${html`<a href=${href('upcoming')}>All that comes</a>`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Next" columns=${coming} rows=${rows}
		keyOf=${(slot) => `${slot.job_id} ${slot.run_id ?? ''}`} link=${(slot) => slot.run_id === null ? href(['job', slot.job_id]) : href(['run', slot.run_id])}
		empty=${html`<${Empty}>Nothing is to come. <a href=${href(['job', 'new'])}>Make a job</a> with a schedule.</${Empty}>`} />`}</${Loaded}></${Section}>`;
}

const failing = [
	{ name: 'job', title: 'Job', cell: (job) => job.name },
	{ name: 'recent', title: 'Last 20', cell: (job) => html`<${Strip} recent=${job.recent} />` },
	{ name: 'n', title: 'In a row', right: true, cell: (job) => number(job.consecutive_failures) },
	{ name: 'last', title: 'Last run', kind: 'tight', right: true, cell: (job) => job.last_run_id === null ? '–' : html`<a href=${href(['run', job.last_run_id])}><${Time} value=${job.last_finished_at} /></a>` },
];

function Failing() {
	const live = useLive((stop) => get('jobs', { select: 'job_id,name,recent,consecutive_failures,last_run_id,last_finished_at', consecutive_failures: 'gt.0', order: 'consecutive_failures.desc,job_id', limit: 10 }, { signal: stop }), [], 30);
	return html`<${Section} title="Jobs that fail now" actions=${live.data?.length > 0 && html`<a href=${href('dead')}>Dead letters</a>`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Jobs that fail now" columns=${failing} rows=${rows}
		keyOf=${(job) => job.job_id} link=${(job) => href(['job', job.job_id])} empty=${html`<${Empty}>The last run of every job has succeeded.</${Empty}>`} />`}</${Loaded}></${Section}>`;
}

const SEVERITIES = { error: 0, warning: 1, info: 2 };

function Insight({ found }) {
	return html`<li><${Status} status=${found.severity} /><div><p>${found.job_name ? html`<a href=${href('jobs', { name: found.job_name })}>${found.job_name}</a> ` : ''}<strong>${found.what.replaceAll('_', ' ')}</strong>
		${found.since && html`<span class="note"> since <${Time} value=${found.since} /></span>`}</p><p>${found.evidence}</p><p class="note">${found.advice}</p></div></li>`;
}

function Insights() {
	const live = useLive((stop) => read('insights', {}, { query: { limit: 100 }, signal: stop }), [], 30);
	const sorted = [...(live.data ?? [])].sort((a, b) => SEVERITIES[a.severity] - SEVERITIES[b.severity]);
	return html`<${Section} title="Worth a look" note=${sorted.length > 0 ? number(sorted.length) : undefined}><${Loaded} live=${live}>${() => sorted.length === 0 ? html`<${Empty}>Nothing is conspicuous.</${Empty}>`
		: html`<ul class="insights" tabindex="0" aria-label="Worth a look">${sorted.map((found) => html`<${Insight} key=${`${found.job_name} ${found.what} ${found.since} ${found.evidence}`} found=${found} />`)}</ul>`}</${Loaded}></${Section}>`;
}

// --- the screen ----------------------------------------------------------------

async function stopProcessing() {
	if (await confirm('Stop processing', { body: `No run of database ${me.value.database} starts and no slot fires until it is started again. What runs goes on to its end.` }))
		await act(() => call('stop_processing'), 'processing is stopped');
}

async function startProcessing() {
	if (await confirm('Start processing', { body: 'Runs that are due start at once, and schedules go on.', danger: false }))
		await act(() => call('start_processing'), 'processing goes on');
}

async function summary(stop) {
	const sum = onlyRow(await read('dashboard_summary', {}, { signal: stop }));
	serverSays(sum.at);
	return sum;
}

export function Now() {
	const range = rangeOf(route.value.query.range);
	const live = useLive(summary, [], 5);
	const stopped = live.data?.processing === false;
	const allowed = me.value?.may_stop && live.data !== undefined;
	return html`<${Page} title="Now" actions=${html`<${Act} icon="pause" label="Stop processing" when=${allowed && !stopped} run=${stopProcessing} /><${Act} icon="play" kind="primary" label="Start processing" when=${allowed && stopped} run=${startProcessing} />`}>
	<${Health} />
	<div class="numbers-now"><${Loaded} live=${live}>${(sum) => html`<${QueueTiles} sum=${sum} />`}</${Loaded}></div>
	<${Past} range=${range} />
	<div class="grid lists"><div class="half"><${Insights} /><${Failing} /></div><div class="half"><${Running} /><${Coming} /></div></div></${Page}>`;
}
