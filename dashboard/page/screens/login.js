// Where the API is, and as whom. Only shown where the page did not come from serve.mjs.

import { useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { lastUrl, login, loginReason } from '../lib/session.js';
import { Icon } from '../parts/icon.js';

export function Login() {
	const [by, setBy] = useState('token');
	const [problem, setProblem] = useState('');
	const [busy, setBusy] = useState(false);
	const submit = async (event) => {
		event.preventDefault();
		setBusy(true);
		setProblem('');
		try {
			await login(Object.fromEntries(new FormData(event.target)));
		} catch (error) {
			setProblem(error instanceof TypeError ? 'this URL cannot be reached' : error.message);
			setBusy(false);
		}
	};
	return html`<main class="login"><h1><span class="mark" aria-hidden="true"></span>jobsched</h1>
	${(problem || loginReason.value) && html`<p class="problem" role="alert"><${Icon} name="warning" /><span>${problem || loginReason.value}</span></p>`}
	<form onSubmit=${submit} class="card">
		<div class="field"><label for="url">URL of PostgREST</label><input id="url" name="url" type="url" required value=${lastUrl()} placeholder="https://project.supabase.co/rest/v1" /></div>
		<div class="field"><label for="apikey">API key</label><input id="apikey" name="apikey" type="text" class="mono" autocomplete="off" spellcheck="false" /><p class="hint">Supabase's; leave it empty for a PostgREST of your own.</p></div>
		<fieldset><legend>Come in with</legend>${[['token', 'a token'], ['email', 'e-mail and password']].map(([value, label]) => html`<label class="check"><input type="radio" name="by" checked=${by === value} onChange=${() => setBy(value)} /> ${label}</label>`)}</fieldset>
		${by === 'token' ? html`<div class="field"><label for="token">Token</label><input id="token" name="token" type="password" class="mono" autocomplete="off" /><p class="hint">A JWT whose role may use schema jobsched. It is kept for this tab only.</p></div>`
			: html`<div class="field"><label for="email">E-mail</label><input id="email" name="email" type="email" required autocomplete="username" /></div>
			<div class="field"><label for="password">Password</label><input id="password" name="password" type="password" required autocomplete="current-password" /></div>`}
		<div class="actions"><button class="primary" disabled=${busy}>Open</button></div></form>
	<p class="note">No PostgREST? <code>node serve.mjs</code> in <code>dashboard/</code> of jobsched prints a link to this page.</p></main>`;
}
