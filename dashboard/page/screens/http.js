// HTTP: what servers have answered, newest first; by host, of those that are loaded; what is
// under way, and of what requests failed.

import { html } from '../lib/html.js';
import { get } from '../lib/api.js';
import { duration, firstLine, number, percent, plural, reason } from '../lib/format.js';
import { placeOf } from '../lib/given.js';
import { useLive } from '../lib/live.js';
import { href, route } from '../lib/route.js';
import { byHost, countBy, hostOf } from '../lib/series.js';
import { Choice, Filters, Pager, Search } from '../parts/filters.js';
import { Bar } from '../parts/chart.js';
import { Icon } from '../parts/icon.js';
import { Empty, Loaded, Page, Section } from '../parts/page.js';
import { Table } from '../parts/table.js';
import { Elapsed, Time } from '../parts/time.js';

const ROWS = 200;
const SHOWN = 50;
const FAILED = 500;
const SELECT = 'run_id,attempt,job_id,job_name,status,responded_at,method,url,body_size,truncated,first_byte_ms,total_ms';

// `page` is run and attempt of the last row of the page before.
function query({ job, status, page }) {
	const and = [];
	const [run, attempt] = placeOf(page, ['number', 'number']) ?? [];
	if (run !== undefined)
		and.push(`(run_id.lte.${run},or(run_id.lt.${run},attempt.lt.${attempt}))`);
	if (status)
		and.push(`(status.gte.${Number(status)},status.lt.${Number(status) + 100})`);
	return { select: SELECT, order: 'run_id.desc,attempt.desc', limit: ROWS + 1, ...(and.length > 0 && { and }), ...(job && { job_name: `eq.${job}` }) };
}

const good = (status) => status !== null && status >= 200 && status < 300;
// An attempt without a status had no answer.
const Code = ({ status }) => status === null ? html`<span class="status bad"><${Icon} name="question" />no answer</span>` : html`<span class="status ${good(status) ? 'good' : status >= 500 ? 'bad' : 'warn'}"><${Icon} name=${good(status) ? 'check' : 'cross'} />${status}</span>`;
const pathOf = (url) => url.replace(/^[a-z]+:\/\/[^/]*/i, '') || '/';
const size = (bytes) => bytes === null ? '' : bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

const columns = [
	{ name: 'run', title: 'Job', cell: (row) => row.job_name },
	{ name: 'status', title: 'Status', cell: (row) => html`<${Code} status=${row.status} />` },
	{ name: 'url', title: 'Request', kind: 'message', cell: (row) => html`<span class="request" title=${`${row.method} ${row.url}`}><span class="note">${row.method}</span> ${hostOf(row.url)}<span class="note">${pathOf(row.url)}</span></span>` },
	{ name: 'first', title: 'First byte', right: true, narrow: 'hide', cell: (row) => duration(row.first_byte_ms) },
	{ name: 'total', title: 'Total', right: true, cell: (row) => duration(row.total_ms) },
	{ name: 'size', title: 'Body', right: true, narrow: 'hide', cell: (row) => html`${row.status === null ? '' : size(row.body_size)}${row.truncated && html` <span class="note" title="more than is kept">cut</span>`}` },
	{ name: 'at', title: 'When', kind: 'tight', right: true, cell: (row) => html`<${Time} value=${row.responded_at} />` },
];

const hosts = [
	{ name: 'host', title: 'Host', kind: 'name', cell: (row) => html`<strong>${row.host}</strong>` },
	{ name: 'n', title: 'Requests', right: true, cell: (row) => number(row.responses) },
	{ name: 'success', title: 'Success', cell: (row) => html`<span class="places"><span>${percent(row.success)}</span><${Bar} share=${row.success} words=${`${percent(row.success)} were successes`} tone=${row.success === 1 ? 'good' : row.success > 0.9 ? 'warn' : 'bad'} /></span>` },
	{ name: 'p50', title: 'p50', right: true, cell: (row) => duration(row.p50) },
	{ name: 'p95', title: 'p95', right: true, cell: (row) => duration(row.p95) },
	{ name: 'error', title: 'Last that was no success', kind: 'tight', cell: (row) => row.lastError ? html`<a href=${href(['run', row.lastError.run_id])}><${Code} status=${row.lastError.status} /></a> <span class="note"><${Time} value=${row.lastError.responded_at} /></span>` : html`<span class="none">none</span>` },
];

