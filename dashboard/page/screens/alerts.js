// Alerts, the channels that tell people, and the hooks by which others start jobs.

import { html } from '../lib/html.js';
import { conditions, definitions, fires, target } from '../lib/alerts.js';
import { call, get } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { firstLine, number, prettyJson } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { may, mayAny, me } from '../lib/me.js';
import { href, route } from '../lib/route.js';
import { Act, act, ask, askAct, confirm } from '../parts/act.js';
import { Icon } from '../parts/icon.js';
import { Code, Empty, Loaded, Page, Section } from '../parts/page.js';
import { Status } from '../parts/status.js';
import { Table } from '../parts/table.js';
import { Time } from '../parts/time.js';

const FIRING = 100;
const ROWS = 500;

const ownerField = { name: 'owner', label: 'Owner', required: true };
const own = () => ({ ...ownerField, value: me.value.role, hint: 'The role whose jobs and channels it is for.' });
const Owner = ({ row }) => html`<span class="note">${row.owner}</span>`;
const None = () => html`<span class="none">–</span>`;
const heading = (text) => html`<span class="sr">${text}</span>`;

// --- alerts --------------------------------------------------------------------

const UNTIL = [['1', 'for 1 hour'], ['8', 'for 8 hours'], ['24', 'for a day'], ['168', 'for a week'], ['infinity', 'for ever'], ['at', 'until the time below']].map(([value, label]) => ({ value, label }));
const ALL = 'all its jobs';
const scopes = ({ job }) => job ? [{ value: job, label: `only ${job}` }, { value: '', label: ALL }] : [{ value: '', label: ALL }];
const scope = (alert) => ({ name: 'job', label: 'Which jobs', type: 'select', options: scopes(alert), value: alert.job ?? '' });
const instant = ({ until, at }) => until === 'infinity' ? until : until === 'at' ? at : new Date(now.peek() + Number(until) * 3600000).toISOString();

function refuseNoTime({ until, at }) {
	if (until === 'at' && (at === null || Date.parse(at) <= now.peek()))
		throw new Error('the time has to be in the future');
}

const mute = (alert) => askAct({ title: `Mute ${alert.name}`, label: 'Mute', body: 'Nothing is told until then. What fires at the end is told.',
	fields: [{ name: 'until', label: 'How long', type: 'select', options: UNTIL, value: '1' }, { name: 'at', label: 'Time', type: 'datetime-local', hint: 'Local time, for the last choice.' }, scope(alert)],
	run: (values) => {
		refuseNoTime(values);
		return call('mute_alert', { name: alert.name, owner: alert.owner, until: instant(values), job: values.job });
	}, done: (answer, { job }) => `${alert.name} is muted${job ? ` for ${job}` : ''}` });

// One row may be muted by itself or with all others, so what is ended is asked.
const unmute = (alert) => askAct({ title: `Unmute ${alert.name}`, label: 'Unmute', body: 'What fires now and was not told is told.', fields: [scope(alert)],
	run: ({ job }) => call('mute_alert', { name: alert.name, owner: alert.owner, until: null, job }), done: `${alert.name} speaks again` });

const STATUSES = 'failed, timed_out, lost, cancelled, skipped, missed';
const interval = (name, label, row, hint, placeholder) => ({ name, label, value: row[name], hint, placeholder });

