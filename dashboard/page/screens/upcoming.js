// Upcoming: what comes in the next hours, in order, and how crowded it gets.
//   #/upcoming?hours=24&job=NAME
// At most 500 rows of the view, and 2,000 entries of them. Of a schedule the view knows five
// slots; what comes after them is only assumed, and drawn paler. Of one job all are asked for.

import { html } from '../lib/html.js';
import { get, read } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { duration, number, plural, short } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { zone } from '../lib/prefs.js';
import { href, route } from '../lib/route.js';
import { crowd, density, entriesOf, goesOn, groups } from '../lib/slots.js';
import { Choice, Filters, Search } from '../parts/filters.js';
import { Empty, Loaded, Page, Section } from '../parts/page.js';
import { Status } from '../parts/status.js';
import { absolute, Time } from '../parts/time.js';

const ROWS = 500;
const ENTRIES = 2000;
const LISTED = 500;
const MINUTE = 60000;
// hours: [name, minutes of a bar, minutes of a group]
const SPANS = { 1: ['1 hour', 1, 1], 6: ['6 hours', 5, 10], 24: ['24 hours', 10, 60] };
const SELECT = 'run_at,job_id,job_name,owner,source,run_id,schedule,timezone,next_runs';

// All slots of few jobs, as the view has only five.
async function allSlots(rows, until, stop) {
	const budget = Math.floor(ENTRIES / Math.max(1, rows.length));
	return Promise.all(rows.map(async (row) => goesOn(row, until) === undefined ? row
		: { ...row, next_runs: [row.run_at, ...await read('next_runs', { schedule: row.schedule, timezone: row.timezone, from: row.run_at, n: budget }, { signal: stop })] }));
}

async function load(hours, job, stop) {
	const from = now.peek();
	const until = from + hours * 60 * MINUTE;
	const rows = await get('upcoming', { select: SELECT, run_at: `lt.${new Date(until).toISOString()}`, ...(job && { job_name: `eq.${job}` }), order: 'run_at', limit: ROWS + 1 }, { signal: stop });
	const shown = rows.slice(0, ROWS);
	return { from, until, rows: job && shown.length <= 5 ? await allSlots(shown, until, stop) : shown, more: rows.length > ROWS };
}

const utc = () => zone.value === 'UTC';
const clock = (at) => absolute(at, { seconds: false }).slice(11, 16);
const day = (at) => absolute(at, { seconds: false }).slice(0, 10);

// --- the strip ------------------------------------------------------------------------

const HEIGHT = 64;

