// Workflows: runs of jobs made of steps, and batches, newest first, with how far they are.

import { html } from '../lib/html.js';
import { among, get } from '../lib/api.js';
import { percent } from '../lib/format.js';
import { idOf } from '../lib/given.js';
import { useLive } from '../lib/live.js';
import { href, route } from '../lib/route.js';
import { Choice, Filters, Pager, Search, Several } from '../parts/filters.js';
import { Empty, Loaded, Page } from '../parts/page.js';
import { STATUSES, Took, why } from '../parts/runs.js';
import { Shares } from '../parts/shares.js';
import { Status } from '../parts/status.js';
import { Table } from '../parts/table.js';
import { Time } from '../parts/time.js';
import { list, useJobNames } from './runs.js';

const ROWS = 40;
const SELECT = 'run_id,job_id,workflow,owner,kind,status,reason,total,waiting,queued,running,retrying,succeeded,failed,timed_out,lost,cancelled,skipped,progress,queued_at,started_at,finished_at,duration_ms,current_step,current_run_id,first_failed_step,first_failed_run_id';

const query = ({ kind, status, job, job_id: id, page }) => ({ select: SELECT, order: 'run_id.desc', limit: ROWS + 1, ...(idOf(page) && { run_id: `lt.${page}` }),
	...(kind && { kind: `eq.${kind}` }), ...(status && { status: among(list(status)) }), ...(job && { workflow: `eq.${job}` }), ...(id && { job_id: `eq.${id}` }) });

const StepLink = ({ run, name }) => run === null ? html`<span class="none">–</span>` : html`<a href=${href(['run', run])}><bdi>${name ?? `run ${run}`}</bdi></a>`;

const columns = [
	{ name: 'run_id', title: 'Run', cell: (row) => row.run_id },
	{ name: 'workflow', title: 'Workflow', kind: 'name', cell: (row) => html`<a href=${href(['job', row.job_id])}><bdi>${row.workflow}</bdi></a> ${row.kind === 'batch' && html`<span class="tag">batch</span>`}` },
	{ name: 'status', title: 'Status', kind: 'state', cell: (row) => html`<${Status} status=${row.status} why=${row.reason === 'waiting_for_children' ? undefined : why(row)} />` },
	{ name: 'progress', title: 'Progress', kind: 'progress-cell', cell: (row) => row.total > 0 ? html`<div class="far"><${Shares} counts=${row} /><span class="note">${percent(row.progress)} of ${row.total}</span></div>` : html`<span class="none">not begun</span>` },
	{ name: 'current', title: 'Now at', cell: (row) => html`<${StepLink} run=${row.current_run_id} name=${row.current_step} />` },
	{ name: 'failed', title: 'Failed first', cell: (row) => html`<${StepLink} run=${row.first_failed_run_id} name=${row.first_failed_step} />` },
	{ name: 'queued', title: 'Queued', narrow: 'hide', cell: (row) => html`<${Time} value=${row.queued_at} />` },
	{ name: 'took', title: 'Took', right: true, cell: (row) => html`<${Took} run=${row} />` },
];

export function Workflows() {
	const { query: wanted } = route.value;
	const live = useLive((stop) => get('workflows', query(wanted), { signal: stop }), [JSON.stringify(wanted)], 5);
	const names = useJobNames(wanted.job);
	const rows = (live.data ?? []).slice(0, ROWS);
	const filtered = ['kind', 'status', 'job', 'job_id'].some((name) => wanted[name]);
	return html`<${Page} title="Workflows">
	<${Filters}><${Several} name="status" label="Status" options=${STATUSES.filter((status) => status !== 'retrying')} />
		<${Search} name="job" label="Workflow" slash offers=${names} clears=${['page', 'job_id']} /><${Choice} name="kind" label="Kind" options=${[{ value: 'steps', label: 'steps' }, { value: 'batch', label: 'batches' }]} />
		${filtered && html`<a href=${href('workflows')}>Clear all</a>`}</${Filters}>
	<${Loaded} live=${live}>${() => html`<div class="runs"><${Table} label="Workflows" columns=${columns} rows=${rows} keyOf=${(row) => row.run_id} link=${(row) => href(['run', row.run_id])}
			empty=${filtered ? html`<${Empty}>No workflow is like that. <a href=${href('workflows')}>Show all</a></${Empty}>`
				: html`<${Empty} code=${"SELECT jobsched.create_job('etl', steps => '[{\"name\": \"extract\", \"command\": \"SELECT 1\"}, {\"name\": \"load\", \"command\": \"SELECT 2\", \"after\": [\"extract\"]}]');\nSELECT jobsched.trigger('etl');"}>There are no workflow runs yet. A job can be made of steps:</${Empty}>`} /></div>
		<${Pager} first=${wanted.page} next=${live.data.length > ROWS && String(rows.at(-1).run_id)} />`}</${Loaded}></${Page}>`;
}