const alertFields = (row) => [
	{ name: 'channels', label: 'Channels', type: 'list', value: row.channels, required: true, hint: 'Who is told: names with commas between them.' },
	{ name: 'jobs', label: 'Jobs', type: 'list', value: row.jobs ?? ['*'], hint: 'Names; * stands for any characters.' },
	{ name: 'on_status', label: 'Fires when a run ends as', type: 'list', value: row.on_status ?? ['failed', 'timed_out', 'lost'], hint: `Of ${STATUSES}. Empty: the end does not matter, only what is below.` },
	{ name: 'threshold', label: 'so many times', type: 'number', value: row.threshold ?? 1, hint: 'With no success in between.', more: { min: 1 } },
	interval('within', 'within', row, 'Then a success in between does not matter. Empty: in a row.', '1 hour'),
	interval('no_success_for', 'Or has no success for', row, 'Since the last one, or since the job was made.', '1 day'),
	interval('late', 'Or starts later than', row, 'After its slot.', '5 minutes'),
	interval('waits_longer_than', 'Or waits longer than', row, 'It could start, and has no worker, or waits for a limit.', '10 minutes'),
	interval('runs_longer_than', 'Or runs longer than', row, undefined, '30 minutes'),
	interval('group_for', 'First message after', { group_for: row.group_for ?? '30 seconds' }, 'What happens meanwhile is in it. 0: at once.'),
	interval('repeat_every', 'Reminds each', row, 'As long as it fires. Empty: never.', '4 hours'),
	{ name: 'metadata', label: 'Only jobs whose metadata contains', type: 'json', value: row.metadata, placeholder: '{"team": "billing"}' },
	{ name: 'every_failure', label: 'tell each failure by itself', type: 'checkbox', value: row.every_failure },
	{ name: 'resolved', label: 'tell when it is over', type: 'checkbox', value: row.resolved ?? true },
];

// The function is given the whole definition: what is empty here is none, not the default.
const setAlert = (values) => call('set_alert', { ...values, channels: values.channels ?? [], on_status: values.on_status ?? [] });

const newAlert = () => askAct({ title: 'New alert', label: 'Make', wide: true, fields: [{ name: 'name', label: 'Name', required: true }, own(), ...alertFields({})],
	run: setAlert, done: (answer, { name }) => `alert ${name} is there` });
const editAlert = (row) => askAct({ title: `Change alert ${row.name}`, label: 'Change', wide: true, fields: alertFields(row),
	run: (values) => setAlert({ ...values, name: row.name, owner: row.owner }), done: `alert ${row.name} is changed` });

async function dropAlert(row) {
	if (await confirm(`Drop alert ${row.name}`, { label: 'Drop', body: 'It tells nothing any more, also not that what fires is over.' }))
		await act(() => call('drop_alert', { name: row.name, owner: row.owner }), `alert ${row.name} is dropped`);
}

const Muted = ({ row }) => row.muted_until ? html`<span class="status warn">muted</span> ${row.muted_until === 'infinity' ? html`<span class="note">for ever</span>` : html`<span class="note"><${Time} value=${row.muted_until} /></span>`}` : html`<${None} />`;

const firing = [
	{ name: 'job', title: 'Job', cell: (row) => row.job },
	{ name: 'condition', title: 'What', kind: 'tight', cell: (row) => html`<span class="status bad"><${Icon} name="bell" />${fires(row.condition)}</span>` },
	{ name: 'since', title: 'Since', kind: 'tight', cell: (row) => html`<${Time} value=${row.since} />` },
	{ name: 'count', title: 'Count', narrow: 'hide', right: true, cell: (row) => row.condition === 'failures' ? number(row.count) : html`<${None} />` },
	{ name: 'last', title: 'Last', kind: 'message', cell: (row) => row.last_run_id === null ? html`<${None} />` : html`<a href=${href(['run', row.last_run_id])}>${row.last_status ? row.last_status.replace('_', ' ') : `run ${row.last_run_id}`}</a> <span class="why">${firstLine(row.error)}</span>` },
	{ name: 'alert', title: 'Alert', narrow: 'hide', cell: (row) => html`${row.name}<br /><span class="note">to ${row.channels.join(', ')}</span>` },
	{ name: 'told', title: 'Told', narrow: 'hide', kind: 'tight', cell: (row) => html`<${Time} value=${row.last_sent} />${row.next_reminder && html`<br /><span class="note">again <${Time} value=${row.next_reminder} /></span>`}` },
	{ name: 'muted', title: 'Muted', kind: 'tight', cell: (row) => html`<${Muted} row=${row} />` },
	{ name: 'act', title: heading('Actions'), right: true, cell: (row) => html`<span class="acts"><${Act} small label="Mute" when=${may(row.owner) && !row.muted_until} run=${() => mute(row)} /><${Act} small label="Unmute" when=${may(row.owner) && row.muted_until} run=${() => unmute(row)} /></span>` },
];