// Density: a bar leads to its place in the list.
function Density({ spans, width, first }) {
	const high = Math.max(1, ...spans.map(({ known, assumed }) => known + assumed));
	const most = spans.reduce((best, one) => one.known + one.assumed > best.known + best.assumed ? one : best);
	const scale = (n) => n === 0 ? 0 : Math.max(2, HEIGHT * n / high);
	const step = 100 / spans.length;
	return html`<figure class="chart density"><figcaption><span>How many in ${duration(width)}</span><span class="note">most: ${number(most.known + most.assumed)} from ${clock(most.at)}</span></figcaption>
		<svg viewBox=${`0 0 100 ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${`How crowded it gets: at most ${most.known + most.assumed} in ${duration(width)}, from ${clock(most.at)}`}>
		${spans.map(({ at, known, assumed }, i) => html`<g key=${at}><title>${clock(at)}: ${number(known)}${assumed > 0 ? `, and some ${number(assumed)} more` : ''}</title><rect class="back" x=${i * step} width=${step * 0.86} y="0" height=${HEIGHT} />
			${assumed > 0 && html`<rect class="assumed" x=${i * step} width=${step * 0.86} y=${HEIGHT - scale(known + assumed)} height=${scale(known + assumed)} />`}
			${known > 0 && html`<rect class="known" x=${i * step} width=${step * 0.86} y=${HEIGHT - scale(known)} height=${scale(known)} />`}</g>`)}</svg>
		<div class="times" aria-hidden="true">${[0, 1, 2, 3].map((part) => html`<span key=${part}>${clock(first + part * spans.length * width / 4)}</span>`)}</div>
		${spans.some(({ assumed }) => assumed > 0) && html`<p class="maplegend note"><span class="key known"></span>known<span class="key assumed"></span>if schedules go on as they begin</p>`}</figure>`;
}

// --- the list -------------------------------------------------------------------------

// Of its slots n are in the group; the last that is known has more after it.
function Entry({ row, at, n, last, until }) {
	const more = goesOn(row, until)?.last === last;
	return html`<tr><td class="tight">${clock(at)}<span class="note">:${absolute(at).slice(17, 19)}</span></td><td><a class="row" href=${row.run_id ? href(['run', row.run_id]) : href(['job', row.job_id])}>${row.job_name ?? `job ${row.job_id}`}</a>${(n > 1 || more) && html` <span class="tag">${short(n)}${more ? ' and more' : ' times'}</span>`}</td>
		<td>${row.run_id ? html`<${Status} status="queued" /> <span class="note">${row.source}, run ${row.run_id}</span>` : html`<code>${row.schedule}</code>${row.timezone && row.timezone !== 'UTC' && html` <span class="note">${row.timezone}</span>`}`}</td>
		<td class="hide note">${row.owner}</td><td class="right"><${Time} value=${new Date(at).toISOString()} /></td></tr>`;
}

const Group = ({ at, entries, width, until }) => html`<tbody><tr class="group"><th scope="rowgroup" colspan="5">${width === MINUTE ? clock(at) : `${clock(at)} to ${clock(at + width)}`} <span class="note">${day(at)}, ${plural(entries.length, 'slot')}</span></th></tr>
	${crowd(entries).map((one) => html`<${Entry} key=${one.key} ...${one} until=${until} />`)}</tbody>`;

// As many groups as there is room for.
function listed(entries, width) {
	let room = LISTED;
	const all = groups(entries, width);
	return { all, shown: all.filter((group, i) => { room -= crowd(group.entries).length; return i === 0 || room >= 0; }) };
}

function Agenda({ entries, width, until }) {
	const { all, shown } = listed(entries, width);
	return html`<div class="table agenda" tabindex="-1"><table aria-label="Upcoming"><thead><tr><th scope="col">At</th><th scope="col">Job</th><th scope="col">What</th><th scope="col" class="hide">Owner</th><th scope="col" class="right">In</th></tr></thead>
		${shown.map((group) => html`<${Group} key=${group.at} ...${group} width=${width} until=${until} />`)}</table></div>${shown.length < all.length && html`<p class="note cut">Until ${clock(shown.at(-1).at + width)} is listed. Choose a shorter time, or a job, to see what comes after.</p>`}`;
}

function Found({ data: { from, until, rows, more }, hours, filtered }) {
	const [, bar, group] = SPANS[hours];
	const { entries, all } = entriesOf(rows, until, ENTRIES);
	if (entries.length === 0)
		return html`<${Empty}>${filtered ? html`Nothing of this job comes in this time. <a href=${href('upcoming')}>Show all</a>` : html`Nothing comes in this time. Jobs with a schedule have slots here, and so have queued runs. <a href=${href(['job', 'new'])}>New job</a>`}</${Empty}>`;
	const first = Math.floor(from / (bar * MINUTE)) * bar * MINUTE;
	const n = Math.round(hours * 60 / bar);
	const spans = density(all, rows, first, first + n * bar * MINUTE, n);
	return html`<${Section}><${Density} spans=${spans} width=${bar * MINUTE} first=${first} /></${Section}>
		${(more || entries.length < all.length) && html`<p class="note cut">${more ? `More than ${number(ROWS)} jobs and runs are to come: the soonest ${number(ROWS)} are shown.` : `The soonest ${number(ENTRIES)} slots are listed.`}</p>`}
		${!filtered && rows.some((row) => goesOn(row, until)) && html`<p class="note cut">Of a schedule the next five slots are listed. Give a job's name to see all of its.</p>`}
		<${Agenda} entries=${entries} width=${group * MINUTE} until=${until} />`;
}

export function Upcoming() {
	const { query } = route.value;
	const hours = Object.hasOwn(SPANS, query.hours ?? '') ? Number(query.hours) : 24;
	const live = useLive((stop) => load(hours, query.job, stop), [hours, query.job], 15);
	return html`<${Page} title="Upcoming" sub=${`Slots and queued runs, in ${utc() ? 'UTC' : 'local time'}`}>
		<${Filters}><${Search} name="job" label="Job's whole name" slash clears=${[]} /><${Choice} name="hours" label="In the next" standard="24" all=${null} clears=${[]} options=${Object.entries(SPANS).map(([value, [name]]) => ({ value, label: name })).reverse()} /></${Filters}>
		<${Loaded} live=${live}>${(data) => html`<${Found} data=${data} hours=${hours} filtered=${Boolean(query.job)} />`}</${Loaded}></${Page}>`;
}
