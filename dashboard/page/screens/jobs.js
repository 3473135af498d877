// Jobs: all of them, by name, with what becomes of them.

import { useRef } from 'preact/hooks';
import { html } from '../lib/html.js';
import { call, contains, get, quote } from '../lib/api.js';
import { duration } from '../lib/format.js';
import { placeOf } from '../lib/given.js';
import { useKeys } from '../lib/keys.js';
import { useLive } from '../lib/live.js';
import { may, mayAny } from '../lib/me.js';
import { go, href, route } from '../lib/route.js';
import { Act, act, ask, confirm } from '../parts/act.js';
import { Choice, Filters, Pager, Search } from '../parts/filters.js';
import { Empty, Loaded, Page } from '../parts/page.js';
import { Status, Strip } from '../parts/status.js';
import { Selection, Table, useSelected } from '../parts/table.js';
import { Time } from '../parts/time.js';

const ROWS = 50;
const SELECT = 'job_id,name,owner,kind,schedule,timezone,after,queue,state,state_reason,next_run_at,last_status,last_started_at,last_duration_ms,last_run_id,consecutive_failures,recent,enabled';

// View jobs_by_name is in the order of name and id by itself; to ask for the order would make
// it slow. `page` is name and id of the last row of the page before.
function query({ name, owner, kind, state, queue, last, page }) {
	const and = [];
	const [after, id] = placeOf(page, ['string', 'number']) ?? [];
	if (after !== undefined)
		and.push(`(name.gte.${quote(after)},or(name.gt.${quote(after)},job_id.gt.${id}))`);
	return { select: SELECT, limit: ROWS + 1, ...(and.length > 0 && { and }),
		...(name && { name: contains(name) }), ...(owner && { owner: `eq.${owner}` }), ...(kind && { kind: `eq.${kind}` }), ...(state && { state: `eq.${state}` }),
		...(queue && { queue: `eq.${queue}` }), ...(last && { last_status: `eq.${last}` }) };
}

const jobArgs = (job) => ({ job_id: job.job_id });

export async function pauseJob(job) {
	const values = await ask({ title: `Pause ${job.name}`, label: 'Pause', body: 'No run of it starts until it is resumed; running ones finish.', fields: [{ name: 'reason', label: 'Reason', hint: 'Others read it in the list.' }] });
	if (values !== null)
		await act(() => call('pause_job', { ...jobArgs(job), reason: values.reason }), `${job.name} is paused`);
}

export const resumeJob = (job) => act(() => call('resume_job', jobArgs(job)), `${job.name} goes on`);

export async function dropJob(job) {
	if (await confirm(`Drop ${job.name}`, { body: 'Queued runs are cancelled, running ones finish. History stays.' }))
		return act(() => call('drop_job', jobArgs(job)), `${job.name} is dropped`);
	return false;
}

const When = ({ job }) => job.schedule ? html`<code>${job.schedule}</code>${job.timezone && job.timezone !== 'UTC' && html`<br /><span class="note zone">${job.timezone}</span>`}`
	: job.after?.length > 0 ? html`<span class="note">after ${job.after.join(', ')}</span>` : html`<span class="note">on demand</span>`;

const columns = [
	{ name: 'name', title: 'Job', cell: (job) => job.name },
	{ name: 'state', title: 'State', cell: (job) => html`<${Status} status=${job.state} /> ${job.state_reason && html`<span class="why">${job.state_reason}</span>`}` },
	{ name: 'when', title: 'When', narrow: 'hide', kind: 'schedule', cell: (job) => html`<${When} job=${job} />` },
	{ name: 'recent', title: 'Last 20', cell: (job) => html`<${Strip} recent=${job.recent} />` },
	{ name: 'last', title: 'Last run', kind: 'tight', cell: (job) => job.last_run_id ? html`<a href=${href(['run', job.last_run_id])}><${Status} status=${job.last_status} /></a> <${Time} value=${job.last_started_at} />` : html`<span class="none">–</span>` },
	{ name: 'took', title: 'Took', right: true, narrow: 'hide', cell: (job) => duration(job.last_duration_ms) },
	{ name: 'next', title: 'Next', kind: 'tight', cell: (job) => html`<${Time} value=${job.next_run_at} />` },
	{ name: 'owner', title: 'Owner', narrow: 'hide', cell: (job) => html`<span class="note">${job.owner}</span>` },
];