const defined = [
	{ name: 'name', title: 'Alert', kind: 'name', cell: (row) => html`<strong>${row.name}</strong>` },
	{ name: 'state', title: 'State', kind: 'tight', cell: (row) => html`<${Status} status=${row.firing > 0 ? 'firing' : 'ok'} />${row.firing > 1 && html` <span class="note">${number(row.firing)}</span>`}` },
	{ name: 'jobs', title: 'Jobs', kind: 'name', cell: (row) => html`<code>${row.jobs.join(', ')}</code>${row.metadata && html` <span class="note">with ${row.metadata}</span>`}` },
	{ name: 'when', title: 'Fires when it', kind: 'message', cell: (row) => conditions(row).map((text) => html`<div>${text}</div>`) },
	{ name: 'to', title: 'Tells', narrow: 'hide', kind: 'name', cell: (row) => row.channels.join(', ') },
	{ name: 'muted', title: 'Muted', kind: 'tight', cell: (row) => html`<${Muted} row=${{ muted_until: row.firing > 0 ? null : row.muted_until }} />` },
	{ name: 'owner', title: 'Owner', narrow: 'hide', cell: (row) => html`<${Owner} row=${row} />` },
	{ name: 'act', title: heading('Actions'), right: true, cell: (row) => may(row.owner) && html`<span class="acts"><${Act} small label="Change" run=${() => editAlert(row)} />${row.muted_until && row.firing === 0 ? html`<${Act} small label="Unmute" run=${() => unmute({ ...row, job: null })} />` : html`<${Act} small label="Mute" run=${() => mute({ ...row, job: null })} />`}
		<${Act} small label="Drop" kind="danger" run=${() => dropAlert(row)} /></span>` },
];

const DEFINITION = 'name,owner,state,muted_until,channels,jobs,metadata::text,on_status,threshold,within,no_success_for,runs_longer_than,waits_longer_than,late,every_failure,group_for,repeat_every,resolved';

function Alerting() {
	const fire = useLive((stop) => get('alerts', { select: 'name,owner,job,condition,since,count,last_run_id,last_status,error,last_sent,next_reminder,muted_until,channels', state: 'eq.firing', order: 'since.desc', limit: FIRING + 1 }, { signal: stop }), [], 5);
	const all = useLive((stop) => get('alerts', { select: DEFINITION, order: 'owner,name', limit: ROWS }, { signal: stop }), [], 10);
	return html`<div class="stack"><${Section} title="Firing" note=${fire.data?.length > FIRING ? `the newest ${FIRING}` : fire.data?.length > 0 ? number(fire.data.length) : undefined}><${Loaded} live=${fire}>${(rows) => html`<${Table} label="Firing" columns=${firing} rows=${rows.slice(0, FIRING)}
			keyOf=${(row) => `${row.owner} ${row.name} ${row.job} ${row.condition}`} link=${(row) => href('jobs', { name: row.job, owner: row.owner })} empty=${html`<p class="well"><${Status} status="ok" /> <span class="note">No alert fires.</span></p>`} />`}</${Loaded}></${Section}>
		<${Section} title="Alerts" actions=${html`<${Act} small icon="plus" label="New alert" when=${mayAny()} run=${newAlert} />`}><${Loaded} live=${all}>${(rows) => html`<${Table} label="Alerts" columns=${defined} rows=${definitions(rows)} keyOf=${(row) => `${row.owner} ${row.name}`}
			empty=${html`<${Empty} code="SELECT jobsched.set_channel('feed', 'notify');\nSELECT jobsched.set_alert('failures', '{feed}');">Nobody is told when a job fails. Make a channel first, then an alert; here or in SQL:</${Empty}>`} />
			${rows.length >= ROWS && html`<p class="note more">There are more than are shown here.</p>`}`}</${Loaded}></${Section}></div>`;
}

// --- channels ------------------------------------------------------------------

const KINDS = [['slack', 'slack: posted as text'], ['webhook', 'webhook: posted as JSON, can be signed'], ['email', 'email: through the relay of this server'], ['notify', 'notify: NOTIFY to sessions that listen'], ['handler', 'handler: a function is called']]
	.map(([value, label]) => ({ value, label }));
