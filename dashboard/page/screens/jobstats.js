// The statistics of one job: charts over a range that is in the URL, a map of 30 days,
// what the last hour, day and week were like, and what it fails of.

import { html } from '../lib/html.js';
import { get, read } from '../lib/api.js';
import { bucketStart, bucketStarts, columnsOf, fill, heatOf, RANGES } from '../lib/buckets.js';
import { now } from '../lib/clock.js';
import { duration, number, percent, short } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { zone } from '../lib/prefs.js';
import { href, route } from '../lib/route.js';
import { periodName, trends } from '../lib/trend.js';
import { Chart } from '../parts/chart.js';
import { Heat } from '../parts/heat.js';
import { Loaded, Section } from '../parts/page.js';
import { Table } from '../parts/table.js';
import { Time } from '../parts/time.js';

const DAYS = 30;
const here = () => zone.value === 'UTC' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone;
const DEFAULT_RANGE = '24h';

const OUTCOMES = [['succeeded', 'good'], ['failed', 'bad'], ['timed_out', 'warn'], ['lost', 'calm'], ['cancelled', 'dull'], ['missed', 'busy'], ['skipped', 'edge']];
const COUNTED = ['bucket', ...OUTCOMES.map(([name]) => name)].join(',');
const TIMES = [['p50_ms', 'p50', 'busy'], ['p95_ms', 'p95', 'warn'], ['p99_ms', 'p99', 'bad']];

const CHARTED = [COUNTED, ...TIMES.map(([name]) => name), 'delay_p95_ms'].join(',');

export const chosenRange = () => Object.hasOwn(RANGES, route.value.query.range ?? '') ? route.value.query.range : DEFAULT_RANGE;

const Ranges = ({ id, chosen }) => html`<nav class="ranges" aria-label="Time">${Object.entries(RANGES).map(([key, { name }]) => html`<a key=${key} href=${href(['job', id], { ...route.value.query, range: key === DEFAULT_RANGE ? '' : key })}
	aria-current=${key === chosen ? 'true' : undefined}>${name}</a>`)}</nav>`;

function Charts({ rows, starts, span }) {
	if (rows.length === 0)
		return html`<p class="note">Nothing has ended in this time.</p>`;
	const filled = fill(starts, rows);
	const seen = OUTCOMES.filter(([name], i) => i === 0 || rows.some((row) => row[name] > 0));
	const data = (names) => columnsOf(starts, filled, names);
	return html`<div class="grid"><div class="third"><${Chart} title="Outcomes" data=${data(seen.map(([name]) => name))} series=${seen.map(([name, tone]) => ({ label: name.replace('_', ' '), tone, bars: true, stacked: true }))} format=${short} span=${span} /></div>
		<div class="third"><${Chart} title="Duration" data=${data(TIMES.map(([name]) => name))} series=${TIMES.map(([, label, tone]) => ({ label, tone }))} format=${duration} span=${span} /></div>
		<div class="third"><${Chart} title="Start delay" data=${data(['delay_p95_ms'])} series=${[{ label: 'p95', tone: 'calm', fill: true }]} format=${duration} span=${span} /></div></div>`;
}

const Trend = ({ row }) => trends(row).map(({ text, tone }, i) => html`${i > 0 && ', '}<span class="tone ${tone}">${text}</span>`);

const PERIODS = [
	{ name: 'period', title: 'Period', kind: 'tight', cell: (row) => periodName(row.period) }, { name: 'runs', title: 'Runs', right: true, cell: (row) => number(row.runs) },
	{ name: 'rate', title: 'Succeeded', right: true, cell: (row) => percent(row.success_rate) || '–' },
	...[['p50_ms', 'p50'], ['p95_ms', 'p95'], ['p99_ms', 'p99'], ['mean_ms', 'Mean'], ['max_ms', 'Longest'], ['delay_p95_ms', 'Start delay p95']].map(([name, title], i) => ({ name, title, right: true, narrow: i > 1 ? 'hide' : '', cell: (row) => duration(row[name]) || '–' })),
	{ name: 'trend', title: 'Against the period before', cell: (row) => html`<${Trend} row=${row} />` },
];