// Slow: with very many jobs a filter may take long. Then the list of before stays, and
// one can go back to it; what is under way is given up.
function Slow({ live, wanted }) {
	const good = useRef({});
	if (!live.old && live.data !== undefined)
		good.current = wanted;
	if (!live.old || live.error)
		return null;
	return html`<p class="slow" role="status"><span>Looking through the jobs…</span><button class="small" onClick=${() => go('jobs', good.current === wanted ? {} : good.current, { replace: true })}>Cancel</button></p>`;
}

const keyOf = (job) => job.job_id;
const FILTERS = ['name', 'owner', 'kind', 'state', 'queue', 'last'];

export function Jobs() {
	const { query: wanted } = route.value;
	const live = useLive((stop) => get('jobs_by_name', query(wanted), { signal: stop }), [JSON.stringify(wanted)], 5);
	const rows = (live.data ?? []).slice(0, ROWS);
	const last = live.data?.length > ROWS ? rows.at(-1) : undefined;
	const { selected, setSelected, those } = useSelected(rows, keyOf, JSON.stringify(wanted));
	const chosen = those.filter((job) => may(job.owner));
	const each = (action, done) => act(() => Promise.all(chosen.map(action)), `${done}: ${chosen.map((job) => job.name).join(', ')}`);
	useKeys(mayAny() ? { c: ['New job', () => go(['job', 'new'])] } : {});
	const filtered = FILTERS.some((name) => wanted[name]);

	return html`<${Page} title="Jobs" actions=${mayAny() && html`<a class="button primary" href=${href(['job', 'new'])}>New job</a>`}>
	<${Filters}><${Search} name="name" label="Search names" slash /><${Choice} name="state" label="State" options=${['active', 'paused', 'disabled', 'completed', 'invalid', 'asleep']} />
		<${Choice} name="kind" label="Kind" options=${['sql', 'function', 'http', 'steps']} /><${Choice} name="last" label="Last run" options=${['succeeded', 'failed', 'timed_out', 'cancelled', 'lost', 'running']} />
		<${Search} name="owner" label="Owner" /><${Search} name="queue" label="Queue" /></${Filters}>
	<${Selection} selected=${selected} setSelected=${setSelected}>
		<${Act} label="Trigger" run=${() => each((job) => call('trigger', jobArgs(job)), 'triggered')} when=${chosen.length > 0} />
		<${Act} label="Pause" run=${() => each((job) => call('pause_job', jobArgs(job)), 'paused')} when=${chosen.length > 0} />
		<${Act} label="Resume" run=${() => each((job) => call('resume_job', jobArgs(job)), 'resumed')} when=${chosen.length > 0} />
		${chosen.length === 0 && html`<span class="note">These are not yours to manage.</span>`}</${Selection}>
	<${Slow} live=${live} wanted=${wanted} />
	<${Loaded} live=${live}>${() => html`<${Table} label="Jobs" order=${{ name: 'name' }} columns=${columns} rows=${rows} keyOf=${keyOf} link=${(job) => href(['job', job.job_id])} named=${(job) => job.name}
		selected=${rows.some((job) => may(job.owner)) ? selected : undefined} setSelected=${setSelected}
		empty=${filtered ? html`<${Empty}>No job is like that. <a href=${href('jobs')}>Show all</a></${Empty}>`
			: html`<${Empty} code=${"SELECT jobsched.create_job('hello', '*/10 * * * * *', 'SELECT 1');"}>There are no jobs yet that you may see. Make one here, or in SQL:</${Empty}>`} />
		<${Pager} first=${wanted.page} next=${last && JSON.stringify([last.name, last.job_id])} />`}</${Loaded}></${Page}>`;
}