const SECRET = 'Secrets can be in it: {{secret.NAME}}.';
const json = (text) => text ? prettyJson(text) : '';

const channelFields = (kind, row = {}) => ({
	slack: [{ name: 'url', label: 'URL', value: row.url, required: true, hint: SECRET, placeholder: 'https://hooks.slack.com/{{secret.slack}}' }, { name: 'template', label: 'Template', type: 'json', value: json(row.template), hint: 'What is sent instead. Empty: as text.' }],
	webhook: [{ name: 'url', label: 'URL', value: row.url, required: true, hint: SECRET }, { name: 'sign_with', label: 'Signed with the secret', value: row.sign_with, hint: 'Its name. Empty: not signed.' },
		{ name: 'headers', label: 'Headers', type: 'json', value: json(row.headers), placeholder: '{"x-team": "billing"}' }, { name: 'template', label: 'Template', type: 'json', value: json(row.template), hint: 'What is sent instead.' }],
	email: [{ name: 'to_address', label: 'To', type: 'list', value: row.to_address, required: true, placeholder: 'ops@example.com', hint: '1 to 50 addresses with commas between them; each gets a mail.' }],
	notify: [],
	handler: [{ name: 'handler', label: 'Function', value: row.handler, required: true, placeholder: 'app.on_alert', hint: 'It takes the message as jsonb.' }],
})[kind];

async function newChannel() {
	const first = await ask({ title: 'New channel', label: 'Go on', fields: [{ name: 'kind', label: 'How people are told', type: 'select', options: KINDS, value: 'slack' }] });
	if (first !== null)
		await askAct({ title: `New channel of kind ${first.kind}`, label: 'Make', fields: [{ name: 'name', label: 'Name', required: true, hint: first.kind === 'notify' ? 'Sessions LISTEN to this name.' : undefined }, ...channelFields(first.kind), own()],
			run: (values) => call('set_channel', { ...values, kind: first.kind }), done: (answer, { name }) => `channel ${name} is there: send a test` });
}

const editChannel = (row) => askAct({ title: `Change channel ${row.name}`, label: 'Change', body: row.kind === 'notify' ? 'There is nothing to change but its name: make another one. This enables it again.' : undefined, fields: channelFields(row.kind, row),
	run: (values) => call('set_channel', { ...values, name: row.name, kind: row.kind, owner: row.owner }), done: `channel ${row.name} is changed` });

const testChannel = (row) => act(() => call('test_channel', { name: row.name, owner: row.owner }), (run) => ({ text: `a test goes to ${row.name}`, link: { href: href(['run', run]), text: `run ${run}` } }));
const job = (row) => ({ job: `channel:${row.name}`, owner: row.owner });
const resumeChannel = (row) => act(() => call('resume_job', job(row)), `channel ${row.name} goes on`);

const pauseChannel = (row) => askAct({ title: `Pause channel ${row.name}`, label: 'Pause', body: 'Messages wait until it goes on.', fields: [{ name: 'reason', label: 'Reason', hint: 'Others read it in the list.' }],
	run: ({ reason }) => call('pause_job', { ...job(row), reason }), done: `channel ${row.name} is paused` });

async function dropChannel(row) {
	if (await confirm(`Drop channel ${row.name}`, { label: 'Drop', body: 'Messages that wait are cancelled. Alerts that name it tell nobody by it.' }))
		await act(() => call('drop_channel', { name: row.name, owner: row.owner }), `channel ${row.name} is dropped`);
}

