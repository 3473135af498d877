// What screens are made of: a head with a title and buttons, sections, what is shown
// when there is nothing, and when something is wrong.

import { useEffect, useRef } from 'preact/hooks';
import { html } from '../lib/html.js';
import { ApiError } from '../lib/api.js';
import { Icon } from './icon.js';

// Page: the title gets the focus when a screen is opened, so that readers say it.
export function Page({ title, sub, actions, children }) {
	const head = useRef();
	useEffect(() => {
		document.title = `${title} · jobsched`;
		if (document.activeElement === document.body || document.activeElement?.closest('nav'))
			head.current?.focus({ preventScroll: true });
	}, [title]);
	return html`<header class="head"><div><h1 tabindex="-1" ref=${head}>${title}</h1>${sub && html`<p class="sub">${sub}</p>`}</div>
		${actions && html`<div class="actions">${actions}</div>`}</header>${children}`;
}

export const Section = ({ title, note, actions, children, wide }) => html`<section class=${wide ? 'card wide' : 'card'}>
	${(title || actions) && html`<header><h2>${title}</h2>${note && html`<span class="note">${note}</span>`}${actions && html`<div class="actions">${actions}</div>`}</header>`}
	${children}</section>`;

// Empty: says what is missing, and the next step.
export const Empty = ({ children, code }) => html`<div class="empty"><p>${children}</p>${code && html`<${Code} text=${code} copy />`}</div>`;

// Code: the beginning of a text that is very long, as the browser would stand still; a copy has all.
const MOST = 200000;
export function Code({ text, copy, label }) {
	const isCut = text.length > MOST;
	return html`<div class="code"><pre tabindex="0" aria-label=${label}><code>${isCut ? `${text.slice(0, MOST)}…` : text}</code></pre>${isCut && html`<p class="note">These are the first ${MOST.toLocaleString('en-US')} of ${text.length.toLocaleString('en-US')} characters.</p>`}${copy && html`<button class="quiet" title="Copy" onClick=${() => navigator.clipboard.writeText(text)}>
		<${Icon} name="copy" label="Copy" /></button>`}</div>`;
}

// Facts: a list of names and values; those without a value are left out.
export const Facts = ({ of }) => html`<dl class="facts">${of.filter(([, value]) => value !== null && value !== undefined && value !== '')
	.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

const ADVICE = {
	__proto__: null,
	PGRST106: 'PostgREST does not serve the schema: add jobsched to its db-schemas (Supabase: Settings, API, Exposed schemas), and reload it.',
	PGRST205: 'PostgREST does not know this view: is the extension there (CREATE EXTENSION jobsched)? If it is new: NOTIFY pgrst, \'reload schema\'.',
	PGRST202: 'PostgREST does not know this function: is the extension up to date? If it is new: NOTIFY pgrst, \'reload schema\'.',
	42501: 'This role has no rights here. Ask a superuser: GRANT USAGE ON SCHEMA jobsched TO the role, and to watch all jobs GRANT pg_monitor TO the role.',
	'3F000': 'The extension is not in this database: CREATE EXTENSION jobsched.',
	57014: 'The database took too long for it. Narrow the filter, or raise the statement_timeout of the role.',
};

// Problem: an error with what to do.
export function Problem({ error, retry }) {
	if (!error)
		return null;
	const advice = error instanceof ApiError ? error.hint ?? ADVICE[error.code] : undefined;
	return html`<div class="problem" role="alert"><${Icon} name="warning" /><div><strong>${error.message}</strong>${error.details && html`<p>${error.details}</p>`}
		${advice && html`<p>${advice}</p>`}${error.code && html`<p class="note">${error.code}</p>`}</div>${retry && html`<button onClick=${retry}>Try again</button>`}</div>`;
}

// Loaded: the children (a function of the data) when there is data; what it says of
// useLive()'s state until then.
export function Loaded({ live, children }) {
	if (live.data === undefined)
		return live.error ? html`<${Problem} error=${live.error} retry=${live.refresh} />` : html`<p class="loading" role="status">Loading…</p>`;
	// That the API does not answer at all is said once, above all.
	return html`${live.error && live.error.status !== 0 && html`<${Problem} error=${live.error} retry=${live.refresh} />`}<div class=${live.stale || live.old ? 'stale' : undefined}>${children(live.data)}</div>`;
}
