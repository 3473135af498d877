// The frame of all screens: menu, switches, what the connection does, keys for going.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { connection } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { relative } from '../lib/format.js';
import { addKeys, knownKeys, useKeys } from '../lib/keys.js';
import { loading, refreshAll } from '../lib/live.js';
import { me } from '../lib/me.js';
import { refreshing, theme, zone } from '../lib/prefs.js';
import { go, href, route } from '../lib/route.js';
import { close, session } from '../lib/session.js';
import { Asked, Said } from './act.js';
import { Icon } from './icon.js';

// Which screen a path belongs to in the menu.
const MENU = [
	['now', 'Now', 'n'], ['jobs', 'Jobs', 'j'], ['runs', 'Runs', 'r'], ['workflows', 'Workflows', 'f'], ['dead', 'Dead letters', 'd'], ['upcoming', 'Upcoming', 'u'],
	['queues', 'Queues and limits', 'q'], ['workers', 'Workers', 'w'], ['http', 'HTTP', 'h'], ['alerts', 'Alerts and channels', 'a'], ['secrets', 'Secrets', 's'],
];
const BELONGS = { job: 'jobs', run: 'runs', workflow: 'workflows' };

addKeys({
	...Object.fromEntries(MENU.map(([path, name, key]) => [`g ${key}`, [`Go to ${name}`, () => go(path)]])),
	'.': ['Refresh', () => refreshAll()],
	L: ['Refreshing on or off', () => refreshing.next()],
	T: ['Light, dark or as the system', () => theme.next()],
	U: ['Local time or UTC', () => zone.next()],
	Escape: ['Leave the row', () => document.activeElement?.blur()],
});

const NAMES = { auto: 'as the system', light: 'light', dark: 'dark', local: 'local time', UTC: 'UTC', on: 'live', off: 'not live' };
const Switch = ({ of, icon, label }) => html`<button class="quiet" title=${label} aria-label=${`${label}: ${NAMES[of.value]}`} onClick=${() => of.next()}><${Icon} name=${icon} />${NAMES[of.value]}</button>`;

function Connection() {
	if (connection.value.ok)
		return null;
	return html`<p class="offline" role="alert"><${Icon} name="warning" />No answer from the API since ${relative(connection.value.since, now.value).replace(' ago', '')}. What you see is from before; it is asked again by itself.
		<button class="small" onClick=${() => refreshAll()}>Ask now</button></p>`;
}

function Help({ open, onClose }) {
	const dialog = useRef();
	useEffect(() => { if (open) dialog.current.showModal(); else dialog.current.close(); }, [open]);
	return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="keys" class="help"><h2 id="keys">Keys</h2><dl class="keys">${knownKeys.value.map(({ keys, name }) => html`<div>
		<dt>${keys.split(' ').map((key) => html`<kbd>${key}</kbd>`)}</dt><dd>${name}</dd></div>`)}</dl><form method="dialog" class="actions"><button class="primary">Close</button></form></dialog>`;
}

export function Shell({ children }) {
	const [menu, setMenu] = useState(false);
	const [help, setHelp] = useState(false);
	const here = BELONGS[route.value.path[0]] ?? route.value.path[0] ?? 'now';
	useKeys({ '?': ['This list', () => setHelp(true)] });
	useEffect(() => { setMenu(false); }, [here]);
	const who = me.value;
	return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById('main').focus(); }}>To the content</a>
	<div class="frame"><aside class=${menu ? 'open' : undefined}><div class="brand"><a href=${href('now')}><span class="mark" aria-hidden="true"></span>jobsched</a>
		<button class="quiet menu" aria-expanded=${menu} aria-controls="menu" onClick=${() => setMenu(!menu)}><${Icon} name="menu" label="Menu" /></button></div>
	<div id="menu"><nav aria-label="Screens">${MENU.map(([path, name, key]) => html`<a href=${href(path)} aria-current=${here === path ? 'page' : undefined} title="g ${key}">${name}</a>`)}</nav>
	<div class="foot">${who && html`<p class="who" title=${`jobsched ${who.version ?? ''}, PostgreSQL ${who.server_version ?? ''}`}><b>${who.role}</b> in <b>${who.database}</b>${who.standby && html`<br /><${Icon} name="lock" />standby: read only`}</p>`}
		<div class="switches"><${Switch} of=${refreshing} icon="retry" label="Refreshing" /><${Switch} of=${zone} icon="clock" label="Times" /><${Switch} of=${theme} icon="sun" label="Theme" />
		<button class="quiet" onClick=${() => setHelp(true)}><kbd>?</kbd> keys</button>
		${session.value?.kind === 'rest' && html`<button class="quiet" onClick=${() => close()}><${Icon} name="exit" />Leave</button>`}</div></div></div></aside>
	<main id="main" tabindex="-1"><div class=${loading.value > 0 ? 'progress on' : 'progress'} aria-hidden="true"></div><${Connection} />${children}</main></div>
	<${Said} /><${Asked} /><${Help} open=${help} onClose=${() => setHelp(false)} />`;
}
