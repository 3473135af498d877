// Queues and limits: how many may run at once and how often they may start, and who waits.

import { html } from '../lib/html.js';
import { call, contains, get, one } from '../lib/api.js';
import { interval, number, plural } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { may, mayAny, me } from '../lib/me.js';
import { href, route } from '../lib/route.js';
import { Act, act, askAct, confirm } from '../parts/act.js';
import { Bar } from '../parts/chart.js';
import { Filters, Search } from '../parts/filters.js';
import { Empty, Loaded, Page, Section } from '../parts/page.js';
import { Status } from '../parts/status.js';
import { Table } from '../parts/table.js';

const ROWS = 200;

const query = (name, { name: text, owner }) => ({ order: `${name},owner`, limit: ROWS + 1, ...(text && { [name]: contains(text) }), ...(owner && { owner: `eq.${owner}` }) });

// --- what both have ------------------------------------------------------------

const limits = (row = {}) => [
	{ name: 'max_running', label: 'At once', type: 'number', value: row.max_running, hint: 'How many may run at the same time. Empty: no limit.', more: { min: 1, max: 10000 } },
	{ name: 'rate', label: 'How often', type: 'number', value: row.rate, hint: 'How many may start in the time below. Empty: no limit.', more: { min: 1, max: 1000000 } },
	{ name: 'per', label: 'in', value: row.per, placeholder: '1 minute', hint: 'An interval, such as 1 second or 1 hour.' },
	{ name: 'burst', label: 'Burst', type: 'number', value: row.burst, hint: 'How many may start at once after a pause. Empty: 1, they come evenly.', more: { min: 1, max: 1000000 } },
];
const ownerField = () => ({ name: 'owner', label: 'Owner', value: me.value.role, required: true, hint: 'Limits are for jobs of one role.' });

const Places = ({ row, of }) => of === null ? html`<span>${number(row.running)} <span class="note">of any number</span></span>`
	: html`<span class="places"><span>${number(row.running)} of ${number(of)}</span><${Bar} share=${row.running / of} words=${`${number(row.running)} of ${number(of)} places used`} tone=${row.running >= of ? 'warn' : 'busy'} /></span>`;

const Rate = ({ row }) => row.rate === null ? html`<span class="none">–</span>` : html`<span>${number(row.rate)} in ${interval(row.per)}${row.burst > 1 && html` <span class="note">burst ${number(row.burst)}</span>`}</span>`;

// --- queues --------------------------------------------------------------------

const queueArgs = ({ name, owner, max_running, rate, per: time, burst, paused }) => ({ name, owner, max_running, rate, per: time, burst, paused });

const newQueue = () => askAct({ title: 'Limit a queue', label: 'Set', body: 'A job names its queue; a queue without limits needs no entry here.',
	fields: [{ name: 'name', label: 'Queue', required: true }, ...limits(), { name: 'paused', label: 'paused', type: 'checkbox' }, ownerField()],
	run: (values) => call('set_queue', values), done: (answer, { name }) => `queue ${name} has its limits` });

const editQueue = (row) => askAct({ title: `Limits of queue ${row.name}`, label: 'Set', fields: [...limits(row), { name: 'paused', label: 'paused', type: 'checkbox', value: row.paused }],
	run: (values) => call('set_queue', { name: row.name, owner: row.owner, ...values }), done: `queue ${row.name} has its limits` });

// Its limits as they are by then, not as they were when the list was made.
async function setPaused({ name, owner }, paused) {
	const row = await one('queues', { name: `eq.${name}`, owner: `eq.${owner}` });
	if (row === undefined)
		throw new Error(`queue ${name} has no limits any more`);
	return call('set_queue', queueArgs({ ...row, paused }));
}

async function pauseQueue(row, paused) {
	if (!paused || await confirm(`Pause queue ${row.name}`, { label: 'Pause', body: 'None of its runs starts until it is resumed; those that run go on.' }))
		await act(() => setPaused(row, paused), paused ? `queue ${row.name} is paused` : `queue ${row.name} goes on`);
}

async function dropQueue(row) {
	if (await confirm(`Drop the limits of queue ${row.name}`, { label: 'Drop', body: 'Jobs that name it run without them.' }))
		await act(() => call('drop_queue', { name: row.name, owner: row.owner }), `queue ${row.name} has no limits any more`);
}

const queueColumns = [
	{ name: 'name', title: 'Queue', cell: (row) => row.name },
	{ name: 'state', title: 'State', cell: (row) => html`<${Status} status=${row.paused ? 'paused' : 'active'} />` },
	{ name: 'places', title: 'Running', cell: (row) => html`<${Places} row=${row} of=${row.max_running} />` },
	{ name: 'rate', title: 'Rate', kind: 'tight', cell: (row) => html`<${Rate} row=${row} />` },
	{ name: 'waiting', title: 'Waiting', right: true, cell: (row) => row.waiting > 0 ? html`<span class="tone warn">${number(row.waiting)}</span>` : '0' },
	{ name: 'owner', title: 'Owner', narrow: 'hide', cell: (row) => html`<span class="note">${row.owner}</span>` },
	{ name: 'act', title: html`<span class="sr">Actions</span>`, right: true, cell: (row) => html`<span class="acts"><${Act} small label=${row.paused ? 'Resume' : 'Pause'} when=${may(row.owner)} run=${() => pauseQueue(row, !row.paused)} />
		<${Act} small label="Change" when=${may(row.owner)} run=${() => editQueue(row)} /><${Act} small label="Drop" kind="danger" when=${may(row.owner)} run=${() => dropQueue(row)} /></span>` },
];