const channels = [
	{ name: 'name', title: 'Channel', cell: (row) => row.name },
	{ name: 'kind', title: 'Kind', cell: (row) => html`<span class="tag">${row.kind}</span>` },
	{ name: 'target', title: 'To', kind: 'message', cell: (row) => html`<code>${target(row)}</code>${row.sign_with && html` <span class="note">signed with ${row.sign_with}</span>`}` },
	{ name: 'state', title: 'State', cell: (row) => html`<${Status} status=${row.state} why=${row.state_reason} />` },
	{ name: 'sent', title: 'Last sent', narrow: 'hide', kind: 'tight', cell: (row) => row.last_sent_at === null ? html`<span class="none">never</span>` : row.last_run_id === null ? html`<${Time} value=${row.last_sent_at} />` : html`<a href=${href(['run', row.last_run_id])}><${Time} value=${row.last_sent_at} /></a>` },
	{ name: 'error', title: 'Last error', kind: 'message', cell: (row) => row.last_error === null ? html`<${None} />` : html`<span class="bad">${firstLine(row.last_error)}</span> <span class="note"><${Time} value=${row.last_error_at} /></span>` },
	{ name: 'owner', title: 'Owner', narrow: 'hide', cell: (row) => html`<${Owner} row=${row} />` },
	{ name: 'act', title: heading('Actions'), right: true, cell: (row) => may(row.owner) && html`<span class="acts"><${Act} small label="Test" run=${() => testChannel(row)} />${row.state === 'active' ? html`<${Act} small label="Pause" run=${() => pauseChannel(row)} />` : html`<${Act} small label="Resume" when=${row.state !== 'asleep'} run=${() => resumeChannel(row)} />`}
		<${Act} small label="Change" run=${() => editChannel(row)} /><${Act} small label="Drop" kind="danger" run=${() => dropChannel(row)} /></span>` },
];