function Responses({ wanted }) {
	const live = useLive((stop) => get('http_responses', query(wanted), { signal: stop }), [JSON.stringify(wanted)], 5);
	const filtered = wanted.job || wanted.status;
	return html`<${Loaded} live=${live}>${(all) => {
		const rows = all.slice(0, ROWS);
		const last = all.length > SHOWN ? rows[SHOWN - 1] : undefined;
		if (rows.length === 0)
			return filtered || wanted.page ? html`<${Empty}>No response is like that. <a href=${href('http')}>Show all</a></${Empty}>`
				: html`<${Empty} code=${"SELECT jobsched.http_get('https://example.com/');"}>No server has answered a request of yours. Only the owner of a job sees its responses. To send one:</${Empty}>`;
		return html`<div class="stack"><${Section} title="By host" note=${`of the ${plural(rows.length, 'request')} from here on; times of those that were answered`}><${Table} label="By host" columns=${hosts} rows=${byHost(rows)} keyOf=${(row) => row.host} /></${Section}>
			<${Section} title="Responses"><${Table} label="Responses" columns=${columns} rows=${rows.slice(0, SHOWN)} keyOf=${(row) => `${row.run_id} ${row.attempt}`} link=${(row) => href(['run', row.run_id])} /></${Section}>
			<${Pager} first=${wanted.page} next=${last && JSON.stringify([last.run_id, last.attempt])} /></div>`;
	}}</${Loaded}>`;
}

// --- what has no response ------------------------------------------------------

const inFlight = [
	{ name: 'job', title: 'Job', cell: (run) => run.job_name },
	{ name: 'attempt', title: 'Attempt', right: true, cell: (run) => number(run.attempt) },
	{ name: 'for', title: 'For', right: true, cell: (run) => html`<${Elapsed} since=${run.started_at} />` },
];

const failures = [
	{ name: 'why', title: 'Reason', kind: 'name', cell: (row) => reason(row.reason) },
	{ name: 'n', title: 'Runs', right: true, cell: (row) => number(row.n) },
	{ name: 'last', title: 'Last', kind: 'message', cell: (row) => html`<a href=${href(['run', row.last.run_id])}>${row.last.job_name}</a> <span class="note"><${Time} value=${row.last.finished_at} /></span><br /><span class="why">${firstLine(row.last.error)}</span>` },
];

const OF_HTTP = new Set(['http_status', 'network', 'tls', 'egress_refused', 'bad_request', 'channel_refused', 'smtp_status']);

// What runs and is with none of the workers is with the process that sends requests. Of runs
// that failed the newest are looked at: there is no index by reason.
async function others(stop) {
	const [running, workers, failed] = await Promise.all([
		get('running', { select: 'run_id,job_name,attempt,started_at,worker_pid', order: 'started_at', limit: 1000 }, { signal: stop }),
		get('workers', { select: 'pid', pid: 'not.is.null', limit: 1000 }, { signal: stop }),
		get('runs', { select: 'run_id,job_name,reason,error,finished_at', status: 'eq.failed', order: 'run_id.desc', limit: FAILED }, { signal: stop })]);
	const pids = new Set(workers.map(({ pid }) => pid));
	const ours = failed.filter((run) => OF_HTTP.has(run.reason));
	return { live: running.filter((run) => run.worker_pid !== null && !pids.has(run.worker_pid)), looked: failed.length,
		failed: countBy(ours, (run) => run.reason).map(([why, n]) => ({ reason: why, n, last: ours.find((run) => run.reason === why) })) };
}

function Others() {
	const live = useLive(others, [], 5);
	return html`<${Loaded} live=${live}>${(data) => html`<div class="grid"><div class="half"><${Section} title="Under way"><${Table} label="Under way" columns=${inFlight} rows=${data.live.slice(0, 20)} keyOf=${(run) => run.run_id} link=${(run) => href(['run', run.run_id])}
			empty=${html`<${Empty}>No request is under way.</${Empty}>`} /></${Section}></div>
		<div class="half"><${Section} title="Failures by reason" note=${data.looked > 0 ? `of the newest ${plural(data.looked, 'failed run')}` : undefined}><${Table} label="Failures by reason" columns=${failures} rows=${data.failed} keyOf=${(row) => row.reason}
			empty=${html`<${Empty}>None of them was a request.</${Empty}>`} /></${Section}></div></div>`}</${Loaded}>`;
}

export function Http() {
	const { query: wanted } = route.value;
	return html`<${Page} title="HTTP"><div class="stack"><${Others} />
	<${Filters}><${Search} name="job" label="Job" slash /><${Choice} name="status" label="Status" options=${[['200', '2xx: success'], ['300', '3xx'], ['400', '4xx'], ['500', '5xx']].map(([value, label]) => ({ value, label }))} /></${Filters}>
	<${Responses} wanted=${wanted} /></div></${Page}>`;
}
