// Secrets: their names. A value goes to the database and never comes back.

import { html } from '../lib/html.js';
import { secretsIn, users } from '../lib/alerts.js';
import { call, contains, get } from '../lib/api.js';
import { useLive } from '../lib/live.js';
import { may, mayAny, me } from '../lib/me.js';
import { href, route, setQuery } from '../lib/route.js';
import { Act, act, askAct, confirm } from '../parts/act.js';
import { Filters, Search } from '../parts/filters.js';
import { Empty, Loaded, Page } from '../parts/page.js';
import { Table } from '../parts/table.js';
import { Time } from '../parts/time.js';

const ROWS = 200;
const LOOKED_AT = 500;

const value = { name: 'value', label: 'Value', type: 'password', required: true, hint: '4 to 7000 bytes. It is not shown to anybody again.' };

const newSecret = () => askAct({ title: 'Set a secret', label: 'Set', fields: [{ name: 'name', label: 'Name', required: true, hint: 'Letters, digits, _, . and -. Requests name it as {{secret.NAME}}.' }, value, { name: 'owner', label: 'Owner', value: me.value.role, required: true, hint: 'The role whose jobs may use it.' }],
	run: (values) => call('set_secret', values), done: (answer, { name }) => `secret ${name} is set` });

const replaceSecret = (row) => askAct({ title: `Another value for ${row.name}`, label: 'Replace', body: 'Requests that are sent from now on have the new one.', fields: [value],
	run: (values) => call('set_secret', { name: row.name, owner: row.owner, ...values }), done: `secret ${row.name} has another value` });

async function dropSecret(row) {
	if (await confirm(`Drop secret ${row.name}`, { label: 'Drop', body: 'Requests, channels and hooks that need it fail.' }))
		await act(() => call('drop_secret', { name: row.name, owner: row.owner }), `secret ${row.name} is dropped`);
}

// What names secrets, as far as we may see it: channels, hooks, and jobs that call a URL.
async function things(stop) {
	const [channels, hooks, jobs] = await Promise.all([
		get('channels', { select: 'name,owner,url,template::text,headers::text,sign_with', order: 'owner,name', limit: LOOKED_AT }, { signal: stop }),
		get('hooks', { select: 'name,owner,secret', secret: 'not.is.null', order: 'name', limit: LOOKED_AT }, { signal: stop }),
		get('jobs', { select: 'job_id,name,owner,request::text,secret:request->>sign_with', kind: 'eq.http', order: 'job_id', limit: LOOKED_AT }, { signal: stop })]);
	return { cut: Math.max(channels.length, hooks.length, jobs.length) >= LOOKED_AT, found: [
		...channels.map(({ name, owner, url, template, headers, sign_with: secret }) => ({ name, owner, secret, text: [url, template, headers].join(' '), what: 'channel', to: href('alerts', { tab: 'channels' }) })),
		...hooks.map(({ name, owner, secret }) => ({ name, owner, secret, what: 'hook', to: href('alerts', { tab: 'hooks' }) })),
		...jobs.map(({ job_id: id, name, owner, request, secret }) => ({ name, owner, text: request, secret, what: 'job', to: href(['job', id]) })).filter((job) => job.secret || secretsIn(job.text).length > 0)] };
}

const Users = ({ row, found }) => {
	const those = users(found, row);
	return those.length === 0 ? html`<span class="none">nothing that is seen here</span>` : those.map(({ what, name, to }, i) => html`${i > 0 && ', '}${what} <a href=${to}>${name}</a>`);
};

const columns = (found) => [
	{ name: 'name', title: 'Secret', kind: 'name', cell: (row) => html`<strong>${row.name}</strong>` },
	...(found ? [{ name: 'used', title: 'Named by', cell: (row) => html`<${Users} row=${row} found=${found} />` }] : []),
	{ name: 'owner', title: 'Owner', cell: (row) => html`<span class="note">${row.owner}</span>` },
	{ name: 'made', title: 'Made', kind: 'tight', narrow: 'hide', cell: (row) => html`<${Time} value=${row.created_at} />` },
	{ name: 'changed', title: 'Changed', kind: 'tight', cell: (row) => html`<${Time} value=${row.updated_at} />` },
	{ name: 'act', title: html`<span class="sr">Actions</span>`, right: true, cell: (row) => may(row.owner) && html`<span class="acts"><${Act} small label="Replace" run=${() => replaceSecret(row)} /><${Act} small label="Drop" kind="danger" run=${() => dropSecret(row)} /></span>` },
];

const query = ({ name }) => ({ order: 'name,owner', limit: ROWS + 1, ...(name && { name: contains(name) }) });

export function Secrets() {
	const { query: wanted } = route.value;
	const looks = wanted.uses === 'shown';
	const live = useLive((stop) => get('secrets', query(wanted), { signal: stop }), [wanted.name], 15);
	const uses = useLive((stop) => looks ? things(stop) : Promise.resolve(undefined), [looks], 0);
	return html`<${Page} title="Secrets" sub="What requests need, and nobody is to read. Only names and dates are shown." actions=${html`<${Act} icon="plus" kind="primary" label="Set a secret" when=${mayAny()} run=${newSecret} />`}>
	<${Filters}><${Search} name="name" label="Search names" slash /><button type="button" aria-pressed=${looks} onClick=${() => setQuery({ uses: looks ? '' : 'shown' })}>${looks ? 'Hide' : 'Show'} what names them</button></${Filters}>
	${looks && uses.error && html`<${Loaded} live=${uses}>${() => null}</${Loaded}>`}
	<${Loaded} live=${live}>${(rows) => html`<${Table} label="Secrets" columns=${columns(looks ? uses.data?.found : undefined)} rows=${rows.slice(0, ROWS)} keyOf=${(row) => `${row.owner} ${row.name}`}
		empty=${wanted.name ? html`<${Empty}>None is like that. <a href=${href('secrets')}>Show all</a></${Empty}>` : html`<${Empty} code=${"SELECT jobsched.set_secret('slack', 'T000/B000/XXXX');"}>There are no secrets of yours. A URL, a header or a body names one as {{secret.NAME}}; jobs, logs and dumps have the name only.</${Empty}>`} />
		${looks && uses.data?.cut && html`<p class="note more">Of channels, hooks and HTTP jobs the first ${LOOKED_AT} were looked at.</p>`}${rows.length > ROWS && html`<p class="note more">These are the first ${ROWS}. Narrow them by name.</p>`}`}</${Loaded}></${Page}>`;
}