const JOB_STATS = 'period,runs,success_rate,mean_ms,p50_ms,p95_ms,p99_ms,max_ms,delay_p95_ms,runs_before,success_trend,p95_trend';
const ORDER = ['01:00:00', '1 day', '7 days'];

export function Statistics({ job }) {
	const chosen = chosenRange();
	const { minutes, bucket, interval } = RANGES[chosen];
	const utc = zone.value === 'UTC';
	const ask = (from, width, select, stop) => read('run_stats', { from: new Date(from).toISOString(), to: null, bucket: width, job_id: job.job_id, timezone: here() }, { signal: stop, query: { select } });
	const live = useLive(async (stop) => {
		const to = now.peek();
		const from = bucketStart(to - minutes * 60000, bucket, utc);
		const starts = bucketStarts(from, to, bucket, utc);
		// The last bar has its place too.
		return { starts, span: [starts[0] / 1000, starts.at(-1) / 1000 + bucket * 60], rows: await ask(from, interval, CHARTED, stop) };
	}, [job.name, chosen, utc], 30);
	const heat = useLive(async (stop) => {
		const to = now.peek();
		const from = heatOf(to, DAYS, [], utc)[0].day;
		return heatOf(to, DAYS, await ask(from, '1 hour', COUNTED, stop), utc);
	}, [job.name, utc], 60);
	const periods = useLive((stop) => get('job_stats', { select: JOB_STATS, job_id: `eq.${job.job_id}` }, { signal: stop }), [job.job_id], 30);
	return html`<${Section} title="Statistics" actions=${html`<${Ranges} id=${job.job_id} chosen=${chosen} />`}><${Loaded} live=${live}>${(data) => html`<${Charts} ...${data} />`}</${Loaded}></${Section}>
		<${Section} title="Hour, day and week"><${Loaded} live=${periods}>${(rows) => rows.every((row) => !row.runs && !row.runs_before) ? html`<p class="note">Nothing has ended in the last two weeks.</p>`
			: html`<${Table} label="Hour, day and week" columns=${PERIODS} rows=${[...rows].sort((one, other) => ORDER.indexOf(one.period) - ORDER.indexOf(other.period))} keyOf=${(row) => row.period} />`}</${Loaded}></${Section}>
		<${Section}><${Loaded} live=${heat}>${(days) => html`<${Heat} title="The last 30 days, by hour" days=${days} utc=${utc} />`}</${Loaded}></${Section}>`;
}

const PATTERNS = [
	{ name: 'pattern', title: 'Error', cell: (row) => html`<code class="pattern">${row.pattern}</code>` }, { name: 'sqlstate', title: 'SQLSTATE', narrow: 'hide', cell: (row) => row.sqlstate ?? '–' },
	{ name: 'count', title: 'Runs', right: true, cell: (row) => number(row.count) }, { name: 'first', title: 'First', kind: 'tight', narrow: 'hide', cell: (row) => html`<${Time} value=${row.first_at} />` },
	{ name: 'last', title: 'Last', kind: 'tight', cell: (row) => html`<${Time} value=${row.last_at} />` }, { name: 'example', title: 'Newest', right: true, cell: (row) => html`<a href=${href(['run', row.example_run_id])}>${row.example_run_id}</a>` },
];

export function Errors({ job }) {
	const chosen = chosenRange();
	const { minutes, name } = RANGES[chosen];
	const live = useLive((stop) => read('error_patterns', { since: `${minutes} minutes`, job_id: job.job_id }, { signal: stop, query: { select: 'pattern,sqlstate,count,first_at,last_at,example_run_id', limit: 20 } }), [job.job_id, chosen], 30);
	return html`<${Section} title="What it fails of" note=${`in the last ${name}`}><${Loaded} live=${live}>${(rows) => rows.length === 0 ? html`<p class="note">No run has failed.</p>`
		: html`<${Table} label="What it fails of" columns=${PATTERNS} rows=${rows} keyOf=${(row) => `${row.sqlstate} ${row.pattern}`} />`}</${Loaded}></${Section}>`;
}