function Channels() {
	const live = useLive((stop) => get('channels', { select: 'name,owner,kind,url,to_address,template::text,sign_with,handler,headers::text,state,state_reason,last_sent_at,last_run_id,last_error,last_error_at', order: 'owner,name', limit: ROWS }, { signal: stop }), [], 5);
	return html`<${Section} title="Channels" actions=${html`<${Act} small icon="plus" label="New channel" when=${mayAny()} run=${newChannel} />`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Channels" columns=${channels} rows=${rows} keyOf=${(row) => `${row.owner} ${row.name}`}
		link=${(row) => href('runs', { job: `channel:${row.name}` })} empty=${html`<${Empty} code="SELECT jobsched.set_channel('feed', 'notify');">There is no channel. An alert needs one to tell people. Make it here, or in SQL:</${Empty}>`} />`}</${Loaded}></${Section}>`;
}

// --- hooks ---------------------------------------------------------------------

// once: a token is shown, and kept nowhere.
const once = (title, token) => ask({ title, label: 'I have it', only: true, body: html`<p>The sender has to send it. The database keeps its hash only, so it <strong>is not shown again</strong>: copy it now.</p><${Code} text=${token} copy label="Token" />` });

const VERIFY = ['token', 'standard', 'github', 'stripe', 'slack', 'hmac'];
const hookFields = [
	{ name: 'name', label: 'Name', required: true, hint: 'Unique in this database.' },
	{ name: 'verify', label: 'How senders prove who they are', type: 'select', options: VERIFY, value: 'token' },
	{ name: 'job', label: 'Starts the job' }, { name: 'event', label: 'Or sends the event' },
	{ name: 'secret', label: 'Secret', hint: 'Its name, or vault.NAME. Needed for all but token.' }, { name: 'header', label: 'Header', hint: 'Which one has the token; with hmac the signature.' },
	{ name: 'dedupe', label: 'What tells a repeat', placeholder: 'x-request-id or $.id', hint: 'A header, or a path in the body.' }, { name: 'tolerance', label: 'A signed time may be off by', value: '5 minutes' },
	{ name: 'keep_headers', label: 'Headers that the run gets', type: 'list', hint: 'Names with commas between them.' }, { name: 'max_size', label: 'Largest body, in bytes', type: 'number', value: 1048576, more: { min: 1, max: 16777216 } },
	{ name: 'rate', label: 'Accepted in a second', type: 'number', value: 100, hint: '0: any number.', more: { min: 0 } },
];

async function newHook() {
	let token;
	let name;
	const made = await askAct({ title: 'New hook', label: 'Make', wide: true, fields: hookFields, run: async (values) => {
		token = await call('create_hook', values);
		({ name } = values);
	}, done: (answer, values) => `hook ${values.name} is there` });
	if (made && token)
		await once(`The token of hook ${name}`, token);
}

async function rotateHook(row) {
	let token;
	const made = await askAct({ title: `Another token for ${row.name}`, label: 'Rotate', fields: [{ name: 'keep_old', label: 'The old one holds for', value: '1 day', hint: 'An interval; 0: not at all.' }],
		run: async (values) => { token = await call('rotate_hook', { name: row.name, ...values }); }, done: `hook ${row.name} has another token` });
	if (made)
		await once(`The new token of hook ${row.name}`, token);
}

async function dropHook(row) {
	if (await confirm(`Drop hook ${row.name}`, { label: 'Drop', body: 'Who sends to it is refused. Runs that it has queued stay.' }))
		await act(() => call('drop_hook', { name: row.name }), `hook ${row.name} is dropped`);
}

const Starts = ({ row }) => row.job ? html`job <a href=${href('jobs', { name: row.job, owner: row.owner })}>${row.job}</a>` : row.event ? html`event <code>${row.event}</code>` : html`<span class="status bad">its job is dropped</span>`;

const hooks = [
	{ name: 'name', title: 'Hook', kind: 'name', cell: (row) => html`<strong>${row.name}</strong>` },
	{ name: 'starts', title: 'Starts', kind: 'name', cell: (row) => html`<${Starts} row=${row} />` },
	{ name: 'verify', title: 'Verified by', cell: (row) => html`${row.verify}${row.secret && html` <span class="note">with ${row.secret}</span>`}${row.old_token_until && html`<br /><span class="note">old token ends <${Time} value=${row.old_token_until} /></span>`}` },
	{ name: 'accepted', title: 'Accepted', right: true, cell: (row) => html`${number(row.accepted)}${row.last_received_at && html`<br /><span class="note"><${Time} value=${row.last_received_at} /></span>`}` },
	{ name: 'refused', title: 'Refused', right: true, cell: (row) => html`<span class=${row.refused > 0 ? 'tone warn' : undefined}>${number(row.refused)}</span>` },
	{ name: 'why', title: 'Last refusal', kind: 'message', cell: (row) => row.last_refused_at === null ? html`<${None} />` : html`${row.last_refusal} <span class="note"><${Time} value=${row.last_refused_at} /></span>` },
	{ name: 'owner', title: 'Owner', narrow: 'hide', cell: (row) => html`<${Owner} row=${row} />` },
	{ name: 'act', title: heading('Actions'), right: true, cell: (row) => may(row.owner) && html`<span class="acts"><${Act} small label="Rotate" when=${row.verify === 'token' && !row.secret} run=${() => rotateHook(row)} /><${Act} small label="Drop" kind="danger" run=${() => dropHook(row)} /></span>` },
];

function Hooks() {
	const live = useLive((stop) => get('hooks', { select: 'name,owner,job,event,verify,secret,old_token_until,accepted,refused,last_received_at,last_refused_at,last_refusal', order: 'name', limit: ROWS }, { signal: stop }), [], 5);
	return html`<${Section} title="Hooks" actions=${html`<${Act} small icon="plus" label="New hook" when=${mayAny()} run=${newHook} />`}><${Loaded} live=${live}>${(rows) => html`<${Table} label="Hooks" columns=${hooks} rows=${rows} keyOf=${(row) => row.name}
		empty=${html`<${Empty} code="SELECT jobsched.create_hook('github', 'on-push', verify => 'github', secret => 'github');">There is no hook. By a hook others start a job or send an event: GitHub at a push, Stripe at a payment.</${Empty}>`} />`}</${Loaded}></${Section}>`;
}

// --- the screen ----------------------------------------------------------------

const TABS = { alerts: ['Alerts', Alerting], channels: ['Channels', Channels], hooks: ['Hooks', Hooks] };

export function Alerts() {
	const tab = Object.hasOwn(TABS, route.value.query.tab ?? '') ? route.value.query.tab : 'alerts';
	const [, Shown] = TABS[tab];
	return html`<${Page} title="Alerts and channels"><nav class="tabs" aria-label="Parts">${Object.entries(TABS).map(([name, [title]]) => html`<a href=${href('alerts', { tab: name === 'alerts' ? '' : name })} aria-current=${name === tab ? 'page' : undefined}>${title}</a>`)}</nav><${Shown} /></${Page}>`;
}