// --- limits of keys ------------------------------------------------------------

const newLimit = () => askAct({ title: 'Limit the keys of a class', label: 'Set', body: 'Each key of the class has these limits by itself: with class user, each user.',
	fields: [{ name: 'key_class', label: 'Class', required: true, hint: 'What is before the colon in the keys of jobs and runs.' }, ...limits(), ownerField()],
	run: (values) => call('set_limit', values), done: (answer, { key_class: name }) => `keys of class ${name} have their limits` });

const editLimit = (row) => askAct({ title: `Limits of keys ${row.key_class}`, label: 'Set', body: 'Each key of the class has these limits by itself.', fields: limits(row),
	run: (values) => call('set_limit', { key_class: row.key_class, owner: row.owner, ...values }), done: `keys of class ${row.key_class} have their limits` });

async function dropLimit(row) {
	if (await confirm(`Drop the limits of keys ${row.key_class}`, { label: 'Drop', body: 'Runs with such keys are not limited by them any more.' }))
		await act(() => call('drop_limit', { key_class: row.key_class, owner: row.owner }), `keys of class ${row.key_class} have no limits any more`);
}

const limitColumns = [
	{ name: 'name', title: 'Class', kind: 'name', cell: (row) => row.key_class },
	{ name: 'each', title: 'Each key at once', right: true, cell: (row) => row.max_running === null ? html`<span class="none">–</span>` : number(row.max_running) },
	{ name: 'rate', title: 'Each key\'s rate', kind: 'tight', cell: (row) => html`<${Rate} row=${row} />` },
	{ name: 'keys', title: 'Keys now', right: true, cell: (row) => number(row.keys) },
	{ name: 'running', title: 'Running', right: true, cell: (row) => number(row.running) },
	{ name: 'waiting', title: 'Waiting', right: true, cell: (row) => row.waiting > 0 ? html`<span class="tone warn">${number(row.waiting)}</span>` : '0' },
	{ name: 'owner', title: 'Owner', narrow: 'hide', cell: (row) => html`<span class="note">${row.owner}</span>` },
	{ name: 'act', title: html`<span class="sr">Actions</span>`, right: true, cell: (row) => html`<span class="acts"><${Act} small label="Change" when=${may(row.owner)} run=${() => editLimit(row)} />
		<${Act} small label="Drop" kind="danger" when=${may(row.owner)} run=${() => dropLimit(row)} /></span>` },
];

// --- the screen ----------------------------------------------------------------

const More = ({ rows, what }) => rows.length > ROWS && html`<p class="note more">These are the first ${plural(ROWS, what)}. Narrow them by name or owner.</p>`;

export function Queues() {
	const { query: wanted } = route.value;
	const key = JSON.stringify(wanted);
	const queues = useLive((stop) => get('queues', query('name', wanted), { signal: stop }), [key], 5);
	const keys = useLive((stop) => get('limits', query('key_class', wanted), { signal: stop }), [key], 5);
	const allowed = mayAny();
	const filtered = wanted.name || wanted.owner;
	const none = html`<${Empty}>None is like that. <a href=${href('queues')}>Show all</a></${Empty}>`;
	return html`<${Page} title="Queues and limits"><${Filters}><${Search} name="name" label="Search names" slash /><${Search} name="owner" label="Owner" /></${Filters}>
	<div class="stack"><${Section} title="Queues" actions=${html`<${Act} small icon="plus" label="Limit a queue" when=${allowed} run=${newQueue} />`}><${Loaded} live=${queues}>${(rows) => html`<${Table} label="Queues" columns=${queueColumns} rows=${rows.slice(0, ROWS)}
			keyOf=${(row) => `${row.owner} ${row.name}`} link=${(row) => href('jobs', { queue: row.name, owner: row.owner })}
			empty=${filtered ? none : html`<${Empty} code="SELECT jobsched.set_queue('reports', max_running => 2);">No queue has limits. A queue is a name that jobs share; with limits only so many of its runs go at once, or start in a minute.</${Empty}>`} /><${More} rows=${rows} what="queue" />`}</${Loaded}></${Section}>
	<${Section} title="Limits of keys" actions=${html`<${Act} small icon="plus" label="Limit keys" when=${allowed} run=${newLimit} />`}><${Loaded} live=${keys}>${(rows) => html`<${Table} label="Limits of keys" columns=${limitColumns} rows=${rows.slice(0, ROWS)}
			keyOf=${(row) => `${row.owner} ${row.key_class}`}
			empty=${filtered ? none : html`<${Empty} code="SELECT jobsched.set_limit('user', max_running => 1, rate => 10, per => '1 minute');">No keys have limits. A run has keys, such as user:42; a limit is for each key of a class.</${Empty}>`} /><${More} rows=${rows} what="class" />`}</${Loaded}></${Section}></div></${Page}>`;
}
