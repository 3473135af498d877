// The page begins here: session, then the screen that the URL names.

import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { html } from './lib/html.js';
import { learnMe, me, meError } from './lib/me.js';
import { href, route } from './lib/route.js';
import { session, startSession } from './lib/session.js';
import { Empty, Page, Problem } from './parts/page.js';
import { Shell } from './parts/shell.js';
import { screens } from './screens/index.js';
import { Login } from './screens/login.js';

function Screen() {
	const { path } = route.value;
	const Found = screens(path);
	if (!Found)
		return html`<${Page} title="No such screen"><${Empty}>The link leads nowhere. <a href=${href('now')}>To the start</a></${Empty}></${Page}>`;
	// Another run, or another job, is another screen: nothing of the last one stays.
	return html`<${Found} key=${path.join('/')} path=${path} />`;
}

function App() {
	const open = session.value !== null;
	useEffect(() => {
		me.value = null;
		if (open)
			learnMe();
	}, [session.value?.url, session.value?.token]);
	if (!open)
		return html`<${Login} />`;
	return html`<${Shell}>${me.value === null && meError.value ? html`<${Page} title="Not connected"><${Problem} error=${meError.value} retry=${learnMe} /></${Page}>` : html`<${Screen} />`}</${Shell}>`;
}

startSession();
render(html`<${App} />`, document.getElementById('app'));
