// Where the API is and as whom we ask. Two kinds:
//   serve   dashboard/serve.mjs gave us this page; its link has the token behind '#'.
//   rest    a PostgREST, with a URL, perhaps an API key (Supabase), and a token.
// Tokens are kept for this tab only (sessionStorage), and never in the URL.

import { signal } from '@preact/signals';
import { go } from './route.js';

const KEY = 'jobsched.session';
const LAST = 'jobsched.lastUrl';

export const session = signal(null);
// Why we are at the login: shown there.
export const loginReason = signal('');

// start: takes the token out of the link, before anything can read the URL.
export function startSession() {
	// A new link that is opened in the same tab does not load the page anew.
	addEventListener('hashchange', takeToken);
	if (takeToken())
		return;
	try {
		session.value = JSON.parse(sessionStorage.getItem(KEY));
	} catch {
		session.value = null;
	}
}

function takeToken() {
	const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
	if (token === undefined)
		return false;
	go('now', {}, { replace: true });
	open({ kind: 'serve', url: `${location.origin}/api`, token });
	return true;
}

export function open(value) {
	session.value = value;
	loginReason.value = '';
	sessionStorage.setItem(KEY, JSON.stringify(value));
	if (value.kind === 'rest')
		localStorage.setItem(LAST, value.url);
}

export function close(reason = '') {
	sessionStorage.removeItem(KEY);
	loginReason.value = reason;
	session.value = null;
}

export const lastUrl = () => localStorage.getItem(LAST) ?? '';

// A URL as people paste it: without the path of Supabase's API, or with a slash.
export function apiUrl(text) {
	const url = new URL(text.trim());
	if (url.protocol !== 'https:' && url.protocol !== 'http:')
		throw new Error('the URL must begin with https://');
	const path = url.pathname.replace(/\/+$/, '');
	if (path === '' && /\.supabase\.(co|in)$/.test(url.hostname))
		return `${url.origin}/rest/v1`;
	return `${url.origin}${path}`;
}

// Supabase's login is beside its API.
async function askAuth(url, apikey, grant, body) {
	const answer = await fetch(`${url.replace(/\/rest\/v1$/, '')}/auth/v1/token?grant_type=${grant}`, {
		method: 'POST', headers: { 'Content-Type': 'application/json', ...(apikey && { apikey }) }, body: JSON.stringify(body), cache: 'no-store', redirect: 'error',
		referrerPolicy: 'no-referrer', credentials: 'omit' });
	const found = await answer.json().catch(() => null);
	if (!answer.ok || typeof found?.access_token !== 'string')
		throw new Error(found?.error_description ?? found?.msg ?? `the login answered with status ${answer.status}, and no token`);
	return { token: found.access_token, refresh: found.refresh_token };
}

export async function login({ url, apikey, token, email, password }) {
	const base = { kind: 'rest', url: apiUrl(url), apikey: apikey || undefined };
	open({ ...base, ...(email ? await askAuth(base.url, apikey, 'password', { email, password }) : { token: token || undefined }) });
}

// renew: a new token for one that has run out; false: there is none. Requests that fail
// at the same time share one renewal, as a refresh token holds once. Who has left meanwhile
// stays outside.
let renewal = null;
export function renew() {
	const now = session.value;
	if (!now?.refresh)
		return Promise.resolve(false);
	renewal ??= askAuth(now.url, now.apikey, 'refresh_token', { refresh_token: now.refresh })
		.then((tokens) => session.value === now && (open({ ...now, ...tokens }), true), () => false)
		.finally(() => { renewal = null; });
	return renewal;
}
